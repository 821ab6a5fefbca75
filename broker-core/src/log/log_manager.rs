//! All logs of a broker, over its log directories (`kafka.log.LogManager`).
//!
//! Loads them at start, creates and deletes them, ages them, and writes the checkpoints. It sets no timers: whoever owns it
//! calls when an interval is over. Left out: reading several directories at once (`num.recovery.threads.per.data.dir`),
//! `.lock` files, and the retry when a partition is deleted while it is being flushed.

use super::checkpoint::{BrokerMetadata, read_offsets, read_text, write_offsets};
use super::flush::LogFlush;
use super::layout::{
    CLEAN_SHUTDOWN, HIGH_WATERMARK_CHECKPOINT, LOG_START_CHECKPOINT, META_PROPERTIES,
    RECOVERY_POINT_CHECKPOINT, deleted_log_name, is_deleted_log,
};
use super::recovery::LogSource;
use super::{Log, storage_error};
use bytes::Bytes;
use protocol::behaviour::Behaviour;
use protocol::config::{BrokerConfig, TopicConfig, TopicOverrides};
use protocol::disk::{Disk, DiskError};
use protocol::error_code::ErrorCode;
use protocol::ids::{Offset, TopicName, TopicPartition};
use protocol::machine::Io;
use protocol::note::{BrokerNote, Note, TruncationRule};
use protocol::partition_map::PartitionMap;
use protocol::time::{Mono, Now, Span};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// One of `log.dirs`.
#[derive(Clone, Debug)]
struct LogDir {
    name: Arc<str>,
    online: bool,
    /// The marker of a clean shutdown was in it.
    clean: bool,
    metadata: Option<BrokerMetadata>,
    /// The checkpoint of high watermarks as it was found.
    high_watermarks: BTreeMap<TopicPartition, Offset>,
}

/// How to create a log that is not there.
#[derive(Clone, Copy, Debug)]
pub struct NewLog {
    /// Its settings.
    pub config: TopicConfig,
    /// The partition never was on this broker. Otherwise its log may lie in a directory that is offline, and an empty one
    /// must not take its place.
    pub is_new: bool,
}

/// The logs of one broker. A clone shares them.
#[derive(Clone, Debug)]
pub struct LogManager {
    dirs: Vec<LogDir>,
    logs: PartitionMap<Arc<Log>>,
    behaviour: Behaviour,
    delete_delay: Span,
    producer_expiration: Span,
    /// Directories of deleted logs, and when they go.
    doomed: VecDeque<(Mono, String)>,
    deletions: u64,
}

impl LogManager {
    /// Opens every log of every directory. A directory whose disk fails is offline from the start.
    pub fn load(
        now: Now,
        io: &mut Io<'_>,
        config: &BrokerConfig,
        behaviour: Behaviour,
        overrides: &BTreeMap<TopicName, TopicOverrides>,
    ) -> Self {
        let mut manager = Self {
            dirs: Vec::new(),
            logs: PartitionMap::new(),
            behaviour,
            delete_delay: config.log_segment_delete_delay_ms,
            producer_expiration: config.transactional_id_expiration_ms,
            doomed: VecDeque::new(),
            deletions: 0,
        };
        for name in &config.log_dirs {
            let name: Arc<str> = Arc::from(name.as_str());
            let metadata = read_text(io.disk, &format!("{name}/{META_PROPERTIES}"))
                .and_then(|text| BrokerMetadata::parse(&text));
            manager.dirs.push(LogDir {
                high_watermarks: read_offsets(
                    io.disk,
                    &format!("{name}/{HIGH_WATERMARK_CHECKPOINT}"),
                ),
                name: Arc::clone(&name),
                online: true,
                clean: false,
                metadata,
            });
            let settings = |topic: &TopicName| {
                let overrides = overrides.get(topic).copied().unwrap_or_default();
                TopicConfig::resolve(config, &overrides)
            };
            if manager.load_dir(now, io, &name, settings).is_err() {
                manager.fail_dir(io, &name);
            }
        }
        manager
    }

    /// Whether the process before stopped in good order, by the word of every directory.
    pub fn after_clean_shutdown(&self) -> bool {
        self.dirs.iter().all(|dir| dir.clean)
    }

