//! Heartbeats, silence, leaving.

use super::*;
use protocol::note::RemovalReason;

#[test]
fn a_heartbeat_tells_of_rebalance_generation_and_membership() {
    let mut bench = Bench::new();
    let ids = bench.stable(&["c1"]);
    assert_eq!(bench.heartbeat(&ids[0], GenerationId(1)), ErrorCode::None);
    assert_eq!(
        bench.heartbeat(&ids[0], GenerationId(0)),
        ErrorCode::IllegalGeneration
    );
    assert_eq!(
        bench.heartbeat(&"x".into(), GenerationId(1)),
        ErrorCode::UnknownMemberId
    );
    bench.newcomer("c2");
    assert_eq!(
        bench.heartbeat(&ids[0], GenerationId(1)),
        ErrorCode::RebalanceInProgress
    );
}

#[test]
fn a_member_that_falls_silent_is_out_and_the_rest_rebalances() {
    let mut bench = Bench::new();
    let ids = bench.stable(&["c1", "c2"]);
    bench.pass(Span::millis(9_999));
    assert_eq!(bench.heartbeat(&ids[0], GenerationId(1)), ErrorCode::None);
    bench.pass(Span::millis(1));
    let gone = GroupNote::MemberRemoved(ids[1].clone(), RemovalReason::SessionTimeout);
    assert!(bench.notes.contains(&gone));
    assert_eq!(
        bench.heartbeat(&ids[0], GenerationId(1)),
        ErrorCode::RebalanceInProgress
    );
    assert_eq!(
        bench.heartbeat(&ids[1], GenerationId(1)),
        ErrorCode::UnknownMemberId
    );
}

#[test]
fn heartbeats_keep_a_session_and_set_no_timer_each() {
    let mut bench = Bench::new();
    let ids = bench.stable(&["c1"]);
    bench.timer = None;
    for _ in 0..3 {
        assert_eq!(bench.heartbeat(&ids[0], GenerationId(1)), ErrorCode::None);
    }
    assert_eq!(bench.timer, None);
}

#[test]
fn sessions_outlive_any_number_of_heartbeat_intervals() {
    let mut bench = Bench::new();
    let ids = bench.stable(&["c1"]);
    for _ in 0..50 {
        bench.pass(Span::secs(3));
        assert_eq!(bench.heartbeat(&ids[0], GenerationId(1)), ErrorCode::None);
    }
    assert_eq!(bench.rebalances(), 1);
    bench.pass(SESSION);
    assert!(bench.group().members.is_empty());
}

#[test]
fn a_member_that_waits_for_the_others_is_not_expired() {
    let mut bench = Bench::new();
    let ids = bench.stable(&["c1", "c2"]);
    let first = bench.join(&ids[0]);
    for _ in 0..3 {
        bench.pass(Span::secs(9));
        bench.heartbeat(&ids[1], GenerationId(1));
    }
    assert!(bench.waits(first));
    assert_eq!(bench.group().members.len(), 2);
}

#[test]
fn the_last_member_leaves_an_empty_group_with_a_generation_of_its_own() {
    let mut bench = Bench::new();
    let ids = bench.stable(&["c1"]);
    assert_eq!(bench.leave(&ids[0]), ErrorCode::None);
    assert_eq!(
        (bench.state(), bench.generation()),
        ("Empty", GenerationId(2))
    );
    let gone = GroupNote::MemberRemoved(ids[0].clone(), RemovalReason::Left);
    assert!(bench.notes.contains(&gone));
    assert_eq!(bench.leave(&ids[0]), ErrorCode::UnknownMemberId);
}

#[test]
fn a_pending_member_that_leaves_no_longer_holds_the_rebalance() {
    let mut bench = Bench::new();
    let ids = bench.stable(&["c1"]);
    let asked = bench.ask(7, "c2", join(&"".into()));
    let pending = bench.answered::<JoinGroupResponse>(asked).member_id;
    let again = bench.join(&ids[0]);
    assert!(bench.waits(again));
    assert_eq!(bench.leave(&pending), ErrorCode::None);
    assert!(!bench.waits(again));
}

