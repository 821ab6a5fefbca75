//! The in-sync replicas of a partition this broker leads, and changes of them that are under way.
//!
//! Two ways to change the set stand side by side. From IBP 2.7 on the leader asks the controller (AlterIsr, KIP-497): it
//! goes on working meanwhile, with the *maximal* set for the high watermark, as the controller may already have decided.
//! Before, the leader wrote the state znode itself and held the partition's lock until the answer: nothing was appended,
//! read or moved meanwhile, so the old set and the new one are never both in force.

use protocol::behaviour::{Behaviour, Fix};
use protocol::error_code::ErrorCode;
use protocol::ids::BrokerId;

/// Who writes a change of the in-sync replicas.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IsrPath {
    /// The leader, over the version of the znode that it knows; the partition is locked until the answer.
    KeeperWrite,
    /// The controller, asked by the leader.
    AlterIsr,
}

impl IsrPath {
    /// The way a broker goes.
    pub fn of(behaviour: &Behaviour) -> Self {
        if behaviour.inter_broker_protocol.uses_alter_isr() {
            Self::AlterIsr
        } else {
            Self::KeeperWrite
        }
    }
}

/// The set, and the change that is under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum IsrState {
    /// Nothing is under way.
    Committed(Vec<BrokerId>),
    /// A follower is to be let in.
    PendingExpand {
        isr: Vec<BrokerId>,
        adding: BrokerId,
    },
    /// Followers are to be put out.
    PendingShrink {
        isr: Vec<BrokerId>,
        removing: Vec<BrokerId>,
    },
}

impl IsrState {
    /// The last set known to be committed.
    pub(super) fn committed(&self) -> &[BrokerId] {
        match self {
            Self::Committed(isr)
            | Self::PendingExpand { isr, .. }
            | Self::PendingShrink { isr, .. } => isr,
        }
    }

    /// A change is under way, or its outcome is not known.
    pub(super) fn is_pending(&self) -> bool {
        match self {
            Self::Committed(_) => false,
            Self::PendingExpand { .. } | Self::PendingShrink { .. } => true,
        }
    }

    /// The set as it would be if the change had happened.
    pub(super) fn proposed(&self) -> Vec<BrokerId> {
        match self {
            Self::Committed(isr) => isr.clone(),
            Self::PendingExpand { isr, adding } => {
                let mut wanted = isr.clone();
                wanted.push(*adding);
                wanted
            }
            Self::PendingShrink { isr, removing } => isr
                .iter()
                .copied()
                .filter(|member| !removing.contains(member))
                .collect(),
        }
    }

    /// Whether a replica must have a record before it counts as committed: a member of the committed set, and with
    /// KIP-497 also one that may have been let in already.
    pub(super) fn holds_back(&self, replica: BrokerId, behaviour: &Behaviour) -> bool {
        self.committed().contains(&replica)
            || match self {
                Self::PendingExpand { adding, .. } => {
                    *adding == replica && behaviour.has(Fix::MaximalIsr)
                }
                Self::Committed(_) | Self::PendingShrink { .. } => false,
            }
    }

    /// All for whom [`Self::holds_back`] is true (`maximalIsr`).
    pub(super) fn maximal(&self, behaviour: &Behaviour) -> Vec<BrokerId> {
        match self {
            Self::PendingExpand { .. } if behaviour.has(Fix::MaximalIsr) => self.proposed(),
            Self::Committed(isr)
            | Self::PendingExpand { isr, .. }
            | Self::PendingShrink { isr, .. } => isr.clone(),
        }
    }

    /// How many replicas acks=all may count when it is about to be answered (`maximalIsr.size`).
    pub(super) fn maximal_size(&self, behaviour: &Behaviour) -> usize {
        let committed = self.committed().len();
        match self {
            Self::PendingExpand { .. } if behaviour.has(Fix::MaximalIsr) => committed + 1,
            Self::Committed(_) | Self::PendingExpand { .. } | Self::PendingShrink { .. } => {
                committed
            }
        }
    }

    /// The change failed and nothing of it happened.
    pub(super) fn give_up(&mut self) {
        *self = Self::Committed(self.committed().to_vec());
    }
}

/// What a leader does about a refusal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Refusal {
    /// Keep the committed set and go on.
    Drop,
    /// Stay as it is until the controller says more: somebody else knows better.
    Wait,
    /// Ask again.
    Retry,
}

impl Refusal {
    /// `handleAlterIsrResponse` of 2.8, and the BADVERSION rule of the keeper path.
    pub(super) fn of(path: IsrPath, error: ErrorCode) -> Self {
        match (path, error) {
            (IsrPath::KeeperWrite, _) | (IsrPath::AlterIsr, ErrorCode::OperationNotAttempted) => {
                Self::Drop
            }
            (
                IsrPath::AlterIsr,
                ErrorCode::UnknownTopicOrPartition
                | ErrorCode::FencedLeaderEpoch
                | ErrorCode::InvalidUpdateVersion,
            ) => Self::Wait,
            (IsrPath::AlterIsr, _) => Self::Retry,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::behaviour::Era;

    fn ids(list: &[i32]) -> Vec<BrokerId> {
        list.iter().copied().map(BrokerId).collect()
    }

    #[test]
    fn the_maximal_set_counts_who_may_be_in_already() {
        let modern = Behaviour::of(Era::V2_8);
        let state = IsrState::PendingExpand {
            isr: ids(&[1, 2]),
            adding: BrokerId(3),
        };
        assert!(state.holds_back(BrokerId(3), &modern));
        assert_eq!(state.maximal_size(&modern), 3);
        let without = modern.with(Fix::MaximalIsr, false);
        assert!(!state.holds_back(BrokerId(3), &without));
        assert_eq!(state.maximal_size(&without), 2);
        assert_eq!(state.proposed(), ids(&[1, 2, 3]));
    }

    #[test]
    fn a_shrink_that_is_under_way_still_counts_everybody() {
        let modern = Behaviour::of(Era::V2_8);
        let mut state = IsrState::PendingShrink {
            isr: ids(&[1, 2]),
            removing: ids(&[2]),
        };
        assert!(state.holds_back(BrokerId(2), &modern) && state.is_pending());
        assert_eq!(state.proposed(), ids(&[1]));
        state.give_up();
        assert_eq!(state, IsrState::Committed(ids(&[1, 2])));
    }

    #[test]
    fn a_lost_race_for_the_znode_is_dropped_and_an_unknown_error_repeated() {
        let of = Refusal::of;
        assert_eq!(
            of(IsrPath::KeeperWrite, ErrorCode::InvalidUpdateVersion),
            Refusal::Drop
        );
        assert_eq!(
            of(IsrPath::AlterIsr, ErrorCode::InvalidUpdateVersion),
            Refusal::Wait
        );
        assert_eq!(
            of(IsrPath::AlterIsr, ErrorCode::UnknownServerError),
            Refusal::Retry
        );
    }
}
