//! One log on a disk in memory, for the tests of this module.

use super::layout::{CLEAN_SHUTDOWN, SegmentFile, segment_path};
use super::memory_disk::Bench;
use super::recovery::LogSource;
use super::{AppendBy, FollowerAppendInfo, Log, LogAppendInfo, ReadRequest};
use bytes::{Bytes, BytesMut};
use protocol::behaviour::{Behaviour, Era};
use protocol::config::{BrokerConfig, TopicConfig, TopicOverrides};
use protocol::disk::Disk;
use protocol::error_code::ErrorCode;
use protocol::ids::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence, TopicPartition};
use protocol::record::{BatchBuilder, BatchHeader, RecordBatch, batches};
use protocol::time::{Mono, Now, Wall};
use std::sync::Arc;

/// A batch of records with timestamp 10 000.
pub(crate) fn batch(values: &[&str]) -> RecordBatch {
    batch_at(10_000, values)
}

/// A batch of records with a timestamp.
pub(crate) fn batch_at(timestamp: i64, values: &[&str]) -> RecordBatch {
    let mut builder = BatchBuilder::new();
    for value in values {
        builder.append(timestamp, None, Some(value.as_bytes()), &[]);
    }
    builder.build()
}

/// A batch of an idempotent producer.
pub(crate) fn numbered(producer: i64, epoch: i16, sequence: i32, count: i32) -> RecordBatch {
    let mut builder = BatchBuilder::new().producer(
        ProducerId(producer),
        ProducerEpoch(epoch),
        Sequence(sequence),
    );
    for _ in 0..count {
        builder.append(10_000, None, Some(b"x"), &[]);
    }
    builder.build()
}

/// A batch inside a transaction.
pub(crate) fn transactional(producer: i64, sequence: i32) -> RecordBatch {
    let mut builder = BatchBuilder::new()
        .producer(ProducerId(producer), ProducerEpoch(0), Sequence(sequence))
        .transactional();
    builder.append(10_000, None, Some(b"x"), &[]);
    builder.build()
}

/// A point in time.
pub(crate) fn at(millis: i64) -> Now {
    Now {
        mono: Mono(u64::try_from(millis).unwrap() * 1_000_000),
        wall: Wall::from_millis(millis),
    }
}

/// Settings of a topic.
pub(crate) fn topic(settings: &[(&str, &str)]) -> TopicConfig {
    let mut overrides = TopicOverrides::default();
    for (key, value) in settings {
        overrides.set(key, value).unwrap();
    }
    TopicConfig::resolve(&BrokerConfig::defaults(Era::V2_8), &overrides)
}

/// The header of the batch in the active segment at a position.
pub(crate) fn header_of(fixture: &Fixture, position: usize) -> BatchHeader {
    let base = fixture.log.active().base_offset;
    let path = segment_path(fixture.log.directory(), base, SegmentFile::Log);
    BatchHeader::peek(&fixture.bench.disk.content(&path)[position..]).unwrap()
}

/// The log of t-0 in directory d.
#[derive(Clone)]
pub(crate) struct Fixture {
    /// The disk.
    pub(crate) bench: Bench,
    /// The log.
    pub(crate) log: Log,
    /// The time.
    pub(crate) now: Now,
    /// Its settings.
    pub(crate) config: TopicConfig,
    /// Its era and fixes.
    pub(crate) behaviour: Behaviour,
}

impl Fixture {
    /// An empty log.
    pub(crate) fn new(settings: &[(&str, &str)]) -> Self {
        Self::with(settings, Behaviour::of(Era::V2_8))
    }

    /// An empty log of a node of another era or with other fixes.
    pub(crate) fn with(settings: &[(&str, &str)], behaviour: Behaviour) -> Self {
        let mut bench = Bench::default();
        let config = topic(settings);
        let now = at(10_000);
        let source = source(config, behaviour, true);
        let log = Log::open(now, &mut bench.io(), source).unwrap();
        bench.notes();
        Self {
            bench,
            log,
            now,
            config,
            behaviour,
        }
    }

    /// Appends as leader for a client.
    pub(crate) fn append(
        &mut self,
        batch: RecordBatch,
        epoch: i32,
    ) -> Result<LogAppendInfo, ErrorCode> {
        let by = AppendBy::client(LeaderEpoch(epoch));
        self.log
            .append_as_leader(self.now, &mut self.bench.io(), batch, by)
    }

    /// Appends as leader for a coordinator.
    pub(crate) fn coordinate(&mut self, batch: RecordBatch) -> Result<LogAppendInfo, ErrorCode> {
        let by = AppendBy::coordinator(LeaderEpoch(0));
        self.log
            .append_as_leader(self.now, &mut self.bench.io(), batch, by)
    }

