//! The broker's one session with the keeper ensemble, shared by all its parts.
//!
//! Stands for `ZooKeeperClient` and the retrying half of `KafkaZkClient`. A part submits an operation and gets a
//! [`Ticket`]; the answer comes back with the owner's name on [`Lane::KeeperCallback`], in one queue with watches and
//! session events, as ZooKeeper's event thread delivers them. An operation whose connection broke is sent again when there
//! is a connection (`retryRequestsUntilConnected`): the first try may have been done, so that a retried create can find its
//! own node and a retried conditional write its own version. Owners must expect that. Before KAFKA-5642 the client was
//! zkclient, which opens a new session by itself and repeats there what the old one left undone. Left out:
//! `zookeeper.max.in.flight.requests`, which changes times only.

use keeper_client::{KeeperClient, KeeperEvent};
use protocol::error_code::KeeperError;
use protocol::ids::{Endpoint, SessionId, Xid};
use protocol::keeper::{CreateMode, KeeperFailure, KeeperOp, KeeperResult, Path, WatchEvent};
use protocol::machine::{Input, Io, Lane};
use protocol::time::{Now, Span};
use std::collections::{BTreeMap, VecDeque};

use crate::timer::TimerOwner;
use bytes::Bytes;

/// The part of a broker that asked.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum KeeperOwner {
    /// The controller's event thread.
    Controller,
    /// The broker's registration.
    Registration,
    /// The writer of in-sync replicas.
    Isr,
    /// Topic administration.
    Admin,
    /// Producer ids.
    ProducerIds,
    /// The watcher of topic and broker settings.
    Configs,
}

/// Names an operation under way.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Ticket(pub u64);

/// The answer to an operation; never `CONNECTIONLOSS`.
pub type Answer = Result<KeeperResult, KeeperFailure>;

/// What ZooKeeper's event thread would call back with.
#[derive(Clone, Debug, PartialEq)]
pub enum KeeperNews {
    /// An operation was answered.
    Reply {
        /// Who asked.
        owner: KeeperOwner,
        /// What for.
        ticket: Ticket,
        /// The answer.
        answer: Answer,
    },
    /// A watch fired.
    Watch(WatchEvent),
    /// A server serves the session.
    Connected {
        /// The session.
        session: SessionId,
        /// It was opened just now.
        new: bool,
    },
    /// No server serves the session.
    Disconnected,
    /// The session is over. Nothing more works until [`Keeper::restart_session`].
    Expired,
    /// The session was closed as asked.
    Closed,
}

#[derive(Clone, Debug)]
struct Outstanding {
    owner: KeeperOwner,
    ticket: Ticket,
    op: KeeperOp,
}

/// The session.
#[derive(Clone, Debug)]
pub struct Keeper {
    client: KeeperClient,
    next_ticket: u64,
    outstanding: BTreeMap<Xid, Outstanding>,
    /// Lost with their connection, to be sent again in this order.
    lost: VecDeque<Outstanding>,
    news: VecDeque<KeeperNews>,
    expired: bool,
    /// An expired session is followed by a new one at once, without asking anybody.
    reopens: bool,
}

impl Keeper {
    /// A session with one of `servers`; `seed` shuffles them.
    pub fn new(servers: Vec<Endpoint>, session_timeout: Span, seed: u64) -> Self {
        let timer = TimerOwner::Keeper.timer(0);
        Self {
            client: KeeperClient::new(servers, session_timeout, seed, timer),
            next_ticket: 1,
            outstanding: BTreeMap::new(),
            lost: VecDeque::new(),
            news: VecDeque::new(),
            expired: false,
            reopens: false,
        }
    }

    /// The same with zkclient's way to follow an expired session by a new one.
    #[must_use]
    pub fn reopening(self, reopens: bool) -> Self {
        Self { reopens, ..self }
    }

    /// Whether a new session opens by itself; else after [`Keeper::restart_session`].
    pub fn reopens(&self) -> bool {
        self.reopens
    }

    /// Looks for a server.
    pub fn start(&mut self, now: Now, io: &mut Io<'_>) {
        self.client.start(now, io);
        self.drain(now, io);
    }

    /// Takes an input; `false` when it is not about this session.
    pub fn handle(&mut self, now: Now, input: &Input, io: &mut Io<'_>) -> bool {
        let mine = self.client.handle(now, input, io);
        if mine {
            self.drain(now, io);
        }
        mine
    }

    /// Submits an operation. Its answer is a [`KeeperNews::Reply`] with this ticket, exactly one.
    pub fn submit(
        &mut self,
        now: Now,
        io: &mut Io<'_>,
        owner: KeeperOwner,
        op: KeeperOp,
    ) -> Ticket {
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        self.send(now, io, Outstanding { owner, ticket, op });
        ticket
    }

