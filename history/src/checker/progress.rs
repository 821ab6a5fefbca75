//! PROGRESS, life after healing. The anomalies: once everything has healed, sends still fail or never end, the final read
//! does not complete, or a group does not catch up.

use super::Checker;
use super::effects::{effects, operation};
use super::index::{self, Acks, EventId, Fate, Index, NONE, Sent, ValueId};
use super::permanent;
use super::relapse::deadlock;
use crate::event::{Phase, Process, Transaction, What};
use crate::manifest::{ClientKind, Stream};
use crate::operation::{Action, Stage};
use crate::verdict::{Finding, Moment, Verdict};
use protocol::ids::{GroupId, NodeId, TopicName, TopicPartition};
use protocol::note::TransactionState;
use std::collections::{BTreeMap, BTreeSet};

/// PROGRESS.
pub(super) struct Progress;

impl Checker for Progress {
    fn code(&self) -> &'static str {
        "PROGRESS"
    }

    fn title(&self) -> &'static str {
        "After healing, everything goes on"
    }

    fn definition(&self) -> &'static str {
        "Once everything that is not permanent has healed: each producer's last send succeeds, no send begun later than the grace time fails, every send, every initTransactions and every end of a transaction of a process that lives is answered, what a producer with acks=0 sends under the last leader of a partition reaches the log again, every partition can be read to its end, and every group that has a member catches up, also with partitions of its topics that it never began. What rests on a replica, a coordinator, a machine of its own or a majority of keepers that a permanent fault took is excused, and the fault named, and so is a send of a producer whose coordinator has aborted what took longer than transaction.timeout.ms, or whose transactional id another process took, because that fences it, and so is a partition whose leader lost power and led again in its own epoch without what its followers have. Claimed by every configuration."
    }

    fn needs(&self) -> &'static [Stream] {
        &[Stream::Operations, Stream::Faults]
    }

    fn check(&self, index: &Index<'_>) -> Verdict {
        let Some(heal) = index.phase(Phase::Heal) else {
            return Verdict::unknown(self.code(), "the run never healed");
        };
        let mut verdict = Verdict::new(self.code());
        sends(index, heal, &mut verdict);
        inits(index, heal, &mut verdict);
        transactions(index, heal, &mut verdict);
        silent_sends(index, heal, &mut verdict);
        final_read(index, &mut verdict);
        catching_up(index, &mut verdict);
        verdict
    }
}

/// The cause, where something excuses that a partition does not go on.
fn standing(index: &Index<'_>, part: u32) -> Option<String> {
    let own = || (part != NONE).then(|| deadlock(index, part).or_else(|| gone(index, part)))?;
    permanent::partition(index, part).or_else(own)
}

/// The cause, where the topic was deleted on purpose, and no other one has its name since.
fn gone(index: &Index<'_>, part: u32) -> Option<String> {
    let partition = index.partition(part);
    let on_purpose = partition.gone && !partition.removals.is_empty();
    on_purpose.then(|| format!("the operator deleted topic {}", partition.name.topic))
}

fn report(verdict: &mut Verdict, cause: Option<String>, finding: impl FnOnce() -> Finding) {
    match cause {
        Some(why) => verdict.excuse(|| finding().because(why)),
        None => verdict.violate(finding),
    }
}

