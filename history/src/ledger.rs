//! What a run amounted to, in numbers: counted, not judged. A scenario's `[expect]` names these entries as harm.

use crate::checker::alo::{due, excuse};
use crate::checker::cycles::Dependencies;
use crate::checker::effects::{Effects, effects};
use crate::checker::fifo::sweep;
use crate::checker::index::{Acks, EventId, Fate, Fated, Index, NONE, Sent, Unmade, ValueId, wide};
use crate::event::{
    Client, Controller, ElectionKind, Event, Group, Phase, Process, Replica, Transaction, What,
};
use crate::operation::{Action, Operation, Polled};
use protocol::ids::{BrokerId, NodeId, TopicName, TopicPartition};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Every entry and what it counts; one that ends in a dot admits any ending.
pub const LEDGER_KEYS: &[(&str, &str)] = &[
    ("sent", "records that producers sent"),
    (
        "acknowledged",
        "records that were acknowledged (acks=1 or acks=all)",
    ),
    ("failed", "records whose send certainly failed"),
    (
        "unknown",
        "records whose fate nobody was told: time-outs, crashes, and everything sent with acks=0",
    ),
    ("in_log", "records that the final read found"),
    (
        "lost",
        "records acknowledged and missing from the final read",
    ),
    (
        "lost_unacknowledged",
        "records missing from the final read whose fate nobody was told",
    ),
    ("duplicated", "copies in the final read beyond the first"),
    (
        "reordered",
        "records that lie behind one which the same producer session sent later",
    ),
    (
        "deleted",
        "acknowledged records removed by retention or DeleteRecords",
    ),
    ("polled", "records that consumers polled"),
    ("processed", "effects of records in consumer applications"),
    (
        "processed_twice",
        "effects beyond a group's first of the same record",
    ),
    (
        "never_processed",
        "acknowledged records in the log that a group read past without an effect",
    ),
    (
        "refused.",
        "batches that a broker refused, by error (`refused.NOT_ENOUGH_REPLICAS`)",
    ),
    ("retries", "batches that producers sent again"),
    (
        "elections",
        "elections of a partition leader after its first",
    ),
    (
        "unclean_elections",
        "elections of a leader that was not in sync",
    ),
    ("isr_shrinks", "times a replica fell out of sync"),
    ("isr_expansions", "times a replica came back in sync"),
    ("truncated", "records that replicas cut from their logs"),
    ("controllers", "elections of a controller"),
    (
        "sessions_expired",
        "broker sessions that the keepers let expire",
    ),
    ("crashes", "processes that died"),
    (
        "rebalances",
        "generations of consumer groups, and rebalances of each ZooKeeper consumer",
    ),
    (
        "commits_refused",
        "offset commits that a coordinator refused",
    ),
    ("transactions", "transactions that producers began"),
    (
        "transactions_committed",
        "transactions whose commitTransaction returned",
    ),
    (
        "transactions_aborted",
        "transactions whose abortTransaction returned",
    ),
    (
        "transactions_timed_out",
        "transactions that a coordinator aborted because they took too long",
    ),
    (
        "producers_fenced",
        "calls that a coordinator refused because their epoch was old",
    ),
    (
        "misuse",
        "calls that were refused because the application made them out of turn, or as a member of a group without a name",
    ),
    ("misuse.", "the same, by error (`misuse.INVALID_GROUP_ID`)"),
    (
        "aborted_reads",
        "records of aborted transactions that consumers polled",
    ),
    (
        "write_cycles",
        "circles of transactions that write before each other (G0)",
    ),
    (
        "idle_consumers",
        "members without a partition while others of their group have some",
    ),
];

/// Entries that only a final read can tell.
const WHOLE: &[&str] = &[
    "in_log",
    "lost",
    "lost_unacknowledged",
    "duplicated",
    "reordered",
    "never_processed",
];

/// Numbers by entry.
pub type Counts = BTreeMap<String, u64>;

/// What a run amounted to.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Ledger {
    /// The whole run.
    pub total: Counts,
    /// By topic of the workload.
    pub topics: BTreeMap<TopicName, Counts>,
}

