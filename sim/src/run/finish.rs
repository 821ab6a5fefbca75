//! When a run may end: what is still open, and who still has to catch up.

use super::cluster::Nodes;
use super::director::Director;
use crate::scenario::format::SeekTo;
use crate::scenario::plan::{ConsumerPlan, Plan};
use history::event::{Append, Broker, Event, Replica, What};
use history::manifest::CommitPolicy;
use protocol::api::data::IsolationLevel;
use protocol::ids::{NodeId, Offset, ProducerId, TopicPartition};
use protocol::operation::{Action, Operation, Stage, TransactionCall};
use protocol::verb::Verb;
use std::collections::{BTreeMap, BTreeSet};

/// Readers that share their work: a group, or one consumer by itself.
#[derive(Clone, Debug, Default)]
struct Readers {
    topics: BTreeSet<String>,
    partitions: BTreeSet<TopicPartition>,
    /// They commit, so the commits must catch up as well.
    commits: bool,
    /// They see committed records only.
    committed: bool,
    nodes: BTreeSet<NodeId>,
    read: BTreeMap<TopicPartition, Offset>,
    commits_of: BTreeMap<TopicPartition, Offset>,
}

/// Where the records of a partition end that a reader can be handed: markers and what was aborted never are.
#[derive(Clone, Debug, Default)]
struct RecordEnds {
    /// For a reader of everything.
    all: Offset,
    /// For a reader of committed records.
    committed: Offset,
    /// The same, should the open transaction of a producer be committed.
    open: BTreeMap<ProducerId, Offset>,
}

impl RecordEnds {
    fn on_append(&mut self, append: &Append) {
        let end = append.last_offset.next();
        let producer = append.producer.map(|(id, ..)| id);
        if let Some(committed) = append.committed {
            let open = producer.and_then(|id| self.open.remove(&id));
            if let Some(end) = open.filter(|_| committed) {
                self.committed = self.committed.max(end);
            }
        } else if !append.control {
            self.all = self.all.max(end);
            match producer.filter(|_| append.transactional) {
                Some(id) => drop(self.open.insert(id, end)),
                None => self.committed = self.committed.max(end),
            }
        }
    }

    fn cut(&mut self, to: Offset) {
        self.all = self.all.min(to);
        self.committed = self.committed.min(to);
        for end in self.open.values_mut() {
            *end = (*end).min(to);
        }
    }
}

/// What is still to be done.
#[derive(Clone, Debug, Default)]
pub(super) struct Progress {
    /// Sends without an answer, per producer node.
    open: BTreeMap<NodeId, u64>,
    /// Records each producer node has sent, and how many it will send.
    sent: BTreeMap<NodeId, (u64, u64)>,
    /// How many another life of a producer sends, where its end has to be waited for: what is copied or ended while the
    /// final readers are on their way, the one that comes first would not see.
    each_life: BTreeMap<NodeId, u64>,
    readers: Vec<Readers>,
    /// Of applications that write what they read: how many records of the last poll are not written yet.
    unwritten: BTreeMap<NodeId, u64>,
    high_watermarks: BTreeMap<TopicPartition, Offset>,
    record_ends: BTreeMap<TopicPartition, RecordEnds>,
    /// Applications with an open transaction, and the offsets they sent to it.
    transacting: BTreeMap<NodeId, Vec<(TopicPartition, Offset)>>,
    /// Where the logs of the leaders end.
    log_ends: BTreeMap<TopicPartition, Offset>,
    registered: BTreeSet<NodeId>,
}

impl Progress {
    /// Nothing has happened yet.
    pub(super) fn new(plan: &Plan, nodes: &Nodes) -> Self {
        let mut progress = Self::default();
        for (producer, node) in plan.producers.iter().zip(&nodes.client_nodes) {
            progress.sent.insert(*node, (0, producer.count));
            if plan.has_transactions() && producer.checkpoint_every.is_none() {
                progress.each_life.insert(*node, producer.count);
            }
        }
        let mut groups: BTreeMap<String, Readers> = BTreeMap::new();
        for (consumer, node) in plan
            .consumers
            .iter()
            .zip(nodes.client_nodes.iter().skip(plan.producers.len()))
        {
            if consumer.into.is_some() {
                progress.unwritten.insert(*node, 0);
            }
            let key = consumer
                .config
                .group_id
                .clone()
                .unwrap_or_else(|| format!("\u{0}{}", consumer.name));
            let readers = groups.entry(key).or_default();
            readers.topics.extend(
                consumer
                    .topics
                    .iter()
                    .map(|topic| topic.as_str().to_owned()),
            );
            readers.partitions.extend(consumer.assign.iter().cloned());
            readers.commits |=
                consumer.config.group_id.is_some() && consumer.commit != CommitPolicy::Never;
            readers.committed |= consumer.config.isolation_level == IsolationLevel::ReadCommitted;
            readers.nodes.insert(*node);
        }
        progress.readers = groups.into_values().collect();
        progress
    }

