//! One thing that happened: when, on which node, and what.
//!
//! Two streams share the file. The *black box* is what clients did and were told ([`What::Operation`]); a recording of a
//! real cluster has only that. The *white box* is what brokers, keepers and the group coordinator said about themselves.
//! Faults, marks and phases are the simulator's own. All times are the world's, in nanoseconds since the start.

use crate::operation::Operation;
pub use crate::operation::Value;
use protocol::error_code::ErrorCode;
use protocol::ids::{
    BrokerEpoch, BrokerId, ControllerEpoch, GenerationId, GroupId, KeeperId, LeaderEpoch, MemberId,
    NodeId, Offset, PartitionEpoch, ProducerEpoch, ProducerId, Sequence, SessionId, TopicName,
    TopicPartition, TransactionalId, Zxid,
};
use protocol::keeper::KeeperRole;
use protocol::note::TransactionState;
use serde::{Deserialize, Serialize};

/// One thing that happened.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// When, in nanoseconds of the world's clock.
    pub at: u64,
    /// In which step of the world; events of one step share it.
    pub step: u64,
    /// On which node (an index into the manifest's nodes); the world itself for faults and phases.
    pub node: Option<NodeId>,
    /// What.
    pub what: What,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// A client's operation began or ended.
    Operation(Operation),
    /// A replica's log or role.
    Replica(TopicPartition, Replica),
    /// The controller.
    Controller(Controller),
    /// A broker as a whole.
    Broker(Broker),
    /// A consumer group, from its coordinator.
    Group(GroupId, Group),
    /// A transactional id, from its coordinator.
    Transaction(TransactionalId, Transaction),
    /// A keeper server.
    Keeper(Keeper),
    /// A client's inner life.
    Client(Client),
    /// A node's process.
    Process(Process),
    /// A fault of the scenario.
    Fault(Fault),
    /// A declared mark was reached.
    Mark(String),
    /// The run entered a phase.
    Phase(Phase),
}

/// A node's process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Process {
    /// It started; `life` counts from 1.
    Started {
        /// Which life.
        life: u32,
    },
    /// It was killed or killed itself.
    Died {
        /// `process`, `power` or `exit`.
        how: String,
        /// Unflushed bytes that are gone.
        bytes_lost: u64,
    },
    /// It ended in good order.
    Stopped,
    /// It stood still.
    Paused,
    /// It goes on.
    Resumed,
    /// It panicked: a bug in ktrial.
    Panicked(String),
}

/// The phases of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// The cluster forms and the topics are created.
    Setup,
    /// The workload runs and faults happen.
    Safety,
    /// Everything that is not permanent heals.
    Heal,
    /// Progress is due.
    Liveness,
    /// Every partition is read from its beginning.
    FinalRead,
    /// Over.
    End,
}

/// A fault of the scenario, by its index in the manifest's plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// Which.
    pub index: u32,
    /// What kind, in the scenario's word.
    pub kind: String,
    /// Whom it hit, resolved.
    pub target: String,
    /// What about it.
    pub stage: FaultStage,
}

/// The stages of a fault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultStage {
    /// It began.
    Injected,
    /// It was seen to have an effect, and which (`4 messages held`).
    Effective(String),
    /// It is over.
    Healed,
    /// It had no effect.
    Inert(String),
}

/// About a replica. Field meanings are those of `protocol::note::ReplicaNote`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "documented on the note each stands for")]
pub enum Replica {
    Appended(Append),
    Truncated {
        to: Offset,
        from: Offset,
        rule: String,
    },
    Loaded {
        log_start_offset: Offset,
        log_end_offset: Offset,
        high_watermark: Offset,
        clean: bool,
    },
    HighWatermark(Offset),
    LastStableOffset(Offset),
    LogStart(Offset),
    Flushed(Offset),
    BecameLeader {
        leader_epoch: LeaderEpoch,
        isr: Vec<BrokerId>,
        log_end_offset: Offset,
    },
    BecameFollower {
        leader_epoch: LeaderEpoch,
        leader: Option<BrokerId>,
    },
    IsrProposed {
        isr: Vec<BrokerId>,
        waits_for: Vec<BrokerId>,
    },
    IsrChanged {
        isr: Vec<BrokerId>,
        partition_epoch: PartitionEpoch,
    },
    IsrRefused {
        error: ErrorCode,
    },
    Stopped {
        deleted: bool,
    },
    DuplicateBatch {
        producer_id: ProducerId,
        base_offset: Offset,
    },
    AppendRefused {
        error: ErrorCode,
    },
    Acknowledged {
        up_to: Offset,
    },
}

/// A batch in a replica's log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Append {
    /// Offset of its first record.
    pub base_offset: Offset,
    /// Offset of its last record.
    pub last_offset: Offset,
    /// The epoch of the leader that appended it first.
    pub leader_epoch: LeaderEpoch,
    /// Its checksum: equal batches have equal ones.
    pub crc: u32,
    /// By the leader, or copied by a follower.
    pub leader: bool,
    /// Producer id, epoch and first sequence of an idempotent batch; a marker's sequence is −1.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub producer: Option<(ProducerId, ProducerEpoch, Sequence)>,
    /// A control batch (transaction marker).
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub control: bool,
    /// Part of a transaction: records of one, or its marker.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub transactional: bool,
    /// What a transaction marker says: committed, or else aborted.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub committed: Option<bool>,
    /// The workload's values in it, in offset order; empty for internal topics.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub values: Vec<Value>,
}

