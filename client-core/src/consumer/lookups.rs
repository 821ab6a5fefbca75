//! What an application looks up itself: `committed`, `endOffsets`, `beginningOffsets`.

use super::offsets::fetch_error;
use super::{Ask, Consumer, poll::Moment};
use crate::metadata::LeaderAndEpoch;
use crate::network::{Outgoing, Peer};
use protocol::api::data::{ListOffsetsRequest, ListOffsetsResponse, OffsetSpec};
use protocol::api::group::{OffsetFetchRequest, OffsetFetchResponse};
use protocol::error_code::ErrorCode;
use protocol::ids::{BrokerId, Offset, TopicName, TopicPartition};
use protocol::machine::Io;
use protocol::time::Mono;
use protocol::verb::{ClientError, Failure, OperationId, Outcome};
use std::collections::BTreeMap;

/// Names a look-up of the application.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct LookupId(u64);

/// A look-up of the application.
#[derive(Clone, Debug)]
struct Lookup {
    operation: OperationId,
    /// Which end; none for the committed offsets.
    spec: Option<OffsetSpec>,
    open: Vec<TopicPartition>,
    found: BTreeMap<TopicPartition, Option<Offset>>,
    until: Mono,
    ready_at: Mono,
    in_flight: usize,
}

/// The look-ups under way.
#[derive(Clone, Debug, Default)]
pub(super) struct Lookups {
    open: BTreeMap<LookupId, Lookup>,
    next: u64,
}

impl Lookups {
    pub(super) fn topics(&self) -> Vec<TopicName> {
        self.open
            .values()
            .flat_map(|lookup| &lookup.open)
            .map(|partition| partition.topic.clone())
            .collect()
    }

    pub(super) fn next_deadline(&self) -> Option<Mono> {
        self.open
            .values()
            .map(|lookup| {
                if lookup.in_flight == 0 {
                    lookup.ready_at.min(lookup.until)
                } else {
                    lookup.until
                }
            })
            .chain(self.open.values().map(|lookup| lookup.until))
            .min()
    }
}

impl Consumer {
    /// `committed`, `endOffsets`, `beginningOffsets`.
    pub(super) fn look_up(
        &mut self,
        moment: Moment,
        spec: Option<OffsetSpec>,
        partitions: Vec<TopicPartition>,
        io: &mut Io<'_>,
    ) {
        if spec.is_none() && self.group.is_none() {
            let error = ClientError::Broker(ErrorCode::InvalidGroupId);
            io.outcome(
                moment.operation,
                Outcome::Offsets(Err(Failure::fail(error))),
            );
            return;
        }
        let id = LookupId(self.lookups.next);
        self.lookups.next += 1;
        let lookup = Lookup {
            operation: moment.operation,
            spec,
            open: partitions,
            found: BTreeMap::new(),
            until: moment.now + self.config.default_api_timeout_ms,
            ready_at: moment.now,
            in_flight: 0,
        };
        self.lookups.open.insert(id, lookup);
        self.want_topics(moment.now);
    }

    /// Sends the application's look-ups that may go.
    pub(super) fn send_lookups(&mut self, now: Mono, io: &mut Io<'_>) {
        let ids: Vec<LookupId> = self.lookups.open.keys().copied().collect();
        for id in ids {
            let Some(lookup) = self.lookups.open.get(&id) else {
                continue;
            };
            if lookup.until <= now {
                self.end_lookup(id, Err(ClientError::Timeout("default.api.timeout.ms")), io);
            } else if lookup.open.is_empty() && lookup.in_flight == 0 {
                self.end_lookup(id, Ok(()), io);
            } else if lookup.in_flight == 0 && lookup.ready_at <= now {
                match lookup.spec {
                    None => self.send_committed(now, id, io),
                    Some(spec) => self.send_list(now, id, spec, io),
                }
            }
        }
    }

