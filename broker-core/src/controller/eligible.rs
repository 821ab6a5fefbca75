//! Eligible leader replicas (KIP-966): who may lead a partition whose ISR is empty. Only with the switch; no release of
//! ZooKeeper mode has it.
//!
//! The rules are those of KRaft's `PartitionChangeBuilder`. While the ISR is smaller than `min.insync.replicas` the high
//! watermark stands still (KAFKA-15583), so that who leaves the ISR then has everything committed and stays eligible. A broker
//! that registers without word of a clean shutdown may have lost what it had not flushed: it is struck out of the ISR and of
//! the eligible before it counts as alive (`handleBrokerUncleanShutdown`). The ISR may become empty; then an eligible replica
//! leads, and where there is none, who led last.
//!
//! What lies elsewhere than in KRaft: the eligible stand in the state of the partition beside the ISR, how a broker ended
//! stands in its registration (of a process that registers again, nothing was lost), and `min.insync.replicas` is read from `/config/topics` when a topic is first seen and again
//! after a notice. A controller that has just been elected does not know which registrations its predecessor has seen. It
//! strikes out who registered after the state was last written; a predecessor that wrote the state between that registration
//! and its own death, and had not read the registration, leaves a hole that KRaft's log does not have.

use super::context::RegisteredBroker;
use super::partition_phase::PartitionPhase;
use super::replica_machine::topics_of;
use super::step::{Step, Then};
use super::{Controller, Reply};
use crate::hands::Hands;
use crate::keeper_session::get_data;
use crate::znode::json::{self, Eligible, PartitionState};
use crate::znode::paths;
use protocol::api::cluster::LeaderAndIsr;
use protocol::error_code::KeeperError;
use protocol::ids::{BrokerEpoch, BrokerId, PartitionEpoch, TopicName, TopicPartition, Zxid};
use protocol::keeper::KeeperResult;
use std::collections::BTreeMap;

/// A broker that came back without word of a clean shutdown.
#[derive(Clone, Copy, Debug)]
pub(super) struct Struck {
    pub(super) broker: BrokerId,
    /// States that were written after this registration know of it; none where all are to be struck.
    pub(super) since: Option<BrokerEpoch>,
}

/// A step about the eligible.
#[derive(Clone, Debug)]
pub(super) enum EligibleStep {
    /// Reads `min.insync.replicas` of topics that are seen for the first time or were changed.
    LearnMinIsr(Vec<TopicName>),
    /// Reads it of all topics: the controller has just been elected.
    LearnAllMinIsr,
    /// Drops who is eligible for a partition.
    Forget(TopicPartition),
    /// Strikes a broker out wherever it is in sync or eligible.
    StrikeOut(Struck),
    /// Strikes out whom a controller that has just been elected found.
    StrikeOutFound,
}

/// Who is eligible once a partition has this state and these replicas are struck out (`maybePopulateTargetElr`).
pub(super) fn eligible_after(
    before: &PartitionState,
    after: &LeaderAndIsr,
    min_isr: usize,
    struck: Option<BrokerId>,
) -> Eligible {
    if after.isr.len() >= min_isr {
        return Eligible::default();
    }
    let kept = |id: &BrokerId| !after.isr.contains(id) && struck != Some(*id);
    let had = before.eligible.replicas.iter().chain(&before.state.isr);
    let replicas = distinct(had.clone().copied().filter(kept));
    let others = had.chain(&before.eligible.last_known).copied();
    let others = others.filter(|id| !after.isr.contains(id) && !replicas.contains(id));
    let last_known = match (before.state.leader, &before.eligible.last_known[..]) {
        // It is leaderless from now on.
        (Some(leader), _) if after.leader.is_none() && after.isr.is_empty() => vec![leader],
        (None, [leader]) if after.leader.is_none() => vec![*leader],
        (_, _) => distinct(others),
    };
    Eligible {
        replicas,
        last_known,
    }
}

