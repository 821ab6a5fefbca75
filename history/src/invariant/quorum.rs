//! INV-QUORUM and INV-VALID-HW: whether the leader waits for everybody whom the controller counts as in sync, and whether
//! everybody in sync has what the leader calls committed (`ReplicationQuorumSuperset` and `ValidHighWatermark` of the
//! specifications of KIP-497 and KIP-966).
//!
//! Era: they hold from KIP-497 (2.7) on, where the leader waits for the *maximal* in-sync set while a wish is under way.
//! Only the newest leader counts: an older one may believe what it likes. A replica whose disk lost data is left out until it
//! has caught up or is let in anew, because no protocol keeps a disk; letting it in without the data is the protocol's doing.
//! Whom a reassignment is taking away is left out too: the leader hears of the new replicas before the set is written
//! without the old ones, and waits for replicas alone; nobody but a replica is elected.
//! Each member is said to lack something once per in-sync set.

use super::{Breach, Findings, Seen, broker_name};
use crate::event::{Controller, Replica};
use protocol::ids::{BrokerId, LeaderEpoch, TopicPartition};
use std::collections::BTreeMap;

/// Where a replica's log ends.
#[derive(Clone, Copy, Debug, Default)]
struct Log {
    /// Nothing was seen of it yet while this is `None`.
    end: Option<i64>,
    /// Its disk lost data, and it has not caught up since.
    lossy: bool,
}

/// What the newest leader says.
#[derive(Clone, Debug)]
struct Leader {
    broker: BrokerId,
    epoch: LeaderEpoch,
    /// Whom it waits for before it calls a record committed.
    waits_for: Vec<BrokerId>,
    mark: Option<i64>,
}

/// The in-sync set that stands in the keeper.
#[derive(Clone, Debug)]
struct Written {
    epoch: LeaderEpoch,
    isr: Vec<BrokerId>,
    /// The controller wrote it on the leader's wish.
    by_controller: bool,
    seen: Seen,
    /// Members that were said to lack something.
    said: Vec<BrokerId>,
    /// The leader was said to leave out a member.
    said_quorum: bool,
    /// Another controller has come since: the one before may have written more than it lived to tell.
    by_former: bool,
}

/// One partition.
#[derive(Clone, Debug)]
struct Quorum {
    name: TopicPartition,
    logs: Vec<(BrokerId, Log)>,
    elected: Option<LeaderEpoch>,
    leader: Option<Leader>,
    written: Option<Written>,
    /// Whom a reassignment is taking away.
    leaving: Vec<BrokerId>,
}

/// All partitions.
#[derive(Clone, Debug, Default)]
pub(super) struct Quorums {
    places: BTreeMap<TopicPartition, usize>,
    /// The place looked up last: events come in runs.
    last: usize,
    partitions: Vec<Quorum>,
}

impl Quorums {
    fn partition(&mut self, name: &TopicPartition) -> &mut Quorum {
        let hit = self
            .partitions
            .get(self.last)
            .is_some_and(|known| known.name == *name);
        if !hit {
            let next = self.partitions.len();
            self.last = *self.places.entry(name.clone()).or_insert(next);
            if self.last == next {
                self.partitions.push(Quorum::new(name.clone()));
            }
        }
        &mut self.partitions[self.last]
    }

    pub(super) fn on_controller(
        &mut self,
        seen: Seen,
        controller: &Controller,
        findings: &mut Findings,
    ) {
        match controller {
            Controller::LeaderElected(election) => {
                let partition = self.partition(&election.partition);
                partition.elected = Some(election.leader_epoch);
                partition.write(seen, election.leader_epoch, &election.isr, false);
            }
            Controller::IsrWritten {
                partition,
                isr,
                leader_epoch,
                ..
            } => {
                let partition = self.partition(partition);
                // A controller that takes a dead member out begins an epoch without an election.
                partition.elected = partition.elected.max(Some(*leader_epoch));
                partition.write(seen, *leader_epoch, isr, true);
                partition.judge_quorum(seen, findings);
                partition.judge_all(seen, findings);
            }
            Controller::ReassignmentStarted {
                partition,
                removing,
                ..
            } => self.partition(partition).leaving.clone_from(removing),
            Controller::Reassigned { partition, .. } => self.partition(partition).leaving.clear(),
            Controller::TopicDeleted(topic) => {
                for partition in &mut self.partitions {
                    if partition.name.topic == *topic {
                        *partition = Quorum::new(partition.name.clone());
                    }
                }
            }
            Controller::Elected { .. } => {
                let written = self.partitions.iter_mut();
                for written in written.filter_map(|partition| partition.written.as_mut()) {
                    written.by_former = true;
                }
            }
            Controller::Resigned { .. }
            | Controller::BrokerUp { .. }
            | Controller::BrokerDown { .. }
            | Controller::TopicCreated(..) => {}
        }
    }