    /// Appends as follower.
    pub(crate) fn follow(&mut self, records: Bytes) -> Result<FollowerAppendInfo, ErrorCode> {
        self.log
            .append_as_follower(self.now, &mut self.bench.io(), records)
    }

    /// Cuts.
    pub(crate) fn truncate(&mut self, to: i64) -> bool {
        let rule = protocol::note::TruncationRule::LeaderEpoch;
        self.log
            .truncate_to(self.now, &mut self.bench.io(), Offset(to), rule)
            .unwrap()
    }

    /// Rolls.
    pub(crate) fn roll(&mut self) {
        self.log.roll(self.now, &mut self.bench.io()).unwrap();
    }

    /// Flushes everything.
    pub(crate) fn flush(&mut self) {
        if let Some(flush) = self.log.start_flush(self.log.log_end_offset()) {
            self.bench.disk.fsync(&flush.files);
            self.log
                .on_flushed(self.now, &mut self.bench.io(), flush.ticket, true);
        }
    }

    /// Raises the high watermark to the end.
    pub(crate) fn commit(&mut self) {
        let end = self.log.log_end_offset();
        self.log.update_high_watermark(&mut self.bench.io(), end);
    }

    /// All bytes from the log start on.
    pub(crate) fn bytes(&mut self) -> Bytes {
        self.bytes_by(u64::MAX)
    }

    /// All bytes from the log start on, read in pieces.
    pub(crate) fn bytes_by(&mut self, max_bytes: u64) -> Bytes {
        let mut offset = self.log.log_start_offset();
        let mut all = BytesMut::new();
        loop {
            let request = ReadRequest {
                offset,
                max_bytes,
                upper_bound: self.log.log_end_offset(),
                min_one_message: true,
            };
            let data = self.log.read(&mut self.bench.disk, &request).unwrap();
            let Some(last) = batches(data.records.clone()).last() else {
                return all.freeze();
            };
            offset = last.unwrap().next_offset();
            all.extend_from_slice(&data.records);
        }
    }

    /// All batches from the log start on.
    pub(crate) fn all(&mut self) -> Vec<RecordBatch> {
        batches(self.bytes()).map(Result::unwrap).collect()
    }

    /// The base offsets of the segments.
    pub(crate) fn bases(&self) -> Vec<i64> {
        self.log
            .segments()
            .map(|segment| segment.base_offset().0)
            .collect()
    }

    /// Removes or damages the index files.
    pub(crate) fn lose_indexes(&mut self) {
        for (number, base) in self.bases().into_iter().enumerate() {
            let path = |file| segment_path("d/t-0", Offset(base), file);
            let file = if number % 2 == 0 {
                SegmentFile::OffsetIndex
            } else {
                SegmentFile::TimeIndex
            };
            if number % 3 == 0 {
                self.bench.disk.remove(&path(file)).unwrap();
            } else {
                let file = self.bench.disk.find(&path(file)).unwrap();
                // Whatever a crash left, three bytes are seen to be no index.
                self.bench.disk.truncate(file, 0).unwrap();
                let odd = Bytes::from_static(&[1, 2, 3]);
                self.bench.disk.append(file, odd).unwrap();
            }
        }
    }

    /// Power failure and restart; `keep` says how much of each file's unflushed end survives.
    pub(crate) fn crash(&mut self, keep: impl FnMut(usize) -> usize) {
        self.bench.disk.crash(keep);
        self.reopen(false);
    }

    /// Opens the log again, with recovery point, log start and high watermark as checkpointed now.
    pub(crate) fn reopen(&mut self, clean: bool) {
        if clean {
            self.log.close(&mut self.bench.disk).unwrap();
        }
        assert!(!self.bench.disk.has(CLEAN_SHUTDOWN));
        let source = LogSource {
            recovery_point: self.log.recovery_point(),
            log_start_offset: self.log.log_start_offset(),
            high_watermark: self.log.high_watermark(),
            ..source(self.config, self.behaviour, clean)
        };
        self.log = Log::open(self.now, &mut self.bench.io(), source).unwrap();
    }
}

fn source(config: TopicConfig, behaviour: Behaviour, clean: bool) -> LogSource {
    LogSource {
        partition: TopicPartition::new("t", 0),
        log_dir: Arc::from("d"),
        config,
        behaviour,
        clean,
        recovery_point: Offset::ZERO,
        log_start_offset: Offset::ZERO,
        high_watermark: Offset::ZERO,
    }
}
