//! How variants look as JSON, whatever serde attributes their enum has.

use serde::{Deserialize, Serialize};

use crate::{Command, DecodeError, Event};

#[derive(Debug, Deserialize, PartialEq, Serialize)]
struct Address {
    street: String,
}

#[derive(Debug, Command, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
enum Ask {
    Open {
        owner: String,
        #[serde(default, rename = "vip")]
        important: bool,
    },
    MoveTo(Address),
    #[command(name = "shut")]
    Close,
}

#[derive(Debug, Deserialize, Event, PartialEq, Serialize)]
enum Said {
    Opened {
        owner: String,
    },
    #[event(type = "Renamed", version = 2)]
    Renamed {
        to: String,
    },
    #[event(type = "Renamed")]
    RenamedV1 {
        name: String,
    },
    Closed,
}

#[derive(Command, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
enum Strict {
    Open { owner: String },
}

fn ask(name: &str, data: &str) -> Result<Ask, String> {
    Ask::decode(name, data).map_err(|error| error.to_string())
}

fn open(owner: &str, important: bool) -> Result<Ask, String> {
    Ok(Ask::Open { owner: owner.to_owned(), important })
}

#[test]
fn a_command_is_its_name_and_its_fields() {
    assert_eq!(Ask::NAMES, ["open", "move_to", "shut"]);
    assert_eq!(ask("open", r#"{"owner":"Ann","vip":true}"#), open("Ann", true));
    assert_eq!(ask("open", r#" {"other":[1,{}],"owner":"Ann"} "#), open("Ann", false));
    let address = Address { street: "Elm".to_owned() };
    assert_eq!(ask("move_to", r#"{"street":"Elm"}"#), Ok(Ask::MoveTo(address)));
}

#[test]
fn commands_without_data_take_an_empty_object_null_or_nothing() {
    for data in ["{}", " { } ", "null", "", r#"{"why":"bored"}"#] {
        assert_eq!(ask("shut", data), Ok(Ask::Close), "{data}");
    }
    for data in ["[]", "1", "\"x\"", "{}{}"] {
        assert!(ask("shut", data).is_err(), "{data}");
    }
}

#[test]
fn data_that_does_not_fit_is_refused_with_the_reason_and_the_place() {
    let reason = |data| ask("open", data).map_or_else(|reason| reason, |_| "it fits".to_owned());
    assert!(reason("{}").contains("missing field `owner` at line 1 column 2"));
    assert!(reason(r#"{"owner":5}"#).contains("invalid type: integer `5`, expected a string"));
    assert!(reason(r#"["Ann"]"#).contains("invalid type: sequence"));
    assert!(reason(r#"{"owner":"Ann"} x"#).contains("trailing characters"));
    assert!(reason(r#"{"owner":"Ann","owner":"Bob"}"#).contains("duplicate field"));
    assert!(matches!(Ask::decode("OPEN", "{}"), Err(DecodeError::Unknown)));
}

#[test]
fn unknown_fields_are_refused_where_the_author_says_so() {
    let fits = Strict::decode("open", r#"{"owner":"Ann"}"#);
    assert!(matches!(fits, Ok(Strict::Open { owner }) if owner == "Ann"));
    assert!(Strict::decode("open", r#"{"owner":"Ann","extra":1}"#).is_err());
}

#[test]
fn what_is_encoded_decodes_to_the_same() {
    let said = [
        Said::Opened { owner: "Ann \"A\" \u{e9}".to_owned() },
        Said::Renamed { to: "Bob".to_owned() },
        Said::RenamedV1 { name: String::new() },
        Said::Closed,
    ];
    for event in said {
        let of = event.event_type();
        let again = event.encode().map(|data| Said::decode(of.name, of.schema_version, &data));
        assert!(matches!(again, Ok(Ok(again)) if again == event));
    }
    let asked = Ask::Open { owner: "Ann".to_owned(), important: true };
    assert_eq!(asked.encode().as_deref(), Ok(r#"{"owner":"Ann","vip":true}"#));
    assert_eq!(Ask::Close.encode().as_deref(), Ok("{}"));
}

#[test]
fn an_event_type_and_its_version_choose_the_variant() {
    let old = Said::decode("Renamed", 1, r#"{"name":"Bob"}"#);
    assert!(matches!(old, Ok(Said::RenamedV1 { name }) if name == "Bob"));
    let new = Said::decode("Renamed", 2, r#"{"to":"Bob"}"#);
    assert!(matches!(new, Ok(Said::Renamed { to }) if to == "Bob"));
    assert!(matches!(Said::decode("Renamed", 3, "{}"), Err(DecodeError::Unknown)));
}
