//! Records in, out and away: Produce, Fetch, ListOffsets, OffsetForLeaderEpoch, DeleteRecords.

use super::partition_size;
use crate::error_code::ErrorCode;
use crate::fetch_session::{FetchMetadata, FetchSessionId};
use crate::ids::{
    BrokerEpoch, BrokerId, LeaderEpoch, Offset, ProducerId, TopicPartition, TransactionalId,
};
use crate::message::{size_of, text_size};
use crate::record::RecordBatch;
use crate::time::Span;
use bytes::Bytes;

/// How a producer wants to be answered.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Acks {
    /// Not at all (acks=0): no response is sent; on an error the broker closes the connection.
    None,
    /// After the leader's append (acks=1).
    Leader,
    /// After every in-sync replica has it (acks=all, −1).
    All,
    /// Any other number: `INVALID_REQUIRED_ACKS` (0.8 allowed them).
    Other(i16),
}

/// Append these batches.
#[derive(Clone, Debug, PartialEq)]
pub struct ProduceRequest {
    /// `transactional.id`.
    pub transactional_id: Option<TransactionalId>,
    /// How to answer.
    pub acks: Acks,
    /// `request.timeout.ms`: how long the broker may wait for replicas.
    pub timeout: Span,
    /// One batch per partition (version 3 on).
    pub partitions: Vec<(TopicPartition, RecordBatch)>,
}

/// What became of the batches.
#[derive(Clone, Debug, PartialEq)]
pub struct ProduceResponse {
    /// One answer per partition.
    pub partitions: Vec<PartitionProduceResponse>,
}

/// What became of one batch.
#[derive(Clone, Debug, PartialEq)]
pub struct PartitionProduceResponse {
    /// The partition.
    pub partition: TopicPartition,
    /// The error.
    pub error: ErrorCode,
    /// The offset of the first record; `None` with an error.
    pub base_offset: Option<Offset>,
    /// The log-append time in milliseconds, if the topic uses it.
    pub log_append_time: Option<i64>,
    /// The first offset of the log (version 5 on).
    pub log_start_offset: Option<Offset>,
}

/// What a reader may see.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub enum IsolationLevel {
    /// Everything below the high watermark.
    #[default]
    ReadUncommitted,
    /// Only below the last stable offset.
    ReadCommitted,
}

/// Give me records.
#[derive(Clone, Debug, PartialEq)]
pub struct FetchRequest {
    /// The fetching broker; `None` for a consumer.
    pub replica_id: Option<BrokerId>,
    /// Which life of the fetching broker (version 15 on, KIP-903).
    pub replica_epoch: Option<BrokerEpoch>,
    /// How long to wait for `min_bytes`.
    pub max_wait: Span,
    /// Answer at once with at least this many bytes.
    pub min_bytes: i32,
    /// At most this many over all partitions; the first batch is given whole all the same (KIP-74).
    pub max_bytes: i32,
    /// What a consumer may see.
    pub isolation_level: IsolationLevel,
    /// The fetch session (version 7 on, KIP-227).
    pub metadata: FetchMetadata,
    /// Where to read; in a session, where this has changed.
    pub partitions: Vec<FetchPartition>,
    /// What the session no longer reads (version 7 on).
    pub forgotten: Vec<TopicPartition>,
}

/// Where to read in one partition.
#[derive(Clone, Debug, PartialEq)]
pub struct FetchPartition {
    /// The partition.
    pub partition: TopicPartition,
    /// The leader epoch the fetcher believes in (version 9 on, KIP-320).
    pub current_leader_epoch: Option<LeaderEpoch>,
    /// The next offset wanted.
    pub fetch_offset: Offset,
    /// The epoch of the last record the fetcher has (version 12 on): lets the leader answer with the diverging epoch.
    pub last_fetched_epoch: Option<LeaderEpoch>,
    /// A follower's log start offset (version 5 on).
    pub log_start_offset: Option<Offset>,
    /// At most this many bytes of this partition.
    pub max_bytes: i32,
}

