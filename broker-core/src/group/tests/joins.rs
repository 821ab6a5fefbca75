//! Joining, the rebalance, the assignment.

use super::*;
use protocol::api::group::DescribeGroupsResponse;

#[test]
fn two_members_that_come_together_make_one_rebalance() {
    let mut bench = Bench::new();
    let (one, first) = bench.newcomer("c1");
    let (two, second) = bench.newcomer("c2");
    assert!(bench.waits(first) && bench.waits(second));
    bench.pass(Span::secs(6));
    let led: JoinGroupResponse = bench.answered(first);
    let followed: JoinGroupResponse = bench.answered(second);
    assert_eq!(bench.rebalances(), 1);
    assert_eq!(bench.generations(), [2]);
    assert_eq!(led.generation_id, GenerationId(1));
    assert_eq!((&led.leader, &followed.leader), (&one, &one));
    assert_eq!(led.protocol.as_deref(), Some("range"));
    let listed: Vec<_> = led.members.iter().map(|(id, ..)| id.clone()).collect();
    assert_eq!(listed, [one, two]);
    assert_eq!(led.members[0].2, subscription("t"));
    assert!(followed.members.is_empty());
}

#[test]
fn an_empty_group_waits_its_delay_and_longer_while_members_keep_coming() {
    let mut bench = Bench::new();
    let (_, first) = bench.newcomer("c1");
    bench.pass(Span::millis(2_900));
    let (_, second) = bench.newcomer("c2");
    bench.pass(Span::secs(3));
    assert!(bench.waits(first));
    bench.pass(Span::millis(200));
    assert!(!bench.waits(first) && !bench.waits(second));
    assert_eq!(bench.generations(), [2]);
}

#[test]
fn the_first_delay_ends_on_time_when_nobody_else_comes() {
    let mut bench = Bench::new();
    let (_, first) = bench.newcomer("c1");
    bench.pass(Span::millis(2_999));
    assert!(bench.waits(first));
    bench.pass(Span::millis(1));
    assert!(!bench.waits(first));
}

#[test]
fn the_first_delay_is_never_extended_beyond_the_rebalance_timeout() {
    let mut bench = Bench::new();
    let mut request = join_request(&"".into());
    request.rebalance_timeout = Span::secs(8);
    let first = bench.ask(3, "c0", GroupRequest::Join(request.clone()));
    for round in 0..3 {
        assert!(bench.waits(first), "round {round}");
        bench.pass(Span::millis(2_500));
        bench.ask(3, "more", GroupRequest::Join(request.clone()));
    }
    bench.pass(Span::millis(499));
    assert!(bench.waits(first));
    bench.pass(Span::millis(1));
    assert!(!bench.waits(first));
}

#[test]
fn a_broker_of_0_9_does_not_wait_for_more_members() {
    let mut bench = Bench::with(Behaviour::of(Era::V0_9), |_| {});
    let asked = bench.ask(0, "c", join(&"".into()));
    let answer: JoinGroupResponse = bench.answered(asked);
    assert_eq!(answer.error, ErrorCode::None);
    assert_eq!(bench.generation(), GenerationId(1));
}

#[test]
fn a_first_join_gets_an_id_and_leaves_no_member() {
    let mut bench = Bench::new();
    for _ in 0..2 {
        let asked = bench.ask(4, "c", join(&"".into()));
        let answer: JoinGroupResponse = bench.answered(asked);
        assert_eq!(answer.error, ErrorCode::MemberIdRequired);
        assert!(answer.member_id.as_str().starts_with("c-"));
    }
    assert!(bench.group().members.is_empty());
    assert_eq!(bench.group().pending_members.len(), 2);
    bench.pass(SESSION);
    assert!(bench.group().pending_members.is_empty());
}

#[test]
fn repeated_first_joins_leave_ghosts_before_kip_394() {
    let old = Behaviour::of(Era::V2_8).with(Fix::MemberIdRequired, false);
    let mut bench = Bench::with(old, |_| {});
    bench.ask(4, "c", join(&"".into()));
    bench.ask(4, "c", join(&"".into()));
    assert_eq!(bench.group().members.len(), 2);
}

#[test]
fn older_clients_are_let_in_at_once() {
    let mut bench = Bench::new();
    let asked = bench.ask(3, "c", join(&"".into()));
    assert!(bench.waits(asked));
    assert_eq!(bench.group().members.len(), 1);
}

#[test]
fn a_join_of_the_leader_rebalances_and_one_of_a_follower_does_not() {
    let mut bench = Bench::new();
    let ids = bench.stable(&["c1", "c2"]);
    let again = bench.join(&ids[1]);
    let answer: JoinGroupResponse = bench.answered(again);
    assert_eq!(
        (answer.error, answer.generation_id),
        (ErrorCode::None, GenerationId(1))
    );
    assert_eq!(bench.rebalances(), 1);
    let again = bench.join(&ids[0]);
    assert!(bench.waits(again));
    assert_eq!(
        (bench.rebalances(), bench.state()),
        (2, "PreparingRebalance")
    );
}

