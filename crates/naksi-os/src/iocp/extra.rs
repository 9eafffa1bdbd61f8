//! Winsock functions beyond the contract: sending files without a copy, sending parts together, an orderly
//! disconnect, datagrams as messages.
//!
//! These are methods of this port only, for Windows-specific code; each completes with a value of the contract. A
//! system that lacks a function (Wine has no TransmitPackets) refuses the operation as unsupported before anything
//! has happened. A disconnected socket is never reused: `TF_REUSE_SOCKET` saves little, and its faults would appear
//! in the next client's session.

// UNSAFETY: the kernel is handed addresses, and what they point to is owned by the in-flight table.
#![expect(unsafe_code, reason = "the kernel is handed addresses")]

use std::ptr;

use bytes::Bytes;
use naksi_core::id::{Handle, Token};
use windows_sys::Win32::Foundation::HANDLE;
use windows_sys::Win32::Networking::WinSock::{
    SOCKET, TP_ELEMENT_EOP, TP_ELEMENT_FILE, TP_ELEMENT_MEMORY, TRANSMIT_FILE_BUFFERS,
    TRANSMIT_PACKETS_ELEMENT, TRANSMIT_PACKETS_ELEMENT_0, TRANSMIT_PACKETS_ELEMENT_0_0, WSAEINVAL,
};

use super::call::{outcome, overflow};
use super::op::{InFlightOp, OpKind};
use super::op_block::OpBlock;
use super::port::Port;
use crate::handles::{Direction, HandleKind};
use crate::port::SubmitErrorKind;
use crate::windows::ext::Extensions;
use crate::windows::socket::Descriptor;

/// Most bytes of one file that one call sends ("2,147,483,646 bytes").
const FILE_BYTES_MAX: u32 = i32::MAX as u32 - 1;

/// A part of a file to send to a socket, with bytes before and after it.
#[derive(Clone, Debug)]
pub struct FileSpan {
    /// The open file.
    pub file: Handle,
    /// Bytes from the start of the file.
    pub offset: u64,
    /// How many bytes; 0 is all from there to the end.
    pub bytes: u32,
    /// What is sent before them.
    pub head: Bytes,
    /// What is sent behind them.
    pub tail: Bytes,
}

/// One of several parts that are sent together.
#[derive(Clone, Debug)]
pub enum Part {
    /// Bytes from memory.
    Memory(Bytes),
    /// A length in bytes of a file, from an offset; 0 means everything to the end.
    File {
        /// The open file.
        file: Handle,
        /// Bytes from the start of the file.
        offset: u64,
        /// How many.
        bytes: u32,
    },
}

impl Port {
    /// Sends a part of a file (`TransmitFile`). Completes as `Done::Send` of an empty batch and the bytes sent.
    ///
    /// # Errors
    /// As for a send on this socket, or for a read of this file.
    pub fn transmit_file(
        &mut self,
        token: Token,
        socket: Handle,
        span: FileSpan,
    ) -> Result<(), SubmitErrorKind> {
        if self.extensions.transmit_file.is_none() {
            return Err(SubmitErrorKind::Unsupported);
        }
        let raw = self.reserve_with(token, socket, (HandleKind::Stream, Direction::Out), &[span.file])?;
        let file = self.core.handles.any(span.file).map_or(ptr::null_mut(), Descriptor::raw);
        let block = self.block();
        self.depart(token, socket, raw, OpKind::TransmitFile { socket, span, file, block });
        Ok(())
    }

