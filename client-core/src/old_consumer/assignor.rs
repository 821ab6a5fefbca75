//! Who consumes what (`PartitionAssignor`, `RangeAssignor`, `RoundRobinAssignor`).
//!
//! Every member computes this for itself from what it reads, and the results agree if what they read does. Streams are
//! ordered by the text of their ids, partitions by number. Left out: the fair assignor of 0.9.1, which no release shipped
//! under an era of ours.

use protocol::behaviour::Era;
use protocol::config::OldAssignor;
use protocol::ids::{TopicName, TopicPartition};
use protocol::java_hash::string_hash;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// `ConsumerThreadId`: one stream of a member, `<consumer>-<number>`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct ThreadId {
    /// What is written into the owner's node.
    pub(super) text: Arc<str>,
    pub(super) consumer: Arc<str>,
    pub(super) number: u32,
}

impl ThreadId {
    pub(super) fn new(consumer: &Arc<str>, number: u32) -> Self {
        Self {
            text: format!("{consumer}-{number}").into(),
            consumer: consumer.clone(),
            number,
        }
    }
}

/// What a member sees of its group when it divides (`AssignmentContext`).
#[derive(Clone, Default, Debug)]
pub(super) struct View {
    /// The streams that want a topic.
    pub(super) threads: BTreeMap<TopicName, BTreeSet<ThreadId>>,
    /// The partitions of each topic.
    pub(super) partitions: BTreeMap<TopicName, Vec<i32>>,
}

/// One member's share: which stream gets which partition.
pub(super) type Share = BTreeMap<TopicPartition, ThreadId>;

/// The share of `consumer`, which subscribes to `topics`; none where the rule refuses.
pub(super) fn assign(
    (rule, era): (OldAssignor, Era),
    view: &View,
    (consumer, topics): (&Arc<str>, &BTreeSet<TopicName>),
) -> Option<Share> {
    match rule {
        OldAssignor::Range => Some(range(view, consumer, topics)),
        OldAssignor::RoundRobin => round_robin(era, view, consumer),
    }
}

fn range(view: &View, consumer: &Arc<str>, topics: &BTreeSet<TopicName>) -> Share {
    let mut share = Share::new();
    for topic in topics {
        let (Some(threads), Some(partitions)) =
            (view.threads.get(topic), view.partitions.get(topic))
        else {
            continue;
        };
        let each = partitions.len() / threads.len().max(1);
        let with_one_more = partitions.len() % threads.len().max(1);
        let mut rest = partitions.iter();
        for (place, thread) in threads.iter().enumerate() {
            let count = each + usize::from(place < with_one_more);
            let own = rest.by_ref().take(count);
            for partition in own.filter(|_| thread.consumer == *consumer) {
                share.insert(
                    TopicPartition::new(topic.clone(), *partition),
                    thread.clone(),
                );
            }
        }
    }
    share
}

fn round_robin(era: Era, view: &View, consumer: &Arc<str>) -> Option<Share> {
    // Before KAFKA-2196 all streams had to want the same topics.
    let mut wants = view.threads.values();
    let first = wants.next();
    if era == Era::V0_8 && wants.any(|other| Some(other) != first) {
        return None;
    }
    let threads: BTreeSet<&ThreadId> = view.threads.values().flatten().collect();
    let mut all: Vec<TopicPartition> = view
        .partitions
        .iter()
        .flat_map(|(topic, partitions)| {
            let of = |number: &i32| TopicPartition::new(topic.clone(), *number);
            partitions.iter().map(of)
        })
        .collect();
    all.sort_by_key(|partition| {
        string_hash(&format!("[{},{}]", partition.topic, partition.partition))
    });
    let mut turn = threads.iter().cycle();
    let mut share = Share::new();
    for partition in all {
        let wanting = view.threads.get(&partition.topic)?;
        if wanting.is_empty() {
            continue;
        }
        let thread = turn.find(|thread| wanting.contains(**thread))?;
        if thread.consumer == *consumer {
            share.insert(partition, (*thread).clone());
        }
    }
    Some(share)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Members with their numbers of streams, and topics with their numbers of partitions; everybody wants everything.
    fn view(members: &[(&str, u32)], topics: &[(&str, i32)]) -> View {
        let mut view = View::default();
        for (topic, count) in topics {
            let topic = TopicName::from(*topic);
            let threads = members.iter().flat_map(|(name, streams)| {
                let consumer: Arc<str> = Arc::from(*name);
                (0..*streams).map(move |number| ThreadId::new(&consumer, number))
            });
            view.threads.insert(topic.clone(), threads.collect());
            view.partitions.insert(topic, (0..*count).collect());
        }
        view
    }

    fn share(rule: OldAssignor, era: Era, view: &View, member: &str) -> Option<Vec<String>> {
        let topics = view.partitions.keys().cloned().collect();
        let share = assign((rule, era), view, (&Arc::from(member), &topics))?;
        let text = |(partition, thread): (&TopicPartition, &ThreadId)| {
            format!("{partition} {}", thread.text)
        };
        Some(share.iter().map(text).collect())
    }

    #[test]
    fn ranges_give_the_first_streams_one_more() {
        let view = view(&[("c1", 2), ("c2", 2)], &[("t", 5)]);
        let of = |member| share(OldAssignor::Range, Era::V0_8, &view, member).unwrap();
        assert_eq!(of("c1"), ["t-0 c1-0", "t-1 c1-0", "t-2 c1-1"]);
        assert_eq!(of("c2"), ["t-3 c2-0", "t-4 c2-1"]);
    }

    #[test]
    fn streams_are_ordered_as_texts() {
        let view = view(&[("c", 11)], &[("t", 11)]);
        let share = share(OldAssignor::Range, Era::V0_8, &view, "c").unwrap();
        assert_eq!(share[2], "t-2 c-10", "\"c-10\" comes before \"c-2\"");
    }

    #[test]
    fn in_turn_every_partition_goes_to_one_stream_by_the_order_of_hashes() {
        let view = view(&[("c1", 1), ("c2", 1)], &[("t", 3), ("u", 2)]);
        let of = |member| share(OldAssignor::RoundRobin, Era::V0_8, &view, member).unwrap();
        assert_eq!(of("c1"), ["t-0 c1-0", "t-2 c1-0", "u-1 c1-0"]);
        assert_eq!(of("c2"), ["t-1 c2-0", "u-0 c2-0"]);
    }

    #[test]
    fn in_turn_0_8_refuses_unlike_subscriptions_and_0_9_skips_streams_that_do_not_want() {
        let mut view = view(&[("c1", 1), ("c2", 1)], &[("t", 2), ("u", 2)]);
        let threads = view.threads.get_mut(&TopicName::from("u")).unwrap();
        threads.retain(|thread| &*thread.consumer == "c1");
        assert_eq!(share(OldAssignor::RoundRobin, Era::V0_8, &view, "c1"), None);
        let of = |member| share(OldAssignor::RoundRobin, Era::V0_9, &view, member).unwrap();
        assert_eq!(of("c1"), ["t-0 c1-0", "u-0 c1-0", "u-1 c1-0"]);
        assert_eq!(of("c2"), ["t-1 c2-0"]);
    }
}
