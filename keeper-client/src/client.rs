//! The client's state machine (`ClientCnxn.SendThread` and `EventThread` of ZooKeeper 3.4 and 3.5).
//!
//! One timer serves all three waits (before a dial, for a connection, for silence): they exclude each other. It is lazy: a
//! ring looks at what was last sent and heard and sets itself to the next moment that matters, so that traffic costs no
//! timer operations.

use crate::connection::failure;
use crate::hosts::{Hosts, draw};
use crate::watches::{Watches, Wish};
use protocol::error_code::KeeperError;
use protocol::ids::{Endpoint, SessionId, Xid, Zxid};
use protocol::keeper::{KeeperFailure, KeeperOp, KeeperRequest, KeeperResult, WatchEvent};
use protocol::machine::{ConnectionId, Input, Io, TimerId};
use protocol::message::Message;
use protocol::time::{Mono, Now, Span};
use std::collections::VecDeque;

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
pub(crate) enum Link {
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
pub(crate) struct Pending {
    pub(crate) xid: Xid,
    pub(crate) wish: Option<Wish>,
    pub(crate) closes: bool,
}

/// A keeper session. `Clone` is cheap in proportion to the requests under way and watches left.
#[derive(Clone, Debug)]
pub struct KeeperClient {
    pub(crate) servers: Vec<Endpoint>,
    pub(crate) hosts: Hosts,
    pub(crate) wanted_timeout: Span,
    pub(crate) timeout: Span,
    pub(crate) timer: TimerId,
    pub(crate) seed: u64,
    pub(crate) draws: u64,
    pub(crate) link: Link,
    pub(crate) state: KeeperState,
    pub(crate) session: SessionId,
    pub(crate) password: u64,
    pub(crate) first_dial: bool,
    pub(crate) closing: bool,
    pub(crate) last_zxid: Zxid,
    pub(crate) last_xid: Xid,
    pub(crate) last_sent: Mono,
    pub(crate) last_heard: Mono,
    pub(crate) queued: VecDeque<(Pending, KeeperRequest)>,
    pub(crate) pending: VecDeque<Pending>,
    pub(crate) watches: Watches,
    pub(crate) events: VecDeque<KeeperEvent>,
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

    fn next_xid(&mut self) -> Xid {
        self.last_xid = Xid(self.last_xid.0.wrapping_add(1).max(1));
        self.last_xid
    }
}
