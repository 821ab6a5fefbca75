//! What a loss of power leaves, and deliberate corruption.

use super::{File, Flushing, SimDisk, size};
use crate::random::Draws;
use bytes::Bytes;
use protocol::disk::FileId;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// What a loss of power cost: the witness that it did something.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct PowerLoss {
    /// Bytes that were in the page cache and are gone.
    pub bytes_lost: u64,
    /// Bytes kept in place but turned into garbage.
    pub bytes_torn: u64,
    /// Files whose older content is back.
    pub files_reverted: u64,
    /// Creations, renames, removals and truncations that did not happen after all.
    pub names_undone: u64,
}

/// What becomes of bytes that were in the page cache only.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unflushed {
    /// Each file keeps as much of them as is drawn.
    #[default]
    Drawn,
    /// All are lost, changes of names too.
    Lost,
    /// All had reached the device in time.
    Kept,
    /// All had reached the device, but the last write of each file was under way: its end is garbage.
    Torn,
}

/// How to damage a file: what happens to how many of its last bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Corruption {
    /// What happens.
    pub damage: Damage,
    /// To so many bytes at the end of the file; to all when there are fewer.
    pub last: u64,
}

/// What happens to bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Damage {
    /// One bit of the first of them flips.
    FlipBit,
    /// They read as zeros.
    Zeros,
    /// They are missing.
    Cut,
    /// The whole file is missing.
    Remove,
}

/// How many bytes a torn write damages at most.
const SECTOR: u64 = 512;

impl SimDisk {
    /// Power is lost: what was not durable is lost in part, as drawn per file.
    pub(in crate::world) fn lose_power(
        &mut self,
        unflushed: Unflushed,
        draws: impl Fn(u64) -> Draws,
    ) -> PowerLoss {
        let mut loss = PowerLoss::default();
        self.undo.clear();
        self.flushing.clear();
        for index in 0..self.directories.len() {
            let directory = u16::try_from(index).unwrap_or(u16::MAX);
            let mut draws = draws(u64::MAX - u64::from(directory));
            let state = self.directory_mut(directory);
            state.forget_queue();
            let pending = size(state.journal.len());
            let kept = match unflushed {
                Unflushed::Drawn => portion(&mut draws, 0, pending),
                Unflushed::Lost => 0,
                Unflushed::Kept | Unflushed::Torn => pending,
            };
            loss.names_undone += pending - kept;
            let up_to = state.committed + kept;
            self.commit(directory, up_to);
            let state = self.directory_mut(directory);
            state.journal.clear();
            state.used = 0;
        }
        self.names = Arc::clone(&self.durable_names);
        let mut named = vec![false; self.files.len()];
        for id in self.names.values() {
            named[usize::try_from(id.0).unwrap_or(usize::MAX)] = true;
        }
        for (index, named) in named.into_iter().enumerate() {
            let file = &mut self.files[index];
            if named {
                lose_from(file, unflushed, &mut draws(size(index)), &mut loss);
            } else {
                loss.bytes_lost += file.content.len();
                file.content = super::Content::default();
                file.older = None;
            }
            file.durable = file.content.len();
            let (directory, bytes) = (file.directory, file.content.len());
            self.directory_mut(directory).used += bytes;
        }
        loss
    }

    /// Damages a file below the cache and in it. One `*` in the path stands for any text without a slash; of several files
    /// that match, the last by name that is not empty is damaged. Gives the number of bytes that changed, `None` when there
    /// is no such file.
    pub(in crate::world) fn corrupt(&mut self, path: &str, corruption: Corruption) -> Option<u64> {
        let (name, id) = self.last_match(super::from_root(path))?;
        let len = self.file(id).content.len();
        let last = corruption.last.min(len);
        let position = len - last;
        let file = self.file_mut(id);
        let changed = match corruption.damage {
            Damage::FlipBit => {
                let byte = file.content.read(position, 1);
                let flipped: Vec<u8> = byte.iter().map(|byte| byte ^ 1).collect();
                file.content.overwrite(position, &flipped);
                size(flipped.len())
            }
            Damage::Zeros => {
                let zeros = vec![0; usize::try_from(last).unwrap_or(0)];
                file.content.overwrite(position, &zeros);
                last
            }
            Damage::Cut => {
                file.content.truncate(position);
                last
            }
            Damage::Remove => {
                file.content.truncate(0);
                Arc::make_mut(&mut self.names).remove(&name);
                Arc::make_mut(&mut self.durable_names).remove(&name);
                len
            }
        };
        let file = self.file_mut(id);
        file.durable = file.durable.min(file.content.len());
        file.older = None;
        let directory = file.directory;
        let now = file.content.len();
        self.shrink(directory, len - now);
        Some(changed)
    }

