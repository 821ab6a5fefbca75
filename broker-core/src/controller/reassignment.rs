//! Moving a partition's replicas to other brokers (`onPartitionReassignment`; KIP-455).
//!
//! A move goes through phases that a new controller can pick up again, because the topic's znode says what is being added
//! and removed:
//!
//! - *U*: the wish is written to the topic's znode; replicas that an earlier wish was adding and this one does not want stop.
//! - *A*, until every replica of the target is in sync: the leader epoch rises and all replicas, old and new, hear of each
//!   other; new ones begin to follow.
//! - *B*: the target becomes the assignment. If the leader is not in it, another is elected, else the epoch rises once more;
//!   replicas to be removed leave the ISR and delete their logs; the znode is written; everybody is told.
//!
//! The leader's ISR tells when A is over: by AlterIsr, or before 2.7 by a watch on the partition's state. Wishes come by
//! request, or by `/admin/reassign_partitions`. Before 2.4 the latter was the only way, wrote no replicas being added or
//! removed to the topic's znode, and allowed one wish at a time; a tool created the znode itself. No tool here has a keeper
//! session, so the controller of such an era does it for the one who asks.

use super::context::{Replica, ReplicaAssignment};
use super::election::Strategy;
use super::failover::decode_state;
use super::partition_phase::PartitionPhase;
use super::replica_phase::ReplicaPhase;
use super::step::{Answering, DropFromZk, Step, Then};
use super::{Controller, ControllerEvent, Reply, note};
use crate::hands::Hands;
use crate::keeper_session::{create, delete, exists, get_data, set_data};
use crate::replication::IsrPath;
use crate::znode::json::PartitionState;
use crate::znode::topic::{Topic, TopicVersion};
use crate::znode::{json, paths};
use protocol::api::cluster::LeaderAndIsr;
use protocol::api::reassignment::{
    AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse,
    ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse,
    OngoingPartitionReassignment,
};
use protocol::behaviour::{Era, Fix};
use protocol::error_code::{ErrorCode, KeeperError};
use protocol::ids::{BrokerId, PartitionEpoch, TopicPartition};
use protocol::keeper::KeeperResult;
use protocol::machine::RequestToken;
use protocol::note::ControllerNote;
use std::collections::BTreeSet;

type Wish = (TopicPartition, Option<Vec<BrokerId>>);

impl Controller {
    /// Whether moves can be asked for by request, and the topic's znode tells of them.
    fn knows_kip_455(&self) -> bool {
        self.settings.behaviour.era >= Era::V2_8
    }

    /// `processApiPartitionReassignment`.
    pub(super) fn begin_reassign(
        &mut self,
        hands: &mut Hands<'_, '_>,
        token: RequestToken,
        request: AlterPartitionReassignmentsRequest,
    ) {
        let answering = Answering::Reassign(token);
        if !self.is_active() {
            super::requests::refuse(hands, answering, ErrorCode::NotController);
            return;
        }
        self.answering = Some(answering);
        if self.knows_kip_455() {
            self.reassign_by_request(request.partitions);
        } else {
            self.reassign_by_znode(hands, request.partitions);
        }
    }

    fn reassign_by_request(&mut self, wishes: Vec<Wish>) {
        let (mut accepted, mut results) = (Vec::new(), Vec::new());
        for (partition, target) in wishes {
            match self.judge(&partition, target.as_deref()) {
                Ok(wanted) => {
                    results.push((partition.clone(), ErrorCode::None));
                    accepted.push((partition, wanted));
                }
                Err(error) => results.push((partition, error)),
            }
        }
        // The latest wish counts, whichever way it came.
        let names = accepted.iter().map(|(partition, _)| partition.clone());
        let mut steps = vec![Step::DropFromZk(DropFromZk::All(names.collect()))];
        steps.extend(accepted.into_iter().map(|(of, to)| Step::Reassign(of, to)));
        steps.push(Step::AnswerReassign(results));
        self.then(steps);
    }

