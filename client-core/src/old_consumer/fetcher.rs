//! Fetcher threads, one or more for each broker that leads partitions of ours (`AbstractFetcherThread`,
//! `ConsumerFetcherThread`).
//!
//! A thread fetches, then puts what came into the queues of the streams, and stands still while one of them is full:
//! meanwhile it fetches nothing for other streams either. Partitions with an error go back to the leader finder. A
//! position that is not known or out of range is looked up on the same channel; Kafka has the leader finder do that for
//! a partition that is new.

use super::ZookeeperConsumer;
use super::channel::{Call, Line};
use super::partition_info::InfoId;
use super::stream::{Chunk, end_of};
use protocol::api::ResponseBody;
use protocol::api::data::{
    FetchPartition, FetchRequest, FetchResponse, IsolationLevel, ListOffsetsRequest,
    ListOffsetsResponse, OffsetSpec, PartitionFetchResponse,
};
use protocol::config::OldOffsetReset;
use protocol::error_code::ErrorCode;
use protocol::fetch_session::FetchMetadata;
use protocol::ids::{BrokerId, Endpoint, Offset, TopicPartition};
use protocol::java_hash::{abs, string_hash};
use protocol::machine::Io;
use protocol::time::Mono;
use protocol::verb::{Outcome, ResetReason};
use std::collections::{BTreeMap, VecDeque};

/// Which thread: broker and number.
pub(super) type FetcherId = (BrokerId, i32);

/// What a thread stands at.
#[derive(Clone, Debug)]
enum State {
    /// It has no partition.
    Idle,
    /// Waiting for a fetch of these offsets.
    Fetching(BTreeMap<TopicPartition, Offset>),
    /// Waiting for room in a queue.
    Blocked,
    /// Waiting for the position of this partition.
    Resetting(TopicPartition, ResetReason),
}

/// One thread.
#[derive(Clone, Debug)]
pub(super) struct Fetcher {
    to: Endpoint,
    partitions: BTreeMap<TopicPartition, InfoId>,
    state: State,
    /// Of the last answer: what is still to be put into queues.
    parts: VecDeque<PartitionFetchResponse>,
    /// Partitions that go back to the leader finder when the answer is through.
    failed: Vec<TopicPartition>,
}

impl Fetcher {
    pub(super) fn has_partitions(&self) -> bool {
        !self.partitions.is_empty()
    }
}

impl ZookeeperConsumer {
    /// The thread that fetches a partition from a broker (`getFetcherId`).
    pub(super) fn fetcher_of(&self, partition: &TopicPartition, broker: BrokerId) -> FetcherId {
        let hash = string_hash(partition.topic.as_str())
            .wrapping_mul(31)
            .wrapping_add(partition.partition.0);
        (broker, abs(hash) % self.config.num_consumer_fetchers)
    }

    /// Gives a thread a partition to fetch.
    pub(super) fn add_to_fetcher(
        &mut self,
        now: Mono,
        (broker, endpoint): (BrokerId, &Endpoint),
        (partition, info): (TopicPartition, InfoId),
        io: &mut Io<'_>,
    ) {
        let id = self.fetcher_of(&partition, broker);
        let fetcher = self.fetchers.entry(id).or_insert_with(|| Fetcher {
            to: endpoint.clone(),
            partitions: BTreeMap::new(),
            state: State::Idle,
            parts: VecDeque::new(),
            failed: Vec::new(),
        });
        fetcher.partitions.insert(partition, info);
        if matches!(fetcher.state, State::Idle) {
            self.advance_fetcher(now, id, io);
        }
    }

    /// Interrupts and forgets all threads (`closeAllFetchers`).
    pub(super) fn stop_fetchers(&mut self, io: &mut Io<'_>) {
        for (broker, number) in std::mem::take(&mut self.fetchers).into_keys() {
            self.channels.close(Line::Fetcher(broker, number), io);
        }
    }

    /// `shutdownIdleFetcherThreads`.
    pub(super) fn drop_idle_fetchers(&mut self, io: &mut Io<'_>) {
        let idle: Vec<FetcherId> = self
            .fetchers
            .iter()
            .filter(|(_, fetcher)| !fetcher.has_partitions())
            .map(|(id, _)| *id)
            .collect();
        for (broker, number) in idle {
            self.fetchers.remove(&(broker, number));
            self.channels.close(Line::Fetcher(broker, number), io);
        }
    }

