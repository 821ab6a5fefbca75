//! What readers see, and for how long they wait.

use super::*;
use protocol::api::data::{ListOffsetsRequest, OffsetSpec, PartitionListOffsetsResponse};

const LONG: Span = Span::secs(60);

fn two() -> Cluster {
    let mut cluster = Cluster::new(Behaviour::of(Era::V2_8), &[1, 2]);
    cluster.elect(1, 0, &[1, 2]);
    cluster
}

#[test]
fn a_consumer_is_woken_when_the_record_is_committed_not_when_it_is_appended() {
    let mut cluster = two();
    cluster.hold(2);
    let request = Cluster::consume(0, LONG);
    let asked = cluster.ask(1, 12, request);
    cluster.produce(1, Acks::Leader, "a");
    assert!(cluster.fetched(asked).is_none());
    cluster.release(2);
    let answer = cluster.fetched(asked).expect("committed").clone();
    assert_eq!(values(&answer.records), ["a"]);
    assert_eq!(answer.high_watermark, Some(Offset(1)));
}

#[test]
fn a_consumer_that_waits_in_vain_gets_an_empty_answer_in_time() {
    let mut cluster = two();
    let request = Cluster::consume(0, Span::millis(700));
    let asked = cluster.ask(1, 12, request);
    cluster.pass(Span::millis(699));
    assert!(cluster.fetched(asked).is_none());
    cluster.pass(Span::millis(1));
    let answer = cluster.fetched(asked).unwrap();
    assert_eq!((answer.error, answer.records.len()), (ErrorCode::None, 0));
}

#[test]
fn a_reader_that_wants_more_waits_for_it() {
    let mut cluster = two();
    let size = batch("a").size_in_bytes();
    let mut request = Cluster::consume(0, LONG);
    request.min_bytes = i32::try_from(size + 1).unwrap();
    let asked = cluster.ask(1, 12, request);
    cluster.produce(1, Acks::All, "a");
    assert!(cluster.fetched(asked).is_none());
    cluster.produce(1, Acks::All, "b");
    assert_eq!(values(&cluster.fetched(asked).unwrap().records), ["a", "b"]);
}

#[test]
fn the_first_batch_is_given_whole_and_the_rest_keeps_to_the_limit() {
    let mut cluster = two();
    for value in ["a", "b", "c"] {
        cluster.produce(1, Acks::All, value);
    }
    let mut request = Cluster::consume(0, Span::ZERO);
    request.max_bytes = 1;
    let answer = cluster.fetch_now(1, request.clone());
    assert_eq!(values(&answer.records), ["a"]);
    request.max_bytes = i32::try_from(2 * batch("a").size_in_bytes()).unwrap();
    let answer = cluster.fetch_now(1, request);
    assert_eq!(values(&answer.records), ["a", "b"]);
}

#[test]
fn offsets_outside_of_the_log_and_wrong_epochs_are_refused() {
    let mut cluster = two();
    let told = cluster.state(1, 1, &[1, 2]);
    cluster.tell(1, &told);
    let mut request = Cluster::consume(5, LONG);
    assert_eq!(
        cluster.fetch_now(1, request.clone()).error,
        ErrorCode::OffsetOutOfRange
    );
    for (epoch, error) in [
        (0, ErrorCode::FencedLeaderEpoch),
        (2, ErrorCode::UnknownLeaderEpoch),
    ] {
        request.partitions[0].current_leader_epoch = Some(LeaderEpoch(epoch));
        assert_eq!(cluster.fetch_now(1, request.clone()).error, error);
    }
    request.partitions[0].current_leader_epoch = None;
    assert_eq!(
        cluster.fetch_now(2, request).error,
        ErrorCode::NotLeaderOrFollower
    );
}

#[test]
fn a_waiting_reader_is_told_when_the_leader_resigns() {
    let mut cluster = two();
    let request = Cluster::consume(0, LONG);
    let asked = cluster.ask(1, 12, request);
    cluster.elect(2, 1, &[1, 2]);
    assert_eq!(
        cluster.fetched(asked).unwrap().error,
        ErrorCode::NotLeaderOrFollower
    );
}

fn list(cluster: &mut Cluster, id: i32, spec: OffsetSpec) -> PartitionListOffsetsResponse {
    let request = ListOffsetsRequest {
        replica_id: None,
        isolation_level: IsolationLevel::ReadUncommitted,
        partitions: vec![(orders(), None, spec)],
    };
    let asked = cluster.ask(id, 5, request);
    match &cluster.answers[&asked] {
        ResponseBody::ListOffsets(answer) => answer.partitions[0].clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn offsets_are_found_by_end_start_and_time() {
    let mut cluster = two();
    cluster.produce(1, Acks::All, "a");
    assert_eq!(
        list(&mut cluster, 1, OffsetSpec::Latest).offset,
        Some(Offset(1))
    );
    assert_eq!(
        list(&mut cluster, 1, OffsetSpec::Earliest).offset,
        Some(Offset(0))
    );
    let found = list(&mut cluster, 1, OffsetSpec::Timestamp(BEGIN));
    assert_eq!(
        (found.offset, found.timestamp),
        (Some(Offset(0)), Some(BEGIN))
    );
    assert_eq!(
        list(&mut cluster, 1, OffsetSpec::Timestamp(BEGIN + 1)).offset,
        None
    );
    assert_eq!(
        list(&mut cluster, 2, OffsetSpec::Latest).error,
        ErrorCode::NotLeaderOrFollower
    );
}

#[test]
fn a_new_leader_hides_its_end_until_its_mark_reaches_its_epoch() {
    let mut cluster = Cluster::new(Behaviour::of(Era::V2_8), &[1, 2, 3]);
    cluster.elect(1, 0, &[1, 2, 3]);
    cluster.produce(1, Acks::All, "a");
    cluster.kill(1);
    cluster.hold(3);
    let told = cluster.state(2, 1, &[2, 3]);
    cluster.tell(2, &told);
    assert_eq!(cluster.bounds(2), (0, 0, 1));
    let answer = list(&mut cluster, 2, OffsetSpec::Latest);
    assert_eq!(
        (answer.error, answer.offset),
        (ErrorCode::OffsetNotAvailable, None)
    );
    cluster.release(3);
    cluster.tell(3, &told);
    assert_eq!(
        list(&mut cluster, 2, OffsetSpec::Latest).offset,
        Some(Offset(1))
    );
}

/// Per second and follower: two long polls, each a request, an expiry, an answer and a round of the fetcher's lane.
#[test]
fn an_idle_cluster_does_little_more_than_long_polls() {
    let mut cluster = two();
    cluster.pass(Span::secs(1));
    let before = cluster.inputs;
    cluster.pass(Span::secs(60));
    let per_poll = (cluster.inputs - before) / 120;
    assert!(per_poll <= 5, "{per_poll} inputs per poll");
}
