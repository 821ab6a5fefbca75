//! The settings of a broker (`kafka.server.KafkaConfig`).
//!
//! Where an era has no such key the default is what that release did without it: no limit, or the constant in its code.

use super::setting::{ANY, Later, SettingError, at_least, settings};
use super::{CleanupPolicy, Compression, Ratio, TimestampType};
use crate::behaviour::{Behaviour, Era, InterBrokerProtocol};
use crate::time::Span;

const KIB: i32 = 1024;
const MIB: i32 = 1024 * KIB;

/// Keys that Kafka's brokers honour and ktrial does not; a star stands for any ending.
const NOT_MODELLED: &[&str] = &[
    "advertised.*",
    "listeners",
    "listener.*",
    "port",
    "host.name",
    "zookeeper.connect",
    "zookeeper.set.acl",
    "zookeeper.ssl.*",
    "zookeeper.clientCnxnSocket",
    "ssl.*",
    "sasl.*",
    "security.*",
    "inter.broker.listener.name",
    "authorizer.class.name",
    "super.users",
    "principal.builder.class",
    "delegation.token.*",
    "password.encoder.*",
    "metric.reporters",
    "metrics.*",
    "kafka.metrics.*",
    "quota.*",
    "producer.quota.*",
    "consumer.quota.*",
    "replication.quota.*",
    "controller.quota.*",
    "max.connections",
    "max.connections.per.ip*",
    "max.connection.creation.rate",
    "log.preallocate",
    "log.message.format.version",
    "log.message.downconversion.enable",
    "log.cleaner.io.max.bytes.per.second",
    "fetch.purgatory.purge.interval.requests",
    "producer.purgatory.purge.interval.requests",
    "delete.records.purgatory.purge.interval.requests",
    "broker.id.generation.enable",
    "reserved.broker.max.id",
    "connection.failed.authentication.delay.ms",
    "replica.selector.class",
    "offsets.topic.compression.codec",
    "queued.max.request.bytes",
    "create.topic.policy.class.name",
    "alter.config.policy.class.name",
    "num.replica.alter.log.dirs.threads",
    "alter.log.dirs.*",
    "client.quota.callback.class",
];

const LATER: Later = &[
    (
        Era::V0_9,
        &[
            "inter.broker.protocol.version",
            "request.timeout.ms",
            "replica.fetch.backoff.ms",
            "compression.type",
            "group.min.session.timeout.ms",
            "group.max.session.timeout.ms",
        ],
    ),
    (
        Era::V1_0,
        &[
            "broker.rack",
            "log.flush.start.offset.checkpoint.interval.ms",
            "log.message.timestamp.type",
            "log.message.timestamp.difference.max.ms",
            "log.cleaner.min.compaction.lag.ms",
            "replica.fetch.response.max.bytes",
            "group.initial.rebalance.delay.ms",
            "transactional.id.expiration.ms",
            "transaction.max.timeout.ms",
            "transaction.state.log.num.partitions",
            "transaction.state.log.replication.factor",
            "transaction.state.log.min.isr",
            "transaction.state.log.segment.bytes",
            "transaction.state.log.load.buffer.size",
            "transaction.abort.timed.out.transaction.cleanup.interval.ms",
            "transaction.remove.expired.transaction.cleanup.interval.ms",
        ],
    ),
    (
        Era::V2_8,
        &[
            "socket.connection.setup.timeout.ms",
            "log.cleaner.max.compaction.lag.ms",
            "fetch.max.bytes",
            "max.incremental.fetch.session.cache.slots",
            "zookeeper.max.in.flight.requests",
            "group.max.size",
        ],
    ),
];

