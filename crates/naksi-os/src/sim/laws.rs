//! The laws' own assertions, each broken on purpose.
