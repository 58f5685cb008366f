//! A module as the engine meets it, called through the functions behind its exports.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::bindings::aggregate::{Command, Context, Event, Failure, NewEvent, Outcome, State};
use crate::testing;
use crate::{
    Aggregate, Collection, Decision, Document, Event as _, Fault, Index, Partition, Projection,
    Recorded, Rejection, Rows, emit, nothing,
};

#[derive(Debug, Default, Deserialize, Serialize)]
struct Course {
    seats: u32,
    students: BTreeSet<String>,
}

#[derive(Debug, crate::Command, Deserialize)]
enum Ask {
    Offer { seats: u32 },
    Enroll { student: String },
    Draw,
}

#[derive(Debug, crate::Event, Deserialize, Serialize)]
enum Said {
    Offered {
        seats: u32,
    },
    #[event(version = 3)]
    Enrolled {
        student: String,
    },
    Drawn {
        number: u64,
        at: u64,
    },
}

impl Aggregate for Course {
    const NAME: &'static str = "course";
    const STATE_VERSION: u32 = 2;
    type Command = Ask;
    type Event = Said;

    fn decide(&self, command: Ask, context: &crate::Context) -> Decision<Said> {
        match command {
            Ask::Offer { seats } => emit([Said::Offered { seats }]),
            Ask::Enroll { student } if self.students.contains(&student) => nothing(),
            Ask::Enroll { student } if self.seats > 0 => {
                let tag = format!("student:{student}");
                emit(Said::Enrolled { student }.tagged([tag]))
            }
            Ask::Enroll { .. } => Err(Rejection::new("full", "no seats").with("seats", self.seats)),
            Ask::Draw => emit(Said::Drawn { number: context.random().draw(), at: context.now_ms }),
        }
    }

    fn evolve(&mut self, event: Said) {
        match event {
            Said::Offered { seats } => self.seats = seats,
            Said::Enrolled { student } => {
                self.seats -= 1;
                self.students.insert(student);
            }
            Said::Drawn { .. } => {}
        }
    }
}

#[derive(Debug, Default, Deserialize, PartialEq, Serialize)]
struct Offer {
    seats: u32,
    mean: f64,
}

impl Document for Offer {
    const COLLECTION: Collection =
        Collection::new("offers").indexed(&[Index::new("by_seats", &["-seats"])]);
}

struct Offers;

impl Projection for Offers {
    const NAME: &'static str = "offers";
    const COLLECTIONS: &'static [Collection] = &[Offer::COLLECTION];
    const CATEGORIES: &'static [&'static str] = &[Course::NAME];
    const EVENT_TYPES: &'static [&'static str] = &["Offered"];
    const PARTITION: Option<Partition> = Some(Partition::Stream);
    type Event = Said;

    fn project(recorded: &Recorded<Said>, rows: &mut Rows) -> Result<(), Fault> {
        let Said::Offered { seats } = recorded.event else {
            return Err(Fault::new("this event was not asked for"));
        };
        rows.update(recorded.id().unwrap_or_default(), |offer: &mut Offer| {
            offer.seats += seats;
            offer.mean = (offer.mean + f64::from(seats)) / 3.0;
        })
    }
}

crate::module! { name: "school", version: "1.2.3", aggregates: [Course], projections: [Offers] }

fn context() -> Context {
    Context {
        stream_id: "course-7".to_owned(),
        stream_version: 0,
        now_ms: 5,
        seed: 9,
        correlation_id: String::new(),
        causation_id: String::new(),
        caller: None,
        extra: "{}".to_owned(),
    }
}

fn decide(current: Option<&str>, name: &str, data: &str) -> Result<Outcome, Failure> {
    let current = current.map(|json| State::Json(json.to_owned()));
    let (name, data) = (name.to_owned(), data.to_owned());
    MODULE.decide("course", current, &[], &Command { id: String::new(), name, data }, context())
}

fn stored(event_type: &str, schema_version: u32, data: &str) -> Event {
    Event {
        event_type: event_type.to_owned(),
        schema_version,
        content_type: "application/json".to_owned(),
        data: data.to_owned(),
        tags: Vec::new(),
        stream_id: Some("course-7".to_owned()),
        stream_version: 4,
        decided_at_ms: 0,
    }
}

fn next(outcome: &Outcome) -> &str {
    match &outcome.next {
        State::Json(json) => json,
        State::Bytes(_) => "bytes",
    }
}

