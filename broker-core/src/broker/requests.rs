//! Which part serves which request (`KafkaApis.handle`).

use super::Broker;
use crate::group::{Call, Desk, GroupRequest, OFFSETS_TOPIC, partition_for};
use crate::hands::Hands;
use crate::metadata_cache::is_internal;
use crate::replication::{Handled, Step};
use crate::request_channel::Taken;
use crate::topic_admin::TopicAdmin;
use crate::transaction::Caller;
use protocol::api::cluster::ControlledShutdownResponse;
use protocol::api::group::{
    CommittedOffset, CoordinatorKind, FindCoordinatorRequest, FindCoordinatorResponse,
};
use protocol::api::topics::{MetadataRequest, TopicMetadata};
use protocol::api::{ApiKey, ApiVersionsResponse, RequestBody};
use protocol::behaviour::{Behaviour, Fix};
use protocol::error_code::ErrorCode;
use protocol::ids::{GroupId, TopicName, TopicPartition};
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
        let clean = self.replicas.after_clean_shutdown();
        self.coordination.registration.after_clean_shutdown(clean);
        self.coordination
            .on_metadata(now, io, (&mut self.requests, self.replicas.metadata()));
        self.transactions.on_metadata(io);
    }

    fn serve_other(&mut self, now: Now, taken: Taken, io: &mut Io<'_>) {
        let Taken {
            token,
            from,
            request,
        } = taken;
        let version = request.api_version;
        match request.body {
            RequestBody::ApiVersions(_) => {
                let versions = api_versions(self.spec.behaviour);
                self.requests.respond(io, token, versions);
            }
            RequestBody::Metadata(body) => self.metadata(now, (token, version), &body, io),
            RequestBody::FindCoordinator(body) => self.find_coordinator(now, token, &body, io),
            body @ (RequestBody::JoinGroup(_)
            | RequestBody::SyncGroup(_)
            | RequestBody::Heartbeat(_)
            | RequestBody::LeaveGroup(_)
            | RequestBody::OffsetCommit(_)
            | RequestBody::OffsetFetch(_)
            | RequestBody::TxnOffsetCommit(_)
            | RequestBody::DescribeGroups(_)) => {
                let call = Call {
                    token,
                    client_id: request.client_id.0.clone(),
                    client_host: from,
                    api_version: version,
                    unknown: BTreeSet::new(),
                };
                self.serve_group(now, call, body, io);
            }
            RequestBody::InitProducerId(body) if body.transactional_id.is_none() => {
                self.init_producer_id(now, token, io);
            }
            body @ (RequestBody::InitProducerId(_)
            | RequestBody::AddPartitionsToTxn(_)
            | RequestBody::AddOffsetsToTxn(_)
            | RequestBody::EndTxn(_)) => {
                self.serve_transaction(now, Caller { token, version }, body, io);
            }
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
            | RequestBody::CreatePartitions(_)
            | RequestBody::IncrementalAlterConfigs(_)) => {
                self.administer(now, (token, version), &body, io);
            }
            RequestBody::Produce(_)
            | RequestBody::WriteTxnMarkers(_)
            | RequestBody::Fetch(_)
            | RequestBody::ListOffsets(_)
            | RequestBody::OffsetForLeaderEpoch(_)
            | RequestBody::DeleteRecords(_)
            | RequestBody::LeaderAndIsr(_)
            | RequestBody::StopReplica(_)
            | RequestBody::UpdateMetadata(_) => unreachable!("the replicas serve these"),
        }
    }

    /// Requests for the group coordinator.
    fn serve_group(&mut self, now: Now, mut call: Call, body: RequestBody, io: &mut Io<'_>) {
        let request = if let RequestBody::JoinGroup(body) = body {
            GroupRequest::Join(body)
        } else if let RequestBody::SyncGroup(body) = body {
            GroupRequest::Sync(body)
        } else if let RequestBody::Heartbeat(body) = body {
            GroupRequest::Heartbeat(body)
        } else if let RequestBody::LeaveGroup(body) = body {
            GroupRequest::Leave(body)
        } else if let RequestBody::OffsetCommit(body) = body {
            call.unknown = self.unknown_partitions(&body.offsets);
            GroupRequest::OffsetCommit(body)
        } else if let RequestBody::TxnOffsetCommit(body) = body {
            call.unknown = self.unknown_partitions(&body.offsets);
            GroupRequest::TxnOffsetCommit(body)
        } else if let RequestBody::OffsetFetch(body) = body {
            GroupRequest::OffsetFetch(body)
        } else if let RequestBody::DescribeGroups(body) = body {
            GroupRequest::Describe(body)
        } else {
            return;
        };
        self.group(now, &call, request, io);
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

    fn unknown_partitions(&self, offsets: &[CommittedOffset]) -> BTreeSet<TopicPartition> {
        let cache = self.replicas.metadata();
        let named = offsets.iter().map(|offset| &offset.partition);
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
        let (to_create, unknown): (Vec<TopicName>, Vec<TopicName>) = missing
            .into_iter()
            .partition(|topic| create || (is_internal(topic) && request.allow_auto_topic_creation));
        let mut errors: Vec<(TopicName, ErrorCode)> = unknown
            .into_iter()
            .map(|topic| (topic, ErrorCode::UnknownTopicOrPartition))
            .collect();
        if !to_create.is_empty() {
            errors.extend(self.auto_create(now, &to_create, io));
        }
        for (topic, error) in errors {
            let is_internal = is_internal(&topic);
            response.topics.push(TopicMetadata {
                error,
                topic,
                id: None,
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
            CoordinatorKind::Transaction => self.transaction_coordinator(now, &request.key, io),
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
        let group = GroupId(key.clone());
        self.coordinator_in(now, topic, io, |count| partition_for(&group, count))
    }

    /// The leader of the partition of an internal topic that `place` names; the topic is created on first use.
    pub(super) fn coordinator_in(
        &mut self,
        now: Now,
        topic: TopicName,
        io: &mut Io<'_>,
        place: impl FnOnce(i32) -> i32,
    ) -> Result<(protocol::ids::BrokerId, protocol::ids::Endpoint), ErrorCode> {
        let Some(count) = self.replicas.metadata().partition_count(&topic) else {
            self.auto_create(now, &[topic], io);
            return Err(ErrorCode::CoordinatorNotAvailable);
        };
        let count = i32::try_from(count).map_err(|_| ErrorCode::CoordinatorNotAvailable)?;
        let partition = TopicPartition::new(topic, place(count));
        let cache = self.replicas.metadata();
        let leader = cache.partition(&partition).and_then(|cached| cached.leader);
        let found = leader.and_then(|leader| Some((leader, cache.endpoint(leader)?.clone())));
        found.ok_or(ErrorCode::CoordinatorNotAvailable)
    }

    fn init_producer_id(&mut self, now: Now, token: RequestToken, io: &mut Io<'_>) {
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
        } else if let RequestBody::IncrementalAlterConfigs(request) = body {
            admin.alter_configs(&mut hands, cache, token, request);
        }
    }
}

fn not_controller() -> ControlledShutdownResponse {
    ControlledShutdownResponse {
        error: ErrorCode::NotController,
        remaining: Vec::new(),
    }
}

/// The ranges of Kafka 2.8, for the apis that are modelled; those of 4.0 where KIP-890 needs them.
fn api_versions(behaviour: Behaviour) -> ApiVersionsResponse {
    let highest = |key: ApiKey| match key {
        ApiKey::EndTxn if behaviour.has(Fix::EpochPerTransaction) => 5,
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
        ApiKey::IncrementalAlterConfigs => 1,
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
