//! The consumer against a scripted cluster: groups, positions, commits and what comes out of `poll`.

#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    unreachable_pub,
    reason = "a test panics on what it does not expect"
)]

mod bench;

use bench::{Asked, Bench, bootstrap, endpoint};
use bytes::{BufMut, Bytes, BytesMut};
use client_core::Consumer;
use protocol::api::data::{
    AbortedTransaction, EpochAnswer, EpochEndOffset, FetchPartition, FetchRequest, FetchResponse,
    ListOffsetsResponse, OffsetForLeaderEpochResponse, PartitionFetchResponse,
    PartitionListOffsetsResponse,
};
use protocol::api::group::{
    CommittedOffset, FindCoordinatorResponse, HeartbeatResponse, JoinGroupRequest,
    JoinGroupResponse, LeaveGroupResponse, OffsetCommitRequest, OffsetCommitResponse,
    OffsetFetchResponse, SyncGroupRequest, SyncGroupResponse,
};
use protocol::api::{ApiKey, RequestBody};
use protocol::behaviour::{Behaviour, Era, Fix};
use protocol::config::ConsumerConfig;
use protocol::error_code::ErrorCode;
use protocol::fetch_session::{FetchMetadata, FetchSessionEpoch, FetchSessionId};
use protocol::ids::{
    BrokerId, ClientId, GenerationId, LeaderEpoch, MemberId, Offset, ProducerEpoch, ProducerId,
    Sequence, TopicName, TopicPartition,
};
use protocol::note::{ClientNote, Note};
use protocol::record::{BatchBuilder, ControlMarker, ControlType};
use protocol::time::Span;
use protocol::verb::{ClientError, Failure, OperationId, Outcome, ResetReason, Verb};
use std::collections::BTreeMap;
use std::sync::Arc;

fn bench_of(behaviour: Behaviour, partitions: i32, settings: &[(&str, &str)]) -> Bench<Consumer> {
    let mut config = ConsumerConfig::defaults(behaviour.era);
    for (key, value) in settings {
        config.set(key, value).unwrap();
    }
    let config = Arc::new(config.finish().unwrap());
    let client = ClientId::from("c");
    let consumer = Consumer::new(config, bootstrap(), behaviour, client, 7);
    Bench::new(consumer, partitions)
}

fn bench(partitions: i32, settings: &[(&str, &str)]) -> Bench<Consumer> {
    bench_of(Behaviour::of(Era::V2_8), partitions, settings)
}

fn t(index: i32) -> TopicPartition {
    TopicPartition::new("t", index)
}

fn subscribe(bench: &mut Bench<Consumer>) {
    let done = bench.call(Verb::Subscribe(vec![TopicName::from("t")]));
    assert_eq!(bench.told_once(done), Outcome::Done(Ok(())));
}

fn poll(bench: &mut Bench<Consumer>, millis: u64) -> OperationId {
    bench.call(Verb::Poll(Span::millis(millis)))
}

/// The coordinator is broker 3.
fn find(bench: &mut Bench<Consumer>) {
    let asked = bench.take(ApiKey::FindCoordinator);
    bench.answer(
        &asked,
        FindCoordinatorResponse {
            error: ErrorCode::None,
            coordinator: Some((BrokerId(3), endpoint(3))),
        },
    );
}

fn join_request(asked: &Asked) -> &JoinGroupRequest {
    match &asked.request.body {
        RequestBody::JoinGroup(join) => join,
        other => panic!("{other:?}"),
    }
}

fn sync_request(asked: &Asked) -> &SyncGroupRequest {
    match &asked.request.body {
        RequestBody::SyncGroup(sync) => sync,
        other => panic!("{other:?}"),
    }
}

fn commit_request(asked: &Asked) -> &OffsetCommitRequest {
    match &asked.request.body {
        RequestBody::OffsetCommit(commit) => commit,
        other => panic!("{other:?}"),
    }
}

fn refuse_join(bench: &mut Bench<Consumer>, error: ErrorCode, member: &str) {
    let asked = bench.take(ApiKey::JoinGroup);
    bench.answer(
        &asked,
        JoinGroupResponse {
            error,
            generation_id: GenerationId(-1),
            protocol: None,
            leader: MemberId::from(""),
            member_id: MemberId::from(member),
            members: Vec::new(),
        },
    );
}

