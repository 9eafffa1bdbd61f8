//! The state machine of one connection: its handshake, then frames in both directions, then the close.

use std::sync::Arc;

use naksi_core::batch::{Segment, SendBatch};
use naksi_core::buffer_pool::BufferPool;
use naksi_core::limits::Limits;
use naksi_core::prng::Prng;
use naksi_core::reason::DisconnectReason;
use naksi_core::wire::{Header, Message, MessageHeader, MessageKind, Plain, Wire};

use crate::close;
use crate::frame::{Frame, Headers, Kind, apply, header};
use crate::head::{self, Refused};
use crate::options::{ClientOptions, ServerOptions};
use crate::utf8::Utf8;

/// Most bytes of pongs that wait for the send in flight; beyond that only the last ping is answered.
const ANSWER_BYTES_MAX: usize = 2 * 1024;

/// Which side of the connection this is.
#[derive(Debug)]
enum Side {
    Server(Arc<ServerOptions>),
    Client(Box<Client>),
}

#[derive(Debug)]
struct Client {
    options: Arc<ClientOptions>,
    key: String,
    chance: Prng,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The head of the handshake comes.
    Head,
    Open,
    /// The peer has ended its side, or violated the protocol: received data is ignored.
    Deaf,
}

/// One WebSocket.
#[derive(Debug)]
pub struct WebSocket {
    side: Side,
    phase: Phase,
    /// The handshake was done: frames may be sent.
    opened: bool,
    keeps_messages: bool,
    /// Of a message that has begun: its kind.
    message: Option<Kind>,
    fragments: u32,
    headers: Headers,
    frame: Option<Frame>,
    utf8: Utf8,
    /// The head, or the message, that is not whole.
    kept: Vec<u8>,
    /// The payload of a control frame that was cut.
    control: Vec<u8>,
    /// What the peer's close frame is answered with.
    close: Option<Vec<u8>>,
    /// Where the last pong stands in the answer.
    pong: (usize, usize),
    head_bytes_max: usize,
    message_bytes_max: usize,
    fragments_max: u32,
}

impl WebSocket {
    /// The server's side of a connection.
    pub fn server(options: Arc<ServerOptions>, messages: bool, limits: &Limits) -> Self {
        Self::new(Side::Server(options), messages, limits)
    }

