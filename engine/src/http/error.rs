//! Every answer of 400 and above: RFC 9457 problems, and the only HTTP status codes of the crate.
//!
//! Promises: a problem's `code` and `type` never change their meaning; what happened inside the
//! server is logged under the problem's `instance` and not told. Nothing else builds an error
//! answer.

use std::borrow::Cow;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::value::RawValue;

use super::answer::json_response;
use super::problem_log;

/// The status of an answer that made something.
pub(super) const CREATED: StatusCode = StatusCode::CREATED;
/// The status of an ordinary answer.
pub(super) const OK: StatusCode = StatusCode::OK;

/// What a problem's media type is.
const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");
/// Seconds after which a passing problem is worth another try.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("1");

/// What kind of problem it is: one line of the table below.
#[derive(Debug)]
pub(super) struct Kind {
    code: &'static str,
    status: StatusCode,
    title: &'static str,
    retryable: bool,
}

macro_rules! kinds {
    ($($name:ident = $code:literal, $status:ident, $retryable:ident, $title:literal;)*) => {
        $(
            pub(super) static $name: Kind = Kind {
                code: $code,
                status: StatusCode::$status,
                title: $title,
                retryable: $retryable,
            };
        )*
        #[cfg(test)]
        static ALL: &[&Kind] = &[$(&$name),*];
    };
}

/// Whether the same request may succeed later, without a change by the client.
const PASSING: bool = true;
const LASTING: bool = false;

