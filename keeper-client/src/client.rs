//! The client's state machine (`ClientCnxn.SendThread` and `EventThread` of ZooKeeper 3.4 and 3.5).
//!
//! One timer serves all three waits (before a dial, for a connection, for silence): they exclude each other. It is lazy: a
//! ring looks at what was last sent and heard and sets itself to the next moment that matters, so that traffic costs no
//! timer operations.

use crate::hosts::{Hosts, draw};
use crate::watches::{Watches, Wish};
use protocol::error_code::KeeperError;
use protocol::ids::{Endpoint, SessionId, Xid, Zxid};
use protocol::keeper::{
    KeeperFailure, KeeperOp, KeeperReply, KeeperRequest, KeeperResult, WatchEvent,
};
use protocol::machine::{ConnectionId, Input, Io, TimerId};
use protocol::message::Message;
use protocol::time::{Mono, Now, Span};
use std::collections::VecDeque;

/// `MAX_SEND_PING_INTERVAL`: a client is never silent for longer, whatever its session time-out.
const LONGEST_SILENCE: Span = Span::secs(10);

/// `startConnect` sleeps a random part of this before every dial but the first.
const RECONNECT_JITTER_MS: u64 = 1000;

/// The xid of `SetWatches`, which no caller waits for.
const SET_WATCHES_XID: Xid = Xid(-8);

/// What the client tells its owner, in ZooKeeper's order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum KeeperEvent {
    /// The session stands: `SyncConnected`.
    Connected {
        /// The session.
        session: SessionId,
        /// Whether it was opened just now, rather than taken up again.
        new: bool,
    },
    /// The connection is gone; the session may live on. Told once per connection lost.
    Disconnected,
    /// A server said that the session is over. Nothing more comes until [`KeeperClient::restart_session`].
    Expired,
    /// The answer to a request. `CONNECTIONLOSS` means that it may have been done; `SESSIONEXPIRED` comes for requests
    /// made when the session was over.
    Reply {
        /// Which request.
        xid: Xid,
        /// The last transaction the server had applied; zero for an answer the client made up.
        zxid: Zxid,
        /// The answer.
        result: Result<KeeperResult, KeeperFailure>,
    },
    /// A watch fired.
    Watch(WatchEvent),
    /// [`KeeperClient::close`] is through: by a server's answer, or because the connection is gone.
    Closed,
}

/// What the client is doing (`ZooKeeper.States`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KeeperState {
    /// Not started.
    New,
    /// Looking for a server.
    Connecting,
    /// The session is served.
    Connected,
    /// The session expired or was closed.
    Closed,
}

#[derive(Clone, Debug)]
enum Link {
    /// Not started, expired or closed.
    None,
    /// Waiting for the timer to dial.
    Waiting(Endpoint),
    /// Dialling.
    Dialling(ConnectionId),
    /// The connection stands, the server has not answered `Connect` yet.
    Priming(ConnectionId),
    /// Serving.
    Up(ConnectionId),
}

/// A request whose answer is due.
#[derive(Clone, Debug)]
struct Pending {
    xid: Xid,
    wish: Option<Wish>,
    closes: bool,
}

/// A keeper session. `Clone` is cheap in proportion to the requests under way and watches left.
#[derive(Clone, Debug)]
pub struct KeeperClient {
    servers: Vec<Endpoint>,
    hosts: Hosts,
    wanted_timeout: Span,
    timeout: Span,
    timer: TimerId,
    seed: u64,
    draws: u64,
    link: Link,
    state: KeeperState,
    session: SessionId,
    password: u64,
    first_dial: bool,
    closing: bool,
    last_zxid: Zxid,
    last_xid: Xid,
    last_sent: Mono,
    last_heard: Mono,
    queued: VecDeque<(Pending, KeeperRequest)>,
    pending: VecDeque<Pending>,
    watches: Watches,
    events: VecDeque<KeeperEvent>,
}

impl KeeperClient {
    /// A client of `servers` (their client ports). `seed` shuffles them and spreads reconnects; `timer` is a timer name of
    /// the owner that only this client uses.
    pub fn new(servers: Vec<Endpoint>, session_timeout: Span, seed: u64, timer: TimerId) -> Self {
        Self {
            hosts: Hosts::new(servers.clone(), seed),
            servers,
            wanted_timeout: session_timeout,
            timeout: session_timeout,
            timer,
            seed,
            draws: 0,
            link: Link::None,
            state: KeeperState::New,
            session: SessionId(0),
            password: 0,
            first_dial: true,
            closing: false,
            last_zxid: Zxid::ZERO,
            last_xid: Xid(0),
            last_sent: Mono(0),
            last_heard: Mono(0),
            queued: VecDeque::new(),
            pending: VecDeque::new(),
            watches: Watches::default(),
            events: VecDeque::new(),
        }
    }

    /// Begins to look for a server. Requests may be made before.
    pub fn start(&mut self, now: Now, io: &mut Io<'_>) {
        if self.state == KeeperState::New {
            self.state = KeeperState::Connecting;
            self.dial_next(now, io);
        }
    }

    /// What the client is doing.
    pub fn state(&self) -> KeeperState {
        self.state
    }

    /// Whether a server serves the session now.
    pub fn is_connected(&self) -> bool {
        self.state == KeeperState::Connected
    }

    /// The session; none before the first connection and after expiry.
    pub fn session(&self) -> Option<SessionId> {
        (self.session != SessionId(0)).then_some(self.session)
    }

    /// The session time-out: wanted, or granted once connected.
    pub fn session_timeout(&self) -> Span {
        self.timeout
    }

