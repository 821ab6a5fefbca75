//! Whom the nemesis can hit, and the faults that it draws for them.

use super::super::check::{member_names, transactional_ids};
use super::super::format::{
    Before, Direction, Disk, Fault, FaultKind, LaneName, ScenarioFile, Topic,
};
use super::super::target::Target;
use super::super::text::Time;
use super::{Nemesis, NemesisKind, moments, subset};
use crate::random::Draws;
use protocol::time::Span;
use toml::Spanned;

/// Whom and what there is to hit.
pub(super) struct Cast {
    /// When the first fault may strike, and for how long others may.
    first: Span,
    duration: Span,
    lasting: [Span; 2],
    brokers: Vec<Target>,
    keepers: Vec<Target>,
    clients: Vec<Target>,
    /// Nodes by what they do.
    roles: Vec<Target>,
    partitions: Vec<Partition>,
    declared: Vec<Target>,
    messages: Vec<String>,
    lanes: Vec<LaneName>,
}

/// A partition, and how many replicas it has.
#[derive(Clone)]
struct Partition {
    name: String,
    topic: String,
    replicas: usize,
}

impl Cast {
    pub(super) fn of(file: &ScenarioFile, nemesis: &Nemesis) -> Self {
        let cluster = &file.cluster;
        let absent = |id: u16| cluster.absent.iter().any(|absent| *absent.get_ref() == id);
        let brokers = (1..=*cluster.brokers.get_ref()).filter(|id| !absent(*id));
        let partitions: Vec<Partition> = file.topics.iter().flat_map(partitions).collect();
        let groups = file
            .consumers
            .iter()
            .filter_map(|consumer| consumer.group.clone());
        let names = partitions.iter().map(|partition| partition.name.clone());
        let leaders = names.map(Target::LeaderOf);
        let transactional = transactional_ids(file).into_iter();
        let roles = leaders
            .chain(groups.map(Target::CoordinatorOf))
            .chain(transactional.map(Target::TransactionCoordinatorOf));
        let [least, most] = *nemesis.lasting.get_ref();
        let [first, last] = moments(file, nemesis);
        let declared = |targets: &[Spanned<Target>], of_clients: bool| {
            let all = targets.iter().map(|target| target.get_ref().clone());
            all.filter(|target| matches!(target, Target::Client(_)) == of_clients)
                .collect::<Vec<_>>()
        };
        let some_clients = declared(&nemesis.targets, true);
        Self {
            first,
            duration: last.saturating_sub(first),
            lasting: [least.0, most.0],
            brokers: brokers.map(|id| Target::Broker(i32::from(id))).collect(),
            keepers: (1..=*cluster.keepers.get_ref())
                .map(|id| Target::Keeper(i32::from(id)))
                .collect(),
            clients: if some_clients.is_empty() {
                clients(file)
            } else {
                some_clients
            },
            roles: roles
                .chain([Target::Controller, Target::KeeperLeader])
                .collect(),
            partitions,
            declared: declared(&nemesis.targets, false),
            messages: or_else(&nemesis.messages, &MESSAGES.map(str::to_owned)),
            lanes: or_else(&nemesis.lanes, &LANES),
        }
    }

    pub(super) fn faults(&self, nemesis: &Nemesis, seed: u64) -> Vec<Fault> {
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
        fault.at = Some(spanned(Time(self.first + at)));
        fault.optional = true;
        Some(fault)
    }

