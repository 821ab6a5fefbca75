//! Brokers that come, go and bounce, and log directories that fail (`processBrokerChange`, `onBrokerStartup`,
//! `onBrokerFailure`, `onReplicasBecomeOffline`).
//!
//! A broker that went and came between two looks keeps its id but has a greater czxid (KIP-380): it is treated as dead,
//! then as new. Without that fix nobody notices.

use super::context::{RegisteredBroker, Replica};
use super::eligible::strikes;
use super::partition_phase::PartitionPhase;
use super::replica_phase::ReplicaPhase;
use super::step::{Reading, Step, Then};
use super::{Controller, Reply, note};
use crate::hands::Hands;
use crate::keeper_session::{get_children, get_data};
use crate::znode::broker::{decode_broker, was_clean};
use crate::znode::{json, paths};
use protocol::behaviour::Fix;
use protocol::ids::{BrokerEpoch, BrokerId};
use protocol::keeper::{KeeperResult, Path};
use protocol::note::ControllerNote;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

impl Controller {
    pub(super) fn list_brokers(&mut self, hands: &mut Hands<'_, '_>, why: Reading) {
        let op = match why {
            Reading::Failover => get_children(paths::BROKER_IDS, true),
            Reading::Change => self.relist(paths::BROKER_IDS),
        };
        self.ask(hands, vec![op], Then::BrokersListed(why));
    }

    pub(super) fn brokers_listed(
        &mut self,
        hands: &mut Hands<'_, '_>,
        why: Reading,
        replies: &[Reply],
    ) {
        let mut ids: Vec<BrokerId> = names(replies)
            .iter()
            .filter_map(|name| name.parse().ok().map(BrokerId))
            .collect();
        ids.sort_unstable();
        let read = |id: &BrokerId| get_data(paths::broker(*id), false);
        let ops = ids.iter().map(read).collect();
        self.ask(hands, ops, Then::BrokersRead(why, ids));
    }

    pub(super) fn brokers_read(
        &mut self,
        hands: &mut Hands<'_, '_>,
        (why, ids): (Reading, Vec<BrokerId>),
        replies: &[Reply],
    ) {
        let mut current = BTreeMap::new();
        for (id, reply) in ids.into_iter().zip(replies) {
            if let Ok(KeeperResult::Data(data, stat)) = reply {
                // Created but not written yet (0.8 to 2.1 have no such moment): nobody reads it, as in Kafka's multi.
                if let Some(endpoint) = decode_broker(data) {
                    let epoch = BrokerEpoch(stat.czxid.0);
                    let registered = RegisteredBroker {
                        endpoint,
                        epoch,
                        after_clean_shutdown: was_clean(data),
                    };
                    current.insert(id, registered);
                }
            }
        }
        match why {
            Reading::Failover => self.context.brokers = current,
            Reading::Change => self.brokers_changed(hands, current),
        }
    }

    fn brokers_changed(
        &mut self,
        hands: &mut Hands<'_, '_>,
        current: BTreeMap<BrokerId, RegisteredBroker>,
    ) {
        let sees_bounces = self.settings.behaviour.has(Fix::BrokerEpoch);
        let dead: Vec<BrokerId> = self
            .context
            .brokers
            .keys()
            .copied()
            .filter(|id| !current.contains_key(id))
            .collect();
        let (mut new, mut bounced) = (BTreeMap::new(), BTreeMap::new());
        for (id, broker) in current {
            match self.context.brokers.get(&id) {
                None => {
                    new.insert(id, broker);
                }
                Some(known) if sees_bounces && broker.epoch > known.epoch => {
                    bounced.insert(id, broker);
                }
                Some(_) => {}
            }
        }
        for (id, broker) in &new {
            self.channels.add(*id, broker.endpoint.clone());
        }
        for (id, broker) in &bounced {
            self.channels.remove(hands.io, *id);
            self.channels.add(*id, broker.endpoint.clone());
        }
        for id in &dead {
            self.channels.remove(hands.io, *id);
        }
        let mut steps = Vec::new();
        if !new.is_empty() {
            let ids = new.keys().copied().collect();
            steps.extend(self.strikes(&new));
            steps.extend([Step::AddBrokers(new), Step::BrokersCame(ids)]);
        }
        if !bounced.is_empty() {
            let ids: Vec<BrokerId> = bounced.keys().copied().collect();
            steps.extend([
                Step::RemoveBrokers(ids.clone()),
                Step::BrokersGone(ids.clone()),
            ]);
            steps.extend(self.strikes(&bounced));
            steps.extend([Step::AddBrokers(bounced), Step::BrokersCame(ids)]);
        }
        if !dead.is_empty() {
            steps.extend([Step::RemoveBrokers(dead.clone()), Step::BrokersGone(dead)]);
        }
        self.then(steps);
    }

    /// Before they count as alive, brokers are struck out that did not stop in good order (KIP-966).
    fn strikes(&self, came: &BTreeMap<BrokerId, RegisteredBroker>) -> Vec<Step> {
        if self.settings.behaviour.keeps_eligible() {
            strikes(came, |_| None)
        } else {
            Vec::new()
        }
    }

