//! Topics and the cluster as clients see them: Metadata and the admin calls.

use super::partition_size;
use crate::api::cluster::LiveBroker;
use crate::error_code::ErrorCode;
use crate::ids::{BrokerId, LeaderEpoch, PartitionIndex, TopicId, TopicName, TopicPartition};
use crate::message::{size_of, text_size};
use crate::time::Span;
use crate::verb::NewTopic;
use std::collections::BTreeMap;

/// What does the cluster look like?
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetadataRequest {
    /// The topics; all when `None`.
    pub topics: Option<Vec<TopicName>>,
    /// Create missing ones if the broker may (version 4 on).
    pub allow_auto_topic_creation: bool,
}

/// One partition in a client's view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionMetadata {
    /// `LEADER_NOT_AVAILABLE` while there is none.
    pub error: ErrorCode,
    /// Which.
    pub partition: PartitionIndex,
    /// Its leader.
    pub leader: Option<BrokerId>,
    /// Its epoch (version 7 on).
    pub leader_epoch: Option<LeaderEpoch>,
    /// The assignment.
    pub replicas: Vec<BrokerId>,
    /// The in-sync replicas.
    pub isr: Vec<BrokerId>,
    /// Replicas that are offline (version 5 on).
    pub offline_replicas: Vec<BrokerId>,
}

/// One topic in a client's view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicMetadata {
    /// The error.
    pub error: ErrorCode,
    /// Which.
    pub topic: TopicName,
    /// Its id (version 10 on); none where it is not known.
    pub id: Option<TopicId>,
    /// Kafka's own (`__consumer_offsets`).
    pub is_internal: bool,
    /// Its partitions.
    pub partitions: Vec<PartitionMetadata>,
}

/// What the cluster looks like, as the asked broker believes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetadataResponse {
    /// Live brokers.
    pub brokers: Vec<LiveBroker>,
    /// The controller.
    pub controller: Option<BrokerId>,
    /// The topics.
    pub topics: Vec<TopicMetadata>,
}

/// Create topics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateTopicsRequest {
    /// Which.
    pub topics: Vec<NewTopic>,
    /// How long to wait until they are in the metadata cache.
    pub timeout: Span,
    /// Only check.
    pub validate_only: bool,
}

/// What became of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateTopicsResponse {
    /// One error and its message per topic.
    pub topics: Vec<(TopicName, ErrorCode, Option<String>)>,
}

/// Delete topics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeleteTopicsRequest {
    /// Which.
    pub topics: Vec<TopicName>,
    /// How long to wait.
    pub timeout: Span,
}

/// What became of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeleteTopicsResponse {
    /// One error per topic.
    pub topics: Vec<(TopicName, ErrorCode)>,
}

/// A topic that gets more partitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewPartitions {
    /// Which.
    pub topic: TopicName,
    /// Its new total.
    pub total: i32,
    /// The replicas of each new partition, where the caller places them.
    pub assignment: Option<Vec<Vec<BrokerId>>>,
}

/// Add partitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreatePartitionsRequest {
    /// Which.
    pub topics: Vec<NewPartitions>,
    /// How long to wait.
    pub timeout: Span,
}

/// What became of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreatePartitionsResponse {
    /// One error and its message per topic.
    pub topics: Vec<(TopicName, ErrorCode, Option<String>)>,
}

/// Change settings of topics (KIP-339).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IncrementalAlterConfigsRequest {
    /// Each topic with the settings to set, or to delete where there is no value.
    pub topics: Vec<(TopicName, BTreeMap<String, Option<String>>)>,
    /// Only say whether it could be done.
    pub validate_only: bool,
}

/// What became of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IncrementalAlterConfigsResponse {
    /// One error and its message per topic.
    pub topics: Vec<(TopicName, ErrorCode, Option<String>)>,
}

/// Elect leaders by hand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ElectLeadersRequest {
    /// Unclean instead of preferred (version 1 on).
    pub unclean: bool,
    /// The partitions; all when `None`.
    pub partitions: Option<Vec<TopicPartition>>,
    /// How long to wait.
    pub timeout: Span,
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ElectLeadersResponse {
    /// An error of the whole request.
    pub error: ErrorCode,
    /// One error per partition.
    pub partitions: Vec<(TopicPartition, ErrorCode)>,
}

