//! The attributes of one CloudEvent, taken into an event one by one; what is left are extensions.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde::de::{MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::event::{JSON, NewEvent, Origin, UNSTATED};
use crate::names::{EventType, GivenId, Key, NameError, SourceName, StreamId, Tag};

use super::super::append_body::{is_media_type, time_ms};
use super::super::error::{Fault, INVALID_BODY, More, Problem};
use super::super::limits::HttpLimits;
use super::super::shape::object;

/// The version of CloudEvents that is spoken.
pub(super) const SPEC_VERSION: &str = "1.0";
/// Characters of the name of an extension. 64: three times what the specification asks for.
const NAME_CHARACTERS: usize = 64;
/// What most events have no more than.
const TYPICAL_ATTRIBUTES: usize = 12;
/// About the log that an event comes from, not about the event.
const OF_THE_LOG: [&str; 3] = ["streamversion", "globalposition", "recordedtime"];

/// The data of an event, as it came.
pub(super) enum Data<'a> {
    /// None.
    Missing,
    /// A JSON value, compact.
    Json(Cow<'a, str>),
    /// Bytes; none of them are no data.
    Bytes(Vec<u8>),
}

/// Attributes as compact JSON, each with its name, and what is wrong with them. They are few: to
/// look through all for one costs less than an order.
pub(super) struct Attributes<'a> {
    values: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    /// Where the event is.
    pointer: &'a str,
    faults: Vec<Fault>,
}

/// A fault of one attribute.
pub(super) fn fault_at(pointer: &str, detail: &str) -> Problem {
    refused(vec![Fault::at(pointer.to_owned(), detail)])
}

fn refused(faults: Vec<Fault>) -> Problem {
    let first = faults.first();
    let place = first.and_then(|fault| fault.pointer.as_deref()).unwrap_or_default();
    let detail = first.map_or("", |fault| &fault.detail);
    let detail = format!("{place}: {detail}");
    Problem::new(&INVALID_BODY, detail).with(More { errors: faults, ..More::default() })
}

/// An object whose names are few and differ.
struct Object<'a>(Vec<(Name<'a>, &'a RawValue)>);

#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Object<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Vec<(Name<'de>, &'de RawValue)>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an event")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = Vec::with_capacity(TYPICAL_ATTRIBUTES);
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(fields)
            }
        }
        deserializer.deserialize_map(Fields).map(Self)
    }
}

impl<'a> Attributes<'a> {
    /// The fields of an event as JSON. An attribute that is null is not there; data may be null.
    pub(super) fn of_json(json: &'a str, pointer: &'a str) -> Result<Self, Problem> {
        let Object(fields) = object(json, pointer)?;
        let fields = fields.into_iter().map(|(Name(name), raw)| (name, Cow::Borrowed(raw.get())));
        let values = fields.filter(|(name, raw)| raw != "null" || name == "data").collect();
        Ok(Self { values, pointer, faults: Vec::new() })
    }

    /// Nothing yet.
    pub(super) fn of_headers() -> Self {
        Self { values: Vec::new(), pointer: "", faults: Vec::new() }
    }

    /// Adds a text.
    pub(super) fn put(&mut self, name: &'a str, text: String) {
        let json = serde_json::Value::from(text).to_string();
        self.values.push((Cow::Borrowed(name), Cow::Owned(json)));
    }

