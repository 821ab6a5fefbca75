//! E9, conservation. The anomaly: the sum of what the visible records add to accounts is not zero, although each transfer
//! writes both of its sides in one transaction.
//!
//! The sum is taken over everything that a reader of committed records sees in the end. An earlier cut proves less: markers
//! reach the partitions of a transaction one by one, so that a sum over partitions is zero only where no transaction is
//! under way; and what is torn there stays torn, because no marker is ever taken back.

use super::Checker;
use super::committed::{Unseen, seen_of, undecided, unseen};
use super::index::{Index, TransactionIndex, ValueId, wide};
use crate::manifest::Stream;
use crate::verdict::{Finding, Moment, Verdict};
use std::collections::BTreeMap;

/// E9.
pub(super) struct Conservation;

impl Checker for Conservation {
    fn code(&self) -> &'static str {
        "E9"
    }

    fn title(&self) -> &'static str {
        "Money is neither made nor lost"
    }

    fn definition(&self) -> &'static str {
        "Where transactions transfer amounts between accounts, so that the amounts of each add up to zero, all that is visible to readers of committed records adds up to zero in the end. A difference made by records that retention deleted, that are lost for a cause which PA excuses, or that an open transaction hides (E8) is excused. Claimed where records carry amounts."
    }

    fn needs(&self) -> &'static [Stream] {
        &[Stream::Operations]
    }

    fn check(&self, index: &Index<'_>) -> Verdict {
        if let Some(verdict) = undecided(index, self.code()) {
            return verdict;
        }
        let transactions = &index.transactions;
        if transactions.amounts.is_empty() {
            return Verdict::not_claimed(self.code(), "no record carries an amount");
        }
        let mut verdict = Verdict::new(self.code());
        let Some(visible) = &transactions.visible else {
            return verdict;
        };
        let partly: Vec<bool> = transactions
            .iter()
            .map(|(of, _)| seen_of(index, of).0 > 0)
            .collect();
        let mut sums: BTreeMap<Option<TransactionIndex>, i64> = BTreeMap::new();
        let mut hidden: Option<(ValueId, String)> = None;
        let (mut sum, mut excused) = (0_i64, 0_i64);
        for (id, amount) in &transactions.amounts {
            verdict.judged += 1;
            let copies = i64::from(visible.copies(*id));
            sum += amount * copies;
            *sums.entry(transactions.of_value(*id)).or_default() += amount * copies;
            let of = transactions.of_value(*id);
            if copies == 0 && of.is_some_and(|of| partly[wide(of.0)]) {
                match unseen(index, *id) {
                    Unseen::Deleted => {
                        excused += amount;
                        hidden = hidden.or(Some((*id, "it was deleted".to_owned())));
                    }
                    Unseen::Excused(why) => {
                        excused += amount;
                        hidden = hidden.or(Some((*id, why)));
                    }
                    Unseen::NotWritten | Unseen::Unexcused(_) => {}
                }
            }
        }
        if sum == 0 {
            return verdict;
        }
        let uneven = sums.iter().find(|(_, sum)| **sum != 0);
        let uneven = uneven.and_then(|(of, sum)| of.map(|of| (of, *sum)));
        match hidden.filter(|_| sum + excused == 0) {
            Some((id, why)) => {
                let why = format!("{}: {why}", index.values.value(id));
                verdict.excuse(|| finding(index, sum, uneven).because(why));
            }
            None => verdict.violate(|| finding(index, sum, uneven)),
        }
        verdict
    }
}

fn finding(index: &Index<'_>, sum: i64, uneven: Option<(TransactionIndex, i64)>) -> Finding {
    let (culprit, story): (String, Vec<Moment>) =
        uneven.map_or_else(Default::default, |(of, part)| {
            (
                format!(
                    "; the visible records of {} add up to {part}",
                    index.transaction_name(of)
                ),
                index.transaction_story(of),
            )
        });
    let text = format!("the visible records add up to {sum}{culprit}");
    Finding::new("not-conserved", text, "a sum of 0", format!("{sum}")).told(story)
}
