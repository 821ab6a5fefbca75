//! A scenario with its schedule taken away: the same small world, and the same faults at random moments.
//!
//! A file that shows a bug has a cluster in which the bug can live, and a schedule that leads to it: barriers, and faults
//! at exactly the right moment. Loosened, it keeps the cluster, the topics and the clients; its faults become those of a
//! nemesis, which says whom and what they hit and nothing of when, and clients that waited for a barrier start at a random
//! moment. Marks go with the schedule that they prove. What the sound side expects of guarantees stays, and of the ledger
//! that which tells the sides apart: what never happens with the fix, and does without it.
//!
//! Most schedules need few records, and it takes chance longer to get as far. So a file whose producers come to an end is
//! loosened twice: with its faults in the time around the records, and with producers that go on as long as the run.

use super::check::variants;
use super::format::{Expect, Fault, FaultKind, ScenarioFile, Variant};
use super::nemesis::Nemesis;
use super::side::with;
use super::text::Time;
use history::expectation::Quantifier;
use protocol::behaviour::{Behaviour, Era, Fix, Mask};
use protocol::time::Span;
use std::collections::BTreeMap;
use toml::Spanned;

/// The name of the side with the fix.
pub const ON: &str = "fix on";
/// The name of the side without it.
pub const OFF: &str = "fix off";

/// Of a hundred seeds, how many draw a fault: the schedule needed all of them, and chance may do with fewer.
const PERCENT: u32 = 85;

/// A file without its schedule.
#[derive(Clone, Debug)]
pub struct Loosened {
    /// The scenario, with the variants [`ON`] and [`OFF`].
    pub file: ScenarioFile,
    /// Its producers come to an end in the file that it was made of, and go on in this one.
    pub goes_on: bool,
}

/// The file loosened around a fix: for each of its sides that has the fix off where another one has it on, once as it is
/// and once with producers that go on, where they do not.
pub fn loosened(file: &ScenarioFile, fix: Fix) -> Vec<Loosened> {
    let sides = variants(file);
    let off = sides.iter().filter(|side| is_off(file, side, fix));
    let pairs = off.filter_map(|off| Some((off, counterpart(file, &sides, off, fix)?)));
    pairs
        .flat_map(|(off, on)| {
            let loose = pair(file, fix, on, off);
            let longer = going_on(&loose).map(|file| Loosened {
                file,
                goes_on: true,
            });
            let as_it_is = Loosened {
                file: loose,
                goes_on: false,
            };
            [as_it_is].into_iter().chain(longer)
        })
        .collect()
}

/// Whether the fix is switched off in this side.
fn is_off(file: &ScenarioFile, side: &Variant, fix: Fix) -> bool {
    switch(&side.fixes, fix).or_else(|| switch(&file.cluster.fixes, fix)) == Some(false)
}

fn switch(fixes: &BTreeMap<Spanned<String>, bool>, fix: Fix) -> Option<bool> {
    let mut fixes = fixes.iter();
    fixes.find_map(|(name, on)| (name.get_ref() == fix.name()).then_some(*on))
}

/// The side that differs in this fix, if possible in no other one.
fn counterpart<'a>(
    file: &ScenarioFile,
    sides: &'a [Variant],
    off: &Variant,
    fix: Fix,
) -> Option<&'a Variant> {
    let others = |side: &Variant| {
        let mut fixes = side.fixes.clone();
        fixes.retain(|name, _| name.get_ref() != fix.name());
        fixes
    };
    let on = || sides.iter().filter(|side| !is_off(file, side, fix));
    on().find(|side| others(side) == others(off))
        .or_else(|| on().next())
}

fn pair(file: &ScenarioFile, fix: Fix, on: &Variant, off: &Variant) -> ScenarioFile {
    let expect = expectations(&with(file, on).expect, &with(file, off).expect);
    let mut loose = with(file, off);
    loose.reaches.clear();
    loose.expect = expect;
    switch_others(&mut loose, fix);
    take_barriers(&mut loose);
    loose.variants = [(ON, true), (OFF, false)]
        .map(|(name, switch)| {
            let mut side = Variant::named(spanned(name.to_owned()));
            side.fixes.insert(spanned(fix.name().to_owned()), switch);
            side
        })
        .to_vec();
    loose
}