settings! {
    /// The settings of a broker.
    BrokerConfig(era), not_modelled: NOT_MODELLED, later: LATER;
    broker_id: i32 = "broker.id", at_least(-1), -1, "The number of the broker; -1 has one generated.";
    broker_rack: Option<String> = "broker.rack", ANY, None, "The rack, for placement and for reading from the nearest replica.";
    inter_broker_protocol_version: InterBrokerProtocol = "inter.broker.protocol.version", ANY, Behaviour::of(era).inter_broker_protocol, "What brokers speak among themselves; lower it for a rolling upgrade.";

    num_io_threads: i32 = "num.io.threads", at_least(1), 8, "Request handlers.";
    num_network_threads: i32 = "num.network.threads", at_least(1), 3, "Threads that read and write connections.";
    background_threads: i32 = "background.threads", at_least(1), 10, "Threads for flushing, retention and checkpoints.";
    queued_max_requests: i32 = "queued.max.requests", at_least(1), 500, "Requests that wait for a handler before the network is blocked.";
    socket_send_buffer_bytes: i32 = "socket.send.buffer.bytes", at_least(-1), 100 * KIB, "Send buffer of a connection.";
    socket_receive_buffer_bytes: i32 = "socket.receive.buffer.bytes", at_least(-1), 100 * KIB, "Receive buffer of a connection.";
    socket_request_max_bytes: i32 = "socket.request.max.bytes", at_least(1), 100 * MIB, "The largest request taken.";
    connections_max_idle_ms: Span = "connections.max.idle.ms", ANY, Span::secs(600), "A connection without traffic for this long is closed.";
    request_timeout_ms: Span = "request.timeout.ms", at_least(0), Span::secs(30), "How long the broker waits for answers to its own requests.";
    socket_connection_setup_timeout_ms: Span = "socket.connection.setup.timeout.ms", at_least(0), Span::secs(10), "How long the broker waits for its own connections to open.";

    log_dirs: Vec<String> = "log.dirs", ANY, vec!["/tmp/kafka-logs".to_owned()], "The directories logs are kept in.";
    log_segment_bytes: i32 = "log.segment.bytes", at_least(14), 1024 * MIB, "Size at which a new segment is started.";
    log_roll_ms: Option<Span> = "log.roll.ms", at_least(1), None, "Age at which a new segment is started; before log.roll.hours.";
    log_roll_hours: Span = "log.roll.hours", at_least(1), Span::secs(168 * 3600), "Age at which a new segment is started.";
    log_roll_jitter_ms: Option<Span> = "log.roll.jitter.ms", at_least(0), None, "Up to this much is taken off the age; before log.roll.jitter.hours.";
    log_roll_jitter_hours: Span = "log.roll.jitter.hours", at_least(0), Span::ZERO, "Up to this much is taken off the age.";
    log_index_interval_bytes: i32 = "log.index.interval.bytes", at_least(0), 4096, "Bytes of log between two index entries.";
    log_index_size_max_bytes: i32 = "log.index.size.max.bytes", at_least(4), 10 * MIB, "Size of an index at which a new segment is started.";
    log_flush_interval_messages: i64 = "log.flush.interval.messages", at_least(1), i64::MAX, "Records after which a log is flushed.";
    log_flush_interval_ms: Option<Span> = "log.flush.interval.ms", ANY, None, "Time after which a log is flushed; unset: the scheduler's interval.";
    log_flush_scheduler_interval_ms: Span = "log.flush.scheduler.interval.ms", ANY, Span::MAX, "How often logs are looked at for flushing.";
    log_flush_offset_checkpoint_interval_ms: Span = "log.flush.offset.checkpoint.interval.ms", at_least(0), Span::secs(60), "How often recovery points are written down.";
    log_flush_start_offset_checkpoint_interval_ms: Span = "log.flush.start.offset.checkpoint.interval.ms", at_least(0), Span::secs(60), "How often log start offsets are written down.";
    log_retention_ms: Option<Span> = "log.retention.ms", at_least(-1), None, "Age at which records may be deleted, -1 never; before minutes and hours.";
    log_retention_minutes: Option<Span> = "log.retention.minutes", at_least(-1), None, "Age at which records may be deleted; before hours.";
    log_retention_hours: Span = "log.retention.hours", at_least(-1), Span::secs(168 * 3600), "Age at which records may be deleted.";
    log_retention_bytes: i64 = "log.retention.bytes", at_least(-1), -1, "Size above which old segments are deleted, -1 never.";
    log_retention_check_interval_ms: Span = "log.retention.check.interval.ms", at_least(1), Span::secs(300), "How often retention looks.";
    log_segment_delete_delay_ms: Span = "log.segment.delete.delay.ms", at_least(0), Span::secs(60), "How long a deleted segment stays on disk.";
    log_cleanup_policy: CleanupPolicy = "log.cleanup.policy", ANY, CleanupPolicy::DELETE, "By age and size, by key, or both.";
    log_message_timestamp_type: TimestampType = "log.message.timestamp.type", ANY, TimestampType::CreateTime, "Whose clock stamps records.";
    log_message_timestamp_difference_max_ms: Span = "log.message.timestamp.difference.max.ms", at_least(0), Span::MAX, "A record further from the broker's clock is refused.";
    log_cleaner_enable: bool = "log.cleaner.enable", ANY, era.pick([false, false, true, true]), "Whether logs are compacted.";
    log_cleaner_threads: i32 = "log.cleaner.threads", at_least(0), 1, "Threads that compact.";
    log_cleaner_backoff_ms: Span = "log.cleaner.backoff.ms", at_least(0), Span::secs(15), "Rest of the cleaner when there is nothing to do.";
    log_cleaner_dedupe_buffer_size: i64 = "log.cleaner.dedupe.buffer.size", at_least(1), era.pick([500, 500, 128, 128]) * i64::from(MIB), "Memory for the map of keys.";
    log_cleaner_io_buffer_size: i32 = "log.cleaner.io.buffer.size", at_least(0), 512 * KIB, "Memory to read and write with.";
    log_cleaner_io_buffer_load_factor: Ratio = "log.cleaner.io.buffer.load.factor", ANY, Ratio::percent(90), "How full the map of keys may get.";
    log_cleaner_min_cleanable_ratio: Ratio = "log.cleaner.min.cleanable.ratio", ANY, Ratio::percent(50), "How much of a log must be dirty before it is cleaned.";
    log_cleaner_delete_retention_ms: Span = "log.cleaner.delete.retention.ms", at_least(0), Span::secs(86_400), "How long tombstones stay.";
    log_cleaner_min_compaction_lag_ms: Span = "log.cleaner.min.compaction.lag.ms", at_least(0), Span::ZERO, "Younger records are not compacted.";
    log_cleaner_max_compaction_lag_ms: Span = "log.cleaner.max.compaction.lag.ms", at_least(1), Span::MAX, "Older records make a log due.";
    num_recovery_threads_per_data_dir: i32 = "num.recovery.threads.per.data.dir", at_least(1), 1, "Threads that recover logs at start.";
    message_max_bytes: i32 = "message.max.bytes", at_least(0), era.pick([1_000_012, 1_000_012, 1_000_012, 1_048_588]), "The largest batch taken.";
    compression_type: Compression = "compression.type", ANY, Compression::Producer, "How batches are stored.";

    num_partitions: i32 = "num.partitions", at_least(1), 1, "Partitions of a topic that is created on first use.";
    default_replication_factor: i32 = "default.replication.factor", at_least(1), 1, "Replicas of a topic that is created on first use.";
    auto_create_topics_enable: bool = "auto.create.topics.enable", ANY, true, "Whether asking for a topic creates it.";
    delete_topic_enable: bool = "delete.topic.enable", ANY, era.pick([false, false, true, true]), "Whether topics can be deleted.";
    min_insync_replicas: i32 = "min.insync.replicas", at_least(1), 1, "Smallest ISR that takes acks=all.";
    unclean_leader_election_enable: bool = "unclean.leader.election.enable", ANY, era.pick([true, true, false, false]), "Whether a replica outside the ISR may lead.";

    replica_lag_time_max_ms: Span = "replica.lag.time.max.ms", ANY, Span::secs(era.pick([10, 10, 10, 30])), "A follower not caught up for this long leaves the ISR.";
    replica_lag_max_messages: i64 = "replica.lag.max.messages", at_least(1), era.pick([4000, i64::MAX, i64::MAX, i64::MAX]), "A follower this many records behind leaves the ISR; 0.8 only.";
    replica_socket_timeout_ms: Span = "replica.socket.timeout.ms", at_least(1), Span::secs(30), "How long a fetcher waits for its leader.";
    replica_socket_receive_buffer_bytes: i32 = "replica.socket.receive.buffer.bytes", at_least(-1), 64 * KIB, "Receive buffer of a fetcher.";
    replica_fetch_max_bytes: i32 = "replica.fetch.max.bytes", at_least(0), MIB, "Bytes fetched per partition.";
    replica_fetch_wait_max_ms: Span = "replica.fetch.wait.max.ms", at_least(0), Span::millis(500), "How long the leader may hold a fetch.";
    replica_fetch_min_bytes: i32 = "replica.fetch.min.bytes", at_least(0), 1, "Bytes for which the leader holds a fetch.";
    replica_fetch_response_max_bytes: i32 = "replica.fetch.response.max.bytes", at_least(0), era.pick([i32::MAX, i32::MAX, 10 * MIB, 10 * MIB]), "Bytes fetched at once.";
    replica_fetch_backoff_ms: Span = "replica.fetch.backoff.ms", at_least(0), Span::secs(1), "Rest of a fetcher after an error.";
    num_replica_fetchers: i32 = "num.replica.fetchers", at_least(1), 1, "Fetchers per leader broker.";
    replica_high_watermark_checkpoint_interval_ms: Span = "replica.high.watermark.checkpoint.interval.ms", at_least(1), Span::secs(5), "How often high watermarks are written down.";
    fetch_max_bytes: i32 = "fetch.max.bytes", at_least(1024), era.pick([i32::MAX, i32::MAX, i32::MAX, 55 * MIB]), "Bytes of a fetch response, whatever the client allows.";
    max_incremental_fetch_session_cache_slots: i32 = "max.incremental.fetch.session.cache.slots", at_least(0), era.pick([0, 0, 0, 1000]), "Fetch sessions remembered.";

    controller_socket_timeout_ms: Span = "controller.socket.timeout.ms", at_least(1), Span::secs(30), "How long the controller waits for a broker.";
    controlled_shutdown_enable: bool = "controlled.shutdown.enable", ANY, true, "Whether a broker hands over its leaderships before it stops.";
    controlled_shutdown_max_retries: i32 = "controlled.shutdown.max.retries", at_least(0), 3, "How often it tries.";
    controlled_shutdown_retry_backoff_ms: Span = "controlled.shutdown.retry.backoff.ms", at_least(0), Span::secs(5), "Rest between two tries.";
    auto_leader_rebalance_enable: bool = "auto.leader.rebalance.enable", ANY, true, "Whether leadership goes back to the first replica by itself.";
    leader_imbalance_per_broker_percentage: i32 = "leader.imbalance.per.broker.percentage", at_least(0), 10, "Share of a broker's partitions led elsewhere that starts it.";
    leader_imbalance_check_interval_seconds: Span = "leader.imbalance.check.interval.seconds", at_least(1), Span::secs(300), "How often that is looked at.";

    zookeeper_session_timeout_ms: Span = "zookeeper.session.timeout.ms", at_least(1), Span::secs(era.pick([6, 6, 6, 18])), "Silence after which the keeper takes the broker for dead.";
    zookeeper_connection_timeout_ms: Option<Span> = "zookeeper.connection.timeout.ms", at_least(1), None, "How long to wait for the first connection; unset: the session time-out.";
    zookeeper_sync_time_ms: Span = "zookeeper.sync.time.ms", at_least(0), Span::secs(2), "How far a keeper may lag.";
    zookeeper_max_in_flight_requests: i32 = "zookeeper.max.in.flight.requests", at_least(1), 10, "Requests to the keeper that may be unanswered.";

    offset_metadata_max_bytes: i32 = "offset.metadata.max.bytes", at_least(0), 4096, "Text beside a committed offset.";
    offsets_load_buffer_size: i32 = "offsets.load.buffer.size", at_least(1), 5 * MIB, "Bytes read at once when a group is loaded.";
    offsets_topic_num_partitions: i32 = "offsets.topic.num.partitions", at_least(1), 50, "Partitions of the offsets topic.";
    offsets_topic_replication_factor: i16 = "offsets.topic.replication.factor", at_least(1), 3, "Replicas of the offsets topic.";
    offsets_topic_segment_bytes: i32 = "offsets.topic.segment.bytes", at_least(1), 100 * MIB, "Segment size of the offsets topic.";
    offsets_retention_minutes: Span = "offsets.retention.minutes", at_least(1), Span::secs(60 * era.pick([1440, 1440, 1440, 10_080])), "Age at which committed offsets expire.";
    offsets_retention_check_interval_ms: Span = "offsets.retention.check.interval.ms", at_least(1), Span::secs(600), "How often expiry looks.";
    offsets_commit_timeout_ms: Span = "offsets.commit.timeout.ms", at_least(1), Span::secs(5), "How long a commit waits for replicas.";
    offsets_commit_required_acks: i16 = "offsets.commit.required.acks", at_least(-1), -1, "acks of a commit.";
    group_min_session_timeout_ms: Span = "group.min.session.timeout.ms", at_least(0), Span::secs(6), "Shortest session of a member.";
    group_max_session_timeout_ms: Span = "group.max.session.timeout.ms", at_least(0), Span::secs(era.pick([30, 30, 300, 1800])), "Longest session of a member.";
    group_initial_rebalance_delay_ms: Span = "group.initial.rebalance.delay.ms", at_least(0), Span::secs(era.pick([0, 0, 3, 3])), "How long an empty group waits for more members.";
    group_max_size: i32 = "group.max.size", at_least(1), i32::MAX, "Most members of a group.";

    transactional_id_expiration_ms: Span = "transactional.id.expiration.ms", at_least(1), Span::secs(604_800), "Age at which an unused producer is forgotten.";
    transaction_max_timeout_ms: Span = "transaction.max.timeout.ms", at_least(1), Span::secs(900), "Longest time-out a producer may ask for.";
    transaction_state_log_num_partitions: i32 = "transaction.state.log.num.partitions", at_least(1), 50, "Partitions of the transaction topic.";
    transaction_state_log_replication_factor: i16 = "transaction.state.log.replication.factor", at_least(1), 3, "Replicas of the transaction topic.";
    transaction_state_log_min_isr: i32 = "transaction.state.log.min.isr", at_least(1), 2, "min.insync.replicas of the transaction topic.";
    transaction_state_log_segment_bytes: i32 = "transaction.state.log.segment.bytes", at_least(1), 100 * MIB, "Segment size of the transaction topic.";
    transaction_state_log_load_buffer_size: i32 = "transaction.state.log.load.buffer.size", at_least(1), 5 * MIB, "Bytes read at once when transactions are loaded.";
    transaction_abort_timed_out_transaction_cleanup_interval_ms: Span = "transaction.abort.timed.out.transaction.cleanup.interval.ms", at_least(1), Span::secs(era.pick([60, 60, 60, 10])), "How often timed-out transactions are looked for.";
    transaction_remove_expired_transaction_cleanup_interval_ms: Span = "transaction.remove.expired.transaction.cleanup.interval.ms", at_least(1), Span::secs(3600), "How often expired transactional ids are looked for.";
}

