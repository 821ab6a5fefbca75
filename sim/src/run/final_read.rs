//! The final read: every partition from its beginning to its end, so that what is missing is proven missing.

use super::recorder::Recorder;
use crate::world::WorldCommand;
use history::record::decode_payload;
use protocol::ids::{NodeId, Offset, TopicPartition};
use protocol::operation::{Action, Operation, Polled, ProcessId, Stage};
use protocol::time::Span;
use protocol::verb::{Failure, OperationId, Outcome, Verb};
use std::collections::BTreeMap;

/// The answer to a question about offsets.
type Offsets = Result<BTreeMap<TopicPartition, Option<Offset>>, Failure>;

/// A read of every partition from its beginning to its end.
#[derive(Clone, Debug)]
pub(super) struct FinalRead {
    node: NodeId,
    client: u16,
    partitions: Vec<TopicPartition>,
    next: u64,
    /// The questions where a partition ends that have no answer yet.
    asked: BTreeMap<OperationId, TopicPartition>,
    /// Where the partitions end of which that is known.
    ends: BTreeMap<TopicPartition, Offset>,
    /// The first end is known, and polls follow one another.
    reads: bool,
    /// The question after the reader's positions: behind the last record there may be markers, which it never hands over.
    asks_positions: Option<OperationId>,
    positions: BTreeMap<TopicPartition, Offset>,
}

impl FinalRead {
    /// A read of these partitions by the reader's node.
    pub(super) fn new(node: NodeId, client: u16, partitions: Vec<TopicPartition>) -> Self {
        Self {
            node,
            client,
            partitions,
            next: 0,
            asked: BTreeMap::new(),
            ends: BTreeMap::new(),
            reads: false,
            asks_positions: None,
            positions: BTreeMap::new(),
        }
    }

    fn submit(&mut self, verb: Verb) -> WorldCommand {
        self.next += 1;
        WorldCommand::Submit {
            node: self.node,
            operation: OperationId(self.next),
            verb,
        }
    }

    /// The first calls. `endOffsets` answers when it knows all ends it was asked for, so each partition is asked about by
    /// itself: one without a leader keeps nobody from reading the others.
    pub(super) fn begin(&mut self) -> Vec<WorldCommand> {
        let partitions = self.partitions.clone();
        let mut calls = vec![
            self.submit(Verb::Assign(partitions.clone())),
            self.submit(Verb::SeekToBeginning(Vec::new())),
        ];
        calls.extend(partitions.into_iter().map(|partition| self.ask(partition)));
        calls
    }

    fn ask(&mut self, partition: TopicPartition) -> WorldCommand {
        let question = self.submit(Verb::EndOffsets(vec![partition.clone()]));
        self.asked.insert(OperationId(self.next), partition);
        question
    }

    fn poll(&mut self) -> WorldCommand {
        self.submit(Verb::Poll(Span::millis(500)))
    }

    /// What has been committed since reading began belongs to it, too.
    pub(super) fn reach(
        &mut self,
        committed: &BTreeMap<TopicPartition, Offset>,
        before: &BTreeMap<TopicPartition, Offset>,
    ) {
        for (partition, end) in &mut self.ends {
            let now = committed.get(partition).copied().unwrap_or_default();
            if now > before.get(partition).copied().unwrap_or_default() {
                *end = now.max(*end);
            }
        }
    }

    /// Every partition has been read to its end.
    pub(super) fn is_done(&self) -> bool {
        let reached = |(partition, end): (&TopicPartition, &Offset)| {
            *end == Offset::ZERO
                || self
                    .positions
                    .get(partition)
                    .is_some_and(|position| position >= end)
        };
        self.ends.len() == self.partitions.len() && self.ends.iter().all(reached)
    }

    /// Tells of the partitions whose end nobody could say: even an empty one has to have somebody who knows that.
    pub(super) fn give_up(&self, recorder: &mut Recorder) {
        for (question, partition) in &self.asked {
            let action = Action::Admin {
                call: format!("final read {partition}"),
                error: Some("no answer where it ends".to_owned()),
            };
            recorder.operation(self.node, self.operation(*question, Stage::Fail, action));
        }
    }

    fn operation(&self, id: OperationId, stage: Stage, action: Action) -> Operation {
        Operation {
            client: self.client,
            process: ProcessId(u32::from(self.client) << 16),
            id: id.0,
            stage,
            action,
        }
    }

    /// An answer; what to ask next.
    pub(super) fn on_outcome(
        &mut self,
        operation: OperationId,
        outcome: Outcome,
        recorder: &mut Recorder,
    ) -> Option<WorldCommand> {
        match outcome {
            Outcome::Offsets(Ok(positions)) if self.asks_positions == Some(operation) => {
                self.asks_positions = None;
                let known = positions.into_iter();
                self.positions
                    .extend(known.filter_map(|(partition, at)| Some((partition, at?))));
            }
            Outcome::Offsets(answer) => return self.on_end(operation, answer),
            Outcome::Polled(Ok(records)) if records.is_empty() => {
                let partitions = self.partitions.clone();
                let question = self.submit(Verb::Position(partitions));
                self.asks_positions = Some(OperationId(self.next));
                return Some(question);
            }
            Outcome::Polled(Ok(records)) => self.on_records(operation, records, recorder),
            Outcome::Polled(Err(_)) => {}
            // Of a log that retention has emptied, where reading begins is all there is to learn.
            Outcome::PositionReset {
                partition, offset, ..
            } => {
                self.positions.entry(partition).or_insert(offset);
                return None;
            }
            Outcome::Sent(_)
            | Outcome::Assigned(_)
            | Outcome::Revoked(_)
            | Outcome::Lost(_)
            | Outcome::Committing(_)
            | Outcome::Committed { .. }
            | Outcome::Described(_)
            | Outcome::Group(_)
            | Outcome::GroupMetadata(_)
            | Outcome::Reassignments(_)
            | Outcome::Done(_) => return None,
        }
        (!self.is_done()).then(|| self.poll())
    }

