//! Deleting topics (`TopicDeletionManager`).
//!
//! All replicas must be told and answer before the topic's znodes go; a topic with a replica on a dead broker waits until
//! that broker is back.

use super::brokers::names;
use super::context::Replica;
use super::partition_phase::PartitionPhase;
use super::replica_phase::ReplicaPhase;
use super::step::{Reading, Step, Then};
use super::{Controller, Reply, note};
use crate::hands::Hands;
use crate::keeper_session::get_children;
use crate::znode::paths;
use protocol::error_code::ErrorCode;
use protocol::ids::{PartitionIndex, TopicName, TopicPartition};
use protocol::keeper::Path;
use protocol::note::ControllerNote;
use std::collections::BTreeSet;

impl Controller {
    pub(super) fn list_deletions(&mut self, hands: &mut Hands<'_, '_>, why: Reading) {
        let op = match why {
            Reading::Failover => get_children(paths::DELETE_TOPICS, true),
            Reading::Change => self.relist(paths::DELETE_TOPICS),
        };
        self.ask(hands, vec![op], Then::DeletionsListed(why));
    }

    /// `processTopicDeletion`, and `fetchTopicDeletionsInProgress` at failover.
    pub(super) fn deletions_listed(&mut self, why: Reading, replies: &[Reply]) {
        let wanted = names(replies).into_iter().map(TopicName);
        let (known, unknown): (Vec<_>, Vec<_>) =
            wanted.partition(|topic| self.context.topics.contains(topic));
        let refused = if self.settings.delete_topics {
            for topic in &known {
                self.context.to_delete.insert(topic.clone());
                let held_up = self
                    .context
                    .replicas_of_topic(topic)
                    .iter()
                    .any(|replica| !self.context.is_online(replica.broker, &replica.partition));
                let moved = self.context.is_being_reassigned(topic);
                if moved || why == Reading::Failover && held_up {
                    self.context.ineligible.insert(topic.clone());
                }
            }
            unknown
        } else {
            known.into_iter().chain(unknown).collect()
        };
        if why == Reading::Change && self.settings.delete_topics {
            self.agenda.push(Step::ResumeDeletions);
        }
        if !refused.is_empty() {
            let refused = refused.iter().map(paths::delete_topic).collect();
            self.agenda.push(Step::Delete(refused));
        }
    }

    /// `resumeDeletions`.
    pub(super) fn resume_deletions(&mut self) {
        let (mut retry, mut begin, mut finished) = (Vec::new(), Vec::new(), Vec::new());
        for topic in self.context.to_delete.clone() {
            let phases: Vec<ReplicaPhase> = self
                .context
                .replicas_of_topic(&topic)
                .iter()
                .map(|replica| self.context.replica_phase(replica))
                .collect();
            let any = |phase| phases.contains(&phase);
            let done = phases
                .iter()
                .all(|phase| *phase == ReplicaPhase::DeletionSuccessful);
            if done {
                finished.push(Step::RemoveTopic(topic));
                continue;
            }
            let started = any(ReplicaPhase::DeletionStarted);
            if !started && any(ReplicaPhase::DeletionIneligible) {
                let failed = ReplicaPhase::DeletionIneligible;
                retry.extend(self.context.replicas_in(&topic, failed));
            }
            if !started && !self.context.ineligible.contains(&topic) {
                begin.push(topic);
            }
        }
        let mut steps = finished;
        if !retry.is_empty() {
            steps.push(Step::Replicas {
                replicas: retry,
                target: ReplicaPhase::Offline,
            });
        }
        if !begin.is_empty() {
            steps.push(Step::BeginDeletion(begin));
        }
        self.then(steps);
    }

    /// `onTopicDeletion`.
    pub(super) fn begin_deletion(&mut self, topics: Vec<TopicName>) {
        let unseen: Vec<TopicName> = topics
            .iter()
            .filter(|topic| !self.context.deleting.contains(topic))
            .cloned()
            .collect();
        let of = |topics: &[TopicName]| -> Vec<TopicPartition> {
            let partitions = topics.iter().map(|topic| self.context.partitions_of(topic));
            partitions.flatten().collect()
        };
        let mut steps = Vec::new();
        if !unseen.is_empty() {
            for target in [PartitionPhase::Offline, PartitionPhase::NonExistent] {
                steps.push(Step::Partitions {
                    partitions: of(&unseen),
                    target,
                    strategy: None,
                });
            }
            steps.push(Step::MarkStarted(unseen));
        }
        steps.push(Step::SendMetadata {
            brokers: self.context.registered(),
            partitions: of(&topics),
        });
        steps.push(Step::DeleteReplicas(topics));
        self.then(steps);
    }

