//! One call of the admin client (`KafkaAdminClient.Call`): what is asked of whom, and what is still open.

use crate::metadata::Metadata;
use protocol::api::RequestBody;
use protocol::api::data::{DeleteRecordsRequest, IsolationLevel, ListOffsetsRequest, OffsetSpec};
use protocol::api::group::{CoordinatorKind, DescribeGroupsRequest, FindCoordinatorRequest};
use protocol::api::reassignment::{
    AlterPartitionReassignmentsRequest, ListPartitionReassignmentsRequest,
};
use protocol::api::topics::{
    CreatePartitionsRequest, CreateTopicsRequest, DeleteTopicsRequest, ElectLeadersRequest,
    IncrementalAlterConfigsRequest, MetadataRequest, NewPartitions,
};
use protocol::ids::{BrokerId, GroupId, LeaderEpoch, Offset, TopicName, TopicPartition};
use protocol::time::{Mono, Span};
use protocol::verb::{ClientError, Failure, NewTopic, OperationId, Outcome, Verb};
use std::collections::BTreeMap;

/// Who has to be asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Target {
    Anybody,
    Controller,
    Broker(BrokerId),
}

/// What is asked for.
#[derive(Clone, Debug)]
pub(super) enum Task {
    CreateTopics(Vec<NewTopic>),
    DeleteTopics(Vec<TopicName>),
    CreatePartitions(TopicName, i32),
    AlterConfigs(TopicName, BTreeMap<String, Option<String>>),
    ElectLeaders(bool, Vec<TopicPartition>),
    Reassign(BTreeMap<TopicPartition, Option<Vec<i32>>>),
    ListReassignments,
    DescribeTopics(Vec<TopicName>),
    DescribeGroup(GroupId, Option<BrokerId>),
    /// The partitions still open, and what was found of the others.
    ListOffsets {
        spec: OffsetSpec,
        open: Vec<TopicPartition>,
        found: BTreeMap<TopicPartition, Option<Offset>>,
    },
    /// The deletions still open, and the low watermarks of the others.
    DeleteRecords {
        open: BTreeMap<TopicPartition, Option<Offset>>,
        done: BTreeMap<TopicPartition, Option<Offset>>,
    },
}

impl Task {
    /// The task of a verb; none for one that is not an admin client's.
    pub(super) fn of(verb: Verb) -> Option<Self> {
        let list = |spec, open| Self::ListOffsets {
            spec,
            open,
            found: BTreeMap::new(),
        };
        Some(match verb {
            Verb::CreateTopics(topics) => Self::CreateTopics(topics),
            Verb::DeleteTopics(topics) => Self::DeleteTopics(topics),
            Verb::CreatePartitions(topic, total) => Self::CreatePartitions(topic, total),
            Verb::AlterConfigs(topic, changes) => Self::AlterConfigs(topic, changes),
            Verb::DeleteRecords(open) => Self::DeleteRecords {
                open,
                done: BTreeMap::new(),
            },
            Verb::Reassign(wanted) => Self::Reassign(wanted),
            Verb::ListReassignments => Self::ListReassignments,
            Verb::ElectLeaders {
                unclean,
                partitions,
            } => Self::ElectLeaders(unclean, partitions),
            Verb::DescribeTopics(topics) => Self::DescribeTopics(topics),
            Verb::DescribeGroup(group) => Self::DescribeGroup(group, None),
            Verb::EndOffsets(partitions) => list(OffsetSpec::Latest, partitions),
            Verb::BeginningOffsets(partitions) => list(OffsetSpec::Earliest, partitions),
            Verb::Send(_)
            | Verb::Flush
            | Verb::Subscribe(_)
            | Verb::SubscribePattern(_)
            | Verb::Assign(_)
            | Verb::Unsubscribe
            | Verb::Seek(..)
            | Verb::SeekToBeginning(_)
            | Verb::SeekToEnd(_)
            | Verb::Pause(_)
            | Verb::Resume(_)
            | Verb::Poll(_)
            | Verb::ListenerReturned
            | Verb::CommitSync(_)
            | Verb::CommitAsync(_)
            | Verb::Committed(_)
            | Verb::Close(_)
            | Verb::InitTransactions
            | Verb::BeginTransaction
            | Verb::SendOffsetsToTransaction(..)
            | Verb::CommitTransaction
            | Verb::AbortTransaction
            | Verb::GroupMetadata
            | Verb::Position(_)
            | Verb::CreateStreams(_)
            | Verb::CreateStreamsByFilter(..)
            | Verb::NextMessage(_)
            | Verb::ExpireSession(_) => return None,
        })
    }

