//! The first line of a history: what was run, by whom, and what is claimed. The address of a run.

use crate::event::Fault;
use crate::expectation::Expectations;
use protocol::config::OffsetStorage;
use protocol::ids::{BrokerId, GroupId, KeeperId, NodeId, TopicName};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The version of the format that this crate writes; it reads this one only.
pub const FORMAT_VERSION: u32 = 1;

/// What was run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// `ktrial-history`.
    pub format: String,
    /// [`FORMAT_VERSION`].
    pub version: u32,
    /// The scenario's name: its file without folder and ending.
    pub scenario: String,
    /// The path as the user gave it, for the command to repeat the run.
    pub path: String,
    /// The variant, when the scenario has several.
    pub variant: Option<String>,
    /// One line.
    pub title: String,
    /// What the scenario asks.
    pub question: String,
    /// What it teaches, in Markdown.
    pub lesson: String,
    /// The seed.
    pub seed: u64,
    /// The release whose defaults and behaviour the cluster has.
    pub era: String,
    /// Fixes switched apart from the era.
    pub fixes: BTreeMap<String, bool>,
    /// Which streams the file holds. A checker that needs a stream which is not there answers *unknown*.
    pub streams: Vec<Stream>,
    /// All nodes; events name them by index.
    pub nodes: Vec<Node>,
    /// The topics of the workload.
    pub topics: Vec<Topic>,
    /// The clients; values and operations name them by index.
    pub clients: Vec<ClientInfo>,
    /// The faults declared, in order.
    pub faults: Vec<PlannedFault>,
    /// What the scenario expects.
    pub expect: Expectations,
    /// Marks that must be reached.
    pub reaches: Vec<String>,
    /// Simulated nanoseconds until progress is due after healing.
    pub progress_within: u64,
}

/// A stream of a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stream {
    /// What clients did and were told.
    Operations,
    /// What brokers said about themselves.
    Brokers,
    /// What keeper servers said about themselves.
    Keepers,
    /// What group coordinators said.
    Groups,
    /// Faults, phases and marks.
    Faults,
    /// A read of every partition from the beginning, after healing.
    FinalRead,
    /// The same once more with `read_committed`, by [`ClientKind::CommittedReader`]; in runs with transactions.
    CommittedRead,
}

/// A node of the world.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// What it is.
    pub role: NodeRole,
}

/// What a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeRole {
    /// A broker.
    Broker(BrokerId),
    /// A keeper server.
    Keeper(KeeperId),
    /// A client; the index into the manifest's clients.
    Client(u16),
}

/// A topic of the workload.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Topic {
    /// Its name.
    pub name: TopicName,
    /// How many partitions at first.
    pub partitions: i32,
    /// How many replicas.
    pub replication_factor: i16,
    /// Effective `min.insync.replicas`.
    pub min_insync_replicas: i32,
    /// Effective `unclean.leader.election.enable`.
    pub unclean_leader_election: bool,
}

/// A client.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClientInfo {
    /// Its name.
    pub name: String,
    /// The node it runs on.
    pub node: NodeId,
    /// What it is.
    pub kind: ClientKind,
}

/// What a client is, with the settings that decide which guarantees it may claim.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientKind {
    /// A producer.
    Producer {
        /// `0`, `1` or `all`.
        acks: String,
        /// `retries`.
        retries: u64,
        /// `max.in.flight.requests.per.connection`.
        in_flight: u32,
        /// `enable.idempotence`.
        idempotence: bool,
        /// `transactional.id`.
        transactional_id: Option<String>,
        /// `transaction.timeout.ms`.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        transaction_timeout_ms: Option<u64>,
    },
    /// A consumer.
    Consumer {
        /// `group.id`.
        group: Option<GroupId>,
        /// When it commits.
        commit: CommitPolicy,
        /// `read_committed`.
        read_committed: bool,
        /// The producer client of the same process that writes what is made from the records read.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        feeds: Option<u16>,
        /// What it subscribes to; a pattern stands for the topics that match it.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        topics: Vec<TopicName>,
        /// It is a ZooKeeper consumer, and keeps its offsets there.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        old: Option<OffsetStorage>,
    },
    /// An operator's tool.
    Admin,
    /// The reader that closes each run.
    FinalReader,
    /// A second reader that closes a run with transactions: the same partitions, up to the last stable offset and with
    /// `read_committed`. What the final reader finds and this one does not is in a transaction that was aborted or is open.
    CommittedReader,
}

/// When an application commits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CommitPolicy {
    /// `enable.auto.commit`.
    Auto,
    /// Before it processes what it polled: at most once.
    Before,
    /// After it processed what it polled: at least once.
    After,
    /// In the transaction that holds what was made from the records read: exactly once.
    Transactional,
    /// Never.
    Never,
}

/// A fault that the scenario declared.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlannedFault {
    /// The scenario's word for it.
    pub kind: String,
    /// In words: what, and whom; empty where nobody said it apart.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub what: String,
    /// In words: what, whom, when.
    pub description: String,
    /// It is declared not to heal.
    pub permanent: bool,
    /// It was drawn by a nemesis: bound per sweep, not per run.
    pub random: bool,
}

impl PlannedFault {
    /// What it does, in words: as the scenario says it, with those that it hit where a role stands for them. A history may
    /// not say it; then by its kind.
    pub fn in_words(&self, hit: &str) -> String {
        if self.what.is_empty() {
            return format!("{} {hit}", self.kind.replace('_', " "))
                .trim_end()
                .to_owned();
        }
        let named = hit.split(", ").all(|one| self.what.contains(one));
        if named {
            self.what.clone()
        } else {
            format!("{} ({hit})", self.what)
        }
    }
}

impl Manifest {
    /// What a fault does, in words; one that was not planned, by its kind.
    pub fn fault_in_words(&self, fault: &Fault) -> String {
        let planned = usize::try_from(fault.index).ok();
        let planned = planned.and_then(|index| self.faults.get(index));
        let planned = planned.filter(|planned| planned.kind == fault.kind);
        planned.map_or_else(
            || {
                format!("{} {}", fault.kind.replace('_', " "), fault.target)
                    .trim_end()
                    .to_owned()
            },
            |planned| planned.in_words(&fault.target),
        )
    }

    /// The name of a node.
    pub fn node_name(&self, node: NodeId) -> &str {
        self.nodes
            .get(usize::from(node.0))
            .map_or("?", |node| node.name.as_str())
    }

    /// The broker that a node is.
    pub fn broker_of(&self, node: NodeId) -> Option<BrokerId> {
        match self.nodes.get(usize::from(node.0))?.role {
            NodeRole::Broker(id) => Some(id),
            NodeRole::Keeper(_) | NodeRole::Client(_) => None,
        }
    }

    /// A fault that was declared, by its number.
    pub fn planned(&self, fault: u32) -> Option<&PlannedFault> {
        self.faults.get(usize::try_from(fault).ok()?)
    }

    /// Whether the file holds a stream.
    pub fn has(&self, stream: Stream) -> bool {
        self.streams.contains(&stream)
    }
}
