//! What the controller knows of the cluster (`ControllerContext`).
//!
//! It is read from the keeper at failover and kept up to date by the controller's own writes and by watches; nothing else
//! of the broker sees it. Left out: metrics.

use super::partition_phase::PartitionPhase;
use super::replica_phase::ReplicaPhase;
use crate::znode::json::PartitionState;
use protocol::api::TopicIds;
use protocol::api::cluster::LiveBroker;
use protocol::ids::{
    BrokerEpoch, BrokerId, ControllerEpoch, Endpoint, PartitionIndex, TopicName, TopicPartition,
};
use std::collections::{BTreeMap, BTreeSet};

/// A registered broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegisteredBroker {
    /// Where it listens.
    pub endpoint: Endpoint,
    /// The czxid of its registration.
    pub epoch: BrokerEpoch,
    /// It says that the process before stopped in good order (KIP-966).
    pub after_clean_shutdown: bool,
}

/// One replica of one partition (`PartitionAndReplica`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Replica {
    /// The partition.
    pub partition: TopicPartition,
    /// The broker that holds it.
    pub broker: BrokerId,
}

/// The replicas of a partition, and which of them come and go (`ReplicaAssignment`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReplicaAssignment {
    /// All of them, preferred leader first.
    pub replicas: Vec<BrokerId>,
    /// Those that are not replicas yet.
    pub adding: Vec<BrokerId>,
    /// Those that will be replicas no more.
    pub removing: Vec<BrokerId>,
}

impl ReplicaAssignment {
    /// Nothing comes or goes.
    pub fn settled(replicas: Vec<BrokerId>) -> Self {
        Self {
            replicas,
            ..Self::default()
        }
    }

    /// Whether replicas come or go.
    pub fn is_moving(&self) -> bool {
        !self.adding.is_empty() || !self.removing.is_empty()
    }

    /// The replicas before the move.
    pub fn origin(&self) -> Vec<BrokerId> {
        let all = self.replicas.iter().copied();
        all.filter(|id| !self.adding.contains(id)).collect()
    }

    /// The replicas after the move.
    pub fn target(&self) -> Vec<BrokerId> {
        let all = self.replicas.iter().copied();
        all.filter(|id| !self.removing.contains(id)).collect()
    }

    /// A move from where it began to `target`.
    #[must_use]
    pub fn reassign_to(&self, target: &[BrokerId]) -> Self {
        let origin = self.origin();
        let new = |id: &BrokerId| !target.contains(id);
        let mut replicas = target.to_vec();
        replicas.extend(origin.iter().copied().filter(new));
        Self {
            adding: target
                .iter()
                .copied()
                .filter(|id| !origin.contains(id))
                .collect(),
            removing: origin.into_iter().filter(new).collect(),
            replicas,
        }
    }

    /// What a wish makes of it; `None` where there is nothing to cancel (`maybeBuildReassignment`).
    pub fn wanted(&self, target: Option<&[BrokerId]>) -> Option<Self> {
        match target {
            Some(target) => Some(self.reassign_to(target)),
            None if self.is_moving() => Some(self.reassign_to(&self.origin())),
            None => None,
        }
    }
}

/// The context.
#[derive(Clone, Debug, Default)]
pub struct ControllerContext {
    /// The epoch this controller was elected in.
    pub epoch: ControllerEpoch,
    /// The version of `/controller_epoch` it wrote, checked by each of its writes.
    pub epoch_version: i32,
    /// Brokers that are registered, those that are leaving included.
    pub brokers: BTreeMap<BrokerId, RegisteredBroker>,
    /// Brokers in controlled shutdown.
    pub shutting_down: BTreeSet<BrokerId>,
    /// Partitions on failed log directories, by broker.
    pub offline_dirs: BTreeMap<BrokerId, BTreeSet<TopicPartition>>,
    /// All topics.
    pub topics: BTreeSet<TopicName>,
    /// The ids of those that have one (KIP-516).
    pub topic_ids: TopicIds,
    /// The replicas of each partition, preferred leader first.
    pub assignments: BTreeMap<TopicPartition, Vec<BrokerId>>,
    /// Which of them come and go; partitions that are not moved are not there.
    pub moves: BTreeMap<TopicPartition, ReplicaAssignment>,
    /// Partitions whose move is not finished (`partitionsBeingReassigned`).
    pub reassigning: BTreeSet<TopicPartition>,
    /// Leader and in-sync replicas as last read or written.
    pub leadership: BTreeMap<TopicPartition, PartitionState>,
    /// `min.insync.replicas` of topics, where who is eligible is kept (KIP-966).
    pub min_isr: BTreeMap<TopicName, usize>,
    /// The partition state machine.
    pub partitions: BTreeMap<TopicPartition, PartitionPhase>,
    /// The replica state machine.
    pub replicas: BTreeMap<Replica, ReplicaPhase>,
    /// Topics that shall be deleted.
    pub to_delete: BTreeSet<TopicName>,
    /// Those whose deletion has begun.
    pub deleting: BTreeSet<TopicName>,
    /// Those that must wait for a broker to come back.
    pub ineligible: BTreeSet<TopicName>,
}

