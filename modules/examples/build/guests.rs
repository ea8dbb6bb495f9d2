//! From the sources of the guests to the bytes of their components; used by the
//! build script and by the test that builds everything a second time.
//! Refuses to let the place or the environment of a build into the bytes, and
//! knows nothing of what a function computes.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use anyhow::{Context as _, Result, bail};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

mod sections;

/// Names another clang than the one on the path.
pub(crate) const CLANG_VARIABLE: &str = "GNOMON_CLANG";

/// Below `modules`: the guests' workspace, and what it takes from the SDK.
const GUESTS: &str = "examples/guests";
const SDK_RUST: &str = "sdk/rust";
const SDK_C: &str = "sdk/c";
/// Where the guests' manifest has the SDK, and where it lies in the staged workspace.
const SDK_IN_MANIFEST: &str = "../../sdk/rust";
const SDK_STAGED: &str = "sdk";

/// Enough for these functions; rustc's default of 1 MiB would cost 16 pages.
const STACK_SIZE: &str = "stack-size=8192";

enum Source {
    /// A member of the guests' workspace, of the function's name.
    Rust,
    /// One translation unit and its WIT, both below the guests' folder.
    C { unit: &'static str, wit: &'static str },
}

struct Guest {
    name: &'static str,
    version: &'static str,
    release_counter: u64,
    /// The role that it fills.
    function: &'static str,
    source: Source,
}

const ALL: [Guest; 7] = [
    Guest::new("water-heater-tou", "1.0.0", Source::Rust),
    Guest::new("water-heater-price", "2.0.0", Source::Rust),
    Guest::new(
        "water-heater-price-c",
        "2.0.0",
        Source::C {
            unit: "water-heater-price-c/water_heater_price.c",
            wit: "water-heater-price/wit/setpoint.wit",
        },
    ),
    Guest::new("water-heater-hot", "1.0.0", Source::Rust),
    Guest::new("smoothed-setpoint", "1.0.0", Source::Rust),
    Guest::new("smoothed-setpoint-2", "2.0.0", Source::Rust),
    Guest { function: "dispatch", ..Guest::new("battery-arbitrage", "1.0.0", Source::Rust) },
];

impl Guest {
    const fn new(name: &'static str, version: &'static str, source: Source) -> Self {
        Self { name, version, release_counter: 1, function: "setpoint", source }
    }

    /// What the function says of itself; the publisher's document repeats it.
    fn manifest(&self) -> String {
        format!(
            r#"{{"name":"{}","version":"{}","release_counter":{},"function":"{}"}}"#,
            self.name, self.version, self.release_counter, self.function
        )
    }
}

/// Builds every guest below `modules` with `work` as scratch space: name and
/// component of each. The bytes depend on the sources and the compilers alone.
pub(crate) fn build(modules: &Path, work: &Path) -> Result<Vec<(&'static str, Vec<u8>)>> {
    fs::create_dir_all(work).with_context(|| work.display().to_string())?;
    let release = build_rust(modules, work)?;
    let clang = env::var_os(CLANG_VARIABLE).unwrap_or_else(|| "clang".into());
    let mut built = Vec::new();
    for guest in &ALL {
        let core = match &guest.source {
            Source::Rust => {
                let file = release.join(format!("{}.wasm", guest.name.replace('-', "_")));
                fs::read(&file).with_context(|| file.display().to_string())?
            }
            Source::C { unit, wit } => build_c(&clang, modules, work, unit, wit)?,
        };
        let component = componentize(&core, guest)
            .with_context(|| format!("cannot turn {} into a component", guest.name))?;
        built.push((guest.name, component));
    }
    Ok(built)
}

/// Every file that the components are built from, relative to `modules`.
pub(crate) fn sources(modules: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = [GUESTS, SDK_RUST, SDK_C].map(PathBuf::from).to_vec();
    while let Some(folder) = folders.pop() {
        let path = modules.join(&folder);
        for entry in fs::read_dir(&path).with_context(|| path.display().to_string())? {
            let entry = entry?;
            let relative = folder.join(entry.file_name());
            if !entry.file_type()?.is_dir() {
                files.push(relative);
            } else if entry.file_name() != "target" {
                folders.push(relative);
            }
        }
    }
    files.sort();
    Ok(files)
}

/// The guests' workspace with the SDK inside it. Cargo names a package outside its
/// workspace by its absolute path, rustc's symbols hold that name, and the linker sorts
/// by symbols: the bytes would depend on the folder.
fn stage(modules: &Path, work: &Path) -> Result<PathBuf> {
    let stage = work.join("guests");
    for file in sources(modules)? {
        let inside = match (file.strip_prefix(GUESTS), file.strip_prefix(SDK_RUST)) {
            (Ok(guest), _) => guest.to_owned(),
            (_, Ok(sdk)) => Path::new(SDK_STAGED).join(sdk),
            _ => continue,
        };
        let (from, to) = (modules.join(&file), stage.join(&inside));
        let mut bytes = fs::read(&from).with_context(|| from.display().to_string())?;
        if inside == Path::new("Cargo.toml") {
            let text = String::from_utf8(bytes).context("the workspace's manifest is no text")?;
            bytes = text.replace(SDK_IN_MANIFEST, SDK_STAGED).into_bytes();
        }
        // What has not changed keeps its time, and is not compiled again.
        if fs::read(&to).is_ok_and(|there| there == bytes) {
            continue;
        }
        fs::create_dir_all(to.parent().unwrap_or(&stage))?;
        fs::write(&to, bytes).with_context(|| to.display().to_string())?;
    }
    Ok(stage)
}

