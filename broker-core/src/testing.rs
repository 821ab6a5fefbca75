//! For tests only: a small world of machines and one scripted keeper that answers in order and never fails by itself.
//!
//! Messages take no time and keep their order; timers ring when a test lets time pass. The tree knows what Kafka needs of
//! ZooKeeper: versions, ephemeral and sequential znodes, multis, one-shot watches, sessions that a test ends.

use bytes::Bytes;
use protocol::disk::{Disk, DiskError, FileId};
use protocol::error_code::KeeperError;
use protocol::ids::{Endpoint, SessionId, Zxid};
use protocol::keeper::{
    CreateMode, KeeperFailure, KeeperOp, KeeperReply, KeeperRequest, KeeperResult, Path, Stat,
    WatchEvent, WatchKind,
};
use protocol::machine::{CloseReason, ConnectionId, Effect, Input, Io, Machine, Stamped, TimerId};
use protocol::message::Message;
use protocol::note::Note;
use protocol::time::{Mono, Now, Span, Wall};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// Where the keeper listens.
pub(crate) const KEEPER: &str = "k1";

/// A disk nobody may use.
#[derive(Default)]
pub(crate) struct NoDisk;

impl Disk for NoDisk {
    fn open(&mut self, _: &str) -> Result<FileId, DiskError> {
        Err(DiskError::Io)
    }
    fn find(&mut self, _: &str) -> Option<FileId> {
        None
    }
    fn len(&self, _: FileId) -> u64 {
        0
    }
    fn append(&mut self, _: FileId, _: Bytes) -> Result<(), DiskError> {
        Err(DiskError::Io)
    }
    fn read(&mut self, _: FileId, _: u64, _: u64) -> Result<Bytes, DiskError> {
        Err(DiskError::Io)
    }
    fn truncate(&mut self, _: FileId, _: u64) -> Result<(), DiskError> {
        Err(DiskError::Io)
    }
    fn replace(&mut self, _: &str, _: Bytes) -> Result<(), DiskError> {
        Err(DiskError::Io)
    }
    fn rename(&mut self, _: &str, _: &str) -> Result<(), DiskError> {
        Err(DiskError::Io)
    }
    fn remove(&mut self, _: &str) -> Result<(), DiskError> {
        Err(DiskError::Io)
    }
    fn list(&self, _: &str) -> Vec<String> {
        Vec::new()
    }
    fn elapsed(&self) -> Span {
        Span::ZERO
    }
}

#[derive(Clone, Debug, Default)]
struct Znode {
    data: Bytes,
    stat: Stat,
}

/// The tree.
#[derive(Clone, Debug, Default)]
pub(crate) struct ScriptedKeeper {
    nodes: BTreeMap<String, Znode>,
    zxid: i64,
    next_session: i64,
    sessions: BTreeSet<SessionId>,
    connections: BTreeMap<ConnectionId, SessionId>,
    data_watches: BTreeSet<(String, SessionId)>,
    child_watches: BTreeSet<(String, SessionId)>,
    /// Every write that succeeded, for tests that look.
    pub(crate) writes: Vec<String>,
    lose_replies: usize,
}

type Outcome = Result<KeeperResult, KeeperError>;

impl ScriptedKeeper {
    /// The data at a path.
    pub(crate) fn data(&self, path: &str) -> Option<String> {
        let node = self.nodes.get(path)?;
        Some(String::from_utf8_lossy(&node.data).into_owned())
    }

    /// The names below a path.
    pub(crate) fn children(&self, path: &str) -> Vec<Arc<str>> {
        let prefix = if path == "/" {
            "/".to_owned()
        } else {
            format!("{path}/")
        };
        self.nodes
            .keys()
            .filter_map(|key| key.strip_prefix(&prefix))
            .filter(|rest| !rest.is_empty() && !rest.contains('/'))
            .map(Arc::from)
            .collect()
    }

    /// The next reply to an operation is lost, and the connection with it.
    pub(crate) fn lose_next_reply(&mut self) {
        self.lose_replies = 1;
    }