    fn take(&mut self, name: &str) -> Option<Cow<'a, str>> {
        let at = self.values.iter().position(|(given, _)| given == name)?;
        Some(self.values.swap_remove(at).1)
    }

    fn fault(&mut self, name: &str, detail: impl Into<String>) {
        self.faults.push(Fault::at(format!("{}/{name}", self.pointer), detail));
    }

    /// Takes an attribute that is a text.
    pub(super) fn text(&mut self, name: &str) -> Option<Cow<'a, str>> {
        let text = text(self.take(name)?);
        if text.is_none() {
            self.fault(name, "it must be a text");
        }
        text
    }

    fn required(&mut self, name: &str) -> Option<Cow<'a, str>> {
        if !self.values.iter().any(|(given, _)| given == name) {
            self.fault(name, "every CloudEvent has it, and this one does not");
        }
        self.text(name)
    }

    /// A required text that keeps to a rule.
    fn checked(
        &mut self,
        name: &str,
        check: impl Fn(&str) -> Result<(), NameError>,
    ) -> Option<Cow<'static, str>> {
        let text = self.required(name)?;
        let is_right = self.parsed(name, Some(&text), check).is_some();
        is_right.then(|| Cow::Owned(text.into_owned()))
    }

    fn parsed<T>(
        &mut self,
        name: &str,
        text: Option<&str>,
        parse: impl Fn(&str) -> Result<T, NameError>,
    ) -> Option<T> {
        match parse(text?) {
            Ok(value) => Some(value),
            Err(error) => {
                self.fault(name, error.to_string());
                None
            }
        }
    }

    fn key(&mut self, name: &str) -> Option<Cow<'static, str>> {
        let text = self.text(name);
        let key = self.parsed(name, text.as_deref(), Key::parse);
        key.map(|key| Cow::Owned(key.to_string()))
    }

    /// Takes the data of an event as JSON.
    pub(super) fn data(&mut self) -> Data<'a> {
        match (self.take("data"), self.text("data_base64")) {
            (None, None) => Data::Missing,
            (Some(json), None) => Data::Json(json),
            (None, Some(base64)) => match STANDARD.decode(&*base64) {
                Ok(bytes) => Data::Bytes(bytes),
                Err(error) => {
                    self.fault("data_base64", format!("it is not base64: {error}"));
                    Data::Missing
                }
            },
            (Some(_), Some(_)) => {
                self.fault("data_base64", "data and data_base64 exclude each other");
                Data::Missing
            }
        }
    }

    /// The event, and the stream that it goes to.
    pub(super) fn event(
        mut self,
        content_type: Option<Cow<'a, str>>,
        data: Data<'a>,
        of: Option<&StreamId>,
        limits: &HttpLimits,
    ) -> Result<(NewEvent, Option<StreamId>), Problem> {
        if let Some(version) = self.required("specversion")
            && version != SPEC_VERSION
        {
            self.fault("specversion", "it must be 1.0");
        }
        let id = self.checked("id", GivenId::check);
        let source = self.checked("source", SourceName::check);
        let event_type = self.required("type");
        let event_type = self.parsed("type", event_type.as_deref(), EventType::parse);
        let stream = self.stream(of);
        let time_ms = self.time_ms();
        let schema_version = self.schema_version();
        let tags = self.tags(limits);
        let (correlation_id, causation_id) = (self.key("correlationid"), self.key("causationid"));
        let (content_type, data) = self.stored(content_type, data);
        let extensions = self.extensions(limits);
        let (Some(id), Some(source), Some(event_type), true) =
            (id, source, event_type, self.faults.is_empty())
        else {
            return Err(refused(self.faults));
        };
        let origin =
            Origin { source, id, correlation_id, causation_id, extensions: Cow::Owned(extensions) };
        let origin = Some(Box::new(origin));
        let event =
            NewEvent { event_type, schema_version, content_type, data, tags, time_ms, origin };
        Ok((event, stream))
    }

    fn stream(&mut self, of: Option<&StreamId>) -> Option<StreamId> {
        let subject = self.text("subject");
        let named = self.parsed("subject", subject.as_deref(), StreamId::parse);
        if let (Some(named), Some(of)) = (&named, of)
            && named != of
        {
            self.fault("subject", "it is not the stream of this path");
        }
        named.or_else(|| of.cloned())
    }

    fn time_ms(&mut self) -> Option<u64> {
        let text = self.text("time")?;
        let time = time_ms(&text);
        if time.is_none() {
            self.fault("time", "it must be a time since 1970 as RFC 3339");
        }
        time
    }

    /// A whole number from 1, or its digits.
    fn schema_version(&mut self) -> u32 {
        let Some(raw) = self.take("schemaversion") else { return 1 };
        let number = raw.trim_matches('"').parse().ok().filter(|version| *version > 0);
        number.unwrap_or_else(|| {
            self.fault("schemaversion", "it must be a whole number from 1");
            1
        })
    }

    /// A text of tags with commas between them; a comma or a percent sign in a tag is `%2C`, `%25`.
    fn tags(&mut self, limits: &HttpLimits) -> Vec<Tag> {
        let text = self.text("tags").unwrap_or_default();
        let parts: Vec<_> = text.split(',').filter(|_| !text.is_empty()).collect();
        if parts.len() > limits.event_tags {
            let detail = format!("there may be {} (event_tags)", limits.event_tags);
            self.fault("tags", detail);
            return Vec::new();
        }
        let tags = parts.into_iter().map(|part| Tag::parse(&unescaped(part)));
        match tags.collect() {
            Ok(tags) => tags,
            Err(error) => {
                self.fault("tags", error.to_string());
                Vec::new()
            }
        }
    }

    /// The content type and the bytes that are stored. Only JSON is looked into.
    fn stored(&mut self, content_type: Option<Cow<'_, str>>, data: Data<'_>) -> (String, Vec<u8>) {
        if content_type.as_deref().is_some_and(|text| !is_media_type(text)) {
            self.fault("datacontenttype", "it is not a media type, such as text/plain");
        }
        let is_stated = content_type.is_some();
        let content_type = content_type.map_or_else(|| UNSTATED.to_owned(), |t| stored_type(&t));
        let bytes = match data {
            Data::Missing => Vec::new(),
            Data::Json(json) if !is_stated || is_json(&content_type) => {
                json.into_owned().into_bytes()
            }
            Data::Json(json) => match serde_json::from_str::<String>(&json) {
                Ok(text) => text.into_bytes(),
                Err(_) => {
                    let detail = "of a content type other than JSON, it is a text; or send \
                                  data_base64";
                    self.fault("data", detail);
                    Vec::new()
                }
            },
            Data::Bytes(bytes) if is_json(&content_type) && !bytes.is_empty() => {
                return (content_type, self.compact(bytes));
            }
            Data::Bytes(bytes) => return (content_type, bytes),
        };
        // Data that is a JSON value is JSON unless it says otherwise.
        let is_json_unsaid = !is_stated && !bytes.is_empty();
        (if is_json_unsaid { JSON.to_owned() } else { content_type }, bytes)
    }

    fn compact(&mut self, bytes: Vec<u8>) -> Vec<u8> {
        let text = String::from_utf8(bytes).map_err(|_| "JSON must be UTF-8".to_owned());
        let compact = text.and_then(|text| match crate::json::compact(&text) {
            Ok(compact) => Ok(compact.into_owned().into_bytes()),
            Err(error) => Err(format!("it is not JSON that can be stored: {error}")),
        });
        compact.unwrap_or_else(|detail| {
            self.fault("data", detail);
            Vec::new()
        })
    }

    /// What nothing here has a place for, as an object; empty where there is none.
    fn extensions(&mut self, limits: &HttpLimits) -> String {
        self.values.retain(|(name, _)| !OF_THE_LOG.contains(&&**name));
        self.values.sort_unstable();
        if self.values.len() > limits.event_extensions {
            let most = limits.event_extensions;
            self.faults.push(Fault::at(
                self.pointer.to_owned(),
                format!("there may be {most} extensions (event_extensions)"),
            ));
        }
        let mut object = String::new();
        for (name, raw) in std::mem::take(&mut self.values) {
            let is_name = (1..=NAME_CHARACTERS).contains(&name.len())
                && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
                && name != "data";
            if !is_name {
                let detail = format!("a name has 1 to {NAME_CHARACTERS} of a-z and 0-9");
                self.fault(&name.replace('~', "~0").replace('/', "~1"), detail);
            } else if !is_value(&raw) {
                let detail = "it must be a text, true, false or a whole number of 32 bits";
                self.fault(&name, detail);
            }
            let before = if object.is_empty() { '{' } else { ',' };
            object.push_str(&format!("{before}\"{name}\":{raw}"));
        }
        if !object.is_empty() {
            object.push('}');
        }
        object
    }
}

