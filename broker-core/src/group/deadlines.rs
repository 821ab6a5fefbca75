//! All time-outs of the coordinator behind one timer (`DelayedOperationPurgatory` with its timing wheel).
//!
//! Heartbeats move a member's deadline far more often than one passes, so a deadline moved later costs nothing: the entry
//! in the queue stays and is looked at when its old time comes. The driver's timer is set only to an earlier time.

use crate::timer::TimerOwner;
use protocol::ids::{GroupId, MemberId};
use protocol::machine::Io;
use protocol::time::Mono;
use std::collections::BTreeSet;

/// The coordinator's only timer.
pub(super) const TIMER: u64 = 0;

/// What a deadline is for.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Deadline {
    /// The next look for expired offsets.
    Cleanup,
    /// The end of a join phase (`DelayedJoin`).
    Join(GroupId),
    /// The end of the wait for the members' `SyncGroup` (`DelayedSync`, KAFKA-12890).
    Sync(GroupId),
    /// A member id was given out and its owner has not joined with it (KIP-394).
    Pending(GroupId, MemberId),
    /// A member's session (`DelayedHeartbeat`).
    Session(GroupId, MemberId),
}

/// A deadline as its owner holds it.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Alarm {
    /// When it passes.
    due: Option<Mono>,
    /// The time of its earliest entry in the queue, never after `due`.
    queued: Option<Mono>,
}

/// What an entry of the queue turned out to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Ring {
    /// The deadline has passed.
    Passed,
    /// It was moved or called off.
    Nothing,
}

impl Alarm {
    /// Calls the deadline off; its entry in the queue comes to nothing.
    pub(super) fn clear(&mut self) {
        self.due = None;
    }
}

/// The queue.
#[derive(Clone, Debug, Default)]
pub(super) struct Deadlines {
    queue: BTreeSet<(Mono, Deadline)>,
    /// The time the driver's timer is set to.
    armed: Option<Mono>,
}

impl Deadlines {
    /// Moves a deadline to `at`.
    pub(super) fn set(&mut self, alarm: &mut Alarm, at: Mono, name: impl FnOnce() -> Deadline) {
        alarm.due = Some(at);
        if alarm.queued.is_none_or(|queued| at < queued) {
            alarm.queued = Some(at);
            self.queue.insert((at, name()));
        }
    }

    /// The timer rang: forgets that it is set.
    pub(super) fn on_timer(&mut self) {
        self.armed = None;
    }

    /// The next entry whose time has come. Its owner must be asked with [`Self::ring`] what it is worth.
    pub(super) fn pop(&mut self, now: Mono) -> Option<(Mono, Deadline)> {
        let due = self.queue.first().is_some_and(|(at, _)| *at <= now);
        due.then(|| self.queue.pop_first()).flatten()
    }

    /// What the entry of time `at` is worth to its owner's `alarm`; puts it back when the deadline has moved.
    pub(super) fn ring(
        &mut self,
        alarm: &mut Alarm,
        (at, deadline): (Mono, Deadline),
        now: Mono,
    ) -> Ring {
        if alarm.queued != Some(at) {
            return Ring::Nothing;
        }
        alarm.queued = None;
        match alarm.due {
            None => Ring::Nothing,
            Some(due) if due <= now => {
                alarm.due = None;
                Ring::Passed
            }
            Some(due) => {
                self.set(alarm, due, || deadline);
                Ring::Nothing
            }
        }
    }

    /// Sets the driver's timer when it would ring too late.
    pub(super) fn arm(&mut self, io: &mut Io<'_>) {
        let Some((next, _)) = self.queue.first() else {
            return;
        };
        if self.armed.is_none_or(|armed| *next < armed) {
            self.armed = Some(*next);
            io.set_timer(TimerOwner::Group.timer(TIMER), *next);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name() -> Deadline {
        Deadline::Join("g".into())
    }

    fn drain(deadlines: &mut Deadlines, alarm: &mut Alarm, now: Mono) -> Vec<Ring> {
        let mut rings = Vec::new();
        while let Some(entry) = deadlines.pop(now) {
            rings.push(deadlines.ring(alarm, entry, now));
        }
        rings
    }

    #[test]
    fn a_deadline_moved_later_does_not_pass_at_its_old_time() {
        let (mut deadlines, mut alarm) = (Deadlines::default(), Alarm::default());
        deadlines.set(&mut alarm, Mono(10), name);
        deadlines.set(&mut alarm, Mono(30), name);
        assert_eq!(drain(&mut deadlines, &mut alarm, Mono(10)), [Ring::Nothing]);
        assert_eq!(drain(&mut deadlines, &mut alarm, Mono(29)), []);
        assert_eq!(drain(&mut deadlines, &mut alarm, Mono(30)), [Ring::Passed]);
    }

    #[test]
    fn a_deadline_moved_earlier_passes_once() {
        let (mut deadlines, mut alarm) = (Deadlines::default(), Alarm::default());
        deadlines.set(&mut alarm, Mono(30), name);
        deadlines.set(&mut alarm, Mono(10), name);
        assert_eq!(drain(&mut deadlines, &mut alarm, Mono(10)), [Ring::Passed]);
        assert_eq!(drain(&mut deadlines, &mut alarm, Mono(30)), [Ring::Nothing]);
    }

    #[test]
    fn a_deadline_called_off_and_set_again_passes_at_the_new_time() {
        let (mut deadlines, mut alarm) = (Deadlines::default(), Alarm::default());
        deadlines.set(&mut alarm, Mono(10), name);
        alarm.clear();
        deadlines.set(&mut alarm, Mono(20), name);
        assert_eq!(drain(&mut deadlines, &mut alarm, Mono(19)), [Ring::Nothing]);
        assert_eq!(drain(&mut deadlines, &mut alarm, Mono(20)), [Ring::Passed]);
    }
}