impl Ledger {
    /// An entry; `None` if the history cannot tell it.
    pub fn get(&self, name: &str) -> Option<u64> {
        let open = LEDGER_KEYS
            .iter()
            .any(|(key, _)| key.ends_with('.') && name.starts_with(key));
        let known = self.total.get(name).copied();
        known.or(open.then_some(0))
    }

    /// The names that `[expect]` may use.
    pub fn keys() -> Vec<&'static str> {
        LEDGER_KEYS.iter().map(|(key, _)| *key).collect()
    }

    /// Counts.
    pub fn of(index: &Index<'_>) -> Self {
        let mut count = Count::new(index);
        count.sends();
        count.copies();
        count.groups();
        count.transactions();
        for event in &index.history.events {
            count.event(event);
        }
        count.idle();
        count.finish()
    }
}

/// The counting.
struct Count<'i, 'h> {
    index: &'i Index<'h>,
    ledger: Ledger,
    /// By topic of the manifest and in total (the last): what the hot loops count, in the order of `HOT`.
    hot: Vec<[u64; HOT.len()]>,
    isr: BTreeMap<TopicPartition, Vec<BrokerId>>,
}

/// Entries counted once per record.
const HOT: [&str; 14] = [
    "sent",
    "acknowledged",
    "failed",
    "unknown",
    "in_log",
    "lost",
    "lost_unacknowledged",
    "duplicated",
    "reordered",
    "deleted",
    "polled",
    "processed",
    "processed_twice",
    "never_processed",
];

fn hot(name: &str) -> usize {
    HOT.iter().position(|known| *known == name).unwrap_or(0)
}

impl<'i, 'h> Count<'i, 'h> {
    fn new(index: &'i Index<'h>) -> Self {
        let topics = &index.history.manifest.topics;
        Self {
            index,
            ledger: Ledger::default(),
            hot: vec![[0; HOT.len()]; topics.len() + 1],
            isr: BTreeMap::new(),
        }
    }

    fn hot(&mut self, topic: Option<usize>, entry: usize, by: u64) {
        let total = self.hot.len() - 1;
        self.hot[total][entry] += by;
        if let Some(topic) = topic {
            self.hot[topic][entry] += by;
        }
    }

    fn topic_of(&self, sent: &Sent) -> Option<usize> {
        if sent.part != NONE {
            return self.index.partition(sent.part).topic;
        }
        let What::Operation(operation) = &self.index.event(sent.invoked).what else {
            return None;
        };
        let Action::Send { topic, .. } = &operation.action else {
            return None;
        };
        self.index
            .history
            .manifest
            .topics
            .iter()
            .position(|known| known.name == *topic)
    }

    fn sends(&mut self) {
        let [all, acked, failed, unknown] = ["sent", "acknowledged", "failed", "unknown"].map(hot);
        let [in_log, lost, vanished] = ["in_log", "lost", "lost_unacknowledged"].map(hot);
        let [duplicated, deleted] = ["duplicated", "deleted"].map(hot);
        let index = self.index;
        for (_, sent) in index.values.all() {
            let topic = self.topic_of(sent);
            let silent = index
                .producer(sent.client)
                .is_some_and(|facts| facts.acks == Acks::Zero);
            self.hot(topic, all, 1);
            let (fate, missing) = match sent.fate {
                Fate::Ok if !silent => (acked, lost),
                Fate::Fail => (failed, NO_ENTRY),
                Fate::Ok | Fate::Info | Fate::Open | Fate::Unsent => (unknown, vanished),
            };
            self.hot(topic, fate, 1);
            if sent.copies > 0 {
                self.hot(topic, in_log, 1);
                self.hot(topic, duplicated, u64::from(sent.copies - 1));
            } else if index.is_deleted(sent) {
                self.hot(topic, deleted, 1);
            } else if missing != NO_ENTRY {
                self.hot(topic, missing, 1);
            }
        }
    }

    fn copies(&mut self) {
        let reordered = hot("reordered");
        let index = self.index;
        sweep(
            index,
            |_| true,
            |late, earlier| {
                if earlier.is_some() {
                    let topic = index.partition(index.values.get(late).part).topic;
                    self.hot(topic, reordered, 1);
                }
            },
        );
    }

