//! One partition on this broker and its role in it: `kafka.cluster.Partition` of 2.8 without its log.
//!
//! What the log knows (its end, its high watermark) comes in as arguments, so that this is a plain state machine. Left out:
//! moving a replica between log directories (future replicas), preferred read replicas (KIP-392).

use super::high_watermark;
use super::in_sync_replicas::{IsrPath, IsrState, Refusal};
use super::remote_replica::RemoteReplica;
use crate::isr_writer::IsrUpdate;
use protocol::api::cluster::{LeaderAndIsr, LeaderAndIsrPartition};
use protocol::behaviour::{Behaviour, Fix};
use protocol::error_code::ErrorCode;
use protocol::ids::{
    BrokerEpoch, BrokerId, ControllerEpoch, LeaderEpoch, Offset, PartitionEpoch, TopicPartition,
};
use protocol::time::{Mono, Span};

/// Names a partition within this broker; never given to another one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) struct Slot(u32);

impl Slot {
    /// The slot after `count` others.
    pub(super) fn numbered(count: usize) -> Self {
        Self(u32::try_from(count).expect("a broker has fewer than 2^32 partitions"))
    }

    /// The slot behind it.
    pub(super) const fn next(self) -> Self {
        Self(self.0.wrapping_add(1))
    }

    /// Its place in the list.
    pub(super) fn index(self) -> usize {
        usize::try_from(self.0).expect("an index fits")
    }

    /// The key that operations in purgatory watch.
    pub(super) const fn key(self) -> u32 {
        self.0
    }
}

/// What only a leader knows.
#[derive(Clone, Debug)]
pub(super) struct Leadership {
    /// Where the log ended when this epoch began here.
    pub(super) epoch_start: Offset,
    /// The in-sync replicas.
    pub(super) isr: IsrState,
    /// The other replicas, in the order of the assignment.
    pub(super) followers: Vec<RemoteReplica>,
}

impl Leadership {
    /// In which life each of these replicas fetched last.
    fn epochs_of(&self, replicas: &[BrokerId]) -> Vec<(BrokerId, BrokerEpoch)> {
        let known = self.followers.iter();
        let known = known.filter(|replica| replicas.contains(&replica.id));
        known
            .filter_map(|replica| Some((replica.id, replica.broker_epoch?)))
            .collect()
    }
}

/// What this broker is for the partition.
#[derive(Clone, Debug)]
pub(super) enum Role {
    /// Nobody has said yet.
    None,
    /// It leads.
    Leader(Leadership),
    /// It follows; `None` while there is no leader.
    Follower(Option<BrokerId>),
}

/// The rules and settings a partition is judged by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    pub(super) behaviour: Behaviour,
    pub(super) local: BrokerId,
    pub(super) lag: Span,
    pub(super) lag_messages: i64,
}

/// One partition.
#[derive(Clone, Debug)]
#[expect(
    clippy::struct_field_names,
    reason = "partition epoch is Kafka's word for the version of the state"
)]
pub(super) struct Partition {
    pub(super) name: TopicPartition,
    /// The epoch of the last accepted LeaderAndIsr; none before the first.
    pub(super) leader_epoch: Option<LeaderEpoch>,
    pub(super) partition_epoch: PartitionEpoch,
    pub(super) controller_epoch: ControllerEpoch,
    pub(super) assignment: Vec<BrokerId>,
    pub(super) role: Role,
    /// An ISR change of this broker has not been answered yet. Without KAFKA-12686 it blocks the next one even across
    /// leader epochs.
    in_flight: Option<LeaderEpoch>,
    /// In sync by the controller's word when it was found without a log, and not caught up since: its disk was replaced.
    pub(super) came_back_empty: bool,
}

impl Partition {
    pub(super) fn new(name: TopicPartition) -> Self {
        Self {
            name,
            leader_epoch: None,
            partition_epoch: PartitionEpoch(0),
            controller_epoch: ControllerEpoch(0),
            assignment: Vec::new(),
            role: Role::None,
            in_flight: None,
            came_back_empty: false,
        }
    }

    pub(super) fn leadership(&self) -> Option<&Leadership> {
        match &self.role {
            Role::Leader(leadership) => Some(leadership),
            Role::None | Role::Follower(_) => None,
        }
    }

