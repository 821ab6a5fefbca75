//! The state of every replica over time: log end, high watermark, who leads, who is in sync, when the broker was down.

use super::Window;
use super::span::{Span, spans, steps};
use history::History;
use history::event::{Controller, Event, Process, Replica, What};
use protocol::ids::{BrokerId, LeaderEpoch, PartitionEpoch, TopicPartition};
use std::collections::{BTreeMap, BTreeSet};

/// All partitions of the workload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replicas {
    /// The time drawn.
    pub window: Window,
    /// One each, by topic and number; internal topics left out.
    pub partitions: Vec<Partition>,
}

/// One partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// Which.
    pub name: TopicPartition,
    /// Its replicas by broker.
    pub logs: BTreeMap<BrokerId, Log>,
    /// Who led when; a span without a leader is one without.
    pub leaders: Vec<Span<Leadership>>,
    /// Who was in sync when, as last written.
    pub isr: Vec<Span<BTreeSet<BrokerId>>>,
    /// Logs that were cut.
    pub cuts: Vec<Cut>,
}

/// Who leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leadership {
    /// Nobody, or this broker.
    pub leader: Option<BrokerId>,
    /// In this epoch.
    pub epoch: LeaderEpoch,
    /// Elected though not in sync.
    pub unclean: bool,
}

/// A log that was cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// When.
    pub at: u64,
    /// Whose.
    pub broker: BrokerId,
    /// Where it ended before.
    pub from: i64,
    /// Where it ends now.
    pub to: i64,
}

/// One replica.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Log {
    /// The log end over time; `None` while the broker was down.
    pub end: Vec<(u64, Option<i64>)>,
    /// The high watermark over time; `None` while the broker was down.
    pub high_watermark: Vec<(u64, Option<i64>)>,
}

impl Replicas {
    /// The replicas of a history.
    pub fn of(history: &History, window: Window) -> Self {
        let mut follower = Follower::default();
        for event in history
            .events
            .iter()
            .take_while(|event| event.at <= window.end)
        {
            let broker = event.node.and_then(|node| history.manifest.broker_of(node));
            follower.take_in(event, broker);
        }
        let partitions = follower
            .partitions
            .into_iter()
            .map(|(name, track)| track.finish(name, window))
            .collect();
        Self { window, partitions }
    }

    /// When a leader, an ISR or a log first changed otherwise than by growing.
    pub fn first_change(&self) -> Option<u64> {
        let changes = self.partitions.iter().flat_map(|partition| {
            let leaders = partition.leaders.iter().skip(1).map(|span| span.start);
            let isr = partition.isr.iter().skip(1).map(|span| span.start);
            leaders
                .chain(isr)
                .chain(partition.cuts.iter().map(|cut| cut.at))
        });
        changes.min()
    }

    /// When a leader was first followed by another.
    pub fn first_succession(&self) -> Option<u64> {
        self.partitions
            .iter()
            .filter_map(|partition| partition.leaders.get(1))
            .map(|span| span.start)
            .min()
    }
}

#[derive(Default)]
struct Follower {
    partitions: BTreeMap<TopicPartition, Track>,
}

#[derive(Default)]
struct Track {
    logs: BTreeMap<BrokerId, Log>,
    leaders: Vec<(u64, Leadership)>,
    isr: Vec<(u64, BTreeSet<BrokerId>)>,
    /// Epochs of the ISR told last: a leader may learn of a change after its successor was elected.
    isr_epoch: Option<(LeaderEpoch, PartitionEpoch)>,
    cuts: Vec<Cut>,
}

impl Follower {
    fn take_in(&mut self, event: &Event, broker: Option<BrokerId>) {
        match &event.what {
            What::Replica(partition, note) if !is_internal(partition) => {
                if let Some(broker) = broker {
                    self.partitions
                        .entry(partition.clone())
                        .or_default()
                        .replica(event.at, broker, note);
                }
            }
            What::Controller(Controller::LeaderElected(election))
                if !is_internal(&election.partition) =>
            {
                let track = self
                    .partitions
                    .entry(election.partition.clone())
                    .or_default();
                let unclean = election.kind.is_unclean();
                track.lead(
                    event.at,
                    Leadership {
                        leader: election.leader,
                        epoch: election.leader_epoch,
                        unclean,
                    },
                );
                track.in_sync(
                    event.at,
                    &election.isr,
                    election.leader_epoch,
                    PartitionEpoch(-1),
                );
            }
            What::Controller(Controller::IsrWritten {
                partition,
                isr,
                leader_epoch,
                partition_epoch,
            }) if !is_internal(partition) => {
                let track = self.partitions.entry(partition.clone()).or_default();
                track.in_sync(event.at, isr, *leader_epoch, *partition_epoch);
            }
            What::Process(Process::Died { .. } | Process::Stopped | Process::Panicked(_)) => {
                if let Some(broker) = broker {
                    self.down(event.at, broker);
                }
            }
            What::Replica(..)
            | What::Controller(_)
            | What::Process(_)
            | What::Operation(_)
            | What::Broker(_)
            | What::Group(..)
            | What::Transaction(..)
            | What::Keeper(_)
            | What::Client(_)
            | What::Fault(_)
            | What::Mark(_)
            | What::Phase(_) => {}
        }
    }

