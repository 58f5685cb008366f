use std::fs;
use std::path::{Path, PathBuf};

use super::*;
use crate::runtime::{
    CompileLimits, CompilerProgram, GuestLimits, code_settings, config, loader::LoadError,
    metered_config,
};

/// A component that exports a manifest and no more.
fn component(said: &str) -> Vec<u8> {
    let length = said.len();
    let text = format!(
        r#"(component
            (core module $code
                (memory (export "memory") 1)
                (data (i32.const 0) "\08\00\00\00\{length:02x}\00\00\00{said}")
                (func (export "describe") (result i32) (i32.const 0)))
            (core instance $i (instantiate $code))
            (func $describe (result string)
                (canon lift (core func $i "describe") (memory $i "memory")))
            (instance $manifest (export "describe" (func $describe)))
            (export "factum:domain/manifest@0.1.0" (instance $manifest)))"#
    );
    wat::parse_str(text).expect("is a component")
}

fn options(dir: &Path, compiler: CompilerProgram, gate: GateLimits) -> RuntimeOptions {
    RuntimeOptions {
        guests: GuestLimits::default(),
        gate,
        wasi: Wasi::Frozen,
        compile: CompileLimits::default(),
        compiler,
        cache: dir.to_owned(),
    }
}

fn loader(dir: &Path, compiler: CompilerProgram, gate: GateLimits) -> Loader {
    let options = options(dir, compiler, gate);
    let engine = |config| wasmtime::Engine::new(&config).expect("starts");
    let (live, metered) = (engine(config(&options.guests)), engine(metered_config()));
    Loader::new(live, metered, options).expect("opens")
}

/// One that compiles, and one that can only use what is in the cache.
fn both(dir: &Path) -> (Loader, Loader) {
    let nobody = CompilerProgram::Child(PathBuf::from("/nobody/compiles/here"));
    let gate = GateLimits::default();
    (loader(dir, CompilerProgram::InProcess, gate), loader(dir, nobody, gate))
}

fn entries(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).expect("reads").map(|entry| entry.expect("reads").path());
    entries.filter(|path| path.file_name().is_some_and(|name| name != "key")).collect()
}

fn needs_a_compiler(loader: &Loader, bytes: &[u8]) {
    let error = loader.load(bytes).map(drop).expect_err("has no code");
    assert!(matches!(&error, LoadError::Compile(CompileError::Unavailable(_))), "{error}");
    assert!(error.to_string().contains("/nobody/compiles/here"), "{error}");
}

#[test]
fn a_component_is_compiled_once() {
    let dir = tempfile::tempdir().expect("a directory");
    let (compiles, cached) = both(dir.path());
    let (known, unknown) = (component("known"), component("unknown"));
    needs_a_compiler(&cached, &known);
    compiles.load(&known).expect("compiles");
    let (digest, _) = cached.load(&known).expect("is cached");
    assert_eq!(&digest, blake3::hash(&known).as_bytes());
    needs_a_compiler(&cached, &unknown);
}

#[test]
fn code_that_was_touched_is_never_run() {
    let dir = tempfile::tempdir().expect("a directory");
    let (compiles, cached) = both(dir.path());
    let bytes = component("touched");
    compiles.load(&bytes).expect("compiles");
    let [entry] = &entries(dir.path())[..] else { panic!("one entry") };
    let sound = fs::read(entry).expect("reads");
    let mut changed = sound.clone();
    for at in [0, 31, 32, sound.len() / 2, sound.len() - 1] {
        changed[at] ^= 1;
        fs::write(entry, &changed).expect("writes");
        needs_a_compiler(&cached, &bytes);
        changed[at] ^= 1;
    }
    for cut in [0, 1, 32, 33, sound.len() - 1] {
        fs::write(entry, &sound[..cut]).expect("writes");
        needs_a_compiler(&cached, &bytes);
    }
    compiles.load(&bytes).expect("compiles again");
    assert_eq!(fs::read(entry).expect("reads").len(), sound.len());
    cached.load(&bytes).expect("is cached again");
}

#[test]
fn code_of_another_store_or_another_component_is_foreign() {
    let (dir, other) = (tempfile::tempdir().expect("one"), tempfile::tempdir().expect("other"));
    let (compiles, cached) = both(dir.path());
    let bytes = component("mine");
    let (elsewhere, _) = both(other.path());
    elsewhere.load(&bytes).expect("compiles");
    let [theirs] = &entries(other.path())[..] else { panic!("one entry") };
    let name = dir.path().join(theirs.file_name().expect("a name"));
    fs::copy(theirs, &name).expect("copies");
    needs_a_compiler(&cached, &bytes);

    compiles.load(&component("another")).expect("compiles");
    fs::remove_file(&name).expect("removes");
    let [another] = &entries(dir.path())[..] else { panic!("one entry") };
    fs::rename(another, &name).expect("renames");
    needs_a_compiler(&cached, &bytes);
}

#[test]
fn other_limits_of_the_gate_look_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let bytes = component("looked at");
    both(dir.path()).0.load(&bytes).expect("compiles");
    let strict = GateLimits { core_modules: 0, ..GateLimits::default() };
    let strict = loader(dir.path(), CompilerProgram::InProcess, strict);
    let error = strict.load(&bytes).map(drop).expect_err("is refused");
    let LoadError::Gate(GateError::TooMuch { limit: "core_modules", .. }) = error else {
        panic!("{error}")
    };
}

#[test]
fn only_what_is_kept_has_code() {
    let dir = tempfile::tempdir().expect("a directory");
    let (compiles, cached) = both(dir.path());
    let (kept, gone, refused) = (component("kept"), component("gone"), component("refused"));
    let (digest, _) = compiles.load(&kept).expect("compiles");
    compiles.load(&gone).expect("compiles");
    let (refused_digest, _) = compiles.load(&refused).expect("compiles");
    compiles.forget(&refused_digest);
    needs_a_compiler(&cached, &refused);
    cached.keep_only(&HashSet::from([digest]));
    cached.load(&kept).expect("is cached");
    needs_a_compiler(&cached, &gone);
}

#[test]
fn nobody_else_may_look_into_the_cache() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().expect("a directory");
    let cache = dir.path().join("compiled");
    both(&cache).0.load(&component("private")).expect("compiles");
    let mode = |path: &Path| fs::metadata(path).expect("is there").permissions().mode() & 0o777;
    assert_eq!(mode(&cache), 0o700);
    assert_eq!(mode(&cache.join("key")), 0o600);
    for entry in entries(&cache) {
        assert_eq!(mode(&entry), 0o600);
    }
}

#[test]
fn the_compilers_settings_are_the_servers() {
    let options = options(Path::new(""), CompilerProgram::InProcess, GateLimits::default());
    let engine = |config| wasmtime::Engine::new(&config).expect("starts");
    let servers = [config(&GuestLimits::default()), metered_config()].map(engine);
    for (metered, server) in [false, true].into_iter().zip(servers) {
        assert_eq!(
            settings(&engine(code_settings(metered)), &options),
            settings(&server, &options)
        );
    }
}
