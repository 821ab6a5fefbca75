//! `ktrial run`: scenarios become histories, histories become verdicts.

use super::{exit_of, say};
use crate::args::Run;
use crate::exit::Exit;
use crate::load;
use crate::page;
use history::History;
use history::judge::{Judgement, judge};
use serde_json::json;
use sim::scenario::plan::Plan;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Runs and judges; the worst outcome decides the exit.
pub(crate) fn run(args: &Run) -> Exit {
    match run_all(args) {
        Ok(exit) | Err(exit) => exit,
    }
}

fn run_all(args: &Run) -> Result<Exit, Exit> {
    let files = load::files(&args.files)?;
    // Everything is read before anything runs, so that a mistake in the last file costs nothing.
    let mut plans = Vec::new();
    for file in &files {
        plans.extend(load::only(load::plans(file)?, args.variant.as_deref())?);
    }
    let mut worst = Exit::AsExpected;
    let mut summary = Vec::new();
    let mut judged = Vec::new();
    for plan in &plans {
        let Some((history, judgement)) = run_one(plan, args.seed.unwrap_or(plan.seed)) else {
            worst = worst.worse(Exit::Bug);
            continue;
        };
        worst = worst.worse(exit_of(&judgement.outcome));
        write_files(args, plan, plans.len() > 1, &history, &judgement)?;
        if args.json {
            judged.push(as_json(&history, &judgement));
        } else {
            if args.trace {
                trace(&history);
            }
            say(&page::page(&history, &judgement));
            summary.push(page::summary_line(&history.manifest, &judgement));
        }
    }
    if args.json {
        say(&json!({ "runs": judged }).to_string());
    } else if summary.len() > 1 {
        say(&summary.join("\n"));
    }
    Ok(worst)
}

/// A panic in a core is a finding with a seed, never a silent death.
fn run_one(plan: &Arc<Plan>, seed: u64) -> Option<(History, Judgement)> {
    let ran = std::panic::catch_unwind(|| {
        let run = sim::run::run(plan, seed);
        let judgement = judge(&run.history);
        (run.history, judgement)
    });
    if ran.is_err() {
        let variant = plan
            .variant
            .as_ref()
            .map_or_else(String::new, |name| format!(" --variant '{name}'"));
        load::complain_plainly(&format!(
            "this is a bug in ktrial; again: ktrial run {} --seed {seed}{variant}",
            plan.path
        ));
    }
    ran.ok()
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
fn trace(history: &History) {
    for event in &history.events {
        let node = event
            .node
            .map_or("-", |node| history.manifest.node_name(node));
        let what = serde_json::to_string(&event.what).unwrap_or_default();
        say(&format!(
            "{:>12} {:>8} {:<8} {what}",
            page::seconds(event.at),
            event.step,
            node
        ));
    }
}
