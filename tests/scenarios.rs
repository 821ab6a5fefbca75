//! Every scenario gives the answer its file promises: twice on its own seed, byte for byte the same, and on five others.

#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

mod common;

use common::{
    assert_as_expected, bytes, checked, for_every_plan, hosted, name_of, path, plans,
    scenario_files, scenarios_in,
};
use history::judge::{Outcome, judge};
use sim::scenario::parse;
use std::sync::Arc;

#[test]
fn there_are_at_least_sixteen_lessons_and_every_scenario_asks_and_teaches() {
    assert!(scenarios_in("scenarios").len() >= 16);
    let files = scenario_files();
    for file in files {
        for plan in plans(&file) {
            assert!(plan.question.ends_with('?'), "{} asks nothing", plan.path);
            assert!(
                !plan.lesson.trim().is_empty(),
                "{} teaches nothing",
                plan.path
            );
        }
    }
}

#[test]
fn every_scenario_keeps_its_promise_and_repeats_byte_for_byte_without_madsim_and_in_a_clone() {
    for_every_plan(&scenario_files(), |plan| {
        let first = bytes(&assert_as_expected(plan, plan.seed));
        // Spread over all that happens while clusters form and work.
        let step = 1 + name_of(plan).bytes().map(u64::from).sum::<u64>() * 31 % 3000;
        let second = bytes(&sim::run::run_with_clone(plan, plan.seed, step).history);
        assert!(first == second, "{} differs from itself", name_of(plan));
    });
}

/// The numbers change with whatever changes the run, and with nothing else: not with the machine, nor with the compiler.
#[test]
fn three_runs_have_the_same_hash_on_every_machine() {
    let files = [
        "scenarios/01-kill-nine.toml",
        "scenarios/03-acks-one.toml",
        "scenarios/swarm/transactions.toml",
    ];
    let hashes = files.map(|file| {
        let plan = plans(&path(file)).remove(0);
        let hash = hosted(&plan, plan.seed).history.hash;
        format!("{file} {hash}")
    });
    insta::assert_snapshot!(hashes.join("\n"));
}

#[test]
fn every_scenario_keeps_its_promise_on_five_other_seeds() {
    let files = scenario_files();
    for_every_plan(&files, |plan| {
        for seed in 101..106 {
            assert_as_expected(plan, seed);
        }
    });
}

#[test]
fn a_written_history_is_judged_like_the_run_it_came_from() {
    let file = path("scenarios/03-acks-one.toml");
    let plan = plans(&file).remove(0);
    let run = sim::run::run(&plan, plan.seed);
    let written = bytes(&run.history);
    let read = history::jsonl::read(written.as_slice()).unwrap();
    assert_eq!(judge(&read), judge(&run.history));
}

/// Without the fault nothing is lost: what the scenario shows is the fault's doing.
#[test]
fn the_harm_of_acks_one_goes_away_with_its_fault() {
    let file = path("scenarios/03-acks-one.toml");
    let mut plan = (*plans(&file).remove(0)).clone();
    plan.faults.clear();
    let judgement = judge(&sim::run::run(&Arc::new(plan), 1).history);
    assert_eq!(judgement.ledger.get("lost"), Some(0));
    // And a run that does not get where it claims is never green.
    assert!(
        matches!(judgement.outcome, Outcome::Unknown(_)),
        "{:?}",
        judgement.outcome
    );
}

fn outcome_of(text: &str) -> (Outcome, Vec<history::event::Event>) {
    let plan = checked(&parse::parse(text).unwrap(), "small.toml").remove(0);
    let run = sim::run::run(&plan, 1);
    (judge(&run.history).outcome, run.history.events)
}

fn starts(events: &[history::event::Event], life: u32) -> usize {
    use history::event::{Process, What};
    let started =
        |event: &&history::event::Event| event.what == What::Process(Process::Started { life });
    events.iter().filter(started).count()
}

const SMALL: &str = "title = 't'\nquestion = 'q?'\nduration = '10s'\n[[topic]]\nname = 'orders'\n\
    [[producer]]\nname = 'p1'\ntopic = 'orders'\nrate = 20\n";

/// Its old session lives on when it comes back at the healing: it gives up, and is started until it gets through.
#[test]
fn a_broker_that_finds_its_name_taken_is_started_again_once_all_is_healed() {
    let fault = "[[fault]]\nkind = 'kill'\ntarget = 'broker 1'\nat = '9500ms'\n";
    let (outcome, events) = outcome_of(&format!("{SMALL}{fault}"));
    assert_eq!(outcome, Outcome::AsExpected);
    assert!(starts(&events, 3) >= 1, "the first try was too early");
}

#[test]
fn a_producer_that_was_to_come_back_later_comes_back_at_the_healing() {
    let fault = "[[fault]]\nkind = 'kill'\ntarget = 'client p1'\nat = '9s'\n";
    let (_, gone) = outcome_of(&format!("{SMALL}{fault}"));
    assert_eq!(starts(&gone, 2), 0);
    let (outcome, back) = outcome_of(&format!("{SMALL}{fault}restart_after = '5s'\n"));
    assert_eq!(outcome, Outcome::AsExpected);
    assert_eq!(starts(&back, 2), 1);
}