/// The last send of each producer that begins after healing succeeds, none fails after the grace time, and all end.
fn sends(index: &Index<'_>, heal: EventId, verdict: &mut Verdict) {
    let grace = index
        .time(heal)
        .saturating_add(index.history.manifest.progress_within);
    let deaths = deaths(index);
    // Nobody is left to be told how the sends of a dead process ended.
    let orphaned = |sent: &Sent| {
        let deaths = deaths.get(&sent.client).map_or(&[][..], Vec::as_slice);
        deaths.iter().any(|death| *death > sent.invoked)
    };
    // A producer that goes on while the partitions are read has sends under way when the run ends.
    let closing = index.phase(Phase::FinalRead);
    let cut_short =
        |sent: &Sent| sent.fate == Fate::Open && closing.is_some_and(|at| sent.invoked > at);
    let mut last: BTreeMap<(u32, u32), ValueId> = BTreeMap::new();
    let all = index.values.all();
    let alive = all.filter(|(_, sent)| !orphaned(sent) && !cut_short(sent));
    // What fails with its transaction was not to happen.
    let due =
        alive.filter(|(id, sent)| sent.fate == Fate::Open || !index.transactions.is_unmade(*id));
    let aged = aged_batches(index, heal);
    for (id, sent) in due {
        let after = sent.invoked >= heal && !aged.contains(&ending(index, sent));
        if after {
            verdict.judged += 1;
            let newest = last.entry((sent.process, sent.part)).or_insert(id);
            if index.values.get(*newest).invoked < sent.invoked {
                *newest = id;
            }
        }
        let open = sent.fate == Fate::Open;
        let failed = after && index.time(sent.invoked) > grace && sent.fate != Fate::Ok;
        if open || failed {
            report(verdict, excuse(index, id), || stuck(index, id));
        }
    }
    for id in last.into_values() {
        let sent = index.values.get(id);
        let counted = sent.fate == Fate::Open || index.time(sent.invoked) > grace;
        if sent.fate != Fate::Ok && !counted {
            report(verdict, excuse(index, id), || stuck(index, id));
        }
    }
}

/// Where a send ended: the process, and the step.
fn ending(index: &Index<'_>, sent: &Sent) -> (u32, Option<u64>) {
    let ended = sent.ended.is_some().then(|| index.event(sent.ended).step);
    (sent.process, ended)
}

/// Where sends failed that had begun before healing. A record joins a batch that waits in the accumulator, and
/// `delivery.timeout.ms` counts from the batch's beginning: what fails together with such a send may have been as old.
fn aged_batches(index: &Index<'_>, heal: EventId) -> BTreeSet<(u32, Option<u64>)> {
    let sends = index.values.all().map(|(_, sent)| sent);
    let failed =
        sends.filter(|sent| sent.invoked < heal && !matches!(sent.fate, Fate::Ok | Fate::Open));
    failed.map(|sent| ending(index, sent)).collect()
}

/// Every producer of a process that lives gets its transactional id, or is told that it cannot have it.
fn inits(index: &Index<'_>, heal: EventId, verdict: &mut Verdict) {
    let grace = index
        .time(heal)
        .saturating_add(index.history.manifest.progress_within);
    let deaths = deaths(index);
    let closing = index.phase(Phase::FinalRead);
    for unready in index.transactions.unready.values() {
        let died = deaths.get(&unready.client).map_or(&[][..], Vec::as_slice);
        let late = closing.is_some_and(|closing| unready.since > closing);
        if late || died.iter().any(|death| *death > unready.invoked) {
            continue;
        }
        if !unready.returned || index.time(unready.invoked) > grace {
            let cause = permanent::client(index, unready.client)
                .or_else(|| permanent::transactional_id(index, &unready.id))
                .or_else(|| permanent::everything(index));
            report(verdict, cause, || {
                let client = index.client_name(unready.client);
                let call = format!("initTransactions of {client} as {}", unready.id);
                let text = format!("{call} is not answered although the cluster had healed");
                let called = index.moment(unready.since, format!("{call} begins"));
                Finding::new("producer-never-ready", text, "an answer", "none").told(vec![called])
            });
        }
    }
}

/// What a producer is told whose epoch is not the last one, by a coordinator and by a leader.
const FENCED: [&str; 2] = ["PRODUCER_FENCED", "INVALID_PRODUCER_EPOCH"];

/// Why a send may fail after healing.
fn excuse(index: &Index<'_>, id: ValueId) -> Option<String> {
    let sent = index.values.get(id);
    let gone = standing(index, sent.part)
        .or_else(|| permanent::client(index, sent.client))
        .or_else(|| {
            let own = index.transactions.of_value(id)?;
            permanent::transaction(index, index.transactions.get(own))
        });
    gone.or_else(|| {
        let error = error_of(index, sent)?;
        FENCED.contains(&error.as_str()).then(|| {
            let own = timed_out(index, id).or_else(|| asked_by_the_life_before(index, id));
            own.or_else(|| taken_over(index, id))
        })?
    })
}

/// When the producer of a transaction was given its epoch.
fn epoch_given(index: &Index<'_>, own: &index::Transaction) -> EventId {
    let init = own.init.map(|init| index.transactions.inits[init].returned);
    init.unwrap_or(EventId(0))
}

