//! Letting old segments go (`Log.deleteOldSegments`; KAFKA-5634).
//!
//! Only whole segments from the front, only below the high watermark, and one segment always stays.

use super::{Log, storage_error};
use protocol::behaviour::{Era, Fix};
use protocol::disk::DiskError;
use protocol::error_code::ErrorCode;
use protocol::ids::Offset;
use protocol::machine::Io;
use protocol::time::{Now, Span};

impl Log {
    /// Deletes the segments that are too old, too much, or below the log start. Tells how many went.
    ///
    /// # Errors
    /// [`ErrorCode::KafkaStorageError`].
    pub fn delete_old_segments(&mut self, now: Now, io: &mut Io<'_>) -> Result<usize, ErrorCode> {
        let mut gone = 0;
        if self.config.cleanup_policy.delete {
            let count = self.count_expired(now.wall.millis());
            gone += self.drop_front(now, io, count).map_err(storage_error)?;
            let count = self.count_oversize();
            gone += self.drop_front(now, io, count).map_err(storage_error)?;
        }
        let count = self.count_below_start();
        gone += self.drop_front(now, io, count).map_err(storage_error)?;
        Ok(gone)
    }

    /// How many segments from the front may go and fulfil `wanted`, which sees the segment's index.
    fn count(&self, mut wanted: impl FnMut(usize) -> bool) -> usize {
        let bounded = self.behaviour.has(Fix::RetentionBoundByHighWatermark);
        let last = self.segments.len() - 1;
        (0..self.segments.len())
            .take_while(|index| {
                let end = self.next_base(*index).unwrap_or(self.log_end_offset);
                let last_and_empty = *index == last && self.segments[last].size == 0;
                (!bounded || self.high_watermark >= end) && !last_and_empty && wanted(*index)
            })
            .count()
    }

    fn next_base(&self, index: usize) -> Option<Offset> {
        self.segments
            .get(index + 1)
            .map(|segment| segment.base_offset)
    }

    fn count_expired(&self, now_ms: i64) -> usize {
        let Some(limit) = millis(self.config.retention_ms) else {
            return 0;
        };
        // Before records had timestamps (KIP-33) the file's time of modification counted.
        let by_file = self.behaviour.era <= Era::V0_9;
        self.count(|index| {
            let segment = &self.segments[index];
            let newest = segment
                .largest_timestamp()
                .filter(|timestamp| *timestamp >= 0 && !by_file)
                .unwrap_or(segment.modified);
            now_ms.saturating_sub(newest) > limit
        })
    }

    fn count_oversize(&self) -> usize {
        let Ok(limit) = u64::try_from(self.config.retention_bytes) else {
            return 0;
        };
        let Some(mut excess) = self.size().checked_sub(limit) else {
            return 0;
        };
        self.count(
            |index| match excess.checked_sub(self.segments[index].size) {
                Some(rest) => {
                    excess = rest;
                    true
                }
                None => false,
            },
        )
    }

    fn count_below_start(&self) -> usize {
        self.count(|index| {
            self.next_base(index)
                .is_some_and(|next| next <= self.log_start_offset)
        })
    }

    fn drop_front(&mut self, now: Now, io: &mut Io<'_>, count: usize) -> Result<usize, DiskError> {
        if count == 0 {
            return Ok(0);
        }
        if count == self.segments.len() {
            self.roll_segment(now, io)?;
        }
        let dropped: Vec<_> = self.segments.drain(..count).collect();
        self.discard(now.mono, io.disk, &dropped)?;
        let start = self.segments[0].base_offset;
        self.raise_log_start(io, start)?;
        Ok(count)
    }
}

/// A limit in milliseconds; none when there is no limit.
fn millis(span: Span) -> Option<i64> {
    (span != Span::MAX)
        .then(|| i64::try_from(span.as_millis()).ok())
        .flatten()
}
