//! The answers to joining and synchronising (`JoinGroupResponseHandler`, `SyncGroupResponseHandler`).

use super::Consumer;
use super::membership::{Generation, Join, MemberState};
use crate::consumer_protocol::Assignment;
use protocol::api::group::{JoinGroupResponse, SyncGroupResponse};
use protocol::error_code::ErrorCode;
use protocol::ids::GenerationId;
use protocol::machine::Io;
use protocol::note::{ClientNote, Note};
use protocol::time::Mono;
use protocol::verb::ClientError;

impl Consumer {
    /// The answer to a join.
    pub(super) fn joined(
        &mut self,
        now: Mono,
        attempt: u64,
        answer: JoinGroupResponse,
        io: &mut Io<'_>,
    ) {
        if attempt != self.membership.attempt {
            // Left in the meantime.
            return;
        }
        if self.membership.state != MemberState::PreparingRebalance {
            // Thrown out in the meantime, by the answer to a commit: once more (`UnjoinedGroupException`).
            self.rejoin_at(now + self.config.retry_backoff_ms);
            return;
        }
        if answer.error.is_error() {
            if answer.error == ErrorCode::MemberIdRequired {
                // KIP-394: the coordinator gives an id and wants to hear it before it counts the member.
                self.membership.generation = Generation {
                    id: GenerationId(-1),
                    member: answer.member_id,
                };
                self.rejoin_at(now);
            } else {
                self.rebalance_refused(now, answer.error);
            }
            return;
        }
        self.membership.state = MemberState::CompletingRebalance;
        self.membership.generation = Generation {
            id: answer.generation_id,
            member: answer.member_id.clone(),
        };
        let chosen = answer.protocol.as_deref();
        let strategies = &self.config.partition_assignment_strategy;
        let assignor = strategies
            .iter()
            .find(|assignor| Some(assignor.word()) == chosen);
        self.membership.assignor = assignor.copied();
        let heartbeat = &mut self.membership.heartbeat;
        let polled = heartbeat.polled;
        heartbeat.restart(now, self.config.heartbeat_interval_ms);
        heartbeat.polled = polled;
        heartbeat.enabled = true;
        if answer.leader == answer.member_id {
            self.membership.join = Join::Dividing(Box::new(answer));
            self.want_topics(now);
            self.maybe_divide(now, io);
        } else {
            self.membership.divided_by = None;
            self.send_sync(now, Vec::new(), io);
        }
    }

    /// A join or sync got no answer.
    pub(super) fn join_lost(&mut self, now: Mono, attempt: u64) {
        if attempt == self.membership.attempt {
            self.rejoin_at(now + self.config.retry_backoff_ms);
        }
    }

    /// The answer to a sync.
    pub(super) fn synced(
        &mut self,
        now: Mono,
        attempt: u64,
        answer: SyncGroupResponse,
        io: &mut Io<'_>,
    ) {
        let member = &mut self.membership;
        if attempt != member.attempt {
            return;
        }
        if member.state != MemberState::CompletingRebalance {
            // Thrown out in the meantime: this generation is another's business.
            self.rejoin_at(now);
            return;
        }
        if answer.error.is_none() {
            member.state = MemberState::Stable;
            member.rejoin_needed = false;
            let assignment = Assignment::decode(answer.assignment).unwrap_or_default();
            member.join = Join::Complete(assignment.partitions);
            if let Some(group) = &self.group {
                io.note(Note::Client(ClientNote::Joined {
                    group: group.clone(),
                    generation: member.generation.id,
                    member: member.generation.member.clone(),
                }));
            }
            return;
        }
        self.rebalance_refused(now, answer.error);
    }

    /// A join or sync was refused: once more, with or without the member id, or not at all.
    fn rebalance_refused(&mut self, now: Mono, error: ErrorCode) {
        if matches!(
            error,
            ErrorCode::UnknownMemberId | ErrorCode::IllegalGeneration
        ) {
            self.membership.reset_generation();
            self.rejoin_at(now);
        } else if error == ErrorCode::RebalanceInProgress {
            self.rejoin_at(now);
        } else if matches!(
            error,
            ErrorCode::CoordinatorNotAvailable | ErrorCode::NotCoordinator
        ) {
            self.coordinator_unknown();
            self.rejoin_at(now + self.config.retry_backoff_ms);
        } else if error.is_retriable() {
            self.rejoin_at(now + self.config.retry_backoff_ms);
        } else {
            self.membership.reset_generation();
            self.membership.join = Join::Idle;
            self.fail_poll(ClientError::Broker(error));
        }
    }

    fn rejoin_at(&mut self, at: Mono) {
        self.membership.become_unjoined();
        self.membership.join = Join::Ready { at };
    }
}
