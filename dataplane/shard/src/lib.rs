//! The only crate that touches traffic.

pub mod bounds;
pub mod machine;
pub mod ring;
