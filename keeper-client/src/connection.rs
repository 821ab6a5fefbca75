//! The connection under a session (`ClientCnxn.SendThread`): dialling, pings, silence, and what servers answer.

use crate::client::{KeeperClient, KeeperEvent, KeeperState, Link, Pending};
use crate::hosts::draw;
use protocol::error_code::KeeperError;
use protocol::ids::{Endpoint, SessionId, Xid, Zxid};
use protocol::keeper::{KeeperFailure, KeeperReply, KeeperRequest, KeeperResult};
use protocol::machine::{ConnectionId, Io};
use protocol::message::Message;
use protocol::time::{Now, Span};

/// `MAX_SEND_PING_INTERVAL`: a client is never silent for longer, whatever its session time-out.
const LONGEST_SILENCE: Span = Span::secs(10);

/// `startConnect` sleeps a random part of this before every dial but the first.
const RECONNECT_JITTER_MS: u64 = 1000;

/// The xid of `SetWatches`, which no caller waits for.
const SET_WATCHES_XID: Xid = Xid(-8);

impl KeeperClient {
    fn connection(&self) -> Option<ConnectionId> {
        match self.link {
            Link::Dialling(connection) | Link::Priming(connection) | Link::Up(connection) => {
                Some(connection)
            }
            Link::None | Link::Waiting(_) => None,
        }
    }

    pub(crate) fn owns(&self, connection: ConnectionId) -> bool {
        self.connection() == Some(connection)
    }

    pub(crate) fn submit(
        &mut self,
        now: Now,
        io: &mut Io<'_>,
        pending: Pending,
        request: KeeperRequest,
    ) {
        if let Link::Up(connection) = self.link {
            self.pending.push_back(pending);
            self.send(now, connection, request, io);
        } else {
            self.queued.push_back((pending, request));
        }
    }

    fn send(
        &mut self,
        now: Now,
        connection: ConnectionId,
        request: KeeperRequest,
        io: &mut Io<'_>,
    ) {
        self.last_sent = now.mono;
        io.send(connection, Message::KeeperRequest(Box::new(request)));
    }

    pub(crate) fn dial_next(&mut self, now: Now, io: &mut Io<'_>) {
        let (server, spin) = self.hosts.next();
        let jitter = if self.first_dial {
            Span::ZERO
        } else {
            self.draws += 1;
            Span::millis(draw(self.seed, self.draws) % RECONNECT_JITTER_MS)
        };
        self.first_dial = false;
        let wait = spin + jitter;
        if wait == Span::ZERO {
            self.dial(now, server, io);
        } else {
            self.link = Link::Waiting(server);
            io.set_timer(self.timer, now.mono + wait);
        }
    }

    fn dial(&mut self, now: Now, server: Endpoint, io: &mut Io<'_>) {
        self.link = Link::Dialling(io.connect(server));
        self.last_heard = now.mono;
        io.set_timer(self.timer, now.mono + self.connect_timeout());
    }

    fn connect_timeout(&self) -> Span {
        Span(self.timeout.0 / self.hosts.count())
    }

    fn read_timeout(&self) -> Span {
        Span(self.timeout.0 / 3 * 2)
    }

    fn ping_after(&self) -> Span {
        Span(self.read_timeout().0 / 2).min(LONGEST_SILENCE)
    }

    pub(crate) fn prime(&mut self, now: Now, connection: ConnectionId, io: &mut Io<'_>) {
        self.link = Link::Priming(connection);
        self.last_heard = now.mono;
        let connect = KeeperRequest::Connect {
            last_zxid_seen: self.last_zxid,
            timeout: self.wanted_timeout,
            session: self.session,
            password: self.password,
        };
        self.send(now, connection, connect, io);
        io.set_timer(self.timer, now.mono + self.connect_timeout());
    }

    pub(crate) fn ring(&mut self, now: Now, io: &mut Io<'_>) {
        match self.link.clone() {
            Link::None => {}
            Link::Waiting(server) => self.dial(now, server, io),
            Link::Dialling(connection) | Link::Priming(connection) => {
                io.close(connection);
                self.link = Link::None;
                self.lose(now, io);
            }
            Link::Up(connection) => {
                if now.mono.since(self.last_heard) >= self.read_timeout() {
                    io.close(connection);
                    self.link = Link::None;
                    self.lose(now, io);
                    return;
                }
                if now.mono.since(self.last_sent) >= self.ping_after() {
                    self.send(now, connection, KeeperRequest::Ping, io);
                }
                self.watch_silence(io);
            }
        }
    }

    fn watch_silence(&self, io: &mut Io<'_>) {
        let ping = self.last_sent + self.ping_after();
        let silence = self.last_heard + self.read_timeout();
        io.set_timer(self.timer, ping.min(silence));
    }

