//! The nemesis: faults that each seed draws for itself.
//!
//! A seed draws a subset of the kinds first (swarm testing, Groce et al. 2012: a run with few kinds of faults gets further
//! into what these can do than a run with all of them), then a rate for each kind, then each fault. Every kind has draws
//! of its own, so that a kind more or less in the file moves no other fault. What is drawn are faults as a file could name
//! them: faithful ones only, which end by themselves or at the healing.

use super::check::transactional_ids;
use super::format::{Direction, Fault, FaultKind, LaneName, ScenarioFile};
use super::target::Target;
use super::text::Time;
use crate::random::{Draws, Purpose};
use protocol::time::Span;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use toml::Spanned;

/// Random faults, drawn by each seed.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Nemesis {
    /// Which kinds there are, and between which two rates, in faults per simulated minute, a seed draws.
    pub kinds: BTreeMap<NemesisKind, Spanned<[u32; 2]>>,
    /// Of a hundred seeds, how many draw a kind.
    #[serde(default = "half")]
    pub percent: Spanned<u32>,
    /// How long a fault lasts and a dead node stays away: any time between the two.
    #[serde(default = "shorter_and_longer_than_a_session")]
    pub lasting: Spanned<[Time; 2]>,
    /// Whom processes' and disks' faults hit, one of these each time; any broker, keeper or role when absent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub targets: Vec<Spanned<Target>>,
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
    /// A producer or consumer dies and is started again.
    ClientCrash,
    /// The operator asks for the preferred leader.
    ElectPreferred,
    /// The operator asks for any leader.
    ElectUnclean,
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
            Self::ClientCrash => "client_crash",
            Self::ElectPreferred => "elect_preferred",
            Self::ElectUnclean => "elect_unclean",
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
        faults.sort_by_key(|fault| fault.at.as_ref().map(|at| *at.get_ref()));
        let faults = faults.into_iter().map(|fault| Spanned::new(0..0, fault));
        file.faults.extend(faults);
    }
    file
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

/// Whom and what there is to hit.
struct Cast {
    duration: Span,
    lasting: [Span; 2],
    brokers: Vec<Target>,
    keepers: Vec<Target>,
    clients: Vec<Target>,
    /// Nodes by what they do.
    roles: Vec<Target>,
    partitions: Vec<String>,
    declared: Vec<Target>,
}

impl Cast {
    fn of(file: &ScenarioFile, nemesis: &Nemesis) -> Self {
        let cluster = &file.cluster;
        let absent = |id: u16| cluster.absent.iter().any(|absent| *absent.get_ref() == id);
        let brokers = (1..=*cluster.brokers.get_ref()).filter(|id| !absent(*id));
        let partitions: Vec<String> = file.topics.iter().flat_map(partitions).collect();
        let groups = file
            .consumers
            .iter()
            .filter_map(|consumer| consumer.group.clone());
        let leaders = partitions.iter().cloned().map(Target::LeaderOf);
        let transactional = transactional_ids(file).into_iter();
        let roles = leaders
            .chain(groups.map(Target::CoordinatorOf))
            .chain(transactional.map(Target::TransactionCoordinatorOf));
        let [least, most] = *nemesis.lasting.get_ref();
        Self {
            duration: file.duration.get_ref().0,
            lasting: [least.0, most.0],
            brokers: brokers.map(|id| Target::Broker(i32::from(id))).collect(),
            keepers: (1..=*cluster.keepers.get_ref())
                .map(|id| Target::Keeper(i32::from(id)))
                .collect(),
            clients: clients(file),
            roles: roles
                .chain([Target::Controller, Target::KeeperLeader])
                .collect(),
            partitions,
            declared: nemesis
                .targets
                .iter()
                .map(|target| target.get_ref().clone())
                .collect(),
        }
    }

