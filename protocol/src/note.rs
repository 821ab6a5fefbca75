//! Facts that cores state about themselves: the white-box stream of a history.
//!
//! A note is pushed in the step that made it true, so that the invariants can be checked after that very step. Notes are
//! plain data; they are formatted by whoever reads the history, never by a core.

use crate::error_code::ErrorCode;
use crate::ids::{
    BrokerEpoch, BrokerId, ControllerEpoch, GenerationId, GroupId, KeeperId, LeaderEpoch, MemberId,
    Offset, PartitionEpoch, ProducerEpoch, ProducerId, SessionId, TopicName, TopicPartition,
    TransactionalId, Zxid,
};
use crate::keeper::KeeperRole;
use crate::operation::Operation;
use crate::record::RecordBatch;
use crate::time::Span;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A fact.
#[derive(Clone, Debug, PartialEq)]
pub enum Note {
    /// A fact about a replica's log or role.
    Replica(TopicPartition, ReplicaNote),
    /// A fact about the controller.
    Controller(ControllerNote),
    /// A fact about a broker as a whole.
    Broker(BrokerNote),
    /// A fact about a consumer group, from its coordinator.
    Group(GroupId, GroupNote),
    /// A fact about a transactional id, from its coordinator.
    Transaction(TransactionalId, TransactionNote),
    /// A fact about a keeper server.
    Keeper(KeeperNote),
    /// A fact about a client.
    Client(ClientNote),
    /// What an application did, or was told: the black-box stream.
    Operation(Box<Operation>),
}

/// In which role a batch was appended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// By the leader.
    Leader,
    /// By a follower.
    Follower,
}

/// About a replica.
#[derive(Clone, Debug, PartialEq)]
pub enum ReplicaNote {
    /// A batch is in the log; the batch as the log holds it (final offsets and epoch).
    Appended {
        /// The batch.
        batch: RecordBatch,
        /// As leader or follower.
        role: Role,
    },
    /// The log was cut: the next append gets offset `to`.
    Truncated {
        /// The new log end offset.
        to: Offset,
        /// Where it ended before.
        from: Offset,
        /// By which rule.
        rule: TruncationRule,
    },
    /// The log was loaded at start.
    Loaded {
        /// Its first offset.
        log_start_offset: Offset,
        /// Its end.
        log_end_offset: Offset,
        /// The high watermark of the checkpoint, capped by the log's end.
        high_watermark: Offset,
        /// The last life ended in good order.
        clean: bool,
    },
    /// The high watermark moved (both roles).
    HighWatermark(Offset),
    /// The last stable offset moved: every transaction below has ended (leaders only).
    LastStableOffset(Offset),
    /// The first offset moved (retention, DeleteRecords).
    LogStart(Offset),
    /// Everything below is durable.
    Flushed(Offset),
    /// This broker leads the partition now.
    BecameLeader {
        /// In this epoch.
        leader_epoch: LeaderEpoch,
        /// The in-sync replicas it was told.
        isr: Vec<BrokerId>,
        /// Where its log ended then.
        log_end_offset: Offset,
    },
    /// This broker follows the partition now.
    BecameFollower {
        /// In this epoch.
        leader_epoch: LeaderEpoch,
        /// Whom; `None` while there is no leader.
        leader: Option<BrokerId>,
    },
    /// The leader asked for other in-sync replicas (keeper write or AlterIsr under way).
    IsrProposed {
        /// What it asked for.
        isr: Vec<BrokerId>,
        /// Whom it waits for meanwhile before a record counts as committed.
        waits_for: Vec<BrokerId>,
    },
    /// The leader works with these in-sync replicas now.
    IsrChanged {
        /// The committed set.
        isr: Vec<BrokerId>,
        /// The version of the state znode.
        partition_epoch: PartitionEpoch,
    },
    /// The leader's change of in-sync replicas was refused.
    IsrRefused {
        /// Why.
        error: ErrorCode,
    },
    /// The replica is stopped here, and its log perhaps removed.
    Stopped {
        /// Removed.
        deleted: bool,
    },
    /// The idempotence window answered a batch with its old offset.
    DuplicateBatch {
        /// Whose.
        producer_id: ProducerId,
        /// The old offset.
        base_offset: Offset,
    },
    /// A produce request for this partition was refused.
    AppendRefused {
        /// Why.
        error: ErrorCode,
    },
    /// The leader has all it needs to acknowledge the records below (acks=all), or has appended them (acks=1).
    Acknowledged {
        /// The offset after the last record acknowledged.
        up_to: Offset,
    },
}

