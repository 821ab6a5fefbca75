//! The guarantees of transactions against histories that break them and ones that nearly do, built here, kept in `testdata`
//! and judged from those files. `KTRIAL_BLESS=1` writes the files anew.

use crate::builder::Builder;
use crate::builder::transactions::{Placed, order};
use crate::kept::{acquits, convicts, judged};
use history::History;
use history::manifest::{ClientKind, CommitPolicy, Stream};
use history::operation::{Stage, TransactionCall};
use history::verdict::Answer;
use protocol::note::TransactionState;
use protocol::verb::ResetReason;

/// Value `number` of client `client`, as `orders-PARTITION` at `offset`.
pub(crate) fn at(partition: i32, offset: i64, client: u16, number: u64) -> Placed {
    (order(partition), offset, Builder::value(client, number))
}

/// One transaction with a record in each partition, and who reads committed records.
pub(crate) fn two_partitions(name: &str) -> (Builder, u16, u16) {
    let mut b = Builder::new(name);
    let p = b.transactional("t");
    let c = b.reader_of_committed();
    b.two_topics();
    b.init(p);
    b.begin(p, 0);
    b.in_transaction(p, 0, &at(0, 0, p, 0));
    b.in_transaction(p, 0, &at(1, 0, p, 1));
    (b, p, c)
}

#[test]
fn e1_convicts_a_read_of_an_aborted_transaction() {
    let (mut b, p, c) = two_partitions("e1-bad");
    b.abort(p, 0);
    b.marker(p, (&order(0), 1), false);
    b.marker(p, (&order(1), 1), false);
    let records = [at(0, 0, p, 0), at(1, 0, p, 1)];
    b.polls(c, &records[..1]);
    convicts(&b.finish_committed(&records, &[]), "E1", "aborted-read");
}

#[test]
fn e1_acquits_a_read_of_a_transaction_whose_end_nobody_was_told() {
    let (mut b, p, c) = two_partitions("e1-near");
    b.commit(p, 0, Stage::Info);
    b.marker(p, (&order(0), 1), true);
    b.marker(p, (&order(1), 1), true);
    let records = [at(0, 0, p, 0), at(1, 0, p, 1)];
    b.polls(c, &records);
    acquits(&b.finish_committed(&records, &records), "E1", 0);
}

#[test]
fn e1_convicts_by_the_marker_where_nobody_was_told() {
    let (mut b, p, c) = two_partitions("e1-marker-bad");
    b.commit(p, 0, Stage::Info);
    b.marker(p, (&order(0), 1), false);
    b.marker(p, (&order(1), 1), false);
    let records = [at(0, 0, p, 0), at(1, 0, p, 1)];
    b.polls(c, &records[1..]);
    convicts(&b.finish_committed(&records, &[]), "E1", "aborted-read");
}

#[test]
fn e2_convicts_a_read_before_the_commit_is_asked_for() {
    let (mut b, p, c) = two_partitions("e2-bad");
    let records = [at(0, 0, p, 0), at(1, 0, p, 1)];
    b.polls(c, &records[..1]);
    b.commit(p, 0, Stage::Ok);
    b.marker(p, (&order(0), 1), true);
    b.marker(p, (&order(1), 1), true);
    convicts(
        &b.finish_committed(&records, &records),
        "E2",
        "precommitted-read",
    );
}

/// The marker of one partition is written before the application is told.
#[test]
fn e2_acquits_a_read_while_the_commit_is_under_way() {
    let (mut b, p, c) = two_partitions("e2-near");
    let records = [at(0, 0, p, 0), at(1, 0, p, 1)];
    b.call(p, Some(0), TransactionCall::Commit, Stage::Invoke);
    b.coordinator(p, TransactionState::PrepareCommit);
    b.marker(p, (&order(0), 1), true);
    b.polls(c, &records[..1]);
    b.call(p, Some(0), TransactionCall::Commit, Stage::Ok);
    b.marker(p, (&order(1), 1), true);
    acquits(&b.finish_committed(&records, &records), "E2", 0);
}

