//! ListOffsets (`Partition.fetchOffsetForTimestamp`, `KafkaApis.handleListOffsetRequest`).
//!
//! Left out: version 0, which listed segment base offsets.

use super::{ReplicaManager, Step};
use protocol::api::data::{
    IsolationLevel, ListOffsetsRequest, ListOffsetsResponse, OffsetSpec,
    PartitionListOffsetsResponse,
};
use protocol::behaviour::Fix;
use protocol::error_code::ErrorCode;
use protocol::ids::{LeaderEpoch, Offset, TopicPartition};
use protocol::machine::RequestToken;

/// Who asks.
#[derive(Clone, Copy, Debug)]
struct Asker {
    /// A follower; it sees everything and is never put off.
    is_replica: bool,
    isolation: IsolationLevel,
    version: i16,
}

#[derive(Clone, Copy, Debug)]
struct Found {
    offset: Option<Offset>,
    timestamp: Option<i64>,
    leader_epoch: Option<LeaderEpoch>,
}

impl ReplicaManager {
    pub(super) fn list_offsets(
        &mut self,
        step: &mut Step<'_, '_>,
        token: RequestToken,
        version: i16,
        request: ListOffsetsRequest,
    ) {
        let asker = Asker {
            is_replica: request.replica_id.is_some(),
            isolation: request.isolation_level,
            version,
        };
        let partitions = request
            .partitions
            .into_iter()
            .map(|(partition, epoch, spec)| {
                let found = self.find_offset(step, &partition, (epoch, spec), asker);
                let (error, found) = match found {
                    Ok(found) => (ErrorCode::None, Some(found)),
                    Err(error) => (error, None),
                };
                PartitionListOffsetsResponse {
                    partition,
                    error,
                    offset: found.and_then(|found| found.offset),
                    timestamp: found.and_then(|found| found.timestamp),
                    leader_epoch: found.and_then(|found| found.leader_epoch),
                }
            })
            .collect();
        step.requests
            .respond(step.io, token, ListOffsetsResponse { partitions });
    }

    fn find_offset(
        &mut self,
        step: &mut Step<'_, '_>,
        name: &TopicPartition,
        (asked_epoch, spec): (Option<LeaderEpoch>, OffsetSpec),
        asker: Asker,
    ) -> Result<Found, ErrorCode> {
        let slot = self.find(name)?;
        let partition = self.online(slot).ok_or(ErrorCode::NotLeaderOrFollower)?;
        partition.check_access(asked_epoch, &self.rules)?;
        let leadership = partition
            .leadership()
            .ok_or(ErrorCode::NotLeaderOrFollower)?;
        let leader_epoch = partition.leader_epoch;
        let view = self.logs.view(name).ok_or(ErrorCode::NotLeaderOrFollower)?;
        let last = match (asker.is_replica, asker.isolation) {
            (true, _) => view.end,
            (false, IsolationLevel::ReadUncommitted) => view.high_watermark,
            (false, IsolationLevel::ReadCommitted) => view.stable,
        };
        // KIP-207: what an earlier leader has shown must not vanish again.
        let lagging = !asker.is_replica
            && leadership.epoch_start > view.high_watermark
            && self.rules.behaviour.has(Fix::MonotonicListOffsets);
        let put_off = if asker.version >= 5 {
            ErrorCode::OffsetNotAvailable
        } else {
            ErrorCode::LeaderNotAvailable
        };
        match spec {
            OffsetSpec::Latest if lagging => Err(put_off),
            OffsetSpec::Latest => Ok(Found {
                offset: Some(last),
                timestamp: None,
                leader_epoch,
            }),
            OffsetSpec::Earliest => Ok(Found {
                offset: Some(view.start),
                timestamp: None,
                leader_epoch: self.logs.epoch_at(name, view.start),
            }),
            OffsetSpec::Timestamp(timestamp) => {
                // Until KAFKA-5522 a time was looked up as far as the high watermark, whoever asked.
                let last = if self.rules.behaviour.has(Fix::StableListOffsets) {
                    last
                } else {
                    last.max(view.high_watermark)
                };
                let found = self.logs.find_by_time(step.io, name, timestamp)?;
                match found.filter(|found| found.offset < last) {
                    Some(found) => Ok(Found {
                        offset: Some(found.offset),
                        timestamp: Some(found.timestamp),
                        leader_epoch: found.leader_epoch,
                    }),
                    None if lagging => Err(put_off),
                    None => Ok(Found {
                        offset: None,
                        timestamp: None,
                        leader_epoch: None,
                    }),
                }
            }
        }
    }
}
