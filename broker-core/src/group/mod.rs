//! Consumer groups on `__consumer_offsets` (`GroupCoordinator`, `GroupMetadataManager` of 2.8).
//!
//! A group belongs to one partition of the offsets topic, and the leader of that partition coordinates it. Membership
//! lives in memory and is written down when a generation has its assignments; an offset counts once its record is
//! committed. The coordinator owns no log: it hands [`GroupAppend`]s to the broker and learns their end by
//! [`GroupCoordinator::on_append_finished`], and it is fed the partition's records when it is elected.
//!
//! Left out: `ListGroups`, `DeleteGroups`, `OffsetDelete`, for which the api here has no message; offsets in the keeper
//! (`OffsetCommit` version 0 is stored like version 1).

mod answers;
mod deadlines;
mod expiry;
mod join;
mod load;
mod member;
mod offsets;
mod placement;
mod rebalance;
mod session;
mod state;
mod statics;
mod storage;
mod subscription;
mod sync;
#[cfg(test)]
mod tests;
mod transactions;

pub use load::{LoadData, LoadRead};
pub use placement::{OFFSETS_TOPIC, offsets_partition, partition_for};
pub use transactions::EndedTransaction;

use crate::request_channel::RequestChannel;
use deadlines::{Alarm, Deadline, Deadlines, Ring};
use load::Ownership;
use member::MemberIds;
use protocol::api::ResponseBody;
use protocol::api::group::{
    DescribeGroupsRequest, HeartbeatRequest, JoinGroupRequest, LeaveGroupRequest,
    OffsetCommitRequest, OffsetFetchRequest, SyncGroupRequest,
};
use protocol::api::transaction::TxnOffsetCommitRequest;
use protocol::behaviour::{Behaviour, Era, Fix, InterBrokerProtocol};
use protocol::config::BrokerConfig;
use protocol::error_code::ErrorCode;
use protocol::ids::{BrokerId, GroupId, LeaderEpoch, Offset, TopicPartition};
use protocol::machine::{Io, RequestToken};
use protocol::note::{GroupNote, Note};
use protocol::record::RecordBatch;
use protocol::time::{Mono, Now, Span};
use state::Group;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What a step of the coordinator works with.
pub struct Desk<'a, 'io> {
    /// The broker's clocks.
    pub now: Now,
    /// Its hands.
    pub io: &'a mut Io<'io>,
    /// Where responses go.
    pub requests: &'a mut RequestChannel,
}

/// Who sent a request.
#[derive(Clone, Debug)]
pub struct Call {
    /// What to answer to.
    pub token: RequestToken,
    /// `client.id`.
    pub client_id: Arc<str>,
    /// The host it came from.
    pub client_host: Arc<str>,
    /// The version of the request.
    pub api_version: i16,
    /// For an `OffsetCommit`: its partitions that the metadata cache does not know. They are answered
    /// `UNKNOWN_TOPIC_OR_PARTITION` and the others stored (`KafkaApis.handleOffsetCommitRequest`).
    pub unknown: BTreeSet<TopicPartition>,
}

/// A request for the coordinator.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "each variant is the request of that name")]
pub enum GroupRequest {
    Join(JoinGroupRequest),
    Sync(SyncGroupRequest),
    Heartbeat(HeartbeatRequest),
    Leave(LeaveGroupRequest),
    OffsetCommit(OffsetCommitRequest),
    OffsetFetch(OffsetFetchRequest),
    TxnOffsetCommit(TxnOffsetCommitRequest),
    Describe(DescribeGroupsRequest),
}

/// Pairs the end of an append with its [`GroupAppend`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct GroupTicket(pub u64);

/// A batch for the offsets topic.
#[derive(Clone, Debug)]
pub struct GroupAppend {
    /// Names its end for [`GroupCoordinator::on_append_finished`].
    pub ticket: GroupTicket,
    /// The partition of the offsets topic.
    pub partition: i32,
    /// The batch, to be rebased by the leader.
    pub batch: RecordBatch,
    /// `offsets.commit.required.acks`, or 0 for tombstones, whose end nobody waits for.
    pub required_acks: i16,
    /// How long to wait for replicas.
    pub timeout: Span,
}

/// The coordinator of one broker.
#[derive(Clone, Debug)]
pub struct GroupCoordinator {
    registry: Registry,
    office: Office,
}

/// The groups and the partitions they belong to.
#[derive(Clone, Debug, Default)]
struct Registry {
    groups: BTreeMap<GroupId, Group>,
    ownership: Ownership,
    /// Between start and stop.
    active: bool,
    /// The next look for expired offsets.
    cleanup: Alarm,
}

