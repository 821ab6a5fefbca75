//! The settings of the ZooKeeper consumer of 0.8 and 0.9 (`kafka.consumer.ConsumerConfig`, `ZKConfig`).
//!
//! Left out: what belongs to subscriptions by pattern and to the mirror maker, and `zookeeper.connect`, because a
//! scenario has one ensemble.

use super::setting::{ANY, Later, at_least, settings};
use super::{OffsetStorage, OldAssignor, OldOffsetReset, SettingError};
use crate::time::Span;

const NOT_MODELLED: &[&str] = &[
    "zookeeper.connect",
    "mirror.*",
    "metadata.broker.list",
    "kafka.metrics.*",
    "kafka.csv.metrics.*",
];

const LATER: Later = &[];

const MIB: i32 = 1_048_576;

settings! {
    /// The settings of a ZooKeeper consumer. After the last `set` call [`finish`](Self::finish).
    OldConsumerConfig(_era), not_modelled: NOT_MODELLED, later: LATER;
    group_id: String = "group.id", ANY, String::new(), "The group.";
    consumer_id: Option<String> = "consumer.id", ANY, None, "The consumer's name in its group; made up when it is not set.";
    client_id: String = "client.id", ANY, String::new(), "The name in requests; the group when it is not set.";
    zookeeper_session_timeout_ms: Span = "zookeeper.session.timeout.ms", at_least(0), Span::secs(6), "Silence after which ZooKeeper takes the consumer for dead.";
    zookeeper_connection_timeout_ms: Span = "zookeeper.connection.timeout.ms", at_least(0), Span::secs(6), "How long the first connection to ZooKeeper may take.";
    zookeeper_sync_time_ms: Span = "zookeeper.sync.time.ms", at_least(0), Span::secs(2), "How far a ZooKeeper follower may be behind; the default of rebalance.backoff.ms.";
    rebalance_max_retries: i32 = "rebalance.max.retries", at_least(0), 4, "How often a rebalance is tried.";
    rebalance_backoff_ms: Span = "rebalance.backoff.ms", at_least(0), Span::secs(2), "Rest between two tries; zookeeper.sync.time.ms when it is not set.";
    partition_assignment_strategy: OldAssignor = "partition.assignment.strategy", ANY, OldAssignor::Range, "How partitions are divided.";
    auto_offset_reset: OldOffsetReset = "auto.offset.reset", ANY, OldOffsetReset::Largest, "Where to start without a valid position.";
    auto_commit_enable: bool = "auto.commit.enable", ANY, true, "Whether a thread commits what was consumed, now and then and before every rebalance.";
    auto_commit_interval_ms: Span = "auto.commit.interval.ms", at_least(1), Span::secs(60), "How often it does.";
    offsets_storage: OffsetStorage = "offsets.storage", ANY, OffsetStorage::Zookeeper, "Where offsets are committed (0.8.2).";
    dual_commit_enabled: bool = "dual.commit.enabled", ANY, false, "Whether offsets that go to Kafka go to ZooKeeper as well; true with offsets.storage=kafka when it is not set.";
    offsets_channel_backoff_ms: Span = "offsets.channel.backoff.ms", at_least(0), Span::secs(1), "Rest before the offset manager is looked for or asked again.";
    offsets_channel_socket_timeout_ms: Span = "offsets.channel.socket.timeout.ms", at_least(0), Span::secs(10), "How long its answer may take.";
    offsets_commit_max_retries: i32 = "offsets.commit.max.retries", at_least(0), 5, "How often a commit of the committing thread is tried again.";
    queued_max_message_chunks: i32 = "queued.max.message.chunks", at_least(1), 2, "Fetched chunks that wait for a stream.";
    num_consumer_fetchers: i32 = "num.consumer.fetchers", at_least(1), 1, "Fetcher threads for each broker.";
    fetch_message_max_bytes: i32 = "fetch.message.max.bytes", at_least(0), MIB, "Bytes fetched per partition.";
    fetch_min_bytes: i32 = "fetch.min.bytes", at_least(0), 1, "Bytes for which the leader holds a fetch.";
    fetch_wait_max_ms: Span = "fetch.wait.max.ms", at_least(0), Span::millis(100), "How long it may hold it.";
    socket_timeout_ms: Span = "socket.timeout.ms", at_least(0), Span::secs(30), "How long an answer may take.";
    refresh_leader_backoff_ms: Span = "refresh.leader.backoff.ms", at_least(0), Span::millis(200), "Rest before leaders are looked for again.";
    consumer_timeout_ms: Option<i64> = "consumer.timeout.ms", at_least(-1), None, "How long a stream waits for a message before it throws; -1, the default, for ever.";
    exclude_internal_topics: bool = "exclude.internal.topics", ANY, true, "Whether patterns leave internal topics out.";
    socket_receive_buffer_bytes: i32 = "socket.receive.buffer.bytes", at_least(-1), 65_536, "Receive buffer of a connection.";
}

