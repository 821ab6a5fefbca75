//! Which partition of `__consumer_offsets` holds a group, and so which broker coordinates it
//! (`GroupMetadataManager.partitionFor`).

use protocol::ids::{GroupId, TopicPartition};
use protocol::java_hash;

/// The topic of committed offsets and group metadata (`Topic.GROUP_METADATA_TOPIC_NAME`).
pub const OFFSETS_TOPIC: &str = "__consumer_offsets";

/// The partition of a group when the topic has `partitions` partitions: Java's hash code of the group id. A different
/// number of partitions moves groups (KAFKA-2336).
pub fn partition_for(group: &GroupId, partitions: i32) -> i32 {
    java_hash::partition_for_id(group.as_str(), partitions)
}

/// The offsets topic's partition of that number.
pub fn offsets_partition(index: i32) -> TopicPartition {
    TopicPartition::new(OFFSETS_TOPIC, index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_lives_where_javas_hash_code_says() {
        assert_eq!(partition_for(&"hello".into(), 50), 22);
        assert_eq!(partition_for(&"polygenelubricants".into(), 50), 0);
        assert_eq!(partition_for(&"".into(), 50), 0);
    }

    #[test]
    fn another_number_of_partitions_moves_a_group() {
        assert_ne!(
            partition_for(&"hello".into(), 50),
            partition_for(&"hello".into(), 5)
        );
    }
}
