//! Words of a controller that come too late.
//!
//! A controller tells of an election when the keeper's answer reaches it. One that stood still between its write and the
//! answer tells of it long after others have elected anew: what it says was true, and stands in the keeper no more.

use crate::event::Controller;
use protocol::ids::{LeaderEpoch, PartitionEpoch, TopicPartition};
use std::collections::BTreeMap;

/// How far each partition's state in the keeper is known to have come.
#[derive(Clone, Debug, Default)]
pub(super) struct NewestStates(BTreeMap<TopicPartition, (LeaderEpoch, Option<PartitionEpoch>)>);

impl NewestStates {
    /// Whether something newer has been told before; what is not late is taken in.
    pub(super) fn is_late(&mut self, told: &Controller) -> bool {
        let (partition, state) = match told {
            Controller::LeaderElected(election) => {
                (&election.partition, (election.leader_epoch, None))
            }
            Controller::IsrWritten {
                partition,
                leader_epoch,
                partition_epoch,
                ..
            } => (partition, (*leader_epoch, Some(*partition_epoch))),
            Controller::TopicDeleted(topic) => {
                // A topic of the same name starts again at leader epoch 0.
                self.0.retain(|partition, _| partition.topic != *topic);
                return false;
            }
            Controller::Elected { .. }
            | Controller::Resigned { .. }
            | Controller::ReassignmentStarted { .. }
            | Controller::Reassigned { .. }
            | Controller::BrokerUp { .. }
            | Controller::BrokerDown { .. }
            | Controller::TopicCreated(..) => return false,
        };
        let Some(newest) = self.0.get_mut(partition) else {
            self.0.insert(partition.clone(), state);
            return false;
        };
        let late = state < *newest;
        *newest = (*newest).max(state);
        late
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{ElectionKind, LeaderElection};
    use protocol::ids::{ControllerEpoch, TopicName};

    fn elected(epoch: i32) -> Controller {
        Controller::LeaderElected(LeaderElection {
            partition: TopicPartition::new("orders", 0),
            leader: None,
            leader_epoch: LeaderEpoch(epoch),
            isr: Vec::new(),
            kind: ElectionKind::Clean,
            controller_epoch: ControllerEpoch(1),
        })
    }

    fn written(epoch: i32, version: i32) -> Controller {
        Controller::IsrWritten {
            partition: TopicPartition::new("orders", 0),
            isr: Vec::new(),
            leader_epoch: LeaderEpoch(epoch),
            partition_epoch: PartitionEpoch(version),
        }
    }

    #[test]
    fn what_a_controller_tells_after_a_newer_one_has_written_is_late() {
        let mut newest = NewestStates::default();
        let told = [
            elected(6),
            written(6, 3),
            elected(7),
            written(6, 4),
            elected(6),
            written(7, 5),
        ];
        let late = told.map(|told| newest.is_late(&told));
        assert_eq!(late, [false, false, false, true, true, false]);
    }

    #[test]
    fn a_topic_that_is_created_again_begins_anew() {
        let mut newest = NewestStates::default();
        assert!(!newest.is_late(&elected(6)));
        assert!(!newest.is_late(&Controller::TopicDeleted(TopicName::from("orders"))));
        assert!(!newest.is_late(&elected(0)));
    }
}
