//! What a server has in every role: the database, the disk and the clients (`ZooKeeperServer`).

use crate::clients::{Clients, password_of};
use crate::database::Database;
use crate::persistence::Store;
use crate::spec::KeeperSpec;
use crate::step::Step;
use crate::txn::{Transaction, Txn};
use protocol::disk::DiskError;
use protocol::ids::{KeeperId, SessionId, Xid, Zxid};
use protocol::keeper::{ForwardedRequest, KeeperOp, KeeperRequest};
use protocol::machine::ConnectionId;
use protocol::note::{KeeperNote, Note};
use protocol::time::{Now, Span};
use std::sync::Arc;

/// The parts that outlive a role.
#[derive(Clone, Debug)]
pub(crate) struct Service {
    pub(crate) spec: Arc<KeeperSpec>,
    pub(crate) database: Database,
    pub(crate) store: Store,
    pub(crate) clients: Clients,
    next_session: i64,
    /// The disk failed: the process ends (`handleException` of a critical thread).
    pub(crate) failed: bool,
}

/// What a client wants of the leader.
#[derive(Clone, Debug)]
pub(crate) enum Submission {
    /// A change.
    Write {
        session: SessionId,
        xid: Xid,
        request: ForwardedRequest,
    },
    /// All that was committed before.
    Sync { session: SessionId, xid: Xid },
    /// Whether the session lives, on behalf of a client that came back.
    Revalidate { session: SessionId, timeout: Span },
}

impl Service {
    pub(crate) fn new(spec: Arc<KeeperSpec>, database: Database, store: Store) -> Self {
        Self {
            spec,
            database,
            store,
            clients: Clients::default(),
            next_session: 0,
            failed: false,
        }
    }

    pub(crate) fn id(&self) -> KeeperId {
        self.spec.id
    }

    /// Notes the failure of a disk operation; whether it went well.
    pub(crate) fn check<T>(&mut self, result: Result<T, DiskError>) -> Option<T> {
        self.failed |= result.is_err();
        result.ok()
    }

    /// Clients may come: session ids begin with the server's number and go on with the time
    /// (`SessionTrackerImpl.initializeNextSession`), but never behind one that is known.
    pub(crate) fn start_serving(&mut self, now: Now) {
        let server = i64::from(self.spec.id.0) << 56;
        let time = (now.wall.millis() << 16) & 0x00FF_FFFF_FFFF_FFFF;
        let known = self
            .database
            .sessions
            .keys()
            .map(|session| session.0)
            .filter(|session| session >> 56 == i64::from(self.spec.id.0))
            .max()
            .unwrap_or(0);
        self.next_session = (server | time).max(known + 1).max(self.next_session);
    }

    /// The first packet of a connection (`processConnectRequest`).
    pub(crate) fn connect(
        &mut self,
        connection: ConnectionId,
        request: &KeeperRequest,
        step: &mut Step<'_, '_>,
    ) -> Option<Submission> {
        let KeeperRequest::Connect {
            last_zxid_seen,
            timeout,
            session,
            password,
        } = request
        else {
            self.clients.close(connection, step);
            return None;
        };
        if *last_zxid_seen > self.database.last_zxid {
            // The client has seen more than this server: it must try another (single system image).
            self.clients.close(connection, step);
            return None;
        }
        if *last_zxid_seen > Zxid::default() {
            step.io.note(Note::Keeper(KeeperNote::SessionResumed {
                session: Some(*session).filter(|session| *session != SessionId(0)),
                seen: *last_zxid_seen,
            }));
        }
        let timeout = self.spec.config.negotiate(*timeout);
        if *session == SessionId(0) {
            let session = SessionId(self.next_session);
            self.next_session += 1;
            self.clients.open(connection, session, timeout, step);
            let password = password_of(session);
            let request = ForwardedRequest::CreateSession { timeout, password };
            return Some(Submission::Write {
                session,
                xid: Xid(0),
                request,
            });
        }
        self.clients.open(connection, *session, timeout, step);
        if *password != password_of(*session) {
            self.clients.opened(*session, false, step);
            return None;
        }
        Some(Submission::Revalidate {
            session: *session,
            timeout,
        })
    }

    /// A request of an open session: what only the leader can answer is handed back.
    pub(crate) fn request(
        &mut self,
        connection: ConnectionId,
        session: SessionId,
        request: KeeperRequest,
        step: &mut Step<'_, '_>,
    ) -> Option<Submission> {
        let (xid, request) = match request {
            KeeperRequest::Op {
                xid,
                op: KeeperOp::Sync { .. },
            } => {
                self.clients.await_leader(connection, xid);
                return Some(Submission::Sync { session, xid });
            }
            KeeperRequest::Op { xid, op } if op.is_write() => (xid, ForwardedRequest::Op(op)),
            KeeperRequest::CloseSession { xid } => (xid, ForwardedRequest::CloseSession),
            read @ (KeeperRequest::Op { .. }
            | KeeperRequest::Ping
            | KeeperRequest::SetWatches { .. }
            | KeeperRequest::Connect { .. }) => {
                self.clients.read(connection, read, &self.database, step);
                return None;
            }
        };
        self.clients.await_leader(connection, xid);
        Some(Submission::Write {
            session,
            xid,
            request,
        })
    }

    /// Appends a transaction to the log; whether that went well.
    pub(crate) fn log(&mut self, transaction: &Transaction, step: &mut Step<'_, '_>) -> bool {
        let appended = self.store.append(transaction, step.io.disk);
        self.check(appended).is_some()
    }

    /// Applies a committed transaction and tells whom it concerns.
    pub(crate) fn commit(&mut self, transaction: &Transaction, step: &mut Step<'_, '_>) {
        let mut fired = Vec::new();
        let torn = self.store.torn_snapshot(&self.database, transaction);
        let answer = self.database.apply(transaction, &mut fired);
        step.io.note(Note::Keeper(KeeperNote::Applied {
            zxid: transaction.zxid(),
            digest: transaction.digest,
            state: self.database.digest(),
        }));
        self.clients.fire(&fired, step);
        let (session, cxid) = (transaction.header.session, transaction.header.cxid);
        match &transaction.body {
            Txn::CreateSession { .. } => self.clients.opened(session, true, step),
            Txn::CloseSession => self.clients.ended(session, cxid, &self.database, step),
            Txn::Create { .. }
            | Txn::Delete { .. }
            | Txn::SetData { .. }
            | Txn::Check { .. }
            | Txn::Multi(_)
            | Txn::Error(_) => {
                let waiting = (session, cxid);
                self.clients.complete(waiting, answer, &self.database, step);
            }
        }
        if self.store.snapshot_is_due() {
            let content = torn.as_ref().unwrap_or(&self.database);
            let snapshot = self.store.snapshot(content, step.io.disk);
            self.check(snapshot);
        }
    }

    /// Something became durable.
    pub(crate) fn note_logged(&self, before: Zxid, step: &mut Step<'_, '_>) {
        let durable = self.store.log.durable();
        if durable > before {
            step.io.note(Note::Keeper(KeeperNote::Logged(durable)));
        }
    }

    pub(crate) fn note_restored(&self, step: &mut Step<'_, '_>) {
        let zxid = self.database.last_zxid;
        let state = self.database.digest();
        step.io
            .note(Note::Keeper(KeeperNote::Restored { zxid, state }));
    }
}
