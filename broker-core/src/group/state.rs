//! What the coordinator knows of one group, and its state machine (`GroupMetadata`, `GroupState`).
//!
//! Kafka keeps members in a hash map, whose order nobody may rely on; here it is the order of member ids, which decides a
//! new leader, a tie between protocols and the order in the leader's list.

use super::deadlines::Alarm;
use super::member::{Member, Protocols};
use super::offsets::{Committed, StoredOffset};
use super::subscription;
use super::transactions::PendingOffset;
use bytes::Bytes;
use protocol::ids::{GenerationId, GroupId, MemberId, ProducerId, TopicName, TopicPartition};
use protocol::time::Span;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The state of a group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum GroupState {
    /// No members; offsets, perhaps.
    Empty,
    /// Waiting for all members to join.
    PreparingRebalance,
    /// Waiting for the leader's assignment.
    CompletingRebalance,
    /// Everybody has an assignment.
    Stable,
    /// Gone from here.
    Dead,
}

impl GroupState {
    /// Kafka's name, which `DescribeGroups` shows.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::PreparingRebalance => "PreparingRebalance",
            Self::CompletingRebalance => "CompletingRebalance",
            Self::Stable => "Stable",
            Self::Dead => "Dead",
        }
    }

    /// Whether a group may go from `self` to `next`.
    pub(super) const fn may_become(self, next: Self) -> bool {
        match next {
            Self::Dead => true,
            Self::PreparingRebalance => {
                matches!(self, Self::Stable | Self::CompletingRebalance | Self::Empty)
            }
            Self::CompletingRebalance | Self::Empty => matches!(self, Self::PreparingRebalance),
            Self::Stable => matches!(self, Self::CompletingRebalance),
        }
    }
}

/// What ends the join phase.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum JoinBarrier {
    /// All have joined, or the rebalance time-out has passed.
    Members,
    /// A fixed delay for an empty group (KIP-134), extended while members keep coming.
    Initial {
        /// How long this round is.
        delay: Span,
        /// How much longer it may get.
        remaining: Span,
    },
}

/// A group.
#[derive(Clone, Debug)]
pub(super) struct Group {
    pub(super) id: GroupId,
    /// Tells this group from one of the same name that was forgotten meanwhile.
    pub(super) incarnation: u64,
    /// Its partition of the offsets topic.
    pub(super) partition: i32,
    pub(super) state: GroupState,
    /// Wall milliseconds since when; `None` when the stored record was too old to tell.
    pub(super) state_since: Option<i64>,
    pub(super) protocol_type: Option<Arc<str>>,
    pub(super) protocol: Option<Arc<str>>,
    pub(super) generation: GenerationId,
    pub(super) leader: Option<MemberId>,
    pub(super) members: BTreeMap<MemberId, Member>,
    /// Instance id to member id.
    pub(super) static_members: BTreeMap<Arc<str>, MemberId>,
    /// Ids given out with `MEMBER_ID_REQUIRED` and not yet come back.
    pub(super) pending_members: BTreeMap<MemberId, Alarm>,
    /// Members of this generation that have not asked for their assignment (KAFKA-12890).
    pub(super) pending_syncs: BTreeSet<MemberId>,
    pub(super) barrier: JoinBarrier,
    pub(super) new_member_added: bool,
    pub(super) join_alarm: Alarm,
    pub(super) sync_alarm: Alarm,
    /// Topics some member subscribes to; `None` when that cannot be told.
    pub(super) subscribed: Option<BTreeSet<TopicName>>,
    pub(super) offsets: BTreeMap<TopicPartition, Committed>,
    /// Commits whose append is not finished, the latest of each partition.
    pub(super) pending_offsets: BTreeMap<TopicPartition, StoredOffset>,
    /// Offsets of transactions that have not ended.
    pub(super) pending_transactions: BTreeMap<ProducerId, BTreeMap<TopicPartition, PendingOffset>>,
}

