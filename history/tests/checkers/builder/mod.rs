//! Histories by hand: a cluster of three brokers, one topic `orders` with one partition, and whatever happens, one
//! millisecond an event.

#![allow(
    clippy::unwrap_used,
    clippy::too_many_arguments,
    reason = "test code outside of test functions"
)]

mod groups;
mod keepers;
mod replicas;
pub(crate) mod transactions;

use history::History;
use history::event::{Event, Fault, FaultStage, Phase, Process, What};
use history::expectation::Expectations;
use history::manifest::{
    ClientInfo, ClientKind, CommitPolicy, FORMAT_VERSION, Manifest, Node, NodeRole, PlannedFault,
    Stream, Topic,
};
use history::operation::{Action, Operation, Polled, ProcessId, Stage, Value};
use protocol::ids::{BrokerId, GroupId, KeeperId, NodeId, Offset, TopicName, TopicPartition};
use std::collections::BTreeMap;

/// The only partition.
pub(crate) fn orders() -> TopicPartition {
    TopicPartition::new("orders", 0)
}

/// A history in the making.
pub(crate) struct Builder {
    pub(crate) history: History,
    number: u64,
    /// Which life of clients acts, from 0 on.
    pub(crate) life: u32,
}

/// Nodes: brokers 1 to 3 are 0 to 2, keepers 1 to 3 are 3 to 5, clients follow.
const CLIENTS: u16 = 6;

impl Builder {
    pub(crate) fn new(scenario: &str) -> Self {
        let broker = |id| Node {
            name: format!("b{id}"),
            role: NodeRole::Broker(BrokerId(id)),
        };
        let keeper = |id| Node {
            name: format!("k{id}"),
            role: NodeRole::Keeper(KeeperId(id)),
        };
        let manifest = Manifest {
            format: "ktrial-history".to_owned(),
            version: FORMAT_VERSION,
            scenario: scenario.to_owned(),
            path: format!("history/testdata/{scenario}.jsonl"),
            variant: None,
            title: "by hand".to_owned(),
            question: String::new(),
            lesson: String::new(),
            seed: 0,
            era: "2.8".to_owned(),
            fixes: BTreeMap::new(),
            streams: vec![
                Stream::Operations,
                Stream::Brokers,
                Stream::Keepers,
                Stream::Groups,
                Stream::Faults,
                Stream::FinalRead,
            ],
            nodes: vec![
                broker(1),
                broker(2),
                broker(3),
                keeper(1),
                keeper(2),
                keeper(3),
            ],
            topics: vec![Topic {
                name: TopicName::from("orders"),
                partitions: 1,
                replication_factor: 3,
                min_insync_replicas: 2,
                unclean_leader_election: false,
            }],
            clients: Vec::new(),
            faults: Vec::new(),
            expect: Expectations::default(),
            reaches: Vec::new(),
            progress_within: 10_000_000,
        };
        let history = History {
            manifest,
            events: Vec::new(),
            hash: String::new(),
        };
        Self {
            history,
            number: 0,
            life: 0,
        }
    }

    fn client(&mut self, name: &str, kind: ClientKind) -> u16 {
        let clients = &mut self.history.manifest.clients;
        let index = u16::try_from(clients.len()).unwrap();
        clients.push(ClientInfo {
            name: name.to_owned(),
            node: NodeId(CLIENTS + index),
            kind,
        });
        let node = Node {
            name: name.to_owned(),
            role: NodeRole::Client(index),
        };
        self.history.manifest.nodes.push(node);
        index
    }

    /// A producer that retries, with one request in flight or five.
    pub(crate) fn producer(&mut self, acks: &str, in_flight: u32, idempotence: bool) -> u16 {
        let retries = if acks == "0" { 0 } else { 10 };
        let kind = ClientKind::Producer {
            acks: acks.to_owned(),
            retries,
            in_flight,
            idempotence,
            transactional_id: None,
            transaction_timeout_ms: None,
        };
        let name = format!("p{}", self.history.manifest.clients.len());
        self.client(&name, kind)
    }

    /// A member of group `g`.
    pub(crate) fn consumer(&mut self, commit: CommitPolicy) -> u16 {
        let kind = ClientKind::Consumer {
            group: Some(GroupId::from("g")),
            commit,
            read_committed: false,
            feeds: None,
            topics: Vec::new(),
            old: None,
        };
        let name = format!("c{}", self.history.manifest.clients.len());
        self.client(&name, kind)
    }

