//! Sequences, and what to do when they do not fit (`TransactionManager` and `TxnPartitionMap` without transactions).
//!
//! Since 2.4 (KIP-360) the producer raises its own epoch and numbers the batches of the troubled partition anew; before,
//! it asked for a new producer id and failed what was on its way. A transactional producer does neither: its epoch comes
//! from the coordinator, and what does not fit makes it abort ([`transactions`](super::transactions)).

use super::batch::{BatchId, ProducerBatch};
use protocol::behaviour::{Behaviour, Fix};
use protocol::error_code::ErrorCode;
use protocol::ids::{Offset, ProducerEpoch, ProducerId, Sequence, TopicPartition};
use protocol::time::Mono;
use std::collections::BTreeMap;

/// A producer id and its epoch.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Identity {
    pub(super) id: ProducerId,
    pub(super) epoch: ProducerEpoch,
}

/// The sequences of one partition (`TxnPartitionEntry`).
#[derive(Clone, Debug)]
struct Entry {
    /// Under which its next batch goes; none before the first.
    identity: Option<Identity>,
    next: Sequence,
    last_acked: Option<Sequence>,
    last_acked_offset: Option<Offset>,
    /// Batches sent and not decided, those that wait for a retry included.
    in_flight: BTreeMap<(Identity, Sequence), BatchId>,
}

impl Entry {
    const fn new(identity: Option<Identity>) -> Self {
        Self {
            identity,
            next: Sequence(0),
            last_acked: None,
            last_acked_offset: None,
            in_flight: BTreeMap::new(),
        }
    }

    fn is_next(&self, sequence: Sequence) -> bool {
        i64::from(sequence.0) - self.last_acked.map_or(-1, |acked| i64::from(acked.0)) == 1
    }
}

/// The question for a producer id.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Asking {
    Idle,
    UnderWay,
    RestUntil(Mono),
}

/// What a look at the sequences found out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Settled {
    /// Sending may go on.
    Fine,
    /// A transaction cannot go on, because nobody knows which of its batches were appended.
    Lost,
    /// The coordinator is to be asked for a new epoch while a transaction is open.
    WantsEpoch,
}

/// The idempotent side of a producer.
#[derive(Clone, Debug)]
pub(super) struct Idempotence {
    behaviour: Behaviour,
    /// The producer is a transactional one.
    transactional: bool,
    identity: Option<Identity>,
    asking: Asking,
    /// No way on; everything fails with this.
    fatal: Option<ErrorCode>,
    partitions: BTreeMap<TopicPartition, Entry>,
    /// Partitions with a batch given up whose fate is open, and the sequence after it.
    unresolved: BTreeMap<TopicPartition, Sequence>,
    /// Partitions that need a new epoch, and the sequence of the batch that showed it.
    rewrite: BTreeMap<TopicPartition, Sequence>,
    /// Before KIP-360: a new producer id is needed.
    reset_required: bool,
}

impl Idempotence {
    pub(super) fn new(behaviour: Behaviour, transactional: bool) -> Self {
        Self {
            behaviour,
            transactional,
            identity: None,
            asking: Asking::Idle,
            fatal: None,
            partitions: BTreeMap::new(),
            unresolved: BTreeMap::new(),
            rewrite: BTreeMap::new(),
            reset_required: false,
        }
    }

    fn raises_epoch(&self) -> bool {
        self.behaviour.has(Fix::ProducerStateByExpiry)
    }

    pub(super) const fn fatal(&self) -> Option<ErrorCode> {
        self.fatal
    }

    pub(super) const fn identity(&self) -> Option<Identity> {
        self.identity
    }

    /// When a producer id is to be asked for; none when there is one or a question is under way.
    pub(super) const fn ask_at(&self) -> Option<Mono> {
        if self.transactional {
            return None;
        }
        match (self.identity, self.fatal, self.asking) {
            (None, None, Asking::Idle) => Some(Mono(0)),
            (None, None, Asking::RestUntil(at)) => Some(at),
            (Some(_), ..) | (_, Some(_), _) | (_, _, Asking::UnderWay) => None,
        }
    }

    pub(super) fn asked(&mut self) {
        self.asking = Asking::UnderWay;
    }

    pub(super) fn rest_until(&mut self, at: Mono) {
        self.asking = Asking::RestUntil(at);
    }

    pub(super) fn fail(&mut self, error: ErrorCode) {
        self.asking = Asking::Idle;
        self.fatal = Some(error);
    }

    pub(super) fn identified(
        &mut self,
        identity: Identity,
        batches: &mut BTreeMap<BatchId, ProducerBatch>,
    ) {
        self.asking = Asking::Idle;
        self.identity = Some(identity);
        self.restart_rewritten(identity, batches);
    }

