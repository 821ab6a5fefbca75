//! What an application asks of a client, and what it is told.
//!
//! Outcomes are threefold and honest: *ok* happened, *fail* certainly did not happen, *info* may have happened. A request
//! that timed out is info, because nobody knows.

use crate::error_code::ErrorCode;
use crate::ids::{
    GenerationId, GroupId, LeaderEpoch, MemberId, Offset, SessionId, TopicName, TopicPartition,
};
use crate::time::Span;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Names one call of the application; unique within its client.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct OperationId(pub u64);

/// `ProducerRecord`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ProducerRecord {
    /// The topic.
    pub topic: TopicName,
    /// The partition, when the application chooses it itself.
    pub partition: Option<i32>,
    /// The key.
    pub key: Option<Bytes>,
    /// The value.
    pub value: Option<Bytes>,
    /// `CreateTime` in milliseconds; the client's wall clock when absent.
    pub timestamp: Option<i64>,
}

/// `ConsumerRecord`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConsumerRecord {
    /// Its offset.
    pub offset: Offset,
    /// The leader epoch of its batch, where the batch has one.
    pub leader_epoch: Option<LeaderEpoch>,
    /// Its timestamp in milliseconds.
    pub timestamp: i64,
    /// The key.
    pub key: Option<Bytes>,
    /// The value.
    pub value: Option<Bytes>,
}

/// `OffsetAndMetadata`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct OffsetAndMetadata {
    /// The next offset to read.
    pub offset: Offset,
    /// The leader epoch of the last record consumed.
    pub leader_epoch: Option<LeaderEpoch>,
    /// Free text of the application.
    pub metadata: String,
}

/// A topic to create.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NewTopic {
    /// Its name.
    pub name: TopicName,
    /// How many partitions; −1 for the broker's default.
    pub partitions: i32,
    /// How many replicas; −1 for the broker's default.
    pub replication_factor: i16,
    /// Replicas of each partition, when the caller places them (then the two numbers above are −1).
    pub assignment: BTreeMap<i32, Vec<i32>>,
    /// Topic settings.
    pub config: BTreeMap<String, String>,
}

/// `ConsumerGroupMetadata`: in whose name a transaction commits offsets (KIP-447).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConsumerGroupMetadata {
    /// `group.id`.
    pub group_id: GroupId,
    /// The generation; −1 where only the group's name is told.
    pub generation_id: GenerationId,
    /// The member; empty likewise.
    pub member_id: MemberId,
    /// `group.instance.id`.
    pub group_instance_id: Option<Arc<str>>,
}

