//! The scenario file, table for table, as serde reads it.
//!
//! Unknown keys are refused everywhere except inside `config` tables, which hold Kafka's own keys. What must be checked
//! against the rest of the file is [`Spanned`], so that a complaint can point at it.

pub use super::client::{
    Commit, Consumer, ConsumerApi, Idle, Into, OnFailure, Pause, Producer, Seek, SeekTo, Thread,
    Transactions,
};
use super::condition::Condition;
pub use super::fault_kind::{
    Before, Damage, Direction, Disk, FaultKind, FileKind, LaneName, Unflushed,
};
use super::nemesis::Nemesis;
use super::target::Target;
use super::text::{SettingText, Time};
use history::expectation::Quantifier;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
pub use toml::Spanned;

/// Kafka's (or ZooKeeper's) own keys and values.
pub type Settings = BTreeMap<Spanned<String>, Spanned<SettingText>>;

/// A whole file.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ScenarioFile {
    /// One line.
    pub title: String,
    /// What it asks.
    pub question: String,
    /// What it teaches, in Markdown.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub lesson: String,
    /// The seed of a run that names none.
    #[serde(default = "one")]
    pub seed: u64,
    /// Where every draw comes from instead of the seed; a run is then the same whatever seed it is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub draws: Option<u64>,
    /// How long the workload and the faults last, from the moment the cluster stands.
    pub duration: Spanned<Time>,
    /// After healing: how long until progress is due.
    #[serde(default = "a_minute")]
    pub progress_within: Time,
    /// Message faults that no TCP connection shows are allowed.
    #[serde(default, skip_serializing_if = "is_default")]
    pub unfaithful: bool,
    /// Brokers and keepers.
    #[serde(default)]
    pub cluster: Cluster,
    /// Topics.
    #[serde(default, rename = "topic", skip_serializing_if = "Vec::is_empty")]
    pub topics: Vec<Topic>,
    /// Producers.
    #[serde(default, rename = "producer", skip_serializing_if = "Vec::is_empty")]
    pub producers: Vec<Producer>,
    /// Consumers.
    #[serde(default, rename = "consumer", skip_serializing_if = "Vec::is_empty")]
    pub consumers: Vec<Consumer>,
    /// The network without faults.
    #[serde(default)]
    pub network: Network,
    /// What breaks.
    #[serde(default, rename = "fault", skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<Spanned<Fault>>,
    /// Faults that each seed draws.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nemesis: Option<Nemesis>,
    /// What must hold.
    #[serde(default, skip_serializing_if = "Expect::is_empty")]
    pub expect: Expect,
    /// What the run must be seen to reach, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub reaches: BTreeMap<String, Spanned<Condition>>,
    /// Several sides of one question.
    #[serde(default, rename = "variant", skip_serializing_if = "Vec::is_empty")]
    pub variants: Vec<Variant>,
    /// Axes whose sides are combined, each combination a variant; instead of variants.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub matrix: Vec<Spanned<Axis>>,
}

impl ScenarioFile {
    /// The file as it would be written.
    ///
    /// # Panics
    /// Never: every table of a scenario can be written.
    pub fn text(&self) -> String {
        toml::to_string(self).expect("every table of a scenario can be written")
    }
}

fn one() -> u64 {
    1
}

pub(super) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

fn a_minute() -> Time {
    Time(protocol::time::Span::secs(60))
}

/// Brokers and keepers.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Cluster {
    /// How many brokers; ids from 1.
    #[serde(default = "three")]
    pub brokers: Spanned<u16>,
    /// How many keeper servers: 1, 3 or 5.
    #[serde(default = "three")]
    pub keepers: Spanned<u16>,
    /// The release: `0.8`, `0.9`, `1.0`, `2.8` or `sound`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub era: Option<Spanned<String>>,
    /// The eras whose promises the file asks for; every one when absent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub eras: Vec<Spanned<String>>,
    /// Fixes switched apart from the era.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub fixes: BTreeMap<Spanned<String>, bool>,
    /// Settings of all brokers.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub config: Settings,
    /// Settings of single brokers, by id.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub broker: BTreeMap<Spanned<String>, BrokerTable>,
    /// Settings of all keeper servers (`zoo.cfg`).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub keeper: Settings,
    /// Brokers that are not there at first; a `start` fault brings them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub absent: Vec<Spanned<u16>>,
}

