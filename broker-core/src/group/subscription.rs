//! The topics in a consumer's join metadata (`ConsumerProtocol.deserializeSubscription`), which decide whose offsets may
//! expire while a group lives.
//!
//! Only the part that all versions begin with is read: version, topics. A group of another protocol type is opaque.

use bytes::{Buf, Bytes};
use protocol::ids::TopicName;
use std::collections::BTreeSet;

/// The protocol type of consumer groups.
pub(super) const CONSUMER: &str = "consumer";

/// The topics; `None` when the bytes are no subscription.
pub(super) fn topics(metadata: &Bytes) -> Option<BTreeSet<TopicName>> {
    let mut input: &[u8] = metadata;
    if input.try_get_i16().ok()? < 0 {
        return None;
    }
    let count = input.try_get_i32().ok()?;
    let mut topics = BTreeSet::new();
    for _ in 0..count {
        let size = usize::try_from(input.try_get_i16().ok()?).ok()?;
        let (name, rest) = input.split_at_checked(size)?;
        topics.insert(TopicName::from(std::str::from_utf8(name).ok()?));
        input = rest;
    }
    Some(topics)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_are_read_from_any_version_of_a_subscription() {
        let bytes = Bytes::from_static(b"\0\x01\0\0\0\x02\0\x01a\0\x02bc\xff\xff\xff\xff\0\0\0\0");
        let topics = topics(&bytes).unwrap();
        assert_eq!(topics, BTreeSet::from(["a".into(), "bc".into()]));
    }

    #[test]
    fn other_bytes_are_no_subscription() {
        assert_eq!(topics(&Bytes::from_static(b"x")), None);
        assert_eq!(topics(&Bytes::from_static(b"\0\0\0\0\0\x01\0\x09a")), None);
    }
}
