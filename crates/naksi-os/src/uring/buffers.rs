//! The ring of receive buffers from which the kernel takes one when bytes have arrived.
//!
//! The ring is shared memory as `io_uring_register_buf_ring(3)` describes it: entries that we write, and a tail that
//! we publish. A buffer that is with the kernel is a raw pointer in a table here, and no other code has its address
//! until a completion returns its number.

// UNSAFETY: the memory of the ring and of the buffers in it is shared with the kernel.
#![expect(unsafe_code, reason = "memory is shared with the kernel here")]

use std::io;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::types::BufRingEntry;
use io_uring::{IoUring, Submitter};
use naksi_core::lease::{Buffer, LeasePool};

/// The number under which the kernel knows the ring.
pub(super) const GROUP: u16 = 0;

/// Leases that one receive may fill between two waits.
pub(super) const RECV_LEASES_MAX: u32 = 2;

/// The minimum number of buffers with the kernel. It fills them in the order in which they were provided, so all of
/// them are used in turn; a few stay in a processor's cache, and a whole pool does not. Bursts of small messages need
/// more; the number grows then.
const AHEAD_MIN: usize = 8;
/// When receives have returned as much as this many leases hold between two waits, the kernel gets no more buffers
/// until the next wait, so that the data is still in the cache when it is processed. A receive that finds no buffer
/// is submitted again with the next wait.
const PORTION_LEASES: usize = 4;
/// After being sufficient this many times, the number of buffers with the kernel is halved.
const ENOUGH_TIMES: u32 = 4096;

/// Limit of one receive between two waits, in bytes. Without it the kernel fills 32 buffers in a row from a flooding
/// peer before the receive can be stopped, and others find the pool empty.
pub(super) fn recv_bytes_max(lease_bytes: usize) -> u32 {
    u32::try_from(lease_bytes).unwrap_or(u32::MAX).saturating_mul(RECV_LEASES_MAX)
}

/// The ring, and the buffers that the kernel holds.
pub(super) struct Buffers {
    ring: NonNull<BufRingEntry>,
    ring_bytes: usize,
    mask: u16,
    /// Where the next entry goes; published by `publish`.
    tail: u16,
    published: u16,
    /// By number: the buffers that are with the kernel.
    held: Vec<Option<NonNull<[u8]>>>,
    held_count: usize,
    /// How many the kernel is given ahead.
    ahead: usize,
    /// How often that was enough since it was last changed.
    enough: u32,
    /// It was not, since the kernel was last given some.
    dry: bool,
    /// Bytes of receives that filled a buffer since the last wait.
    brought_bytes: usize,
    buffer_bytes: usize,
}

impl Buffers {
    /// Maps the ring, registers it with the kernel and provides the first buffers of the pool.
    ///
    /// The pool's memory is touched once here, so that it is resident when the first byte arrives and is not counted
    /// as memory of sessions later.
    pub(super) fn open(ring: &IoUring, pool: &mut LeasePool) -> io::Result<Self> {
        let entries = u16::try_from(pool.size().next_power_of_two())
            .ok()
            .filter(|entries| *entries <= 1 << 15)
            .ok_or_else(|| io::Error::from_raw_os_error(libc::EINVAL))?;
        let ring_bytes = usize::from(entries) * size_of::<BufRingEntry>();
        let flags = libc::MAP_ANONYMOUS | libc::MAP_PRIVATE | libc::MAP_POPULATE;
        // SAFETY: mmap(2): "If addr is NULL, then the kernel chooses the (page-aligned) address", so no
        // memory of ours is replaced.
        let mapped = unsafe {
            libc::mmap(ptr::null_mut(), ring_bytes, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0)
        };
        if mapped == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonNull::new(mapped.cast::<BufRingEntry>()).expect("a mapping is not at zero");
        let mut buffers = Self {
            ring: base,
            ring_bytes,
            mask: entries - 1,
            tail: 0,
            published: 0,
            held: vec![None; pool.size()],
            held_count: 0,
            ahead: AHEAD_MIN,
            enough: 0,
            dry: false,
            brought_bytes: 0,
            buffer_bytes: pool.buffer_bytes(),
        };
        // SAFETY: law 10: the mapping stays until the port has unregistered it, or for ever.
        let registered =
            unsafe { ring.submitter().register_buf_ring_with_flags(mapped as u64, entries, GROUP, 0) };
        if let Err(error) = registered {
            buffers.unmap();
            return Err(error);
        }
        let all: Vec<Buffer> = std::iter::from_fn(|| pool.take()).collect();
        for mut buffer in all {
            buffer.bytes.fill(0);
            pool.put(buffer);
        }
        buffers.refill(pool, 0);
        Ok(buffers)
    }

