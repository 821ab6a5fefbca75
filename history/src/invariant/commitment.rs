//! INV-HW, INV-LOG and INV-COMPLETE: what leaders committed, and whether every replica agrees.
//!
//! A partition has one committed log: what the newest leader has below its high watermark. When a replica's high watermark
//! moves, only its batches between the old and the new one are compared with it.

use super::reads::Reads;
use super::replica::{Batch, ReplicaState};
use super::strong_isr::StoredIsr;
use super::{Breach, Findings, Seen, Spot, broker_name};
use crate::event::{Controller, ElectionKind, Replica};
use crate::manifest::Manifest;
use protocol::ids::{BrokerId, LeaderEpoch, TopicName, TopicPartition};
use std::collections::{BTreeMap, BTreeSet};

/// What is committed in one partition.
#[derive(Clone, Debug)]
pub(super) struct Committed {
    pub(super) name: TopicPartition,
    min_isr: usize,
    batches: Vec<Batch>,
    pub(super) end: i64,
    pub(super) replicas: BTreeMap<BrokerId, ReplicaState>,
    /// The newest leader, its epoch, and when it took over.
    pub(super) leader: Option<(BrokerId, LeaderEpoch, Seen)>,
    kinds: BTreeMap<LeaderEpoch, ElectionKind>,
    /// How many replicas are in sync now, and how few were when anything was committed.
    in_sync: usize,
    smallest_isr: usize,
    /// Who lost its disk from which offset on, and has not caught up since.
    pub(super) lossy: BTreeMap<BrokerId, i64>,
    /// Who lost power as an in-sync replica, has stayed one since, and is not registered again.
    unbroken: BTreeSet<BrokerId>,
    /// Those of them whose log came back shorter: before KIP-966 nobody takes out the last one, however it ended.
    kept: BTreeSet<BrokerId>,
    /// When the end moved last.
    moved: Option<Seen>,
    pub(super) stored: StoredIsr,
    pub(super) reads: Reads,
}

/// What is committed everywhere.
#[derive(Clone, Debug)]
pub(super) struct Commitments {
    places: BTreeMap<TopicPartition, usize>,
    /// The place looked up last: events come in runs.
    last: usize,
    partitions: Vec<Committed>,
    min_isr: Vec<(TopicName, usize)>,
}

impl Commitments {
    pub(super) fn new(manifest: &Manifest) -> Self {
        let min_isr = manifest.topics.iter().map(|topic| {
            let least = usize::try_from(topic.min_insync_replicas).unwrap_or(1);
            (topic.name.clone(), least.max(1))
        });
        Self {
            places: BTreeMap::new(),
            last: usize::MAX,
            partitions: Vec::new(),
            min_isr: min_isr.collect(),
        }
    }

    pub(super) fn partition(&mut self, name: &TopicPartition) -> &mut Committed {
        let hit = self
            .partitions
            .get(self.last)
            .is_some_and(|known| known.name == *name);
        if !hit {
            let next = self.partitions.len();
            self.last = *self.places.entry(name.clone()).or_insert(next);
            if self.last == next {
                let min_isr = self.min_isr.iter().find(|(topic, _)| *topic == name.topic);
                let min_isr = min_isr.map_or(1, |(_, least)| *least);
                self.partitions.push(Committed::new(name.clone(), min_isr));
            }
        }
        &mut self.partitions[self.last]
    }

    pub(super) fn on_power_loss(&mut self, broker: BrokerId) {
        for partition in &mut self.partitions {
            if partition.stored.has(broker) {
                partition.unbroken.insert(broker);
            }
        }
    }

    pub(super) fn on_registered(&mut self, broker: BrokerId) {
        for partition in &mut self.partitions {
            partition.unbroken.remove(&broker);
        }
    }

