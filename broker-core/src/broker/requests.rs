//! Which part serves which request (`KafkaApis.handle`).

use super::Broker;
use crate::group::{Call, Desk, GroupRequest, OFFSETS_TOPIC, partition_for};
use crate::hands::Hands;
use crate::replication::{Handled, Step};
use crate::request_channel::Taken;
use crate::topic_admin::TopicAdmin;
use protocol::api::cluster::ControlledShutdownResponse;
use protocol::api::group::{
    CoordinatorKind, FindCoordinatorRequest, FindCoordinatorResponse, OffsetCommitRequest,
};
use protocol::api::topics::{MetadataRequest, TopicMetadata};
use protocol::api::{
    ApiKey, ApiVersionsResponse, InitProducerIdRequest, InitProducerIdResponse, RequestBody,
};
use protocol::error_code::ErrorCode;
use protocol::ids::{GroupId, ProducerEpoch, ProducerId, TopicName, TopicPartition};
use protocol::machine::{Io, RequestToken};
use protocol::time::Now;
use std::collections::BTreeSet;
use std::sync::Arc;

impl Broker {
    pub(super) fn serve_next(&mut self, now: Now, io: &mut Io<'_>) {
        if let Some(taken) = self.requests.take() {
            self.serve_request(now, taken, io);
        }
    }

    /// A replica that is new here needs its topic's settings; the handler thread waits for them.
    fn lacks_settings(&mut self, now: Now, taken: &Taken, io: &mut Io<'_>) -> bool {
        let RequestBody::LeaderAndIsr(request) = &taken.request.body else {
            return false;
        };
        let topics = request
            .partitions
            .iter()
            .map(|state| state.partition.topic.clone())
            .collect();
        !self.ensure_settings(now, io, &topics)
    }

    pub(super) fn serve_request(&mut self, now: Now, taken: Taken, io: &mut Io<'_>) {
        if self.lacks_settings(now, &taken, io) {
            self.parked.push_back(taken);
            return;
        }
        let mut step = Step {
            now,
            io,
            requests: &mut self.requests,
        };
        match self.replicas.handle(&mut step, taken) {
            Handled::Done => {}
            Handled::MetadataUpdated(forgotten) => self.on_metadata(now, &forgotten, io),
            Handled::NotMine(taken) => self.serve_other(now, *taken, io),
        }
    }

    fn on_metadata(&mut self, now: Now, forgotten: &[TopicPartition], io: &mut Io<'_>) {
        let cache = self.replicas.metadata();
        let gone: BTreeSet<&TopicName> = forgotten
            .iter()
            .map(|partition| &partition.topic)
            .filter(|topic| !cache.contains_topic(topic))
            .collect();
        for topic in gone {
            self.coordination.configs.forget(topic);
        }
        self.coordination
            .on_metadata(now, io, (&mut self.requests, self.replicas.metadata()));
    }

    fn serve_other(&mut self, now: Now, taken: Taken, io: &mut Io<'_>) {
        let Taken {
            token,
            from,
            request,
        } = taken;
        let version = request.api_version;
        let call = Call {
            token,
            client_id: request.client_id.0.clone(),
            client_host: from,
            api_version: version,
            unknown: BTreeSet::new(),
        };
        match request.body {
            RequestBody::ApiVersions(_) => self.requests.respond(io, token, api_versions()),
            RequestBody::Metadata(body) => self.metadata(now, (token, version), &body, io),
            RequestBody::FindCoordinator(body) => self.find_coordinator(now, token, &body, io),
            RequestBody::JoinGroup(body) => self.group(now, &call, GroupRequest::Join(body), io),
            RequestBody::SyncGroup(body) => self.group(now, &call, GroupRequest::Sync(body), io),
            RequestBody::Heartbeat(body) => {
                self.group(now, &call, GroupRequest::Heartbeat(body), io);
            }
            RequestBody::LeaveGroup(body) => self.group(now, &call, GroupRequest::Leave(body), io),
            RequestBody::OffsetCommit(body) => {
                let call = Call {
                    unknown: self.unknown_partitions(&body),
                    ..call
                };
                self.group(now, &call, GroupRequest::OffsetCommit(body), io);
            }
            RequestBody::OffsetFetch(body) => {
                self.group(now, &call, GroupRequest::OffsetFetch(body), io);
            }
            RequestBody::DescribeGroups(body) => {
                self.group(now, &call, GroupRequest::Describe(body), io);
            }
            RequestBody::InitProducerId(body) => self.init_producer_id(now, token, &body, io),
            body @ (RequestBody::AlterIsr(_)
            | RequestBody::ElectLeaders(_)
            | RequestBody::AlterPartitionReassignments(_)
            | RequestBody::ListPartitionReassignments(_)) => self.control(token, body, io),
            RequestBody::ControlledShutdown(body) if self.is_controller() => {
                self.coordination
                    .controller
                    .controlled_shutdown(io, token, body);
            }
            RequestBody::ControlledShutdown(_) => {
                self.requests.respond(io, token, not_controller());
            }
            body @ (RequestBody::CreateTopics(_)
            | RequestBody::DeleteTopics(_)
            | RequestBody::CreatePartitions(_)) => {
                self.administer(now, (token, version), &body, io);
            }
            // Kafka closes on an api it does not list.
            RequestBody::AddPartitionsToTxn(_)
            | RequestBody::AddOffsetsToTxn(_)
            | RequestBody::EndTxn(_)
            | RequestBody::WriteTxnMarkers(_)
            | RequestBody::TxnOffsetCommit(_) => io.close(token.connection),
            RequestBody::Produce(_)
            | RequestBody::Fetch(_)
            | RequestBody::ListOffsets(_)
            | RequestBody::OffsetForLeaderEpoch(_)
            | RequestBody::DeleteRecords(_)
            | RequestBody::LeaderAndIsr(_)
            | RequestBody::StopReplica(_)
            | RequestBody::UpdateMetadata(_) => unreachable!("the replicas serve these"),
        }
    }

