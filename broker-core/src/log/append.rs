//! Appending to a log (`Log.append`, `LogValidator`, `Log.roll`).
//!
//! A leader gives a batch its offsets and epoch; a follower takes batches as its leader wrote them. Left out: conversion
//! between formats and recompression, since batches of format 2 are stored as they come; records of compressed batches
//! are not looked into.

use super::producer_state::Checked;
use super::segment::{Incoming, Segment, Slot};
use super::{Log, storage_error};
use bytes::Bytes;
use protocol::config::{TimestampType, TopicConfig};
use protocol::disk::DiskError;
use protocol::error_code::ErrorCode;
use protocol::ids::{LeaderEpoch, Offset};
use protocol::machine::Io;
use protocol::note::{ReplicaNote, Role};
use protocol::record::{self, BatchHeader, Codec, NO_TIMESTAMP, RecordBatch, batches};
use protocol::time::{Now, Span};
use std::sync::Arc;

/// Who wants the append (`AppendOrigin`): only what clients send is checked for sequences and control records.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AppendOrigin {
    /// A producer.
    Client,
    /// The group or transaction coordinator on this broker.
    Coordinator,
    /// The leader, through this follower's fetcher.
    Replication,
}

/// On whose behalf a leader appends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AppendBy {
    /// The epoch it leads in.
    pub leader_epoch: LeaderEpoch,
    /// Who wants it.
    pub origin: AppendOrigin,
}

impl AppendBy {
    /// For a producer.
    pub const fn client(leader_epoch: LeaderEpoch) -> Self {
        Self {
            leader_epoch,
            origin: AppendOrigin::Client,
        }
    }

    /// For a coordinator.
    pub const fn coordinator(leader_epoch: LeaderEpoch) -> Self {
        Self {
            leader_epoch,
            origin: AppendOrigin::Coordinator,
        }
    }
}

/// What a leader's append gave.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LogAppendInfo {
    /// The offset of the first record.
    pub first_offset: Offset,
    /// The offset of the last record.
    pub last_offset: Offset,
    /// The time the log stamped, in milliseconds; none where producers stamp.
    pub log_append_time: Option<i64>,
    /// The first offset of the log.
    pub log_start_offset: Offset,
    /// Nothing was appended: the batch was there already, at these offsets.
    pub duplicate: bool,
}

/// What a follower's append gave.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FollowerAppendInfo {
    /// How many batches were appended.
    pub batches: usize,
    /// The log end before.
    pub from: Offset,
    /// The log end now.
    pub to: Offset,
}

impl Log {
    /// Appends a batch as leader, at the end of the log. A refused batch is for the caller to note
    /// ([`ReplicaNote::AppendRefused`]).
    ///
    /// # Errors
    /// `INVALID_RECORD`, `MESSAGE_TOO_LARGE`, `RECORD_LIST_TOO_LARGE`, `CORRUPT_MESSAGE`, `INVALID_TIMESTAMP`, the codes of
    /// the producer state, `KAFKA_STORAGE_ERROR`.
    pub fn append_as_leader(
        &mut self,
        now: Now,
        io: &mut Io<'_>,
        batch: RecordBatch,
        by: AppendBy,
    ) -> Result<LogAppendInfo, ErrorCode> {
        let now_ms = now.wall.millis();
        validate(&batch, &self.config, by.origin, now_ms)?;
        let stamped = self.config.message_timestamp_type == TimestampType::LogAppendTime;
        let batch = if stamped {
            batch.with_log_append_time(now_ms)
        } else {
            batch
        };
        let batch = batch.rebase(self.log_end_offset, by.leader_epoch);
        self.maybe_assign_epoch_start_offset(io, by.leader_epoch, batch.base_offset())?;
        self.append_one(now, io, batch, by.origin)
            .map(|info| LogAppendInfo {
                log_append_time: stamped.then_some(now_ms),
                ..info
            })
    }