    fn down(&mut self, at: u64, broker: BrokerId) {
        for log in self
            .partitions
            .values_mut()
            .filter_map(|track| track.logs.get_mut(&broker))
        {
            log.end.push((at, None));
            log.high_watermark.push((at, None));
        }
    }
}

impl Track {
    fn replica(&mut self, at: u64, broker: BrokerId, note: &Replica) {
        match note {
            Replica::Appended(append) => {
                let end = append.last_offset.0 + 1;
                self.log(broker).end.push((at, Some(end)));
            }
            Replica::Truncated { to, from, .. } => {
                self.log(broker).end.push((at, Some(to.0)));
                if from > to {
                    let (from, to) = (from.0, to.0);
                    self.cuts.push(Cut {
                        at,
                        broker,
                        from,
                        to,
                    });
                }
            }
            Replica::Loaded {
                log_end_offset,
                high_watermark,
                ..
            } => {
                let log = self.log(broker);
                log.end.push((at, Some(log_end_offset.0)));
                log.high_watermark.push((at, Some(high_watermark.0)));
            }
            Replica::HighWatermark(mark) => {
                self.log(broker).high_watermark.push((at, Some(mark.0)));
            }
            Replica::IsrChanged {
                isr,
                partition_epoch,
            } => {
                self.isr_told(at, broker, isr, *partition_epoch);
            }
            Replica::Stopped { .. } => {
                let log = self.log(broker);
                log.end.push((at, None));
                log.high_watermark.push((at, None));
            }
            Replica::BecameLeader {
                leader_epoch, isr, ..
            } => {
                self.leads(at, broker, *leader_epoch, isr);
            }
            Replica::LogStart(_)
            | Replica::LastStableOffset(_)
            | Replica::Flushed(_)
            | Replica::BecameFollower { .. }
            | Replica::IsrProposed { .. }
            | Replica::IsrRefused { .. }
            | Replica::DuplicateBatch { .. }
            | Replica::AppendRefused { .. }
            | Replica::Acknowledged { .. } => {}
        }
    }

    /// Only who leads may tell the ISR.
    fn isr_told(
        &mut self,
        at: u64,
        broker: BrokerId,
        isr: &[BrokerId],
        partition_epoch: PartitionEpoch,
    ) {
        let last = self.leaders.last().map(|(_, leadership)| *leadership);
        let epoch = last.map_or(LeaderEpoch(0), |leadership| leadership.epoch);
        let leader = last.and_then(|leadership| leadership.leader);
        if leader.is_none_or(|leader| leader == broker) {
            self.in_sync(at, isr, epoch, partition_epoch);
        }
    }

    /// A history without a controller's stream still tells who leads.
    fn leads(&mut self, at: u64, broker: BrokerId, epoch: LeaderEpoch, isr: &[BrokerId]) {
        if self
            .leaders
            .last()
            .is_none_or(|(_, last)| last.epoch < epoch)
        {
            let leader = Some(broker);
            self.lead(
                at,
                Leadership {
                    leader,
                    epoch,
                    unclean: false,
                },
            );
            self.in_sync(at, isr, epoch, PartitionEpoch(-1));
        }
    }

    fn log(&mut self, broker: BrokerId) -> &mut Log {
        self.logs.entry(broker).or_default()
    }

    fn lead(&mut self, at: u64, leadership: Leadership) {
        if self
            .leaders
            .last()
            .is_none_or(|(_, last)| last.epoch <= leadership.epoch)
        {
            self.leaders.push((at, leadership));
        }
    }

