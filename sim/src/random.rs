//! Keyed randomness: every draw is a function of (seed, purpose, two numbers, ordinal) and of nothing else.
//!
//! The generator is SplitMix64 (Steele, Lea, Flood 2014) in counter mode: the key is folded into a 64-bit state, and the
//! n-th value is SplitMix64's finaliser of state + n·γ. So a draw more, or a message less, moves no other draw, and the
//! values are the same on every machine and with every version of `rand`. Everything here is integer arithmetic; the
//! exponential distribution uses a base-2 logarithm table computed at compile time. Not for cryptography.

use protocol::time::Span;
use rand::RngCore;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// SplitMix64's increment, the golden ratio in 64 bits.
const GAMMA: u64 = 0x9E37_79B9_7F4A_7C15;

/// What a draw is for; two purposes never share values.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Purpose(u64);

impl Purpose {
    /// How long one message or packet is under way.
    pub const LATENCY: Self = Self::named("latency");
    /// Whether a packet is lost.
    pub const LOSS: Self = Self::named("loss");
    /// How long a flush takes.
    pub const FLUSH: Self = Self::named("flush");
    /// What survives a loss of power.
    pub const CRASH: Self = Self::named("crash");
    /// Where a process's monotonic clock starts.
    pub const MONO_ORIGIN: Self = Self::named("mono origin");

    /// The purpose of that name (FNV-1a of its bytes).
    #[expect(
        clippy::as_conversions,
        reason = "From is not const, and a byte always fits"
    )]
    pub const fn named(name: &str) -> Self {
        let bytes = name.as_bytes();
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        let mut at = 0;
        while at < bytes.len() {
            hash = (hash ^ bytes[at] as u64).wrapping_mul(0x0100_0000_01b3);
            at += 1;
        }
        Self(hash)
    }
}

/// SplitMix64's finaliser.
pub(crate) const fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    value ^ (value >> 31)
}

/// The stream of values of one key. Cheap to make, so make one per decision.
#[derive(Clone, Debug)]
pub struct Draws {
    state: u64,
}

impl Draws {
    /// The stream of this key: say what for, between or for whom, and the how-manieth time.
    pub const fn keyed(seed: u64, purpose: Purpose, a: u64, b: u64, ordinal: u64) -> Self {
        let state = mix(seed.wrapping_add(GAMMA));
        let state = mix(state ^ purpose.0);
        let state = mix(state.wrapping_add(GAMMA) ^ a);
        let state = mix(state.wrapping_add(GAMMA) ^ b);
        let state = mix(state.wrapping_add(GAMMA) ^ ordinal);
        Self { state }
    }

    /// The next 64 bits.
    pub const fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(GAMMA);
        mix(self.state)
    }

    /// A number below `bound` (0 when `bound` is 0), by multiplication; the bias is below 2⁻⁶⁴·bound.
    pub fn below(&mut self, bound: u64) -> u64 {
        high_half(u128::from(self.next()) * u128::from(bound))
    }

    /// A number from `low` to `high`, both possible; `low` when they are in the wrong order.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        match high.saturating_sub(low).checked_add(1) {
            Some(width) => low + self.below(width),
            None => self.next(),
        }
    }

    /// True `per_million` times in a million.
    pub fn chance(&mut self, per_million: u32) -> bool {
        per_million > 0 && self.below(1_000_000) < u64::from(per_million)
    }
}

impl RngCore for Draws {
    fn next_u32(&mut self) -> u32 {
        u32::try_from(self.next() >> 32).unwrap_or(u32::MAX)
    }

    fn next_u64(&mut self) -> u64 {
        self.next()
    }

    fn fill_bytes(&mut self, target: &mut [u8]) {
        for part in target.chunks_mut(8) {
            let bytes = self.next().to_le_bytes();
            part.copy_from_slice(&bytes[..part.len()]);
        }
    }
}

/// The upper 64 bits of a 128-bit product.
fn high_half(product: u128) -> u64 {
    u64::try_from(product >> 64).unwrap_or(u64::MAX)
}

/// How long something takes, as a distribution.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Latency {
    /// Always the same.
    Constant(Span),
    /// Any length from `min` to `max`, equally likely.
    Uniform {
        /// The shortest.
        min: Span,
        /// The longest.
        max: Span,
    },
    /// `min` and then exponentially distributed with mean `mean`: the long tail of a busy network or disk.
    Exponential {
        /// The shortest.
        min: Span,
        /// How much longer on average.
        mean: Span,
    },
    /// One of these, equally likely: percentiles of a measurement.
    Table(Arc<[Span]>),
}

impl Latency {
    /// One length.
    pub fn sample(&self, draws: &mut Draws) -> Span {
        match self {
            Self::Constant(span) => *span,
            Self::Uniform { min, max } => Span(draws.between(min.0, max.0)),
            Self::Exponential { min, mean } => *min + exponential(*mean, draws.next()),
            Self::Table(spans) => {
                let length = u64::try_from(spans.len()).unwrap_or(u64::MAX);
                let index = usize::try_from(draws.below(length)).unwrap_or(0);
                spans.get(index).copied().unwrap_or(Span::ZERO)
            }
        }
    }