#[test]
fn a_follower_with_another_subscription_rebalances() {
    let mut bench = Bench::new();
    let ids = bench.stable(&["c1", "c2"]);
    let mut request = join_request(&ids[1]);
    request.protocols = vec![("range".into(), subscription("other"))];
    let again = bench.ask(7, "c", GroupRequest::Join(request));
    assert!(bench.waits(again));
    assert_eq!(bench.state(), "PreparingRebalance");
}

#[test]
fn a_rebalance_ends_as_soon_as_all_have_joined_again() {
    let mut bench = Bench::new();
    let ids = bench.stable(&["c1", "c2"]);
    let first = bench.join(&ids[0]);
    assert!(bench.waits(first));
    let second = bench.join(&ids[1]);
    assert!(!bench.waits(first) && !bench.waits(second));
    assert_eq!(bench.generation(), GenerationId(2));
}

#[test]
fn whoever_has_not_joined_by_the_rebalance_timeout_is_out() {
    let mut bench = Bench::new();
    let ids = bench.stable(&["c1", "c2"]);
    let first = bench.join(&ids[0]);
    for _ in 0..10 {
        assert!(bench.waits(first));
        let error = bench.heartbeat(&ids[1], GenerationId(1));
        assert_eq!(error, ErrorCode::RebalanceInProgress);
        bench.pass(Span::secs(6));
    }
    assert!(!bench.waits(first));
    assert_eq!(bench.generations(), [2, 1]);
    let gone = GroupNote::MemberRemoved(
        ids[1].clone(),
        protocol::note::RemovalReason::RebalanceTimeout,
    );
    assert!(bench.notes.contains(&gone));
}

#[test]
fn a_new_leader_is_chosen_among_those_who_joined() {
    let mut bench = Bench::new();
    let ids = bench.stable(&["c1", "c2"]);
    let mut request = join_request(&ids[1]);
    request.protocols = vec![("range".into(), subscription("other"))];
    let second = bench.ask(7, "c", GroupRequest::Join(request));
    bench.pass(REBALANCE);
    let answer: JoinGroupResponse = bench.answered(second);
    assert_eq!((&answer.leader, answer.members.len()), (&ids[1], 1));
}

#[test]
fn session_timeouts_outside_the_bounds_are_refused() {
    let mut bench = Bench::new();
    for (timeout, error) in [
        (Span::millis(5_999), ErrorCode::InvalidSessionTimeout),
        (Span::secs(6), ErrorCode::MemberIdRequired),
        (Span::secs(1_800), ErrorCode::MemberIdRequired),
        (Span::secs(1_801), ErrorCode::InvalidSessionTimeout),
    ] {
        let mut request = join_request(&"".into());
        request.session_timeout = timeout;
        let asked = bench.ask(7, "c", GroupRequest::Join(request));
        assert_eq!(bench.answered::<JoinGroupResponse>(asked).error, error);
    }
}

#[test]
fn members_without_a_common_protocol_are_refused() {
    let mut bench = Bench::new();
    bench.stable(&["c1"]);
    let mut request = join_request(&"".into());
    request.protocols = vec![("sticky".into(), Bytes::new())];
    let asked = bench.ask(7, "c", GroupRequest::Join(request));
    let answer: JoinGroupResponse = bench.answered(asked);
    assert_eq!(answer.error, ErrorCode::InconsistentGroupProtocol);
    assert_eq!(bench.rebalances(), 1);
}

#[test]
fn an_id_nobody_gave_out_is_unknown() {
    let mut bench = Bench::new();
    let asked = bench.join(&"made-up".into());
    let answer: JoinGroupResponse = bench.answered(asked);
    assert_eq!(answer.error, ErrorCode::UnknownMemberId);
    bench.stable(&["c1"]);
    let asked = bench.join(&"made-up".into());
    let answer: JoinGroupResponse = bench.answered(asked);
    assert_eq!(answer.error, ErrorCode::UnknownMemberId);
}

#[test]
fn a_full_group_takes_nobody() {
    let mut bench = Bench::with(Behaviour::of(Era::V2_8), |config| config.group_max_size = 1);
    bench.stable(&["c1"]);
    let asked = bench.join(&"".into());
    let answer: JoinGroupResponse = bench.answered(asked);
    assert_eq!(answer.error, ErrorCode::GroupMaxSizeReached);
}

#[test]
fn a_group_must_have_a_name() {
    let mut bench = Bench::new();
    let mut request = join_request(&"".into());
    request.group_id = "".into();
    let asked = bench.ask(7, "c", GroupRequest::Join(request));
    let answer: JoinGroupResponse = bench.answered(asked);
    assert_eq!(answer.error, ErrorCode::InvalidGroupId);
}

