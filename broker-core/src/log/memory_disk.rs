//! A disk in memory for tests: a page cache and, apart from it, what is durable.
//!
//! Not the simulator's disk: no time passes, only whole-file flushes, and a crash keeps a chosen part of each unflushed tail.

use bytes::{Bytes, BytesMut};
use protocol::disk::{Disk, DiskError, FileId};
use protocol::machine::{Effect, Io, Stamped};
use protocol::note::Note;
use protocol::time::Span;
use std::collections::BTreeMap;

#[derive(Clone, Default)]
struct File {
    content: BytesMut,
    durable: Bytes,
}

/// The disk.
#[derive(Clone, Default)]
pub(crate) struct MemoryDisk {
    names: BTreeMap<String, FileId>,
    files: BTreeMap<FileId, File>,
    next: u32,
    /// Every write fails with this.
    pub(crate) failing: Option<DiskError>,
    /// Read calls so far.
    pub(crate) reads: u64,
}

impl MemoryDisk {
    /// The bytes of a file.
    pub(crate) fn content(&self, path: &str) -> &[u8] {
        &self.files[&self.names[path]].content
    }

    /// The text of a file.
    pub(crate) fn text(&self, path: &str) -> &str {
        std::str::from_utf8(self.content(path)).unwrap()
    }

    /// Whether the file is there.
    pub(crate) fn has(&self, path: &str) -> bool {
        self.names.contains_key(path)
    }

    /// Overwrites bytes in place.
    pub(crate) fn corrupt(&mut self, path: &str, at: usize, byte: u8) {
        let file = self.files.get_mut(&self.names[path]).unwrap();
        file.content[at] = byte;
    }

    /// What an fsync of the files makes durable.
    pub(crate) fn fsync(&mut self, files: &[FileId]) {
        for file in files {
            if let Some(file) = self.files.get_mut(file) {
                file.durable = Bytes::copy_from_slice(&file.content);
            }
        }
    }

    /// Power failure: of what was appended since the last flush, a part decided by `keep` survives. Names survive.
    pub(crate) fn crash(&mut self, mut keep: impl FnMut(usize) -> usize) {
        for file in self.files.values_mut() {
            let common = file
                .durable
                .iter()
                .zip(&file.content)
                .take_while(|(a, b)| a == b)
                .count();
            let unflushed = file.content.len() - common;
            file.content.truncate(common + keep(unflushed));
            file.durable = Bytes::copy_from_slice(&file.content);
        }
    }

    fn writable(&self) -> Result<(), DiskError> {
        self.failing.map_or(Ok(()), Err)
    }
}

impl Disk for MemoryDisk {
    fn open(&mut self, path: &str) -> Result<FileId, DiskError> {
        if let Some(file) = self.names.get(path) {
            return Ok(*file);
        }
        self.writable()?;
        self.next += 1;
        self.names.insert(path.to_owned(), FileId(self.next));
        self.files.insert(FileId(self.next), File::default());
        Ok(FileId(self.next))
    }

    fn find(&mut self, path: &str) -> Option<FileId> {
        self.names.get(path).copied()
    }

    fn len(&self, file: FileId) -> u64 {
        u64::try_from(self.files[&file].content.len()).unwrap()
    }

    fn append(&mut self, file: FileId, bytes: Bytes) -> Result<(), DiskError> {
        self.writable()?;
        let file = self.files.get_mut(&file).unwrap();
        file.content.extend_from_slice(&bytes);
        Ok(())
    }

    fn read(&mut self, file: FileId, position: u64, len: u64) -> Result<Bytes, DiskError> {
        self.reads += 1;
        let content = &self.files[&file].content;
        let from = usize::try_from(position).unwrap().min(content.len());
        let to = from
            .saturating_add(usize::try_from(len).unwrap())
            .min(content.len());
        Ok(Bytes::copy_from_slice(&content[from..to]))
    }

    fn truncate(&mut self, file: FileId, len: u64) -> Result<(), DiskError> {
        self.writable()?;
        let file = self.files.get_mut(&file).unwrap();
        file.content.truncate(usize::try_from(len).unwrap());
        Ok(())
    }

    fn replace(&mut self, path: &str, content: Bytes) -> Result<(), DiskError> {
        let id = self.open(path)?;
        self.writable()?;
        let file = self.files.get_mut(&id).unwrap();
        file.content = BytesMut::from(content.as_ref());
        file.durable = content;
        Ok(())
    }

    fn rename(&mut self, from: &str, to: &str) -> Result<(), DiskError> {
        self.writable()?;
        let moved: Vec<_> = self
            .names
            .iter()
            .filter_map(|(name, file)| {
                let rest = name.strip_prefix(from)?;
                (rest.is_empty() || rest.starts_with('/'))
                    .then(|| (name.clone(), format!("{to}{rest}"), *file))
            })
            .collect();
        for (old, new, file) in &moved {
            self.names.remove(old);
            self.names.insert(new.clone(), *file);
        }
        (!moved.is_empty()).then_some(()).ok_or(DiskError::NotFound)
    }

    fn remove(&mut self, path: &str) -> Result<(), DiskError> {
        self.writable()?;
        let before = self.names.len();
        self.names.retain(|name, _| {
            name.strip_prefix(path)
                .is_none_or(|rest| !rest.is_empty() && !rest.starts_with('/'))
        });
        (self.names.len() < before)
            .then_some(())
            .ok_or(DiskError::NotFound)
    }

    fn list(&self, directory: &str) -> Vec<String> {
        let mut names: Vec<String> = self
            .names
            .keys()
            .filter_map(|name| {
                let rest = name.strip_prefix(directory)?.strip_prefix('/')?;
                Some(rest.split('/').next().unwrap_or(rest).to_owned())
            })
            .collect();
        names.dedup();
        names
    }

    fn elapsed(&self) -> Span {
        Span::ZERO
    }
}

/// A disk with the list of effects, to make an [`Io`] from.
#[derive(Clone, Default)]
pub(crate) struct Bench {
    /// The disk.
    pub(crate) disk: MemoryDisk,
    /// What was pushed.
    pub(crate) effects: Vec<Stamped>,
    connections: u64,
}

impl Bench {
    /// Hands over the disk and the list.
    pub(crate) fn io(&mut self) -> Io<'_> {
        Io::new(&mut self.disk, &mut self.effects, &mut self.connections)
    }

    /// Takes the replica notes pushed since the last call.
    pub(crate) fn notes(&mut self) -> Vec<protocol::note::ReplicaNote> {
        self.effects
            .drain(..)
            .filter_map(|stamped| {
                if let Effect::Note(Note::Replica(_, note)) = stamped.effect {
                    Some(note)
                } else {
                    None
                }
            })
            .collect()
    }
}
