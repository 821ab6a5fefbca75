//! A run's plan: one variant of a scenario, resolved and checked against the cluster it names.

use super::check::faults_of;
use super::condition::Condition;
use super::format::{
    Damage, Direction, Disk, FileKind, LaneName, Latency, OnFailure, ScenarioFile, SeekTo, Thread,
    Unflushed,
};
use super::nemesis;
use super::target::Target;
use history::expectation::Expectations;
use history::manifest::CommitPolicy;
use protocol::behaviour::Behaviour;
use protocol::config::{
    BrokerConfig, ConsumerConfig, KeeperConfig, OldConsumerConfig, ProducerConfig, TopicConfig,
};
use protocol::ids::{BrokerId, KeeperId, Offset, TopicName, TopicPartition};
use protocol::message::MessageKind;
use protocol::time::Span;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The client that gives the scenario's commands.
pub const OPERATOR: &str = "operator";
/// The client that reads every partition when the run is closed.
pub const FINAL_READER: &str = "final-reader";
/// The same for committed records, where there are transactions.
pub const COMMITTED_READER: &str = "committed-reader";

/// Everything a run needs but the seed.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The file without folder and ending.
    pub name: String,
    /// The path as given.
    pub path: String,
    /// Which side of the question.
    pub variant: Option<String>,
    /// One line.
    pub title: String,
    /// What it asks.
    pub question: String,
    /// What it teaches.
    pub lesson: String,
    /// The scenario's own seed.
    pub seed: u64,
    /// Where every draw comes from instead of the seed.
    pub draws: Option<u64>,
    /// How long the workload and the faults last.
    pub duration: Span,
    /// After healing: how long until progress is due.
    pub progress_within: Span,
    /// The release and its switches.
    pub behaviour: Behaviour,
    /// Fixes switched apart from the era, by name.
    pub fixes: BTreeMap<String, bool>,
    /// The brokers.
    pub brokers: Vec<BrokerPlan>,
    /// The keeper servers.
    pub keepers: Vec<KeeperPlan>,
    /// The topics.
    pub topics: Vec<TopicPlan>,
    /// The producers.
    pub producers: Vec<ProducerPlan>,
    /// The consumers, one entry a member.
    pub consumers: Vec<ConsumerPlan>,
    /// The network without faults.
    pub network: NetworkPlan,
    /// What breaks.
    pub faults: Vec<FaultPlan>,
    /// What must hold.
    pub expect: Expectations,
    /// What the run must be seen to reach.
    pub reaches: Vec<(String, Condition)>,
    /// The file it came from, with the variant in it: what a plan is written down from.
    pub source: Arc<ScenarioFile>,
}

impl Plan {
    /// Whether somebody writes in transactions.
    pub fn has_transactions(&self) -> bool {
        let mut producers = self.producers.iter();
        let mut consumers = self.consumers.iter();
        producers.any(|producer| producer.transactions.is_some())
            || consumers.any(|consumer| consumer.commit == CommitPolicy::Transactional)
    }

    /// The plan with the faults that this seed draws, where there is a nemesis.
    pub fn with_nemesis(self: Arc<Self>, seed: u64) -> Arc<Self> {
        if self.source.nemesis.is_none() {
            return self;
        }
        let file = nemesis::drawn(&self.source, self.draws.unwrap_or(seed));
        let mut plan = (*self).clone();
        plan.faults = faults_of(&file);
        for (name, start) in nemesis::starts(&file) {
            let of_producers = plan
                .producers
                .iter_mut()
                .map(|client| (&client.name, &mut client.start));
            let of_consumers = plan
                .consumers
                .iter_mut()
                .map(|client| (&client.name, &mut client.start));
            for (of, when) in of_producers.chain(of_consumers) {
                if *of == name {
                    *when = Start::At(start);
                }
            }
        }
        plan.source = Arc::new(file);
        Arc::new(plan)
    }
}

/// A broker.
#[derive(Clone, Debug)]
pub struct BrokerPlan {
    /// Its id.
    pub id: BrokerId,
    /// Its settings.
    pub config: Arc<BrokerConfig>,
    /// Its behaviour (it may speak another `inter.broker.protocol.version`).
    pub behaviour: Behaviour,
    /// It is not there at first.
    pub absent: bool,
}

