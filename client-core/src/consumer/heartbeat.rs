//! Showing the coordinator that this member lives (`HeartbeatThread`).
//!
//! Since 0.10.1 (KIP-62) heartbeats go on between polls, and a member whose application does not poll for
//! `max.poll.interval.ms` leaves by itself. Before, heartbeats went only while the application was inside `poll`.

use super::membership::{Join, MemberState};
use super::{Ask, Consumer};
use crate::network::Outgoing;
use protocol::api::group::{HeartbeatRequest, HeartbeatResponse};
use protocol::behaviour::Era;
use protocol::error_code::ErrorCode;
use protocol::ids::GenerationId;
use protocol::machine::Io;
use protocol::note::{ClientNote, Note};
use protocol::time::Mono;
use protocol::verb::ClientError;

impl Consumer {
    fn beats_between_polls(&self) -> bool {
        self.behaviour.era >= Era::V1_0
    }

    /// The application is inside `poll` and not in its own listener.
    fn is_polling(&self) -> bool {
        self.poll.is_some() && self.listener.is_none()
    }

    /// What the heartbeat thread does when time has passed.
    pub(super) fn beat(&mut self, now: Mono, io: &mut Io<'_>) {
        if self.is_polling() {
            self.membership.heartbeat.polled = now;
        }
        if !self.membership.heartbeat.enabled {
            return;
        }
        let heartbeat = self.membership.heartbeat;
        if self.beats_between_polls() && now >= heartbeat.polled + self.config.max_poll_interval_ms
        {
            self.note_left(io);
            self.leave_group(now, io);
            return;
        }
        if !self.beats_between_polls() && !self.is_polling() {
            return;
        }
        if now >= heartbeat.answered + self.config.session_timeout_ms
            && self.membership.coordinator.is_some()
        {
            // The coordinator has not answered for a whole session: it must be somebody else by now.
            self.note_left(io);
            self.coordinator_unknown();
        }
        let Some(peer) = self.coordinator(now, io) else {
            return;
        };
        if heartbeat.in_flight || heartbeat.due > now {
            return;
        }
        let Some(group) = self.group.clone() else {
            return;
        };
        let generation = self.membership.generation.clone();
        let body = HeartbeatRequest {
            group_id: group,
            generation_id: generation.id,
            member_id: generation.member,
            group_instance_id: self.instance_id(),
        };
        let heartbeat = &mut self.membership.heartbeat;
        heartbeat.in_flight = true;
        heartbeat.due = now + self.config.heartbeat_interval_ms;
        let outgoing = Outgoing::new(body, Ask::Heartbeat(generation.id));
        self.network.submit(now, peer, outgoing, io);
    }

    fn note_left(&self, io: &mut Io<'_>) {
        if let Some(group) = &self.group {
            io.note(Note::Client(ClientNote::LeftGroup(group.clone())));
        }
    }

    /// When [`beat`](Self::beat) has something to do.
    pub(super) fn next_beat(&self) -> Option<Mono> {
        let heartbeat = &self.membership.heartbeat;
        if !heartbeat.enabled {
            return None;
        }
        let between = self.beats_between_polls();
        let poll_ends = (between && !self.is_polling())
            .then(|| heartbeat.polled + self.config.max_poll_interval_ms);
        let beats = (between || self.is_polling()) && self.membership.coordinator.is_some();
        let due = (beats && !heartbeat.in_flight).then_some(heartbeat.due);
        let session = beats.then(|| heartbeat.answered + self.config.session_timeout_ms);
        [poll_ends, due, session].into_iter().flatten().min()
    }

    /// The answer to a heartbeat (`HeartbeatResponseHandler`).
    pub(super) fn beaten(&mut self, now: Mono, of: GenerationId, answer: &HeartbeatResponse) {
        let backoff = self.config.retry_backoff_ms;
        let member = &mut self.membership;
        member.heartbeat.in_flight = false;
        let error = answer.error;
        if error.is_none() {
            member.heartbeat.answered = now;
        } else if error == ErrorCode::RebalanceInProgress {
            // The coordinator lives and knows us.
            member.heartbeat.answered = now;
            if member.state == MemberState::Stable {
                member.rejoin_needed = true;
            }
        } else if matches!(
            error,
            ErrorCode::IllegalGeneration | ErrorCode::UnknownMemberId | ErrorCode::FencedInstanceId
        ) {
            // An answer to an earlier generation says nothing of this one.
            if member.generation.id == of {
                member.reset_generation();
                if matches!(member.join, Join::Complete(_) | Join::Syncing) {
                    member.join = Join::Idle;
                }
                if error == ErrorCode::FencedInstanceId {
                    self.fail_poll(ClientError::Broker(error));
                }
            }
        } else {
            member.heartbeat.due = now + backoff;
            if matches!(
                error,
                ErrorCode::CoordinatorNotAvailable | ErrorCode::NotCoordinator
            ) {
                member.coordinator = None;
            }
        }
    }

    /// A heartbeat got no answer.
    pub(super) fn beat_lost(&mut self, now: Mono) {
        self.membership.heartbeat.in_flight = false;
        self.membership.heartbeat.due = now + self.config.retry_backoff_ms;
    }
}
