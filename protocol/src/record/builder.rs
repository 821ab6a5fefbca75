//! Puts records into a new batch (`MemoryRecordsBuilder`, `DefaultRecordBatch.writeHeader`), and takes records out of one
//! for compaction (`MemoryRecords.filterTo`).
//!
//! A batch of one record costs one allocation, of exactly its size; later records grow the buffer as a vector grows.

use super::batch::put_crc;
use super::varint::{put_32, put_64, size_32, size_64};
use super::{
    Attributes, BatchError, HEADER_SIZE, LOG_OVERHEAD, MAGIC, NO_TIMESTAMP, RecordBatch,
    RecordHeader, RecordView, TimestampType, header,
};
use crate::ids::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence};
use bytes::Bytes;

/// `DefaultRecord.MAX_RECORD_OVERHEAD`: the most that length, attributes, timestamp and offset of a record can take.
const MAX_RECORD_OVERHEAD: usize = 21;

/// The most a batch of this one record can take: what the producer compares to `batch.size` when it opens a batch
/// (`DefaultRecordBatch.estimateBatchSizeUpperBound`).
pub fn estimate_batch_size_upper_bound(
    key: Option<&[u8]>,
    value: Option<&[u8]>,
    headers: &[RecordHeader],
) -> usize {
    HEADER_SIZE + MAX_RECORD_OVERHEAD + payload_size(key, value, headers)
}

/// The exact size of a record in a batch, its length field included (`DefaultRecord.sizeInBytes`).
pub fn record_size(
    offset_delta: i32,
    timestamp_delta: i64,
    key: Option<&[u8]>,
    value: Option<&[u8]>,
    headers: &[RecordHeader],
) -> usize {
    let body = body_size(
        offset_delta,
        timestamp_delta,
        payload_size(key, value, headers),
    );
    size_32(length(body)) + body
}

fn body_size(offset_delta: i32, timestamp_delta: i64, payload: usize) -> usize {
    1 + size_64(timestamp_delta) + size_32(offset_delta) + payload
}

fn payload_size(key: Option<&[u8]>, value: Option<&[u8]>, headers: &[RecordHeader]) -> usize {
    let headers_size: usize = headers
        .iter()
        .map(|header| nullable_size(Some(&header.key)) + nullable_size(header.value.as_deref()))
        .sum();
    nullable_size(key) + nullable_size(value) + size_32(length(headers.len())) + headers_size
}

fn nullable_size(bytes: Option<&[u8]>) -> usize {
    bytes.map_or(1, |bytes| size_32(length(bytes.len())) + bytes.len())
}

/// A size as the format stores it.
fn length(size: usize) -> i32 {
    i32::try_from(size).expect("a record is smaller than 2 GiB")
}

fn put_nullable(buffer: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        Some(bytes) => {
            put_32(buffer, length(bytes.len()));
            buffer.extend_from_slice(bytes);
        }
        None => put_32(buffer, -1),
    }
}

/// A batch in the making: uncompressed, `CreateTime`, at offset 0 and of no leader until told otherwise.
#[derive(Clone, Debug)]
pub struct BatchBuilder {
    /// Room for the header, then the records; empty until the first one, whose size decides the first allocation.
    buffer: Vec<u8>,
    base_offset: Offset,
    leader_epoch: Option<LeaderEpoch>,
    attributes: Attributes,
    producer: Option<(ProducerId, ProducerEpoch)>,
    base_sequence: Option<Sequence>,
    first_timestamp: i64,
    max_timestamp: i64,
    /// -1 before the first record.
    last_offset_delta: i32,
    record_count: i32,
}

impl Default for BatchBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl BatchBuilder {
    /// An empty batch.
    pub const fn new() -> Self {
        Self {
            buffer: Vec::new(),
            base_offset: Offset::ZERO,
            leader_epoch: None,
            attributes: Attributes(0),
            producer: None,
            base_sequence: None,
            first_timestamp: NO_TIMESTAMP,
            max_timestamp: NO_TIMESTAMP,
            last_offset_delta: -1,
            record_count: 0,
        }
    }

