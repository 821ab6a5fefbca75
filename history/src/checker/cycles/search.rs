//! Knots in a graph, and the smallest cycle of one.
//!
//! Knots are found by Kosaraju's algorithm, whose two walks keep their own stack: a graph of a long run is a chain deeper
//! than any call stack.

use super::{Allowed, Edge, Node};
use petgraph::algo::kosaraju_scc;
use petgraph::graph::{DiGraph, EdgeIndex, NodeIndex};
use petgraph::visit::{EdgeFiltered, EdgeRef};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// From how many operations of a knot a smallest cycle is searched for.
const STARTS: usize = 64;

/// Nodes that can all reach each other.
pub(super) type Component = BTreeSet<NodeIndex>;

/// The knots of more than one node, in the order of their first operation.
pub(super) fn components(graph: &DiGraph<Node, Edge>, allowed: Allowed) -> Vec<Component> {
    let some = EdgeFiltered::from_fn(graph, |edge| allowed.admits(*edge.weight()));
    let knots = kosaraju_scc(&some).into_iter();
    let mut found: Vec<Component> = knots
        .filter(|nodes| nodes.len() > 1)
        .map(|nodes| nodes.into_iter().collect())
        .collect();
    found.sort_by_key(|component| component.first().copied());
    found
}

/// The cycle with the fewest operations, as its edges in order; from the first operations of a very large knot.
pub(super) fn smallest(
    graph: &DiGraph<Node, Edge>,
    allowed: Allowed,
    component: &Component,
) -> Vec<EdgeIndex> {
    let operations = component
        .iter()
        .filter(|node| matches!(graph[**node], Node::Operation(_)));
    let cycles = operations
        .take(STARTS)
        .map(|start| around(graph, allowed, component, *start));
    let weight = |cycle: &Vec<EdgeIndex>| {
        let ends = cycle.iter().filter_map(|edge| graph.edge_endpoints(*edge));
        ends.filter(|(from, _)| matches!(graph[*from], Node::Operation(_)))
            .count()
    };
    cycles
        .filter(|cycle| !cycle.is_empty())
        .min_by_key(weight)
        .unwrap_or_default()
}

/// The shortest way from a node back to itself; a step away from a moment costs nothing.
fn around(
    graph: &DiGraph<Node, Edge>,
    allowed: Allowed,
    component: &Component,
    start: NodeIndex,
) -> Vec<EdgeIndex> {
    let mut came: BTreeMap<NodeIndex, EdgeIndex> = BTreeMap::new();
    let mut cost: BTreeMap<NodeIndex, usize> = BTreeMap::new();
    let mut next = VecDeque::from([(start, 0)]);
    while let Some((node, so_far)) = next.pop_front() {
        if node == start && so_far > 0 {
            return walked(graph, &came, start);
        }
        let step = usize::from(matches!(graph[node], Node::Operation(_)));
        let edges = graph
            .edges(node)
            .filter(|edge| allowed.admits(*edge.weight()));
        for edge in edges.filter(|edge| component.contains(&edge.target())) {
            let (target, total) = (edge.target(), so_far + step);
            if cost.get(&target).is_some_and(|known| *known <= total) {
                continue;
            }
            cost.insert(target, total);
            came.insert(target, edge.id());
            if step == 0 {
                next.push_front((target, total));
            } else {
                next.push_back((target, total));
            }
        }
    }
    Vec::new()
}

fn walked(
    graph: &DiGraph<Node, Edge>,
    came: &BTreeMap<NodeIndex, EdgeIndex>,
    start: NodeIndex,
) -> Vec<EdgeIndex> {
    let mut back = Vec::new();
    let mut node = start;
    while let Some(edge) = came.get(&node) {
        back.push(*edge);
        match graph.edge_endpoints(*edge) {
            Some((from, _)) if from != start => node = from,
            Some(_) | None => break,
        }
    }
    back.reverse();
    back
}
