//! One file a command.

pub(crate) mod check;
pub(crate) mod describe;
pub(crate) mod list;
pub(crate) mod run;
pub(crate) mod schema;
pub(crate) mod sweep;

use crate::exit::Exit;
use history::judge::Outcome;

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

/// Prints a line, plain where colour would not be seen. A closed pipe (`| head`) is no error.
fn say(text: &str) {
    use std::io::Write;
    let _ = writeln!(anstream::stdout(), "{text}");
}
