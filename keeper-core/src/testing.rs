//! What the unit tests of this crate share: a specification, a clock, a disk in memory.

use crate::spec::KeeperSpec;
use bytes::{Bytes, BytesMut};
use protocol::behaviour::{Behaviour, Era};
use protocol::config::KeeperConfig;
use protocol::disk::{Disk, DiskError, FileId};
use protocol::ids::KeeperId;
use protocol::time::{Mono, Now, Span, Wall};
use std::collections::{BTreeMap, BTreeSet};

pub(crate) fn at(millis: u64) -> Now {
    Now {
        mono: Mono(millis * 1_000_000),
        wall: Wall::from_millis(1_600_000_000_000 + i64::try_from(millis).unwrap()),
    }
}

pub(crate) fn spec(id: i32, servers: i32) -> KeeperSpec {
    KeeperSpec {
        id: KeeperId(id),
        servers: (1..=servers)
            .map(|id| (KeeperId(id), format!("keeper-{id}").into()))
            .collect(),
        data_dir: "data".into(),
        data_log_dir: "datalog".into(),
        config: KeeperConfig::defaults(Era::Sound),
        behaviour: Behaviour::of(Era::Sound),
        seed: 1,
    }
}

/// A disk that never loses anything.
#[derive(Clone, Debug, Default)]
pub(crate) struct MemoryDisk {
    files: BTreeMap<FileId, BytesMut>,
    names: BTreeMap<String, FileId>,
    next: u32,
}

impl Disk for MemoryDisk {
    fn open(&mut self, path: &str) -> Result<FileId, DiskError> {
        if let Some(id) = self.find(path) {
            return Ok(id);
        }
        self.next += 1;
        let id = FileId(self.next);
        self.files.insert(id, BytesMut::new());
        self.names.insert(path.to_owned(), id);
        Ok(id)
    }

    fn find(&mut self, path: &str) -> Option<FileId> {
        self.names.get(path).copied()
    }

    fn len(&self, file: FileId) -> u64 {
        u64::try_from(self.files[&file].len()).unwrap()
    }

    fn append(&mut self, file: FileId, bytes: Bytes) -> Result<(), DiskError> {
        self.files.get_mut(&file).unwrap().extend_from_slice(&bytes);
        Ok(())
    }

    fn read(&mut self, file: FileId, position: u64, len: u64) -> Result<Bytes, DiskError> {
        let content = &self.files[&file];
        let start = usize::try_from(position).unwrap().min(content.len());
        let end = (start + usize::try_from(len).unwrap()).min(content.len());
        Ok(Bytes::copy_from_slice(&content[start..end]))
    }

    fn truncate(&mut self, file: FileId, len: u64) -> Result<(), DiskError> {
        let content = self.files.get_mut(&file).unwrap();
        content.truncate(usize::try_from(len).unwrap());
        Ok(())
    }

    fn replace(&mut self, path: &str, content: Bytes) -> Result<(), DiskError> {
        self.names.remove(path);
        let id = self.open(path)?;
        self.append(id, content)
    }

    fn rename(&mut self, from: &str, to: &str) -> Result<(), DiskError> {
        let id = self.names.remove(from).ok_or(DiskError::NotFound)?;
        self.names.insert(to.to_owned(), id);
        Ok(())
    }

    fn remove(&mut self, path: &str) -> Result<(), DiskError> {
        self.names
            .remove(path)
            .map(|_| ())
            .ok_or(DiskError::NotFound)
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
