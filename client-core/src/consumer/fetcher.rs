//! Fetching ahead and handing records over (`Fetcher`).
//!
//! One fetch per broker is in flight; its answer is kept until `poll` takes the records out, and only then errors in it
//! are looked at. A partition is fetched again when nothing of it is kept. Transactions that were aborted and markers
//! are left out here, by the list the broker sends (`read_committed`). A partition of which an answer is kept is out of the
//! fetch session until it is fetched again, as in Kafka. Left out: reading from followers.

use super::subscription::{End, FetchState, Position};
use super::{Ask, Consumer};
use crate::network::{Outgoing, Peer};
use protocol::api::data::{
    AbortedTransaction, FetchPartition, FetchRequest, FetchResponse, IsolationLevel,
    PartitionFetchResponse,
};
use protocol::behaviour::Fix;
use protocol::error_code::ErrorCode;
use protocol::fetch_session::FetchSessionHandler;
use protocol::ids::{BrokerId, LeaderEpoch, Offset, ProducerId, TopicPartition};
use protocol::machine::Io;
use protocol::record::{Batches, ControlType, RecordBatch, Records, batches};
use protocol::time::Mono;
use protocol::verb::{ClientError, ConsumerRecord, ResetReason};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// An answer for one partition, perhaps partly handed over (`CompletedFetch`).
#[derive(Clone, Debug)]
struct Fetched {
    partition: TopicPartition,
    /// What was asked for, then the next offset to hand over.
    next: Offset,
    /// The answer, until the first look at it.
    answer: Option<PartitionFetchResponse>,
    rest: Batches,
    current: Option<(RecordBatch, Records)>,
    last_epoch: Option<LeaderEpoch>,
    /// Aborted transactions still ahead, by first offset.
    aborted: VecDeque<AbortedTransaction>,
    /// Producers inside an aborted transaction at this point.
    aborting: BTreeSet<ProducerId>,
}

/// How the consumer reads what was fetched.
#[derive(Clone, Copy, Debug)]
struct Reading {
    isolation: IsolationLevel,
    /// `check.crcs`.
    checks: bool,
    /// An abort marker ends nothing but a transaction that has begun before it.
    matches_markers: bool,
}

/// The answers that wait, and whom a fetch is under way to.
#[derive(Clone, Debug, Default)]
pub(super) struct Fetcher {
    kept: VecDeque<Fetched>,
    in_flight: BTreeSet<BrokerId>,
    /// One session with each broker ever fetched from (`sessionHandlers`).
    sessions: BTreeMap<BrokerId, FetchSessionHandler>,
}

impl Fetcher {
    pub(super) fn retain(&mut self, keeps: impl Fn(&TopicPartition) -> bool) {
        self.kept.retain(|fetched| keeps(&fetched.partition));
    }

    /// No answer will come to the fetch under way.
    pub(super) fn lost(&mut self, broker: BrokerId) {
        self.in_flight.remove(&broker);
        if let Some(session) = self.sessions.get_mut(&broker) {
            session.handle_error();
        }
    }

    /// How many answers are kept.
    pub(super) fn len(&self) -> usize {
        self.kept.len()
    }

    fn keeps(&self, partition: &TopicPartition) -> bool {
        self.kept
            .iter()
            .any(|fetched| fetched.partition == *partition)
    }
}

impl Fetched {
    /// The next record to hand over, if one is left.
    fn next_record(&mut self, reading: Reading) -> Option<Result<ConsumerRecord, ErrorCode>> {
        loop {
            if let Some((batch, records)) = &mut self.current {
                for record in records.by_ref() {
                    let Ok(record) = record else {
                        return Some(Err(ErrorCode::CorruptMessage));
                    };
                    if record.offset < self.next {
                        continue;
                    }
                    self.next = record.offset.next();
                    return Some(Ok(ConsumerRecord {
                        offset: record.offset,
                        leader_epoch: batch.partition_leader_epoch(),
                        timestamp: record.timestamp,
                        key: record.key,
                        value: record.value,
                    }));
                }
                self.next = self.next.max(batch.next_offset());
                self.current = None;
            }
            let batch = match self.rest.next()? {
                Ok(batch) if !reading.checks || batch.is_valid() => batch,
                Ok(_) | Err(_) => return Some(Err(ErrorCode::CorruptMessage)),
            };
            self.last_epoch = batch.partition_leader_epoch().or(self.last_epoch);
            if self.skips(&batch, reading) {
                self.next = self.next.max(batch.next_offset());
            } else {
                let records = batch.records();
                self.current = Some((batch, records));
            }
        }
    }

