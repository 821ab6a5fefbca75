//! One node: its core, its host's clock and disk, and what waits for it.

use super::clock::{At, Clock, ClockConfig};
use super::disk::{DiskConfig, SimDisk};
use super::process::Waiting;
use super::timers::Timers;
use protocol::machine::{Lane, Machine, Stamped};
use protocol::time::Span;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// How to build a core: a plain value, so that a world can be cloned and a node restarted.
pub trait Boot: Clone {
    /// The core.
    type Machine: Machine;

    /// A new process; `life` counts its starts from 1.
    fn boot(&self, life: u32) -> Self::Machine;
}

/// A node of the world, by value.
#[derive(Clone, Debug)]
pub struct NodeSpec<B> {
    /// Its host name, by which others dial it.
    pub host: Arc<str>,
    /// The ports its process listens on.
    pub ports: Vec<u16>,
    /// How to build its core.
    pub boot: B,
    /// Its host's clocks.
    pub clock: ClockConfig,
    /// Its host's disk.
    pub disk: DiskConfig,
    /// When its process starts; only when it is restarted if absent.
    pub start: Option<At>,
}

impl<B> NodeSpec<B> {
    /// A node with a good clock and a usual disk that starts at once.
    pub fn new(host: impl Into<Arc<str>>, ports: Vec<u16>, boot: B) -> Self {
        Self {
            host: host.into(),
            ports,
            boot,
            clock: ClockConfig::default(),
            disk: DiskConfig::default(),
            start: Some(At::ZERO),
        }
    }
}

/// The state of a node.
#[derive(Clone)]
pub(super) struct Node<B: Boot> {
    pub(super) spec: NodeSpec<B>,
    /// `None` while the process is dead.
    pub(super) machine: Option<B::Machine>,
    /// Counts starts and deaths; events of another life are stale.
    pub(super) life: u32,
    pub(super) starts: u32,
    pub(super) host_up: bool,
    pub(super) paused: bool,
    pub(super) pause_token: u32,
    pub(super) clock: Clock,
    pub(super) disk: SimDisk,
    /// For [`super::DiskAtRestart::Older`].
    pub(super) older_disk: Option<Box<SimDisk>>,
    pub(super) timers: Timers,
    /// Inputs that wait for the process.
    pub(super) inbox: VecDeque<Waiting>,
    /// When the step under way began, and when it ends.
    pub(super) step: At,
    pub(super) busy_until: At,
    /// Effects of that step that are not due yet.
    pub(super) pending: VecDeque<Stamped>,
    /// A `Ready` event is in the queue.
    pub(super) armed: bool,
    /// Work of lanes that a rule holds.
    pub(super) held_lanes: BTreeMap<Lane, u32>,
}

impl<B: Boot> Node<B> {
    pub(super) fn new(spec: NodeSpec<B>) -> Self {
        Self {
            machine: None,
            life: 0,
            starts: 0,
            host_up: true,
            paused: false,
            pause_token: 0,
            clock: Clock::new(spec.clock),
            disk: SimDisk::new(spec.disk.clone()),
            older_disk: None,
            timers: Timers::default(),
            inbox: VecDeque::new(),
            step: At::ZERO,
            busy_until: At::ZERO,
            pending: VecDeque::new(),
            armed: false,
            held_lanes: BTreeMap::new(),
            spec,
        }
    }

    /// Free to handle an input at once.
    pub(super) fn is_idle(&self, now: At) -> bool {
        self.machine.is_some()
            && !self.paused
            && self.inbox.is_empty()
            && self.pending.is_empty()
            && now >= self.busy_until
    }

    /// Disk time from the beginning of the step to `now`.
    pub(super) fn step_time(&self, now: At) -> Span {
        now.since(self.step)
    }

    /// The process is gone: nothing of it is left but the disk.
    pub(super) fn forget_process(&mut self, now: At) {
        self.machine = None;
        self.life += 1;
        self.paused = false;
        self.pause_token = self.pause_token.wrapping_add(1);
        self.timers.clear();
        self.inbox.clear();
        self.pending.clear();
        self.held_lanes.clear();
        self.armed = false;
        self.busy_until = now;
    }
}
