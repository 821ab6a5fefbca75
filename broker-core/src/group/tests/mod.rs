//! The coordinator from outside: requests in, responses out, with a log that the test holds.

mod commits;
mod failover;
mod joins;
mod sessions;
mod statics;
mod transactions;

use super::*;
use bytes::Bytes;
use protocol::api::group::{
    CommittedOffset, HeartbeatResponse, JoinGroupResponse, LeaveGroupResponse,
    OffsetCommitResponse, OffsetFetchResponse, SyncGroupResponse,
};
use protocol::disk::NoDisk;
use protocol::ids::{CorrelationId, GenerationId, MemberId};
use protocol::machine::{ConnectionId, Effect, Lane, Stamped};
use protocol::message::Message;
use protocol::record::batches;
use protocol::time::{Mono, Wall};

const GROUP: &str = "g";
const SESSION: Span = Span::secs(10);
const REBALANCE: Span = Span::secs(60);

/// A request under way.
type Asked = i32;

/// A coordinator, its clocks, and the partition of the offsets topic it leads.
struct Bench {
    coordinator: GroupCoordinator,
    requests: RequestChannel,
    now: Now,
    timer: Option<Mono>,
    lanes: usize,
    asked: Asked,
    answers: BTreeMap<Asked, ResponseBody>,
    notes: Vec<GroupNote>,
    /// Appends the test has not ended; empty while `replicated`.
    appends: Vec<GroupAppend>,
    /// Appends are committed at once.
    replicated: bool,
    log: Vec<u8>,
    end: Offset,
}

impl Bench {
    /// A broker of 2.8 that leads the group's partition, with an empty log.
    fn new() -> Self {
        Self::with(Behaviour::of(Era::V2_8), |_| {})
    }

    fn with(behaviour: Behaviour, change: impl FnOnce(&mut BrokerConfig)) -> Self {
        let mut bench = Self::idle(behaviour, change);
        bench.elect(0);
        bench
    }

    /// A broker that leads nothing yet.
    fn idle(behaviour: Behaviour, change: impl FnOnce(&mut BrokerConfig)) -> Self {
        let mut config = BrokerConfig::defaults(behaviour.era);
        change(&mut config);
        let mut bench = Self {
            coordinator: GroupCoordinator::new(&config, behaviour, BrokerId(1), 7),
            requests: RequestChannel::new(behaviour),
            now: Now {
                mono: Mono(0),
                wall: Wall::from_millis(1_000_000),
            },
            timer: None,
            lanes: 0,
            asked: 0,
            answers: BTreeMap::new(),
            notes: Vec::new(),
            appends: Vec::new(),
            replicated: true,
            log: Vec::new(),
            end: Offset::ZERO,
        };
        bench.act(|coordinator, desk| coordinator.on_started(desk.now, desk.io, None));
        bench
    }

    fn act(&mut self, act: impl FnOnce(&mut GroupCoordinator, Desk<'_, '_>)) {
        let (mut effects, mut disk, mut connection) = (Vec::new(), NoDisk, 0);
        let mut io = Io::new(&mut disk, &mut effects, &mut connection);
        let desk = Desk {
            now: self.now,
            io: &mut io,
            requests: &mut self.requests,
        };
        act(&mut self.coordinator, desk);
        for Stamped { effect, .. } in effects {
            self.take(effect);
        }
        let appends = self.coordinator.take_appends();
        self.appends.extend(appends);
        while self.replicated && !self.appends.is_empty() {
            self.commit_next();
        }
    }

    fn take(&mut self, effect: Effect) {
        match effect {
            Effect::Send {
                message: Message::Response(response),
                ..
            } => {
                let again = self
                    .answers
                    .insert(response.correlation_id.0, response.body);
                assert_eq!(again, None, "one response per request");
            }
            Effect::SetTimer { at, .. } => self.timer = Some(at),
            Effect::Queue { lane } => {
                assert_eq!(lane, Lane::GroupLoader);
                self.lanes += 1;
            }
            Effect::Note(Note::Group(_, note)) => self.notes.push(note),
            Effect::Note(_)
            | Effect::Send { .. }
            | Effect::Connect { .. }
            | Effect::Close { .. }
            | Effect::CancelTimer { .. }
            | Effect::Flush { .. }
            | Effect::Outcome { .. }
            | Effect::Exit { .. } => panic!("unexpected {effect:?}"),
        }
    }

