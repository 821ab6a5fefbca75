//! Offsets that are committed in transactions.

use super::*;
use protocol::api::transaction::{TransactionalProducer, TxnOffsetCommitRequest};
use protocol::ids::{ProducerEpoch, ProducerId};
use protocol::record::{ControlMarker, ControlType};

const PRODUCER: ProducerId = ProducerId(7);

fn t0() -> TopicPartition {
    TopicPartition::new("t", 0)
}

impl Bench {
    fn commit_in_transaction(
        &mut self,
        member: (&MemberId, GenerationId),
        offset: i64,
    ) -> ErrorCode {
        self.commit_for(GROUP, member, offset)
    }

    fn commit_for(
        &mut self,
        group: &str,
        (member, generation): (&MemberId, GenerationId),
        offset: i64,
    ) -> ErrorCode {
        let request = GroupRequest::TxnOffsetCommit(TxnOffsetCommitRequest {
            producer: TransactionalProducer {
                transactional_id: "tx".into(),
                producer_id: PRODUCER,
                producer_epoch: ProducerEpoch(0),
            },
            group_id: group.into(),
            generation_id: generation,
            member_id: member.clone(),
            group_instance_id: None,
            offsets: vec![CommittedOffset {
                partition: t0(),
                offset: Offset(offset),
                leader_epoch: None,
                metadata: "".into(),
            }],
        });
        let asked = self.ask(3, "c", request);
        let answer: protocol::api::transaction::TxnOffsetCommitResponse = self.answered(asked);
        answer.partitions[0].1
    }

    /// The marker is written and replicated, and the coordinator hears of it and finds the time to act on it.
    fn end(&mut self, committed: bool) {
        self.mark(committed);
        self.run_lanes();
    }

    fn mark(&mut self, committed: bool) {
        let marker = ControlMarker {
            kind: if committed {
                ControlType::Commit
            } else {
                ControlType::Abort
            },
            coordinator_epoch: 0,
        };
        let batch = marker.batch(PRODUCER, ProducerEpoch(0), self.now.wall.millis());
        let batch = batch.rebase(self.end, LeaderEpoch(0));
        self.end = batch.next_offset();
        self.log.extend_from_slice(batch.bytes());
        let partitions = vec![self.partition()];
        self.act(|coordinator, desk| {
            let ended = EndedTransaction {
                producer_id: PRODUCER,
                committed,
                partitions,
            };
            coordinator.on_transaction_ended(desk, ended);
        });
    }

    fn stable_offset(&mut self) -> Result<Option<i64>, ErrorCode> {
        let answer = self.fetch(Some(vec![t0()]), true);
        let found = answer.partitions[0].1.clone();
        found.map(|found| found.map(|found| found.offset.0))
    }
}

fn nobody() -> (MemberId, GenerationId) {
    ("".into(), GenerationId(-1))
}

#[test]
fn an_offset_waits_for_the_marker_and_goes_with_an_abort() {
    for (committed, offset) in [(true, Some(9)), (false, None)] {
        let mut bench = Bench::new();
        let (member, generation) = nobody();
        let error = bench.commit_in_transaction((&member, generation), 9);
        assert_eq!(error, ErrorCode::None);
        assert_eq!(bench.offset("t"), None);
        assert_eq!(bench.stable_offset(), Err(ErrorCode::UnstableOffsetCommit));
        bench.end(committed);
        assert_eq!(bench.stable_offset(), Ok(offset));
        let decided = GroupNote::PendingDecided {
            producer_id: PRODUCER,
            committed,
        };
        assert!(bench.notes.contains(&decided));
        assert_eq!(bench.successor().stable_offset(), Ok(offset));
    }
}

#[test]
fn offsets_of_the_next_transaction_do_not_take_the_place_of_those_that_are_decided() {
    for fix in [true, false] {
        let behaviour = Behaviour::of(Era::Sound).with(Fix::OffsetsWithTheMarker, fix);
        let mut bench = Bench::with(behaviour, |_| {});
        let (member, generation) = nobody();
        bench.commit_in_transaction((&member, generation), 9);
        bench.mark(true);
        // The thread that carries out decisions has no time before the producer goes on.
        bench.commit_in_transaction((&member, generation), 12);
        bench.run_lanes();
        bench.end(false);
        // Without the fix the offset of the second transaction took effect, though that one was aborted.
        assert_eq!(bench.stable_offset(), Ok(Some(if fix { 9 } else { 12 })));
        assert_eq!(bench.successor().stable_offset(), Ok(Some(9)), "by the log");
    }
}

#[test]
fn the_offsets_of_a_transaction_belong_to_a_group_with_a_name() {
    let mut bench = Bench::new();
    let (member, generation) = nobody();
    let error = bench.commit_for("", (&member, generation), 9);
    assert_eq!(error, ErrorCode::InvalidGroupId);
}

#[test]
fn a_new_coordinator_knows_the_offsets_that_wait() {
    let mut bench = Bench::new();
    let (member, generation) = nobody();
    bench.commit_in_transaction((&member, generation), 9);
    let mut next = bench.successor();
    assert_eq!(next.stable_offset(), Err(ErrorCode::UnstableOffsetCommit));
    next.end(true);
    assert_eq!(next.stable_offset(), Ok(Some(9)));
}

#[test]
fn offsets_take_effect_in_the_order_of_the_log_since_kafka_5247() {
    for (fixed, live) in [(true, 20), (false, 10)] {
        let behaviour = Behaviour::of(Era::V2_8).with(Fix::MaterializeByOffset, fixed);
        let mut bench = Bench::with(behaviour, |_| {});
        let (member, generation) = nobody();
        bench.commit_in_transaction((&member, generation), 10);
        bench.commit(&member, generation, 20);
        bench.end(true);
        assert_eq!(bench.offset("t"), Some(live), "fixed: {fixed}");
        assert_eq!(bench.successor().offset("t"), Some(20));
    }
}

#[test]
fn a_member_of_the_past_commits_no_transaction_since_kip_447() {
    for (fixed, answers) in [
        (
            true,
            [ErrorCode::UnknownMemberId, ErrorCode::IllegalGeneration],
        ),
        (false, [ErrorCode::None, ErrorCode::None]),
    ] {
        let behaviour = Behaviour::of(Era::V2_8).with(Fix::GroupMetadataInCommit, fixed);
        let mut bench = Bench::with(behaviour, |_| {});
        let ids = bench.stable(&["a"]);
        let generation = bench.generation();
        let gone = MemberId::from("gone");
        let earlier = GenerationId(generation.0 - 1);
        let told = [
            bench.commit_in_transaction((&gone, generation), 5),
            bench.commit_in_transaction((&ids[0], earlier), 5),
        ];
        assert_eq!(told, answers);
        let error = bench.commit_in_transaction((&ids[0], generation), 5);
        assert_eq!(error, ErrorCode::None);
        let waits = Err(ErrorCode::UnstableOffsetCommit);
        assert_eq!(bench.stable_offset(), if fixed { waits } else { Ok(None) });
    }
}
