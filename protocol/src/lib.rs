//! The words every other crate speaks, and the door every core is driven through. Almost no behaviour.
//!
//! Start with [`machine`]: it is the contract between a core and whatever drives it. [`disk`], [`message`], [`note`] and
//! [`verb`] are what passes through that door; [`api`] and [`keeper`] are the bodies of messages.
//! One thing is more than words: [`fetch_session`], the asking side of a fetch session, which followers and consumers share.

pub mod api;
pub mod behaviour;
pub mod config;
pub mod disk;
pub mod error_code;
pub mod fetch_session;
pub mod ids;
pub mod java_hash;
pub mod keeper;
pub mod machine;
pub mod message;
pub mod murmur2;
pub mod note;
pub mod operation;
pub mod partition_map;
pub mod record;
pub mod time;
pub mod verb;
