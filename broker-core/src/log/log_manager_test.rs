//! The directories of a broker as a whole: start, placement, deletion, checkpoints, a clean stop.

use super::checkpoint::BrokerMetadata;
use super::fixture::{at, batch, topic};
use super::layout::{CLEAN_SHUTDOWN, META_PROPERTIES};
use super::memory_disk::Bench;
use super::{AppendBy, LogManager, NewLog};
use protocol::behaviour::{Behaviour, Era};
use protocol::config::{BrokerConfig, TopicOverrides};
use protocol::error_code::ErrorCode;
use protocol::ids::{BrokerId, LeaderEpoch, Offset, TopicName, TopicPartition};
use protocol::machine::Effect;
use protocol::note::{BrokerNote, Note, ReplicaNote, TruncationRule};
use std::collections::BTreeMap;

fn start(bench: &mut Bench) -> LogManager {
    let mut config = BrokerConfig::defaults(Era::V2_8);
    config.set("log.dirs", "d1,d2").unwrap();
    let mut overrides = TopicOverrides::default();
    overrides.set("flush.messages", "1").unwrap();
    let overrides = BTreeMap::from([(TopicName::from("eager"), overrides)]);
    let behaviour = Behaviour::of(Era::V2_8);
    LogManager::load(at(10_000), &mut bench.io(), &config, behaviour, &overrides)
}

fn create(manager: &mut LogManager, bench: &mut Bench, partition: &TopicPartition) {
    let new = NewLog {
        config: topic(&[]),
        is_new: true,
    };
    manager
        .get_or_create(at(10_000), &mut bench.io(), partition, new)
        .unwrap();
}

fn append(manager: &mut LogManager, bench: &mut Bench, partition: &TopicPartition) {
    let by = AppendBy::client(LeaderEpoch(0));
    let log = manager.get_mut(partition).unwrap();
    log.append_as_leader(at(10_000), &mut bench.io(), batch(&["a"]), by)
        .unwrap();
}

fn partitions(count: i32) -> Vec<TopicPartition> {
    (0..count)
        .map(|index| TopicPartition::new("t", index))
        .collect()
}

/// Four logs of one record each.
fn filled() -> (Bench, LogManager) {
    let mut bench = Bench::default();
    let mut manager = start(&mut bench);
    for partition in partitions(4) {
        create(&mut manager, &mut bench, &partition);
        append(&mut manager, &mut bench, &partition);
    }
    bench.notes();
    (bench, manager)
}

fn stop(manager: &mut LogManager, bench: &mut Bench) {
    for (partition, flush) in manager.start_shutdown(&mut bench.io()) {
        bench.disk.fsync(&flush.files);
        let log = manager.get_mut(&partition).unwrap();
        log.on_flushed(at(10_000), &mut bench.io(), flush.ticket, true);
    }
    manager.finish_shutdown(&mut bench.io());
}

#[test]
fn a_new_log_goes_where_the_fewest_are() {
    let (_, manager) = filled();
    let dirs: Vec<_> = manager
        .iter()
        .map(|(_, log)| log.log_dir().to_string())
        .collect();
    assert_eq!(dirs, ["d1", "d2", "d1", "d2"]);
    let [first, ..] = &partitions(1)[..] else {
        return;
    };
    assert_eq!(manager.get(first).unwrap().directory(), "d1/t-0");
}

#[test]
fn a_clean_stop_leaves_checkpoints_and_a_marker_that_the_next_start_takes_away() {
    let (mut bench, mut manager) = filled();
    stop(&mut manager, &mut bench);
    assert_eq!(
        bench.disk.text("d1/recovery-point-offset-checkpoint"),
        "0\n2\nt 0 1\nt 2 1\n"
    );
    assert_eq!(bench.disk.text("d2/log-start-offset-checkpoint"), "0\n0\n");
    assert!(bench.disk.has(&format!("d1/{CLEAN_SHUTDOWN}")));
    bench.notes();
    let manager = start(&mut bench);
    assert!(!bench.disk.has(&format!("d1/{CLEAN_SHUTDOWN}")));
    assert_eq!(manager.iter().count(), 4);
    let notes = bench.notes();
    assert_eq!(notes.len(), 4);
    assert!(
        notes
            .iter()
            .all(|note| matches!(note, ReplicaNote::Loaded { clean: true, .. }))
    );
    bench.disk.crash(|_| 0);
    start(&mut bench);
    assert!(
        bench
            .notes()
            .iter()
            .all(|note| matches!(note, ReplicaNote::Loaded { clean: false, .. }))
    );
}

#[test]
fn without_a_flush_a_directory_gets_no_marker() {
    let (mut bench, mut manager) = filled();
    manager.start_shutdown(&mut bench.io());
    manager.finish_shutdown(&mut bench.io());
    assert!(!bench.disk.has(&format!("d1/{CLEAN_SHUTDOWN}")));
}

#[test]
fn high_watermarks_are_kept_per_directory_and_bounded_by_the_log() {
    let (mut bench, manager) = filled();
    let offsets: BTreeMap<_, _> = partitions(3)
        .into_iter()
        .zip([Offset(1), Offset(0), Offset(9)])
        .collect();
    manager
        .checkpoint_high_watermarks(&mut bench.io(), &offsets)
        .unwrap();
    assert_eq!(
        bench.disk.text("d1/replication-offset-checkpoint"),
        "0\n2\nt 0 1\nt 2 9\n"
    );
    assert_eq!(
        manager.read_high_watermark_checkpoint(&mut bench.disk),
        offsets
    );
    let manager = start(&mut bench);
    let found: Vec<_> = manager
        .iter()
        .map(|(_, log)| log.high_watermark().0)
        .collect();
    assert_eq!(found, [1, 0, 1, 0]);
}

