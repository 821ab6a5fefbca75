//! Conditions waiting to become true.
//!
//! Each note is offered to every waiting condition once; a condition that has become true fires once and is gone. What
//! counts (acknowledgements, processed records) is counted from the beginning of the run.

use crate::scenario::condition::{CallName, CallStage, Condition};
use history::event::ElectionKind as HistoryElectionKind;
use protocol::ids::{BrokerId, NodeId, Offset, TopicName, TopicPartition};
use protocol::keeper::KeeperRole;
use protocol::note::{
    BrokerNote, ClientNote, ControllerNote, ElectionKind, GroupNote, KeeperNote, Note, ReplicaNote,
    TransactionNote,
};
use protocol::operation::{Action, Operation, Stage, TransactionCall};
use std::collections::{BTreeMap, BTreeSet};

/// What happens when a condition becomes true.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reaction {
    /// Inject the fault of this index.
    Inject(usize),
    /// End what the fault of this index began.
    End(usize),
    /// Start the client on this node.
    StartClient(NodeId),
    /// The mark of this name is reached.
    Mark(String),
}

#[derive(Clone, Debug)]
struct Waiting {
    condition: Condition,
    reaction: Reaction,
    /// For `All` and `InOrder`: which parts have been true already.
    met: BTreeSet<usize>,
}

/// What one client did so far.
#[derive(Clone, Debug, Default)]
struct Counts {
    sent: u64,
    acked: u64,
    not_acked: u64,
    polled: u64,
    processed: u64,
    calls: BTreeMap<(CallName, CallStage), u64>,
}

/// The conditions that wait, and what they count.
#[derive(Clone, Debug, Default)]
pub struct Barriers {
    waiting: Vec<Waiting>,
    counts: BTreeMap<NodeId, Counts>,
    sessions_expired: u64,
    sessions_closed: u64,
    topics_deleted: BTreeMap<TopicName, u64>,
    /// How often each transactional id has come into each state.
    transaction_states: BTreeMap<(String, String), u64>,
    /// Clients and brokers by node, to match names.
    clients: BTreeMap<String, Vec<NodeId>>,
    brokers: BTreeMap<NodeId, i32>,
}

/// One note and where it was said.
#[derive(Clone, Copy)]
struct Said<'a> {
    node: NodeId,
    note: &'a Note,
}

impl Barriers {
    /// Nothing waits. `clients` maps a name to its node; the name of a consumer with several members maps to all of them.
    pub fn new(clients: BTreeMap<String, Vec<NodeId>>, brokers: BTreeMap<NodeId, i32>) -> Self {
        Self {
            clients,
            brokers,
            ..Self::default()
        }
    }

    /// Waits for a condition.
    pub fn wait(&mut self, condition: Condition, reaction: Reaction) {
        self.waiting.push(Waiting {
            condition,
            reaction,
            met: BTreeSet::new(),
        });
    }

    /// Stops waiting to inject faults; marks and ends stay.
    pub fn forget_injections(&mut self) {
        self.waiting
            .retain(|waiting| !matches!(waiting.reaction, Reaction::Inject(_)));
    }

    /// Marks not reached.
    pub fn marks_waiting(&self) -> impl Iterator<Item = &str> {
        self.waiting
            .iter()
            .filter_map(|waiting| match &waiting.reaction {
                Reaction::Mark(name) => Some(name.as_str()),
                Reaction::Inject(_) | Reaction::End(_) | Reaction::StartClient(_) => None,
            })
    }

    /// Offers a note to all that wait; gives what fires, in the order it was asked for.
    pub fn on_note(&mut self, node: NodeId, note: &Note) -> Vec<Reaction> {
        self.count(node, note);
        self.fire(|this, condition| this.is_met(condition, Said { node, note }))
    }