#[test]
fn e2_convicts_a_read_before_the_coordinator_has_decided() {
    let (mut b, p, c) = two_partitions("e2-undecided-bad");
    let records = [at(0, 0, p, 0), at(1, 0, p, 1)];
    b.coordinator(p, TransactionState::Ongoing);
    b.call(p, Some(0), TransactionCall::Commit, Stage::Invoke);
    b.polls(c, &records[..1]);
    b.coordinator(p, TransactionState::PrepareCommit);
    b.marker(p, (&order(0), 1), true);
    b.marker(p, (&order(1), 1), true);
    b.call(p, Some(0), TransactionCall::Commit, Stage::Ok);
    convicts(
        &b.finish_committed(&records, &records),
        "E2",
        "precommitted-read",
    );
}

/// The coordinator loses its office when the decision is in its log and before it says so.
#[test]
fn e2_acquits_a_read_after_the_next_coordinator_has_read_the_decision() {
    let (mut b, p, c) = two_partitions("e2-read-near");
    let records = [at(0, 0, p, 0), at(1, 0, p, 1)];
    b.coordinator(p, TransactionState::Ongoing);
    b.call(p, Some(0), TransactionCall::Commit, Stage::Invoke);
    b.next_coordinator(p, TransactionState::PrepareCommit);
    b.marker(p, (&order(0), 1), true);
    b.polls(c, &records[..1]);
    b.marker(p, (&order(1), 1), true);
    b.call(p, Some(0), TransactionCall::Commit, Stage::Ok);
    acquits(&b.finish_committed(&records, &records), "E2", 0);
}

#[test]
fn e2_convicts_where_the_next_coordinator_has_read_the_decision_of_the_transaction_before() {
    let (mut b, p, c) = two_partitions("e2-read-bad");
    let records = [at(0, 0, p, 0), at(1, 0, p, 1)];
    b.next_coordinator(p, TransactionState::PrepareCommit);
    b.coordinator(p, TransactionState::CompleteCommit);
    b.coordinator(p, TransactionState::Ongoing);
    b.call(p, Some(0), TransactionCall::Commit, Stage::Invoke);
    b.polls(c, &records[..1]);
    b.coordinator(p, TransactionState::PrepareCommit);
    b.marker(p, (&order(0), 1), true);
    b.marker(p, (&order(1), 1), true);
    b.call(p, Some(0), TransactionCall::Commit, Stage::Ok);
    convicts(
        &b.finish_committed(&records, &records),
        "E2",
        "precommitted-read",
    );
}

/// A time-out aborts the first half, and the producer commits the second (KAFKA-6119).
#[test]
fn e3_convicts_a_transaction_of_which_half_is_visible() {
    let (mut b, p, _) = two_partitions("e3-bad");
    b.marker(p, (&order(0), 1), false);
    b.commit(p, 0, Stage::Ok);
    b.marker(p, (&order(1), 1), true);
    let records = [at(0, 0, p, 0), at(1, 0, p, 1)];
    let history = b.finish_committed(&records, &records[1..]);
    convicts(&history, "E3", "torn-transaction");
    let judgement = judged(&history);
    let finding = &judgement.verdict("E3").unwrap().findings[0];
    let story: Vec<&str> = finding
        .story
        .iter()
        .map(|moment| moment.text.as_str())
        .collect();
    let told = story.join("\n");
    for part in [
        "p0 begins transaction 0 of p0 as t",
        "p0 sends 0:0 to orders-0",
        "the leader of orders-0 writes the abort marker at offset 1",
        "commitTransaction of p0 returns",
        "the leader of orders-1 writes the commit marker at offset 1",
    ] {
        assert!(told.contains(part), "`{part}` is not in:\n{told}");
    }
}

#[test]
fn e3_acquits_a_transaction_that_nobody_sees() {
    let (mut b, p, _) = two_partitions("e3-near");
    b.commit(p, 0, Stage::Info);
    b.marker(p, (&order(0), 1), false);
    b.marker(p, (&order(1), 1), false);
    let records = [at(0, 0, p, 0), at(1, 0, p, 1)];
    acquits(&b.finish_committed(&records, &[]), "E3", 0);
}

