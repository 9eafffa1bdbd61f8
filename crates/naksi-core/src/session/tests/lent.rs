//! Tests: long data that is echoed is sent from its lease, as long as few leases are kept.

use super::*;

/// So many bytes that no two neighbours are alike.
fn long(bytes: usize) -> Vec<u8> {
    (0..=250).cycle().take(bytes).collect()
}

#[test]
fn what_is_echoed_goes_out_from_where_it_came_in_however_the_kernel_cuts_it() {
    let mut hand = Hand::new(Framing::Raw, Limits::default());
    let bytes = long(20_000);
    hand.bytes(&bytes);
    let flying = hand.send.as_ref().and_then(|batch| batch.slices().next()).map(<[u8]>::as_ptr);
    assert_eq!(hand.pool.out(), 1, "it is with the kernel, in its lease");
    hand.sends(7_001);
    let left = hand.send.as_ref().and_then(|batch| batch.slices().next()).map(<[u8]>::as_ptr);
    assert_eq!(left, flying.map(|start| start.wrapping_add(7_001)), "nothing was copied");
    assert_eq!(hand.pool.out(), 1);
    hand.sends(usize::MAX);
    assert_eq!((hand.pool.out(), &hand.sent), (0, &bytes));
}

#[test]
fn who_does_not_read_keeps_few_leases_from_going_home() {
    let mut hand = Hand::new(Framing::Raw, Limits::default());
    let bytes = long(3 * 10_000);
    for part in bytes.chunks(10_000) {
        hand.bytes(part);
    }
    assert_eq!(hand.pool.out(), 1, "one of four; what came later was copied");
    hand.sends(usize::MAX);
    assert_eq!(hand.pool.out(), 0);
    hand.sends(usize::MAX);
    assert_eq!(hand.sent, bytes, "in the order in which it came");
}

#[test]
fn little_is_copied_so_that_its_lease_is_home_at_once() {
    let mut hand = Hand::new(Framing::Packets, Limits::default());
    let frames = [frame_of(1, &long(100)), frame_of(2, &long(9_000)), frame_of(3, &long(50))].concat();
    hand.bytes(&frames[..]);
    assert_eq!(hand.pool.out(), 1, "the long one lies where it came in");
    hand.sends(usize::MAX);
    assert_eq!((hand.pool.out(), &hand.sent), (0, &frames));

    hand.bytes(&frame_of(4, &long(4_091)));
    assert_eq!(hand.pool.out(), 0, "4,095 bytes");
    let mut hand = Hand::new(Framing::Raw, Limits::default());
    hand.bytes(&long(4_096));
    assert_eq!(hand.pool.out(), 1, "4 KiB are worth it");
}

#[test]
fn a_session_that_ends_lets_go_of_the_leases_that_it_keeps() {
    let mut hand = Hand::new(Framing::Raw, Limits::default());
    hand.bytes(&long(10_000));
    hand.recv_ends(Ended::Reset);
    hand.shuts_down();
    let batch = hand.send.take().expect("it is with the kernel");
    assert_eq!(hand.pool.out(), 1, "and stays there until it comes back");
    hand.done(Done::Send(batch, Err(Ended::Reset)), false);
    assert_eq!((hand.closes(), hand.pool.out()), (DisconnectReason::PeerReset, 0));
}

#[test]
fn short_frames_of_a_long_lease_are_copied_together_and_the_lease_is_home_at_once() {
    let mut hand = Hand::new(Framing::Packets, Limits::default());
    let frames = frame_of(1, &long(96)).repeat(60);
    hand.bytes(&frames);
    assert_eq!(hand.pool.out(), 0);
    hand.sends(usize::MAX);
    while hand.send.is_some() {
        hand.sends(usize::MAX);
    }
    assert_eq!(hand.sent, frames);
}
