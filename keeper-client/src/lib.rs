//! A session with the keeper ensemble, as ZooKeeper's Java client keeps it (`ClientCnxn`, `ZooKeeper`,
//! `StaticHostProvider`), without I/O. It lives inside a core: the owner passes every [`protocol::machine::Input`] to
//! [`KeeperClient::handle`] and then drains [`KeeperClient::next_event`].
//!
//! What is kept: requests of a session are pipelined and answered in order; a watch event comes before the reply that
//! shows the change; when the connection breaks, everything unanswered ends as `CONNECTIONLOSS`, whose outcome nobody
//! knows; a client learns that its session expired only from a server, after a reconnect; watches survive a reconnect.
//! Left out: chroot, SASL and read-only mode (Kafka of this age runs without them) and the blocking API (the owner has no
//! threads).

mod client;
mod connection;
mod hosts;
mod watches;

pub use client::{KeeperClient, KeeperEvent, KeeperState};
