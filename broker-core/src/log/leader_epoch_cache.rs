//! Which leader epoch started at which offset (`LeaderEpochFileCache`; KIP-101, KIP-279).
//!
//! Both numbers rise strictly from entry to entry. The cache is written to `leader-epoch-checkpoint` whenever it changes:
//! the caller does that, because it knows the file ([`LeaderEpochCache::entries`]).

use protocol::ids::{LeaderEpoch, Offset};

/// The epochs of one log.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct LeaderEpochCache {
    entries: Vec<(LeaderEpoch, Offset)>,
}

impl LeaderEpochCache {
    /// Takes what a checkpoint holds; entries that do not rise are dropped as assigning them in order would.
    pub fn from_entries(entries: impl IntoIterator<Item = (LeaderEpoch, Offset)>) -> Self {
        let mut cache = Self::default();
        for (epoch, start) in entries {
            cache.assign(epoch, start);
        }
        cache
    }

    /// The entries, oldest first.
    pub fn entries(&self) -> &[(LeaderEpoch, Offset)] {
        &self.entries
    }

    /// Whether no epoch is known.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The latest epoch and where it starts.
    pub fn latest(&self) -> Option<(LeaderEpoch, Offset)> {
        self.entries.last().copied()
    }

    /// Notes that `epoch` starts at `start`. Entries that contradict it (an epoch not below, a start not below) go.
    /// Tells whether anything changed.
    pub fn assign(&mut self, epoch: LeaderEpoch, start: Offset) -> bool {
        if self
            .latest()
            .is_some_and(|(latest, known)| latest == epoch && known <= start)
        {
            return false;
        }
        while self
            .latest()
            .is_some_and(|(known, from)| known >= epoch || from >= start)
        {
            self.entries.pop();
        }
        self.entries.push((epoch, start));
        true
    }

    /// Where `epoch` ends in a log that ends at `log_end`: the largest epoch not above the asked one and the offset at
    /// which the next one starts. `None` when the asked one is above all known, or nothing is known.
    pub fn end_offset_for(
        &self,
        epoch: LeaderEpoch,
        log_end: Offset,
    ) -> Option<(LeaderEpoch, Offset)> {
        let (latest, _) = self.latest()?;
        if epoch == latest {
            return Some((epoch, log_end));
        }
        let higher = self.entries.partition_point(|(known, _)| *known <= epoch);
        let (_, end) = *self.entries.get(higher)?;
        let floor = higher
            .checked_sub(1)
            .and_then(|index| self.entries.get(index));
        Some((floor.map_or(epoch, |(known, _)| *known), end))
    }

    /// The answer of a leader before KIP-279: the asked epoch itself, known or not, and where the next one starts.
    pub fn end_offset_before_kip_279(
        &self,
        epoch: LeaderEpoch,
        log_end: Offset,
    ) -> Option<(LeaderEpoch, Offset)> {
        let (first, _) = *self.entries.first()?;
        if epoch < first {
            return None;
        }
        self.end_offset_for(epoch, log_end)
            .map(|(_, end)| (epoch, end))
    }

    /// The epoch of the record at `offset`.
    pub fn epoch_at(&self, offset: Offset) -> Option<LeaderEpoch> {
        let after = self.entries.partition_point(|(_, start)| *start <= offset);
        after
            .checked_sub(1)
            .and_then(|index| self.entries.get(index))
            .map(|(epoch, _)| *epoch)
    }

    /// The epoch before `epoch`, if it is known.
    pub fn previous(&self, epoch: LeaderEpoch) -> Option<LeaderEpoch> {
        let below = self.entries.partition_point(|(known, _)| *known < epoch);
        below
            .checked_sub(1)
            .and_then(|index| self.entries.get(index))
            .map(|(known, _)| *known)
    }

    /// Forgets epochs that start at `end` or later. Tells whether anything changed.
    pub fn truncate_from_end(&mut self, end: Offset) -> bool {
        let before = self.entries.len();
        self.entries.retain(|(_, start)| *start < end);
        self.entries.len() != before
    }

