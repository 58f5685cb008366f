//! A serializer of one variant: it drops the variant's name and lets serde_json write the data.

use serde::ser::{Error as _, Impossible, SerializeStruct, SerializeStructVariant};
use serde::{Serialize, Serializer};
use serde_json::{Error, Result};

use super::NOT_AN_ENUM;

pub(crate) fn write<T: Serialize>(value: &T) -> Result<String> {
    let mut json = Vec::with_capacity(128);
    value.serialize(Writer(&mut serde_json::Serializer::new(&mut json)))?;
    String::from_utf8(json).map_err(Error::custom)
}

type Json<'a> = &'a mut serde_json::Serializer<&'a mut Vec<u8>>;

struct Writer<'a>(Json<'a>);

/// The methods of a format that serves enums alone.
macro_rules! refuse {
    ($($method:ident($($argument:ty),*) -> $answer:ty;)*) => {
        $(fn $method(self, $(_: $argument),*) -> Result<$answer> {
            Err(Error::custom(NOT_AN_ENUM))
        })*
    };
}

impl<'a> Serializer for Writer<'a> {
    type Ok = ();
    type Error = Error;
    type SerializeSeq = Impossible<(), Error>;
    type SerializeTuple = Impossible<(), Error>;
    type SerializeTupleStruct = Impossible<(), Error>;
    type SerializeTupleVariant = Impossible<(), Error>;
    type SerializeMap = Impossible<(), Error>;
    type SerializeStruct = Impossible<(), Error>;
    type SerializeStructVariant = Fields<'a>;

    fn serialize_unit_variant(self, name: &'static str, _: u32, _: &'static str) -> Result<()> {
        SerializeStruct::end(self.0.serialize_struct(name, 0)?)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        _index: u32,
        _variant: &'static str,
        value: &T,
    ) -> Result<()> {
        value.serialize(self.0)
    }

    fn serialize_struct_variant(
        self,
        name: &'static str,
        _index: u32,
        _variant: &'static str,
        len: usize,
    ) -> Result<Fields<'a>> {
        Ok(Fields(self.0.serialize_struct(name, len)?))
    }

    refuse! {
        serialize_bool(bool) -> ();
        serialize_i8(i8) -> ();
        serialize_i16(i16) -> ();
        serialize_i32(i32) -> ();
        serialize_i64(i64) -> ();
        serialize_u8(u8) -> ();
        serialize_u16(u16) -> ();
        serialize_u32(u32) -> ();
        serialize_u64(u64) -> ();
        serialize_f32(f32) -> ();
        serialize_f64(f64) -> ();
        serialize_char(char) -> ();
        serialize_str(&str) -> ();
        serialize_bytes(&[u8]) -> ();
        serialize_none() -> ();
        serialize_unit() -> ();
        serialize_unit_struct(&'static str) -> ();
        serialize_seq(Option<usize>) -> Self::SerializeSeq;
        serialize_tuple(usize) -> Self::SerializeTuple;
        serialize_tuple_struct(&'static str, usize) -> Self::SerializeTupleStruct;
        serialize_tuple_variant(&'static str, u32, &'static str, usize) -> Impossible<(), Error>;
        serialize_map(Option<usize>) -> Self::SerializeMap;
        serialize_struct(&'static str, usize) -> Self::SerializeStruct;
    }

    fn serialize_some<T: Serialize + ?Sized>(self, _value: &T) -> Result<()> {
        Err(Error::custom(NOT_AN_ENUM))
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        _value: &T,
    ) -> Result<()> {
        Err(Error::custom(NOT_AN_ENUM))
    }
}

/// The named fields of a variant, written as those of a plain struct.
struct Fields<'a>(<Json<'a> as Serializer>::SerializeStruct);

impl SerializeStructVariant for Fields<'_> {
    type Ok = ();
    type Error = Error;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        key: &'static str,
        value: &T,
    ) -> Result<()> {
        SerializeStruct::serialize_field(&mut self.0, key, value)
    }

    fn end(self) -> Result<()> {
        SerializeStruct::end(self.0)
    }
}
