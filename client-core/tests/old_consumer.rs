//! Consumers of ZooKeeper's time in a small world: who registers, who owns what, what is delivered and what is committed.

#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    unreachable_pub,
    reason = "a test panics on what it does not expect"
)]

mod ensemble;

use ensemble::World;
use protocol::behaviour::{Behaviour, Era, Fix};
use protocol::ids::{Offset, TopicPartition};
use protocol::note::{ClientNote, Note};
use protocol::time::Span;
use protocol::verb::{ClientError, OperationId, Outcome, ResetReason, Verb};

fn t(index: i32) -> TopicPartition {
    TopicPartition::new("t", index)
}

const SMALLEST: (&str, &str) = ("auto.offset.reset", "smallest");

/// One consumer on host `a` with its streams.
fn alone(partitions: i32, streams: u32, settings: &[(&str, &str)]) -> (World, OperationId) {
    let mut world = World::new(partitions);
    world.start("a", Era::V0_8, settings);
    let creation = world.create_streams("a", streams);
    world.pass(Span::secs(1));
    (world, creation)
}

fn join(world: &mut World, host: &'static str, settings: &[(&str, &str)]) -> OperationId {
    world.start(host, Era::V0_8, settings);
    let creation = world.create_streams(host, 1);
    world.pass(Span::secs(5));
    creation
}

/// Whose name is in the owner nodes of `t`, by host.
fn owners(world: &World) -> Vec<String> {
    let names = world.children("/consumers/g/owners/t");
    let owner = |name: &String| {
        let data = world
            .data(&format!("/consumers/g/owners/t/{name}"))
            .unwrap();
        let host = data
            .strip_prefix("g_")
            .unwrap()
            .split('-')
            .next()
            .unwrap()
            .to_owned();
        format!("{name} {host}")
    };
    names.iter().map(owner).collect()
}

fn committed(world: &World, partition: i32) -> Option<String> {
    world.data(&format!("/consumers/g/offsets/t/{partition}"))
}

/// Takes so many messages from a stream: partition and offset of each.
fn take(world: &mut World, host: &'static str, stream: u32, count: usize) -> Vec<(i32, i64)> {
    let mut taken = Vec::new();
    for _ in 0..count {
        let call = world.call(host, Verb::NextMessage(stream));
        world.pass(Span::millis(500));
        match world.told(call)[..] {
            [Outcome::Polled(Ok(polled))] => {
                let (partition, records) = &polled[0];
                taken.push((partition.partition.0, records[0].offset.0));
            }
            [] => break,
            ref other => panic!("{other:?}"),
        }
    }
    taken
}

