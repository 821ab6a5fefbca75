//! Static members (KIP-345): a process that comes back with its `group.instance.id` takes its old place
//! (`updateStaticMemberAndRebalance`, `replaceGroupInstance`).

use super::answers::{join_error, no_member, sync_error};
use super::deadlines::Alarm;
use super::member::Protocols;
use super::state::{Group, GroupState};
use super::sync::group_error;
use super::{Call, Step, Waiting, storage};
use bytes::Bytes;
use protocol::api::group::{JoinGroupRequest, JoinGroupResponse};
use protocol::behaviour::Fix;
use protocol::error_code::ErrorCode;
use protocol::ids::{GroupId, MemberId, Offset};
use protocol::machine::RequestToken;
use protocol::note::{GroupNote, RemovalReason};
use std::collections::BTreeMap;

/// A static member's new id on its way into the log.
#[derive(Clone, Debug)]
pub(super) struct Replacement {
    group: GroupId,
    incarnation: u64,
    token: RequestToken,
    old: MemberId,
    new: MemberId,
    old_protocols: Protocols,
    /// Who led before: a leader that comes back under a new id must not take itself for the leader, because a stable
    /// group would not hand its assignment out.
    leader: Option<MemberId>,
}

impl Group {
    /// A known instance joins without an id: it is `new` from now on, and the process it replaces is fenced.
    pub(super) fn replace_static(
        &mut self,
        step: &mut Step<'_, '_>,
        call: &Call,
        request: JoinGroupRequest,
        new: MemberId,
    ) {
        let instance = request.group_instance_id.as_ref();
        let Some(old) = self.static_member(instance).cloned() else {
            return;
        };
        let leader = self.leader.clone();
        self.fence(step, &old);
        self.rename(step, &old, &new, RemovalReason::Replaced);
        let Some(member) = self.members.get_mut(&new) else {
            return;
        };
        let old_protocols = std::mem::replace(&mut member.protocols, request.protocols);
        member.awaiting_join = Some(call.token);
        self.reset_session(step, &new);
        let replacement = Replacement {
            group: self.id.clone(),
            incarnation: self.incarnation,
            token: call.token,
            old,
            new,
            old_protocols,
            leader,
        };
        match self.state {
            // KAFKA-10284: answered at once, whatever its protocols are, and known to this coordinator alone.
            GroupState::Stable if !step.has(Fix::PersistReplacement) => {
                replacement.conclude(step, self, Ok(()));
            }
            GroupState::Stable if self.protocol == self.select_protocol() => {
                self.store_replacement(step, replacement);
            }
            GroupState::Stable => self.maybe_prepare_rebalance(step),
            // The leader may have assigned to the old id already.
            GroupState::CompletingRebalance => self.prepare_rebalance(step),
            GroupState::PreparingRebalance | GroupState::Empty | GroupState::Dead => {}
        }
    }

    /// Answers what the replaced process waits for.
    fn fence(&mut self, step: &mut Step<'_, '_>, id: &MemberId) {
        let error = if step.has(Fix::FenceInstanceId) {
            ErrorCode::FencedInstanceId
        } else {
            ErrorCode::UnknownMemberId
        };
        let Some(member) = self.members.get_mut(id) else {
            return;
        };
        if let Some(token) = member.awaiting_join.take() {
            step.respond(token, join_error(id.clone(), error));
        }
        if let Some(token) = member.awaiting_sync.take() {
            step.respond(token, sync_error(error));
        }
    }

    fn rename(
        &mut self,
        step: &mut Step<'_, '_>,
        old: &MemberId,
        new: &MemberId,
        reason: RemovalReason,
    ) {
        let Some(mut member) = self.members.remove(old) else {
            return;
        };
        // The queue knows the session under the old id.
        member.session = Alarm::default();
        if let Some(instance) = &member.instance {
            self.static_members.insert(instance.clone(), new.clone());
        }
        self.members.insert(new.clone(), member);
        if self.is_leader(old) {
            self.leader = Some(new.clone());
        }
        if self.pending_syncs.remove(old) {
            self.pending_syncs.insert(new.clone());
        }
        step.note(&self.id, GroupNote::MemberRemoved(old.clone(), reason));
        step.note(&self.id, GroupNote::MemberJoined(new.clone()));
    }

    fn store_replacement(&mut self, step: &mut Step<'_, '_>, replacement: Replacement) {
        let assignments: BTreeMap<MemberId, Bytes> = self
            .members
            .iter()
            .map(|(id, member)| (id.clone(), member.assignment.clone()))
            .collect();
        let batch = storage::group_batch(self, &assignments, step);
        let waiting = Waiting::Replacement(Box::new(replacement));
        step.append(self.partition, batch, Some(waiting));
    }
}

impl Replacement {
    /// The new id is committed, or failed and taken back.
    pub(super) fn finish(
        self,
        step: &mut Step<'_, '_>,
        groups: &mut BTreeMap<GroupId, Group>,
        result: Result<Offset, ErrorCode>,
    ) {
        let group = groups
            .get_mut(&self.group)
            .filter(|group| group.incarnation == self.incarnation);
        if let Some(group) = group {
            self.conclude(step, group, result.map(|_| ()));
        }
    }

    /// Answers the join under the new id.
    fn conclude(self, step: &mut Step<'_, '_>, group: &mut Group, result: Result<(), ErrorCode>) {
        // Somebody may have replaced the member again meanwhile, and answered this join with that.
        let Some(member) = group
            .members
            .get_mut(&self.new)
            .filter(|member| member.awaiting_join == Some(self.token))
        else {
            return;
        };
        member.awaiting_join = None;
        let mut answer = JoinGroupResponse {
            error: ErrorCode::None,
            generation_id: group.generation,
            protocol: group.protocol.clone(),
            leader: self.leader.unwrap_or_else(no_member),
            member_id: self.new.clone(),
            members: Vec::new(),
        };
        if let Err(error) = result {
            member.protocols = self.old_protocols;
            group.rename(step, &self.new, &self.old, RemovalReason::Replaced);
            group.reset_session(step, &self.old);
            answer.error = group_error(error);
            answer.member_id = no_member();
        }
        step.respond(self.token, answer);
    }
}
