//! True time, and each node's two clocks derived from it.
//!
//! The world has one true time ([`At`]). A node's host counts *ticks*: true time stretched by its drift. The monotonic clock
//! is ticks plus an origin drawn per life of the process, so that no core can compare monotonic times of two lives. The
//! wall clock is ticks plus an offset; a jump moves that offset alone. Conversions are exact integer arithmetic, and a
//! timer never rings before its own clock shows the time it was set to.

use protocol::time::{Mono, Now, Span, Wall};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::ops::Add;

/// A point of true time, in nanoseconds since the world began.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct At(pub u64);

impl At {
    /// The beginning.
    pub const ZERO: Self = Self(0);
    /// Later than any run.
    pub const MAX: Self = Self(u64::MAX);

    /// How long ago `earlier` was; zero when it is not in the past.
    pub const fn since(self, earlier: Self) -> Span {
        Span(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Span> for At {
    type Output = Self;
    fn add(self, span: Span) -> Self {
        Self(self.0.saturating_add(span.0))
    }
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&Span(self.0), f)
    }
}

impl fmt::Debug for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// How a host's clocks start and run.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ClockConfig {
    /// What a perfect wall clock shows when the world begins.
    pub wall: Wall,
    /// How far this host's wall clock is off, in nanoseconds; positive is ahead.
    pub skew: i64,
    /// How many microseconds per second its clocks run fast (negative: slow).
    pub drift_ppm: i32,
}

impl Default for ClockConfig {
    /// 2021-06-01T00:00:00Z, the year of Kafka 2.8; neither skew nor drift.
    fn default() -> Self {
        Self {
            wall: Wall::from_millis(1_622_505_600_000),
            skew: 0,
            drift_ppm: 0,
        }
    }
}

const MILLION: i32 = 1_000_000;

/// One host's clocks.
#[derive(Clone, Debug)]
pub(super) struct Clock {
    anchor: At,
    ticks_at_anchor: u64,
    drift_ppm: i32,
    wall_offset: i64,
    mono_origin: u64,
}

impl Clock {
    pub(super) fn new(config: ClockConfig) -> Self {
        Self {
            anchor: At::ZERO,
            ticks_at_anchor: 0,
            drift_ppm: bounded(config.drift_ppm),
            wall_offset: config.wall.0.saturating_add(config.skew),
            mono_origin: 0,
        }
    }

    /// A new process: its monotonic clock starts somewhere else.
    pub(super) fn set_origin(&mut self, origin: u64) {
        self.mono_origin = origin;
    }

    pub(super) fn jump(&mut self, nanos: i64) {
        self.wall_offset = self.wall_offset.saturating_add(nanos);
    }

    /// From `at` on the clocks run at this rate; nothing jumps.
    pub(super) fn set_drift(&mut self, at: At, ppm: i32) {
        self.ticks_at_anchor = self.ticks(at);
        self.anchor = at;
        self.drift_ppm = bounded(ppm);
    }

    fn rate(&self) -> u128 {
        u128::from((MILLION + self.drift_ppm).unsigned_abs())
    }

    fn ticks(&self, at: At) -> u64 {
        let elapsed = at.since(self.anchor).0;
        let stretched = if self.drift_ppm == 0 {
            elapsed
        } else {
            narrow(u128::from(elapsed) * self.rate() / 1_000_000)
        };
        self.ticks_at_anchor.saturating_add(stretched)
    }

    pub(super) fn now(&self, at: At) -> Now {
        let ticks = self.ticks(at);
        Now {
            mono: Mono(self.mono_origin.saturating_add(ticks)),
            wall: Wall(
                self.wall_offset
                    .saturating_add(i64::try_from(ticks).unwrap_or(i64::MAX)),
            ),
        }
    }

    /// The first true time at which the monotonic clock shows at least `mono`.
    pub(super) fn when(&self, mono: Mono) -> At {
        let ticks = mono.0.saturating_sub(self.mono_origin);
        let ahead = ticks.saturating_sub(self.ticks_at_anchor);
        let elapsed = if self.drift_ppm == 0 {
            ahead
        } else {
            narrow((u128::from(ahead) * 1_000_000).div_ceil(self.rate()))
        };
        self.anchor + Span(elapsed)
    }
}

fn bounded(ppm: i32) -> i32 {
    ppm.clamp(-900_000, MILLION)
}

fn narrow(value: u128) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clock(drift_ppm: i32) -> Clock {
        Clock::new(ClockConfig {
            drift_ppm,
            ..ClockConfig::default()
        })
    }

    #[test]
    fn a_timer_rings_at_the_first_instant_its_clock_shows_the_time() {
        for ppm in [-900_000, -333, -1, 0, 1, 77, 999_999] {
            let mut clock = clock(ppm);
            clock.set_origin(12_345);
            clock.set_drift(At(1_000_003), ppm / 2);
            clock.set_drift(At(2_000_003), ppm);
            for target in [5_000_001, 7_777_777, 9_999_999_999] {
                let mono = Mono(12_345 + target);
                let at = clock.when(mono);
                assert!(clock.now(at).mono >= mono, "{ppm} {target}");
                assert!(clock.now(At(at.0 - 1)).mono < mono, "{ppm} {target}");
            }
        }
    }

    #[test]
    fn a_jump_moves_the_wall_clock_alone() {
        let mut clock = clock(0);
        let before = clock.now(At(500));
        clock.jump(-7_000);
        let after = clock.now(At(500));
        assert_eq!(after.mono, before.mono);
        assert_eq!(after.wall.0, before.wall.0 - 7_000);
    }

    #[test]
    fn drift_moves_both_clocks_and_a_change_of_it_jumps_neither() {
        let mut clock = clock(100_000);
        let second = At(1_000_000_000);
        let start = clock.now(At::ZERO);
        let before = clock.now(second);
        assert_eq!(before.mono.since(start.mono), Span::millis(1100));
        assert_eq!(before.wall.0 - start.wall.0, 1_100_000_000);
        clock.set_drift(second, -500_000);
        assert_eq!(clock.now(second), before);
        let after = clock.now(At(2_000_000_000));
        assert_eq!(after.mono.since(before.mono), Span::millis(500));
    }
}
