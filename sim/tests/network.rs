//! TCP as the world plays it, and its faults.

#![allow(clippy::unwrap_used, reason = "a test")]

mod toys;

use protocol::api::ApiKey;
use protocol::machine::CloseReason;
use protocol::message::MessageKind;
use protocol::time::Span;
use protocol::verb::Verb;
use sim::random::Latency;
use sim::world::{
    At, DiskAtRestart, Fault, FaultId, KillKind, LinkChange, MessageFault, MessageName,
    MessageRule, NetworkConfig, Observer, Transfer, UnfaithfulFault, Unflushed, Unobserved, World,
    WorldCommand,
};
use toys::{A, B, Role, Seen, dial, ms, node, send, word};

const FAULT: FaultId = FaultId(7);

/// One millisecond each way.
fn constant() -> NetworkConfig {
    NetworkConfig {
        latency: Latency::Constant(Span::millis(1)),
        ..NetworkConfig::default()
    }
}

fn scripts(config: NetworkConfig) -> World<Role> {
    let specs = ["a", "b", "c"].map(|host| node(host, Role::Script));
    World::new(11, specs.to_vec(), config)
}

/// a has dialled b; at 5 ms both ends are open.
fn connected(config: NetworkConfig) -> World<Role> {
    let mut world = scripts(config);
    run(&mut world, 0);
    act(&mut world, dial(A, "b"));
    run(&mut world, 5);
    assert_eq!(story(&world, A), [Seen::Started, Seen::Opened]);
    assert_eq!(story(&world, B), [Seen::Started, Seen::Accepted]);
    world
}

fn run(world: &mut World<Role>, until: u64) {
    world.run_until(ms(until), &mut Unobserved);
}

fn act(world: &mut World<Role>, command: WorldCommand) {
    world.command(command, &mut Unobserved);
}

fn story(world: &World<Role>, node: protocol::ids::NodeId) -> Vec<Seen> {
    world
        .machine(node)
        .map(toys::Toy::story)
        .unwrap_or_default()
}

fn got(world: &World<Role>, node: protocol::ids::NodeId) -> Vec<i32> {
    world.machine(node).unwrap().received.clone()
}

fn begin(fault: Fault) -> WorldCommand {
    WorldCommand::Begin { id: FAULT, fault }
}

fn cut(both_ways: bool) -> WorldCommand {
    begin(Fault::Cut {
        from: vec![A],
        to: vec![B],
        both_ways,
    })
}

fn last(world: &World<Role>, node: protocol::ids::NodeId) -> Seen {
    story(world, node).pop().unwrap()
}

#[test]
fn a_connection_costs_a_round_trip_and_the_listener_learns_of_it_half_a_trip_later() {
    let mut world = scripts(constant());
    run(&mut world, 0);
    act(&mut world, dial(A, "b"));
    world.run_until(At(1_999_999), &mut Unobserved);
    assert_eq!(story(&world, A), [Seen::Started]);
    run(&mut world, 2);
    assert_eq!(last(&world, A), Seen::Opened);
    assert_eq!(last(&world, B), Seen::Started);
    run(&mut world, 3);
    assert_eq!(last(&world, B), Seen::Accepted);
}

#[test]
fn messages_of_a_connection_stay_in_order_under_random_latencies() {
    for seed in 0..10 {
        let config = NetworkConfig {
            latency: Latency::Exponential {
                min: Span::ZERO,
                mean: Span::millis(20),
            },
            loss_per_million: 200_000,
            ..NetworkConfig::default()
        };
        let specs = ["a", "b"].map(|host| node(host, Role::Script));
        let mut world = World::new(seed, specs.to_vec(), config);
        run(&mut world, 0);
        act(&mut world, dial(A, "b"));
        run(&mut world, 30_000);
        for number in 1..=100 {
            act(&mut world, send(A, number));
        }
        run(&mut world, 300_000);
        assert_eq!(got(&world, B), (1..=100).collect::<Vec<_>>(), "seed {seed}");
    }
}

