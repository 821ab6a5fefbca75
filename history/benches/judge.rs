//! Judging a generated history: one million operations (a send and its end, a poll of a hundred, an effect each), three
//! replicas that append every batch, one group, one final read. The target is ten million in ten seconds.

#![allow(
    missing_docs,
    reason = "criterion's macro makes an undocumented function"
)]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use history::History;
use history::event::{Append, Event, Phase, Replica, What};
use history::expectation::Expectations;
use history::judge::judge;
use history::manifest::{
    ClientInfo, ClientKind, CommitPolicy, FORMAT_VERSION, Manifest, Node, NodeRole, Stream, Topic,
};
use history::operation::{Action, Operation, Polled, ProcessId, Stage, Value};
use protocol::ids::{BrokerId, GroupId, LeaderEpoch, NodeId, Offset, TopicName, TopicPartition};
use protocol::verb::ResetReason;
use std::collections::BTreeMap;
use std::hint::black_box;

const PARTITIONS: i64 = 6;
const BATCH: i64 = 100;

fn manifest() -> Manifest {
    let broker = |id: i32| Node {
        name: format!("b{id}"),
        role: NodeRole::Broker(BrokerId(id)),
    };
    let client = |index: u16, name: &str, kind: ClientKind| ClientInfo {
        name: name.to_owned(),
        node: NodeId(3 + index),
        kind,
    };
    let producer = ClientKind::Producer {
        acks: "all".to_owned(),
        retries: 10,
        in_flight: 5,
        idempotence: true,
        transactional_id: None,
        transaction_timeout_ms: None,
    };
    let consumer = ClientKind::Consumer {
        group: Some(GroupId::from("g")),
        commit: CommitPolicy::After,
        read_committed: false,
        feeds: None,
        topics: Vec::new(),
        old: None,
    };
    let mut nodes = vec![broker(1), broker(2), broker(3)];
    nodes.extend((0..3).map(|client| Node {
        name: format!("c{client}"),
        role: NodeRole::Client(client),
    }));
    Manifest {
        format: "ktrial-history".to_owned(),
        version: FORMAT_VERSION,
        scenario: "bench".to_owned(),
        path: "bench.toml".to_owned(),
        variant: None,
        title: String::new(),
        question: String::new(),
        lesson: String::new(),
        seed: 1,
        era: "2.8".to_owned(),
        fixes: BTreeMap::new(),
        streams: vec![
            Stream::Operations,
            Stream::Brokers,
            Stream::Groups,
            Stream::Faults,
            Stream::FinalRead,
        ],
        nodes,
        topics: vec![Topic {
            name: TopicName::from("orders"),
            partitions: i32::try_from(PARTITIONS).unwrap_or(1),
            replication_factor: 3,
            min_insync_replicas: 2,
            unclean_leader_election: false,
        }],
        clients: vec![
            client(0, "p", producer),
            client(1, "c", consumer),
            client(2, "reader", ClientKind::FinalReader),
        ],
        faults: Vec::new(),
        expect: Expectations::default(),
        reaches: Vec::new(),
        progress_within: 60_000_000_000,
    }
}

struct Generator {
    events: Vec<Event>,
    next_id: u64,
}

impl Generator {
    fn push(&mut self, node: Option<u16>, what: What) {
        let step = u64::try_from(self.events.len()).unwrap_or(0);
        self.events.push(Event {
            at: step * 1000,
            step,
            node: node.map(NodeId),
            what,
        });
    }

    fn operation(&mut self, client: u16, id: u64, stage: Stage, action: Action) {
        let operation = Operation {
            client,
            process: ProcessId(u32::from(client) << 16),
            id,
            stage,
            action,
        };
        self.push(Some(3 + client), What::Operation(operation));
    }

    fn batch(&mut self, partition: &TopicPartition, base: i64, values: &[Value]) {
        for broker in 0..3_u16 {
            let append = Append {
                base_offset: Offset(base),
                last_offset: Offset(base + BATCH - 1),
                leader_epoch: LeaderEpoch(0),
                crc: u32::try_from(base).unwrap_or(0),
                leader: broker == 0,
                producer: None,
                control: false,
                transactional: false,
                committed: None,
                values: values.to_vec(),
            };
            self.push(
                Some(broker),
                What::Replica(partition.clone(), Replica::Appended(append)),
            );
        }
        for broker in 0..3_u16 {
            let mark = Replica::HighWatermark(Offset(base + BATCH));
            self.push(Some(broker), What::Replica(partition.clone(), mark));
        }
    }

