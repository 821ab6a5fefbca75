//! What the controller says, what is too old to be obeyed, and what is written down.

use super::*;
use protocol::api::TopicIds;
use protocol::api::cluster::{StopReplicaPartition, StopReplicaRequest};
use protocol::behaviour::Fix;
use protocol::ids::{BrokerEpoch, TopicId};

#[test]
fn a_leader_epoch_that_is_no_news_is_refused() {
    let mut cluster = Cluster::of(Era::V2_8);
    cluster.elect(1, 3, &[1, 2, 3]);
    for epoch in [2, 3] {
        let told = cluster.state(2, epoch, &[2]);
        assert_eq!(cluster.tell(1, &told), ErrorCode::StaleControllerEpoch);
    }
    assert_eq!(
        cluster.nodes[&1].manager.leads(&orders()),
        Some(LeaderEpoch(3))
    );
    let mut told = cluster.state(2, 4, &[2]);
    told.replicas = brokers(&[2, 3]);
    assert_eq!(cluster.tell(1, &told), ErrorCode::UnknownTopicOrPartition);
}

fn lead(cluster: &mut Cluster, stamp: ControllerStamp, epoch: i32) -> ErrorCode {
    let request = LeaderAndIsrRequest {
        controller: stamp,
        partitions: vec![cluster.state(1, epoch, &[1])],
        topic_ids: TopicIds::new(),
        live_leaders: Vec::new(),
    };
    let asked = cluster.ask(1, 4, request);
    match &cluster.answers[&asked] {
        ResponseBody::LeaderAndIsr(answer) => answer.error,
        other => panic!("{other:?}"),
    }
}