    /// Brokers whose registration has been seen.
    pub(super) fn registered(&self) -> usize {
        self.registered.len()
    }

    /// Takes in what happened.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "only these concern this part; the rest passes by"
    )]
    pub(super) fn take_in(&mut self, events: &[Event]) {
        for event in events {
            let Some(node) = event.node else { continue };
            match &event.what {
                What::Operation(operation) => self.on_operation(node, operation),
                What::Replica(partition, Replica::HighWatermark(offset))
                    if !partition.topic.as_str().starts_with("__") =>
                {
                    let known = self.high_watermarks.entry(partition.clone()).or_default();
                    *known = (*known).max(*offset);
                }
                What::Replica(partition, Replica::Appended(append))
                    if append.leader && !partition.topic.as_str().starts_with("__") =>
                {
                    let end = append.last_offset.next();
                    self.log_ends.insert(partition.clone(), end);
                    let ends = self.record_ends.entry(partition.clone()).or_default();
                    ends.on_append(append);
                }
                What::Replica(partition, Replica::BecameLeader { log_end_offset, .. })
                    if !partition.topic.as_str().starts_with("__") =>
                {
                    self.begin_at(partition, *log_end_offset);
                }
                What::Broker(Broker::Registered { .. }) => {
                    self.registered.insert(node);
                }
                What::Process(history::event::Process::Started { .. }) => {
                    if let Some(count) = self.each_life.get(&node) {
                        self.sent.insert(node, (0, *count));
                    }
                }
                What::Process(history::event::Process::Died { .. }) => {
                    self.open.remove(&node);
                    self.sent.remove(&node);
                    self.transacting.remove(&node);
                    if let Some(left) = self.unwritten.get_mut(&node) {
                        *left = 0;
                    }
                }
                _ => {}
            }
        }
    }

    /// A leader begins with a log that ends there: what comes behind is new, also where an earlier log had something that was
    /// committed, read and committed by readers.
    fn begin_at(&mut self, partition: &TopicPartition, end: Offset) {
        self.log_ends.insert(partition.clone(), end);
        let ends = self.record_ends.entry(partition.clone()).or_default();
        ends.cut(end);
        let readers = self.readers.iter_mut();
        let marks = readers.flat_map(|readers| [&mut readers.read, &mut readers.commits_of]);
        for marks in marks.chain([&mut self.high_watermarks]) {
            if let Some(mark) = marks.get_mut(partition) {
                *mark = (*mark).min(end);
            }
        }
    }

    /// What an application that writes what it reads still has in its hands.
    fn on_copier(&mut self, node: NodeId, operation: &Operation) {
        if let Some(left) = self.unwritten.get_mut(&node) {
            match (&operation.action, operation.stage) {
                (Action::Poll { records, .. }, Stage::Ok) => {
                    let polled = records
                        .iter()
                        .map(|polled| polled.records.len())
                        .sum::<usize>();
                    *left = u64::try_from(polled).unwrap_or(u64::MAX);
                }
                (Action::Send { .. }, Stage::Invoke) => *left = left.saturating_sub(1),
                // What is not written by then is not going to be.
                (Action::Send { .. } | Action::Commit { .. }, Stage::Fail | Stage::Info)
                | (
                    Action::Transaction {
                        call: TransactionCall::Abort,
                        ..
                    },
                    _,
                ) => *left = 0,
                _ => {}
            }
        }
    }

    fn on_operation(&mut self, node: NodeId, operation: &Operation) {
        self.on_copier(node, operation);
        match (&operation.action, operation.stage) {
            (Action::Send { .. }, Stage::Invoke) => {
                *self.open.entry(node).or_default() += 1;
                if let Some((sent, _)) = self.sent.get_mut(&node) {
                    *sent += 1;
                }
            }
            (Action::Send { .. }, _) => {
                if let Some(open) = self.open.get_mut(&node) {
                    *open = open.saturating_sub(1);
                }
            }
            (Action::Poll { records, .. }, Stage::Ok) => {
                let ends = records.iter().filter_map(|polled| {
                    Some((polled.partition.clone(), polled.records.last()?.0.next()))
                });
                for readers in self
                    .readers
                    .iter_mut()
                    .filter(|readers| readers.nodes.contains(&node))
                {
                    readers.read.extend(ends.clone());
                }
            }
            (Action::Commit { offsets, .. }, Stage::Ok) => self.on_commit(node, offsets),
            (Action::Transaction { call, .. }, Stage::Ok) => self.on_transaction(node, call),
            _ => {}
        }
    }

    fn on_commit(&mut self, node: NodeId, offsets: &[(TopicPartition, Offset)]) {
        let readers = self.readers.iter_mut();
        for readers in readers.filter(|readers| readers.nodes.contains(&node)) {
            readers.commits_of.extend(offsets.iter().cloned());
        }
    }

    fn on_transaction(&mut self, node: NodeId, call: &TransactionCall) {
        match call {
            TransactionCall::Init => {}
            TransactionCall::Begin => {
                self.transacting.insert(node, Vec::new());
            }
            TransactionCall::SendOffsets { offsets, .. } => {
                self.transacting.insert(node, offsets.clone());
            }
            TransactionCall::Commit => {
                let offsets = self.transacting.remove(&node).unwrap_or_default();
                self.on_commit(node, &offsets);
            }
            TransactionCall::Abort => {
                self.transacting.remove(&node);
            }
        }
    }

    /// How far the log of each partition has ever been committed.
    pub(super) fn committed(&self) -> &BTreeMap<TopicPartition, Offset> {
        &self.high_watermarks
    }

    /// Whatever the leader has is committed, so that a reader can see it.
    pub(super) fn is_committed(&self, partition: &TopicPartition) -> bool {
        let known = self.high_watermarks.get(partition);
        let committed = known.copied().unwrap_or_default();
        self.log_ends
            .get(partition)
            .is_none_or(|end| committed >= *end)
    }

    /// Nothing is open, and every reader that lives has read all there is.
    pub(super) fn is_done(&self, director: &Director) -> bool {
        let finished = |(node, (sent, wanted)): (&NodeId, &(u64, u64))| {
            !director.is_alive(*node) || sent >= wanted
        };
        self.open
            .iter()
            .all(|(node, open)| *open == 0 || !director.is_alive(*node))
            && self.sent.iter().all(finished)
            && self.unwritten.values().all(|left| *left == 0)
            && !self.transacting.keys().any(|node| director.is_alive(*node))
            && self
                .readers
                .iter()
                .all(|readers| self.has_caught_up(readers, director))
    }

    fn has_caught_up(&self, readers: &Readers, director: &Director) -> bool {
        if !readers.nodes.iter().any(|node| director.is_alive(*node)) {
            return true;
        }
        let theirs = |partition: &TopicPartition| {
            readers.topics.contains(partition.topic.as_str())
                || readers.partitions.contains(partition)
        };
        let reached =
            |map: &BTreeMap<TopicPartition, Offset>, partition: &TopicPartition, end: Offset| {
                end == Offset::ZERO || map.get(partition).is_some_and(|offset| *offset >= end)
            };
        self.high_watermarks
            .iter()
            .filter(|(partition, _)| theirs(partition))
            .all(|(partition, high_watermark)| {
                let ends = self.record_ends.get(partition);
                let end = ends.map_or(*high_watermark, |ends| {
                    let end = if readers.committed {
                        ends.committed
                    } else {
                        ends.all
                    };
                    end.min(*high_watermark)
                });
                reached(&readers.read, partition, end)
                    && (!readers.commits || reached(&readers.commits_of, partition, end))
            })
    }
}

/// The verbs of a consumer's jump.
pub(super) fn seek_verb(
    to: SeekTo,
    consumer: &ConsumerPlan,
    partitions: &[TopicPartition],
) -> Vec<Verb> {
    match to {
        SeekTo::Beginning => vec![Verb::SeekToBeginning(Vec::new())],
        SeekTo::End => vec![Verb::SeekToEnd(Vec::new())],
        SeekTo::Offset(offset) => {
            let own = |partition: &&TopicPartition| {
                consumer.topics.contains(&partition.topic) || consumer.assign.contains(partition)
            };
            partitions
                .iter()
                .filter(own)
                .map(|partition| Verb::Seek(partition.clone(), Offset(offset)))
                .collect()
        }
    }
}