    fn load_dir(
        &mut self,
        now: Now,
        io: &mut Io<'_>,
        dir: &Arc<str>,
        settings: impl Fn(&TopicName) -> TopicConfig,
    ) -> Result<(), DiskError> {
        let marker = format!("{dir}/{CLEAN_SHUTDOWN}");
        let clean = io.disk.find(&marker).is_some();
        if let Some(known) = self.dirs.iter_mut().find(|known| known.name == *dir) {
            known.clean = clean;
        }
        if clean {
            // Removed first, so that a crash while loading counts as one (KAFKA-10471).
            io.disk.remove(&marker)?;
        }
        let recovery_points = read_offsets(io.disk, &format!("{dir}/{RECOVERY_POINT_CHECKPOINT}"));
        let log_starts = read_offsets(io.disk, &format!("{dir}/{LOG_START_CHECKPOINT}"));
        for name in io.disk.list(dir) {
            if is_deleted_log(&name) {
                self.doomed
                    .push_back((now.mono + self.delete_delay, format!("{dir}/{name}")));
                continue;
            }
            let Some(partition) = TopicPartition::parse(&name) else {
                continue;
            };
            let offset = |checkpoint: &BTreeMap<TopicPartition, Offset>| {
                checkpoint.get(&partition).copied().unwrap_or(Offset::ZERO)
            };
            let source = LogSource {
                log_dir: Arc::clone(dir),
                config: settings(&partition.topic),
                behaviour: self.behaviour,
                clean,
                recovery_point: offset(&recovery_points),
                log_start_offset: offset(&log_starts),
                high_watermark: self.checkpointed(dir, &partition),
                partition: partition.clone(),
            };
            let log = Log::open(now, io, source)?;
            self.logs.insert(partition, Arc::new(log));
        }
        Ok(())
    }

    fn checkpointed(&self, dir: &str, partition: &TopicPartition) -> Offset {
        self.dirs
            .iter()
            .find(|known| *known.name == *dir)
            .and_then(|known| known.high_watermarks.get(partition))
            .copied()
            .unwrap_or(Offset::ZERO)
    }

    /// The log of a partition, if it is here and its directory is online.
    pub fn get(&self, partition: &TopicPartition) -> Option<&Log> {
        self.logs.get(partition).map(AsRef::as_ref)
    }

    /// As [`LogManager::get`], to change it.
    pub fn get_mut(&mut self, partition: &TopicPartition) -> Option<&mut Log> {
        self.logs.get_mut(partition).map(Arc::make_mut)
    }

    /// All logs by partition.
    pub fn iter(&self) -> impl Iterator<Item = (&TopicPartition, &Log)> {
        self.logs
            .iter()
            .map(|(partition, log)| (partition, log.as_ref()))
    }

    /// The log of a partition, created in the directory with the fewest logs when there is none.
    ///
    /// # Errors
    /// [`ErrorCode::KafkaStorageError`].
    pub fn get_or_create(
        &mut self,
        now: Now,
        io: &mut Io<'_>,
        partition: &TopicPartition,
        new: NewLog,
    ) -> Result<&mut Log, ErrorCode> {
        if !self.logs.contains_key(partition) {
            if !new.is_new && self.dirs.iter().any(|dir| !dir.online) {
                return Err(ErrorCode::KafkaStorageError);
            }
            let log_dir = self.next_log_dir().ok_or(ErrorCode::KafkaStorageError)?;
            let source = LogSource {
                partition: partition.clone(),
                log_dir,
                config: new.config,
                behaviour: self.behaviour,
                clean: true,
                recovery_point: Offset::ZERO,
                log_start_offset: Offset::ZERO,
                high_watermark: Offset::ZERO,
            };
            let log = Log::open(now, io, source).map_err(storage_error)?;
            self.logs.insert(partition.clone(), Arc::new(log));
        }
        self.get_mut(partition).ok_or(ErrorCode::KafkaStorageError)
    }

    /// The online directory with the fewest logs; the first of several in the order of `log.dirs`.
    fn next_log_dir(&self) -> Option<Arc<str>> {
        self.dirs
            .iter()
            .filter(|dir| dir.online)
            .min_by_key(|dir| self.logs_in(&dir.name).count())
            .map(|dir| Arc::clone(&dir.name))
    }

    fn logs_in<'a>(&'a self, dir: &'a str) -> impl Iterator<Item = &'a Arc<Log>> {
        self.logs.values().filter(move |log| *log.log_dir == *dir)
    }

    /// Deletes a log: its directory is renamed now and removed after `file.delete.delay.ms`. Tells whether there was one.
    ///
    /// # Errors
    /// [`ErrorCode::KafkaStorageError`].
    pub fn delete(
        &mut self,
        now: Now,
        io: &mut Io<'_>,
        partition: &TopicPartition,
    ) -> Result<bool, ErrorCode> {
        let Some(log) = self.logs.remove(partition) else {
            return Ok(false);
        };
        self.deletions += 1;
        // Kafka draws a UUID; the time and a count are as unique on one broker.
        let unique = (u128::from(now.wall.0.unsigned_abs()) << 64) | u128::from(self.deletions);
        let renamed = format!("{}/{}", log.log_dir, deleted_log_name(partition, unique));
        io.disk
            .rename(&log.directory, &renamed)
            .map_err(storage_error)?;
        let due = now.mono + log.config.file_delete_delay_ms;
        let place = self.doomed.partition_point(|(known, _)| *known <= due);
        self.doomed.insert(place, (due, renamed));
        Ok(true)
    }