#[test]
fn a_member_that_never_syncs_stops_the_group_for_ever_before_kafka_12890() {
    // Alone in its group, so that the group is empty once it is out.
    for (fixed, state) in [(false, "CompletingRebalance"), (true, "Empty")] {
        let behaviour = Behaviour::of(Era::V2_8).with(Fix::CompletingRebalanceEnds, fixed);
        let mut bench = Bench::with(behaviour, |_| {});
        let (one, _) = bench.newcomer("c1");
        bench.pass(Span::secs(3));
        for _ in 0..20 {
            let generation = bench.generation();
            bench.heartbeat(&one, generation);
            bench.pass(Span::secs(3));
        }
        assert_eq!(bench.state(), state);
    }
}

#[test]
fn a_new_member_that_vanished_is_expired_after_its_join_only_since_kafka_9752() {
    for (fixed, left) in [(true, 0), (false, 1)] {
        let behaviour = Behaviour::of(Era::V2_8).with(Fix::JoinAfterExpiry, fixed);
        let mut bench = Bench::with(behaviour, |_| {});
        bench.newcomer("c1");
        bench.pass(Span::secs(3));
        bench.pass(Span::secs(60));
        assert_eq!(bench.group().members.len(), left);
    }
}

#[test]
fn the_join_of_a_new_member_times_out_after_five_minutes() {
    let mut bench = Bench::new();
    let mut request = join_request(&"".into());
    request.rebalance_timeout = Span::secs(1_000);
    let patient = bench.ask(3, "c1", GroupRequest::Join(request));
    bench.pass(Span::secs(3));
    let first = bench.answered::<JoinGroupResponse>(patient).member_id;
    let newcomer = bench.ask(3, "c2", join(&"".into()));
    for _ in 0..100 {
        bench.heartbeat(&first, GenerationId(1));
        assert!(bench.waits(newcomer));
        bench.pass(Span::secs(3));
    }
    let answer: JoinGroupResponse = bench.answered(newcomer);
    assert_eq!(answer.error, ErrorCode::UnknownMemberId);
}

#[test]
fn a_broker_that_stops_or_does_not_lead_says_so() {
    let mut bench = Bench::idle(Behaviour::of(Era::V2_8), |_| {});
    let one = "x".into();
    assert_eq!(
        bench.heartbeat(&one, GenerationId(1)),
        ErrorCode::NotCoordinator
    );
    bench.coordinator.shutdown();
    assert_eq!(
        bench.heartbeat(&one, GenerationId(1)),
        ErrorCode::CoordinatorNotAvailable
    );
}

#[test]
fn before_2_8_a_group_that_waits_for_its_leader_refuses_heartbeats() {
    for (era, told) in [
        (Era::V1_0, ErrorCode::RebalanceInProgress),
        (Era::V2_8, ErrorCode::None),
    ] {
        let mut bench = Bench::with(Behaviour::of(era), |_| {});
        let asked = bench.ask(2, "c", join(&"".into()));
        bench.pass(Span::secs(3));
        let one = bench.answered::<JoinGroupResponse>(asked).member_id;
        assert_eq!(bench.state(), "CompletingRebalance");
        assert_eq!(bench.heartbeat(&one, GenerationId(1)), told);
        bench.pass(SESSION);
        assert!(bench.group().members.is_empty());
    }
}

#[test]
fn a_leave_of_several_reports_the_first_error_and_removes_the_others() {
    let mut bench = Bench::new();
    let ids = bench.stable(&["c1", "c2"]);
    let request = GroupRequest::Leave(LeaveGroupRequest {
        group_id: GROUP.into(),
        members: vec![("x".into(), None), (ids[0].clone(), None)],
    });
    let asked = bench.ask(4, "c", request);
    let error = bench.answered::<LeaveGroupResponse>(asked).error;
    assert_eq!(error, ErrorCode::UnknownMemberId);
    assert!(!bench.group().members.contains_key(&ids[0]));
}

#[test]
fn members_that_have_synced_are_not_expired_by_the_wait_for_syncs() {
    let sound = Behaviour::of(Era::Sound);
    let mut bench = Bench::with(sound, |_| {});
    let ids = bench.stable(&["c1"]);
    for _ in 0..30 {
        assert_eq!(bench.heartbeat(&ids[0], GenerationId(1)), ErrorCode::None);
        bench.pass(Span::secs(3));
    }
    assert_eq!((bench.state(), bench.rebalances()), ("Stable", 1));
}
