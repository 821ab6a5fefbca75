//! The guarantees of transactions against histories that break them and ones that nearly do, built here, kept in `testdata`
//! and judged from those files. `KTRIAL_BLESS=1` writes the files anew.

use crate::builder::Builder;
use crate::builder::transactions::{Placed, copy, order};
use crate::kept::{acquits, convicts, judged};
use history::History;
use history::event::{Group, What};
use history::manifest::{ClientKind, CommitPolicy, Stream};
use history::operation::{Stage, TransactionCall};
use history::verdict::Answer;
use protocol::ids::{GenerationId, GroupId, MemberId, Offset, ProducerId, TopicPartition};
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

/// A copy of `orders-0` into `copies-0`, with the offset in the same transaction.
pub(crate) fn copying(name: &str) -> (Builder, u16, Vec<Placed>, Vec<Placed>) {
    let mut b = Builder::new(name);
    let writer = b.producer("all", 5, true);
    let p = b.transactional("t");
    let c = b.copier(p);
    b.two_topics();
    let inputs: Vec<Placed> = (0..3).map(|n| at(0, n, writer, n.unsigned_abs())).collect();
    for input in &inputs {
        b.sends(writer, None, input, (None, None));
    }
    b.init(p);
    b.assigned(c, 1);
    b.position(c, 0, ResetReason::NoCommit);
    b.polls(c, &inputs[..2]);
    b.begin(p, 0);
    let outputs: Vec<Placed> = (0..2_i64)
        .map(|n| (copy(0), n, Builder::value(p, n.unsigned_abs())))
        .collect();
    for (output, input) in outputs.iter().zip(&inputs) {
        b.sends(p, Some(0), output, (Some(input.2), None));
    }
    b.take_offset(p, 0, 2);
    (b, p, inputs, outputs)
}

pub(crate) fn joined(inputs: &[Placed], outputs: &[Placed]) -> Vec<Placed> {
    inputs.iter().chain(outputs).cloned().collect()
}

#[test]
fn e5_convicts_offsets_that_took_effect_without_the_records() {
    let (mut b, p, inputs, outputs) = copying("e5-bad");
    b.commit(p, 0, Stage::Ok);
    b.offsets_decided(p, Some(2));
    b.marker(p, (&copy(0), 2), false);
    let history = b.finish_committed(&joined(&inputs, &outputs), &inputs);
    convicts(&history, "E5", "offsets-without-records");
}

#[test]
fn e5_convicts_records_without_the_offsets() {
    let (mut b, p, inputs, outputs) = copying("e5-offsets-bad");
    b.commit(p, 0, Stage::Ok);
    b.marker(p, (&copy(0), 2), true);
    b.offsets_decided(p, None);
    let all = joined(&inputs, &outputs);
    convicts(
        &b.finish_committed(&all, &all),
        "E5",
        "records-without-offsets",
    );
}

#[test]
fn e5_acquits_both_or_neither() {
    for (name, committed) in [("e5-near", true), ("e5-neither-near", false)] {
        let (mut b, p, inputs, outputs) = copying(name);
        let stage = if committed { Stage::Ok } else { Stage::Info };
        b.commit(p, 0, stage);
        b.marker(p, (&copy(0), 2), committed);
        b.offsets_decided(p, committed.then_some(2));
        let all = joined(&inputs, &outputs);
        let seen = if committed { all.clone() } else { inputs };
        acquits(&b.finish_committed(&all, &seen), "E5", 0);
    }
}

/// A transaction is aborted and the one after it committed, and the coordinator of the group tells of the second decision
/// only. Whether a marker of the first was in the log of the group, and whether somebody has loaded it since.
fn told_of_the_second(name: &str, marker: bool, loaded: bool) -> History {
    let (mut b, p, inputs, outputs) = copying(name);
    b.abort(p, 0);
    b.marker(p, (&copy(0), 2), false);
    if marker {
        b.marker(p, (&TopicPartition::new("__consumer_offsets", 0), 1), false);
    }
    if loaded {
        b.group_loaded(1);
    }
    b.begin(p, 1);
    let output = (copy(0), 3, Builder::value(p, 2));
    b.sends(p, Some(1), &output, (Some(inputs[0].2), None));
    b.take_offset(p, 1, 1);
    b.commit(p, 1, Stage::Ok);
    b.marker(p, (&copy(0), 4), true);
    b.offsets_decided(p, Some(1));
    let visible = joined(&inputs, std::slice::from_ref(&output));
    let all = joined(&joined(&inputs, &outputs), &[output]);
    b.finish_committed(&all, &visible)
}

