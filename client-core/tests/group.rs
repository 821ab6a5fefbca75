//! Two consumers and a coordinator small enough to read: members come and go, and every record is handed over.

#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    unreachable_pub,
    reason = "a test panics on what it does not expect"
)]

mod bench;

use bench::{Asked, Bench, bootstrap, endpoint};
use bytes::Bytes;
use client_core::Consumer;
use protocol::api::data::{
    FetchPartition, FetchResponse, ListOffsetsRequest, ListOffsetsResponse, PartitionFetchResponse,
    PartitionListOffsetsResponse,
};
use protocol::api::group::{
    CommittedOffset, FindCoordinatorResponse, HeartbeatResponse, JoinGroupResponse,
    LeaveGroupResponse, OffsetCommitResponse, OffsetFetchResponse, SyncGroupResponse,
};
use protocol::api::{RequestBody, ResponseBody};
use protocol::behaviour::{Behaviour, Era};
use protocol::config::ConsumerConfig;
use protocol::error_code::ErrorCode;
use protocol::fetch_session::FetchSessionId;
use protocol::ids::{
    BrokerId, ClientId, GenerationId, LeaderEpoch, MemberId, Offset, TopicName, TopicPartition,
};
use protocol::record::BatchBuilder;
use protocol::time::{Mono, Span};
use protocol::verb::{OperationId, Outcome, Verb};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

const PARTITIONS: i32 = 4;
const RECORDS: i64 = 200;

/// A group as its coordinator holds it: everybody has to join before anybody is answered.
#[derive(Default)]
struct Coordinator {
    generation: i32,
    next_member: usize,
    members: BTreeMap<MemberId, usize>,
    joins: BTreeMap<MemberId, (usize, Asked)>,
    syncs: BTreeMap<MemberId, (usize, Asked)>,
    assignments: BTreeMap<MemberId, Bytes>,
    rebalancing: bool,
    committed: BTreeMap<TopicPartition, Offset>,
}

/// A member with the application around it: it commits what a poll gave it before it polls again.
struct Member {
    bench: Bench<Consumer>,
    polling: Option<OperationId>,
    committing: bool,
    owned: BTreeSet<TopicPartition>,
    read: Vec<(TopicPartition, i64)>,
    alive: bool,
}

struct World {
    members: Vec<Member>,
    coordinator: Coordinator,
    now: Mono,
    /// Fetches of partitions with nothing new, and until when they wait.
    parked: Vec<(usize, Asked, Mono)>,
    /// The high watermark of every partition.
    visible: i64,
}

fn member(name: &str, strategy: &str) -> Member {
    let mut config = ConsumerConfig::defaults(Era::V2_8);
    for (key, value) in [
        ("group.id", "g"),
        ("enable.auto.commit", "false"),
        ("auto.offset.reset", "earliest"),
        ("max.poll.records", "7"),
        ("partition.assignment.strategy", strategy),
    ] {
        config.set(key, value).unwrap();
    }
    let config = Arc::new(config.finish().unwrap());
    let behaviour = Behaviour::of(Era::V2_8);
    let consumer = Consumer::new(config, bootstrap(), behaviour, ClientId::from(name), 1);
    let mut bench = Bench::new(consumer, PARTITIONS);
    bench.call(Verb::Subscribe(vec![TopicName::from("t")]));
    Member {
        bench,
        polling: None,
        committing: false,
        owned: BTreeSet::new(),
        read: Vec::new(),
        alive: true,
    }
}

impl World {
    fn new() -> Self {
        Self {
            members: Vec::new(),
            coordinator: Coordinator::default(),
            now: Mono(0) + Span::secs(1),
            parked: Vec::new(),
            visible: RECORDS,
        }
    }

    fn add(&mut self, name: &str, strategy: &str) {
        let mut member = member(name, strategy);
        let behind = self.now.since(member.bench.now);
        member.bench.pass(behind);
        self.members.push(member);
    }

    /// Milliseconds pass, one by one.
    fn run(&mut self, millis: u64) {
        for _ in 0..millis {
            self.now += Span::millis(1);
            for index in 0..self.members.len() {
                if self.members[index].alive {
                    self.members[index].bench.pass(Span::millis(1));
                    self.application(index);
                    self.serve(index);
                }
            }
            let now = self.now;
            let (due, parked) = std::mem::take(&mut self.parked)
                .into_iter()
                .partition(|(_, _, until)| *until <= now);
            self.parked = parked;
            for (index, asked, _) in due {
                self.answer(index, &asked, empty_fetch(&asked));
            }
        }
    }

