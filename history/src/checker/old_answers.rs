//! Committed offsets that a coordinator told after it had a successor.
//!
//! A coordinator answers what was committed from its memory and asks nobody whether it still is the coordinator. A broker
//! that was cut off or stood still, and a broker to whom an old order comes late, takes itself for one beside the true one,
//! and what it tells is older than what the other has taken in. Generations do not tell the two apart: the member is the
//! same in both, so that a transaction that begins there is let through (KIP-447 fences members, not coordinators).

use super::index::{EventId, Index, Transaction, ValueId};
use crate::event::{Group, Process, What};
use crate::manifest::ClientKind;
use crate::operation::{Action, Operation};
use protocol::ids::{GroupId, NodeId, TopicPartition};
use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};

/// One such answer.
#[derive(Debug)]
struct OldAnswer {
    at: EventId,
    part: u32,
    /// The producer of the application that was told.
    writer: u16,
    told: i64,
    /// What was committed by then.
    known: i64,
    /// Who held the group.
    brokers: String,
}

/// All such answers to the members of a group that copies; looked for when the first copy is there again.
#[derive(Debug)]
pub(super) struct OldAnswers {
    group: usize,
    all: OnceCell<Vec<OldAnswer>>,
}

impl OldAnswers {
    pub(super) fn to(group: usize) -> Self {
        Self {
            group,
            all: OnceCell::new(),
        }
    }

    /// Why one of these copies was made though its input was committed.
    pub(super) fn why_again(
        &self,
        index: &Index<'_>,
        (part, offset): (u32, i64),
        copies: &[ValueId],
    ) -> Option<String> {
        let made = copies
            .iter()
            .filter_map(|copy| index.transactions.of_value(*copy));
        let transactions: Vec<&Transaction> = made.map(|of| index.transactions.get(of)).collect();
        let all = self.all.get_or_init(|| found(index, self.group));
        let mut fitting = all.iter().filter(|answer| {
            answer.part == part
                && (answer.told..answer.known).contains(&offset)
                && transactions
                    .iter()
                    .any(|own| own.client == answer.writer && answer.at < own.began)
        });
        fitting.next().map(|answer| {
            format!(
                "its member was told the committed offset {} when {} was committed, while {} took themselves for the coordinator of the group",
                answer.told, answer.known, answer.brokers
            )
        })
    }
}

fn found(index: &Index<'_>, group: usize) -> Vec<OldAnswer> {
    let mut walk = Walk {
        index,
        group: &index.groups[group].id,
        holders: BTreeSet::new(),
        committed: BTreeMap::new(),
        found: Vec::new(),
    };
    for (id, event) in (0..).map(EventId).zip(&index.history.events) {
        if let What::Operation(operation) = &event.what {
            if index.group_of_client(operation.client) == Some(group) {
                walk.on_operation(id, operation);
            }
        } else if let Some(node) = event.node {
            walk.on_node(node, &event.what);
        }
    }
    walk.found
}

struct Walk<'a, 'h> {
    index: &'a Index<'h>,
    group: &'a GroupId,
    /// Brokers that take themselves for the coordinator.
    holders: BTreeSet<NodeId>,
    committed: BTreeMap<&'h TopicPartition, i64>,
    found: Vec<OldAnswer>,
}

impl<'h> Walk<'_, 'h> {
    fn on_node(&mut self, node: NodeId, what: &'h What) {
        if let What::Group(of, what) = what {
            if of == self.group {
                self.on_group(node, what);
            }
        } else if let What::Process(Process::Died { .. } | Process::Stopped) = what {
            self.holders.remove(&node);
        }
    }

    fn on_group(&mut self, node: NodeId, what: &'h Group) {
        match what {
            Group::Unloaded => {
                self.holders.remove(&node);
            }
            // Anybody may refuse.
            Group::CommitRefused { .. } => {}
            Group::OffsetCommitted {
                partition, offset, ..
            } => {
                self.holders.insert(node);
                self.committed.insert(partition, offset.0);
            }
            Group::OffsetExpired(partition) => {
                self.holders.insert(node);
                self.committed.remove(partition);
            }
            Group::State(_)
            | Group::Generation { .. }
            | Group::MemberJoined(_)
            | Group::MemberRemoved { .. }
            | Group::OffsetPending { .. }
            | Group::PendingDecided { .. }
            | Group::Loaded { .. } => {
                self.holders.insert(node);
            }
        }
    }

    fn on_operation(&mut self, at: EventId, operation: &'h Operation) {
        let Action::Position {
            partition, offset, ..
        } = &operation.action
        else {
            return;
        };
        let manifest = &self.index.history.manifest;
        let known = self.committed.get(partition).copied().unwrap_or(-1);
        let client = manifest.clients.get(usize::from(operation.client));
        if let Some(ClientKind::Consumer {
            feeds: Some(writer),
            ..
        }) = client.map(|client| &client.kind)
            && self.holders.len() > 1
            && offset.0 < known
        {
            let brokers: Vec<&str> = self
                .holders
                .iter()
                .map(|node| manifest.node_name(*node))
                .collect();
            self.found.push(OldAnswer {
                at,
                part: self.index.part(partition),
                writer: *writer,
                told: offset.0,
                known,
                brokers: brokers.join(" and "),
            });
        }
    }
}
