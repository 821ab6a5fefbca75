//! Followers and consumers in fetch sessions (KIP-227).

use super::*;
use protocol::api::data::FetchResponse;
use protocol::fetch_session::{FetchMetadata, FetchSessionId};

const WAIT: Span = Span::millis(500);

fn answer(cluster: &Cluster, asked: CorrelationId) -> FetchResponse {
    match &cluster.answers[&asked] {
        ResponseBody::Fetch(answer) => answer.clone(),
        other => panic!("{other:?}"),
    }
}

/// A reader's next request, of which partition 0 is all there is.
fn ask(cluster: &mut Cluster, metadata: FetchMetadata, offset: Option<i64>) -> FetchResponse {
    let mut request = Cluster::consume(offset.unwrap_or(0), Span::ZERO);
    request.metadata = metadata;
    if offset.is_none() {
        request.partitions.clear();
    }
    let asked = cluster.ask(1, 12, request);
    answer(cluster, asked)
}

/// What the followers' fetch requests name, in the order they were carried.
fn named(cluster: &Cluster) -> Vec<(bool, usize)> {
    let requests = cluster.fetches.iter();
    requests
        .map(|fetch| (fetch.metadata.is_full(), fetch.partitions.len()))
        .collect()
}

#[test]
fn a_follower_names_a_partition_again_only_when_it_has_got_further() {
    let mut cluster = Cluster::new(Behaviour::of(Era::V2_8), &[1, 2]);
    cluster.elect(1, 0, &[1, 2]);
    cluster.pass(Span::millis(1000));
    cluster.fetches.clear();
    cluster.pass(Span::millis(1000));
    assert_eq!(named(&cluster), [(false, 0), (false, 0)]);
    cluster.fetches.clear();
    cluster.produce(1, Acks::All, "a");
    cluster.pass(WAIT);
    // It has the record; then, when the wait is over, it has the high watermark too and there is nothing to name.
    assert_eq!(named(&cluster), [(false, 1), (false, 0)]);
    assert_eq!(cluster.bounds(2), (0, 1, 1));
}

#[test]
fn a_release_without_sessions_names_everything_always() {
    let mut cluster = Cluster::new(Behaviour::of(Era::V1_0), &[1, 2]);
    cluster.elect(1, 0, &[1, 2]);
    cluster.pass(Span::millis(1000));
    cluster.fetches.clear();
    cluster.pass(WAIT);
    assert_eq!(named(&cluster), [(true, 1)]);
}

/// Its requests name nothing, and still every one of them says that it is there.
#[test]
fn an_idle_follower_stays_in_sync() {
    let mut cluster = Cluster::new(Behaviour::of(Era::V2_8), &[1, 2]);
    cluster.elect(1, 0, &[1, 2]);
    cluster.produce(1, Acks::All, "a");
    cluster.pass(Span::secs(120));
    assert!(!cluster.has_wish(1));
}

/// What was appended meanwhile comes by a session of the new life of the leader, which does not know the old one.
#[test]
fn a_follower_begins_anew_when_the_leader_has_forgotten_the_session() {
    let mut cluster = Cluster::new(Behaviour::of(Era::V2_8), &[1, 2]);
    cluster.elect(1, 0, &[1, 2]);
    cluster.pass(Span::millis(1000));
    let disk = cluster.nodes[&1].disk.clone();
    cluster.kill(1);
    cluster.start(1, disk);
    cluster.elect(1, 1, &[1, 2]);
    cluster.pass(Span::secs(5));
    assert_eq!(cluster.produce_now(1, Acks::All, "b"), ErrorCode::None);
    assert_eq!(cluster.log(2), ["b"]);
}

#[test]
fn a_consumer_in_a_session_is_told_what_is_new_only() {
    let mut cluster = Cluster::new(Behaviour::of(Era::V2_8), &[1, 2]);
    cluster.elect(1, 0, &[1, 2]);
    let first = ask(&mut cluster, FetchMetadata::INITIAL, Some(0));
    assert_eq!((first.error, first.partitions.len()), (ErrorCode::None, 1));
    let next = FetchMetadata::first_incremental(first.session);
    assert_eq!(ask(&mut cluster, next, None).partitions, []);
    cluster.produce(1, Acks::All, "a");
    let next = next.next_incremental();
    let told = ask(&mut cluster, next, None);
    assert_eq!(values(&told.partitions[0].records), ["a"]);
    assert_eq!(told.session, first.session);
    let out_of_turn = ask(&mut cluster, next, None);
    assert_eq!(out_of_turn.error, ErrorCode::InvalidFetchSessionEpoch);
    let unknown = FetchMetadata::first_incremental(FetchSessionId(first.session.0 ^ 1));
    let refused = ask(&mut cluster, unknown, None);
    assert_eq!(refused.error, ErrorCode::FetchSessionIdNotFound);
}

/// `KafkaApis` sorts such partitions out before the rest is read, so that they do not cut the wait short.
#[test]
fn a_partition_nobody_knows_is_told_with_the_others_and_does_not_hurry_them() {
    let mut cluster = Cluster::new(Behaviour::of(Era::V2_8), &[1, 2]);
    cluster.elect(1, 0, &[1, 2]);
    let mut request = Cluster::consume(0, WAIT);
    let mut unknown = request.partitions[0].clone();
    unknown.partition = TopicPartition::new("orders", 7);
    request.partitions.insert(0, unknown);
    let asked = cluster.ask(1, 12, request);
    assert!(!cluster.answers.contains_key(&asked));
    cluster.pass(WAIT);
    let told = answer(&cluster, asked);
    let errors: Vec<ErrorCode> = told.partitions.iter().map(|part| part.error).collect();
    let expected = [ErrorCode::None, ErrorCode::UnknownTopicOrPartition];
    assert_eq!(errors, expected);
}
