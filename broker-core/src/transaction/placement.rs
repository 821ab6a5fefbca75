//! Which partition of `__transaction_state` holds a transactional id, and so which broker coordinates it
//! (`TransactionStateManager.partitionFor`).

use protocol::ids::{TopicPartition, TransactionalId};
use protocol::java_hash;

/// The topic of transactional ids (`Topic.TRANSACTION_STATE_TOPIC_NAME`).
pub const TRANSACTION_TOPIC: &str = "__transaction_state";

/// The partition of an id when the topic has `partitions` partitions: Java's hash code of the id.
pub fn partition_for(id: &TransactionalId, partitions: i32) -> i32 {
    java_hash::partition_for_id(id.as_str(), partitions)
}

/// The transaction topic's partition of that number.
pub fn transaction_partition(index: i32) -> TopicPartition {
    TopicPartition::new(TRANSACTION_TOPIC, index)
}
