//! P1, acknowledged by the leader. The anomaly: with acks=1 a record is acknowledged that no leader had, or is lost without
//! any election or lost disk.
//!
//! A loss after an election whose winner lacked the record is what acks=1 admits: excused, and reported with that election.

use super::Checker;
use super::index::{Acks, Fate, Index, NONE, Sent, ValueId};
use super::loss::{Cause, Level, Record, cause, holders, story};
use crate::manifest::Stream;
use crate::verdict::{Answer, Finding, Verdict};

/// P1.
pub(super) struct LeaderAcknowledged;

impl Checker for LeaderAcknowledged {
    fn code(&self) -> &'static str {
        "P1"
    }

    fn title(&self) -> &'static str {
        "acks=1: the leader has what it acknowledged"
    }

    fn definition(&self) -> &'static str {
        "When a record sent with acks=1 is acknowledged its leader holds it at that offset, and it is lost only by an election whose winner lacked it or by the leader's disk. Such a loss is excused and named. Claimed for producers with acks=1."
    }

    fn needs(&self) -> &'static [Stream] {
        &[Stream::Operations, Stream::Brokers, Stream::FinalRead]
    }

    fn check(&self, index: &Index<'_>) -> Verdict {
        if !index.any_producer(|facts| facts.acks == Acks::One) {
            return Verdict::not_claimed(self.code(), "no producer runs with acks=1");
        }
        let mut verdict = Verdict::new(self.code());
        judge_losses(index, &mut verdict, Acks::One, Level::Leader);
        verdict
    }
}

/// Judges every acknowledged record of the producers with some `acks`.
pub(super) fn judge_losses(index: &Index<'_>, verdict: &mut Verdict, acks: Acks, level: Level) {
    let concerned: Vec<bool> = index
        .producers
        .iter()
        .map(|facts| facts.as_ref().is_some_and(|facts| facts.acks == acks))
        .collect();
    let mut untold = 0;
    for (id, sent) in index.values.all() {
        if sent.fate != Fate::Ok || concerned.get(usize::from(sent.client)) != Some(&true) {
            continue;
        }
        verdict.judged += 1;
        if index.is_lost(sent) {
            untold += u64::from(!judge_loss(index, verdict, id, level));
        } else if never_appended(index, id, sent) {
            verdict.violate(|| never(index, id));
        }
    }
    if untold > 0 && !verdict.is_violated() {
        verdict.answer = Answer::Unknown(format!(
            "{untold} acknowledged records are missing from the final read, which was cut short or has no word of the brokers beside it: no cause can be named"
        ));
    }
}

/// Judges one lost record; whether the history told its cause.
fn judge_loss(index: &Index<'_>, verdict: &mut Verdict, id: ValueId, level: Level) -> bool {
    let record = Record::acknowledged(index, id);
    match cause(index, record, level) {
        Cause::Excused(why) => {
            verdict.excuse(|| lost(index, id, "acknowledged-lost", &why).because(why));
        }
        Cause::Unexcused(why) => verdict.violate(|| lost(index, id, "acknowledged-lost", &why)),
        Cause::Unread if index.partition(record.part).gone => {
            let why =
                "its topic was deleted without being asked for, though a replica still has it";
            verdict.violate(|| lost(index, id, "acknowledged-lost", why));
        }
        Cause::Unread if index.partition(record.part).read_failed => return false,
        Cause::Unread => {
            let why = "its leader has it, yet the final read did not return it";
            verdict.violate(|| lost(index, id, "acknowledged-unread", why));
        }
        Cause::Untold => {
            if verdict.findings.len() < crate::verdict::WITNESSES {
                verdict.findings.push(lost(
                    index,
                    id,
                    "acknowledged-lost",
                    "the history does not tell how",
                ));
            }
            return false;
        }
    }
    true
}

fn lost(index: &Index<'_>, id: ValueId, anomaly: &str, why: &str) -> Finding {
    let sent = index.values.get(id);
    let value = index.values.value(id);
    let record = Record::acknowledged(index, id);
    let place = index.place(sent.part, sent.offset);
    let text = format!("{value} was acknowledged as {place} and is not there in the end: {why}");
    let found = if sent.part == NONE {
        ValueId::NONE
    } else {
        index.found(sent.part, sent.offset)
    };
    let seen = if found.is_some() {
        format!("{} in its place", index.values.value(found))
    } else {
        "nothing".to_owned()
    };
    let finding = Finding::new(anomaly, text, format!("{value} in the final read"), seen)
        .about(value)
        .told(story(index, record, Some(sent)));
    if sent.part == NONE {
        finding
    } else {
        finding.at(&index.partition(sent.part).name, sent.offset)
    }
}

/// Whether an acknowledged record was at its offset in no replica when it was acknowledged.
fn never_appended(index: &Index<'_>, id: ValueId, sent: &Sent) -> bool {
    if sent.part == NONE || sent.offset < 0 {
        return false;
    }
    let partition = index.partition(sent.part);
    if partition.appended.get(sent.offset) == id.0 || partition.replicas.is_empty() {
        return false;
    }
    holders(index, Record::acknowledged(index, id), sent.ended).is_empty()
}

fn never(index: &Index<'_>, id: ValueId) -> Finding {
    let sent = index.values.get(id);
    let value = index.values.value(id);
    let place = index.place(sent.part, sent.offset);
    let text = format!("{value} was acknowledged as {place}, where no replica had it");
    let seen = index.place(sent.part, sent.found_at);
    Finding::new(
        "acknowledged-elsewhere",
        text,
        place,
        format!("the log has it as {seen}"),
    )
    .at(&index.partition(sent.part).name, sent.offset)
    .about(value)
    .told(story(index, Record::acknowledged(index, id), Some(sent)))
}