    /// Writes the oldest append to the log and ends it.
    fn commit_next(&mut self) {
        let append = self.appends.remove(0);
        assert_eq!(append.partition, self.partition());
        let base = self.end;
        let batch = append.batch.rebase(base, LeaderEpoch(0));
        self.end = batch.next_offset();
        self.log.extend_from_slice(batch.bytes());
        if append.required_acks != 0 {
            self.finish(append.ticket, Ok(base));
        }
    }

    /// Ends the oldest append with an error; nothing gets into the log.
    fn fail_next(&mut self, error: ErrorCode) {
        let append = self.appends.remove(0);
        self.finish(append.ticket, Err(error));
    }

    fn finish(&mut self, ticket: GroupTicket, result: Result<Offset, ErrorCode>) {
        self.act(|coordinator, desk| coordinator.on_append_finished(desk, ticket, result));
    }

    fn partition(&self) -> i32 {
        self.coordinator.partition_for(&GROUP.into())
    }

    /// Elects the broker and loads what the log holds.
    fn elect(&mut self, epoch: i32) {
        let partition = self.partition();
        self.act(|coordinator, desk| {
            coordinator.on_elected(desk.io, partition, LeaderEpoch(epoch));
        });
        self.run_lanes();
    }

    fn resign(&mut self, epoch: i32) {
        let partition = self.partition();
        self.act(|coordinator, desk| {
            coordinator.on_resigned(desk, partition, Some(LeaderEpoch(epoch)));
        });
    }

    fn run_lanes(&mut self) {
        while self.lanes > 0 {
            self.lanes -= 1;
            self.act(GroupCoordinator::on_due);
            self.serve_loads();
        }
    }

    /// Reads the log for the coordinator until it wants no more.
    fn serve_loads(&mut self) {
        loop {
            let reads = self.coordinator.take_loads();
            if reads.is_empty() {
                break;
            }
            for read in reads {
                let (from, end) = (read.from.unwrap_or(Offset::ZERO), self.end);
                let records = self.read(from, read.max_bytes);
                let data = LoadData::Batches {
                    records,
                    from,
                    log_end_offset: Some(end),
                };
                self.act(|coordinator, desk| {
                    coordinator.on_load_data(desk, read.partition, data);
                });
            }
        }
    }

    fn read(&self, from: Offset, max_bytes: i32) -> Bytes {
        let mut chunk = Vec::new();
        for batch in batches(Bytes::from(self.log.clone())).map(Result::unwrap) {
            let room = usize::try_from(max_bytes).unwrap() >= chunk.len() + batch.size_in_bytes();
            if batch.last_offset() >= from && (chunk.is_empty() || room) {
                chunk.extend_from_slice(batch.bytes());
            }
        }
        Bytes::from(chunk)
    }

    /// The broker that takes over with the same log.
    fn successor(&self) -> Self {
        let mut next = Self::idle(self.coordinator.office.behaviour, |_| {});
        next.now = self.now;
        next.log.clone_from(&self.log);
        next.end = self.end;
        next.elect(1);
        next
    }

    /// Lets time pass, timers included.
    fn pass(&mut self, span: Span) {
        let until = self.now.mono + span;
        while let Some(at) = self.timer.filter(|at| *at <= until) {
            self.timer = None;
            self.move_to(at);
            self.act(GroupCoordinator::on_timer);
        }
        self.move_to(until);
    }

    fn move_to(&mut self, mono: Mono) {
        let passed = mono.since(self.now.mono);
        self.now.wall = Wall(self.now.wall.0 + i64::try_from(passed.0).unwrap());
        self.now.mono = self.now.mono.max(mono);
    }

    fn ask(&mut self, api_version: i16, client: &str, request: GroupRequest) -> Asked {
        self.ask_with(api_version, client, request, BTreeSet::new())
    }