#[test]
fn e3_convicts_a_reader_that_leaves_out_an_earlier_record() {
    let mut b = Builder::new("e3-intermediate-bad");
    let p = b.transactional("t");
    let c = b.reader_of_committed();
    b.two_topics();
    b.init(p);
    b.begin(p, 0);
    let records: Vec<Placed> = (0..3).map(|n| at(0, n, p, n.unsigned_abs())).collect();
    for record in &records {
        b.in_transaction(p, 0, record);
    }
    b.commit(p, 0, Stage::Ok);
    b.marker(p, (&order(0), 3), true);
    b.polls(c, &[records[0].clone(), records[2].clone()]);
    convicts(
        &b.finish_committed(&records, &records),
        "E3",
        "intermediate-read",
    );
}

#[test]
fn e4_convicts_a_committed_record_that_nobody_sees() {
    let (mut b, p, _) = two_partitions("e4-bad");
    b.commit(p, 0, Stage::Ok);
    b.marker(p, (&order(0), 1), false);
    b.marker(p, (&order(1), 1), false);
    let records = [at(0, 0, p, 0), at(1, 0, p, 1)];
    convicts(
        &b.finish_committed(&records, &[]),
        "E4",
        "committed-not-visible",
    );
}

#[test]
fn e4_convicts_an_aborted_record_that_is_seen() {
    let (mut b, p, _) = two_partitions("e4-aborted-bad");
    b.abort(p, 0);
    b.marker(p, (&order(0), 1), true);
    b.marker(p, (&order(1), 1), true);
    let records = [at(0, 0, p, 0), at(1, 0, p, 1)];
    convicts(
        &b.finish_committed(&records, &records),
        "E4",
        "aborted-visible",
    );
}

#[test]
fn e4_convicts_a_transaction_that_was_never_to_be_committed() {
    let (mut b, p, _) = two_partitions("e4-unasked-bad");
    b.marker(p, (&order(0), 1), true);
    b.marker(p, (&order(1), 1), true);
    let records = [at(0, 0, p, 0), at(1, 0, p, 1)];
    convicts(
        &b.finish_committed(&records, &records),
        "E4",
        "uncommitted-visible",
    );
}

#[test]
fn e4_acquits_either_end_where_nobody_was_told() {
    for (name, committed) in [("e4-near", true), ("e4-unmade-near", false)] {
        let (mut b, p, _) = two_partitions(name);
        b.commit(p, 0, Stage::Info);
        b.marker(p, (&order(0), 1), committed);
        b.marker(p, (&order(1), 1), committed);
        let records = [at(0, 0, p, 0), at(1, 0, p, 1)];
        let seen: &[Placed] = if committed { &records } else { &[] };
        acquits(&b.finish_committed(&records, seen), "E4", 0);
    }
}

/// A newer producer takes the id over while the older one's transaction is under way.
fn taken_over(name: &str, committed_before: bool) -> History {
    let mut b = Builder::new(name);
    let (old, new) = (b.transactional("t"), b.transactional("t"));
    b.two_topics();
    b.init(old);
    b.begin(old, 0);
    b.in_transaction(old, 0, &at(0, 0, old, 0));
    if committed_before {
        b.commit(old, 0, Stage::Info);
        b.marker(old, (&order(0), 1), true);
    }
    b.init(new);
    if !committed_before {
        b.commit(old, 0, Stage::Ok);
        b.marker(old, (&order(0), 1), true);
    }
    let records = [at(0, 0, old, 0)];
    b.finish_committed(&records, &records)
}

#[test]
fn e6_convicts_a_zombie_that_commits_after_it_was_fenced() {
    convicts(&taken_over("e6-bad", false), "E6", "zombie-visible");
}

#[test]
fn e6_acquits_a_commit_that_came_before_the_newer_producer() {
    acquits(&taken_over("e6-near", true), "E6", 0);
}

