//! One wish with everything it owns, and one result as one answer.
//!
//! A [`Flight`] is what the in-flight table keeps for an operation: everything that the kernel may touch
//! until its packet comes. What a kernel is pointed at lies on the heap and does not move when the flight
//! does: batches, buffers, and [`Parcel`]s, which begin with the OVERLAPPED. Nothing here calls the system.

// UNSAFETY: parcels are shared with the kernel, and are found again by the address of their OVERLAPPED.
#![expect(unsafe_code, reason = "parcels are shared with the kernel")]

use std::fs::File;
use std::mem::offset_of;
use std::os::windows::io::OwnedSocket;
use std::ptr::{self, NonNull};

use bytes::Bytes;
use naksi_core::batch::SendBatch;
use naksi_core::completion::{Connected, Datagram, Done};
use naksi_core::ended::Ended;
use naksi_core::id::Handle;
use naksi_core::op::ShutdownHow;
use naksi_core::tick::Tick;
use socket2::{SockAddr, SockAddrStorage};
use std::net::SocketAddr;
use windows_sys::Win32::Foundation::{ERROR_OPERATION_ABORTED, HANDLE};
use windows_sys::Win32::Networking::WinSock::{SOCKADDR, WSABUF, WSAEAFNOSUPPORT, WSAMSG};
use windows_sys::Win32::System::IO::{OVERLAPPED, OVERLAPPED_0, OVERLAPPED_0_0};

use super::accept::Accepting;
use super::error;
use super::kernel::Answer;
use super::socket::{self, Descriptor};
use crate::handles::{HandleKind, HandleTable, Lane};
use crate::in_flight::Key;

/// The number of a cancelled operation, for those that no kernel has seen.
pub(super) const CANCELLED: i32 = ERROR_OPERATION_ABORTED as i32;
/// Pieces gathered by one send. The rest of a longer batch stays in it, as after any short send.
const PIECES_MAX: usize = 64;
/// Bytes of one send: the kernel locks the memory of all of them until the last has left.
const SEND_BYTES_MAX: usize = 16 << 20;

/// One operation in flight.
#[derive(Debug)]
pub(super) struct Flight {
    /// The handle it is aimed at; it stays open for as long as this flies (law 2).
    pub(super) raw: HANDLE,
    /// Somebody wished that it ends.
    pub(super) cancelled: bool,
    /// The kernel owes a packet for it.
    pub(super) pending: bool,
    pub(super) wish: Wish,
}

/// What was asked for, with everything it owns.
#[derive(Debug)]
pub(super) enum Wish {
    Accept(Accepting),
    Connect { socket: Option<OwnedSocket>, parcel: Parcel },
    /// `reads`: how often it was read without asking the kernel in between.
    Recv { socket: Handle, parcel: Parcel, reads: u8 },
    Send { socket: Handle, batch: SendBatch, parcel: Parcel },
    Shutdown { socket: Handle },
    Close,
    ReadAt { file: Handle, offset: u64, buffer: Vec<u8>, parcel: Parcel },
    WriteAt { file: Handle, offset: u64, bytes: Vec<u8>, parcel: Parcel },
    Sync { file: Handle },
    RecvFrom { socket: Handle, buffer: Vec<u8>, parcel: Parcel },
    SendTo { socket: Handle, bytes: Bytes, parcel: Parcel },
    Timeout { at: Tick },
}

impl Flight {
    pub(super) fn new(raw: HANDLE, wish: Wish) -> Self {
        Self { raw, cancelled: false, pending: false, wish }
    }

    /// The parcel whose packet the kernel owes. Accepts have one for each credit, and keep them themselves.
    pub(super) fn parcel(&mut self) -> Option<&mut Parcel> {
        match &mut self.wish {
            Wish::Connect { parcel, .. }
            | Wish::Recv { parcel, .. }
            | Wish::Send { parcel, .. }
            | Wish::ReadAt { parcel, .. }
            | Wish::WriteAt { parcel, .. }
            | Wish::RecvFrom { parcel, .. }
            | Wish::SendTo { parcel, .. } => Some(parcel),
            Wish::Accept(_) | Wish::Shutdown { .. } | Wish::Close | Wish::Sync { .. } | Wish::Timeout { .. } => {
                None
            }
        }
    }