    /// Writes what `kafka-reassign-partitions` wrote.
    fn reassign_by_znode(&mut self, hands: &mut Hands<'_, '_>, wishes: Vec<Wish>) {
        let names: Vec<TopicPartition> = wishes.iter().map(|(of, _)| of.clone()).collect();
        let wanted: Option<Vec<_>> = wishes
            .into_iter()
            .map(|(partition, target)| Some((partition, target?)))
            .collect();
        let Some(wanted) = wanted else {
            // There was no way to cancel.
            let results = names.into_iter();
            let results = results.map(|of| (of, ErrorCode::UnsupportedVersion));
            self.agenda.push(Step::AnswerReassign(results.collect()));
            return;
        };
        let content = json::encode_reassignment(&wanted);
        let op = create(paths::REASSIGN_PARTITIONS, content);
        self.ask(hands, vec![op], Then::ReassignmentAsked(names));
    }

    pub(super) fn reassignment_asked(&mut self, names: Vec<TopicPartition>, replies: &[Reply]) {
        let error = match replies.first() {
            Some(Ok(_)) => ErrorCode::None,
            Some(Err(KeeperError::NodeExists)) => ErrorCode::ReassignmentInProgress,
            Some(Err(_)) | None => ErrorCode::UnknownServerError,
        };
        let results = names.into_iter().map(|of| (of, error)).collect();
        self.agenda.push(Step::AnswerReassign(results));
    }

    /// `validateReplicas` and `maybeBuildReassignment`.
    fn judge(
        &self,
        partition: &TopicPartition,
        target: Option<&[BrokerId]>,
    ) -> Result<ReplicaAssignment, ErrorCode> {
        let current = self.context.full_assignment(partition);
        if let Some(target) = target {
            let distinct: BTreeSet<_> = target.iter().collect();
            let wanted = current.reassign_to(target);
            let possible = !target.is_empty()
                && target.iter().all(|id| id.0 >= 0)
                && distinct.len() == target.len()
                && wanted.adding.iter().all(|id| self.context.is_live(*id));
            if !possible {
                return Err(ErrorCode::InvalidReplicaAssignment);
            }
        }
        let wanted = current
            .wanted(target)
            .ok_or(ErrorCode::NoReassignmentInProgress)?;
        self.movable(partition).map(|()| wanted)
    }

    fn movable(&self, partition: &TopicPartition) -> Result<(), ErrorCode> {
        let unknown = self.context.is_to_be_deleted(&partition.topic)
            || self.context.assignment(partition).is_empty();
        if unknown {
            return Err(ErrorCode::UnknownTopicOrPartition);
        }
        Ok(())
    }

    pub(super) fn answer_reassign(
        &mut self,
        hands: &mut Hands<'_, '_>,
        partitions: Vec<(TopicPartition, ErrorCode)>,
    ) {
        if let Some(Answering::Reassign(token)) = self.answering.take() {
            let response = AlterPartitionReassignmentsResponse {
                error: ErrorCode::None,
                partitions,
            };
            hands.respond(token, response);
        }
    }

    /// `processListPartitionReassignments`.
    pub(super) fn list_reassignments(
        &self,
        hands: &mut Hands<'_, '_>,
        token: RequestToken,
        request: ListPartitionReassignmentsRequest,
    ) {
        if !self.is_active() {
            hands.respond(token, none_listed(ErrorCode::NotController));
            return;
        }
        let all = || self.context.reassigning.iter().cloned().collect();
        let asked: Vec<TopicPartition> = request.partitions.unwrap_or_else(all);
        let ongoing = |partition: TopicPartition| {
            let known = self.context.full_assignment(&partition);
            known.is_moving().then_some(OngoingPartitionReassignment {
                partition,
                replicas: known.replicas,
                adding: known.adding,
                removing: known.removing,
            })
        };
        let response = ListPartitionReassignmentsResponse {
            error: ErrorCode::None,
            partitions: asked.into_iter().filter_map(ongoing).collect(),
        };
        hands.respond(token, response);
    }

    // The znode of the older way.

    /// Reads `/admin/reassign_partitions`, watching for it, as a read of what is not there does not; `failover` also resumes
    /// what no znode asks for.
    pub(super) fn read_zk_reassignment(&mut self, hands: &mut Hands<'_, '_>, failover: bool) {
        let ops = vec![
            exists(paths::REASSIGN_PARTITIONS, true),
            get_data(paths::REASSIGN_PARTITIONS, false),
        ];
        self.ask(hands, ops, Then::ZkReassignmentRead { failover });
    }