/// What coordinators said about the id of a transaction between the call that gave its epoch and the end of this send.
fn told_since_init<'i>(
    index: &'i Index<'_>,
    id: ValueId,
) -> Option<impl Iterator<Item = &'i Transaction>> {
    let own = index.transactions.get(index.transactions.of_value(id)?);
    let sent = index.values.get(id);
    let since = epoch_given(index, own);
    let told = index.transactions.coordinated.get(own.id.as_ref()?)?.iter();
    let told = told.filter(move |event| **event > since && **event < sent.ended);
    Some(told.filter_map(|event| {
        if let What::Transaction(_, told) = &index.event(*event).what {
            Some(told)
        } else {
            None
        }
    }))
}

/// The request for an epoch of a process that has died may wait in the coordinator's queue, or in the network, until its
/// successor has one: the coordinator cannot tell which of them is the later life, and the successor is fenced.
fn asked_by_the_life_before(index: &Index<'_>, id: ValueId) -> Option<String> {
    let (own, all) = (index.values.get(id), &index.transactions);
    let began = all.inits.iter().map(|init| (init.client, init.process));
    let in_vain = all
        .unready
        .iter()
        .map(|(process, it)| (it.client, *process));
    let lived_before = began
        .chain(in_vain)
        .any(|(client, process)| client == own.client && process < own.process);
    let raised = told_since_init(index, id)?.any(|told| {
        matches!(told, Transaction::State { state, .. } if *state == TransactionState::Empty)
    });
    (raised && lived_before).then(|| {
        "a request for an epoch by the life before came late, and fences the present one".to_owned()
    })
}

/// Another process with the same id fences this one, which is what E6 asks for: as soon as it asks for its epoch, and
/// whether or not it is answered.
fn taken_over(index: &Index<'_>, id: ValueId) -> Option<String> {
    let (own, all) = (index.values.get(id), &index.transactions);
    let transaction = all.get(all.of_value(id)?);
    let name = transaction.id.as_ref()?;
    let since = epoch_given(index, transaction);
    let ready = all.inits.iter();
    let ready = ready.filter(|init| init.returned > since && init.invoked < own.ended);
    let ready = ready.map(|init| (init.client, &init.id));
    let unready = all.unready.values().filter(|it| it.since < own.ended);
    let unready = unready.map(|it| (it.client, &it.id));
    let another = ready
        .chain(unready)
        .any(|(client, other)| client != own.client && other == name);
    another.then(|| format!("another process took {name}, and fences it"))
}

/// A coordinator that aborts what takes too long raises the epoch, and whoever has the one before is fenced for good
/// (KIP-588 was never finished).
fn timed_out(index: &Index<'_>, id: ValueId) -> Option<String> {
    let own = index.transactions.get(index.transactions.of_value(id)?);
    let name = own.id.as_ref()?;
    let late = told_since_init(index, id)?.any(|told| matches!(told, Transaction::TimedOut));
    late.then(|| format!("the coordinator of {name} had aborted what took too long, and fences it"))
}

/// Every call that ends a transaction of a process that lives returns; one that begins after the grace time is answered.
fn transactions(index: &Index<'_>, heal: EventId, verdict: &mut Verdict) {
    let grace = index
        .time(heal)
        .saturating_add(index.history.manifest.progress_within);
    let deaths = deaths(index);
    for (transaction, own) in index.transactions.iter() {
        let died = deaths.get(&own.client).map_or(&[][..], Vec::as_slice);
        for (call, end) in [
            ("commitTransaction", own.commit),
            ("abortTransaction", own.abort),
        ] {
            let Some(end) = end.filter(|end| died.iter().all(|death| *death < end.invoked)) else {
                continue;
            };
            verdict.judged += u64::from(end.invoked >= heal);
            let open = end.stage == Stage::Invoke;
            let unanswered = end.stage == Stage::Info && index.time(end.invoked) > grace;
            if open || unanswered {
                let cause = permanent::client(index, own.client)
                    .or_else(|| permanent::transaction(index, own));
                report(verdict, cause, || {
                    let name = index.transaction_name(transaction);
                    let text =
                        format!("{call} of {name} is not answered although the cluster had healed");
                    Finding::new("transaction-never-ends", text, "an answer", "none")
                        .told(index.transaction_story(transaction))
                });
            }
        }
    }
}