    fn ask_with(
        &mut self,
        api_version: i16,
        client: &str,
        request: GroupRequest,
        unknown: BTreeSet<TopicPartition>,
    ) -> Asked {
        self.asked += 1;
        let (asked, host) = (self.asked, Arc::from("host"));
        let connection = ConnectionId(u64::try_from(asked).unwrap());
        let correlation_id = CorrelationId(asked);
        self.requests.on_accepted(connection, Arc::clone(&host));
        let token = RequestToken {
            connection,
            correlation_id,
        };
        let call = Call {
            token,
            client_id: client.into(),
            client_host: host,
            api_version,
            unknown,
        };
        self.act(|coordinator, desk| coordinator.handle_request(desk, &call, request));
        asked
    }

    fn join(&mut self, member: &MemberId) -> Asked {
        self.ask(7, "c", join(member))
    }

    /// A member that got its id and asks to be let in with it.
    fn newcomer(&mut self, client: &str) -> (MemberId, Asked) {
        let asked = self.ask(7, client, join(&"".into()));
        let answer: JoinGroupResponse = self.answered(asked);
        assert_eq!(answer.error, ErrorCode::MemberIdRequired);
        let id = answer.member_id;
        let asked = self.join(&id);
        (id, asked)
    }

    /// A stable group of these clients, in the order of their member ids; the first leads.
    fn stable(&mut self, clients: &[&str]) -> Vec<MemberId> {
        let joined: Vec<_> = clients.iter().map(|name| self.newcomer(name)).collect();
        self.pass(Span::secs(6));
        let ids: Vec<MemberId> = joined.iter().map(|(id, _)| id.clone()).collect();
        for (_, asked) in joined {
            let answer: JoinGroupResponse = self.answered(asked);
            assert_eq!(answer.error, ErrorCode::None);
        }
        self.sync_all(&ids);
        assert_eq!(self.state(), "Stable");
        ids
    }

    /// Followers first, then the leader with an assignment for each.
    fn sync_all(&mut self, ids: &[MemberId]) {
        for id in ids.iter().rev() {
            let assignments = ids.iter().map(|id| (id.clone(), assignment(id))).collect();
            let request = self.sync(id, assignments);
            self.ask(5, "c", request);
        }
    }

    fn sync(&self, member: &MemberId, assignments: Vec<(MemberId, Bytes)>) -> GroupRequest {
        GroupRequest::Sync(SyncGroupRequest {
            group_id: GROUP.into(),
            generation_id: self.generation(),
            member_id: member.clone(),
            group_instance_id: None,
            assignments,
        })
    }

    fn heartbeat(&mut self, member: &MemberId, generation: GenerationId) -> ErrorCode {
        let request = GroupRequest::Heartbeat(HeartbeatRequest {
            group_id: GROUP.into(),
            generation_id: generation,
            member_id: member.clone(),
            group_instance_id: None,
        });
        let asked = self.ask(4, "c", request);
        self.answered::<HeartbeatResponse>(asked).error
    }

    fn leave(&mut self, member: &MemberId) -> ErrorCode {
        let request = GroupRequest::Leave(LeaveGroupRequest {
            group_id: GROUP.into(),
            members: vec![(member.clone(), None)],
        });
        let asked = self.ask(4, "c", request);
        self.answered::<LeaveGroupResponse>(asked).error
    }

    fn commit(&mut self, member: &MemberId, generation: GenerationId, offset: i64) -> Asked {
        let offsets = vec![committed("t", offset, "")];
        let request = commit(member, generation, offsets);
        self.ask(8, "c", request)
    }

    fn commit_error(&self, asked: Asked) -> ErrorCode {
        self.answered::<OffsetCommitResponse>(asked).partitions[0].1
    }

    /// The committed offset of `topic`-0.
    fn offset(&mut self, topic: &str) -> Option<i64> {
        let partition = TopicPartition::new(topic, 0);
        let response = self.fetch(Some(vec![partition]), false);
        assert_eq!(response.error, ErrorCode::None);
        let answer = response.partitions[0].1.clone().unwrap();
        answer.map(|committed| committed.offset.0)
    }

