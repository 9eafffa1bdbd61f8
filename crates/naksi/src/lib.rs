//! A completion-port network engine for game and other real-time servers.

#![forbid(unsafe_code)]
