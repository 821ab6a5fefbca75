//! Membership of a group: joining, heartbeats, leaving, being thrown out.

use crate::script::{
    GROUP, admit, assignment, bench, bench_of, committed, fetched, find, join, join_request, poll,
    polled, records, refuse_join, subscribe, sync, sync_request, t,
};
use protocol::api::ApiKey;
use protocol::api::group::{HeartbeatResponse, LeaveGroupResponse, OffsetCommitResponse};
use protocol::behaviour::{Behaviour, Era, Fix};
use protocol::error_code::ErrorCode;
use protocol::ids::{MemberId, TopicName};
use protocol::note::{ClientNote, Note};
use protocol::time::Span;
use protocol::verb::{ClientError, Failure, Outcome, Verb};
use std::collections::BTreeMap;
use std::sync::Arc;

#[test]
fn the_first_join_comes_back_with_a_member_id() {
    let mut bench = bench(1, &[GROUP]);
    subscribe(&mut bench);
    poll(&mut bench, 1000);
    find(&mut bench);
    let asked = bench.take(ApiKey::JoinGroup);
    assert_eq!(join_request(&asked).member_id.as_str(), "");
    assert_eq!(asked.broker, 3);
    let other = asked.connection;
    bench.asked.push_front(asked);
    refuse_join(&mut bench, ErrorCode::MemberIdRequired, "m");
    let asked = bench.take(ApiKey::JoinGroup);
    assert_eq!(join_request(&asked).member_id.as_str(), "m");
    assert_eq!(asked.connection, other);
}

#[test]
fn the_leader_divides_by_range_among_two_members() {
    let mut bench = bench(3, &[GROUP]);
    subscribe(&mut bench);
    poll(&mut bench, 1000);
    find(&mut bench);
    refuse_join(&mut bench, ErrorCode::MemberIdRequired, "m");
    admit(&mut bench, 1, &["m", "n"]);
    let asked = bench.take(ApiKey::SyncGroup);
    let expected = vec![
        (MemberId::from("m"), assignment(&[0, 1])),
        (MemberId::from("n"), assignment(&[2])),
    ];
    assert_eq!(sync_request(&asked).assignments, expected);
}

#[test]
fn a_member_that_is_thrown_out_while_it_joins_joins_anew() {
    let mut bench = bench(1, &[GROUP, ("enable.auto.commit", "false")]);
    subscribe(&mut bench);
    poll(&mut bench, 1000);
    join(&mut bench, 1, &[0]);
    committed(&mut bench, &[(0, 0, None)]);
    fetched(&mut bench, ErrorCode::None, records(0, 10, 0));
    bench.pass(Span::millis(3000));
    let asked = bench.take(ApiKey::Heartbeat);
    let error = ErrorCode::RebalanceInProgress;
    bench.answer(&asked, HeartbeatResponse { error });
    poll(&mut bench, 60_000);
    bench.call(Verb::CommitAsync(BTreeMap::new()));
    bench.call(Verb::ListenerReturned);
    let asked = bench.take(ApiKey::OffsetCommit);
    let partitions = vec![(t(0), ErrorCode::UnknownMemberId)];
    bench.answer(&asked, OffsetCommitResponse { partitions });
    admit(&mut bench, 2, &["leader", "m"]);
    bench.pass(Span::millis(200));
    let asked = bench.take(ApiKey::JoinGroup);
    assert_eq!(join_request(&asked).member_id, MemberId::from(""));
}

#[test]
fn a_fenced_member_says_so_before_it_does_anything_about_its_group() {
    let settings = [
        GROUP,
        ("enable.auto.commit", "false"),
        ("group.instance.id", "one"),
    ];
    let mut bench = bench(1, &settings);
    subscribe(&mut bench);
    let first = poll(&mut bench, 10);
    find(&mut bench);
    admit(&mut bench, 1, &["leader", "m"]);
    sync(&mut bench, &[0]);
    committed(&mut bench, &[(0, 0, None)]);
    bench.pass(Span::millis(3000));
    assert!(polled(&mut bench, first).is_empty());
    let asked = bench.take(ApiKey::Heartbeat);
    let error = ErrorCode::FencedInstanceId;
    bench.answer(&asked, HeartbeatResponse { error });
    let next = poll(&mut bench, 1000);
    let fenced = Failure::fail(ClientError::Broker(ErrorCode::FencedInstanceId));
    assert_eq!(bench.told_once(next), Outcome::Polled(Err(fenced)));
    assert!(bench.try_take(ApiKey::JoinGroup).is_none());
}

#[test]
fn a_consumer_without_a_group_id_can_neither_subscribe_nor_commit() {
    let mut bench = bench(1, &[]);
    let refused = Failure::fail(ClientError::Broker(ErrorCode::InvalidGroupId));
    let topics = vec![TopicName::from("t")];
    let pattern = Arc::from("t.*");
    for verb in [Verb::Subscribe(topics), Verb::SubscribePattern(pattern)] {
        let done = bench.call(verb);
        assert_eq!(bench.told_once(done), Outcome::Done(Err(refused.clone())));
    }
    let commit = bench.call(Verb::CommitSync(BTreeMap::new()));
    assert!(matches!(
        bench.told_once(commit),
        Outcome::Committed { result: Err(failure), .. } if failure == refused
    ));
}

