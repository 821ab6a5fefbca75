//! Sessions: heartbeats, members that fall silent, members that leave (`handleHeartbeat`, `DelayedHeartbeat`,
//! `handleLeaveGroup`).

use super::deadlines::Deadline;
use super::state::{Group, GroupState};
use super::{Call, Registry, Step};
use protocol::api::group::{
    HeartbeatRequest, HeartbeatResponse, LeaveGroupRequest, LeaveGroupResponse,
};
use protocol::error_code::ErrorCode;
use protocol::ids::MemberId;
use protocol::note::RemovalReason;
use protocol::time::Span;
use std::sync::Arc;

impl Registry {
    pub(super) fn heartbeat(
        &mut self,
        step: &mut Step<'_, '_>,
        call: &Call,
        request: &HeartbeatRequest,
    ) {
        let error = self.heartbeat_error(step, request);
        step.respond(call.token, HeartbeatResponse { error });
    }

    fn heartbeat_error(
        &mut self,
        step: &mut Step<'_, '_>,
        request: &HeartbeatRequest,
    ) -> ErrorCode {
        if request.group_instance_id.is_some() && step.office.refuses_instances() {
            return ErrorCode::UnsupportedVersion;
        }
        match self.validate_membership(step.office, &request.group_id) {
            // Nothing is known of the group yet, so the member is believed.
            Err(ErrorCode::CoordinatorLoadInProgress) => return ErrorCode::None,
            Err(error) => return error,
            Ok(()) => {}
        }
        match self.groups.get_mut(&request.group_id) {
            Some(group) => group.heartbeat(step, request),
            None => ErrorCode::UnknownMemberId,
        }
    }

    pub(super) fn leave_group(
        &mut self,
        step: &mut Step<'_, '_>,
        call: &Call,
        request: &LeaveGroupRequest,
    ) {
        let valid = self.validate_membership(step.office, &request.group_id);
        let error = match (valid, self.groups.get_mut(&request.group_id)) {
            (Err(error), _) => error,
            (Ok(()), None) => ErrorCode::UnknownMemberId,
            // The response has room for one error: the first member's that has one.
            (Ok(()), Some(group)) => request
                .members
                .iter()
                .map(|(id, instance)| group.leave(step, id, instance.as_ref()))
                .fold(
                    ErrorCode::None,
                    |first, error| {
                        if first.is_none() { error } else { first }
                    },
                ),
        };
        step.respond(call.token, LeaveGroupResponse { error });
    }
}

impl Group {
    fn heartbeat(&mut self, step: &mut Step<'_, '_>, request: &HeartbeatRequest) -> ErrorCode {
        let instance = request.group_instance_id.as_ref();
        if let Some(error) = self.refuses_member(step, &request.member_id, instance) {
            return error;
        }
        if !self.members.contains_key(&request.member_id) {
            return ErrorCode::UnknownMemberId;
        }
        if request.generation_id != self.generation {
            return ErrorCode::IllegalGeneration;
        }
        let error = match self.state {
            GroupState::Empty | GroupState::Dead => return ErrorCode::UnknownMemberId,
            GroupState::CompletingRebalance if step.is_before_kip_394() => {
                return ErrorCode::RebalanceInProgress;
            }
            GroupState::PreparingRebalance => ErrorCode::RebalanceInProgress,
            GroupState::CompletingRebalance | GroupState::Stable => ErrorCode::None,
        };
        self.reset_session(step, &request.member_id);
        error
    }

    /// Gives the member a whole session time-out from now on.
    pub(super) fn reset_session(&mut self, step: &mut Step<'_, '_>, id: &MemberId) {
        if let Some(member) = self.members.get(id) {
            let timeout = member.session_timeout;
            self.set_session(step, id, timeout);
        }
    }

    pub(super) fn set_session(&mut self, step: &mut Step<'_, '_>, id: &MemberId, timeout: Span) {
        if let Some(member) = self.members.get_mut(id) {
            let (at, group) = (step.now.mono + timeout, &self.id);
            let name = || Deadline::Session(group.clone(), id.clone());
            step.office.deadlines.set(&mut member.session, at, name);
        }
    }

    /// Nothing was heard of a member for its session time-out. One that waits for others keeps its place; only a new
    /// member's join may time out (`hasSatisfiedHeartbeat`).
    pub(super) fn on_session_expired(&mut self, step: &mut Step<'_, '_>, id: &MemberId) {
        let Some(member) = self.members.get(id) else {
            return;
        };
        let waits = member.awaiting_join.is_some() || member.awaiting_sync.is_some();
        if member.is_new || !waits {
            self.remove_and_rebalance(step, id, RemovalReason::SessionTimeout);
        }
    }

    fn leave(
        &mut self,
        step: &mut Step<'_, '_>,
        id: &MemberId,
        instance: Option<&Arc<str>>,
    ) -> ErrorCode {
        let known = self.static_member(instance).cloned();
        if !id.as_str().is_empty()
            && let Some(error) = self.refuses_member(step, id, instance)
        {
            return error;
        }
        if self.pending_members.contains_key(id) && !self.members.contains_key(id) {
            self.remove_pending(step, id);
            return ErrorCode::None;
        }
        let leaving = known.unwrap_or_else(|| id.clone());
        if !self.members.contains_key(&leaving) {
            return ErrorCode::UnknownMemberId;
        }
        self.remove_and_rebalance(step, &leaving, RemovalReason::Left);
        ErrorCode::None
    }
}
