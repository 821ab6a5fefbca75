//! What applications that read, transform and write made of their input: for each group, which visible record was made from
//! which.

use super::index::{EventId, Index, NONE, ValueId, Visible, wide};
use crate::event::{Group, What};
use crate::manifest::CommitPolicy;
use crate::operation::{Action, Stage};
use std::collections::{BTreeMap, BTreeSet};

/// One copying group.
#[derive(Debug)]
pub(super) struct Copying {
    /// Its place among the groups.
    pub(super) group: usize,
    /// Where it began, by partition.
    pub(super) began: BTreeMap<u32, i64>,
    /// Its committed offset in the end, by partition, and who said so.
    pub(super) committed: BTreeMap<u32, (i64, EventId)>,
    /// What was made from each value, in the order of sending.
    pub(super) made: BTreeMap<ValueId, Vec<ValueId>>,
}

/// Whether a group copies within transactions.
pub(super) fn copies(index: &Index<'_>, group: usize) -> bool {
    let facts = &index.groups[group];
    facts.commit == CommitPolicy::Transactional && !facts.feeds.is_empty()
}

impl Copying {
    /// All groups that copy within transactions.
    pub(super) fn all(index: &Index<'_>) -> Vec<Self> {
        let groups = (0..index.groups.len()).filter(|group| copies(index, *group));
        let mut all: Vec<Self> = groups.map(|group| Self::of(index, group)).collect();
        let place: BTreeMap<usize, usize> = all
            .iter()
            .enumerate()
            .map(|(place, own)| (own.group, place))
            .collect();
        for event in &index.group_events {
            match &index.event(*event).what {
                What::Group(
                    id,
                    Group::OffsetCommitted {
                        partition, offset, ..
                    },
                ) => {
                    let own = index.group(id).and_then(|group| place.get(&group));
                    let part = index.part(partition);
                    if let Some(own) = own.filter(|_| part != NONE) {
                        all[*own].committed.insert(part, (offset.0, *event));
                    }
                }
                What::Operation(operation) => {
                    let group = index.group_of_client(operation.client);
                    let own = group.and_then(|group| place.get(&group));
                    if let (
                        Some(own),
                        Action::Position {
                            partition, offset, ..
                        },
                    ) = (own, &operation.action)
                    {
                        let began = &mut all[*own].began;
                        let first = began.entry(index.part(partition)).or_insert(offset.0);
                        *first = offset.0.min(*first);
                    }
                }
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
        if !index.history.manifest.has(crate::manifest::Stream::Groups) {
            for own in &mut all {
                own.committed_by_applications(index);
            }
        }
        all
    }

    fn of(index: &Index<'_>, group: usize) -> Self {
        let writers: BTreeSet<u16> = index.groups[group].feeds.iter().copied().collect();
        let mut made: BTreeMap<ValueId, Vec<ValueId>> = BTreeMap::new();
        for (output, input) in &index.transactions.made_from {
            if writers.contains(&index.values.get(*output).client) {
                made.entry(*input).or_default().push(*output);
            }
        }
        Self {
            group,
            began: BTreeMap::new(),
            committed: BTreeMap::new(),
            made,
        }
    }

    /// Without a word of the coordinator: the offsets of transactions whose commit returned.
    fn committed_by_applications(&mut self, index: &Index<'_>) {
        for own in &index.transactions.all {
            let Some(commit) = own.commit.filter(|commit| commit.stage == Stage::Ok) else {
                continue;
            };
            for taken in &own.offsets {
                let part = index.part(&taken.partition);
                if index.group(&taken.group) == Some(self.group) && part != NONE {
                    let known = self.committed.entry(part).or_insert((-1, commit.returned));
                    if taken.offset.0 > known.0 {
                        *known = (taken.offset.0, commit.returned);
                    }
                }
            }
        }
    }

    /// The partitions that it reads.
    pub(super) fn parts(&self) -> BTreeSet<u32> {
        let parts = self.began.keys().chain(self.committed.keys()).copied();
        parts.filter(|part| *part != NONE).collect()
    }

    /// The visible records that were made from a value.
    pub(super) fn outputs<'v>(
        &'v self,
        visible: &'v Visible,
        input: ValueId,
    ) -> impl Iterator<Item = ValueId> + 'v {
        let made = self.made.get(&input).into_iter().flatten().copied();
        made.flat_map(|id| std::iter::repeat_n(id, usize::from(visible.copies(id))))
    }

    /// What the group was to copy from a partition, in order: where it is, and what.
    pub(super) fn inputs<'v>(
        &'v self,
        index: &'v Index<'_>,
        visible: &'v Visible,
        part: u32,
    ) -> impl Iterator<Item = (i64, ValueId)> + 'v {
        let began = self.began.get(&part).copied().unwrap_or(0);
        let log = if index.groups[self.group].read_committed {
            visible.log(part)
        } else {
            &index.partitions[wide(part)].found
        };
        log.iter()
            .filter(move |(offset, _)| *offset >= began)
            .map(|(offset, id)| (offset, ValueId(id)))
    }
}