    /// Cuts logs as followers do, and writes the recovery points down of the directories concerned: a recovery point on
    /// disk above the cut would spare later records their check after a crash. Tells which logs lost records.
    ///
    /// # Errors
    /// The directory whose disk failed.
    pub fn truncate_to(
        &mut self,
        now: Now,
        io: &mut Io<'_>,
        offsets: &BTreeMap<TopicPartition, Offset>,
        rule: TruncationRule,
    ) -> Result<Vec<TopicPartition>, Arc<str>> {
        let mut cut = Vec::new();
        for (partition, offset) in offsets {
            let Some(log) = self.get_mut(partition) else {
                continue;
            };
            let log_dir = Arc::clone(&log.log_dir);
            if log
                .truncate_to(now, io, *offset, rule)
                .map_err(|_| log_dir)?
            {
                cut.push(partition.clone());
            }
        }
        if !cut.is_empty() {
            self.checkpoint_recovery_points(io)?;
        }
        Ok(cut)
    }

    /// As [`Log::truncate_fully_and_start_at`], and writes the recovery points down.
    ///
    /// # Errors
    /// The directory whose disk failed.
    pub fn truncate_fully_and_start_at(
        &mut self,
        now: Now,
        io: &mut Io<'_>,
        partition: &TopicPartition,
        start: Offset,
    ) -> Result<(), Arc<str>> {
        let Some(log) = self.get_mut(partition) else {
            return Ok(());
        };
        let log_dir = Arc::clone(&log.log_dir);
        log.truncate_fully_and_start_at(now, io, start)
            .map_err(|_| log_dir)?;
        self.checkpoint_recovery_points(io)
    }

    /// When the next renamed file or directory is to be removed.
    pub fn next_removal(&self) -> Option<Mono> {
        let files = self.logs.values().filter_map(|log| log.next_removal());
        let doomed = self.doomed.front().map(|(due, _)| *due);
        files.chain(doomed).min()
    }

    /// Removes renamed files and directories that are due.
    pub fn remove_due(&mut self, now: Now, io: &mut Io<'_>) {
        while self.doomed.front().is_some_and(|(due, _)| *due <= now.mono) {
            if let Some((_, path)) = self.doomed.pop_front() {
                // An error here leaves the directory to the next start, which finds it by its name.
                let _ = io.disk.remove(&path);
            }
        }
        for log in self.logs.values_mut() {
            if log.next_removal().is_some_and(|due| due <= now.mono) {
                Arc::make_mut(log).remove_due_files(now, io.disk);
            }
        }
    }

    /// Lets old segments go in every log, and forgets expired producers. Tells the directories whose disk failed.
    pub fn retention(&mut self, now: Now, io: &mut Io<'_>) -> Vec<Arc<str>> {
        let expiration = self.producer_expiration;
        let mut failed = Vec::new();
        for log in self.logs.values_mut() {
            let log = Arc::make_mut(log);
            log.remove_expired_producers(now.wall.millis(), expiration);
            if log.delete_old_segments(now, io).is_err() && !failed.contains(&log.log_dir) {
                failed.push(Arc::clone(&log.log_dir));
            }
        }
        failed
    }

    /// Begins a flush of every log whose `flush.ms` is over.
    pub fn flush_dirty(&mut self, now: Now) -> Vec<(TopicPartition, LogFlush)> {
        self.start_flushes(|log| log.is_flush_due(now))
    }

    fn start_flushes(&mut self, wanted: impl Fn(&Log) -> bool) -> Vec<(TopicPartition, LogFlush)> {
        self.logs
            .iter_mut()
            .filter(|(_, log)| wanted(log))
            .filter_map(|(partition, log)| {
                let log = Arc::make_mut(log);
                let flush = log.start_flush(log.log_end_offset)?;
                Some((partition.clone(), flush))
            })
            .collect()
    }

    /// Writes the recovery point of every log down.
    ///
    /// # Errors
    /// The directory whose disk failed.
    pub fn checkpoint_recovery_points(&self, io: &mut Io<'_>) -> Result<(), Arc<str>> {
        self.checkpoint(io, RECOVERY_POINT_CHECKPOINT, |log| {
            Some(log.recovery_point)
        })
    }

    /// Writes the log start of every log down that starts within its first segment.
    ///
    /// # Errors
    /// The directory whose disk failed.
    pub fn checkpoint_log_start_offsets(&self, io: &mut Io<'_>) -> Result<(), Arc<str>> {
        self.checkpoint(io, LOG_START_CHECKPOINT, |log| {
            let start = log.log_start_offset;
            (start > log.segments[0].base_offset).then_some(start)
        })
    }