/// Records.
#[derive(Clone, Debug, PartialEq)]
pub struct FetchResponse {
    /// An error of the whole request.
    pub error: ErrorCode,
    /// The fetch session that the reader may go on with (version 7 on).
    pub session: FetchSessionId,
    /// One answer per partition; in a session, only for those about which there is something to tell.
    pub partitions: Vec<PartitionFetchResponse>,
}

/// An aborted transaction that a `read_committed` reader must skip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AbortedTransaction {
    /// Whose.
    pub producer_id: ProducerId,
    /// Its first offset in this partition.
    pub first_offset: Offset,
}

/// Records of one partition.
#[derive(Clone, Debug, PartialEq)]
pub struct PartitionFetchResponse {
    /// The partition.
    pub partition: TopicPartition,
    /// The error.
    pub error: ErrorCode,
    /// The leader's high watermark.
    pub high_watermark: Option<Offset>,
    /// The last stable offset.
    pub last_stable_offset: Option<Offset>,
    /// The first offset of the log.
    pub log_start_offset: Option<Offset>,
    /// Where the follower's log leaves the leader's (version 12 on): the largest epoch not above the asked one, and its end.
    pub diverging_epoch: Option<EpochEndOffset>,
    /// For `read_committed`.
    pub aborted_transactions: Vec<AbortedTransaction>,
    /// Whole batches, one after the other.
    pub records: Bytes,
}

/// An epoch and the offset right after its last record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochEndOffset {
    /// The epoch.
    pub epoch: LeaderEpoch,
    /// Its end.
    pub end_offset: Offset,
}

/// Which offset a reader asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OffsetSpec {
    /// The next one to become visible (−1).
    Latest,
    /// The first one of the log (−2).
    Earliest,
    /// The first one whose timestamp is at least this many milliseconds.
    Timestamp(i64),
}

/// Find offsets.
#[derive(Clone, Debug, PartialEq)]
pub struct ListOffsetsRequest {
    /// The asking broker; `None` for a client.
    pub replica_id: Option<BrokerId>,
    /// What a consumer may see.
    pub isolation_level: IsolationLevel,
    /// The partitions, the epoch the asker believes in (version 4 on), and what is asked.
    pub partitions: Vec<(TopicPartition, Option<LeaderEpoch>, OffsetSpec)>,
}

/// Found offsets.
#[derive(Clone, Debug, PartialEq)]
pub struct ListOffsetsResponse {
    /// One answer per partition.
    pub partitions: Vec<PartitionListOffsetsResponse>,
}

/// A found offset.
#[derive(Clone, Debug, PartialEq)]
pub struct PartitionListOffsetsResponse {
    /// The partition.
    pub partition: TopicPartition,
    /// The error.
    pub error: ErrorCode,
    /// The offset; `None` when no record is that young.
    pub offset: Option<Offset>,
    /// The timestamp of the record found.
    pub timestamp: Option<i64>,
    /// The epoch of the record found.
    pub leader_epoch: Option<LeaderEpoch>,
}

/// Where does this epoch end in your log?
#[derive(Clone, Debug, PartialEq)]
pub struct OffsetForLeaderEpochRequest {
    /// The asking broker; `None` for a consumer.
    pub replica_id: Option<BrokerId>,
    /// The partitions.
    pub partitions: Vec<EpochQuestion>,
}

/// One partition's question.
#[derive(Clone, Debug, PartialEq)]
pub struct EpochQuestion {
    /// The partition.
    pub partition: TopicPartition,
    /// The epoch the asker believes to be current (version 2 on).
    pub current_leader_epoch: Option<LeaderEpoch>,
    /// The epoch asked about.
    pub leader_epoch: LeaderEpoch,
}

/// Where epochs end.
#[derive(Clone, Debug, PartialEq)]
pub struct OffsetForLeaderEpochResponse {
    /// One answer per partition.
    pub partitions: Vec<EpochAnswer>,
}

