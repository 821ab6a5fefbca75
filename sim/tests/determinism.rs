//! Same seed, same hash: twice, after a clone at any step, and whatever the faults.

mod toys;

use protocol::time::Span;
use sim::world::{
    At, DiskAtRestart, Fault, FaultId, KillKind, LinkChange, NetworkConfig, NodeSpec, Unflushed,
    Unobserved, World, WorldCommand, first_difference,
};
use std::sync::Arc;
use toys::{A, B, C, Role, ms, node};

fn nodes() -> Vec<NodeSpec<Role>> {
    let appender = |follower: Option<&str>| Role::Appender {
        follower: follower.map(Arc::from),
    };
    let writer = || Role::Writer {
        peer: "a".into(),
        interval: Span::millis(3),
    };
    vec![
        node("a", appender(Some("b"))),
        node("b", appender(None)),
        node("w", writer()),
        node("v", writer()),
        node("e", Role::Echo),
        node(
            "p",
            Role::Pinger {
                peer: "e".into(),
                window: 4,
                pad: 100,
            },
        ),
    ]
}

/// Writers, a replicated appender and pingers, with a kill, a loss of power, a cut, loss, a pause and a restart.
fn busy_world(seed: u64) -> World<Role> {
    let mut world = World::new(seed, nodes(), NetworkConfig::default());
    let lossy = Fault::Link {
        from: vec![],
        to: vec![],
        change: LinkChange {
            loss_per_million: Some(5_000),
            ..LinkChange::default()
        },
    };
    let cut = Fault::Cut {
        from: vec![A],
        to: vec![C],
        both_ways: false,
    };
    let (one, two) = (FaultId(1), FaultId(2));
    let disk = DiskAtRestart::Same;
    for (at, command) in [
        (
            50,
            WorldCommand::Begin {
                id: one,
                fault: lossy,
            },
        ),
        (
            120,
            WorldCommand::Kill {
                node: B,
                kind: KillKind::Process,
            },
        ),
        (160, WorldCommand::Restart { node: B, disk }),
        (
            200,
            WorldCommand::Begin {
                id: two,
                fault: cut,
            },
        ),
        (400, WorldCommand::End { id: two }),
        (
            430,
            WorldCommand::Kill {
                node: A,
                kind: KillKind::Power(Unflushed::Drawn),
            },
        ),
        (500, WorldCommand::Restart { node: A, disk }),
        (
            600,
            WorldCommand::Pause {
                node: A,
                span: Some(Span::millis(50)),
            },
        ),
        (700, WorldCommand::End { id: one }),
    ] {
        world.schedule_command(ms(at), command);
    }
    world
}

const END: At = At(1_000_000_000);

#[test]
fn the_same_seed_gives_the_same_hash_and_another_seed_another() {
    for seed in 0..5 {
        let mut first = busy_world(seed);
        let mut second = busy_world(seed);
        first.keep_trace();
        second.keep_trace();
        let steps = first.run_until(END, &mut Unobserved);
        assert!(steps > 5_000, "{steps}");
        second.run_until(END, &mut Unobserved);
        assert_eq!(first_difference(first.trace(), second.trace()), None);
        assert_eq!(first.hash(), second.hash());
        let mut other = busy_world(seed + 100);
        other.keep_trace();
        other.run_until(END, &mut Unobserved);
        assert!(first_difference(first.trace(), other.trace()).is_some());
    }
}

#[test]
fn a_clone_at_any_step_ends_as_the_uninterrupted_run() {
    for seed in 0..5 {
        let mut whole = busy_world(seed);
        let steps = whole.run_until(END, &mut Unobserved);
        for part in 1..8 {
            let mut world = busy_world(seed);
            let at = steps * part / 8 + seed * 13;
            while world.position() < at {
                world.step(&mut Unobserved);
            }
            let mut fork = world.clone();
            fork.run_until(END, &mut Unobserved);
            world.run_until(END, &mut Unobserved);
            assert_eq!(world.hash(), whole.hash(), "seed {seed} step {at}");
            assert_eq!(fork.hash(), whole.hash(), "seed {seed} step {at}");
        }
    }
}
