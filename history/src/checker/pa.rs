//! PA, acknowledged by all in-sync replicas. The anomaly: with acks=all an acknowledged record is missing in the end, and
//! neither an unclean election, nor lost disks at `min.insync.replicas` machines, nor a machine declared gone for good
//! explains it.

use super::Checker;
use super::index::{Acks, Index};
use super::loss::Level;
use super::p1::judge_losses;
use crate::manifest::Stream;
use crate::verdict::Verdict;

/// PA.
pub(super) struct AllAcknowledged;

impl Checker for AllAcknowledged {
    fn code(&self) -> &'static str {
        "PA"
    }

    fn title(&self) -> &'static str {
        "acks=all: what is acknowledged stays"
    }

    fn definition(&self) -> &'static str {
        "A record acknowledged with acks=all is held by every later leader that is elected cleanly, as long as fewer than min.insync.replicas machines lose their disks. A loss by an unclean election, by that many disks, with machines declared gone for good, or with a topic that was deleted on purpose is excused and named; any other is a violation. Claimed for producers with acks=all."
    }

    fn needs(&self) -> &'static [Stream] {
        &[Stream::Operations, Stream::FinalRead]
    }

    fn check(&self, index: &Index<'_>) -> Verdict {
        if !index.any_producer(|facts| facts.acks == Acks::All) {
            return Verdict::not_claimed(self.code(), "no producer runs with acks=all");
        }
        let mut verdict = Verdict::new(self.code());
        judge_losses(index, &mut verdict, Acks::All, Level::InSync);
        verdict
    }
}
