//! Watches a run, records it, and makes the scenario's faults happen when they are due.
//!
//! The director is the world's observer. Conditions are offered every note as it is said, and what they set off goes to the
//! world before any effect of that step is delivered. What is due at a time waits in the director's own schedule, which the
//! run works off between two steps. What it is told as an observer is in `observing`, what that proves about the faults in
//! `witness`.

mod observing;
mod witness;

use super::barrier::{Barriers, Reaction};
use super::fault::{self, Injection};
use super::recorder::Recorder;
use super::view::ClusterView;
use crate::random::{Draws, Purpose};
use crate::scenario::plan::{FaultAction, FaultPlan, Plan, Restart, Trigger};
use crate::world::{At, Commands, DiskAtRestart, FaultId, MessageName, Place, WorldCommand};
use history::event::FaultStage;
use protocol::ids::NodeId;
use protocol::time::Span;
use protocol::verb::{OperationId, Outcome};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Operator calls of faults are numbered from here; the run's own from 0.
const OPERATOR_CALLS: u64 = 1 << 32;

/// Once all is healed, a server that ends is started again after this time, as a supervisor does: a broker that comes back
/// before its old session has expired finds its own name taken and gives up, and a shutdown begun earlier ends now.
const SUPERVISOR: Span = Span::secs(1);

/// Something to do at a time.
#[derive(Clone, Debug, PartialEq)]
enum Due {
    Inject(usize),
    End(FaultId),
    Command(WorldCommand),
    Undo { fault: usize, node: NodeId },
}

/// One occurrence of a fault that is under way.
#[derive(Clone, Debug)]
struct Active {
    fault: usize,
    ids: Vec<FaultId>,
    /// How to end what was done to a node once and lasts: a pause, a drift.
    undo: BTreeMap<NodeId, WorldCommand>,
    target: String,
}

/// What is known of one declared fault.
#[derive(Clone, Debug, Default)]
struct FaultState {
    occurrences: u32,
    effects: Vec<String>,
    /// Whom it has hit, and the step of the last time.
    hit: BTreeSet<NodeId>,
    last: u64,
}

/// The director.
#[derive(Clone, Debug)]
pub struct Director {
    plan: Arc<Plan>,
    /// The cluster as its nodes tell it.
    pub view: ClusterView,
    /// What waits for the state.
    pub barriers: Barriers,
    /// What happened.
    pub recorder: Recorder,
    /// Answers to the run's own calls (operator, final reader), for the run to take.
    pub outcomes: Vec<(NodeId, OperationId, Outcome)>,
    /// Nodes whose answers the run takes.
    own: BTreeSet<NodeId>,
    schedule: BTreeMap<(At, u64), Due>,
    ordinal: u64,
    seed: u64,
    next_fault_id: u32,
    active: Vec<Active>,
    states: Vec<FaultState>,
    alive: BTreeSet<NodeId>,
    /// Who died by a fault that is not to be healed.
    gone_for_good: BTreeSet<NodeId>,
    /// Who was asked to stop and still lives, and who of them was to be back by now.
    stopping: BTreeSet<NodeId>,
    overdue: BTreeSet<NodeId>,
    /// With which disk each dead node is to come back.
    disks: BTreeMap<NodeId, DiskAtRestart>,
    /// The node that carries out an operator's calls, and which fault each call stands for.
    operator: NodeId,
    operator_calls: BTreeMap<OperationId, usize>,
    /// Faults are over: nothing is injected any more.
    healed: bool,
    step: u64,
    /// Every message sent and when, for whoever asked to keep them.
    messages: Option<Vec<(At, MessageName)>>,
}

/// When the fault of this index happens, of all times between the two.
pub(crate) fn drawn_time(seed: u64, index: usize, (first, last): (Span, Span)) -> Span {
    let width = last.saturating_sub(first).0.saturating_add(1);
    let key = u64::try_from(index).unwrap_or(u64::MAX);
    first + Span(Draws::keyed(seed, Purpose::named("fault time"), key, 0, 0).below(width))
}

impl Director {
    /// A director for a plan; `operator` is the node of the admin client.
    pub fn new(
        plan: Arc<Plan>,
        seed: u64,
        view: ClusterView,
        barriers: Barriers,
        operator: NodeId,
    ) -> Self {
        let states = vec![FaultState::default(); plan.faults.len()];
        Self {
            plan,
            view,
            barriers,
            recorder: Recorder::default(),
            outcomes: Vec::new(),
            own: BTreeSet::new(),
            schedule: BTreeMap::new(),
            ordinal: 0,
            seed,
            next_fault_id: 0,
            active: Vec::new(),
            states,
            alive: BTreeSet::new(),
            gone_for_good: BTreeSet::new(),
            stopping: BTreeSet::new(),
            overdue: BTreeSet::new(),
            disks: BTreeMap::new(),
            operator,
            operator_calls: BTreeMap::new(),
            healed: false,
            step: 0,
            messages: None,
        }
    }

