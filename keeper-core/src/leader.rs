//! The leader (`Leader`, `LearnerHandler`, and the processors of `LeaderZooKeeperServer`): from discovery to broadcast.
//!
//! Four phases: collect epochs of a majority and choose a higher one; learn what each of a majority has, and that nobody of
//! it has more; bring each up to date and have a majority confirm it; then propose, count acknowledgements and commit, in
//! the order of zxids. Each phase before the last may take `initLimit`; a leader that hears no majority for `syncLimit`
//! steps down. A standalone server is a leader of nobody, from the start in the last phase.
//! Left out: observers, and the end of an epoch after 2³² transactions.

use crate::handler::{Handler, Stage};
use crate::leader_sync::catch_up;
use crate::prep::Outstanding;
use crate::service::Service;
use crate::session::SessionTracker;
use crate::step::Step;
use crate::timers;
use crate::txn::Transaction;
use protocol::ids::{KeeperId, SessionId, Xid, Zxid};
use protocol::keeper::{KeeperRole, QuorumPacket};
use protocol::machine::ConnectionId;
use protocol::message::Message;
use protocol::note::{KeeperNote, Note};
use protocol::time::{Mono, Span};
use std::collections::{BTreeMap, VecDeque};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// Waiting for a majority of `FOLLOWERINFO`.
    Discovery,
    /// Waiting for a majority of `ACKEPOCH`.
    EpochAcks,
    /// Waiting for a majority of acknowledged `NEWLEADER`.
    Synchronisation,
    /// Serving.
    Broadcast,
}

/// A transaction on its way.
#[derive(Clone, Debug)]
pub(crate) struct Proposal {
    pub(crate) transaction: Transaction,
    pub(crate) acks: u32,
    /// The end of a session that expired, rather than was closed.
    pub(crate) expiry: bool,
}

/// Who waits for a sync.
#[derive(Clone, Copy, Debug)]
pub(crate) enum SyncOrigin {
    Here,
    Follower(ConnectionId),
}

/// What a leader knows.
#[derive(Clone, Debug)]
pub(crate) struct Leading {
    phase: Phase,
    deadline: Mono,
    epoch: i32,
    /// What this server had when it was elected: nobody of its majority may have more.
    summary: (i32, Zxid),
    connecting: u32,
    electing: u32,
    synced: u32,
    handlers: BTreeMap<ConnectionId, Handler>,
    pub(crate) last_proposed: Zxid,
    pub(crate) proposals: VecDeque<Proposal>,
    pub(crate) outstanding: Outstanding,
    pub(crate) tracker: Option<SessionTracker>,
    pub(crate) expiry_armed: Option<Mono>,
    pub(crate) syncs: Vec<(Zxid, SyncOrigin, (SessionId, Xid))>,
    half_tick: bool,
    /// The leader gives up: an election is due.
    pub(crate) over: bool,
}

impl Leading {
    /// Takes office.
    pub(crate) fn start(service: &mut Service, step: &mut Step<'_, '_>) -> Self {
        let spec = service.spec.clone();
        let limit = init_limit(service);
        service.database.drop_orphans();
        let mut leading = Self {
            phase: Phase::Discovery,
            deadline: step.now.mono + limit,
            epoch: service.store.accepted_epoch() + 1,
            summary: (service.store.current_epoch(), service.database.last_zxid),
            connecting: spec.bit(spec.id),
            electing: 0,
            synced: 0,
            handlers: BTreeMap::new(),
            last_proposed: service.database.last_zxid,
            proposals: VecDeque::new(),
            outstanding: Outstanding::default(),
            tracker: None,
            expiry_armed: None,
            syncs: Vec::new(),
            half_tick: false,
            over: false,
        };
        if spec.is_standalone() {
            leading.epoch = service.database.last_zxid.epoch();
            leading.serve(KeeperRole::Standalone, service, step);
        } else {
            step.ring_in(timers::ROLE, limit);
        }
        leading
    }

    /// The epoch it leads in, once it does.
    pub(crate) fn established(&self) -> Option<i32> {
        (self.phase == Phase::Broadcast).then_some(self.epoch)
    }

    pub(crate) fn tell_followers(&self, packet: &QuorumPacket, step: &mut Step<'_, '_>) {
        for (connection, handler) in &self.handlers {
            if handler.is_forwarding() {
                tell(*connection, packet.clone(), step);
            }
        }
    }

    /// A follower connects.
    pub(crate) fn accept(&mut self, connection: ConnectionId, step: &Step<'_, '_>) {
        self.handlers
            .insert(connection, Handler::new(step.now.mono));
    }

    /// A connection is gone; whether it was a follower's.
    pub(crate) fn forget(&mut self, connection: ConnectionId) -> bool {
        self.handlers.remove(&connection).is_some()
    }

    pub(crate) fn dismiss(&mut self, connection: ConnectionId, step: &mut Step<'_, '_>) {
        if self.forget(connection) {
            step.io.close(connection);
        }
    }

