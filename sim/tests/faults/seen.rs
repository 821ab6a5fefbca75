//! A finished run, looked at from outside: what nodes said and clients were told, never what the simulator says of a fault.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a question concerns one kind of event; the rest passes by"
)]

use history::History;
use history::event::{Append, Event, FaultStage, Phase, Process, Replica, What};
use history::operation::{Action, Stage, Value};
use std::collections::BTreeMap;
use std::ops::Range;

const SECOND: u64 = 1_000_000_000;

/// A run's history; times are seconds since the workload began.
pub(crate) struct Seen {
    history: History,
    begin: u64,
}

/// The whole time of workload and faults.
pub(crate) const ALWAYS: Range<u64> = 0..24;

impl Seen {
    pub(crate) fn new(history: History) -> Self {
        let begins = |event: &&Event| event.what == What::Phase(Phase::Safety);
        let begin = history.events.iter().find(begins).unwrap().at;
        Self { history, begin }
    }

    /// The simulator's own witness of the fault of this name.
    pub(crate) fn is_witnessed(&self, fault: usize) -> bool {
        self.history.events.iter().any(|event| {
            matches!(&event.what, What::Fault(said)
                if usize::try_from(said.index).unwrap() == fault
                    && matches!(said.stage, FaultStage::Effective(_)))
        })
    }

    /// Whether the manifest says of this fault that it may miss, and that it stays.
    pub(crate) fn planned(&self, fault: usize) -> (bool, bool) {
        let fault = &self.history.manifest.faults[fault];
        (fault.random, fault.permanent)
    }

    fn within(&self, seconds: &Range<u64>) -> impl Iterator<Item = &Event> {
        let (from, to) = (
            self.begin + seconds.start * SECOND,
            self.begin + seconds.end * SECOND,
        );
        let events = self.history.events.iter();
        events.filter(move |event| (from..to).contains(&event.at))
    }

    /// What a node said in a time (`b1`, `z2`, `p1`); faults, marks and phases are nobody's.
    pub(crate) fn said(&self, node: &str, seconds: Range<u64>) -> impl Iterator<Item = &What> {
        let nodes = self.history.manifest.nodes.iter();
        let position = nodes.clone().position(|at| at.name == node).unwrap();
        self.within(&seconds)
            .filter(move |event| event.node.map(|id| usize::from(id.0)) == Some(position))
            .map(|event| &event.what)
            .collect::<Vec<_>>()
            .into_iter()
    }

    /// Whether anybody said such a thing.
    pub(crate) fn somebody(&self, seconds: Range<u64>, said: impl Fn(&What) -> bool) -> bool {
        self.within(&seconds).any(|event| said(&event.what))
    }

    /// Whether a node said such a thing.
    pub(crate) fn one(
        &self,
        node: &str,
        seconds: Range<u64>,
        said: impl Fn(&What) -> bool,
    ) -> bool {
        self.said(node, seconds).any(said)
    }

    /// How many records the producer was told to send.
    pub(crate) fn sent(&self, seconds: Range<u64>) -> usize {
        self.sends(seconds, Stage::Invoke)
    }

    /// How many were acknowledged.
    pub(crate) fn acknowledged(&self, seconds: Range<u64>) -> usize {
        self.sends(seconds, Stage::Ok)
    }

    fn sends(&self, seconds: Range<u64>, stage: Stage) -> usize {
        let events = self.within(&seconds);
        let sends = events.filter(|event| {
            matches!(&event.what, What::Operation(operation)
                if operation.stage == stage && matches!(operation.action, Action::Send { .. }))
        });
        sends.count()
    }

    /// The longest that an acknowledged record of this time had to wait, in milliseconds.
    pub(crate) fn slowest(&self, seconds: Range<u64>) -> u64 {
        let mut begun = BTreeMap::new();
        for event in self.within(&seconds) {
            if let What::Operation(operation) = &event.what
                && operation.stage == Stage::Invoke
                && matches!(operation.action, Action::Send { .. })
            {
                begun.insert(operation.id, event.at);
            }
        }
        let ends = self
            .history
            .events
            .iter()
            .filter_map(|event| match &event.what {
                What::Operation(operation)
                    if operation.stage == Stage::Ok
                        && matches!(operation.action, Action::Send { .. }) =>
                {
                    Some(event.at - begun.get(&operation.id)?)
                }
                _ => None,
            });
        ends.max().unwrap_or(0) / 1_000_000
    }

    /// What a broker appended to the workload's log, in its order.
    pub(crate) fn appended(&self, node: &str, seconds: Range<u64>) -> Vec<&Append> {
        let nodes = self.history.manifest.nodes.iter();
        let position = nodes.clone().position(|at| at.name == node).unwrap();
        let events = self.within(&seconds);
        let here = events.filter(|event| event.node.map(|id| usize::from(id.0)) == Some(position));
        let appends = here.filter_map(|event| match &event.what {
            What::Replica(partition, Replica::Appended(append))
                if partition.topic.as_str() == "orders" =>
            {
                Some(append)
            }
            _ => None,
        });
        appends.collect()
    }

    /// The values in those, one after the other.
    pub(crate) fn values(&self, node: &str) -> Vec<Value> {
        let appends = self.appended(node, ALWAYS);
        appends
            .iter()
            .flat_map(|append| append.values.clone())
            .collect()
    }

    /// What a broker found of the workload's log when it started again.
    pub(crate) fn found(&self, node: &str) -> Option<i64> {
        self.said(node, 0..1000).find_map(|what| match what {
            What::Replica(partition, Replica::Loaded { log_end_offset, .. })
                if partition.topic.as_str() == "orders" =>
            {
                Some(log_end_offset.0)
            }
            _ => None,
        })
    }

    /// How the process of a node died during the faults, and with how many unflushed bytes.
    pub(crate) fn died(&self, node: &str) -> Option<(String, u64)> {
        self.said(node, ALWAYS).find_map(|what| match what {
            What::Process(Process::Died { how, bytes_lost }) => Some((how.clone(), *bytes_lost)),
            _ => None,
        })
    }

    pub(crate) fn started(&self, node: &str, seconds: Range<u64>) -> bool {
        self.one(node, seconds, |what| {
            matches!(what, What::Process(Process::Started { .. }))
        })
    }
}