    /// `onPartitionDeletion`.
    pub(super) fn delete_replicas(&mut self, topics: &[TopicName]) {
        let (mut alive, mut dead, mut ineligible) = (Vec::new(), Vec::new(), Vec::new());
        for topic in topics {
            let mut held_up = false;
            for replica in self.context.replicas_of_topic(topic) {
                if !self.context.is_online(replica.broker, &replica.partition) {
                    dead.push(replica);
                    held_up = true;
                } else if self.context.replica_phase(&replica) != ReplicaPhase::DeletionSuccessful {
                    alive.push(replica);
                }
            }
            if held_up {
                ineligible.push(topic.clone());
            }
        }
        let to = |replicas, target| Step::Replicas { replicas, target };
        self.then([
            to(dead, ReplicaPhase::DeletionIneligible),
            to(alive.clone(), ReplicaPhase::Offline),
            to(alive, ReplicaPhase::DeletionStarted),
            Step::MarkIneligible(ineligible),
        ]);
    }

    pub(super) fn mark_ineligible(&mut self, topics: Vec<TopicName>) {
        let marked = topics
            .into_iter()
            .filter(|topic| self.context.to_delete.contains(topic))
            .collect::<Vec<_>>();
        self.context.ineligible.extend(marked);
    }

    /// `failReplicaDeletion`.
    pub(super) fn deletion_failed(&mut self, replicas: Vec<Replica>) {
        let failed: Vec<Replica> = replicas
            .into_iter()
            .filter(|replica| self.context.is_to_be_deleted(&replica.partition.topic))
            .collect();
        if failed.is_empty() {
            return;
        }
        let topics: BTreeSet<_> = failed.iter().map(|of| of.partition.topic.clone()).collect();
        self.then([
            Step::Replicas {
                replicas: failed,
                target: ReplicaPhase::DeletionIneligible,
            },
            Step::MarkIneligible(topics.into_iter().collect()),
            Step::ResumeDeletions,
        ]);
    }

    /// A broker answered a StopReplica that deletes (`processTopicDeletionStopReplicaResponseReceived`).
    pub(super) fn replicas_stopped(&mut self, stopped: Vec<(Replica, ErrorCode)>) {
        let (done, failed): (Vec<_>, Vec<_>) = stopped
            .into_iter()
            .filter(|(replica, _)| self.context.is_to_be_deleted(&replica.partition.topic))
            .partition(|(_, error)| *error == ErrorCode::None);
        let replicas = |list: Vec<(Replica, ErrorCode)>| -> Vec<Replica> {
            list.into_iter().map(|(replica, _)| replica).collect()
        };
        let mut steps = Vec::new();
        if !failed.is_empty() {
            steps.push(Step::DeletionFailed(replicas(failed)));
        }
        if !done.is_empty() {
            steps.push(Step::Replicas {
                replicas: replicas(done),
                target: ReplicaPhase::DeletionSuccessful,
            });
            steps.push(Step::ResumeDeletions);
        }
        self.then(steps);
    }

    /// `completeDeleteTopic`.
    pub(super) fn remove_topic(&mut self, topic: TopicName) {
        self.then([
            Step::Replicas {
                replicas: self
                    .context
                    .replicas_in(&topic, ReplicaPhase::DeletionSuccessful),
                target: ReplicaPhase::NonExistent,
            },
            Step::DeleteTree(topic),
        ]);
    }

    pub(super) fn delete_tree(&mut self, hands: &mut Hands<'_, '_>, topic: TopicName) {
        let op = get_children(paths::partitions(&topic), false);
        self.ask(hands, vec![op], Then::TreeListed(topic));
    }

    pub(super) fn tree_listed(
        &mut self,
        hands: &mut Hands<'_, '_>,
        topic: &TopicName,
        replies: &[Reply],
    ) {
        let mut all: Vec<Path> = Vec::new();
        for name in names(replies) {
            if let Ok(index) = name.parse() {
                let of = TopicPartition {
                    topic: topic.clone(),
                    partition: PartitionIndex(index),
                };
                all.extend([paths::partition_state(&of), paths::partition(&of)]);
            }
        }
        all.extend([
            paths::partitions(topic),
            paths::topic(topic),
            paths::topic_config(topic),
            paths::delete_topic(topic),
        ]);
        self.context.remove_topic(topic);
        note(hands.io, ControllerNote::TopicDeleted(topic.clone()));
        self.agenda.push(Step::Delete(all));
    }
}