    /// Writes high watermarks down, each in the directory of its log. Which partitions are in it is for the caller to say
    /// (KAFKA-681).
    ///
    /// # Errors
    /// The directory whose disk failed.
    pub fn checkpoint_high_watermarks(
        &self,
        io: &mut Io<'_>,
        offsets: &BTreeMap<TopicPartition, Offset>,
    ) -> Result<(), Arc<str>> {
        self.checkpoint(io, HIGH_WATERMARK_CHECKPOINT, |log| {
            offsets.get(&log.partition).copied()
        })
    }

    fn checkpoint(
        &self,
        io: &mut Io<'_>,
        file: &str,
        offset: impl Fn(&Log) -> Option<Offset>,
    ) -> Result<(), Arc<str>> {
        for dir in self.dirs.iter().filter(|dir| dir.online) {
            let offsets = self
                .logs_in(&dir.name)
                .filter_map(|log| Some((log.partition.clone(), offset(log)?)))
                .collect();
            write_offsets(io.disk, &format!("{}/{file}", dir.name), &offsets)
                .map_err(|_| Arc::clone(&dir.name))?;
        }
        Ok(())
    }

    /// The high watermarks that the checkpoints hold now.
    pub fn read_high_watermark_checkpoint(
        &self,
        disk: &mut dyn Disk,
    ) -> BTreeMap<TopicPartition, Offset> {
        self.dirs
            .iter()
            .filter(|dir| dir.online)
            .flat_map(|dir| {
                read_offsets(disk, &format!("{}/{HIGH_WATERMARK_CHECKPOINT}", dir.name))
            })
            .collect()
    }

    /// Begins a clean stop: producer state is written down, and everything not durable yet is to be flushed.
    pub fn start_shutdown(&mut self, io: &mut Io<'_>) -> Vec<(TopicPartition, LogFlush)> {
        for log in self.logs.values_mut() {
            // A log that cannot be closed is found unclean at the next start, which is right.
            let _ = Arc::make_mut(log).close(io.disk);
        }
        self.start_flushes(|_| true)
    }

    /// Ends a clean stop, after the flushes: checkpoints and the marker in every directory all of whose logs are durable.
    pub fn finish_shutdown(&mut self, io: &mut Io<'_>) {
        let _ = self.checkpoint_recovery_points(io);
        let _ = self.checkpoint_log_start_offsets(io);
        for dir in self.dirs.iter().filter(|dir| dir.online) {
            if self.logs_in(&dir.name).all(|log| log.unflushed() <= 0) {
                let _ = io
                    .disk
                    .replace(&format!("{}/{CLEAN_SHUTDOWN}", dir.name), Bytes::new());
            }
        }
    }

    /// The disk below a log directory failed: its logs are gone for this life. Tells which.
    pub fn fail_dir(&mut self, io: &mut Io<'_>, dir: &str) -> Vec<TopicPartition> {
        for known in self.dirs.iter_mut().filter(|known| *known.name == *dir) {
            if known.online {
                known.online = false;
                io.note(Note::Broker(BrokerNote::LogDirOffline(Arc::clone(
                    &known.name,
                ))));
            }
        }
        let lost: Vec<TopicPartition> =
            self.logs_in(dir).map(|log| log.partition.clone()).collect();
        for partition in &lost {
            self.logs.remove(partition);
        }
        lost
    }

    /// The directories that are online.
    pub fn online_dirs(&self) -> impl Iterator<Item = &Arc<str>> {
        self.dirs
            .iter()
            .filter(|dir| dir.online)
            .map(|dir| &dir.name)
    }

    /// `meta.properties` of each directory as found at start; none in a new one.
    pub fn metadata(&self) -> impl Iterator<Item = (&Arc<str>, Option<&BrokerMetadata>)> {
        self.dirs
            .iter()
            .map(|dir| (&dir.name, dir.metadata.as_ref()))
    }

    /// Writes `meta.properties` into every directory that is online.
    ///
    /// # Errors
    /// The directory whose disk failed.
    pub fn write_metadata(
        &mut self,
        io: &mut Io<'_>,
        metadata: &BrokerMetadata,
    ) -> Result<(), Arc<str>> {
        for dir in self.dirs.iter_mut().filter(|dir| dir.online) {
            let path = format!("{}/{META_PROPERTIES}", dir.name);
            io.disk
                .replace(&path, Bytes::from(metadata.print()))
                .map_err(|_| Arc::clone(&dir.name))?;
            dir.metadata = Some(metadata.clone());
        }
        Ok(())
    }
}
