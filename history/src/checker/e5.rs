//! E5, offsets with outputs. The anomalies: the offsets that a transaction took with it took effect and its records are not
//! visible (what was read is lost); its records are visible and the offsets did not take effect (what was read will be read
//! again).
//!
//! Whether offsets took effect is the word of the group's coordinator: it keeps them pending until the marker of the
//! transaction reaches its log. A coordinator may die between the two, and its successor finds the decision in the log and
//! says nothing: then nobody knows, and there is nothing to judge.

use super::Checker;
use super::committed::{Unseen, seen_of, undecided, unseen};
use super::index::{EventId, Index, Transaction, TransactionIndex, ValueId, wide};
use crate::event::{self, Append, Group, Replica, What};
use crate::manifest::Stream;
use crate::verdict::{Finding, Verdict};
use protocol::ids::{GroupId, Offset, ProducerId, TopicPartition, TransactionalId};
use std::collections::BTreeMap;

/// The topic that has the offsets of groups.
const OFFSETS: &str = "__consumer_offsets";

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
            let effect = effects.of[wide(transaction.0)];
            // Without records there is nothing to compare with, and without a word nothing to compare.
            if takes(own) && !own.sends.is_empty() && !matches!(effect, Effect::Untold) {
                verdict.judged += 1;
                judge(index, transaction, effect, &mut verdict);
            }
        }
        verdict
    }
}

fn judge(index: &Index<'_>, transaction: TransactionIndex, effect: Effect, verdict: &mut Verdict) {
    let (_, seen) = seen_of(index, transaction);
    match (seen, effect) {
        (Some(seen), Effect::Dropped(event)) => {
            let how = "were dropped";
            verdict.violate(|| without_offsets(index, transaction, seen, (how, Some(event))));
        }
        (Some(seen), Effect::None) => {
            let how = "never took effect";
            verdict.violate(|| without_offsets(index, transaction, seen, (how, None)));
        }
        (None, Effect::Taken(event)) => {
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
        (Some(_), Effect::Taken(_))
        | (None, Effect::Dropped(_) | Effect::None)
        | (_, Effect::Untold) => {}
    }
}

/// What the coordinator of a group made of the offsets of a transaction.
#[derive(Clone, Copy)]
enum Effect {
    /// Nothing.
    None,
    /// They took effect.
    Taken(EventId),
    /// They did not.
    Dropped(EventId),
    /// It did not live to tell.
    Untold,
}

/// What coordinators of groups made of the offsets of each transaction.
struct Effects {
    /// By transaction.
    of: Vec<Effect>,
}

/// How far the decision about offsets has got that wait for it to be told.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Decision {
    /// No marker is in the log of the group.
    Open,
    /// A marker is there, and the coordinator that waits for it will tell.
    Logged,
    /// A coordinator has read it with everything else that was in the log before its time.
    Loaded,
}

/// Offsets that wait for a word of a coordinator.
#[derive(Default)]
struct Waiting<'h> {
    /// Of whom, and how far.
    pending: BTreeMap<(&'h GroupId, ProducerId), Vec<(TransactionIndex, Decision)>>,
    /// Of whom the last thing in the log of the groups is a marker, and whether that was told. A coordinator says that offsets
    /// are pending when they are replicated, and by then their marker may be there, and be replicated, too.
    ended: BTreeMap<ProducerId, bool>,
}

impl Effects {
    fn of(index: &Index<'_>) -> Self {
        let asked = Asked::of(index);
        let mut effects = Self {
            of: vec![Effect::None; index.transactions.all.len()],
        };
        let mut waiting = Waiting::default();
        for (id, event) in (0..).map(EventId).zip(&index.history.events) {
            if let What::Group(group, what) = &event.what {
                effects.on_group(&asked, &mut waiting, (id, group, what));
            } else if let What::Replica(home, Replica::Appended(append)) = &event.what
                && home.topic.as_str() == OFFSETS
            {
                effects.on_logged(&mut waiting, append);
            }
        }
        for (own, decision) in waiting.pending.into_values().flatten() {
            effects.leave(own, decision);
        }
        effects
    }

    fn on_group<'h>(
        &mut self,
        asked: &Asked<'_>,
        waiting: &mut Waiting<'h>,
        (event, group, what): (EventId, &'h GroupId, &Group),
    ) {
        match what {
            Group::OffsetPending {
                partition,
                offset,
                producer_id,
            } => {
                let Some(own) = asked.whose(event, (group, partition, *offset), *producer_id)
                else {
                    return;
                };
                let decision = match waiting.ended.get(producer_id) {
                    Some(true) => return,
                    Some(false) => Decision::Logged,
                    None => Decision::Open,
                };
                let all = waiting.pending.entry((group, *producer_id)).or_default();
                // What a former coordinator has left behind is decided: what is told from now on is about this one.
                all.retain(|(other, decision)| *other == own || !self.leave(*other, *decision));
                all.push((own, decision));
            }
            Group::PendingDecided {
                producer_id,
                committed,
            } => {
                if let Some(told) = waiting.ended.get_mut(producer_id) {
                    *told = true;
                }
                let decided = waiting.pending.remove(&(group, *producer_id));
                for (own, _) in decided.unwrap_or_default() {
                    self.of[wide(own.0)] = if *committed {
                        Effect::Taken(event)
                    } else {
                        Effect::Dropped(event)
                    };
                }
            }
            Group::Loaded { .. } => {
                let is_here = |of: &GroupId, _| of == group;
                waiting.turn(is_here, Decision::Logged, Decision::Loaded);
            }
            Group::State(_)
            | Group::Generation { .. }
            | Group::MemberJoined(_)
            | Group::MemberRemoved { .. }
            | Group::OffsetCommitted { .. }
            | Group::CommitRefused { .. }
            | Group::OffsetExpired(_)
            | Group::Unloaded => {}
        }
    }

    /// A marker in the log that has the offsets decides all that its producer has there; what follows it is of another
    /// transaction.
    fn on_logged(&mut self, waiting: &mut Waiting<'_>, append: &Append) {
        let Some((producer, ..)) = append.producer.filter(|_| append.leader) else {
            return;
        };
        if append.control {
            waiting.ended.insert(producer, false);
            waiting.turn(|_, of| of == producer, Decision::Open, Decision::Logged);
            return;
        }
        waiting.ended.remove(&producer);
        let of_it = waiting
            .pending
            .iter_mut()
            .filter(|((_, of), _)| *of == producer);
        for (_, all) in of_it {
            all.retain(|(own, decision)| !self.leave(*own, *decision));
        }
    }

    /// Nobody will tell about offsets that a new coordinator has found decided; whether these are such.
    fn leave(&mut self, own: TransactionIndex, decision: Decision) -> bool {
        let left = decision == Decision::Loaded;
        if left {
            self.of[wide(own.0)] = Effect::Untold;
        }
        left
    }
}

impl Waiting<'_> {
    fn turn(&mut self, of: impl Fn(&GroupId, ProducerId) -> bool, from: Decision, to: Decision) {
        let meant = self
            .pending
            .iter_mut()
            .filter(|((group, id), _)| of(group, *id));
        for (_, decision) in meant.flat_map(|(_, all)| all) {
            if *decision == from {
                *decision = to;
            }
        }
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
