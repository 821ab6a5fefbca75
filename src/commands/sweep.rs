//! `ktrial sweep`: one scenario, many seeds, all cores.
//!
//! Each thread takes the next seed, runs and judges it and keeps only what is counted, so memory does not grow with seeds.

use super::{exit_of, say};
use crate::args::Sweep;
use crate::exit::Exit;
use crate::load;
use crate::style::{BAD, GOOD, NAME, UNKNOWN, paint};
use history::expectation::Quantifier;
use history::judge::{Judgement, Outcome, judge};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use sim::scenario::plan::Plan;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// What is kept of all seeds of one variant.
#[derive(Default)]
struct Tally {
    runs: u64,
    as_expected: u64,
    unknown: u64,
    simulated: f64,
    busy: f64,
    /// Distinct failures: what was wrong, how often, and the smallest seed.
    failures: BTreeMap<String, (u64, u64)>,
    /// How often each expected harm or violation was seen.
    seen: BTreeMap<String, u64>,
    worst: Option<Exit>,
}

/// Sweeps every variant of a scenario.
pub(crate) fn sweep(args: &Sweep) -> Exit {
    match sweep_all(args) {
        Ok(exit) | Err(exit) => exit,
    }
}

fn sweep_all(args: &Sweep) -> Result<Exit, Exit> {
    let plans = load::only(load::plans(&args.file)?, args.variant.as_deref())?;
    let mut worst = Exit::AsExpected;
    let mut results = Vec::new();
    for plan in &plans {
        let tally = sweep_plan(args, plan);
        worst = worst.worse(verdict(plan, &tally));
        if args.json {
            results.push(as_json(plan, &tally));
        } else {
            print(plan, &tally);
        }
    }
    if args.json {
        say(&json!({ "sweeps": results }).to_string());
    }
    Ok(worst)
}

fn sweep_plan(args: &Sweep, plan: &Arc<Plan>) -> Tally {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let jobs = args.jobs.unwrap_or(cores).max(1);
    let next = AtomicU64::new(args.first);
    let end = args.first.saturating_add(args.seeds);
    let tally = Mutex::new(Tally::default());
    let bar = progress_bar(plan, args.seeds);
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end {
                        return;
                    }
                    one_seed(plan, seed, &tally);
                    bar.inc(1);
                }
            });
        }
    });
    bar.finish_and_clear();
    tally
        .into_inner()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn progress_bar(plan: &Plan, seeds: u64) -> ProgressBar {
    let bar = ProgressBar::new(seeds);
    let template = "{prefix} {bar:30} {pos}/{len} seeds, {per_sec}, {eta} left";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.set_prefix(plan.variant.clone().unwrap_or_else(|| plan.name.clone()));
    bar
}

fn one_seed(plan: &Arc<Plan>, seed: u64, tally: &Mutex<Tally>) {
    let began = Instant::now();
    let ran = std::panic::catch_unwind(|| {
        let run = sim::run::run(plan, seed);
        let judgement = judge(&run.history);
        (run.statistics, judgement)
    });
    let busy = began.elapsed().as_secs_f64();
    let mut tally = tally
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    tally.runs += 1;
    tally.busy += busy;
    match ran {
        Ok((statistics, judgement)) => {
            tally.simulated +=
                std::time::Duration::from_nanos(statistics.simulated.0).as_secs_f64();
            take_in(&mut tally, plan, seed, &judgement);
        }
        Err(_) => fail(
            &mut tally,
            "a core panicked (a bug in ktrial)",
            seed,
            Exit::Bug,
        ),
    }
}

fn take_in(tally: &mut Tally, plan: &Plan, seed: u64, judgement: &Judgement) {
    for name in plan.expect.harm.keys() {
        if judgement.ledger.get(name).unwrap_or(0) > 0 {
            *tally.seen.entry(name.clone()).or_default() += 1;
        }
    }
    for code in plan.expect.violated.keys() {
        if judgement
            .verdict(code)
            .is_some_and(history::verdict::Verdict::is_violated)
        {
            *tally.seen.entry(code.clone()).or_default() += 1;
        }
    }
    match &judgement.outcome {
        Outcome::AsExpected => tally.as_expected += 1,
        Outcome::NotAsExpected(reasons) | Outcome::Unknown(reasons) => {
            let exit = exit_of(&judgement.outcome);
            if exit == Exit::Unknown {
                tally.unknown += 1;
            }
            let mut codes: Vec<&str> = reasons.iter().map(|reason| reason.code.as_str()).collect();
            codes.dedup();
            let first = reasons.first().map_or("", |reason| reason.text.as_str());
            fail(
                tally,
                &format!("{}: {first}", codes.join(" + ")),
                seed,
                exit,
            );
        }
    }
}

