//! In-sync replicas: who leaves, who comes back, and who writes it down.

use super::*;
use protocol::api::TopicIds;
use protocol::behaviour::{Fix, InterBrokerProtocol};
use protocol::ids::BrokerEpoch;

fn keeper_path() -> Behaviour {
    Behaviour::of(Era::V2_8).speaking(InterBrokerProtocol::V2_6Iv0)
}

/// Broker 2 is silent until it is put out; the wish for that.
fn put_2_out(cluster: &mut Cluster) -> IsrUpdate {
    cluster.elect(1, 0, &[1, 2]);
    cluster.hold(2);
    cluster.produce(1, Acks::Leader, "a");
    cluster.pass(Span::secs(29));
    assert!(!cluster.has_wish(1));
    cluster.pass(Span::secs(16));
    cluster.wish(1)
}

#[test]
fn a_silent_follower_is_put_out_and_comes_back_through_the_controller() {
    let mut cluster = Cluster::new(Behaviour::of(Era::Sound), &[1, 2]);
    let wish = put_2_out(&mut cluster);
    assert_eq!(wish.new_isr, brokers(&[1]));
    assert_eq!(
        cluster.bounds(1),
        (0, 0, 1),
        "2 counts until the controller agrees"
    );
    cluster.grant(1, &wish);
    assert_eq!(cluster.bounds(1), (0, 1, 1));
    cluster.release(2);
    cluster.pass(Span::secs(3));
    let wish = cluster.wish(1);
    assert_eq!(wish.new_isr, brokers(&[1, 2]));
    cluster.grant(1, &wish);
    let changed = ReplicaNote::IsrChanged {
        isr: brokers(&[1, 2]),
        partition_epoch: PartitionEpoch(2),
    };
    assert!(cluster.saw(1, |note| *note == changed));
}

#[test]
fn without_kafka_13091_a_granted_shrink_leaves_the_mark_until_the_next_append() {
    let mut cluster = Cluster::new(Behaviour::of(Era::V2_8), &[1, 2]);
    let wish = put_2_out(&mut cluster);
    cluster.grant(1, &wish);
    assert_eq!(cluster.bounds(1), (0, 0, 1));
    cluster.produce(1, Acks::Leader, "b");
    assert_eq!(cluster.bounds(1), (0, 2, 2));
}

#[test]
fn a_replica_on_its_way_in_holds_the_mark_only_with_the_maximal_set() {
    for maximal in [true, false] {
        let behaviour = Behaviour::of(Era::V2_8).with(Fix::MaximalIsr, maximal);
        let mut cluster = Cluster::new(behaviour, &[1, 2, 3]);
        cluster.elect(1, 0, &[1, 2]);
        // 3 has fetched at offset 0, so it is about to come in; then it is lost from sight.
        let wish = cluster.wish(1);
        assert_eq!(wish.new_isr, brokers(&[1, 2, 3]));
        cluster.hold(3);
        cluster.pass(Span::secs(31));
        let asked = cluster.produce(1, Acks::All, "a");
        cluster.run();
        assert_eq!(cluster.produced(asked).is_none(), maximal, "R-27");
    }
}

#[test]
fn a_leader_forgets_its_followers_when_it_missed_an_election() {
    for (fixed, epoch, committed) in [(true, 1, 1), (true, 2, 0), (false, 2, 1)] {
        let behaviour = Behaviour::of(Era::Sound).with(Fix::ForgetAfterMissedEpoch, fixed);
        let mut cluster = Cluster::new(behaviour, &[1, 2, 3]);
        cluster.elect(1, 0, &[1, 2, 3]);
        cluster.hold(3);
        cluster.produce(1, Acks::All, "a");
        cluster.run();
        assert_eq!(cluster.bounds(1), (0, 0, 1), "3 does not have it");
        cluster.hold(2);
        // In epoch 1 another one may have led, and 2 may have cut its log to that one's.
        let told = cluster.state(1, epoch, &[1, 2]);
        assert_eq!(cluster.tell(1, &told), ErrorCode::None);
        assert_eq!(cluster.bounds(1), (0, committed, 1), "epoch {epoch}");
    }
}