/// A keeper server.
#[derive(Clone, Debug)]
pub struct KeeperPlan {
    /// Its id.
    pub id: KeeperId,
    /// Its settings.
    pub config: Arc<KeeperConfig>,
}

/// A topic.
#[derive(Clone, Debug)]
pub struct TopicPlan {
    /// Its name.
    pub name: TopicName,
    /// How many partitions.
    pub partitions: i32,
    /// How many replicas.
    pub replication_factor: i16,
    /// Fixed placement, when given.
    pub assignment: BTreeMap<i32, Vec<i32>>,
    /// Its own settings, as the admin call carries them.
    pub config: BTreeMap<String, String>,
    /// What they come to.
    pub effective: TopicConfig,
}

/// When a client starts.
#[derive(Clone, Debug, PartialEq)]
pub enum Start {
    /// At this time of the safety phase.
    At(Span),
    /// When this is true.
    When(Condition),
}

/// A producer.
#[derive(Clone, Debug)]
pub struct ProducerPlan {
    /// Its name.
    pub name: String,
    /// Where it sends.
    pub topic: TopicName,
    /// How many records.
    pub count: u64,
    /// Records per second.
    pub rate: u32,
    /// Bytes of a value.
    pub size: u32,
    /// How many keys; without it, no key.
    pub keys: Option<u32>,
    /// A fixed partition.
    pub partition: Option<i32>,
    /// When it starts.
    pub start: Start,
    /// After how many records it sends nothing, and for how long.
    pub idle: Option<(u64, Span)>,
    /// What it does with a record that was not acknowledged.
    pub on_failure: OnFailure,
    /// After how many acknowledged records it notes on its disk how far it is.
    pub checkpoint_every: Option<u64>,
    /// How it sends in transactions; set exactly where it has a transactional id.
    pub transactions: Option<TransactionsPlan>,
    /// Its settings.
    pub config: Arc<ProducerConfig>,
}

/// How a producer sends in transactions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransactionsPlan {
    /// Records in each.
    pub records: u64,
    /// Records come in pairs that take from one account and give to another.
    pub transfers: bool,
    /// Of a thousand transactions, how many the application aborts.
    pub abort_per_mille: u16,
    /// Transactions that the application aborts, the first of each life being 0.
    pub aborts: Vec<u32>,
    /// Transactions that the application forgets to begin.
    pub not_begun: Vec<u32>,
    /// Rest between two.
    pub pause: Span,
}

/// Where a consumer writes what it makes of its records.
#[derive(Clone, Debug)]
pub struct IntoPlan {
    /// The topic.
    pub topic: TopicName,
    /// Bytes of a value.
    pub size: u32,
    /// Transactions name member and generation, not only the group (KIP-447).
    pub group_metadata: bool,
    /// Of a thousand transactions, how many the application aborts.
    pub abort_per_mille: u16,
    /// The producer's settings.
    pub config: Arc<ProducerConfig>,
}

/// A consumer.
#[derive(Clone, Debug)]
pub struct ConsumerPlan {
    /// Its name.
    pub name: String,
    /// What it subscribes to; with a pattern, the declared topics that match.
    pub topics: Vec<TopicName>,
    /// It subscribes by this pattern.
    pub pattern: Option<Arc<str>>,
    /// What it takes for itself.
    pub assign: Vec<TopicPartition>,
    /// When it commits.
    pub commit: CommitPolicy,
    /// How many records it processes before it commits after them.
    pub commit_every: u64,
    /// It commits when partitions are taken from it.
    pub commit_on_revoke: bool,
    /// How long it works on each record.
    pub processing: Span,
    /// Where it works on them.
    pub thread: Thread,
    /// `poll`'s time-out.
    pub poll: Span,
    /// When it starts.
    pub start: Start,
    /// A jump of its position, and when.
    pub seek: Option<(SeekTo, Span)>,
    /// A partition that it pauses for a while.
    pub pause: Option<PausePlan>,
    /// What it makes of its records goes there.
    pub into: Option<Arc<IntoPlan>>,
    /// Its settings; of a ZooKeeper consumer, which has others, the group alone.
    pub config: Arc<ConsumerConfig>,
    /// What a ZooKeeper consumer has instead.
    pub old: Option<OldConsumerPlan>,
}

