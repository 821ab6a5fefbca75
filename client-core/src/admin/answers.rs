//! What the answers to an admin client's calls mean.

use super::CallId;
use super::call::{Call, Next, Task};
use crate::consumer_protocol::Assignment;
use crate::network::{Network, Peer};
use protocol::api::ResponseBody;
use protocol::api::data::{DeleteRecordsResponse, ListOffsetsResponse};
use protocol::api::group::{DescribeGroupsResponse, FindCoordinatorResponse};
use protocol::api::reassignment::{
    ListPartitionReassignmentsResponse, OngoingPartitionReassignment,
};
use protocol::api::topics::MetadataResponse;
use protocol::error_code::ErrorCode;
use protocol::ids::{BrokerId, Offset, TopicPartition};
use protocol::verb::{
    ClientError, Failure, GroupDescription, Outcome, PartitionDescription, ReassignmentDescription,
};
use std::collections::BTreeMap;

impl Call {
    /// Takes an answer; says how the call goes on.
    pub(super) fn take(&mut self, body: ResponseBody, network: &mut Network<CallId>) -> Next {
        match body {
            ResponseBody::CreateTopics(answer) => {
                self.changed(answer.topics.iter().map(|(_, error, _)| *error), network)
            }
            ResponseBody::DeleteTopics(answer) => {
                self.changed(answer.topics.iter().map(|(_, error)| *error), network)
            }
            ResponseBody::CreatePartitions(answer) => {
                self.changed(answer.topics.iter().map(|(_, error, _)| *error), network)
            }
            ResponseBody::IncrementalAlterConfigs(answer) => {
                self.changed(answer.topics.iter().map(|(_, error, _)| *error), network)
            }
            ResponseBody::ElectLeaders(answer) => {
                let errors = answer.partitions.iter().map(|(_, error)| *error);
                self.changed(std::iter::once(answer.error).chain(errors), network)
            }
            ResponseBody::AlterPartitionReassignments(answer) => {
                let errors = answer.partitions.iter().map(|(_, error)| *error);
                self.changed(std::iter::once(answer.error).chain(errors), network)
            }
            ResponseBody::ListPartitionReassignments(answer) => self.listed_moves(&answer, network),
            ResponseBody::Metadata(answer) => self.described(&answer),
            ResponseBody::FindCoordinator(answer) => self.found_coordinator(answer, network),
            ResponseBody::DescribeGroups(answer) => self.described_group(answer),
            ResponseBody::ListOffsets(answer) => self.listed(&answer, network),
            ResponseBody::DeleteRecords(answer) => self.deleted(&answer, network),
            ResponseBody::Produce(_)
            | ResponseBody::Fetch(_)
            | ResponseBody::LeaderAndIsr(_)
            | ResponseBody::StopReplica(_)
            | ResponseBody::UpdateMetadata(_)
            | ResponseBody::ControlledShutdown(_)
            | ResponseBody::OffsetCommit(_)
            | ResponseBody::OffsetFetch(_)
            | ResponseBody::JoinGroup(_)
            | ResponseBody::Heartbeat(_)
            | ResponseBody::LeaveGroup(_)
            | ResponseBody::SyncGroup(_)
            | ResponseBody::ApiVersions(_)
            | ResponseBody::InitProducerId(_)
            | ResponseBody::OffsetForLeaderEpoch(_)
            | ResponseBody::AddPartitionsToTxn(_)
            | ResponseBody::AddOffsetsToTxn(_)
            | ResponseBody::EndTxn(_)
            | ResponseBody::WriteTxnMarkers(_)
            | ResponseBody::TxnOffsetCommit(_)
            | ResponseBody::AlterIsr(_) => self.refused(ErrorCode::UnknownServerError),
        }
    }

    /// An answer of the controller to a change.
    fn changed(
        &mut self,
        mut errors: impl Iterator<Item = ErrorCode>,
        network: &mut Network<CallId>,
    ) -> Next {
        let Some(error) = errors.find(|error| error.is_error()) else {
            return Next::Done(Outcome::Done(Ok(())));
        };
        if error == ErrorCode::NotController {
            network.metadata.clear_controller();
            return Next::Again;
        }
        self.refused(error)
    }

    /// An error that ends the call.
    fn refused(&mut self, error: ErrorCode) -> Next {
        self.uncertain |= !error.is_definite() && self.changes_something();
        let error = ClientError::Broker(error);
        let failure = if self.uncertain && self.changes_something() {
            Failure::info(error)
        } else {
            Failure::fail(error)
        };
        Next::Done(self.failed(failure))
    }

    fn changes_something(&self) -> bool {
        match self.task {
            Task::CreateTopics(_)
            | Task::DeleteTopics(_)
            | Task::CreatePartitions(..)
            | Task::AlterConfigs(..)
            | Task::ElectLeaders(..)
            | Task::Reassign(_)
            | Task::DeleteRecords { .. } => true,
            Task::DescribeTopics(_)
            | Task::DescribeGroup(..)
            | Task::ListReassignments
            | Task::ListOffsets { .. } => false,
        }
    }

