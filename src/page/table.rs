//! Several runs in one table: each scenario with its sides, and what was found in each.

use super::ledger::{HARM, in_words};
use super::line;
use crate::style::{BAD, FAINT, GOOD, HEADING, NAME, UNKNOWN, pad, paint};
use history::judge::{Judgement, Outcome};
use history::manifest::Manifest;

/// One run.
pub(crate) struct Row {
    scenario: String,
    title: String,
    side: String,
    /// `None` when a core panicked.
    outcome: Option<Outcome>,
    found: String,
}

impl Row {
    /// A run that was judged.
    pub(crate) fn judged(manifest: &Manifest, judgement: &Judgement) -> Self {
        Self {
            outcome: Some(judgement.outcome.clone()),
            found: found(judgement),
            ..Self::panicked(
                &manifest.path,
                &manifest.title,
                manifest.variant.as_deref().unwrap_or(""),
            )
        }
    }

    /// A run that a panic ended.
    pub(crate) fn panicked(scenario: &str, title: &str, side: &str) -> Self {
        Self {
            scenario: scenario.to_owned(),
            title: title.to_owned(),
            side: side.to_owned(),
            outcome: None,
            found: "a core panicked".to_owned(),
        }
    }

    fn word(&self) -> (anstyle::Style, &'static str) {
        match &self.outcome {
            Some(Outcome::AsExpected) => (GOOD, "as expected"),
            Some(Outcome::NotAsExpected(_)) => (BAD, "NOT as expected"),
            Some(Outcome::Unknown(_)) => (UNKNOWN, "unknown"),
            None => (BAD, "PANIC"),
        }
    }
}

/// What a run showed: the guarantees it violated, and the harm done.
fn found(judgement: &Judgement) -> String {
    let violated = judgement
        .verdicts
        .iter()
        .filter(|verdict| verdict.is_violated())
        .map(|verdict| verdict.guarantee.clone());
    let harm = HARM.iter().filter_map(|key| {
        let number = judgement.ledger.get(key)?;
        (number > 0).then(|| format!("{number} {}", in_words(key)))
    });
    let violated: Vec<String> = violated.collect();
    let harm: Vec<String> = harm.collect();
    match (violated.is_empty(), harm.is_empty()) {
        (true, true) => "nothing broke".to_owned(),
        (true, false) => harm.join(", "),
        (false, true) => format!("violates {}", violated.join(", ")),
        (false, false) => format!("violates {}; {}", violated.join(", "), harm.join(", ")),
    }
}

/// The table, scenario by scenario, and a last line with the sum.
pub(crate) fn table(rows: &[Row]) -> String {
    let mut out = String::new();
    let side = rows.iter().map(|row| row.side.chars().count()).max();
    let side = side.unwrap_or(0);
    let mut before = None;
    for row in rows {
        if before != Some(&row.scenario) {
            let title = paint(HEADING, &row.title);
            line(
                &mut out,
                &format!("{}  {title}", paint(FAINT, &row.scenario)),
            );
            before = Some(&row.scenario);
        }
        let (style, word) = row.word();
        let text = format!(
            "  {} {}  {}",
            pad(style, word, 16),
            pad(NAME, &row.side, side),
            row.found
        );
        line(&mut out, text.trim_end());
    }
    out.push('\n');
    line(&mut out, &sum(rows));
    out
}

fn sum(rows: &[Row]) -> String {
    let as_expected = rows
        .iter()
        .filter(|row| row.outcome == Some(Outcome::AsExpected))
        .count();
    let style = if as_expected == rows.len() { GOOD } else { BAD };
    let mut scenarios: Vec<&str> = rows.iter().map(|row| &*row.scenario).collect();
    scenarios.dedup();
    let of = match scenarios.len() {
        1 => "1 scenario".to_owned(),
        several => format!("{several} scenarios"),
    };
    let text = format!("{as_expected} of {} runs of {of} as expected", rows.len());
    paint(style, text)
}
