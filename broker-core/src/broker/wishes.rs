//! Carries the parts' wishes to each other until nobody wishes anything more.
//!
//! Parts do not know each other; what one wants of another it leaves as a value, and the broker carries it over in the same
//! step, as Kafka's direct method calls would.

use super::{Broker, Stage};
use crate::group::{Desk, GroupAppend, LoadData, LoadRead, OFFSETS_TOPIC, offsets_partition};
use crate::hands::Hands;
use crate::isr_writer::IsrResult;
use crate::replication::{InternalAppend, LeadershipChange, Step};
use crate::transaction::TRANSACTION_TOPIC;
use protocol::api::data::Acks;
use protocol::ids::{Offset, TopicPartition};
use protocol::machine::Io;
use protocol::time::Now;

impl Broker {
    pub(super) fn settle(&mut self, now: Now, io: &mut Io<'_>) {
        while self.settle_once(now, io) {}
        self.continue_shutdown(now, io);
    }

    /// One round; whether anything was carried.
    fn settle_once(&mut self, now: Now, io: &mut Io<'_>) -> bool {
        let mut busy = false;
        while let Some(event) = self.coordination.next_event() {
            busy = true;
            self.on_coordination(now, event, io);
        }
        if self.apply_settings(io) {
            busy = true;
            self.allow_unclean_elections(io);
            self.load_when_settings_are_known(now, io);
            self.serve_parked(now, io);
        }
        busy |= self.carry_isr(now, io);
        busy |= self.carry_leadership(now, io);
        busy |= self.carry_transactions(now, io);
        busy |= self.carry_appends(now, io);
        busy |= self.carry_loads(now, io);
        busy
    }

    fn serve_parked(&mut self, now: Now, io: &mut Io<'_>) {
        if self.stage == Stage::Running {
            for taken in std::mem::take(&mut self.parked) {
                self.serve_request(now, taken, io);
            }
        }
    }

    fn carry_isr(&mut self, now: Now, io: &mut Io<'_>) -> bool {
        let updates = self.replicas.take_isr_updates();
        let mut busy = !updates.is_empty();
        for update in updates {
            let refused = IsrResult::not_attempted(&update);
            let mut hands = Hands {
                now,
                io,
                keeper: &mut self.coordination.keeper,
                requests: &mut self.requests,
            };
            if !self.coordination.isr.submit(&mut hands, update) {
                self.replicas.on_isr_result(
                    &mut Step {
                        now,
                        io,
                        requests: &mut self.requests,
                    },
                    refused,
                );
            }
        }
        for result in self.coordination.isr.take_results() {
            busy = true;
            self.replicas.on_isr_result(
                &mut Step {
                    now,
                    io,
                    requests: &mut self.requests,
                },
                result,
            );
        }
        busy
    }

    fn carry_leadership(&mut self, now: Now, io: &mut Io<'_>) -> bool {
        let changes = self.replicas.take_leadership_changes();
        let busy = !changes.is_empty();
        for (partition, change) in changes {
            self.coordination.isr.clear_pending(&partition);
            if partition.topic.as_str() == TRANSACTION_TOPIC {
                self.on_transaction_leadership(now, (partition.partition.0, change), io);
            }
            if partition.topic.as_str() != OFFSETS_TOPIC {
                continue;
            }
            let index = partition.partition.0;
            match change {
                LeadershipChange::BecameLeader { epoch } => {
                    self.groups.on_elected(io, index, epoch);
                }
                LeadershipChange::Resigned { epoch } => {
                    self.groups.on_resigned(
                        Desk {
                            now,
                            io,
                            requests: &mut self.requests,
                        },
                        index,
                        epoch,
                    );
                }
            }
        }
        busy
    }

    fn on_transaction_leadership(
        &mut self,
        now: Now,
        (index, change): (i32, LeadershipChange),
        io: &mut Io<'_>,
    ) {
        match change {
            LeadershipChange::BecameLeader { epoch } => {
                self.transactions.on_elected(io, index, epoch);
            }
            LeadershipChange::Resigned { .. } => self.transact(now, io, |transactions, desk| {
                transactions.on_resigned(desk, index);
            }),
        }
    }

    fn carry_appends(&mut self, now: Now, io: &mut Io<'_>) -> bool {
        let appends = self.groups.take_appends();
        let mut busy = !appends.is_empty();
        for append in appends {
            let GroupAppend {
                ticket,
                partition,
                batch,
                required_acks,
                timeout,
            } = append;
            let append = InternalAppend {
                partition: offsets_partition(partition),
                batch,
                acks: if required_acks == 0 || required_acks == 1 {
                    Acks::Leader
                } else {
                    Acks::All
                },
                timeout,
            };
            let mut step = Step {
                now,
                io,
                requests: &mut self.requests,
            };
            let own = self.replicas.append_internal(&mut step, append);
            self.group_appends.insert(own, ticket);
        }
        for (own, result) in self.replicas.take_finished_appends() {
            busy = true;
            if let Some(ticket) = self.transaction_appends.remove(&own) {
                self.transact(now, io, |transactions, desk| {
                    transactions.on_append_finished(desk, ticket, result);
                });
            } else if let Some(ticket) = self.group_appends.remove(&own) {
                self.groups.on_append_finished(
                    Desk {
                        now,
                        io,
                        requests: &mut self.requests,
                    },
                    ticket,
                    result,
                );
            }
        }
        busy
    }

    fn carry_loads(&mut self, now: Now, io: &mut Io<'_>) -> bool {
        let loads = self.groups.take_loads();
        let busy = !loads.is_empty();
        for load in loads {
            let data = load_data(self, now, &offsets_partition(load.partition), &load, io);
            self.groups.on_load_data(
                Desk {
                    now,
                    io,
                    requests: &mut self.requests,
                },
                load.partition,
                data,
            );
        }
        busy
    }
}

/// What a coordinator's load reads of its partition.
pub(super) fn load_data(
    broker: &mut Broker,
    now: Now,
    partition: &TopicPartition,
    load: &LoadRead,
    io: &mut Io<'_>,
) -> LoadData {
    let Some((start, _, end)) = broker.replicas.log_bounds(partition) else {
        return LoadData::NoLog;
    };
    let from: Offset = load.from.unwrap_or(start);
    let max_bytes = u64::try_from(load.max_bytes).unwrap_or(0);
    let mut step = Step {
        now,
        io,
        requests: &mut broker.requests,
    };
    let read =
        broker
            .replicas
            .read_local(&mut step, partition, from, (max_bytes, load.min_one_batch));
    match read {
        Ok(records) => {
            let leads = broker.replicas.leads(partition).is_some();
            LoadData::Batches {
                records,
                from,
                log_end_offset: leads.then_some(end),
            }
        }
        Err(_) => LoadData::NoLog,
    }
}
