//! Eligible leader replicas (KIP-966): who leads when the last one in sync is gone, with the switch and without.

use super::in_sync_replicas::wish;
use super::*;
use crate::keeper_session::set_data;
use crate::znode::json::{Eligible, encode_config};
use protocol::behaviour::Fix;

/// orders-0 on 3 and 2, which both have to be in sync; broker 3 leads and is alone.
fn last_one_standing(fix: bool) -> Cluster {
    let behaviour = Behaviour::of(Era::Sound).with(Fix::EligibleLeaderReplicas, fix);
    let mut cluster = Cluster::of(behaviour);
    let mut orders = placed("orders", &[&[3, 2]]);
    let two = ("min.insync.replicas".to_owned(), "2".to_owned());
    orders.config.extend([two]);
    cluster.create(orders);
    assert!(wish(&mut cluster, 3, &[3]).unwrap().1.is_ok());
    cluster
}

fn eligible(cluster: &Cluster) -> Eligible {
    cluster.state(&orders()).eligible
}

fn of(replicas: &[i32], last_known: &[i32]) -> Eligible {
    Eligible {
        replicas: ids(replicas),
        last_known: ids(last_known),
    }
}

#[test]
fn who_leaves_below_the_minimum_is_eligible_with_kip_966() {
    assert_eq!(eligible(&last_one_standing(true)), of(&[2], &[]));
    assert_eq!(eligible(&last_one_standing(false)), Eligible::default());
}

#[test]
fn the_last_one_standing_leads_again_after_a_crash_and_with_kip_966_an_eligible_replica_instead() {
    for fix in [true, false] {
        let mut cluster = last_one_standing(fix);
        cluster.crash(3);
        assert_eq!(cluster.leader(&orders()), fix.then_some(2));
        assert_eq!(cluster.isr(&orders()), ids(&[if fix { 2 } else { 3 }]));
        assert_eq!(
            eligible(&cluster).replicas,
            ids(if fix { &[3] } else { &[] })
        );
        // Nobody can say that it stopped in good order.
        cluster.start(3);
        assert_eq!(cluster.leader(&orders()), Some(if fix { 2 } else { 3 }));
        assert_eq!(eligible(&cluster).replicas, []);
    }
}

#[test]
fn who_led_last_leads_again_when_nobody_is_eligible_any_more() {
    let mut cluster = last_one_standing(true);
    cluster.crash(2);
    assert_eq!(eligible(&cluster), of(&[2], &[]));
    cluster.start(2);
    assert_eq!(eligible(&cluster), of(&[], &[2]), "struck out");
    cluster.crash(3);
    assert_eq!(cluster.leader(&orders()), None);
    assert_eq!(cluster.isr(&orders()), []);
    assert_eq!(eligible(&cluster), of(&[3], &[3]));
    cluster.start(3);
    assert_eq!(cluster.leader(&orders()), Some(3));
    assert_eq!(cluster.isr(&orders()), ids(&[3]));
    assert_eq!(eligible(&cluster), Eligible::default());
}

#[test]
fn a_broker_that_stopped_in_good_order_stays_eligible() {
    for clean in [true, false] {
        let mut cluster = last_one_standing(true);
        cluster.crash(2);
        cluster.start_after(2, clean);
        cluster.crash(3);
        assert_eq!(cluster.leader(&orders()), clean.then_some(2));
    }
}

#[test]
fn a_new_controller_strikes_out_whose_registration_its_predecessor_did_not_live_to_see() {
    for clean in [true, false] {
        let mut cluster = last_one_standing(true);
        let [first, second, third] = [1, 2, 3].map(|id| cluster.session(id));
        for broker in ["b1", "b2", "b3"] {
            cluster.world.kill(broker);
        }
        cluster.world.expire(third);
        cluster.start_after(3, clean);
        cluster.world.expire(second);
        cluster.world.expire(first);
        let controller = &cluster.broker(3).coordination.controller;
        assert_eq!(controller.active_controller(), Some(BrokerId(3)));
        // Struck out, it waits for broker 2, which is eligible.
        assert_eq!(cluster.leader(&orders()), clean.then_some(3));
    }
}

#[test]
fn another_minimum_makes_everybody_forget_who_was_eligible() {
    let mut cluster = last_one_standing(true);
    let config = BTreeMap::from([("min.insync.replicas".to_owned(), "3".to_owned())]);
    let data = encode_config(&config);
    let path = paths::topic_config(&TopicName::from("orders"));
    cluster.world.keeper.write(&set_data(path, data, -1));
    cluster.world.with("b1", |node, _, io| {
        let controller = &mut node.broker_mut().coordination.controller;
        controller.settings_changed(io, TopicName::from("orders"));
    });
    assert_eq!(eligible(&cluster), Eligible::default());
}
