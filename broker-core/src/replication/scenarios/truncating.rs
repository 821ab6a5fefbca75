//! What becomes of a follower's tail, by each of the four rules, and of a follower that is ahead or behind.

use super::*;
use protocol::behaviour::{Fix, InterBrokerProtocol};
use protocol::note::TruncationRule;

/// By its own high watermark; by the leader's epoch (KIP-101); the same with KIP-279; by the fetch itself.
fn rules() -> [(Behaviour, TruncationRule); 4] {
    let modern = Behaviour::of(Era::V2_8);
    let before_fetch = modern.speaking(InterBrokerProtocol::V2_6Iv0);
    let first = before_fetch.with(Fix::LargestCommonEpoch, false);
    [
        (Behaviour::of(Era::V0_9), TruncationRule::HighWatermark),
        (first, TruncationRule::LeaderEpoch),
        (before_fetch, TruncationRule::LeaderEpoch),
        (modern, TruncationRule::DivergingEpoch),
    ]
}

/// the follower has a record that the leader has acknowledged, but not the news that it is committed. It bounces,
/// and before it has fetched again the leader dies.
#[test]
fn a_committed_record_survives_a_bounce_with_every_rule_but_the_first() {
    for (behaviour, rule) in rules() {
        let mut cluster = Cluster::new(behaviour, &[1, 2]);
        cluster.elect(2, 0, &[1, 2]);
        cluster.produce(2, Acks::All, "a");
        cluster.pass(Span::millis(600));
        let asked = cluster.produce(2, Acks::All, "b");
        assert_eq!(cluster.produced(asked).unwrap().error, ErrorCode::None);
        assert_eq!((cluster.bounds(2).1, cluster.bounds(1)), (2, (0, 1, 2)));
        // The same leader in a new epoch; broker 1 hears of it, broker 2's answers do not get through.
        cluster.pass(Span::millis(1));
        let told = cluster.state(2, 1, &[1, 2]);
        cluster.tell(2, &told);
        cluster.hold(1);
        cluster.tell(1, &told);
        cluster.kill(2);
        let told = cluster.state(1, 2, &[1]);
        cluster.tell(1, &told);
        let kept = rule != TruncationRule::HighWatermark;
        assert_eq!(cluster.bounds(1).2, if kept { 2 } else { 1 }, "{rule:?}");
        cluster.release(1);
        cluster.restart(2);
        let told = cluster.state(1, 3, &[1]);
        cluster.tell(1, &told);
        cluster.tell(2, &told);
        cluster.pass(Span::secs(3));
        assert_eq!(cluster.log(2), cluster.log(1), "{rule:?}");
        assert_eq!(cluster.log(1).len(), if kept { 2 } else { 1 });
    }
}

/// The old leader has a tail nobody else has; the new leader goes on from before it.
#[test]
fn a_tail_that_was_never_committed_is_cut_by_every_rule() {
    for (behaviour, rule) in rules() {
        let mut cluster = Cluster::new(behaviour, &[1, 2]);
        cluster.elect(1, 0, &[1, 2]);
        cluster.produce(1, Acks::All, "a");
        cluster.pass(Span::millis(600));
        cluster.hold(2);
        cluster.produce(1, Acks::Leader, "lost");
        cluster.kill(1);
        cluster.release(2);
        // The answer that carried the record was still under way and is void by the new epoch.
        cluster.pass(Span::ZERO);
        let end = cluster.bounds(2).2;
        let told = cluster.state(2, 1, &[2]);
        cluster.tell(2, &told);
        cluster.produce(2, Acks::Leader, "new");
        cluster.restart(1);
        cluster.tell(1, &told);
        cluster.pass(Span::secs(3));
        assert_eq!(cluster.log(1), cluster.log(2), "{rule:?}");
        if end == 1 {
            let cut = |note: &ReplicaNote| matches!(note, ReplicaNote::Truncated { rule: by, .. } if *by == rule);
            assert!(cluster.saw(1, cut), "{rule:?}");
        }
    }
}

/// R-03, clean variant: leadership goes to broker 2 and back without any of the two records of the middle being copied.
#[test]
fn fast_fail_over_diverges_only_between_kip_101_and_kip_279() {
    let outcomes: Vec<bool> = rules()
        .into_iter()
        .map(|(behaviour, _)| {
            let mut cluster = Cluster::new(behaviour, &[1, 2]);
            cluster.elect(1, 1, &[1, 2]);
            cluster.produce(1, Acks::All, "a");
            cluster.pass(Span::millis(600));
            let two = cluster.state(2, 2, &[1, 2]);
            cluster.tell(2, &two);
            cluster.produce(1, Acks::Leader, "x");
            cluster.produce(2, Acks::Leader, "y");
            let back = cluster.state(1, 3, &[1, 2]);
            cluster.tell(1, &back);
            cluster.tell(2, &back);
            cluster.produce(1, Acks::Leader, "z");
            cluster.pass(Span::secs(3));
            assert_eq!(cluster.log(1), ["a", "x", "z"]);
            cluster.log(2) == cluster.log(1)
        })
        .collect();
    assert_eq!(outcomes, [true, false, true, true]);
}