    fn round(&mut self, partition: &TopicPartition, base: i64, first: u64) {
        let numbers = first..first + u64::try_from(BATCH).unwrap_or(0);
        let values: Vec<Value> = numbers.map(|number| Value::new(0, number)).collect();
        let send = |value, offset| Action::Send {
            topic: partition.topic.clone(),
            partition: Some(partition.partition.0),
            key: None,
            value,
            transaction: None,
            made_from: None,
            amount: None,
            offset,
            error: None,
        };
        for value in &values {
            self.operation(0, value.number(), Stage::Invoke, send(*value, None));
        }
        self.batch(partition, base, &values);
        for (offset, value) in (base..).zip(&values) {
            self.operation(
                0,
                value.number(),
                Stage::Ok,
                send(*value, Some(Offset(offset))),
            );
        }
        self.next_id += 1;
        let poll = Self::poll(partition, base, &values);
        self.operation(1, self.next_id, Stage::Ok, poll);
        for (offset, value) in (base..).zip(&values) {
            self.next_id += 1;
            let process = Action::Process {
                group: Some(GroupId::from("g")),
                partition: partition.clone(),
                offset: Offset(offset),
                value: *value,
            };
            self.operation(1, self.next_id, Stage::Ok, process);
        }
    }

    fn poll(partition: &TopicPartition, base: i64, values: &[Value]) -> Action {
        let records = (base..)
            .zip(values)
            .map(|(offset, value)| (Offset(offset), Some(*value)));
        Action::Poll {
            records: vec![Polled {
                partition: partition.clone(),
                records: records.collect(),
            }],
            error: None,
        }
    }
}

/// A history of about this many operations.
fn generate(operations: i64) -> History {
    let mut generator = Generator {
        events: Vec::new(),
        next_id: 0,
    };
    let partitions: Vec<TopicPartition> = (0..6)
        .map(|part| TopicPartition::new("orders", part))
        .collect();
    generator.push(None, What::Phase(Phase::Safety));
    for partition in &partitions {
        let leader = Replica::BecameLeader {
            leader_epoch: LeaderEpoch(0),
            isr: vec![BrokerId(1), BrokerId(2), BrokerId(3)],
            log_end_offset: Offset(0),
        };
        generator.push(Some(0), What::Replica(partition.clone(), leader));
        let position = Action::Position {
            partition: partition.clone(),
            offset: Offset(0),
            reason: ResetReason::NoCommit,
        };
        generator.operation(1, 0, Stage::Ok, position);
    }
    // A send and an effect are two operations of a record.
    let rounds = operations / 2 / BATCH;
    let mut first = 0;
    let mut found = Vec::new();
    for round in 0..rounds {
        let slot = usize::try_from(round % PARTITIONS).unwrap_or(0);
        let base = round / PARTITIONS * BATCH;
        generator.round(&partitions[slot], base, first);
        found.push((slot, base, first));
        first += u64::try_from(BATCH).unwrap_or(0);
    }
    generator.push(None, What::Phase(Phase::Heal));
    generator.push(None, What::Phase(Phase::FinalRead));
    for (slot, base, first) in found {
        let numbers = first..first + u64::try_from(BATCH).unwrap_or(0);
        let values: Vec<Value> = numbers.map(|number| Value::new(0, number)).collect();
        let poll = Generator::poll(&partitions[slot], base, &values);
        generator.operation(2, first, Stage::Ok, poll);
    }
    generator.push(None, What::Phase(Phase::End));
    History {
        manifest: manifest(),
        events: generator.events,
        hash: String::new(),
    }
}

fn judging(c: &mut Criterion) {
    let history = generate(1_000_000);
    let mut group = c.benchmark_group("judge");
    group.sample_size(10);
    group.throughput(Throughput::Elements(1_000_000));
    group.bench_function("1 M operations", |b| {
        b.iter(|| black_box(judge(black_box(&history))));
    });
    group.finish();
}

criterion_group!(benches, judging);
criterion_main!(benches);
