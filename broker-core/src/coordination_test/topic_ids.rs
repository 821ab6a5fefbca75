//! Topic ids (KIP-516): who gives them, who hears of them, and what must not lose them.

use super::*;
use crate::znode::topic::Topic;
use protocol::api::reassignment::AlterPartitionReassignmentsRequest;
use protocol::api::topics::{DeleteTopicsRequest, MetadataRequest};
use protocol::behaviour::InterBrokerProtocol;
use protocol::ids::TopicId;

impl Cluster {
    fn znode_id(&self) -> Option<TopicId> {
        let text = self.world.keeper.data(&paths::topic(&orders().topic));
        Topic::decode(text.unwrap().as_bytes()).unwrap().id
    }

    /// What a broker tells a client of 2.8.
    fn told_id(&self, id: i32) -> Option<TopicId> {
        let request = MetadataRequest {
            topics: Some(vec![orders().topic]),
            allow_auto_topic_creation: false,
        };
        self.broker(id).cache.answer(&request, 11).0.topics[0].id
    }

    fn speak(&mut self, protocol: InterBrokerProtocol) {
        self.behaviour = self.behaviour.speaking(protocol);
        for id in [1, 2, 3] {
            self.crash(id);
            self.start(id);
        }
    }
}

#[test]
fn a_topic_created_anew_has_another_id_and_everybody_hears_of_it() {
    let mut cluster = Cluster::modern();
    cluster.create(placed("orders", &[&[2, 3]]));
    let first = cluster.znode_id();
    assert!(first.is_some());
    assert!((1..=3).all(|id| cluster.told_id(id) == first));
    let request = DeleteTopicsRequest {
        topics: vec![orders().topic],
        timeout: Span::secs(5),
    };
    cluster.call(1, request);
    cluster.create(placed("orders", &[&[3, 2]]));
    let second = cluster.znode_id();
    assert!(second.is_some() && second != first);
    assert!((1..=3).all(|id| cluster.told_id(id) == second));
    let leadership = cluster.state(&orders()).state;
    assert_eq!(leadership.leader_epoch.0, 0, "the epochs begin anew");
}

#[test]
fn a_controller_of_2_8_gives_an_id_to_the_topics_that_have_none() {
    let before = Behaviour::of(Era::V2_8).speaking(InterBrokerProtocol::V2_7Iv2);
    let mut cluster = Cluster::of(before);
    cluster.create(placed("orders", &[&[2, 3]]));
    assert_eq!((cluster.znode_id(), cluster.told_id(1)), (None, None));
    cluster.speak(InterBrokerProtocol::V2_8Iv1);
    let given = cluster.znode_id();
    assert!(given.is_some());
    assert!((1..=3).all(|id| cluster.told_id(id) == given));
}

#[test]
fn a_move_keeps_the_id_also_under_a_controller_that_does_not_speak_of_ids() {
    for protocol in [InterBrokerProtocol::V2_8Iv1, InterBrokerProtocol::V2_7Iv2] {
        let mut cluster = Cluster::modern();
        cluster.create(placed("orders", &[&[2, 3]]));
        let given = cluster.znode_id();
        cluster.speak(protocol);
        let controller = (1..=3).find(|id| cluster.broker(*id).coordination.controller.is_active());
        let request = AlterPartitionReassignmentsRequest {
            partitions: vec![(orders(), Some(ids(&[2, 1])))],
            timeout: Span::secs(30),
        };
        cluster.call(controller.unwrap(), request);
        let text = cluster.world.keeper.data(&paths::topic(&orders().topic));
        assert!(text.unwrap().contains("\"adding_replicas\":{\"0\":[1]}"));
        assert_eq!(cluster.znode_id(), given);
    }
}