    /// Of an election that others have followed, only how it was made is new.
    pub(super) fn on_late(&mut self, controller: &Controller) {
        if let Controller::LeaderElected(election) = controller {
            let partition = self.partition(&election.partition);
            partition.kinds.insert(election.leader_epoch, election.kind);
        }
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
                partition.kinds.insert(election.leader_epoch, election.kind);
                partition.stored.on_elected(election);
                partition.retain_kept();
                partition.check_in_sync(seen, findings);
            }
            Controller::IsrWritten {
                partition,
                isr,
                leader_epoch,
                partition_epoch,
            } => {
                let partition = self.partition(partition);
                partition.isr(isr.len());
                let stored = &mut partition.stored;
                stored.on_told(*leader_epoch, isr, *partition_epoch);
                partition.retain_kept();
                partition.check_in_sync(seen, findings);
            }
            Controller::ReassignmentStarted {
                partition,
                removing,
                ..
            } => self
                .partition(partition)
                .stored
                .leaving
                .clone_from(removing),
            Controller::Reassigned { partition, .. } => {
                self.partition(partition).stored.leaving.clear();
            }
            Controller::TopicDeleted(topic) => {
                for partition in self
                    .partitions
                    .iter_mut()
                    .filter(|known| known.name.topic == *topic)
                {
                    *partition = Committed::new(partition.name.clone(), partition.min_isr);
                }
            }
            Controller::Elected { .. }
            | Controller::Resigned { .. }
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
        partition.reads.on_role(broker, replica);
        let state = partition.replicas.entry(broker).or_default();
        match replica {
            Replica::Appended(append) => state.append(Batch::of(append)),
            Replica::Truncated { to, rule, .. } => match rule.as_str() {
                "recovery" => partition.lose(broker, to.0),
                "full_and_start_at" => {
                    state.cut(i64::MIN);
                    state.end = to.0;
                    state.high_watermark = None;
                }
                _ => {
                    state.cut(to.0);
                    partition.on_cut((seen, broker), to.0, findings);
                }
            },
            Replica::Loaded {
                log_end_offset,
                high_watermark,
                ..
            } => partition.load(broker, log_end_offset.0, high_watermark.0),
            Replica::HighWatermark(mark) => {
                partition.on_high_watermark((seen, broker), mark.0, findings);
                if partition.is_newest_leader(broker) {
                    partition.check_in_sync(seen, findings);
                }
            }
            Replica::BecameLeader {
                leader_epoch,
                isr,
                log_end_offset,
            } => {
                state.high_watermark = None;
                if state.known && log_end_offset.0 < state.end {
                    partition.lose(broker, log_end_offset.0);
                }
                partition.isr(isr.len());
                partition.stored.on_untold(broker, *leader_epoch, isr);
                partition.on_leader((seen, broker), *leader_epoch, findings);
            }
            Replica::BecameFollower { .. } => state.high_watermark = None,
            Replica::IsrChanged {
                isr,
                partition_epoch,
            } => {
                partition.isr(isr.len());
                partition.stored.on_changed(broker, isr, *partition_epoch);
                partition.retain_kept();
                partition.check_in_sync(seen, findings);
            }
            Replica::Stopped { deleted: true } => *state = ReplicaState::default(),
            Replica::LogStart(start) => state.start = start.0,
            Replica::LastStableOffset(_)
            | Replica::Flushed(_)
            | Replica::IsrProposed { .. }
            | Replica::IsrRefused { .. }
            | Replica::Stopped { deleted: false }
            | Replica::DuplicateBatch { .. }
            | Replica::AppendRefused { .. }
            | Replica::Acknowledged { .. } => {}
        }
    }
}

impl Committed {
    fn new(name: TopicPartition, min_isr: usize) -> Self {
        Self {
            name,
            min_isr,
            batches: Vec::new(),
            end: 0,
            replicas: BTreeMap::new(),
            leader: None,
            kinds: BTreeMap::new(),
            in_sync: usize::MAX,
            smallest_isr: usize::MAX,
            lossy: BTreeMap::new(),
            unbroken: BTreeSet::new(),
            kept: BTreeSet::new(),
            moved: None,
            stored: StoredIsr::default(),
            reads: Reads::default(),
        }
    }

