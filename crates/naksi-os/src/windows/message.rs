//! WSAAsyncSelect: events of sockets arrive as messages in the queue of the thread that owns a window.
//!
//! The window is a message-only one, which is invisible; the loop is GetMessage, as in every program with
//! windows. Nothing here knows a connection.
//!
//! User32 is loaded by the first queue and not imported: a console process that has it is told of no log-off and no
//! shutdown (SetConsoleCtrlHandler, Remarks), and a server is one.

// UNSAFETY: the standard library has no wrapper for windows and their messages.
#![expect(unsafe_code, reason = "windows and WSAAsyncSelect are raw calls")]

use std::collections::HashMap;
use std::ffi::c_void;
use std::io;
use std::mem;
use std::os::windows::io::AsSocket;
use std::ptr;
use std::sync::OnceLock;

use windows_sys::Win32::Foundation::{FARPROC, HWND, LRESULT};
use windows_sys::Win32::Networking::WinSock::{
    FD_ACCEPT, FD_CLOSE, FD_READ, FD_WRITE, SOCKET, WSAAsyncSelect,
};
use windows_sys::Win32::System::LibraryLoader::{GetProcAddress, LoadLibraryW};
use windows_sys::Win32::UI::WindowsAndMessaging::{HWND_MESSAGE, MSG, WM_USER};
use windows_sys::core::{BOOL, PCSTR, PCWSTR, s, w};

use super::in_flight_op::{last_error, network_bits, raw_socket};
use crate::network_events::NetworkEvents;
use crate::syscall_counter::SyscallCounter;

/// The message number for sockets; every window class may use the numbers from WM_USER on.
const WM_SOCKET: u32 = WM_USER + 9;

type CreateWindowEx = unsafe extern "system" fn(
    u32,
    PCWSTR,
    PCWSTR,
    u32,
    i32,
    i32,
    i32,
    i32,
    HWND,
    *mut c_void,
    *mut c_void,
    *const c_void,
) -> HWND;

/// What a window needs of user32, as winuser.h declares it.
#[derive(Clone, Copy, Debug)]
struct User32 {
    create_window: CreateWindowEx,
    destroy_window: unsafe extern "system" fn(HWND) -> BOOL,
    dispatch_message: unsafe extern "system" fn(*const MSG) -> LRESULT,
    get_message: unsafe extern "system" fn(*mut MSG, HWND, u32, u32) -> BOOL,
}

impl User32 {
    /// The library, which is loaded by the first call and stays loaded.
    fn get() -> io::Result<Self> {
        static LOADED: OnceLock<Option<User32>> = OnceLock::new();
        let missing = || io::Error::new(io::ErrorKind::Unsupported, "this system has no windows (user32)");
        (*LOADED.get_or_init(Self::load)).ok_or_else(missing)
    }

    fn load() -> Option<Self> {
        // SAFETY: a constant text; the library is never unloaded, because its functions are kept.
        let module = unsafe { LoadLibraryW(w!("user32.dll")) };
        if module.is_null() {
            return None;
        }
        // SAFETY: the module is loaded, and each name is a constant text.
        let find = |name: PCSTR| -> FARPROC { unsafe { GetProcAddress(module, name) } };
        let create_window = find(s!("CreateWindowExW"))?;
        let destroy_window = find(s!("DestroyWindow"))?;
        let dispatch_message = find(s!("DispatchMessageW"))?;
        let get_message = find(s!("GetMessageW"))?;
        // SAFETY: each address is that of the function beside its name, and each type is its declaration in winuser.h.
        Some(unsafe {
            Self {
                create_window: mem::transmute::<Address, CreateWindowEx>(create_window),
                destroy_window: mem::transmute::<Address, unsafe extern "system" fn(HWND) -> BOOL>(
                    destroy_window,
                ),
                dispatch_message: mem::transmute::<Address, unsafe extern "system" fn(*const MSG) -> LRESULT>(
                    dispatch_message,
                ),
                get_message: mem::transmute::<
                    Address,
                    unsafe extern "system" fn(*mut MSG, HWND, u32, u32) -> BOOL,
                >(get_message),
            }
        })
    }
}

