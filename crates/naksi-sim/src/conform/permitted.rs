//! What backends may do differently, each with its reason: a list that is kept short.
//!
//! Nothing here is a way to make a red suite green: a difference stands here only if the contract leaves the
//! choice to the kernel and a user of the engine cannot notice it.

/// One difference that is allowed.
#[derive(Clone, Copy, Debug)]
pub struct Permitted {
    /// The backend that differs; `sim` is the simulated kernel in every dialect.
    pub backend: &'static str,
    /// The scenario, as `verb/case`.
    pub scenario: &'static str,
    /// The lines that it leaves instead.
    pub instead: &'static [&'static str],
    /// Why this is no fault.
    pub reason: &'static str,
}

impl Permitted {
    /// Whether this is about the backend of this name.
    pub fn is_about(&self, backend: &str) -> bool {
        backend == self.backend
            || backend.strip_prefix(self.backend).is_some_and(|rest| rest.starts_with('-'))
    }
}

/// Every difference that is allowed.
pub const PERMITTED: &[Permitted] = &[
    Permitted {
        backend: "sim",
        scenario: "recv/peer reset with bytes unread",
        instead: &["recv ended reset"],
        reason: "Linux hands out what had arrived before a reset, Windows throws it away; the simulated kernel \
                 plays the harsher one",
    },
    Permitted {
        backend: "iocp",
        scenario: "recv/peer reset with bytes unread",
        instead: &["recv ended reset"],
        reason: "Windows throws away what had arrived before a reset",
    },
    Permitted {
        backend: "iocp",
        scenario: "recv/peer reset with bytes unread",
        instead: &["recv 5 bytes more", "recv ended closed"],
        reason: "Wine hands out what had arrived and then calls the reset an orderly end, because its server has \
                 taken note of the error by then",
    },
    Permitted {
        backend: "iocp",
        scenario: "recv/port closed",
        instead: &["peer waits", "port dropped", "peer ended reset"],
        reason: "what is left of a connection would keep the next server on Windows from the port, so the end of a port resets \
                 the connections that are still open",
    },
];
