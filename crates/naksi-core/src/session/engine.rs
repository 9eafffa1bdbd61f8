//! Messages of the engine: read from a peer that began with HELLO, and sent to it.
//!
//! Out of line, so that an application's frames cost one comparison.

use super::{Egress, Session};
use crate::callbacks::{CloseMode, SessionCallbacks};
use crate::engine_message::{self, ANSWER, ASK, Hello, Welcome};
use crate::frame::{self, Packet};
use crate::reason::DisconnectReason;
use crate::session::Context;

/// What a session exchanges of the engine's messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum EngineMessages {
    /// None: the peer did not begin with HELLO.
    #[default]
    Off,
    /// All of them.
    On,
    /// CLOSE was sent, which is the last one.
    Closed,
}

/// Handles a frame with an id of the engine. Returns `false` if the frame is the application's.
#[cold]
#[inline(never)]
pub(super) fn took(
    egress: &mut Egress,
    packet: Packet<'_>,
    is_first: bool,
    cx: &mut Context<'_>,
    callbacks: &mut impl SessionCallbacks,
) -> bool {
    if egress.engine_messages == EngineMessages::Off {
        let hello = Hello::parse(packet.body).filter(|_| is_first && packet.id == engine_message::HELLO);
        let Some(hello) = hello else { return false };
        egress.engine_messages = EngineMessages::On;
        egress.spend_message(packet.frame.len(), cx);
        greet(egress, hello, cx, callbacks);
        return true;
    }
    egress.spend_message(packet.frame.len(), cx);
    match (packet.id, packet.body) {
        (engine_message::HEARTBEAT, [ASK, ..]) => egress.say(engine_message::HEARTBEAT, &[ANSWER], cx),
        (engine_message::HEARTBEAT, [ANSWER, ..]) => {}
        (engine_message::CLOSE, _) => egress.part(DisconnectReason::PeerClosed, cx, callbacks),
        _ => egress.part(DisconnectReason::BadEngineMessage, cx, callbacks),
    }
    true
}

/// Answers a HELLO: WELCOME, or an end that names both versions.
fn greet(egress: &mut Egress, hello: Hello, cx: &mut Context<'_>, callbacks: &mut impl SessionCallbacks) {
    match callbacks.on_hello(hello.packets) {
        Ok(packets) => {
            let idle_ms = u32::try_from(cx.limits.idle_within.as_millis()).unwrap_or(u32::MAX);
            let protocol = hello.protocol.min(engine_message::PROTOCOL);
            let welcome = Welcome { protocol, packets, idle_ms };
            egress.say(engine_message::WELCOME, &welcome.body(), cx);
        }
        Err(packets) => {
            let detail = engine_message::version_mismatch(hello.packets, packets);
            egress.say_close(&DisconnectReason::VersionRefused, &detail, cx);
            egress.part(DisconnectReason::VersionRefused, cx, callbacks);
        }
    }
}

impl Egress {
    /// Queues a message of the engine; one that does not fit the queue is dropped: the peer does not read.
    fn say(&mut self, id: u16, body: &[u8], cx: &mut Context<'_>) {
        let header = frame::header(id, body.len()).expect("a message of the engine is short");
        self.queue.look(cx.now);
        self.queue.push([&header, body], cx.limits, cx.buffer_pool);
    }

    fn say_close(&mut self, reason: &DisconnectReason, detail: &str, cx: &mut Context<'_>) {
        self.say(engine_message::CLOSE, &engine_message::close(reason, detail), cx);
        self.engine_messages = EngineMessages::Closed;
    }

    fn part(
        &mut self,
        reason: DisconnectReason,
        cx: &mut Context<'_>,
        callbacks: &mut impl SessionCallbacks,
    ) {
        callbacks.on_draining(self.output(true, cx));
        self.output(true, cx).end(reason, CloseMode::Graceful);
    }

    /// Asks the peer for a heartbeat, if it exchanges messages of the engine. Returns whether it does.
    #[cold]
    pub(super) fn asks_for_heartbeat(&mut self, cx: &mut Context<'_>) -> bool {
        let is_on = self.engine_messages == EngineMessages::On;
        if is_on {
            self.say(engine_message::HEARTBEAT, &[ASK], cx);
        }
        is_on
    }
}

impl Session {
    /// Tells a peer that exchanges messages of the engine why its session ends, unless it ended it itself.
    #[cold]
    #[inline(never)]
    pub(super) fn say_close(&mut self, cx: &mut Context<'_>) {
        let Some(end) = &self.egress.end else { return };
        let reason = end.reason.clone();
        let by_peer = matches!(reason, DisconnectReason::PeerClosed | DisconnectReason::TruncatedFrame);
        if self.egress.engine_messages == EngineMessages::On && !by_peer {
            self.egress.say_close(&reason, "", cx);
        }
    }
}
