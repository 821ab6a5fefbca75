//! madsim as the world's host: a virtual clock and seeded entropy for everything else in the process, and async clients.
//!
//! The world is a madsim plugin. One runtime on a fresh OS thread drives it: handle an event, move madsim's clock along,
//! let the tasks that the event woke run until none can go on, then the next event. Whatever a task asks of the operating
//! system meanwhile — the time, randomness — is answered by madsim, so that an accident is at least a reproducible one.
//!
//! Tasks are spawned through [`Handle::spawn`] on a node and die with its process. They await only the world's handles
//! ([`Handle::submit`], [`Handle::sleep`]), whose wake-ups are events of the world; they are polled by a queue of their
//! own and not by madsim's scheduler, which picks at random and adds 50–100 ns per poll. `tokio::select!` is to be
//! `biased;`. Each node has a madsim node of its own for side tasks; killing and restarting is mirrored both ways. Side
//! tasks get a turn whenever a virtual millisecond has passed, madsim's own grain.

use crate::world::{
    At, Boot, Commands, Happening, InputKind, KillKind, Observer, Place, Step, StepKind, Transfer,
    World, WorldCommand,
};
use madsim::Config;
use madsim::plugin::Simulator;
use madsim::rand::GlobalRng;
use madsim::runtime::{NodeHandle, Runtime};
use madsim::time::TimeHandle;
use protocol::ids::NodeId;
use protocol::note::Note;
use protocol::time::Span;
use protocol::verb::{ClientError, Failure, OperationId, Outcome, Verb};
use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// Operation and wake-up numbers of the host start here, far above those of applications inside the world.
const FIRST_NUMBER: u64 = 1 << 48;

/// A hosted run that is over.
pub struct Finished<B: Boot, O> {
    /// The world as the run left it.
    pub world: World<B>,
    /// The observer.
    pub observer: O,
}

