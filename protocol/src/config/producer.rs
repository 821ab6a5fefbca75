//! The settings of the Java producer (`ProducerConfig`), in every era the new one; the Scala producer of 0.8 is left out.

use super::setting::{ANY, Later, at_least, settings};
use super::{Compression, Partitioner, SettingError};
use crate::api::data::Acks;
use crate::behaviour::Era;
use crate::time::Span;

const NOT_MODELLED: &[&str] = &[
    "bootstrap.servers",
    "key.serializer",
    "value.serializer",
    "interceptor.classes",
    "metric.reporters",
    "metrics.*",
    "ssl.*",
    "sasl.*",
    "security.*",
    "client.dns.lookup",
    "block.on.buffer.full",
    "metadata.fetch.timeout.ms",
    "timeout.ms",
];

const LATER: Later = &[
    (
        Era::V0_9,
        &[
            "request.timeout.ms",
            "max.block.ms",
            "partitioner.class",
            "connections.max.idle.ms",
        ],
    ),
    (
        Era::V1_0,
        &[
            "enable.idempotence",
            "transactional.id",
            "transaction.timeout.ms",
            "reconnect.backoff.max.ms",
        ],
    ),
    (
        Era::V2_8,
        &[
            "delivery.timeout.ms",
            "metadata.max.idle.ms",
            "socket.connection.setup.timeout.ms",
            "socket.connection.setup.timeout.max.ms",
        ],
    ),
];

settings! {
    /// The settings of a producer. After the last `set` call [`finish`](Self::finish).
    ProducerConfig(era), not_modelled: NOT_MODELLED, later: LATER;
    acks: Acks = "acks", ANY, Acks::Leader, "What must have happened before a record counts as sent.";
    retries: i32 = "retries", at_least(0), era.pick([0, 0, 0, i32::MAX]), "How often a failed batch is sent again.";
    enable_idempotence: bool = "enable.idempotence", ANY, false, "Whether the broker drops repeated batches.";
    transactional_id: Option<String> = "transactional.id", ANY, None, "The name under which transactions outlive the process.";
    transaction_timeout_ms: Span = "transaction.timeout.ms", at_least(1), Span::secs(60), "Time after which the coordinator aborts a transaction.";
    delivery_timeout_ms: Span = "delivery.timeout.ms", at_least(0), era.pick([Span::MAX, Span::MAX, Span::MAX, Span::secs(120)]), "Time after which a record has failed, retries included (KIP-91, since 2.1).";
    request_timeout_ms: Span = "request.timeout.ms", at_least(0), Span::secs(30), "How long an answer may take.";
    retry_backoff_ms: Span = "retry.backoff.ms", at_least(0), Span::millis(100), "Rest before a batch is sent again.";
    max_in_flight_requests_per_connection: i32 = "max.in.flight.requests.per.connection", at_least(1), 5, "Unanswered requests per broker.";
    linger_ms: Span = "linger.ms", at_least(0), Span::ZERO, "How long a batch waits to fill.";
    batch_size: i32 = "batch.size", at_least(0), 16_384, "Bytes of a full batch.";
    buffer_memory: i64 = "buffer.memory", at_least(0), 33_554_432, "Bytes that may wait to be sent.";
    max_block_ms: Span = "max.block.ms", at_least(0), Span::secs(60), "How long send may wait for metadata and memory.";
    max_request_size: i32 = "max.request.size", at_least(0), 1_048_576, "Bytes of a request and of a record.";
    compression_type: Compression = "compression.type", ANY, Compression::None, "How batches are compressed.";
    partitioner_class: Partitioner = "partitioner.class", ANY, Partitioner::Default, "Who decides the partition.";
    client_id: String = "client.id", ANY, String::new(), "The name in requests.";
    metadata_max_age_ms: Span = "metadata.max.age.ms", at_least(0), Span::secs(300), "Age at which metadata is asked for again.";
    metadata_max_idle_ms: Span = "metadata.max.idle.ms", at_least(5000), Span::secs(300), "Time after which an unused topic is forgotten.";
    reconnect_backoff_ms: Span = "reconnect.backoff.ms", at_least(0), Span::millis(era.pick([10, 50, 50, 50])), "Rest before connecting again, at first.";
    reconnect_backoff_max_ms: Span = "reconnect.backoff.max.ms", at_least(0), Span::millis(era.pick([10, 50, 1000, 1000])), "Rest before connecting again, at most (KIP-144, since 0.11).";
    connections_max_idle_ms: Span = "connections.max.idle.ms", ANY, Span::secs(540), "A connection without traffic for this long is closed.";
    socket_connection_setup_timeout_ms: Span = "socket.connection.setup.timeout.ms", ANY, Span::secs(era.pick([127, 127, 127, 10])), "How long a connection may take to open (KIP-601, since 2.7; before, the system's limit).";
    socket_connection_setup_timeout_max_ms: Span = "socket.connection.setup.timeout.max.ms", ANY, Span::secs(era.pick([127, 127, 127, 30])), "The same after repeated failures.";
    send_buffer_bytes: i32 = "send.buffer.bytes", at_least(-1), 131_072, "Send buffer of a connection.";
    receive_buffer_bytes: i32 = "receive.buffer.bytes", at_least(-1), 32_768, "Receive buffer of a connection.";
}

