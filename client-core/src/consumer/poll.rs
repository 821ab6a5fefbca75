//! The loop inside `poll`, what answers mean for it, and the way `close` takes.

use super::membership::{Join, Lookup, MemberState};
use super::subscription::Mode;
use super::{After, Ask, Consumer};
use crate::network::Event;
use protocol::api::ResponseBody;
use protocol::behaviour::Fix;
use protocol::error_code::ErrorCode;
use protocol::ids::TopicPartition;
use protocol::machine::Io;
use protocol::time::{Mono, Span};
use protocol::verb::{ClientError, ConsumerRecord, Failure, OperationId, Outcome};

/// What a poll returns.
type PolledRecords = Vec<(TopicPartition, Vec<ConsumerRecord>)>;

/// `close` without a time-out (`KafkaConsumer.DEFAULT_CLOSE_TIMEOUT_MS`).
const DEFAULT_CLOSE_TIMEOUT: Span = Span::secs(30);

/// A call of the application and when it comes.
#[derive(Clone, Copy)]
pub(super) struct Moment {
    pub(super) now: Mono,
    pub(super) operation: OperationId,
}

/// A poll under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Poll {
    pub(super) operation: OperationId,
    pub(super) until: Mono,
}

/// How far a close is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Stage {
    /// The last commits.
    Committing,
    /// The listener.
    Revoking,
    /// The group is told.
    Leaving,
}

/// A close under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Closing {
    pub(super) operation: Option<OperationId>,
    pub(super) until: Mono,
    stage: Stage,
    exits: bool,
}

impl Consumer {
    pub(super) fn begin_poll(&mut self, moment: Moment, timeout: Span, io: &mut Io<'_>) {
        let why = if self.poll.is_some() {
            Some("the consumer is polled already")
        } else if self.subscription.mode == Mode::None {
            Some("nothing is subscribed to or assigned")
        } else {
            None
        };
        if let Some(why) = why {
            let failure = Failure::fail(ClientError::IllegalState(why));
            io.outcome(moment.operation, Outcome::Polled(Err(failure)));
            return;
        }
        self.last_poll = moment.operation;
        self.poll = Some(Poll {
            operation: moment.operation,
            until: moment.now + timeout,
        });
    }

    /// The present poll, or the next one, throws this.
    pub(super) fn fail_poll(&mut self, error: ClientError) {
        self.poll_failure.get_or_insert(error);
    }

    pub(super) const fn has_failed_poll(&self) -> bool {
        self.poll_failure.is_some()
    }

    /// Runs until nothing more can be done now.
    pub(super) fn run(&mut self, now: Mono, io: &mut Io<'_>) {
        loop {
            while let Some(event) = self.network.next_event() {
                self.event(now, event, io);
            }
            self.tell_failed_commits(io);
            self.beat(now, io);
            self.send_commits(now, io);
            self.send_lookups(now, io);
            self.poll_step(now, io);
            self.close_step(now, io);
            if self.closed {
                return;
            }
            self.network.tick(now, io);
            if !self.network.has_events() {
                return;
            }
        }
    }

    /// One turn of the loop inside `poll` (`updateAssignmentMetadataIfNeeded`, `pollForFetches`).
    fn poll_step(&mut self, now: Mono, io: &mut Io<'_>) {
        let Some(poll) = self.poll.filter(|_| self.listener.is_none()) else {
            return;
        };
        if let Some((attempt, answer)) = self.unread_join.take() {
            self.joined(now, attempt, answer, io);
        }
        if self.is_fenced() {
            // Thrown before anything is done about the group (`pollHeartbeat`): to join would be to fence the other one.
            self.end_poll(now, poll, Vec::new(), io);
            return;
        }
        self.poll_group(now, io);
        // The listener runs inside `poll`, and so does the commit before it, for which poll goes on without the fix of
        // KAFKA-14196: what it returns then is not in that commit.
        let commits = matches!(self.membership.join, Join::Committing(_));
        if self.listener.is_some() || commits && self.behaviour.has(Fix::PauseWhileRevoking) {
            return;
        }
        let records = loop {
            self.update_positions(now, io);
            if self.has_failed_poll() {
                break Vec::new();
            }
            let kept = self.fetcher.len();
            let records = self.collect();
            // An answer without records may still have changed a position.
            if !records.is_empty() || self.fetcher.len() == kept {
                break records;
            }
        };
        if records.is_empty() && self.has_failed_poll() {
            self.end_poll(now, poll, records, io);
            return;
        }
        self.auto_commit_late(now, io);
        self.send_fetches(now, io);
        if !records.is_empty() || poll.until <= now {
            self.end_poll(now, poll, records, io);
        }
    }