impl Group {
    pub(super) fn new(id: GroupId, partition: i32, incarnation: u64, wall_ms: i64) -> Self {
        Self {
            id,
            incarnation,
            partition,
            state: GroupState::Empty,
            state_since: Some(wall_ms),
            protocol_type: None,
            protocol: None,
            generation: GenerationId(0),
            leader: None,
            members: BTreeMap::new(),
            static_members: BTreeMap::new(),
            pending_members: BTreeMap::new(),
            pending_syncs: BTreeSet::new(),
            barrier: JoinBarrier::Members,
            new_member_added: false,
            join_alarm: Alarm::default(),
            sync_alarm: Alarm::default(),
            subscribed: None,
            offsets: BTreeMap::new(),
            pending_offsets: BTreeMap::new(),
            pending_transactions: BTreeMap::new(),
        }
    }

    pub(super) fn is_leader(&self, member: &MemberId) -> bool {
        self.leader.as_ref() == Some(member)
    }

    /// The member id of an instance.
    pub(super) fn static_member(&self, instance: Option<&Arc<str>>) -> Option<&MemberId> {
        instance.and_then(|instance| self.static_members.get(instance))
    }

    /// Takes a member in. The first one leads, and gives the group its type.
    pub(super) fn add(&mut self, id: MemberId, member: Member, protocol_type: &Arc<str>) {
        if self.members.is_empty() {
            self.protocol_type = Some(protocol_type.clone());
        }
        if self.leader.is_none() {
            self.leader = Some(id.clone());
        }
        if let Some(instance) = &member.instance {
            self.static_members.insert(instance.clone(), id.clone());
        }
        self.members.insert(id, member);
    }

    /// Takes a member out; another one leads then.
    pub(super) fn remove(&mut self, id: &MemberId) -> Option<Member> {
        let member = self.members.remove(id);
        self.pending_syncs.remove(id);
        if self.is_leader(id) {
            self.leader = self.members.keys().next().cloned();
        }
        member
    }

    /// Keeps the leader if it has joined again, else makes one that has the leader. False when nobody has joined, or
    /// nobody led.
    pub(super) fn elect_joined_leader(&mut self) -> bool {
        let joined = |member: &Member| member.awaiting_join.is_some();
        let Some(leader) = &self.leader else {
            return false;
        };
        if self.members.get(leader).is_some_and(joined) {
            return true;
        }
        let next = self.members.iter().find(|(_, member)| joined(member));
        let next = next.map(|(id, _)| id.clone());
        let found = next.is_some();
        if found {
            self.leader = next;
        }
        found
    }

    pub(super) fn has_all_members_joined(&self) -> bool {
        self.pending_members.is_empty()
            && self
                .members
                .values()
                .all(|member| member.awaiting_join.is_some())
    }

    pub(super) fn awaiting_join(&self) -> usize {
        self.members
            .values()
            .filter(|member| member.awaiting_join.is_some())
            .count()
    }

    /// The longest a member lets a rebalance wait.
    pub(super) fn rebalance_timeout(&self) -> Span {
        self.members
            .values()
            .map(|member| member.rebalance_timeout)
            .max()
            .unwrap_or(Span::ZERO)
    }

    /// Whether somebody with these protocols can be in the group.
    pub(super) fn supports(&self, protocol_type: &Arc<str>, protocols: &Protocols) -> bool {
        if self.state == GroupState::Empty {
            return !protocol_type.is_empty() && !protocols.is_empty();
        }
        self.protocol_type.as_ref() == Some(protocol_type)
            && protocols.iter().any(|(name, _)| self.all_support(name))
    }

    fn all_support(&self, protocol: &str) -> bool {
        self.members
            .values()
            .all(|member| member.supports(protocol))
    }

    /// The protocol with most votes: each member votes for the first of its own that all support. Of several with as
    /// many, the first by name (Kafka leaves that to a hash map).
    pub(super) fn select_protocol(&self) -> Option<Arc<str>> {
        let mut votes: BTreeMap<&Arc<str>, usize> = BTreeMap::new();
        for member in self.members.values() {
            let vote = member
                .protocols
                .iter()
                .find(|(name, _)| self.all_support(name));
            if let Some((name, _)) = vote {
                *votes.entry(name).or_default() += 1;
            }
        }
        let most = votes.values().copied().max()?;
        votes
            .into_iter()
            .find(|(_, count)| *count == most)
            .map(|(name, _)| name.clone())
    }

