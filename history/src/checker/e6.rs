//! E6, fencing. The anomaly: a newer producer of a transactional id was there (its `initTransactions` had returned), and what
//! an older one did afterwards became visible: a transaction that it committed only then, or a record that it sent only
//! then.
//!
//! Newer is who called `initTransactions` after the older one's call had returned; of two calls at the same time nobody
//! knows which won.

use super::Checker;
use super::committed::{seen_of, undecided};
use super::index::{EventId, Index, Init, Transaction, TransactionIndex, ValueId};
use crate::manifest::Stream;
use crate::verdict::{Finding, Verdict};

/// E6.
pub(super) struct Fencing;

impl Checker for Fencing {
    fn code(&self) -> &'static str {
        "E6"
    }

    fn title(&self) -> &'static str {
        "A newer producer fences an older one"
    }

    fn definition(&self) -> &'static str {
        "Once initTransactions of a newer producer with the same transactional.id has returned, nothing that an older one does becomes visible to readers of committed records: no transaction that it commits after that, and no record that it sends after that. Claimed where a producer has a transactional.id."
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
            let Some(newer) = newer(index, own) else {
                continue;
            };
            verdict.judged += 1;
            let (_, Some(first)) = seen_of(index, transaction) else {
                continue;
            };
            let late = late(index, own, newer.returned);
            let asked = own.commit.map_or(EventId::NONE, |commit| commit.invoked);
            if asked.is_some() && asked > newer.returned {
                verdict.violate(|| finding(index, transaction, newer, first));
            } else if let Some(late) = late {
                verdict.violate(|| finding(index, transaction, newer, late));
            }
        }
        verdict
    }
}

/// The first newer producer of the same transactional id.
fn newer<'i>(index: &'i Index<'_>, own: &Transaction) -> Option<&'i Init> {
    let inits = &index.transactions.inits;
    let rests_on = own.init.and_then(|init| inits.get(init));
    let since = rests_on.map_or(own.began, |init| init.returned);
    let id = own.id.as_ref()?;
    let from = inits.partition_point(|init| init.returned <= since);
    inits[from..]
        .iter()
        .find(|init| init.id == *id && init.process != own.process && init.invoked > since)
}

/// A visible record that was sent after that.
fn late(index: &Index<'_>, own: &Transaction, after: EventId) -> Option<ValueId> {
    let visible = index.transactions.visible.as_ref()?;
    let mut sends = own.sends.iter().copied();
    sends.find(|id| visible.copies(*id) > 0 && index.values.get(*id).invoked > after)
}

fn finding(
    index: &Index<'_>,
    transaction: TransactionIndex,
    newer: &Init,
    seen: ValueId,
) -> Finding {
    let name = index.transaction_name(transaction);
    let (value, client) = (index.values.value(seen), index.client_name(newer.client));
    let text = format!(
        "{value} of {name} is visible although {client} had taken over {} before",
        newer.id
    );
    let mut story = index.transaction_story(transaction);
    story.push(index.moment(
        newer.invoked,
        format!("{client} calls initTransactions as {}", newer.id),
    ));
    story.push(index.moment(
        newer.returned,
        format!("initTransactions of {client} returns: older producers are fenced"),
    ));
    let finding = Finding::new(
        "zombie-visible",
        text,
        "nothing of an older producer",
        format!("{value}"),
    )
    .about(value)
    .told(story);
    let place = index.transactions.visible.as_ref();
    match place.and_then(|visible| visible.place(seen)) {
        Some((part, offset)) => finding.at(&index.partition(part).name, offset),
        None => finding,
    }
}
