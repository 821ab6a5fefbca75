//! Applications that read, transform and write within transactions: E5, E7, EO and what CM makes of their offsets.

use crate::builder::Builder;
use crate::builder::transactions::{Placed, copy, order};
use crate::kept::{acquits, convicts};
use history::History;
use history::event::{Event, Group, What};
use history::operation::Stage;
use protocol::ids::{GenerationId, GroupId, MemberId, Offset, ProducerId, TopicPartition};
use protocol::verb::ResetReason;

use crate::transactions::at;

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

/// The offset of an aborted transaction is said to be pending when its marker is in the log, and the one after it is
/// committed.
fn replicated_late(name: &str, told_before: bool) -> History {
    let (mut b, p, inputs, outputs) = copying(name);
    b.abort(p, 0);
    let pending = |event: &Event| matches!(event.what, What::Group(_, Group::OffsetPending { .. }));
    let told = b.history.events.iter().position(pending);
    let told = b.history.events.remove(told.unwrap()).what;
    b.marker(p, (&TopicPartition::new("__consumer_offsets", 0), 1), false);
    if told_before {
        b.offsets_decided(p, None);
    }
    b.at(Some(0), told);
    b.marker(p, (&copy(0), 2), false);
    if !told_before {
        b.group_loaded(1);
    }
    b.begin(p, 1);
    let output = (copy(0), 3, Builder::value(p, 2));
    b.sends(p, Some(1), &output, (Some(inputs[0].2), None));
    b.offsets_logged(p, 2);
    b.take_offset(p, 1, 1);
    b.commit(p, 1, Stage::Ok);
    b.marker(p, (&copy(0), 4), true);
    b.offsets_decided(p, Some(1));
    let visible = joined(&inputs, std::slice::from_ref(&output));
    let all = joined(&joined(&inputs, &outputs), &[output]);
    b.finish_committed(&all, &visible)
}

#[test]
fn e5_knows_what_was_decided_before_it_was_said_to_be_pending() {
    for (name, told_before) in [
        ("e5-replicated-late-near", false),
        ("e5-decided-before-near", true),
    ] {
        acquits(&replicated_late(name, told_before), "E5", 0);
    }
}

/// The first transaction is committed, and the coordinator that reads it with its marker takes in the offset of the second,
/// which is not replicated when the next one takes over. That one tells that it is aborted.
#[test]
fn e5_does_not_judge_the_first_by_what_the_third_coordinator_tells_of_the_second() {
    let (mut b, p, inputs, outputs) = copying("e5-third-coordinator-near");
    b.commit(p, 0, Stage::Ok);
    b.marker(p, (&copy(0), 2), true);
    b.marker(p, (&TopicPartition::new("__consumer_offsets", 0), 1), true);
    b.group_loaded(1);
    b.begin(p, 1);
    let output = (copy(0), 3, Builder::value(p, 2));
    b.sends(p, Some(1), &output, (Some(inputs[2].2), None));
    b.offsets_logged(p, 2);
    b.group_loaded(1);
    b.abort(p, 1);
    b.marker(p, (&copy(0), 4), false);
    b.offsets_decided(p, None);
    b.begin(p, 2);
    let last = (copy(0), 5, Builder::value(p, 3));
    b.sends(p, Some(2), &last, (Some(inputs[2].2), None));
    b.offsets_logged(p, 3);
    b.take_offset(p, 2, 3);
    b.commit(p, 2, Stage::Ok);
    b.marker(p, (&copy(0), 6), true);
    b.offsets_decided(p, Some(3));
    let visible = joined(&joined(&inputs, &outputs), std::slice::from_ref(&last));
    let all = joined(&joined(&joined(&inputs, &outputs), &[output]), &[last]);
    acquits(&b.finish_committed(&all, &visible), "E5", 0);
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