    pub(super) fn is_newest_leader(&self, broker: BrokerId) -> bool {
        self.leader.is_some_and(|(leader, ..)| leader == broker)
    }

    /// Where the newest leader's log begins. Nobody fetches what lies before, nor asks under which epoch it was written: a
    /// follower that differs there alone finds no difference (`LeaderEpochFileCache.endOffsetFor`).
    fn begin(&self) -> i64 {
        let leader = self.leader.as_ref();
        let state = leader.and_then(|(leader, ..)| self.replicas.get(leader));
        state.map_or(0, |state| state.start)
    }

    fn retain_kept(&mut self) {
        let stored = &self.stored;
        self.unbroken.retain(|broker| stored.has(*broker));
        self.kept.retain(|broker| stored.has(*broker));
    }

    fn isr(&mut self, size: usize) {
        self.in_sync = size.max(1);
    }

    /// A crash took everything from `to` on.
    fn lose(&mut self, broker: BrokerId, to: i64) {
        let Some(state) = self.replicas.get_mut(&broker) else {
            return;
        };
        if to < state.end {
            let lowest = self.lossy.entry(broker).or_insert(to);
            *lowest = to.min(*lowest);
            if self.unbroken.contains(&broker) {
                self.kept.insert(broker);
            }
        }
        state.cut(to);
    }

    fn load(&mut self, broker: BrokerId, end: i64, high_watermark: i64) {
        self.lose(broker, end);
        if self.is_newest_leader(broker) {
            // The leader begins again from its checkpoint, and followers take over what it says.
            for state in self.replicas.values_mut() {
                state.high_watermark = None;
            }
        }
        if let Some(state) = self.replicas.get_mut(&broker) {
            state.found(end);
            state.high_watermark = Some(high_watermark.min(end));
        }
    }

    fn on_high_watermark(
        &mut self,
        (seen, broker): (Seen, BrokerId),
        mark: i64,
        findings: &mut Findings,
    ) {
        findings.look("INV-HW");
        let Some(mut state) = self.replicas.remove(&broker) else {
            return;
        };
        let before = state.high_watermark.replace(mark);
        if let Some(before) = before.filter(|before| mark < *before) {
            let found = format!("{mark}");
            let expected = format!("at least {before}");
            let text = format!(
                "the high watermark of {} goes back from {before} to {mark}",
                self.name
            );
            findings.breaches.push(self.breach(
                "INV-HW",
                mark,
                (text, expected, found),
                (seen, broker),
            ));
        }
        if state.known && mark > state.end {
            let text = format!(
                "the high watermark of {} is above the end of the log",
                self.name
            );
            let expected = format!("at most {}", state.end);
            findings.breaches.push(self.breach(
                "INV-HW",
                mark,
                (text, expected, mark.to_string()),
                (seen, broker),
            ));
        }
        self.compare((seen, broker), &mut state, mark, findings);
        if state.end >= self.end {
            self.lossy.remove(&broker);
        }
        self.replicas.insert(broker, state);
    }

    /// Compares what came below the replica's high watermark; what the leader has beyond the committed end is committed now.
    fn compare(
        &mut self,
        (seen, broker): (Seen, BrokerId),
        state: &mut ReplicaState,
        mark: i64,
        findings: &mut Findings,
    ) {
        let leads = self.is_newest_leader(broker);
        // What INV-STRONG-ISR has compared already is not compared again, but it is judged all the same.
        if !leads {
            findings.look("INV-LOG");
        }
        let mut twin = None;
        while let Some(batch) = state.batches.get(state.compared).copied() {
            if batch.last >= mark || state.diverged {
                break;
            }
            if batch.base >= self.end {
                if !leads {
                    break;
                }
                self.batches.push(batch);
                self.end = batch.last + 1;
                self.moved = Some(seen);
                self.smallest_isr = self.smallest_isr.min(self.in_sync);
                state.compared += 1;
                continue;
            }
            if leads {
                findings.look("INV-LOG");
            }
            let place = twin.unwrap_or_else(|| self.place_of(batch.base));
            let known = self.batches.get(place).copied();
            // What was committed before the recording began is taken as it comes.
            let older = self
                .batches
                .first()
                .is_none_or(|first| batch.last < first.base);
            let nobodys = batch.last < self.begin() || state.doubtful.contains(&batch.base);
            if known != Some(batch) && !older && !nobodys {
                findings
                    .breaches
                    .push(self.mismatch((seen, broker), batch, known));
                if leads {
                    self.restart_at(batch.base);
                    continue;
                }
                state.diverged = true;
                break;
            }
            // Behind a batch that differs with reason nothing says that the next ones are of the same size.
            twin = if known == Some(batch) {
                Some(place + 1)
            } else {
                older.then_some(place)
            };
            state.compared += 1;
        }
    }