/// What all groups share: settings, deadlines, appends under way.
#[derive(Clone, Debug)]
struct Office {
    behaviour: Behaviour,
    settings: Settings,
    /// Partitions of the offsets topic, as they were when the broker started.
    partitions: i32,
    member_ids: MemberIds,
    incarnations: u64,
    deadlines: Deadlines,
    appends: Vec<GroupAppend>,
    tickets: u64,
    waiting: BTreeMap<GroupTicket, Waiting>,
}

/// The settings that matter here.
#[derive(Clone, Copy, Debug)]
struct Settings {
    min_session: Span,
    max_session: Span,
    max_size: usize,
    initial_delay: Span,
    metadata_max: usize,
    load_buffer: i32,
    retention: Span,
    retention_check: Span,
    commit_timeout: Span,
    commit_acks: i16,
}

/// What an append is for.
#[derive(Clone, Debug)]
enum Waiting {
    /// The assignments of a generation.
    Assignment(sync::StoredAssignment),
    /// A commit.
    Offsets(Box<offsets::StoredCommit>),
    /// A commit within a transaction.
    Transactional(Box<transactions::TransactionalCommit>),
    /// A static member's new id.
    Replacement(Box<statics::Replacement>),
    /// A generation without members, which nobody waits for.
    EmptyGroup,
}

/// A desk with the shared parts on it.
struct Step<'a, 'io> {
    now: Now,
    io: &'a mut Io<'io>,
    requests: &'a mut RequestChannel,
    office: &'a mut Office,
}

impl Step<'_, '_> {
    fn respond(&mut self, token: RequestToken, body: impl Into<ResponseBody>) {
        self.requests.respond(self.io, token, body);
    }

    fn note(&mut self, group: &GroupId, note: GroupNote) {
        self.io.note(Note::Group(group.clone(), note));
    }

    fn has(&self, fix: Fix) -> bool {
        self.office.behaviour.has(fix)
    }

    /// The code of 0.9 to 1.0: no time-out of a new member's join (KAFKA-7610), and heartbeats are refused until the group
    /// is stable.
    fn is_before_kip_394(&self) -> bool {
        self.office.behaviour.era < Era::V2_8
    }

    fn wall_ms(&self) -> i64 {
        self.now.wall.millis()
    }

    /// Queues a batch; `waiting` is picked up again when the append ends.
    fn append(&mut self, partition: i32, batch: RecordBatch, waiting: Option<Waiting>) {
        let office = &mut *self.office;
        let ticket = GroupTicket(office.tickets);
        office.tickets += 1;
        let acks = office.settings.commit_acks;
        let required_acks = if waiting.is_some() { acks } else { 0 };
        if let Some(waiting) = waiting {
            office.waiting.insert(ticket, waiting);
        }
        office.appends.push(GroupAppend {
            ticket,
            partition,
            batch,
            required_acks,
            timeout: office.settings.commit_timeout,
        });
    }
}

impl Office {
    fn new_group(&mut self, id: GroupId, wall_ms: i64) -> Group {
        let partition = partition_for(&id, self.partitions);
        self.incarnations += 1;
        Group::new(id, partition, self.incarnations, wall_ms)
    }

    /// Static members may only be named once all brokers can store them (KIP-345).
    fn refuses_instances(&self) -> bool {
        self.behaviour.inter_broker_protocol < InterBrokerProtocol::V2_3Iv0
    }
}

impl GroupCoordinator {
    /// A coordinator that coordinates nothing yet; `seed` makes its member ids.
    pub fn new(config: &BrokerConfig, behaviour: Behaviour, broker: BrokerId, seed: u64) -> Self {
        let size = |limit: i32| usize::try_from(limit).unwrap_or(0);
        let settings = Settings {
            min_session: config.group_min_session_timeout_ms,
            max_session: config.group_max_session_timeout_ms,
            max_size: size(config.group_max_size),
            initial_delay: config.group_initial_rebalance_delay_ms,
            metadata_max: size(config.offset_metadata_max_bytes),
            load_buffer: config.offsets_load_buffer_size,
            retention: config.offsets_retention_minutes,
            retention_check: config.offsets_retention_check_interval_ms,
            commit_timeout: config.offsets_commit_timeout_ms,
            commit_acks: config.offsets_commit_required_acks,
        };
        let broker = u64::from(broker.0.unsigned_abs());
        let office = Office {
            behaviour,
            settings,
            partitions: config.offsets_topic_num_partitions,
            member_ids: MemberIds::new(seed ^ broker.rotate_left(48)),
            incarnations: 0,
            deadlines: Deadlines::default(),
            appends: Vec::new(),
            tickets: 0,
            waiting: BTreeMap::new(),
        };
        Self {
            registry: Registry::default(),
            office,
        }
    }

