//! E5, offsets with outputs. The anomalies: the offsets that a transaction took with it took effect and its records are not
//! visible (what was read is lost); its records are visible and the offsets did not take effect (what was read will be read
//! again).
//!
//! Whether offsets took effect is the word of the group's coordinator: it keeps them pending until the marker of the
//! transaction reaches its log.

use super::Checker;
use super::committed::{Unseen, seen_of, undecided, unseen};
use super::index::{EventId, Index, Transaction, TransactionIndex, ValueId, wide};
use crate::event::{self, Group, What};
use crate::manifest::Stream;
use crate::verdict::{Finding, Verdict};
use protocol::ids::{GroupId, Offset, ProducerId, TopicPartition, TransactionalId};
use std::collections::BTreeMap;

/// E5.
pub(super) struct OffsetsWithOutputs;

impl Checker for OffsetsWithOutputs {
    fn code(&self) -> &'static str {
        "E5"
    }

    fn title(&self) -> &'static str {
        "Offsets take effect with the records, or not at all"
    }

    fn definition(&self) -> &'static str {
        "The offsets that sendOffsetsToTransaction added to a transaction take effect if and only if its records become visible to readers of committed records. Offsets without records mean that what was read is lost; records without offsets mean that it is read again. Records that retention deleted, that are lost for a cause which PA excuses, or that an open transaction hides (E8) are excused. Claimed where a transaction takes offsets with it."
    }

    fn needs(&self) -> &'static [Stream] {
        &[Stream::Operations, Stream::Groups]
    }

    fn check(&self, index: &Index<'_>) -> Verdict {
        if let Some(verdict) = undecided(index, self.code()) {
            return verdict;
        }
        let takes = |own: &Transaction| !own.offsets.is_empty();
        if !index.transactions.all.iter().any(takes) {
            return Verdict::not_claimed(self.code(), "no transaction takes offsets with it");
        }
        let mut verdict = Verdict::new(self.code());
        let effects = Effects::of(index);
        for (transaction, own) in index.transactions.iter() {
            // Without records there is nothing to compare with.
            if takes(own) && !own.sends.is_empty() {
                verdict.judged += 1;
                judge(
                    index,
                    transaction,
                    effects.told[wide(transaction.0)],
                    &mut verdict,
                );
            }
        }
        verdict
    }
}

fn judge(
    index: &Index<'_>,
    transaction: TransactionIndex,
    effect: Option<(bool, EventId)>,
    verdict: &mut Verdict,
) {
    let (_, seen) = seen_of(index, transaction);
    match (seen, effect) {
        (Some(seen), Some((false, event))) => {
            let how = "were dropped";
            verdict.violate(|| without_offsets(index, transaction, seen, (how, Some(event))));
        }
        (Some(seen), None) => {
            let how = "never took effect";
            verdict.violate(|| without_offsets(index, transaction, seen, (how, None)));
        }
        (None, Some((true, event))) => {
            let sends = &index.transactions.get(transaction).sends;
            let mut excuses = sends.iter().map(|id| unseen(index, *id));
            let admitted = excuses.find_map(|why| match why {
                Unseen::Excused(why) => Some(why),
                Unseen::Deleted => Some("its records were deleted".to_owned()),
                Unseen::NotWritten | Unseen::Unexcused(_) => None,
            });
            match admitted {
                Some(why) => {
                    verdict.excuse(|| without_outputs(index, transaction, event).because(why));
                }
                None => verdict.violate(|| without_outputs(index, transaction, event)),
            }
        }
        (Some(_), Some((true, _))) | (None, Some((false, _)) | None) => {}
    }
}

/// What coordinators of groups made of the offsets of each transaction.
struct Effects {
    /// By transaction: whether they took effect, and when that was told.
    told: Vec<Option<(bool, EventId)>>,
}

/// Whom offsets that wait for a marker belong to.
type Pending<'h> = BTreeMap<(&'h GroupId, ProducerId), Vec<TransactionIndex>>;