    /// The coordinator has given a producer id and epoch; every partition begins at 0 (`resetSequenceNumbers`).
    pub(super) fn begin_anew(&mut self, identity: Identity) {
        self.identity = Some(identity);
        self.partitions.clear();
        self.unresolved.clear();
    }

    /// The coordinator has given an epoch in the middle of a transaction, whose batches go on under it.
    pub(super) fn go_on(&mut self, identity: Identity) {
        self.asking = Asking::Idle;
        self.identity = Some(identity);
        self.unresolved.clear();
    }

    /// What waited for a new identity goes under it.
    pub(super) fn renumber(
        &mut self,
        identity: Identity,
        batches: &mut BTreeMap<BatchId, ProducerBatch>,
    ) {
        if self.drains() {
            self.rewrite_all();
            self.restart_rewritten(identity, batches);
        }
    }

    /// What is to be done before more is sent (`maybeResolveSequences`, `bumpIdempotentEpochAndResetIdIfNeeded`).
    pub(super) fn settle(&mut self, batches: &mut BTreeMap<BatchId, ProducerBatch>) -> Settled {
        let mut settled = Settled::Fine;
        let idle: Vec<TopicPartition> = self
            .unresolved
            .keys()
            .filter(|partition| !self.has_in_flight(partition))
            .cloned()
            .collect();
        for partition in idle {
            self.unresolved.remove(&partition);
            let entry = self.entry(&partition);
            if !entry.is_next(entry.next) {
                let next = entry.next;
                if self.transactional {
                    settled = Settled::Lost;
                } else {
                    self.need_new_epoch(&partition, next);
                }
            }
        }
        if self.reset_required {
            self.reset_required = false;
            self.identity = None;
            self.partitions.clear();
            self.unresolved.clear();
        } else if self.drains() {
            if batches.values().any(|batch| batch.in_flight) {
                return settled;
            }
            if self.transactional {
                if self.asking == Asking::Idle {
                    self.asking = Asking::UnderWay;
                    settled = Settled::WantsEpoch;
                }
            } else {
                self.rewrite_all();
                self.raise_epoch(batches);
            }
        } else if self.raises_epoch() && !self.transactional {
            if !self.rewrite.is_empty() && !self.waits_for_preceding() {
                self.raise_epoch(batches);
            }
        } else if let Some(identity) = self.identity {
            // Under the same epoch (`startSequencesAtBeginning`): the batch before keeps its place, so that nobody waits for it.
            self.restart_rewritten(identity, batches);
        }
        settled
    }

    /// librdkafka, which knows one state for the whole producer: before it raises its epoch it sends nothing to anybody until
    /// no request is under way.
    fn drains(&self) -> bool {
        let all_at_once = if self.transactional {
            self.goes_on_in_transaction()
        } else {
            self.raises_epoch() && !self.behaviour.has(Fix::EpochBumpPerPartition)
        };
        all_at_once && !self.rewrite.is_empty()
    }

    /// librdkafka before 1.8.2: a transaction does not end when its producer needs a new epoch.
    fn goes_on_in_transaction(&self) -> bool {
        self.transactional && !self.behaviour.has(Fix::AbortBeforeNewEpoch)
    }

    /// And then it begins every partition anew, also where an answer is missing that would have said "appended".
    fn rewrite_all(&mut self) {
        for (partition, entry) in &self.partitions {
            if let Some((_, first)) = entry.in_flight.keys().next() {
                self.rewrite.entry(partition.clone()).or_insert(*first);
            }
        }
    }

    /// KAFKA-14034: a batch before the one that failed may still turn out to be appended; a new epoch would send it twice.
    fn waits_for_preceding(&self) -> bool {
        self.behaviour.has(Fix::WaitInflightBeforeReset)
            && self.rewrite.iter().any(|(partition, failed)| {
                self.partitions
                    .get(partition)
                    .and_then(|entry| entry.in_flight.keys().next())
                    .is_some_and(|(_, first)| first < failed)
            })
    }

    fn raise_epoch(&mut self, batches: &mut BTreeMap<BatchId, ProducerBatch>) {
        let Some(identity) = self.identity else {
            return;
        };
        let Some(epoch) = identity.epoch.0.checked_add(1) else {
            // The epoch is used up: a new producer id, under which the marked partitions then restart.
            self.identity = None;
            return;
        };
        let identity = Identity {
            epoch: ProducerEpoch(epoch),
            ..identity
        };
        self.identity = Some(identity);
        self.restart_rewritten(identity, batches);
    }

