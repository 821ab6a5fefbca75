//! One Kafka broker as a state machine: inputs in, effects out, no I/O of its own.
//!
//! The broker hands each input to one of its parts: [`request_channel`] for what others ask, the keeper session, the
//! replicas, the controller, the group coordinator. Parts know each other only through what their methods take and return.

mod broker;
pub mod controller;
pub mod coordination;
pub mod group;
pub mod hands;
pub mod isr_writer;
pub mod keeper_session;
pub mod log;
pub mod metadata_cache;
pub mod peer_channel;
pub mod placement;
pub mod producer_ids;
pub mod purgatory;
pub mod registration;
pub mod replication;
pub mod request_channel;
pub mod timer;
pub mod topic_admin;
pub mod topic_configs;
pub mod transaction;
pub mod znode;

pub use broker::{Broker, BrokerSpec};

#[cfg(test)]
mod coordination_test;
#[cfg(test)]
mod testing;
