//! How a consumer comes into its group and hears of it (`registerConsumerInZK`, `reinitializeConsumer`, the listeners).
//!
//! zkclient has one event thread. It reads again what changed, which sets the watch anew, and tells the watcher thread;
//! after an expired session it registers the consumer and rebalances by itself, and everything else waits for that.
//! Left out: the time-out of the first connection.

use super::chore::{Chore, Fact, Proof};
use super::leader_finder::children;
use super::session::Thread;
use super::znode::Wants;
use super::{Moment, ZookeeperConsumer, znode};
use protocol::behaviour::Fix;
use protocol::ids::TopicName;
use protocol::keeper::{Path, WatchEvent, WatchKind};
use protocol::machine::{Io, Lane};
use protocol::time::{Mono, Now};
use protocol::verb::{ClientError, Failure, Outcome};
use std::collections::{BTreeMap, VecDeque};

use super::rebalance::Caller;

/// What zkclient's event thread has to do.
#[derive(Clone, Debug)]
pub(super) enum Event {
    /// Children changed, or may have.
    Children(Path),
    /// Data changed, or may have.
    Data(Path),
    /// `handleNewSession`.
    NewSession,
}

/// What the event thread stands at.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
enum EventStep {
    #[default]
    Idle,
    /// Reading what changed.
    Reading,
    /// Reading which topics there are, for a filter.
    ReadingTopics,
    /// Leaving watches on the topics that it allows now.
    Watching,
    /// Registering in a new session.
    Registering,
    /// Rebalancing after it.
    Rebalancing,
}

/// The event thread.
#[derive(Clone, Default, Debug)]
pub(super) struct EventThread {
    events: VecDeque<Event>,
    /// How many of them the lane has released.
    released: usize,
    step: EventStep,
}

/// What the consumer listens to, so that its reads there leave watches.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Listening {
    /// Members and topics, once the streams are made.
    pub(super) to_group: bool,
    /// Brokers, once there were none.
    pub(super) to_brokers: bool,
    /// Which topics there are, for a filter.
    pub(super) to_topics: bool,
}

/// The watcher thread.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Watcher {
    /// Something changed since it last began to rebalance.
    triggered: bool,
    /// It rebalances, or waits for the lock.
    is_busy: bool,
}

/// What `createMessageStreams` stands at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Creation {
    /// It was not called.
    Never,
    /// Waiting for the first connection to ZooKeeper, as the constructor does.
    Connecting,
    /// Reading which topics the filter allows.
    Filtering,
    /// Registering.
    Registering,
    /// Leaving watches.
    Subscribing,
    /// In the first rebalance.
    Rebalancing,
    /// Beginning to watch which topics there are.
    Watching,
    /// It returned.
    Done,
    /// It threw, and the consumer is of no use.
    Failed,
}

/// A registration that found another's node waits so long.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Rest {
    thread: Thread,
    pub(super) until: Mono,
}

impl ZookeeperConsumer {
    /// `createMessageStreams`.
    pub(super) fn create_streams(
        &mut self,
        moment: Moment,
        topics: BTreeMap<TopicName, u32>,
        io: &mut Io<'_>,
    ) {
        if self.begin_creation(moment, topics.values().sum(), io) {
            self.subscription = topics;
            self.go_on_creating(moment.now);
        }
    }

    /// Says whether streams can be made, and makes them.
    pub(super) fn begin_creation(&mut self, moment: Moment, count: u32, io: &mut Io<'_>) -> bool {
        if self.created != Creation::Never {
            // MessageStreamsExistException
            let failure = Failure::fail(ClientError::IllegalState("streams are created once"));
            io.outcome(moment.operation, Outcome::Done(Err(failure)));
            return false;
        }
        self.creation = moment.operation;
        self.created = Creation::Connecting;
        self.streams = (0..count)
            .map(|number| (number, super::stream::Stream::default()))
            .collect();
        true
    }

    /// Once there is a session.
    pub(super) fn go_on_creating(&mut self, now: Now) {
        if self.created != Creation::Connecting || self.sessions == 0 {
            return;
        }
        if self.wildcard.is_some() {
            self.created = Creation::Filtering;
            let read = vec![self.all_topics()];
            self.wanted.push_back((Thread::Application, read));
        } else {
            self.created = Creation::Registering;
            self.register(now, Thread::Application);
        }
    }

    fn register(&mut self, now: Now, thread: Thread) {
        let proof = if self.behaviour.has(Fix::EphemeralConflictCheck) {
            Proof::Session
        } else {
            Proof::Content
        };
        let data = self
            .registration
            .get_or_insert_with(|| {
                let wildcard = self.wildcard.clone().map(Wants::Filtered);
                let wants = wildcard.unwrap_or_else(|| Wants::Topics(self.subscription.clone()));
                wants.registration(now.wall)
            })
            .clone();
        let path = znode::id(&self.group, &self.id);
        self.wanted
            .push_back((thread, vec![Chore::Claim { path, data, proof }]));
    }

