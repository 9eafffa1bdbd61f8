//! Packets with types: one table says which id is which type, and the compiler holds both sides to it.
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
//! Bodies are [postcard](https://postcard.jamesmunns.com/wire-format): fields in their order, no names. Peers whose
//! tables have one [`Table::version`] understand each other. Nothing here knows a session or a socket.

use bytes::{BufMut, BytesMut};
use std::fmt;

use naksi_core::frame::{HEADER_BYTES, Packet, header};
use naksi_core::id::SessionId;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A packet's type, as a table of [`packets!`](crate::packets!) says.
pub trait Message: Serialize + DeserializeOwned + 'static {
    /// Its id on the wire.
    const ID: u16;
    /// Its name, for people.
    const NAME: &'static str;
}

/// One line of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    /// The id on the wire.
    pub id: u16,
    /// The type's name.
    pub name: &'static str,
    /// Its fields, in the order in which they are sent: name and type, as they are written in the table.
    pub fields: &'static [(&'static str, &'static str)],
}

/// Which id is which type; made by [`packets!`](crate::packets!).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Table {
    kinds: &'static [Kind],
    version: u64,
}

impl Table {
    /// A table of these lines.
    pub const fn new(kinds: &'static [Kind]) -> Self {
        Self { kinds, version: version(kinds) }
    }

    /// Whether no id stands for two types.
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

    /// Its lines, as they stand in the table.
    pub const fn kinds(&self) -> &'static [Kind] {
        self.kinds
    }

    /// A number that is another one as soon as an id, a name, a field or a field's type is.
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// The type's name behind an id.
    pub fn name_of(&self, id: u16) -> Option<&'static str> {
        self.kinds.iter().find(|kind| kind.id == id).map(|kind| kind.name)
    }

    /// The error for a packet whose id is in no line.
    pub fn unknown(&self, session: SessionId, packet: Packet<'_>) -> UnknownPacket {
        UnknownPacket::new(self.kinds.iter().map(|kind| (kind.id, kind.name)), session, packet)
    }
}

/// FNV-1a over all that the wire depends on; blanks do not count.
const fn version(kinds: &[Kind]) -> u64 {
    let mut hash = 0xCBF2_9CE4_8422_2325;
    let mut line = 0;
    while line < kinds.len() {
        let Kind { id, name, fields } = kinds[line];
        hash = mix(mix(hash, &id.to_le_bytes()), name.as_bytes());
        let mut field = 0;
        while field < fields.len() {
            hash =
                mix(mix(mix(mix(hash, b","), fields[field].0.as_bytes()), b":"), fields[field].1.as_bytes());
            field += 1;
        }
        hash = mix(hash, b";");
        line += 1;
    }
    hash
}

const fn mix(mut hash: u64, bytes: &[u8]) -> u64 {
    let mut index = 0;
    while index < bytes.len() {
        if !bytes[index].is_ascii_whitespace() {
            hash = (hash ^ bytes[index] as u64).wrapping_mul(0x0100_0000_01B3);
        }
        index += 1;
    }
    hash
}

/// A packet came whose id nobody knows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct UnknownPacket {
    /// The id.
    pub id: u16,
    /// Bytes of its frame, the header included.
    pub bytes: usize,
    /// Whose it is.
    pub session: SessionId,
    /// The known ids nearest to it, three at most, nearest first, with their names.
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

/// A body is not what its id says.
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

/// Reads a body. Bytes too many are as wrong as bytes too few.
///
/// # Errors
/// The body is not one of this type.
pub fn decode<M: Message>(body: &[u8]) -> Result<M, Malformed> {
    match postcard::take_from_bytes(body) {
        Ok((message, [])) => Ok(message),
        _ => Err(Malformed { id: M::ID, name: M::NAME, bytes: body.len() }),
    }
}

/// Writes a message as a frame. `None`: it fits no frame, whose body is 65,531 bytes at most.
pub fn encode<M: Message>(message: &M) -> Option<BytesMut> {
    let mut frame = BytesMut::new();
    append(message, &mut frame).then_some(frame)
}

/// Writes a message as a frame behind what is there. Returns whether it fits one; if not, nothing is written.
pub(crate) fn append<M: Message>(message: &M, buffer: &mut BytesMut) -> bool {
    let start = buffer.len();
    buffer.put_bytes(0, HEADER_BYTES);
    let written = postcard::serialize_with_flavor::<M, _, ()>(message, Tail(&mut *buffer));
    let body_bytes = buffer.len() - start - HEADER_BYTES;
    match header(M::ID, body_bytes).filter(|_| written.is_ok()) {
        Some(header) => buffer[start..start + HEADER_BYTES].copy_from_slice(&header),
        None => buffer.truncate(start),
    }
    buffer.len() > start
}

/// Where postcard writes to: the end of a buffer, in pieces as long as they come.
struct Tail<'a>(&'a mut BytesMut);

impl postcard::ser_flavors::Flavor for Tail<'_> {
    type Output = ();

    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.put_u8(byte);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

/// Makes a table of packets, and the types in it: `id => Name { field: Type, … }`, one behind the other.
///
/// Fields may be of any type that [serde](https://serde.rs) can write and read. See [the module](mod@crate::packets).
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
    };
}