/// The steps that strike out whoever of these did not stop in good order.
pub(super) fn strikes(
    brokers: &BTreeMap<BrokerId, RegisteredBroker>,
    since: impl Fn(&RegisteredBroker) -> Option<BrokerEpoch>,
) -> Vec<Step> {
    let unclean = brokers
        .iter()
        .filter(|(_, known)| !known.after_clean_shutdown);
    let strike = |(broker, known): (&BrokerId, &RegisteredBroker)| {
        let struck = Struck {
            broker: *broker,
            since: since(known),
        };
        Step::Eligible(EligibleStep::StrikeOut(struck))
    };
    unclean.map(strike).collect()
}

fn distinct(ids: impl Iterator<Item = BrokerId>) -> Vec<BrokerId> {
    let mut all = Vec::new();
    for id in ids {
        if !all.contains(&id) {
            all.push(id);
        }
    }
    all
}

impl Controller {
    pub(super) fn eligible(&mut self, hands: &mut Hands<'_, '_>, step: EligibleStep) {
        match step {
            EligibleStep::LearnMinIsr(topics) => self.learn_min_isr(hands, topics),
            EligibleStep::LearnAllMinIsr => {
                let all: Vec<_> = self.context.assignments.keys().cloned().collect();
                self.learn_min_isr(hands, topics_of(&all));
            }
            EligibleStep::Forget(partition) => self.forget_eligible(hands, &partition),
            EligibleStep::StrikeOut(struck) => self.strike_out(hands, struck),
            EligibleStep::StrikeOutFound => self.strike_out_found(),
        }
    }

    fn learn_min_isr(&mut self, hands: &mut Hands<'_, '_>, topics: Vec<TopicName>) {
        let read = |topic| get_data(paths::topic_config(topic), false);
        let ops = topics.iter().map(read).collect();
        self.ask(hands, ops, Then::MinIsrRead(topics));
    }

    pub(super) fn min_isr_read(&mut self, topics: Vec<TopicName>, replies: &[Reply]) {
        for (topic, reply) in topics.into_iter().zip(replies) {
            let config = match reply {
                Ok(KeeperResult::Data(data, _)) => json::decode_config(data),
                Ok(_) | Err(_) => BTreeMap::new(),
            };
            let own = config.get("min.insync.replicas");
            let known = own.and_then(|value| value.parse().ok());
            let known = known.unwrap_or(self.settings.min_isr);
            let before = self.context.min_isr.insert(topic.clone(), known);
            if before.is_some_and(|before| before != known) {
                // Who was eligible under the former one need not be under this one.
                let all = self.context.partitions_of(&topic).into_iter();
                let forget = all.map(|of| Step::Eligible(EligibleStep::Forget(of)));
                self.then(forget.collect::<Vec<_>>());
            }
        }
    }

    /// How many replicas have to be in sync: never more than there are (`getTopicEffectiveMinIsr`).
    pub(super) fn min_isr(&self, partition: &TopicPartition) -> usize {
        let known = self.context.min_isr.get(&partition.topic).copied();
        let replicas = self.context.assignment(partition).len();
        known.unwrap_or(self.settings.min_isr).min(replicas)
    }

    fn forget_eligible(&mut self, hands: &mut Hands<'_, '_>, partition: &TopicPartition) {
        let Some(known) = self.context.leadership.get(partition) else {
            return;
        };
        if known.eligible == Eligible::default() {
            return;
        }
        let mut known = PartitionState {
            eligible: Eligible::default(),
            controller_epoch: self.context.epoch,
            ..known.clone()
        };
        known.state.leader_epoch = known.state.leader_epoch.next();
        let op = self.state_write(partition, &known);
        self.ask(hands, vec![op], Then::Forgotten(partition.clone(), known));
    }

