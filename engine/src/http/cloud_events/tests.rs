use super::attributes::joined;
use super::headers::{attributes, content_type, decode};
use super::*;
use crate::event::{JSON, UNSTATED};

fn mode(pairs: &[(&'static str, &'static str)]) -> Option<Mode> {
    let pairs = pairs
        .iter()
        .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
    Mode::of(&pairs.collect()).ok()
}

#[test]
fn the_content_type_tells_the_mode_then_the_headers() {
    for (given, expected) in [
        ("application/cloudevents+json", Some(Mode::Structured)),
        ("Application/CloudEvents+JSON; charset=utf-8", Some(Mode::Structured)),
        ("application/cloudevents+json;charset=\"UTF-8\"", Some(Mode::Structured)),
        ("application/cloudevents-batch+json", Some(Mode::Batch)),
        ("application/cloudevents+json; charset=iso-8859-1", None),
        ("application/cloudevents+avro", None),
        ("application/cloudevents", None),
        ("application/cloudevents+jsonx", None),
        ("application/json", Some(Mode::Native)),
        ("text/plain; a=application/cloudevents+json", Some(Mode::Native)),
    ] {
        assert_eq!(mode(&[("content-type", given)]), expected, "{given}");
        // Attributes in headers change nothing about a body that is a whole event.
        let binary = mode(&[("content-type", given), ("ce-id", "1")]);
        let of_headers =
            expected.map(|mode| if mode == Mode::Native { Mode::Binary } else { mode });
        assert_eq!(binary, of_headers, "{given}");
    }
    assert_eq!(mode(&[("ce-type", "x")]), Some(Mode::Binary));
    assert_eq!(mode(&[]), Some(Mode::Native));
}

#[test]
fn header_values_are_unquoted_and_percent_decoded_once() {
    for (given, expected) in [
        ("plain/1+2", Some("plain/1+2")),
        ("Euro%20%E2%82%AC%20%F0%9F%98%80", Some("Euro € 😀")),
        ("%e2%82%ac", Some("€")),
        ("€", Some("€")),
        ("%2525", Some("%25")),
        ("\"a\\\"b%20c\"", Some("a\"b c")),
        ("%22", Some("\"")),
        ("\"", Some("\"")),
        ("100%", None),
        ("%zz", None),
        ("%ff", None),
        ("%E2%82", None),
        ("\"a\\\"", None),
    ] {
        assert_eq!(decode(given.as_bytes()).as_deref(), expected, "{given}");
    }
    assert_eq!(decode(b"\xff"), None);
}

fn limits() -> HttpLimits {
    HttpLimits::default()
}

fn parse(json: &str) -> Result<Placed, Problem> {
    structured(&crate::json::compact(json).expect("JSON"), "", None, &limits())
}

/// Where the faults of an event are.
fn places(json: &str) -> Vec<String> {
    let body = parse(json).expect_err("is refused").to_json(None);
    let body: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
    let errors = body["errors"].as_array().expect("errors").iter();
    errors.map(|error| error["pointer"].as_str().expect("a place").to_owned()).collect()
}

