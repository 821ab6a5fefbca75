//! CM, commits move forward. The anomalies: a group's committed offset goes back without a reset; a commit of an old
//! generation is accepted; a member that processes first commits what it has not processed; a member that commits first
//! processes what is not committed.

use super::Checker;
use super::effects::operation;
use super::index::{EventId, Index, NONE};
use super::loss::commit_cause;
use super::written::{Written, is_kept_here};
use crate::event::{Group, What};
use crate::manifest::{CommitPolicy, Stream};
use crate::operation::{Action, Operation, Stage};
use crate::verdict::{Finding, Verdict};
use protocol::ids::{GroupId, NodeId, Offset, TopicPartition};
use protocol::verb::ResetReason;
use std::collections::{BTreeMap, VecDeque};

/// CM.
pub(super) struct CommitsMonotone;

impl Checker for CommitsMonotone {
    fn code(&self) -> &'static str {
        "CM"
    }

    fn title(&self) -> &'static str {
        "Committed offsets move forward"
    }

    fn definition(&self) -> &'static str {
        "A group's committed offset moves back only after its position was reset, or after the coordinator's log had lost it, which is excused and named; commits of an old generation are refused; members that process before they commit never commit an unprocessed record, and members that commit first never process an uncommitted one. Claimed for every group that commits."
    }

    fn needs(&self) -> &'static [Stream] {
        &[Stream::Operations, Stream::Groups]
    }

    fn check(&self, index: &Index<'_>) -> Verdict {
        if index
            .groups
            .iter()
            .all(|group| group.commit == CommitPolicy::Never)
        {
            return Verdict::not_claimed(self.code(), "no group commits");
        }
        let mut walk = Walk {
            index,
            verdict: Verdict::new(self.code()),
            committed: BTreeMap::new(),
            resets: BTreeMap::new(),
            generations: BTreeMap::new(),
            stable: BTreeMap::new(),
            asked: BTreeMap::new(),
            members: BTreeMap::new(),
            loaded: BTreeMap::new(),
            decided: None,
            written: Written::default(),
        };
        for event in &index.group_events {
            match &index.event(*event).what {
                What::Group(group, what) => walk.on_group(*event, group, what),
                What::Operation(operation) => walk.on_operation(*event, operation),
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

/// What one life of a consumer has in hand, by partition.
#[derive(Default)]
struct InHand {
    /// Polled and not processed.
    open: VecDeque<i64>,
    /// The offset it committed last.
    committed: Option<i64>,
}

struct Walk<'i, 'h> {
    index: &'i Index<'h>,
    verdict: Verdict,
    /// By group and partition: what the coordinator stored last.
    committed: BTreeMap<(GroupId, TopicPartition), (i64, EventId)>,
    /// By group and partition: the last reset of a position.
    resets: BTreeMap<(usize, u32), EventId>,
    /// By group and coordinator: the generation.
    generations: BTreeMap<(GroupId, Option<NodeId>), (i32, EventId)>,
    /// By group and coordinator: when its generation stood in the log at last.
    stable: BTreeMap<(GroupId, Option<NodeId>), EventId>,
    /// By group, partition and offset: when somebody asked last for that commit.
    asked: BTreeMap<(usize, u32, i64), EventId>,
    members: BTreeMap<(u32, u32), InHand>,
    /// By group: the coordinator that loaded it last.
    loaded: BTreeMap<GroupId, Option<NodeId>>,
    /// The step in which pending offsets took effect: their generation was looked at when they were sent.
    decided: Option<u64>,
    /// Of groups whose offsets are in ZooKeeper.
    written: Written,
}

impl Walk<'_, '_> {
    fn on_group(&mut self, event: EventId, group: &GroupId, what: &Group) {
        let node = self.index.event(event).node;
        if matches!(what, Group::Loaded { .. }) {
            self.loaded.insert(group.clone(), node);
        }
        match what {
            Group::Generation { generation, .. } | Group::Loaded { generation, .. } => {
                self.generations
                    .insert((group.clone(), node), (generation.0, event));
            }
            Group::OffsetCommitted {
                partition,
                offset,
                member,
                generation,
            } => {
                self.verdict.judged += 1;
                let decided = self.decided == Some(self.index.event(event).step);
                let simple = decided || (generation.0 < 0 && member.as_str().is_empty());
                let current = self.generations.get(&(group.clone(), node)).copied();
                let stale = current.filter(|(newest, since)| {
                    let waited = || self.waited(event, group, (partition, *offset), *since);
                    !simple && generation.0 != *newest && !waited()
                });
                if let Some((newest, since)) = stale {
                    let index = self.index;
                    self.verdict.violate(|| {
                        let text = format!(
                            "the coordinator of {group} took a commit of generation {generation} for {partition} in generation {newest}"
                        );
                        Finding::new("stale-commit", text, format!("generation {newest}"), format!("generation {generation}"))
                            .at(partition, offset.0)
                            .told(vec![
                                index.moment(since, format!("{group} is in generation {newest}")),
                                index.moment(event, format!("member {member} of generation {generation} commits {offset}")),
                            ])
                    });
                }
                let newest = self.loaded.get(group);
                if newest.is_none_or(|newest| *newest == node) {
                    self.on_stored(event, group, partition, offset.0);
                }
            }
            Group::PendingDecided { .. } => self.decided = Some(self.index.event(event).step),
            Group::OffsetExpired(partition) => {
                self.committed.remove(&(group.clone(), partition.clone()));
            }
            Group::State(state) => {
                if state == "Stable" {
                    self.stable.insert((group.clone(), node), event);
                }
            }
            Group::MemberJoined(_)
            | Group::OffsetPending { .. }
            | Group::MemberRemoved { .. }
            | Group::CommitRefused { .. }
            | Group::Unloaded => {}
        }
    }

    /// Whether a commit was asked for before the newest generation began and stands in the log before it: its own generation
    /// was over when the replicas had it, not when it was taken.
    fn waited(
        &self,
        event: EventId,
        group: &GroupId,
        (partition, offset): (&TopicPartition, Offset),
        since: EventId,
    ) -> bool {
        let place = self.index.group(group).unwrap_or(usize::MAX);
        let part = self.index.part(partition);
        let asked = self.asked.get(&(place, part, offset.0));
        let key = (group.clone(), self.index.event(event).node);
        let stood = self.stable.get(&key).is_some_and(|stable| *stable > since);
        asked.is_some_and(|asked| *asked < since) && !stood
    }

    fn on_stored(
        &mut self,
        event: EventId,
        group: &GroupId,
        partition: &TopicPartition,
        offset: i64,
    ) {
        let key = (group.clone(), partition.clone());
        let before = self.committed.insert(key, (offset, event));
        let Some((last, at)) = before.filter(|(last, _)| offset < *last) else {
            return;
        };
        let place = self.index.group(group).unwrap_or(usize::MAX);
        let key = (place, self.index.part(partition));
        self.went_back((event, at), key, (group, partition), (last, offset));
    }

    /// A commit in ZooKeeper is over: it went back if everything that it can have replaced was higher.
    fn on_written(&mut self, event: EventId, group: usize, operation: &Operation) {
        let began = self.written.began(operation);
        self.written
            .on_commit(self.index, event, (group, operation));
        let Action::Commit { offsets, .. } = &operation.action else {
            return;
        };
        let Some(began) = began.filter(|_| operation.stage == Stage::Ok) else {
            return;
        };
        let index = self.index;
        for (partition, offset) in offsets {
            self.verdict.judged += 1;
            let key = (group, index.part(partition));
            let found = self.written.visible(key, began).into_iter();
            let before = found.filter(|write| write.began < began);
            if let Some(lowest) = before.min_by_key(|write| write.offset)
                && lowest.offset > offset.0
            {
                let id = &index.groups[group].id;
                let offsets = (lowest.offset, offset.0);
                self.went_back((event, lowest.began), key, (id, partition), offsets);
            }
        }
    }

    fn went_back(
        &mut self,
        (event, at): (EventId, EventId),
        key: (usize, u32),
        (group, partition): (&GroupId, &TopicPartition),
        (last, offset): (i64, i64),
    ) {
        let index = self.index;
        let reset = self.resets.get(&key).filter(|reset| **reset > at);
        let finding = || {
            let text = format!(
                "the committed offset of {group} for {partition} went back from {last} to {offset}"
            );
            Finding::new(
                "commit-went-back",
                text,
                format!("at least {last}"),
                offset.to_string(),
            )
            .at(partition, offset)
            .told(vec![
                index.moment(at, format!("{group} has committed {last} of {partition}")),
                index.moment(event, format!("{group} commits {offset} of {partition}")),
            ])
        };
        if let Some(reset) = reset {
            let why = format!("the position was reset at {} ns", index.time(*reset));
            self.verdict.excuse(|| finding().because(why));
        } else if let Some(why) = commit_cause(index, group, (at, event)) {
            self.verdict.excuse(|| finding().because(why));
        } else {
            self.verdict.violate(finding);
        }
    }

    fn on_operation(&mut self, event: EventId, operation: &Operation) {
        let Some(group) = self.index.group_of_client(operation.client) else {
            return;
        };
        let process = operation.process.0;
        if is_kept_here(self.index, group) {
            self.on_written(event, group, operation);
        }
        match &operation.action {
            Action::Poll { records, .. } => {
                for polled in records {
                    let part = self.index.part(&polled.partition);
                    let hand = self.members.entry((process, part)).or_default();
                    let with_value = polled.records.iter().filter(|(_, value)| value.is_some());
                    hand.open.extend(with_value.map(|(offset, _)| offset.0));
                }
            }
            Action::Process {
                partition, offset, ..
            } => self.on_effect(event, (group, process), partition, *offset),
            Action::Commit { offsets, .. } if operation.stage == Stage::Invoke => {
                for (partition, offset) in offsets {
                    let part = self.index.part(partition);
                    self.asked.insert((group, part, offset.0), event);
                }
            }
            Action::Commit { offsets, .. } if operation.stage == Stage::Ok => {
                for (partition, offset) in offsets {
                    self.on_own_commit(event, (group, process), partition, *offset);
                }
            }
            Action::Position {
                partition, reason, ..
            } => {
                let part = self.index.part(partition);
                self.members.insert((process, part), InHand::default());
                if *reason != ResetReason::Committed {
                    self.resets.insert((group, part), event);
                }
            }
            Action::Send { .. }
            | Action::Commit { .. }
            | Action::Transaction { .. }
            | Action::Assigned { .. }
            | Action::Revoked { .. }
            | Action::Lost { .. }
            | Action::Admin { .. } => {}
        }
    }

    fn on_effect(
        &mut self,
        event: EventId,
        (group, process): (usize, u32),
        partition: &TopicPartition,
        offset: Offset,
    ) {
        let part = self.index.part(partition);
        let hand = self.members.entry((process, part)).or_default();
        while hand.open.front().is_some_and(|open| *open <= offset.0) {
            hand.open.pop_front();
        }
        let before = self.index.groups[group].commit == CommitPolicy::Before;
        if !before {
            return;
        }
        self.verdict.judged += 1;
        let committed = hand.committed.unwrap_or(-1);
        if committed <= offset.0 && part != NONE {
            let index = self.index;
            self.verdict.violate(|| {
                let client = index.node_of(event);
                let text = format!("{client} acts on {partition} at offset {offset} before it has committed past it");
                Finding::new("processed-before-commit", text, format!("a commit above {offset}"), format!("{committed}"))
                    .at(partition, offset.0)
                    .told(vec![index.moment(event, format!("acts on offset {offset} of {partition}"))])
            });
        }
    }

    fn on_own_commit(
        &mut self,
        event: EventId,
        (group, process): (usize, u32),
        partition: &TopicPartition,
        offset: Offset,
    ) {
        let part = self.index.part(partition);
        let policy = self.index.groups[group].commit;
        let hand = self.members.entry((process, part)).or_default();
        hand.committed = Some(offset.0);
        if !matches!(policy, CommitPolicy::After | CommitPolicy::Auto) {
            return;
        }
        self.verdict.judged += 1;
        let Some(open) = hand.open.front().copied().filter(|open| *open < offset.0) else {
            return;
        };
        let index = self.index;
        self.verdict.violate(|| {
            let client = operation(index, event)
                .map_or("?", |operation| index.client_name(operation.client));
            let text = format!(
                "{client} committed {offset} of {partition} before it had acted on offset {open}"
            );
            Finding::new(
                "committed-unprocessed",
                text,
                format!("a commit of at most {open}"),
                offset.to_string(),
            )
            .at(partition, open)
            .told(vec![index.moment(
                event,
                format!("commits {offset} of {partition}; offset {open} is still to be done"),
            )])
        });
    }
}
