//! An application that reads records and writes one for each into another topic: consume, transform, produce.
//!
//! It is one process with a consumer and a producer, and one thread: poll, write, commit. Its commit policy decides what
//! a crash or a rebalance in between costs. *Before*: commit, then write — at most once. *After*: write, wait for every
//! acknowledgement, then commit — at least once. *Transactional*: what is written and the offsets of what was read are
//! one transaction — exactly once. Whatever goes wrong before the commit is undone the same way: the application goes
//! back to the committed offsets and reads again. A producer that is fenced ends the process.

use super::transaction::{After, Calls, after, is_fence};
use super::two_cores::{Side, TwoCores};
use super::{APPLICATION_TIMER, Identity, ending, error_name, reading, stage_of};
use crate::scenario::plan::{ConsumerPlan, IntoPlan};
use client_core::{Consumer, Producer};
use history::manifest::CommitPolicy;
use history::record::{decode_payload, encode_payload};
use protocol::ids::{GenerationId, GroupId, MemberId, Offset, TopicPartition};
use protocol::machine::{Input, Io, Machine};
use protocol::operation::{Action, Polled, Stage, TransactionCall, TransactionNumber, Value};
use protocol::time::{Now, Span};
use protocol::verb::{
    ConsumerGroupMetadata, ConsumerRecord, Failure, OffsetAndMetadata, OperationId, Outcome,
    ProducerRecord, Verb,
};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// What the application is in the middle of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Doing {
    /// A transactional call is under way.
    Calling,
    /// A `poll` is under way.
    Polling(u64),
    /// `poll` threw; it waits a little.
    Waiting,
    /// It works on what it polled, record by record.
    Working,
    /// Everything is written; acknowledgements are missing.
    Flushing,
    /// A `commitSync` is under way.
    Committing(u64),
    /// It looks up the committed offsets to go back to them.
    Rewinding(u64),
    /// It ends.
    Over,
}

/// A record that was polled, or made from one.
#[derive(Clone, Debug)]
struct Item {
    partition: TopicPartition,
    offset: Offset,
    key: Option<bytes::Bytes>,
    value: Option<Value>,
}

/// A record that was written and is not answered yet.
#[derive(Clone, Debug)]
struct Written {
    value: Value,
    from: Item,
    transaction: Option<TransactionNumber>,
}

/// The application.
#[derive(Clone, Debug)]
pub struct CopierApp {
    cores: TwoCores<Consumer, Producer>,
    plan: Arc<ConsumerPlan>,
    into: Arc<IntoPlan>,
    reader: Identity,
    writer: Identity,
    seed: u64,
    group: Option<GroupId>,
    calls: Calls,
    doing: Doing,
    next_id: u64,
    /// The number of the next record.
    next_value: u64,
    inbox: VecDeque<Item>,
    /// Where a commit would continue.
    positions: BTreeMap<TopicPartition, OffsetAndMetadata>,
    open: BTreeMap<u64, Written>,
    /// Written and acknowledged in this round.
    done: Vec<Item>,
    /// Something of this round was not acknowledged.
    spoiled: bool,
}

/// One life of a copier.
#[derive(Clone, Copy, Debug)]
pub struct CopierLife {
    /// Who reads.
    pub reader: Identity,
    /// Who writes.
    pub writer: Identity,
    /// What its own draws come from.
    pub seed: u64,
    /// The number of its first record.
    pub first: u64,
}

impl CopierApp {
    /// One life of a copier.
    pub fn new(
        (consumer, producer): (Consumer, Producer),
        plan: Arc<ConsumerPlan>,
        into: Arc<IntoPlan>,
        life: CopierLife,
    ) -> Self {
        let id = into.config.transactional_id.clone().unwrap_or_default();
        Self {
            cores: TwoCores::new(consumer, producer),
            group: plan.config.group_id.as_deref().map(GroupId::from),
            plan,
            into,
            reader: life.reader,
            writer: life.writer,
            seed: life.seed,
            calls: Calls::new(&id, life.writer),
            doing: Doing::Calling,
            next_id: 0,
            next_value: life.first,
            inbox: VecDeque::new(),
            positions: BTreeMap::new(),
            open: BTreeMap::new(),
            done: Vec::new(),
            spoiled: false,
        }
    }

