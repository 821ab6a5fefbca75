//! Brokers that die, leave and come back: who leads, who is in sync, who is told.

use super::*;
use protocol::api::cluster::ControlledShutdownRequest;
use protocol::api::topics::{ElectLeadersRequest, ElectLeadersResponse};
use protocol::behaviour::Fix;
use protocol::error_code::ErrorCode;
use protocol::note::{ControllerNote, ElectionKind, Note};

#[test]
fn a_new_topic_is_led_by_the_first_replica_and_everybody_hears_of_it() {
    let mut cluster = Cluster::modern();
    cluster.create(placed("orders", &[&[2, 3, 1]]));
    assert_eq!(cluster.leader(&orders()), Some(2));
    assert_eq!(cluster.isr(&orders()), ids(&[2, 3, 1]));
    for id in 1..=3 {
        let broker = cluster.broker(id);
        assert_eq!(broker.told[&orders()].leader, Some(BrokerId(2)));
        let cached = broker.cache.partition(&orders()).unwrap();
        assert_eq!(cached.leader, Some(BrokerId(2)));
    }
}

#[test]
fn when_a_leader_dies_the_next_in_sync_replica_takes_over() {
    let mut cluster = Cluster::modern();
    cluster.create(placed("orders", &[&[2, 3, 1]]));
    cluster.crash(2);
    assert_eq!(cluster.leader(&orders()), Some(3));
    assert_eq!(cluster.isr(&orders()), ids(&[3, 1]));
    let told = &cluster.broker(1).told[&orders()];
    assert_eq!(told.leader, Some(BrokerId(3)));
    assert_eq!(told.isr, ids(&[3, 1]));
    assert!(!cluster.broker(1).cache.has_alive(BrokerId(2)));
    let clean = |(_, note): &&(String, Note)| {
        matches!(note, Note::Controller(ControllerNote::LeaderElected { kind, .. })
            if *kind == ElectionKind::Clean)
    };
    assert_eq!(cluster.world.notes.iter().filter(clean).count(), 1);
}

#[test]
fn a_partition_whose_last_in_sync_replica_is_dead_waits_for_it() {
    let mut cluster = Cluster::modern();
    cluster.create(placed("orders", &[&[2, 3]]));
    cluster.crash(3);
    cluster.crash(2);
    assert_eq!(cluster.leader(&orders()), None);
    assert_eq!(cluster.isr(&orders()), ids(&[2]));
    cluster.start(3);
    assert_eq!(cluster.leader(&orders()), None, "broker 3 is not in sync");
    cluster.start(2);
    assert_eq!(cluster.leader(&orders()), Some(2));
    let cached = cluster.broker(1).cache.partition(&orders()).unwrap();
    assert_eq!(cached.leader, Some(BrokerId(2)));
}

#[test]
fn a_topic_may_allow_what_its_brokers_do_not() {
    let mut cluster = Cluster::modern();
    let mut topic = placed("orders", &[&[2, 3]]);
    let key = "unclean.leader.election.enable".to_owned();
    topic.config.insert(key, "true".to_owned());
    cluster.create(topic);
    cluster.crash(3);
    cluster.crash(2);
    cluster.start(3);
    assert_eq!(cluster.leader(&orders()), Some(3));
    assert_eq!(cluster.isr(&orders()), ids(&[3]));
}

#[test]
fn before_kafka_1028_nobody_could_forbid_an_unclean_election() {
    for (has, leader) in [(true, None), (false, Some(3))] {
        let behaviour = Behaviour::of(Era::V2_8).with(Fix::UncleanElectionSetting, has);
        let mut cluster = Cluster::of(behaviour);
        cluster.create(placed("orders", &[&[2, 3]]));
        cluster.crash(3);
        cluster.crash(2);
        cluster.start(3);
        assert_eq!(cluster.leader(&orders()), leader);
    }
}

#[test]
fn a_broker_that_bounces_between_two_looks_is_told_everything_again() {
    let mut cluster = Cluster::modern();
    cluster.create(placed("orders", &[&[2, 3]]));
    // The controller sleeps while broker 2 goes and comes.
    cluster.world.pause("b1");
    cluster.crash(2);
    cluster.start(2);
    assert!(cluster.broker(2).told.is_empty());
    cluster.world.resume("b1");
    cluster.world.pass(Span::secs(1));
    assert_eq!(cluster.leader(&orders()), Some(3));
    assert_eq!(cluster.broker(2).told[&orders()].leader, Some(BrokerId(3)));
}

#[test]
fn controlled_shutdown_moves_leaders_away_and_the_broker_out_of_the_isr() {
    let mut cluster = Cluster::modern();
    cluster.create(placed("orders", &[&[2, 3], &[3, 2]]));
    cluster.create(placed("alone", &[&[2]]));
    let request = ControlledShutdownRequest {
        broker_id: BrokerId(2),
        broker_epoch: cluster.broker(2).coordination.registration.epoch(),
    };
    let ResponseBody::ControlledShutdown(response) = cluster.call(1, request) else {
        panic!("another answer");
    };
    assert_eq!(response.error, ErrorCode::None);
    assert_eq!(response.remaining, []);
    assert_eq!(cluster.leader(&orders()), Some(3));
    assert_eq!(cluster.isr(&orders()), ids(&[3]));
    assert_eq!(cluster.isr(&TopicPartition::new("orders", 1)), ids(&[3]));
    let alone = TopicPartition::new("alone", 0);
    assert_eq!(cluster.leader(&alone), Some(2), "nobody else has it");
    // The leaving broker hears that it leads no more (KAFKA-7482).
    assert_eq!(cluster.broker(2).told[&orders()].leader, Some(BrokerId(3)));
}