    /// The lane of the handle that this flight occupies, to be freed with its last completion.
    pub(super) fn lane(&self) -> Option<(Handle, Lane)> {
        match self.wish {
            Wish::Accept(ref accepting) => Some((accepting.listener, Lane::In)),
            Wish::Recv { socket, .. } | Wish::RecvFrom { socket, .. } => Some((socket, Lane::In)),
            Wish::Send { socket, .. } | Wish::SendTo { socket, .. } => Some((socket, Lane::Out)),
            Wish::Shutdown { socket } => Some((socket, Lane::Control)),
            Wish::ReadAt { file, .. } | Wish::WriteAt { file, .. } | Wish::Sync { file } => {
                Some((file, Lane::Shared))
            }
            Wish::Connect { .. } | Wish::Close | Wish::Timeout { .. } => None,
        }
    }

    /// The last answer, from the packet's. Spent parcels go to `spent`, to be used again.
    pub(super) fn conclude(
        self,
        answer: Answer,
        handles: &mut HandleTable<Descriptor>,
        spent: &mut Vec<Parcel>,
    ) -> Done {
        let ours = self.cancelled;
        let Answer { bytes: count, code } = answer;
        let other = || if code == 0 { Ok(count) } else { Err(error::other(code, ours)) };
        match self.wish {
            Wish::Accept(accepting) => Done::Accept(Err(accepting.conclude(spent))),
            Wish::Connect { socket, parcel } => {
                spent.push(parcel);
                Done::Connect(connected(socket, code, ours, handles))
            }
            Wish::Recv { socket, parcel, .. } => {
                spent.push(parcel);
                Done::Recv(Err(recv_ended(handles.any(socket), code, ours)))
            }
            Wish::Send { socket, batch, parcel } => {
                spent.push(parcel);
                let sent = (code == 0 && count > 0).then_some(count);
                Done::Send(batch, sent.ok_or_else(|| send_ended(handles.any_mut(socket), code, ours)))
            }
            Wish::Shutdown { .. } => {
                Done::Shutdown(if code == 0 { Ok(()) } else { error::shutdown(code, ours) })
            }
            Wish::Close => Done::Close,
            Wish::ReadAt { buffer, parcel, .. } => {
                spent.push(parcel);
                let read = match (code, count) {
                    (0, 0) => Err(Ended::Closed),
                    (0, count) => Ok(count),
                    (code, _) => Err(error::read_at(code, ours)),
                };
                Done::ReadAt(buffer, read)
            }
            Wish::WriteAt { bytes, parcel, .. } => {
                spent.push(parcel);
                Done::WriteAt(bytes, other())
            }
            Wish::Sync { .. } => Done::Sync(other().map(drop)),
            Wish::RecvFrom { buffer, parcel, .. } => {
                let letter = other().and_then(|bytes| parcel.sender(bytes, buffer.len()));
                spent.push(parcel);
                Done::RecvFrom(buffer, letter)
            }
            Wish::SendTo { bytes, parcel, .. } => {
                spent.push(parcel);
                Done::SendTo(bytes, other())
            }
            Wish::Timeout { .. } => Done::Timeout(other().map(drop)),
        }
    }
}

fn connected(
    socket: Option<OwnedSocket>,
    code: i32,
    ours: bool,
    handles: &mut HandleTable<Descriptor>,
) -> Result<Connected, Ended> {
    let Some(owned) = socket.filter(|_| code == 0) else {
        return Err(error::connect(code, ours));
    };
    match socket::settle_connected(&owned) {
        Ok(local) => {
            let socket = handles.insert(HandleKind::Stream, Descriptor::connected(owned));
            Ok(Connected { socket, local })
        }
        // The peer accepted and was gone again before we came to it.
        Err(error) => Err(error::connect(error.raw_os_error().unwrap_or(0), ours)),
    }
}

/// No number is the peer's end, unless we ended the stream ourselves or a send had met a reset. A receive
/// that we only cancelled and that found the end first tells of the end.
fn recv_ended(descriptor: Option<&Descriptor>, code: i32, cancelled: bool) -> Ended {
    let ended_both = descriptor.is_some_and(|descriptor| descriptor.ended_both);
    let reset = descriptor.is_some_and(|descriptor| descriptor.reset);
    match code {
        0 if ended_both => Ended::Aborted,
        0 if reset => Ended::Reset,
        0 => Ended::Closed,
        _ => error::recv(code, cancelled || ended_both),
    }
}

