//! What this broker believes about the whole cluster: `MetadataCache` of 2.8, fed by UpdateMetadata and by nothing else.
//!
//! Clients are answered from here, so an answer may be stale or ahead of what the replicas here have been told. Left out:
//! several listeners (each broker has one endpoint), and racks.

use protocol::api::TopicIds;
use protocol::api::cluster::{LiveBroker, UpdateMetadataPartition, UpdateMetadataRequest};
use protocol::api::topics::{MetadataRequest, MetadataResponse, PartitionMetadata, TopicMetadata};
use protocol::error_code::ErrorCode;
use protocol::ids::{BrokerId, Endpoint, LeaderEpoch, PartitionIndex, TopicName, TopicPartition};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Kafka's own topics, which clients may not write and which are created on first use whatever the settings say.
pub const INTERNAL_TOPICS: [&str; 2] = ["__consumer_offsets", "__transaction_state"];

/// Whether a topic is Kafka's own.
pub fn is_internal(topic: &TopicName) -> bool {
    INTERNAL_TOPICS.contains(&topic.as_str())
}

/// One partition as the controller last told it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CachedPartition {
    /// Its leader; `None` while there is none.
    pub leader: Option<BrokerId>,
    /// Its epoch.
    pub leader_epoch: LeaderEpoch,
    /// The in-sync replicas.
    pub isr: Vec<BrokerId>,
    /// The assignment.
    pub replicas: Vec<BrokerId>,
    /// Replicas on dead brokers or failed directories.
    pub offline_replicas: Vec<BrokerId>,
}

type Partitions = BTreeMap<PartitionIndex, CachedPartition>;

/// The cache. Its topics are shared between clones of a broker until one of them changes.
#[derive(Clone, Debug, Default)]
pub struct MetadataCache {
    topics: BTreeMap<TopicName, Arc<Partitions>>,
    /// The last id heard of each topic; that of a deleted one stays until a later one takes its place.
    ids: TopicIds,
    live: BTreeMap<BrokerId, Endpoint>,
    controller: Option<BrokerId>,
}

impl MetadataCache {
    /// Takes an update over; returns the partitions it removed, for the group coordinator.
    pub fn update(&mut self, request: &UpdateMetadataRequest) -> Vec<TopicPartition> {
        self.controller = Some(request.controller.controller_id);
        self.live = request
            .live_brokers
            .iter()
            .map(|broker| (broker.id, broker.endpoint.clone()))
            .collect();
        let told = request.topic_ids.iter();
        self.ids
            .extend(told.map(|(topic, id)| (topic.clone(), *id)));
        let mut deleted = Vec::new();
        for told in &request.partitions {
            if told.deleted {
                self.remove(&told.partition);
                deleted.push(told.partition.clone());
            } else {
                self.put(told);
            }
        }
        deleted
    }

    fn put(&mut self, told: &UpdateMetadataPartition) {
        let partitions = self.topics.entry(told.partition.topic.clone()).or_default();
        let cached = CachedPartition {
            leader: told.state.leader,
            leader_epoch: told.state.leader_epoch,
            isr: told.state.isr.clone(),
            replicas: told.replicas.clone(),
            offline_replicas: told.offline_replicas.clone(),
        };
        Arc::make_mut(partitions).insert(told.partition.partition, cached);
    }

    fn remove(&mut self, partition: &TopicPartition) {
        let Some(partitions) = self.topics.get_mut(&partition.topic) else {
            return;
        };
        Arc::make_mut(partitions).remove(&partition.partition);
        if partitions.is_empty() {
            self.topics.remove(&partition.topic);
        }
    }

    /// Whether the partition exists as far as this broker knows.
    pub fn contains(&self, partition: &TopicPartition) -> bool {
        self.partition(partition).is_some()
    }

    /// Whether the topic exists as far as this broker knows.
    pub fn contains_topic(&self, topic: &TopicName) -> bool {
        self.topics.contains_key(topic)
    }

    /// One partition.
    pub fn partition(&self, partition: &TopicPartition) -> Option<&CachedPartition> {
        self.topics.get(&partition.topic)?.get(&partition.partition)
    }

