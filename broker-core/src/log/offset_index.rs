//! From offset to position in the log file, sparsely (`OffsetIndex`).
//!
//! Entries of 8 bytes: offset relative to the segment's base, position. The whole index is also in memory, which Kafka has
//! from the page cache. Left out: preallocation and memory mapping; the file is always as long as its entries.

use bytes::Bytes;
use protocol::disk::{Disk, DiskError, FileId};
use protocol::ids::Offset;

const ENTRY: usize = 8;

/// The offset index of one segment.
#[derive(Clone, Debug)]
pub struct OffsetIndex {
    file: FileId,
    base_offset: Offset,
    /// Relative offset and position, both rising.
    entries: Vec<(u32, u32)>,
}

impl OffsetIndex {
    /// An index over an empty file.
    pub fn empty(file: FileId, base_offset: Offset) -> Self {
        Self {
            file,
            base_offset,
            entries: Vec::new(),
        }
    }

    /// Reads the file; `None` when its content cannot be an index of this segment (`sanityCheck`).
    pub fn load(
        disk: &mut dyn Disk,
        file: FileId,
        base_offset: Offset,
        log_size: u64,
    ) -> Result<Option<Self>, DiskError> {
        let size = disk.len(file);
        let bytes = disk.read(file, 0, size)?;
        let entries: Vec<_> = bytes.chunks_exact(ENTRY).map(decode).collect();
        let whole = bytes.len() % ENTRY == 0;
        let rising = entries
            .windows(2)
            .all(|pair| pair[0].0 < pair[1].0 && pair[0].1 < pair[1].1);
        let inside = entries
            .last()
            .is_none_or(|(_, position)| u64::from(*position) < log_size);
        Ok((whole && rising && inside).then_some(Self {
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

    /// Adds an entry: every batch from `position` on ends at `offset` or later.
    pub fn append(
        &mut self,
        disk: &mut dyn Disk,
        offset: Offset,
        position: u64,
    ) -> Result<(), DiskError> {
        let (Some(relative), Ok(position)) =
            (relative(self.base_offset, offset), u32::try_from(position))
        else {
            return Ok(());
        };
        if self
            .entries
            .last()
            .is_some_and(|(last, _)| *last >= relative)
        {
            return Ok(());
        }
        let mut entry = [0; ENTRY];
        entry[..4].copy_from_slice(&relative.to_be_bytes());
        entry[4..].copy_from_slice(&position.to_be_bytes());
        disk.append(self.file, Bytes::copy_from_slice(&entry))?;
        self.entries.push((relative, position));
        Ok(())
    }

    /// The last position from which a scan finds `offset`; 0 without an entry that is not above it.
    pub fn lookup(&self, offset: Offset) -> u64 {
        let Some(relative) = relative(self.base_offset, offset) else {
            return self.last_position(offset);
        };
        let after = self
            .entries
            .partition_point(|(known, _)| *known <= relative);
        after
            .checked_sub(1)
            .map_or(0, |index| u64::from(self.entries[index].1))
    }

    /// The offset of the first entry at `position` or behind it: no batch before that position reaches further
    /// (`fetchUpperBoundOffset`).
    pub fn upper_bound(&self, position: u64) -> Option<Offset> {
        let first = self
            .entries
            .partition_point(|(_, known)| u64::from(*known) < position);
        let (relative, _) = self.entries.get(first)?;
        Some(Offset(self.base_offset.0 + i64::from(*relative)))
    }

    /// For offsets that do not fit: below the base nothing is found, far above everything is below.
    fn last_position(&self, offset: Offset) -> u64 {
        if offset < self.base_offset {
            return 0;
        }
        self.entries
            .last()
            .map_or(0, |(_, position)| u64::from(*position))
    }

    /// Removes entries of `offset` and above.
    pub fn truncate_to(&mut self, disk: &mut dyn Disk, offset: Offset) -> Result<(), DiskError> {
        let keep = match relative(self.base_offset, offset) {
            Some(relative) => self.entries.partition_point(|(known, _)| *known < relative),
            None if offset < self.base_offset => 0,
            None => self.entries.len(),
        };
        self.keep(disk, keep)
    }

    /// Removes every entry.
    pub fn reset(&mut self, disk: &mut dyn Disk) -> Result<(), DiskError> {
        self.entries.clear();
        disk.truncate(self.file, 0)
    }

    fn keep(&mut self, disk: &mut dyn Disk, count: usize) -> Result<(), DiskError> {
        if count == self.entries.len() {
            return Ok(());
        }
        self.entries.truncate(count);
        let size = u64::try_from(count * ENTRY).expect("an index is small");
        disk.truncate(self.file, size)
    }
}

/// `offset` as the index stores it, if it fits.
pub(super) fn relative(base: Offset, offset: Offset) -> Option<u32> {
    let distance = u32::try_from(offset.0.checked_sub(base.0)?).ok()?;
    i32::try_from(distance).ok().map(|_| distance)
}

fn decode(entry: &[u8]) -> (u32, u32) {
    let half = |at: usize| {
        let field = entry[at..at + 4].try_into();
        u32::from_be_bytes(field.expect("four bytes"))
    };
    (half(0), half(4))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::memory_disk::MemoryDisk;

    fn index() -> (MemoryDisk, OffsetIndex) {
        let mut disk = MemoryDisk::default();
        let file = disk.open("i").unwrap();
        let mut index = OffsetIndex::empty(file, Offset(100));
        for (offset, position) in [(105, 0x1000), (110, 0x2000), (120, 0x3000)] {
            index.append(&mut disk, Offset(offset), position).unwrap();
        }
        (disk, index)
    }

    #[test]
    fn entries_are_eight_bytes_of_relative_offset_and_position() {
        let (disk, _) = index();
        assert_eq!(
            disk.content("i")[..16],
            [0, 0, 0, 5, 0, 0, 0x10, 0, 0, 0, 0, 10, 0, 0, 0x20, 0]
        );
    }

    #[test]
    fn lookup_finds_the_last_entry_not_above() {
        let (_, index) = index();
        let at = |offset| index.lookup(Offset(offset));
        assert_eq!((at(90), at(104), at(105), at(119)), (0, 0, 0x1000, 0x2000));
        assert_eq!(at(i64::MAX), 0x3000);
    }

    #[test]
    fn a_position_is_bounded_by_the_first_entry_not_before_it() {
        let (_, index) = index();
        let at = |position| index.upper_bound(position).map(|offset| offset.0);
        assert_eq!((at(0), at(0x1000)), (Some(105), Some(105)));
        assert_eq!((at(0x1001), at(0x3001)), (Some(110), None));
    }

    #[test]
    fn truncation_removes_the_offset_and_what_follows() {
        let (mut disk, mut index) = index();
        index.truncate_to(&mut disk, Offset(110)).unwrap();
        assert_eq!(index.len(), 1);
        assert_eq!(disk.content("i").len(), 8);
    }

    #[test]
    fn a_file_that_cannot_be_an_index_is_refused() {
        let (mut disk, index) = index();
        let load = |disk: &mut MemoryDisk, log_size| {
            OffsetIndex::load(disk, index.file(), Offset(100), log_size).unwrap()
        };
        assert_eq!(load(&mut disk, 0x4000).unwrap().len(), 3);
        assert!(load(&mut disk, 0x3000).is_none(), "beyond the log");
        disk.append(index.file(), Bytes::from_static(&[0; 8]))
            .unwrap();
        assert!(load(&mut disk, 0x4000).is_none(), "not rising");
        disk.truncate(index.file(), 13).unwrap();
        assert!(load(&mut disk, 0x4000).is_none(), "half an entry");
    }
}
