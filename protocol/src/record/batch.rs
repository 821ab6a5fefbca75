//! One whole batch as a view over its bytes (`DefaultRecordBatch`), and a run of batches cut into them
//! (`ByteBufferLogInputStream`).
//!
//! The bytes may say anything: nothing here panics on them, and numbers wrap where Java's do. Whether a batch makes sense
//! (offsets, sequences, timestamps: `LogValidator`) is for the log to judge.

use super::header::{
    self, ATTRIBUTES, BASE_OFFSET, BASE_SEQUENCE, BatchHeader, CRC, HEADER_SIZE, LEADER_EPOCH,
    LENGTH, LOG_OVERHEAD, MAGIC_AT, MAX_TIMESTAMP, PRODUCER_EPOCH, PRODUCER_ID,
};
use super::{Attributes, BatchError, Codec, ControlMarker, MAGIC, Records, TimestampType, Values};
use crate::ids::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence};
use bytes::{Bytes, BytesMut};
use serde::{Deserialize, Serialize};
use std::fmt;

/// One whole batch. A clone shares the bytes.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Bytes", into = "Bytes")]
pub struct RecordBatch {
    /// At least [`HEADER_SIZE`] long, of format 2 and exactly as long as its length field says.
    bytes: Bytes,
}

impl RecordBatch {
    /// Takes `bytes` that are exactly one batch. The checksum is not looked at: see [`check_crc`](Self::check_crc).
    pub fn parse(bytes: Bytes) -> Result<Self, BatchError> {
        let size = first_size(&bytes)?;
        match bytes.len().checked_sub(size) {
            Some(0) => Ok(Self { bytes }),
            Some(extra) => Err(BatchError::TrailingBytes { extra }),
            None => Err(BatchError::Incomplete {
                have: bytes.len(),
                need: size,
            }),
        }
    }

    /// Wraps bytes whose size and format were just checked or written.
    pub(super) fn trusted(bytes: Bytes) -> Self {
        debug_assert_eq!(first_size(&bytes), Ok(bytes.len()));
        Self { bytes }
    }

    #[inline]
    fn raw(&self) -> &[u8; HEADER_SIZE] {
        self.bytes
            .first_chunk()
            .expect("a batch is never shorter than its header")
    }

    /// All header fields at once.
    pub fn header(&self) -> BatchHeader {
        BatchHeader::peek(self.raw()).expect("a batch is never shorter than its header")
    }

    /// The offset of the first record the batch was made with.
    pub fn base_offset(&self) -> Offset {
        header::base_offset(self.raw())
    }

    /// The offset of the last record the batch was made with; compaction does not change it.
    pub fn last_offset(&self) -> Offset {
        header::last_offset(self.base_offset(), self.last_offset_delta())
    }

    /// The offset after the last one.
    pub fn next_offset(&self) -> Offset {
        Offset(self.last_offset().0.wrapping_add(1))
    }

    /// The length field: the size less [`LOG_OVERHEAD`].
    pub fn batch_length(&self) -> i32 {
        header::batch_length(self.raw())
    }

    /// The epoch of the leader that appended the batch; `None` while it is on its way there.
    pub fn partition_leader_epoch(&self) -> Option<LeaderEpoch> {
        header::partition_leader_epoch(self.raw())
    }

    /// The format, always 2.
    pub fn magic(&self) -> i8 {
        header::magic(self.raw())
    }

    /// The checksum in the header.
    pub fn crc(&self) -> u32 {
        header::crc(self.raw())
    }

    /// The flags.
    pub fn attributes(&self) -> Attributes {
        header::attributes(self.raw())
    }

    /// How the records are compressed.
    pub fn codec(&self) -> Codec {
        self.attributes().codec()
    }

    /// Whose clock the timestamps come from.
    pub fn timestamp_type(&self) -> TimestampType {
        self.attributes().timestamp_type()
    }

    /// Whether the batch is part of a transaction.
    pub fn is_transactional(&self) -> bool {
        self.attributes().is_transactional()
    }

    /// Whether the batch holds a marker instead of data.
    pub fn is_control(&self) -> bool {
        self.attributes().is_control()
    }

    /// The last offset less the base offset.
    pub fn last_offset_delta(&self) -> i32 {
        header::last_offset_delta(self.raw())
    }

    /// The timestamp that the records' deltas add to, in milliseconds.
    pub fn first_timestamp(&self) -> i64 {
        header::first_timestamp(self.raw())
    }

