//! The command line as types.

use clap::{Args, Parser, Subcommand};
use sim::scenario::text::Time;
use std::path::PathBuf;
use std::str::FromStr;

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

/// A seed can be written into a scenario file, and TOML's numbers end here.
const MOST: u64 = i64::MAX.unsigned_abs();

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run scenarios and judge them.
    Run(Run),
    /// Run one scenario with many seeds, on all cores.
    Sweep(Sweep),
    /// Measure how many seeds of random faults find each historic bug.
    Yardstick(Yardstick),
    /// Judge a recorded history.
    Check(Check),
    /// List the scenarios of a folder, or the guarantees, the numbers of the ledger and the fixes.
    List(List),
    /// Explain a guarantee, an entry of the ledger, a fault, a fix, an error code or a setting.
    Describe(Describe),
    /// Print the JSON Schema of scenario files, for editors.
    Schema,
}

/// Run scenarios and judge them.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub(crate) struct Run {
    /// Scenario files, or folders of them.
    #[arg(required = true)]
    pub files: Vec<PathBuf>,
    /// The seed; each scenario's own by default.
    #[arg(long, value_parser = clap::value_parser!(u64).range(..=MOST))]
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
    /// Print what the seed drew as a scenario without chance instead: the same verdict and ledger with every seed.
    #[arg(long, conflicts_with_all = ["trace", "json", "history", "report"])]
    pub effective: bool,
    /// Write the history to this file (JSON lines); with several runs, the variant is added to the name.
    #[arg(long, value_name = "FILE")]
    pub history: Option<PathBuf>,
    /// Write the verdicts to this file in the form of JUnit, one case for each run.
    #[arg(long, value_name = "FILE", conflicts_with = "effective")]
    pub junit: Option<PathBuf>,
    /// Write an HTML page and charts into this folder.
    #[arg(long, value_name = "DIR")]
    pub report: Option<PathBuf>,
}

/// Run one scenario with many seeds.
#[derive(Debug, Args)]
pub(crate) struct Sweep {
    /// The scenario file.
    pub file: PathBuf,
    /// How many seeds, from `--first` on; 100 when neither this nor `--for` is given.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub seeds: Option<u64>,
    /// As many seeds as there is time for: `60s`, `10m`.
    #[arg(long = "for", value_name = "TIME")]
    pub lasting: Option<Time>,
    /// The first seed.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(..=MOST))]
    pub first: u64,
    /// The K-th of N parts of the seeds, for as many machines: every part has seeds of its own.
    #[arg(long, value_name = "K/N")]
    pub shard: Option<Shard>,
    /// Stop at the first seed that is not as expected.
    #[arg(long)]
    pub stop_on_first: bool,
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

/// Measure how many seeds find each historic bug.
#[derive(Debug, Args)]
pub(crate) struct Yardstick {
    /// The scenario with random faults, or a folder of them; each fix takes all that its era can run.
    #[arg(default_value = "scenarios/swarm")]
    pub scenarios: PathBuf,
    /// How many seeds at most for each fix and scenario, from 1 on.
    #[arg(long, default_value_t = 20, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub seeds: u64,
    /// Where the scenarios are that show the bugs; each is tried with its schedule taken away.
    #[arg(long, default_value = "scenarios/failures", value_name = "PATH")]
    pub failures: PathBuf,
    /// How many seeds at most for each loosened failure; as many as for the others by default.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub loosened: Option<u64>,
    /// Print the loosened failures of the fixes chosen, as scenarios, and run nothing.
    #[arg(long, requires = "fixes")]
    pub show: bool,
    /// Only this fix; may be given several times.
    #[arg(long = "fix", value_name = "NAME")]
    pub fixes: Vec<String>,
    /// Why fixes are not caught: a table with a fix and its reason in each row.
    #[arg(long, default_value = "docs/yardstick-reasons.md", value_name = "FILE")]
    pub reasons: PathBuf,
    /// How many threads; all cores by default.
    #[arg(long)]
    pub jobs: Option<usize>,
}

/// A part of a sweep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shard {
    /// Which, from 1.
    pub number: u64,
    /// Of how many.
    pub of: u64,
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = text.split_once('/').and_then(|(number, of)| {
            let shard = Self {
                number: number.parse().ok()?,
                of: of.parse().ok()?,
            };
            (1..=shard.of).contains(&shard.number).then_some(shard)
        });
        parsed.ok_or_else(|| format!("`{text}` is no part: write the second of four as `2/4`"))
    }
}

/// Judge a recorded history.
#[derive(Debug, Args)]
pub(crate) struct Check {
    /// The history (JSON lines).
    pub file: PathBuf,
    /// Write its operations to this file in the form of Jepsen's workload for Kafka.
    #[arg(long, value_name = "FILE")]
    pub edn: Option<PathBuf>,
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
