//! The settings of brokers, topics, clients and keepers, under their own dotted names (Kafka's `ConfigDef`, `zoo.cfg`).
//!
//! Each key is declared once, with field, type, range, default by era and a line of text; parsing, `describe` and "did
//! you mean" follow from that. A key that nobody knows is [`SettingError::Unknown`]: Kafka ignores such a key with a
//! warning, so the caller decides. A key that Kafka honours and this project does not is [`SettingError::NotModelled`],
//! so that it is never silently without effect. Left out: security, metrics, quotas, Raft, deprecated spellings.

mod admin;
mod broker;
mod choice;
mod consumer;
mod keeper;
mod old_consumer;
mod producer;
mod setting;
mod topic;

pub use admin::AdminConfig;
pub use broker::BrokerConfig;
pub use choice::{
    Assignor, CleanupPolicy, Compression, OffsetReset, OffsetStorage, OldAssignor, OldOffsetReset,
    Partitioner, Ratio, TimestampType, YesNo,
};
pub use consumer::ConsumerConfig;
pub use keeper::KeeperConfig;
pub use old_consumer::OldConsumerConfig;
pub use producer::ProducerConfig;
pub use setting::{Kind, Range, SettingError, SettingKey};
pub use topic::{TopicConfig, TopicOverrides};
