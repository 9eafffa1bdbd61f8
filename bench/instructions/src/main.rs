//! The workloads whose instructions are counted: `bench-instructions WORKLOAD ITEMS` runs one of them with this many
//! items.
//!
//! `cargo xtask instructions` runs each under callgrind with two numbers of items; the difference is the cost of the
//! items alone. Nothing here depends on time, randomness or a real kernel: the same build gives the same count.

#![forbid(unsafe_code)]

mod core_parts;
mod simulated;

use anyhow::{Context as _, Result, bail};

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [workload, items] = arguments.as_slice() else { bail!("usage: bench-instructions WORKLOAD ITEMS") };
    let items: usize = items.parse().context("ITEMS is a number")?;
    match workload.as_str() {
        "frame_decode" => core_parts::frame_decode(items),
        "send_queue" => core_parts::send_queue(items),
        "session_table" => core_parts::session_table(items),
        "timer_wheel" => core_parts::timer_wheel(items),
        "echo" => simulated::echo(items),
        "broadcast" => simulated::broadcast(items),
        other => bail!("there is no workload `{other}`"),
    }
    Ok(())
}