/// What is a ZooKeeper consumer's own.
#[derive(Clone, Debug)]
pub struct OldConsumerPlan {
    /// Its settings.
    pub config: Arc<OldConsumerConfig>,
    /// How many streams of each topic.
    pub streams: u32,
}

/// A consumer pauses a partition.
#[derive(Clone, Debug)]
pub struct PausePlan {
    /// Which.
    pub partition: TopicPartition,
    /// Once it has polled so many of its records.
    pub after: u64,
    /// For so long.
    pub lasting: Span,
}

/// The network without faults.
#[derive(Clone, Debug)]
pub struct NetworkPlan {
    /// One-way delay.
    pub latency: Latency,
    /// Bytes per second.
    pub bandwidth: Option<u64>,
    /// Packets lost per thousand.
    pub loss_per_mille: u16,
    /// Links apart from the rest.
    pub links: Vec<LinkPlan>,
    /// Messages whose delay is fixed.
    pub messages: Vec<PinnedMessage>,
}

/// A message whose delay is fixed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PinnedMessage {
    /// The sender's name in histories.
    pub from: String,
    /// The receiver's.
    pub to: String,
    /// Which kind.
    pub kind: MessageKind,
    /// How many of that kind went before it on this link.
    pub nth: u32,
    /// How long it is under way.
    pub latency: Span,
}

/// A link apart from the rest, one way.
#[derive(Clone, Debug)]
pub struct LinkPlan {
    /// From these nodes.
    pub from: Target,
    /// To these.
    pub to: Target,
    /// One-way delay.
    pub latency: Option<Latency>,
    /// Bytes per second.
    pub bandwidth: Option<u64>,
}

/// A fault.
#[derive(Clone, Debug)]
pub struct FaultPlan {
    /// By which other faults refer to it.
    pub name: Option<String>,
    /// The scenario's word for it.
    pub kind: &'static str,
    /// In words: what, and whom.
    pub what: String,
    /// In words: what, whom, and when.
    pub description: String,
    /// What to do.
    pub action: FaultAction,
    /// When.
    pub trigger: Trigger,
    /// So long after the trigger.
    pub after: Span,
    /// Again after each such time, and how often in all.
    pub repeat: Option<(Span, Option<u32>)>,
    /// How long it lasts.
    pub lasting: Option<Span>,
    /// It lasts until this is true.
    pub until: Option<Condition>,
    /// It is not healed.
    pub permanent: bool,
    /// It may have no effect: that is counted, not judged.
    pub optional: bool,
}

impl FaultPlan {
    /// It does what TCP rules out.
    pub fn is_unfaithful(&self) -> bool {
        use MessageChange::{Duplicate, Reorder};
        matches!(
            self.action,
            FaultAction::Message {
                change: Duplicate | Reorder,
                ..
            }
        )
    }
}

/// When a fault happens.
#[derive(Clone, Debug, PartialEq)]
pub enum Trigger {
    /// At this time of the safety phase.
    At(Span),
    /// At a random time between the two.
    Between(Span, Span),
    /// When this is true.
    When(Condition),
}

