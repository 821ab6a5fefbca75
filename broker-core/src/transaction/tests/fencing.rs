//! Who may go on with a transaction and who may not.

use super::*;
use TransactionState as S;
use protocol::behaviour::Fix;

fn cluster(fix: Fix, on: bool) -> Cluster {
    Cluster::with(Behaviour::of(Era::V2_8).with(fix, on), |_| {})
}

fn raised(producer: &TransactionalProducer) -> TransactionalProducer {
    TransactionalProducer {
        producer_epoch: ProducerEpoch(producer.producer_epoch.0 + 1),
        ..producer.clone()
    }
}

#[test]
fn a_second_producer_aborts_what_the_first_left_open_and_fences_it() {
    let mut cluster = Cluster::of(Era::V2_8);
    let first = cluster.init();
    cluster.write(&first, &orders(), "a");
    let second = cluster.init();
    assert_eq!(second.producer_id, first.producer_id);
    assert_eq!(
        second.producer_epoch,
        ProducerEpoch(2),
        "one to fence, one to use"
    );
    assert_eq!(cluster.add(&first, orders()), ErrorCode::ProducerFenced);
    assert_eq!(cluster.end(&first, true), ErrorCode::ProducerFenced);
    let fenced = TransactionNote::Fenced {
        producer_epoch: ProducerEpoch(0),
    };
    assert!(cluster.transaction_notes().contains(&&fenced));
    assert!(cluster.committed(&orders()).is_empty());
    cluster.write(&second, &orders(), "b");
    assert_eq!(cluster.end(&second, true), ErrorCode::None);
    assert_eq!(cluster.committed(&orders()), ["b"]);
}

#[test]
fn the_abort_of_an_open_transaction_fences_its_producer_since_kafka_5231() {
    for (fixed, answer) in [
        (true, ErrorCode::InvalidProducerEpoch),
        (false, ErrorCode::None),
    ] {
        let mut cluster = cluster(Fix::FenceOnInit, fixed);
        let first = cluster.init();
        cluster.write(&first, &orders(), "a");
        assert_eq!(
            cluster.init_with(4, None),
            Err(ErrorCode::ConcurrentTransactions)
        );
        cluster.world.pass(Span::secs(1));
        assert_eq!(cluster.produce(&first, &orders(), "late"), answer);
    }
}

#[test]
fn a_transaction_that_took_too_long_cannot_be_continued_since_kafka_6119() {
    for fixed in [true, false] {
        let mut cluster = cluster(Fix::EpochOnTimeout, fixed);
        let producer = cluster.init();
        cluster.write(&producer, &orders(), "first half");
        cluster.world.pass(Span::secs(25));
        assert!(
            cluster
                .transaction_notes()
                .contains(&&TransactionNote::TimedOut)
        );
        assert_eq!(cluster.states().last(), Some(&S::CompleteAbort));
        if fixed {
            let answer = cluster.add(&producer, payments());
            assert_eq!(answer, ErrorCode::ProducerFenced);
        } else {
            cluster.write(&producer, &payments(), "second half");
            assert_eq!(cluster.end(&producer, true), ErrorCode::None);
            assert_eq!(cluster.committed(&payments()), ["second half"]);
            assert!(cluster.committed(&orders()).is_empty());
        }
    }
}

#[test]
fn an_end_with_an_epoch_that_was_never_stored_is_refused_since_kafka_9600() {
    for (fixed, state) in [(true, S::Ongoing), (false, S::PrepareCommit)] {
        let mut cluster = cluster(Fix::EndTransactionEpoch, fixed);
        let producer = cluster.init();
        cluster.write(&producer, &orders(), "a");
        let newer = raised(&producer);
        assert_eq!(cluster.end(&newer, true), ErrorCode::ProducerFenced);
        assert_eq!(cluster.states().last(), Some(&state), "fixed: {fixed}");
    }
}

#[test]
fn a_coordinator_whose_clock_went_back_begins_the_next_transaction_since_kafka_8803() {
    for fixed in [true, false] {
        let mut cluster = cluster(Fix::TransactionTimeForward, fixed);
        let producer = cluster.init();
        cluster.write(&producer, &orders(), "a");
        assert_eq!(cluster.end(&producer, true), ErrorCode::None);
        cluster.world.now.wall.0 -= 60_000_000_000;
        if fixed {
            assert_eq!(cluster.add(&producer, orders()), ErrorCode::None);
            continue;
        }
        let request = AddPartitionsToTxnRequest {
            producer,
            partitions: vec![orders()],
            verify_only: false,
        };
        let coordinator = cluster.coordinator();
        cluster.send(&coordinator, 3, request);
        cluster.world.pass(Span::secs(5));
        assert!(cluster.answer_of(&coordinator).is_none());
        cluster.hang_up(&coordinator);
        cluster.world.pass(Span::secs(60));
        assert_eq!(
            cluster.init_with(4, None),
            Err(ErrorCode::ConcurrentTransactions),
            "for ever"
        );
    }
}

#[test]
fn a_producer_goes_on_after_an_error_with_the_next_epoch() {
    let mut cluster = Cluster::of(Era::V2_8);
    let first = cluster.init();
    let current = Some((first.producer_id, first.producer_epoch));
    let again = cluster.init_with(4, current).unwrap();
    assert_eq!(again.producer_epoch, ProducerEpoch(1));
    let retry = cluster.init_with(4, current).unwrap();
    assert_eq!(
        retry.producer_epoch,
        ProducerEpoch(1),
        "its answer was lost"
    );
    let other = cluster.init();
    assert_eq!(other.producer_epoch, ProducerEpoch(2));
    let current = Some((again.producer_id, again.producer_epoch));
    assert_eq!(
        cluster.init_with(4, current),
        Err(ErrorCode::ProducerFenced)
    );
    assert_eq!(
        cluster.init_with(3, current),
        Err(ErrorCode::InvalidProducerEpoch),
        "before KIP-588"
    );
}

#[test]
fn a_new_coordinator_knows_the_transaction() {
    let mut cluster = Cluster::of(Era::V2_8);
    let producer = cluster.init();
    cluster.write(&producer, &orders(), "a");
    let coordinator = cluster.coordinator();
    cluster.kill(&coordinator);
    assert!(
        cluster
            .transaction_notes()
            .contains(&&TransactionNote::Loaded(S::Ongoing))
    );
    assert_eq!(cluster.end(&producer, true), ErrorCode::None);
    cluster.world.pass(Span::secs(2));
    assert_eq!(cluster.committed(&orders()), ["a"]);
}

#[test]
fn ids_that_nobody_uses_are_forgotten() {
    let mut cluster = Cluster::with(Behaviour::of(Era::V2_8), |config| {
        config.transactional_id_expiration_ms = Span::secs(100);
        config.transaction_remove_expired_transaction_cleanup_interval_ms = Span::secs(60);
    });
    let producer = cluster.init();
    cluster.world.pass(Span::secs(200));
    assert_eq!(cluster.states().last(), Some(&S::Dead));
    let answer = cluster.add(&producer, orders());
    assert_eq!(answer, ErrorCode::InvalidProducerIdMapping);
    let next = cluster.init();
    assert_ne!(next.producer_id, producer.producer_id);
}
