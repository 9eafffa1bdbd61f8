//! Encodings of messages: one type for each.

use bytes::{BufMut, BytesMut};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// An encoding of bodies, for the message types that it supports.
pub trait Encoding<M> {
    /// Appends a message to the buffer. Returns whether it could be written; if not, the buffer may end in a part of
    /// it.
    fn write(message: &M, buffer: &mut BytesMut) -> bool;

    /// Reads a message that is exactly these bytes. `None` if they are not one.
    fn read(body: &[u8]) -> Option<M>;
}

/// Fields in order without names, for peers built from the same table.
///
/// A body with more than 128 levels of nesting is not read, because a recursive type would let a peer overflow the
/// stack. Neither is a body whose sequences have over 1,024 elements more than the body has bytes.
#[derive(Debug)]
pub enum Postcard {}

impl<M: Serialize + DeserializeOwned> Encoding<M> for Postcard {
    fn write(message: &M, buffer: &mut BytesMut) -> bool {
        postcard::serialize_with_flavor::<M, _, ()>(message, Tail(buffer)).is_ok()
    }

    fn read(body: &[u8]) -> Option<M> {
        super::bounded::read(body)
    }
}

/// The writer that postcard writes to: it appends to a buffer.
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

/// Protobuf, as declared in a `.proto` file, for clients in any language.
#[cfg(feature = "prost")]
#[derive(Debug)]
pub enum Prost {}

#[cfg(feature = "prost")]
impl<M: prost::Message + Default> Encoding<M> for Prost {
    fn write(message: &M, buffer: &mut BytesMut) -> bool {
        // Checked before it is written: a message that fits no frame may be of any size.
        let fits = message.encoded_len() <= usize::from(u16::MAX);
        fits && message.encode(buffer).is_ok()
    }

    fn read(body: &[u8]) -> Option<M> {
        M::decode(body).ok()
    }
}