    fn application(&mut self, index: usize) {
        let member = &mut self.members[index];
        for (_, outcome) in std::mem::take(&mut member.bench.outcomes) {
            match outcome {
                Outcome::Polled(result) => {
                    member.polling = None;
                    for (partition, records) in result.unwrap() {
                        assert!(member.owned.contains(&partition), "{partition} is not ours");
                        let offsets = records.iter().map(|record| record.offset.0);
                        member
                            .read
                            .extend(offsets.map(|offset| (partition.clone(), offset)));
                    }
                    if !member.read.is_empty() {
                        member.committing = true;
                        member.bench.call(Verb::CommitSync(BTreeMap::new()));
                    }
                }
                Outcome::Committed { result, .. } => {
                    // A rebalance may be on its way; then the listener commits again.
                    drop(result);
                    member.committing = false;
                }
                Outcome::Revoked(partitions) => {
                    member.bench.call(Verb::CommitSync(BTreeMap::new()));
                    for partition in &partitions {
                        assert!(member.owned.remove(partition));
                    }
                    member.committing = true;
                    // The listener returns when its commit is answered: see below.
                }
                Outcome::Lost(partitions) => {
                    member.owned.retain(|owned| !partitions.contains(owned));
                }
                Outcome::Assigned(partitions) => member.owned.extend(partitions),
                Outcome::PositionReset { .. } | Outcome::Done(Ok(())) => {}
                other => panic!("{other:?}"),
            }
        }
        if !member.committing {
            // Without a listener waiting this is nothing.
            member.bench.call(Verb::ListenerReturned);
            if member.polling.is_none() {
                member.polling = Some(member.bench.call(Verb::Poll(Span::millis(50))));
            }
        }
    }

    fn answer(&mut self, index: usize, asked: &Asked, body: impl Into<ResponseBody>) {
        let member = &mut self.members[index];
        if member.alive && member.bench.is_owed(asked) {
            member.bench.answer(asked, body);
        }
    }

    fn serve(&mut self, index: usize) {
        while let Some(asked) = self.members[index].bench.asked.pop_front() {
            match asked.request.body.clone() {
                RequestBody::FindCoordinator(_) => {
                    let found = FindCoordinatorResponse {
                        error: ErrorCode::None,
                        coordinator: Some((BrokerId(3), endpoint(3))),
                    };
                    // Behind a fetch that is parked on the same connection.
                    self.flush_parked(index, &asked);
                    self.answer(index, &asked, found);
                }
                RequestBody::JoinGroup(join) => self.join(index, asked, &join.member_id),
                RequestBody::SyncGroup(sync) => {
                    for (id, bytes) in sync.assignments {
                        self.coordinator.assignments.insert(id, bytes);
                    }
                    self.coordinator
                        .syncs
                        .insert(sync.member_id, (index, asked));
                    self.complete_sync();
                }
                RequestBody::Heartbeat(beat) => {
                    let error = self.check(&beat.member_id, beat.generation_id);
                    self.answer(index, &asked, HeartbeatResponse { error });
                }
                RequestBody::LeaveGroup(leave) => {
                    for (id, _) in leave.members {
                        self.coordinator.members.remove(&id);
                    }
                    self.coordinator.rebalancing = true;
                    let error = ErrorCode::None;
                    self.answer(index, &asked, LeaveGroupResponse { error });
                    self.complete_join();
                }
                RequestBody::OffsetCommit(commit) => {
                    let mut error = self.check(&commit.member_id, commit.generation_id);
                    if error == ErrorCode::RebalanceInProgress {
                        // While members are still joining, commits of the old generation are taken.
                        error = ErrorCode::None;
                    }
                    let mut partitions = Vec::new();
                    for offset in commit.offsets {
                        if error.is_none() {
                            self.coordinator
                                .committed
                                .insert(offset.partition.clone(), offset.offset);
                        }
                        partitions.push((offset.partition, error));
                    }
                    self.answer(index, &asked, OffsetCommitResponse { partitions });
                }
                RequestBody::OffsetFetch(fetch) => {
                    let answer = self.committed(fetch.partitions.unwrap_or_default());
                    self.answer(index, &asked, answer);
                }
                RequestBody::ListOffsets(list) => {
                    self.flush_parked(index, &asked);
                    self.answer(index, &asked, beginnings(&list));
                }
                RequestBody::Fetch(_) => self.fetch(index, asked),
                other => panic!("{other:?}"),
            }
        }
    }