#[test]
fn nobody_listening_refuses_after_a_round_trip_and_a_dead_host_after_the_timeout() {
    let mut world = scripts(constant());
    run(&mut world, 0);
    act(
        &mut world,
        WorldCommand::Kill {
            node: B,
            kind: KillKind::Process,
        },
    );
    act(&mut world, dial(A, "b"));
    act(&mut world, dial(A, "nowhere"));
    run(&mut world, 3);
    assert_eq!(
        story(&world, A),
        [Seen::Started, Seen::Refused, Seen::Refused]
    );

    let mut world = scripts(constant());
    run(&mut world, 0);
    act(
        &mut world,
        WorldCommand::Kill {
            node: B,
            kind: KillKind::Power(Unflushed::Drawn),
        },
    );
    act(&mut world, dial(A, "b"));
    run(&mut world, 126_999);
    assert_eq!(last(&world, A), Seen::Started);
    run(&mut world, 127_001);
    assert_eq!(last(&world, A), Seen::Refused);
}

#[test]
fn a_handshake_lost_in_a_cut_is_tried_again_after_it() {
    let mut world = scripts(constant());
    run(&mut world, 0);
    act(&mut world, cut(true));
    act(&mut world, dial(A, "b"));
    run(&mut world, 2_000);
    act(&mut world, WorldCommand::End { id: FAULT });
    // Sent at 0 s, 1 s and 3 s.
    run(&mut world, 2_999);
    assert_eq!(last(&world, A), Seen::Started);
    run(&mut world, 3_010);
    assert_eq!(last(&world, A), Seen::Opened);
    assert_eq!(last(&world, B), Seen::Accepted);
    assert!(world.hits(FAULT) >= 1);
}

#[test]
fn a_kill_resets_the_peer_after_what_was_on_its_way() {
    let mut world = connected(constant());
    act(&mut world, send(B, 5));
    run(&mut world, 5);
    act(
        &mut world,
        WorldCommand::Kill {
            node: B,
            kind: KillKind::Process,
        },
    );
    run(&mut world, 10);
    let tail = story(&world, A).split_off(2);
    assert_eq!(tail, [Seen::Got(5), Seen::Closed(CloseReason::Reset)]);
}

#[test]
fn a_close_in_good_order_delivers_everything_first() {
    let mut world = connected(constant());
    for number in 1..=3 {
        act(&mut world, send(A, number));
    }
    act(&mut world, word(A, 0, Verb::Unsubscribe));
    run(&mut world, 10);
    let tail = story(&world, B).split_off(2);
    let closed = Seen::Closed(CloseReason::Peer);
    assert_eq!(tail, [Seen::Got(1), Seen::Got(2), Seen::Got(3), closed]);
    assert_eq!(story(&world, A).len(), 2);
}

/// Keeper servers introduce themselves so; what they say must not vanish with the connection.
#[test]
fn what_is_sent_and_closed_as_soon_as_a_connection_opens_arrives() {
    let mut world = scripts(constant());
    run(&mut world, 0);
    act(&mut world, dial(A, "b"));
    run(&mut world, 2);
    assert_eq!(last(&world, B), Seen::Started, "the handshake is not over");
    act(&mut world, send(A, 1));
    act(&mut world, word(A, 0, Verb::Unsubscribe));
    run(&mut world, 10);
    let tail = story(&world, B).split_off(1);
    let closed = Seen::Closed(CloseReason::Peer);
    assert_eq!(tail, [Seen::Accepted, Seen::Got(1), closed]);
}

#[test]
fn a_send_on_a_dead_connection_vanishes() {
    let mut world = connected(constant());
    act(
        &mut world,
        WorldCommand::Kill {
            node: B,
            kind: KillKind::Process,
        },
    );
    run(&mut world, 10);
    act(&mut world, send(A, 1));
    run(&mut world, 1000);
    assert_eq!(world.messages_vanished(), 1);
    assert_eq!(last(&world, A), Seen::Closed(CloseReason::Reset));
}

#[test]
fn a_listener_that_ends_during_the_handshake_resets_the_dialler() {
    for clean in [true, false] {
        let mut world = scripts(constant());
        run(&mut world, 0);
        act(&mut world, dial(A, "b"));
        // The first packet has arrived, the third has not.
        run(&mut world, 1);
        let end = if clean {
            WorldCommand::Stop { node: B }
        } else {
            WorldCommand::Kill {
                node: B,
                kind: KillKind::Process,
            }
        };
        act(&mut world, end);
        run(&mut world, 10);
        let tail = story(&world, A).split_off(1);
        assert_eq!(tail, [Seen::Opened, Seen::Closed(CloseReason::Reset)]);
        assert!(world.connections().is_empty());
    }
}

