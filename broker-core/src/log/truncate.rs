//! Cutting a log (`Log.truncateTo`, `truncateFullyAndStartAt`, `removeAndDeleteSegments`).

use super::layout::{DELETED, SegmentFile, segment_path};
use super::segment::Segment;
use super::{Log, storage_error};
use protocol::behaviour::Fix;
use protocol::disk::{Disk, DiskError};
use protocol::error_code::ErrorCode;
use protocol::ids::Offset;
use protocol::machine::Io;
use protocol::note::{ReplicaNote, TruncationRule};
use protocol::time::{Mono, Now};
use std::sync::Arc;

impl Log {
    /// Cuts the log so that the next record gets offset `to`. Without effect on the records when it ends there or before;
    /// epochs that start at the log's end or later go in any case. Tells whether records went.
    ///
    /// # Errors
    /// [`ErrorCode::KafkaStorageError`].
    pub fn truncate_to(
        &mut self,
        now: Now,
        io: &mut Io<'_>,
        to: Offset,
        rule: TruncationRule,
    ) -> Result<bool, ErrorCode> {
        let from = self.log_end_offset;
        if to >= from {
            // A leader that noted its epoch and never appended in it must not keep the entry (KAFKA-7415).
            if self.epochs.truncate_from_end(from) {
                self.write_epochs(io.disk).map_err(storage_error)?;
            }
            return Ok(false);
        }
        if self.segments[0].base_offset > to {
            self.restart_at(now, io, to).map_err(storage_error)?;
        } else {
            self.cut(now, io, to).map_err(storage_error)?;
        }
        self.note(io, ReplicaNote::Truncated { to, from, rule });
        self.lower_high_watermark(io);
        Ok(true)
    }

    /// Drops everything; the next record gets offset `start`, which is also the log start.
    ///
    /// # Errors
    /// [`ErrorCode::KafkaStorageError`].
    pub fn truncate_fully_and_start_at(
        &mut self,
        now: Now,
        io: &mut Io<'_>,
        start: Offset,
    ) -> Result<(), ErrorCode> {
        let from = self.log_end_offset;
        self.restart_at(now, io, start).map_err(storage_error)?;
        let rule = TruncationRule::FullAndStartAt;
        self.note(
            io,
            ReplicaNote::Truncated {
                to: start,
                from,
                rule,
            },
        );
        self.note(io, ReplicaNote::LogStart(start));
        if self.behaviour.has(Fix::FullTruncationMovesHighWatermark) {
            self.update_high_watermark(io, self.high_watermark);
        } else {
            self.lower_high_watermark(io);
        }
        Ok(())
    }

    fn lower_high_watermark(&mut self, io: &mut Io<'_>) {
        if self.high_watermark > self.log_end_offset {
            self.update_high_watermark(io, self.log_end_offset);
        }
    }

    fn cut(&mut self, now: Now, io: &mut Io<'_>, to: Offset) -> Result<(), DiskError> {
        let keep = self
            .segments
            .partition_point(|segment| segment.base_offset <= to);
        let dropped = self.segments.split_off(keep.max(1));
        self.discard(now.mono, io.disk, &dropped)?;
        let now_ms = now.wall.millis();
        self.active_mut().truncate_to(io.disk, to, now_ms)?;
        if self.epochs.truncate_from_end(to) {
            self.write_epochs(io.disk)?;
        }
        self.log_end_offset = to;
        self.log_start_offset = self.log_start_offset.min(to);
        self.after_cut(to);
        self.rebuild_producers(io.disk, to, true)
    }

    fn restart_at(&mut self, now: Now, io: &mut Io<'_>, start: Offset) -> Result<(), DiskError> {
        let dropped = std::mem::take(&mut self.segments);
        self.discard(now.mono, io.disk, &dropped)?;
        let segment = Segment::create(io.disk, &self.directory, start, now.wall.millis())?;
        self.segments.push(Arc::new(segment));
        self.epochs.clear();
        self.write_epochs(io.disk)?;
        self.producers.clear(start);
        self.producers
            .remove_snapshots(io.disk, &self.directory, |_| true);
        self.log_end_offset = start;
        self.log_start_offset = start;
        self.after_cut(start);
        Ok(())
    }

    /// Nothing above `end` is durable any more, whatever flush is under way.
    fn after_cut(&mut self, end: Offset) {
        self.recovery_point = self.recovery_point.min(end);
        self.flush_wanted = self.flush_wanted.map(|up_to| up_to.min(end));
        for (_, up_to) in &mut self.flushing {
            *up_to = (*up_to).min(end);
        }
    }

