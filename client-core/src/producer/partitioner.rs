//! Which partition a record goes to (`DefaultPartitioner`, `RoundRobinPartitioner`, `UniformStickyPartitioner`).
//!
//! A key decides by murmur2. Records without key go round before 2.4 and stay on one partition until a batch is complete
//! since then (KIP-480, `StickyPartitionCache`). librdkafka's `consistent_random` is here as well, because the same key
//! lands elsewhere with it.

use crate::backoff::{Purpose, draw, subject};
use crate::metadata::{Leaders, count_known};
use protocol::behaviour::Era;
use protocol::config::Partitioner;
use protocol::ids::TopicName;
use protocol::murmur2::partition_for_key;
use std::collections::BTreeMap;

/// The state of a topic's choices.
#[derive(Clone, Copy, Debug, Default)]
struct Choice {
    /// Draws so far.
    drawn: u64,
    /// Records placed in turn so far, counted from a random number as Java does.
    turn: Option<u64>,
    /// Where records without key stay at the moment.
    sticky: Option<i32>,
}

/// The partitioner of one producer.
#[derive(Clone, Debug)]
pub(super) struct Partitioning {
    rule: Partitioner,
    era: Era,
    seed: u64,
    topics: BTreeMap<TopicName, Choice>,
}

impl Partitioning {
    pub(super) fn new(rule: Partitioner, era: Era, seed: u64) -> Self {
        Self {
            rule,
            era,
            seed,
            topics: BTreeMap::new(),
        }
    }

    /// Whether a new batch moves records of this kind to another partition.
    pub(super) fn is_sticky(&self, key: Option<&[u8]>) -> bool {
        self.rule.is_sticky(self.era) && (key.is_none() || self.rule == Partitioner::UniformSticky)
    }

    /// The partition of a record, among at least one.
    pub(super) fn place(
        &mut self,
        topic: &TopicName,
        key: Option<&[u8]>,
        leaders: &Leaders,
    ) -> i32 {
        let count = i32::try_from(count_known(leaders)).unwrap_or(i32::MAX);
        match (self.rule, key) {
            (Partitioner::Default, Some(key)) => partition_for_key(key, count),
            (Partitioner::ConsistentRandom, Some(key)) if !key.is_empty() => {
                let place = crc32(key) % count.unsigned_abs();
                i32::try_from(place).unwrap_or(0)
            }
            (Partitioner::ConsistentRandom, _) => {
                let chance = self.draw(topic);
                pick(chance, count_known(leaders))
            }
            (Partitioner::UniformSticky, _) => self.stay(topic, leaders),
            (Partitioner::Default, None) if self.rule.is_sticky(self.era) => {
                self.stay(topic, leaders)
            }
            (Partitioner::Default, None) | (Partitioner::RoundRobin, _) => {
                self.next_in_turn(topic, leaders)
            }
        }
    }

    /// A batch for `previous` is complete: the next ones go elsewhere (`onNewBatch`).
    pub(super) fn on_new_batch(&mut self, topic: &TopicName, previous: i32, leaders: &Leaders) {
        if !self.rule.is_sticky(self.era) {
            return;
        }
        let choice = self.topics.entry(topic.clone()).or_default();
        if choice.sticky.is_some_and(|sticky| sticky != previous) {
            return;
        }
        let available = available(leaders);
        let next = match available.as_slice() {
            [] => {
                let chance = self.draw(topic);
                pick(chance, count_known(leaders))
            }
            [only] => *only,
            several => {
                // Java draws until it gets another one; drawing among the others is the same distribution.
                let others: Vec<i32> = several
                    .iter()
                    .copied()
                    .filter(|place| *place != previous)
                    .collect();
                let chance = self.draw(topic);
                others[index(chance, others.len())]
            }
        };
        self.topics.entry(topic.clone()).or_default().sticky = Some(next);
    }