    /// How many partitions a topic has.
    pub fn partition_count(&self, topic: &TopicName) -> Option<usize> {
        self.topics.get(topic).map(|partitions| partitions.len())
    }

    /// The names of all topics.
    pub fn topics(&self) -> impl Iterator<Item = &TopicName> {
        self.topics.keys()
    }

    /// Whether a broker is alive as far as this broker knows.
    pub fn has_alive(&self, broker: BrokerId) -> bool {
        self.live.contains_key(&broker)
    }

    /// Where a live broker can be reached.
    pub fn endpoint(&self, broker: BrokerId) -> Option<&Endpoint> {
        self.live.get(&broker)
    }

    /// The live brokers.
    pub fn live_brokers(&self) -> Vec<LiveBroker> {
        self.live
            .iter()
            .map(|(id, endpoint)| LiveBroker {
                id: *id,
                endpoint: endpoint.clone(),
            })
            .collect()
    }

    /// The controller that sent the last update.
    pub fn controller(&self) -> Option<BrokerId> {
        self.controller
    }

    /// The answer to a Metadata request as far as the cache knows, and the topics it does not know: the broker creates
    /// them or adds their error (`KafkaApis.getTopicMetadata`).
    pub fn answer(
        &self,
        request: &MetadataRequest,
        api_version: i16,
    ) -> (MetadataResponse, Vec<TopicName>) {
        let mut topics = Vec::new();
        let mut missing = Vec::new();
        match &request.topics {
            None => {
                for (topic, partitions) in &self.topics {
                    topics.push(self.describe(topic, partitions, api_version));
                }
            }
            Some(wanted) => {
                for topic in wanted {
                    match self.topics.get(topic) {
                        Some(known) => topics.push(self.describe(topic, known, api_version)),
                        None => missing.push(topic.clone()),
                    }
                }
            }
        }
        let response = MetadataResponse {
            brokers: self.live_brokers(),
            controller: self
                .controller
                .filter(|controller| self.has_alive(*controller)),
            topics,
        };
        (response, missing)
    }

    fn describe(&self, topic: &TopicName, known: &Partitions, api_version: i16) -> TopicMetadata {
        TopicMetadata {
            error: ErrorCode::None,
            topic: topic.clone(),
            id: self.ids.get(topic).copied().filter(|_| api_version >= 10),
            is_internal: is_internal(topic),
            partitions: known
                .iter()
                .map(|(index, cached)| self.describe_partition(*index, cached, api_version))
                .collect(),
        }
    }

