//! What every checker looks things up in: built once, in two passes over the history, linear in it.
//!
//! Partitions, values and events have dense numbers, so that a checker of ten million operations walks arrays. What is
//! asked for one record at a time (its story) is searched for when it is asked.

mod build;
mod offsets;
mod replica_log;
mod sent;
mod transactions;

pub use offsets::OffsetMap;
pub use replica_log::{Cut, CutKind, ReplicaLog};
pub use sent::{Fate, Sent, ValueId, Values};
pub use transactions::{
    Decided, Ending, Fated, Init, LoggedBatch, TakenOffset, Transaction, TransactionIndex,
    TransactionLog, Transactions, Unmade, Visible,
};

use crate::History;
use crate::event::{ElectionKind, Event, Phase, Replica, What};
use crate::invariant::Broken;
use crate::manifest::{ClientKind, CommitPolicy, Topic};
use crate::verdict::Moment;
use protocol::config::OffsetStorage;
use protocol::ids::{
    BrokerId, GroupId, LeaderEpoch, NodeId, Offset, PartitionEpoch, TopicName, TopicPartition,
};
use std::collections::BTreeMap;

/// A dense number that stands for nothing.
pub const NONE: u32 = u32::MAX;

/// A dense number as an index.
pub fn wide(number: u32) -> usize {
    #[expect(clippy::as_conversions, reason = "32 bits fit every index here")]
    {
        number as usize
    }
}

/// The place of an event in the history.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct EventId(pub u32);

impl EventId {
    /// No event.
    pub const NONE: Self = Self(NONE);

    /// Whether it is one.
    pub fn is_some(self) -> bool {
        self != Self::NONE
    }
}

/// `acks`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Acks {
    /// Nobody answers.
    Zero,
    /// The leader answers.
    One,
    /// The in-sync replicas have it.
    All,
}

/// The settings of a producer that decide what it may claim.
#[derive(Clone, Copy, Debug)]
pub struct ProducerFacts {
    /// `acks`.
    pub acks: Acks,
    /// `retries`.
    pub retries: u64,
    /// `max.in.flight.requests.per.connection`.
    pub in_flight: u32,
    /// `enable.idempotence`.
    pub idempotence: bool,
    /// It has a `transactional.id`.
    pub transactional: bool,
}

/// A group of the manifest's consumers.
#[derive(Clone, Debug)]
pub struct GroupFacts {
    /// Its name.
    pub id: GroupId,
    /// When its members commit; the first member's word.
    pub commit: CommitPolicy,
    /// Its members read committed records only; the first member's word.
    pub read_committed: bool,
    /// The producers that write what is made from what it reads.
    pub feeds: Vec<u16>,
    /// Its members are ZooKeeper consumers, and where they keep their offsets. As long as one of them keeps them in
    /// ZooKeeper, that is no coordinator's word alone.
    pub old: Option<OffsetStorage>,
}

/// One leader election as the controller tells it.
#[derive(Clone, Debug)]
pub struct Election {
    /// When.
    pub event: EventId,
    /// Whom.
    pub leader: Option<BrokerId>,
    /// In which epoch.
    pub epoch: LeaderEpoch,
    /// Why.
    pub kind: ElectionKind,
}

/// A leader moved its log start.
#[derive(Clone, Copy, Debug)]
pub struct Deletion {
    /// When.
    pub event: EventId,
    /// Who.
    pub broker: BrokerId,
    /// The first offset that is left.
    pub below: i64,
}

/// A broker that says it leads.
#[derive(Clone, Copy, Debug)]
pub struct Leadership {
    /// When it said so.
    pub event: EventId,
    /// Who.
    pub broker: BrokerId,
    /// In which epoch.
    pub epoch: LeaderEpoch,
}