/// What a JSON text says; none of another value.
fn text(raw: Cow<'_, str>) -> Option<Cow<'_, str>> {
    match raw {
        Cow::Borrowed(raw) => {
            let inner = raw.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
            match inner.filter(|inner| memchr::memchr(b'\\', inner.as_bytes()).is_none()) {
                Some(plain) => Some(Cow::Borrowed(plain)),
                None => serde_json::from_str(raw).ok().map(Cow::Owned),
            }
        }
        Cow::Owned(raw) => serde_json::from_str(&raw).ok().map(Cow::Owned),
    }
}

fn is_value(raw: &str) -> bool {
    raw.starts_with('"') || ["true", "false"].contains(&raw) || raw.parse::<i32>().is_ok()
}

/// Of JSON, only that it is JSON: it has no parameter that means anything.
fn stored_type(content_type: &str) -> String {
    let is_json = essence(content_type).eq_ignore_ascii_case(JSON);
    if is_json { JSON.to_owned() } else { content_type.to_owned() }
}

/// Whether data of a content type is JSON.
pub(super) fn is_json(content_type: &str) -> bool {
    let Some((_, sub)) = essence(content_type).split_once('/') else { return false };
    let suffix = sub.rsplit_once('+').map_or(sub, |(_, suffix)| suffix);
    suffix.eq_ignore_ascii_case("json")
}

fn essence(content_type: &str) -> &str {
    content_type.split(';').next().unwrap_or_default().trim()
}

fn unescaped(tag: &str) -> String {
    tag.replace("%2C", ",").replace("%2c", ",").replace("%25", "%")
}

/// Tags as one text.
pub(super) fn joined(tags: &[&str]) -> String {
    let escaped = tags.iter().map(|tag| tag.replace('%', "%25").replace(',', "%2C"));
    escaped.collect::<Vec<_>>().join(",")
}
