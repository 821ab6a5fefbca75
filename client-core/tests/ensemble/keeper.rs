//! The keeper server: a tree, sessions and watches.

use super::{WAY, World};
use bytes::Bytes;
use protocol::error_code::KeeperError;
use protocol::ids::{SessionId, Xid, Zxid};
use protocol::keeper::{
    CreateMode, KeeperFailure, KeeperOp, KeeperReply, KeeperRequest, KeeperResult, Stat,
    WatchEvent, WatchKind,
};
use protocol::machine::{ConnectionId, Input};
use protocol::message::Message;
use protocol::time::Span;
use std::collections::{BTreeMap, BTreeSet};

pub(super) struct Znode {
    pub(super) data: Bytes,
    pub(super) owner: SessionId,
}

#[derive(Default)]
pub(super) struct Keeper {
    pub(super) tree: BTreeMap<String, Znode>,
    /// Each session with its connection, while it has one.
    pub(super) sessions: BTreeMap<SessionId, Option<ConnectionId>>,
    /// Who left a watch on a node, and on its children.
    pub(super) data_watches: BTreeSet<(String, ConnectionId)>,
    pub(super) child_watches: BTreeSet<(String, ConnectionId)>,
    pub(super) next_session: i64,
    pub(super) zxid: u32,
}

impl World {
    pub(super) fn end_session(&mut self, session: SessionId) {
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

    pub(super) fn remove(&mut self, path: &str) {
        self.keeper.tree.remove(path);
        self.writes.push(format!("delete {path}"));
        self.fire(WatchKind::Deleted, path);
    }

    pub(super) fn fire(&mut self, kind: WatchKind, path: &str) {
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

    pub(super) fn tell(&mut self, watches: BTreeSet<(String, ConnectionId)>, kind: WatchKind) {
        for (path, connection) in watches {
            let event = WatchEvent {
                kind,
                path: path.as_str().into(),
            };
            self.reply(connection, KeeperReply::Event(event));
        }
    }

    pub(super) fn reply(&mut self, connection: ConnectionId, reply: KeeperReply) {
        let message = Message::KeeperReply(Box::new(reply));
        self.later(WAY, connection, |connection| Input::Received {
            connection,
            message,
        });
    }

    pub(super) fn keep(&mut self, connection: ConnectionId, request: KeeperRequest) {
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

    pub(super) fn answer(
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

    pub(super) fn session_of(&self, connection: ConnectionId) -> SessionId {
        let mine = |(session, of): (&SessionId, &Option<ConnectionId>)| {
            (*of == Some(connection)).then_some(*session)
        };
        self.keeper
            .sessions
            .iter()
            .find_map(mine)
            .unwrap_or(SessionId(0))
    }

    pub(super) fn operate(
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

    pub(super) fn create(
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
}
