//! Which Kafka a node is: release era, `inter.broker.protocol.version`, and the fixes switched on or off.
//!
//! One `Copy` value per node, asked at the few places where versions differ; every question is a comparison or a bit test.
//! An era stands for one release: 0.8 is 0.8.2.2, 0.9 is 0.9.0.0, 1.0 is 1.0.1, 2.8 is 2.8.2. `sound` is 2.8 with every
//! later fix of [`Fix`] on but KIP-966; it keeps 2.8's defaults and protocol.

mod fix;
mod inter_broker_protocol;

pub use fix::{Affected, Fix, FixSet, Home, Mask};
pub use inter_broker_protocol::InterBrokerProtocol;

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// The release whose defaults and behaviour a node has.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum Era {
    /// 0.8.2.2: replication by high watermark, unclean elections.
    #[serde(rename = "0.8")]
    V0_8,
    /// 0.9.0.0: the group coordinator.
    #[serde(rename = "0.9")]
    V0_9,
    /// 1.0.1: leader epochs, idempotence, transactions.
    #[serde(rename = "1.0")]
    V1_0,
    /// 2.8.2: the last complete ZooKeeper-era release.
    #[serde(rename = "2.8")]
    V2_8,
    /// 2.8 with every later fix that we know of, but KIP-966.
    #[serde(rename = "sound")]
    Sound,
}

impl Era {
    /// All of them, oldest first.
    pub const ALL: [Self; 5] = [Self::V0_8, Self::V0_9, Self::V1_0, Self::V2_8, Self::Sound];

    /// As scenarios write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::V0_8 => "0.8",
            Self::V0_9 => "0.9",
            Self::V1_0 => "1.0",
            Self::V2_8 => "2.8",
            Self::Sound => "sound",
        }
    }

    /// Chooses by era: the values of 0.8, 0.9, 1.0 and 2.8; `sound` takes the last.
    pub fn pick<T>(self, [v0_8, v0_9, v1_0, v2_8]: [T; 4]) -> T {
        match self {
            Self::V0_8 => v0_8,
            Self::V0_9 => v0_9,
            Self::V1_0 => v1_0,
            Self::V2_8 | Self::Sound => v2_8,
        }
    }
}

impl fmt::Display for Era {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Era {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL
            .into_iter()
            .find(|era| era.name() == text)
            .ok_or(())
    }
}

/// Which Kafka a node is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Behaviour {
    /// The release.
    pub era: Era,
    /// What brokers speak among themselves.
    pub inter_broker_protocol: InterBrokerProtocol,
    /// The fixes that are on.
    pub fixes: FixSet,
}

impl Behaviour {
    /// What a freshly installed release of `era` does.
    pub fn of(era: Era) -> Self {
        let fixes = Fix::ALL
            .iter()
            .filter(|fix| fix.is_on_in(era))
            .fold(FixSet::EMPTY, |set, fix| set.with(*fix, true));
        let inter_broker_protocol = era.pick([
            InterBrokerProtocol::V0_8_2,
            InterBrokerProtocol::V0_9_0,
            InterBrokerProtocol::V1_0Iv0,
            InterBrokerProtocol::V2_8Iv1,
        ]);
        Self {
            era,
            inter_broker_protocol,
            fixes,
        }
    }

    /// Whether a fix is on.
    #[inline]
    pub const fn has(&self, fix: Fix) -> bool {
        self.fixes.contains(fix)
    }

    /// The same with one fix switched.
    #[must_use]
    pub const fn with(self, fix: Fix, on: bool) -> Self {
        Self {
            fixes: self.fixes.with(fix, on),
            ..self
        }
    }

    /// The same with another `inter.broker.protocol.version`.
    #[must_use]
    pub const fn speaking(self, inter_broker_protocol: InterBrokerProtocol) -> Self {
        Self {
            inter_broker_protocol,
            ..self
        }
    }

    /// Whether followers ask for the end of an epoch before they fetch: the protocol allows it and KIP-101 is on.
    /// Where this is false a new follower truncates to its own high watermark.
    pub const fn truncates_by_epoch(&self) -> bool {
        self.inter_broker_protocol.truncates_by_epoch() && self.has(Fix::TruncateByLeaderEpoch)
    }

    /// Whether the controller keeps eligible leader replicas (KIP-966). It has to see every change of the ISR.
    pub const fn keeps_eligible(&self) -> bool {
        self.inter_broker_protocol.uses_alter_isr() && self.has(Fix::EligibleLeaderReplicas)
    }

    /// Whether followers find a divergence while fetching and skip the separate request. It needs KIP-279's answer.
    pub const fn truncates_by_fetch(&self) -> bool {
        self.truncates_by_epoch()
            && self.inter_broker_protocol.truncates_by_fetch()
            && self.has(Fix::LargestCommonEpoch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eras_are_read_back_from_their_names() {
        for era in Era::ALL {
            assert_eq!(era.name().parse(), Ok(era));
            assert_eq!(serde_json::to_string(&era).unwrap(), format!("\"{era}\""));
        }
        assert_eq!("3.0".parse::<Era>(), Err(()));
    }

    #[test]
    fn sound_has_every_fix_but_one_and_the_first_era_few() {
        let sound = Behaviour::of(Era::Sound);
        let off = Fix::ALL.iter().filter(|fix| !sound.has(**fix));
        assert_eq!(off.collect::<Vec<_>>(), [&Fix::EligibleLeaderReplicas]);
        let old = Behaviour::of(Era::V0_8);
        assert!(!old.has(Fix::TruncateByLeaderEpoch) && !old.has(Fix::IsrLagByTime));
        assert!(old.has(Fix::KeeperFlushBeforeAck));
        let last = Behaviour::of(Era::V2_8);
        assert!(
            last.has(Fix::IsrExpandFromEpochStart) && !last.has(Fix::DivergenceBeforeHighWatermark)
        );
    }

    #[test]
    fn one_switch_moves_no_other() {
        let before = Behaviour::of(Era::V2_8);
        let after = before.with(Fix::IsrExpandFromEpochStart, false);
        for fix in Fix::ALL {
            assert_eq!(
                after.has(*fix),
                before.has(*fix) && *fix != Fix::IsrExpandFromEpochStart
            );
        }
        assert_eq!(after.with(Fix::IsrExpandFromEpochStart, true), before);
    }

    #[test]
    fn truncation_follows_protocol_and_switch() {
        let modern = Behaviour::of(Era::V2_8);
        assert!(modern.truncates_by_fetch());
        let between = modern.speaking(InterBrokerProtocol::V2_6Iv0);
        assert!(between.truncates_by_epoch() && !between.truncates_by_fetch());
        assert!(
            !modern
                .with(Fix::TruncateByLeaderEpoch, false)
                .truncates_by_epoch()
        );
        assert!(
            !modern
                .speaking(InterBrokerProtocol::V0_10_2Iv0)
                .truncates_by_epoch()
        );
    }

    #[test]
    fn a_behaviour_survives_json() {
        let behaviour = Behaviour::of(Era::V1_0).with(Fix::KeeperFlushBeforeAck, false);
        let json = serde_json::to_string(&behaviour).unwrap();
        assert_eq!(serde_json::from_str::<Behaviour>(&json).unwrap(), behaviour);
    }
}
