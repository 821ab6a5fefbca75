//! Exit codes: what a script may rely on.

use std::process::ExitCode;

/// How a command ended.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Exit {
    /// Everything was as expected.
    AsExpected,
    /// The history cannot tell: a fault had no effect, a mark was not reached, a stream is missing.
    Unknown,
    /// Something was not as expected.
    NotAsExpected,
    /// Wrong usage, or a scenario or history that cannot be read.
    Usage,
    /// A bug in ktrial itself.
    Bug,
}

impl Exit {
    /// The number.
    pub const fn code(self) -> u8 {
        match self {
            Self::AsExpected => 0,
            Self::NotAsExpected => 1,
            Self::Usage => 2,
            Self::Unknown => 3,
            Self::Bug => 101,
        }
    }

    /// The worse of two: a bug before wrong usage, before not as expected, before unknown.
    #[must_use]
    pub fn worse(self, other: Self) -> Self {
        self.max(other)
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}
