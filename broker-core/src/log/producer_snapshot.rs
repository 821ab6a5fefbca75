//! The file that carries producer state over a restart (`ProducerStateManager.writeSnapshot`, version 1).
//!
//! Version, CRC-32C of the rest, count, then 46 bytes per producer. Only the last batch of each producer is kept, as in
//! Kafka: the window of five is refilled from the log behind the snapshot, or stays short.

use super::layout::{SegmentFile, segment_path};
use super::producer_state::{BatchMetadata, ProducerEntry, ProducerStates};
use bytes::{BufMut, Bytes, BytesMut};
use protocol::disk::{Disk, DiskError};
use protocol::ids::{Offset, ProducerEpoch, ProducerId, Sequence};

const VERSION: i16 = 1;
/// Version and checksum.
const PREFIX: usize = 6;
const ENTRY: usize = 46;

/// The bytes of a snapshot.
pub(super) fn encode(states: &ProducerStates) -> Bytes {
    let count = states.iter().count();
    let mut bytes = BytesMut::with_capacity(PREFIX + 4 + count * ENTRY);
    bytes.put_i16(VERSION);
    bytes.put_u32(0);
    bytes.put_i32(i32::try_from(count).expect("fewer than 2^31 producers"));
    for (id, entry) in states.iter() {
        let last = entry.batches.last();
        bytes.put_i64(id.0);
        bytes.put_i16(entry.epoch.map_or(-1, |epoch| epoch.0));
        bytes.put_i32(last.map_or(-1, |batch| batch.last_sequence.0));
        bytes.put_i64(last.map_or(-1, |batch| batch.last_offset.0));
        bytes.put_i32(last.map_or(0, |batch| batch.offset_delta));
        bytes.put_i64(entry.last_timestamp);
        bytes.put_i32(entry.coordinator_epoch);
        bytes.put_i64(entry.transaction_start.map_or(-1, |offset| offset.0));
    }
    let crc = crc32c::crc32c(&bytes[PREFIX..]);
    bytes[2..PREFIX].copy_from_slice(&crc.to_be_bytes());
    bytes.freeze()
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (field, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*field)
    }
    fn int16(&mut self) -> Option<i16> {
        self.take().map(i16::from_be_bytes)
    }
    fn int32(&mut self) -> Option<i32> {
        self.take().map(i32::from_be_bytes)
    }
    fn int64(&mut self) -> Option<i64> {
        self.take().map(i64::from_be_bytes)
    }
}

/// The producers in a snapshot; `None` when it is corrupt.
pub(super) fn decode(bytes: &[u8]) -> Option<Vec<(ProducerId, ProducerEntry)>> {
    let mut reader = Reader(bytes);
    let version = reader.int16()?;
    let crc = u32::from_be_bytes(reader.take()?);
    if version != VERSION || crc != crc32c::crc32c(reader.0) {
        return None;
    }
    let count = reader.int32()?;
    let mut producers = Vec::new();
    for _ in 0..count {
        let id = ProducerId(reader.int64()?);
        let epoch = Some(reader.int16()?).filter(|epoch| *epoch >= 0);
        let last_sequence = Sequence(reader.int32()?);
        let last_offset = Offset(reader.int64()?);
        let offset_delta = reader.int32()?;
        let last_timestamp = reader.int64()?;
        let coordinator_epoch = reader.int32()?;
        let transaction_start = Some(reader.int64()?).filter(|offset| *offset >= 0);
        let batch = BatchMetadata {
            last_sequence,
            last_offset,
            offset_delta,
            timestamp: last_timestamp,
        };
        let entry = ProducerEntry {
            epoch: epoch.map(ProducerEpoch),
            batches: Vec::from_iter((last_offset.0 >= 0).then_some(batch)),
            coordinator_epoch,
            last_timestamp,
            transaction_start: transaction_start.map(Offset),
        };
        producers.push((id, entry));
    }
    reader.0.is_empty().then_some(producers)
}

impl ProducerStates {
    /// Writes the state as of `map_end`, unless a snapshot of that offset or a later one is there.
    pub(super) fn take_snapshot(
        &mut self,
        disk: &mut dyn Disk,
        directory: &str,
    ) -> Result<(), DiskError> {
        if self
            .snapshots
            .last()
            .is_some_and(|last| *last >= self.map_end)
        {
            return Ok(());
        }
        let path = segment_path(directory, self.map_end, SegmentFile::Snapshot);
        disk.replace(&path, encode(self))?;
        self.snapshots.insert(self.map_end);
        Ok(())
    }

