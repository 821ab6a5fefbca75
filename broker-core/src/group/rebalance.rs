//! The join phase: from the first reason to rebalance to the new generation (`prepareRebalance`, `DelayedJoin`,
//! `InitialDelayedJoin`, `onCompleteJoin`).

use super::answers::{no_member, sync_error};
use super::deadlines::Deadline;
use super::state::{Group, GroupState, JoinBarrier};
use super::{Step, storage};
use bytes::Bytes;
use protocol::behaviour::Fix;
use protocol::error_code::ErrorCode;
use protocol::ids::MemberId;
use protocol::note::{GroupNote, RemovalReason};
use protocol::time::Span;
use std::collections::BTreeMap;

impl Group {
    /// Goes to another state.
    ///
    /// # Panics
    /// When there is no such transition: a bug here.
    pub(super) fn transition(&mut self, step: &mut Step<'_, '_>, next: GroupState) {
        assert!(
            self.state.may_become(next),
            "a group cannot go from {} to {}",
            self.state.name(),
            next.name()
        );
        self.state = next;
        self.state_since = Some(step.wall_ms());
        step.note(&self.id, GroupNote::State(next.name()));
    }

    /// Starts a rebalance unless one is being prepared, or the group is gone.
    pub(super) fn maybe_prepare_rebalance(&mut self, step: &mut Step<'_, '_>) {
        if self.state.may_become(GroupState::PreparingRebalance) {
            self.prepare_rebalance(step);
        }
    }

    /// Starts a rebalance. Those who wait for an assignment are told to join again.
    pub(super) fn prepare_rebalance(&mut self, step: &mut Step<'_, '_>) {
        if self.state == GroupState::CompletingRebalance {
            self.drop_assignments(step, ErrorCode::RebalanceInProgress);
        }
        self.pending_syncs.clear();
        self.sync_alarm.clear();
        let settings = step.office.settings;
        if self.state == GroupState::Empty && Self::delays_first_generation(step) {
            let delay = settings.initial_delay;
            let remaining = self.rebalance_timeout().saturating_sub(delay);
            self.wait_for_joins(step, delay, JoinBarrier::Initial { delay, remaining });
        } else {
            self.wait_for_joins(step, self.rebalance_timeout(), JoinBarrier::Members);
        }
        self.transition(step, GroupState::PreparingRebalance);
        self.complete_join_if_all_joined(step);
    }

    fn wait_for_joins(&mut self, step: &mut Step<'_, '_>, wait: Span, barrier: JoinBarrier) {
        self.barrier = barrier;
        let at = step.now.mono + wait;
        let id = &self.id;
        let name = || Deadline::Join(id.clone());
        step.office.deadlines.set(&mut self.join_alarm, at, name);
    }

    /// Ends the join phase early when nobody is missing. The first delay of an empty group is never cut short.
    pub(super) fn complete_join_if_all_joined(&mut self, step: &mut Step<'_, '_>) {
        if self.state == GroupState::PreparingRebalance
            && self.barrier == JoinBarrier::Members
            && self.has_all_members_joined()
        {
            self.join_alarm.clear();
            self.complete_join(step);
        }
    }

    /// The wait for joins is over.
    pub(super) fn on_join_expired(&mut self, step: &mut Step<'_, '_>) {
        if self.state != GroupState::PreparingRebalance {
            return;
        }
        match self.barrier {
            JoinBarrier::Initial { delay, remaining }
                if self.new_member_added && remaining > Span::ZERO =>
            {
                self.new_member_added = false;
                let next = step.office.settings.initial_delay.min(remaining);
                let barrier = JoinBarrier::Initial {
                    delay: next,
                    remaining: remaining.saturating_sub(delay),
                };
                self.wait_for_joins(step, next, barrier);
            }
            JoinBarrier::Initial { .. } | JoinBarrier::Members => self.complete_join(step),
        }
    }

    /// Ends the join phase: whoever has not joined is out, static members excepted, whose session decides.
    fn complete_join(&mut self, step: &mut Step<'_, '_>) {
        let missing: Vec<MemberId> = self
            .members
            .iter()
            .filter(|(_, member)| member.awaiting_join.is_none() && !member.is_static())
            .map(|(id, _)| id.clone())
            .collect();
        for id in missing {
            self.remove(&id);
            let note = GroupNote::MemberRemoved(id, RemovalReason::RebalanceTimeout);
            step.note(&self.id, note);
        }
        if !self.elect_joined_leader() && !self.members.is_empty() {
            // Nobody joined: the sessions of those who stay away will end it.
            self.wait_for_joins(step, self.rebalance_timeout(), JoinBarrier::Members);
            return;
        }
        self.start_generation(step);
        if self.members.is_empty() {
            // Not waited for: a generation without members that is not written down does no harm.
            let batch = storage::group_batch(self, &BTreeMap::new(), step);
            step.append(self.partition, batch, Some(super::Waiting::EmptyGroup));
        } else {
            self.answer_joins(step);
        }
    }