    fn restart_rewritten(
        &mut self,
        identity: Identity,
        batches: &mut BTreeMap<BatchId, ProducerBatch>,
    ) {
        for partition in std::mem::take(&mut self.rewrite).into_keys() {
            self.unresolved.remove(&partition);
            let entry = self.entry(&partition);
            let old = std::mem::replace(entry, Entry::new(Some(identity)));
            entry.last_acked_offset = old.last_acked_offset;
            for id in old.in_flight.into_values() {
                if let Some(batch) = batches.get_mut(&id) {
                    let sequence = entry.next;
                    batch.renumber(identity, sequence);
                    entry.next = sequence.plus(batch.record_count());
                    entry.in_flight.insert((identity, sequence), id);
                }
            }
        }
    }

    fn entry(&mut self, partition: &TopicPartition) -> &mut Entry {
        self.partitions
            .entry(partition.clone())
            .or_insert_with(|| Entry::new(None))
    }

    fn has_in_flight(&self, partition: &TopicPartition) -> bool {
        self.partitions
            .get(partition)
            .is_some_and(|entry| !entry.in_flight.is_empty())
    }

    /// Whether the head of a partition's queue has to wait (`shouldStopDrainBatchesForPartition`).
    pub(super) fn holds_back(&self, head: &ProducerBatch) -> bool {
        let Some(identity) = self.identity.filter(|_| !self.drains()) else {
            return true;
        };
        let entry = self.partitions.get(&head.partition);
        let in_flight = entry.and_then(|entry| entry.in_flight.keys().next());
        match head.base_sequence() {
            None => {
                let stale = entry.and_then(|entry| entry.identity) != Some(identity);
                let waits =
                    in_flight.is_some() && stale && self.behaviour.has(Fix::ResetIdlePartitions);
                waits || self.unresolved.contains_key(&head.partition)
            }
            // A batch that was sent before goes again only when all before it are decided.
            Some(sequence) => in_flight.is_some_and(|(_, first)| *first != sequence),
        }
    }

    /// Gives a batch that was not sent before its place in the sequence.
    pub(super) fn number(&mut self, id: BatchId, batch: &mut ProducerBatch) {
        let Some(identity) = self.identity else {
            return;
        };
        if batch.identity.is_some() {
            return;
        }
        let resets = self.behaviour.has(Fix::ResetIdlePartitions);
        let entry = self.entry(&batch.partition);
        let is_stale = entry.identity != Some(identity);
        if is_stale && entry.in_flight.is_empty() && (resets || entry.identity.is_none()) {
            let offset = entry.last_acked_offset;
            *entry = Entry::new(Some(identity));
            entry.last_acked_offset = offset;
        }
        let sequence = entry.next;
        batch.identify(identity, sequence);
        entry.next = sequence.plus(batch.record_count());
        entry.in_flight.insert((identity, sequence), id);
    }

    /// A batch was appended (`handleCompletedBatch`).
    pub(super) fn completed(&mut self, batch: &ProducerBatch, base_offset: Option<Offset>) {
        let count = i64::from(batch.record_count());
        let last = batch.last_sequence();
        let entry = self.entry(&batch.partition);
        entry.last_acked = entry.last_acked.max(last);
        let last_offset = base_offset.map(|base| base.plus(count - 1));
        entry.last_acked_offset = entry.last_acked_offset.max(last_offset);
        self.remove(batch);
    }

    /// A batch has its place in the sequence already.
    pub(super) fn track(&mut self, id: BatchId, batch: &ProducerBatch) {
        if let Some(key) = batch.identity {
            self.entry(&batch.partition).in_flight.insert(key, id);
        }
    }

    /// A batch is no longer tracked.
    pub(super) fn remove(&mut self, batch: &ProducerBatch) {
        if let (Some(key), Some(entry)) =
            (batch.identity, self.partitions.get_mut(&batch.partition))
        {
            entry.in_flight.remove(&key);
        }
    }

    /// A batch was given up (`handleFailedBatch`). `adjust` says that its sequence is certainly free again.
    pub(super) fn failed(
        &mut self,
        batch: &ProducerBatch,
        error: ErrorCode,
        adjust: bool,
        batches: &mut BTreeMap<BatchId, ProducerBatch>,
    ) {
        if matches!(
            error,
            ErrorCode::ClusterAuthorizationFailed
                | ErrorCode::ProducerFenced
                | ErrorCode::UnsupportedVersion
        ) && !self.transactional
        {
            self.fatal = Some(error);
        }
        self.remove(batch);
        let Some((identity, sequence)) = batch.identity else {
            return;
        };
        if self.fatal.is_some() {
            return;
        }
        if error == ErrorCode::OutOfOrderSequenceNumber && !self.transactional {
            self.need_new_epoch(&batch.partition, sequence);
        } else if error == ErrorCode::UnknownProducerId {
            if self.raises_epoch() || self.transactional {
                self.partitions.remove(&batch.partition);
                self.unresolved.remove(&batch.partition);
            } else {
                self.reset_required = true;
            }
        } else if adjust {
            if self.raises_epoch() && !self.transactional {
                self.need_new_epoch(&batch.partition, sequence);
            } else {
                self.close_gap(batch, identity, batches);
            }
        }
    }

