//! What a message is about: partitions and their leader epochs, or a znode.

use protocol::api::{RequestBody, ResponseBody};
use protocol::ids::{LeaderEpoch, TopicPartition};
use protocol::keeper::{ForwardedRequest, KeeperOp, KeeperReply, KeeperRequest, QuorumPacket};
use protocol::message::Message;
use std::sync::Arc;

/// Picks messages by what is in them. What is absent is not asked for.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct About {
    /// It names this partition.
    pub partition: Option<TopicPartition>,
    /// It names this leader epoch, for that partition if one is given.
    pub leader_epoch: Option<LeaderEpoch>,
    /// It names this znode or one below it.
    pub path: Option<Arc<str>>,
}

impl About {
    /// Whether a message is about this. One that names nothing is about nothing.
    pub fn fits(&self, message: &Message) -> bool {
        self.fits_partition(message) && self.path.as_ref().is_none_or(|path| is_at(message, path))
    }

    fn fits_partition(&self, message: &Message) -> bool {
        if self.partition.is_none() && self.leader_epoch.is_none() {
            return true;
        }
        let mentions = match message {
            Message::Request(request) => in_request(&request.body),
            Message::Response(response) => in_response(&response.body),
            Message::KeeperRequest(_)
            | Message::KeeperReply(_)
            | Message::Election(_)
            | Message::Quorum(_) => Vec::new(),
        };
        mentions.iter().any(|(partition, epoch)| {
            self.partition
                .as_ref()
                .is_none_or(|wanted| wanted == *partition)
                && self
                    .leader_epoch
                    .is_none_or(|wanted| *epoch == Some(wanted))
        })
    }
}

/// A partition that a message names, and in which leader epoch.
type Mention<'a> = (&'a TopicPartition, Option<LeaderEpoch>);

#[expect(clippy::too_many_lines, reason = "one arm a request, each short")]
fn in_request(body: &RequestBody) -> Vec<Mention<'_>> {
    match body {
        RequestBody::Produce(body) => body.partitions.iter().map(|(p, _)| (p, None)).collect(),
        RequestBody::Fetch(body) => {
            let partitions = body.partitions.iter();
            let named = partitions.map(|p| (&p.partition, p.current_leader_epoch));
            named
                .chain(body.forgotten.iter().map(|p| (p, None)))
                .collect()
        }
        RequestBody::ListOffsets(body) => {
            let partitions = body.partitions.iter();
            partitions.map(|(p, epoch, _)| (p, *epoch)).collect()
        }
        RequestBody::LeaderAndIsr(body) => {
            let partitions = body.partitions.iter();
            partitions
                .map(|p| (&p.partition, Some(p.state.leader_epoch)))
                .collect()
        }
        RequestBody::StopReplica(body) => {
            let partitions = body.partitions.iter();
            partitions
                .map(|p| (&p.partition, Some(LeaderEpoch(p.leader_epoch))))
                .collect()
        }
        RequestBody::UpdateMetadata(body) => {
            let partitions = body.partitions.iter();
            partitions
                .map(|p| (&p.partition, Some(p.state.leader_epoch)))
                .collect()
        }
        RequestBody::OffsetCommit(body) => body
            .offsets
            .iter()
            .map(|p| (&p.partition, p.leader_epoch))
            .collect(),
        RequestBody::OffsetFetch(body) => body
            .partitions
            .iter()
            .flatten()
            .map(|p| (p, None))
            .collect(),
        RequestBody::OffsetForLeaderEpoch(body) => {
            let partitions = body.partitions.iter();
            partitions
                .map(|p| (&p.partition, Some(p.leader_epoch)))
                .collect()
        }
        RequestBody::DeleteRecords(body) => {
            body.partitions.iter().map(|(p, _)| (p, None)).collect()
        }
        RequestBody::AlterPartitionReassignments(body) => {
            body.partitions.iter().map(|(p, _)| (p, None)).collect()
        }
        RequestBody::ListPartitionReassignments(body) => body
            .partitions
            .iter()
            .flatten()
            .map(|p| (p, None))
            .collect(),
        RequestBody::AlterIsr(body) => {
            let partitions = body.partitions.iter();
            partitions
                .map(|p| (&p.partition, Some(p.leader_epoch)))
                .collect()
        }
        RequestBody::ElectLeaders(body) => body
            .partitions
            .iter()
            .flatten()
            .map(|p| (p, None))
            .collect(),
        RequestBody::AddPartitionsToTxn(body) => {
            body.partitions.iter().map(|p| (p, None)).collect()
        }
        RequestBody::WriteTxnMarkers(body) => {
            let markers = body.markers.iter();
            markers
                .flat_map(|marker| marker.partitions.iter().map(|p| (p, None)))
                .collect()
        }
        RequestBody::TxnOffsetCommit(body) => body
            .offsets
            .iter()
            .map(|p| (&p.partition, p.leader_epoch))
            .collect(),
        RequestBody::Metadata(_)
        | RequestBody::AddOffsetsToTxn(_)
        | RequestBody::EndTxn(_)
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
        | RequestBody::CreatePartitions(_)
        | RequestBody::IncrementalAlterConfigs(_) => Vec::new(),
    }
}

