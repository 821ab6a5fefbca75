//! The consumer (`KafkaConsumer`).
//!
//! `poll` does the work: it joins the group, finds positions, fetches ahead and hands records over. Between polls only
//! heartbeats go, and answers are taken as they come. The listener of a rebalance is the application's: it is told
//! *revoked* inside `poll`, may commit, and says when it is done.
//!
//! Left out: `wakeup`, reading from followers, the ZooKeeper consumer of 0.8, offsets committed
//! inside transactions.

mod assignor;
mod commit;
mod coordinator;
mod fetcher;
mod heartbeat;
mod lookups;
mod membership;
mod offsets;
mod pattern;
mod poll;
mod rebalance;
mod sticky;
mod subscription;

use crate::alarm::Alarm;
use crate::metadata::Metadata;
use crate::network::{LinkConfig, Network, NetworkSetup};
use crate::versions::Versions;
use commit::{CommitId, Commits};
use fetcher::Fetcher;
use lookups::{LookupId, Lookups};
use membership::{Join, Lookup, Membership};
use offsets::Initialization;
pub use pattern::{PatternError, TopicPattern};
use poll::{Closing, Moment, Poll};
use protocol::api::data::OffsetSpec;
use protocol::api::group::JoinGroupResponse;
use protocol::behaviour::Behaviour;
use protocol::config::ConsumerConfig;
use protocol::error_code::ErrorCode;
use protocol::ids::{
    BrokerId, ClientId, Endpoint, GenerationId, GroupId, TopicName, TopicPartition,
};
use protocol::machine::{Input, Io, Machine};
use protocol::time::{Mono, Now};
use protocol::verb::{ClientError, Failure, OperationId, Outcome, Verb};
use std::collections::BTreeSet;
use std::sync::Arc;
use subscription::{End, Mode, SubscriptionState};

/// `KafkaConsumer`'s own limit, far above what one consumer needs.
const MAX_IN_FLIGHT: usize = 100;

/// What a request of the consumer is for.
#[derive(Clone, Debug)]
enum Ask {
    FindCoordinator,
    Join(u64),
    Sync(u64),
    Heartbeat(GenerationId),
    Leave,
    Commit(CommitId),
    /// The committed offsets of partitions that begin.
    Initialize,
    Reset(Vec<TopicPartition>),
    Validate(Vec<TopicPartition>),
    Lookup(LookupId),
    Fetch(BrokerId),
}

/// What goes on when the application's listener has returned.
#[derive(Clone, Debug)]
enum After {
    /// The join, without these partitions.
    JoinPrepare(Vec<TopicPartition>),
    /// Taking the new assignment.
    JoinComplete,
    /// `unsubscribe`.
    Leave(OperationId),
    /// `close`.
    Close,
}

/// `KafkaConsumer`.
#[derive(Clone, Debug)]
pub struct Consumer {
    config: Arc<ConsumerConfig>,
    group: Option<GroupId>,
    behaviour: Behaviour,
    network: Network<Ask>,
    subscription: SubscriptionState,
    membership: Membership,
    fetcher: Fetcher,
    commits: Commits,
    lookups: Lookups,
    initialization: Initialization,
    poll: Option<Poll>,
    last_poll: OperationId,
    /// What the present poll, or the next one, throws.
    poll_failure: Option<ClientError>,
    listener: Option<After>,
    /// An answer to a join that came between polls: nobody reads it before the next.
    unread_join: Option<(u64, JoinGroupResponse)>,
    closing: Option<Closing>,
    closed: bool,
    next_auto_commit: Mono,
    /// Asynchronous commits that wait for a coordinator have to be told that there is none.
    failed_commits: bool,
    /// The metadata before the refresh that a join by pattern waits for.
    matched_before: Option<u64>,
    /// The metadata that positions have taken over.
    positions_seen: Option<u64>,
    /// For sticky assignors: what this member last had, and of which generation.
    last_assignment: Vec<TopicPartition>,
    last_generation: GenerationId,
    alarm: Alarm,
}

