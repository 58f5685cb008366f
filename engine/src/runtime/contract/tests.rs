use super::text::CUT;
use super::*;

#[test]
fn the_contract_is_read_whole() {
    let contract = Contract::read(Wasi::Frozen).expect("wit/ is sound");
    let names = |of: &BTreeMap<String, Interface>| of.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&contract.imports), ["log", "read-models", "types"]);
    let roles = ["aggregate", "manifest", "process-manager", "projection", "queries", "upcaster"];
    assert_eq!(names(&contract.exports), roles);
    let all = format!("{contract:?}");
    assert!(!all.contains(CUT) && !all.contains("Other"), "{all}");
    let Item::Function { parameters, result, is_async } = &contract.exports["upcaster"]["upcast"]
    else {
        panic!("upcast is a function")
    };
    let versioned = "record { event-type: string, schema-version: u32, data: string }";
    assert_eq!(parameters, &[("events".to_owned(), format!("list<{versioned}>"))]);
    assert_eq!(result, &format!("result<list<list<{versioned}>>, string>"));
    assert!(!is_async);
}