    fn flush_parked(&mut self, index: usize, asked: &Asked) {
        let connection = asked.connection;
        let (due, parked) = std::mem::take(&mut self.parked)
            .into_iter()
            .partition(|(of, other, _)| *of == index && other.connection == connection);
        self.parked = parked;
        for (index, asked, _) in due {
            self.answer(index, &asked, empty_fetch(&asked));
        }
    }

    fn check(&self, member: &MemberId, generation: GenerationId) -> ErrorCode {
        if !self.coordinator.members.contains_key(member) {
            ErrorCode::UnknownMemberId
        } else if generation.0 != self.coordinator.generation {
            ErrorCode::IllegalGeneration
        } else if self.coordinator.rebalancing {
            ErrorCode::RebalanceInProgress
        } else {
            ErrorCode::None
        }
    }

    fn join(&mut self, index: usize, asked: Asked, id: &MemberId) {
        if id.as_str().is_empty() {
            self.coordinator.next_member += 1;
            let id = MemberId::from(format!("member-{}", self.coordinator.next_member));
            let refusal = JoinGroupResponse {
                error: ErrorCode::MemberIdRequired,
                generation_id: GenerationId(-1),
                protocol: None,
                leader: MemberId::from(""),
                member_id: id.clone(),
                members: Vec::new(),
            };
            self.coordinator.members.insert(id, index);
            self.coordinator.rebalancing = true;
            self.answer(index, &asked, refusal);
            return;
        }
        self.coordinator.rebalancing = true;
        self.coordinator.joins.insert(id.clone(), (index, asked));
        self.complete_join();
    }

    fn complete_join(&mut self) {
        let members = &self.coordinator.members;
        if !self.coordinator.rebalancing
            || members.is_empty()
            || !members
                .keys()
                .all(|id| self.coordinator.joins.contains_key(id))
        {
            return;
        }
        self.coordinator.generation += 1;
        self.coordinator.rebalancing = false;
        self.coordinator.assignments.clear();
        self.coordinator.syncs.clear();
        let joins = std::mem::take(&mut self.coordinator.joins);
        let protocols = |asked: &Asked| match &asked.request.body {
            RequestBody::JoinGroup(join) => join.protocols[0].clone(),
            other => panic!("{other:?}"),
        };
        let all: Vec<_> = joins
            .iter()
            .map(|(id, (_, asked))| (id.clone(), None, protocols(asked).1))
            .collect();
        let leader = all[0].0.clone();
        for (id, (index, asked)) in joins {
            let answer = JoinGroupResponse {
                error: ErrorCode::None,
                generation_id: GenerationId(self.coordinator.generation),
                protocol: Some(protocols(&asked).0),
                leader: leader.clone(),
                members: if id == leader {
                    all.clone()
                } else {
                    Vec::new()
                },
                member_id: id,
            };
            self.answer(index, &asked, answer);
        }
    }

    fn complete_sync(&mut self) {
        if self.coordinator.assignments.is_empty() {
            return;
        }
        for (id, (index, asked)) in std::mem::take(&mut self.coordinator.syncs) {
            let assignment = self.coordinator.assignments.get(&id).cloned();
            let answer = SyncGroupResponse {
                error: ErrorCode::None,
                assignment: assignment.unwrap_or_default(),
            };
            self.answer(index, &asked, answer);
        }
    }

    fn committed(&self, partitions: Vec<TopicPartition>) -> OffsetFetchResponse {
        let known = |partition: &TopicPartition| {
            let offset = *self.coordinator.committed.get(partition)?;
            Some(CommittedOffset {
                partition: partition.clone(),
                offset,
                leader_epoch: None,
                metadata: Arc::from(""),
            })
        };
        OffsetFetchResponse {
            error: ErrorCode::None,
            partitions: partitions
                .into_iter()
                .map(|partition| {
                    let found = known(&partition);
                    (partition, Ok(found))
                })
                .collect(),
        }
    }

    fn fetch(&mut self, index: usize, asked: Asked) {
        let RequestBody::Fetch(fetch) = &asked.request.body else {
            return;
        };
        let visible = self.visible;
        let read = |part: &FetchPartition| {
            let base = part.fetch_offset.0 / 10 * 10;
            let records = if part.fetch_offset.0 < visible {
                batch(base)
            } else {
                Bytes::new()
            };
            fetched(&part.partition, records)
        };
        let parts: Vec<PartitionFetchResponse> = fetch.partitions.iter().map(read).collect();
        if parts.iter().all(|part| part.records.is_empty()) {
            let until = self.now + fetch.max_wait;
            self.parked.push((index, asked, until));
            return;
        }
        let answer = FetchResponse {
            error: ErrorCode::None,
            session: FetchSessionId::NONE,
            partitions: parts,
        };
        self.answer(index, &asked, answer);
    }