    /// The registration of `thread` stands, or somebody else's does.
    fn on_registered(&mut self, now: Now, thread: Thread, facts: &[Fact], io: &mut Io<'_>) -> bool {
        let refuses = self.behaviour.has(Fix::EphemeralConflictCheck);
        match facts.first() {
            Some(Fact::Taken) if refuses => {
                self.registration = None;
                if thread == Thread::Application {
                    self.fail_creation(ClientError::NodeExists, io);
                } else {
                    self.event_thread.step = EventStep::Idle;
                    self.next_event(now, io);
                }
                false
            }
            // `createEphemeralPathExpectConflictHandleZKBug` takes any other node for its own of a session before.
            Some(Fact::Taken) => {
                let until = now.mono + self.config.zookeeper_session_timeout_ms;
                self.registration_rest = Some(Rest { thread, until });
                false
            }
            Some(Fact::Vanished) => {
                self.register(now, thread);
                false
            }
            Some(Fact::Done | Fact::Data(_) | Fact::Children(_)) | None => {
                self.registration = None;
                true
            }
        }
    }

    pub(super) fn tick_registration(&mut self, now: Now) {
        if let Some(rest) = self
            .registration_rest
            .take_if(|rest| rest.until <= now.mono)
        {
            self.register(now, rest.thread);
        }
    }

    /// The application's thread got its answers.
    pub(super) fn on_creation_facts(&mut self, now: Now, facts: &[Fact], io: &mut Io<'_>) {
        match self.created {
            Creation::Filtering => {
                self.allow(&children(facts));
                self.created = Creation::Registering;
                self.register(now, Thread::Application);
            }
            Creation::Watching => self.on_topics_watched(now.mono, facts, io),
            Creation::Registering => {
                if self.on_registered(now, Thread::Application, facts, io) {
                    self.created = Creation::Subscribing;
                    self.listening.to_group = true;
                    let ids = znode::ids(&self.group);
                    let mut watches = vec![
                        Chore::Watch(ids.clone()),
                        Chore::Children {
                            path: ids,
                            watch: true,
                        },
                    ];
                    watches.extend(self.topic_watches());
                    self.wanted.push_back((Thread::Application, watches));
                }
            }
            Creation::Subscribing => {
                self.created = Creation::Rebalancing;
                self.synced_rebalance(now.mono, Caller::Application, io);
            }
            Creation::Never
            | Creation::Connecting
            | Creation::Rebalancing
            | Creation::Done
            | Creation::Failed => {}
        }
    }

    /// For the partitions of each topic.
    fn topic_watches(&self) -> Vec<Chore> {
        let topics = self.subscription.keys();
        let watch = |topic| Chore::Watch(znode::topic(topic));
        topics.map(watch).collect()
    }

    pub(super) fn finish_creation(&mut self, io: &mut Io<'_>) {
        self.created = Creation::Done;
        io.outcome(self.creation, Outcome::Done(Ok(())));
    }

    pub(super) fn fail_creation(&mut self, error: ClientError, io: &mut Io<'_>) {
        self.created = Creation::Failed;
        io.outcome(self.creation, Outcome::Done(Err(Failure::fail(error))));
    }

    /// A watch fired: work for the event thread, if somebody listens there.
    pub(super) fn on_watch(&mut self, event: &WatchEvent, io: &mut Io<'_>) {
        let path = event.path.clone();
        match event.kind {
            WatchKind::ChildrenChanged => self.enqueue_event(Event::Children(path), io),
            WatchKind::DataChanged => self.enqueue_event(Event::Data(path), io),
            // Either may be about a node or about its children: zkclient tells both kinds of listeners.
            WatchKind::Created | WatchKind::Deleted => {
                let is_parent = self.child_listeners().contains(&path);
                let event = if is_parent {
                    Event::Children(path)
                } else {
                    Event::Data(path)
                };
                self.enqueue_event(event, io);
            }
        }
    }

    fn child_listeners(&self) -> Vec<Path> {
        let brokers = self
            .listening
            .to_brokers
            .then(|| Path::from(znode::BROKER_IDS));
        let topics = self.listening.to_topics.then(|| Path::from(znode::TOPICS));
        Some(znode::ids(&self.group))
            .into_iter()
            .chain(brokers)
            .chain(topics)
            .collect()
    }

    /// After an expired session: `handleNewSession`, then every listener is told that something may have changed.
    pub(super) fn on_new_session(&mut self, io: &mut Io<'_>) {
        if !self.listening.to_group {
            return;
        }
        self.enqueue_event(Event::NewSession, io);
        for path in self.child_listeners() {
            self.enqueue_event(Event::Children(path), io);
        }
        let topics: Vec<Path> = self.subscription.keys().map(znode::topic).collect();
        for path in topics {
            self.enqueue_event(Event::Data(path), io);
        }
    }

