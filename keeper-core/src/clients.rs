//! The client connections of one server (`NIOServerCnxn`), the order of their requests (`CommitProcessor`) and their
//! answers (`FinalRequestProcessor`).
//!
//! Requests of one connection are answered in order: a read waits for the writes sent before it, reads of other sessions
//! do not. A watch event goes out when its transaction is applied, so before any answer that shows the change. Left out:
//! throttling by `globalOutstandingLimit` (no client of ktrial has a thousand requests under way) and the four-letter words.

use crate::database::Database;
use crate::persistence::mix;
use crate::step::Step;
use crate::tree::Answer;
use crate::watch::{Renewal, Table, Watches};
use protocol::error_code::KeeperError;
use protocol::ids::{SessionId, Xid};
use protocol::keeper::{
    KeeperFailure, KeeperOp, KeeperReply, KeeperRequest, KeeperResult, WatchEvent,
};
use protocol::machine::ConnectionId;
use protocol::message::Message;
use protocol::time::Span;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// Mixed into session ids to make passwords (`superSecret`).
const SECRET: u64 = 0xB341_5C00;

/// A request that cannot be answered yet, or must keep its place behind one.
#[derive(Clone, Debug)]
enum Work {
    Read(Xid, KeeperOp),
    Fail(Xid, KeeperError),
    Ping,
    Renew(Renewal),
    /// A write, a sync or the end of the session: its answer comes from the leader.
    Awaiting(Xid),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    /// Nothing was received yet.
    Fresh,
    /// The session is being opened or looked up.
    Opening,
    /// Serving.
    Ready,
}

#[derive(Clone, Debug)]
struct Client {
    host: Arc<str>,
    stage: Stage,
    session: SessionId,
    timeout: Span,
    queue: VecDeque<Work>,
}

/// All client connections.
#[derive(Clone, Debug, Default)]
pub(crate) struct Clients {
    open: BTreeMap<ConnectionId, Client>,
    by_session: BTreeMap<SessionId, ConnectionId>,
    watches: Watches,
}

/// The password of a session: every server can compute it.
pub(crate) fn password_of(session: SessionId) -> u64 {
    mix(u64::from_be_bytes(session.0.to_be_bytes()) ^ SECRET)
}

impl Clients {
    /// Somebody connected to the client port. `limit` is `maxClientCnxns`, zero for none.
    pub(crate) fn accept(
        &mut self,
        connection: ConnectionId,
        host: &Arc<str>,
        limit: usize,
        step: &mut Step<'_, '_>,
    ) {
        let same = self
            .open
            .values()
            .filter(|client| client.host == *host)
            .count();
        if limit != 0 && same >= limit {
            step.io.close(connection);
            return;
        }
        let client = Client {
            host: host.clone(),
            stage: Stage::Fresh,
            session: SessionId(0),
            timeout: Span::ZERO,
            queue: VecDeque::new(),
        };
        self.open.insert(connection, client);
    }

    pub(crate) fn owns(&self, connection: ConnectionId) -> bool {
        self.open.contains_key(&connection)
    }

    /// The connection is gone; the session lives on.
    pub(crate) fn forget(&mut self, connection: ConnectionId) -> bool {
        let Some(client) = self.open.remove(&connection) else {
            return false;
        };
        if self.by_session.get(&client.session) == Some(&connection) {
            self.by_session.remove(&client.session);
        }
        self.watches.forget(connection);
        true
    }

    pub(crate) fn close(&mut self, connection: ConnectionId, step: &mut Step<'_, '_>) {
        if self.forget(connection) {
            step.io.close(connection);
        }
    }

    /// The server stops serving (`closeAll`).
    pub(crate) fn close_all(&mut self, step: &mut Step<'_, '_>) {
        for connection in self.open.keys() {
            step.io.close(*connection);
        }
        *self = Self::default();
    }

    /// The session a connection serves and its time-out, once it is open.
    pub(crate) fn session_of(&self, connection: ConnectionId) -> Option<(SessionId, Span)> {
        let client = self.open.get(&connection)?;
        (client.stage == Stage::Ready).then_some((client.session, client.timeout))
    }

