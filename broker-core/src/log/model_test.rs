//! The log against a naive model: random appends, cuts, rolls, flushes, crashes and clean restarts.

use super::fixture::{Fixture, at, batch_at, numbered};
use super::producer_state::ProducerEntry;
use proptest::prelude::*;
use protocol::ids::{LeaderEpoch, Offset, ProducerId};
use protocol::record::{RecordBatch, batches};

#[derive(Clone, Debug)]
enum Step {
    /// Records, and whether a new epoch begins with them.
    Append(u8, bool),
    /// An idempotent producer's next batch.
    Produce(u8),
    /// So many batches from the end are cut.
    Truncate(u8),
    Roll,
    Flush,
    /// How much of what was not flushed survives, in 256ths; whether index files are lost.
    Crash(u8, bool),
    CleanRestart,
    /// Everything is dropped and the log goes on so many offsets further.
    StartOver(u8),
    /// So many batches from the front are below the log start from now on.
    DeleteRecords(u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => (1..4_u8, prop::bool::weighted(0.2)).prop_map(|(count, new)| Step::Append(count, new)),
        4 => (1..4_u8).prop_map(Step::Produce),
        2 => (0..6_u8).prop_map(Step::Truncate),
        2 => Just(Step::Roll),
        2 => Just(Step::Flush),
        2 => (any::<u8>(), any::<bool>()).prop_map(|(keep, lose)| Step::Crash(keep, lose)),
        1 => Just(Step::CleanRestart),
        1 => (0..9_u8).prop_map(Step::StartOver),
        1 => (0..4_u8).prop_map(Step::DeleteRecords),
    ];
    prop::collection::vec(step, 1..60)
}

/// A log as a row of batches.
struct Model {
    fixture: Fixture,
    batches: Vec<RecordBatch>,
    start: i64,
    end: i64,
    epoch: i32,
    clock: i64,
    sequence: i32,
}

impl Model {
    fn new() -> Self {
        Self {
            fixture: Fixture::new(&[
                ("segment.bytes", "700"),
                ("index.interval.bytes", "100"),
                ("file.delete.delay.ms", "3"),
            ]),
            batches: Vec::new(),
            start: 0,
            end: 0,
            epoch: 0,
            clock: 10_000,
            sequence: 0,
        }
    }

    fn run(&mut self, step: &Step) {
        self.clock += 1;
        self.fixture.now = at(self.clock);
        match *step {
            Step::Append(count, new_epoch) => {
                self.epoch += i32::from(new_epoch);
                let values = vec!["value"; usize::from(count)];
                self.append(batch_at(self.clock - i64::from(count) * 2, &values));
            }
            Step::Produce(count) => {
                let batch = numbered(7, 0, self.sequence, i32::from(count));
                self.sequence += i32::from(count);
                self.append(batch);
            }
            Step::Truncate(count) => {
                let keep = self.batches.len().saturating_sub(usize::from(count));
                if let Some(first) = self.batches.get(keep) {
                    self.end = first.base_offset().0;
                    self.batches.truncate(keep);
                }
                self.fixture.truncate(self.end);
                self.start = self.start.min(self.end);
                self.restart_producer();
            }
            Step::Roll => self.fixture.roll(),
            Step::Flush => self.fixture.flush(),
            Step::Crash(keep, lose_indexes) => self.crash(keep, lose_indexes),
            Step::CleanRestart => {
                self.fixture.flush();
                self.fixture.reopen(true);
            }
            Step::StartOver(further) => {
                self.end += i64::from(further);
                self.start = self.end;
                self.batches.clear();
                let (now, end) = (self.fixture.now, Offset(self.end));
                let io = &mut self.fixture.bench.io();
                self.fixture
                    .log
                    .truncate_fully_and_start_at(now, io, end)
                    .unwrap();
                self.restart_producer();
            }
            Step::DeleteRecords(count) => self.delete_records(usize::from(count)),
        }
        // The owner flushes what a roll wants flushed. Without that a crash may leave a hole before an empty segment.
        if self.fixture.log.flush_wanted().is_some() {
            self.fixture.flush();
        }
        self.fixture
            .log
            .remove_due_files(self.fixture.now, &mut self.fixture.bench.disk);
    }

    fn append(&mut self, batch: RecordBatch) {
        let info = self.fixture.append(batch.clone(), self.epoch).unwrap();
        assert_eq!(info.first_offset, Offset(self.end));
        let stored = batch.rebase(Offset(self.end), LeaderEpoch(self.epoch));
        self.end = stored.next_offset().0;
        self.batches.push(stored);
    }

    /// Goes on after the sequence that the model's batches end with.
    fn restart_producer(&mut self) {
        self.sequence = self
            .batches
            .iter()
            .rev()
            .find_map(RecordBatch::last_sequence)
            .map_or(0, |last| last.0 + 1);
        let known = self.fixture.log.producers().get(ProducerId(7));
        if let Some(last) = known.and_then(ProducerEntry::last_sequence) {
            // KIP-360: state may outlive the records it came from.
            self.sequence = self.sequence.max(last.0 + 1);
        }
    }

