//! Why a record is gone: who had it when it was acknowledged, what took it away, and whether the configuration admits that.
//!
//! A record acknowledged by the leader alone may go with any election. One acknowledged by all in-sync replicas may go with
//! an unclean election, with the disks of as many replicas as `min.insync.replicas` asks for, with the power of a leader that
//! nobody took out of the in-sync replicas, or with machines that are declared gone for good. Any may go with its topic, when
//! that is deleted on purpose. Nothing else excuses it. The rule follows `LeaderCompleteness` of Kafka's replication
//! specification.

use super::index::{CutKind, EventId, Index, Leadership, NONE, Sent, ValueId, wide};
use super::permanent;
use super::relapse::{deadlock, relapses};
use super::removal::removed;
use crate::event::{ElectionKind, Process, Replica, What};
use crate::operation::Value;
use crate::verdict::Moment;
use protocol::ids::{BrokerId, GroupId, LeaderEpoch};
use std::collections::BTreeSet;

/// How far an acknowledgement promises.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Level {
    /// The leader has it.
    Leader,
    /// The in-sync replicas have it.
    InSync,
}

/// Why a record is gone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Cause {
    /// The configuration admits it, for this reason.
    Excused(String),
    /// Nothing admits it; how it went, as far as known.
    Unexcused(String),
    /// The cluster has it, the final read did not return it.
    Unread,
    /// The history does not tell what brokers did.
    Untold,
}

/// A record at a place, known to be there since an event.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record {
    pub(super) part: u32,
    pub(super) offset: i64,
    pub(super) value: Value,
    pub(super) since: EventId,
}

impl Record {
    /// The record of an acknowledged send.
    pub(super) fn acknowledged(index: &Index<'_>, id: ValueId) -> Self {
        let sent = index.values.get(id);
        Self {
            part: sent.part,
            offset: sent.offset,
            value: index.values.value(id),
            since: sent.ended,
        }
    }
}

/// The last event of the history.
fn last_event(index: &Index<'_>) -> EventId {
    let last = index.history.events.len().saturating_sub(1);
    EventId(u32::try_from(last).unwrap_or(NONE))
}

/// Whether a replica had a record at some moment; the append that brought it.
pub(super) fn held(
    index: &Index<'_>,
    record: Record,
    broker: BrokerId,
    at: EventId,
) -> Option<EventId> {
    let log = index.partition(record.part).replicas.get(&broker)?;
    let append = log.holds(record.offset, at)?;
    brings(index, record, append).then_some(append)
}

fn brings(index: &Index<'_>, record: Record, append: EventId) -> bool {
    if index.partition(record.part).topic.is_none() {
        // What is in batches of Kafka's own topics is not told.
        return true;
    }
    let What::Replica(_, Replica::Appended(append)) = &index.event(append).what else {
        return false;
    };
    let count = append.last_offset.since(append.base_offset) + 1;
    let dense = usize::try_from(count).is_ok_and(|count| count == append.values.len());
    let place = usize::try_from(record.offset - append.base_offset.0).unwrap_or(usize::MAX);
    // A batch with records of somebody else in it does not tell which offset is whose.
    if dense {
        append.values.get(place) == Some(&record.value)
    } else {
        append.values.contains(&record.value)
    }
}

/// Who had the record at some moment.
pub(super) fn holders(index: &Index<'_>, record: Record, at: EventId) -> Vec<BrokerId> {
    let replicas = index.partition(record.part).replicas.keys().copied();
    replicas
        .filter(|broker| held(index, record, *broker, at).is_some())
        .collect()
}

