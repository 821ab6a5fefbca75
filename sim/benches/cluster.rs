//! What a run costs: a cluster of three brokers and three keepers, 60 simulated seconds, 10,000 records, faults, all checks.

#![expect(missing_docs, reason = "criterion's macros make public items")]
#![expect(clippy::expect_used, reason = "a benchmark of our own scenario")]

use criterion::{Criterion, criterion_group, criterion_main};
use sim::scenario::check::{Vocabulary, check};
use sim::scenario::parse::parse;
use sim::scenario::plan::Plan;
use std::hint::black_box;
use std::sync::Arc;

const SCENARIO: &str = r#"
title = "the yardstick"
question = "How long does it take?"
duration = "60s"

[[topic]]
name = "orders"
partitions = 3
config = { "min.insync.replicas" = 2 }

[[producer]]
name = "p1"
topic = "orders"
rate = 200
count = 10000
config = { acks = "all", "linger.ms" = 5 }

[[fault]]
kind = "kill"
target = "leader of orders-0"
at = "15s"
restart_after = "20s"

[[fault]]
kind = "partition"
target = "broker 2"
at = "45s"
for = "5s"
"#;

fn plan() -> Arc<Plan> {
    let file = parse(SCENARIO).expect("a scenario of our own");
    let checked = check(
        &file,
        "yardstick.toml",
        &Vocabulary {
            guarantees: &[],
            ledger: &[],
        },
    );
    Arc::new(
        checked
            .plans
            .into_iter()
            .next()
            .expect("a scenario of our own"),
    )
}

fn cluster(criterion: &mut Criterion) {
    let plan = plan();
    let mut group = criterion.benchmark_group("60 s, 10,000 records");
    group.sample_size(10);
    group.bench_function("run", |bencher| {
        bencher.iter(|| black_box(sim::run::run(&plan, 1)));
    });
    group.bench_function("run and judge", |bencher| {
        bencher.iter(|| black_box(history::judge::judge(&sim::run::run(&plan, 1).history)));
    });
    group.finish();
}

criterion_group!(benches, cluster);
criterion_main!(benches);