#[test]
fn a_keeper_write_locks_the_partition_until_it_is_answered() {
    let mut cluster = Cluster::new(keeper_path(), &[1, 2]);
    let wish = put_2_out(&mut cluster);
    let asked = cluster.produce(1, Acks::Leader, "b");
    assert!(cluster.produced(asked).is_none());
    let told = cluster.state(2, 1, &[2]);
    let request = LeaderAndIsrRequest {
        controller: Cluster::stamp(1),
        partitions: vec![told],
        topic_ids: TopicIds::new(),
        live_leaders: Vec::new(),
    };
    let deposed = cluster.ask(1, 4, request);
    assert!(!cluster.answers.contains_key(&deposed));
    cluster.grant(1, &wish);
    assert_eq!(cluster.produced(asked).unwrap().error, ErrorCode::None);
    assert!(cluster.answers.contains_key(&deposed));
    assert!(
        cluster.bounds(1).1 >= 1,
        "the shrink moved the mark at once"
    );
}

#[test]
fn a_lost_race_for_the_znode_keeps_the_old_set() {
    let mut cluster = Cluster::new(keeper_path(), &[1, 2]);
    let wish = put_2_out(&mut cluster);
    cluster.settle(1, &wish, Err(ErrorCode::InvalidUpdateVersion));
    assert!(cluster.saw(1, |note| matches!(note, ReplicaNote::IsrRefused { .. })));
    assert_eq!(cluster.produce_now(1, Acks::Leader, "b"), ErrorCode::None);
    assert_eq!(cluster.bounds(1).1, 0, "2 is a member as before");
    cluster.pass(Span::secs(15));
    assert!(cluster.has_wish(1), "and is tried again");
}

#[test]
fn a_burst_throws_followers_out_by_the_old_rule_only() {
    for (era, thrown) in [(Era::V0_8, true), (Era::V0_9, false)] {
        let mut cluster = Cluster::with(Behaviour::of(era), &[1, 2], |config| {
            config.replica_lag_max_messages = if era == Era::V0_8 { 5 } else { i64::MAX };
        });
        cluster.elect(1, 0, &[1, 2]);
        cluster.hold(2);
        for _ in 0..7 {
            cluster.produce(1, Acks::Leader, "x");
        }
        cluster.pass(Span::secs(5));
        assert_eq!(cluster.has_wish(1), thrown, "{era}");
    }
}

/// broker 2 leads with a mark that lags behind its log; broker 3 has what is below the mark and no more.
#[test]
fn a_replica_without_the_start_of_the_epoch_stays_out() {
    for (fixed, comes_in) in [(true, false), (false, true)] {
        let behaviour = Behaviour::of(Era::V2_8).with(Fix::IsrExpandFromEpochStart, fixed);
        let mut cluster = Cluster::new(behaviour, &[1, 2, 3, 4]);
        cluster.hold(3);
        cluster.hold(4);
        cluster.elect(1, 0, &[1, 2, 4]);
        for value in ["a", "b", "c"] {
            cluster.produce(1, Acks::Leader, value);
        }
        assert_eq!(cluster.bounds(2), (0, 0, 3));
        cluster.kill(1);
        let told = cluster.state(2, 1, &[2, 4]);
        cluster.tell(2, &told);
        let behind = FetchRequest {
            replica_id: Some(BrokerId(3)),
            ..Cluster::consume(1, Span::ZERO)
        };
        cluster.fetch_now(2, behind);
        assert_eq!(cluster.has_wish(2), comes_in);
    }
}

#[test]
fn a_wish_names_the_life_in_which_a_follower_fetched() {
    let mut cluster = Cluster::new(Behaviour::of(Era::Sound), &[1, 2]);
    cluster.hold(2);
    let told = cluster.state(1, 0, &[1]);
    cluster.tell(1, &told);
    let fetch = FetchRequest {
        replica_id: Some(BrokerId(2)),
        replica_epoch: Some(BrokerEpoch(8)),
        ..Cluster::consume(0, Span::ZERO)
    };
    cluster.fetch_now(1, fetch);
    assert_eq!(cluster.wish(1).isr_epochs, [(BrokerId(2), BrokerEpoch(8))]);
}

#[test]
fn a_dead_broker_is_not_let_in_since_kip_841() {
    for (era, comes_in) in [(Era::V2_8, true), (Era::Sound, false)] {
        let mut cluster = Cluster::new(Behaviour::of(era), &[1, 2]);
        cluster.kill(2);
        let told = cluster.state(1, 0, &[1]);
        cluster.tell(1, &told);
        let late = FetchRequest {
            replica_id: Some(BrokerId(2)),
            ..Cluster::consume(0, Span::ZERO)
        };
        cluster.fetch_now(1, late);
        assert_eq!(cluster.has_wish(1), comes_in, "{era}");
    }
}
