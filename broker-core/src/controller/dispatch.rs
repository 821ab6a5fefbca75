//! Which method carries out a [`Step`], and which takes the answers of a [`Then`].

use super::step::{Step, Then};
use super::{Controller, Reply};
use crate::hands::Hands;
use crate::keeper_session::get_children;

impl Controller {
    pub(super) fn take(&mut self, hands: &mut Hands<'_, '_>, step: Step) {
        match step {
            Step::LookForController { elect } => self.look_for_controller(hands, elect),
            Step::ReadEpoch => self.read_epoch(hands),
            Step::Claim { present, version } => self.claim(hands, present, version),
            Step::AskForRegistration => {
                self.registering = true;
                self.wants_registration = true;
            }
            Step::DropNotices => self.drop_notices(hands),
            Step::LoadBrokers => self.list_brokers(hands, super::step::Reading::Failover),
            Step::LoadTopics => self.list_topics(hands, super::step::Reading::Failover),
            Step::LoadStates => self.load_states(),
            Step::LoadDeletions => self.list_deletions(hands, super::step::Reading::Failover),
            Step::AnnounceBrokers => self.announce_brokers(),
            Step::StartReplicaMachine => self.start_replica_machine(),
            Step::StartPartitionMachine => self.start_partition_machine(),
            Step::ReadPreferredElection => self.read_preferred_election(hands),
            Step::ScheduleRebalance(after) => self.schedule_rebalance(hands, after),
            Step::RefreshLeadership(partitions) => self.refresh_leadership(hands, partitions),
            Step::Delete(paths) => self.delete(hands, paths),
            Step::Watch(path) => self.ask(hands, vec![get_children(path, true)], Then::Done),
            Step::AnswerAlterIsr { answers, conflicts } => {
                self.answer_alter_isr(hands, (answers, conflicts));
            }
            Step::AnswerShutdown(broker) => self.answer_shutdown(hands, broker),
            Step::AnswerElection(errors) => self.answer_election(hands, errors),
            Step::StopFollowed { broker, partitions } => self.stop_followed(broker, &partitions),
            Step::ElectByRequest {
                partitions,
                strategy,
                trigger,
            } => self.elect_by_request(partitions, strategy, trigger),
            step @ (Step::Partitions { .. }
            | Step::CreateStates(_)
            | Step::Elect { .. }
            | Step::TriggerOnline(_)
            | Step::Replicas { .. }
            | Step::TakeOut { .. }
            | Step::SendBatch
            | Step::SendMetadata { .. }
            | Step::AddBrokers(_)
            | Step::RemoveBrokers(_)
            | Step::BrokersCame(_)
            | Step::BrokersGone(_)
            | Step::ReplicasOffline(_)
            | Step::Eligible(_)
            | Step::NewPartitions(_)
            | Step::ResumeDeletions
            | Step::BeginDeletion(_)
            | Step::MarkStarted(_)
            | Step::DeleteReplicas(_)
            | Step::MarkIneligible(_)
            | Step::DeletionFailed(_)
            | Step::RemoveTopic(_)
            | Step::DeleteTree(_)) => self.change_state(hands, step),
            step @ (Step::ReadZkReassignment { .. }
            | Step::ResumeReassignments(_)
            | Step::DropFromZk(_)
            | Step::Reassign(..)
            | Step::WriteAssignment(..)
            | Step::SetAssignment(..)
            | Step::CheckReassignment { .. }
            | Step::MoveLeader(_)
            | Step::BumpEpoch(_)
            | Step::FinishReassignment(_)
            | Step::AnswerReassign(_)) => self.move_replicas(hands, step),
        }
    }

