//! A small world for consumers of ZooKeeper's time: several of them, one keeper server with a tree, sessions and watches,
//! and one broker that leads everything. Messages take a millisecond each way.

#![allow(
    dead_code,
    clippy::wildcard_enum_match_arm,
    reason = "a test panics on what it does not expect"
)]

use bytes::Bytes;
use client_core::{OldConsumerSpec, ZookeeperConsumer};
use protocol::api::cluster::LiveBroker;
use protocol::api::data::{
    FetchRequest, FetchResponse, ListOffsetsResponse, OffsetSpec, PartitionFetchResponse,
    PartitionListOffsetsResponse,
};
use protocol::api::group::{
    CommittedOffset, FindCoordinatorResponse, OffsetCommitResponse, OffsetFetchResponse,
};
use protocol::api::topics::{MetadataResponse, PartitionMetadata, TopicMetadata};
use protocol::api::{RequestBody, ResponseBody};
use protocol::behaviour::{Behaviour, Era};
use protocol::config::OldConsumerConfig;
use protocol::disk::NoDisk;
use protocol::error_code::{ErrorCode, KeeperError};
use protocol::fetch_session::FetchSessionId;
use protocol::ids::{BrokerId, Endpoint, Offset, SessionId, TopicName, TopicPartition, Xid, Zxid};
use protocol::keeper::{
    CreateMode, KeeperFailure, KeeperOp, KeeperReply, KeeperRequest, KeeperResult, Stat,
    WatchEvent, WatchKind,
};
use protocol::machine::{CloseReason, ConnectionId, Effect, Input, Io, Machine, TimerId};
use protocol::message::{Message, Request, Response};
use protocol::note::Note;
use protocol::record::BatchBuilder;
use protocol::time::{Mono, Now, Span, Wall};
use protocol::verb::{OperationId, Outcome, Verb};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

struct Znode {
    data: Bytes,
    owner: SessionId,
}

