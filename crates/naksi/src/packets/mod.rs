//! Typed packets: one table maps ids to types, and the compiler checks both sides against it.
//!
//! ```
//! naksi::packets! {
//!     /// What is said in the lobby.
//!     pub LOBBY {
//!         /// A member says something.
//!         1 => Say { /** What it says. */ text: String }
//!         /// Everybody hears it.
//!         2 => Said { /** Who said it. */ from: u64, /** What was said. */ text: String }
//!     }
//! }
//! use naksi::packets::{Message, decode, encode};
//! let frame = encode(&Say { text: "hello".into() }).expect("it fits a frame");
//! assert_eq!(frame[..4], [10, 0, 1, 0]); // size and id, as in every frame
//! assert_eq!(decode::<Say>(&frame[4..]), Ok(Say { text: "hello".into() }));
//! assert_eq!((Say::ID, LOBBY.name_of(2)), (1, Some("Said")));
//! ```
//!
//! Two packets with one id do not compile:
//!
//! ```compile_fail
//! naksi::packets! { pub TWICE { 1 => This {} 1 => That {} } }
//! ```
//!
//! nor does an id from 0xFFF0, because these are the engine's own:
//!
//! ```compile_fail
//! naksi::packets! { pub HIGH { 0xFFF0 => This {} } }
//! ```
//!
//! Bodies are [postcard](https://postcard.jamesmunns.com/wire-format): fields in their order, no names. A table for
//! clients in other languages uses Protobuf instead (feature `prost`). Its types come from a `.proto` file, which the
//! table names, so the table's version changes with the file:
//!
//! ```text
//! use wire::{Say, Said}; // written by `naksi gen --lang rust`, or by prost-build
//! naksi::packets! { pub LOBBY: prost("lobby.proto") { 1 => Say 2 => Said } }
//! ```
//!
//! Peers whose tables have the same [`Table::version`] understand each other.

mod bounded;
mod encoding;

use bytes::{BufMut, BytesMut};
use std::fmt;

use naksi_core::frame::{HEADER_BYTES, Packet, header};
use naksi_core::id::SessionId;

#[cfg(feature = "prost")]
pub use encoding::Prost;
pub use encoding::{Encoding, Postcard};
pub use naksi_core::packet_version::Version;

/// A packet type declared in a table of [`packets!`](crate::packets!).
pub trait Message: Sized + 'static {
    /// Its id on the wire.
    const ID: u16;
    /// Its name, for people.
    const NAME: &'static str;
    /// How its body is written.
    type Encoding: Encoding<Self>;
}

/// One line of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    /// The id on the wire.
    pub id: u16,
    /// The type's name.
    pub name: &'static str,
    /// Its fields in the order in which they are sent: name and type, as written in the table. Empty if the type
    /// comes from a `.proto` file.
    pub fields: &'static [(&'static str, &'static str)],
}

/// A map from ids to packet types; made by [`packets!`](crate::packets!).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Table {
    kinds: &'static [Kind],
    version: u64,
}

impl Table {
    /// A table of these lines.
    pub const fn new(kinds: &'static [Kind]) -> Self {
        Self::with_protos(kinds, &[])
    }

    /// A table of these entries, whose types come from the `.proto` files with these texts.
    pub const fn with_protos(kinds: &'static [Kind], protos: &[&str]) -> Self {
        let mut version = Version::NONE;
        let mut line = 0;
        while line < kinds.len() {
            let Kind { id, name, fields } = kinds[line];
            version = version.line(id, name, fields);
            line += 1;
        }
        let mut proto = 0;
        while proto < protos.len() {
            version = version.proto(protos[proto]);
            proto += 1;
        }
        Self { kinds, version: version.number() }
    }

    /// Whether no id is used for two types.
    pub const fn is_unique(&self) -> bool {
        let mut one = 0;
        while one < self.kinds.len() {
            let mut other = one + 1;
            while other < self.kinds.len() {
                if self.kinds[one].id == self.kinds[other].id {
                    return false;
                }
                other += 1;
            }
            one += 1;
        }
        true
    }

    /// Whether an id is one of the engine's own, which begin at 0xFFF0 ([`engine_message`](naksi_core::engine_message)).
    pub const fn has_engine_id(&self) -> bool {
        let mut at = 0;
        while at < self.kinds.len() {
            if self.kinds[at].id >= naksi_core::engine_message::FIRST_ID {
                return true;
            }
            at += 1;
        }
        false
    }

    /// The entries, in the table's order.
    pub const fn kinds(&self) -> &'static [Kind] {
        self.kinds
    }

    /// A hash that changes with every id, name, field and field type, and with the text of a `.proto` file.
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// The type's name behind an id.
    pub fn name_of(&self, id: u16) -> Option<&'static str> {
        self.kinds.iter().find(|kind| kind.id == id).map(|kind| kind.name)
    }

    /// The error for a packet whose id is not in the table.
    pub fn unknown(&self, session: SessionId, packet: Packet<'_>) -> UnknownPacket {
        UnknownPacket::new(self.kinds.iter().map(|kind| (kind.id, kind.name)), session, packet)
    }
}

/// A packet with an unknown id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct UnknownPacket {
    /// The id.
    pub id: u16,
    /// Bytes of its frame, the header included.
    pub bytes: usize,
    /// Whose it is.
    pub session: SessionId,
    /// Up to three known ids nearest to it, nearest first, with their names.
    pub nearest: Vec<(u16, &'static str)>,
}

