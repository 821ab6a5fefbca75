//! One run: a plan and a seed become a history.
//!
//! A run has phases. *Setup*: the ensemble and the brokers form, the operator creates the topics, every replica is in sync.
//! *Safety*: the workload runs and the faults happen. *Heal*: everything that is not permanent ends. *Liveness*: what was
//! begun is finished and the groups catch up, within the time the scenario grants. *Final read*: every partition is read
//! from its beginning, so that a record that is missing is proven missing.

pub mod barrier;
pub mod cluster;
pub mod director;
pub mod fault;
#[cfg(test)]
mod fault_test;
mod final_read;
mod finish;
mod hosted;
pub mod recorder;
pub mod view;

pub use hosted::run_hosted;

use crate::scenario::plan::{ConsumerPlan, PinnedMessage, Plan, Start};
use crate::world::{At, DiskAtRestart, World, WorldCommand};
use barrier::{Barriers, Reaction};
use cluster::{CoreBoot, Nodes};
use director::Director;
use final_read::FinalRead;
use finish::Progress;
use history::History;
use history::event::Phase;
use history::manifest::{CommitPolicy, FORMAT_VERSION, Manifest, PlannedFault, Stream, Topic};
use protocol::ids::{NodeId, TopicPartition};
use protocol::operation::{Action, Operation, ProcessId, Stage};
use protocol::time::Span;
use protocol::verb::{NewTopic, OperationId, Outcome, Verb};
use std::collections::BTreeSet;
use std::sync::Arc;

/// How long a cluster may take to form: more than the slowest honest start, keeper elections included.
const SETUP_LIMIT: Span = Span::secs(120);

/// How often the topics are asked for.
const CREATE_TRIES: u64 = 10;

/// The mark that every run must reach.
const FORMED: &str = "the cluster formed";

/// What a run was, besides its history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Statistics {
    /// Events the world handled.
    pub events: u64,
    /// Simulated time.
    pub simulated: Span,
}

/// A finished run.
#[derive(Clone, Debug)]
pub struct Run {
    /// What happened.
    pub history: History,
    /// How much of it.
    pub statistics: Statistics,
}

/// Runs a plan with a seed in a bare loop, without madsim.
pub fn run(plan: &Arc<Plan>, seed: u64) -> Run {
    let mut runner = Runner::new(plan.clone(), seed);
    runner.all_phases();
    runner.finish()
}

/// The same in which a clone takes the world's place at this step: nothing may come of it.
pub fn run_with_clone(plan: &Arc<Plan>, seed: u64, step: u64) -> Run {
    let mut runner = Runner::new(plan.clone(), seed);
    runner.clone_at = Some(step);
    runner.all_phases();
    runner.finish()
}

/// A message and the delay that the network drew for it, faults apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SentMessage {
    /// When it was sent.
    pub at: At,
    /// Sender and receiver by their names in histories, kind, and number on the link.
    pub pinned: PinnedMessage,
}

/// A run together with all its messages in the order they were sent.
pub fn run_with_messages(plan: &Arc<Plan>, seed: u64) -> (Run, Vec<SentMessage>) {
    let mut runner = Runner::new(plan.clone(), seed);
    runner.director.keep_messages();
    runner.all_phases();
    let messages = runner.take_messages();
    (runner.finish(), messages)
}

/// A run under way.
pub struct Runner {
    plan: Arc<Plan>,
    seed: u64,
    world: World<CoreBoot>,
    director: Director,
    nodes: Nodes,
    /// Follows what is still to be done before the run may end.
    progress: Progress,
    /// Who is started again at the healing and is not there yet.
    returning: BTreeSet<NodeId>,
    /// How many of the recorded events `progress` knows.
    followed: usize,
    /// madsim's clock, where it is the host.
    clock: Option<hosted::HostClock>,
    /// A clone takes the world's place at this step.
    clone_at: Option<u64>,
    steps: u64,
}