    fn place_of(&self, base: i64) -> usize {
        self.batches.partition_point(|batch| batch.base < base)
    }

    /// The committed log ends at `offset` now.
    fn restart_at(&mut self, offset: i64) {
        let keep = self.batches.partition_point(|batch| batch.last < offset);
        self.batches.truncate(keep);
        self.end = self.end.min(offset);
        for state in self.replicas.values_mut() {
            state.forget_from(offset);
        }
    }

    fn on_leader(
        &mut self,
        (seen, broker): (Seen, BrokerId),
        epoch: LeaderEpoch,
        findings: &mut Findings,
    ) {
        // A leader that comes back in its own epoch is looked at again: a crash can have taken what it had committed.
        let older = |(leader, newest, _): (BrokerId, LeaderEpoch, Seen)| {
            newest > epoch || newest == epoch && leader != broker
        };
        if self.leader.is_some_and(older) {
            return;
        }
        let previous = self.leader.replace((broker, epoch, seen));
        findings.look("INV-COMPLETE");
        findings.look("INV-READ");
        let Some(mut state) = self.replicas.remove(&broker) else {
            return;
        };
        if !state.doubtful.is_empty() {
            state.forget_from(state.doubtful.start);
        }
        if let Some(lacking) = self.first_lacking(&mut state) {
            let unclean = self.kinds.get(&epoch).is_some_and(|kind| kind.is_unclean());
            let lossy = self.lossy.values().filter(|to| **to < self.end).count();
            let led_without_its_tail = self.kept.contains(&broker)
                && self.lossy.get(&broker).is_some_and(|to| *to <= lacking);
            let doubtful = state.doubtful.contains(&lacking);
            let excused = unclean
                || lossy >= self.min_isr.min(self.smallest_isr)
                || led_without_its_tail
                || doubtful;
            if !excused {
                findings
                    .breaches
                    .push(self.incomplete((seen, broker), epoch, lacking, previous));
            }
            // Offset and epoch do not tell a lost record from the one that takes its place in the same epoch, so that other
            // replicas may keep theirs: the same loss is the cause of that difference.
            let same_epoch = previous.is_some_and(|(_, before, _)| before == epoch);
            if (same_epoch || doubtful) && excused {
                self.doubt_from(lacking);
            }
            if let Some(read) = self.reads.take_from(lacking).filter(|_| !excused) {
                findings
                    .breaches
                    .push(self.unread((seen, broker), lacking, read));
            }
            self.restart_at(lacking);
            // Who lost less than that has caught up with what is committed now.
            let end = self.end;
            self.lossy.retain(|_, to| *to < end);
            state.forget_from(lacking);
            state.diverged = false;
        }
        self.replicas.insert(broker, state);
        self.stored.on_leader(epoch);
        self.check_in_sync(seen, findings);
    }

    /// What replicas hold from `offset` on may differ from what the leader puts there now, without anybody's noticing.
    fn doubt_from(&mut self, offset: i64) {
        for state in self.replicas.values_mut() {
            state.doubtful = offset..state.end;
        }
    }

