//! Ties a fault that strikes at a time to what the cluster had just done by then.
//!
//! A time means little once the code or the network is another: the fault would strike between other events. Tied to the
//! event before it, it strikes where it did.

use crate::scenario::condition::Condition;
use history::History;
use history::event::{Controller, Event, Phase, Replica, What};
use history::manifest::NodeRole;
use history::operation::{Action, Operation, Stage};
use protocol::ids::{NodeId, TopicPartition};
use protocol::time::Span;
use std::collections::BTreeMap;

/// How long before the fault the event may be; a fault in a quieter moment keeps its time.
const NEAR: Span = Span::millis(250);

/// The condition that became true last before `at`, and how long before it.
pub(super) fn tie(history: &History, at: u64) -> Option<(Condition, Span)> {
    let began = history
        .events
        .iter()
        .find(|event| event.what == What::Phase(Phase::Safety))?
        .at;
    let mut seen = Seen::default();
    let mut last = None;
    for event in history.events.iter().take_while(|event| event.at < at) {
        // Everything counts from the start of the run, but nothing waits before the faults may happen.
        if let Some(condition) = seen.first_time(history, event)
            && event.at > began
            && event.at + NEAR.0 >= at
        {
            last = Some((condition, Span(at - event.at)));
        }
    }
    last
}

/// What has been counted so far, so that a condition is named only where it becomes true for the first time.
#[derive(Default)]
struct Seen {
    acked: BTreeMap<NodeId, u64>,
    processed: BTreeMap<NodeId, u64>,
    high_watermarks: BTreeMap<(NodeId, TopicPartition), i64>,
    epochs: BTreeMap<TopicPartition, i32>,
}

impl Seen {
    /// The condition that this event makes true and none before it did.
    fn first_time(&mut self, history: &History, event: &Event) -> Option<Condition> {
        let node = event.node?;
        match &event.what {
            What::Operation(operation) => self.operation(history, node, operation),
            What::Replica(partition, Replica::HighWatermark(offset)) => {
                let known = self
                    .high_watermarks
                    .entry((node, partition.clone()))
                    .or_default();
                let broker = broker(history, node)?;
                let rises = offset.0 > *known;
                *known = offset.0.max(*known);
                (rises && is_declared(history, partition)).then(|| Condition::HighWatermark {
                    partition: partition.to_string(),
                    broker: Some(broker),
                    at_least: offset.0,
                })
            }
            What::Controller(Controller::LeaderElected(election)) => {
                let partition = &election.partition;
                let known = self.epochs.entry(partition.clone()).or_insert(-1);
                let newer = election.leader_epoch.0 > *known;
                *known = election.leader_epoch.0.max(*known);
                let leader = election.leader?.0;
                (newer && is_declared(history, partition)).then(|| Condition::Elected {
                    partition: partition.to_string(),
                    leader: Some(leader),
                    epoch: Some(election.leader_epoch.0),
                    kind: None,
                })
            }
            What::Replica(..)
            | What::Controller(_)
            | What::Broker(_)
            | What::Group(..)
            | What::Transaction(..)
            | What::Keeper(_)
            | What::Client(_)
            | What::Process(_)
            | What::Fault(_)
            | What::Mark(_)
            | What::Phase(_) => None,
        }
    }

    fn operation(
        &mut self,
        history: &History,
        node: NodeId,
        operation: &Operation,
    ) -> Option<Condition> {
        let name = history.manifest.node_name(node).to_owned();
        let count = |counts: &mut BTreeMap<NodeId, u64>| {
            let count = counts.entry(node).or_default();
            *count += 1;
            *count
        };
        match (&operation.action, operation.stage) {
            (Action::Send { .. }, Stage::Ok) => Some(Condition::Acked {
                producer: name,
                count: count(&mut self.acked),
            }),
            (Action::Process { .. }, _) => Some(Condition::Processed {
                consumer: name,
                count: count(&mut self.processed),
            }),
            _ => None,
        }
    }
}

fn broker(history: &History, node: NodeId) -> Option<i32> {
    match history.manifest.nodes.get(usize::from(node.0))?.role {
        NodeRole::Broker(id) => Some(id.0),
        NodeRole::Keeper(_) | NodeRole::Client(_) => None,
    }
}

/// Kafka's own topics are nothing that a scenario would wait for.
fn is_declared(history: &History, partition: &TopicPartition) -> bool {
    let mut topics = history.manifest.topics.iter();
    topics.any(|topic| topic.name == partition.topic)
}
