//! WebSocket (RFC 6455) as a [`Wire`](naksi_core::wire::Wire): the handshake, frames, messages and the close, for both sides.
//!
//! tungstenite reads and writes frame headers, httparse reads the heads of HTTP. Masking, the assembly of messages and what
//! keeps a broadcast encoded once are here. A session either carries a stream (each send batch is one binary message, and
//! where the peer's messages end means nothing) or keeps messages apart. Compression is not offered.
//!
//! Nothing here knows a socket, the engine or the time.

#![forbid(unsafe_code)]

mod close;
mod frame;
mod head;
mod options;
mod utf8;
mod websocket;

pub use options::{ClientOptions, Origins, ServerOptions};
pub use websocket::WebSocket;
