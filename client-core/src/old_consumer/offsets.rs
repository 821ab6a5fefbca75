//! Commits, and reads of what was committed to Kafka (`commitOffsets`, `fetchOffsets`, `ClientUtils.channelToOffsetManager`).
//!
//! One at a time, as whoever does it holds the lock of the offsets channel. In ZooKeeper a commit is a write per
//! partition over whatever is there: nobody looks who writes. Left out: offsets below zero, which Kafka's offset manager
//! keeps as "none", are not sent; a search for the offset manager rests when it has asked every broker in vain.

use super::channel::{Call, Line};
use super::chore::{Chore, Fact};
use super::leader_finder::{broker_data, children, endpoints, shuffled};
use super::session::Thread;
use super::{ZookeeperConsumer, znode};
use bytes::Bytes;
use protocol::api::ResponseBody;
use protocol::api::group::{
    CommittedOffset, CoordinatorKind, FindCoordinatorRequest, OffsetCommitRequest,
    OffsetCommitResponse, OffsetFetchRequest, OffsetFetchResponse,
};
use protocol::config::OffsetStorage;
use protocol::error_code::ErrorCode;
use protocol::ids::{Endpoint, GenerationId, MemberId, Offset, TopicPartition};
use protocol::machine::Io;
use protocol::time::Mono;
use protocol::verb::{ClientError, Failure, OffsetAndMetadata, OperationId, Outcome};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// Committed offsets by partition.
pub(super) type Offsets = BTreeMap<TopicPartition, Offset>;

/// Who commits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Committer {
    /// A rebalance, before it gives partitions away.
    Rebalance,
    /// The application.
    Application(OperationId),
    /// The committing thread.
    Scheduler,
    /// The shutdown.
    Shutdown,
}

/// What somebody wants of the channel.
#[derive(Clone, Debug)]
enum Job {
    Commit {
        by: Committer,
        offsets: Offsets,
        retries: i32,
        /// What the application was told to be under way.
        told: Option<Offsets>,
    },
    Fetch(Vec<TopicPartition>),
}

/// Where the first job is.
#[derive(Clone, Default, Debug)]
enum Step {
    #[default]
    Idle,
    /// Writing these to ZooKeeper, the first one now; then whether the job is done.
    Writing(VecDeque<(TopicPartition, Offset)>, bool),
    /// In search of the offset manager: who lives,
    Names,
    /// where they listen,
    Places(Vec<Arc<str>>),
    /// and one after the other, who manages the offsets.
    Querying(VecDeque<Endpoint>),
    /// The offset manager was asked.
    Asked,
    /// Resting before another try.
    Resting(Mono),
}

/// The offsets channel and its lock.
#[derive(Clone, Default, Debug)]
pub(super) struct OffsetsChannel {
    jobs: VecDeque<Job>,
    step: Step,
    manager: Option<Endpoint>,
    rounds: u64,
}

impl OffsetsChannel {
    pub(super) fn next_deadline(&self) -> Option<Mono> {
        match self.step {
            Step::Resting(until) => Some(until),
            Step::Idle
            | Step::Writing(..)
            | Step::Names
            | Step::Places(_)
            | Step::Querying(_)
            | Step::Asked => None,
        }
    }

    /// Whether the committing thread is at it.
    pub(super) fn is_scheduled(&self) -> bool {
        let by_scheduler = |job: &Job| {
            matches!(
                job,
                Job::Commit {
                    by: Committer::Scheduler,
                    ..
                }
            )
        };
        self.jobs.iter().any(by_scheduler)
    }
}

impl ZookeeperConsumer {
    /// `commitOffsets`: what has been consumed of everything that is owned.
    pub(super) fn commit(&mut self, now: Mono, by: Committer, io: &mut Io<'_>) {
        let retries = match by {
            Committer::Scheduler => self.config.offsets_commit_max_retries,
            Committer::Rebalance | Committer::Application(_) | Committer::Shutdown => 0,
        };
        let job = Job::Commit {
            by,
            offsets: self.registry.consumed(),
            retries,
            told: None,
        };
        self.enlist(now, job, io);
    }

