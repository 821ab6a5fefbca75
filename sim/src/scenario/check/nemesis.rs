//! The nemesis: its ranges must hold something, and whom it is to hit must be there.

use super::super::message::kind_of;
use super::super::nemesis::{Nemesis, NemesisKind};
use super::Checker;
use std::fmt::Display;
use toml::Spanned;

impl Checker<'_> {
    pub(super) fn nemesis(&mut self) {
        let Some(nemesis) = &self.file.nemesis else {
            return;
        };
        for (kind, rates) in &nemesis.kinds {
            self.not_empty(rates);
            self.somebody_to_hit(*kind, rates);
        }
        self.not_empty(&nemesis.lasting);
        self.chance(nemesis);
        for target in &nemesis.targets {
            self.target(target);
        }
        for message in &nemesis.messages {
            if let Err(complaint) = kind_of(message.get_ref()) {
                self.complain("scenario::unknown-message", message.span(), complaint);
            }
        }
    }

    fn chance(&mut self, nemesis: &Nemesis) {
        if !(1..=100).contains(nemesis.percent.get_ref()) {
            let message = "`percent` is from 1 to 100: of a hundred seeds, how many draw a kind";
            self.complain("scenario::out-of-range", nemesis.percent.span(), message);
        }
        if nemesis.kinds.is_empty() {
            let message = "a nemesis needs at least one of its `kinds`";
            self.complain("scenario::nemesis", nemesis.percent.span(), message);
        }
    }

    fn not_empty<T: PartialOrd + Display>(&mut self, range: &Spanned<[T; 2]>) {
        let [first, last] = range.get_ref();
        if first > last {
            let message = format!("the range begins at {first} and ends at {last}");
            self.complain("scenario::empty-range", range.span(), message);
        }
    }

    fn somebody_to_hit(&mut self, kind: NemesisKind, rates: &Spanned<[u32; 2]>) {
        let file = self.file;
        let missing = match kind {
            NemesisKind::ClientCrash | NemesisKind::ClientStop | NemesisKind::ClientPause => {
                (file.producers.is_empty() && file.consumers.is_empty()).then_some("client")
            }
            NemesisKind::ElectPreferred
            | NemesisKind::ElectUnclean
            | NemesisKind::Reassign
            | NemesisKind::AddPartitions
            | NemesisKind::DeleteRecords => file.topics.is_empty().then_some("topic"),
            NemesisKind::Kill
            | NemesisKind::PowerFailure
            | NemesisKind::Restart
            | NemesisKind::Stop
            | NemesisKind::Pause
            | NemesisKind::Partition
            | NemesisKind::OneWayPartition
            | NemesisKind::Delay
            | NemesisKind::Loss
            | NemesisKind::Drop
            | NemesisKind::Hold
            | NemesisKind::LaneDelay
            | NemesisKind::ExpireSession
            | NemesisKind::ClockJump
            | NemesisKind::ClockDrift
            | NemesisKind::SlowDisk
            | NemesisKind::StuckDisk
            | NemesisKind::FullDisk
            | NemesisKind::BrokenDisk
            | NemesisKind::ReplacedDisk => None,
        };
        if let Some(missing) = missing {
            let message = format!("`{}` needs a {missing}, and there is none", kind.word());
            self.complain("scenario::nemesis", rates.span(), message);
        }
    }
}