impl Default for Cluster {
    fn default() -> Self {
        Self {
            brokers: three(),
            keepers: three(),
            era: None,
            eras: Vec::new(),
            fixes: BTreeMap::new(),
            config: BTreeMap::new(),
            broker: BTreeMap::new(),
            keeper: BTreeMap::new(),
            absent: Vec::new(),
        }
    }
}

fn three() -> Spanned<u16> {
    Spanned::new(0..0, 3)
}

/// One broker.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct BrokerTable {
    /// Its settings.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub config: Settings,
}

/// A topic.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Topic {
    /// Its name.
    pub name: Spanned<String>,
    /// How many partitions.
    #[serde(default = "one_partition")]
    pub partitions: Spanned<i32>,
    /// How many replicas.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replication_factor: Option<Spanned<i16>>,
    /// Replicas of each partition, preferred leader first, instead of Kafka's placement.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub replicas: Vec<Spanned<Vec<i32>>>,
    /// Topic settings.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub config: Settings,
}

fn one_partition() -> Spanned<i32> {
    Spanned::new(0..0, 1)
}

/// The network without faults.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// One-way delay of every link.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency: Option<Latency>,
    /// Bytes per second of every link.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bandwidth: Option<u64>,
    /// Of a thousand packets, how many are lost (and sent again by TCP).
    #[serde(default, skip_serializing_if = "is_default")]
    pub loss_per_mille: u16,
    /// Links apart from the rest.
    #[serde(default, rename = "link", skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<Link>,
    /// Single messages whose delay is fixed.
    #[serde(default, rename = "message", skip_serializing_if = "Vec::is_empty")]
    pub messages: Vec<PinnedMessages>,
}

/// Messages of one kind on one link whose delay is fixed, whatever is drawn for the others.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct PinnedMessages {
    /// The sender, by the name it has in histories (`b1`, `z2`, `p1`).
    pub from: Spanned<String>,
    /// The receiver, likewise.
    pub to: Spanned<String>,
    /// Which messages.
    pub message: Spanned<String>,
    /// By number, counted from 0 on this link: how long it is under way.
    pub latency: BTreeMap<Spanned<String>, Time>,
}

/// A delay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(untagged)]
pub enum Latency {
    /// Always the same.
    Constant(Time),
    /// Any between the two, alike.
    Uniform([Time; 2]),
}

/// A link apart from the rest.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Link {
    /// From this node.
    pub from: Spanned<Target>,
    /// To this node.
    pub to: Spanned<Target>,
    /// Its delay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency: Option<Latency>,
    /// Its bytes per second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bandwidth: Option<u64>,
}

/// When a fault happens. Exactly one of `at`, `between` and `when`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// Other faults may refer to it by this name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What.
    pub kind: Spanned<FaultKind>,
    /// Whom.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<Spanned<Target>>,
    /// At this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Spanned<Time>>,
    /// At a random time between the two.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub between: Option<Spanned<[Time; 2]>>,
    /// As soon as this is true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<Spanned<Condition>>,
    /// So long after that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Time>,
    /// Again after each such time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every: Option<Time>,
    /// How often, with `every`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<u32>,
    /// How long it lasts.
    #[serde(default, rename = "for", skip_serializing_if = "Option::is_none")]
    pub lasting: Option<Spanned<Time>>,
    /// It lasts until this is true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Spanned<Condition>>,
    /// A killed node comes back after this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restart_after: Option<Time>,
    /// It is not healed after the safety phase.
    #[serde(default, skip_serializing_if = "is_default")]
    pub permanent: bool,
    /// It may have no effect: that is counted, not judged.
    #[serde(default, skip_serializing_if = "is_default")]
    pub optional: bool,
    /// What the disk holds at the restart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk: Option<Spanned<Disk>>,
    /// One end of a link.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Spanned<Target>>,
    /// The other end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Spanned<Target>>,
    /// Cut only one way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub direction: Option<Direction>,
    /// An amount of time: a delay, a clock's jump (`by`), forwards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<Time>,
    /// The clock jumps backwards.
    #[serde(default, skip_serializing_if = "is_default")]
    pub backwards: bool,
    /// Parts per million that a clock runs fast; negative for slow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ppm: Option<i32>,
    /// Packets lost per thousand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_mille: Option<u16>,
    /// Bytes per second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bandwidth: Option<u64>,
    /// How many times slower.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub factor: Option<u32>,
    /// Which messages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<Spanned<String>>,
    /// The first so many that match pass.
    #[serde(default, skip_serializing_if = "is_default")]
    pub skip: u32,
    /// How many are hit; 1 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u32>,
    /// Which lane.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lane: Option<Spanned<LaneName>>,
    /// Which partition: of an operator, of a file, or that a message is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partition: Option<Spanned<String>>,
    /// Which topic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic: Option<Spanned<String>>,
    /// The new number of partitions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partitions: Option<i32>,
    /// The topic's new settings.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub config: Settings,
    /// The replicas that a partition shall have, preferred leader first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<Spanned<Vec<i32>>>,
    /// Whether the operator asks for a move also while another one is under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub additional: Option<bool>,
    /// The first offset to keep.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Spanned<Before>>,
    /// Which log directory, from 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<u16>,
    /// What a loss of power leaves of unflushed bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unflushed: Option<Spanned<Unflushed>>,
    /// Which file is damaged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<Spanned<FileKind>>,
    /// How it is damaged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub damage: Option<Damage>,
    /// How many bytes at its end are; all when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// Messages that name this leader epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader_epoch: Option<Spanned<i32>>,
    /// Keeper messages that name this znode or one below it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<Spanned<String>>,
}

