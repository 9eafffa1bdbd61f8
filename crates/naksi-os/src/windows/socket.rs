//! Sockets of Windows: what is known of them before a port opens one. Knows no operation.

/// A connected socket on its way from one port to another. There is none before there is a port.
#[derive(Debug)]
pub enum Socket {}

/// Bytes of the largest address (`SOCKADDR_STORAGE`).
const ADDRESS_BYTES: usize = 128;

/// Room for one address in the buffer of an `AcceptEx`. Its manual: "This value must be at least 16 bytes
/// more than the maximum address length for the transport protocol in use."
pub const ACCEPT_ADDRESS_BYTES: usize = ADDRESS_BYTES + 16;
