//! The aborted transactions that end in a segment (`TransactionIndex`, `AbortedTxn`; KIP-98).
//!
//! Entries of 34 bytes: version, producer, first and last offset, and the last stable offset once the marker was
//! replicated. The file comes to be with the first entry, as in Kafka.

use bytes::{BufMut, Bytes, BytesMut};
use protocol::disk::{Disk, DiskError, FileId};
use protocol::ids::{Offset, ProducerId};

const ENTRY: usize = 34;
const VERSION: i16 = 0;

/// One aborted transaction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AbortedSpan {
    /// Whose.
    pub producer_id: ProducerId,
    /// Its first record.
    pub first_offset: Offset,
    /// Its marker.
    pub last_offset: Offset,
    /// Everything below was stable with it: no transaction that reaches below is noted later.
    pub last_stable_offset: Offset,
}

/// The transaction index of one segment.
#[derive(Clone, Debug, Default)]
pub struct TransactionIndex {
    file: Option<FileId>,
    entries: Vec<AbortedSpan>,
}

impl TransactionIndex {
    /// Reads the file, if there is one; `None` when its content cannot be an index (`sanityCheck`).
    pub fn load(
        disk: &mut dyn Disk,
        path: &str,
        base_offset: Offset,
    ) -> Result<Option<Self>, DiskError> {
        let Some(file) = disk.find(path) else {
            return Ok(Some(Self::default()));
        };
        let size = disk.len(file);
        let bytes = disk.read(file, 0, size)?;
        let entries: Option<Vec<_>> = bytes.chunks(ENTRY).map(decode).collect();
        Ok(entries
            .filter(|entries| entries.iter().all(|entry| entry.last_offset >= base_offset))
            .map(|entries| Self {
                file: Some(file),
                entries,
            }))
    }

    /// The index over whatever the file holds, to be forgotten and built anew.
    pub(super) fn untrusted(disk: &mut dyn Disk, path: &str) -> Self {
        Self {
            file: disk.find(path),
            entries: Vec::new(),
        }
    }

    /// The file, once there is one.
    pub fn file(&self) -> Option<FileId> {
        self.file
    }

    /// Adds a transaction.
    pub fn append(
        &mut self,
        disk: &mut dyn Disk,
        path: &str,
        span: AbortedSpan,
    ) -> Result<(), DiskError> {
        let file = match self.file {
            Some(file) => file,
            None => disk.open(path)?,
        };
        self.file = Some(file);
        disk.append(file, encode(&span))?;
        self.entries.push(span);
        Ok(())
    }

    /// Removes transactions that end at `offset` or later.
    pub fn truncate_to(&mut self, disk: &mut dyn Disk, offset: Offset) -> Result<(), DiskError> {
        let keep = self
            .entries
            .partition_point(|entry| entry.last_offset < offset);
        if keep == self.entries.len() {
            return Ok(());
        }
        self.entries.truncate(keep);
        let size = u64::try_from(keep * ENTRY).expect("an index is small");
        self.file.map_or(Ok(()), |file| disk.truncate(file, size))
    }

    /// Removes everything.
    pub fn reset(&mut self, disk: &mut dyn Disk) -> Result<(), DiskError> {
        self.entries.clear();
        self.file.map_or(Ok(()), |file| disk.truncate(file, 0))
    }

    /// Collects the transactions that overlap the offsets from `from` (included) to `upper_bound` (excluded). Tells
    /// whether no later segment can have more (`collectAbortedTxns`).
    pub fn collect(&self, from: Offset, upper_bound: Offset, into: &mut Vec<AbortedSpan>) -> bool {
        for entry in &self.entries {
            if entry.last_offset >= from && entry.first_offset < upper_bound {
                into.push(*entry);
            }
            if entry.last_stable_offset >= upper_bound {
                return true;
            }
        }
        false
    }
}

fn encode(span: &AbortedSpan) -> Bytes {
    let mut bytes = BytesMut::with_capacity(ENTRY);
    bytes.put_i16(VERSION);
    bytes.put_i64(span.producer_id.0);
    bytes.put_i64(span.first_offset.0);
    bytes.put_i64(span.last_offset.0);
    bytes.put_i64(span.last_stable_offset.0);
    bytes.freeze()
}