    fn groups(&mut self) {
        let [twice, never] = ["processed_twice", "never_processed"].map(hot);
        let index = self.index;
        let mut repeats = Vec::new();
        let groups = effects(index, |again| repeats.push(again.value));
        for value in repeats {
            self.hot(self.topic_of(index.values.get(value)), twice, 1);
        }
        for own in groups.iter().enumerate() {
            for (id, sent) in index.values.all() {
                if missed(index, own, id) {
                    self.hot(self.topic_of(sent), never, 1);
                }
            }
        }
    }

    fn transactions(&mut self) {
        let index = self.index;
        let all = &index.transactions.all;
        if all.is_empty() {
            return;
        }
        let ended = |wanted: fn(&Fated) -> bool| {
            let own = all.iter().filter(|own| wanted(&own.fated()));
            u64::try_from(own.count()).unwrap_or(u64::MAX)
        };
        let count = u64::try_from(all.len()).unwrap_or(u64::MAX);
        self.add("transactions", None, count);
        let committed = ended(|fated| matches!(fated, Fated::Committed(_)));
        self.add("transactions_committed", None, committed);
        let aborted = ended(|fated| matches!(fated, Fated::Unmade(Unmade::Aborted(_))));
        self.add("transactions_aborted", None, aborted);
        let cycles = Dependencies::of(index).of_writes(index).len();
        let cycles = u64::try_from(cycles).unwrap_or(u64::MAX);
        self.add("write_cycles", None, cycles);
    }

    fn event(&mut self, event: &Event) {
        match &event.what {
            What::Operation(operation) => self.operation(operation),
            What::Replica(partition, replica) => self.replica(partition, replica),
            What::Controller(controller) => self.controller(controller),
            What::Group(_, Group::Generation { members, .. }) if !members.is_empty() => {
                self.add("rebalances", None, 1);
            }
            What::Client(Client::Rebalancing { attempt: 1, .. }) => {
                self.add("rebalances", None, 1);
            }
            What::Group(_, Group::CommitRefused { .. }) => self.add("commits_refused", None, 1),
            What::Client(Client::Retry { partition, .. }) => {
                self.add("retries", Some(&partition.topic), 1);
            }
            What::Process(Process::Died { .. }) => self.add("crashes", None, 1),
            What::Transaction(_, Transaction::TimedOut) => {
                self.add("transactions_timed_out", None, 1);
            }
            What::Transaction(_, Transaction::Fenced { .. }) => {
                self.add("producers_fenced", None, 1);
            }
            What::Broker(crate::event::Broker::SessionExpired) => {
                self.add("sessions_expired", None, 1);
            }
            What::Group(..)
            | What::Client(_)
            | What::Process(_)
            | What::Broker(_)
            | What::Keeper(_)
            | What::Transaction(..)
            | What::Fault(_)
            | What::Mark(_)
            | What::Phase(_) => {}
        }
    }

    fn operation(&mut self, operation: &Operation) {
        let index = self.index;
        match &operation.action {
            Action::Send {
                error: Some(error), ..
            }
            | Action::Transaction {
                error: Some(error), ..
            }
            | Action::Poll {
                error: Some(error), ..
            }
            | Action::Commit {
                error: Some(error), ..
            } if is_misuse(error) => {
                let name = error.split('(').next().unwrap_or_default();
                self.add("misuse", None, 1);
                self.add(&format!("misuse.{name}"), None, 1);
            }
            Action::Poll { records, .. } if !index.closes_the_run(operation.client) => {
                for polled in records {
                    let part = index.part(&polled.partition);
                    let topic = (part != NONE)
                        .then(|| index.partition(part).topic)
                        .flatten();
                    let count = u64::try_from(polled.records.len()).unwrap_or(u64::MAX);
                    self.hot(topic, hot("polled"), count);
                    self.aborted_reads(polled);
                }
            }
            Action::Process { partition, .. } => {
                let part = index.part(partition);
                let topic = (part != NONE)
                    .then(|| index.partition(part).topic)
                    .flatten();
                self.hot(topic, hot("processed"), 1);
            }
            Action::Send { .. }
            | Action::Poll { .. }
            | Action::Commit { .. }
            | Action::Transaction { .. }
            | Action::Assigned { .. }
            | Action::Revoked { .. }
            | Action::Lost { .. }
            | Action::Position { .. }
            | Action::Admin { .. } => {}
        }
    }

