//! A deserializer of one variant: it tells serde which one, and lets serde_json read the data.

use std::collections::BTreeMap;

use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error as _, IgnoredAny, IntoDeserializer,
    VariantAccess, Visitor,
};
use serde::{Deserialize, forward_to_deserialize_any};
use serde_json::{Error, Result};

use super::NOT_AN_ENUM;

pub(crate) struct Reader<'de> {
    index: usize,
    data: &'de str,
}

impl<'de> Reader<'de> {
    /// The variant at `index`, with this data.
    pub(crate) fn new(index: usize, data: &'de str) -> Self {
        Self { index, data }
    }

    fn read<T>(
        self,
        read: impl FnOnce(&mut serde_json::Deserializer<serde_json::de::StrRead<'de>>) -> Result<T>,
    ) -> Result<T> {
        let mut json = serde_json::Deserializer::from_str(self.data);
        let value = read(&mut json)?;
        json.end()?;
        Ok(value)
    }
}

impl<'de> Deserializer<'de> for Reader<'de> {
    type Error = Error;

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        visitor.visit_enum(self)
    }

    fn deserialize_any<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value> {
        Err(Error::custom(NOT_AN_ENUM))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct newtype_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

impl<'de> EnumAccess<'de> for Reader<'de> {
    type Error = Error;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self)> {
        Ok((seed.deserialize(self.index.into_deserializer())?, self))
    }
}

impl<'de> VariantAccess<'de> for Reader<'de> {
    type Error = Error;

    fn unit_variant(self) -> Result<()> {
        self.read(|json| Option::<BTreeMap<String, IgnoredAny>>::deserialize(json)).map(drop)
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value> {
        self.read(|json| seed.deserialize(json))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _len: usize, _visitor: V) -> Result<V::Value> {
        Err(Error::custom(NOT_AN_ENUM))
    }

    /// A map, not a struct: serde_json reads structs from arrays too.
    fn struct_variant<V: Visitor<'de>>(
        self,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        self.read(|json| json.deserialize_map(visitor))
    }
}
