//! One file a command.

pub(crate) mod check;
pub(crate) mod describe;
pub(crate) mod list;
pub(crate) mod run;
pub(crate) mod schema;
pub(crate) mod sweep;
pub(crate) mod yardstick;

use crate::exit::Exit;
use history::judge::Outcome;
use protocol::behaviour::{Era, Fix};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// How many threads a command uses: as many as were asked for, or all cores.
fn jobs(wanted: Option<usize>) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    wanted.unwrap_or(cores).max(1)
}

/// Does the work numbered 0, 1, 2 and so on, each once, on so many threads, until a piece of it says that it was the last.
/// What others have begun by then is finished.
fn on_threads(jobs: usize, work: impl Fn(u64) -> ControlFlow<()> + Sync) {
    let (next, over) = (AtomicU64::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    if work(next.fetch_add(1, Ordering::Relaxed)).is_break() {
                        over.store(true, Ordering::Relaxed);
                    }
                }
            });
        }
    });
}

/// A run wants a thread that did nothing before, and takes it with it.
fn on_fresh_thread<T: Send>(body: impl FnOnce() -> T + Send) -> T {
    let ended = std::thread::scope(|scope| scope.spawn(body).join());
    ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// The exit of a judged run.
fn exit_of(outcome: &Outcome) -> Exit {
    match outcome {
        Outcome::AsExpected => Exit::AsExpected,
        Outcome::NotAsExpected(reasons) if reasons.iter().any(|reason| reason.code == "PANIC") => {
            Exit::Bug
        }
        Outcome::NotAsExpected(_) => Exit::NotAsExpected,
        Outcome::Unknown(_) => Exit::Unknown,
    }
}

/// In which eras a fix is on when nobody switches it.
fn on_from(fix: Fix) -> String {
    if !fix.is_on_in(Era::Sound) {
        return "on in no era".to_owned();
    }
    match fix.since() {
        Era::V0_8 => "on in every era".to_owned(),
        Era::Sound => "on in era sound alone".to_owned(),
        era @ (Era::V0_9 | Era::V1_0 | Era::V2_8) => format!("on from era {era}"),
    }
}

/// Prints a line, plain where colour would not be seen. A closed pipe (`| head`) is no error.
fn say(text: &str) {
    use std::io::Write;
    let _ = writeln!(anstream::stdout(), "{text}");
}