/// By which rule a follower cut its log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TruncationRule {
    /// To its own high watermark (before KIP-101, or when the leader could not tell).
    HighWatermark,
    /// To the end offset the leader gave for its epoch (KIP-101, KIP-279).
    LeaderEpoch,
    /// To the diverging epoch of a fetch response (2.7 on).
    DivergingEpoch,
    /// The fetch offset was above the leader's log end.
    OutOfRange,
    /// The whole log was dropped to start at the leader's log start offset.
    FullAndStartAt,
    /// Recovery after an unclean stop cut an invalid tail.
    Recovery,
}

/// Why a leader was elected.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ElectionKind {
    /// First leader of a new partition.
    New,
    /// The leader died; a live in-sync replica took over.
    Clean,
    /// No in-sync replica lives; a stale one took over.
    Unclean,
    /// Back to the preferred replica.
    Preferred,
    /// The leader shuts down in good order.
    ControlledShutdown,
    /// A reassignment moved it.
    Reassignment,
    /// The ISR is empty; a replica that left it without having lost anything took over (KIP-966).
    Eligible,
    /// The ISR is empty and nobody is eligible; who led last took over (KIP-966).
    LastKnownLeader,
}

/// About the controller.
#[derive(Clone, Debug, PartialEq)]
pub enum ControllerNote {
    /// This broker is the controller.
    Elected {
        /// In this epoch.
        epoch: ControllerEpoch,
    },
    /// It no longer is.
    Resigned {
        /// Of this epoch.
        epoch: ControllerEpoch,
    },
    /// A leader was elected, and the keeper holds it.
    LeaderElected {
        /// Of this partition.
        partition: TopicPartition,
        /// The leader; `None` when none could be.
        leader: Option<BrokerId>,
        /// Its epoch.
        leader_epoch: LeaderEpoch,
        /// The in-sync replicas written.
        isr: Vec<BrokerId>,
        /// Why.
        kind: ElectionKind,
        /// Under this controller.
        controller_epoch: ControllerEpoch,
    },
    /// The controller changed in-sync replicas without an election (AlterIsr, a dead replica taken out).
    IsrWritten {
        /// Of this partition.
        partition: TopicPartition,
        /// The set written.
        isr: Vec<BrokerId>,
        /// Unchanged.
        leader_epoch: LeaderEpoch,
        /// The version of the state znode.
        partition_epoch: PartitionEpoch,
    },
    /// A partition's replicas begin to move, or move elsewhere than before.
    ReassignmentStarted {
        /// Which partition.
        partition: TopicPartition,
        /// All its replicas, old and new.
        replicas: Vec<BrokerId>,
        /// Those being added.
        adding: Vec<BrokerId>,
        /// Those being removed.
        removing: Vec<BrokerId>,
    },
    /// They have moved.
    Reassigned {
        /// Which partition.
        partition: TopicPartition,
        /// Its replicas now, preferred leader first.
        replicas: Vec<BrokerId>,
    },
    /// A broker came.
    BrokerUp {
        /// Which.
        broker: BrokerId,
        /// Its epoch.
        epoch: BrokerEpoch,
    },
    /// A broker is gone.
    BrokerDown {
        /// Which.
        broker: BrokerId,
    },
    /// A topic exists now, with this many partitions.
    TopicCreated(TopicName, i32),
    /// A topic is gone.
    TopicDeleted(TopicName),
}

/// About a broker.
#[derive(Clone, Debug, PartialEq)]
pub enum BrokerNote {
    /// Its registration stands.
    Registered {
        /// Under this epoch.
        epoch: BrokerEpoch,
    },
    /// It refuses to start or halts.
    Fatal(Arc<str>),
    /// Its keeper session expired.
    SessionExpired,
    /// A control request was refused (STALE_CONTROLLER_EPOCH, STALE_BROKER_EPOCH).
    ControlRefused(ErrorCode),
    /// A controlled shutdown began.
    ShuttingDown,
    /// A log directory went offline.
    LogDirOffline(Arc<str>),
}

