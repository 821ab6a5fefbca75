//! Batches by partition, and the memory they take (`RecordAccumulator`, `BufferPool`).
//!
//! A batch goes when it is full or has lingered, when memory is wanted, on flush and on close. One batch per partition
//! goes into a request. With one request per connection in flight a partition is muted while it has one, so that no later
//! batch overtakes (KAFKA-3197).

use super::batch::{BatchId, NewRecord, ProducerBatch};
use super::idempotence::Idempotence;
use super::transactions::Transactions;
use crate::metadata::Metadata;
use protocol::ids::{BrokerId, TopicName, TopicPartition};
use protocol::record::RecordBatch;
use protocol::time::{Mono, Span};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// The batches of one partition that wait to be sent.
#[derive(Clone, Debug, Default)]
struct Queue {
    waiting: VecDeque<BatchId>,
    muted: bool,
}

/// What decides when batches go.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    pub(super) batch_size: usize,
    pub(super) linger: Span,
    pub(super) retry_backoff: Span,
    pub(super) delivery_timeout: Span,
    pub(super) request_timeout: Span,
    pub(super) max_request_size: usize,
    /// Mute a partition while it has a batch in flight.
    pub(super) mutes: bool,
    /// Batches are parts of transactions.
    pub(super) transactional: bool,
}

/// Who has a say in what is drained.
pub(super) struct Drain<'a> {
    pub(super) metadata: &'a Metadata,
    pub(super) idempotence: Option<&'a mut Idempotence>,
    pub(super) transactions: Option<&'a Transactions>,
}

/// What is ready to go.
#[derive(Clone, Debug, Default)]
pub(super) struct Ready {
    pub(super) nodes: BTreeSet<BrokerId>,
    /// Topics with something to send for which no leader is known.
    pub(super) leaderless: BTreeSet<TopicName>,
    /// When something that is not ready becomes so.
    pub(super) next_check: Option<Mono>,
}

/// The accumulator.
#[derive(Clone, Debug)]
pub(super) struct Accumulator {
    rules: Rules,
    pub(super) batches: BTreeMap<BatchId, ProducerBatch>,
    queues: BTreeMap<TopicPartition, Queue>,
    /// The batches a request is under way for.
    in_flight: BTreeSet<BatchId>,
    next_id: u64,
    /// What is left of `buffer.memory`.
    free: u64,
    /// Turns the order in which a node's partitions are drained.
    drain_turn: usize,
}

impl Accumulator {
    pub(super) fn new(rules: Rules, memory: u64) -> Self {
        Self {
            rules,
            batches: BTreeMap::new(),
            queues: BTreeMap::new(),
            in_flight: BTreeSet::new(),
            next_id: 0,
            free: memory,
            drain_turn: 0,
        }
    }

    /// Appends to the partition's last batch, if that has room.
    pub(super) fn append(&mut self, partition: &TopicPartition, record: &NewRecord<'_>) -> bool {
        self.queues
            .get(partition)
            .and_then(|queue| queue.waiting.back())
            .and_then(|id| self.batches.get_mut(id))
            .is_some_and(|batch| batch.try_append(record))
    }

    /// What a batch that begins with a record of this upper bound takes.
    pub(super) fn room_for(&self, upper_bound: usize) -> usize {
        self.rules.batch_size.max(upper_bound)
    }

    /// Whether there is memory for such a batch.
    pub(super) fn has_memory(&self, room: usize) -> bool {
        u64::try_from(room).is_ok_and(|room| room <= self.free)
    }

    /// Begins a batch with a record.
    pub(super) fn begin(
        &mut self,
        partition: TopicPartition,
        room: usize,
        record: &NewRecord<'_>,
        now: Mono,
    ) {
        let reserved = u64::try_from(room).unwrap_or(u64::MAX);
        self.free = self.free.saturating_sub(reserved);
        let mut batch = ProducerBatch::new(partition.clone(), room, reserved, now)
            .in_transaction(self.rules.transactional);
        batch.try_append(record);
        let id = self.put(batch);
        self.queues
            .entry(partition)
            .or_default()
            .waiting
            .push_back(id);
    }

    fn put(&mut self, batch: ProducerBatch) -> BatchId {
        let id = BatchId(self.next_id);
        self.next_id += 1;
        self.batches.insert(id, batch);
        id
    }

    /// Gives a batch's memory back.
    pub(super) fn release(&mut self, batch: &mut ProducerBatch) {
        self.free += std::mem::take(&mut batch.reserved);
    }

