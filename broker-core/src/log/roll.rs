//! Starting a new segment (`Log.maybeRoll`, `Log.roll`, `RollParams`).

use super::segment::{Incoming, Segment};
use super::{Log, storage_error};
use protocol::disk::DiskError;
use protocol::error_code::ErrorCode;
use protocol::machine::Io;
use protocol::time::{Now, Span};
use std::sync::Arc;

impl Log {
    pub(super) fn maybe_roll(
        &mut self,
        now: Now,
        io: &mut Io<'_>,
        incoming: &Incoming<'_>,
    ) -> Result<(), DiskError> {
        let jitter = self.roll_jitter();
        let now_ms = now.wall.millis();
        if self
            .active()
            .should_roll(&self.config, now_ms, incoming, jitter)
        {
            self.roll_segment(now, io)?;
        }
        Ok(())
    }

    /// Spreads the rolls of many logs. Kafka draws at random; here partition and base offset decide, so that equal runs
    /// roll alike.
    fn roll_jitter(&self) -> u64 {
        let jitter = self.config.segment_jitter_ms.min(self.config.segment_ms);
        if jitter == Span::ZERO {
            return 0;
        }
        let seed = self
            .partition
            .topic
            .as_str()
            .bytes()
            .map(u64::from)
            .chain([
                u64::from(self.partition.partition.0.unsigned_abs()),
                self.active().base_offset.0.unsigned_abs(),
            ])
            .fold(0_u64, |seed, part| {
                (seed ^ part).wrapping_mul(0x0000_0100_0000_01b3)
            });
        seed % jitter.as_millis().max(1)
    }

    /// Starts a new active segment at the log's end. Without effect when the active one is empty.
    ///
    /// # Errors
    /// [`ErrorCode::KafkaStorageError`].
    pub fn roll(&mut self, now: Now, io: &mut Io<'_>) -> Result<(), ErrorCode> {
        self.roll_segment(now, io).map_err(storage_error)
    }

    pub(super) fn roll_segment(&mut self, now: Now, io: &mut Io<'_>) -> Result<(), DiskError> {
        let base = self.log_end_offset;
        if self.active().base_offset == base {
            return Ok(());
        }
        let directory = Arc::clone(&self.directory);
        self.active_mut().close(io.disk)?;
        self.producers.map_end = self.producers.map_end.max(base);
        self.producers.take_snapshot(io.disk, &directory)?;
        let segment = Segment::create(io.disk, &directory, base, now.wall.millis())?;
        self.segments.push(Arc::new(segment));
        // Kafka flushes the old segment in the background at once.
        self.flush_wanted = self.flush_wanted.max(Some(base));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::log::fixture::{Fixture, batch, batch_at};
    use protocol::ids::Offset;

    #[test]
    fn a_segment_is_rolled_when_full_or_old_or_its_index_is_full() {
        let size = i64::try_from(batch(&["a"]).size_in_bytes()).unwrap();
        let mut full = Fixture::new(&[("segment.bytes", &(2 * size).to_string())]);
        for _ in 0..5 {
            full.append(batch(&["a"]), 0).unwrap();
        }
        assert_eq!(full.bases(), [0, 2, 4]);
        assert_eq!(full.log.flush_wanted(), Some(Offset(4)));
        let closed = |kind| format!("d/t-0/00000000000000000000{kind}");
        let sizes =
            [".index", ".timeindex"].map(|kind| full.bench.disk.content(&closed(kind)).len());
        assert_eq!(sizes, [0, 12], "closing notes the largest timestamp");

        let mut old = Fixture::new(&[("segment.ms", "1000")]);
        for timestamp in [10_000, 11_000, 11_001, 11_500] {
            old.append(batch_at(timestamp, &["a"]), 0).unwrap();
        }
        assert_eq!(old.bases(), [0, 2], "the age counts between records");

        let mut indexed =
            Fixture::new(&[("segment.index.bytes", "36"), ("index.interval.bytes", "0")]);
        for count in 0..6 {
            indexed.append(batch_at(10_000 + count, &["a"]), 0).unwrap();
        }
        assert_eq!(indexed.bases(), [0, 3]);
        assert!(
            indexed
                .bench
                .disk
                .has("d/t-0/00000000000000000003.snapshot")
        );
    }

    #[test]
    fn jitter_rolls_no_later_than_the_age() {
        let fixture = Fixture::new(&[("segment.ms", "1000"), ("segment.jitter.ms", "400")]);
        assert!(fixture.log.roll_jitter() < 400);
        assert_eq!(Fixture::new(&[]).log.roll_jitter(), 0);
    }
}
