//! Steps of a core: disk time, kills in the middle, barriers, timers, lanes and clocks.

#![allow(clippy::unwrap_used, reason = "a test")]

mod toys;

use protocol::machine::Lane;
use protocol::time::Span;
use protocol::verb::Verb;
use sim::random::Latency;
use sim::world::{
    Boot, ClockConfig, DiskAtRestart, DiskConfig, DiskFault, Fault, FaultId, Happening, KillKind,
    LaneRule, NetworkConfig, NodeSpec, Observer, Place, Unflushed, Unobserved, World, WorldCommand,
};
use std::collections::BTreeMap;
use toys::{A, B, Barrier, Role, Seen, dial, high_watermark, ms, node, send, word};

const FAULT: FaultId = FaultId(1);

/// a and b, 1 ms apart; an append on a takes 100 µs, a flush 5 ms.
fn pair() -> World<Role> {
    let mut a = node("a", Role::Script);
    a.disk = DiskConfig {
        append: Span::micros(100),
        flush: Latency::Constant(Span::millis(5)),
        ..DiskConfig::instant()
    };
    let config = NetworkConfig {
        latency: Latency::Constant(Span::millis(1)),
        ..NetworkConfig::default()
    };
    let mut world = World::new(5, vec![a, node("b", Role::Script)], config);
    run(&mut world, 0);
    act(&mut world, dial(A, "b"));
    run(&mut world, 5);
    world
}

fn run(world: &mut World<Role>, until: u64) {
    world.run_until(ms(until), &mut Unobserved);
}

fn act(world: &mut World<Role>, command: WorldCommand) {
    world.command(command, &mut Unobserved);
}

fn log(world: &World<Role>) -> Vec<u8> {
    let cached = world.disk(A).cached("data/log");
    cached.map(|bytes| bytes.to_vec()).unwrap_or_default()
}

fn got(world: &World<Role>) -> Vec<i32> {
    world.machine(B).unwrap().received.clone()
}

fn numbers(bytes: &[u8]) -> Vec<i32> {
    bytes
        .chunks(4)
        .map(|chunk| i32::from_be_bytes(chunk.try_into().unwrap()))
        .collect()
}

fn kill(kind: KillKind) -> WorldCommand {
    WorldCommand::Kill { node: A, kind }
}

#[test]
fn a_kill_between_two_disk_operations_of_a_step_keeps_the_first_and_all_it_caused() {
    // At 5 ms: append 1 (done 5.1), note, send; append 2 (done 5.2), note, send.
    let at = |micros: u64| sim::world::At(5_000_000 + micros * 1_000);
    for (micros, kept) in [(50, 0), (100, 1), (150, 1), (199, 1), (201, 2)] {
        for kind in [KillKind::Process, KillKind::Power(Unflushed::Drawn)] {
            let mut world = pair();
            let mut barrier = Barrier::default();
            world.schedule_command(at(0), word(A, 1, Verb::Flush));
            world.schedule_command(at(micros), kill(kind));
            world.run_until(ms(50), &mut barrier);
            if micros == 100 {
                // The kill was scheduled before the effects of that instant, so they never happen.
                assert!(got(&world).is_empty());
            } else {
                assert_eq!(got(&world), (1..=kept).collect::<Vec<_>>(), "{micros}");
                assert_eq!(barrier.notes.len(), usize::try_from(kept).unwrap());
            }
            if kind == KillKind::Process {
                assert_eq!(numbers(&log(&world)), (1..=kept).collect::<Vec<_>>());
            }
        }
    }
}

#[test]
fn effects_leave_when_the_operations_before_them_have_finished() {
    let mut world = pair();
    let mut barrier = Barrier::default();
    world.command(word(A, 1, Verb::Flush), &mut barrier);
    world.run_until(ms(50), &mut barrier);
    let times: Vec<u64> = barrier.notes.iter().map(|(place, _)| place.at.0).collect();
    assert_eq!(times, [5_100_000, 5_200_000]);
    let arrived: Vec<u64> = world.machine(B).unwrap().seen[2..]
        .iter()
        .map(|(now, _)| now.mono.since(world.machine(B).unwrap().seen[0].0.mono).0)
        .collect();
    assert_eq!(arrived, [6_100_000, 6_200_000]);
}