#[test]
fn a_cut_writes_the_recovery_point_down() {
    let (mut bench, mut manager) = filled();
    for (partition, flush) in manager.start_shutdown(&mut bench.io()) {
        let log = manager.get_mut(&partition).unwrap();
        log.on_flushed(at(10_000), &mut bench.io(), flush.ticket, true);
    }
    manager.checkpoint_recovery_points(&mut bench.io()).unwrap();
    let offsets = BTreeMap::from([(TopicPartition::new("t", 0), Offset(0))]);
    let rule = TruncationRule::HighWatermark;
    let cut = manager.truncate_to(at(10_000), &mut bench.io(), &offsets, rule);
    assert_eq!(cut, Ok(partitions(1)));
    assert_eq!(
        bench.disk.text("d1/recovery-point-offset-checkpoint"),
        "0\n2\nt 0 0\nt 2 1\n"
    );
    let again = manager.truncate_to(at(10_000), &mut bench.io(), &offsets, rule);
    assert_eq!(again, Ok(vec![]));
    let full = TopicPartition::new("t", 2);
    manager
        .truncate_fully_and_start_at(at(10_000), &mut bench.io(), &full, Offset(7))
        .unwrap();
    assert_eq!(manager.get(&full).unwrap().log_start_offset(), Offset(7));
}

#[test]
fn a_deleted_log_is_renamed_and_removed_later_even_after_a_restart() {
    let (mut bench, mut manager) = filled();
    let partition = TopicPartition::new("t", 0);
    assert_eq!(
        manager.delete(at(10_000), &mut bench.io(), &partition),
        Ok(true)
    );
    assert_eq!(
        manager.delete(at(10_000), &mut bench.io(), &partition),
        Ok(false)
    );
    assert!(manager.get(&partition).is_none());
    assert!(!bench.disk.has("d1/t-0/00000000000000000000.log"));
    assert_eq!(manager.next_removal(), Some(at(70_000).mono));
    let mut forked = (bench.clone(), manager.clone());
    manager.remove_due(at(70_000), &mut bench.io());
    assert_eq!(manager.next_removal(), None);
    let left = |bench: &Bench| {
        let names = protocol::disk::Disk::list(&bench.disk, "d1");
        names
            .into_iter()
            .filter(|name| name.ends_with("-delete"))
            .count()
    };
    assert_eq!((left(&bench), left(&forked.0)), (0, 1));
    let mut manager = start(&mut forked.0);
    assert!(manager.get(&partition).is_none());
    manager.remove_due(at(70_000), &mut forked.0.io());
    assert_eq!(left(&forked.0), 0);
}

#[test]
fn topics_are_opened_with_their_own_settings() {
    let mut bench = Bench::default();
    let mut manager = start(&mut bench);
    let eager = TopicPartition::new("eager", 0);
    create(&mut manager, &mut bench, &eager);
    append(&mut manager, &mut bench, &eager);
    assert_eq!(manager.get_mut(&eager).unwrap().flush_wanted(), None);
    let mut manager = start(&mut bench);
    append(&mut manager, &mut bench, &eager);
    let wanted = manager.get_mut(&eager).unwrap().flush_wanted();
    assert_eq!(wanted, Some(Offset(2)));
}

#[test]
fn a_failed_directory_takes_its_logs_along_and_no_empty_one_takes_their_place() {
    let (mut bench, mut manager) = filled();
    bench.effects.clear();
    let lost = manager.fail_dir(&mut bench.io(), "d1");
    assert_eq!(
        lost,
        [TopicPartition::new("t", 0), TopicPartition::new("t", 2)]
    );
    assert!(matches!(
        &bench.effects[0].effect,
        Effect::Note(Note::Broker(BrokerNote::LogDirOffline(dir))) if &**dir == "d1"
    ));
    let old = NewLog {
        config: topic(&[]),
        is_new: false,
    };
    let now = at(10_000);
    let refused = manager.get_or_create(now, &mut bench.io(), &lost[0], old);
    assert_eq!(
        refused.map(|log| log.size()),
        Err(ErrorCode::KafkaStorageError)
    );
    create(&mut manager, &mut bench, &TopicPartition::new("new", 0));
    let log = manager.get(&TopicPartition::new("new", 0)).unwrap();
    assert_eq!(&**log.log_dir(), "d2");
    assert_eq!(manager.online_dirs().count(), 1);
}

#[test]
fn meta_properties_are_written_to_every_directory_and_found_again() {
    let mut bench = Bench::default();
    let mut manager = start(&mut bench);
    assert!(manager.metadata().all(|(_, metadata)| metadata.is_none()));
    let metadata = BrokerMetadata {
        broker_id: BrokerId(1),
        cluster_id: Some("c".into()),
    };
    manager.write_metadata(&mut bench.io(), &metadata).unwrap();
    assert!(bench.disk.has(&format!("d2/{META_PROPERTIES}")));
    let manager = start(&mut bench);
    assert!(
        manager
            .metadata()
            .all(|(_, found)| found == Some(&metadata))
    );
}

#[test]
fn retention_looks_at_every_log_and_clones_do_not_see_it() {
    let (mut bench, mut manager) = filled();
    for partition in partitions(4) {
        let log = manager.get_mut(&partition).unwrap();
        log.update_high_watermark(&mut bench.io(), Offset(1));
    }
    let before = manager.clone();
    let week = 7 * 86_400_000;
    assert!(
        manager
            .retention(at(10_001 + week), &mut bench.io())
            .is_empty()
    );
    let starts = |manager: &LogManager| {
        let logs = manager.iter();
        logs.map(|(_, log)| log.log_start_offset().0).sum::<i64>()
    };
    assert_eq!((starts(&manager), starts(&before)), (4, 0));
}
