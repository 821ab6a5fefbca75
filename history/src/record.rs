//! From what a core says about itself to what a history holds, and what the workload writes into its records.
//!
//! A [`Note`] carries whole batches; a history carries their offsets, checksum and the workload's values, which is all that
//! a checker compares. Left out: keys, headers and timestamps of records, which no guarantee here speaks of, and the bytes.

use crate::event::{
    Append, Broker, Client, Controller, ElectionKind, Group, Keeper, LeaderElection, Replica,
    Transaction, What,
};
use bytes::{BufMut, Bytes, BytesMut};
use protocol::ids::{Sequence, TopicName};
use protocol::note::{
    BrokerNote, ClientNote, ControllerNote, ElectionKind as NoteElection, GroupNote, KeeperNote,
    Note, RemovalReason, ReplicaNote, Role, TransactionNote, TruncationRule,
};
use protocol::operation::Value;
use protocol::record::{ControlType, RecordBatch};

/// What the value bytes of a workload record begin with.
const MAGIC: &[u8; 4] = b"KTv1";

/// The smallest payload: magic and value.
pub const MIN_PAYLOAD: usize = 12;

/// The value bytes of a workload record: magic, the value, and padding up to `size`.
pub fn encode_payload(value: Value, size: usize) -> Bytes {
    let mut bytes = BytesMut::with_capacity(size.max(MIN_PAYLOAD));
    bytes.put_slice(MAGIC);
    bytes.put_u64(value.0);
    bytes.resize(size.max(MIN_PAYLOAD), 0);
    bytes.freeze()
}

/// The value in a workload record; `None` for records of somebody else.
pub fn decode_payload(bytes: &[u8]) -> Option<Value> {
    let rest = bytes.strip_prefix(MAGIC)?;
    let number: [u8; 8] = rest.get(..8)?.try_into().ok()?;
    Some(Value(u64::from_be_bytes(number)))
}

/// Whether a topic is Kafka's own: its records are not the workload's.
pub fn is_internal(topic: &TopicName) -> bool {
    topic.as_str().starts_with("__")
}

/// The event that a note becomes.
pub fn what_of(note: &Note) -> What {
    match note {
        Note::Replica(partition, note) => {
            let internal = is_internal(&partition.topic);
            What::Replica(partition.clone(), replica(note, internal))
        }
        Note::Controller(note) => What::Controller(controller(note)),
        Note::Broker(note) => What::Broker(broker(note)),
        Note::Group(id, note) => What::Group(id.clone(), group(note)),
        Note::Transaction(id, note) => What::Transaction(id.clone(), transaction(note)),
        Note::Keeper(note) => What::Keeper(keeper(note)),
        Note::Client(note) => What::Client(client(note)),
        Note::Operation(operation) => What::Operation((**operation).clone()),
    }
}

fn append(batch: &RecordBatch, role: Role, internal: bool) -> Append {
    let control = batch.is_control();
    let values = if internal || control {
        Vec::new()
    } else {
        let payloads = batch.values().map_while(Result::ok);
        payloads
            .filter_map(|(_, payload)| decode_payload(payload?))
            .collect()
    };
    // A marker has no sequence, but whose transaction it ends must be told.
    let unnumbered = control.then_some(Sequence(-1));
    let sequence = batch.base_sequence().or(unnumbered);
    let producer = match (batch.producer_id(), batch.producer_epoch(), sequence) {
        (Some(id), Some(epoch), Some(sequence)) => Some((id, epoch, sequence)),
        (_, _, _) => None,
    };
    Append {
        base_offset: batch.base_offset(),
        last_offset: batch.last_offset(),
        leader_epoch: batch.partition_leader_epoch().unwrap_or_default(),
        crc: batch.crc(),
        leader: role == Role::Leader,
        producer,
        control,
        transactional: batch.is_transactional(),
        committed: marker_of(batch),
        values,
    }
}

/// What a transaction marker says; nothing for a batch of records, or for a control record of another kind.
fn marker_of(batch: &RecordBatch) -> Option<bool> {
    if !batch.is_control() {
        return None;
    }
    match batch.control_marker().ok()??.kind {
        ControlType::Commit => Some(true),
        ControlType::Abort => Some(false),
        ControlType::Unknown(_) => None,
    }
}

