//! What the cluster looks like right now, put together from what its nodes say about themselves.
//!
//! Only the director looks at it, to find the node that has a role when a fault strikes; no core ever sees it.

use crate::scenario::target::Target;
use protocol::ids::{
    BrokerId, KeeperId, LeaderEpoch, NodeId, PartitionIndex, SessionId, TopicName, TopicPartition,
};
use protocol::java_hash::partition_for_id;
use protocol::keeper::KeeperRole;
use protocol::note::{ControllerNote, KeeperNote, Note, ReplicaNote};
use std::collections::{BTreeMap, BTreeSet};

/// Which node is which.
#[derive(Clone, Debug, Default)]
pub struct Directory {
    /// Brokers by id.
    pub brokers: BTreeMap<BrokerId, NodeId>,
    /// Keeper servers by id.
    pub keepers: BTreeMap<KeeperId, NodeId>,
    /// The scenario's clients by name.
    pub clients: BTreeMap<String, NodeId>,
    /// `offsets.topic.num.partitions`.
    pub offsets_partitions: i32,
    /// How many partitions `__transaction_state` has.
    pub transaction_partitions: i32,
    /// The log directories of each broker.
    pub log_dirs: BTreeMap<NodeId, Vec<String>>,
}

impl Directory {
    /// The top-level directory of a node's disk that holds its log directory of this number; a keeper's transaction log.
    pub fn disk_directory(&self, node: NodeId, number: u16) -> String {
        let path = self
            .log_dirs
            .get(&node)
            .and_then(|dirs| dirs.get(usize::from(number)));
        let path = path
            .map_or("datalog", String::as_str)
            .trim_start_matches('/');
        path.split('/').next().unwrap_or(path).to_owned()
    }

    /// The path of a broker's log directory of this number; `None` for who has none.
    pub fn log_dir(&self, node: NodeId, number: u16) -> Option<&str> {
        let directories = self.log_dirs.get(&node)?;
        let path = directories.get(usize::from(number))?;
        Some(path.trim_matches('/'))
    }
}

/// One partition as the cluster last agreed on it.
#[derive(Clone, Debug, Default)]
struct PartitionView {
    leader: Option<BrokerId>,
    isr: Vec<BrokerId>,
    replicas: Vec<BrokerId>,
    /// A broker has said that it leads in the newest epoch.
    led: bool,
    /// Its replicas have begun to move, and nobody has said that they are there.
    moving: bool,
    /// The newest leader epoch that a controller has told: one that stood still may tell of older ones later.
    epoch: LeaderEpoch,
}

/// The cluster.
#[derive(Clone, Debug, Default)]
pub struct ClusterView {
    directory: Directory,
    partitions: BTreeMap<TopicPartition, PartitionView>,
    controller: Option<BrokerId>,
    keeper_leader: Option<KeeperId>,
    topics: BTreeMap<TopicName, i32>,
    /// The keeper session each node was told last.
    sessions: BTreeMap<NodeId, SessionId>,
    /// Whom each named fault hit last.
    victims: BTreeMap<String, BTreeSet<NodeId>>,
}

impl ClusterView {
    /// Nothing known yet.
    pub fn new(directory: Directory) -> Self {
        Self {
            directory,
            ..Self::default()
        }
    }

    /// Which node is which.
    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    /// How many partitions a topic has, by the controller's word.
    pub fn partitions_of(&self, topic: &TopicName) -> i32 {
        self.topics.get(topic).copied().unwrap_or(0)
    }

    /// The in-sync replicas, as the leader or the controller last said.
    pub fn isr(&self, partition: &TopicPartition) -> &[BrokerId] {
        self.partitions.get(partition).map_or(&[], |view| &view.isr)
    }

    /// Whether the partition has a leader that says so itself, and all its replicas are in sync.
    pub fn stands(&self, partition: &TopicPartition) -> bool {
        self.partitions
            .get(partition)
            .is_some_and(|view| view.led && view.isr.len() == view.replicas.len())
    }

    /// Whether there is a topic of that name.
    pub fn has_topic(&self, partition: &TopicPartition) -> bool {
        self.topics.contains_key(&partition.topic)
    }

