//! The partition state machine: first leaders, elections, and partitions without leader (`ZkPartitionStateMachine`).
//!
//! An election reads the states, decides, and writes over the versions it read; what conflicts is read and decided again.

use super::context::ControllerContext;
use super::election::{Elected, Rule, Strategy, elect};
use super::failover::decode_state;
use super::partition_phase::PartitionPhase;
use super::step::{Step, Then};
use super::{Controller, Reply, note};
use crate::hands::Hands;
use crate::keeper_session::{create, get_data, set_data};
use crate::znode::json::{self, Eligible, PartitionState};
use crate::znode::paths;
use bytes::Bytes;
use protocol::api::cluster::LeaderAndIsr;
use protocol::behaviour::Fix;
use protocol::error_code::{ErrorCode, KeeperError};
use protocol::ids::{LeaderEpoch, PartitionEpoch, TopicName, TopicPartition};
use protocol::keeper::KeeperResult;
use protocol::note::{ControllerNote, ElectionKind};
use std::collections::BTreeSet;

impl Controller {
    /// `handleStateChanges`: partitions that may not pass are left as they are.
    pub(super) fn partitions(
        &mut self,
        partitions: Vec<TopicPartition>,
        target: PartitionPhase,
        strategy: Option<Strategy>,
    ) {
        let may =
            |partition: &TopicPartition| self.context.partition_phase(partition).may_become(target);
        let valid: Vec<_> = partitions.into_iter().filter(may).collect();
        if target != PartitionPhase::Online {
            for partition in valid {
                if target == PartitionPhase::NonExistent {
                    self.context.partitions.remove(&partition);
                } else {
                    self.context.partitions.insert(partition, target);
                }
            }
            return;
        }
        let is_new = |partition: &TopicPartition| {
            self.context.partition_phase(partition) == PartitionPhase::New
        };
        let (new, old): (Vec<_>, Vec<_>) = valid.into_iter().partition(is_new);
        self.elections.clear();
        self.agenda.push(Step::SendBatch);
        if let (Some(strategy), false) = (strategy, old.is_empty()) {
            self.agenda.push(Step::Elect {
                partitions: old,
                strategy,
            });
        }
        if !new.is_empty() {
            self.agenda.push(Step::CreateStates(new));
        }
    }

    /// `triggerOnlinePartitionStateChange`: everything without leader is tried again.
    pub(super) fn trigger_online(&mut self, topic: Option<&TopicName>) {
        let waits = |(partition, phase): &(&TopicPartition, &PartitionPhase)| {
            matches!(phase, PartitionPhase::New | PartitionPhase::Offline)
                && topic.is_none_or(|topic| partition.topic == *topic)
                && !self.context.is_to_be_deleted(&partition.topic)
        };
        let all = self.context.partitions.iter().filter(waits);
        let partitions = all.map(|(partition, _)| partition.clone()).collect();
        self.agenda.push(Step::Partitions {
            partitions,
            target: PartitionPhase::Online,
            strategy: Some(Strategy::Offline {
                allow_unclean: false,
            }),
        });
    }

    /// `initializeLeaderAndIsrForPartitions`: the first live replica leads, all live ones are in sync.
    pub(super) fn create_states(
        &mut self,
        hands: &mut Hands<'_, '_>,
        partitions: Vec<TopicPartition>,
    ) {
        let mut created = Vec::new();
        for partition in partitions {
            let live = self.context.online_replicas(&partition);
            let Some(leader) = live.first().copied() else {
                continue;
            };
            let state = LeaderAndIsr {
                leader: Some(leader),
                leader_epoch: LeaderEpoch(0),
                isr: live,
                partition_epoch: PartitionEpoch(0),
            };
            let controller_epoch = self.context.epoch;
            created.push((
                partition,
                PartitionState {
                    state,
                    controller_epoch,
                    eligible: Eligible::default(),
                },
            ));
        }
        let topics: BTreeSet<_> = created.iter().map(|(of, _)| of.topic.clone()).collect();
        // One pipeline: ZooKeeper works in order, so that parents are there when their children are made.
        let parents = topics.iter().map(paths::partitions);
        let parents = parents.chain(created.iter().map(|(of, _)| paths::partition(of)));
        let mut ops: Vec<_> = parents
            .map(|path| self.checked(create(path, Bytes::new())))
            .collect();
        for (partition, state) in &created {
            let op = create(paths::partition_state(partition), state.encode());
            ops.push(self.checked(op));
        }
        self.ask(hands, ops, Then::StatesCreated(created));
    }