    /// Starts a new portion at a wait. Provides as many buffers as the `wait` parked short receives may fill, as far
    /// as the pool has them; the kernel's minimum is for the other receives.
    pub(super) fn refill(&mut self, pool: &mut LeasePool, wait: usize) {
        self.brought_bytes = 0;
        while self.held_count < wait.saturating_mul(RECV_LEASES_MAX as usize)
            && let Some(buffer) = pool.take()
        {
            self.provide(buffer);
        }
        self.top_up(pool);
    }

    /// Provides buffers up to the current number, the most recently returned ones first; none, if the received data
    /// should be processed first while it is in the cache.
    pub(super) fn top_up(&mut self, pool: &mut LeasePool) {
        if self.has_had_its_portion() {
            return;
        }
        while self.held_count < self.ahead
            && let Some(buffer) = pool.take()
        {
            self.provide(buffer);
        }
        if self.tail == self.published {
            return;
        }
        self.publish();
        self.dry = false;
        self.enough += 1;
        if self.enough >= ENOUGH_TIMES {
            (self.ahead, self.enough) = ((self.ahead / 2).max(AHEAD_MIN), 0);
        }
    }

    /// The kernel found no buffer although the pool had some: increases the number of buffers with the kernel, unless
    /// its portion was used up.
    pub(super) fn widen(&mut self) {
        // Many receives may find none in one turn; that counts once.
        if !self.has_had_its_portion() && !std::mem::replace(&mut self.dry, true) {
            (self.ahead, self.enough) = ((self.ahead * 2).min(self.held.len().max(AHEAD_MIN)), 0);
        }
    }

    fn has_had_its_portion(&self) -> bool {
        self.brought_bytes >= PORTION_LEASES * self.buffer_bytes
    }

    /// Takes back the buffer that a completion names, with the number of bytes in it. `None` for a number that the
    /// kernel does not hold.
    pub(super) fn take_back(&mut self, number: u16, bytes: usize) -> Option<Buffer> {
        let held = self.held.get_mut(usize::from(number))?.take()?;
        // Only full buffers indicate a flood; many short messages are processed together.
        self.brought_bytes += if bytes >= self.buffer_bytes { bytes } else { 0 };
        self.held_count -= 1;
        // SAFETY: law 2: the pointer came from `Box::into_raw` in `provide`, the table named it once, and a
        // completion that carries a buffer's number ends the kernel's use of it.
        let bytes = unsafe { Box::from_raw(held.as_ptr()) };
        Some(Buffer { number, bytes })
    }

    /// Buffers that the kernel can take without asking.
    pub(super) fn with_kernel(&self) -> usize {
        self.held_count
    }

    /// Unregisters the ring after everything that used it has ended, and returns its buffers to the pool.
    pub(super) fn close(mut self, submitter: &Submitter<'_>, pool: &mut LeasePool) -> io::Result<()> {
        submitter.unregister_buf_ring(GROUP)?;
        for number in 0..self.held.len() {
            if let Some(buffer) = self.take_back(number as u16, 0) {
                pool.put(buffer);
            }
        }
        self.unmap();
        Ok(())
    }

    fn provide(&mut self, buffer: Buffer) {
        let number = buffer.number;
        let length = u32::try_from(buffer.bytes.len()).unwrap_or(u32::MAX);
        let raw = NonNull::new(Box::into_raw(buffer.bytes)).expect("a box is not at zero");
        let place = &mut self.held[usize::from(number)];
        assert!(place.is_none(), "buffer {number} is with the kernel already");
        *place = Some(raw);
        self.held_count += 1;
        // SAFETY: the index is masked, so it lies in the mapping.
        let mut place = unsafe { self.ring.add(usize::from(self.tail & self.mask)) };
        // SAFETY: law 5: at most as many buffers as entries are with the kernel, so it has consumed what stood
        // here before, and it reads no entry at or behind the published tail.
        let entry = unsafe { place.as_mut() };
        entry.set_addr(raw.cast::<u8>().as_ptr() as u64);
        entry.set_len(length);
        entry.set_bid(number);
        self.tail = self.tail.wrapping_add(1);
    }

