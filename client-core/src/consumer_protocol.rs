//! The bytes that members of a consumer group exchange through the coordinator (`ConsumerProtocol`): subscription and
//! assignment, in Kafka's own format.
//!
//! Version 1 of the subscription (2.4, KIP-429) adds the partitions a member owns. Left out: later versions.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use protocol::ids::{TopicName, TopicPartition};
use std::collections::BTreeMap;

/// What a member wants.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Subscription {
    pub(crate) topics: Vec<TopicName>,
    /// The partitions it had before this rebalance (version 1).
    pub(crate) owned: Vec<TopicPartition>,
    /// Whatever the assignor adds.
    pub(crate) user_data: Option<Bytes>,
}

/// What a member gets.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Assignment {
    pub(crate) partitions: Vec<TopicPartition>,
    pub(crate) user_data: Option<Bytes>,
}

impl Subscription {
    pub(crate) fn encode(&self, version: i16) -> Bytes {
        let mut out = BytesMut::new();
        out.put_i16(version);
        put_count(&mut out, self.topics.len());
        for topic in &self.topics {
            put_text(&mut out, topic.as_str());
        }
        put_blob(&mut out, self.user_data.as_ref());
        if version >= 1 {
            put_partitions(&mut out, &self.owned);
        }
        out.freeze()
    }

    pub(crate) fn decode(mut bytes: Bytes) -> Option<Self> {
        let version = bytes.try_get_i16().ok()?;
        let count = bytes.try_get_i32().ok()?;
        let topics = (0..count)
            .map(|_| get_text(&mut bytes).map(TopicName::from))
            .collect::<Option<_>>()?;
        let user_data = get_blob(&mut bytes)?;
        let owned = if version >= 1 {
            get_partitions(&mut bytes)?
        } else {
            Vec::new()
        };
        Some(Self {
            topics,
            owned,
            user_data,
        })
    }
}

impl Assignment {
    pub(crate) fn encode(&self) -> Bytes {
        let mut out = BytesMut::new();
        out.put_i16(0);
        put_partitions(&mut out, &self.partitions);
        put_blob(&mut out, self.user_data.as_ref());
        out.freeze()
    }

    /// An empty answer, which a member gets for whom the leader sent nothing, is an empty assignment.
    pub(crate) fn decode(mut bytes: Bytes) -> Option<Self> {
        if bytes.is_empty() {
            return Some(Self::default());
        }
        bytes.try_get_i16().ok()?;
        let partitions = get_partitions(&mut bytes)?;
        let user_data = get_blob(&mut bytes)?;
        Some(Self {
            partitions,
            user_data,
        })
    }
}

fn put_count(out: &mut BytesMut, count: usize) {
    out.put_i32(i32::try_from(count).unwrap_or(i32::MAX));
}

fn put_text(out: &mut BytesMut, text: &str) {
    out.put_i16(i16::try_from(text.len()).unwrap_or(i16::MAX));
    out.put_slice(text.as_bytes());
}

fn put_blob(out: &mut BytesMut, blob: Option<&Bytes>) {
    match blob {
        Some(blob) => {
            put_count(out, blob.len());
            out.put_slice(blob);
        }
        None => out.put_i32(-1),
    }
}

fn put_partitions(out: &mut BytesMut, partitions: &[TopicPartition]) {
    let mut by_topic: BTreeMap<&TopicName, Vec<i32>> = BTreeMap::new();
    for partition in partitions {
        by_topic
            .entry(&partition.topic)
            .or_default()
            .push(partition.partition.0);
    }
    put_count(out, by_topic.len());
    for (topic, indexes) in by_topic {
        put_text(out, topic.as_str());
        put_count(out, indexes.len());
        for index in indexes {
            out.put_i32(index);
        }
    }
}

fn take(bytes: &mut Bytes, count: usize) -> Option<Bytes> {
    (count <= bytes.len()).then(|| bytes.split_to(count))
}

fn get_text(bytes: &mut Bytes) -> Option<String> {
    let count = usize::try_from(bytes.try_get_i16().ok()?).ok()?;
    String::from_utf8(take(bytes, count)?.to_vec()).ok()
}

/// The outer `None` is malformed, the inner one null.
#[expect(
    clippy::option_option,
    reason = "the format has a null, and bytes may be broken"
)]
fn get_blob(bytes: &mut Bytes) -> Option<Option<Bytes>> {
    let count = bytes.try_get_i32().ok()?;
    match usize::try_from(count) {
        Ok(count) => take(bytes, count).map(Some),
        Err(_) => Some(None),
    }
}

fn get_partitions(bytes: &mut Bytes) -> Option<Vec<TopicPartition>> {
    let mut partitions = Vec::new();
    for _ in 0..bytes.try_get_i32().ok()? {
        let topic = TopicName::from(get_text(bytes)?);
        for _ in 0..bytes.try_get_i32().ok()? {
            let index = bytes.try_get_i32().ok()?;
            partitions.push(TopicPartition::new(topic.clone(), index));
        }
    }
    Some(partitions)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subscription_has_kafkas_bytes() {
        let subscription = Subscription {
            topics: vec![TopicName::from("ab")],
            owned: vec![TopicPartition::new("ab", 3)],
            user_data: None,
        };
        let old: &[u8] = &[0, 0, 0, 0, 0, 1, 0, 2, b'a', b'b', 255, 255, 255, 255];
        assert_eq!(subscription.encode(0), old);
        let new: &[u8] = &[
            0, 1, 0, 0, 0, 1, 0, 2, b'a', b'b', 255, 255, 255, 255, 0, 0, 0, 1, 0, 2, b'a', b'b',
            0, 0, 0, 1, 0, 0, 0, 3,
        ];
        assert_eq!(subscription.encode(1), new);
        assert_eq!(
            Subscription::decode(subscription.encode(1)),
            Some(subscription)
        );
    }

    #[test]
    fn an_assignment_survives_its_bytes_and_broken_bytes_are_refused() {
        let assignment = Assignment {
            partitions: vec![TopicPartition::new("a", 0), TopicPartition::new("b", 1)],
            user_data: Some(Bytes::from_static(b"x")),
        };
        let bytes = assignment.encode();
        assert_eq!(Assignment::decode(bytes.clone()), Some(assignment));
        assert_eq!(Assignment::decode(bytes.slice(..bytes.len() - 1)), None);
        assert_eq!(
            Assignment::decode(Bytes::new()),
            Some(Assignment::default())
        );
    }

    proptest::proptest! {
        #[test]
        fn bytes_of_a_stranger_are_read_or_refused(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..80)) {
            let bytes = Bytes::from(bytes);
            let _ = Subscription::decode(bytes.clone());
            let _ = Assignment::decode(bytes);
        }

        #[test]
        fn a_cut_subscription_is_never_a_longer_one(cut in 0_usize..100) {
            let whole = Subscription {
                topics: vec![TopicName::from("a"), TopicName::from("bc")],
                owned: vec![TopicPartition::new("a", 1)],
                user_data: Some(Bytes::from_static(b"u")),
            };
            let bytes = whole.encode(1);
            let end = bytes.len() * cut / 100;
            proptest::prop_assert!(Subscription::decode(bytes.slice(..end)).is_none());
        }
    }
}
