//! Opening a log at start (`Log.loadSegments`, `recoverLog`, `recoverSegment`, `loadProducerState`).
//!
//! After a clean stop the files are trusted. Otherwise every segment from the recovery point on is walked batch by batch,
//! cut at the first bad one, its indexes and the producer state built anew, and later segments dropped. Left out: `.swap`
//! files, which only compaction leaves behind.

use super::Log;
use super::checkpoint::{parse_epochs, parse_partition_metadata, read_text};
use super::layout::{
    CLEANED, DELETED, LEADER_EPOCH_CHECKPOINT, PARTITION_METADATA, SegmentFile, parse_segment_name,
    segment_path,
};
use super::leader_epoch_cache::LeaderEpochCache;
use super::offset_index::OffsetIndex;
use super::producer_state::ProducerStates;
use super::segment::Segment;
use super::time_index::TimeIndex;
use super::transaction_index::TransactionIndex;
use protocol::behaviour::{Behaviour, Fix};
use protocol::config::TopicConfig;
use protocol::disk::{Disk, DiskError};
use protocol::ids::{Offset, TopicPartition};
use protocol::machine::Io;
use protocol::note::{ReplicaNote, TruncationRule};
use protocol::record::{BatchHeader, HEADER_SIZE};
use protocol::time::Now;
use std::collections::VecDeque;
use std::sync::Arc;

/// What is known of a log before its files are looked at.
#[derive(Clone, Debug)]
pub struct LogSource {
    /// Whose log.
    pub partition: TopicPartition,
    /// The log directory it lies in.
    pub log_dir: Arc<str>,
    /// Its settings.
    pub config: TopicConfig,
    /// The node's era and fixes.
    pub behaviour: Behaviour,
    /// The last life of the broker ended in good order.
    pub clean: bool,
    /// From the checkpoints: recovery point, log start and high watermark.
    pub recovery_point: Offset,
    /// See [`LogSource::recovery_point`].
    pub log_start_offset: Offset,
    /// See [`LogSource::recovery_point`].
    pub high_watermark: Offset,
}

impl Log {
    /// Opens the log in its directory, creating it when there is nothing yet, and notes how it was found.
    ///
    /// # Errors
    /// What the disk says; the log directory is then to be taken offline.
    pub fn open(now: Now, io: &mut Io<'_>, source: LogSource) -> Result<Self, DiskError> {
        let clean = source.clean;
        let mut log = Self::bare(now, source);
        let names = io.disk.list(&log.directory);
        remove_leftovers(io.disk, &log.directory, &names)?;
        log.read_epochs(io.disk);
        let untrusted = log.open_segments(now, io.disk, &names)?;
        let walked = if clean {
            log.segments.len()
        } else {
            log.floor_index(log.recovery_point).unwrap_or(0)
        };
        for base in untrusted {
            let index = log.index_of(base);
            if index < walked {
                log.recover_segment(io.disk, index)?;
            }
        }
        let cut = log.recover(now, io.disk, walked)?;
        log.settle(now, io.disk, clean)?;
        log.load_producers(io.disk, clean)?;
        log.read_topic_id(io.disk)?;
        if let Some(from) = cut.filter(|from| *from > log.log_end_offset) {
            let (to, rule) = (log.log_end_offset, TruncationRule::Recovery);
            log.note(io, ReplicaNote::Truncated { to, from, rule });
        }
        let note = ReplicaNote::Loaded {
            log_start_offset: log.log_start_offset,
            log_end_offset: log.log_end_offset,
            high_watermark: log.high_watermark,
            clean,
        };
        log.note(io, note);
        Ok(log)
    }

    fn bare(now: Now, source: LogSource) -> Self {
        let directory = super::layout::log_path(&source.log_dir, &source.partition);
        Self {
            partition: source.partition,
            directory: Arc::from(directory),
            log_dir: source.log_dir,
            topic_id: None,
            config: source.config,
            behaviour: source.behaviour,
            segments: Vec::new(),
            epochs: LeaderEpochCache::default(),
            producers: ProducerStates::default(),
            log_start_offset: source.log_start_offset,
            log_end_offset: source.log_start_offset,
            recovery_point: source.recovery_point,
            high_watermark: source.high_watermark,
            flush_wanted: None,
            last_flush: now.mono,
            flushing: Vec::new(),
            next_ticket: 0,
            removals: VecDeque::new(),
            noted_stable: None,
        }
    }