/// The first leader after the acknowledgement that did not have the record. One of a later epoch than that in which it was
/// written counts also when it led already: then the acknowledgement came from a leader of the past, or a reader polled what
/// it had fetched before.
fn dropper(index: &Index<'_>, record: Record) -> Option<(EventId, BrokerId, ElectionKind)> {
    let partition = index.partition(record.part);
    let written = appends(index, record).filter(|append| *append <= record.since);
    let written = written.max();
    let by = written.and_then(|append| epoch(index, append));
    // Another topic had the name before, with epochs of its own.
    let mut removals = partition.removals.iter().rev();
    let born = removals.find(|removal| written.is_some_and(|written| **removal < written));
    let lacking = partition
        .leaders
        .iter()
        .filter(|leader| born.is_none_or(|born| leader.event > *born))
        .filter(|leader| leader.event > record.since || by.is_some_and(|by| leader.epoch > by))
        .find(|leader| held(index, record, leader.broker, leader.event).is_none())?;
    let election = partition
        .elections
        .iter()
        .rfind(|election| election.epoch == lacking.epoch);
    let kind = election.map_or(ElectionKind::Clean, |election| election.kind);
    Some((lacking.event, lacking.broker, kind))
}

/// Everybody's appends of the record.
pub(super) fn appends<'i>(
    index: &'i Index<'_>,
    record: Record,
) -> impl Iterator<Item = EventId> + 'i {
    let logs = index.partition(record.part).replicas.values();
    let all = logs.flat_map(move |log| log.appends_of(record.offset));
    all.filter(move |append| brings(index, record, *append))
}

/// The leader epoch of an appended batch.
fn epoch(index: &Index<'_>, append: EventId) -> Option<LeaderEpoch> {
    let What::Replica(_, Replica::Appended(append)) = &index.event(append).what else {
        return None;
    };
    Some(append.leader_epoch)
}

/// The replicas that lost the record with their disks after it was there, until some moment.
fn lossy(index: &Index<'_>, record: Record, until: EventId) -> Vec<BrokerId> {
    let replicas = &index.partition(record.part).replicas;
    let lost = replicas.iter().filter(|(broker, log)| {
        let mut cuts = log.cuts_of(record.offset);
        cuts.any(|cut| {
            let before = EventId(cut.event.0.saturating_sub(1));
            cut.kind == CutKind::DiskLoss
                && cut.event <= until
                && held(index, record, **broker, before).is_some()
        })
    });
    lost.map(|(broker, _)| *broker).collect()
}

fn names(brokers: &[BrokerId]) -> String {
    let names: Vec<String> = brokers.iter().map(ToString::to_string).collect();
    match names.len() {
        1 => format!("broker {}", names[0]),
        _ => format!("brokers {}", names.join(", ")),
    }
}

fn kind_word(kind: ElectionKind) -> &'static str {
    match kind {
        ElectionKind::New => "first",
        ElectionKind::Clean => "clean",
        ElectionKind::Unclean => "unclean",
        ElectionKind::Preferred => "preferred",
        ElectionKind::ControlledShutdown => "controlled-shutdown",
        ElectionKind::Reassignment => "reassignment",
        ElectionKind::Eligible => "eligible-replica",
        ElectionKind::LastKnownLeader => "last-known-leader",
    }
}

