//! LeaderAndIsr and UpdateMetadata: what the controller says, and what becomes of the replicas here
//! (`ReplicaManager.becomeLeaderOrFollower`, `makeLeaders`, `makeFollowers`, `maybeUpdateMetadataCache`).
//!
//! Two stamps are checked first: the controller's epoch, so that a replaced controller is not obeyed, and this broker's own,
//! so that what was meant for its former life is not (KIP-380). Then each partition must be of the topic whose log is here
//! (KIP-516), and its leader epoch a new one. As in 2.8 a log that was found at the start is not looked at the first time:
//! the partition gets it later (3.0 looks there as well).

use super::partition::{Partition, Role, Slot};
use super::{Handled, Hosted, ReplicaManager, Step};
use crate::log::Log;
use protocol::api::cluster::{
    ControllerStamp, LeaderAndIsrPartition, LeaderAndIsrRequest, LeaderAndIsrResponse,
    UpdateMetadataRequest, UpdateMetadataResponse,
};
use protocol::behaviour::{Era, Fix};
use protocol::error_code::ErrorCode;
use protocol::ids::{LeaderEpoch, TopicId, TopicPartition};
use protocol::machine::RequestToken;
use protocol::note::{BrokerNote, Note, ReplicaNote, TruncationRule};

/// A partition changed hands here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LeadershipChange {
    /// This broker leads it now, or leads it in a new epoch.
    BecameLeader {
        /// In this epoch.
        epoch: LeaderEpoch,
    },
    /// This broker leads it no longer, or follows a new leader.
    Resigned {
        /// In this epoch; `None` when the replica was deleted.
        epoch: Option<LeaderEpoch>,
    },
}

impl ReplicaManager {
    /// Whether a control request may be obeyed; an obeyed one sets the controller epoch.
    pub(super) fn check_stamp(
        &mut self,
        step: &mut Step<'_, '_>,
        stamp: &ControllerStamp,
    ) -> Result<(), ErrorCode> {
        let behaviour = self.rules.behaviour;
        let stale_broker = behaviour.has(Fix::BrokerEpoch)
            && match (stamp.broker_epoch, self.broker_epoch) {
                (Some(meant), Some(own)) if behaviour.has(Fix::AcceptNewerBrokerEpoch) => {
                    meant < own
                }
                (Some(meant), Some(own)) => meant != own,
                // Before its registration is answered a broker does not know its epoch.
                (Some(_), None) => !behaviour.has(Fix::AcceptNewerBrokerEpoch),
                (None, _) => false,
            };
        let stale_controller = behaviour.has(Fix::ControllerEpochCheck)
            && self
                .controller_epoch
                .is_some_and(|known| stamp.controller_epoch < known);
        let error = if stale_broker {
            ErrorCode::StaleBrokerEpoch
        } else if stale_controller {
            ErrorCode::StaleControllerEpoch
        } else {
            self.controller_epoch = Some(stamp.controller_epoch);
            let meant = stamp.broker_epoch.zip(self.broker_epoch);
            self.is_known |= meant.is_some_and(|(meant, own)| meant >= own);
            return Ok(());
        };
        step.io
            .note(Note::Broker(BrokerNote::ControlRefused(error)));
        Err(error)
    }

    pub(super) fn update_metadata(
        &mut self,
        step: &mut Step<'_, '_>,
        token: RequestToken,
        request: &UpdateMetadataRequest,
    ) -> Handled {
        let result = self.check_stamp(step, &request.controller);
        let response = UpdateMetadataResponse {
            error: result.err().unwrap_or(ErrorCode::None),
        };
        let handled = if result.is_ok() {
            Handled::MetadataUpdated(self.metadata.update(request))
        } else {
            Handled::Done
        };
        step.requests.respond(step.io, token, response);
        handled
    }

    pub(super) fn leader_and_isr(
        &mut self,
        step: &mut Step<'_, '_>,
        token: RequestToken,
        (api_version, request): (i16, LeaderAndIsrRequest),
    ) {
        if let Err(error) = self.check_stamp(step, &request.controller) {
            let response = LeaderAndIsrResponse {
                error,
                partitions: Vec::new(),
                topic_ids: None,
            };
            step.requests.respond(step.io, token, response);
            return;
        }
        let mut answers = Vec::with_capacity(request.partitions.len());
        let mut accepted = Vec::new();
        for told in request.partitions {
            let slot = self.slot_for(&told.partition);
            let id = request.topic_ids.get(&told.partition.topic).copied();
            let error = self.judge(step, slot, (&told, id));
            answers.push((told.partition.clone(), error));
            if error.is_none() {
                accepted.push((slot, told, answers.len() - 1));
            }
        }
        // Leaders first, as in Kafka; a fetcher must not append to what is led here.
        let local = self.rules.local;
        let (lead, follow): (Vec<_>, Vec<_>) = accepted
            .into_iter()
            .partition(|(_, told, _)| told.state.leader == Some(local));
        for (slot, told, place) in &lead {
            answers[*place].1 = self.make_leader(step, *slot, told);
        }
        for (slot, told, place) in &follow {
            answers[*place].1 = self.make_follower(step, *slot, told);
        }
        for (_, told, place) in lead.iter().chain(&follow) {
            let id = request.topic_ids.get(&told.partition.topic).copied();
            if answers[*place].1.is_none() {
                let named = self.name_log(step, &told.partition, id);
                answers[*place].1 = named.err().unwrap_or(ErrorCode::None);
            }
        }
        if !self.checkpointing {
            self.schedule_checkpoint(step.now, step.io);
        }
        self.fetchers.close_idle(step.io);
        let response = LeaderAndIsrResponse {
            error: ErrorCode::None,
            partitions: answers,
            topic_ids: (api_version >= 5).then_some(request.topic_ids),
        };
        step.requests.respond(step.io, token, response);
    }