    fn describe_partition(
        &self,
        index: PartitionIndex,
        cached: &CachedPartition,
        api_version: i16,
    ) -> PartitionMetadata {
        // Version 0 had no room for dead replicas: they are left out of the lists and told as an error.
        let only_alive = api_version == 0;
        let listed = |all: &[BrokerId]| -> Vec<BrokerId> {
            all.iter()
                .copied()
                .filter(|broker| !only_alive || self.has_alive(*broker))
                .collect()
        };
        let (replicas, isr) = (listed(&cached.replicas), listed(&cached.isr));
        let leader = cached.leader.filter(|leader| self.has_alive(*leader));
        let error = if leader.is_none() {
            ErrorCode::LeaderNotAvailable
        } else if replicas.len() < cached.replicas.len() || isr.len() < cached.isr.len() {
            ErrorCode::ReplicaNotAvailable
        } else {
            ErrorCode::None
        };
        PartitionMetadata {
            error,
            partition: index,
            leader,
            leader_epoch: (api_version >= 7).then_some(cached.leader_epoch),
            replicas,
            isr,
            offline_replicas: if api_version >= 5 {
                cached.offline_replicas.clone()
            } else {
                Vec::new()
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::api::cluster::{ControllerStamp, LeaderAndIsr};
    use protocol::ids::{ControllerEpoch, PartitionEpoch, TopicId};

    fn update(live: &[i32], leader: Option<i32>, deleted: bool) -> UpdateMetadataRequest {
        UpdateMetadataRequest {
            controller: ControllerStamp {
                controller_id: BrokerId(1),
                controller_epoch: ControllerEpoch(1),
                broker_epoch: None,
            },
            partitions: vec![UpdateMetadataPartition {
                partition: TopicPartition::new("orders", 0),
                controller_epoch: ControllerEpoch(1),
                state: LeaderAndIsr {
                    leader: leader.map(BrokerId),
                    leader_epoch: LeaderEpoch(4),
                    isr: vec![BrokerId(1)],
                    partition_epoch: PartitionEpoch(0),
                },
                deleted,
                replicas: vec![BrokerId(1), BrokerId(2)],
                offline_replicas: vec![BrokerId(2)],
            }],
            topic_ids: TopicIds::from([("orders".into(), TopicId(7))]),
            live_brokers: live
                .iter()
                .map(|id| LiveBroker {
                    id: BrokerId(*id),
                    endpoint: Endpoint::new("host", 9092),
                })
                .collect(),
        }
    }

    fn ask(cache: &MetadataCache, version: i16) -> PartitionMetadata {
        let request = MetadataRequest {
            topics: Some(vec!["orders".into()]),
            allow_auto_topic_creation: false,
        };
        cache.answer(&request, version).0.topics[0].partitions[0].clone()
    }

    #[test]
    fn a_leader_that_is_not_alive_is_told_as_not_available() {
        let mut cache = MetadataCache::default();
        cache.update(&update(&[2], Some(1), false));
        let answer = ask(&cache, 9);
        assert_eq!(
            (answer.error, answer.leader),
            (ErrorCode::LeaderNotAvailable, None)
        );
        cache.update(&update(&[1], Some(1), false));
        let answer = ask(&cache, 9);
        assert_eq!(
            (answer.error, answer.leader),
            (ErrorCode::None, Some(BrokerId(1)))
        );
        assert_eq!(answer.offline_replicas, [BrokerId(2)]);
        assert_eq!(answer.leader_epoch, Some(LeaderEpoch(4)));
    }

    #[test]
    fn version_0_leaves_dead_replicas_out_and_says_so() {
        let mut cache = MetadataCache::default();
        cache.update(&update(&[1], Some(1), false));
        let answer = ask(&cache, 0);
        assert_eq!(answer.error, ErrorCode::ReplicaNotAvailable);
        assert_eq!(answer.replicas, [BrokerId(1)]);
        assert_eq!(answer.leader_epoch, None);
    }

    #[test]
    fn topics_are_told_with_their_ids_where_the_version_has_room_for_them() {
        let mut cache = MetadataCache::default();
        let id = |cache: &MetadataCache, version| {
            let request = MetadataRequest {
                topics: None,
                allow_auto_topic_creation: false,
            };
            cache.answer(&request, version).0.topics[0].id
        };
        let mut told = update(&[1], Some(1), false);
        cache.update(&told);
        assert_eq!((id(&cache, 9), id(&cache, 10)), (None, Some(TopicId(7))));
        // A controller that does not speak of ids takes none away.
        told.topic_ids.clear();
        cache.update(&told);
        assert_eq!(id(&cache, 10), Some(TopicId(7)));
        told.topic_ids.insert("orders".into(), TopicId(8));
        cache.update(&told);
        assert_eq!(id(&cache, 10), Some(TopicId(8)));
    }

    #[test]
    fn a_deleted_topic_is_forgotten_and_an_unknown_one_is_left_to_the_broker() {
        let mut cache = MetadataCache::default();
        cache.update(&update(&[1], Some(1), false));
        assert!(cache.contains(&TopicPartition::new("orders", 0)));
        let gone = cache.update(&update(&[1], None, true));
        assert_eq!(gone, [TopicPartition::new("orders", 0)]);
        assert!(!cache.contains_topic(&"orders".into()));
        let request = MetadataRequest {
            topics: Some(vec!["orders".into()]),
            allow_auto_topic_creation: true,
        };
        let (response, missing) = cache.answer(&request, 9);
        assert!(response.topics.is_empty());
        assert_eq!(missing, [TopicName::from("orders")]);
    }
}