/// Why a record that was there is not there any more.
pub(super) fn cause(index: &Index<'_>, record: Record, level: Level) -> Cause {
    if record.part == NONE || index.partition(record.part).replicas.is_empty() {
        return Cause::Untold;
    }
    if record.offset < 0 {
        return Cause::Unexcused("nobody said at which offset it was".to_owned());
    }
    let end = last_event(index);
    let dropper = dropper(index, record);
    let until = dropper.map_or(end, |(event, ..)| event);
    if let Some(why) = removed(index, record, until) {
        return Cause::Excused(why);
    }
    let Some((event, winner, kind)) = dropper else {
        return undropped(index, record, level, end);
    };
    let epoch = index
        .partition(record.part)
        .leaders
        .iter()
        .find(|leader| leader.event == event)
        .map_or_else(String::new, |leader| format!(" in epoch {}", leader.epoch));
    let what = format!("{} election of broker {winner}{epoch}", kind_word(kind));
    let lost = lossy(index, record, event);
    if kind == ElectionKind::Unclean {
        return Cause::Excused(what);
    }
    if let Some(why) = nobody_eligible(index, record, (event, kind)) {
        return Cause::Excused(format!("{why}, then {what}"));
    }
    if holders(index, record, record.since).is_empty() {
        return Cause::Unexcused("no replica had it when it was acknowledged".to_owned());
    }
    if let Some(why) = disks(index, record, level, &lost) {
        return Cause::Excused(format!("{why}, then {what}"));
    }
    if led_without_its_tail(index, record, (event, winner)) {
        return Cause::Excused(format!(
            "unflushed data lost by broker {winner}, which stayed an in-sync replica all the time, then {what}"
        ));
    }
    if let Some(why) = led_with_another_branch(index, record, (event, winner)) {
        return Cause::Excused(format!("{why}, then {what}"));
    }
    match level {
        Level::Leader => Cause::Excused(what),
        Level::InSync => Cause::Unexcused(format!("{what}, which did not have it")),
    }
}

/// Why what a group's coordinator had stored at some moment was gone at a later one, if it went with its log in a way that
/// the configuration admits.
pub(super) fn commit_cause(
    index: &Index<'_>,
    group: &GroupId,
    (commit, gone): (EventId, EventId),
) -> Option<String> {
    let home = permanent::home(index, permanent::OFFSETS, group.as_str())?;
    // Its coordinator appended it last, at the latest.
    let events = &index.history.events[..wide(commit.0)];
    let append = events.iter().rev().find_map(|event| {
        if let What::Replica(name, Replica::Appended(append)) = &event.what
            && append.leader
            && *name == home
        {
            Some(append)
        } else {
            None
        }
    })?;
    let record = Record {
        part: index.part(&home),
        offset: append.last_offset.0,
        value: Value(0),
        since: commit,
    };
    let later = dropper(index, record).is_some_and(|(event, ..)| event > gone);
    match cause(index, record, Level::InSync) {
        Cause::Excused(_) if later => None,
        Cause::Excused(why) => Some(format!("what the coordinator had stored was lost: {why}")),
        Cause::Unexcused(_) | Cause::Unread | Cause::Untold => None,
    }
}

/// Lost disks that excuse. Of a topic that the manifest does not tell of nobody knows how many it takes.
fn disks(index: &Index<'_>, record: Record, level: Level, lost: &[BrokerId]) -> Option<String> {
    index.partition(record.part).topic?;
    let least = match level {
        Level::Leader => 1,
        Level::InSync => min_insync_replicas(index, record),
    };
    (lost.len() >= least).then(|| format!("unflushed data or disk lost by {}", names(lost)))
}

/// With KIP-966 who led last leads again where nobody is in sync or eligible. What is committed it may lack only if as many of
/// those who had the record came back from an unclean shutdown as `min.insync.replicas` asks for.
fn nobody_eligible(
    index: &Index<'_>,
    record: Record,
    (led, kind): (EventId, ElectionKind),
) -> Option<String> {
    if kind != ElectionKind::LastKnownLeader {
        return None;
    }
    let name = &index.partition(record.part).name;
    // A process that gave up is found out when it comes back.
    let ends = |what: &What| {
        matches!(what, What::Process(Process::Died { .. }))
            || matches!(what, What::Replica(of, Replica::Loaded { clean: false, .. }) if of == name)
    };
    let between = (record.since.0..led.0).map(EventId);
    let had = between.filter_map(|id| {
        let event = index.event(id);
        let node = event.node.filter(|_| ends(&event.what))?;
        let broker = index.history.manifest.broker_of(node)?;
        let before = EventId(id.0.saturating_sub(1));
        held(index, record, broker, before).map(|_| broker)
    });
    let unclean: BTreeSet<BrokerId> = had.collect();
    let unclean: Vec<_> = unclean.into_iter().collect();
    (unclean.len() >= min_insync_replicas(index, record))
        .then(|| format!("unclean shutdown of {}", names(&unclean)))
}

