//! Whether a batch belongs to an open transaction, asked before it is appended (KIP-890, first part).
//!
//! A producer's first batch of a transaction in a partition is held back until the coordinator has said that the partition
//! is in the transaction. Meanwhile the partition keeps a guard for the producer; a marker takes it away, so that an answer
//! that was right when it was given does not let a batch in behind the marker (KAFKA-14884). Left out: the verification of
//! offsets that are committed in a transaction.

use super::{ReplicaManager, Step};
use crate::log::VerificationGuard;
use protocol::api::data::ProduceRequest;
use protocol::api::transaction::TransactionalProducer;
use protocol::behaviour::Fix;
use protocol::error_code::ErrorCode;
use protocol::ids::{ClientId, ProducerId, TopicPartition};
use protocol::machine::RequestToken;
use protocol::record::RecordBatch;
use std::collections::BTreeMap;

/// A question for a transaction coordinator; answered by [`ReplicaManager::on_verified`].
#[derive(Clone, Debug)]
pub struct Verification {
    /// Names it.
    pub number: u64,
    /// Whose transaction.
    pub producer: TransactionalProducer,
    /// Are these in it?
    pub partitions: Vec<TopicPartition>,
}

/// What a coordinator said: an error per partition, or why it said nothing.
pub type Verified = Result<Vec<(TopicPartition, ErrorCode)>, ErrorCode>;

/// A produce request that waits for a verification.
#[derive(Clone, Debug)]
pub(super) struct Unverified {
    token: RequestToken,
    client: ClientId,
    request: ProduceRequest,
    guards: BTreeMap<TopicPartition, VerificationGuard>,
}

/// What is known of the partitions of a produce request.
#[derive(Clone, Debug, Default)]
pub(super) struct Admission {
    guards: BTreeMap<TopicPartition, VerificationGuard>,
    refused: BTreeMap<TopicPartition, ErrorCode>,
}

impl ReplicaManager {
    /// Questions asked since the last call.
    pub fn take_verifications(&mut self) -> Vec<Verification> {
        std::mem::take(&mut self.verifications)
    }

    /// Holds a request back if something of it is to be verified, and tells so.
    pub(super) fn verify_first(
        &mut self,
        token: RequestToken,
        client: &ClientId,
        request: &ProduceRequest,
    ) -> bool {
        let Some(id) = &request.transactional_id else {
            return false;
        };
        if !self.rules.behaviour.has(Fix::VerifyTransaction) {
            return false;
        }
        let mut guards = BTreeMap::new();
        let mut whose = None;
        for (partition, batch) in &request.partitions {
            if self.admit(partition, client, request.acks).is_err() || !batch.is_transactional() {
                continue;
            }
            let Some(producer) = batch.producer_id().zip(batch.producer_epoch()) else {
                continue;
            };
            let log = self.logs.get_mut(partition);
            if let Some(guard) = log.and_then(|log| log.begin_verification(producer.0)) {
                guards.insert(partition.clone(), guard);
                whose = Some(producer);
            }
        }
        let Some((producer_id, producer_epoch)) = whose else {
            return false;
        };
        let number = self.next_ticket;
        self.next_ticket += 1;
        self.verifications.push(Verification {
            number,
            producer: TransactionalProducer {
                transactional_id: id.clone(),
                producer_id,
                producer_epoch,
            },
            partitions: guards.keys().cloned().collect(),
        });
        let unverified = Unverified {
            token,
            client: client.clone(),
            request: request.clone(),
            guards,
        };
        self.unverified.insert(number, unverified);
        true
    }

    /// A coordinator has answered, or could not be asked: the request goes on.
    pub fn on_verified(&mut self, step: &mut Step<'_, '_>, number: u64, verified: Verified) {
        let Some(unverified) = self.unverified.remove(&number) else {
            return;
        };
        let Unverified {
            token,
            client,
            request,
            guards,
        } = unverified;
        let refused = match verified {
            Err(error) => {
                let all = guards.keys().cloned();
                all.map(|partition| (partition, to_producer(error)))
                    .collect()
            }
            Ok(answers) => answers
                .into_iter()
                .filter(|(_, error)| error.is_error())
                .map(|(partition, error)| (partition, to_producer(error)))
                .collect(),
        };
        let admission = Admission { guards, refused };
        self.append_all(step, (token, &client), request, &admission);
    }

    /// Whether a batch may be appended now.
    pub(super) fn is_verified(
        &self,
        admission: &Admission,
        partition: &TopicPartition,
        batch: &RecordBatch,
    ) -> Result<(), ErrorCode> {
        if let Some(error) = admission.refused.get(partition) {
            return Err(*error);
        }
        let behaviour = self.rules.behaviour;
        let looks = behaviour.has(Fix::VerifyTransaction) && behaviour.has(Fix::VerifyBeforeAppend);
        if !looks || !batch.is_transactional() {
            return Ok(());
        }
        let producer: Option<ProducerId> = batch.producer_id();
        let guard = admission.guards.get(partition).copied();
        let states = self.logs.get(partition).map(crate::log::Log::producers);
        match (states, producer) {
            (Some(states), Some(id)) if !states.admits(id, guard) => {
                Err(ErrorCode::InvalidTxnState)
            }
            (_, _) => Ok(()),
        }
    }
}

/// An error of the verification in words that every producer knows: what may pass is tried again.
fn to_producer(error: ErrorCode) -> ErrorCode {
    if matches!(
        error,
        ErrorCode::ConcurrentTransactions
            | ErrorCode::NetworkException
            | ErrorCode::CoordinatorLoadInProgress
            | ErrorCode::CoordinatorNotAvailable
            | ErrorCode::NotCoordinator
    ) {
        ErrorCode::NotEnoughReplicas
    } else if error == ErrorCode::ProducerFenced {
        ErrorCode::InvalidProducerEpoch
    } else {
        error
    }
}
