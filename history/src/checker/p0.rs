//! P0, fire and forget. The anomaly: with acks=0 and retries=0, a record is in the log twice.

use super::Checker;
use super::dup::copies;
use super::index::{Acks, Index};
use crate::manifest::Stream;
use crate::verdict::Verdict;

/// P0.
pub(super) struct FireAndForget;

impl Checker for FireAndForget {
    fn code(&self) -> &'static str {
        "P0"
    }

    fn title(&self) -> &'static str {
        "Fire and forget sends at most once"
    }

    fn definition(&self) -> &'static str {
        "A producer with acks=0 and retries=0 sends each record once, so the log holds it at most once; that it may be lost is counted, not judged. Claimed for such producers only."
    }

    fn needs(&self) -> &'static [Stream] {
        &[Stream::Operations, Stream::FinalRead]
    }

    fn check(&self, index: &Index<'_>) -> Verdict {
        if !index.any_producer(|facts| facts.acks == Acks::Zero && facts.retries == 0) {
            return Verdict::not_claimed(self.code(), "no producer runs with acks=0 and retries=0");
        }
        let mut verdict = Verdict::new(self.code());
        copies(index, &mut verdict, |facts| {
            facts.acks == Acks::Zero && facts.retries == 0
        });
        verdict
    }
}
