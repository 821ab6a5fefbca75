//! The admin client against a scripted cluster.

#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    unreachable_pub,
    reason = "a test panics on what it does not expect"
)]

mod bench;

use bench::{Bench, bootstrap, endpoint};
use client_core::Admin;
use protocol::api::data::{
    DeleteRecordsResponse, ListOffsetsResponse, PartitionDeleteRecordsResponse,
    PartitionListOffsetsResponse,
};
use protocol::api::group::{DescribeGroupsResponse, DescribedGroup, FindCoordinatorResponse};
use protocol::api::topics::CreateTopicsResponse;
use protocol::api::{ApiKey, RequestBody};
use protocol::behaviour::{Behaviour, Era};
use protocol::config::AdminConfig;
use protocol::error_code::ErrorCode;
use protocol::ids::{BrokerId, ClientId, GroupId, MemberId, Offset, TopicName, TopicPartition};
use protocol::time::Span;
use protocol::verb::{ClientError, Failure, NewTopic, Outcome, Verb};
use std::collections::BTreeMap;
use std::sync::Arc;

fn bench() -> Bench<Admin> {
    let behaviour = Behaviour::of(Era::V2_8);
    let config = Arc::new(AdminConfig::defaults(Era::V2_8));
    let client = ClientId::from("a");
    Bench::new(Admin::new(config, bootstrap(), behaviour, client, 7), 3)
}

fn create() -> Verb {
    Verb::CreateTopics(vec![NewTopic {
        name: TopicName::from("new"),
        partitions: 1,
        replication_factor: 3,
        assignment: BTreeMap::new(),
        config: BTreeMap::new(),
    }])
}

fn created(error: ErrorCode) -> CreateTopicsResponse {
    CreateTopicsResponse {
        topics: vec![(TopicName::from("new"), error, None)],
    }
}

#[test]
fn a_topic_is_created_by_the_controller_wherever_it_goes() {
    let mut bench = bench();
    let call = bench.call(create());
    let asked = bench.take(ApiKey::CreateTopics);
    assert_eq!(asked.broker, 1);
    bench.controller = 2;
    bench.answer(&asked, created(ErrorCode::NotController));
    bench.pass(Span::millis(200));
    let asked = bench.take(ApiKey::CreateTopics);
    assert_eq!(asked.broker, 2);
    bench.answer(&asked, created(ErrorCode::None));
    assert_eq!(bench.told_once(call), Outcome::Done(Ok(())));
}

#[test]
fn a_topic_found_after_a_lost_answer_may_be_our_own() {
    let mut bench = bench();
    let call = bench.call(create());
    let asked = bench.take(ApiKey::CreateTopics);
    bench.reset(&asked);
    bench.pass(Span::millis(300));
    let asked = bench.take(ApiKey::CreateTopics);
    bench.answer(&asked, created(ErrorCode::TopicAlreadyExists));
    let error = ClientError::Broker(ErrorCode::TopicAlreadyExists);
    assert_eq!(
        bench.told_once(call),
        Outcome::Done(Err(Failure::info(error)))
    );
}

#[test]
fn a_call_nobody_can_take_fails_for_certain_when_its_time_is_over() {
    let mut bench = bench();
    bench.refusing.extend([1, 2, 3]);
    let call = bench.call(create());
    let asked = bench.try_take(ApiKey::CreateTopics);
    if let Some(asked) = asked {
        bench.reset(&asked);
    }
    let second = bench.call(create());
    bench.pass(Span::secs(60));
    assert_eq!(bench.told(call).len(), 1);
    assert_eq!(
        bench.told_once(second),
        Outcome::Done(Err(Failure::fail(ClientError::Timeout(
            "default.api.timeout.ms"
        ))))
    );
}

#[test]
fn topics_are_described_from_metadata() {
    let mut bench = bench();
    let call = bench.call(Verb::DescribeTopics(vec![TopicName::from("t")]));
    match bench.told_once(call) {
        Outcome::Described(Ok(partitions)) => {
            let leaders: Vec<Option<i32>> = partitions.iter().map(|part| part.leader).collect();
            assert_eq!(leaders, [Some(1), Some(2), Some(3)]);
            assert_eq!(partitions[0].replicas, [1, 2, 3]);
        }
        other => panic!("{other:?}"),
    }
    let call = bench.call(Verb::DescribeTopics(vec![TopicName::from("none")]));
    let error = ClientError::Broker(ErrorCode::UnknownTopicOrPartition);
    assert_eq!(
        bench.told_once(call),
        Outcome::Described(Err(Failure::fail(error)))
    );
}