impl UnknownPacket {
    pub(crate) fn new(
        known: impl Iterator<Item = (u16, &'static str)>,
        session: SessionId,
        packet: Packet<'_>,
    ) -> Self {
        let mut nearest: Vec<_> = known.collect();
        nearest.sort_by_key(|(id, _)| (id.abs_diff(packet.id), *id));
        nearest.truncate(3);
        Self { id: packet.id, bytes: packet.frame.len(), session, nearest }
    }
}

impl fmt::Display for UnknownPacket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, bytes, session, nearest } = self;
        write!(f, "unknown packet id {id} ({bytes} bytes) from session {session}")?;
        for (place, (id, name)) in nearest.iter().enumerate() {
            write!(f, "{}{id} {name}", if place == 0 { "; the nearest known are " } else { ", " })?;
        }
        Ok(())
    }
}

/// The body is not a message of its id's type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{bytes} bytes are no {name} (packet id {id})")]
pub struct Malformed {
    /// The packet's id.
    pub id: u16,
    /// What it should have been.
    pub name: &'static str,
    /// Bytes of the body.
    pub bytes: usize,
}

/// Reads a body. Missing and trailing bytes are errors; fields that a `.proto` file does not declare are skipped.
///
/// # Errors
/// The body is not a message of this type.
pub fn decode<M: Message>(body: &[u8]) -> Result<M, Malformed> {
    M::Encoding::read(body).ok_or(Malformed { id: M::ID, name: M::NAME, bytes: body.len() })
}

/// Writes a message as a frame. `None` if it fits no frame, whose body is at most 65,531 bytes.
pub fn encode<M: Message>(message: &M) -> Option<BytesMut> {
    let mut frame = BytesMut::new();
    append(message, &mut frame).then_some(frame)
}

/// Appends a message to the buffer as a frame. Returns whether it fits one; if not, the buffer is unchanged.
pub(crate) fn append<M: Message>(message: &M, buffer: &mut BytesMut) -> bool {
    let start = buffer.len();
    buffer.put_bytes(0, HEADER_BYTES);
    let written = M::Encoding::write(message, buffer);
    let body_bytes = buffer.len() - start - HEADER_BYTES;
    match header(M::ID, body_bytes).filter(|_| written) {
        Some(header) => buffer[start..start + HEADER_BYTES].copy_from_slice(&header),
        None => buffer.truncate(start),
    }
    buffer.len() > start
}

/// Name { field: Type, … }`, one behind the other. => Declares a table of packets and the types in it: a list of `id
/// => Name { field: Type, … }`. => Name { field: Type, … }`, one behind the other.
///
/// Fields may be of any type that [serde](https://serde.rs) can write and read. With `NAME: prost("file.proto", …)`
/// the Name`, of types in scope that [prost](https://docs.rs/prost) can write and read; the files are looked for
/// beside the source file, as by `include_str!`. => entries are `id => Name`, for types in scope that
/// [prost](https://docs.rs/prost) can write and read; the paths are relative to the source file, as with
/// `include_str!`. => Name`, of types in scope that [prost](https://docs.rs/prost) can write and read; the files are
/// looked for beside the source file, as by `include_str!`. See [the module](mod@crate::packets).
#[macro_export]
macro_rules! packets {
    ($(#[$table_doc:meta])* $vis:vis $table:ident {
        $($(#[$doc:meta])* $id:literal => $name:ident {
            $($(#[$field_doc:meta])* $field:ident : $type:ty),* $(,)?
        })*
    }) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Debug, PartialEq, $crate::serde::Serialize, $crate::serde::Deserialize)]
            #[serde(crate = "naksi::serde")]
            $vis struct $name { $($(#[$field_doc])* $vis $field: $type),* }

            impl $crate::packets::Message for $name {
                const ID: u16 = $id;
                const NAME: &'static str = stringify!($name);
                type Encoding = $crate::packets::Postcard;
            }
        )*

        $(#[$table_doc])*
        $vis const $table: $crate::packets::Table = $crate::packets::Table::new(&[
            $($crate::packets::Kind {
                id: $id,
                name: stringify!($name),
                fields: &[$((stringify!($field), stringify!($type))),*],
            }),*
        ]);

        const _: () = assert!($table.is_unique(), "two packets have one id");
        const _: () = assert!(!$table.has_engine_id(), "ids from 0xFFF0 are the engine's");
    };
    ($(#[$table_doc:meta])* $vis:vis $table:ident : prost($($proto:literal),+ $(,)?) {
        $($(#[$doc:meta])* $id:literal => $name:ident)*
    }) => {
        $(
            impl $crate::packets::Message for $name {
                const ID: u16 = $id;
                const NAME: &'static str = stringify!($name);
                type Encoding = $crate::packets::Prost;
            }
        )*

        $(#[$table_doc])*
        $vis const $table: $crate::packets::Table = $crate::packets::Table::with_protos(
            &[$($crate::packets::Kind { id: $id, name: stringify!($name), fields: &[] }),*],
            &[$(include_str!($proto)),+],
        );

        const _: () = assert!($table.is_unique(), "two packets have one id");
        const _: () = assert!(!$table.has_engine_id(), "ids from 0xFFF0 are the engine's");
    };
}
