//! RES, resume. The anomalies: after an assignment a member reads on from another place than the group had committed, or
//! finds no commit where there is one, or its first poll skips records behind its position.
//!
//! A position set by the reset policy for a recorded reason (expired, out of range, truncated) is lawful. So is a commit that
//! nobody confirmed: it may lie in the log of a coordinator that died before it could answer, and the next coordinator reads
//! that log to its end.

use super::Checker;
use super::index::{EventId, Index, NONE};
use super::loss::commit_cause;
use super::written::{Written, is_kept_here};
use crate::event::{Client, Group, What};
use crate::manifest::{CommitPolicy, Stream};
use crate::operation::{Action, Operation, Polled, Stage};
use crate::verdict::{Finding, Verdict};
use protocol::ids::{NodeId, Offset, ProducerId, TopicPartition};
use protocol::verb::ResetReason;
use std::collections::BTreeMap;

/// RES.
pub(super) struct Resume;

impl Checker for Resume {
    fn code(&self) -> &'static str {
        "RES"
    }

    fn title(&self) -> &'static str {
        "Reading resumes where it was committed"
    }

    fn definition(&self) -> &'static str {
        "After an assignment a member reads on from the group's committed offset, and its first poll leaves out no record from there on. A commit of unknown outcome may be that offset once another coordinator has loaded the group. If it says that there is no commit, there is none or it expired. Resets with another recorded reason (out of range, truncated, sought) are lawful, and a commit that went with the log of its coordinator is excused where that loss is. Claimed for groups that commit after processing, automatically or in transactions."
    }

    fn needs(&self) -> &'static [Stream] {
        &[Stream::Operations, Stream::Groups]
    }

    fn check(&self, index: &Index<'_>) -> Verdict {
        let claimed = |commit| {
            matches!(
                commit,
                CommitPolicy::After | CommitPolicy::Auto | CommitPolicy::Transactional
            )
        };
        if !index.groups.iter().any(|group| claimed(group.commit)) {
            return Verdict::not_claimed(
                self.code(),
                "no group commits after it processes or in transactions",
            );
        }
        let mut walk = Walk {
            index,
            verdict: Verdict::new(self.code()),
            committed: BTreeMap::new(),
            unconfirmed: BTreeMap::new(),
            loaded: BTreeMap::new(),
            expired: BTreeMap::new(),
            pending: Vec::new(),
            assigned: BTreeMap::new(),
            waiting: BTreeMap::new(),
            committed_only: false,
            written: Written::default(),
            asked: BTreeMap::new(),
        };
        for event in &index.group_events {
            match &index.event(*event).what {
                What::Group(group, what) => {
                    if let Some(group) = index.group(group) {
                        walk.on_group(*event, group, what);
                    }
                }
                What::Operation(operation) => {
                    let group = index.group_of_client(operation.client);
                    if let Some(group) = group.filter(|group| claimed(index.groups[*group].commit))
                    {
                        walk.on_operation(*event, group, operation);
                    }
                }
                What::Client(Client::Rebalancing { .. }) => {
                    if let Some(node) = index.event(*event).node {
                        let before = walk.asked.get(&node).map(|(last, _)| *last);
                        walk.asked.insert(node, (*event, before));
                    }
                }
                What::Replica(..)
                | What::Controller(_)
                | What::Transaction(..)
                | What::Broker(_)
                | What::Keeper(_)
                | What::Client(_)
                | What::Process(_)
                | What::Fault(_)
                | What::Mark(_)
                | What::Phase(_) => {}
            }
        }
        walk.verdict
    }
}

#[derive(Clone, Copy)]
struct Commit {
    offset: i64,
    at: EventId,
}

struct Walk<'i, 'h> {
    index: &'i Index<'h>,
    verdict: Verdict,
    /// By group and partition, one after the other.
    committed: BTreeMap<(usize, u32), Vec<Commit>>,
    /// Commits that were asked for and neither stored, as far as is known, nor refused for certain; in the order of the log,
    /// because one member at a time commits a partition.
    unconfirmed: BTreeMap<(usize, u32), Vec<(i64, EventId)>>,
    /// Offsets of transactions that are not decided: whose they are.
    pending: Vec<((usize, u32), ProducerId, i64)>,
    /// When a coordinator last read a group from its log.
    loaded: BTreeMap<usize, EventId>,
    expired: BTreeMap<(usize, u32), EventId>,
    /// By life of a client and partition.
    assigned: BTreeMap<(u32, u32), EventId>,
    /// Positions whose first poll is still to come.
    waiting: BTreeMap<(u32, u32), (i64, EventId)>,
    /// Whoever is at it reads committed records only.
    committed_only: bool,
    /// Of groups whose offsets are in ZooKeeper.
    written: Written,
    /// By node: when it began to find out what is its own, the last time and the time before.
    asked: BTreeMap<NodeId, (EventId, Option<EventId>)>,
}

