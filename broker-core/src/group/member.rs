//! One member of a group (`MemberMetadata`) and the ids members are given.

use super::deadlines::Alarm;
use bytes::Bytes;
use protocol::ids::MemberId;
use protocol::machine::RequestToken;
use protocol::time::Span;
use std::sync::Arc;

/// The assignors a member can use, preferred first, each with its subscription.
pub(super) type Protocols = Vec<(Arc<str>, Bytes)>;

/// A member. Its id is its key in the group, because a static member's id changes.
#[derive(Clone, Debug)]
pub(super) struct Member {
    /// `group.instance.id` of a static member (KIP-345).
    pub(super) instance: Option<Arc<str>>,
    pub(super) client_id: Arc<str>,
    pub(super) client_host: Arc<str>,
    pub(super) rebalance_timeout: Span,
    pub(super) session_timeout: Span,
    pub(super) protocols: Protocols,
    pub(super) assignment: Bytes,
    /// The `JoinGroup` that waits for the others.
    pub(super) awaiting_join: Option<RequestToken>,
    /// The `SyncGroup` that waits for the leader.
    pub(super) awaiting_sync: Option<RequestToken>,
    /// Its first join has not been answered.
    pub(super) is_new: bool,
    /// The end of its session.
    pub(super) session: Alarm,
}

impl Member {
    pub(super) fn is_static(&self) -> bool {
        self.instance.is_some()
    }

    /// Same assignors, same subscriptions, same order.
    pub(super) fn matches(&self, protocols: &Protocols) -> bool {
        self.protocols == *protocols
    }

    pub(super) fn supports(&self, protocol: &str) -> bool {
        self.protocols.iter().any(|(name, _)| &**name == protocol)
    }

    /// What it sent for an assignor.
    pub(super) fn metadata(&self, protocol: &str) -> Bytes {
        self.protocols
            .iter()
            .find(|(name, _)| &**name == protocol)
            .map(|(_, metadata)| metadata.clone())
            .unwrap_or_default()
    }
}

/// Random-looking, reproducible version 4 UUIDs for member ids: a counter through SplitMix64.
#[derive(Clone, Debug)]
pub(super) struct MemberIds {
    seed: u64,
    given: u64,
}

impl MemberIds {
    pub(super) fn new(seed: u64) -> Self {
        Self { seed, given: 0 }
    }

    /// `prefix-uuid`, where the prefix is the client id or the instance id (`GroupMetadata.generateMemberId`).
    pub(super) fn next(&mut self, prefix: &str) -> MemberId {
        let high = self.draw() & !0xf000 | 0x4000;
        let low = self.draw() & !(0b11 << 62) | (0b10 << 62);
        let uuid = (u128::from(high) << 64) | u128::from(low);
        let hex = format!("{uuid:032x}");
        let fields = [
            &hex[..8],
            &hex[8..12],
            &hex[12..16],
            &hex[16..20],
            &hex[20..],
        ];
        MemberId::from(format!("{prefix}-{}", fields.join("-")))
    }

    fn draw(&mut self) -> u64 {
        self.given += 1;
        let mut z = self
            .seed
            .wrapping_add(self.given.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn member_ids_are_uuids_that_repeat_with_the_seed_only() {
        let (mut one, mut same, mut other) =
            (MemberIds::new(1), MemberIds::new(1), MemberIds::new(2));
        let first = one.next("c");
        assert_eq!(first, same.next("c"));
        assert_ne!(first, other.next("c"));
        assert_ne!(first, one.next("c"));
        assert_eq!(first.as_str().len(), "c-".len() + 36);
        assert_eq!(first.as_str().as_bytes()["c-".len() + 14], b'4');
    }
}
