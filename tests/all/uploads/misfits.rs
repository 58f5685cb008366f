//! Components that are none, are not valid, do not fit the contract, or do not do what they say.

use super::bytes::{describing, saying, saying_bytes, text};
use crate::harness::workspace;

/// Each with a word that the answer must have.
pub fn all() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let mut all = not_components();
    all.extend(switched_off());
    all.extend(other_worlds());
    all.extend(wrong_manifest_interfaces());
    all.extend(wrong_logs());
    all.extend(misbehaving());
    all.extend(wrong_manifests());
    all
}

type Cases = Vec<(&'static str, Vec<u8>, &'static str)>;

fn not_components() -> Cases {
    let good = saying("{}");
    vec![
        ("nothing", vec![], "do not begin as WebAssembly does"),
        ("words", b"hello, this is no component".to_vec(), "do not begin as WebAssembly does"),
        ("a page", b"<!doctype html><title>404</title>".to_vec(), "do not begin"),
        ("four bytes", b"\0asm".to_vec(), "do not begin"),
        ("a core module", text("(module (func))"), "core module"),
        ("another version", b"\0asm\x0e\0\x01\0".to_vec(), "version"),
        ("half of one", good[..good.len() / 2].to_vec(), "not valid at byte"),
        ("one and a half", [&good[..], &good[..good.len() / 2]].concat(), "not valid at byte"),
        ("a section twice as long", [&good[..8], &[1, 0xff, 0xff, 0xff, 0x7f]].concat(), "byte"),
        ("an unknown section", [&good[..], &[99, 1, 0]].concat(), "not valid"),
        ("a type error", describing("", "i64.const 0", ""), "type mismatch"),
        ("a call of nobody", describing("", "call 7", ""), "unknown function"),
        ("a local of nobody", describing("", "local.get 9", ""), "unknown local"),
        (
            "an instance of nobody",
            text("(component (core instance (instantiate 3)))"),
            "index out of bounds",
        ),
        ("types that double", doubling(25), "type size"),
        ("types 150 deep", nested_types(150), "nesting"),
    ]
}

/// Each type has the one before it twice: written out, it would fill the memory.
fn doubling(count: usize) -> Vec<u8> {
    let twice = (1..count).map(|at| format!("(type (tuple {0} {0}))", at - 1));
    text(&format!("(component (type (tuple u8 u8)) {})", twice.collect::<String>()))
}

fn nested_types(depth: usize) -> Vec<u8> {
    let lists = (1..depth).map(|at| format!("(type (list {}))", at - 1));
    text(&format!("(component (type (list u8)) {})", lists.collect::<String>()))
}

/// Proposals that the engine does not have.
fn switched_off() -> Cases {
    vec![
        ("threads", describing("", "i32.const 0", "(memory $s 1 1 shared)"), "shared memor"),
        ("atomics", describing("", "i32.const 0 i32.atomic.load", ""), "threads"),
        ("64-bit memories", describing("", "i32.const 0", "(memory $s i64 1)"), "memory64"),
        (
            "relaxed SIMD",
            describing(
                "",
                "i32.const 0",
                "(func (param v128) (result v128) local.get 0 local.get 0 \
                 i8x16.relaxed_swizzle)",
            ),
            "relaxed SIMD",
        ),
        ("structs", describing("", "i32.const 0", "(type (struct (field i32)))"), "gc"),
        ("exceptions", describing("", "i32.const 0", "(tag $t)"), "exceptions"),
        (
            "small pages",
            describing("", "i32.const 0", "(memory $s 1 (pagesize 1))"),
            "custom page sizes",
        ),
    ]
}

