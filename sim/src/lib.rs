//! The world: one seed, all faults, drives the cores; madsim is its host.

pub mod scenario;
