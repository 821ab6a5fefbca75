//! What a leader has forgotten about a producer.
//!
//! A leader knows a producer's last five batches, but a snapshot of producer state keeps the last one alone. A replica that
//! reads its state back, at its start or after a truncation, from a snapshot behind those batches does not know the others
//! again: it refuses the retry of one as out of order, the producer raises its epoch (KIP-360), and the batch is appended
//! under new numbers, and so are those behind it that were still open. No release of Kafka keeps the window. A duplicate is excused
//! by that alone: same producer id, raised epoch, a leader that read its state back in between, and a later batch of that
//! producer below it, or one before it that was forgotten like that.

use super::index::{EventId, Index, ValueId, wide};
use crate::event::{Append, Replica, What};
use crate::operation::Value;
use protocol::ids::{BrokerId, ProducerEpoch, ProducerId, TopicPartition};
use std::collections::{BTreeMap, BTreeSet};

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

/// The leader that appended `second` had `first` in its log and did not know it any more, or the producer had raised its epoch
/// because some leader did not know a batch before it.
fn forgot(index: &Index<'_>, first: Copy<'_>, second: Copy<'_>) -> Option<String> {
    let (id, epoch, _) = first.append.producer?;
    let (other, raised, _) = second.append.producer?;
    if id != other || raised <= epoch || first.partition != second.partition {
        return None;
    }
    let memories = memories(index, first.partition, second.event, (id, epoch, raised));
    let place = first.append.base_offset.0;
    let own = memories.get(&second.leader)?;
    let who = if own.forgotten.contains(&place) {
        second.leader
    } else if own.batches.contains_key(&place) {
        let mut raising = memories
            .iter()
            .filter(|(_, memory)| memory.raised_before(place));
        *raising.next()?.0
    } else {
        return None;
    };
    Some(format!(
        "broker {who} read its producer state back and knew only the last batch of producer id {id}, which raised its epoch to {raised}",
    ))
}

/// What each broker had in mind of a producer's two epochs in a partition before something happened.
fn memories<'h>(
    index: &Index<'h>,
    partition: &TopicPartition,
    before: EventId,
    of: (ProducerId, ProducerEpoch, ProducerEpoch),
) -> BTreeMap<BrokerId, Memory<'h>> {
    let mut memories = BTreeMap::<BrokerId, Memory<'h>>::new();
    for event in &index.history.events[..wide(before.0)] {
        if let What::Replica(place, replica) = &event.what
            && place == partition
            && let Some(broker) = event
                .node
                .and_then(|node| index.history.manifest.broker_of(node))
        {
            memories.entry(broker).or_default().step(replica, of);
        }
    }
    memories
}

/// What a leader's log holds of one producer and epoch, and what it has forgotten of that.
#[derive(Default)]
struct Memory<'h> {
    /// By offset, with what is in them.
    batches: BTreeMap<i64, &'h [Value]>,
    /// Those that were not the last one when the producer state was read back.
    forgotten: BTreeSet<i64>,
    /// Those that it appended again under the raised epoch.
    again: BTreeSet<i64>,
}

impl<'h> Memory<'h> {
    fn step(
        &mut self,
        replica: &'h Replica,
        (id, epoch, raised): (ProducerId, ProducerEpoch, ProducerEpoch),
    ) {
        if let Replica::Appended(append) = replica {
            let Some((_, of, _)) = append.producer.filter(|(by, ..)| *by == id) else {
                return;
            };
            if of == epoch {
                self.batches.insert(append.base_offset.0, &append.values);
            } else if of == raised && append.leader {
                let known = self.batches.iter();
                let same = known.filter(|(_, values)| **values == append.values);
                self.again.extend(same.map(|(offset, _)| *offset));
            }
        } else if let Replica::Truncated { to, .. } = replica {
            self.read_back(to.0);
        } else if let Replica::Loaded { log_end_offset, .. } = replica {
            self.read_back(log_end_offset.0);
        }
    }

    /// Whether a forgotten batch below `place` came again, so that those behind it had to be numbered anew.
    fn raised_before(&self, place: i64) -> bool {
        let mut below = self.forgotten.range(..place);
        below.any(|batch| self.again.contains(batch))
    }

    fn read_back(&mut self, end: i64) {
        self.batches.split_off(&end);
        self.forgotten.split_off(&end);
        let offsets = self.batches.keys().copied();
        let but_the_last = self.batches.len().saturating_sub(1);
        self.forgotten.extend(offsets.take(but_the_last));
    }
}
