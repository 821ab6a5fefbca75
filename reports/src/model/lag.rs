//! How many records each broker's log is behind the longest log of its partition at that moment.
//!
//! Absolute offsets grow into the thousands, and the fifty records that an election costs are two pixels of them; the
//! distance to the front shows them. Brokers that are down have no distance and are no front.

use super::replica::{Log, Partition};
use protocol::ids::BrokerId;
use std::collections::BTreeMap;

/// Steps of a value over time; `None` where there is none.
pub type Steps = Vec<(u64, Option<i64>)>;

/// The distance of every broker to the front.
pub fn behind(partition: &Partition) -> BTreeMap<BrokerId, Steps> {
    let mut changes: Vec<(u64, BrokerId, Option<i64>)> = Vec::new();
    for (broker, Log { end, .. }) in &partition.logs {
        changes.extend(end.iter().map(|(at, value)| (*at, *broker, *value)));
    }
    changes.sort_by_key(|(at, ..)| *at);
    let mut now: BTreeMap<BrokerId, Option<i64>> = BTreeMap::new();
    let mut lags: BTreeMap<BrokerId, Steps> = partition
        .logs
        .keys()
        .map(|broker| (*broker, Steps::new()))
        .collect();
    for moment in changes.chunk_by(|one, other| one.0 == other.0) {
        for (_, broker, value) in moment {
            now.insert(*broker, *value);
        }
        let Some((at, ..)) = moment.first() else {
            continue;
        };
        let front = now.values().copied().flatten().max().unwrap_or(0);
        for (broker, value) in &now {
            let lag = value.map(|end| front - end);
            let changed = lags
                .get_mut(broker)
                .filter(|steps| steps.last().is_none_or(|(_, last)| *last != lag));
            if let Some(steps) = changed {
                steps.push((*at, lag));
            }
        }
    }
    lags
}

#[cfg(test)]
mod tests {
    use super::super::Window;
    use super::super::replica::Replicas;
    use super::super::tests::{MS, lossy};
    use super::*;

    #[test]
    fn followers_that_fetch_nothing_fall_behind_until_the_leader_is_gone() {
        let history = lossy();
        let partition = Replicas::of(&history, Window::of(&history))
            .partitions
            .remove(0);
        let lags = behind(&partition);
        let follower = &lags[&BrokerId(2)];
        let worst = follower.iter().filter_map(|(_, lag)| *lag).max();
        assert_eq!(worst, Some(4));
        let after_the_death = follower.iter().find(|(at, _)| *at == 2_000 * MS);
        assert_eq!(after_the_death, Some(&(2_000 * MS, Some(0))));
        assert_eq!(
            lags[&BrokerId(1)].iter().find(|(at, _)| *at == 2_000 * MS),
            Some(&(2_000 * MS, None))
        );
    }
}
