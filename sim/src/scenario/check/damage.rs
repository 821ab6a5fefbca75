//! Faults of disks that name a file or another disk.

use super::super::format::{Damage, Disk, Fault, FaultKind, FileKind};
use super::super::plan::{FaultAction, Restart};
use super::super::target::Target;
use super::faults::Reader;
use toml::Spanned;

impl Reader<'_, '_> {
    /// How a node comes back; an older disk must have been remembered.
    pub(super) fn restart(&mut self) -> Restart {
        let disk = self.fault.disk.as_ref();
        if let Some(disk) = disk.filter(|disk| *disk.get_ref() == Disk::Older) {
            let snapshot =
                |fault: &Spanned<Fault>| *fault.get_ref().kind.get_ref() == FaultKind::SnapshotDisk;
            if !self.checker.all_faults().any(snapshot) {
                self.checker.complain_with_help(
                    "scenario::no-snapshot",
                    disk.span(),
                    "no disk is remembered that could come back".to_owned(),
                    "a fault of kind `snapshot_disk` remembers what a disk holds".to_owned(),
                );
            }
        }
        Restart {
            after: self.fault.restart_after.map(|after| after.0),
            disk: disk.map_or(Disk::Same, |disk| *disk.get_ref()),
        }
    }

    pub(super) fn corrupt(&mut self) -> Option<FaultAction> {
        let target = self.target()?;
        let file = self.needed(self.fault.file.as_ref(), "file")?;
        let (kind, span) = (*file.get_ref(), file.span());
        let partition = match &self.fault.partition {
            Some(text) => Some(self.checker.partition(text.get_ref(), text.span())?),
            None => None,
        };
        if partition.is_some() != kind.is_of_a_partition() {
            let message = if partition.is_some() {
                format!("`{}` is no file of a partition", kind.word())
            } else {
                format!("which `{}`? it needs `partition`", kind.word())
            };
            self.checker
                .complain("scenario::fault-key", span.clone(), message);
        }
        if !has_such_files(&target, kind) {
            let message = format!("no file `{}` is on {target}", kind.word());
            let help =
                "`keeper_log` and `keeper_snapshot` are files of keepers, the others of brokers";
            self.checker
                .complain_with_help("scenario::fault-key", span, message, help.to_owned());
        }
        Some(FaultAction::Corrupt {
            target,
            directory: self.fault.directory.unwrap_or(0),
            partition,
            file: kind,
            damage: self.fault.damage.unwrap_or(Damage::FlipBit),
            bytes: self.fault.bytes,
        })
    }
}

/// Whether whoever is meant keeps files of this kind; whom a role or an earlier fault stands for is known only later.
fn has_such_files(target: &Target, file: FileKind) -> bool {
    let of_keepers = matches!(file, FileKind::KeeperLog | FileKind::KeeperSnapshot);
    match target {
        Target::Keeper(_) | Target::Keepers | Target::KeeperLeader | Target::KeeperFollowers => {
            of_keepers
        }
        Target::Broker(_)
        | Target::Brokers
        | Target::LeaderOf(_)
        | Target::FollowerOf(_)
        | Target::FollowersOf(_)
        | Target::ReplicasOf(_)
        | Target::Controller
        | Target::CoordinatorOf(_)
        | Target::TransactionCoordinatorOf(_) => !of_keepers,
        Target::Client(_) | Target::Clients => false,
        Target::VictimOf(_) => true,
        Target::Several(all) => all.iter().all(|each| has_such_files(each, file)),
    }
}
