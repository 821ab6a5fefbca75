//! Moving replicas: AlterPartitionReassignments and ListPartitionReassignments (KIP-455).

use super::partition_size;
use crate::error_code::ErrorCode;
use crate::ids::{BrokerId, TopicPartition};
use crate::message::size_of;
use crate::time::Span;

/// Begin, change or cancel moves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlterPartitionReassignmentsRequest {
    /// The partitions, each with its replicas-to-be, preferred leader first; `None` cancels what is under way.
    pub partitions: Vec<(TopicPartition, Option<Vec<BrokerId>>)>,
    /// How long to wait.
    pub timeout: Span,
}

/// What became of the wishes; a move that is taken on goes on after this answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlterPartitionReassignmentsResponse {
    /// An error of the whole request.
    pub error: ErrorCode,
    /// One error per partition.
    pub partitions: Vec<(TopicPartition, ErrorCode)>,
}

/// Which moves are under way?
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListPartitionReassignmentsRequest {
    /// Of these partitions; all when `None`.
    pub partitions: Option<Vec<TopicPartition>>,
    /// How long to wait.
    pub timeout: Span,
}

/// The moves under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListPartitionReassignmentsResponse {
    /// An error of the whole request.
    pub error: ErrorCode,
    /// The partitions that are being moved.
    pub partitions: Vec<OngoingPartitionReassignment>,
}

/// One move under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OngoingPartitionReassignment {
    /// The partition.
    pub partition: TopicPartition,
    /// All its replicas, old and new.
    pub replicas: Vec<BrokerId>,
    /// Those being added.
    pub adding: Vec<BrokerId>,
    /// Those being removed.
    pub removing: Vec<BrokerId>,
}

impl AlterPartitionReassignmentsRequest {
    pub(super) fn wire_size(&self) -> u64 {
        let one = |(partition, replicas): &(TopicPartition, Option<Vec<BrokerId>>)| {
            let replicas = replicas.as_ref().map_or(0, Vec::len);
            partition_size(partition) + 2 + 4 * size_of(replicas)
        };
        6 + self.partitions.iter().map(one).sum::<u64>()
    }
}

impl AlterPartitionReassignmentsResponse {
    pub(super) fn wire_size(&self) -> u64 {
        let one = |(partition, _): &(TopicPartition, ErrorCode)| partition_size(partition) + 4;
        10 + self.partitions.iter().map(one).sum::<u64>()
    }
}

impl ListPartitionReassignmentsRequest {
    pub(super) fn wire_size(&self) -> u64 {
        let named = self.partitions.iter().flatten();
        6 + named.map(partition_size).sum::<u64>()
    }
}

impl ListPartitionReassignmentsResponse {
    pub(super) fn wire_size(&self) -> u64 {
        let one = |ongoing: &OngoingPartitionReassignment| {
            let ids = ongoing.replicas.len() + ongoing.adding.len() + ongoing.removing.len();
            partition_size(&ongoing.partition) + 4 + 4 * size_of(ids)
        };
        10 + self.partitions.iter().map(one).sum::<u64>()
    }
}