    fn append_one(
        &mut self,
        now: Now,
        io: &mut Io<'_>,
        batch: RecordBatch,
        origin: AppendOrigin,
    ) -> Result<LogAppendInfo, ErrorCode> {
        if batch.size_in_bytes() > segment_limit(&self.config) {
            return Err(ErrorCode::RecordListTooLarge);
        }
        let slot = slot_of(&batch, 0);
        let incoming = Incoming {
            bytes: batch.bytes().clone(),
            slots: &[slot],
            largest: (batch.max_timestamp(), batch.last_offset()),
        };
        self.maybe_roll(now, io, &incoming).map_err(storage_error)?;
        let mut info = LogAppendInfo {
            first_offset: batch.base_offset(),
            last_offset: batch.last_offset(),
            log_append_time: None,
            log_start_offset: self.log_start_offset,
            duplicate: false,
        };
        if let Checked::Duplicate(known) = self.producers.check(&batch, origin, self.behaviour)? {
            info.first_offset = known.first_offset();
            info.last_offset = known.last_offset;
            info.duplicate = true;
            if let Some(producer_id) = batch.producer_id() {
                let base_offset = info.first_offset;
                let note = ReplicaNote::DuplicateBatch {
                    producer_id,
                    base_offset,
                };
                self.note(io, note);
            }
            return Ok(info);
        }
        self.write(now, io, incoming)?;
        self.appended(io, batch, Role::Leader);
        self.want_flush();
        Ok(info)
    }

    /// Appends batches as follower: offsets and epochs stay as the leader wrote them. A last batch that is cut short is
    /// dropped. An empty log that starts in the middle of the first batch, because the leader's log start does, is started
    /// anew at the batch (`Partition.appendRecordsToFollowerOrFutureReplica`).
    ///
    /// # Errors
    /// `CORRUPT_MESSAGE`; `INVALID_RECORD` when offsets do not rise from the log's end on; `KAFKA_STORAGE_ERROR`.
    pub fn append_as_follower(
        &mut self,
        now: Now,
        io: &mut Io<'_>,
        records: Bytes,
    ) -> Result<FollowerAppendInfo, ErrorCode> {
        let starts_inside = self.log_end_offset == self.log_start_offset
            && BatchHeader::peek(&records).is_some_and(|first| {
                first.base_offset < self.log_end_offset
                    && first.last_offset() >= self.log_end_offset
            });
        if let Some(first) = BatchHeader::peek(&records).filter(|_| starts_inside) {
            self.truncate_fully_and_start_at(now, io, first.base_offset)?;
        }
        let from = self.log_end_offset;
        let run = Run::of(records, from)?;
        if run.batches.is_empty() {
            return Ok(FollowerAppendInfo {
                batches: 0,
                from,
                to: from,
            });
        }
        let mut changed = false;
        for batch in &run.batches {
            if let Some(epoch) = batch.partition_leader_epoch() {
                changed |= self.epochs.assign(epoch, batch.base_offset());
            }
        }
        if changed {
            self.write_epochs(io.disk).map_err(storage_error)?;
        }
        if run.bytes.len() > segment_limit(&self.config) {
            return Err(ErrorCode::RecordListTooLarge);
        }
        let incoming = Incoming {
            bytes: run.bytes,
            slots: &run.slots,
            largest: run.largest,
        };
        self.maybe_roll(now, io, &incoming).map_err(storage_error)?;
        self.write(now, io, incoming)?;
        let batches = run.batches.len();
        for batch in run.batches {
            self.appended(io, batch, Role::Follower);
        }
        self.want_flush();
        Ok(FollowerAppendInfo {
            batches,
            from,
            to: self.log_end_offset,
        })
    }

    fn write(
        &mut self,
        now: Now,
        io: &mut Io<'_>,
        incoming: Incoming<'_>,
    ) -> Result<(), ErrorCode> {
        let interval = self.config.index_interval_bytes;
        self.active_mut()
            .append(io.disk, incoming, interval, now.wall.millis())
            .map_err(storage_error)
    }

    /// The batch is in the file: offsets and producers follow, and the world hears of it.
    fn appended(&mut self, io: &mut Io<'_>, batch: RecordBatch, role: Role) {
        self.log_end_offset = batch.next_offset();
        self.producers.apply(&batch, self.behaviour);
        self.note(io, ReplicaNote::Appended { batch, role });
    }

    fn want_flush(&mut self) {
        if self.unflushed() >= self.config.flush_messages {
            self.flush_wanted = Some(self.log_end_offset);
        }
    }

