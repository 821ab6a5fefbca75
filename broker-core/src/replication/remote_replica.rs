//! What a leader knows about one follower: `kafka.cluster.Replica`, with the rules that each release had for being in sync.
//!
//! Everything follows from the follower's fetches. Times are the leader's monotonic clock, as a wall clock jump must not
//! throw followers out (Kafka uses `SystemTime.milliseconds`; scenarios that skew that clock are about records, not lag).

use protocol::behaviour::{Behaviour, Fix};
use protocol::ids::{BrokerEpoch, BrokerId, Offset};
use protocol::time::{Mono, Span};

/// One follower.
#[derive(Clone, Debug)]
pub(super) struct RemoteReplica {
    /// Which broker.
    pub(super) id: BrokerId,
    /// Where its log ends; unknown until its first fetch.
    pub(super) log_end: Option<Offset>,
    /// The life of its broker in which it fetched last, where fetches tell (KIP-903).
    pub(super) broker_epoch: Option<BrokerEpoch>,
    /// Where its log starts, by its last fetch; unknown until then, and from followers older than KIP-107.
    pub(super) log_start: Option<Offset>,
    /// The leader's log end when the follower last fetched.
    leader_end_at_fetch: Option<Offset>,
    /// When that was.
    fetched_at: Mono,
    /// When it last had everything the leader had; `None` is "long ago".
    caught_up_at: Option<Mono>,
    /// When it last fetched from the leader's end as it was at that very moment; all that counted before KAFKA-4485.
    read_end_at: Option<Mono>,
}

impl RemoteReplica {
    /// A follower that has not fetched yet.
    pub(super) fn new(id: BrokerId) -> Self {
        Self {
            id,
            log_end: None,
            broker_epoch: None,
            log_start: None,
            leader_end_at_fetch: None,
            fetched_at: Mono(0),
            caught_up_at: None,
            read_end_at: None,
        }
    }

    /// This broker became leader: in-sync followers get the whole lag time to show up (`resetLastCaughtUpTime`).
    pub(super) fn begin(&mut self, now: Mono, in_sync: bool) {
        self.fetched_at = now;
        self.caught_up_at = in_sync.then_some(now);
        self.read_end_at = self.caught_up_at;
    }

    /// This broker goes on leading, in a new epoch: what the follower had until now counts as its last fetch.
    pub(super) fn renew(&mut self, now: Mono, leader_end: Offset, in_sync: bool) {
        self.begin(now, in_sync);
        self.leader_end_at_fetch = Some(leader_end);
    }

    /// It fetched from `offset` while the leader's log ended at `leader_end` (`updateFetchState`). A fetch that reaches
    /// the end caught up now; one that reaches where the end was at the fetch before caught up then.
    pub(super) fn on_fetch(&mut self, now: Mono, offset: Offset, leader_end: Offset) {
        if offset >= leader_end {
            self.caught_up_at = self.caught_up_at.max(Some(now));
            self.read_end_at = Some(now);
        } else if self
            .leader_end_at_fetch
            .is_some_and(|before| offset >= before)
        {
            self.caught_up_at = self.caught_up_at.max(Some(self.fetched_at));
        }
        self.log_end = Some(offset);
        self.leader_end_at_fetch = Some(leader_end);
        self.fetched_at = now;
    }

    /// Whether it had everything within the last `lag`.
    pub(super) fn caught_up_within(&self, now: Mono, lag: Span) -> bool {
        self.caught_up_at.is_some_and(|at| now.since(at) <= lag)
    }

    /// Whether it is out of sync by time (`isFollowerOutOfSync`, KIP-16).
    pub(super) fn lags(
        &self,
        now: Mono,
        leader_end: Offset,
        lag: Span,
        behaviour: &Behaviour,
    ) -> bool {
        if behaviour.has(Fix::InSyncAtTheEnd) && self.log_end == Some(leader_end) {
            return false;
        }
        let in_time = if behaviour.has(Fix::CaughtUpByPreviousFetch) {
            self.caught_up_at
        } else {
            self.read_end_at
        };
        in_time.is_none_or(|at| now.since(at) > lag)
    }

