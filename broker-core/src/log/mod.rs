//! The log of a partition replica (`kafka.log.Log`, `LogSegment`, `LogManager`).
//!
//! A [`Log`] is a row of segments on the node's disk with what is derived from them: leader epochs, producer state, log
//! start offset, recovery point. It answers at once and pushes notes; it sets no timers. Whoever owns it
//! - flushes: [`Log::flush_wanted`] says up to where, [`Log::start_flush`] gives the files, [`Log::on_flushed`] takes the end;
//! - decides the high watermark: the number is kept here, as since Kafka 2.4, because truncation, retention and the last
//!   stable offset depend on it ([`Log::update_high_watermark`]); nothing here raises it but a full truncation.
//!
//! Appending is in [`append`], reading in [`read`], cutting in [`truncate`], starting in [`recovery`], ageing in
//! [`retention`]. Left out: compaction (it will work on closed segments), message formats 0 and 1, moving a replica
//! between directories.

pub mod append;
#[cfg(test)]
mod bytes_test;
pub mod checkpoint;
#[cfg(test)]
mod fixture;
mod flush;
pub mod layout;
pub mod leader_epoch_cache;
pub mod log_manager;
#[cfg(test)]
mod log_manager_test;
#[cfg(test)]
pub(crate) mod memory_disk;
#[cfg(test)]
mod model_test;
pub mod offset_index;
pub mod producer_check;
mod producer_replay;
mod producer_snapshot;
pub mod producer_state;
pub mod read;
pub mod recovery;
pub mod retention;
pub mod roll;
pub mod segment;
pub mod time_index;
pub mod transaction_index;
pub mod truncate;
mod validation;

pub use append::{AppendBy, AppendOrigin, FollowerAppendInfo, LogAppendInfo};
pub use flush::{FlushTicket, LogFlush};
pub use log_manager::{LogManager, NewLog};
pub use producer_state::VerificationGuard;
pub use read::{FetchDataInfo, LogOffsetMetadata, ReadRequest};
pub use segment::TimestampOffset;

use bytes::Bytes;
use layout::{LEADER_EPOCH_CHECKPOINT, PARTITION_METADATA};
use leader_epoch_cache::LeaderEpochCache;
use producer_state::ProducerStates;
use protocol::behaviour::{Behaviour, Fix};
use protocol::config::TopicConfig;
use protocol::disk::{Disk, DiskError};
use protocol::error_code::ErrorCode;
use protocol::ids::{LeaderEpoch, Offset, ProducerId, TopicId, TopicPartition};
use protocol::machine::Io;
use protocol::note::{Note, ReplicaNote};
use protocol::time::{Mono, Span};
use segment::Segment;
use std::collections::VecDeque;
use std::sync::Arc;

/// One replica's log. A clone shares the segments.
#[derive(Clone, Debug)]
#[expect(
    clippy::struct_field_names,
    reason = "log start and log end are what everybody calls them"
)]
pub struct Log {
    partition: TopicPartition,
    /// The directory of the log, below [`Log::log_dir`].
    directory: Arc<str>,
    log_dir: Arc<str>,
    /// None until the broker is told.
    topic_id: Option<TopicId>,
    config: TopicConfig,
    behaviour: Behaviour,
    /// At least one, by rising base offset; the last is the active one.
    segments: Vec<Arc<Segment>>,
    epochs: LeaderEpochCache,
    producers: ProducerStates,
    log_start_offset: Offset,
    log_end_offset: Offset,
    recovery_point: Offset,
    high_watermark: Offset,
    /// The last stable offset that was noted last; none while no transaction is known, or this is no leader.
    noted_stable: Option<Offset>,
    flush_wanted: Option<Offset>,
    last_flush: Mono,
    /// Flushes under way: what each makes durable, lowered when the log is cut meanwhile.
    flushing: Vec<(FlushTicket, Offset)>,
    next_ticket: u64,
    /// Files renamed to `.deleted`, and when they go.
    removals: VecDeque<(Mono, String)>,
}

/// The disk failed: Kafka takes the whole log directory offline.
fn storage_error(_: DiskError) -> ErrorCode {
    ErrorCode::KafkaStorageError
}