impl Consumer {
    /// A consumer that will look for its cluster at `bootstrap`. `config` is a finished one; `seed` decides the jitter of
    /// its backoffs and whom it asks first.
    pub fn new(
        config: Arc<ConsumerConfig>,
        bootstrap: Vec<Endpoint>,
        behaviour: Behaviour,
        client_id: ClientId,
        seed: u64,
    ) -> Self {
        let network = Network::new(NetworkSetup {
            link: LinkConfig {
                reconnect_backoff: config.reconnect_backoff_ms,
                reconnect_backoff_max: config.reconnect_backoff_max_ms,
                setup_timeout: config.socket_connection_setup_timeout_ms,
                setup_timeout_max: config.socket_connection_setup_timeout_max_ms,
                max_idle: config.connections_max_idle_ms,
                request_timeout: config.request_timeout_ms,
                max_in_flight: MAX_IN_FLIGHT,
            },
            client_id,
            versions: Versions::new(behaviour),
            seed,
            bootstrap,
            metadata: Metadata::new(
                behaviour,
                (config.retry_backoff_ms, config.metadata_max_age_ms),
                None,
            ),
            auto_create: config.allow_auto_create_topics,
        });
        Self {
            group: config.group_id.as_deref().map(GroupId::from),
            config,
            behaviour,
            network,
            subscription: SubscriptionState::default(),
            membership: Membership::new(),
            fetcher: Fetcher::default(),
            commits: Commits::default(),
            lookups: Lookups::default(),
            initialization: Initialization::default(),
            unread_join: None,
            poll: None,
            last_poll: OperationId(0),
            poll_failure: None,
            listener: None,
            closing: None,
            closed: false,
            next_auto_commit: Mono(0),
            failed_commits: false,
            matched_before: None,
            positions_seen: None,
            last_assignment: Vec::new(),
            last_generation: GenerationId(-1),
            alarm: Alarm::default(),
        }
    }

    /// `assignment()`.
    pub fn assignment(&self) -> Vec<TopicPartition> {
        self.subscription.assigned()
    }

    fn verb(&mut self, now: Mono, operation: OperationId, verb: Verb, io: &mut Io<'_>) {
        if self.closed || self.closing.is_some() && !is_for_listener(&verb) {
            refuse_closed(operation, &verb, io);
            return;
        }
        let moment = Moment { now, operation };
        match verb {
            Verb::Poll(timeout) => self.begin_poll(moment, timeout, io),
            Verb::ListenerReturned => {
                if let Some(after) = self.listener.take() {
                    self.listened(now, after, io);
                }
            }
            Verb::Subscribe(topics) => self.subscribe(moment, topics, io),
            Verb::SubscribePattern(pattern) => self.subscribe_pattern(moment, &pattern, io),
            Verb::Assign(partitions) => self.assign_by_hand(moment, partitions, io),
            Verb::Unsubscribe => self.unsubscribe(moment, io),
            Verb::Seek(partition, offset) => self.seek(partition, offset, operation, io),
            Verb::SeekToBeginning(partitions) => {
                self.seek_to(partitions, End::Beginning, operation, io);
            }
            Verb::SeekToEnd(partitions) => self.seek_to(partitions, End::End, operation, io),
            Verb::Pause(partitions) => self.pause(&partitions, true, operation, io),
            Verb::Resume(partitions) => self.pause(&partitions, false, operation, io),
            Verb::CommitSync(offsets) => self.commit(moment, offsets, true, io),
            Verb::CommitAsync(offsets) => self.commit(moment, offsets, false, io),
            Verb::Committed(partitions) => self.look_up(moment, None, partitions, io),
            Verb::EndOffsets(partitions) => {
                self.look_up(moment, Some(OffsetSpec::Latest), partitions, io);
            }
            Verb::BeginningOffsets(partitions) => {
                self.look_up(moment, Some(OffsetSpec::Earliest), partitions, io);
            }
            Verb::Position(partitions) => {
                let position = |partition: &TopicPartition| self.subscription.position(partition);
                let positions = partitions.into_iter().map(|partition| {
                    let offset = position(&partition).map(|position| position.offset);
                    (partition, offset)
                });
                io.outcome(operation, Outcome::Offsets(Ok(positions.collect())));
            }
            Verb::GroupMetadata => self.group_metadata(operation, io),
            Verb::Close(timeout) => self.close(now, Some(operation), timeout, io),
            Verb::Send(_)
            | Verb::Flush
            | Verb::CreateTopics(_)
            | Verb::DeleteTopics(_)
            | Verb::CreatePartitions(..)
            | Verb::AlterConfigs(..)
            | Verb::DeleteRecords(_)
            | Verb::Reassign(_)
            | Verb::ListReassignments
            | Verb::ElectLeaders { .. }
            | Verb::DescribeTopics(_)
            | Verb::InitTransactions
            | Verb::BeginTransaction
            | Verb::SendOffsetsToTransaction(..)
            | Verb::CommitTransaction
            | Verb::AbortTransaction
            | Verb::DescribeGroup(_)
            | Verb::CreateStreams(_)
            | Verb::CreateStreamsByFilter(..)
            | Verb::NextMessage(_)
            | Verb::ExpireSession(_) => {
                illegal(operation, "a consumer cannot do this", io);
            }
        }
    }