    /// Requests that the controller puts into its queue, whether or not it is active then.
    fn control(&mut self, token: RequestToken, body: RequestBody, io: &mut Io<'_>) {
        let controller = &mut self.coordination.controller;
        if let RequestBody::AlterIsr(body) = body {
            controller.alter_isr(io, token, body);
        } else if let RequestBody::ElectLeaders(body) = body {
            controller.elect_leaders(io, token, body);
        } else if let RequestBody::AlterPartitionReassignments(body) = body {
            controller.reassign_partitions(io, token, body);
        } else if let RequestBody::ListPartitionReassignments(body) = body {
            controller.list_partition_reassignments(io, token, body);
        }
    }

    fn group(&mut self, now: Now, call: &Call, request: GroupRequest, io: &mut Io<'_>) {
        self.groups.handle_request(
            Desk {
                now,
                io,
                requests: &mut self.requests,
            },
            call,
            request,
        );
    }

    fn unknown_partitions(&self, request: &OffsetCommitRequest) -> BTreeSet<TopicPartition> {
        let cache = self.replicas.metadata();
        let named = request.offsets.iter().map(|offset| &offset.partition);
        named
            .filter(|partition| !cache.contains(partition))
            .cloned()
            .collect()
    }

    fn metadata(
        &mut self,
        now: Now,
        (token, version): (RequestToken, i16),
        request: &MetadataRequest,
        io: &mut Io<'_>,
    ) {
        let (mut response, missing) = self.replicas.metadata().answer(request, version);
        let create = self.spec.config.auto_create_topics_enable
            && (version < 4 || request.allow_auto_topic_creation);
        let (to_create, unknown): (Vec<TopicName>, Vec<TopicName>) =
            missing.into_iter().partition(|topic| {
                create || (topic.as_str() == OFFSETS_TOPIC && request.allow_auto_topic_creation)
            });
        let mut errors: Vec<(TopicName, ErrorCode)> = unknown
            .into_iter()
            .map(|topic| (topic, ErrorCode::UnknownTopicOrPartition))
            .collect();
        if !to_create.is_empty() {
            errors.extend(self.auto_create(now, &to_create, io));
        }
        for (topic, error) in errors {
            let is_internal = topic.as_str() == OFFSETS_TOPIC;
            response.topics.push(TopicMetadata {
                error,
                topic,
                is_internal,
                partitions: Vec::new(),
            });
        }
        self.requests.respond(io, token, response);
    }

    fn auto_create(
        &mut self,
        now: Now,
        topics: &[TopicName],
        io: &mut Io<'_>,
    ) -> Vec<(TopicName, ErrorCode)> {
        let mut hands = Hands {
            now,
            io,
            keeper: &mut self.coordination.keeper,
            requests: &mut self.requests,
        };
        self.coordination
            .admin
            .auto_create(&mut hands, self.replicas.metadata(), topics)
    }

    fn find_coordinator(
        &mut self,
        now: Now,
        token: RequestToken,
        request: &FindCoordinatorRequest,
        io: &mut Io<'_>,
    ) {
        let response = match request.kind {
            CoordinatorKind::Group => self.group_coordinator(now, &request.key, io),
            // Transactions are not modelled: there is never a coordinator for them.
            CoordinatorKind::Transaction => Err(ErrorCode::CoordinatorNotAvailable),
        };
        let response = match response {
            Ok(coordinator) => FindCoordinatorResponse {
                error: ErrorCode::None,
                coordinator: Some(coordinator),
            },
            Err(error) => FindCoordinatorResponse {
                error,
                coordinator: None,
            },
        };
        self.requests.respond(io, token, response);
    }