    /// Topics whose leaders it has to know.
    pub(super) fn topics_of_interest(&self) -> Vec<TopicName> {
        match self {
            Self::ListOffsets { open, .. } => open
                .iter()
                .map(|partition| partition.topic.clone())
                .collect(),
            Self::DeleteRecords { open, .. } => open
                .keys()
                .map(|partition| partition.topic.clone())
                .collect(),
            Self::CreateTopics(_)
            | Self::DeleteTopics(_)
            | Self::CreatePartitions(..)
            | Self::AlterConfigs(..)
            | Self::ElectLeaders(..)
            | Self::Reassign(_)
            | Self::ListReassignments
            | Self::DescribeTopics(_)
            | Self::DescribeGroup(..) => Vec::new(),
        }
    }
}

/// How a call goes on.
#[derive(Debug)]
pub(super) enum Next {
    /// Other answers are still to come.
    Wait,
    /// Once more after a rest.
    Again,
    /// The next step now.
    AtOnce,
    /// Answered.
    Done(Outcome),
}

/// A call.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) operation: OperationId,
    pub(super) task: Task,
    pub(super) until: Mono,
    /// When it may be sent; none while it is under way.
    pub(super) ready_at: Option<Mono>,
    pub(super) in_flight: usize,
    /// Tries that were sent and lost.
    attempts: u32,
    /// A try may have worked without an answer.
    pub(super) uncertain: bool,
}

impl Call {
    pub(super) const fn new(operation: OperationId, task: Task, until: Mono) -> Self {
        Self {
            operation,
            task,
            until,
            ready_at: Some(Mono(0)),
            in_flight: 0,
            attempts: 0,
            uncertain: false,
        }
    }

    /// The requests of the next step; none while a leader is not known.
    pub(super) fn requests(&self, now: Mono, metadata: &Metadata) -> Vec<(Target, RequestBody)> {
        let timeout = self.until.since(now);
        let request = match &self.task {
            Task::DescribeGroup(group, coordinator) => describe_group(group, *coordinator),
            Task::ListOffsets { spec, open, .. } => return list_offsets(*spec, open, metadata),
            Task::DeleteRecords { open, .. } => return delete_records(open, timeout, metadata),
            Task::DescribeTopics(topics) => (
                Target::Anybody,
                MetadataRequest {
                    topics: (!topics.is_empty()).then(|| topics.clone()),
                    allow_auto_topic_creation: false,
                }
                .into(),
            ),
            Task::AlterConfigs(topic, changes) => (
                Target::Anybody,
                IncrementalAlterConfigsRequest {
                    topics: vec![(topic.clone(), changes.clone())],
                    validate_only: false,
                }
                .into(),
            ),
            Task::CreateTopics(_)
            | Task::DeleteTopics(_)
            | Task::CreatePartitions(..)
            | Task::ElectLeaders(..)
            | Task::Reassign(_)
            | Task::ListReassignments => (Target::Controller, self.controller_request(timeout)),
        };
        vec![request]
    }

    fn controller_request(&self, timeout: Span) -> RequestBody {
        match &self.task {
            Task::CreateTopics(topics) => CreateTopicsRequest {
                topics: topics.clone(),
                timeout,
                validate_only: false,
            }
            .into(),
            Task::DeleteTopics(topics) => DeleteTopicsRequest {
                topics: topics.clone(),
                timeout,
            }
            .into(),
            Task::CreatePartitions(topic, total) => CreatePartitionsRequest {
                topics: vec![NewPartitions {
                    topic: topic.clone(),
                    total: *total,
                    assignment: None,
                }],
                timeout,
            }
            .into(),
            Task::ElectLeaders(unclean, partitions) => ElectLeadersRequest {
                unclean: *unclean,
                partitions: (!partitions.is_empty()).then(|| partitions.clone()),
                timeout,
            }
            .into(),
            Task::Reassign(wanted) => {
                let ids = |list: &Vec<i32>| list.iter().copied().map(BrokerId).collect();
                let one = |(partition, target): (&TopicPartition, &Option<Vec<i32>>)| {
                    (partition.clone(), target.as_ref().map(ids))
                };
                AlterPartitionReassignmentsRequest {
                    partitions: wanted.iter().map(one).collect(),
                    timeout,
                }
                .into()
            }
            Task::ListReassignments => ListPartitionReassignmentsRequest {
                partitions: None,
                timeout,
            }
            .into(),
            Task::DescribeTopics(_)
            | Task::DescribeGroup(..)
            | Task::AlterConfigs(..)
            | Task::ListOffsets { .. }
            | Task::DeleteRecords { .. } => {
                unreachable!("these do not go to the controller")
            }
        }
    }

