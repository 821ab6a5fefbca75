//! What a log remembers of its idempotent and transactional producers (`ProducerStateManager`, `ProducerStateEntry`;
//! KIP-98, KIP-360).
//!
//! Per producer: epoch, the last five batches (KAFKA-5494), where its open transaction began, and whether a verification of
//! its next one is under way (KIP-890). Left out: the lowest sequence that `VerificationStateEntry` remembers.

use super::transaction_index::AbortedSpan;
use protocol::behaviour::{Behaviour, Fix};
use protocol::ids::{Offset, ProducerEpoch, ProducerId, Sequence};
use protocol::record::{ControlType, RecordBatch};
use protocol::time::Span;
use std::collections::{BTreeMap, BTreeSet};

/// How many batches of a producer are remembered (`ProducerStateEntry.NumBatchesToRetain`).
pub const WINDOW: usize = 5;

/// One remembered batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BatchMetadata {
    /// The sequence of its last record.
    pub last_sequence: Sequence,
    /// The offset of its last record.
    pub last_offset: Offset,
    /// Last offset less first offset.
    pub offset_delta: i32,
    /// Its largest timestamp in milliseconds.
    pub timestamp: i64,
}

impl BatchMetadata {
    /// The offset of its first record.
    pub fn first_offset(&self) -> Offset {
        self.last_offset.plus(-i64::from(self.offset_delta))
    }

    /// The sequence of its first record (`DefaultRecordBatch.decrementSequence`).
    pub fn first_sequence(&self) -> Sequence {
        let Sequence(last) = self.last_sequence;
        if last >= self.offset_delta {
            Sequence(last - self.offset_delta)
        } else {
            Sequence(i32::MAX - (self.offset_delta - last) + 1)
        }
    }
}

/// What is known of one producer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ProducerEntry {
    /// Its epoch; none after a snapshot that had none.
    pub epoch: Option<ProducerEpoch>,
    /// The remembered batches, oldest first.
    pub batches: Vec<BatchMetadata>,
    /// The epoch of the coordinator that wrote its last marker; -1 without one.
    pub coordinator_epoch: i32,
    /// The timestamp of the last batch or marker.
    pub last_timestamp: i64,
    /// The first offset of its open transaction.
    pub transaction_start: Option<Offset>,
}

impl ProducerEntry {
    fn new() -> Self {
        Self {
            epoch: None,
            batches: Vec::new(),
            coordinator_epoch: -1,
            last_timestamp: -1,
            transaction_start: None,
        }
    }

    /// The sequence of its last record, if one is remembered.
    pub fn last_sequence(&self) -> Option<Sequence> {
        self.batches.last().map(|batch| batch.last_sequence)
    }

    /// A new epoch forgets the batches of the one before.
    fn enter(&mut self, epoch: ProducerEpoch) {
        if self.epoch != Some(epoch) {
            self.batches.clear();
            self.epoch = Some(epoch);
        }
    }
}

/// A transaction whose marker is in the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CompletedTransaction {
    /// Whose.
    pub producer_id: ProducerId,
    /// Its first record.
    pub first_offset: Offset,
    /// Its marker.
    pub last_offset: Offset,
    /// How it ended.
    pub aborted: bool,
}

/// Names one verification of a producer's transaction in one log (`VerificationGuard`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct VerificationGuard(u64);

/// The producers of one log.
#[derive(Clone, Debug, Default)]
pub struct ProducerStates {
    producers: BTreeMap<ProducerId, ProducerEntry>,
    /// Open transactions by their first offset.
    open: BTreeMap<Offset, ProducerId>,
    /// Completed transactions whose marker is not below the high watermark yet, by their first offset.
    unreplicated: BTreeMap<Offset, CompletedTransaction>,
    /// Whether there ever was a transaction.
    transactions: bool,
    /// Producers whose transaction is being verified; a batch or a marker in between takes them out.
    verifying: BTreeMap<ProducerId, VerificationGuard>,
    next_guard: u64,
    /// Everything below this offset is taken into account.
    pub(super) map_end: Offset,
    /// The offsets of the snapshots on disk.
    pub(super) snapshots: BTreeSet<Offset>,
}

impl ProducerStates {
    /// What is known of a producer.
    pub fn get(&self, producer: ProducerId) -> Option<&ProducerEntry> {
        self.producers.get(&producer)
    }

    /// All producers.
    pub fn iter(&self) -> impl Iterator<Item = (ProducerId, &ProducerEntry)> {
        self.producers.iter().map(|(id, entry)| (*id, entry))
    }

    /// Whether no producer is known.
    pub fn is_empty(&self) -> bool {
        self.producers.is_empty()
    }

