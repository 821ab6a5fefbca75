//! Histories by hand: a cluster of three brokers, one topic `orders` with one partition, and whatever happens, one
//! millisecond an event.

#![allow(
    clippy::unwrap_used,
    clippy::too_many_arguments,
    reason = "test code outside of test functions"
)]

pub(crate) mod transactions;

use history::History;
use history::event::{
    Append, Client, Controller, ElectionKind, Event, Fault, FaultStage, Group, Keeper,
    LeaderElection, Phase, Process, Replica, What,
};
use history::expectation::Expectations;
use history::manifest::{
    ClientInfo, ClientKind, CommitPolicy, FORMAT_VERSION, Manifest, Node, NodeRole, PlannedFault,
    Stream, Topic,
};
use history::operation::{Action, Operation, Polled, ProcessId, Stage, Value};
use protocol::config::OffsetStorage;
use protocol::ids::{
    BrokerId, ControllerEpoch, GenerationId, GroupId, KeeperId, LeaderEpoch, MemberId, NodeId,
    Offset, PartitionEpoch, ProducerEpoch, ProducerId, Sequence, SessionId, TopicName,
    TopicPartition, Zxid,
};
use protocol::verb::ResetReason;
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

    /// A member of group `g` that subscribes to the topic, and whether its process ever starts.
    pub(crate) fn subscriber(&mut self, starts: bool) -> u16 {
        let kind = ClientKind::Consumer {
            group: Some(GroupId::from("g")),
            commit: CommitPolicy::After,
            read_committed: false,
            feeds: None,
            topics: vec![orders().topic],
            old: None,
        };
        let client = self.client("subscriber", kind);
        if starts {
            let started = Process::Started { life: 1 };
            self.at(Some(CLIENTS + client), What::Process(started));
        }
        client
    }

    /// A ZooKeeper consumer of group `g`, in a keeper session of its own.
    pub(crate) fn old_consumer(&mut self, commit: CommitPolicy) -> u16 {
        self.old_consumer_with(commit, OffsetStorage::Zookeeper)
    }

    /// The same, with its offsets there.
    pub(crate) fn old_consumer_with(
        &mut self,
        commit: CommitPolicy,
        offsets: OffsetStorage,
    ) -> u16 {
        let kind = ClientKind::Consumer {
            group: Some(GroupId::from("g")),
            commit,
            read_committed: false,
            feeds: None,
            topics: Vec::new(),
            old: Some(offsets),
        };
        let name = format!("c{}", self.history.manifest.clients.len());
        let client = self.client(&name, kind);
        let session = Client::KeeperSession(SessionId(i64::from(client)));
        self.at(Some(CLIENTS + client), What::Client(session));
        client
    }

    /// The keepers end its session.
    pub(crate) fn session_expires(&mut self, client: u16) {
        let session = SessionId(i64::from(client));
        self.at(Some(0), What::Keeper(Keeper::SessionExpired(session)));
    }

    /// It begins to find out what is its own.
    pub(crate) fn rebalances(&mut self, client: u16) {
        let group = GroupId::from("g");
        let attempt = 1;
        let note = Client::Rebalancing { group, attempt };
        self.at(Some(CLIENTS + client), What::Client(note));
    }

    /// It owns the partition now.
    pub(crate) fn owns(&mut self, client: u16) {
        let action = Action::Assigned {
            group: Some(GroupId::from("g")),
            generation: None,
            partitions: vec![orders()],
        };
        self.operation(client, Stage::Ok, action);
    }

    /// A commit to ZooKeeper begins or ends, as the operation of this number.
    pub(crate) fn writes(&mut self, client: u16, stage: Stage, (id, offset): (u64, i64)) {
        let operation = Operation {
            client,
            process: ProcessId(u32::from(client) << 16),
            id,
            stage,
            action: Action::Commit {
                group: GroupId::from("g"),
                offsets: vec![(orders(), Offset(offset))],
                auto: true,
                error: None,
            },
        };
        self.at(Some(CLIENTS + client), What::Operation(operation));
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

    pub(crate) fn broker(&mut self, broker: u16, replica: Replica) {
        self.at(Some(broker - 1), What::Replica(orders(), replica));
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

    /// The controller on broker 1 elects a leader, which says so; everybody alive follows.
    pub(crate) fn elect(
        &mut self,
        leader: u16,
        epoch: i32,
        kind: ElectionKind,
        isr: &[i32],
        end: i64,
    ) {
        let isr: Vec<BrokerId> = isr.iter().copied().map(BrokerId).collect();
        let election = LeaderElection {
            partition: orders(),
            leader: Some(BrokerId(i32::from(leader))),
            leader_epoch: LeaderEpoch(epoch),
            isr: isr.clone(),
            kind,
            controller_epoch: ControllerEpoch(1),
        };
        self.at(
            Some(0),
            What::Controller(Controller::LeaderElected(election)),
        );
        let isr: Vec<i32> = isr.iter().map(|id| id.0).collect();
        self.lead(leader, epoch, &isr, end);
    }

    /// A broker says that it leads.
    pub(crate) fn lead(&mut self, leader: u16, epoch: i32, isr: &[i32], end: i64) {
        let became = Replica::BecameLeader {
            leader_epoch: LeaderEpoch(epoch),
            isr: isr.iter().copied().map(BrokerId).collect(),
            log_end_offset: Offset(end),
        };
        self.broker(leader, became);
    }

    /// The leader asks for these in-sync replicas, and the controller writes them.
    pub(crate) fn let_in(&mut self, leader: u16, epoch: i32, isr: &[i32], waits_for: &[i32]) {
        let ids = |list: &[i32]| list.iter().copied().map(BrokerId).collect::<Vec<_>>();
        let proposed = Replica::IsrProposed {
            isr: ids(isr),
            waits_for: ids(waits_for),
        };
        self.broker(leader, proposed);
        let written = Controller::IsrWritten {
            partition: orders(),
            isr: ids(isr),
            leader_epoch: LeaderEpoch(epoch),
            partition_epoch: PartitionEpoch(1),
        };
        self.at(Some(0), What::Controller(written));
    }

    /// Nobody can lead.
    pub(crate) fn offline(&mut self, epoch: i32) {
        let election = LeaderElection {
            partition: orders(),
            leader: None,
            leader_epoch: LeaderEpoch(epoch),
            isr: vec![BrokerId(1)],
            kind: ElectionKind::Clean,
            controller_epoch: ControllerEpoch(1),
        };
        self.at(
            Some(0),
            What::Controller(Controller::LeaderElected(election)),
        );
    }

    /// The first leader is broker 1 with all in sync.
    pub(crate) fn born(&mut self) {
        self.elect(1, 0, ElectionKind::New, &[1, 2, 3], 0);
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

    /// Replicas append one record each; the first named is the leader.
    pub(crate) fn append(&mut self, brokers: &[u16], offset: i64, epoch: i32, value: Value) {
        for broker in brokers {
            let append = Append {
                base_offset: Offset(offset),
                last_offset: Offset(offset),
                leader_epoch: LeaderEpoch(epoch),
                crc: u32::try_from(value.0 & 0xffff).unwrap() ^ (u32::from(value.writer()) << 20),
                leader: Some(broker) == brokers.first(),
                producer: None,
                control: false,
                transactional: false,
                committed: None,
                values: vec![value],
            };
            self.broker(*broker, Replica::Appended(append));
        }
    }

    /// The same by an idempotent producer, under this epoch and first sequence.
    pub(crate) fn append_numbered(
        &mut self,
        brokers: &[u16],
        offset: i64,
        (epoch, sequence): (i16, i32),
        value: Value,
    ) {
        let begin = self.history.events.len();
        self.append(brokers, offset, 0, value);
        for event in &mut self.history.events[begin..] {
            if let What::Replica(_, Replica::Appended(append)) = &mut event.what {
                append.producer =
                    Some((ProducerId(1000), ProducerEpoch(epoch), Sequence(sequence)));
            }
        }
    }

    /// The broker starts again with everything it had.
    pub(crate) fn loaded(&mut self, broker: u16, end: i64) {
        let loaded = Replica::Loaded {
            log_start_offset: Offset(0),
            log_end_offset: Offset(end),
            high_watermark: Offset(end),
            clean: false,
        };
        self.broker(broker, loaded);
    }

    pub(crate) fn high_watermark(&mut self, brokers: &[u16], mark: i64) {
        for broker in brokers {
            self.broker(*broker, Replica::HighWatermark(Offset(mark)));
        }
    }

    /// Sent, appended by all three, committed, acknowledged.
    pub(crate) fn written(&mut self, client: u16, number: u64, offset: i64) {
        self.send(client, number);
        self.append(&[1, 2, 3], offset, 0, Self::value(client, number));
        self.high_watermark(&[1, 2, 3], offset + 1);
        self.acked(client, number, offset);
    }

    pub(crate) fn truncate(&mut self, broker: u16, to: i64, from: i64, rule: &str) {
        let truncated = Replica::Truncated {
            to: Offset(to),
            from: Offset(from),
            rule: rule.to_owned(),
        };
        self.broker(broker, truncated);
    }

    /// The broker loses power and comes back with a log that ends at `end`.
    pub(crate) fn power_loss(&mut self, broker: u16, end: i64) {
        let died = Process::Died {
            how: "power".to_owned(),
            bytes_lost: 100,
        };
        self.at(Some(broker - 1), What::Process(died));
        self.at(
            Some(broker - 1),
            What::Process(Process::Started { life: 1 }),
        );
        let loaded = Replica::Loaded {
            log_start_offset: Offset(0),
            log_end_offset: Offset(end),
            high_watermark: Offset(end),
            clean: false,
        };
        self.broker(broker, loaded);
    }

    pub(crate) fn kill(&mut self, broker: u16) {
        let died = Process::Died {
            how: "process".to_owned(),
            bytes_lost: 0,
        };
        self.at(Some(broker - 1), What::Process(died));
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

    pub(crate) fn processed(&mut self, client: u16, offset: i64, value: Value) {
        let group = Some(GroupId::from("g"));
        let action = Action::Process {
            group,
            partition: orders(),
            offset: Offset(offset),
            value,
        };
        self.operation(client, Stage::Ok, action);
    }

    /// A member joined a generation and was given the partition.
    pub(crate) fn assigned(&mut self, client: u16, generation: i32) {
        let joined = Client::Joined {
            group: GroupId::from("g"),
            generation: GenerationId(generation),
            member: MemberId::from(format!("m{client}")),
        };
        self.at(Some(CLIENTS + client), What::Client(joined));
        let group = Some(GroupId::from("g"));
        let action = Action::Assigned {
            group,
            generation: None,
            partitions: vec![orders()],
        };
        self.operation(client, Stage::Ok, action);
    }

    /// The member joins a generation that adds nothing to what it has.
    pub(crate) fn kept(&mut self, client: u16, generation: i32) {
        let joined = Client::Joined {
            group: GroupId::from("g"),
            generation: GenerationId(generation),
            member: MemberId::from(format!("m{client}")),
        };
        self.at(Some(CLIENTS + client), What::Client(joined));
        let action = Action::Assigned {
            group: Some(GroupId::from("g")),
            generation: None,
            partitions: Vec::new(),
        };
        self.operation(client, Stage::Ok, action);
    }

    pub(crate) fn revoked(&mut self, client: u16) {
        let group = Some(GroupId::from("g"));
        let action = Action::Revoked {
            group,
            partitions: vec![orders()],
        };
        self.operation(client, Stage::Ok, action);
    }

    pub(crate) fn position(&mut self, client: u16, offset: i64, reason: ResetReason) {
        let action = Action::Position {
            partition: orders(),
            offset: Offset(offset),
            reason,
        };
        self.operation(client, Stage::Ok, action);
    }

    pub(crate) fn group(&mut self, group: Group) {
        self.at(Some(0), What::Group(GroupId::from("g"), group));
    }

    pub(crate) fn generation(&mut self, generation: i32) {
        let members = vec![MemberId::from("m")];
        self.group(Group::Generation {
            generation: GenerationId(generation),
            members,
        });
    }

    /// The coordinator stores a commit of a client that is no member by its word.
    pub(crate) fn stored_without_a_member(&mut self, offset: i64) {
        self.group(Group::OffsetCommitted {
            partition: orders(),
            offset: Offset(offset),
            member: MemberId::from(""),
            generation: GenerationId(-1),
        });
    }

    /// The partition of `__consumer_offsets` that holds the group: its leader, broker 1, appends one record.
    pub(crate) fn stored_in_log(&mut self) {
        let home = TopicPartition::new("__consumer_offsets", 0);
        let append = Append {
            base_offset: Offset(0),
            last_offset: Offset(0),
            leader_epoch: LeaderEpoch(0),
            crc: 0,
            leader: true,
            producer: None,
            control: false,
            transactional: false,
            committed: None,
            values: Vec::new(),
        };
        let led = Replica::BecameLeader {
            leader_epoch: LeaderEpoch(0),
            isr: vec![BrokerId(1)],
            log_end_offset: Offset(0),
        };
        for replica in [led, Replica::Appended(append)] {
            self.at(Some(0), What::Replica(home.clone(), replica));
        }
    }

    /// The controller finds no leader for that partition any more.
    pub(crate) fn stored_is_offline(&mut self) {
        let election = LeaderElection {
            partition: TopicPartition::new("__consumer_offsets", 0),
            leader: None,
            leader_epoch: LeaderEpoch(1),
            isr: vec![BrokerId(1)],
            kind: ElectionKind::Clean,
            controller_epoch: ControllerEpoch(1),
        };
        let elected = Controller::LeaderElected(election);
        self.at(Some(0), What::Controller(elected));
    }

    /// A member commits, the coordinator stores it, the member is told.
    pub(crate) fn committed(&mut self, client: u16, generation: i32, offset: i64) {
        self.group(Group::OffsetCommitted {
            partition: orders(),
            offset: Offset(offset),
            member: MemberId::from(format!("m{client}")),
            generation: GenerationId(generation),
        });
        let offsets = vec![(orders(), Offset(offset))];
        let action = Action::Commit {
            group: GroupId::from("g"),
            offsets,
            auto: false,
            error: None,
        };
        self.operation(client, Stage::Ok, action);
    }

    /// A member asks for a commit, or learns what became of it; the coordinator says nothing.
    pub(crate) fn commit_asked(&mut self, client: u16, offset: i64, stage: Stage) {
        let action = Action::Commit {
            group: GroupId::from("g"),
            offsets: vec![(orders(), Offset(offset))],
            auto: false,
            error: None,
        };
        self.operation(client, stage, action);
    }

    /// A coordinator reads the group from its log.
    pub(crate) fn group_loaded(&mut self, generation: i32) {
        self.group(Group::Loaded {
            generation: GenerationId(generation),
            offsets: 1,
        });
    }

    pub(crate) fn keeper(&mut self, keeper: u16, zxid: i64, digest: u32) {
        self.at(
            Some(2 + keeper),
            What::Keeper(Keeper::Applied {
                zxid: Zxid(zxid),
                digest,
                state: None,
            }),
        );
    }

    /// The same transaction everywhere, and what the tree is after it.
    pub(crate) fn keeper_state(&mut self, keeper: u16, zxid: i64, state: u32) {
        self.at(
            Some(2 + keeper),
            What::Keeper(Keeper::Applied {
                zxid: Zxid(zxid),
                digest: 7,
                state: Some(state),
            }),
        );
    }

    pub(crate) fn keeper_restored(&mut self, keeper: u16, zxid: i64, state: u32) {
        self.at(
            Some(2 + keeper),
            What::Keeper(Keeper::Restored {
                zxid: Zxid(zxid),
                state: Some(state),
            }),
        );
    }

    /// A client that has seen so much goes on at this keeper.
    pub(crate) fn resumed_at(&mut self, keeper: u16, seen: i64) {
        let resumed = Keeper::SessionResumed {
            session: Some(SessionId(1)),
            seen: Zxid(seen),
        };
        self.at(Some(2 + keeper), What::Keeper(resumed));
    }

    pub(crate) fn phase(&mut self, phase: Phase) {
        self.at(None, What::Phase(phase));
    }

    pub(crate) fn planned(&mut self, kind: &str, permanent: bool) {
        self.history.manifest.faults.push(PlannedFault {
            kind: kind.to_owned(),
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