    /// Whether the batch is a marker or of an aborted transaction.
    fn skips(&mut self, batch: &RecordBatch, reading: Reading) -> bool {
        let isolation = reading.isolation;
        if let (IsolationLevel::ReadCommitted, Some(producer)) = (isolation, batch.producer_id()) {
            while let Some(begun) = self
                .aborted
                .front()
                .filter(|begun| begun.first_offset <= batch.last_offset())
            {
                self.aborting.insert(begun.producer_id);
                self.aborted.pop_front();
            }
            let marker = batch.control_marker().ok().flatten();
            if marker.is_some_and(|marker| marker.kind == ControlType::Abort) {
                let ended = self.aborting.remove(&producer);
                if !ended && !reading.matches_markers {
                    self.forget_next(producer);
                }
            } else if batch.is_transactional() && self.aborting.contains(&producer) {
                return true;
            }
        }
        batch.is_control()
    }

    /// Takes the next aborted transaction of a producer from the list, begun or not.
    fn forget_next(&mut self, producer: ProducerId) {
        let is_own = |begun: &AbortedTransaction| begun.producer_id == producer;
        if let Some(place) = self.aborted.iter().position(is_own) {
            self.aborted.remove(place);
        }
    }
}

impl Consumer {
    /// Sends a fetch to every leader that has none, for the partitions of which nothing is kept (`sendFetches`).
    pub(super) fn send_fetches(&mut self, now: Mono, io: &mut Io<'_>) {
        let mut by_leader: BTreeMap<BrokerId, Vec<FetchPartition>> = BTreeMap::new();
        let mut leader_missing = false;
        for (partition, state) in self.subscription.in_order() {
            let FetchState::Fetching(position) = state.fetch else {
                continue;
            };
            if state.paused || self.fetcher.keeps(partition) {
                continue;
            }
            let brokers = self.network.metadata.brokers();
            let Some(leader) = position
                .leader
                .leader
                .filter(|leader| brokers.contains_key(leader))
            else {
                leader_missing = true;
                continue;
            };
            if self.fetcher.in_flight.contains(&leader)
                || self.network.is_backing_off(now, Peer::Broker(leader))
            {
                continue;
            }
            by_leader.entry(leader).or_default().push(FetchPartition {
                partition: partition.clone(),
                current_leader_epoch: position.leader.epoch,
                fetch_offset: position.offset,
                last_fetched_epoch: None,
                log_start_offset: None,
                max_bytes: self.config.max_partition_fetch_bytes,
            });
        }
        if leader_missing {
            self.network.metadata.request_update();
        }
        for (leader, partitions) in by_leader {
            let session = self.fetcher.sessions.entry(leader).or_default();
            let data = session.build(partitions);
            let body = FetchRequest {
                replica_epoch: None,
                replica_id: None,
                max_wait: self.config.fetch_max_wait_ms,
                min_bytes: self.config.fetch_min_bytes,
                max_bytes: self.config.fetch_max_bytes,
                isolation_level: self.config.isolation_level,
                metadata: data.metadata,
                partitions: data.to_send,
                forgotten: data.to_forget,
            };
            self.fetcher.in_flight.insert(leader);
            let outgoing = Outgoing::new(body, Ask::Fetch(leader));
            self.network.submit(now, Peer::Broker(leader), outgoing, io);
        }
    }

    /// When a leader whose connection failed may be dialled again, for a partition that waits for it.
    pub(super) fn next_fetch(&self, now: Mono) -> Option<Mono> {
        self.subscription
            .in_order()
            .filter(|(_, state)| state.is_fetchable())
            .filter_map(|(_, state)| Some(Peer::Broker(state.position()?.leader.leader?)))
            .filter(|peer| self.network.is_backing_off(now, *peer))
            .filter_map(|peer| self.network.may_connect_at(peer))
            .min()
    }

    /// The answer to a fetch.
    pub(super) fn fetched(&mut self, broker: BrokerId, answer: FetchResponse) {
        self.fetcher.in_flight.remove(&broker);
        let Some(session) = self.fetcher.sessions.get_mut(&broker) else {
            return;
        };
        if !session.handle_response(&answer) {
            return;
        }
        for mut part in answer.partitions {
            let Some(offset) = session
                .asked(&part.partition)
                .map(|asked| asked.fetch_offset)
            else {
                continue;
            };
            if self.subscription.get(&part.partition).is_none() {
                continue;
            }
            let mut aborted = std::mem::take(&mut part.aborted_transactions);
            aborted.sort_by_key(|transaction| transaction.first_offset);
            let records = std::mem::take(&mut part.records);
            self.fetcher.kept.push_back(Fetched {
                partition: part.partition.clone(),
                next: offset,
                rest: batches(records),
                answer: Some(part),
                current: None,
                last_epoch: None,
                aborted: aborted.into(),
                aborting: BTreeSet::new(),
            });
        }
    }

