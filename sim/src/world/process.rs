//! Running a core: one input at a time, its disk time, its effects.
//!
//! A step handles one input at time t. Its disk operations take time; an effect leaves no earlier than the operations
//! before it have finished. Effects of one instant form a group: first the notes and outcomes of the group are told, then
//! what the observer commands on them is carried out, and only then do the other effects of the group happen — if the
//! process still lives. Until its step ends the node is busy, and inputs wait in order. A pause takes hold between steps.

use super::clock::At;
use super::command::Fault;
use super::network::SocketsEnd;
use super::observer::{Happening, Observer, Place};
use super::queue::Event;
use super::timers::Rung;
use super::{Boot, InputKind, StepKind, World};
use crate::random::{Draws, Purpose};
use protocol::disk::{Disk, FileId};
use protocol::ids::NodeId;
use protocol::machine::{Effect, FlushId, Input, Io, Lane, Machine, Stamped, TimerId};
use protocol::time::{Mono, Span};

/// An input on its way into a core.
#[derive(Clone, Debug)]
pub(super) struct Waiting {
    pub(super) input: Input,
    /// The size of a message, the number of a ring.
    pub(super) mark: u64,
}

impl Waiting {
    pub(super) fn plain(input: Input) -> Self {
        Self { input, mark: 0 }
    }
}

impl<B: Boot> World<B> {
    /// Who and when, for the observer.
    pub(super) fn place(&self, node: u16) -> Place {
        let at = self.now();
        let state = &self.nodes[usize::from(node)];
        Place {
            at,
            node: NodeId(node),
            life: state.starts,
            clocks: state.clock.now(at),
        }
    }

    /// Tells the observer of something that no core did.
    pub(super) fn happened<O: Observer>(
        &mut self,
        node: u16,
        happening: &Happening,
        observer: &mut O,
    ) {
        let place = self.place(node);
        observer.happened(place, happening, &mut self.commands);
    }

    /// An input reaches a node: it is handled now if the node is free, and waits otherwise.
    pub(super) fn deliver<O: Observer>(
        &mut self,
        node: u16,
        waiting: Waiting,
        observer: &mut O,
    ) -> StepKind {
        let now = self.now();
        let kind = InputKind::of(&waiting.input);
        if self.nodes[usize::from(node)].is_idle(now) {
            if self.admits(node, &waiting, observer) {
                self.handle(node, waiting.input, observer);
            }
            self.arm(node);
            StepKind::Handled(kind)
        } else {
            self.post(node, waiting);
            StepKind::Waits(kind)
        }
    }

    /// An input waits for its turn.
    pub(super) fn post(&mut self, node: u16, waiting: Waiting) {
        let state = &mut self.nodes[usize::from(node)];
        if state.machine.is_some() {
            state.inbox.push_back(waiting);
            self.arm(node);
        }
    }

    /// Schedules the next thing the node has to do by itself.
    pub(super) fn arm(&mut self, node: u16) {
        let now = self.now();
        let state = &mut self.nodes[usize::from(node)];
        if state.armed {
            return;
        }
        let at = if let Some(effect) = state.pending.front() {
            state.step + effect.after
        } else if !state.inbox.is_empty() && !state.paused {
            state.busy_until.max(now)
        } else {
            return;
        };
        state.armed = true;
        let life = state.life;
        self.queue.push(at, Event::Ready { node, life });
    }

    /// Effects are due, or the node is free for the next input.
    pub(super) fn ready<O: Observer>(
        &mut self,
        node: u16,
        life: u32,
        observer: &mut O,
    ) -> Option<StepKind> {
        let now = self.now();
        let state = &mut self.nodes[usize::from(node)];
        if state.life != life {
            return None;
        }
        state.armed = false;
        if !state.pending.is_empty() {
            self.release_effects(node, observer);
            self.arm(node);
            return Some(StepKind::Effects);
        }
        if state.paused || now < state.busy_until {
            self.arm(node);
            return None;
        }
        let mut handled = None;
        while let Some(waiting) = self.nodes[usize::from(node)].inbox.pop_front() {
            if self.admits(node, &waiting, observer) {
                handled = Some(StepKind::Handled(InputKind::of(&waiting.input)));
                self.handle(node, waiting.input, observer);
                break;
            }
        }
        self.arm(node);
        handled
    }

