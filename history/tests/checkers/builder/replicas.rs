//! Leaders and followers: elections, appends, marks, and the deaths of brokers.

use super::{Builder, orders};
use history::event::{Append, Controller, ElectionKind, LeaderElection, Process, Replica, What};
use history::operation::Value;
use protocol::ids::{
    BrokerId, ControllerEpoch, LeaderEpoch, Offset, PartitionEpoch, ProducerEpoch, ProducerId,
    Sequence, TopicPartition,
};

impl Builder {
    pub(crate) fn broker(&mut self, broker: u16, replica: Replica) {
        self.at(Some(broker - 1), What::Replica(orders(), replica));
    }

    /// The controller on broker 1 elects a leader, which says so; everybody alive follows.
    pub(crate) fn elect(
        &mut self,
        leader: u16,
        epoch: i32,
        kind: ElectionKind,
        isr: &[i32],
        end: i64,
    ) {
        let isr: Vec<BrokerId> = isr.iter().copied().map(BrokerId).collect();
        let election = LeaderElection {
            partition: orders(),
            leader: Some(BrokerId(i32::from(leader))),
            leader_epoch: LeaderEpoch(epoch),
            isr: isr.clone(),
            kind,
            controller_epoch: ControllerEpoch(1),
        };
        self.at(
            Some(0),
            What::Controller(Controller::LeaderElected(election)),
        );
        let isr: Vec<i32> = isr.iter().map(|id| id.0).collect();
        self.lead(leader, epoch, &isr, end);
    }

    /// A broker says that it leads.
    pub(crate) fn lead(&mut self, leader: u16, epoch: i32, isr: &[i32], end: i64) {
        let became = Replica::BecameLeader {
            leader_epoch: LeaderEpoch(epoch),
            isr: isr.iter().copied().map(BrokerId).collect(),
            log_end_offset: Offset(end),
        };
        self.broker(leader, became);
    }

    /// The leader asks for these in-sync replicas, and the controller writes them.
    pub(crate) fn let_in(&mut self, leader: u16, epoch: i32, isr: &[i32], waits_for: &[i32]) {
        let proposed = Replica::IsrProposed {
            isr: brokers(isr),
            waits_for: brokers(waits_for),
        };
        self.broker(leader, proposed);
        self.isr_told(epoch, isr);
    }

    /// The controller says that it wrote an in-sync set.
    pub(crate) fn isr_told(&mut self, epoch: i32, isr: &[i32]) {
        let written = Controller::IsrWritten {
            partition: orders(),
            isr: brokers(isr),
            leader_epoch: LeaderEpoch(epoch),
            partition_epoch: PartitionEpoch(1),
        };
        self.at(Some(0), What::Controller(written));
    }

    /// Nobody can lead.
    pub(crate) fn offline(&mut self, epoch: i32) {
        self.goes_offline(orders(), epoch);
    }

    pub(crate) fn goes_offline(&mut self, partition: TopicPartition, epoch: i32) {
        let election = LeaderElection {
            partition,
            leader: None,
            leader_epoch: LeaderEpoch(epoch),
            isr: vec![BrokerId(1)],
            kind: ElectionKind::Clean,
            controller_epoch: ControllerEpoch(1),
        };
        self.at(
            Some(0),
            What::Controller(Controller::LeaderElected(election)),
        );
    }

    /// The first leader is broker 1 with all in sync.
    pub(crate) fn born(&mut self) {
        self.elect(1, 0, ElectionKind::New, &[1, 2, 3], 0);
    }

    /// Replicas append one record each; the first named is the leader.
    pub(crate) fn append(&mut self, brokers: &[u16], offset: i64, epoch: i32, value: Value) {
        for broker in brokers {
            let append = Append {
                base_offset: Offset(offset),
                last_offset: Offset(offset),
                leader_epoch: LeaderEpoch(epoch),
                crc: u32::try_from(value.0 & 0xffff).unwrap() ^ (u32::from(value.writer()) << 20),
                leader: Some(broker) == brokers.first(),
                producer: None,
                control: false,
                transactional: false,
                committed: None,
                values: vec![value],
            };
            self.broker(*broker, Replica::Appended(append));
        }
    }

    /// The same by an idempotent producer, under this epoch and first sequence.
    pub(crate) fn append_numbered(
        &mut self,
        brokers: &[u16],
        offset: i64,
        (epoch, sequence): (i16, i32),
        value: Value,
    ) {
        let begin = self.history.events.len();
        self.append(brokers, offset, 0, value);
        for event in &mut self.history.events[begin..] {
            if let What::Replica(_, Replica::Appended(append)) = &mut event.what {
                append.producer =
                    Some((ProducerId(1000), ProducerEpoch(epoch), Sequence(sequence)));
            }
        }
    }

    /// The broker starts again with everything it had.
    pub(crate) fn loaded(&mut self, broker: u16, end: i64) {
        let loaded = Replica::Loaded {
            log_start_offset: Offset(0),
            log_end_offset: Offset(end),
            high_watermark: Offset(end),
            clean: false,
        };
        self.broker(broker, loaded);
    }

    pub(crate) fn high_watermark(&mut self, brokers: &[u16], mark: i64) {
        for broker in brokers {
            self.broker(*broker, Replica::HighWatermark(Offset(mark)));
        }
    }

    pub(crate) fn truncate(&mut self, broker: u16, to: i64, from: i64, rule: &str) {
        let truncated = Replica::Truncated {
            to: Offset(to),
            from: Offset(from),
            rule: rule.to_owned(),
        };
        self.broker(broker, truncated);
    }

    /// The broker loses power and comes back with a log that ends at `end`.
    pub(crate) fn power_loss(&mut self, broker: u16, end: i64) {
        let died = Process::Died {
            how: "power".to_owned(),
            bytes_lost: 100,
        };
        self.at(Some(broker - 1), What::Process(died));
        self.at(
            Some(broker - 1),
            What::Process(Process::Started { life: 1 }),
        );
        let loaded = Replica::Loaded {
            log_start_offset: Offset(0),
            log_end_offset: Offset(end),
            high_watermark: Offset(end),
            clean: false,
        };
        self.broker(broker, loaded);
    }

    pub(crate) fn kill(&mut self, broker: u16) {
        let died = Process::Died {
            how: "process".to_owned(),
            bytes_lost: 0,
        };
        self.at(Some(broker - 1), What::Process(died));
    }
}

fn brokers(ids: &[i32]) -> Vec<BrokerId> {
    ids.iter().copied().map(BrokerId).collect()
}