fn min_insync_replicas(index: &Index<'_>, record: Record) -> usize {
    index.topic(record.part).map_or(1, |topic| {
        usize::try_from(topic.min_insync_replicas)
            .unwrap_or(1)
            .max(1)
    })
}

/// The new leader had lost the record with its own power, and nobody took it out of the in-sync replicas until it led: before
/// KIP-966 the last of them stays one, however it ended, and no release without Raft has that. Who was let in again after
/// the loss was let in wrongly, and is not excused; nor is what was given out as committed before as many replicas as
/// `min.insync.replicas` asks for had got it (KAFKA-15583). How many are in sync when it is given out says nothing: a record
/// stays committed when others leave.
fn led_without_its_tail(
    index: &Index<'_>,
    record: Record,
    (led, winner): (EventId, BrokerId),
) -> bool {
    let partition = index.partition(record.part);
    let Some(log) = partition.replicas.get(&winner) else {
        return false;
    };
    if copies(index, record) < min_insync_replicas(index, record) {
        return false;
    }
    let cuts = log.cuts_of(record.offset);
    // A loss is found out at the next start; who was in sync by then may have been let in between.
    let mut losses = cuts
        .filter(|cut| cut.kind == CutKind::DiskLoss && cut.event <= led)
        .filter_map(|cut| {
            let before = EventId(cut.event.0.saturating_sub(1));
            let append = held(index, record, winner, before)?;
            lost_power(index, winner, (append, cut.event))
        });
    losses.any(|lost| partition.stays_in_sync(winner, lost, led))
}

/// The new leader had kept what an earlier one lost with its power and then wrote anew in the same epoch, the record with it.
fn led_with_another_branch(
    index: &Index<'_>,
    record: Record,
    (led, winner): (EventId, BrokerId),
) -> Option<String> {
    let log = index.partition(record.part).replicas.get(&winner)?;
    let relapses = relapses(index, record.part).into_iter();
    let mut before = relapses.filter(|relapse| relapse.event < led && relapse.to <= record.offset);
    let relapse = before.find(|relapse| {
        let has = log.holds(relapse.to, led);
        let mut kept = relapse.keepers(index, record.part);
        has.is_some_and(|has| kept.any(|kept| same_batch(index, kept, has)))
    })?;
    Some(format!(
        "{relapse}; broker {winner} had the other records of that epoch"
    ))
}

/// Whether two appends brought the same batch.
fn same_batch(index: &Index<'_>, one: EventId, other: EventId) -> bool {
    let batch = |append| {
        let What::Replica(_, Replica::Appended(append)) = &index.event(append).what else {
            return None;
        };
        Some((append.base_offset, append.leader_epoch, append.crc))
    };
    batch(one).is_some() && batch(one) == batch(other)
}

/// How many replicas had got the record by then, whether or not they still had it.
fn copies(index: &Index<'_>, record: Record) -> usize {
    let logs = index.partition(record.part).replicas.values();
    let got = logs.filter(|log| {
        let mut appends = log.appends_of(record.offset);
        appends.any(|append| append <= record.since && brings(index, record, append))
    });
    got.count()
}

/// When a broker first lost power in between: another disk in its place is a matter of its own.
pub(super) fn lost_power(
    index: &Index<'_>,
    broker: BrokerId,
    (from, to): (EventId, EventId),
) -> Option<EventId> {
    let theirs = |node| index.history.manifest.broker_of(node) == Some(broker);
    let deaths = index.deaths.iter();
    let mut deaths = deaths.filter(|death| {
        let how = &index.event(death.event).what;
        let power = matches!(how, What::Process(Process::Died { how, .. }) if how == "power");
        power && theirs(death.node) && from < death.event && death.event < to
    });
    deaths.next().map(|death| death.event)
}

