//! Carrying commands out: the life of nodes, their clocks, and faults that last.

use super::command::{DiskAtRestart, Fault, FaultId, KillKind, WorldCommand};
use super::disk::{PowerLoss, SimDisk, Unflushed};
use super::network::{ActiveRule, LinkChange, SocketsEnd, Verdict};
use super::observer::{Happening, Observer};
use super::process::Waiting;
use super::queue::Event;
use super::{Boot, StepKind, World};
use crate::random::{Draws, Purpose};
use protocol::ids::NodeId;
use protocol::machine::Input;
use protocol::time::Span;

/// A fault that was begun.
#[derive(Clone, Debug)]
pub(super) struct ActiveFault {
    pub(super) fault: Fault,
    pub(super) active: bool,
    pub(super) hits: u64,
    /// What the directory had counted before.
    disk_hits: u64,
}

impl<B: Boot> World<B> {
    /// How often a fault has had an effect; 0 for one that was never begun.
    pub fn hits(&self, id: FaultId) -> u64 {
        self.faults.get(&id).map_or(0, |state| match &state.fault {
            Fault::Disk {
                node, directory, ..
            } if state.active => self.disk(*node).fault_hits(directory) - state.disk_hits,
            Fault::Disk { .. }
            | Fault::Cut { .. }
            | Fault::Link { .. }
            | Fault::Message(_)
            | Fault::Unfaithful(..)
            | Fault::Lane(_) => state.hits,
        })
    }

    /// The faults in force.
    pub fn active_faults(&self) -> Vec<FaultId> {
        self.faults
            .iter()
            .filter(|(_, state)| state.active)
            .map(|(id, _)| *id)
            .collect()
    }

    /// A fault has had an effect.
    pub(super) fn hit(&mut self, id: FaultId, times: u64) {
        if let Some(state) = self.faults.get_mut(&id) {
            state.hits += times;
        }
    }

    pub(super) fn scheduled_command<O: Observer>(
        &mut self,
        slot: u32,
        observer: &mut O,
    ) -> Option<(Option<u16>, StepKind)> {
        let index = usize::try_from(slot).ok()?;
        let command = self.scheduled.get_mut(index)?.take()?;
        self.free_commands.push(slot);
        let kind = match &command {
            WorldCommand::Wake(number) => StepKind::Wake(*number),
            WorldCommand::Submit {
                node,
                operation,
                verb,
            } => {
                let waiting = Waiting::plain(Input::Verb {
                    operation: *operation,
                    verb: verb.clone(),
                });
                let kind = self.deliver(node.0, waiting, observer);
                return Some((Some(node.0), kind));
            }
            WorldCommand::Kill { .. }
            | WorldCommand::Restart { .. }
            | WorldCommand::Stop { .. }
            | WorldCommand::Pause { .. }
            | WorldCommand::Resume { .. }
            | WorldCommand::JumpClock { .. }
            | WorldCommand::SetDrift { .. }
            | WorldCommand::Begin { .. }
            | WorldCommand::End { .. }
            | WorldCommand::SnapshotDisk { .. }
            | WorldCommand::Corrupt { .. } => StepKind::Command,
        };
        self.execute(command, observer);
        Some((None, kind))
    }

    /// Carries out what has been commanded, and what the observer commands on that.
    pub(super) fn run_commands<O: Observer>(&mut self, observer: &mut O) {
        while !self.commands.is_empty() {
            for command in std::mem::take(&mut self.commands) {
                self.execute(command, observer);
            }
        }
    }

    fn execute<O: Observer>(&mut self, command: WorldCommand, observer: &mut O) {
        match command {
            WorldCommand::Kill { node, kind } => self.kill(node.0, kind, observer),
            WorldCommand::Restart { node, disk } => self.restart(node.0, disk, observer),
            WorldCommand::Stop { node } => self.post(node.0, Waiting::plain(Input::Stop)),
            WorldCommand::Pause { node, span } => self.pause(node.0, span, observer),
            WorldCommand::Resume { node } => {
                self.resume(node.0, None, observer);
            }
            WorldCommand::JumpClock { node, nanos } => {
                self.nodes[usize::from(node.0)].clock.jump(nanos);
                self.happened(node.0, &Happening::ClockChanged, observer);
            }
            WorldCommand::SetDrift { node, ppm } => self.set_drift(node.0, ppm, observer),
            WorldCommand::Submit {
                node,
                operation,
                verb,
            } => self.post(node.0, Waiting::plain(Input::Verb { operation, verb })),
            WorldCommand::Begin { id, fault } => self.begin_fault(id, fault, observer),
            WorldCommand::End { id } => self.end_fault(id, observer),
            WorldCommand::SnapshotDisk { node } => {
                let state = &mut self.nodes[usize::from(node.0)];
                state.older_disk = Some(Box::new(state.disk.clone()));
            }
            WorldCommand::Corrupt {
                node,
                path,
                corruption,
            } => {
                let disk = &mut self.nodes[usize::from(node.0)].disk;
                let bytes = disk.corrupt(&path, corruption).unwrap_or(0);
                self.happened(node.0, &Happening::Corrupted { bytes }, observer);
            }
            WorldCommand::Wake(_) => {}
        }
    }