    fn maybe_roll(
        &mut self,
        now: Now,
        io: &mut Io<'_>,
        incoming: &Incoming<'_>,
    ) -> Result<(), DiskError> {
        let jitter = self.roll_jitter();
        let now_ms = now.wall.millis();
        if self
            .active()
            .should_roll(&self.config, now_ms, incoming, jitter)
        {
            self.roll_segment(now, io)?;
        }
        Ok(())
    }

    /// Spreads the rolls of many logs. Kafka draws at random; here partition and base offset decide, so that equal runs
    /// roll alike.
    fn roll_jitter(&self) -> u64 {
        let jitter = self.config.segment_jitter_ms.min(self.config.segment_ms);
        if jitter == Span::ZERO {
            return 0;
        }
        let seed = self
            .partition
            .topic
            .as_str()
            .bytes()
            .map(u64::from)
            .chain([
                u64::from(self.partition.partition.0.unsigned_abs()),
                self.active().base_offset.0.unsigned_abs(),
            ])
            .fold(0_u64, |seed, part| {
                (seed ^ part).wrapping_mul(0x0000_0100_0000_01b3)
            });
        seed % jitter.as_millis().max(1)
    }

    /// Starts a new active segment at the log's end. Without effect when the active one is empty.
    ///
    /// # Errors
    /// [`ErrorCode::KafkaStorageError`].
    pub fn roll(&mut self, now: Now, io: &mut Io<'_>) -> Result<(), ErrorCode> {
        self.roll_segment(now, io).map_err(storage_error)
    }

    pub(super) fn roll_segment(&mut self, now: Now, io: &mut Io<'_>) -> Result<(), DiskError> {
        let base = self.log_end_offset;
        if self.active().base_offset == base {
            return Ok(());
        }
        let directory = Arc::clone(&self.directory);
        self.active_mut().close(io.disk)?;
        self.producers.map_end = self.producers.map_end.max(base);
        self.producers.take_snapshot(io.disk, &directory)?;
        let segment = Segment::create(io.disk, &directory, base, now.wall.millis())?;
        self.segments.push(Arc::new(segment));
        // Kafka flushes the old segment in the background at once.
        self.flush_wanted = self.flush_wanted.max(Some(base));
        Ok(())
    }
}

/// The batches of a fetch response, checked.
struct Run {
    bytes: Bytes,
    batches: Vec<RecordBatch>,
    slots: Vec<Slot>,
    largest: (i64, Offset),
}

impl Run {
    fn of(records: Bytes, log_end: Offset) -> Result<Self, ErrorCode> {
        let mut run = Self {
            bytes: records.clone(),
            batches: Vec::new(),
            slots: Vec::new(),
            largest: (NO_TIMESTAMP, log_end),
        };
        let mut next = log_end;
        let mut position = 0;
        for batch in batches(records) {
            let batch = batch.map_err(|_| ErrorCode::CorruptMessage)?;
            batch.check_crc().map_err(|_| ErrorCode::CorruptMessage)?;
            if batch.base_offset() < next || batch.last_offset() < batch.base_offset() {
                return Err(ErrorCode::InvalidRecord);
            }
            next = batch.next_offset();
            let slot = slot_of(&batch, position);
            position += slot.size;
            if run.batches.is_empty() || batch.max_timestamp() > run.largest.0 {
                run.largest = (batch.max_timestamp(), batch.last_offset());
            }
            run.slots.push(slot);
            run.batches.push(batch);
        }
        let whole = run.batches.iter().map(RecordBatch::size_in_bytes).sum();
        run.bytes.truncate(whole);
        Ok(run)
    }
}

fn slot_of(batch: &RecordBatch, position: u64) -> Slot {
    Slot {
        base_offset: batch.base_offset(),
        last_offset: batch.last_offset(),
        position,
        size: u64::try_from(batch.size_in_bytes()).expect("a batch is smaller than 2 GiB"),
    }
}

fn segment_limit(config: &TopicConfig) -> usize {
    usize::try_from(config.segment_bytes).unwrap_or(0)
}