impl Runner {
    /// A world at time zero.
    pub fn new(plan: Arc<Plan>, seed: u64) -> Self {
        let plan = plan.with_nemesis(seed);
        let draws = plan.draws.unwrap_or(seed);
        let nodes = cluster::nodes(&plan, draws);
        let mut world = World::new(draws, nodes.specs.clone(), cluster::network(&plan));
        world.fix_latencies(cluster::fixed_latencies(&plan, &nodes));
        let brokers = nodes
            .directory
            .brokers
            .iter()
            .map(|(id, node)| (*node, id.0))
            .collect();
        let barriers = Barriers::new(cluster::condition_names(&plan, &nodes.directory), brokers);
        let view = view::ClusterView::new(nodes.directory.clone());
        let mut director = Director::new(plan.clone(), draws, view, barriers, nodes.operator);
        director.own(nodes.operator);
        director.own(nodes.reader.0);
        if let Some((node, _)) = nodes.committed_reader {
            director.own(node);
        }
        let progress = Progress::new(&plan, &nodes);
        Self {
            plan,
            seed,
            world,
            director,
            nodes,
            progress,
            returning: BTreeSet::new(),
            followed: 0,
            clock: None,
            clone_at: None,
            steps: 0,
        }
    }

    fn all_phases(&mut self) {
        self.setup();
        self.safety();
        self.heal();
        self.liveness();
        self.final_read();
    }

    /// The world as it is now; cloning it is a snapshot.
    pub fn world(&self) -> &World<CoreBoot> {
        &self.world
    }

    fn take_messages(&mut self) -> Vec<SentMessage> {
        let named = |node: NodeId| {
            let node = self.nodes.manifest_nodes.get(usize::from(node.0));
            node.map_or_else(String::new, |node| node.name.clone())
        };
        let messages = self.director.take_messages().into_iter();
        let sent = messages.map(|(at, name)| SentMessage {
            at,
            pinned: PinnedMessage {
                from: named(name.from),
                to: named(name.to),
                kind: name.kind,
                nth: name.nth,
                latency: self.world.drawn_latency(&name),
            },
        });
        sent.collect()
    }

    /// One step, or one thing that is due; `false` when `until` is reached.
    fn advance(&mut self, until: At) -> bool {
        let due = self.director.next_due().filter(|due| *due <= until);
        let next = self.world.next_event().filter(|next| *next <= until);
        match (next, due) {
            (Some(next), due) if due.is_none_or(|due| next <= due) => {
                self.world.step_until(next, &mut self.director);
                self.steps += 1;
                self.follow();
                if self.clone_at == Some(self.steps) {
                    self.world = self.world.clone();
                }
                if let Some(clock) = &mut self.clock {
                    clock.follow(self.world.now());
                }
                true
            }
            (_, Some(due)) => {
                self.world.run_until(due, &mut self.director);
                let mut commands = Vec::new();
                self.director.recorder.moment(due.0, self.world.position());
                self.director.work_off(due, &mut commands);
                self.command(commands);
                true
            }
            (_, None) => {
                self.world.run_until(until, &mut self.director);
                false
            }
        }
    }

    /// What has been recorded since, also of what was commanded: a producer that is killed sends nothing any more.
    fn follow(&mut self) {
        let recorder = &self.director.recorder;
        self.progress.take_in(recorder.since(self.followed));
        self.followed = recorder.len();
    }

    fn command(&mut self, commands: Vec<WorldCommand>) {
        self.director
            .recorder
            .moment(self.world.now().0, self.world.position());
        for command in commands {
            self.world.command(command, &mut self.director);
        }
        self.follow();
    }

    fn phase(&mut self, phase: Phase) {
        self.director
            .recorder
            .moment(self.world.now().0, self.world.position());
        self.director.recorder.phase(phase);
    }

    /// Advances until `done`, or until `limit` from now has passed; tells whether it is done.
    fn advance_until(&mut self, limit: Span, mut done: impl FnMut(&mut Self) -> bool) -> bool {
        let until = self.world.now() + limit;
        loop {
            if done(self) {
                return true;
            }
            if !self.advance(until) {
                return done(self);
            }
        }
    }

