//! A fix's own failures, loosened: the small worlds in which its bug can live, and faults at random moments.
//!
//! Such a world is no swarm that was swept a thousand times with everything on, and a random history may break something in
//! it without the bug. So a code convicts only when the side with the fix breaks it in none of many more seeds than it took.

use super::{Conviction, Row, Sides, broken};
use crate::commands::say;
use crate::commands::sweep::run_and_judge;
use crate::load;
use protocol::behaviour::Fix;
use sim::scenario::format::ScenarioFile;
use sim::scenario::loosen::{OFF, ON, loosened};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;

/// With the fix on, at least so many seeds have to hold.
pub(super) const AT_LEAST: u64 = 64;
/// And so many times the seeds that it took to convict: the chance that both sides break a code alike often, and the one
/// with the fix on is so much later by luck, is one in five.
pub(super) const TIMES: u64 = 4;

/// What a loosened failure breaks with the fix on.
pub(super) struct Noise {
    scenario: String,
    /// Of how many seeds.
    seeds: u64,
    /// By code: in how many of them.
    codes: BTreeMap<String, u64>,
}

/// Tries the fix's own failures, when nothing else has caught it.
pub(super) fn try_on(row: &mut Row, failures: &[(String, ScenarioFile)], seeds: u64) {
    for sides in sides(failures, row.fix) {
        if row.conviction.is_some() {
            return;
        }
        row.left_out = false;
        let mut on = WithFix {
            sides: &sides,
            seeds: 0,
            codes: BTreeMap::new(),
        };
        row.conviction = convicted(&sides, &mut on, seeds);
        if !on.codes.is_empty() {
            row.noise.push(Noise {
                scenario: sides.scenario.clone(),
                seeds: on.seeds,
                codes: on.codes,
            });
        }
    }
}

fn convicted(sides: &Sides, on: &mut WithFix<'_>, seeds: u64) -> Option<Conviction> {
    for seed in 1..=seeds {
        let mut codes = broken(&run_and_judge(&sides.off, seed)).unwrap_or_default();
        codes.retain(|code| !on.codes.contains_key(code));
        if codes.is_empty() {
            continue;
        }
        on.run_to(
            seed.saturating_mul(TIMES)
                .max(AT_LEAST)
                .min(seeds.max(AT_LEAST)),
        );
        codes.retain(|code| !on.codes.contains_key(code));
        if !codes.is_empty() {
            let scenario = sides.scenario.clone();
            return Some(Conviction {
                scenario,
                seed,
                codes,
            });
        }
    }
    None
}

/// The side with the fix on, as far as it was run.
struct WithFix<'a> {
    sides: &'a Sides,
    seeds: u64,
    codes: BTreeMap<String, u64>,
}

impl WithFix<'_> {
    fn run_to(&mut self, last: u64) {
        while self.seeds < last {
            self.seeds += 1;
            let found = broken(&run_and_judge(&self.sides.on, self.seeds));
            for code in found.unwrap_or_default() {
                *self.codes.entry(code).or_default() += 1;
            }
        }
    }
}

/// Both sides of each failure of the fix.
fn sides(failures: &[(String, ScenarioFile)], fix: Fix) -> Vec<Sides> {
    let mut all = Vec::new();
    for (path, file) in failures {
        for loose in loosened(file, fix) {
            let plans = load::all_checked(&loose, path);
            let side = |name: &str| {
                let mut plans = plans.iter();
                plans.find(|plan| plan.variant.as_deref() == Some(name))
            };
            if let (Some(off), Some(on)) = (side(OFF), side(ON)) {
                all.push(Sides {
                    scenario: short(path),
                    off: Arc::clone(off),
                    on: Arc::clone(on),
                });
            }
        }
    }
    all
}

/// `R-01 loosened` for `scenarios/failures/R-01-truncation-to-high-watermark.toml`.
fn short(path: &str) -> String {
    let stem = Path::new(path).file_stem().unwrap_or_default();
    let stem = stem.to_string_lossy();
    let mut parts = stem.splitn(3, '-');
    let entry = [parts.next(), parts.next()].map(Option::unwrap_or_default);
    format!("{} loosened", entry.join("-"))
}

/// Prints what the yardstick makes of a fix's failures, each as a scenario.
pub(super) fn show(failures: &[(String, ScenarioFile)], fixes: &[Fix]) {
    for fix in fixes {
        for (path, file) in failures {
            for loose in loosened(file, *fix) {
                let text = loose.text();
                say(&format!("# {path}, loosened for {fix}.\n{text}"));
            }
        }
    }
}

/// What the small worlds break anyway convicts nobody.
pub(super) fn tell_noise(out: &mut String, rows: &[Row]) {
    let noise = rows.iter().flat_map(|row| {
        let of = row.noise.iter();
        of.map(|noise| (row.fix, noise))
    });
    let mut lines = noise
        .map(|(fix, noise)| {
            let codes = noise.codes.iter();
            let codes: Vec<String> = codes
                .map(|(code, count)| format!("{code} in {count}"))
                .collect();
            let (scenario, seeds) = (&noise.scenario, noise.seeds);
            format!(
                "- {scenario} for {fix}, of {seeds} seeds: {}",
                codes.join(", ")
            )
        })
        .peekable();
    if lines.peek().is_none() {
        return;
    }
    out.push_str("\n## What loosened failures break with the fix on\n\nThese codes convict nobody there.\n\n");
    for line in lines {
        let _ = writeln!(out, "{line}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loosened_failure_goes_by_its_entry_in_the_catalogue() {
        let path = "scenarios/failures/R-01-truncation-to-high-watermark.toml";
        assert_eq!(short(path), "R-01 loosened");
    }
}
