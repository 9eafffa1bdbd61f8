//! A table with something of everything, for the tests of every language.

use naksi::prelude::*;

#[rustfmt::skip]
#[path = "kinds.rs"]
pub(crate) mod kinds;

use kinds::{Buffer, C2sLogin, Holds, Numbers, Order, Ping, Say, Tree};

packets! {
    /// Something of everything, for clients in any language.
    pub(crate) KINDS: prost("kinds.proto") {
        /// A player says something.
        1 => Say
        10 => Numbers
        11 => Holds
        300 => Ping
        301 => Order
        302 => Tree
        303 => Buffer
        304 => C2sLogin
    }
}