    fn is_transactional(&self) -> bool {
        self.plan.commit == CommitPolicy::Transactional
    }

    fn id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    // --- Calls ---

    fn read(&mut self, now: Now, io: &mut Io<'_>, id: u64, verb: Verb) {
        let outcomes = self.cores.call(Side::First, now, io, (id, verb));
        self.conclude_reader(now, io, outcomes);
    }

    fn write(&mut self, now: Now, io: &mut Io<'_>, id: u64, verb: Verb) {
        let outcomes = self.cores.call(Side::Second, now, io, (id, verb));
        self.conclude_writer(now, io, outcomes);
    }

    fn step(&mut self, now: Now, io: &mut Io<'_>, call: TransactionCall) {
        let verb = match &call {
            TransactionCall::Init => Verb::InitTransactions,
            TransactionCall::Begin => Verb::BeginTransaction,
            TransactionCall::Commit => Verb::CommitTransaction,
            TransactionCall::Abort => Verb::AbortTransaction,
            TransactionCall::SendOffsets { .. } => return,
        };
        if self.doing == Doing::Over {
            return;
        }
        self.doing = Doing::Calling;
        let id = self.calls.invoke(io, call);
        self.write(now, io, id, verb);
    }

    fn begin(&mut self, now: Now, io: &mut Io<'_>) {
        let id = self.id();
        let verb = if self.plan.assign.is_empty() {
            Verb::Subscribe(self.plan.topics.clone())
        } else {
            Verb::Assign(self.plan.assign.clone())
        };
        self.read(now, io, id, verb);
        if !self.plan.assign.is_empty() {
            let action = Action::Assigned {
                group: None,
                generation: None,
                partitions: self.plan.assign.clone(),
            };
            self.reader.note(io, id, Stage::Ok, action);
        }
        if self.is_transactional() {
            self.step(now, io, TransactionCall::Init);
        } else {
            self.poll(now, io);
        }
    }

    fn poll(&mut self, now: Now, io: &mut Io<'_>) {
        if self.doing == Doing::Over {
            return;
        }
        let id = self.id();
        self.doing = Doing::Polling(id);
        self.read(now, io, id, Verb::Poll(self.plan.poll));
    }

    // --- A round: what was polled is written and committed ---

    fn begin_round(&mut self, now: Now, io: &mut Io<'_>) {
        self.done.clear();
        self.spoiled = false;
        if self.is_transactional() {
            self.step(now, io, TransactionCall::Begin);
        } else if self.plan.commit == CommitPolicy::Before {
            self.commit(now, io);
        } else {
            self.work(now, io);
        }
    }

    /// Goes on with the next record, or with what comes after the last one.
    fn work(&mut self, now: Now, io: &mut Io<'_>) {
        self.doing = Doing::Working;
        while !self.inbox.is_empty() && !self.spoiled && self.doing == Doing::Working {
            if self.plan.processing > Span::ZERO {
                io.set_timer(APPLICATION_TIMER, now.mono + self.plan.processing);
                return;
            }
            self.make_next(now, io);
        }
        if self.doing == Doing::Working {
            self.doing = Doing::Flushing;
        }
        self.maybe_finish(now, io);
    }

    fn make_next(&mut self, now: Now, io: &mut Io<'_>) {
        let Some(item) = self.inbox.pop_front() else {
            return;
        };
        let value = Value::new(self.writer.client, self.next_value);
        self.next_value += 1;
        let written = Written {
            value,
            transaction: self.calls.current().filter(|_| self.is_transactional()),
            from: item,
        };
        let id = value.number();
        let key = written.from.key.clone();
        let text = key
            .as_deref()
            .map(|key| String::from_utf8_lossy(key).into_owned());
        let action = self.sent(&written, (None, None), text, None);
        self.writer.note(io, id, Stage::Invoke, action);
        self.open.insert(id, written);
        let size = usize::try_from(self.into.size).unwrap_or(usize::MAX);
        let record = ProducerRecord {
            topic: self.into.topic.clone(),
            partition: None,
            key,
            value: Some(encode_payload(value, size)),
            timestamp: None,
        };
        self.write(now, io, id, Verb::Send(Box::new(record)));
    }