#[derive(Default)]
struct Keeper {
    tree: BTreeMap<String, Znode>,
    /// Each session with its connection, while it has one.
    sessions: BTreeMap<SessionId, Option<ConnectionId>>,
    /// Who left a watch on a node, and on its children.
    data_watches: BTreeSet<(String, ConnectionId)>,
    child_watches: BTreeSet<(String, ConnectionId)>,
    next_session: i64,
    zxid: u32,
}

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

    fn end_session(&mut self, session: SessionId) {
        self.keeper.sessions.remove(&session);
        let own = self
            .keeper
            .tree
            .iter()
            .filter(|(_, node)| node.owner == session);
        let paths: Vec<String> = own.map(|(path, _)| path.clone()).collect();
        for path in paths {
            self.remove(&path);
        }
    }

    fn remove(&mut self, path: &str) {
        self.keeper.tree.remove(path);
        self.writes.push(format!("delete {path}"));
        self.fire(WatchKind::Deleted, path);
    }

    fn fire(&mut self, kind: WatchKind, path: &str) {
        let parent = path
            .rsplit_once('/')
            .map_or("", |(parent, _)| parent)
            .to_owned();
        let on_node = std::mem::take(&mut self.keeper.data_watches);
        let (hit, rest) = on_node
            .into_iter()
            .partition(|(watched, _)| watched == path);
        self.keeper.data_watches = rest;
        self.tell(hit, kind);
        if kind != WatchKind::DataChanged {
            let on_children = std::mem::take(&mut self.keeper.child_watches);
            let (hit, rest) = on_children
                .into_iter()
                .partition(|(watched, _)| *watched == parent);
            self.keeper.child_watches = rest;
            self.tell(hit, WatchKind::ChildrenChanged);
        }
    }

    fn tell(&mut self, watches: BTreeSet<(String, ConnectionId)>, kind: WatchKind) {
        for (path, connection) in watches {
            let event = WatchEvent {
                kind,
                path: path.as_str().into(),
            };
            self.reply(connection, KeeperReply::Event(event));
        }
    }

    fn reply(&mut self, connection: ConnectionId, reply: KeeperReply) {
        let message = Message::KeeperReply(Box::new(reply));
        self.later(WAY, connection, |connection| Input::Received {
            connection,
            message,
        });
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

    fn keep(&mut self, connection: ConnectionId, request: KeeperRequest) {
        match request {
            KeeperRequest::Connect {
                session, timeout, ..
            } => {
                let known = self.keeper.sessions.contains_key(&session);
                let id = if session == SessionId(0) {
                    self.keeper.next_session += 1;
                    SessionId(self.keeper.next_session)
                } else {
                    session
                };
                let granted = known || session == SessionId(0);
                if granted {
                    self.keeper.sessions.insert(id, Some(connection));
                }
                let timeout = if granted { timeout } else { Span::ZERO };
                self.reply(
                    connection,
                    KeeperReply::Connected {
                        timeout,
                        session: id,
                        password: 0,
                    },
                );
            }
            KeeperRequest::Op { xid, op } => {
                let result = self.operate(connection, &op);
                self.answer(connection, xid, result);
            }
            KeeperRequest::Ping => self.reply(connection, KeeperReply::Pong { zxid: Zxid::ZERO }),
            KeeperRequest::SetWatches { .. } => {
                self.answer(connection, Xid(-8), Ok(KeeperResult::Done));
            }
            KeeperRequest::CloseSession { xid } => {
                let session = self.session_of(connection);
                self.end_session(session);
                self.answer(connection, xid, Ok(KeeperResult::Done));
            }
        }
    }

    fn answer(
        &mut self,
        connection: ConnectionId,
        xid: Xid,
        result: Result<KeeperResult, KeeperError>,
    ) {
        self.keeper.zxid += 1;
        let zxid = Zxid::new(1, self.keeper.zxid);
        let result = result.map_err(|error| KeeperFailure {
            error,
            multi: Vec::new(),
        });
        self.reply(connection, KeeperReply::Reply { xid, zxid, result });
    }

    fn session_of(&self, connection: ConnectionId) -> SessionId {
        let mine = |(session, of): (&SessionId, &Option<ConnectionId>)| {
            (*of == Some(connection)).then_some(*session)
        };
        self.keeper
            .sessions
            .iter()
            .find_map(mine)
            .unwrap_or(SessionId(0))
    }

    fn operate(
        &mut self,
        connection: ConnectionId,
        op: &KeeperOp,
    ) -> Result<KeeperResult, KeeperError> {
        let path = op.path().to_owned();
        let found = self.keeper.tree.get(&path).map(|node| {
            let stat = Stat {
                ephemeral_owner: node.owner,
                ..Stat::default()
            };
            (node.data.clone(), stat)
        });
        match op {
            KeeperOp::Create { data, mode, .. } => {
                if found.is_some() {
                    return Err(KeeperError::NodeExists);
                }
                let is_ephemeral = matches!(mode, CreateMode::Ephemeral);
                let owner = is_ephemeral.then(|| self.session_of(connection));
                self.create(&path, data.clone(), owner.unwrap_or(SessionId(0)))
            }
            KeeperOp::SetData { data, .. } => {
                let node = self.keeper.tree.get_mut(&path).ok_or(KeeperError::NoNode)?;
                node.data = data.clone();
                self.writes.push(format!("set {path}"));
                self.fire(WatchKind::DataChanged, &path);
                Ok(KeeperResult::DataSet(Stat::default()))
            }
            KeeperOp::Delete { .. } => {
                found.ok_or(KeeperError::NoNode)?;
                self.remove(&path);
                Ok(KeeperResult::Deleted)
            }
            KeeperOp::GetData { watch, .. } => {
                let (data, stat) = found.ok_or(KeeperError::NoNode)?;
                if *watch {
                    self.keeper.data_watches.insert((path, connection));
                }
                Ok(KeeperResult::Data(data, stat))
            }
            KeeperOp::Exists { watch, .. } => {
                if *watch {
                    self.keeper.data_watches.insert((path, connection));
                }
                found
                    .map(|(_, stat)| KeeperResult::Stat(stat))
                    .ok_or(KeeperError::NoNode)
            }
            KeeperOp::GetChildren { watch, .. } => {
                found.ok_or(KeeperError::NoNode)?;
                let names = self
                    .children(&path)
                    .into_iter()
                    .map(|name| name.as_str().into());
                let names = names.collect();
                if *watch {
                    self.keeper.child_watches.insert((path, connection));
                }
                Ok(KeeperResult::Children(names, Stat::default()))
            }
            KeeperOp::Sync { .. } => Ok(KeeperResult::Synced),
            other => panic!("a consumer does not do {other:?}"),
        }
    }

    fn create(
        &mut self,
        path: &str,
        data: Bytes,
        owner: SessionId,
    ) -> Result<KeeperResult, KeeperError> {
        let parent = path.rsplit_once('/').unwrap().0;
        if !parent.is_empty() && !self.keeper.tree.contains_key(parent) {
            return Err(KeeperError::NoNode);
        }
        self.keeper
            .tree
            .insert(path.to_owned(), Znode { data, owner });
        self.writes.push(format!("create {path}"));
        self.fire(WatchKind::Created, path);
        Ok(KeeperResult::Created(path.into()))
    }

    fn serve(&mut self, connection: ConnectionId, request: Request) {
        let b1 = || (BrokerId(1), Endpoint::new("b1", 9092));
        let body: ResponseBody = match &request.body {
            RequestBody::Metadata(asked) => MetadataResponse {
                brokers: vec![LiveBroker {
                    id: BrokerId(1),
                    endpoint: b1().1,
                }],
                controller: None,
                topics: asked
                    .topics
                    .iter()
                    .flatten()
                    .map(|topic| self.topic(topic))
                    .collect(),
            }
            .into(),
            RequestBody::Fetch(fetch) => {
                let Some(answer) = self.fetch(fetch) else {
                    let until = self.now + fetch.max_wait;
                    self.parked.push((until, connection, request));
                    return;
                };
                answer.into()
            }
            RequestBody::ListOffsets(list) => ListOffsetsResponse {
                partitions: list
                    .partitions
                    .iter()
                    .map(|(partition, _, spec)| PartitionListOffsetsResponse {
                        partition: partition.clone(),
                        error: ErrorCode::None,
                        offset: Some(match spec {
                            OffsetSpec::Earliest => Offset(0),
                            _ => self.end(partition),
                        }),
                        timestamp: None,
                        leader_epoch: None,
                    })
                    .collect(),
            }
            .into(),
            RequestBody::FindCoordinator(_) => FindCoordinatorResponse {
                error: ErrorCode::None,
                coordinator: Some(b1()),
            }
            .into(),
            RequestBody::OffsetCommit(commit) => {
                for entry in &commit.offsets {
                    self.managed.insert(entry.partition.clone(), entry.offset);
                }
                let taken = |entry: &CommittedOffset| (entry.partition.clone(), ErrorCode::None);
                OffsetCommitResponse {
                    partitions: commit.offsets.iter().map(taken).collect(),
                }
                .into()
            }
            RequestBody::OffsetFetch(fetch) => OffsetFetchResponse {
                error: ErrorCode::None,
                partitions: fetch
                    .partitions
                    .iter()
                    .flatten()
                    .map(|partition| (partition.clone(), Ok(self.committed(partition))))
                    .collect(),
            }
            .into(),
            other => panic!("a consumer does not ask {other:?}"),
        };
        self.respond(connection, &request, body);
    }

    fn respond(&mut self, connection: ConnectionId, request: &Request, body: ResponseBody) {
        let correlation_id = request.correlation_id;
        let message = Message::Response(Box::new(Response {
            correlation_id,
            body,
        }));
        self.later(WAY, connection, |connection| Input::Received {
            connection,
            message,
        });
    }

    fn committed(&self, partition: &TopicPartition) -> Option<CommittedOffset> {
        let offset = *self.managed.get(partition)?;
        Some(CommittedOffset {
            partition: partition.clone(),
            offset,
            leader_epoch: None,
            metadata: Arc::from(""),
        })
    }

    fn topic(&self, topic: &TopicName) -> TopicMetadata {
        let of = self
            .logs
            .keys()
            .filter(|partition| partition.topic == *topic);
        let partitions = of.map(|partition| PartitionMetadata {
            error: ErrorCode::None,
            partition: partition.partition,
            leader: Some(BrokerId(1)),
            leader_epoch: None,
            replicas: vec![BrokerId(1)],
            isr: vec![BrokerId(1)],
            offline_replicas: Vec::new(),
        });
        TopicMetadata {
            error: ErrorCode::None,
            topic: topic.clone(),
            is_internal: false,
            partitions: partitions.collect(),
        }
    }

    fn end(&self, partition: &TopicPartition) -> Offset {
        Offset(i64::try_from(self.logs[partition].len()).unwrap())
    }

    /// At most two batches of each partition; none while there is nothing.
    fn fetch(&self, fetch: &FetchRequest) -> Option<FetchResponse> {
        let mut is_due = false;
        let partitions = fetch.partitions.iter().map(|asked| {
            let end = self.end(&asked.partition);
            let error = if asked.fetch_offset > end {
                ErrorCode::OffsetOutOfRange
            } else {
                ErrorCode::None
            };
            let from = usize::try_from(asked.fetch_offset.0).unwrap();
            let batches = self.logs[&asked.partition].iter().skip(from).take(2);
            let records: Vec<u8> = batches.flat_map(|batch| batch.to_vec()).collect();
            is_due |= error.is_error() || !records.is_empty();
            PartitionFetchResponse {
                partition: asked.partition.clone(),
                error,
                high_watermark: Some(end),
                last_stable_offset: None,
                log_start_offset: None,
                diverging_epoch: None,
                aborted_transactions: Vec::new(),
                records: Bytes::from(records),
            }
        });
        let partitions = partitions.collect();
        is_due.then_some(FetchResponse {
            partitions,
            ..empty_fetch()
        })
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

fn empty_fetch() -> FetchResponse {
    FetchResponse {
        error: ErrorCode::None,
        session: FetchSessionId::NONE,
        partitions: Vec::new(),
    }
}