    pub(super) fn on_replica(
        &mut self,
        (seen, broker): (Seen, BrokerId),
        name: &TopicPartition,
        replica: &Replica,
        findings: &mut Findings,
    ) {
        let partition = self.partition(name);
        match replica {
            Replica::Appended(append) => {
                let range = (append.base_offset.0, append.last_offset.0 + 1);
                partition.append((seen, broker), range, findings);
            }
            Replica::Truncated { to, rule, .. } => {
                partition.cut((seen, broker), to.0, rule == "recovery", findings);
            }
            Replica::Loaded { log_end_offset, .. } => {
                partition.cut((seen, broker), log_end_offset.0, true, findings);
            }
            Replica::BecameLeader {
                leader_epoch, isr, ..
            } => partition.lead((seen, broker), *leader_epoch, isr),
            Replica::HighWatermark(mark) => {
                if let Some(leader) = partition.led_by(broker) {
                    leader.mark = Some(mark.0);
                    partition.judge_all(seen, findings);
                }
            }
            Replica::IsrProposed { waits_for, .. } => {
                if let Some(leader) = partition.led_by(broker) {
                    leader.waits_for.clone_from(waits_for);
                    partition.judge_quorum(seen, findings);
                }
            }
            Replica::IsrChanged { isr, .. } => {
                partition.change((seen, broker), isr);
                partition.judge_quorum(seen, findings);
                partition.judge_all(seen, findings);
            }
            Replica::Stopped { deleted: true } => {
                partition.logs.retain(|(id, _)| *id != broker);
            }
            // A refused wish leaves the leader waiting for too many at worst.
            Replica::IsrRefused { .. }
            | Replica::LogStart(_)
            | Replica::LastStableOffset(_)
            | Replica::Flushed(_)
            | Replica::BecameFollower { .. }
            | Replica::Stopped { deleted: false }
            | Replica::DuplicateBatch { .. }
            | Replica::AppendRefused { .. }
            | Replica::Acknowledged { .. } => {}
        }
    }
}

impl Quorum {
    fn new(name: TopicPartition) -> Self {
        Self {
            name,
            logs: Vec::new(),
            elected: None,
            leader: None,
            written: None,
            leaving: Vec::new(),
        }
    }

    fn log(&mut self, broker: BrokerId) -> &mut Log {
        let known = self.logs.iter().position(|(id, _)| *id == broker);
        let place = known.unwrap_or_else(|| {
            self.logs.push((broker, Log::default()));
            self.logs.len() - 1
        });
        &mut self.logs[place].1
    }

    /// The leader's words count while it is `broker`.
    fn led_by(&mut self, broker: BrokerId) -> Option<&mut Leader> {
        self.leader
            .as_mut()
            .filter(|leader| leader.broker == broker)
    }

    fn append(
        &mut self,
        (seen, broker): (Seen, BrokerId),
        (base, end): (i64, i64),
        findings: &mut Findings,
    ) {
        let mark = self.leader.as_ref().and_then(|leader| leader.mark);
        let log = self.log(broker);
        // A log that begins again without a word comes from an empty disk.
        log.lossy |= log.end.is_some_and(|before| base < before);
        log.end = Some(end);
        log.lossy &= mark.is_none_or(|mark| end < mark);
        if mark.is_some_and(|mark| end < mark) {
            self.judge((seen, broker), findings);
        }
    }

    fn cut(
        &mut self,
        (seen, broker): (Seen, BrokerId),
        to: i64,
        lost: bool,
        findings: &mut Findings,
    ) {
        let log = self.log(broker);
        log.lossy |= lost && log.end.is_some_and(|before| to < before);
        log.end = Some(to);
        self.judge((seen, broker), findings);
    }

    fn lead(&mut self, (seen, broker): (Seen, BrokerId), epoch: LeaderEpoch, isr: &[BrokerId]) {
        let newest = self
            .leader
            .as_ref()
            .is_none_or(|known| known.epoch <= epoch);
        if !newest {
            return;
        }
        self.leader = Some(Leader {
            broker,
            epoch,
            waits_for: isr.to_vec(),
            mark: None,
        });
        let unheard = |known: &Written| {
            known.epoch < epoch || (known.epoch == epoch && known.by_former && known.isr != isr)
        };
        if self.written.as_ref().is_none_or(unheard) {
            self.write(seen, epoch, isr, false);
        }
    }

