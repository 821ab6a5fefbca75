//! The simulated disk of one host: a page cache that answers at once, and what is durable below it.
//!
//! # Fault model
//!
//! **Two contents per file.** Every call works on the *cached* content. *Durable* is what a loss of power leaves; a flush
//! brings it up to what the file held when the flush was asked for, at the moment the device has finished. When the
//! process dies and the host lives, the page cache lives too: nothing is lost but the operations of the unfinished step.
//!
//! **Loss of power** keeps, per file, the durable bytes and a random prefix of the bytes appended since; sometimes
//! the last bytes kept are garbage (a torn page). Flushed bytes are never lost; a file system that lies is not modelled.
//!
//! **Names and cuts** follow ext4 in its default ordered mode: creations, renames, removals and truncations of one log
//! directory form one journal. A flush of any file in the directory commits everything journaled before it; a loss of
//! power keeps a random prefix of the rest. So a new file may vanish as a whole, a removed one come back, but never out of
//! order. Where a truncation is undone the old durable content is back; where it stays, the new content is cut anywhere
//! above the part both have in common.
//!
//! **Replace** (write, flush, rename) is atomic and durable when it returns. On a stuck device the calling thread would
//! hang for ever in the real program and the rest of the process go on, which a core of one thread cannot show: here it
//! returns, and the old content comes back after a loss of power until the directory is flushed.
//!
//! **Time.** Each operation takes time, and finishes after those before it in the same step. Every change is noted with
//! its finish time and how to undo it, so that a kill inside the step keeps exactly what was finished. Flushes of one
//! directory queue for its device. A directory can be slow (a factor on everything), stuck (no flush completes until it is
//! healed), full (no growth beyond a number of bytes) or broken (every operation fails), come back empty or older, and a
//! file can be corrupted.

mod content;
mod crash;
mod flush;
mod journal;
mod names;
#[cfg(test)]
mod tests;

pub use crash::{Corruption, Damage, PowerLoss, Unflushed};
pub use flush::DiskFault;

use super::clock::At;
use crate::random::Latency;
use bytes::Bytes;
use content::{Content, size};
use flush::{Directory, Flushing};
use journal::{Change, Undo};
use names::{Names, below, has_below, remove_below, rename_below};
use protocol::disk::{Disk, DiskError, FileId};
use protocol::time::Span;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::sync::Arc;

/// How long disk operations take.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DiskConfig {
    /// Opening a file, looking it up is free.
    pub open: Span,
    /// One append, without its bytes.
    pub append: Span,
    /// Copying bytes into or out of the page cache.
    pub bytes_per_second: u64,
    /// One read, without its bytes.
    pub read: Span,
    /// A truncation, rename or removal.
    pub metadata: Span,
    /// A write, flush and rename.
    pub replace: Span,
    /// A flush.
    pub flush: Latency,
}

impl Default for DiskConfig {
    /// A cloud volume: about a millisecond per flush, microseconds in the page cache.
    fn default() -> Self {
        Self {
            open: Span::micros(10),
            append: Span::micros(2),
            bytes_per_second: 2_000_000_000,
            read: Span::ZERO,
            metadata: Span::micros(10),
            replace: Span::micros(800),
            flush: Latency::Exponential {
                min: Span::micros(400),
                mean: Span::micros(400),
            },
        }
    }
}

impl DiskConfig {
    /// A disk that takes no time at all, flushes included.
    pub fn instant() -> Self {
        Self {
            open: Span::ZERO,
            append: Span::ZERO,
            bytes_per_second: u64::MAX,
            read: Span::ZERO,
            metadata: Span::ZERO,
            replace: Span::ZERO,
            flush: Latency::Constant(Span::ZERO),
        }
    }

