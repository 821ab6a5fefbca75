//! The rebalance (`ZKRebalancerListener.syncedRebalance` and `rebalance`).
//!
//! Every member does the same by itself whenever something changed: it stops fetching, commits, gives its partitions
//! back, reads who is there, divides, reads the offsets of its share and makes the owner nodes. Nothing makes members
//! wait for each other. A node that is still there ends the try; what it took it gives back, rests, and tries again, until
//! `rebalance.max.retries` tries have failed. One thread rebalances at a time; the others wait for the lock, in turn here,
//! in any order in Java.

use super::assignor::{Share, ThreadId, View, assign};
use super::chore::{Chore, Fact, Proof};
use super::filter::Wildcard;
use super::leader_finder::{broker_data, children};
use super::offsets::{Committer, Offsets};
use super::partition_info::PartitionInfo;
use super::session::Thread;
use super::znode::Wants;
use super::{ZookeeperConsumer, znode};
use bytes::Bytes;
use protocol::behaviour::Fix;
use protocol::config::OffsetStorage;
use protocol::ids::{Offset, TopicName, TopicPartition};
use protocol::machine::Io;
use protocol::note::{ClientNote, Note};
use protocol::time::Mono;
use protocol::verb::{Outcome, ResetReason};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// Whose thread rebalances.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Caller {
    /// The application's, inside `createMessageStreams`.
    Application,
    /// zkclient's event thread, in a new session.
    Event,
    /// The watcher thread.
    Watcher,
}

/// A member and what it wants.
type Registered = (Arc<str>, Wants);

/// What the rebalance stands at.
#[derive(Clone, Debug)]
enum Phase {
    /// `getCluster`: who lives, and where.
    Cluster,
    ClusterData,
    /// What this member registered.
    Mine,
    /// `getAllBrokersInCluster`.
    Brokers,
    BrokerData,
    /// There is no broker; leaving a watch for the first to come.
    Waiting,
    /// Committing before partitions are given back.
    Closing,
    /// Deleting the owner nodes.
    Releasing,
    /// Reading who is in the group,
    Members,
    /// what they registered,
    Registrations(Vec<Arc<str>>),
    /// which topics there are, where somebody has a filter,
    AllTopics(Vec<Registered>),
    /// and the partitions of these topics.
    Topics(View),
    /// Reading offsets in ZooKeeper.
    Offsets(Share),
    /// Reading offsets in Kafka.
    KafkaOffsets(Share),
    /// Reading in ZooKeeper besides what Kafka said.
    DualOffsets(Share, Offsets),
    /// Making the owner nodes.
    Claiming(Share, Offsets),
    /// Deleting those that were made.
    Undoing,
    /// Committing after a try that failed.
    ClosingAgain,
    /// Resting before the next try.
    Resting(Mono),
}

/// A rebalance under way: who holds the lock.
#[derive(Clone, Debug)]
struct Running {
    caller: Caller,
    attempt: i32,
    phase: Phase,
}

/// The lock, and who waits for it.
#[derive(Clone, Default, Debug)]
pub(super) struct Rebalance {
    running: Option<Running>,
    waiting: VecDeque<Caller>,
}

impl Rebalance {
    pub(super) fn is_idle(&self) -> bool {
        self.running.is_none()
    }

    pub(super) fn next_deadline(&self) -> Option<Mono> {
        let Phase::Resting(until) = self.running.as_ref()?.phase else {
            return None;
        };
        Some(until)
    }
}

impl ZookeeperConsumer {
    /// `syncedRebalance`.
    pub(super) fn synced_rebalance(&mut self, now: Mono, caller: Caller, io: &mut Io<'_>) {
        if self.rebalance.is_idle() {
            self.rebalance.running = Some(Running {
                caller,
                attempt: 0,
                phase: Phase::Resting(now),
            });
            self.try_rebalance(now, io);
        } else {
            self.rebalance.waiting.push_back(caller);
        }
    }

