//! Making a log durable (`Log.flush`): the log says which files, its owner has them flushed and reports the end.
//!
//! Kafka waits for the flush inside the call. Here it is an effect, so the log may be cut and written again before the
//! flush is over; each flush under way remembers up to where it still counts.

use super::Log;
use protocol::disk::FileId;
use protocol::ids::Offset;
use protocol::machine::Io;
use protocol::note::ReplicaNote;
use protocol::time::{Now, Span};

/// Names a flush under way.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct FlushTicket(pub u64);

/// A flush to be carried out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogFlush {
    /// Give it back to [`Log::on_flushed`].
    pub ticket: FlushTicket,
    /// The files to be made durable.
    pub files: Vec<FileId>,
}

impl Log {
    /// Up to where the log wants to be flushed, because it was rolled or `flush.messages` is reached; asked once. The
    /// owner looks after every append.
    pub fn flush_wanted(&mut self) -> Option<Offset> {
        self.flush_wanted.take()
    }

    /// Whether `flush.ms` is over and there is something to flush (`LogManager.flushDirtyLogs`).
    pub fn is_flush_due(&self, now: Now) -> bool {
        self.recovery_point < self.log_end_offset
            && self.config.flush_ms != Span::MAX
            && now.mono.since(self.last_flush) >= self.config.flush_ms
    }

    /// Records that are not known to be durable.
    pub fn unflushed(&self) -> i64 {
        self.log_end_offset.since(self.recovery_point)
    }

    /// Begins a flush of everything below `up_to`; `None` when all of it is durable already.
    pub fn start_flush(&mut self, up_to: Offset) -> Option<LogFlush> {
        let up_to = up_to.min(self.log_end_offset);
        if up_to <= self.recovery_point {
            return None;
        }
        let first = self.floor_index(self.recovery_point).unwrap_or(0);
        let files = self.segments[first..]
            .iter()
            .filter(|segment| segment.base_offset < up_to)
            .flat_map(|segment| segment.files())
            .collect();
        let ticket = FlushTicket(self.next_ticket);
        self.next_ticket += 1;
        self.flushing.push((ticket, up_to));
        Some(LogFlush { ticket, files })
    }

    /// A flush is over. When it succeeded the recovery point moves, unless the log was cut meanwhile.
    pub fn on_flushed(&mut self, now: Now, io: &mut Io<'_>, ticket: FlushTicket, ok: bool) {
        let Some(index) = self.flushing.iter().position(|(known, _)| *known == ticket) else {
            return;
        };
        let (_, up_to) = self.flushing.remove(index);
        if ok && up_to > self.recovery_point {
            self.recovery_point = up_to;
            self.last_flush = now.mono;
            self.note(io, ReplicaNote::Flushed(up_to));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::fixture::{Fixture, at, batch};

    #[test]
    fn the_recovery_point_moves_when_the_flush_is_over_and_not_before() {
        let mut fixture = Fixture::new(&[]);
        fixture.append(batch(&["a", "b"]), 0).unwrap();
        let flush = fixture.log.start_flush(Offset(9)).unwrap();
        assert_eq!(flush.files.len(), 3);
        assert_eq!(fixture.log.recovery_point(), Offset(0));
        let (now, io) = (fixture.now, &mut fixture.bench.io());
        fixture.log.on_flushed(now, io, flush.ticket, false);
        assert_eq!(fixture.log.recovery_point(), Offset(0), "it failed");
        fixture.flush();
        assert_eq!(fixture.log.recovery_point(), Offset(2));
        assert_eq!(fixture.log.start_flush(Offset(2)), None);
    }

    #[test]
    fn a_flush_takes_the_segments_from_the_recovery_point_on() {
        let mut fixture = Fixture::new(&[]);
        fixture.append(batch(&["a"]), 0).unwrap();
        fixture.roll();
        assert_eq!(fixture.log.flush_wanted(), Some(Offset(1)));
        assert_eq!(fixture.log.flush_wanted(), None, "asked once");
        fixture.append(batch(&["b"]), 0).unwrap();
        let first = fixture.log.start_flush(Offset(1)).unwrap();
        assert_eq!(first.files.len(), 3);
        let both = fixture.log.start_flush(Offset(2)).unwrap();
        assert_eq!(both.files.len(), 6);
    }

    #[test]
    fn flush_messages_counts_records_that_are_not_durable() {
        let mut fixture = Fixture::new(&[("flush.messages", "3")]);
        fixture.append(batch(&["a", "b"]), 0).unwrap();
        assert_eq!(fixture.log.flush_wanted(), None);
        fixture.append(batch(&["c"]), 0).unwrap();
        assert_eq!(fixture.log.flush_wanted(), Some(Offset(3)));
        fixture.flush();
        fixture.append(batch(&["d"]), 0).unwrap();
        assert_eq!(fixture.log.flush_wanted(), None);
    }

    #[test]
    fn flush_ms_counts_from_the_last_flush() {
        let mut fixture = Fixture::new(&[("flush.ms", "1000")]);
        assert!(!fixture.log.is_flush_due(at(20_000)), "nothing to flush");
        fixture.append(batch(&["a"]), 0).unwrap();
        assert!(!fixture.log.is_flush_due(at(10_999)));
        assert!(fixture.log.is_flush_due(at(11_000)));
        let mut never = Fixture::new(&[]);
        never.append(batch(&["a"]), 0).unwrap();
        assert!(!never.log.is_flush_due(at(1_000_000_000)));
    }
}
