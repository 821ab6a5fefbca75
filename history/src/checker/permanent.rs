//! What is gone for good: whom the faults hit that do not heal, and what cannot go on without them.
//!
//! A fault that is declared permanent excuses what depended on the nodes that it hit, and nothing else. A partition depends
//! on its replicas; a group and a transactional id on the replicas of the partition that their coordinator leads, and a
//! transaction also on those of what it wrote to; a client on its own machine; and everything on the keepers, which serve as
//! long as more than half of them do.

use super::index::{EventId, Index, NONE, Transaction};
use crate::event::{Fault, What};
use crate::manifest::NodeRole;
use protocol::ids::{BrokerId, GroupId, NodeId, TopicPartition, TransactionalId};
use protocol::java_hash::partition_for_id;
use std::collections::BTreeSet;

/// Where groups keep their offsets.
pub(super) const OFFSETS: &str = "__consumer_offsets";
/// Where transactional ids keep their state.
const TRANSACTIONS: &str = "__transaction_state";

/// The cause, where a partition is offline for good.
pub(super) fn partition(index: &Index<'_>, part: u32) -> Option<String> {
    if part == NONE {
        return everything(index);
    }
    let partition = index.partition(part);
    let elections = &partition.elections;
    let leaderless = elections.last().is_some_and(|last| last.leader.is_none());
    let offline = partition.read_failed || leaderless;
    let lost = offline.then(|| replica(index, part)).flatten();
    lost.or_else(|| everything(index))
}

/// The cause, where a replica of the partition was hit; where nobody tells who the replicas are, any broker may be one.
pub(super) fn replica(index: &Index<'_>, part: u32) -> Option<String> {
    let replicas = &index.partition(part).replicas;
    let is_replica = |broker: BrokerId| replicas.is_empty() || replicas.contains_key(&broker);
    first(index, |node| {
        let broker = index.history.manifest.broker_of(node);
        broker.is_some_and(is_replica)
    })
}

/// The cause, where the machine of a client was hit.
pub(super) fn client(index: &Index<'_>, client: u16) -> Option<String> {
    let clients = &index.history.manifest.clients;
    let own = clients.get(usize::from(client))?.node;
    first(index, |node| node == own)
}

/// The cause, where a group's coordinator has no log any more.
pub(super) fn group(index: &Index<'_>, group: &GroupId) -> Option<String> {
    partition(index, index.part(&home(index, OFFSETS, group.as_str())?))
}

/// The cause, where the coordinator of a transactional id has no log any more.
pub(super) fn transactional_id(index: &Index<'_>, id: &TransactionalId) -> Option<String> {
    partition(index, index.part(&home(index, TRANSACTIONS, id.as_str())?))
}

/// The cause, where a transaction cannot end: its coordinator, or a partition that its marker is for, is offline.
pub(super) fn transaction(index: &Index<'_>, own: &Transaction) -> Option<String> {
    let sent_to = own.sends.iter().map(|id| index.values.get(*id).part);
    let parts: BTreeSet<u32> = sent_to.filter(|part| *part != NONE).collect();
    let coordinator = own.id.as_ref().and_then(|id| transactional_id(index, id));
    let written = || parts.iter().find_map(|part| partition(index, *part));
    coordinator.or_else(written).or_else(|| everything(index))
}

/// The cause, where no majority of keepers is left, or no broker: then nothing need go on.
pub(super) fn everything(index: &Index<'_>) -> Option<String> {
    let hit: BTreeSet<NodeId> = faults(index)
        .flat_map(|(_, fault)| nodes(index, fault))
        .collect();
    let nodes = (0..).map(NodeId).zip(&index.history.manifest.nodes);
    let (mut keepers, mut brokers) = (Vec::new(), Vec::new());
    for (node, what) in nodes {
        match what.role {
            NodeRole::Keeper(_) => keepers.push(node),
            NodeRole::Broker(_) => brokers.push(node),
            NodeRole::Client(_) => {}
        }
    }
    let left = |of: &[NodeId]| of.iter().filter(|node| !hit.contains(node)).count();
    let is_one_of = |of: &[NodeId]| first(index, |node| of.contains(&node));
    if !keepers.is_empty() && left(&keepers) * 2 <= keepers.len() {
        is_one_of(&keepers).map(|why| format!("{why}, so that no majority of keepers is left"))
    } else if left(&brokers) == 0 {
        is_one_of(&brokers).map(|why| format!("{why}, so that no broker is left"))
    } else {
        None
    }
}

/// The partition of Kafka's own topic that a name belongs to.
pub(super) fn home(index: &Index<'_>, topic: &str, name: &str) -> Option<TopicPartition> {
    let partitions = index.partitions.iter().map(|partition| &partition.name);
    let own = partitions.filter(|partition| partition.topic.as_str() == topic);
    let count = own.map(|partition| partition.partition.0 + 1).max()?;
    Some(TopicPartition::new(topic, partition_for_id(name, count)))
}

/// The first fault that hit such a node, in words.
fn first(index: &Index<'_>, is_meant: impl Fn(NodeId) -> bool) -> Option<String> {
    let mut faults = faults(index);
    let (description, _) =
        faults.find(|(_, fault)| nodes(index, fault).into_iter().any(&is_meant))?;
    Some(format!("for good: {description}"))
}

/// The faults that do not heal, each time one of them struck, with their descriptions.
fn faults<'i>(index: &'i Index<'_>) -> impl Iterator<Item = (&'i str, &'i Fault)> {
    let events: &[EventId] = &index.lasting_faults;
    events.iter().filter_map(|event| {
        let What::Fault(fault) = &index.event(*event).what else {
            return None;
        };
        let planned = index.history.manifest.planned(fault.index)?;
        Some((planned.description.as_str(), fault))
    })
}

/// Whom a fault hit: its target names them in words.
fn nodes(index: &Index<'_>, fault: &Fault) -> Vec<NodeId> {
    let manifest = &index.history.manifest;
    let all = (0..).map(NodeId).zip(&manifest.nodes);
    let hit = all.filter(|(_, node)| {
        let name = match node.role {
            NodeRole::Broker(id) => format!("broker {id}"),
            NodeRole::Keeper(id) => format!("keeper {id}"),
            NodeRole::Client(_) => node.name.clone(),
        };
        fault.target.split(", ").any(|target| target == name)
    });
    hit.map(|(node, _)| node).collect()
}
