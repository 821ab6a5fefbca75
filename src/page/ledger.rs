//! What was sent, acknowledged, read, lost: numbers, and only those that tell something.

use super::line;
use crate::style::{BAD, FAINT, paint};
use history::judge::Judgement;

/// Shown even when they are zero: their absence is the message.
const ALWAYS: [&str; 6] = ["sent", "acknowledged", "in_log", "lost", "duplicated", "reordered"];
/// Harm: red when above zero.
const HARM: [&str; 6] = ["lost", "lost_unacknowledged", "duplicated", "reordered", "processed_twice", "never_processed"];

/// The ledger in columns.
pub fn print(out: &mut String, judgement: &Judgement) {
    let mut row = String::new();
    let mut cells = 0;
    for (name, number) in judgement.ledger.entries() {
        if number == 0 && !ALWAYS.contains(&name.as_str()) {
            continue;
        }
        let words = name.replace('_', " ");
        let plain = format!("{number:>8} {words}");
        let width = 32_usize.saturating_sub(plain.chars().count());
        let harmful = number > 0 && HARM.contains(&name.as_str());
        let cell = if harmful { paint(BAD, &plain) } else if number == 0 { paint(FAINT, &plain) } else { plain };
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
