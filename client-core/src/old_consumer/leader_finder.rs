//! The thread that finds the leaders of partitions nobody fetches (`ConsumerFetcherManager.LeaderFinderThread`).
//!
//! It asks ZooKeeper who lives, any of those who leads, hands each partition to the fetcher of its leader, rests for
//! `refresh.leader.backoff.ms`, and does so again while a partition is left.

use super::channel::{Call, Line};
use super::chore::{Chore, Fact};
use super::session::Thread;
use super::{ZookeeperConsumer, znode};
use crate::backoff::{Purpose, draw};
use protocol::api::ResponseBody;
use protocol::api::topics::{MetadataRequest, MetadataResponse};
use protocol::ids::{BrokerId, Endpoint, TopicName, TopicPartition};
use protocol::machine::Io;
use protocol::time::Mono;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// What the thread stands at.
#[derive(Clone, Default, Debug)]
enum State {
    /// There is no thread: nothing is owned.
    #[default]
    Off,
    /// Every partition has its fetcher.
    Idle,
    /// Reading who lives.
    Names,
    /// Reading where they listen.
    Places(Vec<Arc<str>>),
    /// Asking one broker after the other who leads.
    Asking(VecDeque<Endpoint>),
    /// Resting.
    Resting(Mono),
}

/// The thread, and the partitions without a fetcher.
#[derive(Clone, Default, Debug)]
pub(super) struct Finder {
    state: State,
    homeless: BTreeSet<TopicPartition>,
    rounds: u64,
}

impl Finder {
    pub(super) fn next_deadline(&self) -> Option<Mono> {
        match self.state {
            State::Resting(until) => Some(until),
            State::Off | State::Idle | State::Names | State::Places(_) | State::Asking(_) => None,
        }
    }
}

impl ZookeeperConsumer {
    /// `startConnections`: everything that is owned needs a fetcher.
    pub(super) fn start_connections(&mut self) {
        self.finder.state = State::Idle;
        let owned = self.registry.owned();
        self.find_leaders(owned);
    }

    /// `stopConnections`: the finder and all fetchers.
    pub(super) fn stop_connections(&mut self, io: &mut Io<'_>) {
        self.finder.state = State::Off;
        self.finder.homeless.clear();
        self.tasks.remove(&Thread::Finder);
        self.wanted.retain(|(thread, _)| *thread != Thread::Finder);
        self.session.interrupt(Thread::Finder);
        self.channels.close(Line::Metadata, io);
        self.stop_fetchers(io);
    }

    /// These partitions have no fetcher.
    pub(super) fn find_leaders(&mut self, partitions: Vec<TopicPartition>) {
        if matches!(self.finder.state, State::Off) {
            return;
        }
        self.finder.homeless.extend(partitions);
        if matches!(self.finder.state, State::Idle) {
            self.look_for_leaders();
        }
    }

    fn look_for_leaders(&mut self) {
        if self.finder.homeless.is_empty() {
            self.finder.state = State::Idle;
            return;
        }
        self.finder.state = State::Names;
        self.wanted.push_back((
            Thread::Finder,
            vec![Chore::Children {
                path: znode::BROKER_IDS.into(),
                watch: self.listening.to_brokers,
            }],
        ));
    }

    /// ZooKeeper said who lives, or where.
    pub(super) fn on_finder_facts(&mut self, now: Mono, facts: &[Fact], io: &mut Io<'_>) {
        match std::mem::take(&mut self.finder.state) {
            State::Names => {
                let mut names = children(facts);
                names.sort();
                self.wanted.push_back((Thread::Finder, broker_data(&names)));
                self.finder.state = State::Places(names);
            }
            State::Places(names) => {
                let brokers: Vec<Endpoint> = endpoints(&names, facts).into_values().collect();
                self.finder.rounds += 1;
                let order = shuffled(brokers, self.seed, self.finder.rounds);
                self.finder.state = State::Asking(order);
                self.ask_who_leads(now, io);
            }
            other @ (State::Off | State::Idle | State::Asking(_) | State::Resting(_)) => {
                self.finder.state = other;
            }
        }
    }

