//! A cluster of real brokers, keepers and clients: how many messages it handles per second without recording or checking,
//! and what a clone of it costs with a thousand and with a million records in its logs.

#![expect(missing_docs, reason = "criterion's macros make public items")]
#![expect(clippy::expect_used, reason = "a benchmark of our own scenario")]

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use protocol::time::Span;
use sim::run::Runner;
use sim::run::cluster::CoreBoot;
use sim::scenario::check::{Vocabulary, check};
use sim::scenario::parse::parse;
use sim::world::{Unobserved, World};
use std::hint::black_box;
use std::sync::Arc;

/// Three brokers and three keepers; one producer that has written this many records when the duration is over.
fn scenario(duration: &str, rate: u32, count: u32) -> String {
    format!(
        r#"
title = "a cluster"
question = "What does it cost?"
duration = "{duration}"
topic = [{{ name = "orders", partitions = 3 }}]
producer = [{{ name = "p1", topic = "orders", rate = {rate}, count = {count}, config = {{ acks = "all", "linger.ms" = 5 }} }}]
"#
    )
}

fn world_after(text: &str) -> World<CoreBoot> {
    let file = parse(text).expect("a scenario of our own");
    let words = Vocabulary {
        guarantees: &[],
        ledger: &[],
    };
    let checked = check(&file, "snapshot.toml", &words);
    let plan = checked.plans.into_iter().next();
    let mut runner = Runner::new(Arc::new(plan.expect("a scenario of our own")), 1);
    runner.setup();
    runner.safety();
    runner.world().clone()
}

/// The producer goes on writing while this is measured.
fn messages(criterion: &mut Criterion) {
    let world = world_after(&scenario("5s", 200, 10_000));
    let run = |world: &mut World<CoreBoot>| {
        let until = world.now() + Span::secs(10);
        world.run_until(until, &mut Unobserved)
    };
    let mut after = world.clone();
    let steps = run(&mut after);
    let delivered = after.messages_delivered() - world.messages_delivered();
    let mut group = criterion.benchmark_group("real cores, 10 s, 200 records/s");
    group.sample_size(10);
    for (name, count) in [("steps", steps), ("messages delivered", delivered)] {
        group.throughput(Throughput::Elements(count));
        group.bench_function(name, |bencher| {
            bencher.iter_batched_ref(|| world.clone(), run, BatchSize::LargeInput);
        });
    }
    group.finish();
}

fn snapshots(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("clone of a cluster");
    group.sample_size(10);
    for (name, duration, rate, count) in [
        ("1,000 records", "6s", 200, 1_000),
        ("10,000 records", "12s", 1_000, 10_000),
        ("1,000,000 records", "55s", 20_000, 1_000_000),
    ] {
        let world = world_after(&scenario(duration, rate, count));
        group.bench_function(name, |bencher| {
            bencher.iter_with_large_drop(|| black_box(world.clone()));
        });
    }
    group.finish();
}

criterion_group!(benches, messages, snapshots);
criterion_main!(benches);