    /// Whether an input is still wanted when its turn comes.
    fn admits<O: Observer>(&mut self, node: u16, waiting: &Waiting, observer: &mut O) -> bool {
        match &waiting.input {
            Input::Opened { connection }
            | Input::Accepted { connection, .. }
            | Input::Refused { connection }
            | Input::Closed { connection, .. }
            | Input::Received { connection, .. } => self.admit(*connection, waiting, observer),
            Input::Timer { timer } => {
                let ring = u32::try_from(waiting.mark).unwrap_or(u32::MAX);
                self.nodes[usize::from(node)].timers.take(*timer, ring)
            }
            Input::Started
            | Input::Flushed { .. }
            | Input::Due { .. }
            | Input::Verb { .. }
            | Input::Stop => true,
        }
    }

    /// One step of a core.
    fn handle<O: Observer>(&mut self, node: u16, input: Input, observer: &mut O) {
        let now = self.now();
        let kind = InputKind::of(&input);
        let mut effects = std::mem::take(&mut self.scratch);
        let state = &mut self.nodes[usize::from(node)];
        state.disk.begin_step(now);
        let clocks = state.clock.now(now);
        let Some(machine) = state.machine.as_mut() else {
            self.scratch = effects;
            return;
        };
        let mut io = Io::new(&mut state.disk, &mut effects, &mut self.next_connection);
        machine.handle(clocks, input, &mut io);
        let elapsed = state.disk.elapsed();
        state.step = now;
        state.busy_until = now + elapsed;
        let count = u64::try_from(effects.len()).unwrap_or(u64::MAX);
        self.digest(
            (u64::from(node) << 8) | u64::from(kind.number()),
            (count << 48) ^ elapsed.0,
        );
        observer.handled(self.place(node), kind, elapsed);
        if elapsed == Span::ZERO {
            self.apply(node, &mut effects, observer);
        } else {
            let state = &mut self.nodes[usize::from(node)];
            let mut latest = Span::ZERO;
            for mut stamped in effects.drain(..) {
                latest = latest.max(stamped.after);
                stamped.after = latest;
                state.pending.push_back(stamped);
            }
            self.release_effects(node, observer);
        }
        self.scratch = effects;
    }

    /// Lets the effects happen that are due by now.
    fn release_effects<O: Observer>(&mut self, node: u16, observer: &mut O) {
        let now = self.now();
        let state = &mut self.nodes[usize::from(node)];
        let due = state.step_time(now);
        let count = state
            .pending
            .iter()
            .take_while(|stamped| stamped.after <= due)
            .count();
        if count > 0 {
            let mut group = std::mem::take(&mut self.group);
            group.extend(state.pending.drain(..count));
            self.apply(node, &mut group, observer);
            self.group = group;
        }
    }

    /// One group of effects: what is told, then what is commanded on it, then what is done.
    fn apply<O: Observer>(&mut self, node: u16, group: &mut Vec<Stamped>, observer: &mut O) {
        if group.is_empty() {
            return;
        }
        let place = self.place(node);
        for stamped in group.iter() {
            match &stamped.effect {
                Effect::Note(note) => observer.note(place, note, &mut self.commands),
                Effect::Outcome { operation, outcome } => {
                    observer.outcome(place, *operation, outcome, &mut self.commands);
                }
                Effect::Connect { .. }
                | Effect::Send { .. }
                | Effect::Close { .. }
                | Effect::SetTimer { .. }
                | Effect::CancelTimer { .. }
                | Effect::Flush { .. }
                | Effect::Queue { .. }
                | Effect::Exit { .. } => {}
            }
        }
        let life = self.nodes[usize::from(node)].life;
        if !self.commands.is_empty() {
            self.run_commands(observer);
        }
        for stamped in group.drain(..) {
            if self.nodes[usize::from(node)].life != life {
                self.dropped_effects += 1;
                continue;
            }
            self.perform(node, stamped.effect, observer);
        }
    }

    fn perform<O: Observer>(&mut self, node: u16, effect: Effect, observer: &mut O) {
        match effect {
            Effect::Connect { connection, to } => self.dial(node, connection, &to),
            Effect::Send {
                connection,
                message,
            } => self.send_message(connection, message, observer),
            Effect::Close { connection } => self.close(connection),
            Effect::SetTimer { timer, at } => self.set_timer(node, timer, at),
            Effect::CancelTimer { timer } => self.nodes[usize::from(node)].timers.cancel(timer),
            Effect::Flush { flush, files } => self.flush(node, flush, &files),
            Effect::Queue { lane } => self.queue_lane(node, lane),
            Effect::Exit { clean } => self.exit(node, clean, observer),
            Effect::Note(_) | Effect::Outcome { .. } => {}
        }
    }

