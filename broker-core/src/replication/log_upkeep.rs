//! What the logs need from time to time: retention, checkpoints, flushes, the removal of renamed files, a clean end
//! (`LogManager`'s scheduler, `ReplicaManager.checkpointHighWatermarks`).
//!
//! A flush that `flush.messages` asks for happens inside Kafka's append: the producer's answer, and a follower's next fetch,
//! come after it. So appends that wait for a flush are kept here until it is over. A flush after a roll is nobody's wait.

use super::fetcher::FetcherKey;
use super::produce::Resumed;
use super::{Clock, Hosted, ReplicaManager, Step};
use crate::log::{FlushTicket, LogFlush, LogManager};
use crate::timer::TimerOwner;
use protocol::behaviour::Era;
use protocol::disk::DiskError;
use protocol::error_code::ErrorCode;
use protocol::ids::{Offset, TopicPartition};
use protocol::machine::{FlushId, Io};
use protocol::time::{Now, Span};
use std::collections::BTreeMap;

/// When the scheduler does each of its works first (`LogManager.InitialTaskDelayMs`).
const INITIAL_DELAY: Span = Span::secs(30);

/// Timers of [`TimerOwner::Log`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Upkeep {
    Retention,
    Checkpoint,
    FlushDirty,
    Removal,
}

impl Upkeep {
    const ALL: [Self; 4] = [
        Self::Retention,
        Self::Checkpoint,
        Self::FlushDirty,
        Self::Removal,
    ];

    const fn number(self) -> u64 {
        match self {
            Self::Retention => 0,
            Self::Checkpoint => 1,
            Self::FlushDirty => 2,
            Self::Removal => 3,
        }
    }
}

/// Who waits for a flush.
#[derive(Clone, Debug)]
pub(super) enum Waiter {
    /// A request whose appends are made.
    Append(Resumed),
    /// A fetcher that has appended.
    Fetcher(FetcherKey),
}

/// Flushes under way, and who waits for them.
#[derive(Clone, Debug, Default)]
pub(super) struct Flushes {
    next: u64,
    under_way: BTreeMap<u64, (TopicPartition, FlushTicket)>,
    waiting: Vec<(Vec<u64>, Waiter)>,
    /// The broker stops when all are over.
    stopping: bool,
}

impl Flushes {
    fn start(&mut self, io: &mut Io<'_>, name: &TopicPartition, flush: LogFlush) -> u64 {
        let number = self.next;
        self.next += 1;
        self.under_way.insert(number, (name.clone(), flush.ticket));
        io.flush(FlushId(TimerOwner::Log.timer(number).0), flush.files);
        number
    }

    /// Takes out those for whom a flush was the last.
    fn finish(&mut self, number: u64) -> Vec<Waiter> {
        let mut resumed = Vec::new();
        let mut index = 0;
        while index < self.waiting.len() {
            let numbers = &mut self.waiting[index].0;
            numbers.retain(|known| *known != number);
            if numbers.is_empty() {
                resumed.push(self.waiting.remove(index).1);
            } else {
                index += 1;
            }
        }
        resumed
    }

    /// Lets somebody wait for flushes.
    pub(super) fn wait(&mut self, numbers: Vec<u64>, waiter: Waiter) {
        self.waiting.push((numbers, waiter));
    }
}

impl ReplicaManager {
    pub(super) fn schedule_upkeep(&self, now: Now, io: &mut Io<'_>) {
        for upkeep in [Upkeep::Retention, Upkeep::Checkpoint, Upkeep::FlushDirty] {
            if self.period(upkeep).is_some() {
                let timer = TimerOwner::Log.timer(upkeep.number());
                io.set_timer(timer, now.mono + INITIAL_DELAY);
            }
        }
    }

    /// How often a work is done; none for one that is not done regularly.
    fn period(&self, upkeep: Upkeep) -> Option<Span> {
        let every = match upkeep {
            Upkeep::Retention => self.config.log_retention_check_interval_ms,
            Upkeep::Checkpoint => self.config.log_flush_offset_checkpoint_interval_ms,
            Upkeep::FlushDirty => self.config.log_flush_scheduler_interval_ms,
            Upkeep::Removal => return None,
        };
        (every != Span::MAX).then_some(every)
    }

    fn schedule(&self, now: Now, io: &mut Io<'_>, upkeep: Upkeep) {
        if let Some(every) = self.period(upkeep) {
            let timer = TimerOwner::Log.timer(upkeep.number());
            io.set_timer(timer, now.mono + every);
        }
    }

    /// Sets the timer for the next renamed file that is to be removed.
    pub(super) fn schedule_removal(&self, io: &mut Io<'_>) {
        let next = self.logs.manager().and_then(LogManager::next_removal);
        if let Some(at) = next {
            io.set_timer(TimerOwner::Log.timer(Upkeep::Removal.number()), at);
        }
    }

    pub(super) fn on_upkeep(&mut self, step: &mut Step<'_, '_>, number: u64) {
        let Some(upkeep) = Upkeep::ALL.into_iter().find(|one| one.number() == number) else {
            return;
        };
        self.schedule(step.now, step.io, upkeep);
        let Some(logs) = self.logs.manager_mut() else {
            return;
        };
        match upkeep {
            Upkeep::Retention => {
                let failed = logs.retention(step.now, step.io);
                for directory in failed {
                    self.lose_directory(step, &directory);
                }
                self.schedule_removal(step.io);
            }
            Upkeep::Checkpoint => {
                let result = logs
                    .checkpoint_recovery_points(step.io)
                    .and_then(|()| logs.checkpoint_log_start_offsets(step.io));
                if let Err(directory) = result {
                    self.lose_directory(step, &directory);
                }
            }
            Upkeep::FlushDirty => {
                for (name, flush) in logs.flush_dirty(step.now) {
                    self.flushes.start(step.io, &name, flush);
                }
            }
            Upkeep::Removal => {
                logs.remove_due(step.now, step.io);
                self.schedule_removal(step.io);
            }
        }
    }

