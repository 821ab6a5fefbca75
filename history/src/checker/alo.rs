//! ALO, at least once. The anomaly: an acknowledged record that stays in the log is never acted on by a group that read past
//! it.
//!
//! Records that the group had not reached when the run ended are a matter of PROGRESS, and records before the position at
//! which a new group began are none of its business: both excused. A group that was there when a partition was added is not
//! new to it (KIP-842): it owes an effect for everything in it.

use super::Checker;
use super::effects::{Effects, effects, operation};
use super::index::{EventId, Fate, Index, NONE, Sent, ValueId, wide};
use super::loss::{Record, story};
use super::relapse::relapses;
use crate::manifest::{CommitPolicy, Stream};
use crate::operation::Action;
use crate::verdict::{Finding, Verdict};
use protocol::verb::ResetReason;

/// ALO.
pub(super) struct AtLeastOnce;

/// Whether a policy promises at least once.
fn claims(commit: CommitPolicy) -> bool {
    matches!(commit, CommitPolicy::After | CommitPolicy::Auto)
}

impl Checker for AtLeastOnce {
    fn code(&self) -> &'static str {
        "ALO"
    }

    fn title(&self) -> &'static str {
        "Commit after processing: at least once"
    }

    fn definition(&self) -> &'static str {
        "A group whose members commit after they process (or automatically inside poll) acts on every acknowledged record that stays in the log at least once. What a new group skipped because it began at the end of the log, and what it had not reached when the run ended, is excused (the latter is judged by PROGRESS), and so is what a leader that lost power and led again in its own epoch wrote where the group had been; everything in a partition that was added to a topic the group was reading is its business. Claimed for such groups; records never processed by others are counted in the ledger."
    }

    fn needs(&self) -> &'static [Stream] {
        &[Stream::Operations, Stream::FinalRead]
    }

    fn check(&self, index: &Index<'_>) -> Verdict {
        if !index.groups.iter().any(|group| claims(group.commit)) {
            return Verdict::not_claimed(self.code(), "no group commits after it processes");
        }
        let mut verdict = Verdict::new(self.code());
        let groups = effects(index, |_| {});
        for (group, effects) in groups.iter().enumerate() {
            if claims(index.groups[group].commit) {
                judge_group(index, group, effects, &mut verdict);
            }
        }
        if verdict.judged == 0 {
            verdict.answer = crate::verdict::Answer::Unknown(
                "no group got a partition with acknowledged records".to_owned(),
            );
        }
        verdict
    }
}

fn judge_group(index: &Index<'_>, group: usize, effects: &Effects, verdict: &mut Verdict) {
    for (id, sent) in index.values.all() {
        if !due(index, (group, effects), id) {
            continue;
        }
        verdict.judged += 1;
        if effects.first[wide(id.0)].is_some() {
            continue;
        }
        match excuse(index, effects, sent).or_else(|| overwritten(index, group, sent)) {
            Some(why) => verdict.excuse(|| finding(index, group, id).because(why)),
            None => verdict.violate(|| finding(index, group, id)),
        }
    }
}

/// Whether a group owes an effect for a record: acknowledged, still there for those who read as it does, and of a partition
/// that it read.
pub(crate) fn due(index: &Index<'_>, (group, effects): (usize, &Effects), id: ValueId) -> bool {
    let sent = index.values.get(id);
    sent.fate == Fate::Ok
        && sent.copies > 0
        && (!index.groups[group].read_committed || index.transactions.is_seen(id))
        && (effects.started.contains_key(&sent.part) || effects.reached.contains_key(&sent.part))
}

/// Why a record without effect is excused.
pub(crate) fn excuse(index: &Index<'_>, effects: &Effects, sent: &Sent) -> Option<String> {
    if let Some((offset, reason, _)) = effects.started.get(&sent.part)
        && sent.found_at < *offset
    {
        let was_new = match reason {
            ResetReason::NoCommit => !was_there_before(index, effects, sent.part),
            ResetReason::Seek => true,
            ResetReason::Committed | ResetReason::OutOfRange | ResetReason::Truncated => false,
        };
        if was_new {
            return Some(format!("the group began at offset {offset}"));
        }
    }
    let reached = effects.reached.get(&sent.part).copied().unwrap_or(0);
    (sent.found_at >= reached).then(|| "the group had not got there when the run ended".to_owned())
}

/// The group had been there before a leader lost that place and wrote it anew in the same epoch: positions and committed
/// offsets carry the epoch, and nothing tells them from new ones.
fn overwritten(index: &Index<'_>, group: usize, sent: &Sent) -> Option<String> {
    let name = &index.partition(sent.part).name;
    let been = |at: EventId| {
        let polls = index.polls.iter().take_while(|poll| **poll < at);
        let mut polls = polls.filter_map(|poll| operation(index, *poll));
        polls.any(|poll| {
            let Action::Poll { records, .. } = &poll.action else {
                return false;
            };
            let mut theirs = records.iter().filter(|polled| polled.partition == *name);
            index.group_of_client(poll.client) == Some(group)
                && theirs.any(|polled| {
                    let last = polled.records.last();
                    last.is_some_and(|(last, _)| last.0 >= sent.found_at)
                })
        })
    };
    let relapses = relapses(index, sent.part).into_iter();
    let mut before =
        relapses.filter(|relapse| relapse.to <= sent.found_at && relapse.event < sent.ended);
    let relapse = before.find(|relapse| been(relapse.event))?;
    Some(format!("{relapse}, behind where the group had been"))
}

/// Whether the group read the topic before this partition had its first leader.
fn was_there_before(index: &Index<'_>, effects: &Effects, part: u32) -> bool {
    let partition = index.partition(part);
    let Some(born) = partition.elections.first() else {
        return false;
    };
    effects.started.iter().any(|(other, (_, _, began))| {
        *other != NONE
            && index.partition(*other).name.topic == partition.name.topic
            && *began < born.event
    })
}

fn finding(index: &Index<'_>, group: usize, id: ValueId) -> Finding {
    let sent = index.values.get(id);
    let value = index.values.value(id);
    let name = &index.groups[group].id;
    let place = index.place(sent.part, sent.found_at);
    let text = format!("{value}, acknowledged and in {place}, was never acted on by group {name}");
    let mut moments = story(index, Record::acknowledged(index, id), Some(sent));
    moments.extend(super::effects::handling(
        index,
        group,
        (&index.partition(sent.part).name, sent.found_at),
    ));
    Finding::new("never-processed", text, "at least one effect", "none")
        .at(&index.partition(sent.part).name, sent.found_at)
        .about(value)
        .told(moments)
}
