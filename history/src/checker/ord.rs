//! ORD, consume order. The anomalies: while a member owns a partition, what it polls or acts on goes back (Jepsen's
//! `nonmonotonic-poll`), or leaves out a record that is there (`poll-skip`).

use super::Checker;
use super::effects::operation;
use super::index::{EventId, Index, NONE, ValueId};
use crate::event::What;
use crate::manifest::{CommitPolicy, Stream};
use crate::operation::{Action, Operation};
use crate::verdict::{Finding, Verdict};
use protocol::ids::TopicPartition;
use std::collections::BTreeMap;

/// ORD.
pub(super) struct ConsumeOrder;

impl Checker for ConsumeOrder {
    fn code(&self) -> &'static str {
        "ORD"
    }

    fn title(&self) -> &'static str {
        "A partition is consumed in order, without skips"
    }

    fn definition(&self) -> &'static str {
        "While a member owns a partition, the offsets it polls and the offsets it acts on strictly increase and leave out no record that stays in the log (and is committed, for readers of committed records). An assignment or a reset position begins anew. Claimed for groups that commit after processing, automatically or in transactions."
    }

    fn needs(&self) -> &'static [Stream] {
        &[Stream::Operations]
    }

    fn check(&self, index: &Index<'_>) -> Verdict {
        let claimed = |commit| {
            matches!(
                commit,
                CommitPolicy::After | CommitPolicy::Auto | CommitPolicy::Transactional
            )
        };
        if !index.groups.iter().any(|group| claimed(group.commit)) {
            return Verdict::not_claimed(
                self.code(),
                "no group commits after it processes or in transactions",
            );
        }
        let mut walk = Walk {
            index,
            verdict: Verdict::new(self.code()),
            polled: BTreeMap::new(),
            acted: BTreeMap::new(),
        };
        for event in &index.group_events {
            if let What::Operation(operation) = &index.event(*event).what {
                let group = index.group_of_client(operation.client);
                if group.is_some_and(|group| claimed(index.groups[group].commit)) {
                    walk.on_operation(*event, operation);
                }
            }
        }
        walk.verdict
    }
}

struct Walk<'i, 'h> {
    index: &'i Index<'h>,
    verdict: Verdict,
    /// By life of a client and partition: the last offset polled, and where.
    polled: BTreeMap<(u32, u32), (i64, EventId)>,
    /// Likewise acted on.
    acted: BTreeMap<(u32, u32), (i64, EventId)>,
}

impl Walk<'_, '_> {
    fn on_operation(&mut self, event: EventId, operation: &Operation) {
        let process = operation.process.0;
        match &operation.action {
            Action::Poll { records, .. } => {
                for polled in records {
                    let part = self.index.part(&polled.partition);
                    let before = self.polled.get(&(process, part)).copied();
                    let mut last = before;
                    for (offset, _) in &polled.records {
                        self.step(event, (part, &polled.partition), last, (offset.0, "polls"));
                        last = Some((offset.0, event));
                    }
                    if let Some(last) = last {
                        self.polled.insert((process, part), last);
                    }
                }
            }
            Action::Process {
                partition, offset, ..
            } => {
                let part = self.index.part(partition);
                let last = self.acted.insert((process, part), (offset.0, event));
                self.step(event, (part, partition), last, (offset.0, "acts on"));
            }
            Action::Assigned { partitions, .. }
            | Action::Revoked { partitions, .. }
            | Action::Lost { partitions, .. } => {
                for partition in partitions {
                    self.forget(process, partition);
                }
            }
            Action::Position { partition, .. } => self.forget(process, partition),
            Action::Send { .. }
            | Action::Commit { .. }
            | Action::Transaction { .. }
            | Action::Admin { .. } => {}
        }
    }

    fn forget(&mut self, process: u32, partition: &TopicPartition) {
        let part = self.index.part(partition);
        self.polled.remove(&(process, part));
        self.acted.remove(&(process, part));
    }

    fn step(
        &mut self,
        event: EventId,
        (part, partition): (u32, &TopicPartition),
        last: Option<(i64, EventId)>,
        (offset, verb): (i64, &str),
    ) {
        self.verdict.judged += 1;
        let Some((before, at)) = last else { return };
        let index = self.index;
        let story = || {
            vec![
                index.moment(at, format!("{verb} {partition} at offset {before}")),
                index.moment(event, format!("{verb} {partition} at offset {offset}")),
            ]
        };
        let client = index.node_of(event);
        if offset <= before {
            self.verdict.violate(|| {
                let text =
                    format!("{client} {verb} {partition} at offset {offset} after offset {before}");
                let anomaly = if verb == "polls" {
                    "polled-backwards"
                } else {
                    "processed-backwards"
                };
                Finding::new(
                    anomaly,
                    text,
                    format!("an offset above {before}"),
                    offset.to_string(),
                )
                .at(partition, offset)
                .told(story())
            });
            return;
        }
        if part == NONE || offset == before + 1 {
            return;
        }
        let committed =
            operation(index, event).is_some_and(|own| index.reads_committed(own.client));
        let log = index.found_by(committed, part);
        // A hole as large as the log itself costs no more than the log.
        let end = log
            .bounds()
            .map_or(before, |(_, last)| last + 1)
            .min(offset);
        let Some(skipped) = (before + 1..end).find(|at| log.get(*at) != NONE) else {
            return;
        };
        self.verdict.violate(|| {
            let value = index.values.value(ValueId(log.get(skipped)));
            let text = format!("{client} {verb} {partition} at offset {before}, then {offset}, and skips {value} at offset {skipped}");
            Finding::new("skipped", text, format!("offset {skipped} next"), offset.to_string())
                .at(partition, skipped)
                .about(value)
                .told(story())
        });
    }
}