    /// The connection waits for its session to be opened or looked up; an older connection of the session is closed.
    pub(crate) fn open(
        &mut self,
        connection: ConnectionId,
        session: SessionId,
        timeout: Span,
        step: &mut Step<'_, '_>,
    ) {
        if let Some(older) = self.by_session.get(&session).copied()
            && older != connection
        {
            self.close(older, step);
        }
        if let Some(client) = self.open.get_mut(&connection) {
            client.stage = Stage::Opening;
            client.session = session;
            client.timeout = timeout;
            self.by_session.insert(session, connection);
        }
    }

    /// Whether the connection has not introduced itself.
    pub(crate) fn is_fresh(&self, connection: ConnectionId) -> bool {
        self.open
            .get(&connection)
            .is_some_and(|client| client.stage == Stage::Fresh)
    }

    /// The session stands, or is over (`finishSessionInit`).
    pub(crate) fn opened(&mut self, session: SessionId, valid: bool, step: &mut Step<'_, '_>) {
        let Some(connection) = self.by_session.get(&session).copied() else {
            return;
        };
        let Some(client) = self
            .open
            .get_mut(&connection)
            .filter(|client| client.stage == Stage::Opening)
        else {
            return;
        };
        client.stage = Stage::Ready;
        let (timeout, session, password) = if valid {
            (client.timeout, session, password_of(session))
        } else {
            (Span::ZERO, SessionId(0), 0)
        };
        let reply = KeeperReply::Connected {
            timeout,
            session,
            password,
        };
        send(connection, reply, step);
        if !valid {
            self.close(connection, step);
        }
    }

    /// A read, a ping or a renewal of watches: answered now, or after the writes before it.
    pub(crate) fn read(
        &mut self,
        connection: ConnectionId,
        request: KeeperRequest,
        database: &Database,
        step: &mut Step<'_, '_>,
    ) {
        let work = match request {
            KeeperRequest::Op { xid, op } => Work::Read(xid, op),
            KeeperRequest::Ping => Work::Ping,
            KeeperRequest::SetWatches {
                relative_zxid,
                data,
                exist,
                child,
            } => Work::Renew(Renewal {
                relative_zxid,
                data,
                exist,
                child,
            }),
            KeeperRequest::Connect { .. } | KeeperRequest::CloseSession { .. } => {
                self.close(connection, step);
                return;
            }
        };
        self.enqueue(connection, work, database, step);
    }

    /// A request that the session may not make.
    pub(crate) fn refuse(
        &mut self,
        connection: ConnectionId,
        (xid, error): (Xid, KeeperError),
        database: &Database,
        step: &mut Step<'_, '_>,
    ) {
        self.enqueue(connection, Work::Fail(xid, error), database, step);
    }

    /// A request whose answer comes from the leader.
    pub(crate) fn await_leader(&mut self, connection: ConnectionId, xid: Xid) {
        if let Some(client) = self.open.get_mut(&connection) {
            client.queue.push_back(Work::Awaiting(xid));
        }
    }

    fn enqueue(
        &mut self,
        connection: ConnectionId,
        work: Work,
        database: &Database,
        step: &mut Step<'_, '_>,
    ) {
        let Some(client) = self.open.get_mut(&connection) else {
            return;
        };
        if client.queue.is_empty() {
            self.serve(connection, work, database, step);
        } else {
            client.queue.push_back(work);
        }
    }

    /// The leader's answer to a request of this server's client, if it still waits.
    pub(crate) fn complete(
        &mut self,
        (session, xid): (SessionId, Xid),
        result: Answer,
        database: &Database,
        step: &mut Step<'_, '_>,
    ) {
        let Some(connection) = self.by_session.get(&session).copied() else {
            return;
        };
        let Some(client) = self.open.get_mut(&connection) else {
            return;
        };
        if !matches!(client.queue.front(), Some(Work::Awaiting(first)) if *first == xid) {
            return;
        }
        client.queue.pop_front();
        if let Err(failure) = &result
            && failure.error == KeeperError::SessionMoved
        {
            self.close(connection, step);
            return;
        }
        let reply = KeeperReply::Reply {
            xid,
            zxid: database.last_zxid,
            result,
        };
        send(connection, reply, step);
        self.drain(connection, database, step);
    }