    /// The controller.
    pub fn controller(&self) -> Option<BrokerId> {
        self.controller
    }

    /// Takes in what a node says.
    pub fn on_note(&mut self, node: NodeId, note: &Note) {
        match note {
            Note::Controller(note) => self.on_controller(node, note),
            Note::Replica(partition, note) => self.on_replica(partition, note),
            Note::Keeper(KeeperNote::Role { role, leader, .. }) => {
                self.on_keeper_role(node, *role, *leader);
            }
            Note::Keeper(_)
            | Note::Broker(_)
            | Note::Group(..)
            | Note::Transaction(..)
            | Note::Client(_)
            | Note::Operation(_) => {}
        }
    }

    fn on_controller(&mut self, node: NodeId, note: &ControllerNote) {
        let own = self
            .directory
            .brokers
            .iter()
            .find(|(_, at)| **at == node)
            .map(|(id, _)| *id);
        match note {
            ControllerNote::Elected { .. } => self.controller = own,
            ControllerNote::Resigned { .. } if self.controller == own => self.controller = None,
            ControllerNote::LeaderElected {
                partition,
                leader,
                leader_epoch,
                isr,
                ..
            } => {
                // A topic that has grown says so by electing leaders of its new partitions.
                let count = self.topics.entry(partition.topic.clone()).or_default();
                *count = (*count).max(partition.partition.0 + 1);
                let view = self.partitions.entry(partition.clone()).or_default();
                if *leader_epoch < view.epoch {
                    return;
                }
                view.epoch = *leader_epoch;
                view.leader = *leader;
                view.isr.clone_from(isr);
                view.led = false;
                if view.replicas.len() < isr.len() {
                    view.replicas.clone_from(isr);
                }
            }
            ControllerNote::IsrWritten {
                partition,
                isr,
                leader_epoch,
                ..
            } => {
                let view = self.partitions.entry(partition.clone()).or_default();
                if view.epoch <= *leader_epoch {
                    view.isr.clone_from(isr);
                }
            }
            ControllerNote::Reassigned {
                partition,
                replicas,
            } => {
                let view = self.partitions.entry(partition.clone()).or_default();
                view.replicas.clone_from(replicas);
                view.moving = false;
            }
            ControllerNote::ReassignmentStarted { partition, .. } => {
                self.partitions.entry(partition.clone()).or_default().moving = true;
            }
            ControllerNote::TopicCreated(topic, partitions) => {
                self.topics.insert(topic.clone(), *partitions);
            }
            ControllerNote::TopicDeleted(topic) => {
                self.topics.remove(topic);
                self.partitions
                    .retain(|partition, _| partition.topic != *topic);
            }
            ControllerNote::Resigned { .. }
            | ControllerNote::BrokerUp { .. }
            | ControllerNote::BrokerDown { .. } => {}
        }
    }

    fn on_replica(&mut self, partition: &TopicPartition, note: &ReplicaNote) {
        if let ReplicaNote::IsrChanged { isr, .. } = note {
            let view = self.partitions.entry(partition.clone()).or_default();
            view.isr.clone_from(isr);
            if view.replicas.len() < isr.len() {
                view.replicas.clone_from(isr);
            }
        }
        if let ReplicaNote::BecameLeader { .. } = note {
            self.partitions.entry(partition.clone()).or_default().led = true;
        }
    }

    fn on_keeper_role(&mut self, node: NodeId, role: KeeperRole, leader: Option<KeeperId>) {
        let own = self
            .directory
            .keepers
            .iter()
            .find(|(_, at)| **at == node)
            .map(|(id, _)| *id);
        match role {
            KeeperRole::Leading | KeeperRole::Standalone => self.keeper_leader = own,
            KeeperRole::Following => self.keeper_leader = leader.or(self.keeper_leader),
            KeeperRole::Looking if self.keeper_leader == own => self.keeper_leader = None,
            KeeperRole::Looking => {}
        }
    }

    /// A node was told its keeper session.
    pub fn session_opened(&mut self, node: NodeId, session: SessionId) {
        self.sessions.insert(node, session);
    }