    pub(super) fn add_brokers(
        &mut self,
        hands: &mut Hands<'_, '_>,
        brokers: BTreeMap<BrokerId, RegisteredBroker>,
    ) {
        for (broker, registered) in &brokers {
            let (broker, epoch) = (*broker, registered.epoch);
            note(hands.io, ControllerNote::BrokerUp { broker, epoch });
        }
        self.context.brokers.extend(brokers);
    }

    pub(super) fn remove_brokers(&mut self, hands: &mut Hands<'_, '_>, brokers: &[BrokerId]) {
        for broker in brokers.iter().copied() {
            self.context.brokers.remove(&broker);
            note(hands.io, ControllerNote::BrokerDown { broker });
        }
    }

    /// `onBrokerStartup`: it hears of everything, starts its replicas, and whatever has no leader is tried again.
    pub(super) fn brokers_came(&mut self, came: Vec<BrokerId>) {
        for broker in &came {
            self.context.offline_dirs.remove(broker);
        }
        let before = self.context.registered().into_iter();
        let before = before.filter(|id| !came.contains(id)).collect();
        let all = self.context.leadership.keys().cloned().collect();
        let replicas = self.context.replicas_on(&came);
        let resumed: BTreeSet<_> = replicas
            .iter()
            .map(|replica| &replica.partition.topic)
            .filter(|topic| self.context.is_to_be_deleted(topic))
            .cloned()
            .collect();
        let mut steps = vec![
            Step::SendMetadata {
                brokers: before,
                partitions: Vec::new(),
            },
            Step::SendMetadata {
                brokers: came.clone(),
                partitions: all,
            },
            Step::Replicas {
                replicas,
                target: ReplicaPhase::Online,
            },
            Step::TriggerOnline(None),
            Step::ResumeReassignments(came),
        ];
        if !resumed.is_empty() {
            for topic in &resumed {
                self.context.ineligible.remove(topic);
            }
            steps.push(Step::ResumeDeletions);
        }
        self.then(steps);
    }

    /// `onBrokerFailure`.
    pub(super) fn brokers_gone(&mut self, gone: &[BrokerId]) {
        for broker in gone {
            self.context.offline_dirs.remove(broker);
            self.context.shutting_down.remove(broker);
        }
        let replicas = self.context.replicas_on(gone);
        self.agenda.push(Step::ReplicasOffline(replicas));
    }

    /// `onReplicasBecomeOffline`: new leaders first, then the dead leave the ISR.
    pub(super) fn replicas_offline(&mut self, replicas: Vec<Replica>) {
        let (deleting, others): (Vec<_>, Vec<_>) = replicas
            .into_iter()
            .partition(|replica| self.context.is_to_be_deleted(&replica.partition.topic));
        let leaderless = self.context.partitions_with_offline_leader();
        let nobody_lost = leaderless.is_empty();
        let mut steps = vec![
            Step::Partitions {
                partitions: leaderless,
                target: PartitionPhase::Offline,
                strategy: None,
            },
            Step::TriggerOnline(None),
            Step::Replicas {
                replicas: others,
                target: ReplicaPhase::Offline,
            },
        ];
        if !deleting.is_empty() {
            steps.push(Step::DeletionFailed(deleting));
        }
        if nobody_lost {
            // Nobody else was told that the broker is gone.
            steps.push(Step::SendMetadata {
                brokers: self.context.registered(),
                partitions: Vec::new(),
            });
        }
        self.then(steps);
    }

    pub(super) fn list_log_dir_notices(&mut self, hands: &mut Hands<'_, '_>) {
        let op = self.relist(paths::LOG_DIR_EVENTS);
        self.ask(hands, vec![op], Then::LogDirNoticesListed);
    }

    pub(super) fn log_dir_notices_listed(&mut self, hands: &mut Hands<'_, '_>, replies: &[Reply]) {
        let names = names(replies);
        let read = |name: &Arc<str>| get_data(paths::child(paths::LOG_DIR_EVENTS, name), false);
        let ops = names.iter().map(read).collect();
        self.ask(hands, ops, Then::LogDirNoticesRead(names));
    }

    /// `onBrokerLogDirFailure`: the brokers are told their replicas again; what failed shows in their answers.
    pub(super) fn log_dir_notices_read(&mut self, names: &[Arc<str>], replies: &[Reply]) {
        let brokers: BTreeSet<BrokerId> = replies
            .iter()
            .filter_map(|reply| match reply {
                Ok(KeeperResult::Data(data, _)) => json::decode_log_dir_event(data),
                Ok(_) | Err(_) => None,
            })
            .collect();
        let brokers: Vec<_> = brokers.into_iter().collect();
        let notices: Vec<Path> = names
            .iter()
            .map(|name| paths::child(paths::LOG_DIR_EVENTS, name))
            .collect();
        self.then([
            Step::Replicas {
                replicas: self.context.replicas_on(&brokers),
                target: ReplicaPhase::Online,
            },
            Step::Delete(notices),
        ]);
    }
}

/// The names in the answer to a single `getChildren`; none when the parent is missing.
pub(super) fn names(replies: &[Reply]) -> Vec<Arc<str>> {
    match replies.first() {
        Some(Ok(KeeperResult::Children(names, _))) => names.clone(),
        Some(_) | None => Vec::new(),
    }
}
