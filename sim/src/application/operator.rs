//! The operator: each command is a process of its own, as `kafka-topics.sh` and its kin are.
//!
//! A process that lives on knows only the brokers it heard of last, and when all of those are gone it never finds another
//! (KIP-899, since 3.8). Somebody at a shell has no such memory: the next command reads the bootstrap addresses again.
//! Commands that overlap share a process.

use crate::scenario::plan::OPERATOR;
use client_core::Admin;
use protocol::behaviour::Behaviour;
use protocol::config::AdminConfig;
use protocol::ids::{ClientId, Endpoint};
use protocol::machine::{Input, Io, Machine};
use protocol::time::Now;
use std::sync::Arc;

/// What the operator's tools are started with.
#[derive(Clone)]
pub struct Tools {
    /// Settings of every tool.
    pub config: Arc<AdminConfig>,
    /// `--bootstrap-server`.
    pub bootstrap: Vec<Endpoint>,
    /// Which Kafka they came with.
    pub behaviour: Behaviour,
    /// Where each one's draws come from.
    pub seed: u64,
}

/// An operator, and the tool that is running or ran last.
#[derive(Clone)]
pub struct OperatorApp {
    tools: Tools,
    process: Admin,
    started: u64,
}

impl Tools {
    fn start(&self, ordinal: u64) -> Admin {
        Admin::new(
            self.config.clone(),
            self.bootstrap.clone(),
            self.behaviour,
            ClientId::from(OPERATOR),
            self.seed.wrapping_add(ordinal),
        )
    }
}

impl OperatorApp {
    /// Nothing is asked for yet.
    pub fn new(tools: Tools) -> Self {
        Self {
            process: tools.start(0),
            tools,
            started: 0,
        }
    }
}

impl Machine for OperatorApp {
    fn handle(&mut self, now: Now, input: Input, io: &mut Io<'_>) {
        if matches!(input, Input::Verb { .. }) && self.process.is_idle() {
            self.process.quit(io);
            self.started += 1;
            self.process = self.tools.start(self.started);
        }
        self.process.handle(now, input, io);
    }
}
