//! The leader at work (`PrepRequestProcessor`, `ProposalRequestProcessor`, `Leader.processAck`): requests become proposals,
//! proposals are counted and committed in the order of their zxids, sessions expire.

use crate::leader::{Leading, Proposal, SyncOrigin, proposal_packet, tell};
use crate::service::{Service, Submission};
use crate::step::Step;
use crate::timers;
use crate::txn::{Transaction, Txn, TxnHeader};
use protocol::ids::{KeeperId, SessionId, Xid, Zxid};
use protocol::keeper::{
    ForwardedRequest, KeeperFailure, KeeperRequest, KeeperResult, QuorumPacket,
};
use protocol::machine::ConnectionId;
use protocol::note::{KeeperNote, Note};
use protocol::time::Span;

impl Leading {
    pub(crate) fn arm_expiry(&mut self, step: &mut Step<'_, '_>) {
        let Some(wait) = self
            .tracker
            .as_ref()
            .and_then(|tracker| tracker.next_expiry(step.now))
        else {
            return;
        };
        let at = step.now.mono + wait;
        // An earlier ring looks again by itself.
        if self.expiry_armed.is_none_or(|armed| at < armed) {
            self.expiry_armed = Some(at);
            step.io.set_timer(timers::SESSIONS, at);
        }
    }

    /// A tick of the sessions is over.
    pub(crate) fn expire(&mut self, service: &mut Service, step: &mut Step<'_, '_>) {
        self.expiry_armed = None;
        let expired = self
            .tracker
            .as_mut()
            .map(|tracker| tracker.expired(step.now))
            .unwrap_or_default();
        self.close(expired, service, step);
        self.arm_expiry(step);
    }

    /// An operator ends a session before its time (`ConnectionMXBean.terminateSession`).
    pub(crate) fn terminate(
        &mut self,
        session: SessionId,
        service: &mut Service,
        step: &mut Step<'_, '_>,
    ) {
        let lives = self
            .tracker
            .as_mut()
            .is_some_and(|tracker| tracker.lives(session));
        if lives {
            self.close(vec![session], service, step);
        }
    }

    fn close(&mut self, sessions: Vec<SessionId>, service: &mut Service, step: &mut Step<'_, '_>) {
        for session in sessions {
            let from = (session, Xid(0), service.id());
            self.submit(from, ForwardedRequest::CloseSession, service, step);
            if let Some(proposal) = self.proposals.back_mut() {
                proposal.expiry = true;
            }
        }
        self.settle(service, step);
    }

    /// A client's packet.
    pub(crate) fn client(
        &mut self,
        connection: ConnectionId,
        request: KeeperRequest,
        service: &mut Service,
        step: &mut Step<'_, '_>,
    ) {
        let Some(tracker) = &mut self.tracker else {
            return;
        };
        let submission = if let Some((session, timeout)) = service.clients.session_of(connection) {
            tracker.touch(session, timeout, step.now);
            if let Some(xid) = read_xid(&request)
                && let Err(error) = tracker.check(session, service.spec.id)
            {
                let refusal = (xid, error);
                service
                    .clients
                    .refuse(connection, refusal, &service.database, step);
                return;
            }
            service.request(connection, session, request, step)
        } else {
            service.connect(connection, &request, step)
        };
        match submission {
            None => {}
            Some(Submission::Write {
                session,
                xid,
                request,
            }) => {
                let from = (session, xid, service.id());
                self.submit(from, request, service, step);
                self.settle(service, step);
                self.arm_expiry(step);
            }
            Some(Submission::Sync { session, xid }) => {
                self.sync(SyncOrigin::Here, (session, xid), service, step);
            }
            Some(Submission::Revalidate { session, timeout }) => {
                let valid = self.revalidate(session, timeout, service.id(), step);
                service.clients.opened(session, valid, step);
            }
        }
    }

    fn revalidate(
        &mut self,
        session: SessionId,
        timeout: Span,
        owner: KeeperId,
        step: &Step<'_, '_>,
    ) -> bool {
        let Some(tracker) = &mut self.tracker else {
            return false;
        };
        let valid = tracker.touch(session, timeout, step.now);
        if valid {
            tracker.set_owner(session, owner);
        }
        valid
    }

    pub(crate) fn serve_follower(
        &mut self,
        (connection, id): (ConnectionId, KeeperId),
        packet: QuorumPacket,
        service: &mut Service,
        step: &mut Step<'_, '_>,
    ) {
        match packet {
            QuorumPacket::Ack { zxid } => self.acknowledged(id, zxid, service, step),
            QuorumPacket::Ping { sessions } => {
                for (session, timeout) in sessions {
                    if let Some(tracker) = &mut self.tracker {
                        tracker.touch(session, timeout, step.now);
                    }
                }
            }
            QuorumPacket::Request {
                session,
                xid,
                request,
            } => {
                self.submit((session, xid, id), request, service, step);
                self.settle(service, step);
                self.arm_expiry(step);
            }
            QuorumPacket::Revalidate {
                session, timeout, ..
            } => {
                let valid = Some(self.revalidate(session, timeout, id, step));
                let answer = QuorumPacket::Revalidate {
                    session,
                    timeout,
                    valid,
                };
                tell(connection, answer, step);
            }
            QuorumPacket::Sync { session, xid } => {
                let origin = SyncOrigin::Follower(connection);
                self.sync(origin, (session, xid), service, step);
            }
            QuorumPacket::FollowerInfo { .. }
            | QuorumPacket::LeaderInfo { .. }
            | QuorumPacket::AckEpoch { .. }
            | QuorumPacket::Diff { .. }
            | QuorumPacket::Trunc { .. }
            | QuorumPacket::Snap { .. }
            | QuorumPacket::NewLeader { .. }
            | QuorumPacket::UpToDate
            | QuorumPacket::Proposal { .. }
            | QuorumPacket::Commit { .. } => self.dismiss(connection, step),
        }
    }