#[test]
fn a_group_with_an_empty_name_is_refused_by_its_coordinator_and_poll_says_so() {
    let mut bench = bench(1, &[("group.id", "")]);
    subscribe(&mut bench);
    let polled = poll(&mut bench, 1000);
    find(&mut bench);
    refuse_join(&mut bench, ErrorCode::InvalidGroupId, "");
    let refused = Failure::fail(ClientError::Broker(ErrorCode::InvalidGroupId));
    assert_eq!(bench.told_once(polled), Outcome::Polled(Err(refused)));
}

#[test]
fn heartbeats_go_on_between_polls_and_a_rebalance_waits_for_one() {
    let mut bench = bench(2, &[GROUP, ("enable.auto.commit", "false")]);
    subscribe(&mut bench);
    let first = poll(&mut bench, 10);
    join(&mut bench, 1, &[0, 1]);
    committed(&mut bench, &[(0, 0, None), (1, 0, None)]);
    bench.pass(Span::millis(10));
    assert!(polled(&mut bench, first).is_empty());
    bench.pass(Span::millis(3000));
    let asked = bench.take(ApiKey::Heartbeat);
    let error = ErrorCode::RebalanceInProgress;
    bench.answer(&asked, HeartbeatResponse { error });
    assert!(bench.try_take(ApiKey::JoinGroup).is_none());

    let second = poll(&mut bench, 10);
    assert_eq!(bench.told(second), [Outcome::Revoked(vec![t(0), t(1)])]);
    bench.pass(Span::millis(100));
    assert!(bench.try_take(ApiKey::JoinGroup).is_none());
    let commit = bench.call(Verb::CommitSync(BTreeMap::new()));
    let asked = bench.take(ApiKey::OffsetCommit);
    let partitions = vec![(t(0), ErrorCode::None), (t(1), ErrorCode::None)];
    bench.answer(&asked, OffsetCommitResponse { partitions });
    assert!(matches!(
        bench.told_once(commit),
        Outcome::Committed { result: Ok(()), .. }
    ));
    bench.call(Verb::ListenerReturned);
    let told = bench.told(second);
    assert!(
        matches!(told.last(), Some(Outcome::Polled(Ok(_)))),
        "{told:?}"
    );
    let third = poll(&mut bench, 10);
    admit(&mut bench, 2, &["n", "m"]);
    let asked = bench.take(ApiKey::SyncGroup);
    assert_eq!(sync_request(&asked).assignments, []);
    bench.asked.push_front(asked);
    sync(&mut bench, &[1]);
    assert_eq!(bench.told(third)[0], Outcome::Assigned(vec![t(1)]));
}

#[test]
fn a_member_that_was_thrown_out_loses_its_partitions_and_joins_anew() {
    let mut bench = bench(1, &[GROUP]);
    subscribe(&mut bench);
    poll(&mut bench, 10);
    join(&mut bench, 1, &[0]);
    committed(&mut bench, &[(0, 5, None)]);
    bench.pass(Span::millis(3100));
    let asked = bench.take(ApiKey::Heartbeat);
    let error = ErrorCode::UnknownMemberId;
    bench.answer(&asked, HeartbeatResponse { error });
    let commit = bench.call(Verb::CommitSync(BTreeMap::new()));
    assert!(matches!(
        bench.told_once(commit),
        Outcome::Committed { result: Err(failure), .. } if failure == Failure::fail(ClientError::CommitFailed)
    ));
    let next = poll(&mut bench, 10);
    assert_eq!(bench.told(next)[0], Outcome::Lost(vec![t(0)]));
    let asked = bench.take(ApiKey::JoinGroup);
    assert_eq!(join_request(&asked).member_id.as_str(), "");
}

#[test]
fn an_application_that_does_not_poll_leaves_the_group() {
    let mut bench = bench(1, &[GROUP, ("max.poll.interval.ms", "5000")]);
    subscribe(&mut bench);
    poll(&mut bench, 10);
    join(&mut bench, 1, &[0]);
    committed(&mut bench, &[(0, 5, None)]);
    bench.pass(Span::millis(4000));
    let asked = bench.take(ApiKey::Heartbeat);
    let error = ErrorCode::None;
    bench.answer(&asked, HeartbeatResponse { error });
    bench.pass(Span::millis(1500));
    bench.take(ApiKey::LeaveGroup);
    assert!(
        bench
            .notes
            .contains(&Note::Client(ClientNote::LeftGroup("g".into())))
    );
}

#[test]
fn before_kip_62_heartbeats_go_only_inside_poll() {
    let mut bench = bench_of(Behaviour::of(Era::V0_9), 1, &[GROUP]);
    subscribe(&mut bench);
    poll(&mut bench, 10);
    find(&mut bench);
    admit(&mut bench, 1, &["m"]);
    sync(&mut bench, &[0]);
    bench.pass(Span::secs(10));
    assert!(bench.try_take(ApiKey::Heartbeat).is_none());
    poll(&mut bench, 10);
    bench.take(ApiKey::Heartbeat);
}

