//! Subscription by pattern against a scripted cluster.

#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    unreachable_pub,
    reason = "a test panics on what it does not expect"
)]

mod bench;

use bench::{Asked, Bench, bootstrap, endpoint};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use client_core::Consumer;
use protocol::api::data::{ListOffsetsResponse, PartitionListOffsetsResponse};
use protocol::api::group::{
    FindCoordinatorResponse, HeartbeatResponse, JoinGroupRequest, JoinGroupResponse,
    OffsetFetchResponse, SyncGroupRequest, SyncGroupResponse,
};
use protocol::api::{ApiKey, RequestBody};
use protocol::behaviour::{Behaviour, Era};
use protocol::config::ConsumerConfig;
use protocol::error_code::ErrorCode;
use protocol::ids::{BrokerId, ClientId, GenerationId, MemberId, Offset, TopicPartition};
use protocol::time::Span;
use protocol::verb::{OperationId, Outcome, Verb};
use std::sync::Arc;

/// A consumer that has subscribed to a pattern, in a cluster with these topics.
fn subscribed(pattern: &str, topics: &[&str]) -> Bench<Consumer> {
    let behaviour = Behaviour::of(Era::V2_8);
    let mut config = ConsumerConfig::defaults(behaviour.era);
    for (key, value) in [
        ("group.id", "g"),
        ("enable.auto.commit", "false"),
        ("metadata.max.age.ms", "10000"),
        ("session.timeout.ms", "60000"),
    ] {
        config.set(key, value).unwrap();
    }
    let config = Arc::new(config.finish().unwrap());
    let client = ClientId::from("c");
    let consumer = Consumer::new(config, bootstrap(), behaviour, client, 7);
    let mut bench = Bench::new(consumer, 1);
    for topic in topics {
        add_topic(&mut bench, topic);
    }
    let done = bench.call(Verb::SubscribePattern(Arc::from(pattern)));
    assert_eq!(bench.told_once(done), Outcome::Done(Ok(())));
    bench
}

fn add_topic(bench: &mut Bench<Consumer>, topic: &str) {
    bench.leaders.insert(TopicPartition::new(topic, 0), (1, 0));
}

fn poll(bench: &mut Bench<Consumer>) -> OperationId {
    bench.call(Verb::Poll(Span::millis(1000)))
}

/// Every partition begins at 0.
fn listed(asked: &Asked) -> ListOffsetsResponse {
    let RequestBody::ListOffsets(list) = &asked.request.body else {
        panic!("{asked:?}");
    };
    let begins = |partition: &TopicPartition| PartitionListOffsetsResponse {
        partition: partition.clone(),
        error: ErrorCode::None,
        offset: Some(Offset::ZERO),
        timestamp: None,
        leader_epoch: None,
    };
    let partitions = list.partitions.iter();
    ListOffsetsResponse {
        partitions: partitions
            .map(|(partition, ..)| begins(partition))
            .collect(),
    }
}

fn find(bench: &mut Bench<Consumer>) {
    let asked = bench.take(ApiKey::FindCoordinator);
    let coordinator = Some((BrokerId(3), endpoint(3)));
    let error = ErrorCode::None;
    bench.answer(&asked, FindCoordinatorResponse { error, coordinator });
}

fn join_request(asked: &Asked) -> &JoinGroupRequest {
    match &asked.request.body {
        RequestBody::JoinGroup(join) => join,
        other => panic!("{other:?}"),
    }
}

/// The topics that a join subscribes to.
fn topics_of(asked: &Asked) -> Vec<String> {
    let mut bytes = join_request(asked).protocols[0].1.clone();
    bytes.get_i16();
    (0..bytes.get_i32())
        .map(|_| {
            let length = usize::try_from(bytes.get_i16()).unwrap();
            String::from_utf8(bytes.split_to(length).to_vec()).unwrap()
        })
        .collect()
}

/// Answers a join; the member is `m` and follows another one.
fn answer_join(bench: &mut Bench<Consumer>, asked: &Asked, error: ErrorCode, generation: i32) {
    let protocol = Some(join_request(asked).protocols[0].0.clone());
    let answer = JoinGroupResponse {
        error,
        generation_id: GenerationId(generation),
        protocol,
        leader: MemberId::from("leader"),
        member_id: MemberId::from("m"),
        members: Vec::new(),
    };
    bench.answer(asked, answer);
}