fn rule(rule: TruncationRule) -> &'static str {
    match rule {
        TruncationRule::HighWatermark => "high_watermark",
        TruncationRule::LeaderEpoch => "leader_epoch",
        TruncationRule::DivergingEpoch => "diverging_epoch",
        TruncationRule::OutOfRange => "out_of_range",
        TruncationRule::FullAndStartAt => "full_and_start_at",
        TruncationRule::Recovery => "recovery",
    }
}

fn replica(note: &ReplicaNote, internal: bool) -> Replica {
    match note {
        ReplicaNote::Appended { batch, role } => Replica::Appended(append(batch, *role, internal)),
        ReplicaNote::Truncated { to, from, rule: by } => Replica::Truncated {
            to: *to,
            from: *from,
            rule: rule(*by).to_owned(),
        },
        ReplicaNote::Loaded {
            log_start_offset,
            log_end_offset,
            high_watermark,
            clean,
        } => Replica::Loaded {
            log_start_offset: *log_start_offset,
            log_end_offset: *log_end_offset,
            high_watermark: *high_watermark,
            clean: *clean,
        },
        ReplicaNote::HighWatermark(offset) => Replica::HighWatermark(*offset),
        ReplicaNote::LastStableOffset(offset) => Replica::LastStableOffset(*offset),
        ReplicaNote::LogStart(offset) => Replica::LogStart(*offset),
        ReplicaNote::Flushed(offset) => Replica::Flushed(*offset),
        ReplicaNote::BecameLeader {
            leader_epoch,
            isr,
            log_end_offset,
        } => Replica::BecameLeader {
            leader_epoch: *leader_epoch,
            isr: isr.clone(),
            log_end_offset: *log_end_offset,
        },
        ReplicaNote::BecameFollower {
            leader_epoch,
            leader,
        } => Replica::BecameFollower {
            leader_epoch: *leader_epoch,
            leader: *leader,
        },
        ReplicaNote::IsrProposed { isr, waits_for } => Replica::IsrProposed {
            isr: isr.clone(),
            waits_for: waits_for.clone(),
        },
        ReplicaNote::IsrChanged {
            isr,
            partition_epoch,
        } => Replica::IsrChanged {
            isr: isr.clone(),
            partition_epoch: *partition_epoch,
        },
        ReplicaNote::IsrRefused { error } => Replica::IsrRefused { error: *error },
        ReplicaNote::Stopped { deleted } => Replica::Stopped { deleted: *deleted },
        ReplicaNote::DuplicateBatch {
            producer_id,
            base_offset,
        } => Replica::DuplicateBatch {
            producer_id: *producer_id,
            base_offset: *base_offset,
        },
        ReplicaNote::AppendRefused { error } => Replica::AppendRefused { error: *error },
        ReplicaNote::Acknowledged { up_to } => Replica::Acknowledged { up_to: *up_to },
    }
}

fn election(kind: NoteElection) -> ElectionKind {
    match kind {
        NoteElection::New => ElectionKind::New,
        NoteElection::Clean => ElectionKind::Clean,
        NoteElection::Unclean => ElectionKind::Unclean,
        NoteElection::Preferred => ElectionKind::Preferred,
        NoteElection::ControlledShutdown => ElectionKind::ControlledShutdown,
        NoteElection::Reassignment => ElectionKind::Reassignment,
        NoteElection::Eligible => ElectionKind::Eligible,
        NoteElection::LastKnownLeader => ElectionKind::LastKnownLeader,
    }
}

