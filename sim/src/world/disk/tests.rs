//! What survives what.

use super::*;
use crate::random::{Draws, Purpose};
use protocol::machine::FlushId;

fn disk() -> SimDisk {
    SimDisk::new(DiskConfig::default())
}

fn draws(seed: u64) -> impl Fn(u64) -> Draws {
    move |part| Draws::keyed(seed, Purpose::CRASH, 0, 0, part)
}

fn flush(disk: &mut SimDisk, files: &[FileId], at: At) -> u32 {
    let draws = |_, ordinal| Draws::keyed(0, Purpose::FLUSH, 0, 0, ordinal);
    disk.begin_flush((FlushId(1), 1), files, at, draws).0
}

fn late() -> At {
    At(1_000_000_000)
}

/// Flushes and finishes.
fn sync(disk: &mut SimDisk, files: &[FileId]) {
    let ticket = flush(disk, files, late());
    assert_eq!(disk.finish_flush(ticket).unwrap().result, Ok(()));
}

fn content(disk: &SimDisk, path: &str) -> Vec<u8> {
    disk.cached(path).unwrap().to_vec()
}

#[test]
fn power_loss_never_loses_flushed_bytes_and_does_lose_unflushed_ones() {
    let (mut lost, mut kept, mut torn) = (0, 0, 0);
    for seed in 0..200 {
        let mut disk = disk();
        let file = disk.open("data/log").unwrap();
        disk.append(file, Bytes::from(vec![1; 1000])).unwrap();
        sync(&mut disk, &[file]);
        disk.append(file, Bytes::from(vec![2; 1000])).unwrap();
        let loss = disk.lose_power(Unflushed::Drawn, draws(seed));
        let after = content(&disk, "data/log");
        assert_eq!(after[..1000], [1; 1000]);
        assert_eq!(loss.bytes_lost, 2000 - size(after.len()));
        let intact = after.len() - usize::try_from(loss.bytes_torn).unwrap();
        assert!(after[1000..intact].iter().all(|byte| *byte == 2));
        lost += u32::from(after.len() == 1000);
        kept += u32::from(after.len() == 2000);
        torn += u32::from(loss.bytes_torn > 0);
        assert_eq!(disk.durable_len("data/log"), Some(size(after.len())));
        assert_eq!(disk.used("data"), size(after.len()));
    }
    assert!(lost > 20 && kept > 20 && torn > 5, "{lost} {kept} {torn}");
}

#[test]
fn bytes_appended_after_a_flush_was_asked_for_are_not_covered_by_it() {
    let mut disk = disk();
    let file = disk.open("data/log").unwrap();
    disk.append(file, Bytes::from_static(b"before")).unwrap();
    let ticket = flush(&mut disk, &[file], late());
    disk.begin_step(late());
    disk.append(file, Bytes::from_static(b"after")).unwrap();
    assert_eq!(disk.durable_len("data/log"), None);
    disk.finish_flush(ticket);
    assert_eq!(disk.durable_len("data/log"), Some(6));
}

#[test]
fn a_flush_covers_what_had_finished_when_it_was_asked_for_in_its_own_step() {
    let mut disk = disk();
    disk.begin_step(At(0));
    let file = disk.open("data/log").unwrap();
    disk.append(file, Bytes::from_static(b"one")).unwrap();
    let asked = At(0) + disk.elapsed();
    disk.append(file, Bytes::from_static(b"two")).unwrap();
    let ticket = flush(&mut disk, &[file], asked);
    disk.finish_flush(ticket);
    assert_eq!(disk.durable_len("data/log"), Some(3));
}

#[test]
fn an_unflushed_truncation_leaves_the_old_or_a_cut_of_the_new_but_keeps_the_common_part() {
    let (mut reverted, mut new) = (0, 0);
    for seed in 0..100 {
        let mut disk = disk();
        let file = disk.open("data/log").unwrap();
        disk.append(file, Bytes::from_static(b"common-old"))
            .unwrap();
        sync(&mut disk, &[file]);
        disk.truncate(file, 7).unwrap();
        disk.append(file, Bytes::from_static(b"new")).unwrap();
        let loss = disk.lose_power(Unflushed::Drawn, draws(seed));
        let after = content(&disk, "data/log");
        assert_eq!(after[..7], *b"common-");
        if loss.files_reverted > 0 {
            assert_eq!(after, b"common-old");
            reverted += 1;
        } else if after == b"common-new" {
            new += 1;
        }
    }
    assert!(reverted > 20 && new > 5, "{reverted} {new}");
}

