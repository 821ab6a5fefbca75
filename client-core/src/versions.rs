//! Which version of each api a client of an era speaks (`ApiKeys`, `NodeApiVersions`), and what a request may carry then.
//!
//! A client asks every broker it connects to (KIP-35, since 0.10) and uses the highest version both know. A broker that
//! lists nothing for an api is taken to know what the client knows.

use protocol::api::data::FetchRequest;
use protocol::api::group::OffsetCommitRequest;
use protocol::api::transaction::TxnOffsetCommitRequest;
use protocol::api::{ApiKey, RequestBody};
use protocol::behaviour::{Behaviour, Era, Fix};
use protocol::fetch_session::FetchMetadata;
use protocol::ids::{GenerationId, MemberId};
use std::sync::Arc;

/// What one broker said it speaks.
pub(crate) type BrokerVersions = Arc<[(ApiKey, i16, i16)]>;

/// What this client speaks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Versions {
    behaviour: Behaviour,
}

impl Versions {
    pub(crate) const fn new(behaviour: Behaviour) -> Self {
        Self { behaviour }
    }

    /// Whether a connection starts with `ApiVersions`.
    pub(crate) const fn asks_brokers(&self) -> bool {
        !matches!(self.behaviour.era, Era::V0_8 | Era::V0_9)
    }

    /// The version to use with a broker.
    pub(crate) fn with_broker(&self, api: ApiKey, broker: &BrokerVersions) -> i16 {
        let highest = broker
            .iter()
            .find(|(key, ..)| *key == api)
            .map_or(i16::MAX, |(_, _, max)| *max);
        self.highest(api).min(highest)
    }

    /// The highest version this client knows: those of 0.8.2, 0.9.0, 1.0 and 2.8.
    #[expect(
        clippy::match_same_arms,
        reason = "a table: that two apis have the same versions is chance"
    )]
    pub(crate) fn highest(&self, api: ApiKey) -> i16 {
        let pick = |versions: [i16; 4]| self.behaviour.era.pick(versions);
        match api {
            ApiKey::Produce => pick([0, 1, 5, 9]),
            ApiKey::Fetch => pick([0, 1, 6, 12]),
            ApiKey::ListOffsets => pick([0, 0, 2, 6]),
            ApiKey::Metadata => pick([0, 0, 5, 11]),
            ApiKey::OffsetCommit => pick([1, 2, 3, 8]),
            ApiKey::OffsetFetch => pick([1, 1, 3, 7]),
            ApiKey::FindCoordinator => pick([0, 0, 1, 3]),
            ApiKey::JoinGroup => {
                let version = pick([0, 0, 2, 7]);
                // Version 4 is the first whose sender can handle MEMBER_ID_REQUIRED.
                if self.behaviour.has(Fix::MemberIdRequired) {
                    version
                } else {
                    version.min(3)
                }
            }
            ApiKey::Heartbeat | ApiKey::LeaveGroup => pick([0, 0, 1, 4]),
            ApiKey::SyncGroup | ApiKey::DescribeGroups => pick([0, 0, 1, 5]),
            ApiKey::ApiVersions => pick([0, 0, 1, 3]),
            ApiKey::CreateTopics => pick([0, 0, 2, 7]),
            ApiKey::DeleteTopics => pick([0, 0, 1, 6]),
            ApiKey::DeleteRecords => pick([0, 0, 0, 2]),
            ApiKey::InitProducerId => pick([0, 0, 0, 4]),
            ApiKey::AddPartitionsToTxn | ApiKey::AddOffsetsToTxn => pick([0, 0, 0, 3]),
            // Version 5 is the first whose answer brings the next epoch.
            ApiKey::EndTxn if self.behaviour.has(Fix::EpochPerTransaction) => 5,
            // Version 3 is the first that names member and generation.
            ApiKey::TxnOffsetCommit if !self.behaviour.has(Fix::GroupMetadataInCommit) => {
                pick([0, 0, 0, 2])
            }
            ApiKey::EndTxn | ApiKey::TxnOffsetCommit => pick([0, 0, 0, 3]),
            ApiKey::OffsetForLeaderEpoch => pick([0, 0, 0, 4]),
            ApiKey::IncrementalAlterConfigs => pick([0, 0, 0, 1]),
            ApiKey::CreatePartitions => pick([0, 0, 0, 3]),
            ApiKey::ElectLeaders => pick([0, 0, 0, 2]),
            // Broker to broker.
            ApiKey::LeaderAndIsr
            | ApiKey::StopReplica
            | ApiKey::UpdateMetadata
            | ApiKey::ControlledShutdown
            | ApiKey::WriteTxnMarkers
            | ApiKey::AlterIsr => 0,
            ApiKey::AlterPartitionReassignments | ApiKey::ListPartitionReassignments => 0,
        }
    }
}