kinds! {
    INVALID_NAME = "invalid_name", BAD_REQUEST, LASTING, "A name leaves its alphabet";
    INVALID_PARAMETER = "invalid_parameter", BAD_REQUEST, LASTING, "A parameter is not understood";
    INVALID_PRECONDITION = "invalid_precondition", BAD_REQUEST, LASTING,
        "A precondition is not understood";
    INVALID_JSON = "invalid_json", BAD_REQUEST, LASTING, "The body is not JSON that can be stored";
    INVALID_BODY = "invalid_body", BAD_REQUEST, LASTING,
        "The body does not have the expected shape";
    INVALID_COMMAND = "invalid_command", BAD_REQUEST, LASTING, "The data does not fit the command";
    POSITION_BEYOND_HEAD = "position_beyond_head", BAD_REQUEST, LASTING,
        "No such position exists yet";
    FORBIDDEN_HOST = "forbidden_host", FORBIDDEN, LASTING,
        "The request is not addressed to this machine";
    UNKNOWN_ROUTE = "unknown_route", NOT_FOUND, LASTING, "There is nothing at this path";
    UNKNOWN_AGGREGATE = "unknown_aggregate", NOT_FOUND, LASTING,
        "No active module has the aggregate";
    UNKNOWN_COMMAND = "unknown_command", NOT_FOUND, LASTING, "The aggregate has no such command";
    UNKNOWN_STREAM = "unknown_stream", NOT_FOUND, LASTING, "The stream never had an event";
    UNKNOWN_EVENT = "unknown_event", NOT_FOUND, LASTING, "No event has this position";
    UNKNOWN_DECISION = "unknown_decision", NOT_FOUND, LASTING, "No decision has this number";
    UNKNOWN_READ_MODEL = "unknown_read_model", NOT_FOUND, LASTING,
        "No active module has the read model";
    UNKNOWN_PROJECTION = "unknown_projection", NOT_FOUND, LASTING,
        "No active module has the projection";
    UNKNOWN_PARKED = "unknown_parked", NOT_FOUND, LASTING, "Nothing of this id is parked";
    UNKNOWN_QUERY = "unknown_query", NOT_FOUND, LASTING, "The projection has no such query";
    UNKNOWN_DOCUMENT = "unknown_document", NOT_FOUND, LASTING,
        "The read model has no such document";
    UNKNOWN_MODULE = "unknown_module", NOT_FOUND, LASTING, "No such module was uploaded";
    UNKNOWN_VERSION = "unknown_version", NOT_FOUND, LASTING, "No such version was uploaded";
    UNKNOWN_SCHEMA = "unknown_schema", NOT_FOUND, LASTING,
        "The type and version have no schema";
    METHOD_NOT_ALLOWED = "method_not_allowed", METHOD_NOT_ALLOWED, LASTING,
        "The path does not know this method";
    REQUEST_TIMEOUT = "request_timeout", REQUEST_TIMEOUT, PASSING,
        "The body did not arrive in time";
    BODY_CUT_SHORT = "body_cut_short", BAD_REQUEST, PASSING, "The body ended before its end";
    STILL_RUNNING = "still_running", CONFLICT, PASSING, "A command with this key is still running";
    UPKEEP_RUNNING = "upkeep_running", CONFLICT, PASSING,
        "A backup, a verification or a move is under way";
    NO_ARCHIVE = "no_archive", CONFLICT, LASTING, "The server has no archive directory";
    ARCHIVE_TAKEN = "archive_taken", CONFLICT, LASTING,
        "The archive has another file of this name";
    CONTENDED = "contended", CONFLICT, PASSING, "Other commands won every time";
    VERSION_EXISTS = "version_exists", CONFLICT, LASTING, "The version exists with other content";
    SCHEMA_EXISTS = "schema_exists", CONFLICT, LASTING,
        "The type and version have another schema";
    ACTIVATION_CLASH = "activation_clash", CONFLICT, LASTING,
        "Another active module has the same name";
    PROJECTION_STATE = "projection_state", CONFLICT, LASTING,
        "The projection is not in a state for this";
    VERSION_CONFLICT = "version_conflict", PRECONDITION_FAILED, LASTING,
        "The stream is at another version";
    CONDITION_FAILED = "condition_failed", PRECONDITION_FAILED, LASTING,
        "An event matches the condition";
    BODY_TOO_LARGE = "body_too_large", PAYLOAD_TOO_LARGE, LASTING,
        "The body is larger than its limit";
    UNSUPPORTED_MEDIA_TYPE = "unsupported_media_type", UNSUPPORTED_MEDIA_TYPE, LASTING,
        "The body has another content type than is read here";
    REJECTED = "rejected", UNPROCESSABLE_ENTITY, LASTING, "The domain refuses the command";
    NOT_FOLDABLE = "not_foldable", UNPROCESSABLE_ENTITY, LASTING,
        "The aggregate cannot fold the events";
    CONDITION_TOO_WIDE = "condition_too_wide", UNPROCESSABLE_ENTITY, LASTING,
        "The condition takes too many steps";
    QUERY_REFUSED = "query_refused", UNPROCESSABLE_ENTITY, LASTING,
        "The module refuses the query's parameters";
    INDEX_NEEDED = "index_needed", UNPROCESSABLE_ENTITY, LASTING,
        "The query looks at too many documents";
    KEY_REUSED = "idempotency_key_reused", UNPROCESSABLE_ENTITY, LASTING,
        "The key was used for another request";
    EVENT_ID_REUSED = "event_id_reused", UNPROCESSABLE_ENTITY, LASTING,
        "An event with this source and id says something else";
    INVALID_SCHEMA = "invalid_schema", UNPROCESSABLE_ENTITY, LASTING,
        "The schema cannot be used";
    SCHEMA_BROKEN = "schema_broken", UNPROCESSABLE_ENTITY, LASTING,
        "Recorded events do not fit the schema";
    SCHEMA_VIOLATION = "schema_violation", UNPROCESSABLE_ENTITY, LASTING,
        "An event does not fit the schema of its type";
    INVALID_MODULE = "invalid_module", UNPROCESSABLE_ENTITY, LASTING,
        "The component cannot be a module";
    MODULE_TOO_COSTLY = "module_too_costly", UNPROCESSABLE_ENTITY, LASTING,
        "The component exceeds what it may cost";
    MODULE_BROKEN = "module_broken", UNPROCESSABLE_ENTITY, LASTING, "The module cannot be started";
    ACTIVATION_REFUSED = "activation_refused", UNPROCESSABLE_ENTITY, LASTING,
        "The version does not pass its checks";
    MODULE_FAULT = "module_fault", INTERNAL_SERVER_ERROR, LASTING, "The module failed";
    MODULE_LIMIT = "module_limit", INTERNAL_SERVER_ERROR, LASTING, "The module exceeded a limit";
    CORRUPTED = "corrupted", INTERNAL_SERVER_ERROR, LASTING, "Stored data is damaged";
    INTERNAL = "internal", INTERNAL_SERVER_ERROR, LASTING, "The server failed";
    MODULE_QUARANTINED = "module_quarantined", SERVICE_UNAVAILABLE, PASSING,
        "The module was not started";
    MODULE_THROTTLED = "module_throttled", SERVICE_UNAVAILABLE, PASSING,
        "Too much waits for the module";
    OUTCOME_UNKNOWN = "outcome_unknown", SERVICE_UNAVAILABLE, PASSING,
        "Whether it was done is not known yet";
    READ_MODEL_BEHIND = "read_model_behind", SERVICE_UNAVAILABLE, PASSING,
        "The read model has not got there yet";
    BUILDING = "building", SERVICE_UNAVAILABLE, PASSING, "The read model is being built";
    PAST_FAILED = "past_failed", UNPROCESSABLE_ENTITY, LASTING,
        "The read model cannot be built as of that position";
    UNAVAILABLE = "unavailable", SERVICE_UNAVAILABLE, PASSING,
        "The log takes nothing at the moment";
    ARCHIVED = "archived", SERVICE_UNAVAILABLE, PASSING,
        "The records are archived, and the archive is out of reach";
    ARCHIVE_FAILED = "archive_failed", SERVICE_UNAVAILABLE, PASSING,
        "The archive cannot be read or written";
    NOT_READY = "not_ready", SERVICE_UNAVAILABLE, PASSING, "The server is not ready";
    SHUTTING_DOWN = "shutting_down", SERVICE_UNAVAILABLE, PASSING, "The server is shutting down";
    DISK_FULL = "disk_full", INSUFFICIENT_STORAGE, PASSING, "The disk is nearly full";
}

