//! Which note makes which condition true.

use super::{Barriers, Counts, Said};
use crate::scenario::condition::Condition;
use history::event::ElectionKind as HistoryElectionKind;
use protocol::ids::{BrokerId, NodeId, Offset, TopicPartition};
use protocol::keeper::KeeperRole;
use protocol::note::{
    BrokerNote, ClientNote, ControllerNote, ElectionKind, GroupNote, KeeperNote, Note, ReplicaNote,
    TransactionNote,
};
use protocol::operation::{Action, Stage};
use std::collections::BTreeSet;

impl Barriers {
    pub(super) fn is_met(&self, condition: &Condition, said: Said<'_>) -> bool {
        match said.note {
            Note::Replica(partition, note) => self.replica(condition, said.node, partition, note),
            Note::Controller(note) => self.controller(condition, said.node, note),
            Note::Broker(note) => match (condition, note) {
                (Condition::Registered { broker }, BrokerNote::Registered { .. }) => {
                    self.is_broker(said.node, Some(*broker))
                }
                (Condition::ControlRefused { broker, error }, BrokerNote::ControlRefused(seen)) => {
                    self.is_broker(said.node, *broker)
                        && error.as_ref().is_none_or(|name| name == seen.name())
                }
                _ => false,
            },
            Note::Group(group, note) => group_condition(condition, group.as_str(), note),
            Note::Keeper(note) => self.keeper(condition, note),
            Note::Client(ClientNote::Retry { .. }) => {
                matches!(condition, Condition::Retry { producer } if self.is_client(said.node, producer))
            }
            Note::Transaction(id, note) => self.transaction(condition, id.as_str(), note),
            Note::Client(note) => self.old_consumer(condition, said.node, note),
            Note::Operation(operation) => match (condition, &operation.action) {
                (Condition::Assigned { consumer, count }, Action::Assigned { partitions, .. }) => {
                    let given = u64::try_from(partitions.len()).unwrap_or(0);
                    self.is_client(said.node, consumer) && given >= *count
                }
                // Of a group in ZooKeeper no coordinator tells.
                (Condition::Committed { .. }, Action::Commit { group, offsets, .. }) => {
                    operation.stage == Stage::Ok && is_committed(condition, group.as_str(), offsets)
                }
                _ => self.client(condition, said.node),
            },
        }
    }

    fn old_consumer(&self, condition: &Condition, node: NodeId, note: &ClientNote) -> bool {
        match (condition, note) {
            (
                Condition::Rebalancing { consumer, attempt },
                ClientNote::Rebalancing { attempt: seen, .. },
            ) => self.is_client(node, consumer) && u64::from(*seen) >= *attempt,
            (Condition::RebalanceFailed { consumer }, ClientNote::RebalanceFailed(_)) => {
                self.is_client(node, consumer)
            }
            _ => false,
        }
    }

    fn transaction(&self, condition: &Condition, named: &str, note: &TransactionNote) -> bool {
        match (condition, note) {
            (
                Condition::TransactionState { id, state, count },
                TransactionNote::State { state: seen, .. },
            ) => {
                let key = (id.clone(), format!("{state:?}"));
                id == named
                    && state == seen
                    && self
                        .transaction_states
                        .get(&key)
                        .is_some_and(|all| all >= count)
            }
            (Condition::ProducerFenced { id }, TransactionNote::Fenced { .. }) => id == named,
            _ => false,
        }
    }

    fn replica(
        &self,
        condition: &Condition,
        node: NodeId,
        partition: &TopicPartition,
        note: &ReplicaNote,
    ) -> bool {
        let here = |wanted: &str, broker: Option<i32>| {
            is_partition(wanted, partition) && self.is_broker(node, broker)
        };
        match (condition, note) {
            (
                Condition::HighWatermark {
                    partition,
                    broker,
                    at_least,
                },
                ReplicaNote::HighWatermark(offset),
            )
            | (
                Condition::LastStableOffset {
                    partition,
                    broker,
                    at_least,
                },
                ReplicaNote::LastStableOffset(offset),
            )
            | (
                Condition::LogStart {
                    partition,
                    broker,
                    at_least,
                },
                ReplicaNote::LogStart(offset),
            ) => here(partition, *broker) && offset.0 >= *at_least,
            (
                Condition::LogEnd {
                    partition,
                    broker,
                    at_least,
                },
                ReplicaNote::Appended { batch, .. },
            ) => here(partition, *broker) && batch.next_offset() >= Offset(*at_least),
            (Condition::Isr { .. } | Condition::IsrProposed { .. }, _) => {
                self.in_sync(condition, (node, partition), note)
            }
            (
                Condition::Stopped {
                    partition,
                    broker,
                    deleted,
                },
                ReplicaNote::Stopped { deleted: seen },
            ) => here(partition, *broker) && deleted.is_none_or(|wanted| wanted == *seen),
            (Condition::BecameLeader { partition, broker }, ReplicaNote::BecameLeader { .. })
            | (
                Condition::BecameFollower { partition, broker },
                ReplicaNote::BecameFollower { .. },
            )
            | (Condition::Truncated { partition, broker }, ReplicaNote::Truncated { .. }) => {
                here(partition, *broker)
            }
            (Condition::DuplicateBatch { partition }, ReplicaNote::DuplicateBatch { .. }) => {
                here(partition, None)
            }
            (
                Condition::Refused { partition, error },
                ReplicaNote::AppendRefused { error: seen },
            ) => here(partition, None) && seen.name() == error,
            _ => false,
        }
    }

