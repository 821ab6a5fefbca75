//! One file of batches with its indexes (`LogSegment`, `FileRecords`).
//!
//! The last batches of the segment are known by position in memory, so that a read at the tail, which is nearly every
//! read, looks at no file but for the answer's bytes. Older positions come from the sparse index and a scan of headers.

use super::layout::{SegmentFile, segment_path};
use super::offset_index::{OffsetIndex, relative};
use super::time_index::TimeIndex;
use super::transaction_index::{AbortedSpan, TransactionIndex};
use bytes::Bytes;
use protocol::config::TopicConfig;
use protocol::disk::{Disk, DiskError, FileId};
use protocol::ids::{LeaderEpoch, Offset};
use protocol::record::{BatchHeader, HEADER_SIZE, RecordBatch};
use std::collections::VecDeque;

/// How many batches at the end are known by position.
const TAIL: usize = 256;

/// Where a batch lies in its file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Slot {
    /// Its first offset.
    pub base_offset: Offset,
    /// Its last offset.
    pub last_offset: Offset,
    /// The position of its first byte.
    pub position: u64,
    /// Its size in bytes.
    pub size: u64,
}

/// A record found by its timestamp.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TimestampOffset {
    /// Its timestamp in milliseconds.
    pub timestamp: i64,
    /// Its offset.
    pub offset: Offset,
    /// The epoch of its batch.
    pub leader_epoch: Option<LeaderEpoch>,
}

/// Bytes about to be appended.
pub(super) struct Incoming<'a> {
    /// Whole batches.
    pub(super) bytes: Bytes,
    /// Where each lies, positions counted from the start of the bytes.
    pub(super) slots: &'a [Slot],
    /// The largest timestamp and the offset that has it.
    pub(super) largest: (i64, Offset),
}

impl Incoming<'_> {
    fn last_offset(&self) -> Offset {
        self.slots
            .last()
            .map_or(Offset::ZERO, |slot| slot.last_offset)
    }
}

/// One segment.
#[derive(Clone, Debug)]
pub struct Segment {
    pub(super) base_offset: Offset,
    pub(super) log: FileId,
    pub(super) size: u64,
    pub(super) offset_index: OffsetIndex,
    pub(super) time_index: TimeIndex,
    pub(super) transactions: TransactionIndex,
    /// Bytes since the last index entry.
    unindexed: u64,
    /// The largest timestamp and the offset that has it.
    largest: Option<(i64, Offset)>,
    /// The largest timestamp of the first append, from which the age for rolling counts.
    rolling_from: Option<i64>,
    /// When the segment came to be and was last written, in milliseconds of the wall clock.
    pub(super) created: i64,
    pub(super) modified: i64,
    tail: VecDeque<Slot>,
}

/// A length as the disk counts it.
pub(super) fn size_of(len: usize) -> u64 {
    u64::try_from(len).expect("a length fits 64 bits")
}

impl Segment {
    /// Makes a new segment. A file of the same name that somehow is there already is emptied, as Kafka deletes it.
    pub(super) fn create(
        disk: &mut dyn Disk,
        directory: &str,
        base_offset: Offset,
        now_ms: i64,
    ) -> Result<Self, DiskError> {
        let mut segment = Self::open(disk, directory, base_offset, now_ms)?;
        if segment.size > 0 {
            disk.truncate(segment.log, 0)?;
            segment.size = 0;
        }
        segment.transactions.reset(disk)?;
        for index in [segment.offset_index.file(), segment.time_index.file()] {
            if disk.len(index) > 0 {
                disk.truncate(index, 0)?;
            }
        }
        Ok(segment)
    }

    /// Opens the files of a segment, indexes unread, creating those that are missing.
    pub(super) fn open(
        disk: &mut dyn Disk,
        directory: &str,
        base_offset: Offset,
        now_ms: i64,
    ) -> Result<Self, DiskError> {
        let mut open = |file| disk.open(&segment_path(directory, base_offset, file));
        let log = open(SegmentFile::Log)?;
        let offset_index = OffsetIndex::empty(open(SegmentFile::OffsetIndex)?, base_offset);
        let time_index = TimeIndex::empty(open(SegmentFile::TimeIndex)?, base_offset);
        Ok(Self {
            base_offset,
            log,
            size: disk.len(log),
            offset_index,
            time_index,
            transactions: TransactionIndex::untrusted(
                disk,
                &segment_path(directory, base_offset, SegmentFile::TransactionIndex),
            ),
            unindexed: 0,
            largest: None,
            rolling_from: None,
            created: now_ms,
            modified: now_ms,
            tail: VecDeque::new(),
        })
    }