    /// Makes a transaction of a request and proposes it.
    fn submit(
        &mut self,
        (session, xid, owner): (SessionId, Xid, KeeperId),
        request: ForwardedRequest,
        service: &mut Service,
        step: &mut Step<'_, '_>,
    ) {
        let Some(tracker) = &mut self.tracker else {
            return;
        };
        let header = TxnHeader {
            session,
            cxid: xid,
            zxid: self.last_proposed.next(),
            time: step.now.wall.millis(),
        };
        let body = match request {
            ForwardedRequest::CreateSession { timeout, .. } => {
                tracker.add(session, timeout, step.now);
                tracker.set_owner(session, owner);
                Txn::CreateSession {
                    timeout_ms: i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX),
                }
            }
            ForwardedRequest::CloseSession => {
                self.outstanding.close_session(&service.database, header);
                tracker.set_closing(session);
                Txn::CloseSession
            }
            ForwardedRequest::Op(op) => {
                let allowed = tracker.check(session, owner);
                self.outstanding
                    .prepare(&service.database, header, allowed, &op)
            }
        };
        let transaction = Transaction::new(header, body);
        if !service.log(&transaction, step) {
            return;
        }
        self.last_proposed = transaction.zxid();
        self.tell_followers(&proposal_packet(&transaction), step);
        self.proposals.push_back(Proposal {
            transaction,
            acks: 0,
            expiry: false,
        });
    }

    /// Flushes what was proposed and counts the leader's own acknowledgement.
    pub(crate) fn settle(&mut self, service: &mut Service, step: &mut Step<'_, '_>) {
        service.store.log.flush(step.io);
        self.confirm_own_history(service, step);
        if self.established().is_none() {
            return;
        }
        let (own, ackable) = (service.spec.bit(service.id()), service.store.ackable());
        for proposal in &mut self.proposals {
            if proposal.transaction.zxid() > ackable {
                break;
            }
            proposal.acks |= own;
        }
        self.commit_ready(service, step);
    }

    fn acknowledged(
        &mut self,
        id: KeeperId,
        zxid: Zxid,
        service: &mut Service,
        step: &mut Step<'_, '_>,
    ) {
        let bit = service.spec.bit(id);
        if let Some(proposal) = self
            .proposals
            .iter_mut()
            .find(|proposal| proposal.transaction.zxid() == zxid)
        {
            proposal.acks |= bit;
        }
        self.commit_ready(service, step);
    }

    fn commit_ready(&mut self, service: &mut Service, step: &mut Step<'_, '_>) {
        while self
            .proposals
            .front()
            .is_some_and(|proposal| service.spec.is_quorum(proposal.acks))
        {
            let Some(proposal) = self.proposals.pop_front() else {
                break;
            };
            let zxid = proposal.transaction.zxid();
            self.tell_followers(&QuorumPacket::Commit { zxid }, step);
            service.commit(&proposal.transaction, step);
            self.outstanding.applied(zxid);
            self.note_session(&proposal, step);
            let due = self.syncs.partition_point(|(after, _, _)| *after <= zxid);
            for (_, origin, waiting) in self.syncs.drain(..due).collect::<Vec<_>>() {
                Self::answer_sync(origin, waiting, service, step);
            }
        }
    }

    fn note_session(&mut self, proposal: &Proposal, step: &mut Step<'_, '_>) {
        let session = proposal.transaction.header.session;
        let note = match &proposal.transaction.body {
            Txn::CreateSession { timeout_ms } => {
                let timeout = Span::millis(u64::try_from(*timeout_ms).unwrap_or(0));
                KeeperNote::SessionCreated(session, timeout)
            }
            Txn::CloseSession => {
                if let Some(tracker) = &mut self.tracker {
                    tracker.remove(session);
                }
                if proposal.expiry {
                    KeeperNote::SessionExpired(session)
                } else {
                    KeeperNote::SessionClosed(session)
                }
            }
            Txn::Create { .. }
            | Txn::Delete { .. }
            | Txn::SetData { .. }
            | Txn::Check { .. }
            | Txn::Multi(_)
            | Txn::Error(_) => return,
        };
        step.io.note(Note::Keeper(note));
    }

    fn sync(
        &mut self,
        origin: SyncOrigin,
        waiting: (SessionId, Xid),
        service: &mut Service,
        step: &mut Step<'_, '_>,
    ) {
        if self.proposals.is_empty() {
            Self::answer_sync(origin, waiting, service, step);
        } else {
            self.syncs.push((self.last_proposed, origin, waiting));
        }
    }

    fn answer_sync(
        origin: SyncOrigin,
        (session, xid): (SessionId, Xid),
        service: &mut Service,
        step: &mut Step<'_, '_>,
    ) {
        match origin {
            SyncOrigin::Here => {
                let result: Result<_, KeeperFailure> = Ok(KeeperResult::Synced);
                let waiting = (session, xid);
                service
                    .clients
                    .complete(waiting, result, &service.database, step);
            }
            SyncOrigin::Follower(connection) => {
                tell(connection, QuorumPacket::Sync { session, xid }, step);
            }
        }
    }
}

/// The number of a request that the leader's own server answers without a transaction.
fn read_xid(request: &KeeperRequest) -> Option<Xid> {
    match request {
        KeeperRequest::Op { xid, op } => (!op.is_write()).then_some(*xid),
        KeeperRequest::SetWatches { .. } => Some(Xid(-8)),
        KeeperRequest::Ping
        | KeeperRequest::CloseSession { .. }
        | KeeperRequest::Connect { .. } => None,
    }
}