    /// Sends several parts together (`TransmitPackets`). Completes as [`Port::transmit_file`] does.
    ///
    /// # Errors
    /// As for a send on this socket, or for a read of these files; `Unsupported` where the system lacks it.
    pub fn transmit_parts(
        &mut self,
        token: Token,
        socket: Handle,
        parts: Vec<Part>,
    ) -> Result<(), SubmitErrorKind> {
        if self.extensions.transmit_packets.is_none() {
            return Err(SubmitErrorKind::Unsupported);
        }
        if parts.is_empty() {
            return Err(SubmitErrorKind::Empty);
        }
        let files: Vec<Handle> = parts.iter().filter_map(Part::file).collect();
        let raw = self.reserve_with(token, socket, (HandleKind::Stream, Direction::Out), &files)?;
        let file_of = |part: &Part| part.file().and_then(|file| self.core.handles.any(file));
        let elements =
            parts.iter().map(|part| part.element(file_of(part).map_or(ptr::null_mut(), Descriptor::raw)));
        let elements = Elements(elements.collect());
        let block = self.block();
        self.depart(token, socket, raw, OpKind::TransmitParts { socket, parts, elements, block });
        Ok(())
    }

    /// Shuts down both directions when everything has been sent (`DisconnectEx`). Completes as `Done::Shutdown`.
    ///
    /// # Errors
    /// As for a shutdown of this socket.
    pub fn disconnect(&mut self, token: Token, socket: Handle) -> Result<(), SubmitErrorKind> {
        if self.extensions.disconnect.is_none() {
            return Err(SubmitErrorKind::Unsupported);
        }
        let raw = self.reserve_with(token, socket, (HandleKind::Stream, Direction::Control), &[])?;
        let descriptor = self.core.handles.any_mut(socket).expect("its direction was just taken");
        (descriptor.ended_write, descriptor.ended_both) = (true, true);
        let block = self.block();
        self.depart(token, socket, raw, OpKind::Disconnect { socket, block });
        Ok(())
    }

    /// Receives one datagram as a message (`WSARecvMsg`). Completes as `Done::RecvFrom`.
    ///
    /// # Errors
    /// As for a receive on this socket.
    pub fn receive_message(
        &mut self,
        token: Token,
        socket: Handle,
        buffer: Vec<u8>,
    ) -> Result<(), SubmitErrorKind> {
        if buffer.is_empty() {
            return Err(SubmitErrorKind::Empty);
        }
        let descriptor = self.core.handles.resource(socket, HandleKind::Datagram)?;
        let receive = descriptor.receive_message;
        if receive.is_none() {
            return Err(SubmitErrorKind::Unsupported);
        }
        let raw = self.reserve_with(token, socket, (HandleKind::Datagram, Direction::In), &[])?;
        let block = self.block();
        self.depart(token, socket, raw, OpKind::Message { socket, buffer, receive, block });
        Ok(())
    }

    /// Occupies the direction of a socket and marks each file as in use. A refusal changes nothing.
    fn reserve_with(
        &mut self,
        token: Token,
        socket: Handle,
        (kind, direction): (HandleKind, Direction),
        files: &[Handle],
    ) -> Result<HANDLE, SubmitErrorKind> {
        self.core.may_start(token)?;
        for file in files {
            self.core.handles.resource(*file, HandleKind::File)?;
        }
        let raw = self.core.handles.begin(socket, kind, direction)?.raw();
        for file in files {
            self.core.handles.begin(*file, HandleKind::File, Direction::Shared).expect("it was just seen");
        }
        Ok(raw)
    }

    fn depart(&mut self, token: Token, socket: Handle, raw: HANDLE, kind: OpKind) {
        let early = self.associate(socket);
        self.track(token, InFlightOp::new(raw, kind), early);
    }
}

impl Part {
    pub(super) fn file(&self) -> Option<Handle> {
        match self {
            Part::Memory(_) => None,
            Part::File { file, .. } => Some(*file),
        }
    }

