//! Builds the example functions from source and leaves one component for each in
//! `OUT_DIR`, where the library includes it. Refuses to know how: see `build/`.

use std::path::Path;
use std::{env, fs};

use anyhow::{Context as _, Result};

#[path = "build/guests.rs"]
mod guests;

fn main() -> Result<()> {
    let out = env::var_os("OUT_DIR").context("cargo sets OUT_DIR for build scripts")?;
    let here = env::var_os("CARGO_MANIFEST_DIR").context("cargo sets CARGO_MANIFEST_DIR")?;
    let (out, modules) = (Path::new(&out), Path::new(&here).join(".."));
    let modules = modules.canonicalize().with_context(|| modules.display().to_string())?;

    println!("cargo::rerun-if-env-changed={}", guests::CLANG_VARIABLE);
    for source in guests::sources(&modules)? {
        println!("cargo::rerun-if-changed={}", modules.join(source).display());
    }
    for (name, component) in guests::build(&modules, &out.join("guests"))? {
        let file = out.join(format!("{name}.wasm"));
        fs::write(&file, component).with_context(|| file.display().to_string())?;
    }
    Ok(())
}
