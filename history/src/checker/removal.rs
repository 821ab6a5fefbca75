//! Topics that somebody deleted on purpose, and their records with them. Names outlive topics: the next one of that name has
//! offsets and epochs of its own.

use super::index::{CutKind, EventId, Index};
use super::loss::{Record, appends, held};

/// Why a record is gone that went with its topic: an operator asked for that, and a replica had the record until it was
/// deleted. A replica that is deleted without such a wish, or once more than anybody asked for, excuses nothing.
pub(super) fn removed(index: &Index<'_>, record: Record, until: EventId) -> Option<String> {
    let partition = index.partition(record.part);
    let written = appends(index, record).filter(|append| *append <= record.since);
    let written = written.max()?;
    let mut removals = partition.removals.iter();
    let removal = removals.find(|removal| written < **removal && **removal <= until)?;
    let kept = partition.replicas.iter().any(|(broker, log)| {
        let mut cuts = log.cuts_of(record.offset);
        cuts.any(|cut| {
            let before = EventId(cut.event.0.saturating_sub(1));
            cut.kind == CutKind::Deleted
                && cut.event <= *removal
                && held(index, record, *broker, before).is_some()
        })
    });
    let topic = &partition.name.topic;
    kept.then(|| format!("the operator deleted topic {topic}"))
}