impl Walk<'_, '_> {
    fn on_group(&mut self, event: EventId, group: usize, what: &Group) {
        match what {
            Group::OffsetCommitted {
                partition, offset, ..
            } => {
                let key = (group, self.index.part(partition));
                let commit = Commit {
                    offset: offset.0,
                    at: event,
                };
                self.committed.entry(key).or_default().push(commit);
                self.settle(key, offset.0);
            }
            Group::Loaded { .. } => {
                self.loaded.insert(group, event);
            }
            Group::OffsetExpired(partition) => {
                let key = (group, self.index.part(partition));
                self.committed.remove(&key);
                self.expired.insert(key, event);
            }
            Group::OffsetPending {
                partition,
                offset,
                producer_id,
            } => {
                let key = (group, self.index.part(partition));
                let asked = self.unconfirmed.entry(key).or_default();
                asked.push((offset.0, event));
                self.pending.push((key, *producer_id, offset.0));
            }
            Group::PendingDecided {
                producer_id,
                committed,
            } => self.decided(group, *producer_id, *committed),
            Group::State(_)
            | Group::Generation { .. }
            | Group::MemberJoined(_)
            | Group::MemberRemoved { .. }
            | Group::CommitRefused { .. }
            | Group::Unloaded => {}
        }
    }

    fn on_operation(&mut self, event: EventId, group: usize, operation: &Operation) {
        self.committed_only = self.index.reads_committed(operation.client);
        let process = operation.process.0;
        match &operation.action {
            Action::Assigned { partitions, .. } => {
                for partition in partitions {
                    self.assigned
                        .insert((process, self.index.part(partition)), event);
                }
            }
            Action::Position {
                partition,
                offset,
                reason,
            } => {
                let part = self.index.part(partition);
                let found = (*offset, *reason);
                if is_kept_here(self.index, group) {
                    self.on_position_read(event, (group, part), partition, found);
                } else {
                    self.on_position(event, (group, process, part), partition, found);
                }
                self.waiting.insert((process, part), (offset.0, event));
            }
            Action::Poll { records, .. } => {
                for polled in records {
                    self.on_polled(event, process, polled);
                    self.handed_over(event, group, polled);
                }
            }
            Action::Commit { offsets, auto, .. } => {
                self.written
                    .on_commit(self.index, event, (group, operation));
                for (partition, offset) in offsets {
                    let key = (group, self.index.part(partition));
                    if *auto {
                        self.on_auto_commit(key, offset.0, operation.stage);
                    } else {
                        self.on_commit(event, key, offset.0, operation.stage);
                    }
                }
            }
            Action::Send { .. }
            | Action::Transaction { .. }
            | Action::Revoked { .. }
            | Action::Lost { .. }
            | Action::Process { .. }
            | Action::Admin { .. } => {}
        }
    }

    /// What a transaction that was aborted had sent is nowhere to be found; what one that was committed had sent took effect,
    /// or is found by the next coordinator in the log.
    fn decided(&mut self, group: usize, producer: ProducerId, committed: bool) {
        let unconfirmed = &mut self.unconfirmed;
        self.pending.retain(|(key, whose, offset)| {
            let over = key.0 == group && *whose == producer;
            if over
                && !committed
                && let Some(asked) = unconfirmed.get_mut(key)
            {
                asked.retain(|(other, _)| other != offset);
            }
            !over
        });
    }

    fn on_commit(&mut self, event: EventId, key: (usize, u32), offset: i64, stage: Stage) {
        let asked = self.unconfirmed.entry(key).or_default();
        match stage {
            Stage::Invoke => asked.push((offset, event)),
            Stage::Fail => {
                if let Some(refused) = asked.iter().rposition(|(other, _)| *other == offset) {
                    asked.remove(refused);
                }
            }
            Stage::Ok | Stage::Info => {}
        }
    }

    /// Of a commit that the client made by itself nothing is told before it ends: one whose fate is unknown may have been
    /// asked for at any time before.
    fn on_auto_commit(&mut self, key: (usize, u32), offset: i64, stage: Stage) {
        match stage {
            Stage::Info => {
                let asked = self.unconfirmed.entry(key).or_default();
                asked.push((offset, EventId(0)));
            }
            // It asks for the same offset again and again, so that one refusal says nothing about the others.
            Stage::Invoke | Stage::Ok | Stage::Fail => {}
        }
    }

    /// A client that commits by itself asks for that without a word as soon as it has handed something over, and of what a
    /// process asked before it died nothing is ever told.
    fn handed_over(&mut self, event: EventId, group: usize, polled: &Polled) {
        if self.commits_by_itself(group)
            && !is_kept_here(self.index, group)
            && let Some((last, _)) = polled.records.last()
        {
            let key = (group, self.index.part(&polled.partition));
            let asked = self.unconfirmed.entry(key).or_default();
            asked.push((last.0 + 1, event));
        }
    }

