//! The laws of a port, as cases that run unchanged on every backend.
//!
//! A case is generic over `driver::Harness`: where ports come from and how they end. Peers are made with the
//! port itself (its own connect and accept), so that a simulated kernel can run the same cases; those that
//! need a foreign peer or a second thread are in `real`. Nothing here measures time, and every loop has an
//! end.

mod driver;
mod early;
#[cfg(target_os = "linux")]
mod direct;
mod others;
mod real;
#[cfg(target_os = "linux")]
mod readiness;
#[cfg(target_os = "linux")]
mod refused;
#[path = "../../../naksi-os/tests/support/asleep.rs"]
mod asleep;
#[path = "../../../naksi-os/tests/support/scale.rs"]
mod scale;
mod sim;
mod storm;
mod streams;
#[cfg(windows)]
mod winsock;

/// Registers cases of one suite for one backend.
macro_rules! cases {
    ($suite:ident, $harness:ty, $($case:ident),* $(,)?) => {
        $(#[test] fn $case() { crate::$suite::$case::<$harness>(); })*
    };
}

/// Every case that any backend can run, the simulated one included.
macro_rules! contract {
    ($harness:ty) => {
        cases!(
            streams,
            $harness,
            accepts_connects_and_echoes,
            many_sends_keep_their_order,
            a_second_operation_in_a_direction_is_refused,
            a_large_batch_reaches_a_slow_reader_whole,
            an_orderly_end_is_closed_and_the_other_way_stays_open,
            a_send_after_our_own_shutdown_is_aborted,
            a_refused_connection_says_so,
            an_address_in_use_says_so,
            a_cancelled_receive_ends_once_with_or_without_data,
            a_busy_handle_is_not_closed_and_a_stale_one_not_used,
            a_token_in_flight_is_not_used_twice_and_the_wish_comes_back,
        );
        cases!(
            others,
            $harness,
            a_pool_of_one_serves_eight_sockets,
            a_starved_receive_can_be_cancelled_and_shut_down,
            leases_balance,
            posts_arrive_in_order_and_a_dropped_port_takes_none,
            a_timeout_fires_or_is_cancelled,
            a_file_is_written_and_read_at_offsets,
            datagrams_go_both_ways_and_a_long_one_is_cut,
            a_port_dropped_with_operations_in_flight_drains,
            a_small_ring_loses_nothing,
            a_wait_returns_at_most_what_was_asked_for,
        );
        cases!(
            early,
            $harness,
            a_send_that_is_cancelled_half_way_tells_what_was_taken,
            what_came_before_the_receive_is_received_and_then_the_end,
            a_quiet_socket_is_heard_beside_a_busy_one,
            file_work_that_is_cancelled_ends_once_and_brings_its_buffer_home,
        );
    };
}

/// What needs a real kernel besides.
macro_rules! contract_of_real_kernels {
    ($harness:ty) => {
        cases!(
            real,
            $harness,
            a_reset_by_the_peer_is_told_from_an_end,
            a_burst_of_messages_starves_nobody_while_there_are_leases,
            a_reset_right_behind_bytes_is_heard,
            a_reset_right_behind_bytes_is_heard_by_a_port_without_rest,
            a_foreign_peer_is_served,
            a_post_wakes_a_sleeping_wait,
            who_asks_and_never_sleeps_hears_everything,
            a_cancelled_accept_leaks_no_connection,
            ten_thousand_connections_leave_nothing_behind,
            a_wait_without_end_sleeps,
            a_connect_under_way_is_cancelled_and_leaves_no_socket,
        );
        cases!(storm, $harness, a_close_with_everything_in_flight_completes_each_once);
    };
}

/// What needs sockets that are descriptors of the process, of which a process can run out.
#[cfg(target_os = "linux")]
macro_rules! contract_of_process_descriptors {
    ($harness:ty) => {
        cases!(
            real,
            $harness,
            a_socket_moves_to_another_port_in_another_thread,
            no_descriptor_left_is_told_and_accepting_goes_on_after_it,
        );
    };
}

/// A backend by the type of its port and by how one is opened.
macro_rules! harness {
    ($name:ident, $port:ty, $open:expr) => {
        pub(crate) struct $name;

        impl crate::driver::Harness for $name {
            type Port = $port;

            fn open(options: &naksi_os::port::PortOptions) -> $port {
                $open(options)
            }

            fn end(port: $port) -> naksi_os::port::Ledger {
                port.end()
            }
        }

        contract!($name);
    };
}

#[cfg(target_os = "linux")]
mod uring {
    use naksi_os::uring::port::Port;

    harness!(Uring, Port, |options| Port::open(options).expect("io_uring works here"));
    contract_of_real_kernels!(Uring);
    contract_of_process_descriptors!(Uring);
}

/// io_uring once more, with accepted sockets in a table of the ring's own.
#[cfg(target_os = "linux")]
mod uring_direct {
    use naksi_os::uring::port::Port;

    harness!(UringDirect, Port, crate::direct::open);
    contract_of_real_kernels!(UringDirect);
    cases!(
        direct,
        UringDirect,
        a_full_table_is_told_and_accepting_goes_on_after_it,
        a_table_is_filled_to_its_last_slot_and_no_connection_is_lost,
        two_listeners_share_a_table,
        a_socket_in_the_table_does_not_move_and_costs_no_descriptor,
        a_port_dropped_with_a_full_table_closes_it_at_once,
    );
}

#[cfg(windows)]
mod iocp {
    use naksi_os::iocp::port::Port;

    harness!(Iocp, Port, |options| Port::open(options).expect("completion ports work here"));
    contract_of_real_kernels!(Iocp);
    // A process of Windows has room for sixteen million handles: no test waits until they are gone.
    cases!(real, Iocp, a_socket_moves_to_another_port_in_another_thread);
}

#[cfg(target_os = "linux")]
mod epoll {
    use naksi_os::epoll::port::Port;

    harness!(Epoll, Port, |options| Port::open(options).expect("epoll works here"));
    contract_of_real_kernels!(Epoll);
    contract_of_process_descriptors!(Epoll);
}

/// Whatever this system allows: io_uring here, and epoll where `refused` runs these cases once more.
#[cfg(target_os = "linux")]
mod chosen {
    use naksi_os::OsPort;

    harness!(Chosen, OsPort, crate::refused::open);
    contract_of_real_kernels!(Chosen);
    contract_of_process_descriptors!(Chosen);
}

mod simulated {
    use crate::sim::Alone;

    harness!(Simulated, Alone, Alone::open);
}
