//! Who depends on whom: operations as a graph, whose cycles Elle names (Adya's `G0` and `G1c`, with `-process` and
//! `-realtime` where the order of a process or of time is needed to close one).
//!
//! An operation is a transaction, a send outside of any, or a poll of committed records; a poll of an application that
//! copies belongs to the transaction that it ends next. *Write–write*: two records follow each other in what is visible of a
//! partition. *Write–read*: somebody reads what somebody wrote. *Process* and *real time*: one ended before the other began.
//! The edges of time run through nodes that stand for moments, so that there are no more of them than operations.
//!
//! Left out, as in Jepsen's workload for Kafka: read–write edges, because a poll says what was there and not what was
//! missing. Cycles of write–write and write–read edges together are lawful in Kafka, whose transactions do not isolate
//! their writes, and are not looked for.

mod build;
mod search;
mod words;

use super::index::{EventId, Index, TransactionIndex, ValueId};
use crate::verdict::Finding;
use petgraph::graph::{DiGraph, NodeIndex};
use std::collections::BTreeSet;

/// What one operation is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum What {
    /// A transaction with what was polled for it.
    Transaction(TransactionIndex),
    /// A send outside of any.
    Send(ValueId),
    /// A poll of committed records.
    Poll(EventId),
}

/// One operation.
#[derive(Clone, Copy, Debug)]
struct Operation {
    what: What,
    process: u32,
    began: EventId,
    /// When it ended for certain; nothing where it may still be under way.
    ended: EventId,
}

/// A node: an operation, or a moment.
#[derive(Clone, Copy, Debug)]
enum Node {
    Operation(Operation),
    Moment,
}

/// Why one comes before another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Edge {
    /// The first value stands right before the second.
    Writes(ValueId, ValueId),
    /// The value was read there.
    Reads(ValueId, EventId),
    Process,
    Time,
}

/// Which dependencies count.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Flow {
    Writes,
    Reads,
}

/// Which order may close a cycle; each includes those before it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Order {
    None,
    Process,
    Time,
}

/// Which edges count.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Allowed {
    flow: Flow,
    order: Order,
}

impl Allowed {
    fn admits(self, edge: Edge) -> bool {
        match edge {
            Edge::Writes(..) => self.flow == Flow::Writes,
            Edge::Reads(..) => self.flow == Flow::Reads,
            Edge::Process => self.order >= Order::Process,
            Edge::Time => self.order >= Order::Time,
        }
    }

    /// What Elle calls a cycle of these edges.
    fn name(self) -> &'static str {
        match (self.flow, self.order) {
            (Flow::Writes, Order::None) => "G0",
            (Flow::Writes, Order::Process) => "G0-process",
            (Flow::Writes, Order::Time) => "G0-realtime",
            (Flow::Reads, Order::None) => "G1c",
            (Flow::Reads, Order::Process) => "G1c-process",
            (Flow::Reads, Order::Time) => "G1c-realtime",
        }
    }
}

/// The graph of one history.
pub(crate) struct Dependencies {
    graph: DiGraph<Node, Edge>,
    /// How many operations there are.
    pub(crate) operations: u64,
}

impl Dependencies {
    /// Cycles of information flow: `G1c` and its kin.
    pub(crate) fn of_reads(&self, index: &Index<'_>) -> Vec<Finding> {
        self.cycles(index, Flow::Reads)
    }

    /// Cycles of writes: `G0` and its kin.
    pub(crate) fn of_writes(&self, index: &Index<'_>) -> Vec<Finding> {
        self.cycles(index, Flow::Writes)
    }

    /// One finding for each knot, by the fewest edges that tie it.
    fn cycles(&self, index: &Index<'_>, flow: Flow) -> Vec<Finding> {
        let widest = Allowed {
            flow,
            order: Order::Time,
        };
        // Hardly ever is there any: then one look is enough.
        if search::components(&self.graph, widest).is_empty() {
            return Vec::new();
        }
        let mut told: BTreeSet<NodeIndex> = BTreeSet::new();
        let mut findings = Vec::new();
        for order in [Order::None, Order::Process, Order::Time] {
            let allowed = Allowed { flow, order };
            for component in search::components(&self.graph, allowed) {
                if !told.is_disjoint(&component) {
                    continue;
                }
                let cycle = search::smallest(&self.graph, allowed, &component);
                findings.push(words::finding(index, &self.graph, allowed.name(), &cycle));
                told.extend(component);
            }
        }
        findings
    }
}