    /// In-sync replicas as a leader works with them, or as it asks for them.
    fn in_sync(
        &self,
        condition: &Condition,
        (node, partition): (NodeId, &TopicPartition),
        note: &ReplicaNote,
    ) -> bool {
        let fits =
            |wanted: &str, (equals, size): (Option<&[i32]>, Option<usize>), isr: &[BrokerId]| {
                let ids: Vec<i32> = isr.iter().map(|id| id.0).collect();
                is_partition(wanted, partition) && is_set(equals, size, &ids)
            };
        match (condition, note) {
            (
                Condition::Isr {
                    partition,
                    equals,
                    size,
                },
                ReplicaNote::IsrChanged { isr, .. },
            ) => fits(partition, (equals.as_deref(), *size), isr),
            (
                Condition::IsrProposed {
                    partition,
                    broker,
                    equals,
                    size,
                },
                ReplicaNote::IsrProposed { isr, .. },
            ) => self.is_broker(node, *broker) && fits(partition, (equals.as_deref(), *size), isr),
            _ => false,
        }
    }

    fn controller(&self, condition: &Condition, node: NodeId, note: &ControllerNote) -> bool {
        match (condition, note) {
            (
                Condition::Elected {
                    partition: wanted,
                    leader,
                    epoch,
                    kind,
                },
                ControllerNote::LeaderElected {
                    partition,
                    leader: elected,
                    leader_epoch,
                    kind: seen,
                    ..
                },
            ) => {
                is_partition(wanted, partition)
                    && elected.is_some_and(|id| leader.is_none_or(|wanted| wanted == id.0))
                    && epoch.is_none_or(|wanted| leader_epoch.0 >= wanted)
                    && kind.is_none_or(|wanted| wanted == history_kind(*seen))
            }
            (
                Condition::Isr {
                    partition: wanted,
                    equals,
                    size,
                },
                ControllerNote::IsrWritten { partition, isr, .. }
                | ControllerNote::LeaderElected { partition, isr, .. },
            ) => {
                let ids: Vec<i32> = isr.iter().map(|id| id.0).collect();
                is_partition(wanted, partition) && is_set(equals.as_deref(), *size, &ids)
            }
            (
                Condition::ReassignmentStarted { partition: wanted },
                ControllerNote::ReassignmentStarted { partition, .. },
            ) => is_partition(wanted, partition),
            (
                Condition::Reassigned {
                    partition: wanted,
                    replicas: to,
                },
                ControllerNote::Reassigned {
                    partition,
                    replicas,
                },
            ) => {
                let ids: Vec<i32> = replicas.iter().map(|id| id.0).collect();
                is_partition(wanted, partition) && to.as_ref().is_none_or(|to| *to == ids)
            }
            (Condition::Controller { epoch, broker }, ControllerNote::Elected { epoch: seen }) => {
                self.is_broker(node, *broker) && epoch.is_none_or(|wanted| seen.0 >= wanted)
            }
            (Condition::TopicDeleted { topic, count }, ControllerNote::TopicDeleted(seen)) => {
                seen.as_str() == topic
                    && self
                        .topics_deleted
                        .get(seen)
                        .is_some_and(|all| all >= count)
            }
            (Condition::BrokerDown { broker }, ControllerNote::BrokerDown { broker: seen }) => {
                seen.0 == *broker
            }
            _ => false,
        }
    }

