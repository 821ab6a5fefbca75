//! From a fault of the plan to commands for the world: who is hit now, and what is done to them.

use super::cluster::latency;
use super::view::ClusterView;
use crate::scenario::format::{Damage, Direction, Disk, LaneName, Unflushed};
use crate::scenario::plan::{DiskChange, FaultAction, LinkChange, LinkPlan, MessageChange};
use crate::scenario::target::Target;
use crate::world::{
    About, Corruption, Damage as FileDamage, DiskAtRestart, DiskFault, Fault, KillKind, LaneRule,
    LinkChange as WorldLinkChange, MessageFault, MessageRule, UnfaithfulFault,
    Unflushed as UnflushedBytes, WorldCommand,
};
use protocol::ids::{LeaderEpoch, NodeId, SessionId};
use protocol::machine::Lane;
use protocol::verb::{OperationId, Verb};
use std::collections::{BTreeMap, BTreeSet};

/// What one occurrence of a fault does.
#[derive(Clone, Debug, Default)]
pub struct Injection {
    /// Whom it hits.
    pub nodes: BTreeSet<NodeId>,
    /// What begins and lasts.
    pub begin: Vec<Fault>,
    /// What is done once.
    pub once: Vec<WorldCommand>,
    /// What an operator asks of the cluster.
    pub operator: Option<Verb>,
}

/// Finds out whom the fault hits now.
#[expect(clippy::too_many_lines, reason = "one arm a kind, each short")]
pub fn resolve(action: &FaultAction, view: &ClusterView) -> Injection {
    match action {
        FaultAction::Kill { target, power, .. } => {
            let kind = power.map_or(KillKind::Process, |unflushed| {
                KillKind::Power(unflushed_bytes(unflushed))
            });
            each(view.resolve(target), |node| WorldCommand::Kill {
                node,
                kind,
            })
        }
        FaultAction::Stop { target, .. } => {
            each(view.resolve(target), |node| WorldCommand::Stop { node })
        }
        FaultAction::Start { target, disk } => {
            each(view.resolve(target), |node| WorldCommand::Restart {
                node,
                disk: disk_at_restart(*disk),
            })
        }
        FaultAction::SnapshotDisk { target } => each(view.resolve(target), |node| {
            WorldCommand::SnapshotDisk { node }
        }),
        FaultAction::Corrupt { .. } => corrupt(action, view),
        FaultAction::Pause { target } => each(view.resolve(target), |node| WorldCommand::Pause {
            node,
            span: None,
        }),
        FaultAction::ClockJump { target, nanos } => {
            each(view.resolve(target), |node| WorldCommand::JumpClock {
                node,
                nanos: *nanos,
            })
        }
        FaultAction::ClockDrift { target, ppm } => each(view.resolve(target), |node| {
            WorldCommand::SetDrift { node, ppm: *ppm }
        }),
        FaultAction::Partition {
            target,
            from,
            direction,
        } => {
            let nodes = view.resolve(target);
            let others = from
                .as_ref()
                .map_or_else(|| everybody_but(view, &nodes), |from| view.resolve(from));
            Injection {
                begin: vec![cut(&nodes, &others, *direction)],
                nodes,
                ..Injection::default()
            }
        }
        FaultAction::ExpireSession { target } => expire(view.resolve(target), view),
        FaultAction::Link { from, to, change } => {
            link(view.resolve(from), &view.resolve(to), *change)
        }
        FaultAction::Message { .. } => message(action, view),
        FaultAction::Lane { target, lane, by } => {
            let nodes = view.resolve(target);
            let rule = |node: &NodeId| {
                Fault::Lane(LaneRule {
                    node: *node,
                    lane: lane_of(*lane),
                    delay: *by,
                })
            };
            Injection {
                begin: nodes.iter().map(rule).collect(),
                nodes,
                ..Injection::default()
            }
        }
        FaultAction::Disk {
            target,
            directory,
            change,
        } => {
            let nodes = view.resolve(target);
            let name = |node: &NodeId| view.directory().disk_directory(*node, *directory);
            let disk = |node: &NodeId| Fault::Disk {
                node: *node,
                directory: name(node),
                fault: disk_fault(*change),
            };
            Injection {
                begin: nodes.iter().map(disk).collect(),
                nodes,
                ..Injection::default()
            }
        }
        FaultAction::Elect { partition, unclean } => operator(Verb::ElectLeaders {
            unclean: *unclean,
            partitions: vec![partition.clone()],
        }),
        FaultAction::AddPartitions { topic, partitions } => {
            operator(Verb::CreatePartitions(topic.clone(), *partitions))
        }
        FaultAction::AlterConfig { topic, config } => {
            let changes = config.iter();
            let set = changes.map(|(key, value)| (key.clone(), Some(value.clone())));
            operator(Verb::AlterConfigs(topic.clone(), set.collect()))
        }
        FaultAction::DeleteRecords { partition, before } => operator(Verb::DeleteRecords(
            BTreeMap::from([(partition.clone(), *before)]),
        )),
        // `ReassignPartitionsCommand` refuses: "There is an existing assignment running" (KIP-455).
        FaultAction::Reassign {
            additional: false, ..
        } if view.is_moving() => Injection::default(),
        FaultAction::Reassign {
            partition,
            replicas,
            ..
        } => operator(Verb::Reassign(BTreeMap::from([(
            partition.clone(),
            replicas.clone(),
        )]))),
        FaultAction::DeleteTopic { topic } => operator(Verb::DeleteTopics(vec![topic.clone()])),
    }
}

