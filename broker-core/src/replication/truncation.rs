//! Where a follower cuts its log before it copies from a leader: four rules, each the fix of the one before.
//!
//! 1. Up to 0.10: to its own high watermark, which may lag behind what the leader has acknowledged.
//! 2. KIP-101 (0.11): to the end offset the leader gives for the follower's last epoch.
//! 3. KIP-279 (2.0): the leader also tells the largest epoch it knows up to the asked one; a follower that does not know
//!    that epoch cuts to what it has below and asks again, until both agree.
//! 4. KIP-595 (2.7): no question beforehand; a fetch names the last epoch, the leader answers with where the logs part,
//!    and the follower cuts by rule 3 within its fetch loop.
//!
//! (`AbstractFetcherThread.getOffsetTruncationState`.)

use protocol::api::data::EpochEndOffset;
use protocol::ids::{LeaderEpoch, Offset};
use protocol::note::TruncationRule;

/// How far to cut, and whether the logs agree after that.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Cut {
    pub(super) to: Offset,
    pub(super) complete: bool,
    pub(super) rule: TruncationRule,
}

impl Cut {
    /// Rule 1, and the fallback of all others.
    pub(super) fn to_high_watermark(mark: Offset) -> Self {
        Self {
            to: mark,
            complete: true,
            rule: TruncationRule::HighWatermark,
        }
    }
}

/// What the leader said about the asked epoch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum LeaderSays {
    /// It cannot tell.
    Nothing,
    /// An end offset without an epoch: rule 2, or an answer of the protocol before 2.0.
    End(Offset),
    /// The largest epoch it knows up to the asked one, and its end: rules 3 and 4.
    EpochEnd(EpochEndOffset),
}

/// Decides by an answer. `own_end` finds in the follower's own log the largest epoch up to the given one, and its end.
pub(super) fn decide(
    says: LeaderSays,
    fallback: Offset,
    log_end: Offset,
    rule: TruncationRule,
    own_end: impl FnOnce(LeaderEpoch) -> Option<EpochEndOffset>,
) -> Cut {
    let complete = |to: Offset| Cut {
        to: to.min(log_end),
        complete: true,
        rule,
    };
    match says {
        LeaderSays::Nothing => Cut::to_high_watermark(fallback),
        LeaderSays::End(end) => complete(end),
        LeaderSays::EpochEnd(leader) => match own_end(leader.epoch) {
            // No epochs here up to that one: the leader's offset is as good as with rule 2.
            None => complete(leader.end_offset),
            Some(own) if own.epoch == leader.epoch => {
                complete(own.end_offset.min(leader.end_offset))
            }
            Some(own) => Cut {
                to: own.end_offset.min(log_end),
                complete: false,
                rule,
            },
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(epoch: i32, offset: i64) -> EpochEndOffset {
        EpochEndOffset {
            epoch: LeaderEpoch(epoch),
            end_offset: Offset(offset),
        }
    }

    fn cut(says: LeaderSays, own: Option<EpochEndOffset>) -> (Offset, bool) {
        let rule = TruncationRule::LeaderEpoch;
        let cut = decide(says, Offset(3), Offset(10), rule, |_| own);
        (cut.to, cut.complete)
    }

    #[test]
    fn a_leader_that_cannot_tell_leaves_only_the_high_watermark() {
        let cut = decide(
            LeaderSays::Nothing,
            Offset(3),
            Offset(10),
            TruncationRule::LeaderEpoch,
            |_| None,
        );
        assert_eq!(cut, Cut::to_high_watermark(Offset(3)));
    }

    #[test]
    fn a_follower_never_cuts_beyond_its_end() {
        assert_eq!(cut(LeaderSays::End(Offset(12)), None), (Offset(10), true));
        assert_eq!(
            cut(LeaderSays::EpochEnd(end(4, 12)), Some(end(4, 10))),
            (Offset(10), true)
        );
    }

    #[test]
    fn logs_that_share_the_epoch_agree_at_the_shorter_end() {
        assert_eq!(
            cut(LeaderSays::EpochEnd(end(4, 6)), Some(end(4, 8))),
            (Offset(6), true)
        );
        assert_eq!(
            cut(LeaderSays::EpochEnd(end(4, 9)), Some(end(4, 8))),
            (Offset(8), true)
        );
    }

    #[test]
    fn a_follower_that_lacks_the_leaders_epoch_asks_again() {
        assert_eq!(
            cut(LeaderSays::EpochEnd(end(4, 9)), Some(end(2, 5))),
            (Offset(5), false)
        );
        assert_eq!(
            cut(LeaderSays::EpochEnd(end(4, 9)), None),
            (Offset(9), true)
        );
    }
}
