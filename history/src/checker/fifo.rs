//! FIFO, producer order. The anomaly: two records of one producer session lie in a partition in the other order than they
//! were sent in.
//!
//! Without idempotence, a record that the producer had given up on may still arrive from a broker's queue: excused.

use super::Checker;
use super::index::{Acks, Fate, Index, ProducerFacts, ValueId};
use crate::manifest::Stream;
use crate::verdict::{Finding, Verdict};
use std::collections::BTreeMap;

/// FIFO.
pub(super) struct ProducerOrder;

/// Whether the settings promise order.
fn claims(facts: &ProducerFacts) -> bool {
    facts.acks != Acks::Zero && (facts.idempotence || facts.in_flight == 1)
}

impl Checker for ProducerOrder {
    fn code(&self) -> &'static str {
        "FIFO"
    }

    fn title(&self) -> &'static str {
        "A producer's records keep their order"
    }

    fn definition(&self) -> &'static str {
        "Two records that one producer session sent to one partition lie there in the order they were sent in (first copies count). Claimed for idempotent producers and for max.in.flight.requests.per.connection=1; inversions of others are counted in the ledger."
    }

    fn needs(&self) -> &'static [Stream] {
        &[Stream::Operations, Stream::FinalRead]
    }

    fn check(&self, index: &Index<'_>) -> Verdict {
        if !index.any_producer(claims) {
            let why =
                "no producer is idempotent or keeps one request in flight (and waits for answers)";
            return Verdict::not_claimed(self.code(), why);
        }
        let mut verdict = Verdict::new(self.code());
        sweep(
            index,
            |client| index.producer(client).is_some_and(claims),
            |late, earlier| {
                verdict.judged += 1;
                let Some(earlier) = earlier else { return };
                let sent = index.values.get(late);
                let idempotent = index
                    .producer(sent.client)
                    .is_some_and(|facts| facts.idempotence);
                if sent.fate != Fate::Ok && !idempotent {
                    let why = "the producer had given up on it when it arrived";
                    verdict.excuse(|| finding(index, late, earlier).because(why));
                } else {
                    verdict.violate(|| finding(index, late, earlier));
                }
            },
        );
        verdict
    }
}

/// Walks every partition's final log and reports each first copy, with the latest-sent record before it when that one was
/// sent after it.
pub(crate) fn sweep(
    index: &Index<'_>,
    which: impl Fn(u16) -> bool,
    mut report: impl FnMut(ValueId, Option<ValueId>),
) {
    let concerned: Vec<bool> = (0..u16::try_from(index.producers.len()).unwrap_or(u16::MAX))
        .map(which)
        .collect();
    for (part, partition) in index.workload() {
        // The latest-sent record so far, by session. One session at a time is the rule, so the last one is kept at hand.
        let mut latest: BTreeMap<u32, ValueId> = BTreeMap::new();
        let mut current: Option<(u32, ValueId)> = None;
        for (offset, found) in partition.found.iter() {
            let id = ValueId(found);
            let sent = index.values.get(id);
            let first = sent.part == part && sent.found_at == offset;
            if !first || concerned.get(usize::from(sent.client)) != Some(&true) {
                continue;
            }
            if current.is_none_or(|(process, _)| process != sent.process) {
                if let Some((process, last)) = current.take() {
                    latest.insert(process, last);
                }
                current = latest.get(&sent.process).map(|last| (sent.process, *last));
            }
            match current {
                Some((_, last)) if index.values.get(last).invoked > sent.invoked => {
                    report(id, Some(last));
                }
                _ => {
                    current = Some((sent.process, id));
                    report(id, None);
                }
            }
        }
    }
}

fn finding(index: &Index<'_>, late: ValueId, earlier: ValueId) -> Finding {
    let (first, second) = (index.values.get(late), index.values.get(earlier));
    let (a, b) = (index.values.value(late), index.values.value(earlier));
    let client = index.client_name(first.client);
    let partition = &index.partition(first.part).name;
    let text = format!(
        "{client} sent {a} before {b}, but {partition} holds {a} at offset {} after {b} at offset {}",
        first.found_at, second.found_at
    );
    let mut story = vec![
        index.moment(first.invoked, format!("{client} sends {a}")),
        index.moment(second.invoked, format!("{client} sends {b}")),
    ];
    for (value, sent) in [(a, first), (b, second)] {
        if sent.ended.is_some() {
            let text = format!(
                "{client} is told how {value} ended: {:?}, offset {}",
                sent.fate, sent.offset
            );
            story.push(index.moment(sent.ended, text));
        }
    }
    Finding::new(
        "reordered",
        text,
        format!("{a} before {b}"),
        format!("{b} before {a}"),
    )
    .at(partition, first.found_at)
    .about(a)
    .told(story)
}