    /// Returns from `poll`: with records, or with what it throws.
    fn end_poll(&mut self, now: Mono, poll: Poll, records: PolledRecords, io: &mut Io<'_>) {
        let failure = if records.is_empty() {
            self.poll_failure.take()
        } else {
            None
        };
        let result = failure.map_or(Ok(records), |error| Err(Failure::fail(error)));
        self.poll = None;
        self.membership.heartbeat.polled = now;
        io.outcome(poll.operation, Outcome::Polled(result));
    }

    fn is_fenced(&self) -> bool {
        self.poll_failure == Some(ClientError::Broker(ErrorCode::FencedInstanceId))
    }

    fn event(&mut self, now: Mono, event: Event<Ask>, io: &mut Io<'_>) {
        match event {
            Event::Answered { tag, body } => self.answered(now, tag, body, io),
            Event::Lost { tag, sent } => self.lost(now, tag, sent, io),
            Event::Down(peer) if self.is_coordinator(peer) => self.coordinator_unknown(),
            Event::Metadata => {
                self.match_topics(now);
                self.maybe_divide(now, io);
            }
            Event::Down(_) | Event::Written(_) | Event::Ready => {}
        }
    }

    fn answered(&mut self, now: Mono, tag: Ask, body: ResponseBody, io: &mut Io<'_>) {
        match (tag, body) {
            (Ask::FindCoordinator, ResponseBody::FindCoordinator(answer)) => {
                self.coordinator_found(now, answer);
            }
            (Ask::Join(attempt), ResponseBody::JoinGroup(answer)) => {
                if self.poll.is_some() {
                    self.joined(now, attempt, answer, io);
                } else {
                    self.unread_join = Some((attempt, answer));
                }
            }
            (Ask::Sync(attempt), ResponseBody::SyncGroup(answer)) => {
                self.synced(now, attempt, answer, io);
            }
            (Ask::Heartbeat(of), ResponseBody::Heartbeat(answer)) => self.beaten(now, of, &answer),
            (Ask::Leave, ResponseBody::LeaveGroup(_)) => {}
            (Ask::Commit(id), ResponseBody::OffsetCommit(answer)) => {
                self.committed(now, id, &answer, io);
            }
            (Ask::Initialize, ResponseBody::OffsetFetch(answer)) => {
                self.initialized(now, answer, io);
            }
            (Ask::Reset(_), ResponseBody::ListOffsets(answer)) => {
                self.reset_found(now, &answer, io);
            }
            (Ask::Validate(_), ResponseBody::OffsetForLeaderEpoch(answer)) => {
                self.validated(now, &answer, io);
            }
            (Ask::Lookup(id), ResponseBody::ListOffsets(answer)) => {
                self.lookup_listed(now, id, &answer);
            }
            (Ask::Lookup(id), ResponseBody::OffsetFetch(answer)) => {
                self.lookup_committed(now, id, answer);
            }
            (Ask::Fetch(broker), ResponseBody::Fetch(answer)) => self.fetched(broker, answer),
            // A broker that answers something else has a bug; the request is as good as lost.
            (tag, _) => self.lost(now, tag, true, io),
        }
    }