    /// Removes the snapshots that `remove` chooses.
    pub(super) fn remove_snapshots(
        &mut self,
        disk: &mut dyn Disk,
        directory: &str,
        remove: impl Fn(Offset) -> bool,
    ) {
        self.snapshots.retain(|offset| {
            let gone = remove(*offset);
            if gone {
                // A file that is missing already is as good as removed.
                let _ = disk.remove(&segment_path(directory, *offset, SegmentFile::Snapshot));
            }
            !gone
        });
    }

    /// Starts from the newest readable snapshot that is not above `end`, or from nothing at `log_start`. Snapshots above
    /// `end`, and corrupt ones, are removed (`truncateAndReload`).
    pub(super) fn reload(
        &mut self,
        disk: &mut dyn Disk,
        directory: &str,
        (log_start, end): (Offset, Offset),
    ) {
        self.remove_snapshots(disk, directory, |offset| {
            offset > end || offset <= log_start
        });
        self.clear(log_start);
        while let Some(offset) = self.snapshots.last().copied() {
            if self.take_from(disk, directory, offset) {
                return;
            }
            self.remove_snapshots(disk, directory, |known| known == offset);
        }
    }

    /// The producers of the newest readable snapshot between `log_start` and `end`, or none as of `log_start`.
    pub(super) fn at_snapshot(
        &self,
        disk: &mut dyn Disk,
        directory: &str,
        (log_start, end): (Offset, Offset),
    ) -> Self {
        let mut states = Self::default();
        states.clear(log_start);
        if log_start < end {
            let known = self.snapshots.range(log_start.next()..=end).rev();
            for offset in known {
                if states.take_from(disk, directory, *offset) {
                    break;
                }
            }
        }
        states
    }

    /// Takes the producers of one snapshot, if it can be read.
    fn take_from(&mut self, disk: &mut dyn Disk, directory: &str, offset: Offset) -> bool {
        let path = segment_path(directory, offset, SegmentFile::Snapshot);
        let content = disk.find(&path).and_then(|file| {
            let size = disk.len(file);
            disk.read(file, 0, size).ok()
        });
        let Some(producers) = content.and_then(|bytes| decode(&bytes)) else {
            return false;
        };
        for (id, entry) in producers {
            self.insert(id, entry);
        }
        self.map_end = offset;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn states() -> ProducerStates {
        let mut states = ProducerStates::default();
        let batch = |sequence, offset| BatchMetadata {
            last_sequence: Sequence(sequence),
            last_offset: Offset(offset),
            offset_delta: 1,
            timestamp: 1000,
        };
        states.insert(
            ProducerId(7),
            ProducerEntry {
                epoch: Some(ProducerEpoch(3)),
                batches: vec![batch(1, 11), batch(3, 13)],
                coordinator_epoch: -1,
                last_timestamp: 1000,
                transaction_start: Some(Offset(10)),
            },
        );
        states
    }

    #[test]
    fn a_snapshot_is_laid_out_as_kafka_lays_it_out() {
        let bytes = encode(&states());
        assert_eq!(bytes.len(), 10 + 46);
        assert_eq!(bytes[..2], [0, 1]);
        assert_eq!(bytes[6..10], [0, 0, 0, 1]);
        assert_eq!(bytes[10..20], [0, 0, 0, 0, 0, 0, 0, 7, 0, 3]);
        assert_eq!(bytes[20..32], [0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 13]);
        assert_eq!(bytes[32..36], [0, 0, 0, 1]);
        assert_eq!(bytes[48..56], [0, 0, 0, 0, 0, 0, 0, 10]);
        assert_eq!(bytes[2..6], crc32c::crc32c(&bytes[6..]).to_be_bytes());
    }

    #[test]
    fn only_the_last_batch_of_a_producer_survives_a_snapshot() {
        let producers = decode(&encode(&states())).unwrap();
        let (id, entry) = &producers[0];
        assert_eq!(*id, ProducerId(7));
        assert_eq!(entry.batches.len(), 1);
        assert_eq!(entry.last_sequence(), Some(Sequence(3)));
        assert_eq!(entry.transaction_start, Some(Offset(10)));
    }

    #[test]
    fn a_damaged_snapshot_is_refused() {
        let good = encode(&states());
        for at in 0..good.len() {
            let mut bad = good.to_vec();
            bad[at] ^= 1;
            assert_eq!(decode(&bad), None, "byte {at}");
        }
        assert_eq!(decode(&good[..good.len() - 1]), None);
    }
}
