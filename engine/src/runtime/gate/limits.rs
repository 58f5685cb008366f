//! How much of each thing a component may have, before any compiler sees it.

/// What a component may consist of. Each has a default with a reason; "in all" counts the whole
/// component, with the modules and components inside it. Interpreters set the measure: the largest
/// known component, Python with its libraries, has a third of each default at most unless said
/// otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GateLimits {
    /// Components inside one another. 8: composing tools nest two or three.
    pub component_depth: u64,
    /// Components in all. 64: an adapter is one, and each is walked by itself.
    pub components: u64,
    /// Core modules in all. 128: Python has one for each of its libraries.
    pub core_modules: u64,
    /// Instances of core modules and of components in all. 64 would be Python's 38 with room; the
    /// small ones that only pass a table on count too: 128.
    pub instances: u64,
    /// Imports of core modules and components in all. 20,000: libraries import from one another.
    pub imports: u64,
    /// Exports of core modules and components in all. 50,000: Python's library has thousands.
    pub exports: u64,
    /// Bytes of the sections that declare types, in all. 1 MiB: all of WASI is 60 KiB.
    pub type_bytes: u64,
    /// Parameters of one function, and results. 100: compilers pass more by memory.
    pub parameters: u64,
    /// Functions with a body, and adapters of functions, in all. 100,000: a JavaScript engine has 25,000.
    pub functions: u64,
    /// Bytes of one function's body. 1 MiB: an interpreter's main loop has 100 KiB, and what the
    /// compiler spends may grow faster than the body.
    pub body_bytes: u64,
    /// Locals of one function, its parameters among them. 5,000: each may cost at every block.
    pub locals: u64,
    /// Locals of all functions. 1,000,000: a JavaScript engine has 200,000.
    pub total_locals: u64,
    /// Blocks, loops and conditions of one function times its locals: what the compiler may have
    /// to look at to find out which value a local has where. 20,000,000: some seconds.
    pub locals_times_blocks: u64,
    /// Blocks inside one another. 2,000: a switch nests as deep as it has cases.
    pub nesting: u64,
    /// Targets of all `br_table`s of one function. 20,000: a switch over 16 bits is rare.
    pub branch_targets: u64,
    /// Globals in all. 20,000: a library has one for each symbol that it shares.
    pub globals: u64,
    /// Tables in all, and memories. 64: as many as one instance may have of the pool.
    pub tables: u64,
    /// Elements that one table begins with. 100,000: one for each function that is pointed to.
    pub table_elements: u64,
    /// Bytes that one memory begins with. 64 MiB: what an instance may have.
    pub memory_bytes: u64,
    /// Segments of data and of elements in all. 50,000: a library has one for each array.
    pub segments: u64,
    /// Entries of element segments in all. 500,000: each function may be in several.
    pub segment_elements: u64,
    /// Bytes of custom sections in all. 8 MiB: the names of a large program's functions.
    pub custom_bytes: u64,
}

impl Default for GateLimits {
    fn default() -> Self {
        Self {
            component_depth: 8,
            components: 64,
            core_modules: 128,
            instances: 128,
            imports: 20_000,
            exports: 50_000,
            type_bytes: 1 << 20,
            parameters: 100,
            functions: 100_000,
            body_bytes: 1 << 20,
            locals: 5_000,
            total_locals: 1_000_000,
            locals_times_blocks: 20_000_000,
            nesting: 2_000,
            branch_targets: 20_000,
            globals: 20_000,
            tables: 64,
            table_elements: 100_000,
            memory_bytes: 64 << 20,
            segments: 50_000,
            segment_elements: 500_000,
            custom_bytes: 8 << 20,
        }
    }
}
