//! Replicas that move: by request and by znode, with a change of mind, a dead controller, and a leader that has to go.

use super::in_sync_replicas::wish;
use super::*;
use crate::znode::topic::Topic;
use protocol::api::reassignment::{
    AlterPartitionReassignmentsRequest, ListPartitionReassignmentsRequest,
};
use protocol::api::topics::{CreatePartitionsRequest, NewPartitions};
use protocol::behaviour::{Fix, InterBrokerProtocol};
use protocol::error_code::ErrorCode;
use protocol::ids::{LeaderEpoch, PartitionIndex};
use protocol::note::{ControllerNote, Note};

fn five(behaviour: Behaviour) -> Cluster {
    let mut cluster = Cluster::of(behaviour);
    cluster.start(4);
    cluster.start(5);
    cluster
}

impl Cluster {
    fn reassign(&mut self, at: i32, target: Option<&[i32]>) -> (ErrorCode, ErrorCode) {
        let request = AlterPartitionReassignmentsRequest {
            partitions: vec![(orders(), target.map(ids))],
            timeout: Span::secs(30),
        };
        match self.call(at, request) {
            ResponseBody::AlterPartitionReassignments(response) => {
                let first = response.partitions.first();
                (response.error, first.map_or(ErrorCode::None, |one| one.1))
            }
            other => panic!("{other:?}"),
        }
    }

    /// Replicas, adding, removing by the topic's znode.
    fn placement(&self) -> [Vec<BrokerId>; 3] {
        let text = self.world.keeper.data(&paths::topic(&orders().topic));
        let topic = Topic::decode(text.unwrap().as_bytes()).unwrap();
        [topic.partitions, topic.adding, topic.removing]
            .map(|list| list.get(&PartitionIndex(0)).cloned().unwrap_or_default())
    }

    fn moving(&mut self, at: i32) -> Vec<[Vec<BrokerId>; 3]> {
        let request = ListPartitionReassignmentsRequest {
            partitions: None,
            timeout: Span::secs(30),
        };
        match self.call(at, request) {
            ResponseBody::ListPartitionReassignments(response) => response
                .partitions
                .into_iter()
                .map(|one| [one.replicas, one.adding, one.removing])
                .collect(),
            other => panic!("{other:?}"),
        }
    }

    fn moves_done(&self) -> usize {
        let done = |(_, note): &&(String, Note)| {
            matches!(note, Note::Controller(ControllerNote::Reassigned { .. }))
        };
        self.world.notes.iter().filter(done).count()
    }
}

#[test]
fn a_move_ends_when_the_new_replicas_are_in_sync() {
    let mut cluster = five(Behaviour::of(Era::V2_8));
    cluster.create(placed("orders", &[&[2, 3]]));
    let none = (ErrorCode::None, ErrorCode::None);
    assert_eq!(cluster.reassign(1, Some(&[2, 4])), none);
    let under_way = [ids(&[2, 4, 3]), ids(&[4]), ids(&[3])];
    assert_eq!(cluster.placement(), under_way);
    assert_eq!(cluster.moving(1), [under_way]);
    assert_eq!(
        cluster.broker(4).told[&orders()].leader_epoch,
        LeaderEpoch(1)
    );
    assert!(cluster.broker(3).deleted.is_empty());
    assert!(wish(&mut cluster, 2, &[2, 3, 4]).unwrap().1.is_ok());
    assert_eq!(cluster.placement(), [ids(&[2, 4]), ids(&[]), ids(&[])]);
    assert_eq!(cluster.moving(1), Vec::<[Vec<BrokerId>; 3]>::new());
    assert_eq!(cluster.isr(&orders()), ids(&[2, 4]));
    assert_eq!(cluster.broker(3).deleted, [orders()]);
    assert_eq!(cluster.leader(&orders()), Some(2));
    let state = cluster.state(&orders()).state;
    assert_eq!(
        cluster.broker(2).told[&orders()].leader_epoch,
        state.leader_epoch
    );
    let cached = cluster.broker(5).cache.partition(&orders()).unwrap();
    assert_eq!(cached.replicas, ids(&[2, 4]));
    assert_eq!(cluster.moves_done(), 1);
}

