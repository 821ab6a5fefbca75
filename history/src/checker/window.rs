//! What a leader has forgotten about a producer.
//!
//! A leader knows a producer's last five batches, but a snapshot of producer state keeps the last one alone. A replica that
//! reads its state back, at its start or after a truncation, from a snapshot behind those batches does not know the others
//! again: it refuses the retry of one as out of order, the producer raises its epoch (KIP-360), and the batch is appended
//! under new numbers. No release of Kafka keeps the window. A duplicate is excused by that alone: same producer id, raised
//! epoch, a leader that read its state back in between, and a later batch of that producer below it.

use super::index::{EventId, Index, ValueId, wide};
use crate::event::{Append, Replica, What};
use protocol::ids::{BrokerId, TopicPartition};

/// One copy of a record, as its leader appended it.
#[derive(Clone, Copy)]
struct Copy<'h> {
    event: EventId,
    leader: BrokerId,
    partition: &'h TopicPartition,
    append: &'h Append,
}

/// Why a record that an idempotent producer sent once is there several times, where the leaders' memory is the cause of every
/// copy but the first.
pub(super) fn forgotten(index: &Index<'_>, id: ValueId) -> Option<String> {
    let mut copies = copies(index, id);
    copies.sort_by_key(|copy| copy.event);
    let mut why = None;
    for pair in copies.windows(2) {
        why = Some(forgot(index, pair[0], pair[1])?);
    }
    why
}

/// The copies that are in the log at the end.
fn copies<'h>(index: &Index<'h>, id: ValueId) -> Vec<Copy<'h>> {
    let value = index.values.value(id);
    let mut copies = Vec::new();
    for (_, partition) in index.workload() {
        let found = partition.found.iter().filter(|(_, found)| *found == id.0);
        for (offset, _) in found {
            let appends = partition.replicas.iter().flat_map(|(broker, log)| {
                log.appends_of(offset).map(move |append| (*broker, append))
            });
            for (leader, event) in appends {
                if let What::Replica(partition, Replica::Appended(append)) =
                    &index.event(event).what
                    && append.leader
                    && append.values.contains(&value)
                {
                    copies.push(Copy {
                        event,
                        leader,
                        partition,
                        append,
                    });
                }
            }
        }
    }
    copies
}

/// The leader that appended `second` had `first` in its log and did not know it any more.
fn forgot(index: &Index<'_>, first: Copy<'_>, second: Copy<'_>) -> Option<String> {
    let (id, epoch, _) = first.append.producer?;
    let (other, raised, _) = second.append.producer?;
    if id != other || raised <= epoch || first.partition != second.partition {
        return None;
    }
    let own = |node| index.history.manifest.broker_of(node) == Some(second.leader);
    let events = &index.history.events[..wide(second.event.0)];
    // What the leader's log holds of the first copy and of what its producer sent after it, and whether it read that back.
    let (mut has, mut has_later, mut read_back) = (false, false, false);
    for event in events.iter().filter(|event| event.node.is_some_and(own)) {
        let What::Replica(partition, replica) = &event.what else {
            continue;
        };
        if partition != first.partition {
            continue;
        }
        let from_here = |append: &Append| {
            append
                .producer
                .is_some_and(|(by, of, _)| by == id && of == epoch)
        };
        if let Replica::Appended(append) = replica {
            has |= append.base_offset == first.append.base_offset;
            has_later |= from_here(append) && append.base_offset > first.append.base_offset;
        } else if let Replica::Truncated { to, .. } = replica {
            has &= *to > first.append.base_offset;
            has_later &= has;
            read_back |= has && has_later;
        } else if let Replica::Loaded { log_end_offset, .. } = replica {
            has &= *log_end_offset > first.append.base_offset;
            has_later &= has;
            read_back |= has && has_later;
        }
    }
    (has && read_back).then(|| {
        format!(
            "broker {} read its producer state back and knew only the last batch of producer id {id}, which raised its epoch to {raised}",
            second.leader
        )
    })
}