#[test]
fn whom_the_controller_took_out_is_told_once_although_the_answer_of_the_keeper_was_lost() {
    for lost in [false, true] {
        let mut cluster = Cluster::modern();
        cluster.create(placed("orders", &[&[3, 2, 1]]));
        if lost {
            let path = "/brokers/topics/orders/partitions/0/state";
            cluster.world.keeper.lose_reply_to(path);
        }
        cluster.crash(2);
        cluster.world.pass(Span::secs(3));
        assert_eq!(cluster.isr(&orders()), ids(&[3, 1]));
        let written = |(_, note): &&(String, Note)| matches!(note, Note::Controller(ControllerNote::IsrWritten { isr, .. }) if *isr == ids(&[3, 1]));
        assert_eq!(cluster.world.notes.iter().filter(written).count(), 1);
    }
}

#[test]
fn controlled_shutdown_is_for_the_controller_and_for_the_present_life() {
    let mut cluster = Cluster::modern();
    let epoch = cluster.broker(2).coordination.registration.epoch();
    let mut request = ControlledShutdownRequest {
        broker_id: BrokerId(2),
        broker_epoch: epoch,
    };
    let error = |response: ResponseBody| match response {
        ResponseBody::ControlledShutdown(response) => response.error,
        other => panic!("{other:?}"),
    };
    assert_eq!(
        error(cluster.call(3, request.clone())),
        ErrorCode::NotController
    );
    request.broker_epoch = epoch.map(|epoch| protocol::ids::BrokerEpoch(epoch.0 - 1));
    assert_eq!(
        error(cluster.call(1, request.clone())),
        ErrorCode::StaleBrokerEpoch
    );
    request.broker_id = BrokerId(9);
    assert_eq!(
        error(cluster.call(1, request)),
        ErrorCode::BrokerNotAvailable
    );
}

/// orders-0 on 2 and 3, broker 2 back in sync but not leading.
fn led_by_the_second() -> Cluster {
    let mut cluster = Cluster::modern();
    cluster.create(placed("orders", &[&[2, 3]]));
    cluster.crash(2);
    cluster.start(2);
    cluster.world.with("b3", |node, now, io| {
        node.broker_mut().wish(now, io, &orders(), &[3, 2]);
    });
    assert_eq!(cluster.leader(&orders()), Some(3));
    assert_eq!(cluster.isr(&orders()), ids(&[3, 2]));
    cluster
}

fn elect(cluster: &mut Cluster, partition: TopicPartition) -> ElectLeadersResponse {
    let request = ElectLeadersRequest {
        unclean: false,
        partitions: Some(vec![partition]),
        timeout: Span::secs(30),
    };
    match cluster.call(1, request) {
        ResponseBody::ElectLeaders(response) => response,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_preferred_replica_leads_again_when_asked_to() {
    let mut cluster = led_by_the_second();
    let response = elect(&mut cluster, orders());
    assert_eq!(response.partitions, [(orders(), ErrorCode::None)]);
    assert_eq!(cluster.leader(&orders()), Some(2));
    let response = elect(&mut cluster, orders());
    assert_eq!(
        response.partitions,
        [(orders(), ErrorCode::ElectionNotNeeded)]
    );
    let unknown = TopicPartition::new("payments", 0);
    let response = elect(&mut cluster, unknown.clone());
    let expected = [(unknown, ErrorCode::UnknownTopicOrPartition)];
    assert_eq!(response.partitions, expected);
}

#[test]
fn the_preferred_replica_leads_again_by_itself_after_a_while() {
    let mut cluster = led_by_the_second();
    cluster.world.pass(Span::secs(310));
    assert_eq!(cluster.leader(&orders()), Some(2));
}

#[test]
fn a_failed_directory_shows_in_the_answer_and_costs_the_leadership() {
    let mut cluster = Cluster::modern();
    cluster.create(placed("orders", &[&[2, 3]]));
    let broken = cluster.world.nodes.get_mut("b2").unwrap();
    broken.broker_mut().broken.push(orders());
    let notice = crate::keeper_session::create(
        format!("{}0", paths::LOG_DIR_EVENT_PREFIX),
        crate::znode::json::encode_log_dir_event(BrokerId(2)),
    );
    cluster.world.write(&notice);
    assert_eq!(cluster.leader(&orders()), Some(3));
    assert_eq!(cluster.isr(&orders()), ids(&[3]));
    assert!(
        cluster
            .world
            .keeper
            .children(paths::LOG_DIR_EVENTS)
            .is_empty()
    );
}

#[test]
fn when_a_follower_dies_everybody_hears_of_the_epoch_in_which_the_leader_goes_on() {
    let mut cluster = Cluster::modern();
    cluster.create(placed("orders", &[&[2, 3]]));
    cluster.crash(3);
    let stored = cluster.state(&orders()).state;
    assert_eq!(stored.isr, ids(&[2]));
    let cached = cluster.broker(1).cache.partition(&orders()).unwrap();
    assert_eq!(cached.leader_epoch, stored.leader_epoch);
    assert_eq!(cached.isr, stored.isr);
}