impl BrokerConfig {
    /// The age at which records may be deleted: milliseconds before minutes before hours.
    pub fn retention(&self) -> Span {
        self.log_retention_ms
            .or(self.log_retention_minutes)
            .unwrap_or(self.log_retention_hours)
    }

    /// The age at which a segment is rolled: milliseconds before hours.
    pub fn roll(&self) -> Span {
        self.log_roll_ms.unwrap_or(self.log_roll_hours)
    }

    /// How much may be taken off that age: milliseconds before hours.
    pub fn roll_jitter(&self) -> Span {
        self.log_roll_jitter_ms
            .unwrap_or(self.log_roll_jitter_hours)
    }

    /// The time after which a log is flushed.
    pub fn flush_interval(&self) -> Span {
        self.log_flush_interval_ms
            .unwrap_or(self.log_flush_scheduler_interval_ms)
    }

    /// How long the broker waits for its first connection to a keeper.
    pub fn keeper_connection_timeout(&self) -> Span {
        self.zookeeper_connection_timeout_ms
            .unwrap_or(self.zookeeper_session_timeout_ms)
    }

    /// The rules between settings that a broker checks when it starts (`KafkaConfig.validateValues`).
    pub fn validate(&self) -> Result<(), SettingError> {
        if self.replica_fetch_wait_max_ms > self.replica_socket_timeout_ms {
            return Err(self.refuse(
                "replica.fetch.wait.max.ms",
                "no more than replica.socket.timeout.ms",
            ));
        }
        if self.replica_fetch_wait_max_ms > self.replica_lag_time_max_ms {
            return Err(self.refuse(
                "replica.fetch.wait.max.ms",
                "no more than replica.lag.time.max.ms, or the ISR never settles",
            ));
        }
        if self.inter_broker_protocol_version < InterBrokerProtocol::V0_10_1Iv1
            && self.replica_fetch_max_bytes < self.message_max_bytes
        {
            return Err(self.refuse(
                "replica.fetch.max.bytes",
                "at least message.max.bytes, or large batches are never replicated",
            ));
        }
        if self.offsets_commit_required_acks > self.offsets_topic_replication_factor {
            return Err(self.refuse(
                "offsets.commit.required.acks",
                "-1, or no more than offsets.topic.replication.factor",
            ));
        }
        if self.group_max_session_timeout_ms < self.group_min_session_timeout_ms {
            return Err(self.refuse(
                "group.max.session.timeout.ms",
                "at least group.min.session.timeout.ms",
            ));
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

    /// The table of era defaults, checked by hand against each release's `KafkaConfig`.
    #[test]
    fn defaults_agree_with_the_releases() {
        let table: &[(&str, [&str; 4])] = &[
            (
                "message.max.bytes",
                ["1000012", "1000012", "1000012", "1048588"],
            ),
            (
                "replica.lag.time.max.ms",
                ["10000", "10000", "10000", "30000"],
            ),
            ("min.insync.replicas", ["1", "1", "1", "1"]),
            (
                "unclean.leader.election.enable",
                ["true", "true", "false", "false"],
            ),
            (
                "auto.leader.rebalance.enable",
                ["true", "true", "true", "true"],
            ),
            (
                "controlled.shutdown.enable",
                ["true", "true", "true", "true"],
            ),
            ("delete.topic.enable", ["false", "false", "true", "true"]),
            ("log.cleaner.enable", ["false", "false", "true", "true"]),
            (
                "zookeeper.session.timeout.ms",
                ["6000", "6000", "6000", "18000"],
            ),
            (
                "offsets.retention.minutes",
                ["1440", "1440", "1440", "10080"],
            ),
            (
                "inter.broker.protocol.version",
                ["0.8.2", "0.9.0", "1.0-IV0", "2.8-IV1"],
            ),
        ];
        for (key, expected) in table {
            for era in Era::ALL {
                assert_eq!(
                    BrokerConfig::defaults(era).get(key).as_deref(),
                    Some(era.pick(*expected)),
                    "{key} in {era}"
                );
            }
        }
        assert_eq!(
            BrokerConfig::defaults(Era::V0_8).replica_lag_max_messages,
            4000
        );
        assert_eq!(
            BrokerConfig::defaults(Era::V0_9).group_max_session_timeout_ms,
            Span::secs(30)
        );
        assert_eq!(
            BrokerConfig::defaults(Era::V1_0).group_max_session_timeout_ms,
            Span::secs(300)
        );
        assert_eq!(
            BrokerConfig::defaults(Era::V2_8).group_max_session_timeout_ms,
            Span::secs(1800)
        );
        assert_eq!(
            BrokerConfig::defaults(Era::V1_0).group_initial_rebalance_delay_ms,
            Span::secs(3)
        );
    }

    #[test]
    fn the_finer_unit_goes_before_the_coarser() {
        let mut broker = BrokerConfig::defaults(Era::V2_8);
        assert_eq!(broker.retention(), Span::secs(7 * 86_400));
        broker.set("log.retention.hours", "1").unwrap();
        broker.set("log.retention.minutes", "2").unwrap();
        assert_eq!(broker.retention(), Span::secs(120));
        broker.set("log.retention.ms", "-1").unwrap();
        assert_eq!(broker.retention(), Span::MAX);
    }

    #[test]
    fn a_fetch_may_not_wait_longer_than_the_lag_allows() {
        let mut broker = BrokerConfig::defaults(Era::V2_8);
        assert_eq!(broker.validate(), Ok(()));
        broker.set("replica.lag.time.max.ms", "400").unwrap();
        let error = broker.validate().unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("replica.fetch.wait.max.ms = 500: expected no more than"),
            "{error}"
        );
    }

    #[test]
    fn only_old_brokers_refuse_batches_larger_than_a_fetch() {
        for (era, accepted) in [(Era::V0_9, false), (Era::V2_8, true)] {
            let mut broker = BrokerConfig::defaults(era);
            broker.set("message.max.bytes", "5000000").unwrap();
            assert_eq!(broker.validate().is_ok(), accepted, "{era}");
        }
    }
}
