//! Whole messages of a transport that keeps message boundaries: delivered in place, or stored with kind and length
//! while the session is paused.

use super::{Egress, Session};
use crate::callbacks::SessionCallbacks;
use crate::session::Context;
use crate::wire::{Message, MessageKind};

/// The header of a stored message: its kind and its length.
const KEPT_HEADER_BYTES: usize = 5;

impl Session {
    /// A message was received: delivers it now, or stores it. `shown` tells whether another one was delivered in this
    /// turn.
    pub(super) fn take_message(
        &mut self,
        message: Message<'_>,
        shown: &mut bool,
        cx: &mut Context<'_>,
        callbacks: &mut impl SessionCallbacks,
    ) {
        if self.buffer.is_empty() && may_be_shown(&mut self.egress, shown, cx, callbacks) {
            return deliver(&mut self.egress, message, cx, callbacks);
        }
        let bytes = message.as_bytes();
        let mut header = [message.kind() as u8, 0, 0, 0, 0];
        // A wire's bound of a message is far below 4 GiB.
        header[1..].copy_from_slice(&(bytes.len() as u32).to_le_bytes());
        self.keep(&header, cx);
        self.keep(bytes, cx);
    }

    /// Delivers the stored messages, until the session is paused.
    pub(super) fn show_kept_messages(&mut self, cx: &mut Context<'_>, callbacks: &mut impl SessionCallbacks) {
        let mut shown = false;
        while !self.buffer.is_empty() && may_be_shown(&mut self.egress, &mut shown, cx, callbacks) {
            let (message, bytes) = first(self.buffer.view());
            deliver(&mut self.egress, message, cx, callbacks);
            self.buffer.took(bytes, cx.buffer_pool);
        }
    }
}

fn may_be_shown(
    egress: &mut Egress,
    shown: &mut bool,
    cx: &mut Context<'_>,
    callbacks: &mut impl SessionCallbacks,
) -> bool {
    if egress.holds_back() {
        return false;
    }
    if *shown && !callbacks.may_be_shown_more() {
        egress.throttle.rest(cx.now);
        return false;
    }
    *shown = egress.admits(cx, callbacks);
    *shown
}

/// The first stored message, and how many bytes it takes.
fn first(kept: &[u8]) -> (Message<'_>, usize) {
    let (header, rest) = kept.split_first_chunk::<KEPT_HEADER_BYTES>().expect("messages are kept whole");
    let [kind, length @ ..] = *header;
    let length = u32::from_le_bytes(length) as usize;
    let bytes = &rest[..length];
    let text = || std::str::from_utf8(bytes).expect("a wire has checked it");
    let message =
        if kind == MessageKind::Text as u8 { Message::Text(text()) } else { Message::Binary(bytes) };
    (message, KEPT_HEADER_BYTES + length)
}

fn deliver(
    egress: &mut Egress,
    message: Message<'_>,
    cx: &mut Context<'_>,
    callbacks: &mut impl SessionCallbacks,
) {
    egress.spend_message(message.as_bytes().len(), cx);
    callbacks.on_message(egress.output(true, cx), message);
}