    /// The largest timestamp, or the append time.
    pub fn max_timestamp(&self) -> i64 {
        header::max_timestamp(self.raw())
    }

    /// The idempotent producer, if it is one.
    pub fn producer_id(&self) -> Option<ProducerId> {
        header::producer_id(self.raw())
    }

    /// The producer's epoch.
    pub fn producer_epoch(&self) -> Option<ProducerEpoch> {
        header::producer_epoch(self.raw())
    }

    /// The sequence of the first record.
    pub fn base_sequence(&self) -> Option<Sequence> {
        header::base_sequence(self.raw())
    }

    /// The sequence of the last record, wrapping to 0 after `i32::MAX`.
    pub fn last_sequence(&self) -> Option<Sequence> {
        self.base_sequence()
            .map(|base| header::advance_sequence(base, self.last_offset_delta()))
    }

    /// How many records there are; fewer than offsets after compaction, negative in a malformed batch.
    pub fn record_count(&self) -> i32 {
        header::record_count(self.raw())
    }

    /// The size of the whole batch, header included.
    pub fn size_in_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The whole batch.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Gives the bytes back.
    pub fn into_bytes(self) -> Bytes {
        self.bytes
    }

    /// Computes the checksum and compares it to the stored one.
    pub fn check_crc(&self) -> Result<(), BatchError> {
        let (stored, computed) = (self.crc(), crc32c::crc32c(&self.bytes[ATTRIBUTES..]));
        if stored == computed {
            Ok(())
        } else {
            Err(BatchError::CrcMismatch { stored, computed })
        }
    }

    /// Whether the checksum holds.
    pub fn is_valid(&self) -> bool {
        self.check_crc().is_ok()
    }

    /// The batch as a leader appends it: at `base_offset`, in `leader_epoch`. The checksum covers neither, so it stays.
    /// In place when nobody else holds the bytes, else in a copy.
    #[must_use]
    pub fn rebase(self, base_offset: Offset, leader_epoch: LeaderEpoch) -> Self {
        self.rewrite(|raw| {
            raw[BASE_OFFSET..LENGTH].copy_from_slice(&base_offset.0.to_be_bytes());
            raw[LEADER_EPOCH..MAGIC_AT].copy_from_slice(&leader_epoch.0.to_be_bytes());
        })
    }

    /// The batch stamped with the leader's time in milliseconds (`setMaxTimestamp`), which needs a new checksum. The
    /// records' own timestamps stay in the bytes and are masked by the stamp.
    #[must_use]
    pub fn with_log_append_time(self, timestamp: i64) -> Self {
        let flags = self
            .attributes()
            .with_timestamp_type(TimestampType::LogAppendTime);
        self.rewrite(|raw| {
            put_attributes(raw, flags);
            raw[MAX_TIMESTAMP..PRODUCER_ID].copy_from_slice(&timestamp.to_be_bytes());
            put_crc(raw);
        })
    }

    /// The batch numbered anew by its producer before a resend (`ProducerBatch.resetProducerState`: an epoch bumped
    /// after an out-of-order answer, KIP-360). Needs a new checksum.
    #[must_use]
    pub fn with_producer_state(
        self,
        id: ProducerId,
        epoch: ProducerEpoch,
        base_sequence: Sequence,
        transactional: bool,
    ) -> Self {
        let flags = self.attributes().with_transactional(transactional);
        self.rewrite(|raw| {
            put_attributes(raw, flags);
            raw[PRODUCER_ID..PRODUCER_EPOCH].copy_from_slice(&id.0.to_be_bytes());
            raw[PRODUCER_EPOCH..BASE_SEQUENCE].copy_from_slice(&epoch.0.to_be_bytes());
            raw[BASE_SEQUENCE..header::RECORD_COUNT]
                .copy_from_slice(&base_sequence.0.to_be_bytes());
            put_crc(raw);
        })
    }

    fn rewrite(self, change: impl FnOnce(&mut [u8])) -> Self {
        let mut bytes = match self.bytes.try_into_mut() {
            Ok(own) => own,
            Err(shared) => BytesMut::from(shared.as_ref()),
        };
        change(&mut bytes);
        Self::trusted(bytes.freeze())
    }

    /// The records, decoded one by one; keys and values share the batch's bytes.
    pub fn records(&self) -> Records {
        Records::new(self.clone())
    }

