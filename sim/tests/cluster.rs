//! A whole cluster of real cores in the world: the bare loop, the madsim host, and clones taken on the way agree.

#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use history::event::{Keeper, Process, What};
use history::manifest::NodeRole;
use history::operation::{Action, Stage};
use protocol::ids::{KeeperId, NodeId};
use protocol::keeper::KeeperRole;
use protocol::time::Span;
use sim::host::run_hosted;
use sim::run::cluster::{self, CoreBoot, Nodes};
use sim::scenario::check::{Vocabulary, check};
use sim::scenario::parse::parse;
use sim::scenario::plan::Plan;
use sim::world::{
    At, DiskAtRestart, KillKind, Unflushed, Unobserved, World, WorldCommand, first_difference,
};
use std::sync::Arc;

const SCENARIO: &str = r#"
title = "a cluster"
question = "Is it the same everywhere?"
duration = "30s"

[cluster.config]
"zookeeper.session.timeout.ms" = 6000
"auto.create.topics.enable" = true
"default.replication.factor" = 3

[[topic]]
name = "orders"

[[producer]]
name = "p1"
topic = "orders"
rate = 50
config = { acks = "all" }

[[consumer]]
name = "c1"
group = "g"
topics = ["orders"]
commit = "after"
config = { "auto.offset.reset" = "earliest" }
"#;

fn plan() -> Plan {
    plan_of(SCENARIO)
}

fn plan_of(text: &str) -> Plan {
    let vocabulary = Vocabulary {
        guarantees: &[],
        ledger: &[],
    };
    let checked = check(&parse(text).unwrap(), "cluster.toml", &vocabulary);
    assert!(checked.complaints.is_empty(), "{:?}", checked.complaints);
    checked.plans.into_iter().next().unwrap()
}

fn at(seconds: u64) -> At {
    At::ZERO + Span::secs(seconds)
}

/// Brokers, keepers and clients; a broker loses power, a keeper is killed, and both come back.
fn world(seed: u64) -> (World<CoreBoot>, Nodes) {
    let plan = plan();
    let nodes = cluster::nodes(&plan, seed);
    let mut world = World::new(seed, nodes.specs.clone(), cluster::network(&plan));
    let restart = |node: NodeId| WorldCommand::Restart {
        node,
        disk: DiskAtRestart::Same,
    };
    let broker = *nodes.directory.brokers.values().next().unwrap();
    let keeper = *nodes.directory.keepers.values().last().unwrap();
    for node in &nodes.client_nodes {
        world.schedule_command(at(5), restart(*node));
    }
    world.schedule_command(
        at(12),
        WorldCommand::Kill {
            node: broker,
            kind: KillKind::Power(Unflushed::Drawn),
        },
    );
    world.schedule_command(
        at(14),
        WorldCommand::Kill {
            node: keeper,
            kind: KillKind::Process,
        },
    );
    world.schedule_command(at(22), restart(broker));
    world.schedule_command(at(23), restart(keeper));
    (world, nodes)
}

#[test]
fn a_real_cluster_has_the_same_hash_in_the_bare_loop_and_under_madsim() {
    let (mut bare, _) = world(7);
    bare.keep_trace();
    bare.run_until(at(30), &mut Unobserved);
    assert!(
        bare.position() > 5_000,
        "the cluster did work: {} steps",
        bare.position()
    );
    let (mut hosted, _) = world(7);
    hosted.keep_trace();
    let hosted = run_hosted(hosted, at(30), Unobserved, |_| {}).world;
    assert_eq!(first_difference(bare.trace(), hosted.trace()), None);
    assert_eq!(bare.hash(), hosted.hash());
}