    fn aborted_reads(&mut self, polled: &Polled) {
        let index = self.index;
        if index.transactions.all.is_empty() {
            return;
        }
        let values = polled.records.iter().filter_map(|(_, value)| *value);
        let ids = values.map(|value| index.values.id(value));
        let unmade = ids.filter(|id| id.is_some() && index.transactions.is_unmade(*id));
        let count = u64::try_from(unmade.count()).unwrap_or(u64::MAX);
        self.add("aborted_reads", Some(&polled.partition.topic), count);
    }

    fn replica(&mut self, partition: &TopicPartition, replica: &Replica) {
        let workload = self
            .index
            .history
            .manifest
            .topics
            .iter()
            .any(|topic| topic.name == partition.topic);
        match replica {
            Replica::Truncated { to, from, .. } if workload => {
                let cut = u64::try_from(from.since(*to)).unwrap_or(0);
                self.add("truncated", Some(&partition.topic), cut);
            }
            Replica::AppendRefused { error } => {
                let name = format!("refused.{}", error.name());
                self.add(&name, Some(&partition.topic), 1);
            }
            Replica::IsrChanged { isr, .. } if workload => self.isr(partition, isr),
            Replica::Appended(_)
            | Replica::Truncated { .. }
            | Replica::Loaded { .. }
            | Replica::HighWatermark(_)
            | Replica::LogStart(_)
            | Replica::LastStableOffset(_)
            | Replica::Flushed(_)
            | Replica::BecameLeader { .. }
            | Replica::BecameFollower { .. }
            | Replica::IsrProposed { .. }
            | Replica::IsrChanged { .. }
            | Replica::IsrRefused { .. }
            | Replica::Stopped { .. }
            | Replica::DuplicateBatch { .. }
            | Replica::Acknowledged { .. } => {}
        }
    }

    fn controller(&mut self, controller: &Controller) {
        match controller {
            Controller::Elected { .. } => self.add("controllers", None, 1),
            Controller::LeaderElected(election) => {
                let topics = &self.index.history.manifest.topics;
                let workload = topics
                    .iter()
                    .any(|topic| topic.name == election.partition.topic);
                if workload && election.leader.is_some() && election.kind != ElectionKind::New {
                    self.add("elections", Some(&election.partition.topic), 1);
                    let unclean = u64::from(election.kind.is_unclean());
                    self.add(
                        "unclean_elections",
                        Some(&election.partition.topic),
                        unclean,
                    );
                }
                if workload {
                    self.isr(&election.partition, &election.isr);
                }
            }
            Controller::IsrWritten { partition, isr, .. } => {
                let topics = &self.index.history.manifest.topics;
                if topics.iter().any(|topic| topic.name == partition.topic) {
                    self.isr(partition, isr);
                }
            }
            Controller::Resigned { .. }
            | Controller::ReassignmentStarted { .. }
            | Controller::Reassigned { .. }
            | Controller::BrokerUp { .. }
            | Controller::BrokerDown { .. }
            | Controller::TopicCreated(..)
            | Controller::TopicDeleted(_) => {}
        }
    }

    /// The leader and the controller both tell of one change: only what is new counts.
    fn isr(&mut self, partition: &TopicPartition, isr: &[BrokerId]) {
        let Some(before) = self.isr.insert(partition.clone(), isr.to_vec()) else {
            return;
        };
        let shrunk = before.iter().filter(|broker| !isr.contains(broker)).count();
        let grown = isr.iter().filter(|broker| !before.contains(broker)).count();
        self.add(
            "isr_shrinks",
            Some(&partition.topic),
            u64::try_from(shrunk).unwrap_or(0),
        );
        self.add(
            "isr_expansions",
            Some(&partition.topic),
            u64::try_from(grown).unwrap_or(0),
        );
    }

