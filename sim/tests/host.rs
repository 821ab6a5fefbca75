//! madsim as host: the same hash as the bare loop, a shared clock, async clients.

#![allow(clippy::unwrap_used, reason = "a test")]

mod toys;

use protocol::ids::NodeId;
use protocol::time::Span;
use protocol::verb::{ClientError, Failure, Outcome, Verb};
use sim::host::run_hosted;
use sim::world::{
    At, DiskAtRestart, KillKind, NetworkConfig, NodeSpec, Observer, Place, Unobserved, World,
    WorldCommand, first_difference,
};
use std::sync::{Arc, Mutex};
use toys::{A, B, Role, dial, ms, node};

fn world(seed: u64) -> World<Role> {
    let specs = vec![
        node(
            "p",
            Role::Pinger {
                peer: "e".into(),
                window: 3,
                pad: 10,
            },
        ),
        node("e", Role::Echo),
        node("w", Role::Appender { follower: None }),
        node(
            "v",
            Role::Writer {
                peer: "w".into(),
                interval: Span::millis(2),
            },
        ),
    ];
    let mut world = World::new(seed, specs, NetworkConfig::default());
    let kind = KillKind::Process;
    world.schedule_command(ms(100), WorldCommand::Kill { node: B, kind });
    let disk = DiskAtRestart::Same;
    world.schedule_command(ms(130), WorldCommand::Restart { node: B, disk });
    world
}

#[test]
fn the_bare_loop_and_the_host_give_the_same_hash() {
    for seed in 0..4 {
        let mut bare = world(seed);
        bare.keep_trace();
        bare.run_until(ms(500), &mut Unobserved);
        let mut hosted = world(seed);
        hosted.keep_trace();
        let hosted = run_hosted(hosted, ms(500), Unobserved, |_| {}).world;
        assert_eq!(first_difference(bare.trace(), hosted.trace()), None);
        assert_eq!(bare.hash(), hosted.hash());
        assert_eq!(bare.now(), hosted.now());
        assert!(bare.position() > 2_000);
    }
}

/// What the process's own clock shows at every step, against the world's.
#[derive(Default)]
struct Clocks {
    start: Option<(std::time::Instant, At)>,
    worst: u64,
}

impl Observer for Clocks {
    fn after_step(&mut self, step: &sim::world::Step, _: &mut Vec<WorldCommand>) {
        let now = std::time::Instant::now();
        let (start, at) = *self.start.get_or_insert((now, step.at));
        let real = u64::try_from((now - start).as_nanos()).unwrap();
        // The clock is moved after the step, so it lags by one step and never leads by much.
        let shown = step.at.since(at).0;
        self.worst = self.worst.max(real.saturating_sub(shown));
    }
}

#[test]
fn the_process_sees_the_clock_of_the_world() {
    let started = std::time::Instant::now();
    let finished = run_hosted(world(1), ms(60_000), Clocks::default(), |_| {});
    assert!(started.elapsed().as_secs() < 50, "it ran in virtual time");
    assert!(finished.observer.start.is_some());
    assert!(
        finished.observer.worst < 1_000_000,
        "{}",
        finished.observer.worst
    );
}

/// Answers every `Flush` at once and no other verb.
#[derive(Clone)]
struct Instant;

impl sim::world::Boot for Instant {
    type Machine = Answering;
    fn boot(&self, _: u32) -> Answering {
        Answering
    }
}

#[derive(Clone)]
struct Answering;

impl protocol::machine::Machine for Answering {
    fn handle(
        &mut self,
        _: protocol::time::Now,
        input: protocol::machine::Input,
        io: &mut protocol::machine::Io<'_>,
    ) {
        if let protocol::machine::Input::Verb {
            operation,
            verb: Verb::Flush,
        } = input
        {
            io.outcome(operation, Outcome::Done(Ok(())));
        }
    }
}

fn answering(seed: u64) -> World<Instant> {
    let specs = ["a", "b"].map(|host| NodeSpec::new(host, vec![], Instant));
    World::new(seed, specs.to_vec(), NetworkConfig::default())
}

/// Runs clients on both nodes; gives what they saw, and the hash.
fn clients(seed: u64) -> (Vec<String>, u64) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    let finished = run_hosted(answering(seed), ms(1_000), Unobserved, move |handle| {
        for node in [A, B] {
            let (client, log) = (handle.clone(), Arc::clone(&log));
            handle.spawn(node, async move {
                for round in 1..=3_u64 {
                    client
                        .sleep(Span::millis(10 * (u64::from(node.0) + 1)))
                        .await;
                    let outcome = client.submit(node, Verb::Flush).await;
                    assert_eq!(outcome, Outcome::Done(Ok(())));
                    let line = format!("{} {round} {}", node.0, client.now());
                    log.lock().unwrap().push(line);
                }
            });
        }
        let (client, log) = (handle.clone(), Arc::clone(&log));
        handle.spawn(A, async move {
            let kill = WorldCommand::Kill {
                node: B,
                kind: KillKind::Process,
            };
            let mut waiting = client.call(B, Verb::Unsubscribe);
            client.sleep(Span::millis(50)).await;
            client.command(kill);
            let crashed = Outcome::Done(Err(Failure::info(ClientError::Crashed)));
            assert_eq!(waiting.next().await, crashed);
            assert_eq!(client.submit(B, Verb::Flush).await, crashed);
            log.lock()
                .unwrap()
                .push(format!("crashed {}", client.now()));
        });
    });
    let seen = seen.lock().unwrap().clone();
    (seen, finished.world.hash())
}

#[test]
fn async_clients_run_on_the_clock_of_the_world_and_die_with_their_node() {
    let (seen, hash) = clients(1);
    let expected = [
        "0 1 0.010s",
        "1 1 0.020s",
        "0 2 0.020s",
        "0 3 0.030s",
        "1 2 0.040s",
        "crashed 0.050s",
    ];
    assert_eq!(seen, expected);
    assert_eq!(clients(1), (seen, hash));
}

#[test]
fn a_panic_of_a_core_reaches_the_caller() {
    let result = std::panic::catch_unwind(|| {
        let specs = vec![node("a", Role::Script)];
        let mut world = World::new(1, specs, NetworkConfig::default());
        // A script that is told to send without a connection panics.
        world.schedule_command(ms(1), toys::send(A, 1));
        run_hosted(world, ms(10), Unobserved, |_| {});
    });
    assert!(result.is_err());
    let _ = dial(NodeId(0), "a");
}

/// Kills a node through madsim as a side task would.
struct KillByMadsim(bool);

impl Observer for KillByMadsim {
    fn after_step(&mut self, step: &sim::world::Step, _: &mut Vec<WorldCommand>) {
        if !self.0 && step.at >= ms(50) {
            self.0 = true;
            madsim::runtime::Handle::current().kill("e");
        }
    }
    fn note(&mut self, _: Place, _: &protocol::note::Note, _: &mut Vec<WorldCommand>) {}
}

#[test]
fn a_node_killed_through_madsim_dies_in_the_world() {
    let mut world = world(1);
    world.run_until(ms(10), &mut Unobserved);
    let finished = run_hosted(world, ms(90), KillByMadsim(false), |_| {});
    assert!(finished.world.machine(B).is_none());
    assert!(finished.world.machine(A).is_some());
}
