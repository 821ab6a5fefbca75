//! What the leaders' logs make of transactions: which batches a marker committed or aborted, and what is visible below the
//! last stable offset.
//!
//! A marker ends what its producer has open in that partition, whatever its epoch: that is how a reader of committed
//! records goes by it, too.

use crate::checker::index::{EventId, Index, NONE, OffsetMap, ValueId, wide};
use crate::event::{Append, Replica, What};
use crate::manifest::{ClientKind, Stream};
use crate::operation::Action;
use protocol::ids::{LeaderEpoch, ProducerId};
use std::collections::BTreeMap;

/// What became of a batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Decided {
    /// It is of no transaction.
    Plain,
    /// A marker commits it.
    Committed(EventId),
    /// A marker aborts it.
    Aborted(EventId),
    /// No marker follows it.
    Open,
}

/// A batch of records in the log of the last leader.
#[derive(Clone, Copy, Debug)]
pub struct LoggedBatch {
    /// Its first offset.
    pub base: i64,
    /// Its last offset.
    pub last: i64,
    /// Where its leader appended it.
    pub appended: EventId,
    /// Whose.
    pub producer: Option<ProducerId>,
    /// What became of it.
    pub decided: Decided,
}

/// The batches of every partition, by its dense number, as the last leader has them.
#[derive(Clone, Debug, Default)]
pub struct TransactionLog {
    parts: Vec<Vec<LoggedBatch>>,
}

impl TransactionLog {
    /// Replays the leaders' appends.
    pub(super) fn of(index: &Index<'_>) -> Self {
        let mut replays: Vec<Replay> = Vec::new();
        replays.resize_with(index.partitions.len(), Replay::default);
        for (id, event) in (0..).map(EventId).zip(&index.history.events) {
            let What::Replica(name, replica) = &event.what else {
                continue;
            };
            if let Replica::Appended(Append { leader: false, .. }) = replica {
                continue;
            }
            let part = index.part(name);
            if part != NONE && index.partition(part).topic.is_some() {
                replays[wide(part)].take(id, replica);
            }
        }
        let parts = replays.into_iter().map(Replay::decided).collect();
        Self { parts }
    }

    /// The batch of records that holds an offset.
    pub fn batch(&self, part: u32, offset: i64) -> Option<&LoggedBatch> {
        let batches = self.parts.get(wide(part))?;
        let after = batches.partition_point(|batch| batch.base <= offset);
        let batch = batches.get(after.checked_sub(1)?)?;
        (batch.last >= offset).then_some(batch)
    }

    /// All batches of records of a partition.
    pub fn batches(&self, part: u32) -> &[LoggedBatch] {
        self.parts.get(wide(part)).map_or(&[], Vec::as_slice)
    }

    /// The first batch that no marker ended.
    pub fn first_open(&self, part: u32) -> Option<&LoggedBatch> {
        let mut batches = self.batches(part).iter();
        batches.find(|batch| batch.decided == Decided::Open)
    }
}

/// The log of one partition while its leaders write it.
#[derive(Default)]
struct Replay {
    epoch: Option<LeaderEpoch>,
    batches: Vec<LoggedBatch>,
    /// Markers among them: offset, whose, and whether they commit.
    markers: Vec<(i64, EventId, ProducerId, bool)>,
}

impl Replay {
    fn take(&mut self, id: EventId, replica: &Replica) {
        match replica {
            Replica::Appended(append)
                if self.epoch.is_none_or(|own| append.leader_epoch >= own) =>
            {
                self.cut(append.base_offset.0);
                self.append(id, append);
            }
            Replica::BecameLeader {
                leader_epoch,
                log_end_offset,
                ..
            } if self.epoch.is_none_or(|own| *leader_epoch >= own) => {
                self.epoch = Some(*leader_epoch);
                self.cut(log_end_offset.0);
            }
            Replica::Appended(_)
            | Replica::Truncated { .. }
            | Replica::Loaded { .. }
            | Replica::HighWatermark(_)
            | Replica::LastStableOffset(_)
            | Replica::LogStart(_)
            | Replica::Flushed(_)
            | Replica::BecameLeader { .. }
            | Replica::BecameFollower { .. }
            | Replica::IsrProposed { .. }
            | Replica::IsrChanged { .. }
            | Replica::IsrRefused { .. }
            | Replica::Stopped { .. }
            | Replica::DuplicateBatch { .. }
            | Replica::AppendRefused { .. }
            | Replica::Acknowledged { .. } => {}
        }
    }

    /// A leader's log ends here.
    fn cut(&mut self, end: i64) {
        while self.batches.last().is_some_and(|batch| batch.base >= end) {
            self.batches.pop();
        }
        while self.markers.last().is_some_and(|marker| marker.0 >= end) {
            self.markers.pop();
        }
    }

    fn append(&mut self, id: EventId, append: &Append) {
        let producer = append.producer.map(|(producer, ..)| producer);
        if append.control {
            if let (Some(producer), Some(committed)) = (producer, append.committed) {
                let marker = (append.base_offset.0, id, producer, committed);
                self.markers.push(marker);
            }
            return;
        }
        let decided = if append.transactional {
            Decided::Open
        } else {
            Decided::Plain
        };
        self.batches.push(LoggedBatch {
            base: append.base_offset.0,
            last: append.last_offset.0,
            appended: id,
            producer,
            decided,
        });
    }

