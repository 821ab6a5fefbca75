//! Markers: to whom they go, and what follows when they are written.

use super::bench::Bench;
use super::*;
use TransactionState as S;
use protocol::behaviour::Fix;

fn both() -> Vec<TopicPartition> {
    vec![orders(), payments()]
}

fn behaviour(fix: Fix, on: bool) -> Behaviour {
    Behaviour::of(Era::V2_8).with(fix, on)
}

#[test]
fn each_leader_gets_one_request_and_the_last_answer_completes() {
    let mut bench = Bench::new(Behaviour::of(Era::V2_8));
    let producer = bench.begin(both());
    bench.commit(&producer);
    let leaders: Vec<_> = bench.markers.iter().map(|asked| &asked.leader).collect();
    assert_eq!(leaders, ["b2", "b3"]);
    let marker = &bench.markers[0].request.markers[0];
    assert_eq!((marker.committed, marker.coordinator_epoch), (true, 0));
    assert_eq!(marker.partitions, [orders()]);
    bench.answer(ErrorCode::None);
    assert!(bench.appends.is_empty());
    bench.answer(ErrorCode::None);
    bench.replicate();
    assert_eq!(bench.states()[2..], [S::PrepareCommit, S::CompleteCommit]);
}

#[test]
fn a_marker_that_a_leader_could_not_write_is_sent_again_after_a_moment() {
    let mut bench = Bench::new(Behaviour::of(Era::V2_8));
    let producer = bench.begin(vec![orders()]);
    bench.commit(&producer);
    for error in [
        ErrorCode::NotLeaderOrFollower,
        ErrorCode::NotEnoughReplicas,
        ErrorCode::RequestTimedOut,
    ] {
        bench.answer(error);
        assert_eq!(bench.markers.len(), 0, "{error}");
        bench.act(|coordinator, desk| coordinator.on_marker_timer(desk, 5));
        assert_eq!(bench.markers.len(), 1, "{error}");
    }
    bench.answer(ErrorCode::None);
    assert_eq!(bench.appends.len(), 1);
}

#[test]
fn a_marker_without_a_leader_waits_until_there_is_one() {
    let mut bench = Bench::new(Behaviour::of(Era::V2_8));
    let producer = bench.begin(both());
    bench.live(&[1, 2]);
    bench.commit(&producer);
    let leaders = |bench: &Bench| -> Vec<String> {
        let asked = bench.markers.iter();
        asked.map(|asked| asked.leader.clone()).collect()
    };
    assert_eq!(leaders(&bench), ["b2"]);
    bench.live(&[1, 2, 3]);
    assert_eq!(leaders(&bench), ["b2", "b3"]);
}

#[test]
fn the_last_record_is_tried_again_when_replicas_were_missing() {
    let mut bench = Bench::new(Behaviour::of(Era::V2_8));
    let producer = bench.begin(vec![orders()]);
    bench.commit(&producer);
    bench.answer(ErrorCode::None);
    bench.refuse(ErrorCode::NotEnoughReplicas);
    assert!(bench.appends.is_empty());
    bench.act(|coordinator, desk| coordinator.on_timer(desk, 2));
    bench.replicate();
    assert_eq!(bench.states().last(), Some(&S::CompleteCommit));
}

#[test]
fn answers_that_come_together_complete_a_transaction_once_since_kafka_10080() {
    for (fixed, records) in [(true, 1), (false, 2)] {
        let mut bench = Bench::new(behaviour(Fix::SingleCompletion, fixed));
        let producer = bench.begin(both());
        bench.commit(&producer);
        bench.hold_markers = true;
        bench.answer(ErrorCode::None);
        bench.answer(ErrorCode::None);
        bench.hold_markers = false;
        bench.run();
        assert_eq!(bench.appends.len(), records, "fixed: {fixed}");
        for _ in 0..records {
            bench.replicate();
        }
        assert_eq!(bench.states().last(), Some(&S::CompleteCommit));
    }
}

#[test]
fn a_late_answer_leaves_the_markers_of_the_present_epoch_alone_since_kafka_16352() {
    for (fixed, completed) in [(true, true), (false, false)] {
        let mut bench = Bench::new(behaviour(Fix::MarkerIdentity, fixed));
        let producer = bench.begin(vec![orders()]);
        bench.commit(&producer);
        bench.resign();
        bench.elect(1);
        // The first request is still on its way; the second waits for its connection to be free.
        assert_eq!(bench.markers.len(), 1);
        bench.answer(ErrorCode::None);
        let epoch = bench.markers[0].request.markers[0].coordinator_epoch;
        assert_eq!(epoch, 1);
        bench.answer(ErrorCode::None);
        assert_eq!(!bench.appends.is_empty(), completed, "fixed: {fixed}");
    }
}

#[test]
fn a_new_coordinator_carries_out_what_was_decided_since_kafka_5131() {
    for fixed in [true, false] {
        let mut bench = Bench::new(behaviour(Fix::ResumePrepared, fixed));
        let producer = bench.begin(both());
        bench.commit(&producer);
        bench.answer(ErrorCode::None);
        bench.answer(ErrorCode::TransactionCoordinatorFenced);
        assert!(bench.markers.is_empty() && bench.appends.is_empty());
        bench.resign();
        bench.elect(3);
        assert!(
            bench
                .notes
                .contains(&TransactionNote::Loaded(S::PrepareCommit))
        );
        let epochs = bench.markers.iter().map(|asked| {
            let marker = &asked.request.markers[0];
            (asked.leader.as_str(), marker.coordinator_epoch)
        });
        let expected: &[_] = if fixed { &[("b2", 3), ("b3", 3)] } else { &[] };
        assert_eq!(epochs.collect::<Vec<_>>(), expected);
    }
}

#[test]
fn a_commit_that_is_repeated_while_the_first_is_being_completed_is_no_zombies() {
    let mut bench = Bench::new(Behaviour::of(Era::Sound));
    let producer = bench.begin(vec![orders()]);
    bench.ask_to_commit(5, &producer);
    bench.replicate();
    let fenced = |bench: &Bench| {
        let mut notes = bench.notes.iter();
        notes.any(|note| matches!(note, TransactionNote::Fenced { .. }))
    };
    bench.ask_to_commit(5, &producer);
    assert!(!fenced(&bench), "the markers are being written");
    bench.answer(ErrorCode::None);
    assert_eq!(bench.appends.len(), 1, "the completion is being written");
    bench.ask_to_commit(5, &producer);
    assert!(!fenced(&bench), "and nobody else has this id");
    bench.replicate();
    assert_eq!(bench.states().last(), Some(&S::CompleteCommit));
}