    fn drain(&mut self, connection: ConnectionId, database: &Database, step: &mut Step<'_, '_>) {
        while let Some(client) = self.open.get_mut(&connection) {
            match client.queue.pop_front() {
                None => break,
                Some(Work::Awaiting(xid)) => {
                    client.queue.push_front(Work::Awaiting(xid));
                    break;
                }
                Some(work) => self.serve(connection, work, database, step),
            }
        }
    }

    /// The session has ended: its own client is told, another one loses its connection.
    pub(crate) fn ended(
        &mut self,
        session: SessionId,
        cxid: Xid,
        database: &Database,
        step: &mut Step<'_, '_>,
    ) {
        if cxid != Xid(0) {
            self.complete((session, cxid), Ok(KeeperResult::Done), database, step);
        }
        if let Some(connection) = self.by_session.get(&session).copied() {
            self.close(connection, step);
        }
    }

    /// Sends the events of an applied transaction.
    pub(crate) fn fire(&mut self, fired: &[WatchEvent], step: &mut Step<'_, '_>) {
        for event in fired {
            for connection in self.watches.take(event) {
                send(connection, KeeperReply::Event(event.clone()), step);
            }
        }
    }

    fn serve(
        &mut self,
        connection: ConnectionId,
        work: Work,
        database: &Database,
        step: &mut Step<'_, '_>,
    ) {
        let zxid = database.last_zxid;
        let (xid, result) = match work {
            Work::Read(xid, op) => (xid, self.answer(connection, &op, database)),
            Work::Fail(_, KeeperError::SessionMoved) => {
                self.close(connection, step);
                return;
            }
            Work::Fail(xid, error) => (xid, Err(failed(error))),
            Work::Ping => {
                send(connection, KeeperReply::Pong { zxid }, step);
                return;
            }
            Work::Renew(renewal) => {
                for event in self.watches.renew(&database.tree, &renewal, connection) {
                    send(connection, KeeperReply::Event(event), step);
                }
                (Xid(-8), Ok(KeeperResult::Done))
            }
            Work::Awaiting(_) => return,
        };
        send(connection, KeeperReply::Reply { xid, zxid, result }, step);
    }

    fn answer(
        &mut self,
        connection: ConnectionId,
        op: &KeeperOp,
        database: &Database,
    ) -> Result<KeeperResult, KeeperFailure> {
        let node = database
            .tree
            .node(op.path())
            .ok_or_else(|| failed(KeeperError::NoNode));
        match op {
            KeeperOp::Exists { path, watch } => {
                // Also on a missing znode: the watch waits for its creation.
                if *watch {
                    self.watches.add(Table::Data, path, connection);
                }
                Ok(KeeperResult::Stat(node?.stat()))
            }
            KeeperOp::GetData { path, watch } => {
                let node = node?;
                if *watch {
                    self.watches.add(Table::Data, path, connection);
                }
                Ok(KeeperResult::Data(node.data.clone(), node.stat()))
            }
            KeeperOp::GetChildren { path, watch } => {
                let node = node?;
                if *watch {
                    self.watches.add(Table::Child, path, connection);
                }
                let children = node.children.iter().cloned().collect();
                Ok(KeeperResult::Children(children, node.stat()))
            }
            KeeperOp::Create { .. }
            | KeeperOp::Delete { .. }
            | KeeperOp::SetData { .. }
            | KeeperOp::Check { .. }
            | KeeperOp::Multi(_)
            | KeeperOp::Sync { .. } => Err(failed(KeeperError::BadArguments)),
        }
    }
}

fn send(connection: ConnectionId, reply: KeeperReply, step: &mut Step<'_, '_>) {
    step.io
        .send(connection, Message::KeeperReply(Box::new(reply)));
}

fn failed(error: KeeperError) -> KeeperFailure {
    KeeperFailure {
        error,
        multi: Vec::new(),
    }
}
