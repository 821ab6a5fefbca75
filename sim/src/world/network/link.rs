//! The link from one host to another: what faults make of it, and what it has carried.

use super::super::clock::At;
use super::super::command::FaultId;
use super::NetworkConfig;
use crate::random::Latency;
use protocol::time::Span;
use serde::{Deserialize, Serialize};

/// How a link differs from the configuration; what is absent stays.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct LinkChange {
    /// Another latency.
    pub latency: Option<Latency>,
    /// A delay added to every packet.
    pub delay: Option<Span>,
    /// Packets lost in a million.
    pub loss_per_million: Option<u32>,
    /// Bytes per second.
    pub bandwidth: Option<u64>,
}

/// One ordered pair of hosts.
#[derive(Clone, Debug, Default)]
pub(in crate::world) struct Link {
    /// The cuts in force.
    pub(in crate::world) cuts: Vec<FaultId>,
    /// The changes in force, the latest last.
    pub(in crate::world) changes: Vec<(FaultId, LinkChange)>,
    /// Until when it is busy putting bytes on the wire.
    pub(super) busy_until: At,
    /// How many messages of each kind it has carried.
    counts: Vec<u32>,
    /// How many connections have been dialled over it.
    dials: u32,
}

/// What a packet meets.
pub(super) struct Conditions<'a> {
    pub(super) latency: &'a Latency,
    pub(super) delay: Span,
    pub(super) loss_per_million: u32,
    pub(super) bandwidth: Option<u64>,
}

impl Link {
    pub(super) fn conditions<'a>(&'a self, config: &'a NetworkConfig) -> Conditions<'a> {
        let mut conditions = Conditions {
            latency: &config.latency,
            delay: Span::ZERO,
            loss_per_million: config.loss_per_million,
            bandwidth: config.bandwidth,
        };
        for (_, change) in &self.changes {
            if let Some(latency) = &change.latency {
                conditions.latency = latency;
            }
            if let Some(delay) = change.delay {
                conditions.delay += delay;
            }
            if let Some(loss) = change.loss_per_million {
                conditions.loss_per_million = loss;
            }
            if let Some(bandwidth) = change.bandwidth {
                conditions.bandwidth = Some(bandwidth);
            }
        }
        conditions
    }

    /// Counts a connection dialled over it; the how-manieth it is.
    pub(super) fn count_dial(&mut self) -> u32 {
        self.dials += 1;
        self.dials
    }

    /// Counts a message of this kind; the how-manieth it is.
    pub(super) fn count(&mut self, kind: u16) -> u32 {
        let index = usize::from(kind);
        if self.counts.len() <= index {
            self.counts.resize(index + 1, 0);
        }
        let nth = self.counts[index];
        self.counts[index] += 1;
        nth
    }
}
