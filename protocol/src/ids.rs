//! Kafka's and ZooKeeper's numbers and names, one type each, so that an epoch cannot be passed for an offset.
//!
//! Widths and signs are Kafka's own, because some of them wrap or rotate (`Sequence` at `i32::MAX`, `ProducerEpoch` at
//! 32766). Wire sentinels (offset −1, epoch −1) are `Option`s in messages and never values of these types, except where
//! Kafka stores the sentinel itself.

use serde::{Deserialize, Serialize};
use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Arc<str>);

        impl Ord for $name {
            /// By text. Most names met are the same allocation, and then the text need not be looked at.
            fn cmp(&self, other: &Self) -> Ordering {
                if Arc::ptr_eq(&self.0, &other.0) {
                    Ordering::Equal
                } else {
                    self.0.cmp(&other.0)
                }
            }
        }
        impl PartialOrd for $name {
            fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
                Some(self.cmp(other))
            }
        }

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(Arc::from(text))
            }
        }
        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self(Arc::from(text))
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

number!(
    /// The logical number of a record in a partition, dense at append. Never a byte position.
    Offset(i64)
);
number!(
    /// How often a partition has had a leader elected; every election adds one.
    LeaderEpoch(i32)
);
number!(
    /// The version of a partition's `state` znode (`zkVersion`; later called partition epoch).
    PartitionEpoch(i32)
);
number!(
    /// How often the cluster has elected a controller.
    ControllerEpoch(i32)
);
number!(
    /// `broker.id`.
    BrokerId(i32)
);
number!(
    /// The czxid of a broker's registration znode (KIP-380): tells one life of a broker from the next.
    BrokerEpoch(i64)
);
number!(
    /// The index of a partition within its topic.
    PartitionIndex(i32)
);
/// What tells a topic from a later one of the same name (KIP-516): a UUID. Kafka's zero, for none, is an `Option` here.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicId(pub u128);

/// The digits of a topic id: base 64 for URLs.
const ID_DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

impl TopicId {
    /// Bytes on the wire.
    pub const WIRE_SIZE: u64 = 16;

    /// Reads what `Display` writes; `None` when it is no id.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() != 22 {
            return None;
        }
        let mut bits = 0_u128;
        for (place, byte) in text.bytes().enumerate() {
            let digit = ID_DIGITS.iter().position(|digit| *digit == byte)?;
            let digit = u128::try_from(digit).ok()?;
            // 22 digits have room for 132 bits; the last four are padding.
            bits = if place < 21 {
                (bits << 6) | digit
            } else {
                (bits << 2) | (digit >> 4)
            };
        }
        Some(Self(bits))
    }
}

impl fmt::Display for TopicId {
    /// As Kafka prints it: 16 bytes in URL-safe base 64, without padding.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bits = self.0;
        for _ in 0..22 {
            let digit = usize::try_from(bits >> 122).map_or(b'A', |place| ID_DIGITS[place]);
            fmt::Write::write_char(f, char::from(digit))?;
            bits <<= 6;
        }
        Ok(())
    }
}

impl fmt::Debug for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

number!(
    /// The id the cluster gives to an idempotent or transactional producer.
    ProducerId(i64)
);
number!(
    /// Fences older instances of a producer id; rotates to a new id at 32766.
    ProducerEpoch(i16)
);
number!(
    /// The number of a record among those its producer id sent to one partition. Wraps to 0 after `i32::MAX`.
    Sequence(i32)
);
number!(
    /// The generation of a consumer group; every completed rebalance adds one.
    GenerationId(i32)
);
number!(
    /// Pairs a response with its request on one connection.
    CorrelationId(i32)
);
number!(
    /// A transaction id of the keeper: epoch in the high 32 bits, counter in the low 32.
    Zxid(i64)
);
number!(
    /// `myid` of a keeper server.
    KeeperId(i32)
);
number!(
    /// A keeper session.
    SessionId(i64)
);
number!(
    /// The client's number for a keeper request, in the order it was sent on the connection.
    Xid(i32)
);
number!(
    /// A node of the simulated world: a broker, a keeper server or a client process.
    NodeId(u16)
);

name!(
    /// A topic's name.
    TopicName
);
name!(
    /// `group.id`.
    GroupId
);
name!(
    /// The id the group coordinator gave to a member.
    MemberId
);
name!(
    /// `client.id`.
    ClientId
);
name!(
    /// `transactional.id`.
    TransactionalId
);

impl Offset {
    /// The first offset of a log that never lost its front.
    pub const ZERO: Self = Self(0);

