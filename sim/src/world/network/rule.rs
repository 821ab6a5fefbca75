//! Faults of single messages: which ones, and what becomes of them.

use super::super::command::FaultId;
use protocol::api::{RequestBody, ResponseBody};
use protocol::ids::{NodeId, TopicPartition};
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
    /// Sent by this node; any when absent.
    pub from: Option<NodeId>,
    /// Sent to this node; any when absent.
    pub to: Option<NodeId>,
    /// Of this kind; any when absent.
    pub kind: Option<MessageKind>,
    /// About this partition.
    pub partition: Option<TopicPartition>,
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
            partition: None,
            skip: 0,
            count: u64::MAX,
            action,
        }
    }

    fn matches(&self, name: &MessageName, message: &Message) -> bool {
        self.from.is_none_or(|from| from == name.from)
            && self.to.is_none_or(|to| to == name.to)
            && self.kind.is_none_or(|kind| kind == name.kind)
            && self
                .partition
                .as_ref()
                .is_none_or(|partition| mentions(message, partition))
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

/// Whether a message is about a partition. Messages that name no partition are about none.
fn mentions(message: &Message, partition: &TopicPartition) -> bool {
    match message {
        Message::Request(request) => request_mentions(&request.body, partition),
        Message::Response(response) => response_mentions(&response.body, partition),
        Message::KeeperRequest(_)
        | Message::KeeperReply(_)
        | Message::Election(_)
        | Message::Quorum(_) => false,
    }
}

fn request_mentions(body: &RequestBody, partition: &TopicPartition) -> bool {
    match body {
        RequestBody::Produce(body) => body.partitions.iter().any(|(p, _)| p == partition),
        RequestBody::Fetch(body) => body.partitions.iter().any(|p| p.partition == *partition),
        RequestBody::ListOffsets(body) => body.partitions.iter().any(|(p, ..)| p == partition),
        RequestBody::LeaderAndIsr(body) => {
            body.partitions.iter().any(|p| p.partition == *partition)
        }
        RequestBody::StopReplica(body) => body.partitions.iter().any(|p| p.partition == *partition),
        RequestBody::UpdateMetadata(body) => {
            body.partitions.iter().any(|p| p.partition == *partition)
        }
        RequestBody::OffsetCommit(body) => body.offsets.iter().any(|p| p.partition == *partition),
        RequestBody::OffsetFetch(body) => body
            .partitions
            .as_ref()
            .is_some_and(|list| list.contains(partition)),
        RequestBody::OffsetForLeaderEpoch(body) => {
            body.partitions.iter().any(|p| p.partition == *partition)
        }
        RequestBody::DeleteRecords(body) => body.partitions.iter().any(|(p, _)| p == partition),
        RequestBody::AlterPartitionReassignments(body) => {
            body.partitions.iter().any(|(p, _)| p == partition)
        }
        RequestBody::ListPartitionReassignments(body) => body
            .partitions
            .as_ref()
            .is_some_and(|list| list.contains(partition)),
        RequestBody::AlterIsr(body) => body.partitions.iter().any(|p| p.partition == *partition),
        RequestBody::ElectLeaders(body) => body
            .partitions
            .as_ref()
            .is_some_and(|list| list.contains(partition)),
        RequestBody::Metadata(_)
        | RequestBody::ControlledShutdown(_)
        | RequestBody::FindCoordinator(_)
        | RequestBody::JoinGroup(_)
        | RequestBody::Heartbeat(_)
        | RequestBody::LeaveGroup(_)
        | RequestBody::SyncGroup(_)
        | RequestBody::DescribeGroups(_)
        | RequestBody::ApiVersions(_)
        | RequestBody::CreateTopics(_)
        | RequestBody::DeleteTopics(_)
        | RequestBody::InitProducerId(_)
        | RequestBody::CreatePartitions(_) => false,
    }
}

fn response_mentions(body: &ResponseBody, partition: &TopicPartition) -> bool {
    match body {
        ResponseBody::Produce(body) => body.partitions.iter().any(|p| p.partition == *partition),
        ResponseBody::Fetch(body) => body.partitions.iter().any(|p| p.partition == *partition),
        ResponseBody::ListOffsets(body) => {
            body.partitions.iter().any(|p| p.partition == *partition)
        }
        ResponseBody::LeaderAndIsr(body) => body.partitions.iter().any(|(p, _)| p == partition),
        ResponseBody::StopReplica(body) => body.partitions.iter().any(|(p, _)| p == partition),
        ResponseBody::OffsetCommit(body) => body.partitions.iter().any(|(p, _)| p == partition),
        ResponseBody::OffsetFetch(body) => body.partitions.iter().any(|(p, _)| p == partition),
        ResponseBody::OffsetForLeaderEpoch(body) => {
            body.partitions.iter().any(|p| p.partition == *partition)
        }
        ResponseBody::DeleteRecords(body) => {
            body.partitions.iter().any(|p| p.partition == *partition)
        }
        ResponseBody::AlterPartitionReassignments(body) => {
            body.partitions.iter().any(|(p, _)| p == partition)
        }
        ResponseBody::ListPartitionReassignments(body) => {
            body.partitions.iter().any(|p| p.partition == *partition)
        }
        ResponseBody::AlterIsr(body) => body.partitions.iter().any(|(p, _)| p == partition),
        ResponseBody::ControlledShutdown(body) => body.remaining.contains(partition),
        ResponseBody::ElectLeaders(body) => body.partitions.iter().any(|(p, _)| p == partition),
        ResponseBody::UpdateMetadata(_)
        | ResponseBody::Metadata(_)
        | ResponseBody::FindCoordinator(_)
        | ResponseBody::JoinGroup(_)
        | ResponseBody::Heartbeat(_)
        | ResponseBody::LeaveGroup(_)
        | ResponseBody::SyncGroup(_)
        | ResponseBody::DescribeGroups(_)
        | ResponseBody::ApiVersions(_)
        | ResponseBody::CreateTopics(_)
        | ResponseBody::DeleteTopics(_)
        | ResponseBody::InitProducerId(_)
        | ResponseBody::CreatePartitions(_) => false,
    }
}
