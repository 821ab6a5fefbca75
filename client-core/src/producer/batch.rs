//! A batch on its way to one partition (`ProducerBatch`): the records, who waits for them, and what was tried.

use super::idempotence::Identity;
use bytes::Bytes;
use protocol::ids::{Sequence, TopicPartition};
use protocol::record::{BatchBuilder, RecordBatch};
use protocol::time::Mono;
use protocol::verb::OperationId;

/// Names a batch within its producer; later batches have greater ids.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct BatchId(pub(super) u64);

/// Somebody who waits for the fate of a record.
#[derive(Clone, Copy, Debug)]
pub(super) struct Thunk {
    pub(super) operation: OperationId,
    /// The record's number among all that were sent.
    pub(super) ordinal: u64,
    pub(super) timestamp: i64,
}

/// The records of a batch.
#[derive(Clone, Debug)]
enum Content {
    Open(BatchBuilder),
    Sealed(RecordBatch),
}

/// A record to append.
pub(super) struct NewRecord<'a> {
    pub(super) thunk: Thunk,
    pub(super) key: Option<&'a Bytes>,
    pub(super) value: Option<&'a Bytes>,
}

/// A batch.
#[derive(Clone, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "five facts that do not exclude one another"
)]
pub(super) struct ProducerBatch {
    pub(super) partition: TopicPartition,
    content: Content,
    pub(super) thunks: Vec<Thunk>,
    /// Bytes it may grow to.
    room: usize,
    /// Bytes of `buffer.memory` it holds.
    pub(super) reserved: u64,
    pub(super) created: Mono,
    /// When it was last put back, or created.
    pub(super) last_attempt: Mono,
    /// How often it was put back.
    pub(super) attempts: u32,
    /// Under which identity and sequence it is sent, once it was drained by an idempotent producer.
    pub(super) identity: Option<(Identity, Sequence)>,
    /// Its sequence is not the one it was first sent under.
    pub(super) sequence_reset: bool,
    /// Some attempt may have been appended without us knowing.
    pub(super) uncertain: bool,
    /// A request with it is under way.
    pub(super) in_flight: bool,
    /// It is part of a transaction.
    transactional: bool,
    /// The application has been told; only the answer of a request is still waited for.
    pub(super) decided: bool,
}

impl ProducerBatch {
    pub(super) fn new(partition: TopicPartition, room: usize, reserved: u64, now: Mono) -> Self {
        Self {
            partition,
            content: Content::Open(BatchBuilder::new()),
            thunks: Vec::new(),
            room,
            reserved,
            created: now,
            last_attempt: now,
            attempts: 0,
            identity: None,
            sequence_reset: false,
            uncertain: false,
            in_flight: false,
            transactional: false,
            decided: false,
        }
    }

    /// Makes it part of a transaction; it must be empty.
    #[must_use]
    pub(super) fn in_transaction(mut self, transactional: bool) -> Self {
        if transactional {
            self.content = Content::Open(BatchBuilder::new().transactional());
        }
        self.transactional = transactional;
        self
    }

    /// Appends if the batch is open and has room (`tryAppend`). An empty batch takes any record.
    pub(super) fn try_append(&mut self, record: &NewRecord<'_>) -> bool {
        let Content::Open(builder) = &mut self.content else {
            return false;
        };
        let (key, value) = (
            record.key.map(AsRef::as_ref),
            record.value.map(AsRef::as_ref),
        );
        let timestamp = record.thunk.timestamp;
        if !builder.is_empty() && builder.size_if_appended(timestamp, key, value, &[]) > self.room {
            return false;
        }
        builder.append(timestamp, key, value, &[]);
        self.thunks.push(record.thunk);
        true
    }

    /// Nothing more goes in (`isFull`).
    pub(super) fn is_full(&self) -> bool {
        match &self.content {
            Content::Open(builder) => !builder.is_empty() && builder.size_in_bytes() >= self.room,
            Content::Sealed(_) => true,
        }
    }

    pub(super) fn size_in_bytes(&self) -> usize {
        match &self.content {
            Content::Open(builder) => builder.size_in_bytes(),
            Content::Sealed(batch) => batch.size_in_bytes(),
        }
    }

    pub(super) fn record_count(&self) -> i32 {
        i32::try_from(self.thunks.len()).unwrap_or(i32::MAX)
    }

    /// The sequence of its first record.
    pub(super) fn base_sequence(&self) -> Option<Sequence> {
        self.identity.map(|(_, sequence)| sequence)
    }