    /// Learns the subscribed topics from the members' metadata (`computeSubscribedTopics`).
    pub(super) fn learn_subscriptions(&mut self) {
        let is_consumer = self.protocol_type.as_deref() == Some(subscription::CONSUMER);
        self.subscribed = match &self.protocol {
            Some(protocol) if is_consumer && !self.members.is_empty() => {
                let topics = self.members.values();
                topics
                    .map(|member| subscription::topics(&member.metadata(protocol)))
                    .try_fold(BTreeSet::new(), |mut all, topics| {
                        all.extend(topics?);
                        Some(all)
                    })
            }
            _ if is_consumer && self.members.is_empty() => Some(BTreeSet::new()),
            _ => None,
        };
    }

    /// Every member with its instance and its metadata for the chosen protocol, for the leader.
    pub(super) fn member_list(&self) -> Vec<(MemberId, Option<Arc<str>>, Bytes)> {
        let protocol = self.protocol.as_deref().unwrap_or_default();
        self.members
            .iter()
            .map(|(id, member)| {
                (
                    id.clone(),
                    member.instance.clone(),
                    member.metadata(protocol),
                )
            })
            .collect()
    }

    pub(super) fn has_offsets(&self) -> bool {
        !self.offsets.is_empty()
            || !self.pending_offsets.is_empty()
            || !self.pending_transactions.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [GroupState; 5] = [
        GroupState::Empty,
        GroupState::PreparingRebalance,
        GroupState::CompletingRebalance,
        GroupState::Stable,
        GroupState::Dead,
    ];

    #[test]
    fn a_group_changes_state_only_along_kafkas_arrows() {
        let arrows: Vec<_> = ALL
            .into_iter()
            .flat_map(|from| ALL.into_iter().map(move |to| (from, to)))
            .filter(|(from, to)| *to != GroupState::Dead && from.may_become(*to))
            .map(|(from, to)| (from.name(), to.name()))
            .collect();
        assert_eq!(
            arrows,
            [
                ("Empty", "PreparingRebalance"),
                ("PreparingRebalance", "Empty"),
                ("PreparingRebalance", "CompletingRebalance"),
                ("CompletingRebalance", "PreparingRebalance"),
                ("CompletingRebalance", "Stable"),
                ("Stable", "PreparingRebalance"),
            ]
        );
        assert!(
            ALL.into_iter()
                .all(|from| from.may_become(GroupState::Dead))
        );
    }

    fn voter(protocols: &[&str]) -> Member {
        Member {
            instance: None,
            client_id: "c".into(),
            client_host: "h".into(),
            rebalance_timeout: Span::secs(1),
            session_timeout: Span::secs(1),
            protocols: protocols
                .iter()
                .map(|name| (Arc::from(*name), Bytes::new()))
                .collect(),
            assignment: Bytes::new(),
            awaiting_join: None,
            awaiting_sync: None,
            is_new: false,
            session: Alarm::default(),
        }
    }

    #[test]
    fn members_vote_for_the_protocol_they_prefer_among_those_all_support() {
        let mut group = Group::new("g".into(), 0, 0, 0);
        let consumer = Arc::from("consumer");
        group.add(
            "a".into(),
            voter(&["sticky", "range", "roundrobin"]),
            &consumer,
        );
        group.add("b".into(), voter(&["roundrobin", "range"]), &consumer);
        group.add("c".into(), voter(&["roundrobin", "range"]), &consumer);
        assert_eq!(group.select_protocol().as_deref(), Some("roundrobin"));
        group.state = GroupState::Stable;
        assert!(!group.supports(&consumer, &voter(&["sticky"]).protocols));
        assert!(group.supports(&consumer, &voter(&["sticky", "range"]).protocols));
        assert!(!group.supports(&Arc::from("connect"), &voter(&["range"]).protocols));
    }

    #[test]
    fn the_next_member_leads_when_the_leader_goes() {
        let mut group = Group::new("g".into(), 0, 0, 0);
        let consumer = Arc::from("consumer");
        group.add("b".into(), voter(&["range"]), &consumer);
        group.add("a".into(), voter(&["range"]), &consumer);
        assert!(group.is_leader(&"b".into()));
        group.remove(&"b".into());
        assert!(group.is_leader(&"a".into()));
        group.remove(&"a".into());
        assert_eq!(group.leader, None);
    }
}
