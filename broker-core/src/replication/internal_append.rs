//! Appends and reads by other parts of this broker: the group coordinator's log is a partition like any other.

use super::produce::{Resumed, Sink};
use super::{ReplicaManager, Step};
use bytes::Bytes;
use protocol::api::data::Acks;
use protocol::error_code::ErrorCode;
use protocol::ids::{Offset, TopicPartition};
use protocol::record::RecordBatch;
use protocol::time::Span;

/// Names an append until it is decided.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct AppendTicket(pub u64);

/// What is to be appended.
#[derive(Clone, Debug)]
pub struct InternalAppend {
    /// Where.
    pub partition: TopicPartition,
    /// The records.
    pub batch: RecordBatch,
    /// When it counts as done: by [`Acks::All`] or [`Acks::Leader`].
    pub acks: Acks,
    /// How long replicas may take (`offsets.commit.timeout.ms`).
    pub timeout: Span,
}

impl ReplicaManager {
    /// Appends on behalf of a coordinator. Its end is told by [`Self::take_finished_appends`], perhaps in this very step.
    pub fn append_internal(
        &mut self,
        step: &mut Step<'_, '_>,
        append: InternalAppend,
    ) -> AppendTicket {
        let ticket = AppendTicket(self.next_ticket);
        self.next_ticket += 1;
        let InternalAppend {
            partition,
            batch,
            acks,
            timeout,
        } = append;
        let result = self
            .find(&partition)
            .and_then(|slot| self.append_local(step, slot, (batch, true), acks));
        let mut resumed = Resumed::new(Sink::Internal(ticket), acks, timeout);
        resumed.add_noting(step, (partition, None), &result);
        self.after_append(step, resumed);
        ticket
    }

    /// Reads whole batches of a partition's log from `offset` on, up to its end, so many bytes at most, but the first in any
    /// case if the flag is set; what a new coordinator loads its state from.
    ///
    /// # Errors
    /// As a fetch.
    pub fn read_local(
        &self,
        step: &mut Step<'_, '_>,
        partition: &TopicPartition,
        offset: Offset,
        limit: (u64, bool),
    ) -> Result<Bytes, ErrorCode> {
        self.find(partition)?;
        let view = self
            .logs
            .view(partition)
            .ok_or(ErrorCode::NotLeaderOrFollower)?;
        let range = offset..view.end;
        let data = self.logs.read(step.io, partition, range, limit)?;
        Ok(data.records)
    }
}
