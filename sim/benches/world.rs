//! How many events the world handles per second with cores that cost nothing, and what a clone costs.
//!
//! `cargo bench -p sim --bench world`. Throughput is in steps: one step is one event handled.

#![expect(missing_docs, reason = "criterion's macro makes a public function")]

#[path = "../tests/toys/mod.rs"]
mod toys;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use protocol::time::Span;
use sim::host::run_hosted;
use sim::world::{NetworkConfig, Unobserved, World};
use std::hint::black_box;
use std::sync::Arc;
use toys::{Role, ms, node};

/// Five pairs with this many messages under way in each.
fn pings(window: i32) -> World<Role> {
    let mut specs = Vec::new();
    for pair in 0..5 {
        let peer: Arc<str> = format!("e{pair}").into();
        specs.push(node(&peer, Role::Echo));
        specs.push(node(
            &format!("p{pair}"),
            Role::Pinger {
                peer,
                window,
                pad: 0,
            },
        ));
    }
    World::new(1, specs, NetworkConfig::default())
}

/// A leader with a follower and two writers: disk operations, flushes, timers.
fn appends() -> World<Role> {
    let writer = || Role::Writer {
        peer: "a".into(),
        interval: Span::millis(2),
    };
    let follower = Some("b".into());
    let specs = vec![
        node("a", Role::Appender { follower }),
        node("b", Role::Appender { follower: None }),
        node("v", writer()),
        node("w", writer()),
    ];
    World::new(1, specs, NetworkConfig::default())
}

fn run(world: &mut World<Role>) {
    world.run_until(ms(1_000), &mut Unobserved);
}

fn throughput(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("steps");
    group.sample_size(10);
    for (name, world) in [
        ("ping window 1", pings(1)),
        ("ping window 20", pings(20)),
        ("append and flush", appends()),
    ] {
        let mut whole = world.clone();
        run(&mut whole);
        group.throughput(Throughput::Elements(whole.position()));
        group.bench_function(name, |bencher| {
            bencher.iter_batched_ref(|| world.clone(), run, BatchSize::LargeInput);
        });
    }
    let world = pings(20);
    let mut whole = world.clone();
    run(&mut whole);
    group.throughput(Throughput::Elements(whole.position()));
    group.bench_function("ping window 20, hosted by madsim", |bencher| {
        bencher.iter_batched(
            || world.clone(),
            |world| {
                run_hosted(world, ms(1_000), Unobserved, |_| {})
                    .world
                    .hash()
            },
            BatchSize::LargeInput,
        );
    });
    group.finish();
}

fn snapshot(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("clone");
    for seconds in [1, 10] {
        let mut world = appends();
        world.run_until(ms(seconds * 1_000), &mut Unobserved);
        let records = world.disk(toys::A).used("data") / 4;
        group.bench_function(format!("{records} appended records"), |bencher| {
            bencher.iter(|| black_box(world.clone()).position());
        });
    }
    group.finish();
}

criterion_group!(benches, throughput, snapshot);
criterion_main!(benches);
