//! Changes of in-sync replicas: notices of leaders that wrote the keeper themselves, and AlterIsr (KIP-497).
//!
//! Both ways live side by side, also in one cluster during an upgrade. AlterIsr is checked as 2.8 does; four later checks
//! are switches: a wish from a later leader epoch (KAFKA-14154), a replica that is no longer fit (KIP-841), one that is not
//! assigned (KAFKA-9672), and one that fetched in an earlier life of its broker (KIP-903).

use super::brokers::names;
use super::step::{Answering, Step, Then};
use super::{Controller, Reply, note};
use crate::hands::Hands;
use crate::keeper_session::get_data;
use crate::znode::json::{self, PartitionState};
use crate::znode::paths;
use protocol::api::cluster::{AlterIsrPartition, AlterIsrRequest, AlterIsrResponse, LeaderAndIsr};
use protocol::behaviour::Fix;
use protocol::error_code::{ErrorCode, KeeperError};
use protocol::ids::{PartitionEpoch, TopicPartition};
use protocol::keeper::KeeperResult;
use protocol::machine::RequestToken;
use protocol::note::ControllerNote;
use std::collections::BTreeSet;
use std::sync::Arc;

pub(super) type Answers = Vec<(TopicPartition, Result<LeaderAndIsr, ErrorCode>)>;

impl Controller {
    pub(super) fn list_isr_notices(&mut self, hands: &mut Hands<'_, '_>) {
        let op = self.relist(paths::ISR_CHANGES);
        self.ask(hands, vec![op], Then::IsrNoticesListed);
    }

    pub(super) fn isr_notices_listed(&mut self, hands: &mut Hands<'_, '_>, replies: &[Reply]) {
        let names = names(replies);
        let read = |name: &Arc<str>| get_data(paths::child(paths::ISR_CHANGES, name), false);
        let ops = names.iter().map(read).collect();
        self.ask(hands, ops, Then::IsrNoticesRead(names));
    }

    /// `processIsrChangeNotification`: reads the states again, tells everybody, drops the notices.
    pub(super) fn isr_notices_read(&mut self, names: &[Arc<str>], replies: &[Reply]) {
        let mut changed = BTreeSet::new();
        for reply in replies {
            if let Ok(KeeperResult::Data(data, _)) = reply {
                changed.extend(json::decode_partitions(data));
            }
        }
        let changed: Vec<_> = changed.into_iter().collect();
        let path = |name: &Arc<str>| paths::child(paths::ISR_CHANGES, name);
        let mut steps = Vec::new();
        if !changed.is_empty() {
            steps.push(Step::RefreshLeadership(changed.clone()));
            steps.push(Step::SendMetadata {
                brokers: self.context.registered(),
                partitions: changed,
            });
        }
        steps.push(Step::Delete(names.iter().map(path).collect()));
        self.then(steps);
    }

    /// `processAlterIsr`.
    pub(super) fn begin_alter_isr(
        &mut self,
        hands: &mut Hands<'_, '_>,
        token: RequestToken,
        request: &AlterIsrRequest,
    ) {
        if let Some(error) = self.refuses(request) {
            hands.respond(token, whole(error));
            return;
        }
        self.answering = Some(Answering::AlterIsr(token));
        let (mut wishes, mut answered): (Vec<_>, Answers) = (Vec::new(), Vec::new());
        for wish in &request.partitions {
            let answer = match self.examine(wish) {
                Ok(()) => self.as_it_is(wish).map(Ok),
                Err(error) => Some(Err(error)),
            };
            match answer {
                Some(answer) => answered.push((wish.partition.clone(), answer)),
                None => match self.wanted(wish) {
                    Ok(wanted) => wishes.push((wish.clone(), wanted)),
                    Err(error) => answered.push((wish.partition.clone(), Err(error))),
                },
            }
        }
        let mut ops = Vec::with_capacity(wishes.len());
        for (wish, wanted) in &wishes {
            ops.push(self.state_write(&wish.partition, wanted));
        }
        self.ask(hands, ops, Then::AlterIsrWritten { wishes, answered });
    }

    fn refuses(&self, request: &AlterIsrRequest) -> Option<ErrorCode> {
        if !self.is_active() {
            return Some(ErrorCode::NotController);
        }
        match self.context.brokers.get(&request.broker_id) {
            Some(known) if known.epoch == request.broker_epoch => None,
            Some(_) | None => Some(ErrorCode::StaleBrokerEpoch),
        }
    }