fn names(list: &[TopicName]) -> u64 {
    4 + list
        .iter()
        .map(|name| text_size(name.as_str()))
        .sum::<u64>()
}

fn answers(list: &[(TopicName, ErrorCode, Option<String>)]) -> u64 {
    let one = |(name, _, message): &(TopicName, ErrorCode, Option<String>)| {
        text_size(name.as_str()) + 2 + message.as_deref().map_or(2, text_size)
    };
    8 + list.iter().map(one).sum::<u64>()
}

impl MetadataRequest {
    pub(super) fn wire_size(&self) -> u64 {
        1 + self.topics.as_ref().map_or(4, |topics| names(topics))
    }
}

impl PartitionMetadata {
    fn wire_size(&self) -> u64 {
        26 + 4 * size_of(self.replicas.len() + self.isr.len() + self.offline_replicas.len())
    }
}

impl MetadataResponse {
    pub(super) fn wire_size(&self) -> u64 {
        let brokers: u64 = self
            .brokers
            .iter()
            .map(|broker| 10 + text_size(&broker.endpoint.host))
            .sum();
        let topic = |topic: &TopicMetadata| {
            let partitions: u64 = topic
                .partitions
                .iter()
                .map(PartitionMetadata::wire_size)
                .sum();
            let id = topic.id.map_or(0, |_| TopicId::WIRE_SIZE);
            7 + text_size(topic.topic.as_str()) + id + partitions
        };
        16 + brokers + self.topics.iter().map(topic).sum::<u64>()
    }
}

impl CreateTopicsRequest {
    pub(super) fn wire_size(&self) -> u64 {
        let topic = |topic: &NewTopic| {
            let placed: u64 = topic
                .assignment
                .values()
                .map(|replicas| 8 + 4 * size_of(replicas.len()))
                .sum();
            let config: u64 = topic
                .config
                .iter()
                .map(|(key, value)| text_size(key) + text_size(value))
                .sum();
            14 + text_size(topic.name.as_str()) + placed + config
        };
        9 + self.topics.iter().map(topic).sum::<u64>()
    }
}

impl CreateTopicsResponse {
    pub(super) fn wire_size(&self) -> u64 {
        answers(&self.topics)
    }
}

impl DeleteTopicsRequest {
    pub(super) fn wire_size(&self) -> u64 {
        4 + names(&self.topics)
    }
}

impl DeleteTopicsResponse {
    pub(super) fn wire_size(&self) -> u64 {
        8 + self
            .topics
            .iter()
            .map(|(name, _)| text_size(name.as_str()) + 2)
            .sum::<u64>()
    }
}

impl CreatePartitionsRequest {
    pub(super) fn wire_size(&self) -> u64 {
        let mut size = 9;
        for new in &self.topics {
            size += text_size(new.topic.as_str()) + 8;
            size += new
                .assignment
                .iter()
                .flatten()
                .map(|replicas| 4 + 4 * size_of(replicas.len()))
                .sum::<u64>();
        }
        size
    }
}

impl CreatePartitionsResponse {
    pub(super) fn wire_size(&self) -> u64 {
        answers(&self.topics)
    }
}

impl IncrementalAlterConfigsRequest {
    pub(super) fn wire_size(&self) -> u64 {
        let mut size = 5;
        for (topic, settings) in &self.topics {
            size += text_size(topic.as_str()) + 5;
            size += settings
                .iter()
                .map(|(key, value)| 1 + text_size(key) + value.as_deref().map_or(2, text_size))
                .sum::<u64>();
        }
        size
    }
}

impl IncrementalAlterConfigsResponse {
    pub(super) fn wire_size(&self) -> u64 {
        answers(&self.topics)
    }
}

impl ElectLeadersRequest {
    pub(super) fn wire_size(&self) -> u64 {
        9 + self
            .partitions
            .iter()
            .flatten()
            .map(partition_size)
            .sum::<u64>()
    }
}

impl ElectLeadersResponse {
    pub(super) fn wire_size(&self) -> u64 {
        10 + self
            .partitions
            .iter()
            .map(|(partition, _)| partition_size(partition) + 2)
            .sum::<u64>()
    }
}
