//! G0, write cycles. The anomaly: the records of two transactions interleave in such a way that neither comes first
//! everywhere: one is before the other in one partition and behind it in another.
//!
//! Kafka does not promise otherwise, because its transactions do not isolate their writes. The cycles are counted in the
//! ledger, and the smallest are told in the verdict for whoever asks.

use super::Checker;
use super::committed::unclaimed;
use super::cycles::Dependencies;
use super::index::Index;
use crate::manifest::Stream;
use crate::verdict::{Answer, Verdict};

/// G0.
pub(super) struct WriteCycles;

/// Why it is not promised.
const WHY: &str = "Kafka does not isolate the writes of transactions";

impl Checker for WriteCycles {
    fn code(&self) -> &'static str {
        "G0"
    }

    fn title(&self) -> &'static str {
        "Transactions write in one order everywhere"
    }

    fn definition(&self) -> &'static str {
        "No transactions write before each other in a circle: one first in one partition, the other first in another (Adya's G0; with -process or -realtime where the order of a process or of time closes the circle). Kafka does not promise it, so no configuration claims it; the circles are counted in the ledger as write_cycles."
    }

    fn needs(&self) -> &'static [Stream] {
        &[Stream::Operations]
    }

    fn check(&self, index: &Index<'_>) -> Verdict {
        if let Some(verdict) = unclaimed(index, self.code()) {
            return verdict;
        }
        let mut verdict = Verdict::new(self.code());
        let dependencies = Dependencies::of(index);
        verdict.judged = dependencies.operations;
        for finding in dependencies.of_writes(index) {
            verdict.excuse(|| finding.because(WHY));
        }
        verdict.answer = Answer::NotClaimed(WHY.to_owned());
        verdict
    }
}
