//! What PROGRESS wants of producers with a transactional id once everything has healed, and of the logs they leave behind.

use crate::builder::Builder;
use crate::builder::transactions::{copy, order};
use crate::copying::{copying, joined};
use crate::kept::{acquits, convicts};
use crate::transactions::{at, two_partitions};
use history::History;
use history::event::{FaultStage, Phase, Replica, What};
use history::operation::{Stage, TransactionCall};
use protocol::ids::{LeaderEpoch, Offset, TopicPartition};
use protocol::note::TransactionState;

/// A new leader lacks the records, and the marker of their transaction is all that the log has in the end.
#[test]
fn progress_acquits_a_final_read_of_a_log_that_has_nothing_but_a_marker() {
    let (mut b, p, _) = two_partitions("progress-marker-near");
    let anew = Replica::BecameLeader {
        leader_epoch: LeaderEpoch(1),
        isr: Vec::new(),
        log_end_offset: Offset(0),
    };
    b.at(Some(0), What::Replica(order(0), anew));
    b.abort(p, 0);
    b.marker(p, (&order(0), 0), false);
    b.marker(p, (&order(1), 1), false);
    b.phase(Phase::Heal);
    let history = b.finish_committed(&[at(1, 0, p, 1)], &[]);
    acquits(&history, "PROGRESS", 0);
}

#[test]
fn progress_wants_an_answer_to_every_end_of_a_transaction() {
    for (name, answered) in [("progress-txn-bad", false), ("progress-txn-near", true)] {
        let (mut b, p, _) = two_partitions(name);
        b.phase(Phase::Heal);
        b.call(p, Some(0), TransactionCall::Commit, Stage::Invoke);
        b.marker(p, (&order(0), 1), true);
        b.marker(p, (&order(1), 1), true);
        if answered {
            b.call(p, Some(0), TransactionCall::Commit, Stage::Ok);
        }
        let records = [at(0, 0, p, 0), at(1, 0, p, 1)];
        let history = b.finish_committed(&records, &records);
        if answered {
            acquits(&history, "PROGRESS", 0);
        } else {
            convicts(&history, "PROGRESS", "transaction-never-ends");
        }
    }
}

/// A transaction whose end is never answered; something was taken for good, and the log of its coordinator is offline.
fn unanswered(name: &str, taken: &str) -> History {
    let (mut b, p, _) = two_partitions(name);
    b.planned("kill", true);
    b.fault_at(0, taken, FaultStage::Injected);
    b.goes_offline(TopicPartition::new("__transaction_state", 0), 1);
    b.phase(Phase::Heal);
    b.call(p, Some(0), TransactionCall::Commit, Stage::Invoke);
    b.marker(p, (&order(0), 1), true);
    b.marker(p, (&order(1), 1), true);
    let records = [at(0, 0, p, 0), at(1, 0, p, 1)];
    b.finish_committed(&records, &records)
}

#[test]
fn progress_excuses_a_transaction_whose_coordinator_is_gone_for_good() {
    let near = unanswered("permanent-coordinator-near", "broker 1");
    acquits(&near, "PROGRESS", 1);
    let bad = unanswered("permanent-coordinator-bad", "keeper 2");
    convicts(&bad, "PROGRESS", "transaction-never-ends");
}

#[test]
fn progress_wants_an_answer_to_who_asks_for_a_transactional_id() {
    for (name, ending) in [
        ("progress-init-bad", Stage::Info),
        ("progress-init-near", Stage::Fail),
    ] {
        let (mut b, p, _) = two_partitions(name);
        let next = b.transactional("t");
        b.commit(p, 0, Stage::Ok);
        b.marker(p, (&order(0), 1), true);
        b.marker(p, (&order(1), 1), true);
        b.phase(Phase::Heal);
        b.call(next, None, TransactionCall::Init, Stage::Invoke);
        b.call(next, None, TransactionCall::Init, ending);
        if ending == Stage::Info {
            b.call(next, None, TransactionCall::Init, Stage::Invoke);
        }
        let records = [at(0, 0, p, 0), at(1, 0, p, 1)];
        let history = b.finish_committed(&records, &records);
        if ending == Stage::Fail {
            acquits(&history, "PROGRESS", 0);
        } else {
            convicts(&history, "PROGRESS", "producer-never-ready");
        }
    }
}

