//! Scenario files: who is there, what they send, what breaks and when, and what must hold.
//!
//! [`format`](mod@format) is the file as TOML tables, field for field; [`parse`](fn@parse::parse) reads one with every error placed; [`plan`]
//! is what a run needs, checked against the cluster it names, one plan per variant.

pub mod catalogue;
pub mod check;
pub mod client;
pub mod condition;
mod condition_words;
pub mod diagnostic;
pub mod fault_kind;
pub mod format;
pub mod loosen;
pub mod message;
pub mod nemesis;
pub mod parse;
pub mod plan;
pub mod settings;
pub mod side;
pub mod target;
pub mod text;

/// The JSON Schema of scenario files.
pub const SCHEMA: &str = include_str!("schema.json");

#[cfg(test)]
mod schema_test;