    /// Whether there ever was a transaction here.
    pub fn has_seen_transactions(&self) -> bool {
        self.transactions
    }

    /// A verification begins, or one that is under way is joined; `None` where a transaction is open already.
    pub fn begin_verification(&mut self, producer: ProducerId) -> Option<VerificationGuard> {
        if self.has_open_transaction(producer) {
            return None;
        }
        let next = &mut self.next_guard;
        let guard = self.verifying.entry(producer).or_insert_with(|| {
            *next += 1;
            VerificationGuard(*next)
        });
        Some(*guard)
    }

    /// Whether a batch of a transaction may be appended: the transaction is open, or was verified and has not ended since.
    pub fn admits(&self, producer: ProducerId, guard: Option<VerificationGuard>) -> bool {
        let verified = || guard.is_some() && self.verifying.get(&producer).copied() == guard;
        self.has_open_transaction(producer) || verified()
    }

    fn has_open_transaction(&self, producer: ProducerId) -> bool {
        let entry = self.producers.get(&producer);
        entry.is_some_and(|entry| entry.transaction_start.is_some())
    }

    /// The first offset that a reader of committed data must not pass: the start of the earliest transaction that is open
    /// or whose end is not replicated yet.
    pub fn first_unstable_offset(&self) -> Option<Offset> {
        let open = self.open.keys().next();
        let unreplicated = self.unreplicated.keys().next();
        open.into_iter().chain(unreplicated).min().copied()
    }

    /// Remembers an appended batch; tells the transaction it ended.
    pub fn apply(
        &mut self,
        batch: &RecordBatch,
        behaviour: Behaviour,
    ) -> Option<CompletedTransaction> {
        self.map_end = batch.next_offset();
        self.transactions |= batch.is_transactional();
        let (id, epoch) = batch.producer_id().zip(batch.producer_epoch())?;
        if batch.is_transactional() {
            self.verifying.remove(&id);
        }
        let entry = self.producers.entry(id).or_insert_with(ProducerEntry::new);
        if batch.is_control() {
            let completed = apply_marker(entry, id, batch, behaviour)?;
            self.open.remove(&completed.first_offset);
            self.unreplicated.insert(completed.first_offset, completed);
            return Some(completed);
        }
        entry.enter(epoch);
        if let Some(last_sequence) = batch.last_sequence() {
            let window = if behaviour.has(Fix::DedupeWindow) {
                WINDOW
            } else {
                1
            };
            if entry.batches.len() >= window {
                entry.batches.remove(0);
            }
            entry.batches.push(BatchMetadata {
                last_sequence,
                last_offset: batch.last_offset(),
                offset_delta: batch.last_offset_delta(),
                timestamp: batch.max_timestamp(),
            });
        }
        entry.last_timestamp = batch.max_timestamp();
        if batch.is_transactional() && entry.transaction_start.is_none() {
            entry.transaction_start = Some(batch.base_offset());
            self.open.insert(batch.base_offset(), id);
        }
        None
    }

    /// What the transaction index keeps of an aborted transaction. Once it is replicated, everything below the start of
    /// the next open one is stable, or everything up to its marker.
    pub fn aborted_span(&self, completed: &CompletedTransaction) -> AbortedSpan {
        let next_open = self.open.keys().next().copied();
        AbortedSpan {
            producer_id: completed.producer_id,
            first_offset: completed.first_offset,
            last_offset: completed.last_offset,
            last_stable_offset: next_open.unwrap_or_else(|| completed.last_offset.next()),
        }
    }

    /// The high watermark moved: transactions whose marker is below it are stable.
    pub fn on_high_watermark(&mut self, high_watermark: Offset) {
        self.unreplicated
            .retain(|_, done| done.last_offset >= high_watermark);
    }

    /// The log start moved. Before KIP-360 a producer was forgotten with its last record.
    pub fn on_log_start(&mut self, log_start: Offset, behaviour: Behaviour) {
        self.unreplicated
            .retain(|_, done| done.last_offset >= log_start);
        self.map_end = self.map_end.max(log_start);
        if behaviour.has(Fix::ProducerStateByExpiry) {
            return;
        }
        let open = &mut self.open;
        self.producers.retain(|_, entry| {
            entry.batches.retain(|batch| batch.last_offset >= log_start);
            let keep = !entry.batches.is_empty();
            if let (false, Some(start)) = (keep, entry.transaction_start) {
                open.remove(&start);
            }
            keep
        });
    }

    /// Forgets producers that were silent for `expiration`, except those with an open transaction.
    pub fn remove_expired(&mut self, now_ms: i64, expiration: Span) {
        let limit = i64::try_from(expiration.as_millis()).unwrap_or(i64::MAX);
        self.producers.retain(|_, entry| {
            entry.transaction_start.is_some() || now_ms.saturating_sub(entry.last_timestamp) < limit
        });
    }