    /// The keeper session a node was told last.
    pub fn session(&self, node: NodeId) -> Option<SessionId> {
        self.sessions.get(&node).copied()
    }

    /// Whose keeper session it is.
    pub fn owner(&self, session: SessionId) -> Option<NodeId> {
        let mut sessions = self.sessions.iter();
        sessions
            .find(|(_, of)| **of == session)
            .map(|(node, _)| *node)
    }

    /// Remembers whom a named fault hit.
    pub fn remember_victims(&mut self, fault: &str, nodes: &BTreeSet<NodeId>) {
        self.victims.insert(fault.to_owned(), nodes.clone());
    }

    /// Whether the replicas of any partition are on the move.
    pub fn is_moving(&self) -> bool {
        self.partitions.values().any(|partition| partition.moving)
    }

    /// The nodes that a target names now; empty when nobody has the role.
    pub fn resolve(&self, target: &Target) -> BTreeSet<NodeId> {
        match target {
            Target::Broker(id) => self.broker_nodes([BrokerId(*id)]),
            Target::Keeper(id) => self
                .directory
                .keepers
                .get(&KeeperId(*id))
                .copied()
                .into_iter()
                .collect(),
            Target::Client(name) => self
                .directory
                .clients
                .get(name)
                .copied()
                .into_iter()
                .collect(),
            Target::LeaderOf(partition) => self.broker_nodes(self.partition(partition).leader),
            Target::FollowerOf(partition) => {
                let view = self.partition(partition);
                self.broker_nodes(
                    view.replicas
                        .iter()
                        .copied()
                        .find(|id| view.leader != Some(*id)),
                )
            }
            Target::FollowersOf(partition) => {
                let view = self.partition(partition);
                self.broker_nodes(
                    view.replicas
                        .iter()
                        .copied()
                        .filter(|id| view.leader != Some(*id)),
                )
            }
            Target::ReplicasOf(partition) => {
                self.broker_nodes(self.partition(partition).replicas.iter().copied())
            }
            Target::Controller => self.broker_nodes(self.controller),
            Target::KeeperLeader => self
                .keeper_leader
                .and_then(|id| self.directory.keepers.get(&id))
                .copied()
                .into_iter()
                .collect(),
            Target::KeeperFollowers => {
                let followers = self
                    .directory
                    .keepers
                    .iter()
                    .filter(|(id, _)| Some(**id) != self.keeper_leader);
                followers.map(|(_, node)| *node).collect()
            }
            Target::CoordinatorOf(group) => {
                let count = self.directory.offsets_partitions;
                self.broker_nodes(self.coordinator("__consumer_offsets", group, count))
            }
            Target::TransactionCoordinatorOf(id) => {
                let count = self.directory.transaction_partitions;
                self.broker_nodes(self.coordinator("__transaction_state", id, count))
            }
            Target::VictimOf(fault) => self.victims.get(fault).cloned().unwrap_or_default(),
            Target::Brokers => self.directory.brokers.values().copied().collect(),
            Target::Keepers => self.directory.keepers.values().copied().collect(),
            Target::Clients => self.directory.clients.values().copied().collect(),
            Target::Several(all) => all.iter().flat_map(|each| self.resolve(each)).collect(),
        }
    }

    /// The broker that leads the partition of an internal topic which a group or a transactional id belongs to.
    fn coordinator(&self, topic: &str, id: &str, count: i32) -> Option<BrokerId> {
        let partition = partition_for_id(id, count);
        let partition = TopicPartition {
            topic: TopicName::from(topic),
            partition: PartitionIndex(partition),
        };
        self.partitions.get(&partition)?.leader
    }

    fn partition(&self, text: &str) -> PartitionView {
        let found =
            TopicPartition::parse(text).and_then(|partition| self.partitions.get(&partition));
        found.cloned().unwrap_or_default()
    }

    fn broker_nodes(&self, ids: impl IntoIterator<Item = BrokerId>) -> BTreeSet<NodeId> {
        ids.into_iter()
            .filter_map(|id| self.directory.brokers.get(&id))
            .copied()
            .collect()
    }
}
