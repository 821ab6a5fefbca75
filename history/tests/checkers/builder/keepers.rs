//! What keeper servers apply, and whom they serve.

use super::Builder;
use history::event::{Keeper, What};
use protocol::ids::{SessionId, Zxid};

impl Builder {
    pub(crate) fn keeper(&mut self, keeper: u16, zxid: i64, digest: u32) {
        self.at(
            Some(2 + keeper),
            What::Keeper(Keeper::Applied {
                zxid: Zxid(zxid),
                digest,
                state: None,
            }),
        );
    }

    /// The same transaction everywhere, and what the tree is after it.
    pub(crate) fn keeper_state(&mut self, keeper: u16, zxid: i64, state: u32) {
        self.at(
            Some(2 + keeper),
            What::Keeper(Keeper::Applied {
                zxid: Zxid(zxid),
                digest: 7,
                state: Some(state),
            }),
        );
    }

    pub(crate) fn keeper_restored(&mut self, keeper: u16, zxid: i64, state: u32) {
        self.at(
            Some(2 + keeper),
            What::Keeper(Keeper::Restored {
                zxid: Zxid(zxid),
                state: Some(state),
            }),
        );
    }

    /// A client that has seen so much goes on at this keeper.
    pub(crate) fn resumed_at(&mut self, keeper: u16, seen: i64) {
        let resumed = Keeper::SessionResumed {
            session: Some(SessionId(1)),
            seen: Zxid(seen),
        };
        self.at(Some(2 + keeper), What::Keeper(resumed));
    }
}
