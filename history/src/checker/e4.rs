//! E4, the fate that was told. The anomalies: `commitTransaction` returned and a record of the transaction is not visible;
//! `abortTransaction` returned, or `commitTransaction` failed for certain or was never called, and one is.
//!
//! Where nobody knows how a transaction ended, everything or nothing of it is visible, which E3 judges.

use super::Checker;
use super::committed::{Unseen, seen_of, undecided, unseen};
use super::index::{Fate, Fated, Index, NONE, TransactionIndex, Unmade, ValueId};
use crate::manifest::Stream;
use crate::verdict::{Finding, Verdict};

/// E4.
pub(super) struct TransactionFate;

impl Checker for TransactionFate {
    fn code(&self) -> &'static str {
        "E4"
    }

    fn title(&self) -> &'static str {
        "A transaction ends as its application was told"
    }

    fn definition(&self) -> &'static str {
        "When commitTransaction returned, every record of the transaction is visible to readers of committed records in the end. When abortTransaction returned, or commitTransaction failed for certain or was never called, none is. When nobody knows, both are lawful. What retention deleted is no matter; records that are lost for a cause which PA excuses, or that an open transaction hides (E8), are excused. Claimed where a producer has a transactional.id."
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
            verdict.judged += 1;
            match own.fated() {
                Fated::Committed(_) => committed(index, transaction, &mut verdict),
                Fated::Unmade(why) => {
                    if let (count, Some(first)) = seen_of(index, transaction) {
                        verdict.violate(|| unmade(index, transaction, (count, first), why));
                    }
                }
                Fated::Unknown => {}
            }
        }
        verdict
    }
}

fn committed(index: &Index<'_>, transaction: TransactionIndex, verdict: &mut Verdict) {
    let Some(visible) = &index.transactions.visible else {
        return;
    };
    let sends = &index.transactions.get(transaction).sends;
    for id in sends.iter().filter(|id| visible.copies(**id) == 0) {
        // What its own application knows did not happen is in no transaction.
        if index.values.get(*id).fate == Fate::Fail {
            continue;
        }
        match unseen(index, *id) {
            Unseen::Deleted => {}
            Unseen::Excused(why) => {
                verdict.excuse(|| hidden(index, transaction, *id, &why).because(why));
            }
            Unseen::NotWritten => {
                let why = "it never got into the log";
                verdict.violate(|| hidden(index, transaction, *id, why));
            }
            Unseen::Unexcused(why) => verdict.violate(|| hidden(index, transaction, *id, &why)),
        }
    }
}

fn hidden(index: &Index<'_>, transaction: TransactionIndex, id: ValueId, why: &str) -> Finding {
    let name = index.transaction_name(transaction);
    let value = index.values.value(id);
    let text = format!("{name} was committed, but its record {value} is not visible: {why}");
    located(
        index,
        Finding::new(
            "committed-not-visible",
            text,
            format!("{value} for every reader of committed records"),
            why,
        ),
        id,
    )
    .told(index.transaction_story(transaction))
}

fn unmade(
    index: &Index<'_>,
    transaction: TransactionIndex,
    (count, first): (usize, ValueId),
    why: Unmade,
) -> Finding {
    let name = index.transaction_name(transaction);
    let value = index.values.value(first);
    let (anomaly, how) = match why {
        Unmade::Aborted(_) => ("aborted-visible", "was aborted"),
        Unmade::CommitFailed(_) => ("aborted-visible", "failed to commit for certain"),
        Unmade::NeverAsked => ("uncommitted-visible", "was never asked to commit"),
    };
    let text = format!("{name} {how}, but its record {value} is visible");
    located(
        index,
        Finding::new(
            anomaly,
            text,
            "none of its records",
            format!("{count} of its records"),
        ),
        first,
    )
    .told(index.transaction_story(transaction))
}

fn located(index: &Index<'_>, finding: Finding, id: ValueId) -> Finding {
    let sent = index.values.get(id);
    let finding = finding.about(index.values.value(id));
    if sent.part == NONE {
        return finding;
    }
    let offset = sent.found_at.max(sent.offset);
    finding.at(&index.partition(sent.part).name, offset)
}
