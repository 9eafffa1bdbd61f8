//! WebSocket (RFC 6455) as a [`Wire`](naksi_core::wire::Wire): the handshake, frames, messages and the close, for
//! both sides.
//!
//! tungstenite parses and writes frame headers, httparse parses HTTP heads. This crate does the masking, assembles
//! messages, and encodes a broadcast only once. A session either carries a stream (each send batch is one binary
//! message, and the peer's message boundaries have no meaning) or keeps message boundaries. Compression is not
//! offered.
//!
//! It does no I/O and uses no clock.

#![forbid(unsafe_code)]

mod close;
mod frame;
mod head;
mod options;
mod utf8;
mod websocket;

pub use options::{ClientOptions, Origins, ServerOptions};
pub use websocket::WebSocket;
