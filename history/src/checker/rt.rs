//! RT, append order in real time. The anomaly: a send begins after another one was acknowledged, and gets a lower offset.

use super::Checker;
use super::index::{Acks, Fate, Index, NONE, ValueId, wide};
use super::loss::{Cause, Level, Record, cause};
use crate::event::What;
use crate::manifest::Stream;
use crate::operation::{Action, Stage};
use crate::verdict::{Finding, Verdict};
use std::collections::BTreeMap;

/// An offset that was acknowledged, and for which value.
type Place = (i64, ValueId);

/// RT.
pub(super) struct AppendOrder;

impl Checker for AppendOrder {
    fn code(&self) -> &'static str {
        "RT"
    }

    fn title(&self) -> &'static str {
        "Offsets follow real time"
    }

    fn definition(&self) -> &'static str {
        "If one send is acknowledged before another to the same partition begins, the first has the lower offset. Where one of the two was lost, which P1 and PA judge, a lower offset is excused, and likewise where one is gone from its place for a reason that excuses. Claimed for producers with acks=1 or acks=all."
    }

    fn needs(&self) -> &'static [Stream] {
        &[Stream::Operations, Stream::FinalRead]
    }

    fn check(&self, index: &Index<'_>) -> Verdict {
        if !index.any_producer(|facts| facts.acks != Acks::Zero) {
            return Verdict::not_claimed(
                self.code(),
                "every producer runs with acks=0 and is told no offsets",
            );
        }
        let mut verdict = Verdict::new(self.code());
        let repeated = repeated(index);
        // The acknowledged record with the highest offset so far, by partition: of all, and of those that stay.
        let none = (-1_i64, ValueId::NONE);
        let mut highest = vec![[none, none]; index.partitions.len()];
        for event in &index.sends {
            let What::Operation(operation) = &index.event(*event).what else {
                continue;
            };
            let Action::Send { value, .. } = &operation.action else {
                continue;
            };
            let id = index.values.id(*value);
            if !id.is_some() {
                continue;
            }
            let sent = index.values.get(id);
            // A value that the application sent more than once got an offset each time.
            let offset = if sent.sends > 1 {
                let call = (operation.process.0, operation.id);
                repeated.get(&call).copied().unwrap_or(-1)
            } else {
                sent.offset
            };
            if sent.fate != Fate::Ok || sent.part == NONE || offset < 0 {
                continue;
            }
            let slot = &mut highest[wide(sent.part)];
            match operation.stage {
                Stage::Invoke => {
                    verdict.judged += 1;
                    let own = (offset, id);
                    let above = |earlier: Place| {
                        (earlier.0 >= offset && earlier.1 != id).then_some(earlier)
                    };
                    if let Some(earlier) = above(slot[1]) {
                        if has_gone(index, id) {
                            judge_lost(index, (earlier, own), id, &mut verdict);
                        } else {
                            verdict.violate(|| finding(index, earlier, own));
                        }
                    } else if let Some(earlier) = above(slot[0]) {
                        judge_lost(index, (earlier, own), earlier.1, &mut verdict);
                    }
                }
                Stage::Ok => {
                    let stays = !has_gone(index, id);
                    if offset > slot[0].0 {
                        slot[0] = (offset, id);
                    }
                    if stays && offset > slot[1].0 {
                        slot[1] = (offset, id);
                    }
                }
                Stage::Fail | Stage::Info => {}
            }
        }
        verdict
    }
}

/// One of the two is lost: the earlier one, so that its offset could be given again, or the later one, so that its offset
/// was one of a log that is no more.
fn judge_lost(
    index: &Index<'_>,
    (earlier, later): (Place, Place),
    lost: ValueId,
    verdict: &mut Verdict,
) {
    let which = if lost == earlier.1 {
        "earlier"
    } else {
        "later"
    };
    let all = index
        .producer(index.values.get(lost).client)
        .is_some_and(|facts| facts.acks == Acks::All);
    let level = if all { Level::InSync } else { Level::Leader };
    let why = match cause(index, Record::acknowledged(index, lost), level) {
        Cause::Excused(why) => why,
        // Its loss is judged by P1 and PA; here it only explains the offset.
        Cause::Unexcused(why) if index.is_lost(index.values.get(lost)) => why,
        Cause::Unread | Cause::Untold if index.is_lost(index.values.get(lost)) => {
            "it is missing in the end".to_owned()
        }
        Cause::Unexcused(_) | Cause::Unread | Cause::Untold => {
            verdict.violate(|| finding(index, earlier, later));
            return;
        }
    };
    verdict.excuse(|| {
        finding(index, earlier, later).because(format!("the {which} record was lost: {why}"))
    });
}

/// Whether an acknowledged record is not in its place in the end, and was not deleted from there. A retry may have brought it
/// back elsewhere, so that nobody misses it.
fn has_gone(index: &Index<'_>, id: ValueId) -> bool {
    let sent = index.values.get(id);
    index.whole && index.found(sent.part, sent.offset) != id && !index.is_deleted(sent)
}

fn finding(index: &Index<'_>, (low, earlier): Place, (high, later): Place) -> Finding {
    let (first, second) = (index.values.get(earlier), index.values.get(later));
    let (a, b) = (index.values.value(earlier), index.values.value(later));
    let partition = &index.partition(second.part).name;
    let text = format!(
        "{b} was sent after {a} had been acknowledged at offset {low} of {partition}, and got offset {high}"
    );
    let story = vec![
        index.moment(first.ended, format!("{a} is acknowledged at offset {low}")),
        index.moment(second.invoked, format!("{b} is sent")),
        index.moment(
            second.ended,
            format!("{b} is acknowledged at offset {high}"),
        ),
    ];
    Finding::new(
        "offset-back-in-time",
        text,
        format!("an offset above {low}"),
        high.to_string(),
    )
    .at(partition, high)
    .about(b)
    .told(story)
}

/// The offsets of what the application sent more than once, by process and call.
fn repeated(index: &Index<'_>) -> BTreeMap<(u32, u64), i64> {
    let mut offsets = BTreeMap::new();
    for event in &index.sends {
        if let What::Operation(operation) = &index.event(*event).what
            && let Action::Send {
                value,
                offset: Some(offset),
                ..
            } = &operation.action
            && operation.stage == Stage::Ok
            && index.values.id(*value).is_some()
            && index.values.get(index.values.id(*value)).sends > 1
        {
            offsets.insert((operation.process.0, operation.id), offset.0);
        }
    }
    offsets
}
