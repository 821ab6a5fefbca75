//! The leader's sessions (`SessionTrackerImpl`, `LeaderSessionTracker`): who lives, who serves whom, who is due to expire.
//!
//! Time is cut into ticks; a session expires at the end of the tick in which its time-out runs out, all sessions of a tick
//! together. A new leader starts every session anew. Sessions are measured on the monotonic clock since ZOOKEEPER-1366,
//! before that on the wall clock.

use protocol::behaviour::Fix;
use protocol::error_code::KeeperError;
use protocol::ids::{KeeperId, SessionId};
use protocol::time::{Now, Span};
use std::collections::{BTreeMap, BTreeSet};

use crate::spec::KeeperSpec;

#[derive(Clone, Debug)]
struct Tracked {
    timeout: Span,
    /// The end of the tick in which it expires, milliseconds.
    expires: u64,
    closing: bool,
    owner: Option<KeeperId>,
}

/// All sessions, on the leader.
#[derive(Clone, Debug)]
pub(crate) struct SessionTracker {
    tick: u64,
    wall_clock: bool,
    refuse_closing: bool,
    check_owner: bool,
    sessions: BTreeMap<SessionId, Tracked>,
    buckets: BTreeMap<u64, BTreeSet<SessionId>>,
}

impl SessionTracker {
    /// All sessions of the database begin anew, with no owner.
    pub(crate) fn new<'a>(
        spec: &KeeperSpec,
        sessions: impl Iterator<Item = (&'a SessionId, &'a Span)>,
        now: Now,
    ) -> Self {
        let mut tracker = Self {
            tick: spec.config.tick_time.as_millis().max(1),
            wall_clock: !spec.behaviour.has(Fix::MonotonicKeeperClock),
            refuse_closing: spec.behaviour.has(Fix::NoEphemeralAfterSession),
            check_owner: spec.behaviour.has(Fix::SessionMoved),
            sessions: BTreeMap::new(),
            buckets: BTreeMap::new(),
        };
        for (session, timeout) in sessions {
            tracker.add(*session, *timeout, now);
        }
        tracker
    }

    fn clock(&self, now: Now) -> u64 {
        if self.wall_clock {
            u64::try_from(now.wall.millis()).unwrap_or(0)
        } else {
            now.mono.0 / 1_000_000
        }
    }

    fn bucket(&self, timeout: Span, now: Now) -> u64 {
        ((self.clock(now) + timeout.as_millis()) / self.tick + 1) * self.tick
    }

    /// A session begins; one that is known already is only touched.
    pub(crate) fn add(&mut self, session: SessionId, timeout: Span, now: Now) {
        if !self.sessions.contains_key(&session) {
            let expires = self.bucket(timeout, now);
            let tracked = Tracked {
                timeout,
                expires,
                closing: false,
                owner: None,
            };
            self.sessions.insert(session, tracked);
            self.buckets.entry(expires).or_default().insert(session);
        }
        self.touch(session, timeout, now);
    }

    /// Something was heard of the session; whether it lives.
    pub(crate) fn touch(&mut self, session: SessionId, timeout: Span, now: Now) -> bool {
        let expires = self.bucket(timeout, now);
        let Some(tracked) = self
            .sessions
            .get_mut(&session)
            .filter(|tracked| !tracked.closing)
        else {
            return false;
        };
        if tracked.expires >= expires {
            return true;
        }
        let before = std::mem::replace(&mut tracked.expires, expires);
        tracked.timeout = timeout;
        if let Some(bucket) = self.buckets.get_mut(&before) {
            bucket.remove(&session);
            if bucket.is_empty() {
                self.buckets.remove(&before);
            }
        }
        self.buckets.entry(expires).or_default().insert(session);
        true
    }

    /// Whether a request of the session that came over `owner` may be served (`checkSession`).
    pub(crate) fn check(&mut self, session: SessionId, owner: KeeperId) -> Result<(), KeeperError> {
        let refuse_closing = self.refuse_closing;
        let Some(tracked) = self
            .sessions
            .get_mut(&session)
            .filter(|tracked| !(tracked.closing && refuse_closing))
        else {
            return Err(KeeperError::SessionExpired);
        };
        if *tracked.owner.get_or_insert(owner) == owner || !self.check_owner {
            Ok(())
        } else {
            Err(KeeperError::SessionMoved)
        }
    }

    /// The session is served by `owner` from now on.
    pub(crate) fn set_owner(&mut self, session: SessionId, owner: KeeperId) {
        if let Some(tracked) = self.sessions.get_mut(&session) {
            tracked.owner = Some(owner);
        }
    }

    /// The session is about to end: nothing touches it any more.
    pub(crate) fn set_closing(&mut self, session: SessionId) {
        if let Some(tracked) = self.sessions.get_mut(&session) {
            tracked.closing = true;
        }
    }

    /// Whether the session is known and not about to end.
    pub(crate) fn lives(&self, session: SessionId) -> bool {
        let tracked = self.sessions.get(&session);
        tracked.is_some_and(|tracked| !tracked.closing)
    }

    /// The session has ended.
    pub(crate) fn remove(&mut self, session: SessionId) {
        if let Some(tracked) = self.sessions.remove(&session)
            && let Some(bucket) = self.buckets.get_mut(&tracked.expires)
        {
            bucket.remove(&session);
            if bucket.is_empty() {
                self.buckets.remove(&tracked.expires);
            }
        }
    }

    /// The sessions whose tick is over; each is told once.
    pub(crate) fn expired(&mut self, now: Now) -> Vec<SessionId> {
        let clock = self.clock(now);
        let mut due = Vec::new();
        while let Some(first) = self.buckets.first_entry() {
            if *first.key() > clock {
                break;
            }
            due.extend(first.remove());
        }
        due.retain(|session| {
            let tracked = self.sessions.get_mut(session);
            tracked.is_some_and(|tracked| !std::mem::replace(&mut tracked.closing, true))
        });
        due
    }

    /// How long until the next tick ends with a session in it.
    pub(crate) fn next_expiry(&self, now: Now) -> Option<Span> {
        let (bucket, _) = self.buckets.first_key_value()?;
        let wait = Span::millis(bucket.saturating_sub(self.clock(now)));
        // The clock is cut to milliseconds; the part cut off must pass too.
        Some(if self.wall_clock {
            // `SessionTrackerImpl.run` woke up at the end of every tick, so that a jump is noticed within one.
            wait.min(Span::millis(self.tick))
        } else {
            wait.saturating_sub(Span(now.mono.0 % 1_000_000))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{at, spec};
    use protocol::behaviour::{Behaviour, Era};
    use protocol::time::Wall;

    const SESSION: SessionId = SessionId(1);
    const ME: KeeperId = KeeperId(1);

    fn tracker(spec: &KeeperSpec) -> SessionTracker {
        SessionTracker::new(spec, std::iter::empty(), at(0))
    }

    #[test]
    fn a_session_expires_at_the_end_of_its_tick() {
        let mut tracker = tracker(&spec(1, 1));
        tracker.add(SESSION, Span::secs(6), at(100));
        assert_eq!(tracker.next_expiry(at(100)), Some(Span::millis(8900)));
        assert!(tracker.expired(at(8999)).is_empty());
        assert_eq!(tracker.expired(at(9000)), [SESSION]);
        assert!(tracker.expired(at(99_000)).is_empty());
        assert!(!tracker.touch(SESSION, Span::secs(6), at(9001)));
        assert_eq!(tracker.check(SESSION, ME), Err(KeeperError::SessionExpired));
    }

    #[test]
    fn a_touch_puts_the_end_off() {
        let mut tracker = tracker(&spec(1, 1));
        tracker.add(SESSION, Span::secs(6), at(100));
        assert!(tracker.touch(SESSION, Span::secs(6), at(5000)));
        assert!(tracker.expired(at(11_999)).is_empty());
        assert_eq!(tracker.expired(at(12_000)), [SESSION]);
    }

    #[test]
    fn a_request_over_the_former_server_is_refused() {
        let mut tracker = tracker(&spec(1, 3));
        tracker.add(SESSION, Span::secs(6), at(0));
        assert_eq!(tracker.check(SESSION, ME), Ok(()));
        tracker.set_owner(SESSION, KeeperId(2));
        assert_eq!(tracker.check(SESSION, ME), Err(KeeperError::SessionMoved));
    }

    #[test]
    fn on_the_wall_clock_a_jump_ends_every_session() {
        let mut old = spec(1, 1);
        old.behaviour = Behaviour::of(Era::V0_8);
        let mut tracker = tracker(&old);
        tracker.add(SESSION, Span::secs(6), at(0));
        assert_eq!(tracker.next_expiry(at(1)), Some(Span::millis(3000)));
        let mut jumped = at(1);
        jumped.wall = Wall::from_millis(jumped.wall.millis() + 60_000);
        assert_eq!(tracker.expired(jumped), [SESSION]);
    }
}
