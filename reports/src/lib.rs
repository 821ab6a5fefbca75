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
    let throughput = chart::throughput::draw(&model::traffic::Traffic::of(history, window), &faults)?;
    let replicas = chart::replicas::draw(&model::replica::Replicas::of(history, window), &faults)?;
    let charts = page::Charts { throughput: &throughput, replicas: &replicas };
    let html = page::page(history, judged, &faults, charts);
    Ok(Report { html, throughput, replicas })
}

/// Draws a history into `dir`, which is made if need be: `STEM.html`, `STEM-throughput.svg` and `STEM-replicas.svg`. A file
/// is either written whole or not touched.
///
/// # Errors
/// When a chart cannot be drawn, or the folder or a file cannot be written.
pub fn write(history: &History, judged: &Judged<'_>, dir: &Path, stem: &str) -> Result<Vec<PathBuf>, ReportError> {
    if stem.is_empty() || stem.starts_with('.') || stem.contains(['/', '\\']) {
        return Err(ReportError::Stem(stem.to_owned()));
    }
    let report = draw(history, judged)?;
    fs::create_dir_all(dir).map_err(|source| ReportError::Folder { path: dir.to_owned(), source })?;
    let files = [
        (format!("{stem}.html"), report.html),
        (format!("{stem}-throughput.svg"), report.throughput),
        (format!("{stem}-replicas.svg"), report.replicas),
    ];
    let mut written = Vec::new();
    for (name, text) in files {
        let path = dir.join(name);
        write_whole(&path, &text).map_err(|source| ReportError::File { path: path.clone(), source })?;
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
