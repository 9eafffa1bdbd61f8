//! Values and rows, common to all databases.

use crate::error::{Error, Result};

/// A value on its way into a database or out of it.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Nothing.
    Null,
    /// A whole number; truth is 1, and 0 is not.
    Integer(i64),
    /// A number with a fraction.
    Real(f64),
    /// Text.
    Text(String),
    /// Bytes.
    Blob(Vec<u8>),
}

macro_rules! values {
    ($($kind:ty => $make:expr,)*) => {
        $(impl From<$kind> for Value {
            fn from(value: $kind) -> Self {
                $make(value)
            }
        })*
    };
}

values! {
    i64 => Value::Integer,
    i32 => |number: i32| Value::Integer(number.into()),
    u32 => |number: u32| Value::Integer(number.into()),
    u16 => |number: u16| Value::Integer(number.into()),
    bool => |truth: bool| Value::Integer(truth.into()),
    f64 => Value::Real,
    f32 => |number: f32| Value::Real(number.into()),
    String => Value::Text,
    &str => |text: &str| Value::Text(text.to_owned()),
    Vec<u8> => Value::Blob,
    &[u8] => |bytes: &[u8]| Value::Blob(bytes.to_vec()),
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Value::Null, Into::into)
    }
}

/// What a value can be read as.
pub trait FromValue: Sized {
    /// The value as this type; `None` if it is of another type or out of range.
    fn from_value(value: &Value) -> Option<Self>;
}

macro_rules! readings {
    ($($kind:ty: $pattern:pat => $read:expr,)*) => {
        $(impl FromValue for $kind {
            fn from_value(value: &Value) -> Option<Self> {
                match value {
                    $pattern => $read,
                    _ => None,
                }
            }
        })*
    };
}

readings! {
    i64: Value::Integer(number) => Some(*number),
    i32: Value::Integer(number) => i32::try_from(*number).ok(),
    u32: Value::Integer(number) => u32::try_from(*number).ok(),
    u16: Value::Integer(number) => u16::try_from(*number).ok(),
    bool: Value::Integer(number) => Some(*number != 0),
    f64: Value::Real(number) => Some(*number),
    String: Value::Text(text) => Some(text.clone()),
    Vec<u8>: Value::Blob(bytes) => Some(bytes.clone()),
}

impl<T: FromValue> FromValue for Option<T> {
    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Null => Some(None),
            other => T::from_value(other).map(Some),
        }
    }
}

/// One row of an answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Row(pub(crate) Vec<Value>);

impl Row {
    /// The value in a column, counted from 0.
    ///
    /// # Errors
    /// [`Error::Rejected`] if there is no such column, or its value is of another type.
    pub fn get<T: FromValue>(&self, column: usize) -> Result<T> {
        let value = self.0.get(column).ok_or_else(|| {
            Error::Rejected(format!("there is no column {column}: the row has {}", self.0.len()))
        })?;
        T::from_value(value).ok_or_else(|| {
            Error::Rejected(format!("column {column} is no {}: {value:?}", std::any::type_name::<T>()))
        })
    }

    /// All values, in order.
    pub fn values(&self) -> &[Value] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_read_as_what_it_is_and_as_nothing_else() {
        let row = Row(vec![7_i64.into(), "낚시".into(), Value::Null, (1_i64 << 40).into(), true.into()]);
        assert_eq!((row.get(0), row.get(1)), (Ok(7_i32), Ok("낚시".to_owned())));
        assert_eq!((row.get::<Option<i64>>(2), row.get::<Option<i64>>(0)), (Ok(None), Ok(Some(7))));
        assert_eq!(row.get(4), Ok(true));
        assert!(row.get::<String>(0).is_err() && row.get::<i64>(2).is_err() && row.get::<i64>(9).is_err());
        let line = row.get::<i32>(3).expect_err("too large").to_string();
        assert!(line.contains("column 3") && line.contains("i32"), "{line}");
    }
}
