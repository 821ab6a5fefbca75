//! `inter.broker.protocol.version`: what brokers may say to each other (`kafka.api.ApiVersion` of 2.8).
//!
//! Every internal version of 2.8 is here, because a rolling upgrade may stop at any of them; 0.8.0 and 0.8.1 speak as 0.8.2.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

macro_rules! versions {
    ($($(#[$doc:meta])* $variant:ident = $name:literal;)*) => {
        /// An inter-broker protocol version; later ones are greater.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum InterBrokerProtocol {
            $($(#[$doc])* $variant,)*
        }

        impl InterBrokerProtocol {
            /// All of them, oldest first.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Kafka's full name, `2.7-IV2`.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

versions! {
    /// 0.8.2 and before.
    V0_8_2 = "0.8.2";
    /// ISR change notifications, the group coordinator.
    V0_9_0 = "0.9.0";
    /// Record format 1 (KIP-31, KIP-32).
    V0_10_0Iv0 = "0.10.0-IV0";
    /// Racks (KIP-36).
    V0_10_0Iv1 = "0.10.0-IV1";
    /// Rebalance time-out in `JoinGroup` (KIP-62).
    V0_10_1Iv0 = "0.10.1-IV0";
    /// Size limit of a fetch response (KIP-74).
    V0_10_1Iv1 = "0.10.1-IV1";
    /// `ListOffsets` by time stamp (KIP-79).
    V0_10_1Iv2 = "0.10.1-IV2";
    /// Listener names (KIP-103).
    V0_10_2Iv0 = "0.10.2-IV0";
    /// Record format 2, idempotence and transactions (KIP-98).
    V0_11_0Iv0 = "0.11.0-IV0";
    /// `DeleteRecords` (KIP-107).
    V0_11_0Iv1 = "0.11.0-IV1";
    /// Followers ask for the end of an epoch (KIP-101).
    V0_11_0Iv2 = "0.11.0-IV2";
    /// Several log directories (KIP-112).
    V1_0Iv0 = "1.0-IV0";
    /// Fetch sessions (KIP-227).
    V1_1Iv0 = "1.1-IV0";
    /// The answer to `OffsetsForLeaderEpoch` names an epoch (KIP-279).
    V2_0Iv0 = "2.0-IV0";
    /// Throttling after the response (KIP-219).
    V2_0Iv1 = "2.0-IV1";
    /// Offsets that expire when the group is empty (KIP-211).
    V2_1Iv0 = "2.1-IV0";
    /// Fetches carry the leader epoch (KIP-320).
    V2_1Iv1 = "2.1-IV1";
    /// zstd (KIP-110).
    V2_1Iv2 = "2.1-IV2";
    /// Broker epochs in the controller's requests (KIP-380).
    V2_2Iv0 = "2.2-IV0";
    /// `OFFSET_NOT_AVAILABLE` (KIP-207).
    V2_2Iv1 = "2.2-IV1";
    /// Static membership (KIP-345).
    V2_3Iv0 = "2.3-IV0";
    /// Fetch from followers (KIP-392).
    V2_3Iv1 = "2.3-IV1";
    /// Replicas being added and removed (KIP-455).
    V2_4Iv0 = "2.4-IV0";
    /// Flexible versions (KIP-482).
    V2_4Iv1 = "2.4-IV1";
    /// The same as 2.4-IV1.
    V2_5Iv0 = "2.5-IV0";
    /// Leader epochs in `StopReplica` (KIP-570).
    V2_6Iv0 = "2.6-IV0";
    /// Feature versions (KIP-584).
    V2_7Iv0 = "2.7-IV0";
    /// Fetches find divergence (KIP-595).
    V2_7Iv1 = "2.7-IV1";
    /// The controller writes the ISR (KIP-497).
    V2_7Iv2 = "2.7-IV2";
    /// Flexible versions of more requests, topic ids in ZooKeeper (KIP-516).
    V2_8Iv0 = "2.8-IV0";
    /// Topic ids in the controller's requests (KIP-516).
    V2_8Iv1 = "2.8-IV1";
}

impl InterBrokerProtocol {
    /// ISR changes of a leader are left as notifications under `/isr_change_notification`.
    pub const fn notifies_isr_changes(self) -> bool {
        self.reaches(Self::V0_9_0) && !self.uses_alter_isr()
    }

    /// Followers ask for the end of their last epoch before they fetch (KIP-101).
    pub const fn truncates_by_epoch(self) -> bool {
        self.reaches(Self::V0_11_0Iv2)
    }

    /// The answer to that question names the epoch it found (KIP-279).
    pub const fn answers_with_epoch(self) -> bool {
        self.reaches(Self::V2_0Iv0)
    }

    /// Followers say in a fetch which leader epoch they believe in (KIP-320).
    pub const fn fences_fetches(self) -> bool {
        self.reaches(Self::V2_1Iv1)
    }

    /// The controller's requests name the life of the broker they are meant for (KIP-380).
    pub const fn supports_broker_epoch(self) -> bool {
        self.reaches(Self::V2_2Iv0)
    }

    /// A lagging new leader may refuse `ListOffsets` with `OFFSET_NOT_AVAILABLE` (KIP-207).
    pub const fn refuses_lagging_offsets(self) -> bool {
        self.reaches(Self::V2_2Iv1)
    }

    /// Members may have a `group.instance.id` (KIP-345).
    pub const fn supports_static_membership(self) -> bool {
        self.reaches(Self::V2_3Iv0)
    }

    /// The controller's requests tell which replicas are being added and removed (KIP-455).
    pub const fn supports_reassigning_replicas(self) -> bool {
        self.reaches(Self::V2_4Iv0)
    }

    /// `StopReplica` carries a leader epoch per partition (KIP-570).
    pub const fn fences_stop_replica(self) -> bool {
        self.reaches(Self::V2_6Iv0)
    }

    /// Fetches carry the last fetched epoch, and the leader answers with a diverging epoch (KIP-595).
    pub const fn truncates_by_fetch(self) -> bool {
        self.reaches(Self::V2_7Iv1)
    }

    /// Leaders ask the controller for ISR changes instead of writing them to ZooKeeper (KIP-497).
    pub const fn uses_alter_isr(self) -> bool {
        self.reaches(Self::V2_7Iv2)
    }

    /// Topics have ids (KIP-516).
    pub const fn supports_topic_ids(self) -> bool {
        self.reaches(Self::V2_8Iv0)
    }

    /// `self >= other`, usable in a `const fn`.
    const fn reaches(self, other: Self) -> bool {
        #[expect(clippy::as_conversions, reason = "the discriminants are the order")]
        {
            self as u8 >= other as u8
        }
    }
}

impl FromStr for InterBrokerProtocol {
    type Err = ();

    /// Reads `2.7-IV2`, `2.7` (the last of that release) or `2.7.1` (Kafka looks at two segments, at three when the
    /// first is 0).
    fn from_str(text: &str) -> Result<Self, ()> {
        let segments = if text.starts_with("0.") { 3 } else { 2 };
        let key = text.split('.').take(segments).collect::<Vec<_>>().join(".");
        if matches!(key.as_str(), "0.8.0" | "0.8.1") {
            return Ok(Self::V0_8_2);
        }
        let matching = |version: &&Self| {
            version.name() == key
                || version
                    .name()
                    .strip_prefix(key.as_str())
                    .is_some_and(|rest| rest.starts_with("-IV"))
        };
        Self::ALL.iter().rev().find(matching).copied().ok_or(())
    }
}

impl fmt::Display for InterBrokerProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Debug for InterBrokerProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for InterBrokerProtocol {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for InterBrokerProtocol {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(|()| {
            serde::de::Error::custom(format!("no inter-broker protocol is called {text}"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_name_means_the_last_internal_version() {
        let read = |text: &str| text.parse::<InterBrokerProtocol>();
        assert_eq!(read("2.7"), Ok(InterBrokerProtocol::V2_7Iv2));
        assert_eq!(read("2.7.1"), Ok(InterBrokerProtocol::V2_7Iv2));
        assert_eq!(read("2.7-IV0"), Ok(InterBrokerProtocol::V2_7Iv0));
        assert_eq!(read("2.8"), Ok(InterBrokerProtocol::V2_8Iv1));
        assert_eq!(read("2.2"), Ok(InterBrokerProtocol::V2_2Iv1));
        assert_eq!(read("0.10.1"), Ok(InterBrokerProtocol::V0_10_1Iv2));
        assert_eq!(read("0.9.0.1"), Ok(InterBrokerProtocol::V0_9_0));
        assert_eq!(read("0.8.1.1"), Ok(InterBrokerProtocol::V0_8_2));
        assert_eq!(read("2"), Err(()));
        assert_eq!(read("3.0"), Err(()));
        assert_eq!(read("2.7-IV9"), Err(()));
    }

    #[test]
    fn every_version_is_read_back_and_the_order_is_that_of_the_releases() {
        for version in InterBrokerProtocol::ALL {
            assert_eq!(version.name().parse(), Ok(*version));
        }
        assert!(InterBrokerProtocol::ALL.is_sorted());
        assert!(InterBrokerProtocol::V0_10_0Iv0 < InterBrokerProtocol::V2_0Iv0);
    }

    #[test]
    fn the_controller_writes_the_isr_from_2_7_iv2_on() {
        assert!(
            !InterBrokerProtocol::V2_7Iv1.uses_alter_isr()
                && InterBrokerProtocol::V2_7Iv1.notifies_isr_changes()
        );
        assert!(
            InterBrokerProtocol::V2_7Iv2.uses_alter_isr()
                && !InterBrokerProtocol::V2_7Iv2.notifies_isr_changes()
        );
        assert!(!InterBrokerProtocol::V0_11_0Iv1.truncates_by_epoch());
        assert!(InterBrokerProtocol::V0_11_0Iv2.truncates_by_epoch());
    }
}
