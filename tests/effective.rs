//! What a seed drew, written as a scenario without chance.

#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

mod common;

use common::{checked, for_every_plan, name_of, path, plans, scenario_files, scenarios_in};
use history::judge::judge;
use sim::effective::{effective, tell_the_same};
use sim::scenario::parse;
use sim::scenario::plan::Plan;
use std::sync::Arc;

/// A variant written out as a file of its own is the same run.
#[test]
fn a_variant_is_its_settings_in_their_places() {
    for file in scenario_files() {
        for plan in plans(&file) {
            let alone = (*checked(&plan.source, &plan.path).remove(0)).clone();
            let of_file = Plan {
                variant: None,
                source: alone.source.clone(),
                ..(*plan).clone()
            };
            assert_eq!(
                format!("{alone:?}"),
                format!("{of_file:?}"),
                "{}",
                name_of(&plan)
            );
        }
    }
}

/// The scenario without chance that a seed stands for: read like any other file, it tells the seed's story with any seed.
fn assert_tells_the_same_without_chance(plan: &Arc<Plan>, seed: u64) {
    let written = effective(plan, seed, 2);
    let file = parse::parse(&written.text(plan, seed)).unwrap();
    let explicit = checked(&file, &plan.path).remove(0);
    let wanted = judge(&sim::run::run(plan, seed).history);
    let one = sim::run::run(&explicit, seed + 1);
    assert!(
        tell_the_same(&judge(&one.history), &wanted),
        "{} seed {seed}: {:?} instead of {:?}",
        name_of(plan),
        judge(&one.history).outcome,
        wanted.outcome
    );
    let other = sim::run::run(&explicit, seed + 2);
    assert_eq!(one.history.hash, other.history.hash, "{}", name_of(plan));
    assert!(one.history.events == other.history.events);
}

#[test]
fn what_a_seed_drew_is_told_by_a_scenario_without_chance() {
    for name in [
        "01-kill-nine",
        "05-duplicate-after-lost-ack",
        "08-unclean-election",
    ] {
        let name = format!("scenarios/{name}.toml");
        for plan in plans(&path(&name)) {
            assert_tells_the_same_without_chance(&plan, plan.seed);
        }
    }
}

/// What a nemesis drew becomes faults of the file, and no nemesis is left.
#[test]
fn what_a_nemesis_drew_is_told_by_named_faults() {
    let text = "title = 't'\nquestion = 'q?'\nduration = '20s'\n[[topic]]\nname = 'orders'\n\
        [[producer]]\nname = 'p1'\ntopic = 'orders'\nrate = 20\n\
        [nemesis]\nlasting = ['1s', '5s']\nkinds = { kill = [3, 9], pause = [3, 9], lane_delay = [3, 9] }\n";
    let plan = checked(&parse::parse(text).unwrap(), "nemesis.toml").remove(0);
    for seed in 1..4 {
        let written = effective(&plan, seed, 2);
        assert!(written.file.nemesis.is_none());
        assert!(!written.file.faults.is_empty());
        assert_tells_the_same_without_chance(&plan, seed);
    }
}

#[test]
fn every_lesson_keeps_its_story_without_chance_on_two_other_seeds() {
    for_every_plan(&scenarios_in("scenarios"), |plan| {
        for seed in 201..203 {
            assert_tells_the_same_without_chance(plan, seed);
        }
    });
}