    fn subscribe(&mut self, moment: Moment, topics: Vec<TopicName>, io: &mut Io<'_>) {
        if let Some(error) = self.refuses_subscription() {
            io.outcome(moment.operation, Outcome::Done(Err(Failure::fail(error))));
        } else if topics.is_empty() {
            self.unsubscribe(moment, io);
        } else {
            let topics: BTreeSet<TopicName> = topics.into_iter().collect();
            self.subscription.pattern = None;
            self.network.metadata.want_all(false);
            self.subscription.mode = Mode::Topics(topics);
            self.want_topics(moment.now);
            io.outcome(moment.operation, Outcome::Done(Ok(())));
        }
    }

    /// Why the group cannot divide anything for this consumer (`maybeThrowInvalidGroupIdException`, `setSubscriptionType`).
    /// That an empty `group.id` is none for members, its coordinator says.
    fn refuses_subscription(&self) -> Option<ClientError> {
        if self.group.is_none() {
            Some(ClientError::Broker(ErrorCode::InvalidGroupId))
        } else if self.subscription.mode == Mode::Partitions {
            let why = "partitions are assigned by hand already";
            Some(ClientError::IllegalState(why))
        } else {
            None
        }
    }

    fn assign_by_hand(&mut self, moment: Moment, partitions: Vec<TopicPartition>, io: &mut Io<'_>) {
        if self.subscription.is_by_group() {
            illegal(moment.operation, "topics are subscribed to already", io);
            return;
        }
        self.maybe_auto_commit(moment.now, io);
        self.subscription.mode = if partitions.is_empty() {
            Mode::None
        } else {
            Mode::Partitions
        };
        self.assign(partitions);
        self.want_topics(moment.now);
        io.outcome(moment.operation, Outcome::Done(Ok(())));
    }

    fn unsubscribe(&mut self, moment: Moment, io: &mut Io<'_>) {
        let after = After::Leave(moment.operation);
        if self.subscription.is_by_group() && self.give_back(moment.operation, io) {
            self.listen(after);
        } else {
            self.listened(moment.now, after, io);
        }
    }

    /// Tells the application that it loses everything (`onLeavePrepare`); says whether its listener has to return first.
    fn give_back(&mut self, operation: OperationId, io: &mut Io<'_>) -> bool {
        let owned = self.subscription.assigned();
        if owned.is_empty() {
            return false;
        }
        if self.membership.generation == membership::Generation::none() {
            io.outcome(operation, Outcome::Lost(owned));
            return false;
        }
        io.outcome(operation, Outcome::Revoked(owned));
        true
    }

    fn forget_subscription(&mut self, now: Mono) {
        self.subscription.mode = Mode::None;
        self.subscription.pattern = None;
        self.network.metadata.want_all(false);
        self.assign(Vec::new());
        self.membership.joined_topics = None;
        self.membership.divided_by = None;
        self.want_topics(now);
    }

    fn pause(
        &mut self,
        partitions: &[TopicPartition],
        paused: bool,
        operation: OperationId,
        io: &mut Io<'_>,
    ) {
        for partition in partitions {
            let Some(state) = self.subscription.get_mut(partition) else {
                illegal(operation, "the partition is not assigned", io);
                return;
            };
            state.paused = paused;
        }
        io.outcome(operation, Outcome::Done(Ok(())));
    }

