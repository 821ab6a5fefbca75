//! Waiting longer after every failure (`ExponentialBackoff`), and the clients' only source of chance.
//!
//! Kafka spreads reconnects by up to a fifth in either direction. Here every draw is a function of the client's seed, of
//! what is drawn for, and of a count, so that one draw more moves no other.

use protocol::time::Span;

/// What a draw is for.
#[derive(Clone, Copy)]
pub(crate) enum Purpose {
    /// The jitter of a reconnect.
    Reconnect,
    /// The jitter of a connection's set-up time-out.
    Setup,
    /// The first node looked at when a node is chosen by load.
    Node,
    /// The partition of a record without key.
    Partition,
}

impl Purpose {
    const fn salt(self) -> u64 {
        match self {
            Self::Reconnect => 0x51,
            Self::Setup => 0x52,
            Self::Node => 0x53,
            Self::Partition => 0x54,
        }
    }
}

/// The number that belongs to a seed, a purpose, a subject (a link, a topic) and an ordinal.
pub(crate) fn draw(seed: u64, purpose: Purpose, subject: u64, ordinal: u64) -> u64 {
    let mut state = seed;
    for word in [purpose.salt(), subject, ordinal] {
        state = mix(state ^ mix(word));
    }
    state
}

/// The finalizer of SplitMix64.
const fn mix(word: u64) -> u64 {
    let mut z = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A subject's number from its name.
pub(crate) fn subject(name: &str) -> u64 {
    name.bytes()
        .fold(0, |hash, byte| mix(hash ^ u64::from(byte)))
}

/// `initial`, doubled with every attempt up to `max`, give or take a fifth. Constant where both are equal.
pub(crate) fn exponential(initial: Span, max: Span, attempts: u32, chance: u64) -> Span {
    if initial >= max {
        return initial;
    }
    let doubled = initial * 1u64.checked_shl(attempts.min(32)).unwrap_or(u64::MAX);
    let term = doubled.min(max);
    // From 80 to 120 hundredths, in steps of a hundredth of that range.
    let percent = 80 + chance % 41;
    Span(term.0 / 100 * percent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_doubles_up_to_its_limit_and_stays_within_a_fifth() {
        let wait = |attempts, chance| {
            exponential(Span::millis(50), Span::secs(1), attempts, chance).as_millis()
        };
        assert_eq!((wait(0, 20), wait(1, 20), wait(2, 20)), (50, 100, 200));
        assert_eq!((wait(9, 0), wait(9, 40)), (800, 1200));
        assert_eq!(
            exponential(Span::millis(50), Span::millis(50), 7, 3),
            Span::millis(50)
        );
    }

    #[test]
    fn a_draw_depends_on_everything_it_is_for_and_on_nothing_else() {
        let one = draw(7, Purpose::Reconnect, 1, 0);
        assert_eq!(one, draw(7, Purpose::Reconnect, 1, 0));
        for other in [
            draw(8, Purpose::Reconnect, 1, 0),
            draw(7, Purpose::Node, 1, 0),
            draw(7, Purpose::Reconnect, 2, 0),
            draw(7, Purpose::Reconnect, 1, 1),
        ] {
            assert_ne!(one, other);
        }
    }
}