    /// The client's side of a connection; `chance` generates its key and its masks.
    pub fn client(options: Arc<ClientOptions>, mut chance: Prng, messages: bool, limits: &Limits) -> Self {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&chance.next_u64().to_le_bytes());
        bytes[8..].copy_from_slice(&chance.next_u64().to_le_bytes());
        Self::new(Side::Client(Box::new(Client { options, key: head::key(bytes), chance })), messages, limits)
    }

    fn new(side: Side, keeps_messages: bool, limits: &Limits) -> Self {
        Self {
            side,
            phase: Phase::Head,
            opened: false,
            keeps_messages,
            message: None,
            fragments: 0,
            headers: Headers::default(),
            frame: None,
            utf8: Utf8::default(),
            kept: Vec::new(),
            control: Vec::new(),
            close: None,
            pong: (0, 0),
            head_bytes_max: limits.head_bytes_max,
            message_bytes_max: limits.message_bytes_max,
            fragments_max: limits.message_fragments_max,
        }
    }

    fn mask(&mut self) -> Option<[u8; 4]> {
        match &mut self.side {
            Side::Server(_) => None,
            Side::Client(client) => Some((client.chance.next_u64() as u32).to_le_bytes()),
        }
    }

    /// Takes the available part of the head. Returns how many bytes it took.
    fn take_head(&mut self, bytes: &[u8], answer: &mut Vec<u8>) -> Result<usize, DisconnectReason> {
        let (before, searched) = (self.kept.len(), self.kept.len().saturating_sub(2));
        let room = self.head_bytes_max - before;
        self.kept.extend_from_slice(&bytes[..bytes.len().min(room)]);
        let end = head::end(&self.kept, searched);
        let is_http = self.kept.iter().take(1).all(u8::is_ascii_uppercase);
        let judged = match (&self.side, end) {
            (_, Some(end)) => self.judge(end).map(Some),
            (Side::Server(_), None) if !is_http => Err(Refused::no_http()),
            (Side::Server(_), None) if bytes.len() >= room => Err(Refused::too_long()),
            (Side::Client(_), None) if !is_http => return Err(DisconnectReason::BadHandshake),
            (Side::Client(_), None) if bytes.len() >= room => return Err(DisconnectReason::HeadTooLong),
            (_, None) => Ok(None),
        };
        match judged {
            Ok(None) => Ok(bytes.len()),
            Ok(Some(response)) => {
                answer.extend_from_slice(response.as_bytes());
                self.kept = Vec::new();
                (self.phase, self.opened) = (Phase::Open, true);
                Ok(end.map_or(0, |end| end - before))
            }
            Err(refused) => {
                answer.extend_from_slice(refused.response.as_bytes());
                Err(refused.reason)
            }
        }
    }

    /// The response to the head that ends at `end`. A client sends none.
    fn judge(&self, end: usize) -> Result<String, Refused> {
        match &self.side {
            Side::Server(options) => head::accept(&self.kept[..end], options),
            Side::Client(client) => {
                let accepted = head::is_accepted(&self.kept[..end], &client.options, &client.key);
                let refused = |reason| Refused { reason, response: String::new() };
                accepted.map(|()| String::new()).map_err(refused)
            }
        }
    }

    fn take_frames(
        &mut self,
        mut rest: &mut [u8],
        plain: &mut dyn Plain,
        answer: &mut Vec<u8>,
    ) -> Result<(), DisconnectReason> {
        let masked = matches!(self.side, Side::Server(_));
        while self.phase == Phase::Open && !rest.is_empty() {
            let mut frame = match self.frame.take() {
                Some(frame) => frame,
                None => {
                    let Some((frame, used)) = self.headers.take(rest, masked)? else { return Ok(()) };
                    rest = &mut rest[used..];
                    self.begin(&frame)?;
                    frame
                }
            };
            let count = rest.len().min(usize::try_from(frame.left).unwrap_or(usize::MAX));
            let (part, later) = rest.split_at_mut(count);
            frame.take(part);
            if frame.kind.is_control() {
                self.take_control(&frame, part, plain, answer)?;
            } else if self.keeps_messages {
                self.take_message(&frame, part, plain)?;
            } else if !part.is_empty() {
                plain.bytes(part);
            }
            if frame.left > 0 {
                self.frame = Some(frame);
            } else if frame.is_final && !frame.kind.is_control() {
                (self.message, self.fragments) = (None, 0);
            }
            rest = later;
        }
        Ok(())
    }

    /// Checks whether a frame is valid at this point and of this length.
    fn begin(&mut self, frame: &Frame) -> Result<(), DisconnectReason> {
        if frame.kind.is_control() {
            return Ok(());
        }
        match (frame.kind, self.message) {
            (Kind::Continuation, None) | (Kind::Text | Kind::Binary, Some(_)) => {
                return Err(DisconnectReason::WebSocketViolation);
            }
            (Kind::Text, None) if !self.keeps_messages => return Err(DisconnectReason::TextRefused),
            (Kind::Continuation, Some(_)) => {}
            (kind, None) => self.message = Some(kind),
            (_, Some(_)) => unreachable!("control frames belong to no message"),
        }
        // In a stream, one message may have any length; empty fragments carry nothing.
        if self.keeps_messages || frame.length == 0 {
            self.fragments += 1;
            if self.fragments > self.fragments_max {
                return Err(DisconnectReason::TooManyFragments);
            }
        }
        let room = self.message_bytes_max.saturating_sub(self.kept.len());
        if self.keeps_messages && frame.length > room as u64 {
            return Err(DisconnectReason::MessageTooLong);
        }
        Ok(())
    }

    /// A part of a message that is to be shown whole.
    fn take_message(
        &mut self,
        frame: &Frame,
        part: &[u8],
        plain: &mut dyn Plain,
    ) -> Result<(), DisconnectReason> {
        let is_text = self.message == Some(Kind::Text);
        let is_whole = frame.is_final && frame.left == 0;
        if is_whole && self.kept.is_empty() && part.len() as u64 == frame.length && self.fragments == 1 {
            plain.message(if is_text { Message::Text(text(part)?) } else { Message::Binary(part) });
            return Ok(());
        }
        if is_text && !self.utf8.take(part) {
            return Err(DisconnectReason::TextNotUtf8);
        }
        self.kept.extend_from_slice(part);
        if is_whole {
            if is_text && !self.utf8.finish() {
                return Err(DisconnectReason::TextNotUtf8);
            }
            let kept = std::mem::take(&mut self.kept);
            plain.message(if is_text { Message::Text(text(&kept)?) } else { Message::Binary(&kept) });
        }
        Ok(())
    }

    fn take_control(
        &mut self,
        frame: &Frame,
        part: &[u8],
        plain: &mut dyn Plain,
        answer: &mut Vec<u8>,
    ) -> Result<(), DisconnectReason> {
        if frame.left > 0 || !self.control.is_empty() {
            self.control.extend_from_slice(part);
        }
        if frame.left > 0 {
            return Ok(());
        }
        let cut = std::mem::take(&mut self.control);
        let payload = if cut.is_empty() { part } else { &cut[..] };
        match frame.kind {
            Kind::Close => {
                self.close = Some(close::answer(payload)?);
                self.phase = Phase::Deaf;
                plain.closed();
            }
            Kind::Ping => {
                self.pong(payload, answer);
                plain.control(payload.len());
            }
            _ => plain.control(payload.len()),
        }
        Ok(())
    }

    /// Answers a ping. If many answers wait already, this one replaces the last.
    fn pong(&mut self, payload: &[u8], answer: &mut Vec<u8>) {
        if answer.len() >= ANSWER_BYTES_MAX {
            let (start, end) = self.pong;
            if end != answer.len() {
                return;
            }
            answer.truncate(start);
        }
        let start = answer.len();
        self.say(Kind::Pong, payload, answer);
        self.pong = (start, answer.len());
    }

    fn say(&mut self, kind: Kind, payload: &[u8], answer: &mut Vec<u8>) {
        let mask = self.mask();
        answer.extend_from_slice(header(kind, payload.len(), mask).as_slice());
        let start = answer.len();
        answer.extend_from_slice(payload);
        if let Some(mask) = mask {
            apply(mask, &mut answer[start..]);
        }
    }

    /// Copies a batch after a masked header: a client's bytes are sent on one connection only.
    fn seal_masked(&mut self, batch: &SendBatch, sealed: &mut Vec<u8>) {
        if !self.keeps_messages {
            let mask = self.mask().unwrap_or_default();
            sealed.extend_from_slice(header(Kind::Binary, batch.bytes(), Some(mask)).as_slice());
            let start = sealed.len();
            batch.slices().for_each(|slice| sealed.extend_from_slice(slice));
            apply(mask, &mut sealed[start..]);
            return;
        }
        // Messages were queued behind headers without masks.
        let plain: Vec<u8> = batch.slices().flatten().copied().collect();
        let mut rest = &plain[..];
        while let Ok(Some((frame, used))) = Headers::default().take(rest, false) {
            let (payload, later) = rest[used..].split_at(frame.left as usize);
            self.say(frame.kind, payload, sealed);
            rest = later;
        }
    }
}