    fn sent(
        &self,
        written: &Written,
        (partition, offset): (Option<i32>, Option<Offset>),
        key: Option<String>,
        error: Option<String>,
    ) -> Action {
        Action::Send {
            topic: self.into.topic.clone(),
            partition,
            key,
            value: written.value,
            transaction: written.transaction,
            made_from: written.from.value,
            amount: None,
            offset,
            error,
        }
    }

    /// Everything of the round is written: commits, or undoes it.
    fn maybe_finish(&mut self, now: Now, io: &mut Io<'_>) {
        if self.doing != Doing::Flushing {
            return;
        }
        if self.is_transactional() {
            let aborts = self.calls.wants_abort(self.seed, self.into.abort_per_mille);
            if self.spoiled || aborts {
                self.step(now, io, TransactionCall::Abort);
            } else {
                self.send_offsets(now, io);
            }
        } else if self.open.is_empty() {
            if self.plan.commit == CommitPolicy::Before {
                self.poll(now, io);
            } else if self.spoiled {
                self.rewind(now, io);
            } else if self.plan.commit == CommitPolicy::After {
                self.commit(now, io);
            } else {
                self.poll(now, io);
            }
        }
    }

    /// What was acknowledged, or committed with its transaction, has happened: in the order in which it was read, though
    /// the partitions that it was written to may have answered in another.
    fn tell_effects(&mut self, io: &mut Io<'_>) {
        let mut done = std::mem::take(&mut self.done);
        done.sort_by(|a, b| (&a.partition, a.offset).cmp(&(&b.partition, b.offset)));
        for item in done {
            let Some(value) = item.value else { continue };
            let id = self.id();
            let action = Action::Process {
                group: self.group.clone(),
                partition: item.partition,
                offset: item.offset,
                value,
            };
            self.reader.note(io, id, Stage::Ok, action);
        }
    }

    fn send_offsets(&mut self, now: Now, io: &mut Io<'_>) {
        let Some(group) = self.group.clone() else {
            return;
        };
        let metadata = if self.into.group_metadata {
            self.group_metadata(now, io)
        } else {
            None
        };
        let metadata = metadata.unwrap_or_else(|| ConsumerGroupMetadata {
            group_id: group.clone(),
            generation_id: GenerationId(-1),
            member_id: MemberId::from(""),
            group_instance_id: None,
        });
        let offsets = std::mem::take(&mut self.positions);
        let told = offsets.iter().map(|(p, entry)| (p.clone(), entry.offset));
        let call = TransactionCall::SendOffsets {
            group,
            offsets: told.collect(),
        };
        self.doing = Doing::Calling;
        let id = self.calls.invoke(io, call);
        let verb = Verb::SendOffsetsToTransaction(offsets, metadata);
        self.write(now, io, id, verb);
    }

    /// `groupMetadata()`, which answers at once.
    fn group_metadata(&mut self, now: Now, io: &mut Io<'_>) -> Option<ConsumerGroupMetadata> {
        let id = self.id();
        let outcomes = self
            .cores
            .call(Side::First, now, io, (id, Verb::GroupMetadata));
        outcomes.into_iter().find_map(|(_, outcome)| {
            if let Outcome::GroupMetadata(metadata) = outcome {
                Some(metadata)
            } else {
                None
            }
        })
    }

    fn commit(&mut self, now: Now, io: &mut Io<'_>) {
        let id = self.id();
        self.doing = Doing::Committing(id);
        let offsets = std::mem::take(&mut self.positions);
        self.note_commit(io, id, (Stage::Invoke, None), &offsets);
        self.read(now, io, id, Verb::CommitSync(offsets));
    }

    fn note_commit(
        &self,
        io: &mut Io<'_>,
        id: u64,
        (stage, error): (Stage, Option<String>),
        offsets: &BTreeMap<TopicPartition, OffsetAndMetadata>,
    ) {
        let Some(group) = self.group.clone() else {
            return;
        };
        let offsets = offsets.iter().map(|(p, entry)| (p.clone(), entry.offset));
        let action = Action::Commit {
            group,
            offsets: offsets.collect(),
            auto: false,
            error,
        };
        self.reader.note(io, id, stage, action);
    }