/// A whole event with more fields.
fn with(more: &str) -> String {
    format!(r#"{{"specversion":"1.0","id":"1","source":"/s","type":"T"{more}}}"#)
}

#[test]
fn every_attribute_has_its_place() {
    let (event, stream) = parse(&with(
        r#", "subject":"till-1","time":"2024-02-29T12:00:00.5+01:00","tags":"a,b%2Cc,%25",
            "schemaversion":"2","correlationid":"talk","dataschema":"https://a.example/s",
            "zone":null,"count":-7,"open":true,"globalposition":9,"recordedtime":"never mind",
            "datacontenttype":"application/json; charset=utf-8","data":{"n":9007199254740993}"#,
    ))
    .expect("valid");
    assert_eq!(stream.as_ref().map(StreamId::as_str), Some("till-1"));
    assert_eq!((event.schema_version, event.time_ms), (2, Some(1_709_204_400_500)));
    assert_eq!(event.data, b"{\"n\":9007199254740993}");
    assert_eq!(event.content_type, JSON);
    let tags: Vec<_> = event.tags.iter().map(crate::names::Tag::as_str).collect();
    assert_eq!(tags, ["a", "b,c", "%"]);
    assert_eq!(joined(&tags), "a,b%2Cc,%25");
    let origin = event.origin.expect("one");
    assert_eq!((&*origin.id, &*origin.source), ("1", "/s"));
    assert_eq!(origin.correlation_id.as_deref(), Some("talk"));
    let kept = r#"{"count":-7,"dataschema":"https://a.example/s","open":true}"#;
    assert_eq!(origin.extensions, kept);
}

#[test]
fn data_is_what_its_content_type_says() {
    for (more, content_type, bytes) in [
        ("", UNSTATED, ""),
        (r#","data":{"a":1}"#, JSON, r#"{"a":1}"#),
        (r#","data":null"#, JSON, "null"),
        (r#","data":"text""#, JSON, "\"text\""),
        (r#","datacontenttype":"text/plain","data":"text""#, "text/plain", "text"),
        (r#","datacontenttype":"text/plain""#, "text/plain", ""),
        (r#","datacontenttype":"application/json""#, JSON, ""),
        (r#","datacontenttype":"a/b+JSON","data":"x""#, "a/b+JSON", "\"x\""),
        (r#","data_base64":"aGk=""#, UNSTATED, "hi"),
        (r#","datacontenttype":"image/png","data_base64":"""#, "image/png", ""),
        (r#","datacontenttype":"application/json","data_base64":"WyAxIF0=""#, JSON, "[1]"),
    ] {
        let (event, _) = parse(&with(more)).expect(more);
        assert_eq!(event.content_type, content_type, "{more}");
        assert_eq!(event.data, bytes.as_bytes(), "{more}");
    }
}

#[test]
fn all_that_is_wrong_is_named() {
    assert_eq!(places("{}"), ["/specversion", "/id", "/source", "/type"]);
    assert_eq!(
        places(r#"{"specversion":"0.3","id":"","source":"a b","type":7}"#),
        ["/specversion", "/id", "/source", "/type"]
    );
    for (more, place) in [
        (r#","subject":"not a stream""#, "/subject"),
        (r#","time":"yesterday""#, "/time"),
        (r#","time":"1969-12-31T23:59:59Z""#, "/time"),
        (r#","schemaversion":0"#, "/schemaversion"),
        (r#","tags":["a"]"#, "/tags"),
        (r#","tags":"a,,b""#, "/tags"),
        (r#","correlationid":"a b""#, "/correlationid"),
        (r#","Zone":"x""#, "/Zone"),
        (r#","my_zone":"x""#, "/my_zone"),
        (r#","a/b":"x""#, "/a~1b"),
        (r#","zone":{}"#, "/zone"),
        (r#","zone":1.5"#, "/zone"),
        (r#","zone":2147483648"#, "/zone"),
        (r#","datacontenttype":"json""#, "/datacontenttype"),
        (r#","datacontenttype":"text/plain","data":{}"#, "/data"),
        (r#","data_base64":"?""#, "/data_base64"),
        (r#","data":1,"data_base64":"aGk=""#, "/data_base64"),
        (r#","datacontenttype":"application/json","data_base64":"aGk=""#, "/data"),
    ] {
        assert_eq!(places(&with(more)), [place], "{more}");
    }
    let many: String = (0..33).map(|n| format!(r#","x{n}":1"#)).collect();
    assert_eq!(places(&with(&many)), [""]);
    assert!(parse("[]").is_err());
    let batch = |json: &str| batched(json, None, &limits());
    for bad in ["{}", "[]", "[7]"] {
        assert!(batch(bad).is_err(), "{bad}");
    }
    assert_eq!(batch(&format!("[{},{}]", with(""), with(""))).expect("valid").len(), 2);
}

#[test]
fn a_subject_is_the_stream_of_the_path() {
    let stream = StreamId::parse("till-1").expect("valid");
    let of = |more: &str| structured(&with(more), "", Some(&stream), &limits());
    for more in ["", r#","subject":"till-1""#] {
        let (_, placed) = of(more).expect("valid");
        assert_eq!(placed.as_ref(), Some(&stream));
    }
    assert!(of(r#","subject":"till-2""#).is_err());
}

#[test]
fn an_attribute_is_there_once() {
    let headers = |pairs: &[(&'static str, &'static str)]| {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    };
    let twice = headers(&[("ce-id", "1"), ("ce-id", "2")]);
    assert!(attributes(&twice).is_err());
    let typed = headers(&[("content-type", "a/b"), ("content-type", "a/c")]);
    assert!(content_type(&typed).is_err());
    assert_eq!(content_type(&HeaderMap::new()).expect("none"), None);
}