/// Admits member `m` of `members`; the first one leads.
fn admit(bench: &mut Bench<Consumer>, generation: i32, members: &[&str]) {
    let asked = bench.take(ApiKey::JoinGroup);
    let bytes = join_request(&asked).protocols[0].1.clone();
    let protocol = Some(join_request(&asked).protocols[0].0.clone());
    let is_leader = members[0] == "m";
    let all = members
        .iter()
        .map(|id| (MemberId::from(*id), None, bytes.clone()));
    bench.answer(
        &asked,
        JoinGroupResponse {
            error: ErrorCode::None,
            generation_id: GenerationId(generation),
            protocol,
            leader: MemberId::from(members[0]),
            member_id: MemberId::from("m"),
            members: if is_leader { all.collect() } else { Vec::new() },
        },
    );
}

/// The bytes of an assignment of topic `t`.
fn assignment(indexes: &[i32]) -> Bytes {
    let mut out = BytesMut::new();
    out.put_i16(0);
    out.put_i32(1);
    out.put_i16(1);
    out.put_slice(b"t");
    out.put_i32(i32::try_from(indexes.len()).unwrap());
    for index in indexes {
        out.put_i32(*index);
    }
    out.put_i32(-1);
    out.freeze()
}

fn sync(bench: &mut Bench<Consumer>, indexes: &[i32]) {
    let asked = bench.take(ApiKey::SyncGroup);
    bench.answer(
        &asked,
        SyncGroupResponse {
            error: ErrorCode::None,
            assignment: assignment(indexes),
        },
    );
}

/// Finds, joins alone as `m` and gets these partitions.
fn join(bench: &mut Bench<Consumer>, generation: i32, indexes: &[i32]) {
    find(bench);
    refuse_join(bench, ErrorCode::MemberIdRequired, "m");
    admit(bench, generation, &["m"]);
    sync(bench, indexes);
}

/// Tells the committed offsets of what is asked for; none for partitions not listed.
fn committed(bench: &mut Bench<Consumer>, offsets: &[(i32, i64, Option<i32>)]) {
    let asked = bench.take(ApiKey::OffsetFetch);
    let RequestBody::OffsetFetch(request) = &asked.request.body else {
        panic!("an offset fetch");
    };
    let partitions = request
        .partitions
        .iter()
        .flatten()
        .map(|partition| {
            let known = offsets
                .iter()
                .find(|(index, ..)| *index == partition.partition.0)
                .map(|(_, offset, epoch)| CommittedOffset {
                    partition: partition.clone(),
                    offset: Offset(*offset),
                    leader_epoch: epoch.map(LeaderEpoch),
                    metadata: Arc::from(""),
                });
            (partition.clone(), Ok(known))
        })
        .collect();
    bench.answer(
        &asked,
        OffsetFetchResponse {
            error: ErrorCode::None,
            partitions,
        },
    );
}

fn listed(bench: &mut Bench<Consumer>, offset: i64) {
    let asked = bench.take(ApiKey::ListOffsets);
    let RequestBody::ListOffsets(request) = &asked.request.body else {
        panic!("a list");
    };
    let partitions = request
        .partitions
        .iter()
        .map(|(partition, ..)| PartitionListOffsetsResponse {
            partition: partition.clone(),
            error: ErrorCode::None,
            offset: Some(Offset(offset)),
            timestamp: None,
            leader_epoch: None,
        })
        .collect();
    bench.answer(&asked, ListOffsetsResponse { partitions });
}

fn fetch_request(asked: &Asked) -> &[FetchPartition] {
    match &asked.request.body {
        RequestBody::Fetch(fetch) => &fetch.partitions,
        other => panic!("{other:?}"),
    }
}

fn records(base: i64, count: i64, epoch: i32) -> Bytes {
    let mut builder = BatchBuilder::new()
        .base_offset(Offset(base))
        .leader_epoch(LeaderEpoch(epoch));
    for index in 0..count {
        let value = format!("v{}", base + index);
        builder.append(5, None, Some(value.as_bytes()), &[]);
    }
    builder.build().into_bytes()
}

fn part(partition: TopicPartition, error: ErrorCode, records: Bytes) -> PartitionFetchResponse {
    PartitionFetchResponse {
        partition,
        error,
        high_watermark: Some(Offset(1000)),
        last_stable_offset: None,
        log_start_offset: Some(Offset(0)),
        diverging_epoch: None,
        aborted_transactions: Vec::new(),
        records,
    }
}