/// A batch that was held comes after the abort marker: a transaction that nobody will ever end (KIP-890).
fn late_batch(name: &str, marker: bool) -> History {
    let (mut b, p, _) = two_partitions(name);
    b.coordinator(p, TransactionState::Ongoing);
    b.abort(p, 0);
    b.marker(p, (&order(0), 1), false);
    b.marker(p, (&order(1), 1), false);
    b.coordinator(p, TransactionState::CompleteAbort);
    let late = at(0, 2, p, 2);
    b.in_transaction(p, 0, &late);
    b.stable(&order(0), 2);
    if marker {
        b.marker(p, (&order(0), 3), false);
        b.stable(&order(0), 4);
    }
    b.stable(&order(1), 2);
    let records = [at(0, 0, p, 0), late, at(1, 0, p, 1)];
    b.finish_committed(&records, &[])
}

#[test]
fn e8_convicts_a_hanging_transaction() {
    convicts(&late_batch("e8-bad", false), "E8", "hanging-transaction");
}

#[test]
fn e8_acquits_once_a_marker_comes() {
    acquits(&late_batch("e8-near", true), "E8", 0);
}

#[test]
fn e8_excuses_what_its_coordinator_still_had_time_for() {
    let (mut b, p, _) = two_partitions("e8-time-near");
    b.coordinator(p, TransactionState::Ongoing);
    let records = [at(0, 0, p, 0), at(1, 0, p, 1)];
    acquits(&b.finish_committed(&records, &[]), "E8", 2);
}

/// The markers are written, and the leader's last stable offset does not follow, for so many milliseconds.
fn stays_behind(name: &str, milliseconds: usize) -> History {
    let (b, records) = behind(name, milliseconds);
    b.finish_committed(&records, &records[1..])
}

fn behind(name: &str, milliseconds: usize) -> (Builder, [Placed; 2]) {
    let (mut b, p, _) = two_partitions(name);
    b.commit(p, 0, Stage::Ok);
    b.marker(p, (&order(1), 1), true);
    b.stable(&order(1), 2);
    b.marker(p, (&order(0), 1), true);
    for _ in 0..milliseconds {
        b.stable(&order(0), 0);
    }
    (b, [at(0, 0, p, 0), at(1, 0, p, 1)])
}

#[test]
fn e8_does_not_hold_a_leader_to_what_it_told_before_it_started_again() {
    let (mut b, records) = behind("e8-behind-again-near", 20);
    b.loaded(1, 2);
    acquits(&b.finish_committed(&records, &records), "E8", 0);
}

#[test]
fn e8_convicts_a_last_stable_offset_that_does_not_follow_the_markers_in_time() {
    let late = stays_behind("e8-behind-bad", 20);
    convicts(&late, "E8", "stable-offset-behind");
    acquits(&stays_behind("e8-behind-near", 1), "E8", 1);
}

/// Transfers of 5 from account a to account b, in one transaction with a record in each partition.
fn transfer(name: &str, whole: bool) -> History {
    let mut b = Builder::new(name);
    let p = b.transactional("t");
    b.two_topics();
    b.init(p);
    b.begin(p, 0);
    let records = [at(0, 0, p, 0), at(1, 0, p, 1)];
    b.sends(p, Some(0), &records[0], (None, Some(-5)));
    b.sends(p, Some(0), &records[1], (None, Some(5)));
    b.commit(p, 0, Stage::Ok);
    b.marker(p, (&order(0), 1), whole);
    b.marker(p, (&order(1), 1), true);
    let seen = if whole { &records[..] } else { &records[1..] };
    b.finish_committed(&records, seen)
}

#[test]
fn e9_convicts_half_a_transfer() {
    convicts(&transfer("e9-bad", false), "E9", "not-conserved");
}

#[test]
fn e9_acquits_a_whole_one() {
    acquits(&transfer("e9-near", true), "E9", 0);
}