    /// A broker that does not speak of topic ids removes what an earlier life of it wrote down; a file that cannot be read
    /// is an error of the disk.
    fn read_topic_id(&mut self, disk: &mut dyn Disk) -> Result<(), DiskError> {
        let path = format!("{}/{PARTITION_METADATA}", self.directory);
        if disk.find(&path).is_none() {
            return Ok(());
        }
        let protocol = self.behaviour.inter_broker_protocol;
        if !protocol.supports_topic_ids() {
            return disk.remove(&path);
        }
        let text = read_text(disk, &path).ok_or(DiskError::Io)?;
        self.topic_id = Some(parse_partition_metadata(&text).ok_or(DiskError::Io)?);
        Ok(())
    }

    fn read_epochs(&mut self, disk: &mut dyn Disk) {
        let path = format!("{}/{LEADER_EPOCH_CHECKPOINT}", self.directory);
        let entries = read_text(disk, &path).and_then(|text| parse_epochs(&text));
        self.epochs = LeaderEpochCache::from_entries(entries.unwrap_or_default());
    }

    /// Opens every segment; tells those whose indexes have to be built anew.
    fn open_segments(
        &mut self,
        now: Now,
        disk: &mut dyn Disk,
        names: &[String],
    ) -> Result<Vec<Offset>, DiskError> {
        let mut untrusted = Vec::new();
        for name in names {
            match parse_segment_name(name) {
                Some((base, SegmentFile::Log)) => {
                    let trusted = open_indexes(disk, &self.directory, base)?;
                    let now_ms = now.wall.millis();
                    let mut segment = Segment::open(disk, &self.directory, base, now_ms)?;
                    match trusted.filter(|_| segment.size > 0) {
                        Some((offsets, times, transactions)) => {
                            segment.offset_index = offsets;
                            segment.time_index = times;
                            segment.transactions = transactions;
                            segment.find_largest(disk)?;
                        }
                        None if segment.size > 0 => untrusted.push(base),
                        None => {}
                    }
                    self.segments.push(Arc::new(segment));
                }
                Some((base, SegmentFile::Snapshot)) => {
                    self.producers.snapshots.insert(base);
                }
                Some((base, _)) => {
                    let log = segment_path(&self.directory, base, SegmentFile::Log);
                    if disk.find(&log).is_none() {
                        disk.remove(&format!("{}/{name}", self.directory))?;
                    }
                }
                None => {}
            }
        }
        Ok(untrusted)
    }

    fn index_of(&self, base: Offset) -> usize {
        self.segments
            .partition_point(|segment| segment.base_offset < base)
    }

    /// Walks the segments from number `first` on. Tells where the log seemed to end when something was cut.
    fn recover(
        &mut self,
        now: Now,
        disk: &mut dyn Disk,
        first: usize,
    ) -> Result<Option<Offset>, DiskError> {
        for index in first..self.segments.len() {
            let Some(seen) = self.recover_segment(disk, index)? else {
                continue;
            };
            let dropped = self.segments.split_off(index + 1);
            let seen = dropped.iter().fold(seen, |seen, segment| {
                let end = furthest_offset(disk, segment, 0).unwrap_or(segment.base_offset);
                seen.max(end)
            });
            self.discard(now.mono, disk, &dropped)?;
            return Ok(Some(seen));
        }
        Ok(None)
    }

