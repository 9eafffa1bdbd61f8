//! The ladder: the same echo server in the six socket I/O models of the lectures, and below them with one blocking
//! thread for each client.
//!
//! Each model is one file that reads from top to bottom in numbered steps, which are the slide's where the lectures
//! have a slide. No file names a system: the doors in `naksi-os` make the real calls on Windows and the nearest ones
//! on Linux. Nothing here measures; [`Site`] only holds what a server is told and what it counts.

#![forbid(unsafe_code)]

pub mod site;
pub mod thread_record;
pub mod reactor;
pub mod proactor;
pub mod groups;
pub mod thread_per_client;
pub mod select;
pub mod async_select;
pub mod event_select;
pub mod overlapped_event;
pub mod overlapped_routine;
pub mod completion_port;
pub mod practice;
pub mod load;

pub use site::{Guest, Site, Watch};

/// Whether this runs under Wine, where times say nothing about Windows.
pub use naksi_os::completion_port::is_wine;

use std::io;
use std::net::TcpListener;
use std::sync::Arc;

/// How a model asks the kernel.
//= lecture 001: Reactor Pattern (뒤늦게) and Proactor Pattern (미리)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Makes the call, and waits in it.
    Blocking,
    /// Waits until a socket is ready, and then makes the call.
    Reactor,
    /// Makes the call first, and waits until it is done.
    Proactor,
}

/// What limits a model when there are too many clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ceiling {
    /// Every client takes a thread.
    Threads,
    /// A set of sockets has [`Site::sockets_max`] places; a client that comes after that is turned away.
    Sockets,
    /// One wait takes [`Site::events_max`] events; more of them need more threads.
    EventsPerWait,
    /// Every message is taken singly, by one thread.
    OneThread,
    /// Only the thread that asked may run the answer.
    IssuingThread,
    /// At most so many workers run at once; it is chosen, not met.
    Concurrency,
}

/// One rung of the ladder.
#[derive(Clone, Copy, Debug)]
pub struct Model {
    /// The name on the command line and in the tests, which is also the name of the file.
    pub name: &'static str,
    /// The name in the lectures.
    pub title: &'static str,
    /// How it asks the kernel.
    pub family: Family,
    /// How the kernel says it.
    pub notified_by: &'static str,
    /// The same in Korean.
    pub notified_by_korean: &'static str,
    /// What it meets when too many come.
    pub ceiling: Ceiling,
    /// The lecture that it is from.
    pub lecture: &'static str,
    /// The server: it runs until the site is stopped.
    pub serve: Serve,
}

/// A server on this listener, until the site is stopped.
pub type Serve = fn(TcpListener, &Arc<Site>) -> io::Result<()>;

/// The ladder from the bottom. The first one is the server that the lectures begin from, the others are their models
/// 1 to 6.
pub const MODELS: [Model; 7] = [
    Model {
        name: "thread_per_client",
        title: "Thread per client",
        family: Family::Blocking,
        notified_by: "nothing: the call returns when it is done",
        notified_by_korean: "통지 없음. 호출이 끝나야 리턴",
        ceiling: Ceiling::Threads,
        lecture: "002",
        serve: thread_per_client::serve,
    },
    Model {
        name: "select",
        title: "Select",
        family: Family::Reactor,
        notified_by: "a set that select wrote over",
        notified_by_korean: "select가 갱신한 소켓 집합",
        ceiling: Ceiling::Sockets,
        lecture: "001",
        serve: select::serve,
    },
    Model {
        name: "async_select",
        title: "WSAAsyncSelect",
        family: Family::Reactor,
        notified_by: "a message in the thread's queue",
        notified_by_korean: "스레드 큐의 메시지",
        ceiling: Ceiling::OneThread,
        lecture: "001",
        serve: async_select::serve,
    },
    Model {
        name: "event_select",
        title: "WSAEventSelect",
        family: Family::Reactor,
        notified_by: "the event object of the socket",
        notified_by_korean: "소켓마다 둔 이벤트 객체",
        ceiling: Ceiling::EventsPerWait,
        lecture: "001",
        serve: event_select::serve,
    },
    Model {
        name: "overlapped_event",
        title: "Overlapped (I)",
        family: Family::Proactor,
        notified_by: "the event object of the operation",
        notified_by_korean: "입출력 요청마다 둔 이벤트 객체",
        ceiling: Ceiling::EventsPerWait,
        lecture: "003",
        serve: overlapped_event::serve,
    },
    Model {
        name: "overlapped_routine",
        title: "Overlapped (II)",
        family: Family::Proactor,
        notified_by: "a completion routine in the thread that asked",
        notified_by_korean: "요청한 스레드에서 실행되는 완료 루틴",
        ceiling: Ceiling::IssuingThread,
        lecture: "003",
        serve: overlapped_routine::serve,
    },
    Model {
        name: "completion_port",
        title: "Completion Port",
        family: Family::Proactor,
        notified_by: "a packet for whichever worker comes next",
        notified_by_korean: "대기하던 작업자 스레드가 가져가는 완료 패킷",
        ceiling: Ceiling::Concurrency,
        lecture: "003",
        serve: completion_port::serve,
    },
];

/// The model of this name.
pub fn model(name: &str) -> Option<&'static Model> {
    MODELS.iter().find(|model| model.name == name)
}
