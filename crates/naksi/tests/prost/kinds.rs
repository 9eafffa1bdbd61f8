//! Written by `naksi gen` from kinds.proto; not to be edited.
//!
//! Put `mod` before it as any other module; `packets!` gives its types their ids. Nothing here knows them.

#![allow(missing_docs, unreachable_pub, reason = "written by a program")]

/// A place in the world.
#[derive(Clone, Copy, PartialEq, Eq, Hash, ::naksi::prost::Message)]
#[prost(prost_path = "::naksi::prost")]
pub struct Place {
    #[prost(sint32, tag = "1")]
    pub x: i32,
    #[prost(sint32, tag = "2")]
    pub y: i32,
}
/// A player says something.
#[derive(Clone, PartialEq, Eq, Hash, ::naksi::prost::Message)]
#[prost(prost_path = "::naksi::prost")]
pub struct Say {
    /// What is said.
    #[prost(string, tag = "1")]
    pub text: ::naksi::prost::alloc::string::String,
    /// To whom; to everybody without it.
    #[prost(uint32, optional, tag = "2")]
    pub to: ::core::option::Option<u32>,
}
/// Every number that there is.
#[derive(Clone, Copy, PartialEq, ::naksi::prost::Message)]
#[prost(prost_path = "::naksi::prost")]
pub struct Numbers {
    #[prost(double, tag = "1")]
    pub double_one: f64,
    #[prost(float, tag = "2")]
    pub float_one: f32,
    #[prost(int32, tag = "3")]
    pub int32_one: i32,
    #[prost(int64, tag = "4")]
    pub int64_one: i64,
    #[prost(uint32, tag = "5")]
    pub uint32_one: u32,
    #[prost(uint64, tag = "6")]
    pub uint64_one: u64,
    #[prost(sint32, tag = "7")]
    pub sint32_one: i32,
    #[prost(sint64, tag = "8")]
    pub sint64_one: i64,
    #[prost(fixed32, tag = "9")]
    pub fixed32_one: u32,
    #[prost(fixed64, tag = "10")]
    pub fixed64_one: u64,
    #[prost(sfixed32, tag = "11")]
    pub sfixed32_one: i32,
    #[prost(sfixed64, tag = "12")]
    pub sfixed64_one: i64,
    #[prost(bool, tag = "13")]
    pub bool_one: bool,
}
/// What holds more than one, or another message, or nothing at all.
#[derive(Clone, PartialEq, ::naksi::prost::Message)]
#[prost(prost_path = "::naksi::prost")]
pub struct Holds {
    #[prost(bytes = "vec", tag = "1")]
    pub blob: ::naksi::prost::alloc::vec::Vec<u8>,
    #[prost(enumeration = "Mood", tag = "2")]
    pub mood: i32,
    #[prost(message, optional, tag = "3")]
    pub place: ::core::option::Option<Place>,
    #[prost(message, repeated, tag = "4")]
    pub path: ::naksi::prost::alloc::vec::Vec<Place>,
    #[prost(string, repeated, tag = "5")]
    pub names: ::naksi::prost::alloc::vec::Vec<::naksi::prost::alloc::string::String>,
    #[prost(sint64, repeated, tag = "6")]
    pub deltas: ::naksi::prost::alloc::vec::Vec<i64>,
    #[prost(double, repeated, tag = "7")]
    pub weights: ::naksi::prost::alloc::vec::Vec<f64>,
    #[prost(enumeration = "Mood", repeated, tag = "8")]
    pub moods: ::naksi::prost::alloc::vec::Vec<i32>,
    #[prost(uint32, repeated, packed = "false", tag = "9")]
    pub loose: ::naksi::prost::alloc::vec::Vec<u32>,
    #[prost(string, optional, tag = "10")]
    pub note: ::core::option::Option<::naksi::prost::alloc::string::String>,
    #[prost(bool, optional, tag = "11")]
    pub sure: ::core::option::Option<bool>,
    #[prost(enumeration = "Mood", optional, tag = "2000")]
    pub wish: ::core::option::Option<i32>,
}
/// Nothing but itself.
#[derive(Clone, Copy, PartialEq, Eq, Hash, ::naksi::prost::Message)]
#[prost(prost_path = "::naksi::prost")]
pub struct Ping {}
/// One of several things to do.
#[derive(Clone, PartialEq, Eq, Hash, ::naksi::prost::Message)]
#[prost(prost_path = "::naksi::prost")]
pub struct Order {
    #[prost(oneof = "order::What", tags = "1, 2, 3")]
    pub what: ::core::option::Option<order::What>,
}
/// Nested message and enum types in `Order`.
pub mod order {
    #[derive(Clone, PartialEq, Eq, Hash, ::naksi::prost::Oneof)]
    #[prost(prost_path = "::naksi::prost")]
    pub enum What {
        #[prost(message, tag = "1")]
        Go(super::Place),
        #[prost(string, tag = "2")]
        Shout(::naksi::prost::alloc::string::String),
        #[prost(uint32, tag = "3")]
        Wait(u32),
    }
}
/// What holds itself, and what is only its own.
#[derive(Clone, PartialEq, ::naksi::prost::Message)]
#[prost(prost_path = "::naksi::prost")]
pub struct Tree {
    #[prost(message, optional, boxed, tag = "1")]
    pub trunk: ::core::option::Option<::naksi::prost::alloc::boxed::Box<Tree>>,
    #[prost(message, repeated, tag = "2")]
    pub branches: ::naksi::prost::alloc::vec::Vec<Tree>,
    #[prost(message, repeated, tag = "3")]
    pub fruits: ::naksi::prost::alloc::vec::Vec<tree::Fruit>,
    #[prost(enumeration = "tree::Growth", tag = "4")]
    pub growth: i32,
}
/// Nested message and enum types in `Tree`.
pub mod tree {
    /// What hangs in it.
    #[derive(Clone, PartialEq, Eq, Hash, ::naksi::prost::Message)]
    #[prost(prost_path = "::naksi::prost")]
    pub struct Fruit {
        #[prost(string, tag = "1")]
        pub name: ::naksi::prost::alloc::string::String,
        #[prost(enumeration = "Growth", tag = "2")]
        pub growth: i32,
    }
    /// How it grows.
    #[derive(
        Clone,
        Copy,
        Debug,
        PartialEq,
        Eq,
        Hash,
        PartialOrd,
        Ord,
        ::naksi::prost::Enumeration
    )]
    #[prost(prost_path = "::naksi::prost")]
    #[repr(i32)]
    pub enum Growth {
        None = 0,
        Wild = 1,
    }
    impl Growth {
        /// String value of the enum field names used in the ProtoBuf definition.
        ///
        /// The values are not transformed in any way and thus are considered stable
        /// (if the ProtoBuf definition does not change) and safe for programmatic use.
        pub fn as_str_name(&self) -> &'static str {
            match self {
                Self::None => "GROWTH_NONE",
                Self::Wild => "GROWTH_WILD",
            }
        }
        /// Creates an enum from field names used in the ProtoBuf definition.
        pub fn from_str_name(value: &str) -> ::core::option::Option<Self> {
            match value {
                "GROWTH_NONE" => Some(Self::None),
                "GROWTH_WILD" => Some(Self::Wild),
                _ => None,
            }
        }
    }
}
/// Called as something of the system that a client is written for.
#[derive(Clone, PartialEq, Eq, Hash, ::naksi::prost::Message)]
#[prost(prost_path = "::naksi::prost")]
pub struct Buffer {
    #[prost(bytes = "vec", tag = "1")]
    pub bytes: ::naksi::prost::alloc::vec::Vec<u8>,
}
/// Called as no language calls its types.
#[derive(Clone, PartialEq, Eq, Hash, ::naksi::prost::Message)]
#[prost(prost_path = "::naksi::prost")]
pub struct C2sLogin {
    #[prost(string, tag = "1")]
    pub name: ::naksi::prost::alloc::string::String,
    #[prost(message, optional, tag = "2")]
    pub buffer: ::core::option::Option<Buffer>,
    #[prost(string, tag = "3")]
    pub json_is_other: ::naksi::prost::alloc::string::String,
}
/// What a player does.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    ::naksi::prost::Enumeration
)]
#[prost(prost_path = "::naksi::prost")]
#[repr(i32)]
pub enum Mood {
    Calm = 0,
    Merry = 1,
    /// Not to be spoken to.
    Grim = -3,
}
impl Mood {
    /// String value of the enum field names used in the ProtoBuf definition.
    ///
    /// The values are not transformed in any way and thus are considered stable
    /// (if the ProtoBuf definition does not change) and safe for programmatic use.
    pub fn as_str_name(&self) -> &'static str {
        match self {
            Self::Calm => "MOOD_CALM",
            Self::Merry => "MOOD_MERRY",
            Self::Grim => "MOOD_GRIM",
        }
    }
    /// Creates an enum from field names used in the ProtoBuf definition.
    pub fn from_str_name(value: &str) -> ::core::option::Option<Self> {
        match value {
            "MOOD_CALM" => Some(Self::Calm),
            "MOOD_MERRY" => Some(Self::Merry),
            "MOOD_GRIM" => Some(Self::Grim),
            _ => None,
        }
    }
}
