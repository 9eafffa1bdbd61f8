//! Microbenchmarks of the path of every message; they are in `benches/`.
#![forbid(unsafe_code)]
