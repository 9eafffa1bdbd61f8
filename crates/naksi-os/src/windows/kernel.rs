//! The completion port itself: creating it, waiting, posting, and associating handles.
//!
//! A dequeue has three outcomes that are easily confused: a packet of an operation that failed (the call succeeds,
//! the packet carries the failure), no packet in time, and a port that is closed. They are three values here. Closing
//! a port does not wake its waiting threads on every Windows-like system, so this code does not rely on it: a waiting
//! thread is woken by a packet.

// UNSAFETY: completion ports are raw handles, and packets come out of them as raw pointers.
#![expect(unsafe_code, reason = "completion ports are raw handles")]

use std::io;
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::ptr;

use windows_sys::Win32::Foundation::{
    ERROR_ABANDONED_WAIT_0, HANDLE, INVALID_HANDLE_VALUE, NTSTATUS, RtlNtStatusToDosError, WAIT_TIMEOUT,
};
use windows_sys::Win32::System::IO::{
    CancelIoEx, CreateIoCompletionPort, GetQueuedCompletionStatusEx, OVERLAPPED, OVERLAPPED_ENTRY,
    PostQueuedCompletionStatus,
};
use windows_sys::Win32::System::LibraryLoader::{GetProcAddress, LoadLibraryW};
use windows_sys::Win32::System::Threading::{
    GetCurrentProcess, PROCESS_POWER_THROTTLING_CURRENT_VERSION,
    PROCESS_POWER_THROTTLING_IGNORE_TIMER_RESOLUTION, PROCESS_POWER_THROTTLING_STATE, ProcessPowerThrottling,
    SetProcessInformation,
};
use windows_sys::core::{PCSTR, s, w};

/// The completion key of every handle that a port serves.
pub(crate) const OPERATION: usize = 0;

/// What a wait for packets came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dequeued {
    /// So many packets, failed operations among them.
    Packets(usize),
    /// None came in time.
    TimedOut,
    /// There is no port any more.
    Closed,
}

/// What one packet says of its operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    /// Bytes moved; may be more than none although the operation failed.
    pub(crate) bytes: u32,
    /// The system's number, 0 for success.
    pub(crate) code: i32,
}

impl Answer {
    pub(crate) fn done(bytes: u32) -> Self {
        Self { bytes, code: 0 }
    }

    pub(crate) fn failed(code: i32) -> Self {
        Self { bytes: 0, code }
    }
}

/// One packet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Packet {
    /// The OVERLAPPED of the operation; null in a post without one.
    pub(crate) overlapped: *mut OVERLAPPED,
    pub(crate) answer: Answer,
}

/// A completion port.
#[derive(Debug)]
pub(crate) struct Kernel {
    handle: OwnedHandle,
}

