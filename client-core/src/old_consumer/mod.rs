//! The ZooKeeper consumer of 0.8 and 0.9 (`kafka.consumer.ZookeeperConsumerConnector`), with groups that keep themselves.
//!
//! The Java program has many threads: the application's, zkclient's event thread, the watcher that rebalances, the
//! committing thread, the leader finder, the fetchers. Each is a small machine here that stands at one blocking call at a
//! time. What watches bring comes over [`Lane::KeeperCallback`], rebalances that they trigger over [`Lane::Background`],
//! so that a scenario can make either late.
//!
//! What it leaves out: black lists of topics, the listener of rebalances (0.9), `enableFetcher`, the time-out of the
//! first connection, message sets of magic 0 and 1.

mod assignor;
mod channel;
mod chore;
mod fetcher;
mod filter;
mod leader_finder;
mod offsets;
mod partition_info;
mod rebalance;
mod registration;
mod session;
mod stream;
mod znode;

use crate::alarm::Alarm;
use crate::backoff::{Purpose, draw};
use crate::versions::Versions;
use bytes::Bytes;
use channel::{Channels, Line};
use chore::{Chore, Fact, Task};
use fetcher::{Fetcher, FetcherId};
use filter::Wildcard;
use leader_finder::Finder;
use offsets::{Committer, OffsetsChannel};
use partition_info::Registry;
use protocol::api::ResponseBody;
use protocol::behaviour::Behaviour;
use protocol::config::OldConsumerConfig;
use protocol::ids::{ClientId, Endpoint, GroupId, Offset, TopicName, TopicPartition};
use protocol::machine::{Input, Io, Lane, Machine, TimerId};
use protocol::note::{ClientNote, Note};
use protocol::time::{Mono, Now};
use protocol::verb::{ClientError, Failure, OperationId, Outcome, Verb};
use rebalance::{Caller, Rebalance};
use registration::{Creation, EventThread, Listening, Rest, Watcher};
use session::{News, Session, Thread};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use stream::Stream;

/// A call of the application, and when.
#[derive(Clone, Copy, Debug)]
struct Moment {
    now: Now,
    operation: OperationId,
}

/// How far a shutdown is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Shutdown {
    /// Nobody asked for it.
    No,
    /// Asked for; the lock of the rebalance may be taken still.
    Asked,
    /// Committing for the last time.
    Committing,
    /// Closing the session.
    Leaving,
    /// Over.
    Over,
}

/// How a consumer is made.
pub struct OldConsumerSpec {
    /// Its settings, finished.
    pub config: Arc<OldConsumerConfig>,
    /// The client ports of the ensemble.
    pub keepers: Vec<Endpoint>,
    /// The release.
    pub behaviour: Behaviour,
    /// The machine it runs on, which is part of the name it makes up.
    pub host: String,
    /// For its name, and for the order in which it asks servers and brokers.
    pub seed: u64,
}

/// `ZookeeperConsumerConnector`.
#[derive(Clone, Debug)]
pub struct ZookeeperConsumer {
    config: Arc<OldConsumerConfig>,
    behaviour: Behaviour,
    group: GroupId,
    host: String,
    /// `consumerIdString`, once started.
    id: Arc<str>,
    seed: u64,
    session: Session,
    sessions: u32,
    channels: Channels,
    /// What each thread is doing in ZooKeeper.
    tasks: BTreeMap<Thread, Task>,
    /// What threads want done there next.
    wanted: VecDeque<(Thread, Vec<Chore>)>,
    /// Rebalances that are over, whose callers go on.
    returned: VecDeque<(Caller, bool)>,
    /// How many streams want which topic; of a filter the topics that it allows at present.
    subscription: BTreeMap<TopicName, u32>,
    wildcard: Option<Wildcard>,
    /// The call of `createMessageStreams`, under which everything is told that happens by itself.
    creation: OperationId,
    created: Creation,
    listening: Listening,
    registration: Option<Bytes>,
    registration_rest: Option<Rest>,
    event_thread: EventThread,
    watcher: Watcher,
    rebalance: Rebalance,
    registry: Registry,
    streams: BTreeMap<u32, Stream>,
    offsets: OffsetsChannel,
    /// What ZooKeeper has, as far as this consumer knows (`checkpointedZkOffsets`).
    checkpointed: BTreeMap<TopicPartition, Offset>,
    next_auto_commit: Mono,
    finder: Finder,
    fetchers: BTreeMap<FetcherId, Fetcher>,
    shutdown: Shutdown,
    /// Who asked for it; nobody where the process is to end.
    shutdown_call: Option<OperationId>,
    alarm: Alarm,
}

