//! The logs as the replicas use them: by partition, in the replicas' own words, and with the settings of topics.

use crate::log::log_manager::NewLog;
use crate::log::{
    AppendBy, FetchDataInfo, FollowerAppendInfo, Log, LogManager, ReadRequest, TimestampOffset,
};
use bytes::Bytes;
use protocol::api::data::{AbortedTransaction, EpochEndOffset};
use protocol::behaviour::Behaviour;
use protocol::config::{BrokerConfig, TopicConfig, TopicOverrides};
use protocol::error_code::ErrorCode;
use protocol::ids::{LeaderEpoch, Offset, TopicName, TopicPartition};
use protocol::machine::Io;
use protocol::note::TruncationRule;
use protocol::record::RecordBatch;
use protocol::time::Now;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

/// The offsets of a log at one moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct View {
    /// The first.
    pub(super) start: Offset,
    /// The next to be given.
    pub(super) end: Offset,
    /// What consumers may see.
    pub(super) high_watermark: Offset,
    /// What consumers of committed data may see.
    pub(super) stable: Offset,
}

/// What a leader's append gave.
#[derive(Clone, Copy, Debug)]
pub(super) struct Appended {
    pub(super) base_offset: Offset,
    pub(super) next_offset: Offset,
    pub(super) log_append_time: Option<i64>,
    pub(super) log_start_offset: Offset,
}

/// The logs.
#[derive(Clone, Debug)]
pub(super) struct ReplicaLogs {
    config: Arc<BrokerConfig>,
    behaviour: Behaviour,
    overrides: BTreeMap<TopicName, TopicOverrides>,
    /// Absent until they are loaded.
    manager: Option<LogManager>,
}

impl ReplicaLogs {
    pub(super) fn new(config: Arc<BrokerConfig>, behaviour: Behaviour) -> Self {
        Self {
            config,
            behaviour,
            overrides: BTreeMap::new(),
            manager: None,
        }
    }

    pub(super) fn load(&mut self, now: Now, io: &mut Io<'_>) {
        self.manager = Some(LogManager::load(
            now,
            io,
            &self.config,
            self.behaviour,
            &self.overrides,
        ));
    }

    pub(super) fn manager(&self) -> Option<&LogManager> {
        self.manager.as_ref()
    }

    pub(super) fn manager_mut(&mut self) -> Option<&mut LogManager> {
        self.manager.as_mut()
    }

    /// New settings of a topic hold for its logs from now on.
    pub(super) fn set_topic_config(&mut self, topic: TopicName, overrides: TopicOverrides) {
        let config = TopicConfig::resolve(&self.config, &overrides);
        if let Some(manager) = &mut self.manager {
            let names: Vec<TopicPartition> = manager
                .iter()
                .map(|(name, _)| name)
                .filter(|name| name.topic == topic)
                .cloned()
                .collect();
            for name in names {
                if let Some(log) = manager.get_mut(&name) {
                    log.set_config(config);
                }
            }
        }
        self.overrides.insert(topic, overrides);
    }

    pub(super) fn get(&self, name: &TopicPartition) -> Option<&Log> {
        self.manager.as_ref()?.get(name)
    }

    pub(super) fn get_mut(&mut self, name: &TopicPartition) -> Option<&mut Log> {
        self.manager.as_mut()?.get_mut(name)
    }

    fn must(&mut self, name: &TopicPartition) -> Result<&mut Log, ErrorCode> {
        self.get_mut(name).ok_or(ErrorCode::KafkaStorageError)
    }

    pub(super) fn view(&self, name: &TopicPartition) -> Option<View> {
        let log = self.get(name)?;
        Some(View {
            start: log.log_start_offset(),
            end: log.log_end_offset(),
            high_watermark: log.high_watermark(),
            stable: log.last_stable_offset(),
        })
    }

    /// `min.insync.replicas` of a partition.
    pub(super) fn min_isr(&self, name: &TopicPartition) -> usize {
        self.get(name).map_or(1, |log| {
            usize::try_from(log.config().min_insync_replicas).unwrap_or(1)
        })
    }

    /// Finds the log or creates it.
    pub(super) fn ensure(
        &mut self,
        now: Now,
        io: &mut Io<'_>,
        name: &TopicPartition,
        is_new: bool,
    ) -> Result<(), ErrorCode> {
        let overrides = self.overrides.get(&name.topic).copied().unwrap_or_default();
        let config = TopicConfig::resolve(&self.config, &overrides);
        let manager = self.manager.as_mut().ok_or(ErrorCode::KafkaStorageError)?;
        manager
            .get_or_create(now, io, name, NewLog { config, is_new })
            .map(|_| ())
    }