#[test]
fn a_leader_that_is_moved_away_hands_over() {
    let mut cluster = five(Behaviour::of(Era::V2_8));
    cluster.create(placed("orders", &[&[2, 3]]));
    cluster.reassign(1, Some(&[4, 5]));
    assert_eq!(cluster.leader(&orders()), Some(2), "nobody new is in sync");
    wish(&mut cluster, 2, &[2, 3, 4, 5]).unwrap().1.unwrap();
    assert_eq!(cluster.leader(&orders()), Some(4));
    assert_eq!(cluster.isr(&orders()), ids(&[4, 5]));
    for id in [2, 3] {
        assert_eq!(cluster.broker(id).deleted, [orders()], "{id}");
    }
    for id in [4, 5] {
        assert_eq!(cluster.broker(id).told[&orders()].leader, Some(BrokerId(4)));
    }
}

#[test]
fn a_cancelled_move_goes_back_to_where_it_began() {
    let mut cluster = five(Behaviour::of(Era::V2_8));
    cluster.create(placed("orders", &[&[2, 3]]));
    let nothing = (ErrorCode::None, ErrorCode::NoReassignmentInProgress);
    assert_eq!(cluster.reassign(1, None), nothing);
    cluster.reassign(1, Some(&[4, 5]));
    wish(&mut cluster, 2, &[2, 3, 4]).unwrap().1.unwrap();
    let none = (ErrorCode::None, ErrorCode::None);
    assert_eq!(cluster.reassign(1, None), none);
    assert_eq!(cluster.placement(), [ids(&[2, 3]), ids(&[]), ids(&[])]);
    assert_eq!(cluster.isr(&orders()), ids(&[2, 3]));
    assert_eq!(cluster.leader(&orders()), Some(2));
    assert_eq!(cluster.broker(4).deleted, [orders()]);
    assert!(cluster.broker(3).deleted.is_empty());
}

#[test]
fn another_wish_replaces_the_one_under_way() {
    let mut cluster = five(Behaviour::of(Era::V2_8));
    cluster.create(placed("orders", &[&[2, 3]]));
    cluster.reassign(1, Some(&[2, 4]));
    cluster.reassign(1, Some(&[2, 5]));
    let wanted = [ids(&[2, 5, 3]), ids(&[5]), ids(&[3])];
    assert_eq!(cluster.placement(), wanted);
    assert_eq!(cluster.broker(4).deleted, [orders()]);
    wish(&mut cluster, 2, &[2, 3, 5]).unwrap().1.unwrap();
    assert_eq!(cluster.placement()[0], ids(&[2, 5]));
}

#[test]
fn a_new_controller_ends_what_the_old_one_began() {
    for behaviour in [
        Behaviour::of(Era::V2_8),
        Behaviour::of(Era::V2_8).speaking(InterBrokerProtocol::V2_6Iv0),
        Behaviour::of(Era::V1_0),
    ] {
        let mut cluster = five(behaviour);
        cluster.create(placed("orders", &[&[2, 3]]));
        cluster.reassign(1, Some(&[2, 4]));
        cluster.crash(1);
        assert_eq!(cluster.moves_done(), 0);
        wish(&mut cluster, 2, &[2, 3, 4]).unwrap().1.unwrap();
        cluster.world.pass(Span::secs(6));
        assert_eq!(cluster.moves_done(), 1, "{}", behaviour.era);
        assert_eq!(cluster.placement(), [ids(&[2, 4]), ids(&[]), ids(&[])]);
        assert_eq!(cluster.broker(3).deleted, [orders()]);
        assert_eq!(cluster.world.keeper.data(paths::REASSIGN_PARTITIONS), None);
    }
}

