//! Bringing producer state to an offset: at start and after a cut (`Log.loadProducerState`, `rebuildProducerState`).

use super::Log;
use super::producer_state::ProducerStates;
use super::segment::size_of;
use protocol::behaviour::Fix;
use protocol::disk::{Disk, DiskError};
use protocol::ids::Offset;
use std::sync::Arc;

impl Log {
    pub(super) fn load_producers(
        &mut self,
        disk: &mut dyn Disk,
        clean: bool,
    ) -> Result<(), DiskError> {
        if clean && self.producers.snapshots.is_empty() {
            // Kafka spares the scan of a log that never had a producer.
            self.producers.clear(self.log_end_offset);
            return Ok(());
        }
        self.remove_stray_snapshots(disk);
        self.rebuild_producers(disk, self.log_end_offset, false)
    }

    /// Snapshots that belong to no segment go, except the newest one behind the last segment's base.
    fn remove_stray_snapshots(&mut self, disk: &mut dyn Disk) {
        let newest = self.producers.snapshots.last().copied();
        let segments = &self.segments;
        self.producers
            .remove_snapshots(disk, &self.directory, |offset| {
                Some(offset) != newest
                    && segments
                        .binary_search_by_key(&offset, |segment| segment.base_offset)
                        .is_err()
            });
    }

    /// Producer state as of `end`: the newest snapshot not above it, and the batches behind that.
    pub(super) fn rebuild_producers(
        &mut self,
        disk: &mut dyn Disk,
        end: Offset,
        running: bool,
    ) -> Result<(), DiskError> {
        let none_known = running && self.producers.is_empty() && self.producers.map_end >= end;
        let directory = Arc::clone(&self.directory);
        let range = (self.log_start_offset, end);
        self.producers.reload(disk, &directory, range);
        // KAFKA-5435: without a snapshot left the state was taken to be empty.
        let lost = running
            && self.producers.snapshots.is_empty()
            && !self.behaviour.has(Fix::SnapshotBeforeTruncation);
        if !none_known && !lost {
            let mut states = std::mem::take(&mut self.producers);
            self.replay_producers(disk, &mut states, end)?;
            self.producers = states;
        }
        self.producers.map_end = end;
        self.producers.on_high_watermark(self.high_watermark);
        if end > self.log_start_offset {
            self.producers.take_snapshot(disk, &directory)?;
        }
        Ok(())
    }

    /// Brings `states` from where they are to `end`. Only headers are read of batches without a producer.
    fn replay_producers(
        &self,
        disk: &mut dyn Disk,
        states: &mut ProducerStates,
        end: Offset,
    ) -> Result<(), DiskError> {
        let from = states.map_end;
        let first = self.floor_index(from).unwrap_or(0);
        for segment in self.segments.get(first..).unwrap_or_default() {
            let start = segment.find(disk, from.max(segment.base_offset))?;
            let mut position = start.map_or(segment.size, |slot| slot.position);
            while let Some(header) = segment.header_at(disk, position)? {
                if header.base_offset >= end {
                    break;
                }
                if header.producer_id.is_some()
                    && let Some(batch) = segment.batch_at(disk, position)?
                {
                    states.apply(&batch, self.behaviour);
                }
                position += size_of(header.size_in_bytes());
            }
        }
        states.map_end = states.map_end.max(end);
        Ok(())
    }

    /// Builds the transaction index of a recovered segment anew: from the producers as of its start, through its batches.
    pub(super) fn rebuild_transactions(
        &mut self,
        disk: &mut dyn Disk,
        index: usize,
    ) -> Result<(), DiskError> {
        let mut segment = Arc::clone(&self.segments[index]);
        let range = (self.log_start_offset, segment.base_offset);
        let mut states = self.producers.at_snapshot(disk, &self.directory, range);
        self.replay_producers(disk, &mut states, segment.base_offset)?;
        let mut position = 0;
        while let Some(batch) = segment.batch_at(disk, position)? {
            position += size_of(batch.size_in_bytes());
            let completed = states.apply(&batch, self.behaviour);
            if let Some(completed) = completed.filter(|completed| completed.aborted) {
                let span = states.aborted_span(&completed);
                Arc::make_mut(&mut segment).append_aborted(disk, &self.directory, span)?;
            }
        }
        self.segments[index] = segment;
        Ok(())
    }

    /// Before a clean stop: the producer state is written down, so that the next start need not scan.
    pub(super) fn close(&mut self, disk: &mut dyn Disk) -> Result<(), DiskError> {
        let directory = Arc::clone(&self.directory);
        if self.log_end_offset > self.log_start_offset {
            self.producers.take_snapshot(disk, &directory)?;
        }
        self.active_mut().close(disk)
    }
}

#[cfg(test)]
mod tests {
    use crate::log::fixture::{Fixture, numbered};
    use protocol::ids::{ProducerId, Sequence};

    #[test]
    fn the_deduplication_window_survives_a_crash_but_only_its_end_a_clean_stop() {
        let mut fixture = Fixture::new(&[]);
        for sequence in 0..3 {
            fixture.append(numbered(7, 0, sequence, 1), 0).unwrap();
        }
        fixture.flush();
        fixture.reopen(false);
        let window = |fixture: &Fixture| {
            let entry = fixture.log.producers().get(ProducerId(7)).unwrap();
            (entry.batches.len(), entry.last_sequence())
        };
        assert_eq!(window(&fixture), (3, Some(Sequence(2))));
        fixture.reopen(true);
        assert_eq!(window(&fixture), (1, Some(Sequence(2))));
        assert!(
            fixture
                .bench
                .disk
                .has("d/t-0/00000000000000000003.snapshot")
        );
    }
}