    fn start_generation(&mut self, step: &mut Step<'_, '_>) {
        self.generation = self.generation.next();
        self.protocol = self.select_protocol();
        self.learn_subscriptions();
        self.new_member_added = false;
        let next = if self.members.is_empty() {
            GroupState::Empty
        } else {
            GroupState::CompletingRebalance
        };
        self.transition(step, next);
        let note = GroupNote::Generation {
            generation: self.generation,
            members: self.members.keys().cloned().collect(),
        };
        step.note(&self.id, note);
    }

    fn answer_joins(&mut self, step: &mut Step<'_, '_>) {
        let ids: Vec<MemberId> = self.members.keys().cloned().collect();
        for id in &ids {
            let Some(member) = self.members.get_mut(id) else {
                continue;
            };
            let was_new = std::mem::take(&mut member.is_new);
            if let Some(token) = member.awaiting_join.take() {
                step.respond(token, self.joined(id));
            }
            // KAFKA-9752, from 2.2 to 2.5: the session of a new member was taken for satisfied, and so never watched.
            if !was_new || step.has(Fix::JoinAfterExpiry) || step.is_before_kip_394() {
                self.reset_session(step, id);
            }
        }
        if step.has(Fix::CompletingRebalanceEnds) {
            self.pending_syncs = ids.into_iter().collect();
            let (at, id) = (step.now.mono + self.rebalance_timeout(), &self.id);
            let name = || Deadline::Sync(id.clone());
            step.office.deadlines.set(&mut self.sync_alarm, at, name);
        }
    }

    /// Some members never asked for their assignment: they are out (KAFKA-12890).
    pub(super) fn on_sync_expired(&mut self, step: &mut Step<'_, '_>) {
        let waiting = matches!(
            self.state,
            GroupState::CompletingRebalance | GroupState::Stable
        );
        let late = std::mem::take(&mut self.pending_syncs);
        if !waiting || late.is_empty() {
            return;
        }
        for id in late {
            if let Some(member) = self.remove(&id) {
                self.forget_instance(member.instance.as_ref());
                let note = GroupNote::MemberRemoved(id, RemovalReason::RebalanceTimeout);
                step.note(&self.id, note);
            }
        }
        self.prepare_rebalance(step);
    }

    pub(super) fn forget_instance(&mut self, instance: Option<&std::sync::Arc<str>>) {
        if let Some(instance) = instance {
            self.static_members.remove(instance);
        }
    }

    /// Takes back the assignments of a generation that never became stable (`resetAndPropagateAssignmentError`).
    pub(super) fn drop_assignments(&mut self, step: &mut Step<'_, '_>, error: ErrorCode) {
        let mut answered = Vec::new();
        for (id, member) in &mut self.members {
            member.assignment = Bytes::new();
            if let Some(token) = member.awaiting_sync.take() {
                step.respond(token, sync_error(error));
                answered.push(id.clone());
            }
        }
        for id in answered {
            self.reset_session(step, &id);
        }
    }

    /// Takes a member out, and starts or continues a rebalance. Somebody who still waits with this id may try again.
    pub(super) fn remove_and_rebalance(
        &mut self,
        step: &mut Step<'_, '_>,
        id: &MemberId,
        reason: RemovalReason,
    ) {
        let Some(member) = self.remove(id) else {
            return;
        };
        if let Some(token) = member.awaiting_join {
            let answer = super::answers::join_error(no_member(), ErrorCode::UnknownMemberId);
            step.respond(token, answer);
        }
        self.forget_instance(member.instance.as_ref());
        step.note(&self.id, GroupNote::MemberRemoved(id.clone(), reason));
        match self.state {
            GroupState::Dead | GroupState::Empty => {}
            GroupState::Stable | GroupState::CompletingRebalance => {
                self.maybe_prepare_rebalance(step);
            }
            GroupState::PreparingRebalance => self.complete_join_if_all_joined(step),
        }
    }

    /// A member id that was given out is withdrawn.
    pub(super) fn remove_pending(&mut self, step: &mut Step<'_, '_>, id: &MemberId) {
        self.pending_members.remove(id);
        self.complete_join_if_all_joined(step);
    }
}
