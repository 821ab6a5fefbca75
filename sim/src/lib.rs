//! The simulator: one seed, all faults, drives the cores.
//!
//! [`world`] is the world itself, a plain value without any runtime; [`random`] its keyed randomness; [`host`] runs it
//! inside a madsim runtime, where async code can share its clock. [`scenario`] is the language in which a run is described,
//! and [`run`](mod@run) puts brokers, keepers and [`application`]s into a world and a plan into effect. [`effective`] writes down
//! what a seed drew as a scenario without chance.

#[cfg(not(madsim))]
compile_error!(
    "ktrial needs `--cfg madsim`. It is set in .cargo/config.toml, which cargo reads from the working directory, and which \
     a RUSTFLAGS variable replaces: build from the repository's root, and add `--cfg madsim` to RUSTFLAGS if you set it"
);

pub mod application;
pub mod effective;
pub mod host;
pub mod random;
pub mod run;
pub mod scenario;
pub mod world;