    pub(super) fn tick_rebalance(&mut self, now: Mono, io: &mut Io<'_>) {
        if self.rebalance.next_deadline().is_some_and(|at| at <= now) {
            self.try_rebalance(now, io);
        }
    }

    /// The next try, or the end of all tries.
    fn try_rebalance(&mut self, now: Mono, io: &mut Io<'_>) {
        let is_shutting_down = self.is_shutting_down();
        let Some(running) = &mut self.rebalance.running else {
            return;
        };
        if is_shutting_down {
            self.end_rebalance(now, true, io);
        } else if running.attempt >= self.config.rebalance_max_retries {
            io.note(Note::Client(ClientNote::RebalanceFailed(
                self.group.clone(),
            )));
            self.end_rebalance(now, false, io);
        } else {
            running.attempt += 1;
            let attempt = u32::try_from(running.attempt).unwrap_or(0);
            io.note(Note::Client(ClientNote::Rebalancing {
                group: self.group.clone(),
                attempt,
            }));
            let mut reads = Vec::new();
            if self.behaviour.has(Fix::SyncBeforeRead) {
                reads.push(Chore::Sync(znode::ids(&self.group)));
            }
            reads.push(self.broker_ids());
            self.enter(Phase::Cluster, reads);
        }
    }

    fn end_rebalance(&mut self, now: Mono, done: bool, io: &mut Io<'_>) {
        let Some(running) = self.rebalance.running.take() else {
            return;
        };
        self.returned.push_back((running.caller, done));
        if self.is_shutting_down() {
            self.rebalance.waiting.clear();
            self.shut_down(now, io);
        } else if let Some(next) = self.rebalance.waiting.pop_front() {
            self.synced_rebalance(now, next, io);
        }
    }

    fn enter(&mut self, phase: Phase, chores: Vec<Chore>) {
        if let Some(running) = &mut self.rebalance.running {
            running.phase = phase;
        }
        self.wanted.push_back((Thread::Rebalance, chores));
    }

    fn broker_ids(&self) -> Chore {
        Chore::Children {
            path: znode::BROKER_IDS.into(),
            watch: self.listening.to_brokers,
        }
    }

    fn own_registration(&self) -> Chore {
        Chore::Data {
            path: znode::id(&self.group, &self.id),
            watch: false,
        }
    }

    fn members(&self) -> Chore {
        Chore::Children {
            path: znode::ids(&self.group),
            watch: self.listening.to_group,
        }
    }

    /// ZooKeeper answered what the present phase asked.
    pub(super) fn on_rebalance_facts(&mut self, now: Mono, facts: &[Fact], io: &mut Io<'_>) {
        let Some(running) = &mut self.rebalance.running else {
            return;
        };
        match std::mem::replace(&mut running.phase, Phase::Undoing) {
            Phase::Cluster => {
                let facts = &facts[facts.len().saturating_sub(1)..];
                self.enter(Phase::ClusterData, broker_data(&children(facts)));
            }
            // A broker that went between the two reads throws ("a ZK node can disappear").
            Phase::ClusterData if facts.contains(&Fact::Data(None)) => self.fail(now, io),
            Phase::ClusterData => self.enter(Phase::Mine, vec![self.own_registration()]),
            // Without a registration of one's own there is nothing to go by.
            Phase::Mine | Phase::Members if wants_in(facts.first()).is_none() => {
                self.fail(now, io);
            }
            Phase::Mine => self.enter(Phase::Brokers, vec![self.broker_ids()]),
            Phase::Brokers => self.enter(Phase::BrokerData, broker_data(&children(facts))),
            Phase::BrokerData => self.close_fetchers_or_wait(now, facts, io),
            Phase::Waiting => self.end_rebalance(now, true, io),
            Phase::Releasing => {
                self.registry.release();
                self.enter(
                    Phase::Members,
                    vec![self.own_registration(), self.members()],
                );
            }
            Phase::Members => self.read_registrations(&children(&facts[1..])),
            Phase::Registrations(names) => self.read_topics(now, &names, facts, io),
            Phase::AllTopics(registered) => self.read_partitions(&registered, &children(facts)),
            Phase::Topics(view) => self.divide(now, view, facts, io),
            Phase::Offsets(share) => {
                let offsets = offsets_in(&share, facts);
                self.claim(share, offsets);
            }
            Phase::DualOffsets(share, in_kafka) => {
                let mut offsets = offsets_in(&share, facts);
                for (partition, offset) in in_kafka {
                    let newest = offsets.entry(partition).or_insert(offset);
                    *newest = offset.max(*newest);
                }
                self.claim(share, offsets);
            }
            Phase::Claiming(share, offsets) => self.on_claimed(now, (share, &offsets), facts, io),
            Phase::Undoing => self.fail(now, io),
            phase @ (Phase::Closing
            | Phase::ClosingAgain
            | Phase::KafkaOffsets(_)
            | Phase::Resting(_)) => {
                if let Some(running) = &mut self.rebalance.running {
                    running.phase = phase;
                }
            }
        }
    }