    /// Makes room for a batch of `size` bytes at once.
    #[must_use]
    pub fn capacity(mut self, size: usize) -> Self {
        self.buffer.reserve_exact(size);
        self
    }

    /// The offset of the first record.
    #[must_use]
    pub fn base_offset(mut self, offset: Offset) -> Self {
        self.base_offset = offset;
        self
    }

    /// The leader that appends the batch.
    #[must_use]
    pub fn leader_epoch(mut self, epoch: LeaderEpoch) -> Self {
        self.leader_epoch = Some(epoch);
        self
    }

    /// The idempotent producer and the sequence of its first record.
    #[must_use]
    pub fn producer(mut self, id: ProducerId, epoch: ProducerEpoch, base: Sequence) -> Self {
        self.set_producer(id, epoch, base);
        self
    }

    /// As [`producer`](Self::producer), once the batch is drained and its sequence known (`setProducerState`).
    pub fn set_producer(&mut self, id: ProducerId, epoch: ProducerEpoch, base: Sequence) {
        self.producer = Some((id, epoch));
        self.base_sequence = Some(base);
    }

    /// Makes the batch part of a transaction.
    #[must_use]
    pub fn transactional(mut self) -> Self {
        self.attributes = self.attributes.with_transactional(true);
        self
    }

    /// Makes the batch a marker, which has a producer but no sequence.
    #[must_use]
    pub(super) fn control(mut self, id: ProducerId, epoch: ProducerEpoch) -> Self {
        self.attributes = self.attributes.with_control();
        self.producer = Some((id, epoch));
        self
    }

    /// How many records there are.
    pub fn record_count(&self) -> i32 {
        self.record_count
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.record_count == 0
    }

    /// The size of the batch as it stands.
    pub fn size_in_bytes(&self) -> usize {
        self.buffer.len().max(HEADER_SIZE)
    }

    /// The exact size of the batch if this record came next. A producer closes a batch that is not empty when this goes
    /// beyond the room it opened it with (`hasRoomFor`); an empty one takes any record.
    pub fn size_if_appended(
        &self,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[RecordHeader],
    ) -> usize {
        let (delta, timestamp_delta) = (self.next_delta(), self.timestamp_delta(timestamp));
        self.size_in_bytes() + record_size(delta, timestamp_delta, key, value, headers)
    }

    /// Adds a record at the next offset and returns its distance from the base offset.
    pub fn append(
        &mut self,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[RecordHeader],
    ) -> i32 {
        let delta = self.next_delta();
        self.append_at(delta, timestamp, key, value, headers);
        delta
    }

    fn next_delta(&self) -> i32 {
        self.last_offset_delta
            .checked_add(1)
            .expect("a batch has fewer than 2^31 records")
    }

