//! `ktrial yardstick`: how many seeds of random faults it takes to find each historic bug.
//!
//! A simulator that finds nothing may be looking at a system without bugs, or it may not be looking. So each fix that can be
//! switched is switched off, in the era in which its bug is judged and without what hides it, and the same random faults
//! strike both sides: with the fix off, where they should sooner or later break a promise, and with it on, where they must
//! not. A seed counts as a conviction only where the other side of it holds.

use super::say;
use super::sweep::{Judged, run_and_judge};
use crate::args::Yardstick;
use crate::exit::Exit;
use crate::load;
use history::judge::Outcome;
use indicatif::{ProgressBar, ProgressStyle};
use protocol::behaviour::{Fix, InterBrokerProtocol, Mask};
use sim::scenario::format::{ScenarioFile, Spanned};
use sim::scenario::plan::Plan;
use sim::scenario::text::SettingText;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// What a seed found, by seed: the codes of what is broken.
type Found = BTreeMap<u64, String>;

/// One fix, measured.
struct Row {
    fix: Fix,
    scenario: String,
    off: Found,
    on: Found,
}

impl Row {
    /// The seeds that convict: with the fix off and not with it on.
    fn convictions(&self) -> impl Iterator<Item = (&u64, &String)> {
        self.off
            .iter()
            .filter(|(seed, _)| !self.on.contains_key(*seed))
    }
}

/// Prints the table.
pub(crate) fn yardstick(args: &Yardstick) -> Exit {
    match measure(args) {
        Ok(exit) | Err(exit) => exit,
    }
}

