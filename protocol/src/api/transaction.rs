//! Transactions: taking partitions and offsets into one, ending it, and the markers that a coordinator writes (KIP-98,
//! KIP-447, KIP-890).
//!
//! Left out: quotas, and authorisation.

use super::group::CommittedOffset;
use super::partition_size;
use crate::error_code::ErrorCode;
use crate::ids::{
    GenerationId, GroupId, MemberId, ProducerEpoch, ProducerId, TopicPartition, TransactionalId,
};
use crate::message::{size_of, text_size};
use std::sync::Arc;

/// Who asks: the transactional id with the producer id and epoch that its holder was given last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransactionalProducer {
    /// `transactional.id`.
    pub transactional_id: TransactionalId,
    /// The producer id.
    pub producer_id: ProducerId,
    /// Its epoch.
    pub producer_epoch: ProducerEpoch,
}

/// These partitions are part of my transaction; or, from a leader: are they part of it?
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddPartitionsToTxnRequest {
    /// Whose transaction.
    pub producer: TransactionalProducer,
    /// The partitions.
    pub partitions: Vec<TopicPartition>,
    /// Only say whether they are, add nothing (version 4 on, between brokers; KIP-890).
    pub verify_only: bool,
}

/// What became of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddPartitionsToTxnResponse {
    /// One error per partition.
    pub partitions: Vec<(TopicPartition, ErrorCode)>,
}

/// The offsets of this group are part of my transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddOffsetsToTxnRequest {
    /// Whose transaction.
    pub producer: TransactionalProducer,
    /// The group, whose partition of `__consumer_offsets` is taken in.
    pub group_id: GroupId,
}

/// Whether they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddOffsetsToTxnResponse {
    /// The error.
    pub error: ErrorCode,
}

/// End my transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndTxnRequest {
    /// Whose transaction.
    pub producer: TransactionalProducer,
    /// Commit it, or else abort it.
    pub committed: bool,
}

/// The end is decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndTxnResponse {
    /// The error.
    pub error: ErrorCode,
    /// The producer id and epoch of the next transaction, where each has its own (version 5 on, KIP-890).
    pub next: Option<(ProducerId, ProducerEpoch)>,
}

/// A marker for some partitions of one leader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransactionMarker {
    /// Whose transaction ends.
    pub producer_id: ProducerId,
    /// In which epoch.
    pub producer_epoch: ProducerEpoch,
    /// Committed, or else aborted.
    pub committed: bool,
    /// The leader epoch of the coordinator's partition of `__transaction_state`; a leader refuses older ones.
    pub coordinator_epoch: i32,
    /// The partitions.
    pub partitions: Vec<TopicPartition>,
}

/// A coordinator tells a leader how transactions ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriteTxnMarkersRequest {
    /// The markers.
    pub markers: Vec<TransactionMarker>,
}

/// What became of one marker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrittenMarker {
    /// Whose transaction.
    pub producer_id: ProducerId,
    /// One error per partition.
    pub partitions: Vec<(TopicPartition, ErrorCode)>,
}

/// What became of the markers, in the order of the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriteTxnMarkersResponse {
    /// Each.
    pub markers: Vec<WrittenMarker>,
}

/// Offsets that take effect with my transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TxnOffsetCommitRequest {
    /// Whose transaction.
    pub producer: TransactionalProducer,
    /// The group.
    pub group_id: GroupId,
    /// The generation; −1 where the application tells the group's name only (before version 3, KIP-447).
    pub generation_id: GenerationId,
    /// The member; empty likewise.
    pub member_id: MemberId,
    /// `group.instance.id`.
    pub group_instance_id: Option<Arc<str>>,
    /// The offsets.
    pub offsets: Vec<CommittedOffset>,
}

/// What became of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TxnOffsetCommitResponse {
    /// One error per partition.
    pub partitions: Vec<(TopicPartition, ErrorCode)>,
}

fn partitions_size(partitions: &[TopicPartition]) -> u64 {
    partitions.iter().map(partition_size).sum()
}

fn errors_size(partitions: &[(TopicPartition, ErrorCode)]) -> u64 {
    partitions
        .iter()
        .map(|(partition, _)| 2 + partition_size(partition))
        .sum()
}

impl TransactionalProducer {
    fn wire_size(&self) -> u64 {
        10 + text_size(self.transactional_id.as_str())
    }
}

impl AddPartitionsToTxnRequest {
    pub(super) fn wire_size(&self) -> u64 {
        self.producer.wire_size() + 5 + partitions_size(&self.partitions)
    }
}

impl AddPartitionsToTxnResponse {
    pub(super) fn wire_size(&self) -> u64 {
        8 + errors_size(&self.partitions)
    }
}

impl AddOffsetsToTxnRequest {
    pub(super) fn wire_size(&self) -> u64 {
        self.producer.wire_size() + text_size(self.group_id.as_str())
    }
}

impl AddOffsetsToTxnResponse {
    #[expect(clippy::unused_self, reason = "every body answers the same question")]
    pub(super) fn wire_size(&self) -> u64 {
        6
    }
}

impl EndTxnRequest {
    pub(super) fn wire_size(&self) -> u64 {
        self.producer.wire_size() + 1
    }
}

impl EndTxnResponse {
    pub(super) fn wire_size(&self) -> u64 {
        if self.next.is_some() { 16 } else { 6 }
    }
}

impl WriteTxnMarkersRequest {
    pub(super) fn wire_size(&self) -> u64 {
        let markers = self.markers.iter();
        4 + markers
            .map(|marker| 19 + partitions_size(&marker.partitions))
            .sum::<u64>()
    }
}

impl WriteTxnMarkersResponse {
    pub(super) fn wire_size(&self) -> u64 {
        let markers = self.markers.iter();
        4 + markers
            .map(|marker| 12 + errors_size(&marker.partitions))
            .sum::<u64>()
    }
}

impl TxnOffsetCommitRequest {
    pub(super) fn wire_size(&self) -> u64 {
        let offsets = self.offsets.iter();
        self.producer.wire_size()
            + text_size(self.group_id.as_str())
            + text_size(self.member_id.as_str())
            + self
                .group_instance_id
                .as_ref()
                .map_or(2, |id| text_size(id))
            + 8
            + size_of(self.offsets.len())
            + offsets
                .map(|offset| 12 + partition_size(&offset.partition) + text_size(&offset.metadata))
                .sum::<u64>()
    }
}

impl TxnOffsetCommitResponse {
    pub(super) fn wire_size(&self) -> u64 {
        4 + errors_size(&self.partitions)
    }
}