#[expect(clippy::too_many_lines, reason = "one arm a request, each short")]
fn in_response(body: &ResponseBody) -> Vec<Mention<'_>> {
    match body {
        ResponseBody::Produce(body) => body
            .partitions
            .iter()
            .map(|p| (&p.partition, None))
            .collect(),
        ResponseBody::Fetch(body) => body
            .partitions
            .iter()
            .map(|p| (&p.partition, None))
            .collect(),
        ResponseBody::ListOffsets(body) => {
            let partitions = body.partitions.iter();
            partitions.map(|p| (&p.partition, p.leader_epoch)).collect()
        }
        ResponseBody::LeaderAndIsr(body) => {
            body.partitions.iter().map(|(p, _)| (p, None)).collect()
        }
        ResponseBody::StopReplica(body) => body.partitions.iter().map(|(p, _)| (p, None)).collect(),
        ResponseBody::OffsetCommit(body) => {
            body.partitions.iter().map(|(p, _)| (p, None)).collect()
        }
        ResponseBody::OffsetFetch(body) => body.partitions.iter().map(|(p, _)| (p, None)).collect(),
        ResponseBody::OffsetForLeaderEpoch(body) => body
            .partitions
            .iter()
            .map(|p| (&p.partition, None))
            .collect(),
        ResponseBody::DeleteRecords(body) => body
            .partitions
            .iter()
            .map(|p| (&p.partition, None))
            .collect(),
        ResponseBody::AlterPartitionReassignments(body) => {
            body.partitions.iter().map(|(p, _)| (p, None)).collect()
        }
        ResponseBody::ListPartitionReassignments(body) => body
            .partitions
            .iter()
            .map(|p| (&p.partition, None))
            .collect(),
        ResponseBody::AlterIsr(body) => {
            let partitions = body.partitions.iter();
            let epoch = |state: &Result<protocol::api::cluster::LeaderAndIsr, _>| {
                state.as_ref().ok().map(|state| state.leader_epoch)
            };
            partitions.map(|(p, state)| (p, epoch(state))).collect()
        }
        ResponseBody::ControlledShutdown(body) => {
            body.remaining.iter().map(|p| (p, None)).collect()
        }
        ResponseBody::ElectLeaders(body) => {
            body.partitions.iter().map(|(p, _)| (p, None)).collect()
        }
        ResponseBody::AddPartitionsToTxn(body) => {
            body.partitions.iter().map(|(p, _)| (p, None)).collect()
        }
        ResponseBody::TxnOffsetCommit(body) => {
            body.partitions.iter().map(|(p, _)| (p, None)).collect()
        }
        ResponseBody::WriteTxnMarkers(body) => {
            let markers = body.markers.iter();
            markers
                .flat_map(|marker| marker.partitions.iter().map(|(p, _)| (p, None)))
                .collect()
        }
        ResponseBody::AddOffsetsToTxn(_)
        | ResponseBody::EndTxn(_)
        | ResponseBody::UpdateMetadata(_)
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
        | ResponseBody::CreatePartitions(_)
        | ResponseBody::IncrementalAlterConfigs(_) => Vec::new(),
    }
}

