//! The records of `__transaction_state`, byte for byte as 2.8 writes and reads them (`TransactionLog`'s schemas).
//!
//! The key is version 0 and the transactional id, the value version 0 and what the id is; no value is a tombstone. What a
//! retry of `InitProducerId` compares with, the producer's last id and epoch, is not stored.

use super::metadata::{TransactionMetadata, Transit};
use bytes::{Buf, Bytes};
use protocol::ids::{ProducerEpoch, ProducerId, TopicName, TopicPartition, TransactionalId};
use protocol::note::TransactionState;
use protocol::record::{BatchBuilder, RecordBatch};
use protocol::time::Span;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

const VERSION: i16 = 0;

/// Kafka's number for a state that is stored.
const fn number(state: TransactionState) -> u8 {
    match state {
        TransactionState::Empty => 0,
        TransactionState::Ongoing => 1,
        TransactionState::PrepareCommit => 2,
        TransactionState::PrepareAbort => 3,
        TransactionState::CompleteCommit => 4,
        TransactionState::CompleteAbort => 5,
        TransactionState::Dead => 6,
        TransactionState::PrepareEpochFence => 7,
    }
}

const STORED: [TransactionState; 6] = [
    TransactionState::Empty,
    TransactionState::Ongoing,
    TransactionState::PrepareCommit,
    TransactionState::PrepareAbort,
    TransactionState::CompleteCommit,
    TransactionState::CompleteAbort,
];

