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
    if row.conviction.is_some() {
        return;
    }
    let mut worlds: Vec<World> = sides(failures, row.fix).map(World::of).collect();
    row.left_out &= worlds.is_empty();
    row.conviction = (1..=seeds).find_map(|seed| {
        let mut worlds = worlds.iter_mut();
        worlds.find_map(|world| world.convicted(seed))
    });
    let noisy = worlds
        .into_iter()
        .filter(|world| !world.codes_of_on.is_empty());
    row.noise.extend(noisy.map(|world| Noise {
        scenario: world.sides.scenario,
        seeds: world.seeds_of_on,
        codes: world.codes_of_on,
    }));
}

/// A loosened failure, and what is known of its side with the fix on.
struct World {
    sides: Sides,
    /// So many seeds of it were run.
    seeds_of_on: u64,
    /// What they broke, and in how many of them.
    codes_of_on: BTreeMap<String, u64>,
}

impl World {
    fn of(sides: Sides) -> Self {
        Self {
            sides,
            seeds_of_on: 0,
            codes_of_on: BTreeMap::new(),
        }
    }

    fn convicted(&mut self, seed: u64) -> Option<Conviction> {
        let mut codes = broken(&run_and_judge(&self.sides.off, seed))?;
        codes.retain(|code| !self.codes_of_on.contains_key(code));
        if codes.is_empty() {
            return None;
        }
        self.run_on(seed.saturating_mul(TIMES).max(AT_LEAST));
        codes.retain(|code| !self.codes_of_on.contains_key(code));
        (!codes.is_empty()).then(|| Conviction {
            scenario: self.sides.scenario.clone(),
            seed,
            codes,
        })
    }

    /// Runs the side with the fix on as far as this seed.
    fn run_on(&mut self, last: u64) {
        while self.seeds_of_on < last {
            self.seeds_of_on += 1;
            let found = broken(&run_and_judge(&self.sides.on, self.seeds_of_on));
            for code in found.unwrap_or_default() {
                *self.codes_of_on.entry(code).or_default() += 1;
            }
        }
    }
}

/// Both sides of each failure of the fix.
fn sides(failures: &[(String, ScenarioFile)], fix: Fix) -> impl Iterator<Item = Sides> {
    failures.iter().flat_map(move |(path, file)| {
        let loose = loosened(file, fix).into_iter();
        loose.filter_map(move |loose| {
            let plans = load::all_checked(&loose.file, path);
            let side = |name: &str| {
                let mut plans = plans.iter();
                plans.find(|plan| plan.variant.as_deref() == Some(name))
            };
            Some(Sides {
                scenario: short(path, loose.goes_on),
                off: Arc::clone(side(OFF)?),
                on: Arc::clone(side(ON)?),
            })
        })
    })
}

/// `R-01 loosened` for `scenarios/failures/R-01-truncation-to-high-watermark.toml`.
fn short(path: &str, goes_on: bool) -> String {
    let stem = Path::new(path).file_stem().unwrap_or_default();
    let stem = stem.to_string_lossy();
    let mut parts = stem.splitn(3, '-');
    let entry = [parts.next(), parts.next()].map(Option::unwrap_or_default);
    let longer = if goes_on { ", going on" } else { "" };
    format!("{} loosened{longer}", entry.join("-"))
}

/// Prints what the yardstick makes of a fix's failures, each as a scenario.
pub(super) fn show(failures: &[(String, ScenarioFile)], fixes: &[Fix]) {
    for fix in fixes {
        for (path, file) in failures {
            for loose in loosened(file, *fix) {
                let (text, name) = (loose.file.text(), short(path, loose.goes_on));
                say(&format!("# {path}, loosened for {fix} ({name}).\n{text}"));
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
        assert_eq!(short(path, false), "R-01 loosened");
        assert_eq!(short(path, true), "R-01 loosened, going on");
    }
}