#[test]
fn a_truncation_stays_once_any_file_of_the_directory_has_been_flushed() {
    for seed in 0..50 {
        let mut disk = disk();
        let file = disk.open("data/log").unwrap();
        disk.append(file, Bytes::from_static(b"common-old"))
            .unwrap();
        sync(&mut disk, &[file]);
        disk.truncate(file, 7).unwrap();
        disk.replace("data/epochs", Bytes::from_static(b"1"))
            .unwrap();
        disk.append(file, Bytes::from_static(b"new")).unwrap();
        disk.truncate(file, 4).unwrap();
        disk.append(file, Bytes::from_static(b"-newer")).unwrap();
        let loss = disk.lose_power(Unflushed::Drawn, draws(seed));
        let after = content(&disk, "data/log");
        assert_eq!(after[..4], *b"comm");
        if loss.files_reverted > 0 {
            assert_eq!(after, b"common-", "as the first cut left it");
        } else {
            assert!(!after[4..].starts_with(b"on-old"));
        }
    }
}

#[test]
fn a_kill_in_the_replacement_after_a_truncation_leaves_the_truncation_undecided() {
    let mut disk = disk();
    let file = disk.open("data/log").unwrap();
    disk.append(file, Bytes::from_static(b"old")).unwrap();
    sync(&mut disk, &[file]);
    disk.begin_step(late());
    disk.truncate(file, 1).unwrap();
    let cut = late() + disk.elapsed();
    disk.replace("data/epochs", Bytes::from_static(b"1"))
        .unwrap();
    disk.rollback(cut);
    assert_eq!(content(&disk, "data/log"), b"o");
    let mut lost = disk.clone();
    lost.lose_power(Unflushed::Lost, draws(1));
    assert_eq!(content(&lost, "data/log"), b"old");
    disk.lose_power(Unflushed::Kept, draws(1));
    assert_eq!(content(&disk, "data/log"), b"o");
}

#[test]
fn a_flush_begun_before_a_truncation_still_keeps_what_is_left_of_it() {
    for seed in 0..50 {
        let mut disk = disk();
        let file = disk.open("data/log").unwrap();
        disk.append(file, Bytes::from_static(b"0123456789"))
            .unwrap();
        let ticket = flush(&mut disk, &[file], late());
        disk.begin_step(late());
        disk.truncate(file, 5).unwrap();
        disk.append(file, Bytes::from_static(b"abc")).unwrap();
        disk.finish_flush(ticket);
        disk.lose_power(Unflushed::Drawn, draws(seed));
        assert_eq!(content(&disk, "data/log")[..5], *b"01234");
    }
}

#[test]
fn a_process_kill_keeps_the_page_cache_but_the_operations_not_finished() {
    let mut disk = disk();
    let file = disk.open("data/log").unwrap();
    disk.append(file, Bytes::from_static(b"old")).unwrap();
    disk.begin_step(At(1_000_000));
    disk.append(file, Bytes::from_static(b"one")).unwrap();
    let one = At(1_000_000) + disk.elapsed();
    disk.truncate(file, 1).unwrap();
    disk.rename("data/log", "data/moved").unwrap();
    disk.replace("data/check", Bytes::from_static(b"7"))
        .unwrap();
    disk.remove("data/moved").unwrap();
    let whole = disk.clone();
    assert_eq!(disk.rollback(one), 6);
    assert_eq!(content(&disk, "data/log"), b"oldone");
    assert_eq!(disk.find("data/check"), None);
    assert_eq!(disk.used("data"), 6);
    let mut before = whole.clone();
    before.rollback(At(1_000_000));
    assert_eq!(content(&before, "data/log"), b"old");
    let mut after = whole.clone();
    assert_eq!(after.rollback(late()), 0);
    assert_eq!(after.files("data"), [("data/check".to_owned(), 1)]);
}