    pub(super) fn states_created(
        &mut self,
        hands: &mut Hands<'_, '_>,
        created: Vec<(TopicPartition, PartitionState)>,
        replies: &[Reply],
    ) {
        let states = &replies[replies.len() - created.len()..];
        for ((partition, state), reply) in created.into_iter().zip(states) {
            // NODEEXISTS: another controller, or our own first try; the next failover or trigger reads it.
            if reply.is_ok() {
                let live = state.state.isr.clone();
                self.led(hands, (&partition, &state), ElectionKind::New);
                self.batch
                    .leader_and_isr(&self.context, &live, &partition, (&state, true));
            }
        }
    }

    /// A leader stands in the keeper.
    fn led(
        &mut self,
        hands: &mut Hands<'_, '_>,
        (partition, known): (&TopicPartition, &PartitionState),
        kind: ElectionKind,
    ) {
        self.context
            .leadership
            .insert(partition.clone(), known.clone());
        self.context
            .partitions
            .insert(partition.clone(), PartitionPhase::Online);
        let elected = ControllerNote::LeaderElected {
            partition: partition.clone(),
            leader: known.state.leader,
            leader_epoch: known.state.leader_epoch,
            isr: known.state.isr.clone(),
            kind,
            controller_epoch: known.controller_epoch,
        };
        note(hands.io, elected);
    }

    /// `doElectLeaderForPartitions`.
    pub(super) fn elect(
        &mut self,
        hands: &mut Hands<'_, '_>,
        partitions: Vec<TopicPartition>,
        strategy: Strategy,
    ) {
        let read = |partition| get_data(paths::partition_state(partition), false);
        let ops = partitions.iter().map(read).collect();
        let then = Then::ElectionRead {
            partitions,
            strategy,
        };
        self.ask(hands, ops, then);
    }

    pub(super) fn election_read(
        &mut self,
        hands: &mut Hands<'_, '_>,
        (partitions, strategy): (Vec<TopicPartition>, Strategy),
        replies: &[Reply],
    ) {
        let mut present = Vec::new();
        for (partition, reply) in partitions.into_iter().zip(replies) {
            match decode_state(reply) {
                Some(known) if known.controller_epoch <= self.context.epoch => {
                    present.push((partition, known));
                }
                // No state, or one of a later controller.
                Some(_) | None => {
                    self.elections.insert(partition, failure(strategy));
                }
            }
        }
        let topics: Vec<TopicName> = if strategy
            == (Strategy::Offline {
                allow_unclean: false,
            }) {
            let lost = |(partition, known): &&(TopicPartition, PartitionState)| {
                !any_in_sync(&self.context, partition, &known.state)
            };
            let topics: BTreeSet<_> = present
                .iter()
                .filter(lost)
                .map(|(of, _)| &of.topic)
                .collect();
            topics.into_iter().cloned().collect()
        } else {
            Vec::new()
        };
        let read = |topic| get_data(paths::topic_config(topic), false);
        let ops = topics.iter().map(read).collect();
        let then = Then::SettingsRead {
            present,
            topics,
            strategy,
        };
        self.ask(hands, ops, then);
    }

