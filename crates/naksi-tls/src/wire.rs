//! One connection: its handshake, then records in both directions, then the close.

use std::io::{IoSlice, Read as _, Write as _};

use naksi_core::batch::{Segment, SendBatch};
use naksi_core::buffer_pool::BufferPool;
use naksi_core::reason::DisconnectReason;
use naksi_core::wire::{MessageHeader, Plain, Wire};
use rustls::{Connection, Error, IoState};

use crate::records::Records;

/// What stands before an address.
pub(crate) const SCHEME: &str = "tls://";
/// Most bytes of one record's plain text, and what a record adds to it.
const RECORD_BYTES_MAX: usize = 1 << 14;
const RECORD_OVERHEAD: usize = 32;
/// Pieces of a batch that are sealed together.
const GATHERED: usize = 32;
/// Where fewer bytes came than this, what they brought is shown from a buffer on the stack.
const SCRATCH_BYTES: usize = 2048;
/// The kind of a record with a message of the handshake.
const HANDSHAKE: u8 = 22;
/// Bytes of memory that rustls keeps for an idle connection: measured with TLS 1.3 (7.6 KiB), the read buffer of 4 KiB in it.
const HELD_BYTES: usize = 8 * 1024;

/// One TLS connection.
#[derive(Debug)]
pub struct Tls {
    connection: Box<Connection>,
    records: Records,
    /// The handshake is done.
    opened: bool,
    /// The peer has said its end, or broke the rules: what comes is ignored.
    deaf: bool,
}

impl Tls {
    pub(crate) fn new(mut connection: Connection) -> Self {
        // What is sealed leaves at once; what may wait is bounded by the send queue.
        connection.set_buffer_limit(None);
        Self { connection: Box::new(connection), records: Records::default(), opened: false, deaf: false }
    }

    /// Moves what rustls has to send behind what `out` has.
    fn say(&mut self, out: &mut Vec<u8>) {
        while self.connection.wants_write() {
            self.connection.write_tls(out).expect("a Vec takes everything");
        }
    }

    /// Reads as much as rustls takes at once, and shows what is in it. Returns how many bytes were read.
    fn take(
        &mut self,
        sealed: &mut [u8],
        from: usize,
        plain: &mut dyn Plain,
    ) -> Result<usize, DisconnectReason> {
        let rest = &sealed[from..];
        // The only failure is a message of the handshake that is longer than rustls takes.
        let read = self.connection.read_tls(&mut &*rest).map_err(|_| DisconnectReason::TlsViolation)?;
        let whole = self.records.take(&rest[..read]);
        let was_open = self.opened;
        let processed = self.connection.process_new_packets();
        if processed.is_ok() && !self.opened && !self.connection.is_handshaking() {
            self.opened = true;
            plain.opened();
        }
        let shown = if self.opened { self.show(&mut sealed[..from + read], plain) } else { 0 };
        let state: IoState = processed.map_err(|error| self.reason(&error))?;
        if state.peer_has_closed() {
            self.deaf = true;
            plain.closed();
        } else if was_open && whole > 0 && shown == 0 {
            plain.control(read);
        }
        Ok(read)
    }

    /// Shows the plain text that there is, from the memory of what has been read. Returns how many bytes it was.
    fn show(&mut self, memory: &mut [u8], plain: &mut dyn Plain) -> usize {
        let mut scratch;
        let memory = if memory.len() < SCRATCH_BYTES {
            scratch = [0; SCRATCH_BYTES];
            &mut scratch[..]
        } else {
            memory
        };
        let mut shown = 0;
        loop {
            match self.connection.reader().read(memory) {
                // Nothing more now, or nothing more ever.
                Ok(0) | Err(_) => return shown,
                Ok(count) => {
                    plain.bytes(&mut memory[..count]);
                    shown += count;
                }
            }
        }
    }

    /// Why the connection ends, in one word.
    fn reason(&self, error: &Error) -> DisconnectReason {
        match error {
            Error::AlertReceived(_) => DisconnectReason::TlsAlert,
            Error::InvalidCertificate(_) | Error::NoCertificatesPresented => {
                DisconnectReason::CertificateRefused
            }
            Error::PeerIncompatible(_) | Error::NoApplicationProtocol => DisconnectReason::TlsRefused,
            _ if self.records.first.is_some_and(|kind| kind != HANDSHAKE) => DisconnectReason::NotTls,
            _ => DisconnectReason::TlsViolation,
        }
    }

    fn write(&mut self, slices: &[IoSlice<'_>], sealed: &mut Vec<u8>) {
        let bytes: usize = slices.iter().map(|slice| slice.len()).sum();
        let written = self.connection.writer().write_vectored(slices).expect("it has no limit");
        debug_assert_eq!(written, bytes);
        self.say(sealed);
    }
}

impl Wire for Tls {
    fn begin(&mut self, answer: &mut Vec<u8>) {
        self.say(answer);
    }

    fn open(
        &mut self,
        sealed: &mut [u8],
        plain: &mut dyn Plain,
        answer: &mut Vec<u8>,
    ) -> Result<(), DisconnectReason> {
        let mut from = 0;
        while from < sealed.len() && !self.deaf {
            let taken = self.take(sealed, from, plain);
            self.say(answer);
            match taken {
                Ok(read) => from += read,
                Err(reason) => {
                    self.deaf = true;
                    return Err(reason);
                }
            }
        }
        Ok(())
    }

    fn seal(&mut self, batch: SendBatch, buffer_pool: &mut BufferPool) -> SendBatch {
        let bytes = batch.bytes();
        let records = bytes.div_ceil(RECORD_BYTES_MAX) + batch.pieces().div_ceil(GATHERED) + 1;
        let mut sealed = buffer_pool.buffer(bytes + records * RECORD_OVERHEAD);
        let mut slices = [IoSlice::new(&[]); GATHERED];
        let mut count = 0;
        for slice in batch.slices() {
            slices[count] = IoSlice::new(slice);
            count += 1;
            if count == GATHERED {
                self.write(&slices, &mut sealed);
                count = 0;
            }
        }
        if count > 0 {
            self.write(&slices[..count], &mut sealed);
        }
        buffer_pool.put_batch(batch);
        let mut batch = buffer_pool.batch();
        batch.push(Segment::Owned(sealed));
        batch
    }

    fn ping(&mut self, _: &mut Vec<u8>) {
        // TLS has no sign of life of its own that every peer answers.
    }

    fn goodbye(&mut self, _: &DisconnectReason, answer: &mut Vec<u8>) {
        // After a fatal alert rustls says nothing more.
        self.connection.send_close_notify();
        self.say(answer);
    }

    fn is_within_message(&self) -> bool {
        !self.deaf && self.records.is_cut()
    }

    fn cut(&self) -> Option<DisconnectReason> {
        (self.opened && !self.deaf).then_some(DisconnectReason::TlsTruncated)
    }

    fn held_bytes(&self) -> usize {
        size_of::<Self>() + HELD_BYTES + self.records.cut_bytes()
    }

    fn message_header(&self) -> Option<MessageHeader> {
        None
    }
}