    /// Writes the topic's id beside a log that has none yet.
    fn name_log(
        &mut self,
        step: &mut Step<'_, '_>,
        name: &TopicPartition,
        id: Option<TopicId>,
    ) -> Result<(), ErrorCode> {
        let nameless = self
            .logs
            .get(name)
            .is_some_and(|log| log.topic_id().is_none());
        let Some(id) = id.filter(|_| nameless) else {
            return Ok(());
        };
        let log = self.logs.get_mut(name);
        let written = log.map_or(Ok(()), |log| log.assign_topic_id(step.io, id));
        self.check_disk(step, name, written.err());
        written
    }

    /// Whether a partition's log is of the topic that is meant (`Partition.checkOrSetTopicId`).
    fn check_topic(
        &mut self,
        step: &mut Step<'_, '_>,
        name: &TopicPartition,
        meant: Option<TopicId>,
    ) -> Result<(), ErrorCode> {
        self.name_log(step, name, meant)?;
        let own = self.logs.get(name).and_then(Log::topic_id);
        if meant.is_some() && own.is_some() && meant != own {
            return Err(ErrorCode::InconsistentTopicId);
        }
        Ok(())
    }

    /// Whether a partition's state is news; a partition that is hosted nowhere yet begins to be.
    fn judge(
        &mut self,
        step: &mut Step<'_, '_>,
        slot: Slot,
        (told, id): (&LeaderAndIsrPartition, Option<TopicId>),
    ) -> ErrorCode {
        let known = match self.hosted(slot) {
            Hosted::Offline => return ErrorCode::KafkaStorageError,
            Hosted::Online(partition) => {
                let known = partition.leader_epoch;
                if let Err(error) = self.check_topic(step, &told.partition, id) {
                    return error;
                }
                known
            }
            Hosted::None => None,
        };
        if known.is_some_and(|known| told.state.leader_epoch <= known) {
            return ErrorCode::StaleControllerEpoch;
        }
        if !told.replicas.contains(&self.rules.local) {
            return ErrorCode::UnknownTopicOrPartition;
        }
        if matches!(self.hosted(slot), Hosted::None) {
            let partition = Partition::new(told.partition.clone());
            self.hosted[slot.index()] = Hosted::Online(Box::new(partition));
        }
        ErrorCode::None
    }

    /// Finds or creates the log (`createLogIfNotExists`).
    fn ensure_log(
        &mut self,
        step: &mut Step<'_, '_>,
        slot: Slot,
        told: &LeaderAndIsrPartition,
    ) -> Result<(), ErrorCode> {
        let result = self
            .logs
            .ensure(step.now, step.io, &told.partition, told.is_new);
        if result.is_err() {
            self.hosted[slot.index()] = Hosted::Offline;
        }
        result
    }

    /// Told of a partition that had leaders before, without a log of it: its disk was replaced. If it is to lead, the
    /// controller takes the refusal for an offline log directory and elects somebody else; if it counts as in sync, it
    /// refuses until it has caught up. What a broker hears of later than of its other partitions was created since it started,
    /// and the order that made its log was lost. It never existed in ZooKeeper mode; directory ids (KIP-858) are what came of it later.
    fn comes_back_empty(&self, told: &LeaderAndIsrPartition) -> bool {
        self.rules.behaviour.has(Fix::RejectEmptyLog)
            && !self.checkpointing
            && !told.is_new
            && told.state.leader_epoch > LeaderEpoch(0)
            && self.logs.view(&told.partition).is_none()
    }

    /// Whether a replica that is in sync by the controller's word has nothing yet.
    fn remember_empty(&mut self, slot: Slot, told: &LeaderAndIsrPartition) -> bool {
        let empty = self.comes_back_empty(told);
        let in_sync = told.state.isr.contains(&self.rules.local);
        let Some(partition) = self.online_mut(slot) else {
            return false;
        };
        partition.came_back_empty = in_sync && (partition.came_back_empty || empty);
        empty || partition.came_back_empty
    }