    fn fetch(
        &mut self,
        partitions: Option<Vec<TopicPartition>>,
        require_stable: bool,
    ) -> OffsetFetchResponse {
        let request = GroupRequest::OffsetFetch(OffsetFetchRequest {
            group_id: GROUP.into(),
            partitions,
            require_stable,
        });
        let asked = self.ask(7, "c", request);
        self.answered(asked)
    }

    fn answered<T: Answer>(&self, asked: Asked) -> T {
        let body = self.answers.get(&asked).cloned();
        T::of(body.expect("a response"))
    }

    fn waits(&self, asked: Asked) -> bool {
        !self.answers.contains_key(&asked)
    }

    fn group(&self) -> &Group {
        &self.coordinator.registry.groups[&GroupId::from(GROUP)]
    }

    fn state(&self) -> &'static str {
        self.group().state.name()
    }

    fn generation(&self) -> GenerationId {
        self.group().generation
    }

    /// How many rebalances were begun.
    fn rebalances(&self) -> usize {
        let begun = GroupNote::State("PreparingRebalance");
        self.notes.iter().filter(|note| **note == begun).count()
    }

    /// The members of each completed generation.
    fn generations(&self) -> Vec<usize> {
        let sizes = self.notes.iter().filter_map(|note| {
            if let GroupNote::Generation { members, .. } = note {
                Some(members.len())
            } else {
                None
            }
        });
        sizes.collect()
    }
}

/// A response of a known kind.
trait Answer {
    fn of(body: ResponseBody) -> Self;
}

macro_rules! answers {
    ($($variant:ident => $response:ty;)*) => {
        $(impl Answer for $response {
            fn of(body: ResponseBody) -> Self {
                match body {
                    ResponseBody::$variant(response) => response,
                    other => panic!("not the response asked for: {other:?}"),
                }
            }
        })*
    };
}

answers! {
    JoinGroup => JoinGroupResponse;
    SyncGroup => SyncGroupResponse;
    Heartbeat => HeartbeatResponse;
    LeaveGroup => LeaveGroupResponse;
    OffsetCommit => OffsetCommitResponse;
    OffsetFetch => OffsetFetchResponse;
    TxnOffsetCommit => protocol::api::transaction::TxnOffsetCommitResponse;
    DescribeGroups => protocol::api::group::DescribeGroupsResponse;
}

fn join(member: &MemberId) -> GroupRequest {
    GroupRequest::Join(join_request(member))
}

fn join_request(member: &MemberId) -> JoinGroupRequest {
    JoinGroupRequest {
        group_id: GROUP.into(),
        session_timeout: SESSION,
        rebalance_timeout: REBALANCE,
        member_id: member.clone(),
        group_instance_id: None,
        protocol_type: "consumer".into(),
        protocols: vec![("range".into(), subscription("t"))],
    }
}

/// Version 0 of a consumer's subscription to one topic.
fn subscription(topic: &str) -> Bytes {
    let mut bytes = vec![0, 0, 0, 0, 0, 1, 0, u8::try_from(topic.len()).unwrap()];
    bytes.extend_from_slice(topic.as_bytes());
    bytes.extend_from_slice(&[0xff; 4]);
    Bytes::from(bytes)
}

fn assignment(member: &MemberId) -> Bytes {
    Bytes::from(format!("for {member}"))
}

fn committed(topic: &str, offset: i64, metadata: &str) -> CommittedOffset {
    CommittedOffset {
        partition: TopicPartition::new(topic, 0),
        offset: Offset(offset),
        leader_epoch: Some(LeaderEpoch(3)),
        metadata: metadata.into(),
    }
}

fn commit(
    member: &MemberId,
    generation: GenerationId,
    offsets: Vec<CommittedOffset>,
) -> GroupRequest {
    GroupRequest::OffsetCommit(OffsetCommitRequest {
        group_id: GROUP.into(),
        generation_id: generation,
        member_id: member.clone(),
        group_instance_id: None,
        retention: None,
        offsets,
    })
}

/// A consumer without group management.
const NOBODY: (&str, GenerationId) = ("", GenerationId(-1));