    fn listen(&mut self, after: After) {
        self.listener = Some(after);
    }

    /// The operation under which what happens inside `poll` is told.
    fn poll_operation(&self) -> OperationId {
        let closing = self.closing.and_then(|closing| closing.operation);
        let polling = self.poll.map(|poll| poll.operation);
        closing.or(polling).unwrap_or(self.last_poll)
    }

    /// When there is something to do again, were nothing to happen before.
    fn next_deadline(&self, now: Mono) -> Option<Mono> {
        let lookup = match self.membership.lookup {
            Lookup::RestUntil(at) => Some(at),
            Lookup::Idle | Lookup::UnderWay => None,
        };
        let always = [
            self.network.next_deadline(),
            self.next_beat(),
            lookup,
            self.commits.next_deadline(),
            self.lookups.next_deadline(),
            self.closing.map(|closing| closing.until),
        ];
        let polling = self.poll.filter(|_| self.listener.is_none()).map(|poll| {
            let join = match self.membership.join {
                Join::Ready { at } => Some(at),
                Join::Idle
                | Join::Committing(_)
                | Join::Revoking
                | Join::Joining
                | Join::Dividing(_)
                | Join::Syncing
                | Join::Complete(_)
                | Join::Handing(_) => None,
            };
            let retries = self
                .subscription
                .partitions
                .values()
                .filter(|state| state.awaits_retry_until > now)
                .map(|state| state.awaits_retry_until)
                .min();
            let commits = self.config.enable_auto_commit && self.group.is_some();
            [
                Some(poll.until),
                join,
                retries,
                commits.then_some(self.next_auto_commit),
                Some(self.initialization.rest_until),
                self.next_fetch(now),
            ]
        });
        // What is due already waits for something else to happen.
        always
            .into_iter()
            .chain(polling.into_iter().flatten())
            .flatten()
            .filter(|at| *at > now)
            .min()
    }

    fn set_timer(&mut self, now: Mono, io: &mut Io<'_>) {
        if self.closed {
            self.alarm.cancel(io);
            return;
        }
        let next = self.next_deadline(now);
        self.alarm.set(next, io);
    }
}

/// What a listener may call while the consumer closes.
fn is_for_listener(verb: &Verb) -> bool {
    matches!(
        verb,
        Verb::ListenerReturned | Verb::CommitSync(_) | Verb::CommitAsync(_)
    )
}

fn illegal(operation: OperationId, why: &'static str, io: &mut Io<'_>) {
    let failure = Failure::fail(ClientError::IllegalState(why));
    io.outcome(operation, Outcome::Done(Err(failure)));
}

fn refuse_closed(operation: OperationId, verb: &Verb, io: &mut Io<'_>) {
    let failure = Failure::fail(ClientError::IllegalState("the consumer is closed"));
    if matches!(verb, Verb::Poll(_)) {
        io.outcome(operation, Outcome::Polled(Err(failure)));
    } else if matches!(verb, Verb::Close(_)) {
        io.outcome(operation, Outcome::Done(Ok(())));
    } else if !matches!(verb, Verb::ListenerReturned) {
        io.outcome(operation, Outcome::Done(Err(failure)));
    }
}

impl Machine for Consumer {
    fn handle(&mut self, now: Now, input: Input, io: &mut Io<'_>) {
        match input {
            Input::Verb { operation, verb } => self.verb(now.mono, operation, verb, io),
            Input::Timer { .. } => self.alarm.rang(),
            Input::Stop => self.stop(now.mono, io),
            Input::Started => {
                self.next_auto_commit = now.mono + self.config.auto_commit_interval_ms;
            }
            Input::Opened { .. }
            | Input::Accepted { .. }
            | Input::Refused { .. }
            | Input::Closed { .. }
            | Input::Received { .. }
            | Input::Flushed { .. }
            | Input::Due { .. } => self.network.handle(now.mono, input, io),
        }
        if !self.closed {
            self.run(now.mono, io);
        }
        self.set_timer(now.mono, io);
    }
}
