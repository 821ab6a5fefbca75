//! Transaction markers (`EndTransactionMarker`, `ControlRecordType`; KIP-98): the control batches a coordinator has
//! written at the end of a transaction into every partition of it.
//!
//! Left out: the leader-change record of the Raft quorum, which no ZooKeeper-era log holds; it reads as `Unknown`.

use super::{BatchBuilder, BatchError, RecordBatch};
use crate::ids::{Offset, ProducerEpoch, ProducerId};

const CURRENT_VERSION: i16 = 0;

/// What a control record says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ControlType {
    /// The transaction was aborted.
    Abort,
    /// The transaction was committed.
    Commit,
    /// A kind of a later release, to be skipped.
    Unknown(i16),
}

impl ControlType {
    const fn id(self) -> i16 {
        match self {
            Self::Abort => 0,
            Self::Commit => 1,
            Self::Unknown(id) => id,
        }
    }

    const fn from_id(id: i16) -> Self {
        match id {
            0 => Self::Abort,
            1 => Self::Commit,
            unknown => Self::Unknown(unknown),
        }
    }
}

/// The marker of a control batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ControlMarker {
    /// Commit or abort.
    pub kind: ControlType,
    /// The epoch of the transaction coordinator that wrote it; a marker of an older one is refused.
    /// 0 for an unknown kind.
    pub coordinator_epoch: i32,
}

impl ControlMarker {
    /// The control batch that ends a transaction of producer `id` and `epoch` (`withEndTransactionMarker`), to be
    /// rebased by the leader that appends it. `timestamp` is in milliseconds.
    pub fn batch(self, id: ProducerId, epoch: ProducerEpoch, timestamp: i64) -> RecordBatch {
        let [version_high, version_low] = CURRENT_VERSION.to_be_bytes();
        let [kind_high, kind_low] = self.kind.id().to_be_bytes();
        let key = [version_high, version_low, kind_high, kind_low];
        let [a, b, c, d] = self.coordinator_epoch.to_be_bytes();
        let value = [version_high, version_low, a, b, c, d];
        let mut builder = BatchBuilder::new()
            .base_offset(Offset::ZERO)
            .transactional()
            .control(id, epoch);
        builder.append(timestamp, Some(&key), Some(&value), &[]);
        builder.build()
    }

    /// The marker in the first record of `batch`, which is a control batch.
    pub(super) fn of(batch: &RecordBatch) -> Result<Self, BatchError> {
        let record = batch
            .records()
            .next()
            .ok_or(BatchError::BadControlRecord)??;
        let key = record.key.ok_or(BatchError::BadControlRecord)?;
        let &[version_high, version_low, kind_high, kind_low] =
            key.first_chunk().ok_or(BatchError::BadControlRecord)?;
        check_version([version_high, version_low])?;
        let kind = ControlType::from_id(i16::from_be_bytes([kind_high, kind_low]));
        let coordinator_epoch = match kind {
            ControlType::Abort | ControlType::Commit => {
                let value = record.value.ok_or(BatchError::BadControlRecord)?;
                let &[high, low, a, b, c, d] =
                    value.first_chunk().ok_or(BatchError::BadControlRecord)?;
                check_version([high, low])?;
                i32::from_be_bytes([a, b, c, d])
            }
            ControlType::Unknown(_) => 0,
        };
        Ok(Self {
            kind,
            coordinator_epoch,
        })
    }
}

/// A version above the current one is read as the current one, which is how Kafka keeps it extensible.
fn check_version(bytes: [u8; 2]) -> Result<(), BatchError> {
    if i16::from_be_bytes(bytes) < CURRENT_VERSION {
        Err(BatchError::BadControlRecord)
    } else {
        Ok(())
    }
}