/// All that is known of one partition.
#[derive(Clone, Debug)]
pub struct Partition {
    /// Its name.
    pub name: TopicPartition,
    /// Its topic's place in the manifest.
    pub topic: Option<usize>,
    /// What the final read found, by offset; records of somebody else are left out.
    pub found: OffsetMap<u32>,
    /// The offset after the last record that the final read saw.
    pub read_to: i64,
    /// Whether the final read saw any record of it.
    pub read: bool,
    /// The final read of it ended in an error, or below the high watermark that its leader said last.
    pub read_failed: bool,
    /// By the word of the newest leader.
    pub high_watermark: i64,
    /// Likewise the last stable offset, where that leader has told one.
    pub last_stable: Option<i64>,
    /// The batches of records in the newest leader's log, each by its first offset and the one after its last: what markers
    /// are behind them is handed to nobody.
    batches: Vec<(i64, i64)>,
    /// What leaders appended last at each offset.
    pub appended: OffsetMap<u32>,
    /// What leaders deleted by retention or DeleteRecords, each broker further than before.
    pub deletions: Vec<Deletion>,
    /// When its topic was deleted because somebody had asked for that.
    pub removals: Vec<EventId>,
    /// A controller has deleted its topic, asked for or not, and none has led it since.
    pub gone: bool,
    /// Elections, in order.
    pub elections: Vec<Election>,
    /// Leaders, in order.
    pub leaders: Vec<Leadership>,
    /// The log of each replica.
    pub replicas: BTreeMap<BrokerId, ReplicaLog>,
    /// In-sync replicas by the leader's word.
    pub isr: Vec<(EventId, usize)>,
    /// In-sync replicas as they were stored, by the word of whoever wrote them.
    pub stored_isr: Vec<StoredIsr>,
}

/// In-sync replicas as the keeper has them.
#[derive(Clone, Debug)]
pub struct StoredIsr {
    /// When that was said.
    pub event: EventId,
    /// Who they are.
    pub members: Vec<BrokerId>,
    /// The version of the znode; an election does not tell it.
    pub version: Option<PartitionEpoch>,
}

impl Partition {
    /// A new leader, whose log begins and ends there, knows nothing yet of what its log has behind its end.
    fn led_anew(&mut self, by: (EventId, BrokerId), (log_start, log_end): (i64, i64)) {
        self.leads_without(by, log_start);
        self.high_watermark = self.high_watermark.min(log_end);
        self.cut_batches(log_end);
        self.last_stable = None;
    }

    fn cut_batches(&mut self, to: i64) {
        while self.batches.pop_if(|(base, _)| *base >= to).is_some() {}
    }

    /// The newest leader appends a batch; records, or a marker.
    fn lengthened(&mut self, base: i64, next: i64, records: bool) {
        self.cut_batches(base);
        if records {
            self.batches.push((base, next));
        }
    }

    /// The offset after the last record.
    fn records_end(&self) -> i64 {
        self.batches.last().map_or(0, |(_, next)| *next)
    }

    /// Somebody says what was stored; what is told late, after something newer, is passed over.
    fn stored(&mut self, event: EventId, members: &[BrokerId], version: Option<PartitionEpoch>) {
        let known = self.stored_isr.last().and_then(|last| last.version);
        if version.is_none() || known < version {
            self.stored_isr.push(StoredIsr {
                event,
                members: members.to_vec(),
                version,
            });
        }
    }

    /// Whether a broker was an in-sync replica at every moment between the two.
    pub fn stays_in_sync(&self, broker: BrokerId, from: EventId, to: EventId) -> bool {
        let after = self
            .stored_isr
            .partition_point(|stored| stored.event <= from);
        let since = self
            .stored_isr
            .get(after.saturating_sub(1)..)
            .unwrap_or(&[]);
        let mut until = since.iter().take_while(|stored| stored.event <= to);
        after > 0 && until.all(|stored| stored.members.contains(&broker))
    }

    /// A leader moved its log start; one that only learns of what another has deleted deletes nothing, unless its log was
    /// shorter than what the other one deleted.
    fn deleted(&mut self, (event, broker): (EventId, BrokerId), below: i64) {
        let own = |known: &&Deletion| known.broker == broker;
        let before = self.deletions.iter().rev().find(own);
        if before.is_none_or(|before| below > before.below) {
            self.deletions.push(Deletion {
                event,
                broker,
                below,
            });
        }
    }

    /// Followers delete by their own clock, up to what they know to be committed; when one of them leads, what it has
    /// deleted is deleted for everybody.
    fn leads_without(&mut self, (event, broker): (EventId, BrokerId), below: i64) {
        if self.deletions.iter().all(|known| known.below < below) && below > 0 {
            self.deletions.push(Deletion {
                event,
                broker,
                below,
            });
        }
    }
}

