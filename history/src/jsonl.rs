//! A history as JSON lines: the manifest, then one event a line, then a closing line.
//!
//! ```text
//! {"format":"ktrial-history","version":1,"scenario":"acks-one", … }
//! {"at":1500000,"step":12,"node":"b1","what":{"replica":[{"topic":"orders","partition":0},{"high_watermark":5}]}}
//! {"end":{"events":1,"hash":"8f1c…"}}
//! ```
//!
//! The closing line tells how many events there are, so that a file cut in the middle is refused instead of judged.

use crate::History;
use crate::event::{Event, What};
use crate::manifest::{FORMAT_VERSION, Manifest};
use protocol::ids::NodeId;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::{self, BufRead, Write};
use thiserror::Error;

/// Why a history could not be read. Lines count from 1.
#[derive(Debug, Error)]
pub enum ReadError {
    /// The file could not be read.
    #[error("cannot read the history: {0}")]
    Io(#[from] io::Error),
    /// There is nothing in it.
    #[error("the history is empty: expected a manifest on line 1")]
    Empty,
    /// A line is not what it should be.
    #[error("{}: {message}", place(*.line, *.column))]
    Line {
        /// Which.
        line: usize,
        /// Where in it, from 1; 0 when the whole line is meant.
        column: usize,
        /// What is wrong with it.
        message: String,
    },
    /// The first line is of some other program.
    #[error("line 1: this is no ktrial history: `format` is `{0}`, expected `ktrial-history`")]
    Foreign(String),
    /// Written by another version.
    #[error("line 1: format version {found}, this program reads version {FORMAT_VERSION}")]
    Version {
        /// The version found.
        found: u32,
    },
    /// The closing line is missing.
    #[error("the history ends after line {line} without its closing line: it was cut")]
    Cut {
        /// The last line.
        line: usize,
    },
    /// The closing line counts otherwise.
    #[error("line {line}: the closing line counts {declared} events, the file holds {found}")]
    Count {
        /// The closing line.
        line: usize,
        /// What it says.
        declared: usize,
        /// What there is.
        found: usize,
    },
    /// An event is earlier than the one before it.
    #[error(
        "line {line}: this happens at {at} ns, before the line above at {before} ns: the lines of a history are in the order of time"
    )]
    Order {
        /// Which line.
        line: usize,
        /// When it happens.
        at: u64,
        /// When the one before it happened.
        before: u64,
    },
    /// An event names a node that the manifest does not have.
    #[error("line {line}: unknown node `{node}`")]
    Node {
        /// Which line.
        line: usize,
        /// The name.
        node: String,
    },
}

fn place(line: usize, column: usize) -> String {
    match column {
        0 => format!("line {line}"),
        column => format!("line {line}, column {column}"),
    }
}

#[derive(Serialize)]
struct LineOut<'a> {
    at: u64,
    step: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<&'a str>,
    what: &'a What,
}

#[derive(Deserialize)]
struct EventLine {
    at: u64,
    step: u64,
    #[serde(default)]
    node: Option<String>,
    what: What,
}

#[derive(Serialize, Deserialize)]
struct End {
    events: usize,
    hash: String,
}

#[derive(Serialize, Deserialize)]
struct EndLine {
    end: End,
}

/// Writes a history.
///
/// # Errors
/// When the writer fails.
pub fn write(history: &History, out: &mut impl Write) -> io::Result<()> {
    write_line(out, &history.manifest)?;
    for event in &history.events {
        let node = event.node.map(|node| history.manifest.node_name(node));
        write_line(
            out,
            &LineOut {
                at: event.at,
                step: event.step,
                node,
                what: &event.what,
            },
        )?;
    }
    let end = End {
        events: history.events.len(),
        hash: history.hash.clone(),
    };
    write_line(out, &EndLine { end })
}

fn write_line(out: &mut impl Write, value: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *out, value)?;
    out.write_all(b"\n")
}

/// Reads a history.
///
/// # Errors
/// When the file is not a whole history of this version; the error names line and column.
pub fn read(input: impl BufRead) -> Result<History, ReadError> {
    let mut lines = input
        .lines()
        .enumerate()
        .map(|(index, line)| line.map(|text| (index + 1, text)));
    let (_, first) = lines
        .next()
        .ok_or(ReadError::Empty)?
        .map_err(|error| not_text(1, error))?;
    let manifest = read_manifest(&first)?;
    let nodes: BTreeMap<String, NodeId> = (0..)
        .zip(&manifest.nodes)
        .map(|(id, node)| (node.name.clone(), NodeId(id)))
        .collect();
    let mut events = Vec::new();
    let mut last = 1;
    for line in lines {
        let (number, text) = line.map_err(|error| not_text(last + 1, error))?;
        last = number;
        if is_closing(&text) {
            let EndLine { end } = parse(number, &text)?;
            return close(manifest, events, end, number);
        }
        let event = event(number, parse(number, &text)?, &nodes)?;
        if let Some(before) = events.last().filter(|before| event.at < before.at) {
            return Err(ReadError::Order {
                line: number,
                at: event.at,
                before: before.at,
            });
        }
        events.push(event);
    }
    Err(ReadError::Cut { line: last })
}

/// Only the closing line begins so.
fn is_closing(text: &str) -> bool {
    let text = text.trim_start();
    let inside = text.strip_prefix('{').unwrap_or(text);
    inside.trim_start().starts_with("\"end\"")
}

fn event(
    line: usize,
    read: EventLine,
    nodes: &BTreeMap<String, NodeId>,
) -> Result<Event, ReadError> {
    let node = read.node.map(|name| {
        let known = nodes.get(&name).copied();
        known.ok_or(ReadError::Node { line, node: name })
    });
    Ok(Event {
        at: read.at,
        step: read.step,
        node: node.transpose()?,
        what: read.what,
    })
}

fn close(
    manifest: Manifest,
    events: Vec<Event>,
    end: End,
    line: usize,
) -> Result<History, ReadError> {
    if end.events != events.len() {
        return Err(ReadError::Count {
            line,
            declared: end.events,
            found: events.len(),
        });
    }
    Ok(History {
        manifest,
        events,
        hash: end.hash,
    })
}

fn read_manifest(text: &str) -> Result<Manifest, ReadError> {
    #[derive(Deserialize)]
    struct Head {
        format: String,
        version: u32,
    }
    let head: Head = parse(1, text)?;
    if head.format != "ktrial-history" {
        return Err(ReadError::Foreign(head.format));
    }
    if head.version != FORMAT_VERSION {
        return Err(ReadError::Version {
            found: head.version,
        });
    }
    parse(1, text)
}

fn parse<'a, T: Deserialize<'a>>(line: usize, text: &'a str) -> Result<T, ReadError> {
    serde_json::from_str(text).map_err(|error| {
        let message = if error.is_eof() {
            "the line ends in the middle: the history was cut here".to_owned()
        } else {
            let message = error.to_string();
            let words = message.split(" at line ").next();
            words.unwrap_or_default().to_owned()
        };
        ReadError::Line {
            line,
            column: error.column(),
            message,
        }
    })
}

fn not_text(line: usize, error: io::Error) -> ReadError {
    if error.kind() == io::ErrorKind::InvalidData {
        ReadError::Line {
            line,
            column: 0,
            message: "this is not UTF-8 text".to_owned(),
        }
    } else {
        ReadError::Io(error)
    }
}