    /// The broker has started. `partitions` is how many the offsets topic has, where it exists; it is not looked up again
    /// (`groupMetadataTopicPartitionCount`).
    pub fn on_started(&mut self, now: Now, io: &mut Io<'_>, partitions: Option<i32>) {
        self.registry.active = true;
        if let Some(partitions) = partitions {
            self.office.partitions = partitions;
        }
        let at = now.mono + self.office.settings.retention_check;
        let deadlines = &mut self.office.deadlines;
        deadlines.set(&mut self.registry.cleanup, at, || Deadline::Cleanup);
        deadlines.arm(io);
    }

    /// The broker stops: every request from now on is answered `COORDINATOR_NOT_AVAILABLE`.
    pub fn shutdown(&mut self) {
        self.registry.active = false;
    }

    /// The partition of the offsets topic that holds a group.
    pub fn partition_for(&self, group: &GroupId) -> i32 {
        partition_for(group, self.office.partitions)
    }

    /// Serves one request; the response goes out now or when a join, a sync or an append ends.
    pub fn handle_request(&mut self, desk: Desk<'_, '_>, call: &Call, request: GroupRequest) {
        self.with_step(desk, |registry, step| match request {
            GroupRequest::Join(request) => registry.join_group(step, call, request),
            GroupRequest::Sync(request) => registry.sync_group(step, call, request),
            GroupRequest::Heartbeat(request) => registry.heartbeat(step, call, &request),
            GroupRequest::Leave(request) => registry.leave_group(step, call, &request),
            GroupRequest::OffsetCommit(request) => registry.commit(step, call, request),
            GroupRequest::OffsetFetch(request) => registry.fetch(step, call, request),
            GroupRequest::TxnOffsetCommit(request) => {
                registry.commit_in_transaction(step, call, request);
            }
            GroupRequest::Describe(request) => registry.describe(step, call, request),
        });
    }

    /// The appends asked for since the last call, in order. Every method with a [`Desk`] may ask for some.
    pub fn take_appends(&mut self) -> Vec<GroupAppend> {
        std::mem::take(&mut self.office.appends)
    }

    /// An append has ended: with the base offset it got, once it is committed, or with an error.
    pub fn on_append_finished(
        &mut self,
        desk: Desk<'_, '_>,
        ticket: GroupTicket,
        result: Result<Offset, ErrorCode>,
    ) {
        self.with_step(desk, |registry, step| {
            let groups = &mut registry.groups;
            match step.office.waiting.remove(&ticket) {
                Some(Waiting::Assignment(stored)) => stored.finish(step, groups, result),
                Some(Waiting::Offsets(stored)) => stored.finish(step, groups, result),
                Some(Waiting::Transactional(stored)) => stored.finish(step, groups, result),
                Some(Waiting::Replacement(stored)) => stored.finish(step, groups, result),
                Some(Waiting::EmptyGroup) | None => {}
            }
        });
    }

    /// The coordinator's timer rang ([`crate::timer::TimerOwner::Group`]).
    pub fn on_timer(&mut self, desk: Desk<'_, '_>) {
        self.with_step(desk, |registry, step| {
            let now = step.now.mono;
            step.office.deadlines.on_timer();
            while let Some(entry) = step.office.deadlines.pop(now) {
                registry.ring(step, entry);
            }
        });
    }

    /// This broker leads a partition of the offsets topic now: the partition is loaded on the lane
    /// [`Lane::GroupLoader`](protocol::machine::Lane::GroupLoader), and its groups are answered
    /// `COORDINATOR_LOAD_IN_PROGRESS` until then.
    pub fn on_elected(&mut self, io: &mut Io<'_>, partition: i32, epoch: LeaderEpoch) {
        self.registry.ownership.on_elected(io, partition, epoch);
    }

    /// This broker no longer leads the partition (`None` when its replica was stopped): its groups are forgotten on the
    /// same lane.
    pub fn on_resigned(&mut self, desk: Desk<'_, '_>, partition: i32, epoch: Option<LeaderEpoch>) {
        self.with_step(desk, |registry, step| {
            registry.on_resigned(step, partition, epoch);
        });
    }