impl Fault {
    /// A fault of a kind of which nothing else is known yet.
    pub(super) fn of(kind: FaultKind) -> Self {
        Self {
            name: None,
            kind: Spanned::new(0..0, kind),
            target: None,
            at: None,
            between: None,
            when: None,
            after: None,
            every: None,
            times: None,
            lasting: None,
            until: None,
            restart_after: None,
            permanent: false,
            optional: false,
            disk: None,
            from: None,
            to: None,
            direction: None,
            by: None,
            backwards: false,
            ppm: None,
            per_mille: None,
            bandwidth: None,
            factor: None,
            message: None,
            skip: 0,
            count: None,
            lane: None,
            partition: None,
            topic: None,
            partitions: None,
            config: BTreeMap::new(),
            replicas: None,
            additional: None,
            before: None,
            directory: None,
            unflushed: None,
            file: None,
            damage: None,
            bytes: None,
            leader_epoch: None,
            path: None,
        }
    }
}

/// What must hold: guarantees expected to break, and harm, each with how often.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Expect {
    /// Guarantees expected to be violated.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub violated: BTreeMap<Spanned<String>, Quantifier>,
    /// Entries of the ledger expected to be above zero.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub harm: BTreeMap<Spanned<String>, Quantifier>,
}

impl Expect {
    fn is_empty(&self) -> bool {
        self.violated.is_empty() && self.harm.is_empty()
    }
}

/// One axis of a matrix.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Axis {
    /// Its sides, as variants are written.
    #[serde(rename = "side")]
    pub sides: Vec<Variant>,
}

/// One side of the question: what differs from the file's main part.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Variant {
    /// Its name.
    pub name: Spanned<String>,
    /// The release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub era: Option<Spanned<String>>,
    /// Fixes switched, over the main part's.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub fixes: BTreeMap<Spanned<String>, bool>,
    /// Settings of all brokers, over the main part's.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub cluster: Settings,
    /// Settings of all topics, over the main part's.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub topic: Settings,
    /// Settings of all producers, over the main part's.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub producer: Settings,
    /// Settings of all consumers, over the main part's.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub consumer: Settings,
    /// Which client consumers are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api: Option<ConsumerApi>,
    /// When consumers commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<Commit>,
    /// Whether consumers commit when partitions are taken from them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit_on_revoke: Option<bool>,
    /// Where consumers work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thread: Option<Thread>,
    /// What producers do with a record that was not acknowledged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_failure: Option<OnFailure>,
    /// What breaks, besides the main part's.
    #[serde(default, rename = "fault", skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<Spanned<Fault>>,
    /// What must hold; replaces the main part's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect: Option<Expect>,
    /// What the run must reach; replaces the main part's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reaches: Option<BTreeMap<String, Spanned<Condition>>>,
}

impl Variant {
    /// A variant in which nothing differs.
    pub fn named(name: Spanned<String>) -> Self {
        Self {
            name,
            era: None,
            fixes: BTreeMap::new(),
            cluster: Settings::new(),
            topic: Settings::new(),
            producer: Settings::new(),
            consumer: Settings::new(),
            api: None,
            commit: None,
            commit_on_revoke: None,
            thread: None,
            on_failure: None,
            faults: Vec::new(),
            expect: None,
            reaches: None,
        }
    }
}
