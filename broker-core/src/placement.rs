//! Where new partitions go, and which names topics may have (`AdminUtils.assignReplicasToBrokers`, `Topic.validate`).
//!
//! Leaders go round the brokers from a random one, followers at a random distance that grows by one with every round, so
//! that the followers of a leader's partitions spread. Left out: racks.

use crate::znode::topic::Assignment;
use protocol::error_code::ErrorCode;
use protocol::ids::{BrokerId, PartitionIndex, TopicId};
use std::collections::BTreeSet;

/// An error and its message, as clients get them.
pub type Refusal = (ErrorCode, String);

/// Draws that follow from a seed alone, one after the other.
#[derive(Clone, Debug)]
pub struct Draws {
    seed: u64,
    ordinal: u64,
}

impl Draws {
    /// The draws of a seed.
    pub fn new(seed: u64) -> Self {
        Self { seed, ordinal: 0 }
    }

    /// The next 64 bits (`splitmix64`).
    pub fn bits(&mut self) -> u64 {
        self.ordinal += 1;
        let mut x = self.seed ^ self.ordinal.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        x ^ (x >> 31)
    }

    /// A number below `bound`, which is more than zero.
    pub fn below(&mut self, bound: usize) -> usize {
        let wide = u64::try_from(bound).unwrap_or(u64::MAX).max(1);
        usize::try_from(self.bits() % wide).unwrap_or(0)
    }

    /// A new topic id. Of Kafka's random UUIDs it has not the bits that name their kind.
    pub fn topic_id(&mut self) -> TopicId {
        TopicId((u128::from(self.bits()) << 64) | u128::from(self.bits()))
    }
}

/// Where a placement starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// At random, as a new topic.
    Random,
    /// At this broker of the list, with this partition, as partitions that are added.
    At {
        /// Index in the list of brokers; also the first distance of followers.
        broker: usize,
        /// The first new partition.
        partition: usize,
    },
}

/// Places `partitions` partitions with `replicas` replicas each on `brokers`.
///
/// # Errors
/// With Kafka's messages.
pub fn assign_replicas(
    brokers: &[BrokerId],
    (partitions, replicas): (i32, i32),
    start: Start,
    draws: &mut Draws,
) -> Result<Assignment, Refusal> {
    if partitions <= 0 {
        let message = "Number of partitions must be larger than 0.".to_owned();
        return Err((ErrorCode::InvalidPartitions, message));
    }
    if replicas <= 0 {
        let message = "Replication factor must be larger than 0.".to_owned();
        return Err((ErrorCode::InvalidReplicationFactor, message));
    }
    let (count, wanted) = (
        usize::try_from(partitions).unwrap_or(0),
        usize::try_from(replicas).unwrap_or(0),
    );
    let n = brokers.len();
    if wanted > n {
        let message = format!("Replication factor: {replicas} larger than available brokers: {n}.");
        return Err((ErrorCode::InvalidReplicationFactor, message));
    }
    let (start, mut shift, first) = match start {
        Start::Random => (draws.below(n), draws.below(n), 0),
        Start::At { broker, partition } => (broker, broker, partition),
    };
    let mut assignment = Assignment::new();
    for partition in first..first + count {
        if partition > 0 && partition % n == 0 {
            shift += 1;
        }
        let leader = (partition + start) % n;
        let follower = |j: usize| brokers[(leader + 1 + (shift + j) % (n - 1)) % n];
        let mut list = vec![brokers[leader]];
        list.extend((0..wanted - 1).map(follower));
        let index = PartitionIndex(i32::try_from(partition).unwrap_or(i32::MAX));
        assignment.insert(index, list);
    }
    Ok(assignment)
}

/// Whether a placement that a caller made is possible.
///
/// # Errors
/// With Kafka's messages.
pub fn check_assignment(assignment: &Assignment) -> Result<(), Refusal> {
    let refuse = |message: String| Err((ErrorCode::InvalidReplicaAssignment, message));
    let consecutive = assignment
        .keys()
        .zip(0..)
        .all(|(index, expected)| index.0 == expected);
    if !consecutive {
        return refuse("partitions should be a consecutive 0-based integer sequence".to_owned());
    }
    for list in assignment.values() {
        if list.iter().collect::<BTreeSet<_>>().len() != list.len() {
            return refuse(format!("Duplicate replica assignment found: {list:?}"));
        }
    }
    let sizes: BTreeSet<usize> = assignment.values().map(Vec::len).collect();
    if sizes.len() > 1 {
        return refuse("All partitions should have the same number of replicas".to_owned());
    }
    Ok(())
}