#[test]
fn assignments_are_handed_out_once_they_are_committed() {
    let mut bench = Bench::new();
    let (one, _) = bench.newcomer("c1");
    let (two, _) = bench.newcomer("c2");
    bench.pass(Span::secs(6));
    bench.replicated = false;
    let request = bench.sync(&two, Vec::new());
    let second = bench.ask(5, "c", request);
    let request = bench.sync(&one, vec![(one.clone(), assignment(&one))]);
    let first = bench.ask(5, "c", request);
    assert!(bench.waits(first) && bench.waits(second));
    assert_eq!(
        (bench.appends.len(), bench.appends[0].required_acks),
        (1, -1)
    );
    bench.commit_next();
    let answer: SyncGroupResponse = bench.answered(first);
    assert_eq!(
        (answer.error, answer.assignment),
        (ErrorCode::None, assignment(&one))
    );
    // The leader forgot the other one.
    let answer: SyncGroupResponse = bench.answered(second);
    assert_eq!(
        (answer.error, answer.assignment),
        (ErrorCode::None, Bytes::new())
    );
    assert_eq!(bench.state(), "Stable");
}

#[test]
fn a_generation_that_cannot_be_written_down_is_rebalanced() {
    for (error, told) in [
        (ErrorCode::NotLeaderOrFollower, ErrorCode::NotCoordinator),
        (
            ErrorCode::NotEnoughReplicas,
            ErrorCode::CoordinatorNotAvailable,
        ),
        (
            ErrorCode::UnknownTopicOrPartition,
            ErrorCode::CoordinatorNotAvailable,
        ),
        (ErrorCode::RequestTimedOut, ErrorCode::RebalanceInProgress),
        (ErrorCode::MessageTooLarge, ErrorCode::UnknownServerError),
    ] {
        let mut bench = Bench::new();
        let (one, _) = bench.newcomer("c1");
        bench.pass(Span::secs(3));
        bench.replicated = false;
        let request = bench.sync(&one, Vec::new());
        let asked = bench.ask(5, "c", request);
        bench.fail_next(error);
        assert_eq!(bench.answered::<SyncGroupResponse>(asked).error, told);
        assert_eq!(bench.state(), "PreparingRebalance");
    }
}

#[test]
fn an_assignment_of_an_overtaken_generation_is_dropped() {
    let mut bench = Bench::new();
    let (one, _) = bench.newcomer("c1");
    bench.pass(Span::secs(3));
    bench.replicated = false;
    let request = bench.sync(&one, vec![(one.clone(), assignment(&one))]);
    let asked = bench.ask(5, "c", request);
    bench.newcomer("c2");
    let answer: SyncGroupResponse = bench.answered(asked);
    assert_eq!(answer.error, ErrorCode::RebalanceInProgress);
    bench.commit_next();
    assert_eq!(bench.state(), "PreparingRebalance");
    assert_eq!(bench.group().members[&one].assignment, Bytes::new());
}

#[test]
fn a_sync_is_refused_by_member_generation_and_state() {
    let mut bench = Bench::new();
    let ids = bench.stable(&["c1"]);
    let error = |bench: &mut Bench, request| {
        let asked = bench.ask(5, "c", request);
        bench.answered::<SyncGroupResponse>(asked).error
    };
    let stranger = bench.sync(&"x".into(), Vec::new());
    assert_eq!(error(&mut bench, stranger), ErrorCode::UnknownMemberId);
    let GroupRequest::Sync(mut stale) = bench.sync(&ids[0], Vec::new()) else {
        panic!("a sync");
    };
    stale.generation_id = GenerationId(0);
    assert_eq!(
        error(&mut bench, GroupRequest::Sync(stale)),
        ErrorCode::IllegalGeneration
    );
    let fresh = bench.sync(&ids[0], Vec::new());
    assert_eq!(error(&mut bench, fresh.clone()), ErrorCode::None);
    bench.newcomer("c2");
    assert_eq!(error(&mut bench, fresh), ErrorCode::RebalanceInProgress);
}

#[test]
fn a_group_is_described_with_assignments_only_while_stable() {
    let mut bench = Bench::new();
    let ids = bench.stable(&["c1"]);
    let describe = |bench: &mut Bench| {
        let groups = vec![GROUP.into()];
        let request = GroupRequest::Describe(DescribeGroupsRequest { groups });
        let asked = bench.ask(5, "c", request);
        bench
            .answered::<DescribeGroupsResponse>(asked)
            .groups
            .remove(0)
    };
    let group = describe(&mut bench);
    assert_eq!(
        (&*group.state, group.protocol.as_deref()),
        ("Stable", Some("range"))
    );
    assert_eq!(
        group.members,
        [(ids[0].clone(), "c".into(), assignment(&ids[0]))]
    );
    bench.newcomer("c2");
    let group = describe(&mut bench);
    assert_eq!(
        (&*group.state, group.protocol),
        ("PreparingRebalance", None)
    );
    assert_eq!(group.members[0].2, Bytes::new());
}