    /// Keeps the name of every message from now on.
    pub fn keep_messages(&mut self) {
        self.messages = Some(Vec::new());
    }

    /// The messages since [`Director::keep_messages`].
    pub fn take_messages(&mut self) -> Vec<(At, MessageName)> {
        self.messages.take().unwrap_or_default()
    }

    /// Answers of this node are the run's.
    pub fn own(&mut self, node: NodeId) {
        self.own.insert(node);
    }

    /// Nodes that died by a fault that is not to be healed.
    pub fn gone_for_good(&self) -> impl Iterator<Item = &NodeId> {
        self.gone_for_good.iter()
    }

    /// The next time something is due.
    pub fn next_due(&self) -> Option<At> {
        self.schedule.first_key_value().map(|((at, _), _)| *at)
    }

    /// Whether a node's process runs.
    pub fn is_alive(&self, node: NodeId) -> bool {
        self.alive.contains(&node)
    }

    fn at(&mut self, at: At, due: Due) {
        self.ordinal += 1;
        self.schedule.insert((at, self.ordinal), due);
    }

    /// Carries out a command at a time.
    pub fn schedule_command(&mut self, at: At, command: WorldCommand) {
        self.at(at, Due::Command(command));
    }

    /// The safety phase begins: times count from here, conditions wait from here.
    pub fn begin_faults(&mut self, now: At) {
        let plan = self.plan.clone();
        for (index, fault) in plan.faults.iter().enumerate() {
            match &fault.trigger {
                Trigger::At(at) => self.at(now + *at + fault.after, Due::Inject(index)),
                Trigger::Between(first, last) => {
                    let drawn = drawn_time(self.seed, index, (*first, *last));
                    self.at(now + drawn + fault.after, Due::Inject(index));
                }
                Trigger::When(condition) => self
                    .barriers
                    .wait(condition.clone(), Reaction::Inject(index)),
            }
        }
    }

    /// Works off what is due by `now`.
    pub fn work_off(&mut self, now: At, commands: &mut Commands) {
        while let Some(entry) = self.schedule.first_entry() {
            if entry.key().0 > now {
                return;
            }
            match entry.remove() {
                Due::Inject(index) => self.inject(now, index, commands),
                Due::End(id) => self.end(id, commands),
                Due::Command(command) => self.command_due(command, commands),
                Due::Undo { fault, node } => self.undo(fault, node, commands),
            }
        }
    }

    fn react(&mut self, now: At, reactions: Vec<Reaction>, commands: &mut Commands) {
        for reaction in reactions {
            match reaction {
                Reaction::Inject(index) => {
                    let after = self.plan.faults[index].after;
                    if after == Span::ZERO {
                        self.inject(now, index, commands);
                    } else {
                        self.at(now + after, Due::Inject(index));
                    }
                }
                Reaction::End(index) => self.end_all_of(index, commands),
                Reaction::StartClient(node) => {
                    commands.push(WorldCommand::Restart {
                        node,
                        disk: DiskAtRestart::Same,
                    });
                }
                Reaction::Mark(name) => self.recorder.mark(name),
            }
        }
    }

    fn inject(&mut self, now: At, index: usize, commands: &mut Commands) {
        if self.healed {
            return;
        }
        let plan = self.plan.clone();
        let fault = &plan.faults[index];
        self.states[index].occurrences += 1;
        let injection = fault::resolve(&fault.action, &self.view);
        self.ordinal += 1;
        self.states[index].last = self.ordinal;
        self.states[index].hit.extend(&injection.nodes);
        let target = fault::object(&fault.action).unwrap_or_else(|| self.names(&injection.nodes));
        self.recorder
            .fault(index, fault.kind, target.clone(), FaultStage::Injected);
        self.carry_out(now, index, fault, &injection, commands);
        if let Some(verb) = injection.operator {
            let operation = OperationId(OPERATOR_CALLS + u64::from(self.next_fault_id));
            self.next_fault_id += 1;
            self.operator_calls.insert(operation, index);
            commands.push(WorldCommand::Submit {
                node: self.operator,
                operation,
                verb,
            });
        }
        if let Some((every, times)) = fault.repeat
            && times.is_none_or(|times| self.states[index].occurrences < times)
        {
            self.at(now + every, Due::Inject(index));
        }
        if let Some(name) = &fault.name {
            self.view.remember_victims(name, &injection.nodes);
            let reactions = self.barriers.on_fault(name);
            self.react(now, reactions, commands);
        }
    }