    fn add(&mut self, name: &str, topic: Option<&TopicName>, by: u64) {
        if by == 0 {
            return;
        }
        *self.ledger.total.entry(name.to_owned()).or_default() += by;
        let known = |topic: &&TopicName| {
            self.index
                .history
                .manifest
                .topics
                .iter()
                .any(|known| known.name == **topic)
        };
        if let Some(topic) = topic.filter(known) {
            let counts = self.ledger.topics.entry(topic.clone()).or_default();
            *counts.entry(name.to_owned()).or_default() += by;
        }
    }

    /// Members without a partition when the final read begins (or at the end), while others of their group have some.
    fn idle(&mut self) {
        let until = self.index.phase(Phase::FinalRead).unwrap_or(EventId::NONE);
        // By group and node: how many partitions. A node stands for the life that runs on it.
        let mut members: BTreeMap<(usize, NodeId), Vec<TopicPartition>> = BTreeMap::new();
        for id in self.index.group_events.iter().take_while(|id| **id < until) {
            let event = self.index.event(*id);
            let Some(node) = event.node else { continue };
            match &event.what {
                What::Client(Client::Joined { group, .. } | Client::Rebalancing { group, .. }) => {
                    if let Some(group) = self.index.group(group) {
                        members.entry((group, node)).or_default();
                    }
                }
                What::Process(Process::Died { .. } | Process::Stopped) => {
                    members.retain(|(_, own), _| *own != node);
                }
                What::Operation(operation) => {
                    let Some(group) = self.index.group_of_client(operation.client) else {
                        continue;
                    };
                    assignment(&operation.action, (group, node), &mut members);
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
                | What::Phase(_) => {}
            }
        }
        let busy = |group: usize| {
            members
                .iter()
                .any(|((own, _), parts)| *own == group && !parts.is_empty())
        };
        let idle = members
            .iter()
            .filter(|((group, _), parts)| parts.is_empty() && busy(*group))
            .count();
        self.add("idle_consumers", None, u64::try_from(idle).unwrap_or(0));
    }

    fn finish(mut self) -> Ledger {
        let whole = self.index.whole;
        let topics = &self.index.history.manifest.topics;
        for (place, counts) in self.hot.iter().enumerate() {
            let told = HOT
                .iter()
                .zip(counts)
                .filter(|(name, _)| whole || !WHOLE.contains(name));
            let into = match topics.get(place) {
                Some(topic) => self.ledger.topics.entry(topic.name.clone()).or_default(),
                None => &mut self.ledger.total,
            };
            into.extend(told.map(|(name, count)| ((*name).to_owned(), *count)));
        }
        for (name, _) in LEDGER_KEYS {
            let told = whole || !WHOLE.contains(name);
            if told && !name.ends_with('.') {
                self.ledger.total.entry((*name).to_owned()).or_default();
            }
        }
        self.ledger
    }
}

/// Stands for "counts nowhere".
/// Whether an error says that the application did what it may not do.
fn is_misuse(error: &str) -> bool {
    error.starts_with("IllegalStateException") || error == "INVALID_GROUP_ID"
}

const NO_ENTRY: usize = usize::MAX;

fn missed(index: &Index<'_>, (group, effects): (usize, &Effects), id: ValueId) -> bool {
    !effects.first[wide(id.0)].is_some()
        && due(index, (group, effects), id)
        && excuse(index, effects, index.values.get(id)).is_none()
}

fn assignment(
    action: &Action,
    member: (usize, NodeId),
    members: &mut BTreeMap<(usize, NodeId), Vec<TopicPartition>>,
) {
    match action {
        Action::Assigned {
            group: Some(_),
            partitions,
            ..
        } => {
            let own = members.entry(member).or_default();
            let new = partitions
                .iter()
                .filter(|partition| !own.contains(partition))
                .cloned();
            let new: Vec<TopicPartition> = new.collect();
            own.extend(new);
        }
        Action::Revoked { partitions, .. } | Action::Lost { partitions, .. } => {
            members
                .entry(member)
                .or_default()
                .retain(|partition| !partitions.contains(partition));
        }
        Action::Send { .. }
        | Action::Poll { .. }
        | Action::Commit { .. }
        | Action::Transaction { .. }
        | Action::Assigned { .. }
        | Action::Position { .. }
        | Action::Process { .. }
        | Action::Admin { .. } => {}
    }
}
