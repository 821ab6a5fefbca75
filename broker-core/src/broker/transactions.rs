//! What the transaction coordinator wants of the other parts, and what they have for it.

use super::Broker;
use super::wishes::load_data;
use crate::group::{Desk as GroupDesk, EndedTransaction, OFFSETS_TOPIC};
use crate::hands::Hands;
use crate::replication::{InternalAppend, Step};
use crate::transaction::{
    Caller, Desk, TRANSACTION_TOPIC, TransactionAppend, TransactionCoordinator,
    transaction_partition,
};
use protocol::api::RequestBody;
use protocol::api::data::Acks;
use protocol::error_code::ErrorCode;
use protocol::ids::{Endpoint, TopicName, TopicPartition, TransactionalId};
use protocol::machine::{ConnectionId, Input, Io};
use protocol::time::Now;
use std::sync::Arc;

impl Broker {
    /// Lets the transaction coordinator act.
    pub(super) fn transact<R>(
        &mut self,
        now: Now,
        io: &mut Io<'_>,
        act: impl FnOnce(&mut TransactionCoordinator, &mut Desk<'_, '_>) -> R,
    ) -> R {
        let mut desk = Desk {
            now,
            io,
            requests: &mut self.requests,
            cache: self.replicas.metadata(),
        };
        act(&mut self.transactions, &mut desk)
    }

    pub(super) fn on_marker_connection(
        &mut self,
        now: Now,
        (connection, input): (ConnectionId, Input),
        io: &mut Io<'_>,
    ) {
        self.transact(now, io, |transactions, desk| {
            transactions.on_connection(desk, connection, input);
        });
    }

    /// Requests that the transaction coordinator serves.
    pub(super) fn serve_transaction(
        &mut self,
        now: Now,
        caller: Caller,
        body: RequestBody,
        io: &mut Io<'_>,
    ) {
        let groups = &self.groups;
        let offsets_of = |group| {
            let index = groups.partition_for(group);
            crate::group::offsets_partition(index)
        };
        let mut desk = Desk {
            now,
            io,
            requests: &mut self.requests,
            cache: self.replicas.metadata(),
        };
        let (transactions, desk) = (&mut self.transactions, &mut desk);
        if let RequestBody::AddPartitionsToTxn(body) = body {
            transactions.add_partitions(desk, caller, body);
        } else if let RequestBody::AddOffsetsToTxn(body) = body {
            let offsets = offsets_of(&body.group_id);
            transactions.add_offsets(desk, caller, (&body.producer, offsets));
        } else if let RequestBody::EndTxn(body) = body {
            transactions.end_txn(desk, caller, body);
        } else if let RequestBody::InitProducerId(body) = body
            && let Some(id) = body.transactional_id.clone()
        {
            transactions.init_producer_id(desk, caller, (id, &body));
        }
    }

    /// Where the coordinator of a transactional id is; the topic is created when it is asked for first.
    pub(super) fn transaction_coordinator(
        &mut self,
        now: Now,
        key: &Arc<str>,
        io: &mut Io<'_>,
    ) -> Result<(protocol::ids::BrokerId, Endpoint), ErrorCode> {
        let topic = TopicName::from(TRANSACTION_TOPIC);
        let id = TransactionalId(key.clone());
        self.coordinator_in(now, topic, io, |count| {
            crate::transaction::partition_for(&id, count)
        })
    }

    pub(super) fn carry_transactions(&mut self, now: Now, io: &mut Io<'_>) -> bool {
        let mut busy = self.carry_producer_ids(now, io);
        busy |= self.carry_verifications(now, io);
        let appends = self.transactions.take_appends();
        busy |= !appends.is_empty();
        for append in appends {
            self.append_for_transactions(now, append, io);
        }
        for load in self.transactions.take_loads() {
            busy = true;
            let data = load_data(self, now, &transaction_partition(load.partition), &load, io);
            self.transact(now, io, |transactions, desk| {
                transactions.on_load_data(desk, load.partition, data);
            });
        }
        for marker in self.replicas.take_replicated_markers() {
            busy = true;
            let of_offsets = |one: &&TopicPartition| one.topic.as_str() == OFFSETS_TOPIC;
            let partitions = marker.partitions.iter().filter(of_offsets);
            let ended = EndedTransaction {
                producer_id: marker.producer_id,
                committed: marker.committed,
                partitions: partitions.map(|one| one.partition.0).collect(),
            };
            if !ended.partitions.is_empty() {
                let desk = GroupDesk {
                    now,
                    io,
                    requests: &mut self.requests,
                };
                self.groups.on_transaction_ended(desk, ended);
            }
        }
        busy
    }

    /// Questions of leaders to transaction coordinators, and their answers.
    fn carry_verifications(&mut self, now: Now, io: &mut Io<'_>) -> bool {
        let mut busy = false;
        for question in self.replicas.take_verifications() {
            busy = true;
            let id = &question.producer.transactional_id;
            let partition = transaction_partition(self.transactions.partition_for(id));
            let cache = self.replicas.metadata();
            let leader = cache.partition(&partition).and_then(|known| known.leader);
            let home = leader.and_then(|leader| Some((leader, cache.endpoint(leader)?.clone())));
            self.verifier.ask(now, io, home, question);
        }
        for (number, verified) in self.verifier.take_answers() {
            busy = true;
            let mut step = Step {
                now,
                io,
                requests: &mut self.requests,
            };
            self.replicas.on_verified(&mut step, number, verified);
        }
        busy
    }

    /// Hands out producer ids for as long as there are some, and claims more.
    fn carry_producer_ids(&mut self, now: Now, io: &mut Io<'_>) -> bool {
        let mut busy = false;
        while self.transactions.wants_producer_id() {
            let ids = &mut self.coordination.producer_ids;
            let id = ids.next_id();
            if id.is_none() && !ids.take_failure() {
                let mut hands = Hands {
                    now,
                    io,
                    keeper: &mut self.coordination.keeper,
                    requests: &mut self.requests,
                };
                ids.start(&mut hands);
                break;
            }
            busy = true;
            self.transact(now, io, |transactions, desk| {
                transactions.on_producer_id(desk, id);
            });
        }
        // What nobody waited for is no failure of the next claim.
        self.coordination.producer_ids.take_failure();
        busy
    }

    fn append_for_transactions(&mut self, now: Now, append: TransactionAppend, io: &mut Io<'_>) {
        let internal = InternalAppend {
            partition: transaction_partition(append.partition),
            batch: append.batch,
            acks: Acks::All,
            timeout: append.timeout,
        };
        let mut step = Step {
            now,
            io,
            requests: &mut self.requests,
        };
        let own = self.replicas.append_internal(&mut step, internal);
        self.transaction_appends.insert(own, append.ticket);
    }
}