/// About the controller. Field meanings are those of `protocol::note::ControllerNote`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "documented on the note each stands for")]
pub enum Controller {
    Elected {
        epoch: ControllerEpoch,
    },
    Resigned {
        epoch: ControllerEpoch,
    },
    LeaderElected(LeaderElection),
    IsrWritten {
        partition: TopicPartition,
        isr: Vec<BrokerId>,
        leader_epoch: LeaderEpoch,
        partition_epoch: PartitionEpoch,
    },
    ReassignmentStarted {
        partition: TopicPartition,
        replicas: Vec<BrokerId>,
        adding: Vec<BrokerId>,
        removing: Vec<BrokerId>,
    },
    Reassigned {
        partition: TopicPartition,
        replicas: Vec<BrokerId>,
    },
    BrokerUp {
        broker: BrokerId,
        epoch: BrokerEpoch,
    },
    BrokerDown {
        broker: BrokerId,
    },
    TopicCreated(TopicName, i32),
    TopicDeleted(TopicName),
}

/// An election of a partition leader.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LeaderElection {
    /// Of this partition.
    pub partition: TopicPartition,
    /// The leader, if any could be.
    pub leader: Option<BrokerId>,
    /// Its epoch.
    pub leader_epoch: LeaderEpoch,
    /// The in-sync replicas written.
    pub isr: Vec<BrokerId>,
    /// `new`, `clean`, `unclean`, `preferred`, `controlled_shutdown` or `reassignment`.
    pub kind: ElectionKind,
    /// Under this controller.
    pub controller_epoch: ControllerEpoch,
}

/// Why a leader was elected.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "documented on the note each stands for")]
pub enum ElectionKind {
    New,
    Clean,
    Unclean,
    Preferred,
    ControlledShutdown,
    Reassignment,
    Eligible,
    LastKnownLeader,
}

impl ElectionKind {
    /// The winner need not have what is committed.
    pub const fn is_unclean(self) -> bool {
        match self {
            Self::Unclean | Self::LastKnownLeader => true,
            Self::New
            | Self::Clean
            | Self::Preferred
            | Self::ControlledShutdown
            | Self::Reassignment
            | Self::Eligible => false,
        }
    }
}

/// About a broker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "documented on the note each stands for")]
pub enum Broker {
    Registered { epoch: BrokerEpoch },
    Fatal(String),
    SessionExpired,
    ControlRefused(ErrorCode),
    ShuttingDown,
    LogDirOffline(String),
}

/// About a group.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "documented on the note each stands for")]
pub enum Group {
    State(String),
    Generation {
        generation: GenerationId,
        members: Vec<MemberId>,
    },
    MemberJoined(MemberId),
    MemberRemoved {
        member: MemberId,
        reason: String,
    },
    OffsetCommitted {
        partition: TopicPartition,
        offset: Offset,
        member: MemberId,
        generation: GenerationId,
    },
    OffsetPending {
        partition: TopicPartition,
        offset: Offset,
        producer_id: ProducerId,
    },
    PendingDecided {
        producer_id: ProducerId,
        committed: bool,
    },
    CommitRefused {
        member: MemberId,
        error: ErrorCode,
    },
    OffsetExpired(TopicPartition),
    Loaded {
        generation: GenerationId,
        offsets: u32,
    },
    Unloaded,
}

/// About a transactional id. Field meanings are those of `protocol::note::TransactionNote`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "documented on the note each stands for")]
pub enum Transaction {
    State {
        state: TransactionState,
        producer_id: ProducerId,
        producer_epoch: ProducerEpoch,
        #[serde(skip_serializing_if = "Vec::is_empty", default)]
        partitions: Vec<TopicPartition>,
    },
    TimedOut,
    Fenced {
        producer_epoch: ProducerEpoch,
    },
    Loaded(TransactionState),
    Unloaded,
}

/// About a keeper server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "documented on the note each stands for")]
pub enum Keeper {
    Role {
        role: KeeperRole,
        epoch: i32,
        leader: Option<KeeperId>,
    },
    Logged(Zxid),
    Applied {
        zxid: Zxid,
        digest: u32,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        state: Option<u32>,
    },
    Restored {
        zxid: Zxid,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        state: Option<u32>,
    },
    Truncated(Zxid),
    SessionCreated {
        session: SessionId,
        timeout_ms: u64,
    },
    SessionResumed {
        session: Option<SessionId>,
        seen: Zxid,
    },
    SessionExpired(SessionId),
    SessionClosed(SessionId),
}

/// About a client.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "documented on the note each stands for")]
pub enum Client {
    Retry {
        partition: TopicPartition,
        error: ErrorCode,
        attempts: u32,
    },
    ProducerId {
        producer_id: ProducerId,
        epoch: ProducerEpoch,
    },
    Joined {
        group: GroupId,
        generation: GenerationId,
        member: MemberId,
    },
    LeftGroup(GroupId),
    KeeperSession(SessionId),
    Rebalancing {
        group: GroupId,
        attempt: u32,
    },
    RebalanceFailed(GroupId),
}