    /// `ClientUtils.fetchTopicMetadata`: a new connection to one broker after the other, until one answers.
    fn ask_who_leads(&mut self, now: Mono, io: &mut Io<'_>) {
        self.channels.close(Line::Metadata, io);
        let State::Asking(order) = &mut self.finder.state else {
            return;
        };
        let Some(to) = order.pop_front() else {
            self.rest_finder(now);
            return;
        };
        let topics: BTreeSet<TopicName> = self
            .finder
            .homeless
            .iter()
            .map(|partition| partition.topic.clone())
            .collect();
        let body = MetadataRequest {
            topics: Some(topics.into_iter().collect()),
            allow_auto_topic_creation: true,
        };
        let call = Call {
            to,
            body: body.into(),
            timeout: self.config.socket_timeout_ms,
            again: false,
        };
        self.channels.call(now, Line::Metadata, call, io);
    }

    pub(super) fn on_metadata_answer(
        &mut self,
        now: Mono,
        answer: Option<ResponseBody>,
        io: &mut Io<'_>,
    ) {
        let Some(ResponseBody::Metadata(answer)) = answer else {
            self.ask_who_leads(now, io);
            return;
        };
        self.channels.close(Line::Metadata, io);
        self.settle_in(now, &answer, io);
        self.drop_idle_fetchers(io);
        self.rest_finder(now);
    }

    /// Every partition whose leader is known goes to its fetcher.
    fn settle_in(&mut self, now: Mono, answer: &MetadataResponse, io: &mut Io<'_>) {
        let brokers: BTreeMap<BrokerId, &Endpoint> = answer
            .brokers
            .iter()
            .map(|broker| (broker.id, &broker.endpoint))
            .collect();
        let infos: BTreeMap<TopicPartition, _> = self
            .registry
            .entries()
            .map(|(partition, info)| (partition.clone(), info))
            .collect();
        for topic in &answer.topics {
            for found in &topic.partitions {
                let partition = TopicPartition {
                    topic: topic.topic.clone(),
                    partition: found.partition,
                };
                let leader = found.leader.and_then(|id| Some((id, *brokers.get(&id)?)));
                let Some((leader, info)) = leader.zip(infos.get(&partition).copied()) else {
                    continue;
                };
                if self.finder.homeless.remove(&partition) {
                    self.add_to_fetcher(now, leader, (partition, info), io);
                }
            }
        }
    }

    fn rest_finder(&mut self, now: Mono) {
        self.finder.state = State::Resting(now + self.config.refresh_leader_backoff_ms);
    }

    pub(super) fn tick_finder(&mut self, now: Mono) {
        if self.finder.next_deadline().is_some_and(|at| at <= now) {
            self.look_for_leaders();
        }
    }
}

/// The names in the first fact; none where the node is not there.
pub(super) fn children(facts: &[Fact]) -> Vec<Arc<str>> {
    match facts.first() {
        Some(Fact::Children(Some(names))) => names.clone(),
        Some(Fact::Children(None) | Fact::Data(_) | Fact::Done | Fact::Taken | Fact::Vanished)
        | None => Vec::new(),
    }
}

/// Reads of all these brokers' registrations.
pub(super) fn broker_data(names: &[Arc<str>]) -> Vec<Chore> {
    let read = |name: &Arc<str>| Chore::Data {
        path: znode::broker(name),
        watch: false,
    };
    names.iter().map(read).collect()
}

/// The brokers whose registrations could be read.
pub(super) fn endpoints(names: &[Arc<str>], facts: &[Fact]) -> BTreeMap<BrokerId, Endpoint> {
    let read = |(name, fact): (&Arc<str>, &Fact)| match fact {
        Fact::Data(Some(data)) => znode::endpoint(name, data),
        Fact::Data(None) | Fact::Children(_) | Fact::Done | Fact::Taken | Fact::Vanished => None,
    };
    names.iter().zip(facts).filter_map(read).collect()
}

/// `Random.shuffle`, by a draw.
pub(super) fn shuffled(mut all: Vec<Endpoint>, seed: u64, round: u64) -> VecDeque<Endpoint> {
    let mut order = VecDeque::new();
    while !all.is_empty() {
        let left = u64::try_from(all.len()).unwrap_or(1);
        let place = draw(seed, Purpose::Node, left, round) % left;
        order.push_back(all.swap_remove(usize::try_from(place).unwrap_or(0)));
    }
    order
}
