//! What the current step has done to the disk, when each operation finished, and how to take it back.

use super::super::clock::At;
use super::names::{Names, below, remove_below, rename_below};
use super::{File, Journaled, Older, SimDisk};
use protocol::disk::FileId;
use std::sync::Arc;

/// One operation of the current step.
#[derive(Clone, Debug)]
pub(super) struct Undo {
    pub(super) finish: At,
    pub(super) change: Change,
}

/// How to take an operation back.
#[derive(Clone, Debug)]
pub(super) enum Change {
    /// Bytes were appended to a file of this length.
    Appended { file: FileId, before: u64 },
    /// The file was truncated or replaced.
    Content {
        file: FileId,
        before: Box<File>,
        replaced: bool,
    },
    /// A name was made, changed or removed, or a file cut; the directory's journal had this length.
    Names {
        before: Arc<Names>,
        directory: u16,
        length: u64,
    },
    /// The directory's journal was committed.
    Committed {
        directory: u16,
        durable_names: Arc<Names>,
        journal: Vec<Journaled>,
        committed: u64,
        /// What a loss of power would have brought back of the files that had been cut.
        older: Vec<(FileId, Option<Older>)>,
    },
}

impl Journaled {
    /// The file that was cut.
    fn cut_file(&self) -> Option<FileId> {
        match self {
            Self::Cut(file, _) => Some(*file),
            Self::Create(..) | Self::Rename(..) | Self::Remove(_) => None,
        }
    }
}

impl SimDisk {
    /// The process dies at `at`: takes back what the unfinished step had not finished. Returns how many operations.
    pub(in crate::world) fn rollback(&mut self, at: At) -> u64 {
        let mut undone = 0;
        while self.undo.last().is_some_and(|undo| undo.finish > at) {
            if let Some(undo) = self.undo.pop() {
                self.take_back(undo.change);
                undone += 1;
            }
        }
        self.undo.clear();
        undone
    }

    fn take_back(&mut self, change: Change) {
        match change {
            Change::Appended { file, before } => {
                let directory = self.file(file).directory;
                let len = self.file(file).content.len();
                self.file_mut(file).content.truncate(before);
                self.shrink(directory, len - before);
            }
            Change::Content {
                file,
                before,
                replaced,
            } => {
                let directory = before.directory;
                let old = self.file(file).content.len();
                let flushed = self.file(file).durable;
                self.shrink(directory, old);
                self.directory_mut(directory).used += before.content.len();
                let state = self.file_mut(file);
                *state = *before;
                if !replaced {
                    // A flush may have finished since; what it made durable is below the cut and the same bytes.
                    state.durable = state.durable.max(flushed);
                }
            }
            Change::Names {
                before,
                directory,
                length,
            } => {
                let restored: Vec<FileId> = before
                    .values()
                    .filter(|id| !self.names.values().any(|present| present == *id))
                    .copied()
                    .collect();
                self.names = before;
                for id in restored {
                    let bytes = self.file(id).content.len();
                    self.directory_mut(directory).used += bytes;
                }
                let state = self.directory_mut(directory);
                let keep = length.saturating_sub(state.committed);
                state
                    .journal
                    .truncate(usize::try_from(keep).unwrap_or(usize::MAX));
            }
            Change::Committed {
                directory,
                durable_names,
                journal,
                committed,
                older,
            } => {
                for (file, older) in older {
                    self.file_mut(file).older = older;
                }
                self.durable_names = durable_names;
                let state = self.directory_mut(directory);
                state.journal = journal;
                state.committed = committed;
            }
        }
    }

    pub(super) fn note_commit(&mut self, directory: u16) {
        let state = self.directory(directory);
        let cut = state.journal.iter().filter_map(Journaled::cut_file);
        let change = Change::Committed {
            directory,
            durable_names: Arc::clone(&self.durable_names),
            journal: state.journal.clone(),
            committed: state.committed,
            older: cut.map(|id| (id, self.file(id).older.clone())).collect(),
        };
        self.note(change);
    }

    /// The names of a directory, and the lengths of its files, are durable up to this length of its journal.
    pub(super) fn commit(&mut self, directory: u16, up_to: u64) {
        let state = self.directory_mut(directory);
        let count = usize::try_from(up_to.saturating_sub(state.committed)).unwrap_or(usize::MAX);
        let count = count.min(state.journal.len());
        if count == 0 {
            return;
        }
        state.committed += u64::try_from(count).unwrap_or(u64::MAX);
        let changes: Vec<Journaled> = state.journal.drain(..count).collect();
        let mut gone = Vec::new();
        let mut cuts = Vec::new();
        let names = Arc::make_mut(&mut self.durable_names);
        for change in changes {
            match change {
                Journaled::Create(path, id) => {
                    names.insert(path, id);
                }
                Journaled::Rename(from, to) => {
                    if from != to {
                        gone.extend(names.get(&to).copied());
                    }
                    rename_below(names, &from, &to);
                }
                Journaled::Remove(path) => gone.extend(remove_below(names, &path)),
                Journaled::Cut(file, len) => cuts.push((file, len)),
            }
        }
        self.doomed.extend(gone);
        for (file, len) in cuts {
            self.commit_cut(directory, file, len);
        }
    }

    /// What was cut off is gone for good; what a later cut took off may still come back.
    fn commit_cut(&mut self, directory: u16, file: FileId, len: u64) {
        let mut pending = self.directory(directory).journal.iter();
        let again = pending.any(|change| change.cut_file() == Some(file));
        let state = self.file_mut(file);
        match &mut state.older {
            Some(older) if older.whole => {}
            Some(older) if again => older.content.truncate(len),
            Some(_) | None => state.older = None,
        }
    }

    /// How long the file was at `at`, no longer than it has been at any time since: what a flush asked for then covers.
    pub(super) fn covered_length(&self, file: FileId, at: At) -> u64 {
        let mut length = self.file(file).content.len();
        for undo in self.undo.iter().rev().take_while(|undo| undo.finish > at) {
            match &undo.change {
                Change::Appended {
                    file: other,
                    before,
                } if *other == file => {
                    length = length.min(*before);
                }
                Change::Content {
                    file: other,
                    before,
                    ..
                } if *other == file => length = length.min(before.content.len()),
                Change::Appended { .. }
                | Change::Content { .. }
                | Change::Names { .. }
                | Change::Committed { .. } => {}
            }
        }
        length
    }

    /// How long the directory's journal was at `at`.
    pub(super) fn covered_journal(&self, directory: u16, at: At) -> u64 {
        let mut length = self.directory(directory).journaled();
        for undo in self.undo.iter().rev().take_while(|undo| undo.finish > at) {
            match &undo.change {
                Change::Names {
                    directory: other,
                    length: before,
                    ..
                } if *other == directory => length = length.min(*before),
                Change::Names { .. }
                | Change::Appended { .. }
                | Change::Content { .. }
                | Change::Committed { .. } => {}
            }
        }
        length
    }

    /// The paths below a directory with the length of each file: what a test or a report looks at.
    pub fn files(&self, directory: &str) -> Vec<(String, u64)> {
        below(&self.names, directory)
            .map(|(path, id)| (path.to_owned(), self.file(id).content.len()))
            .collect()
    }
}
