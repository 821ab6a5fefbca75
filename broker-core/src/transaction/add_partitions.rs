//! Taking partitions into a transaction, and saying whether they are in it
//! (`TransactionCoordinator.handleAddPartitionsToTransaction`, `handleVerifyPartitionsInTransaction`).

use super::append::{Change, Then, respond_added};
use super::metadata::TransactionMetadata;
use super::{Caller, Desk, TransactionCoordinator, note_refusal};
use protocol::api::transaction::{
    AddOffsetsToTxnResponse, AddPartitionsToTxnRequest, AddPartitionsToTxnResponse,
    TransactionalProducer,
};
use protocol::error_code::ErrorCode;
use protocol::ids::TopicPartition;
use protocol::note::TransactionState;

impl TransactionMetadata {
    /// Whether it is this producer that speaks.
    fn check(&self, producer: &TransactionalProducer) -> Result<(), ErrorCode> {
        if self.producer_id != producer.producer_id {
            Err(ErrorCode::InvalidProducerIdMapping)
        } else if self.producer_epoch != Some(producer.producer_epoch) {
            Err(ErrorCode::ProducerFenced)
        } else {
            Ok(())
        }
    }

    fn is_prepared(&self) -> bool {
        matches!(
            self.state,
            TransactionState::PrepareCommit | TransactionState::PrepareAbort
        )
    }
}

impl TransactionCoordinator {
    /// `AddPartitionsToTxn`.
    pub fn add_partitions(
        &mut self,
        desk: &mut Desk<'_, '_>,
        caller: Caller,
        request: AddPartitionsToTxnRequest,
    ) {
        if request.verify_only {
            self.verify(desk, caller, &request);
            return;
        }
        if let Some(partitions) = unknown(desk, &request.partitions) {
            desk.respond(caller, AddPartitionsToTxnResponse { partitions });
            return;
        }
        let then = Then::Added(caller, request.partitions.clone());
        let added = request.partitions.iter().cloned();
        match self.prepare_add(desk, &request.producer, added.collect(), then) {
            Ok(change) => self.append(desk, change),
            Err(error) => respond_added(desk, caller, request.partitions, error),
        }
    }

    /// `AddOffsetsToTxn`: the partition of a group's offsets is taken in.
    pub fn add_offsets(
        &mut self,
        desk: &mut Desk<'_, '_>,
        caller: Caller,
        (producer, offsets): (&TransactionalProducer, TopicPartition),
    ) {
        match self.prepare_add(desk, producer, vec![offsets], Then::OffsetsAdded(caller)) {
            Ok(change) => self.append(desk, change),
            Err(error) => {
                let error = super::for_version(error, caller, 2);
                desk.respond(caller, AddOffsetsToTxnResponse { error });
            }
        }
    }

    /// The change to write, or what to answer at once: no error at all when the partitions are in already.
    fn prepare_add(
        &mut self,
        desk: &mut Desk<'_, '_>,
        producer: &TransactionalProducer,
        added: Vec<TopicPartition>,
        then: Then,
    ) -> Result<Change, ErrorCode> {
        let id = &producer.transactional_id;
        let wall_ms = desk.wall_ms();
        let prepared = self.find_for(producer).and_then(|(epoch, metadata)| {
            if metadata.pending.is_some() || metadata.is_prepared() {
                return Err(ErrorCode::ConcurrentTransactions);
            }
            let ongoing = metadata.state == TransactionState::Ongoing;
            if ongoing && added.iter().all(|one| metadata.partitions.contains(one)) {
                return Err(ErrorCode::None);
            }
            Ok((epoch, metadata.prepare_add(added, wall_ms)))
        });
        if let Err(error) = prepared {
            note_refusal(desk, id, (error, producer.producer_epoch));
        }
        let (coordinator_epoch, transit) = prepared?;
        Ok(Change {
            id: id.clone(),
            coordinator_epoch,
            transit,
            then,
        })
    }

    fn find_for(
        &mut self,
        producer: &TransactionalProducer,
    ) -> Result<(i32, &mut TransactionMetadata), ErrorCode> {
        let id = &producer.transactional_id;
        if id.as_str().is_empty() {
            return Err(ErrorCode::InvalidRequest);
        }
        let found = self.cache.find(id, self.partitions)?;
        let (epoch, metadata) = found.ok_or(ErrorCode::InvalidProducerIdMapping)?;
        metadata.check(producer)?;
        Ok((epoch, metadata))
    }

    /// A leader asks whether partitions are in a transaction (KIP-890). A pending state does not matter: the leader looks
    /// once more when it appends.
    fn verify(
        &mut self,
        desk: &mut Desk<'_, '_>,
        caller: Caller,
        request: &AddPartitionsToTxnRequest,
    ) {
        let within = self.find_for(&request.producer).and_then(|(_, metadata)| {
            if metadata.is_prepared() {
                Err(ErrorCode::ConcurrentTransactions)
            } else {
                Ok(&metadata.partitions)
            }
        });
        let one = |partition: &TopicPartition| {
            let error = match &within {
                Err(error) => *error,
                Ok(within) if within.contains(partition) => ErrorCode::None,
                Ok(_) => ErrorCode::InvalidTxnState,
            };
            (partition.clone(), error)
        };
        let partitions = request.partitions.iter().map(one).collect();
        desk.respond(caller, AddPartitionsToTxnResponse { partitions });
    }
}

/// The answer where a partition is not known here: then none is added (`KafkaApis.handleAddPartitionToTxnRequest`).
fn unknown(
    desk: &Desk<'_, '_>,
    partitions: &[TopicPartition],
) -> Option<Vec<(TopicPartition, ErrorCode)>> {
    let known = |partition: &TopicPartition| desk.cache.contains(partition);
    if partitions.iter().all(known) {
        return None;
    }
    let one = |partition: &TopicPartition| {
        let error = if known(partition) {
            ErrorCode::OperationNotAttempted
        } else {
            ErrorCode::UnknownTopicOrPartition
        };
        (partition.clone(), error)
    };
    Some(partitions.iter().map(one).collect())
}