    fn in_sync(
        &mut self,
        at: u64,
        isr: &[BrokerId],
        leader_epoch: LeaderEpoch,
        partition_epoch: PartitionEpoch,
    ) {
        let epoch = (leader_epoch, partition_epoch);
        if self.isr_epoch.is_some_and(|told| told > epoch) {
            return;
        }
        self.isr_epoch = Some(epoch);
        let isr: BTreeSet<BrokerId> = isr.iter().copied().collect();
        if self.isr.last().is_none_or(|(_, last)| *last != isr) {
            self.isr.push((at, isr));
        }
    }

    fn finish(self, name: TopicPartition, window: Window) -> Partition {
        let cuts = self
            .cuts
            .into_iter()
            .filter(|cut| cut.at >= window.start)
            .collect();
        let logs = self
            .logs
            .into_iter()
            .map(|(broker, log)| (broker, log.clipped(window)))
            .collect();
        Partition {
            name,
            logs,
            leaders: spans(self.leaders, window),
            isr: spans(self.isr, window),
            cuts,
        }
    }
}

impl Log {
    fn clipped(&self, window: Window) -> Self {
        Self {
            end: steps(&self.end, window),
            high_watermark: steps(&self.high_watermark, window),
        }
    }
}

fn is_internal(partition: &TopicPartition) -> bool {
    partition.topic.as_str().starts_with("__")
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Builder, MS, lossy};
    use super::*;
    use history::event::Phase;

    fn partition(history: &History) -> Partition {
        Replicas::of(history, Window::of(history))
            .partitions
            .remove(0)
    }

    fn brokers(ids: &[i32]) -> BTreeSet<BrokerId> {
        ids.iter().copied().map(BrokerId).collect()
    }

    #[test]
    fn leadership_reaches_from_one_election_to_the_next() {
        let leaders = partition(&lossy()).leaders;
        let told: Vec<_> = leaders
            .iter()
            .map(|span| (span.start / MS, span.end / MS, span.value.leader))
            .collect();
        assert_eq!(
            told,
            [
                (1_000, 2_400, Some(BrokerId(1))),
                (2_400, 5_500, Some(BrokerId(2)))
            ]
        );
    }

    #[test]
    fn the_isr_shrinks_with_the_election_and_grows_with_the_return() {
        let isr = partition(&lossy()).isr;
        let told: Vec<_> = isr
            .iter()
            .map(|span| (span.start / MS, span.value.clone()))
            .collect();
        assert_eq!(
            told,
            [
                (1_000, brokers(&[1, 2, 3])),
                (2_400, brokers(&[2, 3])),
                (4_500, brokers(&[1, 2, 3]))
            ]
        );
    }

    #[test]
    fn a_log_has_a_gap_while_its_broker_is_down_and_a_step_down_where_it_is_cut() {
        let partition = partition(&lossy());
        let end: Vec<_> = partition.logs[&BrokerId(1)]
            .end
            .iter()
            .rev()
            .take(4)
            .map(|(at, end)| (at / MS, *end))
            .collect();
        assert_eq!(
            end,
            [
                (4_100, Some(16)),
                (4_000, Some(20)),
                (2_000, None),
                (1_951, Some(20))
            ]
        );
        assert_eq!(
            partition.cuts,
            [Cut {
                at: 4_100 * MS,
                broker: BrokerId(1),
                from: 20,
                to: 16
            }]
        );
    }

    #[test]
    fn a_late_word_of_an_old_leader_about_the_isr_changes_nothing() {
        let mut b = Builder::new();
        b.phase(0, Phase::Safety);
        b.elect(0, Some(1), 0, &[1, 2, 3]);
        b.elect(10, Some(2), 1, &[2, 3]);
        b.isr(20, 1, &[1], 9);
        b.phase(30, Phase::End);
        assert_eq!(
            partition(&b.history)
                .isr
                .last()
                .map(|span| span.value.clone()),
            Some(brokers(&[2, 3]))
        );
    }

    #[test]
    fn a_partition_without_a_leader_has_a_span_without() {
        let mut b = Builder::new();
        b.phase(0, Phase::Safety);
        b.elect(0, Some(1), 0, &[1]);
        b.elect(10, None, 1, &[1]);
        b.phase(30, Phase::End);
        let leaders = partition(&b.history).leaders;
        assert_eq!(
            leaders
                .last()
                .map(|span| (span.end / MS, span.value.leader)),
            Some((30, None))
        );
    }
}
