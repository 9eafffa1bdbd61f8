//! What the system tells about processes and itself: CPU time, memory, names. It reads `/proc` and pins this process
//! to processors.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use rustix::thread::CpuSet;

/// The processor of the server, when it has one worker.
pub(crate) const SERVER_CORE: usize = 0;
/// The processor of the load, when the server has one worker.
pub(crate) const LOAD_CORE: usize = 1;
/// A tick of `/proc/stat`, in nanoseconds: Linux reports 100 a second in user space.
const TICK_NANOSECONDS: u64 = 10_000_000;

/// Pins this thread, and what it starts from now on, to these processors.
pub(crate) fn pin(cores: &[usize]) -> Result<()> {
    let mut set = CpuSet::new();
    for core in cores {
        set.set(*core);
    }
    rustix::thread::sched_setaffinity(None, &set)
        .context("this machine has not the processors that are needed")
}

/// CPU time of one process, all its threads together.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Used {
    /// Exact run time, in nanoseconds.
    pub(crate) nanoseconds: u64,
    /// Ticks in user code and in the kernel: coarse, used for their ratio.
    pub(crate) user_ticks: u64,
    pub(crate) system_ticks: u64,
}

/// What a process has used so far; the exact figure excludes threads that have ended.
pub(crate) fn used(pid: u32) -> Result<Used> {
    let mut used = Used::default();
    for task in fs::read_dir(format!("/proc/{pid}/task")).context("the process is gone")? {
        // A thread may end between the listing and the look.
        let Ok(text) = fs::read_to_string(task?.path().join("schedstat")) else { continue };
        used.nanoseconds += number(text.split_whitespace().next())?;
    }
    let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let after_name = text.rsplit_once(')').context("a process has a name")?.1;
    let mut fields = after_name.split_whitespace().skip(11);
    used.user_ticks = number(fields.next())?;
    used.system_ticks = number(fields.next())?;
    Ok(used)
}

/// Nanoseconds during which any processor was busy, or was taken by the hypervisor.
pub(crate) fn busy_nanoseconds() -> Result<u64> {
    let text = fs::read_to_string("/proc/stat")?;
    let line = text.lines().next().context("the system does not say")?;
    let fields = line.split_whitespace().skip(1).map(|field| number(Some(field)));
    let fields = fields.collect::<Result<Vec<u64>>>()?;
    // user, nice, system, (idle, iowait,) irq, softirq, steal; guest time is included in user.
    Ok([0, 1, 2, 5, 6, 7].iter().filter_map(|at| fields.get(*at)).sum::<u64>() * TICK_NANOSECONDS)
}

/// A process's own memory that is resident, in bytes.
pub(crate) fn resident_bytes(pid: u32) -> Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = text.lines().find(|line| line.starts_with("RssAnon:")).context("the system does not say")?;
    Ok(number(line.split_whitespace().nth(1))? * 1024)
}

/// The kernel's table of IPv4's TCP sockets, a line each.
pub(crate) fn sockets() -> Result<String> {
    fs::read_to_string("/proc/net/tcp").context("the system does not tell its sockets")
}

fn number(field: Option<&str>) -> Result<u64> {
    Ok(field.context("the system says less than expected")?.parse()?)
}

/// Where figures come from: without it they mean nothing.
#[derive(Clone, Debug, serde::Serialize)]
pub(crate) struct Machine {
    pub(crate) processor: String,
    pub(crate) processors: usize,
    pub(crate) kernel: String,
    pub(crate) revision: String,
    pub(crate) compiler: String,
    pub(crate) congestion_control: String,
    pub(crate) began: String,
}

impl Machine {
    /// Asks the system and the repository in this folder.
    pub(crate) fn here(repository: &Path) -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
        let information = read("/proc/cpuinfo");
        let model = information.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        let git = |arguments: &[&str]| say("git", arguments, repository);
        let changed =
            if git(&["status", "--porcelain", "--", "crates"]).is_empty() { "" } else { " + changes" };
        Self {
            processor: model.map_or_else(|| "unknown".to_owned(), |(_, name)| name.to_owned()),
            processors: std::thread::available_parallelism().map_or(1, usize::from),
            kernel: read("/proc/sys/kernel/osrelease"),
            revision: git(&["rev-parse", "--short=12", "HEAD"]) + changed,
            compiler: say("rustc", &["--version"], repository),
            congestion_control: read("/proc/sys/net/ipv4/tcp_congestion_control"),
            began: say("date", &["-u", "+%Y-%m-%d %H:%M UTC"], repository),
        }
    }
}

impl Machine {
    /// A name for this run: the day and the revision.
    pub(crate) fn name(&self) -> String {
        let day = self.began.split(' ').next().unwrap_or_default();
        format!("{day}-{}", self.revision.replace(" + ", "-"))
    }
}

/// A program's answer; nothing, if it has none.
fn say(program: &str, arguments: &[&str], folder: &Path) -> String {
    let output = Command::new(program).args(arguments).current_dir(PathBuf::from(folder)).output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
}
