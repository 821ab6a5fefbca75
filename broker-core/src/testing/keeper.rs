//! One scripted keeper that answers in order and never fails by itself.
//!
//! The tree knows what Kafka needs of ZooKeeper: versions, ephemeral and sequential znodes, multis, one-shot watches,
//! sessions that a test ends.

use bytes::Bytes;
use protocol::error_code::KeeperError;
use protocol::ids::{SessionId, Zxid};
use protocol::keeper::{
    CreateMode, KeeperFailure, KeeperOp, KeeperReply, KeeperRequest, KeeperResult, Path, Stat,
    WatchEvent, WatchKind,
};
use protocol::machine::ConnectionId;
use protocol::time::Span;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

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
    pub(crate) connections: BTreeMap<ConnectionId, SessionId>,
    data_watches: BTreeSet<(String, SessionId)>,
    child_watches: BTreeSet<(String, SessionId)>,
    /// Every write that succeeded, for tests that look.
    pub(crate) writes: Vec<String>,
    lose_replies: usize,
    lose_reply_to: Option<&'static str>,
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

    /// The reply to the next successful write of this path is lost, and the connection with it.
    pub(crate) fn lose_reply_to(&mut self, path: &'static str) {
        self.lose_reply_to = Some(path);
    }

    /// Ends a session without removing its znodes.
    pub(crate) fn forget(&mut self, session: SessionId) {
        self.sessions.remove(&session);
        self.data_watches.retain(|(_, owner)| *owner != session);
        self.child_watches.retain(|(_, owner)| *owner != session);
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
        self.forget(session);
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

    fn connect(
        &mut self,
        connection: ConnectionId,
        timeout: Span,
        session: SessionId,
    ) -> (Vec<(ConnectionId, KeeperReply)>, bool) {
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

    /// Answers a packet; `true` cuts the connection.
    pub(super) fn handle(
        &mut self,
        connection: ConnectionId,
        request: KeeperRequest,
    ) -> (Vec<(ConnectionId, KeeperReply)>, bool) {
        match request {
            KeeperRequest::Connect {
                timeout, session, ..
            } => self.connect(connection, timeout, session),
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
                let named = self.lose_reply_to.filter(|path| {
                    let last = self.writes.last();
                    op.is_write() && last.is_some_and(|write| write.ends_with(path))
                });
                if named.is_some() || self.lose_replies > 0 {
                    self.lose_reply_to = self.lose_reply_to.filter(|_| named.is_none());
                    self.lose_replies = self.lose_replies.saturating_sub(1);
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