    fn send_committed(&mut self, now: Mono, id: LookupId, io: &mut Io<'_>) {
        let (Some(peer), Some(group)) = (self.coordinator(now, io), self.group.clone()) else {
            return;
        };
        let require_stable = self.requires_stable();
        let Some(lookup) = self.lookups.open.get_mut(&id) else {
            return;
        };
        lookup.in_flight = 1;
        let body = OffsetFetchRequest {
            group_id: group,
            partitions: Some(lookup.open.clone()),
            require_stable,
        };
        let outgoing = Outgoing::new(body, Ask::Lookup(id));
        self.network.submit(now, peer, outgoing, io);
    }

    fn send_list(&mut self, now: Mono, id: LookupId, spec: OffsetSpec, io: &mut Io<'_>) {
        let Some(lookup) = self.lookups.open.get_mut(&id) else {
            return;
        };
        let mut by_leader: BTreeMap<BrokerId, Vec<_>> = BTreeMap::new();
        for partition in &lookup.open {
            let LeaderAndEpoch { leader, epoch } =
                self.network.metadata.leader_and_epoch(partition);
            let Some(leader) = leader else {
                self.network.metadata.request_update();
                return;
            };
            by_leader
                .entry(leader)
                .or_default()
                .push((partition.clone(), epoch, spec));
        }
        lookup.in_flight = by_leader.len();
        for (leader, partitions) in by_leader {
            let body = ListOffsetsRequest {
                replica_id: None,
                isolation_level: self.config.isolation_level,
                partitions,
            };
            let outgoing = Outgoing::new(body, Ask::Lookup(id));
            self.network.submit(now, Peer::Broker(leader), outgoing, io);
        }
    }

    /// An answer to a look-up of end offsets.
    pub(super) fn lookup_listed(&mut self, now: Mono, id: LookupId, answer: &ListOffsetsResponse) {
        let rest = now + self.config.retry_backoff_ms;
        let Some(lookup) = self.lookups.open.get_mut(&id) else {
            return;
        };
        lookup.in_flight -= 1;
        for part in &answer.partitions {
            if part.error.is_none() {
                lookup.open.retain(|partition| *partition != part.partition);
                lookup.found.insert(part.partition.clone(), part.offset);
            } else {
                self.network.metadata.request_update();
                lookup.ready_at = rest;
            }
        }
    }

    /// An answer to a look-up of committed offsets.
    pub(super) fn lookup_committed(
        &mut self,
        now: Mono,
        id: LookupId,
        answer: OffsetFetchResponse,
    ) {
        let rest = now + self.config.retry_backoff_ms;
        let error = fetch_error(&answer);
        let Some(lookup) = self.lookups.open.get_mut(&id) else {
            return;
        };
        lookup.in_flight = 0;
        if let Some(error) = error {
            lookup.ready_at = rest;
            if matches!(
                error,
                ErrorCode::NotCoordinator | ErrorCode::CoordinatorNotAvailable
            ) {
                self.coordinator_unknown();
            }
            return;
        }
        for (partition, result) in answer.partitions {
            lookup.open.retain(|open| *open != partition);
            let offset = result.ok().flatten().map(|committed| committed.offset);
            lookup.found.insert(partition, offset);
        }
    }

    pub(super) fn lookup_lost(&mut self, now: Mono, id: LookupId) {
        let rest = now + self.config.retry_backoff_ms;
        if let Some(lookup) = self.lookups.open.get_mut(&id) {
            lookup.in_flight = lookup.in_flight.saturating_sub(1);
            lookup.ready_at = rest;
        }
    }

    fn end_lookup(&mut self, id: LookupId, result: Result<(), ClientError>, io: &mut Io<'_>) {
        if let Some(lookup) = self.lookups.open.remove(&id) {
            let result = result.map(|()| lookup.found).map_err(Failure::fail);
            io.outcome(lookup.operation, Outcome::Offsets(result));
        }
    }

    /// Gives up every look-up: the consumer closes.
    pub(super) fn drop_lookups(&mut self, io: &mut Io<'_>) {
        let ids: Vec<LookupId> = self.lookups.open.keys().copied().collect();
        for id in ids {
            self.end_lookup(id, Err(ClientError::Closed), io);
        }
    }
}
