//! Log directories: their device, its queue of flushes, and their faults.

use super::super::clock::At;
use super::{Journaled, SimDisk};
use crate::random::Draws;
use protocol::disk::{DiskError, FileId};
use protocol::machine::FlushId;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// What can be wrong with a log directory.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DiskFault {
    /// Everything takes this many times as long.
    Slow(u32),
    /// No flush completes.
    Stuck,
    /// There is room for this many more bytes.
    Full(u64),
    /// Every operation fails with an input/output error.
    Broken,
}

/// The device of one top-level directory.
#[derive(Clone, Debug)]
pub(super) struct Directory {
    pub(super) name: Arc<str>,
    pub(super) used: u64,
    pub(super) limit: Option<u64>,
    pub(super) slow: u32,
    pub(super) stuck: bool,
    pub(super) broken: bool,
    /// Operations that a fault changed.
    pub(super) hits: u64,
    /// Changes of names and lengths that are not durable yet.
    pub(super) journal: Vec<Journaled>,
    /// How many were made durable before those.
    pub(super) committed: u64,
    /// Until when the device works on flushes it has accepted.
    busy_until: At,
    flushes: u64,
}

impl Directory {
    pub(super) fn new(name: &str) -> Self {
        Self {
            name: Arc::from(name),
            used: 0,
            limit: None,
            slow: 1,
            stuck: false,
            broken: false,
            hits: 0,
            journal: Vec::new(),
            committed: 0,
            busy_until: At::ZERO,
            flushes: 0,
        }
    }

    fn heal(&mut self) {
        self.limit = None;
        self.slow = 1;
        self.stuck = false;
        self.broken = false;
        self.hits = 0;
    }

    /// How many changes of names and lengths there have been.
    pub(super) fn journaled(&self) -> u64 {
        self.committed + super::size(self.journal.len())
    }

    pub(super) fn forget_queue(&mut self) {
        self.busy_until = At::ZERO;
    }
}

#[derive(Clone, Copy, Debug)]
struct Covered {
    file: FileId,
    len: u64,
    generation: u32,
}

/// A flush under way.
#[derive(Clone, Debug)]
pub(super) struct Flushing {
    ticket: u32,
    flush: FlushId,
    life: u32,
    files: Vec<Covered>,
    /// Directory, and the length of its journal when the flush was asked for.
    directories: Vec<(u16, u64)>,
    stuck: bool,
}

impl Flushing {
    /// The file was cut or replaced while the flush is under way.
    pub(super) fn file_was_cut(&mut self, file: FileId, len: u64) {
        for covered in &mut self.files {
            if covered.file == file {
                covered.len = covered.len.min(len);
            }
        }
    }
}

/// A flush is over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::world) struct FlushOutcome {
    pub(in crate::world) flush: FlushId,
    /// The life of the process that asked.
    pub(in crate::world) life: u32,
    pub(in crate::world) result: Result<(), DiskError>,
}

impl SimDisk {
    /// A flush is asked for at `at`. Gives its ticket, and when it will be finished unless the device is stuck.
    pub(in crate::world) fn begin_flush(
        &mut self,
        (flush, life): (FlushId, u32),
        files: &[FileId],
        at: At,
        draws: impl Fn(u16, u64) -> Draws,
    ) -> (u32, Option<At>) {
        let covered: Vec<Covered> = files
            .iter()
            .map(|file| Covered {
                file: *file,
                len: self.covered_length(*file, at),
                generation: self.file(*file).generation,
            })
            .collect();
        let mut directories: Vec<(u16, u64)> = Vec::with_capacity(1);
        for file in files {
            let directory = self.file(*file).directory;
            if directories.iter().all(|(known, _)| *known != directory) {
                directories.push((directory, self.covered_journal(directory, at)));
            }
        }
        self.next_ticket = self.next_ticket.wrapping_add(1);
        let ticket = self.next_ticket;
        let mut flushing = Flushing {
            ticket,
            flush,
            life,
            files: covered,
            directories,
            stuck: false,
        };
        let finish = self.queue_flush(&mut flushing, at, draws);
        self.flushing.push(flushing);
        (ticket, finish)
    }

