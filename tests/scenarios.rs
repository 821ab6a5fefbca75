//! Every scenario gives the answer its file promises: twice on its own seed, byte for byte the same, and on five others.

#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use history::judge::{Outcome, judge};
use protocol::behaviour::Fix;
use sim::effective::{effective, tell_the_same};
use sim::scenario::check::{Vocabulary, check};
use sim::scenario::format::ScenarioFile;
use sim::scenario::parse;
use sim::scenario::plan::Plan;
use std::num::NonZero;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// Every scenario file below `scenarios/`, lessons before failures.
fn scenario_files() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let mut folders = vec![root];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|kind| kind == "toml") {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

/// Does the work for every plan of every file, on all cores, and fails with the names of all that failed.
fn for_every_plan(work: impl Fn(&Arc<Plan>) + Sync) {
    let all: Vec<Arc<Plan>> = scenario_files()
        .iter()
        .flat_map(|file| plans(file))
        .collect();
    let next = AtomicUsize::new(0);
    let failed = Mutex::new(Vec::new());
    let threads = std::thread::available_parallelism().map_or(1, NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(plan) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if catch_unwind(AssertUnwindSafe(|| work(plan))).is_err() {
                        failed.lock().unwrap().push(name_of(plan));
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "failed: {}", failed.join(", "));
}

fn name_of(plan: &Plan) -> String {
    match &plan.variant {
        Some(variant) => format!("{} [{variant}]", plan.path),
        None => plan.path.clone(),
    }
}

fn plans(path: &Path) -> Vec<Arc<Plan>> {
    let text = parse::text(std::fs::read(path).unwrap()).unwrap();
    let file =
        parse::parse(&text).unwrap_or_else(|complaint| panic!("{}: {complaint:?}", path.display()));
    let name = path.strip_prefix(env!("CARGO_MANIFEST_DIR")).unwrap();
    checked(&file, &name.to_string_lossy())
}

fn checked(file: &ScenarioFile, name: &str) -> Vec<Arc<Plan>> {
    let guarantees = history::checker::codes();
    let ledger = history::ledger::Ledger::keys();
    let checked = check(
        file,
        name,
        &Vocabulary {
            guarantees: &guarantees,
            ledger: &ledger,
        },
    );
    let complaints = checked.complaints;
    assert!(complaints.is_empty(), "{name}: {complaints:?}");
    checked.plans.into_iter().map(Arc::new).collect()
}

fn assert_as_expected(plan: &Arc<Plan>, seed: u64) -> Vec<u8> {
    let run = sim::run::run(plan, seed);
    let judgement = judge(&run.history);
    assert_eq!(
        judgement.outcome,
        Outcome::AsExpected,
        "{} seed {seed}",
        name_of(plan)
    );
    let mut bytes = Vec::new();
    history::jsonl::write(&run.history, &mut bytes).unwrap();
    bytes
}

#[test]
fn there_are_at_least_sixteen_scenarios_with_a_question_and_a_lesson() {
    let files = scenario_files();
    assert!(files.len() >= 16, "only {}", files.len());
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
fn every_scenario_keeps_its_promise_and_repeats_byte_for_byte() {
    for_every_plan(|plan| {
        let first = assert_as_expected(plan, plan.seed);
        let second = assert_as_expected(plan, plan.seed);
        assert!(first == second, "{} differs from itself", name_of(plan));
    });
}

#[test]
fn every_scenario_keeps_its_promise_on_five_other_seeds() {
    for_every_plan(|plan| {
        for seed in 101..106 {
            assert_as_expected(plan, seed);
        }
    });
}

#[test]
fn a_written_history_is_judged_like_the_run_it_came_from() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios/03-acks-one.toml");
    let plan = plans(&file).remove(0);
    let run = sim::run::run(&plan, plan.seed);
    let mut bytes = Vec::new();
    history::jsonl::write(&run.history, &mut bytes).unwrap();
    let read = history::jsonl::read(bytes.as_slice()).unwrap();
    assert_eq!(judge(&read), judge(&run.history));
}

/// Without the fault nothing is lost: what the scenario shows is the fault's doing.
#[test]
fn the_harm_of_acks_one_goes_away_with_its_fault() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios/03-acks-one.toml");
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
        let path = format!("scenarios/{name}.toml");
        for plan in plans(&Path::new(env!("CARGO_MANIFEST_DIR")).join(path)) {
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
fn every_scenario_keeps_its_story_without_chance_on_two_other_seeds() {
    for_every_plan(|plan| {
        for seed in 201..203 {
            assert_tells_the_same_without_chance(plan, seed);
        }
    });
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

/// The swarm's canary: random faults that would not find a known bug would find no other.
#[test]
fn the_standard_swarm_convicts_a_broken_system_and_acquits_the_sound_one() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios/swarm/standard.toml");
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
