//! A small world for consumers of ZooKeeper's time: several of them, one keeper server with a tree, sessions and watches,
//! and one broker that leads everything. Messages take a millisecond each way.

#![allow(
    dead_code,
    clippy::wildcard_enum_match_arm,
    reason = "a test panics on what it does not expect"
)]

mod broker;
mod keeper;

use broker::empty_fetch;
use bytes::Bytes;
use client_core::{OldConsumerSpec, ZookeeperConsumer};
use keeper::{Keeper, Znode};
use protocol::behaviour::{Behaviour, Era};
use protocol::config::OldConsumerConfig;
use protocol::disk::NoDisk;
use protocol::ids::{Endpoint, Offset, SessionId, TopicName, TopicPartition};
use protocol::keeper::WatchKind;
use protocol::machine::{CloseReason, ConnectionId, Effect, Input, Io, Machine, TimerId};
use protocol::message::{Message, Request};
use protocol::note::Note;
use protocol::record::BatchBuilder;
use protocol::time::{Mono, Now, Span, Wall};
use protocol::verb::{OperationId, Outcome, Verb};
use std::collections::BTreeMap;
use std::sync::Arc;

struct Consumer {
    machine: ZookeeperConsumer,
    timers: BTreeMap<TimerId, Mono>,
    /// Standing still: what comes waits.
    paused: Option<Vec<Input>>,
}