/// What a leader refuses, in the order in which Kafka looks.
fn validate(
    batch: &RecordBatch,
    config: &TopicConfig,
    origin: AppendOrigin,
    now_ms: i64,
) -> Result<(), ErrorCode> {
    if origin == AppendOrigin::Client && batch.base_offset() != Offset::ZERO {
        return Err(ErrorCode::InvalidRecord);
    }
    if batch.size_in_bytes() > usize::try_from(config.max_message_bytes).unwrap_or(0) {
        return Err(ErrorCode::MessageTooLarge);
    }
    batch.check_crc().map_err(|_| ErrorCode::CorruptMessage)?;
    let count = batch.record_count();
    if count <= 0 || batch.last_offset_delta().checked_add(1) != Some(count) {
        return Err(ErrorCode::InvalidRecord);
    }
    if origin == AppendOrigin::Client {
        let unnumbered = batch.producer_id().is_some() && batch.base_sequence().is_none();
        if batch.is_control() || unnumbered {
            return Err(ErrorCode::InvalidRecord);
        }
        if batch.timestamp_type() == record::TimestampType::LogAppendTime {
            return Err(ErrorCode::InvalidTimestamp);
        }
    }
    if batch.codec() == Codec::None {
        validate_records(batch, config, now_ms)?;
    }
    Ok(())
}

