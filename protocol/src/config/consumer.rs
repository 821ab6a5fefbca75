//! The settings of the Java consumer (`ConsumerConfig`), in every era the new one.
//!
//! Where an era has no such key the default is what that release did without it. The ZooKeeper consumer of 0.8 has
//! other keys and is not here.

use super::setting::{ANY, Later, at_least, settings};
use super::{Assignor, OffsetReset, SettingError};
use crate::api::data::IsolationLevel;
use crate::behaviour::Era;
use crate::time::Span;

const MIB: i32 = 1_048_576;

const NOT_MODELLED: &[&str] = &[
    "bootstrap.servers",
    "key.deserializer",
    "value.deserializer",
    "interceptor.classes",
    "metric.reporters",
    "metrics.*",
    "ssl.*",
    "sasl.*",
    "security.*",
    "client.dns.lookup",
];

const LATER: Later = &[
    (
        Era::V1_0,
        &[
            "max.poll.interval.ms",
            "max.poll.records",
            "isolation.level",
            "fetch.max.bytes",
            "reconnect.backoff.max.ms",
            "exclude.internal.topics",
            "internal.leave.group.on.close",
        ],
    ),
    (
        Era::V2_8,
        &[
            "group.instance.id",
            "client.rack",
            "default.api.timeout.ms",
            "allow.auto.create.topics",
            "socket.connection.setup.timeout.ms",
            "socket.connection.setup.timeout.max.ms",
        ],
    ),
];

settings! {
    /// The settings of a consumer. After the last `set` call [`finish`](Self::finish).
    ConsumerConfig(era), not_modelled: NOT_MODELLED, later: LATER;
    group_id: Option<String> = "group.id", ANY, None, "The group; without one there is no rebalance and no commit.";
    group_instance_id: Option<String> = "group.instance.id", ANY, None, "The name of a static member (KIP-345).";
    client_id: String = "client.id", ANY, String::new(), "The name in requests.";
    client_rack: String = "client.rack", ANY, String::new(), "The rack, to read from the nearest replica (KIP-392).";
    session_timeout_ms: Span = "session.timeout.ms", at_least(0), Span::secs(era.pick([30, 30, 10, 10])), "Silence after which a member is expelled.";
    heartbeat_interval_ms: Span = "heartbeat.interval.ms", at_least(0), Span::secs(3), "How often a member shows that it lives.";
    max_poll_interval_ms: Span = "max.poll.interval.ms", at_least(1), Span::secs(era.pick([30, 30, 300, 300])), "Time between polls after which a member leaves (KIP-62, since 0.10.1; before, the session).";
    max_poll_records: i32 = "max.poll.records", at_least(1), era.pick([i32::MAX, i32::MAX, 500, 500]), "Records of one poll (KIP-41, since 0.10).";
    partition_assignment_strategy: Vec<Assignor> = "partition.assignment.strategy", ANY, vec![Assignor::Range], "How partitions are divided, best first.";
    auto_offset_reset: OffsetReset = "auto.offset.reset", ANY, OffsetReset::Latest, "Where to start without a valid position.";
    enable_auto_commit: bool = "enable.auto.commit", ANY, true, "Whether poll commits by itself.";
    auto_commit_interval_ms: Span = "auto.commit.interval.ms", at_least(0), Span::secs(5), "How often it does.";
    isolation_level: IsolationLevel = "isolation.level", ANY, IsolationLevel::ReadUncommitted, "Whether open and aborted transactions are seen.";
    fetch_min_bytes: i32 = "fetch.min.bytes", at_least(0), 1, "Bytes for which the leader holds a fetch.";
    fetch_max_wait_ms: Span = "fetch.max.wait.ms", at_least(0), Span::millis(500), "How long it may hold it.";
    fetch_max_bytes: i32 = "fetch.max.bytes", at_least(0), era.pick([i32::MAX, i32::MAX, 50 * MIB, 50 * MIB]), "Bytes fetched at once (KIP-74, since 0.10.1).";
    max_partition_fetch_bytes: i32 = "max.partition.fetch.bytes", at_least(0), MIB, "Bytes fetched per partition.";
    check_crcs: bool = "check.crcs", ANY, true, "Whether checksums are compared.";
    request_timeout_ms: Span = "request.timeout.ms", at_least(0), Span::secs(era.pick([40, 40, 305, 30])), "How long an answer may take.";
    default_api_timeout_ms: Span = "default.api.timeout.ms", at_least(0), era.pick([Span::MAX, Span::MAX, Span::MAX, Span::secs(60)]), "How long a call without time-out may take (KIP-266, since 2.0).";
    retry_backoff_ms: Span = "retry.backoff.ms", at_least(0), Span::millis(100), "Rest before trying again.";
    metadata_max_age_ms: Span = "metadata.max.age.ms", at_least(0), Span::secs(300), "Age at which metadata is asked for again.";
    reconnect_backoff_ms: Span = "reconnect.backoff.ms", at_least(0), Span::millis(50), "Rest before connecting again, at first.";
    reconnect_backoff_max_ms: Span = "reconnect.backoff.max.ms", at_least(0), Span::millis(era.pick([50, 50, 1000, 1000])), "Rest before connecting again, at most (KIP-144, since 0.11).";
    connections_max_idle_ms: Span = "connections.max.idle.ms", ANY, Span::secs(540), "A connection without traffic for this long is closed.";
    socket_connection_setup_timeout_ms: Span = "socket.connection.setup.timeout.ms", ANY, Span::secs(era.pick([127, 127, 127, 10])), "How long a connection may take to open (KIP-601, since 2.7; before, the system's limit).";
    socket_connection_setup_timeout_max_ms: Span = "socket.connection.setup.timeout.max.ms", ANY, Span::secs(era.pick([127, 127, 127, 30])), "The same after repeated failures.";
    allow_auto_create_topics: bool = "allow.auto.create.topics", ANY, true, "Whether asking for a topic may create it.";
    exclude_internal_topics: bool = "exclude.internal.topics", ANY, true, "Whether patterns leave internal topics out.";
    internal_leave_group_on_close: bool = "internal.leave.group.on.close", ANY, true, "Whether closing leaves the group at once.";
    send_buffer_bytes: i32 = "send.buffer.bytes", at_least(-1), 131_072, "Send buffer of a connection.";
    receive_buffer_bytes: i32 = "receive.buffer.bytes", at_least(-1), 65_536, "Receive buffer of a connection.";
}

