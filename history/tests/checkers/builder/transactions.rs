//! Transactions by hand: producers with a transactional id, their calls and batches, markers, what coordinators say, and
//! the read with `read_committed` that closes the run.

use super::{Builder, orders};
use history::History;
use history::event::{
    Append, Controller, ElectionKind, Group, LeaderElection, Phase, Replica, Transaction, What,
};
use history::manifest::{ClientKind, CommitPolicy, Stream, Topic};
use history::operation::{Action, Polled, Stage, TransactionCall, TransactionNumber, Value};
use protocol::ids::{
    BrokerId, ControllerEpoch, GenerationId, GroupId, LeaderEpoch, MemberId, Offset, ProducerEpoch,
    ProducerId, Sequence, TopicName, TopicPartition, TransactionalId,
};
use protocol::note::TransactionState;

/// A record at a place: partition of `orders` (or of `copies`), offset, value.
pub(crate) type Placed = (TopicPartition, i64, Value);

/// A partition of `orders`.
pub(crate) fn order(partition: i32) -> TopicPartition {
    TopicPartition::new("orders", partition)
}

/// A partition of `copies`.
pub(crate) fn copy(partition: i32) -> TopicPartition {
    TopicPartition::new("copies", partition)
}

impl Builder {
    /// `orders` has two partitions, and there is `copies` with one; all are led by broker 1.
    pub(crate) fn two_topics(&mut self) {
        let manifest = &mut self.history.manifest;
        manifest.topics[0].partitions = 2;
        let copies = Topic {
            name: TopicName::from("copies"),
            partitions: 1,
            ..manifest.topics[0].clone()
        };
        manifest.topics.push(copies);
        manifest.streams.push(Stream::CommittedRead);
        self.born();
        for partition in [order(1), copy(0)] {
            let became = Replica::BecameLeader {
                leader_epoch: LeaderEpoch(0),
                isr: Vec::new(),
                log_end_offset: Offset(0),
            };
            self.at(Some(0), What::Replica(partition, became));
        }
    }

    /// A producer with a transactional id.
    pub(crate) fn transactional(&mut self, id: &str) -> u16 {
        let kind = ClientKind::Producer {
            acks: "all".to_owned(),
            retries: 10,
            in_flight: 5,
            idempotence: true,
            transactional_id: Some(id.to_owned()),
            transaction_timeout_ms: Some(10),
        };
        let name = format!("p{}", self.history.manifest.clients.len());
        self.client(&name, kind)
    }

    /// A consumer of committed records without a group.
    pub(crate) fn reader_of_committed(&mut self) -> u16 {
        let kind = ClientKind::Consumer {
            group: None,
            commit: CommitPolicy::Never,
            read_committed: true,
            feeds: None,
            topics: Vec::new(),
            old: None,
        };
        let name = format!("c{}", self.history.manifest.clients.len());
        self.client(&name, kind)
    }

    /// A member of group `g` that copies what it reads with a producer.
    pub(crate) fn copier(&mut self, feeds: u16) -> u16 {
        let kind = ClientKind::Consumer {
            group: Some(GroupId::from("g")),
            commit: CommitPolicy::Transactional,
            read_committed: true,
            feeds: Some(feeds),
            topics: Vec::new(),
            old: None,
        };
        let name = format!("c{}", self.history.manifest.clients.len());
        self.client(&name, kind)
    }

    fn id_of(&self, client: u16) -> TransactionalId {
        if let ClientKind::Producer {
            transactional_id: Some(id),
            ..
        } = &self.history.manifest.clients[usize::from(client)].kind
        {
            TransactionalId::from(id.as_str())
        } else {
            panic!("client {client} is no transactional producer")
        }
    }

    /// The beginning or the end of a call.
    pub(crate) fn call(
        &mut self,
        client: u16,
        transaction: Option<u32>,
        call: TransactionCall,
        stage: Stage,
    ) {
        let failed = matches!(stage, Stage::Fail | Stage::Info);
        let action = Action::Transaction {
            transactional_id: self.id_of(client),
            transaction: transaction.map(TransactionNumber),
            call,
            error: failed.then(|| "TimeoutException".to_owned()),
        };
        self.operation(client, stage, action);
    }

    /// `initTransactions` that returns.
    pub(crate) fn init(&mut self, client: u16) {
        self.call(client, None, TransactionCall::Init, Stage::Invoke);
        self.call(client, None, TransactionCall::Init, Stage::Ok);
    }

    /// `beginTransaction`.
    pub(crate) fn begin(&mut self, client: u16, transaction: u32) {
        self.call(client, Some(transaction), TransactionCall::Begin, Stage::Ok);
    }