    /// After an append: starts the flush the log asks for; gives its number if the append has to wait for it.
    pub(super) fn flush_after_append(
        &mut self,
        io: &mut Io<'_>,
        name: &TopicPartition,
    ) -> Option<u64> {
        let log = self.logs.get_mut(name)?;
        let up_to = log.flush_wanted()?;
        let waits = log.unflushed() >= log.config().flush_messages;
        let flush = log.start_flush(up_to)?;
        let number = self.flushes.start(io, name, flush);
        waits.then_some(number)
    }

    /// A flush with an id of [`TimerOwner::Log`] is over.
    pub fn on_flushed(
        &mut self,
        step: &mut Step<'_, '_>,
        number: u64,
        result: Result<(), DiskError>,
    ) {
        let Some((name, ticket)) = self.flushes.under_way.remove(&number) else {
            return;
        };
        if let Some(log) = self.logs.get_mut(&name) {
            log.on_flushed(step.now, step.io, ticket, result.is_ok());
        }
        if result.is_err() {
            self.check_disk(step, &name, Some(ErrorCode::KafkaStorageError));
        }
        for waiter in self.flushes.finish(number) {
            match waiter {
                Waiter::Append(resumed) => self.resume(step, resumed),
                Waiter::Fetcher(key) => self.fetchers.flushed(step.io, key),
            }
        }
        self.finish_shutdown(step.io);
    }

    // The high watermarks on disk.

    pub(super) fn schedule_checkpoint(&mut self, now: Now, io: &mut Io<'_>) {
        self.checkpointing = true;
        let at = now.mono + self.config.replica_high_watermark_checkpoint_interval_ms;
        let timer = TimerOwner::Replication.timer(Clock::HighWatermarkCheckpoint.number());
        io.set_timer(timer, at);
    }

    /// Writes high watermarks down, if one has moved since the last time.
    pub(super) fn checkpoint_high_watermarks(&mut self, step: &mut Step<'_, '_>) {
        self.schedule_checkpoint(step.now, step.io);
        if let Some(directory) = self.write_high_watermarks(step.io) {
            self.lose_directory(step, &directory);
        }
    }

    fn write_high_watermarks(&mut self, io: &mut Io<'_>) -> Option<std::sync::Arc<str>> {
        let logs = self.logs.manager()?;
        let online = |slot: &super::Slot| matches!(self.hosted[slot.index()], Hosted::Online(_));
        let offsets: BTreeMap<TopicPartition, Offset> = self
            .slots
            .iter()
            .filter(|(_, slot)| online(slot))
            .filter_map(|(name, _)| Some((name.clone(), logs.get(name)?.high_watermark())))
            .collect();
        if offsets == self.checkpointed {
            return None;
        }
        let failed = logs.checkpoint_high_watermarks(io, &offsets).err();
        self.checkpointed = offsets;
        failed
    }

    // The end.

    /// The broker goes down in good order: fetchers stop, high watermarks and logs are written down and flushed
    /// (`ReplicaManager.shutdown`, `LogManager.shutdown`). [`Self::is_shut_down`] tells when that is over.
    pub fn shutdown(&mut self, io: &mut Io<'_>) {
        self.shutting_down = true;
        self.fetchers.close_all(io);
        let _ = self.write_high_watermarks(io);
        let flushes = self
            .logs
            .manager_mut()
            .map(|logs| logs.start_shutdown(io))
            .unwrap_or_default();
        for (name, flush) in flushes {
            self.flushes.start(io, &name, flush);
        }
        self.flushes.stopping = true;
        self.finish_shutdown(io);
    }

    fn finish_shutdown(&mut self, io: &mut Io<'_>) {
        if self.flushes.stopping && self.flushes.under_way.is_empty() {
            self.flushes.stopping = false;
            if let Some(logs) = self.logs.manager_mut() {
                logs.finish_shutdown(io);
            }
        }
    }

    /// The clean stop is over: everything is durable and the marker is set.
    pub fn is_shut_down(&self) -> bool {
        self.shutting_down && !self.flushes.stopping
    }

    // Failed directories.

    /// The disk under a log failed: its whole directory goes offline (`handleLogDirFailure`).
    pub(super) fn check_disk(
        &mut self,
        step: &mut Step<'_, '_>,
        name: &TopicPartition,
        error: Option<ErrorCode>,
    ) {
        if error != Some(ErrorCode::KafkaStorageError) {
            return;
        }
        if let Some(directory) = self.logs.get(name).map(|log| log.log_dir().clone()) {
            self.lose_directory(step, &directory);
        }
    }

    fn lose_directory(&mut self, step: &mut Step<'_, '_>, directory: &str) {
        if self.rules.behaviour.era < Era::V1_0 {
            // Before KIP-112 one failed directory was the end of the whole broker.
            step.io.exit(false);
            return;
        }
        let lost = self
            .logs
            .manager_mut()
            .map(|logs| logs.fail_dir(step.io, directory))
            .unwrap_or_default();
        for name in lost {
            if let Some(slot) = self.slot(&name) {
                self.fetchers.remove(slot);
                self.hosted[slot.index()] = Hosted::Offline;
                self.release(step, slot);
                self.wake_all(step, slot);
            }
        }
        let none_left = self
            .logs
            .manager()
            .is_some_and(|logs| logs.online_dirs().next().is_none());
        if none_left {
            // `LogManager`: without a directory a broker halts.
            step.io.exit(false);
        }
    }
}