    /// Before KIP-360: what follows a batch that certainly failed moves up (`adjustSequencesDueToFailedBatch`).
    fn close_gap(
        &mut self,
        failed: &ProducerBatch,
        identity: Identity,
        batches: &mut BTreeMap<BatchId, ProducerBatch>,
    ) {
        let Some(gap) = failed.base_sequence() else {
            return;
        };
        let Some(entry) = self.partitions.get_mut(&failed.partition) else {
            return;
        };
        if entry.identity != Some(identity) {
            return;
        }
        let count = failed.record_count();
        entry.next = Sequence(entry.next.0 - count);
        for ((identity, sequence), id) in std::mem::take(&mut entry.in_flight) {
            let moved = if sequence > gap {
                Sequence(sequence.0 - count)
            } else {
                sequence
            };
            if let Some(batch) = batches.get_mut(&id).filter(|_| moved != sequence) {
                batch.renumber(identity, moved);
            }
            entry.in_flight.insert((identity, moved), id);
        }
    }

    /// A batch that had been sent before was given up without knowing its fate (`markSequenceUnresolved`).
    pub(super) fn left_open(&mut self, batch: &ProducerBatch) {
        if let Some(last) = batch.last_sequence() {
            let next = last.plus(1);
            let open = self
                .unresolved
                .entry(batch.partition.clone())
                .or_insert(next);
            *open = (*open).max(next);
        }
    }

    fn need_new_epoch(&mut self, partition: &TopicPartition, sequence: Sequence) {
        if self.raises_epoch() || self.goes_on_in_transaction() {
            let failed = self.rewrite.entry(partition.clone()).or_insert(sequence);
            *failed = (*failed).min(sequence);
        } else {
            self.reset_required = true;
        }
    }

    /// Whether a refused batch may go again (`canRetry`).
    pub(super) fn can_retry(
        &mut self,
        batch: &ProducerBatch,
        error: ErrorCode,
        log_start: Option<Offset>,
    ) -> bool {
        let Some((identity, sequence)) = batch.identity else {
            return error.is_retriable();
        };
        if !self.raises_epoch() && self.identity != Some(identity) {
            // The producer id changed in the meantime; the batch would be a stranger.
            return false;
        }
        if error == ErrorCode::UnknownProducerId {
            self.retries_unknown_producer(batch, sequence, log_start)
        } else if error == ErrorCode::OutOfOrderSequenceNumber {
            self.retries_out_of_order(batch, sequence)
        } else {
            error.is_retriable()
        }
    }

    fn retries_unknown_producer(
        &mut self,
        batch: &ProducerBatch,
        sequence: Sequence,
        log_start: Option<Offset>,
    ) -> bool {
        let by_log_start = self.behaviour.has(Fix::LossByLogStart);
        if by_log_start && (log_start.is_none() || batch.sequence_reset) {
            return true;
        }
        if self.raises_epoch() && !self.transactional {
            self.need_new_epoch(&batch.partition, sequence);
            return true;
        }
        let entry = self.entry(&batch.partition);
        if by_log_start && entry.last_acked_offset < log_start {
            // Retention took the records with which the broker knew this producer (KAFKA-5793): start again at zero.
            self.rewrite.insert(batch.partition.clone(), sequence);
            return true;
        }
        false
    }

    fn retries_out_of_order(&mut self, batch: &ProducerBatch, sequence: Sequence) -> bool {
        let open = self.unresolved.get(&batch.partition).copied();
        let is_next = self.entry(&batch.partition).is_next(sequence);
        if open.is_none() && (batch.sequence_reset || !is_next) {
            // Not the first in line: the first one's failure brought this one down.
            return true;
        }
        let goes_on = if self.transactional {
            self.goes_on_in_transaction()
        } else {
            self.raises_epoch()
        };
        if !goes_on {
            return false;
        }
        if open.is_none() || open == Some(sequence) {
            self.need_new_epoch(&batch.partition, sequence);
        }
        true
    }

    /// librdkafka before 1.9.0: a topic that drops out of metadata for a moment loses its sequences.
    pub(super) fn forget_topics(&mut self, is_gone: impl Fn(&TopicPartition) -> bool) {
        if !self.behaviour.has(Fix::KeepSequenceOnTopicFlap) {
            self.partitions.retain(|partition, _| !is_gone(partition));
        }
    }
}
