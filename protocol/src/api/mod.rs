//! Kafka's requests and responses as typed values; field for field what matters of the 2.8 schemas.
//!
//! Left out: fields that change no history here (rack, throttle time, authorised operations, tagged fields, client software
//! name, the id in the answer to CreateTopics), and naming topics by id in DeleteTopics. Wire sentinels are `Option`s. A field
//! that only newer versions carry is an `Option` too, and absent when the request's version has no room for it.

pub mod cluster;
pub mod data;
pub mod group;
pub mod reassignment;
pub mod topics;
pub mod transaction;

use crate::error_code::ErrorCode;
use crate::ids::{ProducerEpoch, ProducerId, TopicId, TopicName, TransactionalId};
use crate::message::{size_of, text_size};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

macro_rules! bodies {
    ($($name:ident => $request:ty, $response:ty, $number:literal;)*) => {
        /// The number of an api.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
        #[expect(missing_docs, reason = "the names are Kafka's own and each has its message in a module below")]
        pub enum ApiKey {
            $($name,)*
        }

        /// The body of a request.
        #[derive(Clone, Debug, PartialEq)]
        #[expect(missing_docs, reason = "each variant is the api of that name")]
        pub enum RequestBody {
            $($name($request),)*
        }

        /// The body of a response.
        #[derive(Clone, Debug, PartialEq)]
        #[expect(missing_docs, reason = "each variant is the api of that name")]
        pub enum ResponseBody {
            $($name($response),)*
        }

        impl RequestBody {
            /// Which api it asks.
            pub const fn api_key(&self) -> ApiKey {
                match self {
                    $(Self::$name(_) => ApiKey::$name,)*
                }
            }

            /// Bytes of the body on the wire.
            pub fn wire_size(&self) -> u64 {
                match self {
                    $(Self::$name(body) => body.wire_size(),)*
                }
            }
        }

        impl ResponseBody {
            /// Which api it answers.
            pub const fn api_key(&self) -> ApiKey {
                match self {
                    $(Self::$name(_) => ApiKey::$name,)*
                }
            }

            /// Bytes of the body on the wire.
            pub fn wire_size(&self) -> u64 {
                match self {
                    $(Self::$name(body) => body.wire_size(),)*
                }
            }
        }

        impl ApiKey {
            /// Every api, in Kafka's order.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// Kafka's number for it.
            pub const fn number(self) -> i16 {
                match self {
                    $(Self::$name => $number,)*
                }
            }

            /// Kafka's name for it.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)*
                }
            }

            /// The api of that name.
            pub fn from_name(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|key| key.name() == name)
            }
        }

        $(
            impl From<$request> for RequestBody {
                fn from(body: $request) -> Self {
                    Self::$name(body)
                }
            }
            impl From<$response> for ResponseBody {
                fn from(body: $response) -> Self {
                    Self::$name(body)
                }
            }
        )*
    };
}

