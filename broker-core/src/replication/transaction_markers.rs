//! WriteTxnMarkers: a coordinator ends transactions in the partitions led here (`KafkaApis.handleWriteTxnMarkersRequest`).
//!
//! Each marker is a control batch, written with acks=all; the request is answered when all are decided. The group coordinator
//! hears of those in its own topic. Left out: the check of the record format, of which there is one.

use super::produce::{Resumed, Sink};
use super::{ReplicaManager, Step};
use protocol::api::data::{Acks, PartitionProduceResponse};
use protocol::api::transaction::{
    TransactionMarker, WriteTxnMarkersRequest, WriteTxnMarkersResponse, WrittenMarker,
};
use protocol::error_code::ErrorCode;
use protocol::ids::{ProducerId, TopicPartition};
use protocol::machine::RequestToken;
use protocol::record::{ControlMarker, ControlType};

/// Names one marker of a request: the request, and the place in it.
#[derive(Clone, Copy, Debug)]
pub(super) struct MarkerTicket {
    request: u64,
    place: usize,
}

/// A request whose markers are not all decided.
#[derive(Clone, Debug)]
pub(super) struct MarkerRequest {
    token: RequestToken,
    markers: Vec<TransactionMarker>,
    written: Vec<WrittenMarker>,
    undecided: usize,
}

/// A marker that is replicated in some partitions led here.
#[derive(Clone, Debug)]
pub struct ReplicatedMarker {
    /// Whose transaction ended.
    pub producer_id: ProducerId,
    /// Committed, or else aborted.
    pub committed: bool,
    /// In these partitions.
    pub partitions: Vec<TopicPartition>,
}

impl ReplicaManager {
    /// Markers that became replicated since the last call.
    pub fn take_replicated_markers(&mut self) -> Vec<ReplicatedMarker> {
        std::mem::take(&mut self.replicated_markers)
    }

    pub(super) fn write_txn_markers(
        &mut self,
        step: &mut Step<'_, '_>,
        token: RequestToken,
        request: WriteTxnMarkersRequest,
    ) {
        if request.markers.is_empty() {
            let markers = Vec::new();
            step.requests
                .respond(step.io, token, WriteTxnMarkersResponse { markers });
            return;
        }
        let number = self.next_ticket;
        self.next_ticket += 1;
        let nothing = |marker: &TransactionMarker| WrittenMarker {
            producer_id: marker.producer_id,
            partitions: Vec::new(),
        };
        let pending = MarkerRequest {
            token,
            written: request.markers.iter().map(nothing).collect(),
            undecided: request.markers.len(),
            markers: request.markers.clone(),
        };
        self.marker_requests.insert(number, pending);
        for (place, marker) in request.markers.into_iter().enumerate() {
            let ticket = MarkerTicket {
                request: number,
                place,
            };
            self.write_marker(step, ticket, marker);
        }
    }

    fn write_marker(
        &mut self,
        step: &mut Step<'_, '_>,
        ticket: MarkerTicket,
        marker: TransactionMarker,
    ) {
        let timeout = self.config.request_timeout_ms;
        let control = ControlMarker {
            kind: if marker.committed {
                ControlType::Commit
            } else {
                ControlType::Abort
            },
            coordinator_epoch: marker.coordinator_epoch,
        };
        let now = step.now.wall.millis();
        let batch = control.batch(marker.producer_id, marker.producer_epoch, now);
        let mut resumed = Resumed::new(Sink::Marker(ticket), Acks::All, timeout);
        for partition in marker.partitions {
            let result = self
                .find(&partition)
                .and_then(|slot| self.append_local(step, slot, (batch.clone(), true), Acks::All));
            resumed.add_noting(step, (partition, None), &result);
        }
        self.after_append(step, resumed);
    }

    /// One marker is decided in all its partitions.
    pub(super) fn on_marker_decided(
        &mut self,
        step: &mut Step<'_, '_>,
        ticket: MarkerTicket,
        answers: Vec<PartitionProduceResponse>,
    ) {
        let Some(request) = self.marker_requests.get_mut(&ticket.request) else {
            return;
        };
        let good = answers.iter().filter(|answer| answer.error.is_none());
        let partitions: Vec<_> = good.map(|answer| answer.partition.clone()).collect();
        let marker = &request.markers[ticket.place];
        if !partitions.is_empty() {
            self.replicated_markers.push(ReplicatedMarker {
                producer_id: marker.producer_id,
                committed: marker.committed,
                partitions,
            });
        }
        let told = |answer: PartitionProduceResponse| -> (TopicPartition, ErrorCode) {
            (answer.partition, answer.error)
        };
        request.written[ticket.place].partitions = answers.into_iter().map(told).collect();
        request.undecided -= 1;
        if request.undecided == 0
            && let Some(request) = self.marker_requests.remove(&ticket.request)
        {
            let response = WriteTxnMarkersResponse {
                markers: request.written,
            };
            step.requests.respond(step.io, request.token, response);
        }
    }
}
