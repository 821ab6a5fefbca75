//! Barriers, each offered hand-made notes.

use super::{Barriers, Reaction};
use crate::scenario::condition::Condition;
use protocol::error_code::ErrorCode;
use protocol::ids::{
    BrokerId, LeaderEpoch, NodeId, Offset, PartitionEpoch, SessionId, TopicPartition,
};
use protocol::note::{BrokerNote, ControllerNote, KeeperNote, Note, ReplicaNote};
use std::collections::BTreeMap;

fn barriers() -> Barriers {
    let brokers = BTreeMap::from([(NodeId(1), 1), (NodeId(2), 2)]);
    Barriers::new(BTreeMap::new(), brokers)
}

fn replica(note: ReplicaNote) -> Note {
    Note::Replica(TopicPartition::new("orders", 0), note)
}

#[test]
fn a_high_watermark_barrier_fires_once_on_its_broker() {
    let mut barriers = barriers();
    let condition = Condition::HighWatermark {
        partition: "orders-0".into(),
        broker: Some(1),
        at_least: 5,
    };
    barriers.wait(condition, Reaction::Inject(0));
    let note = replica(ReplicaNote::HighWatermark(Offset(5)));
    assert!(barriers.on_note(NodeId(2), &note).is_empty());
    assert_eq!(barriers.on_note(NodeId(1), &note), [Reaction::Inject(0)]);
    assert!(barriers.on_note(NodeId(1), &note).is_empty());
}

#[test]
fn an_isr_is_compared_as_a_set() {
    let mut barriers = barriers();
    let condition = Condition::Isr {
        partition: "orders-0".into(),
        equals: Some(vec![2, 1]),
        size: None,
    };
    barriers.wait(condition, Reaction::Inject(3));
    let isr = |ids: &[i32]| {
        let isr = ids.iter().map(|id| BrokerId(*id)).collect();
        replica(ReplicaNote::IsrChanged {
            isr,
            partition_epoch: PartitionEpoch(1),
        })
    };
    assert!(barriers.on_note(NodeId(1), &isr(&[1])).is_empty());
    assert_eq!(
        barriers.on_note(NodeId(1), &isr(&[1, 2])),
        [Reaction::Inject(3)]
    );
}

#[test]
fn a_proposed_isr_counts_on_its_leader_and_an_accepted_one_is_another_thing() {
    let mut barriers = barriers();
    let condition = Condition::IsrProposed {
        partition: "orders-0".into(),
        broker: Some(1),
        equals: Some(vec![1]),
        size: None,
    };
    barriers.wait(condition, Reaction::Inject(0));
    let proposed = |ids: &[i32]| {
        let isr = ids.iter().map(|id| BrokerId(*id)).collect();
        replica(ReplicaNote::IsrProposed {
            isr,
            waits_for: Vec::new(),
        })
    };
    let accepted = replica(ReplicaNote::IsrChanged {
        isr: vec![BrokerId(1)],
        partition_epoch: PartitionEpoch(1),
    });
    assert!(barriers.on_note(NodeId(1), &accepted).is_empty());
    assert!(barriers.on_note(NodeId(1), &proposed(&[1, 2])).is_empty());
    assert!(barriers.on_note(NodeId(2), &proposed(&[1])).is_empty());
    assert_eq!(
        barriers.on_note(NodeId(1), &proposed(&[1])),
        [Reaction::Inject(0)]
    );
}