    /// The connection is gone, or could not be made: everything under way has an unknown end, then the next server.
    pub(crate) fn lose(&mut self, now: Now, io: &mut Io<'_>) {
        let was_connected = self.state == KeeperState::Connected;
        if self.closing {
            self.end(io, KeeperError::ConnectionLoss);
            self.events.push_back(KeeperEvent::Closed);
            return;
        }
        self.fail_all(KeeperError::ConnectionLoss);
        self.state = KeeperState::Connecting;
        if was_connected {
            self.events.push_back(KeeperEvent::Disconnected);
        }
        self.dial_next(now, io);
    }

    pub(crate) fn drop_link(&mut self, io: &mut Io<'_>) {
        if let Some(connection) = self.connection() {
            io.close(connection);
        }
        self.link = Link::None;
        io.cancel_timer(self.timer);
    }

    pub(crate) fn end(&mut self, io: &mut Io<'_>, error: KeeperError) {
        self.drop_link(io);
        self.state = KeeperState::Closed;
        self.session = SessionId(0);
        self.fail_all(error);
    }

    pub(crate) fn fail_all(&mut self, error: KeeperError) {
        let unsent = std::mem::take(&mut self.queued);
        let sent = std::mem::take(&mut self.pending);
        for pending in sent
            .into_iter()
            .chain(unsent.into_iter().map(|(pending, _)| pending))
            .filter(|pending| !pending.closes)
        {
            self.answer(pending.xid, Zxid::ZERO, Err(failure(error)));
        }
    }

    pub(crate) fn answer(
        &mut self,
        xid: Xid,
        zxid: Zxid,
        result: Result<KeeperResult, KeeperFailure>,
    ) {
        self.events
            .push_back(KeeperEvent::Reply { xid, zxid, result });
    }

    pub(crate) fn receive(&mut self, now: Now, reply: &KeeperReply, io: &mut Io<'_>) {
        match reply {
            KeeperReply::Connected {
                timeout,
                session,
                password,
            } => self.session_answer(now, (*timeout, *session, *password), io),
            KeeperReply::Pong { .. } => {}
            KeeperReply::Event(event) => {
                if self.watches.fire(event) {
                    self.events.push_back(KeeperEvent::Watch(event.clone()));
                }
            }
            KeeperReply::Reply { xid, zxid, result } => {
                self.last_zxid = self.last_zxid.max(*zxid);
                if *xid != SET_WATCHES_XID {
                    self.reply(now, (*xid, *zxid), result.clone(), io);
                }
            }
        }
    }

    fn session_answer(
        &mut self,
        now: Now,
        (timeout, session, password): (Span, SessionId, u64),
        io: &mut Io<'_>,
    ) {
        let Link::Priming(connection) = self.link else {
            return;
        };
        if timeout == Span::ZERO {
            self.events.push_back(KeeperEvent::Expired);
            self.end(io, KeeperError::SessionExpired);
            return;
        }
        let new = self.session != session;
        self.link = Link::Up(connection);
        self.state = KeeperState::Connected;
        self.hosts.connected();
        self.timeout = timeout;
        self.session = session;
        self.password = password;
        self.events
            .push_back(KeeperEvent::Connected { session, new });
        if let Some(renewal) = self.watches.renewal(self.last_zxid) {
            self.send(now, connection, renewal, io);
        }
        while let Some((pending, request)) = self.queued.pop_front() {
            self.pending.push_back(pending);
            self.send(now, connection, request, io);
        }
        self.watch_silence(io);
    }

    fn reply(
        &mut self,
        now: Now,
        (xid, zxid): (Xid, Zxid),
        result: Result<KeeperResult, KeeperFailure>,
        io: &mut Io<'_>,
    ) {
        match self.pending.pop_front() {
            Some(pending) if pending.xid == xid && pending.closes => {
                self.end(io, KeeperError::SessionExpired);
                self.events.push_back(KeeperEvent::Closed);
            }
            Some(pending) if pending.xid == xid => {
                if let Some(wish) = pending.wish {
                    self.watches.register(wish, &result);
                }
                self.answer(xid, zxid, result);
            }
            unexpected => {
                // `Xid out of order`: ClientCnxn gives the connection up.
                self.pending.extend(unexpected);
                if let Some(connection) = self.connection() {
                    io.close(connection);
                }
                self.link = Link::None;
                self.lose(now, io);
            }
        }
    }
}

pub(crate) fn failure(error: KeeperError) -> KeeperFailure {
    KeeperFailure {
        error,
        multi: Vec::new(),
    }
}