/// Guarantees as the sound side expects them; harm where it never happens to that side and does to the other.
fn expectations(on: &Expect, off: &Expect) -> Expect {
    let tells_apart = |name: &Spanned<String>, how: Quantifier| {
        let other = off
            .harm
            .iter()
            .find(|(of, _)| of.get_ref() == name.get_ref());
        how == Quantifier::Never && other.is_some_and(|(_, how)| *how != Quantifier::Never)
    };
    Expect {
        violated: on
            .violated
            .keys()
            .map(|code| (code.clone(), Quantifier::Sometimes))
            .collect(),
        harm: on
            .harm
            .iter()
            .filter(|(name, how)| tells_apart(name, **how))
            .map(|(name, how)| (name.clone(), *how))
            .collect(),
    }
}

/// All other fixes are on, so that nothing but this one is found: except what hides it, and what the file says itself.
fn switch_others(file: &mut ScenarioFile, fix: Fix) {
    let fixes = &mut file.cluster.fixes;
    fixes.retain(|name, _| name.get_ref() != fix.name());
    let era = file.cluster.era.as_ref();
    let era = era.and_then(|era| era.get_ref().parse().ok());
    let (here, sound) = (
        Behaviour::of(era.unwrap_or(Era::Sound)),
        Behaviour::of(Era::Sound),
    );
    for other in Fix::ALL.iter().filter(|other| **other != fix) {
        let hides = fix.superseded_by().contains(&Mask::Fix(*other));
        let wanted = sound.has(*other) && !hides;
        if wanted != here.has(*other) && switch(fixes, *other).is_none() {
            fixes.insert(spanned(other.name().to_owned()), wanted);
        }
    }
}

/// Lets chance choose the moments.
fn take_barriers(file: &mut ScenarioFile) {
    let faults = std::mem::take(&mut file.faults);
    let (from_the_start, exact): (Vec<_>, Vec<_>) = faults
        .into_iter()
        .partition(|fault| is_from_the_start(fault.get_ref()));
    file.faults = from_the_start
        .into_iter()
        .map(|fault| {
            let optional = Fault {
                optional: true,
                ..fault.into_inner()
            };
            spanned(optional)
        })
        .collect();
    let late = late(file);
    let faults: Vec<_> = exact
        .into_iter()
        .map(|fault| spanned(without_moment(fault.into_inner())))
        .collect();
    if faults.is_empty() && late.is_empty() {
        return;
    }
    let [least, most] = lasting(file);
    file.nemesis = Some(Nemesis {
        kinds: BTreeMap::new(),
        percent: spanned(PERCENT),
        lasting: spanned([Time(least), Time(most)]),
        within: around_the_records(file).map(spanned),
        targets: Vec::new(),
        messages: Vec::new(),
        lanes: Vec::new(),
        faults,
        late,
    });
}

/// What is so from the beginning to the end is no moment, but a part of the world: a clock that is wrong, a slow link.
fn is_from_the_start(fault: &Fault) -> bool {
    let begins = fault.at.as_ref().map(|at| at.get_ref().0);
    let kind = *fault.kind.get_ref();
    let stays = kind == FaultKind::ClockJump || kind.keys().contains(&"for");
    let counts = kind.keys().contains(&"message");
    let ends = fault.until.is_some() || fault.lasting.is_some();
    begins == Some(Span::ZERO) && stays && !counts && !ends
}

/// Whom and what, without when and until when.
fn without_moment(fault: Fault) -> Fault {
    Fault {
        at: None,
        between: None,
        when: None,
        after: None,
        until: None,
        leader_epoch: None,
        permanent: false,
        optional: false,
        ..fault
    }
}

/// Clients that waited for a barrier.
fn late(file: &ScenarioFile) -> Vec<Spanned<String>> {
    let producers = file.producers.iter();
    let producers = producers.filter(|producer| producer.start_when.is_some());
    let consumers = file.consumers.iter();
    let consumers = consumers.filter(|consumer| consumer.start_when.is_some());
    let mut late: Vec<_> = producers.map(|producer| producer.name.clone()).collect();
    late.extend(consumers.map(|consumer| consumer.name.clone()));
    late
}

