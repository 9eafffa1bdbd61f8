//! Features of this kernel, detected once.
//!
//! A ring is set up with the best flags that the kernel supports and with as many entries as it has memory for;
//! operations are probed, so that none fails as unknown at run time. A kernel that is not sufficient is reported in
//! one line that names the cause. Before the ring is used it is restricted to the operations that a port needs,
//! because no seccomp profile can filter them.

// UNSAFETY: only the test is unsafe: it pushes an operation that no port submits.

use std::fs;
use std::io;

use io_uring::register::Restriction;
use io_uring::squeue::Flags;
use io_uring::{IoUring, Probe, opcode};

use crate::port::{PortError, PortOptions};

/// Fewer entries than these are not tried.
const SUBMISSION_ENTRIES_MIN: u32 = 8;
const COMPLETION_ENTRIES_MIN: u32 = 16;

/// Operations that a port needs; the kernel refuses all others once the ring is enabled.
const ALLOWED: &[u8] = &[
    opcode::Accept::CODE,
    opcode::Connect::CODE,
    opcode::Recv::CODE,
    opcode::Send::CODE,
    opcode::SendMsg::CODE,
    opcode::RecvMsg::CODE,
    opcode::Shutdown::CODE,
    opcode::Close::CODE,
    opcode::Read::CODE,
    opcode::Write::CODE,
    opcode::Fsync::CODE,
    opcode::Timeout::CODE,
    opcode::PollAdd::CODE,
    opcode::AsyncCancel::CODE,
];
/// `IORING_UNREGISTER_PBUF_RING` of `io_uring_register(2)`: the only registration after the start …
const UNREGISTER_BUFFER_RING: u8 = 23;
/// … and `IORING_UNREGISTER_FILES`, where the ring has a table of descriptors.
const UNREGISTER_FILES: u8 = 3;

/// Optional operations; one that the kernel lacks is refused as unsupported.
#[derive(Clone, Copy, Debug)]
pub(super) struct Features {
    /// Read, write and sync files.
    pub(super) files: bool,
    /// Receive and send datagrams.
    pub(super) datagrams: bool,
    /// Timeouts as operations.
    pub(super) timeouts: bool,
}

/// Sets of ring features to request; each is for kernels that refuse the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Style {
    /// Completions run only when the owner waits (Linux 6.1).
    Deferred,
    /// Completions do not interrupt the owner (Linux 5.19).
    Cooperative,
    /// Nothing but sizes.
    Plain,
}

/// Sets a ring up and finds out what it can do.
pub(super) fn open(options: &PortOptions) -> Result<(IoUring, Features), PortError> {
    let ring = set_up(options)?;
    let mut probe = Probe::new();
    ring.submitter()
        .register_probe(&mut probe)
        .map_err(|error| refusal("io_uring cannot be asked what it supports (needs Linux 5.6)", &error))?;
    let features = features(|code| probe.is_supported(code))?;
    if !ring.params().is_feature_nodrop() || !ring.params().is_feature_ext_arg() {
        let text = format!("io_uring of kernel {} is too old: Naksi needs Linux 6.0", kernel_release());
        return Err(PortError { text, code: libc::ENOSYS });
    }
    if let Some(entries) = options.direct_descriptors {
        ring.submitter().register_files_sparse(entries).map_err(|error| no_table(entries, &error))?;
    }
    restrict(&ring, options.direct_descriptors.is_some());
    Ok((ring, features))
}

/// Enables the ring; everything about it had to be registered before.
pub(super) fn enable(ring: &IoUring) -> Result<(), PortError> {
    ring.submitter().register_enable_rings().map_err(|error| refusal("io_uring cannot be enabled", &error))
}

/// Restricts the ring to what a port needs. A kernel that does not support that is used without.
fn restrict(ring: &IoUring, direct: bool) {
    let mut restrictions: Vec<Restriction> = ALLOWED.iter().map(|code| Restriction::sqe_op(*code)).collect();
    restrictions.push(Restriction::register_op(UNREGISTER_BUFFER_RING));
    let mut flags = Flags::BUFFER_SELECT;
    if direct {
        flags |= Flags::FIXED_FILE;
        restrictions.push(Restriction::register_op(UNREGISTER_FILES));
    }
    restrictions.push(Restriction::sqe_flags_allowed(flags.bits()));
    if let Err(error) = ring.submitter().register_restrictions(&mut restrictions) {
        tracing::warn!(%error, "the ring is not restricted to the operations that Naksi uses");
    }
}

