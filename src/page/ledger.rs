//! What was sent, acknowledged, read, lost: numbers, and only those that tell something.

use super::line;
use crate::style::{BAD, FAINT, paint};
use history::judge::Judgement;
use history::ledger::LEDGER_KEYS;

/// Shown even when they are zero: their absence is the message.
const ALWAYS: [&str; 6] = [
    "sent",
    "acknowledged",
    "in_log",
    "lost",
    "duplicated",
    "reordered",
];
/// Harm: red when above zero.
pub(super) const HARM: [&str; 6] = [
    "lost",
    "lost_unacknowledged",
    "duplicated",
    "reordered",
    "processed_twice",
    "never_processed",
];

/// A key as a reader would say it; an error keeps its name.
pub(super) fn in_words(key: &str) -> String {
    let (what, error) = key.split_once('.').unwrap_or((key, ""));
    let what = what.replace('_', " ");
    format!("{what} {error}").trim_end().to_owned()
}

/// The ledger in columns.
pub(super) fn print(out: &mut String, judgement: &Judgement) {
    let mut row = String::new();
    let mut cells = 0;
    let order = |name: &str| {
        LEDGER_KEYS
            .iter()
            .position(|(key, _)| *key == name || (key.ends_with('.') && name.starts_with(key)))
    };
    let mut entries: Vec<(&String, u64)> = judgement
        .ledger
        .total
        .iter()
        .map(|(name, number)| (name, *number))
        .collect();
    entries.sort_by_key(|(name, _)| order(name));
    for (name, number) in entries {
        if number == 0 && !ALWAYS.contains(&name.as_str()) {
            continue;
        }
        let plain = format!("{number:>8} {}", in_words(name));
        let width = 32_usize.saturating_sub(plain.chars().count());
        let harmful = number > 0 && HARM.contains(&name.as_str());
        let cell = if harmful {
            paint(BAD, &plain)
        } else if number == 0 {
            paint(FAINT, &plain)
        } else {
            plain
        };
        row.push_str(&cell);
        row.push_str(&" ".repeat(width));
        cells += 1;
        if cells % 3 == 0 {
            line(out, row.trim_end());
            row.clear();
        }
    }
    if !row.is_empty() {
        line(out, row.trim_end());
    }
}
