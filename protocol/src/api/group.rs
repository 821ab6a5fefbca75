//! Consumer groups: finding the coordinator, joining, heartbeats, offsets.

use super::partition_size;
use crate::error_code::ErrorCode;
use crate::ids::{
    BrokerId, Endpoint, GenerationId, GroupId, LeaderEpoch, MemberId, Offset, TopicPartition,
};
use crate::message::{size_of, text_size};
use crate::time::Span;
use bytes::Bytes;
use std::sync::Arc;

/// What kind of coordinator is looked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CoordinatorKind {
    /// A group coordinator.
    Group,
    /// A transaction coordinator.
    Transaction,
}

/// Who coordinates this?
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FindCoordinatorRequest {
    /// The group id or transactional id.
    pub key: Arc<str>,
    /// Which kind.
    pub kind: CoordinatorKind,
}

/// The coordinator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FindCoordinatorResponse {
    /// The error.
    pub error: ErrorCode,
    /// The broker; `None` with an error.
    pub coordinator: Option<(BrokerId, Endpoint)>,
}

/// Join a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinGroupRequest {
    /// The group.
    pub group_id: GroupId,
    /// `session.timeout.ms`.
    pub session_timeout: Span,
    /// `max.poll.interval.ms`: how long a rebalance may wait for this member.
    pub rebalance_timeout: Span,
    /// The member's id; empty on the first try.
    pub member_id: MemberId,
    /// `group.instance.id` (version 5 on).
    pub group_instance_id: Option<Arc<str>>,
    /// `consumer`.
    pub protocol_type: Arc<str>,
    /// The assignors it can use, preferred first, each with its subscription.
    pub protocols: Vec<(Arc<str>, Bytes)>,
}

/// Joined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinGroupResponse {
    /// The error.
    pub error: ErrorCode,
    /// The generation; −1 with an error.
    pub generation_id: GenerationId,
    /// The assignor chosen.
    pub protocol: Option<Arc<str>>,
    /// The member that computes the assignment.
    pub leader: MemberId,
    /// The member's id, also with `MEMBER_ID_REQUIRED`.
    pub member_id: MemberId,
    /// For the leader: every member with its instance id and subscription.
    pub members: Vec<(MemberId, Option<Arc<str>>, Bytes)>,
}

/// Give me my assignment; from the leader: here are all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncGroupRequest {
    /// The group.
    pub group_id: GroupId,
    /// The generation.
    pub generation_id: GenerationId,
    /// The member.
    pub member_id: MemberId,
    /// `group.instance.id` (version 3 on).
    pub group_instance_id: Option<Arc<str>>,
    /// From the leader: the assignments.
    pub assignments: Vec<(MemberId, Bytes)>,
}

/// The assignment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncGroupResponse {
    /// The error.
    pub error: ErrorCode,
    /// The assignment.
    pub assignment: Bytes,
}

/// I am alive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeartbeatRequest {
    /// The group.
    pub group_id: GroupId,
    /// The generation.
    pub generation_id: GenerationId,
    /// The member.
    pub member_id: MemberId,
    /// `group.instance.id` (version 3 on).
    pub group_instance_id: Option<Arc<str>>,
}

/// Whether the group still counts the member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeartbeatResponse {
    /// The error.
    pub error: ErrorCode,
}

/// I leave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaveGroupRequest {
    /// The group.
    pub group_id: GroupId,
    /// The members that leave, with their instance ids.
    pub members: Vec<(MemberId, Option<Arc<str>>)>,
}

/// Left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaveGroupResponse {
    /// The error.
    pub error: ErrorCode,
}

/// An offset to commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommittedOffset {
    /// The partition.
    pub partition: TopicPartition,
    /// The next offset to read.
    pub offset: Offset,
    /// The epoch of the last record consumed (version 6 on).
    pub leader_epoch: Option<LeaderEpoch>,
    /// Free text.
    pub metadata: Arc<str>,
}

/// Commit offsets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetCommitRequest {
    /// The group.
    pub group_id: GroupId,
    /// The generation; −1 for a consumer that manages its partitions itself.
    pub generation_id: GenerationId,
    /// The member; empty for such a consumer.
    pub member_id: MemberId,
    /// `group.instance.id` (version 7 on).
    pub group_instance_id: Option<Arc<str>>,
    /// `retention.time` (versions 2 to 4).
    pub retention: Option<Span>,
    /// The offsets.
    pub offsets: Vec<CommittedOffset>,
}

/// What became of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetCommitResponse {
    /// One error per partition.
    pub partitions: Vec<(TopicPartition, ErrorCode)>,
}

/// Which offsets are committed?
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetFetchRequest {
    /// The group.
    pub group_id: GroupId,
    /// The partitions; all of the group when `None`.
    pub partitions: Option<Vec<TopicPartition>>,
    /// Refuse while a transaction's offsets are undecided (version 7 on).
    pub require_stable: bool,
}

/// Committed offsets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetFetchResponse {
    /// An error of the whole request.
    pub error: ErrorCode,
    /// Each partition with its committed offset, or `None` where there is none, or its error.
    pub partitions: Vec<(TopicPartition, Result<Option<CommittedOffset>, ErrorCode>)>,
}

/// Describe groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribeGroupsRequest {
    /// Which.
    pub groups: Vec<GroupId>,
}

