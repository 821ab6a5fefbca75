//! The requests that one state change makes necessary, collected per broker (`ControllerBrokerRequestBatch`).
//!
//! Left out: several listeners.

use super::context::ControllerContext;
use crate::znode::json::PartitionState;
use protocol::api::cluster::{
    ControllerStamp, LeaderAndIsrPartition, LeaderAndIsrRequest, LiveBroker, StopReplicaPartition,
    StopReplicaRequest, UpdateMetadataPartition, UpdateMetadataRequest,
};
use protocol::api::{RequestBody, TopicIds};
use protocol::behaviour::{Behaviour, Fix, InterBrokerProtocol};
use protocol::ids::{BrokerId, TopicPartition};
use std::collections::{BTreeMap, BTreeSet};

/// `LeaderAndIsr.EpochDuringDelete`.
const EPOCH_DURING_DELETE: i32 = -2;
/// `LeaderAndIsr.NoEpoch`.
const NO_EPOCH: i32 = -1;

/// A request for a broker.
#[derive(Clone, Debug, PartialEq)]
pub struct Outgoing {
    /// To whom.
    pub broker: BrokerId,
    /// In which version.
    pub api_version: i16,
    /// What.
    pub body: RequestBody,
}

/// The batch.
#[derive(Clone, Debug, Default)]
pub struct RequestBatch {
    leader_and_isr: BTreeMap<BrokerId, BTreeMap<TopicPartition, LeaderAndIsrPartition>>,
    stop_replica: BTreeMap<BrokerId, BTreeMap<TopicPartition, StopReplicaPartition>>,
    metadata_brokers: BTreeSet<BrokerId>,
    metadata_partitions: BTreeMap<TopicPartition, UpdateMetadataPartition>,
}

impl RequestBatch {
    /// Tells brokers that they lead or follow a partition, and everybody about its state.
    pub fn leader_and_isr(
        &mut self,
        context: &ControllerContext,
        brokers: &[BrokerId],
        partition: &TopicPartition,
        (state, is_new): (&PartitionState, bool),
    ) {
        for broker in brokers {
            let partitions = self.leader_and_isr.entry(*broker).or_default();
            let already_new = partitions.get(partition).is_some_and(|told| told.is_new);
            let assignment = context.full_assignment(partition);
            let told = LeaderAndIsrPartition {
                partition: partition.clone(),
                controller_epoch: state.controller_epoch,
                state: state.state.clone(),
                replicas: assignment.replicas,
                adding_replicas: assignment.adding,
                removing_replicas: assignment.removing,
                is_new: is_new || already_new,
            };
            partitions.insert(partition.clone(), told);
        }
        self.update_metadata(context, context.registered(), [partition]);
    }

    /// Tells a broker to stop being a replica.
    pub fn stop_replica(
        &mut self,
        context: &ControllerContext,
        broker: BrokerId,
        partition: &TopicPartition,
        delete: bool,
    ) {
        let leader_epoch = if context.is_to_be_deleted(&partition.topic) {
            EPOCH_DURING_DELETE
        } else {
            let known = context.leadership.get(partition);
            known.map_or(NO_EPOCH, |known| known.state.leader_epoch.0)
        };
        let partitions = self.stop_replica.entry(broker).or_default();
        let already = partitions.get(partition).is_some_and(|told| told.delete);
        let told = StopReplicaPartition {
            partition: partition.clone(),
            leader_epoch,
            delete: delete || already,
        };
        partitions.insert(partition.clone(), told);
    }

    /// Tells brokers about the cluster and about these partitions, as far as they have a leader.
    pub fn update_metadata<'a>(
        &mut self,
        context: &ControllerContext,
        brokers: impl IntoIterator<Item = BrokerId>,
        partitions: impl IntoIterator<Item = &'a TopicPartition>,
    ) {
        self.metadata_brokers.extend(brokers);
        for partition in partitions {
            let Some(known) = context.leadership.get(partition) else {
                continue;
            };
            let replicas = context.assignment(partition).to_vec();
            let offline = |id: &BrokerId| !context.is_online(*id, partition);
            let told = UpdateMetadataPartition {
                partition: partition.clone(),
                controller_epoch: known.controller_epoch,
                state: known.state.clone(),
                deleted: context.is_to_be_deleted(&partition.topic),
                offline_replicas: replicas.iter().copied().filter(offline).collect(),
                replicas,
            };
            self.metadata_partitions.insert(partition.clone(), told);
        }
    }

    /// Everything collected, in Kafka's order: LeaderAndIsr, UpdateMetadata, StopReplica. The batch is empty afterwards.
    pub fn take(
        &mut self,
        context: &ControllerContext,
        behaviour: &Behaviour,
        controller: BrokerId,
    ) -> Vec<Outgoing> {
        let batch = std::mem::take(self);
        let sender = Sender {
            context,
            behaviour,
            controller,
        };
        let mut out = sender.leader_and_isr(batch.leader_and_isr);
        let partitions: Vec<_> = batch.metadata_partitions.into_values().collect();
        out.extend(sender.update_metadata(&batch.metadata_brokers, &partitions));
        out.extend(sender.stop_replica(batch.stop_replica));
        out
    }
}

struct Sender<'a> {
    context: &'a ControllerContext,
    behaviour: &'a Behaviour,
    controller: BrokerId,
}