impl ControllerContext {
    /// Registered and not leaving.
    pub fn is_live(&self, broker: BrokerId) -> bool {
        self.brokers.contains_key(&broker) && !self.shutting_down.contains(&broker)
    }

    /// Registered.
    pub fn is_registered(&self, broker: BrokerId) -> bool {
        self.brokers.contains_key(&broker)
    }

    /// All registered brokers, leaving ones included.
    pub fn registered(&self) -> Vec<BrokerId> {
        self.brokers.keys().copied().collect()
    }

    /// All registered brokers as requests name them.
    pub fn live_brokers(&self) -> Vec<LiveBroker> {
        let one = |(id, broker): (&BrokerId, &RegisteredBroker)| LiveBroker {
            id: *id,
            endpoint: broker.endpoint.clone(),
        };
        self.brokers.iter().map(one).collect()
    }

    /// Whether a replica can serve: its broker lives and its directory works.
    pub fn is_online(&self, broker: BrokerId, partition: &TopicPartition) -> bool {
        self.is_live(broker) && self.dir_works(broker, partition)
    }

    /// The same, counting brokers in controlled shutdown as well.
    pub fn is_online_or_leaving(&self, broker: BrokerId, partition: &TopicPartition) -> bool {
        self.is_registered(broker) && self.dir_works(broker, partition)
    }

    fn dir_works(&self, broker: BrokerId, partition: &TopicPartition) -> bool {
        self.offline_dirs
            .get(&broker)
            .is_none_or(|failed| !failed.contains(partition))
    }

    /// The replicas of a partition; none when it is unknown.
    pub fn assignment(&self, partition: &TopicPartition) -> &[BrokerId] {
        self.assignments.get(partition).map_or(&[], Vec::as_slice)
    }

    /// The replicas of a partition and which of them come and go; nothing when it is unknown.
    pub fn full_assignment(&self, partition: &TopicPartition) -> ReplicaAssignment {
        let replicas = self.assignment(partition).to_vec();
        let known = self.moves.get(partition);
        known.map_or(ReplicaAssignment::settled(replicas.clone()), |known| {
            ReplicaAssignment {
                replicas,
                ..known.clone()
            }
        })
    }

    /// Takes an assignment over (`updatePartitionFullReplicaAssignment`).
    pub fn set_full_assignment(&mut self, partition: &TopicPartition, new: ReplicaAssignment) {
        let replicas = new.replicas.clone();
        self.assignments.insert(partition.clone(), replicas);
        if new.is_moving() {
            self.moves.insert(partition.clone(), new);
        } else {
            self.moves.remove(partition);
        }
    }