    /// The cluster forms and the topics are created. A cluster that does not form leaves its mark unreached, so that no
    /// run without a cluster is ever green.
    pub fn setup(&mut self) {
        self.phase(Phase::Setup);
        let links = self.director.lay_links();
        self.command(links);
        let operator = self.nodes.operator;
        self.command(vec![WorldCommand::Restart {
            node: operator,
            disk: DiskAtRestart::Same,
        }]);
        let present = self
            .plan
            .brokers
            .iter()
            .filter(|broker| !broker.absent)
            .count();
        self.advance_until(SETUP_LIMIT, |this| {
            this.progress.registered() >= present && this.director.view.controller().is_some()
        });
        let created = (0..CREATE_TRIES).any(|attempt| self.create_topics(attempt));
        let partitions = self.partitions();
        let formed = created
            && self.advance_until(SETUP_LIMIT, |this| {
                partitions
                    .iter()
                    .all(|partition| this.director.view.stands(partition))
            });
        if formed {
            self.director
                .recorder
                .moment(self.world.now().0, self.world.position());
            self.director.recorder.mark(FORMED.to_owned());
        }
    }

    /// One try; a broker that has just registered may not be counted by the controller yet.
    fn create_topics(&mut self, attempt: u64) -> bool {
        let settled = self.world.now() + Span::secs(1);
        while self.advance(settled) {}
        let topics = self.plan.topics.iter().map(|topic| NewTopic {
            name: topic.name.clone(),
            partitions: if topic.assignment.is_empty() {
                topic.partitions
            } else {
                -1
            },
            replication_factor: if topic.assignment.is_empty() {
                topic.replication_factor
            } else {
                -1
            },
            assignment: topic.assignment.clone(),
            config: topic.config.clone(),
        });
        let topics: Vec<NewTopic> = topics.collect();
        if topics.is_empty() {
            return true;
        }
        self.ask_operator(attempt, "create topics", Verb::CreateTopics(topics));
        let mut created = None;
        self.advance_until(SETUP_LIMIT, |this| {
            created = this.take_answer();
            created.is_some()
        });
        created == Some(true)
    }

    /// All partitions of the scenario's topics, as many as they have now.
    fn partitions(&self) -> Vec<TopicPartition> {
        let of_topic = |topic: &crate::scenario::plan::TopicPlan| {
            let count = topic
                .partitions
                .max(self.director.view.partitions_of(&topic.name));
            let name = topic.name.clone();
            (0..count).map(move |index| TopicPartition::new(name.clone(), index))
        };
        self.plan.topics.iter().flat_map(of_topic).collect()
    }

    fn ask_operator(&mut self, id: u64, call: &str, verb: Verb) {
        let node = self.nodes.operator;
        self.director
            .recorder
            .moment(self.world.now().0, self.world.position());
        self.director
            .recorder
            .operation(node, self.operator_operation(id, Stage::Invoke, call, None));
        self.command(vec![WorldCommand::Submit {
            node,
            operation: OperationId(id),
            verb,
        }]);
    }

    fn operator_operation(
        &self,
        id: u64,
        stage: Stage,
        call: &str,
        error: Option<String>,
    ) -> Operation {
        let client = self.nodes.reader.1 - 1;
        let action = Action::Admin {
            call: call.to_owned(),
            error,
        };
        Operation {
            client,
            process: ProcessId(u32::from(client) << 16),
            id,
            stage,
            action,
        }
    }

    /// An answer to the operator's call becomes an operation; whether it was a yes.
    fn take_answer(&mut self) -> Option<bool> {
        let mut yes = None;
        for (node, operation, outcome) in std::mem::take(&mut self.director.outcomes) {
            if node == self.nodes.operator
                && let Outcome::Done(result) = outcome
            {
                yes = Some(result.is_ok());
                let (stage, error) = match result {
                    Ok(()) => (Stage::Ok, None),
                    Err(failure) => (
                        Stage::Fail,
                        Some(crate::application::error_name(&failure.error)),
                    ),
                };
                let operation = self.operator_operation(operation.0, stage, "create topics", error);
                self.director
                    .recorder
                    .moment(self.world.now().0, self.world.position());
                self.director.recorder.operation(node, operation);
            }
        }
        yes
    }