    fn faults(&self, nemesis: &Nemesis, seed: u64) -> Vec<Fault> {
        let mut faults = Vec::new();
        for kind in subset(nemesis, seed) {
            let Some(rates) = nemesis.kinds.get(&kind) else {
                continue;
            };
            let [least, most] = *rates.get_ref();
            let mut draws = kind.draws(seed, 1, 0);
            let rate = draws.between(u64::from(least), u64::from(most));
            // So many a minute, and the part of a minute that is left over as a chance.
            let minute = Span::secs(60).0;
            let exact = rate.saturating_mul(self.duration.0);
            let count = exact / minute + u64::from(draws.below(minute) < exact % minute);
            for nth in 0..count {
                faults.extend(self.fault(kind, &mut kind.draws(seed, 2, nth)));
            }
        }
        faults
    }

    /// One fault; none when there is nobody whom it could hit.
    fn fault(&self, kind: NemesisKind, draws: &mut Draws) -> Option<Fault> {
        let at = Span::millis(draws.below(self.duration.as_millis()));
        let [least, most] = self.lasting;
        let lasting = Span::millis(draws.between(least.as_millis(), most.as_millis()));
        let mut fault = self.strike(kind, Time(lasting), draws)?;
        fault.at = Some(spanned(Time(at)));
        fault.optional = true;
        Some(fault)
    }

    fn strike(&self, kind: NemesisKind, lasting: Time, draws: &mut Draws) -> Option<Fault> {
        let fault = match kind {
            NemesisKind::Kill => away(FaultKind::Kill, self.node(draws)?, lasting),
            NemesisKind::PowerFailure => away(FaultKind::PowerFailure, self.node(draws)?, lasting),
            NemesisKind::Stop => away(FaultKind::Stop, self.node(draws)?, lasting),
            NemesisKind::ClientCrash => {
                away(FaultKind::Kill, one_of(&self.clients, draws)?, lasting)
            }
            NemesisKind::Restart => on(FaultKind::Restart, self.node(draws)?),
            NemesisKind::ExpireSession => on(FaultKind::ExpireSession, self.broker(draws)?),
            NemesisKind::Pause => lasts(on(FaultKind::Pause, self.node(draws)?), lasting),
            NemesisKind::StuckDisk => lasts(on(FaultKind::StuckDisk, self.node(draws)?), lasting),
            NemesisKind::SlowDisk => Fault {
                factor: Some(small(draws.between(2, 100))),
                ..lasts(on(FaultKind::SlowDisk, self.node(draws)?), lasting)
            },
            NemesisKind::Partition => self.partition(Direction::Both, lasting, draws)?,
            NemesisKind::OneWayPartition => {
                let direction = [Direction::From, Direction::To];
                let direction = one_of(&direction, draws)?;
                self.partition(direction, lasting, draws)?
            }
            NemesisKind::Delay => Fault {
                by: Some(magnitude(draws, 11)),
                ..self.link(FaultKind::Delay, lasting, draws)?
            },
            NemesisKind::Loss => Fault {
                per_mille: u16::try_from(draws.between(10, 400)).ok(),
                ..self.link(FaultKind::Loss, lasting, draws)?
            },
            NemesisKind::Drop => message(FaultKind::Drop, 3, draws)?,
            NemesisKind::Hold => lasts(message(FaultKind::Hold, 50, draws)?, lasting),
            NemesisKind::LaneDelay => Fault {
                lane: Some(spanned(one_of(&LANES, draws)?)),
                by: Some(magnitude(draws, 10)),
                ..lasts(on(FaultKind::LaneDelay, self.broker(draws)?), lasting)
            },
            NemesisKind::ClockJump => Fault {
                by: Some(magnitude(draws, 22)),
                backwards: draws.below(2) == 0,
                ..on(FaultKind::ClockJump, self.node(draws)?)
            },
            NemesisKind::ClockDrift => {
                let ppm = i32::try_from(draws.between(1, 500)).unwrap_or(1);
                let slow = draws.below(2) == 0;
                Fault {
                    ppm: Some(if slow { -ppm } else { ppm }),
                    ..on(FaultKind::ClockDrift, self.node(draws)?)
                }
            }
            NemesisKind::ElectPreferred => self.election(FaultKind::ElectPreferred, draws)?,
            NemesisKind::ElectUnclean => self.election(FaultKind::ElectUnclean, draws)?,
        };
        Some(fault)
    }