    /// Writes as an outsider would, say a tool; returns the watches that fire.
    pub(crate) fn write(&mut self, op: &KeeperOp) -> Vec<(ConnectionId, KeeperReply)> {
        let mut fired = Vec::new();
        self.apply(SessionId(0), op, &mut fired)
            .expect("a test writes what is possible");
        self.route(fired)
    }

    /// Ends a session: its ephemeral znodes go, and its connection is cut by the caller.
    pub(crate) fn expire(&mut self, session: SessionId) -> Vec<(ConnectionId, KeeperReply)> {
        self.sessions.remove(&session);
        let owned: Vec<String> = self
            .nodes
            .iter()
            .filter(|(_, node)| node.stat.ephemeral_owner == session)
            .map(|(path, _)| path.clone())
            .collect();
        self.zxid += 1;
        let mut fired = Vec::new();
        for path in owned {
            self.remove(&path, &mut fired);
        }
        self.data_watches.retain(|(_, owner)| *owner != session);
        self.child_watches.retain(|(_, owner)| *owner != session);
        self.route(fired)
    }

    /// The connection of a session.
    pub(crate) fn connection_of(&self, session: SessionId) -> Option<ConnectionId> {
        let mut all = self.connections.iter();
        all.find(|(_, owner)| **owner == session)
            .map(|(connection, _)| *connection)
    }

    fn route(&self, fired: Vec<(SessionId, WatchEvent)>) -> Vec<(ConnectionId, KeeperReply)> {
        fired
            .into_iter()
            .filter_map(|(session, event)| {
                Some((self.connection_of(session)?, KeeperReply::Event(event)))
            })
            .collect()
    }

    /// Answers a packet; `None` among the answers cuts the connection.
    fn handle(
        &mut self,
        connection: ConnectionId,
        request: KeeperRequest,
    ) -> (Vec<(ConnectionId, KeeperReply)>, bool) {
        match request {
            KeeperRequest::Connect {
                timeout, session, ..
            } => {
                let session = if session == SessionId(0) {
                    self.next_session += 1;
                    self.sessions.insert(SessionId(self.next_session));
                    SessionId(self.next_session)
                } else {
                    session
                };
                let alive = self.sessions.contains(&session);
                self.connections.insert(connection, session);
                let reply = KeeperReply::Connected {
                    timeout: if alive { timeout } else { Span::ZERO },
                    session,
                    password: 1,
                };
                (vec![(connection, reply)], !alive)
            }
            KeeperRequest::Op { xid, op } => {
                let session = self.connections[&connection];
                let mut fired = Vec::new();
                let result = self.apply(session, &op, &mut fired);
                let mut out = self.route(fired);
                let result = result.map_err(|(error, multi)| KeeperFailure { error, multi });
                let reply = KeeperReply::Reply {
                    xid,
                    zxid: Zxid(self.zxid),
                    result,
                };
                if self.lose_replies > 0 {
                    self.lose_replies -= 1;
                    return (out, true);
                }
                out.push((connection, reply));
                (out, false)
            }
            KeeperRequest::Ping => {
                let zxid = Zxid(self.zxid);
                (vec![(connection, KeeperReply::Pong { zxid })], false)
            }
            KeeperRequest::SetWatches {
                data, child, exist, ..
            } => {
                // Nothing changes while a test has a connection cut, unless it says so itself.
                let session = self.connections[&connection];
                for path in data.iter().chain(&exist) {
                    self.data_watches.insert((path.to_string(), session));
                }
                for path in &child {
                    self.child_watches.insert((path.to_string(), session));
                }
                (Vec::new(), false)
            }
            KeeperRequest::CloseSession { xid } => {
                let session = self.connections[&connection];
                let mut out = self.expire(session);
                let reply = KeeperReply::Reply {
                    xid,
                    zxid: Zxid(self.zxid),
                    result: Ok(KeeperResult::Done),
                };
                out.push((connection, reply));
                (out, false)
            }
        }
    }

