//! Requests that the controller serves beside AlterIsr: controlled shutdown and elections; and brokers' answers.
//!
//! `doControlledShutdown`, `processReplicaLeaderElection`, `checkAndTriggerAutoLeaderRebalance`,
//! `processLeaderAndIsrResponseReceived`.

use super::channel::Answered;
use super::context::Replica;
use super::election::Strategy;
use super::event::ControllerEvent;
use super::isr::whole;
use super::partition_phase::PartitionPhase;
use super::reassignment::none_listed;
use super::replica_phase::ReplicaPhase;
use super::step::{Answering, Step, Then, Trigger};
use super::{Controller, Reply};
use crate::hands::Hands;
use crate::keeper_session::get_data;
use crate::znode::{json, paths};
use protocol::api::cluster::{
    ControlledShutdownRequest, ControlledShutdownResponse, LeaderAndIsrResponse,
    StopReplicaResponse,
};
use protocol::api::reassignment::AlterPartitionReassignmentsResponse;
use protocol::api::topics::{ElectLeadersRequest, ElectLeadersResponse};
use protocol::api::{RequestBody, ResponseBody};
use protocol::error_code::ErrorCode;
use protocol::ids::{BrokerId, TopicPartition};
use protocol::keeper::KeeperResult;
use protocol::machine::RequestToken;
use std::collections::{BTreeMap, BTreeSet};

impl Controller {
    pub(super) fn begin_controlled_shutdown(
        &mut self,
        hands: &mut Hands<'_, '_>,
        token: RequestToken,
        request: &ControlledShutdownRequest,
    ) {
        let broker = request.broker_id;
        let error = if self.is_active() {
            match (self.context.brokers.get(&broker), request.broker_epoch) {
                (None, _) => Some(ErrorCode::BrokerNotAvailable),
                (Some(known), Some(epoch)) if epoch < known.epoch => {
                    Some(ErrorCode::StaleBrokerEpoch)
                }
                (Some(_), _) => None,
            }
        } else {
            Some(ErrorCode::NotController)
        };
        if let Some(error) = error {
            refuse(hands, Answering::ControlledShutdown(token), error);
            return;
        }
        self.answering = Some(Answering::ControlledShutdown(token));
        self.context.shutting_down.insert(broker);
        let (mut led, mut followed) = (Vec::new(), Vec::new());
        for (partition, replicas) in &self.context.assignments {
            let known = self.context.leadership.get(partition);
            let Some(known) = known.filter(|_| replicas.len() > 1 && replicas.contains(&broker))
            else {
                continue;
            };
            if self.context.is_to_be_deleted(&partition.topic) {
                continue;
            }
            if known.state.leader == Some(broker) {
                led.push(partition.clone());
            } else {
                followed.push(partition.clone());
            }
        }
        self.hand_over(broker, led, followed);
    }

    fn hand_over(
        &mut self,
        broker: BrokerId,
        led: Vec<TopicPartition>,
        followed: Vec<TopicPartition>,
    ) {
        let replica = |partition: &TopicPartition| Replica {
            partition: partition.clone(),
            broker,
        };
        let replicas = followed.iter().map(replica).collect();
        self.then([
            Step::Partitions {
                partitions: led,
                target: PartitionPhase::Online,
                strategy: Some(Strategy::ControlledShutdown),
            },
            Step::StopFollowed {
                broker,
                partitions: followed,
            },
            Step::Replicas {
                replicas,
                target: ReplicaPhase::Offline,
            },
            Step::AnswerShutdown(broker),
        ]);
    }

    pub(super) fn stop_followed(&mut self, broker: BrokerId, partitions: &[TopicPartition]) {
        for partition in partitions {
            self.batch
                .stop_replica(&self.context, broker, partition, false);
        }
        self.agenda.push(Step::SendBatch);
    }

    pub(super) fn answer_shutdown(&mut self, hands: &mut Hands<'_, '_>, broker: BrokerId) {
        let leads = |partition: &&TopicPartition| {
            let known = self.context.leadership.get(*partition);
            known.is_some_and(|known| known.state.leader == Some(broker))
                && self.context.assignment(partition).len() > 1
        };
        let remaining = self.context.leadership.keys().filter(leads);
        let response = ControlledShutdownResponse {
            error: ErrorCode::None,
            remaining: remaining.cloned().collect(),
        };
        if let Some(Answering::ControlledShutdown(token)) = self.answering.take() {
            hands.respond(token, response);
        }
    }

    /// `processReplicaLeaderElection` for a client.
    pub(super) fn begin_elect_leaders(
        &mut self,
        hands: &mut Hands<'_, '_>,
        token: RequestToken,
        request: &ElectLeadersRequest,
    ) {
        let answering = Answering::ElectLeaders {
            token,
            all: request.partitions.is_none(),
        };
        if !self.is_active() {
            refuse(hands, answering, ErrorCode::NotController);
            return;
        }
        let all = || self.context.assignments.keys().cloned().collect();
        let strategy = if request.unclean {
            Strategy::Offline {
                allow_unclean: true,
            }
        } else {
            Strategy::Preferred
        };
        let partitions = request.partitions.clone().unwrap_or_else(all);
        self.answering = Some(answering);
        self.agenda.push(Step::ElectByRequest {
            partitions,
            strategy,
            trigger: Trigger::AdminClient,
        });
    }