    /// Where a partition ends; if nobody could say, the question is asked again.
    fn on_end(&mut self, operation: OperationId, answer: Offsets) -> Option<WorldCommand> {
        let partition = self.asked.remove(&operation)?;
        let Ok(ends) = answer else {
            return Some(self.ask(partition));
        };
        let known = ends.into_iter();
        self.ends
            .extend(known.map(|(partition, end)| (partition, end.unwrap_or_default())));
        (!std::mem::replace(&mut self.reads, true)).then(|| self.poll())
    }

    fn on_records(
        &mut self,
        operation: OperationId,
        records: Vec<(TopicPartition, Vec<protocol::verb::ConsumerRecord>)>,
        recorder: &mut Recorder,
    ) {
        let mut polled = Vec::new();
        for (partition, batch) in records {
            if let Some(last) = batch.last() {
                self.positions.insert(partition.clone(), last.offset.next());
            }
            let values = batch.iter().map(|record| {
                (
                    record.offset,
                    record.value.as_deref().and_then(decode_payload),
                )
            });
            polled.push(Polled {
                partition,
                records: values.collect(),
            });
        }
        if !polled.is_empty() {
            let action = Action::Poll {
                records: polled,
                error: None,
            };
            recorder.operation(self.node, self.operation(operation, Stage::Ok, action));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use history::event::What;
    use protocol::verb::{ClientError, ConsumerRecord};

    fn orders(partition: i32) -> TopicPartition {
        TopicPartition::new("orders", partition)
    }

    fn verbs(commands: impl IntoIterator<Item = WorldCommand>) -> Vec<(OperationId, Verb)> {
        let verb = |command| {
            let WorldCommand::Submit {
                operation, verb, ..
            } = command
            else {
                panic!("not a call: {command:?}");
            };
            (operation, verb)
        };
        commands.into_iter().map(verb).collect()
    }

    /// The read after it has begun, and under which call it asked for the end of each of two partitions.
    fn begun() -> (FinalRead, [OperationId; 2]) {
        let mut read = FinalRead::new(NodeId(9), 9, vec![orders(0), orders(1)]);
        let calls = verbs(read.begin());
        let asked = |partition| {
            let question = Verb::EndOffsets(vec![orders(partition)]);
            let call = calls.iter().find(|(_, verb)| *verb == question);
            call.expect("each partition is asked about by itself").0
        };
        let questions = [asked(0), asked(1)];
        (read, questions)
    }

    fn end(partition: i32, end: i64) -> Outcome {
        Outcome::Offsets(Ok(BTreeMap::from([(orders(partition), Some(Offset(end)))])))
    }

    fn records(partition: i32, offset: i64) -> Outcome {
        let record = ConsumerRecord {
            offset: Offset(offset),
            leader_epoch: None,
            timestamp: 0,
            key: None,
            value: Some(Bytes::new()),
        };
        Outcome::Polled(Ok(vec![(orders(partition), vec![record])]))
    }

    #[test]
    fn a_partition_without_a_leader_keeps_nobody_from_reading_the_others() {
        let (mut read, [first, second]) = begun();
        let recorder = &mut Recorder::default();
        let poll = verbs(read.on_outcome(second, end(1, 1), recorder));
        assert!(matches!(poll[..], [(_, Verb::Poll(_))]), "{poll:?}");
        let timeout = Failure::fail(ClientError::Timeout("default.api.timeout.ms"));
        let again = verbs(read.on_outcome(first, Outcome::Offsets(Err(timeout)), recorder));
        let [(first, Verb::EndOffsets(asked))] = &again[..] else {
            panic!("{again:?}")
        };
        assert_eq!(*asked, [orders(0)], "the question is asked again");
        let next = verbs(read.on_outcome(poll[0].0, records(1, 0), recorder));
        assert!(matches!(next[..], [(_, Verb::Poll(_))]), "{next:?}");
        assert!(!read.is_done(), "one partition is not read yet");
        assert_eq!(read.on_outcome(*first, end(0, 0), recorder), None);
        assert!(read.is_done(), "it is empty");
    }

    #[test]
    fn a_partition_whose_end_nobody_says_is_told_of_and_no_other() {
        let (mut read, [first, _]) = begun();
        let recorder = &mut Recorder::default();
        read.on_outcome(first, end(0, 0), recorder);
        read.give_up(recorder);
        let told: Vec<_> = recorder.since(0).iter().map(|event| &event.what).collect();
        let [What::Operation(told)] = told[..] else {
            panic!("{told:?}")
        };
        let Action::Admin { call, .. } = &told.action else {
            panic!("{told:?}")
        };
        assert_eq!(
            (call.as_str(), told.stage),
            ("final read orders-1", Stage::Fail)
        );
    }

    #[test]
    fn an_end_that_comes_later_starts_no_second_chain_of_polls() {
        let (mut read, [first, second]) = begun();
        let recorder = &mut Recorder::default();
        assert!(read.on_outcome(first, end(0, 5), recorder).is_some());
        assert_eq!(read.on_outcome(second, end(1, 5), recorder), None);
    }
}