    fn group_coordinator(
        &mut self,
        now: Now,
        key: &Arc<str>,
        io: &mut Io<'_>,
    ) -> Result<(protocol::ids::BrokerId, protocol::ids::Endpoint), ErrorCode> {
        let topic = TopicName::from(OFFSETS_TOPIC);
        let Some(count) = self.replicas.metadata().partition_count(&topic) else {
            self.auto_create(now, &[topic], io);
            return Err(ErrorCode::CoordinatorNotAvailable);
        };
        let count = i32::try_from(count).map_err(|_| ErrorCode::CoordinatorNotAvailable)?;
        let partition = TopicPartition::new(topic, partition_for(&GroupId(key.clone()), count));
        let cache = self.replicas.metadata();
        let leader = cache.partition(&partition).and_then(|cached| cached.leader);
        let found = leader.and_then(|leader| Some((leader, cache.endpoint(leader)?.clone())));
        found.ok_or(ErrorCode::CoordinatorNotAvailable)
    }

    fn init_producer_id(
        &mut self,
        now: Now,
        token: RequestToken,
        request: &InitProducerIdRequest,
        io: &mut Io<'_>,
    ) {
        if request.transactional_id.is_some() {
            let refusal = InitProducerIdResponse {
                error: ErrorCode::CoordinatorNotAvailable,
                producer_id: ProducerId(-1),
                producer_epoch: ProducerEpoch(-1),
            };
            self.requests.respond(io, token, refusal);
            return;
        }
        let mut hands = Hands {
            now,
            io,
            keeper: &mut self.coordination.keeper,
            requests: &mut self.requests,
        };
        self.coordination
            .producer_ids
            .init_producer_id(&mut hands, token);
    }

    fn administer(
        &mut self,
        now: Now,
        (token, version): (RequestToken, i16),
        body: &RequestBody,
        io: &mut Io<'_>,
    ) {
        let active = self.is_controller();
        let mut hands = Hands {
            now,
            io,
            keeper: &mut self.coordination.keeper,
            requests: &mut self.requests,
        };
        let (admin, cache) = (&mut self.coordination.admin, self.replicas.metadata());
        if let RequestBody::CreateTopics(request) = body {
            if active {
                admin.create_topics(&mut hands, cache, token, request);
            } else {
                TopicAdmin::refuse_create(&mut hands, token, request);
            }
        } else if let RequestBody::DeleteTopics(request) = body {
            if active {
                admin.delete_topics(&mut hands, cache, (token, version), request);
            } else {
                TopicAdmin::refuse_delete(&mut hands, token, request);
            }
        } else if let RequestBody::CreatePartitions(request) = body {
            if active {
                admin.create_partitions(&mut hands, cache, token, request);
            } else {
                TopicAdmin::refuse_partitions(&mut hands, token, request);
            }
        }
    }
}

fn not_controller() -> ControlledShutdownResponse {
    ControlledShutdownResponse {
        error: ErrorCode::NotController,
        remaining: Vec::new(),
    }
}

/// The ranges of Kafka 2.8, for the apis that are modelled.
fn api_versions() -> ApiVersionsResponse {
    let highest = |key: ApiKey| match key {
        ApiKey::Produce => 9,
        ApiKey::Fetch => 12,
        ApiKey::ListOffsets | ApiKey::DeleteTopics => 6,
        ApiKey::Metadata => 11,
        ApiKey::LeaderAndIsr | ApiKey::SyncGroup | ApiKey::DescribeGroups => 5,
        ApiKey::StopReplica
        | ApiKey::ControlledShutdown
        | ApiKey::FindCoordinator
        | ApiKey::ApiVersions
        | ApiKey::AddPartitionsToTxn
        | ApiKey::AddOffsetsToTxn
        | ApiKey::EndTxn
        | ApiKey::TxnOffsetCommit
        | ApiKey::CreatePartitions => 3,
        ApiKey::UpdateMetadata | ApiKey::OffsetFetch | ApiKey::JoinGroup | ApiKey::CreateTopics => {
            7
        }
        ApiKey::OffsetCommit => 8,
        ApiKey::Heartbeat
        | ApiKey::LeaveGroup
        | ApiKey::InitProducerId
        | ApiKey::OffsetForLeaderEpoch => 4,
        ApiKey::ElectLeaders | ApiKey::DeleteRecords => 2,
        ApiKey::AlterIsr
        | ApiKey::AlterPartitionReassignments
        | ApiKey::WriteTxnMarkers
        | ApiKey::ListPartitionReassignments => 0,
    };
    let versions = ApiKey::ALL
        .iter()
        .map(|key| (*key, 0, highest(*key)))
        .collect();
    ApiVersionsResponse {
        error: ErrorCode::None,
        versions,
    }
}