    /// A named fault was injected.
    pub fn on_fault(&mut self, name: &str) -> Vec<Reaction> {
        self.fire(
            |_, condition| matches!(condition, Condition::Fault { name: wanted } if wanted == name),
        )
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "only these concern this part; the rest passes by"
    )]
    fn fire(&mut self, met: impl Fn(&Self, &Condition) -> bool) -> Vec<Reaction> {
        if self.waiting.is_empty() {
            return Vec::new();
        }
        let mut fired = Vec::new();
        let mut waiting = std::mem::take(&mut self.waiting);
        waiting.retain_mut(|entry| {
            let done = match &entry.condition {
                Condition::All(parts) => {
                    entry.met.extend(
                        (0..)
                            .zip(parts)
                            .filter(|(_, part)| met(self, part))
                            .map(|(index, _)| index),
                    );
                    entry.met.len() == parts.len()
                }
                Condition::InOrder(parts) => {
                    let next = entry.met.len();
                    if parts.get(next).is_some_and(|part| met(self, part)) {
                        entry.met.insert(next);
                    }
                    entry.met.len() == parts.len()
                }
                single => met(self, single),
            };
            if done {
                fired.push(entry.reaction.clone());
            }
            !done
        });
        self.waiting = waiting;
        fired
    }

    fn count(&mut self, node: NodeId, note: &Note) {
        match note {
            Note::Operation(operation) => {
                count_operation(self.counts.entry(node).or_default(), operation);
            }
            Note::Keeper(KeeperNote::SessionExpired(_)) => self.sessions_expired += 1,
            Note::Keeper(KeeperNote::SessionClosed(_)) => self.sessions_closed += 1,
            Note::Controller(ControllerNote::TopicDeleted(topic)) => {
                *self.topics_deleted.entry(topic.clone()).or_default() += 1;
            }
            Note::Transaction(id, TransactionNote::State { state, .. }) => {
                let key = (id.as_str().to_owned(), format!("{state:?}"));
                *self.transaction_states.entry(key).or_default() += 1;
            }
            Note::Replica(..)
            | Note::Controller(_)
            | Note::Broker(_)
            | Note::Group(..)
            | Note::Transaction(..)
            | Note::Keeper(_)
            | Note::Client(_) => {}
        }
    }

    fn is_met(&self, condition: &Condition, said: Said<'_>) -> bool {
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

fn count_operation(counts: &mut Counts, operation: &Operation) {
    match (&operation.action, operation.stage) {
        (Action::Send { .. }, Stage::Invoke) => counts.sent += 1,
        (Action::Send { .. }, Stage::Ok) => counts.acked += 1,
        (Action::Send { .. }, Stage::Fail | Stage::Info) => counts.not_acked += 1,
        (Action::Poll { records, .. }, Stage::Ok) => {
            counts.polled += records
                .iter()
                .map(|polled| u64::try_from(polled.records.len()).unwrap_or(0))
                .sum::<u64>();
        }
        (Action::Process { .. }, _) => counts.processed += 1,
        (Action::Transaction { call, .. }, stage) => {
            let key = (call_name(call), call_stage(stage));
            *counts.calls.entry(key).or_default() += 1;
        }
        _ => {}
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

const fn call_name(call: &TransactionCall) -> CallName {
    match call {
        TransactionCall::Init => CallName::Init,
        TransactionCall::Begin => CallName::Begin,
        TransactionCall::SendOffsets { .. } => CallName::SendOffsets,
        TransactionCall::Commit => CallName::Commit,
        TransactionCall::Abort => CallName::Abort,
    }
}

const fn call_stage(stage: Stage) -> CallStage {
    match stage {
        Stage::Invoke => CallStage::Invoke,
        Stage::Ok => CallStage::Ok,
        Stage::Fail => CallStage::Fail,
        Stage::Info => CallStage::Info,
    }
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
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::error_code::ErrorCode;
    use protocol::ids::{LeaderEpoch, PartitionEpoch, SessionId};

    fn barriers() -> Barriers {
        let brokers = BTreeMap::from([(NodeId(1), 1), (NodeId(2), 2)]);
        Barriers::new(BTreeMap::new(), brokers)
    }

    fn replica(note: ReplicaNote) -> Note {
        Note::Replica(TopicPartition::new("orders", 0), note)
    }

    #[test]
    fn a_high_watermark_barrier_fires_once_on_its_broker() {
        let mut barriers = barriers();
        let condition = Condition::HighWatermark {
            partition: "orders-0".into(),
            broker: Some(1),
            at_least: 5,
        };
        barriers.wait(condition, Reaction::Inject(0));
        let note = replica(ReplicaNote::HighWatermark(Offset(5)));
        assert!(barriers.on_note(NodeId(2), &note).is_empty());
        assert_eq!(barriers.on_note(NodeId(1), &note), [Reaction::Inject(0)]);
        assert!(barriers.on_note(NodeId(1), &note).is_empty());
    }

    #[test]
    fn an_isr_is_compared_as_a_set() {
        let mut barriers = barriers();
        let condition = Condition::Isr {
            partition: "orders-0".into(),
            equals: Some(vec![2, 1]),
            size: None,
        };
        barriers.wait(condition, Reaction::Inject(3));
        let isr = |ids: &[i32]| {
            let isr = ids.iter().map(|id| BrokerId(*id)).collect();
            replica(ReplicaNote::IsrChanged {
                isr,
                partition_epoch: PartitionEpoch(1),
            })
        };
        assert!(barriers.on_note(NodeId(1), &isr(&[1])).is_empty());
        assert_eq!(
            barriers.on_note(NodeId(1), &isr(&[1, 2])),
            [Reaction::Inject(3)]
        );
    }

    #[test]
    fn a_proposed_isr_counts_on_its_leader_and_an_accepted_one_is_another_thing() {
        let mut barriers = barriers();
        let condition = Condition::IsrProposed {
            partition: "orders-0".into(),
            broker: Some(1),
            equals: Some(vec![1]),
            size: None,
        };
        barriers.wait(condition, Reaction::Inject(0));
        let proposed = |ids: &[i32]| {
            let isr = ids.iter().map(|id| BrokerId(*id)).collect();
            replica(ReplicaNote::IsrProposed {
                isr,
                waits_for: Vec::new(),
            })
        };
        let accepted = replica(ReplicaNote::IsrChanged {
            isr: vec![BrokerId(1)],
            partition_epoch: PartitionEpoch(1),
        });
        assert!(barriers.on_note(NodeId(1), &accepted).is_empty());
        assert!(barriers.on_note(NodeId(1), &proposed(&[1, 2])).is_empty());
        assert!(barriers.on_note(NodeId(2), &proposed(&[1])).is_empty());
        assert_eq!(
            barriers.on_note(NodeId(1), &proposed(&[1])),
            [Reaction::Inject(0)]
        );
    }

    #[test]
    fn a_deleted_topic_is_counted_and_a_stopped_replica_may_have_kept_its_log() {
        let mut barriers = barriers();
        let twice = Condition::TopicDeleted {
            topic: "orders".into(),
            count: 2,
        };
        barriers.wait(twice, Reaction::Inject(0));
        let gone = |topic: &str| Note::Controller(ControllerNote::TopicDeleted(topic.into()));
        assert!(barriers.on_note(NodeId(1), &gone("orders")).is_empty());
        assert!(barriers.on_note(NodeId(1), &gone("others")).is_empty());
        assert_eq!(
            barriers.on_note(NodeId(2), &gone("orders")),
            [Reaction::Inject(0)]
        );
        let removed = Condition::Stopped {
            partition: "orders-0".into(),
            broker: None,
            deleted: Some(true),
        };
        barriers.wait(removed, Reaction::Inject(1));
        let stopped = |deleted| replica(ReplicaNote::Stopped { deleted });
        assert!(barriers.on_note(NodeId(1), &stopped(false)).is_empty());
        assert_eq!(
            barriers.on_note(NodeId(1), &stopped(true)),
            [Reaction::Inject(1)]
        );
    }

    #[test]
    fn closed_sessions_are_counted_apart_from_expired_ones() {
        let mut barriers = barriers();
        let condition = Condition::SessionClosed { count: 2 };
        barriers.wait(condition, Reaction::Inject(0));
        let closed = Note::Keeper(KeeperNote::SessionClosed(SessionId(1)));
        let expired = Note::Keeper(KeeperNote::SessionExpired(SessionId(2)));
        assert!(barriers.on_note(NodeId(1), &closed).is_empty());
        assert!(barriers.on_note(NodeId(1), &expired).is_empty());
        assert_eq!(barriers.on_note(NodeId(1), &closed), [Reaction::Inject(0)]);
    }

    #[test]
    fn a_refused_control_request_is_told_by_broker_and_error() {
        let mut barriers = barriers();
        let condition = Condition::ControlRefused {
            broker: Some(2),
            error: Some("STALE_BROKER_EPOCH".into()),
        };
        barriers.wait(condition, Reaction::Mark("refused".into()));
        let refused = |error| Note::Broker(BrokerNote::ControlRefused(error));
        let stale = refused(ErrorCode::StaleBrokerEpoch);
        let other = refused(ErrorCode::StaleControllerEpoch);
        assert!(barriers.on_note(NodeId(1), &stale).is_empty());
        assert!(barriers.on_note(NodeId(2), &other).is_empty());
        assert_eq!(
            barriers.on_note(NodeId(2), &stale),
            [Reaction::Mark("refused".into())]
        );
    }

    #[test]
    fn all_of_several_may_come_true_one_after_the_other() {
        let mut barriers = barriers();
        let watermark = |broker| Condition::HighWatermark {
            partition: "orders-0".into(),
            broker: Some(broker),
            at_least: 1,
        };
        barriers.wait(
            Condition::All(vec![watermark(1), watermark(2)]),
            Reaction::Mark("both".into()),
        );
        let note = replica(ReplicaNote::HighWatermark(Offset(1)));
        assert!(barriers.on_note(NodeId(2), &note).is_empty());
        assert_eq!(
            barriers.on_note(NodeId(1), &note),
            [Reaction::Mark("both".into())]
        );
    }

    #[test]
    fn in_order_waits_for_each_after_the_one_before() {
        let mut barriers = barriers();
        let follows = Condition::BecameFollower {
            partition: "orders-0".into(),
            broker: Some(1),
        };
        let leads = Condition::BecameLeader {
            partition: "orders-0".into(),
            broker: Some(1),
        };
        barriers.wait(
            Condition::InOrder(vec![follows.clone(), leads, follows]),
            Reaction::Inject(0),
        );
        let follow = replica(ReplicaNote::BecameFollower {
            leader_epoch: LeaderEpoch(1),
            leader: None,
        });
        let lead = replica(ReplicaNote::BecameLeader {
            leader_epoch: LeaderEpoch(1),
            isr: Vec::new(),
            log_end_offset: Offset(0),
        });
        for early in [&lead, &follow, &follow, &lead] {
            assert!(barriers.on_note(NodeId(1), early).is_empty());
        }
        assert!(barriers.on_note(NodeId(2), &follow).is_empty());
        assert_eq!(barriers.on_note(NodeId(1), &follow), [Reaction::Inject(0)]);
    }
}
