//! DUP, no duplicates. The anomaly: an idempotent producer's record is in the log at two offsets although the application
//! sent it once.
//!
//! The final read decides; what an earlier reader saw at an offset that holds something else now was truncated since, and is
//! for AGREE to judge.

use super::Checker;
use super::index::{Index, NONE, ProducerFacts, ValueId};
use super::window::forgotten;
use crate::event::{Replica, What};
use crate::manifest::Stream;
use crate::verdict::{Finding, Moment, Verdict};

/// DUP.
pub(super) struct NoDuplicates;

impl Checker for NoDuplicates {
    fn code(&self) -> &'static str {
        "DUP"
    }

    fn title(&self) -> &'static str {
        "An idempotent producer writes each record once"
    }

    fn definition(&self) -> &'static str {
        "A record that an idempotent producer was asked to send once is in the log at most once, whatever was retried. Excused is a copy that a leader appended because it had read its producer state back from a snapshot, which keeps a producer's last batch alone. Claimed for producers with enable.idempotence; duplicates of others are counted in the ledger."
    }

    fn needs(&self) -> &'static [Stream] {
        &[Stream::Operations, Stream::FinalRead]
    }

    fn check(&self, index: &Index<'_>) -> Verdict {
        if !index.any_producer(|facts| facts.idempotence) {
            return Verdict::not_claimed(self.code(), "no producer is idempotent");
        }
        let mut verdict = Verdict::new(self.code());
        copies(index, &mut verdict, |facts| facts.idempotence);
        verdict
    }
}

/// Judges that the values of some producers are in the log no more often than the application sent them.
pub(super) fn copies(
    index: &Index<'_>,
    verdict: &mut Verdict,
    which: impl Fn(&ProducerFacts) -> bool,
) {
    let concerned: Vec<bool> = index
        .producers
        .iter()
        .map(|facts| facts.as_ref().is_some_and(&which))
        .collect();
    for (id, sent) in index.values.all() {
        if concerned.get(usize::from(sent.client)) != Some(&true) {
            continue;
        }
        verdict.judged += 1;
        if sent.copies > sent.sends.max(1) {
            match forgotten(index, id) {
                Some(why) => verdict.excuse(|| finding(index, id).because(why)),
                None => verdict.violate(|| finding(index, id)),
            }
        }
    }
}

fn finding(index: &Index<'_>, id: ValueId) -> Finding {
    let value = index.values.value(id);
    let sent = index.values.get(id);
    let client = index.client_name(sent.client);
    let mut places = Vec::new();
    let mut story: Vec<Moment> =
        vec![index.moment(sent.invoked, format!("{client} sends {value}"))];
    for (part, partition) in index.workload() {
        let at = partition.found.iter().filter(|(_, found)| *found == id.0);
        for (offset, _) in at {
            places.push((part, offset));
            let appends = partition.replicas.iter().flat_map(|(broker, log)| {
                log.appends_of(offset).map(move |append| (*broker, append))
            });
            for (broker, append) in appends {
                if let What::Replica(_, Replica::Appended(batch)) = &index.event(append).what
                    && batch.leader
                    && batch.values.contains(&value)
                {
                    let producer = batch.producer.map_or_else(
                        String::new,
                        |(producer, epoch, sequence)| {
                            format!(
                                ", producer id {producer}, epoch {epoch}, first sequence {sequence}"
                            )
                        },
                    );
                    let place = index.place(part, offset);
                    let text = format!(
                        "leader broker {broker} appends {value} to {place} in epoch {}{producer}",
                        batch.leader_epoch
                    );
                    story.push(index.moment(append, text));
                }
            }
        }
    }
    if sent.ended.is_some() {
        let text = format!("{client} is told how {value} ended: {:?}", sent.fate);
        story.push(index.moment(sent.ended, text));
    }
    let listed: Vec<String> = places
        .iter()
        .map(|(part, offset)| index.place(*part, *offset))
        .collect();
    let times = if sent.copies == 2 {
        "twice".to_owned()
    } else {
        format!("{} times", sent.copies)
    };
    let text = format!("{value} is in the log {times}: {}", listed.join(" and "));
    let (part, offset) = places.first().copied().unwrap_or((NONE, -1));
    let finding = Finding::new(
        "duplicate",
        text,
        "one copy",
        format!("{} copies", sent.copies),
    )
    .about(value)
    .told(story);
    if part == NONE {
        finding
    } else {
        finding.at(&index.partition(part).name, offset)
    }
}
