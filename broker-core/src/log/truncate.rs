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
