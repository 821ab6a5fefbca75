//! The door: one method through which every core — broker, keeper, client — is driven.
//!
//! What happened comes in as an [`Input`], what to do goes out as [`Effect`]s, and the disk answers at once. The driver
//! owns time, the network, crashes and threads; a core owns the protocol. One driver serves all cores.
//!
//! The contract in one paragraph: the driver constructs a core from its configuration and hands it [`Input::Started`]
//! first. Then it hands over one input at a time, in the order they happen on that node, with that node's clocks. The core
//! never blocks and never fails: what it wants is pushed to [`Io`] in the order it wants it. Effects are carried out in
//! that order, each no earlier than the disk operations the core made before it; a kill in the middle of a step keeps the
//! disk operations finished by then and discards everything after. A core that panics has a bug.

use crate::disk::{Disk, FileId};
use crate::ids::{CorrelationId, Endpoint};
use crate::message::Message;
use crate::note::Note;
use crate::time::{Mono, Now, Span};
use crate::verb::{OperationId, Outcome, Verb};
use serde::{Deserialize, Serialize};

/// One end of a connection, as its own node names it. The two ends of one connection have different ids.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ConnectionId(pub u64);

/// A timer, named by the core. Setting a name again moves the timer; it never rings twice for one setting.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TimerId(pub u64);

/// Names a flush so that its completion can be told apart.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FlushId(pub u64);

/// A thread of the real program, where its scheduling decides which histories exist.
///
/// A core keeps one FIFO of work per lane. [`Effect::Queue`] asks the driver for one [`Input::Due`] on that lane; the
/// driver releases them in order, at once by default, later when a scenario delays the lane.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum Lane {
    /// `KafkaRequestHandlerPool`: requests waiting for a handler thread.
    RequestHandler,
    /// `ControllerEventManager`'s single thread.
    Controller,
    /// The follower's fetcher thread for one source broker (`ReplicaFetcherThread`).
    Fetcher(i32),
    /// ZooKeeper's event thread: replies, watches and session states.
    KeeperCallback,
    /// The scheduler of the group metadata manager that loads and unloads `__consumer_offsets` partitions.
    GroupLoader,
    /// The scheduler of the transaction state manager that loads and unloads `__transaction_state` partitions.
    TransactionLoader,
    /// `TxnMarkerSenderThread`: markers waiting to be sent to leaders.
    TransactionMarkers,
    /// The broker's general background scheduler (retention, checkpoints, flushes).
    Background,
}

/// Why a connection closed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum CloseReason {
    /// The peer closed it in good order, after everything it had sent.
    Peer,
    /// A reset: the peer's process died, or something on the way cut the connection.
    Reset,
    /// Nothing got through for so long that TCP gave up.
    TimedOut,
}

/// What happened.
#[derive(Clone, Debug)]
pub enum Input {
    /// The process started; the disk holds what the last life left.
    Started,
    /// The connection that the core asked for stands.
    Opened {
        /// The id the core got from [`Io::connect`].
        connection: ConnectionId,
    },
    /// Somebody connected to one of this node's ports.
    Accepted {
        /// This node's end.
        connection: ConnectionId,
        /// The port that was dialled, which tells listeners apart.
        port: u16,
        /// The dialling node's host name.
        from: std::sync::Arc<str>,
    },
    /// The connection that the core asked for could not be made: nobody listens there, or no answer came.
    Refused {
        /// The id the core got from [`Io::connect`].
        connection: ConnectionId,
    },
    /// The connection is gone. Never follows the core's own [`Effect::Close`].
    Closed {
        /// This node's end.
        connection: ConnectionId,
        /// How it ended.
        reason: CloseReason,
    },
    /// A message arrived; in order and exactly once within a connection.
    Received {
        /// This node's end.
        connection: ConnectionId,
        /// What was sent.
        message: Message,
    },
    /// A timer that was set and not cancelled rang.
    Timer {
        /// Which one.
        timer: TimerId,
    },
    /// A flush is over.
    Flushed {
        /// Which one.
        flush: FlushId,
        /// Whether the bytes are durable now.
        result: Result<(), crate::disk::DiskError>,
    },
    /// The next piece of work queued on the lane may run.
    Due {
        /// Which lane.
        lane: Lane,
    },
    /// The application calls the client.
    Verb {
        /// Names the call; its [`Outcome`]s carry the same id.
        operation: OperationId,
        /// What is asked for.
        verb: Verb,
    },
    /// The process is asked to end in good order (SIGTERM).
    Stop,
}