    fn commits_by_itself(&self, group: usize) -> bool {
        self.index.groups[group].commit == CommitPolicy::Auto
    }

    /// A stored commit leaves nothing open of those asked for up to it. A client that commits by itself may have asked for more
    /// than the end of what it handed over: its position goes on behind markers.
    fn settle(&mut self, key: (usize, u32), offset: i64) {
        let by_itself = self.commits_by_itself(key.0);
        let Some(asked) = self.unconfirmed.get_mut(&key) else {
            return;
        };
        let exact = asked.iter().position(|(other, _)| *other == offset);
        let up_to = exact.or_else(|| by_itself.then(|| risen(asked, offset)).flatten());
        if let Some(last) = up_to {
            asked.drain(..=last);
        }
    }

    /// A coordinator has found a commit in the log that no coordinator had confirmed: from here on that is the committed one.
    fn found_in_the_log(&mut self, key: (usize, u32), offset: i64) -> bool {
        let Some(loaded) = self.loaded.get(&key.0).copied() else {
            return false;
        };
        let asked = self.unconfirmed.get(&key).map_or(&[][..], Vec::as_slice);
        let in_time = asked.iter().filter(|(_, at)| *at < loaded);
        let nearest = in_time
            .map(|(other, _)| *other)
            .filter(|other| *other <= offset)
            .max();
        let was_asked = nearest.is_some_and(|nearest| {
            nearest == offset
                || self.commits_by_itself(key.0)
                    && self.next_record(key.1, nearest, offset).is_none()
        });
        if was_asked {
            self.settle(key, offset);
            let commit = Commit { offset, at: loaded };
            self.committed.entry(key).or_default().push(commit);
        }
        was_asked
    }

    /// The first record that its readers see from one offset on and before another one.
    fn next_record(&self, part: u32, from: i64, to: i64) -> Option<i64> {
        let log = self.index.found_by(self.committed_only, part);
        let end = log.bounds().map_or(from, |(_, last)| last + 1).min(to);
        (from..end).find(|at| log.get(*at) != NONE)
    }

    /// Whether this stood as the committed offset, or none did, at some moment since the member was given the partition: it
    /// asks then, and the answer may be on its way, or it may stand still, while others commit.
    fn stood_since_assigned(&self, key: (usize, u32), process: u32, offset: Option<i64>) -> bool {
        let Some(assigned) = self.assigned.get(&(process, key.1)) else {
            return false;
        };
        let commits = self.committed.get(&key).map_or(&[][..], Vec::as_slice);
        let before = commits.iter().rposition(|commit| commit.at < *assigned);
        let since = &commits[before.unwrap_or(0)..];
        match offset {
            Some(offset) => since.iter().any(|commit| commit.offset == offset),
            None => before.is_none(),
        }
    }

    fn on_position(
        &mut self,
        event: EventId,
        (group, process, part): (usize, u32, u32),
        partition: &TopicPartition,
        (offset, reason): (Offset, ResetReason),
    ) {
        let key = (group, part);
        let commits = self.committed.get(&key);
        let commit = commits.and_then(|commits| commits.last()).copied();
        let index = self.index;
        match (reason, commit) {
            (ResetReason::Committed, Some(commit)) => {
                self.verdict.judged += 1;
                let resumes = commit.offset == offset.0
                    || self.stood_since_assigned(key, process, Some(offset.0));
                if !resumes && !self.found_in_the_log(key, offset.0) {
                    let why = commit_cause(index, &index.groups[group].id, (commit.at, event));
                    let finding = || {
                        let (name, stored) = (&index.groups[group].id, commit.offset);
                        let text = format!(
                            "{name} resumes {partition} at offset {offset}, but had committed {stored}"
                        );
                        Finding::new(
                            "resumed-elsewhere",
                            text,
                            stored.to_string(),
                            offset.to_string(),
                        )
                        .at(partition, offset.0)
                        .told(vec![
                            index.moment(
                                commit.at,
                                format!("{name} has committed {stored} of {partition}"),
                            ),
                            index.moment(event, format!("reads {partition} from offset {offset}")),
                        ])
                    };
                    self.report(why, finding);
                }
            }
            (ResetReason::NoCommit, Some(_)) if self.stood_since_assigned(key, process, None) => {
                self.verdict.judged += 1;
            }
            (ResetReason::NoCommit, Some(commit)) => {
                self.verdict.judged += 1;
                let why = commit_cause(index, &index.groups[group].id, (commit.at, event));
                self.report(why, || {
                    let (name, stored) = (&index.groups[group].id, commit.offset);
                    let text = format!("{name} begins {partition} at offset {offset} as if nothing had been committed; {stored} had been");
                    Finding::new("commit-forgotten", text, stored.to_string(), format!("no commit, so {offset}"))
                        .at(partition, offset.0)
                        .told(vec![
                            index.moment(commit.at, format!("{name} has committed {stored} of {partition}")),
                            index.moment(event, format!("reads {partition} from offset {offset}, by its reset policy")),
                        ])
                });
            }
            (ResetReason::NoCommit, None) => {
                self.verdict.judged += 1;
                if let Some(expired) = self.expired.get(&(group, part)).copied() {
                    self.verdict.excuse(|| {
                        let name = &index.groups[group].id;
                        let text = format!("{name} begins {partition} at offset {offset}: its committed offset had expired");
                        Finding::new("commit-expired", text, "the committed offset", offset.to_string())
                            .at(partition, offset.0)
                            .told(vec![
                                index.moment(expired, format!("the committed offset of {partition} expires")),
                                index.moment(event, format!("reads {partition} from offset {offset}")),
                            ])
                            .because("offsets.retention.minutes ran out")
                    });
                }
            }
            (ResetReason::Committed, None)
            | (ResetReason::OutOfRange | ResetReason::Truncated | ResetReason::Seek, _) => {}
        }
    }

