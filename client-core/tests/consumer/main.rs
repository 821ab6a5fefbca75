//! The consumer against a scripted cluster: groups, positions, commits and what comes out of `poll`.

#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    unreachable_pub,
    reason = "a test panics on what it does not expect"
)]

#[path = "../bench/mod.rs"]
mod bench;
mod commits;
mod fetching;
mod membership;
mod positions;
mod script;