/// Whether a keeper's message names the znode or one below it. A proposal carries its transaction as bytes and names none.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "only these carry a path; the rest passes by"
)]
fn is_at(message: &Message, wanted: &str) -> bool {
    let below = |path: &str| {
        path.strip_prefix(wanted)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let named = |op: &KeeperOp| match op {
        KeeperOp::Multi(ops) => ops.iter().any(|op| below(op.path())),
        single => below(single.path()),
    };
    match message {
        Message::KeeperRequest(request) => match &**request {
            KeeperRequest::Op { op, .. } => named(op),
            _ => false,
        },
        Message::KeeperReply(reply) => match &**reply {
            KeeperReply::Event(event) => below(&event.path),
            _ => false,
        },
        Message::Quorum(packet) => match &**packet {
            QuorumPacket::Request {
                request: ForwardedRequest::Op(op),
                ..
            } => named(op),
            _ => false,
        },
        Message::Request(_) | Message::Response(_) | Message::Election(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use protocol::api::data::{EpochQuestion, OffsetForLeaderEpochRequest};
    use protocol::ids::{ClientId, CorrelationId, Xid};
    use protocol::message::Request;

    /// Asks partition 0 about epoch 3 and partition 1 about epoch 4.
    fn question() -> Message {
        let ask = |partition, epoch| EpochQuestion {
            partition: TopicPartition::new("orders", partition),
            current_leader_epoch: None,
            leader_epoch: LeaderEpoch(epoch),
        };
        let body = RequestBody::OffsetForLeaderEpoch(OffsetForLeaderEpochRequest {
            replica_id: None,
            partitions: vec![ask(0, 3), ask(1, 4)],
        });
        Message::Request(Box::new(Request {
            api_version: 3,
            correlation_id: CorrelationId(1),
            client_id: ClientId::from("b1"),
            body,
        }))
    }

    fn fits(partition: Option<i32>, epoch: Option<i32>) -> bool {
        let about = About {
            partition: partition.map(|index| TopicPartition::new("orders", index)),
            leader_epoch: epoch.map(LeaderEpoch),
            path: None,
        };
        about.fits(&question())
    }

    #[test]
    fn partition_and_epoch_must_be_named_together() {
        assert!(fits(None, None) && fits(Some(1), None) && fits(None, Some(3)));
        assert!(fits(Some(0), Some(3)) && fits(Some(1), Some(4)));
        assert!(!fits(Some(0), Some(4)) && !fits(Some(2), None) && !fits(None, Some(5)));
    }

    #[test]
    fn a_znode_is_itself_and_what_is_below_it() {
        let set = KeeperOp::SetData {
            path: "/brokers/topics/orders".into(),
            data: Bytes::new(),
            version: -1,
        };
        let request = KeeperRequest::Op {
            xid: Xid(1),
            op: KeeperOp::Multi(vec![
                KeeperOp::Check {
                    path: "/controller_epoch".into(),
                    version: 1,
                },
                set,
            ]),
        };
        let message = Message::KeeperRequest(Box::new(request));
        let at = |path: &str| About {
            path: Some(path.into()),
            ..About::default()
        };
        assert!(at("/brokers/topics/orders").fits(&message));
        assert!(at("/brokers").fits(&message));
        assert!(at("/controller_epoch").fits(&message));
        assert!(!at("/controller").fits(&message));
        assert!(!at("/brokers/topics/orders").fits(&question()));
    }
}
