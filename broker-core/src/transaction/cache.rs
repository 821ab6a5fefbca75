//! Which partitions of the transaction topic are coordinated here, and their ids (`TransactionStateManager`'s cache).

use super::load::Load;
use super::metadata::TransactionMetadata;
use super::placement::partition_for;
use crate::group::LoadRead;
use protocol::error_code::ErrorCode;
use protocol::ids::TransactionalId;
use std::collections::{BTreeMap, VecDeque};

/// A partition that is coordinated here.
#[derive(Clone, Debug, Default)]
pub(super) struct Owned {
    /// The leader epoch in which it was taken over; what markers are signed with.
    pub(super) epoch: i32,
    pub(super) ids: BTreeMap<TransactionalId, TransactionMetadata>,
}

/// The cache.
#[derive(Clone, Debug, Default)]
pub(super) struct Cache {
    pub(super) owned: BTreeMap<i32, Owned>,
    pub(super) loading: BTreeMap<i32, Load>,
    /// Partitions to be loaded, with the epoch each was asked for in.
    pub(super) tasks: VecDeque<(i32, i32)>,
    pub(super) reads: Vec<LoadRead>,
}

/// An id, and the epoch of its coordinator.
pub(super) type Found<'a> = (i32, &'a mut TransactionMetadata);

impl Cache {
    fn owner(&mut self, partition: i32) -> Result<&mut Owned, ErrorCode> {
        if self.loading.contains_key(&partition) {
            return Err(ErrorCode::CoordinatorLoadInProgress);
        }
        self.owned
            .get_mut(&partition)
            .ok_or(ErrorCode::NotCoordinator)
    }

    /// What is known of an id (`getTransactionState`).
    pub(super) fn find(
        &mut self,
        id: &TransactionalId,
        partitions: i32,
    ) -> Result<Option<Found<'_>>, ErrorCode> {
        let owned = self.owner(partition_for(id, partitions))?;
        let epoch = owned.epoch;
        Ok(owned.ids.get_mut(id).map(|metadata| (epoch, metadata)))
    }

    /// The same; a new id begins to be known (`putTransactionStateIfNotExists`).
    pub(super) fn find_or_put(
        &mut self,
        id: &TransactionalId,
        partitions: i32,
        create: impl FnOnce() -> TransactionMetadata,
    ) -> Result<Found<'_>, ErrorCode> {
        let owned = self.owner(partition_for(id, partitions))?;
        let epoch = owned.epoch;
        Ok((epoch, owned.ids.entry(id.clone()).or_insert_with(create)))
    }

    /// The id, if it is still coordinated here in this epoch.
    pub(super) fn find_in(
        &mut self,
        id: &TransactionalId,
        partitions: i32,
        epoch: i32,
    ) -> Option<&mut TransactionMetadata> {
        let found = self.find(id, partitions).ok()??;
        (found.0 == epoch).then_some(found.1)
    }
}
