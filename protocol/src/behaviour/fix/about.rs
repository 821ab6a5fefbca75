//! What is known of a fix besides its switch: who had the bug, where it is judged, what hides it, and what happened.

use super::Fix;
use crate::behaviour::{Era, InterBrokerProtocol};
use std::fmt;

/// Where a bug lived.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Home {
    /// In releases of Kafka that run on ZooKeeper.
    Kafka,
    /// Its fix exists in KRaft alone and never did in ZooKeeper mode.
    Raft,
    /// In librdkafka.
    Librdkafka,
    /// In releases of ZooKeeper.
    ZooKeeper,
    /// In no release: a hazard of the design, or a rule that was always kept; its switch is a negative control.
    Design,
}

impl Home {
    /// The label in lists; none where a bug is what one expects it to be.
    pub const fn label(self) -> Option<&'static str> {
        match self {
            Self::Kafka | Self::Librdkafka | Self::ZooKeeper => None,
            Self::Raft => Some("never in ZooKeeper mode"),
            Self::Design => Some("a hazard of the design"),
        }
    }
}

/// The releases with a bug.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Affected {
    /// Those that had it: `0.11.0 to 1.1`.
    pub releases: &'static str,
    /// The first that had it no more.
    pub fixed: Option<&'static str>,
}

impl fmt::Display for Affected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.fixed {
            Some(fixed) => write!(f, "{}, fixed in {fixed}", self.releases),
            None => write!(f, "{}, no release has a fix", self.releases),
        }
    }
}

/// What hides a bug although its fix is off. A scenario that shows the bug has to do without it, on both sides.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mask {
    /// Another fix, to be switched off as well.
    Fix(Fix),
    /// A way of working of this protocol version, so that `inter.broker.protocol.version` has to be below.
    Protocol(InterBrokerProtocol),
}

impl fmt::Display for Mask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fix(fix) => write!(f, "{fix}"),
            Self::Protocol(version) => write!(f, "inter.broker.protocol.version from {version} on"),
        }
    }
}

/// All of it, as the files beside this one have it.
#[derive(Clone, Copy, Debug)]
pub(super) struct About {
    pub(super) base: Era,
    pub(super) home: Home,
    pub(super) affected: Affected,
    pub(super) superseded_by: &'static [Mask],
    pub(super) catalogue: &'static [&'static str],
    pub(super) story: &'static str,
}

/// One [`About`] for each fix, under the fix's own name: a fix without a story does not compile, nor does a story without
/// a fix.
macro_rules! stories {
    ($($fix:ident {
        base: $base:ident, home: $home:ident,
        affected: $releases:literal, fixed: $fixed:expr,
        superseded_by: [$($mask:expr),*], catalogue: [$($entry:literal),*],
        story: $story:literal,
    })*) => {
        $(pub(super) const $fix: crate::behaviour::fix::about::About = crate::behaviour::fix::about::About {
            base: crate::behaviour::Era::$base,
            home: crate::behaviour::fix::about::Home::$home,
            affected: crate::behaviour::fix::about::Affected { releases: $releases, fixed: $fixed },
            superseded_by: &[$($mask),*],
            catalogue: &[$($entry),*],
            story: $story,
        };)*
    };
}
pub(super) use stories;
