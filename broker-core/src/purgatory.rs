//! Requests that wait for something to happen or for their time to pass (`DelayedOperationPurgatory`, KIP-37 timers).
//!
//! An operation watches keys (here: partitions). Whoever changes something behind a key looks at the operations that watch
//! it, in the order they came, and takes out those that are complete. Kafka tries an operation, lets it watch, and tries
//! once more, because something may have changed in between on another thread; a broker core has one thread, so the second
//! try would always see what the first saw and callers watch straight after a failed try. Left out: the hierarchical wheel
//! and the reaper; one timer for the earliest deadline does the same.

use protocol::machine::{Io, TimerId};
use protocol::time::Mono;
use std::collections::{BTreeMap, BTreeSet};

/// Names a waiting operation.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct WaitId(u64);

#[derive(Clone, Debug)]
struct Waiting<O> {
    /// Absent while it is lent out.
    operation: Option<O>,
    keys: Vec<u32>,
    deadline: Mono,
}

fn place(key: u32) -> usize {
    usize::try_from(key).expect("an index fits")
}

/// Operations of type `O` that watch numbered keys.
#[derive(Clone, Debug)]
pub struct Purgatory<O> {
    timer: TimerId,
    /// For when the timer is set; it may ring without anything being due.
    armed: Option<Mono>,
    next: u64,
    waiting: BTreeMap<WaitId, Waiting<O>>,
    deadlines: BTreeSet<(Mono, WaitId)>,
    /// By key: keys are small numbers without many gaps.
    watchers: Vec<Vec<WaitId>>,
}

impl<O> Purgatory<O> {
    /// An empty one that rings with `timer`.
    pub fn new(timer: TimerId) -> Self {
        Self {
            timer,
            armed: None,
            next: 0,
            waiting: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            watchers: Vec::new(),
        }
    }

    /// Lets an operation wait until `deadline`.
    pub fn watch(
        &mut self,
        io: &mut Io<'_>,
        operation: O,
        keys: Vec<u32>,
        deadline: Mono,
    ) -> WaitId {
        let id = WaitId(self.next);
        self.next += 1;
        for key in &keys {
            let index = place(*key);
            if self.watchers.len() <= index {
                self.watchers.resize_with(index + 1, Vec::new);
            }
            let list = &mut self.watchers[index];
            if list.last() != Some(&id) {
                list.push(id);
            }
        }
        self.deadlines.insert((deadline, id));
        self.waiting.insert(
            id,
            Waiting {
                operation: Some(operation),
                keys,
                deadline,
            },
        );
        self.arm(io);
        id
    }

    /// The operation number `index` of those that watch a key, oldest first.
    pub fn watcher(&self, key: u32, index: usize) -> Option<WaitId> {
        self.watchers.get(place(key))?.get(index).copied()
    }

    /// A waiting operation.
    pub fn get(&self, id: WaitId) -> Option<&O> {
        self.waiting.get(&id)?.operation.as_ref()
    }

    /// A waiting operation, to note what it has seen.
    pub fn get_mut(&mut self, id: WaitId) -> Option<&mut O> {
        self.waiting.get_mut(&id)?.operation.as_mut()
    }

    /// Lends an operation out, so that it and what it waits for can be looked at together. It goes on watching; it is
    /// either given back or removed.
    pub fn lend(&mut self, id: WaitId) -> Option<O> {
        self.waiting.get_mut(&id)?.operation.take()
    }

    /// Takes a lent operation back.
    pub fn give_back(&mut self, id: WaitId, operation: O) {
        if let Some(waiting) = self.waiting.get_mut(&id) {
            waiting.operation = Some(operation);
        }
    }

    /// Takes an operation out, once; one that is lent out ceases to wait and gives nothing.
    pub fn remove(&mut self, id: WaitId) -> Option<O> {
        let waiting = self.waiting.remove(&id)?;
        self.deadlines.remove(&(waiting.deadline, id));
        for key in &waiting.keys {
            if let Some(list) = self.watchers.get_mut(place(*key)) {
                list.retain(|watcher| *watcher != id);
            }
        }
        waiting.operation
    }

    /// The timer rang: takes out the first operation whose time has passed. To be called until it gives none; then the
    /// timer is set for the next.
    pub fn pop_expired(&mut self, now: Mono, io: &mut Io<'_>) -> Option<O> {
        if self.armed.is_some_and(|at| at <= now) {
            self.armed = None;
        }
        match self.deadlines.first() {
            Some((deadline, id)) if *deadline <= now => {
                let id = *id;
                self.remove(id)
            }
            Some(_) | None => {
                self.arm(io);
                None
            }
        }
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Sets the timer when it would ring too late; one that rings too early costs less than moving it each time.
    fn arm(&mut self, io: &mut Io<'_>) {
        let Some((deadline, _)) = self.deadlines.first() else {
            return;
        };
        if self.armed.is_none_or(|at| *deadline < at) {
            self.armed = Some(*deadline);
            io.set_timer(self.timer, *deadline);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::disk::NoDisk;
    use protocol::machine::{Effect, Stamped};
    use protocol::time::Span;

    fn at(millis: u64) -> Mono {
        Mono(0) + Span::millis(millis)
    }

    fn with<T>(effects: &mut Vec<Stamped>, run: impl FnOnce(&mut Io<'_>) -> T) -> T {
        let (mut disk, mut next) = (NoDisk, 0);
        run(&mut Io::new(&mut disk, effects, &mut next))
    }

    fn timers(effects: &[Stamped]) -> Vec<Mono> {
        effects
            .iter()
            .filter_map(|stamped| {
                if let Effect::SetTimer { at, .. } = stamped.effect {
                    Some(at)
                } else {
                    None
                }
            })
            .collect()
    }

    #[test]
    fn watchers_are_looked_at_oldest_first_and_complete_once() {
        let mut effects = Vec::new();
        let mut purgatory = Purgatory::new(TimerId(1));
        let (first, second) = with(&mut effects, |io| {
            (
                purgatory.watch(io, 'a', vec![7, 8], at(50)),
                purgatory.watch(io, 'b', vec![7], at(40)),
            )
        });
        assert_eq!(purgatory.watcher(7, 0), Some(first));
        assert_eq!(purgatory.watcher(7, 1), Some(second));
        assert_eq!(purgatory.remove(first), Some('a'));
        assert_eq!(purgatory.remove(first), None);
        assert_eq!(purgatory.watcher(7, 0), Some(second));
        assert_eq!(purgatory.watcher(8, 0), None);
    }

    #[test]
    fn one_timer_serves_all_deadlines() {
        let mut effects = Vec::new();
        let mut purgatory = Purgatory::new(TimerId(1));
        with(&mut effects, |io| {
            purgatory.watch(io, 'a', vec![1], at(50));
            purgatory.watch(io, 'b', vec![1], at(40));
            purgatory.watch(io, 'c', vec![1], at(60));
        });
        assert_eq!(timers(&effects), [at(50), at(40)]);
        effects.clear();
        let mut gone = Vec::new();
        with(&mut effects, |io| {
            while let Some(operation) = purgatory.pop_expired(at(50), io) {
                gone.push(operation);
            }
        });
        assert_eq!(gone, ['b', 'a']);
        assert_eq!(timers(&effects), [at(60)]);
        assert_eq!(purgatory.len(), 1);
    }
}
