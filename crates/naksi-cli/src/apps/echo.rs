//! Echo: sends every byte back to its sender, and over WebSocket every message. It keeps no state.

use naksi::prelude::*;

/// One echoing connection.
pub(crate) struct Echo;

impl Session for Echo {
    const FRAMING: Framing = Framing::Messages;

    fn on_recv(&mut self, c: &mut Conn<'_>, data: &[u8]) -> usize {
        c.send(data);
        data.len()
    }

    fn on_message(&mut self, c: &mut Conn<'_>, message: WsMessage<'_>) {
        match message {
            WsMessage::Text(text) => c.send_text(text),
            WsMessage::Binary(bytes) => c.send(bytes),
        };
    }
}
