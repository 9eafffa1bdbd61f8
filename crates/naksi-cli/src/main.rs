//! The naksi program.

#![forbid(unsafe_code)]

fn main() {}
