//! The broker, which leads everything and coordinates every group's offsets.

use super::{WAY, World};
use bytes::Bytes;
use protocol::api::cluster::LiveBroker;
use protocol::api::data::{
    FetchRequest, FetchResponse, ListOffsetsResponse, OffsetSpec, PartitionFetchResponse,
    PartitionListOffsetsResponse,
};
use protocol::api::group::{
    CommittedOffset, FindCoordinatorResponse, OffsetCommitResponse, OffsetFetchResponse,
};
use protocol::api::topics::{MetadataResponse, PartitionMetadata, TopicMetadata};
use protocol::api::{RequestBody, ResponseBody};
use protocol::error_code::ErrorCode;
use protocol::fetch_session::FetchSessionId;
use protocol::ids::{BrokerId, Endpoint, Offset, TopicName, TopicPartition};
use protocol::machine::{ConnectionId, Input};
use protocol::message::{Message, Request, Response};
use std::sync::Arc;

impl World {
    pub(super) fn serve(&mut self, connection: ConnectionId, request: Request) {
        let b1 = || (BrokerId(1), Endpoint::new("b1", 9092));
        let body: ResponseBody = match &request.body {
            RequestBody::Metadata(asked) => MetadataResponse {
                brokers: vec![LiveBroker {
                    id: BrokerId(1),
                    endpoint: b1().1,
                }],
                controller: None,
                topics: asked
                    .topics
                    .iter()
                    .flatten()
                    .map(|topic| self.topic(topic))
                    .collect(),
            }
            .into(),
            RequestBody::Fetch(fetch) => {
                let Some(answer) = self.fetch(fetch) else {
                    let until = self.now + fetch.max_wait;
                    self.parked.push((until, connection, request));
                    return;
                };
                answer.into()
            }
            RequestBody::ListOffsets(list) => ListOffsetsResponse {
                partitions: list
                    .partitions
                    .iter()
                    .map(|(partition, _, spec)| PartitionListOffsetsResponse {
                        partition: partition.clone(),
                        error: ErrorCode::None,
                        offset: Some(match spec {
                            OffsetSpec::Earliest => Offset(0),
                            _ => self.end(partition),
                        }),
                        timestamp: None,
                        leader_epoch: None,
                    })
                    .collect(),
            }
            .into(),
            RequestBody::FindCoordinator(_) => FindCoordinatorResponse {
                error: ErrorCode::None,
                coordinator: Some(b1()),
            }
            .into(),
            RequestBody::OffsetCommit(commit) => {
                for entry in &commit.offsets {
                    self.managed.insert(entry.partition.clone(), entry.offset);
                }
                let taken = |entry: &CommittedOffset| (entry.partition.clone(), ErrorCode::None);
                OffsetCommitResponse {
                    partitions: commit.offsets.iter().map(taken).collect(),
                }
                .into()
            }
            RequestBody::OffsetFetch(fetch) => OffsetFetchResponse {
                error: ErrorCode::None,
                partitions: fetch
                    .partitions
                    .iter()
                    .flatten()
                    .map(|partition| (partition.clone(), Ok(self.committed(partition))))
                    .collect(),
            }
            .into(),
            other => panic!("a consumer does not ask {other:?}"),
        };
        self.respond(connection, &request, body);
    }

    pub(super) fn respond(
        &mut self,
        connection: ConnectionId,
        request: &Request,
        body: ResponseBody,
    ) {
        let correlation_id = request.correlation_id;
        let message = Message::Response(Box::new(Response {
            correlation_id,
            body,
        }));
        self.later(WAY, connection, |connection| Input::Received {
            connection,
            message,
        });
    }

    pub(super) fn committed(&self, partition: &TopicPartition) -> Option<CommittedOffset> {
        let offset = *self.managed.get(partition)?;
        Some(CommittedOffset {
            partition: partition.clone(),
            offset,
            leader_epoch: None,
            metadata: Arc::from(""),
        })
    }

    pub(super) fn topic(&self, topic: &TopicName) -> TopicMetadata {
        let of = self
            .logs
            .keys()
            .filter(|partition| partition.topic == *topic);
        let partitions = of.map(|partition| PartitionMetadata {
            error: ErrorCode::None,
            partition: partition.partition,
            leader: Some(BrokerId(1)),
            leader_epoch: None,
            replicas: vec![BrokerId(1)],
            isr: vec![BrokerId(1)],
            offline_replicas: Vec::new(),
        });
        TopicMetadata {
            error: ErrorCode::None,
            topic: topic.clone(),
            id: None,
            is_internal: false,
            partitions: partitions.collect(),
        }
    }

    pub(super) fn end(&self, partition: &TopicPartition) -> Offset {
        Offset(i64::try_from(self.logs[partition].len()).unwrap())
    }

    /// At most two batches of each partition; none while there is nothing.
    pub(super) fn fetch(&self, fetch: &FetchRequest) -> Option<FetchResponse> {
        let mut is_due = false;
        let partitions = fetch.partitions.iter().map(|asked| {
            let end = self.end(&asked.partition);
            let error = if asked.fetch_offset > end {
                ErrorCode::OffsetOutOfRange
            } else {
                ErrorCode::None
            };
            let from = usize::try_from(asked.fetch_offset.0).unwrap();
            let batches = self.logs[&asked.partition].iter().skip(from).take(2);
            let records: Vec<u8> = batches.flat_map(|batch| batch.to_vec()).collect();
            is_due |= error.is_error() || !records.is_empty();
            PartitionFetchResponse {
                partition: asked.partition.clone(),
                error,
                high_watermark: Some(end),
                last_stable_offset: None,
                log_start_offset: None,
                diverging_epoch: None,
                aborted_transactions: Vec::new(),
                records: Bytes::from(records),
            }
        });
        let partitions = partitions.collect();
        is_due.then_some(FetchResponse {
            partitions,
            ..empty_fetch()
        })
    }
}

pub(super) fn empty_fetch() -> FetchResponse {
    FetchResponse {
        error: ErrorCode::None,
        session: FetchSessionId::NONE,
        partitions: Vec::new(),
    }
}
