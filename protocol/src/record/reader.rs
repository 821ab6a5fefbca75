//! The records inside a batch (`DefaultRecord.readFrom`, `DefaultRecordBatch.RecordIterator`).
//!
//! Keys, values and headers are slices of the batch's bytes. After the first error the iteration ends.

use super::varint::{take_32, take_64};
use super::{BatchError, Codec, HEADER_SIZE, RecordBatch, TimestampType, header};
use crate::ids::{Offset, Sequence};
use bytes::Bytes;

/// A header of a record (KIP-82). Keys may repeat, and the order counts.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct RecordHeader {
    /// The key, UTF-8 by convention.
    pub key: Bytes,
    /// The value.
    pub value: Option<Bytes>,
}

/// One record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RecordView {
    /// Its number in the partition.
    pub offset: Offset,
    /// Its timestamp in milliseconds; the batch's append time where the log stamps batches.
    pub timestamp: i64,
    /// Its number among its producer's records.
    pub sequence: Option<Sequence>,
    /// The key.
    pub key: Option<Bytes>,
    /// The value; none is a tombstone.
    pub value: Option<Bytes>,
    /// The headers in their order, duplicate keys kept.
    pub headers: Vec<RecordHeader>,
}

/// A record still in its bytes.
struct RawRecord<'a> {
    timestamp_delta: i64,
    offset_delta: i32,
    key: Option<&'a [u8]>,
    value: Option<&'a [u8]>,
    header_count: i32,
    headers: &'a [u8],
}

impl<'a> RawRecord<'a> {
    /// Takes one record off the front of `input`, header bytes unread.
    fn take(input: &mut &'a [u8]) -> Result<Self, BatchError> {
        let length = take_32(input)?;
        let size = usize::try_from(length).map_err(|_| BatchError::NegativeLength(length))?;
        let (mut body, rest) = input
            .split_at_checked(size)
            .ok_or(BatchError::RecordTruncated)?;
        *input = rest;
        // The record's attributes: no bit of them is in use.
        body = body.get(1..).ok_or(BatchError::RecordTruncated)?;
        let timestamp_delta = take_64(&mut body)?;
        let offset_delta = take_32(&mut body)?;
        let key = take_nullable(&mut body)?;
        let value = take_nullable(&mut body)?;
        let header_count = take_32(&mut body)?;
        if header_count < 0 {
            return Err(BatchError::NegativeLength(header_count));
        }
        if header_count == 0 && !body.is_empty() {
            return Err(BatchError::RecordTooLong);
        }
        Ok(Self {
            timestamp_delta,
            offset_delta,
            key,
            value,
            header_count,
            headers: body,
        })
    }

    /// Reads the headers, which must fill the rest of the record.
    fn headers(&self, bytes: &Bytes) -> Result<Vec<RecordHeader>, BatchError> {
        let mut body = self.headers;
        // No capacity from the count: malformed bytes may claim two thousand million.
        let mut headers = Vec::new();
        for _ in 0..self.header_count {
            let key = take_nullable(&mut body)?.ok_or(BatchError::NegativeLength(-1))?;
            let value = take_nullable(&mut body)?;
            headers.push(RecordHeader {
                key: bytes.slice_ref(key),
                value: value.map(|value| bytes.slice_ref(value)),
            });
        }
        if body.is_empty() {
            Ok(headers)
        } else {
            Err(BatchError::RecordTooLong)
        }
    }
}

/// Length and bytes; any negative length is none, as Kafka reads it.
fn take_nullable<'a>(input: &mut &'a [u8]) -> Result<Option<&'a [u8]>, BatchError> {
    let Ok(size) = usize::try_from(take_32(input)?) else {
        return Ok(None);
    };
    let (taken, rest) = input
        .split_at_checked(size)
        .ok_or(BatchError::RecordTruncated)?;
    *input = rest;
    Ok(Some(taken))
}

/// How far a batch has been read.
#[derive(Clone, Debug)]
struct Cursor {
    /// Where the next record starts.
    position: usize,
    /// Records still declared.
    left: i32,
    done: bool,
}

impl Cursor {
    fn new(batch: &RecordBatch) -> Self {
        Self {
            position: HEADER_SIZE,
            left: batch.record_count(),
            done: false,
        }
    }

    fn next<'a>(&mut self, batch: &'a RecordBatch) -> Option<Result<RawRecord<'a>, BatchError>> {
        if self.done {
            return None;
        }
        let step = self.step(batch);
        self.done = !matches!(step, Ok(Some(_)));
        step.transpose()
    }

    fn step<'a>(&mut self, batch: &'a RecordBatch) -> Result<Option<RawRecord<'a>>, BatchError> {
        let codec = batch.codec();
        if codec != Codec::None && self.left != 0 {
            return Err(BatchError::Compressed(codec));
        }
        if self.left < 0 {
            return Err(BatchError::NegativeLength(self.left));
        }
        let bytes: &'a [u8] = batch.bytes();
        let mut input = &bytes[self.position..];
        if self.left == 0 {
            return match input.len() {
                0 => Ok(None),
                extra => Err(BatchError::RecordsRemain { extra }),
            };
        }
        let record = RawRecord::take(&mut input)?;
        self.position = bytes.len() - input.len();
        self.left -= 1;
        Ok(Some(record))
    }
}

/// The iterator of [`RecordBatch::records`].
#[derive(Clone, Debug)]
pub struct Records {
    batch: RecordBatch,
    cursor: Cursor,
}

impl Records {
    pub(super) fn new(batch: RecordBatch) -> Self {
        let cursor = Cursor::new(&batch);
        Self { batch, cursor }
    }
}

impl Iterator for Records {
    type Item = Result<RecordView, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        let view = self
            .cursor
            .next(&self.batch)?
            .and_then(|raw| view(&self.batch, &raw));
        self.cursor.done |= view.is_err();
        Some(view)
    }
}

fn view(batch: &RecordBatch, raw: &RawRecord<'_>) -> Result<RecordView, BatchError> {
    let bytes = batch.bytes();
    let timestamp = match batch.timestamp_type() {
        TimestampType::CreateTime => batch.first_timestamp().wrapping_add(raw.timestamp_delta),
        TimestampType::LogAppendTime => batch.max_timestamp(),
    };
    Ok(RecordView {
        offset: header::last_offset(batch.base_offset(), raw.offset_delta),
        timestamp,
        sequence: batch
            .base_sequence()
            .map(|base| header::advance_sequence(base, raw.offset_delta)),
        key: raw.key.map(|key| bytes.slice_ref(key)),
        value: raw.value.map(|value| bytes.slice_ref(value)),
        headers: raw.headers(bytes)?,
    })
}

/// The iterator of [`RecordBatch::values`]: neither allocates nor counts references. It does not look into headers.
#[derive(Clone, Debug)]
pub struct Values<'a> {
    batch: &'a RecordBatch,
    cursor: Cursor,
}

impl<'a> Values<'a> {
    pub(super) fn new(batch: &'a RecordBatch) -> Self {
        Self {
            batch,
            cursor: Cursor::new(batch),
        }
    }
}

impl<'a> Iterator for Values<'a> {
    type Item = Result<(Offset, Option<&'a [u8]>), BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        let raw = self.cursor.next(self.batch)?;
        Some(raw.map(|raw| {
            let offset = header::last_offset(self.batch.base_offset(), raw.offset_delta);
            (offset, raw.value)
        }))
    }
}
