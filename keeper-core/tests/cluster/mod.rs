//! A cluster of keepers and clients in a tiny deterministic world, for the tests of this crate.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "each test file uses a part; tests look for one case and do not care about the others"
)]

pub mod checker;
pub mod client;
pub mod disk;
pub mod random;
pub mod world;

use keeper_core::KeeperSpec;
use protocol::behaviour::Behaviour;
use protocol::config::KeeperConfig;
use protocol::ids::KeeperId;
use protocol::time::Span;

/// The specification of one server of an ensemble.
pub fn spec(id: i32, servers: i32, behaviour: Behaviour) -> KeeperSpec {
    let mut config = KeeperConfig::defaults(behaviour.era);
    config.tick_time = Span(client::TICK);
    KeeperSpec {
        id: KeeperId(id),
        servers: (1..=servers)
            .map(|id| (KeeperId(id), format!("keeper-{id}").into()))
            .collect(),
        data_dir: "data".into(),
        data_log_dir: "datalog".into(),
        config,
        behaviour,
        seed: u64::try_from(id).unwrap(),
    }
}
