//! The words every other crate speaks, and the door every core is driven through. No behaviour.
//!
//! Start with [`machine`]: it is the contract between a core and whatever drives it. [`disk`], [`message`], [`note`] and
//! [`verb`] are what passes through that door; [`api`] and [`keeper`] are the bodies of messages.

pub mod api;
pub mod behaviour;
pub mod config;
pub mod disk;
pub mod error_code;
pub mod ids;
pub mod java_hash;
pub mod keeper;
pub mod machine;
pub mod message;
pub mod murmur2;
pub mod note;
pub mod operation;
pub mod record;
pub mod time;
pub mod verb;
