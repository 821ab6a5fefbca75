//! A history in Jepsen's own form: the operations of its workload for Kafka (`jepsen.tests.kafka`) as EDN, one a line, so
//! that Jepsen's checker can judge a run of ours.
//!
//! What its form asks for decides the mapping (docs/jepsen.md tells it to users). A process does one thing at a time, so a
//! producer that pipelines becomes as many processes as it has sends under way. A transaction is one operation with all its
//! sends, and with the polls of the application that copies with it. Who is never told how something ended is told *info* at
//! the end, and its process does nothing any more. Left out: polls of consumers that read uncommitted records of a history
//! with transactions, which Jepsen would call aborted reads, and sends whose partition nobody ever knew.

mod gather;
mod seats;

use crate::History;
use crate::checker::index::{EventId, Index, NONE, wide};
use crate::operation::Value;
use protocol::ids::TopicPartition;
use std::fmt;
use std::io::{self, Write};

/// `:f`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Function {
    Assign,
    Subscribe,
    Poll,
    Send,
    Transaction,
}

/// `:type` of a completion.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Completed {
    Ok,
    Fail,
    Info,
}

/// One element of an operation's value.
#[derive(Clone, Debug)]
enum Micro {
    /// To which key, where it went, and what.
    Send(u32, Option<i64>, Value),
    /// By key: offsets and values.
    Poll(Vec<(u32, Vec<(i64, Value)>)>),
}

/// What an operation is about.
#[derive(Clone, Debug)]
enum Subject {
    Keys(Vec<u32>, bool),
    Micros(Vec<Micro>),
}

/// Who does it: one that does everything in a row, or a producer that pipelines.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Actor {
    InARow(u16, u32),
    Pipelining(u16, u32),
}

/// One operation.
#[derive(Clone, Debug)]
struct Operation {
    actor: Actor,
    function: Function,
    subject: Subject,
    began: EventId,
    /// Nothing where nobody was told.
    ended: EventId,
    completed: Completed,
}

/// Writes the operations of a history.
///
/// # Errors
/// When the writer fails.
pub fn write(history: &History, out: &mut impl Write) -> io::Result<()> {
    let index = Index::build(history);
    let operations = gather::gather(&index);
    let mut printer = Printer {
        index: &index,
        out,
        next: 0,
    };
    seats::in_order(&operations, |step| printer.step(&step))
}

/// The keys of a history: Jepsen names partitions by number.
pub fn keys(history: &History) -> Vec<(u32, TopicPartition)> {
    let index = Index::build(history);
    let named = index.workload();
    named
        .map(|(key, partition)| (key, partition.name.clone()))
        .collect()
}

struct Printer<'a, 'h, W: Write> {
    index: &'a Index<'h>,
    out: &'a mut W,
    next: u64,
}

impl<W: Write> Printer<'_, '_, W> {
    fn step(&mut self, step: &seats::Step<'_>) -> io::Result<()> {
        let operation = step.operation;
        let last = self.index.history.events.last().map_or(0, |event| event.at);
        let time = if step.at.is_some() {
            self.index.time(step.at)
        } else {
            last
        };
        let kind = match step.completed {
            None => ":invoke",
            Some(Completed::Ok) => ":ok",
            Some(Completed::Fail) => ":fail",
            Some(Completed::Info) => ":info",
        };
        let function = match operation.function {
            Function::Assign => ":assign",
            Function::Subscribe => ":subscribe",
            Function::Poll => ":poll",
            Function::Send => ":send",
            Function::Transaction => ":txn",
        };
        write!(
            self.out,
            "{{:index {}, :time {time}, :type {kind}, :process {}, :f {function}, :value {}",
            self.next,
            step.process,
            Shown {
                subject: &operation.subject,
                completed: step.completed.is_some(),
            }
        )?;
        if let Subject::Keys(_, true) = operation.subject {
            write!(self.out, ", :seek-to-beginning? true")?;
        }
        if !step.rebalanced.is_empty() {
            let keys = Spaced(&step.rebalanced);
            write!(self.out, ", :rebalance-log [{{:keys [{keys}]}}]")?;
        }
        self.next += 1;
        writeln!(self.out, "}}")
    }
}

/// Numbers with spaces between them.
struct Spaced<'a>(&'a [u32]);

impl fmt::Display for Spaced<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, number) in self.0.iter().enumerate() {
            let gap = if place == 0 { "" } else { " " };
            write!(f, "{gap}{number}")?;
        }
        Ok(())
    }
}

/// A value in EDN, as it is invoked or as it is completed.
struct Shown<'a> {
    subject: &'a Subject,
    completed: bool,
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = match self.subject {
            Subject::Keys(keys, _) => return write!(f, "[{}]", Spaced(keys)),
            Subject::Micros(micros) => micros,
        };
        f.write_str("[")?;
        for (place, micro) in micros.iter().enumerate() {
            f.write_str(if place == 0 { "" } else { " " })?;
            match micro {
                Micro::Send(key, Some(offset), value) if self.completed => {
                    write!(f, "[:send {key} [{offset} \"{value}\"]]")?;
                }
                Micro::Send(key, None, value) if self.completed => {
                    write!(f, "[:send {key} [nil \"{value}\"]]")?;
                }
                Micro::Send(key, _, value) => write!(f, "[:send {key} \"{value}\"]")?,
                Micro::Poll(keys) if self.completed => polled(f, keys)?,
                Micro::Poll(_) => f.write_str("[:poll]")?,
            }
        }
        f.write_str("]")
    }
}

fn polled(f: &mut fmt::Formatter<'_>, keys: &[(u32, Vec<(i64, Value)>)]) -> fmt::Result {
    f.write_str("[:poll {")?;
    for (place, (key, records)) in keys.iter().enumerate() {
        let gap = if place == 0 { "" } else { ", " };
        write!(f, "{gap}{key} [")?;
        for (place, (offset, value)) in records.iter().enumerate() {
            let gap = if place == 0 { "" } else { " " };
            write!(f, "{gap}[{offset} \"{value}\"]")?;
        }
        f.write_str("]")?;
    }
    f.write_str("}]")
}

/// The key of a partition, where it is one of the workload's.
fn key(index: &Index<'_>, partition: &TopicPartition) -> Option<u32> {
    let part = index.part(partition);
    let known = part != NONE && index.partitions[wide(part)].topic.is_some();
    known.then_some(part)
}