/// What an operator's call means where that is no node: the topic that is deleted, by which checkers know that it was meant.
pub fn object(action: &FaultAction) -> Option<String> {
    if let FaultAction::DeleteTopic { topic } = action {
        Some(topic.to_string())
    } else {
        None
    }
}

fn each(nodes: BTreeSet<NodeId>, command: impl Fn(NodeId) -> WorldCommand) -> Injection {
    Injection {
        once: nodes.iter().map(|node| command(*node)).collect(),
        nodes,
        ..Injection::default()
    }
}

fn operator(verb: Verb) -> Injection {
    Injection {
        operator: Some(verb),
        ..Injection::default()
    }
}

fn everybody_but(view: &ClusterView, nodes: &BTreeSet<NodeId>) -> BTreeSet<NodeId> {
    let directory = view.directory();
    let all = directory
        .brokers
        .values()
        .chain(directory.keepers.values())
        .chain(directory.clients.values());
    all.copied().filter(|node| !nodes.contains(node)).collect()
}

fn cut(nodes: &BTreeSet<NodeId>, others: &BTreeSet<NodeId>, direction: Direction) -> Fault {
    let list = |set: &BTreeSet<NodeId>| set.iter().copied().collect::<Vec<_>>();
    match direction {
        Direction::Both => Fault::Cut {
            from: list(nodes),
            to: list(others),
            both_ways: true,
        },
        Direction::From => Fault::Cut {
            from: list(nodes),
            to: list(others),
            both_ways: false,
        },
        Direction::To => Fault::Cut {
            from: list(others),
            to: list(nodes),
            both_ways: false,
        },
    }
}

fn link(from: BTreeSet<NodeId>, to: &BTreeSet<NodeId>, change: LinkChange) -> Injection {
    let change = match change {
        LinkChange::Delay(by) => WorldLinkChange {
            delay: Some(by),
            ..WorldLinkChange::default()
        },
        LinkChange::Bandwidth(bytes) => WorldLinkChange {
            bandwidth: Some(bytes),
            ..WorldLinkChange::default()
        },
        LinkChange::Loss(per_mille) => WorldLinkChange {
            loss_per_million: Some(u32::from(per_mille) * 1000),
            ..WorldLinkChange::default()
        },
    };
    let fault = Fault::Link {
        from: from.iter().copied().collect(),
        to: to.iter().copied().collect(),
        change,
    };
    Injection {
        nodes: from,
        begin: vec![fault],
        ..Injection::default()
    }
}

/// A link that the network of the scenario sets apart from the rest.
pub fn set_apart(link: &LinkPlan, view: &ClusterView) -> Fault {
    Fault::Link {
        from: view.resolve(&link.from).into_iter().collect(),
        to: view.resolve(&link.to).into_iter().collect(),
        change: WorldLinkChange {
            latency: link.latency.map(latency),
            bandwidth: link.bandwidth,
            ..WorldLinkChange::default()
        },
    }
}

fn message(action: &FaultAction, view: &ClusterView) -> Injection {
    let FaultAction::Message {
        kind,
        from,
        to,
        partition,
        leader_epoch,
        path,
        skip,
        count,
        change,
    } = action
    else {
        return Injection::default();
    };
    let ends = |target: &Option<Target>| target.as_ref().map(|target| view.resolve(target));
    let (from, to) = (ends(from), ends(to));
    let list =
        |nodes: &Option<BTreeSet<NodeId>>| nodes.as_ref().map(|all| all.iter().copied().collect());
    let rule = MessageRule {
        from: list(&from),
        to: list(&to),
        kind: Some(*kind),
        about: About {
            partition: partition.clone(),
            leader_epoch: leader_epoch.map(LeaderEpoch),
            path: path.as_deref().map(std::sync::Arc::from),
        },
        skip: u64::from(*skip),
        count: u64::from(*count),
        action: MessageFault::Drop,
    };
    let fault = match change {
        MessageChange::Hold => Fault::Message(MessageRule {
            action: MessageFault::Hold,
            ..rule
        }),
        MessageChange::Drop => Fault::Message(rule),
        MessageChange::Duplicate => Fault::Unfaithful(rule, UnfaithfulFault::Duplicate),
        MessageChange::Reorder => Fault::Unfaithful(rule, UnfaithfulFault::Reorder),
    };
    Injection {
        nodes: from.into_iter().chain(to).flatten().collect(),
        begin: vec![fault],
        ..Injection::default()
    }
}