    /// The sequence of its last record.
    pub(super) fn last_sequence(&self) -> Option<Sequence> {
        self.base_sequence()
            .map(|base| base.plus(self.record_count() - 1))
    }

    /// Gives it its first identity; it must not be sealed yet.
    pub(super) fn identify(&mut self, identity: Identity, sequence: Sequence) {
        self.identity = Some((identity, sequence));
        if let Content::Open(builder) = &mut self.content {
            builder.set_producer(identity.id, identity.epoch, sequence);
        }
    }

    /// Numbers it anew (`resetProducerState`). A request under way keeps the old bytes.
    pub(super) fn renumber(&mut self, identity: Identity, sequence: Sequence) {
        self.sequence_reset = true;
        self.identity = Some((identity, sequence));
        let old = std::mem::replace(&mut self.content, Content::Open(BatchBuilder::new()));
        self.content = match old {
            Content::Open(mut builder) => {
                builder.set_producer(identity.id, identity.epoch, sequence);
                Content::Open(builder)
            }
            Content::Sealed(batch) => Content::Sealed(batch.with_producer_state(
                identity.id,
                identity.epoch,
                sequence,
                self.transactional,
            )),
        };
    }

    /// Closes it and gives its bytes.
    pub(super) fn seal(&mut self) -> RecordBatch {
        let content = std::mem::replace(&mut self.content, Content::Open(BatchBuilder::new()));
        let sealed = match content {
            Content::Open(builder) => builder.build(),
            Content::Sealed(batch) => batch,
        };
        self.content = Content::Sealed(sealed.clone());
        sealed
    }

    /// Cuts it into batches of at most `room` bytes (KIP-126). What is uncertain about it is uncertain about them.
    pub(super) fn split(mut self, room: usize) -> Vec<Self> {
        let records = self.seal();
        let mut parts: Vec<Self> = Vec::new();
        for (record, thunk) in records.records().zip(&self.thunks) {
            let record = record.expect("the producer's own bytes are whole");
            let new = NewRecord {
                thunk: *thunk,
                key: record.key.as_ref(),
                value: record.value.as_ref(),
            };
            if parts.last_mut().is_some_and(|last| last.try_append(&new)) {
                continue;
            }
            let mut part = Self::new(self.partition.clone(), room, 0, self.created)
                .in_transaction(self.transactional);
            part.attempts = self.attempts;
            part.last_attempt = self.last_attempt;
            part.uncertain = self.uncertain;
            part.try_append(&new);
            parts.push(part);
        }
        parts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::ids::{ProducerEpoch, ProducerId};

    fn batch(room: usize, records: usize) -> ProducerBatch {
        let mut batch = ProducerBatch::new(TopicPartition::new("t", 0), room, 0, Mono(0));
        let value = Bytes::from_static(&[7; 100]);
        for ordinal in 0..records {
            let ordinal = u64::try_from(ordinal).unwrap();
            let thunk = Thunk {
                operation: OperationId(ordinal),
                ordinal,
                timestamp: 5,
            };
            let record = NewRecord {
                thunk,
                key: None,
                value: Some(&value),
            };
            assert!(batch.try_append(&record), "{ordinal}");
        }
        batch
    }

    #[test]
    fn a_split_keeps_every_record_and_its_waiter_in_order() {
        let mut whole = batch(10_000, 10);
        whole.uncertain = true;
        let parts = whole.split(300);
        assert_eq!(parts.len(), 5);
        let operations: Vec<u64> = parts
            .iter()
            .flat_map(|part| part.thunks.iter().map(|thunk| thunk.operation.0))
            .collect();
        assert_eq!(operations, (0..10).collect::<Vec<_>>());
        assert!(parts.iter().all(|part| part.uncertain));
    }

    #[test]
    fn a_record_larger_than_the_room_has_a_batch_of_its_own() {
        let mut large = batch(10, 1);
        assert!(large.is_full());
        assert_eq!(large.seal().record_count(), 1);
    }

    #[test]
    fn a_renumbered_batch_leaves_the_bytes_under_way_alone() {
        let mut batch = batch(10_000, 2);
        let identity = |epoch| Identity {
            id: ProducerId(9),
            epoch: ProducerEpoch(epoch),
        };
        batch.identify(identity(0), Sequence(40));
        let sent = batch.seal();
        batch.renumber(identity(1), Sequence(0));
        assert_eq!(sent.base_sequence(), Some(Sequence(40)));
        let again = batch.seal();
        assert_eq!(again.base_sequence(), Some(Sequence(0)));
        assert_eq!(again.producer_epoch(), Some(ProducerEpoch(1)));
        assert!(again.is_valid());
    }
}
