use super::*;
use crate::decision::{ModuleRef, Outcome, RecordedContext, Rejection, Saw};
use crate::event::{EventId, JSON, Origin};
use crate::names::{EventType, Tag};

fn header(event_count: u32) -> Header {
    Header {
        decision: 7,
        head_before: 40,
        recorded_at_ms: 1_700,
        event_count,
        previous_hash: [3; 32],
    }
}

fn events() -> Vec<NewEvent> {
    vec![
        NewEvent {
            event_type: EventType::parse("Deposited").expect("valid"),
            schema_version: 2,
            content_type: JSON.into(),
            data: br#"{"amount":9007199254740993}"#.to_vec(),
            tags: vec![Tag::parse("owner:42").expect("valid")],
            time_ms: None,
            origin: None,
        },
        NewEvent {
            event_type: EventType::parse("Photographed").expect("valid"),
            schema_version: 1,
            content_type: "image/png".into(),
            data: vec![0, 255, 1],
            tags: Vec::new(),
            time_ms: Some(1_234),
            origin: None,
        },
    ]
}

fn command(outcome: Outcome<'_>) -> CommandRecord<'_> {
    CommandRecord {
        command_id: "c-1",
        id_from_client: true,
        caller: Some("alice"),
        fingerprint: [9; 32],
        context: RecordedContext {
            stream: "account-42",
            stream_version: 5,
            now_ms: 1_699,
            seed: u64::MAX,
            correlation_id: "c-1",
            causation_id: "c-1",
            extra: "{}",
        },
        command: "deposit",
        data: r#"{"amount":1}"#,
        module: ModuleRef { name: "account", version: "1.0.0", digest: [1; 32] },
        saw: Saw {
            state_hash: Some([2; 32]),
            snapshot: Some((4, [5; 32])),
            upcasters: vec![[6; 32]],
            boundary: Some(("[]", 39)),
        },
        outcome,
        fuel: Some(15_896),
    }
}

fn finished(draft: &Draft) -> Vec<u8> {
    let mut out = Vec::new();
    draft.finish(&header(draft.event_count()), &mut out);
    out
}

#[test]
fn a_command_comes_back_with_its_events_in_place() {
    let record = command(Outcome::Committed { next_hash: [8; 32] });
    let bytes = finished(&Draft::command(&record, &events()));
    let decision = parse(&bytes).expect("whole");
    assert_eq!(decision.header, header(2));
    assert_eq!(decision.kind, Kind::Command(Box::new(record)));
    assert_eq!(decision.head_after(), 42);
    let places: Vec<_> = decision.events.iter().map(|e| (e.position, e.stream_version)).collect();
    assert_eq!(places, [(41, 6), (42, 7)]);
    assert_eq!(decision.events[0].data, events()[0].data);
    assert_eq!(*decision.events[0].tags, ["owner:42"]);
    assert_eq!(decision.events[1].content_type, "image/png");
}

#[test]
fn a_rejection_an_activation_and_an_act_come_back() {
    let rejection = Rejection { code: "no", message: "No.", details: Some("{}") };
    let record = command(Outcome::Rejected(rejection));
    let bytes = finished(&Draft::command(&record, &[]));
    assert_eq!(parse(&bytes).expect("whole").kind, Kind::Command(Box::new(record)));

    let record =
        ActivationRecord { module: "account", version: Some(("1.0.0", [4; 32])), caller: None };
    let bytes = finished(&Draft::activation(&record));
    assert_eq!(parse(&bytes).expect("whole").kind, Kind::Activation(record));

    let (act, subject, value) = ("module_limits", "account", r#"{"threads":1}"#);
    let record = ActRecord { act, subject, value, caller: Some("bob") };
    let bytes = finished(&Draft::act(&record));
    assert_eq!(parse(&bytes).expect("whole").kind, Kind::Act(record));
}

#[test]
fn a_direct_append_comes_back_with_each_event_in_its_place() {
    let record = AppendRecord {
        command_id: Some("key-1"),
        caller: None,
        fingerprint: Some([4; 32]),
        correlation_id: Some("talk"),
        causation_id: None,
        condition: Some("[]"),
    };
    let events = events();
    let places = [Some(("course-1", 3)), None];
    let bytes = finished(&Draft::append(&record, events.iter().zip(places)));
    let decision = parse(&bytes).expect("whole");
    assert_eq!(decision.kind, Kind::Append(record));
    let [first, second] = &*decision.events else { panic!("{decision:?}") };
    assert_eq!((first.stream, first.stream_version, first.position), (Some("course-1"), 3, 41));
    assert_eq!((second.stream, second.stream_version, second.position), (None, 0, 42));
    // Without a time of the client's, it is the recorded one.
    assert_eq!((first.time_ms, second.time_ms), (1_700, 1_234));
}

#[test]
fn an_event_comes_back_with_what_it_brought_along() {
    let origin = Origin {
        source: "/shop/1".into(),
        id: "a-1".into(),
        correlation_id: Some("talk".into()),
        causation_id: None,
        extensions: r#"{"zone":"north"}"#.into(),
    };
    let [mut first, second] = <[_; 2]>::try_from(events()).expect("two");
    first.origin = Some(Box::new(origin.clone()));
    let events = [first, second];
    let record = AppendRecord::default();
    let bytes = finished(&Draft::append(&record, events.iter().zip([None, Some(("a-1", 1))])));
    let decision = parse(&bytes).expect("whole");
    let [first, second] = &*decision.events else { panic!("{decision:?}") };
    assert_eq!((first.id, first.origin.as_deref()), (EventId::Given("a-1"), Some(&origin)));
    assert!(second.origin.is_none() && matches!(second.id, EventId::Derived(_)));
    assert_eq!((second.stream, second.data), (Some("a-1"), &[0, 255, 1][..]));
    // What a later version may say there is not passed over.
    let mut later = bytes;
    later[7] = 2;
    let end = later.len() - 4;
    let checksum = crc32fast::hash(&later[..end]).to_be_bytes();
    later[end..].copy_from_slice(&checksum);
    assert_eq!(parse(&later), Err(Damage("flags this version of Factum does not know")));
}

#[test]
fn damage_is_found_at_every_bit_and_every_cut() {
    let record = command(Outcome::Committed { next_hash: [8; 32] });
    let bytes = finished(&Draft::command(&record, &events()));
    for bit in 0..bytes.len() * 8 {
        let mut damaged = bytes.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        assert!(parse(&damaged).is_err(), "bit {bit} went unnoticed");
    }
    for length in 0..bytes.len() {
        assert!(parse(&bytes[..length]).is_err(), "a cut at {length} went unnoticed");
        assert!(split(&bytes[..length]).is_err(), "a cut at {length} split");
    }
}

#[test]
fn version_1_reads_as_it_was_first_written() {
    // The hash of this record may never change: released stores hold such bytes.
    let record = command(Outcome::Committed { next_hash: [8; 32] });
    let mut out = Vec::new();
    let hash = Draft::command(&record, &events()).finish(&header(2), &mut out);
    assert_eq!(out.len(), 443);
    assert_eq!(
        blake3::Hash::from(hash).to_hex().as_str(),
        "06762942bcd91ae7838a1ed638f4b91b34facc505e785dde7ac400ad8093598c"
    );
}

#[test]
fn a_refused_command_is_erased_to_its_hash_and_nothing_else_is() {
    let rejection = Rejection { code: "no", message: "not that", details: None };
    let refused = finished(&Draft::command(&command(Outcome::Rejected(rejection)), &[]));
    let stub = erased(&refused).expect("whole").expect("may be erased");
    assert!(stub.len() < refused.len());
    assert_eq!(record_hash(&stub), record_hash(&refused));
    let decision = parse(&stub).expect("whole");
    assert_eq!(decision.header, header(0));
    assert_eq!(decision.kind, Kind::Erased(ErasedRecord { hash: record_hash(&refused) }));
    assert_eq!(erased(&stub), Ok(None));
    let committed = command(Outcome::Committed { next_hash: [8; 32] });
    for kept in [Draft::command(&committed, &events()), Draft::command(&committed, &[])] {
        assert_eq!(erased(&finished(&kept)), Ok(None));
    }
    // One that claims to have had events is no record.
    let mut forged = stub;
    forged[35] = 1;
    let end = forged.len() - CHECKSUM_BYTES;
    let seal = crc32fast::hash(&forged[..end]).to_be_bytes();
    forged[end..].copy_from_slice(&seal);
    assert!(parse(&forged).is_err());
}
