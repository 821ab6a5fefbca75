//! What groups did with records: which value had its first effect where, which partitions a group read, and from where.
//!
//! The effect of an application that copies within transactions is the record that readers of committed records see: what
//! it did and aborted happened for nobody.

use super::copies::copies;
use super::index::{EventId, Fated, Index, NONE, ValueId, wide};
use crate::event::{Group, What};
use crate::operation::{Action, Operation, Stage, Value};
use crate::verdict::Moment;
use protocol::ids::TopicPartition;
use protocol::verb::ResetReason;
use std::collections::BTreeMap;

/// What one group did.
#[derive(Clone, Debug)]
pub(crate) struct Effects {
    /// By value: the first effect.
    pub(crate) first: Vec<EventId>,
    /// By partition: the first position, why, and when.
    pub(crate) started: BTreeMap<u32, (i64, ResetReason, EventId)>,
    /// By partition: the offset after the last effect or commit.
    pub(crate) reached: BTreeMap<u32, i64>,
}

/// An effect of a record that had one before.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Again {
    pub(crate) group: usize,
    pub(crate) value: ValueId,
    pub(crate) before: EventId,
    pub(crate) event: EventId,
}

/// The operation of an event.
pub(crate) fn operation<'h>(index: &Index<'h>, event: EventId) -> Option<&'h Operation> {
    if let What::Operation(operation) = &index.event(event).what {
        Some(operation)
    } else {
        None
    }
}

/// Where an effect was.
pub(crate) fn effect<'h>(
    index: &Index<'h>,
    event: EventId,
) -> Option<(&'h TopicPartition, i64, Value)> {
    if let Action::Process {
        partition,
        offset,
        value,
        ..
    } = &operation(index, event)?.action
    {
        Some((partition, offset.0, *value))
    } else {
        None
    }
}

/// Effects come in runs of one partition: the run is kept at hand, so that a partition is looked up once for each.
struct Hand {
    group: usize,
    partition: TopicPartition,
    end: i64,
}

struct Walk<'i, 'h> {
    index: &'i Index<'h>,
    groups: Vec<Effects>,
    hand: Option<Hand>,
}

/// Walks all groups' operations; `again` is told of every effect that is not the first of its value.
pub(crate) fn effects(index: &Index<'_>, mut again: impl FnMut(Again)) -> Vec<Effects> {
    let fresh = || Effects {
        first: vec![EventId::NONE; index.values.sent.len()],
        started: BTreeMap::new(),
        reached: BTreeMap::new(),
    };
    let mut walk = Walk {
        index,
        groups: index.groups.iter().map(|_| fresh()).collect(),
        hand: None,
    };
    for event in &index.group_events {
        let Some(operation) = operation(index, *event) else {
            continue;
        };
        if let Some(group) = index.group_of_client(operation.client) {
            walk.step(*event, group, operation, &mut again);
        }
    }
    walk.put_down();
    walk.copies(&mut again);
    walk.groups
}

impl Walk<'_, '_> {
    fn step(
        &mut self,
        event: EventId,
        group: usize,
        operation: &Operation,
        again: &mut impl FnMut(Again),
    ) {
        match &operation.action {
            Action::Process {
                partition,
                offset,
                value,
                ..
            } => {
                if !copies(self.index, group) {
                    self.effect(event, group, *value, again);
                }
                self.touch(group, partition, offset.0 + 1);
            }
            Action::Position {
                partition,
                offset,
                reason,
            } => {
                let part = self.index.part(partition);
                let started = &mut self.groups[group].started;
                started.entry(part).or_insert((offset.0, *reason, event));
            }
            Action::Commit { offsets, .. } if operation.stage == Stage::Ok => {
                for (partition, offset) in offsets {
                    reach(
                        &mut self.groups[group],
                        self.index.part(partition),
                        offset.0,
                    );
                }
            }
            Action::Send { .. }
            | Action::Poll { .. }
            | Action::Commit { .. }
            | Action::Transaction { .. }
            | Action::Assigned { .. }
            | Action::Revoked { .. }
            | Action::Lost { .. }
            | Action::Admin { .. } => {}
        }
    }

