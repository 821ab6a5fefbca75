//! The states of a transactional producer and the ways between them (`TransactionManager.State`).

/// How far the producer is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum State {
    /// `initTransactions` has not been called.
    Uninitialized,
    /// It waits for its producer id and epoch.
    Initializing,
    /// A transaction may begin.
    Ready,
    /// One is open.
    InTransaction,
    /// It is being committed.
    Committing,
    /// It is being aborted.
    Aborting,
    /// Something failed; the application must abort.
    AbortableError,
    /// Something failed for good; the application must close the producer.
    FatalError,
}

impl State {
    /// Whether one may become the other (`isTransitionValid`).
    pub(super) const fn may_become(self, target: Self) -> bool {
        match target {
            Self::Uninitialized => matches!(self, Self::Ready | Self::AbortableError),
            Self::Initializing => matches!(self, Self::Uninitialized | Self::Aborting),
            Self::Ready => matches!(self, Self::Initializing | Self::Committing | Self::Aborting),
            Self::InTransaction => matches!(self, Self::Ready),
            Self::Committing => matches!(self, Self::InTransaction),
            Self::Aborting => matches!(self, Self::InTransaction | Self::AbortableError),
            Self::AbortableError => matches!(
                self,
                Self::InTransaction | Self::Committing | Self::AbortableError
            ),
            Self::FatalError => true,
        }
    }

    /// What an application did wrong that asks for a state which cannot come now.
    pub(super) const fn misuse(target: Self) -> &'static str {
        match target {
            Self::Initializing => "initTransactions is called once",
            Self::InTransaction => {
                "beginTransaction needs an initialised producer without an open transaction"
            }
            Self::Committing => "commitTransaction needs an open transaction",
            Self::Aborting => "abortTransaction needs an open transaction",
            Self::Uninitialized | Self::Ready | Self::AbortableError | Self::FatalError => {
                "the producer's state does not allow this"
            }
        }
    }
}