    /// The ids of the topics of these partitions, as far as they have one.
    pub fn ids_of<'a>(&self, partitions: impl Iterator<Item = &'a TopicPartition>) -> TopicIds {
        let known = partitions.filter_map(|of| self.topic_ids.get_key_value(&of.topic));
        known.map(|(topic, id)| (topic.clone(), *id)).collect()
    }

    /// Whether a partition of the topic is being moved.
    pub fn is_being_reassigned(&self, topic: &TopicName) -> bool {
        self.reassigning.iter().any(|of| of.topic == *topic)
    }

    /// The replicas of a partition that are online, in the order of the assignment.
    pub fn online_replicas(&self, partition: &TopicPartition) -> Vec<BrokerId> {
        let online = |id: &BrokerId| self.is_online(*id, partition);
        let all = self.assignment(partition).iter();
        all.copied().filter(online).collect()
    }

    /// All partitions of a topic.
    pub fn partitions_of(&self, topic: &TopicName) -> Vec<TopicPartition> {
        let first = TopicPartition {
            topic: topic.clone(),
            partition: PartitionIndex(i32::MIN),
        };
        self.assignments
            .range(first..)
            .map(|(partition, _)| partition)
            .take_while(|partition| partition.topic == *topic)
            .cloned()
            .collect()
    }

    /// All replicas of these partitions.
    pub fn replicas_of<'a>(
        &self,
        partitions: impl IntoIterator<Item = &'a TopicPartition>,
    ) -> Vec<Replica> {
        let mut all = Vec::new();
        for partition in partitions {
            for broker in self.assignment(partition) {
                let partition = partition.clone();
                let broker = *broker;
                all.push(Replica { partition, broker });
            }
        }
        all
    }

    /// All replicas of a topic.
    pub fn replicas_of_topic(&self, topic: &TopicName) -> Vec<Replica> {
        self.replicas_of(&self.partitions_of(topic))
    }

    /// All replicas on these brokers.
    pub fn replicas_on(&self, brokers: &[BrokerId]) -> Vec<Replica> {
        let all = self.replicas_of(self.assignments.keys());
        all.into_iter()
            .filter(|replica| brokers.contains(&replica.broker))
            .collect()
    }

    /// Whether a topic is to be deleted.
    pub fn is_to_be_deleted(&self, topic: &TopicName) -> bool {
        self.to_delete.contains(topic)
    }

    /// Partitions whose leader cannot serve any more.
    pub fn partitions_with_offline_leader(&self) -> Vec<TopicPartition> {
        let offline = |(partition, state): &(&TopicPartition, &PartitionState)| {
            let leader = state.state.leader;
            !leader.is_some_and(|leader| self.is_online(leader, partition))
                && !self.is_to_be_deleted(&partition.topic)
        };
        self.leadership
            .iter()
            .filter(offline)
            .map(|(partition, _)| partition.clone())
            .collect()
    }

    /// The phase of a replica.
    pub fn replica_phase(&self, replica: &Replica) -> ReplicaPhase {
        self.replicas
            .get(replica)
            .copied()
            .unwrap_or(ReplicaPhase::NonExistent)
    }

    /// The phase of a partition.
    pub fn partition_phase(&self, partition: &TopicPartition) -> PartitionPhase {
        self.partitions
            .get(partition)
            .copied()
            .unwrap_or(PartitionPhase::NonExistent)
    }

    /// The replicas of a topic in a phase.
    pub fn replicas_in(&self, topic: &TopicName, phase: ReplicaPhase) -> Vec<Replica> {
        let all = self.replicas_of_topic(topic).into_iter();
        all.filter(|replica| self.replica_phase(replica) == phase)
            .collect()
    }

    /// Forgets a topic.
    pub fn remove_topic(&mut self, topic: &TopicName) {
        for replica in self.replicas_of_topic(topic) {
            self.replicas.remove(&replica);
        }
        for partition in self.partitions_of(topic) {
            self.assignments.remove(&partition);
            self.moves.remove(&partition);
            self.reassigning.remove(&partition);
            self.leadership.remove(&partition);
            self.partitions.remove(&partition);
        }
        self.topics.remove(topic);
        self.topic_ids.remove(topic);
        self.min_isr.remove(topic);
        self.to_delete.remove(topic);
        self.deleting.remove(topic);
        self.ineligible.remove(topic);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(list: &[i32]) -> Vec<BrokerId> {
        list.iter().copied().map(BrokerId).collect()
    }

    #[test]
    fn a_move_keeps_the_old_replicas_behind_the_new_until_it_is_done() {
        let moved = ReplicaAssignment::settled(ids(&[1, 2, 3])).reassign_to(&ids(&[4, 2, 5]));
        assert_eq!(moved.replicas, ids(&[4, 2, 5, 1, 3]));
        assert_eq!(moved.adding, ids(&[4, 5]));
        assert_eq!(moved.removing, ids(&[1, 3]));
        assert_eq!(moved.target(), ids(&[4, 2, 5]));
        assert_eq!(moved.origin(), ids(&[2, 1, 3]));
    }

    #[test]
    fn another_wish_begins_where_the_first_began() {
        let moved = ReplicaAssignment::settled(ids(&[1, 2])).reassign_to(&ids(&[3, 4]));
        let again = moved.reassign_to(&ids(&[2, 5]));
        assert_eq!(again.replicas, ids(&[2, 5, 1]));
        assert_eq!((again.adding, again.removing), (ids(&[5]), ids(&[1])));
        let back = moved.wanted(None).unwrap();
        assert_eq!(back, ReplicaAssignment::settled(ids(&[1, 2])));
        assert_eq!(back.wanted(None), None, "nothing to cancel");
    }
}