impl ZookeeperConsumer {
    /// A consumer that will look for its group in the ensemble of `spec`.
    pub fn new(spec: OldConsumerSpec) -> Self {
        let config = spec.config;
        let client_id = ClientId::from(config.client_id.as_str());
        Self {
            behaviour: spec.behaviour,
            group: GroupId::from(config.group_id.as_str()),
            host: spec.host,
            id: "".into(),
            seed: spec.seed,
            session: Session::new(spec.keepers, config.zookeeper_session_timeout_ms, spec.seed),
            sessions: 0,
            channels: Channels::new(Versions::new(spec.behaviour), client_id),
            config,
            tasks: BTreeMap::new(),
            wanted: VecDeque::new(),
            returned: VecDeque::new(),
            subscription: BTreeMap::new(),
            wildcard: None,
            creation: OperationId(0),
            created: Creation::Never,
            listening: Listening::default(),
            registration: None,
            registration_rest: None,
            event_thread: EventThread::default(),
            watcher: Watcher::default(),
            rebalance: Rebalance::default(),
            registry: Registry::default(),
            streams: BTreeMap::new(),
            offsets: OffsetsChannel::default(),
            checkpointed: BTreeMap::new(),
            next_auto_commit: Mono(0),
            finder: Finder::default(),
            fetchers: BTreeMap::new(),
            shutdown: Shutdown::No,
            shutdown_call: None,
            alarm: Alarm::default(),
        }
    }

    fn start(&mut self, now: Now, io: &mut Io<'_>) {
        let name = self.config.consumer_id.clone().unwrap_or_else(|| {
            let uuid = draw(self.seed, Purpose::Node, 0, 0) >> 32;
            format!("{}-{}-{uuid:08x}", self.host, now.wall.millis())
        });
        self.id = format!("{}_{name}", self.group).into();
        self.next_auto_commit = now.mono + self.config.auto_commit_interval_ms;
        self.session.start(now, io);
    }

    fn verb(&mut self, now: Now, operation: OperationId, verb: Verb, io: &mut Io<'_>) {
        let moment = Moment { now, operation };
        if self.is_shutting_down() && !matches!(verb, Verb::Close(_)) {
            refuse(operation, &verb, io);
            return;
        }
        match verb {
            Verb::CreateStreams(topics) => self.create_streams(moment, topics, io),
            Verb::CreateStreamsByFilter(text, streams) => {
                self.create_streams_by_filter(moment, (&text, streams), io);
            }
            Verb::NextMessage(stream) => self.next_message(moment, stream, io),
            Verb::CommitSync(_) => self.commit(now.mono, Committer::Application(operation), io),
            Verb::Close(_) => self.ask_to_shut_down(now.mono, Some(operation), io),
            Verb::Send(_)
            | Verb::Flush
            | Verb::Subscribe(_)
            | Verb::SubscribePattern(_)
            | Verb::Assign(_)
            | Verb::Unsubscribe
            | Verb::Seek(..)
            | Verb::SeekToBeginning(_)
            | Verb::SeekToEnd(_)
            | Verb::Pause(_)
            | Verb::Resume(_)
            | Verb::Poll(_)
            | Verb::ListenerReturned
            | Verb::CommitAsync(_)
            | Verb::Committed(_)
            | Verb::EndOffsets(_)
            | Verb::BeginningOffsets(_)
            | Verb::CreateTopics(_)
            | Verb::DeleteTopics(_)
            | Verb::CreatePartitions(..)
            | Verb::DeleteRecords(_)
            | Verb::Reassign(_)
            | Verb::ListReassignments
            | Verb::ElectLeaders { .. }
            | Verb::DescribeTopics(_)
            | Verb::DescribeGroup(_)
            | Verb::AlterConfigs(..)
            | Verb::InitTransactions
            | Verb::BeginTransaction
            | Verb::SendOffsetsToTransaction(..)
            | Verb::CommitTransaction
            | Verb::AbortTransaction
            | Verb::GroupMetadata
            | Verb::Position(_)
            | Verb::ExpireSession(_) => {
                let why = "a consumer of ZooKeeper's time cannot do this";
                let failure = Failure::fail(ClientError::IllegalState(why));
                io.outcome(operation, Outcome::Done(Err(failure)));
            }
        }
    }

