//! Steps, and the running hash over them.

use super::clock::At;
use crate::random::mix;
use protocol::ids::NodeId;
use protocol::machine::Input;

/// What kind of input a core got.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum InputKind {
    /// [`Input::Started`].
    Started,
    /// [`Input::Opened`].
    Opened,
    /// [`Input::Accepted`].
    Accepted,
    /// [`Input::Refused`].
    Refused,
    /// [`Input::Closed`].
    Closed,
    /// [`Input::Received`].
    Received,
    /// [`Input::Timer`].
    Timer,
    /// [`Input::Flushed`].
    Flushed,
    /// [`Input::Due`].
    Due,
    /// [`Input::Verb`].
    Verb,
    /// [`Input::Stop`].
    Stop,
}

impl InputKind {
    pub(super) fn of(input: &Input) -> Self {
        match input {
            Input::Started => Self::Started,
            Input::Opened { .. } => Self::Opened,
            Input::Accepted { .. } => Self::Accepted,
            Input::Refused { .. } => Self::Refused,
            Input::Closed { .. } => Self::Closed,
            Input::Received { .. } => Self::Received,
            Input::Timer { .. } => Self::Timer,
            Input::Flushed { .. } => Self::Flushed,
            Input::Due { .. } => Self::Due,
            Input::Verb { .. } => Self::Verb,
            Input::Stop => Self::Stop,
        }
    }

    pub(super) fn number(self) -> u8 {
        match self {
            Self::Started => 1,
            Self::Opened => 2,
            Self::Accepted => 3,
            Self::Refused => 4,
            Self::Closed => 5,
            Self::Received => 6,
            Self::Timer => 7,
            Self::Flushed => 8,
            Self::Due => 9,
            Self::Verb => 10,
            Self::Stop => 11,
        }
    }
}

/// What a step was.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StepKind {
    /// A core handled an input.
    Handled(InputKind),
    /// An input came to a node that is busy, paused or dead.
    Waits(InputKind),
    /// Effects of an earlier step happened when its disk operations had finished.
    Effects,
    /// A packet without consequence for a core.
    Network,
    /// A flush finished that nobody waits for any more.
    Device,
    /// A pause ended.
    Resumed,
    /// A scheduled command was carried out.
    Command,
    /// [`super::WorldCommand::Wake`] with this number.
    Wake(u64),
}

impl StepKind {
    pub(super) fn number(self) -> u16 {
        match self {
            Self::Handled(kind) => 256 + u16::from(kind.number()),
            Self::Waits(kind) => 512 + u16::from(kind.number()),
            Self::Effects => 1,
            Self::Network => 2,
            Self::Device => 3,
            Self::Resumed => 4,
            Self::Command => 5,
            Self::Wake(_) => 6,
        }
    }
}

/// One event, handled.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Step {
    /// Its number, from 1.
    pub position: u64,
    /// When.
    pub at: At,
    /// Where; `None` for commands.
    pub node: Option<NodeId>,
    /// What.
    pub kind: StepKind,
}

/// A step and the hash after it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TraceEntry {
    /// The step.
    pub step: Step,
    /// The hash over everything up to here.
    pub hash: u64,
}

/// The first step in which two traces differ, as each has it; `None` where one has ended.
pub fn first_difference(
    a: &[TraceEntry],
    b: &[TraceEntry],
) -> Option<(Option<TraceEntry>, Option<TraceEntry>)> {
    let position = (0..a.len().max(b.len())).find(|index| a.get(*index) != b.get(*index))?;
    Some((a.get(position).copied(), b.get(position).copied()))
}

/// A hash that grows by words: multiply and rotate per word, SplitMix64's finaliser when read. Not cryptographic.
#[derive(Clone, Copy, Debug)]
pub(super) struct RollingHash(u64);

impl RollingHash {
    pub(super) fn new(seed: u64) -> Self {
        Self(mix(seed))
    }

    pub(super) fn add(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(23) ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }

    pub(super) fn value(self) -> u64 {
        mix(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(position: u64, hash: u64) -> TraceEntry {
        TraceEntry {
            step: Step {
                position,
                at: At(position),
                node: None,
                kind: StepKind::Effects,
            },
            hash,
        }
    }

    #[test]
    fn the_first_difference_of_two_traces_is_named() {
        let a = [entry(1, 5), entry(2, 6), entry(3, 7)];
        let b = [entry(1, 5), entry(2, 9), entry(3, 8)];
        assert_eq!(first_difference(&a, &a), None);
        assert_eq!(first_difference(&a, &b), Some((Some(a[1]), Some(b[1]))));
        assert_eq!(first_difference(&a, &a[..2]), Some((Some(a[2]), None)));
    }
}
