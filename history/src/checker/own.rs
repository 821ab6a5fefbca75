//! OWN, one owner. The anomaly: two members of the same generation own a partition at the same time.
//!
//! A member of an older generation that acts on a partition somebody else owns by now is a zombie: at-least-once admits it
//! (it shows as a repeat), so it is excused and counted.
//!
//! Groups of ZooKeeper consumers have no generations and no barrier. What their members are promised is the owner node:
//! it is there once, and as long as the session that made it. Two members whose sessions both live and who both believe to
//! own a partition break that promise; a member whose session the keepers have ended is a zombie until it learns of it.

use super::Checker;
use super::effects::operation;
use super::index::{EventId, Index};
use super::loss::commit_cause;
use crate::event::{Client, Keeper, Process, What};
use crate::manifest::Stream;
use crate::operation::{Action, Operation};
use crate::verdict::{Finding, Verdict};
use protocol::ids::{NodeId, SessionId, TopicPartition};
use std::collections::{BTreeMap, BTreeSet};

/// OWN.
pub(super) struct Ownership;

impl Checker for Ownership {
    fn code(&self) -> &'static str {
        "OWN"
    }

    fn title(&self) -> &'static str {
        "A partition has one owner in a generation"
    }

    fn definition(&self) -> &'static str {
        "At no time do two members of a group's current generation own the same partition. Effects of a member whose generation is over are zombie processing: excused and counted. In a group of ZooKeeper consumers, which has no generations, a member counts as long as its keeper session lives. A group whose state went with its coordinator's log counts its generations anew; where that loss is excused, so is the second owner. Claimed for every group."
    }

    fn needs(&self) -> &'static [Stream] {
        &[Stream::Operations]
    }

    fn check(&self, index: &Index<'_>) -> Verdict {
        if index.groups.is_empty() {
            return Verdict::not_claimed(self.code(), "there is no group");
        }
        let mut walk = Walk {
            index,
            verdict: Verdict::new(self.code()),
            owners: BTreeMap::new(),
            generations: BTreeMap::new(),
            nodes: BTreeMap::new(),
            sessions: BTreeMap::new(),
            ended: BTreeSet::new(),
        };
        for event in &index.group_events {
            walk.on_event(*event);
        }
        walk.verdict
    }
}

#[derive(Clone, Copy)]
struct Owner {
    process: u32,
    node: Option<NodeId>,
    /// The session that its owner node depends on.
    session: Option<SessionId>,
    since: EventId,
}

struct Walk<'i, 'h> {
    index: &'i Index<'h>,
    verdict: Verdict,
    /// By group and partition.
    owners: BTreeMap<(usize, u32), Vec<Owner>>,
    /// By life of a client: the generation it joined last.
    generations: BTreeMap<u32, i32>,
    /// By node: the generation it joined last, before any operation tells which life it is.
    nodes: BTreeMap<NodeId, i32>,
    /// By node: its present keeper session.
    sessions: BTreeMap<NodeId, SessionId>,
    /// Sessions that the keepers have ended.
    ended: BTreeSet<SessionId>,
}

impl Walk<'_, '_> {
    fn on_event(&mut self, event: EventId) {
        let node = self.index.event(event).node;
        match &self.index.event(event).what {
            What::Client(Client::Joined { generation, .. }) => {
                let Some(node) = node else { return };
                self.nodes.insert(node, generation.0);
                let owners = self
                    .owners
                    .values()
                    .flatten()
                    .filter(|owner| owner.node == Some(node));
                let lives: Vec<u32> = owners.map(|owner| owner.process).collect();
                for life in lives {
                    self.generations.insert(life, generation.0);
                }
            }
            What::Client(Client::KeeperSession(session)) => {
                self.sessions.extend(node.map(|node| (node, *session)));
            }
            What::Keeper(Keeper::SessionExpired(session) | Keeper::SessionClosed(session)) => {
                self.ended.insert(*session);
            }
            What::Process(Process::Died { .. } | Process::Stopped | Process::Started { .. }) => {
                for owners in self.owners.values_mut() {
                    owners.retain(|owner| owner.node != node);
                }
                if let Some(node) = node {
                    self.nodes.remove(&node);
                    self.sessions.remove(&node);
                }
            }
            What::Operation(operation) => self.on_operation(event, node, operation),
            What::Replica(..)
            | What::Controller(_)
            | What::Broker(_)
            | What::Group(..)
            | What::Transaction(..)
            | What::Keeper(_)
            | What::Client(_)
            | What::Process(_)
            | What::Fault(_)
            | What::Mark(_)
            | What::Phase(_) => {}
        }
    }