#[test]
fn a_node_is_busy_until_its_disk_operations_have_finished_and_inputs_wait_in_order() {
    let mut world = pair();
    act(&mut world, word(A, 1, Verb::Flush));
    act(&mut world, word(A, 7, Verb::Close(Span::ZERO)));
    act(&mut world, send(A, 9));
    run(&mut world, 50);
    assert_eq!(got(&world), [1, 2, 9]);
    let seen = &world.machine(A).unwrap().seen;
    let rang = seen.last().unwrap();
    assert_eq!(rang.1, Seen::Rang(7));
    assert_eq!(rang.0.mono.since(seen[0].0.mono), Span::micros(5_200));
}

#[test]
fn a_barrier_fires_before_any_effect_of_its_instant_is_delivered() {
    for (to, delivered, kept) in [(1, vec![], vec![1]), (2, vec![1], vec![1, 2])] {
        let mut world = pair();
        let mut barrier = Barrier {
            at: Some((high_watermark(to), vec![kill(KillKind::Process)])),
            ..Barrier::default()
        };
        world.command(word(A, 1, Verb::Flush), &mut barrier);
        world.run_until(ms(50), &mut barrier);
        assert_eq!(got(&world), delivered);
        assert_eq!(numbers(&log(&world)), kept);
        assert!(barrier.at.is_none());
    }
}

#[test]
fn a_barrier_on_a_disk_without_delay_holds_the_whole_step_back() {
    let mut world = pair();
    let a = NodeSpec {
        disk: DiskConfig::instant(),
        ..node("a", Role::Script)
    };
    let config = NetworkConfig::default();
    let mut instant = World::new(5, vec![a, node("b", Role::Script)], config);
    run(&mut instant, 0);
    act(&mut instant, dial(A, "b"));
    run(&mut instant, 5);
    let mut barrier = Barrier {
        at: Some((high_watermark(2), vec![kill(KillKind::Process)])),
        ..Barrier::default()
    };
    instant.command(word(A, 1, Verb::Flush), &mut barrier);
    instant.run_until(ms(50), &mut barrier);
    assert!(got(&instant).is_empty());
    act(&mut world, word(A, 1, Verb::Flush));
    run(&mut world, 50);
    assert_eq!(got(&world), [1, 2]);
}

#[test]
fn power_loss_loses_what_was_not_flushed_and_keeps_what_was() {
    let mut losses = 0;
    for seed in 0..40 {
        let a = node("a", Role::Script);
        let mut world = World::new(seed, vec![a], NetworkConfig::default());
        run(&mut world, 0);
        act(&mut world, word(A, 1, Verb::ListenerReturned));
        act(&mut world, word(A, 1, Verb::CommitSync(BTreeMap::new())));
        run(&mut world, 100);
        assert!(
            world
                .machine(A)
                .unwrap()
                .story()
                .contains(&Seen::Flushed(1, Ok(())))
        );
        act(&mut world, word(A, 2, Verb::ListenerReturned));
        run(&mut world, 110);
        act(&mut world, kill(KillKind::Power(Unflushed::Drawn)));
        let disk = DiskAtRestart::Same;
        act(&mut world, WorldCommand::Restart { node: A, disk });
        run(&mut world, 120);
        let log = log(&world);
        assert_eq!(numbers(&log[..4]), [1]);
        losses += u32::from(log.len() < 8);
    }
    assert!((10..40).contains(&losses), "{losses}");
}

#[test]
fn a_flush_of_a_killed_process_is_finished_by_the_kernel_and_nobody_is_told() {
    let mut world = pair();
    act(&mut world, word(A, 1, Verb::ListenerReturned));
    act(&mut world, word(A, 1, Verb::CommitSync(BTreeMap::new())));
    run(&mut world, 6);
    act(&mut world, kill(KillKind::Process));
    let disk = DiskAtRestart::Same;
    act(&mut world, WorldCommand::Restart { node: A, disk });
    run(&mut world, 50);
    assert_eq!(world.disk(A).durable_len("data/log"), Some(4));
    assert_eq!(world.machine(A).unwrap().story(), [Seen::Started]);
    assert_eq!(world.lives(A), 2);
}

#[test]
fn a_node_may_come_back_with_an_empty_or_an_older_disk() {
    for (disk, expected) in [
        (DiskAtRestart::Same, 2),
        (DiskAtRestart::Empty, 0),
        (DiskAtRestart::Older, 1),
    ] {
        let mut world = pair();
        act(&mut world, word(A, 1, Verb::ListenerReturned));
        act(&mut world, word(A, 1, Verb::CommitSync(BTreeMap::new())));
        run(&mut world, 20);
        act(&mut world, WorldCommand::SnapshotDisk { node: A });
        act(&mut world, word(A, 2, Verb::ListenerReturned));
        act(&mut world, word(A, 2, Verb::CommitSync(BTreeMap::new())));
        run(&mut world, 40);
        act(&mut world, kill(KillKind::Power(Unflushed::Drawn)));
        act(&mut world, WorldCommand::Restart { node: A, disk });
        run(&mut world, 50);
        assert_eq!(numbers(&log(&world)), (1..=expected).collect::<Vec<_>>());
    }
}