    /// Everybody goes: the leader steps down. What was proposed stays in the log, and so in the database.
    pub(crate) fn shut_down(&mut self, service: &mut Service, step: &mut Step<'_, '_>) {
        for connection in self.handlers.keys() {
            step.io.close(*connection);
        }
        for proposal in self.proposals.drain(..) {
            service.database.replay(&proposal.transaction);
        }
        step.io.cancel_timer(timers::ROLE);
        step.io.cancel_timer(timers::SESSIONS);
    }

    /// A packet of a follower.
    pub(crate) fn receive(
        &mut self,
        connection: ConnectionId,
        packet: QuorumPacket,
        service: &mut Service,
        step: &mut Step<'_, '_>,
    ) {
        let Some(handler) = self.handlers.get_mut(&connection) else {
            return;
        };
        handler.last_heard = step.now.mono;
        let id = handler.id;
        match (handler.stage, packet) {
            (Stage::Connected, QuorumPacket::FollowerInfo { id, accepted_epoch }) => {
                self.introduce(connection, (id, accepted_epoch), service, step);
            }
            (
                Stage::EpochOffered,
                QuorumPacket::AckEpoch {
                    current_epoch,
                    last_zxid,
                },
            ) => {
                handler.stage = Stage::EpochAcked(last_zxid);
                self.epoch_acked(connection, (current_epoch, last_zxid), service, step);
            }
            (Stage::Synchronising, QuorumPacket::Ack { .. }) => {
                handler.stage = Stage::Synchronised;
                self.synced |= service.spec.bit(id);
                self.synchronised(connection, service, step);
            }
            (Stage::Synchronised, packet) => {
                self.serve_follower((connection, id), packet, service, step);
            }
            (_, _) => self.dismiss(connection, step),
        }
    }

    fn introduce(
        &mut self,
        connection: ConnectionId,
        (id, accepted_epoch): (KeeperId, i32),
        service: &mut Service,
        step: &mut Step<'_, '_>,
    ) {
        let older: Vec<_> = self
            .handlers
            .iter()
            .filter(|(other, handler)| handler.id == id && **other != connection)
            .map(|(other, _)| *other)
            .collect();
        for older in older {
            self.dismiss(older, step);
        }
        if service.spec.bit(id) == 0 {
            self.dismiss(connection, step);
            return;
        }
        if let Some(handler) = self.handlers.get_mut(&connection) {
            handler.id = id;
            handler.stage = Stage::Introduced;
        }
        if self.phase != Phase::Discovery {
            self.offer_epoch(connection, step);
            return;
        }
        self.epoch = self.epoch.max(accepted_epoch + 1);
        self.connecting |= service.spec.bit(id);
        if !service.spec.is_quorum(self.connecting) {
            return;
        }
        let accepted = service.store.set_accepted_epoch(self.epoch, step.io.disk);
        if service.check(accepted).is_none() {
            return;
        }
        self.enter(Phase::EpochAcks, service, step);
        self.electing = service.spec.bit(service.id());
        let waiting: Vec<_> = self
            .handlers
            .iter()
            .filter(|(_, handler)| handler.stage == Stage::Introduced)
            .map(|(connection, _)| *connection)
            .collect();
        for connection in waiting {
            self.offer_epoch(connection, step);
        }
    }

    fn enter(&mut self, phase: Phase, service: &Service, step: &mut Step<'_, '_>) {
        self.phase = phase;
        let limit = init_limit(service);
        self.deadline = step.now.mono + limit;
        step.ring_in(timers::ROLE, limit);
    }

    fn offer_epoch(&mut self, connection: ConnectionId, step: &mut Step<'_, '_>) {
        if let Some(handler) = self.handlers.get_mut(&connection) {
            handler.stage = Stage::EpochOffered;
        }
        let epoch = self.epoch;
        tell(connection, QuorumPacket::LeaderInfo { epoch }, step);
    }

    fn epoch_acked(
        &mut self,
        connection: ConnectionId,
        has: (i32, Zxid),
        service: &mut Service,
        step: &mut Step<'_, '_>,
    ) {
        if self.phase != Phase::EpochAcks {
            self.synchronise(connection, service, step);
            return;
        }
        // A follower that had accepted this very epoch before answers −1: it does not count as a vote for it.
        if has.0 != -1 {
            if has > self.summary {
                // Follower is ahead of the leader: it must find another.
                self.dismiss(connection, step);
                return;
            }
            let id = self.handlers.get(&connection).map(|handler| handler.id);
            self.electing |= id.map_or(0, |id| service.spec.bit(id));
        }
        if !service.spec.is_quorum(self.electing) {
            return;
        }
        let current = service.store.set_current_epoch(self.epoch, step.io.disk);
        if service.check(current).is_none() {
            return;
        }
        self.enter(Phase::Synchronisation, service, step);
        let waiting: Vec<_> = self
            .handlers
            .iter()
            .filter(|(_, handler)| matches!(handler.stage, Stage::EpochAcked(_)))
            .map(|(connection, _)| *connection)
            .collect();
        for connection in waiting {
            self.synchronise(connection, service, step);
        }
        service.store.log.flush(step.io);
        self.confirm_own_history(service, step);
    }

