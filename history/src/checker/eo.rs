//! EO, exactly once from log to log. The anomalies: an acknowledged record that stays in the input has no visible copy, or
//! more than one, although the application reads, transforms and writes in transactions.
//!
//! It is AMO and ALO, said of the committed output instead of effects: what happened in between and was aborted counts for
//! nothing. E7 compares with the committed offset; here the input alone counts, so that offsets that ran ahead are no
//! excuse.

use super::Checker;
use super::committed::{Unseen, undecided, unseen};
use super::copies::{Copying, copies};
use super::index::{Fate, Index, ValueId, Visible};
use super::old_answers::OldAnswers;
use crate::manifest::Stream;
use crate::verdict::{Finding, Moment, Verdict};

/// EO.
pub(super) struct ExactlyOnce;

impl Checker for ExactlyOnce {
    fn code(&self) -> &'static str {
        "EO"
    }

    fn title(&self) -> &'static str {
        "Exactly once from log to log"
    }

    fn definition(&self) -> &'static str {
        "Where an application reads, transforms and writes within transactions, each acknowledged record of its input has exactly one visible copy for each time that it lies in the input. What the group had not reached when the run ended is excused (PROGRESS judges that), and so are copies that retention deleted, that are lost for a cause which PA excuses, or that an open transaction hides (E8), and those made again because a coordinator that had a successor told an older offset. Claimed for groups that commit their offsets in transactions; repeats of others are counted in the ledger."
    }

    fn needs(&self) -> &'static [Stream] {
        &[Stream::Operations]
    }

    fn check(&self, index: &Index<'_>) -> Verdict {
        if let Some(verdict) = undecided(index, self.code()) {
            return verdict;
        }
        if !(0..index.groups.len()).any(|group| copies(index, group)) {
            return Verdict::not_claimed(self.code(), "no group copies within transactions");
        }
        let mut verdict = Verdict::new(self.code());
        let Some(visible) = &index.transactions.visible else {
            return verdict;
        };
        for copying in Copying::all(index) {
            let old = OldAnswers::to(copying.group);
            for part in copying.parts() {
                judge(index, visible, (&copying, &old, part), &mut verdict);
            }
        }
        verdict
    }
}

fn judge(
    index: &Index<'_>,
    visible: &Visible,
    (copying, old, part): (&Copying, &OldAnswers, u32),
    verdict: &mut Verdict,
) {
    let end = copying.committed.get(&part).map_or(0, |end| end.0);
    for (offset, input) in copying.inputs(index, visible, part) {
        let sent = index.values.get(input);
        // A value that lies there twice is judged at its first place.
        if sent.found_at.max(0) != offset && sent.copies > 0 && sent.part == part {
            continue;
        }
        let seen = copying.outputs(visible, input).count();
        let most = usize::from(sent.copies.max(1));
        verdict.judged += 1;
        let outputs = copying.made.get(&input).map_or(&[][..], Vec::as_slice);
        if seen > most {
            let again = || {
                finding(index, (copying, part), (offset, input), (most, seen))
                    .told(story(index, outputs))
            };
            match old.why_again(index, (part, offset), outputs) {
                Some(why) => verdict.excuse(|| again().because(why)),
                None => verdict.violate(again),
            }
        } else if seen == 0 && sent.fate == Fate::Ok {
            let why = (offset >= end)
                .then(|| "the group had not got there when the run ended".to_owned())
                .or_else(|| outputs.iter().find_map(|output| admitted(index, *output)));
            let lost = || {
                finding(index, (copying, part), (offset, input), (most, seen))
                    .told(story(index, outputs))
            };
            match why {
                Some(why) => verdict.excuse(|| lost().because(why)),
                None => verdict.violate(lost),
            }
        }
    }
}

fn admitted(index: &Index<'_>, output: ValueId) -> Option<String> {
    match unseen(index, output) {
        Unseen::Deleted => Some("its copy was deleted".to_owned()),
        Unseen::Excused(why) => Some(why),
        Unseen::NotWritten | Unseen::Unexcused(_) => None,
    }
}

/// The transactions that wrote copies.
fn story(index: &Index<'_>, outputs: &[ValueId]) -> Vec<Moment> {
    let of = outputs
        .iter()
        .filter_map(|output| index.transactions.of_value(*output));
    let mut story: Vec<Moment> = of
        .take(2)
        .flat_map(|of| index.transaction_story(of))
        .collect();
    if let Some(end) = index.history.events.last() {
        story.push(Moment {
            at: end.at,
            step: end.step,
            node: String::new(),
            text: "the run ends".to_owned(),
        });
    }
    story
}

fn finding(
    index: &Index<'_>,
    (copying, part): (&Copying, u32),
    (offset, input): (i64, ValueId),
    (most, seen): (usize, usize),
) -> Finding {
    let value = index.values.value(input);
    let group = &index.groups[copying.group].id;
    let place = index.place(part, offset);
    let (anomaly, text) = if seen == 0 {
        (
            "never-copied",
            format!("{value}, acknowledged as {place}, has no visible copy made by group {group}"),
        )
    } else {
        (
            "copied-twice",
            format!("{value}, {place}, has {seen} visible copies made by group {group}"),
        )
    };
    Finding::new(anomaly, text, most.to_string(), seen.to_string())
        .at(&index.partition(part).name, offset)
        .about(value)
}
