//! The replica state machine: starting and stopping replicas, and taking dead ones out of the ISR (`ZkReplicaStateMachine`).

use super::context::Replica;
use super::election::without;
use super::failover::decode_state;
use super::replica_phase::ReplicaPhase;
use super::step::{Step, Then};
use super::{Controller, Reply, note};
use crate::hands::Hands;
use crate::keeper_session::get_data;
use crate::znode::json::PartitionState;
use crate::znode::paths;
use protocol::api::cluster::LeaderAndIsr;
use protocol::behaviour::Fix;
use protocol::error_code::KeeperError;
use protocol::ids::{BrokerId, PartitionEpoch, TopicName, TopicPartition};
use protocol::keeper::KeeperResult;
use protocol::note::{ControllerNote, ElectionKind};
use std::collections::{BTreeMap, BTreeSet};

impl Controller {
    /// `handleStateChanges`: replicas that may not pass are left as they are.
    pub(super) fn replicas(&mut self, replicas: Vec<Replica>, target: ReplicaPhase) {
        let may = |replica: &Replica| self.context.replica_phase(replica).may_become(target);
        let mut valid: Vec<_> = replicas.into_iter().filter(may).collect();
        valid.sort_by_key(|replica| replica.broker);
        self.agenda.push(Step::SendBatch);
        match target {
            ReplicaPhase::New => valid.into_iter().for_each(|replica| self.create(replica)),
            ReplicaPhase::Online => valid
                .into_iter()
                .for_each(|replica| self.bring_online(replica)),
            ReplicaPhase::Offline => self.take_offline(&valid),
            ReplicaPhase::DeletionStarted => {
                for replica in valid {
                    let partition = &replica.partition;
                    self.batch
                        .stop_replica(&self.context, replica.broker, partition, true);
                    self.context.replicas.insert(replica, target);
                }
            }
            ReplicaPhase::DeletionSuccessful | ReplicaPhase::DeletionIneligible => {
                for replica in valid {
                    self.context.replicas.insert(replica, target);
                }
            }
            ReplicaPhase::NonExistent => {
                for replica in valid {
                    if let Some(all) = self.context.assignments.get_mut(&replica.partition) {
                        all.retain(|id| *id != replica.broker);
                    }
                    self.context.replicas.remove(&replica);
                }
            }
        }
    }

    fn create(&mut self, replica: Replica) {
        if let Some(known) = self.context.leadership.get(&replica.partition) {
            if known.state.leader == Some(replica.broker) {
                return;
            }
            let to = [replica.broker];
            let told = (known, true);
            self.batch
                .leader_and_isr(&self.context, &to, &replica.partition, told);
        }
        self.context.replicas.insert(replica, ReplicaPhase::New);
    }

    fn bring_online(&mut self, replica: Replica) {
        if self.context.replica_phase(&replica) == ReplicaPhase::New {
            let all = self.context.assignments.get_mut(&replica.partition);
            if let Some(all) = all.filter(|all| !all.contains(&replica.broker)) {
                all.push(replica.broker);
            }
        } else if let Some(known) = self.context.leadership.get(&replica.partition) {
            let to = [replica.broker];
            let told = (known, false);
            self.batch
                .leader_and_isr(&self.context, &to, &replica.partition, told);
        }
        self.context.replicas.insert(replica, ReplicaPhase::Online);
    }

    fn take_offline(&mut self, replicas: &[Replica]) {
        let mut led: BTreeMap<BrokerId, Vec<TopicPartition>> = BTreeMap::new();
        for replica in replicas {
            let partition = &replica.partition;
            self.batch
                .stop_replica(&self.context, replica.broker, partition, false);
            if self.context.leadership.contains_key(partition) {
                let partitions = led.entry(replica.broker).or_default();
                partitions.push(partition.clone());
            } else {
                let everybody = self.context.registered();
                self.batch
                    .update_metadata(&self.context, everybody, [partition]);
                self.context
                    .replicas
                    .insert(replica.clone(), ReplicaPhase::Offline);
            }
        }
        self.then(
            led.into_iter()
                .map(|(broker, partitions)| Step::TakeOut { broker, partitions })
                .collect::<Vec<_>>(),
        );
    }