/// What to do.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Dial an endpoint; answered by [`Input::Opened`] or [`Input::Refused`].
    Connect {
        /// This node's end, given out by [`Io::connect`].
        connection: ConnectionId,
        /// Whom to dial.
        to: Endpoint,
    },
    /// Send on an open connection. On one that is gone already it vanishes, as a write into a dead socket does.
    Send {
        /// This node's end.
        connection: ConnectionId,
        /// What.
        message: Message,
    },
    /// Close in good order: what was sent before still arrives, nothing is received any more.
    Close {
        /// This node's end.
        connection: ConnectionId,
    },
    /// Ring at a time of this node's monotonic clock; a time in the past rings at once.
    SetTimer {
        /// The timer; an earlier setting of the same name is forgotten.
        timer: TimerId,
        /// When.
        at: Mono,
    },
    /// Forget the timer.
    CancelTimer {
        /// The timer.
        timer: TimerId,
    },
    /// Make what the files hold now durable; answered by [`Input::Flushed`].
    Flush {
        /// Names the completion.
        flush: FlushId,
        /// The files.
        files: Vec<FileId>,
    },
    /// Ask for one [`Input::Due`] on the lane.
    Queue {
        /// Which lane.
        lane: Lane,
    },
    /// State a fact for the history.
    Note(Note),
    /// Answer the application.
    Outcome {
        /// The call it answers.
        operation: OperationId,
        /// The answer.
        outcome: Outcome,
    },
    /// The process ends itself: a clean stop, or Kafka's `Exit.halt` on a fatal error.
    Exit {
        /// `true` after a shutdown in good order.
        clean: bool,
    },
}

/// An effect and how much disk time had passed in the step before it was asked for.
#[derive(Clone, Debug)]
pub struct Stamped {
    /// Disk time of the step up to here.
    pub after: Span,
    /// The effect.
    pub effect: Effect,
}

/// A core's hands during one step: the disk, and the list of effects.
pub struct Io<'a> {
    /// The node's disk.
    pub disk: &'a mut dyn Disk,
    effects: &'a mut Vec<Stamped>,
    next_connection: &'a mut u64,
}

impl<'a> Io<'a> {
    /// The hands for one step. `next_connection` counts up over the whole world, so that an id is never used twice.
    pub fn new(
        disk: &'a mut dyn Disk,
        effects: &'a mut Vec<Stamped>,
        next_connection: &'a mut u64,
    ) -> Self {
        Self {
            disk,
            effects,
            next_connection,
        }
    }

    /// The same hands, pushing to another list: for an application that wraps a core and looks at its effects first.
    pub fn redirected<'b>(&'b mut self, effects: &'b mut Vec<Stamped>) -> Io<'b> {
        Io {
            disk: &mut *self.disk,
            effects,
            next_connection: &mut *self.next_connection,
        }
    }

    /// Pushes an effect.
    pub fn push(&mut self, effect: Effect) {
        let after = self.disk.elapsed();
        self.effects.push(Stamped { after, effect });
    }

    /// Passes on an effect another list collected, with the time it had there.
    pub fn forward(&mut self, stamped: Stamped) {
        self.effects.push(stamped);
    }

    /// Dials `to`.
    pub fn connect(&mut self, to: Endpoint) -> ConnectionId {
        let connection = ConnectionId(*self.next_connection);
        *self.next_connection += 1;
        self.push(Effect::Connect { connection, to });
        connection
    }

    /// Sends a message.
    pub fn send(&mut self, connection: ConnectionId, message: Message) {
        self.push(Effect::Send {
            connection,
            message,
        });
    }

    /// Closes a connection.
    pub fn close(&mut self, connection: ConnectionId) {
        self.push(Effect::Close { connection });
    }

    /// Sets or moves a timer.
    pub fn set_timer(&mut self, timer: TimerId, at: Mono) {
        self.push(Effect::SetTimer { timer, at });
    }

    /// Forgets a timer.
    pub fn cancel_timer(&mut self, timer: TimerId) {
        self.push(Effect::CancelTimer { timer });
    }

    /// Asks for durability.
    pub fn flush(&mut self, flush: FlushId, files: Vec<FileId>) {
        self.push(Effect::Flush { flush, files });
    }

    /// Queues one piece of work on a lane.
    pub fn queue(&mut self, lane: Lane) {
        self.push(Effect::Queue { lane });
    }

    /// States a fact.
    pub fn note(&mut self, note: Note) {
        self.push(Effect::Note(note));
    }

    /// Answers the application.
    pub fn outcome(&mut self, operation: OperationId, outcome: Outcome) {
        self.push(Effect::Outcome { operation, outcome });
    }

    /// Ends the process.
    pub fn exit(&mut self, clean: bool) {
        self.push(Effect::Exit { clean });
    }
}

/// A core. `Clone` is cheap: bulk data is shared (`Bytes`, `Arc`), so that a world can be forked.
pub trait Machine: Clone {
    /// One input, with the node's clocks and hands.
    fn handle(&mut self, now: Now, input: Input, io: &mut Io<'_>);
}

/// A request that waits for its answer: the connection it came on and the number to answer with.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RequestToken {
    /// The connection it came on.
    pub connection: ConnectionId,
    /// Its correlation id.
    pub correlation_id: CorrelationId,
}