    pub(super) fn elect_by_request(
        &mut self,
        partitions: Vec<TopicPartition>,
        strategy: Strategy,
        trigger: Trigger,
    ) {
        let mut errors = BTreeMap::new();
        let mut electable = Vec::new();
        for partition in partitions {
            match self.needs_election(&partition, strategy) {
                Ok(()) => electable.push(partition),
                Err(error) => {
                    errors.insert(partition, error);
                }
            }
        }
        let mut steps = vec![Step::Partitions {
            partitions: electable,
            target: PartitionPhase::Online,
            strategy: Some(strategy),
        }];
        match trigger {
            Trigger::AdminClient => steps.push(Step::AnswerElection(errors)),
            Trigger::Keeper => steps.push(Step::Delete(vec![paths::PREFERRED_ELECTION.into()])),
        }
        self.then(steps);
    }

    fn needs_election(
        &self,
        partition: &TopicPartition,
        strategy: Strategy,
    ) -> Result<(), ErrorCode> {
        if !self.context.assignments.contains_key(partition) {
            return Err(ErrorCode::UnknownTopicOrPartition);
        }
        if self.context.is_to_be_deleted(&partition.topic) {
            return Err(ErrorCode::InvalidTopicException);
        }
        let known = self.context.leadership.get(partition);
        let leader = known.and_then(|known| known.state.leader);
        let needed = if strategy == Strategy::Preferred {
            leader != self.context.assignment(partition).first().copied()
        } else {
            !leader.is_some_and(|leader| self.context.is_live(leader))
        };
        if needed {
            Ok(())
        } else {
            Err(ErrorCode::ElectionNotNeeded)
        }
    }

    pub(super) fn answer_election(
        &mut self,
        hands: &mut Hands<'_, '_>,
        mut errors: BTreeMap<TopicPartition, ErrorCode>,
    ) {
        errors.append(&mut self.elections);
        if let Some(Answering::ElectLeaders { token, all }) = self.answering.take() {
            // Asked for all partitions, those that needed nothing are not told of.
            let told = |(_, error): &(TopicPartition, ErrorCode)| {
                !all || *error != ErrorCode::ElectionNotNeeded
            };
            let response = ElectLeadersResponse {
                error: ErrorCode::None,
                partitions: errors.into_iter().filter(told).collect(),
            };
            hands.respond(token, response);
        }
    }

    /// `/admin/preferred_replica_election`: what a tool wrote there, or an earlier controller left.
    pub(super) fn read_preferred_election(&mut self, hands: &mut Hands<'_, '_>) {
        let op = get_data(paths::PREFERRED_ELECTION, true);
        self.ask(hands, vec![op], Then::PreferredRead);
    }

    pub(super) fn preferred_read(&mut self, replies: &[Reply]) {
        if let Some(Ok(KeeperResult::Data(data, _))) = replies.first() {
            self.agenda.push(Step::ElectByRequest {
                partitions: json::decode_partitions(data),
                strategy: Strategy::Preferred,
                trigger: Trigger::Keeper,
            });
        }
    }

    /// `checkAndTriggerAutoLeaderRebalance`.
    pub(super) fn rebalance(&mut self) {
        let mut by_preferred: BTreeMap<BrokerId, Vec<&TopicPartition>> = BTreeMap::new();
        for (partition, replicas) in &self.context.assignments {
            let preferred = replicas.first();
            if let Some(preferred) =
                preferred.filter(|_| !self.context.is_to_be_deleted(&partition.topic))
            {
                by_preferred.entry(*preferred).or_default().push(partition);
            }
        }
        let mut steps = Vec::new();
        for (broker, partitions) in by_preferred {
            let elsewhere = |partition: &&&TopicPartition| {
                let known = self.context.leadership.get(**partition);
                known.is_some_and(|known| known.state.leader != Some(broker))
            };
            let moved: Vec<_> = partitions.iter().filter(elsewhere).copied().collect();
            let percentage = u128::from(self.settings.imbalance_percentage);
            let (moved_count, all_count) = (wide(moved.len()), wide(partitions.len()));
            if moved_count * 100 <= percentage * all_count {
                continue;
            }
            let ready = |partition: &&TopicPartition| {
                let known = self.context.leadership.get(*partition);
                self.context.is_online(broker, partition)
                    && self.context.reassigning.is_empty()
                    && known.is_some_and(|known| known.state.isr.contains(&broker))
            };
            steps.push(Step::Partitions {
                partitions: moved.into_iter().filter(ready).cloned().collect(),
                target: PartitionPhase::Online,
                strategy: Some(Strategy::Preferred),
            });
        }
        steps.push(Step::ScheduleRebalance(self.settings.rebalance_interval));
        self.then(steps);
    }