/// An answer of 400 or above.
#[derive(Debug)]
pub(super) struct Problem(Box<Inner>);

#[derive(Debug)]
struct Inner {
    kind: &'static Kind,
    detail: Cow<'static, str>,
    more: More,
}

/// What fits the one problem or the other.
#[derive(Debug, Default, Serialize)]
pub(super) struct More {
    /// Faults of single places.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) errors: Vec<Fault>,
    /// The version that was expected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) expected: Option<Expected>,
    /// The version that is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) actual: Option<u64>,
    /// The limit that was exceeded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) limit: Option<&'static str>,
    /// The module that failed or refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) module: Option<String>,
    /// The name of what is there already.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<String>,
    /// The module's version, or that of what is there already.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) version: Option<String>,
    /// The stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) stream: Option<String>,
    /// The position that was reached, or of the event that is in the way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) position: Option<u64>,
    /// The position that was wanted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) required: Option<u64>,
    /// The index that a query needs, as a manifest declares it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) index: Option<Box<RawValue>>,
    /// The command's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) command_id: Option<String>,
    /// The record of the refusal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) decision: Option<u64>,
    /// The domain's reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) rejection: Option<RejectionBody>,
    /// The part of the log that is archived out of reach.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) needed: Option<Box<Needed>>,
}

/// A part of the log that an answer needs, and where it is.
#[derive(Debug, Serialize)]
pub(super) struct Needed {
    pub(super) first_decision: u64,
    pub(super) last_decision: u64,
    pub(super) first_position: u64,
    pub(super) last_position: u64,
    pub(super) file: String,
}

/// A fault at one place of a request.
#[derive(Debug, Serialize)]
pub(super) struct Fault {
    /// Where, as a JSON pointer, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) pointer: Option<Cow<'static, str>>,
    /// The byte of the body, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) offset: Option<usize>,
    /// The position of the event that it is about, if it is recorded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) position: Option<u64>,
    /// What is wrong.
    pub(super) detail: String,
}

impl Fault {
    /// A fault that is not at one place.
    pub(super) fn anywhere(detail: impl Into<String>) -> Self {
        Self { pointer: None, offset: None, position: None, detail: detail.into() }
    }

    /// A fault at a byte of the body.
    pub(super) fn at_byte(offset: Option<usize>, detail: impl Into<String>) -> Self {
        Self { pointer: None, offset, position: None, detail: detail.into() }
    }

    /// A fault at a JSON pointer.
    pub(super) fn at(pointer: impl Into<Cow<'static, str>>, detail: impl Into<String>) -> Self {
        Self { pointer: Some(pointer.into()), offset: None, position: None, detail: detail.into() }
    }
}