impl Sender<'_> {
    fn stamp(&self, to: BrokerId) -> ControllerStamp {
        let protocol = self.behaviour.inter_broker_protocol;
        let named = protocol.supports_broker_epoch() && self.behaviour.has(Fix::BrokerEpoch);
        let registered = self.context.brokers.get(&to).filter(|_| named);
        ControllerStamp {
            controller_id: self.controller,
            controller_epoch: self.context.epoch,
            broker_epoch: registered.map(|broker| broker.epoch),
        }
    }

    fn at(&self, steps: &[(InterBrokerProtocol, i16)]) -> i16 {
        let protocol = self.behaviour.inter_broker_protocol;
        let reached = steps.iter().filter(|(from, _)| protocol >= *from);
        reached.map(|(_, version)| *version).max().unwrap_or(0)
    }

    fn ids<'a>(
        &self,
        has_room: bool,
        partitions: impl Iterator<Item = &'a TopicPartition>,
    ) -> TopicIds {
        let named = partitions.take_while(|_| has_room);
        self.context.ids_of(named)
    }

    fn leader_and_isr(
        &self,
        requests: BTreeMap<BrokerId, BTreeMap<TopicPartition, LeaderAndIsrPartition>>,
    ) -> Vec<Outgoing> {
        let api_version = self.at(&[
            (InterBrokerProtocol::V1_0Iv0, 1),
            (InterBrokerProtocol::V2_2Iv0, 2),
            (InterBrokerProtocol::V2_4Iv0, 3),
            (InterBrokerProtocol::V2_4Iv1, 4),
            (InterBrokerProtocol::V2_8Iv1, 5),
        ]);
        let leaving_too = self.behaviour.has(Fix::LeaderAndIsrToLeaving);
        let mut out = Vec::new();
        for (broker, partitions) in requests {
            let reached = if leaving_too {
                self.context.is_registered(broker)
            } else {
                self.context.is_live(broker)
            };
            if !reached {
                continue;
            }
            let mut partitions: Vec<_> = partitions.into_values().collect();
            if api_version < 3 {
                for told in &mut partitions {
                    told.adding_replicas.clear();
                    told.removing_replicas.clear();
                }
            }
            let leaders: BTreeSet<_> = partitions.iter().filter_map(|p| p.state.leader).collect();
            let live = self.context.live_brokers().into_iter();
            let named = partitions.iter().map(|told| &told.partition);
            let body = LeaderAndIsrRequest {
                controller: self.stamp(broker),
                live_leaders: live.filter(|broker| leaders.contains(&broker.id)).collect(),
                topic_ids: self.ids(api_version >= 5, named),
                partitions,
            };
            out.push(Outgoing {
                broker,
                api_version,
                body: body.into(),
            });
        }
        out
    }

    fn update_metadata(
        &self,
        brokers: &BTreeSet<BrokerId>,
        partitions: &[UpdateMetadataPartition],
    ) -> Vec<Outgoing> {
        let api_version = self.at(&[
            (InterBrokerProtocol::V0_9_0, 1),
            (InterBrokerProtocol::V0_10_0Iv1, 2),
            (InterBrokerProtocol::V0_10_2Iv0, 3),
            (InterBrokerProtocol::V1_0Iv0, 4),
            (InterBrokerProtocol::V2_2Iv0, 5),
            (InterBrokerProtocol::V2_4Iv1, 6),
            (InterBrokerProtocol::V2_8Iv1, 7),
        ]);
        let live: Vec<LiveBroker> = self.context.live_brokers();
        let named = partitions.iter().map(|told| &told.partition);
        let topic_ids = self.ids(api_version >= 7, named);
        brokers
            .iter()
            .filter(|broker| self.context.is_registered(**broker))
            .map(|broker| {
                let body = UpdateMetadataRequest {
                    controller: self.stamp(*broker),
                    partitions: partitions.to_vec(),
                    topic_ids: topic_ids.clone(),
                    live_brokers: live.clone(),
                };
                Outgoing {
                    broker: *broker,
                    api_version,
                    body: body.into(),
                }
            })
            .collect()
    }

    fn stop_replica(
        &self,
        requests: BTreeMap<BrokerId, BTreeMap<TopicPartition, StopReplicaPartition>>,
    ) -> Vec<Outgoing> {
        let api_version = self.at(&[
            (InterBrokerProtocol::V2_2Iv0, 1),
            (InterBrokerProtocol::V2_4Iv1, 2),
            (InterBrokerProtocol::V2_6Iv0, 3),
        ]);
        let fences = self.behaviour.inter_broker_protocol.fences_stop_replica()
            && self.behaviour.has(Fix::StopReplicaEpoch);
        let mut out = Vec::new();
        for (broker, partitions) in requests {
            if !self.context.is_registered(broker) {
                continue;
            }
            let mut partitions: Vec<_> = partitions.into_values().collect();
            if !fences {
                for told in &mut partitions {
                    told.leader_epoch = NO_EPOCH;
                }
            }
            // Before version 3 one flag counts for the whole request, so that there are two.
            let groups = if api_version >= 3 {
                vec![partitions]
            } else {
                let (delete, keep) = partitions.into_iter().partition(|told| told.delete);
                vec![keep, delete]
            };
            for partitions in groups.into_iter().filter(|group| !group.is_empty()) {
                let body = StopReplicaRequest {
                    controller: self.stamp(broker),
                    partitions,
                };
                out.push(Outgoing {
                    broker,
                    api_version,
                    body: body.into(),
                });
            }
        }
        out
    }
}