pub struct World {
    pub now: Mono,
    consumers: BTreeMap<&'static str, Consumer>,
    keeper: Keeper,
    /// Deliveries: when, to whom, what.
    flights: BTreeMap<(Mono, u64), (&'static str, Input)>,
    next_flight: u64,
    next_connection: u64,
    next_operation: u64,
    connections: BTreeMap<ConnectionId, (&'static str, String)>,
    pub logs: BTreeMap<TopicPartition, Vec<Bytes>>,
    /// What the offset manager has.
    pub managed: BTreeMap<TopicPartition, Offset>,
    /// Fetches that wait, and until when.
    parked: Vec<(Mono, ConnectionId, Request)>,
    pub outcomes: Vec<(&'static str, OperationId, Outcome)>,
    pub notes: Vec<(&'static str, Note)>,
    /// Every write of the tree: what was done where.
    pub writes: Vec<String>,
}

const WAY: Span = Span::millis(1);

impl World {
    /// One broker, and topic `t` with so many partitions.
    pub fn new(partitions: i32) -> Self {
        let mut world = Self {
            now: Mono(0) + Span::secs(1),
            consumers: BTreeMap::new(),
            keeper: Keeper::default(),
            flights: BTreeMap::new(),
            next_flight: 0,
            next_connection: 0,
            next_operation: 0,
            connections: BTreeMap::new(),
            logs: BTreeMap::new(),
            managed: BTreeMap::new(),
            parked: Vec::new(),
            outcomes: Vec::new(),
            notes: Vec::new(),
            writes: Vec::new(),
        };
        for path in ["/consumers", "/brokers", "/brokers/ids", "/brokers/topics"] {
            world.put(path, "");
        }
        world.put("/brokers/ids/1", r#"{"host":"b1","port":9092,"version":1}"#);
        world.add_partitions(partitions);
        world
    }

    /// Topic `t` has so many partitions now.
    pub fn add_partitions(&mut self, partitions: i32) {
        let each: Vec<String> = (0..partitions)
            .map(|index| format!("\"{index}\":[1]"))
            .collect();
        let data = format!(r#"{{"version":1,"partitions":{{{}}}}}"#, each.join(","));
        for index in 0..partitions {
            self.logs
                .entry(TopicPartition::new("t", index))
                .or_default();
        }
        self.put("/brokers/topics/t", &data);
    }

    /// A topic with one partition is made.
    pub fn create_topic(&mut self, name: &str) {
        self.logs.entry(TopicPartition::new(name, 0)).or_default();
        let data = r#"{"version":1,"partitions":{"0":[1]}}"#;
        self.put(&format!("/brokers/topics/{name}"), data);
    }

    /// Somebody else writes a node.
    pub fn put(&mut self, path: &str, data: &str) {
        let kind = if self.keeper.tree.contains_key(path) {
            WatchKind::DataChanged
        } else {
            WatchKind::Created
        };
        let node = Znode {
            data: Bytes::copy_from_slice(data.as_bytes()),
            owner: SessionId(0),
        };
        self.keeper.tree.insert(path.to_owned(), node);
        self.fire(kind, path);
    }

    /// Somebody else deletes a node.
    pub fn remove_node(&mut self, path: &str) {
        self.remove(path);
    }

    /// What a node says.
    pub fn data(&self, path: &str) -> Option<String> {
        let node = self.keeper.tree.get(path)?;
        Some(String::from_utf8(node.data.to_vec()).unwrap())
    }

    /// The names below a node.
    pub fn children(&self, path: &str) -> Vec<String> {
        let prefix = format!("{path}/");
        let below = self
            .keeper
            .tree
            .keys()
            .filter_map(|path| path.strip_prefix(&prefix));
        below
            .filter(|name| !name.contains('/'))
            .map(str::to_owned)
            .collect()
    }

    /// A consumer of group `g` starts on a host of this name.
    pub fn start(&mut self, host: &'static str, era: Era, settings: &[(&str, &str)]) {
        self.start_with(host, Behaviour::of(era), settings);
    }

    pub fn start_with(
        &mut self,
        host: &'static str,
        behaviour: Behaviour,
        settings: &[(&str, &str)],
    ) {
        let mut config = OldConsumerConfig::defaults(behaviour.era);
        config.set("group.id", "g").unwrap();
        for (key, value) in settings {
            config.set(key, value).unwrap();
        }
        let machine = ZookeeperConsumer::new(OldConsumerSpec {
            config: Arc::new(config.finish().unwrap()),
            keepers: vec![Endpoint::new("z1", 2181)],
            behaviour,
            host: host.to_owned(),
            seed: 7,
        });
        let consumer = Consumer {
            machine,
            timers: BTreeMap::new(),
            paused: None,
        };
        self.consumers.insert(host, consumer);
        self.input(host, Input::Started);
    }

    /// `createMessageStreams` of topic `t`.
    pub fn create_streams(&mut self, host: &'static str, streams: u32) -> OperationId {
        let topics = BTreeMap::from([(TopicName::from("t"), streams)]);
        self.call(host, Verb::CreateStreams(topics))
    }

    pub fn call(&mut self, host: &'static str, verb: Verb) -> OperationId {
        let operation = OperationId(self.next_operation);
        self.next_operation += 1;
        self.input(host, Input::Verb { operation, verb });
        operation
    }

    /// What an operation was told.
    pub fn told(&self, operation: OperationId) -> Vec<&Outcome> {
        let of = self.outcomes.iter().filter(|(_, of, _)| *of == operation);
        of.map(|(_, _, outcome)| outcome).collect()
    }

    /// Appends records to a partition of `t`, each in a batch of its own.
    pub fn append(&mut self, partition: i32, count: usize) {
        let log = self
            .logs
            .get_mut(&TopicPartition::new("t", partition))
            .unwrap();
        for _ in 0..count {
            let offset = i64::try_from(log.len()).unwrap();
            let mut batch = BatchBuilder::new().base_offset(Offset(offset));
            batch.append(0, None, Some(format!("{offset}").as_bytes()), &[]);
            log.push(batch.build().into_bytes());
        }
        for (_, connection, request) in std::mem::take(&mut self.parked) {
            self.serve(connection, request);
        }
    }

    /// The process dies.
    pub fn kill(&mut self, host: &'static str) {
        self.consumers.remove(host);
        self.flights.retain(|_, (to, _)| *to != host);
        let gone = |connections: &BTreeMap<ConnectionId, (&'static str, String)>, id| {
            connections.get(&id).is_none_or(|(owner, _)| *owner == host)
        };
        for connection in self.keeper.sessions.values_mut() {
            if connection.is_some_and(|id| gone(&self.connections, id)) {
                *connection = None;
            }
        }
        self.connections.retain(|_, (owner, _)| *owner != host);
    }

    pub fn pause(&mut self, host: &'static str) {
        self.consumers.get_mut(host).unwrap().paused = Some(Vec::new());
    }

    pub fn resume(&mut self, host: &'static str) {
        let held = self.consumers.get_mut(host).unwrap().paused.take();
        for input in held.unwrap() {
            self.input(host, input);
        }
    }

    /// The keeper lets the session of a consumer expire and hangs up.
    pub fn expire(&mut self, host: &str) {
        let mine = self.keeper.sessions.iter().find(|(_, connection)| {
            connection.is_some_and(|id| {
                self.connections
                    .get(&id)
                    .is_some_and(|(owner, _)| *owner == host)
            })
        });
        let (session, connection) = mine
            .map(|(session, connection)| (*session, *connection))
            .unwrap();
        self.end_session(session);
        let connection = connection.unwrap();
        let reason = CloseReason::Peer;
        self.later(WAY, connection, |connection| Input::Closed {
            connection,
            reason,
        });
        self.connections.remove(&connection);
    }

    /// The sessions of the dead expire.
    pub fn expire_dead(&mut self) {
        let dead: Vec<SessionId> = self
            .keeper
            .sessions
            .iter()
            .filter(|(_, connection)| connection.is_none())
            .map(|(session, _)| *session)
            .collect();
        for session in dead {
            self.end_session(session);
        }
    }

    fn later(
        &mut self,
        after: Span,
        connection: ConnectionId,
        input: impl FnOnce(ConnectionId) -> Input,
    ) {
        if let Some((host, _)) = self.connections.get(&connection) {
            let host = *host;
            self.fly(after, host, input(connection));
        }
    }

    fn fly(&mut self, after: Span, host: &'static str, input: Input) {
        self.flights
            .insert((self.now + after, self.next_flight), (host, input));
        self.next_flight += 1;
    }

    fn input(&mut self, host: &'static str, input: Input) {
        let Some(consumer) = self.consumers.get_mut(host) else {
            return;
        };
        if let Some(held) = &mut consumer.paused {
            held.push(input);
            return;
        }
        let (mut disk, mut effects) = (NoDisk, Vec::new());
        let mut io = Io::new(&mut disk, &mut effects, &mut self.next_connection);
        let now = Now {
            mono: self.now,
            wall: Wall(i64::try_from(self.now.0).unwrap()),
        };
        consumer.machine.handle(now, input, &mut io);
        for stamped in effects {
            self.effect(host, stamped.effect);
        }
    }

    fn effect(&mut self, host: &'static str, effect: Effect) {
        match effect {
            Effect::Connect { connection, to } => {
                self.connections
                    .insert(connection, (host, to.host.to_string()));
                self.later(WAY, connection, |connection| Input::Opened { connection });
            }
            Effect::Send {
                connection,
                message,
            } if self.connections.contains_key(&connection) => match message {
                Message::KeeperRequest(request) => self.keep(connection, *request),
                Message::Request(request) => self.serve(connection, *request),
                other => panic!("a consumer does not send {other:?}"),
            },
            Effect::Close { connection } => {
                self.connections.remove(&connection);
                self.parked.retain(|(_, parked, _)| *parked != connection);
            }
            Effect::SetTimer { timer, at } => {
                self.consumers
                    .get_mut(host)
                    .unwrap()
                    .timers
                    .insert(timer, at);
            }
            Effect::CancelTimer { timer } => {
                self.consumers.get_mut(host).unwrap().timers.remove(&timer);
            }
            Effect::Queue { lane } => self.fly(Span::ZERO, host, Input::Due { lane }),
            Effect::Outcome { operation, outcome } => {
                self.outcomes.push((host, operation, outcome));
            }
            Effect::Note(note) => self.notes.push((host, note)),
            Effect::Send { .. } | Effect::Exit { .. } => {}
            Effect::Flush { .. } => panic!("a consumer has no disk"),
        }
    }

    /// Time passes.
    pub fn pass(&mut self, span: Span) {
        let end = self.now + span;
        loop {
            let flight = self.flights.keys().next().map(|(at, _)| *at);
            let timers = self
                .consumers
                .iter()
                .filter(|(_, consumer)| consumer.paused.is_none());
            let timer = timers
                .flat_map(|(host, consumer)| {
                    consumer
                        .timers
                        .iter()
                        .map(|(timer, at)| (*at, *host, *timer))
                })
                .min();
            let parked = self.parked.iter().map(|(until, ..)| *until).min();
            let next = [flight, timer.map(|(at, ..)| at), parked]
                .into_iter()
                .flatten()
                .min();
            let Some(next) = next.filter(|at| *at <= end) else {
                break;
            };
            self.now = self.now.max(next);
            if flight.is_some_and(|at| at <= next) {
                let (_, (host, input)) = self.flights.pop_first().unwrap();
                self.input(host, input);
            } else if let Some((_, host, timer)) = timer.filter(|(at, ..)| *at <= next) {
                self.consumers.get_mut(host).unwrap().timers.remove(&timer);
                self.input(host, Input::Timer { timer });
            } else {
                let place = self
                    .parked
                    .iter()
                    .position(|(until, ..)| *until <= next)
                    .unwrap();
                let (_, connection, request) = self.parked.remove(place);
                self.respond(connection, &request, empty_fetch().into());
            }
        }
        self.now = end;
    }
}