    /// Offsets and values alone, borrowed: what a checker reads a log with.
    pub fn values(&self) -> Values<'_> {
        Values::new(self)
    }

    /// The marker of a control batch; `None` for a batch of data.
    pub fn control_marker(&self) -> Result<Option<ControlMarker>, BatchError> {
        if self.is_control() {
            ControlMarker::of(self).map(Some)
        } else {
            Ok(None)
        }
    }
}

fn put_attributes(raw: &mut [u8], flags: Attributes) {
    raw[ATTRIBUTES..header::LAST_OFFSET_DELTA].copy_from_slice(&flags.0.to_be_bytes());
}

/// Stores the checksum of everything from the attributes on.
pub(super) fn put_crc(raw: &mut [u8]) {
    let crc = crc32c::crc32c(&raw[ATTRIBUTES..]);
    raw[CRC..ATTRIBUTES].copy_from_slice(&crc.to_be_bytes());
}

/// The size of the batch at the front of `bytes`, which may be longer than they are.
fn first_size(bytes: &[u8]) -> Result<usize, BatchError> {
    let incomplete = |need| BatchError::Incomplete {
        have: bytes.len(),
        need,
    };
    let length = bytes
        .get(LENGTH..LOG_OVERHEAD)
        .and_then(|field| field.try_into().ok())
        .map(i32::from_be_bytes)
        .ok_or(incomplete(HEADER_SIZE))?;
    let size = usize::try_from(length).map_err(|_| BatchError::BadLength(length))? + LOG_OVERHEAD;
    // The format decides first how long a header is: a batch of an older one may be shorter and is no bad length.
    match bytes.get(MAGIC_AT) {
        Some(byte) => match i8::from_be_bytes([*byte]) {
            MAGIC if size < HEADER_SIZE => Err(BatchError::BadLength(length)),
            MAGIC => Ok(size),
            magic => Err(BatchError::UnsupportedMagic(magic)),
        },
        // A whole batch of any format reaches past its magic.
        None if size <= MAGIC_AT => Err(BatchError::BadLength(length)),
        None => Err(incomplete(size)),
    }
}

impl TryFrom<Bytes> for RecordBatch {
    type Error = BatchError;
    fn try_from(bytes: Bytes) -> Result<Self, BatchError> {
        Self::parse(bytes)
    }
}

impl From<RecordBatch> for Bytes {
    fn from(batch: RecordBatch) -> Self {
        batch.bytes
    }
}

impl fmt::Debug for RecordBatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "batch {}..={}", self.base_offset(), self.last_offset())?;
        if let Some(epoch) = self.partition_leader_epoch() {
            write!(f, " epoch {epoch}")?;
        }
        if let (Some(id), Some(epoch)) = (self.producer_id(), self.producer_epoch()) {
            write!(f, " producer {id}/{epoch}")?;
        }
        if let Some(sequence) = self.base_sequence() {
            write!(f, " sequence {sequence}")?;
        }
        if self.is_control() {
            f.write_str(" control")?;
        }
        write!(f, " ({} bytes)", self.size_in_bytes())
    }
}

/// Cuts a run of batches, as a log is read or a fetch answered, into them.
///
/// A last batch that is cut short ends the iteration without an error, as a size-limited fetch may cut it
/// ([`Batches::rest`] has its bytes); bytes that are no batch give one error and end it.
pub fn batches(bytes: Bytes) -> Batches {
    Batches {
        rest: bytes,
        broken: false,
    }
}

/// The iterator of [`batches`].
#[derive(Clone, Debug)]
pub struct Batches {
    rest: Bytes,
    broken: bool,
}

impl Batches {
    /// What has not been cut off yet; after the last batch, the incomplete one, or what starts with bytes that are none.
    pub fn rest(&self) -> &Bytes {
        &self.rest
    }
}

impl Iterator for Batches {
    type Item = Result<RecordBatch, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.broken || self.rest.is_empty() {
            return None;
        }
        match first_size(&self.rest) {
            Ok(size) if size <= self.rest.len() => {
                // The last batch of a run takes the bytes over, so that it can be rewritten in place.
                let batch = if size == self.rest.len() {
                    std::mem::take(&mut self.rest)
                } else {
                    self.rest.split_to(size)
                };
                Some(Ok(RecordBatch::trusted(batch)))
            }
            Ok(_) | Err(BatchError::Incomplete { .. }) => None,
            Err(error) => {
                self.broken = true;
                Some(Err(error))
            }
        }
    }
}
