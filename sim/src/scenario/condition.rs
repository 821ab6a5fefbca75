//! Barriers: conditions on the state of the cluster, true from one step on.
//!
//! A condition is edge-triggered by the notes of a step and takes effect before any effect of that step is delivered, so
//! that a schedule written with conditions is exact and does not depend on the seed.

use protocol::note::{RemovalReason, TransactionState};
use serde::{Deserialize, Serialize};

/// A condition. One key of the table says which.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Condition {
    /// A replica's high watermark reaches an offset.
    HighWatermark {
        /// The partition, `orders-0`.
        partition: String,
        /// On which broker; on any when absent.
        #[serde(default)]
        broker: Option<i32>,
        /// At least this offset.
        at_least: i64,
    },
    /// A replica's log end reaches an offset.
    LogEnd {
        /// The partition.
        partition: String,
        /// On which broker; on any when absent.
        #[serde(default)]
        broker: Option<i32>,
        /// At least this offset.
        at_least: i64,
    },
    /// A replica's log start reaches an offset: what lies before is deleted.
    LogStart {
        /// The partition.
        partition: String,
        /// On which broker; on any when absent.
        #[serde(default)]
        broker: Option<i32>,
        /// At least this offset.
        at_least: i64,
    },
    /// The in-sync replicas, as the leader works with them, are exactly these.
    Isr {
        /// The partition.
        partition: String,
        /// These brokers, in any order.
        #[serde(default)]
        equals: Option<Vec<i32>>,
        /// So many brokers.
        #[serde(default)]
        size: Option<usize>,
    },
    /// A leader asks for other in-sync replicas; whether it gets them is another matter.
    IsrProposed {
        /// The partition.
        partition: String,
        /// This leader; any when absent.
        #[serde(default)]
        broker: Option<i32>,
        /// These brokers, in any order.
        #[serde(default)]
        equals: Option<Vec<i32>>,
        /// So many brokers.
        #[serde(default)]
        size: Option<usize>,
    },
    /// A leader is elected.
    Elected {
        /// The partition.
        partition: String,
        /// This broker; any when absent.
        #[serde(default)]
        leader: Option<i32>,
        /// In this or a later epoch.
        #[serde(default)]
        epoch: Option<i32>,
        /// In this way (`clean`, `unclean`, `preferred`, `controlled_shutdown`, `eligible`, `last_known_leader`).
        #[serde(default)]
        kind: Option<history::event::ElectionKind>,
    },
    /// A broker starts to lead, by its own word.
    BecameLeader {
        /// The partition.
        partition: String,
        /// This broker; any when absent.
        #[serde(default)]
        broker: Option<i32>,
    },
    /// A broker starts to follow, by its own word.
    BecameFollower {
        /// The partition.
        partition: String,
        /// This broker; any when absent.
        #[serde(default)]
        broker: Option<i32>,
    },
    /// A replica cuts its log.
    Truncated {
        /// The partition.
        partition: String,
        /// On which broker; on any when absent.
        #[serde(default)]
        broker: Option<i32>,
    },
    /// A partition's replicas begin to move.
    ReassignmentStarted {
        /// The partition.
        partition: String,
    },
    /// A partition's replicas have moved.
    Reassigned {
        /// The partition.
        partition: String,
        /// To these brokers, preferred leader first; to any when absent.
        #[serde(default)]
        replicas: Option<Vec<i32>>,
    },
    /// A broker is told to stop being a replica, and does.
    Stopped {
        /// The partition.
        partition: String,
        /// This broker; any when absent.
        #[serde(default)]
        broker: Option<i32>,
        /// With its log removed, or with its log kept; either when absent.
        #[serde(default)]
        deleted: Option<bool>,
    },
    /// A controller has removed the last trace of a topic.
    TopicDeleted {
        /// The topic.
        topic: String,
        /// At least so often in the run.
        #[serde(default = "one")]
        count: u64,
    },
    /// A broker refuses a request of a controller.
    ControlRefused {
        /// This broker; any when absent.
        #[serde(default)]
        broker: Option<i32>,
        /// With this error, by Kafka's name; with any when absent.
        #[serde(default)]
        error: Option<String>,
    },
    /// A controller is elected.
    Controller {
        /// In this or a later epoch.
        #[serde(default)]
        epoch: Option<i32>,
        /// This broker; any when absent.
        #[serde(default)]
        broker: Option<i32>,
    },
    /// A broker's registration stands (again).
    Registered {
        /// Which.
        broker: i32,
    },
    /// The controller counts a broker out.
    BrokerDown {
        /// Which.
        broker: i32,
    },
    /// A producer's records are acknowledged.
    Acked {
        /// Which producer.
        producer: String,
        /// At least so many.
        count: u64,
    },
    /// A producer's records are sent (the application called `send`).
    Sent {
        /// Which producer.
        producer: String,
        /// At least so many.
        count: u64,
    },
    /// A producer's send fails or stays unknown.
    NotAcked {
        /// Which producer.
        producer: String,
        /// At least so many.
        count: u64,
    },
    /// A consumer's application processes records.
    Processed {
        /// Which consumer.
        consumer: String,
        /// At least so many.
        count: u64,
    },
    /// A consumer polls records.
    Polled {
        /// Which consumer.
        consumer: String,
        /// At least so many.
        count: u64,
    },
    /// A consumer is given partitions.
    Assigned {
        /// Which consumer.
        consumer: String,
        /// At least so many.
        #[serde(default = "one")]
        count: u64,
    },
    /// A ZooKeeper consumer begins to rebalance.
    Rebalancing {
        /// Which consumer.
        consumer: String,
        /// In this or a later try of one rebalance.
        #[serde(default = "one")]
        attempt: u64,
    },
    /// A ZooKeeper consumer has rebalanced in vain as often as it may.
    RebalanceFailed {
        /// Which consumer.
        consumer: String,
    },
    /// A group's committed offset reaches an offset.
    Committed {
        /// The group.
        group: String,
        /// The partition.
        partition: String,
        /// At least this offset.
        at_least: i64,
    },
    /// A group completes a generation.
    Generation {
        /// The group.
        group: String,
        /// At least this one.
        at_least: i32,
        /// With so many members.
        #[serde(default)]
        members: Option<usize>,
    },
    /// A member is taken out of a group.
    MemberRemoved {
        /// The group.
        group: String,
        /// Why.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<Removal>,
    },
    /// The keeper ensemble expires a session.
    SessionExpired {
        /// At least so many in the run.
        #[serde(default = "one")]
        count: u64,
    },
    /// A keeper session is closed by its client.
    SessionClosed {
        /// At least so many in the run.
        #[serde(default = "one")]
        count: u64,
    },
    /// A keeper server leads.
    KeeperLeader {
        /// In this or a later epoch.
        #[serde(default)]
        epoch: Option<i32>,
    },
    /// A transaction changes its state in the coordinator's log.
    TransactionState {
        /// `transactional.id`.
        id: String,
        /// Into this state.
        state: TransactionState,
        /// At least so often in the run.
        #[serde(default = "one")]
        count: u64,
    },
    /// A leader's last stable offset reaches an offset.
    LastStableOffset {
        /// The partition.
        partition: String,
        /// On which broker; on any when absent.
        #[serde(default)]
        broker: Option<i32>,
        /// At least this offset.
        at_least: i64,
    },
    /// A client makes a transactional call, or is told how it ended.
    TransactionCall {
        /// Which client.
        client: String,
        /// Which call.
        call: CallName,
        /// How far it is.
        #[serde(default)]
        stage: CallStage,
        /// At least so often in the run.
        #[serde(default = "one")]
        count: u64,
    },
    /// A coordinator refuses a call because its epoch is old.
    ProducerFenced {
        /// `transactional.id`.
        id: String,
    },
    /// A producer sends a batch again.
    Retry {
        /// Which producer.
        producer: String,
    },
    /// A batch is answered from the idempotence window.
    DuplicateBatch {
        /// The partition.
        partition: String,
    },
    /// A produce request is refused by a broker with this error.
    Refused {
        /// The partition.
        partition: String,
        /// Kafka's name of the error.
        error: String,
    },
    /// A named fault is injected.
    Fault {
        /// Its name.
        name: String,
    },
    /// All of these have become true.
    All(Vec<Condition>),
    /// Each of these has become true after the one before it.
    InOrder(Vec<Condition>),
}

