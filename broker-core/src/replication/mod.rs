//! The replicas on this broker: `ReplicaManager`, `Partition` and the fetcher threads of Kafka 2.8.

mod high_watermark;
pub mod in_sync_replicas;
mod partition;
mod remote_replica;
#[cfg(test)]
pub(crate) mod testing;

pub use in_sync_replicas::{IsrGrant, IsrPath, IsrUpdate};
