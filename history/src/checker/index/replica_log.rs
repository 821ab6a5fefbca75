//! What one replica had in its log at any moment, replayed from its appends and cuts.

use super::EventId;

/// Why a replica's log got shorter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CutKind {
    /// It truncated to follow a leader.
    Truncation,
    /// A crash took what was not durable, or the disk came back empty or older.
    DiskLoss,
    /// The replica was deleted.
    Deleted,
}

/// The moment at which a log got shorter.
#[derive(Clone, Copy, Debug)]
pub struct Cut {
    /// When.
    pub event: EventId,
    /// The first offset that is gone.
    pub to: i64,
    /// Why.
    pub kind: CutKind,
}

#[derive(Clone, Copy, Debug)]
struct Batch {
    base: i64,
    last: i64,
    /// Its append.
    event: EventId,
    /// From when on it is there: later than its append where a cut came undone.
    since: EventId,
}

/// Appends between two cuts: base offsets only grow.
#[derive(Clone, Debug, Default)]
struct Segment {
    batches: Vec<Batch>,
    /// What ended it.
    cut: Option<Cut>,
}

/// The log of one replica over time.
#[derive(Clone, Debug)]
pub struct ReplicaLog {
    segments: Vec<Segment>,
    /// The offset after the last record.
    pub end: i64,
    /// The first offset that is left, once the replica has deleted something.
    pub start: i64,
}

impl Default for ReplicaLog {
    fn default() -> Self {
        Self {
            segments: vec![Segment::default()],
            end: 0,
            start: 0,
        }
    }
}

impl ReplicaLog {
    /// A batch was appended.
    pub fn append(&mut self, event: EventId, base: i64, last: i64) {
        if base < self.end {
            // Nobody said that the log was cut, so its disk must have lost the rest.
            self.cut(event, base, CutKind::DiskLoss);
        }
        self.end = last + 1;
        if let Some(segment) = self.segments.last_mut() {
            segment.batches.push(Batch {
                base,
                last,
                event,
                since: event,
            });
        }
    }

    /// The broker comes back with a log that ends there. Where that is further than its log went, the last cut had not
    /// reached the disk when the power was lost.
    pub fn loaded(&mut self, event: EventId, end: i64) {
        if end < self.end {
            self.cut(event, end, CutKind::DiskLoss);
        }
        if end > self.end {
            self.undo_last_cut(event, end);
        }
        self.end = end;
    }

    fn undo_last_cut(&mut self, event: EventId, end: i64) {
        let Some(cut) = self.cuts().last() else {
            return;
        };
        let before = EventId(cut.event.0.saturating_sub(1));
        let mut next = self.end;
        let mut back = Vec::new();
        while let Some(batch) = self.batch_at(next, before).filter(|_| next < end) {
            next = batch.last + 1;
            back.push(Batch {
                since: event,
                ..batch
            });
        }
        if let Some(segment) = self.segments.last_mut() {
            segment.batches.extend(back);
        }
    }

    /// Everything from `to` on is gone.
    pub fn cut(&mut self, event: EventId, to: i64, kind: CutKind) {
        self.end = self.end.min(to);
        if let Some(segment) = self.segments.last_mut() {
            segment.cut = Some(Cut { event, to, kind });
        }
        self.segments.push(Segment::default());
    }

    /// It truncated, and by which rule it said so.
    pub fn truncated(&mut self, event: EventId, to: i64, rule: &str) {
        match rule {
            "recovery" => self.cut(event, to, CutKind::DiskLoss),
            "full_and_start_at" => {
                self.cut(event, i64::MIN, CutKind::Truncation);
                self.end = to;
            }
            _ => self.cut(event, to, CutKind::Truncation),
        }
    }

    /// The append that brought what is at `offset` at the moment of `at`; `None` when nothing is there.
    pub fn holds(&self, offset: i64, at: EventId) -> Option<EventId> {
        Some(self.batch_at(offset, at)?.event)
    }

