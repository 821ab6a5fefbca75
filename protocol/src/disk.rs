//! The disk as a core sees it: a page cache that answers at once, and a flush that takes its time.
//!
//! Kafka writes to the page cache and reads back at once, so append, read, truncate, rename, list and remove are plain
//! calls. Making bytes durable is an effect with a completion ([`crate::machine::Io::flush`]), because group commit and a
//! stuck log directory are real failure modes. What survives which crash is the world's business, not the core's.
//!
//! Paths are `/`-separated and relative to the node's own disk; the first component is a log directory (`log.dirs`), a
//! `dataDir` or a `dataLogDir`, and faults (full, slow, broken, empty) are declared per such directory.

use crate::time::Span;
use bytes::Bytes;
use std::fmt;

/// An open file. Stays valid across a rename of the file; a removed file must not be used again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct FileId(pub u32);

/// Why the disk refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DiskError {
    /// No such file.
    NotFound,
    /// A file of that name exists already.
    Exists,
    /// The directory has no room left (`ENOSPC`).
    Full,
    /// The device failed (`EIO`); Kafka takes the log directory offline, before 1.0 it halts the broker.
    Io,
}

impl fmt::Display for DiskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotFound => "no such file",
            Self::Exists => "file exists",
            Self::Full => "no space left on device",
            Self::Io => "input/output error",
        })
    }
}

/// The disk of one node.
pub trait Disk {
    /// Opens the file, creating it empty when it is missing.
    ///
    /// # Errors
    /// [`DiskError::Full`] or [`DiskError::Io`] when it would have to be created.
    fn open(&mut self, path: &str) -> Result<FileId, DiskError>;

    /// Opens the file only if it exists.
    fn find(&mut self, path: &str) -> Option<FileId>;

    /// Bytes in the file.
    fn len(&self, file: FileId) -> u64;

    /// Appends; the bytes are shared, not copied.
    ///
    /// # Errors
    /// [`DiskError::Full`] or [`DiskError::Io`]; then nothing of `bytes` was written.
    fn append(&mut self, file: FileId, bytes: Bytes) -> Result<(), DiskError>;

    /// Reads at most `len` bytes from `position`; shorter only at the end of the file. Free of copies when the range
    /// lies within one appended chunk.
    ///
    /// # Errors
    /// [`DiskError::Io`].
    fn read(&mut self, file: FileId, position: u64, len: u64) -> Result<Bytes, DiskError>;

    /// Cuts the file to `len` bytes; no effect when it is shorter already.
    ///
    /// # Errors
    /// [`DiskError::Io`].
    fn truncate(&mut self, file: FileId, len: u64) -> Result<(), DiskError>;

    /// Replaces the whole content, as a write to a temporary file, a flush of it and an atomic rename would: after any
    /// crash either the old or the new content is there, never a mixture. Kafka's `CheckpointFile` and ZooKeeper's
    /// `AtomicFileOutputStream` do exactly this.
    ///
    /// # Errors
    /// [`DiskError::Full`] or [`DiskError::Io`]; then the old content stays.
    fn replace(&mut self, path: &str, content: Bytes) -> Result<(), DiskError>;

    /// Renames a file or a whole directory, replacing a file of the new name.
    ///
    /// # Errors
    /// [`DiskError::NotFound`] or [`DiskError::Io`].
    fn rename(&mut self, from: &str, to: &str) -> Result<(), DiskError>;

    /// Removes a file, or a directory with all that is in it.
    ///
    /// # Errors
    /// [`DiskError::NotFound`] or [`DiskError::Io`].
    fn remove(&mut self, path: &str) -> Result<(), DiskError>;

    /// The names directly below `directory` (files, and directories without a trailing slash), in order of their bytes.
    fn list(&self, directory: &str) -> Vec<String>;

    /// How long the operations since the start of this step have taken so far.
    fn elapsed(&self) -> Span;
}

/// No disk at all, as a client has none: nothing is found, and every operation fails.
#[derive(Clone, Copy, Default, Debug)]
pub struct NoDisk;

impl Disk for NoDisk {
    fn open(&mut self, _: &str) -> Result<FileId, DiskError> {
        Err(DiskError::Io)
    }
    fn find(&mut self, _: &str) -> Option<FileId> {
        None
    }
    fn len(&self, _: FileId) -> u64 {
        0
    }
    fn append(&mut self, _: FileId, _: Bytes) -> Result<(), DiskError> {
        Err(DiskError::Io)
    }
    fn read(&mut self, _: FileId, _: u64, _: u64) -> Result<Bytes, DiskError> {
        Err(DiskError::Io)
    }
    fn truncate(&mut self, _: FileId, _: u64) -> Result<(), DiskError> {
        Err(DiskError::Io)
    }
    fn replace(&mut self, _: &str, _: Bytes) -> Result<(), DiskError> {
        Err(DiskError::Io)
    }
    fn rename(&mut self, _: &str, _: &str) -> Result<(), DiskError> {
        Err(DiskError::Io)
    }
    fn remove(&mut self, _: &str) -> Result<(), DiskError> {
        Err(DiskError::Io)
    }
    fn list(&self, _: &str) -> Vec<String> {
        Vec::new()
    }
    fn elapsed(&self) -> Span {
        Span::ZERO
    }
}