    fn keeper(&self, condition: &Condition, note: &KeeperNote) -> bool {
        match (condition, note) {
            (Condition::SessionExpired { count }, KeeperNote::SessionExpired(_)) => {
                self.sessions_expired >= *count
            }
            (Condition::SessionClosed { count }, KeeperNote::SessionClosed(_)) => {
                self.sessions_closed >= *count
            }
            (
                Condition::KeeperLeader { epoch },
                KeeperNote::Role {
                    role: KeeperRole::Leading,
                    epoch: seen,
                    ..
                },
            ) => epoch.is_none_or(|wanted| *seen >= wanted),
            _ => false,
        }
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "only these concern this part; the rest passes by"
    )]
    fn client(&self, condition: &Condition, node: NodeId) -> bool {
        if let Condition::TransactionCall {
            client,
            call,
            stage,
            count,
        } = condition
        {
            let counted = |counts: &Counts| counts.calls.get(&(*call, *stage)).copied();
            return self.clients.get(client).is_some_and(|nodes| {
                let counts = nodes.iter().filter_map(|node| self.counts.get(node));
                nodes.contains(&node) && counts.filter_map(counted).sum::<u64>() >= *count
            });
        }
        let (name, wanted, counted): (&str, u64, fn(&Counts) -> u64) = match condition {
            Condition::Acked { producer, count } => (producer, *count, |counts| counts.acked),
            Condition::Sent { producer, count } => (producer, *count, |counts| counts.sent),
            Condition::NotAcked { producer, count } => {
                (producer, *count, |counts| counts.not_acked)
            }
            Condition::Polled { consumer, count } => (consumer, *count, |counts| counts.polled),
            Condition::Processed { consumer, count } => {
                (consumer, *count, |counts| counts.processed)
            }
            _ => return false,
        };
        let Some(nodes) = self.clients.get(name).filter(|nodes| nodes.contains(&node)) else {
            return false;
        };
        nodes
            .iter()
            .filter_map(|node| self.counts.get(node))
            .map(counted)
            .sum::<u64>()
            >= wanted
    }

    fn is_broker(&self, node: NodeId, wanted: Option<i32>) -> bool {
        wanted.is_none_or(|id| self.brokers.get(&node) == Some(&id))
    }

    fn is_client(&self, node: NodeId, name: &str) -> bool {
        self.clients
            .get(name)
            .is_some_and(|nodes| nodes.contains(&node))
    }
}

fn is_committed(condition: &Condition, group: &str, offsets: &[(TopicPartition, Offset)]) -> bool {
    let Condition::Committed {
        group: wanted,
        partition: named,
        at_least,
    } = condition
    else {
        return false;
    };
    wanted == group
        && offsets
            .iter()
            .any(|(partition, offset)| is_partition(named, partition) && offset.0 >= *at_least)
}

fn group_condition(condition: &Condition, group: &str, note: &GroupNote) -> bool {
    match (condition, note) {
        (
            Condition::Committed {
                group: wanted,
                partition: named,
                at_least,
            },
            GroupNote::OffsetCommitted {
                partition, offset, ..
            },
        ) => wanted == group && is_partition(named, partition) && offset.0 >= *at_least,
        (
            Condition::Generation {
                group: wanted,
                at_least,
                members,
            },
            GroupNote::Generation {
                generation,
                members: seen,
            },
        ) => {
            wanted == group
                && generation.0 >= *at_least
                && members.is_none_or(|count| seen.len() == count)
        }
        (
            Condition::MemberRemoved {
                group: wanted,
                reason,
            },
            GroupNote::MemberRemoved(_, why),
        ) => wanted == group && reason.is_none_or(|reason| reason.means(*why)),
        _ => false,
    }
}

fn is_partition(wanted: &str, partition: &TopicPartition) -> bool {
    wanted.rsplit_once('-').is_some_and(|(topic, index)| {
        topic == partition.topic.as_str() && index.parse() == Ok(partition.partition.0)
    })
}

fn is_set(equals: Option<&[i32]>, size: Option<usize>, ids: &[i32]) -> bool {
    let as_set = |ids: &[i32]| ids.iter().copied().collect::<BTreeSet<i32>>();
    equals.is_none_or(|wanted| as_set(wanted) == as_set(ids))
        && size.is_none_or(|wanted| wanted == ids.len())
}

const fn history_kind(kind: ElectionKind) -> HistoryElectionKind {
    match kind {
        ElectionKind::New => HistoryElectionKind::New,
        ElectionKind::Clean => HistoryElectionKind::Clean,
        ElectionKind::Unclean => HistoryElectionKind::Unclean,
        ElectionKind::Preferred => HistoryElectionKind::Preferred,
        ElectionKind::ControlledShutdown => HistoryElectionKind::ControlledShutdown,
        ElectionKind::Reassignment => HistoryElectionKind::Reassignment,
        ElectionKind::Eligible => HistoryElectionKind::Eligible,
        ElectionKind::LastKnownLeader => HistoryElectionKind::LastKnownLeader,
    }
}
