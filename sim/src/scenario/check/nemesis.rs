//! The nemesis: its ranges must hold something, and whom it is to hit must be there.

use super::super::format::Fault;
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
        if let Some(within) = &nemesis.within {
            self.not_empty(within);
            self.within_at(within.get_ref()[1], within.span());
        }
        self.chance(nemesis);
        for fault in &nemesis.faults {
            self.declared(fault);
        }
        for name in &nemesis.late {
            self.starts_late(name);
        }
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
        let Nemesis {
            kinds,
            faults,
            late,
            ..
        } = nemesis;
        if kinds.is_empty() && faults.is_empty() && late.is_empty() {
            let message =
                "a nemesis needs at least one of its `kinds`, a `fault`, or who is `late`";
            self.complain("scenario::nemesis", nemesis.percent.span(), message);
        }
    }

    /// A fault of a nemesis has no moment and no end of its own, and heals.
    fn declared(&mut self, fault: &Spanned<Fault>) {
        let of = fault.get_ref();
        let exact = [
            ("at", of.at.is_some()),
            ("between", of.between.is_some()),
            ("when", of.when.is_some()),
            ("after", of.after.is_some()),
            ("until", of.until.is_some()),
            ("permanent", of.permanent),
        ];
        for (key, _) in exact.iter().filter(|(_, there)| *there) {
            let message = format!("`{key}` has no meaning for a fault of a nemesis");
            let help = "the seed draws when it strikes, and for how long where it has no `for`";
            self.complain_with_help(
                "scenario::fault-key",
                fault.span(),
                message,
                help.to_owned(),
            );
        }
        self.without_moment(fault);
    }

    /// Who starts late is a producer or all members of a consumer.
    fn starts_late(&mut self, name: &Spanned<String>) {
        let producers = self.file.producers.iter().map(|producer| &producer.name);
        let consumers = self.file.consumers.iter().map(|consumer| &consumer.name);
        let mut all = producers.chain(consumers);
        if !all.any(|known| known.get_ref() == name.get_ref()) {
            self.client_exists(name.get_ref(), &name.span());
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
