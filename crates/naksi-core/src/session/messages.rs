//! Whole messages of a transport that keeps them apart: shown where they lie, kept aside with their kind and length while
//! the session is held back.
//!
//! Nothing here knows which transport it is.

use super::{Egress, Session};
use crate::callbacks::SessionCallbacks;
use crate::session::Context;
use crate::wire::{Message, MessageKind};

/// What stands before a message that is kept: its kind, and its length.
const KEPT_HEADER_BYTES: usize = 5;

impl Session {
    /// A message came. It is shown now, or kept whole. `shown` tells whether another one was shown in this turn.
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

    /// Shows the messages that were kept, for as long as it is not held back.
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

/// The first message of those that are kept, and how many bytes it takes.
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
