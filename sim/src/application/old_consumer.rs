//! An application of the ZooKeeper consumer: a thread for each stream, which takes a message, works on it and takes the
//! next.
//!
//! *Before*: take, commit, work. *After*: take, work, commit. *Auto*: the client commits by the clock what it has handed
//! out, whether or not the application is done with it. A commit is of the whole consumer: it covers what other threads
//! have in their hands. When the streams cannot be made the exception ends the process.

use super::{Identity, call, drive, ending, error_name, reading, stage_of};
use crate::scenario::plan::ConsumerPlan;
use client_core::ZookeeperConsumer;
use history::manifest::CommitPolicy;
use history::record::decode_payload;
use protocol::ids::{GroupId, Offset, TopicPartition};
use protocol::machine::{Input, Io, Machine, TimerId};
use protocol::operation::{Action, Polled, Stage, Value};
use protocol::time::{Now, Span};
use protocol::verb::{
    ClientError, ConsumerRecord, Failure, OffsetAndMetadata, OperationId, Outcome, Verb,
};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// The timers of the threads count down from here.
const THREAD_TIMERS: u64 = u64::MAX - 2;

/// A message and where it is from.
type Message = (TopicPartition, Offset, Option<Value>);

/// What a thread is in the middle of.
#[derive(Clone, Debug)]
enum Doing {
    /// Waiting for the next message.
    Taking,
    /// Committing before it works.
    Announcing(Message),
    /// Working until its timer rings.
    Working(Message),
    /// Committing after it worked.
    Committing,
    /// Done for good.
    Over,
}

/// The application.
#[derive(Clone, Debug)]
pub struct OldConsumerApp {
    core: ZookeeperConsumer,
    plan: Arc<ConsumerPlan>,
    identity: Identity,
    group: Option<GroupId>,
    next_id: u64,
    creation: u64,
    streams: u32,
    /// By stream.
    threads: BTreeMap<u32, Doing>,
    /// Threads about to take their next message.
    ready: VecDeque<u32>,
    /// By call: the thread that waits for its answer.
    calls: BTreeMap<u64, u32>,
    /// How many messages were worked on since the last commit.
    uncommitted: u64,
}

impl OldConsumerApp {
    /// One life of a consumer with so many streams of each topic.
    pub fn new(
        core: ZookeeperConsumer,
        plan: Arc<ConsumerPlan>,
        streams: u32,
        identity: Identity,
    ) -> Self {
        let group = plan.config.group_id.as_deref().map(GroupId::from);
        Self {
            core,
            plan,
            identity,
            group,
            next_id: 0,
            creation: 0,
            streams,
            threads: BTreeMap::new(),
            ready: VecDeque::new(),
            calls: BTreeMap::new(),
            uncommitted: 0,
        }
    }

    fn id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    fn call(&mut self, now: Now, io: &mut Io<'_>, id: u64, verb: Verb) {
        let outcomes = call(&mut self.core, now, io, id, verb);
        self.conclude(now, io, outcomes);
    }

    fn begin(&mut self, now: Now, io: &mut Io<'_>) {
        self.creation = self.id();
        let streams = self.streams;
        let verb = if let Some(pattern) = self.plan.pattern.clone() {
            Verb::CreateStreamsByFilter(pattern, streams)
        } else {
            let topics = self.plan.topics.iter();
            Verb::CreateStreams(topics.map(|topic| (topic.clone(), streams)).collect())
        };
        self.call(now, io, self.creation, verb);
    }

    /// Threads take their next messages, until all of them wait for something.
    fn run(&mut self, now: Now, io: &mut Io<'_>) {
        while let Some(thread) = self.ready.pop_front() {
            let id = self.id();
            self.calls.insert(id, thread);
            self.call(now, io, id, Verb::NextMessage(thread));
        }
    }

    /// A thread will take its next message.
    fn take(&mut self, thread: u32) {
        self.threads.insert(thread, Doing::Taking);
        self.ready.push_back(thread);
    }

    fn commit(&mut self, now: Now, io: &mut Io<'_>, thread: u32) {
        let id = self.id();
        self.uncommitted = 0;
        self.calls.insert(id, thread);
        self.call(now, io, id, Verb::CommitSync(BTreeMap::new()));
    }

    fn work(&mut self, now: Now, io: &mut Io<'_>, (thread, message): (u32, Message)) {
        if self.plan.processing == Span::ZERO {
            self.worked(now, io, (thread, message));
        } else {
            self.threads.insert(thread, Doing::Working(message));
            let timer = TimerId(THREAD_TIMERS - u64::from(thread));
            io.set_timer(timer, now.mono + self.plan.processing);
        }
    }

    fn worked(
        &mut self,
        now: Now,
        io: &mut Io<'_>,
        (thread, (partition, offset, value)): (u32, Message),
    ) {
        if let Some(value) = value {
            let id = self.id();
            let action = Action::Process {
                group: self.group.clone(),
                partition,
                offset,
                value,
            };
            self.identity.note(io, id, Stage::Ok, action);
        }
        self.uncommitted += 1;
        let is_due = self.uncommitted >= self.plan.commit_every;
        if self.plan.commit == CommitPolicy::After && is_due {
            self.threads.insert(thread, Doing::Committing);
            self.commit(now, io, thread);
        } else {
            self.take(thread);
        }
    }

    fn note(&mut self, io: &mut Io<'_>, id: u64, action: Action) {
        self.identity.note(io, id, Stage::Ok, action);
    }

