//! Which polls belong to which transaction: an application that copies polls, writes and ends a transaction in a row.

use super::Transaction;
use crate::checker::index::{EventId, Index};
use crate::event::What;
use crate::manifest::ClientKind;
use crate::operation::{Action, Stage, TransactionCall};
use std::collections::{BTreeMap, BTreeSet};

/// Gives each transaction the polls since the end of the one before was asked for. What a life left behind belongs to none.
pub(super) fn take_in(index: &Index<'_>, all: &mut [Transaction]) {
    let feeding = feeding(index);
    if feeding.is_empty() || all.is_empty() {
        return;
    }
    let consumers: BTreeSet<u16> = feeding.values().flatten().copied().collect();
    let named: BTreeMap<(u32, u32), usize> = all
        .iter()
        .enumerate()
        .map(|(place, own)| ((own.process, own.number), place))
        .collect();
    let mut events: Vec<EventId> = index.polls.clone();
    events.extend(&index.transaction_events);
    events.sort_unstable();
    let mut waiting: BTreeMap<u16, Vec<(u32, EventId)>> = BTreeMap::new();
    for event in events {
        let What::Operation(operation) = &index.event(event).what else {
            continue;
        };
        match &operation.action {
            Action::Poll { .. } if consumers.contains(&operation.client) => {
                let own = waiting.entry(operation.client).or_default();
                own.retain(|(process, _)| *process == operation.process.0);
                own.push((operation.process.0, event));
            }
            Action::Transaction {
                call: TransactionCall::Commit | TransactionCall::Abort,
                transaction: Some(number),
                ..
            } if operation.stage == Stage::Invoke => {
                let place = named.get(&(operation.process.0, number.0));
                let from = feeding.get(&operation.client);
                for client in from.into_iter().flatten().filter(|_| place.is_some()) {
                    let taken = waiting.remove(client).unwrap_or_default();
                    let taken = taken.into_iter().map(|(_, event)| event);
                    if let Some(place) = place {
                        all[*place].polls.extend(taken);
                    }
                }
            }
            Action::Send { .. }
            | Action::Poll { .. }
            | Action::Commit { .. }
            | Action::Assigned { .. }
            | Action::Revoked { .. }
            | Action::Lost { .. }
            | Action::Position { .. }
            | Action::Process { .. }
            | Action::Transaction { .. }
            | Action::Admin { .. } => {}
        }
    }
}

/// By producer client: the consumers that feed it.
fn feeding(index: &Index<'_>) -> BTreeMap<u16, Vec<u16>> {
    let mut feeding: BTreeMap<u16, Vec<u16>> = BTreeMap::new();
    for (number, client) in (0..).zip(&index.history.manifest.clients) {
        if let ClientKind::Consumer {
            feeds: Some(producer),
            ..
        } = client.kind
        {
            feeding.entry(producer).or_default().push(number);
        }
    }
    feeding
}