    fn is_shutting_down(&self) -> bool {
        self.shutdown != Shutdown::No
    }

    fn ask_to_shut_down(&mut self, now: Mono, call: Option<OperationId>, io: &mut Io<'_>) {
        if self.is_shutting_down() {
            if let Some(call) = call {
                io.outcome(call, Outcome::Done(Ok(())));
            }
            return;
        }
        self.shutdown = Shutdown::Asked;
        self.shutdown_call = call;
        if self.rebalance.is_idle() {
            self.shut_down(now, io);
        }
    }

    /// `shutdown`, once the lock of the rebalance is free.
    fn shut_down(&mut self, now: Mono, io: &mut Io<'_>) {
        self.shutdown = Shutdown::Committing;
        self.stop_connections(io);
        self.shut_streams(io);
        if self.config.auto_commit_enable {
            self.commit(now, Committer::Shutdown, io);
        } else {
            self.on_last_commit(io);
        }
    }

    fn on_last_commit(&mut self, io: &mut Io<'_>) {
        let owned = self.registry.owned();
        if !owned.is_empty() {
            io.outcome(self.creation, Outcome::Revoked(owned));
        }
        self.registry.release();
        self.shutdown = Shutdown::Leaving;
    }

    fn on_left(&mut self, io: &mut Io<'_>) {
        self.shutdown = Shutdown::Over;
        self.channels.close_all(io);
        self.alarm.cancel(io);
        match self.shutdown_call {
            Some(call) => io.outcome(call, Outcome::Done(Ok(()))),
            None => io.exit(true),
        }
    }

    /// Lets time pass.
    fn tick(&mut self, now: Now, io: &mut Io<'_>) {
        self.channels.tick(now.mono, io);
        self.tick_registration(now);
        self.tick_rebalance(now.mono, io);
        self.tick_offsets(now.mono, io);
        self.tick_finder(now.mono);
        if self.next_timeout().is_some_and(|at| at <= now.mono) {
            let numbers: Vec<u32> = self.streams.keys().copied().collect();
            for number in numbers {
                self.deliver(now.mono, number, io);
            }
        }
        self.auto_commit(now.mono, io);
    }

    fn commits_by_itself(&self) -> bool {
        self.config.auto_commit_enable && !self.is_shutting_down() && !self.offsets.is_scheduled()
    }

    fn auto_commit(&mut self, now: Mono, io: &mut Io<'_>) {
        if self.commits_by_itself() && now >= self.next_auto_commit {
            while self.next_auto_commit <= now {
                self.next_auto_commit += self.config.auto_commit_interval_ms;
            }
            self.commit(now, Committer::Scheduler, io);
        }
    }

    /// Everything that one thing brings about, until all threads stand.
    fn settle(&mut self, now: Now, io: &mut Io<'_>) {
        loop {
            if let Some(news) = self.session.next_news() {
                self.on_news(now, news, io);
            } else if let Some((line, answer)) = self.channels.next_answer() {
                self.on_answer(now.mono, line, answer, io);
            } else if let Some((thread, chores)) = self.wanted.pop_front() {
                self.tasks.insert(thread, Task::new(chores));
                self.go_on(now, thread, io);
            } else if let Some((caller, done)) = self.returned.pop_front() {
                self.on_rebalanced(now, caller, done, io);
            } else {
                return;
            }
        }
    }

    fn on_news(&mut self, now: Now, news: News, io: &mut Io<'_>) {
        match news {
            News::Reply(thread, answer) => {
                let session = self.session.id();
                if let Some(task) = self.tasks.get_mut(&thread) {
                    task.answered(&answer, session);
                    self.go_on(now, thread, io);
                }
            }
            News::Watch(event) => self.on_watch(&event, io),
            News::Opened(session) => {
                io.note(Note::Client(ClientNote::KeeperSession(session)));
                self.sessions += 1;
                if self.sessions > 1 {
                    self.on_new_session(io);
                } else {
                    self.go_on_creating(now);
                }
            }
            News::Closed => self.on_left(io),
        }
    }