    fn lost(&mut self, now: Mono, tag: Ask, sent: bool, io: &mut Io<'_>) {
        match tag {
            Ask::FindCoordinator => self.coordinator_not_found(now),
            Ask::Join(attempt) | Ask::Sync(attempt) => {
                self.join_lost(now, attempt);
                self.coordinator_unknown();
            }
            Ask::Heartbeat(_) => {
                self.beat_lost(now);
                self.coordinator_unknown();
            }
            Ask::Leave => {}
            Ask::Commit(id) => self.commit_lost(now, id, sent, io),
            Ask::Initialize => self.initialize_lost(now),
            Ask::Reset(partitions) | Ask::Validate(partitions) => {
                self.positions_lost(now, &partitions);
            }
            Ask::Lookup(id) => self.lookup_lost(now, id),
            Ask::Fetch(broker) => self.fetcher.lost(broker),
        }
    }

    /// `close`: commits, gives the partitions back, leaves the group.
    pub(super) fn close(
        &mut self,
        now: Mono,
        operation: Option<OperationId>,
        timeout: Span,
        io: &mut Io<'_>,
    ) {
        if let Some(poll) = self.poll.take() {
            let failure = Failure::fail(ClientError::Closed);
            io.outcome(poll.operation, Outcome::Polled(Err(failure)));
        }
        self.listener = None;
        let until = now + timeout;
        self.closing = Some(Closing {
            operation,
            until,
            stage: Stage::Committing,
            exits: operation.is_none(),
        });
        if self.membership.state == MemberState::Stable || !self.subscription.is_by_group() {
            self.auto_commit_sync(now, until);
            self.send_commits(now, io);
        }
    }

    /// SIGTERM: a close that ends the process.
    pub(super) fn stop(&mut self, now: Mono, io: &mut Io<'_>) {
        match &mut self.closing {
            _ if self.closed => io.exit(true),
            Some(closing) => closing.exits = true,
            None => self.close(now, None, DEFAULT_CLOSE_TIMEOUT, io),
        }
    }

    fn close_step(&mut self, now: Mono, io: &mut Io<'_>) {
        let Some(closing) = self.closing else {
            return;
        };
        let is_late = closing.until <= now;
        match closing.stage {
            Stage::Committing if is_late || self.commits.is_empty() => {
                self.set_stage(Stage::Revoking);
                let operation = self.poll_operation();
                if self.subscription.is_by_group() && self.give_back(operation, io) && !is_late {
                    self.listen(After::Close);
                } else {
                    self.closing_goes_on(now, io);
                }
            }
            Stage::Revoking if is_late => self.closing_goes_on(now, io),
            Stage::Leaving if is_late || self.has_left() => self.finish_close(closing, io),
            Stage::Committing | Stage::Revoking | Stage::Leaving => {}
        }
    }

    fn set_stage(&mut self, stage: Stage) {
        if let Some(closing) = &mut self.closing {
            closing.stage = stage;
        }
    }

    /// The listener of a close returned: the group is told.
    pub(super) fn closing_goes_on(&mut self, now: Mono, io: &mut Io<'_>) {
        self.listener = None;
        if self.config.internal_leave_group_on_close {
            self.leave_group(now, io);
        }
        self.membership.heartbeat.enabled = false;
        self.assign(Vec::new());
        self.set_stage(Stage::Leaving);
        if let Some(closing) = self.closing
            && (closing.until <= now || self.has_left())
        {
            self.finish_close(closing, io);
        }
    }

    /// The coordinator has answered everything, the leave request included.
    fn has_left(&self) -> bool {
        let quiet = |id| self.network.is_quiet(Self::coordinator_peer(id));
        self.commits.is_empty() && self.membership.coordinator.is_none_or(quiet)
    }

    fn finish_close(&mut self, closing: Closing, io: &mut Io<'_>) {
        self.drop_commits(io);
        self.drop_lookups(io);
        self.network.shut(io);
        self.membership.lookup = Lookup::Idle;
        self.closing = None;
        self.closed = true;
        if let Some(operation) = closing.operation {
            io.outcome(operation, Outcome::Done(Ok(())));
        }
        if closing.exits {
            io.exit(true);
        }
    }
}
