//! A sweep's result in words and as JSON.

use super::again;
use super::tally::{Faults, Tally};
use crate::commands::say;
use crate::exit::Exit;
use crate::style::{BAD, GOOD, NAME, UNKNOWN, paint};
use serde_json::json;
use sim::scenario::plan::Plan;
use std::collections::BTreeMap;

pub(super) fn print(plan: &Plan, tally: &Tally) {
    heading(plan, tally);
    for (name, seen) in &tally.seen {
        say(&format!(
            "  {name}: in {seen} of {} seeds{}",
            tally.runs,
            rate(*seen, tally.runs)
        ));
    }
    for name in tally.never_seen(plan) {
        say(&format!("  {name}: {}", in_none(tally.runs)));
    }
    for (failure, met) in &tally.failures {
        let roles = if failure.roles.is_empty() {
            String::new()
        } else {
            format!(" ({})", failure.roles)
        };
        say(&format!(
            "  {}/{}{roles}: in {} of {} seeds{}",
            failure.checker,
            failure.anomaly,
            met.times,
            tally.runs,
            rate(met.times, tally.runs)
        ));
        say(&format!("      {}", met.text));
        say(&format!("      again: {}", again(plan, met.smallest_seed)));
    }
    if tally.failures.is_empty() && tally.runs > 0 {
        say(&format!("  failures: {}", in_none(tally.runs)));
    }
    random_faults(&tally.random);
    speed(tally);
}

fn heading(plan: &Plan, tally: &Tally) {
    let variant = plan
        .variant
        .as_ref()
        .map_or_else(String::new, |name| format!(" [{name}]"));
    let word = match tally.verdict(plan) {
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
}

/// The rule of three: what is not seen in n independent trials happens less often than 3/n, with a confidence of 95 %. For a
/// handful of trials it says nothing.
fn in_none(runs: u64) -> String {
    let seen = format!("in 0 of {runs} seeds");
    if runs < 20 {
        return seen;
    }
    let one_in = runs / 3;
    format!("{seen}, so in fewer than one of {one_in} with a confidence of 95 %")
}

fn random_faults(random: &BTreeMap<String, Faults>) {
    if random.is_empty() {
        return;
    }
    let kinds = random.iter().map(|(kind, faults)| {
        let Faults {
            injected,
            effective,
        } = faults;
        let none = if *effective == 0 {
            " (NONE had an effect)"
        } else {
            ""
        };
        format!("{kind} {effective}/{injected}{none}")
    });
    let kinds: Vec<String> = kinds.collect();
    say(&format!(
        "  random faults with an effect: {}",
        kinds.join(", ")
    ));
}

fn speed(tally: &Tally) {
    let minutes = (tally.simulated / 60.0).max(1e-9);
    say(&format!(
        "  {:.0} simulated seconds per core-second, {:.1} seeds/s; per simulated minute {:.0} acknowledged records, {:.1} effective faults",
        tally.speed(),
        precise(tally.runs) / tally.elapsed.max(1e-9),
        precise(tally.acknowledged) / minutes,
        precise(tally.effective_faults) / minutes,
    ));
}

fn rate(seen: u64, runs: u64) -> String {
    format!(" ({:.1} %)", 100.0 * precise(seen) / precise(runs).max(1.0))
}

/// Counts of seeds fit a float well enough.
fn precise(count: u64) -> f64 {
    let high = u32::try_from(count >> 32).map_or(f64::from(u32::MAX), f64::from);
    let low = u32::try_from(count & u64::from(u32::MAX)).map_or(0.0, f64::from);
    high * 4_294_967_296.0 + low
}

pub(super) fn as_json(plan: &Plan, tally: &Tally) -> serde_json::Value {
    let failures = tally.failures.iter().map(|(failure, met)| {
        json!({
            "checker": failure.checker,
            "anomaly": failure.anomaly,
            "roles": failure.roles,
            "what": met.text,
            "times": met.times,
            "smallest_seed": met.smallest_seed,
            "again": again(plan, met.smallest_seed),
        })
    });
    let random = tally.random.iter().map(|(kind, faults)| {
        let counts = json!({ "injected": faults.injected, "effective": faults.effective });
        (kind.clone(), counts)
    });
    json!({
        "scenario": plan.path,
        "variant": plan.variant,
        "runs": tally.runs,
        "as_expected": tally.as_expected,
        "unknown": tally.unknown,
        "failed": tally.failed,
        "seen": tally.seen,
        "failures": failures.collect::<Vec<_>>(),
        "random_faults": random.collect::<serde_json::Map<_, _>>(),
        "acknowledged": tally.acknowledged,
        "effective_faults": tally.effective_faults,
        "simulated_seconds": tally.simulated,
        "core_seconds": tally.busy,
        "seconds": tally.elapsed,
    })
}
