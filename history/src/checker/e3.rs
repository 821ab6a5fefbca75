//! E3, all of it or nothing. The anomalies: in the end a reader of committed records sees some records of a transaction and
//! not the others (a torn transaction); a reader is handed a later record of a transaction and was not handed an earlier
//! one of the same partition (Adya's `G1b`, intermediate read).
//!
//! What readers see is judged when everything has come to rest: markers reach the partitions of a transaction one by one.
//! Within a partition one marker speaks for all records, so that a reader's way through it is judged at any time.

use super::Checker;
use super::committed::{Unseen, seen_of, undecided, unseen};
use super::index::{EventId, Index, NONE, TransactionIndex, ValueId};
use crate::event::What;
use crate::manifest::Stream;
use crate::operation::{Action, Operation, Polled};
use crate::verdict::{Finding, Verdict};
use protocol::ids::TopicPartition;
use std::collections::BTreeMap;

/// E3.
pub(super) struct AtomicVisibility;

impl Checker for AtomicVisibility {
    fn code(&self) -> &'static str {
        "E3"
    }

    fn title(&self) -> &'static str {
        "A transaction is visible as a whole or not at all"
    }

    fn definition(&self) -> &'static str {
        "Once everything has come to rest, either every record of a transaction is visible to readers of committed records or none is (otherwise it is torn); and a reader that goes through a partition leaves out no visible record of a transaction of which it reads a later one (G1b). Records that retention deleted, that are lost for a cause which PA excuses, or that an open transaction hides (E8) are excused. Claimed where a producer has a transactional.id."
    }

    fn needs(&self) -> &'static [Stream] {
        &[Stream::Operations]
    }

    fn check(&self, index: &Index<'_>) -> Verdict {
        if let Some(verdict) = undecided(index, self.code()) {
            return verdict;
        }
        let mut verdict = Verdict::new(self.code());
        for (transaction, own) in index.transactions.iter() {
            if !own.sends.is_empty() {
                verdict.judged += 1;
                judge(index, transaction, &mut verdict);
            }
        }
        intermediate(index, &mut verdict);
        verdict
    }
}

fn judge(index: &Index<'_>, transaction: TransactionIndex, verdict: &mut Verdict) {
    let (seen, Some(first)) = seen_of(index, transaction) else {
        return;
    };
    let Some(visible) = &index.transactions.visible else {
        return;
    };
    let sends = &index.transactions.get(transaction).sends;
    if seen == sends.len() {
        return;
    }
    let mut excused = None;
    for id in sends.iter().filter(|id| visible.copies(**id) == 0) {
        match unseen(index, *id) {
            Unseen::NotWritten | Unseen::Deleted => {}
            Unseen::Excused(why) => excused = excused.or(Some((*id, why))),
            Unseen::Unexcused(why) => {
                verdict.violate(|| torn(index, transaction, (first, *id), &why));
                return;
            }
        }
    }
    if let Some((id, why)) = excused {
        verdict.excuse(|| torn(index, transaction, (first, id), &why).because(why));
    }
}

fn torn(
    index: &Index<'_>,
    transaction: TransactionIndex,
    (seen, hidden): (ValueId, ValueId),
    why: &str,
) -> Finding {
    let name = index.transaction_name(transaction);
    let (a, b) = (index.values.value(seen), index.values.value(hidden));
    let (count, _) = seen_of(index, transaction);
    let all = index.transactions.get(transaction).sends.len();
    let sent = index.values.get(hidden);
    let place = (sent.part, sent.found_at.max(sent.offset));
    let there = index.transactions.visible.as_ref();
    let there = there.and_then(|visible| visible.place(seen));
    let at = there.map_or_else(String::new, |(part, offset)| {
        format!(" (as {})", index.place(part, offset))
    });
    let text = format!(
        "{name} is torn: {a}{at} is visible, {b} (as {}) is not: {why}",
        index.place(place.0, place.1)
    );
    let finding = Finding::new(
        "torn-transaction",
        text,
        format!("all {all} records or none"),
        format!("{count} of {all} are visible"),
    )
    .about(b)
    .told(index.transaction_story(transaction));
    if place.0 == NONE {
        finding
    } else {
        finding.at(&index.partition(place.0).name, place.1)
    }
}

/// Every reader's way through its partitions.
fn intermediate(index: &Index<'_>, verdict: &mut Verdict) {
    let mut last: BTreeMap<(u32, u32), i64> = BTreeMap::new();
    let mut steps: Vec<EventId> = index.polls.clone();
    steps.extend(&index.group_events);
    steps.sort_unstable();
    steps.dedup();
    for event in steps {
        let What::Operation(operation) = &index.event(event).what else {
            continue;
        };
        if !index.reads_committed(operation.client) {
            continue;
        }
        match &operation.action {
            Action::Poll { records, .. } => {
                for polled in records {
                    walk(index, (event, operation), polled, &mut last, verdict);
                }
            }
            Action::Assigned { partitions, .. }
            | Action::Revoked { partitions, .. }
            | Action::Lost { partitions, .. } => {
                for partition in partitions {
                    last.remove(&(operation.process.0, index.part(partition)));
                }
            }
            Action::Position { partition, .. } => {
                last.remove(&(operation.process.0, index.part(partition)));
            }
            Action::Send { .. }
            | Action::Commit { .. }
            | Action::Process { .. }
            | Action::Transaction { .. }
            | Action::Admin { .. } => {}
        }
    }
}

fn walk(
    index: &Index<'_>,
    (event, operation): (EventId, &Operation),
    polled: &Polled,
    last: &mut BTreeMap<(u32, u32), i64>,
    verdict: &mut Verdict,
) {
    let part = index.part(&polled.partition);
    let Some(visible) = index.transactions.visible.as_ref().filter(|_| part != NONE) else {
        return;
    };
    let key = (operation.process.0, part);
    let mut before = last.get(&key).copied();
    for (offset, value) in &polled.records {
        let of = value.and_then(|value| {
            let id = index.values.id(value);
            index.transactions.of_value(id).filter(|_| id.is_some())
        });
        if let (Some(before), Some(of)) = (before, of) {
            let skipped = (before + 1..offset.0).find(|at| {
                let id = visible.at(part, *at);
                id.is_some() && index.transactions.of_value(id) == Some(of)
            });
            if let Some(skipped) = skipped {
                let place = (&polled.partition, part, skipped, offset.0);
                verdict.violate(|| skips(index, event, place, of));
            }
        }
        before = Some(offset.0);
    }
    last.extend(before.map(|before| (key, before)));
}

fn skips(
    index: &Index<'_>,
    event: EventId,
    (partition, part, skipped, read): (&TopicPartition, u32, i64, i64),
    of: TransactionIndex,
) -> Finding {
    let name = index.transaction_name(of);
    let client = index.node_of(event);
    let visible = index.transactions.visible.as_ref();
    let left_out = visible.map_or(ValueId::NONE, |visible| visible.at(part, skipped));
    let value = index.values.value(left_out);
    let text = format!(
        "{client} reads offset {read} of {partition}, a record of {name}, and leaves out {value} of the same transaction at offset {skipped}"
    );
    let mut story = index.transaction_story(of);
    story.push(index.moment(
        event,
        format!("{client} reads offset {read} of {partition} without {skipped}"),
    ));
    Finding::new(
        "intermediate-read",
        text,
        format!("offset {skipped} before {read}"),
        format!("offset {read} without it"),
    )
    .at(partition, skipped)
    .about(value)
    .told(story)
}