    /// The offset its name carries.
    pub fn base_offset(&self) -> Offset {
        self.base_offset
    }

    /// Bytes of batches.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The largest timestamp in it, in milliseconds.
    pub fn largest_timestamp(&self) -> Option<i64> {
        self.largest.map(|(timestamp, _)| timestamp)
    }

    /// The files a flush makes durable.
    pub(super) fn files(&self) -> impl Iterator<Item = FileId> {
        let indexes = [self.offset_index.file(), self.time_index.file()];
        [self.log]
            .into_iter()
            .chain(indexes)
            .chain(self.transactions.file())
    }

    /// Notes an aborted transaction whose marker is in the segment.
    pub(super) fn append_aborted(
        &mut self,
        disk: &mut dyn Disk,
        directory: &str,
        span: AbortedSpan,
    ) -> Result<(), DiskError> {
        let path = segment_path(directory, self.base_offset, SegmentFile::TransactionIndex);
        self.transactions.append(disk, &path, span)
    }

    /// Whether it is time for a new segment before `incoming` is appended.
    pub(super) fn should_roll(
        &self,
        config: &TopicConfig,
        now_ms: i64,
        incoming: &Incoming<'_>,
        jitter_ms: u64,
    ) -> bool {
        let limit = u64::try_from(config.segment_bytes).unwrap_or(0);
        let waited = match self.rolling_from {
            Some(first) if first >= 0 => incoming.largest.0.saturating_sub(first),
            Some(_) | None => now_ms.saturating_sub(self.created),
        };
        let patience = config.segment_ms.as_millis().saturating_sub(jitter_ms);
        let aged = u64::try_from(waited).is_ok_and(|waited| waited > patience);
        let index_bytes = usize::try_from(config.segment_index_bytes).unwrap_or(0);
        self.size + size_of(incoming.bytes.len()) > limit
            || (self.size > 0 && aged)
            || self.offset_index.len() >= index_bytes / 8
            || self.time_index.len() + 1 >= index_bytes / 12
            || relative(self.base_offset, incoming.last_offset()).is_none()
    }

    /// Appends. The log is written before the indexes, as Kafka does.
    pub(super) fn append(
        &mut self,
        disk: &mut dyn Disk,
        incoming: Incoming<'_>,
        index_interval: i32,
        now_ms: i64,
    ) -> Result<(), DiskError> {
        let last = incoming.last_offset();
        let Incoming {
            bytes,
            slots,
            largest,
        } = incoming;
        let (position, size) = (self.size, size_of(bytes.len()));
        self.modified = now_ms;
        if position == 0 {
            self.rolling_from = Some(largest.0);
        }
        disk.append(self.log, bytes)?;
        self.size += size;
        for slot in slots {
            self.remember(Slot {
                position: position + slot.position,
                ..*slot
            });
        }
        if self.largest.is_none_or(|(known, _)| largest.0 > known) {
            self.largest = Some(largest);
        }
        self.index(disk, (last, position), index_interval)?;
        self.unindexed += size;
        Ok(())
    }

    /// Adds index entries if enough was written since the last ones.
    fn index(
        &mut self,
        disk: &mut dyn Disk,
        (offset, position): (Offset, u64),
        interval: i32,
    ) -> Result<(), DiskError> {
        if self.unindexed <= u64::try_from(interval).unwrap_or(0) {
            return Ok(());
        }
        self.offset_index.append(disk, offset, position)?;
        if let Some((timestamp, offset)) = self.largest {
            self.time_index.maybe_append(disk, timestamp, offset)?;
        }
        self.unindexed = 0;
        Ok(())
    }

    fn remember(&mut self, slot: Slot) {
        if self.tail.len() == TAIL {
            self.tail.pop_front();
        }
        self.tail.push_back(slot);
    }

    /// Takes a batch that is in the file already into indexes and tail, as recovery walks over it.
    pub(super) fn recover_batch(
        &mut self,
        disk: &mut dyn Disk,
        batch: &RecordBatch,
        position: u64,
        index_interval: i32,
    ) -> Result<(), DiskError> {
        self.see(&batch.header(), position);
        self.index(disk, (batch.last_offset(), position), index_interval)?;
        self.unindexed += size_of(batch.size_in_bytes());
        Ok(())
    }