    pub(super) fn start<O: Observer>(
        &mut self,
        node: u16,
        life: u32,
        observer: &mut O,
    ) -> Option<StepKind> {
        let state = &mut self.nodes[usize::from(node)];
        if state.life != life || state.machine.is_some() || !state.host_up {
            return None;
        }
        state.starts += 1;
        state.life += 1;
        let mut draws = Draws::keyed(
            self.seed,
            Purpose::MONO_ORIGIN,
            u64::from(node),
            0,
            u64::from(state.starts),
        );
        // Up to 13 days, as if the machine had been up for a while.
        state.clock.set_origin(draws.below(1 << 50));
        state.machine = Some(state.spec.boot.boot(state.starts));
        self.happened(node, &Happening::Started, observer);
        Some(self.deliver(node, Waiting::plain(Input::Started), observer))
    }

    fn kill<O: Observer>(&mut self, node: u16, kind: KillKind, observer: &mut O) {
        let now = self.now();
        let state = &mut self.nodes[usize::from(node)];
        let host_dies = matches!(kind, KillKind::Power(_)) && state.host_up;
        if state.machine.is_none() && !host_dies {
            self.happened(node, &Happening::Ignored, observer);
            return;
        }
        let operations_undone = state.disk.rollback(now);
        let effects_dropped = u64::try_from(state.pending.len()).unwrap_or(u64::MAX);
        self.sockets_end(node, SocketsEnd::Kill(kind));
        let seed = self.seed;
        let state = &mut self.nodes[usize::from(node)];
        state.forget_process(now);
        let mut loss = PowerLoss::default();
        if let KillKind::Power(unflushed) = kind {
            state.host_up = false;
            let life = u64::from(state.life);
            loss = state.disk.lose_power(unflushed, |part| {
                Draws::keyed(seed, Purpose::CRASH, u64::from(node), life, part)
            });
        }
        let happening = Happening::Killed {
            kind,
            operations_undone,
            effects_dropped,
            loss,
        };
        self.happened(node, &happening, observer);
    }

    fn restart<O: Observer>(&mut self, node: u16, disk: DiskAtRestart, observer: &mut O) {
        let now = self.now();
        let state = &mut self.nodes[usize::from(node)];
        if state.machine.is_some() {
            self.happened(node, &Happening::Ignored, observer);
            return;
        }
        let life = state.life;
        let was_dark = !state.host_up;
        state.host_up = true;
        self.replace_disk(node, disk, observer);
        if was_dark {
            for peer in 0..self.nodes() {
                self.path_opened(peer, node, observer);
            }
        }
        self.queue.push(now, Event::Start { node, life });
    }

    /// The machine gets another disk, or the files of an earlier moment.
    fn replace_disk<O: Observer>(&mut self, node: u16, disk: DiskAtRestart, observer: &mut O) {
        let seed = self.seed;
        let state = &mut self.nodes[usize::from(node)];
        let older = match disk {
            DiskAtRestart::Same => return,
            DiskAtRestart::Empty => None,
            DiskAtRestart::Older => state.older_disk.as_deref().cloned(),
        };
        let before = state.disk.bytes();
        state.disk = older
            .unwrap_or_else(|| SimDisk::new(state.spec.disk.clone()))
            .in_place_of(&state.disk);
        // Flushes that were under way at the snapshot are nobody's any more: what the files held then is on the device now.
        state.disk.lose_power(Unflushed::Kept, |part| {
            Draws::keyed(seed, Purpose::CRASH, u64::from(node), u64::MAX, part)
        });
        let after = state.disk.bytes();
        self.happened(node, &Happening::DiskReplaced { before, after }, observer);
    }

    fn pause<O: Observer>(&mut self, node: u16, span: Option<Span>, observer: &mut O) {
        let now = self.now();
        let state = &mut self.nodes[usize::from(node)];
        if state.machine.is_none() {
            self.happened(node, &Happening::Ignored, observer);
            return;
        }
        state.paused = true;
        state.pause_token = state.pause_token.wrapping_add(1);
        let token = state.pause_token;
        if let Some(span) = span {
            self.queue.push(now + span, Event::Resume { node, token });
        }
        self.happened(node, &Happening::Paused, observer);
    }

    /// A pause ends: the one of this token, or any.
    pub(super) fn resume<O: Observer>(
        &mut self,
        node: u16,
        token: Option<u32>,
        observer: &mut O,
    ) -> Option<StepKind> {
        let state = &mut self.nodes[usize::from(node)];
        if token.is_some_and(|token| token != state.pause_token) {
            return None;
        }
        if !state.paused {
            self.happened(node, &Happening::Ignored, observer);
            return None;
        }
        state.paused = false;
        state.pause_token = state.pause_token.wrapping_add(1);
        let waiting = state.inbox.len();
        self.happened(node, &Happening::Resumed { waiting }, observer);
        self.arm(node);
        Some(StepKind::Resumed)
    }

