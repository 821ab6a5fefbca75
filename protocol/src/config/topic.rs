//! The settings of a topic (`kafka.log.LogConfig`): what is overridden, and what that gives on a broker.
//!
//! Names differ from the broker's (`retention.ms` here, `log.retention.ms` there). Left out: preallocation, down-conversion,
//! throttled replicas and the record format of old versions.

use super::setting::{ANY, Later, Value, at_least, read, unknown};
use super::{
    BrokerConfig, CleanupPolicy, Compression, Ratio, SettingError, SettingKey, TimestampType,
};
use crate::behaviour::Era;
use crate::time::Span;
use std::collections::BTreeMap;

const NOT_MODELLED: &[&str] = &[
    "preallocate",
    "message.format.version",
    "message.downconversion.enable",
    "leader.replication.throttled.replicas",
    "follower.replication.throttled.replicas",
];

const LATER: Later = &[
    (Era::V0_9, &["compression.type"]),
    (
        Era::V1_0,
        &[
            "message.timestamp.type",
            "message.timestamp.difference.max.ms",
            "min.compaction.lag.ms",
        ],
    ),
    (Era::V2_8, &["max.compaction.lag.ms"]),
];

macro_rules! topic_settings {
    ($($field:ident: $type:ty = $key:literal | $broker_key:literal, $range:expr, |$broker:ident| $inherited:expr, $text:literal;)*) => {
        /// What holds for a topic on a broker: the broker's settings with the topic's overrides over them.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub struct TopicConfig {
            $(#[doc = concat!("`", $key, "` (broker: `", $broker_key, "`): ", $text)] pub $field: $type,)*
        }

        /// What a topic sets for itself, as kept in `/config/topics/<topic>`.
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
        pub struct TopicOverrides {
            $(#[doc = concat!("`", $key, "`: ", $text)] pub $field: Option<$type>,)*
        }

        impl TopicConfig {
            /// The settings of a topic with these overrides on a broker with those settings.
            pub fn resolve(broker: &BrokerConfig, overrides: &TopicOverrides) -> Self {
                Self {
                    $($field: overrides.$field.unwrap_or_else(|| {
                        let $broker = broker;
                        $inherited
                    }),)*
                }
            }

            /// The value of a key as text; none for a key that is not known.
            pub fn get(&self, key: &str) -> Option<String> {
                match key {
                    $($key => Some(Value::print(&self.$field, $key)),)*
                    _ => None,
                }
            }
        }

        impl TopicOverrides {
            /// Every key, in the order of declaration.
            pub const KEYS: &'static [SettingKey] = &[$(SettingKey {
                name: $key,
                kind: <$type as Value>::KIND,
                range: $range,
                doc: $text,
                default: |era| {
                    let topic = TopicConfig::resolve(&BrokerConfig::defaults(era), &Self::default());
                    Value::print(&topic.$field, $key)
                },
                later: LATER,
            },)*];

            /// The broker's name for a topic's key.
            pub fn broker_key(key: &str) -> Option<&'static str> {
                match key {
                    $($key => Some($broker_key),)*
                    _ => None,
                }
            }

            /// The topic's name for a broker's key.
            pub fn key_of_broker(broker_key: &str) -> Option<&'static str> {
                [$(($key, $broker_key)),*].into_iter().find(|(_, name)| *name == broker_key).map(|(key, _)| key)
            }

            /// Sets a key from text.
            pub fn set(&mut self, key: &str, value: &str) -> Result<(), SettingError> {
                let Some(known) = Self::KEYS.iter().find(|known| known.name == key) else {
                    return Err(not_found(key));
                };
                match known.name {
                    $($key => self.$field = Some(read(known, value)?),)*
                    _ => {}
                }
                Ok(())
            }

            /// Goes back to the broker's setting; false for a key that is not known.
            pub fn unset(&mut self, key: &str) -> bool {
                match key {
                    $($key => self.$field = None,)*
                    _ => return false,
                }
                true
            }

            /// What is set, as `/config/topics/<topic>` keeps it.
            pub fn entries(&self) -> BTreeMap<String, String> {
                let texts = [$(($key, self.$field.as_ref().map(|value| Value::print(value, $key)))),*];
                texts.into_iter().filter_map(|(key, text)| Some((key.to_owned(), text?))).collect()
            }
        }
    };
}