    fn batch_at(&self, offset: i64, at: EventId) -> Option<Batch> {
        let mut lowest_cut = i64::MAX;
        for segment in self.segments.iter().rev() {
            if let Some(cut) = segment.cut.filter(|cut| cut.event <= at) {
                lowest_cut = lowest_cut.min(cut.to);
            }
            if offset >= lowest_cut {
                return None;
            }
            let after = segment
                .batches
                .partition_point(|batch| batch.base <= offset);
            let batch = after.checked_sub(1).map(|place| segment.batches[place]);
            if let Some(batch) = batch.filter(|batch| batch.last >= offset && batch.since <= at) {
                return Some(batch);
            }
        }
        None
    }

    /// The cuts that took `offset` away, in the order of time.
    pub fn cuts_of(&self, offset: i64) -> impl Iterator<Item = Cut> + '_ {
        let cuts = self.segments.iter().filter_map(|segment| segment.cut);
        cuts.filter(move |cut| cut.to <= offset)
    }

    /// All appends, cuts and what they cut, for the ledger.
    pub fn cuts(&self) -> impl Iterator<Item = Cut> + '_ {
        self.segments.iter().filter_map(|segment| segment.cut)
    }

    /// The appends that brought `offset`, in the order of time.
    pub fn appends_of(&self, offset: i64) -> impl Iterator<Item = EventId> + '_ {
        self.segments.iter().filter_map(move |segment| {
            let after = segment
                .batches
                .partition_point(|batch| batch.base <= offset);
            let batch = after.checked_sub(1).map(|place| segment.batches[place]);
            batch
                .filter(|batch| batch.last >= offset)
                .map(|batch| batch.event)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_holds_what_was_appended_and_not_cut() {
        let mut log = ReplicaLog::default();
        log.append(EventId(1), 0, 4);
        log.append(EventId(2), 5, 9);
        log.cut(EventId(3), 7, CutKind::Truncation);
        log.append(EventId(4), 7, 8);
        assert_eq!(log.holds(8, EventId(1)), None);
        assert_eq!(log.holds(8, EventId(2)), Some(EventId(2)));
        assert_eq!(log.holds(8, EventId(3)), None);
        assert_eq!(log.holds(8, EventId(4)), Some(EventId(4)));
        assert_eq!(log.holds(6, EventId(9)), Some(EventId(2)));
        assert_eq!(log.holds(3, EventId(9)), Some(EventId(1)));
        assert_eq!(log.holds(9, EventId(9)), None);
        assert_eq!(log.end, 9);
        assert_eq!(
            log.appends_of(8).collect::<Vec<_>>(),
            [EventId(2), EventId(4)]
        );
        assert_eq!(log.cuts_of(6).count(), 0);
        assert_eq!(log.cuts_of(7).count(), 1);
    }

    #[test]
    fn a_log_that_is_longer_than_it_was_cut_to_has_what_was_cut_off() {
        let mut log = ReplicaLog::default();
        log.append(EventId(1), 0, 4);
        log.append(EventId(2), 5, 9);
        log.cut(EventId(3), 5, CutKind::Truncation);
        log.loaded(EventId(4), 10);
        assert_eq!(log.holds(7, EventId(3)), None);
        assert_eq!(log.holds(7, EventId(4)), Some(EventId(2)));
        assert_eq!(log.end, 10);
        log.append(EventId(5), 10, 10);
        assert_eq!(log.holds(10, EventId(5)), Some(EventId(5)));
    }

    #[test]
    fn an_append_below_the_end_means_the_disk_lost_the_rest() {
        let mut log = ReplicaLog::default();
        log.append(EventId(1), 0, 4);
        log.append(EventId(2), 2, 3);
        assert_eq!(log.holds(4, EventId(2)), None);
        assert_eq!(
            log.cuts_of(4).next().map(|cut| cut.kind),
            Some(CutKind::DiskLoss)
        );
    }
}
