//! The timers of one node, on its monotonic clock.
//!
//! Clients and brokers move their timers far more often than timers ring, nearly always to a later time. So a moved timer
//! keeps its old, earlier event; when that comes up it schedules the next one. An event is stale when its token is.

use super::clock::{At, Clock};
use protocol::machine::TimerId;
use protocol::time::Mono;
use std::collections::BTreeMap;

#[derive(Clone, Debug)]
struct Timer {
    id: TimerId,
    /// When it is to ring; `None` when it was cancelled, or has rung and waits to be handled.
    due: Option<(Mono, At)>,
    /// When its event comes up.
    scheduled: Option<At>,
    /// Of the event.
    token: u32,
    /// Rung, and in the node's inbox under this ring number.
    ringing: Option<u32>,
}

/// An event to schedule: time, slot, token.
pub(super) type Alarm = (At, u32, u32);

/// What to do about a timer event.
pub(super) enum Rung {
    /// Nothing: it was cancelled.
    Stale,
    /// It was moved; come back then.
    Later(Alarm),
    /// It rings.
    Now { id: TimerId, ring: u32 },
}

#[derive(Clone, Debug, Default)]
pub(super) struct Timers {
    slots: Vec<Timer>,
    free: Vec<u32>,
    by_id: BTreeMap<TimerId, u32>,
    rings: u32,
}

fn index(slot: u32) -> usize {
    usize::try_from(slot).unwrap_or(usize::MAX)
}

impl Timers {
    /// Sets or moves a timer; the event to schedule, if its old one comes too late.
    pub(super) fn set(&mut self, id: TimerId, mono: Mono, clock: &Clock, now: At) -> Option<Alarm> {
        let at = clock.when(mono).max(now);
        let slot = if let Some(slot) = self.by_id.get(&id) {
            *slot
        } else {
            let slot = self.free_slot(id);
            self.by_id.insert(id, slot);
            slot
        };
        let timer = &mut self.slots[index(slot)];
        timer.due = Some((mono, at));
        timer.ringing = None;
        if timer.scheduled.is_some_and(|scheduled| scheduled <= at) {
            return None;
        }
        Some(timer.schedule(at, slot))
    }

    fn free_slot(&mut self, id: TimerId) -> u32 {
        if let Some(slot) = self.free.pop() {
            self.slots[index(slot)].id = id;
            return slot;
        }
        self.slots.push(Timer {
            id,
            due: None,
            scheduled: None,
            token: 0,
            ringing: None,
        });
        u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX)
    }

    /// Forgets a timer. Its slot is freed when its event comes up.
    pub(super) fn cancel(&mut self, id: TimerId) {
        let Some(slot) = self.by_id.get(&id).copied() else {
            return;
        };
        let timer = &mut self.slots[index(slot)];
        timer.due = None;
        timer.ringing = None;
        if timer.scheduled.is_none() {
            self.release(slot);
        }
    }

    /// The event of a slot comes up.
    pub(super) fn ring(&mut self, slot: u32, token: u32, now: At) -> Rung {
        let timer = &mut self.slots[index(slot)];
        if timer.token != token || timer.scheduled.is_none() {
            return Rung::Stale;
        }
        timer.scheduled = None;
        match timer.due {
            None => {
                self.release(slot);
                Rung::Stale
            }
            Some((_, at)) if at > now => Rung::Later(timer.schedule(at, slot)),
            Some(_) => {
                timer.due = None;
                self.rings = self.rings.wrapping_add(1);
                timer.ringing = Some(self.rings);
                Rung::Now {
                    id: timer.id,
                    ring: self.rings,
                }
            }
        }
    }

    /// Whether a ring that waited in the inbox is still wanted; it is used up by that.
    pub(super) fn take(&mut self, id: TimerId, ring: u32) -> bool {
        let Some(slot) = self.by_id.get(&id).copied() else {
            return false;
        };
        let timer = &mut self.slots[index(slot)];
        if timer.ringing != Some(ring) {
            return false;
        }
        timer.ringing = None;
        self.release(slot);
        true
    }

    fn release(&mut self, slot: u32) {
        let timer = &mut self.slots[index(slot)];
        self.by_id.remove(&timer.id);
        timer.due = None;
        timer.scheduled = None;
        timer.token = timer.token.wrapping_add(1);
        self.free.push(slot);
    }

    /// The process is gone: all are forgotten.
    pub(super) fn clear(&mut self) {
        self.by_id.clear();
        self.free.clear();
        for (slot, timer) in self.slots.iter_mut().enumerate() {
            timer.due = None;
            timer.scheduled = None;
            timer.ringing = None;
            timer.token = timer.token.wrapping_add(1);
            self.free.push(u32::try_from(slot).unwrap_or(u32::MAX));
        }
    }

    /// The clock's rate changed: every timer's true time is another one.
    pub(super) fn reschedule(&mut self, clock: &Clock, now: At) -> Vec<Alarm> {
        let mut alarms = Vec::new();
        for slot in self.by_id.values() {
            let timer = &mut self.slots[index(*slot)];
            if let Some((mono, _)) = timer.due {
                let at = clock.when(mono).max(now);
                timer.due = Some((mono, at));
                alarms.push(timer.schedule(at, *slot));
            }
        }
        alarms
    }
}