#[test]
fn a_consumer_registers_and_owns_every_partition_when_it_is_alone() {
    let (world, creation) = alone(3, 2, &[]);
    let ids = world.children("/consumers/g/ids");
    assert_eq!(ids.len(), 1);
    assert!(ids[0].starts_with("g_a-1000-"), "{ids:?}");
    let registration = world.data(&format!("/consumers/g/ids/{}", ids[0])).unwrap();
    assert!(
        registration.starts_with(r#"{"version":1,"subscription":{"t":2},"pattern":"static","#),
        "{registration}"
    );
    let owner = |index| {
        world
            .data(&format!("/consumers/g/owners/t/{index}"))
            .unwrap()
    };
    assert_eq!(owner(0), format!("{}-0", ids[0]));
    assert_eq!(owner(1), format!("{}-0", ids[0]));
    assert_eq!(owner(2), format!("{}-1", ids[0]));
    let told = world.told(creation);
    assert_eq!(told[0], &Outcome::Assigned(vec![t(0), t(1), t(2)]));
    assert!(told.contains(&&Outcome::Done(Ok(()))));
}

#[test]
fn without_an_offset_it_starts_where_its_settings_say_and_tells_so() {
    for (reset, offset) in [("smallest", 0), ("largest", 5)] {
        let mut world = World::new(1);
        world.append(0, 5);
        world.start("a", Era::V0_8, &[("auto.offset.reset", reset)]);
        let creation = world.create_streams("a", 1);
        world.pass(Span::secs(1));
        let position = Outcome::PositionReset {
            partition: t(0),
            offset: Offset(offset),
            reason: ResetReason::NoCommit,
        };
        assert!(world.told(creation).contains(&&position), "{reset}");
    }
}

#[test]
fn it_goes_on_from_the_offset_in_its_znode_and_resets_one_that_is_out_of_range() {
    let mut world = World::new(2);
    world.append(0, 5);
    for (path, data) in [
        ("/consumers/g", ""),
        ("/consumers/g/offsets", ""),
        ("/consumers/g/offsets/t", ""),
        ("/consumers/g/offsets/t/0", "3"),
        ("/consumers/g/offsets/t/1", "9"),
    ] {
        world.put(path, data);
    }
    world.start("a", Era::V0_8, &[SMALLEST]);
    let creation = world.create_streams("a", 1);
    world.pass(Span::secs(1));
    assert_eq!(take(&mut world, "a", 0, 2), [(0, 3), (0, 4)]);
    let reset = Outcome::PositionReset {
        partition: t(1),
        offset: Offset(0),
        reason: ResetReason::OutOfRange,
    };
    assert!(world.told(creation).contains(&&reset));
}

#[test]
fn what_was_returned_is_committed_every_minute_and_only_if_it_moved() {
    let (mut world, creation) = alone(2, 1, &[SMALLEST]);
    world.append(0, 3);
    assert_eq!(take(&mut world, "a", 0, 2), [(0, 0), (0, 1)]);
    assert_eq!(committed(&world, 0), None);
    world.pass(Span::secs(60));
    assert_eq!(committed(&world, 0).as_deref(), Some("2"));
    let writes = world.writes.len();
    world.pass(Span::secs(120));
    assert_eq!(
        world.writes.len(),
        writes,
        "nothing moved, nothing is written"
    );
    let told = world.told(creation);
    let begun = told
        .iter()
        .filter(|outcome| matches!(outcome, Outcome::Committing(_)));
    let ended = told
        .iter()
        .filter(|outcome| matches!(outcome, Outcome::Committed { .. }));
    assert_eq!((begun.count(), ended.count()), (1, 1));
}

#[test]
fn an_application_that_commits_itself_is_told_when_it_is_done() {
    let (mut world, _) = alone(1, 1, &[SMALLEST, ("auto.commit.enable", "false")]);
    world.append(0, 2);
    assert_eq!(take(&mut world, "a", 0, 2), [(0, 0), (0, 1)]);
    let commit = world.call("a", Verb::CommitSync(std::collections::BTreeMap::new()));
    world.pass(Span::secs(1));
    let [
        Outcome::Committing(_),
        Outcome::Committed { offsets, result },
    ] = world.told(commit)[..]
    else {
        panic!("{:?}", world.told(commit));
    };
    assert_eq!((offsets[&t(0)].offset, result.is_ok()), (Offset(2), true));
    assert_eq!(committed(&world, 0).as_deref(), Some("2"));
}

#[test]
fn a_second_consumer_gets_its_share_and_starts_where_the_first_had_committed() {
    let (mut world, first) = alone(2, 1, &[SMALLEST]);
    world.append(1, 4);
    assert_eq!(take(&mut world, "a", 0, 3), [(1, 0), (1, 1), (1, 2)]);
    join(&mut world, "b", &[SMALLEST]);
    assert_eq!(owners(&world), ["0 a", "1 b"]);
    assert_eq!(
        committed(&world, 1).as_deref(),
        Some("3"),
        "before it gave the partition away"
    );
    assert_eq!(take(&mut world, "b", 0, 1), [(1, 3)]);
    let told = world.told(first);
    let revoked = told
        .iter()
        .position(|outcome| **outcome == Outcome::Revoked(vec![t(0), t(1)]));
    let again = told
        .iter()
        .position(|outcome| **outcome == Outcome::Assigned(vec![t(0)]));
    assert!(revoked.unwrap() < again.unwrap());
}

#[test]
fn new_partitions_are_divided_as_soon_as_the_topic_says_so() {
    let (mut world, creation) = alone(1, 1, &[SMALLEST]);
    world.add_partitions(2);
    world.pass(Span::secs(5));
    assert_eq!(world.children("/consumers/g/owners/t"), ["0", "1"]);
    assert!(
        world
            .told(creation)
            .contains(&&Outcome::Assigned(vec![t(0), t(1)]))
    );
}

#[test]
fn a_dead_owner_is_waited_for_until_its_session_goes() {
    let (mut world, _) = alone(2, 1, &[SMALLEST]);
    join(&mut world, "b", &[SMALLEST]);
    world.kill("b");
    world.pass(Span::secs(10));
    assert_eq!(owners(&world), ["0 a", "1 b"], "nobody has noticed");
    world.expire_dead();
    world.pass(Span::secs(5));
    assert_eq!(owners(&world), ["0 a", "1 a"]);
}

/// The second consumer's partition is free only after the tries of the first are over.
fn outlived(retries: &str) -> World {
    let mut world = World::new(2);
    for path in [
        "/consumers/g",
        "/consumers/g/owners",
        "/consumers/g/owners/t",
    ] {
        world.put(path, "");
    }
    world.put("/consumers/g/owners/t/1", "g_dead-0");
    world.start(
        "a",
        Era::V0_8,
        &[
            ("rebalance.max.retries", retries),
            ("rebalance.backoff.ms", "1000"),
        ],
    );
    world
}

#[test]
fn a_partition_that_is_never_free_ends_in_an_exception_and_what_was_taken_is_given_back() {
    let mut world = outlived("4");
    let creation = world.create_streams("a", 1);
    world.pass(Span::secs(3));
    assert!(world.told(creation).is_empty());
    world.pass(Span::secs(2));
    let [Outcome::Done(Err(failure))] = world.told(creation)[..] else {
        panic!("{:?}", world.told(creation));
    };
    assert_eq!(failure.error, ClientError::RebalanceFailed);
    assert_eq!(owners(&world), ["1 dead"]);
    let tries = world
        .notes
        .iter()
        .filter(|(_, note)| matches!(note, Note::Client(ClientNote::Rebalancing { .. })));
    assert_eq!(tries.count(), 4);
}

#[test]
fn more_patience_than_the_dead_owners_session_is_enough() {
    let mut world = outlived("10");
    let creation = world.create_streams("a", 1);
    world.pass(Span::secs(5));
    world.remove_node("/consumers/g/owners/t/1");
    world.pass(Span::secs(2));
    assert!(
        world
            .told(creation)
            .contains(&&Outcome::Assigned(vec![t(0), t(1)]))
    );
}

#[test]
fn after_its_session_expired_it_has_lost_everything_registers_again_and_rebalances() {
    let (mut world, creation) = alone(1, 1, &[SMALLEST]);
    world.expire("a");
    world.pass(Span::secs(5));
    let told = world.told(creation);
    let lost = told
        .iter()
        .position(|outcome| **outcome == Outcome::Lost(vec![t(0)]));
    let again = told
        .iter()
        .rposition(|outcome| **outcome == Outcome::Assigned(vec![t(0)]));
    assert!(lost.unwrap() < again.unwrap());
    assert_eq!(owners(&world), ["0 a"]);
    assert_eq!(world.children("/consumers/g/ids").len(), 1);
}

#[test]
fn a_zombie_delivers_what_is_queued_and_its_commit_overwrites_that_of_the_new_owner() {
    let (mut world, _) = alone(1, 1, &[SMALLEST, ("auto.commit.interval.ms", "5000")]);
    world.append(0, 6);
    assert_eq!(take(&mut world, "a", 0, 1), [(0, 0)]);
    world.pass(Span::secs(1));
    world.pause("a");
    world.expire("a");
    join(
        &mut world,
        "b",
        &[SMALLEST, ("auto.commit.interval.ms", "5000")],
    );
    assert_eq!(
        take(&mut world, "b", 0, 4),
        [(0, 0), (0, 1), (0, 2), (0, 3)]
    );
    world.pass(Span::secs(5));
    assert_eq!(committed(&world, 0).as_deref(), Some("4"));
    let next = world.call("a", Verb::NextMessage(0));
    world.resume("a");
    let told = format!("{:?}", world.told(next));
    assert!(
        told.contains("offset: 1,"),
        "it does not know that it is dead: {told}"
    );
    world.pass(Span::secs(5));
    assert_eq!(
        committed(&world, 0).as_deref(),
        Some("2"),
        "over the 4 of the owner"
    );
}

#[test]
fn a_full_queue_stops_the_fetcher_and_room_in_it_lets_it_go_on() {
    let (mut world, _) = alone(1, 1, &[SMALLEST, ("queued.max.message.chunks", "1")]);
    world.append(0, 9);
    world.pass(Span::secs(60));
    let expected: Vec<(i32, i64)> = (0..9).map(|offset| (0, offset)).collect();
    assert_eq!(take(&mut world, "a", 0, 9), expected);
}

#[test]
fn a_stream_that_waits_too_long_throws_and_can_be_asked_again() {
    let (mut world, _) = alone(1, 1, &[SMALLEST, ("consumer.timeout.ms", "300")]);
    let next = world.call("a", Verb::NextMessage(0));
    world.pass(Span::secs(1));
    assert!(format!("{:?}", world.told(next)).contains("ConsumerTimeout"));
    world.append(0, 1);
    assert_eq!(take(&mut world, "a", 0, 1), [(0, 0)]);
}

#[test]
fn offsets_can_go_to_kafka_and_to_zookeeper_besides() {
    for (dual, in_zookeeper) in [("true", Some("2")), ("false", None)] {
        let settings = [
            SMALLEST,
            ("offsets.storage", "kafka"),
            ("dual.commit.enabled", dual),
            ("auto.commit.interval.ms", "5000"),
        ];
        let (mut world, _) = alone(1, 1, &settings);
        world.append(0, 2);
        assert_eq!(take(&mut world, "a", 0, 2), [(0, 0), (0, 1)]);
        world.pass(Span::secs(5));
        assert_eq!(world.managed.get(&t(0)), Some(&Offset(2)));
        assert_eq!(committed(&world, 0).as_deref(), in_zookeeper);
    }
}

#[test]
fn a_group_that_moves_to_kafka_starts_from_the_larger_of_both_offsets() {
    for (in_kafka, in_zookeeper, first) in [(1, "3", 3), (4, "3", 4)] {
        let mut world = World::new(1);
        world.append(0, 6);
        for path in [
            "/consumers/g",
            "/consumers/g/offsets",
            "/consumers/g/offsets/t",
        ] {
            world.put(path, "");
        }
        world.put("/consumers/g/offsets/t/0", in_zookeeper);
        world.managed.insert(t(0), Offset(in_kafka));
        world.start("a", Era::V0_8, &[SMALLEST, ("offsets.storage", "kafka")]);
        world.create_streams("a", 1);
        world.pass(Span::secs(2));
        assert_eq!(take(&mut world, "a", 0, 1), [(0, first)]);
    }
}

/// Two processes of one name start at the same moment; what the second is told.
fn namesakes(era: Era, fixed: bool) -> (Vec<Outcome>, Vec<Outcome>) {
    let mut world = World::new(1);
    let behaviour = Behaviour::of(era).with(Fix::EphemeralConflictCheck, fixed);
    let name = [("consumer.id", "same"), SMALLEST];
    world.start_with("a", behaviour, &name);
    world.start_with("b", behaviour, &name);
    let first = world.create_streams("a", 1);
    let second = world.create_streams("b", 1);
    world.pass(Span::secs(5));
    let told = |call| world.told(call).into_iter().cloned().collect();
    (told(first), told(second))
}

#[test]
fn before_kafka_1387_two_processes_of_one_name_both_take_the_registration_for_their_own() {
    let (first, second) = namesakes(Era::V0_8, false);
    let owns = Outcome::Assigned(vec![t(0)]);
    assert!(first.contains(&owns) && second.contains(&owns));
}

#[test]
fn since_kafka_1387_the_second_process_of_one_name_is_refused() {
    let (first, second) = namesakes(Era::V0_9, true);
    assert!(first.contains(&Outcome::Assigned(vec![t(0)])));
    assert!(format!("{second:?}").contains("NodeExists"), "{second:?}");
}

#[test]
fn a_shutdown_commits_gives_everything_back_and_ends_the_streams() {
    let (mut world, creation) = alone(1, 1, &[SMALLEST]);
    world.append(0, 1);
    assert_eq!(take(&mut world, "a", 0, 1), [(0, 0)]);
    let next = world.call("a", Verb::NextMessage(0));
    let close = world.call("a", Verb::Close(Span::ZERO));
    world.pass(Span::secs(1));
    assert!(format!("{:?}", world.told(next)).contains("Closed"));
    assert_eq!(world.told(close), [&Outcome::Done(Ok(()))]);
    assert_eq!(committed(&world, 0).as_deref(), Some("1"));
    assert!(
        world
            .told(creation)
            .contains(&&Outcome::Revoked(vec![t(0)]))
    );
    assert!(world.children("/consumers/g/ids").is_empty());
    assert!(world.children("/consumers/g/owners/t").is_empty());
}

#[test]
fn without_a_broker_it_waits_for_the_first_one() {
    let mut world = World::new(1);
    world.remove_node("/brokers/ids/1");
    world.start("a", Era::V0_8, &[SMALLEST]);
    let creation = world.create_streams("a", 1);
    world.pass(Span::secs(2));
    assert_eq!(world.told(creation), [&Outcome::Done(Ok(()))]);
    world.put("/brokers/ids/1", r#"{"host":"b1","port":9092,"version":1}"#);
    world.pass(Span::secs(2));
    assert!(
        world
            .told(creation)
            .contains(&&Outcome::Assigned(vec![t(0)]))
    );
}

#[test]
fn a_filter_takes_in_topics_that_come_later_as_soon_as_they_are_there() {
    let mut world = World::new(1);
    world.start("a", Era::V0_8, &[SMALLEST]);
    let filter = Verb::CreateStreamsByFilter("t.*".into(), 1);
    let creation = world.call("a", filter);
    world.pass(Span::secs(1));
    assert!(world.told(creation).contains(&&Outcome::Done(Ok(()))));
    let ids = world.children("/consumers/g/ids");
    let registration = world.data(&format!("/consumers/g/ids/{}", ids[0])).unwrap();
    assert!(
        registration.contains(r#""subscription":{"t.*":1},"pattern":"white_list""#),
        "{registration}"
    );
    assert_eq!(owners(&world), ["0 a"]);
    for topic in ["other", "t2"] {
        world.create_topic(topic);
        world.pass(Span::secs(1));
    }
    assert_eq!(world.children("/consumers/g/owners/t2"), ["0"]);
    assert!(world.children("/consumers/g/owners/other").is_empty());
    // A static member learns from its registration what the one with the filter wants.
    join(&mut world, "b", &[SMALLEST]);
    assert_eq!(owners(&world), ["0 a"]);
}