    fn element(&self, raw: HANDLE) -> TRANSMIT_PACKETS_ELEMENT {
        match self {
            Part::Memory(bytes) => TRANSMIT_PACKETS_ELEMENT {
                dwElFlags: TP_ELEMENT_MEMORY | TP_ELEMENT_EOP,
                cLength: u32::try_from(bytes.len()).unwrap_or(u32::MAX),
                Anonymous: TRANSMIT_PACKETS_ELEMENT_0 { pBuffer: bytes.as_ptr().cast_mut().cast() },
            },
            Part::File { offset, bytes, .. } => TRANSMIT_PACKETS_ELEMENT {
                dwElFlags: TP_ELEMENT_FILE | TP_ELEMENT_EOP,
                cLength: (*bytes).min(FILE_BYTES_MAX),
                Anonymous: TRANSMIT_PACKETS_ELEMENT_0 {
                    Anonymous: TRANSMIT_PACKETS_ELEMENT_0_0 {
                        nFileOffset: i64::try_from(*offset).unwrap_or(i64::MAX),
                        hFile: raw,
                    },
                },
            },
        }
    }
}

/// The parts as the system reads them, until the packet comes.
pub(super) struct Elements(Vec<TRANSMIT_PACKETS_ELEMENT>);

impl std::fmt::Debug for Elements {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Elements({})", self.0.len())
    }
}

/// The call for one of these operations.
pub(super) fn start(kind: &mut OpKind, raw: HANDLE, extensions: &Extensions) -> Result<(), i32> {
    let raw = raw.expose_provenance() as SOCKET;
    match kind {
        OpKind::TransmitFile { span, file, block, .. } => transmit_file(raw, span, *file, block, extensions),
        OpKind::TransmitParts { elements, block, .. } => {
            let transmit = extensions.transmit_packets.ok_or(WSAEINVAL)?;
            let (list, count) = (elements.0.as_ptr(), elements.0.len() as u32);
            let overlapped = block.overlapped();
            // SAFETY: law 2: the operation owns the parts, the list of them and the OVERLAPPED until the packet.
            let started = unsafe { transmit(raw, list, count, 0, overlapped, 0) };
            outcome(started != 0)
        }
        OpKind::Disconnect { block, .. } => {
            let disconnect = extensions.disconnect.ok_or(WSAEINVAL)?;
            let overlapped = block.overlapped();
            // SAFETY: law 2: the operation owns the OVERLAPPED until the packet comes.
            let started = unsafe { disconnect(raw, overlapped, 0, 0) };
            outcome(started != 0)
        }
        OpKind::Message { buffer, receive, block, .. } => {
            let receive = receive.ok_or(WSAEINVAL)?;
            let message = block.message_room([(buffer.as_mut_ptr(), buffer.len()), overflow()]);
            let overlapped = block.overlapped();
            // SAFETY: law 2: the operation owns the buffer and the block with the message until the packet comes.
            let result = unsafe { receive(raw, message, ptr::null_mut(), overlapped, None) };
            outcome(result == 0)
        }
        _ => Err(WSAEINVAL),
    }
}

fn transmit_file(
    raw: SOCKET,
    span: &FileSpan,
    file: HANDLE,
    block: &mut OpBlock,
    extensions: &Extensions,
) -> Result<(), i32> {
    let transmit = extensions.transmit_file.ok_or(WSAEINVAL)?;
    block.set_offset(span.offset);
    let frame = TRANSMIT_FILE_BUFFERS {
        Head: span.head.as_ptr().cast_mut().cast(),
        HeadLength: u32::try_from(span.head.len()).map_err(|_| WSAEINVAL)?,
        Tail: span.tail.as_ptr().cast_mut().cast(),
        TailLength: u32::try_from(span.tail.len()).map_err(|_| WSAEINVAL)?,
    };
    let frame = block.set_frame(frame);
    let overlapped = block.overlapped();
    let bytes = span.bytes.min(FILE_BYTES_MAX);
    // SAFETY: law 2: the operation owns the head, the tail and the block, and holds the file open, until the
    // packet comes.
    let started = unsafe { transmit(raw, file, bytes, 0, overlapped, frame, 0) };
    outcome(started != 0)
}
