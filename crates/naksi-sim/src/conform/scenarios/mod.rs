//! The scenarios, a page for each verb. Nothing here knows a backend.

mod accept;
mod connect;
mod datagram;
mod file;
mod handover;
mod post;
mod recv;
mod recv_pool;
mod send;
mod shutdown;
mod timer;

use super::Scenario;

/// Every page.
pub(super) const ALL: &[&[Scenario]] = &[
    accept::ALL,
    connect::ALL,
    recv::ALL,
    recv_pool::ALL,
    send::ALL,
    shutdown::ALL,
    file::ALL,
    datagram::ALL,
    timer::ALL,
    post::ALL,
    handover::ALL,
];