    /// `commitTransaction`, and how it ends.
    pub(crate) fn commit(&mut self, client: u16, transaction: u32, stage: Stage) {
        let number = Some(transaction);
        self.call(client, number, TransactionCall::Commit, Stage::Invoke);
        self.call(client, number, TransactionCall::Commit, stage);
    }

    /// `abortTransaction` that returns.
    pub(crate) fn abort(&mut self, client: u16, transaction: u32) {
        let number = Some(transaction);
        self.call(client, number, TransactionCall::Abort, Stage::Invoke);
        self.call(client, number, TransactionCall::Abort, Stage::Ok);
    }

    /// `sendOffsetsToTransaction` for the group `g` and `orders-0`, which the group's coordinator keeps pending.
    pub(crate) fn take_offset(&mut self, client: u16, transaction: u32, offset: i64) {
        let call = TransactionCall::SendOffsets {
            group: GroupId::from("g"),
            offsets: vec![(orders(), Offset(offset))],
        };
        self.call(client, Some(transaction), call.clone(), Stage::Invoke);
        self.group(Group::OffsetPending {
            partition: orders(),
            offset: Offset(offset),
            producer_id: ProducerId(i64::from(client)),
        });
        self.call(client, Some(transaction), call, Stage::Ok);
    }

    /// The marker reaches the group's coordinator.
    pub(crate) fn offsets_decided(&mut self, client: u16, committed: Option<i64>) {
        self.group(Group::PendingDecided {
            producer_id: ProducerId(i64::from(client)),
            committed: committed.is_some(),
        });
        if let Some(offset) = committed {
            self.group(Group::OffsetCommitted {
                partition: orders(),
                offset: Offset(offset),
                member: MemberId::from(""),
                generation: GenerationId(-1),
            });
        }
    }

    /// The coordinator of a producer's transactional id says its state.
    pub(crate) fn coordinator(&mut self, client: u16, state: TransactionState) {
        let id = self.id_of(client);
        let told = Transaction::State {
            state,
            producer_id: ProducerId(i64::from(client)),
            producer_epoch: ProducerEpoch(0),
            partitions: Vec::new(),
        };
        self.at(Some(0), What::Transaction(id, told));
    }

    /// The coordinator aborts what takes too long.
    pub(crate) fn timed_out(&mut self, client: u16) {
        let id = self.id_of(client);
        self.at(Some(0), What::Transaction(id, Transaction::TimedOut));
    }

    /// A send within a transaction ends as fenced.
    pub(crate) fn fenced(&mut self, client: u16, value: Value) {
        let action = Self::send_action(value, None, Some("PRODUCER_FENCED"));
        self.operation(client, Stage::Fail, action);
    }

    /// Another broker becomes coordinator of a producer's transactional id and reads its state from the log.
    pub(crate) fn next_coordinator(&mut self, client: u16, state: TransactionState) {
        let id = self.id_of(client);
        self.at(Some(0), What::Transaction(id, Transaction::Loaded(state)));
    }

    /// A send within a transaction (or outside of any), acknowledged at once.
    pub(crate) fn sends(
        &mut self,
        client: u16,
        transaction: Option<u32>,
        place: &Placed,
        (made_from, amount): (Option<Value>, Option<i64>),
    ) {
        let (partition, offset, value) = place;
        for stage in [Stage::Invoke, Stage::Ok] {
            let action = Action::Send {
                topic: partition.topic.clone(),
                partition: Some(partition.partition.0),
                key: None,
                value: *value,
                transaction: transaction.map(TransactionNumber),
                made_from,
                amount,
                offset: (stage == Stage::Ok).then_some(Offset(*offset)),
                error: None,
            };
            self.operation(client, stage, action);
            if stage == Stage::Invoke {
                self.batch(client, transaction.is_some(), place);
            }
        }
    }

    /// A send in a transaction of which nobody is told anything.
    pub(crate) fn asked(&mut self, client: u16, transaction: u32, place: &Placed) {
        let (partition, _, value) = place;
        let action = Action::Send {
            topic: partition.topic.clone(),
            partition: Some(partition.partition.0),
            key: None,
            value: *value,
            transaction: Some(TransactionNumber(transaction)),
            made_from: None,
            amount: None,
            offset: None,
            error: None,
        };
        self.operation(client, Stage::Invoke, action);
    }

    /// A send in a transaction.
    pub(crate) fn in_transaction(&mut self, client: u16, transaction: u32, place: &Placed) {
        self.sends(client, Some(transaction), place, (None, None));
    }