/// Whether a topic may have this name.
///
/// # Errors
/// With Kafka's messages.
pub fn check_topic_name(name: &str) -> Result<(), Refusal> {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let message = if name.is_empty() {
        "Topic name is illegal, it can't be empty".to_owned()
    } else if name == "." || name == ".." {
        "Topic name cannot be \".\" or \"..\"".to_owned()
    } else if name.len() > 249 {
        format!("Topic name is illegal, it can't be longer than 249 characters, topic name: {name}")
    } else if !name.chars().all(legal) {
        format!(
            "Topic name \"{name}\" is illegal, it contains a character other than ASCII alphanumerics, '.', '_' and '-'"
        )
    } else {
        return Ok(());
    };
    Err((ErrorCode::InvalidTopicException, message))
}

/// Whether two names would give one name of a metric, where a dot becomes an underscore.
pub fn collides(one: &str, other: &str) -> bool {
    one.replace('.', "_") == other.replace('.', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(list: &[i32]) -> Vec<BrokerId> {
        list.iter().copied().map(BrokerId).collect()
    }

    #[test]
    fn the_example_of_kafkas_own_comment_is_placed_as_it_says() {
        // AdminUtils: 5 brokers, 10 partitions, 3 replicas, start at broker 0 with shift 0.
        let start = Start::At {
            broker: 0,
            partition: 0,
        };
        let brokers = ids(&[0, 1, 2, 3, 4]);
        let placed = assign_replicas(&brokers, (10, 3), start, &mut Draws::new(1)).unwrap();
        let expected = [
            [0, 1, 2],
            [1, 2, 3],
            [2, 3, 4],
            [3, 4, 0],
            [4, 0, 1],
            [0, 2, 3],
            [1, 3, 4],
            [2, 4, 0],
            [3, 0, 1],
            [4, 1, 2],
        ];
        let expected: Vec<_> = expected.iter().map(|list| ids(list)).collect();
        assert_eq!(placed.into_values().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn one_seed_places_always_alike_and_every_broker_gets_its_share() {
        let brokers = ids(&[1, 2, 3]);
        let place =
            |seed| assign_replicas(&brokers, (6, 2), Start::Random, &mut Draws::new(seed)).unwrap();
        assert_eq!(place(5), place(5));
        assert!((0..20).any(|seed| place(seed) != place(5)));
        for seed in 0..20 {
            let placed = place(seed);
            for broker in &brokers {
                let led = placed.values().filter(|list| list[0] == *broker).count();
                assert_eq!(led, 2, "seed {seed}");
            }
            assert!(placed.values().all(|list| list[0] != list[1]));
        }
    }

    #[test]
    fn impossible_placements_are_refused_in_kafkas_words() {
        let refused = |n, brokers: &[i32]| {
            assign_replicas(&ids(brokers), n, Start::Random, &mut Draws::new(1)).unwrap_err()
        };
        assert_eq!(
            refused((1, 3), &[1]),
            (
                ErrorCode::InvalidReplicationFactor,
                "Replication factor: 3 larger than available brokers: 1.".to_owned()
            )
        );
        assert_eq!(refused((0, 1), &[1]).0, ErrorCode::InvalidPartitions);
        assert_eq!(refused((1, 0), &[1]).0, ErrorCode::InvalidReplicationFactor);
        let list = |lists: &[&[i32]]| -> Assignment {
            (0..)
                .map(PartitionIndex)
                .zip(lists.iter().map(|list| ids(list)))
                .collect()
        };
        assert_eq!(check_assignment(&list(&[&[1, 2], &[2, 3]])), Ok(()));
        assert!(check_assignment(&list(&[&[1, 1]])).is_err());
        assert!(check_assignment(&list(&[&[1], &[1, 2]])).is_err());
        let gap = Assignment::from([(PartitionIndex(1), ids(&[1]))]);
        assert!(check_assignment(&gap).is_err());
    }

    #[test]
    fn names_follow_kafkas_rules() {
        for good in ["a", "A-b_c.9", &"x".repeat(249)] {
            assert_eq!(check_topic_name(good), Ok(()));
        }
        for bad in ["", ".", "..", "a b", "ä", &"x".repeat(250)] {
            let refused = check_topic_name(bad).unwrap_err();
            assert_eq!(refused.0, ErrorCode::InvalidTopicException);
        }
        assert!(collides("a.b", "a_b") && !collides("a.b", "a-b"));
    }

    #[test]
    fn no_two_topics_get_the_same_id() {
        let mut draws = Draws::new(3);
        let (one, other) = (draws.topic_id(), draws.topic_id());
        assert_ne!(one, other);
    }
}