#[test]
fn a_device_stays_as_it_is_when_its_content_is_another() {
    for disk in [DiskAtRestart::Empty, DiskAtRestart::Older] {
        let mut world = pair();
        let stuck = |node| Fault::Disk {
            node,
            directory: "data".to_owned(),
            fault: DiskFault::Stuck,
        };
        let flush = |world: &mut World<Role>, number| {
            act(world, word(A, number, Verb::ListenerReturned));
            act(world, word(A, number, Verb::CommitSync(BTreeMap::new())));
        };
        // The copy is taken while the device is stuck, and comes back when it no longer is.
        act(
            &mut world,
            WorldCommand::Begin {
                id: FAULT,
                fault: stuck(A),
            },
        );
        flush(&mut world, 1);
        run(&mut world, 20);
        act(&mut world, WorldCommand::SnapshotDisk { node: A });
        act(&mut world, WorldCommand::End { id: FAULT });
        run(&mut world, 40);
        act(&mut world, kill(KillKind::Power(Unflushed::Drawn)));
        act(&mut world, WorldCommand::Restart { node: A, disk });
        run(&mut world, 45);
        flush(&mut world, 2);
        run(&mut world, 60);
        let flushed = |world: &World<Role>, number| {
            let story = world.machine(A).unwrap().story();
            story.contains(&Seen::Flushed(number, Ok(())))
        };
        assert!(flushed(&world, 2), "{disk:?}");
        // A fault of the device outlives a change of content, and so does its count.
        act(
            &mut world,
            WorldCommand::Begin {
                id: FAULT,
                fault: stuck(A),
            },
        );
        flush(&mut world, 3);
        run(&mut world, 80);
        assert_eq!(world.hits(FAULT), 1);
        act(&mut world, kill(KillKind::Power(Unflushed::Drawn)));
        act(&mut world, WorldCommand::Restart { node: A, disk });
        run(&mut world, 85);
        flush(&mut world, 4);
        run(&mut world, 100);
        assert!(!flushed(&world, 4), "{disk:?}");
        assert_eq!(world.hits(FAULT), 2);
    }
}

#[test]
fn a_stuck_directory_keeps_a_flush_until_it_is_healed() {
    let mut world = pair();
    let fault = Fault::Disk {
        node: A,
        directory: "data".to_owned(),
        fault: DiskFault::Stuck,
    };
    act(&mut world, WorldCommand::Begin { id: FAULT, fault });
    act(&mut world, word(A, 1, Verb::ListenerReturned));
    act(&mut world, word(A, 4, Verb::CommitSync(BTreeMap::new())));
    run(&mut world, 500);
    let flushed = Seen::Flushed(4, Ok(()));
    assert!(!world.machine(A).unwrap().story().contains(&flushed));
    assert_eq!(world.hits(FAULT), 1);
    act(&mut world, WorldCommand::End { id: FAULT });
    run(&mut world, 505);
    assert!(world.machine(A).unwrap().story().contains(&flushed));
    assert_eq!(world.hits(FAULT), 1);
}

#[test]
fn work_of_a_lane_is_released_at_once_or_when_its_rule_lets_it() {
    let due = Seen::Due(Lane::Controller);
    let mut world = pair();
    act(&mut world, word(A, 0, Verb::Pause(vec![])));
    run(&mut world, 5);
    assert_eq!(world.machine(A).unwrap().story().last(), Some(&due));
    for delay in [Some(Span::millis(30)), None] {
        let mut world = pair();
        let rule = LaneRule {
            node: A,
            lane: Lane::Controller,
            delay,
        };
        let fault = Fault::Lane(rule);
        act(&mut world, WorldCommand::Begin { id: FAULT, fault });
        act(&mut world, word(A, 0, Verb::Pause(vec![])));
        act(&mut world, word(A, 0, Verb::Pause(vec![])));
        let count = |world: &World<Role>| {
            let story = world.machine(A).unwrap().story();
            story.iter().filter(|seen| **seen == due).count()
        };
        run(&mut world, 34);
        assert_eq!(count(&world), 0);
        run(&mut world, 35);
        assert_eq!(count(&world), if delay.is_some() { 2 } else { 0 });
        act(&mut world, WorldCommand::End { id: FAULT });
        run(&mut world, 36);
        assert_eq!(count(&world), 2);
        assert_eq!(world.hits(FAULT), 2);
    }
}

