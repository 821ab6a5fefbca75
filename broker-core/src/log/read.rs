//! Reading a log (`Log.read`, `LogSegment.read`, `Log.fetchOffsetByTimestamp`).
//!
//! Answers whole batches of one segment. Kafka may cut the last batch in two and leave it to the reader to drop the
//! piece; here the piece is not sent, which readers cannot tell apart.

use super::{Log, TimestampOffset, storage_error};
use bytes::Bytes;
use protocol::disk::Disk;
use protocol::error_code::ErrorCode;
use protocol::ids::Offset;

/// What to read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReadRequest {
    /// From the batch that holds this offset.
    pub offset: Offset,
    /// At most this many bytes.
    pub max_bytes: u64,
    /// Nothing of this offset or above: log end for followers, high watermark or last stable offset for consumers.
    pub upper_bound: Offset,
    /// The first batch in any case, however large (KIP-74).
    pub min_one_message: bool,
}

/// Where an offset lies (`LogOffsetMetadata`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LogOffsetMetadata {
    /// The offset.
    pub offset: Offset,
    /// The base offset of its segment.
    pub segment_base_offset: Offset,
    /// The position of its batch in the segment.
    pub position: u64,
}

/// What was read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FetchDataInfo {
    /// Where the records come from.
    pub start: LogOffsetMetadata,
    /// Whole batches; empty when there is nothing below the upper bound.
    pub records: Bytes,
    /// Nothing was read because the first batch is larger than the limit.
    pub first_entry_incomplete: bool,
}

impl Log {
    /// Reads batches.
    ///
    /// # Errors
    /// [`ErrorCode::OffsetOutOfRange`] outside of log start and log end; [`ErrorCode::KafkaStorageError`].
    pub fn read(
        &self,
        disk: &mut dyn Disk,
        request: &ReadRequest,
    ) -> Result<FetchDataInfo, ErrorCode> {
        let offset = request.offset;
        if offset < self.log_start_offset || offset > self.log_end_offset {
            return Err(ErrorCode::OffsetOutOfRange);
        }
        if offset >= request.upper_bound || offset == self.log_end_offset {
            return Ok(self.nothing(offset));
        }
        let first = self
            .floor_index(offset)
            .ok_or(ErrorCode::OffsetOutOfRange)?;
        for segment in &self.segments[first..] {
            let Some(slot) = segment.find(disk, offset).map_err(storage_error)? else {
                continue;
            };
            let start = LogOffsetMetadata {
                offset,
                segment_base_offset: segment.base_offset,
                position: slot.position,
            };
            let incomplete = slot.size > request.max_bytes && !request.min_one_message;
            let records = if incomplete {
                Bytes::new()
            } else {
                segment
                    .read(disk, slot, request.max_bytes, request.upper_bound)
                    .map_err(storage_error)?
            };
            return Ok(FetchDataInfo {
                start,
                records,
                first_entry_incomplete: incomplete,
            });
        }
        Ok(self.nothing(offset))
    }

    fn nothing(&self, offset: Offset) -> FetchDataInfo {
        FetchDataInfo {
            start: LogOffsetMetadata {
                offset,
                ..self.log_end_metadata()
            },
            records: Bytes::new(),
            first_entry_incomplete: false,
        }
    }

    /// Where the next record goes.
    pub fn log_end_metadata(&self) -> LogOffsetMetadata {
        let active = self.active();
        LogOffsetMetadata {
            offset: self.log_end_offset,
            segment_base_offset: active.base_offset,
            position: active.size,
        }
    }

    /// How many bytes of batches lie from `from` (included) to `to` (excluded), both within the log: what `fetch.min.bytes`
    /// is compared to.
    pub fn bytes_between(
        &self,
        disk: &mut dyn Disk,
        from: Offset,
        to: Offset,
    ) -> Result<u64, ErrorCode> {
        if from >= to {
            return Ok(0);
        }
        let mut bytes = 0;
        for segment in &self.segments[self.floor_index(from).unwrap_or(0)..] {
            if segment.base_offset >= to {
                break;
            }
            let mut position = |offset| -> Result<u64, ErrorCode> {
                let slot = segment.find(disk, offset).map_err(storage_error)?;
                Ok(slot.map_or(segment.size, |slot| slot.position))
            };
            bytes += position(to)?.saturating_sub(position(from)?);
        }
        Ok(bytes)
    }

    /// The first record with `timestamp` or a later one, in milliseconds; `None` when all are older.
    ///
    /// # Errors
    /// [`ErrorCode::KafkaStorageError`].
    pub fn offset_for_timestamp(
        &self,
        disk: &mut dyn Disk,
        timestamp: i64,
    ) -> Result<Option<TimestampOffset>, ErrorCode> {
        for segment in &self.segments {
            if segment
                .largest_timestamp()
                .is_none_or(|largest| largest < timestamp)
            {
                continue;
            }
            let found = segment
                .offset_for_timestamp(disk, timestamp, self.log_start_offset)
                .map_err(storage_error)?;
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// The index of the last segment whose base offset is not above `offset`.
    pub(super) fn floor_index(&self, offset: Offset) -> Option<usize> {
        if self.segments.last()?.base_offset <= offset {
            return Some(self.segments.len() - 1);
        }
        self.segments
            .partition_point(|segment| segment.base_offset <= offset)
            .checked_sub(1)
    }
}