    /// Half the time a broker, else whoever has a role, or a keeper.
    fn node(&self, draws: &mut Draws) -> Option<Target> {
        if !self.declared.is_empty() {
            return one_of(&self.declared, draws);
        }
        match draws.below(10) {
            0..5 => one_of(&self.brokers, draws),
            5..8 => one_of(&self.roles, draws),
            _ => one_of(&self.keepers, draws),
        }
    }

    fn broker(&self, draws: &mut Draws) -> Option<Target> {
        if draws.below(4) == 0 {
            Some(Target::Controller)
        } else {
            one_of(&self.brokers, draws)
        }
    }

    fn partition(&self, direction: Direction, lasting: Time, draws: &mut Draws) -> Option<Fault> {
        let target = self.node(draws)?;
        let parts = [Target::Brokers, Target::Keepers, Target::Clients];
        let from = match draws.below(4) {
            0 => Some(one_of(&parts, draws)?),
            1 => Some(one_of(&self.brokers, draws)?),
            _ => None,
        };
        // Nothing is lost between a node and itself.
        let from = from.filter(|from| *from != target);
        Some(Fault {
            from: from.map(spanned),
            direction: (direction != Direction::Both).then_some(direction),
            ..lasts(on(FaultKind::Partition, target), lasting)
        })
    }

    fn link(&self, kind: FaultKind, lasting: Time, draws: &mut Draws) -> Option<Fault> {
        let mut ends = || match draws.below(4) {
            0 => one_of(&[Target::Brokers, Target::Keepers, Target::Clients], draws),
            1 => one_of(&self.roles, draws),
            2 => one_of(&self.brokers, draws),
            _ => Some(Target::Brokers),
        };
        let (from, to) = (ends()?, ends()?);
        Some(Fault {
            from: Some(spanned(from)),
            to: Some(spanned(to)),
            ..lasts(Fault::of(kind), lasting)
        })
    }

    fn election(&self, kind: FaultKind, draws: &mut Draws) -> Option<Fault> {
        Some(Fault {
            partition: Some(spanned(one_of(&self.partitions, draws)?)),
            ..Fault::of(kind)
        })
    }
}

/// The threads whose slowness makes histories.
const LANES: [LaneName; 5] = [
    LaneName::RequestHandler,
    LaneName::Controller,
    LaneName::KeeperCallback,
    LaneName::GroupLoader,
    LaneName::Background,
];

/// The messages whose loss or delay makes histories.
const MESSAGES: [&str; 16] = [
    "Produce request",
    "Produce response",
    "Fetch request",
    "Fetch response",
    "LeaderAndIsr request",
    "LeaderAndIsr response",
    "UpdateMetadata request",
    "AlterIsr request",
    "AlterIsr response",
    "OffsetForLeaderEpoch response",
    "OffsetCommit response",
    "JoinGroup response",
    "SyncGroup response",
    "Heartbeat response",
    "keeper request",
    "keeper reply",
];

fn partitions(topic: &super::format::Topic) -> impl Iterator<Item = String> {
    let placed = i32::try_from(topic.replicas.len()).unwrap_or(i32::MAX);
    let name = topic.name.get_ref().clone();
    (0..placed.max(*topic.partitions.get_ref())).map(move |index| format!("{name}-{index}"))
}

fn clients(file: &ScenarioFile) -> Vec<Target> {
    let producers = file
        .producers
        .iter()
        .map(|producer| producer.name.get_ref().clone());
    let members = file.consumers.iter().flat_map(super::check::member_names);
    producers.chain(members).map(Target::Client).collect()
}

fn spanned<T>(value: T) -> Spanned<T> {
    Spanned::new(0..0, value)
}