    /// Forgets epochs that end before `start`; the one `start` lies in begins there now. Tells whether anything changed.
    pub fn truncate_from_start(&mut self, start: Offset) -> bool {
        let after = self.entries.partition_point(|(_, from)| *from <= start);
        let Some(last) = after.checked_sub(1) else {
            return false;
        };
        if last == 0 && self.entries[0].1 == start {
            return false;
        }
        self.entries.drain(..last);
        self.entries[0].1 = start;
        true
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.entries.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache(entries: &[(i32, i64)]) -> LeaderEpochCache {
        LeaderEpochCache::from_entries(
            entries
                .iter()
                .map(|(epoch, start)| (LeaderEpoch(*epoch), Offset(*start))),
        )
    }

    fn end(cache: &LeaderEpochCache, epoch: i32) -> Option<(i32, i64)> {
        cache
            .end_offset_for(LeaderEpoch(epoch), Offset(100))
            .map(|(epoch, end)| (epoch.0, end.0))
    }

    #[test]
    fn the_end_of_an_epoch_is_the_start_of_the_next() {
        let cache = cache(&[(2, 10), (4, 20), (7, 50)]);
        assert_eq!(
            end(&cache, 7),
            Some((7, 100)),
            "the latest ends with the log"
        );
        assert_eq!(end(&cache, 2), Some((2, 20)));
        assert_eq!(
            end(&cache, 3),
            Some((2, 20)),
            "the largest not above the asked one"
        );
        assert_eq!(end(&cache, 6), Some((4, 50)));
        assert_eq!(end(&cache, 1), Some((1, 10)), "before all known ones");
        assert_eq!(end(&cache, 8), None, "nothing is known of the future");
        assert_eq!(end(&LeaderEpochCache::default(), 0), None);
    }

    #[test]
    fn before_kip_279_the_answer_names_no_smaller_epoch() {
        let cache = cache(&[(2, 10), (4, 20)]);
        let old = |epoch| cache.end_offset_before_kip_279(LeaderEpoch(epoch), Offset(100));
        assert_eq!(old(3), Some((LeaderEpoch(3), Offset(20))));
        assert_eq!(old(4), Some((LeaderEpoch(4), Offset(100))));
        assert_eq!(old(1), None);
        assert_eq!(old(5), None);
    }

    #[test]
    fn assigning_removes_what_contradicts() {
        let mut epochs = cache(&[(0, 0), (1, 5), (2, 9)]);
        assert!(!epochs.assign(LeaderEpoch(2), Offset(12)), "known already");
        assert!(
            epochs.assign(LeaderEpoch(2), Offset(7)),
            "an earlier start wins"
        );
        assert_eq!(epochs, cache(&[(0, 0), (1, 5), (2, 7)]));
        assert!(epochs.assign(LeaderEpoch(3), Offset(5)));
        assert_eq!(
            epochs.entries(),
            [(LeaderEpoch(0), Offset(0)), (LeaderEpoch(3), Offset(5))]
        );
        assert!(
            epochs.assign(LeaderEpoch(1), Offset(6)),
            "a smaller epoch takes the place of larger ones"
        );
        assert_eq!(epochs.latest(), Some((LeaderEpoch(1), Offset(6))));
    }

    #[test]
    fn truncation_from_the_end_keeps_epochs_that_start_before() {
        let mut epochs = cache(&[(0, 0), (1, 5), (2, 9)]);
        assert!(!epochs.truncate_from_end(Offset(10)));
        assert!(epochs.truncate_from_end(Offset(9)));
        assert_eq!(epochs, cache(&[(0, 0), (1, 5)]));
    }

    #[test]
    fn truncation_from_the_start_keeps_one_entry_at_the_log_start() {
        let mut epochs = cache(&[(0, 0), (1, 5), (2, 9)]);
        assert!(epochs.truncate_from_start(Offset(7)));
        assert_eq!(
            epochs.entries(),
            [(LeaderEpoch(1), Offset(7)), (LeaderEpoch(2), Offset(9))]
        );
        assert!(!epochs.truncate_from_start(Offset(7)));
        assert!(!epochs.truncate_from_start(Offset(3)));
        assert!(epochs.truncate_from_start(Offset(20)));
        assert_eq!(epochs.entries(), [(LeaderEpoch(2), Offset(20))]);
    }

    #[test]
    fn every_record_has_the_epoch_it_was_appended_in() {
        let epochs = cache(&[(2, 10), (4, 20)]);
        let at = |offset| epochs.epoch_at(Offset(offset)).map(|epoch| epoch.0);
        assert_eq!(
            (at(9), at(10), at(19), at(20)),
            (None, Some(2), Some(2), Some(4))
        );
        assert_eq!(epochs.previous(LeaderEpoch(4)), Some(LeaderEpoch(2)));
        assert_eq!(epochs.previous(LeaderEpoch(2)), None);
    }
}