    /// Which nodes have something to take (`ready`). `hurried`: memory is wanted, a flush or a close is under way.
    pub(super) fn ready(&self, now: Mono, hurried: bool, metadata: &Metadata) -> Ready {
        let mut ready = Ready::default();
        for (partition, queue) in &self.queues {
            let Some(head) = queue.waiting.front().and_then(|id| self.batches.get(id)) else {
                continue;
            };
            let Some(leader) = metadata.leader(partition) else {
                ready.leaderless.insert(partition.topic.clone());
                continue;
            };
            if queue.muted || ready.nodes.contains(&leader) {
                continue;
            }
            let backs_off = head.attempts > 0 && now < head.last_attempt + self.rules.retry_backoff;
            let wait = if backs_off {
                self.rules.retry_backoff
            } else {
                self.rules.linger
            };
            let due = head.last_attempt + wait;
            let is_full = queue.waiting.len() > 1 || head.is_full();
            if (is_full || hurried || due <= now) && !backs_off {
                ready.nodes.insert(leader);
            } else {
                ready.next_check = Some(ready.next_check.map_or(due, |at| at.min(due)));
            }
        }
        ready
    }

    /// Takes one batch of each partition of a node, up to the size of a request (`drainBatchesForOneNode`).
    pub(super) fn drain(
        &mut self,
        now: Mono,
        node: BrokerId,
        by: Drain<'_>,
    ) -> Vec<(BatchId, RecordBatch)> {
        let Drain {
            metadata,
            mut idempotence,
            transactions,
        } = by;
        let mut partitions: Vec<TopicPartition> = self
            .queues
            .iter()
            .filter(|(partition, queue)| {
                !queue.waiting.is_empty()
                    && metadata.leader(partition) == Some(node)
                    && transactions.is_none_or(|transactions| transactions.allows(partition))
            })
            .map(|(partition, _)| partition.clone())
            .collect();
        if partitions.is_empty() {
            return Vec::new();
        }
        let turn = self.drain_turn % partitions.len();
        partitions.rotate_left(turn);
        self.drain_turn = turn + 1;
        let mut taken = Vec::new();
        let mut size = 0;
        for partition in partitions {
            let Some(queue) = self.queues.get_mut(&partition).filter(|queue| !queue.muted) else {
                continue;
            };
            let Some(id) = queue.waiting.front().copied() else {
                continue;
            };
            let Some(batch) = self.batches.get_mut(&id) else {
                continue;
            };
            if batch.attempts > 0 && now < batch.last_attempt + self.rules.retry_backoff {
                continue;
            }
            if size + batch.size_in_bytes() > self.rules.max_request_size && !taken.is_empty() {
                break;
            }
            if let Some(idempotence) = &mut idempotence {
                if idempotence.holds_back(batch) {
                    continue;
                }
                idempotence.number(id, batch);
            }
            queue.waiting.pop_front();
            queue.muted = self.rules.mutes;
            batch.in_flight = true;
            self.in_flight.insert(id);
            size += batch.size_in_bytes();
            taken.push((id, batch.seal()));
        }
        taken
    }

    /// Takes out a batch whose request is over.
    pub(super) fn landed(&mut self, id: BatchId) -> Option<ProducerBatch> {
        self.in_flight.remove(&id);
        let mut batch = self.batches.remove(&id)?;
        batch.in_flight = false;
        Some(batch)
    }

    /// Lets the partition go on.
    pub(super) fn unmute(&mut self, partition: &TopicPartition) {
        if let Some(queue) = self.queues.get_mut(partition) {
            queue.muted = false;
        }
    }

    /// Puts a batch back to be sent again: in front, or where its sequence belongs (`insertInSequenceOrder`).
    pub(super) fn put_back(&mut self, id: BatchId, mut batch: ProducerBatch, now: Mono) {
        batch.attempts += 1;
        batch.last_attempt = now;
        self.requeue(id, batch);
    }

    fn requeue(&mut self, id: BatchId, batch: ProducerBatch) {
        let queue = self.queues.entry(batch.partition.clone()).or_default();
        let before = |other: &BatchId| {
            let other = self
                .batches
                .get(other)
                .and_then(ProducerBatch::base_sequence);
            other.is_some() && other < batch.base_sequence()
        };
        let place = queue
            .waiting
            .iter()
            .take_while(|other| before(other))
            .count();
        queue.waiting.insert(place, id);
        self.batches.insert(id, batch);
    }

