//! Committing, fetching and losing offsets.

use super::*;

const DAY: Span = Span::secs(86_400);

/// Commits without group management.
fn simple_commit(bench: &mut Bench, offset: i64) -> Asked {
    bench.commit(&NOBODY.0.into(), NOBODY.1, offset)
}

#[test]
fn a_commit_counts_when_it_is_committed_and_not_before() {
    let mut bench = Bench::new();
    simple_commit(&mut bench, 5);
    bench.replicated = false;
    let asked = simple_commit(&mut bench, 9);
    assert!(bench.waits(asked));
    assert_eq!(bench.offset("t"), Some(5));
    let partition = TopicPartition::new("t", 0);
    let stable = bench.fetch(Some(vec![partition.clone()]), true);
    let unstable = Err(ErrorCode::UnstableOffsetCommit);
    assert_eq!(stable.partitions, [(partition.clone(), unstable)]);
    bench.commit_next();
    assert_eq!(bench.commit_error(asked), ErrorCode::None);
    assert_eq!(bench.offset("t"), Some(9));
    let stored = GroupNote::OffsetCommitted {
        partition,
        offset: Offset(9),
        member: "".into(),
        generation: GenerationId(-1),
    };
    assert_eq!(bench.notes.last(), Some(&stored));
}

#[test]
fn a_failed_commit_leaves_the_offset_before() {
    for (error, told) in [
        (ErrorCode::NotLeaderOrFollower, ErrorCode::NotCoordinator),
        (ErrorCode::KafkaStorageError, ErrorCode::NotCoordinator),
        (
            ErrorCode::NotEnoughReplicas,
            ErrorCode::CoordinatorNotAvailable,
        ),
        (
            ErrorCode::NotEnoughReplicasAfterAppend,
            ErrorCode::CoordinatorNotAvailable,
        ),
        (
            ErrorCode::UnknownTopicOrPartition,
            ErrorCode::CoordinatorNotAvailable,
        ),
        (
            ErrorCode::MessageTooLarge,
            ErrorCode::InvalidCommitOffsetSize,
        ),
        (ErrorCode::RequestTimedOut, ErrorCode::RequestTimedOut),
    ] {
        let mut bench = Bench::new();
        simple_commit(&mut bench, 5);
        bench.replicated = false;
        let asked = simple_commit(&mut bench, 9);
        bench.fail_next(error);
        assert_eq!(bench.commit_error(asked), told);
        assert_eq!(bench.offset("t"), Some(5));
        assert!(bench.group().pending_offsets.is_empty());
        let member = "".into();
        let refused = GroupNote::CommitRefused {
            member,
            error: told,
        };
        assert_eq!(bench.notes.last(), Some(&refused));
    }
}

#[test]
fn an_earlier_record_does_not_overtake_a_later_one() {
    for (by_log, expected) in [(true, 9), (false, 5)] {
        let behaviour = Behaviour::of(Era::V2_8).with(Fix::MaterializeByOffset, by_log);
        let mut bench = Bench::with(behaviour, |_| {});
        bench.replicated = false;
        simple_commit(&mut bench, 5);
        simple_commit(&mut bench, 9);
        // Another commit keeps the partition pending.
        simple_commit(&mut bench, 11);
        let tickets: Vec<_> = bench.appends.iter().map(|append| append.ticket).collect();
        bench.finish(tickets[1], Ok(Offset(1)));
        bench.finish(tickets[0], Ok(Offset(0)));
        assert_eq!(bench.offset("t"), Some(expected));
    }
}

#[test]
fn commits_are_checked_by_member_generation_and_state() {
    let mut bench = Bench::new();
    let ids = bench.stable(&["c1"]);
    let asked = bench.commit(&ids[0], GenerationId(1), 5);
    assert_eq!(bench.commit_error(asked), ErrorCode::None);
    let asked = bench.commit(&ids[0], GenerationId(0), 6);
    assert_eq!(bench.commit_error(asked), ErrorCode::IllegalGeneration);
    let asked = bench.commit(&"x".into(), GenerationId(1), 6);
    assert_eq!(bench.commit_error(asked), ErrorCode::UnknownMemberId);
    let asked = simple_commit(&mut bench, 6);
    assert_eq!(bench.commit_error(asked), ErrorCode::UnknownMemberId);
    assert_eq!(bench.offset("t"), Some(5));
}

#[test]
fn what_was_done_before_a_rebalance_may_be_committed_until_it_completes() {
    let mut bench = Bench::new();
    let ids = bench.stable(&["c1"]);
    bench.newcomer("c2");
    let asked = bench.commit(&ids[0], GenerationId(1), 5);
    assert_eq!(bench.commit_error(asked), ErrorCode::None);
    bench.join(&ids[0]);
    assert_eq!(bench.state(), "CompletingRebalance");
    let asked = bench.commit(&ids[0], GenerationId(2), 6);
    assert_eq!(bench.commit_error(asked), ErrorCode::RebalanceInProgress);
    let asked = bench.commit(&ids[0], GenerationId(1), 6);
    assert_eq!(bench.commit_error(asked), ErrorCode::IllegalGeneration);
}

