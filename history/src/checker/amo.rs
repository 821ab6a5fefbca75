//! AMO, at most once. The anomaly: a group's application acts on a record twice.
//!
//! A record that lies in the log twice, or an application that sought back, is not the group's doing: excused.

use super::Checker;
use super::effects::{Again, effect, effects, operation};
use super::index::{EventId, Index};
use crate::manifest::{CommitPolicy, Stream};
use crate::operation::Action;
use crate::verdict::{Finding, Moment, Verdict};
use protocol::verb::ResetReason;

/// AMO.
pub(super) struct AtMostOnce;

impl Checker for AtMostOnce {
    fn code(&self) -> &'static str {
        "AMO"
    }

    fn title(&self) -> &'static str {
        "Commit before processing: at most once"
    }

    fn definition(&self) -> &'static str {
        "A group whose members commit before they process acts on every record at most once. Two effects of a value that lies in the log at two offsets, or after the application or a truncated log moved the position back, are excused. Claimed for groups that commit before processing; repeats of others are counted in the ledger."
    }

    fn needs(&self) -> &'static [Stream] {
        &[Stream::Operations]
    }

    fn check(&self, index: &Index<'_>) -> Verdict {
        if !index
            .groups
            .iter()
            .any(|group| group.commit == CommitPolicy::Before)
        {
            return Verdict::not_claimed(self.code(), "no group commits before it processes");
        }
        let mut verdict = Verdict::new(self.code());
        let mut repeats = Vec::new();
        let groups = effects(index, |again| repeats.push(again));
        for (group, effects) in index.groups.iter().zip(&groups) {
            if group.commit == CommitPolicy::Before {
                let acted = effects.first.iter().filter(|first| first.is_some()).count();
                verdict.judged += u64::try_from(acted).unwrap_or(u64::MAX);
            }
        }
        let moves = moves(index);
        for again in repeats {
            if index.groups[again.group].commit != CommitPolicy::Before {
                continue;
            }
            match excuse(index, &moves, again) {
                Some(why) => verdict.excuse(|| finding(index, again).because(why)),
                None => verdict.violate(|| finding(index, again)),
            }
        }
        verdict
    }
}

/// Positions that were set for reasons which are not the group's doing.
fn moves(index: &Index<'_>) -> Vec<EventId> {
    let lawful = |event: &&EventId| {
        operation(index, **event).is_some_and(|operation| {
            matches!(
                operation.action,
                Action::Position {
                    reason: ResetReason::Seek | ResetReason::OutOfRange | ResetReason::Truncated,
                    ..
                }
            )
        })
    };
    index.group_events.iter().filter(lawful).copied().collect()
}

fn excuse(index: &Index<'_>, moves: &[EventId], again: Again) -> Option<String> {
    let (first, second) = (effect(index, again.before)?, effect(index, again.event)?);
    if (first.0, first.1) != (second.0, second.1) {
        let (a, b) = (
            format!("{}@{}", first.0, first.1),
            format!("{}@{}", second.0, second.1),
        );
        return Some(format!("the log holds it twice: {a} and {b}"));
    }
    let from = moves.partition_point(|event| *event < again.before);
    let between = moves[from..]
        .iter()
        .take_while(|event| **event < again.event);
    for event in between {
        let moved = operation(index, *event)?;
        if let Action::Position {
            partition,
            offset,
            reason,
        } = &moved.action
            && partition == first.0
            && offset.0 <= first.1
            && index.group_of_client(moved.client) == Some(again.group)
        {
            return Some(format!("the position was set to {offset} ({reason:?})"));
        }
    }
    None
}

fn finding(index: &Index<'_>, again: Again) -> Finding {
    let value = index.values.value(again.value);
    let group = &index.groups[again.group].id;
    let mut story = vec![
        index.moment(again.before, format!("acts on {value} for the first time")),
        index.moment(again.event, format!("acts on {value} again")),
    ];
    story.extend(between(index, again));
    let text = format!("group {group} acted on {value} twice");
    let finding =
        Finding::new("processed-twice", text, "at most one effect", "two effects").about(value);
    match effect(index, again.event) {
        Some((partition, offset, _)) => finding.at(partition, offset).told(story),
        None => finding.told(story),
    }
}

/// The rebalances and commits of the partition between two effects.
fn between(index: &Index<'_>, again: Again) -> Vec<Moment> {
    let Some((partition, ..)) = effect(index, again.event) else {
        return Vec::new();
    };
    let from = index
        .group_events
        .partition_point(|event| *event <= again.before);
    let between = index.group_events[from..]
        .iter()
        .take_while(|event| **event < again.event);
    let tell = |event: &EventId| {
        let operation = operation(index, *event)?;
        let client = index.client_name(operation.client);
        let text = match &operation.action {
            Action::Assigned { partitions, .. } if partitions.contains(partition) => {
                format!("{client} is assigned {partition}")
            }
            Action::Revoked { partitions, .. } if partitions.contains(partition) => {
                format!("{client} gives {partition} back")
            }
            Action::Lost { partitions, .. } if partitions.contains(partition) => {
                format!("{client} lost {partition}")
            }
            Action::Position {
                partition: own,
                offset,
                reason,
            } if own == partition => {
                format!("{client} reads {partition} from offset {offset} ({reason:?})")
            }
            Action::Send { .. }
            | Action::Poll { .. }
            | Action::Commit { .. }
            | Action::Transaction { .. }
            | Action::Assigned { .. }
            | Action::Revoked { .. }
            | Action::Lost { .. }
            | Action::Position { .. }
            | Action::Process { .. }
            | Action::Admin { .. } => return None,
        };
        Some(index.moment(*event, text))
    };
    between.filter_map(tell).take(12).collect()
}