/// A send after healing that is refused as fenced; before, the coordinator may have aborted what took too long.
fn fenced_after_healing(name: &str, late: bool) -> History {
    let (mut b, p, _) = two_partitions(name);
    if late {
        b.timed_out(p);
    }
    b.abort(p, 0);
    b.marker(p, (&order(0), 1), false);
    b.marker(p, (&order(1), 1), false);
    b.phase(Phase::Heal);
    b.begin(p, 1);
    b.asked(p, 1, &at(0, 2, p, 2));
    b.call(p, Some(1), TransactionCall::Commit, Stage::Invoke);
    b.fenced(p, Builder::value(p, 2));
    b.call(p, Some(1), TransactionCall::Commit, Stage::Info);
    let records = [at(0, 0, p, 0), at(1, 0, p, 1)];
    b.finish_committed(&records, &[])
}

#[test]
fn progress_excuses_a_producer_that_was_fenced_because_it_took_too_long() {
    let late = fenced_after_healing("progress-late-near", true);
    acquits(&late, "PROGRESS", 1);
    let nobody = fenced_after_healing("progress-late-bad", false);
    convicts(&nobody, "PROGRESS", "send-fails-after-healing");
}

/// The second life of a producer is fenced after healing; before, the coordinator may have given an epoch once more.
fn fenced_by_the_life_before(name: &str, late: bool) -> History {
    let mut b = Builder::new(name);
    let p = b.transactional("t");
    b.two_topics();
    b.init(p);
    b.life = 1;
    b.phase(Phase::Heal);
    b.init(p);
    if late {
        b.coordinator(p, TransactionState::Empty);
    }
    b.begin(p, 0);
    b.asked(p, 0, &at(0, 0, p, 0));
    b.call(p, Some(0), TransactionCall::Commit, Stage::Invoke);
    b.fenced(p, Builder::value(p, 0));
    b.call(p, Some(0), TransactionCall::Commit, Stage::Info);
    b.finish_committed(&[], &[])
}

#[test]
fn progress_excuses_a_producer_that_a_late_request_of_its_former_life_fences() {
    let late = fenced_by_the_life_before("progress-late-life-near", true);
    acquits(&late, "PROGRESS", 1);
    let nobody = fenced_by_the_life_before("progress-late-life-bad", false);
    convicts(&nobody, "PROGRESS", "send-fails-after-healing");
}

/// A producer is fenced after healing; another process with its id, or with one of its own, had asked for an epoch before.
fn fenced_by_another(name: &str, id: &str) -> History {
    let mut b = Builder::new(name);
    let p = b.transactional("t");
    let other = b.transactional(id);
    b.two_topics();
    b.init(p);
    b.phase(Phase::Heal);
    b.call(other, None, TransactionCall::Init, Stage::Invoke);
    b.begin(p, 0);
    b.asked(p, 0, &at(0, 0, p, 0));
    b.call(p, Some(0), TransactionCall::Commit, Stage::Invoke);
    b.fenced(p, Builder::value(p, 0));
    b.call(p, Some(0), TransactionCall::Commit, Stage::Info);
    b.coordinator(other, TransactionState::Empty);
    b.call(other, None, TransactionCall::Init, Stage::Ok);
    b.finish_committed(&[], &[])
}

#[test]
fn progress_excuses_a_producer_whose_id_another_process_took() {
    let taken = fenced_by_another("progress-taken-near", "t");
    acquits(&taken, "PROGRESS", 1);
    let nobody = fenced_by_another("progress-taken-bad", "u");
    convicts(&nobody, "PROGRESS", "send-fails-after-healing");
}

/// The process of an application that copies has two clients; what one of them had open ends with the other.
#[test]
fn progress_acquits_what_died_with_the_process_of_another_client() {
    for (name, shared) in [
        ("progress-shared-bad", false),
        ("progress-shared-near", true),
    ] {
        let (mut b, p, inputs, outputs) = copying(name);
        b.commit(p, 0, Stage::Ok);
        b.marker(p, (&copy(0), 2), true);
        b.offsets_decided(p, Some(2));
        b.begin(p, 1);
        b.asked(p, 1, &(copy(0), 3, Builder::value(p, 2)));
        let reader = p + 1;
        if shared {
            let clients = &mut b.history.manifest.clients;
            clients[usize::from(p)].node = clients[usize::from(reader)].node;
        }
        b.client_dies(reader);
        let all = joined(&inputs, &outputs);
        let history = b.finish_committed(&all, &all);
        if shared {
            acquits(&history, "PROGRESS", 0);
        } else {
            convicts(&history, "PROGRESS", "send-never-ends");
        }
    }
}
