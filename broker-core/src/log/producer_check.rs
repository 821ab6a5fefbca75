//! Whether a producer's batch is new, a duplicate, or out of order (`ProducerAppendInfo`, `ProducerStateEntry`).
//!
//! Checking changes nothing, so that a batch is checked, written, and only then remembered.

use super::append::AppendOrigin;
use super::producer_state::{BatchMetadata, ProducerEntry, ProducerStates};
use protocol::behaviour::{Behaviour, Era, Fix};
use protocol::error_code::ErrorCode;
use protocol::ids::{ProducerEpoch, Sequence};
use protocol::record::RecordBatch;

/// What the state says about a batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Checked {
    /// It may be appended.
    New,
    /// It was appended before, as this batch.
    Duplicate(BatchMetadata),
}

impl ProducerStates {
    /// Whether `batch` may be appended. Only what a client sends is checked for its sequence; a follower takes what its
    /// leader took.
    pub fn check(
        &self,
        batch: &RecordBatch,
        origin: AppendOrigin,
        behaviour: Behaviour,
    ) -> Result<Checked, ErrorCode> {
        let Some((id, epoch)) = batch.producer_id().zip(batch.producer_epoch()) else {
            return Ok(Checked::New);
        };
        let known = self.get(id);
        if origin == AppendOrigin::Client
            && let Some(duplicate) = known.and_then(|entry| find_duplicate(entry, batch))
        {
            return Ok(Checked::Duplicate(duplicate));
        }
        if origin == AppendOrigin::Replication {
            return Ok(Checked::New);
        }
        if known.is_some_and(|entry| entry.epoch.is_some_and(|known| epoch < known)) {
            return Err(ErrorCode::InvalidProducerEpoch);
        }
        if batch.is_control() {
            return check_coordinator(known, batch);
        }
        if origin == AppendOrigin::Client {
            check_sequence(known, batch, epoch, behaviour)?;
        }
        let open = known.is_some_and(|entry| entry.transaction_start.is_some());
        if open && !batch.is_transactional() {
            return Err(ErrorCode::InvalidTxnState);
        }
        Ok(Checked::New)
    }
}

fn find_duplicate(entry: &ProducerEntry, batch: &RecordBatch) -> Option<BatchMetadata> {
    if entry.epoch != batch.producer_epoch() {
        return None;
    }
    let (first, last) = batch.base_sequence().zip(batch.last_sequence())?;
    entry
        .batches
        .iter()
        .find(|known| known.first_sequence() == first && known.last_sequence == last)
        .copied()
}

fn check_coordinator(
    known: Option<&ProducerEntry>,
    batch: &RecordBatch,
) -> Result<Checked, ErrorCode> {
    let marker = batch
        .control_marker()
        .map_err(|_| ErrorCode::InvalidRecord)?
        .ok_or(ErrorCode::InvalidRecord)?;
    if known.is_some_and(|entry| entry.coordinator_epoch > marker.coordinator_epoch) {
        return Err(ErrorCode::TransactionCoordinatorFenced);
    }
    Ok(Checked::New)
}