/// A transactional call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CallName {
    /// `initTransactions`.
    Init,
    /// `beginTransaction`.
    Begin,
    /// `sendOffsetsToTransaction`.
    SendOffsets,
    /// `commitTransaction`.
    Commit,
    /// `abortTransaction`.
    Abort,
}

/// How far a call is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CallStage {
    /// It begins.
    Invoke,
    /// It succeeded.
    #[default]
    Ok,
    /// It certainly failed.
    Fail,
    /// It may have succeeded.
    Info,
}

fn one() -> u64 {
    1
}

/// Why a member is taken out of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Removal {
    /// Its session timed out.
    SessionTimeout,
    /// It did not join again in time.
    RebalanceTimeout,
    /// It left.
    Left,
    /// Another process with its `group.instance.id` took its place.
    Replaced,
}

impl Removal {
    /// Whether this is what a coordinator means by its reason.
    pub const fn means(self, reason: RemovalReason) -> bool {
        matches!(
            (self, reason),
            (Self::SessionTimeout, RemovalReason::SessionTimeout)
                | (Self::RebalanceTimeout, RemovalReason::RebalanceTimeout)
                | (Self::Left, RemovalReason::Left)
                | (Self::Replaced, RemovalReason::Replaced)
        )
    }
}

impl Condition {
    /// The partitions it names.
    pub fn partition(&self) -> Option<&str> {
        match self {
            Self::HighWatermark { partition, .. }
            | Self::LogEnd { partition, .. }
            | Self::LogStart { partition, .. }
            | Self::Isr { partition, .. }
            | Self::IsrProposed { partition, .. }
            | Self::Stopped { partition, .. }
            | Self::Elected { partition, .. }
            | Self::BecameLeader { partition, .. }
            | Self::BecameFollower { partition, .. }
            | Self::Truncated { partition, .. }
            | Self::Committed { partition, .. }
            | Self::LastStableOffset { partition, .. }
            | Self::ReassignmentStarted { partition }
            | Self::Reassigned { partition, .. }
            | Self::DuplicateBatch { partition }
            | Self::Refused { partition, .. } => Some(partition),
            Self::Controller { .. }
            | Self::TopicDeleted { .. }
            | Self::ControlRefused { .. }
            | Self::Registered { .. }
            | Self::BrokerDown { .. }
            | Self::Acked { .. }
            | Self::Sent { .. }
            | Self::NotAcked { .. }
            | Self::Processed { .. }
            | Self::Polled { .. }
            | Self::Assigned { .. }
            | Self::Rebalancing { .. }
            | Self::RebalanceFailed { .. }
            | Self::Generation { .. }
            | Self::MemberRemoved { .. }
            | Self::SessionExpired { .. }
            | Self::SessionClosed { .. }
            | Self::KeeperLeader { .. }
            | Self::TransactionState { .. }
            | Self::TransactionCall { .. }
            | Self::ProducerFenced { .. }
            | Self::Retry { .. }
            | Self::Fault { .. }
            | Self::All(_)
            | Self::InOrder(_) => None,
        }
    }