    fn last_match(&self, path: &str) -> Option<(Arc<str>, FileId)> {
        let (before, after) = path.split_once('*').unwrap_or((path, ""));
        let fits = |name: &str| {
            let rest = name
                .strip_prefix(before)
                .and_then(|rest| rest.strip_suffix(after));
            rest.is_some_and(|rest| !rest.contains('/') && (path.contains('*') || rest.is_empty()))
        };
        let mut matching = self.names.iter().filter(|(name, _)| fits(name)).rev();
        let newest = matching.clone().next();
        let filled = matching.find(|(_, id)| self.file(**id).content.len() > 0);
        filled.or(newest).map(|(name, id)| (Arc::clone(name), *id))
    }

    /// How many bytes the files hold in all.
    pub(in crate::world) fn bytes(&self) -> u64 {
        let lengths = self.names.values().map(|id| self.file(*id).content.len());
        lengths.sum()
    }

    /// What a file holds in the page cache, for whoever looks from outside.
    pub fn cached(&self, path: &str) -> Option<Bytes> {
        let id = self.names.get(super::from_root(path))?;
        Some(self.file(*id).content.read(0, u64::MAX))
    }

    /// How much of a file is durable; `None` when its name is not.
    pub fn durable_len(&self, path: &str) -> Option<u64> {
        let id: &FileId = self.durable_names.get(super::from_root(path))?;
        Some(self.file(*id).durable)
    }

    /// Flushes that the device has not finished.
    pub fn pending_flushes(&self) -> usize {
        let pending: &[Flushing] = &self.flushing;
        pending.len()
    }
}

/// A part of `low..=high`: all or nothing a quarter of the time each, else anything between.
fn portion(draws: &mut Draws, low: u64, high: u64) -> u64 {
    match draws.below(4) {
        0 => low,
        1 => high,
        _ => draws.between(low, high),
    }
}

fn lose_from(file: &mut File, unflushed: Unflushed, draws: &mut Draws, loss: &mut PowerLoss) {
    let len = file.content.len();
    // A cut that is still not committed is undone; of a replacement the device decides.
    let reverts = |whole: bool| match unflushed {
        Unflushed::Drawn | Unflushed::Lost => true,
        Unflushed::Kept | Unflushed::Torn => !whole,
    };
    if let Some(older) = file.older.take()
        && reverts(older.whole)
    {
        loss.files_reverted += 1;
        loss.bytes_lost += len.saturating_sub(file.durable);
        file.content = older.content;
        return;
    }
    let kept = match unflushed {
        Unflushed::Drawn => portion(draws, file.durable, len),
        Unflushed::Lost => file.durable,
        Unflushed::Kept | Unflushed::Torn => len,
    };
    if kept < len {
        loss.bytes_lost += len - kept;
        file.content.truncate(kept);
    }
    let tears = match unflushed {
        Unflushed::Drawn => kept > file.durable && draws.below(4) == 0,
        Unflushed::Torn => kept > file.durable,
        Unflushed::Lost | Unflushed::Kept => false,
    };
    if tears {
        let torn = draws.between(1, SECTOR.min(kept - file.durable));
        let garbage: Vec<u8> = (0..torn).map(|_| draws.next().to_le_bytes()[0]).collect();
        file.content.overwrite(kept - torn, &garbage);
        loss.bytes_torn += torn;
    }
}
