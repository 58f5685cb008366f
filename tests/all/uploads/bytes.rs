//! Components made by hand: by text where they are small, by an encoder where they are big.

use wasm_encoder::{
    CodeSection, Function, FunctionSection, Instruction, Module, TypeSection, ValType,
};

/// A component of WebAssembly text.
pub fn text(text: &str) -> Vec<u8> {
    wat::parse_str(text).unwrap_or_else(|error| panic!("{error} in {text}"))
}

/// A component that exports a manifest, which `describe` answers from what is at 0: the address
/// and the length of its text. `items` stand beside it in the core module.
pub fn describing(data: &str, describe: &str, items: &str) -> Vec<u8> {
    text(&format!(
        r#"(component
            (core module $code
                (memory (export "memory") 1)
                (data (i32.const 0) "{data}")
                {items}
                (func (export "describe") (result i32) {describe}))
            (core instance $i (instantiate $code))
            (func $describe (result string)
                (canon lift (core func $i "describe") (memory $i "memory")))
            (instance $manifest (export "describe" (func $describe)))
            (export "factum:domain/manifest@0.1.0" (instance $manifest)))"#
    ))
}

/// A component with this manifest.
pub fn saying(manifest: &str) -> Vec<u8> {
    saying_bytes(manifest.as_bytes())
}

/// A component with these bytes for a manifest.
pub fn saying_bytes(manifest: &[u8]) -> Vec<u8> {
    let length = u32::try_from(manifest.len()).expect("is small").to_le_bytes();
    let data: Vec<u8> = [&[8, 0, 0, 0], &length[..], manifest].concat();
    let data: String = data.iter().map(|byte| format!("\\{byte:02x}")).collect();
    describing(&data, "i32.const 0", "")
}

/// A component that nothing is wrong with but that it has no role, and another core module inside
/// it, which nobody uses and every compiler compiles.
pub fn carrying(module: &Module) -> Vec<u8> {
    let mut bytes = saying(r#"{"name":"carrier","version":"1.0.0","contract":"0.1.0"}"#);
    let module = module.as_slice();
    bytes.push(1);
    bytes.extend(leb(module.len()));
    bytes.extend(module);
    bytes
}

/// A number as WebAssembly writes it.
pub fn leb(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = u8::try_from(number & 0x7f).expect("seven bits");
        number >>= 7;
        bytes.push(if number > 0 { low | 0x80 } else { low });
        if number == 0 {
            return bytes;
        }
    }
}

/// A module of functions without parameters.
pub fn functions(bodies: impl IntoIterator<Item = Function>) -> Module {
    let (mut types, mut kinds, mut code) =
        (TypeSection::new(), FunctionSection::new(), CodeSection::new());
    types.ty().function([], []);
    for body in bodies {
        kinds.function(0);
        code.function(&body);
    }
    let mut module = Module::new();
    module.section(&types).section(&kinds).section(&code);
    module
}

/// A function with some locals and these instructions.
pub fn function<'i>(
    locals: u32,
    instructions: impl IntoIterator<Item = Instruction<'i>>,
) -> Function {
    let mut function = Function::new([(locals, ValType::I32)]);
    for instruction in instructions {
        function.instruction(&instruction);
    }
    function.instruction(&Instruction::End);
    function
}

/// Loops inside one another, each of which changes a local and may go round again: a compiler has
/// to ask at each loop where the value of each local comes from.
pub fn loops(depth: u32, locals: u32) -> Function {
    use Instruction as I;
    let begin = (0..depth).flat_map(|at| {
        [
            I::Loop(wasm_encoder::BlockType::Empty),
            I::LocalGet(at % locals),
            I::I32Const(1),
            I::I32Add,
            I::LocalSet((at * 7) % locals),
        ]
    });
    let end = (0..depth).flat_map(|at| [I::LocalGet(at % locals), I::BrIf(0), I::End]);
    function(locals, begin.chain(end))
}
