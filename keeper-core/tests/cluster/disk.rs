//! A disk that loses what was not flushed when the power goes.
//!
//! Appends and truncations are cached until a flush; file names and replaced files are durable at once. After a power loss
//! a file holds what was flushed and a random part of what was appended since, so that entries tear.

use super::random::Random;
use bytes::Bytes;
use protocol::disk::{Disk, DiskError, FileId};
use protocol::time::Span;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone, Default)]
struct Content {
    cached: Vec<u8>,
    durable: Vec<u8>,
}

#[derive(Clone, Default)]
pub struct TestDisk {
    files: BTreeMap<FileId, Content>,
    names: BTreeMap<String, FileId>,
    next: u32,
    /// Bytes that power losses have taken.
    pub lost: usize,
}

fn size(len: usize) -> u64 {
    u64::try_from(len).unwrap()
}

fn index(at: u64) -> usize {
    usize::try_from(at).unwrap()
}

impl TestDisk {
    /// What the files hold now, to become durable when a flush is over.
    pub fn image(&self, files: &[FileId]) -> Vec<(FileId, Vec<u8>)> {
        files
            .iter()
            .filter_map(|file| Some((*file, self.files.get(file)?.cached.clone())))
            .collect()
    }

    pub fn flushed(&mut self, image: Vec<(FileId, Vec<u8>)>) {
        for (file, bytes) in image {
            if let Some(content) = self.files.get_mut(&file) {
                content.durable = bytes;
            }
        }
    }

    pub fn power_loss(&mut self, random: &mut Random) {
        for content in self.files.values_mut() {
            if content.cached == content.durable {
                continue;
            }
            if content.cached.starts_with(&content.durable) {
                let extra = size(content.cached.len() - content.durable.len());
                let kept = if random.one_in(2) {
                    0
                } else {
                    random.below(extra + 1)
                };
                self.lost += index(extra - kept);
                content.cached.truncate(content.durable.len() + index(kept));
            } else {
                self.lost += 1;
                content.cached = content.durable.clone();
            }
            content.durable = content.cached.clone();
        }
    }
}

impl Disk for TestDisk {
    fn open(&mut self, path: &str) -> Result<FileId, DiskError> {
        if let Some(id) = self.find(path) {
            return Ok(id);
        }
        self.next += 1;
        let id = FileId(self.next);
        self.files.insert(id, Content::default());
        self.names.insert(path.to_owned(), id);
        Ok(id)
    }

    fn find(&mut self, path: &str) -> Option<FileId> {
        self.names.get(path).copied()
    }

    fn len(&self, file: FileId) -> u64 {
        size(self.files[&file].cached.len())
    }

    fn append(&mut self, file: FileId, bytes: Bytes) -> Result<(), DiskError> {
        let content = self.files.get_mut(&file).unwrap();
        content.cached.extend_from_slice(&bytes);
        Ok(())
    }

    fn read(&mut self, file: FileId, position: u64, len: u64) -> Result<Bytes, DiskError> {
        let cached = &self.files[&file].cached;
        let start = index(position).min(cached.len());
        let end = (start + index(len)).min(cached.len());
        Ok(Bytes::copy_from_slice(&cached[start..end]))
    }

    fn truncate(&mut self, file: FileId, len: u64) -> Result<(), DiskError> {
        self.files
            .get_mut(&file)
            .unwrap()
            .cached
            .truncate(index(len));
        Ok(())
    }

    fn replace(&mut self, path: &str, content: Bytes) -> Result<(), DiskError> {
        self.next += 1;
        let id = FileId(self.next);
        let bytes = content.to_vec();
        let content = Content {
            cached: bytes.clone(),
            durable: bytes,
        };
        self.files.insert(id, content);
        if let Some(old) = self.names.insert(path.to_owned(), id) {
            self.files.remove(&old);
        }
        Ok(())
    }

    fn rename(&mut self, from: &str, to: &str) -> Result<(), DiskError> {
        let id = self.names.remove(from).ok_or(DiskError::NotFound)?;
        self.names.insert(to.to_owned(), id);
        Ok(())
    }

    fn remove(&mut self, path: &str) -> Result<(), DiskError> {
        let id = self.names.remove(path).ok_or(DiskError::NotFound)?;
        self.files.remove(&id);
        Ok(())
    }

    fn list(&self, directory: &str) -> Vec<String> {
        let names: BTreeSet<String> = self
            .names
            .keys()
            .filter_map(|path| path.strip_prefix(directory)?.strip_prefix('/'))
            .map(|rest| rest.split('/').next().unwrap_or(rest).to_owned())
            .collect();
        names.into_iter().collect()
    }

    fn elapsed(&self) -> Span {
        Span::ZERO
    }
}
