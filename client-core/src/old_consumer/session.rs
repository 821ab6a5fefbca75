//! The consumer's session with the keeper ensemble, as the zkclient library keeps it (`org.I0Itec.zkclient.ZkClient`).
//!
//! An operation is tried until it succeeds or fails for a reason of its own (`retryUntilConnected`): after a lost
//! connection, and in the next session after this one expired. So a create can find its own node, and a delete that was
//! meant in one session can hit a node that somebody made since. A new session opens by itself.

use keeper_client::{KeeperClient, KeeperEvent};
use protocol::error_code::KeeperError;
use protocol::ids::{Endpoint, SessionId, Xid};
use protocol::keeper::{KeeperFailure, KeeperOp, KeeperResult, WatchEvent};
use protocol::machine::{Input, Io, TimerId};
use protocol::time::{Now, Span};
use std::collections::{BTreeMap, VecDeque};

/// The timer of the keeper session; the consumer's own is 0.
const TIMER: TimerId = TimerId(1);

/// A thread of the consumer that waits for the keepers, one operation at a time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Thread {
    /// The application's, inside `createMessageStreams`.
    Application,
    /// zkclient's event thread.
    Event,
    /// Whoever holds the rebalance lock.
    Rebalance,
    /// Whoever holds the lock of the offsets channel.
    Offsets,
    /// The leader finder.
    Finder,
}

/// The answer to an operation; never that a connection or session was lost.
pub(super) type Answer = Result<KeeperResult, KeeperFailure>;

/// What zkclient tells.
#[derive(Clone, Debug)]
pub(super) enum News {
    /// An operation was answered.
    Reply(Thread, Answer),
    /// A watch fired.
    Watch(WatchEvent),
    /// A session was opened.
    Opened(SessionId),
    /// The session was closed as asked.
    Closed,
}

/// The session.
#[derive(Clone, Debug)]
pub(super) struct Session {
    client: KeeperClient,
    outstanding: BTreeMap<Xid, (Thread, KeeperOp)>,
    /// Lost with their connection or session, to be sent again in this order.
    lost: VecDeque<(Thread, KeeperOp)>,
    news: VecDeque<News>,
}

impl Session {
    pub(super) fn new(servers: Vec<Endpoint>, timeout: Span, seed: u64) -> Self {
        Self {
            client: KeeperClient::new(servers, timeout, seed, TIMER),
            outstanding: BTreeMap::new(),
            lost: VecDeque::new(),
            news: VecDeque::new(),
        }
    }

    pub(super) fn start(&mut self, now: Now, io: &mut Io<'_>) {
        self.client.start(now, io);
        self.drain(now, io);
    }

    /// Takes an input; `false` when it is not about this session.
    pub(super) fn handle(&mut self, now: Now, input: &Input, io: &mut Io<'_>) -> bool {
        let mine = self.client.handle(now, input, io);
        if mine {
            self.drain(now, io);
        }
        mine
    }

    pub(super) fn request(&mut self, now: Now, thread: Thread, op: KeeperOp, io: &mut Io<'_>) {
        let xid = self.client.request(now, io, op.clone());
        self.outstanding.insert(xid, (thread, op));
        self.drain(now, io);
    }

    /// The thread was interrupted in a call: nobody waits for its answer.
    pub(super) fn interrupt(&mut self, thread: Thread) {
        self.outstanding
            .retain(|_, (waiting, _)| *waiting != thread);
        self.lost.retain(|(waiting, _)| *waiting != thread);
        let is_for = |news: &News| matches!(news, News::Reply(waiting, _) if *waiting == thread);
        self.news.retain(|news| !is_for(news));
    }

    pub(super) fn close(&mut self, now: Now, io: &mut Io<'_>) {
        self.client.close(now, io);
        self.drain(now, io);
    }

    pub(super) fn next_news(&mut self) -> Option<News> {
        self.news.pop_front()
    }

    pub(super) fn id(&self) -> Option<SessionId> {
        self.client.session()
    }

    fn drain(&mut self, now: Now, io: &mut Io<'_>) {
        while let Some(event) = self.client.next_event() {
            match event {
                KeeperEvent::Connected { session, new } => {
                    if new {
                        self.news.push_back(News::Opened(session));
                    }
                    for (thread, op) in std::mem::take(&mut self.lost) {
                        self.request(now, thread, op, io);
                    }
                }
                KeeperEvent::Disconnected => {}
                KeeperEvent::Expired => self.client.restart_session(now, io),
                KeeperEvent::Reply { xid, result, .. } => self.replied(xid, result),
                KeeperEvent::Watch(event) => self.news.push_back(News::Watch(event)),
                KeeperEvent::Closed => self.news.push_back(News::Closed),
            }
        }
    }

    fn replied(&mut self, xid: Xid, answer: Answer) {
        let Some((thread, op)) = self.outstanding.remove(&xid) else {
            return;
        };
        let is_lost = answer.as_ref().err().is_some_and(|failure| {
            matches!(
                failure.error,
                KeeperError::ConnectionLoss | KeeperError::SessionExpired
            )
        });
        if is_lost {
            self.lost.push_back((thread, op));
        } else {
            self.news.push_back(News::Reply(thread, answer));
        }
    }
}
