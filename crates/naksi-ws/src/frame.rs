//! Frame headers: checked at their second byte, parsed and written with tungstenite, and assembled if they arrive in
//! parts.

use std::io::Cursor;

use naksi_core::reason::DisconnectReason;
use naksi_core::wire::Header;
use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

/// Longest payload of a control frame.
pub(crate) const CONTROL_BYTES_MAX: u64 = 125;

/// A frame whose payload comes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame {
    pub(crate) kind: Kind,
    pub(crate) is_final: bool,
    /// Bytes of the payload that have not come.
    pub(crate) left: u64,
    pub(crate) length: u64,
    mask: [u8; 4],
    is_masked: bool,
}

/// Kinds of frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Continuation,
    Text,
    Binary,
    Close,
    Ping,
    Pong,
}

impl Kind {
    pub(crate) fn is_control(self) -> bool {
        matches!(self, Kind::Close | Kind::Ping | Kind::Pong)
    }

    fn of(opcode: OpCode) -> Result<Self, DisconnectReason> {
        match opcode {
            OpCode::Data(Data::Continue) => Ok(Kind::Continuation),
            OpCode::Data(Data::Text) => Ok(Kind::Text),
            OpCode::Data(Data::Binary) => Ok(Kind::Binary),
            OpCode::Control(Control::Close) => Ok(Kind::Close),
            OpCode::Control(Control::Ping) => Ok(Kind::Ping),
            OpCode::Control(Control::Pong) => Ok(Kind::Pong),
            OpCode::Data(Data::Reserved(_)) | OpCode::Control(Control::Reserved(_)) => {
                Err(DisconnectReason::WebSocketViolation)
            }
        }
    }

    fn opcode(self) -> OpCode {
        match self {
            Kind::Continuation => OpCode::Data(Data::Continue),
            Kind::Text => OpCode::Data(Data::Text),
            Kind::Binary => OpCode::Data(Data::Binary),
            Kind::Close => OpCode::Control(Control::Close),
            Kind::Ping => OpCode::Control(Control::Ping),
            Kind::Pong => OpCode::Control(Control::Pong),
        }
    }
}

/// A header that was cut.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Headers {
    bytes: [u8; Header::BYTES_MAX],
    length: u8,
}

impl Headers {
    pub(crate) fn is_cut(&self) -> bool {
        self.length > 0
    }

    /// The next frame's header, and how many of these bytes it took; `None` if it is incomplete and all were taken.
    pub(crate) fn take(
        &mut self,
        bytes: &[u8],
        masked: bool,
    ) -> Result<Option<(Frame, usize)>, DisconnectReason> {
        if !self.is_cut() {
            if let Some((frame, used)) = parse(bytes, masked)? {
                return Ok(Some((frame, used)));
            }
            self.bytes[..bytes.len()].copy_from_slice(bytes);
            self.length = bytes.len() as u8;
            return Ok(None);
        }
        for (index, byte) in bytes.iter().enumerate() {
            self.bytes[usize::from(self.length)] = *byte;
            self.length += 1;
            if let Some((frame, _)) = parse(&self.bytes[..usize::from(self.length)], masked)? {
                self.length = 0;
                return Ok(Some((frame, index + 1)));
            }
        }
        Ok(None)
    }
}

fn parse(bytes: &[u8], masked: bool) -> Result<Option<(Frame, usize)>, DisconnectReason> {
    let Some([first, second]) = bytes.first_chunk::<2>() else { return Ok(None) };
    let kind = Kind::of(OpCode::from(first & 0x0f))?;
    let (is_final, reserved) = (first & 0x80 != 0, first & 0x70);
    let is_too_long = u64::from(second & 0x7f) > CONTROL_BYTES_MAX;
    if reserved != 0 || kind.is_control() && (!is_final || is_too_long) {
        return Err(DisconnectReason::WebSocketViolation);
    }
    if (second & 0x80 != 0) != masked {
        return Err(DisconnectReason::WrongMask);
    }
    let mut cursor = Cursor::new(bytes);
    let parsed = FrameHeader::parse(&mut cursor).map_err(|_| DisconnectReason::WebSocketViolation)?;
    let Some((header, length)) = parsed else { return Ok(None) };
    if length > i64::MAX as u64 {
        return Err(DisconnectReason::WebSocketViolation);
    }
    let mask = header.mask.unwrap_or_default();
    let frame = Frame { kind, is_final, left: length, length, mask, is_masked: masked };
    Ok(Some((frame, cursor.position() as usize)))
}