    /// Markers and batches, both in the order of their offsets, meet.
    fn decided(mut self) -> Vec<LoggedBatch> {
        let mut open: BTreeMap<ProducerId, Vec<usize>> = BTreeMap::new();
        let mut markers = self.markers.iter().peekable();
        for place in 0..=self.batches.len() {
            let next = self.batches.get(place).map_or(i64::MAX, |batch| batch.base);
            while let Some((_, id, producer, committed)) =
                markers.next_if(|(offset, ..)| *offset < next)
            {
                for ended in open.remove(producer).unwrap_or_default() {
                    self.batches[ended].decided = if *committed {
                        Decided::Committed(*id)
                    } else {
                        Decided::Aborted(*id)
                    };
                }
            }
            let batch = self.batches.get(place);
            if let Some(LoggedBatch {
                decided: Decided::Open,
                producer: Some(producer),
                ..
            }) = batch
            {
                open.entry(*producer).or_default().push(place);
            }
        }
        self.batches
    }
}

/// What a reader of committed records sees in the end.
#[derive(Clone, Debug)]
pub struct Visible {
    copies: Vec<u16>,
    /// By value: where it is seen first.
    places: Vec<(u32, i64)>,
    logs: Vec<OffsetMap<u32>>,
}

impl Visible {
    /// By the read that closes a run with transactions; without it, by the log of the last leaders up to their last stable
    /// offset; nothing without the brokers' word either.
    pub(super) fn of(index: &Index<'_>, log: &TransactionLog) -> Option<Self> {
        let streams = &index.history.manifest;
        if streams.has(Stream::CommittedRead) {
            Some(Self::read(index))
        } else if streams.has(Stream::Brokers) {
            Some(Self::logged(index, log))
        } else {
            None
        }
    }

    fn read(index: &Index<'_>) -> Self {
        let mut visible = Self::empty(index);
        for event in &index.polls {
            let What::Operation(operation) = &index.event(*event).what else {
                continue;
            };
            let clients = &index.history.manifest.clients;
            let kind = clients.get(usize::from(operation.client));
            let Action::Poll { records, .. } = &operation.action else {
                continue;
            };
            if kind.is_none_or(|client| client.kind != ClientKind::CommittedReader) {
                continue;
            }
            for polled in records {
                let part = index.part(&polled.partition);
                for (offset, value) in polled.records.iter().filter(|_| part != NONE) {
                    let id = value.map_or(ValueId::NONE, |value| index.values.id(value));
                    visible.show(part, offset.0, id);
                }
            }
        }
        visible
    }

    fn logged(index: &Index<'_>, log: &TransactionLog) -> Self {
        let mut visible = Self::empty(index);
        for (part, partition) in index.workload() {
            let open = log.first_open(part).map_or(i64::MAX, |batch| batch.base);
            let end = open.min(partition.high_watermark);
            for batch in log.batches(part).iter().filter(|batch| batch.base < end) {
                if matches!(batch.decided, Decided::Plain | Decided::Committed(_)) {
                    visible.show_batch(index, part, batch);
                }
            }
        }
        visible
    }

    fn empty(index: &Index<'_>) -> Self {
        let values = index.values.sent.len();
        let mut logs = Vec::new();
        logs.resize_with(index.partitions.len(), || OffsetMap::new(NONE));
        Self {
            copies: vec![0; values],
            places: vec![(NONE, -1); values],
            logs,
        }
    }

    fn show_batch(&mut self, index: &Index<'_>, part: u32, batch: &LoggedBatch) {
        let What::Replica(_, Replica::Appended(append)) = &index.event(batch.appended).what else {
            return;
        };
        for (offset, value) in (batch.base..).zip(&append.values) {
            self.show(part, offset, index.values.id(*value));
        }
    }

    fn show(&mut self, part: u32, offset: i64, id: ValueId) {
        if !id.is_some() || self.logs[wide(part)].set(offset, id.0) == id.0 {
            return;
        }
        let copies = &mut self.copies[wide(id.0)];
        *copies = copies.saturating_add(1);
        if *copies == 1 {
            self.places[wide(id.0)] = (part, offset);
        }
    }

    /// How often a value is seen.
    pub fn copies(&self, id: ValueId) -> u16 {
        self.copies[wide(id.0)]
    }

    /// Where a value is seen first.
    pub fn place(&self, id: ValueId) -> Option<(u32, i64)> {
        let place = self.places[wide(id.0)];
        (place.0 != NONE).then_some(place)
    }

    /// What is seen at a place.
    pub fn at(&self, part: u32, offset: i64) -> ValueId {
        self.logs
            .get(wide(part))
            .map_or(ValueId::NONE, |log| ValueId(log.get(offset)))
    }

    /// All that is seen of a partition, in order.
    pub fn log(&self, part: u32) -> &OffsetMap<u32> {
        &self.logs[wide(part)]
    }
}
