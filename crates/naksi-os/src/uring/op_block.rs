//! The structures that the kernel reads and writes for one operation, on the heap, so that their addresses are
//! stable.
//!
//! An [`OpBlock`] has room for what any operation needs: a message header with its pieces and an address, a timeout,
//! bytes to send and a buffer to fill. [`OpBlocks`] keeps unused ones, so that no message allocates one.

// UNSAFETY: message headers hold addresses, and a kernel reads and writes through them.
#![expect(unsafe_code, reason = "structures are shared with the kernel here")]

use std::mem;
use std::net::SocketAddr;
use std::ptr::{self, NonNull};
use std::time::Duration;

use bytes::Bytes;
use io_uring::types::Timespec;
use naksi_core::batch::SendBatch;
use naksi_core::completion::Datagram;
use naksi_core::ended::Ended;
use socket2::{SockAddr, SockAddrStorage};

use crate::linux::error;

/// Pieces gathered by one send. The rest of a longer batch stays in it, as after any partial send.
pub(crate) const PIECES_MAX: usize = 64;
/// Linux moves at most this many bytes a call (`read(2)`, NOTES: 0x7ffff000).
const TRANSFER_BYTES_MAX: usize = 0x7fff_f000;
/// Empty blocks that are kept.
const SPENT_MAX: usize = 1024;

/// Parcels that were used and are empty.
#[derive(Debug, Default)]
pub(super) struct OpBlocks(Vec<OpBlock>);

impl OpBlocks {
    /// An empty block: a reused one, if there is any.
    pub(super) fn take(&mut self) -> OpBlock {
        self.0.pop().unwrap_or_else(OpBlock::new)
    }

    /// A block with a buffer, for this place in a file.
    pub(super) fn with_buffer(&mut self, buffer: Vec<u8>, offset: u64) -> OpBlock {
        let mut block = self.take();
        let contents = block.contents();
        (contents.buffer, contents.offset) = (buffer, offset);
        block
    }

    /// Keeps an empty block, unless enough are kept.
    pub(super) fn give_back(&mut self, block: OpBlock) {
        if self.0.len() < SPENT_MAX {
            self.0.push(block);
        }
    }
}

/// Everything that the kernel may read or write while one operation is in flight, on the heap.
#[derive(Debug)]
pub(super) struct OpBlock(NonNull<Contents>);

struct Contents {
    header: libc::msghdr,
    storage: SockAddrStorage,
    storage_bytes: libc::socklen_t,
    pieces: Vec<libc::iovec>,
    span: Timespec,
    /// What a stream's send carries.
    batch: SendBatch,
    /// The buffer of a file operation or of a datagram's receive, and the offset in the file.
    buffer: Vec<u8>,
    offset: u64,
    /// What a datagram's send carries.
    shared: Bytes,
}

impl OpBlock {
    /// An empty block.
    fn new() -> Self {
        // SAFETY: msghdr(3type) is numbers and pointers; all zero is "no name, no pieces, no control data".
        let header = unsafe { mem::zeroed() };
        let contents = Contents {
            header,
            storage: SockAddrStorage::zeroed(),
            storage_bytes: 0,
            pieces: Vec::new(),
            span: Timespec::new(),
            batch: SendBatch::new(),
            buffer: Vec::new(),
            offset: 0,
            shared: Bytes::new(),
        };
        Self(NonNull::from(Box::leak(Box::new(contents))))
    }

    /// Writes the address of a peer into it.
    pub(super) fn set_remote(&mut self, remote: SocketAddr) {
        let address = SockAddr::from(remote);
        let contents = self.contents();
        contents.storage_bytes = address.len();
        contents.storage = address.as_storage();
    }

    /// Puts a stream's bytes into it.
    pub(super) fn set_batch(&mut self, batch: SendBatch) {
        self.contents().batch = batch;
    }

    /// Puts a datagram's bytes into it.
    pub(super) fn set_shared(&mut self, bytes: Bytes) {
        self.contents().shared = bytes;
    }

    /// Takes a stream's bytes out.
    pub(super) fn take_batch(&mut self) -> SendBatch {
        mem::take(&mut self.contents().batch)
    }

    /// Takes a datagram's bytes out.
    pub(super) fn take_shared(&mut self) -> Bytes {
        mem::take(&mut self.contents().shared)
    }

    /// Takes the buffer out, and keeps the block for reuse.
    pub(super) fn emptied(mut self, spent: &mut OpBlocks) -> Vec<u8> {
        let buffer = mem::take(&mut self.contents().buffer);
        spent.give_back(self);
        buffer
    }

    /// The buffer, and its place in the file.
    pub(super) fn stretch(&mut self) -> (*mut u8, u32, u64) {
        let contents = self.contents();
        (contents.buffer.as_mut_ptr(), clamp(contents.buffer.len()), contents.offset)
    }