#[test]
fn drift_bends_both_clocks_and_the_timers_and_a_jump_the_wall_clock_alone() {
    let mut a = node("a", Role::Script);
    a.clock = ClockConfig {
        drift_ppm: 500_000,
        ..ClockConfig::default()
    };
    let mut world = World::new(
        1,
        vec![a, node("b", Role::Script)],
        NetworkConfig::default(),
    );
    run(&mut world, 0);
    for node in [A, B] {
        act(&mut world, word(node, 1, Verb::Close(Span::millis(300))));
        act(&mut world, word(node, 2, Verb::Close(Span::millis(600))));
    }
    run(&mut world, 200);
    let story = |world: &World<Role>, node| world.machine(node).unwrap().story();
    assert_eq!(story(&world, A), [Seen::Started, Seen::Rang(1)]);
    assert_eq!(story(&world, B), [Seen::Started]);
    let wall = world.clocks(B).wall.0;
    let back = WorldCommand::JumpClock {
        node: B,
        nanos: -1_000,
    };
    act(&mut world, back);
    assert_eq!(world.clocks(B).wall.0, wall - 1_000);
    // The second timer of a is 300 ms of its own away: at half speed 600 ms of true time.
    act(
        &mut world,
        WorldCommand::SetDrift {
            node: A,
            ppm: -500_000,
        },
    );
    run(&mut world, 799);
    assert_eq!(story(&world, A).len(), 2);
    assert_eq!(story(&world, B).len(), 3);
    run(&mut world, 800);
    assert_eq!(story(&world, A).last(), Some(&Seen::Rang(2)));
}

#[test]
fn a_cancelled_timer_does_not_ring_even_when_it_was_due_behind_a_busy_step() {
    let mut world = pair();
    act(&mut world, word(A, 7, Verb::Close(Span::millis(1))));
    run(&mut world, 5);
    let pause = WorldCommand::Pause {
        node: A,
        span: Some(Span::millis(10)),
    };
    act(&mut world, word(A, 7, Verb::CreateTopics(vec![])));
    act(&mut world, pause);
    run(&mut world, 50);
    let story = world.machine(A).unwrap().story();
    assert!(!story.contains(&Seen::Rang(7)), "{story:?}");
}

#[test]
fn a_clean_stop_closes_connections_in_good_order() {
    let mut world = pair();
    act(&mut world, send(A, 3));
    act(&mut world, WorldCommand::Stop { node: A });
    run(&mut world, 50);
    assert!(world.machine(A).is_none());
    let closed = Seen::Closed(protocol::machine::CloseReason::Peer);
    let tail = world.machine(B).unwrap().story().split_off(2);
    assert_eq!(tail, [Seen::Got(3), closed]);
}

/// What happened to nodes.
#[derive(Default)]
struct Happenings(Vec<Happening>);

impl Observer for Happenings {
    fn happened(&mut self, _: Place, happening: &Happening, _: &mut Vec<WorldCommand>) {
        self.0.push(happening.clone());
    }
}

#[test]
fn a_kill_tells_what_it_cost_and_a_second_kill_costs_nothing() {
    let mut world = pair();
    let mut seen = Happenings::default();
    world.command(word(A, 1, Verb::Flush), &mut seen);
    world.step(&mut seen);
    world.command(kill(KillKind::Process), &mut seen);
    world.command(kill(KillKind::Process), &mut seen);
    let Happening::Killed {
        operations_undone,
        effects_dropped,
        ..
    } = &seen.0[0]
    else {
        panic!("{:?}", seen.0);
    };
    // Two appends and the creation of the file, which takes no time and so had finished.
    assert_eq!((*operations_undone, *effects_dropped), (2, 4));
    assert_eq!(seen.0[1], Happening::Ignored);
}

#[test]
fn monotonic_clocks_of_two_lives_have_nothing_in_common() {
    let mut world = pair();
    let before = world.clocks(A);
    act(&mut world, kill(KillKind::Process));
    let disk = DiskAtRestart::Same;
    act(&mut world, WorldCommand::Restart { node: A, disk });
    run(&mut world, 5);
    let after = world.clocks(A);
    assert_ne!(before.mono, after.mono);
    assert_eq!(before.wall, after.wall);
    let _ = Role::Script.boot(1);
}