impl ConsumerConfig {
    /// Fills in what follows from what was set, as `KafkaConsumer` does when it starts, and validates: without a group
    /// there is no auto commit.
    pub fn finish(mut self) -> Result<Self, SettingError> {
        if self.group_id.is_none() && !self.is_set("enable.auto.commit") {
            self.enable_auto_commit = false;
        }
        self.validate()?;
        Ok(self)
    }

    /// The rules between settings (`KafkaConsumer`'s, `Heartbeat`'s and `ConsumerConfig`'s). Judge a finished one. An empty
    /// `group.id` is none of them: Kafka takes it, and the coordinator refuses members of such a group.
    pub fn validate(&self) -> Result<(), SettingError> {
        if self.heartbeat_interval_ms >= self.session_timeout_ms {
            return Err(self.refuse("heartbeat.interval.ms", "less than session.timeout.ms"));
        }
        if self.group_id.is_none() && self.enable_auto_commit {
            return Err(self.refuse("enable.auto.commit", "false, because there is no group.id"));
        }
        if self.group_instance_id.as_deref() == Some("") {
            return Err(self.refuse("group.instance.id", "a name that is not empty"));
        }
        if self.partition_assignment_strategy.is_empty() {
            return Err(self.refuse("partition.assignment.strategy", "at least one assignor"));
        }
        Ok(())
    }

    fn refuse(&self, key: &str, expected: &str) -> SettingError {
        SettingError::invalid(key, self.get(key).unwrap_or_default(), expected)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_agree_with_the_releases() {
        let consumer = ConsumerConfig::defaults(Era::V2_8);
        assert_eq!(consumer.auto_offset_reset, OffsetReset::Latest);
        assert_eq!(
            (
                consumer.enable_auto_commit,
                consumer.auto_commit_interval_ms
            ),
            (true, Span::secs(5))
        );
        assert_eq!(
            (consumer.fetch_min_bytes, consumer.fetch_max_wait_ms),
            (1, Span::millis(500))
        );
        assert_eq!(
            (consumer.fetch_max_bytes, consumer.max_partition_fetch_bytes),
            (52_428_800, 1_048_576)
        );
        assert_eq!(
            (consumer.max_poll_records, consumer.heartbeat_interval_ms),
            (500, Span::secs(3))
        );
        assert_eq!(consumer.isolation_level, IsolationLevel::ReadUncommitted);
        for era in Era::ALL {
            assert_eq!(
                ConsumerConfig::defaults(era).session_timeout_ms,
                Span::secs(era.pick([30, 30, 10, 10])),
                "{era}"
            );
        }
    }

    #[test]
    fn a_heartbeat_must_be_shorter_than_the_session() {
        let mut consumer = ConsumerConfig::defaults(Era::V2_8);
        consumer.set("session.timeout.ms", "3000").unwrap();
        let error = consumer.finish().unwrap_err();
        assert_eq!(
            error.to_string(),
            "heartbeat.interval.ms = 3000: expected less than session.timeout.ms"
        );
    }

    #[test]
    fn without_a_group_nothing_is_committed() {
        let mut consumer = ConsumerConfig::defaults(Era::V2_8);
        assert!(!consumer.clone().finish().unwrap().enable_auto_commit);
        consumer.set("enable.auto.commit", "true").unwrap();
        assert!(consumer.clone().finish().is_err());
        consumer.set("group.id", "g").unwrap();
        assert!(consumer.finish().unwrap().enable_auto_commit);
    }
}
