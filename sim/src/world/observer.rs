//! What the world tells whoever watches: recorder, invariants, barriers.
//!
//! The world knows no history format and keeps nothing of this. An observer that does not want messages pays nothing for
//! them. Every hook that may be a barrier gets the list of commands: what it pushes there is carried out at once, before
//! any effect that left the node at the same instant as the note is delivered.

use super::clock::At;
use super::command::{FaultId, KillKind, WorldCommand};
use super::disk::PowerLoss;
use super::network::MessageName;
use super::{InputKind, Step};
use protocol::disk::DiskError;
use protocol::ids::NodeId;
use protocol::machine::{CloseReason, ConnectionId, FlushId};
use protocol::message::Message;
use protocol::note::Note;
use protocol::time::{Now, Span};
use protocol::verb::{OperationId, Outcome};

/// Commands for the world, in the order they are to be carried out.
pub type Commands = Vec<WorldCommand>;

/// Where something was said: true time, node, and the clocks of that node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// True time.
    pub at: At,
    /// Which node.
    pub node: NodeId,
    /// In which life of its process.
    pub life: u32,
    /// What its clocks show.
    pub clocks: Now,
}

/// A message on its way.
#[derive(Clone, Copy, Debug)]
pub struct Transfer<'a> {
    /// True time.
    pub at: At,
    /// Which message it is.
    pub name: MessageName,
    /// The sender's end.
    pub from: ConnectionId,
    /// Bytes on the wire.
    pub size: u64,
    /// The message.
    pub message: &'a Message,
}

/// Something changed that no core did.
#[derive(Clone, Debug, PartialEq)]
pub enum Happening {
    /// A process started.
    Started,
    /// A process was killed, or its host lost power.
    Killed {
        /// How.
        kind: KillKind,
        /// Disk operations of the unfinished step that were taken back.
        operations_undone: u64,
        /// Effects and notes of the unfinished step that never happened.
        effects_dropped: u64,
        /// What the loss of power cost.
        loss: PowerLoss,
    },
    /// A process ended itself.
    Exited {
        /// In good order.
        clean: bool,
    },
    /// A process stands still.
    Paused,
    /// It goes on; this many inputs waited.
    Resumed {
        /// How many.
        waiting: usize,
    },
    /// The wall clock jumped or the drift changed.
    ClockChanged,
    /// The device has finished a flush.
    Flushed {
        /// Which.
        flush: FlushId,
        /// Whether the bytes are durable.
        result: Result<(), DiskError>,
    },
    /// A connection stands, seen from who accepted it.
    Accepted {
        /// The node that dialled.
        from: NodeId,
        /// The dialled port.
        port: u16,
    },
    /// An open connection broke, seen from this node.
    Broken {
        /// How.
        reason: CloseReason,
    },
    /// A file was damaged.
    Corrupted {
        /// Bytes that changed; 0 when there was nothing to damage.
        bytes: u64,
    },
    /// A process that starts finds another disk than it left: so many bytes were on the old one, so many are on the new.
    DiskReplaced {
        /// On the disk it left.
        before: u64,
        /// On the disk it finds.
        after: u64,
    },
    /// A command had nothing to do: the node was dead, alive or paused already.
    Ignored,
}

/// Whoever watches. Every method has an empty default.
pub trait Observer {
    /// Whether [`Observer::sent`] and [`Observer::delivered`] are called at all.
    const WANTS_MESSAGES: bool = false;

    /// A core states a fact.
    fn note(&mut self, place: Place, note: &Note, commands: &mut Commands) {
        let _ = (place, note, commands);
    }

    /// A core answers its application.
    fn outcome(
        &mut self,
        place: Place,
        operation: OperationId,
        outcome: &Outcome,
        commands: &mut Commands,
    ) {
        let _ = (place, operation, outcome, commands);
    }

    /// A core handles an input; `elapsed` is the disk time that takes.
    fn handled(&mut self, place: Place, input: InputKind, elapsed: Span) {
        let _ = (place, input, elapsed);
    }

    /// A message leaves.
    fn sent(&mut self, transfer: Transfer<'_>) {
        let _ = transfer;
    }

    /// A message arrives.
    fn delivered(&mut self, transfer: Transfer<'_>) {
        let _ = transfer;
    }

    /// Something happened to a node.
    fn happened(&mut self, place: Place, happening: &Happening, commands: &mut Commands) {
        let _ = (place, happening, commands);
    }

    /// A fault began (`hits` 0) or ended, after having had an effect so many times.
    fn fault(&mut self, at: At, id: FaultId, began: bool, hits: u64) {
        let _ = (at, id, began, hits);
    }

    /// A step is over, effects and all.
    fn after_step(&mut self, step: &Step, commands: &mut Commands) {
        let _ = (step, commands);
    }
}

/// Watches nothing, at no cost.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unobserved;

impl Observer for Unobserved {}