/// The time around the records, where those who send from the start come to an end well before the run does.
fn around_the_records(file: &ScenarioFile) -> Option<[Time; 2]> {
    let mut last = Span::ZERO;
    let from_the_start = file.producers.iter();
    for producer in from_the_start.filter(|producer| producer.start_when.is_none()) {
        let rate = u64::from((*producer.rate.get_ref()).max(1));
        let sends = Span::secs(producer.count?.div_ceil(rate));
        let start = producer
            .start
            .as_ref()
            .map_or(Span::ZERO, |start| start.get_ref().0);
        let idle = producer.idle.map_or(Span::ZERO, |idle| idle.lasting.0);
        last = last.max(start + sends + idle);
    }
    // As long again, and a while longer than a session lasts.
    let until = last * 2 + Span::secs(10);
    (until < file.duration.get_ref().0).then_some([Time(Span::ZERO), Time(until)])
}

/// The same with producers that go on until the end; nothing where all do already.
fn going_on(loose: &ScenarioFile) -> Option<ScenarioFile> {
    let mut longer = loose.clone();
    let mut producers = longer.producers.iter_mut();
    let ended = producers
        .by_ref()
        .filter_map(|producer| producer.count.take());
    if ended.count() == 0 {
        return None;
    }
    if let Some(nemesis) = &mut longer.nemesis {
        nemesis.within = None;
    }
    Some(longer)
}

/// From a moment to half of the run, and no longer than half a minute.
fn lasting(file: &ScenarioFile) -> [Span; 2] {
    let half = Span(file.duration.get_ref().0.0 / 2);
    let most = half.min(Span::secs(30));
    [Span::millis(100).min(most), most]
}

fn spanned<T>(value: T) -> Spanned<T> {
    Spanned::new(0..0, value)
}

#[cfg(test)]
mod tests {
    use super::super::check::{Vocabulary, check};
    use super::super::parse::parse;
    use super::*;
    use crate::scenario::nemesis::drawn;

    const EXACT: &str = "title = 't'\nquestion = 'q?'\nduration = '30s'\n\
        [cluster]\nera = '2.8'\n\
        [[topic]]\nname = 'orders'\n\
        [[producer]]\nname = 'p1'\ntopic = 'orders'\ncount = 100\n\
        [[producer]]\nname = 'p2'\ntopic = 'orders'\nstart_when = { fault = { name = 'dies' } }\n\
        [[fault]]\nkind = 'clock_jump'\ntarget = 'broker 2'\nby = '1h'\nat = '0s'\n\
        [[fault]]\nkind = 'hold'\nmessage = 'Fetch response'\nfrom = 'broker 1'\nleader_epoch = 0\nat = '0s'\n\
        until = { fault = { name = 'dies' } }\n\
        [[fault]]\nname = 'dies'\nkind = 'kill'\ntarget = 'leader of orders-0'\n\
        when = { acked = { producer = 'p1', count = 50 } }\nafter = '1s'\nrestart_after = '5s'\n\
        [reaches]\ndone = { fault = { name = 'dies' } }\n\
        [[variant]]\nname = 'good'\nfixes = { 'KIP-101' = true, 'KIP-279' = false }\n\
        expect.harm = { lost = 'never', unclean_elections = 'never', truncated = 'always' }\n\
        [[variant]]\nname = 'bad'\nfixes = { 'KIP-101' = false, 'KIP-279' = false }\n\
        expect.violated = { PA = 'always' }\nexpect.harm = { lost = 'always', unclean_elections = 'never' }\n";

    fn of(fix: Fix) -> Vec<ScenarioFile> {
        let all = loosened(&parse(EXACT).unwrap(), fix).into_iter();
        all.map(|loose| loose.file).collect()
    }

    #[test]
    fn faults_keep_whom_and_what_they_hit_and_lose_when() {
        let loose = of(Fix::TruncateByLeaderEpoch).remove(0);
        let nemesis = loose.nemesis.as_ref().unwrap();
        let [hold, dies] = nemesis.faults.as_slice() else {
            panic!("{:?}", nemesis.faults);
        };
        for fault in [hold, dies] {
            let fault = fault.get_ref();
            assert!(fault.at.is_none() && fault.when.is_none() && fault.after.is_none());
            assert!(fault.until.is_none() && fault.leader_epoch.is_none());
        }
        assert_eq!(
            hold.get_ref().from.as_ref().unwrap().get_ref().to_string(),
            "broker 1"
        );
        assert_eq!(dies.get_ref().restart_after, Some(Time(Span::secs(5))));
        let late: Vec<&str> = nemesis
            .late
            .iter()
            .map(|name| name.get_ref().as_str())
            .collect();
        assert_eq!(late, ["p2"]);
        assert!(loose.reaches.is_empty());
    }