    /// The workload runs and the faults happen.
    pub fn safety(&mut self) {
        self.phase(Phase::Safety);
        let begin = self.world.now();
        for (name, condition) in &self.plan.reaches {
            self.director
                .barriers
                .wait(condition.clone(), Reaction::Mark(name.clone()));
        }
        self.director.begin_faults(begin);
        self.start_clients(begin);
        let until = begin + self.plan.duration;
        while self.advance(until) {}
    }

    fn start_clients(&mut self, begin: At) {
        let producers = self.plan.producers.iter().map(|producer| &producer.start);
        let starts: Vec<Start> = producers
            .chain(self.plan.consumers.iter().map(|consumer| &consumer.start))
            .cloned()
            .collect();
        for (start, node) in starts.into_iter().zip(self.nodes.client_nodes.clone()) {
            match start {
                Start::At(at) => {
                    let command = WorldCommand::Restart {
                        node,
                        disk: DiskAtRestart::Same,
                    };
                    self.director.schedule_command(begin + at, command);
                }
                Start::When(condition) => self
                    .director
                    .barriers
                    .wait(condition, Reaction::StartClient(node)),
            }
        }
        let plan = self.plan.clone();
        let consumers = self.nodes.client_nodes.iter().skip(plan.producers.len());
        for (consumer, node) in plan.consumers.iter().zip(consumers) {
            if let Some((to, at)) = consumer.seek {
                let verb = finish::seek_verb(to, consumer, &self.partitions());
                for verb in verb {
                    let command = WorldCommand::Submit {
                        node: *node,
                        operation: OperationId(u64::MAX),
                        verb,
                    };
                    self.director.schedule_command(begin + at, command);
                }
            }
        }
    }

    /// Everything that is not permanent ends, and who is dead comes back.
    pub fn heal(&mut self) {
        self.phase(Phase::Heal);
        let mut commands = Vec::new();
        self.director
            .heal(&self.nodes.producers, &self.nodes.absent, &mut commands);
        let started = commands.iter().filter_map(|command| {
            if let WorldCommand::Restart { node, .. } = command {
                Some(*node)
            } else {
                None
            }
        });
        self.returning = started.collect();
        self.command(commands);
        self.director
            .recorder
            .moment(self.world.now().0, self.world.position());
        let world = &self.world;
        self.director.witness(|id| world.hits(id));
    }

    /// What was begun is finished, and the groups catch up.
    pub fn liveness(&mut self) {
        self.phase(Phase::Liveness);
        let limit = self.plan.progress_within;
        self.advance_until(limit, |this| {
            this.everybody_is_back()
                && this.progress.is_done(&this.director)
                && this.replicas_are_back()
        });
        let in_hand = self.longest_in_hand();
        if in_hand > Span::ZERO {
            self.advance_until(in_hand, |_| false);
        }
    }

    /// A ZooKeeper consumer commits by the clock what its threads still work on: so long its commits are ahead of them.
    fn longest_in_hand(&self) -> Span {
        let ahead = |consumer: &&ConsumerPlan| {
            consumer.old.is_some() && consumer.commit == CommitPolicy::Auto
        };
        let times = self.plan.consumers.iter().filter(ahead);
        times
            .map(|consumer| consumer.processing)
            .max()
            .unwrap_or(Span::ZERO)
    }

    /// Whoever the healing starts again has been started: who is not there yet has nothing to do only in appearance.
    fn everybody_is_back(&mut self) -> bool {
        self.returning.retain(|node| !self.director.is_alive(*node));
        self.returning.is_empty()
    }

    /// Every replica is in sync again and has what its leader has, unless a broker is gone for good: what is not committed
    /// yet, the final read would not see.
    fn replicas_are_back(&self) -> bool {
        let someone_is_gone = self
            .director
            .gone_for_good()
            .any(|node| self.nodes.directory.brokers.values().any(|at| at == node));
        let view = &self.director.view;
        // A topic that was deleted does not come back.
        let back = |partition| {
            !view.has_topic(partition)
                || view.stands(partition) && self.progress.is_committed(partition)
        };
        someone_is_gone || self.partitions().iter().all(back)
    }

