//! What the nemesis draws.

use super::cast::magnitude;
use super::*;
use crate::scenario::check::faults_of;
use crate::scenario::format::FaultKind;
use crate::scenario::parse::parse;
use crate::scenario::plan::FaultPlan;

const ALL: &str = "kill power_failure restart stop pause partition one_way_partition delay loss drop hold lane_delay \
    expire_session clock_jump clock_drift slow_disk stuck_disk full_disk broken_disk replaced_disk client_crash client_stop client_pause \
    elect_preferred elect_unclean reassign add_partitions delete_records";

fn file(kinds: &str, percent: u32) -> ScenarioFile {
    let kinds: Vec<String> = kinds
        .split_whitespace()
        .map(|kind| format!("{kind} = [2, 9]"))
        .collect();
    let text = format!(
        "title = 't'\nquestion = 'q?'\nduration = '60s'\n[[topic]]\nname = 'orders'\npartitions = 2\n\
         [[producer]]\nname = 'p1'\ntopic = 'orders'\n\
         [[consumer]]\nname = 'c'\nmembers = 2\ngroup = 'g'\ntopics = ['orders']\n\
         [nemesis]\npercent = {percent}\nkinds = {{ {} }}\n",
        kinds.join(", ")
    );
    parse(&text).unwrap()
}

fn plans(kinds: &str, percent: u32, seed: u64) -> Vec<FaultPlan> {
    faults_of(&drawn(&file(kinds, percent), seed))
}

fn words(plans: &[FaultPlan], kind: &str) -> Vec<String> {
    let of_kind = plans.iter().filter(|plan| plan.kind == kind);
    of_kind.map(|plan| format!("{plan:?}")).collect()
}

#[test]
fn all_that_is_drawn_may_stand_in_a_file_and_may_miss() {
    for seed in 0..100 {
        let plans = plans(ALL, 100, seed);
        assert!(plans.iter().all(|plan| plan.optional && !plan.permanent));
    }
}

#[test]
fn a_kind_more_moves_no_fault_of_another() {
    for seed in 0..20 {
        let few = plans("delay pause", 100, seed);
        // What pauses clients is another kind of the nemesis, and the same kind of fault.
        let many = plans(&ALL.replace("client_pause", ""), 100, seed);
        for kind in ["delay", "pause"] {
            assert!(!words(&few, kind).is_empty());
            assert_eq!(words(&few, kind), words(&many, kind));
        }
    }
}

#[test]
fn rates_are_faults_per_simulated_minute() {
    for seed in 0..50 {
        let count = plans("pause", 100, seed).len();
        assert!((2..=9).contains(&count), "{count}");
    }
}

#[test]
fn seeds_draw_different_subsets_and_none_draws_nothing() {
    let all = file(ALL, 20);
    let nemesis = all.nemesis.as_ref().unwrap();
    let subsets: Vec<Vec<NemesisKind>> = (0..200).map(|seed| subset(nemesis, seed)).collect();
    assert!(subsets.iter().all(|subset| !subset.is_empty()));
    let kinds: usize = subsets.iter().map(Vec::len).sum();
    // A fifth of 28 kinds in each of 200 seeds.
    assert!((950..1290).contains(&kinds), "{kinds}");
    assert!(subsets.iter().any(|subset| *subset != subsets[0]));
}

#[test]
fn every_order_of_magnitude_is_drawn() {
    let mut draws = Draws::keyed(1, Purpose::named("a test"), 0, 0, 0);
    let drawn: Vec<u64> = (0..300)
        .map(|_| magnitude(&mut draws, 10).0.as_millis())
        .collect();
    assert!(drawn.iter().all(|millis| (1..1024).contains(millis)));
    assert!(drawn.contains(&1) && drawn.iter().any(|millis| *millis > 512));
}

#[test]
fn a_partition_moves_to_as_many_brokers_as_it_had() {
    let places = |seed| {
        let drawn = drawn(&file("reassign", 100), seed);
        let faults = drawn.faults.into_iter().map(Spanned::into_inner);
        faults.filter_map(|fault| fault.replicas.map(Spanned::into_inner))
    };
    let all: Vec<Vec<i32>> = (0..50).flat_map(places).collect();
    for replicas in &all {
        let mut sorted = replicas.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, [1, 2, 3]);
    }
    assert!(all.contains(&vec![2, 3, 1]) && all.contains(&vec![3, 2, 1]));
}

#[test]
fn a_topic_grows_and_never_shrinks() {
    for seed in 0..50 {
        for fault in drawn(&file("add_partitions", 100), seed).faults {
            let partitions = fault.get_ref().partitions;
            assert!(
                partitions.is_some_and(|count| (3..=5).contains(&count)),
                "{partitions:?}"
            );
        }
    }
}