const fn lane_of(name: LaneName) -> Lane {
    match name {
        LaneName::RequestHandler => Lane::RequestHandler,
        LaneName::Controller => Lane::Controller,
        LaneName::Fetcher(broker) => Lane::Fetcher(broker),
        LaneName::KeeperCallback => Lane::KeeperCallback,
        LaneName::GroupLoader => Lane::GroupLoader,
        LaneName::TransactionLoader => Lane::TransactionLoader,
        LaneName::TransactionMarkers => Lane::TransactionMarkers,
        LaneName::Background => Lane::Background,
    }
}

const fn disk_fault(change: DiskChange) -> DiskFault {
    match change {
        DiskChange::Slow(factor) => DiskFault::Slow(factor),
        DiskChange::Stuck => DiskFault::Stuck,
        DiskChange::Full => DiskFault::Full(0),
        DiskChange::Broken => DiskFault::Broken,
    }
}

/// The keeper leader is asked to end the session that each node has now.
fn expire(nodes: BTreeSet<NodeId>, view: &ClusterView) -> Injection {
    let leader = view.resolve(&Target::KeeperLeader).into_iter().next();
    let sessions = nodes.iter().filter_map(|node| view.session(*node));
    let end = |(session, node): (SessionId, NodeId)| WorldCommand::Submit {
        node,
        operation: OperationId(session.0.unsigned_abs()),
        verb: Verb::ExpireSession(session),
    };
    Injection {
        once: sessions.zip(leader.into_iter().cycle()).map(end).collect(),
        nodes,
        ..Injection::default()
    }
}

fn corrupt(action: &FaultAction, view: &ClusterView) -> Injection {
    let FaultAction::Corrupt {
        target,
        directory,
        partition,
        file,
        damage,
        bytes,
    } = action
    else {
        return Injection::default();
    };
    let corruption = Corruption {
        damage: damage_of(*damage),
        last: bytes.unwrap_or(u64::MAX),
    };
    each(view.resolve(target), |node| {
        let log_dir = view.directory().log_dir(node, *directory);
        let path = match (partition, log_dir) {
            (Some(partition), Some(dir)) => format!("{dir}/{partition}/{}", file.path()),
            (None, Some(dir)) => format!("{dir}/{}", file.path()),
            (_, None) => file.path().to_owned(),
        };
        WorldCommand::Corrupt {
            node,
            path,
            corruption,
        }
    })
}

/// The world's word for what a restarted node finds.
pub const fn disk_at_restart(disk: Disk) -> DiskAtRestart {
    match disk {
        Disk::Same => DiskAtRestart::Same,
        Disk::Empty => DiskAtRestart::Empty,
        Disk::Older => DiskAtRestart::Older,
    }
}

const fn unflushed_bytes(unflushed: Unflushed) -> UnflushedBytes {
    match unflushed {
        Unflushed::Drawn => UnflushedBytes::Drawn,
        Unflushed::Lost => UnflushedBytes::Lost,
        Unflushed::Kept => UnflushedBytes::Kept,
        Unflushed::Torn => UnflushedBytes::Torn,
    }
}

const fn damage_of(damage: Damage) -> FileDamage {
    match damage {
        Damage::FlipBit => FileDamage::FlipBit,
        Damage::Zeros => FileDamage::Zeros,
        Damage::Cut => FileDamage::Cut,
        Damage::Remove => FileDamage::Remove,
    }
}

/// How often a fault changed anything, in words.
pub fn effect_in_words(action: &FaultAction, hits: u64) -> String {
    let what = match action {
        FaultAction::Partition { .. } => "messages did not get through",
        FaultAction::Link {
            change: LinkChange::Delay(_),
            ..
        } => "messages were delayed",
        FaultAction::Link {
            change: LinkChange::Bandwidth(_),
            ..
        } => "messages were slowed down",
        FaultAction::Link {
            change: LinkChange::Loss(_),
            ..
        } => "packets were lost",
        FaultAction::Message {
            change: MessageChange::Hold,
            ..
        } => "messages were held",
        FaultAction::Message {
            change: MessageChange::Drop,
            ..
        } => "messages were dropped",
        FaultAction::Message {
            change: MessageChange::Duplicate,
            ..
        } => "messages were duplicated",
        FaultAction::Message {
            change: MessageChange::Reorder,
            ..
        } => "messages were overtaken",
        FaultAction::Lane { .. } => "pieces of work were delayed",
        FaultAction::Disk { .. } => "disk operations were affected",
        FaultAction::Kill { .. }
        | FaultAction::Stop { .. }
        | FaultAction::Start { .. }
        | FaultAction::Pause { .. }
        | FaultAction::SnapshotDisk { .. }
        | FaultAction::Corrupt { .. }
        | FaultAction::ExpireSession { .. }
        | FaultAction::ClockJump { .. }
        | FaultAction::ClockDrift { .. }
        | FaultAction::Elect { .. }
        | FaultAction::AddPartitions { .. }
        | FaultAction::AlterConfig { .. }
        | FaultAction::DeleteRecords { .. }
        | FaultAction::Reassign { .. }
        | FaultAction::DeleteTopic { .. } => "times it struck",
    };
    format!("{hits} {what}")
}
