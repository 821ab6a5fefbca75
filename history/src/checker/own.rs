//! OWN, one owner. The anomalies: two members of the same generation own a partition at the same time; a member is handed
//! records of a partition that it does not own.
//!
//! A member is in a generation as soon as it has taken its assignment, which it says even where nothing was added: what it
//! kept until then (KIP-429) is judged at that moment.
//!
//! A member of an older generation that acts on a partition somebody else owns by now is a zombie: at-least-once admits it
//! (it shows as a repeat), so it is excused and counted. So is a static member whose place another process has taken over
//! by its `group.instance.id` (KIP-345): that begins no generation, and the coordinator's word tells who was replaced.
//!
//! Groups of ZooKeeper consumers have no generations and no barrier. What their members are promised is the owner node:
//! it is there once, and as long as the session that made it. Two members whose sessions both live and who both believe to
//! own a partition break that promise; a member whose session the keepers have ended is a zombie until it learns of it.

use super::Checker;
use super::effects::operation;
use super::index::{EventId, Index};
use super::loss::commit_cause;
use crate::event::{Client, Group, Keeper, Process, What};
use crate::manifest::Stream;
use crate::operation::{Action, Operation};
use crate::verdict::{Finding, Verdict};
use protocol::ids::{GroupId, MemberId, NodeId, SessionId, TopicPartition};
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
        "At no time do two members of a group's current generation own the same partition, and nobody is handed records of a partition that it has given up. Effects of a member whose generation is over, or whose place as a static member another process has taken, are zombie processing: excused and counted. In a group of ZooKeeper consumers, which has no generations, a member counts as long as its keeper session lives. A group whose state went with its coordinator's log counts its generations anew; where that loss is excused, so is the second owner. Claimed for every group."
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
            seats: BTreeMap::new(),
            members: BTreeSet::new(),
            nodes: BTreeMap::new(),
            sessions: BTreeMap::new(),
            ended: BTreeSet::new(),
            replaced: BTreeSet::new(),
            before: BTreeMap::new(),
            leaving: None,
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

/// A generation, and as which member it was joined where that is told.
#[derive(Clone)]
struct Seat {
    generation: i32,
    member: Option<(GroupId, MemberId)>,
}

struct Walk<'i, 'h> {
    index: &'i Index<'h>,
    verdict: Verdict,
    /// By group and partition.
    owners: BTreeMap<(usize, TopicPartition), Vec<Owner>>,
    /// By life of a client: the generation whose assignment it took last.
    seats: BTreeMap<u32, Seat>,
    /// Lives of clients that were ever assigned partitions by a group.
    members: BTreeSet<u32>,
    /// By node: what it joined last.
    nodes: BTreeMap<NodeId, Seat>,
    /// Static members whose place others have taken.
    replaced: BTreeSet<(GroupId, MemberId)>,
    /// Static members, and whose places they took.
    before: BTreeMap<(GroupId, MemberId), (GroupId, MemberId)>,
    /// Who was replaced last: the coordinator names the successor next.
    leaving: Option<(GroupId, MemberId)>,
    /// By node: its present keeper session.
    sessions: BTreeMap<NodeId, SessionId>,
    /// Sessions that the keepers have ended.
    ended: BTreeSet<SessionId>,
}

