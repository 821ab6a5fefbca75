//! What happened, as data, and the checkers that judge it.
//!
//! A [`History`] is a manifest and a list of events in the order of the world. It is written and read as JSON lines
//! ([`jsonl`]), and everything that judges or draws works from it alone, so a history recorded from a real cluster can be
//! judged too.

pub mod checker;
pub mod event;
pub mod expectation;
pub mod invariant;
pub mod jepsen;
pub mod jsonl;
pub mod judge;
pub mod ledger;
pub mod manifest;
pub mod operation;
pub mod record;
pub mod verdict;

use event::Event;
use manifest::Manifest;

/// A recorded run.
#[derive(Clone, Debug, PartialEq)]
pub struct History {
    /// What was run.
    pub manifest: Manifest,
    /// What happened, in the order of the world.
    pub events: Vec<Event>,
    /// The world's rolling hash at the end; empty for a history from elsewhere.
    pub hash: String,
}
