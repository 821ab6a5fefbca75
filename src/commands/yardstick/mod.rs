//! `ktrial yardstick`: how many seeds of random faults it takes to find each historic bug.
//!
//! A simulator that finds nothing may be looking at a system without bugs, or it may not be looking. So each fix that can be
//! switched is switched off, in the era in which its bug is judged and without what hides it, and random faults strike until
//! a promise breaks. A seed convicts only where the other side of it, with the fix on, holds. What the swarms do not catch is
//! tried in the scenarios that show it, with their schedules taken away. Why a fix is not caught is said in a file that is
//! kept by hand.

mod own;

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
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Both sides of a fix in one scenario.
struct Sides {
    scenario: String,
    off: Arc<Plan>,
    on: Arc<Plan>,
}

/// The first seed that breaks something with a fix off and nothing with it on.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Conviction {
    scenario: String,
    seed: u64,
    /// The codes of what is broken, in the order of the checkers.
    codes: Vec<String>,
}

/// One fix, measured.
struct Row {
    fix: Fix,
    /// No scenario runs in its era.
    left_out: bool,
    conviction: Option<Conviction>,
    /// What its loosened failures break with the fix on as well.
    noise: Vec<own::Noise>,
}

/// What seeds of the side with a fix on find; many fixes are judged beside the same one.
#[derive(Default)]
struct Sound(Mutex<Judgements>);

/// By scenario with its behaviour, and seed: the codes of what is broken.
type Judgements = BTreeMap<(String, u64), Option<Vec<String>>>;

impl Sound {
    fn broken(&self, sides: &Sides, seed: u64) -> Option<Vec<String>> {
        let (behaviour, brokers) = (&sides.on.behaviour, &sides.on.brokers);
        let key = (
            format!("{} {behaviour:?} {brokers:?}", sides.scenario),
            seed,
        );
        let known = self.lock().get(&key).cloned();
        known.unwrap_or_else(|| {
            let found = broken(&run_and_judge(&sides.on, seed));
            self.lock().insert(key, found.clone());
            found
        })
    }

    fn lock(&self) -> MutexGuard<'_, Judgements> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What was found with all fixes on: scenario, seed, and what is broken.
type Accusations = BTreeMap<(String, u64), String>;

/// Prints the table.
pub(crate) fn yardstick(args: &Yardstick) -> Exit {
    match measure(args) {
        Ok(exit) | Err(exit) => exit,
    }
}

fn measure(args: &Yardstick) -> Result<Exit, Exit> {
    let fixes = chosen(&args.fixes)?;
    let failures = read(&args.failures)?;
    if args.show {
        own::show(&failures, &fixes);
        return Ok(Exit::AsExpected);
    }
    let scenarios = read(&args.scenarios)?;
    let reasons = reasons(&args.reasons)?;
    let bar = ProgressBar::new(u64::try_from(fixes.len()).unwrap_or(0));
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} fixes, {eta} left, {msg}")
    {
        bar.set_style(style);
    }
    let (sound, next) = (Sound::default(), AtomicUsize::new(0));
    let rows = Mutex::new(Vec::new());
    let accusations = Mutex::new(Accusations::new());
    let seeds = args.loosened.unwrap_or(args.seeds);
    std::thread::scope(|scope| {
        for _ in 0..super::jobs(args.jobs) {
            scope.spawn(|| {
                while let Some(fix) = fixes.get(next.fetch_add(1, Ordering::Relaxed)) {
                    bar.set_message(fix.name());
                    let mut row = measured(&scenarios, *fix, args.seeds, (&sound, &accusations));
                    own::try_on(&mut row, &failures, seeds);
                    rows.lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .push(row);
                    bar.inc(1);
                }
            });
        }
    });
    bar.finish_and_clear();
    let rows = rows.into_inner().unwrap_or_else(PoisonError::into_inner);
    let accusations = accusations
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner);
    say(table(args, rows, &reasons, &accusations).trim_end());
    Ok(if accusations.is_empty() {
        Exit::AsExpected
    } else {
        Exit::NotAsExpected
    })
}