impl Walk<'_, '_> {
    fn on_event(&mut self, event: EventId) {
        let node = self.index.event(event).node;
        match &self.index.event(event).what {
            What::Client(Client::Joined {
                group,
                generation,
                member,
            }) => {
                let Some(node) = node else { return };
                let seat = Seat {
                    generation: generation.0,
                    member: Some((group.clone(), member.clone())),
                };
                self.nodes.insert(node, seat);
            }
            What::Group(group, Group::MemberRemoved { member, reason }) => {
                if reason == "replaced" {
                    self.on_replaced((group.clone(), member.clone()));
                }
            }
            What::Client(Client::KeeperSession(session)) => {
                self.sessions.extend(node.map(|node| (node, *session)));
            }
            What::Keeper(Keeper::SessionExpired(session) | Keeper::SessionClosed(session)) => {
                self.ended.insert(*session);
            }
            // Also the old id again, where the new one could not be written down.
            What::Group(group, Group::MemberJoined(member)) => {
                let member = (group.clone(), member.clone());
                self.replaced.remove(&member);
                if let Some(left) = self.leaving.take() {
                    self.before.insert(member, left);
                }
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

    /// A member that is replaced a second time had been put down although its coordinator could not confirm it and took the
    /// former one back: the next coordinator finds it in the log, and the former one nowhere.
    fn on_replaced(&mut self, member: (GroupId, MemberId)) {
        if !self.replaced.insert(member.clone()) {
            self.replaced.extend(self.before.get(&member).cloned());
        }
        self.leaving = Some(member);
    }

    /// The generation that a process is a member of, as far as is known.
    fn generation(&self, process: u32) -> Option<i32> {
        let seat = self.seats.get(&process)?;
        let taken = seat
            .member
            .as_ref()
            .is_some_and(|member| self.replaced.contains(member));
        (!taken).then_some(seat.generation)
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
                let told = generation.map(|generation| Seat {
                    generation,
                    member: None,
                });
                if let Some(seat) = told.or_else(|| self.nodes.get(&node?).cloned()) {
                    self.seats.insert(process, seat);
                }
                let session = node.and_then(|node| self.sessions.get(&node).copied());
                self.members.insert(process);
                for partition in partitions {
                    let owners = self.owners_of(group, partition);
                    owners.retain(|owner| owner.process != process);
                    owners.push(Owner {
                        process,
                        node,
                        session,
                        since: event,
                    });
                }
                self.on_assigned(event, group, process);
            }
            Action::Revoked { partitions, .. } | Action::Lost { partitions, .. } => {
                for partition in partitions {
                    let owners = self.owners_of(group, partition);
                    owners.retain(|owner| owner.process != process);
                }
            }
            Action::Process { partition, .. } => self.on_effect(event, (group, process), partition),
            Action::Poll { records, .. } => {
                for polled in records {
                    self.on_polled(event, (group, process), &polled.partition);
                }
            }
            Action::Send { .. }
            | Action::Commit { .. }
            | Action::Transaction { .. }
            | Action::Assigned { .. }
            | Action::Position { .. }
            | Action::Admin { .. } => {}
        }
    }

    fn owners_of(&mut self, group: usize, partition: &TopicPartition) -> &mut Vec<Owner> {
        let key = (group, partition.clone());
        self.owners.entry(key).or_default()
    }

    /// A process has taken an assignment: nobody else has taken one of the same generation with a partition that it has, nor
    /// with a keeper session that lives.
    fn on_assigned(&mut self, event: EventId, group: usize, process: u32) {
        let own = self.generation(process);
        let is_old = self.index.groups[group].old.is_some();
        let mut twice = Vec::new();
        for ((of, partition), owners) in &self.owners {
            let has_it =
                |owner: &Owner| owner.process == process && (owner.since == event || !is_old);
            if *of != group || !owners.iter().any(has_it) {
                continue;
            }
            self.verdict.judged += 1;
            let lives = |other: &Owner| {
                let session = other.session;
                session.is_some_and(|session| !self.ended.contains(&session))
            };
            let others = owners.iter().filter(|other| {
                let same = own.is_some() && self.generation(other.process) == own;
                other.process != process && (is_old && lives(other) || same)
            });
            twice.extend(others.map(|other| (partition.clone(), other.since)));
        }
        for (partition, since) in twice {
            self.two_owners((group, &partition), (since, event), own);
        }
    }

    fn two_owners(
        &mut self,
        (group, partition): (usize, &TopicPartition),
        (since, event): (EventId, EventId),
        generation: Option<i32>,
    ) {
        let index = self.index;
        let forgotten = commit_cause(index, &index.groups[group].id, (since, event));
        let finding = || {
            let (a, b) = (name(index, since), name(index, event));
            let when = generation.map_or_else(
                || "while the keeper sessions of both live".to_owned(),
                |generation| format!("in generation {generation}"),
            );
            let text = format!("{a} and {b} both own {partition} {when}");
            Finding::new("two-owners", text, "one owner", "two")
                .at(partition, -1)
                .told(vec![
                    index.moment(since, format!("{a} is assigned {partition}")),
                    index.moment(event, format!("{b} has {partition} in its assignment")),
                ])
        };
        match forgotten {
            Some(why) => self
                .verdict
                .excuse(|| finding().because(format!("the group began to count anew: {why}"))),
            None => self.verdict.violate(finding),
        }
    }

    /// A consumer forgets what it fetched of a partition when it gives it up.
    fn on_polled(
        &mut self,
        event: EventId,
        (group, process): (usize, u32),
        partition: &TopicPartition,
    ) {
        let owners = self.owners_of(group, partition);
        let owns = owners.iter().any(|owner| owner.process == process);
        let index = self.index;
        let is_old = index.groups[group].old.is_some();
        if owns || is_old || !self.members.contains(&process) {
            return;
        }
        self.verdict.violate(|| {
            let member = name(index, event);
            let text = format!("{member} is handed records of {partition}, which it does not own");
            Finding::new("not-the-owner", text, "records of its own", "others")
                .at(partition, -1)
                .told(vec![index.moment(
                    event,
                    format!("{member} polls records of {partition}"),
                )])
        });
    }

    fn on_effect(
        &mut self,
        event: EventId,
        (group, process): (usize, u32),
        partition: &TopicPartition,
    ) {
        let key = (group, partition.clone());
        let Some(owners) = self.owners.get(&key) else {
            return;
        };
        let newest = owners.last().copied();
        let Some(newest) = newest.filter(|newest| newest.process != process) else {
            return;
        };
        let index = self.index;
        self.verdict.excuse(|| {
            let (zombie, owner) = (name(index, event), name(index, newest.since));
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

/// Who said so.
fn name<'h>(index: &Index<'h>, event: EventId) -> &'h str {
    operation(index, event).map_or("?", |operation| index.client_name(operation.client))
}