/// What the application asks.
#[derive(Clone, PartialEq, Debug)]
pub enum Verb {
    // Producer.
    /// `send`: answered once by [`Outcome::Sent`].
    Send(Box<ProducerRecord>),
    /// `flush`: answered by [`Outcome::Done`] when everything sent before is decided.
    Flush,
    /// `initTransactions`: answered by [`Outcome::Done`] when the id is this producer's alone.
    InitTransactions,
    /// `beginTransaction`.
    BeginTransaction,
    /// `sendOffsetsToTransaction(offsets, groupMetadata)`.
    SendOffsetsToTransaction(
        BTreeMap<TopicPartition, OffsetAndMetadata>,
        ConsumerGroupMetadata,
    ),
    /// `commitTransaction`: flushes, then ends it; answered by [`Outcome::Done`].
    CommitTransaction,
    /// `abortTransaction`: drops what is not yet sent, then ends it.
    AbortTransaction,
    // Consumer.
    /// `groupMetadata()`: answered by [`Outcome::GroupMetadata`] at once.
    GroupMetadata,
    /// `position(partition, 0)`: where reading goes on, answered by [`Outcome::Offsets`] at once; none where the call would
    /// have to wait. Markers and aborted records move it, though nobody sees them.
    Position(Vec<TopicPartition>),
    /// `subscribe(topics)`.
    Subscribe(Vec<TopicName>),
    /// `subscribe(pattern)`: to all topics whose whole name matches, those included that come later.
    SubscribePattern(Arc<str>),
    /// `assign(partitions)`.
    Assign(Vec<TopicPartition>),
    /// `unsubscribe()`.
    Unsubscribe,
    /// `seek(partition, offset)`.
    Seek(TopicPartition, Offset),
    /// `seekToBeginning(partitions)`; all assigned when empty.
    SeekToBeginning(Vec<TopicPartition>),
    /// `seekToEnd(partitions)`; all assigned when empty.
    SeekToEnd(Vec<TopicPartition>),
    /// `pause(partitions)`.
    Pause(Vec<TopicPartition>),
    /// `resume(partitions)`.
    Resume(Vec<TopicPartition>),
    /// `poll(timeout)`: answered by [`Outcome::Polled`], perhaps empty.
    Poll(Span),
    /// The `onPartitionsRevoked` listener returned; what it asked for has been answered.
    ListenerReturned,
    /// `commitSync`: of these offsets, or of the current positions when empty.
    CommitSync(BTreeMap<TopicPartition, OffsetAndMetadata>),
    /// `commitAsync`: likewise, but later calls do not wait for it.
    CommitAsync(BTreeMap<TopicPartition, OffsetAndMetadata>),
    /// `committed(partitions)`: answered by [`Outcome::Offsets`].
    Committed(Vec<TopicPartition>),
    /// `endOffsets(partitions)`: answered by [`Outcome::Offsets`].
    EndOffsets(Vec<TopicPartition>),
    /// `beginningOffsets(partitions)`: answered by [`Outcome::Offsets`].
    BeginningOffsets(Vec<TopicPartition>),
    // Consumer of ZooKeeper's time.
    /// `createMessageStreams`: so many streams of each topic, numbered through in the order of the topics. Answered by
    /// [`Outcome::Done`] when the first rebalance is over; what happens by itself later is told under the same call.
    CreateStreams(BTreeMap<TopicName, u32>),
    /// `createMessageStreamsByFilter`: so many streams, each over all topics whose whole name matches, also over those that
    /// come later. Answered in the same way.
    CreateStreamsByFilter(Arc<str>, u32),
    /// `ConsumerIterator.next` of one stream: answered by [`Outcome::Polled`] with one record, or with the exception.
    NextMessage(u32),
    // Any client.
    /// `close(timeout)`: answered by [`Outcome::Done`].
    Close(Span),
    // Admin.
    /// `createTopics`.
    CreateTopics(Vec<NewTopic>),
    /// `deleteTopics`.
    DeleteTopics(Vec<TopicName>),
    /// `createPartitions`: topic and its new total.
    CreatePartitions(TopicName, i32),
    /// `incrementalAlterConfigs` of a topic: settings to set, or to delete where there is no value.
    AlterConfigs(TopicName, BTreeMap<String, Option<String>>),
    /// `deleteRecords`: everything before an offset, or before the high watermark where none is given; answered by
    /// [`Outcome::Offsets`] with the low watermarks.
    DeleteRecords(BTreeMap<TopicPartition, Option<Offset>>),
    /// `alterPartitionReassignments`: the replicas each partition shall have; `None` cancels. Answered when the move is taken
    /// on, not when it is done.
    Reassign(BTreeMap<TopicPartition, Option<Vec<i32>>>),
    /// `listPartitionReassignments`: answered by [`Outcome::Reassignments`].
    ListReassignments,
    /// `electLeaders(PREFERRED | UNCLEAN)`.
    ElectLeaders {
        /// Unclean instead of preferred.
        unclean: bool,
        /// The partitions; all when empty.
        partitions: Vec<TopicPartition>,
    },
    /// `describeTopics`: answered by [`Outcome::Described`].
    DescribeTopics(Vec<TopicName>),
    /// `describeConsumerGroups` of one group: answered by [`Outcome::Group`].
    DescribeGroup(GroupId),
    // A keeper server, over JMX.
    /// `terminateSession`: the leader closes a session now, as if its time were out.
    ExpireSession(SessionId),
}

/// Whether something happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Certainty {
    /// It certainly did not happen.
    Fail,
    /// It may have happened.
    Info,
}

/// Why a call did not succeed, under the name a Java application would see.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    /// Whether it may have happened all the same.
    pub certainty: Certainty,
    /// The error.
    pub error: ClientError,
}

/// A client's errors: a broker's answer, or one of its own.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ClientError {
    /// A broker said so.
    Broker(ErrorCode),
    /// `TimeoutException` (delivery.timeout.ms, max.block.ms, default.api.timeout.ms …); the text says which.
    Timeout(&'static str),
    /// `DisconnectException` without a retry left.
    Disconnected,
    /// `CommitFailedException`: the group has moved on.
    CommitFailed,
    /// `NoOffsetForPartitionException`.
    NoOffset(TopicPartition),
    /// `LogTruncationException` (KIP-320): what was read last is gone; the offset given is safe to continue from.
    LogTruncation(TopicPartition, Option<Offset>),
    /// `BufferExhaustedException`, or a timeout while waiting for `buffer.memory`.
    BufferExhausted,
    /// `IllegalStateException` and `IllegalArgumentException`: the application used the client wrongly.
    IllegalState(&'static str),
    /// `WakeupException` or the client was closed under the call.
    Closed,
    /// The process died while the call was under way.
    Crashed,
    /// `TransactionAbortedException`: the transaction was aborted before the record was sent.
    TransactionAborted,
    /// `ConsumerRebalanceFailedException`: `rebalance.max.retries` tries, and the partitions were never free.
    RebalanceFailed,
    /// `ConsumerTimeoutException`: no message came within `consumer.timeout.ms`.
    ConsumerTimeout,
    /// `ZkNodeExistsException`: somebody else is registered under this name.
    NodeExists,
}

/// Where a record went.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RecordMetadata {
    /// The partition.
    pub partition: TopicPartition,
    /// Its offset; `None` with acks=0, where nobody tells.
    pub offset: Option<Offset>,
    /// Its timestamp in milliseconds.
    pub timestamp: i64,
}

