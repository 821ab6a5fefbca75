//! Appending to a log (`Log.append`).
//!
//! A leader gives a batch its offsets and epoch; a follower takes batches as its leader wrote them.

use super::producer_check::Checked;
use super::segment::{Incoming, Slot};
use super::validation::validate;
use super::{Log, storage_error};
use bytes::Bytes;
use protocol::config::{TimestampType, TopicConfig};
use protocol::error_code::ErrorCode;
use protocol::ids::{LeaderEpoch, Offset};
use protocol::machine::Io;
use protocol::note::{ReplicaNote, Role};
use protocol::record::{BatchHeader, NO_TIMESTAMP, RecordBatch, batches};
use protocol::time::Now;
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
        self.appended(io, batch, Role::Leader)?;
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
            self.appended(io, batch, Role::Follower)?;
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
    fn appended(
        &mut self,
        io: &mut Io<'_>,
        batch: RecordBatch,
        role: Role,
    ) -> Result<(), ErrorCode> {
        self.log_end_offset = batch.next_offset();
        let completed = self.producers.apply(&batch, self.behaviour);
        self.note(io, ReplicaNote::Appended { batch, role });
        if let Some(completed) = completed.filter(|completed| completed.aborted) {
            let span = self.producers.aborted_span(&completed);
            let directory = Arc::clone(&self.directory);
            self.active_mut()
                .append_aborted(io.disk, &directory, span)
                .map_err(storage_error)?;
        }
        Ok(())
    }

    fn want_flush(&mut self) {
        if self.unflushed() >= self.config.flush_messages {
            self.flush_wanted = Some(self.log_end_offset);
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::fixture::{Fixture, batch, header_of, numbered};
    use protocol::disk::DiskError;
    use protocol::ids::{ProducerId, Sequence};
    use protocol::record::TimestampType as Stamp;

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
        assert_eq!(stored[0].timestamp_type(), Stamp::LogAppendTime);
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
