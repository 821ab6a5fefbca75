//! What the leader knows of one follower's connection (`LearnerHandler`'s fields).

use protocol::ids::{KeeperId, Zxid};
use protocol::time::Mono;

/// How far the follower is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stage {
    /// It has not said who it is.
    Connected,
    /// It waits for the epoch.
    Introduced,
    /// It was told the epoch.
    EpochOffered,
    /// It accepted the epoch; what it logged last.
    EpochAcked(Zxid),
    /// It gets the history, and from now on every proposal.
    Synchronising,
    /// It has the history.
    Synchronised,
}

/// One follower.
#[derive(Clone, Debug)]
pub(crate) struct Handler {
    pub(crate) id: KeeperId,
    pub(crate) stage: Stage,
    pub(crate) last_heard: Mono,
}

impl Handler {
    pub(crate) fn new(now: Mono) -> Self {
        Self {
            id: KeeperId(-1),
            stage: Stage::Connected,
            last_heard: now,
        }
    }

    /// Whether it gets proposals, commits and pings.
    pub(crate) fn is_forwarding(&self) -> bool {
        matches!(self.stage, Stage::Synchronising | Stage::Synchronised)
    }
}
