//! INV-KEEPER: what keeper servers apply, and whom they serve.
//!
//! Clients are given a single system image: whoever goes on at another server finds there what it has seen.
//!
//! A tree that is restored holds everything up to its last transaction without saying which; from there on the server's
//! applications are compared again.

use super::{Breach, Findings, Seen};
use crate::event::Keeper;
use protocol::ids::Zxid;
use std::collections::BTreeMap;

/// One server.
#[derive(Clone, Debug, Default)]
struct Server {
    last: Zxid,
    /// The place in the common order after its last transaction, once it is known.
    next: Option<usize>,
}

/// All servers and the common order.
#[derive(Clone, Debug, Default)]
pub(super) struct Keepers {
    /// Zxid, digest, and who applied it first; ordered.
    order: Vec<(Zxid, u32, Seen)>,
    servers: BTreeMap<usize, Server>,
}

impl Keepers {
    pub(super) fn on_keeper(&mut self, seen: Seen, keeper: &Keeper, findings: &mut Findings) {
        match keeper {
            Keeper::Applied { zxid, digest } => self.on_applied(seen, *zxid, *digest, findings),
            Keeper::Restored { zxid } => {
                let server = self.servers.entry(seen.node).or_default();
                server.last = *zxid;
                server.next = None;
            }
            Keeper::SessionResumed { seen: known, .. } => self.on_resumed(seen, *known, findings),
            Keeper::Role { .. }
            | Keeper::Logged(_)
            | Keeper::Truncated(_)
            | Keeper::SessionCreated { .. }
            | Keeper::SessionExpired(_)
            | Keeper::SessionClosed(_) => {}
        }
    }

    /// What a client has seen once it never sees undone: a server that is behind it must send it to another one.
    fn on_resumed(&mut self, seen: Seen, known: Zxid, findings: &mut Findings) {
        findings.look("INV-KEEPER");
        let last = self.servers.entry(seen.node).or_default().last;
        if known > last {
            let summary = format!(
                "a keeper that has applied {last:?} serves a client that has seen {known:?}"
            );
            let texts = (format!("{known:?} or later"), format!("{last:?}"));
            findings.breaches.push(breach(seen, None, summary, texts));
        }
    }

    fn on_applied(&mut self, seen: Seen, zxid: Zxid, digest: u32, findings: &mut Findings) {
        findings.look("INV-KEEPER");
        let server = self.servers.entry(seen.node).or_default();
        if zxid <= server.last {
            let (summary, expected) = (
                format!(
                    "a keeper applied transaction {zxid:?} after {:?}",
                    server.last
                ),
                format!("a transaction after {:?}", server.last),
            );
            findings
                .breaches
                .push(breach(seen, None, summary, (expected, format!("{zxid:?}"))));
            server.next = None;
        }
        let last = server.last;
        server.last = zxid;
        let order = &mut self.order;
        let next = server
            .next
            .unwrap_or_else(|| order.partition_point(|(known, ..)| *known <= last));
        let Some((known, first_digest, first)) = order.get(next).copied() else {
            server.next = Some(next + 1);
            order.push((zxid, digest, seen));
            return;
        };
        let place = if known == zxid {
            Ok(next)
        } else {
            order.binary_search_by_key(&zxid, |(known, ..)| *known)
        };
        if known < zxid && last < known {
            let summary = format!(
                "a keeper applied transaction {zxid:?} but not {known:?}, which another applied"
            );
            findings.breaches.push(breach(
                seen,
                Some(first),
                summary,
                (format!("{known:?}"), format!("{zxid:?}")),
            ));
        }
        match place {
            Ok(at) => {
                server.next = Some(at + 1);
                let (_, other, first) = order[at];
                let other = if at == next { first_digest } else { other };
                if other != digest {
                    let summary = format!("transaction {zxid:?} is not the same on two keepers");
                    let texts = (
                        format!("digest {other:08x}"),
                        format!("digest {digest:08x}"),
                    );
                    findings
                        .breaches
                        .push(breach(seen, Some(first), summary, texts));
                }
            }
            Err(at) => {
                // Nobody applied it yet although a later one was: others that restored may have it in their trees.
                order.insert(at, (zxid, digest, seen));
                for other in self.servers.values_mut() {
                    other.next = None;
                }
            }
        }
    }
}

fn breach(
    seen: Seen,
    first: Option<Seen>,
    summary: String,
    (expected, found): (String, String),
) -> Breach {
    let mut story = Vec::new();
    if let Some(first) = first {
        story.push(first.moment(format!("applied {expected} first")));
    }
    story.push(seen.moment(summary.clone()));
    Breach {
        code: "INV-KEEPER",
        partition: None,
        offset: None,
        summary,
        expected,
        found,
        story,
    }
}
