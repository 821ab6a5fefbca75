//! What readers of committed records see in the end, where records are lost, never written or written too late: E3 to E7, E9
//! and EO.

use crate::builder::Builder;
use crate::builder::transactions::{Placed, copy, order};
use crate::copying::{copying, joined};
use crate::kept::{acquits, convicts};
use crate::transactions::{at, two_partitions};
use history::event::ElectionKind;
use history::operation::{Stage, TransactionCall};

/// Both halves are committed, and the second is lost with an election of this kind.
#[test]
fn e3_and_e4_excuse_what_an_unclean_election_lost() {
    for (name, kind) in [
        ("e3-lost-near", ElectionKind::Unclean),
        ("e3-lost-bad", ElectionKind::Clean),
    ] {
        let (mut b, p, _) = two_partitions(name);
        b.commit(p, 0, Stage::Ok);
        b.marker(p, (&order(0), 1), true);
        b.marker(p, (&order(1), 1), true);
        b.loses_everything(&order(1), kind);
        let left = [at(0, 0, p, 0)];
        let history = b.finish_committed(&left, &left);
        if kind == ElectionKind::Unclean {
            acquits(&history, "E3", 1);
            acquits(&history, "E4", 1);
        } else {
            convicts(&history, "E3", "torn-transaction");
            convicts(&history, "E4", "committed-not-visible");
        }
    }
}

/// A record that was asked for, and of which no broker ever heard, in a transaction that is committed.
#[test]
fn e4_convicts_a_committed_record_that_was_never_written() {
    for (name, stage) in [
        ("e4-unwritten-bad", None),
        ("e4-unwritten-near", Some(Stage::Fail)),
    ] {
        let (mut b, p, _) = two_partitions(name);
        b.asked(p, 0, &at(0, 1, p, 2));
        if let Some(stage) = stage {
            b.ended(p, 2, stage);
        }
        b.commit(p, 0, Stage::Ok);
        b.marker(p, (&order(0), 1), true);
        b.marker(p, (&order(1), 1), true);
        let records = [at(0, 0, p, 0), at(1, 0, p, 1)];
        let history = b.finish_committed(&records, &records);
        if stage.is_none() {
            convicts(&history, "E4", "committed-not-visible");
        } else {
            acquits(&history, "E4", 0);
        }
    }
}

/// The copies are committed with their offsets, and then lost with an election of this kind.
#[test]
fn e5_e7_and_eo_excuse_copies_that_an_unclean_election_lost() {
    for (name, kind) in [
        ("e7-election-near", ElectionKind::Unclean),
        ("e7-election-bad", ElectionKind::Clean),
    ] {
        let (mut b, p, inputs, _) = copying(name);
        b.commit(p, 0, Stage::Ok);
        b.marker(p, (&copy(0), 2), true);
        b.offsets_decided(p, Some(2));
        b.loses_everything(&copy(0), kind);
        let history = b.finish_committed(&inputs, &inputs);
        if kind == ElectionKind::Unclean {
            acquits(&history, "E5", 1);
            acquits(&history, "E7", 2);
            // One more is not copied because the group had not got there.
            acquits(&history, "EO", 3);
        } else {
            convicts(&history, "E5", "offsets-without-records");
            convicts(&history, "E7", "not-copied");
            convicts(&history, "EO", "never-copied");
        }
    }
}

/// One side of a transfer is lost with an election of this kind.
#[test]
fn e9_excuses_a_sum_that_an_unclean_election_spoilt() {
    for (name, kind) in [
        ("e9-lost-near", ElectionKind::Unclean),
        ("e9-lost-bad", ElectionKind::Clean),
    ] {
        let mut b = Builder::new(name);
        let p = b.transactional("t");
        b.two_topics();
        b.init(p);
        b.begin(p, 0);
        let records: [Placed; 2] = [at(0, 0, p, 0), at(1, 0, p, 1)];
        b.sends(p, Some(0), &records[0], (None, Some(-5)));
        b.sends(p, Some(0), &records[1], (None, Some(5)));
        b.commit(p, 0, Stage::Ok);
        b.marker(p, (&order(0), 1), true);
        b.marker(p, (&order(1), 1), true);
        b.loses_everything(&order(1), kind);
        let history = b.finish_committed(&records[..1], &records[..1]);
        if kind == ElectionKind::Unclean {
            acquits(&history, "E9", 1);
        } else {
            convicts(&history, "E9", "not-conserved");
        }
    }
}

/// The older producer never commits, but a record that it sends after it was fenced becomes part of what the newer one
/// commits.
#[test]
fn e6_convicts_a_record_that_a_zombie_sends_into_the_transaction_of_its_successor() {
    for (name, fenced) in [("e6-record-bad", true), ("e6-record-near", false)] {
        let mut b = Builder::new(name);
        let (old, new) = (b.transactional("t"), b.transactional("t"));
        b.two_topics();
        b.init(old);
        b.begin(old, 0);
        let late = at(0, 0, old, 0);
        if fenced {
            b.init(new);
            b.in_transaction(old, 0, &late);
        } else {
            b.in_transaction(old, 0, &late);
            b.call(new, None, TransactionCall::Init, Stage::Invoke);
            b.call(new, None, TransactionCall::Init, Stage::Ok);
        }
        b.marker(old, (&order(0), 1), true);
        let records = [late];
        let history = b.finish_committed(&records, &records);
        if fenced {
            convicts(&history, "E6", "zombie-visible");
        } else {
            acquits(&history, "E6", 0);
        }
    }
}

#[test]
fn eo_convicts_a_record_below_the_committed_offset_that_was_never_copied() {
    let (mut b, p, inputs, outputs) = copying("eo-lost-bad");
    b.commit(p, 0, Stage::Ok);
    b.marker(p, (&copy(0), 2), true);
    b.offsets_decided(p, Some(3));
    let all = joined(&inputs, &outputs);
    convicts(&b.finish_committed(&all, &all), "EO", "never-copied");
}
