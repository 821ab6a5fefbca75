//! The names of a keeper server's timers.

use protocol::machine::TimerId;

/// Fast leader election's wait for notifications.
pub(crate) const ELECTION: TimerId = TimerId(1);
/// The leader's ticks, the follower's patience.
pub(crate) const ROLE: TimerId = TimerId(2);
/// The end of the tick in which the next sessions expire.
pub(crate) const SESSIONS: TimerId = TimerId(3);