/// A send that took nothing although there was something: the direction is gone.
fn send_ended(descriptor: Option<&mut Descriptor>, code: i32, cancelled: bool) -> Ended {
    let ours = cancelled || descriptor.as_ref().is_some_and(|descriptor| descriptor.ended_write);
    let ended = if code == 0 && !ours { Ended::Reset } else { error::send(code, ours) };
    if let Some(descriptor) = descriptor.filter(|_| ended == Ended::Reset) {
        descriptor.reset = true;
    }
    ended
}

/// The offset of a file operation as the fields `Offset` and `OffsetHigh` of an `OVERLAPPED`.
//= lecture 002: an OVERLAPPED carries the offset, so nobody depends on the shared file pointer
const fn offset_halves(offset: u64) -> (u32, u32) {
    (offset as u32, (offset >> 32) as u32)
}

/// A structure on the heap that a kernel may read or write while its flight lasts, and that a packet names
/// by the address of what stands first in it.
#[derive(Debug)]
pub(super) struct Parcel(NonNull<Contents>);

//= lecture 004: the OVERLAPPED stands first, so that its address is the address of what belongs to it
#[repr(C)]
struct Contents {
    overlapped: OVERLAPPED,
    key: u64,
    /// Which of the parcels of its operation it is.
    number: u32,
    /// Flags that the kernel may write.
    flags: u32,
    name_bytes: i32,
    name: Option<Box<SockAddrStorage>>,
    pieces: Vec<WSABUF>,
    message: Option<Box<WSAMSG>>,
}

const _: () = assert!(offset_of!(Contents, overlapped) == 0, "a packet names a parcel by its OVERLAPPED");

/// Which operation, and which of its parcels, a packet belongs to.
pub(super) fn addressee(overlapped: NonNull<OVERLAPPED>) -> (Key, usize) {
    let contents = overlapped.cast::<Contents>();
    // SAFETY: law 2: every OVERLAPPED that we hand out is the first field of a parcel, and the parcel stays
    // until the packet that is just being read has been dealt with.
    let contents = unsafe { contents.as_ref() };
    (Key::from_u64(contents.key), contents.number as usize)
}

impl Parcel {
    /// An empty parcel.
    pub(super) fn new() -> Self {
        let contents = Contents {
            overlapped: OVERLAPPED::default(),
            key: 0,
            number: 0,
            flags: 0,
            name_bytes: 0,
            name: None,
            pieces: Vec::new(),
            message: None,
        };
        Self(NonNull::from(Box::leak(Box::new(contents))))
    }

    /// Addresses it to its operation before it is handed over. An OVERLAPPED is fresh for every call.
    pub(super) fn address(&mut self, key: Key, number: usize) {
        let contents = self.contents_mut();
        contents.overlapped = OVERLAPPED::default();
        contents.key = key.to_u64();
        contents.number = number as u32;
    }

    /// What the kernel is given, and gives back.
    pub(super) fn overlapped(&self) -> *mut OVERLAPPED {
        self.0.as_ptr().cast()
    }

    /// Says where in the file.
    pub(super) fn set_offset(&mut self, offset: u64) {
        let (low, high) = offset_halves(offset);
        let halves = OVERLAPPED_0_0 { Offset: low, OffsetHigh: high };
        self.contents_mut().overlapped.Anonymous = OVERLAPPED_0 { Anonymous: halves };
    }

    /// Writes the address of a peer into it.
    pub(super) fn set_remote(&mut self, remote: SocketAddr) {
        let address = SockAddr::from(remote);
        let contents = self.contents_mut();
        contents.name_bytes = address.len();
        let storage = address.as_storage();
        match &mut contents.name {
            Some(name) => **name = storage,
            empty @ None => *empty = Some(Box::new(storage)),
        }
    }

    /// The address in it.
    pub(super) fn remote(&mut self) -> (*const SOCKADDR, i32) {
        let contents = self.contents_mut();
        let name = contents.name.as_ref().expect("a remote was set");
        (ptr::from_ref::<SockAddrStorage>(name).cast(), contents.name_bytes)
    }

    /// Room for the address of whoever sends: where to, and its length, which the kernel writes later.
    pub(super) fn sender_room(&mut self) -> (*mut SOCKADDR, *mut i32) {
        let contents = self.contents_mut();
        let name = contents.name.get_or_insert_with(|| Box::new(SockAddrStorage::zeroed()));
        **name = SockAddrStorage::zeroed();
        contents.name_bytes = name.size_of();
        (ptr::from_mut::<SockAddrStorage>(name).cast(), &raw mut contents.name_bytes)
    }