    /// `doRemoveReplicasFromIsr`: reads the states first.
    pub(super) fn take_out(
        &mut self,
        hands: &mut Hands<'_, '_>,
        broker: BrokerId,
        partitions: Vec<TopicPartition>,
    ) {
        let read = |partition| get_data(paths::partition_state(partition), false);
        let mut ops: Vec<_> = partitions.iter().map(read).collect();
        if !self.settings.behaviour.has(Fix::KeepLastIsrWhenUnclean) {
            let read = |topic: &TopicName| get_data(paths::topic_config(topic), false);
            ops.extend(topics_of(&partitions).iter().map(read));
        }
        self.ask(hands, ops, Then::IsrRead { broker, partitions });
    }

    pub(super) fn isr_read(
        &mut self,
        hands: &mut Hands<'_, '_>,
        (broker, partitions): (BrokerId, Vec<TopicPartition>),
        replies: &[Reply],
    ) {
        let mut changes: Vec<(TopicPartition, PartitionState)> = Vec::new();
        let (states, configs) = replies.split_at(partitions.len());
        let unclean = self.unclean_topics(topics_of(&partitions), configs);
        let behaviour = self.settings.behaviour;
        // Where the eligible are kept, the ISR may become empty (KIP-966).
        let keeps_last = behaviour.has(Fix::KeepLastIsr) && !behaviour.keeps_eligible();
        for (partition, reply) in partitions.into_iter().zip(states) {
            let Some(known) = decode_state(reply) else {
                continue;
            };
            if known.controller_epoch > self.context.epoch {
                continue;
            }
            let last_stays = keeps_last && !unclean.contains(&partition.topic);
            if let Some(state) = without(&known.state, broker, last_stays) {
                let after = self.changed(&partition, &known, state);
                changes.push((partition, after));
                continue;
            }
            // Out of the ISR already: only the brokers must hear of it. A version that is news is of a write of its own whose
            // answer was lost.
            let before = self.context.leadership.get(&partition);
            if before.is_some_and(|it| it.state.partition_epoch < known.state.partition_epoch) {
                note(hands.io, self.taken_out_note(&partition, &known.state));
            }
            let found = self.adopted(known);
            self.taken_out(broker, &partition, &found);
        }
        let mut ops = Vec::with_capacity(changes.len());
        for (partition, state) in &changes {
            ops.push(self.state_write(partition, state));
        }
        self.ask(hands, ops, Then::IsrWritten { broker, changes });
    }

    pub(super) fn isr_written(
        &mut self,
        hands: &mut Hands<'_, '_>,
        (broker, changes): (BrokerId, Vec<(TopicPartition, PartitionState)>),
        replies: &[Reply],
    ) {
        let mut again = Vec::new();
        for ((partition, mut known), reply) in changes.into_iter().zip(replies) {
            match reply {
                Ok(KeeperResult::DataSet(stat)) => {
                    known.state.partition_epoch = PartitionEpoch(stat.version);
                    note(hands.io, self.taken_out_note(&partition, &known.state));
                    self.taken_out(broker, &partition, &known);
                }
                Err(KeeperError::BadVersion) => again.push(partition),
                Ok(_) | Err(_) => {}
            }
        }
        if !again.is_empty() {
            self.agenda.push(Step::TakeOut {
                broker,
                partitions: again,
            });
        }
    }

    pub(super) fn taken_out_note(
        &self,
        partition: &TopicPartition,
        state: &LeaderAndIsr,
    ) -> ControllerNote {
        let partition = partition.clone();
        let isr = state.isr.clone();
        if state.leader.is_none() {
            ControllerNote::LeaderElected {
                partition,
                leader: None,
                leader_epoch: state.leader_epoch,
                isr,
                kind: ElectionKind::Clean,
                controller_epoch: self.context.epoch,
            }
        } else {
            ControllerNote::IsrWritten {
                partition,
                isr,
                leader_epoch: state.leader_epoch,
                partition_epoch: state.partition_epoch,
            }
        }
    }

    fn taken_out(&mut self, broker: BrokerId, partition: &TopicPartition, known: &PartitionState) {
        // First, because the metadata that goes out with the order is the context's.
        self.context
            .leadership
            .insert(partition.clone(), known.clone());
        if !self.context.is_to_be_deleted(&partition.topic) {
            let all = self.context.assignment(partition).iter().copied();
            let others: Vec<_> = all.filter(|id| *id != broker).collect();
            self.batch
                .leader_and_isr(&self.context, &others, partition, (known, false));
        }
        let partition = partition.clone();
        self.context
            .replicas
            .insert(Replica { partition, broker }, ReplicaPhase::Offline);
    }
}

pub(super) fn topics_of(partitions: &[TopicPartition]) -> Vec<TopicName> {
    let topics: BTreeSet<_> = partitions.iter().map(|of| &of.topic).collect();
    topics.into_iter().cloned().collect()
}
