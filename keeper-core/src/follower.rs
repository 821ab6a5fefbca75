//! The follower (`Learner`, `Follower`, and the processors of `FollowerZooKeeperServer`).
//!
//! It registers with the leader, accepts the epoch, takes over the leader's history, keeps it on disk before it says so,
//! and serves once the leader has a majority. Then it logs proposals, acknowledges what is flushed, applies what is
//! committed, and passes on what only the leader can answer.
//! Before ZOOKEEPER-3911 it acknowledged the new leader with the transactions of the synchronisation only in memory.

use crate::leader::init_limit;
use crate::service::{Service, Submission};
use crate::spec::QUORUM_PORT;
use crate::step::Step;
use crate::timers;
use crate::txn::Transaction;
use bytes::Bytes;
use protocol::behaviour::Fix;
use protocol::ids::{Endpoint, KeeperId, SessionId, Zxid};
use protocol::keeper::{KeeperRequest, KeeperResult, KeeperRole, QuorumPacket};
use protocol::machine::ConnectionId;
use protocol::message::Message;
use protocol::note::{KeeperNote, Note};
use protocol::time::{Mono, Span};
use std::collections::{BTreeMap, VecDeque};

/// `connectToLeader` tries so often, a second apart.
const TRIES: u32 = 5;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    /// Waiting to dial again.
    Pausing,
    /// Dialling, or `FOLLOWERINFO` is sent.
    Registering,
    /// `ACKEPOCH` is sent.
    EpochAcked,
    /// The history is coming.
    Synchronising,
    /// `NEWLEADER` came; its acknowledgement waits for this flush.
    Persisting { barrier: u64, epoch: i32 },
    /// `NEWLEADER` is acknowledged.
    Confirmed,
    /// Serving.
    Serving,
}

/// What a follower knows.
#[derive(Clone, Debug)]
pub(crate) struct Following {
    leader: KeeperId,
    connection: Option<ConnectionId>,
    stage: Stage,
    tries: u32,
    last_heard: Mono,
    /// Logged, not applied.
    pending: VecDeque<Transaction>,
    /// How many at the end of `pending` are not in the log yet; only before ZOOKEEPER-3911.
    unlogged: usize,
    /// Committed as far as the leader said.
    committed: Zxid,
    to_ack: VecDeque<Zxid>,
    touched: BTreeMap<SessionId, Span>,
    /// The disk cannot be cut where the leader wants it: ask for everything.
    ask_for_all: bool,
    /// The leader is lost: an election is due.
    pub(crate) over: bool,
}

impl Following {
    /// Begins to follow.
    pub(crate) fn start(leader: KeeperId, service: &Service, step: &mut Step<'_, '_>) -> Self {
        let mut following = Self {
            leader,
            connection: None,
            stage: Stage::Pausing,
            tries: 0,
            last_heard: step.now.mono,
            pending: VecDeque::new(),
            unlogged: 0,
            committed: Zxid::ZERO,
            to_ack: VecDeque::new(),
            touched: BTreeMap::new(),
            ask_for_all: false,
            over: false,
        };
        following.dial(service, step);
        following
    }

    pub(crate) fn is_serving(&self) -> bool {
        self.stage == Stage::Serving
    }

    fn dial(&mut self, service: &Service, step: &mut Step<'_, '_>) {
        let Some(host) = service.spec.host(self.leader) else {
            self.over = true;
            return;
        };
        let to = Endpoint::new(host.clone(), QUORUM_PORT);
        self.connection = Some(step.io.connect(to));
        self.stage = Stage::Registering;
        self.tries += 1;
        self.last_heard = step.now.mono;
        step.ring_in(timers::ROLE, init_limit(service));
    }

    fn tell(&self, packet: QuorumPacket, step: &mut Step<'_, '_>) {
        if let Some(connection) = self.connection {
            step.io.send(connection, Message::Quorum(Box::new(packet)));
        }
    }

