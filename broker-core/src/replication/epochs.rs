//! OffsetForLeaderEpoch: where does this epoch end in your log? (`Partition.lastOffsetForLeaderEpoch`, KIP-101, KIP-279)

use super::{ReplicaManager, Step};
use protocol::api::data::{
    EpochAnswer, EpochEndOffset, EpochQuestion, OffsetForLeaderEpochRequest,
    OffsetForLeaderEpochResponse,
};
use protocol::error_code::ErrorCode;
use protocol::machine::RequestToken;

impl ReplicaManager {
    pub(super) fn epoch_ends(
        &self,
        step: &mut Step<'_, '_>,
        token: RequestToken,
        request: OffsetForLeaderEpochRequest,
    ) {
        let partitions = request
            .partitions
            .into_iter()
            .map(|question| {
                let (error, end) = match self.epoch_end(&question) {
                    Ok(end) => (ErrorCode::None, end),
                    Err(error) => (error, None),
                };
                EpochAnswer {
                    partition: question.partition,
                    error,
                    end,
                }
            })
            .collect();
        step.requests
            .respond(step.io, token, OffsetForLeaderEpochResponse { partitions });
    }

    fn epoch_end(&self, question: &EpochQuestion) -> Result<Option<EpochEndOffset>, ErrorCode> {
        let slot = self.find(&question.partition)?;
        let partition = self.online(slot).ok_or(ErrorCode::NotLeaderOrFollower)?;
        partition.check_access(question.current_leader_epoch, &self.rules)?;
        Ok(self
            .logs
            .end_of_epoch(&question.partition, question.leader_epoch))
    }
}
