//! The two passes that fill an [`Index`].

use super::{
    Acks, CutKind, Death, Election, EventId, GroupFacts, Index, Leadership, NONE, OffsetMap,
    Partition, ProducerFacts, Transactions, Values, wide,
};
use crate::History;
use crate::event::{
    Append, Client, Controller, Event, Fault, FaultStage, Keeper, LeaderElection, Process, Replica,
    What,
};
use crate::invariant::Invariants;
use crate::manifest::{ClientKind, NodeRole, Stream};
use crate::operation::{Action, Operation, Polled, Stage};
use protocol::config::OffsetStorage;
use protocol::ids::{BrokerId, LeaderEpoch, Offset, TopicName, TopicPartition};
use std::collections::BTreeMap;
use std::sync::Arc;

pub(super) fn build(history: &History) -> Index<'_> {
    let mut index = empty(history);
    for topic in &history.manifest.topics {
        for partition in 0..topic.partitions {
            intern(&mut index, &topic.name, partition);
        }
    }
    let mut current = BTreeMap::new();
    for (id, event) in (0..).map(EventId).zip(&history.events) {
        take(&mut index, &mut current, id, event);
    }
    find_cut_reads(&mut index);
    if history.manifest.has(Stream::Brokers) || history.manifest.has(Stream::Keepers) {
        let mut invariants = Invariants::new(&history.manifest);
        for event in &history.events {
            invariants.on_event(event);
        }
        index.broken = invariants.into_broken();
    }
    index.transactions = Transactions::of(&index);
    index
}

fn empty(history: &History) -> Index<'_> {
    let mut index = Index {
        history,
        values: Values::collect(history),
        partitions: Vec::new(),
        topics: Vec::new(),
        wishes: BTreeMap::new(),
        producers: Vec::new(),
        reads_committed: Vec::new(),
        consumers: Vec::new(),
        groups: Vec::new(),
        sends: Vec::new(),
        transaction_events: Vec::new(),
        polls: Vec::new(),
        final_polls: Vec::new(),
        group_events: Vec::new(),
        phases: Vec::new(),
        deaths: Vec::new(),
        lasting_faults: Vec::new(),
        whole: history.manifest.has(Stream::FinalRead),
        broken: Vec::new(),
        transactions: Transactions::default(),
    };
    for client in &history.manifest.clients {
        on_client(&mut index, &client.kind);
    }
    index
}

/// Takes in what a client is.
fn on_client(index: &mut Index<'_>, kind: &ClientKind) {
    let mut producer = None;
    let mut consumer = None;
    match kind {
        ClientKind::Producer {
            acks,
            retries,
            in_flight,
            idempotence,
            transactional_id,
            ..
        } => {
            producer = Some(ProducerFacts {
                acks: match acks.as_str() {
                    "0" => Acks::Zero,
                    "1" => Acks::One,
                    _ => Acks::All,
                },
                retries: *retries,
                in_flight: *in_flight,
                idempotence: *idempotence || transactional_id.is_some(),
                transactional: transactional_id.is_some(),
            });
        }
        ClientKind::Consumer {
            group: Some(id),
            commit,
            read_committed,
            feeds,
            old,
            ..
        } => {
            let known = index.groups.iter().position(|group| group.id == *id);
            let place = known.unwrap_or_else(|| {
                index.groups.push(GroupFacts {
                    id: id.clone(),
                    commit: *commit,
                    read_committed: *read_committed,
                    feeds: Vec::new(),
                    old: *old,
                });
                index.groups.len() - 1
            });
            let facts = &mut index.groups[place];
            facts.feeds.extend(*feeds);
            if *old == Some(OffsetStorage::Zookeeper) {
                facts.old = *old;
            }
            consumer = Some(place);
        }
        ClientKind::Consumer { group: None, .. }
        | ClientKind::Admin
        | ClientKind::FinalReader
        | ClientKind::CommittedReader => {}
    }
    let committed = matches!(
        kind,
        ClientKind::Consumer {
            read_committed: true,
            ..
        } | ClientKind::CommittedReader
    );
    index.reads_committed.push(committed);
    index.producers.push(producer);
    index.consumers.push(consumer);
}