#[test]
fn a_two_way_cut_is_silent_and_delivers_after_the_next_retransmission() {
    let mut world = connected(constant());
    act(&mut world, cut(true));
    act(&mut world, send(A, 1));
    run(&mut world, 1_000);
    assert!(got(&world, B).is_empty());
    act(&mut world, WorldCommand::End { id: FAULT });
    // Sent at 5 ms, and again 0.2, 0.6 and 1.4 s later.
    run(&mut world, 1_405);
    assert!(got(&world, B).is_empty());
    run(&mut world, 1_406);
    assert_eq!(got(&world, B), [1]);
    assert_eq!(story(&world, A).len(), 2);
    assert_eq!(world.hits(FAULT), 1);
}

#[test]
fn a_one_way_cut_stops_one_way_alone() {
    let mut world = connected(constant());
    act(&mut world, cut(false));
    act(&mut world, send(A, 1));
    act(&mut world, send(B, 2));
    run(&mut world, 100);
    assert_eq!(got(&world, A), [2]);
    assert!(got(&world, B).is_empty());
}

#[test]
fn tcp_gives_up_on_a_long_cut_and_the_other_end_is_half_open_until_it_speaks() {
    let config = NetworkConfig {
        tcp_timeout: Span::secs(10),
        ..constant()
    };
    let mut world = connected(config);
    act(&mut world, cut(true));
    act(&mut world, send(A, 1));
    run(&mut world, 10_004);
    assert_eq!(last(&world, A), Seen::Opened);
    run(&mut world, 10_006);
    assert_eq!(last(&world, A), Seen::Closed(CloseReason::TimedOut));
    act(&mut world, WorldCommand::End { id: FAULT });
    run(&mut world, 60_000);
    assert_eq!(last(&world, B), Seen::Accepted, "b has no way to know");
    act(&mut world, send(B, 2));
    run(&mut world, 60_010);
    assert_eq!(last(&world, B), Seen::Closed(CloseReason::Reset));
    assert!(got(&world, B).is_empty());
}

#[test]
fn acknowledgements_lost_in_a_one_way_cut_time_the_sender_out_too() {
    let config = NetworkConfig {
        tcp_timeout: Span::secs(10),
        ..constant()
    };
    let mut world = connected(config);
    act(&mut world, cut(false));
    act(&mut world, send(B, 1));
    run(&mut world, 10_100);
    assert_eq!(got(&world, A), [1]);
    assert_eq!(last(&world, B), Seen::Closed(CloseReason::TimedOut));
}

#[test]
fn a_kill_behind_a_cut_leaves_the_peer_half_open() {
    let mut world = connected(constant());
    act(&mut world, cut(true));
    act(
        &mut world,
        WorldCommand::Kill {
            node: A,
            kind: KillKind::Process,
        },
    );
    run(&mut world, 1_000);
    act(&mut world, WorldCommand::End { id: FAULT });
    run(&mut world, 100_000);
    assert_eq!(last(&world, B), Seen::Accepted);
    act(&mut world, send(B, 1));
    run(&mut world, 100_010);
    assert_eq!(last(&world, B), Seen::Closed(CloseReason::Reset));
}

#[test]
fn a_host_without_power_is_silent_until_it_is_back_and_then_resets() {
    let mut world = connected(constant());
    act(
        &mut world,
        WorldCommand::Kill {
            node: B,
            kind: KillKind::Power(Unflushed::Drawn),
        },
    );
    act(&mut world, send(A, 1));
    run(&mut world, 30_000);
    assert_eq!(last(&world, A), Seen::Opened);
    act(
        &mut world,
        WorldCommand::Restart {
            node: B,
            disk: DiskAtRestart::Same,
        },
    );
    run(&mut world, 90_000);
    assert_eq!(last(&world, A), Seen::Closed(CloseReason::Reset));
    assert!(got(&world, B).is_empty());
}

#[test]
fn a_paused_process_still_accepts_connections_and_bytes_and_handles_them_in_order() {
    let mut world = scripts(constant());
    run(&mut world, 0);
    act(&mut world, word(B, 3, Verb::Close(Span::millis(10))));
    run(&mut world, 0);
    let span = Some(Span::secs(2));
    act(&mut world, WorldCommand::Pause { node: B, span });
    act(&mut world, dial(A, "b"));
    run(&mut world, 5);
    assert_eq!(last(&world, A), Seen::Opened);
    act(&mut world, send(A, 1));
    act(&mut world, send(A, 2));
    run(&mut world, 1_999);
    assert_eq!(story(&world, B), [Seen::Started]);
    run(&mut world, 2_000);
    let expected = [Seen::Accepted, Seen::Got(1), Seen::Got(2), Seen::Rang(3)];
    assert_eq!(story(&world, B).split_off(1), expected);
}