/// What one partition's replica set looks like to a client.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PartitionDescription {
    /// The partition.
    pub partition: TopicPartition,
    /// Its leader; `None` prints as `none`.
    pub leader: Option<i32>,
    /// The assigned replicas, preferred first.
    pub replicas: Vec<i32>,
    /// The in-sync replicas.
    pub isr: Vec<i32>,
}

/// A move of replicas that is under way.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReassignmentDescription {
    /// All replicas, old and new.
    pub replicas: Vec<i32>,
    /// Those being added.
    pub adding: Vec<i32>,
    /// Those being removed.
    pub removing: Vec<i32>,
}

/// What a group looks like to its coordinator.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GroupDescription {
    /// Its state's name.
    pub state: String,
    /// Each member id with its partitions.
    pub members: Vec<(String, Vec<TopicPartition>)>,
}

/// What the application is told.
#[derive(Clone, PartialEq, Debug)]
pub enum Outcome {
    /// The fate of one `send`.
    Sent(Result<RecordMetadata, Failure>),
    /// The records of one `poll`, per partition in offset order; `Err` where `poll` throws.
    Polled(Result<Vec<(TopicPartition, Vec<ConsumerRecord>)>, Failure>),
    /// `onPartitionsAssigned`, called inside `poll`, before its [`Outcome::Polled`]. The position each partition starts
    /// from is told by [`Outcome::PositionReset`] once it is known.
    Assigned(Vec<TopicPartition>),
    /// `onPartitionsRevoked`, inside `poll` or `close`. The listener may commit; the rebalance (or the close) goes on when
    /// the application says [`Verb::ListenerReturned`].
    Revoked(Vec<TopicPartition>),
    /// `onPartitionsLost`: they were somebody else's already (KIP-429).
    Lost(Vec<TopicPartition>),
    /// The position of a partition was fixed, and from what.
    PositionReset {
        /// The partition.
        partition: TopicPartition,
        /// Where reading starts.
        offset: Offset,
        /// Why there.
        reason: ResetReason,
    },
    /// A commit of these offsets begins that nobody called for; [`Outcome::Committed`] tells its end.
    Committing(BTreeMap<TopicPartition, OffsetAndMetadata>),
    /// The answer to `commitSync` or the callback of `commitAsync`; auto commits answer under their `poll`'s id.
    Committed {
        /// The offsets of the request.
        offsets: BTreeMap<TopicPartition, OffsetAndMetadata>,
        /// Whether the coordinator took them.
        result: Result<(), Failure>,
    },
    /// Offsets by partition.
    Offsets(Result<BTreeMap<TopicPartition, Option<Offset>>, Failure>),
    /// `describeTopics`.
    Described(Result<Vec<PartitionDescription>, Failure>),
    /// `listPartitionReassignments`.
    Reassignments(Result<BTreeMap<TopicPartition, ReassignmentDescription>, Failure>),
    /// `describeConsumerGroups`.
    Group(Result<GroupDescription, Failure>),
    /// `groupMetadata()`.
    GroupMetadata(ConsumerGroupMetadata),
    /// Anything whose success has no value: flush, close, subscribe, admin calls. Per-item errors come as the first one.
    Done(Result<(), Failure>),
}

/// Why a consumer starts where it starts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResetReason {
    /// From the group's committed offset.
    Committed,
    /// No committed offset: `auto.offset.reset`.
    NoCommit,
    /// The offset was out of range: `auto.offset.reset`.
    OutOfRange,
    /// The log was truncated below the position (KIP-320) and the policy moved it.
    Truncated,
    /// The application sought there.
    Seek,
}

impl Failure {
    /// It certainly did not happen.
    pub fn fail(error: ClientError) -> Self {
        Self {
            certainty: Certainty::Fail,
            error,
        }
    }

    /// It may have happened.
    pub fn info(error: ClientError) -> Self {
        Self {
            certainty: Certainty::Info,
            error,
        }
    }
}