    /// A broker answered a request of the controller.
    pub(super) fn response(&mut self, answered: Answered) {
        let broker = answered.request.broker;
        if let ResponseBody::LeaderAndIsr(response) = answered.response {
            self.leader_and_isr_answered(broker, response);
        } else if let (ResponseBody::StopReplica(response), RequestBody::StopReplica(request)) =
            (answered.response, answered.request.body)
        {
            let deleting: BTreeSet<TopicPartition> = request
                .partitions
                .into_iter()
                .filter(|told| told.delete)
                .map(|told| told.partition)
                .collect();
            self.stop_replica_answered(broker, response, &deleting);
        }
        // UpdateMetadata's error is only logged.
    }

    fn leader_and_isr_answered(&mut self, broker: BrokerId, response: LeaderAndIsrResponse) {
        if response.error != ErrorCode::None {
            return;
        }
        // An answer that names ids does not speak of a later topic of the same name.
        let told = response.topic_ids.as_ref();
        let known = &self.context.topic_ids;
        let meant = |(of, _): &(TopicPartition, ErrorCode)| {
            told.is_none_or(|ids| {
                let id = ids.get(&of.topic);
                id.is_some() && id == known.get(&of.topic)
            })
        };
        let failed = self.context.offline_dirs.entry(broker).or_default();
        let mut newly = Vec::new();
        for (partition, error) in response.partitions.into_iter().filter(meant) {
            if error == ErrorCode::None {
                failed.remove(&partition);
            } else if error == ErrorCode::KafkaStorageError && failed.insert(partition.clone()) {
                newly.push(Replica { partition, broker });
            }
        }
        if failed.is_empty() {
            self.context.offline_dirs.remove(&broker);
        }
        if !newly.is_empty() {
            self.agenda.push(Step::ReplicasOffline(newly));
        }
    }

    fn stop_replica_answered(
        &mut self,
        broker: BrokerId,
        response: StopReplicaResponse,
        deleting: &BTreeSet<TopicPartition>,
    ) {
        // An error of the whole request (a stale epoch) is no answer: the deletion goes on when the broker is seen again.
        if response.error != ErrorCode::None {
            return;
        }
        let stopped = response
            .partitions
            .into_iter()
            .filter(|(partition, _)| deleting.contains(partition))
            .map(|(partition, error)| (Replica { partition, broker }, error))
            .collect();
        self.replicas_stopped(stopped);
    }
}

fn wide(count: usize) -> u128 {
    u128::try_from(count).unwrap_or(u128::MAX)
}

/// An event that is dropped because the session expired (`PreemptableControllerEvent.preempt`).
pub(super) fn preempt(hands: &mut Hands<'_, '_>, event: &ControllerEvent) {
    match event {
        ControllerEvent::AlterIsr(token, _) => {
            refuse(hands, Answering::AlterIsr(*token), ErrorCode::NotController);
        }
        ControllerEvent::ControlledShutdown(token, _) => {
            let answering = Answering::ControlledShutdown(*token);
            refuse(hands, answering, ErrorCode::NotController);
        }
        ControllerEvent::ElectLeaders(token, _) => {
            let token = *token;
            let answering = Answering::ElectLeaders { token, all: true };
            refuse(hands, answering, ErrorCode::NotController);
        }
        ControllerEvent::Reassign(token, _) => {
            refuse(hands, Answering::Reassign(*token), ErrorCode::NotController);
        }
        ControllerEvent::ListReassignments(token, _) => {
            hands.respond(*token, none_listed(ErrorCode::NotController));
        }
        ControllerEvent::Startup
        | ControllerEvent::ControllerChange
        | ControllerEvent::Reelect
        | ControllerEvent::Expire
        | ControllerEvent::RegisterBrokerAndReelect
        | ControllerEvent::BrokerChange
        | ControllerEvent::TopicChange
        | ControllerEvent::PartitionModifications(_)
        | ControllerEvent::TopicDeletion
        | ControllerEvent::IsrChangeNotification
        | ControllerEvent::LogDirEventNotification
        | ControllerEvent::PreferredReplicaElection
        | ControllerEvent::ZkPartitionReassignment
        | ControllerEvent::PartitionReassignmentIsrChange(_)
        | ControllerEvent::AutoPreferredReplicaElection
        | ControllerEvent::UncleanElectionEnabled(_)
        | ControllerEvent::SettingsChanged(_)
        | ControllerEvent::Response(_) => {}
    }
}

/// Answers with an error of the whole request.
pub(super) fn refuse(hands: &mut Hands<'_, '_>, answering: Answering, error: ErrorCode) {
    match answering {
        Answering::AlterIsr(token) => hands.respond(token, whole(error)),
        Answering::ControlledShutdown(token) => {
            let remaining = Vec::new();
            hands.respond(token, ControlledShutdownResponse { error, remaining });
        }
        Answering::Reassign(token) => {
            let partitions = Vec::new();
            hands.respond(
                token,
                AlterPartitionReassignmentsResponse { error, partitions },
            );
        }
        Answering::ElectLeaders { token, .. } => {
            let partitions = Vec::new();
            hands.respond(token, ElectLeadersResponse { error, partitions });
        }
    }
}