#[test]
fn the_send_buffer_is_bounded_and_what_waits_dies_with_the_process() {
    let config = NetworkConfig {
        send_buffer: 1_000,
        ..constant()
    };
    let mut world = connected(config);
    act(
        &mut world,
        WorldCommand::Pause {
            node: B,
            span: None,
        },
    );
    for number in 1..=10 {
        // 400 bytes each: two fit.
        act(&mut world, word(A, number, Verb::Poll(Span(380))));
    }
    let mut killed = world.clone();
    run(&mut world, 100);
    act(&mut world, WorldCommand::Resume { node: B });
    run(&mut world, 200);
    assert_eq!(got(&world, B), (1..=10).collect::<Vec<_>>());

    run(&mut killed, 100);
    act(
        &mut killed,
        WorldCommand::Kill {
            node: A,
            kind: KillKind::Process,
        },
    );
    act(&mut killed, WorldCommand::Resume { node: B });
    run(&mut killed, 200);
    assert_eq!(got(&killed, B), [1, 2]);
    assert_eq!(last(&killed, B), Seen::Closed(CloseReason::Reset));
}

#[test]
fn bandwidth_spaces_messages_out() {
    let mut world = connected(NetworkConfig {
        bandwidth: Some(100_000),
        ..constant()
    });
    // About 1 kB each: 10 ms on the wire.
    for number in 1..=5 {
        act(&mut world, word(A, number, Verb::Poll(Span(980))));
    }
    run(&mut world, 5 + 1 + 25);
    assert_eq!(got(&world, B).len(), 2);
    run(&mut world, 5 + 1 + 60);
    assert_eq!(got(&world, B).len(), 5);
}

fn rule(action: MessageFault) -> MessageRule {
    MessageRule {
        from: Some(vec![A]),
        skip: 1,
        count: 1,
        ..MessageRule::all(action)
    }
}

#[test]
fn a_dropped_message_takes_everything_behind_it_along_and_resets_both_ends() {
    let mut world = connected(constant());
    act(&mut world, begin(Fault::Message(rule(MessageFault::Drop))));
    for number in 1..=3 {
        act(&mut world, send(A, number));
    }
    run(&mut world, 20);
    assert_eq!(got(&world, B), [1]);
    assert_eq!(last(&world, A), Seen::Closed(CloseReason::Reset));
    assert_eq!(last(&world, B), Seen::Closed(CloseReason::Reset));
    assert_eq!(world.hits(FAULT), 1);
}

#[test]
fn what_a_link_loses_comes_late_and_a_link_that_loses_everything_ends_its_connections() {
    for (per_million, arrives) in [(900_000, true), (1_000_000, false)] {
        let mut world = connected(constant());
        let change = LinkChange {
            loss_per_million: Some(per_million),
            ..LinkChange::default()
        };
        let (from, to) = (vec![A], vec![B]);
        act(&mut world, begin(Fault::Link { from, to, change }));
        act(&mut world, send(A, 1));
        run(&mut world, 100);
        assert!(got(&world, B).is_empty());
        run(&mut world, 3_600_000);
        if arrives {
            assert_eq!(got(&world, B), [1]);
        } else {
            assert!(got(&world, B).is_empty());
            assert!(matches!(last(&world, A), Seen::Closed(_)));
        }
    }
}

#[test]
fn a_held_message_keeps_those_behind_it_until_the_rule_ends() {
    let mut world = connected(constant());
    act(&mut world, begin(Fault::Message(rule(MessageFault::Hold))));
    for number in 1..=3 {
        act(&mut world, send(A, number));
    }
    act(&mut world, send(B, 9));
    run(&mut world, 50_000);
    assert_eq!(got(&world, B), [1]);
    assert_eq!(got(&world, A), [9]);
    act(&mut world, WorldCommand::End { id: FAULT });
    run(&mut world, 50_001);
    assert_eq!(got(&world, B), [1, 2, 3]);
}

#[test]
fn a_delayed_message_arrives_later_and_those_behind_it_too() {
    let mut world = connected(constant());
    let delay = MessageFault::Delay(Span::millis(100));
    act(&mut world, begin(Fault::Message(rule(delay))));
    for number in 1..=3 {
        act(&mut world, send(A, number));
    }
    run(&mut world, 105);
    assert_eq!(got(&world, B), [1]);
    run(&mut world, 106);
    assert_eq!(got(&world, B), [1, 2, 3]);
}