impl Timer {
    fn schedule(&mut self, at: At, slot: u32) -> Alarm {
        self.token = self.token.wrapping_add(1);
        self.scheduled = Some(at);
        (at, slot, self.token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::clock::ClockConfig;

    fn clock() -> Clock {
        Clock::new(ClockConfig::default())
    }

    const ID: TimerId = TimerId(4);

    #[test]
    fn a_timer_moved_later_keeps_its_event_and_rings_once_at_the_later_time() {
        let mut timers = Timers::default();
        let (at, slot, token) = timers.set(ID, Mono(10), &clock(), At(0)).unwrap();
        assert_eq!(at, At(10));
        assert!(timers.set(ID, Mono(30), &clock(), At(1)).is_none());
        let Rung::Later((at, slot, token)) = timers.ring(slot, token, At(10)) else {
            panic!("rang too early");
        };
        assert_eq!(at, At(30));
        let Rung::Now { id, ring } = timers.ring(slot, token, At(30)) else {
            panic!("did not ring");
        };
        assert_eq!(id, ID);
        assert!(timers.take(id, ring));
        assert!(!timers.take(id, ring));
    }

    #[test]
    fn a_timer_moved_earlier_rings_early_and_its_old_event_is_stale() {
        let mut timers = Timers::default();
        let (_, slot, late) = timers.set(ID, Mono(30), &clock(), At(0)).unwrap();
        let (_, _, early) = timers.set(ID, Mono(10), &clock(), At(1)).unwrap();
        assert!(matches!(timers.ring(slot, early, At(10)), Rung::Now { .. }));
        assert!(matches!(timers.ring(slot, late, At(30)), Rung::Stale));
    }

    #[test]
    fn a_ring_that_waits_is_void_once_the_timer_is_cancelled_or_set_again() {
        for cancel in [true, false] {
            let mut timers = Timers::default();
            let (_, slot, token) = timers.set(ID, Mono(10), &clock(), At(0)).unwrap();
            let Rung::Now { id, ring } = timers.ring(slot, token, At(10)) else {
                panic!("did not ring");
            };
            if cancel {
                timers.cancel(ID);
            } else {
                assert!(timers.set(ID, Mono(20), &clock(), At(11)).is_some());
            }
            assert!(!timers.take(id, ring));
        }
    }

    #[test]
    fn a_cancelled_timer_does_not_ring_and_its_slot_is_used_again() {
        let mut timers = Timers::default();
        let (_, slot, token) = timers.set(ID, Mono(10), &clock(), At(0)).unwrap();
        timers.cancel(ID);
        assert!(matches!(timers.ring(slot, token, At(10)), Rung::Stale));
        let (_, again, _) = timers.set(TimerId(9), Mono(40), &clock(), At(11)).unwrap();
        assert_eq!(again, slot);
    }
}