    fn make_leader(
        &mut self,
        step: &mut Step<'_, '_>,
        slot: Slot,
        told: &LeaderAndIsrPartition,
    ) -> ErrorCode {
        let name = &told.partition;
        self.fetchers.remove(slot);
        if self.remember_empty(slot, told) {
            return ErrorCode::KafkaStorageError;
        }
        if let Err(error) = self.ensure_log(step, slot, told) {
            return error;
        }
        let Some(view) = self.logs.view(name) else {
            return ErrorCode::KafkaStorageError;
        };
        let epoch = told.state.leader_epoch;
        if self.rules.behaviour.has(Fix::PersistEpochOnElection)
            && let Err(error) = self.logs.assign_epoch(step.io, name, (epoch, view.end))
        {
            self.check_disk(step, name, Some(error));
            return error;
        }
        let rules = self.rules;
        if let Some(partition) = self.online_mut(slot) {
            partition.become_leader(step.now.mono, told, view.end, &rules);
        }
        let note = ReplicaNote::BecameLeader {
            leader_epoch: epoch,
            isr: told.state.isr.clone(),
            log_end_offset: view.end,
        };
        step.note(name, note);
        if let Some(log) = self.logs.get_mut(name) {
            log.on_leader(step.io);
        }
        self.leadership_changes
            .push((name.clone(), LeadershipChange::BecameLeader { epoch }));
        if self.advance_high_watermark(step, slot) {
            self.wake_all(step, slot);
        }
        ErrorCode::None
    }

    fn make_follower(
        &mut self,
        step: &mut Step<'_, '_>,
        slot: Slot,
        told: &LeaderAndIsrPartition,
    ) -> ErrorCode {
        self.remember_empty(slot, told);
        if let Err(error) = self.ensure_log(step, slot, told) {
            return error;
        }
        // A leader this broker has not been told of cannot be followed: Kafka gives the transition up and waits to be told
        // again. The log exists all the same, so that its high watermark is written down (KAFKA-1647).
        let endpoint = told
            .state
            .leader
            .and_then(|leader| self.metadata.endpoint(leader))
            .cloned();
        let (Some(leader), Some(endpoint)) = (told.state.leader, endpoint) else {
            return ErrorCode::None;
        };
        let name = &told.partition;
        let was_leader = self.online(slot).is_some_and(Partition::is_leader);
        self.fetchers.remove(slot);
        let early = self.truncates_when_told();
        if early && !self.rules.behaviour.has(Fix::FollowerFlagFirst) && was_leader {
            // KAFKA-1154: the log is cut first, and the flag follows when the fetcher's thread comes to it; until then this
            // broker takes produce requests as if it led.
            self.cut_to_high_watermark(step, name);
            self.fetchers
                .follow_later(step.io, (leader, endpoint), told.clone());
            return ErrorCode::None;
        }
        self.flag_follower(step, slot, told);
        if early {
            self.cut_to_high_watermark(step, name);
        }
        if !self.shutting_down {
            self.start_fetching(step, slot, (leader, endpoint));
        }
        ErrorCode::None
    }

    /// Up to 0.10 a follower was cut while LeaderAndIsr was handled, later by its fetcher.
    fn truncates_when_told(&self) -> bool {
        self.rules.behaviour.era < Era::V1_0 && !self.rules.behaviour.truncates_by_epoch()
    }

    fn cut_to_high_watermark(&mut self, step: &mut Step<'_, '_>, name: &TopicPartition) {
        let Some(view) = self.logs.view(name) else {
            return;
        };
        let cut = (view.high_watermark, TruncationRule::HighWatermark);
        let result = self.logs.truncate(step.now, step.io, name, cut);
        self.check_disk(step, name, result.err());
    }

    /// `Partition.makeFollower`, and whoever waits here is told that this is no leader any more.
    pub(super) fn flag_follower(
        &mut self,
        step: &mut Step<'_, '_>,
        slot: Slot,
        told: &LeaderAndIsrPartition,
    ) {
        let rules = self.rules;
        let Some(partition) = self.online_mut(slot) else {
            return;
        };
        partition.become_follower(told, &rules);
        let note = ReplicaNote::BecameFollower {
            leader_epoch: told.state.leader_epoch,
            leader: told.state.leader,
        };
        step.note(&told.partition, note);
        let change = LeadershipChange::Resigned {
            epoch: Some(told.state.leader_epoch),
        };
        self.leadership_changes
            .push((told.partition.clone(), change));
        self.wake_all(step, slot);
    }

    /// Whom this broker follows in a partition, and in which epoch.
    pub(super) fn followed(&self, slot: Slot) -> Option<LeaderEpoch> {
        let partition = self.online(slot)?;
        match partition.role {
            Role::Follower(Some(_)) => partition.leader_epoch,
            Role::Follower(None) | Role::None | Role::Leader(_) => None,
        }
    }
}