    /// Without a broker there is nothing to divide yet: the consumer waits for one to come.
    fn close_fetchers_or_wait(&mut self, now: Mono, facts: &[Fact], io: &mut Io<'_>) {
        let has_brokers = facts.iter().any(|fact| matches!(fact, Fact::Data(Some(_))));
        if !has_brokers {
            self.listening.to_brokers = true;
            let path: protocol::keeper::Path = znode::BROKER_IDS.into();
            let watch = vec![
                Chore::Watch(path.clone()),
                Chore::Children { path, watch: true },
            ];
            self.enter(Phase::Waiting, watch);
            return;
        }
        self.close_fetchers(now, Phase::Closing, io);
    }

    /// `closeFetchersForQueues`: nothing more comes, nothing that came is returned, and what was returned is committed.
    fn close_fetchers(&mut self, now: Mono, phase: Phase, io: &mut Io<'_>) {
        if let Some(running) = &mut self.rebalance.running {
            running.phase = phase;
        }
        self.stop_connections(io);
        for stream in self.streams.values_mut() {
            stream.clear();
        }
        if self.config.auto_commit_enable {
            self.commit(now, Committer::Rebalance, io);
        } else {
            self.on_closing_committed(now, io);
        }
    }

    /// What had been returned is committed, or could not be.
    pub(super) fn on_closing_committed(&mut self, now: Mono, io: &mut Io<'_>) {
        let Some(running) = &mut self.rebalance.running else {
            return;
        };
        if matches!(running.phase, Phase::ClosingAgain) {
            running.phase = Phase::Resting(now + self.config.rebalance_backoff_ms);
            return;
        }
        let owned = self.registry.owned();
        let delete =
            |partition: &TopicPartition| Chore::Delete(znode::owner(&self.group, partition));
        let deletes = owned.iter().map(delete).collect();
        if !owned.is_empty() {
            io.outcome(self.creation, Outcome::Revoked(owned));
        }
        self.enter(Phase::Releasing, deletes);
    }

    fn read_registrations(&mut self, names: &[Arc<str>]) {
        let read = |name: &Arc<str>| Chore::Data {
            path: znode::id(&self.group, name),
            watch: false,
        };
        let reads = names.iter().map(read).collect();
        self.enter(Phase::Registrations(names.to_vec()), reads);
    }

    /// `getConsumersPerTopic`: who wants what. A member that went between the two reads throws.
    fn read_topics(&mut self, now: Mono, names: &[Arc<str>], facts: &[Fact], io: &mut Io<'_>) {
        let wants = |(name, fact): (&Arc<str>, &Fact)| Some((name.clone(), wants_in(Some(fact))?));
        let registered: Option<Vec<Registered>> = names.iter().zip(facts).map(wants).collect();
        let Some(registered) = registered else {
            self.fail(now, io);
            return;
        };
        let has_filter = |(_, wants): &Registered| matches!(wants, Wants::Filtered(_));
        if registered.iter().any(has_filter) {
            let read = vec![self.all_topics()];
            self.enter(Phase::AllTopics(registered), read);
        } else {
            self.read_partitions(&registered, &[]);
        }
    }

