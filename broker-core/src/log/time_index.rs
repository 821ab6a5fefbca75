//! From timestamp to offset, sparsely (`TimeIndex`).
//!
//! Entries of 12 bytes: the largest timestamp of the segment so far, and the offset (relative to the base) of the batch
//! that has it. Timestamps rise from entry to entry.

use super::offset_index::relative;
use bytes::Bytes;
use protocol::disk::{Disk, DiskError, FileId};
use protocol::ids::Offset;

const ENTRY: usize = 12;

/// The time index of one segment.
#[derive(Clone, Debug)]
pub struct TimeIndex {
    file: FileId,
    base_offset: Offset,
    entries: Vec<(i64, u32)>,
}

impl TimeIndex {
    /// An index over an empty file.
    pub fn empty(file: FileId, base_offset: Offset) -> Self {
        Self {
            file,
            base_offset,
            entries: Vec::new(),
        }
    }

    /// Reads the file; `None` when its content cannot be a time index (`sanityCheck`).
    pub fn load(
        disk: &mut dyn Disk,
        file: FileId,
        base_offset: Offset,
    ) -> Result<Option<Self>, DiskError> {
        let size = disk.len(file);
        let bytes = disk.read(file, 0, size)?;
        let entries: Vec<_> = bytes.chunks_exact(ENTRY).map(decode).collect();
        let whole = bytes.len() % ENTRY == 0;
        let rising = entries
            .windows(2)
            .all(|pair| pair[0].0 < pair[1].0 && pair[0].1 <= pair[1].1);
        Ok((whole && rising).then_some(Self {
            file,
            base_offset,
            entries,
        }))
    }

    /// The file.
    pub fn file(&self) -> FileId {
        self.file
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The last entry: timestamp and offset.
    pub fn last(&self) -> Option<(i64, Offset)> {
        self.entries.last().map(|entry| self.absolute(*entry))
    }

    fn absolute(&self, (timestamp, relative): (i64, u32)) -> (i64, Offset) {
        (timestamp, self.base_offset.plus(i64::from(relative)))
    }

    /// Adds an entry if its timestamp is above the last one.
    pub fn maybe_append(
        &mut self,
        disk: &mut dyn Disk,
        timestamp: i64,
        offset: Offset,
    ) -> Result<(), DiskError> {
        let Some(relative) = relative(self.base_offset, offset) else {
            return Ok(());
        };
        let rises = self
            .entries
            .last()
            .is_none_or(|(last, known)| timestamp > *last && relative >= *known);
        if !rises {
            return Ok(());
        }
        let mut entry = [0; ENTRY];
        entry[..8].copy_from_slice(&timestamp.to_be_bytes());
        entry[8..].copy_from_slice(&relative.to_be_bytes());
        disk.append(self.file, Bytes::copy_from_slice(&entry))?;
        self.entries.push((timestamp, relative));
        Ok(())
    }

    /// An offset before which no record has `timestamp` or a later one; the base offset when nothing is known.
    pub fn lookup(&self, timestamp: i64) -> Offset {
        let after = self
            .entries
            .partition_point(|(known, _)| *known <= timestamp);
        after.checked_sub(1).map_or(self.base_offset, |index| {
            self.absolute(self.entries[index]).1
        })
    }

    /// Removes entries of `offset` and above.
    pub fn truncate_to(&mut self, disk: &mut dyn Disk, offset: Offset) -> Result<(), DiskError> {
        let keep = match relative(self.base_offset, offset) {
            Some(relative) => self.entries.partition_point(|(_, known)| *known < relative),
            None if offset < self.base_offset => 0,
            None => self.entries.len(),
        };
        if keep == self.entries.len() {
            return Ok(());
        }
        self.entries.truncate(keep);
        let size = u64::try_from(keep * ENTRY).expect("an index is small");
        disk.truncate(self.file, size)
    }

    /// Removes every entry.
    pub fn reset(&mut self, disk: &mut dyn Disk) -> Result<(), DiskError> {
        self.entries.clear();
        disk.truncate(self.file, 0)
    }
}

fn decode(entry: &[u8]) -> (i64, u32) {
    let (timestamp, relative) = entry.split_at(8);
    (
        i64::from_be_bytes(timestamp.try_into().expect("eight bytes")),
        u32::from_be_bytes(relative.try_into().expect("four bytes")),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::memory_disk::MemoryDisk;

    #[test]
    fn entries_are_twelve_bytes_and_only_rising_timestamps_are_kept() {
        let mut disk = MemoryDisk::default();
        let file = disk.open("t").unwrap();
        let mut index = TimeIndex::empty(file, Offset(10));
        for (timestamp, offset) in [(1000, 12), (1000, 13), (900, 14), (2000, 15)] {
            index
                .maybe_append(&mut disk, timestamp, Offset(offset))
                .unwrap();
        }
        assert_eq!(
            disk.content("t"),
            [
                0, 0, 0, 0, 0, 0, 3, 232, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 7, 208, 0, 0, 0, 5
            ]
        );
        assert_eq!(index.last(), Some((2000, Offset(15))));
        assert_eq!(
            [999, 1000, 1999, 2000].map(|timestamp| index.lookup(timestamp).0),
            [10, 12, 12, 15]
        );
        let again = TimeIndex::load(&mut disk, file, Offset(10))
            .unwrap()
            .unwrap();
        assert_eq!(again.last(), index.last());
    }

    #[test]
    fn truncation_removes_the_offset_and_what_follows() {
        let mut disk = MemoryDisk::default();
        let file = disk.open("t").unwrap();
        let mut index = TimeIndex::empty(file, Offset(0));
        index.maybe_append(&mut disk, 5, Offset(1)).unwrap();
        index.maybe_append(&mut disk, 6, Offset(4)).unwrap();
        index.truncate_to(&mut disk, Offset(4)).unwrap();
        assert_eq!(index.last(), Some((5, Offset(1))));
        assert_eq!(disk.content("t").len(), ENTRY);
    }

    #[test]
    fn a_file_that_cannot_be_an_index_is_refused() {
        let mut disk = MemoryDisk::default();
        let file = disk.open("t").unwrap();
        disk.append(file, Bytes::from_static(&[0; 24])).unwrap();
        assert!(
            TimeIndex::load(&mut disk, file, Offset(0))
                .unwrap()
                .is_none()
        );
        disk.truncate(file, 7).unwrap();
        assert!(
            TimeIndex::load(&mut disk, file, Offset(0))
                .unwrap()
                .is_none()
        );
    }
}
