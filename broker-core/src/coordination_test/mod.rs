//! Brokers, a scripted keeper and the controller among them: who leads after what.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "any other answer fails the test"
)]

mod controller_changes;
mod eligible;
mod in_sync_replicas;
mod leaders;
mod reassignment;
mod registration;
mod topic_ids;
mod topics;

use crate::testing::World;
use crate::testing::broker::{TestBroker, TestNode, broker, client};
use crate::znode::json::PartitionState;
use crate::znode::paths;
use protocol::api::topics::CreateTopicsRequest;
use protocol::api::{RequestBody, ResponseBody};
use protocol::behaviour::{Behaviour, Era};
use protocol::config::BrokerConfig;
use protocol::ids::{BrokerId, TopicName, TopicPartition};
use protocol::time::Span;
use protocol::verb::NewTopic;
use std::collections::BTreeMap;

/// Brokers 1 to 3 and a client.
struct Cluster {
    world: World<TestNode>,
    behaviour: Behaviour,
    config: BrokerConfig,
}

fn orders() -> TopicPartition {
    TopicPartition::new("orders", 0)
}

fn ids(list: &[i32]) -> Vec<BrokerId> {
    list.iter().copied().map(BrokerId).collect()
}

/// A topic whose replicas the caller places.
fn placed(name: &str, assignment: &[&[i32]]) -> NewTopic {
    let lists = assignment.iter().map(|list| list.to_vec());
    NewTopic {
        name: TopicName::from(name),
        partitions: -1,
        replication_factor: -1,
        assignment: (0..).zip(lists).collect(),
        config: BTreeMap::new(),
    }
}

impl Cluster {
    fn of(behaviour: Behaviour) -> Self {
        let mut config = BrokerConfig::defaults(behaviour.era);
        config.delete_topic_enable = true;
        config.unclean_leader_election_enable = false;
        Self::with(behaviour, config)
    }

    fn with(behaviour: Behaviour, config: BrokerConfig) -> Self {
        let mut cluster = Self {
            world: World::new(),
            behaviour,
            config,
        };
        for id in 1..=3 {
            cluster.start(id);
        }
        cluster.world.start("c", client());
        cluster
    }

    fn modern() -> Self {
        Self::of(Behaviour::of(Era::V2_8))
    }

    fn start(&mut self, id: i32) {
        self.start_after(id, false);
    }

    /// The broker starts; the process before stopped in good order, or did not.
    fn start_after(&mut self, id: i32, clean_shutdown: bool) {
        let mut node = broker(id, self.behaviour, &self.config);
        let registration = &mut node.broker_mut().coordination.registration;
        registration.after_clean_shutdown(clean_shutdown);
        self.world.start(&format!("b{id}"), node);
    }

    fn broker(&self, id: i32) -> &TestBroker {
        self.world.nodes[&format!("b{id}")].broker()
    }

    fn session(&self, id: i32) -> protocol::ids::SessionId {
        self.broker(id).coordination.keeper.session().unwrap()
    }

    /// The process dies and the keeper notices.
    fn crash(&mut self, id: i32) {
        let session = self.session(id);
        self.world.kill(&format!("b{id}"));
        self.world.expire(session);
    }

    fn ask(&mut self, id: i32, body: impl Into<RequestBody>) {
        let body = body.into();
        self.world.with("c", |node, now, io| {
            let client = node.client_mut();
            client.answers.clear();
            client.ask(now, io, &format!("b{id}"), body);
        });
    }

    fn answer(&mut self) -> Option<ResponseBody> {
        self.world
            .nodes
            .get_mut("c")
            .unwrap()
            .client_mut()
            .answers
            .pop()
    }

    fn call(&mut self, id: i32, body: impl Into<RequestBody>) -> ResponseBody {
        self.ask(id, body);
        self.answer().expect("an answer at once")
    }

    fn create(&mut self, topic: NewTopic) {
        let request = CreateTopicsRequest {
            topics: vec![topic],
            timeout: Span::secs(30),
            validate_only: false,
        };
        let ResponseBody::CreateTopics(response) = self.call(1, request) else {
            panic!("another answer");
        };
        assert_eq!(response.topics[0].1.name(), "NONE", "{response:?}");
    }

    /// What the keeper holds of a partition.
    fn state(&self, partition: &TopicPartition) -> PartitionState {
        let text = self.world.keeper.data(&paths::partition_state(partition));
        PartitionState::decode(text.unwrap().as_bytes(), 0).unwrap()
    }

    fn leader(&self, partition: &TopicPartition) -> Option<i32> {
        self.state(partition).state.leader.map(|leader| leader.0)
    }

    fn isr(&self, partition: &TopicPartition) -> Vec<BrokerId> {
        self.state(partition).state.isr
    }
}