impl Frame {
    /// The next part of the payload has come: unmasked in place.
    pub(crate) fn take(&mut self, part: &mut [u8]) {
        if self.is_masked {
            let shift = ((self.length - self.left) % 4) as usize;
            let mut mask = self.mask;
            mask.rotate_left(shift);
            apply(mask, part);
        }
        self.left -= part.len() as u64;
    }
}

/// Masks, or unmasks, bytes in place.
pub(crate) fn apply(mask: [u8; 4], bytes: &mut [u8]) {
    let wide = u64::from_ne_bytes([mask, mask].concat().try_into().expect("twice four bytes"));
    let (words, rest) = bytes.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
    }
    for (byte, mask) in rest.iter_mut().zip(mask.into_iter().cycle()) {
        *byte ^= mask;
    }
}

/// The header of a whole message, or of a control frame.
pub(crate) fn header(kind: Kind, length: usize, mask: Option<[u8; 4]>) -> Header {
    let mut bytes = [0; Header::BYTES_MAX];
    let mut cursor = Cursor::new(&mut bytes[..]);
    let written = FrameHeader { opcode: kind.opcode(), mask, ..FrameHeader::default() };
    written.format(length as u64, &mut cursor).expect("a header has at most 14 bytes");
    let end = cursor.position() as usize;
    let mut header = Header::default();
    header.push(&bytes[..end]);
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_cut_at_every_byte_is_the_same_header() {
        for length in [0_u64, 1, 125, 126, 127, 65_535, 65_536, i64::MAX as u64] {
            for masked in [false, true] {
                let mask = masked.then_some([1, 2, 3, 4]);
                let written = header(Kind::Binary, length as usize, mask);
                let bytes = written.as_slice();
                for cut in 0..bytes.len() {
                    let mut headers = Headers::default();
                    assert!(headers.take(&bytes[..cut], masked).expect("sound").is_none());
                    assert_eq!(headers.is_cut(), cut > 0);
                    let (frame, used) = headers.take(&bytes[cut..], masked).expect("sound").expect("whole");
                    assert_eq!((frame.left, used, frame.kind), (length, bytes.len() - cut, Kind::Binary));
                    assert!(!headers.is_cut());
                }
            }
        }
    }

    #[test]
    fn every_pair_of_first_bytes_is_judged_by_the_rules() {
        for first in 0..=255_u8 {
            for second in 0..=255_u8 {
                let verdict = Headers::default().take(&[first, second], true).map(|_| ());
                let (opcode, length) = (first & 0x0f, second & 0x7f);
                let is_control = opcode >= 8;
                let is_known = matches!(opcode, 0..=2 | 8..=10);
                let is_whole = !is_control || first & 0x80 != 0 && length <= 125;
                let wanted = match is_known && first & 0x70 == 0 && is_whole {
                    false => Err(DisconnectReason::WebSocketViolation),
                    true if second & 0x80 == 0 => Err(DisconnectReason::WrongMask),
                    true => Ok(()),
                };
                assert_eq!(verdict, wanted, "{first:02x} {second:02x}");
            }
        }
        let endless = [0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4];
        assert_eq!(
            Headers::default().take(&endless, true).map(|_| ()),
            Err(DisconnectReason::WebSocketViolation)
        );
    }

    #[test]
    fn a_payload_that_comes_in_parts_is_unmasked_as_one() {
        let text: Vec<u8> = (0..50).collect();
        let mask = [0xa5, 0x5a, 0x0f, 0xf0];
        let mut masked = text.clone();
        apply(mask, &mut masked);
        assert!(masked.iter().zip(&text).enumerate().all(|(at, (one, other))| *one == other ^ mask[at % 4]));
        for first in 0..=text.len() {
            for second in first..=text.len() {
                let written = header(Kind::Binary, text.len(), Some(mask));
                let (mut frame, _) =
                    Headers::default().take(written.as_slice(), true).expect("sound").expect("whole");
                let mut bytes = masked.clone();
                let (start, end) = bytes.split_at_mut(second);
                let (start, middle) = start.split_at_mut(first);
                [start, middle, end].into_iter().for_each(|part| frame.take(part));
                assert_eq!((bytes, frame.left), (text.clone(), 0));
            }
        }
    }
}
