//! A partition's roles, its in-sync replicas and its epochs, without logs and messages.

use super::partition::*;
use protocol::api::cluster::{LeaderAndIsr, LeaderAndIsrPartition};
use protocol::behaviour::{Behaviour, Era, Fix, InterBrokerProtocol};
use protocol::error_code::ErrorCode;
use protocol::ids::{
    BrokerEpoch, BrokerId, ControllerEpoch, LeaderEpoch, Offset, PartitionEpoch, TopicPartition,
};
use protocol::time::{Mono, Span};

fn rules(behaviour: Behaviour) -> Rules {
    Rules {
        behaviour,
        local: BrokerId(1),
        lag: Span::secs(30),
        lag_messages: 4000,
    }
}

fn told(leader: i32, epoch: i32, isr: &[i32]) -> LeaderAndIsrPartition {
    LeaderAndIsrPartition {
        partition: TopicPartition::new("orders", 0),
        controller_epoch: ControllerEpoch(1),
        state: LeaderAndIsr {
            leader: Some(BrokerId(leader)),
            leader_epoch: LeaderEpoch(epoch),
            isr: isr.iter().copied().map(BrokerId).collect(),
            partition_epoch: PartitionEpoch(epoch),
        },
        replicas: vec![BrokerId(1), BrokerId(2), BrokerId(3)],
        adding_replicas: Vec::new(),
        removing_replicas: Vec::new(),
        is_new: false,
    }
}

fn leader(behaviour: Behaviour, isr: &[i32], log_end: i64) -> (Partition, Rules) {
    let rules = rules(behaviour);
    let mut partition = Partition::new(TopicPartition::new("orders", 0));
    partition.become_leader(Mono(0), &told(1, 3, isr), Offset(log_end), &rules);
    (partition, rules)
}

#[test]
fn epochs_that_are_over_are_fenced_and_later_ones_unknown() {
    let (partition, rules) = leader(Behaviour::of(Era::V2_8), &[1, 2], 0);
    let check = |epoch: i32| partition.check_epoch(Some(LeaderEpoch(epoch)), &rules);
    assert_eq!(check(2), Err(ErrorCode::FencedLeaderEpoch));
    assert_eq!(check(3), Ok(()));
    assert_eq!(check(4), Err(ErrorCode::UnknownLeaderEpoch));
    let mut without = rules;
    without.behaviour = without.behaviour.with(Fix::FenceFetchByLeaderEpoch, false);
    assert_eq!(
        partition.check_epoch(Some(LeaderEpoch(2)), &without),
        Ok(())
    );
}

#[test]
fn a_follower_joins_only_from_the_start_of_the_epoch() {
    let (mut partition, rules) = leader(Behaviour::of(Era::V2_8), &[1, 2], 10);
    let three = BrokerId(3);
    partition.on_follower_fetch(Mono(1), three, Offset(5), Offset(10));
    assert!(!partition.may_expand(three, Offset(5), &rules));
    let mut without = rules;
    without.behaviour = without.behaviour.with(Fix::IsrExpandFromEpochStart, false);
    assert!(partition.may_expand(three, Offset(5), &without));
    partition.on_follower_fetch(Mono(2), three, Offset(10), Offset(10));
    assert!(partition.may_expand(three, Offset(5), &rules));
}

#[test]
fn a_replica_that_stopped_fetching_is_put_out_by_wish_and_answer() {
    let (mut partition, rules) = leader(Behaviour::of(Era::V2_8), &[1, 2, 3], 0);
    let late = Mono(0) + Span::secs(31);
    partition.on_follower_fetch(late, BrokerId(3), Offset(4), Offset(4));
    let update = partition.shrink(late, Offset(4), &rules).unwrap();
    assert_eq!(update.new_isr, [BrokerId(1), BrokerId(3)]);
    assert_eq!(
        partition.high_watermark(late, Offset(4), 1, &rules),
        None,
        "2 holds the mark until the controller agrees"
    );
    assert!(partition.shrink(late, Offset(4), &rules).is_none());
    assert!(partition.answers_pending(&update.new_isr));
    let state = LeaderAndIsr {
        leader: Some(BrokerId(1)),
        leader_epoch: LeaderEpoch(3),
        isr: update.new_isr.clone(),
        partition_epoch: PartitionEpoch(4),
    };
    assert!(partition.on_granted(state));
    assert_eq!(
        partition.high_watermark(late, Offset(4), 1, &rules),
        Some(Offset(4))
    );
}