    /// Somewhere there is room in a queue again.
    pub(super) fn unblock_fetchers(&mut self, now: Mono, io: &mut Io<'_>) {
        let blocked: Vec<FetcherId> = self
            .fetchers
            .iter()
            .filter(|(_, fetcher)| matches!(fetcher.state, State::Blocked))
            .map(|(id, _)| *id)
            .collect();
        for id in blocked {
            self.advance_fetcher(now, id, io);
        }
    }

    /// The thread goes on: through the rest of the last answer, then to the next fetch.
    fn advance_fetcher(&mut self, now: Mono, id: FetcherId, io: &mut Io<'_>) {
        while let Some(part) = self.next_part(id) {
            if !self.take_part(now, id, part, io) {
                return;
            }
        }
        self.give_up_failed(id);
        self.fetch(now, id, io);
    }

    fn next_part(&mut self, id: FetcherId) -> Option<PartitionFetchResponse> {
        self.fetchers.get_mut(&id)?.parts.pop_front()
    }

    /// One partition of an answer; `false` when the thread has to wait for something.
    fn take_part(
        &mut self,
        now: Mono,
        id: FetcherId,
        part: PartitionFetchResponse,
        io: &mut Io<'_>,
    ) -> bool {
        let Some(fetcher) = self.fetchers.get_mut(&id) else {
            return true;
        };
        let Some(info) = fetcher.partitions.get(&part.partition).copied() else {
            return true;
        };
        if part.error.is_none() {
            self.enqueue(now, id, (info, part), io)
        } else if part.error == ErrorCode::OffsetOutOfRange {
            let lookup = (part.partition, ResetReason::OutOfRange);
            self.look_up(now, id, lookup, io);
            false
        } else {
            fetcher.failed.push(part.partition);
            true
        }
    }

    /// `PartitionTopicInfo.enqueue`.
    fn enqueue(
        &mut self,
        now: Mono,
        id: FetcherId,
        (info, part): (InfoId, PartitionFetchResponse),
        io: &mut Io<'_>,
    ) -> bool {
        let Some(end) = end_of(&part.records) else {
            return true;
        };
        let most = usize::try_from(self.config.queued_max_message_chunks).unwrap_or(usize::MAX);
        let Some(known) = self.registry.get_mut(info) else {
            return true;
        };
        let Some(fetch_offset) = known.fetched else {
            return true;
        };
        let number = known.stream;
        let Some(stream) = self.streams.get_mut(&number) else {
            return true;
        };
        if stream.is_full(most) {
            if let Some(fetcher) = self.fetchers.get_mut(&id) {
                fetcher.parts.push_front(part);
                fetcher.state = State::Blocked;
            }
            return false;
        }
        stream.put(Chunk {
            info,
            fetch_offset,
            records: part.records,
        });
        // Since KAFKA-154 only now: an interrupted wait for room must not count as fetched.
        known.fetched = Some(end);
        self.deliver(now, number, io);
        true
    }

    /// Partitions with an error go back to the leader finder (`handlePartitionsWithErrors`).
    fn give_up_failed(&mut self, id: FetcherId) {
        let Some(fetcher) = self.fetchers.get_mut(&id) else {
            return;
        };
        let failed = std::mem::take(&mut fetcher.failed);
        for partition in &failed {
            fetcher.partitions.remove(partition);
        }
        self.find_leaders(failed);
    }

    /// The next fetch, or first a position that is missing.
    fn fetch(&mut self, now: Mono, id: FetcherId, io: &mut Io<'_>) {
        let Some(fetcher) = self.fetchers.get_mut(&id) else {
            return;
        };
        fetcher.state = State::Idle;
        let mut offsets = BTreeMap::new();
        for (partition, info) in &fetcher.partitions {
            match self.registry.get(*info).map(|info| info.fetched) {
                Some(Some(offset)) => {
                    offsets.insert(partition.clone(), offset);
                }
                Some(None) => {
                    let lookup = (partition.clone(), ResetReason::NoCommit);
                    self.look_up(now, id, lookup, io);
                    return;
                }
                None => {}
            }
        }
        if offsets.is_empty() {
            return;
        }
        let body = FetchRequest {
            replica_epoch: None,
            replica_id: None,
            max_wait: self.config.fetch_wait_max_ms,
            min_bytes: self.config.fetch_min_bytes,
            max_bytes: i32::MAX,
            isolation_level: IsolationLevel::ReadUncommitted,
            metadata: FetchMetadata::LEGACY,
            forgotten: Vec::new(),
            partitions: offsets
                .iter()
                .map(|(partition, offset)| FetchPartition {
                    partition: partition.clone(),
                    current_leader_epoch: None,
                    fetch_offset: *offset,
                    last_fetched_epoch: None,
                    log_start_offset: None,
                    max_bytes: self.config.fetch_message_max_bytes,
                })
                .collect(),
        };
        fetcher.state = State::Fetching(offsets);
        let to = fetcher.to.clone();
        self.call_broker(now, id, (to, body.into()), io);
    }