    /// Derives a segment's indexes from its batches and cuts it at the first bad one (`LogSegment.recover`). Tells up to
    /// which offset the bytes that were cut seemed to go; `None` when nothing was cut.
    fn recover_segment(
        &mut self,
        disk: &mut dyn Disk,
        index: usize,
    ) -> Result<Option<Offset>, DiskError> {
        let interval = self.config.index_interval_bytes;
        let recovers_first_epoch = self.behaviour.has(Fix::FirstEpochOnRecovery);
        let segment = Arc::make_mut(&mut self.segments[index]);
        segment.forget(disk)?;
        let mut valid = 0;
        let mut end = segment.base_offset;
        let mut markers = false;
        while let Some(batch) = segment.batch_at(disk, valid)? {
            if !batch.is_valid() || batch.last_offset() < end {
                break;
            }
            segment.recover_batch(disk, &batch, valid, interval)?;
            valid += u64::try_from(batch.size_in_bytes()).expect("a batch is smaller than 2 GiB");
            end = batch.next_offset();
            markers |= batch.is_control();
            if let Some(epoch) = batch.partition_leader_epoch() {
                let newer = self
                    .epochs
                    .latest()
                    .is_none_or(|(latest, _)| epoch > latest);
                // KAFKA-10432: epoch 0 was taken for no epoch.
                if newer && (epoch.0 > 0 || recovers_first_epoch) {
                    self.epochs.assign(epoch, batch.base_offset());
                }
            }
        }
        let seen = (valid < segment.size).then(|| furthest_offset(disk, segment, valid));
        disk.truncate(segment.log, valid)?;
        segment.size = valid;
        let active = index + 1 == self.segments.len();
        let segment = Arc::make_mut(&mut self.segments[index]);
        if !active {
            segment.close(disk)?;
        }
        if markers {
            self.rebuild_transactions(disk, index)?;
        }
        Ok(seen.map(|seen| seen.unwrap_or(end).max(end)))
    }

    /// Settles where the log starts and ends, once the segments are what they are.
    fn settle(&mut self, now: Now, disk: &mut dyn Disk, clean: bool) -> Result<(), DiskError> {
        let mut end = match self.segments.last_mut() {
            Some(active) => Arc::make_mut(active).read_end(disk)?,
            None => self.log_start_offset,
        };
        if end < self.log_start_offset {
            // The checkpoint of the log start outlived the records behind it.
            let dropped = std::mem::take(&mut self.segments);
            self.discard(now.mono, disk, &dropped)?;
            self.epochs.clear();
            self.producers
                .remove_snapshots(disk, &self.directory, |_| true);
            end = self.log_start_offset;
        }
        if self.segments.is_empty() {
            let now_ms = now.wall.millis();
            let segment = Segment::create(disk, &self.directory, end, now_ms)?;
            self.segments.push(Arc::new(segment));
        }
        self.log_end_offset = end;
        self.log_start_offset = self.log_start_offset.max(self.segments[0].base_offset);
        // What recovery read may still be in the page cache alone, so only a clean stop proves it durable.
        self.recovery_point = if clean {
            end
        } else {
            self.recovery_point.min(end)
        };
        self.high_watermark = self
            .high_watermark
            .max(self.log_start_offset)
            .min(self.log_end_offset);
        let before = self.epochs.clone();
        self.epochs.truncate_from_end(end);
        self.epochs.truncate_from_start(self.log_start_offset);
        let path = format!("{}/{LEADER_EPOCH_CHECKPOINT}", self.directory);
        if self.epochs != before || disk.find(&path).is_none() || !clean {
            self.write_epochs(disk)?;
        }
        Ok(())
    }
}

/// Files whose removal a crash interrupted, and what the cleaner had not finished.
fn remove_leftovers(
    disk: &mut dyn Disk,
    directory: &str,
    names: &[String],
) -> Result<(), DiskError> {
    for name in names {
        if name.ends_with(DELETED) || name.ends_with(CLEANED) {
            disk.remove(&format!("{directory}/{name}"))?;
        }
    }
    Ok(())
}

/// The indexes of a segment; `None` when one is missing or cannot be trusted.
fn open_indexes(
    disk: &mut dyn Disk,
    directory: &str,
    base: Offset,
) -> Result<Option<(OffsetIndex, TimeIndex, TransactionIndex)>, DiskError> {
    let mut find = |file| disk.find(&segment_path(directory, base, file));
    let (Some(log), Some(offsets), Some(times)) = (
        find(SegmentFile::Log),
        find(SegmentFile::OffsetIndex),
        find(SegmentFile::TimeIndex),
    ) else {
        return Ok(None);
    };
    let size = disk.len(log);
    let offsets = OffsetIndex::load(disk, offsets, base, size)?;
    let times = TimeIndex::load(disk, times, base)?;
    let path = segment_path(directory, base, SegmentFile::TransactionIndex);
    let transactions = TransactionIndex::load(disk, &path, base)?;
    Ok(offsets
        .zip(times)
        .zip(transactions)
        .map(|((offsets, times), transactions)| (offsets, times, transactions)))
}