    pub(super) fn delete(
        &mut self,
        now: Now,
        io: &mut Io<'_>,
        name: &TopicPartition,
    ) -> Result<(), ErrorCode> {
        let manager = self.manager.as_mut().ok_or(ErrorCode::KafkaStorageError)?;
        manager.delete(now, io, name).map(|_| ())
    }

    pub(super) fn append_as_leader(
        &mut self,
        now: Now,
        io: &mut Io<'_>,
        name: &TopicPartition,
        (batch, by): (RecordBatch, AppendBy),
    ) -> Result<Appended, ErrorCode> {
        let log = self.must(name)?;
        let info = log.append_as_leader(now, io, batch, by)?;
        log.note_last_stable_offset(io);
        Ok(Appended {
            base_offset: info.first_offset,
            next_offset: info.last_offset.next(),
            log_append_time: info.log_append_time,
            log_start_offset: info.log_start_offset,
        })
    }

    pub(super) fn append_as_follower(
        &mut self,
        now: Now,
        io: &mut Io<'_>,
        name: &TopicPartition,
        records: Bytes,
    ) -> Result<FollowerAppendInfo, ErrorCode> {
        self.must(name)?.append_as_follower(now, io, records)
    }

    /// Whole batches within a range, at most so many bytes, but the first in any case if the flag is set.
    pub(super) fn read(
        &self,
        io: &mut Io<'_>,
        name: &TopicPartition,
        range: Range<Offset>,
        (max_bytes, min_one_message): (u64, bool),
    ) -> Result<FetchDataInfo, ErrorCode> {
        let log = self.get(name).ok_or(ErrorCode::KafkaStorageError)?;
        let request = ReadRequest {
            offset: range.start,
            max_bytes,
            upper_bound: range.end,
            min_one_message,
        };
        log.read(io.disk, &request)
    }

    /// Aborted transactions that a reader of committed data must skip in what it has read.
    pub(super) fn aborted(
        &self,
        name: &TopicPartition,
        data: &FetchDataInfo,
    ) -> Vec<AbortedTransaction> {
        self.get(name)
            .map(|log| log.aborted_in(data))
            .unwrap_or_default()
    }

    /// Whether there is something to read in a range for which a waiting fetch should be answered, and how many bytes. A
    /// reader behind the active segment is answered whatever the size (case F of `DelayedFetch`).
    pub(super) fn available(
        &self,
        io: &mut Io<'_>,
        name: &TopicPartition,
        range: Range<Offset>,
        wanted: u64,
    ) -> (bool, u64) {
        let Some(log) = self.get(name) else {
            return (true, 0);
        };
        if wanted <= 1 || log.log_end_metadata().segment_base_offset > range.start {
            return (true, 0);
        }
        match log.bytes_between(io.disk, range.start, range.end) {
            Ok(bytes) => (bytes >= wanted, bytes),
            Err(_) => (true, 0),
        }
    }

    pub(super) fn truncate(
        &mut self,
        now: Now,
        io: &mut Io<'_>,
        name: &TopicPartition,
        (to, rule): (Offset, TruncationRule),
    ) -> Result<(), ErrorCode> {
        self.must(name)?.truncate_to(now, io, to, rule).map(|_| ())
    }

    pub(super) fn truncate_fully(
        &mut self,
        now: Now,
        io: &mut Io<'_>,
        name: &TopicPartition,
        start: Offset,
    ) -> Result<(), ErrorCode> {
        self.must(name)?.truncate_fully_and_start_at(now, io, start)
    }

    /// Where an epoch ends here.
    pub(super) fn end_of_epoch(
        &self,
        name: &TopicPartition,
        epoch: LeaderEpoch,
    ) -> Option<EpochEndOffset> {
        let (epoch, end_offset) = self.get(name)?.end_offset_for_epoch(epoch)?;
        Some(EpochEndOffset { epoch, end_offset })
    }

    pub(super) fn latest_epoch(&self, name: &TopicPartition) -> Option<LeaderEpoch> {
        self.get(name)?.latest_epoch()
    }

    pub(super) fn epoch_at(&self, name: &TopicPartition, offset: Offset) -> Option<LeaderEpoch> {
        self.get(name)?.epoch_at(offset)
    }

    pub(super) fn assign_epoch(
        &mut self,
        io: &mut Io<'_>,
        name: &TopicPartition,
        (epoch, start): (LeaderEpoch, Offset),
    ) -> Result<(), ErrorCode> {
        self.must(name)?
            .maybe_assign_epoch_start_offset(io, epoch, start)
    }

    pub(super) fn find_by_time(
        &self,
        io: &mut Io<'_>,
        name: &TopicPartition,
        timestamp: i64,
    ) -> Result<Option<TimestampOffset>, ErrorCode> {
        let log = self.get(name).ok_or(ErrorCode::KafkaStorageError)?;
        log.offset_for_timestamp(io.disk, timestamp)
    }
}