    /// `processZkPartitionReassignment`, `initializePartitionReassignments`.
    pub(super) fn zk_reassignment_read(&mut self, failover: bool, replies: &[Reply]) {
        let wishes = match replies.last() {
            Some(Ok(KeeperResult::Data(data, _))) => json::decode_reassignment(data),
            Some(_) | None => Vec::new(),
        };
        let (mut steps, mut failed) = (Vec::new(), BTreeSet::new());
        let mut begun = BTreeSet::new();
        for (partition, target) in wishes {
            match self.movable(&partition) {
                Ok(()) => {
                    let current = self.context.full_assignment(&partition);
                    begun.insert(partition.clone());
                    steps.push(Step::Reassign(partition, current.reassign_to(&target)));
                }
                Err(_) => {
                    failed.insert(partition);
                }
            }
        }
        if !failed.is_empty() {
            steps.push(Step::DropFromZk(DropFromZk::All(failed)));
        }
        if failover {
            steps.extend(self.resumed(|partition, _| !begun.contains(partition)));
        }
        self.then(steps);
    }

    /// `maybeResumeReassignments` for brokers that came.
    pub(super) fn resume_reassignments(&mut self, came: &[BrokerId]) {
        let steps = self.resumed(|_, known| known.target().iter().any(|id| came.contains(id)));
        self.then(steps);
    }

    fn resumed(&self, which: impl Fn(&TopicPartition, &ReplicaAssignment) -> bool) -> Vec<Step> {
        let known = self.context.reassigning.iter().map(|partition| {
            let known = self.context.full_assignment(partition);
            (partition.clone(), known)
        });
        known
            .filter(|(partition, known)| which(partition, known))
            .map(|(partition, known)| Step::Reassign(partition, known))
            .collect()
    }

    /// `maybeRemoveFromZkReassignment`.
    pub(super) fn drop_from_zk(&mut self, hands: &mut Hands<'_, '_>, which: DropFromZk) {
        let op = get_data(paths::REASSIGN_PARTITIONS, false);
        self.ask(hands, vec![op], Then::ZkReassignmentsToDrop(which));
    }

    pub(super) fn zk_reassignments_to_drop(
        &mut self,
        hands: &mut Hands<'_, '_>,
        which: &DropFromZk,
        replies: &[Reply],
    ) {
        let Some(Ok(KeeperResult::Data(data, _))) = replies.first() else {
            return;
        };
        let all = json::decode_reassignment(data);
        let left: Vec<_> = all
            .into_iter()
            .filter(|(partition, target)| !which.names(partition, target))
            .collect();
        let op = if left.is_empty() {
            // So that the next one is not missed.
            self.put(hands.io, ControllerEvent::ZkPartitionReassignment);
            delete(paths::REASSIGN_PARTITIONS)
        } else {
            let content = json::encode_reassignment(&left);
            set_data(paths::REASSIGN_PARTITIONS, content, -1)
        };
        let op = self.checked(op);
        self.ask(hands, vec![op], Then::Done);
    }

    // A move.

    /// `onPartitionReassignment` up to the question whether everybody is in sync.
    pub(super) fn reassign(
        &mut self,
        hands: &mut Hands<'_, '_>,
        partition: TopicPartition,
        wanted: ReplicaAssignment,
    ) {
        let current = self.context.full_assignment(&partition);
        // While a topic is moved it is not deleted.
        self.mark_ineligible(vec![partition.topic.clone()]);
        let mut steps = Vec::new();
        if current != wanted {
            let unneeded = without(&current.replicas, &wanted.replicas);
            let started = ControllerNote::ReassignmentStarted {
                partition: partition.clone(),
                replicas: wanted.replicas.clone(),
                adding: wanted.adding.clone(),
                removing: wanted.removing.clone(),
            };
            note(hands.io, started);
            steps.extend([
                Step::WriteAssignment(partition.clone(), wanted.clone()),
                Step::SetAssignment(partition.clone(), wanted),
            ]);
            steps.extend(stop_removed(&partition, &unneeded));
        }
        self.context.reassigning.insert(partition.clone());
        steps.push(Step::CheckReassignment {
            partition,
            begin: true,
        });
        self.then(steps);
    }