#[test]
fn before_kip_455_a_znode_asks_and_one_wish_is_served_at_a_time() {
    let mut cluster = five(Behaviour::of(Era::V1_0));
    cluster.create(placed("orders", &[&[2, 3]]));
    let none = (ErrorCode::None, ErrorCode::None);
    assert_eq!(cluster.reassign(1, Some(&[2, 4])), none);
    let text = cluster.world.keeper.data(paths::REASSIGN_PARTITIONS);
    assert_eq!(
        text.as_deref(),
        Some(r#"{"version":1,"partitions":[{"topic":"orders","partition":0,"replicas":[2,4]}]}"#)
    );
    assert_eq!(cluster.placement(), [ids(&[2, 4, 3]), ids(&[]), ids(&[])]);
    let busy = (ErrorCode::None, ErrorCode::ReassignmentInProgress);
    assert_eq!(cluster.reassign(1, Some(&[2, 5])), busy);
    let no_way = (ErrorCode::None, ErrorCode::UnsupportedVersion);
    assert_eq!(cluster.reassign(1, None), no_way);
    wish(&mut cluster, 2, &[2, 3, 4]).unwrap().1.unwrap();
    cluster.world.pass(Span::secs(6));
    assert_eq!(cluster.placement()[0], ids(&[2, 4]));
    assert_eq!(cluster.world.keeper.data(paths::REASSIGN_PARTITIONS), None);
    assert_eq!(
        cluster.reassign(1, Some(&[2, 5])),
        none,
        "the watch is set again"
    );
    assert_eq!(cluster.placement()[0], ids(&[2, 5, 4]));
}

#[test]
fn impossible_wishes_are_refused() {
    let mut cluster = five(Behaviour::of(Era::V2_8));
    cluster.create(placed("orders", &[&[2, 3]]));
    cluster.crash(5);
    for target in [&[][..], &[2, 2], &[-1], &[2, 5]] {
        let refused = (ErrorCode::None, ErrorCode::InvalidReplicaAssignment);
        assert_eq!(cluster.reassign(1, Some(target)), refused, "{target:?}");
    }
    let elsewhere = (ErrorCode::NotController, ErrorCode::None);
    assert_eq!(cluster.reassign(2, Some(&[2, 4])), elsewhere);
    cluster.reassign(1, Some(&[2, 4]));
    let request = CreatePartitionsRequest {
        topics: vec![NewPartitions {
            topic: orders().topic,
            total: 2,
            assignment: None,
        }],
        timeout: Span::secs(30),
    };
    let ResponseBody::CreatePartitions(response) = cluster.call(1, request) else {
        panic!("another answer");
    };
    assert_eq!(response.topics[0].1, ErrorCode::ReassignmentInProgress);
}

/// KAFKA-9212: the epoch that clients learn lags behind the leader's own.
#[test]
fn metadata_show_the_epoch_of_the_move_since_kafka_9212() {
    for (fixed, shown) in [(true, 1), (false, 0)] {
        let behaviour = Behaviour::of(Era::V2_8).with(Fix::MetadataEpochAfterReassignment, fixed);
        let mut cluster = five(behaviour);
        cluster.create(placed("orders", &[&[2, 3]]));
        cluster.reassign(1, Some(&[2, 3, 4]));
        let told = cluster.broker(2).told[&orders()].leader_epoch;
        assert_eq!(told, LeaderEpoch(1));
        let cached = cluster.broker(5).cache.partition(&orders()).unwrap();
        assert_eq!(cached.leader_epoch, LeaderEpoch(shown));
    }
}

#[test]
fn a_move_that_waits_for_a_dead_broker_goes_on_when_it_is_back() {
    let mut cluster = five(Behaviour::of(Era::V2_8));
    cluster.create(placed("orders", &[&[2, 3]]));
    cluster.reassign(1, Some(&[2, 4]));
    cluster.crash(4);
    cluster.start(4);
    assert!(cluster.broker(4).told.contains_key(&orders()));
    wish(&mut cluster, 2, &[2, 3, 4]).unwrap().1.unwrap();
    assert_eq!(cluster.placement()[0], ids(&[2, 4]));
}