    /// What Kafka has committed of these; answered by [`ZookeeperConsumer::on_offsets`].
    pub(super) fn fetch_offsets(&mut self, now: Mono, of: Vec<TopicPartition>, io: &mut Io<'_>) {
        self.enlist(now, Job::Fetch(of), io);
    }

    fn enlist(&mut self, now: Mono, job: Job, io: &mut Io<'_>) {
        self.offsets.jobs.push_back(job);
        if matches!(self.offsets.step, Step::Idle) {
            self.begin_job(now, io);
        }
    }

    /// Begins the first job, or tries it again.
    fn begin_job(&mut self, now: Mono, io: &mut Io<'_>) {
        self.offsets.step = Step::Idle;
        let storage = self.config.offsets_storage;
        let Some(job) = self.offsets.jobs.front_mut() else {
            return;
        };
        let Job::Commit {
            by, offsets, told, ..
        } = job
        else {
            self.ask_manager(now, io);
            return;
        };
        if storage == OffsetStorage::Zookeeper {
            offsets.retain(|partition, offset| self.checkpointed.get(partition) != Some(offset));
        }
        if told.is_none() && !offsets.is_empty() {
            *told = Some(offsets.clone());
            let operation = match by {
                Committer::Application(operation) => *operation,
                Committer::Rebalance | Committer::Scheduler | Committer::Shutdown => self.creation,
            };
            io.outcome(operation, Outcome::Committing(with_metadata(offsets)));
        }
        if offsets.is_empty() {
            self.finish_job(now, true, io);
        } else if storage == OffsetStorage::Zookeeper {
            let list = offsets.clone().into_iter().collect();
            self.write(now, list, true, io);
        } else {
            self.ask_manager(now, io);
        }
    }

    /// `commitOffsetToZooKeeper`, one after the other.
    fn write(
        &mut self,
        now: Mono,
        mut list: VecDeque<(TopicPartition, Offset)>,
        done: bool,
        io: &mut Io<'_>,
    ) {
        // Another thread may have written, or read, the same offset meanwhile.
        while list
            .front()
            .is_some_and(|(partition, offset)| self.checkpointed.get(partition) == Some(offset))
        {
            list.pop_front();
        }
        let Some((partition, offset)) = list.front() else {
            self.conclude_job(now, done, io);
            return;
        };
        let put = Chore::Put {
            path: znode::offset(&self.group, partition),
            data: Bytes::from(offset.to_string()),
        };
        self.wanted.push_back((Thread::Offsets, vec![put]));
        self.offsets.step = Step::Writing(list, done);
    }

    /// ZooKeeper answered.
    pub(super) fn on_offsets_facts(&mut self, now: Mono, facts: &[Fact], io: &mut Io<'_>) {
        match std::mem::take(&mut self.offsets.step) {
            Step::Writing(mut list, done) => {
                if let Some((partition, offset)) = list.pop_front() {
                    self.checkpointed.insert(partition, offset);
                }
                self.write(now, list, done, io);
            }
            Step::Names => {
                let names = children(facts);
                self.wanted
                    .push_back((Thread::Offsets, broker_data(&names)));
                self.offsets.step = Step::Places(names);
            }
            Step::Places(names) => {
                let brokers: Vec<Endpoint> = endpoints(&names, facts).into_values().collect();
                self.offsets.rounds += 1;
                let order = shuffled(brokers, self.seed, self.offsets.rounds);
                self.query(now, order, io);
            }
            other @ (Step::Idle | Step::Querying(_) | Step::Asked | Step::Resting(_)) => {
                self.offsets.step = other;
            }
        }
    }

