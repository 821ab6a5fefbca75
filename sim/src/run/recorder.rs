//! Writes down what happens: notes become events, in the order of the world.
//!
//! The invariants are judged over exactly these events, step by step, when the run is judged; nothing is judged twice.

use history::event::{Event, Fault, FaultStage, Phase, Process, What};
use history::record::what_of;
use protocol::ids::NodeId;
use protocol::note::Note;

/// The events of a run so far.
#[derive(Clone, Debug, Default)]
pub struct Recorder {
    events: Vec<Event>,
    at: u64,
    step: u64,
}

impl Recorder {
    /// What follows happens now.
    pub fn moment(&mut self, at: u64, step: u64) {
        self.at = at;
        self.step = step;
    }

    /// A note of a node.
    pub fn note(&mut self, node: NodeId, note: &Note) {
        self.push(Some(node), what_of(note));
    }

    /// A node's process.
    pub fn process(&mut self, node: NodeId, process: Process) {
        self.push(Some(node), What::Process(process));
    }

    /// A fault.
    pub fn fault(&mut self, index: usize, kind: &str, target: String, stage: FaultStage) {
        let index = u32::try_from(index).unwrap_or(u32::MAX);
        self.push(
            None,
            What::Fault(Fault {
                index,
                kind: kind.to_owned(),
                target,
                stage,
            }),
        );
    }

    /// A mark is reached.
    pub fn mark(&mut self, name: String) {
        self.push(None, What::Mark(name));
    }

    /// A phase begins.
    pub fn phase(&mut self, phase: Phase) {
        self.push(None, What::Phase(phase));
    }

    fn push(&mut self, node: Option<NodeId>, what: What) {
        self.events.push(Event {
            at: self.at,
            step: self.step,
            node,
            what,
        });
    }

    /// An operation of the run itself (the operator, the final reader).
    pub fn operation(&mut self, node: NodeId, operation: protocol::operation::Operation) {
        self.push(Some(node), What::Operation(operation));
    }

    /// How many events there are.
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// Whether nothing happened yet.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// The events from this one on.
    pub fn since(&self, first: usize) -> &[Event] {
        &self.events[first..]
    }

    /// All events.
    pub fn into_events(self) -> Vec<Event> {
        self.events
    }
}