/// Takes out of a request what its version has no room for.
pub(crate) fn fit(body: &mut RequestBody, version: i16) {
    match body {
        RequestBody::Fetch(fetch) => fit_fetch(fetch, version),
        RequestBody::ListOffsets(list) if version < 4 => {
            for (_, epoch, _) in &mut list.partitions {
                *epoch = None;
            }
        }
        RequestBody::OffsetForLeaderEpoch(question) if version < 2 => {
            for partition in &mut question.partitions {
                partition.current_leader_epoch = None;
            }
        }
        RequestBody::JoinGroup(join) => {
            if version < 1 {
                join.rebalance_timeout = join.session_timeout;
            }
            if version < 5 {
                join.group_instance_id = None;
            }
        }
        RequestBody::SyncGroup(sync) if version < 3 => sync.group_instance_id = None,
        RequestBody::Heartbeat(beat) if version < 3 => beat.group_instance_id = None,
        RequestBody::OffsetCommit(commit) => fit_commit(commit, version),
        RequestBody::TxnOffsetCommit(commit) => fit_transactional_commit(commit, version),
        RequestBody::OffsetFetch(fetch) if version < 7 => fetch.require_stable = false,
        RequestBody::InitProducerId(init) if version < 3 => init.current = None,
        RequestBody::Metadata(metadata) if version < 4 => metadata.allow_auto_topic_creation = true,
        RequestBody::ListOffsets(_)
        | RequestBody::OffsetForLeaderEpoch(_)
        | RequestBody::SyncGroup(_)
        | RequestBody::Heartbeat(_)
        | RequestBody::OffsetFetch(_)
        | RequestBody::InitProducerId(_)
        | RequestBody::Metadata(_)
        | RequestBody::Produce(_)
        | RequestBody::LeaderAndIsr(_)
        | RequestBody::StopReplica(_)
        | RequestBody::UpdateMetadata(_)
        | RequestBody::ControlledShutdown(_)
        | RequestBody::FindCoordinator(_)
        | RequestBody::LeaveGroup(_)
        | RequestBody::DescribeGroups(_)
        | RequestBody::ApiVersions(_)
        | RequestBody::CreateTopics(_)
        | RequestBody::DeleteTopics(_)
        | RequestBody::DeleteRecords(_)
        | RequestBody::AlterPartitionReassignments(_)
        | RequestBody::ListPartitionReassignments(_)
        | RequestBody::CreatePartitions(_)
        | RequestBody::IncrementalAlterConfigs(_)
        | RequestBody::ElectLeaders(_)
        | RequestBody::AddPartitionsToTxn(_)
        | RequestBody::AddOffsetsToTxn(_)
        | RequestBody::EndTxn(_)
        | RequestBody::WriteTxnMarkers(_)
        | RequestBody::AlterIsr(_) => {}
    }
}

fn fit_fetch(fetch: &mut FetchRequest, version: i16) {
    if version < 7 {
        fetch.metadata = FetchMetadata::LEGACY;
        fetch.forgotten.clear();
    }
    for partition in &mut fetch.partitions {
        if version < 9 {
            partition.current_leader_epoch = None;
        }
        if version < 12 {
            partition.last_fetched_epoch = None;
        }
    }
}

fn fit_commit(commit: &mut OffsetCommitRequest, version: i16) {
    if version < 6 {
        for offset in &mut commit.offsets {
            offset.leader_epoch = None;
        }
    }
    if version < 7 {
        commit.group_instance_id = None;
    }
}

fn fit_transactional_commit(commit: &mut TxnOffsetCommitRequest, version: i16) {
    if version < 2 {
        for offset in &mut commit.offsets {
            offset.leader_epoch = None;
        }
    }
    if version < 3 {
        commit.generation_id = GenerationId(-1);
        commit.member_id = MemberId::from("");
        commit.group_instance_id = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::api::data::{FetchPartition, IsolationLevel};
    use protocol::ids::{LeaderEpoch, Offset, TopicPartition};
    use protocol::time::Span;

    #[test]
    fn the_lower_of_both_sides_is_spoken() {
        let client = Versions::new(Behaviour::of(Era::V2_8));
        let old: BrokerVersions = Arc::new([(ApiKey::Fetch, 0, 6)]);
        assert_eq!(client.with_broker(ApiKey::Fetch, &old), 6);
        assert_eq!(client.with_broker(ApiKey::Produce, &old), 9);
    }

    #[test]
    fn an_old_fetch_names_no_leader_epoch() {
        let mut body = RequestBody::Fetch(FetchRequest {
            replica_epoch: None,
            replica_id: None,
            max_wait: Span::ZERO,
            min_bytes: 1,
            max_bytes: 1,
            isolation_level: IsolationLevel::ReadUncommitted,
            metadata: FetchMetadata::INITIAL,
            forgotten: Vec::new(),
            partitions: vec![FetchPartition {
                partition: TopicPartition::new("t", 0),
                current_leader_epoch: Some(LeaderEpoch(3)),
                fetch_offset: Offset(0),
                last_fetched_epoch: Some(LeaderEpoch(3)),
                log_start_offset: None,
                max_bytes: 1,
            }],
        });
        fit(&mut body, 9);
        let RequestBody::Fetch(fetch) = &body else {
            panic!("a fetch");
        };
        assert_eq!(
            fetch.partitions[0].current_leader_epoch,
            Some(LeaderEpoch(3))
        );
        assert_eq!(fetch.partitions[0].last_fetched_epoch, None);
        fit(&mut body, 6);
        let RequestBody::Fetch(fetch) = &body else {
            panic!("a fetch");
        };
        assert_eq!(fetch.partitions[0].current_leader_epoch, None);
        assert_eq!(fetch.metadata, FetchMetadata::LEGACY);
    }
}