/// The error for a table of direct descriptors that the kernel refuses.
fn no_table(entries: u32, error: &io::Error) -> PortError {
    match error.raw_os_error() {
        // Not EMFILE, which says that the process has no descriptor left.
        Some(libc::EMFILE) => PortError {
            text: format!(
                "a table of {entries} direct descriptors is larger than the descriptor limit of the process allows: \
                 use more workers with smaller tables"
            ),
            code: libc::EINVAL,
        },
        _ => refusal(&format!("no table of {entries} direct descriptors"), error),
    }
}

/// The error for a kernel without rings of provided buffers.
pub(super) fn no_buffer_ring(error: &io::Error) -> PortError {
    if error.raw_os_error() == Some(libc::ENOMEM) {
        return refusal("no memory for the receive pool: use fewer or smaller buffers", error);
    }
    let cause = format!(
        "kernel {} refuses a ring of provided buffers (needs Linux 5.19, and a power of two up to 32768)",
        kernel_release()
    );
    refusal(&cause, error)
}

/// A port error from a cause and the system's error.
pub(crate) fn refusal(cause: &str, error: &io::Error) -> PortError {
    PortError { text: format!("{cause}: {error}"), code: error.raw_os_error().unwrap_or(0) }
}

fn set_up(options: &PortOptions) -> Result<IoUring, PortError> {
    let mut submission = options.submission_entries.max(1);
    let mut completion = options.completion_entries.max(submission * 2);
    let mut style = Style::Deferred;
    loop {
        let error = match build(style, submission, completion) {
            Ok(ring) => {
                if style != Style::Deferred {
                    tracing::warn!(?style, kernel = %kernel_release(), "the kernel refused a better ring");
                }
                return Ok(ring);
            }
            Err(error) => error,
        };
        match (error.raw_os_error(), style) {
            (Some(libc::EINVAL), Style::Deferred) => style = Style::Cooperative,
            (Some(libc::EINVAL), Style::Cooperative) => style = Style::Plain,
            (Some(libc::ENOMEM), _)
                if submission > SUBMISSION_ENTRIES_MIN || completion > COMPLETION_ENTRIES_MIN =>
            {
                submission = (submission / 2).max(SUBMISSION_ENTRIES_MIN);
                completion = (completion / 2).max(COMPLETION_ENTRIES_MIN).max(submission * 2);
                tracing::warn!(submission, completion, "no memory for the ring: trying a smaller one");
            }
            _ => return Err(explain(&error, io_uring_disabled().as_deref())),
        }
    }
}

fn build(style: Style, submission: u32, completion: u32) -> io::Result<IoUring> {
    let mut builder = IoUring::builder();
    builder.setup_clamp().setup_cqsize(completion).setup_r_disabled();
    match style {
        Style::Deferred => {
            builder.setup_single_issuer().setup_defer_taskrun().setup_taskrun_flag().setup_submit_all();
        }
        Style::Cooperative => {
            builder.setup_coop_taskrun().setup_taskrun_flag().setup_submit_all();
        }
        Style::Plain => {}
    }
    builder.build(submission)
}

/// One line that names the cause. `disabled` is the value of `kernel.io_uring_disabled`, if it can be read.
fn explain(error: &io::Error, disabled: Option<&str>) -> PortError {
    let code = error.raw_os_error().unwrap_or(0);
    let text = match (code, disabled) {
        (libc::EPERM, Some(value)) if value != "0" => {
            format!("io_uring is refused: kernel.io_uring_disabled={value} (0 would allow it)")
        }
        (libc::EPERM, Some(value)) => format!(
            "io_uring is refused by a seccomp profile or by the container's policy (kernel.io_uring_disabled={value})"
        ),
        (libc::EPERM, None) => {
            "io_uring is refused, by kernel.io_uring_disabled or by a seccomp profile (EPERM)".to_owned()
        }
        (libc::ENOSYS, _) => {
            format!("kernel {} has no io_uring, or a seccomp profile hides it (ENOSYS)", kernel_release())
        }
        (libc::ENOMEM, _) => format!(
            "no memory for a ring of {SUBMISSION_ENTRIES_MIN} entries: memory is short, or the limit of locked \
             memory (ulimit -l) is"
        ),
        (libc::EMFILE | libc::ENFILE, _) => "no descriptor left for a ring (ulimit -n)".to_owned(),
        _ => format!("io_uring cannot be set up: {error}"),
    };
    PortError { text, code }
}

