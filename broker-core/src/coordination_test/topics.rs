//! Topics created, refused, grown and deleted; producer ids.

use super::*;
use crate::hands::Hands;
use protocol::api::InitProducerIdRequest;
use protocol::api::topics::{
    CreatePartitionsRequest, DeleteTopicsRequest, DeleteTopicsResponse,
    IncrementalAlterConfigsRequest, NewPartitions,
};
use protocol::error_code::ErrorCode;
use protocol::ids::PartitionIndex;
use protocol::note::{ControllerNote, Note};

fn counted(name: &str, partitions: i32, replicas: i16) -> NewTopic {
    NewTopic {
        name: TopicName::from(name),
        partitions,
        replication_factor: replicas,
        assignment: BTreeMap::new(),
        config: BTreeMap::new(),
    }
}

fn refused(cluster: &mut Cluster, id: i32, topic: NewTopic) -> (ErrorCode, Option<String>) {
    let request = CreateTopicsRequest {
        topics: vec![topic],
        timeout: Span::secs(30),
        validate_only: false,
    };
    match cluster.call(id, request) {
        ResponseBody::CreateTopics(mut response) => {
            let (_, error, message) = response.topics.remove(0);
            (error, message)
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn refusals_have_kafkas_codes_and_words() {
    let mut cluster = Cluster::modern();
    cluster.create(counted("orders", 2, 3));
    let mut check = |topic, error, message: &str| {
        let expected = (error, (!message.is_empty()).then(|| message.to_owned()));
        assert_eq!(refused(&mut cluster, 1, topic), expected);
    };
    check(
        counted("orders", 1, 1),
        ErrorCode::TopicAlreadyExists,
        "Topic 'orders' already exists.",
    );
    check(
        counted("big", 1, 4),
        ErrorCode::InvalidReplicationFactor,
        "Replication factor: 4 larger than available brokers: 3.",
    );
    check(
        counted("none", 0, 1),
        ErrorCode::InvalidPartitions,
        "Number of partitions must be larger than 0.",
    );
    check(
        counted("a b", 1, 1),
        ErrorCode::InvalidTopicException,
        "Topic name \"a b\" is illegal, it contains a character other than ASCII alphanumerics, '.', '_' and '-'",
    );
    let mut odd = counted("odd", 1, 1);
    odd.config.insert("no.such.key".to_owned(), "1".to_owned());
    check(
        odd,
        ErrorCode::InvalidConfig,
        "Unknown topic config name: no.such.key",
    );
    assert_eq!(
        refused(&mut cluster, 2, counted("x", 1, 1)).0,
        ErrorCode::NotController
    );
    cluster.create(counted("a.b", 1, 1));
    assert_eq!(
        refused(&mut cluster, 1, counted("a_b", 1, 1)).0,
        ErrorCode::InvalidTopicException
    );
}

#[test]
fn a_topic_whose_brokers_are_silent_is_created_but_late() {
    let mut cluster = Cluster::modern();
    cluster.world.pause("b1");
    cluster.ask(
        1,
        CreateTopicsRequest {
            topics: vec![placed("orders", &[&[9]])],
            timeout: Span::secs(5),
            validate_only: false,
        },
    );
    cluster.world.resume("b1");
    assert_eq!(
        cluster.answer(),
        None,
        "no replica lives, so that nobody can lead"
    );
    cluster.world.pass(Span::secs(5));
    let Some(ResponseBody::CreateTopics(response)) = cluster.answer() else {
        panic!("an answer is due");
    };
    assert_eq!(response.topics[0].1, ErrorCode::RequestTimedOut);
    assert!(
        cluster
            .world
            .keeper
            .data("/brokers/topics/orders")
            .is_some()
    );
}

fn first_use(cluster: &mut Cluster, id: i32, topic: &str) -> ErrorCode {
    let topics = [TopicName::from(topic)];
    cluster.world.with(&format!("b{id}"), |node, now, io| {
        let broker = node.broker_mut();
        let mut requests = crate::request_channel::RequestChannel::new(Behaviour::of(Era::V2_8));
        let mut hands = Hands {
            now,
            io,
            keeper: &mut broker.coordination.keeper,
            requests: &mut requests,
        };
        let admin = &mut broker.coordination.admin;
        admin.auto_create(&mut hands, &broker.cache, &topics)[0].1
    })
}

#[test]
fn any_broker_creates_a_topic_on_first_use() {
    let mut cluster = Cluster::modern();
    assert_eq!(
        first_use(&mut cluster, 3, "orders"),
        ErrorCode::LeaderNotAvailable
    );
    assert_eq!(cluster.isr(&orders()).len(), 1);
    let topic = cluster.world.keeper.data("/brokers/topics/orders").unwrap();
    assert!(
        topic.contains("\"version\":3") && topic.contains("topic_id"),
        "{topic}"
    );
}

#[test]
fn the_offsets_topic_waits_for_all_its_brokers_since_kip_115() {
    let mut cluster = Cluster::modern();
    cluster.crash(3);
    let error = first_use(&mut cluster, 1, "__consumer_offsets");
    assert_eq!(error, ErrorCode::CoordinatorNotAvailable);
    cluster.start(3);
    let error = first_use(&mut cluster, 1, "__consumer_offsets");
    assert_eq!(error, ErrorCode::LeaderNotAvailable);
    let last = TopicPartition::new("__consumer_offsets", 49);
    assert_eq!(cluster.isr(&last).len(), 3);
    let config = cluster
        .world
        .keeper
        .data("/config/topics/__consumer_offsets");
    assert!(config.unwrap().contains("\"cleanup.policy\":\"compact\""));

    let mut old = Cluster::of(Behaviour::of(Era::V0_9));
    old.crash(3);
    let error = first_use(&mut old, 1, "__consumer_offsets");
    assert_eq!(error, ErrorCode::LeaderNotAvailable);
    assert_eq!(old.isr(&last).len(), 2, "two for ever");
}

fn delete(cluster: &mut Cluster, topic: &str) -> Option<DeleteTopicsResponse> {
    cluster.ask(
        1,
        DeleteTopicsRequest {
            topics: vec![TopicName::from(topic)],
            timeout: Span::secs(5),
        },
    );
    match cluster.answer() {
        Some(ResponseBody::DeleteTopics(response)) => Some(response),
        Some(other) => panic!("{other:?}"),
        None => None,
    }
}

#[test]
fn a_deleted_topic_leaves_no_replica_and_no_znode() {
    let mut cluster = Cluster::modern();
    cluster.create(placed("orders", &[&[2, 3], &[3, 1]]));
    let response = delete(&mut cluster, "orders").unwrap();
    assert_eq!(
        response.topics,
        [(TopicName::from("orders"), ErrorCode::None)]
    );
    for path in ["/brokers/topics", "/config/topics", "/admin/delete_topics"] {
        assert!(cluster.world.keeper.children(path).is_empty(), "{path}");
    }
    assert_eq!(cluster.broker(3).deleted.len(), 2);
    assert!((1..=3).all(|id| !cluster.broker(id).cache.contains(&orders())));
    let gone = ControllerNote::TopicDeleted(TopicName::from("orders"));
    assert!(
        cluster
            .world
            .notes
            .contains(&("b1".to_owned(), Note::Controller(gone)))
    );
    let response = delete(&mut cluster, "orders").unwrap();
    assert_eq!(response.topics[0].1, ErrorCode::UnknownTopicOrPartition);
    // And it can be created again.
    cluster.create(placed("orders", &[&[3]]));
    assert_eq!(cluster.leader(&orders()), Some(3));
}

#[test]
fn a_deletion_waits_for_the_dead_broker_to_come_back() {
    let mut cluster = Cluster::modern();
    cluster.create(placed("orders", &[&[2, 3]]));
    cluster.crash(3);
    assert!(
        delete(&mut cluster, "orders").is_some(),
        "gone from the metadata at once"
    );
    assert!(
        cluster
            .world
            .keeper
            .data("/brokers/topics/orders")
            .is_some()
    );
    cluster.start(3);
    assert_eq!(cluster.world.keeper.data("/brokers/topics/orders"), None);
    assert_eq!(cluster.broker(3).deleted, [orders()]);
}

#[test]
fn a_deletion_survives_its_controller() {
    let mut cluster = Cluster::modern();
    cluster.create(placed("orders", &[&[2, 3]]));
    cluster.crash(3);
    delete(&mut cluster, "orders");
    cluster.crash(1);
    assert!(
        cluster
            .world
            .keeper
            .data("/brokers/topics/orders")
            .is_some()
    );
    cluster.start(3);
    assert_eq!(cluster.world.keeper.data("/brokers/topics/orders"), None);
}

fn grow(cluster: &mut Cluster, total: i32) -> (ErrorCode, Option<String>) {
    let request = CreatePartitionsRequest {
        topics: vec![NewPartitions {
            topic: TopicName::from("orders"),
            total,
            assignment: None,
        }],
        timeout: Span::secs(5),
    };
    match cluster.call(1, request) {
        ResponseBody::CreatePartitions(mut response) => {
            let (_, error, message) = response.topics.remove(0);
            (error, message)
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_topic_grows_and_never_shrinks() {
    let mut cluster = Cluster::modern();
    cluster.create(placed("orders", &[&[2, 3]]));
    assert_eq!(grow(&mut cluster, 3), (ErrorCode::None, None));
    for index in 1..3 {
        let added = TopicPartition {
            partition: PartitionIndex(index),
            ..orders()
        };
        assert_eq!(cluster.isr(&added).len(), 2);
    }
    let message = "Topic currently has 3 partitions, which is higher than the requested 2.";
    let expected = (ErrorCode::InvalidPartitions, Some(message.to_owned()));
    assert_eq!(grow(&mut cluster, 2), expected);
    let message = "Topic already has 3 partitions.";
    let expected = (ErrorCode::InvalidPartitions, Some(message.to_owned()));
    assert_eq!(grow(&mut cluster, 3), expected);
}

#[test]
fn producer_ids_come_from_blocks_of_a_thousand_per_broker() {
    let mut cluster = Cluster::modern();
    let mut id = |broker| {
        let request = InitProducerIdRequest {
            transactional_id: None,
            transaction_timeout_ms: 0,
            current: None,
        };
        match cluster.call(broker, request) {
            ResponseBody::InitProducerId(response) => {
                assert_eq!(
                    (response.error, response.producer_epoch.0),
                    (ErrorCode::None, 0)
                );
                response.producer_id.0
            }
            other => panic!("{other:?}"),
        }
    };
    assert_eq!([id(1), id(1), id(2), id(3), id(1)], [0, 1, 1000, 2000, 2]);
    for expected in 3..1000 {
        assert_eq!(id(1), expected);
    }
    assert_eq!(id(1), 3000);
    let block = cluster.world.keeper.data(paths::PRODUCER_IDS).unwrap();
    assert!(block.contains("\"block_start\":\"3000\""), "{block}");
}

fn configure(cluster: &mut Cluster, key: &str, value: Option<&str>) -> (ErrorCode, Option<String>) {
    let changes = BTreeMap::from([(key.to_owned(), value.map(str::to_owned))]);
    let request = IncrementalAlterConfigsRequest {
        topics: vec![(TopicName::from("orders"), changes)],
        validate_only: false,
    };
    match cluster.call(2, request) {
        ResponseBody::IncrementalAlterConfigs(mut response) => {
            let (_, error, message) = response.topics.remove(0);
            (error, message)
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn settings_are_changed_by_any_broker_over_those_that_were_there_and_a_notice_names_the_topic() {
    let mut cluster = Cluster::modern();
    cluster.create(placed("orders", &[&[2, 3]]));
    let done = (ErrorCode::None, None);
    assert_eq!(
        configure(&mut cluster, "min.insync.replicas", Some("2")),
        done
    );
    assert_eq!(configure(&mut cluster, "retention.ms", Some("1000")), done);
    let stored = |cluster: &Cluster| cluster.world.keeper.data("/config/topics/orders");
    let both = r#"{"version":1,"config":{"min.insync.replicas":"2","retention.ms":"1000"}}"#;
    assert_eq!(stored(&cluster).as_deref(), Some(both));
    assert_eq!(configure(&mut cluster, "retention.ms", None), done);
    let one = r#"{"version":1,"config":{"min.insync.replicas":"2"}}"#;
    assert_eq!(stored(&cluster).as_deref(), Some(one));
    let notice = cluster
        .world
        .keeper
        .data("/config/changes/config_change_0000000002");
    let named = r#"{"version":2,"entity_path":"topics/orders"}"#;
    assert_eq!(notice.as_deref(), Some(named));
}

#[test]
fn a_setting_that_kafka_would_refuse_changes_nothing() {
    let mut cluster = Cluster::modern();
    let unknown = "The topic 'orders' does not exist.".to_owned();
    assert_eq!(
        configure(&mut cluster, "retention.ms", Some("1")),
        (ErrorCode::UnknownTopicOrPartition, Some(unknown))
    );
    cluster.create(placed("orders", &[&[2, 3]]));
    let message = "Invalid value soon for configuration retention.ms".to_owned();
    assert_eq!(
        configure(&mut cluster, "retention.ms", Some("soon")),
        (ErrorCode::InvalidConfig, Some(message))
    );
    let notice = "/config/changes/config_change_0000000000";
    assert_eq!(cluster.world.keeper.data(notice), None);
}