/// A group as its coordinator sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribedGroup {
    /// The error.
    pub error: ErrorCode,
    /// Which.
    pub group_id: GroupId,
    /// Its state's name.
    pub state: Arc<str>,
    /// The assignor.
    pub protocol: Option<Arc<str>>,
    /// Each member's id, client id and assignment.
    pub members: Vec<(MemberId, Arc<str>, Bytes)>,
}

/// Groups described.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribeGroupsResponse {
    /// Each group.
    pub groups: Vec<DescribedGroup>,
}

fn optional(text: Option<&Arc<str>>) -> u64 {
    text.map_or(2, |text| text_size(text))
}

fn blob(bytes: &Bytes) -> u64 {
    4 + size_of(bytes.len())
}

impl FindCoordinatorRequest {
    pub(super) fn wire_size(&self) -> u64 {
        1 + text_size(&self.key)
    }
}

impl FindCoordinatorResponse {
    pub(super) fn wire_size(&self) -> u64 {
        12 + self
            .coordinator
            .as_ref()
            .map_or(2, |(_, at)| text_size(&at.host))
    }
}

impl JoinGroupRequest {
    pub(super) fn wire_size(&self) -> u64 {
        let protocols: u64 = self
            .protocols
            .iter()
            .map(|(name, metadata)| text_size(name) + blob(metadata))
            .sum();
        8 + text_size(self.group_id.as_str())
            + text_size(self.member_id.as_str())
            + optional(self.group_instance_id.as_ref())
            + text_size(&self.protocol_type)
            + protocols
    }
}

impl JoinGroupResponse {
    pub(super) fn wire_size(&self) -> u64 {
        let members = self.members.iter();
        let members = members
            .map(|(id, name, data)| text_size(id.as_str()) + optional(name.as_ref()) + blob(data));
        14 + optional(self.protocol.as_ref())
            + text_size(self.leader.as_str())
            + text_size(self.member_id.as_str())
            + members.sum::<u64>()
    }
}

impl SyncGroupRequest {
    pub(super) fn wire_size(&self) -> u64 {
        8 + text_size(self.group_id.as_str())
            + text_size(self.member_id.as_str())
            + optional(self.group_instance_id.as_ref())
            + self
                .assignments
                .iter()
                .map(|(id, bytes)| text_size(id.as_str()) + blob(bytes))
                .sum::<u64>()
    }
}

impl SyncGroupResponse {
    pub(super) fn wire_size(&self) -> u64 {
        6 + blob(&self.assignment)
    }
}

impl HeartbeatRequest {
    pub(super) fn wire_size(&self) -> u64 {
        4 + text_size(self.group_id.as_str())
            + text_size(self.member_id.as_str())
            + optional(self.group_instance_id.as_ref())
    }
}

impl HeartbeatResponse {
    #[expect(clippy::unused_self, reason = "every body answers the same question")]
    pub(super) fn wire_size(&self) -> u64 {
        6
    }
}

impl LeaveGroupRequest {
    pub(super) fn wire_size(&self) -> u64 {
        let members = self
            .members
            .iter()
            .map(|(id, name)| text_size(id.as_str()) + optional(name.as_ref()));
        4 + text_size(self.group_id.as_str()) + members.sum::<u64>()
    }
}

impl LeaveGroupResponse {
    #[expect(clippy::unused_self, reason = "every body answers the same question")]
    pub(super) fn wire_size(&self) -> u64 {
        6
    }
}

impl OffsetCommitRequest {
    pub(super) fn wire_size(&self) -> u64 {
        let offset = |entry: &CommittedOffset| {
            partition_size(&entry.partition) + 12 + text_size(&entry.metadata)
        };
        8 + text_size(self.group_id.as_str())
            + text_size(self.member_id.as_str())
            + optional(self.group_instance_id.as_ref())
            + self.offsets.iter().map(offset).sum::<u64>()
    }
}

impl OffsetCommitResponse {
    pub(super) fn wire_size(&self) -> u64 {
        8 + self
            .partitions
            .iter()
            .map(|(partition, _)| partition_size(partition) + 2)
            .sum::<u64>()
    }
}

impl OffsetFetchRequest {
    pub(super) fn wire_size(&self) -> u64 {
        5 + text_size(self.group_id.as_str())
            + self
                .partitions
                .iter()
                .flatten()
                .map(partition_size)
                .sum::<u64>()
    }
}

impl OffsetFetchResponse {
    pub(super) fn wire_size(&self) -> u64 {
        10 + self
            .partitions
            .iter()
            .map(|(partition, _)| partition_size(partition) + 18)
            .sum::<u64>()
    }
}

impl DescribeGroupsRequest {
    pub(super) fn wire_size(&self) -> u64 {
        5 + self
            .groups
            .iter()
            .map(|id| text_size(id.as_str()))
            .sum::<u64>()
    }
}

impl DescribeGroupsResponse {
    pub(super) fn wire_size(&self) -> u64 {
        let group = |group: &DescribedGroup| {
            let members = group.members.iter();
            let members = members.map(|(id, client, bytes)| {
                text_size(id.as_str()) + text_size(client) + blob(bytes)
            });
            text_size(group.group_id.as_str()) + text_size(&group.state) + members.sum::<u64>()
        };
        8 + self.groups.iter().map(group).sum::<u64>()
    }
}