impl Effects {
    fn of(index: &Index<'_>) -> Self {
        let asked = Asked::of(index);
        let mut told = vec![None; index.transactions.all.len()];
        let mut pending: Pending<'_> = BTreeMap::new();
        for event in &index.group_events {
            let What::Group(group, what) = &index.event(*event).what else {
                continue;
            };
            match what {
                Group::OffsetPending {
                    partition,
                    offset,
                    producer_id,
                } => {
                    let whose = asked.whose(*event, (group, partition, *offset), *producer_id);
                    let waiting = pending.entry((group, *producer_id)).or_default();
                    waiting.extend(whose);
                }
                Group::PendingDecided {
                    producer_id,
                    committed,
                } => {
                    let decided = pending.remove(&(group, *producer_id)).unwrap_or_default();
                    for transaction in decided {
                        told[wide(transaction.0)] = Some((*committed, *event));
                    }
                }
                Group::State(_)
                | Group::Generation { .. }
                | Group::MemberJoined(_)
                | Group::MemberRemoved { .. }
                | Group::OffsetCommitted { .. }
                | Group::CommitRefused { .. }
                | Group::OffsetExpired(_)
                | Group::Loaded { .. }
                | Group::Unloaded => {}
            }
        }
        Self { told }
    }
}

/// Who asked for which offset, in order, and which producer ids a transactional id has had.
struct Asked<'h> {
    by_offset: BTreeMap<(GroupId, TopicPartition, Offset), Vec<(EventId, TransactionIndex)>>,
    producers: BTreeMap<ProducerId, &'h TransactionalId>,
    index: &'h Index<'h>,
}

impl<'h> Asked<'h> {
    fn of(index: &'h Index<'h>) -> Self {
        let mut by_offset: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for (transaction, own) in index.transactions.iter() {
            for taken in &own.offsets {
                let key = (taken.group.clone(), taken.partition.clone(), taken.offset);
                let asked = by_offset.entry(key).or_default();
                asked.push((taken.asked, transaction));
            }
        }
        let mut producers = BTreeMap::new();
        for (id, events) in &index.transactions.coordinated {
            for event in events {
                if let What::Transaction(_, event::Transaction::State { producer_id, .. }) =
                    &index.event(*event).what
                {
                    producers.insert(*producer_id, id);
                }
            }
        }
        Self {
            by_offset,
            producers,
            index,
        }
    }

    /// The last transaction that asked for that offset before an event, of that producer where it is known.
    fn whose(
        &self,
        event: EventId,
        (group, partition, offset): (&GroupId, &TopicPartition, Offset),
        producer: ProducerId,
    ) -> Option<TransactionIndex> {
        let key = (group.clone(), partition.clone(), offset);
        let asked = self.by_offset.get(&key)?;
        let id = self.producers.get(&producer).copied();
        let fits = |transaction: TransactionIndex| {
            let own = self.index.transactions.get(transaction);
            id.is_none() || own.id.is_none() || own.id.as_ref() == id
        };
        let mut before = asked
            .iter()
            .rev()
            .filter(|(at, transaction)| *at < event && fits(*transaction));
        before.next().map(|(_, transaction)| *transaction)
    }
}

fn without_outputs(index: &Index<'_>, transaction: TransactionIndex, event: EventId) -> Finding {
    let name = index.transaction_name(transaction);
    let own = index.transactions.get(transaction);
    let text = format!("the offsets of {name} took effect, but none of its records is visible");
    let mut story = index.transaction_story(transaction);
    story.push(index.moment(event, format!("the offsets of {name} take effect")));
    let finding = Finding::new(
        "offsets-without-records",
        text,
        format!("{} records, or no offsets", own.sends.len()),
        "offsets alone",
    )
    .told(story);
    match own.offsets.first() {
        Some(taken) => finding.at(&taken.partition, taken.offset.0),
        None => finding,
    }
}

fn without_offsets(
    index: &Index<'_>,
    transaction: TransactionIndex,
    seen: ValueId,
    (how, event): (&str, Option<EventId>),
) -> Finding {
    let name = index.transaction_name(transaction);
    let own = index.transactions.get(transaction);
    let value = index.values.value(seen);
    let text = format!("{value} of {name} is visible, but the offsets of {name} {how}");
    let mut story = index.transaction_story(transaction);
    story.extend(event.map(|event| {
        let text = format!("the coordinator drops the offsets of {name}");
        index.moment(event, text)
    }));
    let finding = Finding::new(
        "records-without-offsets",
        text,
        "the offsets with the records",
        "records alone",
    )
    .about(value)
    .told(story);
    match own.offsets.first() {
        Some(taken) => finding.at(&taken.partition, taken.offset.0),
        None => finding,
    }
}