/// Runs a world until `until` inside madsim, on a thread of its own. `clients` spawns async clients before the first event.
///
/// # Panics
/// When a core or a client panics; the panic is passed on.
pub fn run_hosted<B, O>(
    world: World<B>,
    until: At,
    observer: O,
    clients: impl FnOnce(&Handle) + Send + 'static,
) -> Finished<B, O>
where
    B: Boot + Send + 'static,
    B::Machine: Send,
    O: Observer + Send + 'static,
{
    let thread = std::thread::spawn(move || {
        let runtime = Runtime::with_seed_and_config(world.seed(), Config::default());
        runtime.add_simulator::<Plugin<B>>();
        runtime.block_on(host(world, until, observer, clients))
    });
    match thread.join() {
        Ok(finished) => finished,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// The world as madsim sees it.
struct Plugin<B: Boot> {
    world: Mutex<Option<World<B>>>,
    /// Nodes that somebody killed through madsim.
    reset: Mutex<Vec<madsim::task::NodeId>>,
}

impl<B> Simulator for Plugin<B>
where
    B: Boot + Send + 'static,
    B::Machine: Send,
{
    fn new(_: &GlobalRng, _: &TimeHandle, _: &Config) -> Self {
        Self {
            world: Mutex::new(None),
            reset: Mutex::new(Vec::new()),
        }
    }

    fn reset_node(&self, id: madsim::task::NodeId) {
        lock(&self.reset).push(id);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

type Task = Pin<Box<dyn Future<Output = ()>>>;

/// What tasks and the host share.
#[derive(Default)]
struct Shared {
    now: At,
    next_number: u64,
    calls: BTreeMap<OperationId, (NodeId, mpsc::UnboundedSender<Outcome>)>,
    sleepers: BTreeMap<u64, oneshot::Sender<()>>,
    commands: Vec<(At, WorldCommand)>,
    spawned: Vec<(NodeId, Task)>,
}

impl Shared {
    fn number(&mut self) -> u64 {
        self.next_number += 1;
        FIRST_NUMBER + self.next_number
    }
}

/// What an async client holds: the world's clock, and the clients inside the world.
#[derive(Clone, Default)]
pub struct Handle {
    shared: Rc<RefCell<Shared>>,
}

impl Handle {
    /// True time.
    pub fn now(&self) -> At {
        self.shared.borrow().now
    }

    /// Spawns a task that dies with the process on `node`.
    pub fn spawn(&self, node: NodeId, task: impl Future<Output = ()> + 'static) {
        self.shared
            .borrow_mut()
            .spawned
            .push((node, Box::pin(task)));
    }

    /// Carries a command out now.
    pub fn command(&self, command: WorldCommand) {
        let mut shared = self.shared.borrow_mut();
        let now = shared.now;
        shared.commands.push((now, command));
    }

    /// Calls the client on a node; the call gives every outcome, those of its listeners too.
    pub fn call(&self, node: NodeId, verb: Verb) -> Call {
        let (sender, outcomes) = mpsc::unbounded_channel();
        let mut shared = self.shared.borrow_mut();
        let operation = OperationId(shared.number());
        shared.calls.insert(operation, (node, sender));
        let now = shared.now;
        shared.commands.push((
            now,
            WorldCommand::Submit {
                node,
                operation,
                verb,
            },
        ));
        Call { outcomes }
    }

    /// Calls the client on a node and waits for the answer; what its listeners are told is passed over.
    pub async fn submit(&self, node: NodeId, verb: Verb) -> Outcome {
        let mut call = self.call(node, verb);
        loop {
            match call.next().await {
                Outcome::Assigned(_)
                | Outcome::Revoked(_)
                | Outcome::Lost(_)
                | Outcome::Committing(_)
                | Outcome::PositionReset { .. } => {}
                answer @ (Outcome::Sent(_)
                | Outcome::Polled(_)
                | Outcome::Committed { .. }
                | Outcome::Offsets(_)
                | Outcome::Described(_)
                | Outcome::Group(_)
                | Outcome::GroupMetadata(_)
                | Outcome::Reassignments(_)
                | Outcome::Done(_)) => return answer,
            }
        }
    }

    /// Waits on the world's clock.
    pub async fn sleep(&self, span: Span) {
        let (sender, woken) = oneshot::channel();
        {
            let mut shared = self.shared.borrow_mut();
            let number = shared.number();
            shared.sleepers.insert(number, sender);
            let at = shared.now + span;
            shared.commands.push((at, WorldCommand::Wake(number)));
        }
        // An error means that the run is over, and then nobody polls this any more.
        let _ = woken.await;
    }
}

/// A call under way.
pub struct Call {
    outcomes: mpsc::UnboundedReceiver<Outcome>,
}

impl Call {
    /// The next outcome; `Crashed` when the client's process is gone.
    pub async fn next(&mut self) -> Outcome {
        match self.outcomes.recv().await {
            Some(outcome) => outcome,
            None => Outcome::Done(Err(Failure::info(ClientError::Crashed))),
        }
    }
}

/// The tasks, polled in the order they were woken.
#[derive(Default)]
struct Tasks {
    tasks: Vec<Option<(NodeId, Task, Waker)>>,
    ready: Arc<Mutex<VecDeque<usize>>>,
}

struct TaskWaker {
    index: usize,
    ready: Arc<Mutex<VecDeque<usize>>>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        lock(&self.ready).push_back(self.index);
    }
}

impl Tasks {
    fn adopt(&mut self, node: NodeId, task: Task) {
        let index = self.tasks.len();
        let waker = Waker::from(Arc::new(TaskWaker {
            index,
            ready: Arc::clone(&self.ready),
        }));
        self.tasks.push(Some((node, task, waker)));
        lock(&self.ready).push_back(index);
    }

    /// Polls until no task can go on.
    fn run(&mut self, handle: &Handle) {
        loop {
            let spawned = std::mem::take(&mut handle.shared.borrow_mut().spawned);
            for (node, task) in spawned {
                self.adopt(node, task);
            }
            let Some(index) = lock(&self.ready).pop_front() else {
                return;
            };
            let Some((_, task, waker)) = self.tasks[index].as_mut() else {
                continue;
            };
            let waker = waker.clone();
            let done = task.as_mut().poll(&mut Context::from_waker(&waker));
            if done.is_ready() {
                self.tasks[index] = None;
            }
        }
    }

    fn is_idle(&self) -> bool {
        lock(&self.ready).is_empty()
    }

    /// The process on a node is gone, and its application with it.
    fn drop_those_of(&mut self, node: NodeId) {
        for task in &mut self.tasks {
            if task.as_ref().is_some_and(|(home, ..)| *home == node) {
                *task = None;
            }
        }
    }
}

/// Listens in for the answers that tasks wait for; passes everything on.
struct Tap<O> {
    inner: O,
    handle: Handle,
    /// Nodes whose process started (`true`) or ended.
    lifecycle: Vec<(NodeId, bool)>,
}

impl<O: Observer> Observer for Tap<O> {
    const WANTS_MESSAGES: bool = O::WANTS_MESSAGES;

    fn note(&mut self, place: Place, note: &Note, commands: &mut Commands) {
        self.inner.note(place, note, commands);
    }

    fn outcome(
        &mut self,
        place: Place,
        operation: OperationId,
        outcome: &Outcome,
        commands: &mut Commands,
    ) {
        if operation.0 > FIRST_NUMBER {
            let shared = self.handle.shared.borrow();
            if let Some((_, call)) = shared.calls.get(&operation) {
                // An error means that the caller has lost interest.
                let _ = call.send(outcome.clone());
            }
        }
        self.inner.outcome(place, operation, outcome, commands);
    }

    fn handled(&mut self, place: Place, input: InputKind, elapsed: Span) {
        self.inner.handled(place, input, elapsed);
    }

    fn sent(&mut self, transfer: Transfer<'_>) {
        self.inner.sent(transfer);
    }

    fn delivered(&mut self, transfer: Transfer<'_>) {
        self.inner.delivered(transfer);
    }

    fn happened(&mut self, place: Place, happening: &Happening, commands: &mut Commands) {
        match happening {
            Happening::Started => self.lifecycle.push((place.node, true)),
            Happening::Killed { .. } | Happening::Exited { .. } => {
                self.lifecycle.push((place.node, false));
            }
            Happening::Paused
            | Happening::Resumed { .. }
            | Happening::ClockChanged
            | Happening::Flushed { .. }
            | Happening::Accepted { .. }
            | Happening::Broken { .. }
            | Happening::Corrupted { .. }
            | Happening::DiskReplaced { .. }
            | Happening::Ignored => {}
        }
        self.inner.happened(place, happening, commands);
    }

    fn fault(&mut self, at: At, id: crate::world::FaultId, began: bool, hits: u64) {
        self.inner.fault(at, id, began, hits);
    }

    fn after_step(&mut self, step: &Step, commands: &mut Commands) {
        if let StepKind::Wake(number) = step.kind {
            let sleeper = self.handle.shared.borrow_mut().sleepers.remove(&number);
            if let Some(sleeper) = sleeper {
                // An error means that the sleeper was dropped.
                let _ = sleeper.send(());
            }
        }
        self.inner.after_step(step, commands);
    }
}

/// Everything of one hosted run but the world.
struct Host<O> {
    tap: Tap<O>,
    tasks: Tasks,
    handle: Handle,
    mirrors: Vec<NodeHandle>,
}

async fn host<B, O>(
    world: World<B>,
    until: At,
    observer: O,
    clients: impl FnOnce(&Handle),
) -> Finished<B, O>
where
    B: Boot + Send + 'static,
    B::Machine: Send,
    O: Observer,
{
    let plugin = madsim::plugin::simulator::<Plugin<B>>();
    let madsim = madsim::runtime::Handle::current();
    let handle = Handle::default();
    handle.shared.borrow_mut().now = world.now();
    let mirrors = (0..world.nodes())
        .map(|node| madsim.create_node().name(world.host(NodeId(node))).build())
        .collect();
    *lock(&plugin.world) = Some(world);
    clients(&handle);
    let mut host = Host {
        tap: Tap {
            inner: observer,
            handle: handle.clone(),
            lifecycle: Vec::new(),
        },
        tasks: Tasks::default(),
        handle,
        mirrors,
    };
    let start = TimeHandle::current().elapsed();
    loop {
        let running = {
            let mut guard = lock(&plugin.world);
            let Some(world) = guard.as_mut() else { break };
            host.turn(world, until, start, &plugin)
        };
        if !running {
            break;
        }
        YieldOnce(false).await;
    }
    for mirror in &host.mirrors {
        madsim.kill(mirror.id());
    }
    // Tasks still pending when a runtime is dropped leak; killed ones are dropped at the next poll.
    madsim::time::sleep(Duration::from_millis(1)).await;
    let world = lock(&plugin.world).take();
    let Some(mut world) = world else {
        unreachable!("only this function takes the world out");
    };
    world.advance_clock(until);
    Finished {
        world,
        observer: host.tap.inner,
    }
}

impl<O: Observer> Host<O> {
    /// Runs for a virtual millisecond; `false` when the run is over.
    fn turn<B>(
        &mut self,
        world: &mut World<B>,
        until: At,
        start: Duration,
        plugin: &Plugin<B>,
    ) -> bool
    where
        B: Boot + Send + 'static,
        B::Machine: Send,
    {
        let clock = TimeHandle::current();
        let began = world.now();
        self.kill_reset_nodes(world, plugin);
        self.settle(world);
        while let Some(step) = world.step_until(until, &mut self.tap) {
            self.handle.shared.borrow_mut().now = step.at;
            let target = start + Duration::from_nanos(step.at.0);
            // Polls of side tasks cost madsim a little virtual time, so it may be ahead.
            if let Some(ahead) = target
                .checked_sub(clock.elapsed())
                .filter(|gap| !gap.is_zero())
            {
                clock.advance(ahead);
            }
            if !self.tap.lifecycle.is_empty() {
                self.mirror(plugin);
            }
            self.settle(world);
            if step.at.since(began) >= Span::millis(1) {
                return true;
            }
        }
        false
    }

    /// Lets tasks go on, and passes their commands to the world, until both are quiet.
    fn settle<B: Boot>(&mut self, world: &mut World<B>) {
        while !self.tasks.is_idle() || !self.handle.shared.borrow().spawned.is_empty() {
            self.tasks.run(&self.handle);
            self.pass_commands(world);
        }
    }

    fn pass_commands<B: Boot>(&mut self, world: &mut World<B>) {
        let commands = {
            let mut shared = self.handle.shared.borrow_mut();
            shared.calls.retain(|_, (_, call)| !call.is_closed());
            std::mem::take(&mut shared.commands)
        };
        for (at, command) in commands {
            if let WorldCommand::Submit {
                node, operation, ..
            } = &command
                && world.machine(*node).is_none()
            {
                self.handle.shared.borrow_mut().calls.remove(operation);
                continue;
            }
            world.schedule_command(at, command);
        }
    }

    /// Somebody killed a node through madsim: its process dies in the world.
    fn kill_reset_nodes<B>(&mut self, world: &mut World<B>, plugin: &Plugin<B>)
    where
        B: Boot + Send + 'static,
        B::Machine: Send,
    {
        let reset = std::mem::take(&mut *lock(&plugin.reset));
        for id in reset {
            let found = self.mirrors.iter().position(|mirror| mirror.id() == id);
            if let Some(node) = found
                .and_then(|index| u16::try_from(index).ok())
                .map(NodeId)
            {
                let kind = KillKind::Process;
                world.command(WorldCommand::Kill { node, kind }, &mut self.tap);
            }
        }
        if !self.tap.lifecycle.is_empty() {
            self.mirror(plugin);
        }
    }

    /// What happened to processes of the world happens to their madsim nodes and tasks.
    fn mirror<B>(&mut self, plugin: &Plugin<B>)
    where
        B: Boot + Send + 'static,
        B::Machine: Send,
    {
        let madsim = madsim::runtime::Handle::current();
        for (node, alive) in std::mem::take(&mut self.tap.lifecycle) {
            let Some(mirror) = self.mirrors.get(usize::from(node.0)) else {
                continue;
            };
            if alive {
                if madsim.is_exit(mirror.id()) {
                    madsim.restart(mirror.id());
                }
                continue;
            }
            madsim.kill(mirror.id());
            self.tasks.drop_those_of(node);
            let mut shared = self.handle.shared.borrow_mut();
            shared.calls.retain(|_, (home, _)| *home != node);
        }
        // What we killed ourselves is not news.
        lock(&plugin.reset).clear();
    }
}

/// Lets madsim's other tasks have a turn.
struct YieldOnce(bool);

impl Future for YieldOnce {
    type Output = ();
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.0 {
            return Poll::Ready(());
        }
        self.0 = true;
        context.waker().wake_by_ref();
        Poll::Pending
    }
}