impl Kernel {
    /// A port on which at most `concurrency` threads run at a time; 0 is as many as there are processors.
    pub(crate) fn open(concurrency: u32) -> io::Result<Self> {
        // SAFETY: CreateIoCompletionPort: with INVALID_HANDLE_VALUE "the function creates an I/O completion
        // port without associating it with a file handle", and touches no memory of ours.
        let raw = unsafe { CreateIoCompletionPort(INVALID_HANDLE_VALUE, ptr::null_mut(), 0, concurrency) };
        if raw.is_null() {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: "If the function succeeds, the return value is the handle to an I/O completion port"; it has no
        // other owner.
        let handle = unsafe { OwnedHandle::from_raw_handle(raw) };
        Ok(Self { handle })
    }

    /// Makes every operation on a handle report to this port, for as long as the handle is open.
    pub(crate) fn associate(&self, handle: HANDLE) -> Result<(), i32> {
        // SAFETY: two handles and a number; the caller's handle is open, because its owner lends it.
        let raw = unsafe { CreateIoCompletionPort(handle, self.raw(), OPERATION, 0) };
        if raw.is_null() { Err(last_error()) } else { Ok(()) }
    }

    /// Puts a packet without an operation into the port: PostQueuedCompletionStatus.
    pub(crate) fn post(&self, key: usize, bytes: u32) -> Result<(), i32> {
        // SAFETY: "The completion key and the OVERLAPPED pointer are not interpreted"; ours is null.
        let posted = unsafe { PostQueuedCompletionStatus(self.raw(), bytes, key, ptr::null()) };
        if posted == 0 { Err(last_error()) } else { Ok(()) }
    }

    /// Posts a 64-bit number, whatever the width of a packet's words.
    pub(crate) fn post_number(&self, key: usize, number: u64) -> Result<(), i32> {
        let low = ptr::without_provenance(number as u32 as usize);
        // SAFETY: as in `post`; the low half travels as the address of an OVERLAPPED that is never read.
        let posted = unsafe { PostQueuedCompletionStatus(self.raw(), (number >> 32) as u32, key, low) };
        if posted == 0 { Err(last_error()) } else { Ok(()) }
    }

    /// The number in an entry that `post_number` made.
    pub(crate) fn number(entry: &OVERLAPPED_ENTRY) -> u64 {
        u64::from(entry.dwNumberOfBytesTransferred) << 32 | entry.lpOverlapped.addr() as u64
    }

    /// Takes as many packets as there is room for, and waits for the first one at most this long.
    pub(crate) fn dequeue(
        &self,
        entries: &mut [OVERLAPPED_ENTRY],
        milliseconds: u32,
    ) -> Result<Dequeued, i32> {
        let room = u32::try_from(entries.len()).unwrap_or(u32::MAX);
        let mut removed = 0;
        // SAFETY: GetQueuedCompletionStatusEx fills at most `room` entries, and there are so many.
        let taken = unsafe {
            GetQueuedCompletionStatusEx(
                self.raw(),
                entries.as_mut_ptr(),
                room,
                &raw mut removed,
                milliseconds,
                0,
            )
        };
        if taken != 0 {
            return Ok(Dequeued::Packets(removed as usize));
        }
        match last_error() {
            code if code == WAIT_TIMEOUT as i32 => Ok(Dequeued::TimedOut),
            code if code == ERROR_ABANDONED_WAIT_0 as i32 => Ok(Dequeued::Closed),
            code => Err(code),
        }
    }

    fn raw(&self) -> HANDLE {
        self.handle.as_raw_handle()
    }
}

/// The contents of an entry. The call that returned it succeeded even if its operation did not.
pub(crate) fn packet(entry: &OVERLAPPED_ENTRY) -> Packet {
    let mut answer = Answer::done(entry.dwNumberOfBytesTransferred);
    if let Some(overlapped) = ptr::NonNull::new(entry.lpOverlapped) {
        // SAFETY: law 2: the OVERLAPPED lives until its packet was dequeued, which is now; OVERLAPPED: "Internal:
        // the status code for the I/O request".
        let status = unsafe { overlapped.as_ref() }.Internal as NTSTATUS;
        if status < 0 {
            // SAFETY: a number is translated.
            answer.code = unsafe { RtlNtStatusToDosError(status) } as i32;
        }
    }
    Packet { overlapped: entry.lpOverlapped, answer }
}

/// Requests that one operation, or with null every operation on the handle, ends early. Its packet still comes.
///
/// The result of the call is not used, because systems report differently that nothing was pending.
pub(crate) fn cancel(handle: HANDLE, overlapped: *const OVERLAPPED) {
    // SAFETY: CancelIoEx reads no more of the OVERLAPPED than its address, and law 2 keeps that in place.
    unsafe { CancelIoEx(handle, overlapped) };
}

/// The error number of the last failed call on this thread.
pub(crate) fn last_error() -> i32 {
    io::Error::last_os_error().raw_os_error().unwrap_or(0)
}

/// While this exists, a wait of one millisecond takes about one and not the 15.6 of the system's default timer.
///
/// `timeBeginPeriod` sets the resolution of this process' waits (of the whole system before Windows 10, version
/// 2004), and nests. Windows 11 takes it away again from processes without visible windows, unless they ask it not
/// to: a server has no window to be seen.
#[derive(Debug)]
pub(crate) struct FineClock(());

impl FineClock {
    pub(crate) fn keep() -> Self {
        let state = PROCESS_POWER_THROTTLING_STATE {
            Version: PROCESS_POWER_THROTTLING_CURRENT_VERSION,
            ControlMask: PROCESS_POWER_THROTTLING_IGNORE_TIMER_RESOLUTION,
            StateMask: 0,
        };
        // SAFETY: returns a number that is no handle to be closed.
        let process = unsafe { GetCurrentProcess() };
        let bytes = size_of::<PROCESS_POWER_THROTTLING_STATE>() as u32;
        // SAFETY: the structure is read before the call returns. An older system refuses it and needs it not.
        unsafe { SetProcessInformation(process, ProcessPowerThrottling, (&raw const state).cast(), bytes) };
        set_period(s!("timeBeginPeriod"));
        Self(())
    }
}

impl Drop for FineClock {
    fn drop(&mut self) {
        // "You must match each call to timeBeginPeriod with a call to timeEndPeriod": this is it.
        set_period(s!("timeEndPeriod"));
    }
}

/// Calls one of the two functions with a period of one millisecond.
///
/// They are looked for in kernel32, which has them since Windows 10, and in winmm before. Winmm is not imported, because it brings
/// user32 along: a process that has it is told of no log-off and no shutdown (SetConsoleCtrlHandler, Remarks).
fn set_period(name: PCSTR) {
    for library in [w!("kernel32.dll"), w!("winmm.dll")] {
        // SAFETY: a constant text. A library that stays loaded is counted once more, and the process needs both until it ends.
        let module = unsafe { LoadLibraryW(library) };
        if module.is_null() {
            continue;
        }
        // SAFETY: the module is loaded, and the name is a constant text.
        let Some(found) = (unsafe { GetProcAddress(module, name) }) else { continue };
        // SAFETY: both functions are declared `MMRESULT(UINT uPeriod)` in timeapi.h.
        let set = unsafe {
            std::mem::transmute::<unsafe extern "system" fn() -> isize, unsafe extern "system" fn(u32) -> u32>(
                found,
            )
        };
        // SAFETY: a number is handed over; each call that begins is matched by one that ends.
        unsafe { set(1) };
        return;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_a_time_out_and_their_order_are_told_apart() {
        let kernel = Kernel::open(1).expect("a handle is left");
        let mut entries = [OVERLAPPED_ENTRY::default(); 4];
        assert_eq!(kernel.dequeue(&mut entries, 0), Ok(Dequeued::TimedOut));
        for bytes in 0..6 {
            kernel.post(7, bytes).expect("the port is open");
        }
        assert_eq!(kernel.dequeue(&mut entries, 0), Ok(Dequeued::Packets(4)));
        let bytes: Vec<u32> = entries.iter().map(|entry| packet(entry).answer.bytes).collect();
        assert_eq!((bytes, entries[0].lpCompletionKey), (vec![0, 1, 2, 3], 7));
        assert_eq!(kernel.dequeue(&mut entries, 0), Ok(Dequeued::Packets(2)));
        assert!(entries[0].lpOverlapped.is_null());
    }
}