impl Log {
    /// Whose log it is.
    pub fn partition(&self) -> &TopicPartition {
        &self.partition
    }

    /// The log directory (one of `log.dirs`) it lies in.
    pub fn log_dir(&self) -> &Arc<str> {
        &self.log_dir
    }

    /// Its own directory.
    pub fn directory(&self) -> &str {
        &self.directory
    }

    /// Which topic's it is, as its `partition.metadata` says (KIP-516).
    pub fn topic_id(&self) -> Option<TopicId> {
        self.topic_id
    }

    /// Writes down which topic's it is.
    ///
    /// # Errors
    /// [`ErrorCode::KafkaStorageError`].
    pub fn assign_topic_id(&mut self, io: &mut Io<'_>, id: TopicId) -> Result<(), ErrorCode> {
        let path = format!("{}/{PARTITION_METADATA}", self.directory);
        let text = checkpoint::print_partition_metadata(id);
        let written = io.disk.replace(&path, Bytes::from(text));
        written.map_err(storage_error)?;
        self.topic_id = Some(id);
        Ok(())
    }

    /// The settings that hold for it.
    pub fn config(&self) -> &TopicConfig {
        &self.config
    }

    /// New settings hold from the next append on.
    pub fn set_config(&mut self, config: TopicConfig) {
        self.config = config;
    }

    /// The first offset that may be read.
    pub fn log_start_offset(&self) -> Offset {
        self.log_start_offset
    }

    /// The offset the next record gets.
    pub fn log_end_offset(&self) -> Offset {
        self.log_end_offset
    }

    /// Everything below is durable.
    pub fn recovery_point(&self) -> Offset {
        self.recovery_point
    }

    /// What consumers may see, as the partition decided; never outside of log start and log end.
    pub fn high_watermark(&self) -> Offset {
        self.high_watermark
    }

    /// What consumers of committed data may see: the high watermark, or the start of the first transaction that is not
    /// over below it.
    pub fn last_stable_offset(&self) -> Offset {
        self.producers
            .first_unstable_offset()
            .map_or(self.high_watermark, |first| first.min(self.high_watermark))
    }

    /// Notes the last stable offset where it has moved, on a leader whose log has transactions.
    pub fn note_last_stable_offset(&mut self, io: &mut Io<'_>) {
        let stable = self.last_stable_offset();
        if self.producers.has_seen_transactions() && self.noted_stable != Some(stable) {
            self.noted_stable = Some(stable);
            self.note(io, ReplicaNote::LastStableOffset(stable));
        }
    }

    /// This replica leads now: what its last stable offset is, is news again.
    pub fn on_leader(&mut self, io: &mut Io<'_>) {
        self.noted_stable = None;
        self.note_last_stable_offset(io);
    }

    /// Bytes of batches in all segments.
    pub fn size(&self) -> u64 {
        self.segments.iter().map(|segment| segment.size).sum()
    }

    /// The segments, oldest first; the last is the active one.
    pub fn segments(&self) -> impl ExactSizeIterator<Item = &Segment> {
        self.segments.iter().map(AsRef::as_ref)
    }

    /// What is known of producers.
    pub fn producers(&self) -> &ProducerStates {
        &self.producers
    }

    /// A verification of a producer's transaction begins ([`ProducerStates::begin_verification`]).
    pub fn begin_verification(&mut self, producer: ProducerId) -> Option<VerificationGuard> {
        self.producers.begin_verification(producer)
    }

    /// Forgets producers that were silent for `expiration` (`transactional.id.expiration.ms`).
    pub fn remove_expired_producers(&mut self, now_ms: i64, expiration: Span) {
        self.producers.remove_expired(now_ms, expiration);
    }

    /// Sets the high watermark, kept within log start and log end, and notes it if it moved. Tells what it is now.
    pub fn update_high_watermark(&mut self, io: &mut Io<'_>, offset: Offset) -> Offset {
        let bounded = offset.max(self.log_start_offset).min(self.log_end_offset);
        if bounded != self.high_watermark {
            self.high_watermark = bounded;
            self.producers.on_high_watermark(bounded);
            self.note(io, ReplicaNote::HighWatermark(bounded));
        }
        bounded
    }

