//! Division that moves as little as possible (`AbstractStickyAssignor`, KIP-54; `CooperativeStickyAssignor`, KIP-429).
//!
//! A member says in its subscription what it owned and of which generation. A claim of an older generation than
//! another's does not count (KAFKA-12984): a member that slept through a rebalance claims what is another's by now.

use super::assignor::{Division, Group, wanted_partitions};
use crate::consumer_protocol::Subscription;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use protocol::ids::{GenerationId, MemberId, TopicPartition};
use std::collections::{BTreeMap, BTreeSet};

/// The user data of a sticky member: the generation its ownership is of.
pub(super) fn user_data(generation: GenerationId) -> Bytes {
    let mut out = BytesMut::new();
    out.put_i32(generation.0);
    out.freeze()
}

fn generation(subscription: &Subscription) -> i32 {
    subscription
        .user_data
        .clone()
        .and_then(|mut bytes| bytes.try_get_i32().ok())
        .unwrap_or(-1)
}

/// What members own, as far as it counts.
fn owned(group: &Group<'_>, checks_generation: bool) -> BTreeMap<MemberId, Vec<TopicPartition>> {
    let latest = group.members.values().map(generation).max().unwrap_or(-1);
    let counts =
        |subscription: &Subscription| !checks_generation || generation(subscription) == latest;
    let mut claims: BTreeMap<&TopicPartition, u32> = BTreeMap::new();
    for subscription in group.members.values().filter(|member| counts(member)) {
        for partition in &subscription.owned {
            *claims.entry(partition).or_default() += 1;
        }
    }
    let exists = |partition: &TopicPartition| {
        group
            .counts
            .get(&partition.topic)
            .is_some_and(|count| partition.partition.0 < *count)
    };
    group
        .members
        .iter()
        .map(|(member, subscription)| {
            let mut kept: Vec<TopicPartition> = subscription
                .owned
                .iter()
                .filter(|partition| {
                    counts(subscription)
                        && exists(partition)
                        && subscription.topics.contains(&partition.topic)
                        && (!checks_generation || claims[partition] == 1)
                })
                .cloned()
                .collect();
            kept.sort();
            (member.clone(), kept)
        })
        .collect()
}

/// Balanced, keeping what can be kept.
pub(super) fn divide(group: &Group<'_>, checks_generation: bool) -> Division {
    let mut division = owned(group, checks_generation);
    let partitions = wanted_partitions(group);
    if division.is_empty() {
        return division;
    }
    let mut topics = group.members.values().map(|member| {
        let mut topics = member.topics.clone();
        topics.sort();
        topics
    });
    let first = topics.next();
    if topics.all(|other| Some(&other) == first.as_ref()) {
        trim_to_quota(&mut division, partitions.len());
    }
    let taken: BTreeSet<&TopicPartition> = division.values().flatten().collect();
    let free: Vec<TopicPartition> = partitions
        .iter()
        .filter(|partition| !taken.contains(partition))
        .cloned()
        .collect();
    for partition in free {
        if let Some(member) = emptiest(&division, group, &partition) {
            division.entry(member).or_default().push(partition);
        }
    }
    even_out(&mut division, group);
    for partitions in division.values_mut() {
        partitions.sort();
    }
    division
}

/// `constrainedAssign`: nobody keeps more than a fair share, and only so many the larger one.
fn trim_to_quota(division: &mut Division, partitions: usize) {
    let (least, larger) = (partitions / division.len(), partitions % division.len());
    let mut larger_left = larger;
    for kept in division.values_mut() {
        let quota = if larger_left > 0 && kept.len() > least {
            larger_left -= 1;
            least + 1
        } else {
            least
        };
        kept.truncate(quota);
    }
}

/// The member with the fewest partitions among those that want the topic.
fn emptiest(
    division: &Division,
    group: &Group<'_>,
    partition: &TopicPartition,
) -> Option<MemberId> {
    division
        .iter()
        .filter(|(member, _)| {
            group
                .members
                .get(member)
                .is_some_and(|wants| wants.topics.contains(&partition.topic))
        })
        .min_by_key(|(_, partitions)| partitions.len())
        .map(|(member, _)| member.clone())
}