#[test]
fn a_commit_is_a_sign_of_life() {
    let mut bench = Bench::new();
    let ids = bench.stable(&["c1"]);
    for offset in 0..5 {
        bench.pass(Span::secs(9));
        bench.commit(&ids[0], GenerationId(1), offset);
    }
    assert_eq!(bench.group().members.len(), 1);
}

#[test]
fn a_generation_of_a_group_nobody_knows_is_illegal() {
    let mut bench = Bench::new();
    let asked = bench.commit(&"x".into(), GenerationId(3), 5);
    assert_eq!(bench.commit_error(asked), ErrorCode::IllegalGeneration);
}

#[test]
fn without_the_generation_check_a_zombie_moves_the_group_back() {
    let loose = Behaviour::of(Era::V2_8).with(Fix::GenerationCheck, false);
    let mut bench = Bench::with(loose, |_| {});
    let old = bench.stable(&["c1"])[0].clone();
    bench.pass(SESSION);
    let new = bench.stable(&["c2"])[0].clone();
    let generation = bench.generation();
    bench.commit(&new, generation, 50);
    let asked = bench.commit(&old, GenerationId(1), 10);
    assert_eq!(bench.commit_error(asked), ErrorCode::None);
    assert_eq!(bench.offset("t"), Some(10));
}

#[test]
fn partitions_are_answered_one_by_one() {
    let mut bench = Bench::new();
    let long = "x".repeat(4_097);
    let offsets = vec![
        committed("long", 1, &long),
        committed("gone", 2, ""),
        committed("kept", 3, &long[1..]),
    ];
    let request = commit(&"".into(), GenerationId(-1), offsets);
    let unknown = BTreeSet::from([TopicPartition::new("gone", 0)]);
    let asked = bench.ask_with(8, "c", request, unknown);
    let answer: OffsetCommitResponse = bench.answered(asked);
    let errors: Vec<_> = answer.partitions.iter().map(|(_, error)| *error).collect();
    assert_eq!(
        errors,
        [
            ErrorCode::OffsetMetadataTooLarge,
            ErrorCode::UnknownTopicOrPartition,
            ErrorCode::None
        ]
    );
    assert_eq!(
        (bench.offset("long"), bench.offset("kept")),
        (None, Some(3))
    );
}

#[test]
fn a_commit_of_nothing_but_unknown_partitions_writes_nothing() {
    let mut bench = Bench::new();
    let request = commit(&"".into(), GenerationId(-1), vec![committed("gone", 2, "")]);
    let unknown = BTreeSet::from([TopicPartition::new("gone", 0)]);
    let asked = bench.ask_with(8, "c", request, unknown);
    assert_eq!(
        bench.commit_error(asked),
        ErrorCode::UnknownTopicOrPartition
    );
    assert_eq!(bench.end, Offset::ZERO);
}

#[test]
fn a_fetch_gives_all_offsets_or_those_asked_for() {
    let mut bench = Bench::new();
    assert!(bench.fetch(None, false).partitions.is_empty());
    assert_eq!(bench.offset("t"), None);
    let offsets = vec![committed("a", 1, "note"), committed("b", 2, "")];
    bench.ask(
        8,
        "c",
        commit(&"".into(), GenerationId(-1), offsets.clone()),
    );
    let all = bench.fetch(None, false).partitions;
    let expected: Vec<_> = offsets
        .into_iter()
        .map(|offset| (offset.partition.clone(), Ok(Some(offset))))
        .collect();
    assert_eq!(all, expected);
}

#[test]
fn errors_before_version_2_stand_beside_each_partition() {
    let mut bench = Bench::idle(Behaviour::of(Era::V2_8), |_| {});
    let fetch = |partitions| {
        GroupRequest::OffsetFetch(OffsetFetchRequest {
            group_id: GROUP.into(),
            partitions,
            require_stable: false,
        })
    };
    let partition = TopicPartition::new("t", 0);
    let asked = bench.ask(1, "c", fetch(Some(vec![partition.clone()])));
    let answer: OffsetFetchResponse = bench.answered(asked);
    assert_eq!(answer.error, ErrorCode::None);
    assert_eq!(
        answer.partitions,
        [(partition, Err(ErrorCode::NotCoordinator))]
    );
    let asked = bench.ask(2, "c", fetch(None));
    let answer: OffsetFetchResponse = bench.answered(asked);
    assert_eq!(answer.error, ErrorCode::NotCoordinator);
}