    /// The connection to the leader stands; whether it was this.
    pub(crate) fn opened(
        &mut self,
        connection: ConnectionId,
        service: &Service,
        step: &mut Step<'_, '_>,
    ) -> bool {
        if self.connection != Some(connection) {
            return false;
        }
        self.last_heard = step.now.mono;
        let packet = QuorumPacket::FollowerInfo {
            id: service.id(),
            accepted_epoch: service.store.accepted_epoch(),
        };
        self.tell(packet, step);
        true
    }

    /// The connection is gone or could not be made; whether it was this.
    pub(crate) fn closed(&mut self, connection: ConnectionId, step: &mut Step<'_, '_>) -> bool {
        if self.connection != Some(connection) {
            return false;
        }
        self.connection = None;
        if self.stage == Stage::Registering && self.tries < TRIES {
            self.stage = Stage::Pausing;
            step.ring_in(timers::ROLE, Span::secs(1));
        } else {
            self.over = true;
        }
        true
    }

    /// The role's timer: dial again, or see how long the leader has been silent.
    pub(crate) fn tick(&mut self, service: &Service, step: &mut Step<'_, '_>) {
        if self.stage == Stage::Pausing {
            self.dial(service, step);
            return;
        }
        let limit = self.patience(service);
        let deadline = self.last_heard + limit;
        if step.now.mono >= deadline {
            self.over = true;
        } else {
            step.io.set_timer(timers::ROLE, deadline);
        }
    }

    fn patience(&self, service: &Service) -> Span {
        if self.stage == Stage::Serving {
            let ticks = u64::try_from(service.spec.config.sync_limit).unwrap_or(1);
            service.spec.config.tick_time * ticks
        } else {
            init_limit(service)
        }
    }

    /// The role ends. What was logged stays in the database: it may yet be committed.
    pub(crate) fn shut_down(&mut self, service: &mut Service, step: &mut Step<'_, '_>) {
        if let Some(connection) = self.connection.take() {
            step.io.close(connection);
        }
        let logged = self.pending.len() - self.unlogged;
        for transaction in self.pending.drain(..).take(logged) {
            service.database.replay(&transaction);
        }
        step.io.cancel_timer(timers::ROLE);
    }

    /// A packet of the leader.
    pub(crate) fn receive(
        &mut self,
        connection: ConnectionId,
        packet: QuorumPacket,
        service: &mut Service,
        step: &mut Step<'_, '_>,
    ) {
        if self.connection != Some(connection) {
            return;
        }
        self.last_heard = step.now.mono;
        match (self.stage, packet) {
            (Stage::Registering, QuorumPacket::LeaderInfo { epoch }) => {
                self.accept_epoch(epoch, service, step);
            }
            (Stage::EpochAcked, QuorumPacket::Diff { .. }) => self.stage = Stage::Synchronising,
            (Stage::EpochAcked, QuorumPacket::Trunc { zxid }) => {
                self.truncate(zxid, service, step);
            }
            (Stage::EpochAcked, QuorumPacket::Snap { zxid, snapshot }) => {
                self.install(zxid, &snapshot, service, step);
            }
            (_, QuorumPacket::Proposal { txn, .. }) => self.proposed(txn, service, step),
            (_, QuorumPacket::Commit { zxid }) => self.committed(zxid, service, step),
            (Stage::Synchronising, QuorumPacket::NewLeader { zxid }) => {
                service.store.log.flush(step.io);
                let early = !service.spec.behaviour.has(Fix::PersistBeforeNewLeaderAck)
                    || !service.store.ack_after_flush;
                self.stage = Stage::Persisting {
                    barrier: if early {
                        0
                    } else {
                        service.store.log.barrier()
                    },
                    epoch: zxid.epoch(),
                };
                self.settle(service, step);
            }
            (Stage::Confirmed, QuorumPacket::UpToDate) => self.serve(service, step),
            (Stage::Serving, packet) => self.serving(&packet, service, step),
            (_, QuorumPacket::Ping { .. }) => {}
            (_, _) => self.over = true,
        }
    }

