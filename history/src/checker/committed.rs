//! What readers of committed records saw, and why somebody does not see a record of a transaction.

use super::index::{Acks, Decided, EventId, Index, NONE, TransactionIndex, ValueId};
use super::loss::{Cause, Level, Record, cause};
use crate::event::What;
use crate::operation::Action;
use crate::verdict::{Answer, Verdict};
use protocol::ids::TopicPartition;

/// One record of a transaction, polled by somebody who reads committed records only.
#[derive(Clone, Copy)]
pub(super) struct Read<'h> {
    pub(super) event: EventId,
    pub(super) client: u16,
    pub(super) partition: &'h TopicPartition,
    pub(super) part: u32,
    pub(super) offset: i64,
    pub(super) value: ValueId,
    pub(super) of: TransactionIndex,
}

/// Every record of a transaction that a reader of committed records polled.
pub(super) fn reads<'h>(index: &Index<'h>, mut each: impl FnMut(Read<'h>)) {
    for event in &index.polls {
        let What::Operation(operation) = &index.event(*event).what else {
            continue;
        };
        let Action::Poll { records, .. } = &operation.action else {
            continue;
        };
        if !index.reads_committed(operation.client) {
            continue;
        }
        for polled in records {
            let part = index.part(&polled.partition);
            let valued = polled
                .records
                .iter()
                .filter_map(|(offset, value)| Some((offset.0, index.values.id((*value)?))));
            for (offset, value) in valued.filter(|(_, value)| value.is_some()) {
                if let Some(of) = index.transactions.of_value(value) {
                    each(Read {
                        event: *event,
                        client: operation.client,
                        partition: &polled.partition,
                        part,
                        offset,
                        value,
                        of,
                    });
                }
            }
        }
    }
}

/// Nobody has a transactional id: nothing is promised.
pub(super) fn unclaimed(index: &Index<'_>, code: &str) -> Option<Verdict> {
    let transactional = index.any_producer(|facts| facts.transactional);
    (!transactional).then(|| Verdict::not_claimed(code, "no producer has a transactional.id"))
}

/// Nobody promises, or the history does not tell what a reader of committed records sees in the end.
pub(super) fn undecided(index: &Index<'_>, code: &str) -> Option<Verdict> {
    unclaimed(index, code).or_else(|| {
        let told = index.transactions.visible.is_some();
        (!told).then(|| {
            let why = "the history has neither a read with read_committed at its end nor a word of the brokers";
            Verdict {
                answer: Answer::Unknown(why.to_owned()),
                ..Verdict::new(code)
            }
        })
    })
}

/// Why a record is not visible.
pub(super) enum Unseen {
    /// It never got into the log.
    NotWritten,
    /// Retention or DeleteRecords took it.
    Deleted,
    /// Something that another guarantee answers for.
    Excused(String),
    /// Nothing admits it.
    Unexcused(String),
}

/// Why a reader of committed records does not see a record that was sent.
pub(super) fn unseen(index: &Index<'_>, id: ValueId) -> Unseen {
    let sent = index.values.get(id);
    if index.is_deleted(sent) {
        return Unseen::Deleted;
    }
    let place = (sent.part, sent.found_at.max(sent.offset));
    if place.0 == NONE {
        return Unseen::NotWritten;
    }
    if sent.copies > 0 || (!index.whole && sent.offset >= 0) {
        let log = &index.transactions.log;
        if let Some(open) = log.first_open(place.0).filter(|open| open.base <= place.1) {
            return Unseen::Excused(format!(
                "a transaction that nobody ends holds the last stable offset of {} at {}",
                index.partition(place.0).name,
                open.base
            ));
        }
        let decided = log.batch(place.0, place.1).map(|batch| batch.decided);
        return Unseen::Unexcused(match decided {
            Some(Decided::Aborted(_)) => "a marker aborts it".to_owned(),
            Some(Decided::Committed(_)) => "a marker commits it, yet nobody sees it".to_owned(),
            Some(Decided::Plain) => "it was written outside of a transaction".to_owned(),
            Some(Decided::Open) => "no marker follows it".to_owned(),
            None => "it is in the log".to_owned(),
        });
    }
    if sent.offset < 0 {
        return Unseen::NotWritten;
    }
    let all = index
        .producer(sent.client)
        .is_some_and(|facts| facts.acks == Acks::All);
    let level = if all { Level::InSync } else { Level::Leader };
    match cause(index, Record::acknowledged(index, id), level) {
        Cause::Excused(why) => Unseen::Excused(format!("it is lost: {why}")),
        Cause::Unexcused(why) => Unseen::Unexcused(format!("it is lost: {why}")),
        Cause::Unread => Unseen::Unexcused("its leader has it, yet nobody reads it".to_owned()),
        Cause::Untold => Unseen::Unexcused("it is not in the log".to_owned()),
    }
}

/// How many records of a transaction are seen, and the first of them.
pub(super) fn seen_of(
    index: &Index<'_>,
    transaction: TransactionIndex,
) -> (usize, Option<ValueId>) {
    let Some(visible) = &index.transactions.visible else {
        return (0, None);
    };
    let sends = &index.transactions.get(transaction).sends;
    let mut seen = sends.iter().filter(|id| visible.copies(**id) > 0);
    let first = seen.next().copied();
    (usize::from(first.is_some()) + seen.count(), first)
}