    /// The transactional id it names.
    pub fn transactional_id(&self) -> Option<&str> {
        if let Self::TransactionState { id, .. } | Self::ProducerFenced { id } = self {
            Some(id)
        } else {
            None
        }
    }

    /// The broker it names.
    pub fn broker(&self) -> Option<i32> {
        match self {
            Self::HighWatermark { broker, .. }
            | Self::LogEnd { broker, .. }
            | Self::LogStart { broker, .. }
            | Self::BecameLeader { broker, .. }
            | Self::BecameFollower { broker, .. }
            | Self::Truncated { broker, .. }
            | Self::IsrProposed { broker, .. }
            | Self::Stopped { broker, .. }
            | Self::ControlRefused { broker, .. }
            | Self::LastStableOffset { broker, .. }
            | Self::Controller { broker, .. } => *broker,
            Self::Elected { leader, .. } => *leader,
            Self::Registered { broker } | Self::BrokerDown { broker } => Some(*broker),
            Self::Isr { .. }
            | Self::ReassignmentStarted { .. }
            | Self::Reassigned { .. }
            | Self::TopicDeleted { .. }
            | Self::Acked { .. }
            | Self::Sent { .. }
            | Self::NotAcked { .. }
            | Self::Processed { .. }
            | Self::Polled { .. }
            | Self::Assigned { .. }
            | Self::Rebalancing { .. }
            | Self::RebalanceFailed { .. }
            | Self::Committed { .. }
            | Self::Generation { .. }
            | Self::MemberRemoved { .. }
            | Self::SessionExpired { .. }
            | Self::SessionClosed { .. }
            | Self::KeeperLeader { .. }
            | Self::TransactionState { .. }
            | Self::TransactionCall { .. }
            | Self::ProducerFenced { .. }
            | Self::Retry { .. }
            | Self::DuplicateBatch { .. }
            | Self::Refused { .. }
            | Self::Fault { .. }
            | Self::All(_)
            | Self::InOrder(_) => None,
        }
    }

    /// The client it names.
    pub fn client(&self) -> Option<&str> {
        match self {
            Self::Acked { producer, .. }
            | Self::Sent { producer, .. }
            | Self::NotAcked { producer, .. }
            | Self::Retry { producer } => Some(producer),
            Self::Processed { consumer, .. }
            | Self::Polled { consumer, .. }
            | Self::Assigned { consumer, .. }
            | Self::Rebalancing { consumer, .. }
            | Self::RebalanceFailed { consumer } => Some(consumer),
            Self::TransactionCall { client, .. } => Some(client),
            Self::HighWatermark { .. }
            | Self::LogEnd { .. }
            | Self::LogStart { .. }
            | Self::Isr { .. }
            | Self::IsrProposed { .. }
            | Self::Elected { .. }
            | Self::BecameLeader { .. }
            | Self::BecameFollower { .. }
            | Self::Truncated { .. }
            | Self::ReassignmentStarted { .. }
            | Self::Reassigned { .. }
            | Self::Stopped { .. }
            | Self::TopicDeleted { .. }
            | Self::ControlRefused { .. }
            | Self::Controller { .. }
            | Self::Registered { .. }
            | Self::BrokerDown { .. }
            | Self::Committed { .. }
            | Self::Generation { .. }
            | Self::MemberRemoved { .. }
            | Self::SessionExpired { .. }
            | Self::SessionClosed { .. }
            | Self::KeeperLeader { .. }
            | Self::TransactionState { .. }
            | Self::LastStableOffset { .. }
            | Self::ProducerFenced { .. }
            | Self::DuplicateBatch { .. }
            | Self::Refused { .. }
            | Self::Fault { .. }
            | Self::All(_)
            | Self::InOrder(_) => None,
        }
    }
}