    /// What the callback thread does next: call once per `Due` of [`Lane::KeeperCallback`].
    pub fn next_news(&mut self) -> Option<KeeperNews> {
        self.news.pop_front()
    }

    /// The session, when there is one.
    pub fn session(&self) -> Option<SessionId> {
        self.client.session()
    }

    /// The time-out in force.
    pub fn session_timeout(&self) -> Span {
        self.client.session_timeout()
    }

    /// Whether a server serves the session now.
    pub fn is_connected(&self) -> bool {
        self.client.is_connected()
    }

    /// Opens a new session after the old one expired.
    pub fn restart_session(&mut self, now: Now, io: &mut Io<'_>) {
        self.expired = false;
        self.client.restart_session(now, io);
        self.drain(now, io);
    }

    /// Closes the session, so that its ephemeral znodes go at once.
    pub fn close(&mut self, now: Now, io: &mut Io<'_>) {
        self.client.close(now, io);
        self.drain(now, io);
    }

    fn send(&mut self, now: Now, io: &mut Io<'_>, outstanding: Outstanding) {
        if self.expired {
            // `waitUntilConnected` throws ZooKeeperClientExpiredException.
            self.fail(io, &outstanding);
            return;
        }
        let xid = self.client.request(now, io, outstanding.op.clone());
        self.outstanding.insert(xid, outstanding);
        self.drain(now, io);
    }

    fn fail(&mut self, io: &mut Io<'_>, outstanding: &Outstanding) {
        let failure = KeeperFailure {
            error: KeeperError::SessionExpired,
            multi: Vec::new(),
        };
        self.tell(io, reply(outstanding, Err(failure)));
    }

    fn tell(&mut self, io: &mut Io<'_>, news: KeeperNews) {
        self.news.push_back(news);
        io.queue(Lane::KeeperCallback);
    }

    fn drain(&mut self, now: Now, io: &mut Io<'_>) {
        while let Some(event) = self.client.next_event() {
            match event {
                KeeperEvent::Connected { session, new } => {
                    self.tell(io, KeeperNews::Connected { session, new });
                    for outstanding in std::mem::take(&mut self.lost) {
                        self.send(now, io, outstanding);
                    }
                }
                KeeperEvent::Disconnected => self.tell(io, KeeperNews::Disconnected),
                KeeperEvent::Expired if self.reopens => {
                    self.client.restart_session(now, io);
                    self.tell(io, KeeperNews::Expired);
                }
                KeeperEvent::Expired => {
                    self.expired = true;
                    for outstanding in std::mem::take(&mut self.lost) {
                        self.fail(io, &outstanding);
                    }
                    self.tell(io, KeeperNews::Expired);
                }
                KeeperEvent::Reply { xid, result, .. } => self.replied(io, xid, result),
                KeeperEvent::Watch(event) => self.tell(io, KeeperNews::Watch(event)),
                KeeperEvent::Closed => {
                    for outstanding in std::mem::take(&mut self.lost) {
                        self.fail(io, &outstanding);
                    }
                    self.tell(io, KeeperNews::Closed);
                }
            }
        }
    }

    fn replied(&mut self, io: &mut Io<'_>, xid: Xid, answer: Answer) {
        let Some(outstanding) = self.outstanding.remove(&xid) else {
            return;
        };
        match answer {
            Err(failure) if failure.error == KeeperError::ConnectionLoss => {
                self.lost.push_back(outstanding);
            }
            // `ZkClient.retryUntilConnected` makes no difference between the two.
            Err(failure) if self.reopens && failure.error == KeeperError::SessionExpired => {
                self.lost.push_back(outstanding);
            }
            Ok(_) | Err(_) => self.tell(io, reply(&outstanding, answer)),
        }
    }
}

fn reply(outstanding: &Outstanding, answer: Answer) -> KeeperNews {
    KeeperNews::Reply {
        owner: outstanding.owner,
        ticket: outstanding.ticket,
        answer,
    }
}

/// `getData` with or without a watch.
pub fn get_data(path: impl Into<Path>, watch: bool) -> KeeperOp {
    KeeperOp::GetData {
        path: path.into(),
        watch,
    }
}

/// `getChildren` with or without a watch.
pub fn get_children(path: impl Into<Path>, watch: bool) -> KeeperOp {
    KeeperOp::GetChildren {
        path: path.into(),
        watch,
    }
}

/// `exists` with or without a watch.
pub fn exists(path: impl Into<Path>, watch: bool) -> KeeperOp {
    KeeperOp::Exists {
        path: path.into(),
        watch,
    }
}