    /// Forgets all producers; what comes next starts at `offset`.
    pub fn clear(&mut self, offset: Offset) {
        self.producers.clear();
        self.open.clear();
        self.unreplicated.clear();
        self.map_end = offset;
    }

    /// Takes producers from a snapshot.
    pub(super) fn insert(&mut self, id: ProducerId, entry: ProducerEntry) {
        if let Some(start) = entry.transaction_start {
            self.open.insert(start, id);
            self.transactions = true;
        }
        self.producers.insert(id, entry);
    }
}

fn apply_marker(
    entry: &mut ProducerEntry,
    id: ProducerId,
    batch: &RecordBatch,
    behaviour: Behaviour,
) -> Option<CompletedTransaction> {
    let marker = batch.control_marker().ok().flatten()?;
    entry.enter(batch.producer_epoch()?);
    entry.coordinator_epoch = marker.coordinator_epoch;
    if behaviour.has(Fix::MarkersKeepProducer) {
        entry.last_timestamp = batch.max_timestamp();
    }
    let first_offset = entry.transaction_start.take()?;
    Some(CompletedTransaction {
        producer_id: id,
        first_offset,
        last_offset: batch.last_offset(),
        aborted: marker.kind == ControlType::Abort,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::fixture::{Fixture, numbered, transactional};
    use protocol::behaviour::Era;
    use protocol::error_code::ErrorCode;
    use protocol::ids::LeaderEpoch;
    use protocol::record::ControlMarker;

    fn behaviour(era: Era) -> Behaviour {
        Behaviour::of(era)
    }

    /// States after batches of one producer (epoch, first sequence, count), one after another from offset 0.
    fn after(era: Era, batches: &[(i16, i32, i32)]) -> ProducerStates {
        let mut states = ProducerStates::default();
        for (epoch, sequence, count) in batches {
            let batch = numbered(1, *epoch, *sequence, *count);
            let batch = batch.rebase(states.map_end, LeaderEpoch(0));
            states.apply(&batch, behaviour(era));
        }
        states
    }

    #[test]
    fn before_kip_360_a_producer_was_forgotten_with_its_last_record() {
        for (era, kept) in [(Era::V1_0, false), (Era::V2_8, true)] {
            let mut states = after(era, &[(0, 0, 2)]);
            states.on_log_start(Offset(1), behaviour(era));
            assert!(states.get(ProducerId(1)).is_some());
            states.on_log_start(Offset(2), behaviour(era));
            assert_eq!(states.get(ProducerId(1)).is_some(), kept, "{era}");
        }
    }

    #[test]
    fn silent_producers_expire_unless_a_transaction_is_open() {
        let mut states = after(Era::V2_8, &[(0, 0, 1)]);
        let open = transactional(2, 0).rebase(Offset(1), LeaderEpoch(0));
        states.apply(&open, behaviour(Era::V2_8));
        states.remove_expired(10_999, Span::secs(1));
        assert!(states.get(ProducerId(1)).is_some());
        states.remove_expired(11_000, Span::secs(1));
        assert!(states.get(ProducerId(1)).is_none());
        assert!(states.get(ProducerId(2)).is_some());
    }

    #[test]
    fn an_open_transaction_holds_the_last_stable_offset_until_its_marker_is_replicated() {
        let mut fixture = Fixture::new(&[]);
        fixture.append(numbered(1, 0, 0, 1), 0).unwrap();
        fixture.append(transactional(2, 0), 0).unwrap();
        fixture.append(transactional(2, 1), 0).unwrap();
        fixture.commit();
        assert_eq!(fixture.log.last_stable_offset(), Offset(1));
        assert_eq!(
            fixture.append(numbered(2, 0, 2, 1), 0),
            Err(ErrorCode::InvalidTxnState)
        );
        let marker = |coordinator_epoch| {
            let marker = ControlMarker {
                kind: ControlType::Abort,
                coordinator_epoch,
            };
            marker.batch(ProducerId(2), ProducerEpoch(0), 10_000)
        };
        fixture.coordinate(marker(5)).unwrap();
        assert_eq!(
            fixture.log.last_stable_offset(),
            Offset(1),
            "not replicated"
        );
        fixture.commit();
        assert_eq!(fixture.log.last_stable_offset(), Offset(4));
        assert_eq!(
            fixture.coordinate(marker(4)),
            Err(ErrorCode::TransactionCoordinatorFenced)
        );
        fixture.append(numbered(2, 0, 2, 1), 0).unwrap();
    }
}