    fn set_timer(&mut self, node: u16, timer: TimerId, at: Mono) {
        let now = self.now();
        let state = &mut self.nodes[usize::from(node)];
        if let Some((at, slot, token)) = state.timers.set(timer, at, &state.clock, now) {
            self.queue.push(at, Event::Timer { node, slot, token });
        }
    }

    pub(super) fn timer<O: Observer>(
        &mut self,
        node: u16,
        (slot, token): (u32, u32),
        observer: &mut O,
    ) -> Option<StepKind> {
        let now = self.now();
        match self.nodes[usize::from(node)].timers.ring(slot, token, now) {
            Rung::Stale => None,
            Rung::Later((at, slot, token)) => {
                self.queue.push(at, Event::Timer { node, slot, token });
                None
            }
            Rung::Now { id, ring } => {
                let waiting = Waiting {
                    input: Input::Timer { timer: id },
                    mark: u64::from(ring),
                };
                Some(self.deliver(node, waiting, observer))
            }
        }
    }

    /// The draws of one flush.
    pub(super) fn flush_draws(seed: u64, node: u16) -> impl Fn(u16, u64) -> Draws {
        move |directory, ordinal| {
            Draws::keyed(
                seed,
                Purpose::FLUSH,
                u64::from(node),
                u64::from(directory),
                ordinal,
            )
        }
    }

    fn flush(&mut self, node: u16, flush: FlushId, files: &[FileId]) {
        let now = self.now();
        let draws = Self::flush_draws(self.seed, node);
        let state = &mut self.nodes[usize::from(node)];
        let life = state.life;
        let (ticket, finish) = state.disk.begin_flush((flush, life), files, now, draws);
        if let Some(finish) = finish {
            self.queue.push(finish, Event::Flushed { node, ticket });
        }
    }

    pub(super) fn flushed<O: Observer>(
        &mut self,
        node: u16,
        ticket: u32,
        observer: &mut O,
    ) -> Option<StepKind> {
        let state = &mut self.nodes[usize::from(node)];
        let outcome = state.disk.finish_flush(ticket)?;
        let alive = state.machine.is_some() && state.life == outcome.life;
        let happening = Happening::Flushed {
            flush: outcome.flush,
            result: outcome.result,
        };
        self.happened(node, &happening, observer);
        if !alive {
            return Some(StepKind::Device);
        }
        let input = Input::Flushed {
            flush: outcome.flush,
            result: outcome.result,
        };
        Some(self.deliver(node, Waiting::plain(input), observer))
    }

    /// Work for a lane: released at once, later, or when a rule ends.
    fn queue_lane(&mut self, node: u16, lane: Lane) {
        let found = self.lane_rules.iter().find_map(|id| {
            self.faults.get(id).and_then(|state| match &state.fault {
                Fault::Lane(rule) if rule.node == NodeId(node) && rule.lane == lane => {
                    Some((*id, rule.delay))
                }
                Fault::Lane(_)
                | Fault::Cut { .. }
                | Fault::Link { .. }
                | Fault::Message(_)
                | Fault::Unfaithful(..)
                | Fault::Disk { .. } => None,
            })
        });
        let Some((id, delay)) = found else {
            self.post(node, Waiting::plain(Input::Due { lane }));
            return;
        };
        self.hit(id, 1);
        let now: At = self.now();
        let state = &mut self.nodes[usize::from(node)];
        let life = state.life;
        match delay {
            Some(span) => self
                .queue
                .push(now + span, Event::Lane { node, life, lane }),
            None => *state.held_lanes.entry(lane).or_default() += 1,
        }
    }

    pub(super) fn lane_due<O: Observer>(
        &mut self,
        (node, life): (u16, u32),
        lane: Lane,
        observer: &mut O,
    ) -> Option<StepKind> {
        if self.nodes[usize::from(node)].life != life {
            return None;
        }
        Some(self.deliver(node, Waiting::plain(Input::Due { lane }), observer))
    }

    /// The process ends itself.
    fn exit<O: Observer>(&mut self, node: u16, clean: bool, observer: &mut O) {
        let now = self.now();
        self.nodes[usize::from(node)].disk.rollback(now);
        let how = if clean {
            SocketsEnd::Close
        } else {
            SocketsEnd::Kill(super::KillKind::Process)
        };
        self.sockets_end(node, how);
        self.nodes[usize::from(node)].forget_process(now);
        self.happened(node, &Happening::Exited { clean }, observer);
    }
}