/// The end of a broker's process that was not in good order.
#[derive(Clone, Copy, Debug)]
pub struct Death {
    /// When.
    pub event: EventId,
    /// On which node.
    pub node: NodeId,
}

/// What every checker looks things up in.
#[derive(Debug)]
pub struct Index<'h> {
    /// The history.
    pub history: &'h History,
    /// Every value sent.
    pub values: Values,
    /// Every partition named.
    pub partitions: Vec<Partition>,
    topics: Vec<(TopicName, Vec<u32>)>,
    /// How often each topic is still to be deleted.
    wishes: BTreeMap<TopicName, u32>,
    /// By client: producers' settings.
    pub producers: Vec<Option<ProducerFacts>>,
    /// By client: whether it reads committed records only.
    pub reads_committed: Vec<bool>,
    /// By client: the place of a consumer's group in `groups`.
    pub consumers: Vec<Option<usize>>,
    /// Groups of the manifest.
    pub groups: Vec<GroupFacts>,
    /// Beginnings and ends of sends.
    pub sends: Vec<EventId>,
    /// What producers said of transactions, and what coordinators said.
    pub transaction_events: Vec<EventId>,
    /// What consumers polled, the final read left out.
    pub polls: Vec<EventId>,
    /// What the final read polled.
    pub final_polls: Vec<EventId>,
    /// What groups and their consumers did: polls, effects, commits, assignments, positions, the coordinator's own
    /// words, and the deaths of client processes.
    pub group_events: Vec<EventId>,
    /// When phases began.
    pub phases: Vec<(Phase, EventId)>,
    /// Broker processes that died.
    pub deaths: Vec<Death>,
    /// When faults struck, or showed, that are declared not to heal.
    pub lasting_faults: Vec<EventId>,
    /// Whether there is a final read to find records in.
    pub whole: bool,
    /// White-box invariants that broke.
    pub broken: Vec<Broken>,
    /// Transactions.
    pub transactions: Transactions,
}

impl<'h> Index<'h> {
    /// Reads a history.
    pub fn build(history: &'h History) -> Self {
        build::build(history)
    }

