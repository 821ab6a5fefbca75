//! Reading a log (`Log.read`, `LogSegment.read`, `Log.fetchOffsetByTimestamp`).
//!
//! Answers whole batches of one segment. Kafka may cut the last batch in two and leave it to the reader to drop the
//! piece; here the piece is not sent, which readers cannot tell apart.

use super::{Log, TimestampOffset, storage_error};
use bytes::Bytes;
use protocol::api::data::AbortedTransaction;
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

    /// The aborted transactions that a reader of committed data must skip in what it has read (`addAbortedTransactions`).
    /// The end of that is known as exactly as the offset index is dense: up to its next entry, else up to the next segment
    /// or the end of the log, more may be named than the reader needs.
    pub fn aborted_in(&self, data: &FetchDataInfo) -> Vec<AbortedTransaction> {
        if data.records.is_empty() {
            return Vec::new();
        }
        let place = self
            .floor_index(data.start.segment_base_offset)
            .unwrap_or(0);
        let read = u64::try_from(data.records.len()).unwrap_or(u64::MAX);
        let indexed = self.segments[place]
            .offset_index
            .upper_bound(data.start.position.saturating_add(read));
        let next = self.segments.get(place + 1).map(|next| next.base_offset);
        let upper_bound = indexed.or(next).unwrap_or(self.log_end_offset);
        self.aborted_transactions(data.start.offset, upper_bound)
    }

    /// The aborted transactions that overlap the offsets from `from` (included) to `upper_bound` (excluded), by their first
    /// offset.
    pub fn aborted_transactions(
        &self,
        from: Offset,
        upper_bound: Offset,
    ) -> Vec<AbortedTransaction> {
        let mut found = Vec::new();
        for segment in &self.segments[self.floor_index(from).unwrap_or(0)..] {
            if segment.transactions.collect(from, upper_bound, &mut found) {
                break;
            }
        }
        found.sort_by_key(|span| span.first_offset);
        found
            .iter()
            .map(|span| AbortedTransaction {
                producer_id: span.producer_id,
                first_offset: span.first_offset,
            })
            .collect()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::fixture::{Fixture, batch, batch_at};
    use protocol::record::batches;

    fn read(
        fixture: &mut Fixture,
        offset: i64,
        max_bytes: u64,
        upper_bound: i64,
    ) -> Result<(Vec<i64>, bool), ErrorCode> {
        let request = ReadRequest {
            offset: Offset(offset),
            max_bytes,
            upper_bound: Offset(upper_bound),
            min_one_message: false,
        };
        let info = fixture.log.read(&mut fixture.bench.disk, &request)?;
        let bases = batches(info.records).map(|batch| batch.unwrap().base_offset().0);
        Ok((bases.collect(), info.first_entry_incomplete))
    }

    /// Batches 0..=1, 2..=3, 4..=5 in one segment and 6..=7 in another.
    fn filled() -> (Fixture, u64) {
        let mut fixture = Fixture::new(&[]);
        for _ in 0..3 {
            fixture.append(batch(&["a", "b"]), 0).unwrap();
        }
        fixture.roll();
        fixture.append(batch(&["a", "b"]), 0).unwrap();
        let size = u64::try_from(batch(&["a", "b"]).size_in_bytes()).unwrap();
        (fixture, size)
    }

    #[test]
    fn whole_batches_from_the_one_that_holds_the_offset() {
        let (mut fixture, size) = filled();
        assert_eq!(read(&mut fixture, 3, 2 * size, 8), Ok((vec![2, 4], false)));
        assert_eq!(read(&mut fixture, 3, 2 * size - 1, 8), Ok((vec![2], false)));
        assert_eq!(
            read(&mut fixture, 0, u64::MAX, 8),
            Ok((vec![0, 2, 4], false)),
            "a read ends with its segment"
        );
        assert_eq!(read(&mut fixture, 6, u64::MAX, 8), Ok((vec![6], false)));
    }

    #[test]
    fn nothing_reaches_the_upper_bound() {
        let (mut fixture, _) = filled();
        assert_eq!(read(&mut fixture, 0, u64::MAX, 4), Ok((vec![0, 2], false)));
        assert_eq!(
            read(&mut fixture, 0, u64::MAX, 3),
            Ok((vec![0], false)),
            "a bound inside a batch excludes it"
        );
        assert_eq!(read(&mut fixture, 4, u64::MAX, 4), Ok((vec![], false)));
        assert_eq!(read(&mut fixture, 5, u64::MAX, 4), Ok((vec![], false)));
    }

    #[test]
    fn the_first_batch_is_larger_than_the_limit() {
        let (mut fixture, size) = filled();
        assert_eq!(read(&mut fixture, 0, size - 1, 8), Ok((vec![], true)));
        let request = ReadRequest {
            offset: Offset(0),
            max_bytes: 0,
            upper_bound: Offset(8),
            min_one_message: true,
        };
        let info = fixture.log.read(&mut fixture.bench.disk, &request).unwrap();
        assert_eq!(batches(info.records).count(), 1);
    }

    #[test]
    fn an_offset_outside_of_the_log_is_out_of_range() {
        let (mut fixture, _) = filled();
        fixture.commit();
        let io = &mut fixture.bench.io();
        let log = &mut fixture.log;
        log.maybe_increment_log_start_offset(io, Offset(3)).unwrap();
        let out = Err(ErrorCode::OffsetOutOfRange);
        assert_eq!(read(&mut fixture, 2, 1000, 8), out);
        assert_eq!(read(&mut fixture, 9, 1000, 8), out);
        assert_eq!(read(&mut fixture, 8, 1000, 8), Ok((vec![], false)));
        assert!(read(&mut fixture, 3, 1000, 8).is_ok());
    }

    #[test]
    fn a_read_at_the_tail_touches_the_disk_once() {
        let (mut fixture, _) = filled();
        for _ in 0..100 {
            fixture.append(batch(&["x"]), 0).unwrap();
        }
        let before = fixture.bench.disk.reads;
        let (found, _) = read(&mut fixture, 100, u64::MAX, 104).unwrap();
        assert_eq!(found, [100, 101, 102, 103]);
        assert_eq!(fixture.bench.disk.reads, before + 1);
    }

    #[test]
    fn batches_behind_the_remembered_tail_are_found_through_the_index() {
        let mut fixture = Fixture::new(&[("index.interval.bytes", "300")]);
        for _ in 0..400 {
            fixture.append(batch(&["x"]), 0).unwrap();
        }
        for offset in [0, 1, 77, 142, 143, 144, 399] {
            let (found, _) = read(&mut fixture, offset, 1000, offset + 2).unwrap();
            assert_eq!(found[0], offset);
            assert_eq!(found.len(), if offset == 399 { 1 } else { 2 });
        }
    }

    #[test]
    fn the_bytes_between_two_offsets_are_those_of_their_batches() {
        let (fixture, size) = filled();
        let mut disk = fixture.bench.disk.clone();
        let mut between = |from, to| {
            let (from, to) = (Offset(from), Offset(to));
            fixture.log.bytes_between(&mut disk, from, to).unwrap()
        };
        assert_eq!(between(0, 8), 4 * size);
        assert_eq!(between(2, 4), size);
        assert_eq!(between(4, 8), 2 * size);
        assert_eq!(between(5, 5), 0);
    }

    #[test]
    fn a_timestamp_leads_to_the_first_record_not_before_it() {
        let mut fixture = Fixture::new(&[("index.interval.bytes", "0")]);
        for timestamp in [100, 300, 200, 400] {
            fixture.append(batch_at(timestamp, &["a", "b"]), 7).unwrap();
        }
        fixture.roll();
        fixture.append(batch_at(500, &["c"]), 8).unwrap();
        let mut disk = fixture.bench.disk.clone();
        let mut find = |timestamp| {
            let found = fixture.log.offset_for_timestamp(&mut disk, timestamp);
            found
                .unwrap()
                .map(|found| (found.offset.0, found.timestamp))
        };
        assert_eq!(find(0), Some((0, 100)));
        assert_eq!(find(101), Some((2, 300)));
        assert_eq!(find(301), Some((6, 400)));
        assert_eq!(find(401), Some((8, 500)));
        assert_eq!(find(501), None);
    }
}