/// One partition's answer.
#[derive(Clone, Debug, PartialEq)]
pub struct EpochAnswer {
    /// The partition.
    pub partition: TopicPartition,
    /// The error.
    pub error: ErrorCode,
    /// The largest known epoch not above the asked one (version 1 on; KIP-279), and its end. `None` when undefined.
    pub end: Option<EpochEndOffset>,
}

/// Delete what lies at the front of logs (KIP-107).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeleteRecordsRequest {
    /// The partitions, each with the first offset to keep; `None` for the high watermark (−1).
    pub partitions: Vec<(TopicPartition, Option<Offset>)>,
    /// How long the broker may wait for the replicas.
    pub timeout: Span,
}

/// What became of the deletions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeleteRecordsResponse {
    /// One answer per partition.
    pub partitions: Vec<PartitionDeleteRecordsResponse>,
}

/// What became of one deletion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionDeleteRecordsResponse {
    /// The partition.
    pub partition: TopicPartition,
    /// The error.
    pub error: ErrorCode,
    /// The first offset that any live replica still has; `None` when unknown.
    pub low_watermark: Option<Offset>,
}

impl ProduceRequest {
    pub(super) fn wire_size(&self) -> u64 {
        let id = self
            .transactional_id
            .as_ref()
            .map_or(2, |id| text_size(id.as_str()));
        let data: u64 = self
            .partitions
            .iter()
            .map(|(tp, batch)| partition_size(tp) + 4 + size_of(batch.bytes().len()))
            .sum();
        id + 10 + data
    }
}

impl ProduceResponse {
    pub(super) fn wire_size(&self) -> u64 {
        8 + self
            .partitions
            .iter()
            .map(|part| partition_size(&part.partition) + 26)
            .sum::<u64>()
    }
}

impl FetchRequest {
    pub(super) fn wire_size(&self) -> u64 {
        let epoch = self.replica_epoch.map_or(0, |_| 8);
        25 + epoch
            + self
                .partitions
                .iter()
                .map(|part| partition_size(&part.partition) + 32)
                .sum::<u64>()
            + self.forgotten.iter().map(partition_size).sum::<u64>()
    }
}

impl FetchResponse {
    pub(super) fn wire_size(&self) -> u64 {
        let partition = |part: &PartitionFetchResponse| {
            let aborted = 16 * size_of(part.aborted_transactions.len());
            partition_size(&part.partition) + 38 + aborted + size_of(part.records.len())
        };
        14 + self.partitions.iter().map(partition).sum::<u64>()
    }
}

impl ListOffsetsRequest {
    pub(super) fn wire_size(&self) -> u64 {
        9 + self
            .partitions
            .iter()
            .map(|(partition, ..)| partition_size(partition) + 12)
            .sum::<u64>()
    }
}

impl ListOffsetsResponse {
    pub(super) fn wire_size(&self) -> u64 {
        8 + self
            .partitions
            .iter()
            .map(|part| partition_size(&part.partition) + 22)
            .sum::<u64>()
    }
}

impl OffsetForLeaderEpochRequest {
    pub(super) fn wire_size(&self) -> u64 {
        8 + self
            .partitions
            .iter()
            .map(|part| partition_size(&part.partition) + 8)
            .sum::<u64>()
    }
}

impl OffsetForLeaderEpochResponse {
    pub(super) fn wire_size(&self) -> u64 {
        8 + self
            .partitions
            .iter()
            .map(|part| partition_size(&part.partition) + 14)
            .sum::<u64>()
    }
}

impl DeleteRecordsRequest {
    pub(super) fn wire_size(&self) -> u64 {
        8 + self
            .partitions
            .iter()
            .map(|(partition, _)| partition_size(partition) + 8)
            .sum::<u64>()
    }
}

impl DeleteRecordsResponse {
    pub(super) fn wire_size(&self) -> u64 {
        8 + self
            .partitions
            .iter()
            .map(|part| partition_size(&part.partition) + 10)
            .sum::<u64>()
    }
}
