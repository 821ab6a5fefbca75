//! The responses of the coordinator, put together in one place.

use super::state::{Group, GroupState};
use super::{Call, Registry, Step};
use bytes::Bytes;
use protocol::api::group::{
    DescribeGroupsRequest, DescribeGroupsResponse, DescribedGroup, JoinGroupResponse,
    SyncGroupResponse,
};
use protocol::error_code::ErrorCode;
use protocol::ids::{GenerationId, MemberId};
use std::sync::Arc;

/// The generation of a response that has none.
pub(super) const NO_GENERATION: GenerationId = GenerationId(-1);

/// The member id of a consumer that has none yet.
pub(super) fn no_member() -> MemberId {
    MemberId::from("")
}

/// A join that failed.
pub(super) fn join_error(member_id: MemberId, error: ErrorCode) -> JoinGroupResponse {
    JoinGroupResponse {
        error,
        generation_id: NO_GENERATION,
        protocol: None,
        leader: no_member(),
        member_id,
        members: Vec::new(),
    }
}

/// A sync that failed.
pub(super) fn sync_error(error: ErrorCode) -> SyncGroupResponse {
    SyncGroupResponse {
        error,
        assignment: Bytes::new(),
    }
}

impl Group {
    /// The present generation as a member is told it; the leader gets everybody's metadata.
    pub(super) fn joined(&self, member_id: &MemberId) -> JoinGroupResponse {
        JoinGroupResponse {
            error: ErrorCode::None,
            generation_id: self.generation,
            protocol: self.protocol.clone(),
            leader: self.leader.clone().unwrap_or_else(no_member),
            member_id: member_id.clone(),
            members: if self.is_leader(member_id) {
                self.member_list()
            } else {
                Vec::new()
            },
        }
    }

    fn described(&self) -> DescribedGroup {
        let stable = self.state == GroupState::Stable;
        let members = self.members.iter().map(|(id, member)| {
            let assignment = if stable {
                member.assignment.clone()
            } else {
                Bytes::new()
            };
            (id.clone(), member.client_id.clone(), assignment)
        });
        DescribedGroup {
            error: ErrorCode::None,
            group_id: self.id.clone(),
            state: Arc::from(self.state.name()),
            protocol: self.protocol.clone().filter(|_| stable),
            members: members.collect(),
        }
    }
}

impl Registry {
    /// A group that nobody knows here is described as dead.
    pub(super) fn describe(
        &self,
        step: &mut Step<'_, '_>,
        call: &Call,
        request: DescribeGroupsRequest,
    ) {
        let nothing = |group_id, error, state: &str| DescribedGroup {
            error,
            group_id,
            state: Arc::from(state),
            protocol: None,
            members: Vec::new(),
        };
        let groups = request.groups.into_iter();
        let groups = groups.map(|id| match self.validate(step.office, &id) {
            Err(error) => nothing(id, error, ""),
            Ok(()) => match self.groups.get(&id) {
                Some(group) => group.described(),
                None => nothing(id, ErrorCode::None, GroupState::Dead.name()),
            },
        });
        let groups = groups.collect();
        step.respond(call.token, DescribeGroupsResponse { groups });
    }
}
