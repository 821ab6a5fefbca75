//! The requests of a transactional producer, one at a time, the most urgent first (`TxnRequestHandler`, `Priority`).

use super::super::idempotence::Identity;
use protocol::api::group::{CommittedOffset, CoordinatorKind, FindCoordinatorRequest};
use protocol::api::transaction::{
    AddOffsetsToTxnRequest, AddPartitionsToTxnRequest, EndTxnRequest, TransactionalProducer,
    TxnOffsetCommitRequest,
};
use protocol::api::{InitProducerIdRequest, RequestBody};
use protocol::ids::{GroupId, ProducerEpoch, ProducerId, TopicPartition, TransactionalId};
use protocol::time::Span;
use protocol::verb::{ConsumerGroupMetadata, OffsetAndMetadata};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Names what an application may wait for (`TransactionalRequestResult`). Several requests may work on one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(in super::super) struct ResultId(pub(super) u64);

/// What is asked.
#[derive(Clone, Debug)]
pub(super) enum Kind {
    /// Where is the coordinator of this key?
    FindCoordinator(CoordinatorKind, Arc<str>),
    /// My producer id and epoch; a new epoch, if I have one already.
    InitProducerId(Option<Identity>),
    /// A new epoch for the transaction that is open (librdkafka-3575); none of mine told where the broker does not take it.
    RaiseEpoch(Option<Identity>),
    /// These partitions are in my transaction.
    AddPartitions(BTreeSet<TopicPartition>),
    /// The offsets of this group are in my transaction.
    AddOffsets(
        BTreeMap<TopicPartition, OffsetAndMetadata>,
        ConsumerGroupMetadata,
    ),
    /// The offsets themselves, those not yet taken; to the group's coordinator.
    CommitOffsets(
        BTreeMap<TopicPartition, OffsetAndMetadata>,
        ConsumerGroupMetadata,
    ),
    /// Commit the transaction, or abort it.
    End(bool),
}

/// A request and what was tried.
#[derive(Clone, Debug)]
pub(in super::super) struct TxnRequest {
    pub(super) kind: Kind,
    pub(super) result: ResultId,
    /// It goes again, after a rest.
    pub(super) is_retry: bool,
    pub(super) rest: Span,
    /// An earlier try may have been carried out without us knowing.
    pub(super) uncertain: bool,
}

/// In whose name a request is made.
#[derive(Clone, Debug)]
pub(super) struct Sender<'a> {
    pub(super) id: &'a TransactionalId,
    pub(super) timeout_ms: i32,
    pub(super) identity: Option<Identity>,
}

impl Sender<'_> {
    fn producer(&self) -> TransactionalProducer {
        let none = Identity {
            id: ProducerId(-1),
            epoch: ProducerEpoch(-1),
        };
        let Identity { id, epoch } = self.identity.unwrap_or(none);
        TransactionalProducer {
            transactional_id: self.id.clone(),
            producer_id: id,
            producer_epoch: epoch,
        }
    }
}

impl TxnRequest {
    /// `Priority`: what others need goes before them.
    pub(super) const fn priority(&self) -> u8 {
        match self.kind {
            Kind::FindCoordinator(..) => 0,
            Kind::InitProducerId(None) | Kind::RaiseEpoch(_) => 1,
            Kind::AddPartitions(_) | Kind::AddOffsets(..) | Kind::CommitOffsets(..) => 2,
            Kind::End(_) => 3,
            Kind::InitProducerId(Some(_)) => 4,
        }
    }

    /// Whose coordinator it goes to; none where any broker will do.
    pub(in super::super) const fn coordinator(&self) -> Option<CoordinatorKind> {
        match self.kind {
            Kind::FindCoordinator(..) => None,
            Kind::CommitOffsets(..) => Some(CoordinatorKind::Group),
            Kind::InitProducerId(_)
            | Kind::RaiseEpoch(_)
            | Kind::AddPartitions(_)
            | Kind::AddOffsets(..)
            | Kind::End(_) => Some(CoordinatorKind::Transaction),
        }
    }

    /// The group whose coordinator is asked.
    pub(super) fn group(&self) -> Option<&GroupId> {
        match &self.kind {
            Kind::CommitOffsets(_, group) => Some(&group.group_id),
            Kind::FindCoordinator(..)
            | Kind::InitProducerId(_)
            | Kind::RaiseEpoch(_)
            | Kind::AddPartitions(_)
            | Kind::AddOffsets(..)
            | Kind::End(_) => None,
        }
    }

    pub(super) const fn is_end(&self) -> bool {
        matches!(self.kind, Kind::End(_))
    }

    /// How long to rest before it goes, if it goes again.
    pub(in super::super) fn rest_before(&self) -> Option<Span> {
        self.is_retry.then_some(self.rest)
    }

    /// The words of the request.
    pub(super) fn body(&self, sender: &Sender<'_>) -> RequestBody {
        match &self.kind {
            Kind::FindCoordinator(kind, key) => FindCoordinatorRequest {
                key: key.clone(),
                kind: *kind,
            }
            .into(),
            Kind::InitProducerId(current) | Kind::RaiseEpoch(current) => InitProducerIdRequest {
                transactional_id: Some(sender.id.clone()),
                transaction_timeout_ms: sender.timeout_ms,
                current: current.map(|Identity { id, epoch }| (id, epoch)),
            }
            .into(),
            Kind::AddPartitions(partitions) => AddPartitionsToTxnRequest {
                producer: sender.producer(),
                partitions: partitions.iter().cloned().collect(),
                verify_only: false,
            }
            .into(),
            Kind::AddOffsets(_, group) => AddOffsetsToTxnRequest {
                producer: sender.producer(),
                group_id: group.group_id.clone(),
            }
            .into(),
            Kind::CommitOffsets(offsets, group) => TxnOffsetCommitRequest {
                producer: sender.producer(),
                group_id: group.group_id.clone(),
                generation_id: group.generation_id,
                member_id: group.member_id.clone(),
                group_instance_id: group.group_instance_id.clone(),
                offsets: offsets.iter().map(committed).collect(),
            }
            .into(),
            Kind::End(committed) => EndTxnRequest {
                producer: sender.producer(),
                committed: *committed,
            }
            .into(),
        }
    }
}

fn committed((partition, entry): (&TopicPartition, &OffsetAndMetadata)) -> CommittedOffset {
    CommittedOffset {
        partition: partition.clone(),
        offset: entry.offset,
        leader_epoch: entry.leader_epoch,
        metadata: Arc::from(entry.metadata.as_str()),
    }
}

/// The requests that wait, in the order of their priority and then of their coming.
#[derive(Clone, Debug, Default)]
pub(super) struct Queue {
    waiting: BTreeMap<(u8, u64), TxnRequest>,
    next: u64,
}

impl Queue {
    pub(super) fn push(&mut self, request: TxnRequest) {
        self.next += 1;
        self.waiting
            .insert((request.priority(), self.next), request);
    }

    pub(super) fn first(&self) -> Option<&TxnRequest> {
        self.waiting.values().next()
    }

    pub(super) fn pop(&mut self) -> Option<TxnRequest> {
        self.waiting.pop_first().map(|(_, request)| request)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}