#[test]
fn end_offsets_are_asked_of_each_leader() {
    let mut bench = bench();
    let partitions = vec![TopicPartition::new("t", 0), TopicPartition::new("t", 1)];
    let call = bench.call(Verb::EndOffsets(partitions.clone()));
    for expected in [1, 2] {
        let asked = bench.take(ApiKey::ListOffsets);
        assert_eq!(asked.broker, expected);
        let RequestBody::ListOffsets(list) = &asked.request.body else {
            panic!("a list");
        };
        let answer = ListOffsetsResponse {
            partitions: list
                .partitions
                .iter()
                .map(|(partition, ..)| PartitionListOffsetsResponse {
                    partition: partition.clone(),
                    error: ErrorCode::None,
                    offset: Some(Offset(i64::from(expected))),
                    timestamp: None,
                    leader_epoch: None,
                })
                .collect(),
        };
        bench.answer(&asked, answer);
    }
    let found = partitions
        .into_iter()
        .zip([Some(Offset(1)), Some(Offset(2))])
        .collect();
    assert_eq!(bench.told_once(call), Outcome::Offsets(Ok(found)));
}

#[test]
fn a_group_is_described_by_its_coordinator() {
    let mut bench = bench();
    let call = bench.call(Verb::DescribeGroup(GroupId::from("g")));
    let asked = bench.take(ApiKey::FindCoordinator);
    bench.answer(
        &asked,
        FindCoordinatorResponse {
            error: ErrorCode::None,
            coordinator: Some((BrokerId(3), endpoint(3))),
        },
    );
    let asked = bench.take(ApiKey::DescribeGroups);
    assert_eq!(asked.broker, 3);
    let bytes = [
        0, 0, 0, 0, 0, 1, 0, 1, b't', 0, 0, 0, 1, 0, 0, 0, 2, 255, 255, 255, 255,
    ];
    bench.answer(
        &asked,
        DescribeGroupsResponse {
            groups: vec![DescribedGroup {
                error: ErrorCode::None,
                group_id: GroupId::from("g"),
                state: Arc::from("Stable"),
                protocol: Some(Arc::from("range")),
                members: vec![(MemberId::from("m"), Arc::from("c"), bytes.to_vec().into())],
            }],
        },
    );
    match bench.told_once(call) {
        Outcome::Group(Ok(group)) => {
            assert_eq!(group.state, "Stable");
            let expected = vec![("m".to_owned(), vec![TopicPartition::new("t", 2)])];
            assert_eq!(group.members, expected);
        }
        other => panic!("{other:?}"),
    }
}

fn deleted(error: ErrorCode, low_watermark: Option<i64>) -> DeleteRecordsResponse {
    DeleteRecordsResponse {
        partitions: vec![PartitionDeleteRecordsResponse {
            partition: TopicPartition::new("t", 1),
            error,
            low_watermark: low_watermark.map(Offset),
        }],
    }
}

#[test]
fn records_are_deleted_by_their_leader_whoever_that_is_by_now() {
    let mut bench = bench();
    let partition = TopicPartition::new("t", 1);
    let wanted = BTreeMap::from([(partition.clone(), Some(Offset(5)))]);
    let call = bench.call(Verb::DeleteRecords(wanted));
    let asked = bench.take(ApiKey::DeleteRecords);
    assert_eq!(asked.broker, 2);
    bench.answer(&asked, deleted(ErrorCode::NotLeaderOrFollower, None));
    bench.pass(Span::millis(200));
    let asked = bench.take(ApiKey::DeleteRecords);
    let RequestBody::DeleteRecords(request) = &asked.request.body else {
        panic!("a deletion");
    };
    assert_eq!(request.partitions, [(partition.clone(), Some(Offset(5)))]);
    bench.answer(&asked, deleted(ErrorCode::None, Some(5)));
    let low = BTreeMap::from([(partition, Some(Offset(5)))]);
    assert_eq!(bench.told_once(call), Outcome::Offsets(Ok(low)));
}

#[test]
fn a_deletion_that_timed_out_on_the_broker_may_have_happened() {
    for (error, certain) in [
        (ErrorCode::RequestTimedOut, false),
        (ErrorCode::OffsetOutOfRange, true),
    ] {
        let mut bench = bench();
        let wanted = BTreeMap::from([(TopicPartition::new("t", 1), None)]);
        let call = bench.call(Verb::DeleteRecords(wanted));
        let asked = bench.take(ApiKey::DeleteRecords);
        bench.answer(&asked, deleted(error, None));
        let error = ClientError::Broker(error);
        let failure = if certain {
            Failure::fail(error)
        } else {
            Failure::info(error)
        };
        assert_eq!(bench.told_once(call), Outcome::Offsets(Err(failure)));
    }
}