#[test]
fn a_follower_ahead_of_an_unclean_leader_is_cut_or_halts() {
    let rule = TruncationRule::OutOfRange;
    for fixed in [true, false] {
        let behaviour = Behaviour::of(Era::V2_8)
            .speaking(InterBrokerProtocol::V0_10_2Iv0)
            .with(Fix::OutOfRangeTruncates, fixed);
        let mut cluster = Cluster::new(behaviour, &[1, 2]);
        let told = cluster.state(1, 0, &[1]);
        cluster.tell(1, &told);
        for value in ["a", "b"] {
            cluster.produce(1, Acks::Leader, value);
        }
        cluster.pass(Span::secs(6));
        assert_eq!(cluster.bounds(1), (0, 2, 2));
        cluster.kill(1);
        let told = cluster.state(2, 1, &[2]);
        cluster.tell(2, &told);
        cluster.restart(1);
        // The mark of broker 1 covers what only it had, so it is not cut before it fetches.
        cluster.tell(1, &told);
        cluster.pass(Span::secs(3));
        assert_eq!(cluster.exits.is_empty(), fixed);
        let cut = |note: &ReplicaNote| matches!(note, ReplicaNote::Truncated { rule: by, .. } if *by == rule);
        assert_eq!(cluster.saw(1, cut), fixed);
    }
}

/// with fetch-based truncation the answer that tells of the divergence also brings a high watermark.
#[test]
fn the_mark_of_a_new_leader_covers_a_tail_that_is_still_to_be_cut() {
    for (era, covers) in [(Era::V2_8, true), (Era::Sound, false)] {
        let mut cluster = Cluster::new(Behaviour::of(era), &[1, 2]);
        cluster.elect(1, 0, &[1, 2]);
        cluster.produce(1, Acks::All, "a");
        cluster.pass(Span::millis(600));
        let two = cluster.state(2, 1, &[2]);
        cluster.tell(2, &two);
        cluster.produce(1, Acks::Leader, "tail");
        for value in ["x", "y"] {
            cluster.produce(2, Acks::Leader, value);
        }
        cluster.pass(Span::secs(40));
        assert_eq!(cluster.bounds(2).1, 3);
        cluster.notes.clear();
        cluster.tell(1, &two);
        cluster.pass(Span::secs(3));
        let marks: Vec<i64> = cluster
            .notes
            .iter()
            .filter_map(|(id, note)| match note {
                ReplicaNote::HighWatermark(mark) if *id == 1 => Some(mark.0),
                _ => None,
            })
            .collect();
        assert_eq!(marks.first() == Some(&2), covers, "{era}: {marks:?}");
        assert_eq!(cluster.log(1), ["a", "x", "y"]);
    }
}

/// the answer to a question of an earlier epoch arrives in a later one of the same leader.
#[test]
fn an_epoch_answer_of_an_earlier_epoch_is_dropped() {
    let behaviour = Behaviour::of(Era::V2_8).speaking(InterBrokerProtocol::V2_6Iv0);
    let mut cluster = Cluster::new(behaviour, &[1, 2]);
    cluster.elect(1, 0, &[1, 2]);
    cluster.produce(1, Acks::All, "a");
    cluster.hold(2);
    let told = cluster.state(1, 1, &[1, 2]);
    cluster.tell(1, &told);
    cluster.tell(2, &told);
    let told = cluster.state(1, 2, &[1, 2]);
    cluster.tell(1, &told);
    cluster.tell(2, &told);
    cluster.release(2);
    cluster.pass(Span::secs(3));
    cluster.produce(1, Acks::Leader, "b");
    cluster.run();
    assert_eq!(cluster.log(2), ["a", "b"]);
}

/// the leader is in the later epoch when the question arrives, and so is the follower when the refusal does.
#[test]
fn a_refusal_of_an_earlier_epoch_ends_the_fetching_until_kafka_7786() {
    for fixed in [true, false] {
        let behaviour = Behaviour::of(Era::V2_8)
            .speaking(InterBrokerProtocol::V2_6Iv0)
            .with(Fix::ValidateInflightEpoch, fixed);
        let mut cluster = Cluster::new(behaviour, &[1, 2]);
        cluster.elect(1, 0, &[1, 2]);
        cluster.produce(1, Acks::All, "a");
        let (one, two) = (cluster.state(1, 1, &[1, 2]), cluster.state(1, 2, &[1, 2]));
        cluster.tell(1, &two);
        cluster.pass(Span::millis(600));
        cluster.hold(2);
        cluster.tell(2, &one);
        cluster.tell(2, &two);
        cluster.release(2);
        cluster.produce(1, Acks::Leader, "b");
        cluster.pass(Span::secs(3));
        let copied: &[&str] = if fixed { &["a", "b"] } else { &["a"] };
        assert_eq!(cluster.log(2), copied);
    }
}