/// No leader lacked the record, and yet it was not read.
fn undropped(index: &Index<'_>, record: Record, level: Level, end: EventId) -> Cause {
    let partition = index.partition(record.part);
    if holders(index, record, record.since).is_empty() {
        return Cause::Unexcused("no replica had it when it was acknowledged".to_owned());
    }
    let offline = partition
        .elections
        .last()
        .is_some_and(|election| election.leader.is_none());
    let own_topic = partition.topic.is_none();
    // Nobody reads Kafka's own topics at the end.
    let out_of_reach = offline || !own_topic && (partition.read_failed || !partition.read);
    let for_good =
        || permanent::replica(index, record.part).or_else(|| permanent::everything(index));
    if let Some(why) = out_of_reach.then(for_good).flatten() {
        return Cause::Excused(format!("{} is offline {why}", partition.name));
    }
    let lost = lossy(index, record, end);
    if let Some(why) = disks(index, record, level, &lost) {
        return Cause::Excused(why);
    }
    let leader = partition.leaders.last();
    let has = leader.is_some_and(|leader| held(index, record, leader.broker, end).is_some());
    if has {
        // The leader has it; only that it cannot be read may have a cause.
        let stands_still = out_of_reach.then(|| deadlock(index, record.part)).flatten();
        stands_still.map_or(Cause::Unread, |why| {
            Cause::Excused(format!("{} stands still: {why}", partition.name))
        })
    } else {
        Cause::Unexcused("its leader lost it without an election".to_owned())
    }
}

/// The way of a record from its send to its end, step by step.
pub(super) fn story(index: &Index<'_>, record: Record, sent: Option<&Sent>) -> Vec<Moment> {
    let mut told: Vec<(EventId, String)> = Vec::new();
    let place = index.place(record.part, record.offset);
    if let Some(sent) = sent {
        let client = index.client_name(sent.client);
        told.push((sent.invoked, format!("{client} sends {}", record.value)));
    }
    if record.part == NONE {
        let moments = told
            .into_iter()
            .map(|(event, text)| index.moment(event, text));
        return moments.collect();
    }
    let had = holders(index, record, record.since);
    if let Some(sent) = sent {
        let client = index.client_name(sent.client);
        let by = leader_at(index, record);
        let whom = if had.is_empty() {
            "no replica has it".to_owned()
        } else {
            format!("{} had it then", names(&had))
        };
        let text = format!(
            "{client} is told that {} is {place}{by}; {whom}{}",
            record.value,
            in_sync_at(index, record)
        );
        told.push((record.since, text));
    }
    let dropped = dropper(index, record);
    let until = dropped.map_or_else(|| last_event(index), |(event, ..)| event);
    for broker in &had {
        tell_replica(index, record, *broker, until, &mut told);
    }
    if let Some((event, winner, kind)) = dropped {
        tell_election(index, record, (event, winner, kind), &mut told);
    }
    told.sort_by_key(|(event, _)| *event);
    let mut moments: Vec<Moment> = told
        .into_iter()
        .map(|(event, text)| index.moment(event, text))
        .collect();
    if let Some(last) = index.history.events.last() {
        moments.push(Moment {
            at: last.at,
            step: last.step,
            node: String::new(),
            text: at_the_end(index, record),
        });
    }
    moments
}

/// The last leader before the acknowledgement that had the record then.
fn acknowledger<'a>(index: &'a Index<'_>, record: Record) -> Option<&'a Leadership> {
    let leaders = &index.partition(record.part).leaders;
    let before = leaders
        .iter()
        .rev()
        .filter(|leader| leader.event <= record.since);
    let mut having =
        before.filter(|leader| held(index, record, leader.broker, record.since).is_some());
    having.next()
}

