//! What the tests of this area share.

use bytes::Bytes;
use protocol::disk::{Disk, DiskError, FileId};
use protocol::time::Span;

/// A disk for code that must not touch it.
pub(crate) struct NoDisk;

impl Disk for NoDisk {
    fn open(&mut self, _path: &str) -> Result<FileId, DiskError> {
        Err(DiskError::Io)
    }
    fn find(&mut self, _path: &str) -> Option<FileId> {
        None
    }
    fn len(&self, _file: FileId) -> u64 {
        0
    }
    fn append(&mut self, _file: FileId, _bytes: Bytes) -> Result<(), DiskError> {
        Err(DiskError::Io)
    }
    fn read(&mut self, _file: FileId, _position: u64, _len: u64) -> Result<Bytes, DiskError> {
        Err(DiskError::Io)
    }
    fn truncate(&mut self, _file: FileId, _len: u64) -> Result<(), DiskError> {
        Err(DiskError::Io)
    }
    fn replace(&mut self, _path: &str, _content: Bytes) -> Result<(), DiskError> {
        Err(DiskError::Io)
    }
    fn rename(&mut self, _from: &str, _to: &str) -> Result<(), DiskError> {
        Err(DiskError::Io)
    }
    fn remove(&mut self, _path: &str) -> Result<(), DiskError> {
        Err(DiskError::Io)
    }
    fn list(&self, _directory: &str) -> Vec<String> {
        Vec::new()
    }
    fn elapsed(&self) -> Span {
        Span::ZERO
    }
}
