//! The catalogue of historic failures as a whole: each file states both sides, each switch has a file that needs it, and
//! each condition of the language is one that some scenario waits for.

#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

mod common;

use common::{path, plans, scenario_files, scenarios_in};
use history::expectation::{Expectations, Quantifier};
use protocol::behaviour::Fix;
use sim::scenario::condition::Condition;
use sim::scenario::plan::{Plan, Trigger};
use std::collections::BTreeSet;
use std::sync::Arc;

const FOLDER: &str = "scenarios/failures";

/// What a side promises to show in every run.
fn shown(expect: &Expectations) -> BTreeSet<&String> {
    let always = |(name, quantifier)| (quantifier == &Quantifier::Always).then_some(name);
    expect
        .violated
        .iter()
        .chain(&expect.harm)
        .filter_map(always)
        .collect()
}

/// Whether `broken` shows what `sound` does not.
fn differs(sound: &Plan, broken: &Plan) -> bool {
    !shown(&broken.expect).is_subset(&shown(&sound.expect))
}

#[test]
fn every_failure_states_two_sides_that_differ_in_what_they_show() {
    for file in scenarios_in(FOLDER) {
        let sides = plans(&file);
        let found = sides
            .iter()
            .any(|one| sides.iter().any(|other| differs(one, other)));
        assert!(found, "{}: no side shows a failure", file.display());
        for side in &sides {
            assert!(
                !side.reaches.is_empty() || !side.expect.harm.is_empty(),
                "{} {:?} proves nothing about its schedule",
                side.path,
                side.variant
            );
        }
    }
}

/// The fixes whose absence makes a side of this file fail as the other side does not.
fn needed(sides: &[Arc<Plan>]) -> BTreeSet<&'static str> {
    let mut fixes = BTreeSet::new();
    for sound in sides {
        for broken in sides.iter().filter(|broken| differs(sound, broken)) {
            fixes.extend(
                Fix::ALL
                    .iter()
                    .filter(|fix| sound.behaviour.has(**fix) && !broken.behaviour.has(**fix))
                    .map(|fix| fix.name()),
            );
        }
    }
    fixes
}

/// The fixes that a table of the page lists, by the heading above it.
fn listed(heading: &str) -> BTreeSet<String> {
    let text = std::fs::read_to_string(path("docs/faithfulness.md")).unwrap();
    let section = text.split(&format!("## {heading}\n")).nth(1).unwrap();
    let section = section.split("\n## ").next().unwrap();
    section
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.split(" |").next())
        .map(str::to_owned)
        .filter(|name| name.parse::<Fix>().is_ok())
        .collect()
}

#[test]
fn every_fix_has_a_failure_that_needs_it_or_is_listed_as_one_that_has_none() {
    let files = scenarios_in(FOLDER);
    let covered: BTreeSet<&str> = files.iter().flat_map(|file| needed(&plans(file))).collect();
    let without_effect = listed("Fixes without effect");
    let without_scenario = listed("Fixes without a scenario");
    let untold = listed("Fixes that no scenario can tell, and why");
    let mut wrong = Vec::new();
    for fix in Fix::ALL {
        let name = fix.name();
        let places = [
            covered.contains(name),
            without_effect.contains(name),
            without_scenario.contains(name),
            untold.contains(name),
        ];
        if places.iter().filter(|place| **place).count() != 1 {
            wrong.push(format!(
                "{name}: scenario {}, listed without effect {}, without a scenario {}, as not to be told {}",
                places[0], places[1], places[2], places[3]
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The words of a condition and of its parts.
fn words(condition: &Condition) -> Vec<String> {
    if let Condition::All(parts) | Condition::InOrder(parts) = condition {
        let whole = word(condition);
        return parts.iter().flat_map(words).chain([whole]).collect();
    }
    vec![word(condition)]
}

fn word(condition: &Condition) -> String {
    let value = serde_json::to_value(condition).unwrap();
    value.as_object().unwrap().keys().next().unwrap().clone()
}

/// What a run must see come true: whoever waits for a fault or for its end asks for an effect, and a mark must be reached.
fn awaited(plan: &Plan) -> BTreeSet<String> {
    let triggers = plan.faults.iter().filter_map(|fault| match &fault.trigger {
        Trigger::When(condition) => Some(condition),
        Trigger::At(_) | Trigger::Between(..) => None,
    });
    let ends = plan.faults.iter().filter_map(|fault| fault.until.as_ref());
    let marks = plan.reaches.iter().map(|(_, condition)| condition);
    triggers.chain(ends).chain(marks).flat_map(words).collect()
}

#[test]
fn every_condition_of_the_language_is_one_that_a_scenario_waits_for() {
    let schema = std::fs::read_to_string(path("sim/src/scenario/schema.json")).unwrap();
    let schema: serde_json::Value = serde_json::from_str(&schema).unwrap();
    let known = schema["$defs"]["condition"]["properties"].as_object();
    let known: BTreeSet<String> = known.unwrap().keys().cloned().collect();
    let files = scenario_files();
    let all = files.iter().flat_map(|file| plans(file));
    let awaited: BTreeSet<String> = all.flat_map(|plan| awaited(&plan)).collect();
    let missing: Vec<&String> = known.difference(&awaited).collect();
    assert!(missing.is_empty(), "nobody waits for {missing:?}");
}
