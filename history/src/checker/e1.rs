//! E1, no aborted reads. The anomaly: a consumer with `read_committed` is handed a record of a transaction that was aborted
//! (Adya's and Jepsen's `G1a`).
//!
//! A transaction is aborted when `abortTransaction` returned or `commitTransaction` failed for certain; where its
//! application was not told, when the log has an abort marker behind the record. What a `read_uncommitted` consumer is
//! handed is counted in the ledger.

use super::Checker;
use super::committed::{Read, reads, unclaimed};
use super::index::{Decided, EventId, Fated, Index, NONE, Unmade};
use crate::manifest::Stream;
use crate::verdict::{Finding, Verdict};

/// E1.
pub(super) struct NoAbortedReads;

impl Checker for NoAbortedReads {
    fn code(&self) -> &'static str {
        "E1"
    }

    fn title(&self) -> &'static str {
        "No committed read of an aborted transaction"
    }

    fn definition(&self) -> &'static str {
        "A consumer with isolation.level=read_committed is never handed a record of a transaction that was aborted (G1a): one whose abortTransaction returned, whose commitTransaction failed for certain, or behind whose records there is an abort marker. Claimed where a producer has a transactional.id and somebody reads committed records; what others read is counted in the ledger."
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
        reads(index, |read| {
            verdict.judged += 1;
            if let Some((event, how)) = aborted(index, read) {
                verdict.violate(|| finding(index, read, event, how));
            }
        });
        verdict
    }
}

/// When and how the transaction of a record was aborted.
fn aborted(index: &Index<'_>, read: Read<'_>) -> Option<(EventId, &'static str)> {
    match index.transactions.get(read.of).fated() {
        Fated::Unmade(Unmade::Aborted(event)) => return Some((event, "abortTransaction returned")),
        Fated::Unmade(Unmade::CommitFailed(event)) => {
            return Some((event, "commitTransaction failed"));
        }
        Fated::Committed(_) | Fated::Unmade(Unmade::NeverAsked) | Fated::Unknown => {}
    }
    if read.part == NONE {
        return None;
    }
    let same = index.partition(read.part).appended.get(read.offset) == read.value.0;
    let batch = index.transactions.log.batch(read.part, read.offset)?;
    match batch.decided {
        Decided::Aborted(event) if same => Some((event, "a marker aborts it")),
        Decided::Aborted(_) | Decided::Plain | Decided::Committed(_) | Decided::Open => None,
    }
}

fn finding(index: &Index<'_>, read: Read<'_>, event: EventId, how: &str) -> Finding {
    let value = index.values.value(read.value);
    let (name, client) = (
        index.transaction_name(read.of),
        index.client_name(read.client),
    );
    let (partition, offset) = (read.partition, read.offset);
    let text = format!(
        "{client} reads {value} from {partition} at offset {offset} with read_committed, but {name} was aborted"
    );
    let mut story = index.transaction_story(read.of);
    story.push(index.moment(event, format!("{name} is aborted: {how}")));
    story.push(index.moment(
        read.event,
        format!("{client} reads {value} at offset {offset} of {partition}"),
    ));
    Finding::new(
        "aborted-read",
        text,
        "no trace of an aborted transaction",
        format!("{value} at offset {offset}"),
    )
    .at(partition, offset)
    .about(value)
    .told(story)
}