/// Looks into the records only as far as the topic's settings ask.
fn validate_records(
    batch: &RecordBatch,
    config: &TopicConfig,
    now_ms: i64,
) -> Result<(), ErrorCode> {
    let limit = config.message_timestamp_difference_max_ms;
    let judges_time =
        limit != Span::MAX && config.message_timestamp_type == TimestampType::CreateTime;
    let needs_key = config.cleanup_policy.compact && !batch.is_control();
    if !judges_time && !needs_key {
        let mut expected = batch.base_offset();
        for value in batch.values() {
            let (offset, _) = value.map_err(|_| ErrorCode::InvalidRecord)?;
            if offset != expected {
                return Err(ErrorCode::InvalidRecord);
            }
            expected = expected.next();
        }
        return Ok(());
    }
    for record in batch.records() {
        let record = record.map_err(|_| ErrorCode::InvalidRecord)?;
        if needs_key && record.key.is_none() {
            return Err(ErrorCode::InvalidRecord);
        }
        let apart = record.timestamp.abs_diff(now_ms);
        if judges_time && record.timestamp != NO_TIMESTAMP && apart > limit.as_millis() {
            return Err(ErrorCode::InvalidTimestamp);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::fixture::{Fixture, batch, header_of, numbered};
    use protocol::ids::{ProducerEpoch, ProducerId, Sequence};
    use protocol::record::{BatchBuilder, ControlMarker, ControlType};

    #[test]
    fn a_leader_gives_offsets_and_epoch_and_leaves_the_checksum_alone() {
        let mut fixture = Fixture::new(&[]);
        let sent = batch(&["a", "b"]);
        let crc = sent.crc();
        assert_eq!(fixture.append(sent, 3).unwrap().last_offset, Offset(1));
        let info = fixture.append(batch(&["c"]), 3).unwrap();
        assert_eq!(
            (info.first_offset, info.last_offset),
            (Offset(2), Offset(2))
        );
        assert_eq!(info.log_append_time, None);
        assert_eq!(fixture.log.log_end_offset(), Offset(3));
        let stored = header_of(&fixture, 0);
        assert_eq!(stored.crc, crc);
        assert_eq!(stored.partition_leader_epoch, Some(LeaderEpoch(3)));
        assert_eq!(
            fixture.bench.disk.text("d/t-0/leader-epoch-checkpoint"),
            "0\n1\n3 0\n"
        );
        assert!(matches!(
            &fixture.bench.notes()[..],
            [
                ReplicaNote::Appended { role: Role::Leader, .. },
                ReplicaNote::Appended { batch, .. }
            ] if batch.base_offset() == Offset(2)
        ));
    }

    #[test]
    fn log_append_time_stamps_the_batch_with_the_brokers_clock() {
        let mut fixture = Fixture::new(&[("message.timestamp.type", "LogAppendTime")]);
        let info = fixture.append(batch(&["a"]), 0).unwrap();
        assert_eq!(info.log_append_time, Some(fixture.now.wall.millis()));
        let stored = fixture.all();
        assert!(stored[0].is_valid());
        assert_eq!(stored[0].max_timestamp(), fixture.now.wall.millis());
        assert_eq!(
            stored[0].timestamp_type(),
            record::TimestampType::LogAppendTime
        );
    }

    #[test]
    fn what_a_client_may_not_send_is_refused_and_leaves_no_trace() {
        let mut fixture = Fixture::new(&[
            ("max.message.bytes", "200"),
            ("segment.bytes", "150"),
            ("message.timestamp.difference.max.ms", "5000"),
            ("cleanup.policy", "compact"),
        ]);
        let keyed = |size: usize, timestamp| {
            let mut builder = BatchBuilder::new();
            builder.append(timestamp, Some(b"k"), Some(&vec![0; size]), &[]);
            builder.build()
        };
        let time = fixture.now.wall.millis();
        let mut damaged = keyed(1, time).into_bytes().to_vec();
        damaged[65] ^= 1;
        let mut miscounted = keyed(1, time).into_bytes().to_vec();
        miscounted[60] = 2;
        let crc = crc32c::crc32c(&miscounted[21..]);
        miscounted[17..21].copy_from_slice(&crc.to_be_bytes());
        let parse = |bytes: Vec<u8>| RecordBatch::parse(Bytes::from(bytes)).unwrap();
        let marker = ControlMarker {
            kind: ControlType::Abort,
            coordinator_epoch: 0,
        };
        for (batch, error) in [
            (
                keyed(1, time).rebase(Offset(1), LeaderEpoch(0)),
                ErrorCode::InvalidRecord,
            ),
            (keyed(500, time), ErrorCode::MessageTooLarge),
            (keyed(100, time), ErrorCode::RecordListTooLarge),
            (parse(damaged), ErrorCode::CorruptMessage),
            (parse(miscounted), ErrorCode::InvalidRecord),
            (keyed(1, time - 5001), ErrorCode::InvalidTimestamp),
            (
                keyed(1, time).with_log_append_time(time),
                ErrorCode::InvalidTimestamp,
            ),
            (batch(&["without a key"]), ErrorCode::InvalidRecord),
            (
                marker.batch(ProducerId(1), ProducerEpoch(0), time),
                ErrorCode::InvalidRecord,
            ),
        ] {
            assert_eq!(fixture.append(batch, 0), Err(error), "{error:?}");
        }
        assert_eq!(fixture.log.log_end_offset(), Offset::ZERO);
        assert!(fixture.bench.notes().is_empty());
        fixture.append(keyed(1, time - 5000), 0).unwrap();
    }

    #[test]
    fn a_duplicate_is_answered_with_its_old_offset_and_not_written() {
        let mut fixture = Fixture::new(&[]);
        for sequence in [0, 2, 4] {
            fixture.append(numbered(7, 0, sequence, 2), 0).unwrap();
        }
        fixture.bench.notes();
        let info = fixture.append(numbered(7, 0, 2, 2), 1).unwrap();
        assert!(info.duplicate);
        assert_eq!(
            (info.first_offset, info.last_offset),
            (Offset(2), Offset(3))
        );
        assert_eq!(fixture.log.log_end_offset(), Offset(6));
        assert_eq!(
            fixture.bench.notes(),
            [ReplicaNote::DuplicateBatch {
                producer_id: ProducerId(7),
                base_offset: Offset(2)
            }]
        );
        assert_eq!(
            fixture.append(numbered(7, 0, 7, 1), 1),
            Err(ErrorCode::OutOfOrderSequenceNumber)
        );
        fixture.append(numbered(7, 0, 6, 1), 1).unwrap();
        let entry = fixture.log.producers().get(ProducerId(7)).unwrap();
        assert_eq!(entry.last_sequence(), Some(Sequence(6)));
    }

    #[test]
    fn a_follower_keeps_what_the_leader_wrote() {
        let mut leader = Fixture::new(&[]);
        leader.append(batch(&["a", "b"]), 1).unwrap();
        leader.append(batch(&["c"]), 4).unwrap();
        let mut records = leader.bytes();
        let mut follower = Fixture::new(&[]);
        let info = follower.follow(records.clone()).unwrap();
        assert_eq!(
            (info.batches, info.from, info.to),
            (2, Offset(0), Offset(3))
        );
        assert_eq!(follower.bytes(), records);
        assert_eq!(
            follower.log.leader_epochs().entries(),
            [(LeaderEpoch(1), Offset(0)), (LeaderEpoch(4), Offset(2))]
        );
        assert_eq!(
            follower.follow(records.clone()),
            Err(ErrorCode::InvalidRecord),
            "not again"
        );
        leader.append(batch(&["d"]), 4).unwrap();
        leader.append(batch(&["e"]), 4).unwrap();
        records = leader.bytes().slice(records.len()..);
        records.truncate(records.len() - 1);
        let info = follower.follow(records).unwrap();
        assert_eq!(info.to, Offset(4), "the batch that is cut short is dropped");
    }

    #[test]
    fn a_follower_refuses_bytes_that_are_damaged() {
        let mut leader = Fixture::new(&[]);
        leader.append(batch(&["a"]), 1).unwrap();
        let mut bytes = leader.bytes().to_vec();
        bytes[64] ^= 1;
        let mut follower = Fixture::new(&[]);
        let refused = follower.follow(Bytes::from(bytes));
        assert_eq!(refused, Err(ErrorCode::CorruptMessage));
        assert_eq!(follower.log.log_end_offset(), Offset::ZERO);
    }

    #[test]
    fn an_empty_follower_that_starts_inside_a_batch_starts_at_the_batch() {
        let mut leader = Fixture::new(&[]);
        leader.append(batch(&["a", "b", "c"]), 0).unwrap();
        let mut follower = Fixture::new(&[]);
        let now = follower.now;
        let io = &mut follower.bench.io();
        follower
            .log
            .truncate_fully_and_start_at(now, io, Offset(2))
            .unwrap();
        follower.follow(leader.bytes()).unwrap();
        assert_eq!(follower.log.log_start_offset(), Offset(0));
        assert_eq!(follower.log.log_end_offset(), Offset(3));
    }

    #[test]
    fn a_segment_is_rolled_when_full_or_old_or_its_index_is_full() {
        let size = i64::try_from(batch(&["a"]).size_in_bytes()).unwrap();
        let mut full = Fixture::new(&[("segment.bytes", &(2 * size).to_string())]);
        for _ in 0..5 {
            full.append(batch(&["a"]), 0).unwrap();
        }
        assert_eq!(full.bases(), [0, 2, 4]);
        assert_eq!(full.log.flush_wanted(), Some(Offset(4)));
        let closed = |kind| format!("d/t-0/00000000000000000000{kind}");
        let sizes =
            [".index", ".timeindex"].map(|kind| full.bench.disk.content(&closed(kind)).len());
        assert_eq!(sizes, [0, 12], "closing notes the largest timestamp");

        let mut old = Fixture::new(&[("segment.ms", "1000")]);
        for timestamp in [10_000, 11_000, 11_001, 11_500] {
            old.append(crate::log::fixture::batch_at(timestamp, &["a"]), 0)
                .unwrap();
        }
        assert_eq!(old.bases(), [0, 2], "the age counts between records");

        let mut indexed =
            Fixture::new(&[("segment.index.bytes", "36"), ("index.interval.bytes", "0")]);
        for count in 0..6 {
            indexed
                .append(crate::log::fixture::batch_at(10_000 + count, &["a"]), 0)
                .unwrap();
        }
        assert_eq!(indexed.bases(), [0, 3]);
        assert!(
            indexed
                .bench
                .disk
                .has("d/t-0/00000000000000000003.snapshot")
        );
    }

    #[test]
    fn jitter_rolls_no_later_than_the_age() {
        let fixture = Fixture::new(&[("segment.ms", "1000"), ("segment.jitter.ms", "400")]);
        assert!(fixture.log.roll_jitter() < 400);
        assert_eq!(Fixture::new(&[]).log.roll_jitter(), 0);
    }

    #[test]
    fn a_failing_disk_is_a_storage_error() {
        let mut fixture = Fixture::new(&[]);
        fixture.append(batch(&["a"]), 0).unwrap();
        fixture.bench.disk.failing = Some(DiskError::Full);
        assert_eq!(
            fixture.append(batch(&["b"]), 0),
            Err(ErrorCode::KafkaStorageError)
        );
        fixture.bench.disk.failing = None;
        let info = fixture.append(batch(&["c"]), 0).unwrap();
        assert_eq!(info.first_offset, Offset(1));
    }
}