/// The dense number of a partition, a new one if need be.
fn intern(index: &mut Index<'_>, topic: &TopicName, partition: i32) -> u32 {
    let same = |known: &TopicName| Arc::ptr_eq(&known.0, &topic.0) || known == topic;
    let place = index.topics.iter().position(|(known, _)| same(known));
    let place = place.unwrap_or_else(|| {
        index.topics.push((topic.clone(), Vec::new()));
        index.topics.len() - 1
    });
    let Ok(slot) = usize::try_from(partition) else {
        return NONE;
    };
    // Partition numbers beyond what a cluster has would make the table, not the history, large.
    if slot > 1_000_000 {
        return NONE;
    }
    if index.topics[place].1.len() <= slot {
        index.topics[place].1.resize(slot + 1, NONE);
    }
    let known = index.topics[place].1[slot];
    if known != NONE {
        return known;
    }
    let number = u32::try_from(index.partitions.len()).unwrap_or(NONE);
    index.topics[place].1[slot] = number;
    let topics = &index.history.manifest.topics;
    index.partitions.push(Partition {
        name: TopicPartition::new(topic.clone(), partition),
        topic: topics.iter().position(|known| known.name == *topic),
        found: OffsetMap::new(NONE),
        read: false,
        read_to: 0,
        read_failed: false,
        high_watermark: 0,
        last_stable: None,
        batches: Vec::new(),
        appended: OffsetMap::new(NONE),
        deletions: Vec::new(),
        removals: Vec::new(),
        gone: false,
        elections: Vec::new(),
        leaders: Vec::new(),
        replicas: BTreeMap::new(),
        isr: Vec::new(),
        stored_isr: Vec::new(),
    });
    number
}

fn named(index: &mut Index<'_>, name: &TopicPartition) -> u32 {
    intern(index, &name.topic, name.partition.0)
}

/// Whom each partition's newest leader is, while walking.
type Current = BTreeMap<u32, (BrokerId, LeaderEpoch)>;

fn take(index: &mut Index<'_>, current: &mut Current, id: EventId, event: &Event) {
    match &event.what {
        What::Operation(operation) => on_operation(index, id, operation),
        What::Replica(name, replica) => {
            let broker = event
                .node
                .and_then(|node| index.history.manifest.broker_of(node));
            if let Some(broker) = broker {
                let part = named(index, name);
                if part != NONE {
                    on_replica(index, current, (id, part, broker), replica);
                }
            }
        }
        What::Controller(Controller::LeaderElected(election)) => on_election(index, id, election),
        What::Controller(Controller::IsrWritten {
            partition,
            isr,
            partition_epoch,
            ..
        }) => {
            let part = named(index, partition);
            if part != NONE {
                index.partitions[wide(part)].stored(id, isr, Some(*partition_epoch));
            }
        }
        What::Controller(Controller::TopicDeleted(topic)) => on_removal(index, id, topic),
        What::Fault(fault) => on_fault(index, id, fault),
        What::Group(..)
        | What::Client(
            Client::Joined { .. }
            | Client::LeftGroup(_)
            | Client::KeeperSession(_)
            | Client::Rebalancing { .. },
        )
        | What::Keeper(Keeper::SessionExpired(_) | Keeper::SessionClosed(_)) => {
            index.group_events.push(id);
        }
        What::Transaction(..) => index.transaction_events.push(id),
        What::Process(process) => on_process(index, id, event, process),
        What::Phase(phase) => index.phases.push((*phase, id)),
        What::Controller(_)
        | What::Broker(_)
        | What::Keeper(_)
        | What::Client(_)
        | What::Mark(_) => {}
    }
}

fn on_fault(index: &mut Index<'_>, id: EventId, fault: &Fault) {
    if fault.kind == "delete_topic" && fault.stage == FaultStage::Injected {
        let topic = TopicName::from(fault.target.as_str());
        *index.wishes.entry(topic).or_default() += 1;
    }
    let planned = index.history.manifest.planned(fault.index);
    if planned.is_some_and(|planned| planned.permanent) {
        index.lasting_faults.push(id);
    }
}