/// A producer with acks=0 is told nothing, so the final read has to tell: of what it sends after healing to a partition that
/// has its last leader already, something is in the log. A single record may be lost at any time.
fn silent_sends(index: &Index<'_>, heal: EventId, verdict: &mut Verdict) {
    if !index.whole {
        return;
    }
    let mut streams: BTreeMap<(u32, u32), (ValueId, bool)> = BTreeMap::new();
    for (id, sent) in index.values.all() {
        let silent = index
            .producer(sent.client)
            .is_some_and(|facts| facts.acks == Acks::Zero);
        if !silent || sent.part == NONE || sent.invoked < heal {
            continue;
        }
        let elections = &index.partition(sent.part).elections;
        if elections
            .last()
            .is_none_or(|last| last.event < sent.invoked)
        {
            let arrived = sent.copies > 0 || index.is_deleted(sent);
            let stream = streams
                .entry((sent.process, sent.part))
                .or_insert((id, false));
            stream.1 |= arrived;
        }
    }
    for ((_, part), (first, arrived)) in streams {
        verdict.judged += 1;
        if !arrived {
            report(verdict, standing(index, part), || void(index, first));
        }
    }
}

fn void(index: &Index<'_>, id: ValueId) -> Finding {
    let sent = index.values.get(id);
    let (client, value) = (index.client_name(sent.client), index.values.value(id));
    let name = &index.partition(sent.part).name;
    let text = format!(
        "nothing that {client} sends to {name} reaches the log although the cluster had healed"
    );
    Finding::new("sends-reach-nobody", text, "records in the log", "none")
        .about(value)
        .told(vec![index.moment(
            sent.invoked,
            format!("{client} sends {value} to {name}"),
        )])
        .at(name, -1)
}

/// When each client's process died; a process may be several clients.
fn deaths(index: &Index<'_>) -> BTreeMap<u16, Vec<EventId>> {
    let mut deaths: BTreeMap<u16, Vec<EventId>> = BTreeMap::new();
    for id in &index.group_events {
        let event = index.event(*id);
        if let What::Process(Process::Died { .. }) = &event.what {
            for client in clients_of(index, event.node) {
                deaths.entry(client).or_default().push(*id);
            }
        }
    }
    deaths
}

/// The clients of one process: an application that copies has two.
fn clients_of<'i>(index: &'i Index<'_>, node: Option<NodeId>) -> impl Iterator<Item = u16> + 'i {
    let clients = (0..).zip(&index.history.manifest.clients);
    clients
        .filter(move |(_, client)| Some(client.node) == node)
        .map(|(number, _)| number)
}

/// The error that a send ended with.
fn error_of(index: &Index<'_>, sent: &Sent) -> Option<String> {
    if !sent.ended.is_some() {
        return None;
    }
    match &operation(index, sent.ended)?.action {
        Action::Send { error, .. } => error.clone(),
        Action::Poll { .. }
        | Action::Commit { .. }
        | Action::Transaction { .. }
        | Action::Assigned { .. }
        | Action::Revoked { .. }
        | Action::Lost { .. }
        | Action::Position { .. }
        | Action::Process { .. }
        | Action::Admin { .. } => None,
    }
}

fn stuck(index: &Index<'_>, id: ValueId) -> Finding {
    let sent = index.values.get(id);
    let value = index.values.value(id);
    let client = index.client_name(sent.client);
    let (anomaly, how) = match sent.fate {
        Fate::Open => ("send-never-ends", "never ended"),
        Fate::Fail => ("send-fails-after-healing", "failed"),
        Fate::Info => ("send-fails-after-healing", "ended without an answer"),
        Fate::Ok | Fate::Unsent => ("send-never-ends", "ended"),
    };
    let mut story = vec![index.moment(sent.invoked, format!("{client} sends {value}"))];
    if let Some(heal) = index.phase(Phase::Heal) {
        story.push(index.moment(heal, "everything that is not permanent heals"));
    }
    if sent.ended.is_some() {
        let error = error_of(index, sent).unwrap_or_default();
        story.push(index.moment(sent.ended, format!("the send of {value} {how}: {error}")));
    }
    let text = format!("the send of {value} by {client} {how} although the cluster had healed");
    let finding = Finding::new(anomaly, text, "an acknowledgement", how)
        .about(value)
        .told(story);
    if sent.part == NONE {
        finding
    } else {
        finding.at(&index.partition(sent.part).name, -1)
    }
}