#[test]
fn a_replacement_is_old_or_new_and_durable_when_it_returns() {
    for seed in 0..50 {
        let mut disk = disk();
        disk.replace("data/check", Bytes::from_static(b"old"))
            .unwrap();
        disk.lose_power(Unflushed::Drawn, draws(seed));
        assert_eq!(content(&disk, "data/check"), b"old");
        disk.start_fault("data", DiskFault::Stuck);
        disk.replace("data/check", Bytes::from_static(b"newer"))
            .unwrap();
        assert_eq!(content(&disk, "data/check"), b"newer");
        let loss = disk.lose_power(Unflushed::Drawn, draws(seed));
        assert_eq!(content(&disk, "data/check"), b"old");
        assert_eq!(loss.files_reverted, 1);
    }
}

#[test]
fn unflushed_names_survive_in_order_or_not_at_all() {
    let mut outcomes = BTreeSet::new();
    for seed in 0..100 {
        let mut disk = disk();
        let kept = disk.open("data/kept").unwrap();
        sync(&mut disk, &[kept]);
        disk.open("data/first").unwrap();
        disk.open("data/second").unwrap();
        disk.remove("data/kept").unwrap();
        disk.lose_power(Unflushed::Drawn, draws(seed));
        outcomes.insert(disk.list("data").join(" "));
    }
    let expected = ["first kept", "first kept second", "first second", "kept"];
    assert_eq!(outcomes, expected.map(str::to_owned).into());
}

#[test]
fn renaming_a_directory_moves_all_that_is_in_it_and_nothing_else() {
    let mut disk = disk();
    for path in ["logs/t-0/a", "logs/t-0/b/c", "logs/t-01/a"] {
        disk.open(path).unwrap();
    }
    let file = disk.find("logs/t-0/a").unwrap();
    disk.rename("logs/t-0", "logs/t-0.x-delete").unwrap();
    assert_eq!(disk.list("logs"), ["t-0.x-delete", "t-01"]);
    assert_eq!(disk.list("logs/t-0.x-delete"), ["a", "b"]);
    assert_eq!(disk.find("logs/t-0.x-delete/a"), Some(file));
    disk.append(file, Bytes::from_static(b"still open"))
        .unwrap();
    assert_eq!(disk.used("logs"), 10);
    disk.remove("logs/t-0.x-delete").unwrap();
    assert_eq!(disk.list("logs"), ["t-01"]);
    assert_eq!(disk.used("logs"), 0);
    assert_eq!(disk.rename("logs/none", "logs/x"), Err(DiskError::NotFound));
    assert_eq!(disk.remove("logs/none"), Err(DiskError::NotFound));
}

#[test]
fn a_full_directory_takes_what_fits_and_a_broken_one_nothing() {
    let mut disk = disk();
    let file = disk.open("data/log").unwrap();
    disk.start_fault("data", DiskFault::Full(5));
    assert_eq!(disk.append(file, Bytes::from_static(b"12345")), Ok(()));
    let refused = disk.append(file, Bytes::from_static(b"6"));
    assert_eq!(refused, Err(DiskError::Full));
    assert_eq!(disk.len(file), 5);
    let draws = |_, ordinal| Draws::keyed(0, Purpose::FLUSH, 0, 0, ordinal);
    disk.end_fault("data", DiskFault::Full(5), late(), draws);
    assert_eq!(disk.append(file, Bytes::from_static(b"6")), Ok(()));
    disk.start_fault("data", DiskFault::Broken);
    assert_eq!(disk.read(file, 0, 1), Err(DiskError::Io));
    let ticket = flush(&mut disk, &[file], late());
    let outcome = disk.finish_flush(ticket).unwrap();
    assert_eq!(outcome.result, Err(DiskError::Io));
    assert_eq!(disk.fault_hits("data"), 2);
}