    /// Every partition is read from its beginning; where there are transactions, once more by a reader of committed ones.
    pub fn final_read(&mut self) {
        self.phase(Phase::FinalRead);
        let readers = std::iter::once(self.nodes.reader).chain(self.nodes.committed_reader);
        for (node, client) in readers.collect::<Vec<_>>() {
            self.read_all(node, client);
        }
    }

    fn read_all(&mut self, node: NodeId, client: u16) {
        self.command(vec![WorldCommand::Restart {
            node,
            disk: DiskAtRestart::Same,
        }]);
        self.advance_until(SETUP_LIMIT, |this| this.director.is_alive(node));
        let mut read = FinalRead::new(node, client, self.partitions());
        let before = self.progress.committed().clone();
        let limit = self.plan.progress_within;
        let verbs = read.begin();
        self.command(verbs);
        self.advance_until(limit, |this| {
            let answers = std::mem::take(&mut this.director.outcomes);
            let mut commands = Vec::new();
            // A producer that goes on meanwhile is told of records that have to be read as well.
            read.reach(this.progress.committed(), &before);
            this.director
                .recorder
                .moment(this.world.now().0, this.world.position());
            for (from, operation, outcome) in answers {
                if from == node {
                    commands.extend(read.on_outcome(
                        operation,
                        outcome,
                        &mut this.director.recorder,
                    ));
                }
            }
            this.command(commands);
            read.is_done()
        });
        read.give_up(&mut self.director.recorder);
    }

    /// The history.
    pub fn finish(mut self) -> Run {
        self.phase(Phase::End);
        let statistics = Statistics {
            events: self.world.position(),
            simulated: Span(self.world.now().0),
        };
        let hash = format!("{:016x}", self.world.hash());
        let manifest = manifest(&self.plan, self.seed, &self.nodes);
        let history = History {
            manifest,
            events: self.director.recorder.into_events(),
            hash,
        };
        Run {
            history,
            statistics,
        }
    }
}

fn manifest(plan: &Plan, seed: u64, nodes: &Nodes) -> Manifest {
    let topics = plan.topics.iter().map(|topic| Topic {
        name: topic.name.clone(),
        partitions: topic.partitions,
        replication_factor: topic.replication_factor,
        min_insync_replicas: topic.effective.min_insync_replicas,
        unclean_leader_election: topic.effective.unclean_leader_election_enable,
    });
    let faults = plan.faults.iter().map(|fault| PlannedFault {
        kind: fault.kind.to_owned(),
        what: fault.what.clone(),
        description: fault.description.clone(),
        permanent: fault.permanent,
        random: fault.optional,
    });
    Manifest {
        format: "ktrial-history".to_owned(),
        version: FORMAT_VERSION,
        scenario: plan.name.clone(),
        path: plan.path.clone(),
        variant: plan.variant.clone(),
        title: plan.title.clone(),
        question: plan.question.clone(),
        lesson: plan.lesson.clone(),
        seed,
        era: plan.behaviour.era.name().to_owned(),
        fixes: plan.fixes.clone(),
        streams: [
            Stream::Operations,
            Stream::Brokers,
            Stream::Keepers,
            Stream::Groups,
            Stream::Faults,
            Stream::FinalRead,
        ]
        .into_iter()
        .chain(nodes.committed_reader.map(|_| Stream::CommittedRead))
        .collect(),
        nodes: nodes.manifest_nodes.clone(),
        topics: topics.collect(),
        clients: nodes.clients.clone(),
        faults: faults.collect(),
        expect: plan.expect.clone(),
        reaches: std::iter::once(FORMED.to_owned())
            .chain(plan.reaches.iter().map(|(name, _)| name.clone()))
            .collect(),
        progress_within: plan.progress_within.0,
    }
}
