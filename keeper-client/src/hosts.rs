//! The list of servers a client tries (`StaticHostProvider` of ZooKeeper 3.4): shuffled once, tried in a ring.
//!
//! Left out: resolving names again and the rebalancing of 3.5 (`updateServerList`), because a cluster of ktrial does not
//! change its keeper servers.

use protocol::ids::Endpoint;
use protocol::time::Span;

/// A draw of `splitmix64` keyed by seed and ordinal, so that a draw more moves no other.
pub(crate) const fn draw(seed: u64, ordinal: u64) -> u64 {
    let mut x = seed ^ ordinal.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    x = x.wrapping_add(0x9E37_79B9_7F4A_7C15);
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

/// The ring of servers.
#[derive(Clone, Debug)]
pub(crate) struct Hosts {
    servers: Vec<Endpoint>,
    current: Option<usize>,
    /// Where the round began: coming back here means that all were tried.
    last: Option<usize>,
}

impl Hosts {
    pub(crate) fn new(mut servers: Vec<Endpoint>, seed: u64) -> Self {
        assert!(
            !servers.is_empty(),
            "a keeper client needs at least one server"
        );
        for (ordinal, at) in (1..servers.len()).rev().enumerate() {
            let ordinal = u64::try_from(ordinal).unwrap_or(0);
            let range = u64::try_from(at + 1).unwrap_or(1);
            let other = usize::try_from(draw(seed, ordinal) % range).unwrap_or(0);
            servers.swap(at, other);
        }
        Self {
            servers,
            current: None,
            last: None,
        }
    }

    pub(crate) fn count(&self) -> u64 {
        u64::try_from(self.servers.len()).unwrap_or(1)
    }

    /// The next server, and how long to wait before dialling it: a second whenever a whole round failed.
    pub(crate) fn next(&mut self) -> (Endpoint, Span) {
        let at = self
            .current
            .map_or(0, |current| (current + 1) % self.servers.len());
        self.current = Some(at);
        let spin = if self.last == Some(at) {
            Span::secs(1)
        } else {
            Span::ZERO
        };
        self.last.get_or_insert(0);
        (self.servers[at].clone(), spin)
    }

    pub(crate) fn connected(&mut self) {
        self.last = self.current;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(count: u16) -> Vec<Endpoint> {
        (1..=count)
            .map(|n| Endpoint::new(format!("k{n}"), 2181))
            .collect()
    }

    #[test]
    fn a_whole_failed_round_costs_a_second() {
        let mut hosts = Hosts::new(ring(3), 7);
        let spins: Vec<_> = (0..4).map(|_| hosts.next().1).collect();
        assert_eq!(spins, [Span::ZERO, Span::ZERO, Span::ZERO, Span::secs(1)]);
    }

    #[test]
    fn the_round_begins_anew_where_the_client_was_connected() {
        let mut hosts = Hosts::new(ring(3), 7);
        let first = hosts.next().0;
        let second = hosts.next().0;
        hosts.connected();
        assert_ne!(first, second);
        assert_eq!(hosts.next().1, Span::ZERO);
        assert_eq!(hosts.next(), (first, Span::ZERO));
        assert_eq!(hosts.next(), (second, Span::secs(1)));
    }

    #[test]
    fn seeds_shuffle_differently_and_repeatably() {
        let order = |seed| {
            let mut hosts = Hosts::new(ring(5), seed);
            (0..5).map(|_| hosts.next().0).collect::<Vec<_>>()
        };
        assert_eq!(order(1), order(1));
        assert!((2..20).any(|seed| order(seed) != order(1)));
    }
}