    /// `ConsumerMetadataRequest`, to the first of these.
    fn query(&mut self, now: Mono, order: VecDeque<Endpoint>, io: &mut Io<'_>) {
        let Some(to) = order.front().cloned() else {
            self.rest_job(now);
            return;
        };
        let body = FindCoordinatorRequest {
            key: self.group.as_str().into(),
            kind: CoordinatorKind::Group,
        };
        let call = Call {
            to,
            body: body.into(),
            timeout: self.config.offsets_channel_socket_timeout_ms,
            again: false,
        };
        self.offsets.step = Step::Querying(order);
        self.channels.call(now, Line::Query, call, io);
    }

    pub(super) fn on_query_answer(
        &mut self,
        now: Mono,
        answer: Option<ResponseBody>,
        io: &mut Io<'_>,
    ) {
        let Step::Querying(mut order) = std::mem::take(&mut self.offsets.step) else {
            return;
        };
        self.channels.close(Line::Query, io);
        let Some(ResponseBody::FindCoordinator(found)) = answer else {
            order.pop_front();
            self.query(now, order, io);
            return;
        };
        if let Some((_, endpoint)) = found.coordinator.filter(|_| found.error.is_none()) {
            self.offsets.manager = Some(endpoint);
            self.ask_manager(now, io);
        } else {
            self.rest_job(now);
        }
    }

    fn rest_job(&mut self, now: Mono) {
        self.offsets.step = Step::Resting(now + self.config.offsets_channel_backoff_ms);
    }

    pub(super) fn tick_offsets(&mut self, now: Mono, io: &mut Io<'_>) {
        if self.offsets.next_deadline().is_some_and(|at| at <= now) {
            self.begin_job(now, io);
        }
    }

    /// Sends the job to the offset manager, which is looked for first if need be.
    fn ask_manager(&mut self, now: Mono, io: &mut Io<'_>) {
        let Some(to) = self.offsets.manager.clone() else {
            self.offsets.step = Step::Names;
            let read = Chore::Children {
                path: znode::BROKER_IDS.into(),
                watch: self.listening.to_brokers,
            };
            self.wanted.push_back((Thread::Offsets, vec![read]));
            return;
        };
        let body = match self.offsets.jobs.front() {
            Some(Job::Commit { offsets, .. }) => self.commit_request(offsets).into(),
            Some(Job::Fetch(partitions)) => OffsetFetchRequest {
                group_id: self.group.clone(),
                partitions: Some(partitions.clone()),
                require_stable: false,
            }
            .into(),
            None => return,
        };
        let call = Call {
            to,
            body,
            timeout: self.config.offsets_channel_socket_timeout_ms,
            again: false,
        };
        self.offsets.step = Step::Asked;
        self.channels.call(now, Line::Offsets, call, io);
    }

    fn commit_request(&self, offsets: &Offsets) -> OffsetCommitRequest {
        let one = |(partition, offset): (&TopicPartition, &Offset)| CommittedOffset {
            partition: partition.clone(),
            offset: *offset,
            leader_epoch: None,
            metadata: "".into(),
        };
        OffsetCommitRequest {
            group_id: self.group.clone(),
            generation_id: GenerationId(-1),
            member_id: MemberId::from(""),
            group_instance_id: None,
            retention: None,
            offsets: offsets.iter().map(one).collect(),
        }
    }

    pub(super) fn on_offsets_answer(
        &mut self,
        now: Mono,
        answer: Option<ResponseBody>,
        io: &mut Io<'_>,
    ) {
        match answer {
            Some(ResponseBody::OffsetCommit(answer)) => self.on_commit_answer(now, &answer, io),
            Some(ResponseBody::OffsetFetch(answer)) => self.on_fetch_answer(now, answer, io),
            Some(_) | None => {
                self.forget_manager(io);
                self.conclude_job(now, false, io);
            }
        }
    }

    fn forget_manager(&mut self, io: &mut Io<'_>) {
        self.offsets.manager = None;
        self.channels.close(Line::Offsets, io);
    }