fn features(supported: impl Fn(u8) -> bool) -> Result<Features, PortError> {
    let needed = [
        ("accept", opcode::Accept::CODE),
        ("connect", opcode::Connect::CODE),
        ("recv", opcode::Recv::CODE),
        ("send", opcode::Send::CODE),
        ("sendmsg", opcode::SendMsg::CODE),
        ("shutdown", opcode::Shutdown::CODE),
        ("close", opcode::Close::CODE),
        ("async cancel", opcode::AsyncCancel::CODE),
        ("poll", opcode::PollAdd::CODE),
        // Multishot receive is a flag and cannot be probed; it came in the same release as this operation.
        ("multishot recv", opcode::SendZc::CODE),
    ];
    for (name, code) in needed {
        if !supported(code) {
            let kernel = kernel_release();
            let text = format!("io_uring of kernel {kernel} lacks {name}: Naksi needs Linux 6.0 or newer");
            return Err(PortError { text, code: libc::ENOSYS });
        }
    }
    let all = |codes: &[u8]| codes.iter().all(|code| supported(*code));
    Ok(Features {
        files: all(&[opcode::Read::CODE, opcode::Write::CODE, opcode::Fsync::CODE]),
        datagrams: all(&[opcode::RecvMsg::CODE, opcode::SendMsg::CODE]),
        timeouts: supported(opcode::Timeout::CODE),
    })
}

pub(crate) fn io_uring_disabled() -> Option<String> {
    let text = fs::read_to_string("/proc/sys/kernel/io_uring_disabled").ok()?;
    Some(text.trim().to_owned())
}

fn kernel_release() -> String {
    fs::read_to_string("/proc/sys/kernel/osrelease")
        .map_or("of unknown age".to_owned(), |text| text.trim().to_owned())
}

#[cfg(test)]
#[expect(unsafe_code, reason = "a forbidden operation is pushed by hand")]
mod tests {
    use super::*;

    fn explained(errno: i32, disabled: Option<&str>) -> String {
        explain(&io::Error::from_raw_os_error(errno), disabled).text
    }

    #[test]
    fn a_refused_ring_is_explained_in_one_line_that_names_the_cause() {
        assert!(explained(libc::EPERM, Some("2")).contains("kernel.io_uring_disabled=2"));
        assert!(explained(libc::EPERM, Some("0")).contains("seccomp"));
        assert!(explained(libc::ENOSYS, None).contains("has no io_uring, or a seccomp profile hides it"));
        assert!(explained(libc::ENOMEM, None).contains("locked memory"));
        for errno in 1..=133 {
            assert!(!explained(errno, None).contains('\n'));
        }
    }

    #[test]
    fn a_ring_refuses_what_no_port_asks_for() {
        let options = PortOptions { submission_entries: 8, completion_entries: 16, ..PortOptions::default() };
        let (mut ring, _) = open(&options).expect("a ring");
        enable(&ring).expect("the ring starts");
        let path = c"/dev/null";
        let forbidden = opcode::OpenAt::new(io_uring::types::Fd(libc::AT_FDCWD), path.as_ptr()).build();
        // SAFETY: law 2: the path is a constant of the program and outlives every operation.
        unsafe { ring.submission().push(&forbidden) }.expect("the queue is empty");
        ring.submit_and_wait(1).expect("the kernel answers");
        let answer = ring.completion().next().expect("one operation, one completion");
        assert_eq!(answer.result(), -libc::EACCES, "only a restriction refuses with EACCES as root");
    }

    #[test]
    fn a_ring_takes_numbers_of_its_own_table_only_if_it_was_asked_for_one() {
        for (direct, expected) in [(None, -libc::EACCES), (Some(4), -libc::EBADF)] {
            let sizes =
                PortOptions { submission_entries: 8, completion_entries: 16, ..PortOptions::default() };
            let options = PortOptions { direct_descriptors: direct, ..sizes };
            let (mut ring, _) = open(&options).expect("a ring");
            enable(&ring).expect("the ring starts");
            let shutdown = opcode::Shutdown::new(io_uring::types::Fixed(0), libc::SHUT_WR).build();
            // SAFETY: law 2: a shutdown points to nothing.
            unsafe { ring.submission().push(&shutdown) }.expect("the queue is empty");
            ring.submit_and_wait(1).expect("the kernel answers");
            let answer = ring.completion().next().expect("one operation, one completion");
            assert_eq!(answer.result(), expected, "{direct:?}");
        }
    }

    #[test]
    fn a_table_that_is_too_large_is_explained() {
        let options = PortOptions { direct_descriptors: Some(1 << 30), ..PortOptions::default() };
        let error = open(&options).map(drop).expect_err("no process may have so many");
        assert!(error.text.contains("use more workers with smaller tables"), "{error}");
    }

    #[test]
    fn an_operation_that_is_missing_is_a_clear_line_or_a_feature_that_is_off() {
        let old = features(|code| code != opcode::SendZc::CODE).expect_err("5.19 has no multishot receive");
        assert!(old.text.contains("lacks multishot recv: Naksi needs Linux 6.0"), "{old}");
        let partial = features(|code| code != opcode::Fsync::CODE).expect("files are not needed");
        assert!(!partial.files && partial.datagrams && partial.timeouts);
    }
}
