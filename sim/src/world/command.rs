//! What can be done to the world from outside: node lifecycle, clocks, calls of applications, faults.
//!
//! Commands are plain values, so that a schedule is data. A fault has an id, given by whoever starts it; under that id it
//! is ended, and its hits — how often it changed anything — are its witness.

use super::disk::{Corruption, DiskFault, Unflushed};
use super::network::{LinkChange, MessageRule, UnfaithfulFault};
use protocol::ids::NodeId;
use protocol::machine::Lane;
use protocol::time::Span;
use protocol::verb::{OperationId, Verb};
use serde::{Deserialize, Serialize};

/// Names a fault that lasts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FaultId(pub u32);

/// How a node dies.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KillKind {
    /// SIGKILL: the kernel lives, keeps the page cache and resets the connections.
    Process,
    /// The host loses power: unflushed bytes are lost as said, and nobody is told.
    Power(Unflushed),
}

/// Which disk a restarted node finds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DiskAtRestart {
    /// The one it left.
    Same,
    /// A new one.
    Empty,
    /// The one of the last [`WorldCommand::SnapshotDisk`]; empty when there was none.
    Older,
}

/// Work of a lane waits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LaneRule {
    /// On this node.
    pub node: NodeId,
    /// Which thread is slow.
    pub lane: Lane,
    /// How long each piece waits; until the rule ends when absent.
    pub delay: Option<Span>,
}

/// A fault that lasts until it is ended.
#[derive(Clone, PartialEq, Debug)]
pub enum Fault {
    /// Nothing gets from any of these nodes to any of those; two-way when asked.
    Cut {
        /// From here.
        from: Vec<NodeId>,
        /// To there.
        to: Vec<NodeId>,
        /// Nor back.
        both_ways: bool,
    },
    /// Links behave differently.
    Link {
        /// From these nodes; all when empty.
        from: Vec<NodeId>,
        /// To those; all when empty.
        to: Vec<NodeId>,
        /// How.
        change: LinkChange,
    },
    /// Single messages are held, dropped or delayed.
    Message(MessageRule),
    /// Single messages suffer what TCP rules out. Refused unless the network is configured `unfaithful`.
    Unfaithful(MessageRule, UnfaithfulFault),
    /// A thread is slow.
    Lane(LaneRule),
    /// A log directory is slow, stuck, full or broken.
    Disk {
        /// On this node.
        node: NodeId,
        /// The directory.
        directory: String,
        /// How.
        fault: DiskFault,
    },
}

/// Something to do to the world.
#[derive(Clone, PartialEq, Debug)]
pub enum WorldCommand {
    /// End a process, or its host.
    Kill {
        /// Which.
        node: NodeId,
        /// How.
        kind: KillKind,
    },
    /// Start a dead process again.
    Restart {
        /// Which.
        node: NodeId,
        /// With which disk.
        disk: DiskAtRestart,
    },
    /// Ask a process to end in good order (SIGTERM).
    Stop {
        /// Which.
        node: NodeId,
    },
    /// A process stands still: a long garbage collection, a suspended machine.
    Pause {
        /// Which.
        node: NodeId,
        /// How long; until [`WorldCommand::Resume`] when absent.
        span: Option<Span>,
    },
    /// It goes on.
    Resume {
        /// Which.
        node: NodeId,
    },
    /// The wall clock of a host jumps.
    JumpClock {
        /// Which.
        node: NodeId,
        /// By so many nanoseconds, forward when positive.
        nanos: i64,
    },
    /// The clocks of a host run at another rate from now on.
    SetDrift {
        /// Which.
        node: NodeId,
        /// Fast by so many microseconds per second.
        ppm: i32,
    },
    /// The application calls its client.
    Submit {
        /// The client's node.
        node: NodeId,
        /// Names the call.
        operation: OperationId,
        /// What is asked.
        verb: Verb,
    },
    /// A fault begins.
    Begin {
        /// Its name; a fault of the same name is ended first.
        id: FaultId,
        /// What it is.
        fault: Fault,
    },
    /// A fault ends: partitions heal, held messages and lanes are released.
    End {
        /// Its name.
        id: FaultId,
    },
    /// Remember what the files of a disk hold now, for [`DiskAtRestart::Older`].
    SnapshotDisk {
        /// Whose.
        node: NodeId,
    },
    /// Damage a file.
    Corrupt {
        /// Whose.
        node: NodeId,
        /// Which; one `*` stands for any text without a slash.
        path: String,
        /// How.
        corruption: Corruption,
    },
    /// Do nothing but be a step of this number: how the host wakes sleepers.
    Wake(u64),
}