fn read(folder: &Path) -> Result<Vec<(String, ScenarioFile)>, Exit> {
    let files = load::files(&[folder.to_owned()])?;
    let read = |path: &PathBuf| Ok((path.display().to_string(), load::file(path)?));
    files.iter().map(read).collect()
}

fn measured(
    scenarios: &[(String, ScenarioFile)],
    fix: Fix,
    seeds: u64,
    (sound, accusations): (&Sound, &Mutex<Accusations>),
) -> Row {
    let sides = sides(scenarios, fix);
    let mut row = Row {
        fix,
        left_out: sides.is_empty(),
        conviction: None,
        noise: Vec::new(),
    };
    for seed in 1..=seeds {
        for sides in &sides {
            let Some(codes) = broken(&run_and_judge(&sides.off, seed)) else {
                continue;
            };
            let scenario = sides.scenario.clone();
            if let Some(false_codes) = sound.broken(sides, seed) {
                let mut all = accusations.lock().unwrap_or_else(PoisonError::into_inner);
                let era = format!("{scenario} in era {}", fix.base());
                all.insert((era, seed), false_codes.join(", "));
                continue;
            }
            row.conviction = Some(Conviction {
                scenario,
                seed,
                codes,
            });
            return row;
        }
    }
    row
}

/// Why fixes are not caught: the rows of a table that is kept by hand.
fn reasons(path: &Path) -> Result<BTreeMap<String, String>, Exit> {
    let complain = |error: String| {
        load::complain_plainly(&format!("{}: {error}", path.display()));
        Exit::Usage
    };
    let text = std::fs::read_to_string(path).map_err(|error| complain(error.to_string()))?;
    let rows = text.lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| ")?.trim_end_matches('|').split('|');
        let (name, why) = (cells.next()?.trim(), cells.next()?.trim());
        (name != "Fix").then(|| (name.to_owned(), why.to_owned()))
    });
    let reasons: BTreeMap<String, String> = rows.collect();
    match reasons.keys().find(|name| name.parse::<Fix>().is_err()) {
        Some(unknown) => Err(complain(format!("there is no fix `{unknown}`"))),
        None => Ok(reasons),
    }
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