impl Wire for WebSocket {
    fn begin(&mut self, answer: &mut Vec<u8>) {
        if let Side::Client(client) = &self.side {
            answer.extend_from_slice(head::request(&client.options, &client.key).as_bytes());
        }
    }

    fn open(
        &mut self,
        sealed: &mut [u8],
        plain: &mut dyn Plain,
        answer: &mut Vec<u8>,
    ) -> Result<(), DisconnectReason> {
        let mut rest = sealed;
        if self.phase == Phase::Head {
            match self.take_head(rest, answer) {
                Ok(taken) => rest = &mut rest[taken..],
                Err(reason) => {
                    (self.phase, self.kept) = (Phase::Deaf, Vec::new());
                    return Err(reason);
                }
            }
            if self.phase == Phase::Open {
                plain.opened();
            }
        }
        if self.phase != Phase::Open {
            return Ok(());
        }
        self.take_frames(rest, plain, answer).inspect_err(|_| {
            (self.phase, self.frame) = (Phase::Deaf, None);
            (self.kept, self.control) = (Vec::new(), Vec::new());
        })
    }

    fn seal(&mut self, mut batch: SendBatch, buffer_pool: &mut BufferPool) -> SendBatch {
        if matches!(self.side, Side::Server(_)) {
            if !self.keeps_messages {
                let header = header(Kind::Binary, batch.bytes(), None);
                batch.put_before(header.as_slice(), || buffer_pool.buffer(Header::BYTES_MAX));
            }
            return batch;
        }
        let mut sealed = buffer_pool.buffer(batch.bytes() + Header::BYTES_MAX);
        self.seal_masked(&batch, &mut sealed);
        buffer_pool.put_batch(batch);
        let mut batch = buffer_pool.batch();
        batch.push(Segment::Owned(sealed));
        batch
    }

    fn ping(&mut self, answer: &mut Vec<u8>) {
        if self.opened && answer.len() < ANSWER_BYTES_MAX {
            self.say(Kind::Ping, &[], answer);
        }
    }

    fn goodbye(&mut self, reason: &DisconnectReason, answer: &mut Vec<u8>) {
        if self.opened {
            let payload = self.close.take().unwrap_or_else(|| close::payload(reason));
            self.say(Kind::Close, &payload, answer);
        }
    }

    fn is_within_message(&self) -> bool {
        self.phase == Phase::Open && !self.kept.is_empty()
    }

    fn cut(&self) -> Option<DisconnectReason> {
        let cut = self.phase == Phase::Open && (self.headers.is_cut() || self.frame.is_some());
        cut.then_some(DisconnectReason::TruncatedFrame)
    }

    fn held_bytes(&self) -> usize {
        size_of::<Self>() + self.kept.capacity() + self.control.capacity()
    }

    fn message_header(&self) -> Option<MessageHeader> {
        self.keeps_messages.then_some(message_header)
    }
}

fn message_header(kind: MessageKind, length: usize) -> Header {
    match kind {
        MessageKind::Text => header(Kind::Text, length, None),
        MessageKind::Binary => header(Kind::Binary, length, None),
    }
}

fn text(bytes: &[u8]) -> Result<&str, DisconnectReason> {
    std::str::from_utf8(bytes).map_err(|_| DisconnectReason::TextNotUtf8)
}