    /// Writes a span of time into it.
    pub(super) fn set_span(&mut self, span: Duration) {
        self.contents().span = Timespec::from(span);
    }

    /// Where the kernel writes the peer's address.
    pub(super) fn guest(&mut self) -> (*mut libc::sockaddr, *mut libc::socklen_t) {
        let contents = self.contents();
        contents.storage = SockAddrStorage::zeroed();
        contents.storage_bytes = contents.storage.size_of();
        ((&raw mut contents.storage).cast(), &raw mut contents.storage_bytes)
    }

    /// What the kernel wrote there.
    pub(super) fn came_from(&mut self) -> Option<SocketAddr> {
        let contents = self.contents();
        let storage = mem::replace(&mut contents.storage, SockAddrStorage::zeroed());
        let length = contents.storage_bytes.min(storage.size_of());
        // SAFETY: accept(2) wrote an address of that length there: addrlen "on return it will contain the
        // actual size of the peer address".
        unsafe { SockAddr::new(storage, length) }.as_socket()
    }

    pub(super) fn address(&mut self) -> (*const libc::sockaddr, libc::socklen_t) {
        let contents = self.contents();
        ((&raw const contents.storage).cast(), contents.storage_bytes)
    }

    pub(super) fn span(&mut self) -> *const Timespec {
        &raw const self.contents().span
    }

    /// A header that gathers the first pieces of the batch.
    pub(super) fn gather(&mut self) -> *const libc::msghdr {
        let contents = self.contents();
        contents.pieces.clear();
        contents.pieces.extend(contents.batch.slices().take(PIECES_MAX).map(|piece| libc::iovec {
            // sendmsg(2) declares the iovec as writable, and only reads it.
            iov_base: piece.as_ptr().cast_mut().cast(),
            iov_len: piece.len(),
        }));
        contents.header.msg_name = ptr::null_mut();
        contents.header.msg_namelen = 0;
        contents.address_pieces()
    }

    /// A header that receives one datagram and its sender.
    pub(super) fn letter_in(&mut self) -> *mut libc::msghdr {
        let contents = self.contents();
        contents.storage = SockAddrStorage::zeroed();
        contents.storage_bytes = contents.storage.size_of();
        let (bytes, length) = (contents.buffer.as_mut_ptr(), clamp(contents.buffer.len()));
        contents.letter(bytes, length)
    }

    /// A header that sends one datagram to the remote address that was set.
    pub(super) fn letter_out(&mut self) -> *const libc::msghdr {
        let contents = self.contents();
        let (bytes, length) = (contents.shared.as_ptr().cast_mut(), clamp(contents.shared.len()));
        contents.letter(bytes, length)
    }

    /// What the kernel wrote about a datagram of so many bytes.
    pub(super) fn sender(&mut self, bytes: u32) -> Result<Datagram, Ended> {
        let contents = self.contents();
        let storage = mem::replace(&mut contents.storage, SockAddrStorage::zeroed());
        let length = contents.header.msg_namelen.min(storage.size_of());
        // SAFETY: recvmsg(2) wrote an address of that length there: "upon return it contains the length of
        // the returned address".
        let address = unsafe { SockAddr::new(storage, length) };
        let cut = contents.header.msg_flags & libc::MSG_TRUNC != 0;
        match address.as_socket() {
            Some(from) => Ok(Datagram { bytes, from, cut }),
            None => Err(Ended::Failed(error::os_error(libc::EAFNOSUPPORT))),
        }
    }

    fn contents(&mut self) -> &mut Contents {
        // SAFETY: law 2: called before the kernel sees the block or after the last completion only, so that
        // no other code touches it; the memory is ours until `drop`.
        unsafe { self.0.as_mut() }
    }
}

impl Contents {
    fn letter(&mut self, bytes: *mut u8, length: u32) -> *mut libc::msghdr {
        self.pieces.clear();
        self.pieces.push(libc::iovec { iov_base: bytes.cast(), iov_len: length as usize });
        self.header.msg_name = (&raw mut self.storage).cast();
        self.header.msg_namelen = self.storage_bytes;
        self.address_pieces()
    }

    fn address_pieces(&mut self) -> *mut libc::msghdr {
        self.header.msg_iov = self.pieces.as_mut_ptr();
        self.header.msg_iovlen = self.pieces.len();
        self.header.msg_flags = 0;
        &raw mut self.header
    }
}

impl Drop for OpBlock {
    fn drop(&mut self) {
        // SAFETY: law 2: the pointer came from a box in `new`, and a block is dropped only with or after
        // its operation, when no kernel uses it.
        drop(unsafe { Box::from_raw(self.0.as_ptr()) });
    }
}

/// What one call moves of so many bytes.
pub(super) fn clamp(length: usize) -> u32 {
    length.min(TRANSFER_BYTES_MAX) as u32
}
