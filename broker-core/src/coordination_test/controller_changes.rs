//! Controllers that die, expire and wake up again.

use super::*;
use protocol::api::cluster::ControlledShutdownRequest;
use protocol::behaviour::Fix;
use protocol::error_code::ErrorCode;
use protocol::ids::ControllerEpoch;
use protocol::note::{ControllerNote, Note};

fn elected(cluster: &Cluster) -> Vec<(String, i32)> {
    let elections = cluster
        .world
        .notes
        .iter()
        .filter_map(|(host, note)| match note {
            Note::Controller(ControllerNote::Elected { epoch }) => Some((host.clone(), epoch.0)),
            _ => None,
        });
    elections.collect()
}

#[test]
fn the_first_broker_is_the_controller_and_the_epoch_counts_up() {
    for era in Era::ALL {
        let mut cluster = Cluster::of(Behaviour::of(era));
        assert_eq!(elected(&cluster), [("b1".to_owned(), 1)], "{era}");
        assert_eq!(
            cluster
                .broker(3)
                .coordination
                .controller
                .active_controller(),
            Some(BrokerId(1))
        );
        cluster.crash(1);
        assert_eq!(elected(&cluster).len(), 2, "{era}");
        let epoch = cluster.world.keeper.data(paths::CONTROLLER_EPOCH);
        assert_eq!(epoch.as_deref(), Some("2"), "{era}");
        let active = [2, 3].map(|id| cluster.broker(id).coordination.controller.is_active());
        assert_ne!(active[0], active[1], "{era}");
    }
}

#[test]
fn a_new_controller_finds_leaders_for_what_died_with_the_old_one() {
    for era in Era::ALL {
        let mut cluster = Cluster::of(Behaviour::of(era));
        cluster.create(placed("orders", &[&[1, 2, 3]]));
        cluster.crash(1);
        assert_eq!(cluster.leader(&orders()), Some(2), "{era}");
        assert_eq!(cluster.isr(&orders()), ids(&[2, 3]), "{era}");
        let state = cluster.state(&orders());
        assert_eq!(state.controller_epoch, ControllerEpoch(2), "{era}");
        assert_eq!(cluster.broker(3).told[&orders()].leader, Some(BrokerId(2)));
        assert!(!cluster.broker(3).cache.has_alive(BrokerId(1)));
    }
}

/// How many partitions a broker is ordered to lead or follow without having heard of them, when a cluster starts anew.
fn unheard_of_after_a_restart(fix: bool) -> usize {
    let fix_and = Behaviour::of(Era::Sound).with(Fix::PartitionsBeforeOrders, fix);
    let mut cluster = Cluster::of(fix_and);
    cluster.create(placed("orders", &[&[1, 2], &[2, 1]]));
    for id in [3, 2, 1] {
        cluster.crash(id);
    }
    cluster.start(1);
    assert_eq!(cluster.broker(1).told.len(), 2, "it is told what it leads");
    cluster.broker(1).unheard_of
}

#[test]
fn after_a_restart_of_the_cluster_a_broker_knows_all_partitions_before_it_leads_any() {
    assert_eq!(unheard_of_after_a_restart(true), 0);
}

#[test]
fn in_kafka_it_is_told_first_what_it_leads() {
    assert_eq!(unheard_of_after_a_restart(false), 2);
}

/// Broker 1, the controller, sleeps over its session with a request in its queue; another one is elected; then it wakes
/// up and serves the request before it hears that its session is over.
fn zombie(fix: bool) -> Cluster {
    let mut cluster = Cluster::of(Behaviour::of(Era::V2_8).with(Fix::ControllerMultiCheck, fix));
    cluster.create(placed("orders", &[&[2, 3]]));
    let session = cluster.session(1);
    cluster.world.pause("b1");
    cluster.ask(
        1,
        ControlledShutdownRequest {
            broker_id: BrokerId(2),
            broker_epoch: None,
        },
    );
    cluster.world.expire_silently(session);
    assert_eq!(elected(&cluster).len(), 2);
    cluster.world.keeper.writes.clear();
    cluster.world.resume("b1");
    cluster
}

