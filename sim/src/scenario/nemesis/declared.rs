//! Faults that a file names without a moment: the seed draws the moments.
//!
//! What needs several faults needs them close together, though nobody knows how close. So a seed first draws a stretch of
//! the run, as long as the whole of it or shorter by any power of two, and what it draws falls into that stretch.

use super::super::check::member_names;
use super::super::format::{Disk, Fault, FaultKind, ScenarioFile};
use super::super::target::Target;
use super::super::text::Time;
use super::{NEMESIS, Nemesis, moments};
use crate::random::{Draws, Purpose};
use protocol::time::Span;
use toml::Spanned;

/// A stretch is at least this part of the whole: two to the power of this.
const SHORTEST: u64 = 6;

/// The part of a run into which a seed puts what it draws.
#[derive(Clone, Copy)]
struct Stretch {
    first: Span,
    length: Span,
}

impl Stretch {
    fn of(file: &ScenarioFile, nemesis: &Nemesis, seed: u64) -> Self {
        let [first, last] = moments(file, nemesis);
        let whole = last.saturating_sub(first);
        let mut draws = draws("stretch", seed, 0, 0);
        let length = Span(whole.0 >> draws.below(SHORTEST + 1));
        let begins = Span(draws.below((whole - length).0.saturating_add(1)));
        Self {
            first: first + begins,
            length,
        }
    }

    /// Any moment of it; in whole microseconds, so that it reads well.
    fn moment(self, draws: &mut Draws) -> Spanned<Time> {
        let moment = self.first + Span(draws.below(self.length.0));
        spanned(Time(Span::micros(moment.0 / 1000)))
    }
}

/// The faults that a seed draws of those that the nemesis names; all of them when it would be none.
pub(super) fn faults(file: &ScenarioFile, nemesis: &Nemesis, seed: u64) -> Vec<Fault> {
    let stretch = Stretch::of(file, nemesis, seed);
    let percent = u64::from(*nemesis.percent.get_ref());
    let strike = |(nth, fault): (u64, &Spanned<Fault>)| -> Vec<Fault> {
        let twice = draws("twice", seed, nth, 0).below(4) == 0;
        let once = |copy: u64| {
            let mut draws = draws("moment", seed, nth, copy);
            struck(fault.get_ref(), nemesis, stretch, &mut draws)
        };
        // A name belongs to one fault.
        let again = twice.then(|| Fault {
            name: None,
            ..once(1)
        });
        [once(0)].into_iter().chain(again).collect()
    };
    let all = (0..).zip(&nemesis.faults);
    let chosen = all
        .clone()
        .filter(|(nth, _)| draws("chosen", seed, *nth, 0).below(100) < percent);
    let drawn = possible(chosen.flat_map(strike).collect());
    if drawn.is_empty() {
        possible(all.flat_map(strike).collect())
    } else {
        drawn
    }
}

fn struck(fault: &Fault, nemesis: &Nemesis, stretch: Stretch, draws: &mut Draws) -> Fault {
    let mut fault = fault.clone();
    fault.at = Some(stretch.moment(draws));
    fault.optional = true;
    fault.skip = u32::try_from(draws.between(0, u64::from(fault.skip))).unwrap_or(fault.skip);
    let kind = *fault.kind.get_ref();
    let takes = |key: &str| kind.keys().contains(&key);
    let lasting = magnitude_between(*nemesis.lasting.get_ref(), draws);
    if takes("for") && fault.lasting.is_none() {
        fault.lasting = Some(spanned(lasting));
    }
    // A restart without a time is back at once.
    if takes("restart_after") && fault.restart_after.is_none() && kind != FaultKind::Restart {
        fault.restart_after = Some(lasting);
    }
    fault
}

/// Any time between the two, every order of magnitude alike.
fn magnitude_between([least, most]: [Time; 2], draws: &mut Draws) -> Time {
    let least = least.0.as_millis().max(1);
    let orders = (most.0.as_millis() / least).max(1).ilog2();
    let from = least << draws.between(0, u64::from(orders));
    let drawn = draws.between(from, from.saturating_mul(2) - 1);
    Time(Span::millis(drawn).min(most.0))
}

/// Those that lean on nothing that was not drawn: another fault's victim, a disk that was remembered.
fn possible(faults: Vec<Fault>) -> Vec<Fault> {
    let snapshot = |fault: &Fault| *fault.kind.get_ref() == FaultKind::SnapshotDisk;
    let remembered = faults.iter().any(snapshot);
    let names: Vec<String> = faults
        .iter()
        .filter_map(|fault| fault.name.clone())
        .collect();
    let known = |target: Option<&Spanned<Target>>| match target.map(Spanned::get_ref) {
        Some(Target::VictimOf(name)) => names.contains(name),
        _ => true,
    };
    let stands = |fault: &Fault| {
        let older = fault
            .disk
            .as_ref()
            .is_some_and(|disk| *disk.get_ref() == Disk::Older);
        let ends = [&fault.target, &fault.from, &fault.to];
        ends.into_iter().all(|end| known(end.as_ref())) && (remembered || !older)
    };
    let stands: Vec<bool> = faults.iter().map(stands).collect();
    let kept = faults.into_iter().zip(stands);
    kept.filter_map(|(fault, stands)| stands.then_some(fault))
        .collect()
}

/// Lets the clients that the nemesis names start at a moment of the seed.
pub(super) fn late_starts(file: &mut ScenarioFile, nemesis: &Nemesis, seed: u64) {
    let stretch = Stretch::of(file, nemesis, seed);
    for (nth, name) in (0..).zip(&nemesis.late) {
        let moment = stretch.moment(&mut draws("late", seed, nth, 0));
        let name = name.get_ref();
        for producer in &mut file.producers {
            if producer.name.get_ref() == name {
                producer.start = Some(moment.clone());
                producer.start_when = None;
            }
        }
        for consumer in &mut file.consumers {
            if consumer.name.get_ref() == name {
                consumer.start = Some(moment.clone());
                consumer.start_when = None;
            }
        }
    }
}

/// When the clients of a file start whose moment was drawn, by the names of their processes.
pub(in crate::scenario) fn starts(file: &ScenarioFile) -> Vec<(String, Span)> {
    let producers = file.producers.iter().filter_map(|producer| {
        let start = producer.start.as_ref()?.get_ref().0;
        Some((producer.name.get_ref().clone(), start))
    });
    let consumers = file.consumers.iter().flat_map(|consumer| {
        let start = consumer.start.as_ref().map(|start| start.get_ref().0);
        member_names(consumer).filter_map(move |name| Some((name, start?)))
    });
    producers.chain(consumers).collect()
}

fn draws(what: &str, seed: u64, nth: u64, ordinal: u64) -> Draws {
    Draws::keyed(seed, Purpose::named(what), NEMESIS, nth, ordinal)
}

fn spanned<T>(value: T) -> Spanned<T> {
    Spanned::new(0..0, value)
}