/// What a fault does.
#[derive(Clone, Debug, PartialEq)]
pub enum FaultAction {
    /// Kill the process, or the whole machine's power.
    Kill {
        /// Whom.
        target: Target,
        /// The whole machine loses power, and with it these unflushed bytes.
        power: Option<Unflushed>,
        /// How it comes back.
        restart: Restart,
    },
    /// Stop in good order.
    Stop {
        /// Whom.
        target: Target,
        /// How it comes back.
        restart: Restart,
    },
    /// Start a node that is not running.
    Start {
        /// Whom.
        target: Target,
        /// With which disk.
        disk: Disk,
    },
    /// Remember what the disk holds.
    SnapshotDisk {
        /// Whose.
        target: Target,
    },
    /// Damage a file.
    Corrupt {
        /// Whose.
        target: Target,
        /// In which log directory.
        directory: u16,
        /// Of which partition.
        partition: Option<TopicPartition>,
        /// Which.
        file: FileKind,
        /// How.
        damage: Damage,
        /// How many bytes at its end; all when absent.
        bytes: Option<u64>,
    },
    /// Stand still.
    Pause {
        /// Whom.
        target: Target,
    },
    /// Cut the target off.
    Partition {
        /// Whom.
        target: Target,
        /// From whom; from all others when absent.
        from: Option<Target>,
        /// Which way.
        direction: Direction,
    },
    /// Change a link.
    Link {
        /// One end.
        from: Target,
        /// The other end.
        to: Target,
        /// How.
        change: LinkChange,
    },
    /// Change single messages.
    Message {
        /// Which kind.
        kind: MessageKind,
        /// Sent by.
        from: Option<Target>,
        /// Sent to.
        to: Option<Target>,
        /// Which name this partition.
        partition: Option<TopicPartition>,
        /// Which name this leader epoch.
        leader_epoch: Option<i32>,
        /// Which name this znode.
        path: Option<String>,
        /// So many that match pass first.
        skip: u32,
        /// How many are hit.
        count: u32,
        /// What happens to them.
        change: MessageChange,
    },
    /// Delay a thread's work.
    Lane {
        /// On which node.
        target: Target,
        /// Which thread.
        lane: LaneName,
        /// By how much; without it the work waits until the fault ends.
        by: Option<Span>,
    },
    /// End a node's keeper session, as the ensemble would after its time-out.
    ExpireSession {
        /// Whose.
        target: Target,
    },
    /// Move a wall clock.
    ClockJump {
        /// Whose.
        target: Target,
        /// Nanoseconds; negative for backwards.
        nanos: i64,
    },
    /// Make a clock run fast or slow.
    ClockDrift {
        /// Whose.
        target: Target,
        /// Parts per million.
        ppm: i32,
    },
    /// Trouble with a disk.
    Disk {
        /// Whose.
        target: Target,
        /// Which directory.
        directory: u16,
        /// Which trouble.
        change: DiskChange,
    },
    /// Elect leaders by hand.
    Elect {
        /// Of which partition.
        partition: TopicPartition,
        /// Unclean instead of preferred.
        unclean: bool,
    },
    /// Give a topic more partitions.
    AddPartitions {
        /// Which.
        topic: TopicName,
        /// Its new total.
        partitions: i32,
    },
    /// Change settings of a topic.
    AlterConfig {
        /// Which.
        topic: TopicName,
        /// What is set.
        config: BTreeMap<String, String>,
    },
    /// Delete the records at the front of a partition.
    DeleteRecords {
        /// Of which partition.
        partition: TopicPartition,
        /// Up to, but without, this offset; up to the high watermark when absent.
        before: Option<Offset>,
    },
    /// Move a partition to other brokers.
    Reassign {
        /// Which partition.
        partition: TopicPartition,
        /// The replicas it shall have; a move that is under way is cancelled when absent.
        replicas: Option<Vec<i32>>,
        /// Also while any partition is being moved.
        additional: bool,
    },
    /// Delete a topic.
    DeleteTopic {
        /// Which.
        topic: TopicName,
    },
}

/// How a node comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Restart {
    /// After this time; at the healing when absent.
    pub after: Option<Span>,
    /// With which disk.
    pub disk: Disk,
}

/// How a link changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkChange {
    /// Slower by this much, each way of the pair named.
    Delay(Span),
    /// At most so many bytes per second.
    Bandwidth(u64),
    /// So many packets per thousand are lost.
    Loss(u16),
}

/// What happens to a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageChange {
    /// It waits, and everything behind it, until the fault is over.
    Hold,
    /// It and everything behind it is lost, then the connection is reset.
    Drop,
    /// It arrives twice (`unfaithful`).
    Duplicate,
    /// The next one of its connection overtakes it (`unfaithful`).
    Reorder,
}

/// What is wrong with a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskChange {
    /// So many times slower.
    Slow(u32),
    /// Flushes do not end.
    Stuck,
    /// No room left.
    Full,
    /// Every operation fails.
    Broken,
}