    fn on_commit_answer(&mut self, now: Mono, answer: &OffsetCommitResponse, io: &mut Io<'_>) {
        let Some(Job::Commit { offsets, .. }) = self.offsets.jobs.front() else {
            return;
        };
        let errors = || answer.partitions.iter().map(|(_, error)| *error);
        let has_moved = errors().any(is_elsewhere);
        let done = errors()
            .all(|error| matches!(error, ErrorCode::None | ErrorCode::OffsetMetadataTooLarge));
        let taken = answer
            .partitions
            .iter()
            .filter(|(_, error)| error.is_none());
        let list =
            taken.filter_map(|(partition, _)| Some((partition.clone(), *offsets.get(partition)?)));
        let list: VecDeque<(TopicPartition, Offset)> = list.collect();
        if has_moved {
            self.forget_manager(io);
        }
        if self.config.dual_commit_enabled {
            self.write(now, list, done, io);
        } else {
            self.conclude_job(now, done, io);
        }
    }

    fn on_fetch_answer(&mut self, now: Mono, answer: OffsetFetchResponse, io: &mut Io<'_>) {
        let of_parts = answer
            .partitions
            .iter()
            .filter_map(|(_, found)| found.as_ref().err().copied());
        let mut errors = of_parts
            .chain(Some(answer.error))
            .filter(|error| error.is_error());
        let is_retried = errors
            .clone()
            .any(|error| is_elsewhere(error) || error == ErrorCode::CoordinatorLoadInProgress);
        if is_retried {
            if errors.any(is_elsewhere) {
                self.forget_manager(io);
            }
            self.rest_job(now);
            return;
        }
        let found = answer
            .partitions
            .into_iter()
            .filter_map(|(partition, found)| {
                let offset = found.ok()??.offset;
                (offset >= Offset(0)).then_some((partition, offset))
            });
        let found = found.collect();
        self.offsets.jobs.pop_front();
        self.on_offsets(found);
        self.begin_job(now, io);
    }

    /// A try is over: done, or once more after a rest.
    fn conclude_job(&mut self, now: Mono, done: bool, io: &mut Io<'_>) {
        let again = match self.offsets.jobs.front_mut() {
            Some(Job::Commit { retries, .. }) => {
                *retries -= 1;
                !done && *retries >= 0
            }
            Some(Job::Fetch(_)) => !done,
            None => false,
        };
        if again {
            self.rest_job(now);
        } else {
            self.finish_job(now, done, io);
        }
    }

    fn finish_job(&mut self, now: Mono, done: bool, io: &mut Io<'_>) {
        let Some(Job::Commit { by, told, .. }) = self.offsets.jobs.pop_front() else {
            return;
        };
        self.offsets.step = Step::Idle;
        let result = if done {
            Ok(())
        } else {
            Err(Failure::info(ClientError::Disconnected))
        };
        let operation = match by {
            Committer::Application(operation) => Some(operation),
            Committer::Rebalance | Committer::Scheduler | Committer::Shutdown => {
                told.is_some().then_some(self.creation)
            }
        };
        if let Some(operation) = operation {
            let offsets = with_metadata(&told.unwrap_or_default());
            io.outcome(operation, Outcome::Committed { offsets, result });
        }
        match by {
            Committer::Rebalance => self.on_closing_committed(now, io),
            Committer::Shutdown => self.on_last_commit(io),
            Committer::Application(_) | Committer::Scheduler => {}
        }
        if matches!(self.offsets.step, Step::Idle) {
            self.begin_job(now, io);
        }
    }
}

/// Somebody else manages the offsets.
const fn is_elsewhere(error: ErrorCode) -> bool {
    matches!(
        error,
        ErrorCode::NotCoordinator | ErrorCode::CoordinatorNotAvailable
    )
}

fn with_metadata(offsets: &Offsets) -> BTreeMap<TopicPartition, OffsetAndMetadata> {
    let one = |(partition, offset): (&TopicPartition, &Offset)| {
        let entry = OffsetAndMetadata {
            offset: *offset,
            leader_epoch: None,
            metadata: String::new(),
        };
        (partition.clone(), entry)
    };
    offsets.iter().map(one).collect()
}