fn decode(entry: &[u8]) -> Option<AbortedSpan> {
    let number = |at: usize| {
        let field = entry.get(at..at + 8)?;
        field.try_into().ok().map(i64::from_be_bytes)
    };
    let version = entry.first_chunk().copied().map(i16::from_be_bytes)?;
    (version == VERSION).then_some(AbortedSpan {
        producer_id: ProducerId(number(2)?),
        first_offset: Offset(number(10)?),
        last_offset: Offset(number(18)?),
        last_stable_offset: Offset(number(26)?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::ReadRequest;
    use crate::log::fixture::{Fixture, batch, transactional};
    use protocol::api::data::AbortedTransaction;
    use protocol::ids::ProducerEpoch;
    use protocol::record::{ControlMarker, ControlType};

    const INDEX: &str = "d/t-0/00000000000000000000.txnindex";

    fn end(fixture: &mut Fixture, producer: i64, kind: ControlType) {
        let marker = ControlMarker {
            kind,
            coordinator_epoch: 0,
        };
        let batch = marker.batch(ProducerId(producer), ProducerEpoch(0), 10_000);
        fixture.coordinate(batch).unwrap();
    }

    /// Producers 1 and 2 abort (offsets 0 to 2 and 1 to 4), 3 commits between.
    fn filled() -> Fixture {
        let mut fixture = Fixture::new(&[]);
        fixture.append(transactional(1, 0), 0).unwrap();
        fixture.append(transactional(2, 0), 0).unwrap();
        end(&mut fixture, 1, ControlType::Abort);
        fixture.append(transactional(3, 0), 0).unwrap();
        end(&mut fixture, 2, ControlType::Abort);
        end(&mut fixture, 3, ControlType::Commit);
        fixture.append(batch(&["a"]), 0).unwrap();
        fixture.commit();
        fixture
    }

    fn aborted(fixture: &Fixture, from: i64, to: i64) -> Vec<(i64, i64)> {
        let found = fixture.log.aborted_transactions(Offset(from), Offset(to));
        found
            .iter()
            .map(|txn| (txn.producer_id.0, txn.first_offset.0))
            .collect()
    }

    #[test]
    fn an_entry_is_34_bytes_and_tells_what_was_stable_with_it() {
        let fixture = filled();
        let content = fixture.bench.disk.content(INDEX);
        assert_eq!(content.len(), 2 * ENTRY);
        let first = decode(&content[..ENTRY]).unwrap();
        assert_eq!(
            first,
            AbortedSpan {
                producer_id: ProducerId(1),
                first_offset: Offset(0),
                last_offset: Offset(2),
                last_stable_offset: Offset(1)
            },
            "producer 2 was still open"
        );
        assert_eq!(
            decode(&content[ENTRY..]).unwrap().last_stable_offset,
            Offset(3)
        );
    }

    #[test]
    fn a_reader_hears_of_the_aborts_that_overlap_what_it_reads() {
        let fixture = filled();
        assert_eq!(aborted(&fixture, 0, 7), [(1, 0), (2, 1)]);
        assert_eq!(aborted(&fixture, 0, 1), [(1, 0)]);
        assert_eq!(aborted(&fixture, 3, 7), [(2, 1)]);
        assert_eq!(aborted(&fixture, 5, 7), []);
    }

    #[test]
    fn what_is_read_comes_with_the_aborts_up_to_the_next_entry_of_the_index() {
        // An entry with every batch but the first, so that the end of what is read is known to one batch.
        let mut fixture = Fixture::new(&[("index.interval.bytes", "0")]);
        for producer in 1..=3 {
            fixture.append(transactional(producer, 0), 0).unwrap();
            end(&mut fixture, producer, ControlType::Abort);
        }
        fixture.commit();
        let told = |fixture: &mut Fixture, max_bytes, upper_bound| {
            let request = ReadRequest {
                offset: Offset(0),
                max_bytes,
                upper_bound: Offset(upper_bound),
                min_one_message: true,
            };
            let data = fixture.log.read(&mut fixture.bench.disk, &request).unwrap();
            let aborted = fixture.log.aborted_in(&data);
            let first = |txn: &AbortedTransaction| txn.first_offset.0;
            aborted.iter().map(first).collect::<Vec<_>>()
        };
        assert_eq!(told(&mut fixture, 1, 6), [0], "one batch");
        assert_eq!(told(&mut fixture, u64::MAX, 3), [0, 2], "three batches");
        assert_eq!(told(&mut fixture, u64::MAX, 6), [0, 2, 4]);
        assert!(told(&mut fixture, u64::MAX, 0).is_empty(), "nothing");
        // Without an entry of the index the end of the log bounds it.
        let mut sparse = filled();
        assert_eq!(told(&mut sparse, 1, 7), [0, 1]);
    }

    #[test]
    fn a_cut_and_a_restart_keep_the_aborts_whose_markers_are_left() {
        let mut fixture = filled();
        fixture.reopen(true);
        assert_eq!(aborted(&fixture, 0, 7), [(1, 0), (2, 1)]);
        fixture.truncate(4);
        assert_eq!(aborted(&fixture, 0, 4), [(1, 0)]);
        assert_eq!(
            fixture.log.last_stable_offset(),
            Offset(1),
            "2 is open again"
        );
        fixture.reopen(true);
        assert_eq!(aborted(&fixture, 0, 4), [(1, 0)]);
    }

    #[test]
    fn recovery_builds_the_index_anew() {
        let mut fixture = filled();
        fixture.roll();
        fixture.append(transactional(4, 0), 0).unwrap();
        fixture.roll();
        end(&mut fixture, 4, ControlType::Abort);
        let before = fixture.bench.disk.content(INDEX).to_vec();
        let second = "d/t-0/00000000000000000008.txnindex";
        for damage in [INDEX, second] {
            let file = fixture.bench.disk.find(damage).unwrap();
            let odd = Bytes::from_static(&[1]);
            fixture.bench.disk.append(file, odd).unwrap();
        }
        fixture.reopen(false);
        assert_eq!(fixture.bench.disk.content(INDEX), before);
        assert_eq!(fixture.bench.disk.content(second).len(), ENTRY);
        assert_eq!(aborted(&fixture, 7, 9), [(4, 7)]);
    }
}
