//! The words every other crate speaks, and the door every core is driven through. No behaviour.
pub mod behaviour;
pub mod error_code;
pub mod ids;
pub mod time;