    /// Takes up to `max.poll.records` out of what is kept (`collectFetch`).
    pub(super) fn collect(&mut self) -> Vec<(TopicPartition, Vec<ConsumerRecord>)> {
        let mut left = usize::try_from(self.config.max_poll_records).unwrap_or(usize::MAX);
        let mut collected: Vec<(TopicPartition, Vec<ConsumerRecord>)> = Vec::new();
        let mut paused = VecDeque::new();
        while left > 0 {
            let Some(mut fetched) = self.fetcher.kept.pop_front() else {
                break;
            };
            if !self.begin(&mut fetched) {
                continue;
            }
            if self
                .subscription
                .get(&fetched.partition)
                .is_some_and(|state| state.paused)
            {
                paused.push_back(fetched);
                continue;
            }
            let (records, is_done) = self.hand_over(&mut fetched, left, collected.is_empty());
            left -= records.len();
            let partition = fetched.partition.clone();
            if is_done {
                self.subscription.move_to_end(&partition);
            } else {
                self.fetcher.kept.push_front(fetched);
            }
            if !records.is_empty() {
                match collected.iter_mut().find(|(other, _)| *other == partition) {
                    Some((_, all)) => all.extend(records),
                    None => collected.push((partition, records)),
                }
            }
            if self.has_failed_poll() {
                break;
            }
        }
        for fetched in paused.into_iter().rev() {
            self.fetcher.kept.push_front(fetched);
        }
        collected
    }

    /// Looks at an answer (`initializeCompletedFetch`, `fetchRecords`); says whether there is something in it.
    fn begin(&mut self, fetched: &mut Fetched) -> bool {
        let is_revoked = self.subscription.get(&fetched.partition).is_none();
        if is_revoked {
            return !self.behaviour.has(Fix::DropQueueOnRevoke);
        }
        let position = self.subscription.position(&fetched.partition);
        let is_stale = position.is_none_or(|position| position.offset != fetched.next)
            || !self
                .subscription
                .get(&fetched.partition)
                .is_some_and(|state| matches!(state.fetch, FetchState::Fetching(_)));
        // What was handed over in part is of no use either once the position is elsewhere, or in doubt.
        let Some(answer) = fetched.answer.take() else {
            return !is_stale;
        };
        if answer.error.is_none() {
            return !is_stale;
        }
        self.subscription.move_to_end(&fetched.partition);
        if answer.error == ErrorCode::OffsetOutOfRange {
            if !is_stale {
                self.out_of_range(&fetched.partition);
            }
        } else if answer.error == ErrorCode::OffsetNotAvailable
            || answer.error.invalidates_metadata()
        {
            self.network.metadata.request_update();
        } else if answer.error != ErrorCode::UnknownLeaderEpoch {
            self.fail_poll(ClientError::Broker(answer.error));
        }
        false
    }

    fn out_of_range(&mut self, partition: &TopicPartition) {
        let Some(end) = self.reset_policy() else {
            self.fail_poll(ClientError::Broker(ErrorCode::OffsetOutOfRange));
            return;
        };
        if let Some(state) = self.subscription.get_mut(partition) {
            state.reset(end, ResetReason::OutOfRange);
        }
    }

    /// Takes records out of one answer and moves the position behind them (`fetchRecords`). An error behind records that
    /// were taken already is left for the next poll. What is not next in line, or of a partition whose position is being
    /// looked into, is thrown away.
    fn hand_over(
        &mut self,
        fetched: &mut Fetched,
        most: usize,
        is_first: bool,
    ) -> (Vec<ConsumerRecord>, bool) {
        let reading = Reading {
            isolation: self.config.isolation_level,
            checks: self.config.check_crcs,
            matches_markers: self.behaviour.has(Fix::EmptyAbortEndsNothing),
        };
        let is_next = self
            .subscription
            .get(&fetched.partition)
            .is_none_or(|state| {
                matches!(&state.fetch, FetchState::Fetching(position) if position.offset == fetched.next)
            });
        if !is_next {
            return (Vec::new(), true);
        }
        let mut records = Vec::new();
        let mut is_done = false;
        while records.len() < most {
            match fetched.next_record(reading) {
                Some(Ok(record)) => records.push(record),
                Some(Err(error)) => {
                    if records.is_empty() && is_first {
                        self.fail_poll(ClientError::Broker(error));
                    }
                    is_done = true;
                    break;
                }
                None => {
                    is_done = true;
                    break;
                }
            }
        }
        if let Some(state) = self.subscription.get_mut(&fetched.partition)
            && let FetchState::Fetching(position) = state.fetch
        {
            let last = records.last().and_then(|record| record.leader_epoch);
            state.fetch = FetchState::Fetching(Position {
                offset: fetched.next.max(position.offset),
                offset_epoch: last.or(fetched.last_epoch).or(position.offset_epoch),
                ..position
            });
        }
        (records, is_done)
    }

    /// `auto.offset.reset`; none where the application wants to be told.
    pub(super) fn reset_policy(&self) -> Option<End> {
        match self.config.auto_offset_reset {
            protocol::config::OffsetReset::Earliest => Some(End::Beginning),
            protocol::config::OffsetReset::Latest => Some(End::End),
            protocol::config::OffsetReset::None => None,
        }
    }
}