/// Every scenario that the fix's era can run, with the fix off and on.
fn sides(scenarios: &[(String, ScenarioFile)], fix: Fix) -> Vec<Sides> {
    let both = scenarios.iter().filter_map(|(path, file)| {
        Some(Sides {
            scenario: path.clone(),
            off: load::checked(&side(file, fix, false), path)?,
            on: load::checked(&side(file, fix, true), path)?,
        })
    });
    both.collect()
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

/// The codes of the guarantees that a run breaks.
fn broken(run: &Result<Judged, String>) -> Option<Vec<String>> {
    let Ok(run) = run else {
        return Some(vec!["PANIC".to_owned()]);
    };
    match &run.judgement.outcome {
        Outcome::AsExpected | Outcome::Unknown(_) => None,
        Outcome::NotAsExpected(reasons) => {
            Some(reasons.iter().map(|reason| reason.code.clone()).collect())
        }
    }
}

fn table(
    args: &Yardstick,
    mut rows: Vec<Row>,
    reasons: &BTreeMap<String, String>,
    accusations: &Accusations,
) -> String {
    let seed = |row: &Row| row.conviction.as_ref().map_or(u64::MAX, |found| found.seed);
    rows.sort_by_key(|row| (seed(row), row.fix.name()));
    let caught = rows.iter().filter(|row| row.conviction.is_some()).count();
    let mut out = format!(
        "# Yardstick\n\n\
         How soon random faults find each historic bug: `ktrial yardstick {} --seeds {} --loosened {}` writes this page.\n\n\
         Each fix is switched off in the era in which its bug is judged, without what hides it, and the same seeds run with it on.\n\
         A seed convicts when something breaks with the fix off and nothing with it on.\n\
         What no swarm catches is tried in the failures that show it, *loosened*: the same small cluster, clients and faults, \
         and chance instead of the schedule (`ktrial yardstick --show --fix NAME` prints them).\n\
         There a code convicts that the side with the fix on breaks in none of {} seeds, nor of {} times as many as it took.\n\n\
         {caught} of {} fixes are caught.\n\n\
         | Fix | Era | Scenario | Smallest seed | First checker | What else breaks there |\n|---|---|---|--:|---|---|\n",
        args.scenarios.display(),
        args.seeds,
        args.loosened.unwrap_or(args.seeds),
        own::AT_LEAST,
        own::TIMES,
        rows.len(),
    );
    for row in &rows {
        if let Some(found) = &row.conviction {
            line(&mut out, row.fix, found);
        }
    }
    let _ = write!(
        out,
        "\n## Not caught\n\nWhy is kept by hand in `{}`.\n\n| Fix | Era | Why |\n|---|---|---|\n",
        args.reasons.display()
    );
    for row in rows.iter().filter(|row| row.conviction.is_none()) {
        let why = match reasons.get(row.fix.name()) {
            Some(why) => why.as_str(),
            None if row.left_out => "No scenario runs in its era.",
            None => "Not known.",
        };
        let _ = writeln!(out, "| {} | {} | {why} |", row.fix, row.fix.base());
    }
    falsely_accused(&mut out, accusations);
    own::tell_noise(&mut out, &rows);
    out
}

fn line(out: &mut String, fix: Fix, found: &Conviction) {
    let scenario = Path::new(&found.scenario).file_stem().unwrap_or_default();
    let (first, others) = found
        .codes
        .split_first()
        .map_or(("", &[][..]), |(first, others)| (first.as_str(), others));
    let _ = writeln!(
        out,
        "| {fix} | {} | {} | {} | {first} | {} |",
        fix.base(),
        scenario.display(),
        found.seed,
        others.join(", ")
    );
}

/// What breaks with a fix on is no bug of Kafka's that is known: it is one of ours, or a new one.
fn falsely_accused(out: &mut String, accusations: &Accusations) {
    if accusations.is_empty() {
        out.push_str("\nNo seed that convicts finds anything with the fix on.\n");
        return;
    }
    out.push_str("\n## With the fix on as well\n\nThese seeds convict nobody: they find something with the fix on, too.\n\n");
    for ((scenario, seed), codes) in accusations {
        let _ = writeln!(out, "- {scenario}, seed {seed}: {codes}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(fix: Fix, seed: Option<u64>) -> Row {
        let conviction = seed.map(|seed| Conviction {
            scenario: "scenarios/swarm/standard.toml".to_owned(),
            seed,
            codes: vec!["PA".to_owned(), "AGREE".to_owned()],
        });
        Row {
            fix,
            left_out: false,
            conviction,
            noise: Vec::new(),
        }
    }

    #[test]
    fn who_is_caught_first_comes_first_and_who_is_not_has_a_reason() {
        let args = Yardstick {
            scenarios: "scenarios/swarm".into(),
            seeds: 20,
            fixes: Vec::new(),
            reasons: "reasons.md".into(),
            failures: "scenarios/failures".into(),
            loosened: None,
            show: false,
            jobs: None,
        };
        let rows = vec![
            row(Fix::TruncateByLeaderEpoch, Some(9)),
            row(Fix::BrokerEpoch, None),
            row(Fix::DivergenceBeforeHighWatermark, Some(2)),
        ];
        let reasons = [(Fix::BrokerEpoch.name().to_owned(), "It is rare.".to_owned())];
        let page = table(&args, rows, &reasons.into(), &Accusations::new());
        let lines: Vec<&str> = page
            .lines()
            .filter(|line| line.starts_with("| K"))
            .collect();
        assert_eq!(lines.len(), 3, "{page}");
        assert!(lines[0].contains("| 2 | PA | AGREE |"), "{page}");
        assert!(lines[1].contains("| 9 |"), "{page}");
        assert!(lines[2].ends_with("| It is rare. |"), "{page}");
        assert!(page.contains("2 of 3 fixes are caught"), "{page}");
    }

    #[test]
    fn every_reason_is_about_a_fix() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/yardstick-reasons.md");
        let reasons = reasons(&path).unwrap();
        assert!(!reasons.is_empty() && reasons.values().all(|why| why.ends_with('.')));
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