/// Joins from the first request on; what it subscribed to.
fn join(bench: &mut Bench<Consumer>) -> Vec<String> {
    find(bench);
    let asked = bench.take(ApiKey::JoinGroup);
    answer_join(bench, &asked, ErrorCode::MemberIdRequired, -1);
    let asked = bench.take(ApiKey::JoinGroup);
    answer_join(bench, &asked, ErrorCode::None, 1);
    topics_of(&asked)
}

/// Partition 0 of each of these topics.
fn assignment(topics: &[&str]) -> Bytes {
    let mut out = BytesMut::new();
    out.put_i16(0);
    out.put_i32(i32::try_from(topics.len()).unwrap());
    for topic in topics {
        out.put_i16(i16::try_from(topic.len()).unwrap());
        out.put_slice(topic.as_bytes());
        out.put_i32(1);
        out.put_i32(0);
    }
    out.put_i32(-1);
    out.freeze()
}

fn sync(bench: &mut Bench<Consumer>, topics: &[&str]) {
    let asked = bench.take(ApiKey::SyncGroup);
    assert!(matches!(
        &asked.request.body,
        RequestBody::SyncGroup(SyncGroupRequest { .. })
    ));
    let error = ErrorCode::None;
    let assignment = assignment(topics);
    bench.answer(&asked, SyncGroupResponse { error, assignment });
}

#[test]
fn a_pattern_subscribes_to_the_topics_that_match_and_to_no_internal_one() {
    let topics = ["orders-eu", "orders-us", "returns", "__orders"];
    let mut bench = subscribed(".*orders.*", &topics);
    poll(&mut bench);
    assert_eq!(join(&mut bench), ["orders-eu", "orders-us"]);
}

#[test]
fn a_pattern_that_nothing_matches_joins_with_no_topic() {
    let mut bench = subscribed("orders-.*", &["returns"]);
    poll(&mut bench);
    assert!(join(&mut bench).is_empty());
}

#[test]
fn a_topic_that_comes_later_is_found_at_the_refresh_of_metadata_and_begins_a_rebalance() {
    let mut bench = subscribed("orders-.*", &["orders-eu"]);
    let first = poll(&mut bench);
    assert_eq!(join(&mut bench), ["orders-eu"]);
    sync(&mut bench, &["orders-eu"]);
    let eu = TopicPartition::new("orders-eu", 0);
    assert_eq!(bench.told(first), [Outcome::Assigned(vec![eu.clone()])]);
    bench.pass(Span::secs(1));

    add_topic(&mut bench, "orders-us");
    bench.pass(Span::secs(8));
    let early = poll(&mut bench);
    assert!(
        bench.told(early).is_empty(),
        "metadata are nine seconds old"
    );
    bench.pass(Span::secs(2));
    let later = poll(&mut bench);
    assert_eq!(bench.told(later), [Outcome::Revoked(vec![eu])]);
    bench.call(Verb::ListenerReturned);
    let asked = bench.take(ApiKey::JoinGroup);
    assert_eq!(topics_of(&asked), ["orders-eu", "orders-us"]);
}

#[test]
fn a_member_that_has_to_join_looks_for_new_topics_first() {
    let mut bench = subscribed("orders-.*", &["orders-eu"]);
    poll(&mut bench);
    join(&mut bench);
    sync(&mut bench, &["orders-eu"]);
    let asked = bench.take(ApiKey::OffsetFetch);
    let partitions = vec![(TopicPartition::new("orders-eu", 0), Ok(None))];
    let error = ErrorCode::None;
    bench.answer(&asked, OffsetFetchResponse { error, partitions });
    bench.pass(Span::secs(3));
    add_topic(&mut bench, "orders-us");
    let asked = bench.take(ApiKey::Heartbeat);
    let error = ErrorCode::RebalanceInProgress;
    bench.answer(&asked, HeartbeatResponse { error });
    poll(&mut bench);
    // A broker answers in order, and the metadata were asked for behind this.
    let asked = bench.take(ApiKey::ListOffsets);
    bench.answer(&asked, listed(&asked));
    bench.call(Verb::ListenerReturned);
    let asked = bench.take(ApiKey::JoinGroup);
    assert_eq!(topics_of(&asked), ["orders-eu", "orders-us"]);
}
