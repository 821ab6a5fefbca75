//! From a fault of the plan to commands for the world: who is hit now, and what is done to them.

use super::cluster::latency;
use super::view::ClusterView;
use crate::scenario::format::{Direction, LaneName};
use crate::scenario::plan::{DiskChange, FaultAction, LinkChange, LinkPlan, MessageChange};
use crate::world::{
    DiskAtRestart, DiskFault, Fault, KillKind, LaneRule, LinkChange as WorldLinkChange,
    MessageFault, MessageRule, UnfaithfulFault, WorldCommand,
};
use protocol::ids::NodeId;
use protocol::machine::Lane;
use protocol::verb::Verb;
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
            let kind = if *power {
                KillKind::Power
            } else {
                KillKind::Process
            };
            each(view.resolve(target), |node| WorldCommand::Kill {
                node,
                kind,
            })
        }
        FaultAction::Stop { target, .. } => {
            each(view.resolve(target), |node| WorldCommand::Stop { node })
        }
        FaultAction::Start { target } => each(view.resolve(target), |node| WorldCommand::Restart {
            node,
            disk: DiskAtRestart::Same,
        }),
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
        FaultAction::ExpireSession { target } => {
            let nodes = view.resolve(target);
            let keepers = view.directory().keepers.values().copied().collect();
            Injection {
                begin: vec![cut(&nodes, &keepers, Direction::Both)],
                nodes,
                ..Injection::default()
            }
        }
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
        FaultAction::DeleteRecords { partition, before } => operator(Verb::DeleteRecords(
            BTreeMap::from([(partition.clone(), *before)]),
        )),
        FaultAction::Reassign {
            partition,
            replicas,
        } => operator(Verb::Reassign(BTreeMap::from([(
            partition.clone(),
            replicas.clone(),
        )]))),
        FaultAction::DeleteTopic { topic } => operator(Verb::DeleteTopics(vec![topic.clone()])),
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
        skip,
        count,
        change,
    } = action
    else {
        return Injection::default();
    };
    let one = |target: &Option<_>| {
        target
            .as_ref()
            .and_then(|target| view.resolve(target).into_iter().next())
    };
    let (from, to) = (one(from), one(to));
    let action = match change {
        MessageChange::Hold => MessageFault::Hold,
        MessageChange::Drop | MessageChange::Duplicate => MessageFault::Drop,
    };
    let rule = MessageRule {
        from,
        to,
        kind: Some(*kind),
        partition: None,
        skip: u64::from(*skip),
        count: u64::from(*count),
        action,
    };
    let fault = if *change == MessageChange::Duplicate {
        Fault::Unfaithful(rule, UnfaithfulFault::Duplicate)
    } else {
        Fault::Message(rule)
    };
    Injection {
        nodes: from.into_iter().chain(to).collect(),
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
        LaneName::Background => Lane::Background,
    }
}

const fn disk_fault(change: DiskChange) -> DiskFault {
    match change {
        DiskChange::Slow(factor) => DiskFault::Slow(factor),
        DiskChange::Stuck => DiskFault::Stuck,
        DiskChange::Full => DiskFault::Full(0),
    }
}

/// How often a fault changed anything, in words.
pub fn effect_in_words(action: &FaultAction, hits: u64) -> String {
    let what = match action {
        FaultAction::Partition { .. } | FaultAction::ExpireSession { .. } => {
            "messages did not get through"
        }
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
        FaultAction::Lane { .. } => "pieces of work were delayed",
        FaultAction::Disk { .. } => "disk operations were affected",
        FaultAction::Kill { .. }
        | FaultAction::Stop { .. }
        | FaultAction::Start { .. }
        | FaultAction::Pause { .. }
        | FaultAction::ClockJump { .. }
        | FaultAction::ClockDrift { .. }
        | FaultAction::Elect { .. }
        | FaultAction::AddPartitions { .. }
        | FaultAction::DeleteRecords { .. }
        | FaultAction::Reassign { .. }
        | FaultAction::DeleteTopic { .. } => "times it struck",
    };
    format!("{hits} {what}")
}