/// A group that reads committed records, and one that reads all; between two committed records lies an aborted one.
fn read_around_an_aborted_record(name: &str, committed: bool) -> History {
    let mut b = Builder::new(name);
    let p = b.transactional("t");
    let c = b.consumer(CommitPolicy::After);
    if let ClientKind::Consumer { read_committed, .. } =
        &mut b.history.manifest.clients[usize::from(c)].kind
    {
        *read_committed = committed;
    }
    b.two_topics();
    b.init(p);
    let records: Vec<Placed> = [0, 2, 4]
        .map(|offset: i64| at(0, offset, p, offset.unsigned_abs()))
        .to_vec();
    for (number, record) in (0..).zip(&records) {
        b.begin(p, number);
        b.in_transaction(p, number, record);
        if number == 1 {
            b.abort(p, number);
        } else {
            b.commit(p, number, Stage::Ok);
        }
        b.marker(p, (&order(0), record.1 + 1), number != 1);
    }
    b.assigned(c, 1);
    b.position(c, 0, ResetReason::NoCommit);
    let seen = [records[0].clone(), records[2].clone()];
    b.polls(c, &seen);
    for (_, offset, value) in &seen {
        b.processed(c, *offset, *value);
    }
    b.committed(c, 1, 5);
    b.finish_committed(&records, &seen)
}

#[test]
fn who_reads_committed_records_owes_nothing_for_an_aborted_one() {
    let history = read_around_an_aborted_record("txn-aborted-skipped-near", true);
    for code in ["ORD", "RES", "ALO", "PROGRESS"] {
        acquits(&history, code, 0);
    }
    let ledger = judged(&history).ledger;
    let counts = [
        "transactions",
        "transactions_committed",
        "transactions_aborted",
        "never_processed",
        "lost",
    ];
    assert_eq!(
        counts.map(|name| ledger.get(name)),
        [3, 2, 1, 0, 0].map(Some)
    );
}

#[test]
fn who_reads_everything_may_not_leave_it_out() {
    let history = read_around_an_aborted_record("txn-aborted-skipped-bad", false);
    convicts(&history, "ORD", "skipped");
    convicts(&history, "ALO", "never-processed");
}

#[test]
fn without_a_committed_read_the_log_of_the_last_leader_tells_what_is_visible() {
    for (name, marker) in [("e4-logged-bad", false), ("e4-logged-near", true)] {
        let (mut b, p, _) = two_partitions(name);
        b.commit(p, 0, Stage::Ok);
        b.marker(p, (&order(0), 1), marker);
        b.marker(p, (&order(1), 1), true);
        let records = [at(0, 0, p, 0), at(1, 0, p, 1)];
        b.history
            .manifest
            .streams
            .retain(|stream| *stream != Stream::CommittedRead);
        let history = b.finish_committed(&records, &[]);
        if marker {
            acquits(&history, "E4", 0);
        } else {
            convicts(&history, "E4", "committed-not-visible");
        }
    }
}

#[test]
fn without_any_of_both_nobody_knows() {
    let (mut b, p, _) = two_partitions("e3-unknown");
    b.commit(p, 0, Stage::Ok);
    b.history.manifest.streams = vec![Stream::Operations];
    let verdicts = judged(&b.finish_committed(&[], &[])).verdicts;
    for code in ["E3", "E4", "E5", "E6", "E7", "E8", "E9", "EO"] {
        let verdict = verdicts.iter().find(|verdict| verdict.guarantee == code);
        let answer = &verdict.unwrap().answer;
        assert!(matches!(answer, Answer::Unknown(_)), "{code}: {answer:?}");
    }
}

#[test]
fn nothing_of_it_is_claimed_without_transactions() {
    let mut b = Builder::new("e-unclaimed");
    let p = b.producer("all", 5, true);
    b.born();
    b.written(p, 0, 0);
    let verdicts = judged(&b.finish(&[(0, Builder::value(p, 0))])).verdicts;
    for code in ["E1", "E2", "E3", "E4", "E5", "E6", "E7", "E8", "E9", "EO"] {
        let verdict = verdicts.iter().find(|verdict| verdict.guarantee == code);
        let answer = &verdict.unwrap().answer;
        assert!(
            matches!(answer, Answer::NotClaimed(_)),
            "{code}: {answer:?}"
        );
    }
}