#[test]
fn what_a_file_names_is_all_that_is_drawn() {
    let mut file = file("hold lane_delay client_stop kill", 100);
    if let Some(nemesis) = &mut file.nemesis {
        nemesis.messages = vec![Spanned::new(0..0, "EndTxn request".to_owned())];
        nemesis.lanes = vec![Spanned::new(0..0, LaneName::TransactionMarkers)];
        let client = Target::Client("c-2".to_owned());
        nemesis.targets = vec![
            Spanned::new(0..0, client),
            Spanned::new(0..0, Target::Broker(2)),
        ];
    }
    for seed in 0..20 {
        for fault in drawn(&file, seed).faults {
            let fault = fault.into_inner();
            let target = fault.target.map(|target| target.get_ref().to_string());
            let lane = fault.lane.map(Spanned::into_inner);
            let message = fault.message.map(Spanned::into_inner);
            let (kind, target) = (*fault.kind.get_ref(), target.as_deref());
            if kind == FaultKind::Hold {
                assert_eq!(message.as_deref(), Some("EndTxn request"));
            } else {
                let stop = kind == FaultKind::Stop;
                let lasts = kind == FaultKind::LaneDelay;
                let own = if stop { "client c-2" } else { "broker 2" };
                assert!(lasts || target == Some(own), "{kind:?} {target:?}");
                assert_eq!(lane, lasts.then_some(LaneName::TransactionMarkers));
            }
        }
    }
}

const DECLARED: &str = "title = 't'\nquestion = 'q?'\nduration = '64s'\n[[topic]]\nname = 'orders'\n\
    [[producer]]\nname = 'p1'\ntopic = 'orders'\n\
    [[producer]]\nname = 'p2'\ntopic = 'orders'\nstart_when = { acked = { producer = 'p1', count = 1 } }\n\
    [nemesis]\npercent = 50\nlasting = ['100ms', '20s']\nlate = ['p2']\n\
    [[nemesis.fault]]\nname = 'first'\nkind = 'kill'\ntarget = 'broker 1'\nrestart_after = '5s'\n\
    [[nemesis.fault]]\nkind = 'restart'\ntarget = 'victim of first'\n\
    [[nemesis.fault]]\nkind = 'hold'\nmessage = 'Fetch response'\nskip = 3\n";

fn declared(seed: u64) -> ScenarioFile {
    drawn(&parse(DECLARED).unwrap(), seed)
}

#[test]
fn faults_without_a_moment_strike_close_together_or_far_apart() {
    let mut spans = Vec::new();
    for seed in 0..200 {
        let plans = faults_of(&declared(seed));
        assert!(!plans.is_empty() && plans.iter().all(|plan| plan.optional));
        let file = declared(seed);
        let moments = file.faults.iter().map(|fault| {
            let at = fault.get_ref().at.as_ref().unwrap();
            at.get_ref().0
        });
        let (first, last) = (moments.clone().min().unwrap(), moments.max().unwrap());
        assert!(last < Span::secs(64));
        spans.push(last.saturating_sub(first));
    }
    assert!(spans.iter().any(|span| *span > Span::secs(30)));
    let near = spans.iter().filter(|span| **span < Span::secs(2));
    assert!(near.count() > 50);
}

#[test]
fn some_of_the_faults_strike_and_none_leans_on_one_that_does_not() {
    let mut counts = [0; 3];
    for seed in 0..300 {
        let kinds = declared(seed).faults.into_iter();
        let kinds: Vec<FaultKind> = kinds.map(|fault| *fault.get_ref().kind.get_ref()).collect();
        let has = |kind| kinds.contains(&kind);
        assert!(has(FaultKind::Kill) || !has(FaultKind::Restart));
        for (count, kind) in
            counts
                .iter_mut()
                .zip([FaultKind::Kill, FaultKind::Restart, FaultKind::Hold])
        {
            *count += u32::from(has(kind));
        }
    }
    // Half of the seeds draw the kill; the quarter that draws neither it nor the hold draws all.
    assert!((190..260).contains(&counts[0]), "{counts:?}");
    assert!((120..190).contains(&counts[1]), "{counts:?}");
}

#[test]
fn what_does_not_say_how_long_it_lasts_lasts_any_time_and_passes_some_messages() {
    let holds = (0..300).flat_map(|seed| declared(seed).faults);
    let holds = holds.map(Spanned::into_inner);
    let holds: Vec<_> = holds
        .filter(|fault| *fault.kind.get_ref() == FaultKind::Hold)
        .map(|fault| (fault.lasting.unwrap().into_inner().0, fault.skip))
        .collect();
    let within = |least, most| {
        let mut lasting = holds.iter().map(|(lasting, _)| *lasting);
        lasting.any(|time| (least..most).contains(&time))
    };
    assert!(within(Span::millis(100), Span::millis(200)) && within(Span::secs(10), Span::secs(20)));
    assert!(
        !within(Span::ZERO, Span::millis(100)) && !within(Span::millis(20_001), Span::secs(99))
    );
    assert!((0..=3).all(|skip| holds.iter().any(|(_, passed)| *passed == skip)));
}

#[test]
fn who_is_late_starts_at_a_moment_of_the_seed() {
    let start = |seed| {
        let file = declared(seed);
        assert!(file.producers[1].start_when.is_none() && file.producers[0].start.is_none());
        file.producers[1].start.as_ref().unwrap().get_ref().0
    };
    assert_ne!(start(1), start(2));
    assert_eq!(start(3), start(3));
}

#[test]
fn faults_strike_only_in_the_time_that_a_nemesis_has() {
    let mut file = file("kill pause", 100);
    let within = [Time(Span::secs(20)), Time(Span::secs(30))];
    file.nemesis.as_mut().unwrap().within = Some(Spanned::new(0..0, within));
    for seed in 0..20 {
        for fault in drawn(&file, seed).faults {
            let at = fault.get_ref().at.as_ref().unwrap().get_ref().0;
            assert!((Span::secs(20)..Span::secs(30)).contains(&at), "{at}");
        }
    }
}