fn put_text(out: &mut Vec<u8>, text: &str) {
    let size = i16::try_from(text.len()).expect("a name is shorter than 32 KiB");
    out.extend_from_slice(&size.to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

fn put_count(out: &mut Vec<u8>, count: usize) {
    let count = i32::try_from(count).expect("a length has 31 bits");
    out.extend_from_slice(&count.to_be_bytes());
}

/// The key of a transactional id.
pub(super) fn key(id: &TransactionalId) -> Vec<u8> {
    let mut out = Vec::with_capacity(4 + id.as_str().len());
    out.extend_from_slice(&VERSION.to_be_bytes());
    put_text(&mut out, id.as_str());
    out
}

/// What an id is to be. An empty one has no partitions at all, which is not the same as none.
pub(super) fn value(transit: &Transit) -> Vec<u8> {
    let mut out = Vec::with_capacity(64);
    out.extend_from_slice(&VERSION.to_be_bytes());
    out.extend_from_slice(&transit.producer_id.0.to_be_bytes());
    let epoch = transit.producer_epoch.map_or(-1, |epoch| epoch.0);
    out.extend_from_slice(&epoch.to_be_bytes());
    let timeout = i32::try_from(transit.timeout.as_millis()).unwrap_or(i32::MAX);
    out.extend_from_slice(&timeout.to_be_bytes());
    out.push(number(transit.state));
    if transit.state == TransactionState::Empty {
        out.extend_from_slice(&(-1_i32).to_be_bytes());
    } else {
        let mut topics: BTreeMap<&TopicName, Vec<i32>> = BTreeMap::new();
        for partition in &transit.partitions {
            let list = topics.entry(&partition.topic).or_default();
            list.push(partition.partition.0);
        }
        put_count(&mut out, topics.len());
        for (topic, partitions) in topics {
            put_text(&mut out, topic.as_str());
            put_count(&mut out, partitions.len());
            for partition in partitions {
                out.extend_from_slice(&partition.to_be_bytes());
            }
        }
    }
    out.extend_from_slice(&transit.update_timestamp.to_be_bytes());
    out.extend_from_slice(&transit.start_timestamp.to_be_bytes());
    out
}

/// The batch of one transition.
pub(super) fn batch(id: &TransactionalId, transit: &Transit, wall_ms: i64) -> RecordBatch {
    let mut builder = BatchBuilder::new();
    builder.append(wall_ms, Some(&key(id)), Some(&value(transit)), &[]);
    builder.build()
}

/// A batch that forgets these ids.
pub(super) fn tombstones<'a>(
    ids: impl IntoIterator<Item = &'a TransactionalId>,
    wall_ms: i64,
) -> RecordBatch {
    let mut builder = BatchBuilder::new();
    for id in ids {
        builder.append(wall_ms, Some(&key(id)), None, &[]);
    }
    builder.build()
}

/// Reads fields off the front; `None` when the bytes end or make no sense.
struct Reader(Bytes);

impl Reader {
    fn version(&mut self) -> Option<()> {
        (self.0.try_get_i16().ok()? == VERSION).then_some(())
    }

    fn int(&mut self) -> Option<i32> {
        self.0.try_get_i32().ok()
    }

    fn long(&mut self) -> Option<i64> {
        self.0.try_get_i64().ok()
    }

    fn text(&mut self) -> Option<Arc<str>> {
        let size = usize::try_from(self.0.try_get_i16().ok()?).ok()?;
        let bytes = (size <= self.0.len()).then(|| self.0.split_to(size))?;
        std::str::from_utf8(&bytes).ok().map(Arc::from)
    }
}

/// Reads a key.
pub(super) fn read_key(bytes: &Bytes) -> Option<TransactionalId> {
    let mut input = Reader(bytes.clone());
    input.version()?;
    input.text().map(TransactionalId)
}

/// Reads a value.
pub(super) fn read_value(bytes: &Bytes) -> Option<TransactionMetadata> {
    let mut input = Reader(bytes.clone());
    input.version()?;
    let producer_id = ProducerId(input.long()?);
    let epoch = input.0.try_get_i16().ok()?;
    let timeout = Span::millis(u64::try_from(input.int()?).ok()?);
    let status = input.0.try_get_u8().ok()?;
    let state = *STORED.get(usize::from(status))?;
    let mut partitions = BTreeSet::new();
    for _ in 0..input.int()? {
        let topic = TopicName(input.text()?);
        for _ in 0..input.int()? {
            partitions.insert(TopicPartition::new(topic.clone(), input.int()?));
        }
    }
    let update_timestamp = input.long()?;
    let start_timestamp = input.long()?;
    Some(TransactionMetadata {
        producer_epoch: (epoch >= 0).then_some(ProducerEpoch(epoch)),
        state,
        partitions,
        start_timestamp,
        ..TransactionMetadata::new(producer_id, timeout, update_timestamp)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transit(state: TransactionState, partitions: &[(&str, i32)]) -> Transit {
        let partitions = partitions.iter();
        Transit {
            producer_id: ProducerId(7),
            last_producer_id: None,
            producer_epoch: Some(ProducerEpoch(2)),
            last_producer_epoch: None,
            timeout: Span::secs(60),
            state,
            partitions: partitions
                .map(|(topic, index)| TopicPartition::new(*topic, *index))
                .collect(),
            start_timestamp: 5,
            update_timestamp: 9,
        }
    }

    #[test]
    fn a_record_is_laid_out_as_kafka_lays_it_out() {
        assert_eq!(key(&"tx".into()), [0, 0, 0, 2, b't', b'x']);
        let bytes = value(&transit(TransactionState::Ongoing, &[("a", 1), ("a", 3)]));
        let head = [0, 0, 0, 0, 0, 0, 0, 0, 0, 7, 0, 2, 0, 0, 0xea, 0x60, 1];
        assert_eq!(bytes[..17], head);
        let topic = [0, 0, 0, 1, 0, 1, b'a', 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 3];
        assert_eq!(bytes[17..36], topic);
        assert_eq!(
            bytes[36..],
            [0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 5]
        );
        let empty = value(&transit(TransactionState::Empty, &[]));
        assert_eq!(empty[17..21], [0xff; 4], "null, not an empty list");
    }

    #[test]
    fn what_is_written_is_read_back_except_what_is_not_stored() {
        for state in STORED {
            let partitions: &[(&str, i32)] = match state {
                TransactionState::Empty => &[],
                TransactionState::Ongoing
                | TransactionState::PrepareCommit
                | TransactionState::PrepareAbort
                | TransactionState::CompleteCommit
                | TransactionState::CompleteAbort
                | TransactionState::Dead
                | TransactionState::PrepareEpochFence => &[("a", 0), ("b", 2)],
            };
            let written = transit(state, partitions);
            let read = read_value(&Bytes::from(value(&written))).unwrap();
            assert_eq!(read.state, state);
            assert_eq!(read.partitions, written.partitions);
            assert_eq!(read.producer_epoch, Some(ProducerEpoch(2)));
            assert_eq!((read.start_timestamp, read.update_timestamp), (5, 9));
            assert_eq!((read.last_producer_epoch, read.pending), (None, None));
        }
        assert_eq!(read_key(&Bytes::from(key(&"tx".into()))), Some("tx".into()));
    }
}