    pub(crate) fn at(&mut self, node: Option<u16>, what: What) {
        let step = u64::try_from(self.history.events.len()).unwrap();
        let event = Event {
            at: step * 1_000_000,
            step,
            node: node.map(NodeId),
            what,
        };
        self.history.events.push(event);
    }

    pub(crate) fn operation(&mut self, client: u16, stage: Stage, action: Action) {
        self.number += 1;
        let operation = Operation {
            client,
            process: ProcessId((u32::from(client) << 16) | self.life),
            id: self.number,
            stage,
            action,
        };
        self.at(Some(CLIENTS + client), What::Operation(operation));
    }

    pub(crate) fn value(client: u16, number: u64) -> Value {
        Value::new(client, number)
    }

    fn send_action(value: Value, offset: Option<i64>, error: Option<&str>) -> Action {
        Action::Send {
            topic: TopicName::from("orders"),
            partition: Some(0),
            key: None,
            value,
            transaction: None,
            made_from: None,
            amount: None,
            offset: offset.map(Offset),
            error: error.map(str::to_owned),
        }
    }

    /// The last event happened in the step of the one before it.
    pub(crate) fn in_one_step(&mut self) {
        let [.., before, last] = self.history.events.as_mut_slice() else {
            panic!("two events make one step");
        };
        (last.at, last.step) = (before.at, before.step);
    }

    pub(crate) fn send(&mut self, client: u16, number: u64) {
        let action = Self::send_action(Self::value(client, number), None, None);
        self.operation(client, Stage::Invoke, action);
    }

    pub(crate) fn acked(&mut self, client: u16, number: u64, offset: i64) {
        let action = Self::send_action(Self::value(client, number), Some(offset), None);
        self.operation(client, Stage::Ok, action);
    }

    pub(crate) fn ended(&mut self, client: u16, number: u64, stage: Stage) {
        let error = (stage != Stage::Ok).then_some("TimeoutException");
        let action = Self::send_action(Self::value(client, number), None, error);
        self.operation(client, stage, action);
    }

    /// Sent, appended by all three, committed, acknowledged.
    pub(crate) fn written(&mut self, client: u16, number: u64, offset: i64) {
        self.send(client, number);
        self.append(&[1, 2, 3], offset, 0, Self::value(client, number));
        self.high_watermark(&[1, 2, 3], offset + 1);
        self.acked(client, number, offset);
    }

    /// A client's process starts.
    pub(crate) fn client_starts(&mut self, client: u16) {
        let node = self.history.manifest.clients[usize::from(client)].node;
        let started = Process::Started { life: 1 };
        self.at(Some(node.0), What::Process(started));
    }

    /// A client's process is killed.
    pub(crate) fn client_dies(&mut self, client: u16) {
        let node = self.history.manifest.clients[usize::from(client)].node;
        let died = Process::Died {
            how: "process".to_owned(),
            bytes_lost: 0,
        };
        self.at(Some(node.0), What::Process(died));
    }

    fn records(records: &[(i64, Value)]) -> Vec<Polled> {
        let records = records
            .iter()
            .map(|(offset, value)| (Offset(*offset), Some(*value)));
        vec![Polled {
            partition: orders(),
            records: records.collect(),
        }]
    }

    pub(crate) fn polled(&mut self, client: u16, records: &[(i64, Value)]) {
        let records = Self::records(records);
        self.operation(
            client,
            Stage::Ok,
            Action::Poll {
                records,
                error: None,
            },
        );
    }

    pub(crate) fn phase(&mut self, phase: Phase) {
        self.at(None, What::Phase(phase));
    }

    pub(crate) fn planned(&mut self, kind: &str, permanent: bool) {
        self.history.manifest.faults.push(PlannedFault {
            kind: kind.to_owned(),
            what: String::new(),
            description: format!("{kind} of broker 1"),
            permanent,
            random: false,
        });
    }

    pub(crate) fn fault(&mut self, index: u32, stage: FaultStage) {
        self.fault_at(index, "broker 1", stage);
    }

    /// A fault that hits whom it names.
    pub(crate) fn fault_at(&mut self, index: u32, target: &str, stage: FaultStage) {
        let fault = Fault {
            index,
            kind: "kill".to_owned(),
            target: target.to_owned(),
            stage,
        };
        self.at(None, What::Fault(fault));
    }

    /// Heals, and reads everything.
    pub(crate) fn finish(mut self, found: &[(i64, Value)]) -> History {
        let reader = self.client("reader", ClientKind::FinalReader);
        self.phase(Phase::Heal);
        self.phase(Phase::FinalRead);
        self.polled(reader, found);
        self.phase(Phase::End);
        self.history
    }
}
