//! The records of `__consumer_offsets`, byte for byte as 2.8 writes and reads them (`GroupMetadataManager`'s schemas).
//!
//! A key says in its version what it is: 1 (0 in old logs) a committed offset, 2 a group. A value has the version that
//! `inter.broker.protocol.version` allows, so that every broker of a rolling upgrade can read it. No value is a tombstone.

use super::Step;
use super::deadlines::Alarm;
use super::member::Member;
use super::offsets::StoredOffset;
use super::state::{Group, GroupState};
use bytes::{Buf, Bytes};
use protocol::behaviour::{Fix, InterBrokerProtocol};
use protocol::ids::{
    GenerationId, GroupId, LeaderEpoch, MemberId, Offset, ProducerEpoch, ProducerId, Sequence,
    TopicName, TopicPartition,
};
use protocol::record::{BatchBuilder, RecordBatch};
use protocol::time::Span;
use std::collections::BTreeMap;
use std::sync::Arc;

const OFFSET_KEY_VERSION: i16 = 1;
const GROUP_KEY_VERSION: i16 = 2;

/// `-1` where a number stands for nothing.
const NONE: i64 = -1;

/// What a key names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Key {
    Offset(GroupId, TopicPartition),
    Group(GroupId),
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    let size = i16::try_from(text.len()).expect("a name is shorter than 32 KiB");
    out.extend_from_slice(&size.to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

fn put_optional_text(out: &mut Vec<u8>, text: Option<&str>) {
    match text {
        Some(text) => put_text(out, text),
        None => out.extend_from_slice(&(-1_i16).to_be_bytes()),
    }
}

fn put_count(out: &mut Vec<u8>, count: usize) {
    let count = i32::try_from(count).expect("a length has 31 bits");
    out.extend_from_slice(&count.to_be_bytes());
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_count(out, bytes.len());
    out.extend_from_slice(bytes);
}

fn put_millis(out: &mut Vec<u8>, span: Span) {
    let millis = i32::try_from(span.as_millis()).unwrap_or(i32::MAX);
    out.extend_from_slice(&millis.to_be_bytes());
}

/// The key of a committed offset.
pub(super) fn offset_key(group: &GroupId, partition: &TopicPartition) -> Vec<u8> {
    let mut out = Vec::with_capacity(10 + group.as_str().len() + partition.topic.as_str().len());
    out.extend_from_slice(&OFFSET_KEY_VERSION.to_be_bytes());
    put_text(&mut out, group.as_str());
    put_text(&mut out, partition.topic.as_str());
    out.extend_from_slice(&partition.partition.0.to_be_bytes());
    out
}

/// The key of a group's metadata.
pub(super) fn group_key(group: &GroupId) -> Vec<u8> {
    let mut out = Vec::with_capacity(4 + group.as_str().len());
    out.extend_from_slice(&GROUP_KEY_VERSION.to_be_bytes());
    put_text(&mut out, group.as_str());
    out
}

/// The value of a committed offset: version 1 to brokers before 2.1 and where it has an expiry of its own, 2 without
/// leader epoch, 3 with it.
pub(super) fn offset_value(stored: &StoredOffset, protocol: InterBrokerProtocol) -> Vec<u8> {
    let version: i16 =
        if protocol < InterBrokerProtocol::V2_1Iv0 || stored.expire_timestamp.is_some() {
            1
        } else if protocol < InterBrokerProtocol::V2_1Iv1 {
            2
        } else {
            3
        };
    let mut out = Vec::with_capacity(28 + stored.metadata.len());
    out.extend_from_slice(&version.to_be_bytes());
    out.extend_from_slice(&stored.offset.0.to_be_bytes());
    if version == 3 {
        let epoch = stored.leader_epoch.map_or(-1, |epoch| epoch.0);
        out.extend_from_slice(&epoch.to_be_bytes());
    }
    put_text(&mut out, &stored.metadata);
    out.extend_from_slice(&stored.commit_timestamp.to_be_bytes());
    if version == 1 {
        let expire = stored.expire_timestamp.unwrap_or(NONE);
        out.extend_from_slice(&expire.to_be_bytes());
    }
    out
}

/// The value of a group with these assignments: version 0 before rebalance time-outs, 1 before state timestamps, 2 before
/// static members, 3.
pub(super) fn group_value(
    group: &Group,
    assignments: &BTreeMap<MemberId, Bytes>,
    protocol: InterBrokerProtocol,
) -> Vec<u8> {
    let version: i16 = if protocol < InterBrokerProtocol::V0_10_1Iv0 {
        0
    } else if protocol < InterBrokerProtocol::V2_1Iv0 {
        1
    } else if protocol < InterBrokerProtocol::V2_3Iv0 {
        2
    } else {
        3
    };
    let mut out = Vec::with_capacity(64);
    out.extend_from_slice(&version.to_be_bytes());
    put_text(&mut out, group.protocol_type.as_deref().unwrap_or_default());
    out.extend_from_slice(&group.generation.0.to_be_bytes());
    put_optional_text(&mut out, group.protocol.as_deref());
    put_optional_text(&mut out, group.leader.as_ref().map(MemberId::as_str));
    if version >= 2 {
        out.extend_from_slice(&group.state_since.unwrap_or(NONE).to_be_bytes());
    }
    put_count(&mut out, group.members.len());
    let protocol = group.protocol.as_deref().unwrap_or_default();
    for (id, member) in &group.members {
        put_text(&mut out, id.as_str());
        if version >= 3 {
            put_optional_text(&mut out, member.instance.as_deref());
        }
        put_text(&mut out, &member.client_id);
        put_text(&mut out, &member.client_host);
        if version >= 1 {
            put_millis(&mut out, member.rebalance_timeout);
        }
        put_millis(&mut out, member.session_timeout);
        put_bytes(&mut out, &member.metadata(protocol));
        put_bytes(
            &mut out,
            assignments.get(id).map_or(&[], |bytes| bytes.as_ref()),
        );
    }
    out
}

/// A batch of one record: the group as it stands, with these assignments.
pub(super) fn group_batch(
    group: &Group,
    assignments: &BTreeMap<MemberId, Bytes>,
    step: &Step<'_, '_>,
) -> RecordBatch {
    let protocol = step.office.behaviour.inter_broker_protocol;
    let value = group_value(group, assignments, protocol);
    let mut batch = BatchBuilder::new();
    batch.append(
        step.wall_ms(),
        Some(&group_key(&group.id)),
        Some(&value),
        &[],
    );
    batch.build()
}

/// A batch of committed offsets, one record each; a part of a transaction where a producer is named.
pub(super) fn offsets_batch(
    group: &GroupId,
    offsets: &[(TopicPartition, StoredOffset)],
    producer: Option<(ProducerId, ProducerEpoch)>,
    step: &Step<'_, '_>,
) -> RecordBatch {
    let protocol = step.office.behaviour.inter_broker_protocol;
    let mut batch = BatchBuilder::new();
    if let Some((id, epoch)) = producer {
        batch = batch.producer(id, epoch, Sequence(0)).transactional();
    }
    for (partition, stored) in offsets {
        let value = offset_value(stored, protocol);
        batch.append(
            step.wall_ms(),
            Some(&offset_key(group, partition)),
            Some(&value),
            &[],
        );
    }
    batch.build()
}

/// A batch of tombstones, or nothing to bury.
pub(super) fn tombstones(
    group: &GroupId,
    offsets: &[TopicPartition],
    and_group: bool,
    wall_ms: i64,
) -> Option<RecordBatch> {
    let mut batch = BatchBuilder::new();
    for partition in offsets {
        batch.append(wall_ms, Some(&offset_key(group, partition)), None, &[]);
    }
    if and_group {
        batch.append(wall_ms, Some(&group_key(group)), None, &[]);
    }
    (!batch.is_empty()).then(|| batch.build())
}

/// Reads fields off the front; `None` when the bytes end or make no sense.
struct Reader(Bytes);

impl Reader {
    fn short(&mut self) -> Option<i16> {
        self.0.try_get_i16().ok()
    }

    fn int(&mut self) -> Option<i32> {
        self.0.try_get_i32().ok()
    }

    fn long(&mut self) -> Option<i64> {
        self.0.try_get_i64().ok()
    }

    fn take(&mut self, size: usize) -> Option<Bytes> {
        (size <= self.0.len()).then(|| self.0.split_to(size))
    }

    /// A string, `Some(None)` when it is null.
    #[expect(clippy::option_option, reason = "unreadable and null are two things")]
    fn optional_text(&mut self) -> Option<Option<Arc<str>>> {
        let size = self.short()?;
        if size < 0 {
            return Some(None);
        }
        let bytes = self.take(usize::try_from(size).ok()?)?;
        std::str::from_utf8(&bytes)
            .ok()
            .map(|text| Some(Arc::from(text)))
    }

    fn text(&mut self) -> Option<Arc<str>> {
        self.optional_text()?
    }

    fn bytes(&mut self) -> Option<Bytes> {
        let size = usize::try_from(self.int()?).ok()?;
        self.take(size)
    }

    fn millis(&mut self) -> Option<Span> {
        u64::try_from(self.int()?).ok().map(Span::millis)
    }
}

/// Reads a key.
pub(super) fn read_key(bytes: &Bytes) -> Option<Key> {
    let mut input = Reader(bytes.clone());
    match input.short()? {
        0 | OFFSET_KEY_VERSION => {
            let (group, topic) = (GroupId(input.text()?), TopicName(input.text()?));
            Some(Key::Offset(group, TopicPartition::new(topic, input.int()?)))
        }
        GROUP_KEY_VERSION => Some(Key::Group(GroupId(input.text()?))),
        _ => None,
    }
}

/// Reads a committed offset. Before KAFKA-8069 an absent expiry in version 1 was taken for a time, long past.
pub(super) fn read_offset(bytes: &Bytes, step: &Step<'_, '_>) -> Option<StoredOffset> {
    let mut input = Reader(bytes.clone());
    let version = input.short()?;
    if !(0..=3).contains(&version) {
        return None;
    }
    let offset = Offset(input.long()?);
    let epoch = if version == 3 { input.int()? } else { -1 };
    let metadata = input.text()?;
    let commit_timestamp = input.long()?;
    let expire = if version == 1 { input.long()? } else { NONE };
    let absent = expire == NONE && (version != 1 || step.has(Fix::ExpireAfterLoad));
    Some(StoredOffset {
        offset,
        leader_epoch: (epoch >= 0).then_some(LeaderEpoch(epoch)),
        metadata,
        commit_timestamp,
        expire_timestamp: (!absent).then_some(expire),
    })
}

/// Reads a group: stable with its members, or empty.
pub(super) fn read_group(id: GroupId, bytes: &Bytes, step: &mut Step<'_, '_>) -> Option<Group> {
    let mut input = Reader(bytes.clone());
    let version = input.short()?;
    if !(0..=3).contains(&version) {
        return None;
    }
    let wall = step.wall_ms();
    let mut group = step.office.new_group(id, wall);
    let protocol_type = input.text()?;
    group.generation = GenerationId(input.int()?);
    group.protocol = input.optional_text()?;
    group.leader = input.optional_text()?.map(MemberId);
    group.state_since = if version >= 2 {
        Some(input.long()?).filter(|since| *since != NONE)
    } else {
        None
    };
    for _ in 0..input.int()? {
        let (member_id, member) = read_member(&mut input, version, group.protocol.as_ref())?;
        group.add(member_id, member, &protocol_type);
    }
    group.protocol_type = Some(protocol_type).filter(|name| !name.is_empty());
    if !group.members.is_empty() {
        group.state = GroupState::Stable;
    }
    group.learn_subscriptions();
    Some(group)
}

fn read_member(
    input: &mut Reader,
    version: i16,
    protocol: Option<&Arc<str>>,
) -> Option<(MemberId, Member)> {
    let id = MemberId(input.text()?);
    let instance = if version >= 3 {
        input.optional_text()?
    } else {
        None
    };
    let (client_id, client_host) = (input.text()?, input.text()?);
    let first_timeout = input.millis()?;
    // Version 0 has one time-out for both.
    let session_timeout = if version >= 1 {
        input.millis()?
    } else {
        first_timeout
    };
    let subscription = input.bytes()?;
    let assignment = input.bytes()?;
    let member = Member {
        instance,
        client_id,
        client_host,
        rebalance_timeout: first_timeout,
        session_timeout,
        protocols: vec![(protocol.cloned().unwrap_or_default(), subscription)],
        assignment,
        awaiting_join: None,
        awaiting_sync: None,
        is_new: false,
        session: Alarm::default(),
    };
    Some((id, member))
}
