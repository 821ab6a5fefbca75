//! Transactions that depend on each other in a circle: G0 and G1c.

use crate::builder::Builder;
use crate::builder::transactions::{Placed, order};
use crate::kept::{acquits, convicts, judged};
use history::History;
use history::operation::{Stage, TransactionCall};
use history::verdict::Answer;

use crate::transactions::at;

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