    /// `updateReplicaAssignmentForPartition`: the whole topic is written.
    pub(super) fn write_assignment(
        &mut self,
        hands: &mut Hands<'_, '_>,
        partition: &TopicPartition,
        wanted: &ReplicaAssignment,
    ) {
        let mut content = Topic {
            id: self.context.topic_ids.get(&partition.topic).copied(),
            ..Topic::default()
        };
        for of in self.context.partitions_of(&partition.topic) {
            let known = if of == *partition {
                wanted.clone()
            } else {
                self.context.full_assignment(&of)
            };
            content.partitions.insert(of.partition, known.replicas);
            if !known.adding.is_empty() {
                content.adding.insert(of.partition, known.adding);
            }
            if !known.removing.is_empty() {
                content.removing.insert(of.partition, known.removing);
            }
        }
        let version = if self.knows_kip_455() {
            TopicVersion::V2
        } else {
            TopicVersion::V1
        };
        let path = paths::topic(&partition.topic);
        let op = self.checked(set_data(path, content.encode(version), -1));
        self.ask(hands, vec![op], Then::Done);
    }

    /// `isReassignmentComplete`. The read watches the state where leaders write it themselves.
    pub(super) fn check_reassignment(
        &mut self,
        hands: &mut Hands<'_, '_>,
        partition: TopicPartition,
        begin: bool,
    ) {
        if !self.context.reassigning.contains(&partition) {
            return;
        }
        if !self.context.full_assignment(&partition).is_moving() {
            self.complete_reassignment(partition, begin);
            return;
        }
        let watch = IsrPath::of(&self.settings.behaviour) == IsrPath::KeeperWrite;
        let op = get_data(paths::partition_state(&partition), watch);
        self.ask(hands, vec![op], Then::ReassignmentChecked(partition, begin));
    }

    pub(super) fn reassignment_checked(
        &mut self,
        partition: TopicPartition,
        begin: bool,
        replies: &[Reply],
    ) {
        let known = self.context.full_assignment(&partition);
        let state = replies.first().and_then(decode_state);
        let complete = state.is_some_and(|state| {
            let isr = &state.state.isr;
            known.target().iter().all(|id| isr.contains(id))
        });
        if complete {
            self.complete_reassignment(partition, begin);
        } else if begin {
            let replicas = replicas_on(&partition, &known.adding);
            self.then([
                Step::BumpEpoch(partition),
                Step::Replicas {
                    replicas,
                    target: ReplicaPhase::New,
                },
            ]);
        }
    }

    /// Phase B. A move that turns out to be complete while it waits begins anew and comes here at once.
    fn complete_reassignment(&mut self, partition: TopicPartition, begin: bool) {
        let known = self.context.full_assignment(&partition);
        if !begin {
            self.agenda.push(Step::Reassign(partition, known));
            return;
        }
        let target = ReplicaAssignment::settled(known.target());
        let mut steps = vec![
            Step::Replicas {
                replicas: replicas_on(&partition, &known.adding),
                target: ReplicaPhase::Online,
            },
            Step::SetAssignment(partition.clone(), target.clone()),
            Step::MoveLeader(partition.clone()),
        ];
        steps.extend(stop_removed(&partition, &known.removing));
        steps.extend([
            Step::WriteAssignment(partition.clone(), target.clone()),
            Step::DropFromZk(DropFromZk::Done(partition.clone(), target.replicas)),
            Step::FinishReassignment(partition.clone()),
            Step::SendMetadata {
                brokers: self.context.registered(),
                partitions: vec![partition],
            },
            Step::ResumeDeletions,
        ]);
        self.then(steps);
    }

    /// `moveReassignedPartitionLeaderIfRequired`.
    pub(super) fn move_leader(&mut self, partition: TopicPartition) {
        let known = self.context.leadership.get(&partition);
        let leader = known.and_then(|known| known.state.leader);
        let stays = leader.is_some_and(|leader| {
            self.context.assignment(&partition).contains(&leader)
                && self.context.is_online(leader, &partition)
        });
        self.agenda.push(if stays {
            Step::BumpEpoch(partition)
        } else {
            Step::Partitions {
                partitions: vec![partition],
                target: PartitionPhase::Online,
                strategy: Some(Strategy::Reassign),
            }
        });
    }