    /// Whether it is out of sync by the rule of 0.8: stuck, which is behind and not fetching, or too many records behind.
    pub(super) fn lags_by_messages(&self, now: Mono, leader_end: Offset, lag: (Span, i64)) -> bool {
        let stuck =
            self.log_end.is_none_or(|end| end < leader_end) && now.since(self.fetched_at) > lag.0;
        let slow = self
            .log_end
            .is_some_and(|end| leader_end.since(end) > lag.1);
        stuck || slow
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::behaviour::Era;

    const LAG: Span = Span::secs(10);

    fn at(seconds: u64) -> Mono {
        Mono(0) + Span::secs(seconds)
    }

    #[test]
    fn a_fetch_that_reaches_the_previous_end_caught_up_at_the_previous_fetch() {
        let mut replica = RemoteReplica::new(BrokerId(2));
        replica.begin(at(0), true);
        replica.on_fetch(at(1), Offset(0), Offset(5));
        replica.on_fetch(at(4), Offset(5), Offset(9));
        assert!(replica.caught_up_within(at(11), LAG));
        assert!(
            !replica.caught_up_within(at(12), LAG),
            "caught up at 1, not at 4"
        );
        replica.on_fetch(at(13), Offset(9), Offset(9));
        assert!(replica.caught_up_within(at(23), LAG));
    }

    #[test]
    fn a_follower_at_the_leaders_end_never_lags() {
        let mut replica = RemoteReplica::new(BrokerId(2));
        replica.on_fetch(at(0), Offset(7), Offset(7));
        let modern = Behaviour::of(Era::V2_8);
        assert!(!replica.lags(at(1000), Offset(7), LAG, &modern));
        assert!(replica.lags(at(1000), Offset(8), LAG, &modern));
        assert!(!replica.lags(at(10), Offset(8), LAG, &modern));
        let before_7152 = Behaviour::of(Era::V1_0);
        assert!(!replica.lags(at(10), Offset(7), LAG, &before_7152));
        assert!(replica.lags(at(11), Offset(7), LAG, &before_7152));
    }

    #[test]
    fn a_follower_that_keeps_up_with_a_busy_leader_stays_since_kafka_4485_only() {
        let mut replica = RemoteReplica::new(BrokerId(2));
        replica.begin(at(0), true);
        for second in 1..=20 {
            // Every fetch asks for what the leader had at the fetch before, and the leader has more by then.
            let leader_end = i64::try_from(second).unwrap() * 10;
            replica.on_fetch(at(second), Offset(leader_end - 10), Offset(leader_end));
        }
        let end = Offset(200);
        assert!(!replica.lags(at(20), end, LAG, &Behaviour::of(Era::V1_0)));
        assert!(replica.lags(at(20), end, LAG, &Behaviour::of(Era::V0_9)));
    }

    #[test]
    fn in_0_8_a_follower_that_fetches_is_not_stuck_whatever_it_gets() {
        let mut replica = RemoteReplica::new(BrokerId(2));
        replica.on_fetch(at(0), Offset(5), Offset(10));
        replica.on_fetch(at(15), Offset(5), Offset(10));
        assert!(!replica.lags_by_messages(at(20), Offset(10), (LAG, 4000)));
        assert!(replica.lags_by_messages(at(26), Offset(10), (LAG, 4000)));
    }

    #[test]
    fn the_old_rule_takes_a_burst_for_a_slow_follower() {
        let mut replica = RemoteReplica::new(BrokerId(2));
        replica.on_fetch(at(0), Offset(10), Offset(10));
        assert!(!replica.lags_by_messages(at(1), Offset(4010), (LAG, 4000)));
        assert!(replica.lags_by_messages(at(1), Offset(4011), (LAG, 4000)));
        assert!(replica.lags_by_messages(at(11), Offset(11), (LAG, 4000)));
        assert!(!replica.lags_by_messages(at(11), Offset(10), (LAG, 4000)));
    }
}
