//! `ktrial run`: scenarios become histories, histories become verdicts.

use super::{exit_of, say};
use crate::args::Run;
use crate::exit::Exit;
use crate::load;
use crate::page::{
    self,
    junit::{self, Case},
    table::{self, Row},
};
use history::History;
use history::judge::{Judgement, Outcome, judge};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use sim::effective;
use sim::scenario::plan::Plan;
use std::fmt::Write as _;
use std::io::Write as _;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// Runs and judges; the worst outcome decides the exit.
pub(crate) fn run(args: &Run) -> Exit {
    match run_all(args) {
        Ok(exit) | Err(exit) => exit,
    }
}

/// What is kept of a run; the history itself is not.
struct Done {
    exit: Exit,
    row: Row,
    /// Its page, when it is to be printed.
    page: Option<String>,
    json: Option<serde_json::Value>,
    case: Case,
}

fn run_all(args: &Run) -> Result<Exit, Exit> {
    let files = load::files(&args.files)?;
    // Everything is read before anything runs, so that a mistake in the last file costs nothing.
    let mut plans = Vec::new();
    for file in &files {
        plans.extend(load::only(load::plans(file)?, args.variant.as_deref())?);
    }
    if args.effective {
        return print_effective(&plans, args.seed);
    }
    let shows = Shows {
        every_page: files.len() == 1 || args.pages,
        several: plans.len() > 1,
    };
    let done = run_plans(args, &plans, shows)?;
    if args.json {
        let runs: Vec<_> = done.iter().filter_map(|done| done.json.as_ref()).collect();
        say(&json!({ "runs": runs }).to_string());
    } else {
        for page in done.iter().filter_map(|done| done.page.as_ref()) {
            say(page);
        }
    }
    if let Some(path) = &args.junit {
        write_junit(path, done.iter().map(|done| &done.case))?;
    }
    let worst = done
        .iter()
        .fold(Exit::AsExpected, |worst, done| worst.worse(done.exit));
    if !args.json && shows.several {
        let rows: Vec<Row> = done.into_iter().map(|done| done.row).collect();
        say(table::table(&rows).trim_end());
    }
    Ok(worst)
}

/// What of the runs is shown.
#[derive(Clone, Copy)]
struct Shows {
    every_page: bool,
    several: bool,
}

/// All runs, on as many threads as there are cores; the results are in the order of the plans.
fn run_plans(args: &Run, plans: &[Arc<Plan>], shows: Shows) -> Result<Vec<Done>, Exit> {
    let jobs = super::jobs(args.jobs).min(plans.len());
    let results = Mutex::new(Vec::new());
    let bar = progress_bar(plans.len());
    super::on_threads(jobs, |nth| {
        let Some(plan) = usize::try_from(nth).ok().and_then(|nth| plans.get(nth)) else {
            return ControlFlow::Break(());
        };
        let done = run_one(args, plan, shows);
        bar.inc(1);
        let mut results = results.lock().unwrap_or_else(PoisonError::into_inner);
        results.push((nth, done));
        ControlFlow::Continue(())
    });
    bar.finish_and_clear();
    let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    results.sort_by_key(|(nth, _)| *nth);
    results.into_iter().map(|(_, done)| done).collect()
}

/// Only long work has one.
fn progress_bar(runs: usize) -> ProgressBar {
    if runs < 4 {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(u64::try_from(runs).unwrap_or(u64::MAX));
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} runs, {eta} left") {
        bar.set_style(style);
    }
    bar
}

/// A panic in a core is a finding with a seed, never a silent death.
fn run_one(args: &Run, plan: &Arc<Plan>, shows: Shows) -> Result<Done, Exit> {
    let seed = args.seed.unwrap_or(plan.seed);
    let began = Instant::now();
    let ran = super::on_fresh_thread(|| {
        std::panic::catch_unwind(|| {
            let run = sim::run::run_hosted(plan, seed);
            let judgement = judge(&run.history);
            (run.history, judgement)
        })
    });
    let Ok((history, judgement)) = ran else {
        let side = plan.variant.as_deref().unwrap_or("");
        load::complain_plainly(&format!(
            "this is a bug in ktrial; again: {}",
            again(plan, seed)
        ));
        return Ok(Done {
            exit: Exit::Bug,
            row: Row::panicked(&plan.path, &plan.title, side),
            page: None,
            json: None,
            case: Case::panicked(plan, &again(plan, seed)),
        });
    };
    let took = began.elapsed();
    write_files(args, plan, shows.several, &history, &judgement)?;
    let wanted = shows.every_page || judgement.outcome != Outcome::AsExpected;
    let page = (wanted && !args.json).then(|| {
        let events = if args.trace {
            trace(&history)
        } else {
            String::new()
        };
        format!("{events}{}", page::page(&history, &judgement))
    });
    Ok(Done {
        exit: exit_of(&judgement.outcome),
        row: Row::judged(&history.manifest, &judgement),
        page,
        json: args.json.then(|| as_json(&history, &judgement)),
        case: Case::judged(&history, &judgement, took),
    })
}

