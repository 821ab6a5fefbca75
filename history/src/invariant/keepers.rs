//! INV-KEEPER: what keeper servers apply, what comes of it, and whom they serve.
//!
//! Clients are given a single system image: whoever goes on at another server finds there what it has seen.
//! What comes of it is told by a checksum of the whole state, as ZooKeeper compares its servers since ZOOKEEPER-3114; a
//! history without it is judged by the transactions alone. A server that has strayed is told of once.
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
    /// Its state was not that of the others when it was last compared.
    strayed: bool,
}

/// One transaction, as the first server had it that applied it.
#[derive(Clone, Copy, Debug)]
struct Applied {
    zxid: Zxid,
    digest: u32,
    state: Option<u32>,
    seen: Seen,
}

/// All servers and the common order.
#[derive(Clone, Debug, Default)]
pub(super) struct Keepers {
    /// By zxid.
    order: Vec<Applied>,
    servers: BTreeMap<usize, Server>,
}

impl Keepers {
    pub(super) fn on_keeper(&mut self, seen: Seen, keeper: &Keeper, findings: &mut Findings) {
        match keeper {
            Keeper::Applied {
                zxid,
                digest,
                state,
            } => {
                let applied = Applied {
                    zxid: *zxid,
                    digest: *digest,
                    state: *state,
                    seen,
                };
                self.on_applied(applied, findings);
            }
            Keeper::Restored { zxid, state } => {
                let server = self.servers.entry(seen.node).or_default();
                server.last = *zxid;
                server.next = None;
                let place = self.order.binary_search_by_key(zxid, |known| known.zxid);
                if let Ok(at) = place {
                    self.compare_states(at, (seen, *state), findings);
                }
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

    fn on_applied(&mut self, applied: Applied, findings: &mut Findings) {
        findings.look("INV-KEEPER");
        let Applied { zxid, seen, .. } = applied;
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
            .unwrap_or_else(|| order.partition_point(|known| known.zxid <= last));
        let Some(first) = order.get(next).copied() else {
            server.next = Some(next + 1);
            order.push(applied);
            return;
        };
        let place = if first.zxid == zxid {
            Ok(next)
        } else {
            order.binary_search_by_key(&zxid, |known| known.zxid)
        };
        if first.zxid < zxid && last < first.zxid {
            let summary = format!(
                "a keeper applied transaction {zxid:?} but not {:?}, which another applied",
                first.zxid
            );
            findings.breaches.push(breach(
                seen,
                Some(first.seen),
                summary,
                (format!("{:?}", first.zxid), format!("{zxid:?}")),
            ));
        }
        match place {
            Ok(at) => {
                server.next = Some(at + 1);
                let first = order[at];
                if first.digest == applied.digest {
                    self.compare_states(at, (seen, applied.state), findings);
                } else {
                    let summary = format!("transaction {zxid:?} is not the same on two keepers");
                    let texts = (
                        format!("digest {:08x}", first.digest),
                        format!("digest {:08x}", applied.digest),
                    );
                    findings
                        .breaches
                        .push(breach(seen, Some(first.seen), summary, texts));
                }
            }
            Err(at) => {
                // Nobody applied it yet although a later one was: others that restored may have it in their trees.
                order.insert(at, applied);
                for other in self.servers.values_mut() {
                    other.next = None;
                }
            }
        }
    }

    /// A server's state after the transaction at this place of the order.
    fn compare_states(
        &mut self,
        at: usize,
        (seen, state): (Seen, Option<u32>),
        findings: &mut Findings,
    ) {
        let first = self.order[at];
        let (Some(expected), Some(found)) = (first.state, state) else {
            return;
        };
        let server = self.servers.entry(seen.node).or_default();
        let strays = expected != found;
        if strays && !server.strayed {
            let summary = format!(
                "after transaction {:?} the znodes or sessions of a keeper are not those of another",
                first.zxid
            );
            let texts = (
                format!("state {expected:08x}"),
                format!("state {found:08x}"),
            );
            findings
                .breaches
                .push(breach(seen, Some(first.seen), summary, texts));
        }
        server.strayed = strays;
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