/// Compiles the guests' workspace; the folder of the core modules.
fn build_rust(modules: &Path, work: &Path) -> Result<PathBuf> {
    let target = work.join("target");
    let stage = stage(modules, work)?;
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // The outer build's profile, flags, wrappers and target are not the guests'.
    for (name, _) in env::vars_os().filter(|(name, _)| !concerns_guests(name)) {
        cargo.env_remove(name);
    }
    cargo
        .current_dir(&stage)
        .env("CARGO_ENCODED_RUSTFLAGS", rust_flags(&stage, &target)?)
        .args(["build", "--release", "--locked", "--quiet"])
        .args(["--target", "wasm32-unknown-unknown", "--target-dir"])
        .arg(&target);
    run(&mut cargo, "install Rust with rustup (https://rustup.rs)")?;
    Ok(target.join("wasm32-unknown-unknown/release"))
}

/// Whether an environment variable of this process is passed on to the guests'
/// cargo: where tools and registries are, yes; how to build, no.
fn concerns_guests(name: &OsString) -> bool {
    let name = name.to_string_lossy();
    let kept = ["CARGO_HOME", "CARGO_NET", "CARGO_HTTP", "CARGO_REGISTR", "CARGO_SOURCE", "RUSTUP"];
    name == "RUSTC"
        || kept.iter().any(|prefix| name.starts_with(prefix))
        || !(name.starts_with("CARGO") || name.starts_with("RUST"))
}

fn rust_flags(stage: &Path, target: &Path) -> Result<OsString> {
    let mut flags: Vec<OsString> = vec![
        format!("-Clink-arg=-z{STACK_SIZE}").into(),
        // The floor that every host accepts, see DESIGN: no reference types.
        "-Ctarget-cpu=mvp".into(),
        "-Ctarget-feature=+mutable-globals,+sign-ext,+nontrapping-fptoint,+bulk-memory".into(),
    ];
    // Of several prefixes that match, rustc takes the last.
    for (from, to) in [
        (cargo_home()?, "/cargo"),
        (sysroot()?, "/rust"),
        (target.to_owned(), "/target"),
        (stage.to_owned(), "/guests"),
    ] {
        let mut flag = OsString::from("--remap-path-prefix=");
        flag.push(from);
        flag.push("=");
        flag.push(to);
        flags.push(flag);
    }
    Ok(flags.join("\u{1f}".as_ref()))
}

fn cargo_home() -> Result<PathBuf> {
    if let Some(home) = env::var_os("CARGO_HOME") {
        return Ok(home.into());
    }
    let home = env::home_dir().context("no home folder: set CARGO_HOME")?;
    Ok(home.join(".cargo"))
}

fn sysroot() -> Result<PathBuf> {
    let mut rustc = Command::new(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    let printed = run(rustc.args(["--print", "sysroot"]), "install Rust with rustup")?;
    Ok(String::from_utf8(printed)?.trim_end().into())
}

/// Compiles one C guest and embeds its WIT, as the Rust bindings do by themselves.
/// Two steps, because clang runs any `wasm-opt` it finds when it optimizes and
/// links in one.
pub(crate) fn build_c(
    clang: &OsStr,
    modules: &Path,
    work: &Path,
    unit: &str,
    wit: &str,
) -> Result<Vec<u8>> {
    const ADVICE: &str = "install clang and lld (Debian: apt-get install clang lld)";
    let (object, module) = (work.join("guest.o"), work.join("guest.wasm"));
    let guests = modules.join(GUESTS);

    let mut compile = Command::new(clang);
    compile
        .current_dir(&guests)
        .args(["--target=wasm32-unknown-unknown", "-mcpu=mvp", "-mmutable-globals"])
        .args(["-msign-ext", "-mnontrapping-fptoint", "-mbulk-memory"])
        .args(["-std=c11", "-ffreestanding", "-Os", "-ffp-contract=off"])
        .args(["-Wall", "-Wextra", "-Werror", "-I"])
        .arg(modules.join(SDK_C))
        .args(["-c", unit, "-o"])
        .arg(&object);
    run(&mut compile, ADVICE)?;

    let mut link = Command::new(clang);
    link.args(["--target=wasm32-unknown-unknown", "-nostdlib", "-Wl,--no-entry"])
        .args(["-Wl,--strip-all", "-Wl,--stack-first", &format!("-Wl,-z,{STACK_SIZE}")])
        .arg(&object)
        .arg("-o")
        .arg(&module);
    run(&mut link, ADVICE)?;

    let mut core = fs::read(&module).with_context(|| module.display().to_string())?;
    let mut resolve = Resolve::default();
    let text = fs::read_to_string(guests.join(wit)).with_context(|| wit.to_owned())?;
    let package = resolve.push_str(wit, &text)?;
    let world = resolve.select_world(&[package], Some("setpoint"))?;
    embed_component_metadata(&mut core, &resolve, world, StringEncoding::UTF8)?;
    Ok(core)
}

/// Wraps a core module that carries its WIT, without the sections that say which
/// tools made it, and with what the function says of itself.
fn componentize(core: &[u8], guest: &Guest) -> Result<Vec<u8>> {
    let core = sections::keep_custom(core, |name| name.starts_with("component-type"))?;
    let component = ComponentEncoder::default().validate(true).module(&core)?.encode()?;
    let mut component = sections::keep_custom(&component, |_| false)?;
    sections::append_custom(&mut component, "gnomon.manifest", guest.manifest().as_bytes())?;
    Ok(component)
}

/// Runs a tool to its end: what it printed. `advice` is for when it is not there.
fn run(command: &mut Command, advice: &str) -> Result<Vec<u8>> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| format!("cannot run {program}: {advice}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{program} failed ({advice} if it is about a missing tool):\n{said}");
    }
    Ok(output.stdout)
}
