//! Commits: inside `poll`, on demand, and what a member finds committed.

use crate::bench::{Bench, endpoint};
use crate::script::{
    GROUP, bench, bench_of, commit_request, committed, fetched, join, poll, polled, records,
    subscribe, t,
};
use bytes::Bytes;
use client_core::Consumer;
use protocol::api::group::{
    CommittedOffset, FindCoordinatorResponse, HeartbeatResponse, OffsetCommitResponse,
    OffsetFetchResponse,
};
use protocol::api::{ApiKey, RequestBody};
use protocol::behaviour::{Behaviour, Era, Fix};
use protocol::error_code::ErrorCode;
use protocol::ids::{BrokerId, GenerationId, Offset};
use protocol::time::Span;
use protocol::verb::{ClientError, Failure, Outcome, ResetReason, Verb};
use std::collections::BTreeMap;
use std::sync::Arc;

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
