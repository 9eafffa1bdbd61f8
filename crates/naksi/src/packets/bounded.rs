//! Reads a postcard body from an untrusted peer, with bounds on its depth and its length.
//!
//! A recursive type is read by a recursive function, and a body of a few thousand bytes can ask for as many calls:
//! the stack would overflow and end the process. A sequence of zero-sized elements may claim a length of 2^64. Both
//! are errors here.

use std::cell::Cell;
use std::fmt;

use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, EnumAccess, Error, MapAccess, SeqAccess, VariantAccess,
    Visitor,
};

/// Maximum nesting depth of structures, sequences, maps, options and variants.
const LEVELS_MAX: u32 = 128;
/// Maximum number of zero-sized elements in all sequences of a body together.
const EMPTY_ELEMENTS_MAX: usize = 1024;

/// Reads a message that is exactly these bytes. `None` if they are not one, or if it is too deep or too long.
pub(super) fn read<'de, M: Deserialize<'de>>(body: &'de [u8]) -> Option<M> {
    let mut postcard = postcard::Deserializer::from_bytes(body);
    let left = Remaining {
        levels: Cell::new(LEVELS_MAX),
        // Every other element takes at least one byte of its own.
        elements: Cell::new(body.len().saturating_add(EMPTY_ELEMENTS_MAX)),
    };
    let message = M::deserialize(Bounded { inner: &mut postcard, left: &left, counts: false }).ok()?;
    postcard.finalize().ok()?.is_empty().then_some(message)
}

/// What a body may still have.
struct Remaining {
    levels: Cell<u32>,
    elements: Cell<usize>,
}

impl Remaining {
    /// Reads what lies one level deeper.
    fn deeper<T, E: Error>(&self, read: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        let levels = self.levels.get();
        self.levels.set(levels.checked_sub(1).ok_or_else(|| E::custom("too deep"))?);
        let outcome = read();
        self.levels.set(levels);
        outcome
    }

    fn element<E: Error>(&self) -> Result<(), E> {
        let elements = self.elements.get().checked_sub(1).ok_or_else(|| E::custom("too long"))?;
        self.elements.set(elements);
        Ok(())
    }
}

/// A deserializer or a value, within the remaining budget.
struct Bounded<'a, T> {
    inner: T,
    left: &'a Remaining,
    /// Whether it is a sequence or a map, whose length comes from the body; the number of fields comes from the type.
    counts: bool,
}

impl<'a, T> Bounded<'a, T> {
    fn with<U>(&self, inner: U) -> Bounded<'a, U> {
        Bounded { inner, left: self.left, counts: false }
    }

    fn element<E: Error>(&self) -> Result<(), E> {
        if self.counts { self.left.element() } else { Ok(()) }
    }
}

/// Values without children are read as usual.
macro_rules! leaves {
    ($($method:ident)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
            self.inner.$method(visitor)
        })*
    };
}

/// Values with children are one level deeper.
macro_rules! levels {
    ($counts:literal: $($method:ident($($name:ident: $type:ty),*))*) => {
        $(fn $method<V: Visitor<'de>>(self, $($name: $type,)* visitor: V) -> Result<V::Value, D::Error> {
            let visitor = Bounded { inner: visitor, left: self.left, counts: $counts };
            self.left.deeper(|| self.inner.$method($($name,)* visitor))
        })*
    };
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Bounded<'_, D> {
    type Error = D::Error;

    leaves! {
        deserialize_any deserialize_ignored_any deserialize_identifier deserialize_bool
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128
        deserialize_f32 deserialize_f64 deserialize_char deserialize_str deserialize_string
        deserialize_bytes deserialize_byte_buf deserialize_unit
    }

    levels! {
        true:
        deserialize_seq()
        deserialize_map()
    }

    levels! {
        false:
        deserialize_option()
        deserialize_newtype_struct(name: &'static str)
        deserialize_tuple(length: usize)
        deserialize_tuple_struct(name: &'static str, length: usize)
        deserialize_struct(name: &'static str, fields: &'static [&'static str])
        deserialize_enum(name: &'static str, variants: &'static [&'static str])
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.inner.deserialize_unit_struct(name, visitor)
    }

    fn is_human_readable(&self) -> bool {
        false
    }
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Bounded<'_, V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.expecting(f)
    }

    fn visit_none<E: Error>(self) -> Result<V::Value, E> {
        self.inner.visit_none()
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<V::Value, D::Error> {
        let deserializer = self.with(deserializer);
        self.inner.visit_some(deserializer)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<V::Value, D::Error> {
        let deserializer = self.with(deserializer);
        self.inner.visit_newtype_struct(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, access: A) -> Result<V::Value, A::Error> {
        let access = Bounded { inner: access, left: self.left, counts: self.counts };
        self.inner.visit_seq(access)
    }

    fn visit_map<A: MapAccess<'de>>(self, access: A) -> Result<V::Value, A::Error> {
        let access = Bounded { inner: access, left: self.left, counts: self.counts };
        self.inner.visit_map(access)
    }

    fn visit_enum<A: EnumAccess<'de>>(self, access: A) -> Result<V::Value, A::Error> {
        let access = self.with(access);
        self.inner.visit_enum(access)
    }
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Bounded<'_, S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<S::Value, D::Error> {
        let deserializer = self.with(deserializer);
        self.inner.deserialize(deserializer)
    }
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Bounded<'_, A> {
    type Error = A::Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, A::Error> {
        let seed = self.with(seed);
        let element = self.inner.next_element_seed(seed)?;
        if element.is_some() {
            self.element()?;
        }
        Ok(element)
    }

    fn size_hint(&self) -> Option<usize> {
        self.inner.size_hint()
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Bounded<'_, A> {
    type Error = A::Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, A::Error> {
        let seed = self.with(seed);
        let key = self.inner.next_key_seed(seed)?;
        if key.is_some() {
            self.element()?;
        }
        Ok(key)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        let seed = self.with(seed);
        self.inner.next_value_seed(seed)
    }

    fn size_hint(&self) -> Option<usize> {
        self.inner.size_hint()
    }
}

impl<'a, 'de, A: EnumAccess<'de>> EnumAccess<'de> for Bounded<'a, A> {
    type Error = A::Error;
    type Variant = Bounded<'a, A::Variant>;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self::Variant), A::Error> {
        let (which, variant) = self.inner.variant_seed(seed)?;
        Ok((which, Bounded { inner: variant, left: self.left, counts: false }))
    }
}

impl<'de, A: VariantAccess<'de>> VariantAccess<'de> for Bounded<'_, A> {
    type Error = A::Error;

    fn unit_variant(self) -> Result<(), A::Error> {
        self.inner.unit_variant()
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, A::Error> {
        let seed = self.with(seed);
        self.inner.newtype_variant_seed(seed)
    }

    fn tuple_variant<V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value, A::Error> {
        let visitor = self.with(visitor);
        self.inner.tuple_variant(length, visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, A::Error> {
        let visitor = self.with(visitor);
        self.inner.struct_variant(fields, visitor)
    }
}
