//! Components that cost a compiler more than they cost their author: each with the limit it must
//! be refused by.

use std::borrow::Cow;

use wasm_encoder::{
    BlockType, ConstExpr, CustomSection, DataSection, ElementSection, Elements, ExportKind,
    ExportSection, Function, FunctionSection, GlobalSection, GlobalType, ImportSection,
    Instruction as I, MemorySection, MemoryType, Module, RefType, TableSection, TableType,
    TypeSection, ValType,
};

use super::bytes::{carrying, function, functions, loops, text};

type Cases = Vec<(&'static str, Vec<u8>, &'static str)>;

/// Refused by the gate.
pub fn all() -> Cases {
    let mut all = code();
    all.extend(tables());
    all.extend(structure());
    all
}

/// Let in by the gate, and given up by the compiler.
pub fn bombs() -> Cases {
    let ifs = (0..40_000).flat_map(|at| {
        let block = I::If(BlockType::Empty);
        [I::LocalGet(at % 20), block, I::LocalGet(at % 3), I::LocalSet(at % 20), I::End]
    });
    vec![
        (
            "a long chain of conditions, again and again",
            carrying(&functions(vec![function(20, ifs); 20])),
            "compile_cpu_seconds",
        ),
        ("deep loops", carrying(&functions([loops(1_900, 500)])), "compile_cpu_seconds"),
        (
            "400,000 calls in a row",
            carrying(&functions([function(0, vec![I::Call(0); 400_000])])),
            "compile_memory_bytes",
        ),
    ]
}

fn code() -> Cases {
    let blocks = |count: usize, inside: Vec<I<'static>>| {
        let ends = vec![I::End; count];
        vec![I::Block(BlockType::Empty); count].into_iter().chain(inside).chain(ends)
    };
    let table = |targets: usize| I::BrTable(Cow::from(vec![0; targets]), 0);
    let tables = |count: usize, targets: usize| {
        blocks(1, (0..count).flat_map(|_| [I::I32Const(0), table(targets)]).collect())
    };
    let giant = vec![I::Nop; 1 << 20];
    vec![
        ("100,000 functions", functions(vec![function(0, []); 100_000]), "functions"),
        ("50,000 locals", functions([function(50_000, [])]), "locals"),
        ("4,000 locals, often", functions(vec![function(4_000, []); 200]), "total_locals"),
        ("loops over locals", functions([loops(1_000, 2_000)]), "locals_times_blocks"),
        ("a giant body", functions([function(0, giant)]), "body_bytes"),
        ("3,000 blocks deep", functions([function(0, blocks(3_000, vec![]))]), "nesting"),
        ("a million targets", functions([function(0, tables(1, 1_000_000))]), "branch_targets"),
        ("many tables of targets", functions([function(0, tables(60, 1_000))]), "branch_targets"),
    ]
    .into_iter()
    .map(|(name, module, limit)| (name, carrying(&module), limit))
    .collect()
}

fn module(build: impl FnOnce(&mut Module) -> &mut Module) -> Vec<u8> {
    let mut module = Module::new();
    build(&mut module);
    carrying(&module)
}

fn tables() -> Cases {
    let memory = |pages| MemoryType {
        minimum: pages,
        maximum: None,
        memory64: false,
        shared: false,
        page_size_log2: None,
    };
    let table = |elements| TableType {
        element_type: RefType::FUNCREF,
        minimum: elements,
        maximum: None,
        table64: false,
        shared: false,
    };
    let mut memories = MemorySection::new();
    (0..65).for_each(|_| {
        memories.memory(memory(0));
    });
    let (mut large_memory, mut large_table) = (MemorySection::new(), TableSection::new());
    large_memory.memory(memory(65_536));
    large_table.table(table(10_000_000));
    let mut globals = GlobalSection::new();
    let constant = GlobalType { val_type: ValType::I32, mutable: false, shared: false };
    (0..6_000).for_each(|_| {
        globals.global(constant, &ConstExpr::i32_const(0));
    });
    let mut data = DataSection::new();
    (0..60_000).for_each(|_| {
        data.passive([]);
    });
    let mut elements = ElementSection::new();
    elements.passive(Elements::Functions(vec![0; 200_000].into()));
    let mut types = TypeSection::new();
    types.ty().function([], []);
    let mut kinds = FunctionSection::new();
    kinds.function(0);
    let mut code = wasm_encoder::CodeSection::new();
    let mut body = Function::new([]);
    body.instruction(&I::End);
    code.function(&body);
    vec![
        ("65 memories", module(|m| m.section(&memories)), "tables"),
        ("a memory of 4 GiB", module(|m| m.section(&large_memory)), "memory_bytes"),
        ("a table of 10 million", module(|m| m.section(&large_table)), "table_elements"),
        ("6,000 globals", module(|m| m.section(&globals)), "globals"),
        ("60,000 segments", module(|m| m.section(&data)), "segments"),
        (
            "200,000 elements",
            module(|m| m.section(&types).section(&kinds).section(&elements).section(&code)),
            "segment_elements",
        ),
    ]
}

fn structure() -> Cases {
    let mut exports = ExportSection::new();
    for name in 0..100_000 {
        exports.export(&name.to_string(), ExportKind::Func, 0);
    }
    let mut imports = ImportSection::new();
    for name in 0..20_000 {
        imports.import("m", &name.to_string(), wasm_encoder::EntityType::Function(0));
    }
    let (mut types, mut many_types, mut wide) =
        (TypeSection::new(), TypeSection::new(), TypeSection::new());
    types.ty().function([], []);
    wide.ty().function(vec![ValType::I32; 500], []);
    for at in 0..60_000_u32 {
        let bits = (0..5).map(|bit| if at >> bit & 1 == 0 { ValType::I32 } else { ValType::I64 });
        many_types.ty().function(bits, []);
    }
    let custom = CustomSection { name: "fat".into(), data: vec![0; 17 << 20].into() };
    let nested = |open: &str, count: usize| {
        text(&format!("(component {} {})", open.repeat(count), ")".repeat(count)))
    };
    let mut instances = String::from("(core module $m)");
    instances += &"(core instance (instantiate $m))".repeat(200);
    vec![
        ("100,000 exports", module(|m| m.section(&types).section(&exports)), "exports"),
        ("20,000 imports", module(|m| m.section(&types).section(&imports)), "imports"),
        ("500 parameters", module(|m| m.section(&wide)), "parameters"),
        ("60,000 types", module(|m| m.section(&many_types)), "type_bytes"),
        ("a giant custom section", module(|m| m.section(&custom)), "custom_bytes"),
        ("20 components deep", nested("(component", 20), "component_depth"),
        (
            "100 components",
            text(&format!("(component {})", "(component)".repeat(100))),
            "components",
        ),
        (
            "200 modules",
            text(&format!("(component {})", "(core module)".repeat(200))),
            "core_modules",
        ),
        ("200 instances", text(&format!("(component {instances})")), "instances"),
    ]
}