fn controller(note: &ControllerNote) -> Controller {
    match note {
        ControllerNote::Elected { epoch } => Controller::Elected { epoch: *epoch },
        ControllerNote::Resigned { epoch } => Controller::Resigned { epoch: *epoch },
        ControllerNote::LeaderElected {
            partition,
            leader,
            leader_epoch,
            isr,
            kind,
            controller_epoch,
        } => Controller::LeaderElected(LeaderElection {
            partition: partition.clone(),
            leader: *leader,
            leader_epoch: *leader_epoch,
            isr: isr.clone(),
            kind: election(*kind),
            controller_epoch: *controller_epoch,
        }),
        ControllerNote::IsrWritten {
            partition,
            isr,
            leader_epoch,
            partition_epoch,
        } => Controller::IsrWritten {
            partition: partition.clone(),
            isr: isr.clone(),
            leader_epoch: *leader_epoch,
            partition_epoch: *partition_epoch,
        },
        ControllerNote::ReassignmentStarted {
            partition,
            replicas,
            adding,
            removing,
        } => Controller::ReassignmentStarted {
            partition: partition.clone(),
            replicas: replicas.clone(),
            adding: adding.clone(),
            removing: removing.clone(),
        },
        ControllerNote::Reassigned {
            partition,
            replicas,
        } => Controller::Reassigned {
            partition: partition.clone(),
            replicas: replicas.clone(),
        },
        ControllerNote::BrokerUp { broker, epoch } => Controller::BrokerUp {
            broker: *broker,
            epoch: *epoch,
        },
        ControllerNote::BrokerDown { broker } => Controller::BrokerDown { broker: *broker },
        ControllerNote::TopicCreated(topic, partitions) => {
            Controller::TopicCreated(topic.clone(), *partitions)
        }
        ControllerNote::TopicDeleted(topic) => Controller::TopicDeleted(topic.clone()),
    }
}

fn broker(note: &BrokerNote) -> Broker {
    match note {
        BrokerNote::Registered { epoch } => Broker::Registered { epoch: *epoch },
        BrokerNote::Fatal(why) => Broker::Fatal(why.to_string()),
        BrokerNote::SessionExpired => Broker::SessionExpired,
        BrokerNote::ControlRefused(error) => Broker::ControlRefused(*error),
        BrokerNote::ShuttingDown => Broker::ShuttingDown,
        BrokerNote::LogDirOffline(directory) => Broker::LogDirOffline(directory.to_string()),
    }
}

fn removal(reason: RemovalReason) -> &'static str {
    match reason {
        RemovalReason::SessionTimeout => "session_timeout",
        RemovalReason::RebalanceTimeout => "rebalance_timeout",
        RemovalReason::Left => "left",
        RemovalReason::Replaced => "replaced",
    }
}

fn group(note: &GroupNote) -> Group {
    match note {
        GroupNote::State(state) => Group::State((*state).to_owned()),
        GroupNote::Generation {
            generation,
            members,
        } => Group::Generation {
            generation: *generation,
            members: members.clone(),
        },
        GroupNote::MemberJoined(member) => Group::MemberJoined(member.clone()),
        GroupNote::MemberRemoved(member, reason) => Group::MemberRemoved {
            member: member.clone(),
            reason: removal(*reason).to_owned(),
        },
        GroupNote::OffsetCommitted {
            partition,
            offset,
            member,
            generation,
        } => Group::OffsetCommitted {
            partition: partition.clone(),
            offset: *offset,
            member: member.clone(),
            generation: *generation,
        },
        GroupNote::OffsetPending {
            partition,
            offset,
            producer_id,
        } => Group::OffsetPending {
            partition: partition.clone(),
            offset: *offset,
            producer_id: *producer_id,
        },
        GroupNote::PendingDecided {
            producer_id,
            committed,
        } => Group::PendingDecided {
            producer_id: *producer_id,
            committed: *committed,
        },
        GroupNote::CommitRefused { member, error } => Group::CommitRefused {
            member: member.clone(),
            error: *error,
        },
        GroupNote::OffsetExpired(partition) => Group::OffsetExpired(partition.clone()),
        GroupNote::Loaded {
            generation,
            offsets,
        } => Group::Loaded {
            generation: *generation,
            offsets: *offsets,
        },
        GroupNote::Unloaded => Group::Unloaded,
    }
}

fn transaction(note: &TransactionNote) -> Transaction {
    match note {
        TransactionNote::State {
            state,
            producer_id,
            producer_epoch,
            partitions,
        } => Transaction::State {
            state: *state,
            producer_id: *producer_id,
            producer_epoch: *producer_epoch,
            partitions: partitions.clone(),
        },
        TransactionNote::TimedOut => Transaction::TimedOut,
        TransactionNote::Fenced { producer_epoch } => Transaction::Fenced {
            producer_epoch: *producer_epoch,
        },
        TransactionNote::Loaded(state) => Transaction::Loaded(*state),
        TransactionNote::Unloaded => Transaction::Unloaded,
    }
}

