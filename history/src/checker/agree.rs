//! AGREE, one log for everybody. The anomaly: two values were seen at one offset of one partition (Jepsen's
//! `inconsistent-offsets`), or two replicas differ below their high watermarks.
//!
//! What counts as seen: everything polled by anybody, and what acks=all acknowledged. An acks=1 acknowledgement says nothing
//! about what others will see.

use super::Checker;
use super::index::{Acks, EventId, Fate, Index, NONE, OffsetMap, ValueId, wide};
use super::loss::{Cause, Level, Record, cause, story};
use crate::event::What;
use crate::manifest::Stream;
use crate::operation::{Action, Value};
use crate::verdict::{Finding, Verdict};

/// AGREE.
pub(super) struct Agreement;

impl Checker for Agreement {
    fn code(&self) -> &'static str {
        "AGREE"
    }

    fn title(&self) -> &'static str {
        "Everybody sees the same log"
    }

    fn definition(&self) -> &'static str {
        "All readers, and all acknowledgements of acks=all, see the same record at the same offset; and replicas are equal below their high watermarks (INV-LOG). A difference made by an unclean election, by lost disks or by the deletion of a topic is excused and named. Claimed by every configuration."
    }

    fn needs(&self) -> &'static [Stream] {
        &[Stream::Operations]
    }

    fn check(&self, index: &Index<'_>) -> Verdict {
        let mut verdict = Verdict::new(self.code());
        let mut logs: Vec<OffsetMap<(u32, EventId)>> = Vec::new();
        logs.resize_with(index.partitions.len(), || {
            OffsetMap::new((NONE, EventId::NONE))
        });
        for (id, sent) in index.values.all() {
            let all = index
                .producer(sent.client)
                .is_some_and(|facts| facts.acks == Acks::All);
            if all && sent.fate == Fate::Ok && sent.part != NONE && sent.offset >= 0 {
                see(
                    index,
                    &mut logs,
                    &mut verdict,
                    (sent.part, sent.offset, id, sent.ended),
                );
            }
        }
        for event in index.polls.iter().chain(&index.final_polls) {
            let What::Operation(operation) = &index.event(*event).what else {
                continue;
            };
            let Action::Poll { records, .. } = &operation.action else {
                continue;
            };
            for polled in records {
                let part = index.part(&polled.partition);
                for (offset, value) in polled.records.iter().filter(|_| part != NONE) {
                    if let Some(id) = value
                        .map(|value| index.values.id(value))
                        .filter(|id| id.is_some())
                    {
                        see(index, &mut logs, &mut verdict, (part, offset.0, id, *event));
                    }
                }
            }
        }
        if let Some(broken) = index.broken.iter().find(|broken| broken.code == "INV-LOG") {
            let old = matches!(index.history.manifest.era.as_str(), "0.8" | "0.9");
            if !old {
                for finding in &broken.findings {
                    verdict.violate(|| finding.clone());
                }
            }
        }
        verdict
    }
}

fn see(
    index: &Index<'_>,
    logs: &mut [OffsetMap<(u32, EventId)>],
    verdict: &mut Verdict,
    (part, offset, id, event): (u32, i64, ValueId, EventId),
) {
    verdict.judged += 1;
    let log = &mut logs[wide(part)];
    let (before, seen_at) = log.get(offset);
    if before == id.0 {
        return;
    }
    log.set(offset, (id.0, event));
    if before == NONE {
        return;
    }
    // Whichever was seen first is the one that had to stay.
    let (first, first_at, second, second_at) = if seen_at <= event {
        (ValueId(before), seen_at, id, event)
    } else {
        (id, event, ValueId(before), seen_at)
    };
    let record = Record {
        part,
        offset,
        value: index.values.value(first),
        since: first_at,
    };
    let finding = || finding(index, record, second, second_at);
    match cause(index, record, Level::InSync) {
        Cause::Excused(why) => verdict.excuse(|| finding().because(why)),
        Cause::Unexcused(_) | Cause::Unread | Cause::Untold => verdict.violate(finding),
    }
}

fn finding(index: &Index<'_>, record: Record, second: ValueId, second_at: EventId) -> Finding {
    let name = &index.partition(record.part).name;
    let (a, b) = (record.value, index.values.value(second));
    let text = format!("{name} at offset {} was {a} and later {b}", record.offset);
    let tell = |event: EventId, value: Value| {
        let sent = matches!(&index.event(event).what, What::Operation(operation) if matches!(operation.action, Action::Send { .. }));
        let verb = if sent { "is told of" } else { "reads" };
        index.moment(
            event,
            format!("{verb} {value} at offset {} of {name}", record.offset),
        )
    };
    let mut moments = vec![tell(record.since, a), tell(second_at, b)];
    moments.extend(story(index, record, None));
    Finding::new(
        "inconsistent-offset",
        text,
        format!("{a} for everybody"),
        format!("{a} and {b}"),
    )
    .at(name, record.offset)
    .about(a)
    .told(moments)
}
