//! What a client believes of the cluster (`Metadata`, `MetadataCache`, `ProducerMetadata`, `ConsumerMetadata`).
//!
//! A leader epoch never goes back here: an answer from a broker that is behind keeps what is known of that partition
//! (KIP-320), unless the topic's id tells that it is another topic (KAFKA-12257). Asking is `network`'s business; when to ask is decided here: on request, but not before
//! `retry.backoff.ms` after the last try, and after `metadata.max.age.ms`.
//!
//! Partial updates for new topics (KIP-526) are left out: every question names all topics of interest.

use protocol::api::topics::{MetadataResponse, PartitionMetadata};
use protocol::behaviour::{Behaviour, Fix};
use protocol::error_code::ErrorCode;
use protocol::ids::{BrokerId, Endpoint, LeaderEpoch, TopicId, TopicName, TopicPartition};
use protocol::time::{Mono, Span};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The leader of a partition and its epoch (`Metadata.LeaderAndEpoch`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct LeaderAndEpoch {
    pub(crate) leader: Option<BrokerId>,
    pub(crate) epoch: Option<LeaderEpoch>,
}

/// The partitions of a topic, by index; of some nothing may be known.
pub(crate) type Leaders = [Option<LeaderAndEpoch>];

/// How many partitions a topic has as far as is known (`Cluster.partitionCountForTopic`).
pub(crate) fn count_known(leaders: &Leaders) -> usize {
    leaders.iter().flatten().count()
}

/// A topic as last seen.
#[derive(Clone, Debug, Default)]
struct TopicView {
    error: ErrorCode,
    /// Its id in the last answer.
    id: Option<TopicId>,
    /// By index; empty while the topic is not known.
    partitions: Arc<Leaders>,
    /// The highest epoch heard of, also from answers other than Metadata; outlives a topic that drops out for a moment.
    epochs: Vec<Option<LeaderEpoch>>,
}

/// The cache.
#[derive(Clone, Debug)]
pub(crate) struct Metadata {
    refresh_backoff: Span,
    max_age: Span,
    /// `metadata.max.idle.ms`; a consumer never forgets a topic by itself.
    max_idle: Option<Span>,
    /// The last try, for the backoff; none when the next may follow at once.
    last_refresh: Option<Mono>,
    last_success: Option<Mono>,
    update_requested: bool,
    /// A topic was added while a question was under way, whose answer cannot have it.
    new_topic: bool,
    brokers: BTreeMap<BrokerId, Endpoint>,
    controller: Option<BrokerId>,
    topics: BTreeMap<TopicName, TopicView>,
    /// The topics of interest, and when each was last used.
    wanted: BTreeMap<TopicName, Mono>,
    /// Every topic is of interest, be it for its name alone (`hasPatternSubscription`).
    wants_all: bool,
    /// The names of the last answer while every topic is of interest, and whether each is an internal one.
    names: BTreeMap<TopicName, bool>,
    behaviour: Behaviour,
    version: u64,
}

impl Metadata {
    pub(crate) fn new(
        behaviour: Behaviour,
        (refresh_backoff, max_age): (Span, Span),
        max_idle: Option<Span>,
    ) -> Self {
        Self {
            behaviour,
            refresh_backoff,
            max_age,
            max_idle,
            last_refresh: None,
            last_success: None,
            update_requested: false,
            new_topic: false,
            brokers: BTreeMap::new(),
            controller: None,
            topics: BTreeMap::new(),
            wanted: BTreeMap::new(),
            wants_all: false,
            names: BTreeMap::new(),
            version: 0,
        }
    }

    /// Counts the answers taken in.
    pub(crate) const fn version(&self) -> u64 {
        self.version
    }

    pub(crate) fn request_update(&mut self) {
        self.update_requested = true;
    }

    /// Notes the use of a topic; a new one is asked for at once.
    pub(crate) fn want(&mut self, topic: &TopicName, now: Mono) {
        if let Some(used) = self.wanted.get_mut(topic) {
            *used = now;
            return;
        }
        self.wanted.insert(topic.clone(), now);
        self.new_topic = true;
        self.last_refresh = None;
        self.update_requested = true;
    }

    /// Makes these the topics of interest.
    pub(crate) fn want_only(&mut self, topics: impl Iterator<Item = TopicName>, now: Mono) {
        let mut wanted = BTreeMap::new();
        let mut fresh = false;
        for topic in topics {
            fresh |= !self.wanted.contains_key(&topic);
            wanted.insert(topic, now);
        }
        self.wanted = wanted;
        self.topics
            .retain(|topic, _| self.wanted.contains_key(topic));
        if fresh {
            self.new_topic = true;
            self.last_refresh = None;
            self.update_requested = true;
        }
    }

    /// Asks for every topic from now on, or no more.
    pub(crate) fn want_all(&mut self, all: bool) {
        if all && !self.wants_all {
            self.new_topic = true;
            self.last_refresh = None;
            self.update_requested = true;
        }
        self.wants_all = all;
        if !all {
            self.names.clear();
        }
    }

    /// The topics of the cluster, where all are asked for, and whether each is an internal one.
    pub(crate) fn all_topics(&self) -> impl Iterator<Item = (&TopicName, bool)> {
        self.names
            .iter()
            .map(|(topic, internal)| (topic, *internal))
    }

    /// Whether a question may be asked now (`timeToAllowUpdate`).
    pub(crate) fn may_update(&self, now: Mono) -> bool {
        self.last_refresh
            .is_none_or(|last| last + self.refresh_backoff <= now)
    }

    /// When the next question is due, were there somebody to ask.
    pub(crate) fn next_update(&self) -> Mono {
        let allowed = self
            .last_refresh
            .map_or(Mono(0), |last| last + self.refresh_backoff);
        let needed = match self.last_success {
            Some(last) if !self.update_requested => last + self.max_age,
            Some(_) | None => Mono(0),
        };
        allowed.max(needed)
    }

    /// The topics of the next question, which is under way from now on; none for all.
    pub(crate) fn start_update(&mut self, now: Mono) -> Option<Vec<TopicName>> {
        self.new_topic = false;
        if let Some(idle) = self.max_idle {
            self.wanted.retain(|_, used| now.since(*used) < idle);
            self.topics
                .retain(|topic, _| self.wanted.contains_key(topic));
        }
        (!self.wants_all).then(|| self.wanted.keys().cloned().collect())
    }

    /// The question got no answer.
    pub(crate) fn failed_update(&mut self, now: Mono) {
        self.last_refresh = Some(now);
    }

    /// Takes an answer in.
    pub(crate) fn update(&mut self, now: Mono, response: &MetadataResponse) {
        if response.brokers.is_empty() {
            // A broker that has not heard of the cluster yet (`handleCompletedMetadataResponse`).
            self.failed_update(now);
            return;
        }
        self.last_refresh = if self.new_topic { None } else { Some(now) };
        self.last_success = Some(now);
        self.update_requested = self.new_topic;
        self.version += 1;
        self.brokers = response
            .brokers
            .iter()
            .map(|broker| (broker.id, broker.endpoint.clone()))
            .collect();
        self.controller = response.controller;
        for view in self.topics.values_mut() {
            if view.error.is_none() {
                view.error = ErrorCode::UnknownTopicOrPartition;
            }
        }
        if self.wants_all {
            let named = response.topics.iter();
            self.names = named
                .filter(|topic| topic.error.is_none())
                .map(|topic| (topic.topic.clone(), topic.is_internal))
                .collect();
        }
        let compares_ids = self.behaviour.has(Fix::TopicIdCheck);
        let mut stale = false;
        for topic in &response.topics {
            if !self.wanted.contains_key(&topic.topic) {
                continue;
            }
            let view = self.topics.entry(topic.topic.clone()).or_default();
            // The id before may be unknown: it is forgotten while the topic is gone.
            let is_another = topic.id.is_some() && topic.id != view.id && compares_ids;
            view.id = topic.id;
            view.error = topic.error;
            stale |= topic.error.invalidates_metadata();
            if topic.error.is_none() {
                stale |= view.take(&topic.partitions, is_another);
            } else {
                view.partitions = Arc::new([]);
            }
        }
        for view in self.topics.values_mut() {
            if view.error.is_error() && !view.partitions.is_empty() {
                view.partitions = Arc::new([]);
                view.id = None;
            }
        }
        self.update_requested |= stale;
    }

    /// An answer of another kind named an epoch (`updateLastSeenEpochIfNewer`).
    pub(crate) fn saw_epoch(&mut self, partition: &TopicPartition, epoch: LeaderEpoch) {
        let Some(view) = self.topics.get_mut(&partition.topic) else {
            return;
        };
        let Some(seen) = usize::try_from(partition.partition.0)
            .ok()
            .and_then(|index| view.epochs.get_mut(index))
        else {
            return;
        };
        if seen.is_some_and(|known| epoch > known) {
            *seen = Some(epoch);
            self.update_requested = true;
        }
    }

    pub(crate) fn brokers(&self) -> &BTreeMap<BrokerId, Endpoint> {
        &self.brokers
    }

    pub(crate) const fn controller(&self) -> Option<BrokerId> {
        self.controller
    }

    /// The controller turned out to be none (`AdminMetadataManager.clearController`).
    pub(crate) fn clear_controller(&mut self) {
        self.controller = None;
        self.update_requested = true;
    }

    /// The error of a topic; none where nothing was heard of it.
    pub(crate) fn topic_error(&self, topic: &TopicName) -> Option<ErrorCode> {
        self.topics.get(topic).map(|view| view.error)
    }

    /// How many partitions of a topic are known; none while there is none.
    pub(crate) fn partition_count(&self, topic: &TopicName) -> Option<i32> {
        let count = count_known(&self.topics.get(topic)?.partitions);
        (count > 0).then(|| i32::try_from(count).unwrap_or(i32::MAX))
    }

    /// Leaders of a topic by partition, of which some may not be there.
    pub(crate) fn partitions(&self, topic: &TopicName) -> &Leaders {
        self.topics.get(topic).map_or(&[], |view| &view.partitions)
    }

    /// A partition's leader, if it is known and alive.
    pub(crate) fn leader(&self, partition: &TopicPartition) -> Option<BrokerId> {
        self.leader_and_epoch(partition).leader
    }

    /// A partition's leader and epoch. An epoch heard of elsewhere that is newer makes the leader unknown, because the
    /// one that is known leads no longer.
    pub(crate) fn leader_and_epoch(&self, partition: &TopicPartition) -> LeaderAndEpoch {
        let none = LeaderAndEpoch::default();
        let Some(view) = self.topics.get(&partition.topic) else {
            return none;
        };
        let Ok(index) = usize::try_from(partition.partition.0) else {
            return none;
        };
        let Some(known) = view.partitions.get(index).copied().flatten() else {
            return none;
        };
        let seen = view.epochs.get(index).copied().flatten();
        if known.epoch.is_some() && seen > known.epoch {
            return LeaderAndEpoch {
                leader: None,
                epoch: seen,
            };
        }
        LeaderAndEpoch {
            leader: known
                .leader
                .filter(|leader| self.brokers.contains_key(leader)),
            epoch: known.epoch,
        }
    }
}

impl TopicView {
    /// Takes the partitions of an answer in; says whether they ask for another answer soon. What is known of the epochs of
    /// another topic of that name is no reason to leave the answer aside (`updateLatestMetadata`).
    fn take(&mut self, answer: &[PartitionMetadata], is_another: bool) -> bool {
        let count = answer
            .iter()
            .filter_map(|part| usize::try_from(part.partition.0).ok())
            .map(|index| index + 1)
            .max()
            .unwrap_or(0);
        let mut partitions = vec![None; count];
        self.epochs.resize(count.max(self.epochs.len()), None);
        let mut stale = false;
        for part in answer {
            let Ok(index) = usize::try_from(part.partition.0) else {
                continue;
            };
            stale |= part.error.invalidates_metadata();
            let seen = &mut self.epochs[index];
            let behind = part
                .leader_epoch
                .is_some_and(|epoch| seen.is_some_and(|seen| epoch < seen));
            partitions[index] = if behind && !is_another {
                self.partitions.get(index).copied().flatten()
            } else {
                *seen = part.leader_epoch;
                Some(LeaderAndEpoch {
                    leader: part.leader,
                    epoch: part.leader_epoch,
                })
            };
        }
        self.partitions = partitions.into();
        stale
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::api::cluster::LiveBroker;
    use protocol::api::topics::TopicMetadata;
    use protocol::behaviour::Era;
    use protocol::ids::PartitionIndex;

    fn answer(error: ErrorCode, leader: i32, epoch: i32) -> MetadataResponse {
        MetadataResponse {
            brokers: (1..=3)
                .map(|id| LiveBroker {
                    id: BrokerId(id),
                    endpoint: Endpoint::new(format!("b{id}"), 9092),
                })
                .collect(),
            controller: Some(BrokerId(1)),
            topics: vec![TopicMetadata {
                error,
                topic: TopicName::from("t"),
                id: None,
                is_internal: false,
                partitions: vec![PartitionMetadata {
                    error: ErrorCode::None,
                    partition: PartitionIndex(0),
                    leader: Some(BrokerId(leader)),
                    leader_epoch: Some(LeaderEpoch(epoch)),
                    replicas: vec![],
                    isr: vec![],
                    offline_replicas: vec![],
                }],
            }],
        }
    }

    fn cache() -> Metadata {
        cache_of(Behaviour::of(Era::Sound))
    }

    fn cache_of(behaviour: Behaviour) -> Metadata {
        let times = (Span::millis(100), Span::secs(300));
        let mut metadata = Metadata::new(behaviour, times, None);
        metadata.want(&TopicName::from("t"), Mono(0));
        metadata.start_update(Mono(0));
        metadata
    }

    fn at(millis: u64) -> Mono {
        Mono(0) + Span::millis(millis)
    }

    #[test]
    fn an_older_epoch_does_not_replace_a_newer_one() {
        let mut metadata = cache();
        let partition = TopicPartition::new("t", 0);
        metadata.update(at(0), &answer(ErrorCode::None, 2, 5));
        metadata.update(at(1), &answer(ErrorCode::None, 1, 4));
        assert_eq!(metadata.leader(&partition), Some(BrokerId(2)));
        metadata.update(at(2), &answer(ErrorCode::None, 3, 6));
        assert_eq!(metadata.leader(&partition), Some(BrokerId(3)));
    }

    fn of_topic(id: u128, mut answer: MetadataResponse) -> MetadataResponse {
        answer.topics[0].id = Some(TopicId(id));
        answer
    }

    fn gone() -> MetadataResponse {
        let mut answer = answer(ErrorCode::UnknownTopicOrPartition, 1, 0);
        answer.topics[0].partitions.clear();
        answer
    }

    #[test]
    fn another_topic_of_the_same_name_begins_its_epochs_anew() {
        let mut metadata = cache();
        let partition = TopicPartition::new("t", 0);
        for (before, after, seen_gone) in [(1, 2, false), (2, 3, true)] {
            metadata.update(at(0), &of_topic(before, answer(ErrorCode::None, 2, 5)));
            if seen_gone {
                metadata.update(at(1), &gone());
            }
            metadata.update(at(2), &of_topic(after, answer(ErrorCode::None, 1, 0)));
            let known = metadata.leader_and_epoch(&partition);
            assert_eq!(known.epoch, Some(LeaderEpoch(0)));
            assert_eq!(known.leader, Some(BrokerId(1)));
        }
        // The same topic, from a broker that is behind.
        metadata.update(at(3), &of_topic(3, answer(ErrorCode::None, 2, 1)));
        metadata.update(at(4), &of_topic(3, answer(ErrorCode::None, 1, 0)));
        assert_eq!(metadata.leader(&partition), Some(BrokerId(2)));
    }

    #[test]
    fn without_kafka_12257_the_topic_created_anew_is_taken_for_old_news() {
        let mut metadata = cache_of(Behaviour::of(Era::V2_8));
        let partition = TopicPartition::new("t", 0);
        metadata.update(at(0), &of_topic(1, answer(ErrorCode::None, 2, 5)));
        metadata.update(at(1), &of_topic(2, answer(ErrorCode::None, 1, 0)));
        assert_eq!(metadata.leader(&partition), Some(BrokerId(2)));
        metadata.update(at(2), &gone());
        metadata.update(at(3), &of_topic(2, answer(ErrorCode::None, 1, 0)));
        assert_eq!(metadata.leader(&partition), None);
        // It is as if the topic were not there.
        assert_eq!(metadata.partition_count(&TopicName::from("t")), None);
        assert_eq!(
            metadata.topic_error(&TopicName::from("t")),
            Some(ErrorCode::None)
        );
    }

    #[test]
    fn a_newer_epoch_from_elsewhere_makes_the_leader_unknown_and_asks_again() {
        let mut metadata = cache();
        let partition = TopicPartition::new("t", 0);
        metadata.update(at(0), &answer(ErrorCode::None, 2, 5));
        assert!(!metadata.update_requested);
        metadata.saw_epoch(&partition, LeaderEpoch(5));
        assert!(!metadata.update_requested);
        metadata.saw_epoch(&partition, LeaderEpoch(6));
        assert!(metadata.update_requested);
        assert_eq!(metadata.leader(&partition), None);
    }

    #[test]
    fn an_error_of_a_topic_asks_again_after_the_backoff() {
        let mut metadata = cache();
        metadata.update(at(10), &answer(ErrorCode::LeaderNotAvailable, 2, 5));
        assert_eq!(metadata.partition_count(&TopicName::from("t")), None);
        assert_eq!(metadata.next_update(), at(110));
    }

    #[test]
    fn a_good_answer_lasts_until_it_is_too_old() {
        let mut metadata = cache();
        metadata.update(at(10), &answer(ErrorCode::None, 2, 5));
        assert_eq!(metadata.next_update(), at(300_010));
        metadata.want(&TopicName::from("new"), at(20));
        assert_eq!(metadata.next_update(), Mono(0));
    }

    #[test]
    fn a_topic_not_used_for_long_is_not_asked_for_again() {
        let times = (Span::millis(100), Span::secs(300));
        let idle = Some(Span::secs(5));
        let mut metadata = Metadata::new(Behaviour::of(Era::Sound), times, idle);
        metadata.want(&TopicName::from("t"), at(0));
        metadata.want(&TopicName::from("u"), at(4000));
        assert_eq!(
            metadata.start_update(at(5000)),
            Some(vec![TopicName::from("u")])
        );
    }
}
