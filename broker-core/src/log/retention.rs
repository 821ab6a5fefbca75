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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::fixture::{Fixture, at, batch, batch_at};
    use protocol::behaviour::Behaviour;
    use protocol::note::ReplicaNote;

    /// Three closed segments of one record each, with timestamps 10, 20 and 30 seconds, and an empty active one.
    fn filled(settings: &[(&str, &str)], behaviour: Behaviour) -> Fixture {
        let mut fixture = Fixture::with(settings, behaviour);
        for seconds in [10, 20, 30] {
            fixture.append(batch_at(seconds * 1000, &["a"]), 0).unwrap();
            fixture.roll();
        }
        fixture.commit();
        fixture.bench.notes();
        fixture
    }

    fn delete(fixture: &mut Fixture, seconds: i64) -> usize {
        let io = &mut fixture.bench.io();
        let gone = fixture.log.delete_old_segments(at(seconds * 1000), io);
        gone.unwrap()
    }

    #[test]
    fn segments_go_when_their_newest_record_is_too_old() {
        let mut fixture = filled(&[("retention.ms", "15000")], Behaviour::of(Era::V2_8));
        assert_eq!(delete(&mut fixture, 25), 0);
        assert_eq!(delete(&mut fixture, 36), 2);
        assert_eq!(fixture.bases(), [2, 3]);
        assert_eq!(fixture.log.log_start_offset(), Offset(2));
        assert_eq!(fixture.bench.notes(), [ReplicaNote::LogStart(Offset(2))]);
        assert!(
            fixture
                .bench
                .disk
                .has("d/t-0/00000000000000000000.log.deleted")
        );
    }

    #[test]
    fn before_timestamps_the_time_of_the_last_write_counted() {
        let mut fixture = filled(&[("retention.ms", "15000")], Behaviour::of(Era::V0_9));
        assert_eq!(delete(&mut fixture, 25), 0, "all were written at second 10");
        assert_eq!(delete(&mut fixture, 26), 3);
    }

    #[test]
    fn segments_go_while_the_rest_is_large_enough() {
        let size = batch(&["a"]).size_in_bytes();
        let limit = (2 * size).to_string();
        let settings = [("retention.ms", "-1"), ("retention.bytes", limit.as_str())];
        let mut fixture = filled(&settings, Behaviour::of(Era::V2_8));
        assert_eq!(delete(&mut fixture, 1_000_000), 1);
        assert_eq!(delete(&mut fixture, 1_000_000), 0);
        assert_eq!(fixture.bases(), [1, 2, 3]);
    }

    #[test]
    fn segments_below_the_log_start_go_whatever_the_policy() {
        let mut fixture = filled(&[], Behaviour::of(Era::V2_8));
        let compact = crate::log::fixture::topic(&[("cleanup.policy", "compact")]);
        fixture.log.set_config(compact);
        let io = &mut fixture.bench.io();
        let log = &mut fixture.log;
        log.maybe_increment_log_start_offset(io, Offset(2)).unwrap();
        assert_eq!(delete(&mut fixture, 1_000_000_000), 2);
    }

    #[test]
    fn nothing_above_the_high_watermark_goes_since_kafka_5634() {
        for (fixed, gone) in [(true, 1), (false, 3)] {
            let behaviour =
                Behaviour::of(Era::V2_8).with(Fix::RetentionBoundByHighWatermark, fixed);
            let mut fixture = filled(&[("retention.ms", "1")], behaviour);
            let io = &mut fixture.bench.io();
            fixture.log.update_high_watermark(io, Offset(1));
            assert_eq!(delete(&mut fixture, 1_000_000), gone);
            let log = &fixture.log;
            assert!(log.high_watermark() >= log.log_start_offset());
        }
    }

    #[test]
    fn one_segment_always_stays() {
        let mut fixture = Fixture::new(&[("retention.ms", "1000")]);
        fixture.append(batch(&["a"]), 0).unwrap();
        fixture.commit();
        assert_eq!(delete(&mut fixture, 1_000_000), 1);
        assert_eq!(fixture.bases(), [1]);
        assert_eq!(fixture.log.log_start_offset(), Offset(1));
        assert_eq!(fixture.log.log_end_offset(), Offset(1));
        assert_eq!(delete(&mut fixture, 2_000_000), 0);
    }

    #[test]
    fn the_log_start_does_not_pass_the_high_watermark() {
        let mut fixture = Fixture::new(&[]);
        fixture.append(batch(&["a", "b"]), 0).unwrap();
        let io = &mut fixture.bench.io();
        let refused = fixture.log.maybe_increment_log_start_offset(io, Offset(1));
        assert_eq!(refused, Err(ErrorCode::OffsetOutOfRange));
    }
}