#[test]
fn a_keeper_write_locks_the_partition_until_its_answer() {
    let old = Behaviour::of(Era::V2_8).speaking(InterBrokerProtocol::V2_6Iv0);
    let (mut partition, rules) = leader(old, &[1, 2], 0);
    partition.on_follower_fetch(Mono(1), BrokerId(2), Offset(0), Offset(0));
    partition.on_follower_fetch(Mono(1), BrokerId(3), Offset(0), Offset(0));
    let update = partition.expand(BrokerId(3)).unwrap();
    assert!(partition.is_locked(&rules));
    assert_eq!(
        partition.high_watermark(Mono(1), Offset(0), 1, &rules),
        None
    );
    assert!(partition.answers_pending(&update.new_isr));
    assert_eq!(
        partition.on_refused(ErrorCode::InvalidUpdateVersion, &rules),
        None
    );
    assert!(!partition.is_locked(&rules));
    let members = partition.leadership().unwrap().isr.committed();
    assert_eq!(members, [BrokerId(1), BrokerId(2)]);
}

#[test]
fn an_answer_for_an_earlier_epoch_does_not_count() {
    let (mut partition, rules) = leader(Behaviour::of(Era::Sound), &[1, 2], 0);
    let update = partition.expand(BrokerId(3)).unwrap();
    partition.become_leader(Mono(5), &told(1, 4, &[1, 2]), Offset(0), &rules);
    assert!(!partition.answers_pending(&update.new_isr));
    assert!(partition.expand(BrokerId(3)).is_some());
}

#[test]
fn an_answer_about_another_set_than_the_pending_one_does_not_count() {
    let (mut partition, rules) = leader(Behaviour::of(Era::Sound), &[1, 2], 0);
    let before = partition.expand(BrokerId(3)).unwrap();
    partition.become_leader(Mono(5), &told(1, 4, &[1]), Offset(0), &rules);
    let now = partition.expand(BrokerId(2)).unwrap();
    assert!(!partition.answers_pending(&before.new_isr));
    assert!(
        !partition.may_expand(BrokerId(3), Offset(0), &rules),
        "the newer wish is still to be answered"
    );
    assert!(partition.answers_pending(&now.new_isr));
}

#[test]
fn an_unanswered_change_of_an_earlier_epoch_blocks_until_kafka_12686() {
    let (mut partition, rules) = leader(Behaviour::of(Era::V2_8), &[1, 2], 0);
    let update = partition.expand(BrokerId(3)).unwrap();
    partition.become_leader(Mono(5), &told(1, 4, &[1, 2]), Offset(0), &rules);
    partition.on_follower_fetch(Mono(6), BrokerId(3), Offset(0), Offset(0));
    assert!(!partition.may_expand(BrokerId(3), Offset(0), &rules));
    assert!(!partition.answers_pending(&update.new_isr));
    assert!(partition.may_expand(BrokerId(3), Offset(0), &rules));
}

#[test]
fn below_its_minimum_the_set_moves_no_mark_since_kafka_15583() {
    let (mut partition, rules) = leader(Behaviour::of(Era::Sound), &[1], 4);
    partition.on_follower_fetch(Mono(0), BrokerId(2), Offset(4), Offset(4));
    partition.on_follower_fetch(Mono(0), BrokerId(3), Offset(4), Offset(4));
    assert_eq!(
        partition.high_watermark(Mono(0), Offset(4), 2, &rules),
        None
    );
    let mut without = rules;
    without.behaviour = Behaviour::of(Era::V2_8);
    assert_eq!(
        partition.high_watermark(Mono(0), Offset(4), 2, &without),
        Some(Offset(4))
    );
}

#[test]
fn a_fetch_of_an_earlier_life_does_not_count_since_kafka_15221() {
    for fixed in [true, false] {
        let fix = Fix::BrokerEpochCheckedAtomically;
        let behaviour = Behaviour::of(Era::Sound).with(fix, fixed);
        let (mut partition, rules) = leader(behaviour, &[1], 0);
        let mut fetch = |life| partition.accepts_life(BrokerId(2), Some(BrokerEpoch(life)), &rules);
        assert!(fetch(4) && fetch(5) && fetch(5));
        assert_eq!(fetch(4), !fixed);
    }
}

#[test]
fn a_member_that_is_no_replica_stops_every_shrink_until_kafka_9672() {
    for fixed in [true, false] {
        let behaviour = Behaviour::of(Era::Sound).with(Fix::IsrSubsetOfReplicas, fixed);
        let (mut partition, rules) = leader(behaviour, &[1, 2, 4], 0);
        let late = Mono(0) + Span::secs(60);
        let update = partition.shrink(late, Offset(5), &rules);
        let left = update.map(|update| update.new_isr);
        assert_eq!(left, fixed.then(|| vec![BrokerId(1)]));
    }
}