impl OldConsumerConfig {
    /// Fills in what follows from what was set, as `ConsumerConfig` does, and validates.
    pub fn finish(mut self) -> Result<Self, SettingError> {
        if !self.is_set("rebalance.backoff.ms") {
            self.rebalance_backoff_ms = self.zookeeper_sync_time_ms;
        }
        if !self.is_set("dual.commit.enabled") {
            self.dual_commit_enabled = self.offsets_storage == OffsetStorage::Kafka;
        }
        if !self.is_set("client.id") {
            self.client_id.clone_from(&self.group_id);
        }
        self.validate()?;
        Ok(self)
    }

    /// The rules between settings (`ConsumerConfig.validate`). Judge a finished one.
    pub fn validate(&self) -> Result<(), SettingError> {
        if self.group_id.is_empty() {
            return Err(self.refuse("group.id", "a name that is not empty"));
        }
        if self.fetch_wait_max_ms > self.socket_timeout_ms {
            return Err(self.refuse("fetch.wait.max.ms", "at most socket.timeout.ms"));
        }
        Ok(())
    }

    /// How long a stream waits for a message; none for ever.
    pub fn consumer_timeout(&self) -> Option<Span> {
        let millis = self.consumer_timeout_ms?;
        u64::try_from(millis).ok().map(Span::millis)
    }

    fn refuse(&self, key: &str, expected: &str) -> SettingError {
        SettingError::invalid(key, self.get(key).unwrap_or_default(), expected)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::behaviour::Era;

    fn consumer(settings: &[(&str, &str)]) -> Result<OldConsumerConfig, SettingError> {
        let mut consumer = OldConsumerConfig::defaults(Era::V0_8);
        consumer.set("group.id", "g")?;
        for (key, value) in settings {
            consumer.set(key, value)?;
        }
        consumer.finish()
    }

    #[test]
    fn defaults_are_those_of_0_8_2() {
        let consumer = consumer(&[]).unwrap();
        assert_eq!(consumer.auto_commit_interval_ms, Span::secs(60));
        assert_eq!(consumer.rebalance_backoff_ms, Span::secs(2));
        assert_eq!(consumer.rebalance_max_retries, 4);
        assert_eq!(consumer.auto_offset_reset, OldOffsetReset::Largest);
        assert_eq!(consumer.consumer_timeout(), None);
        assert_eq!(
            (consumer.client_id.as_str(), consumer.dual_commit_enabled),
            ("g", false)
        );
    }

    #[test]
    fn some_defaults_follow_from_other_settings() {
        let consumer = consumer(&[
            ("zookeeper.sync.time.ms", "500"),
            ("offsets.storage", "kafka"),
            ("consumer.timeout.ms", "250"),
        ])
        .unwrap();
        assert_eq!(consumer.rebalance_backoff_ms, Span::millis(500));
        assert!(consumer.dual_commit_enabled);
        assert_eq!(consumer.consumer_timeout(), Some(Span::millis(250)));
    }

    #[test]
    fn the_words_of_the_later_consumer_are_unknown() {
        let refused = |key, value| consumer(&[(key, value)]).unwrap_err().to_string();
        assert!(refused("enable.auto.commit", "true").starts_with("no setting is called"));
        assert!(refused("auto.offset.reset", "earliest").contains("largest, smallest"));
        assert!(refused("fetch.wait.max.ms", "40000").contains("at most socket.timeout.ms"));
    }
}
