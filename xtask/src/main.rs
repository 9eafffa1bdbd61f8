//! Chores of the project, in the project's own language.

#![forbid(unsafe_code)]

fn main() {}
