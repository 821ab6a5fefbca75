//! An application that polls, processes and commits, in the order its commit policy says.
//!
//! *Before*: poll, commit the new positions, process — at most once. *After*: poll, process, commit — at least once.
//! *Auto*: poll and process; the client commits inside `poll`. A record is processed when its time is over; until then the
//! application is busy and does not poll, which is what `max.poll.interval.ms` watches.
//!
//! With a worker thread the polling thread hands over what it polled and polls on at once: what is committed then has been
//! handed over, not processed. Committing *after* may wait until so many records are done, and may be made up for when
//! partitions are taken away.
//!
//! Asked to stop, it finishes what it polled, commits that as it always does, and closes its consumer instead of polling
//! again: `close` commits the position behind what `poll` returned where the client commits by itself
//! (`ConsumerCoordinator.close`), and Kafka's documentation asks for everything to be processed before that. What a worker
//! thread still has in its hands then is not waited for, and lost where it was committed.
//!
//! It may pause a partition for a while, as one that waits for something else does. An error that polling again cannot
//! mend (`FencedInstanceIdException`: another process has this one's place) ends it: it closes its consumer and exits.

use super::{
    APPLICATION_TIMER, Identity, RESUME_TIMER, WORKER_TIMER, call, drive, ending, error_name,
    reading, stage_of,
};
use crate::scenario::format::Thread;
use crate::scenario::plan::ConsumerPlan;
use client_core::Consumer;
use history::manifest::CommitPolicy;
use history::record::decode_payload;
use protocol::error_code::ErrorCode;
use protocol::ids::{GroupId, Offset, TopicPartition};
use protocol::machine::{Input, Io, Machine};
use protocol::operation::{Action, Polled, Stage, Value};
use protocol::time::{Now, Span};
use protocol::verb::{
    ClientError, ConsumerRecord, Failure, OffsetAndMetadata, OperationId, Outcome, Verb,
};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// What the application is in the middle of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Doing {
    /// Nothing yet.
    Starting,
    /// A `poll` is under way.
    Polling(u64),
    /// A `commitSync` is under way; then it goes on with what it polled (`Before`) or polls again (`After`).
    Committing(u64),
    /// A record is being processed until the timer rings.
    Processing,
    /// `close` is under way, and with it the process ends.
    Ending(u64),
}

/// How long a `close` may take (`KafkaConsumer.DEFAULT_CLOSE_TIMEOUT_MS`).
const CLOSE_TIMEOUT: Span = Span::secs(30);

/// The application.
#[derive(Clone, Debug)]
pub struct ConsumerApp {
    core: Consumer,
    plan: Arc<ConsumerPlan>,
    identity: Identity,
    group: Option<GroupId>,
    next_id: u64,
    doing: Doing,
    /// Polled and not processed yet.
    inbox: VecDeque<(TopicPartition, Offset, Option<Value>)>,
    /// Where a commit would continue, per partition polled since the last commit.
    positions: BTreeMap<TopicPartition, OffsetAndMetadata>,
    /// How many records were polled since the last commit.
    uncommitted: u64,
    /// The commit that the listener of a rebalance waits for.
    last_will: Option<u64>,
    /// The worker thread has a record in its hands.
    working: bool,
    /// How many records of the partition to be paused are still to come before that.
    until_pause: Option<u64>,
    /// It was asked to stop, and closes its consumer when it would poll.
    stopping: bool,
}