    /// A request got no answer.
    pub(super) fn lost(&mut self, sent: bool, retries: i32) -> Next {
        if !sent {
            return if self.in_flight == 0 {
                Next::Again
            } else {
                Next::Wait
            };
        }
        self.attempts += 1;
        self.uncertain = true;
        if let Task::DescribeGroup(_, coordinator) = &mut self.task {
            *coordinator = None;
        }
        if u32::try_from(retries).is_ok_and(|retries| self.attempts > retries) {
            return Next::Done(self.give_up(ClientError::Disconnected));
        }
        if self.in_flight == 0 {
            Next::Again
        } else {
            Next::Wait
        }
    }

    /// The outcome of a call that ends without an answer.
    pub(super) fn give_up(&self, error: ClientError) -> Outcome {
        let uncertain = self.uncertain || self.in_flight > 0;
        self.failed(if uncertain {
            Failure::info(error)
        } else {
            Failure::fail(error)
        })
    }

    /// A failure in the form of this call's outcome.
    pub(super) fn failed(&self, failure: Failure) -> Outcome {
        match &self.task {
            Task::DescribeTopics(_) => Outcome::Described(Err(failure)),
            Task::DescribeGroup(..) => Outcome::Group(Err(failure)),
            Task::ListReassignments => Outcome::Reassignments(Err(failure)),
            Task::ListOffsets { .. } | Task::DeleteRecords { .. } => Outcome::Offsets(Err(failure)),
            Task::CreateTopics(_)
            | Task::DeleteTopics(_)
            | Task::CreatePartitions(..)
            | Task::AlterConfigs(..)
            | Task::ElectLeaders(..)
            | Task::Reassign(_) => Outcome::Done(Err(failure)),
        }
    }
}

fn describe_group(group: &GroupId, coordinator: Option<BrokerId>) -> (Target, RequestBody) {
    match coordinator {
        Some(broker) => (
            Target::Broker(broker),
            DescribeGroupsRequest {
                groups: vec![group.clone()],
            }
            .into(),
        ),
        None => (
            Target::Anybody,
            FindCoordinatorRequest {
                key: group.0.clone(),
                kind: CoordinatorKind::Group,
            }
            .into(),
        ),
    }
}

/// Partitions by their leader; none at all while one of them has no known leader.
fn by_leader<'p>(
    open: impl IntoIterator<Item = &'p TopicPartition>,
    metadata: &Metadata,
) -> BTreeMap<BrokerId, Vec<(TopicPartition, Option<LeaderEpoch>)>> {
    let mut by_leader: BTreeMap<BrokerId, Vec<_>> = BTreeMap::new();
    for partition in open {
        let known = metadata.leader_and_epoch(partition);
        let Some(leader) = known.leader else {
            return BTreeMap::new();
        };
        by_leader
            .entry(leader)
            .or_default()
            .push((partition.clone(), known.epoch));
    }
    by_leader
}

fn delete_records(
    open: &BTreeMap<TopicPartition, Option<Offset>>,
    timeout: Span,
    metadata: &Metadata,
) -> Vec<(Target, RequestBody)> {
    by_leader(open.keys(), metadata)
        .into_iter()
        .map(|(leader, partitions)| {
            let partitions = partitions
                .into_iter()
                .map(|(partition, _)| {
                    let before = open[&partition];
                    (partition, before)
                })
                .collect();
            let body = DeleteRecordsRequest {
                partitions,
                timeout,
            };
            (Target::Broker(leader), body.into())
        })
        .collect()
}

fn list_offsets(
    spec: OffsetSpec,
    open: &[TopicPartition],
    metadata: &Metadata,
) -> Vec<(Target, RequestBody)> {
    by_leader(open, metadata)
        .into_iter()
        .map(|(leader, partitions)| {
            let partitions = partitions
                .into_iter()
                .map(|(partition, epoch)| (partition, epoch, spec))
                .collect();
            let body = ListOffsetsRequest {
                replica_id: None,
                isolation_level: IsolationLevel::ReadUncommitted,
                partitions,
            };
            (Target::Broker(leader), body.into())
        })
        .collect()
}