    fn stay(&mut self, topic: &TopicName, leaders: &Leaders) -> i32 {
        if let Some(sticky) = self.topics.get(topic).and_then(|choice| choice.sticky) {
            return sticky;
        }
        let available = available(leaders);
        let chance = self.draw(topic);
        let place = if available.is_empty() {
            pick(chance, count_known(leaders))
        } else {
            available[index(chance, available.len())]
        };
        self.topics.entry(topic.clone()).or_default().sticky = Some(place);
        place
    }

    fn next_in_turn(&mut self, topic: &TopicName, leaders: &Leaders) -> i32 {
        let start = self.topics.get(topic).and_then(|choice| choice.turn);
        let turn = match start {
            Some(turn) => turn + 1,
            None => self.draw(topic) >> 1,
        };
        self.topics.entry(topic.clone()).or_default().turn = Some(turn);
        let available = available(leaders);
        if available.is_empty() {
            pick(turn, count_known(leaders))
        } else {
            available[index(turn, available.len())]
        }
    }

    fn draw(&mut self, topic: &TopicName) -> u64 {
        let choice = self.topics.entry(topic.clone()).or_default();
        choice.drawn += 1;
        draw(
            self.seed,
            Purpose::Partition,
            subject(topic.as_str()),
            choice.drawn,
        )
    }
}

/// The partitions that have a leader.
fn available(leaders: &Leaders) -> Vec<i32> {
    (0..)
        .zip(leaders)
        .filter(|(_, known)| known.is_some_and(|known| known.leader.is_some()))
        .map(|(index, _)| index)
        .collect()
}

fn index(chance: u64, count: usize) -> usize {
    let count = u64::try_from(count).unwrap_or(1).max(1);
    usize::try_from(chance % count).unwrap_or(0)
}

fn pick(chance: u64, count: usize) -> i32 {
    i32::try_from(index(chance, count)).unwrap_or(0)
}

/// CRC-32 of zlib, bit by bit: keys are short.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            if crc & 1 == 1 {
                (crc >> 1) ^ 0xedb8_8320
            } else {
                crc >> 1
            }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::LeaderAndEpoch;
    use protocol::ids::BrokerId;

    fn leaders(live: &[bool]) -> Vec<Option<LeaderAndEpoch>> {
        live.iter()
            .map(|live| {
                Some(LeaderAndEpoch {
                    leader: live.then_some(BrokerId(1)),
                    epoch: None,
                })
            })
            .collect()
    }

    #[test]
    fn a_key_decides_by_murmur2() {
        let mut rule = Partitioning::new(Partitioner::Default, Era::V2_8, 1);
        let topic = TopicName::from("t");
        let place = rule.place(&topic, Some(b"21"), &leaders(&[true; 7]));
        assert_eq!(place, 1_173_551_340 % 7);
    }

    #[test]
    fn without_key_records_stay_until_a_batch_is_complete_and_then_move() {
        let mut rule = Partitioning::new(Partitioner::Default, Era::V2_8, 1);
        let topic = TopicName::from("t");
        let leaders = leaders(&[true; 4]);
        let first = rule.place(&topic, None, &leaders);
        for _ in 0..10 {
            assert_eq!(rule.place(&topic, None, &leaders), first);
        }
        rule.on_new_batch(&topic, first, &leaders);
        let second = rule.place(&topic, None, &leaders);
        assert_ne!(second, first);
        // A late word about the first one moves nothing.
        rule.on_new_batch(&topic, first, &leaders);
        assert_eq!(rule.place(&topic, None, &leaders), second);
    }

    #[test]
    fn before_sticky_records_without_key_go_round_the_partitions_with_a_leader() {
        let mut rule = Partitioning::new(Partitioner::Default, Era::V1_0, 1);
        let topic = TopicName::from("t");
        let leaders = leaders(&[true, false, true]);
        let places: Vec<i32> = (0..4).map(|_| rule.place(&topic, None, &leaders)).collect();
        assert_eq!(places[0], places[2]);
        assert_eq!(places[1], places[3]);
        assert_ne!(places[0], places[1]);
        assert!(!places.contains(&1));
    }

    #[test]
    fn the_other_clients_checksum_is_that_of_zlib() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }
}