fn small(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn one_of<T: Clone>(all: &[T], draws: &mut Draws) -> Option<T> {
    let count = u64::try_from(all.len()).ok()?;
    let place = usize::try_from(draws.below(count)).ok()?;
    all.get(place).cloned()
}

/// From a millisecond to 2ⁿ of them, every order of magnitude alike.
fn magnitude(draws: &mut Draws, most: u64) -> Time {
    let order = draws.below(most);
    Time(Span::millis(draws.between(1 << order, (2 << order) - 1)))
}

fn on(kind: FaultKind, target: Target) -> Fault {
    Fault {
        target: Some(spanned(target)),
        ..Fault::of(kind)
    }
}

fn away(kind: FaultKind, target: Target, back: Time) -> Fault {
    Fault {
        restart_after: Some(back),
        ..on(kind, target)
    }
}

fn lasts(fault: Fault, lasting: Time) -> Fault {
    Fault {
        lasting: Some(spanned(lasting)),
        ..fault
    }
}

fn message(kind: FaultKind, most: u64, draws: &mut Draws) -> Option<Fault> {
    let message = one_of(&MESSAGES, draws)?;
    Some(Fault {
        message: Some(spanned(message.to_owned())),
        count: Some(small(draws.between(1, most))),
        ..Fault::of(kind)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::check::faults_of;
    use crate::scenario::parse::parse;
    use crate::scenario::plan::FaultPlan;

    const ALL: &str = "kill power_failure restart stop pause partition one_way_partition delay loss drop hold lane_delay \
        expire_session clock_jump clock_drift slow_disk stuck_disk client_crash elect_preferred elect_unclean";

    fn file(kinds: &str, percent: u32) -> ScenarioFile {
        let kinds: Vec<String> = kinds
            .split_whitespace()
            .map(|kind| format!("{kind} = [2, 9]"))
            .collect();
        let text = format!(
            "title = 't'\nquestion = 'q?'\nduration = '60s'\n[[topic]]\nname = 'orders'\npartitions = 2\n\
             [[producer]]\nname = 'p1'\ntopic = 'orders'\n\
             [[consumer]]\nname = 'c'\nmembers = 2\ngroup = 'g'\ntopics = ['orders']\n\
             [nemesis]\npercent = {percent}\nkinds = {{ {} }}\n",
            kinds.join(", ")
        );
        parse(&text).unwrap()
    }

    fn plans(kinds: &str, percent: u32, seed: u64) -> Vec<FaultPlan> {
        faults_of(&drawn(&file(kinds, percent), seed))
    }

    fn words(plans: &[FaultPlan], kind: &str) -> Vec<String> {
        let of_kind = plans.iter().filter(|plan| plan.kind == kind);
        of_kind.map(|plan| format!("{plan:?}")).collect()
    }

    #[test]
    fn all_that_is_drawn_may_stand_in_a_file_and_may_miss() {
        for seed in 0..100 {
            let plans = plans(ALL, 100, seed);
            assert!(plans.iter().all(|plan| plan.optional && !plan.permanent));
        }
    }

    #[test]
    fn a_kind_more_moves_no_fault_of_another() {
        for seed in 0..20 {
            let few = plans("delay pause", 100, seed);
            let many = plans(ALL, 100, seed);
            for kind in ["delay", "pause"] {
                assert!(!words(&few, kind).is_empty());
                assert_eq!(words(&few, kind), words(&many, kind));
            }
        }
    }

    #[test]
    fn rates_are_faults_per_simulated_minute() {
        for seed in 0..50 {
            let count = plans("pause", 100, seed).len();
            assert!((2..=9).contains(&count), "{count}");
        }
    }

    #[test]
    fn seeds_draw_different_subsets_and_none_draws_nothing() {
        let all = file(ALL, 20);
        let nemesis = all.nemesis.as_ref().unwrap();
        let subsets: Vec<Vec<NemesisKind>> = (0..200).map(|seed| subset(nemesis, seed)).collect();
        assert!(subsets.iter().all(|subset| !subset.is_empty()));
        let kinds: usize = subsets.iter().map(Vec::len).sum();
        // A fifth of 20 kinds in each of 200 seeds.
        assert!((650..950).contains(&kinds), "{kinds}");
        assert!(subsets.iter().any(|subset| *subset != subsets[0]));
    }

    #[test]
    fn every_order_of_magnitude_is_drawn() {
        let mut draws = Draws::keyed(1, Purpose::named("a test"), 0, 0, 0);
        let drawn: Vec<u64> = (0..300)
            .map(|_| magnitude(&mut draws, 10).0.as_millis())
            .collect();
        assert!(drawn.iter().all(|millis| (1..1024).contains(millis)));
        assert!(drawn.contains(&1) && drawn.iter().any(|millis| *millis > 512));
    }
}
