//! A structure on the heap that a kernel may read or write during an operation.
//!
//! It begins with the OVERLAPPED, so that the address in a packet is the address of the whole block; it does not move
//! with the operation. Blocks are reused, so a warm port does not allocate. Nothing here calls the system.

// UNSAFETY: blocks are shared with the kernel, and are found again by the address of their OVERLAPPED.
#![expect(unsafe_code, reason = "blocks are shared with the kernel")]

use std::mem::offset_of;
use std::net::SocketAddr;
use std::ptr::{self, NonNull};

use naksi_core::batch::SendBatch;
use naksi_core::completion::Datagram;
use naksi_core::ended::Ended;
use socket2::{SockAddr, SockAddrStorage};
use windows_sys::Win32::Networking::WinSock::{
    MSG_TRUNC, SOCKADDR, TRANSMIT_FILE_BUFFERS, WSABUF, WSAEAFNOSUPPORT, WSAMSG,
};
use windows_sys::Win32::System::IO::{OVERLAPPED, OVERLAPPED_0, OVERLAPPED_0_0};

use crate::in_flight::Key;
use crate::windows::error;

/// Pieces gathered by one send. The rest of a longer batch stays in it, as after any partial send.
const PIECES_MAX: usize = 64;
/// Bytes of one send. The kernel locks the memory of all of them until the last is sent, and reports nothing before:
/// with more, a peer behind a slow line would look stalled.
const SEND_BYTES_MAX: usize = 128 * 1024;

/// The offset of a file operation as the fields `Offset` and `OffsetHigh` of an `OVERLAPPED`.
//= lecture 002: an OVERLAPPED carries the offset, so nothing depends on the shared file pointer
const fn offset_halves(offset: u64) -> (u32, u32) {
    (offset as u32, (offset >> 32) as u32)
}

/// What one packet belongs to.
#[derive(Debug)]
pub(super) struct OpBlock(NonNull<Contents>);

//= lecture 001: 첫 멤버 변수로 overlapped가 온다고 해보겠습니다
#[repr(C)]
struct Contents {
    overlapped: OVERLAPPED,
    key: u64,
    /// Which of the blocks of its operation it is.
    number: u32,
    /// Flags that the kernel may write.
    flags: u32,
    name_bytes: i32,
    name: Option<Box<SockAddrStorage>>,
    pieces: Vec<WSABUF>,
    message: Option<Box<WSAMSG>>,
    /// What stands before and behind a file.
    frame: Option<Box<TRANSMIT_FILE_BUFFERS>>,
}

const _: () = assert!(offset_of!(Contents, overlapped) == 0, "a packet names a block by its OVERLAPPED");

/// Which operation, and which of its blocks, a packet belongs to.
pub(super) fn addressee(overlapped: NonNull<OVERLAPPED>) -> (Key, usize) {
    let contents = overlapped.cast::<Contents>();
    // SAFETY: law 2: every OVERLAPPED that we hand out is the first field of a block, and the block stays
    // until the packet that is just being read has been dealt with.
    let contents = unsafe { contents.as_ref() };
    (Key::from_u64(contents.key), contents.number as usize)
}

impl OpBlock {
    /// An empty block.
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
            frame: None,
        };
        Self(NonNull::from(Box::leak(Box::new(contents))))
    }

    /// Assigns it to its operation before the call. An OVERLAPPED is reset for every call.
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

    /// Whether a call that has failed was a completed operation all the same: its status is a warning, and then the
    /// packet comes as for a success.
    pub(super) fn is_done_with_a_warning(&self) -> bool {
        const SEVERITY: usize = 0xC000_0000;
        const WARNING: usize = 0x8000_0000;
        // Volatile: the compiler has not seen who wrote it.
        let field = &raw const self.contents().overlapped.Internal;
        // SAFETY: the call has returned; a kernel that has completed the operation writes there no more, and one
        // that has refused it never did.
        let status = unsafe { field.read_volatile() };
        status & SEVERITY == WARNING
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

    /// The addresses at which the kernel writes the sender's address and its length.
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

    /// Builds a list of memory ranges. A WSABUF is declared as writable; a send only reads it.
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

    /// A message of these places, with room for its sender.
    pub(super) fn message_room(&mut self, places: [(*mut u8, usize); 2]) -> *mut WSAMSG {
        let (name, namelen) = self.sender_room();
        let (pieces, count) = self.point_at(places);
        // SAFETY: `point_at` has just written the length there, and no kernel knows of it yet.
        let namelen = unsafe { namelen.read() };
        let contents = self.contents_mut();
        let message = contents.message.get_or_insert_default();
        **message = WSAMSG {
            name,
            namelen,
            lpBuffers: pieces.cast_mut(),
            dwBufferCount: count,
            Control: WSABUF::default(),
            dwFlags: 0,
        };
        ptr::from_mut(message.as_mut())
    }

    /// Sets the bytes before and after a file, which the operation owns.
    pub(super) fn set_frame(&mut self, frame: TRANSMIT_FILE_BUFFERS) -> *const TRANSMIT_FILE_BUFFERS {
        let kept = self.contents_mut().frame.get_or_insert_default();
        **kept = frame;
        ptr::from_ref(kept.as_ref())
    }

    /// What the kernel wrote about a message of so many bytes.
    pub(super) fn message(&mut self, bytes: u32, room: usize) -> Result<Datagram, Ended> {
        let contents = self.contents_mut();
        let message = contents.message.as_ref().map(|message| (message.namelen, message.dwFlags));
        let (name_bytes, flags) = message.unwrap_or_default();
        contents.name_bytes = name_bytes;
        let mut datagram = self.sender(bytes, room)?;
        datagram.cut |= flags & MSG_TRUNC != 0;
        Ok(datagram)
    }

    /// The datagram's length and sender as the kernel wrote them, for a buffer of `room` bytes.
    pub(super) fn sender(&self, bytes: u32, room: usize) -> Result<Datagram, Ended> {
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
        // SAFETY: law 2: called before the kernel sees the block or after its packet only, so that no other code
        // touches it; the memory is ours until `drop`.
        unsafe { self.0.as_ref() }
    }

    fn contents_mut(&mut self) -> &mut Contents {
        // SAFETY: as for `contents`.
        unsafe { self.0.as_mut() }
    }
}

impl Drop for OpBlock {
    fn drop(&mut self) {
        // SAFETY: law 2: the pointer came from a box in `new`, and a block is dropped only with or after its
        // operation, when no kernel uses it.
        drop(unsafe { Box::from_raw(self.0.as_ptr()) });
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
        let mut block = OpBlock::new();
        block.address(Key::from_u64(7 << 32 | 3), 5);
        let overlapped = NonNull::new(block.overlapped()).expect("a box is not at zero");
        assert_eq!(addressee(overlapped), (Key::from_u64(7 << 32 | 3), 5));
    }
}
