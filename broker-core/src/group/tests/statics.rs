//! Static members.

use super::*;
use protocol::note::RemovalReason;

fn static_join(member: &str) -> GroupRequest {
    let mut request = join_request(&member.into());
    request.group_instance_id = Some("i1".into());
    GroupRequest::Join(request)
}

/// A stable group of one static member.
fn stable() -> (Bench, MemberId) {
    let mut bench = Bench::new();
    let asked = bench.ask(7, "c1", static_join(""));
    bench.pass(Span::secs(3));
    let answer: JoinGroupResponse = bench.answered(asked);
    assert_eq!(answer.error, ErrorCode::None);
    let id = answer.member_id;
    assert!(id.as_str().starts_with("i1-"));
    bench.sync_all(std::slice::from_ref(&id));
    (bench, id)
}

#[test]
fn a_static_member_that_comes_back_takes_its_place_without_a_rebalance() {
    let (mut bench, old) = stable();
    bench.replicated = false;
    let asked = bench.ask(7, "c1", static_join(""));
    assert!(bench.waits(asked), "its new id must be written down first");
    bench.commit_next();
    let answer: JoinGroupResponse = bench.answered(asked);
    assert_eq!(answer.error, ErrorCode::None);
    assert_eq!(answer.generation_id, GenerationId(1));
    assert_ne!(answer.member_id, old);
    // It led, but must not assign: it is told its old id as the leader's.
    assert_eq!((&answer.leader, answer.members.len()), (&old, 0));
    assert_eq!((bench.state(), bench.rebalances()), ("Stable", 1));
    let member = &bench.group().members[&answer.member_id];
    assert_eq!(member.assignment, assignment(&old));
    let gone = GroupNote::MemberRemoved(old, RemovalReason::Replaced);
    assert!(bench.notes.contains(&gone));
    bench.pass(SESSION);
    assert!(
        bench.group().members.is_empty(),
        "its session goes on under the new id"
    );
}

#[test]
fn before_kafka_10284_a_successor_fences_the_process_that_came_back() {
    for fixed in [true, false] {
        let behaviour = Behaviour::of(Era::V2_8).with(Fix::PersistReplacement, fixed);
        let mut bench = Bench::with(behaviour, |_| {});
        let asked = bench.ask(7, "c1", static_join(""));
        bench.pass(Span::secs(3));
        let old = bench.answered::<JoinGroupResponse>(asked).member_id;
        bench.sync_all(std::slice::from_ref(&old));
        let asked = bench.ask(7, "c1", static_join(""));
        let answer: JoinGroupResponse = bench.answered(asked);
        assert_eq!((answer.error, &answer.leader), (ErrorCode::None, &old));
        let mut successor = bench.successor();
        let beat = GroupRequest::Heartbeat(HeartbeatRequest {
            group_id: GROUP.into(),
            generation_id: GenerationId(1),
            member_id: answer.member_id,
            group_instance_id: Some("i1".into()),
        });
        let asked = successor.ask(4, "c1", beat);
        let error = successor.answered::<HeartbeatResponse>(asked).error;
        let expected = if fixed {
            ErrorCode::None
        } else {
            ErrorCode::FencedInstanceId
        };
        assert_eq!(error, expected);
    }
}

#[test]
fn a_known_member_with_an_unknown_instance_starts_over() {
    let mut bench = Bench::new();
    let ids = bench.stable(&["c1"]);
    let asked = bench.ask(7, "c1", static_join(ids[0].as_str()));
    let answer: JoinGroupResponse = bench.answered(asked);
    assert_eq!(answer.error, ErrorCode::UnknownMemberId);
}

#[test]
fn a_rebalance_that_nobody_joins_goes_on() {
    let (mut bench, id) = stable();
    let (two, _) = bench.newcomer("c2");
    assert_eq!(bench.leave(&two), ErrorCode::None);
    for _ in 0..40 {
        bench.heartbeat(&id, GenerationId(1));
        bench.pass(Span::secs(3));
    }
    assert_eq!(
        (bench.state(), bench.generation()),
        ("PreparingRebalance", GenerationId(1))
    );
    bench.ask(7, "c1", static_join(id.as_str()));
    assert_eq!(bench.generation(), GenerationId(2));
}