#[test]
fn faults_that_tcp_rules_out_happen_only_when_allowed() {
    for (fault, expected) in [
        (UnfaithfulFault::Duplicate, vec![1, 2, 2, 3]),
        (UnfaithfulFault::DropSilently, vec![1, 3]),
        (UnfaithfulFault::Reorder, vec![1, 3, 2]),
    ] {
        for unfaithful in [true, false] {
            let mut world = connected(NetworkConfig {
                unfaithful,
                ..constant()
            });
            let rule = rule(MessageFault::Hold);
            act(&mut world, begin(Fault::Unfaithful(rule, fault)));
            for number in 1..=3 {
                act(&mut world, send(A, number));
            }
            run(&mut world, 50);
            if unfaithful {
                assert_eq!(got(&world, B), expected);
            } else {
                assert_eq!(got(&world, B), [1, 2, 3]);
                assert_eq!(world.hits(FAULT), 0);
            }
        }
    }
}

#[test]
fn a_slow_link_is_slow_one_way_while_the_fault_lasts() {
    let mut world = connected(constant());
    let change = LinkChange {
        delay: Some(Span::millis(50)),
        ..LinkChange::default()
    };
    let (from, to) = (vec![A], vec![B]);
    act(&mut world, begin(Fault::Link { from, to, change }));
    act(&mut world, send(A, 1));
    act(&mut world, send(B, 2));
    run(&mut world, 6);
    assert_eq!((got(&world, A), got(&world, B)), (vec![2], vec![]));
    run(&mut world, 56);
    assert_eq!(got(&world, B), [1]);
    act(&mut world, WorldCommand::End { id: FAULT });
    act(&mut world, send(A, 3));
    run(&mut world, 57);
    assert_eq!(got(&world, B), [1, 3]);
    assert_eq!(world.hits(FAULT), 1);
}

/// When each message arrived, by its number.
#[derive(Default)]
struct Arrivals(Vec<(i32, At)>);

impl Observer for Arrivals {
    const WANTS_MESSAGES: bool = true;
    fn delivered(&mut self, transfer: Transfer<'_>) {
        self.0
            .push((toys::number_of(transfer.message), transfer.at));
    }
}

#[test]
fn a_message_less_on_one_link_moves_no_latency_of_another() {
    let arrivals = |with_noise: bool| {
        let specs = ["a", "b", "c"].map(|host| node(host, Role::Script));
        let mut world = World::new(3, specs.to_vec(), NetworkConfig::default());
        let mut seen = Arrivals::default();
        run(&mut world, 0);
        act(&mut world, dial(A, "b"));
        act(&mut world, dial(toys::C, "b"));
        run(&mut world, 50);
        for number in 1..=20 {
            if with_noise {
                act(&mut world, send(toys::C, number + 100));
            }
            act(&mut world, send(A, number));
            world.run_until(ms(50 + number * 10), &mut seen);
        }
        seen.0.retain(|(number, _)| *number <= 100);
        seen.0
    };
    let quiet = arrivals(false);
    assert_eq!(quiet.len(), 20);
    assert_eq!(quiet, arrivals(true));
}

#[test]
fn a_fixed_latency_replaces_what_is_drawn_and_faults_add_to_it() {
    let mut world = connected(constant());
    let second = MessageName {
        from: A,
        to: B,
        kind: MessageKind::Request(ApiKey::ApiVersions),
        nth: 1,
    };
    world.fix_latencies([(second, Span::millis(7))].into());
    assert_eq!(world.drawn_latency(&second), Span::millis(1));
    act(&mut world, send(A, 1));
    act(&mut world, send(A, 2));
    run(&mut world, 11);
    assert_eq!(got(&world, B), [1]);
    run(&mut world, 12);
    assert_eq!(got(&world, B), [1, 2]);

    let mut world = connected(constant());
    world.fix_latencies([(MessageName { nth: 0, ..second }, Span::millis(7))].into());
    act(
        &mut world,
        begin(Fault::Link {
            from: vec![A],
            to: vec![B],
            change: LinkChange {
                delay: Some(Span::millis(3)),
                ..LinkChange::default()
            },
        }),
    );
    act(&mut world, send(A, 1));
    run(&mut world, 14);
    assert!(got(&world, B).is_empty());
    run(&mut world, 15);
    assert_eq!(got(&world, B), [1]);
}
