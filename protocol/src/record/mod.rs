//! Record batches of format 2, the bytes that producers send, logs hold and consumers fetch
//! (`DefaultRecordBatch`, `DefaultRecord`, `MemoryRecordsBuilder`; KIP-98).
//!
//! A batch stays the opaque bytes its producer made: a broker rewrites the base offset and the partition leader epoch,
//! which lie outside the checksum, and nothing else. Fields are loaded from the bytes when asked for.
//!
//! Left out: message formats 0 and 1, which no client here speaks, and the codecs. A compressed batch carries its codec
//! and keeps its payload closed: every header field, the checksum and every rewrite work, reading its records is refused.

mod batch;
mod builder;
mod control;
mod header;
mod reader;
#[cfg(test)]
mod tests;
mod varint;

pub use batch::{Batches, RecordBatch, batches};
pub use builder::{BatchBuilder, estimate_batch_size_upper_bound, record_size};
pub use control::{ControlMarker, ControlType};
pub use header::{Attributes, BatchHeader, Codec, HEADER_SIZE, LOG_OVERHEAD, TimestampType};
pub use reader::{RecordHeader, RecordView, Records, Values};

use std::fmt;

/// The format this module reads and writes.
pub const MAGIC: i8 = 2;

/// The timestamp of a batch or record that has none.
pub const NO_TIMESTAMP: i64 = -1;

/// Why bytes are not a batch, or a batch's payload not its records.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BatchError {
    /// The bytes end before the batch does.
    Incomplete {
        /// How many bytes there are.
        have: usize,
        /// How many there should be.
        need: usize,
    },
    /// More bytes than one batch.
    TrailingBytes {
        /// How many bytes follow the batch.
        extra: usize,
    },
    /// The length field is too small for a batch header, or negative.
    BadLength(i32),
    /// Another format than 2.
    UnsupportedMagic(i8),
    /// The stored checksum is not that of the bytes.
    CrcMismatch {
        /// The checksum in the header.
        stored: u32,
        /// The checksum of the bytes.
        computed: u32,
    },
    /// The records are compressed, hence closed.
    Compressed(Codec),
    /// A variable-length number goes on past its largest size.
    VarintTooLong,
    /// A record goes on past the end of the batch or of its own length.
    RecordTruncated,
    /// A record is shorter than its length field says.
    RecordTooLong,
    /// A length or count that must not be negative is.
    NegativeLength(i32),
    /// Bytes remain after the declared number of records.
    RecordsRemain {
        /// How many bytes are left.
        extra: usize,
    },
    /// A control record's key or value is not one.
    BadControlRecord,
}

impl fmt::Display for BatchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Incomplete { have, need } => {
                write!(f, "batch cut short: {have} of {need} bytes")
            }
            Self::TrailingBytes { extra } => write!(f, "{extra} bytes after the batch"),
            Self::BadLength(length) => write!(f, "impossible batch length {length}"),
            Self::UnsupportedMagic(magic) => write!(f, "message format {magic} is not supported"),
            Self::CrcMismatch { stored, computed } => {
                write!(
                    f,
                    "checksum is {computed:08x}, the header says {stored:08x}"
                )
            }
            Self::Compressed(codec) => write!(f, "records are compressed ({codec})"),
            Self::VarintTooLong => f.write_str("variable-length number too long"),
            Self::RecordTruncated => f.write_str("record cut short"),
            Self::RecordTooLong => f.write_str("record shorter than its length"),
            Self::NegativeLength(length) => write!(f, "impossible length or count {length}"),
            Self::RecordsRemain { extra } => {
                write!(f, "{extra} bytes after the last declared record")
            }
            Self::BadControlRecord => f.write_str("malformed control record"),
        }
    }
}

impl std::error::Error for BatchError {}
