//! Random faults, and the canary that proves them sharp.

mod common;

use common::{assert_as_expected, path, plans};
use history::judge::{Outcome, judge};
use protocol::behaviour::Fix;
use std::sync::Arc;

/// The swarm's canary: random faults that would not find a known bug would find no other.
#[test]
fn the_standard_swarm_convicts_a_broken_system_and_acquits_the_sound_one() {
    let path = path("scenarios/swarm/standard.toml");
    let sound = plans(&path).remove(0);
    let mut broken = (*sound).clone();
    for broker in &mut broken.brokers {
        broker.behaviour = broker
            .behaviour
            .with(Fix::DivergenceBeforeHighWatermark, false);
    }
    let broken = Arc::new(broken);
    let convicted = (1..=12).find(|seed| {
        let outcome = judge(&sim::run::run(&broken, *seed).history).outcome;
        matches!(outcome, Outcome::NotAsExpected(_))
    });
    let seed = convicted.expect("none of a dozen seeds convicts");
    assert_as_expected(&sound, seed);
}