    /// The steps of the state machines and of what is built on them.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the match in `take` is complete and passes only these on"
    )]
    fn change_state(&mut self, hands: &mut Hands<'_, '_>, step: Step) {
        match step {
            Step::Partitions {
                partitions,
                target,
                strategy,
            } => self.partitions(partitions, target, strategy),
            Step::CreateStates(partitions) => self.create_states(hands, partitions),
            Step::Elect {
                partitions,
                strategy,
            } => self.elect(hands, partitions, strategy),
            Step::TriggerOnline(topic) => self.trigger_online(topic.as_ref()),
            Step::Replicas { replicas, target } => self.replicas(replicas, target),
            Step::TakeOut { broker, partitions } => self.take_out(hands, broker, partitions),
            Step::SendBatch => self.send_batch(hands),
            Step::SendMetadata {
                brokers,
                partitions,
            } => {
                self.batch
                    .update_metadata(&self.context, brokers, &partitions);
                self.send_batch(hands);
            }
            Step::AddBrokers(brokers) => self.add_brokers(hands, brokers),
            Step::RemoveBrokers(brokers) => self.remove_brokers(hands, &brokers),
            Step::BrokersCame(brokers) => self.brokers_came(brokers),
            Step::BrokersGone(brokers) => self.brokers_gone(&brokers),
            Step::ReplicasOffline(replicas) => self.replicas_offline(replicas),
            Step::Eligible(step) => self.eligible(hands, step),
            Step::NewPartitions(partitions) => self.new_partitions(partitions),
            Step::ResumeDeletions => self.resume_deletions(),
            Step::BeginDeletion(topics) => self.begin_deletion(topics),
            Step::MarkStarted(topics) => self.context.deleting.extend(topics),
            Step::DeleteReplicas(topics) => self.delete_replicas(&topics),
            Step::MarkIneligible(topics) => self.mark_ineligible(topics),
            Step::DeletionFailed(replicas) => self.deletion_failed(replicas),
            Step::RemoveTopic(topic) => self.remove_topic(topic),
            Step::DeleteTree(topic) => self.delete_tree(hands, topic),
            other => unreachable!("{other:?} is taken above"),
        }
    }

    /// The steps of a reassignment.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the match in `take` is complete and passes only these on"
    )]
    fn move_replicas(&mut self, hands: &mut Hands<'_, '_>, step: Step) {
        match step {
            Step::ReadZkReassignment { failover } => self.read_zk_reassignment(hands, failover),
            Step::ResumeReassignments(came) => self.resume_reassignments(&came),
            Step::DropFromZk(which) => self.drop_from_zk(hands, which),
            Step::Reassign(partition, wanted) => self.reassign(hands, partition, wanted),
            Step::WriteAssignment(partition, wanted) => {
                self.write_assignment(hands, &partition, &wanted);
            }
            Step::SetAssignment(partition, wanted) => {
                self.context.set_full_assignment(&partition, wanted);
            }
            Step::CheckReassignment { partition, begin } => {
                self.check_reassignment(hands, partition, begin);
            }
            Step::MoveLeader(partition) => self.move_leader(partition),
            Step::BumpEpoch(partition) => self.bump_epoch(hands, partition),
            Step::FinishReassignment(partition) => self.finish_reassignment(hands, partition),
            Step::AnswerReassign(results) => self.answer_reassign(hands, results),
            other => unreachable!("{other:?} is taken above"),
        }
    }

    fn send_batch(&mut self, hands: &mut Hands<'_, '_>) {
        let settings = &self.settings;
        let all = self
            .batch
            .take(&self.context, &settings.behaviour, settings.broker);
        for outgoing in all {
            self.channels.send(hands.now, hands.io, outgoing);
        }
    }

    pub(super) fn go_on(&mut self, hands: &mut Hands<'_, '_>, then: Then, got: &[Reply]) {
        match then {
            Then::Done => {}
            Then::ControllerRead { elect } => self.controller_read(hands, got, elect),
            Then::EpochRead => self.epoch_read(hands, got),
            Then::EpochCreated => self.epoch_created(),
            Then::Claimed { present } => self.claimed(hands, got, present),
            Then::ClaimChecked { present } => self.claim_checked(hands, got, present),
            Then::PlainCreated => self.plain_created(hands, got),
            Then::PlainOwnerRead => self.plain_owner_read(hands, got),
            Then::PlainEpochRead => self.plain_epoch_read(hands, got),
            Then::PlainEpochWritten { epoch } => self.plain_epoch_written(hands, got, epoch),
            Then::NoticesListed => self.notices_listed(got),
            Then::BrokersListed(why) => self.brokers_listed(hands, why, got),
            Then::BrokersRead(why, ids) => self.brokers_read(hands, (why, ids), got),
            Then::TopicsListed(why) => self.topics_listed(hands, why, got),
            Then::TopicsRead(why, topics) => self.topics_read(hands, (why, topics), got),
            Then::PartitionsRead(topic) => self.partitions_read(hands, &topic, got),
            Then::LeadershipRead(partitions) => self.leadership_read(partitions, got),
            Then::DeletionsListed(why) => self.deletions_listed(why, got),
            Then::PreferredRead => self.preferred_read(got),
            Then::IsrNoticesListed => self.isr_notices_listed(hands, got),
            Then::IsrNoticesRead(names) => self.isr_notices_read(&names, got),
            Then::LogDirNoticesListed => self.log_dir_notices_listed(hands, got),
            Then::LogDirNoticesRead(names) => self.log_dir_notices_read(&names, got),
            Then::StatesCreated(created) => self.states_created(hands, created, got),
            Then::ElectionRead {
                partitions,
                strategy,
            } => self.election_read(hands, (partitions, strategy), got),
            Then::SettingsRead {
                present,
                topics,
                strategy,
            } => {
                let unclean = self.unclean_topics(topics, got);
                self.settings_read(hands, (present, strategy), &unclean);
            }
            Then::ElectionWritten { elected, strategy } => {
                self.election_written(hands, (elected, strategy), got);
            }
            Then::IsrRead { broker, partitions } => {
                self.isr_read(hands, (broker, partitions), got);
            }
            Then::IsrWritten { broker, changes } => self.isr_written(hands, (broker, changes), got),
            Then::AlterIsrWritten { wishes, answered } => {
                self.alter_isr_written(hands, (wishes, answered), got);
            }
            Then::MinIsrRead(topics) => self.min_isr_read(topics, got),
            Then::Forgotten(partition, known) => self.forgotten(hands, (partition, known), got),
            Then::StruckRead(struck, of) => self.struck_read(hands, (struck, of), got),
            Then::StruckWritten(struck, changes) => {
                self.struck_written(hands, (struck, changes), got);
            }
            Then::TreeListed(topic) => self.tree_listed(hands, &topic, got),
            Then::ReassignmentAsked(names) => self.reassignment_asked(names, got),
            Then::ZkReassignmentRead { failover } => self.zk_reassignment_read(failover, got),
            Then::ZkReassignmentsToDrop(which) => {
                self.zk_reassignments_to_drop(hands, &which, got);
            }
            Then::ReassignmentChecked(partition, begin) => {
                self.reassignment_checked(partition, begin, got);
            }
            Then::EpochToBump(partition) => self.epoch_to_bump(hands, partition, got),
            Then::EpochBumped(partition, state) => {
                self.epoch_bumped(hands, (partition, state), got);
            }
        }
    }
}