    /// The first committed offset that the replica does not have as committed.
    pub(super) fn first_lacking(&self, state: &mut ReplicaState) -> Option<i64> {
        let mut place = None;
        while let Some(batch) = state.batches.get(state.compared) {
            if batch.base >= self.end {
                break;
            }
            let at = place.unwrap_or_else(|| self.place_of(batch.base));
            let older = self
                .batches
                .first()
                .is_none_or(|first| batch.last < first.base);
            let same = self.batches.get(at) == Some(batch);
            if !same && !older && batch.last >= self.begin() {
                return Some(batch.base);
            }
            place = if same {
                Some(at + 1)
            } else {
                older.then_some(at)
            };
            state.compared += 1;
        }
        (state.end < self.end).then_some(state.end)
    }

    fn mismatch(
        &self,
        (seen, broker): (Seen, BrokerId),
        batch: Batch,
        known: Option<Batch>,
    ) -> Breach {
        let name = &self.name;
        let text = format!(
            "{name} at offset {} is not the same everywhere below the high watermark",
            batch.base
        );
        let expected = known.map_or_else(
            || "no batch begins there".to_owned(),
            |known| {
                format!(
                    "batch {}..={} of epoch {} (crc {:08x})",
                    known.base, known.last, known.epoch, known.crc
                )
            },
        );
        let found = format!(
            "{} holds batch {}..={} of epoch {} (crc {:08x})",
            broker_name(broker),
            batch.base,
            batch.last,
            batch.epoch,
            batch.crc
        );
        self.breach(
            "INV-LOG",
            batch.base,
            (text, expected, found),
            (seen, broker),
        )
    }

    fn incomplete(
        &self,
        (seen, broker): (Seen, BrokerId),
        epoch: LeaderEpoch,
        lacking: i64,
        previous: Option<(BrokerId, LeaderEpoch, Seen)>,
    ) -> Breach {
        let kind = self
            .kinds
            .get(&epoch)
            .map_or("clean", |kind| kind_name(*kind));
        let text = format!(
            "{} became leader of {} in epoch {epoch} ({kind} election) without the committed record at offset {lacking}",
            broker_name(broker),
            self.name,
        );
        let expected = format!(
            "a log that holds everything committed, up to offset {}",
            self.end - 1
        );
        let found = format!("the committed log is missing from offset {lacking} on");
        let mut breach = self.breach(
            "INV-COMPLETE",
            lacking,
            (text, expected, found),
            (seen, broker),
        );
        if let Some((leader, epoch, took_over)) = previous {
            let text = format!(
                "{} leads {} in epoch {epoch}",
                broker_name(leader),
                self.name
            );
            breach.story.push(took_over.moment(text));
            breach.story.sort_by_key(|spot| spot.seen.step);
        }
        breach
    }

    pub(super) fn breach(
        &self,
        code: &'static str,
        offset: i64,
        (summary, expected, found): (String, String, String),
        (seen, broker): (Seen, BrokerId),
    ) -> Breach {
        let mut story: Vec<Spot> = Vec::new();
        if let Some(moved) = self.moved {
            story.push(moved.moment(format!(
                "{} is committed up to offset {}",
                self.name, self.end
            )));
        }
        story.push(seen.moment(format!("{}: {summary}", broker_name(broker))));
        Breach {
            code,
            partition: Some(self.name.clone()),
            offset: Some(offset),
            summary,
            expected,
            found,
            story,
        }
    }
}

/// The word for a kind of election.
pub(super) fn kind_name(kind: ElectionKind) -> &'static str {
    match kind {
        ElectionKind::New => "new",
        ElectionKind::Clean => "clean",
        ElectionKind::Unclean => "unclean",
        ElectionKind::Preferred => "preferred",
        ElectionKind::ControlledShutdown => "controlled shutdown",
        ElectionKind::Reassignment => "reassignment",
        ElectionKind::Eligible => "eligible replica",
        ElectionKind::LastKnownLeader => "last known leader",
    }
}
