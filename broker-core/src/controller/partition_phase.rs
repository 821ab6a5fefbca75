//! The phases of a partition (`PartitionState`) and which may follow which.

/// What the controller takes a partition for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum PartitionPhase {
    /// Not created, or deleted.
    NonExistent,
    /// Assigned, without leader yet.
    New,
    /// It has a leader.
    Online,
    /// Its leader is gone.
    Offline,
}

impl PartitionPhase {
    /// Whether a partition may pass from this phase to `next` (`PartitionState.validPreviousStates`).
    pub fn may_become(self, next: Self) -> bool {
        match next {
            Self::New => self == Self::NonExistent,
            Self::Online | Self::Offline => {
                matches!(self, Self::New | Self::Online | Self::Offline)
            }
            Self::NonExistent => self == Self::Offline,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::PartitionPhase::{New, NonExistent, Offline, Online};

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
            (Offline, NonExistent),
        ];
        for from in [NonExistent, New, Online, Offline] {
            for to in [NonExistent, New, Online, Offline] {
                assert_eq!(
                    from.may_become(to),
                    valid.contains(&(from, to)),
                    "{from:?} {to:?}"
                );
            }
        }
    }
}
