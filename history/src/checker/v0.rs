//! V0, validity. The anomaly: a consumer is handed a record that nobody sent to that topic, or whose send certainly did not
//! happen (Jepsen's `G1a` for plain sends).

use super::Checker;
use super::index::{EventId, Fate, Index};
use crate::event::What;
use crate::manifest::Stream;
use crate::operation::{Action, Value};
use crate::verdict::{Finding, Verdict};
use protocol::ids::TopicPartition;

/// V0.
pub(super) struct Validity;

impl Checker for Validity {
    fn code(&self) -> &'static str {
        "V0"
    }

    fn title(&self) -> &'static str {
        "What is read was sent"
    }

    fn definition(&self) -> &'static str {
        "Every record that anybody reads was sent to that topic by somebody, unmodified, and its send was not reported as certainly failed. Claimed by every configuration."
    }

    fn needs(&self) -> &'static [Stream] {
        &[Stream::Operations]
    }

    fn check(&self, index: &Index<'_>) -> Verdict {
        let mut verdict = Verdict::new(self.code());
        for id in index.polls.iter().chain(&index.final_polls) {
            let What::Operation(operation) = &index.event(*id).what else {
                continue;
            };
            let Action::Poll { records, .. } = &operation.action else {
                continue;
            };
            for polled in records {
                for (offset, value) in &polled.records {
                    if let Some(value) = value {
                        let place = (&polled.partition, offset.0);
                        judge(index, *id, place, *value, &mut verdict);
                    }
                }
            }
        }
        verdict
    }
}

fn judge(
    index: &Index<'_>,
    read: EventId,
    (partition, offset): (&TopicPartition, i64),
    value: Value,
    verdict: &mut Verdict,
) {
    verdict.judged += 1;
    let id = index.values.id(value);
    if !id.is_some() {
        verdict.violate(|| {
            let text =
                format!("{value} is read from {partition} at offset {offset}, but nobody sent it");
            Finding::new(
                "read-never-sent",
                text,
                "a record that somebody sent",
                format!("{value}"),
            )
            .at(partition, offset)
            .about(value)
            .told(vec![
                index.moment(read, format!("reads {value} from {partition}")),
            ])
        });
        return;
    }
    let sent = index.values.get(id);
    if sent.fate == Fate::Fail {
        verdict.violate(|| {
            let client = index.client_name(sent.client);
            let text = format!("{value} is read from {partition} at offset {offset}, but its send failed for certain");
            Finding::new("read-of-failed-send", text, "no trace of a failed send", format!("{value} at offset {offset}"))
                .at(partition, offset)
                .about(value)
                .told(vec![
                    index.moment(sent.invoked, format!("{client} sends {value}")),
                    index.moment(sent.ended, format!("{client} is told that {value} failed")),
                    index.moment(read, format!("reads {value} from {partition} at offset {offset}")),
                ])
        });
    }
    let What::Operation(invoked) = &index.event(sent.invoked).what else {
        return;
    };
    if let Action::Send { topic, .. } = &invoked.action
        && *topic != partition.topic
    {
        verdict.violate(|| {
            let text = format!("{value} was sent to {topic} and is read from {partition}");
            Finding::new(
                "read-from-wrong-topic",
                text,
                format!("a record of {topic}"),
                format!("found in {partition}"),
            )
            .at(partition, offset)
            .about(value)
            .told(vec![
                index.moment(sent.invoked, format!("sends {value} to {topic}")),
                index.moment(read, format!("reads {value} from {partition}")),
            ])
        });
    }
}
