//! Conditions in words, as the timeline of a run shows them.

use super::condition::{CallName, CallStage, Condition};
use std::fmt;

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
