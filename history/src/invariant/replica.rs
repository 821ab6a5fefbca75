//! One replica's log as far as the invariants need it: its batches, its end, its high watermark, and up to where it has
//! been compared with the committed log.

use crate::event::Append;
use protocol::ids::LeaderEpoch;
use std::ops::Range;

/// A batch: two are the same when all of this is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Batch {
    pub(super) base: i64,
    pub(super) last: i64,
    pub(super) epoch: LeaderEpoch,
    pub(super) crc: u32,
}

impl Batch {
    pub(super) fn of(append: &Append) -> Self {
        Self {
            base: append.base_offset.0,
            last: append.last_offset.0,
            epoch: append.leader_epoch,
            crc: append.crc,
        }
    }
}

/// One replica.
#[derive(Clone, Debug, Default)]
pub(super) struct ReplicaState {
    pub(super) batches: Vec<Batch>,
    /// What the last cut took off: it may come back as long as nothing was appended since.
    gone: Vec<Batch>,
    /// What lies below is deleted, as far as is told.
    pub(super) start: i64,
    /// The offset after the last batch.
    pub(super) end: i64,
    /// Whether `end` is known.
    pub(super) known: bool,
    /// Since it has its role; `None` right after it got it.
    pub(super) high_watermark: Option<i64>,
    /// Batches before this one have been compared.
    pub(super) compared: usize,
    /// It differs from the committed log, which was said already.
    pub(super) diverged: bool,
    /// Offsets at which lost disks, not the protocol, may have made it differ.
    pub(super) doubtful: Range<i64>,
}

impl ReplicaState {
    pub(super) fn append(&mut self, batch: Batch) {
        if self.known && batch.base < self.end {
            self.cut(batch.base);
        }
        self.gone.clear();
        self.batches.push(batch);
        self.end = batch.last + 1;
        self.known = true;
    }

    /// Everything from `to` on is gone; a batch that reaches beyond goes with it.
    pub(super) fn cut(&mut self, to: i64) {
        let keep = self.batches.partition_point(|batch| batch.last < to);
        self.gone = self.batches.split_off(keep);
        self.end = self.end.min(to);
        if self.compared > keep {
            self.compared = keep;
        }
        self.diverged = false;
        self.doubtful.end = self.doubtful.end.min(to);
        self.high_watermark = self.high_watermark.map(|mark| mark.min(to));
    }

    /// The log was found to end there; where that is further than it went, the last cut had not reached the disk when the
    /// power was lost.
    pub(super) fn found(&mut self, end: i64) {
        let back = self.gone.drain(..).filter(|batch| batch.last < end);
        if self.known && end > self.end {
            self.batches.extend(back);
        }
        self.end = end;
        self.known = true;
    }

    /// Batches from `offset` on have to be compared again.
    pub(super) fn forget_from(&mut self, offset: i64) {
        let keep = self.batches.partition_point(|batch| batch.last < offset);
        self.compared = self.compared.min(keep);
    }
}
