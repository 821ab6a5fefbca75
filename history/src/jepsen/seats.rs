//! Which process does what: Jepsen's processes do one thing at a time, and one that was left without an answer does nothing
//! any more.

use super::{Actor, Completed, Operation, Subject};
use crate::checker::index::EventId;
use std::collections::BTreeMap;
use std::io;

/// The beginning or the end of an operation.
pub(super) struct Step<'o> {
    pub(super) at: EventId,
    pub(super) process: u32,
    pub(super) operation: &'o Operation,
    /// Nothing for its beginning.
    pub(super) completed: Option<Completed>,
    /// Keys that came or went meanwhile.
    pub(super) rebalanced: Vec<u32>,
}

/// Where an operation is done.
#[derive(Clone, Copy)]
enum Sitting {
    /// In the one seat of whoever does everything in a row.
    Seat(u32),
    /// Beside others.
    Beside(u32),
}

/// One who does everything in a row.
#[derive(Default)]
struct Seat {
    process: Option<u32>,
    busy: bool,
    /// What happened meanwhile, to be told afterwards.
    waiting: Vec<usize>,
    rebalanced: Vec<u32>,
}

struct Table<'o, F> {
    operations: &'o [Operation],
    seats: BTreeMap<Actor, Seat>,
    /// Processes of those who pipeline that are free again.
    free: BTreeMap<Actor, Vec<u32>>,
    next: u32,
    tell: F,
}

/// Tells beginnings and ends in the order of time; what never ended does so at the end.
pub(super) fn in_order(
    operations: &[Operation],
    tell: impl FnMut(Step<'_>) -> io::Result<()>,
) -> io::Result<()> {
    let mut bounds: Vec<(EventId, bool, usize)> = Vec::new();
    for (place, operation) in operations.iter().enumerate() {
        bounds.push((operation.began, false, place));
        if operation.began != operation.ended {
            bounds.push((operation.ended, true, place));
        }
    }
    bounds.sort_unstable();
    let mut table = Table {
        operations,
        seats: BTreeMap::new(),
        free: BTreeMap::new(),
        next: 0,
        tell,
    };
    let mut sitting: BTreeMap<usize, Sitting> = BTreeMap::new();
    for (_, ends, place) in bounds {
        if !ends {
            sitting.extend(table.begin(place)?.map(|own| (place, own)));
        } else if let Some(own) = sitting.remove(&place) {
            table.end(place, own)?;
        }
    }
    Ok(())
}

impl<F: FnMut(Step<'_>) -> io::Result<()>> Table<'_, F> {
    /// Where an operation is done that goes on; nothing when it is over already or has to wait.
    fn begin(&mut self, place: usize) -> io::Result<Option<Sitting>> {
        let operation = &self.operations[place];
        let at_once = operation.began == operation.ended;
        let seat = self.seats.entry(operation.actor).or_default();
        let own = match operation.actor {
            Actor::InARow(..) if !seat.busy => {
                seat.busy = !at_once;
                Sitting::Seat(self.seated(operation.actor))
            }
            Actor::InARow(..) if at_once => {
                seat.waiting.push(place);
                if let Subject::Keys(keys, _) = &operation.subject {
                    seat.rebalanced.extend(keys);
                }
                return Ok(None);
            }
            Actor::InARow(..) | Actor::Pipelining(..) => {
                let free = self.free.entry(operation.actor).or_default().pop();
                Sitting::Beside(free.unwrap_or_else(|| self.fresh()))
            }
        };
        let (Sitting::Seat(process) | Sitting::Beside(process)) = own;
        self.told(place, (operation.began, process), None)?;
        if at_once {
            self.end(place, own)?;
            return Ok(None);
        }
        Ok(Some(own))
    }

    fn fresh(&mut self) -> u32 {
        self.next += 1;
        self.next - 1
    }

    /// The process in a seat, a new one if need be.
    fn seated(&mut self, actor: Actor) -> u32 {
        let known = self.seats.get(&actor).and_then(|seat| seat.process);
        let process = known.unwrap_or_else(|| self.fresh());
        self.seats.entry(actor).or_default().process = Some(process);
        process
    }

    fn end(&mut self, place: usize, own: Sitting) -> io::Result<()> {
        let operation = &self.operations[place];
        let (Sitting::Seat(process) | Sitting::Beside(process)) = own;
        self.told(place, (operation.ended, process), Some(operation.completed))?;
        let gone = operation.completed == Completed::Info;
        if matches!(own, Sitting::Beside(_)) {
            let free = self.free.entry(operation.actor).or_default();
            free.extend((!gone).then_some(process));
            return Ok(());
        }
        let seat = self.seats.entry(operation.actor).or_default();
        seat.busy = false;
        if gone {
            seat.process = None;
        }
        for late in std::mem::take(&mut seat.waiting) {
            self.late(late, operation.ended)?;
        }
        Ok(())
    }

    /// Something that was over at once, told when its process has a hand free.
    fn late(&mut self, place: usize, at: EventId) -> io::Result<()> {
        let operation = &self.operations[place];
        let process = self.seated(operation.actor);
        self.told(place, (at, process), None)?;
        self.told(place, (at, process), Some(operation.completed))
    }

    fn told(
        &mut self,
        place: usize,
        (at, process): (EventId, u32),
        completed: Option<Completed>,
    ) -> io::Result<()> {
        let operation = &self.operations[place];
        let own = matches!(operation.subject, Subject::Micros(_)) && completed.is_some();
        let seat = self.seats.get_mut(&operation.actor).filter(|_| own);
        let rebalanced = seat.map_or_else(Vec::new, |seat| {
            let mut keys = std::mem::take(&mut seat.rebalanced);
            keys.sort_unstable();
            keys.dedup();
            keys
        });
        (self.tell)(Step {
            at,
            process,
            operation,
            completed,
            rebalanced,
        })
    }
}