    /// The offset right after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// The offset `count` records further on.
    #[must_use]
    pub const fn plus(self, count: i64) -> Self {
        Self(self.0 + count)
    }

    /// How many offsets lie from `earlier` (included) to this one (excluded); negative when this one is before.
    pub const fn since(self, earlier: Self) -> i64 {
        self.0 - earlier.0
    }
}

impl LeaderEpoch {
    /// The epoch of the next election.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl PartitionEpoch {
    /// The version after one more write.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl ControllerEpoch {
    /// The epoch of the next controller.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl GenerationId {
    /// The generation after one more rebalance.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl Sequence {
    /// The sequence `count` records further on, wrapping to 0 after `i32::MAX` as Kafka's
    /// `DefaultRecordBatch.incrementSequence` does.
    #[must_use]
    pub const fn plus(self, count: i32) -> Self {
        if self.0 > i32::MAX - count {
            Self(count - (i32::MAX - self.0) - 1)
        } else {
            Self(self.0 + count)
        }
    }
}

impl Zxid {
    /// No transaction seen yet.
    pub const ZERO: Self = Self(0);

    /// The zxid of transaction `counter` in `epoch`.
    pub const fn new(epoch: i32, counter: u32) -> Self {
        #[expect(clippy::as_conversions, reason = "const widening of the two halves")]
        Self(((epoch as i64) << 32) | counter as i64)
    }

    /// The epoch half.
    pub const fn epoch(self) -> i32 {
        #[expect(clippy::as_conversions, reason = "the shift leaves 32 bits")]
        {
            (self.0 >> 32) as i32
        }
    }

    /// The counter half.
    pub const fn counter(self) -> u32 {
        #[expect(
            clippy::as_conversions,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "the low half, by definition"
        )]
        {
            self.0 as u32
        }
    }

    /// The next transaction of the same epoch.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// One partition of one topic; printed as Kafka names its directory, `orders-0`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TopicPartition {
    /// The topic.
    pub topic: TopicName,
    /// The partition within it.
    pub partition: PartitionIndex,
}

impl TopicPartition {
    /// Partition `partition` of `topic`.
    pub fn new(topic: impl Into<TopicName>, partition: i32) -> Self {
        Self {
            topic: topic.into(),
            partition: PartitionIndex(partition),
        }
    }

    /// Reads `orders-0` back: the text after the last dash is the partition.
    pub fn parse(text: &str) -> Option<Self> {
        let (topic, partition) = text.rsplit_once('-')?;
        let partition = partition.parse().ok().filter(|index| *index >= 0)?;
        (!topic.is_empty()).then(|| Self::new(topic, partition))
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

impl fmt::Debug for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Where a listener can be reached: a host name of the world and a port.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Endpoint {
    /// The host name, resolved by the world.
    pub host: Arc<str>,
    /// The TCP port.
    pub port: u16,
}

impl Endpoint {
    /// The listener of `host` on `port`.
    pub fn new(host: impl Into<Arc<str>>, port: u16) -> Self {
        Self {
            host: host.into(),
            port,
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_wrap_to_zero_after_the_largest() {
        assert_eq!(Sequence(i32::MAX).plus(1), Sequence(0));
        assert_eq!(Sequence(i32::MAX - 1).plus(3), Sequence(1));
        assert_eq!(Sequence(7).plus(5), Sequence(12));
    }

    #[test]
    fn a_zxid_is_an_epoch_and_a_counter() {
        let zxid = Zxid::new(3, 7);
        assert_eq!((zxid.epoch(), zxid.counter()), (3, 7));
        assert_eq!(zxid.next(), Zxid::new(3, 8));
    }

    #[test]
    fn a_topic_id_is_printed_in_base_64_as_kafka_prints_it_and_read_back() {
        let id = TopicId(0xe1be_6777_c138_4462_855c_7841_ac50_e7d4);
        assert_eq!(id.to_string(), "4b5nd8E4RGKFXHhBrFDn1A");
        for id in [id, TopicId(0), TopicId(1), TopicId(u128::MAX)] {
            assert_eq!(TopicId::parse(&id.to_string()), Some(id));
        }
        for text in ["", "4b5nd8E4RGKFXHhBrFDn1", "4b5nd8E4RGKFXHhBrFDn1+"] {
            assert_eq!(TopicId::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_partition_is_read_back_from_its_directory_name() {
        let partition = TopicPartition::new("my-topic", 12);
        assert_eq!(
            TopicPartition::parse(&partition.to_string()),
            Some(partition)
        );
        assert_eq!(TopicPartition::parse("nodash"), None);
        assert_eq!(TopicPartition::parse("-3"), None);
    }
}
