//! The checkers: one guarantee each, judged from a recorded history alone.
//!
//! A guarantee is *claimed* where the configuration promises it (Kafka's own words on `acks`, `min.insync.replicas`,
//! idempotence and commit order); elsewhere its checker answers *not claimed*, and what would have broken it is only counted
//! in the ledger. A checker declares the streams it needs and answers *unknown* on a history without them.

mod agree;
pub(crate) mod alo;
mod amo;
mod cm;
mod committed;
mod copies;
pub(crate) mod cycles;
mod dup;
mod e1;
mod e2;
mod e3;
mod e4;
mod e5;
mod e6;
mod e7;
mod e8;
mod e9;
pub(crate) mod effects;
mod eo;
pub(crate) mod fifo;
mod g0;
mod g1c;
mod gap;
pub mod index;
mod loss;
mod old_answers;
mod ord;
mod own;
mod p0;
mod p1;
mod pa;
mod permanent;
mod progress;
mod relapse;
mod removal;
mod res;
mod rt;
mod v0;
mod window;
mod written;

use crate::invariant::{self, INVARIANTS};
use crate::manifest::Stream;
use crate::verdict::{Answer, Verdict};
use index::Index;

/// One guarantee and how it is judged.
pub trait Checker: Sync {
    /// Its stable code.
    fn code(&self) -> &'static str;
    /// One line.
    fn title(&self) -> &'static str;
    /// One paragraph: what it says, and where it is claimed.
    fn definition(&self) -> &'static str;
    /// Without these streams the answer is *unknown*.
    fn needs(&self) -> &'static [Stream];
    /// Judges.
    fn check(&self, index: &Index<'_>) -> Verdict;
}

/// All checkers, in the order in which one would teach them.
pub fn checkers() -> [&'static dyn Checker; 28] {
    [
        &v0::Validity,
        &p0::FireAndForget,
        &p1::LeaderAcknowledged,
        &pa::AllAcknowledged,
        &dup::NoDuplicates,
        &fifo::ProducerOrder,
        &gap::NoGaps,
        &rt::AppendOrder,
        &agree::Agreement,
        &amo::AtMostOnce,
        &alo::AtLeastOnce,
        &cm::CommitsMonotone,
        &own::Ownership,
        &ord::ConsumeOrder,
        &res::Resume,
        &e1::NoAbortedReads,
        &e2::NotBeforeCommit,
        &e3::AtomicVisibility,
        &e4::TransactionFate,
        &e5::OffsetsWithOutputs,
        &e6::Fencing,
        &e7::CopyTest,
        &e8::StableOffsetMoves,
        &e9::Conservation,
        &eo::ExactlyOnce,
        &g0::WriteCycles,
        &g1c::InformationFlow,
        &progress::Progress,
    ]
}

/// A guarantee in words.
#[derive(Clone, Copy, Debug)]
pub struct Guarantee {
    /// Its code.
    pub code: &'static str,
    /// One line.
    pub title: &'static str,
    /// One paragraph.
    pub definition: &'static str,
}

/// Every guarantee, white-box invariants last.
pub fn guarantees() -> Vec<Guarantee> {
    let black = checkers().into_iter().map(|checker| Guarantee {
        code: checker.code(),
        title: checker.title(),
        definition: checker.definition(),
    });
    let white = INVARIANTS.iter().map(|invariant| Guarantee {
        code: invariant.code,
        title: invariant.title,
        definition: invariant.definition,
    });
    black.chain(white).collect()
}

/// The codes that `[expect]` may name.
pub fn codes() -> Vec<&'static str> {
    guarantees().into_iter().map(|known| known.code).collect()
}

/// Judges every guarantee.
pub fn verdicts(index: &Index<'_>) -> Vec<Verdict> {
    let mut verdicts: Vec<Verdict> = checkers()
        .into_iter()
        .map(|checker| judge_one(checker, index))
        .collect();
    verdicts.extend(invariant::verdicts(&index.history.manifest, &index.broken));
    verdicts
}

/// Judges one guarantee, if the history has what it needs.
pub fn judge_one(checker: &dyn Checker, index: &Index<'_>) -> Verdict {
    let verdict = checker.check(index);
    let missing = checker
        .needs()
        .iter()
        .find(|stream| !index.history.manifest.has(**stream));
    match missing {
        // What nobody claims needs no proof.
        Some(stream) if !matches!(verdict.answer, Answer::NotClaimed(_)) => {
            let why = format!("the history has no stream `{}`", stream_name(*stream));
            Verdict::unknown(checker.code(), why)
        }
        _ => verdict,
    }
}

/// The name of a stream, as the manifest writes it.
pub fn stream_name(stream: Stream) -> &'static str {
    match stream {
        Stream::Operations => "operations",
        Stream::Brokers => "brokers",
        Stream::Keepers => "keepers",
        Stream::Groups => "groups",
        Stream::Faults => "faults",
        Stream::FinalRead => "final_read",
        Stream::CommittedRead => "committed_read",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_guarantee_has_a_code_of_its_own_and_says_what_it_means() {
        let all = guarantees();
        let mut codes = codes();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), all.len());
        for guarantee in all {
            assert!(guarantee.definition.len() > 40, "{}", guarantee.code);
        }
    }
}