    pub(super) fn is_leader(&self) -> bool {
        self.leadership().is_some()
    }

    /// The replicas that a leader waits for before a record counts as committed.
    pub(super) fn waits_for(&self, rules: &Rules) -> Vec<BrokerId> {
        self.leadership()
            .map(|leadership| leadership.isr.maximal(&rules.behaviour))
            .unwrap_or_default()
    }

    /// The leader's own keeper write is under way: Kafka holds the partition's lock meanwhile.
    pub(super) fn is_locked(&self, rules: &Rules) -> bool {
        IsrPath::of(&rules.behaviour) == IsrPath::KeeperWrite
            && self
                .leadership()
                .is_some_and(|leadership| leadership.isr.is_pending())
    }

    fn accept(&mut self, told: &LeaderAndIsrPartition, rules: &Rules) {
        self.controller_epoch = told.controller_epoch;
        self.leader_epoch = Some(told.state.leader_epoch);
        self.partition_epoch = told.state.partition_epoch;
        self.assignment.clone_from(&told.replicas);
        if rules.behaviour.has(Fix::ClearPendingIsrOnEpoch) {
            self.in_flight = None;
        }
    }

    /// `makeLeader`: true when it was not leading before.
    pub(super) fn become_leader(
        &mut self,
        now: Mono,
        told: &LeaderAndIsrPartition,
        log_end: Offset,
        rules: &Rules,
    ) -> bool {
        let knows_them = self.knows_its_followers(told.state.leader_epoch, rules);
        self.accept(told, rules);
        let (before, was_leader) = match std::mem::replace(&mut self.role, Role::None) {
            Role::Leader(leadership) => (leadership.followers, true),
            Role::None | Role::Follower(_) => (Vec::new(), false),
        };
        let before = if knows_them { before } else { Vec::new() };
        let isr = told.state.isr.clone();
        let followers = told
            .replicas
            .iter()
            .filter(|id| **id != rules.local)
            .map(|id| {
                let in_sync = isr.contains(id);
                let mut follower = before
                    .iter()
                    .find(|known| known.id == *id)
                    .cloned()
                    .unwrap_or_else(|| RemoteReplica::new(*id));
                if was_leader && knows_them {
                    follower.renew(now, log_end, in_sync);
                } else {
                    follower.begin(now, in_sync);
                }
                follower
            })
            .collect();
        self.role = Role::Leader(Leadership {
            epoch_start: log_end,
            isr: IsrState::Committed(isr),
            followers,
        });
        !was_leader
    }

    /// Whether what a leader knows of its followers still stands in this epoch. Who led in an epoch that it was not told of has
    /// had them truncate their logs. No release asks: `makeLeader` keeps the ends of their logs wherever it led before.
    fn knows_its_followers(&self, elected: LeaderEpoch, rules: &Rules) -> bool {
        let fixed = rules.behaviour.has(Fix::ForgetAfterMissedEpoch);
        let follows = |known: LeaderEpoch| elected.0 <= known.0.saturating_add(1);
        !fixed || self.leader_epoch.is_none_or(follows)
    }

    /// `makeFollower`: true when the leader is another one than before, or the epoch a later one.
    pub(super) fn become_follower(&mut self, told: &LeaderAndIsrPartition, rules: &Rules) -> bool {
        let same = match self.role {
            Role::Follower(leader) => {
                leader == told.state.leader && self.leader_epoch == Some(told.state.leader_epoch)
            }
            Role::None | Role::Leader(_) => false,
        };
        self.accept(told, rules);
        self.role = Role::Follower(told.state.leader);
        !same
    }

    /// `checkCurrentLeaderEpoch` (KIP-320).
    pub(super) fn check_epoch(
        &self,
        asked: Option<LeaderEpoch>,
        rules: &Rules,
    ) -> Result<(), ErrorCode> {
        let (Some(asked), true) = (asked, rules.behaviour.has(Fix::FenceFetchByLeaderEpoch)) else {
            return Ok(());
        };
        match self.leader_epoch {
            Some(own) if own == asked => Ok(()),
            Some(own) if own > asked => Err(ErrorCode::FencedLeaderEpoch),
            Some(_) | None => Err(ErrorCode::UnknownLeaderEpoch),
        }
    }