/// An answer of a broker that has no room for fetch sessions.
fn answer_of(error: ErrorCode, partitions: Vec<PartitionFetchResponse>) -> FetchResponse {
    FetchResponse {
        error,
        session: FetchSessionId::NONE,
        partitions,
    }
}

/// Answers the oldest fetch with one part for its first partition.
fn fetched(bench: &mut Bench<Consumer>, error: ErrorCode, records: Bytes) -> FetchPartition {
    let asked = bench.take(ApiKey::Fetch);
    let wanted = fetch_request(&asked)[0].clone();
    let partitions = vec![part(wanted.partition.clone(), error, records)];
    let error = ErrorCode::None;
    bench.answer(&asked, answer_of(error, partitions));
    wanted
}

/// The offsets of the records one poll was told.
fn polled(bench: &mut Bench<Consumer>, poll: OperationId) -> Vec<i64> {
    let told = bench.told(poll);
    match told.last() {
        Some(Outcome::Polled(Ok(parts))) => parts
            .iter()
            .flat_map(|(_, records)| records.iter().map(|record| record.offset.0))
            .collect(),
        other => panic!("{other:?}"),
    }
}

/// Assigned by hand to partition 0, without a group, at the offset.
fn reading_at(settings: &[(&str, &str)], offset: i64) -> Bench<Consumer> {
    let mut bench = bench(1, settings);
    bench.call(Verb::Assign(vec![t(0)]));
    bench.call(Verb::Seek(t(0), Offset(offset)));
    bench
}

const GROUP: (&str, &str) = ("group.id", "g");

#[test]
fn a_group_member_goes_on_where_the_group_was() {
    let mut bench = bench(1, &[GROUP]);
    subscribe(&mut bench);
    let first = poll(&mut bench, 1000);
    join(&mut bench, 1, &[0]);
    committed(&mut bench, &[(0, 40, None)]);
    let wanted = fetched(&mut bench, ErrorCode::None, records(38, 5, 0));
    assert_eq!(wanted.fetch_offset, Offset(40));
    assert_eq!(wanted.current_leader_epoch, Some(LeaderEpoch(0)));
    let told = bench.told(first);
    assert_eq!(told[0], Outcome::Assigned(vec![t(0)]));
    assert_eq!(
        told[1],
        Outcome::PositionReset {
            partition: t(0),
            offset: Offset(40),
            reason: ResetReason::Committed
        }
    );
    match &told[2] {
        Outcome::Polled(Ok(parts)) => {
            let offsets: Vec<i64> = parts[0].1.iter().map(|record| record.offset.0).collect();
            assert_eq!(
                offsets,
                [40, 41, 42],
                "the batch begins before the position"
            );
        }
        other => panic!("{other:?}"),
    }
    assert!(bench.notes.contains(&Note::Client(ClientNote::Joined {
        group: "g".into(),
        generation: GenerationId(1),
        member: MemberId::from("m")
    })));
    assert_eq!(bench.apis(), [ApiKey::Fetch], "the next fetch is under way");
}

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

/// Tells that the offset of partition 0 waits for the end of a transaction, and 5 for partition 1.
fn unstable(bench: &mut Bench<Consumer>) {
    let asked = bench.take(ApiKey::OffsetFetch);
    let RequestBody::OffsetFetch(request) = &asked.request.body else {
        panic!("an offset fetch");
    };
    assert!(
        request.require_stable,
        "a reader of committed records asks so"
    );
    let known = CommittedOffset {
        partition: t(1),
        offset: Offset(5),
        leader_epoch: None,
        metadata: Arc::from(""),
    };
    let partitions = vec![
        (t(0), Err(ErrorCode::UnstableOffsetCommit)),
        (t(1), Ok(Some(known))),
    ];
    let error = ErrorCode::None;
    bench.answer(&asked, OffsetFetchResponse { error, partitions });
}