    pub(super) fn forgotten(
        &mut self,
        hands: &mut Hands<'_, '_>,
        (partition, known): (TopicPartition, PartitionState),
        replies: &[Reply],
    ) {
        let refresh = Step::RefreshLeadership(vec![partition.clone()]);
        if let Some(Err(KeeperError::BadVersion)) = replies.first() {
            let again = EligibleStep::Forget(partition);
            self.then([refresh, Step::Eligible(again)]);
        } else {
            self.then([refresh]);
            self.epoch_bumped(hands, (partition, known), replies);
        }
    }

    /// What a change makes of a partition's state, the eligible included.
    pub(super) fn changed(
        &self,
        partition: &TopicPartition,
        before: &PartitionState,
        after: LeaderAndIsr,
    ) -> PartitionState {
        let eligible = if self.settings.behaviour.keeps_eligible() {
            eligible_after(before, &after, self.min_isr(partition), None)
        } else {
            Eligible::default()
        };
        PartitionState {
            state: after,
            controller_epoch: self.context.epoch,
            eligible,
        }
    }

    fn strike_out(&mut self, hands: &mut Hands<'_, '_>, struck: Struck) {
        let id = struck.broker;
        let named = |(_, known): &(&TopicPartition, &PartitionState)| {
            known.state.isr.contains(&id) || known.eligible.replicas.contains(&id)
        };
        let named = self.context.leadership.iter().filter(named);
        let partitions: Vec<_> = named.map(|(partition, _)| partition.clone()).collect();
        let read = |partition| get_data(paths::partition_state(partition), false);
        let ops = partitions.iter().map(read).collect();
        self.ask(hands, ops, Then::StruckRead(struck, partitions));
    }

    pub(super) fn struck_read(
        &mut self,
        hands: &mut Hands<'_, '_>,
        (struck, partitions): (Struck, Vec<TopicPartition>),
        replies: &[Reply],
    ) {
        let mut changes = Vec::new();
        for (partition, reply) in partitions.into_iter().zip(replies) {
            let Ok(KeeperResult::Data(data, stat)) = reply else {
                continue;
            };
            let Some(known) = PartitionState::decode(data, stat.version) else {
                continue;
            };
            let is_late = struck.since.is_some_and(|since| stat.mzxid > Zxid(since.0));
            if is_late || known.controller_epoch > self.context.epoch {
                continue;
            }
            let after = self.without_struck(&partition, &known, struck.broker);
            changes.push((partition, after));
        }
        let mut ops = Vec::with_capacity(changes.len());
        for (partition, known) in &changes {
            ops.push(self.state_write(partition, known));
        }
        self.ask(hands, ops, Then::StruckWritten(struck, changes));
    }

    fn without_struck(
        &self,
        partition: &TopicPartition,
        known: &PartitionState,
        broker: BrokerId,
    ) -> PartitionState {
        let present = &known.state;
        let others = present.isr.iter().copied().filter(|id| *id != broker);
        let mut after = LeaderAndIsr {
            leader: present.leader.filter(|leader| *leader != broker),
            isr: others.collect(),
            ..present.clone()
        };
        if present.leader.is_some() || after != *present {
            // Brokers take no notice of an order in the epoch they know, and a leader needs the new version of the state.
            after.leader_epoch = present.leader_epoch.next();
        }
        let min_isr = self.min_isr(partition);
        PartitionState {
            eligible: eligible_after(known, &after, min_isr, Some(broker)),
            state: after,
            controller_epoch: self.context.epoch,
        }
    }