    fn call_broker(
        &mut self,
        now: Mono,
        (broker, number): FetcherId,
        (to, body): (Endpoint, protocol::api::RequestBody),
        io: &mut Io<'_>,
    ) {
        let call = Call {
            to,
            body,
            timeout: self.config.socket_timeout_ms,
            again: true,
        };
        self.channels
            .call(now, Line::Fetcher(broker, number), call, io);
    }

    /// `handleOffsetOutOfRange`: the first or the last offset there is, by `auto.offset.reset`.
    fn look_up(
        &mut self,
        now: Mono,
        id: FetcherId,
        (partition, reason): (TopicPartition, ResetReason),
        io: &mut Io<'_>,
    ) {
        let Some(fetcher) = self.fetchers.get_mut(&id) else {
            return;
        };
        let spec = match self.config.auto_offset_reset {
            OldOffsetReset::Smallest => OffsetSpec::Earliest,
            OldOffsetReset::Largest => OffsetSpec::Latest,
        };
        fetcher.state = State::Resetting(partition.clone(), reason);
        let body = ListOffsetsRequest {
            replica_id: None,
            isolation_level: IsolationLevel::ReadUncommitted,
            partitions: vec![(partition, None, spec)],
        };
        let to = fetcher.to.clone();
        self.call_broker(now, id, (to, body.into()), io);
    }

    /// The broker of a thread answered, or did not.
    pub(super) fn on_fetcher_answer(
        &mut self,
        now: Mono,
        id: FetcherId,
        answer: Option<ResponseBody>,
        io: &mut Io<'_>,
    ) {
        let Some(fetcher) = self.fetchers.get_mut(&id) else {
            return;
        };
        let state = std::mem::replace(&mut fetcher.state, State::Idle);
        match (state, answer) {
            (State::Fetching(asked), Some(ResponseBody::Fetch(answer))) => {
                self.on_fetched(id, &asked, answer);
            }
            (State::Resetting(partition, reason), Some(ResponseBody::ListOffsets(answer))) => {
                self.on_position(id, (partition, reason), &answer, io);
            }
            (State::Resetting(partition, _), _) => fetcher.failed.push(partition),
            (State::Fetching(_) | State::Idle | State::Blocked, _) => {
                fetcher.failed = fetcher.partitions.keys().cloned().collect();
            }
        }
        self.advance_fetcher(now, id, io);
    }

    /// Parts of partitions that went elsewhere meanwhile, or that were asked for at another offset, are left out.
    fn on_fetched(
        &mut self,
        id: FetcherId,
        asked: &BTreeMap<TopicPartition, Offset>,
        answer: FetchResponse,
    ) {
        let Some(fetcher) = self.fetchers.get_mut(&id) else {
            return;
        };
        let registry = &self.registry;
        let is_due = |part: &PartitionFetchResponse| {
            let info = fetcher.partitions.get(&part.partition);
            let fetched = info.and_then(|info| registry.get(*info)?.fetched);
            fetched.is_some() && asked.get(&part.partition).copied() == fetched
        };
        fetcher.parts = answer.partitions.into_iter().filter(is_due).collect();
    }

    fn on_position(
        &mut self,
        id: FetcherId,
        (partition, reason): (TopicPartition, ResetReason),
        answer: &ListOffsetsResponse,
        io: &mut Io<'_>,
    ) {
        let found = answer
            .partitions
            .first()
            .filter(|found| found.error.is_none());
        let offset = found.and_then(|found| found.offset);
        let Some(fetcher) = self.fetchers.get_mut(&id) else {
            return;
        };
        let Some(offset) = offset else {
            fetcher.failed.push(partition);
            return;
        };
        let info = fetcher.partitions.get(&partition).copied();
        if let Some(info) = info.and_then(|info| self.registry.get_mut(info)) {
            info.fetched = Some(offset);
            info.consumed = Some(offset);
            let reset = Outcome::PositionReset {
                partition,
                offset,
                reason,
            };
            io.outcome(self.creation, reset);
        }
    }
}