    fn accept_epoch(&mut self, epoch: i32, service: &mut Service, step: &mut Step<'_, '_>) {
        let accepted = service.store.accepted_epoch();
        if epoch < accepted {
            self.over = true;
            return;
        }
        let mut current_epoch = -1;
        if epoch > accepted {
            current_epoch = service.store.current_epoch();
            let stored = service.store.set_accepted_epoch(epoch, step.io.disk);
            if service.check(stored).is_none() {
                return;
            }
        }
        let last_zxid = if self.ask_for_all {
            Zxid::ZERO
        } else {
            service.database.last_zxid
        };
        let packet = QuorumPacket::AckEpoch {
            current_epoch,
            last_zxid,
        };
        self.tell(packet, step);
        self.stage = Stage::EpochAcked;
    }

    fn truncate(&mut self, zxid: Zxid, service: &mut Service, step: &mut Step<'_, '_>) {
        let limit = service.database.limit();
        match service.store.truncate(zxid, limit, step.io.disk) {
            Ok(Some(database)) => {
                service.database = database;
                step.io.note(Note::Keeper(KeeperNote::Truncated(zxid)));
            }
            Ok(None) => {
                // Nothing on disk shows the state after exactly this transaction: register again and take the tree.
                if let Some(connection) = self.connection.take() {
                    step.io.close(connection);
                }
                self.ask_for_all = true;
                self.dial(service, step);
                return;
            }
            Err(_) if service.spec.behaviour.has(Fix::TruncateFailureIsFatal) => {
                service.failed = true;
                return;
            }
            // ZOOKEEPER-3701: goes on with what it should have cut.
            Err(_) => {}
        }
        self.stage = Stage::Synchronising;
    }

    fn install(
        &mut self,
        zxid: Zxid,
        snapshot: &Bytes,
        service: &mut Service,
        step: &mut Step<'_, '_>,
    ) {
        let limit = service.database.limit();
        let Some(database) = crate::persistence::decode_snapshot(zxid, snapshot, limit) else {
            self.over = true;
            return;
        };
        let installed = service
            .store
            .install_snapshot(zxid, snapshot.clone(), step.io.disk);
        if service.check(installed).is_some() {
            service.database = service.store.restored(database);
            self.stage = Stage::Synchronising;
        }
    }

    fn proposed(&mut self, txn: Bytes, service: &mut Service, step: &mut Step<'_, '_>) {
        let Some(transaction) = Transaction::parse(txn) else {
            self.over = true;
            return;
        };
        let in_memory = self.stage != Stage::Serving
            && !service.spec.behaviour.has(Fix::PersistBeforeNewLeaderAck);
        if in_memory {
            self.unlogged += 1;
        } else if !service.log(&transaction, step) {
            return;
        }
        self.to_ack.push_back(transaction.zxid());
        self.pending.push_back(transaction);
        if self.stage == Stage::Serving {
            self.settle(service, step);
        }
    }

    fn committed(&mut self, zxid: Zxid, service: &mut Service, step: &mut Step<'_, '_>) {
        self.committed = zxid;
        if self.stage == Stage::Serving {
            self.apply_committed(service, step);
        }
    }

    fn apply_committed(&mut self, service: &mut Service, step: &mut Step<'_, '_>) {
        while self
            .pending
            .front()
            .is_some_and(|transaction| transaction.zxid() <= self.committed)
        {
            if let Some(transaction) = self.pending.pop_front() {
                service.commit(&transaction, step);
            }
        }
    }

