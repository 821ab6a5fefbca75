//! What clients sent, were acknowledged and read, in buckets of time.
//!
//! A send counts when the application made it, an acknowledgement when it came, and a latency belongs to the moment of the
//! *send*: a stall then shows as the slope it is for the sender, the first record of it having waited longest.

use super::Window;
use crate::number::{MILLISECOND, SECOND};
use history::History;
use history::event::What;
use history::manifest::ClientKind;
use history::operation::{Action, Operation, ProcessId, Stage};
use std::collections::BTreeMap;

/// At most so many buckets, so that a line stays a line.
const BUCKETS: u64 = 120;
/// Lengths of a bucket that a reader can name.
const LENGTHS: [u64; 10] = [
    10 * MILLISECOND,
    50 * MILLISECOND,
    100 * MILLISECOND,
    200 * MILLISECOND,
    500 * MILLISECOND,
    SECOND,
    2 * SECOND,
    5 * SECOND,
    10 * SECOND,
    60 * SECOND,
];

/// The traffic of all clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Traffic {
    /// The time drawn.
    pub window: Window,
    /// Length of a bucket in nanoseconds; the last one may be half as long or half as long again.
    pub bucket: u64,
    /// The buckets.
    pub buckets: Vec<Bucket>,
}

/// The traffic of one bucket.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Bucket {
    /// From, in nanoseconds.
    pub start: u64,
    /// To, in nanoseconds.
    pub end: u64,
    /// Records handed to producers.
    pub sent: u64,
    /// Acknowledgements that came.
    pub acknowledged: u64,
    /// Sends that ended without one: refused or of unknown fate.
    pub unacknowledged: u64,
    /// Records that consumers polled, the final reader left out.
    pub polled: u64,
    /// The latencies of the records sent in it, in microseconds.
    pub latency: Option<Latency>,
}

/// How long the records of a bucket waited for their acknowledgement, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Latency {
    /// Half of them waited no longer.
    pub median: u64,
    /// The slowest.
    pub slowest: u64,
}

impl Traffic {
    /// The traffic of a history.
    pub fn of(history: &History, window: Window) -> Self {
        let bucket = bucket_length(window.length());
        let mut counter = Counter::new(history, window, bucket);
        for event in &history.events {
            if let What::Operation(operation) = &event.what {
                counter.take_in(event.at, operation);
            }
        }
        Self {
            window,
            bucket,
            buckets: counter.finish(),
        }
    }
}

impl Bucket {
    /// A count of this bucket as records per second.
    pub const fn per_second(&self, count: u64) -> u64 {
        count * SECOND / (self.end - self.start)
    }
}

fn bucket_length(length: u64) -> u64 {
    let fits = |candidate: &u64| length / candidate < BUCKETS;
    LENGTHS
        .into_iter()
        .find(fits)
        .unwrap_or(length / BUCKETS + 1)
}

struct Counter<'a> {
    history: &'a History,
    window: Window,
    bucket: u64,
    buckets: Vec<Bucket>,
    latencies: Vec<Vec<u64>>,
    open: BTreeMap<(u16, ProcessId, u64), u64>,
}

impl<'a> Counter<'a> {
    fn new(history: &'a History, window: Window, bucket: u64) -> Self {
        // A rest shorter than half a bucket joins the last one: of a millisecond no rate should be told.
        let count = ((window.length() + bucket / 2) / bucket).max(1);
        let starts = (0..count).map(|index| window.start + index * bucket);
        let mut buckets: Vec<Bucket> = starts
            .map(|start| Bucket {
                start,
                end: start + bucket,
                ..Bucket::default()
            })
            .collect();
        if let Some(last) = buckets.last_mut() {
            last.end = window.end;
        }
        let latencies = vec![Vec::new(); buckets.len()];
        Self {
            history,
            window,
            bucket,
            buckets,
            latencies,
            open: BTreeMap::new(),
        }
    }

    fn index(&self, at: u64) -> Option<usize> {
        let since = at.checked_sub(self.window.start)?;
        let last = self.buckets.len().checked_sub(1)?;
        let index = usize::try_from(since / self.bucket).ok()?;
        (at <= self.window.end).then(|| index.min(last))
    }

    fn take_in(&mut self, at: u64, operation: &Operation) {
        match &operation.action {
            Action::Send { .. } => self.send(at, operation),
            Action::Poll { records, .. }
                if operation.stage == Stage::Ok && !self.is_final_reader(operation.client) =>
            {
                let count: usize = records.iter().map(|polled| polled.records.len()).sum();
                if let Some(index) = self.index(at) {
                    self.buckets[index].polled += u64::try_from(count).unwrap_or(u64::MAX);
                }
            }
            Action::Poll { .. }
            | Action::Commit { .. }
            | Action::Transaction { .. }
            | Action::Assigned { .. }
            | Action::Revoked { .. }
            | Action::Lost { .. }
            | Action::Position { .. }
            | Action::Process { .. }
            | Action::Admin { .. } => {}
        }
    }