impl ProducerConfig {
    /// Fills in what follows from what was set, as `KafkaProducer` does when it starts, and validates: a transactional
    /// id switches idempotence on, idempotence makes acks=all and retries without end, and a delivery time-out that was
    /// left alone gives way to linger and request time-out.
    pub fn finish(mut self) -> Result<Self, SettingError> {
        if self.transactional_id.is_some() && !self.is_set("enable.idempotence") {
            self.enable_idempotence = true;
        }
        if self.enable_idempotence && !self.is_set("acks") {
            self.acks = Acks::All;
        }
        if self.enable_idempotence && !self.is_set("retries") {
            self.retries = i32::MAX;
        }
        if !self.is_set("delivery.timeout.ms") {
            self.delivery_timeout_ms = self
                .delivery_timeout_ms
                .max(self.linger_ms + self.request_timeout_ms);
        }
        self.validate()?;
        Ok(self)
    }

    /// The rules between settings (`KafkaProducer`'s and `ProducerConfig`'s `ConfigException`s). Judge a finished one.
    pub fn validate(&self) -> Result<(), SettingError> {
        if self.transactional_id.as_deref() == Some("") {
            return Err(self.refuse("transactional.id", "a name that is not empty"));
        }
        if self.transactional_id.is_some() && !self.enable_idempotence {
            return Err(self.refuse(
                "enable.idempotence",
                "true, because transactional.id is set",
            ));
        }
        if self.enable_idempotence && self.acks != Acks::All {
            return Err(self.refuse("acks", "all, because enable.idempotence is true"));
        }
        if self.enable_idempotence && self.retries == 0 {
            return Err(self.refuse("retries", "more than 0, because enable.idempotence is true"));
        }
        if self.enable_idempotence && self.max_in_flight_requests_per_connection > 5 {
            return Err(self.refuse(
                "max.in.flight.requests.per.connection",
                "at most 5, because enable.idempotence is true",
            ));
        }
        if self.delivery_timeout_ms < self.linger_ms + self.request_timeout_ms {
            return Err(self.refuse(
                "delivery.timeout.ms",
                "at least linger.ms + request.timeout.ms",
            ));
        }
        if self.compression_type == Compression::Producer {
            return Err(self.refuse("compression.type", "one of none, gzip, snappy, lz4, zstd"));
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

    fn producer(settings: &[(&str, &str)]) -> Result<ProducerConfig, SettingError> {
        let mut producer = ProducerConfig::defaults(Era::V2_8);
        for (key, value) in settings {
            producer.set(key, value)?;
        }
        producer.finish()
    }

    fn refused(settings: &[(&str, &str)]) -> String {
        producer(settings).unwrap_err().to_string()
    }

    #[test]
    fn defaults_agree_with_the_releases() {
        for era in Era::ALL {
            let producer = ProducerConfig::defaults(era).finish().unwrap();
            assert_eq!(producer.acks, Acks::Leader);
            assert_eq!(producer.retries, era.pick([0, 0, 0, i32::MAX]));
            assert_eq!(producer.max_in_flight_requests_per_connection, 5);
            assert_eq!(
                (producer.batch_size, producer.linger_ms),
                (16_384, Span::ZERO)
            );
        }
        assert_eq!(
            ProducerConfig::defaults(Era::V2_8).delivery_timeout_ms,
            Span::secs(120)
        );
    }

    #[test]
    fn idempotence_brings_what_it_needs() {
        let idempotent = producer(&[("enable.idempotence", "true")]).unwrap();
        assert_eq!((idempotent.acks, idempotent.retries), (Acks::All, i32::MAX));
        let transactional = producer(&[("transactional.id", "t")]).unwrap();
        assert!(transactional.enable_idempotence && transactional.acks == Acks::All);
    }

    #[test]
    fn idempotence_refuses_what_contradicts_it() {
        let on = ("enable.idempotence", "true");
        assert_eq!(
            refused(&[on, ("acks", "1")]),
            "acks = 1: expected all, because enable.idempotence is true"
        );
        assert_eq!(
            refused(&[on, ("max.in.flight.requests.per.connection", "6")]),
            "max.in.flight.requests.per.connection = 6: expected at most 5, because enable.idempotence is true"
        );
        assert!(refused(&[on, ("retries", "0")]).starts_with("retries = 0"));
        assert!(
            refused(&[("transactional.id", "t"), ("enable.idempotence", "false")])
                .starts_with("enable.idempotence = false")
        );
        assert_eq!(
            refused(&[("transactional.id", "")]),
            "transactional.id = : expected a name that is not empty"
        );
    }

    #[test]
    fn only_a_delivery_timeout_that_was_set_is_refused_as_too_short() {
        let long = ("linger.ms", "200000");
        assert_eq!(
            producer(&[long]).unwrap().delivery_timeout_ms,
            Span::secs(230)
        );
        assert!(
            refused(&[long, ("delivery.timeout.ms", "120000")])
                .starts_with("delivery.timeout.ms = 120000")
        );
    }
}