    /// Takes a header into tail and timestamps.
    pub(super) fn see(&mut self, header: &BatchHeader, position: u64) {
        if position == 0 {
            self.rolling_from = Some(header.max_timestamp);
        }
        if self
            .largest
            .is_none_or(|(known, _)| header.max_timestamp > known)
        {
            self.largest = Some((header.max_timestamp, header.last_offset()));
        }
        self.remember(Slot {
            base_offset: header.base_offset,
            last_offset: header.last_offset(),
            position,
            size: size_of(header.size_in_bytes()),
        });
    }

    /// Forgets what is derived from the batches, before recovery derives it anew.
    pub(super) fn forget(&mut self, disk: &mut dyn Disk) -> Result<(), DiskError> {
        self.offset_index.reset(disk)?;
        self.time_index.reset(disk)?;
        self.transactions.reset(disk)?;
        self.tail.clear();
        self.largest = None;
        self.rolling_from = None;
        self.unindexed = 0;
        Ok(())
    }

    /// No more appends: the largest timestamp goes to the time index, the tail is forgotten.
    pub(super) fn close(&mut self, disk: &mut dyn Disk) -> Result<(), DiskError> {
        self.tail = VecDeque::new();
        match self.largest {
            Some((timestamp, offset)) => self.time_index.maybe_append(disk, timestamp, offset),
            None => Ok(()),
        }
    }

    /// The header of the batch at `position`; `None` at the end or where no whole batch lies.
    pub(super) fn header_at(
        &self,
        disk: &mut dyn Disk,
        position: u64,
    ) -> Result<Option<BatchHeader>, DiskError> {
        let bytes = disk.read(self.log, position, size_of(HEADER_SIZE))?;
        Ok(BatchHeader::peek(&bytes).filter(|header| {
            header.is_plausible() && position + size_of(header.size_in_bytes()) <= self.size
        }))
    }

    /// The whole batch at `position`, checksum unchecked; `None` where no whole batch lies.
    pub(super) fn batch_at(
        &self,
        disk: &mut dyn Disk,
        position: u64,
    ) -> Result<Option<RecordBatch>, DiskError> {
        let Some(header) = self.header_at(disk, position)? else {
            return Ok(None);
        };
        let bytes = disk.read(self.log, position, size_of(header.size_in_bytes()))?;
        Ok(RecordBatch::parse(bytes).ok())
    }

    /// The first batch that ends at `offset` or later (`translateOffset`).
    pub(super) fn find(
        &self,
        disk: &mut dyn Disk,
        offset: Offset,
    ) -> Result<Option<Slot>, DiskError> {
        if let Some(index) = self.tail_index(offset) {
            return Ok(self.tail.get(index).copied());
        }
        if self.size == 0 {
            return Ok(None);
        }
        let mut position = self.offset_index.lookup(offset);
        while let Some(header) = self.header_at(disk, position)? {
            let size = size_of(header.size_in_bytes());
            if header.last_offset() >= offset {
                return Ok(Some(Slot {
                    base_offset: header.base_offset,
                    last_offset: header.last_offset(),
                    position,
                    size,
                }));
            }
            position += size;
        }
        Ok(None)
    }

    /// The place in the tail of the first batch that ends at `offset` or later, when the tail can tell.
    fn tail_index(&self, offset: Offset) -> Option<usize> {
        let first = self.tail.front()?;
        (offset >= first.base_offset || first.position == 0)
            .then(|| self.tail.partition_point(|slot| slot.last_offset < offset))
    }

