//! Draws a recorded history: one page of HTML that needs nothing else, and two charts as SVG.
//!
//! Stands for no class of Kafka's: what Kafka's own tools show is a number now (`kafka-topics --describe`, the JMX metrics
//! of `ReplicaManager` and `Log`), what is drawn here is how these numbers came about. Everything is computed from the
//! [`History`] and from a judgement handed in as data ([`Judged`]); no cluster, no simulator and no clock are asked, so that
//! a history recorded elsewhere is drawn alike, and the same history gives the same bytes.
//!
//! Left out: scripts and fonts from elsewhere, so that a page can be mailed, archived and printed.

mod chart;
pub mod model;
mod number;
mod page;
pub mod timeline;

use history::History;
use history::verdict::Verdict;
use model::replica::Replicas;
use model::traffic::Traffic;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// A judgement as plain data.
#[derive(Clone, Copy, Debug)]
pub struct Judged<'a> {
    /// One per guarantee, in the order to be shown.
    pub verdicts: &'a [Verdict],
    /// The entries of the ledger with their numbers, in the order to be shown.
    pub ledger: &'a [(String, u64)],
    /// `as expected`, `not as expected` or `unknown`.
    pub outcome: &'a str,
    /// Why not, one sentence each.
    pub reasons: &'a [String],
}

/// Why a report could not be written.
#[derive(Debug, Error)]
pub enum ReportError {
    /// The folder could not be made.
    #[error("cannot make the folder {}: {source}", path.display())]
    Folder {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file could not be written.
    #[error("cannot write {}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A chart could not be drawn: a bug here, not of the history.
    #[error("cannot draw the {chart} chart: {message}")]
    Drawing {
        /// Which.
        chart: &'static str,
        /// What the drawing library says.
        message: String,
    },
    /// The name would lead out of the folder.
    #[error("`{0}` is no name for the files of a report")]
    Stem(String),
}

/// Everything that a report consists of, as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The page, with both charts in it.
    pub html: String,
    /// Throughput and acknowledgement latency.
    pub throughput: String,
    /// Log ends, high watermarks, leaders and ISR.
    pub replicas: String,
}

/// Draws a history.
///
/// # Errors
/// When the drawing library fails.
pub fn draw(history: &History, judged: &Judged<'_>) -> Result<Report, ReportError> {
    let window = model::Window::of(history);
    let faults = model::fault::bands(history, window);
    let states = Replicas::of(history, window);
    let throughput = chart::throughput::draw(&Traffic::of(history, window), &faults)?;
    let replicas = chart::replicas::draw(&states, &faults)?;
    let close_up = match window.close_up(&faults, &states) {
        Some(near) => {
            let faults = model::fault::within(&faults, near);
            Some(chart::replicas::draw(
                &Replicas::of(history, near),
                &faults,
            )?)
        }
        None => None,
    };
    let charts = page::Charts {
        throughput: &throughput,
        replicas: &replicas,
        close_up: close_up.as_deref(),
    };
    let html = page::page(history, judged, &faults, charts);
    Ok(Report {
        html,
        throughput,
        replicas,
    })
}

/// Draws a history into `dir`, which is made if need be: `STEM.html`, `STEM-throughput.svg` and `STEM-replicas.svg`. A file
/// is either written whole or not touched.
///
/// # Errors
/// When a chart cannot be drawn, or the folder or a file cannot be written.
pub fn write(
    history: &History,
    judged: &Judged<'_>,
    dir: &Path,
    stem: &str,
) -> Result<Vec<PathBuf>, ReportError> {
    if stem.is_empty() || stem.starts_with('.') || stem.contains(['/', '\\']) {
        return Err(ReportError::Stem(stem.to_owned()));
    }
    let report = draw(history, judged)?;
    fs::create_dir_all(dir).map_err(|source| ReportError::Folder {
        path: dir.to_owned(),
        source,
    })?;
    let files = [
        (format!("{stem}.html"), report.html),
        (format!("{stem}-throughput.svg"), report.throughput),
        (format!("{stem}-replicas.svg"), report.replicas),
    ];
    let mut written = Vec::new();
    for (name, text) in files {
        let path = dir.join(name);
        write_whole(&path, &text).map_err(|source| ReportError::File {
            path: path.clone(),
            source,
        })?;
        written.push(path);
    }
    Ok(written)
}