    /// `getLocalLog`: a request that believes in epoch `asked` is served by the leader alone.
    pub(super) fn check_access(
        &self,
        asked: Option<LeaderEpoch>,
        rules: &Rules,
    ) -> Result<(), ErrorCode> {
        self.check_epoch(asked, rules)?;
        if self.is_leader() {
            Ok(())
        } else {
            Err(ErrorCode::NotLeaderOrFollower)
        }
    }

    /// A follower's fetch says where its log starts.
    pub(super) fn on_follower_start(&mut self, follower: BrokerId, start: Option<Offset>) {
        if let Role::Leader(leadership) = &mut self.role
            && let Some(replica) = leadership
                .followers
                .iter_mut()
                .find(|replica| replica.id == follower)
        {
            replica.log_start = start;
        }
    }

    /// A follower fetches in this life of its broker; `false` where the fetch is of an earlier life than one before it and
    /// must not count (KAFKA-15221). Without that fix whatever comes last is believed.
    pub(super) fn accepts_life(
        &mut self,
        follower: BrokerId,
        life: Option<BrokerEpoch>,
        rules: &Rules,
    ) -> bool {
        let Role::Leader(leadership) = &mut self.role else {
            return true;
        };
        let known = leadership.followers.iter_mut();
        let Some(replica) = known.into_iter().find(|replica| replica.id == follower) else {
            return true;
        };
        let older = life.is_some() && life < replica.broker_epoch;
        if older && rules.behaviour.has(Fix::BrokerEpochCheckedAtomically) {
            return false;
        }
        replica.broker_epoch = life;
        true
    }

    /// A follower fetched from `offset`. Tells whether its log end moved; `None` when it is no replica.
    pub(super) fn on_follower_fetch(
        &mut self,
        now: Mono,
        follower: BrokerId,
        offset: Offset,
        leader_end: Offset,
    ) -> Option<bool> {
        let Role::Leader(leadership) = &mut self.role else {
            return None;
        };
        let replica = leadership
            .followers
            .iter_mut()
            .find(|replica| replica.id == follower)?;
        let before = replica.log_end;
        replica.on_fetch(now, offset, leader_end);
        Some(before != Some(offset))
    }

    /// Whether a follower outside the in-sync set may come in (`needsExpandIsr`): it has everything committed, and since
    /// KAFKA-7128 also everything from before this leader's epoch.
    pub(super) fn may_expand(
        &self,
        follower: BrokerId,
        high_watermark: Offset,
        rules: &Rules,
    ) -> bool {
        let Some(leadership) = self.leadership() else {
            return false;
        };
        if leadership.isr.is_pending()
            || self.in_flight.is_some()
            || leadership.isr.committed().contains(&follower)
        {
            return false;
        }
        let end = leadership
            .followers
            .iter()
            .find(|replica| replica.id == follower)
            .and_then(|replica| replica.log_end);
        end.is_some_and(|end| {
            end >= high_watermark
                && (!rules.behaviour.has(Fix::IsrExpandFromEpochStart)
                    || end >= leadership.epoch_start)
        })
    }

    /// Starts letting a follower in.
    pub(super) fn expand(&mut self, follower: BrokerId) -> Option<IsrUpdate> {
        let Role::Leader(leadership) = &mut self.role else {
            return None;
        };
        leadership.isr = IsrState::PendingExpand {
            isr: leadership.isr.committed().to_vec(),
            adding: follower,
        };
        self.propose()
    }

