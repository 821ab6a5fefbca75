//! The command line as types.

use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;

/// Kafka's delivery guarantees, on trial: a whole ZooKeeper-era cluster in a seeded, deterministic simulation.
#[derive(Debug, Parser)]
#[command(version, after_help = EXIT_CODES, max_term_width = 110)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const EXIT_CODES: &str = "\
Exit codes: 0 as expected, 1 not as expected, 2 wrong usage or scenario, 3 unknown, 101 a bug in ktrial itself.";

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run scenarios and judge them.
    Run(Run),
    /// Run one scenario with many seeds, on all cores.
    Sweep(Sweep),
    /// Judge a recorded history.
    Check(Check),
    /// List the scenarios of a folder, or the guarantees, faults and fixes.
    List(List),
    /// Explain a guarantee, an entry of the ledger, a fault, a fix, an error code or a setting.
    Describe(Describe),
    /// Print the JSON Schema of scenario files, for editors.
    Schema,
}

/// Run scenarios and judge them.
#[derive(Debug, Args)]
pub(crate) struct Run {
    /// Scenario files, or folders of them.
    #[arg(required = true)]
    pub files: Vec<PathBuf>,
    /// The seed; each scenario's own by default.
    #[arg(long)]
    pub seed: Option<u64>,
    /// Only this variant.
    #[arg(long)]
    pub variant: Option<String>,
    /// How many threads; all cores by default.
    #[arg(long)]
    pub jobs: Option<usize>,
    /// With several files, print the page of every run, not only of those that are not as expected.
    #[arg(long)]
    pub pages: bool,
    /// Print every event of the history as it happened.
    #[arg(long)]
    pub trace: bool,
    /// Print the verdict as JSON.
    #[arg(long)]
    pub json: bool,
    /// Write the history to this file (JSON lines); with several runs, the variant is added to the name.
    #[arg(long, value_name = "FILE")]
    pub history: Option<PathBuf>,
    /// Write an HTML page and charts into this folder.
    #[arg(long, value_name = "DIR")]
    pub report: Option<PathBuf>,
}

/// Run one scenario with many seeds.
#[derive(Debug, Args)]
pub(crate) struct Sweep {
    /// The scenario file.
    pub file: PathBuf,
    /// How many seeds, from `--first` on.
    #[arg(long, default_value_t = 100)]
    pub seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    pub first: u64,
    /// How many threads; all cores by default.
    #[arg(long)]
    pub jobs: Option<usize>,
    /// Only this variant.
    #[arg(long)]
    pub variant: Option<String>,
    /// Print the result as JSON.
    #[arg(long)]
    pub json: bool,
}

/// Judge a recorded history.
#[derive(Debug, Args)]
pub(crate) struct Check {
    /// The history (JSON lines).
    pub file: PathBuf,
    /// Print the verdict as JSON.
    #[arg(long)]
    pub json: bool,
}

/// List what there is.
#[derive(Debug, Args)]
pub(crate) struct List {
    /// Where the scenarios are.
    #[arg(default_value = "scenarios")]
    pub folder: PathBuf,
    /// List the guarantees instead.
    #[arg(long)]
    pub guarantees: bool,
    /// List the fixes that can be switched instead.
    #[arg(long)]
    pub fixes: bool,
    /// List the entries of the ledger instead.
    #[arg(long)]
    pub ledger: bool,
}

/// Explain one thing.
#[derive(Debug, Args)]
pub(crate) struct Describe {
    /// Its code or name.
    pub code: String,
}
