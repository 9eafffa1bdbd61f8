//! Microbenchmarks of what every message passes. They stand in `benches/`; here is nothing.
#![forbid(unsafe_code)]