#[test]
fn a_reader_of_committed_records_waits_until_no_transaction_is_open_over_its_offsets() {
    let settings = [
        GROUP,
        ("isolation.level", "read_committed"),
        ("auto.offset.reset", "earliest"),
    ];
    let mut bench = bench(2, &settings);
    subscribe(&mut bench);
    let first = poll(&mut bench, 1000);
    join(&mut bench, 1, &[0, 1]);
    unstable(&mut bench);
    assert_eq!(bench.told(first), [Outcome::Assigned(vec![t(0), t(1)])]);
    bench.pass(Span::millis(99));
    assert!(bench.try_take(ApiKey::OffsetFetch).is_none(), "it rests");
    assert!(bench.try_take(ApiKey::ListOffsets).is_none(), "no reset");
    bench.pass(Span::millis(1));
    unstable(&mut bench);
    bench.pass(Span::millis(100));
    committed(&mut bench, &[(0, 7, None), (1, 5, None)]);
    let at = |partition, offset| Outcome::PositionReset {
        partition,
        offset: Offset(offset),
        reason: ResetReason::Committed,
    };
    assert_eq!(bench.told(first), [at(t(0), 7), at(t(1), 5)]);
}

#[test]
fn a_reader_of_everything_does_not_wait_for_transactions() {
    let mut bench = bench(1, &[GROUP]);
    subscribe(&mut bench);
    poll(&mut bench, 1000);
    join(&mut bench, 1, &[0]);
    let asked = bench.take(ApiKey::OffsetFetch);
    let RequestBody::OffsetFetch(request) = &asked.request.body else {
        panic!("an offset fetch");
    };
    assert!(!request.require_stable);
}