    /// Flushes what was logged and acknowledges what is flushed.
    pub(crate) fn settle(&mut self, service: &mut Service, step: &mut Step<'_, '_>) {
        service.store.log.flush(step.io);
        match self.stage {
            Stage::Persisting { barrier, epoch } if service.store.log.is_past(barrier) => {
                let stored = service.store.set_current_epoch(epoch, step.io.disk);
                if service.check(stored).is_some() {
                    let zxid = Zxid::new(epoch, 0);
                    self.tell(QuorumPacket::Ack { zxid }, step);
                    self.stage = Stage::Confirmed;
                }
            }
            Stage::Serving => {
                let ackable = service.store.ackable();
                while let Some(zxid) = self.to_ack.front().copied().filter(|zxid| *zxid <= ackable)
                {
                    self.to_ack.pop_front();
                    self.tell(QuorumPacket::Ack { zxid }, step);
                }
            }
            Stage::Pausing
            | Stage::Registering
            | Stage::EpochAcked
            | Stage::Synchronising
            | Stage::Persisting { .. }
            | Stage::Confirmed => {}
        }
    }

    fn serve(&mut self, service: &mut Service, step: &mut Step<'_, '_>) {
        self.stage = Stage::Serving;
        let logged = self.pending.len() - std::mem::take(&mut self.unlogged);
        for transaction in self.pending.iter().skip(logged) {
            if !service.log(transaction, step) {
                return;
            }
        }
        service.start_serving(step.now);
        step.io.note(Note::Keeper(KeeperNote::Role {
            role: KeeperRole::Following,
            epoch: service.store.current_epoch(),
            leader: Some(self.leader),
        }));
        service.note_restored(step);
        let cleans_up = service.spec.behaviour.has(Fix::EphemeralCleanupOnClose);
        service.database.keep_ephemerals = !cleans_up;
        self.apply_committed(service, step);
        service.database.keep_ephemerals = false;
        step.ring_in(timers::ROLE, self.patience(service));
        self.settle(service, step);
    }

    fn serving(&mut self, packet: &QuorumPacket, service: &mut Service, step: &mut Step<'_, '_>) {
        match packet {
            QuorumPacket::Ping { .. } => {
                let sessions = std::mem::take(&mut self.touched).into_iter().collect();
                self.tell(QuorumPacket::Ping { sessions }, step);
            }
            QuorumPacket::Revalidate { session, valid, .. } => {
                service.clients.opened(*session, *valid == Some(true), step);
            }
            QuorumPacket::Sync { session, xid } => {
                let result = Ok(KeeperResult::Synced);
                let waiting = (*session, *xid);
                service
                    .clients
                    .complete(waiting, result, &service.database, step);
            }
            QuorumPacket::UpToDate => {}
            QuorumPacket::FollowerInfo { .. }
            | QuorumPacket::LeaderInfo { .. }
            | QuorumPacket::AckEpoch { .. }
            | QuorumPacket::Diff { .. }
            | QuorumPacket::Trunc { .. }
            | QuorumPacket::Snap { .. }
            | QuorumPacket::NewLeader { .. }
            | QuorumPacket::Proposal { .. }
            | QuorumPacket::Ack { .. }
            | QuorumPacket::Commit { .. }
            | QuorumPacket::Request { .. } => self.over = true,
        }
    }

    /// A client's packet.
    pub(crate) fn client(
        &mut self,
        connection: ConnectionId,
        request: KeeperRequest,
        service: &mut Service,
        step: &mut Step<'_, '_>,
    ) {
        let submission = if let Some((session, timeout)) = service.clients.session_of(connection) {
            self.touched.insert(session, timeout);
            service.request(connection, session, request, step)
        } else if service.clients.is_fresh(connection) {
            service.connect(connection, &request, step)
        } else {
            service.clients.close(connection, step);
            None
        };
        let packet = match submission {
            None => return,
            Some(Submission::Write {
                session,
                xid,
                request,
            }) => QuorumPacket::Request {
                session,
                xid,
                request,
            },
            Some(Submission::Sync { session, xid }) => QuorumPacket::Sync { session, xid },
            Some(Submission::Revalidate { session, timeout }) => QuorumPacket::Revalidate {
                session,
                timeout,
                valid: None,
            },
        };
        self.tell(packet, step);
    }
}