fn lead_of(cluster: &mut Cluster, epoch: i32, topic: Option<u128>) -> ErrorCode {
    let ids = topic.map(|id| (orders().topic, TopicId(id)));
    let request = LeaderAndIsrRequest {
        controller: Cluster::stamp(1),
        partitions: vec![cluster.state(1, epoch, &[1])],
        topic_ids: ids.into_iter().collect(),
        live_leaders: Vec::new(),
    };
    let asked = cluster.ask(1, 5, request);
    match &cluster.answers[&asked] {
        ResponseBody::LeaderAndIsr(answer) => answer.partitions[0].1,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_log_of_another_topic_of_the_same_name_is_not_led() {
    let mut cluster = Cluster::new(Behaviour::of(Era::V2_8), &[1]);
    assert_eq!(lead_of(&mut cluster, 0, None), ErrorCode::None);
    // A log from before KIP-516 gets its id whatever the epoch.
    assert_eq!(
        lead_of(&mut cluster, 0, Some(7)),
        ErrorCode::StaleControllerEpoch
    );
    let path = format!("data/{}/partition.metadata", orders());
    let text = cluster.nodes[&1].disk.text(&path).to_owned();
    assert_eq!(text, format!("version: 0\ntopic_id: {}", TopicId(7)));
    for epoch in [0, 1] {
        assert_eq!(
            lead_of(&mut cluster, epoch, Some(8)),
            ErrorCode::InconsistentTopicId
        );
    }
    assert_eq!(
        cluster.nodes[&1].manager.leads(&orders()),
        Some(LeaderEpoch(0))
    );
    assert_eq!(lead_of(&mut cluster, 1, Some(7)), ErrorCode::None);
    assert_eq!(lead_of(&mut cluster, 2, None), ErrorCode::None);
}

#[test]
fn a_new_log_is_given_its_topics_id() {
    let mut cluster = Cluster::new(Behaviour::of(Era::V2_8), &[1]);
    assert_eq!(lead_of(&mut cluster, 0, Some(7)), ErrorCode::None);
    assert_eq!(
        lead_of(&mut cluster, 1, Some(8)),
        ErrorCode::InconsistentTopicId
    );
}

#[test]
fn a_replaced_controller_is_not_obeyed() {
    for (checked, last) in [
        (true, ErrorCode::StaleControllerEpoch),
        (false, ErrorCode::None),
    ] {
        let behaviour = Behaviour::of(Era::V2_8).with(Fix::ControllerEpochCheck, checked);
        let mut cluster = Cluster::new(behaviour, &[1, 2]);
        assert_eq!(lead(&mut cluster, Cluster::stamp(7), 0), ErrorCode::None);
        assert_eq!(lead(&mut cluster, Cluster::stamp(6), 1), last);
    }
}

#[test]
fn what_was_meant_for_an_earlier_life_is_refused_and_a_later_one_believed() {
    let mut cluster = Cluster::of(Era::V2_8);
    let manager = &mut cluster.nodes.get_mut(&1).unwrap().manager;
    manager.set_broker_epoch(BrokerEpoch(20));
    let stamp = |epoch: i64| ControllerStamp {
        broker_epoch: Some(BrokerEpoch(epoch)),
        ..Cluster::stamp(1)
    };
    assert_eq!(
        lead(&mut cluster, stamp(19), 0),
        ErrorCode::StaleBrokerEpoch
    );
    assert_eq!(lead(&mut cluster, stamp(20), 0), ErrorCode::None);
    assert_eq!(lead(&mut cluster, stamp(21), 1), ErrorCode::None);
}

fn stop(cluster: &mut Cluster, id: i32, leader_epoch: i32, delete: bool) -> ErrorCode {
    let request = StopReplicaRequest {
        controller: Cluster::stamp(1),
        partitions: vec![StopReplicaPartition {
            partition: orders(),
            leader_epoch,
            delete,
        }],
    };
    let asked = cluster.ask(id, 3, request);
    match &cluster.answers[&asked] {
        ResponseBody::StopReplica(answer) => answer.partitions[0].1,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_stopped_follower_copies_no_more_and_a_deleted_log_is_gone() {
    let mut cluster = Cluster::new(Behaviour::of(Era::V2_8), &[1, 2]);
    cluster.elect(1, 1, &[1, 2]);
    assert_eq!(
        stop(&mut cluster, 2, 1, false),
        ErrorCode::FencedLeaderEpoch
    );
    assert_eq!(stop(&mut cluster, 2, 2, false), ErrorCode::None);
    cluster.produce(1, Acks::Leader, "a");
    cluster.pass(Span::secs(1));
    assert_eq!(cluster.bounds(2).2, 0);
    let request = Cluster::consume(1, Span::secs(60));
    let asked = cluster.ask(1, 12, request);
    assert_eq!(stop(&mut cluster, 1, -2, true), ErrorCode::None);
    assert_eq!(
        cluster.fetched(asked).unwrap().error,
        ErrorCode::NotLeaderOrFollower
    );
    assert_eq!(cluster.nodes[&1].manager.log_bounds(&orders()), None);
    let asked = cluster.produce(1, Acks::Leader, "b");
    assert_eq!(
        cluster.produced(asked).unwrap().error,
        ErrorCode::NotLeaderOrFollower
    );
}

#[test]
fn a_clean_stop_writes_everything_down() {
    let mut cluster = Cluster::new(Behaviour::of(Era::V2_8), &[1]);
    cluster.elect(1, 0, &[1]);
    cluster.produce(1, Acks::All, "a");
    cluster.call(1, |manager, step| manager.shutdown(step.io));
    assert!(!cluster.nodes[&1].manager.is_shut_down());
    cluster.run();
    assert!(cluster.nodes[&1].manager.is_shut_down());
    cluster.power_fail(1);
    cluster.notes.clear();
    cluster.restart(1);
    let loaded = ReplicaNote::Loaded {
        log_start_offset: Offset(0),
        log_end_offset: Offset(1),
        high_watermark: Offset(1),
        clean: true,
    };
    assert!(
        cluster.saw(1, |note| *note == loaded),
        "{:?}",
        cluster.notes
    );
}

#[test]
fn high_watermarks_are_written_down_every_five_seconds() {
    for (kept, mark) in [(true, 1), (false, 0)] {
        let behaviour = Behaviour::of(Era::V2_8).with(Fix::KeepCheckpointOfStopped, kept);
        let mut cluster = Cluster::new(behaviour, &[1, 2]);
        cluster.elect(1, 0, &[1, 2]);
        cluster.produce(1, Acks::All, "a");
        cluster.pass(Span::secs(6));
        stop(&mut cluster, 2, 1, false);
        cluster.pass(Span::secs(6));
        cluster.kill(2);
        cluster.restart(2);
        assert_eq!(cluster.bounds(2).1, mark, "KAFKA-681");
    }
}

#[test]
fn a_failed_disk_takes_its_partitions_offline() {
    let mut cluster = Cluster::new(Behaviour::of(Era::V2_8), &[1, 2]);
    cluster.elect(1, 0, &[1, 2]);
    cluster.nodes.get_mut(&1).unwrap().disk.failing = Some(protocol::disk::DiskError::Io);
    assert_eq!(
        cluster.produce_now(1, Acks::Leader, "a"),
        ErrorCode::KafkaStorageError
    );
    let told = cluster.state(1, 1, &[1, 2]);
    assert_eq!(cluster.tell(1, &told), ErrorCode::KafkaStorageError);
    assert_eq!(cluster.exits, [1], "its only directory");
}

#[test]
fn one_failed_directory_of_two_ends_a_broker_before_kip_112() {
    for (era, ends) in [(Era::V0_9, true), (Era::V1_0, false)] {
        let mut cluster = Cluster::with(Behaviour::of(era), &[1], |config| {
            config.log_dirs = vec!["one".to_owned(), "two".to_owned()];
        });
        cluster.elect(1, 0, &[1]);
        cluster.nodes.get_mut(&1).unwrap().disk.failing = Some(protocol::disk::DiskError::Io);
        cluster.produce_now(1, Acks::Leader, "a");
        assert_eq!(!cluster.exits.is_empty(), ends, "{era}");
    }
}

#[test]
fn a_follower_whose_leader_is_unknown_waits_to_be_told_again() {
    let mut cluster = Cluster::new(Behaviour::of(Era::V2_8), &[1, 2]);
    cluster.kill(1);
    let told = cluster.state(1, 0, &[1]);
    assert_eq!(cluster.tell(2, &told), ErrorCode::None);
    assert!(!cluster.saw(2, |note| matches!(note, ReplicaNote::BecameFollower { .. })));
    assert_eq!(cluster.bounds(2), (0, 0, 0));
    cluster.restart(1);
    let told = cluster.state(1, 1, &[1]);
    cluster.tell(1, &told);
    cluster.tell(2, &told);
    assert!(cluster.saw(2, |note| matches!(note, ReplicaNote::BecameFollower { .. })));
}

#[test]
fn a_replica_whose_disk_was_replaced_refuses_to_lead_until_it_has_caught_up() {
    for fixed in [true, false] {
        let behaviour = Behaviour::of(Era::Sound).with(Fix::RejectEmptyLog, fixed);
        let mut cluster = Cluster::new(behaviour, &[1, 2]);
        // In sync by the controller's word, and nobody leads yet; the order makes its log.
        let mut offline = cluster.state(1, 3, &[2]);
        offline.state.leader = None;
        assert_eq!(cluster.tell(2, &offline), ErrorCode::None);
        let refused = cluster.tell(2, &cluster.state(2, 4, &[2]));
        assert_eq!(refused == ErrorCode::KafkaStorageError, fixed);
        // Out of the in-sync replicas it begins to follow, and may lead when it is let in again.
        let follow = cluster.state(1, 5, &[1]);
        assert_eq!(cluster.tell(2, &follow), ErrorCode::None);
        let lead = cluster.state(2, 6, &[2]);
        assert_eq!(cluster.tell(2, &lead), ErrorCode::None);
    }
}

#[test]
fn a_replica_that_never_got_the_order_to_make_its_log_may_lead() {
    let mut cluster = Cluster::new(Behaviour::of(Era::Sound), &[1, 2]);
    let mut other = cluster.state(2, 0, &[2]);
    other.partition = TopicPartition::new("other", 0);
    assert_eq!(cluster.tell(1, &other), ErrorCode::None);
    let lead = cluster.state(1, 3, &[1]);
    assert_eq!(cluster.tell(1, &lead), ErrorCode::None);
}

#[test]
fn a_replica_whose_disk_was_replaced_refuses_to_lead_and_follows() {
    for fixed in [true, false] {
        let behaviour = Behaviour::of(Era::Sound).with(Fix::RejectEmptyLog, fixed);
        let mut cluster = Cluster::new(behaviour, &[1, 2]);
        let error = if fixed {
            ErrorCode::KafkaStorageError
        } else {
            ErrorCode::None
        };
        let lead = cluster.state(1, 3, &[1]);
        assert_eq!(cluster.tell(1, &lead), error);
        let follow = cluster.state(2, 4, &[2]);
        assert_eq!(cluster.tell(1, &follow), ErrorCode::None);
        assert_eq!(
            cluster.tell(1, &cluster.state(1, 5, &[2, 1])),
            ErrorCode::None
        );
    }
}