impl ConsumerApp {
    /// One life of a consumer.
    pub fn new(core: Consumer, plan: Arc<ConsumerPlan>, identity: Identity) -> Self {
        let group = plan
            .config
            .group_id
            .as_ref()
            .map(|group| GroupId::from(group.as_str()));
        let until_pause = plan.pause.as_ref().map(|pause| pause.after);
        Self {
            core,
            plan,
            identity,
            group,
            next_id: 0,
            doing: Doing::Starting,
            inbox: VecDeque::new(),
            positions: BTreeMap::new(),
            uncommitted: 0,
            last_will: None,
            working: false,
            until_pause,
            stopping: false,
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

    fn pass_on(&mut self, now: Now, input: Input, io: &mut Io<'_>) {
        let outcomes = drive(&mut self.core, now, input, io);
        self.conclude(now, io, outcomes);
    }

    fn begin(&mut self, now: Now, io: &mut Io<'_>) {
        let id = self.id();
        if let Some(pattern) = self.plan.pattern.clone() {
            self.call(now, io, id, Verb::SubscribePattern(pattern));
        } else if self.plan.assign.is_empty() {
            self.call(now, io, id, Verb::Subscribe(self.plan.topics.clone()));
        } else {
            self.call(now, io, id, Verb::Assign(self.plan.assign.clone()));
            let action = Action::Assigned {
                group: None,
                generation: None,
                partitions: self.plan.assign.clone(),
            };
            self.identity.note(io, id, Stage::Ok, action);
        }
        self.poll(now, io);
    }

    fn poll(&mut self, now: Now, io: &mut Io<'_>) {
        if self.stopping {
            self.pass_on(now, Input::Stop, io);
            return;
        }
        let id = self.id();
        self.doing = Doing::Polling(id);
        self.call(now, io, id, Verb::Poll(self.plan.poll));
    }

    /// Goes on with what was polled: the next record, or what comes after the last one.
    fn work(&mut self, now: Now, io: &mut Io<'_>) {
        let hands_over = self.plan.thread == Thread::Worker;
        if hands_over {
            self.wake_worker(now, io);
        } else if self.plan.processing == Span::ZERO {
            while let Some(record) = self.inbox.pop_front() {
                self.process(io, record);
            }
        }
        if !self.inbox.is_empty() && !hands_over {
            self.doing = Doing::Processing;
            io.set_timer(APPLICATION_TIMER, now.mono + self.plan.processing);
        } else if self.plan.commit == CommitPolicy::After && self.is_commit_due() {
            self.commit(now, io);
        } else {
            self.poll(now, io);
        }
    }

    fn is_commit_due(&self) -> bool {
        !self.positions.is_empty() && self.uncommitted >= self.plan.commit_every
    }

    /// The worker takes the next record, unless it has one.
    fn wake_worker(&mut self, now: Now, io: &mut Io<'_>) {
        if !self.working && !self.inbox.is_empty() {
            self.working = true;
            io.set_timer(WORKER_TIMER, now.mono + self.plan.processing);
        }
    }

    fn process(
        &mut self,
        io: &mut Io<'_>,
        (partition, offset, value): (TopicPartition, Offset, Option<Value>),
    ) {
        let Some(value) = value else { return };
        let id = self.id();
        let action = Action::Process {
            group: self.group.clone(),
            partition,
            offset,
            value,
        };
        self.identity.note(io, id, Stage::Ok, action);
    }

    fn commit(&mut self, now: Now, io: &mut Io<'_>) {
        let id = self.id();
        self.doing = Doing::Committing(id);
        self.hand_in(now, io, id);
    }

    /// Commits everything polled so far.
    fn hand_in(&mut self, now: Now, io: &mut Io<'_>, id: u64) {
        self.uncommitted = 0;
        let offsets = std::mem::take(&mut self.positions);
        self.note_commit(io, id, Stage::Invoke, &offsets, (false, None));
        self.call(now, io, id, Verb::CommitSync(offsets));
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "what is done, to whom and with which hands: bundling would only hide it"
    )]
    fn note_commit(
        &self,
        io: &mut Io<'_>,
        id: u64,
        stage: Stage,
        offsets: &BTreeMap<TopicPartition, OffsetAndMetadata>,
        (auto, error): (bool, Option<String>),
    ) {
        let Some(group) = self.group.clone() else {
            return;
        };
        let offsets = offsets
            .iter()
            .map(|(partition, entry)| (partition.clone(), entry.offset))
            .collect();
        self.identity.note(
            io,
            id,
            stage,
            Action::Commit {
                group,
                offsets,
                auto,
                error,
            },
        );
    }

    fn conclude(&mut self, now: Now, io: &mut Io<'_>, outcomes: Vec<(OperationId, Outcome)>) {
        for (OperationId(id), outcome) in outcomes {
            if let Some(action) = reading(self.group.as_ref(), &outcome) {
                self.identity.note(io, id, Stage::Ok, action);
            }
            match outcome {
                Outcome::Polled(result) => self.on_polled(now, io, id, result),
                Outcome::Committed { offsets, result } => {
                    self.on_commit_ended(now, io, id, (&offsets, result));
                }
                Outcome::Revoked(partitions) => self.on_revoked(now, io, &partitions),
                Outcome::Lost(partitions) => self.forget(&partitions),
                Outcome::Done(_) if self.doing == Doing::Ending(id) => io.exit(true),
                Outcome::Assigned(_)
                | Outcome::PositionReset { .. }
                | Outcome::Committing(_)
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

    /// A commit has ended: of the application, of its listener, or of the client by itself.
    fn on_commit_ended(
        &mut self,
        now: Now,
        io: &mut Io<'_>,
        id: u64,
        (offsets, result): (
            &BTreeMap<TopicPartition, OffsetAndMetadata>,
            Result<(), Failure>,
        ),
    ) {
        let (stage, error) = ending(&result);
        let own = self.doing == Doing::Committing(id);
        let last_will = self.last_will == Some(id);
        self.note_commit(io, id, stage, offsets, (!own && !last_will, error));
        if last_will {
            self.last_will = None;
            self.listener_returns(now, io);
        } else if own
            && result
                .as_ref()
                .is_err_and(|failure| is_fatal(&failure.error))
        {
            self.end(now, io);
        } else if own {
            if result.is_err() {
                self.keep_for_the_next(offsets);
            }
            self.on_committed(now, io, result.is_ok());
        }
    }

    /// What could not be committed belongs to the next commit, as with a `commitSync` that names no offsets: one that waits for
    /// a rebalance is to be repeated after it. What is taken away in between is forgotten then.
    fn keep_for_the_next(&mut self, offsets: &BTreeMap<TopicPartition, OffsetAndMetadata>) {
        if self.plan.commit == CommitPolicy::After {
            self.positions.extend(offsets.clone());
        }
    }

    /// Everything polled was processed before this poll; whether it was committed is the application's choice.
    fn on_revoked(&mut self, now: Now, io: &mut Io<'_>, partitions: &[TopicPartition]) {
        let commits = self.plan.commit == CommitPolicy::After && self.plan.commit_on_revoke;
        if commits && !self.positions.is_empty() {
            let id = self.id();
            self.last_will = Some(id);
            self.hand_in(now, io, id);
        } else {
            self.forget(partitions);
            self.listener_returns(now, io);
        }
    }

    /// Positions in partitions of somebody else are not ours to commit.
    fn forget(&mut self, partitions: &[TopicPartition]) {
        for partition in partitions {
            self.positions.remove(partition);
        }
        if self.positions.is_empty() {
            self.uncommitted = 0;
        }
    }

    fn listener_returns(&mut self, now: Now, io: &mut Io<'_>) {
        let id = self.id();
        self.call(now, io, id, Verb::ListenerReturned);
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
                self.maybe_pause(now, io, &partitions);
                self.take_in(io, id, partitions);
                if self.plan.commit == CommitPolicy::Before && !self.positions.is_empty() {
                    self.commit(now, io);
                } else {
                    self.work(now, io);
                }
            }
            Err(failure) => {
                let action = Action::Poll {
                    records: Vec::new(),
                    error: Some(error_name(&failure.error)),
                };
                self.identity.note(io, id, stage_of(&failure), action);
                if is_fatal(&failure.error) {
                    self.end(now, io);
                    return;
                }
                // `poll` threw: a simple application logs and polls on, after its poll time-out.
                self.doing = Doing::Processing;
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
        for (partition, batch) in partitions {
            let mut polled = Vec::with_capacity(batch.len());
            for record in &batch {
                self.uncommitted += 1;
                let value = record.value.as_deref().and_then(decode_payload);
                polled.push((record.offset, value));
                self.inbox
                    .push_back((partition.clone(), record.offset, value));
            }
            if let Some(last) = batch.last() {
                let position = OffsetAndMetadata {
                    offset: last.offset.next(),
                    leader_epoch: last.leader_epoch,
                    metadata: String::new(),
                };
                self.positions.insert(partition.clone(), position);
                records.push(Polled {
                    partition,
                    records: polled,
                });
            }
        }
        // An empty poll happens ten times a second and tells nothing.
        if !records.is_empty() {
            self.identity.note(
                io,
                id,
                Stage::Ok,
                Action::Poll {
                    records,
                    error: None,
                },
            );
        }
    }

    /// Pauses a partition once so many records of it were polled, and lets it go on later.
    fn maybe_pause(
        &mut self,
        now: Now,
        io: &mut Io<'_>,
        polled: &[(TopicPartition, Vec<ConsumerRecord>)],
    ) {
        let plan = self.plan.clone();
        let (Some(pause), Some(left)) = (&plan.pause, self.until_pause) else {
            return;
        };
        let seen = polled
            .iter()
            .filter(|(partition, _)| *partition == pause.partition)
            .map(|(_, records)| records.len())
            .sum::<usize>();
        let left = left.saturating_sub(u64::try_from(seen).unwrap_or(u64::MAX));
        self.until_pause = (left > 0).then_some(left);
        if left == 0 {
            let id = self.id();
            self.call(now, io, id, Verb::Pause(vec![pause.partition.clone()]));
            io.set_timer(RESUME_TIMER, now.mono + pause.lasting);
        }
    }

    fn resume(&mut self, now: Now, io: &mut Io<'_>) {
        if let Some(partition) = self
            .plan
            .pause
            .as_ref()
            .map(|pause| pause.partition.clone())
        {
            let id = self.id();
            self.call(now, io, id, Verb::Resume(vec![partition]));
        }
    }

    /// There is nothing left to do but to close.
    fn end(&mut self, now: Now, io: &mut Io<'_>) {
        let id = self.id();
        self.doing = Doing::Ending(id);
        self.call(now, io, id, Verb::Close(CLOSE_TIMEOUT));
    }

    fn on_committed(&mut self, now: Now, io: &mut Io<'_>, committed: bool) {
        if self.plan.commit == CommitPolicy::Before && !committed {
            // At most once: what is not surely committed is not processed, because somebody else may get it.
            self.inbox.clear();
        }
        if self.plan.commit == CommitPolicy::Before {
            self.work(now, io);
        } else {
            self.poll(now, io);
        }
    }
}

/// Errors after which a process has to end, because to go on would be to take its successor's place in turn.
fn is_fatal(error: &ClientError) -> bool {
    matches!(error, ClientError::Broker(ErrorCode::FencedInstanceId))
}

impl Machine for ConsumerApp {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "only these concern this part; the rest passes by"
    )]
    fn handle(&mut self, now: Now, input: Input, io: &mut Io<'_>) {
        match input {
            Input::Started => {
                self.pass_on(now, input, io);
                self.begin(now, io);
            }
            Input::Timer {
                timer: APPLICATION_TIMER,
            } => {
                if self.plan.thread == Thread::Poll
                    && let Some(record) = self.inbox.pop_front()
                {
                    self.process(io, record);
                }
                self.work(now, io);
            }
            Input::Timer {
                timer: WORKER_TIMER,
            } => {
                self.working = false;
                if let Some(record) = self.inbox.pop_front() {
                    self.process(io, record);
                }
                self.wake_worker(now, io);
            }
            Input::Timer {
                timer: RESUME_TIMER,
            } => self.resume(now, io),
            Input::Stop if self.plan.thread == Thread::Poll && !self.inbox.is_empty() => {
                self.stopping = true;
            }
            input => self.pass_on(now, input, io),
        }
    }
}
