//! What Kafka keeps in ZooKeeper: where it lies ([`paths`]) and what it says ([`json`], [`broker`], [`topic`]).
//!
//! Stands for `kafka.zk.ZkData`. ACLs, delegation tokens, features, reassignment and the znodes of the old consumer are
//! left out: nothing of this broker reads them.

pub mod broker;
#[cfg(test)]
mod bytes_test;
pub mod json;
pub mod paths;
pub mod topic;