    /// The coordinator stops hearing of a member.
    fn kill(&mut self, index: usize) {
        self.members[index].alive = false;
        let coordinator = &mut self.coordinator;
        coordinator.members.retain(|_, of| *of != index);
        coordinator.joins.retain(|_, (of, _)| *of != index);
        coordinator.rebalancing = true;
        self.complete_join();
    }

    /// How often each record was handed over.
    fn counts(&self) -> BTreeMap<(TopicPartition, i64), usize> {
        let mut counts = BTreeMap::new();
        for read in self.members.iter().flat_map(|member| &member.read) {
            *counts.entry(read.clone()).or_default() += 1;
        }
        counts
    }

    fn owned(&self) -> Vec<usize> {
        self.members
            .iter()
            .filter(|member| member.alive)
            .map(|member| member.owned.len())
            .collect()
    }
}

fn beginnings(list: &ListOffsetsRequest) -> ListOffsetsResponse {
    let beginning = |partition: &TopicPartition| PartitionListOffsetsResponse {
        partition: partition.clone(),
        error: ErrorCode::None,
        offset: Some(Offset(0)),
        timestamp: None,
        leader_epoch: None,
    };
    let partitions = list
        .partitions
        .iter()
        .map(|(partition, ..)| beginning(partition));
    ListOffsetsResponse {
        partitions: partitions.collect(),
    }
}

fn batch(base: i64) -> Bytes {
    let mut builder = BatchBuilder::new()
        .base_offset(Offset(base))
        .leader_epoch(LeaderEpoch(0));
    for _ in 0..10 {
        builder.append(1, None, Some(b"v"), &[]);
    }
    builder.build().into_bytes()
}

fn fetched(partition: &TopicPartition, records: Bytes) -> PartitionFetchResponse {
    PartitionFetchResponse {
        partition: partition.clone(),
        error: ErrorCode::None,
        high_watermark: Some(Offset(RECORDS)),
        last_stable_offset: None,
        log_start_offset: Some(Offset(0)),
        diverging_epoch: None,
        aborted_transactions: Vec::new(),
        records,
    }
}

fn empty_fetch(asked: &Asked) -> FetchResponse {
    let RequestBody::Fetch(fetch) = &asked.request.body else {
        panic!("a fetch");
    };
    FetchResponse {
        error: ErrorCode::None,
        session: FetchSessionId::NONE,
        partitions: fetch
            .partitions
            .iter()
            .map(|part| fetched(&part.partition, Bytes::new()))
            .collect(),
    }
}

fn everything_is_read_once(strategy: &str) {
    let mut world = World::new();
    world.add("a", strategy);
    world.run(30);
    assert_eq!(world.owned(), [4], "{strategy}");
    world.add("b", strategy);
    world.run(8_000);
    assert_eq!(world.owned(), [2, 2], "{strategy}");
    let counts = world.counts();
    let expected = usize::try_from(RECORDS).unwrap() * usize::try_from(PARTITIONS).unwrap();
    assert_eq!(counts.len(), expected, "{strategy}: everything is read");
    assert!(
        counts.values().all(|count| *count == 1),
        "{strategy}: a clean rebalance repeats nothing"
    );
}

#[test]
fn a_second_member_takes_half_and_nothing_is_repeated() {
    for strategy in ["range", "roundrobin", "sticky", "cooperative-sticky"] {
        everything_is_read_once(strategy);
    }
}

#[test]
fn the_partitions_of_a_dead_member_go_on_where_it_committed() {
    let mut world = World::new();
    world.visible = 50;
    world.add("a", "range");
    world.add("b", "range");
    world.run(5_000);
    assert_eq!(world.owned(), [2, 2]);
    world.visible = RECORDS;
    world.run(520);
    world.kill(0);
    world.run(8_000);
    assert_eq!(world.owned(), [4]);
    let counts = world.counts();
    let expected = usize::try_from(RECORDS).unwrap() * usize::try_from(PARTITIONS).unwrap();
    assert_eq!(counts.len(), expected);
    assert!(world.members[0].read.len() > 100, "it died in the middle");
    let repeated: usize = counts.values().map(|count| count - 1).sum();
    assert!(
        repeated <= 7,
        "at most the poll that was not committed: {repeated}"
    );
}
