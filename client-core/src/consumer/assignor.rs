//! How a group's leader divides partitions (`RangeAssignor`, `RoundRobinAssignor`, `AbstractStickyAssignor`).
//!
//! Each is a pure function of the members' subscriptions and the topics' partition counts. The sticky ones keep to
//! Kafka's rule for equal subscriptions; where subscriptions differ the search for the best balance is replaced by
//! moving partitions from the fullest to the emptiest member while that helps.

use super::sticky;
use crate::consumer_protocol::Subscription;
use protocol::behaviour::{Behaviour, Fix};
use protocol::config::Assignor;
use protocol::ids::{MemberId, TopicName, TopicPartition};
use std::collections::BTreeMap;

/// Who gets what.
pub(super) type Division = BTreeMap<MemberId, Vec<TopicPartition>>;

/// What is to be divided among whom.
pub(super) struct Group<'a> {
    pub(super) members: &'a BTreeMap<MemberId, Subscription>,
    /// Static members come before others, by their instance ids (KIP-345).
    pub(super) instances: &'a BTreeMap<MemberId, String>,
    /// Topics without metadata are missing here.
    pub(super) counts: &'a BTreeMap<TopicName, i32>,
}

impl Group<'_> {
    /// The members in the order of `MemberInfo`: static ones by instance id, then the others by member id.
    fn in_order<'m>(&self, members: impl Iterator<Item = &'m MemberId>) -> Vec<&'m MemberId> {
        let mut ordered: Vec<_> = members
            .map(|member| {
                let instance = self.instances.get(member);
                ((instance.is_none(), instance), member)
            })
            .collect();
        ordered.sort();
        ordered.into_iter().map(|(_, member)| member).collect()
    }
}

/// Divides.
pub(super) fn divide(assignor: Assignor, group: &Group<'_>, behaviour: Behaviour) -> Division {
    match assignor {
        Assignor::Range => range(group),
        Assignor::RoundRobin => round_robin(group),
        Assignor::Sticky => sticky::divide(group, true),
        Assignor::CooperativeSticky => {
            let checks = behaviour.has(Fix::OwnedGenerationCheck);
            sticky::hold_back_moving(sticky::divide(group, checks), group, checks)
        }
    }
}

/// Per topic, in ranges; the first members get one more.
fn range(group: &Group<'_>) -> Division {
    let mut division = empty(group);
    for (topic, count) in group.counts {
        let wants = group
            .members
            .iter()
            .filter(|(_, subscription)| subscription.topics.contains(topic))
            .map(|(member, _)| member);
        let members = group.in_order(wants);
        let Ok(members_count) = i32::try_from(members.len()) else {
            continue;
        };
        if members_count == 0 {
            continue;
        }
        let (each, extra) = (count / members_count, count % members_count);
        let mut next = 0;
        for (place, member) in (0..).zip(members) {
            let share = each + i32::from(place < extra);
            if let Some(partitions) = division.get_mut(member) {
                partitions.extend(
                    (next..next + share).map(|index| TopicPartition::new(topic.clone(), index)),
                );
            }
            next += share;
        }
    }
    division
}

/// All partitions in turn, each to the next member that wants its topic.
fn round_robin(group: &Group<'_>) -> Division {
    let mut division = empty(group);
    let members = group.in_order(group.members.keys());
    let mut turn = 0;
    for partition in wanted_partitions(group) {
        let wants = |place: usize| {
            let member = members[place % members.len()];
            group.members[member].topics.contains(&partition.topic)
        };
        let Some(place) = (turn..turn + members.len()).find(|place| wants(*place)) else {
            continue;
        };
        turn = place + 1;
        if let Some(partitions) = division.get_mut(members[place % members.len()]) {
            partitions.push(partition);
        }
    }
    division
}

/// Nothing for everybody.
pub(super) fn empty(group: &Group<'_>) -> Division {
    group
        .members
        .keys()
        .map(|member| (member.clone(), Vec::new()))
        .collect()
}

