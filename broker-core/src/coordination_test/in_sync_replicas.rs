//! Both ways to change in-sync replicas, alone and in one cluster.

use super::*;
use protocol::api::cluster::{AlterIsrPartition, AlterIsrRequest, LeaderAndIsr};
use protocol::behaviour::{Fix, InterBrokerProtocol};
use protocol::error_code::ErrorCode;
use protocol::ids::{BrokerEpoch, LeaderEpoch, PartitionEpoch};

/// Of which partition, and what became of the wish.
type Answered = (TopicPartition, Result<LeaderAndIsr, ErrorCode>);

pub(super) fn wish(cluster: &mut Cluster, id: i32, isr: &[i32]) -> Option<Answered> {
    cluster.world.with(&format!("b{id}"), |node, now, io| {
        node.broker_mut().wish(now, io, &orders(), isr);
    });
    let node = cluster.world.nodes.get_mut(&format!("b{id}")).unwrap();
    let result = node.broker_mut().results.pop()?;
    Some((result.partition, result.outcome))
}

fn old_protocol() -> Behaviour {
    Behaviour::of(Era::V2_8).speaking(InterBrokerProtocol::V2_6Iv0)
}

#[test]
fn a_leader_of_2_8_asks_the_controller_and_everybody_hears_of_it() {
    let mut cluster = Cluster::modern();
    cluster.create(placed("orders", &[&[2, 3, 1]]));
    let (_, result) = wish(&mut cluster, 2, &[2, 1]).unwrap();
    let state = result.unwrap();
    assert_eq!(state.isr, ids(&[2, 1]));
    assert_eq!(state.partition_epoch, PartitionEpoch(1));
    assert_eq!(state.leader_epoch, LeaderEpoch(0), "no election");
    assert_eq!(cluster.isr(&orders()), ids(&[2, 1]));
    let cached = cluster.broker(3).cache.partition(&orders()).unwrap();
    assert_eq!(cached.isr, ids(&[2, 1]));
}

#[test]
fn a_wish_over_an_old_version_is_refused() {
    let mut cluster = Cluster::modern();
    cluster.create(placed("orders", &[&[2, 3, 1]]));
    assert!(wish(&mut cluster, 2, &[2, 1]).unwrap().1.is_ok());
    let (_, result) = wish(&mut cluster, 2, &[2]).unwrap();
    assert_eq!(result, Err(ErrorCode::InvalidUpdateVersion));
    assert_eq!(cluster.isr(&orders()), ids(&[2, 1]));
}

/// A cluster with, or without, KAFKA-14144.
fn idempotent(fix: bool) -> Cluster {
    let behaviour = Behaviour::of(Era::Sound).with(Fix::IdempotentAlterIsr, fix);
    let mut cluster = Cluster::of(behaviour);
    cluster.create(placed("orders", &[&[2, 3, 1]]));
    cluster
}

#[test]
fn a_wish_that_is_fulfilled_already_is_answered_with_what_is_there_since_kafka_14144() {
    for fix in [true, false] {
        let mut cluster = idempotent(fix);
        let first = wish(&mut cluster, 2, &[2, 1]).unwrap().1.unwrap();
        // The answer was lost: the same wish comes again, over the version from before.
        let again = wish(&mut cluster, 2, &[2, 1]).unwrap().1;
        let refused = Err(ErrorCode::InvalidUpdateVersion);
        assert_eq!(again, if fix { Ok(first) } else { refused });
    }
}

#[test]
fn a_write_of_the_controller_whose_answer_was_lost_is_recognised_as_its_own_since_kafka_14144() {
    for fix in [true, false] {
        let mut cluster = idempotent(fix);
        cluster.world.keeper.lose_next_reply();
        assert_eq!(wish(&mut cluster, 2, &[2, 1]), None);
        cluster.world.pass(Span::secs(3));
        assert_eq!(cluster.isr(&orders()), ids(&[2, 1]), "it was written");
        let result = cluster.broker(2).results.last().unwrap();
        assert_eq!(result.outcome.is_ok(), fix, "{result:?}");
    }
}

fn alter(broker_epoch: BrokerEpoch, leader_epoch: i32, topic: &str) -> AlterIsrRequest {
    AlterIsrRequest {
        broker_id: BrokerId(2),
        broker_epoch,
        partitions: vec![AlterIsrPartition {
            partition: TopicPartition::new(topic, 0),
            leader_epoch: LeaderEpoch(leader_epoch),
            new_isr: ids(&[2]),
            isr_epochs: Vec::new(),
            current_partition_epoch: PartitionEpoch(0),
        }],
    }
}