/// About a group.
#[derive(Clone, Debug, PartialEq)]
pub enum GroupNote {
    /// It changed state.
    State(&'static str),
    /// A new generation.
    Generation {
        /// Its number.
        generation: GenerationId,
        /// Its members.
        members: Vec<MemberId>,
    },
    /// A member was taken in.
    MemberJoined(MemberId),
    /// A member was taken out.
    MemberRemoved(MemberId, RemovalReason),
    /// An offset commit was stored.
    OffsetCommitted {
        /// Of this partition.
        partition: TopicPartition,
        /// The next offset to read.
        offset: Offset,
        /// By this member; empty for a consumer without group management.
        member: MemberId,
        /// In this generation; −1 likewise.
        generation: GenerationId,
    },
    /// An offset is stored that takes effect with a transaction.
    OffsetPending {
        /// Of this partition.
        partition: TopicPartition,
        /// The next offset to read.
        offset: Offset,
        /// Whose transaction.
        producer_id: ProducerId,
    },
    /// The transaction of pending offsets has ended; those that it committed follow as `OffsetCommitted`.
    PendingDecided {
        /// Whose transaction.
        producer_id: ProducerId,
        /// Committed, or else aborted.
        committed: bool,
    },
    /// An offset commit was refused.
    CommitRefused {
        /// From this member.
        member: MemberId,
        /// Why.
        error: ErrorCode,
    },
    /// An offset expired.
    OffsetExpired(TopicPartition),
    /// The group was loaded from `__consumer_offsets` after a change of leadership.
    Loaded {
        /// Its generation.
        generation: GenerationId,
        /// How many offsets.
        offsets: u32,
    },
    /// This broker no longer coordinates it.
    Unloaded,
}

/// Why a member is out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RemovalReason {
    /// Its session timed out.
    SessionTimeout,
    /// It did not rejoin in time.
    RebalanceTimeout,
    /// It left.
    Left,
    /// A new instance with the same `group.instance.id` replaced it.
    Replaced,
}

/// The states of a transactional id (`TransactionState`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are Kafka's own")]
pub enum TransactionState {
    Empty,
    Ongoing,
    PrepareCommit,
    PrepareAbort,
    CompleteCommit,
    CompleteAbort,
    Dead,
    PrepareEpochFence,
}

/// About a transactional id.
#[derive(Clone, Debug, PartialEq)]
pub enum TransactionNote {
    /// A change of state is in the coordinator's log, replicated.
    State {
        /// The state.
        state: TransactionState,
        /// The producer id.
        producer_id: ProducerId,
        /// Its epoch.
        producer_epoch: ProducerEpoch,
        /// The partitions of the transaction.
        partitions: Vec<TopicPartition>,
    },
    /// The coordinator aborts a transaction that took longer than its time-out.
    TimedOut,
    /// A call was refused because its epoch is old.
    Fenced {
        /// The epoch of the call.
        producer_epoch: ProducerEpoch,
    },
    /// A new coordinator has read it from `__transaction_state`.
    Loaded(TransactionState),
    /// This broker no longer coordinates it.
    Unloaded,
}

/// About a keeper server.
#[derive(Clone, Debug, PartialEq)]
pub enum KeeperNote {
    /// It changed role.
    Role {
        /// What it is now.
        role: KeeperRole,
        /// In this epoch.
        epoch: i32,
        /// Whom it follows.
        leader: Option<KeeperId>,
    },
    /// A transaction is durable in its log.
    Logged(Zxid),
    /// A transaction was applied to its tree; the digest of the transaction's bytes.
    Applied {
        /// Which.
        zxid: Zxid,
        /// A checksum of its bytes.
        digest: u32,
        /// A checksum of all znodes and sessions after it.
        state: u32,
    },
    /// The tree was replaced (recovery, SNAP) and now holds everything up to here.
    Restored {
        /// The last transaction in it.
        zxid: Zxid,
        /// A checksum of all znodes and sessions.
        state: u32,
    },
    /// Its log was cut after this transaction.
    Truncated(Zxid),
    /// A session was opened.
    SessionCreated(SessionId, Span),
    /// A client goes on at this server after another one, or after a break.
    SessionResumed {
        /// Its session; none any more where it asks for a new one.
        session: Option<SessionId>,
        /// The last transaction that it has seen.
        seen: Zxid,
    },
    /// A session expired.
    SessionExpired(SessionId),
    /// A session was closed by its client.
    SessionClosed(SessionId),
}

/// About a client.
#[derive(Clone, Debug, PartialEq)]
pub enum ClientNote {
    /// A batch will be sent again.
    Retry {
        /// Its partition.
        partition: TopicPartition,
        /// Why.
        error: ErrorCode,
        /// How often it was sent before.
        attempts: u32,
    },
    /// It got a producer id.
    ProducerId(ProducerId, ProducerEpoch),
    /// It joined a generation.
    Joined {
        /// Its group.
        group: GroupId,
        /// The generation.
        generation: GenerationId,
        /// Its member id.
        member: MemberId,
    },
    /// Its session with the group is lost, by its own count.
    LeftGroup(GroupId),
    /// A session with the keepers stands, on which its ephemeral nodes depend.
    KeeperSession(SessionId),
    /// A consumer of ZooKeeper's time begins to find out what is its own.
    Rebalancing {
        /// Its group.
        group: GroupId,
        /// Which try, from 1.
        attempt: u32,
    },
    /// It has given up (`ConsumerRebalanceFailedException`) and consumes nothing until something changes again.
    RebalanceFailed(GroupId),
}
