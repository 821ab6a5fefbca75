//! Where a consumer reads: committed offsets, the reset policy, validation after a change of leader.

use crate::bench::Bench;
use crate::script::{
    GROUP, answer_of, bench, bench_of, committed, fetched, find, join, listed, part, poll, polled,
    reading_at, records, subscribe, t,
};
use bytes::Bytes;
use client_core::Consumer;
use protocol::api::data::{EpochAnswer, EpochEndOffset, OffsetForLeaderEpochResponse};
use protocol::api::{ApiKey, RequestBody};
use protocol::behaviour::{Behaviour, Era, Fix};
use protocol::error_code::ErrorCode;
use protocol::ids::{GenerationId, LeaderEpoch, MemberId, Offset};
use protocol::note::{ClientNote, Note};
use protocol::time::Span;
use protocol::verb::{ClientError, Failure, OperationId, Outcome, ResetReason, Verb};
use std::collections::BTreeMap;

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