fn leader_at(index: &Index<'_>, record: Record) -> String {
    acknowledger(index, record).map_or_else(String::new, |leader| {
        format!(
            ", by leader broker {} in epoch {}",
            leader.broker, leader.epoch
        )
    })
}

/// The in-sync replicas by the leader's word when the record was acknowledged.
fn in_sync_at(index: &Index<'_>, record: Record) -> String {
    let known = &index.partition(record.part).isr;
    let told = known.iter().rev().find(|(event, _)| *event <= record.since);
    let Some((event, _)) = told else {
        return String::new();
    };
    let What::Replica(_, replica) = &index.event(*event).what else {
        return String::new();
    };
    if let Replica::BecameLeader { isr, .. } | Replica::IsrChanged { isr, .. } = replica {
        format!(", in-sync replicas {isr:?}")
    } else {
        String::new()
    }
}

fn at_the_end(index: &Index<'_>, record: Record) -> String {
    let found = index.found(record.part, record.offset);
    let place = index.place(record.part, record.offset);
    if found.is_some() {
        format!(
            "the final read finds {} at {place}",
            index.values.value(found)
        )
    } else {
        format!("the final read finds nothing of the workload at {place}")
    }
}

/// Its broker's deaths and its log's cuts.
fn tell_replica(
    index: &Index<'_>,
    record: Record,
    broker: BrokerId,
    until: EventId,
    told: &mut Vec<(EventId, String)>,
) {
    let place = index.place(record.part, record.offset);
    let own = |node| index.history.manifest.broker_of(node) == Some(broker);
    for death in index.deaths.iter().filter(|death| own(death.node)) {
        if death.event < record.since || death.event > until {
            continue;
        }
        if let What::Process(Process::Died { how, bytes_lost }) = &index.event(death.event).what {
            let text = match how.as_str() {
                "power" => {
                    format!("broker {broker} loses power, and {bytes_lost} unflushed bytes with it")
                }
                "exit" => format!("broker {broker} halts"),
                _ => format!("broker {broker} is killed"),
            };
            told.push((death.event, text));
        }
    }
    let Some(log) = index.partition(record.part).replicas.get(&broker) else {
        return;
    };
    for cut in log
        .cuts_of(record.offset)
        .filter(|cut| cut.event >= record.since)
    {
        let What::Replica(_, replica) = &index.event(cut.event).what else {
            continue;
        };
        let text = if let Replica::Truncated { to, from, rule } = replica {
            format!(
                "broker {broker} cuts its log from {from} back to {to} (rule: {rule}), and {place} with it"
            )
        } else if let Replica::Loaded { log_end_offset, .. } = replica {
            format!(
                "broker {broker} comes back with a log that ends at {log_end_offset}: {place} is not in it"
            )
        } else if let Replica::Stopped { .. } = replica {
            format!("broker {broker} deletes its replica")
        } else {
            format!("broker {broker} writes {} below the end of its log", cut.to)
        };
        told.push((cut.event, text));
    }
}

fn tell_election(
    index: &Index<'_>,
    record: Record,
    (event, winner, kind): (EventId, BrokerId, ElectionKind),
    told: &mut Vec<(EventId, String)>,
) {
    let partition = index.partition(record.part);
    let What::Replica(
        _,
        Replica::BecameLeader {
            leader_epoch,
            log_end_offset,
            isr,
        },
    ) = &index.event(event).what
    else {
        return;
    };
    let elected = partition
        .elections
        .iter()
        .rfind(|election| election.epoch == *leader_epoch);
    if let Some(election) = elected {
        let text = format!(
            "the controller elects broker {winner} leader of {} in epoch {leader_epoch} ({} election)",
            partition.name,
            kind_word(kind)
        );
        told.push((election.event, text));
    }
    let text = format!(
        "broker {winner} leads {} in epoch {leader_epoch}; its log ends at {log_end_offset}, in-sync replicas {isr:?}: {} is not in it",
        partition.name, record.value
    );
    told.push((event, text));
}