    fn is_final_reader(&self, client: u16) -> bool {
        let info = self.history.manifest.clients.get(usize::from(client));
        info.is_some_and(|info| {
            matches!(
                info.kind,
                ClientKind::FinalReader | ClientKind::CommittedReader
            )
        })
    }

    fn send(&mut self, at: u64, operation: &Operation) {
        let key = (operation.client, operation.process, operation.id);
        let now = self.index(at);
        match operation.stage {
            Stage::Invoke => {
                self.open.insert(key, at);
                if let Some(index) = now {
                    self.buckets[index].sent += 1;
                }
            }
            Stage::Ok => {
                let invoked = self.open.remove(&key);
                if let Some(index) = now {
                    self.buckets[index].acknowledged += 1;
                }
                if let Some((invoked, index)) =
                    invoked.and_then(|invoked| Some((invoked, self.index(invoked)?)))
                {
                    self.latencies[index].push(at.saturating_sub(invoked) / 1_000);
                }
            }
            Stage::Fail | Stage::Info => {
                self.open.remove(&key);
                if let Some(index) = now {
                    self.buckets[index].unacknowledged += 1;
                }
            }
        }
    }

    fn finish(mut self) -> Vec<Bucket> {
        for (bucket, latencies) in self.buckets.iter_mut().zip(&mut self.latencies) {
            latencies.sort_unstable();
            // The lower of the two middle ones: a latency that was measured, not a mean that nobody saw.
            let median = latencies
                .len()
                .checked_sub(1)
                .and_then(|last| latencies.get(last / 2));
            bucket.latency = median
                .zip(latencies.last())
                .map(|(median, slowest)| Latency {
                    median: *median,
                    slowest: *slowest,
                });
        }
        self.buckets
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Builder, MS};
    use super::*;
    use history::event::Phase;

    fn traffic(history: &History) -> Traffic {
        Traffic::of(history, Window::of(history))
    }

    #[test]
    fn a_minute_is_drawn_in_half_seconds_and_a_second_in_hundredths() {
        assert_eq!(bucket_length(59 * SECOND), 500 * MILLISECOND);
        assert_eq!(bucket_length(SECOND), 10 * MILLISECOND);
    }

    #[test]
    fn sends_and_acknowledgements_count_when_they_happen() {
        let mut b = Builder::new();
        b.phase(0, Phase::Safety);
        b.send(5, 0, Stage::Invoke);
        b.send(25, 0, Stage::Ok);
        b.phase(100, Phase::End);
        let traffic = traffic(&b.history);
        assert_eq!(traffic.bucket, 10 * MS);
        assert_eq!(
            (traffic.buckets[0].sent, traffic.buckets[0].acknowledged),
            (1, 0)
        );
        assert_eq!(
            (traffic.buckets[2].sent, traffic.buckets[2].acknowledged),
            (0, 1)
        );
        assert_eq!(traffic.buckets[0].per_second(1), 100);
    }

    #[test]
    fn a_short_rest_joins_the_last_bucket() {
        let mut b = Builder::new();
        b.phase(0, Phase::Safety);
        b.send(102, 0, Stage::Invoke);
        b.phase(103, Phase::End);
        let buckets = traffic(&b.history).buckets;
        assert_eq!(buckets.len(), 10);
        assert_eq!(
            (buckets[9].sent, buckets[9].start / MS, buckets[9].end / MS),
            (1, 90, 103)
        );
    }

    #[test]
    fn latency_belongs_to_the_moment_of_the_send() {
        let mut b = Builder::new();
        b.phase(0, Phase::Safety);
        for (number, took) in [(0, 1), (1, 3), (2, 40)] {
            b.send(5, number, Stage::Invoke);
            b.send(5 + took, number, Stage::Ok);
        }
        b.phase(100, Phase::End);
        let buckets = traffic(&b.history).buckets;
        assert_eq!(
            buckets[0].latency,
            Some(Latency {
                median: 3_000,
                slowest: 40_000
            })
        );
        assert_eq!(buckets[4].latency, None);
    }

    #[test]
    fn sends_without_an_acknowledgement_have_no_latency() {
        let mut b = Builder::new();
        b.phase(0, Phase::Safety);
        b.send(5, 0, Stage::Invoke);
        b.send(15, 0, Stage::Info);
        b.phase(100, Phase::End);
        let buckets = traffic(&b.history).buckets;
        assert_eq!((buckets[0].latency, buckets[1].unacknowledged), (None, 1));
    }
}