/// Every partition was read to its end.
fn final_read(index: &Index<'_>, verdict: &mut Verdict) {
    if !index.history.manifest.has(Stream::FinalRead) {
        return;
    }
    for (part, partition) in index.workload() {
        verdict.judged += 1;
        if partition.read_failed {
            report(verdict, standing(index, part), || {
                let (name, read, end) =
                    (&partition.name, partition.read_to, partition.high_watermark);
                let text =
                    format!("{name} could not be read to its end after healing: {read} of {end}");
                Finding::new(
                    "final-read-incomplete",
                    text,
                    "a complete read",
                    "it failed",
                )
                .at(&partition.name, -1)
                .told(unreadable(index, part))
            });
        }
    }
}

/// Who led a partition last, whether its replicas were deleted, and when it was to be read.
fn unreadable(index: &Index<'_>, part: u32) -> Vec<Moment> {
    let partition = index.partition(part);
    let elected = partition.elections.last().map(|election| {
        let text = match election.leader {
            Some(leader) => format!("broker {} is elected, nobody later", leader.0),
            None => "nobody is left to be elected".to_owned(),
        };
        (election.event, text)
    });
    let deleted = partition.removals.last().map(|removal| {
        let topic = &partition.name.topic;
        (*removal, format!("{topic} is deleted"))
    });
    let read = index.phase(Phase::FinalRead);
    let read = read.map(|phase| (phase, format!("{} is to be read", partition.name)));
    let mut told: Vec<_> = [elected, deleted, read].into_iter().flatten().collect();
    told.sort_by_key(|(event, _)| *event);
    let moments = told.into_iter();
    moments
        .map(|(event, text)| index.moment(event, text))
        .collect()
}

/// The last record that a reader must have got to: what is sent while the run is being closed comes too late.
fn last_due(index: &Index<'_>, committed: bool, part: u32) -> Option<i64> {
    if part == NONE {
        return None;
    }
    let log = index.found_by(committed, part);
    let (first, last) = log.bounds()?;
    let closing = index.phase(Phase::FinalRead);
    let in_time = |offset: &i64| {
        let id = ValueId(log.get(*offset));
        let sent = id.is_some().then(|| index.values.get(id).invoked);
        let late = sent
            .zip(closing)
            .is_some_and(|(sent, closing)| sent > closing);
        !late
    };
    (first..=last).rev().find(in_time)
}

/// Every group with a member alive has got to the end of the partitions that it reads, and of those that it is to read.
fn catching_up(index: &Index<'_>, verdict: &mut Verdict) {
    let wanted = wanted(index);
    let groups = effects(index, |_| {});
    for (group, effects) in groups.iter().enumerate() {
        let id = &index.groups[group].id;
        let Some(Living { members, topics }) = &wanted[group] else {
            continue;
        };
        let begun = effects.started.keys().chain(effects.reached.keys());
        let subscribed = index.workload().filter(|(_, partition)| {
            let name = &partition.name.topic;
            topics.contains(name)
        });
        let parts: BTreeSet<u32> = begun
            .copied()
            .chain(subscribed.map(|(part, _)| part))
            .collect();
        for part in parts {
            let committed = index.groups[group].read_committed;
            let Some(last) = last_due(index, committed, part) else {
                continue;
            };
            verdict.judged += 1;
            let begun = effects.started.get(&part).map_or(0, |(offset, ..)| *offset);
            let reached = effects
                .reached
                .get(&part)
                .copied()
                .unwrap_or(begun)
                .max(begun);
            if reached > last {
                continue;
            }
            let never =
                !effects.started.contains_key(&part) && !effects.reached.contains_key(&part);
            let gone = || {
                let members = members.iter();
                let members = members.map(|member| permanent::client(index, *member));
                let all: Option<Vec<_>> = members.collect();
                all?.pop().or_else(|| permanent::group(index, id))
            };
            report(verdict, standing(index, part).or_else(gone), || {
                let name = &index.partition(part).name;
                let refused = refused(index, members);
                lagging(
                    name,
                    id,
                    (last, (!never).then_some(reached)),
                    refused.as_ref(),
                )
                .told(waited(index, (part, last), refused))
            });
        }
    }
}