    /// Puts the parts of a batch that was too large in its place, under its sequences (`splitAndReenqueue`).
    pub(super) fn put_parts(
        &mut self,
        mut batch: ProducerBatch,
        mut idempotence: Option<&mut Idempotence>,
    ) {
        self.release(&mut batch);
        let partition = batch.partition.clone();
        let mut identity = batch.identity;
        let mut ids = Vec::new();
        for mut part in batch.split(self.rules.batch_size) {
            let id = BatchId(self.next_id);
            self.next_id += 1;
            if let (Some((identity, sequence)), Some(idempotence)) =
                (&mut identity, &mut idempotence)
            {
                part.identify(*identity, *sequence);
                idempotence.track(id, &part);
                *sequence = sequence.plus(part.record_count());
            }
            self.batches.insert(id, part);
            ids.push(id);
        }
        let queue = self.queues.entry(partition).or_default();
        for id in ids.into_iter().rev() {
            queue.waiting.push_front(id);
        }
    }

    /// When a batch is given up. Without `delivery.timeout.ms` (before KIP-91) a batch that waits is given up
    /// `request.timeout.ms` after it should have gone, and one in flight by its request alone.
    fn gives_up_at(&self, batch: &ProducerBatch) -> Option<Mono> {
        if self.rules.delivery_timeout != Span::MAX {
            return Some(batch.created + self.rules.delivery_timeout);
        }
        let rest = if batch.attempts > 0 {
            self.rules.retry_backoff
        } else {
            self.rules.linger
        };
        (!batch.in_flight).then(|| batch.last_attempt + rest + self.rules.request_timeout)
    }

    /// Takes out the waiting batches whose time is over, and names those in flight.
    pub(super) fn expired(&mut self, now: Mono) -> (Vec<ProducerBatch>, Vec<BatchId>) {
        let late = |batch: &ProducerBatch| {
            !batch.decided && self.gives_up_at(batch).is_some_and(|at| at <= now)
        };
        let in_flight: Vec<BatchId> = self
            .in_flight
            .iter()
            .filter(|id| self.batches.get(id).is_some_and(late))
            .copied()
            .collect();
        let mut waiting = Vec::new();
        for queue in self.queues.values() {
            let heads = queue
                .waiting
                .iter()
                .take_while(|id| self.batches.get(id).is_some_and(late));
            waiting.extend(heads.copied());
        }
        let mut gone = Vec::new();
        for id in waiting {
            if let Some(batch) = self.batches.remove(&id) {
                if let Some(queue) = self.queues.get_mut(&batch.partition) {
                    queue.waiting.pop_front();
                }
                gone.push(batch);
            }
        }
        (gone, in_flight)
    }

    /// When [`expired`](Self::expired) has something to give.
    pub(super) fn next_expiry(&self) -> Option<Mono> {
        let heads = self
            .queues
            .values()
            .filter_map(|queue| self.batches.get(queue.waiting.front()?));
        let in_flight = self
            .in_flight
            .iter()
            .filter_map(|id| self.batches.get(id))
            .filter(|batch| !batch.decided);
        heads
            .chain(in_flight)
            .filter_map(|batch| self.gives_up_at(batch))
            .min()
    }

    /// Whether a batch is not decided yet.
    pub(super) fn has_incomplete(&self) -> bool {
        self.batches.values().any(|batch| !batch.decided)
    }

    /// Takes out the batches that were never sent (`abortUndrainedBatches`).
    pub(super) fn take_unsent(&mut self) -> Vec<ProducerBatch> {
        let unsent: Vec<BatchId> = self
            .batches
            .iter()
            .filter(|(_, batch)| batch.identity.is_none())
            .map(|(id, _)| *id)
            .collect();
        for queue in self.queues.values_mut() {
            queue.waiting.retain(|id| !unsent.contains(id));
        }
        unsent
            .iter()
            .filter_map(|id| self.batches.remove(id))
            .collect()
    }

    /// Takes everything out (`abortIncompleteBatches`).
    pub(super) fn take_all(&mut self) -> Vec<ProducerBatch> {
        for queue in self.queues.values_mut() {
            queue.waiting.clear();
            queue.muted = false;
        }
        self.in_flight.clear();
        let mut all: Vec<ProducerBatch> = std::mem::take(&mut self.batches).into_values().collect();
        for batch in &mut all {
            self.release(batch);
        }
        all
    }
}
