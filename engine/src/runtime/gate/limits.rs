//! How much of each thing a component may have, before any compiler sees it.

/// What a component may consist of. Each has a default with a reason; "in all" counts the whole
/// component, with the modules and components inside it. Interpreters set the measure: QuickJS,
/// SpiderMonkey, and Python with its libraries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GateLimits {
    /// Components inside one another. 8: QuickJS's tools nest four.
    pub component_depth: u64,
    /// Components in all. 64: QuickJS has 26.
    pub components: u64,
    /// Core modules in all. 128: Python has 38, one for each library.
    pub core_modules: u64,
    /// Instances of core modules and of components in all. 128: Python has 41.
    pub instances: u64,
    /// Imports of core modules and components in all. 10,000: Python has 2,434, most of them from
    /// library to library.
    pub imports: u64,
    /// Exports of core modules and components in all. 20,000: Python has 4,485.
    pub exports: u64,
    /// Bytes of the sections that declare types, in all. 256 KiB: Python with WASI has 18.
    pub type_bytes: u64,
    /// Parameters of one function, and results. 100: compilers pass more by memory; Python has a
    /// function with 18.
    pub parameters: u64,
    /// Functions with a body, and adapters of functions, in all. 50,000: Python has 13,501.
    pub functions: u64,
    /// Bytes of one function's body. 1 MiB: Python has one with 417 KiB.
    pub body_bytes: u64,
    /// Locals of one function, its parameters among them. 5,000: Python has one with 273, and what
    /// was not optimised has more.
    pub locals: u64,
    /// Locals of all functions. 500,000: SpiderMonkey has 86,362.
    pub total_locals: u64,
    /// Blocks, loops and conditions of one function, times its locals: at each the compiler may
    /// have to find out where each local's value comes from. 1,000,000: some ten seconds;
    /// SpiderMonkey has a function with 200,812.
    pub locals_times_blocks: u64,
    /// Blocks inside one another. 2,000: a switch nests as deep as it has cases; Python has 781.
    pub nesting: u64,
    /// Targets of all `br_table`s of one function. 50,000: Python has a function with 15,805.
    pub branch_targets: u64,
    /// Globals in all. 5,000: Python has 871, one for each symbol that its libraries share.
    pub globals: u64,
    /// Tables and memories in all. 64: as many of each as one instance may have.
    pub tables: u64,
    /// Elements that one table begins with. 20,000: as many as an instance has room for;
    /// SpiderMonkey has 7,691.
    pub table_elements: u64,
    /// Segments of data and of elements in all. 50,000: SpiderMonkey has 10,002.
    pub segments: u64,
    /// Entries of element segments in all. 100,000: SpiderMonkey has 7,693.
    pub segment_elements: u64,
    /// Bytes of custom sections in all. 16 MiB: what a debugger wants to know of a program; Python
    /// has 408 KiB.
    pub custom_bytes: u64,
}

impl Default for GateLimits {
    fn default() -> Self {
        Self {
            component_depth: 8,
            components: 64,
            core_modules: 128,
            instances: 128,
            imports: 10_000,
            exports: 20_000,
            type_bytes: 256 << 10,
            parameters: 100,
            functions: 50_000,
            body_bytes: 1 << 20,
            locals: 5_000,
            total_locals: 500_000,
            locals_times_blocks: 1_000_000,
            nesting: 2_000,
            branch_targets: 50_000,
            globals: 5_000,
            tables: 64,
            table_elements: 20_000,
            segments: 50_000,
            segment_elements: 100_000,
            custom_bytes: 16 << 20,
        }
    }
}