/// `create` of a persistent znode.
pub fn create(path: impl Into<Path>, data: Bytes) -> KeeperOp {
    KeeperOp::Create {
        path: path.into(),
        data,
        mode: CreateMode::Persistent,
    }
}

/// `create` of a persistent znode whose name ends in a number that the keeper gives.
pub fn create_sequential(prefix: impl Into<Path>, data: Bytes) -> KeeperOp {
    KeeperOp::Create {
        path: prefix.into(),
        data,
        mode: CreateMode::PersistentSequential,
    }
}

/// `setData` over a version; −1 for any.
pub fn set_data(path: impl Into<Path>, data: Bytes, version: i32) -> KeeperOp {
    KeeperOp::SetData {
        path: path.into(),
        data,
        version,
    }
}

/// `delete` of any version.
pub fn delete(path: impl Into<Path>) -> KeeperOp {
    KeeperOp::Delete {
        path: path.into(),
        version: -1,
    }
}

/// Only the error of an answer.
pub fn error_of(answer: &Answer) -> Option<KeeperError> {
    answer.as_ref().err().map(|failure| failure.error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{KEEPER, World};
    use protocol::machine::Machine;

    /// A session and what it told.
    #[derive(Clone)]
    struct Client {
        keeper: Keeper,
        told: Vec<KeeperNews>,
    }

    impl Machine for Client {
        fn handle(&mut self, now: Now, input: Input, io: &mut Io<'_>) {
            if let Input::Started = input {
                self.keeper.start(now, io);
            } else if !self.keeper.handle(now, &input, io) {
                self.told.extend(self.keeper.next_news());
            }
        }
    }

    fn world() -> World<Client> {
        let mut world = World::new();
        let servers = vec![Endpoint::new(KEEPER, 2181)];
        let keeper = Keeper::new(servers, Span::secs(6), 1);
        let told = Vec::new();
        world.start("b1", Client { keeper, told });
        world
    }

    fn submit(world: &mut World<Client>, op: &KeeperOp) {
        world.with("b1", |client, now, io| {
            client
                .keeper
                .submit(now, io, KeeperOwner::Admin, op.clone());
        });
    }

    fn errors(world: &World<Client>) -> Vec<Option<KeeperError>> {
        let told = world.nodes["b1"].told.iter();
        told.filter_map(|news| match news {
            KeeperNews::Reply { answer, .. } => Some(error_of(answer)),
            KeeperNews::Watch(_)
            | KeeperNews::Connected { .. }
            | KeeperNews::Disconnected
            | KeeperNews::Expired
            | KeeperNews::Closed => None,
        })
        .collect()
    }

    #[test]
    fn an_operation_that_lost_its_connection_is_sent_again_and_may_find_itself_done() {
        let mut world = world();
        world.keeper.lose_next_reply();
        submit(&mut world, &create("/a", Bytes::new()));
        assert_eq!(errors(&world), []);
        world.pass(Span::secs(3));
        assert_eq!(errors(&world), [Some(KeeperError::NodeExists)]);
    }

    #[test]
    fn after_expiry_everything_fails_until_the_session_is_opened_again() {
        let mut world = world();
        let session = world.nodes["b1"].keeper.session().unwrap();
        world.expire(session);
        world.pass(Span::secs(3));
        assert!(world.nodes["b1"].told.contains(&KeeperNews::Expired));
        submit(&mut world, &create("/a", Bytes::new()));
        assert_eq!(errors(&world), [Some(KeeperError::SessionExpired)]);
        world.with("b1", |client, now, io| {
            client.keeper.restart_session(now, io);
        });
        submit(&mut world, &create("/a", Bytes::new()));
        assert_eq!(errors(&world), [Some(KeeperError::SessionExpired), None]);
    }

    /// An operation is on its way when the session ends; what came of it, and whether it was told of the end.
    fn overtaken_by_expiry(reopens: bool) -> (Vec<Option<KeeperError>>, bool) {
        let mut world = world();
        world.with("b1", |client, _, _| {
            client.keeper = client.keeper.clone().reopening(reopens);
        });
        let session = world.nodes["b1"].keeper.session().unwrap();
        world.keeper.lose_next_reply();
        submit(&mut world, &get_data("/", false));
        world.expire(session);
        world.pass(Span::secs(5));
        let told = world.nodes["b1"].told.contains(&KeeperNews::Expired);
        (errors(&world), told)
    }

    #[test]
    fn before_kafka_5642_a_new_session_opens_by_itself_and_repeats_what_was_on_its_way() {
        let answered = Some(KeeperError::NoNode);
        assert_eq!(overtaken_by_expiry(true), (vec![answered], true));
        let expired = Some(KeeperError::SessionExpired);
        assert_eq!(overtaken_by_expiry(false), (vec![expired], true));
    }
}
