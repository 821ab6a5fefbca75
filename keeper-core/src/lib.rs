//! keeper-core