#[test]
fn the_process_that_was_replaced_is_fenced() {
    let (mut bench, old) = stable();
    bench.ask(7, "c1", static_join(""));
    let request = |instance: Option<Arc<str>>| {
        GroupRequest::Heartbeat(HeartbeatRequest {
            group_id: GROUP.into(),
            generation_id: GenerationId(1),
            member_id: old.clone(),
            group_instance_id: instance,
        })
    };
    let asked = bench.ask(4, "c1", request(Some("i1".into())));
    let error = bench.answered::<HeartbeatResponse>(asked).error;
    assert_eq!(error, ErrorCode::FencedInstanceId);
    let asked = bench.ask(7, "c1", static_join(old.as_str()));
    let error = bench.answered::<JoinGroupResponse>(asked).error;
    assert_eq!(error, ErrorCode::FencedInstanceId);
    let mut commit = OffsetCommitRequest {
        group_id: GROUP.into(),
        generation_id: GenerationId(1),
        member_id: old.clone(),
        group_instance_id: Some("i1".into()),
        retention: None,
        offsets: vec![committed("t", 5, "")],
    };
    let asked = bench.ask(8, "c1", GroupRequest::OffsetCommit(commit.clone()));
    assert_eq!(bench.commit_error(asked), ErrorCode::FencedInstanceId);
    commit.group_instance_id = None;
    let asked = bench.ask(8, "c1", GroupRequest::OffsetCommit(commit));
    assert_eq!(bench.commit_error(asked), ErrorCode::UnknownMemberId);
}

#[test]
fn a_replacement_that_cannot_be_written_down_is_taken_back() {
    let (mut bench, old) = stable();
    bench.replicated = false;
    let asked = bench.ask(7, "c1", static_join(""));
    bench.fail_next(ErrorCode::NotEnoughReplicas);
    let answer: JoinGroupResponse = bench.answered(asked);
    assert_eq!(answer.error, ErrorCode::CoordinatorNotAvailable);
    assert_eq!(answer.member_id, "".into());
    assert_eq!(bench.heartbeat(&old, GenerationId(1)), ErrorCode::None);
    bench.pass(SESSION);
    assert!(bench.group().members.is_empty(), "its session counts again");
}

#[test]
fn a_replacement_during_a_rebalance_fences_the_join_that_waits() {
    let mut bench = Bench::new();
    let first = bench.ask(7, "c1", static_join(""));
    let second = bench.ask(7, "c1", static_join(""));
    let answer: JoinGroupResponse = bench.answered(first);
    assert_eq!(answer.error, ErrorCode::FencedInstanceId);
    bench.pass(Span::secs(3));
    let answer: JoinGroupResponse = bench.answered(second);
    assert_eq!(answer.error, ErrorCode::None);
    assert_eq!(bench.generations(), [1]);
}

#[test]
fn a_replacement_while_the_leader_assigns_starts_over() {
    let mut bench = Bench::new();
    bench.ask(7, "c1", static_join(""));
    bench.newcomer("c2");
    bench.pass(Span::secs(6));
    assert_eq!(bench.state(), "CompletingRebalance");
    bench.ask(7, "c1", static_join(""));
    assert_eq!(bench.state(), "PreparingRebalance");
}

#[test]
fn a_static_member_that_misses_a_rebalance_keeps_its_place_until_its_session_ends() {
    let (mut bench, id) = stable();
    let (_, asked) = bench.newcomer("c2");
    for _ in 0..20 {
        bench.heartbeat(&id, GenerationId(1));
        bench.pass(Span::secs(3));
    }
    let answer: JoinGroupResponse = bench.answered(asked);
    assert_eq!((answer.leader, answer.members.len()), (answer.member_id, 2));
    assert_eq!(bench.generations(), [1, 2]);
    assert!(bench.group().members.contains_key(&id));
    // A generation that nobody serves: the session ends it.
    bench.pass(SESSION);
    assert!(!bench.group().members.contains_key(&id));
    assert!(bench.group().static_members.is_empty());
}

#[test]
fn instances_are_refused_until_all_brokers_can_store_them() {
    let mixed = Behaviour::of(Era::V2_8).speaking(InterBrokerProtocol::V2_2Iv1);
    let mut bench = Bench::with(mixed, |_| {});
    let asked = bench.ask(7, "c1", static_join(""));
    let answer: JoinGroupResponse = bench.answered(asked);
    assert_eq!(answer.error, ErrorCode::UnsupportedVersion);
}

#[test]
fn without_fencing_the_replaced_process_is_only_unknown() {
    let loose = Behaviour::of(Era::V2_8).with(Fix::FenceInstanceId, false);
    let mut bench = Bench::with(loose, |_| {});
    let first = bench.ask(7, "c1", static_join(""));
    bench.ask(7, "c1", static_join(""));
    let answer: JoinGroupResponse = bench.answered(first);
    assert_eq!(answer.error, ErrorCode::UnknownMemberId);
}

#[test]
fn an_administrator_removes_a_static_member_by_its_instance() {
    let (mut bench, _) = stable();
    let request = GroupRequest::Leave(LeaveGroupRequest {
        group_id: GROUP.into(),
        members: vec![("".into(), Some("i1".into()))],
    });
    let asked = bench.ask(4, "admin", request);
    assert_eq!(
        bench.answered::<LeaveGroupResponse>(asked).error,
        ErrorCode::None
    );
    assert_eq!(bench.state(), "Empty");
}
