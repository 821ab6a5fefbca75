//! `JoinGroup`: who may come in, and whether that starts a rebalance (`handleJoinGroup`, `doUnknownJoinGroup`,
//! `doJoinGroup`).

use super::answers::{join_error, no_member};
use super::deadlines::{Alarm, Deadline};
use super::member::Member;
use super::state::{Group, GroupState};
use super::{Call, Registry, Step};
use bytes::Bytes;
use protocol::api::group::JoinGroupRequest;
use protocol::behaviour::{Era, Fix};
use protocol::error_code::ErrorCode;
use protocol::ids::MemberId;
use protocol::note::GroupNote;
use protocol::time::Span;
use std::sync::Arc;

/// How long the join of a new member may take: it has no id to send heartbeats with, and a muted socket hides that its
/// owner is gone (`NewMemberJoinTimeoutMs`).
const NEW_MEMBER_JOIN_TIMEOUT: Span = Span::secs(300);

impl Registry {
    pub(super) fn join_group(
        &mut self,
        step: &mut Step<'_, '_>,
        call: &Call,
        mut request: JoinGroupRequest,
    ) {
        if call.api_version == 0 {
            // KIP-62: before version 1 one time-out served for both.
            request.rebalance_timeout = request.session_timeout;
        }
        let instance_refused =
            request.group_instance_id.is_some() && step.office.refuses_instances();
        let settings = step.office.settings;
        let timeouts = settings.min_session..=settings.max_session;
        let refused = if instance_refused {
            Some(ErrorCode::UnsupportedVersion)
        } else if let Err(error) = self.validate_membership(step.office, &request.group_id) {
            Some(error)
        } else if !timeouts.contains(&request.session_timeout) {
            Some(ErrorCode::InvalidSessionTimeout)
        } else {
            None
        };
        if let Some(error) = refused {
            step.respond(call.token, join_error(request.member_id, error));
            return;
        }
        // Only somebody without an id founds a group; an id without a group is an old one.
        let is_unknown = request.member_id.as_str().is_empty();
        if is_unknown && !self.groups.contains_key(&request.group_id) {
            let wall = step.wall_ms();
            let group = step.office.new_group(request.group_id.clone(), wall);
            self.groups.insert(request.group_id.clone(), group);
        }
        if let Some(group) = self.groups.get_mut(&request.group_id) {
            group.join(step, call, request);
        } else {
            let answer = join_error(request.member_id, ErrorCode::UnknownMemberId);
            step.respond(call.token, answer);
        }
    }
}

impl Group {
    fn join(&mut self, step: &mut Step<'_, '_>, call: &Call, request: JoinGroupRequest) {
        if !self.accepts(&request.member_id, step.office.settings.max_size) {
            self.turn_away(step, call, &request);
        } else if !self.supports(&request.protocol_type, &request.protocols) {
            let answer = join_error(request.member_id, ErrorCode::InconsistentGroupProtocol);
            step.respond(call.token, answer);
        } else if request.member_id.as_str().is_empty() {
            self.join_unknown(step, call, request);
        } else {
            self.join_known(step, call, request);
        }
        self.complete_join_if_all_joined(step);
    }

    /// Whether there is room (`group.max.size`, KIP-389). During a rebalance those who have joined count, so that the
    /// last ones of a group that is too large are turned away.
    fn accepts(&self, member: &MemberId, max: usize) -> bool {
        match self.state {
            GroupState::Empty | GroupState::Dead => true,
            GroupState::PreparingRebalance => {
                let joined = |member: &Member| member.awaiting_join.is_some();
                self.members.get(member).is_some_and(joined) || self.awaiting_join() < max
            }
            GroupState::CompletingRebalance | GroupState::Stable => {
                self.members.contains_key(member) || self.members.len() < max
            }
        }
    }

    fn turn_away(&mut self, step: &mut Step<'_, '_>, call: &Call, request: &JoinGroupRequest) {
        if self.remove(&request.member_id).is_some() {
            let reason = protocol::note::RemovalReason::RebalanceTimeout;
            let note = GroupNote::MemberRemoved(request.member_id.clone(), reason);
            step.note(&self.id, note);
        }
        if let Some(instance) = &request.group_instance_id {
            self.static_members.remove(instance);
        }
        step.respond(
            call.token,
            join_error(no_member(), ErrorCode::GroupMaxSizeReached),
        );
    }