    /// Which streams want which topics, and how many partitions these have.
    fn read_partitions(&mut self, registered: &[Registered], all: &[Arc<str>]) {
        let leaves_out = self.config.exclude_internal_topics;
        let mut view = View::default();
        for (name, wants) in registered {
            let topics: Vec<(TopicName, u32)> = match wants {
                Wants::Topics(topics) => topics.clone().into_iter().collect(),
                Wants::Filtered(Wildcard { filter, streams }) => {
                    let allowed = all.iter().filter(|topic| filter.allows(topic, leaves_out));
                    let topic = |topic: &Arc<str>| (TopicName::from(&**topic), *streams);
                    allowed.map(topic).collect()
                }
            };
            for (topic, streams) in topics {
                let threads = (0..streams).map(|number| ThreadId::new(name, number));
                view.threads.entry(topic).or_default().extend(threads);
            }
        }
        let read = |topic: &TopicName| Chore::Data {
            path: znode::topic(topic),
            watch: self.listening.to_group && self.subscription.contains_key(topic),
        };
        let mut reads: Vec<Chore> = view.threads.keys().map(read).collect();
        reads.push(self.members());
        self.enter(Phase::Topics(view), reads);
    }

    /// Divides, and reads how far the own share has been consumed.
    fn divide(&mut self, now: Mono, mut view: View, facts: &[Fact], io: &mut Io<'_>) {
        let topics: Vec<TopicName> = view.threads.keys().cloned().collect();
        for (topic, fact) in topics.into_iter().zip(facts) {
            if let Fact::Data(Some(data)) = fact {
                view.partitions.insert(topic, znode::partitions(data));
            }
        }
        let rule = (
            self.config.partition_assignment_strategy,
            self.behaviour.era,
        );
        let is_own = |(_, threads): &(&TopicName, &BTreeSet<ThreadId>)| {
            threads.iter().any(|thread| thread.consumer == self.id)
        };
        let own = view.threads.iter().filter(is_own);
        let own: BTreeSet<TopicName> = own.map(|(topic, _)| topic.clone()).collect();
        let Some(share) = assign(rule, &view, (&self.id, &own)) else {
            self.fail(now, io);
            return;
        };
        let partitions: Vec<TopicPartition> = share.keys().cloned().collect();
        if self.config.offsets_storage == OffsetStorage::Zookeeper {
            let reads = self.offset_reads(&share);
            self.enter(Phase::Offsets(share), reads);
        } else if partitions.is_empty() {
            self.claim(share, Offsets::new());
        } else {
            if let Some(running) = &mut self.rebalance.running {
                running.phase = Phase::KafkaOffsets(share);
            }
            self.fetch_offsets(now, partitions, io);
        }
    }

    fn offset_reads(&self, share: &Share) -> Vec<Chore> {
        let read = |partition: &TopicPartition| Chore::Data {
            path: znode::offset(&self.group, partition),
            watch: false,
        };
        share.keys().map(read).collect()
    }

    /// Kafka said what is committed there. While a group moves, the larger of both places counts.
    pub(super) fn on_offsets(&mut self, found: Offsets) {
        let Some(running) = &mut self.rebalance.running else {
            return;
        };
        let Phase::KafkaOffsets(share) = &running.phase else {
            return;
        };
        let share = share.clone();
        if self.config.dual_commit_enabled {
            let reads = self.offset_reads(&share);
            self.enter(Phase::DualOffsets(share, found), reads);
        } else {
            self.claim(share, found);
        }
    }