    fn crash(&mut self, keep: u8, lose_indexes: bool) {
        let durable = self.fixture.log.recovery_point();
        let mut turn = 0;
        self.fixture.bench.disk.crash(|unflushed| {
            turn += 1;
            unflushed * usize::from(keep.wrapping_mul(turn)) / 256
        });
        if lose_indexes {
            self.fixture.lose_indexes();
        }
        self.fixture.reopen(false);
        let end = self.fixture.log.log_end_offset();
        assert!(
            end >= durable,
            "what was flushed is there: {end} < {durable}"
        );
        assert!(end.0 <= self.end);
        self.batches.retain(|batch| batch.next_offset() <= end);
        let whole = self
            .batches
            .last()
            .map_or(self.start, |last| last.next_offset().0);
        assert_eq!(
            end.0,
            whole.max(self.start),
            "a log ends with a whole batch"
        );
        self.end = end.0;
        self.restart_producer();
    }

    fn delete_records(&mut self, count: usize) {
        self.fixture.commit();
        if let Some(batch) = self.batches.get(count) {
            self.start = self.start.max(batch.base_offset().0);
            let (now, start) = (self.fixture.now, Offset(self.start));
            let io = &mut self.fixture.bench.io();
            let log = &mut self.fixture.log;
            log.maybe_increment_log_start_offset(io, start).unwrap();
            log.delete_old_segments(now, io).unwrap();
        }
    }

    fn check(&mut self, piece: u64) {
        let log = &self.fixture.log;
        assert_eq!(log.log_start_offset(), Offset(self.start));
        assert_eq!(log.log_end_offset(), Offset(self.end));
        assert!(log.recovery_point() <= log.log_end_offset());
        assert!(log.high_watermark() <= log.log_end_offset());
        assert!(log.high_watermark() >= log.log_start_offset());
        let visible: Vec<_> = self
            .batches
            .iter()
            .filter(|batch| batch.last_offset().0 >= self.start)
            .collect();
        for epoch in 0..=self.epoch + 1 {
            let mut epochs = visible.iter().map(|batch| {
                let epoch = batch.partition_leader_epoch().unwrap();
                (epoch.0, batch.base_offset())
            });
            let higher = epochs.clone().find(|(known, _)| *known > epoch);
            let floor = epochs.clone().rfind(|(known, _)| *known <= epoch);
            let found = log.end_offset_for_epoch(LeaderEpoch(epoch));
            if let Some((known, end)) = found {
                let below = |offset: Offset| offset >= end;
                if let Some((_, start)) = higher {
                    assert!(below(start), "{found:?} for {epoch}");
                }
                assert!(known.0 <= epoch);
            }
            if epochs.any(|(known, _)| known == epoch) {
                let end = higher.map_or(Offset(self.end), |(_, start)| start);
                assert_eq!(found, Some((LeaderEpoch(epoch), end)));
                assert_eq!(floor.map(|(known, _)| known), Some(epoch));
            }
        }
        self.check_content(piece);
    }

    fn check_content(&mut self, piece: u64) {
        let expected: Vec<u8> = self
            .batches
            .iter()
            .filter(|batch| batch.last_offset().0 >= self.start)
            .flat_map(|batch| batch.bytes().to_vec())
            .collect();
        let found = self.fixture.bytes_by(piece);
        let offsets: Vec<_> = batches(found.clone())
            .map(|batch| batch.unwrap().base_offset())
            .collect();
        assert!(found == expected, "read by {piece}: {offsets:?}");
        let visible = self
            .batches
            .iter()
            .filter(|batch| batch.last_offset().0 >= self.start);
        for time in [9_990, self.clock - 3, self.clock] {
            let first = visible
                .clone()
                .find(|batch| batch.max_timestamp() >= time)
                .map(RecordBatch::base_offset);
            let disk = &mut self.fixture.bench.disk;
            let found = self.fixture.log.offset_for_timestamp(disk, time).unwrap();
            assert_eq!(found.map(|found| found.offset), first, "at {time}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_log_is_a_row_of_batches(steps in steps(), piece in 1..900_u64) {
        let mut model = Model::new();
        for step in &steps {
            model.run(step);
            model.check(piece);
        }
    }

    #[test]
    fn a_restart_finds_what_was_there(steps in steps()) {
        let mut model = Model::new();
        for step in &steps {
            model.run(step);
        }
        let before = model.fixture.clone();
        for clean in [true, false] {
            model.fixture = before.clone();
            model.fixture.flush();
            let producer = |fixture: &Fixture| {
                let known = fixture.log.producers().get(ProducerId(7));
                known.and_then(ProducerEntry::last_sequence)
            };
            let (epochs, last) = (
                model.fixture.log.leader_epochs().clone(),
                producer(&model.fixture),
            );
            model.fixture.reopen(clean);
            // Of an empty log, recovery may find the epoch of records below its start and the next start drop it.
            if model.start < model.end {
                prop_assert_eq!(model.fixture.log.leader_epochs(), &epochs);
            }
            let start = model.start;
            let mut visible = model.batches.iter().filter(|batch| batch.base_offset().0 >= start);
            // State that outlived its records (KIP-360) need not outlive a restart.
            if visible.any(|batch| batch.producer_id().is_some()) {
                prop_assert_eq!(producer(&model.fixture), last);
            }
            model.check(300);
        }
    }
}