#[test]
fn a_controller_that_was_replaced_writes_nothing() {
    let mut cluster = zombie(true);
    assert_eq!(cluster.world.keeper.writes, Vec::<String>::new());
    assert!(!cluster.broker(1).coordination.controller.is_active());
    assert_eq!(cluster.leader(&orders()), Some(2));
    let Some(ResponseBody::ControlledShutdown(response)) = cluster.answer() else {
        panic!("an answer is due");
    };
    assert_eq!(response.error, ErrorCode::StaleControllerEpoch);
}

#[test]
fn without_the_check_it_moves_a_leader_behind_the_brokers_backs() {
    let cluster = zombie(false);
    assert_eq!(cluster.leader(&orders()), Some(3));
    assert_eq!(
        cluster.state(&orders()).controller_epoch,
        ControllerEpoch(1)
    );
    // The brokers refuse its requests (KAFKA-1188) and go on as before.
    assert!(cluster.broker(3).refused > 0);
    assert_eq!(cluster.broker(2).told[&orders()].leader, Some(BrokerId(2)));
}

#[test]
fn an_expired_controller_resigns_registers_and_follows_the_new_one() {
    let mut cluster = Cluster::modern();
    cluster.create(placed("orders", &[&[1, 2]]));
    let session = cluster.session(1);
    cluster.world.expire(session);
    cluster.world.pass(Span::secs(5));
    assert!(!cluster.broker(1).coordination.controller.is_active());
    assert_eq!(elected(&cluster).len(), 2);
    let resigned = |(host, note): &(String, Note)| {
        host == "b1" && matches!(note, Note::Controller(ControllerNote::Resigned { .. }))
    };
    assert!(cluster.world.notes.iter().any(resigned));
    assert!(cluster.world.keeper.data("/brokers/ids/1").is_some());
    assert_eq!(cluster.leader(&orders()), Some(2));
    assert!(cluster.broker(2).cache.has_alive(BrokerId(1)));
}

#[test]
fn a_claim_whose_answer_was_lost_is_recognised_as_ones_own() {
    let mut cluster = Cluster::modern();
    let first = cluster.session(1);
    cluster.world.keeper.lose_reply_to(paths::CONTROLLER_EPOCH);
    cluster.world.kill("b1");
    cluster.world.kill("b3");
    cluster.world.expire(first);
    assert!(
        !cluster.broker(2).coordination.controller.is_active(),
        "the answer is lost"
    );
    cluster.world.pass(Span::secs(5));
    assert!(cluster.broker(2).coordination.controller.is_active());
    assert_eq!(elected(&cluster).last(), Some(&("b2".to_owned(), 2)));
    let epoch = cluster.world.keeper.data(paths::CONTROLLER_EPOCH);
    assert_eq!(epoch.as_deref(), Some("2"));
}

/// Nobody else is there to be elected when the controller's session ends.
#[test]
fn a_controller_that_is_elected_again_hears_of_topics_since_kafka_928() {
    for fixed in [true, false] {
        let behaviour = Behaviour::of(Era::V0_8).with(Fix::RewatchAfterExpiry, fixed);
        let mut cluster = Cluster::of(behaviour);
        cluster.crash(2);
        cluster.crash(3);
        let session = cluster.session(1);
        cluster.world.expire(session);
        cluster.world.pass(Span::secs(5));
        assert_eq!(elected(&cluster).len(), 2);
        let request = CreateTopicsRequest {
            topics: vec![placed("orders", &[&[1]])],
            timeout: Span::secs(30),
            validate_only: false,
        };
        cluster.ask(1, request);
        let state = paths::partition_state(&orders());
        assert_eq!(cluster.world.keeper.data(&state).is_some(), fixed);
    }
}