    fn apply(
        &mut self,
        session: SessionId,
        op: &KeeperOp,
        fired: &mut Vec<(SessionId, WatchEvent)>,
    ) -> Result<KeeperResult, (KeeperError, Vec<Option<KeeperError>>)> {
        if op.is_write() {
            self.zxid += 1;
        }
        let KeeperOp::Multi(ops) = op else {
            return self
                .one(session, op, fired)
                .map_err(|error| (error, Vec::new()));
        };
        let before = self.clone();
        let mut results = Vec::new();
        let mut events = Vec::new();
        for (at, op) in ops.iter().enumerate() {
            match self.one(session, op, &mut events) {
                Ok(result) => results.push(result),
                Err(error) => {
                    let zxid = self.zxid;
                    *self = before;
                    self.zxid = zxid;
                    let mut errors = vec![None; at];
                    errors.push(Some(error));
                    errors.resize(ops.len(), Some(KeeperError::RuntimeInconsistency));
                    return Err((error, errors));
                }
            }
        }
        fired.extend(events);
        Ok(KeeperResult::Multi(results))
    }

    fn one(
        &mut self,
        session: SessionId,
        op: &KeeperOp,
        fired: &mut Vec<(SessionId, WatchEvent)>,
    ) -> Outcome {
        match op {
            KeeperOp::Create { path, data, mode } => {
                self.create((session, *mode), path, data, fired)
            }
            KeeperOp::Delete { path, version } => {
                self.check(path, *version)?;
                if !self.children(path).is_empty() {
                    return Err(KeeperError::NotEmpty);
                }
                self.writes.push(format!("delete {path}"));
                self.remove(path, fired);
                Ok(KeeperResult::Deleted)
            }
            KeeperOp::SetData {
                path,
                data,
                version,
            } => {
                self.check(path, *version)?;
                let zxid = Zxid(self.zxid);
                self.writes.push(format!("set {path}"));
                let node = self.nodes.get_mut(&**path).expect("checked");
                node.data = data.clone();
                node.stat.version += 1;
                node.stat.mzxid = zxid;
                let stat = node.stat;
                self.fire(path, WatchKind::DataChanged, fired);
                Ok(KeeperResult::DataSet(stat))
            }
            KeeperOp::Check { path, version } => {
                self.check(path, *version)?;
                Ok(KeeperResult::Checked)
            }
            KeeperOp::Exists { path, watch } => {
                self.watch(path, session, *watch, true);
                self.find(path).map(|node| KeeperResult::Stat(node.stat))
            }
            KeeperOp::GetData { path, watch } => {
                let found = self
                    .find(path)
                    .map(|node| KeeperResult::Data(node.data.clone(), node.stat))?;
                self.watch(path, session, *watch, true);
                Ok(found)
            }
            KeeperOp::GetChildren { path, watch } => {
                let stat = self.find(path)?.stat;
                self.watch(path, session, *watch, false);
                Ok(KeeperResult::Children(self.children(path), stat))
            }
            KeeperOp::Multi(_) | KeeperOp::Sync { .. } => Ok(KeeperResult::Synced),
        }
    }

    fn find(&self, path: &str) -> Result<&Znode, KeeperError> {
        self.nodes.get(path).ok_or(KeeperError::NoNode)
    }

    fn check(&self, path: &str, version: i32) -> Result<(), KeeperError> {
        let node = self.find(path)?;
        if version == -1 || version == node.stat.version {
            Ok(())
        } else {
            Err(KeeperError::BadVersion)
        }
    }

    fn watch(&mut self, path: &str, session: SessionId, wanted: bool, data: bool) {
        if wanted {
            let set = if data {
                &mut self.data_watches
            } else {
                &mut self.child_watches
            };
            set.insert((path.to_owned(), session));
        }
    }

