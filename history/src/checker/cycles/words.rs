//! A cycle in words.

use super::{Edge, Node, What};
use crate::checker::index::Index;
use crate::verdict::{Finding, Moment};
use petgraph::graph::{DiGraph, EdgeIndex, NodeIndex};

fn name(index: &Index<'_>, graph: &DiGraph<Node, Edge>, node: NodeIndex) -> String {
    let Node::Operation(operation) = graph[node] else {
        return String::new();
    };
    match operation.what {
        What::Transaction(of) => index.transaction_name(of),
        What::Send(id) => format!("the send of {}", index.values.value(id)),
        What::Poll(event) => format!("a poll of {}", index.node_of(event)),
    }
}

/// One side of a cycle: from one operation to the next, whatever moments are between.
struct Side {
    from: NodeIndex,
    to: NodeIndex,
    why: Edge,
}

fn sides(graph: &DiGraph<Node, Edge>, cycle: &[EdgeIndex]) -> Vec<Side> {
    let mut sides: Vec<Side> = Vec::new();
    for edge in cycle {
        let Some((from, to)) = graph.edge_endpoints(*edge) else {
            continue;
        };
        match (graph[from], sides.last_mut()) {
            (Node::Moment, Some(side)) => side.to = to,
            (Node::Moment, None) | (Node::Operation(_), _) => sides.push(Side {
                from,
                to,
                why: graph[*edge],
            }),
        }
    }
    sides
}

fn tell(index: &Index<'_>, graph: &DiGraph<Node, Edge>, side: &Side) -> String {
    let (a, b) = (name(index, graph, side.from), name(index, graph, side.to));
    match side.why {
        Edge::Writes(first, second) => {
            let (x, y) = (index.values.value(first), index.values.value(second));
            format!("{a} wrote {x} right before {b} wrote {y}")
        }
        Edge::Reads(value, _) => {
            format!("{a} wrote {}, which {b} read", index.values.value(value))
        }
        Edge::Process => format!("{a} had ended before {b} began, in the same process"),
        Edge::Time => format!("{a} had ended before {b} began"),
    }
}

fn story(index: &Index<'_>, graph: &DiGraph<Node, Edge>, sides: &[Side]) -> Vec<Moment> {
    let mut story = Vec::new();
    for side in sides {
        let own = name(index, graph, side.from);
        let Node::Operation(operation) = graph[side.from] else {
            continue;
        };
        if !matches!(operation.what, What::Poll(_)) {
            story.push(index.moment(operation.began, format!("{own} begins")));
            if operation.ended.is_some() {
                story.push(index.moment(operation.ended, format!("{own} has ended")));
            }
        }
        match side.why {
            Edge::Reads(value, event) => {
                let reader = name(index, graph, side.to);
                let text = format!(
                    "{} polls {}: it is read by {reader}",
                    index.node_of(event),
                    index.values.value(value)
                );
                story.push(index.moment(event, text));
            }
            Edge::Writes(first, second) => {
                for id in [first, second] {
                    let sent = index.values.get(id);
                    let text = format!("{} is sent", index.values.value(id));
                    story.push(index.moment(sent.invoked, text));
                }
            }
            Edge::Process | Edge::Time => {}
        }
    }
    story
}

/// The finding of one cycle.
pub(super) fn finding(
    index: &Index<'_>,
    graph: &DiGraph<Node, Edge>,
    anomaly: &str,
    cycle: &[EdgeIndex],
) -> Finding {
    let sides = sides(graph, cycle);
    let told: Vec<String> = sides.iter().map(|side| tell(index, graph, side)).collect();
    let text = format!(
        "{} operations depend on each other in a circle: {}",
        sides.len(),
        told.join("; ")
    );
    Finding::new(
        anomaly,
        text,
        "an order in which each comes after what it depends on",
        format!("a circle of {}", sides.len()),
    )
    .told(story(index, graph, &sides))
}