/// The partitions of all topics that somebody wants, by topic and index.
pub(super) fn wanted_partitions(group: &Group<'_>) -> Vec<TopicPartition> {
    group
        .counts
        .iter()
        .filter(|(topic, _)| {
            group
                .members
                .values()
                .any(|subscription| subscription.topics.contains(topic))
        })
        .flat_map(|(topic, count)| {
            (0..*count).map(|index| TopicPartition::new(topic.clone(), index))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::behaviour::Era;

    fn members(list: &[(&str, &[&str])]) -> BTreeMap<MemberId, Subscription> {
        list.iter()
            .map(|(member, topics)| {
                let subscription = Subscription {
                    topics: topics.iter().map(|topic| TopicName::from(*topic)).collect(),
                    ..Subscription::default()
                };
                (MemberId::from(*member), subscription)
            })
            .collect()
    }

    fn counts(list: &[(&str, i32)]) -> BTreeMap<TopicName, i32> {
        list.iter()
            .map(|(topic, count)| (TopicName::from(*topic), *count))
            .collect()
    }

    fn names(division: &Division) -> Vec<(String, String)> {
        division
            .iter()
            .map(|(member, partitions)| {
                let names: Vec<String> = partitions.iter().map(ToString::to_string).collect();
                (member.to_string(), names.join(" "))
            })
            .collect()
    }

    fn check(
        assignor: Assignor,
        list: &[(&str, &[&str])],
        topics: &[(&str, i32)],
        expected: &[(&str, &str)],
    ) {
        let (members, counts) = (members(list), counts(topics));
        let group = Group {
            members: &members,
            instances: &BTreeMap::new(),
            counts: &counts,
        };
        let found = names(&divide(assignor, &group, Behaviour::of(Era::V2_8)));
        let expected: Vec<(String, String)> = expected
            .iter()
            .map(|(member, names)| ((*member).to_owned(), (*names).to_owned()))
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn range_gives_the_first_members_one_more_of_each_topic() {
        let both: &[&str] = &["t", "u"];
        check(
            Assignor::Range,
            &[("a", both), ("b", both)],
            &[("t", 3), ("u", 3)],
            &[("a", "t-0 t-1 u-0 u-1"), ("b", "t-2 u-2")],
        );
    }

    #[test]
    fn round_robin_goes_on_over_topics() {
        let both: &[&str] = &["t", "u"];
        check(
            Assignor::RoundRobin,
            &[("a", both), ("b", both)],
            &[("t", 3), ("u", 3)],
            &[("a", "t-0 t-2 u-1"), ("b", "t-1 u-0 u-2")],
        );
    }

    #[test]
    fn round_robin_passes_over_who_does_not_want_the_topic() {
        check(
            Assignor::RoundRobin,
            &[
                ("a", &["t0"]),
                ("b", &["t0", "t1"]),
                ("c", &["t0", "t1", "t2"]),
            ],
            &[("t0", 1), ("t1", 2), ("t2", 3)],
            &[("a", "t0-0"), ("b", "t1-0"), ("c", "t1-1 t2-0 t2-1 t2-2")],
        );
    }

    #[test]
    fn a_topic_without_metadata_is_nobodys() {
        check(Assignor::Range, &[("a", &["t"])], &[], &[("a", "")]);
    }

    #[test]
    fn static_members_come_first() {
        let (members, counts) = (
            members(&[("a", &["t"]), ("b", &["t"])]),
            counts(&[("t", 1)]),
        );
        let instances = BTreeMap::from([(MemberId::from("b"), "i".to_owned())]);
        let group = Group {
            members: &members,
            instances: &instances,
            counts: &counts,
        };
        let found = names(&range(&group));
        assert_eq!(found[1], ("b".to_owned(), "t-0".to_owned()));
    }
}
