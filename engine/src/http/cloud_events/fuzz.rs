//! CloudEvents under mutations: what is taken comes back as it was.

use super::*;
use crate::decision::format::Header;
use crate::decision::{AppendRecord, Draft, parse};
use crate::fuzz;

/// When the events are recorded.
const RECORDED_AT_MS: u64 = 1_700_000_000_000;

/// Records the event, writes it as a CloudEvent and reads that.
fn comes_back(event: &NewEvent, stream: Option<&StreamId>) {
    let record = AppendRecord::default();
    let place = stream.map(|stream| (stream.as_str(), 1));
    let draft = Draft::append(&record, std::iter::once((event, place)));
    let header = Header {
        decision: 1,
        head_before: 0,
        recorded_at_ms: RECORDED_AT_MS,
        event_count: draft.event_count(),
        previous_hash: [7; 32],
    };
    let mut bytes = Vec::new();
    draft.finish(&header, &mut bytes);
    let decision = parse(&bytes).expect("what is recorded is read");
    let view = CloudEventView::new("/own", &decision, &decision.events[0]);
    let json = to_json(&view).expect("is written");
    let (again, to) = line(&json, &HttpLimits::default()).unwrap_or_else(|problem| {
        let problem = String::from_utf8(problem.to_json(None)).expect("text");
        panic!("{} is refused: {problem}", String::from_utf8_lossy(&json))
    });
    let expected = NewEvent { time_ms: event.time_ms.or(Some(RECORDED_AT_MS)), ..event.clone() };
    assert_eq!((&again, to.as_ref()), (&expected, stream), "{}", String::from_utf8_lossy(&json));
}

/// Headers as text, an empty line, and the data.
fn binary(input: &[u8]) -> Result<Placed, Problem> {
    let split = input.windows(2).position(|pair| pair == b"\n\n");
    let (head, body) = input.split_at(split.unwrap_or(input.len()));
    let mut headers = HeaderMap::new();
    for text in head.split(|byte| *byte == b'\n') {
        let colon = text.iter().position(|byte| *byte == b':').unwrap_or(text.len());
        let (name, value) = text.split_at(colon);
        let value = value.get(1..).unwrap_or_default().trim_ascii();
        let name = HeaderName::from_bytes(name);
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(value)) {
            headers.append(name, value);
        }
    }
    let data = Data::Bytes(body.get(2..).unwrap_or_default().to_vec());
    let content_type = headers::content_type(&headers)?;
    headers::attributes(&headers)?.event(content_type, data, None, &HttpLimits::default())
}

fn each(input: &[u8]) {
    let limits = HttpLimits::default();
    let structured = fuzz::is_bounded(input, || line(input, &limits));
    let batched = fuzz::is_bounded(input, || {
        compact_json(input).and_then(|json| batched(&json, None, &limits))
    });
    let binary = fuzz::is_bounded(input, || binary(input));
    let all = [structured.map(|one| vec![one]), batched, binary.map(|one| vec![one])];
    for (event, stream) in all.into_iter().filter_map(Result::ok).flatten() {
        comes_back(&event, stream.as_ref());
    }
}

#[test]
fn what_is_taken_comes_back_as_it_was() {
    let dictionary = [
        "\"specversion\":\"1.0\"",
        "\"data\":",
        "\"data_base64\":\"AAEC\"",
        "\"datacontenttype\":\"text/plain\"",
        "\"datacontenttype\":\"application/json\"",
        "\"subject\":\"a-1\"",
        "\"time\":\"2024-01-01T00:00:00Z\"",
        "\"tags\":\"a,b\"",
        "\"correlationid\":\"c\"",
        "\"x\":true,",
        "\nce-x: ",
        "%00",
        "%E2%82%AC",
        "\\u0000",
    ];
    fuzz::run("cloud-events", &dictionary, 8_000, each);
}