/// Writes beside the target and renames, so that a reader (or a full disk) never sees half a page.
fn write_whole(path: &Path, text: &str) -> io::Result<()> {
    let mut name = OsString::from(path.file_name().unwrap_or_default());
    name.push(format!(".{}.part", std::process::id()));
    let part = path.with_file_name(name);
    let result = fs::write(&part, text).and_then(|()| fs::rename(&part, path));
    if result.is_err() {
        // The first error is the one to tell; the leftover may not even exist.
        let _ = fs::remove_file(&part);
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use history::verdict::{Finding, Moment};
    use model::tests::lossy;

    fn verdict() -> Verdict {
        let mut verdict = Verdict::new("P1");
        verdict.violate(|| {
            let moment = Moment {
                at: 2_000_000_000,
                step: 1,
                node: "b1".to_owned(),
                text: "broker 1 dies".to_owned(),
            };
            Finding::new(
                "acknowledged-lost",
                "0:16 is <gone>",
                "0:16 in the final read",
                "nothing",
            )
            .told(vec![moment])
        });
        verdict
    }

    fn ledger() -> Vec<(String, u64)> {
        [("sent", 20), ("acknowledged", 20), ("lost", 4)]
            .map(|(name, number)| (name.to_owned(), number))
            .to_vec()
    }

    fn drawn(outcome: &str, reasons: &[String]) -> Report {
        let (verdicts, ledger) = ([verdict()], ledger());
        let judged = Judged {
            verdicts: &verdicts,
            ledger: &ledger,
            outcome,
            reasons,
        };
        draw(&lossy(), &judged).unwrap()
    }

    #[test]
    fn the_same_history_gives_the_same_bytes() {
        assert_eq!(drawn("as expected", &[]), drawn("as expected", &[]));
    }

    #[test]
    fn the_page_needs_nothing_else() {
        let html = drawn("as expected", &[]).html;
        assert_eq!(
            html.matches("<svg ").count(),
            3,
            "two charts and a closer look"
        );
        for outside in ["<script", "<link", "<img", "@import", "url(", " src="] {
            assert!(!html.contains(outside), "{outside}");
        }
    }

    #[test]
    fn the_page_tells_question_verdict_witness_numbers_lesson_and_command() {
        let reasons = ["4 records are lost & gone".to_owned()];
        let html = drawn("not as expected", &reasons).html;
        for text in [
            "Is a record &lt;safe&gt; after acks=1?",
            "Not as expected",
            "4 records are lost &amp; gone",
            "0:16 is &lt;gone&gt;",
            "broker 1 dies",
            "<b>4</b><span>acknowledged and lost</span>",
            "<strong>one</strong> replica",
            "ktrial run scenarios/by-hand.toml --seed 7",
        ] {
            assert!(html.contains(text), "{text}");
        }
    }

    #[test]
    fn the_charts_say_who_leads_and_which_fault_was_at_work() {
        let report = drawn("as expected", &[]);
        for text in [
            "broker 1, epoch 0",
            "broker 2, epoch 1",
            "broker 1 cut: 20 → 16",
            "kill b1",
            "down",
        ] {
            assert!(report.replicas.contains(text), "{text}");
        }
        for text in ["kill b1", "acknowledged", "records/s", "simulated time (s)"] {
            assert!(report.throughput.contains(text), "{text}");
        }
    }

    #[test]
    fn a_history_without_any_event_is_drawn_too() {
        let mut history = lossy();
        history.events.clear();
        let judged = Judged {
            verdicts: &[],
            ledger: &[],
            outcome: "unknown",
            reasons: &[],
        };
        let report = draw(&history, &judged).unwrap();
        assert!(
            report
                .replicas
                .contains("the history says nothing about replicas")
        );
        assert!(
            report
                .throughput
                .contains("no record of this time was acknowledged")
        );
    }

    #[test]
    fn three_whole_files_are_written_and_nothing_else() {
        let dir = std::env::temp_dir().join(format!("ktrial-reports-{}", std::process::id()));
        let judged = Judged {
            verdicts: &[],
            ledger: &[],
            outcome: "as expected",
            reasons: &[],
        };
        let files = write(&lossy(), &judged, &dir, "by-hand").unwrap();
        let mut found: Vec<PathBuf> = fs::read_dir(&dir)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        found.sort();
        let mut expected = files.clone();
        expected.sort();
        let page = fs::read_to_string(&files[0]).unwrap();
        fs::remove_dir_all(&dir).unwrap();
        assert_eq!(found, expected);
        assert!(page.ends_with("</html>\n"));
    }

    #[test]
    fn a_name_that_leads_out_of_the_folder_is_refused() {
        let judged = Judged {
            verdicts: &[],
            ledger: &[],
            outcome: "as expected",
            reasons: &[],
        };
        let refused = write(&lossy(), &judged, Path::new("."), "../x");
        assert!(matches!(refused, Err(ReportError::Stem(_))));
    }
}
