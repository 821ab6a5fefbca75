//! The phases of a replica (`ReplicaState`) and which may follow which.

/// What the controller takes a replica for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum ReplicaPhase {
    /// Not created, or deleted.
    NonExistent,
    /// Created during topic creation; it can only follow.
    New,
    /// Started and part of the assignment.
    Online,
    /// Its broker or its directory is gone.
    Offline,
    /// It was told to delete its log.
    DeletionStarted,
    /// It has deleted its log.
    DeletionSuccessful,
    /// It could not, or its broker is down.
    DeletionIneligible,
}

impl ReplicaPhase {
    /// Whether a replica may pass from this phase to `next` (`ReplicaState.validPreviousStates`).
    pub fn may_become(self, next: Self) -> bool {
        match next {
            Self::New => self == Self::NonExistent,
            Self::Online | Self::Offline => matches!(
                self,
                Self::New | Self::Online | Self::Offline | Self::DeletionIneligible
            ),
            Self::DeletionStarted => self == Self::Offline,
            Self::DeletionSuccessful => self == Self::DeletionStarted,
            Self::DeletionIneligible => matches!(self, Self::Offline | Self::DeletionStarted),
            Self::NonExistent => self == Self::DeletionSuccessful,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::ReplicaPhase::{
        DeletionIneligible, DeletionStarted, DeletionSuccessful, New, NonExistent, Offline, Online,
    };

    #[test]
    fn only_the_transitions_of_kafka_are_valid() {
        let valid = [
            (NonExistent, New),
            (New, Online),
            (New, Offline),
            (Online, Online),
            (Online, Offline),
            (Offline, Online),
            (Offline, Offline),
            (Offline, DeletionStarted),
            (Offline, DeletionIneligible),
            (DeletionStarted, DeletionSuccessful),
            (DeletionStarted, DeletionIneligible),
            (DeletionSuccessful, NonExistent),
            (DeletionIneligible, Online),
            (DeletionIneligible, Offline),
        ];
        let all = [
            NonExistent,
            New,
            Online,
            Offline,
            DeletionStarted,
            DeletionSuccessful,
            DeletionIneligible,
        ];
        for from in all {
            for to in all {
                assert_eq!(
                    from.may_become(to),
                    valid.contains(&(from, to)),
                    "{from:?} {to:?}"
                );
            }
        }
    }
}