fn fail(tally: &mut Tally, what: &str, seed: u64, exit: Exit) {
    // Runs that fail alike differ in their numbers; group them by their words.
    let key: String = what
        .chars()
        .map(|c| if c.is_ascii_digit() { '#' } else { c })
        .collect();
    let entry = tally.failures.entry(key).or_insert((0, seed));
    entry.0 += 1;
    entry.1 = entry.1.min(seed);
    tally.worst = Some(tally.worst.map_or(exit, |worst| worst.worse(exit)));
}

/// Runs were judged one by one; `sometimes` is judged here.
fn verdict(plan: &Plan, tally: &Tally) -> Exit {
    let never_seen = sometimes(plan).any(|name| tally.seen.get(name).copied().unwrap_or(0) == 0);
    let of_runs = tally.worst.unwrap_or(Exit::AsExpected);
    if never_seen {
        of_runs.worse(Exit::NotAsExpected)
    } else {
        of_runs
    }
}

fn sometimes(plan: &Plan) -> impl Iterator<Item = &String> {
    let all = plan.expect.harm.iter().chain(&plan.expect.violated);
    all.filter(|(_, quantifier)| **quantifier == Quantifier::Sometimes)
        .map(|(name, _)| name)
}

fn print(plan: &Plan, tally: &Tally) {
    let variant = plan
        .variant
        .as_ref()
        .map_or_else(String::new, |name| format!(" [{name}]"));
    let exit = verdict(plan, tally);
    let word = match exit {
        Exit::AsExpected => paint(GOOD, "as expected"),
        Exit::Unknown => paint(UNKNOWN, "unknown"),
        Exit::NotAsExpected | Exit::Usage | Exit::Bug => paint(BAD, "NOT as expected"),
    };
    say(&format!(
        "{}{}: {word}, {} of {} seeds",
        plan.path,
        paint(NAME, variant),
        tally.as_expected,
        tally.runs
    ));
    for (name, seen) in &tally.seen {
        say(&format!(
            "  {name}: in {seen} of {} seeds{}",
            tally.runs,
            rate(*seen, tally.runs)
        ));
    }
    for name in sometimes(plan).filter(|name| !tally.seen.contains_key(*name)) {
        say(&format!(
            "  {name}: in 0 of {} seeds, so its rate is below {:.4} at 95 %",
            tally.runs,
            3.0 / precise(tally.runs)
        ));
    }
    for (what, (times, seed)) in &tally.failures {
        let again = format!("ktrial run {} --seed {seed}", plan.path);
        let flag = plan
            .variant
            .as_ref()
            .map_or_else(String::new, |name| format!(" --variant '{name}'"));
        say(&format!("  {times} × {what}\n      again: {again}{flag}"));
    }
    let speed = tally.simulated / tally.busy.max(1e-9);
    say(&format!(
        "  {speed:.0} simulated seconds per core-second, {:.1} seeds per core-second",
        precise(tally.runs) / tally.busy.max(1e-9)
    ));
}

fn rate(seen: u64, runs: u64) -> String {
    format!(" ({:.1} %)", 100.0 * precise(seen) / precise(runs).max(1.0))
}

/// Counts of seeds fit a float exactly.
fn precise(count: u64) -> f64 {
    u32::try_from(count).map_or(f64::from(u32::MAX), f64::from)
}

fn as_json(plan: &Plan, tally: &Tally) -> serde_json::Value {
    let failures = tally.failures.iter().map(
        |(what, (times, seed))| json!({ "what": what, "times": times, "smallest_seed": seed }),
    );
    json!({
        "scenario": plan.path,
        "variant": plan.variant,
        "runs": tally.runs,
        "as_expected": tally.as_expected,
        "unknown": tally.unknown,
        "seen": tally.seen,
        "failures": failures.collect::<Vec<_>>(),
        "simulated_seconds": tally.simulated,
        "core_seconds": tally.busy,
    })
}
