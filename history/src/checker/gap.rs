//! GAP, no holes. The anomaly: a later record of an idempotent producer session is in the log, an earlier one that was
//! acknowledged is not.

use super::Checker;
use super::index::{Fate, Index, NONE, ValueId};
use super::loss::{Cause, Level, Record, cause, story};
use crate::manifest::Stream;
use crate::verdict::{Finding, Verdict};
use std::collections::BTreeMap;

/// GAP.
pub(super) struct NoGaps;

impl Checker for NoGaps {
    fn code(&self) -> &'static str {
        "GAP"
    }

    fn title(&self) -> &'static str {
        "An idempotent producer leaves no holes"
    }

    fn definition(&self) -> &'static str {
        "If a later record of an idempotent producer session is in a partition, so is every earlier acknowledged one, unless it was deleted by retention. A hole left by an unclean election or by lost disks is excused and named. Claimed for producers with enable.idempotence."
    }

    fn needs(&self) -> &'static [Stream] {
        &[Stream::Operations, Stream::FinalRead]
    }

    fn check(&self, index: &Index<'_>) -> Verdict {
        if !index.any_producer(|facts| facts.idempotence) {
            return Verdict::not_claimed(self.code(), "no producer is idempotent");
        }
        let mut verdict = Verdict::new(self.code());
        let latest = latest_found(index);
        for (id, sent) in index.values.all() {
            let idempotent = index
                .producer(sent.client)
                .is_some_and(|facts| facts.idempotence);
            if !idempotent || sent.fate != Fate::Ok || sent.part == NONE {
                continue;
            }
            verdict.judged += 1;
            if !index.is_lost(sent) {
                continue;
            }
            let later = latest.get(&(sent.part, sent.process)).copied();
            let Some(later) = later.filter(|later| index.values.get(*later).invoked > sent.invoked)
            else {
                continue;
            };
            match cause(index, Record::acknowledged(index, id), Level::InSync) {
                Cause::Excused(why) => verdict.excuse(|| finding(index, id, later).because(why)),
                Cause::Unexcused(_) | Cause::Unread | Cause::Untold => {
                    verdict.violate(|| finding(index, id, later));
                }
            }
        }
        verdict
    }
}

/// The latest-sent record in the log, by partition and session.
fn latest_found(index: &Index<'_>) -> BTreeMap<(u32, u32), ValueId> {
    let mut latest: BTreeMap<(u32, u32), ValueId> = BTreeMap::new();
    let mut hand: Option<((u32, u32), ValueId)> = None;
    for (id, sent) in index.values.all().filter(|(_, sent)| sent.copies > 0) {
        let key = (sent.part, sent.process);
        let last = match hand {
            Some((same, last)) if same == key => Some(last),
            _ => latest.get(&key).copied(),
        };
        if last.is_none_or(|last| index.values.get(last).invoked < sent.invoked) {
            latest.insert(key, id);
            hand = Some((key, id));
        }
    }
    latest
}

fn finding(index: &Index<'_>, missing: ValueId, later: ValueId) -> Finding {
    let (sent, next) = (index.values.get(missing), index.values.get(later));
    let (a, b) = (index.values.value(missing), index.values.value(later));
    let partition = &index.partition(sent.part).name;
    let text = format!(
        "{partition} holds {b} but not {a}, which the same producer sent before it and which was acknowledged"
    );
    let mut moments = story(index, Record::acknowledged(index, missing), Some(sent));
    let client = index.client_name(next.client);
    moments.push(index.moment(next.invoked, format!("{client} sends {b}, which stays")));
    Finding::new(
        "hole",
        text,
        format!("{a} before {b}"),
        format!("{b} without {a}"),
    )
    .at(partition, sent.offset)
    .about(a)
    .told(moments)
}