topic_settings! {
    cleanup_policy: CleanupPolicy = "cleanup.policy" | "log.cleanup.policy", ANY, |broker| broker.log_cleanup_policy, "By age and size, by key, or both.";
    compression_type: Compression = "compression.type" | "compression.type", ANY, |broker| broker.compression_type, "How batches are stored.";
    delete_retention_ms: Span = "delete.retention.ms" | "log.cleaner.delete.retention.ms", at_least(0), |broker| broker.log_cleaner_delete_retention_ms, "How long tombstones stay.";
    file_delete_delay_ms: Span = "file.delete.delay.ms" | "log.segment.delete.delay.ms", at_least(0), |broker| broker.log_segment_delete_delay_ms, "How long a deleted segment stays on disk.";
    flush_messages: i64 = "flush.messages" | "log.flush.interval.messages", at_least(1), |broker| broker.log_flush_interval_messages, "Records after which the log is flushed.";
    flush_ms: Span = "flush.ms" | "log.flush.interval.ms", at_least(0), |broker| broker.flush_interval(), "Time after which the log is flushed.";
    index_interval_bytes: i32 = "index.interval.bytes" | "log.index.interval.bytes", at_least(0), |broker| broker.log_index_interval_bytes, "Bytes of log between two index entries.";
    max_compaction_lag_ms: Span = "max.compaction.lag.ms" | "log.cleaner.max.compaction.lag.ms", at_least(1), |broker| broker.log_cleaner_max_compaction_lag_ms, "Older records make the log due.";
    max_message_bytes: i32 = "max.message.bytes" | "message.max.bytes", at_least(0), |broker| broker.message_max_bytes, "The largest batch taken.";
    message_timestamp_difference_max_ms: Span = "message.timestamp.difference.max.ms" | "log.message.timestamp.difference.max.ms", at_least(0), |broker| broker.log_message_timestamp_difference_max_ms, "A record further from the broker's clock is refused.";
    message_timestamp_type: TimestampType = "message.timestamp.type" | "log.message.timestamp.type", ANY, |broker| broker.log_message_timestamp_type, "Whose clock stamps records.";
    min_cleanable_dirty_ratio: Ratio = "min.cleanable.dirty.ratio" | "log.cleaner.min.cleanable.ratio", ANY, |broker| broker.log_cleaner_min_cleanable_ratio, "How much must be dirty before the log is cleaned.";
    min_compaction_lag_ms: Span = "min.compaction.lag.ms" | "log.cleaner.min.compaction.lag.ms", at_least(0), |broker| broker.log_cleaner_min_compaction_lag_ms, "Younger records are not compacted.";
    min_insync_replicas: i32 = "min.insync.replicas" | "min.insync.replicas", at_least(1), |broker| broker.min_insync_replicas, "Smallest ISR that takes acks=all.";
    retention_bytes: i64 = "retention.bytes" | "log.retention.bytes", ANY, |broker| broker.log_retention_bytes, "Size above which old segments are deleted, -1 never.";
    retention_ms: Span = "retention.ms" | "log.retention.ms", at_least(-1), |broker| broker.retention(), "Age at which records may be deleted, -1 never.";
    segment_bytes: i32 = "segment.bytes" | "log.segment.bytes", at_least(14), |broker| broker.log_segment_bytes, "Size at which a new segment is started.";
    segment_index_bytes: i32 = "segment.index.bytes" | "log.index.size.max.bytes", at_least(0), |broker| broker.log_index_size_max_bytes, "Size of an index at which a new segment is started.";
    segment_jitter_ms: Span = "segment.jitter.ms" | "log.roll.jitter.ms", at_least(0), |broker| broker.roll_jitter(), "Up to this much is taken off the age.";
    segment_ms: Span = "segment.ms" | "log.roll.ms", at_least(1), |broker| broker.roll(), "Age at which a new segment is started.";
    unclean_leader_election_enable: bool = "unclean.leader.election.enable" | "unclean.leader.election.enable", ANY, |broker| broker.unclean_leader_election_enable, "Whether a replica outside the ISR may lead.";
}