bodies! {
    Produce => data::ProduceRequest, data::ProduceResponse, 0;
    Fetch => data::FetchRequest, data::FetchResponse, 1;
    ListOffsets => data::ListOffsetsRequest, data::ListOffsetsResponse, 2;
    Metadata => topics::MetadataRequest, topics::MetadataResponse, 3;
    LeaderAndIsr => cluster::LeaderAndIsrRequest, cluster::LeaderAndIsrResponse, 4;
    StopReplica => cluster::StopReplicaRequest, cluster::StopReplicaResponse, 5;
    UpdateMetadata => cluster::UpdateMetadataRequest, cluster::UpdateMetadataResponse, 6;
    ControlledShutdown => cluster::ControlledShutdownRequest, cluster::ControlledShutdownResponse, 7;
    OffsetCommit => group::OffsetCommitRequest, group::OffsetCommitResponse, 8;
    OffsetFetch => group::OffsetFetchRequest, group::OffsetFetchResponse, 9;
    FindCoordinator => group::FindCoordinatorRequest, group::FindCoordinatorResponse, 10;
    JoinGroup => group::JoinGroupRequest, group::JoinGroupResponse, 11;
    Heartbeat => group::HeartbeatRequest, group::HeartbeatResponse, 12;
    LeaveGroup => group::LeaveGroupRequest, group::LeaveGroupResponse, 13;
    SyncGroup => group::SyncGroupRequest, group::SyncGroupResponse, 14;
    DescribeGroups => group::DescribeGroupsRequest, group::DescribeGroupsResponse, 15;
    ApiVersions => ApiVersionsRequest, ApiVersionsResponse, 18;
    CreateTopics => topics::CreateTopicsRequest, topics::CreateTopicsResponse, 19;
    DeleteTopics => topics::DeleteTopicsRequest, topics::DeleteTopicsResponse, 20;
    DeleteRecords => data::DeleteRecordsRequest, data::DeleteRecordsResponse, 21;
    InitProducerId => InitProducerIdRequest, InitProducerIdResponse, 22;
    OffsetForLeaderEpoch => data::OffsetForLeaderEpochRequest, data::OffsetForLeaderEpochResponse, 23;
    AddPartitionsToTxn => transaction::AddPartitionsToTxnRequest, transaction::AddPartitionsToTxnResponse, 24;
    AddOffsetsToTxn => transaction::AddOffsetsToTxnRequest, transaction::AddOffsetsToTxnResponse, 25;
    EndTxn => transaction::EndTxnRequest, transaction::EndTxnResponse, 26;
    WriteTxnMarkers => transaction::WriteTxnMarkersRequest, transaction::WriteTxnMarkersResponse, 27;
    TxnOffsetCommit => transaction::TxnOffsetCommitRequest, transaction::TxnOffsetCommitResponse, 28;
    CreatePartitions => topics::CreatePartitionsRequest, topics::CreatePartitionsResponse, 37;
    ElectLeaders => topics::ElectLeadersRequest, topics::ElectLeadersResponse, 43;
    IncrementalAlterConfigs => topics::IncrementalAlterConfigsRequest, topics::IncrementalAlterConfigsResponse, 44;
    AlterPartitionReassignments => reassignment::AlterPartitionReassignmentsRequest, reassignment::AlterPartitionReassignmentsResponse, 45;
    ListPartitionReassignments => reassignment::ListPartitionReassignmentsRequest, reassignment::ListPartitionReassignmentsResponse, 46;
    AlterIsr => cluster::AlterIsrRequest, cluster::AlterIsrResponse, 56;
}

/// Which apis does this broker speak?
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct ApiVersionsRequest;

/// The apis of a broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiVersionsResponse {
    /// The error.
    pub error: ErrorCode,
    /// Each api with its lowest and highest version.
    pub versions: Vec<(ApiKey, i16, i16)>,
}

/// A producer asks for its id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InitProducerIdRequest {
    /// `transactional.id`; an idempotent producer has none.
    pub transactional_id: Option<TransactionalId>,
    /// `transaction.timeout.ms`.
    pub transaction_timeout_ms: i32,
    /// The id and epoch it has (KIP-360), version 3 on.
    pub current: Option<(ProducerId, ProducerEpoch)>,
}

/// A producer's id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InitProducerIdResponse {
    /// The error.
    pub error: ErrorCode,
    /// The id; meaningless with an error.
    pub producer_id: ProducerId,
    /// Its epoch.
    pub producer_epoch: ProducerEpoch,
}

impl ApiVersionsRequest {
    #[expect(clippy::unused_self, reason = "every body answers the same question")]
    fn wire_size(&self) -> u64 {
        0
    }
}

impl ApiVersionsResponse {
    fn wire_size(&self) -> u64 {
        6 + 6 * size_of(self.versions.len())
    }
}

impl InitProducerIdRequest {
    fn wire_size(&self) -> u64 {
        16 + self
            .transactional_id
            .as_ref()
            .map_or(2, |id| text_size(id.as_str()))
    }
}

impl InitProducerIdResponse {
    #[expect(clippy::unused_self, reason = "every body answers the same question")]
    fn wire_size(&self) -> u64 {
        16
    }
}

/// The ids of the topics that a message names, where they have one and its version has room for it (KIP-516).
pub type TopicIds = BTreeMap<TopicName, TopicId>;

/// Bytes of topic ids.
fn ids_size(ids: &TopicIds) -> u64 {
    TopicId::WIRE_SIZE * size_of(ids.len())
}

/// Bytes of a topic and a partition index.
fn partition_size(partition: &crate::ids::TopicPartition) -> u64 {
    text_size(partition.topic.as_str()) + 4
}