#[test]
fn e5_convicts_offsets_that_wait_until_the_next_transaction_is_decided() {
    for (name, marker, loaded) in [
        ("e5-unread-bad", true, false),
        ("e5-unmarked-bad", false, true),
    ] {
        let history = told_of_the_second(name, marker, loaded);
        convicts(&history, "E5", "offsets-without-records");
    }
}

#[test]
fn e5_does_not_judge_offsets_that_the_next_coordinator_finds_decided() {
    acquits(&told_of_the_second("e5-loaded-near", true, true), "E5", 0);
}

/// The last of two transactions of a copier is committed, and nobody tells what became of its offsets.
fn told_of_the_first(name: &str, loaded: bool) -> History {
    let (mut b, p, inputs, outputs) = copying(name);
    b.commit(p, 0, Stage::Ok);
    b.marker(p, (&copy(0), 2), true);
    b.offsets_decided(p, Some(2));
    b.begin(p, 1);
    let output = (copy(0), 3, Builder::value(p, 2));
    b.sends(p, Some(1), &output, (Some(inputs[2].2), None));
    b.take_offset(p, 1, 3);
    b.commit(p, 1, Stage::Ok);
    b.marker(p, (&copy(0), 4), true);
    b.marker(p, (&TopicPartition::new("__consumer_offsets", 0), 1), true);
    if loaded {
        b.group_loaded(1);
    }
    let all = joined(&joined(&inputs, &outputs), &[output]);
    b.finish_committed(&all, &all)
}

#[test]
fn e5_convicts_a_coordinator_that_makes_nothing_of_a_marker() {
    let history = told_of_the_first("e5-forgotten-bad", false);
    convicts(&history, "E5", "records-without-offsets");
}

