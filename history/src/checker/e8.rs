//! E8, life of the last stable offset. The anomaly: long after every transaction has ended or timed out, the last stable
//! offset of a partition is still below its high watermark, so that readers of committed records get no further. Behind it
//! is most often a hanging transaction: records that a leader holds for open and that no coordinator will ever end
//! (KIP-890).
//!
//! Time is given as Kafka takes it: `transaction.timeout.ms` of the producer for what nobody ended, and the scenario's time
//! for progress on top, for a coordinator that has to be found again first. A transaction that its coordinator holds for
//! complete gets none.

use super::Checker;
use super::committed::unclaimed;
use super::index::{Decided, EventId, Index, LoggedBatch, TransactionIndex};
use crate::event::{self, Phase, Replica, What};
use crate::manifest::{ClientKind, Stream};
use crate::verdict::{Finding, Moment, Verdict};
use protocol::note::TransactionState;

/// Kafka's default of `transaction.timeout.ms`.
const TIMEOUT_MS: u64 = 60_000;

/// E8.
pub(super) struct StableOffsetMoves;

impl Checker for StableOffsetMoves {
    fn code(&self) -> &'static str {
        "E8"
    }

    fn title(&self) -> &'static str {
        "The last stable offset reaches the high watermark"
    }

    fn definition(&self) -> &'static str {
        "When the transactions of a partition have ended, or have lasted longer than transaction.timeout.ms, its last stable offset reaches the high watermark within the time for progress; otherwise one hangs, and readers of committed records wait for ever. What is still within that time when the run ends is excused. Claimed where a producer has a transactional.id."
    }

    fn needs(&self) -> &'static [Stream] {
        &[Stream::Operations, Stream::Brokers]
    }

    fn check(&self, index: &Index<'_>) -> Verdict {
        if let Some(verdict) = unclaimed(index, self.code()) {
            return verdict;
        }
        let mut verdict = Verdict::new(self.code());
        let stuck = index.workload().filter_map(|(part, partition)| {
            let open = index.transactions.log.first_open(part);
            let told = partition.last_stable;
            let stable = told.or(open.map(|open| open.base));
            verdict.judged += 1;
            let stable = stable.filter(|stable| *stable < partition.high_watermark);
            Some((part, stable?))
        });
        for (part, stable) in stuck.collect::<Vec<_>>() {
            let stuck = Stuck::at(index, part, stable);
            match stuck.admitted(index) {
                Some(why) => verdict.excuse(|| stuck.finding(index).because(why)),
                None => verdict.violate(|| stuck.finding(index)),
            }
        }
        verdict
    }
}

/// A partition whose last stable offset does not get on.
struct Stuck {
    part: u32,
    stable: i64,
    batch: Option<LoggedBatch>,
    of: Option<TransactionIndex>,
}

impl Stuck {
    fn at(index: &Index<'_>, part: u32, stable: i64) -> Self {
        let log = &index.transactions.log;
        let batch = log.batch(part, stable).copied();
        let of = batch.and_then(|batch| {
            let What::Replica(_, Replica::Appended(append)) = &index.event(batch.appended).what
            else {
                return None;
            };
            let id = index.values.id(*append.values.first()?);
            index.transactions.of_value(id).filter(|_| id.is_some())
        });
        Self {
            part,
            stable,
            batch,
            of,
        }
    }

    fn is_open(&self) -> bool {
        self.batch
            .is_some_and(|batch| batch.decided == Decided::Open)
    }

    /// Why there was still time.
    fn admitted(&self, index: &Index<'_>) -> Option<String> {
        let end = index.phase(Phase::FinalRead).map(|phase| index.time(phase));
        let end = end.or(index.history.events.last().map(|event| event.at))?;
        let (since, timeout) = self.since(index)?;
        let due = since
            .saturating_add(timeout)
            .saturating_add(index.history.manifest.progress_within);
        (due > end).then(|| {
            format!(
                "{} ms were left when the run ended",
                (due - end) / 1_000_000
            )
        })
    }