    fn create(
        &mut self,
        (session, mode): (SessionId, CreateMode),
        path: &Path,
        data: &Bytes,
        fired: &mut Vec<(SessionId, WatchEvent)>,
    ) -> Outcome {
        let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
        if !parent.is_empty() && !self.nodes.contains_key(parent) {
            return Err(KeeperError::NoNode);
        }
        let zxid = Zxid(self.zxid);
        let (sequential, ephemeral) = match mode {
            CreateMode::Persistent => (false, false),
            CreateMode::Ephemeral => (false, true),
            CreateMode::PersistentSequential => (true, false),
            CreateMode::EphemeralSequential => (true, true),
        };
        let cversion = self.nodes.get(parent).map_or(0, |node| node.stat.cversion);
        let path: Path = if sequential {
            format!("{path}{cversion:010}").into()
        } else {
            path.clone()
        };
        if self.nodes.contains_key(&*path) {
            return Err(KeeperError::NodeExists);
        }
        let stat = Stat {
            czxid: zxid,
            mzxid: zxid,
            ephemeral_owner: if ephemeral { session } else { SessionId(0) },
            ..Stat::default()
        };
        self.writes.push(format!("create {path}"));
        let data = data.clone();
        self.nodes.insert(path.to_string(), Znode { data, stat });
        if let Some(node) = self.nodes.get_mut(parent) {
            node.stat.cversion += 1;
        }
        self.fire(&path, WatchKind::Created, fired);
        self.fire(parent, WatchKind::ChildrenChanged, fired);
        Ok(KeeperResult::Created(path))
    }

    fn remove(&mut self, path: &str, fired: &mut Vec<(SessionId, WatchEvent)>) {
        self.nodes.remove(path);
        self.fire(path, WatchKind::Deleted, fired);
        let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
        if let Some(node) = self.nodes.get_mut(parent) {
            node.stat.cversion += 1;
        }
        self.fire(parent, WatchKind::ChildrenChanged, fired);
    }

    fn fire(&mut self, path: &str, kind: WatchKind, fired: &mut Vec<(SessionId, WatchEvent)>) {
        let mut take = |set: &mut BTreeSet<(String, SessionId)>| {
            let hit: Vec<_> = set.iter().filter(|(at, _)| at == path).cloned().collect();
            for key in hit {
                set.remove(&key);
                let path = Path::from(path);
                let event = (key.1, WatchEvent { kind, path });
                if !fired.contains(&event) {
                    fired.push(event);
                }
            }
        };
        match kind {
            WatchKind::Created | WatchKind::DataChanged => take(&mut self.data_watches),
            WatchKind::ChildrenChanged => take(&mut self.child_watches),
            WatchKind::Deleted => {
                take(&mut self.data_watches);
                take(&mut self.child_watches);
            }
        }
    }
}

#[derive(Clone, Debug)]
enum End {
    Node(String, ConnectionId),
    /// The host of the client.
    Keeper(String),
}

/// Machines, their connections, timers and the keeper.
pub(crate) struct World<M> {
    pub(crate) now: Now,
    pub(crate) keeper: ScriptedKeeper,
    pub(crate) nodes: BTreeMap<String, M>,
    pub(crate) notes: Vec<(String, Note)>,
    pub(crate) exits: Vec<String>,
    queue: VecDeque<(String, Input)>,
    timers: BTreeMap<(String, TimerId), Mono>,
    /// For each end of a connection, the other one.
    peers: BTreeMap<ConnectionId, End>,
    /// Nodes that handle nothing until they are let go.
    paused: BTreeMap<String, VecDeque<Input>>,
    next_connection: u64,
}

impl<M: Machine> World<M> {
    pub(crate) fn new() -> Self {
        Self {
            now: Now {
                mono: Mono(0),
                wall: Wall::from_millis(1_600_000_000_000),
            },
            keeper: ScriptedKeeper::default(),
            nodes: BTreeMap::new(),
            notes: Vec::new(),
            exits: Vec::new(),
            queue: VecDeque::new(),
            timers: BTreeMap::new(),
            peers: BTreeMap::new(),
            paused: BTreeMap::new(),
            next_connection: 1,
        }
    }

