//! Topics and partitions that come (`processTopicChange`, `processPartitionModifications`, `onNewPartitionCreation`).

use super::brokers::names;
use super::context::ReplicaAssignment;
use super::election::Strategy;
use super::eligible::EligibleStep;
use super::partition_phase::PartitionPhase;
use super::replica_machine::topics_of;
use super::replica_phase::ReplicaPhase;
use super::step::{Reading, Step, Then};
use super::{Controller, Reply, note};
use crate::hands::Hands;
use crate::keeper_session::{get_children, get_data, set_data};
use crate::znode::paths;
use crate::znode::topic::{Assignment, Topic, TopicVersion};
use protocol::behaviour::Fix;
use protocol::ids::{TopicName, TopicPartition};
use protocol::keeper::{KeeperOp, KeeperResult};
use protocol::note::ControllerNote;
use std::collections::BTreeSet;

impl Controller {
    /// A controller that is elected again, in a new session, thought before KAFKA-928 that it had set these watches already.
    fn watches_topics(&self) -> bool {
        self.terms <= 1 || self.settings.behaviour.has(Fix::RewatchAfterExpiry)
    }

    pub(super) fn list_topics(&mut self, hands: &mut Hands<'_, '_>, why: Reading) {
        let op = match why {
            Reading::Failover => get_children(paths::TOPICS, self.watches_topics()),
            Reading::Change => self.relist(paths::TOPICS),
        };
        self.ask(hands, vec![op], Then::TopicsListed(why));
    }

    pub(super) fn topics_listed(
        &mut self,
        hands: &mut Hands<'_, '_>,
        why: Reading,
        replies: &[Reply],
    ) {
        let all: BTreeSet<_> = names(replies)
            .iter()
            .map(|name| TopicName(name.clone()))
            .collect();
        let known = &self.context.topics;
        let new: Vec<TopicName> = all.difference(known).cloned().collect();
        let gone: Vec<TopicName> = known.difference(&all).cloned().collect();
        for topic in &gone {
            self.context.remove_topic(topic);
        }
        self.context.topics = all;
        // The read leaves the watch for more partitions (`registerPartitionModificationsHandlers`).
        let watch = self.watches_topics();
        let read = |topic| get_data(paths::topic(topic), watch);
        let ops = new.iter().map(read).collect();
        self.ask(hands, ops, Then::TopicsRead(why, new));
    }

    pub(super) fn topics_read(
        &mut self,
        hands: &mut Hands<'_, '_>,
        (why, topics): (Reading, Vec<TopicName>),
        replies: &[Reply],
    ) {
        let mut added = Vec::new();
        let mut identified = Vec::new();
        for (topic, reply) in topics.into_iter().zip(replies) {
            let Some(mut content) = decode_topic(reply) else {
                continue;
            };
            if why == Reading::Change {
                let count = i32::try_from(content.partitions.len()).unwrap_or(i32::MAX);
                note(hands.io, ControllerNote::TopicCreated(topic.clone(), count));
            }
            identified.extend(self.identify(&topic, &mut content));
            added.extend(self.assign(&topic, content));
        }
        if why == Reading::Change {
            let topics = topics_of(&added);
            self.agenda.push(Step::NewPartitions(added));
            if self.settings.behaviour.keeps_eligible() {
                let learn = EligibleStep::LearnMinIsr(topics);
                self.agenda.push(Step::Eligible(learn));
            }
        }
        if !identified.is_empty() {
            self.ask(hands, identified, Then::Done);
        }
    }

    /// Takes over a topic's id, also where the controller does not speak of ids, so that no other one is given later
    /// (KAFKA-12835); a topic that has none is given one where it does (`processTopicIds`). The write that makes necessary.
    fn identify(&mut self, topic: &TopicName, content: &mut Topic) -> Option<KeeperOp> {
        let protocol = self.settings.behaviour.inter_broker_protocol;
        let nameless = content.id.is_none() && protocol.supports_topic_ids();
        if nameless {
            content.id = Some(self.draws.topic_id());
        }
        self.context
            .topic_ids
            .extend(content.id.map(|id| (topic.clone(), id)));
        let data = content.encode(TopicVersion::V2);
        nameless.then(|| self.checked(set_data(paths::topic(topic), data, -1)))
    }

    /// Takes over the assignment of partitions it did not know; which they are.
    fn assign(&mut self, topic: &TopicName, content: Topic) -> Vec<TopicPartition> {
        let mut added = Vec::new();
        for (index, replicas) in content.partitions {
            let partition = TopicPartition {
                topic: topic.clone(),
                partition: index,
            };
            if !self.context.assignments.contains_key(&partition) {
                let list = |of: &Assignment| of.get(&index).cloned().unwrap_or_default();
                let known = ReplicaAssignment {
                    replicas,
                    adding: list(&content.adding),
                    removing: list(&content.removing),
                };
                // An earlier controller did not finish.
                if known.is_moving() {
                    self.context.reassigning.insert(partition.clone());
                }
                self.context.set_full_assignment(&partition, known);
                added.push(partition);
            }
        }
        added
    }

    pub(super) fn read_partitions(&mut self, hands: &mut Hands<'_, '_>, topic: TopicName) {
        let op = get_data(paths::topic(&topic), true);
        self.ask(hands, vec![op], Then::PartitionsRead(topic));
    }

    pub(super) fn partitions_read(
        &mut self,
        hands: &mut Hands<'_, '_>,
        topic: &TopicName,
        replies: &[Reply],
    ) {
        let Some(content) = replies.first().and_then(decode_topic) else {
            return;
        };
        if self.context.is_to_be_deleted(topic) {
            self.restore_partitions(hands, topic, &content);
        } else {
            let added = self.assign(topic, content);
            if !added.is_empty() {
                self.agenda.push(Step::NewPartitions(added));
            }
        }
    }

    /// A topic that is being deleted grows no more (`restorePartitionReplicaAssignment`).
    fn restore_partitions(
        &mut self,
        hands: &mut Hands<'_, '_>,
        topic: &TopicName,
        content: &Topic,
    ) {
        let known = self.context.partitions_of(topic);
        if known.len() >= content.partitions.len() {
            return;
        }
        let partitions = known.into_iter().map(|partition| {
            let replicas = self.context.assignment(&partition).to_vec();
            (partition.partition, replicas)
        });
        let restored = Topic {
            partitions: partitions.collect(),
            ..content.clone()
        };
        let data = restored.encode(TopicVersion::V2);
        let op = self.checked(set_data(paths::topic(topic), data, -1));
        self.ask(hands, vec![op], Then::Done);
    }

    /// `onNewPartitionCreation`.
    pub(super) fn new_partitions(&mut self, partitions: Vec<TopicPartition>) {
        let replicas = self.context.replicas_of(&partitions);
        self.then([
            Step::Partitions {
                partitions: partitions.clone(),
                target: PartitionPhase::New,
                strategy: None,
            },
            Step::Replicas {
                replicas: replicas.clone(),
                target: ReplicaPhase::New,
            },
            Step::Partitions {
                partitions,
                target: PartitionPhase::Online,
                strategy: Some(Strategy::Offline {
                    allow_unclean: false,
                }),
            },
            Step::Replicas {
                replicas,
                target: ReplicaPhase::Online,
            },
        ]);
    }
}

fn decode_topic(reply: &Reply) -> Option<Topic> {
    match reply {
        Ok(KeeperResult::Data(data, _)) => Topic::decode(data),
        Ok(_) | Err(_) => None,
    }
}