    /// A thread's next operation, or what it does with the answers.
    fn go_on(&mut self, now: Now, thread: Thread, io: &mut Io<'_>) {
        let Some(task) = self.tasks.get(&thread) else {
            return;
        };
        if let Some(op) = task.next_op() {
            self.session.request(now, thread, op, io);
            return;
        }
        let facts = self
            .tasks
            .remove(&thread)
            .map(Task::into_facts)
            .unwrap_or_default();
        self.on_facts(now, thread, &facts, io);
    }

    fn on_facts(&mut self, now: Now, thread: Thread, facts: &[Fact], io: &mut Io<'_>) {
        match thread {
            Thread::Application => self.on_creation_facts(now, facts, io),
            Thread::Event => self.on_event_facts(now, facts, io),
            Thread::Rebalance => self.on_rebalance_facts(now.mono, facts, io),
            Thread::Offsets => self.on_offsets_facts(now.mono, facts, io),
            Thread::Finder => self.on_finder_facts(now.mono, facts, io),
        }
    }

    fn on_answer(&mut self, now: Mono, line: Line, answer: Option<ResponseBody>, io: &mut Io<'_>) {
        match line {
            Line::Fetcher(broker, number) => {
                self.on_fetcher_answer(now, (broker, number), answer, io);
            }
            Line::Metadata => self.on_metadata_answer(now, answer, io),
            Line::Query => self.on_query_answer(now, answer, io),
            Line::Offsets => self.on_offsets_answer(now, answer, io),
        }
    }

    fn next_deadline(&self) -> Option<Mono> {
        let deadlines = [
            self.channels.next_deadline(),
            self.registration_rest.map(|rest| rest.until),
            self.rebalance.next_deadline(),
            self.offsets.next_deadline(),
            self.finder.next_deadline(),
            self.next_timeout(),
            self.commits_by_itself().then_some(self.next_auto_commit),
        ];
        deadlines.into_iter().flatten().min()
    }
}

impl Machine for ZookeeperConsumer {
    fn handle(&mut self, now: Now, input: Input, io: &mut Io<'_>) {
        if self.shutdown == Shutdown::Over {
            if let Input::Verb { operation, verb } = input {
                refuse(operation, &verb, io);
            } else if let Input::Stop = input {
                io.exit(true);
            }
            return;
        }
        if !self.session.handle(now, &input, io) {
            match input {
                Input::Started => self.start(now, io),
                Input::Verb { operation, verb } => self.verb(now, operation, verb, io),
                Input::Timer { timer: TimerId(_) } => self.alarm.rang(),
                Input::Due {
                    lane: Lane::KeeperCallback,
                } => self.on_event_due(now, io),
                Input::Due { .. } => self.on_watcher_due(now.mono, io),
                Input::Stop => self.ask_to_shut_down(now.mono, None, io),
                Input::Opened { .. }
                | Input::Accepted { .. }
                | Input::Refused { .. }
                | Input::Closed { .. }
                | Input::Received { .. }
                | Input::Flushed { .. } => self.channels.handle(now.mono, &input, io),
            }
        }
        self.settle(now, io);
        self.tick(now, io);
        self.settle(now, io);
        if self.shutdown == Shutdown::Leaving {
            self.session.close(now, io);
            self.settle(now, io);
        }
        if self.shutdown != Shutdown::Over {
            self.alarm.set(self.next_deadline(), io);
        }
    }
}

/// The consumer is shut down, or about to be.
fn refuse(operation: OperationId, verb: &Verb, io: &mut Io<'_>) {
    let failure = Failure::fail(ClientError::Closed);
    let outcome = if matches!(verb, Verb::NextMessage(_)) {
        Outcome::Polled(Err(failure))
    } else if matches!(verb, Verb::CommitSync(_)) {
        Outcome::Committed {
            offsets: BTreeMap::new(),
            result: Err(failure),
        }
    } else {
        Outcome::Done(Err(failure))
    };
    io.outcome(operation, outcome);
}