    fn queue_flush(
        &mut self,
        flushing: &mut Flushing,
        at: At,
        draws: impl Fn(u16, u64) -> Draws,
    ) -> Option<At> {
        let mut finish = at;
        flushing.stuck = false;
        for (index, _) in &flushing.directories {
            let config = Arc::clone(&self.config);
            let directory = self.directory_mut(*index);
            if directory.stuck {
                directory.hits += 1;
                flushing.stuck = true;
                return None;
            }
            if directory.slow > 1 {
                directory.hits += 1;
            }
            let mut draws = draws(*index, directory.flushes);
            directory.flushes += 1;
            let span = config.flush.sample(&mut draws) * u64::from(directory.slow);
            directory.busy_until = directory.busy_until.max(at) + span;
            finish = finish.max(directory.busy_until);
        }
        Some(finish)
    }

    /// This content comes into the machine of another disk: what is wrong with that machine's devices now stays wrong, what
    /// was wrong with them when the content was copied does not come back, and no flush of before is taken for a new one.
    #[must_use]
    pub(in crate::world) fn in_place_of(mut self, before: &Self) -> Self {
        self.next_ticket = before.next_ticket;
        for directory in &mut self.directories {
            directory.heal();
        }
        for old in &before.directories {
            let index = self.directory_of(&old.name);
            let new = self.directory_mut(index);
            new.slow = old.slow;
            new.stuck = old.stuck;
            new.broken = old.broken;
            new.hits = old.hits;
            let room = old.limit.map(|limit| limit.saturating_sub(old.used));
            new.limit = room.map(|room| new.used.saturating_add(room));
        }
        self
    }

    /// The device has finished; `None` when the flush was forgotten or got stuck meanwhile.
    pub(in crate::world) fn finish_flush(&mut self, ticket: u32) -> Option<FlushOutcome> {
        let position = self
            .flushing
            .iter()
            .position(|flushing| flushing.ticket == ticket)?;
        let stuck = self.flushing[position]
            .directories
            .iter()
            .any(|(index, _)| self.directory(*index).stuck);
        if stuck {
            self.flushing[position].stuck = true;
            return None;
        }
        let flushing = self.flushing.remove(position);
        let broken = flushing
            .directories
            .iter()
            .any(|(index, _)| self.directory(*index).broken);
        let outcome = FlushOutcome {
            flush: flushing.flush,
            life: flushing.life,
            result: if broken { Err(DiskError::Io) } else { Ok(()) },
        };
        if broken {
            return Some(outcome);
        }
        for covered in flushing.files {
            let file = self.file_mut(covered.file);
            let len = covered.len.min(file.content.len());
            file.durable = file.durable.max(len);
            if file.generation == covered.generation {
                file.older = None;
            }
        }
        for (directory, journal) in flushing.directories {
            self.commit(directory, journal);
        }
        Some(outcome)
    }

    /// Something is wrong with a directory from now on.
    pub(in crate::world) fn start_fault(&mut self, directory: &str, fault: DiskFault) {
        let index = self.directory_of(directory);
        let state = self.directory_mut(index);
        match fault {
            DiskFault::Slow(factor) => state.slow = factor.max(1),
            DiskFault::Stuck => state.stuck = true,
            DiskFault::Full(room) => state.limit = Some(state.used.saturating_add(room)),
            DiskFault::Broken => state.broken = true,
        }
    }

    /// Heals; gives the flushes that were stuck, with the time each will be finished now.
    pub(in crate::world) fn end_fault(
        &mut self,
        directory: &str,
        fault: DiskFault,
        at: At,
        draws: impl Fn(u16, u64) -> Draws,
    ) -> Vec<(u32, At)> {
        let index = self.directory_of(directory);
        let state = self.directory_mut(index);
        match fault {
            DiskFault::Slow(_) => state.slow = 1,
            DiskFault::Full(_) => state.limit = None,
            DiskFault::Broken => state.broken = false,
            DiskFault::Stuck => {
                state.stuck = false;
                state.busy_until = state.busy_until.max(at);
            }
        }
        let mut resumed = Vec::new();
        let mut flushing = std::mem::take(&mut self.flushing);
        for flush in flushing.iter_mut().filter(|flush| flush.stuck) {
            if let Some(finish) = self.queue_flush(flush, at, &draws) {
                resumed.push((flush.ticket, finish));
            }
        }
        self.flushing = flushing;
        resumed
    }

    /// How many operations the faults of a directory have changed so far.
    pub fn fault_hits(&self, directory: &str) -> u64 {
        self.directories
            .iter()
            .find(|state| &*state.name == directory)
            .map_or(0, |state| state.hits)
    }

    /// Bytes that files of the directory hold.
    pub fn used(&self, directory: &str) -> u64 {
        self.directories
            .iter()
            .find(|state| &*state.name == directory)
            .map_or(0, |state| state.used)
    }
}