    /// Back to the committed offsets of all that is assigned.
    fn rewind(&mut self, now: Now, io: &mut Io<'_>) {
        self.inbox.clear();
        self.done.clear();
        self.positions.clear();
        let id = self.id();
        self.doing = Doing::Rewinding(id);
        let partitions = self.cores.first.assignment();
        if partitions.is_empty() {
            self.poll(now, io);
        } else {
            self.read(now, io, id, Verb::Committed(partitions));
        }
    }

    fn rewound(
        &mut self,
        now: Now,
        io: &mut Io<'_>,
        result: Result<BTreeMap<TopicPartition, Option<Offset>>, Failure>,
    ) {
        let Ok(committed) = result else {
            self.rewind(now, io);
            return;
        };
        for (partition, offset) in committed {
            let id = self.id();
            let verb = match offset {
                Some(offset) => Verb::Seek(partition, offset),
                None => Verb::SeekToBeginning(vec![partition]),
            };
            self.read(now, io, id, verb);
        }
        self.poll(now, io);
    }

    /// The producer is fenced, or there is no way on: the process ends with an error.
    fn end(&mut self, io: &mut Io<'_>) {
        if self.doing != Doing::Over {
            self.doing = Doing::Over;
            io.exit(false);
        }
    }

    // --- What the clients tell ---

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "only these concern this part; the rest passes by"
    )]
    fn conclude_writer(
        &mut self,
        now: Now,
        io: &mut Io<'_>,
        outcomes: Vec<(OperationId, Outcome)>,
    ) {
        for (OperationId(id), outcome) in outcomes {
            match outcome {
                Outcome::Sent(result) => self.on_sent(now, io, id, &result),
                Outcome::Done(result) => {
                    if let Some(call) = self.calls.returned(io, id, &result) {
                        let next = after(&call, &result);
                        self.on_call(now, io, call, next);
                    }
                }
                _ => {}
            }
        }
    }

    fn on_sent(
        &mut self,
        now: Now,
        io: &mut Io<'_>,
        id: u64,
        result: &Result<protocol::verb::RecordMetadata, Failure>,
    ) {
        let Some(written) = self.open.remove(&id) else {
            return;
        };
        let (stage, place, error) = match result {
            Ok(metadata) => {
                let partition = Some(metadata.partition.partition.0);
                (Stage::Ok, (partition, metadata.offset), None)
            }
            Err(failure) => {
                let name = error_name(&failure.error);
                (stage_of(failure), (None, None), Some(name))
            }
        };
        let action = self.sent(&written, place, None, error);
        self.writer.note(io, id, stage, action);
        let is_current = written.transaction == self.calls.current() || !self.is_transactional();
        match result {
            Ok(_) if is_current => self.done.push(written.from),
            Ok(_) => {}
            Err(failure) => {
                self.spoiled |= is_current;
                if is_fence(&failure.error) {
                    self.end(io);
                }
            }
        }
        if !self.is_transactional() {
            // Outside a transaction a record that is in the log has happened.
            self.tell_effects(io);
            self.maybe_finish(now, io);
        }
    }

    fn on_call(&mut self, now: Now, io: &mut Io<'_>, call: TransactionCall, next: After) {
        match (next, call) {
            (After::GoOn, TransactionCall::Init) => self.poll(now, io),
            (After::GoOn, TransactionCall::Begin) => self.work(now, io),
            (After::GoOn, TransactionCall::SendOffsets { .. }) => {
                self.step(now, io, TransactionCall::Commit);
            }
            (After::GoOn, TransactionCall::Commit) => {
                self.tell_effects(io);
                self.poll(now, io);
            }
            (After::GoOn, TransactionCall::Abort) => self.rewind(now, io),
            (After::Again, call) => self.step(now, io, call),
            (After::Abort, _) => self.step(now, io, TransactionCall::Abort),
            (After::End, _) => self.end(io),
        }
    }

    fn conclude_reader(
        &mut self,
        now: Now,
        io: &mut Io<'_>,
        outcomes: Vec<(OperationId, Outcome)>,
    ) {
        for (OperationId(id), outcome) in outcomes {
            if let Some(action) = reading(self.group.as_ref(), &outcome) {
                self.reader.note(io, id, Stage::Ok, action);
            }
            match outcome {
                Outcome::Polled(result) => self.on_polled(now, io, id, result),
                Outcome::Committed { offsets, result } => {
                    let ending = ending(&result);
                    self.note_commit(io, id, ending, &offsets);
                    self.on_committed(now, io, id, result.is_ok());
                }
                Outcome::Offsets(result) if self.doing == Doing::Rewinding(id) => {
                    self.rewound(now, io, result);
                }
                Outcome::Revoked(_) => {
                    let id = self.id();
                    self.read(now, io, id, Verb::ListenerReturned);
                }
                Outcome::Assigned(_)
                | Outcome::Lost(_)
                | Outcome::PositionReset { .. }
                | Outcome::Sent(_)
                | Outcome::Committing(_)
                | Outcome::Offsets(_)
                | Outcome::Described(_)
                | Outcome::Group(_)
                | Outcome::GroupMetadata(_)
                | Outcome::Reassignments(_)
                | Outcome::Done(_) => {}
            }
        }
    }

    fn on_polled(
        &mut self,
        now: Now,
        io: &mut Io<'_>,
        id: u64,
        result: Result<Vec<(TopicPartition, Vec<ConsumerRecord>)>, Failure>,
    ) {
        if self.doing != Doing::Polling(id) {
            return;
        }
        match result {
            Ok(partitions) => {
                self.take_in(io, id, partitions);
                if self.inbox.is_empty() {
                    self.poll(now, io);
                } else {
                    self.begin_round(now, io);
                }
            }
            Err(failure) => {
                let action = Action::Poll {
                    records: Vec::new(),
                    error: Some(error_name(&failure.error)),
                };
                self.reader.note(io, id, stage_of(&failure), action);
                self.doing = Doing::Waiting;
                io.set_timer(APPLICATION_TIMER, now.mono + self.plan.poll);
            }
        }
    }

    fn take_in(
        &mut self,
        io: &mut Io<'_>,
        id: u64,
        partitions: Vec<(TopicPartition, Vec<ConsumerRecord>)>,
    ) {
        let mut records = Vec::new();
        self.positions.clear();
        for (partition, batch) in partitions {
            let Some(last) = batch.last() else { continue };
            let position = OffsetAndMetadata {
                offset: last.offset.next(),
                leader_epoch: last.leader_epoch,
                metadata: String::new(),
            };
            self.positions.insert(partition.clone(), position);
            let items = batch.into_iter().map(|record| Item {
                partition: partition.clone(),
                offset: record.offset,
                value: record.value.as_deref().and_then(decode_payload),
                key: record.key,
            });
            let items: Vec<Item> = items.collect();
            records.push(Polled {
                partition,
                records: items.iter().map(|item| (item.offset, item.value)).collect(),
            });
            self.inbox.extend(items);
        }
        if !records.is_empty() {
            let error = None;
            let action = Action::Poll { records, error };
            self.reader.note(io, id, Stage::Ok, action);
        }
    }

    fn on_committed(&mut self, now: Now, io: &mut Io<'_>, id: u64, committed: bool) {
        if self.doing != Doing::Committing(id) {
            return;
        }
        if self.plan.commit == CommitPolicy::Before {
            if !committed {
                // At most once: what is not surely committed is not written, because somebody else may get it.
                self.inbox.clear();
            }
            self.work(now, io);
        } else {
            self.poll(now, io);
        }
    }
}

impl Machine for CopierApp {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "only these concern this part; the rest passes by"
    )]
    fn handle(&mut self, now: Now, input: Input, io: &mut Io<'_>) {
        match input {
            Input::Timer {
                timer: APPLICATION_TIMER,
            } => match self.doing {
                Doing::Working => {
                    self.make_next(now, io);
                    self.work(now, io);
                }
                Doing::Waiting => self.poll(now, io),
                _ => {}
            },
            input => {
                let starts = matches!(input, Input::Started);
                if matches!(input, Input::Stop) {
                    self.doing = Doing::Over;
                }
                let (first, second) = self.cores.input(now, input, io);
                self.conclude_reader(now, io, first);
                self.conclude_writer(now, io, second);
                if starts {
                    self.begin(now, io);
                }
            }
        }
    }
}