    /// The newest transaction that replies have shown.
    pub fn last_zxid(&self) -> Zxid {
        self.last_zxid
    }

    /// How many requests have no answer yet.
    pub fn outstanding(&self) -> usize {
        self.queued.len() + self.pending.len()
    }

    /// Takes the next event.
    pub fn next_event(&mut self) -> Option<KeeperEvent> {
        self.events.pop_front()
    }

    /// Sends an operation, or keeps it until a server is found. Exactly one [`KeeperEvent::Reply`] answers it.
    pub fn request(&mut self, now: Now, io: &mut Io<'_>, op: KeeperOp) -> Xid {
        let xid = self.next_xid();
        let pending = Pending {
            xid,
            wish: Wish::of(&op),
            closes: false,
        };
        if self.state == KeeperState::Closed || self.closing {
            self.answer(xid, Zxid::ZERO, Err(failure(KeeperError::SessionExpired)));
        } else {
            self.submit(now, io, pending, KeeperRequest::Op { xid, op });
        }
        xid
    }

    /// Ends the session in good order (`ZooKeeper.close`); [`KeeperEvent::Closed`] follows. Without a connection nothing is
    /// sent, and the session lives until it expires.
    pub fn close(&mut self, now: Now, io: &mut Io<'_>) {
        if self.state == KeeperState::Closed || self.closing {
            return;
        }
        self.closing = true;
        if self.state == KeeperState::Connected {
            let xid = self.next_xid();
            let pending = Pending {
                xid,
                wish: None,
                closes: true,
            };
            self.submit(now, io, pending, KeeperRequest::CloseSession { xid });
        } else {
            self.end(io, KeeperError::SessionExpired);
            self.events.push_back(KeeperEvent::Closed);
        }
    }

    /// A new session after [`KeeperEvent::Expired`] (Kafka's `ZooKeeperClient.reinitialize`): no watches, no history.
    pub fn restart_session(&mut self, now: Now, io: &mut Io<'_>) {
        self.drop_link(io);
        self.fail_all(KeeperError::SessionExpired);
        self.draws += 1;
        self.hosts = Hosts::new(self.servers.clone(), draw(self.seed, self.draws));
        self.timeout = self.wanted_timeout;
        self.session = SessionId(0);
        self.password = 0;
        self.last_zxid = Zxid::ZERO;
        self.watches = Watches::default();
        self.first_dial = true;
        self.closing = false;
        self.state = KeeperState::Connecting;
        self.dial_next(now, io);
    }

    /// Takes an input if it is this client's; whether it was.
    pub fn handle(&mut self, now: Now, input: &Input, io: &mut Io<'_>) -> bool {
        match input {
            Input::Timer { timer } if *timer == self.timer => self.ring(now, io),
            Input::Opened { connection } if self.owns(*connection) => {
                self.prime(now, *connection, io);
            }
            Input::Refused { connection } | Input::Closed { connection, .. }
                if self.owns(*connection) =>
            {
                self.link = Link::None;
                self.lose(now, io);
            }
            Input::Received {
                connection,
                message: Message::KeeperReply(reply),
            } if self.owns(*connection) => {
                self.last_heard = now.mono;
                self.receive(now, reply, io);
            }
            Input::Started
            | Input::Opened { .. }
            | Input::Accepted { .. }
            | Input::Refused { .. }
            | Input::Closed { .. }
            | Input::Received { .. }
            | Input::Timer { .. }
            | Input::Flushed { .. }
            | Input::Due { .. }
            | Input::Verb { .. }
            | Input::Stop => return false,
        }
        true
    }

    fn connection(&self) -> Option<ConnectionId> {
        match self.link {
            Link::Dialling(connection) | Link::Priming(connection) | Link::Up(connection) => {
                Some(connection)
            }
            Link::None | Link::Waiting(_) => None,
        }
    }

    fn owns(&self, connection: ConnectionId) -> bool {
        self.connection() == Some(connection)
    }

    fn next_xid(&mut self) -> Xid {
        self.last_xid = Xid(self.last_xid.0.wrapping_add(1).max(1));
        self.last_xid
    }

    fn submit(&mut self, now: Now, io: &mut Io<'_>, pending: Pending, request: KeeperRequest) {
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

    fn dial_next(&mut self, now: Now, io: &mut Io<'_>) {
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

    fn prime(&mut self, now: Now, connection: ConnectionId, io: &mut Io<'_>) {
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

    fn ring(&mut self, now: Now, io: &mut Io<'_>) {
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
    fn lose(&mut self, now: Now, io: &mut Io<'_>) {
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

    fn drop_link(&mut self, io: &mut Io<'_>) {
        if let Some(connection) = self.connection() {
            io.close(connection);
        }
        self.link = Link::None;
        io.cancel_timer(self.timer);
    }

    fn end(&mut self, io: &mut Io<'_>, error: KeeperError) {
        self.drop_link(io);
        self.state = KeeperState::Closed;
        self.session = SessionId(0);
        self.fail_all(error);
    }

    fn fail_all(&mut self, error: KeeperError) {
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

    fn answer(&mut self, xid: Xid, zxid: Zxid, result: Result<KeeperResult, KeeperFailure>) {
        self.events
            .push_back(KeeperEvent::Reply { xid, zxid, result });
    }

    fn receive(&mut self, now: Now, reply: &KeeperReply, io: &mut Io<'_>) {
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

fn failure(error: KeeperError) -> KeeperFailure {
    KeeperFailure {
        error,
        multi: Vec::new(),
    }
}