    /// Makes the links that the scenario's network sets apart what they are; no healing ends that.
    pub fn lay_links(&mut self) -> Vec<WorldCommand> {
        let plan = self.plan.clone();
        let links = plan.network.links.iter();
        links
            .map(|link| {
                let id = FaultId(self.next_fault_id);
                self.next_fault_id += 1;
                let fault = fault::set_apart(link, &self.view);
                WorldCommand::Begin { id, fault }
            })
            .collect()
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "what is done, to whom and with which hands: bundling would only hide it"
    )]
    fn carry_out(
        &mut self,
        now: At,
        index: usize,
        fault: &FaultPlan,
        injection: &Injection,
        commands: &mut Commands,
    ) {
        let mut active = Active {
            fault: index,
            ids: Vec::new(),
            undo: injection.once.iter().filter_map(undo_of).collect(),
            target: self.names(&injection.nodes),
        };
        for begun in &injection.begin {
            let id = FaultId(self.next_fault_id);
            self.next_fault_id += 1;
            active.ids.push(id);
            commands.push(WorldCommand::Begin {
                id,
                fault: begun.clone(),
            });
            if let Some(lasting) = fault.lasting {
                self.at(now + lasting, Due::End(id));
            }
        }
        for command in &injection.once {
            if let WorldCommand::Stop { node } = command
                && self.alive.contains(node)
            {
                self.stopping.insert(*node);
            }
        }
        for node in active.undo.keys() {
            if let Some(lasting) = fault.lasting {
                let (fault, node) = (index, *node);
                self.at(now + lasting, Due::Undo { fault, node });
            }
        }
        commands.extend(injection.once.iter().cloned());
        if let FaultAction::Kill { restart, .. } | FaultAction::Stop { restart, .. } = &fault.action
        {
            self.schedule_restarts(now, injection, *restart, fault.permanent);
        }
        if let FaultAction::Start { disk, .. } = &fault.action {
            let disk = fault::disk_at_restart(*disk);
            self.disks
                .extend(injection.nodes.iter().map(|node| (*node, disk)));
        }
        if !active.ids.is_empty() || !active.undo.is_empty() {
            self.active.push(active);
        }
        if let Some(until) = &fault.until {
            self.barriers.wait(until.clone(), Reaction::End(index));
        }
    }

    fn schedule_restarts(
        &mut self,
        now: At,
        injection: &Injection,
        restart: Restart,
        permanent: bool,
    ) {
        let disk = fault::disk_at_restart(restart.disk);
        for node in injection.nodes.iter().copied() {
            self.disks.insert(node, disk);
            match restart.after {
                Some(after) => self.at(
                    now + after,
                    Due::Command(WorldCommand::Restart { node, disk }),
                ),
                None if permanent => {
                    self.gone_for_good.insert(node);
                }
                None => {}
            }
        }
    }

    /// Ends what lasts on one node.
    fn undo(&mut self, fault: usize, node: NodeId, commands: &mut Commands) {
        for active in self
            .active
            .iter_mut()
            .filter(|active| active.fault == fault)
        {
            commands.extend(active.undo.remove(&node));
        }
        let over = |active: &mut Active| active.ids.is_empty() && active.undo.is_empty();
        let over: Vec<Active> = self.active.extract_if(.., over).collect();
        self.tell_of_drifts(&over);
    }

    /// The world tells when its faults end, and that a process goes on; of a clock that is right again nobody tells.
    fn tell_of_drifts(&mut self, over: &[Active]) {
        let plan = self.plan.clone();
        for active in over {
            let fault = &plan.faults[active.fault];
            if matches!(fault.action, FaultAction::ClockDrift { .. }) {
                let target = active.target.clone();
                let healed = FaultStage::Healed;
                self.recorder
                    .fault(active.fault, fault.kind, target, healed);
            }
        }
    }

    fn end(&mut self, id: FaultId, commands: &mut Commands) {
        if self.active.iter().any(|active| active.ids.contains(&id)) {
            commands.push(WorldCommand::End { id });
        }
    }

    fn end_all_of(&mut self, index: usize, commands: &mut Commands) {
        self.end_where(|active| active.fault == index, commands);
    }

    fn end_where(&mut self, ends: impl Fn(&Active) -> bool, commands: &mut Commands) {
        for active in self.active.iter().filter(|active| ends(active)) {
            active.end(commands);
        }
        let over = |active: &mut Active| ends(active) && active.ids.is_empty();
        let over: Vec<Active> = self.active.extract_if(.., over).collect();
        self.tell_of_drifts(&over);
    }

    /// Ends every fault that is not permanent and brings every node back that is not gone for good. Producers that were
    /// killed stay away, unless they were to come back later: an application that crashed is started again by its owner,
    /// not by the network healing.
    pub fn heal(
        &mut self,
        producers: &BTreeSet<NodeId>,
        absent: &BTreeSet<NodeId>,
        commands: &mut Commands,
    ) {
        self.healed = true;
        self.barriers.forget_injections();
        let pending = self.drain_schedule();
        let plan = self.plan.clone();
        self.end_where(|active| !plan.faults[active.fault].permanent, commands);
        let directory = self.view.directory();
        let all = directory
            .brokers
            .values()
            .chain(directory.keepers.values())
            .chain(directory.clients.values());
        let left = |node: &&NodeId| {
            !producers.contains(node) && !absent.contains(node) && !pending.contains_key(node)
        };
        let disk = |node: &NodeId| {
            let disk = self.disks.get(node).copied();
            (*node, disk.unwrap_or(DiskAtRestart::Same))
        };
        let others = all.filter(left).map(disk);
        for (node, disk) in others.chain(pending.clone()) {
            if !self.alive.contains(&node) && !self.gone_for_good.contains(&node) {
                commands.push(WorldCommand::Restart { node, disk });
            }
        }
    }

    /// A process has ended itself: whether somebody starts it again.
    fn supervise(&mut self, place: Place, clean: bool) {
        let node = place.node;
        let overdue = self.overdue.remove(&node);
        let directory = self.view.directory();
        let mut servers = directory.brokers.values().chain(directory.keepers.values());
        let kept_up = self.healed && (!clean || servers.any(|server| *server == node));
        if (kept_up || overdue) && !self.gone_for_good.contains(&node) {
            let disk = DiskAtRestart::Same;
            self.schedule_command(place.at + SUPERVISOR, WorldCommand::Restart { node, disk });
        }
    }

    /// A restart that comes before the end of the shutdown waits for it.
    fn command_due(&mut self, command: WorldCommand, commands: &mut Commands) {
        if let WorldCommand::Restart { node, .. } = &command
            && self.stopping.contains(node)
        {
            self.overdue.insert(*node);
        }
        commands.push(command);
    }

    /// Nothing is due any more but what applications were to do; who was to come back, and with which disk.
    fn drain_schedule(&mut self) -> BTreeMap<NodeId, DiskAtRestart> {
        let mut pending = BTreeMap::new();
        self.schedule.retain(|_, due| match due {
            Due::Command(WorldCommand::Submit { .. }) => true,
            Due::Command(WorldCommand::Restart { node, disk }) => {
                pending.insert(*node, *disk);
                false
            }
            Due::Command(_) | Due::Inject(_) | Due::End(_) | Due::Undo { .. } => false,
        });
        pending
    }

    fn names(&self, nodes: &BTreeSet<NodeId>) -> String {
        let directory = self.view.directory();
        let name = |node: &NodeId| {
            let broker = directory
                .brokers
                .iter()
                .find(|(_, at)| *at == node)
                .map(|(id, _)| format!("broker {id}"));
            let keeper = directory
                .keepers
                .iter()
                .find(|(_, at)| *at == node)
                .map(|(id, _)| format!("keeper {id}"));
            let client = directory
                .clients
                .iter()
                .find(|(_, at)| *at == node)
                .map(|(name, _)| name.clone());
            broker.or(keeper).or(client).unwrap_or_default()
        };
        nodes.iter().map(name).collect::<Vec<_>>().join(", ")
    }
}

impl Active {
    fn end(&self, commands: &mut Commands) {
        commands.extend(self.ids.iter().map(|id| WorldCommand::End { id: *id }));
        commands.extend(self.undo.values().cloned());
    }
}

/// How to end what a command did and what lasts.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "these two last without being faults of the world; the rest passes by"
)]
fn undo_of(command: &WorldCommand) -> Option<(NodeId, WorldCommand)> {
    match command {
        WorldCommand::Pause { node, .. } => Some((*node, WorldCommand::Resume { node: *node })),
        WorldCommand::SetDrift { node, .. } => {
            let (node, ppm) = (*node, 0);
            Some((node, WorldCommand::SetDrift { node, ppm }))
        }
        _ => None,
    }
}