    fn set_drift<O: Observer>(&mut self, node: u16, ppm: i32, observer: &mut O) {
        let now = self.now();
        let state = &mut self.nodes[usize::from(node)];
        state.clock.set_drift(now, ppm);
        for (at, slot, token) in state.timers.reschedule(&state.clock, now) {
            self.queue.push(at, Event::Timer { node, slot, token });
        }
        self.happened(node, &Happening::ClockChanged, observer);
    }

    fn pairs(&self, from: &[NodeId], to: &[NodeId]) -> Vec<(u16, u16)> {
        let all: Vec<NodeId> = (0..self.nodes()).map(NodeId).collect();
        let from = if from.is_empty() { &all } else { from };
        let to = if to.is_empty() { &all } else { to };
        let mut pairs = Vec::new();
        for a in from {
            for b in to {
                if a != b && !pairs.contains(&(a.0, b.0)) {
                    pairs.push((a.0, b.0));
                }
            }
        }
        pairs
    }

    fn cut_pairs(&self, from: &[NodeId], to: &[NodeId], both_ways: bool) -> Vec<(u16, u16)> {
        let mut pairs = self.pairs(from, to);
        if both_ways {
            for (a, b) in pairs.clone() {
                if !pairs.contains(&(b, a)) {
                    pairs.push((b, a));
                }
            }
        }
        pairs
    }

    fn begin_fault<O: Observer>(&mut self, id: FaultId, fault: Fault, observer: &mut O) {
        if self.faults.get(&id).is_some_and(|state| state.active) {
            self.end_fault(id, observer);
        }
        let mut disk_hits = 0;
        match &fault {
            Fault::Cut {
                from,
                to,
                both_ways,
            } => {
                for (a, b) in self.cut_pairs(from, to, *both_ways) {
                    self.network.link_mut(a, b).cuts.push(id);
                }
            }
            Fault::Link { from, to, change } => {
                for (a, b) in self.pairs(from, to) {
                    let change: LinkChange = change.clone();
                    self.network.link_mut(a, b).changes.push((id, change));
                }
            }
            Fault::Message(rule) => self.network.rules.push(ActiveRule {
                id,
                verdict: Verdict::Faithful(rule.action),
                rule: rule.clone(),
                seen: 0,
            }),
            Fault::Unfaithful(rule, fault) => {
                if self.network.config.unfaithful {
                    self.network.rules.push(ActiveRule {
                        id,
                        verdict: Verdict::Unfaithful(*fault),
                        rule: rule.clone(),
                        seen: 0,
                    });
                }
            }
            Fault::Lane(_) => self.lane_rules.push(id),
            Fault::Disk {
                node,
                directory,
                fault,
            } => {
                let disk = &mut self.nodes[usize::from(node.0)].disk;
                disk.start_fault(directory, *fault);
                disk_hits = disk.fault_hits(directory);
            }
        }
        let state = ActiveFault {
            fault,
            active: true,
            hits: 0,
            disk_hits,
        };
        self.faults.insert(id, state);
        observer.fault(self.now(), id, true, 0);
    }

    fn end_fault<O: Observer>(&mut self, id: FaultId, observer: &mut O) {
        let hits = self.hits(id);
        let now = self.now();
        let Some(state) = self.faults.get_mut(&id).filter(|state| state.active) else {
            return;
        };
        state.hits = hits;
        state.active = false;
        match state.fault.clone() {
            Fault::Cut {
                from,
                to,
                both_ways,
            } => {
                let pairs = self.cut_pairs(&from, &to, both_ways);
                for (a, b) in &pairs {
                    self.network.link_mut(*a, *b).cuts.retain(|cut| *cut != id);
                }
                for (a, b) in pairs {
                    self.path_opened(a, b, observer);
                }
            }
            Fault::Link { from, to, .. } => {
                for (a, b) in self.pairs(&from, &to) {
                    let link = self.network.link_mut(a, b);
                    link.changes.retain(|(change, _)| *change != id);
                }
            }
            Fault::Message(_) | Fault::Unfaithful(..) => {
                self.network.rules.retain(|rule| rule.id != id);
                self.release_held(id);
            }
            Fault::Lane(rule) => {
                self.lane_rules.retain(|lane| *lane != id);
                let state = &mut self.nodes[usize::from(rule.node.0)];
                let held = state.held_lanes.remove(&rule.lane).unwrap_or(0);
                for _ in 0..held {
                    self.post(rule.node.0, Waiting::plain(Input::Due { lane: rule.lane }));
                }
            }
            Fault::Disk {
                node,
                directory,
                fault,
            } => {
                let draws = Self::flush_draws(self.seed, node.0);
                let disk = &mut self.nodes[usize::from(node.0)].disk;
                for (ticket, at) in disk.end_fault(&directory, fault, now, draws) {
                    self.queue.push(
                        at,
                        Event::Flushed {
                            node: node.0,
                            ticket,
                        },
                    );
                }
            }
        }
        observer.fault(now, id, false, hits);
    }
}