    /// The leader's own vote for its history: what it was elected for must be on its disk as well.
    pub(crate) fn confirm_own_history(&mut self, service: &mut Service, step: &mut Step<'_, '_>) {
        if self.phase == Phase::Synchronisation
            && (service.store.log.is_clean() || !service.store.ack_after_flush)
        {
            self.synced |= service.spec.bit(service.id());
            self.lead_when_synchronised(service, step);
        }
    }

    /// Sends what the follower lacks, then `NEWLEADER` (`LearnerHandler.syncFollower`).
    fn synchronise(
        &mut self,
        connection: ConnectionId,
        service: &mut Service,
        step: &mut Step<'_, '_>,
    ) {
        let Some(handler) = self.handlers.get_mut(&connection) else {
            return;
        };
        let Stage::EpochAcked(last_zxid) = handler.stage else {
            return;
        };
        handler.stage = Stage::Synchronising;
        let planned = catch_up(last_zxid, &service.database, &service.store, step.io.disk);
        let Some(plan) = service.check(planned) else {
            return;
        };
        tell(connection, plan.opening, step);
        for (zxid, txn) in plan.committed {
            tell(connection, QuorumPacket::Proposal { zxid, txn }, step);
            tell(connection, QuorumPacket::Commit { zxid }, step);
        }
        for proposal in &self.proposals {
            let packet = proposal_packet(&proposal.transaction);
            tell(connection, packet, step);
        }
        let zxid = Zxid::new(self.epoch, 0);
        tell(connection, QuorumPacket::NewLeader { zxid }, step);
    }

    fn synchronised(
        &mut self,
        connection: ConnectionId,
        service: &mut Service,
        step: &mut Step<'_, '_>,
    ) {
        if self.phase == Phase::Broadcast {
            tell(connection, QuorumPacket::UpToDate, step);
        } else {
            self.lead_when_synchronised(service, step);
        }
    }

    fn lead_when_synchronised(&mut self, service: &mut Service, step: &mut Step<'_, '_>) {
        if self.phase != Phase::Synchronisation || !service.spec.is_quorum(self.synced) {
            return;
        }
        self.last_proposed = Zxid::new(self.epoch, 0);
        self.serve(KeeperRole::Leading, service, step);
        let ready: Vec<_> = self
            .handlers
            .iter()
            .filter(|(_, handler)| handler.stage == Stage::Synchronised)
            .map(|(connection, _)| *connection)
            .collect();
        for connection in ready {
            tell(connection, QuorumPacket::UpToDate, step);
        }
        step.ring_in(timers::ROLE, half_tick(service));
    }

    fn serve(&mut self, role: KeeperRole, service: &mut Service, step: &mut Step<'_, '_>) {
        self.phase = Phase::Broadcast;
        service.start_serving(step.now);
        let tracker =
            SessionTracker::new(&service.spec, service.database.sessions.iter(), step.now);
        self.tracker = Some(tracker);
        step.io.note(Note::Keeper(KeeperNote::Role {
            role,
            epoch: self.epoch,
            leader: Some(service.id()),
        }));
        service.note_restored(step);
        self.arm_expiry(step);
    }

    /// The role's timer: the end of a phase, or half a tick.
    pub(crate) fn tick(&mut self, service: &mut Service, step: &mut Step<'_, '_>) {
        if self.phase != Phase::Broadcast {
            self.over = step.now.mono >= self.deadline;
            return;
        }
        let limit = service.spec.config.tick_time * limit_of(service.spec.config.sync_limit);
        let patience = init_limit(service) + limit;
        let mut alive = service.spec.bit(service.id());
        let mut silent = Vec::new();
        for (connection, handler) in &self.handlers {
            let silence = step.now.mono.since(handler.last_heard);
            if handler.stage == Stage::Synchronised && silence <= limit {
                alive |= service.spec.bit(handler.id);
            } else if handler.stage == Stage::Synchronised || silence > patience {
                silent.push(*connection);
            }
        }
        for connection in silent {
            self.dismiss(connection, step);
        }
        let packet = QuorumPacket::Ping {
            sessions: Vec::new(),
        };
        self.tell_followers(&packet, step);
        self.over = self.half_tick && !service.spec.is_quorum(alive);
        self.half_tick = !self.half_tick;
        step.ring_in(timers::ROLE, half_tick(service));
    }
}

pub(crate) fn tell(connection: ConnectionId, packet: QuorumPacket, step: &mut Step<'_, '_>) {
    step.io.send(connection, Message::Quorum(Box::new(packet)));
}

pub(crate) fn proposal_packet(transaction: &Transaction) -> QuorumPacket {
    QuorumPacket::Proposal {
        zxid: transaction.zxid(),
        txn: transaction.bytes.clone(),
    }
}

fn limit_of(ticks: i32) -> u64 {
    u64::try_from(ticks).unwrap_or(1)
}

pub(crate) fn init_limit(service: &Service) -> Span {
    service.spec.config.tick_time * limit_of(service.spec.config.init_limit)
}

fn half_tick(service: &Service) -> Span {
    Span(service.spec.config.tick_time.0 / 2)
}
