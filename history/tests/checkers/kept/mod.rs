//! Histories kept as files, and what judging them must give.

#![allow(clippy::unwrap_used, reason = "test code outside of test functions")]

use history::judge::{Judgement, judge};
use history::verdict::Answer;
use history::{History, jsonl};
use std::io::BufReader;
use std::path::PathBuf;

/// Where a history is kept.
pub(crate) fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("testdata")
        .join(format!("{name}.jsonl"))
}

/// Keeps the history as a file and judges what is read back from it.
pub(crate) fn judged(history: &History) -> Judgement {
    let mut bytes = Vec::new();
    jsonl::write(history, &mut bytes).unwrap();
    let path = path(&history.manifest.scenario);
    if std::env::var_os("KTRIAL_BLESS").is_some() {
        std::fs::write(&path, &bytes).unwrap();
    }
    let file = std::fs::read(&path).unwrap();
    assert!(
        file == bytes,
        "{} is not what its test builds: KTRIAL_BLESS=1 writes it anew",
        path.display()
    );
    let read = jsonl::read(BufReader::new(file.as_slice())).unwrap();
    assert_eq!(read, *history);
    judge(&read)
}

/// The guarantee is violated, first by that anomaly, and the story is told in the order of time.
pub(crate) fn convicts(history: &History, code: &str, anomaly: &str) {
    let judgement = judged(history);
    let verdict = judgement.verdict(code).unwrap();
    assert_eq!(verdict.answer, Answer::Violated, "{code}: {verdict:#?}");
    let finding = &verdict.findings[0];
    assert_eq!(finding.anomaly, anomaly, "{finding:#?}");
    assert!(!finding.story.is_empty(), "no story: {finding:#?}");
    let times: Vec<u64> = finding.story.iter().map(|moment| moment.at).collect();
    assert!(times.is_sorted(), "{:#?}", finding.story);
}

/// The guarantee holds, something was judged, and so much was excused with a cause.
pub(crate) fn acquits(history: &History, code: &str, excused: u64) {
    let judgement = judged(history);
    let verdict = judgement.verdict(code).unwrap();
    assert_eq!(verdict.answer, Answer::Holds, "{code}: {verdict:#?}");
    assert!(verdict.judged > 0, "{code} judged nothing");
    assert_eq!(verdict.excused_total, excused, "{code}: {verdict:#?}");
    assert!(
        verdict
            .excused
            .iter()
            .all(|finding| finding.cause.is_some())
    );
}
