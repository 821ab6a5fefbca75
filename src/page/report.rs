//! The HTML page and the charts of `--report`.

use history::History;
use history::judge::{Judgement, Outcome};
use reports::{Judged, ReportError};
use std::path::{Path, PathBuf};

/// Writes the report of one run.
///
/// # Errors
/// When a file cannot be written or a chart cannot be drawn.
pub(crate) fn write(
    history: &History,
    judgement: &Judgement,
    folder: &Path,
    stem: &str,
) -> Result<Vec<PathBuf>, ReportError> {
    let (outcome, reasons) = match &judgement.outcome {
        Outcome::AsExpected => ("as expected", Vec::new()),
        Outcome::NotAsExpected(reasons) => ("not as expected", texts(reasons)),
        Outcome::Unknown(reasons) => ("unknown", texts(reasons)),
    };
    let ledger: Vec<(String, u64)> = judgement
        .ledger
        .total
        .iter()
        .map(|(name, number)| (name.clone(), *number))
        .collect();
    let judged = Judged {
        verdicts: &judgement.verdicts,
        ledger: &ledger,
        outcome,
        reasons: &reasons,
    };
    reports::write(history, &judged, folder, stem)
}

fn texts(reasons: &[history::judge::Reason]) -> Vec<String> {
    reasons.iter().map(|reason| reason.text.clone()).collect()
}