    /// Flags for a call that may write them later.
    pub(super) fn flags(&mut self) -> *mut u32 {
        let contents = self.contents_mut();
        contents.flags = 0;
        &raw mut contents.flags
    }

    /// The first pieces of a batch, to be gathered by one call.
    pub(super) fn gather(&mut self, batch: &SendBatch) -> (*const WSABUF, u32) {
        let mut left = SEND_BYTES_MAX;
        let slices = batch.slices().take(PIECES_MAX).map_while(|piece| {
            let length = piece.len().min(left);
            left -= length;
            (length > 0).then_some((piece.as_ptr().cast_mut(), length))
        });
        self.point_at(slices)
    }

    /// A list of places in memory. WSABUF points at what could be written to; a send only reads it.
    pub(super) fn point_at(
        &mut self,
        places: impl IntoIterator<Item = (*mut u8, usize)>,
    ) -> (*const WSABUF, u32) {
        let contents = self.contents_mut();
        contents.pieces.clear();
        let places = places.into_iter();
        contents.pieces.extend(places.map(|(buf, length)| WSABUF { len: length as u32, buf }));
        (contents.pieces.as_ptr(), contents.pieces.len() as u32)
    }

    /// What the kernel wrote about a datagram of so many bytes that met a buffer of so many.
    fn sender(&self, bytes: u32, room: usize) -> Result<Datagram, Ended> {
        let contents = self.contents();
        let storage = contents.name.as_deref().map_or(SockAddrStorage::zeroed(), |name| {
            // SAFETY: an address is plain data; it is copied, for SockAddr takes it by value.
            unsafe { ptr::read(name) }
        });
        let length = contents.name_bytes.clamp(0, storage.size_of());
        // SAFETY: WSARecvFrom wrote an address of that length there, or nothing over the zeroes.
        let address = unsafe { SockAddr::new(storage, length) };
        let fitting = bytes.min(u32::try_from(room).unwrap_or(u32::MAX));
        match address.as_socket() {
            Some(from) => Ok(Datagram { bytes: fitting, from, cut: bytes > fitting }),
            None => Err(Ended::Failed(error::os_error(WSAEAFNOSUPPORT))),
        }
    }

    fn contents(&self) -> &Contents {
        // SAFETY: law 2: called before the kernel sees the parcel or after its packet only, so that nobody else
        // touches it; the memory is ours until `drop`.
        unsafe { self.0.as_ref() }
    }

    fn contents_mut(&mut self) -> &mut Contents {
        // SAFETY: as for `contents`.
        unsafe { self.0.as_mut() }
    }
}

impl Drop for Parcel {
    fn drop(&mut self) {
        // SAFETY: law 2: the pointer came from a box in `new`, and a parcel is dropped only with or after its
        // flight, when no kernel uses it.
        drop(unsafe { Box::from_raw(self.0.as_ptr()) });
    }
}

/// Which directions end, as the library says it.
pub(super) fn direction(how: ShutdownHow) -> std::net::Shutdown {
    match how {
        ShutdownHow::Write => std::net::Shutdown::Write,
        ShutdownHow::Both => std::net::Shutdown::Both,
    }
}

/// What a file operation needs of the file.
pub(super) fn file_of(handles: &HandleTable<Descriptor>, handle: Handle) -> Option<&File> {
    match handles.any(handle)?.resource() {
        socket::Resource::File(file) => Some(file),
        socket::Resource::Socket(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_halves_of_an_offset_arrive() {
        assert_eq!(offset_halves(0), (0, 0));
        assert_eq!(offset_halves(0x0000_0001_FFFF_FFFF), (u32::MAX, 1));
        assert_eq!(offset_halves(u64::MAX), (u32::MAX, u32::MAX));
    }

    #[test]
    fn a_packet_finds_its_operation_and_its_place() {
        let mut parcel = Parcel::new();
        parcel.address(Key::from_u64(7 << 32 | 3), 5);
        let overlapped = NonNull::new(parcel.overlapped()).expect("a box is not at zero");
        assert_eq!(addressee(overlapped), (Key::from_u64(7 << 32 | 3), 5));
    }
}
