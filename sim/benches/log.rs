//! What the log costs: appends as leader and reads at its tail, on the simulated disk.

#![expect(missing_docs, reason = "criterion's macros make public items")]
#![expect(clippy::expect_used, reason = "a benchmark of our own log")]

use broker_core::log::{AppendBy, LogManager, NewLog, ReadRequest};
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use protocol::behaviour::{Behaviour, Era};
use protocol::config::{BrokerConfig, TopicConfig, TopicOverrides};
use protocol::ids::{LeaderEpoch, TopicPartition};
use protocol::machine::{Io, Stamped};
use protocol::record::{BatchBuilder, RecordBatch};
use protocol::time::Now;
use sim::world::{DiskConfig, SimDisk};
use std::collections::BTreeMap;
use std::hint::black_box;

const RECORDS: usize = 1_000;

struct Fixture {
    disk: SimDisk,
    effects: Vec<Stamped>,
    connections: u64,
    logs: LogManager,
    partition: TopicPartition,
}

fn batch() -> RecordBatch {
    let mut builder = BatchBuilder::new();
    builder.append(1, None, Some(&[7; 100]), &[]);
    builder.build()
}

fn fixture() -> Fixture {
    let mut disk = SimDisk::new(DiskConfig::instant());
    let mut effects = Vec::new();
    let mut connections = 0;
    let config = BrokerConfig::defaults(Era::Sound);
    let partition = TopicPartition::new("orders", 0);
    let mut io = Io::new(&mut disk, &mut effects, &mut connections);
    let now = Now::default();
    let mut logs = LogManager::load(
        now,
        &mut io,
        &config,
        Behaviour::of(Era::Sound),
        &BTreeMap::new(),
    );
    let new = NewLog {
        config: TopicConfig::resolve(&config, &TopicOverrides::default()),
        is_new: true,
    };
    logs.get_or_create(now, &mut io, &partition, new)
        .expect("an empty disk");
    Fixture {
        disk,
        effects,
        connections,
        logs,
        partition,
    }
}

fn append(fixture: &mut Fixture, batch: &RecordBatch) {
    fixture.effects.clear();
    let mut io = Io::new(
        &mut fixture.disk,
        &mut fixture.effects,
        &mut fixture.connections,
    );
    let log = fixture
        .logs
        .get_mut(&fixture.partition)
        .expect("it was created");
    let by = AppendBy::client(LeaderEpoch(0));
    black_box(log.append_as_leader(Now::default(), &mut io, batch.clone(), by))
        .expect("a valid batch");
}

fn log(criterion: &mut Criterion) {
    let batch = batch();
    let mut group = criterion.benchmark_group("log, 1,000 batches of one 100-byte record");
    group.sample_size(20);
    group.bench_function("append as leader", |bencher| {
        bencher.iter_batched(
            fixture,
            |mut fixture| {
                for _ in 0..RECORDS {
                    append(&mut fixture, &batch);
                }
                fixture
            },
            BatchSize::LargeInput,
        );
    });
    let mut full = fixture();
    for _ in 0..RECORDS {
        append(&mut full, &batch);
    }
    let log = full
        .logs
        .get(&full.partition)
        .expect("it was created")
        .clone();
    let end = log.log_end_offset();
    group.bench_function("read one batch at each offset", |bencher| {
        bencher.iter(|| {
            for offset in 0..RECORDS {
                let offset = protocol::ids::Offset(i64::try_from(offset).unwrap_or(0));
                let request = ReadRequest {
                    offset,
                    max_bytes: 100,
                    upper_bound: end,
                    min_one_message: true,
                };
                black_box(log.read(&mut full.disk, &request)).expect("within the log");
            }
        });
    });
    group.finish();
}

criterion_group!(benches, log);
criterion_main!(benches);