    /// Renames the files of dropped segments to `.deleted` and leaves their removal to a later moment.
    pub(super) fn discard(
        &mut self,
        now: Mono,
        disk: &mut dyn Disk,
        dropped: &[Arc<Segment>],
    ) -> Result<(), DiskError> {
        let due = now + self.config.file_delete_delay_ms;
        for segment in dropped {
            for file in SegmentFile::ALL {
                let path = segment_path(&self.directory, segment.base_offset, file);
                let renamed = format!("{path}{DELETED}");
                match disk.rename(&path, &renamed) {
                    Ok(()) => self.removals.push_back((due, renamed)),
                    // Snapshots and transaction indexes need not exist.
                    Err(DiskError::NotFound) => {}
                    Err(error) => return Err(error),
                }
            }
            self.producers.snapshots.remove(&segment.base_offset);
        }
        Ok(())
    }

    /// When the next renamed file is to be removed.
    pub fn next_removal(&self) -> Option<Mono> {
        self.removals.front().map(|(due, _)| *due)
    }

    /// Removes the renamed files that are due.
    pub fn remove_due_files(&mut self, now: Now, disk: &mut dyn Disk) {
        while self.next_removal().is_some_and(|due| due <= now.mono) {
            if let Some((_, path)) = self.removals.pop_front() {
                // A later file of the same name took its place and went with the earlier one.
                let _ = disk.remove(&path);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::fixture::{Fixture, at, batch, numbered};
    use crate::log::producer_state::ProducerEntry;
    use protocol::behaviour::{Behaviour, Era};
    use protocol::ids::{LeaderEpoch, ProducerId, Sequence};

    /// Offsets 0 to 5, one per batch, three per segment, epochs 0 0 1 1 2 2.
    fn filled(behaviour: Behaviour) -> Fixture {
        let size = batch(&["a"]).size_in_bytes() * 3;
        let mut fixture = Fixture::with(&[("segment.bytes", &size.to_string())], behaviour);
        for epoch in [0, 0, 1, 1, 2, 2] {
            fixture.append(batch(&["a"]), epoch).unwrap();
        }
        fixture.commit();
        fixture.bench.notes();
        fixture
    }

    #[test]
    fn a_cut_log_forgets_records_epochs_and_high_watermark_above() {
        let mut fixture = filled(Behaviour::of(Era::V2_8));
        fixture.flush();
        fixture.bench.notes();
        assert!(fixture.truncate(2));
        assert_eq!(fixture.bases(), [0]);
        assert_eq!(fixture.all().len(), 2);
        assert_eq!(fixture.log.recovery_point(), Offset(2));
        assert_eq!(fixture.log.latest_epoch(), Some(LeaderEpoch(0)));
        assert_eq!(
            fixture.bench.disk.text("d/t-0/leader-epoch-checkpoint"),
            "0\n1\n0 0\n"
        );
        assert_eq!(
            fixture.bench.notes(),
            [
                ReplicaNote::Truncated {
                    to: Offset(2),
                    from: Offset(6),
                    rule: TruncationRule::LeaderEpoch
                },
                ReplicaNote::HighWatermark(Offset(2))
            ]
        );
        let info = fixture.append(batch(&["b"]), 3).unwrap();
        assert_eq!(info.first_offset, Offset(2));
    }

    #[test]
    fn a_cut_at_or_above_the_end_removes_only_an_epoch_without_records() {
        let mut fixture = filled(Behaviour::of(Era::V2_8));
        let io = &mut fixture.bench.io();
        let log = &mut fixture.log;
        log.maybe_assign_epoch_start_offset(io, LeaderEpoch(3), Offset(6))
            .unwrap();
        assert!(!fixture.truncate(9));
        assert_eq!(fixture.log.latest_epoch(), Some(LeaderEpoch(2)));
        assert_eq!(fixture.log.log_end_offset(), Offset(6));
        assert!(fixture.bench.notes().is_empty());
    }

    #[test]
    fn a_cut_inside_a_batch_takes_the_batch() {
        let mut fixture = Fixture::new(&[]);
        fixture.append(batch(&["a", "b"]), 0).unwrap();
        fixture.append(batch(&["c", "d"]), 0).unwrap();
        fixture.truncate(3);
        assert_eq!(fixture.all().len(), 1);
        assert_eq!(fixture.log.log_end_offset(), Offset(3));
    }

    #[test]
    fn a_cut_below_the_first_segment_starts_over_there() {
        let mut fixture = filled(Behaviour::of(Era::V2_8));
        let (now, io) = (fixture.now, &mut fixture.bench.io());
        fixture
            .log
            .maybe_increment_log_start_offset(io, Offset(4))
            .unwrap();
        fixture.log.delete_old_segments(now, io).unwrap();
        assert_eq!(fixture.bases(), [3]);
        fixture.truncate(1);
        assert_eq!(fixture.bases(), [1]);
        assert_eq!(fixture.log.log_start_offset(), Offset(1));
        assert_eq!(fixture.log.log_end_offset(), Offset(1));
    }

    #[test]
    fn a_full_truncation_moves_the_high_watermark_since_kafka_9491() {
        for (fixed, high_watermark) in [(true, 9), (false, 6)] {
            let behaviour =
                Behaviour::of(Era::V2_8).with(Fix::FullTruncationMovesHighWatermark, fixed);
            let mut fixture = filled(behaviour);
            let (now, io) = (fixture.now, &mut fixture.bench.io());
            fixture
                .log
                .truncate_fully_and_start_at(now, io, Offset(9))
                .unwrap();
            assert_eq!(fixture.log.log_start_offset(), Offset(9));
            assert_eq!(fixture.log.log_end_offset(), Offset(9));
            assert_eq!(fixture.log.high_watermark(), Offset(high_watermark));
            assert!(fixture.log.leader_epochs().is_empty());
            let io = &mut fixture.bench.io();
            let moved = fixture.log.maybe_increment_high_watermark(io, Offset(9));
            assert!(!moved, "it is there, or cannot leave");
            assert_eq!(fixture.log.high_watermark(), Offset(high_watermark));
        }
    }

    #[test]
    fn dropped_segments_are_renamed_and_removed_after_the_delay() {
        let mut fixture = filled(Behaviour::of(Era::V2_8));
        fixture.truncate(1);
        let renamed = "d/t-0/00000000000000000003.log.deleted";
        assert!(fixture.bench.disk.has(renamed));
        assert!(!fixture.bench.disk.has("d/t-0/00000000000000000003.log"));
        let due = fixture.log.next_removal().unwrap();
        assert_eq!(due, at(70_000).mono);
        let disk = &mut fixture.bench.disk;
        fixture.log.remove_due_files(at(69_999), disk);
        assert!(disk.has(renamed));
        fixture.log.remove_due_files(at(70_000), disk);
        assert!(!disk.has(renamed));
        assert_eq!(fixture.log.next_removal(), None);
    }

    #[test]
    fn producer_state_goes_back_with_the_records() {
        let mut fixture = Fixture::new(&[]);
        for sequence in 0..4 {
            fixture.append(numbered(7, 0, sequence, 1), 0).unwrap();
        }
        fixture.truncate(2);
        let last = |fixture: &Fixture| {
            let entry = fixture.log.producers().get(ProducerId(7));
            entry.and_then(ProducerEntry::last_sequence)
        };
        assert_eq!(last(&fixture), Some(Sequence(1)));
        assert!(
            fixture
                .bench
                .disk
                .has("d/t-0/00000000000000000002.snapshot")
        );
        fixture.append(numbered(7, 0, 2, 1), 1).unwrap();
        assert_eq!(last(&fixture), Some(Sequence(2)));
    }

    #[test]
    fn before_kafka_5435_a_cut_without_a_snapshot_lost_the_producers() {
        let behaviour = Behaviour::of(Era::V2_8).with(Fix::SnapshotBeforeTruncation, false);
        let mut fixture = Fixture::with(&[], behaviour);
        fixture.append(numbered(7, 0, 0, 1), 0).unwrap();
        fixture.append(numbered(7, 0, 1, 1), 0).unwrap();
        fixture.truncate(1);
        assert!(fixture.log.producers().is_empty());
    }

    #[test]
    fn a_flush_under_way_counts_only_up_to_the_cut() {
        let mut fixture = filled(Behaviour::of(Era::V2_8));
        let flush = fixture.log.start_flush(Offset(6)).unwrap();
        fixture.truncate(2);
        fixture.append(batch(&["new"]), 3).unwrap();
        fixture.bench.notes();
        let (now, io) = (fixture.now, &mut fixture.bench.io());
        fixture.log.on_flushed(now, io, flush.ticket, true);
        assert_eq!(fixture.log.recovery_point(), Offset(2));
        assert_eq!(fixture.bench.notes(), [ReplicaNote::Flushed(Offset(2))]);
    }
}
