//! Echo: every byte goes back to its sender. It knows no message and keeps no state.

use naksi::prelude::*;

/// One echoing connection.
pub(crate) struct Echo;

impl Session for Echo {
    fn on_recv(&mut self, c: &mut Conn<'_>, data: &[u8]) -> usize {
        c.send(data);
        data.len()
    }
}