    /// What copying groups wrote, and the offsets that took effect with it.
    fn copies(&mut self, again: &mut impl FnMut(Again)) {
        let index = self.index;
        let copying: Vec<bool> = (0..index.groups.len())
            .map(|group| copies(index, group))
            .collect();
        if !copying.contains(&true) {
            return;
        }
        for (group, _) in copying.iter().enumerate().filter(|(_, copies)| **copies) {
            let mut outputs: Vec<(EventId, ValueId)> = index
                .transactions
                .made_from
                .iter()
                .filter(|(output, _)| {
                    let writer = index.values.get(**output).client;
                    index.groups[group].feeds.contains(&writer)
                        && index.transactions.is_seen(**output)
                })
                .map(|(output, input)| (index.values.get(*output).invoked, *input))
                .collect();
            outputs.sort_unstable();
            for (event, input) in outputs {
                self.effect(event, group, index.values.value(input), again);
            }
        }
        for event in &index.group_events {
            if let What::Group(
                id,
                Group::OffsetCommitted {
                    partition, offset, ..
                },
            ) = &index.event(*event).what
                && let Some(group) = index.group(id).filter(|group| copying[*group])
            {
                reach(&mut self.groups[group], index.part(partition), offset.0);
            }
        }
        let made = index
            .transactions
            .all
            .iter()
            .filter(|own| matches!(own.fated(), Fated::Committed(_)));
        for taken in made.flat_map(|own| &own.offsets) {
            if let Some(group) = index.group(&taken.group).filter(|group| copying[*group]) {
                reach(
                    &mut self.groups[group],
                    index.part(&taken.partition),
                    taken.offset.0,
                );
            }
        }
    }

    fn effect(
        &mut self,
        event: EventId,
        group: usize,
        value: Value,
        again: &mut impl FnMut(Again),
    ) {
        let value = self.index.values.id(value);
        if !value.is_some() {
            return;
        }
        let first = &mut self.groups[group].first[wide(value.0)];
        if first.is_some() {
            again(Again {
                group,
                value,
                before: *first,
                event,
            });
        } else {
            *first = event;
        }
    }

    fn touch(&mut self, group: usize, partition: &TopicPartition, end: i64) {
        match &mut self.hand {
            Some(hand) if hand.group == group && hand.partition == *partition => {
                hand.end = hand.end.max(end);
            }
            Some(_) | None => {
                self.put_down();
                self.hand = Some(Hand {
                    group,
                    partition: partition.clone(),
                    end,
                });
            }
        }
    }

    fn put_down(&mut self) {
        if let Some(hand) = self.hand.take() {
            reach(
                &mut self.groups[hand.group],
                self.index.part(&hand.partition),
                hand.end,
            );
        }
    }
}

fn reach(effects: &mut Effects, part: u32, end: i64) {
    if part != NONE {
        let reached = effects.reached.entry(part).or_insert(end);
        *reached = end.max(*reached);
    }
}

/// What a group's members did around one record: who polled it, who committed past it, who was assigned its partition.
pub(crate) fn handling(
    index: &Index<'_>,
    group: usize,
    (partition, offset): (&TopicPartition, i64),
) -> Vec<Moment> {
    let mut passed = false;
    let mut moments = Vec::new();
    for event in &index.group_events {
        let Some(operation) = operation(index, *event) else {
            continue;
        };
        if index.group_of_client(operation.client) != Some(group) {
            continue;
        }
        let client = index.client_name(operation.client);
        let text = match &operation.action {
            Action::Poll { records, .. } => {
                let own = records.iter().find(|polled| polled.partition == *partition);
                let polled =
                    own.is_some_and(|own| own.records.iter().any(|(at, _)| at.0 == offset));
                polled.then(|| format!("{client} polls {partition} at offset {offset}"))
            }
            Action::Commit { offsets, .. } if operation.stage == Stage::Ok && !passed => {
                let past = offsets
                    .iter()
                    .find(|(own, end)| own == partition && end.0 > offset);
                passed = past.is_some();
                past.map(|(_, end)| {
                    format!("{client} has committed offset {end} of {partition}, past it")
                })
            }
            Action::Position {
                partition: own,
                offset: from,
                reason,
            } if own == partition => Some(format!(
                "{client} reads {partition} from offset {from} ({reason:?})"
            )),
            Action::Lost { partitions, .. } if partitions.contains(partition) => {
                Some(format!("{client} lost {partition}"))
            }
            Action::Revoked { partitions, .. } if partitions.contains(partition) => {
                Some(format!("{client} gives {partition} back"))
            }
            Action::Send { .. }
            | Action::Commit { .. }
            | Action::Transaction { .. }
            | Action::Assigned { .. }
            | Action::Revoked { .. }
            | Action::Lost { .. }
            | Action::Position { .. }
            | Action::Process { .. }
            | Action::Admin { .. } => None,
        };
        moments.extend(text.map(|text| index.moment(*event, text)));
        if moments.len() >= 16 {
            break;
        }
    }
    moments
}
