//! How far a leader may move its high watermark (`Partition.maybeIncrementLeaderHW`).
//!
//! The smallest log end over all replicas that count. Which ones count has changed: up to 0.10 the in-sync replicas; since
//! then also followers outside that are not lagging, so that one about to rejoin does not come in behind the mark.

use super::in_sync_replicas::IsrState;
use super::remote_replica::RemoteReplica;
use protocol::behaviour::{Behaviour, Era};
use protocol::ids::Offset;
use protocol::time::{Mono, Span};

/// The highest offset below which every replica that counts has every record; `None` while one of them has not fetched
/// from this leader yet. It may be below the present high watermark, which never goes back on a leader.
pub(super) fn candidate(
    log_end: Offset,
    followers: &[RemoteReplica],
    isr: &IsrState,
    clock: (Mono, Span),
    behaviour: &Behaviour,
) -> Option<Offset> {
    let (now, lag) = clock;
    let near_ones_count = behaviour.era >= Era::V1_0;
    let mut lowest = log_end;
    for follower in followers {
        let counts = isr.holds_back(follower.id, behaviour)
            || (near_ones_count && follower.caught_up_within(now, lag));
        if counts && follower.log_end.is_none_or(|end| end < lowest) {
            lowest = follower.log_end?;
        }
    }
    Some(lowest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::ids::BrokerId;

    const LAG: Span = Span::secs(10);

    fn follower(id: i32, end: i64) -> RemoteReplica {
        let mut replica = RemoteReplica::new(BrokerId(id));
        replica.on_fetch(Mono(0), Offset(end), Offset(end));
        replica
    }

    #[test]
    fn the_slowest_member_sets_the_mark() {
        let isr = IsrState::Committed(vec![BrokerId(1), BrokerId(2), BrokerId(3)]);
        let followers = [follower(2, 7), follower(3, 5)];
        let modern = Behaviour::of(Era::V2_8);
        assert_eq!(
            candidate(Offset(9), &followers, &isr, (Mono(0), LAG), &modern),
            Some(Offset(5))
        );
    }

    #[test]
    fn a_member_that_has_not_fetched_yet_holds_everything() {
        let isr = IsrState::Committed(vec![BrokerId(1), BrokerId(2)]);
        let followers = [RemoteReplica::new(BrokerId(2))];
        let modern = Behaviour::of(Era::V2_8);
        let at = (Mono(0), LAG);
        assert_eq!(candidate(Offset(9), &followers, &isr, at, &modern), None);
    }

    #[test]
    fn a_follower_outside_that_keeps_up_counts_since_1_0_only() {
        let isr = IsrState::Committed(vec![BrokerId(1)]);
        let followers = [follower(2, 4)];
        let at = (Mono(0) + Span::secs(3), LAG);
        let modern = Behaviour::of(Era::V1_0);
        let old = Behaviour::of(Era::V0_9);
        assert_eq!(
            candidate(Offset(9), &followers, &isr, at, &modern),
            Some(Offset(4))
        );
        assert_eq!(
            candidate(Offset(9), &followers, &isr, at, &old),
            Some(Offset(9))
        );
        let late = (Mono(0) + Span::secs(11), LAG);
        assert_eq!(
            candidate(Offset(9), &followers, &isr, late, &modern),
            Some(Offset(9))
        );
    }
}