/// A function as GetProcAddress hands it out.
type Address = unsafe extern "system" fn() -> isize;

/// One message: which socket, and what happened to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// The name that the socket was registered under.
    pub token: usize,
    /// What happened. The model tries the call itself, because a message may be outdated.
    pub events: NetworkEvents,
}

/// The queue of the thread that opened it. Only that thread can take from it.
#[derive(Debug)]
pub struct MessageQueue {
    user32: User32,
    window: HWND,
    registered: HashMap<SOCKET, usize>,
    counter: SyscallCounter,
}

impl MessageQueue {
    /// The queue of this thread, with an invisible window.
    ///
    /// # Errors
    /// The system refuses the window.
    pub fn open(counter: &SyscallCounter) -> io::Result<Self> {
        let user32 = User32::get()?;
        counter.call();
        // SAFETY: the class is one of the system's own and both texts are constants; all else is absent. "To
        // create a message-only window, specify the HWND_MESSAGE constant in the hWndParent parameter."
        let window = unsafe {
            (user32.create_window)(
                0,
                w!("STATIC"),
                w!("naksi"),
                0,
                0,
                0,
                0,
                0,
                HWND_MESSAGE,
                ptr::null_mut(),
                ptr::null_mut(),
                ptr::null(),
            )
        };
        if window.is_null() {
            return Err(io::Error::last_os_error());
        }
        Ok(Self { user32, window, registered: HashMap::new(), counter: counter.clone() })
    }

    /// Requests messages about a socket, which becomes non-blocking (WSAAsyncSelect).
    ///
    /// # Errors
    /// The system refuses the socket.
    pub fn async_select(
        &mut self,
        socket: &impl AsSocket,
        token: usize,
        interest: NetworkEvents,
    ) -> io::Result<()> {
        let raw = raw_socket(socket);
        self.registered.insert(raw, token);
        self.counter.call();
        // SAFETY: the window is this thread's own and open, and the call touches no memory of ours.
        let result = unsafe { WSAAsyncSelect(raw, self.window, WM_SOCKET, network_bits(interest)) };
        if result == 0 { Ok(()) } else { Err(last_error()) }
    }

    /// Stops messages about a socket; call it before the socket is closed.
    pub fn cancel(&mut self, socket: &impl AsSocket) {
        let raw = raw_socket(socket);
        self.registered.remove(&raw);
        self.counter.call();
        // SAFETY: as above. Messages posted before still come, and find no session.
        unsafe { WSAAsyncSelect(raw, self.window, 0, 0) };
    }

    /// Waits for the next message (GetMessage).
    ///
    /// # Errors
    /// The system fails.
    pub fn take(&mut self) -> io::Result<Message> {
        loop {
            // SAFETY: a MSG is plain numbers and pointers, for which zero is a value.
            let mut message: MSG = unsafe { mem::zeroed() };
            self.counter.call();
            // SAFETY: GetMessageW writes one MSG, which lives until it returns; the window is this thread's own.
            let got = unsafe { (self.user32.get_message)(&raw mut message, self.window, 0, 0) };
            self.counter.wakeup();
            if got < 0 {
                return Err(io::Error::last_os_error());
            }
            if message.message != WM_SOCKET {
                // SAFETY: the message is the one that GetMessageW has just written.
                unsafe { (self.user32.dispatch_message)(&raw const message) };
                continue;
            }
            // The first parameter is the socket, the low half of the second one the event.
            if let Some(token) = self.registered.get(&message.wParam) {
                return Ok(Message { token: *token, events: network_events(message.lParam as u32 & 0xffff) });
            }
        }
    }
}

impl Drop for MessageQueue {
    fn drop(&mut self) {
        // SAFETY: the window is this thread's own, because the queue cannot leave its thread.
        unsafe { (self.user32.destroy_window)(self.window) };
    }
}

fn network_events(event: u32) -> NetworkEvents {
    NetworkEvents {
        accept: event == FD_ACCEPT,
        read: event == FD_READ,
        write: event == FD_WRITE,
        close: event == FD_CLOSE,
    }
}