    fn listed_moves(
        &mut self,
        answer: &ListPartitionReassignmentsResponse,
        network: &mut Network<CallId>,
    ) -> Next {
        if answer.error.is_error() {
            return self.changed(std::iter::once(answer.error), network);
        }
        let ids = |list: &[BrokerId]| list.iter().map(|id| id.0).collect();
        let one = |ongoing: &OngoingPartitionReassignment| {
            let described = ReassignmentDescription {
                replicas: ids(&ongoing.replicas),
                adding: ids(&ongoing.adding),
                removing: ids(&ongoing.removing),
            };
            (ongoing.partition.clone(), described)
        };
        let moves = answer.partitions.iter().map(one).collect();
        Next::Done(Outcome::Reassignments(Ok(moves)))
    }

    fn described(&mut self, answer: &MetadataResponse) -> Next {
        let mut described = Vec::new();
        for topic in &answer.topics {
            if topic.error.is_error() {
                return if topic.error == ErrorCode::LeaderNotAvailable {
                    Next::Again
                } else {
                    self.refused(topic.error)
                };
            }
            for part in &topic.partitions {
                described.push(PartitionDescription {
                    partition: TopicPartition::new(topic.topic.clone(), part.partition.0),
                    leader: part.leader.map(|leader| leader.0),
                    replicas: part.replicas.iter().map(|id| id.0).collect(),
                    isr: part.isr.iter().map(|id| id.0).collect(),
                });
            }
        }
        described.sort_by(|a, b| a.partition.cmp(&b.partition));
        Next::Done(Outcome::Described(Ok(described)))
    }

    fn found_coordinator(
        &mut self,
        answer: FindCoordinatorResponse,
        network: &mut Network<CallId>,
    ) -> Next {
        if answer.error.is_retriable() {
            return Next::Again;
        }
        let (Task::DescribeGroup(_, coordinator), Some((id, endpoint))) =
            (&mut self.task, answer.coordinator)
        else {
            return self.refused(answer.error);
        };
        *coordinator = Some(id);
        network.learn(Peer::Broker(id), endpoint);
        Next::AtOnce
    }

    fn described_group(&mut self, mut answer: DescribeGroupsResponse) -> Next {
        let Some(group) = answer.groups.pop() else {
            return self.refused(ErrorCode::UnknownServerError);
        };
        if group.error.is_retriable() {
            if let Task::DescribeGroup(_, coordinator) = &mut self.task {
                *coordinator = None;
            }
            return Next::Again;
        }
        if group.error.is_error() {
            return self.refused(group.error);
        }
        let members = group
            .members
            .into_iter()
            .map(|(member, _, bytes)| {
                let assignment = Assignment::decode(bytes).unwrap_or_default();
                (member.as_str().to_owned(), assignment.partitions)
            })
            .collect();
        Next::Done(Outcome::Group(Ok(GroupDescription {
            state: group.state.to_string(),
            members,
        })))
    }

    fn listed(&mut self, answer: &ListOffsetsResponse, network: &mut Network<CallId>) -> Next {
        let Task::ListOffsets { open, found, .. } = &mut self.task else {
            return self.refused(ErrorCode::UnknownServerError);
        };
        let mut fatal = None;
        for part in &answer.partitions {
            if part.error.is_none() {
                open.retain(|partition| *partition != part.partition);
                found.insert(part.partition.clone(), part.offset);
            } else if part.error.is_retriable() {
                network.metadata.request_update();
            } else {
                fatal = Some(part.error);
            }
        }
        let complete = open.is_empty().then(|| std::mem::take(found));
        self.conclude(fatal, complete)
    }

    /// A call that several leaders answer: one has refused it, all have answered, or some are still to be asked or to answer.
    fn conclude(
        &mut self,
        fatal: Option<ErrorCode>,
        complete: Option<BTreeMap<TopicPartition, Option<Offset>>>,
    ) -> Next {
        match (fatal, complete) {
            (Some(error), _) => self.refused(error),
            (None, Some(offsets)) => Next::Done(Outcome::Offsets(Ok(offsets))),
            (None, None) if self.in_flight == 0 => Next::Again,
            (None, None) => Next::Wait,
        }
    }

    /// The Java client asks for metadata before each such call; this one remembers them, and asks again where they turn
    /// out to be old.
    fn deleted(&mut self, answer: &DeleteRecordsResponse, network: &mut Network<CallId>) -> Next {
        let Task::DeleteRecords { open, done } = &mut self.task else {
            return self.refused(ErrorCode::UnknownServerError);
        };
        let mut fatal = None;
        for part in &answer.partitions {
            if part.error.is_none() {
                open.remove(&part.partition);
                done.insert(part.partition.clone(), part.low_watermark);
            } else if part.error == ErrorCode::NotLeaderOrFollower {
                network.metadata.request_update();
            } else {
                fatal = Some(part.error);
            }
        }
        let complete = open.is_empty().then(|| std::mem::take(done));
        self.conclude(fatal, complete)
    }
}