    /// No sample is shorter.
    pub fn floor(&self) -> Span {
        match self {
            Self::Constant(span) => *span,
            Self::Uniform { min, .. } | Self::Exponential { min, .. } => *min,
            Self::Table(spans) => spans.iter().copied().min().unwrap_or(Span::ZERO),
        }
    }
}

/// Steps of the logarithm table between 1 and 2.
const LOG2_STEPS: usize = 64;
/// log₂(1 + i/64) for i = 0..=64, with 32 fractional bits.
const LOG2: [u64; LOG2_STEPS + 1] = log2_table();

/// Bit by bit: squaring doubles the logarithm, and whether the square passes 2 is its next binary digit.
const fn log2_table() -> [u64; LOG2_STEPS + 1] {
    let mut table = [0; LOG2_STEPS + 1];
    let mut index = 0;
    let mut start = 64_u64 << 25;
    while index < LOG2_STEPS {
        let mut value = start;
        let mut bits = 0;
        let mut result = 0;
        while bits < 32 {
            value = (value * value) >> 31;
            result <<= 1;
            if value >= 1 << 32 {
                value >>= 1;
                result |= 1;
            }
            bits += 1;
        }
        table[index] = result;
        index += 1;
        start += 1 << 25;
    }
    table[LOG2_STEPS] = 1 << 32;
    table
}

/// mean · −ln(uniform / 2⁶⁴), with the logarithm of the leading digits interpolated from the table.
fn exponential(mean: Span, uniform: u64) -> Span {
    let value = uniform | 1;
    let zeros = value.leading_zeros();
    let fraction = (value << zeros) & (u64::MAX >> 1); // below 2⁶³
    let index = usize::try_from(fraction >> 57).unwrap_or(0);
    let within = (fraction >> 25) & 0xFFFF_FFFF;
    let log = LOG2[index] + (((LOG2[index + 1] - LOG2[index]) * within) >> 32);
    let negative_log2 = (u64::from(zeros + 1) << 32) - log;
    // ln 2 with 32 fractional bits is 2 977 044 472.
    let scaled = (u128::from(negative_log2) * 2_977_044_472) >> 32;
    Span(u64::try_from((u128::from(mean.0) * scaled) >> 32).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::Rng;

    #[test]
    fn values_are_pinned_for_all_machines_and_versions() {
        let mut draws = Draws::keyed(1, Purpose::LATENCY, 2, 3, 4);
        let values = [draws.next(), draws.next()];
        assert_eq!(values, PINNED);
    }

    #[test]
    fn keys_that_differ_in_one_part_give_other_values() {
        let base = Draws::keyed(1, Purpose::LATENCY, 2, 3, 4).next();
        for other in [
            Draws::keyed(2, Purpose::LATENCY, 2, 3, 4),
            Draws::keyed(1, Purpose::LOSS, 2, 3, 4),
            Draws::keyed(1, Purpose::LATENCY, 3, 2, 4),
            Draws::keyed(1, Purpose::LATENCY, 2, 4, 4),
            Draws::keyed(1, Purpose::LATENCY, 2, 3, 5),
        ] {
            assert_ne!(base, other.clone().next());
        }
    }

    #[test]
    fn drawing_more_under_one_key_moves_no_other_key() {
        let before = Draws::keyed(9, Purpose::LATENCY, 0, 1, 7).next();
        let mut greedy = Draws::keyed(9, Purpose::LATENCY, 0, 1, 6);
        for _ in 0..100 {
            greedy.next();
        }
        assert_eq!(before, Draws::keyed(9, Purpose::LATENCY, 0, 1, 7).next());
    }

    #[test]
    fn bounded_draws_stay_in_bounds_and_reach_both_ends() {
        let mut draws = Draws::keyed(5, Purpose::CRASH, 0, 0, 0);
        let mut seen = [0_u32; 4];
        for _ in 0..1000 {
            let value = draws.between(3, 6);
            seen[usize::try_from(value - 3).unwrap()] += 1;
        }
        assert!(seen.iter().all(|count| *count > 150), "{seen:?}");
        assert_eq!(draws.below(0), 0);
    }

    #[test]
    fn rand_ranges_work_on_it() {
        let mut draws = Draws::keyed(5, Purpose::CRASH, 0, 0, 0);
        for _ in 0..100 {
            assert!((10..20).contains(&draws.random_range(10_u32..20)));
        }
    }

    #[test]
    fn exponential_has_the_mean_and_the_tail_it_promises() {
        let mean = Span::millis(1);
        let mut draws = Draws::keyed(7, Purpose::LATENCY, 0, 0, 0);
        let samples: Vec<u64> = (0..100_000)
            .map(|_| exponential(mean, draws.next()).0)
            .collect();
        let average = samples.iter().sum::<u64>() / 100_000;
        assert!((985_000..1_015_000).contains(&average), "{average}");
        // P(X > 3 mean) = e⁻³ = 4.98 %.
        let tail = samples.iter().filter(|sample| **sample > 3_000_000).count();
        assert!((4_700..5_300).contains(&tail), "{tail}");
    }

    /// Computed by another program.
    const PINNED: [u64; 2] = [11_865_078_293_056_086_428_u64, 12_717_120_519_668_015_488];
}