#[test]
fn a_stuck_device_finishes_its_flushes_only_when_it_is_healed() {
    let mut disk = disk();
    let file = disk.open("data/log").unwrap();
    disk.append(file, Bytes::from_static(b"x")).unwrap();
    let under_way = flush(&mut disk, &[file], late());
    disk.start_fault("data", DiskFault::Stuck);
    assert_eq!(disk.finish_flush(under_way), None);
    let draws = |_, ordinal| Draws::keyed(0, Purpose::FLUSH, 0, 0, ordinal);
    let (asked_later, finish) = disk.begin_flush((FlushId(2), 1), &[file], late(), draws);
    assert_eq!(finish, None);
    assert_eq!(disk.durable_len("data/log"), None);
    let resumed = disk.end_fault("data", DiskFault::Stuck, late(), draws);
    let tickets: Vec<u32> = resumed.iter().map(|(ticket, _)| *ticket).collect();
    assert_eq!(tickets, [under_way, asked_later]);
    assert!(resumed[1].1 > resumed[0].1, "flushes of one device queue");
    assert!(disk.finish_flush(under_way).is_some());
    assert_eq!(disk.durable_len("data/log"), Some(1));
}

#[test]
fn corruption_changes_what_is_read_back() {
    let mut disk = disk();
    let file = disk.open("data/log").unwrap();
    disk.append(file, Bytes::from_static(b"abcdef")).unwrap();
    let damage = |damage, last| Corruption { damage, last };
    let flip = damage(Damage::FlipBit, 5);
    assert_eq!(disk.corrupt("data/log", flip), Some(1));
    assert_eq!(disk.corrupt("data/none", flip), None);
    assert_eq!(content(&disk, "data/log"), b"accdef");
    disk.corrupt("data/log", damage(Damage::Zeros, 2));
    assert_eq!(content(&disk, "data/log"), b"accd\0\0");
    assert_eq!(disk.corrupt("data/log", damage(Damage::Cut, 3)), Some(3));
    assert_eq!(content(&disk, "data/log"), b"acc");
    assert_eq!(
        disk.corrupt("data/log", damage(Damage::Remove, u64::MAX)),
        Some(3)
    );
    assert_eq!(disk.find("data/log"), None);
}

#[test]
fn corruption_by_pattern_hits_the_last_file_that_holds_anything() {
    let mut disk = disk();
    for name in ["data/1.log", "data/2.log", "data/sub/9.log"] {
        let file = disk.open(name).unwrap();
        disk.append(file, Bytes::from_static(b"ab")).unwrap();
    }
    disk.open("data/3.log").unwrap();
    let cut = Corruption {
        damage: Damage::Cut,
        last: 1,
    };
    assert_eq!(disk.corrupt("data/*.log", cut), Some(1));
    assert_eq!(content(&disk, "data/2.log"), b"a");
    assert_eq!(disk.corrupt("data/*.index", cut), None);
}

#[test]
fn a_loss_of_power_may_be_told_what_it_leaves() {
    let after = |unflushed| {
        let mut disk = disk();
        let file = disk.open("data/log").unwrap();
        disk.append(file, Bytes::from_static(b"flushed")).unwrap();
        sync(&mut disk, &[file]);
        disk.append(file, Bytes::from(vec![b'x'; 4096])).unwrap();
        let loss = disk.lose_power(unflushed, draws(1));
        (content(&disk, "data/log").len(), loss.bytes_torn > 0)
    };
    assert_eq!(after(Unflushed::Lost), (7, false));
    assert_eq!(after(Unflushed::Kept), (7 + 4096, false));
    assert_eq!(after(Unflushed::Torn), (7 + 4096, true));
}

#[test]
fn a_slow_directory_takes_its_multiple() {
    let mut disk = disk();
    let file = disk.open("data/log").unwrap();
    disk.begin_step(At(0));
    disk.append(file, Bytes::new()).unwrap();
    let usual = disk.elapsed();
    disk.start_fault("data", DiskFault::Slow(10));
    disk.begin_step(At(0));
    disk.append(file, Bytes::new()).unwrap();
    assert_eq!(disk.elapsed(), usual * 10);
    assert_eq!(disk.fault_hits("data"), 1);
}

#[test]
fn a_path_begins_at_the_root_whether_it_says_so_or_not() {
    let mut disk = disk();
    let file = disk.open("/data/log").unwrap();
    assert_eq!(disk.open("data/log"), Ok(file));
    assert_eq!(disk.list("/data"), ["log"]);
    disk.start_fault("data", DiskFault::Broken);
    assert_eq!(
        disk.append(file, Bytes::from_static(b"x")),
        Err(DiskError::Io)
    );
    disk.rename("/data/log", "data/old").unwrap_err();
}
