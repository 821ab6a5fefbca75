//! What a scenario says of the network without faults is what messages meet, and what it says of its faults besides what
//! they do is in the history for the judge.

use crate::seen::Seen;
use crate::{Case, run};
use sim::scenario::check::{Vocabulary, check};
use sim::scenario::parse::parse;
use std::sync::Arc;

/// The slowest of the records that a run with this network acknowledges, in milliseconds.
fn slowest(network: &str) -> u64 {
    let text = format!(
        "title = 't'
         question = 'q'
         duration = '10s'
         topic = [{{ name = 'orders', replicas = [[1, 2, 3]] }}]
         producer = [{{ name = 'p1', topic = 'orders', rate = 50, size = 1000 }}]
         {network}"
    );
    let file = parse(&text).unwrap_or_else(|complaint| panic!("{complaint:?}\n{text}"));
    let vocabulary = Vocabulary {
        guarantees: &[],
        ledger: &[],
    };
    let checked = check(&file, "network.toml", &vocabulary);
    assert!(checked.complaints.is_empty(), "{:?}", checked.complaints);
    let plan = checked.plans.into_iter().next().unwrap();
    Seen::new(sim::run::run(&Arc::new(plan), 1).history).slowest(0..10)
}

#[test]
fn a_network_is_as_slow_as_the_scenario_says() {
    let usual = slowest("");
    for network in [
        "network = { latency = '40ms' }",
        "network = { bandwidth = 30000 }",
        "network = { loss_per_mille = 100 }",
        "network.link = [{ from = 'client p1', to = 'broker 1', latency = '80ms' }]",
        "network.link = [{ from = 'client p1', to = 'broker 1', bandwidth = 30000 }]",
        "network.message = [{ from = 'p1', to = 'b1', message = 'Produce request', \
         latency = { 5 = '80ms' } }]",
    ] {
        let slow = slowest(network);
        assert!(slow >= usual + 70, "{slow} ms, usually {usual}: {network}");
    }
}

#[test]
fn the_judge_is_told_which_fault_may_miss_and_which_one_stays() {
    for (flags, expected) in [
        ("", (false, false)),
        (", optional = true", (true, false)),
        (", permanent = true", (false, true)),
    ] {
        let mut case = Case::new("kind = 'pause', target = 'broker 4', at = '1s'", |_| false);
        let text = format!("{}{flags}", case.it);
        case.it = text.leak();
        case.seconds = 2;
        let told = run(case.plan(false)).planned(0);
        assert_eq!(told, expected, "{flags}");
    }
}