    /// From when on time counts, and how much of it the producer was given; nothing where nobody will ever end it.
    fn since(&self, index: &Index<'_>) -> Option<(u64, u64)> {
        let batch = self.batch?;
        let marker = match batch.decided {
            Decided::Committed(marker) | Decided::Aborted(marker) => marker,
            Decided::Plain => batch.appended,
            Decided::Open => return self.open_since(index, batch),
        };
        Some((index.time(marker), 0))
    }

    fn open_since(&self, index: &Index<'_>, batch: LoggedBatch) -> Option<(u64, u64)> {
        let Some(of) = self.of else {
            return Some((index.time(batch.appended), TIMEOUT_MS * 1_000_000));
        };
        if forgotten(index, of, batch.appended) {
            return None;
        }
        let own = index.transactions.get(of);
        if let Some(ended) = own.ended() {
            return Some((index.time(ended.max(batch.appended)), 0));
        }
        let client = &index.history.manifest.clients[usize::from(own.client)].kind;
        let timeout = match client {
            ClientKind::Producer {
                transaction_timeout_ms: Some(timeout),
                ..
            } => *timeout,
            ClientKind::Producer { .. }
            | ClientKind::Consumer { .. }
            | ClientKind::Admin
            | ClientKind::FinalReader
            | ClientKind::CommittedReader => TIMEOUT_MS,
        };
        Some((index.time(own.began), timeout * 1_000_000))
    }

    fn finding(&self, index: &Index<'_>) -> Finding {
        let partition = index.partition(self.part);
        let (name, stable, mark) = (&partition.name, self.stable, partition.high_watermark);
        let (anomaly, whose) = match (self.is_open(), self.of) {
            (true, Some(of)) => (
                "hanging-transaction",
                format!(": {} is open there", index.transaction_name(of)),
            ),
            (true, None) => (
                "hanging-transaction",
                ": a transaction is open there".to_owned(),
            ),
            (false, _) => ("stable-offset-behind", String::new()),
        };
        let text = format!(
            "the last stable offset of {name} is {stable} in the end and its high watermark {mark}{whose}"
        );
        Finding::new(anomaly, text, mark.to_string(), stable.to_string())
            .at(name, stable)
            .told(self.story(index))
    }

    fn story(&self, index: &Index<'_>) -> Vec<Moment> {
        let mut story = self
            .of
            .map_or_else(Vec::new, |of| index.transaction_story(of));
        let name = &index.partition(self.part).name;
        if let Some(batch) = self.batch {
            let producer = batch.producer.map_or_else(String::new, |producer| {
                format!(" of producer id {producer}")
            });
            let text = format!(
                "the leader of {name} appends records{producer} at offsets {} to {}",
                batch.base, batch.last
            );
            story.push(index.moment(batch.appended, text));
        }
        if let Some(last) = index.history.events.last() {
            story.push(Moment {
                at: last.at,
                step: last.step,
                node: String::new(),
                text: format!(
                    "readers of committed records got to offset {} of {name}",
                    self.stable
                ),
            });
        }
        story
    }
}

/// Whether the coordinator of a transaction has nothing left to end: the last that it said of the transactional id is that
/// the transaction is complete, and these records came after that.
fn forgotten(index: &Index<'_>, of: TransactionIndex, appended: EventId) -> bool {
    let own = index.transactions.get(of);
    let told = own
        .id
        .as_ref()
        .and_then(|id| index.transactions.coordinated.get(id));
    let mut states =
        told.into_iter()
            .flatten()
            .rev()
            .filter_map(|event| match &index.event(*event).what {
                What::Transaction(_, event::Transaction::State { state, .. }) => {
                    Some((*event, *state))
                }
                What::Transaction(..)
                | What::Operation(_)
                | What::Replica(..)
                | What::Controller(_)
                | What::Broker(_)
                | What::Group(..)
                | What::Keeper(_)
                | What::Client(_)
                | What::Process(_)
                | What::Fault(_)
                | What::Mark(_)
                | What::Phase(_) => None,
            });
    states.next().is_some_and(|(event, state)| match state {
        TransactionState::Empty
        | TransactionState::CompleteCommit
        | TransactionState::CompleteAbort
        | TransactionState::Dead => event < appended,
        TransactionState::Ongoing
        | TransactionState::PrepareCommit
        | TransactionState::PrepareAbort
        | TransactionState::PrepareEpochFence => false,
    })
}