    /// An event.
    pub fn event(&self, id: EventId) -> &'h Event {
        &self.history.events[wide(id.0)]
    }

    /// The time of an event, in nanoseconds.
    pub fn time(&self, id: EventId) -> u64 {
        self.event(id).at
    }

    /// The name of an event's node.
    pub fn node_of(&self, id: EventId) -> &'h str {
        let node = self.event(id).node;
        node.map_or("", |node| self.history.manifest.node_name(node))
    }

    /// One moment of a story.
    pub fn moment(&self, id: EventId, text: impl Into<String>) -> Moment {
        let event = self.event(id);
        Moment {
            at: event.at,
            step: event.step,
            node: self.node_of(id).to_owned(),
            text: text.into(),
        }
    }

    /// The dense number of a partition; [`NONE`] if nothing names it.
    pub fn part(&self, name: &TopicPartition) -> u32 {
        let topic = self.topics.iter().find(|(topic, _)| *topic == name.topic);
        let index = usize::try_from(name.partition.0).ok();
        let part = topic
            .zip(index)
            .and_then(|((_, parts), index)| parts.get(index));
        part.copied().unwrap_or(NONE)
    }

    /// A partition.
    pub fn partition(&self, part: u32) -> &Partition {
        &self.partitions[wide(part)]
    }

    /// The topic of a partition in the manifest.
    pub fn topic(&self, part: u32) -> Option<&'h Topic> {
        let place = self.partition(part).topic?;
        self.history.manifest.topics.get(place)
    }

    /// The name of a client.
    pub fn client_name(&self, client: u16) -> &'h str {
        let clients = &self.history.manifest.clients;
        clients
            .get(usize::from(client))
            .map_or("?", |client| client.name.as_str())
    }

    /// The settings of the producer that sent a value.
    pub fn producer(&self, client: u16) -> Option<&ProducerFacts> {
        self.producers.get(usize::from(client))?.as_ref()
    }

    /// Whether any producer satisfies a condition.
    pub fn any_producer(&self, condition: impl Fn(&ProducerFacts) -> bool) -> bool {
        self.producers.iter().flatten().any(condition)
    }

    /// The group of a consumer, as a place in `groups`.
    pub fn group_of_client(&self, client: u16) -> Option<usize> {
        self.consumers.get(usize::from(client)).copied().flatten()
    }

    /// Whether a client reads committed records only.
    pub fn reads_committed(&self, client: u16) -> bool {
        self.reads_committed.get(usize::from(client)).copied() == Some(true)
    }

    /// What the final read found of a partition, as far as a reader may see it: all of it, or what is committed.
    pub fn found_by(&self, committed: bool, part: u32) -> &OffsetMap<u32> {
        match &self.transactions.visible {
            Some(visible) if committed => visible.log(part),
            Some(_) | None => &self.partition(part).found,
        }
    }

    /// The place of a group.
    pub fn group(&self, id: &GroupId) -> Option<usize> {
        self.groups.iter().position(|group| group.id == *id)
    }

    /// The first event of a phase.
    pub fn phase(&self, phase: Phase) -> Option<EventId> {
        let found = self.phases.iter().find(|(other, _)| *other == phase);
        found.map(|(_, event)| *event)
    }

    /// Whether the client is the reader that closes the run.
    pub fn is_final_reader(&self, client: u16) -> bool {
        let client = self.history.manifest.clients.get(usize::from(client));
        client.is_some_and(|client| client.kind == ClientKind::FinalReader)
    }

    /// Whether the client is one of the readers that close the run.
    pub fn closes_the_run(&self, client: u16) -> bool {
        let client = self.history.manifest.clients.get(usize::from(client));
        client.is_some_and(|client| {
            matches!(
                client.kind,
                ClientKind::FinalReader | ClientKind::CommittedReader
            )
        })
    }

    /// Partitions of the workload.
    pub fn workload(&self) -> impl Iterator<Item = (u32, &Partition)> {
        let numbered = (0..).zip(&self.partitions);
        numbered.filter(|(_, partition)| partition.topic.is_some())
    }

    /// Whether an acknowledged value with a known place is missing from the final read, and was not deleted on purpose.
    pub fn is_lost(&self, sent: &Sent) -> bool {
        self.whole && sent.fate == Fate::Ok && sent.copies == 0 && !self.is_deleted(sent)
    }

    /// Whether retention or DeleteRecords removed the value: it was still in its place when its leader deleted that. A record
    /// that was gone by then, with another one in its place, is lost and not deleted.
    pub fn is_deleted(&self, sent: &Sent) -> bool {
        if sent.part == NONE || sent.offset < 0 {
            return false;
        }
        let partition = self.partition(sent.part);
        let reaching = partition
            .deletions
            .iter()
            .filter(|deletion| deletion.below > sent.offset);
        let mut held = reaching.filter_map(|deletion| {
            let log = partition.replicas.get(&deletion.broker)?;
            log.holds(sent.offset, deletion.event)
        });
        held.any(|append| self.brought(append, sent))
    }

    /// Whether an append carried the record of this send.
    fn brought(&self, append: EventId, sent: &Sent) -> bool {
        let What::Replica(_, Replica::Appended(append)) = &self.event(append).what else {
            return false;
        };
        append.values.iter().any(|value| {
            let id = self.values.id(*value);
            id.is_some() && self.values.get(id).invoked == sent.invoked
        })
    }

    /// The value at an offset of the final read.
    pub fn found(&self, part: u32, offset: i64) -> ValueId {
        ValueId(self.partition(part).found.get(offset))
    }

    /// `orders-0 at offset 7`.
    pub fn place(&self, part: u32, offset: i64) -> String {
        if part == NONE {
            return "an unknown partition".to_owned();
        }
        let name = &self.partition(part).name;
        if offset < 0 {
            name.to_string()
        } else {
            format!("{name} at offset {offset}")
        }
    }

    /// An offset as findings carry it.
    pub fn offset(offset: i64) -> Option<Offset> {
        (offset >= 0).then_some(Offset(offset))
    }
}
