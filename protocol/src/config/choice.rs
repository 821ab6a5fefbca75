//! The settings whose value is a word: acks, compression, assignor and so on, spelt as Kafka spells them.

use super::setting::{Kind, Range, Value};
use crate::api::data::{Acks, IsolationLevel};
use crate::behaviour::Era;
use serde::{Deserialize, Serialize};
use std::fmt;

macro_rules! choice {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal $(| $alias:literal)*;)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
        pub enum $name {
            $($(#[$variant_doc])* #[serde(rename = $word)] $variant,)*
        }

        impl $name {
            /// The word a scenario and Kafka use for it.
            pub const fn word(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.word())
            }
        }

        impl Value for $name {
            const KIND: Kind = Kind::Choice(&[$($word),*]);
            fn read(_key: &str, text: &str, _range: Range) -> Option<Self> {
                match text { $($word $(| $alias)* => Some(Self::$variant),)* _ => None }
            }
            fn print(&self, _key: &str) -> String {
                self.word().to_owned()
            }
        }
    };
}

impl Value for Acks {
    const KIND: Kind = Kind::Choice(&["0", "1", "all", "-1"]);

    fn read(_key: &str, text: &str, _range: Range) -> Option<Self> {
        match text {
            "0" => Some(Self::None),
            "1" => Some(Self::Leader),
            "all" | "-1" => Some(Self::All),
            _ => None,
        }
    }

    fn print(&self, _key: &str) -> String {
        match self {
            Self::None => "0".to_owned(),
            Self::Leader => "1".to_owned(),
            Self::All => "all".to_owned(),
            Self::Other(acks) => acks.to_string(),
        }
    }
}

impl Value for IsolationLevel {
    const KIND: Kind = Kind::Choice(&["read_uncommitted", "read_committed"]);

    fn read(_key: &str, text: &str, _range: Range) -> Option<Self> {
        match text {
            "read_uncommitted" => Some(Self::ReadUncommitted),
            "read_committed" => Some(Self::ReadCommitted),
            _ => None,
        }
    }

    fn print(&self, _key: &str) -> String {
        match self {
            Self::ReadUncommitted => "read_uncommitted",
            Self::ReadCommitted => "read_committed",
        }
        .to_owned()
    }
}

choice! {
    /// How batches are compressed. Clients know no `producer`.
    Compression {
        /// Not.
        None = "none" | "uncompressed";
        /// gzip.
        Gzip = "gzip";
        /// Snappy.
        Snappy = "snappy";
        /// LZ4.
        Lz4 = "lz4";
        /// Zstandard (KIP-110, 2.1).
        Zstd = "zstd";
        /// As the producer sent them.
        Producer = "producer";
    }
}

choice! {
    /// Whose clock a record's time stamp is from.
    TimestampType {
        /// The producer's.
        CreateTime = "CreateTime";
        /// The broker's, at append.
        LogAppendTime = "LogAppendTime";
    }
}

choice! {
    /// Where a consumer starts that has no valid position.
    OffsetReset {
        /// At the end.
        Latest = "latest";
        /// At the beginning.
        Earliest = "earliest";
        /// It reports an error.
        None = "none";
    }
}

choice! {
    /// Where a consumer of ZooKeeper's time starts that has no valid position.
    OldOffsetReset {
        /// At the end.
        Largest = "largest";
        /// At the beginning.
        Smallest = "smallest";
    }
}

choice! {
    /// Where a consumer of ZooKeeper's time commits its offsets.
    OffsetStorage {
        /// In znodes.
        Zookeeper = "zookeeper";
        /// In `__consumer_offsets`, through the offset manager (0.8.2).
        Kafka = "kafka";
    }
}

choice! {
    /// How consumers of ZooKeeper's time divide partitions among their streams.
    OldAssignor {
        /// Per topic, in ranges.
        Range = "range";
        /// All partitions in turn, in the order of their hashes (0.8.2).
        RoundRobin = "roundrobin";
    }
}

choice! {
    /// Who decides the partition of a record that names none.
    Partitioner {
        /// `DefaultPartitioner`: murmur2 of the key; without key see [`Partitioner::is_sticky`].
        Default = "default" | "org.apache.kafka.clients.producer.internals.DefaultPartitioner";
        /// `RoundRobinPartitioner`: in turn, keys or not (2.4).
        RoundRobin = "round-robin" | "org.apache.kafka.clients.producer.RoundRobinPartitioner";
        /// `UniformStickyPartitioner`: sticky, keys or not (2.4).
        UniformSticky = "uniform-sticky" | "org.apache.kafka.clients.producer.UniformStickyPartitioner";
        /// librdkafka's default: CRC-32 of the key, random without.
        ConsistentRandom = "consistent_random";
    }
}

impl Partitioner {
    /// Whether records without key stay on one partition until a batch is complete (KIP-480, since 2.4) rather than go
    /// round.
    pub const fn is_sticky(self, era: Era) -> bool {
        match self {
            Self::Default => matches!(era, Era::V2_8 | Era::Sound),
            Self::UniformSticky => true,
            Self::RoundRobin | Self::ConsistentRandom => false,
        }
    }
}

choice! {
    /// How a group's leader divides partitions.
    Assignor {
        /// Per topic, in ranges.
        Range = "range" | "org.apache.kafka.clients.consumer.RangeAssignor";
        /// All partitions in turn.
        RoundRobin = "roundrobin" | "org.apache.kafka.clients.consumer.RoundRobinAssignor";
        /// Balanced, moving as little as possible (KIP-54).
        Sticky = "sticky" | "org.apache.kafka.clients.consumer.StickyAssignor";
        /// Sticky, without stopping the partitions that stay (KIP-429).
        CooperativeSticky = "cooperative-sticky" | "org.apache.kafka.clients.consumer.CooperativeStickyAssignor";
    }
}