fn check_sequence(
    known: Option<&ProducerEntry>,
    batch: &RecordBatch,
    epoch: ProducerEpoch,
    behaviour: Behaviour,
) -> Result<(), ErrorCode> {
    let Some(first) = batch.base_sequence() else {
        return Ok(());
    };
    let starts_anew = first == Sequence(0);
    let Some((entry, known_epoch)) =
        known.and_then(|entry| entry.epoch.map(|epoch| (entry, epoch)))
    else {
        return if starts_anew {
            Ok(())
        } else if behaviour.has(Fix::UnknownProducerStartsAtZero) {
            Err(ErrorCode::OutOfOrderSequenceNumber)
        } else if behaviour.has(Fix::ProducerStateByExpiry) {
            // KIP-360: the state may have gone with its records, so any sequence is as good.
            Ok(())
        } else {
            Err(ErrorCode::UnknownProducerId)
        };
    };
    if known_epoch != epoch {
        return starts_anew
            .then_some(())
            .ok_or(ErrorCode::OutOfOrderSequenceNumber);
    }
    let Some(last) = entry.last_sequence() else {
        return match (starts_anew, behaviour.has(Fix::ProducerStateByExpiry)) {
            (true, _) => Ok(()),
            // Between KAFKA-7298 and KIP-360 a producer of whom only a marker was left got a retriable answer.
            (false, false) if behaviour.has(Fix::MarkerOnlyProducer) => {
                Err(ErrorCode::UnknownProducerId)
            }
            (false, _) => Err(ErrorCode::OutOfOrderSequenceNumber),
        };
    };
    if first == last.plus(1) {
        return Ok(());
    }
    let oldest = entry.batches[0].first_sequence();
    let old = batch.last_sequence().is_some_and(|last| last < oldest);
    // Until 1.1 a batch older than the window had a code of its own.
    if old && behaviour.era <= Era::V1_0 {
        return Err(ErrorCode::DuplicateSequenceNumber);
    }
    Err(ErrorCode::OutOfOrderSequenceNumber)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::fixture::numbered;
    use protocol::ids::{LeaderEpoch, Offset, ProducerId};

    fn behaviour(era: Era) -> Behaviour {
        Behaviour::of(era)
    }

    /// States after batches of one producer (epoch, first sequence, count), one after another from offset 0.
    fn after(era: Era, batches: &[(i16, i32, i32)]) -> ProducerStates {
        let mut states = ProducerStates::default();
        for (epoch, sequence, count) in batches {
            let batch = numbered(1, *epoch, *sequence, *count);
            let batch = batch.rebase(states.map_end, LeaderEpoch(0));
            states.apply(&batch, behaviour(era));
        }
        states
    }

    fn ask(
        states: &ProducerStates,
        era: Era,
        batch: (i16, i32, i32),
    ) -> Result<Checked, ErrorCode> {
        let (epoch, sequence, count) = batch;
        let batch = numbered(1, epoch, sequence, count);
        states.check(&batch, AppendOrigin::Client, behaviour(era))
    }

    #[test]
    fn the_next_sequence_is_taken_and_any_other_refused() {
        let states = after(Era::V2_8, &[(0, 0, 3)]);
        assert_eq!(ask(&states, Era::V2_8, (0, 3, 2)), Ok(Checked::New));
        for sequence in [1, 4, 5] {
            assert_eq!(
                ask(&states, Era::V2_8, (0, sequence, 1)),
                Err(ErrorCode::OutOfOrderSequenceNumber)
            );
        }
    }

    #[test]
    fn the_last_five_batches_are_recognised_and_no_more() {
        let all: Vec<_> = (0..6).map(|number| (0, number * 2, 2)).collect();
        let states = after(Era::V2_8, &all);
        for (epoch, sequence, count) in &all[1..] {
            let Ok(Checked::Duplicate(known)) =
                ask(&states, Era::V2_8, (*epoch, *sequence, *count))
            else {
                panic!("{sequence} is remembered");
            };
            assert_eq!(known.first_offset(), Offset(i64::from(*sequence)));
        }
        assert_eq!(
            ask(&states, Era::V2_8, (0, 0, 2)),
            Err(ErrorCode::OutOfOrderSequenceNumber)
        );
        assert_eq!(
            ask(&states, Era::V2_8, (0, 2, 1)),
            Err(ErrorCode::OutOfOrderSequenceNumber),
            "a part of a remembered batch is no duplicate"
        );
    }

    #[test]
    fn an_older_duplicate_had_a_code_of_its_own_until_1_1() {
        let all: Vec<_> = (0..6).map(|number| (0, number * 2, 2)).collect();
        let states = after(Era::V1_0, &all);
        assert_eq!(
            ask(&states, Era::V1_0, (0, 0, 2)),
            Err(ErrorCode::DuplicateSequenceNumber)
        );
        assert_eq!(
            ask(&states, Era::V1_0, (0, 13, 1)),
            Err(ErrorCode::OutOfOrderSequenceNumber)
        );
    }

    #[test]
    fn without_kafka_5494_only_the_last_batch_is_recognised() {
        let narrow = behaviour(Era::V2_8).with(Fix::DedupeWindow, false);
        let mut states = ProducerStates::default();
        for sequence in [0, 1] {
            states.apply(&numbered(1, 0, sequence, 1), narrow);
        }
        let check =
            |sequence| states.check(&numbered(1, 0, sequence, 1), AppendOrigin::Client, narrow);
        assert!(matches!(check(1), Ok(Checked::Duplicate(_))));
        assert_eq!(check(0), Err(ErrorCode::OutOfOrderSequenceNumber));
    }

    #[test]
    fn a_sequence_wraps_to_zero() {
        let states = after(Era::V2_8, &[(0, i32::MAX - 1, 2)]);
        assert_eq!(ask(&states, Era::V2_8, (0, 0, 1)), Ok(Checked::New));
        let states = after(Era::V2_8, &[(0, i32::MAX - 1, 4)]);
        let entry = states.get(ProducerId(1)).unwrap();
        assert_eq!(entry.last_sequence(), Some(Sequence(1)));
        assert_eq!(entry.batches[0].first_sequence(), Sequence(i32::MAX - 1));
        assert!(matches!(
            ask(&states, Era::V2_8, (0, i32::MAX - 1, 4)),
            Ok(Checked::Duplicate(_))
        ));
    }

    #[test]
    fn a_new_epoch_starts_at_zero_and_an_old_one_is_fenced() {
        let states = after(Era::V2_8, &[(3, 0, 1)]);
        assert_eq!(
            ask(&states, Era::V2_8, (2, 1, 1)),
            Err(ErrorCode::InvalidProducerEpoch)
        );
        assert_eq!(
            ask(&states, Era::V2_8, (4, 1, 1)),
            Err(ErrorCode::OutOfOrderSequenceNumber)
        );
        assert_eq!(ask(&states, Era::V2_8, (4, 0, 1)), Ok(Checked::New));
        let states = after(Era::V2_8, &[(3, 0, 1), (4, 0, 1)]);
        assert_eq!(states.get(ProducerId(1)).unwrap().batches.len(), 1);
    }

    #[test]
    fn an_unknown_producer_is_judged_by_the_era() {
        let none = ProducerStates::default();
        for (era, answer) in [
            (Era::V1_0, Err(ErrorCode::UnknownProducerId)),
            (Era::V2_8, Ok(Checked::New)),
            (Era::Sound, Err(ErrorCode::OutOfOrderSequenceNumber)),
        ] {
            assert_eq!(ask(&none, era, (0, 5, 1)), answer, "{era}");
            assert_eq!(ask(&none, era, (0, 0, 1)), Ok(Checked::New), "{era}");
        }
    }

    #[test]
    fn what_is_replicated_is_not_judged() {
        let states = after(Era::V2_8, &[(3, 0, 1)]);
        for (epoch, sequence) in [(2, 0), (3, 0), (3, 9)] {
            let batch = numbered(1, epoch, sequence, 1);
            assert_eq!(
                states.check(&batch, AppendOrigin::Replication, behaviour(Era::V2_8)),
                Ok(Checked::New)
            );
        }
    }
}