/// A broker's key on a topic is the commonest slip, so its topic name comes before any spelling.
fn not_found(key: &str) -> SettingError {
    match TopicOverrides::key_of_broker(key) {
        Some(name) => SettingError::Unknown {
            key: key.to_owned(),
            suggestion: Some(name),
        },
        None => unknown(key, TopicOverrides::KEYS, NOT_MODELLED),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_inherits_what_it_does_not_set() {
        let mut broker = BrokerConfig::defaults(Era::V2_8);
        broker.set("log.retention.minutes", "5").unwrap();
        broker.set("min.insync.replicas", "2").unwrap();
        let mut overrides = TopicOverrides::default();
        overrides.set("segment.bytes", "1000").unwrap();
        overrides.set("min.insync.replicas", "3").unwrap();
        let topic = TopicConfig::resolve(&broker, &overrides);
        assert_eq!(
            (
                topic.retention_ms,
                topic.segment_bytes,
                topic.min_insync_replicas
            ),
            (Span::secs(300), 1000, 3)
        );
        assert_eq!(topic.get("segment.bytes").as_deref(), Some("1000"));
        assert!(overrides.unset("min.insync.replicas"));
        assert_eq!(
            TopicConfig::resolve(&broker, &overrides).min_insync_replicas,
            2
        );
    }

    #[test]
    fn overrides_are_what_the_znode_keeps() {
        let mut overrides = TopicOverrides::default();
        overrides.set("retention.ms", "60000").unwrap();
        overrides.set("cleanup.policy", "compact,delete").unwrap();
        let entries = overrides.entries();
        assert_eq!(entries.len(), 2);
        let mut again = TopicOverrides::default();
        for (key, value) in &entries {
            again.set(key, value).unwrap();
        }
        assert_eq!(again, overrides);
    }

    #[test]
    fn a_broker_key_on_a_topic_brings_the_topic_key_to_mind() {
        let error = TopicOverrides::default()
            .set("log.retention.ms", "1")
            .unwrap_err();
        assert_eq!(
            error,
            SettingError::Unknown {
                key: "log.retention.ms".into(),
                suggestion: Some("retention.ms")
            }
        );
        let error = TopicOverrides::default()
            .set("min.insync.replica", "1")
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "no setting is called min.insync.replica; did you mean min.insync.replicas?"
        );
    }

    #[test]
    fn every_broker_name_is_one_the_broker_knows() {
        for key in TopicOverrides::KEYS {
            let name = TopicOverrides::broker_key(key.name).unwrap();
            assert!(
                BrokerConfig::KEYS.iter().any(|known| known.name == name),
                "{name}"
            );
        }
    }

    #[test]
    fn defaults_follow_the_era_of_the_broker() {
        let default = |key: &str, era| {
            let known = TopicOverrides::KEYS
                .iter()
                .find(|known| known.name == key)
                .unwrap();
            (known.default)(era)
        };
        assert_eq!(default("unclean.leader.election.enable", Era::V0_9), "true");
        assert_eq!(
            default("unclean.leader.election.enable", Era::V2_8),
            "false"
        );
        assert_eq!(default("max.message.bytes", Era::V2_8), "1048588");
        assert_eq!(default("retention.ms", Era::V2_8), "604800000");
    }
}