fn measure(args: &Yardstick) -> Result<Exit, Exit> {
    let files = load::files(std::slice::from_ref(&args.scenarios))?;
    let mut scenarios = Vec::new();
    for path in &files {
        scenarios.push((path.display().to_string(), load::file(path)?));
    }
    let fixes = chosen(&args.fixes)?;
    let bar = ProgressBar::new(u64::try_from(fixes.len()).unwrap_or(0));
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} fixes, {eta} left, {msg}")
    {
        bar.set_style(style);
    }
    // Many fixes are judged beside the same sound side.
    let mut sound: BTreeMap<String, Found> = BTreeMap::new();
    let mut rows = Vec::new();
    let mut left_out = Vec::new();
    for fix in fixes {
        bar.set_message(fix.name());
        if let Some((scenario, off, on)) = sides(&scenarios, fix) {
            let key = format!("{:?} {:?}", on.behaviour, on.brokers);
            let on = sound.entry(key).or_insert_with(|| find(&on, args));
            let (on, off) = (on.clone(), find(&off, args));
            rows.push(Row {
                fix,
                scenario,
                off,
                on,
            });
        } else {
            left_out.push(fix);
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    say(table(args, &rows, &left_out).trim_end());
    let clean = rows.iter().all(|row| row.on.is_empty());
    Ok(if clean {
        Exit::AsExpected
    } else {
        Exit::NotAsExpected
    })
}

fn chosen(names: &[String]) -> Result<Vec<Fix>, Exit> {
    if names.is_empty() {
        return Ok(Fix::ALL.to_vec());
    }
    let fix = |name: &String| {
        name.parse().map_err(|()| {
            let known = Fix::ALL.iter().map(|fix| fix.name());
            let near = sim::scenario::diagnostic::suggestion(name, known);
            load::complain_plainly(&format!("there is no fix `{name}`: {near}"));
            Exit::Usage
        })
    };
    names.iter().map(fix).collect()
}

/// The first scenario that the fix's era can run, with the fix off and on.
fn sides(scenarios: &[(String, ScenarioFile)], fix: Fix) -> Option<(String, Arc<Plan>, Arc<Plan>)> {
    scenarios.iter().find_map(|(path, file)| {
        let off = load::checked(&side(file, fix, false), path)?;
        let on = load::checked(&side(file, fix, true), path)?;
        Some((path.clone(), off, on))
    })
}

/// The scenario in the fix's era, without what hides the bug, and with every other fix.
fn side(file: &ScenarioFile, fix: Fix, on: bool) -> ScenarioFile {
    let mut file = file.clone();
    let cluster = &mut file.cluster;
    cluster.era = Some(spanned(fix.base().name().to_owned()));
    let mut switch = |fix: Fix, on: bool| {
        cluster.fixes.insert(spanned(fix.name().to_owned()), on);
    };
    for other in Fix::ALL {
        switch(*other, true);
    }
    for mask in fix.superseded_by() {
        if let Mask::Fix(other) = mask {
            switch(*other, false);
        }
    }
    switch(fix, on);
    for mask in fix.superseded_by() {
        if let Mask::Protocol(version) = mask {
            let all = InterBrokerProtocol::ALL.iter().rev();
            let below = all.clone().find(|other| *other < version);
            let below = below.unwrap_or(version).name().to_owned();
            let key = spanned("inter.broker.protocol.version".to_owned());
            cluster.config.insert(key, spanned(SettingText(below)));
        }
    }
    file
}

fn spanned<T>(value: T) -> Spanned<T> {
    Spanned::new(0..0, value)
}

/// What the seeds of a plan find, on all cores.
fn find(plan: &Arc<Plan>, args: &Yardstick) -> Found {
    let found = Mutex::new(Found::new());
    super::on_threads(super::jobs(args.jobs), |nth| {
        let seed = nth + 1;
        if seed > args.seeds {
            return ControlFlow::Break(());
        }
        if let Some(codes) = broken(&run_and_judge(plan, seed)) {
            let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
            found.insert(seed, codes);
        }
        ControlFlow::Continue(())
    });
    found.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// The codes of the guarantees that a run breaks.
fn broken(run: &Result<Judged, String>) -> Option<String> {
    let Ok(run) = run else {
        return Some("PANIC".to_owned());
    };
    match &run.judgement.outcome {
        Outcome::AsExpected | Outcome::Unknown(_) => None,
        Outcome::NotAsExpected(reasons) => {
            let codes: Vec<&str> = reasons.iter().map(|reason| reason.code.as_str()).collect();
            Some(codes.join(", "))
        }
    }
}

fn table(args: &Yardstick, rows: &[Row], left_out: &[Fix]) -> String {
    let mut out = String::from("# Yardstick\n\n");
    let _ = writeln!(
        out,
        "How many seeds of random faults find each historic bug: `ktrial yardstick {} --seeds {}`.\n",
        args.scenarios.display(),
        args.seeds
    );
    out.push_str(
        "Each fix is switched off in the era in which its bug is judged, without what hides it, and the same seeds run with it on.\n\
         A seed convicts when something breaks with the fix off and nothing with it on.\n\n",
    );
    out.push_str("| Fix | Era | Scenario | First seed that convicts | Convicting seeds | What breaks there |\n|---|---|---|---|---|---|\n");
    let (mut caught, mut missed): (Vec<&Row>, Vec<&Row>) = rows
        .iter()
        .partition(|row| row.convictions().next().is_some());
    caught.sort_by_key(|row| row.convictions().next().map(|(seed, _)| *seed));
    missed.sort_by_key(|row| row.fix.name());
    for row in &caught {
        line(&mut out, row, args.seeds);
    }
    let missed = missed.iter().map(|row| row.fix);
    names(&mut out, "Found by no seed", missed);
    let left_out = left_out.iter().copied();
    names(
        &mut out,
        "Not run, because no scenario runs in its era",
        left_out,
    );
    falsely_accused(&mut out, rows);
    out
}

fn line(out: &mut String, row: &Row, seeds: u64) {
    if let Some((seed, codes)) = row.convictions().next() {
        let scenario = Path::new(&row.scenario).file_stem().unwrap_or_default();
        let count = row.convictions().count();
        let _ = writeln!(
            out,
            "| {} | {} | {} | {seed} | {count} of {seeds} | {codes} |",
            row.fix,
            row.fix.base(),
            scenario.display()
        );
    }
}

fn names(out: &mut String, what: &str, fixes: impl Iterator<Item = Fix>) {
    let names: Vec<&str> = fixes.map(Fix::name).collect();
    if !names.is_empty() {
        let _ = writeln!(out, "\n{what} ({}): {}.", names.len(), names.join(", "));
    }
}

/// What breaks with a fix on is no bug of Kafka's that is known: it is one of ours, or a new one.
fn falsely_accused(out: &mut String, rows: &[Row]) {
    let of_row = |row: &Row| {
        let on = row.on.iter();
        let seeds = on.map(|(seed, codes)| (*seed, row.scenario.clone(), codes.clone()));
        seeds.collect::<Vec<_>>()
    };
    let mut seeds: Vec<(u64, String, String)> = rows.iter().flat_map(of_row).collect();
    seeds.sort_unstable();
    seeds.dedup();
    if seeds.is_empty() {
        out.push_str("\nWith the fixes on, the same seeds find nothing.\n");
    } else {
        out.push_str("\nWith the fixes on, these seeds find something all the same:\n\n");
        for (seed, scenario, codes) in seeds {
            let _ = writeln!(out, "- {scenario}, seed {seed}: {codes}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(off: &[u64], on: &[u64]) -> Row {
        let found = |seeds: &[u64]| seeds.iter().map(|seed| (*seed, "PA".to_owned())).collect();
        Row {
            fix: Fix::TruncateByLeaderEpoch,
            scenario: "scenarios/swarm/standard.toml".to_owned(),
            off: found(off),
            on: found(on),
        }
    }

    #[test]
    fn a_seed_convicts_only_where_the_sound_side_holds() {
        let row = row(&[2, 5, 9], &[2]);
        let seeds: Vec<u64> = row.convictions().map(|(seed, _)| *seed).collect();
        assert_eq!(seeds, [5, 9]);
    }

    #[test]
    fn what_hides_a_bug_is_off_on_both_sides() {
        let text = "title = 't'\nquestion = 'q?'\nduration = '10s'\n";
        let file = sim::scenario::parse::parse(text).unwrap();
        let mut run = 0;
        for (fix, on) in Fix::ALL
            .iter()
            .flat_map(|fix| [(*fix, false), (*fix, true)])
        {
            let Some(plan) = load::checked(&side(&file, fix, on), "t.toml") else {
                continue;
            };
            run += 1;
            assert_eq!(plan.behaviour.has(fix), on, "{fix}");
            for mask in fix.superseded_by() {
                match mask {
                    Mask::Fix(other) => assert!(!plan.behaviour.has(*other), "{fix}"),
                    Mask::Protocol(version) => {
                        let speaks = plan.brokers[0].config.inter_broker_protocol_version;
                        assert!(speaks < *version, "{fix}");
                    }
                }
            }
        }
        assert!(run > 200, "{run}");
    }
}