fn other_worlds() -> Cases {
    let wit = std::fs::read_to_string(workspace().join("wit").join("factum.wit")).expect("reads");
    let mut resolve = wit_parser::Resolve::default();
    let package = resolve.push_source("factum.wit", &wit).expect("parses");
    let package = wit_component::encode(&resolve, package).expect("encodes");
    let function = r#"(core module $m (func (export "f")))
        (core instance $i (instantiate $m)) (func $f (canon lift (core func $i "f")))"#;
    let exporting = |name: &str| {
        text(&format!(
            r#"(component {function} (instance $x (export "f" (func $f)))
                (export "{name}" (instance $x)))"#
        ))
    };
    let importing = |import: &str| text(&format!("(component {import})"));
    vec![
        ("an empty component", text("(component)"), "another world"),
        ("the contract itself", package, "WIT package"),
        (
            "a greeter",
            text(&format!(r#"(component {function} (export "greet" (func $f)))"#)),
            "\"greet\"; build it for the world `guest`",
        ),
        ("a command", exporting("wasi:cli/run@0.2.0"), "wasi:cli/run@0.2.0"),
        ("the next contract", exporting("factum:domain/manifest@0.2.0"), "version 0.2.0"),
        ("no version", exporting("factum:domain/manifest"), "version without a version"),
        ("the wrong role", exporting("factum:domain/manifest@0.1.0"), "lacks the function"),
        ("no manifest", exporting("factum:domain/unheard-of@0.1.0"), "manifest"),
        (
            "a network",
            importing(r#"(import "wasi:http/outgoing-handler@0.2.0" (instance))"#),
            "wasi:http/outgoing-handler@0.2.0\", and a guest may import only factum:domain/log",
        ),
        (
            "the next WASI",
            importing(r#"(import "wasi:clocks/system-clock@0.3.0" (instance))"#),
            "build it without WASI",
        ),
        ("a WASI function", importing(r#"(import "wasi:cli/exit@0.2.0" (func))"#), "wasi:cli/exit"),
        ("a secret", importing(r#"(import "secret" (func))"#), "\"secret\""),
        ("an own module", importing(r#"(import "code" (core module))"#), "\"code\""),
        (
            "a role",
            importing(r#"(import "factum:domain/aggregate@0.1.0" (instance))"#),
            "may import only",
        ),
        ("an old log", importing(r#"(import "factum:domain/log@0.0.9" (instance))"#), "0.0.9"),
        (
            "a log that is a function",
            importing(r#"(import "factum:domain/log@0.1.0" (func))"#),
            "may import only",
        ),
    ]
}

fn wrong_manifest_interfaces() -> Cases {
    let manifest = |ty: &str, core: &str, options: &str| {
        text(&format!(
            r#"(component
                (core module $m (memory (export "memory") 1)
                    (func (export "realloc") (param i32 i32 i32 i32) (result i32) i32.const 0)
                    (func (export "f") {core}))
                (core instance $i (instantiate $m))
                (alias core export $i "memory" (core memory $memory))
                (alias core export $i "realloc" (core func $realloc))
                (func $f {ty} (canon lift (core func $i "f") {options}))
                (instance $x (export "describe" (func $f)))
                (export "factum:domain/manifest@0.1.0" (instance $x)))"#
        ))
    };
    vec![
        (
            "a number for a manifest",
            manifest("(result u32)", "(result i32) i32.const 0", ""),
            "answers `u32` where the contract has `string`",
        ),
        (
            "a manifest that asks",
            manifest("(param \"a\" u32) (result u32)", "(param i32) (result i32) i32.const 0", ""),
            "takes 1 parameters where the contract has 0",
        ),
        ("a manifest of nothing", manifest("", "", ""), "answers `nothing`"),
        (
            "a list of bytes for a manifest",
            manifest("(result (list u8))", "(result i32) i32.const 0", "(memory $memory)"),
            "answers `list<u8>`",
        ),
        (
            "a result for a manifest",
            manifest(
                "(result (result string (error string)))",
                "(result i32) i32.const 0",
                "(memory $memory)",
            ),
            "answers `result<string, string>`",
        ),
    ]
}

fn wrong_logs() -> Cases {
    let log = |item: &str| {
        text(&format!(r#"(component (import "factum:domain/log@0.1.0" (instance {item})))"#))
    };
    vec![
        (
            "a log of numbers",
            log(r#"(export "log" (func (param "level" u32)))"#),
            "takes 1 parameters where the contract has 2",
        ),
        (
            "a log with other names",
            log(
                r#"(type $l (enum "debug" "info" "warn" "error")) (export "level" (type $e (eq $l)))
                (export "log" (func (param "how" $e) (param "message" string)))"#,
            ),
            "takes `how: enum",
        ),
        (
            "a log with more levels",
            log(r#"(type $l (enum "debug" "info")) (export "level" (type $e (eq $l)))"#),
            "\"level\" of \"factum:domain/log@0.1.0\" is `enum { debug, info }`",
        ),
        (
            "a log that answers",
            log(
                r#"(type $l (enum "debug" "info" "warn" "error")) (export "level" (type $e (eq $l)))
                (export "log" (func (param "level" $e) (param "message" string) (result bool)))"#,
            ),
            "answers `bool` where the contract has `nothing`",
        ),
        ("a log that can do more", log(r#"(export "flush" (func))"#), "\"flush\""),
        ("a log with a resource", log(r#"(export "level" (type (sub resource)))"#), "a resource"),
    ]
}

fn misbehaving() -> Cases {
    let far = "\\00\\00\\00\\7f\\08\\00\\00\\00";
    let long = "\\08\\00\\00\\00\\00\\00\\00\\40";
    vec![
        ("a trap", describing("", "unreachable", ""), "unreachable"),
        ("an endless loop", describing("", "(loop br 0) i32.const 0", ""), "deadline_ms"),
        (
            "an endless recursion",
            describing("", "call $r", "(func $r (result i32) call $r i32.const 1 i32.add)"),
            "stack_bytes",
        ),
        ("a text beyond the memory", describing(far, "i32.const 0", ""), "asked for its manifest"),
        ("a text of a gigabyte", describing(long, "i32.const 0", ""), "asked for its manifest"),
        ("an address beyond the memory", describing("", "i32.const -4", ""), "manifest"),
        (
            "a start that traps",
            describing("", "i32.const 0", "(func $s unreachable) (start $s)"),
            "unreachable",
        ),
        (
            "a start that never ends",
            describing("", "i32.const 0", "(func $s (loop br 0)) (start $s)"),
            "deadline_ms",
        ),
        (
            "a start that takes all memory",
            describing(
                "",
                "i32.const 0",
                "(func $s (loop (br_if 0 (i32.ne (memory.grow (i32.const 100)) (i32.const -1)))) \
                 unreachable) (start $s)",
            ),
            "memory_bytes",
        ),
        (
            "a segment beyond the memory",
            describing("", "i32.const 0", "(data (i32.const 65535) \"too far\")"),
            "started",
        ),
    ]
}

/// A manifest with a command and its schema.
fn with_schema(schema: &str) -> String {
    format!(
        r#"{{"name":"a","version":"1.0.0","contract":"0.1.0",
            "aggregates":[{{"name":"a","commands":[{{"name":"b","schema":{schema}}}]}}]}}"#
    )
}

fn wrong_manifests() -> Cases {
    vec![
        ("bytes for a manifest", saying_bytes(&[0xff, 0xfe, 0xfd]), "utf-8"),
        ("an empty manifest", saying(""), "manifest is wrong"),
        ("words for a manifest", saying("hello"), "manifest is wrong"),
        ("a manifest of nothing said", saying("{}"), "name"),
        ("half a manifest", saying(r#"{"name":"half","#), "EOF"),
        ("a deep manifest", saying(&format!(r#"{{"a":{}"#, "[".repeat(20_000))), "EOF"),
        (
            "a bad name",
            saying(r#"{"name":"../etc","version":"1.0.0","contract":"0.1.0"}"#),
            "../etc",
        ),
        ("a bad version", saying(r#"{"name":"a","version":"new","contract":"0.1.0"}"#), "1.2.3"),
        ("no role", saying(r#"{"name":"a","version":"1.0.0","contract":"0.1.0"}"#), "neither"),
        (
            "an aggregate that it has not",
            saying(
                r#"{"name":"a","version":"1.0.0","contract":"0.1.0",
                "aggregates":[{"name":"a","commands":[{"name":"b"}]}]}"#,
            ),
            "does not export factum:domain/aggregate",
        ),
        (
            "the next contract in a manifest",
            saying(r#"{"name":"a","version":"1.0.0","contract":"0.2.0"}"#),
            "its contract is \"0.2.0\", and this server speaks 0.1.x; build it with an SDK",
        ),
        (
            "no version of a contract",
            saying(r#"{"name":"a","version":"1.0.0","contract":"0.1.x"}"#),
            "this server speaks 0.1.x",
        ),
        (
            "a schema from elsewhere",
            saying(&with_schema(r#"{"$ref":"https://example.com/schema.json"}"#)),
            "the schema of the command \"b\" of \"a\" cannot be used: its $ref",
        ),
        ("a schema that is none", saying(&with_schema(r#"{"type":"coins"}"#)), "cannot be used"),
        (
            "a schema of itself",
            saying(&with_schema(r##"{"properties":{"next":{"$ref":"#"}}}"##)),
            "refers to itself",
        ),
        (
            "an example that does not fit",
            saying(&with_schema(r#"{"required":["to"]},"examples":[{"to":1},{}]"#)),
            "example 1 of the command \"b\" of \"a\" does not fit its schema",
        ),
        (
            "a command twice",
            saying(
                r#"{"name":"a","version":"1.0.0","contract":"0.1.0",
                "aggregates":[{"name":"a","commands":[{"name":"b"},{"name":"b"}]}]}"#,
            ),
            "named twice",
        ),
    ]
}