#[test]
fn offsets_of_a_living_group_do_not_expire_and_those_of_an_empty_one_do() {
    let mut bench = Bench::new();
    let ids = bench.stable(&["c1"]);
    bench.commit(&ids[0], GenerationId(1), 5);
    for _ in 0..8 * 86_400 / 9 {
        bench.heartbeat(&ids[0], GenerationId(1));
        bench.pass(Span::secs(9));
    }
    assert_eq!(bench.offset("t"), Some(5));
    bench.leave(&ids[0]);
    bench.pass(DAY * 7 - Span::secs(1));
    assert_eq!(bench.offset("t"), Some(5));
    bench.pass(Span::secs(600));
    assert_eq!(bench.offset("t"), None);
    assert!(
        !bench
            .coordinator
            .registry
            .groups
            .contains_key(&GroupId::from(GROUP))
    );
    let expired = GroupNote::OffsetExpired(TopicPartition::new("t", 0));
    let dead = GroupNote::State("Dead");
    assert!(bench.notes.ends_with(&[expired, dead]));
}

#[test]
fn offsets_of_topics_nobody_subscribes_to_expire_in_a_stable_group() {
    let mut bench = Bench::new();
    let ids = bench.stable(&["c1"]);
    let offsets = vec![committed("t", 5, ""), committed("other", 6, "")];
    bench.ask(8, "c", commit(&ids[0], GenerationId(1), offsets));
    for _ in 0..8 * 86_400 / 9 {
        bench.heartbeat(&ids[0], GenerationId(1));
        bench.pass(Span::secs(9));
    }
    assert_eq!((bench.offset("t"), bench.offset("other")), (Some(5), None));
}

#[test]
fn before_kip_211_offsets_expire_although_the_group_lives() {
    let old = Behaviour::of(Era::V2_8).with(Fix::ExpireOnlyWhenEmpty, false);
    let mut bench = Bench::with(old, |_| {});
    let ids = bench.stable(&["c1"]);
    bench.commit(&ids[0], GenerationId(1), 5);
    for _ in 0..8 * 86_400 / 9 {
        bench.heartbeat(&ids[0], GenerationId(1));
        bench.pass(Span::secs(9));
    }
    assert_eq!((bench.offset("t"), bench.state()), (None, "Stable"));
}

#[test]
fn offsets_expire_in_the_middle_of_a_rebalance_before_kafka_13636() {
    for (fixed, kept) in [(false, None), (true, Some(6))] {
        let behaviour = Behaviour::of(Era::V2_8).with(Fix::ExpireNotInRebalance, fixed);
        let mut bench = Bench::with(behaviour, |_| {});
        let ids = bench.stable(&["c1"]);
        let offsets = vec![committed("other", 6, "")];
        bench.ask(8, "c", commit(&ids[0], GenerationId(1), offsets));
        // The rebalance lasts while the wall clock jumps.
        bench.newcomer("c2");
        bench.now.wall = Wall(bench.now.wall.0 + i64::try_from((DAY * 8).0).unwrap());
        let desk_cleanup = |bench: &mut Bench| {
            bench.coordinator.registry.cleanup = Alarm::default();
            let now = bench.now.mono;
            let cleanup = &mut bench.coordinator.registry.cleanup;
            let deadlines = &mut bench.coordinator.office.deadlines;
            deadlines.set(cleanup, now, || Deadline::Cleanup);
            bench.act(GroupCoordinator::on_timer);
        };
        desk_cleanup(&mut bench);
        assert_eq!(bench.state(), "PreparingRebalance");
        assert_eq!(bench.offset("other"), kept);
    }
}

#[test]
fn offsets_of_a_consumer_without_a_group_expire_by_their_own_age() {
    let mut bench = Bench::new();
    simple_commit(&mut bench, 5);
    bench.pass(DAY * 6);
    simple_commit(&mut bench, 6);
    bench.pass(DAY * 6);
    assert_eq!(bench.offset("t"), Some(6));
    let before = bench.end;
    bench.pass(DAY + Span::secs(600));
    assert_eq!(bench.offset("t"), None);
    // One tombstone: such a group has no record of its own to bury.
    assert_eq!(bench.end, before.next());
}

#[test]
fn a_retention_in_the_request_goes_before_the_brokers() {
    let mut bench = Bench::new();
    let request = OffsetCommitRequest {
        group_id: GROUP.into(),
        generation_id: GenerationId(-1),
        member_id: "".into(),
        group_instance_id: None,
        retention: Some(Span::secs(60)),
        offsets: vec![committed("t", 5, "")],
    };
    bench.ask(4, "c", GroupRequest::OffsetCommit(request));
    bench.pass(Span::secs(601));
    assert_eq!(bench.offset("t"), None);
}

#[test]
fn an_offset_with_a_commit_under_way_does_not_expire() {
    let mut bench = Bench::new();
    simple_commit(&mut bench, 5);
    bench.replicated = false;
    bench.pass(DAY * 6);
    simple_commit(&mut bench, 6);
    bench.pass(DAY * 2);
    assert_eq!(bench.offset("t"), Some(5));
    bench.fail_next(ErrorCode::NotEnoughReplicas);
    bench.pass(Span::secs(600));
    assert_eq!(bench.offset("t"), None);
}
