//! G1c, circular information flow. The anomaly: transactions read from each other in a circle, so that each was committed
//! before the other; or one reads what was written by a transaction that began only after it had ended.

use super::Checker;
use super::committed::undecided;
use super::cycles::Dependencies;
use super::index::Index;
use crate::manifest::Stream;
use crate::verdict::Verdict;

/// G1c.
pub(super) struct InformationFlow;

impl Checker for InformationFlow {
    fn code(&self) -> &'static str {
        "G1c"
    }

    fn title(&self) -> &'static str {
        "Information flows one way"
    }

    fn definition(&self) -> &'static str {
        "No operations read each other's committed records in a circle (Adya's G1c; with -process or -realtime where the order of a process or of time closes the circle): a transaction reads only what was committed before it ends, so that somebody must have been first. Only write-read edges and those of time count: circles with write-write edges are lawful in Kafka. Claimed where a producer has a transactional.id and somebody reads committed records."
    }

    fn needs(&self) -> &'static [Stream] {
        &[Stream::Operations]
    }

    fn check(&self, index: &Index<'_>) -> Verdict {
        if let Some(verdict) = undecided(index, self.code()) {
            return verdict;
        }
        if !index.reads_committed.contains(&true) {
            return Verdict::not_claimed(self.code(), "nobody reads with read_committed");
        }
        let mut verdict = Verdict::new(self.code());
        let dependencies = Dependencies::of(index);
        verdict.judged = dependencies.operations;
        for finding in dependencies.of_reads(index) {
            verdict.violate(|| finding);
        }
        verdict
    }
}
