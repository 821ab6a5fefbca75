//! What a configuration does not promise is not claimed, and what a history does not tell is unknown.

use crate::builder::Builder;
use crate::kept::judged;
use crate::transactions::{at, two_partitions};
use crate::v;
use history::History;
use history::manifest::Stream;
use history::operation::Stage;
use history::verdict::Answer;

fn answer(history: &History, code: &str) -> Answer {
    judged(history).verdict(code).unwrap().answer.clone()
}

fn nobody_claims(history: &History, codes: &[&str]) {
    for code in codes {
        let answer = answer(history, code);
        assert!(
            matches!(answer, Answer::NotClaimed(_)),
            "{code}: {answer:?}"
        );
    }
}

#[test]
fn a_plain_producer_with_acks_1_claims_nothing_of_other_producers_and_of_groups() {
    let mut b = Builder::new("unclaimed-plain");
    let p = b.producer("1", 5, false);
    b.born();
    b.written(p, 0, 0);
    let codes = [
        "P0", "PA", "DUP", "FIFO", "GAP", "AMO", "ALO", "CM", "OWN", "ORD", "RES", "E1", "G1c",
    ];
    nobody_claims(&b.finish(&[(0, v(0))]), &codes);
}

#[test]
fn a_producer_that_waits_for_nobody_claims_nothing_of_acknowledgements() {
    let mut b = Builder::new("unclaimed-acks-0");
    let p = b.producer("0", 5, false);
    b.born();
    b.send(p, 0);
    b.ended(p, 0, Stage::Ok);
    b.append(&[1, 2, 3], 0, 0, v(0));
    nobody_claims(&b.finish(&[(0, v(0))]), &["P1", "PA", "RT", "FIFO"]);
}

#[test]
fn transactions_that_nobody_reads_with_read_committed_claim_nothing_of_readers() {
    let mut b = Builder::new("unclaimed-reads");
    let p = b.transactional("t");
    b.two_topics();
    b.init(p);
    b.begin(p, 0);
    let records = [at(0, 0, p, 0)];
    b.in_transaction(p, 0, &records[0]);
    b.commit(p, 0, Stage::Ok);
    b.marker(p, (&records[0].0, 1), true);
    let streams = &mut b.history.manifest.streams;
    streams.retain(|stream| *stream != Stream::CommittedRead);
    let history = b.finish(&[(0, records[0].2)]);
    nobody_claims(&history, &["E1", "E2", "G1c", "E5", "E7", "E9", "EO"]);
}

#[test]
fn without_healing_nobody_knows_of_progress() {
    let (b, ..) = two_partitions("progress-unhealed");
    let answer = answer(&b.history, "PROGRESS");
    assert!(matches!(answer, Answer::Unknown(_)), "{answer:?}");
}