    fn bytes(&self, count: u64) -> Span {
        let nanos = u128::from(count) * 1_000_000_000 / u128::from(self.bytes_per_second.max(1));
        Span(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

/// What a loss of power may bring back.
#[derive(Clone, Debug)]
struct Older {
    content: Content,
    /// The new content came by an atomic replacement: old or new, never a mixture.
    whole: bool,
}

#[derive(Clone, Debug)]
struct File {
    directory: u16,
    content: Content,
    /// This prefix of `content` is durable.
    durable: u64,
    /// What was durable before a change below `durable` that has not been flushed.
    older: Option<Older>,
    /// Counts truncations and replacements, so that a flush begun before one does not count for after it.
    generation: u32,
}

impl File {
    fn new(directory: u16) -> Self {
        Self {
            directory,
            content: Content::default(),
            durable: 0,
            older: None,
            generation: 0,
        }
    }

    /// The content below `durable` is about to change.
    fn keep_older(&mut self, whole: bool) {
        self.generation = self.generation.wrapping_add(1);
        if self.older.is_none() {
            let mut content = self.content.clone();
            content.truncate(self.durable);
            self.older = Some(Older { content, whole });
        }
    }
}

/// A journaled change: what a file system keeps in order.
#[derive(Clone, Debug)]
enum Journaled {
    Create(Arc<str>, FileId),
    Rename(Arc<str>, Arc<str>),
    Remove(Arc<str>),
    /// The file was cut to this length, below what was durable of it.
    Cut(FileId, u64),
}

/// The disk of one host.
#[derive(Clone, Debug)]
pub struct SimDisk {
    config: Arc<DiskConfig>,
    files: Vec<File>,
    names: Arc<Names>,
    durable_names: Arc<Names>,
    directories: Vec<Directory>,
    flushing: Vec<Flushing>,
    next_ticket: u32,
    step: At,
    elapsed: Span,
    undo: Vec<Undo>,
    /// Files whose last name is gone for good; their bytes go when no operation can be taken back any more.
    doomed: Vec<FileId>,
}

impl SimDisk {
    /// An empty disk.
    pub fn new(config: DiskConfig) -> Self {
        Self {
            config: Arc::new(config),
            files: Vec::new(),
            names: Arc::default(),
            durable_names: Arc::default(),
            directories: Vec::new(),
            flushing: Vec::new(),
            next_ticket: 0,
            step: At::ZERO,
            elapsed: Span::ZERO,
            undo: Vec::new(),
            doomed: Vec::new(),
        }
    }

    /// A step of the node begins: what the last one did is finished.
    pub(super) fn begin_step(&mut self, at: At) {
        self.step = at;
        self.elapsed = Span::ZERO;
        self.undo.clear();
        for id in std::mem::take(&mut self.doomed) {
            let named = |names: &Names| names.values().any(|present| *present == id);
            if !named(&self.names) && !named(&self.durable_names) {
                self.file_mut(id).content = Content::default();
            }
        }
    }

    fn file(&self, id: FileId) -> &File {
        &self.files[usize::try_from(id.0).unwrap_or(usize::MAX)]
    }

    fn file_mut(&mut self, id: FileId) -> &mut File {
        &mut self.files[usize::try_from(id.0).unwrap_or(usize::MAX)]
    }

    /// The directory a path lies in; made on first use.
    fn directory_of(&mut self, path: &str) -> u16 {
        let name = path.split('/').next().unwrap_or(path);
        let found = self
            .directories
            .iter()
            .position(|directory| &*directory.name == name);
        let position = found.unwrap_or_else(|| {
            self.directories.push(Directory::new(name));
            self.directories.len() - 1
        });
        u16::try_from(position).unwrap_or(u16::MAX)
    }

    fn directory(&self, index: u16) -> &Directory {
        &self.directories[usize::from(index)]
    }

    fn directory_mut(&mut self, index: u16) -> &mut Directory {
        &mut self.directories[usize::from(index)]
    }

    /// An operation in this directory takes its time, or fails.
    fn spend(&mut self, directory: u16, span: Span) -> Result<(), DiskError> {
        let state = self.directory(directory);
        let (slow, broken) = (state.slow, state.broken);
        self.elapsed += span * u64::from(slow);
        if broken || slow > 1 {
            self.directory_mut(directory).hits += 1;
        }
        if broken {
            return Err(DiskError::Io);
        }
        Ok(())
    }

    /// Room for more bytes, or `ENOSPC`.
    fn grow(&mut self, directory: u16, bytes: u64) -> Result<(), DiskError> {
        let state = self.directory_mut(directory);
        if state
            .limit
            .is_some_and(|limit| state.used.saturating_add(bytes) > limit)
        {
            state.hits += 1;
            return Err(DiskError::Full);
        }
        state.used += bytes;
        Ok(())
    }

    fn shrink(&mut self, directory: u16, bytes: u64) {
        let state = self.directory_mut(directory);
        state.used = state.used.saturating_sub(bytes);
    }

    fn note(&mut self, change: Change) {
        let finish = self.step + self.elapsed;
        self.undo.push(Undo { finish, change });
    }

    fn create(&mut self, path: &str, directory: u16) -> FileId {
        self.files.push(File::new(directory));
        let id = FileId(u32::try_from(self.files.len() - 1).unwrap_or(u32::MAX));
        self.journal(directory, Journaled::Create(Arc::from(path), id));
        let names = Arc::make_mut(&mut self.names);
        names.insert(Arc::from(path), id);
        id
    }

    fn journal(&mut self, directory: u16, change: Journaled) {
        let before = Arc::clone(&self.names);
        let state = self.directory_mut(directory);
        let length = state.journaled();
        state.journal.push(change);
        self.note(Change::Names {
            before,
            directory,
            length,
        });
    }

    fn cut(&mut self, id: FileId, len: u64) {
        let file = self.file(id);
        let (directory, old) = (file.directory, file.content.len());
        self.note(Change::Content {
            file: id,
            before: Box::new(self.file(id).clone()),
            replaced: false,
        });
        let file = self.file_mut(id);
        if len < file.durable {
            file.keep_older(false);
            file.durable = len;
            self.journal(directory, Journaled::Cut(id, len));
        }
        self.file_mut(id).content.truncate(len);
        self.shrink(directory, old - len);
        for flushing in &mut self.flushing {
            flushing.file_was_cut(id, len);
        }
    }
}

/// Every path begins at the root, whether it says so or not: `/tmp/kafka-logs` and `tmp/kafka-logs` are one directory.
fn from_root(path: &str) -> &str {
    path.trim_start_matches('/')
}

impl Disk for SimDisk {
    fn open(&mut self, path: &str) -> Result<FileId, DiskError> {
        let path = from_root(path);
        if let Some(id) = self.names.get(path) {
            return Ok(*id);
        }
        let directory = self.directory_of(path);
        self.spend(directory, self.config.open)?;
        self.grow(directory, 0)?;
        Ok(self.create(path, directory))
    }

    fn find(&mut self, path: &str) -> Option<FileId> {
        let path = from_root(path);
        self.names.get(path).copied()
    }

    fn len(&self, file: FileId) -> u64 {
        self.file(file).content.len()
    }

    fn append(&mut self, file: FileId, bytes: Bytes) -> Result<(), DiskError> {
        let directory = self.file(file).directory;
        let count = size(bytes.len());
        self.spend(directory, self.config.append + self.config.bytes(count))?;
        self.grow(directory, count)?;
        let before = self.len(file);
        self.note(Change::Appended { file, before });
        self.file_mut(file).content.append(bytes);
        Ok(())
    }

    fn read(&mut self, file: FileId, position: u64, len: u64) -> Result<Bytes, DiskError> {
        let directory = self.file(file).directory;
        let bytes = self.file(file).content.read(position, len);
        let copied = self.config.bytes(size(bytes.len()));
        let cost = if self.config.read == Span::ZERO {
            Span::ZERO
        } else {
            self.config.read + copied
        };
        self.spend(directory, cost)?;
        Ok(bytes)
    }

    fn truncate(&mut self, file: FileId, len: u64) -> Result<(), DiskError> {
        let directory = self.file(file).directory;
        self.spend(directory, self.config.metadata)?;
        if len < self.len(file) {
            self.cut(file, len);
        }
        Ok(())
    }

    fn replace(&mut self, path: &str, content: Bytes) -> Result<(), DiskError> {
        let path = from_root(path);
        let directory = self.directory_of(path);
        let count = size(content.len());
        self.spend(directory, self.config.replace + self.config.bytes(count))?;
        self.grow(directory, count)?;
        let id = match self.names.get(path) {
            Some(id) => *id,
            None => self.create(path, directory),
        };
        let before = self.file(id).clone();
        self.shrink(directory, before.content.len());
        self.note(Change::Content {
            file: id,
            before: Box::new(before),
            replaced: true,
        });
        for flushing in &mut self.flushing {
            flushing.file_was_cut(id, 0);
        }
        let stuck = self.directory(directory).stuck;
        let file = self.file_mut(id);
        if stuck {
            file.keep_older(true);
            file.durable = 0;
        } else {
            file.generation = file.generation.wrapping_add(1);
            file.older = None;
            file.durable = count;
        }
        file.content = Content::of(content);
        if stuck {
            self.directory_mut(directory).hits += 1;
        } else {
            self.note_commit(directory);
            let everything = self.directory(directory).journaled();
            self.commit(directory, everything);
        }
        Ok(())
    }

    fn rename(&mut self, from: &str, to: &str) -> Result<(), DiskError> {
        let (from, to) = (from_root(from), from_root(to));
        let directory = self.directory_of(from);
        self.spend(directory, self.config.metadata)?;
        if !has_below(&self.names, from) {
            return Err(DiskError::NotFound);
        }
        let target: Arc<str> = Arc::from(to);
        if let Some(replaced) = self.names.get(to).filter(|_| from != to) {
            let bytes = self.len(*replaced);
            self.shrink(directory, bytes);
        }
        self.journal(directory, Journaled::Rename(Arc::from(from), target));
        rename_below(Arc::make_mut(&mut self.names), from, to);
        Ok(())
    }

    fn remove(&mut self, path: &str) -> Result<(), DiskError> {
        let path = from_root(path);
        let directory = self.directory_of(path);
        self.spend(directory, self.config.metadata)?;
        if !has_below(&self.names, path) {
            return Err(DiskError::NotFound);
        }
        self.journal(directory, Journaled::Remove(Arc::from(path)));
        let removed = remove_below(Arc::make_mut(&mut self.names), path);
        for id in removed {
            let bytes = self.len(id);
            self.shrink(directory, bytes);
        }
        Ok(())
    }

    fn list(&self, directory: &str) -> Vec<String> {
        let directory = from_root(directory);
        let mut found = BTreeSet::new();
        for (path, _) in below(&self.names, directory) {
            let rest = if directory.is_empty() {
                path
            } else {
                &path[directory.len() + 1..]
            };
            if let Some(name) = rest.split('/').next() {
                found.insert(name.to_owned());
            }
        }
        found.into_iter().collect()
    }

    fn elapsed(&self) -> Span {
        self.elapsed
    }
}