    /// As [`Log::update_high_watermark`], but never down. Tells whether it moved.
    ///
    /// It looks up where in the log the mark stands, and fails where that is deleted; since KAFKA-9491 the mark never gets
    /// there.
    pub fn maybe_increment_high_watermark(&mut self, io: &mut Io<'_>, offset: Offset) -> bool {
        let before = self.high_watermark;
        let fixed = self.behaviour.has(Fix::FullTruncationMovesHighWatermark);
        if before < self.log_start_offset && !fixed {
            return false;
        }
        offset > before && self.update_high_watermark(io, offset) > before
    }

    /// The leader epochs of the log.
    pub fn leader_epochs(&self) -> &LeaderEpochCache {
        &self.epochs
    }

    /// The latest epoch that any record has, or that this replica led in.
    pub fn latest_epoch(&self) -> Option<LeaderEpoch> {
        self.epochs.latest().map(|(epoch, _)| epoch)
    }

    /// The epoch of the record at `offset`.
    pub fn epoch_at(&self, offset: Offset) -> Option<LeaderEpoch> {
        self.epochs.epoch_at(offset)
    }

    /// Where `epoch` ends here, and which epoch the answer speaks of: the largest not above the asked one (KIP-279), or
    /// the asked one itself where that fix is off. `None`: nothing is known.
    pub fn end_offset_for_epoch(&self, epoch: LeaderEpoch) -> Option<(LeaderEpoch, Offset)> {
        if self.behaviour.has(Fix::LargestCommonEpoch) {
            self.epochs.end_offset_for(epoch, self.log_end_offset)
        } else {
            self.epochs
                .end_offset_before_kip_279(epoch, self.log_end_offset)
        }
    }

    /// Notes that `epoch` starts at `start`, as a new leader does before its first append (KAFKA-7415).
    pub fn maybe_assign_epoch_start_offset(
        &mut self,
        io: &mut Io<'_>,
        epoch: LeaderEpoch,
        start: Offset,
    ) -> Result<(), ErrorCode> {
        if self.epochs.assign(epoch, start) {
            self.write_epochs(io.disk).map_err(storage_error)?;
        }
        Ok(())
    }

    /// Raises the log start offset (DeleteRecords, retention, the leader's log start). Tells whether it moved.
    ///
    /// # Errors
    /// [`ErrorCode::OffsetOutOfRange`] above the high watermark; [`ErrorCode::KafkaStorageError`].
    pub fn maybe_increment_log_start_offset(
        &mut self,
        io: &mut Io<'_>,
        offset: Offset,
    ) -> Result<bool, ErrorCode> {
        if offset > self.high_watermark {
            return Err(ErrorCode::OffsetOutOfRange);
        }
        self.raise_log_start(io, offset).map_err(storage_error)
    }

    fn raise_log_start(&mut self, io: &mut Io<'_>, offset: Offset) -> Result<bool, DiskError> {
        if offset <= self.log_start_offset {
            return Ok(false);
        }
        self.log_start_offset = offset;
        self.recovery_point = self.recovery_point.max(offset);
        if self.epochs.truncate_from_start(offset) {
            self.write_epochs(io.disk)?;
        }
        self.producers.on_log_start(offset, self.behaviour);
        self.note(io, ReplicaNote::LogStart(offset));
        self.update_high_watermark(io, self.high_watermark);
        Ok(true)
    }

    /// `leader-epoch-checkpoint`, written whenever the cache changes.
    fn write_epochs(&self, disk: &mut dyn Disk) -> Result<(), DiskError> {
        let path = format!("{}/{LEADER_EPOCH_CHECKPOINT}", self.directory);
        let text = checkpoint::print_epochs(self.epochs.entries());
        disk.replace(&path, Bytes::from(text))
    }

    fn active(&self) -> &Segment {
        self.segments.last().expect("a log has an active segment")
    }

    fn active_mut(&mut self) -> &mut Segment {
        let last = self.segments.last_mut();
        Arc::make_mut(last.expect("a log has an active segment"))
    }

    fn note(&self, io: &mut Io<'_>, note: ReplicaNote) {
        io.note(Note::Replica(self.partition.clone(), note));
    }
}
