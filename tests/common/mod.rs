//! What the tests over scenario files share.

#![allow(dead_code, reason = "each test file uses its part")]
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use history::History;
use history::judge::{Outcome, judge};
use sim::scenario::check::{Vocabulary, check};
use sim::scenario::format::ScenarioFile;
use sim::scenario::parse;
use sim::scenario::plan::Plan;
use std::num::NonZero;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// A path from the repository's root.
pub(crate) fn path(relative: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(relative)
}

/// The scenario files of a folder, without those of folders in it.
pub(crate) fn scenarios_in(folder: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(path(folder)).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = paths
        .filter(|path| path.extension().is_some_and(|kind| kind == "toml"))
        .collect();
    files.sort();
    files
}

/// Every scenario file below `scenarios/`.
pub(crate) fn scenario_files() -> Vec<PathBuf> {
    let mut folders = vec![path("scenarios")];
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
pub(crate) fn for_every_plan(files: &[PathBuf], work: impl Fn(&Arc<Plan>) + Sync) {
    let all: Vec<Arc<Plan>> = files.iter().flat_map(|file| plans(file)).collect();
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

/// File and side.
pub(crate) fn name_of(plan: &Plan) -> String {
    match &plan.variant {
        Some(variant) => format!("{} [{variant}]", plan.path),
        None => plan.path.clone(),
    }
}

/// One plan for each side of a file, which must be without a mistake.
pub(crate) fn plans(path: &Path) -> Vec<Arc<Plan>> {
    let text = parse::text(std::fs::read(path).unwrap()).unwrap();
    let file =
        parse::parse(&text).unwrap_or_else(|complaint| panic!("{}: {complaint:?}", path.display()));
    let name = path.strip_prefix(env!("CARGO_MANIFEST_DIR")).unwrap();
    checked(&file, &name.to_string_lossy())
}

/// The plans of a file that was read.
pub(crate) fn checked(file: &ScenarioFile, name: &str) -> Vec<Arc<Plan>> {
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

/// A run as users get it: inside madsim, on a fresh thread.
pub(crate) fn hosted(plan: &Arc<Plan>, seed: u64) -> sim::run::Run {
    let plan = Arc::clone(plan);
    let thread = std::thread::spawn(move || sim::run::run_hosted(&plan, seed));
    match thread.join() {
        Ok(run) => run,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// Runs as the file promises; gives the history.
pub(crate) fn assert_as_expected(plan: &Arc<Plan>, seed: u64) -> History {
    let run = hosted(plan, seed);
    let judgement = judge(&run.history);
    assert_eq!(
        judgement.outcome,
        Outcome::AsExpected,
        "{} seed {seed}",
        name_of(plan)
    );
    run.history
}

/// The history as its file would be.
pub(crate) fn bytes(history: &History) -> Vec<u8> {
    let mut bytes = Vec::new();
    history::jsonl::write(history, &mut bytes).unwrap();
    bytes
}