#[test]
fn a_cluster_cloned_at_any_step_goes_on_as_the_original_does() {
    for seed in 1..4 {
        let (mut whole, _) = world(seed);
        whole.run_until(at(30), &mut Unobserved);
        // Spread over the run: forming, working, a broker dead, both back.
        for forked_at in [1, 6, 13, 24] {
            let (mut original, _) = world(seed);
            original.run_until(at(forked_at), &mut Unobserved);
            original.step(&mut Unobserved);
            let mut fork = original.clone();
            original.run_until(at(30), &mut Unobserved);
            fork.run_until(at(30), &mut Unobserved);
            assert_eq!(
                original.hash(),
                whole.hash(),
                "seed {seed}, forked at {forked_at}s"
            );
            assert_eq!(
                fork.hash(),
                whole.hash(),
                "seed {seed}, forked at {forked_at}s"
            );
        }
    }
}

#[test]
fn two_seeds_are_two_runs() {
    let hash = |seed| {
        let (mut world, _) = world(seed);
        world.run_until(at(20), &mut Unobserved);
        world.hash()
    };
    assert_ne!(hash(1), hash(2));
    assert_eq!(hash(1), hash(1));
}

/// When the producer's first record was acknowledged, from its `send` on.
fn first_answer(scenario: &str) -> Span {
    let vocabulary = Vocabulary {
        guarantees: &[],
        ledger: &[],
    };
    let checked = check(&parse(scenario).unwrap(), "cluster.toml", &vocabulary);
    assert!(checked.complaints.is_empty(), "{:?}", checked.complaints);
    let run = sim::run::run(&checked.plans[0].clone().into(), 1);
    let sends = |wanted: Stage| {
        let mut times = run.history.events.iter().filter_map(|event| {
            let What::Operation(operation) = &event.what else {
                return None;
            };
            let is_send = matches!(operation.action, Action::Send { .. });
            (is_send && operation.stage == wanted).then_some(event.at)
        });
        times.next().unwrap()
    };
    Span(sends(Stage::Ok) - sends(Stage::Invoke))
}

#[test]
fn a_link_set_apart_has_its_own_delay() {
    let scenario = r#"
title = "two links"
question = "How far is it?"
duration = "5s"

[cluster]
brokers = 1
keepers = 1

[[topic]]
name = "orders"

[[producer]]
name = "p1"
topic = "orders"
count = 1
"#;
    let near = first_answer(scenario);
    let link = r#"
[[network.link]]
from = "client p1"
to = "brokers"
latency = "500ms"
"#;
    let far = first_answer(&format!("{scenario}{link}"));
    // Twice the connection, once the questions for the topic, once the record.
    assert!(far > near + Span::millis(1500), "{near:?} {far:?}");
}

/// A server with a small id asks the others to dial it, over a connection that it closes at once.
#[test]
fn a_keeper_that_was_killed_joins_the_ensemble_again_whichever_it_is() {
    for id in 1..=3 {
        let text = format!(
            "title = 'keepers'\nquestion = 'Does it come back?'\nduration = '8s'\n\
             [[fault]]\nkind = 'kill'\ntarget = 'keeper {id}'\nat = '3s'\nrestart_after = '1s'\n"
        );
        let plan = plan_of(&text);
        let history = sim::run::run(&Arc::new(plan), 1).history;
        let nodes = &history.manifest.nodes;
        let place = nodes
            .iter()
            .position(|node| node.role == NodeRole::Keeper(KeeperId(id)));
        let node = place
            .and_then(|place| u16::try_from(place).ok())
            .map(NodeId);
        let own = history.events.iter().filter(|event| event.node == node);
        let after =
            own.skip_while(|event| !matches!(event.what, What::Process(Process::Died { .. })));
        let roles: Vec<KeeperRole> = after
            .filter_map(|event| {
                if let What::Keeper(Keeper::Role { role, .. }) = &event.what {
                    Some(*role)
                } else {
                    None
                }
            })
            .collect();
        assert_eq!(
            roles,
            [KeeperRole::Looking, KeeperRole::Following],
            "keeper {id}"
        );
    }
}