    #[test]
    fn faults_strike_around_the_records_or_these_go_on() {
        let both = of(Fix::TruncateByLeaderEpoch);
        let told = |file: &ScenarioFile| {
            let within = file.nemesis.as_ref()?.within.as_ref();
            Some((
                file.producers[0].count,
                within.map(|within| within.get_ref()[1]),
            ))
        };
        let told: Vec<_> = both.iter().filter_map(told).collect();
        let until = Time(Span::secs(12));
        assert_eq!(told, [(Some(100), Some(until)), (None, None)]);
    }

    #[test]
    fn a_clock_that_is_wrong_from_the_start_is_part_of_the_world() {
        let loose = of(Fix::TruncateByLeaderEpoch).remove(0);
        let [clock] = loose.faults.as_slice() else {
            panic!("{:?}", loose.faults);
        };
        assert_eq!(*clock.get_ref().kind.get_ref(), FaultKind::ClockJump);
        assert!(clock.get_ref().optional);
    }

    #[test]
    fn only_what_tells_the_sides_apart_is_expected_of_the_ledger() {
        let loose = of(Fix::TruncateByLeaderEpoch).remove(0);
        let harm: Vec<&str> = loose
            .expect
            .harm
            .keys()
            .map(|name| name.get_ref().as_str())
            .collect();
        assert_eq!(harm, ["lost"]);
        assert!(loose.expect.violated.is_empty());
    }

    #[test]
    fn the_sides_differ_in_the_fix_alone_and_have_all_others_that_the_file_does_not_switch() {
        let loose = of(Fix::TruncateByLeaderEpoch).remove(0);
        let vocabulary = Vocabulary {
            guarantees: &[],
            ledger: &["lost"],
        };
        let checked = check(&loose, "t.toml", &vocabulary);
        assert!(checked.complaints.is_empty(), "{:?}", checked.complaints);
        let [on, off] = checked.plans.as_slice() else {
            panic!("two sides");
        };
        let fix = Fix::TruncateByLeaderEpoch;
        assert_eq!(on.behaviour.with(fix, false), off.behaviour);
        assert!(on.behaviour.has(fix) && !on.behaviour.has(Fix::LargestCommonEpoch));
        assert!(
            on.behaviour.has(Fix::DivergenceBeforeHighWatermark),
            "later than 2.8"
        );
    }

    #[test]
    fn a_fix_that_is_off_on_both_sides_is_not_what_the_file_is_about() {
        assert_eq!(of(Fix::LargestCommonEpoch).len(), 0);
        assert_eq!(of(Fix::BrokerEpoch).len(), 0);
    }

    #[test]
    fn every_failure_loosened_is_a_scenario_whatever_its_seed_draws() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../scenarios/failures");
        let guarantees = history::checker::codes();
        let ledger = history::ledger::Ledger::keys();
        let vocabulary = Vocabulary {
            guarantees: &guarantees,
            ledger: &ledger,
        };
        let mut sides = 0;
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let file = parse(&std::fs::read_to_string(&path).unwrap()).unwrap();
            for loose in Fix::ALL.iter().flat_map(|fix| loosened(&file, *fix)) {
                let loose = loose.file;
                let written = parse(&loose.text()).unwrap();
                let checked = check(&written, "t.toml", &vocabulary);
                let errors = checked
                    .complaints
                    .iter()
                    .filter(|complaint| !complaint.warning);
                assert_eq!(
                    errors.collect::<Vec<_>>(),
                    Vec::<&_>::new(),
                    "{}",
                    path.display()
                );
                assert!(drawn(&loose, 1).nemesis.is_none());
                sides += checked.plans.len();
            }
        }
        assert!(sides > 200, "{sides}");
    }
}
