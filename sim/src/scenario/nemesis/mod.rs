//! The nemesis: faults that each seed draws for itself.
//!
//! A seed draws a subset of the kinds first (swarm testing, Groce et al. 2012: a run with few kinds of faults gets further
//! into what these can do than a run with all of them), then a rate for each kind, then each fault. Every kind has draws
//! of its own, so that a kind more or less in the file moves no other fault. What is drawn are faults as a file could name
//! them: faithful ones only, which end by themselves or at the healing.
//! Beside its kinds a nemesis may name single faults whose moments are drawn (`declared`).

mod cast;
mod declared;
#[cfg(test)]
mod tests;

pub(super) use declared::starts;

use super::format::{Fault, LaneName, ScenarioFile};
use super::target::Target;
use super::text::Time;
use crate::random::{Draws, Purpose};
use cast::Cast;
use protocol::time::Span;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use toml::Spanned;

/// Random faults, drawn by each seed.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Nemesis {
    /// Which kinds there are, and between which two rates, in faults per simulated minute, a seed draws.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub kinds: BTreeMap<NemesisKind, Spanned<[u32; 2]>>,
    /// Of a hundred seeds, how many draw a kind.
    #[serde(default = "half")]
    pub percent: Spanned<u32>,
    /// How long a fault lasts and a dead node stays away: any time between the two.
    #[serde(default = "shorter_and_longer_than_a_session")]
    pub lasting: Spanned<[Time; 2]>,
    /// Between which two moments faults strike; the whole duration when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within: Option<Spanned<[Time; 2]>>,
    /// Whom processes' and disks' faults hit, one of these each time; any broker, keeper or role when absent. Clients
    /// among them are for the faults of clients.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub targets: Vec<Spanned<Target>>,
    /// The messages that are lost or held up; those of replication, groups and keepers when absent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub messages: Vec<Spanned<String>>,
    /// The threads that get slower; all but those of transactions when absent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lanes: Vec<Spanned<LaneName>>,
    /// Faults without a moment: a seed draws which of them strike, when, and how long they last where they do not say.
    #[serde(default, rename = "fault", skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<Spanned<Fault>>,
    /// Producers and consumers that start at a moment that the seed draws.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub late: Vec<Spanned<String>>,
}

fn half() -> Spanned<u32> {
    Spanned::new(0..0, 50)
}

fn shorter_and_longer_than_a_session() -> Spanned<[Time; 2]> {
    Spanned::new(0..0, [Time(Span::millis(200)), Time(Span::secs(25))])
}

/// What a nemesis does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NemesisKind {
    /// `kill -9`; the process comes back.
    Kill,
    /// A loss of power; the machine comes back.
    PowerFailure,
    /// A kill whose victim is back at once.
    Restart,
    /// A shutdown in good order; the process comes back.
    Stop,
    /// A process stands still.
    Pause,
    /// A node is cut off, from everybody or from a part of the cluster.
    Partition,
    /// The same in one direction only.
    OneWayPartition,
    /// A link gets slower.
    Delay,
    /// A link loses packets.
    Loss,
    /// A message is lost with its connection.
    Drop,
    /// Messages wait, and what is behind them.
    Hold,
    /// A thread of a broker gets slower.
    LaneDelay,
    /// A broker loses its keeper session.
    ExpireSession,
    /// A wall clock jumps.
    ClockJump,
    /// A clock runs fast or slow.
    ClockDrift,
    /// A disk gets slower.
    SlowDisk,
    /// A disk finishes no flush.
    StuckDisk,
    /// A disk is full.
    FullDisk,
    /// A disk fails.
    BrokenDisk,
    /// A broker dies and comes back with an empty disk.
    ReplacedDisk,
    /// A producer or consumer dies and is started again.
    ClientCrash,
    /// A producer or consumer ends in good order and is started again.
    ClientStop,
    /// A producer or consumer stands still.
    ClientPause,
    /// The operator asks for the preferred leader.
    ElectPreferred,
    /// The operator asks for any leader.
    ElectUnclean,
    /// The operator moves a partition to other brokers, as many as it has.
    Reassign,
    /// The operator raises the number of a topic's partitions.
    AddPartitions,
    /// The operator deletes what a partition has below its high watermark.
    DeleteRecords,
}

impl NemesisKind {
    /// The word of scenario files.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::PowerFailure => "power_failure",
            Self::Restart => "restart",
            Self::Stop => "stop",
            Self::Pause => "pause",
            Self::Partition => "partition",
            Self::OneWayPartition => "one_way_partition",
            Self::Delay => "delay",
            Self::Loss => "loss",
            Self::Drop => "drop",
            Self::Hold => "hold",
            Self::LaneDelay => "lane_delay",
            Self::ExpireSession => "expire_session",
            Self::ClockJump => "clock_jump",
            Self::ClockDrift => "clock_drift",
            Self::SlowDisk => "slow_disk",
            Self::StuckDisk => "stuck_disk",
            Self::FullDisk => "full_disk",
            Self::BrokenDisk => "broken_disk",
            Self::ReplacedDisk => "replaced_disk",
            Self::ClientCrash => "client_crash",
            Self::ClientStop => "client_stop",
            Self::ClientPause => "client_pause",
            Self::ElectPreferred => "elect_preferred",
            Self::ElectUnclean => "elect_unclean",
            Self::Reassign => "reassign",
            Self::AddPartitions => "add_partitions",
            Self::DeleteRecords => "delete_records",
        }
    }

    /// The draws of this kind: for the subset (0), for the rate (1), for its n-th fault (2).
    fn draws(self, seed: u64, part: u64, ordinal: u64) -> Draws {
        let purpose = Purpose::named(self.word());
        Draws::keyed(seed, purpose, NEMESIS, part, ordinal)
    }
}

/// Sets the draws of a nemesis apart from others whose purpose has the name of a fault.
const NEMESIS: u64 = 0x6e65_6d65_7369_7300;

/// The file with the faults of this seed in place of its nemesis.
pub fn drawn(file: &ScenarioFile, seed: u64) -> ScenarioFile {
    let mut file = file.clone();
    if let Some(nemesis) = file.nemesis.take() {
        let mut faults = Cast::of(&file, &nemesis).faults(&nemesis, seed);
        faults.extend(declared::faults(&file, &nemesis, seed));
        declared::late_starts(&mut file, &nemesis, seed);
        faults.sort_by_key(|fault| fault.at.as_ref().map(|at| *at.get_ref()));
        let faults = faults.into_iter().map(|fault| Spanned::new(0..0, fault));
        file.faults.extend(faults);
    }
    file
}

/// The two moments between which faults strike.
fn moments(file: &ScenarioFile, nemesis: &Nemesis) -> [Span; 2] {
    let whole = [Span::ZERO, file.duration.get_ref().0];
    let named = nemesis.within.as_ref().map(Spanned::get_ref);
    named.map_or(whole, |[first, last]| [first.0, last.0])
}

/// The kinds that a seed draws; at least one.
fn subset(nemesis: &Nemesis, seed: u64) -> Vec<NemesisKind> {
    let percent = u64::from(*nemesis.percent.get_ref());
    let kinds = nemesis.kinds.keys().copied();
    let chosen: Vec<NemesisKind> = kinds
        .clone()
        .filter(|kind| kind.draws(seed, 0, 0).below(100) < percent)
        .collect();
    if chosen.is_empty() {
        kinds
            .min_by_key(|kind| kind.draws(seed, 0, 1).next())
            .into_iter()
            .collect()
    } else {
        chosen
    }
}
