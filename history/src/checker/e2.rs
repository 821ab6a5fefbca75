//! E2, nothing before the decision. The anomaly: a consumer with `read_committed` is handed a record before anybody had
//! decided to commit its transaction (Jepsen's `precommitted-read`, for which a transaction that reads its own records is
//! the special case).
//!
//! By the application's word: it had not called `commitTransaction` then, or never did. By the coordinator's word, where
//! the history has it: `PrepareCommit` was not in its log.

use super::Checker;
use super::committed::{Read, reads, unclaimed};
use super::index::{EventId, Index, Transaction, wide};
use crate::event::{self, What};
use crate::manifest::Stream;
use crate::verdict::{Finding, Verdict};
use protocol::note::TransactionState;

/// E2.
pub(super) struct NotBeforeCommit;

impl Checker for NotBeforeCommit {
    fn code(&self) -> &'static str {
        "E2"
    }

    fn title(&self) -> &'static str {
        "No committed read before the decision"
    }

    fn definition(&self) -> &'static str {
        "A consumer with isolation.level=read_committed is handed no record of a transaction before commitTransaction was called for it, and none before its coordinator has PrepareCommit in its log, where the history tells (precommitted read). Claimed where a producer has a transactional.id and somebody reads committed records."
    }

    fn needs(&self) -> &'static [Stream] {
        &[Stream::Operations]
    }

    fn check(&self, index: &Index<'_>) -> Verdict {
        if let Some(verdict) = unclaimed(index, self.code()) {
            return verdict;
        }
        if !index.reads_committed.contains(&true) {
            return Verdict::not_claimed(self.code(), "nobody reads with read_committed");
        }
        let mut verdict = Verdict::new(self.code());
        let prepared = prepared(index);
        reads(index, |read| {
            verdict.judged += 1;
            let own = index.transactions.get(read.of);
            let asked = own.commit.map_or(EventId::NONE, |commit| commit.invoked);
            if asked >= read.event {
                verdict.violate(|| finding(index, read, "commitTransaction had not been called"));
                return;
            }
            if prepared[wide(read.of.0)].is_some_and(|decided| decided >= read.event) {
                let why = "its coordinator had not decided to commit it";
                verdict.violate(|| finding(index, read, why));
            }
        });
        verdict
    }
}

/// By transaction: when a coordinator was first known to have decided to commit it; never is after everything, and nothing
/// where no coordinator of its id said anything.
fn prepared(index: &Index<'_>) -> Vec<Option<EventId>> {
    let transactions = &index.transactions;
    let decided = |own: &Transaction| {
        let told = transactions.coordinated.get(own.id.as_ref()?)?;
        let from = told.partition_point(|event| *event < own.began);
        Some(decision(index, &told[from..]).unwrap_or(EventId::NONE))
    };
    transactions.all.iter().map(decided).collect()
}

/// The first word of a decision among what coordinators said since a transaction began. One that loses its office can have
/// written the decision without saying so, and then the next reads it from the log; what that one reads before the
/// transaction was ever ongoing is the decision of the transaction before.
fn decision(index: &Index<'_>, told: &[EventId]) -> Option<EventId> {
    let mut ongoing = false;
    for event in told {
        let What::Transaction(_, what) = &index.event(*event).what else {
            continue;
        };
        let (state, read) = match what {
            event::Transaction::State { state, .. } => (*state, false),
            event::Transaction::Loaded(state) => (*state, true),
            event::Transaction::TimedOut
            | event::Transaction::Fenced { .. }
            | event::Transaction::Unloaded => continue,
        };
        ongoing |= state == TransactionState::Ongoing;
        if state == TransactionState::PrepareCommit && (ongoing || !read) {
            return Some(*event);
        }
    }
    None
}

fn finding(index: &Index<'_>, read: Read<'_>, why: &str) -> Finding {
    let value = index.values.value(read.value);
    let (name, client) = (
        index.transaction_name(read.of),
        index.client_name(read.client),
    );
    let (partition, offset) = (read.partition, read.offset);
    let text = format!(
        "{client} reads {value} of {name} from {partition} at offset {offset} with read_committed, but {why}"
    );
    let mut story = index.transaction_story(read.of);
    story.push(index.moment(
        read.event,
        format!("{client} reads {value} at offset {offset} of {partition}"),
    ));
    Finding::new(
        "precommitted-read",
        text,
        "no record before its transaction commits",
        format!("{value} at offset {offset}"),
    )
    .at(partition, offset)
    .about(value)
    .told(story)
}