#[test]
fn e5_does_not_judge_a_coordinator_that_did_not_live_to_tell() {
    acquits(&told_of_the_first("e5-last-near", true), "E5", 0);
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

/// The first owner of the input had not committed yet; the second copies the same again, and both commit (KIP-447).
#[test]
fn e7_and_eo_convict_a_second_copy() {
    for (name, code) in [("e7-bad", "E7"), ("eo-bad", "EO")] {
        let (mut b, p, inputs, outputs) = copying(name);
        let q = b.transactional("u");
        let d = b.copier(q);
        b.init(q);
        b.assigned(d, 2);
        b.position(d, 0, ResetReason::NoCommit);
        b.begin(q, 0);
        let again: Vec<Placed> = (0..2_i64)
            .map(|n| (copy(0), n + 2, Builder::value(q, n.unsigned_abs())))
            .collect();
        for (output, input) in again.iter().zip(&inputs) {
            b.sends(q, Some(0), output, (Some(input.2), None));
        }
        b.take_offset(q, 0, 2);
        for (client, offset) in [(q, 4), (p, 5)] {
            b.commit(client, 0, Stage::Ok);
            b.marker(client, (&copy(0), offset), true);
            b.offsets_decided(client, Some(2));
        }
        let all = joined(&joined(&inputs, &outputs), &again);
        convicts(&b.finish_committed(&all, &all), code, "copied-twice");
    }
}

/// A member asks once more what is committed, is told an older offset, and copies again. Whether a broker that took itself
/// for the coordinator before still does so then.
fn told_an_old_offset(name: &str, former_still_there: bool) -> History {
    let (mut b, p, inputs, outputs) = copying(name);
    let loaded = Group::Loaded {
        generation: GenerationId(1),
        offsets: 1,
    };
    b.at(Some(1), What::Group(GroupId::from("g"), loaded));
    b.commit(p, 0, Stage::Ok);
    b.marker(p, (&copy(0), 2), true);
    b.offsets_decided(p, Some(2));
    if !former_still_there {
        b.at(Some(1), What::Group(GroupId::from("g"), Group::Unloaded));
    }
    b.position(p + 1, 0, ResetReason::Seek);
    b.begin(p, 1);
    let again: Vec<Placed> = (0..2_i64)
        .map(|n| (copy(0), n + 3, Builder::value(p, n.unsigned_abs() + 2)))
        .collect();
    for (output, input) in again.iter().zip(&inputs) {
        b.sends(p, Some(1), output, (Some(input.2), None));
    }
    b.take_offset(p, 1, 2);
    b.commit(p, 1, Stage::Ok);
    b.marker(p, (&copy(0), 5), true);
    b.offsets_decided(p, Some(2));
    let all = joined(&joined(&inputs, &outputs), &again);
    b.finish_committed(&all, &all)
}

#[test]
fn e7_and_eo_convict_who_goes_back_without_being_told_so() {
    for (name, code) in [("e7-again-bad", "E7"), ("eo-again-bad", "EO")] {
        convicts(&told_an_old_offset(name, false), code, "copied-twice");
    }
}

#[test]
fn e7_and_eo_excuse_who_is_told_an_old_offset_by_a_coordinator_with_a_successor() {
    for (name, code, excused) in [("e7-again-near", "E7", 2), ("eo-again-near", "EO", 3)] {
        acquits(&told_an_old_offset(name, true), code, excused);
    }
}

#[test]
fn e7_and_eo_acquit_a_copy_of_what_was_read_so_far() {
    for (name, code, excused) in [("e7-near", "E7", 0), ("eo-near", "EO", 1)] {
        let (mut b, p, inputs, outputs) = copying(name);
        b.commit(p, 0, Stage::Ok);
        b.marker(p, (&copy(0), 2), true);
        b.offsets_decided(p, Some(2));
        let all = joined(&inputs, &outputs);
        acquits(&b.finish_committed(&all, &all), code, excused);
    }
}

#[test]
fn e7_convicts_an_offset_that_ran_ahead_of_the_copies() {
    let (mut b, p, inputs, outputs) = copying("e7-lost-bad");
    b.commit(p, 0, Stage::Ok);
    b.marker(p, (&copy(0), 2), true);
    b.offsets_decided(p, Some(3));
    let all = joined(&inputs, &outputs);
    convicts(&b.finish_committed(&all, &all), "E7", "not-copied");
}

#[test]
fn e7_convicts_copies_in_another_order() {
    let mut b = Builder::new("e7-order-bad");
    let writer = b.producer("all", 5, true);
    let p = b.transactional("t");
    let c = b.copier(p);
    b.two_topics();
    let inputs: Vec<Placed> = (0..2).map(|n| at(0, n, writer, n.unsigned_abs())).collect();
    for input in &inputs {
        b.sends(writer, None, input, (None, None));
    }
    b.init(p);
    b.position(c, 0, ResetReason::NoCommit);
    b.begin(p, 0);
    let outputs: Vec<Placed> = (0..2_i64)
        .map(|n| (copy(0), n, Builder::value(p, n.unsigned_abs())))
        .collect();
    for (output, input) in outputs.iter().zip(inputs.iter().rev()) {
        b.sends(p, Some(0), output, (Some(input.2), None));
    }
    b.take_offset(p, 0, 2);
    b.commit(p, 0, Stage::Ok);
    b.marker(p, (&copy(0), 2), true);
    b.offsets_decided(p, Some(2));
    let all = joined(&inputs, &outputs);
    convicts(&b.finish_committed(&all, &all), "E7", "copied-out-of-order");
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

/// Two applications that copy: each writes one record and has read the other's before it committed, or only one has.
fn two_copiers(name: &str, both: bool) -> History {
    let mut b = Builder::new(name);
    let (p, q) = (b.transactional("t"), b.transactional("u"));
    let readers = [b.copier(p), b.copier(q)];
    b.two_topics();
    b.init(p);
    b.init(q);
    b.begin(p, 0);
    b.begin(q, 0);
    let records = [at(0, 0, p, 0), at(1, 0, q, 0)];
    b.in_transaction(p, 0, &records[0]);
    b.in_transaction(q, 0, &records[1]);
    if both {
        b.polls(readers[0], &records[1..]);
    }
    b.call(p, Some(0), TransactionCall::Commit, Stage::Invoke);
    b.marker(p, (&order(0), 1), true);
    b.polls(readers[1], &records[..1]);
    b.call(p, Some(0), TransactionCall::Commit, Stage::Ok);
    b.commit(q, 0, Stage::Ok);
    b.marker(q, (&order(1), 1), true);
    b.finish_committed(&records, &records)
}

#[test]
fn g1c_convicts_two_transactions_that_read_from_each_other() {
    let history = two_copiers("g1c-bad", true);
    convicts(&history, "G1c", "G1c");
    let judgement = judged(&history);
    let finding = &judgement.verdict("G1c").unwrap().findings[0];
    assert_eq!(
        finding.summary,
        "2 operations depend on each other in a circle: transaction 0 of p0 wrote 0:0, which transaction 0 of p1 read; transaction 0 of p1 wrote 1:0, which transaction 0 of p0 read"
    );
}

#[test]
fn g1c_acquits_a_transaction_that_reads_what_another_one_committed() {
    acquits(&two_copiers("g1c-near", false), "G1c", 0);
}

#[test]
fn g1c_convicts_a_read_of_what_was_sent_only_afterwards() {
    let mut b = Builder::new("g1c-realtime-bad");
    let p = b.transactional("t");
    let c = b.reader_of_committed();
    b.two_topics();
    b.init(p);
    let record = [at(0, 0, p, 0)];
    b.polls(c, &record);
    b.begin(p, 0);
    b.in_transaction(p, 0, &record[0]);
    b.commit(p, 0, Stage::Ok);
    b.marker(p, (&order(0), 1), true);
    convicts(&b.finish_committed(&record, &record), "G1c", "G1c-realtime");
}

/// Two transactions write into both partitions, the one first here, the other first there.
#[test]
fn g0_is_told_and_not_held_against_kafka() {
    for (name, crossed) in [("g0-cycle", true), ("g0-near", false)] {
        let mut b = Builder::new(name);
        let (p, q) = (b.transactional("t"), b.transactional("u"));
        b.two_topics();
        b.init(p);
        b.init(q);
        b.begin(p, 0);
        b.begin(q, 0);
        let second = if crossed { [1, 0] } else { [0, 1] };
        let records = [
            at(0, 0, p, 0),
            at(0, 1, q, 0),
            at(1, second[0], p, 1),
            at(1, second[1], q, 1),
        ];
        let mut order_of_sends: Vec<(u16, &Placed)> = vec![(p, &records[0]), (q, &records[1])];
        let last = [(p, &records[2]), (q, &records[3])];
        order_of_sends.extend(if crossed { [last[1], last[0]] } else { last });
        for (client, record) in order_of_sends {
            b.in_transaction(client, 0, record);
        }
        for (client, offset) in [(p, 2), (q, 3)] {
            b.commit(client, 0, Stage::Ok);
            b.marker(client, (&order(0), offset), true);
            b.marker(client, (&order(1), offset), true);
        }
        let judgement = judged(&b.finish_committed(&records, &records));
        let verdict = judgement.verdict("G0").unwrap();
        assert!(matches!(verdict.answer, Answer::NotClaimed(_)));
        let names: Vec<&str> = verdict
            .excused
            .iter()
            .map(|finding| finding.anomaly.as_str())
            .collect();
        let expected: &[&str] = if crossed { &["G0"] } else { &[] };
        assert_eq!(names, expected, "{name}");
        let counted = judgement.ledger.get("write_cycles");
        assert_eq!(counted, Some(u64::from(crossed)));
    }
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

/// Offsets that were sent in one generation take effect in the next one.
#[test]
fn cm_acquits_pending_offsets_that_outlive_their_generation() {
    let (mut b, p, inputs, outputs) = copying("cm-pending-near");
    b.generation(1);
    b.commit(p, 0, Stage::Ok);
    b.marker(p, (&copy(0), 2), true);
    b.generation(2);
    b.group(Group::PendingDecided {
        producer_id: ProducerId(i64::from(p)),
        committed: true,
    });
    let step = b.history.events.last().unwrap().step;
    b.group(Group::OffsetCommitted {
        partition: order(0),
        offset: Offset(2),
        member: MemberId::from("m"),
        generation: GenerationId(1),
    });
    b.history.events.last_mut().unwrap().step = step;
    let all = joined(&inputs, &outputs);
    acquits(&b.finish_committed(&all, &all), "CM", 0);
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
