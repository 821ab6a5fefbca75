//! Registering, and finding the znode there already.

use super::*;
use crate::coordination::CoordinationEvent;
use protocol::behaviour::Fix;
use protocol::ids::BrokerEpoch;
use std::sync::Arc;

#[test]
fn a_broker_prepares_registers_and_learns_its_epoch() {
    let cluster = Cluster::modern();
    let broker = cluster.broker(1);
    let [
        CoordinationEvent::Prepared {
            cluster_id: Some(cluster_id),
        },
        CoordinationEvent::Registered(epoch),
    ] = &broker.events[..]
    else {
        panic!("{:?}", broker.events);
    };
    assert_eq!(cluster_id.len(), 22);
    assert_eq!(cluster.broker(3).events[0], broker.events[0]);
    assert_eq!(broker.coordination.registration.epoch(), Some(*epoch));
    let registered = cluster.world.keeper.data("/brokers/ids/1").unwrap();
    assert!(registered.contains("PLAINTEXT://b1:9092"), "{registered}");
}

#[test]
fn a_cluster_of_0_9_has_no_id_and_none_of_the_later_znodes() {
    let cluster = Cluster::of(Behaviour::of(Era::V0_9));
    assert_eq!(
        cluster.broker(1).events[0],
        CoordinationEvent::Prepared { cluster_id: None }
    );
    let there = |path: &str| cluster.world.keeper.data(path).is_some();
    assert!(there("/isr_change_notification"));
    assert!(!there("/cluster") && !there("/latest_producer_id_block"));
    let old = Cluster::of(Behaviour::of(Era::V0_8));
    assert!(old.world.keeper.data("/isr_change_notification").is_none());
}

fn refusal(cluster: &Cluster, id: i32) -> Option<&Arc<str>> {
    cluster
        .broker(id)
        .events
        .iter()
        .find_map(|event| match event {
            CoordinationEvent::Refused(why) => Some(why),
            _ => None,
        })
}

#[test]
fn a_broker_that_restarts_faster_than_its_session_ends_is_refused() {
    let mut cluster = Cluster::modern();
    cluster.world.kill("b2");
    cluster.start(2);
    let why = refusal(&cluster, 2).expect("the old session owns the znode");
    assert!(why.contains("/brokers/ids/2"), "{why}");
}

#[test]
fn the_broker_of_0_8_waits_until_its_former_session_is_over() {
    let mut cluster = Cluster::of(Behaviour::of(Era::V0_8));
    let former = cluster.session(2);
    cluster.world.kill("b2");
    cluster.world.pass(Span::millis(5));
    cluster.start(2);
    assert_eq!(refusal(&cluster, 2), None);
    assert_eq!(cluster.broker(2).events.len(), 1);
    cluster.world.expire(former);
    cluster.world.pass(Span::secs(7));
    assert!(matches!(
        cluster.broker(2).events[..],
        [_, CoordinationEvent::Registered(_)]
    ));
}

/// The session of broker 2 ends but its znode stays (ZOOKEEPER-2985); which epochs it got.
fn with_left_over_node(fix: bool) -> (Vec<BrokerEpoch>, bool) {
    let behaviour = Behaviour::of(Era::V2_8).with(Fix::EphemeralOwnerCheck, fix);
    let mut cluster = Cluster::of(behaviour);
    let session = cluster.session(2);
    cluster.world.expire_but_keep_nodes(session);
    cluster.world.pass(Span::secs(5));
    let epochs = cluster
        .broker(2)
        .events
        .iter()
        .filter_map(|event| match event {
            CoordinationEvent::Registered(epoch) => Some(*epoch),
            _ => None,
        });
    (epochs.collect(), refusal(&cluster, 2).is_some())
}

#[test]
fn a_node_of_ones_own_former_session_is_replaced() {
    let (epochs, refused) = with_left_over_node(true);
    assert!(epochs.len() == 2 && epochs[0] < epochs[1] && !refused);
}

#[test]
fn without_kafka_7165_the_broker_lives_on_unregistered() {
    let (epochs, refused) = with_left_over_node(false);
    assert!(epochs.len() == 1 && refused);
}

/// The first session of a broker ends before the broker hears that it is registered.
fn expired_at_startup(behaviour: Behaviour) -> Vec<CoordinationEvent> {
    let mut cluster = Cluster::of(behaviour);
    cluster.crash(2);
    cluster.world.keeper.lose_reply_to("/brokers/ids/2");
    cluster.start(2);
    let session = cluster.session(2);
    cluster.world.expire(session);
    cluster.world.pass(Span::secs(30));
    cluster.broker(2).events.clone()
}

#[test]
fn a_session_that_ends_during_startup_is_followed_by_no_registration() {
    let events = expired_at_startup(Behaviour::of(Era::V2_8));
    assert!(
        events.contains(&CoordinationEvent::SessionExpired),
        "{events:?}"
    );
    let registered = |event: &CoordinationEvent| matches!(event, CoordinationEvent::Registered(_));
    assert!(!events.iter().any(registered), "{events:?}");
}

#[test]
fn zkclient_tries_the_registration_again_in_the_next_session() {
    let events = expired_at_startup(Behaviour::of(Era::V0_9));
    assert!(
        matches!(events.last(), Some(CoordinationEvent::Registered(_))),
        "{events:?}"
    );
}
