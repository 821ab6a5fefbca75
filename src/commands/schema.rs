//! `ktrial schema`: the JSON Schema of scenario files, for editors.

use super::say;
use crate::exit::Exit;

/// Prints it.
pub(crate) fn schema() -> Exit {
    say(sim::scenario::SCHEMA.trim_end());
    Exit::AsExpected
}
