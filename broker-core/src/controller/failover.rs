//! What a broker does that was just elected (`onControllerFailover`, `initializeControllerContext`).
//!
//! Left-over notices are dropped, the cluster is read, every broker is told who lives, then the state machines start: they
//! tell every broker what it is and elect where nobody leads. Without KAFKA-4443 the state machines start first.

use super::Controller;
use super::eligible::EligibleStep;
use super::partition_phase::PartitionPhase;
use super::replica_phase::ReplicaPhase;
use super::step::{Step, Then};
use super::{REBALANCE_TIMER, Reply};
use crate::hands::Hands;
use crate::keeper_session::{delete, exists, get_children, get_data};
use crate::timer::TimerOwner;
use crate::znode::json::PartitionState;
use crate::znode::paths;
use protocol::behaviour::Fix;
use protocol::ids::TopicPartition;
use protocol::keeper::{KeeperOp, KeeperResult, Path};
use protocol::time::Span;

/// `scheduleAutoLeaderRebalanceTask` runs first after this.
const FIRST_REBALANCE: Span = Span::secs(5);

impl Controller {
    pub(super) fn take_over(&mut self) {
        let machines = [Step::StartReplicaMachine, Step::StartPartitionMachine];
        let announce = [Step::AnnounceBrokers];
        self.then([
            Step::ReadZkReassignment { failover: true },
            Step::ResumeDeletions,
            Step::ReadPreferredElection,
            Step::ScheduleRebalance(FIRST_REBALANCE),
        ]);
        if self.settings.behaviour.has(Fix::UpdateMetadataFirst) {
            self.then(machines);
            self.then(announce);
        } else {
            self.then(announce);
            self.then(machines);
        }
        if self.settings.behaviour.keeps_eligible() {
            let steps = [EligibleStep::LearnAllMinIsr, EligibleStep::StrikeOutFound];
            self.then(steps.map(Step::Eligible));
        }
        self.then([
            Step::DropNotices,
            Step::LoadBrokers,
            Step::LoadTopics,
            Step::LoadStates,
            Step::LoadDeletions,
        ]);
    }

    pub(super) fn drop_notices(&mut self, hands: &mut Hands<'_, '_>) {
        let ops = vec![
            exists(paths::PREFERRED_ELECTION, true),
            get_children(paths::LOG_DIR_EVENTS, true),
            get_children(paths::ISR_CHANGES, true),
        ];
        self.ask(hands, ops, Then::NoticesListed);
    }

    pub(super) fn notices_listed(&mut self, replies: &[Reply]) {
        let mut old: Vec<Path> = Vec::new();
        for (parent, reply) in [paths::LOG_DIR_EVENTS, paths::ISR_CHANGES]
            .into_iter()
            .zip(&replies[1..])
        {
            if let Ok(KeeperResult::Children(names, _)) = reply {
                old.extend(names.iter().map(|name| paths::child(parent, name)));
            }
        }
        self.agenda.push(Step::Delete(old));
    }

    /// Deletes znodes that may be gone already.
    pub(super) fn delete(&mut self, hands: &mut Hands<'_, '_>, all: Vec<Path>) {
        let ops: Vec<KeeperOp> = all
            .into_iter()
            .map(|path| self.checked(delete(path)))
            .collect();
        self.ask(hands, ops, Then::Done);
    }

    pub(super) fn load_states(&mut self) {
        for (broker, registered) in &self.context.brokers {
            self.channels.add(*broker, registered.endpoint.clone());
        }
        let all = self.context.assignments.keys().cloned().collect();
        self.agenda.push(Step::RefreshLeadership(all));
    }

    /// `updateLeaderAndIsrCache`.
    pub(super) fn refresh_leadership(
        &mut self,
        hands: &mut Hands<'_, '_>,
        partitions: Vec<TopicPartition>,
    ) {
        let read = |partition| get_data(paths::partition_state(partition), false);
        let ops = partitions.iter().map(read).collect();
        self.ask(hands, ops, Then::LeadershipRead(partitions));
    }

    pub(super) fn leadership_read(&mut self, partitions: Vec<TopicPartition>, replies: &[Reply]) {
        for (partition, reply) in partitions.into_iter().zip(replies) {
            if let Some(state) = decode_state(reply) {
                self.context.leadership.insert(partition, state);
            }
        }
    }

    /// Kafka names no partition here. A broker that has just started then is told what it leads before it knows what there
    /// is, and as a transaction coordinator takes what it does not know for deleted.
    pub(super) fn announce_brokers(&mut self) {
        let partitions = if self.settings.behaviour.has(Fix::PartitionsBeforeOrders) {
            self.context.leadership.keys().cloned().collect()
        } else {
            Vec::new()
        };
        self.agenda.push(Step::SendMetadata {
            brokers: self.context.registered(),
            partitions,
        });
    }

    /// `ReplicaStateMachine.startup`.
    pub(super) fn start_replica_machine(&mut self) {
        let all = self.context.replicas_of(self.context.assignments.keys());
        let (mut online, mut offline) = (Vec::new(), Vec::new());
        for replica in all {
            let up = self.context.is_online(replica.broker, &replica.partition);
            // Replicas on dead brokers of topics that are being deleted must not hold up the others.
            let (phase, list) = if up {
                (ReplicaPhase::Online, &mut online)
            } else {
                (ReplicaPhase::DeletionIneligible, &mut offline)
            };
            self.context.replicas.insert(replica.clone(), phase);
            list.push(replica);
        }
        self.then([
            Step::Replicas {
                replicas: online,
                target: ReplicaPhase::Online,
            },
            Step::Replicas {
                replicas: offline,
                target: ReplicaPhase::Offline,
            },
        ]);
    }

    /// `PartitionStateMachine.startup`.
    pub(super) fn start_partition_machine(&mut self) {
        for partition in self.context.assignments.keys() {
            let phase = match self.context.leadership.get(partition) {
                None => PartitionPhase::New,
                Some(known) => {
                    let leader = known.state.leader;
                    if leader.is_some_and(|leader| self.context.is_online(leader, partition)) {
                        PartitionPhase::Online
                    } else {
                        PartitionPhase::Offline
                    }
                }
            };
            self.context.partitions.insert(partition.clone(), phase);
        }
        self.agenda.push(Step::TriggerOnline(None));
    }

    pub(super) fn schedule_rebalance(&mut self, hands: &mut Hands<'_, '_>, after: Span) {
        if self.settings.auto_rebalance {
            let timer = TimerOwner::Controller.timer(REBALANCE_TIMER);
            hands.io.set_timer(timer, hands.now.mono + after);
        }
    }
}

/// The state in an answer to a read of `…/state`.
pub(super) fn decode_state(reply: &Reply) -> Option<PartitionState> {
    match reply {
        Ok(KeeperResult::Data(data, stat)) => PartitionState::decode(data, stat.version),
        Ok(_) | Err(_) => None,
    }
}