    fn timestamp_delta(&self, timestamp: i64) -> i64 {
        if self.is_empty() {
            0
        } else {
            timestamp.wrapping_sub(self.first_timestamp)
        }
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of a record")]
    fn append_at(
        &mut self,
        delta: i32,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[RecordHeader],
    ) {
        let timestamp_delta = self.timestamp_delta(timestamp);
        let body = body_size(delta, timestamp_delta, payload_size(key, value, headers));
        let size = size_32(length(body)) + body;
        if self.is_empty() {
            self.first_timestamp = timestamp;
            self.max_timestamp = timestamp;
            self.buffer.reserve_exact(HEADER_SIZE + size);
            self.buffer.resize(HEADER_SIZE, 0);
        } else {
            self.max_timestamp = self.max_timestamp.max(timestamp);
            self.buffer.reserve(size);
        }
        let buffer = &mut self.buffer;
        put_32(buffer, length(body));
        buffer.push(0);
        put_64(buffer, timestamp_delta);
        put_32(buffer, delta);
        put_nullable(buffer, key);
        put_nullable(buffer, value);
        put_32(buffer, length(headers.len()));
        for header in headers {
            put_nullable(buffer, Some(&header.key));
            put_nullable(buffer, header.value.as_deref());
        }
        self.last_offset_delta = delta;
        self.record_count += 1;
    }

    /// Writes the header and hands the batch over. A batch without a record is a bug of the caller.
    pub fn build(self) -> RecordBatch {
        assert!(!self.is_empty(), "a new batch has at least one record");
        self.finish()
    }

    fn finish(mut self) -> RecordBatch {
        if self.buffer.is_empty() {
            self.buffer.resize(HEADER_SIZE, 0);
        }
        let size = length(self.buffer.len() - LOG_OVERHEAD);
        let (producer_id, producer_epoch) = self
            .producer
            .map_or((-1, -1), |(id, epoch)| (id.0, epoch.0));
        let mut put = |at: usize, field: &[u8]| {
            self.buffer[at..at + field.len()].copy_from_slice(field);
        };
        put(header::BASE_OFFSET, &self.base_offset.0.to_be_bytes());
        put(header::LENGTH, &size.to_be_bytes());
        let leader_epoch = self.leader_epoch.map_or(-1, |epoch| epoch.0);
        put(header::LEADER_EPOCH, &leader_epoch.to_be_bytes());
        put(header::MAGIC_AT, &MAGIC.to_be_bytes());
        put(header::ATTRIBUTES, &self.attributes.0.to_be_bytes());
        put(
            header::LAST_OFFSET_DELTA,
            &self.last_offset_delta.to_be_bytes(),
        );
        put(header::FIRST_TIMESTAMP, &self.first_timestamp.to_be_bytes());
        put(header::MAX_TIMESTAMP, &self.max_timestamp.to_be_bytes());
        put(header::PRODUCER_ID, &producer_id.to_be_bytes());
        put(header::PRODUCER_EPOCH, &producer_epoch.to_be_bytes());
        let base_sequence = self.base_sequence.map_or(-1, |sequence| sequence.0);
        put(header::BASE_SEQUENCE, &base_sequence.to_be_bytes());
        put(header::RECORD_COUNT, &self.record_count.to_be_bytes());
        put_crc(&mut self.buffer);
        RecordBatch::trusted(Bytes::from(self.buffer))
    }
}

impl RecordBatch {
    /// The batch without the records that `keep` refuses, as the log cleaner writes it: base and last offset, producer,
    /// epochs and flags stay, whatever records go. All kept: the same bytes. None kept: a bare header, which the cleaner
    /// stores while it still needs the producer's last sequence.
    pub fn retain(&self, mut keep: impl FnMut(&RecordView) -> bool) -> Result<Self, BatchError> {
        let mut builder = BatchBuilder {
            buffer: Vec::new(),
            base_offset: self.base_offset(),
            leader_epoch: self.partition_leader_epoch(),
            attributes: self.attributes(),
            producer: self.producer_id().zip(self.producer_epoch()),
            base_sequence: self.base_sequence(),
            first_timestamp: NO_TIMESTAMP,
            max_timestamp: self.max_timestamp(),
            last_offset_delta: -1,
            record_count: 0,
        };
        let mut all = true;
        for record in self.records() {
            let record = record?;
            if !keep(&record) {
                all = false;
                continue;
            }
            let delta = i32::try_from(record.offset.0.wrapping_sub(self.base_offset().0))
                .expect("a record's offset is a 32-bit delta from the base offset");
            builder.append_at(
                delta,
                record.timestamp,
                record.key.as_deref(),
                record.value.as_deref(),
                &record.headers,
            );
        }
        if all {
            return Ok(self.clone());
        }
        if self.timestamp_type() == TimestampType::LogAppendTime {
            builder.max_timestamp = self.max_timestamp();
        }
        builder.last_offset_delta = self.last_offset_delta();
        Ok(builder.finish())
    }
}
