//! `SyncGroup`: the leader's assignments, which count once they are written down (`doSyncGroup`, `storeGroup`).

use super::answers::sync_error;
use super::state::{Group, GroupState};
use super::{Call, Registry, Step, Waiting, storage};
use bytes::Bytes;
use protocol::api::group::{SyncGroupRequest, SyncGroupResponse};
use protocol::error_code::ErrorCode;
use protocol::ids::{GenerationId, GroupId, MemberId, Offset};
use std::collections::BTreeMap;

/// Assignments on their way into the log.
#[derive(Clone, Debug)]
pub(super) struct StoredAssignment {
    group: GroupId,
    incarnation: u64,
    generation: GenerationId,
    assignments: BTreeMap<MemberId, Bytes>,
}

impl Registry {
    pub(super) fn sync_group(
        &mut self,
        step: &mut Step<'_, '_>,
        call: &Call,
        request: SyncGroupRequest,
    ) {
        let valid = if request.group_instance_id.is_some() && step.office.refuses_instances() {
            Err(ErrorCode::UnsupportedVersion)
        } else {
            self.validate_membership(step.office, &request.group_id)
        };
        let error = match (valid, self.groups.get_mut(&request.group_id)) {
            // Whatever rebalance this belongs to is forgotten; older clients do not know the true answer.
            (Err(ErrorCode::CoordinatorLoadInProgress), _) => ErrorCode::RebalanceInProgress,
            (Err(error), _) => error,
            (Ok(()), None) => ErrorCode::UnknownMemberId,
            (Ok(()), Some(group)) => match group.refuses_sync(step, &request) {
                Some(error) => error,
                None => return group.sync(step, call, request),
            },
        };
        step.respond(call.token, sync_error(error));
    }
}

impl Group {
    fn refuses_sync(&self, step: &Step<'_, '_>, request: &SyncGroupRequest) -> Option<ErrorCode> {
        let instance = request.group_instance_id.as_ref();
        if let Some(error) = self.refuses_member(step, &request.member_id, instance) {
            return Some(error);
        }
        if !self.members.contains_key(&request.member_id) {
            return Some(ErrorCode::UnknownMemberId);
        }
        if request.generation_id != self.generation {
            return Some(ErrorCode::IllegalGeneration);
        }
        match self.state {
            GroupState::Empty | GroupState::Dead => Some(ErrorCode::UnknownMemberId),
            GroupState::PreparingRebalance => Some(ErrorCode::RebalanceInProgress),
            GroupState::CompletingRebalance | GroupState::Stable => None,
        }
    }

    fn sync(&mut self, step: &mut Step<'_, '_>, call: &Call, request: SyncGroupRequest) {
        let id = request.member_id;
        self.pending_syncs.remove(&id);
        let Some(member) = self.members.get_mut(&id) else {
            return;
        };
        if self.state == GroupState::Stable {
            let answer = SyncGroupResponse {
                error: ErrorCode::None,
                assignment: member.assignment.clone(),
            };
            step.respond(call.token, answer);
            self.reset_session(step, &id);
            return;
        }
        member.awaiting_sync = Some(call.token);
        if self.is_leader(&id) {
            self.store_assignments(step, request.assignments.into_iter().collect());
        }
    }

    fn store_assignments(
        &mut self,
        step: &mut Step<'_, '_>,
        mut assignments: BTreeMap<MemberId, Bytes>,
    ) {
        for id in self.members.keys() {
            if !assignments.contains_key(id) {
                assignments.insert(id.clone(), Bytes::new());
            }
        }
        let batch = storage::group_batch(self, &assignments, step);
        let stored = StoredAssignment {
            group: self.id.clone(),
            incarnation: self.incarnation,
            generation: self.generation,
            assignments,
        };
        step.append(self.partition, batch, Some(Waiting::Assignment(stored)));
    }
}

impl StoredAssignment {
    /// The record is committed, or failed: only a group that still waits for it cares.
    pub(super) fn finish(
        self,
        step: &mut Step<'_, '_>,
        groups: &mut BTreeMap<GroupId, Group>,
        result: Result<Offset, ErrorCode>,
    ) {
        let Some(group) = groups.get_mut(&self.group).filter(|group| {
            group.incarnation == self.incarnation
                && group.state == GroupState::CompletingRebalance
                && group.generation == self.generation
        }) else {
            return;
        };
        if let Err(error) = result {
            group.drop_assignments(step, group_error(error));
            group.maybe_prepare_rebalance(step);
        } else {
            group.hand_out(step, &self.assignments);
            group.transition(step, GroupState::Stable);
        }
    }
}

impl Group {
    /// Gives every member its assignment; who waited gets a fresh session with it.
    fn hand_out(&mut self, step: &mut Step<'_, '_>, assignments: &BTreeMap<MemberId, Bytes>) {
        let mut answered = Vec::new();
        for (id, member) in &mut self.members {
            member.assignment = assignments.get(id).cloned().unwrap_or_default();
            if let Some(token) = member.awaiting_sync.take() {
                let answer = SyncGroupResponse {
                    error: ErrorCode::None,
                    assignment: member.assignment.clone(),
                };
                step.respond(token, answer);
                answered.push(id.clone());
            }
        }
        for id in answered {
            self.reset_session(step, &id);
        }
    }
}

/// What members are told when their group cannot be written down (`GroupMetadataManager.storeGroup`).
pub(super) fn group_error(error: ErrorCode) -> ErrorCode {
    if error == ErrorCode::RequestTimedOut {
        ErrorCode::RebalanceInProgress
    } else if is_too_large(error) {
        ErrorCode::UnknownServerError
    } else {
        coordinator_error(error)
    }
}

/// The batch does not fit into the log.
pub(super) fn is_too_large(error: ErrorCode) -> bool {
    matches!(
        error,
        ErrorCode::MessageTooLarge | ErrorCode::RecordListTooLarge | ErrorCode::InvalidFetchSize
    )
}

/// An error of the offsets partition as an error of its coordinator; others pass as they are.
pub(super) fn coordinator_error(error: ErrorCode) -> ErrorCode {
    let unavailable = matches!(
        error,
        ErrorCode::UnknownTopicOrPartition
            | ErrorCode::NotEnoughReplicas
            | ErrorCode::NotEnoughReplicasAfterAppend
    );
    let elsewhere = matches!(
        error,
        ErrorCode::NotLeaderOrFollower | ErrorCode::KafkaStorageError
    );
    if unavailable {
        ErrorCode::CoordinatorNotAvailable
    } else if elsewhere {
        ErrorCode::NotCoordinator
    } else {
        error
    }
}