/// An expected version as requests and answers write it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    /// Exactly this one; 0 is "must not exist".
    Version(u64),
    /// At least one event.
    Exists,
}

impl Serialize for Expected {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Version(version) => serializer.serialize_u64(*version),
            Self::Exists => serializer.serialize_str("exists"),
        }
    }
}

/// A domain's refusal.
#[derive(Debug, Serialize)]
pub(super) struct RejectionBody {
    /// For programs.
    pub(super) code: String,
    /// For people.
    pub(super) message: String,
    /// More.
    pub(super) details: Option<Box<RawValue>>,
}

/// A problem as it is written.
#[derive(Serialize)]
struct Body<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u64>,
    r#type: String,
    title: &'static str,
    status: u16,
    detail: &'a str,
    instance: String,
    code: &'static str,
    retryable: bool,
    #[serde(flatten)]
    more: &'a More,
}

impl Problem {
    /// A problem of a kind, with a sentence that says what to do about it.
    pub(super) fn new(kind: &'static Kind, detail: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(Inner { kind, detail: detail.into(), more: More::default() }))
    }

    /// A failure whose reason is for the server's log only.
    pub(super) fn internal(reason: &str) -> Self {
        problem_log::failed(reason);
        Self::new(&INTERNAL, "the server failed; its log says more")
    }

    /// The same with more to say.
    pub(super) fn with(mut self, more: More) -> Self {
        self.0.more = more;
        self
    }

    /// The problem as JSON, in an answer of its own or as the answer to one line of many.
    pub(super) fn to_json(&self, line: Option<u64>) -> Vec<u8> {
        let Inner { kind, detail, more } = &*self.0;
        let instance = format!("urn:uuid:{}", crate::clock::new_id());
        if kind.status.is_server_error() {
            problem_log::answered(kind.code, &instance, detail);
        }
        let body = Body {
            line,
            r#type: format!("urn:factum:problem:{}", kind.code),
            title: kind.title,
            status: kind.status.as_u16(),
            detail,
            instance,
            code: kind.code,
            retryable: kind.retryable,
            more,
        };
        // Strings, numbers and JSON that was parsed before: there is nothing that could fail.
        serde_json::to_vec(&body).unwrap_or_default()
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = json_response(self.to_json(None));
        *response.status_mut() = self.0.kind.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, PROBLEM_JSON);
        if self.0.kind.retryable {
            headers.insert(header::RETRY_AFTER, RETRY_AFTER);
        }
        if let Some(position) = self.0.more.position {
            headers.insert(super::answer::POSITION, HeaderValue::from(position));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_has_the_fields_of_the_standard_and_ours() {
        let more =
            More { expected: Some(Expected::Version(7)), actual: Some(9), ..More::default() };
        let problem = Problem::new(&VERSION_CONFLICT, "expected version 7").with(more);
        let body: serde_json::Value = serde_json::from_slice(&problem.to_json(None)).expect("JSON");
        assert_eq!(body["type"], "urn:factum:problem:version_conflict");
        assert_eq!(body["status"], 412);
        assert_eq!(body["code"], "version_conflict");
        assert_eq!((&body["expected"], &body["actual"]), (&7.into(), &9.into()));
        assert_eq!(body["retryable"], false);
        assert!(body["instance"].as_str().is_some_and(|id| id.starts_with("urn:uuid:")));
        assert!(body.get("line").is_none() && body.get("limit").is_none());
    }

    #[test]
    fn an_answer_has_its_media_type_and_says_when_to_retry() {
        let response = Problem::new(&STILL_RUNNING, "it runs").into_response();
        assert_eq!(response.status(), StatusCode::CONFLICT);
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/problem+json");
        assert_eq!(response.headers()[header::RETRY_AFTER], "1");
    }

    #[test]
    fn every_code_is_there_once_and_is_an_error() {
        let codes: std::collections::HashSet<_> = ALL.iter().map(|kind| kind.code).collect();
        assert_eq!(codes.len(), ALL.len());
        assert!(ALL.iter().all(|kind| kind.status.as_u16() >= 400 && !kind.title.is_empty()));
        assert!(ALL.iter().filter(|kind| kind.retryable).count() > 5);
    }
}