#[test]
fn the_controller_examines_who_asks_and_for_what() {
    let mut cluster = Cluster::of(Behaviour::of(Era::Sound));
    cluster.create(placed("orders", &[&[2, 3]]));
    cluster.crash(3);
    assert_eq!(cluster.state(&orders()).state.leader_epoch, LeaderEpoch(1));
    let epoch = cluster.broker(2).coordination.registration.epoch().unwrap();
    let check_request = |leader_epoch, topic| alter(epoch, leader_epoch, topic);
    let mut check = |id: i32, request: AlterIsrRequest| match cluster.call(id, request) {
        ResponseBody::AlterIsr(response) => (
            response.error,
            response
                .partitions
                .first()
                .and_then(|(_, result)| result.clone().err()),
        ),
        other => panic!("{other:?}"),
    };
    let none = ErrorCode::None;
    let fenced = check_request(0, "orders");
    assert_eq!(check(1, fenced), (none, Some(ErrorCode::FencedLeaderEpoch)));
    let ahead = check_request(9, "orders");
    assert_eq!(check(1, ahead), (none, Some(ErrorCode::NotController)));
    let unknown = check_request(1, "payments");
    assert_eq!(
        check(1, unknown),
        (none, Some(ErrorCode::UnknownTopicOrPartition))
    );
    let elsewhere = check_request(1, "orders");
    assert_eq!(check(2, elsewhere), (ErrorCode::NotController, None));
    let mut stale = check_request(1, "orders");
    stale.broker_epoch = BrokerEpoch(0);
    assert_eq!(check(1, stale), (ErrorCode::StaleBrokerEpoch, None));
    let mut dead = check_request(1, "orders");
    dead.partitions[0].new_isr = ids(&[2, 3]);
    assert_eq!(
        check(1, dead),
        (none, Some(ErrorCode::OperationNotAttempted))
    );
}

#[test]
fn a_replica_that_fetched_in_an_earlier_life_is_not_let_in_since_kip_903() {
    for fixed in [true, false] {
        let behaviour = Behaviour::of(Era::Sound).with(Fix::BrokerEpochInFetch, fixed);
        let mut cluster = Cluster::of(behaviour);
        cluster.create(placed("orders", &[&[2, 3]]));
        let life = |id: i32| {
            cluster
                .broker(id)
                .coordination
                .registration
                .epoch()
                .unwrap()
        };
        let (asker, earlier) = (life(2), BrokerEpoch(life(3).0 - 1));
        let mut request = alter(asker, 0, "orders");
        request.partitions[0].new_isr = ids(&[2, 3]);
        request.partitions[0].isr_epochs = vec![(BrokerId(3), earlier)];
        let ResponseBody::AlterIsr(response) = cluster.call(1, request) else {
            panic!("an answer of another kind");
        };
        let refused = response.partitions[0].1.clone().err();
        assert_eq!(refused, fixed.then_some(ErrorCode::OperationNotAttempted));
    }
}

#[test]
fn a_leader_of_2_6_writes_itself_and_leaves_a_notice() {
    let mut cluster = Cluster::of(old_protocol());
    cluster.create(placed("orders", &[&[2, 3, 1]]));
    let (_, result) = wish(&mut cluster, 2, &[2, 1]).unwrap();
    assert_eq!(result.unwrap().partition_epoch, PartitionEpoch(1));
    assert_eq!(cluster.isr(&orders()), ids(&[2, 1]));
    let cached = |cluster: &Cluster| {
        cluster
            .broker(3)
            .cache
            .partition(&orders())
            .unwrap()
            .isr
            .clone()
    };
    assert_eq!(cached(&cluster), ids(&[2, 3, 1]), "nobody was told yet");
    cluster.world.pass(Span::secs(8));
    assert_eq!(cached(&cluster), ids(&[2, 1]));
    assert!(cluster.world.keeper.children(paths::ISR_CHANGES).is_empty());
}

#[test]
fn a_write_whose_answer_was_lost_is_recognised_as_ones_own() {
    let mut cluster = Cluster::of(old_protocol());
    cluster.create(placed("orders", &[&[2, 3, 1]]));
    cluster.world.keeper.lose_next_reply();
    assert_eq!(wish(&mut cluster, 2, &[2, 1]), None);
    cluster.world.pass(Span::secs(3));
    let result = cluster.broker(2).results.last().unwrap();
    assert!(result.outcome.is_ok(), "{result:?}");
}

#[test]
fn a_leader_that_missed_an_election_cannot_write() {
    let mut cluster = Cluster::of(old_protocol());
    cluster.create(placed("orders", &[&[2, 3, 1]]));
    cluster.world.pause("b2");
    cluster.crash(3);
    cluster.world.with("b2", |node, now, io| {
        node.broker_mut().wish(now, io, &orders(), &[2]);
    });
    cluster.world.resume("b2");
    let result = cluster.broker(2).results.last().unwrap();
    assert_eq!(result.outcome, Err(ErrorCode::InvalidUpdateVersion));
    assert_eq!(cluster.isr(&orders()), ids(&[2, 1]));
}

#[test]
fn the_wish_follows_the_controller_when_that_changes() {
    let mut cluster = Cluster::modern();
    cluster.create(placed("orders", &[&[2, 3, 1]]));
    // The controller is dead, but nobody knows yet.
    let session = cluster.session(1);
    cluster.world.kill("b1");
    assert_eq!(wish(&mut cluster, 2, &[2, 3]), None);
    cluster.world.pass(Span::secs(1));
    cluster.world.expire(session);
    cluster.world.pass(Span::secs(1));
    let results = &cluster.broker(2).results;
    assert_eq!(results.len(), 1, "{results:?}");
}