    fn report(&mut self, cause: Option<String>, finding: impl FnOnce() -> Finding) {
        match cause {
            Some(why) => self.verdict.excuse(|| finding().because(why)),
            None => self.verdict.violate(finding),
        }
    }

    /// When a ZooKeeper consumer began the rebalance that ends in this event. Where another one begins at once, in the same
    /// step, that may be told first; none ends in the step in which it begins.
    fn asked_before(&self, event: EventId) -> Option<EventId> {
        let ended = self.index.event(event);
        let (last, before) = self.asked.get(&ended.node?)?;
        if self.index.event(*last).step < ended.step {
            Some(*last)
        } else {
            *before
        }
    }

    /// A position that a ZooKeeper consumer read from its znode: one of the commits that can be there.
    fn on_position_read(
        &mut self,
        event: EventId,
        key: (usize, u32),
        partition: &TopicPartition,
        (offset, reason): (Offset, ResetReason),
    ) {
        let index = self.index;
        let asked = self.asked_before(event).unwrap_or(event);
        let visible = self.written.visible(key, asked);
        let stored = self.written.settled(key, asked);
        let is_lawful = match reason {
            ResetReason::Committed => visible.iter().any(|write| write.offset == offset.0),
            ResetReason::NoCommit => stored.is_none(),
            ResetReason::OutOfRange | ResetReason::Truncated | ResetReason::Seek => return,
        };
        self.verdict.judged += 1;
        let Some(stored) = stored.filter(|_| !is_lawful) else {
            return;
        };
        let (name, expected) = (&index.groups[key.0].id, stored.offset);
        let (anomaly, text) = if reason == ResetReason::Committed {
            let text = format!(
                "{name} resumes {partition} at offset {offset}, but had committed {expected}"
            );
            ("resumed-elsewhere", text)
        } else {
            let text = format!(
                "{name} begins {partition} at offset {offset} as if nothing had been committed; {expected} had been"
            );
            ("commit-forgotten", text)
        };
        self.verdict.violate(|| {
            Finding::new(anomaly, text, expected.to_string(), offset.to_string())
                .at(partition, offset.0)
                .told(vec![
                    index.moment(
                        stored.began,
                        format!("{name} commits {expected} of {partition}"),
                    ),
                    index.moment(event, format!("reads {partition} from offset {offset}")),
                ])
        });
    }

    fn on_polled(&mut self, event: EventId, process: u32, polled: &Polled) {
        let part = self.index.part(&polled.partition);
        let Some((position, at)) = self.waiting.remove(&(process, part)) else {
            return;
        };
        let Some((first, _)) = polled.records.first() else {
            return;
        };
        if part == NONE || first.0 <= position {
            return;
        }
        let Some(skipped) = self.next_record(part, position, first.0) else {
            return;
        };
        let (index, partition) = (self.index, &polled.partition);
        self.verdict.violate(|| {
            let text = format!("reading {partition} from offset {position}, the first poll returns offset {first} and skips {skipped}");
            Finding::new("resume-skipped", text, format!("offset {skipped} first"), first.to_string())
                .at(partition, skipped)
                .told(vec![
                    index.moment(at, format!("reads {partition} from offset {position}")),
                    index.moment(event, format!("polls offset {first} first")),
                ])
        });
    }
}

/// Of the commits that were asked for first, one behind the other, the last one up to an offset.
fn risen(asked: &[(i64, EventId)], to: i64) -> Option<usize> {
    let mut before = i64::MIN;
    let run = asked.iter().take_while(|(offset, _)| {
        let rises = before <= *offset && *offset <= to;
        before = *offset;
        rises
    });
    run.count().checked_sub(1)
}