    pub(crate) fn start(&mut self, host: &str, machine: M) {
        self.nodes.insert(host.to_owned(), machine);
        self.queue.push_back((host.to_owned(), Input::Started));
        self.run();
    }

    /// The process is gone; the keeper session lives until [`Self::expire`].
    pub(crate) fn kill(&mut self, host: &str) {
        self.nodes.remove(host);
        self.timers.retain(|(owner, _), _| owner != host);
        let ends: Vec<ConnectionId> = self
            .peers
            .iter()
            .filter(|(_, end)| matches!(end, End::Node(node, _) if node == host))
            .map(|(id, _)| *id)
            .collect();
        for id in ends {
            self.break_from(id);
        }
        self.run();
    }

    /// `id` is an end whose other end lives on the node that is gone.
    fn break_from(&mut self, id: ConnectionId) {
        let Some(End::Node(_, dead)) = self.peers.remove(&id) else {
            return;
        };
        if let Some(End::Node(owner, own)) = self.peers.remove(&dead) {
            debug_assert_eq!(own, id);
            let reason = CloseReason::Reset;
            let input = Input::Closed {
                connection: id,
                reason,
            };
            self.queue.push_back((owner, input));
        }
    }

    pub(crate) fn pause(&mut self, host: &str) {
        self.paused.insert(host.to_owned(), VecDeque::new());
    }

    pub(crate) fn resume(&mut self, host: &str) {
        for input in self.paused.remove(host).unwrap_or_default() {
            self.queue.push_back((host.to_owned(), input));
        }
        self.run();
    }

    /// Ends a keeper session and cuts its connection.
    pub(crate) fn expire(&mut self, session: SessionId) {
        let connection = self.keeper.connection_of(session);
        let out = self.keeper.expire(session);
        self.keeper_says(out);
        if let Some(connection) = connection {
            self.keeper_cuts(connection);
        }
        self.run();
    }

    pub(crate) fn write(&mut self, op: &KeeperOp) {
        let out = self.keeper.write(op);
        self.keeper_says(out);
        self.run();
    }

    pub(crate) fn input(&mut self, host: &str, input: Input) {
        self.queue.push_back((host.to_owned(), input));
        self.run();
    }

