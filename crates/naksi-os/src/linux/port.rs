//! The io_uring port.
/// The port.
#[derive(Debug)]
pub struct Port;
