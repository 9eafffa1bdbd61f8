//! The calls that set a socket up, behind a trait: their order and their arguments are what Windows judges, and a test sees
//! them without Windows judging.

// UNSAFETY: options and controls that the library does not know are raw calls.
#![expect(unsafe_code, reason = "options and controls are raw calls")]

use std::ffi::c_void;
use std::io;
use std::os::windows::io::AsRawSocket as _;
use std::ptr;

use socket2::{SockAddr, Socket};
use windows_sys::Win32::Networking::WinSock::{SOCKET, SOL_SOCKET, WSAIoctl, setsockopt};

use super::kernel::last_error;

/// Sets sockets up.
pub(crate) trait Setup {
    /// `setsockopt` at the level of the socket.
    fn option(&self, socket: &Socket, option: i32, value: &[u8]) -> io::Result<()>;
    /// `WSAIoctl` with a value and without an answer.
    fn control(&self, socket: &Socket, code: u32, value: &[u8]) -> io::Result<()>;
    /// `bind`.
    fn bind(&self, socket: &Socket, address: &SockAddr) -> io::Result<()>;
    /// `listen`; the backlog as Winsock wants it.
    fn listen(&self, socket: &Socket, backlog: i32) -> io::Result<()>;
    /// Waits before the same is tried again.
    fn pause(&self, span: std::time::Duration);
}

/// The system itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Winsock;

impl Setup for Winsock {
    fn option(&self, socket: &Socket, option: i32, value: &[u8]) -> io::Result<()> {
        let pointer = if value.is_empty() { ptr::null() } else { value.as_ptr() };
        let raw = socket.as_raw_socket() as SOCKET;
        // SAFETY: setsockopt reads `value.len()` bytes before it returns, and there are so many.
        let result = unsafe { setsockopt(raw, SOL_SOCKET, option, pointer, value.len() as i32) };
        if result == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(last_error())) }
    }

    fn control(&self, socket: &Socket, code: u32, value: &[u8]) -> io::Result<()> {
        let mut returned = 0_u32;
        let raw = socket.as_raw_socket() as SOCKET;
        let input: *const c_void = value.as_ptr().cast();
        let (none, bytes) = (ptr::null_mut(), value.len() as u32);
        // SAFETY: WSAIoctl reads the bytes of `value` and writes one number, which lives until it returns.
        let result =
            unsafe { WSAIoctl(raw, code, input, bytes, none, 0, &raw mut returned, ptr::null_mut(), None) };
        if result == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(last_error())) }
    }

    fn bind(&self, socket: &Socket, address: &SockAddr) -> io::Result<()> {
        socket.bind(address)
    }

    fn listen(&self, socket: &Socket, backlog: i32) -> io::Result<()> {
        socket.listen(backlog)
    }

    fn pause(&self, span: std::time::Duration) {
        std::thread::sleep(span);
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::cell::RefCell;

    /// One call, as a test sees it.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub(crate) enum Call {
        Option(i32, Vec<u8>),
        Control(u32, Vec<u8>),
        Bind,
        Listen(i32),
        Pause,
    }

    /// Notes every call and makes it, but for the binds that shall be refused.
    #[derive(Debug, Default)]
    pub(crate) struct Noted {
        calls: RefCell<Vec<Call>>,
        refusals: RefCell<Vec<i32>>,
    }

    impl Noted {
        /// The first binds fail with these numbers.
        pub(crate) fn refusing(refusals: &[i32]) -> Self {
            Self { refusals: RefCell::new(refusals.to_vec()), ..Self::default() }
        }

        pub(crate) fn calls(&self) -> Vec<Call> {
            self.calls.borrow().clone()
        }
    }

    impl Setup for Noted {
        fn option(&self, socket: &Socket, option: i32, value: &[u8]) -> io::Result<()> {
            self.calls.borrow_mut().push(Call::Option(option, value.to_vec()));
            Winsock.option(socket, option, value)
        }

        fn control(&self, socket: &Socket, code: u32, value: &[u8]) -> io::Result<()> {
            self.calls.borrow_mut().push(Call::Control(code, value.to_vec()));
            Winsock.control(socket, code, value)
        }

        fn bind(&self, socket: &Socket, address: &SockAddr) -> io::Result<()> {
            self.calls.borrow_mut().push(Call::Bind);
            match self.refusals.borrow_mut().pop() {
                Some(code) => Err(io::Error::from_raw_os_error(code)),
                None => Winsock.bind(socket, address),
            }
        }

        fn listen(&self, socket: &Socket, backlog: i32) -> io::Result<()> {
            self.calls.borrow_mut().push(Call::Listen(backlog));
            Winsock.listen(socket, backlog)
        }

        fn pause(&self, _: std::time::Duration) {
            self.calls.borrow_mut().push(Call::Pause);
        }
    }
}