    fn join_unknown(&mut self, step: &mut Step<'_, '_>, call: &Call, request: JoinGroupRequest) {
        let instance = request.group_instance_id.as_ref();
        let prefix = instance.unwrap_or(&call.client_id);
        let id = step.office.member_ids.next(prefix);
        // Only senders of version 4 on understand the answer (KIP-394).
        let require_id =
            call.api_version >= 4 && instance.is_none() && step.has(Fix::MemberIdRequired);
        if self.static_member(instance).is_some() {
            self.replace_static(step, call, request, id);
        } else if require_id {
            let (mut alarm, at) = (Alarm::default(), step.now.mono + request.session_timeout);
            let name = || Deadline::Pending(self.id.clone(), id.clone());
            step.office.deadlines.set(&mut alarm, at, name);
            self.pending_members.insert(id.clone(), alarm);
            step.respond(call.token, join_error(id, ErrorCode::MemberIdRequired));
        } else {
            self.add_and_rebalance(step, call, request, &id);
        }
    }

    fn join_known(&mut self, step: &mut Step<'_, '_>, call: &Call, request: JoinGroupRequest) {
        let id = request.member_id.clone();
        let instance = request.group_instance_id.as_ref();
        if self.pending_members.contains_key(&id) && !self.members.contains_key(&id) {
            self.add_and_rebalance(step, call, request, &id);
            return;
        }
        if let Some(error) = self.refuses_member(step, &id, instance) {
            step.respond(call.token, join_error(id, error));
            return;
        }
        let unknown_instance = instance.is_some() && self.static_member(instance).is_none();
        let member = self.members.get(&id).filter(|_| !unknown_instance);
        let Some(member) = member else {
            step.respond(call.token, join_error(id, ErrorCode::UnknownMemberId));
            return;
        };
        // A leader that joins a stable group may have seen something its metadata does not show, such as new partitions.
        // Anybody else who repeats what is known has missed an answer.
        let unchanged = member.matches(&request.protocols);
        match self.state {
            GroupState::CompletingRebalance if unchanged => {
                step.respond(call.token, self.joined(&id));
            }
            GroupState::Stable if unchanged && !self.is_leader(&id) => {
                step.respond(call.token, self.joined(&id));
            }
            GroupState::PreparingRebalance
            | GroupState::CompletingRebalance
            | GroupState::Stable => {
                if let Some(member) = self.members.get_mut(&id) {
                    member.protocols = request.protocols;
                    member.awaiting_join = Some(call.token);
                }
                self.maybe_prepare_rebalance(step);
            }
            GroupState::Empty | GroupState::Dead => {
                step.respond(call.token, join_error(id, ErrorCode::UnknownMemberId));
            }
        }
    }

    fn add_and_rebalance(
        &mut self,
        step: &mut Step<'_, '_>,
        call: &Call,
        request: JoinGroupRequest,
        id: &MemberId,
    ) {
        let member = Member {
            instance: request.group_instance_id,
            client_id: call.client_id.clone(),
            client_host: call.client_host.clone(),
            rebalance_timeout: request.rebalance_timeout,
            session_timeout: request.session_timeout,
            protocols: request.protocols,
            assignment: Bytes::new(),
            awaiting_join: Some(call.token),
            awaiting_sync: None,
            is_new: true,
            session: Alarm::default(),
        };
        if self.state == GroupState::PreparingRebalance && self.generation.0 == 0 {
            self.new_member_added = true;
        }
        self.pending_members.remove(id);
        self.add(id.clone(), member, &request.protocol_type);
        step.note(&self.id, GroupNote::MemberJoined(id.clone()));
        if !step.is_before_kip_394() {
            self.set_session(step, id, NEW_MEMBER_JOIN_TIMEOUT);
        }
        self.maybe_prepare_rebalance(step);
    }

    /// A static member that is not who it says: another process has taken over its instance id (KIP-345).
    pub(super) fn refuses_member(
        &self,
        step: &Step<'_, '_>,
        member: &MemberId,
        instance: Option<&Arc<str>>,
    ) -> Option<ErrorCode> {
        let known = self.static_member(instance)?;
        (step.has(Fix::FenceInstanceId) && known != member).then_some(ErrorCode::FencedInstanceId)
    }

    /// Whether an empty group waits before its first generation (KIP-134).
    pub(super) fn delays_first_generation(step: &Step<'_, '_>) -> bool {
        step.office.behaviour.era >= Era::V1_0
    }
}
