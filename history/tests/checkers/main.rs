//! Every guarantee against a history that breaks it and one that nearly does. The histories are built here, kept as files
//! in `testdata` for everybody to read, and judged from those files. `KTRIAL_BLESS=1` writes the files anew.

#![allow(clippy::unwrap_used, reason = "test code outside of test functions")]

mod builder;
mod circles;
mod claims;
mod copying;
mod every_guarantee;
mod group;
mod invariant;
mod jepsen;
mod jsonl_bytes;
mod judging;
mod kept;
mod offsets;
mod order;
mod owner;
mod permanent;
mod power;
mod producers;
mod progress;
mod records;
mod transactions;
mod visibility;
mod zookeeper_group;

use builder::Builder;

/// Record `number` of the first client.
fn v(number: u64) -> history::operation::Value {
    Builder::value(0, number)
}
