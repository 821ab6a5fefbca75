//! Faults of single messages: which ones, and what becomes of them.

use super::super::command::FaultId;
use super::about::About;
use protocol::ids::NodeId;
use protocol::message::{Message, MessageKind};
use protocol::time::Span;

/// Which message: the n-th of its kind on its link. Stays the same when other messages come or go.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct MessageName {
    /// The sender.
    pub from: NodeId,
    /// The receiver.
    pub to: NodeId,
    /// What kind.
    pub kind: MessageKind,
    /// How many of that kind went before it on this link.
    pub nth: u32,
}

/// What happens to a message. Inside a connection nothing can be lost alone or overtake: the fault spreads to what is behind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MessageFault {
    /// It and everything behind it in that direction waits until the rule ends.
    Hold,
    /// It and everything behind it is lost, and the connection is reset on both ends.
    Drop,
    /// It arrives later, and everything behind it with it.
    Delay(Span),
}

/// What TCP never does, for teaching and for protocols that claim to survive it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UnfaithfulFault {
    /// It arrives twice.
    Duplicate,
    /// It alone is lost; the connection lives.
    DropSilently,
    /// The next message of the connection overtakes it.
    Reorder,
}

/// Picks messages.
#[derive(Clone, PartialEq, Debug)]
pub struct MessageRule {
    /// Sent by one of these nodes; by any when absent.
    pub from: Option<Vec<NodeId>>,
    /// Sent to one of these nodes; to any when absent.
    pub to: Option<Vec<NodeId>>,
    /// Of this kind; any when absent.
    pub kind: Option<MessageKind>,
    /// About this.
    pub about: About,
    /// Let so many pass first.
    pub skip: u64,
    /// Then take so many.
    pub count: u64,
    /// And do this to them (ignored by an unfaithful fault, which brings its own).
    pub action: MessageFault,
}

impl MessageRule {
    /// Takes every message, and does this to it.
    pub fn all(action: MessageFault) -> Self {
        Self {
            from: None,
            to: None,
            kind: None,
            about: About::default(),
            skip: 0,
            count: u64::MAX,
            action,
        }
    }

    fn matches(&self, name: &MessageName, message: &Message) -> bool {
        let among = |nodes: &Option<Vec<NodeId>>, node| {
            nodes.as_ref().is_none_or(|all| all.contains(&node))
        };
        among(&self.from, name.from)
            && among(&self.to, name.to)
            && self.kind.is_none_or(|kind| kind == name.kind)
            && self.about.fits(message)
    }
}

/// What a rule in force does to one message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::world) enum Verdict {
    Faithful(MessageFault),
    Unfaithful(UnfaithfulFault),
}

/// A rule in force.
#[derive(Clone, Debug)]
pub(in crate::world) struct ActiveRule {
    pub(in crate::world) id: FaultId,
    pub(in crate::world) rule: MessageRule,
    pub(in crate::world) verdict: Verdict,
    pub(in crate::world) seen: u64,
}

impl ActiveRule {
    /// Whether this message is one of those.
    pub(in crate::world) fn takes(&mut self, name: &MessageName, message: &Message) -> bool {
        if !self.rule.matches(name, message) {
            return false;
        }
        let position = self.seen;
        self.seen += 1;
        position >= self.rule.skip && position - self.rule.skip < self.rule.count
    }
}
