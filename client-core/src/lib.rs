//! Kafka's clients as state machines: the Java [`Producer`], [`Consumer`] and [`Admin`], and the [`ZookeeperConsumer`] of
//! the releases before them.
//!
//! Each is driven through the door (`protocol::machine`): the application's calls come in as `Input::Verb` and are
//! answered by `Effect::Outcome` under the same operation id. What the Java clients do with threads — the producer's I/O
//! thread, the consumer's heartbeat thread — happens here in the step that makes it possible, and each machine keeps one
//! timer, set to its next deadline.
//!
//! The clients know an era and the fixes of their `Behaviour`: they say what a release of that time says and leave out
//! what it could not know. Left out: interceptors, metrics, security, reading from followers (KIP-392).

mod admin;
mod alarm;
mod backoff;
mod connection;
mod consumer;
mod consumer_protocol;
mod metadata;
mod network;
mod node_choice;
mod old_consumer;
mod producer;
mod versions;

pub use admin::Admin;
pub use consumer::{Consumer, PatternError, TopicPattern};
pub use old_consumer::{OldConsumerSpec, ZookeeperConsumer};
pub use producer::Producer;
