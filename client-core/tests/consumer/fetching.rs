//! What comes out of `poll`: records fetched ahead, sessions, pauses, and no needless work.

use crate::bench::Bench;
use crate::script::{
    GROUP, answer_of, bench, bench_of, committed, fetch_request, fetched, find, join, part, poll,
    polled, reading_at, records, subscribe, t,
};
use bytes::{Bytes, BytesMut};
use client_core::Consumer;
use protocol::api::data::{AbortedTransaction, FetchRequest, FetchResponse};
use protocol::api::{ApiKey, RequestBody};
use protocol::behaviour::{Behaviour, Era, Fix};
use protocol::error_code::ErrorCode;
use protocol::fetch_session::{FetchMetadata, FetchSessionEpoch, FetchSessionId};
use protocol::ids::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence};
use protocol::record::{BatchBuilder, ControlMarker, ControlType};
use protocol::time::Span;
use protocol::verb::Verb;

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