    fn strike(&self, kind: NemesisKind, lasting: Time, draws: &mut Draws) -> Option<Fault> {
        let fault = match kind {
            NemesisKind::Kill => away(FaultKind::Kill, self.node(draws)?, lasting),
            NemesisKind::PowerFailure => away(FaultKind::PowerFailure, self.node(draws)?, lasting),
            NemesisKind::Stop => away(FaultKind::Stop, self.node(draws)?, lasting),
            NemesisKind::ClientCrash => away(FaultKind::Kill, self.client(draws)?, lasting),
            NemesisKind::ReplacedDisk => Fault {
                disk: Some(spanned(Disk::Empty)),
                ..away(FaultKind::Kill, self.broker(draws)?, lasting)
            },
            NemesisKind::ClientStop => away(FaultKind::Stop, self.client(draws)?, lasting),
            NemesisKind::ClientPause => lasts(on(FaultKind::Pause, self.client(draws)?), lasting),
            NemesisKind::Restart => on(FaultKind::Restart, self.node(draws)?),
            NemesisKind::ExpireSession => on(FaultKind::ExpireSession, self.broker(draws)?),
            NemesisKind::Pause => lasts(on(FaultKind::Pause, self.node(draws)?), lasting),
            NemesisKind::StuckDisk => lasts(on(FaultKind::StuckDisk, self.node(draws)?), lasting),
            NemesisKind::FullDisk => lasts(on(FaultKind::FullDisk, self.node(draws)?), lasting),
            NemesisKind::BrokenDisk => lasts(on(FaultKind::BrokenDisk, self.node(draws)?), lasting),
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
            NemesisKind::Drop => self.message(FaultKind::Drop, 3, draws)?,
            NemesisKind::Hold => lasts(self.message(FaultKind::Hold, 50, draws)?, lasting),
            NemesisKind::LaneDelay => Fault {
                lane: Some(spanned(one_of(&self.lanes, draws)?)),
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
            NemesisKind::Reassign => self.reassignment(draws)?,
            NemesisKind::AddPartitions => self.growth(draws)?,
            NemesisKind::DeleteRecords => Fault {
                before: Some(spanned(Before::Mark("high watermark".to_owned()))),
                ..self.election(FaultKind::DeleteRecords, draws)?
            },
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

    fn client(&self, draws: &mut Draws) -> Option<Target> {
        one_of(&self.clients, draws)
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

    fn message(&self, kind: FaultKind, most: u64, draws: &mut Draws) -> Option<Fault> {
        Some(Fault {
            message: Some(spanned(one_of(&self.messages, draws)?)),
            count: Some(small(draws.between(1, most))),
            ..Fault::of(kind)
        })
    }

    /// What an operator asks for one partition.
    fn election(&self, kind: FaultKind, draws: &mut Draws) -> Option<Fault> {
        Some(Fault {
            partition: Some(spanned(one_of(&self.partitions, draws)?.name)),
            ..Fault::of(kind)
        })
    }

    /// Any brokers, in any order, as many as the partition began with.
    fn reassignment(&self, draws: &mut Draws) -> Option<Fault> {
        let partition = one_of(&self.partitions, draws)?;
        let mut brokers: Vec<i32> = self.brokers.iter().filter_map(broker_id).collect();
        let mut replicas = Vec::new();
        while replicas.len() < partition.replicas && !brokers.is_empty() {
            let last = u64::try_from(brokers.len()).ok()?;
            let place = usize::try_from(draws.below(last)).ok()?;
            replicas.push(brokers.swap_remove(place));
        }
        Some(Fault {
            partition: Some(spanned(partition.name)),
            replicas: Some(spanned(replicas)),
            // Who moves a partition again before the first move is over takes away at once what was being added, though
            // nobody else may be in sync (`updateCurrentReassignment`).
            additional: Some(false),
            ..Fault::of(FaultKind::Reassign)
        })
    }

    /// One to three partitions more than the topic began with; fewer than it has by now are refused.
    fn growth(&self, draws: &mut Draws) -> Option<Fault> {
        let topic = one_of(&self.partitions, draws)?.topic;
        let of_topic = self.partitions.iter().filter(|known| known.topic == topic);
        let count = i32::try_from(of_topic.count()).ok()?;
        let more = i32::try_from(draws.between(1, 3)).ok()?;
        Some(Fault {
            topic: Some(spanned(topic)),
            partitions: Some(count.saturating_add(more)),
            ..Fault::of(FaultKind::AddPartitions)
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

fn partitions(topic: &Topic) -> Vec<Partition> {
    let name = topic.name.get_ref();
    let factor = topic
        .replication_factor
        .as_ref()
        .map_or(3, |factor| *factor.get_ref());
    let drawn = vec![usize::try_from(factor).unwrap_or(1); by_count(topic)];
    let placed = topic.replicas.iter();
    let placed: Vec<usize> = placed.map(|replicas| replicas.get_ref().len()).collect();
    let sizes = if placed.is_empty() { drawn } else { placed };
    let partition = |(index, replicas): (usize, usize)| Partition {
        name: format!("{name}-{index}"),
        topic: name.clone(),
        replicas,
    };
    sizes.into_iter().enumerate().map(partition).collect()
}

fn by_count(topic: &Topic) -> usize {
    usize::try_from(*topic.partitions.get_ref()).unwrap_or(0)
}

fn broker_id(target: &Target) -> Option<i32> {
    if let Target::Broker(id) = target {
        Some(*id)
    } else {
        None
    }
}

/// What a file declares, or what there is when it declares nothing.
fn or_else<T: Clone>(declared: &[Spanned<T>], otherwise: &[T]) -> Vec<T> {
    if declared.is_empty() {
        return otherwise.to_vec();
    }
    declared.iter().map(|item| item.get_ref().clone()).collect()
}

fn clients(file: &ScenarioFile) -> Vec<Target> {
    let producers = file
        .producers
        .iter()
        .map(|producer| producer.name.get_ref().clone());
    let members = file.consumers.iter().flat_map(member_names);
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
pub(super) fn magnitude(draws: &mut Draws, most: u64) -> Time {
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