/// The offset after the last thing from `position` on that looks like a batch, checksum aside.
fn furthest_offset(disk: &mut dyn Disk, segment: &Segment, mut position: u64) -> Option<Offset> {
    let size = u64::try_from(HEADER_SIZE).expect("a small number");
    let mut furthest = None;
    while let Ok(bytes) = disk.read(segment.log, position, size) {
        let Some(header) = BatchHeader::peek(&bytes).filter(BatchHeader::is_plausible) else {
            break;
        };
        furthest = furthest.max(Some(header.next_offset()));
        position += u64::try_from(header.size_in_bytes()).expect("a batch is smaller than 2 GiB");
    }
    furthest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::fixture::{Fixture, batch};
    use protocol::behaviour::{Era, InterBrokerProtocol};
    use protocol::ids::{LeaderEpoch, TopicId};

    const LOG: &str = "d/t-0/00000000000000000000.log";

    fn loaded(end: i64, clean: bool) -> ReplicaNote {
        ReplicaNote::Loaded {
            log_start_offset: Offset(0),
            log_end_offset: Offset(end),
            high_watermark: Offset(0),
            clean,
        }
    }

    #[test]
    fn a_torn_batch_at_the_end_is_cut_off() {
        let mut fixture = Fixture::new(&[]);
        fixture.append(batch(&["a"]), 0).unwrap();
        fixture.flush();
        fixture.append(batch(&["b"]), 1).unwrap();
        fixture.bench.notes();
        fixture.crash(|unflushed| unflushed - unflushed / 20);
        assert_eq!(fixture.log.log_end_offset(), Offset(1));
        assert_eq!(fixture.log.latest_epoch(), Some(LeaderEpoch(0)));
        assert_eq!(
            fixture.bench.notes(),
            [
                ReplicaNote::Truncated {
                    to: Offset(1),
                    from: Offset(2),
                    rule: TruncationRule::Recovery
                },
                loaded(1, false)
            ]
        );
        assert_eq!(
            fixture.append(batch(&["c"]), 2).unwrap().first_offset,
            Offset(1)
        );
    }

    #[test]
    fn a_log_knows_its_topic_again_after_a_crash() {
        let mut fixture = Fixture::new(&[]);
        let id = TopicId(7);
        let io = &mut fixture.bench.io();
        fixture.log.assign_topic_id(io, id).unwrap();
        fixture.crash(|_| 0);
        assert_eq!(fixture.log.topic_id(), Some(id));
        // A broker that went back to an older protocol forgets it.
        fixture.behaviour = fixture.behaviour.speaking(InterBrokerProtocol::V2_7Iv2);
        fixture.reopen(true);
        assert_eq!(fixture.log.topic_id(), None);
        assert!(!fixture.bench.disk.has("d/t-0/partition.metadata"));
    }

    #[test]
    fn a_damaged_batch_takes_everything_behind_it_along() {
        let mut fixture = Fixture::new(&[]);
        for _ in 0..3 {
            fixture.append(batch(&["a"]), 0).unwrap();
        }
        fixture.roll();
        fixture.append(batch(&["b"]), 0).unwrap();
        fixture
            .bench
            .disk
            .corrupt(LOG, batch(&["a"]).size_in_bytes() + 65, 0xff);
        fixture.bench.notes();
        fixture.reopen(false);
        assert_eq!(fixture.log.log_end_offset(), Offset(1));
        assert_eq!(fixture.bases(), [0]);
        assert!(
            fixture
                .bench
                .disk
                .has("d/t-0/00000000000000000003.log.deleted")
        );
        assert_eq!(
            fixture.bench.notes()[0],
            ReplicaNote::Truncated {
                to: Offset(1),
                from: Offset(4),
                rule: TruncationRule::Recovery
            }
        );
        fixture.reopen(false);
        assert!(
            !fixture
                .bench
                .disk
                .has("d/t-0/00000000000000000003.log.deleted"),
            "the next start removes it"
        );
    }

    #[test]
    fn damage_below_the_recovery_point_or_after_a_clean_stop_is_not_looked_for() {
        for (flush, clean) in [(true, false), (false, true)] {
            let mut fixture = Fixture::new(&[]);
            fixture.append(batch(&["a"]), 0).unwrap();
            fixture.roll();
            fixture.append(batch(&["b"]), 0).unwrap();
            if flush {
                fixture.flush();
            }
            fixture.bench.disk.corrupt(LOG, 65, 0xff);
            fixture.bench.notes();
            fixture.reopen(clean);
            assert_eq!(fixture.bench.notes(), [loaded(2, clean)]);
        }
    }

    #[test]
    fn a_clean_stop_proves_the_log_durable_and_recovery_does_not() {
        let mut fixture = Fixture::new(&[]);
        fixture.append(batch(&["a"]), 0).unwrap();
        fixture.reopen(false);
        assert_eq!(fixture.log.recovery_point(), Offset(0));
        fixture.reopen(true);
        assert_eq!(fixture.log.recovery_point(), Offset(1));
    }

    #[test]
    fn lost_indexes_are_built_anew() {
        let mut fixture =
            Fixture::new(&[("index.interval.bytes", "100"), ("segment.bytes", "700")]);
        for _ in 0..30 {
            fixture.append(batch(&["a"]), 0).unwrap();
        }
        fixture.flush();
        let index = |fixture: &Fixture| {
            fixture
                .bench
                .disk
                .content("d/t-0/00000000000000000000.index")
                .to_vec()
        };
        let (before, bytes) = (index(&fixture), fixture.bytes());
        assert!(!before.is_empty());
        fixture.lose_indexes();
        fixture.reopen(true);
        assert_eq!(fixture.bytes(), bytes);
        assert_eq!(index(&fixture), before);
    }

    #[test]
    fn recovery_restores_the_first_epoch_since_kafka_10432() {
        for (fixed, latest) in [(true, Some(LeaderEpoch(0))), (false, None)] {
            let behaviour = Behaviour::of(Era::V2_8).with(Fix::FirstEpochOnRecovery, fixed);
            let mut fixture = Fixture::with(&[], behaviour);
            fixture.append(batch(&["a"]), 0).unwrap();
            fixture
                .bench
                .disk
                .remove("d/t-0/leader-epoch-checkpoint")
                .unwrap();
            fixture.reopen(false);
            assert_eq!(fixture.log.latest_epoch(), latest);
        }
    }

    #[test]
    fn a_log_start_beyond_the_records_that_are_left_starts_over_there() {
        let mut fixture = Fixture::new(&[]);
        fixture.append(batch(&["a", "b"]), 0).unwrap();
        fixture.append(batch(&["c"]), 0).unwrap();
        fixture.commit();
        let io = &mut fixture.bench.io();
        let log = &mut fixture.log;
        log.maybe_increment_log_start_offset(io, Offset(3)).unwrap();
        fixture.crash(|_| 0);
        assert_eq!(fixture.bases(), [3]);
        assert_eq!(fixture.log.log_start_offset(), Offset(3));
        assert_eq!(fixture.log.log_end_offset(), Offset(3));
    }

    #[test]
    fn a_crash_between_roll_and_flush_may_leave_a_hole_as_in_kafka() {
        let mut fixture = Fixture::new(&[]);
        fixture.append(batch(&["a"]), 0).unwrap();
        fixture.roll();
        fixture.crash(|_| 0);
        assert_eq!(fixture.log.log_end_offset(), Offset(1));
        assert!(fixture.all().is_empty());
    }

    #[test]
    fn an_index_without_a_log_is_removed() {
        let mut fixture = Fixture::new(&[]);
        let orphan = "d/t-0/00000000000000000042.index";
        fixture.bench.disk.open(orphan).unwrap();
        fixture.reopen(true);
        assert!(!fixture.bench.disk.has(orphan));
    }
}