    /// `reflectPartitionOwnershipDecision`.
    fn claim(&mut self, share: Share, offsets: Offsets) {
        let claim = |(partition, thread): (&TopicPartition, &ThreadId)| Chore::Claim {
            path: znode::owner(&self.group, partition),
            data: Bytes::from(thread.text.to_string()),
            proof: Proof::Content,
        };
        let claims = share.iter().map(claim).collect();
        // `addPartitionTopicInfo`: what was read need not be written.
        for partition in share.keys() {
            match offsets.get(partition) {
                Some(offset) => self.checkpointed.insert(partition.clone(), *offset),
                None => self.checkpointed.remove(partition),
            };
        }
        self.enter(Phase::Claiming(share, offsets), claims);
    }

    fn on_claimed(
        &mut self,
        now: Mono,
        (share, offsets): (Share, &Offsets),
        facts: &[Fact],
        io: &mut Io<'_>,
    ) {
        if facts.iter().any(|fact| *fact != Fact::Done) {
            let made = share
                .keys()
                .zip(facts)
                .filter(|(_, fact)| **fact == Fact::Done);
            let delete = |(partition, _)| Chore::Delete(znode::owner(&self.group, partition));
            let deletes = made.map(delete).collect();
            self.enter(Phase::Undoing, deletes);
            return;
        }
        self.own(&share, offsets, io);
        self.start_connections();
        self.end_rebalance(now, true, io);
    }

    /// The share is this member's own.
    fn own(&mut self, share: &Share, offsets: &Offsets, io: &mut Io<'_>) {
        let numbers = self.stream_numbers();
        let info = |(partition, thread): (&TopicPartition, &ThreadId)| {
            let offset = offsets.get(partition).copied();
            let stream = (partition.topic.clone(), thread.number);
            PartitionInfo {
                partition: partition.clone(),
                stream: numbers.get(&stream).copied().unwrap_or(thread.number),
                consumed: offset,
                fetched: offset,
            }
        };
        let infos = share.iter().map(info).collect();
        let in_use = self
            .streams
            .values()
            .flat_map(super::stream::Stream::infos)
            .collect();
        self.registry.take(infos, &in_use);
        let owned = self.registry.owned();
        io.outcome(self.creation, Outcome::Assigned(owned.clone()));
        for partition in owned {
            if let Some(offset) = offsets.get(&partition).copied() {
                let reset = Outcome::PositionReset {
                    partition,
                    offset,
                    reason: ResetReason::Committed,
                };
                io.outcome(self.creation, reset);
            }
        }
    }

    /// The stream of each topic and number, counted through in the order of the topics; none of a filter, whose streams
    /// take messages of all topics.
    fn stream_numbers(&self) -> BTreeMap<(TopicName, u32), u32> {
        if self.wildcard.is_some() {
            return BTreeMap::new();
        }
        let each = |(topic, count): (&TopicName, &u32)| {
            let topic = topic.clone();
            (0..*count).map(move |number| (topic.clone(), number))
        };
        self.subscription.iter().flat_map(each).zip(0..).collect()
    }

    /// The try failed.
    fn fail(&mut self, now: Mono, io: &mut Io<'_>) {
        self.close_fetchers(now, Phase::ClosingAgain, io);
    }
}

fn wants_in(fact: Option<&Fact>) -> Option<Wants> {
    match fact {
        Some(Fact::Data(Some(data))) => Wants::read(data),
        Some(Fact::Data(None) | Fact::Children(_) | Fact::Done | Fact::Taken | Fact::Vanished)
        | None => None,
    }
}

/// The offsets read for a share; none where there is no node.
fn offsets_in(share: &Share, facts: &[Fact]) -> Offsets {
    let read = |(partition, fact): (&TopicPartition, &Fact)| {
        let Fact::Data(Some(data)) = fact else {
            return None;
        };
        let number: i64 = std::str::from_utf8(data).ok()?.parse().ok()?;
        (number >= 0).then_some((partition.clone(), Offset(number)))
    };
    share.keys().zip(facts).filter_map(read).collect()
}
