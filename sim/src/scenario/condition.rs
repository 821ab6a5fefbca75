//! Barriers: conditions on the state of the cluster, true from one step on.
//!
//! A condition is edge-triggered by the notes of a step and takes effect before any effect of that step is delivered, so
//! that a schedule written with conditions is exact and does not depend on the seed.

use protocol::note::{RemovalReason, TransactionState};
use serde::{Deserialize, Serialize};
use std::fmt;

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
        /// In this way (`clean`, `unclean`, `preferred`, `controlled_shutdown`).
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

impl CallName {
    /// The name that an application knows it by, and how far it is.
    fn in_words(self, stage: CallStage) -> String {
        let name = match self {
            Self::Init => "initTransactions",
            Self::Begin => "beginTransaction",
            Self::SendOffsets => "sendOffsetsToTransaction",
            Self::Commit => "commitTransaction",
            Self::Abort => "abortTransaction",
        };
        match stage {
            CallStage::Invoke => format!("calls {name}"),
            CallStage::Ok => format!("has {name} behind it"),
            CallStage::Fail => format!("fails with {name}"),
            CallStage::Info => format!("is left in doubt by {name}"),
        }
    }
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

/// In words, as the report's timeline shows it.
impl fmt::Display for Condition {
    #[expect(clippy::too_many_lines, reason = "one arm a kind, each short")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let on =
            |broker: &Option<i32>| broker.map_or_else(String::new, |id| format!(" on broker {id}"));
        match self {
            Self::HighWatermark {
                partition,
                broker,
                at_least,
            } => {
                write!(
                    f,
                    "the high watermark of {partition}{} reaches {at_least}",
                    on(broker)
                )
            }
            Self::LogEnd {
                partition,
                broker,
                at_least,
            } => {
                write!(
                    f,
                    "the log end of {partition}{} reaches {at_least}",
                    on(broker)
                )
            }
            Self::LogStart {
                partition,
                broker,
                at_least,
            } => {
                write!(
                    f,
                    "the log start of {partition}{} reaches {at_least}",
                    on(broker)
                )
            }
            Self::Isr {
                partition,
                equals,
                size,
            } => match (equals, size) {
                (Some(ids), _) => write!(f, "the ISR of {partition} equals {ids:?}"),
                (None, Some(size)) => write!(f, "the ISR of {partition} has {size} members"),
                (None, None) => write!(f, "the ISR of {partition} changes"),
            },
            Self::IsrProposed {
                partition,
                broker,
                equals,
                ..
            } => {
                write!(f, "another ISR of {partition} is proposed{}", on(broker))?;
                equals.as_ref().map_or(Ok(()), |ids| write!(f, ": {ids:?}"))
            }
            Self::Stopped {
                partition, broker, ..
            } => write!(f, "{partition} is stopped{}", on(broker)),
            Self::TopicDeleted { topic, .. } => write!(f, "topic {topic} is gone"),
            Self::ControlRefused { broker, .. } => {
                write!(f, "a request of a controller is refused{}", on(broker))
            }
            Self::Elected {
                partition, leader, ..
            } => match leader {
                Some(id) => write!(f, "broker {id} is elected leader of {partition}"),
                None => write!(f, "a leader of {partition} is elected"),
            },
            Self::BecameLeader { partition, broker } => {
                write!(f, "{partition} gets a leader{}", on(broker))
            }
            Self::BecameFollower { partition, broker } => {
                write!(f, "{partition} is followed{}", on(broker))
            }
            Self::Truncated { partition, broker } => {
                write!(f, "the log of {partition} is cut{}", on(broker))
            }
            Self::ReassignmentStarted { partition } => {
                write!(f, "the replicas of {partition} begin to move")
            }
            Self::Reassigned {
                partition,
                replicas,
            } => match replicas {
                Some(ids) => write!(f, "the replicas of {partition} have moved to {ids:?}"),
                None => write!(f, "the replicas of {partition} have moved"),
            },
            Self::Controller { broker, .. } => write!(f, "a controller is elected{}", on(broker)),
            Self::Registered { broker } => write!(f, "broker {broker} is registered"),
            Self::BrokerDown { broker } => write!(f, "the controller counts broker {broker} out"),
            Self::Acked { producer, count } => {
                write!(f, "{producer} got its {count}. acknowledgement")
            }
            Self::Sent { producer, count } => write!(f, "{producer} sent its {count}. record"),
            Self::NotAcked { producer, count } => {
                write!(f, "{count} sends of {producer} were not acknowledged")
            }
            Self::Processed { consumer, count } => {
                write!(f, "{consumer} processed {count} records")
            }
            Self::Polled { consumer, count } => write!(f, "{consumer} polled {count} records"),
            Self::Assigned { consumer, count } => {
                write!(f, "{consumer} is given {count} partitions")
            }
            Self::Rebalancing { consumer, attempt } => {
                write!(f, "{consumer} begins try {attempt} of a rebalance")
            }
            Self::RebalanceFailed { consumer } => write!(f, "{consumer} gives up a rebalance"),
            Self::Committed {
                group,
                partition,
                at_least,
            } => {
                write!(
                    f,
                    "group {group} committed offset {at_least} of {partition}"
                )
            }
            Self::Generation {
                group, at_least, ..
            } => write!(f, "group {group} is in generation {at_least}"),
            Self::MemberRemoved { group, .. } => {
                write!(f, "a member of group {group} is taken out")
            }
            Self::SessionExpired { count } => write!(f, "{count} keeper sessions expired"),
            Self::SessionClosed { count } => write!(f, "{count} keeper sessions were closed"),
            Self::KeeperLeader { .. } => f.write_str("a keeper leader is elected"),
            Self::TransactionState { id, state, .. } => {
                write!(f, "the transaction of {id} is in state {state:?}")
            }
            Self::LastStableOffset {
                partition,
                broker,
                at_least,
            } => {
                write!(
                    f,
                    "the last stable offset of {partition}{} reaches {at_least}",
                    on(broker)
                )
            }
            Self::TransactionCall {
                client,
                call,
                stage,
                ..
            } => write!(f, "{client} {}", call.in_words(*stage)),
            Self::ProducerFenced { id } => write!(f, "a producer of {id} is fenced"),
            Self::Retry { producer } => write!(f, "{producer} sends a batch again"),
            Self::DuplicateBatch { partition } => {
                write!(f, "a duplicate batch of {partition} is recognised")
            }
            Self::Refused { partition, error } => {
                write!(f, "a produce request to {partition} gets {error}")
            }
            Self::Fault { name } => write!(f, "fault {name} was injected"),
            Self::All(all) => {
                let words: Vec<String> = all.iter().map(ToString::to_string).collect();
                f.write_str(&words.join(" and "))
            }
            Self::InOrder(all) => {
                let words: Vec<String> = all.iter().map(ToString::to_string).collect();
                f.write_str(&words.join(", then "))
            }
        }
    }
}