    fn on_operation(&mut self, event: EventId, node: Option<NodeId>, operation: &Operation) {
        let Some(group) = self.index.group_of_client(operation.client) else {
            return;
        };
        let process = operation.process.0;
        match &operation.action {
            Action::Assigned {
                group: Some(_),
                partitions,
                generation,
            } => {
                let joined = generation.or_else(|| self.nodes.get(&node?).copied());
                if let Some(joined) = joined {
                    self.generations.insert(process, joined);
                }
                for partition in partitions {
                    self.on_assigned((event, node), (group, process), partition);
                }
            }
            Action::Revoked { partitions, .. } | Action::Lost { partitions, .. } => {
                for partition in partitions {
                    let key = (group, self.index.part(partition));
                    if let Some(owners) = self.owners.get_mut(&key) {
                        owners.retain(|owner| owner.process != process);
                    }
                }
            }
            Action::Process { partition, .. } => self.on_effect(event, (group, process), partition),
            Action::Send { .. }
            | Action::Poll { .. }
            | Action::Commit { .. }
            | Action::Transaction { .. }
            | Action::Assigned { .. }
            | Action::Position { .. }
            | Action::Admin { .. } => {}
        }
    }

    fn on_assigned(
        &mut self,
        (event, node): (EventId, Option<NodeId>),
        (group, process): (usize, u32),
        partition: &TopicPartition,
    ) {
        self.verdict.judged += 1;
        let key = (group, self.index.part(partition));
        let own = self.generations.get(&process).copied();
        let session = node.and_then(|node| self.sessions.get(&node).copied());
        let is_old = self.index.groups[group].old.is_some();
        let owners = self.owners.entry(key).or_default();
        owners.retain(|owner| owner.process != process);
        for other in owners.iter() {
            let theirs = self.generations.get(&other.process).copied();
            let lives = other
                .session
                .is_some_and(|session| !self.ended.contains(&session));
            if is_old && lives || own.is_some() && own == theirs {
                let (index, since) = (self.index, other.since);
                let forgotten = commit_cause(index, &index.groups[group].id, since);
                let finding = || {
                    let name = |event| {
                        operation(index, event)
                            .map_or("?", |operation| index.client_name(operation.client))
                    };
                    let (a, b) = (name(since), name(event));
                    let when = own.map_or_else(
                        || "while the keeper sessions of both live".to_owned(),
                        |generation| format!("in generation {generation}"),
                    );
                    let text = format!("{a} and {b} both own {partition} {when}");
                    Finding::new("two-owners", text, "one owner", "two")
                        .at(partition, -1)
                        .told(vec![
                            index.moment(since, format!("{a} is assigned {partition}")),
                            index.moment(event, format!("{b} is assigned {partition}")),
                        ])
                };
                match forgotten {
                    Some(why) => self.verdict.excuse(|| {
                        finding().because(format!("the group began to count anew: {why}"))
                    }),
                    None => self.verdict.violate(finding),
                }
            }
        }
        owners.push(Owner {
            process,
            node,
            session,
            since: event,
        });
    }

    fn on_effect(
        &mut self,
        event: EventId,
        (group, process): (usize, u32),
        partition: &TopicPartition,
    ) {
        let key = (group, self.index.part(partition));
        let Some(owners) = self.owners.get(&key) else {
            return;
        };
        let newest = owners.last().copied();
        let Some(newest) = newest.filter(|newest| newest.process != process) else {
            return;
        };
        let index = self.index;
        self.verdict.excuse(|| {
            let name = |event| {
                operation(index, event).map_or("?", |operation| index.client_name(operation.client))
            };
            let (zombie, owner) = (name(event), name(newest.since));
            let text = format!("{zombie} acts on {partition}, which {owner} owns");
            Finding::new(
                "zombie-processing",
                text,
                "effects by the owner alone",
                format!("an effect by {zombie}"),
            )
            .at(partition, -1)
            .told(vec![
                index.moment(newest.since, format!("{owner} is assigned {partition}")),
                index.moment(event, format!("{zombie} acts on a record of {partition}")),
            ])
            .because("a member that has not learnt of the rebalance yet; at least once admits it")
        });
    }
}