    fn examine(&self, wish: &AlterIsrPartition) -> Result<(), ErrorCode> {
        let behaviour = &self.settings.behaviour;
        let Some(known) = self.context.leadership.get(&wish.partition) else {
            return Err(ErrorCode::UnknownTopicOrPartition);
        };
        let present = known.state.leader_epoch;
        if wish.leader_epoch < present {
            return Err(ErrorCode::FencedLeaderEpoch);
        }
        if wish.leader_epoch > present && behaviour.has(Fix::RejectIsrFromFuture) {
            return Err(ErrorCode::NotController);
        }
        let ineligible = behaviour.has(Fix::RejectIneligibleIsr)
            && wish.new_isr.iter().any(|id| !self.context.is_live(*id));
        let unassigned = behaviour.has(Fix::IsrSubsetOfReplicas) && {
            let assigned = self.context.assignment(&wish.partition);
            wish.new_isr.iter().any(|id| !assigned.contains(id))
        };
        // A replica whose broker has been born again since it fetched may have lost what it had then.
        let reborn = behaviour.has(Fix::BrokerEpochInFetch)
            && wish.isr_epochs.iter().any(|(id, life)| {
                let known = self.context.brokers.get(id);
                known.is_some_and(|known| known.epoch != *life)
            });
        if ineligible || unassigned || reborn {
            // Before version 2 of the request there was no code of its own for it.
            return Err(ErrorCode::OperationNotAttempted);
        }
        Ok(())
    }

    /// What is wished for is there already (KAFKA-14144): the answer to the first wish was lost, and the leader asks again
    /// over the version it knew. Refused over that version, it would wait for a word that nobody sends.
    fn as_it_is(&self, wish: &AlterIsrPartition) -> Option<LeaderAndIsr> {
        if !self.settings.behaviour.has(Fix::IdempotentAlterIsr) {
            return None;
        }
        let state = &self.context.leadership.get(&wish.partition)?.state;
        let same = state.leader_epoch == wish.leader_epoch && state.isr == wish.new_isr;
        same.then(|| state.clone())
    }

    /// The request names no leader: the one who asks in the present epoch is it. Who stays eligible follows from the state
    /// before, which has to be the one that is replaced (KIP-966).
    fn wanted(&self, wish: &AlterIsrPartition) -> Result<PartitionState, ErrorCode> {
        let known = self.context.leadership.get(&wish.partition);
        let known = known.ok_or(ErrorCode::UnknownTopicOrPartition)?;
        let is_another = known.state.partition_epoch != wish.current_partition_epoch;
        if self.settings.behaviour.keeps_eligible() && is_another {
            return Err(ErrorCode::InvalidUpdateVersion);
        }
        let wanted = LeaderAndIsr {
            leader: known.state.leader,
            leader_epoch: wish.leader_epoch,
            isr: wish.new_isr.clone(),
            partition_epoch: wish.current_partition_epoch,
        };
        Ok(self.changed(&wish.partition, known, wanted))
    }

    pub(super) fn alter_isr_written(
        &mut self,
        hands: &mut Hands<'_, '_>,
        (wishes, mut answers): (Vec<(AlterIsrPartition, PartitionState)>, Answers),
        replies: &[Reply],
    ) {
        let (mut touched, mut moving) = (Vec::new(), Vec::new());
        let mut conflicts = Vec::new();
        for ((wish, wanted), reply) in wishes.into_iter().zip(replies) {
            touched.push(wish.partition.clone());
            let result = match reply {
                Ok(KeeperResult::DataSet(stat)) => {
                    let mut state = wanted.state;
                    state.partition_epoch = PartitionEpoch(stat.version);
                    let written = ControllerNote::IsrWritten {
                        partition: wish.partition.clone(),
                        isr: state.isr.clone(),
                        leader_epoch: state.leader_epoch,
                        partition_epoch: state.partition_epoch,
                    };
                    note(hands.io, written);
                    if self.context.reassigning.contains(&wish.partition) {
                        moving.push(wish.partition.clone());
                    }
                    Ok(state)
                }
                // Judged when the state has been read again.
                Err(KeeperError::BadVersion) => {
                    conflicts.push(wish);
                    continue;
                }
                Ok(_) | Err(_) => Err(ErrorCode::UnknownServerError),
            };
            answers.push((wish.partition, result));
        }
        let below = self.agenda.len();
        self.then([
            Step::RefreshLeadership(touched.clone()),
            Step::SendMetadata {
                brokers: self.context.registered(),
                partitions: touched,
            },
            Step::AnswerAlterIsr { answers, conflicts },
        ]);
        // An ISR that grew may be what a reassignment waits for: looked at after the answer.
        for partition in moving {
            let begin = false;
            self.agenda
                .insert(below, Step::CheckReassignment { partition, begin });
        }
    }

    /// A write that met another version may have met its own: the connection to the keeper broke before the answer came, and
    /// the write was sent again. Then what was wished for is there.
    pub(super) fn answer_alter_isr(
        &mut self,
        hands: &mut Hands<'_, '_>,
        (mut partitions, conflicts): (Answers, Vec<AlterIsrPartition>),
    ) {
        for wish in conflicts {
            let found = self.as_it_is(&wish);
            let answer = found.ok_or(ErrorCode::InvalidUpdateVersion);
            partitions.push((wish.partition, answer));
        }
        if let Some(Answering::AlterIsr(token)) = self.answering.take() {
            let error = ErrorCode::None;
            hands.respond(token, AlterIsrResponse { error, partitions });
        }
    }
}

/// An answer that is an error of the whole request.
pub(super) fn whole(error: ErrorCode) -> AlterIsrResponse {
    AlterIsrResponse {
        error,
        partitions: Vec::new(),
    }
}