/// A controller has removed a topic; what nobody asked for is no removal on purpose.
fn on_removal(index: &mut Index<'_>, id: EventId, topic: &TopicName) {
    let partitions = index.partitions.iter_mut();
    for partition in partitions.filter(|partition| partition.name.topic == *topic) {
        partition.gone = true;
    }
    let Some(wished) = index.wishes.get_mut(topic).filter(|wished| **wished > 0) else {
        return;
    };
    *wished -= 1;
    let of_topic = index
        .partitions
        .iter_mut()
        .filter(|partition| partition.name.topic == *topic);
    for partition in of_topic {
        partition.removals.push(id);
    }
}

fn on_process(index: &mut Index<'_>, id: EventId, event: &Event, process: &Process) {
    let Some(node) = event.node else { return };
    let role = index
        .history
        .manifest
        .nodes
        .get(usize::from(node.0))
        .map(|node| node.role);
    match (role, process) {
        (Some(NodeRole::Broker(_)), Process::Died { .. }) => {
            index.deaths.push(Death { event: id, node });
        }
        (Some(NodeRole::Client(_)), _) => index.group_events.push(id),
        (_, _) => {}
    }
}

fn on_operation(index: &mut Index<'_>, id: EventId, operation: &Operation) {
    match &operation.action {
        Action::Send {
            topic,
            partition,
            value,
            offset,
            transaction,
            made_from,
            amount,
            ..
        } => {
            if transaction.is_some() || made_from.is_some() || amount.is_some() {
                index.transaction_events.push(id);
            }
            let part = partition.map_or(NONE, |partition| intern(index, topic, partition));
            let offset = offset.map_or(-1, |offset| offset.0);
            index.values.on_send(id, operation, *value, (part, offset));
            index.sends.push(id);
        }
        Action::Poll { records, .. } => {
            if index.is_final_reader(operation.client) {
                index.final_polls.push(id);
                for polled in records {
                    on_final_read(index, polled);
                }
            } else {
                for polled in records {
                    named(index, &polled.partition);
                }
                index.polls.push(id);
                index.group_events.push(id);
            }
        }
        Action::Commit { .. }
        | Action::Assigned { .. }
        | Action::Revoked { .. }
        | Action::Lost { .. }
        | Action::Position { .. }
        | Action::Process { .. } => {
            if !index.is_final_reader(operation.client) {
                index.group_events.push(id);
            }
        }
        Action::Transaction { .. } => index.transaction_events.push(id),
        Action::Admin { call, .. } => {
            if matches!(operation.stage, Stage::Fail | Stage::Info)
                && index.is_final_reader(operation.client)
            {
                on_final_read_failed(index, call);
            }
        }
    }
}

/// `final read orders-0` failed; without a partition, all of them.
fn on_final_read_failed(index: &mut Index<'_>, call: &str) {
    let named = call.split(' ').next_back().and_then(TopicPartition::parse);
    let part = named.map_or(NONE, |name| index.part(&name));
    for (number, partition) in (0..).zip(&mut index.partitions) {
        if part == NONE || part == number {
            partition.read_failed = true;
        }
    }
}

fn on_final_read(index: &mut Index<'_>, polled: &Polled) {
    let part = named(index, &polled.partition);
    if part == NONE {
        return;
    }
    index.partitions[wide(part)].read = true;
    for (Offset(offset), value) in &polled.records {
        let read_to = &mut index.partitions[wide(part)].read_to;
        *read_to = (*read_to).max(offset + 1);
        let Some(value) = value else { continue };
        let id = index.values.id(*value);
        let before = index.partitions[wide(part)].found.set(*offset, id.0);
        // A reader that reads a place again finds no second copy.
        if id.is_some() && before != id.0 {
            index.values.on_found(id, part, *offset);
        }
    }
}

