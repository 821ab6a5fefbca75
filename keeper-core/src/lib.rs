//! One server of a keeper ensemble: what ZooKeeper 3.4 and 3.5 do, as a state machine.
//!
//! [`Keeper`] is driven through [`protocol::machine::Machine`]; [`KeeperSpec`] says who it is. One server alone is
//! standalone, three or five elect a leader and replicate by ZAB.
//!
//! **Kept**, with every fix of [`protocol::behaviour::Fix`] on: writes are linearised and applied in the same order by all;
//! an acknowledged write survives whatever leaves a majority of disks whole; requests of a session take effect in the order
//! sent; a session never sees an older state than it has seen; a watch event comes before any answer that shows the change;
//! the end of a session takes all its ephemeral znodes under one transaction.
//!
//! **Not kept**, because ZooKeeper does not either: reads may be stale (without `sync`), a watch misses what happens before
//! it is set again, a request whose connection broke may or may not have been done, a partitioned client does not learn that
//! its session is over.

mod broadcast;
mod clients;
mod codec;
mod database;
mod election;
mod follower;
mod handler;
mod leader;
mod leader_sync;
mod mesh;
mod persistence;
mod prep;
mod server;
mod service;
mod session;
mod spec;
mod step;
#[cfg(test)]
mod testing;
mod timers;
mod tree;
mod txn;
mod watch;

pub use server::Keeper;
pub use spec::{CLIENT_PORT, ELECTION_PORT, KeeperSpec, QUORUM_PORT};