    /// Calls into a machine outside of its inputs.
    pub(crate) fn with<R>(
        &mut self,
        host: &str,
        call: impl FnOnce(&mut M, Now, &mut Io<'_>) -> R,
    ) -> R {
        let mut machine = self.nodes.remove(host).expect("the node runs");
        let mut effects = Vec::new();
        let mut disk = NoDisk;
        let mut io = Io::new(&mut disk, &mut effects, &mut self.next_connection);
        let result = call(&mut machine, self.now, &mut io);
        self.nodes.insert(host.to_owned(), machine);
        self.carry_out(host, effects);
        self.run();
        result
    }

    /// Lets time pass, ringing timers in order.
    pub(crate) fn pass(&mut self, span: Span) {
        let end = self.now.mono + span;
        loop {
            let due = self
                .timers
                .iter()
                .map(|(key, at)| (*at, key.clone()))
                .min()
                .filter(|(at, _)| *at <= end);
            let Some((at, key)) = due else { break };
            self.timers.remove(&key);
            self.move_to(at);
            self.queue.push_back((key.0, Input::Timer { timer: key.1 }));
            self.run();
        }
        self.move_to(end);
    }

    fn move_to(&mut self, at: Mono) {
        let passed = at.since(self.now.mono);
        self.now.mono = self.now.mono + passed;
        self.now.wall.0 += i64::try_from(passed.0).unwrap();
    }

    pub(crate) fn run(&mut self) {
        let mut steps = 0;
        while let Some((host, input)) = self.queue.pop_front() {
            steps += 1;
            assert!(steps < 200_000, "the world does not come to rest");
            if let Some(kept) = self.paused.get_mut(&host) {
                kept.push_back(input);
                continue;
            }
            let Some(machine) = self.nodes.get_mut(&host) else {
                continue;
            };
            let mut effects = Vec::new();
            let mut disk = NoDisk;
            let mut io = Io::new(&mut disk, &mut effects, &mut self.next_connection);
            machine.handle(self.now, input, &mut io);
            self.carry_out(&host, effects);
        }
    }

    fn carry_out(&mut self, host: &str, effects: Vec<Stamped>) {
        for stamped in effects {
            match stamped.effect {
                Effect::Connect { connection, to } => self.connect(host, connection, &to),
                Effect::Send {
                    connection,
                    message,
                } => self.deliver(connection, message),
                Effect::Close { connection } => self.close(connection),
                Effect::SetTimer { timer, at } => {
                    self.timers.insert((host.to_owned(), timer), at);
                }
                Effect::CancelTimer { timer } => {
                    self.timers.remove(&(host.to_owned(), timer));
                }
                Effect::Queue { lane } => {
                    self.queue.push_back((host.to_owned(), Input::Due { lane }));
                }
                Effect::Note(note) => self.notes.push((host.to_owned(), note)),
                Effect::Exit { .. } => self.exits.push(host.to_owned()),
                Effect::Flush { .. } | Effect::Outcome { .. } => {}
            }
        }
    }

    fn connect(&mut self, host: &str, connection: ConnectionId, to: &Endpoint) {
        let opened = Input::Opened { connection };
        if &*to.host == KEEPER {
            self.peers.insert(connection, End::Keeper(host.to_owned()));
            self.queue.push_back((host.to_owned(), opened));
        } else if self.nodes.contains_key(&*to.host) || *to.host == *host {
            let other = ConnectionId(self.next_connection);
            self.next_connection += 1;
            let listener = to.host.to_string();
            self.peers
                .insert(connection, End::Node(listener.clone(), other));
            self.peers
                .insert(other, End::Node(host.to_owned(), connection));
            let accepted = Input::Accepted {
                connection: other,
                port: to.port,
                from: Arc::from(host),
            };
            self.queue.push_back((listener, accepted));
            self.queue.push_back((host.to_owned(), opened));
        } else {
            self.queue
                .push_back((host.to_owned(), Input::Refused { connection }));
        }
    }

    fn deliver(&mut self, connection: ConnectionId, message: Message) {
        match self.peers.get(&connection).cloned() {
            Some(End::Node(host, other)) => {
                let input = Input::Received {
                    connection: other,
                    message,
                };
                self.queue.push_back((host, input));
            }
            Some(End::Keeper(_)) => {
                let Message::KeeperRequest(request) = message else {
                    panic!("a keeper speaks its own protocol");
                };
                let (out, cut) = self.keeper.handle(connection, *request);
                self.keeper_says(out);
                if cut {
                    self.keeper_cuts(connection);
                }
            }
            None => {}
        }
    }

    fn keeper_says(&mut self, out: Vec<(ConnectionId, KeeperReply)>) {
        for (connection, reply) in out {
            if let Some(End::Keeper(host)) = self.peers.get(&connection) {
                let message = Message::KeeperReply(Box::new(reply));
                let input = Input::Received {
                    connection,
                    message,
                };
                self.queue.push_back((host.clone(), input));
            }
        }
    }

    pub(crate) fn keeper_cuts(&mut self, connection: ConnectionId) {
        self.keeper.connections.remove(&connection);
        if let Some(End::Keeper(host)) = self.peers.remove(&connection) {
            let reason = CloseReason::Reset;
            let input = Input::Closed { connection, reason };
            self.queue.push_back((host, input));
        }
    }

    fn close(&mut self, connection: ConnectionId) {
        match self.peers.remove(&connection) {
            Some(End::Node(host, other)) => {
                self.peers.remove(&other);
                let input = Input::Closed {
                    connection: other,
                    reason: CloseReason::Peer,
                };
                self.queue.push_back((host, input));
            }
            Some(End::Keeper(_)) => {
                self.keeper.connections.remove(&connection);
            }
            None => {}
        }
    }
}