#[test]
fn the_manifest_says_what_the_module_is() {
    let expected = [
        r#"{"name":"school","version":"1.2.3","contract":"0.1.0","#,
        concat!(r#""sdk":"factum-sdk-rust "#, env!("CARGO_PKG_VERSION"), r#"","#),
        r#""aggregates":[{"name":"course","state_version":2,"reads_state_versions":[2],"#,
        r#""commands":[{"name":"offer"},{"name":"enroll"},{"name":"draw"}],"#,
        r#""events":[{"type":"Offered","schema_version":1},"#,
        r#"{"type":"Enrolled","schema_version":3},{"type":"Drawn","schema_version":1}]}],"#,
        r#""projections":[{"name":"offers","version":1,"event_types":["Offered"],"#,
        r#""categories":["course"],"partition":"stream","collections":[{"name":"offers","#,
        r#""indexes":[{"name":"by_seats","paths":["-seats"]}]}]}]}"#,
    ]
    .concat();
    assert_eq!(MODULE.describe(), expected);
}

#[test]
fn a_decision_answers_its_events_and_the_state_after_them() {
    let outcome = decide(Some(r#"{"seats":2,"students":[]}"#), "enroll", r#"{"student":"Ann"}"#);
    let Ok(outcome) = outcome else { panic!("{outcome:?}") };
    assert_eq!(next(&outcome), r#"{"seats":1,"students":["Ann"]}"#);
    let [NewEvent { event_type, schema_version, data, tags }] = &*outcome.events else {
        panic!("{outcome:?}")
    };
    assert_eq!((event_type.as_str(), *schema_version), ("Enrolled", 3));
    assert_eq!((data.as_str(), &**tags), (r#"{"student":"Ann"}"#, &["student:Ann".to_owned()][..]));
}

#[test]
fn deciding_and_evolving_agree_on_the_state() {
    let tail = [stored("Offered", 1, r#"{"seats":9}"#)];
    let command = Command {
        id: String::new(),
        name: "enroll".to_owned(),
        data: r#"{"student":"Ann"}"#.to_owned(),
    };
    let decided = MODULE.decide("course", None, &tail, &command, context());
    let Ok(outcome) = decided else { panic!("{decided:?}") };
    let [offered] = tail;
    let folded =
        MODULE.evolve("course", None, &[offered, stored("Enrolled", 3, r#"{"student":"Ann"}"#)]);
    assert!(matches!(folded, Ok(State::Json(json)) if json == next(&outcome)));
}

#[test]
fn each_refusal_is_of_its_own_kind() {
    let full = decide(None, "enroll", r#"{"student":"Ann"}"#);
    let Err(Failure::Rejected(rejection)) = full else { panic!("{full:?}") };
    assert_eq!((&*rejection.code, rejection.details.as_deref()), ("full", Some(r#"{"seats":0}"#)));
    let misfit = decide(None, "enroll", r#"{"student":7}"#);
    assert!(matches!(misfit, Err(Failure::Invalid(why)) if why.contains("integer `7`")));
    let unknown = decide(None, "expel", "{}");
    assert!(matches!(unknown, Err(Failure::Unknown(why)) if why.contains("offer, enroll, draw")));
    let broken = decide(Some("{"), "draw", "{}");
    assert!(matches!(broken, Err(Failure::Fault(why)) if why.contains("the state of `course`")));
}

#[test]
fn an_event_that_does_not_fold_is_named_with_its_place() {
    let unknown = MODULE.evolve("course", None, &[stored("Enrolled", 1, "{}")]);
    let expected = "event `Enrolled`, schema version 1, at version 4 of its stream, is not known";
    assert!(matches!(unknown, Err(why) if why == expected));
    let misfit = MODULE.evolve("course", None, &[stored("Offered", 1, "\"aGk=\"")]);
    assert!(matches!(misfit, Err(why) if why.contains("at version 4 of its stream, does not fit")));
}

#[test]
fn roles_the_module_does_not_have_are_faults() {
    let state = || State::Json("{}".to_owned());
    assert!(matches!(MODULE.evolve("exam", None, &[]), Err(why) if why.contains("no aggregate")));
    assert!(matches!(MODULE.inspect("exam", state()), Err(why) if why.contains("no aggregate")));
    assert!(matches!(MODULE.project("exams", vec![]), Err(why) if why.contains("no projection")));
    assert!(matches!(MODULE.inspect("course", state()), Ok(json) if json == "{}"));
    let bytes = MODULE.inspect("course", State::Bytes(vec![1]));
    assert!(matches!(bytes, Err(why) if why.contains("not JSON")));
}

#[test]
fn time_and_chance_come_from_the_context() {
    let decide = || {
        testing::given::<Course>([]).with_context(|context| {
            context.seed = 0;
            context.now_ms = 77;
        })
    };
    let first = 0xE220_A839_7B1D_CDAF;
    decide().when(Ask::Draw).then(Said::Drawn { number: first, at: 77 });
}

#[test]
fn tests_read_as_given_when_then() {
    testing::given::<Course>([Said::Offered { seats: 1 }])
        .when(Ask::Enroll { student: "Ann".to_owned() })
        .then(Said::Enrolled { student: "Ann".to_owned() }.tagged(["student:Ann"]))
        .then_state(|course| assert_eq!(course.seats, 0));
    testing::given::<Course>([])
        .when(Ask::Enroll { student: "Bob".to_owned() })
        .then_rejected("full")
        .then_details(serde_json::json!({ "seats": 0 }));
}

#[test]
#[should_panic(expected = "expected:\n  rejected `full`\nactual:\n  Offered v1 {\"seats\":4}\n")]
fn a_failed_expectation_shows_what_happened() {
    testing::given::<Course>([]).when(Ask::Offer { seats: 4 }).then_rejected("full");
}

#[test]
fn projections_get_the_events_they_want_and_no_others() {
    let in_stream =
        |stream: &str, event: Said| Recorded { stream_id: Some(stream.to_owned()), ..event.into() };
    let projected = testing::project::<Offers>([
        in_stream("course-a", Said::Offered { seats: 1 }),
        in_stream("course-a", Said::Enrolled { student: "Ann".to_owned() }),
        in_stream("course-b", Said::Offered { seats: 7 }),
        in_stream("course-a", Said::Offered { seats: 3 }),
    ]);
    let mean = (1.0 / 3.0 + 3.0) / 3.0;
    assert_eq!(projected.row("a"), Some(Offer { seats: 4, mean }));
    assert_eq!(projected.rows::<Offer>().len(), 2);
}

#[test]
fn names_are_checked_when_the_module_is_compiled() {
    for good in ["a", "account", "a_2", &"a".repeat(63)] {
        assert!(super::is_name(good), "{good}");
    }
    for bad in ["", "A", "2a", "_a", "a-b", "a.b", "\u{e9}", &"a".repeat(64)] {
        assert!(!super::is_name(bad), "{bad}");
    }
}