    /// The bytes of whole batches from `slot` on: at most `max_bytes`, but the first in any case, and none that reaches
    /// `upper_bound`.
    pub(super) fn read(
        &self,
        disk: &mut dyn Disk,
        slot: Slot,
        max_bytes: u64,
        upper_bound: Offset,
    ) -> Result<Bytes, DiskError> {
        if slot.last_offset >= upper_bound {
            return Ok(Bytes::new());
        }
        let limit = max_bytes.max(slot.size);
        if let Some(first) = self.tail_index(slot.base_offset) {
            let fits = |other: &&Slot| {
                other.last_offset < upper_bound
                    && other.position + other.size - slot.position <= limit
            };
            let end = self.tail.range(first..).take_while(fits).last();
            let size = end.map_or(slot.size, |end| end.position + end.size - slot.position);
            return disk.read(self.log, slot.position, size);
        }
        let bytes = disk.read(self.log, slot.position, limit)?;
        let mut cut = 0;
        while let Some(header) = BatchHeader::peek(&bytes[cut..]) {
            let end = cut + header.size_in_bytes();
            if !header.is_plausible() || end > bytes.len() || header.last_offset() >= upper_bound {
                break;
            }
            cut = end;
        }
        Ok(bytes.slice(..cut))
    }

    /// Cuts the batch that holds `offset` and everything after it. Tells how many bytes went.
    pub(super) fn truncate_to(
        &mut self,
        disk: &mut dyn Disk,
        offset: Offset,
        now_ms: i64,
    ) -> Result<u64, DiskError> {
        let Some(slot) = self.find(disk, offset)? else {
            return Ok(0);
        };
        self.offset_index.truncate_to(disk, offset)?;
        self.time_index.truncate_to(disk, offset)?;
        self.transactions.truncate_to(disk, offset)?;
        disk.truncate(self.log, slot.position)?;
        let cut = self.size - slot.position;
        self.size = slot.position;
        while self
            .tail
            .back()
            .is_some_and(|last| last.position >= slot.position)
        {
            self.tail.pop_back();
        }
        if self.size == 0 {
            self.created = now_ms;
            self.rolling_from = None;
        }
        self.unindexed = 0;
        self.find_largest(disk)?;
        Ok(cut)
    }

    /// Looks the largest timestamp up again, from the last entry of the time index on: a crash may have cost the index
    /// its last entries.
    pub(super) fn find_largest(&mut self, disk: &mut dyn Disk) -> Result<(), DiskError> {
        self.largest = self.time_index.last();
        let from = self.largest.map_or(self.base_offset, |(_, offset)| offset);
        let mut position = self.offset_index.lookup(from);
        while let Some(header) = self.header_at(disk, position)? {
            if self
                .largest
                .is_none_or(|(known, _)| header.max_timestamp > known)
            {
                self.largest = Some((header.max_timestamp, header.last_offset()));
            }
            position += size_of(header.size_in_bytes());
        }
        Ok(())
    }

    /// Walks the headers from the last index entry to the end, filling tail and timestamps; the offset after the last
    /// batch (`readNextOffset`).
    pub(super) fn read_end(&mut self, disk: &mut dyn Disk) -> Result<Offset, DiskError> {
        self.largest = self.time_index.last();
        if let Some(first) = self.header_at(disk, 0)? {
            self.rolling_from = Some(first.max_timestamp);
        }
        let mut position = self.offset_index.lookup(Offset(i64::MAX));
        let mut end = self.base_offset;
        self.tail.clear();
        while let Some(header) = self.header_at(disk, position)? {
            self.see(&header, position);
            end = header.next_offset();
            position += size_of(header.size_in_bytes());
        }
        Ok(end)
    }

    /// The first record not before `timestamp` and not below `from` (`findOffsetByTimestamp`).
    pub(super) fn offset_for_timestamp(
        &self,
        disk: &mut dyn Disk,
        timestamp: i64,
        from: Offset,
    ) -> Result<Option<TimestampOffset>, DiskError> {
        let start = self.time_index.lookup(timestamp).max(from);
        let mut position = self.offset_index.lookup(start);
        while let Some(header) = self.header_at(disk, position)? {
            if header.max_timestamp >= timestamp
                && header.last_offset() >= from
                && let Some(batch) = self.batch_at(disk, position)?
                && let Some(found) = find_in_batch(&batch, timestamp, from)
            {
                return Ok(Some(found));
            }
            position += size_of(header.size_in_bytes());
        }
        Ok(None)
    }
}

fn find_in_batch(batch: &RecordBatch, timestamp: i64, from: Offset) -> Option<TimestampOffset> {
    let leader_epoch = batch.partition_leader_epoch();
    batch
        .records()
        .map_while(Result::ok)
        .find(|record| record.timestamp >= timestamp && record.offset >= from)
        .map(|record| TimestampOffset {
            timestamp: record.timestamp,
            offset: record.offset,
            leader_epoch,
        })
}