    pub(super) fn settings_read(
        &mut self,
        hands: &mut Hands<'_, '_>,
        (present, strategy): (Vec<(TopicPartition, PartitionState)>, Strategy),
        unclean_topics: &BTreeSet<TopicName>,
    ) {
        let all_unclean = strategy
            == (Strategy::Offline {
                allow_unclean: true,
            });
        let mut elected = Vec::new();
        let keeps_eligible = self.settings.behaviour.keeps_eligible();
        for (partition, known) in present {
            let rule = Rule {
                strategy,
                unclean: all_unclean || unclean_topics.contains(&partition.topic),
                min_isr: keeps_eligible.then(|| self.min_isr(&partition)),
            };
            match elect(&self.context, &partition, &known, rule) {
                Some(winner) => elected.push((partition, winner)),
                None => {
                    self.elections.insert(partition, failure(strategy));
                }
            }
        }
        let mut ops = Vec::with_capacity(elected.len());
        for (partition, winner) in &elected {
            ops.push(self.state_write(partition, &winner.known));
        }
        let then = Then::ElectionWritten { elected, strategy };
        self.ask(hands, ops, then);
    }

    /// Which of these topics allow unclean election, by their settings or else by the broker's.
    pub(super) fn unclean_topics(
        &self,
        topics: Vec<TopicName>,
        replies: &[Reply],
    ) -> BTreeSet<TopicName> {
        let is_setting = self.settings.behaviour.has(Fix::UncleanElectionSetting);
        let allows = |reply: &Reply| {
            if !is_setting {
                return true;
            }
            let config = match reply {
                Ok(KeeperResult::Data(data, _)) => json::decode_config(data),
                Ok(_) | Err(_) => std::collections::BTreeMap::new(),
            };
            config
                .get("unclean.leader.election.enable")
                .map_or(self.settings.unclean_election, |value| value == "true")
        };
        topics
            .into_iter()
            .zip(replies)
            .filter(|(_, reply)| allows(reply))
            .map(|(topic, _)| topic)
            .collect()
    }

    /// A write of a partition's state over the version it was read at.
    pub(super) fn state_write(
        &self,
        partition: &TopicPartition,
        known: &PartitionState,
    ) -> protocol::keeper::KeeperOp {
        let version = known.state.partition_epoch.0;
        let path = paths::partition_state(partition);
        self.checked(set_data(path, known.encode(), version))
    }

    /// A state that was found, as this controller tells of it.
    pub(super) fn adopted(&self, known: PartitionState) -> PartitionState {
        PartitionState {
            controller_epoch: self.context.epoch,
            ..known
        }
    }

    pub(super) fn election_written(
        &mut self,
        hands: &mut Hands<'_, '_>,
        (elected, strategy): (Vec<(TopicPartition, Elected)>, Strategy),
        replies: &[Reply],
    ) {
        let mut again = Vec::new();
        for ((partition, winner), reply) in elected.into_iter().zip(replies) {
            match reply {
                Ok(KeeperResult::DataSet(stat)) => {
                    let mut known = winner.known;
                    known.state.partition_epoch = PartitionEpoch(stat.version);
                    self.led(hands, (&partition, &known), winner.kind);
                    self.elections.insert(partition.clone(), ErrorCode::None);
                    let told = (&known, false);
                    self.batch
                        .leader_and_isr(&self.context, &winner.recipients, &partition, told);
                }
                Err(KeeperError::BadVersion) => again.push(partition),
                Ok(_) | Err(_) => {
                    self.elections.insert(partition, failure(strategy));
                }
            }
        }
        if !again.is_empty() {
            self.agenda.push(Step::Elect {
                partitions: again,
                strategy,
            });
        }
    }
}

fn any_in_sync(
    context: &ControllerContext,
    partition: &TopicPartition,
    state: &LeaderAndIsr,
) -> bool {
    state.isr.iter().any(|id| context.is_online(*id, partition))
}

/// What a client is told when nobody could be elected.
fn failure(strategy: Strategy) -> ErrorCode {
    match strategy {
        Strategy::Preferred => ErrorCode::PreferredLeaderNotAvailable,
        Strategy::Offline { .. } | Strategy::Reassign | Strategy::ControlledShutdown => {
            ErrorCode::EligibleLeadersNotAvailable
        }
    }
}