impl Value for Vec<Assignor> {
    const KIND: Kind = Kind::List;

    fn read(key: &str, text: &str, range: Range) -> Option<Self> {
        text.split(',')
            .map(|part| Assignor::read(key, part.trim(), range))
            .collect()
    }

    fn print(&self, _key: &str) -> String {
        self.iter()
            .map(|assignor| assignor.word())
            .collect::<Vec<_>>()
            .join(",")
    }
}

/// What happens to old segments; both may hold.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct CleanupPolicy {
    /// Segments go by age and size.
    pub delete: bool,
    /// The last record of each key stays.
    pub compact: bool,
}

impl CleanupPolicy {
    /// By age and size.
    pub const DELETE: Self = Self {
        delete: true,
        compact: false,
    };
    /// By key.
    pub const COMPACT: Self = Self {
        delete: false,
        compact: true,
    };
}

impl Value for CleanupPolicy {
    const KIND: Kind = Kind::Choice(&["delete", "compact", "compact,delete"]);

    fn read(_key: &str, text: &str, _range: Range) -> Option<Self> {
        let mut policy = Self {
            delete: false,
            compact: false,
        };
        for word in text.split(',').map(str::trim) {
            match word {
                "delete" => policy.delete = true,
                "compact" => policy.compact = true,
                _ => return None,
            }
        }
        Some(policy)
    }

    fn print(&self, _key: &str) -> String {
        match (self.compact, self.delete) {
            (true, true) => "compact,delete",
            (true, false) => "compact",
            (false, _) => "delete",
        }
        .to_owned()
    }
}

/// A number from 0 to 1 in millionths, so that no float takes part.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Ratio(pub u32);

impl Ratio {
    const ONE: u32 = 1_000_000;

    /// `percent` hundredths.
    pub const fn percent(percent: u32) -> Self {
        Self(percent * 10_000)
    }

    /// Whether `part` of `whole` is more than this.
    pub fn is_exceeded_by(self, part: u64, whole: u64) -> bool {
        u128::from(part) * u128::from(Self::ONE) > u128::from(whole) * u128::from(self.0)
    }
}

impl Value for Ratio {
    const KIND: Kind = Kind::Ratio;

    fn read(_key: &str, text: &str, _range: Range) -> Option<Self> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let digits_only = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() && fraction.is_empty() || !digits_only(whole) || !digits_only(fraction)
        {
            return None;
        }
        let whole: u32 = if whole.is_empty() {
            0
        } else {
            whole.parse().ok()?
        };
        let millionths: u32 = format!("{fraction:0<6}").get(..6)?.parse().ok()?;
        let value = whole.checked_mul(Self::ONE)?.checked_add(millionths)?;
        (value <= Self::ONE).then_some(Self(value))
    }

    fn print(&self, _key: &str) -> String {
        let text = format!("{}.{:06}", self.0 / Self::ONE, self.0 % Self::ONE);
        let text = text.trim_end_matches('0');
        if text.ends_with('.') {
            format!("{text}0")
        } else {
            text.to_owned()
        }
    }
}

/// A switch that `zoo.cfg` writes as `yes` or `no`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct YesNo(pub bool);

impl Value for YesNo {
    const KIND: Kind = Kind::Choice(&["yes", "no"]);

    fn read(_key: &str, text: &str, _range: Range) -> Option<Self> {
        match text {
            "yes" => Some(Self(true)),
            "no" => Some(Self(false)),
            _ => None,
        }
    }

    fn print(&self, _key: &str) -> String {
        if self.0 { "yes" } else { "no" }.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::super::setting::ANY;
    use super::*;

    fn read<T: Value>(text: &str) -> Option<T> {
        T::read("", text, ANY)
    }

    #[test]
    fn acks_are_read_by_word_and_by_number() {
        assert_eq!(read::<Acks>("all"), Some(Acks::All));
        assert_eq!(read::<Acks>("-1"), Some(Acks::All));
        assert_eq!(read::<Acks>("2"), None);
    }

    #[test]
    fn a_policy_may_be_both() {
        assert_eq!(
            read::<CleanupPolicy>("compact, delete"),
            Some(CleanupPolicy {
                delete: true,
                compact: true
            })
        );
        assert_eq!(read::<CleanupPolicy>("keep"), None);
    }

    #[test]
    fn a_ratio_is_read_without_floats() {
        assert_eq!(read::<Ratio>("0.5"), Some(Ratio::percent(50)));
        assert_eq!(read::<Ratio>("1"), Some(Ratio(1_000_000)));
        assert_eq!(read::<Ratio>(".05"), Some(Ratio(50_000)));
        assert_eq!(read::<Ratio>("1.01"), None);
        assert_eq!(read::<Ratio>("."), None);
        assert_eq!(read::<Ratio>("half"), None);
        assert_eq!(Ratio::percent(90).print(""), "0.9");
        assert!(Ratio::percent(50).is_exceeded_by(51, 100));
        assert!(!Ratio::percent(50).is_exceeded_by(50, 100));
    }

    #[test]
    fn assignors_are_read_by_class_and_by_name() {
        let both = read::<Vec<Assignor>>(
            "org.apache.kafka.clients.consumer.RangeAssignor, cooperative-sticky",
        );
        assert_eq!(
            both,
            Some(vec![Assignor::Range, Assignor::CooperativeSticky])
        );
        assert_eq!(read::<Vec<Assignor>>("range,best"), None);
    }
}