    /// The marker of a transaction is replicated in partitions of the offsets topic; what it decides is carried out on the
    /// same lane, behind what waits there. Until then the producer may have begun the next transaction, whose offsets take
    /// the place of those that were decided: with the fix they take effect at once where nothing waits.
    pub fn on_transaction_ended(&mut self, desk: Desk<'_, '_>, ended: EndedTransaction) {
        self.with_step(desk, |registry, step| {
            if step.has(Fix::OffsetsWithTheMarker) && registry.ownership.is_idle() {
                registry.end_transaction(step, &ended);
            } else {
                registry.ownership.on_ended(step.io, ended);
            }
        });
    }

    /// The lane's next piece of work may run. Afterwards [`take_loads`](Self::take_loads) may have reads.
    pub fn on_due(&mut self, desk: Desk<'_, '_>) {
        self.with_step(desk, Registry::on_due);
    }

    /// Reads that a load wants now. Each is answered by [`on_load_data`](Self::on_load_data), which may want another.
    pub fn take_loads(&mut self) -> Vec<LoadRead> {
        self.registry.ownership.take_reads()
    }

    /// What a read gave.
    pub fn on_load_data(&mut self, desk: Desk<'_, '_>, partition: i32, data: LoadData) {
        self.with_step(desk, |registry, step| {
            registry.on_load_data(step, partition, data);
        });
    }

    fn with_step(
        &mut self,
        desk: Desk<'_, '_>,
        act: impl FnOnce(&mut Registry, &mut Step<'_, '_>),
    ) {
        let Desk { now, io, requests } = desk;
        let mut step = Step {
            now,
            io: &mut *io,
            requests,
            office: &mut self.office,
        };
        act(&mut self.registry, &mut step);
        self.office.deadlines.arm(io);
    }
}

impl Registry {
    /// Whether requests for this group can be served here (`validateGroupStatus`).
    fn validate(&self, office: &Office, group: &GroupId) -> Result<(), ErrorCode> {
        let partition = partition_for(group, office.partitions);
        if !self.active {
            Err(ErrorCode::CoordinatorNotAvailable)
        } else if self.ownership.is_loading(partition) {
            Err(ErrorCode::CoordinatorLoadInProgress)
        } else if !self.ownership.owns(partition) {
            Err(ErrorCode::NotCoordinator)
        } else {
            Ok(())
        }
    }

    /// The same for requests of members, whose group must have a name; committed offsets may belong to the empty one.
    fn validate_membership(&self, office: &Office, group: &GroupId) -> Result<(), ErrorCode> {
        if group.as_str().is_empty() {
            return Err(ErrorCode::InvalidGroupId);
        }
        self.validate(office, group)
    }

    /// An entry of the deadline queue has come up.
    fn ring(&mut self, step: &mut Step<'_, '_>, entry: (Mono, Deadline)) {
        let (now, deadline) = (step.now.mono, entry.1.clone());
        let deadlines = &mut step.office.deadlines;
        let mut passed =
            |alarm: &mut Alarm, entry| deadlines.ring(alarm, entry, now) == Ring::Passed;
        match deadline {
            Deadline::Cleanup => {
                if passed(&mut self.cleanup, entry) {
                    self.clean_up(step);
                }
            }
            Deadline::Join(group) => {
                let group = self.groups.get_mut(&group);
                if let Some(group) = group.filter_passed(|g| passed(&mut g.join_alarm, entry)) {
                    group.on_join_expired(step);
                }
            }
            Deadline::Sync(group) => {
                let group = self.groups.get_mut(&group);
                if let Some(group) = group.filter_passed(|g| passed(&mut g.sync_alarm, entry)) {
                    group.on_sync_expired(step);
                }
            }
            Deadline::Pending(group, id) => {
                let group = self.groups.get_mut(&group);
                let rang = |group: &mut Group| {
                    let alarm = group.pending_members.get_mut(&id);
                    alarm.is_some_and(|alarm| passed(alarm, entry))
                };
                if let Some(group) = group.filter_passed(rang) {
                    group.remove_pending(step, &id);
                }
            }
            Deadline::Session(group, id) => {
                let group = self.groups.get_mut(&group);
                let rang = |group: &mut Group| {
                    let member = group.members.get_mut(&id);
                    member.is_some_and(|member| passed(&mut member.session, entry))
                };
                if let Some(group) = group.filter_passed(rang) {
                    group.on_session_expired(step, &id);
                }
            }
        }
    }
}

/// `Option::filter` for a reference that the question may write through.
trait FilterPassed<'a> {
    fn filter_passed(self, passed: impl FnOnce(&mut Group) -> bool) -> Option<&'a mut Group>;
}

impl<'a> FilterPassed<'a> for Option<&'a mut Group> {
    fn filter_passed(self, passed: impl FnOnce(&mut Group) -> bool) -> Option<&'a mut Group> {
        let group = self?;
        passed(group).then_some(group)
    }
}