#[test]
fn an_answer_to_a_join_is_read_at_the_next_poll() {
    let mut bench = bench(1, &[GROUP]);
    subscribe(&mut bench);
    poll(&mut bench, 10);
    find(&mut bench);
    bench.pass(Span::millis(10));
    refuse_join(&mut bench, ErrorCode::MemberIdRequired, "m");
    assert!(bench.try_take(ApiKey::JoinGroup).is_none());
    poll(&mut bench, 10);
    bench.take(ApiKey::JoinGroup);
}

#[test]
fn a_close_commits_gives_back_and_leaves() {
    let mut bench = bench(1, &[GROUP]);
    subscribe(&mut bench);
    poll(&mut bench, 10);
    join(&mut bench, 1, &[0]);
    committed(&mut bench, &[(0, 5, None)]);
    bench.pass(Span::millis(10));
    let close = bench.call(Verb::Close(Span::secs(30)));
    let asked = bench.take(ApiKey::OffsetCommit);
    let partitions = vec![(t(0), ErrorCode::None)];
    bench.answer(&asked, OffsetCommitResponse { partitions });
    let told = bench.told(close);
    assert!(
        matches!(&told[0], Outcome::Committed { result: Ok(()), .. }),
        "{told:?}"
    );
    assert_eq!(told[1..], [Outcome::Revoked(vec![t(0)])]);
    bench.call(Verb::ListenerReturned);
    let asked = bench.take(ApiKey::LeaveGroup);
    let error = ErrorCode::None;
    bench.answer(&asked, LeaveGroupResponse { error });
    assert_eq!(bench.told_once(close), Outcome::Done(Ok(())));
}

#[test]
fn a_cooperative_member_gives_up_only_what_moves() {
    let strategy = ("partition.assignment.strategy", "cooperative-sticky");
    let mut bench = bench(2, &[GROUP, strategy, ("enable.auto.commit", "false")]);
    subscribe(&mut bench);
    poll(&mut bench, 10);
    join(&mut bench, 1, &[0, 1]);
    committed(&mut bench, &[(0, 5, None), (1, 5, None)]);
    bench.pass(Span::millis(3100));
    let asked = bench.take(ApiKey::Heartbeat);
    let error = ErrorCode::RebalanceInProgress;
    bench.answer(&asked, HeartbeatResponse { error });
    let second = poll(&mut bench, 1000);
    assert!(
        bench.told(second).is_empty(),
        "nothing is given up before the join"
    );
    admit(&mut bench, 2, &["n", "m"]);
    sync(&mut bench, &[0]);
    assert_eq!(bench.told(second), [Outcome::Revoked(vec![t(1)])]);
    bench.call(Verb::ListenerReturned);
    assert_eq!(bench.told(second), [Outcome::Assigned(vec![])]);
    let asked = bench.take(ApiKey::JoinGroup);
    assert_eq!(
        join_request(&asked).member_id.as_str(),
        "m",
        "it joins once more"
    );
}

/// A cooperative member of partition 0 is told, while it joins, that nobody knows it: what its application hears, and how
/// often its next join names the topic, once because it wants it and once more because it has something of it.
fn thrown_out_while_it_joins(behaviour: Behaviour) -> (Vec<Outcome>, usize) {
    let strategy = ("partition.assignment.strategy", "cooperative-sticky");
    let settings = [GROUP, strategy, ("enable.auto.commit", "false")];
    let mut bench = bench_of(behaviour, 1, &settings);
    subscribe(&mut bench);
    poll(&mut bench, 10);
    join(&mut bench, 1, &[0]);
    committed(&mut bench, &[(0, 5, None)]);
    bench.pass(Span::millis(3100));
    let asked = bench.take(ApiKey::Heartbeat);
    let error = ErrorCode::RebalanceInProgress;
    bench.answer(&asked, HeartbeatResponse { error });
    let next = poll(&mut bench, 1000);
    refuse_join(&mut bench, ErrorCode::UnknownMemberId, "");
    let told = bench.told(next);
    let asked = bench.take(ApiKey::JoinGroup);
    let subscription = join_request(&asked).protocols[0].1.clone();
    let names = subscription
        .windows(3)
        .filter(|bytes| bytes == b"\x00\x01t");
    (told, names.count())
}

#[test]
fn a_member_that_is_thrown_out_while_it_joins_gives_up_what_it_kept_since_kafka_12983() {
    let sound = Behaviour::of(Era::V2_8);
    let lost = vec![Outcome::Lost(vec![t(0)])];
    assert_eq!(thrown_out_while_it_joins(sound), (lost, 1));
    let before = sound.with(Fix::PrepareEveryJoin, false);
    assert_eq!(thrown_out_while_it_joins(before), (Vec::new(), 2));
}
