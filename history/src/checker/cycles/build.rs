//! The operations of a history and what ties them.

use super::{Dependencies, Edge, Node, Operation, What};
use crate::checker::index::{EventId, Fate, Index, ValueId};
use crate::event;
use crate::operation::{Action, Polled, Stage};
use petgraph::graph::{DiGraph, NodeIndex};
use std::collections::BTreeMap;

impl Dependencies {
    /// Reads a history.
    pub(crate) fn of(index: &Index<'_>) -> Self {
        let mut building = Building {
            index,
            graph: DiGraph::new(),
            nodes: BTreeMap::new(),
        };
        building.transactions();
        building.sends();
        building.polls();
        building.writes();
        building.order();
        let operations = u64::try_from(building.nodes.len()).unwrap_or(u64::MAX);
        Self {
            graph: building.graph,
            operations,
        }
    }
}

struct Building<'i, 'h> {
    index: &'i Index<'h>,
    graph: DiGraph<Node, Edge>,
    nodes: BTreeMap<What, NodeIndex>,
}

impl Building<'_, '_> {
    fn add(&mut self, operation: Operation) -> NodeIndex {
        let graph = &mut self.graph;
        let node = self.nodes.entry(operation.what);
        *node.or_insert_with(|| graph.add_node(Node::Operation(operation)))
    }

    fn transactions(&mut self) {
        let index = self.index;
        for (number, own) in index.transactions.iter() {
            let ends = [own.commit, own.abort].into_iter().flatten();
            let certain = ends.filter(|end| matches!(end.stage, Stage::Ok | Stage::Fail));
            let ended = certain.map(|end| end.returned).max();
            self.add(Operation {
                what: What::Transaction(number),
                process: own.process,
                began: own.began,
                ended: ended.unwrap_or(EventId::NONE),
            });
        }
    }

    /// What was sent outside of any transaction.
    fn sends(&mut self) {
        for (id, sent) in self.index.values.all() {
            if self.index.transactions.of_value(id).is_none() {
                let certain = matches!(sent.fate, Fate::Ok | Fate::Fail);
                self.add(Operation {
                    what: What::Send(id),
                    process: sent.process,
                    began: sent.invoked,
                    ended: if certain { sent.ended } else { EventId::NONE },
                });
            }
        }
    }

    fn writer(&self, value: ValueId) -> Option<NodeIndex> {
        let of = self.index.transactions.of_value(value);
        let what = of.map_or(What::Send(value), What::Transaction);
        self.nodes.get(&what).copied()
    }

    /// Polls of committed records: in the transaction that took them in, or alone.
    fn polls(&mut self) {
        let index = self.index;
        let mut taken = BTreeMap::new();
        for (number, own) in index.transactions.iter() {
            taken.extend(own.polls.iter().map(|event| (*event, number)));
        }
        for event in &index.polls {
            let event::What::Operation(operation) = &index.event(*event).what else {
                continue;
            };
            if !index.reads_committed(operation.client) {
                continue;
            }
            let of = taken.get(event).map(|of| What::Transaction(*of));
            match of.and_then(|of| self.nodes.get(&of)).copied() {
                Some(reader) => self.reads(reader, *event),
                None => self.read_alone(operation.process.0, *event),
            }
        }
    }

    fn read_alone(&mut self, process: u32, event: EventId) {
        let node = self.add(Operation {
            what: What::Poll(event),
            process,
            began: event,
            ended: event,
        });
        self.reads(node, event);
    }

    fn reads(&mut self, reader: NodeIndex, event: EventId) {
        let event::What::Operation(operation) = &self.index.event(event).what else {
            return;
        };
        let Action::Poll { records, .. } = &operation.action else {
            return;
        };
        for Polled { records, .. } in records {
            let values = records.iter().filter_map(|(_, value)| *value);
            for value in values.map(|value| self.index.values.id(value)) {
                if !value.is_some() {
                    continue;
                }
                if let Some(writer) = self.writer(value).filter(|writer| *writer != reader) {
                    let why = Edge::Reads(value, event);
                    self.graph.add_edge(writer, reader, why);
                }
            }
        }
    }
}

impl Building<'_, '_> {
    /// Neighbours in what is visible of each partition.
    fn writes(&mut self) {
        let Some(visible) = &self.index.transactions.visible else {
            return;
        };
        for (part, _) in self.index.workload() {
            let mut before: Option<(ValueId, NodeIndex)> = None;
            for (_, id) in visible.log(part).iter() {
                let id = ValueId(id);
                let Some(writer) = self.writer(id) else {
                    continue;
                };
                if let Some((last, other)) = before.filter(|(_, other)| *other != writer) {
                    self.graph.add_edge(other, writer, Edge::Writes(last, id));
                }
                before = Some((id, writer));
            }
        }
    }

    /// One ended before the other began: in each process, and at all.
    fn order(&mut self) {
        let mut steps: Vec<Step> = Vec::new();
        let mut processes: BTreeMap<u32, Vec<Step>> = BTreeMap::new();
        for node in self.nodes.values() {
            let Node::Operation(operation) = self.graph[*node] else {
                continue;
            };
            let mut own = vec![(operation.began, Bound::Begin, *node)];
            if operation.ended.is_some() {
                own.push((operation.ended, Bound::End, *node));
            }
            processes.entry(operation.process).or_default().extend(&own);
            steps.extend(own);
        }
        for own in processes.into_values() {
            self.chain(own, Edge::Process);
        }
        self.chain(steps, Edge::Time);
    }

    /// Moments in a row: what ended leads to the next moment at which something begins, and that to whatever begins then.
    fn chain(&mut self, mut steps: Vec<Step>, why: Edge) {
        steps.sort_unstable();
        let mut moment: Option<NodeIndex> = None;
        let mut ended: Vec<NodeIndex> = Vec::new();
        for (_, bound, node) in steps {
            match bound {
                Bound::End => ended.push(node),
                Bound::Begin => {
                    if !ended.is_empty() {
                        let next = self.graph.add_node(Node::Moment);
                        for from in ended.drain(..).chain(moment) {
                            self.graph.add_edge(from, next, why);
                        }
                        moment = Some(next);
                    }
                    if let Some(moment) = moment {
                        self.graph.add_edge(moment, node, why);
                    }
                }
            }
        }
    }
}

/// When an operation begins or ends; at one event beginnings come first, so that an operation is never before itself.
type Step = (EventId, Bound, NodeIndex);

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Bound {
    Begin,
    End,
}
