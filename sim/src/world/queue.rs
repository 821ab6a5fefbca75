//! The one event queue, ordered by (time, sequence).
//!
//! What is scheduled for the current instant goes through a FIFO instead of the heap: everything the heap holds for this
//! instant was scheduled earlier, so it has the smaller sequence and comes first. Events carry no payload, only where to
//! find it and a token or life that tells whether they still matter; the queue stays small and cheap to clone.

use super::clock::At;
use protocol::machine::Lane;
use std::cmp::Ordering;
use std::collections::{BinaryHeap, VecDeque};

/// Something that is due.
#[derive(Clone, Copy, Debug)]
pub(super) enum Event {
    /// A process comes to life and gets `Started`.
    Start { node: u16, life: u32 },
    /// The head of one direction of a connection arrives.
    Arrive { slot: u32, side: u8, token: u32 },
    /// TCP of one end gives up, unless something got through since.
    GiveUp { slot: u32, side: u8, token: u32 },
    /// A node has effects to release, or is free for what waits in its inbox.
    Ready { node: u16, life: u32 },
    /// A timer may have rung.
    Timer { node: u16, slot: u32, token: u32 },
    /// A delayed lane releases one piece of work.
    Lane { node: u16, life: u32, lane: Lane },
    /// The device has finished a flush.
    Flushed { node: u16, ticket: u32 },
    /// A pause ends.
    Resume { node: u16, token: u32 },
    /// A scheduled command.
    Command { slot: u32 },
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    at: At,
    sequence: u64,
    event: Event,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}
impl Eq for Entry {}
impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Entry {
    /// Reversed, because the standard heap gives the greatest first.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.sequence).cmp(&(self.at, self.sequence))
    }
}

/// The queue, and the clock that its pops advance.
#[derive(Clone, Debug, Default)]
pub(super) struct Queue {
    now: At,
    sequence: u64,
    heap: BinaryHeap<Entry>,
    instant: VecDeque<Event>,
}

impl Queue {
    pub(super) fn now(&self) -> At {
        self.now
    }

    /// Schedules an event; a time in the past means now.
    pub(super) fn push(&mut self, at: At, event: Event) {
        if at <= self.now {
            self.instant.push_back(event);
        } else {
            self.sequence += 1;
            self.heap.push(Entry {
                at,
                sequence: self.sequence,
                event,
            });
        }
    }

    /// The next event that is due by `limit`; moves the clock to it.
    pub(super) fn pop(&mut self, limit: At) -> Option<Event> {
        let next = self.heap.peek().map(|entry| entry.at);
        if !self.instant.is_empty() && next != Some(self.now) {
            return self.instant.pop_front();
        }
        if next? > limit {
            return None;
        }
        let entry = self.heap.pop()?;
        self.now = entry.at;
        Some(entry.event)
    }

    /// When the next event is due.
    pub(super) fn peek(&self) -> Option<At> {
        if self.instant.is_empty() {
            self.heap.peek().map(|entry| entry.at)
        } else {
            Some(self.now)
        }
    }

    /// Moves the clock forward over a stretch without events.
    pub(super) fn advance(&mut self, to: At) {
        debug_assert!(self.peek().is_none_or(|next| next >= to));
        self.now = self.now.max(to);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(slot: u32) -> Event {
        Event::Command { slot }
    }

    fn drain(queue: &mut Queue) -> Vec<u32> {
        let mut order = Vec::new();
        while let Some(event) = queue.pop(At::MAX) {
            let Event::Command { slot } = event else {
                panic!("{event:?}");
            };
            order.push(slot);
        }
        order
    }

    #[test]
    fn events_of_one_instant_come_in_the_order_they_were_scheduled() {
        let mut queue = Queue::default();
        queue.push(At(5), command(1));
        queue.push(At(3), command(0));
        queue.push(At(5), command(2));
        assert!(matches!(queue.pop(At(4)), Some(Event::Command { slot: 0 })));
        assert!(queue.pop(At(4)).is_none());
        assert!(matches!(queue.pop(At(9)), Some(Event::Command { slot: 1 })));
        queue.push(At(5), command(3));
        queue.push(At(4), command(4));
        assert_eq!(drain(&mut queue), [2, 3, 4]);
        assert_eq!(queue.now(), At(5));
    }
}
