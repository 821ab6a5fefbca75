//! What a scenario expects of a run: guarantees that hold or break, and harm that happens or does not.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// How often something must be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Quantifier {
    /// In every run.
    Always,
    /// In no run.
    Never,
    /// In some runs of a sweep; a single run is as expected either way.
    Sometimes,
}

impl fmt::Display for Quantifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Always => "always",
            Self::Never => "never",
            Self::Sometimes => "sometimes",
        })
    }
}

/// What a scenario expects. Guarantees that are claimed by the configuration and not named here must hold.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
pub struct Expectations {
    /// Guarantees (by code) expected to be violated, and how often.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub violated: BTreeMap<String, Quantifier>,
    /// Entries of the ledger (by name, such as `lost` or `duplicated`) expected to be above zero, and how often.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub harm: BTreeMap<String, Quantifier>,
}

/// Whether one run is as the quantifier wants it.
impl Quantifier {
    /// `seen` in this run.
    pub fn admits(self, seen: bool) -> bool {
        match self {
            Self::Always => seen,
            Self::Never => !seen,
            Self::Sometimes => true,
        }
    }
}