/// The last poll of these members, if it was refused; by whom, and with which error.
fn refused(index: &Index<'_>, members: &[u16]) -> Option<(EventId, String, String)> {
    let polls = index.polls.iter().rev();
    let mut own = polls.filter_map(|event| Some((*event, operation(index, *event)?)));
    let (event, last) = own.find(|(_, poll)| members.contains(&poll.client))?;
    let Action::Poll { error, .. } = &last.action else {
        return None;
    };
    let name = index.client_name(last.client).to_owned();
    Some((event, name, error.clone()?))
}

/// How long the last record of a partition has been there to be read, and what its readers were told.
fn waited(
    index: &Index<'_>,
    (part, last): (u32, i64),
    refused: Option<(EventId, String, String)>,
) -> Vec<Moment> {
    let name = &index.partition(part).name;
    let id = index.found(part, last);
    let sent = id.is_some().then(|| index.values.get(id).invoked);
    let healed = index.phase(Phase::Heal);
    let closed = index.phase(Phase::FinalRead);
    let told = [
        (
            sent,
            format!("the record at offset {last} of {name} is sent"),
        ),
        (healed, "everything that is not permanent heals".to_owned()),
        (closed, "the run is closed".to_owned()),
    ];
    let refusal =
        refused.map(|(at, who, error)| (Some(at), format!("{who} polls, and is told {error}")));
    let told = told.into_iter().chain(refusal);
    let known = told.filter_map(|(at, text)| Some((at?, text)));
    let mut story: Vec<_> = known.map(|(at, text)| index.moment(at, text)).collect();
    story.sort_by_key(|moment| moment.at);
    story
}

fn lagging(
    partition: &TopicPartition,
    group: &GroupId,
    (last, reached): (i64, Option<i64>),
    refused: Option<&(EventId, String, String)>,
) -> Finding {
    let (anomaly, seen, how) = match reached {
        Some(offset) => (
            "group-lags",
            offset.to_string(),
            format!("got to offset {offset} of"),
        ),
        None => (
            "never-read",
            "nothing".to_owned(),
            "never began to read".to_owned(),
        ),
    };
    let name = if group.as_str().is_empty() {
        "without a name"
    } else {
        group.as_str()
    };
    let told = refused.map_or_else(String::new, |(_, who, error)| {
        format!("; {who} is told {error}")
    });
    let text = format!("group {name} {how} {partition}, whose last record is at {last}{told}");
    Finding::new(anomaly, text, format!("offset {}", last + 1), seen)
        .at(partition, reached.unwrap_or(0))
}

/// The members of a group that live at the end, and the topics that they subscribe to.
#[derive(Clone, Default)]
struct Living<'h> {
    members: Vec<u16>,
    topics: BTreeSet<&'h TopicName>,
}

/// By group: who lives; none where nobody lives at the end.
fn wanted<'h>(index: &Index<'h>) -> Vec<Option<Living<'h>>> {
    let mut lives: BTreeMap<u16, bool> = BTreeMap::new();
    // A history from elsewhere does not tell when clients start: they are there.
    let mut is_told = false;
    for event in &index.group_events {
        let event = index.event(*event);
        let What::Process(process) = &event.what else {
            continue;
        };
        let is_alive = match process {
            Process::Started { .. } | Process::Resumed => true,
            Process::Died { .. } | Process::Stopped | Process::Panicked(_) | Process::Paused => {
                false
            }
        };
        for client in clients_of(index, event.node) {
            lives.insert(client, is_alive);
            is_told |= matches!(process, Process::Started { .. });
        }
    }
    let mut groups = vec![None; index.groups.len()];
    let clients = (0..).zip(&index.history.manifest.clients);
    for ((number, client), group) in clients.zip(&index.consumers) {
        let alive = lives.get(&number).copied().unwrap_or(!is_told);
        if let (Some(group), ClientKind::Consumer { topics, .. }, true) =
            (group, &client.kind, alive)
        {
            let wanted: &mut Living<'_> = groups[*group].get_or_insert_default();
            wanted.members.push(number);
            wanted.topics.extend(topics);
        }
    }
    groups
}
