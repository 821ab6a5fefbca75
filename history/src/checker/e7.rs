//! E7, the copy test. The anomalies: an application reads, transforms and writes in transactions, and below its committed
//! offset an input has no visible output (lost) or several (copied twice); above it an input has one; or two outputs stand
//! in another order than their inputs.
//!
//! An output names the input that it was made from, so that the test knows no transformation: one output for each input is
//! what these applications write. Order is judged for each pair of an input and an output partition.

use super::Checker;
use super::committed::{Unseen, undecided, unseen};
use super::copies::{Copying, copies};
use super::index::{EventId, Index, ValueId, Visible};
use super::old_answers::OldAnswers;
use crate::manifest::Stream;
use crate::verdict::{Finding, Moment, Verdict};
use std::collections::BTreeMap;

/// E7.
pub(super) struct CopyTest;

impl Checker for CopyTest {
    fn code(&self) -> &'static str {
        "E7"
    }

    fn title(&self) -> &'static str {
        "The output is the input below the committed offset, once and in order"
    }

    fn definition(&self) -> &'static str {
        "Where an application reads, transforms and writes within transactions, the visible output is made of exactly the visible input below the group's committed offset, each once, and none above; and from one input partition into one output partition the order is kept. An input that lies in its log twice is copied twice. Outputs that retention deleted, that are lost for a cause which PA excuses, or that an open transaction hides (E8) are excused, and so are copies made again because a coordinator that had a successor told an older offset. Claimed for groups that commit their offsets in transactions."
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
                let scope = Scope {
                    index,
                    visible,
                    copying: &copying,
                    old: &old,
                    part,
                };
                scope.judge(&mut verdict);
            }
        }
        verdict
    }
}

/// One group and one partition of its input.
#[derive(Clone, Copy)]
struct Scope<'a, 'h> {
    index: &'a Index<'h>,
    visible: &'a Visible,
    copying: &'a Copying,
    old: &'a OldAnswers,
    part: u32,
}

impl Scope<'_, '_> {
    fn judge(&self, verdict: &mut Verdict) {
        let (end, told) = self
            .copying
            .committed
            .get(&self.part)
            .copied()
            .unwrap_or((0, EventId::NONE));
        // By output partition: the last output and its input's offset.
        let mut last: BTreeMap<u32, (i64, i64, ValueId)> = BTreeMap::new();
        let mut owed: BTreeMap<ValueId, usize> = BTreeMap::new();
        let inputs: Vec<(i64, ValueId)> = self
            .copying
            .inputs(self.index, self.visible, self.part)
            .collect();
        for (_, input) in inputs.iter().filter(|(offset, _)| *offset < end) {
            *owed.entry(*input).or_default() += 1;
        }
        for (offset, input) in inputs {
            verdict.judged += 1;
            let Some(due) = owed.remove(&input).or((offset >= end).then_some(0)) else {
                // Its first place was judged already.
                continue;
            };
            let outputs: Vec<ValueId> = self.copying.outputs(self.visible, input).collect();
            if outputs.len() < due {
                self.lost((offset, input), told, verdict);
            } else if outputs.len() > due {
                self.too_many((offset, input), (due, &outputs), told, verdict);
            }
            if let [output] = outputs.as_slice() {
                self.order((offset, *output), &mut last, verdict);
            }
        }
    }

    fn too_many(
        &self,
        (offset, input): (i64, ValueId),
        (due, outputs): (usize, &[ValueId]),
        told: EventId,
        verdict: &mut Verdict,
    ) {
        let anomaly = if due == 0 {
            "copied-too-far"
        } else {
            "copied-twice"
        };
        let finding = || {
            wrong(
                self.index,
                (self.copying, self.part),
                (offset, input),
                anomaly,
                (due, outputs.len()),
            )
            .told(self.story(outputs, told))
        };
        match self.old.why_again(self.index, (self.part, offset), outputs) {
            Some(why) => verdict.excuse(|| finding().because(why)),
            None => verdict.violate(finding),
        }
    }

    fn lost(&self, (offset, input): (i64, ValueId), told: EventId, verdict: &mut Verdict) {
        let made = self.copying.made.get(&input).map_or(&[][..], Vec::as_slice);
        let mut excuse = None;
        for output in made {
            match unseen(self.index, *output) {
                Unseen::Deleted => return,
                Unseen::Excused(why) => excuse = Some(why),
                Unseen::NotWritten | Unseen::Unexcused(_) => {}
            }
        }
        let finding = || {
            wrong(
                self.index,
                (self.copying, self.part),
                (offset, input),
                "not-copied",
                (1, 0),
            )
            .told(self.story(made, told))
        };
        match excuse {
            Some(why) => verdict.excuse(|| finding().because(why)),
            None => verdict.violate(finding),
        }
    }

    fn order(
        &self,
        (offset, output): (i64, ValueId),
        last: &mut BTreeMap<u32, (i64, i64, ValueId)>,
        verdict: &mut Verdict,
    ) {
        let Some((part, at)) = self.visible.place(output) else {
            return;
        };
        let before = last.insert(part, (at, offset, output));
        let Some((above, earlier, other)) = before.filter(|(above, ..)| *above > at) else {
            return;
        };
        let index = self.index;
        verdict.violate(|| {
            let (a, b) = (index.values.value(other), index.values.value(output));
            let name = &index.partition(part).name;
            let from = &index.partition(self.part).name;
            let text = format!(
                "{b}, made from offset {offset} of {from}, stands in {name} at {at}, before {a} at {above}, which was made from offset {earlier}"
            );
            Finding::new("copied-out-of-order", text, format!("{a} before {b}"), format!("{b} before {a}"))
                .at(name, at)
                .about(b)
                .told(self.story(&[other, output], EventId::NONE))
        });
    }

    /// The transactions of outputs, and who committed the input.
    fn story(&self, outputs: &[ValueId], told: EventId) -> Vec<Moment> {
        let mut story = Vec::new();
        for output in outputs.iter().take(2) {
            let of = self.index.transactions.of_value(*output);
            story.extend(
                of.into_iter()
                    .flat_map(|of| self.index.transaction_story(of)),
            );
        }
        if told.is_some() {
            let (group, name) = (
                &self.index.groups[self.copying.group].id,
                &self.index.partition(self.part).name,
            );
            let end = self
                .copying
                .committed
                .get(&self.part)
                .map_or(0, |end| end.0);
            let text = format!("group {group} has committed offset {end} of {name}");
            story.push(self.index.moment(told, text));
        }
        story.dedup();
        story
    }
}

fn wrong(
    index: &Index<'_>,
    (copying, part): (&Copying, u32),
    (offset, input): (i64, ValueId),
    anomaly: &str,
    (due, seen): (usize, usize),
) -> Finding {
    let value = index.values.value(input);
    let group = &index.groups[copying.group].id;
    let name = &index.partition(part).name;
    let end = copying.committed.get(&part).map_or(0, |end| end.0);
    let text = format!(
        "{value} at offset {offset} of {name}, where group {group} has committed {end}, has {seen} visible copies instead of {due}"
    );
    Finding::new(anomaly, text, due.to_string(), seen.to_string())
        .at(name, offset)
        .about(value)
}