    fn note_commit(
        &mut self,
        io: &mut Io<'_>,
        (id, stage): (u64, Stage),
        offsets: &BTreeMap<TopicPartition, OffsetAndMetadata>,
        error: Option<String>,
    ) {
        let Some(group) = self.group.clone().filter(|_| !offsets.is_empty()) else {
            return;
        };
        let entry = |(partition, entry): (&TopicPartition, &OffsetAndMetadata)| {
            (partition.clone(), entry.offset)
        };
        let action = Action::Commit {
            group,
            offsets: offsets.iter().map(entry).collect(),
            auto: id == self.creation,
            error,
        };
        self.identity.note(io, id, stage, action);
    }

    fn conclude(&mut self, now: Now, io: &mut Io<'_>, outcomes: Vec<(OperationId, Outcome)>) {
        for (OperationId(id), outcome) in outcomes {
            if let Some(action) = reading(self.group.as_ref(), &outcome) {
                self.identity.note(io, id, Stage::Ok, action);
            }
            match outcome {
                Outcome::Done(result) if id == self.creation => self.on_created(io, result),
                Outcome::Polled(result) => self.on_polled(now, io, id, result),
                Outcome::Committing(offsets) => {
                    self.note_commit(io, (id, Stage::Invoke), &offsets, None);
                }
                Outcome::Committed { offsets, result } => {
                    let (stage, error) = ending(&result);
                    self.note_commit(io, (id, stage), &offsets, error);
                    self.on_committed(now, io, id, result.is_ok());
                }
                Outcome::Assigned(_)
                | Outcome::Revoked(_)
                | Outcome::Lost(_)
                | Outcome::PositionReset { .. }
                | Outcome::Sent(_)
                | Outcome::Offsets(_)
                | Outcome::Described(_)
                | Outcome::Group(_)
                | Outcome::GroupMetadata(_)
                | Outcome::Reassignments(_)
                | Outcome::Done(_) => {}
            }
        }
    }

    fn on_created(&mut self, io: &mut Io<'_>, result: Result<(), Failure>) {
        match result {
            Ok(()) => {
                // The streams of a filter take messages of all topics.
                let topics = if self.plan.pattern.is_some() {
                    1
                } else {
                    u32::try_from(self.plan.topics.len()).unwrap_or(u32::MAX)
                };
                for thread in 0..topics * self.streams {
                    self.take(thread);
                }
            }
            Err(failure) => {
                let action = Action::Admin {
                    call: "create message streams".to_owned(),
                    error: Some(error_name(&failure.error)),
                };
                self.identity
                    .note(io, self.creation, stage_of(&failure), action);
                io.exit(false);
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
        let Some(thread) = self.calls.remove(&id) else {
            return;
        };
        match result {
            Ok(polled) => {
                let mut messages: VecDeque<Message> = VecDeque::new();
                for (partition, records) in polled {
                    let decoded = |record: &ConsumerRecord| {
                        let value = record.value.as_deref().and_then(decode_payload);
                        (partition.clone(), record.offset, value)
                    };
                    messages.extend(records.iter().map(decoded));
                }
                if let Some(message) = messages.pop_front() {
                    self.on_message(now, io, (id, thread), message);
                }
            }
            // A simple application that was given a time-out looks at its clock and goes on.
            Err(failure) if failure.error == ClientError::ConsumerTimeout => {
                self.take(thread);
            }
            Err(_) => {
                self.threads.insert(thread, Doing::Over);
            }
        }
    }

    fn on_message(
        &mut self,
        now: Now,
        io: &mut Io<'_>,
        (id, thread): (u64, u32),
        message: Message,
    ) {
        let (partition, offset, value) = message.clone();
        let records = vec![Polled {
            partition,
            records: vec![(offset, value)],
        }];
        let error = None;
        self.note(io, id, Action::Poll { records, error });
        if self.plan.commit == CommitPolicy::Before {
            self.threads.insert(thread, Doing::Announcing(message));
            self.commit(now, io, thread);
        } else {
            self.work(now, io, (thread, message));
        }
    }

    fn on_committed(&mut self, now: Now, io: &mut Io<'_>, id: u64, committed: bool) {
        let Some(thread) = self.calls.remove(&id) else {
            return;
        };
        match self.threads.get(&thread).cloned() {
            // At most once: what is not surely committed is not worked on, because somebody else may get it.
            Some(Doing::Announcing(message)) if committed => {
                self.work(now, io, (thread, message));
            }
            Some(Doing::Announcing(_) | Doing::Committing) => self.take(thread),
            Some(Doing::Taking | Doing::Working(_) | Doing::Over) | None => {}
        }
    }

    /// The thread whose timer it is.
    fn thread_of(&self, timer: TimerId) -> Option<u32> {
        let number = u32::try_from(THREAD_TIMERS.checked_sub(timer.0)?).ok()?;
        self.threads.contains_key(&number).then_some(number)
    }
}

impl Machine for OldConsumerApp {
    fn handle(&mut self, now: Now, input: Input, io: &mut Io<'_>) {
        if let Input::Timer { timer } = input
            && let Some(thread) = self.thread_of(timer)
        {
            if let Some(Doing::Working(message)) = self.threads.get(&thread).cloned() {
                self.worked(now, io, (thread, message));
            }
            self.run(now, io);
            return;
        }
        let is_start = matches!(input, Input::Started);
        let outcomes = drive(&mut self.core, now, input, io);
        self.conclude(now, io, outcomes);
        if is_start {
            self.begin(now, io);
        }
        self.run(now, io);
    }
}