    fn publish(&mut self) {
        // SAFETY: the pointer is the first entry's, in whose reserved word the kernel's ABI puts the tail.
        let tail = unsafe { BufRingEntry::tail(self.ring.as_ptr()) };
        // SAFETY: the word is aligned, lives as long as the mapping, and both sides access it atomically.
        let tail = unsafe { AtomicU16::from_ptr(tail.cast_mut()) };
        // Release: the kernel that sees the tail sees the entries before it.
        tail.store(self.tail, Ordering::Release);
        self.published = self.tail;
    }

    fn unmap(&mut self) {
        // SAFETY: munmap(2) of the whole mapping made in `open`; the kernel does not know it any more.
        let result = unsafe { libc::munmap(self.ring.as_ptr().cast(), self.ring_bytes) };
        debug_assert_eq!(result, 0, "the mapping was ours");
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::net::{SocketAddr, TcpStream};
    use std::time::Duration;

    use naksi_core::completion::{Completion, Done};
    use naksi_core::ended::Ended;
    use naksi_core::id::{Handle, Token};
    use naksi_core::op::Op;

    use crate::port::{Port as _, PortOptions};
    use crate::uring::port::Port;

    fn next(port: &mut Port) -> Completion {
        let (mut completions, deadline) = (Vec::new(), port.now() + Duration::from_secs(20));
        while completions.is_empty() && port.now() < deadline {
            port.wait(&mut completions, Some(deadline)).expect("the port works");
        }
        assert_eq!(completions.len(), 1, "{completions:?}");
        completions.remove(0)
    }

    /// Simulates a kernel that refuses the byte limit of a receive (before Linux 6.17).
    fn recv_refused(port: &mut Port, token: Token, socket: Handle) {
        let op = Op::Recv { socket };
        let fd_kind = port.reserve(token, &op).expect("no other receive is in flight");
        let (operation, _) = port.prepare(op, fd_kind);
        port.track(token, operation, Some(-libc::EINVAL));
    }

    #[test]
    fn a_kernel_that_knows_no_limit_is_asked_without_it_and_no_socket_notices() {
        let options = PortOptions { lease_count: 32, lease_bytes: 4096, ..PortOptions::default() };
        let Ok(mut port) = Port::open(&options) else {
            let line = "skipped: a kernel without a limit on receives, for want of io_uring";
            return writeln!(std::io::stderr(), "{line}").expect("stderr takes a line");
        };
        assert_ne!(port.recv_bytes_max, 0);
        let (listener, address) =
            port.listen(SocketAddr::from(([127, 0, 0, 1], 0)), &Default::default()).expect("a listener");
        let tokens = [1, 2, 3].map(|number| Token::new(1, number, number));
        port.submit(tokens[0], Op::Accept { listener }).expect("it accepts");
        let mut pairs = [1, 2].map(|_| {
            let stream = TcpStream::connect(address).expect("the system's queue takes it");
            let Done::Accept(Ok(accepted)) = next(&mut port).done else { panic!("it is accepted") };
            (stream, accepted.socket)
        });
        // Both were asked with the limit before the first refusal came.
        for ((_, socket), token) in pairs.iter().zip(&tokens[1..]) {
            recv_refused(&mut port, *token, *socket);
        }
        for ((stream, _), token) in pairs.iter_mut().zip(&tokens[1..]) {
            stream.write_all(b"hello").expect("there is room");
            let Completion { token: of, done: Done::Recv(Ok(lease)), more: true } = next(&mut port) else {
                panic!("five bytes and more to come")
            };
            assert_eq!((of, &lease[..]), (*token, &b"hello"[..]));
            assert_eq!(port.recv_bytes_max, 0, "it is not asked with a limit again");
        }
        // A refusal without a limit set has another cause: stop trying.
        port.cancel(tokens[1]);
        assert!(matches!(next(&mut port).done, Done::Recv(Err(Ended::Aborted))));
        recv_refused(&mut port, tokens[1], pairs[0].1);
        let done = next(&mut port).done;
        assert!(matches!(done, Done::Recv(Err(Ended::Failed(_)))), "{done:?}");
        assert_eq!(port.end().leaked_total, 0);
    }
}