fn keeper(note: &KeeperNote) -> Keeper {
    match note {
        KeeperNote::Role {
            role,
            epoch,
            leader,
        } => Keeper::Role {
            role: *role,
            epoch: *epoch,
            leader: *leader,
        },
        KeeperNote::Logged(zxid) => Keeper::Logged(*zxid),
        KeeperNote::Applied {
            zxid,
            digest,
            state,
        } => Keeper::Applied {
            zxid: *zxid,
            digest: *digest,
            state: Some(*state),
        },
        KeeperNote::Restored { zxid, state } => Keeper::Restored {
            zxid: *zxid,
            state: Some(*state),
        },
        KeeperNote::Truncated(zxid) => Keeper::Truncated(*zxid),
        KeeperNote::SessionCreated(session, timeout) => Keeper::SessionCreated {
            session: *session,
            timeout_ms: timeout.0 / 1_000_000,
        },
        KeeperNote::SessionResumed { session, seen } => Keeper::SessionResumed {
            session: *session,
            seen: *seen,
        },
        KeeperNote::SessionExpired(session) => Keeper::SessionExpired(*session),
        KeeperNote::SessionClosed(session) => Keeper::SessionClosed(*session),
    }
}

fn client(note: &ClientNote) -> Client {
    match note {
        ClientNote::Retry {
            partition,
            error,
            attempts,
        } => Client::Retry {
            partition: partition.clone(),
            error: *error,
            attempts: *attempts,
        },
        ClientNote::ProducerId(producer_id, epoch) => Client::ProducerId {
            producer_id: *producer_id,
            epoch: *epoch,
        },
        ClientNote::Joined {
            group,
            generation,
            member,
        } => Client::Joined {
            group: group.clone(),
            generation: *generation,
            member: member.clone(),
        },
        ClientNote::LeftGroup(group) => Client::LeftGroup(group.clone()),
        ClientNote::KeeperSession(session) => Client::KeeperSession(*session),
        ClientNote::Rebalancing { group, attempt } => Client::Rebalancing {
            group: group.clone(),
            attempt: *attempt,
        },
        ClientNote::RebalanceFailed(group) => Client::RebalanceFailed(group.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::ids::{LeaderEpoch, Offset, TopicPartition};
    use protocol::record::BatchBuilder;

    fn batch() -> RecordBatch {
        let mut builder = BatchBuilder::new()
            .base_offset(Offset(7))
            .leader_epoch(LeaderEpoch(2));
        for number in 0..3 {
            let payload = encode_payload(Value::new(1, number), 20);
            builder.append(5, None, Some(&payload), &[]);
        }
        builder.build()
    }

    #[test]
    fn a_payload_is_read_back_and_padded() {
        let value = Value::new(3, 17);
        assert_eq!(encode_payload(value, 100).len(), 100);
        assert_eq!(decode_payload(&encode_payload(value, 100)), Some(value));
        assert_eq!(encode_payload(value, 0).len(), MIN_PAYLOAD);
        assert_eq!(decode_payload(&encode_payload(value, 0)), Some(value));
    }

    #[test]
    fn bytes_of_somebody_else_carry_no_value() {
        assert_eq!(decode_payload(b""), None);
        assert_eq!(decode_payload(b"KTv1short"), None);
        assert_eq!(decode_payload(b"something else entirely"), None);
    }

    #[test]
    fn an_appended_batch_becomes_offsets_checksum_and_values() {
        let note = Note::Replica(
            TopicPartition::new("orders", 0),
            ReplicaNote::Appended {
                batch: batch(),
                role: Role::Leader,
            },
        );
        let What::Replica(_, Replica::Appended(append)) = what_of(&note) else {
            panic!("not an append")
        };
        assert_eq!(
            (append.base_offset, append.last_offset),
            (Offset(7), Offset(9))
        );
        assert_eq!(append.leader_epoch, LeaderEpoch(2));
        assert_eq!(
            append.values,
            [Value::new(1, 0), Value::new(1, 1), Value::new(1, 2)]
        );
        assert_eq!(append.crc, batch().crc());
        assert!(append.leader);
    }

    #[test]
    fn internal_topics_have_no_values() {
        let note = Note::Replica(
            TopicPartition::new("__consumer_offsets", 0),
            ReplicaNote::Appended {
                batch: batch(),
                role: Role::Follower,
            },
        );
        let What::Replica(_, Replica::Appended(append)) = what_of(&note) else {
            panic!("not an append")
        };
        assert!(append.values.is_empty());
        assert!(!append.leader);
    }
}