#[test]
fn without_a_committed_offset_the_policy_decides() {
    for (policy, listed_at) in [("earliest", 3), ("latest", 9)] {
        let mut bench = bench(1, &[GROUP, ("auto.offset.reset", policy)]);
        subscribe(&mut bench);
        let first = poll(&mut bench, 1000);
        join(&mut bench, 1, &[0]);
        committed(&mut bench, &[]);
        listed(&mut bench, listed_at);
        assert!(bench.told(first).contains(&Outcome::PositionReset {
            partition: t(0),
            offset: Offset(listed_at),
            reason: ResetReason::NoCommit
        }));
    }
    let mut bench = bench(1, &[GROUP, ("auto.offset.reset", "none")]);
    subscribe(&mut bench);
    let first = poll(&mut bench, 1000);
    join(&mut bench, 1, &[0]);
    committed(&mut bench, &[]);
    let error = ClientError::NoOffset(t(0));
    assert!(
        bench
            .told(first)
            .contains(&Outcome::Polled(Err(Failure::fail(error))))
    );
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
fn auto_commit_goes_inside_poll_only_and_commits_what_was_handed_over() {
    let mut bench = bench(1, &[GROUP, ("auto.commit.interval.ms", "1000")]);
    subscribe(&mut bench);
    poll(&mut bench, 1000);
    join(&mut bench, 1, &[0]);
    committed(&mut bench, &[(0, 0, None)]);
    fetched(&mut bench, ErrorCode::None, records(0, 10, 0));
    fetched(&mut bench, ErrorCode::None, records(10, 10, 0));
    bench.pass(Span::millis(2500));
    assert!(bench.try_take(ApiKey::OffsetCommit).is_none());
    let next = poll(&mut bench, 1000);
    let asked = bench.take(ApiKey::OffsetCommit);
    let offsets: Vec<i64> = commit_request(&asked)
        .offsets
        .iter()
        .map(|offset| offset.offset.0)
        .collect();
    assert_eq!(offsets, [10], "the second batch was only fetched");
    assert_eq!(polled(&mut bench, next).first(), Some(&10));
    assert_eq!(commit_request(&asked).generation_id, GenerationId(1));
}

#[test]
fn without_the_fix_of_the_quick_poll_records_are_committed_unseen() {
    for (fix, expected) in [(true, 10), (false, 20)] {
        let behaviour = Behaviour::of(Era::V2_8).with(Fix::QuickPoll, fix);
        let mut bench = bench_of(behaviour, 1, &[GROUP, ("auto.commit.interval.ms", "1000")]);
        subscribe(&mut bench);
        poll(&mut bench, 1000);
        join(&mut bench, 1, &[0]);
        committed(&mut bench, &[(0, 0, None)]);
        fetched(&mut bench, ErrorCode::None, records(0, 10, 0));
        fetched(&mut bench, ErrorCode::None, records(10, 10, 0));
        bench.pass(Span::millis(2500));
        let next = poll(&mut bench, 1000);
        let asked = bench.take(ApiKey::OffsetCommit);
        assert_eq!(commit_request(&asked).offsets[0].offset, Offset(expected));
        assert_eq!(polled(&mut bench, next).first(), Some(&10));
    }
}

#[test]
fn poll_returns_nothing_between_the_commit_and_the_revocation_since_kafka_14196() {
    for fix in [true, false] {
        let behaviour = Behaviour::of(Era::V2_8).with(Fix::PauseWhileRevoking, fix);
        let settings = [GROUP, ("auto.commit.interval.ms", "60000")];
        let mut bench = bench_of(behaviour, 1, &settings);
        subscribe(&mut bench);
        poll(&mut bench, 1000);
        join(&mut bench, 1, &[0]);
        committed(&mut bench, &[(0, 0, None)]);
        fetched(&mut bench, ErrorCode::None, records(0, 10, 0));
        fetched(&mut bench, ErrorCode::None, records(10, 10, 0));
        bench.pass(Span::millis(3000));
        let asked = bench.take(ApiKey::Heartbeat);
        let error = ErrorCode::RebalanceInProgress;
        bench.answer(&asked, HeartbeatResponse { error });
        let next = poll(&mut bench, 1000);
        let asked = bench.take(ApiKey::OffsetCommit);
        assert_eq!(commit_request(&asked).offsets[0].offset, Offset(10));
        let told = bench.told(next);
        if fix {
            assert_eq!(told, []);
        } else {
            assert!(
                matches!(told.as_slice(), [Outcome::Polled(Ok(_))]),
                "{told:?}"
            );
        }
    }
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
fn a_commit_finds_the_new_coordinator() {
    let mut bench = bench(1, &[GROUP, ("enable.auto.commit", "false")]);
    subscribe(&mut bench);
    poll(&mut bench, 10);
    join(&mut bench, 1, &[0]);
    committed(&mut bench, &[(0, 5, None)]);
    bench.pass(Span::millis(10));
    fetched(&mut bench, ErrorCode::None, Bytes::new());
    let commit = bench.call(Verb::CommitSync(BTreeMap::new()));
    let asked = bench.take(ApiKey::OffsetCommit);
    let partitions = vec![(t(0), ErrorCode::NotCoordinator)];
    bench.answer(&asked, OffsetCommitResponse { partitions });
    bench.pass(Span::millis(150));
    let asked = bench.take(ApiKey::FindCoordinator);
    bench.answer(
        &asked,
        FindCoordinatorResponse {
            error: ErrorCode::None,
            coordinator: Some((BrokerId(2), endpoint(2))),
        },
    );
    let asked = bench.take(ApiKey::OffsetCommit);
    assert_eq!(asked.broker, 2);
    let partitions = vec![(t(0), ErrorCode::None)];
    bench.answer(&asked, OffsetCommitResponse { partitions });
    assert!(matches!(
        bench.told_once(commit),
        Outcome::Committed { result: Ok(()), .. }
    ));
}

#[test]
fn a_commit_without_answer_is_info_when_its_time_is_over() {
    let settings = [
        GROUP,
        ("enable.auto.commit", "false"),
        ("default.api.timeout.ms", "2000"),
    ];
    let mut bench = bench(1, &settings);
    subscribe(&mut bench);
    poll(&mut bench, 10);
    join(&mut bench, 1, &[0]);
    committed(&mut bench, &[(0, 5, None)]);
    let sync = bench.call(Verb::CommitSync(BTreeMap::new()));
    bench.pass(Span::millis(2000));
    match bench.told_once(sync) {
        Outcome::Committed { result, .. } => {
            let error = ClientError::Timeout("default.api.timeout.ms");
            assert_eq!(result, Err(Failure::info(error)));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn records_are_fetched_ahead_and_handed_over_in_portions() {
    let mut bench = reading_at(&[("max.poll.records", "3")], 0);
    let first = poll(&mut bench, 1000);
    fetched(&mut bench, ErrorCode::None, records(0, 5, 0));
    assert_eq!(polled(&mut bench, first), [0, 1, 2]);
    assert!(bench.apis().is_empty(), "two records are still kept");
    let second = poll(&mut bench, 1000);
    assert_eq!(polled(&mut bench, second), [3, 4]);
    let wanted = fetched(&mut bench, ErrorCode::None, records(5, 1, 0));
    assert_eq!(wanted.fetch_offset, Offset(5));
    let third = poll(&mut bench, 0);
    assert_eq!(polled(&mut bench, third), [5]);
}

#[test]
fn a_paused_partition_keeps_what_was_fetched() {
    let mut bench = reading_at(&[], 0);
    poll(&mut bench, 0);
    fetched(&mut bench, ErrorCode::None, records(0, 2, 0));
    bench.call(Verb::Pause(vec![t(0)]));
    let paused = poll(&mut bench, 10);
    bench.pass(Span::millis(10));
    assert!(polled(&mut bench, paused).is_empty());
    bench.call(Verb::Resume(vec![t(0)]));
    let resumed = poll(&mut bench, 10);
    assert_eq!(polled(&mut bench, resumed), [0, 1]);
}

#[test]
fn without_the_fix_a_paused_partition_goes_back_to_its_committed_offset() {
    for (fix, expected) in [(true, 50), (false, 3)] {
        let behaviour = Behaviour::of(Era::V2_8).with(Fix::KeepPausedPosition, fix);
        let mut bench = bench_of(behaviour, 2, &[GROUP, ("enable.auto.commit", "false")]);
        bench.call(Verb::Assign(vec![t(0)]));
        bench.call(Verb::Pause(vec![t(0)]));
        bench.call(Verb::Seek(t(0), Offset(50)));
        bench.call(Verb::Assign(vec![t(0), t(1)]));
        poll(&mut bench, 0);
        find(&mut bench);
        poll(&mut bench, 0);
        committed(&mut bench, &[(0, 3, None), (1, 4, None)]);
        bench.call(Verb::Resume(vec![t(0)]));
        while let Some(asked) = bench.try_take(ApiKey::Fetch) {
            let part = &fetch_request(&asked)[0];
            assert_ne!(part.partition, t(0));
        }
        poll(&mut bench, 0);
        let asked = bench.take(ApiKey::Fetch);
        assert_eq!(fetch_request(&asked)[0].fetch_offset, Offset(expected));
    }
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
fn an_offset_out_of_range_is_reset_by_the_policy() {
    let mut bench = reading_at(&[("auto.offset.reset", "earliest")], 500);
    let first = poll(&mut bench, 1000);
    fetched(&mut bench, ErrorCode::OffsetOutOfRange, Bytes::new());
    listed(&mut bench, 100);
    assert!(bench.told(first).contains(&Outcome::PositionReset {
        partition: t(0),
        offset: Offset(100),
        reason: ResetReason::OutOfRange
    }));
    let wanted = fetched(&mut bench, ErrorCode::None, records(100, 1, 0));
    assert_eq!(wanted.fetch_offset, Offset(100));
    assert_eq!(polled(&mut bench, first), [100]);
}

/// A fetch of partition 0 is answered with these records and a session.
fn in_session(
    bench: &mut Bench<Consumer>,
    error: ErrorCode,
    partitions: Vec<Bytes>,
) -> FetchRequest {
    let asked = bench.take(ApiKey::Fetch);
    let RequestBody::Fetch(request) = asked.request.body.clone() else {
        panic!("a fetch");
    };
    let parts = partitions.into_iter();
    let answer = FetchResponse {
        error,
        session: FetchSessionId(7),
        partitions: parts
            .map(|records| part(t(0), ErrorCode::None, records))
            .collect(),
    };
    bench.answer(&asked, answer);
    request
}

#[test]
fn in_a_fetch_session_a_consumer_names_what_has_changed() {
    let mut bench = reading_at(&[], 0);
    let first = poll(&mut bench, 1000);
    let full = in_session(&mut bench, ErrorCode::None, vec![Bytes::new()]);
    assert_eq!(full.metadata, FetchMetadata::INITIAL);
    // Nothing has changed: nothing is named, and the answer names nothing.
    let idle = in_session(&mut bench, ErrorCode::None, Vec::new());
    let session = FetchMetadata::first_incremental(FetchSessionId(7));
    assert_eq!((idle.metadata, idle.partitions.len()), (session, 0));
    // An answer about a partition that its request did not name is of the offset named last.
    let implied = in_session(&mut bench, ErrorCode::None, vec![records(0, 2, 0)]);
    assert!(implied.partitions.is_empty());
    assert_eq!(polled(&mut bench, first), [0, 1]);
    let next = in_session(&mut bench, ErrorCode::None, Vec::new());
    assert_eq!(next.partitions[0].fetch_offset, Offset(2));
    assert_eq!(next.metadata.epoch, FetchSessionEpoch(3));
}

#[test]
fn a_consumer_whose_session_is_gone_asks_for_another() {
    let mut bench = reading_at(&[], 0);
    poll(&mut bench, 1000);
    in_session(&mut bench, ErrorCode::None, vec![Bytes::new()]);
    in_session(&mut bench, ErrorCode::FetchSessionIdNotFound, Vec::new());
    let again = in_session(&mut bench, ErrorCode::None, vec![Bytes::new()]);
    assert_eq!(again.metadata, FetchMetadata::INITIAL);
    assert_eq!(again.partitions[0].fetch_offset, Offset(0));
}

#[test]
fn what_was_fetched_before_a_seek_is_not_handed_over() {
    let mut bench = reading_at(&[], 0);
    poll(&mut bench, 0);
    let asked = bench.take(ApiKey::Fetch);
    bench.call(Verb::Seek(t(0), Offset(50)));
    let partitions = vec![part(t(0), ErrorCode::None, records(0, 2, 0))];
    let error = ErrorCode::None;
    bench.answer(&asked, answer_of(error, partitions));
    let next = poll(&mut bench, 1000);
    assert!(bench.told(next).is_empty());
    let wanted = fetched(&mut bench, ErrorCode::None, records(50, 1, 0));
    assert_eq!(wanted.fetch_offset, Offset(50));
    assert_eq!(polled(&mut bench, next), [50]);
}

/// Has read up to offset 5 in epoch 0; then broker 2 leads in epoch 1.
fn after_a_change_of_leader(behaviour: Behaviour, policy: &str) -> (Bench<Consumer>, OperationId) {
    let mut bench = bench_of(behaviour, 1, &[("auto.offset.reset", policy)]);
    bench.call(Verb::Assign(vec![t(0)]));
    bench.call(Verb::Seek(t(0), Offset(0)));
    let first = poll(&mut bench, 0);
    fetched(&mut bench, ErrorCode::None, records(0, 5, 0));
    bench.told(first);
    poll(&mut bench, 0);
    bench.leaders.insert(t(0), (2, 1));
    fetched(&mut bench, ErrorCode::NotLeaderOrFollower, Bytes::new());
    bench.pass(Span::millis(150));
    let next = poll(&mut bench, 1000);
    // The old leader may have been asked once more before the new one was known.
    while let Some(asked) = bench.try_take(ApiKey::Fetch) {
        if asked.broker == 2 {
            bench.asked.push_front(asked);
            break;
        }
        let partitions = vec![part(t(0), ErrorCode::NotLeaderOrFollower, Bytes::new())];
        let error = ErrorCode::None;
        bench.answer(&asked, answer_of(error, partitions));
        bench.pass(Span::millis(110));
    }
    (bench, next)
}

fn epoch_ends(bench: &mut Bench<Consumer>, end: i64) {
    let asked = bench.take(ApiKey::OffsetForLeaderEpoch);
    let RequestBody::OffsetForLeaderEpoch(question) = &asked.request.body else {
        panic!("a question");
    };
    assert_eq!(asked.broker, 2);
    assert_eq!(question.partitions[0].leader_epoch, LeaderEpoch(0));
    assert_eq!(
        question.partitions[0].current_leader_epoch,
        Some(LeaderEpoch(1))
    );
    bench.answer(
        &asked,
        OffsetForLeaderEpochResponse {
            partitions: vec![EpochAnswer {
                partition: t(0),
                error: ErrorCode::None,
                end: Some(EpochEndOffset {
                    epoch: LeaderEpoch(0),
                    end_offset: Offset(end),
                }),
            }],
        },
    );
}

#[test]
fn a_position_is_validated_after_a_change_of_leader() {
    let (mut bench, _) = after_a_change_of_leader(Behaviour::of(Era::V2_8), "latest");
    epoch_ends(&mut bench, 5);
    let wanted = fetched(&mut bench, ErrorCode::None, records(5, 1, 1));
    assert_eq!(wanted.fetch_offset, Offset(5));
    assert_eq!(wanted.current_leader_epoch, Some(LeaderEpoch(1)));
}

#[test]
fn a_truncated_log_moves_the_position_or_is_reported() {
    let (mut bench, next) = after_a_change_of_leader(Behaviour::of(Era::V2_8), "latest");
    epoch_ends(&mut bench, 3);
    assert!(bench.told(next).contains(&Outcome::PositionReset {
        partition: t(0),
        offset: Offset(3),
        reason: ResetReason::Truncated
    }));
    let (mut bench, next) = after_a_change_of_leader(Behaviour::of(Era::V2_8), "none");
    epoch_ends(&mut bench, 3);
    let error = ClientError::LogTruncation(t(0), Some(Offset(3)));
    assert!(
        bench
            .told(next)
            .contains(&Outcome::Polled(Err(Failure::fail(error))))
    );
}

#[test]
fn without_validation_the_consumer_reads_on_at_its_old_offset() {
    let behaviour = Behaviour::of(Era::V2_8).with(Fix::ConsumerEpochValidation, false);
    let (mut bench, _) = after_a_change_of_leader(behaviour, "latest");
    assert!(bench.try_take(ApiKey::OffsetForLeaderEpoch).is_none());
    let wanted = fetched(&mut bench, ErrorCode::None, records(5, 1, 1));
    assert_eq!(wanted.fetch_offset, Offset(5));
}

#[test]
fn aborted_transactions_and_markers_are_not_handed_over() {
    let producer = |id: i64, base: i64| {
        let mut builder = BatchBuilder::new()
            .base_offset(Offset(base))
            .leader_epoch(LeaderEpoch(0))
            .producer(ProducerId(id), ProducerEpoch(0), Sequence(0))
            .transactional();
        builder.append(5, None, Some(b"x"), &[]);
        builder.build().into_bytes()
    };
    let marker = |id: i64, base: i64, kind| {
        let marker = ControlMarker {
            kind,
            coordinator_epoch: 0,
        };
        marker
            .batch(ProducerId(id), ProducerEpoch(0), 5)
            .rebase(Offset(base), LeaderEpoch(0))
            .into_bytes()
    };
    let mut log = BytesMut::new();
    for bytes in [
        producer(1, 0),
        producer(2, 1),
        marker(1, 2, ControlType::Abort),
        marker(2, 3, ControlType::Commit),
        producer(1, 4),
        marker(1, 5, ControlType::Commit),
    ] {
        log.extend_from_slice(&bytes);
    }
    for (level, expected) in [
        ("read_committed", vec![1, 4]),
        ("read_uncommitted", vec![0, 1, 4]),
    ] {
        let mut bench = reading_at(&[("isolation.level", level)], 0);
        let first = poll(&mut bench, 1000);
        let asked = bench.take(ApiKey::Fetch);
        let mut answer = part(t(0), ErrorCode::None, log.clone().freeze());
        if level == "read_committed" {
            answer.aborted_transactions.push(AbortedTransaction {
                producer_id: ProducerId(1),
                first_offset: Offset(0),
            });
        }
        bench.answer(&asked, answer_of(ErrorCode::None, vec![answer]));
        assert_eq!(polled(&mut bench, first), expected, "{level}");
        let asked = bench.take(ApiKey::Fetch);
        assert_eq!(fetch_request(&asked)[0].fetch_offset, Offset(6));
    }
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

#[test]
fn end_offsets_and_committed_offsets_are_looked_up() {
    let mut bench = bench(1, &[GROUP, ("enable.auto.commit", "false")]);
    let ends = bench.call(Verb::EndOffsets(vec![t(0)]));
    listed(&mut bench, 77);
    let expected = BTreeMap::from([(t(0), Some(Offset(77)))]);
    assert_eq!(bench.told_once(ends), Outcome::Offsets(Ok(expected)));
    let looked = bench.call(Verb::Committed(vec![t(0)]));
    find(&mut bench);
    committed(&mut bench, &[(0, 5, None)]);
    let expected = BTreeMap::from([(t(0), Some(Offset(5)))]);
    assert_eq!(bench.told_once(looked), Outcome::Offsets(Ok(expected)));
}

#[test]
fn a_leader_that_is_gone_does_not_keep_the_consumer_busy() {
    let mut bench = reading_at(&[], 0);
    poll(&mut bench, 60_000);
    let asked = bench.take(ApiKey::Fetch);
    bench.refusing.insert(1);
    bench.reset(&asked);
    let before = bench.steps;
    bench.pass(Span::secs(50));
    let steps = bench.steps - before;
    assert!(steps < 1500, "{steps} steps in 50 s");
}

#[test]
fn an_idle_poll_sets_no_needless_timers() {
    let mut bench = bench(1, &[GROUP]);
    subscribe(&mut bench);
    poll(&mut bench, 60_000);
    join(&mut bench, 1, &[0]);
    committed(&mut bench, &[(0, 5, None)]);
    bench.take(ApiKey::Fetch);
    let before = bench.steps;
    bench.pass(Span::millis(2900));
    assert!(bench.steps - before <= 2, "{}", bench.steps - before);
}