    /// Starts putting lagging followers out, if there are any (`maybeShrinkIsr`).
    pub(super) fn shrink(
        &mut self,
        now: Mono,
        log_end: Offset,
        rules: &Rules,
    ) -> Option<IsrUpdate> {
        let in_flight = self.in_flight.is_some();
        let Role::Leader(leadership) = &mut self.role else {
            return None;
        };
        if in_flight || leadership.isr.is_pending() {
            return None;
        }
        let members = leadership.isr.committed();
        let find = |id: BrokerId| leadership.followers.iter().find(|replica| replica.id == id);
        let is_stranger = |id: &BrokerId| *id != rules.local && find(*id).is_none();
        // Between the rounds of a reassignment the set may hold who is no replica any more. Before KAFKA-9672 the look for it
        // ended the check with an exception, each time.
        if !rules.behaviour.has(Fix::IsrSubsetOfReplicas) && members.iter().any(is_stranger) {
            return None;
        }
        let lags = |id: BrokerId| match find(id) {
            None => true,
            Some(replica) if rules.behaviour.has(Fix::IsrLagByTime) => {
                replica.lags(now, log_end, rules.lag, &rules.behaviour)
            }
            Some(replica) => {
                replica.lags_by_messages(now, log_end, (rules.lag, rules.lag_messages))
            }
        };
        let removing: Vec<BrokerId> = members
            .iter()
            .copied()
            .filter(|id| *id != rules.local && lags(*id))
            .collect();
        if removing.is_empty() {
            return None;
        }
        leadership.isr = IsrState::PendingShrink {
            isr: members.to_vec(),
            removing,
        };
        self.propose()
    }

    /// The wish that the pending state stands for.
    pub(super) fn propose(&mut self) -> Option<IsrUpdate> {
        let (Role::Leader(leadership), Some(leader_epoch)) = (&self.role, self.leader_epoch) else {
            return None;
        };
        self.in_flight = Some(leader_epoch);
        Some(IsrUpdate {
            partition: self.name.clone(),
            leader_epoch,
            isr_epochs: leadership.epochs_of(&leadership.isr.proposed()),
            new_isr: leadership.isr.proposed(),
            current_partition_epoch: self.partition_epoch,
            controller_epoch: self.controller_epoch,
        })
    }

    /// An answer to the wish for these came: whether it is about the change that is pending, or about one of an earlier epoch
    /// (`isrState != proposedIsrState`).
    pub(super) fn answers_pending(&mut self, wanted: &[BrokerId]) -> bool {
        let leadership = self.leadership();
        let about_pending = leadership.is_some_and(|leadership| {
            leadership.isr.is_pending() && leadership.isr.proposed() == wanted
        });
        let of_this_epoch = self.in_flight.is_none() || self.in_flight == self.leader_epoch;
        if about_pending || !of_this_epoch {
            self.in_flight = None;
        }
        about_pending && of_this_epoch
    }

    /// The wish was granted; true when the set in force changed. An older answer is left aside; one of the same version says
    /// that all is as wished, and the next wish need not wait (KAFKA-12751).
    pub(super) fn on_granted(&mut self, state: LeaderAndIsr) -> bool {
        let Role::Leader(leadership) = &mut self.role else {
            return false;
        };
        if Some(state.leader_epoch) != self.leader_epoch
            || state.partition_epoch < self.partition_epoch
        {
            return false;
        }
        leadership.isr = IsrState::Committed(state.isr);
        self.partition_epoch = state.partition_epoch;
        true
    }

    /// The wish was refused; gives the wish to repeat, if it is to be.
    pub(super) fn on_refused(&mut self, error: ErrorCode, rules: &Rules) -> Option<IsrUpdate> {
        match Refusal::of(IsrPath::of(&rules.behaviour), error) {
            Refusal::Wait => None,
            Refusal::Retry => self.propose(),
            Refusal::Drop => {
                if let Role::Leader(leadership) = &mut self.role {
                    leadership.isr.give_up();
                }
                None
            }
        }
    }

    /// Where the high watermark may stand now; `None` when it cannot move at all.
    pub(super) fn high_watermark(
        &self,
        now: Mono,
        log_end: Offset,
        min_isr: usize,
        rules: &Rules,
    ) -> Option<Offset> {
        let leadership = self.leadership()?;
        if self.is_locked(rules) {
            return None;
        }
        let needed = min_isr.min(leadership.followers.len() + 1);
        if rules.behaviour.has(Fix::HighWatermarkNeedsMinIsr)
            && leadership.isr.committed().len() < needed
        {
            return None;
        }
        high_watermark::candidate(
            log_end,
            &leadership.followers,
            &leadership.isr,
            (now, rules.lag),
            &rules.behaviour,
        )
    }
}