    /// The leader works with this set: it wrote it itself, or was told that it is written.
    fn change(&mut self, (seen, broker): (Seen, BrokerId), isr: &[BrokerId]) {
        let Some(leader) = self.led_by(broker) else {
            return;
        };
        leader.waits_for = isr.to_vec();
        let epoch = leader.epoch;
        // Of a later epoch the leader has not heard yet: what it works with stands in the keeper no more.
        let known = self.written.as_ref().is_some_and(|written| {
            written.epoch > epoch || (written.epoch == epoch && written.isr == isr)
        });
        if !known {
            self.write(seen, epoch, isr, false);
        }
    }

    /// A set stands in the keeper now. Whoever is new in it was let in: what it lacks is no longer its disk's fault.
    fn write(&mut self, seen: Seen, epoch: LeaderEpoch, isr: &[BrokerId], by_controller: bool) {
        let before = self
            .written
            .as_ref()
            .filter(|known| known.epoch == epoch)
            .map(|known| known.isr.clone());
        if let Some(before) = before {
            for (broker, log) in &mut self.logs {
                log.lossy &= before.contains(broker) || !isr.contains(broker);
            }
        }
        self.written = Some(Written {
            epoch,
            isr: isr.to_vec(),
            by_controller,
            seen,
            said: Vec::new(),
            said_quorum: false,
            by_former: false,
        });
    }

    /// The newest leader and the set, where both are of the epoch that was elected last.
    fn present(&self) -> Option<(&Leader, &Written)> {
        let (leader, written) = (self.leader.as_ref()?, self.written.as_ref()?);
        let newest = self.elected.unwrap_or(leader.epoch);
        (leader.epoch == newest && written.epoch == newest).then_some((leader, written))
    }

    /// INV-QUORUM.
    fn judge_quorum(&mut self, seen: Seen, findings: &mut Findings) {
        let Some((leader, written)) = self.present().filter(|(_, written)| written.by_controller)
        else {
            return;
        };
        findings.look("INV-QUORUM");
        let left_out = written.isr.iter().find(|id| !leader.waits_for.contains(id));
        let Some(member) = left_out.copied().filter(|_| !written.said_quorum) else {
            return;
        };
        let (name, leading) = (&self.name, broker_name(leader.broker));
        let (isr, waits_for) = (&written.isr, &leader.waits_for);
        findings.breaches.push(Breach {
            code: "INV-QUORUM",
            partition: Some(name.clone()),
            offset: None,
            summary: format!(
                "{} is in sync in {name}, and its leader, {leading}, does not wait for it",
                broker_name(member)
            ),
            expected: format!("a leader that waits for all of {isr:?}"),
            found: format!("it waits for {waits_for:?}"),
            story: vec![
                written
                    .seen
                    .moment(format!("in-sync replicas of {name} are {isr:?}")),
                seen.moment(format!("{leading} waits for {waits_for:?}")),
            ],
        });
        if let Some(written) = &mut self.written {
            written.said_quorum = true;
        }
    }

    fn judge_all(&mut self, seen: Seen, findings: &mut Findings) {
        let size = self.written.as_ref().map_or(0, |written| written.isr.len());
        for place in 0..size {
            let member = self.written.as_ref().map(|written| written.isr[place]);
            if let Some(member) = member {
                self.judge((seen, member), findings);
            }
        }
    }

    /// INV-VALID-HW, for one member.
    fn judge(&mut self, (seen, member): (Seen, BrokerId), findings: &mut Findings) {
        let Some((leader, written)) = self.present() else {
            return;
        };
        let Some(mark) = leader.mark else { return };
        let counts = leader.broker != member
            && written.isr.contains(&member)
            && !self.leaving.contains(&member);
        let log = self.logs.iter().find(|(id, _)| *id == member);
        let Some((
            _,
            Log {
                end: Some(end),
                lossy,
            },
        )) = log.filter(|_| counts)
        else {
            return;
        };
        findings.look("INV-VALID-HW");
        if *end >= mark || *lossy || written.said.contains(&member) {
            return;
        }
        let (name, who) = (&self.name, broker_name(member));
        findings.breaches.push(Breach {
            code: "INV-VALID-HW",
            partition: Some(name.clone()),
            offset: Some(*end),
            summary: format!("{who} is in sync in {name} and lacks what is committed"),
            expected: format!("a log that reaches {mark}, the high watermark of the leader"),
            found: format!("it ends at {end}"),
            story: vec![
                written
                    .seen
                    .moment(format!("in-sync replicas of {name} are {:?}", written.isr)),
                seen.moment(format!(
                    "the high watermark of {} is {mark}, and the log of {who} ends at {end}",
                    broker_name(leader.broker)
                )),
            ],
        });
        if let Some(written) = &mut self.written {
            written.said.push(member);
        }
    }
}

#[cfg(test)]
#[path = "quorum_test.rs"]
mod tests;
