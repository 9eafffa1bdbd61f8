//! How a message becomes bytes and bytes become a message: one type for each way. Nothing here knows ids or frames.

use bytes::{BufMut, BytesMut};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A way to write bodies, for the types that it can write.
pub trait Encoding<M> {
    /// Writes a message behind what is there. Returns whether it could be written; if not, any part of it may be there.
    fn write(message: &M, buffer: &mut BytesMut) -> bool;

    /// Reads a message that is all of these bytes. `None`: they are none.
    fn read(body: &[u8]) -> Option<M>;
}

/// Fields in their order, no names: between peers that are built from one table.
///
/// What lies more than 128 levels deep is not read: a type that contains itself would otherwise let a stranger end the
/// process. Nor is a body whose sequences have over 1,024 elements more than it has bytes.
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

/// Protobuf, as a `.proto` file says: for clients in any language.
#[cfg(feature = "prost")]
#[derive(Debug)]
pub enum Prost {}

#[cfg(feature = "prost")]
impl<M: prost::Message + Default> Encoding<M> for Prost {
    fn write(message: &M, buffer: &mut BytesMut) -> bool {
        // Before it is written: what fits no frame may be of any size.
        let fits = message.encoded_len() <= usize::from(u16::MAX);
        fits && message.encode(buffer).is_ok()
    }

    fn read(body: &[u8]) -> Option<M> {
        M::decode(body).ok()
    }
}