#[test]
fn a_deleted_topic_is_counted_and_a_stopped_replica_may_have_kept_its_log() {
    let mut barriers = barriers();
    let twice = Condition::TopicDeleted {
        topic: "orders".into(),
        count: 2,
    };
    barriers.wait(twice, Reaction::Inject(0));
    let gone = |topic: &str| Note::Controller(ControllerNote::TopicDeleted(topic.into()));
    assert!(barriers.on_note(NodeId(1), &gone("orders")).is_empty());
    assert!(barriers.on_note(NodeId(1), &gone("others")).is_empty());
    assert_eq!(
        barriers.on_note(NodeId(2), &gone("orders")),
        [Reaction::Inject(0)]
    );
    let removed = Condition::Stopped {
        partition: "orders-0".into(),
        broker: None,
        deleted: Some(true),
    };
    barriers.wait(removed, Reaction::Inject(1));
    let stopped = |deleted| replica(ReplicaNote::Stopped { deleted });
    assert!(barriers.on_note(NodeId(1), &stopped(false)).is_empty());
    assert_eq!(
        barriers.on_note(NodeId(1), &stopped(true)),
        [Reaction::Inject(1)]
    );
}

#[test]
fn closed_sessions_are_counted_apart_from_expired_ones() {
    let mut barriers = barriers();
    let condition = Condition::SessionClosed { count: 2 };
    barriers.wait(condition, Reaction::Inject(0));
    let closed = Note::Keeper(KeeperNote::SessionClosed(SessionId(1)));
    let expired = Note::Keeper(KeeperNote::SessionExpired(SessionId(2)));
    assert!(barriers.on_note(NodeId(1), &closed).is_empty());
    assert!(barriers.on_note(NodeId(1), &expired).is_empty());
    assert_eq!(barriers.on_note(NodeId(1), &closed), [Reaction::Inject(0)]);
}

#[test]
fn a_refused_control_request_is_told_by_broker_and_error() {
    let mut barriers = barriers();
    let condition = Condition::ControlRefused {
        broker: Some(2),
        error: Some("STALE_BROKER_EPOCH".into()),
    };
    barriers.wait(condition, Reaction::Mark("refused".into()));
    let refused = |error| Note::Broker(BrokerNote::ControlRefused(error));
    let stale = refused(ErrorCode::StaleBrokerEpoch);
    let other = refused(ErrorCode::StaleControllerEpoch);
    assert!(barriers.on_note(NodeId(1), &stale).is_empty());
    assert!(barriers.on_note(NodeId(2), &other).is_empty());
    assert_eq!(
        barriers.on_note(NodeId(2), &stale),
        [Reaction::Mark("refused".into())]
    );
}

#[test]
fn all_of_several_may_come_true_one_after_the_other() {
    let mut barriers = barriers();
    let watermark = |broker| Condition::HighWatermark {
        partition: "orders-0".into(),
        broker: Some(broker),
        at_least: 1,
    };
    barriers.wait(
        Condition::All(vec![watermark(1), watermark(2)]),
        Reaction::Mark("both".into()),
    );
    let note = replica(ReplicaNote::HighWatermark(Offset(1)));
    assert!(barriers.on_note(NodeId(2), &note).is_empty());
    assert_eq!(
        barriers.on_note(NodeId(1), &note),
        [Reaction::Mark("both".into())]
    );
}

#[test]
fn in_order_waits_for_each_after_the_one_before() {
    let mut barriers = barriers();
    let follows = Condition::BecameFollower {
        partition: "orders-0".into(),
        broker: Some(1),
    };
    let leads = Condition::BecameLeader {
        partition: "orders-0".into(),
        broker: Some(1),
    };
    barriers.wait(
        Condition::InOrder(vec![follows.clone(), leads, follows]),
        Reaction::Inject(0),
    );
    let follow = replica(ReplicaNote::BecameFollower {
        leader_epoch: LeaderEpoch(1),
        leader: None,
    });
    let lead = replica(ReplicaNote::BecameLeader {
        leader_epoch: LeaderEpoch(1),
        isr: Vec::new(),
        log_end_offset: Offset(0),
    });
    for early in [&lead, &follow, &follow, &lead] {
        assert!(barriers.on_note(NodeId(1), early).is_empty());
    }
    assert!(barriers.on_note(NodeId(2), &follow).is_empty());
    assert_eq!(barriers.on_note(NodeId(1), &follow), [Reaction::Inject(0)]);
}