/// Moves partitions from fuller to emptier members while that helps.
fn even_out(division: &mut Division, group: &Group<'_>) {
    loop {
        let step = division.iter().find_map(|(from, partitions)| {
            partitions.iter().rev().find_map(|partition| {
                let to = emptiest(division, group, partition)?;
                let gains = division[&to].len() + 1 < partitions.len();
                gains.then(|| (from.clone(), partition.clone(), to))
            })
        });
        let Some((from, partition, to)) = step else {
            return;
        };
        if let Some(partitions) = division.get_mut(&from) {
            partitions.retain(|other| *other != partition);
        }
        if let Some(partitions) = division.get_mut(&to) {
            partitions.push(partition);
        }
    }
}

/// KIP-429: what moves from a living member is nobody's until that member has let go of it.
pub(super) fn hold_back_moving(
    mut division: Division,
    group: &Group<'_>,
    checks_generation: bool,
) -> Division {
    let mut owners: BTreeMap<&TopicPartition, &MemberId> = BTreeMap::new();
    let before = owned(group, checks_generation);
    for (member, partitions) in &before {
        for partition in partitions {
            owners.insert(partition, member);
        }
    }
    for (member, partitions) in &mut division {
        partitions.retain(|partition| {
            let keeps = before
                .get(member)
                .is_some_and(|owned| owned.contains(partition));
            keeps || !owners.contains_key(partition)
        });
    }
    division
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::ids::TopicName;

    fn member(owned: &[i32], of: i32) -> Subscription {
        Subscription {
            topics: vec![TopicName::from("t")],
            owned: owned
                .iter()
                .map(|index| TopicPartition::new("t", *index))
                .collect(),
            user_data: Some(user_data(GenerationId(of))),
        }
    }

    fn run(
        list: &[(&str, Subscription)],
        count: i32,
        checks: bool,
        cooperative: bool,
    ) -> Vec<Vec<i32>> {
        let members = list
            .iter()
            .map(|(id, wants)| (MemberId::from(*id), wants.clone()))
            .collect();
        let counts = BTreeMap::from([(TopicName::from("t"), count)]);
        let group = Group {
            members: &members,
            instances: &BTreeMap::new(),
            counts: &counts,
        };
        let mut division = divide(&group, checks);
        if cooperative {
            division = hold_back_moving(division, &group, checks);
        }
        division
            .into_values()
            .map(|partitions| partitions.iter().map(|part| part.partition.0).collect())
            .collect()
    }

    #[test]
    fn a_new_member_takes_only_its_share() {
        let list = [
            ("a", member(&[0, 1, 2], 1)),
            ("b", member(&[3, 4, 5], 1)),
            ("c", member(&[], -1)),
        ];
        assert_eq!(
            run(&list, 6, true, false),
            [vec![0, 1], vec![3, 4], vec![2, 5]]
        );
    }

    #[test]
    fn what_a_member_leaves_behind_is_spread_and_the_rest_stays() {
        let list = [("a", member(&[0, 1], 1)), ("b", member(&[4, 5], 1))];
        assert_eq!(run(&list, 6, true, false), [vec![0, 1, 2], vec![3, 4, 5]]);
    }

    #[test]
    fn a_moving_partition_is_nobodys_for_one_round() {
        let list = [("a", member(&[0, 1], 1)), ("b", member(&[], -1))];
        assert_eq!(run(&list, 2, true, true), [vec![0], vec![]]);
    }

    #[test]
    fn a_claim_of_a_missed_generation_counts_only_without_the_fix() {
        let list = [("a", member(&[0], 1)), ("b", member(&[0], 2))];
        assert_eq!(run(&list, 2, true, false), [vec![1], vec![0]]);
        let twice = run(&list, 2, false, false);
        assert!(twice[0].contains(&0) && twice[1].contains(&0), "{twice:?}");
    }
}