    fn batch(&mut self, client: u16, transactional: bool, (partition, offset, value): &Placed) {
        let append = Append {
            base_offset: Offset(*offset),
            last_offset: Offset(*offset),
            leader_epoch: LeaderEpoch(0),
            crc: u32::try_from(value.0 & 0xffff).unwrap() ^ (u32::from(value.writer()) << 20),
            leader: true,
            producer: Some((ProducerId(i64::from(client)), ProducerEpoch(0), Sequence(0))),
            control: false,
            transactional,
            committed: None,
            values: vec![*value],
        };
        self.appended(partition, &append);
    }

    /// The offsets of a transaction are in the log of the group.
    pub(crate) fn offsets_logged(&mut self, client: u16, offset: i64) {
        let append = Append {
            base_offset: Offset(offset),
            last_offset: Offset(offset),
            leader_epoch: LeaderEpoch(0),
            crc: 8,
            leader: true,
            producer: Some((ProducerId(i64::from(client)), ProducerEpoch(0), Sequence(0))),
            control: false,
            transactional: true,
            committed: None,
            values: Vec::new(),
        };
        self.appended(&TopicPartition::new("__consumer_offsets", 0), &append);
    }

    /// The leader writes a marker.
    pub(crate) fn marker(
        &mut self,
        client: u16,
        (partition, offset): (&TopicPartition, i64),
        committed: bool,
    ) {
        let append = Append {
            base_offset: Offset(offset),
            last_offset: Offset(offset),
            leader_epoch: LeaderEpoch(0),
            crc: 7,
            leader: true,
            producer: Some((
                ProducerId(i64::from(client)),
                ProducerEpoch(0),
                Sequence(-1),
            )),
            control: true,
            transactional: true,
            committed: Some(committed),
            values: Vec::new(),
        };
        self.appended(partition, &append);
    }

    /// All three replicas append, and the leader's high watermark follows.
    fn appended(&mut self, partition: &TopicPartition, append: &Append) {
        let end = Offset(append.last_offset.0 + 1);
        for broker in 0..3 {
            let own = Append {
                leader: broker == 0,
                ..append.clone()
            };
            let what = What::Replica(partition.clone(), Replica::Appended(own));
            self.at(Some(broker), what);
        }
        let mark = What::Replica(partition.clone(), Replica::HighWatermark(end));
        self.at(Some(0), mark);
    }

    /// The leader's last stable offset.
    pub(crate) fn stable(&mut self, partition: &TopicPartition, offset: i64) {
        let what = Replica::LastStableOffset(Offset(offset));
        self.at(Some(0), What::Replica(partition.clone(), what));
    }

    /// Broker 2 has nothing of a partition, is elected its leader, and everybody follows it.
    pub(crate) fn loses_everything(&mut self, partition: &TopicPartition, kind: ElectionKind) {
        let cut = Replica::Truncated {
            to: Offset(0),
            from: Offset(2),
            rule: "leader_epoch".to_owned(),
        };
        let election = LeaderElection {
            partition: partition.clone(),
            leader: Some(BrokerId(2)),
            leader_epoch: LeaderEpoch(1),
            isr: vec![BrokerId(2)],
            kind,
            controller_epoch: ControllerEpoch(1),
        };
        let led = Replica::BecameLeader {
            leader_epoch: LeaderEpoch(1),
            isr: vec![BrokerId(2)],
            log_end_offset: Offset(0),
        };
        let replica = |said| What::Replica(partition.clone(), said);
        self.at(Some(1), replica(cut.clone()));
        let elected = What::Controller(Controller::LeaderElected(election));
        self.at(Some(0), elected);
        self.at(Some(1), replica(led));
        for broker in [0, 2] {
            self.at(Some(broker), replica(cut.clone()));
        }
    }

    /// Somebody polls records.
    pub(crate) fn polls(&mut self, client: u16, records: &[Placed]) {
        let mut polled: Vec<Polled> = Vec::new();
        for (partition, offset, value) in records {
            let known = polled.iter_mut().find(|own| own.partition == *partition);
            let record = (Offset(*offset), Some(*value));
            match known {
                Some(own) => own.records.push(record),
                None => polled.push(Polled {
                    partition: partition.clone(),
                    records: vec![record],
                }),
            }
        }
        let action = Action::Poll {
            records: polled,
            error: None,
        };
        self.operation(client, Stage::Ok, action);
    }

    /// Heals, and reads everything twice: all that is in the logs, and what is committed.
    pub(crate) fn finish_committed(mut self, all: &[Placed], committed: &[Placed]) -> History {
        let reader = self.client("reader", ClientKind::FinalReader);
        let second = self.client("committed-reader", ClientKind::CommittedReader);
        self.phase(Phase::Heal);
        self.phase(Phase::FinalRead);
        self.polls(reader, all);
        self.polls(second, committed);
        self.phase(Phase::End);
        self.history
    }
}