    pub(super) fn finish_reassignment(
        &mut self,
        hands: &mut Hands<'_, '_>,
        partition: TopicPartition,
    ) {
        self.context.reassigning.remove(&partition);
        // Deletion of the topic may go on (`resumeDeletionForTopics`).
        self.context.ineligible.remove(&partition.topic);
        let replicas = self.context.assignment(&partition).to_vec();
        let done = ControllerNote::Reassigned {
            partition,
            replicas,
        };
        note(hands.io, done);
    }

    /// `updateLeaderEpochAndSendRequest`: nothing changes but the epoch, so that the replicas take notice of who they are.
    pub(super) fn bump_epoch(&mut self, hands: &mut Hands<'_, '_>, partition: TopicPartition) {
        let op = get_data(paths::partition_state(&partition), false);
        self.ask(hands, vec![op], Then::EpochToBump(partition));
    }

    pub(super) fn epoch_to_bump(
        &mut self,
        hands: &mut Hands<'_, '_>,
        partition: TopicPartition,
        replies: &[Reply],
    ) {
        let read = replies.first().and_then(decode_state);
        let Some(read) = read.filter(|read| read.controller_epoch <= self.context.epoch) else {
            return;
        };
        let state = LeaderAndIsr {
            leader_epoch: read.state.leader_epoch.next(),
            ..read.state.clone()
        };
        let known = self.changed(&partition, &read, state);
        let op = self.state_write(&partition, &known);
        self.ask(hands, vec![op], Then::EpochBumped(partition, known));
    }

    pub(super) fn epoch_bumped(
        &mut self,
        hands: &mut Hands<'_, '_>,
        (partition, mut known): (TopicPartition, PartitionState),
        replies: &[Reply],
    ) {
        match replies.first() {
            Some(Ok(KeeperResult::DataSet(stat))) => {
                let state = &mut known.state;
                state.partition_epoch = PartitionEpoch(stat.version);
                let written = ControllerNote::IsrWritten {
                    partition: partition.clone(),
                    isr: state.isr.clone(),
                    leader_epoch: state.leader_epoch,
                    partition_epoch: state.partition_epoch,
                };
                note(hands.io, written);
                // KAFKA-9212: the cache kept the old epoch, and metadata are made from it.
                if self
                    .settings
                    .behaviour
                    .has(Fix::MetadataEpochAfterReassignment)
                {
                    let leadership = &mut self.context.leadership;
                    leadership.insert(partition.clone(), known.clone());
                }
                let all = self.context.assignment(&partition).to_vec();
                let told = (&known, false);
                self.batch
                    .leader_and_isr(&self.context, &all, &partition, told);
                self.agenda.push(Step::SendBatch);
            }
            Some(Err(KeeperError::BadVersion)) => self.agenda.push(Step::BumpEpoch(partition)),
            Some(_) | None => {}
        }
    }
}

/// `stopRemovedReplicasOfReassignedPartition`: out of the ISR, then deleted. Nobody waits for the answers.
fn stop_removed(partition: &TopicPartition, removed: &[BrokerId]) -> Vec<Step> {
    if removed.is_empty() {
        return Vec::new();
    }
    [
        ReplicaPhase::Offline,
        ReplicaPhase::DeletionStarted,
        ReplicaPhase::DeletionSuccessful,
        ReplicaPhase::NonExistent,
    ]
    .into_iter()
    .map(|target| Step::Replicas {
        replicas: replicas_on(partition, removed),
        target,
    })
    .collect()
}

fn replicas_on(partition: &TopicPartition, brokers: &[BrokerId]) -> Vec<Replica> {
    let replica = |broker: &BrokerId| Replica {
        partition: partition.clone(),
        broker: *broker,
    };
    brokers.iter().map(replica).collect()
}

fn without(all: &[BrokerId], some: &[BrokerId]) -> Vec<BrokerId> {
    all.iter()
        .copied()
        .filter(|id| !some.contains(id))
        .collect()
}

/// An answer that lists nothing.
pub(super) fn none_listed(error: ErrorCode) -> ListPartitionReassignmentsResponse {
    ListPartitionReassignmentsResponse {
        error,
        partitions: Vec::new(),
    }
}