    fn enqueue_event(&mut self, event: Event, io: &mut Io<'_>) {
        self.event_thread.events.push_back(event);
        io.queue(Lane::KeeperCallback);
    }

    /// The lane lets the event thread handle one more event.
    pub(super) fn on_event_due(&mut self, now: Now, io: &mut Io<'_>) {
        self.event_thread.released += 1;
        self.next_event(now, io);
    }

    fn next_event(&mut self, now: Now, io: &mut Io<'_>) {
        if self.event_thread.step != EventStep::Idle
            || self.event_thread.released == 0
            || self.is_shutting_down()
        {
            return;
        }
        let Some(event) = self.event_thread.events.pop_front() else {
            return;
        };
        self.event_thread.released -= 1;
        match event {
            Event::Children(path) => {
                self.event_thread.step = if &*path == znode::TOPICS {
                    EventStep::ReadingTopics
                } else {
                    EventStep::Reading
                };
                let reads = vec![
                    Chore::Watch(path.clone()),
                    Chore::Children { path, watch: true },
                ];
                self.wanted.push_back((Thread::Event, reads));
            }
            Event::Data(path) => {
                self.event_thread.step = EventStep::Reading;
                let reads = vec![
                    Chore::Watch(path.clone()),
                    Chore::Data { path, watch: true },
                ];
                self.wanted.push_back((Thread::Event, reads));
            }
            Event::NewSession => {
                self.event_thread.step = EventStep::Registering;
                self.reset_state(io);
                self.register(now, Thread::Event);
            }
        }
    }

    /// `resetState`: the owner nodes went with the session. Fetchers, queues and iterators go on.
    fn reset_state(&mut self, io: &mut Io<'_>) {
        let owned = self.registry.owned();
        if !owned.is_empty() {
            io.outcome(self.creation, Outcome::Lost(owned));
        }
        self.registry.release();
    }

    /// The event thread got its answers.
    pub(super) fn on_event_facts(&mut self, now: Now, facts: &[Fact], io: &mut Io<'_>) {
        match self.event_thread.step {
            EventStep::Reading => {
                self.event_thread.step = EventStep::Idle;
                let is_gone = facts.last() == Some(&Fact::Data(None));
                // `handleDataDeleted` only writes to the log.
                if !is_gone {
                    self.trigger_rebalance(io);
                }
                self.next_event(now, io);
            }
            // `handleTopicEvent`, which rebalances on this very thread.
            EventStep::ReadingTopics => {
                if self.allow(&children(&facts[facts.len().saturating_sub(1)..])) {
                    self.event_thread.step = EventStep::Watching;
                    let watches = self.topic_watches();
                    self.wanted.push_back((Thread::Event, watches));
                } else {
                    self.event_thread.step = EventStep::Idle;
                    self.next_event(now, io);
                }
            }
            EventStep::Watching => {
                self.event_thread.step = EventStep::Rebalancing;
                self.synced_rebalance(now.mono, Caller::Event, io);
            }
            EventStep::Registering => {
                if self.on_registered(now, Thread::Event, facts, io) {
                    self.event_thread.step = EventStep::Rebalancing;
                    self.synced_rebalance(now.mono, Caller::Event, io);
                }
            }
            EventStep::Idle | EventStep::Rebalancing => {}
        }
    }

    /// `rebalanceEventTriggered`: the watcher thread will rebalance, once for all triggers until then.
    fn trigger_rebalance(&mut self, io: &mut Io<'_>) {
        if !self.watcher.triggered {
            self.watcher.triggered = true;
            io.queue(Lane::Background);
        }
    }

    /// The watcher thread runs.
    pub(super) fn on_watcher_due(&mut self, now: Mono, io: &mut Io<'_>) {
        if self.is_shutting_down() || self.watcher.is_busy {
            return;
        }
        if std::mem::take(&mut self.watcher.triggered) {
            self.watcher.is_busy = true;
            self.synced_rebalance(now, Caller::Watcher, io);
        }
    }

    /// `syncedRebalance` returned to its caller, or threw.
    pub(super) fn on_rebalanced(&mut self, now: Now, caller: Caller, done: bool, io: &mut Io<'_>) {
        match caller {
            Caller::Application if done => {
                if !self.watch_topics() {
                    self.finish_creation(io);
                }
            }
            Caller::Application => self.fail_creation(ClientError::RebalanceFailed, io),
            Caller::Event => {
                self.event_thread.step = EventStep::Idle;
                self.next_event(now, io);
            }
            Caller::Watcher => {
                self.watcher.is_busy = false;
                self.on_watcher_due(now.mono, io);
            }
        }
    }
}