#[test]
fn a_fetcher_that_cannot_reach_its_leader_rests_and_comes_back() {
    let mut cluster = Cluster::new(Behaviour::of(Era::V2_8), &[1, 2]);
    cluster.elect(1, 0, &[1, 2]);
    cluster.kill(1);
    cluster.pass(Span::secs(5));
    cluster.restart(1);
    let told = cluster.state(1, 1, &[1, 2]);
    cluster.tell(1, &told);
    cluster.produce(1, Acks::Leader, "a");
    cluster.pass(Span::millis(2500));
    assert_eq!(
        cluster.bounds(2).2,
        0,
        "its epoch is over, and nobody has told it so"
    );
    cluster.tell(2, &told);
    cluster.pass(Span::millis(2500));
    assert_eq!(cluster.log(2), ["a"]);
}

/// the old leader fetches from beyond where the logs part; until it has cut its tail, that is nothing to count.
#[test]
fn the_fetch_offset_of_a_diverging_follower_counts_until_kafka_13141() {
    for (era, counted) in [(Era::V2_8, true), (Era::Sound, false)] {
        let mut cluster = Cluster::new(Behaviour::of(era), &[1, 2]);
        cluster.elect(1, 0, &[1, 2]);
        cluster.produce(1, Acks::All, "a");
        cluster.pass(Span::millis(600));
        let two = cluster.state(2, 1, &[2, 1]);
        cluster.tell(2, &two);
        for value in ["s", "t"] {
            cluster.produce(1, Acks::Leader, value);
        }
        for value in ["x", "y"] {
            cluster.produce(2, Acks::Leader, value);
        }
        assert_eq!(cluster.bounds(2), (0, 1, 3));
        cluster.hold(1);
        cluster.tell(1, &two);
        assert_eq!(cluster.bounds(2).1 == 3, counted, "{era}");
    }
}

/// the fetcher's thread has decided to cut, and before it does the follower becomes leader.
#[test]
fn a_late_cut_hits_a_leader_until_kafka_13207() {
    for (era, hit) in [(Era::V2_8, true), (Era::Sound, false)] {
        let mut cluster = Cluster::new(Behaviour::of(era), &[1, 2]);
        cluster.elect(1, 0, &[1, 2]);
        cluster.produce(1, Acks::All, "a");
        cluster.pass(Span::millis(600));
        let two = cluster.state(2, 1, &[2, 1]);
        cluster.tell(2, &two);
        cluster.produce(1, Acks::Leader, "s");
        cluster.produce(2, Acks::Leader, "x");
        cluster.hold_lane_after = Some((1, 2));
        cluster.tell(1, &two);
        let back = cluster.state(1, 2, &[1, 2]);
        cluster.tell(1, &back);
        cluster.notes.clear();
        cluster.let_lanes_go();
        let cut = |note: &ReplicaNote| matches!(note, ReplicaNote::Truncated { .. });
        assert_eq!(cluster.saw(1, cut), hit, "{era}");
    }
}

/// what is appended between the cut and the flag lies where the new leader's records belong.
#[test]
fn a_replica_that_is_cut_before_it_resigns_takes_records_until_kafka_1154() {
    for (fixed, taken) in [(true, false), (false, true)] {
        let behaviour = Behaviour::of(Era::V0_8).with(Fix::FollowerFlagFirst, fixed);
        let mut cluster = Cluster::new(behaviour, &[1, 2]);
        cluster.elect(1, 0, &[1, 2]);
        cluster.hold_lane_after = Some((1, 0));
        let two = cluster.state(2, 1, &[2]);
        cluster.tell(2, &two);
        cluster.tell(1, &two);
        let error = cluster.produce_now(1, Acks::Leader, "late");
        assert_eq!(error.is_none(), taken);
        cluster.let_lanes_go();
        assert_eq!(cluster.nodes[&1].manager.leads(&orders()), None);
    }
}

/// the new leader has written nothing in its epoch yet, and is asked about a later one than its last record's.
#[test]
fn a_leader_without_records_of_its_epoch_cannot_answer_until_kafka_7415() {
    for fixed in [true, false] {
        let behaviour = Behaviour::of(Era::V1_0).with(Fix::PersistEpochOnElection, fixed);
        let mut cluster = Cluster::new(behaviour, &[1, 2]);
        cluster.elect(1, 0, &[1, 2]);
        cluster.produce(1, Acks::All, "a");
        cluster.pass(Span::secs(3));
        let moved = cluster.state(2, 1, &[2, 1]);
        cluster.tell(2, &moved);
        cluster.produce(2, Acks::Leader, "tail");
        cluster.notes.clear();
        let back = cluster.state(1, 2, &[2, 1]);
        cluster.tell(1, &back);
        cluster.tell(2, &back);
        let rule = if fixed {
            TruncationRule::LeaderEpoch
        } else {
            TruncationRule::HighWatermark
        };
        let cut = |note: &ReplicaNote| matches!(note, ReplicaNote::Truncated { rule: by, .. } if *by == rule);
        assert!(cluster.saw(2, cut), "{fixed}: {:?}", cluster.notes);
    }
}