/// A read that ended below the high watermark was cut short: what it did not return is not proven missing.
fn find_cut_reads(index: &mut Index<'_>) {
    if !index.whole {
        return;
    }
    for partition in index
        .partitions
        .iter_mut()
        .filter(|partition| partition.topic.is_some())
    {
        let end = partition.high_watermark.min(partition.records_end());
        let read = partition.read_to;
        let below = partition.deletions.iter().map(|deletion| deletion.below);
        let deleted_below = below.max().unwrap_or(0);
        partition.read_failed |= read < end && deleted_below < end;
    }
}

fn on_election(index: &mut Index<'_>, id: EventId, election: &LeaderElection) {
    let part = named(index, &election.partition);
    if part != NONE {
        index.partitions[wide(part)].gone &= election.leader.is_none();
        index.partitions[wide(part)].elections.push(Election {
            event: id,
            leader: election.leader,
            epoch: election.leader_epoch,
            kind: election.kind,
        });
        index.partitions[wide(part)].stored(id, &election.isr, None);
    }
}

fn on_leader_append(partition: &mut Partition, values: &Values, append: &Append, newest: bool) {
    for (offset, value) in (append.base_offset.0..).zip(&append.values) {
        partition.appended.set(offset, values.id(*value).0);
    }
    if newest {
        let next = append.last_offset.0 + 1;
        partition.lengthened(append.base_offset.0, next, !append.values.is_empty());
    }
}

fn on_replica(
    index: &mut Index<'_>,
    current: &mut Current,
    (id, part, broker): (EventId, u32, BrokerId),
    replica: &Replica,
) {
    let leads = current
        .get(&part)
        .is_some_and(|(leader, _)| *leader == broker);
    let partition = &mut index.partitions[wide(part)];
    let log = partition.replicas.entry(broker).or_default();
    // Who starts again may lead on in its own epoch, and tells what is stable only where it finds a transaction.
    let again = leads && matches!(replica, Replica::Loaded { .. });
    partition.last_stable.take_if(|_| again);
    match replica {
        Replica::Appended(append) => {
            log.append(id, append.base_offset.0, append.last_offset.0);
            if append.leader {
                let newest = leads || !current.contains_key(&part);
                on_leader_append(partition, &index.values, append, newest);
            }
        }
        Replica::Truncated { to, rule, .. } => log.truncated(id, to.0, rule),
        Replica::Loaded { log_end_offset, .. } => log.loaded(id, log_end_offset.0),
        Replica::LogStart(offset) => {
            log.start = offset.0;
            if leads {
                partition.deleted((id, broker), offset.0);
            }
        }
        Replica::BecameLeader {
            leader_epoch,
            isr,
            log_end_offset,
        } => {
            let newest = current
                .get(&part)
                .is_none_or(|(_, epoch)| epoch < leader_epoch);
            if newest {
                let bounds = (log.start, log_end_offset.0);
                partition.led_anew((id, broker), bounds);
                current.insert(part, (broker, *leader_epoch));
            }
            partition.leaders.push(Leadership {
                event: id,
                broker,
                epoch: *leader_epoch,
            });
            partition.isr.push((id, isr.len()));
        }
        Replica::IsrChanged {
            isr,
            partition_epoch,
        } => {
            partition.isr.push((id, isr.len()));
            if leads {
                partition.stored(id, isr, Some(*partition_epoch));
            }
        }
        Replica::HighWatermark(mark) if leads => partition.high_watermark = mark.0,
        Replica::LastStableOffset(offset) if leads => partition.last_stable = Some(offset.0),
        Replica::Stopped { deleted: true } => {
            log.cut(id, i64::MIN, CutKind::Deleted);
            log.end = 0;
            log.start = 0;
        }
        Replica::LastStableOffset(_)
        | Replica::HighWatermark(_)
        | Replica::Flushed(_)
        | Replica::BecameFollower { .. }
        | Replica::IsrProposed { .. }
        | Replica::IsrRefused { .. }
        | Replica::Stopped { deleted: false }
        | Replica::DuplicateBatch { .. }
        | Replica::AppendRefused { .. }
        | Replica::Acknowledged { .. } => {}
    }
}