    pub(super) fn struck_written(
        &mut self,
        hands: &mut Hands<'_, '_>,
        (struck, changes): (Struck, Vec<(TopicPartition, PartitionState)>),
        replies: &[Reply],
    ) {
        let mut conflicts = Vec::new();
        for ((partition, mut known), reply) in changes.into_iter().zip(replies) {
            match reply {
                Ok(KeeperResult::DataSet(stat)) => {
                    known.state.partition_epoch = PartitionEpoch(stat.version);
                    let leadership = &mut self.context.leadership;
                    let before = leadership.insert(partition.clone(), known.clone());
                    let epoch = known.state.leader_epoch;
                    if before.is_none_or(|before| before.state.leader_epoch < epoch) {
                        super::note(hands.io, self.taken_out_note(&partition, &known.state));
                    }
                    let all = self.context.assignment(&partition).iter().copied();
                    let others: Vec<_> = all.filter(|id| *id != struck.broker).collect();
                    if known.state.leader.is_none() {
                        let phases = &mut self.context.partitions;
                        phases.insert(partition.clone(), PartitionPhase::Offline);
                    }
                    let told = (&known, false);
                    self.batch
                        .leader_and_isr(&self.context, &others, &partition, told);
                }
                Ok(_) | Err(_) => conflicts.push(partition),
            }
        }
        if !conflicts.is_empty() {
            let again = EligibleStep::StrikeOut(struck);
            self.then([Step::RefreshLeadership(conflicts), Step::Eligible(again)]);
        }
    }

    fn strike_out_found(&mut self) {
        let since = |known: &RegisteredBroker| Some(known.epoch);
        self.then(strikes(&self.context.brokers, since));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::ids::{ControllerEpoch, LeaderEpoch};

    fn ids(list: &[i32]) -> Vec<BrokerId> {
        list.iter().copied().map(BrokerId).collect()
    }

    fn state(leader: Option<i32>, isr: &[i32]) -> LeaderAndIsr {
        LeaderAndIsr {
            leader: leader.map(BrokerId),
            leader_epoch: LeaderEpoch(7),
            isr: ids(isr),
            partition_epoch: PartitionEpoch(4),
        }
    }

    fn eligible(replicas: &[i32], last_known: &[i32]) -> Eligible {
        Eligible {
            replicas: ids(replicas),
            last_known: ids(last_known),
        }
    }

    fn known(state: LeaderAndIsr, eligible: Eligible) -> PartitionState {
        PartitionState {
            state,
            controller_epoch: ControllerEpoch(1),
            eligible,
        }
    }

    #[test]
    fn who_leaves_an_isr_that_is_large_enough_afterwards_is_not_eligible() {
        let before = known(state(Some(1), &[1, 2, 3]), Eligible::default());
        let after = eligible_after(&before, &state(Some(1), &[1, 2]), 2, None);
        assert_eq!(after, Eligible::default());
    }

    #[test]
    fn who_leaves_below_the_minimum_stays_eligible_until_enough_are_in_sync_again() {
        let before = known(state(Some(1), &[1, 2]), Eligible::default());
        let alone = eligible_after(&before, &state(Some(1), &[1]), 2, None);
        assert_eq!(alone, eligible(&[2], &[]));
        let before = known(state(Some(1), &[1]), alone);
        let again = eligible_after(&before, &state(Some(1), &[1, 3]), 2, None);
        assert_eq!(again, Eligible::default());
    }

    #[test]
    fn the_last_one_standing_becomes_eligible_and_is_remembered_as_the_last_leader() {
        let before = known(state(Some(1), &[1]), eligible(&[2], &[]));
        let after = eligible_after(&before, &state(None, &[]), 2, None);
        assert_eq!(after, eligible(&[2, 1], &[1]));
        // It comes back without word of a clean shutdown.
        let before = known(state(None, &[]), after);
        let struck = eligible_after(&before, &state(None, &[]), 2, Some(BrokerId(1)));
        assert_eq!(struck, eligible(&[2], &[1]));
    }

    #[test]
    fn who_is_struck_out_while_another_leads_is_known_to_have_been_there() {
        let before = known(state(Some(1), &[1]), eligible(&[2, 3], &[]));
        let after = eligible_after(&before, &state(Some(1), &[1]), 2, Some(BrokerId(2)));
        assert_eq!(after, eligible(&[3], &[2]));
    }
}