/// Prints one plan without its chance; a page of several would be no file.
fn print_effective(plans: &[Arc<Plan>], seed: Option<u64>) -> Result<Exit, Exit> {
    let [plan] = plans else {
        load::complain_plainly(&format!(
            "`--effective` prints one scenario, and these are {}: name one file and one `--variant`",
            plans.len()
        ));
        return Err(Exit::Usage);
    };
    let seed = seed.unwrap_or(plan.seed);
    let written = effective::effective(plan, seed, effective::SEARCH);
    say(&written.text(plan, seed));
    Ok(exit_of(&written.judgement.outcome))
}

/// The command that repeats a run, from its plan.
pub(crate) fn again(plan: &Plan, seed: u64) -> String {
    let variant = page::variant_option(plan.variant.as_deref());
    format!("ktrial run {} --seed {seed}{variant}", plan.path)
}

fn write_junit<'a>(path: &Path, cases: impl Iterator<Item = &'a Case>) -> Result<(), Exit> {
    let cases: Vec<Case> = cases.cloned().collect();
    let written = junit::file(&cases).and_then(|text| std::fs::write(path, text));
    written.map_err(|error| {
        load::complain_plainly(&format!("cannot write {}: {error}", path.display()));
        Exit::Usage
    })
}

/// What `--json` prints of one run; the keys are stable.
pub(crate) fn as_json(history: &History, judgement: &Judgement) -> serde_json::Value {
    let manifest = &history.manifest;
    json!({
        "scenario": manifest.path,
        "variant": manifest.variant,
        "seed": manifest.seed,
        "hash": history.hash,
        "judgement": judgement,
        "again": page::repeat_command(manifest),
    })
}

fn write_files(
    args: &Run,
    plan: &Plan,
    several: bool,
    history: &History,
    judgement: &Judgement,
) -> Result<(), Exit> {
    if let Some(path) = &args.history {
        let path = if several {
            with_stem(path, &stem(plan))
        } else {
            path.clone()
        };
        write_history(&path, history).map_err(|error| {
            load::complain_plainly(&format!(
                "cannot write the history to {}: {error}",
                path.display()
            ));
            Exit::Usage
        })?;
    }
    if let Some(folder) = &args.report {
        let paths =
            page::report::write(history, judgement, folder, &stem(plan)).map_err(|error| {
                load::complain_plainly(&format!(
                    "cannot write the report to {}: {error}",
                    folder.display()
                ));
                Exit::Usage
            })?;
        for path in paths {
            anstream::eprintln!("wrote {}", path.display());
        }
    }
    Ok(())
}

/// Written to a file beside it first, so that nothing is ever half-written.
fn write_history(path: &Path, history: &History) -> std::io::Result<()> {
    let draft = path.with_extension("partial");
    let mut out = std::io::BufWriter::new(std::fs::File::create(&draft)?);
    history::jsonl::write(history, &mut out)?;
    out.flush()?;
    std::fs::rename(draft, path)
}

fn stem(plan: &Plan) -> String {
    let variant = plan
        .variant
        .as_ref()
        .map_or_else(String::new, |name| format!("-{name}"));
    let text = format!("{}{variant}", plan.name);
    text.chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || c == '-' || c == '.' {
                c
            } else {
                '-'
            }
        })
        .collect()
}

fn with_stem(path: &Path, stem: &str) -> PathBuf {
    let name = path
        .file_stem()
        .map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let extension = path.extension().map_or_else(
        || "jsonl".to_owned(),
        |extension| extension.to_string_lossy().into_owned(),
    );
    path.with_file_name(format!("{name}-{stem}.{extension}"))
}

/// Every event, one line each, in fixed columns: time, step, node, what.
fn trace(history: &History) -> String {
    let mut out = String::new();
    for event in &history.events {
        let node = event
            .node
            .map_or("-", |node| history.manifest.node_name(node));
        let what = serde_json::to_string(&event.what).unwrap_or_default();
        let _ = writeln!(
            out,
            "{:>12} {:>8} {node:<8} {what}",
            page::seconds(event.at),
            event.step,
        );
    }
    out
}
