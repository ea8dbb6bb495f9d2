//! `gnomon module build`: a component with a manifest, from what a compiler made.

use anyhow::{Context as _, Result, bail};
use clap::Args;
use gnomon_schemas::ids::{Digest, FunctionName, ModuleName};
use gnomon_schemas::module::{MANIFEST_SECTION, Manifest};
use serde_json::json;
use std::path::{Path, PathBuf};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

use super::module::read;
use super::show::Shown;

#[derive(Debug, Args)]
pub(super) struct BuildArgs {
    /// A core module, or a component
    input: PathBuf,
    /// The WIT that the core module was written against, if it carries none
    #[arg(long)]
    wit: Option<PathBuf>,
    /// The world in it
    #[arg(long, requires = "wit")]
    world: Option<String>,
    /// The module's name, the same over its releases
    #[arg(long)]
    name: ModuleName,
    /// The release, for people
    #[arg(long = "version", value_name = "TEXT")]
    release: String,
    /// The release's place in the line: higher than the last
    #[arg(long)]
    release_counter: u64,
    /// The function that it is written for
    #[arg(long)]
    function: FunctionName,
    /// The file to write
    #[arg(short, long)]
    out: PathBuf,
}

/// Bytes 4 to 8 of a binary: version and layer.
const CORE: &[u8] = &[1, 0, 0, 0];
const COMPONENT: &[u8] = &[0x0d, 0, 1, 0];
const ID_CUSTOM: u8 = 0;

pub(super) fn build(args: &BuildArgs) -> Result<Shown> {
    let bytes = read(&args.input)?;
    let mut component = match bytes.get(4..8) {
        Some(COMPONENT) if bytes.starts_with(b"\0asm") => bytes,
        Some(CORE) if bytes.starts_with(b"\0asm") => componentize(bytes, args)?,
        _ => bail!("{} is not a WebAssembly binary", args.input.display()),
    };
    if gnomon_host::manifest(&component).is_some() {
        bail!(
            "{} carries a manifest already; build from what the compiler made",
            args.input.display()
        );
    }
    let manifest = Manifest {
        name: args.name.clone(),
        version: args.release.clone(),
        release_counter: args.release_counter,
        function: args.function.clone(),
    };
    append_custom(&mut component, MANIFEST_SECTION, &serde_json::to_vec(&manifest)?)?;
    std::fs::write(&args.out, &component)
        .with_context(|| format!("cannot write {}", args.out.display()))?;
    let digest = Digest::of(&component);
    let human = format!("{} {} bytes {digest}", args.out.display(), component.len());
    let json = json!({ "digest": digest, "size_bytes": component.len(), "manifest": manifest });
    Ok(Shown::new(json, human))
}

fn componentize(mut core: Vec<u8>, args: &BuildArgs) -> Result<Vec<u8>> {
    if let Some(wit) = &args.wit {
        embed(&mut core, wit, args.world.as_deref())?;
    }
    let encoder = ComponentEncoder::default().validate(true).module(&core);
    let component = encoder.and_then(|mut encoder| encoder.encode());
    component.context("cannot make a component of it; does it carry its WIT? else give --wit")
}

fn embed(core: &mut Vec<u8>, wit: &Path, world: Option<&str>) -> Result<()> {
    let text =
        std::fs::read_to_string(wit).with_context(|| format!("cannot read {}", wit.display()))?;
    let mut resolve = Resolve::default();
    let package = resolve.push_str(wit, &text).with_context(|| wit.display().to_string())?;
    let world = resolve.select_world(&[package], world)?;
    embed_component_metadata(core, &resolve, world, StringEncoding::UTF8)
}

/// Adds a custom section at the end: id, size, name, data.
fn append_custom(binary: &mut Vec<u8>, name: &str, data: &[u8]) -> Result<()> {
    let mut body = leb128(name.len())?;
    body.extend_from_slice(name.as_bytes());
    body.extend_from_slice(data);
    binary.push(ID_CUSTOM);
    binary.extend_from_slice(&leb128(body.len())?);
    binary.extend_from_slice(&body);
    Ok(())
}

/// An unsigned number as WebAssembly writes it.
fn leb128(number: usize) -> Result<Vec<u8>> {
    let mut rest = u32::try_from(number).context("a section of more than 4 GiB")?;
    let mut bytes = vec![];
    loop {
        let [low, ..] = rest.to_le_bytes();
        rest >>= 7;
        if rest == 0 {
            bytes.push(low & 0x7f);
            return Ok(bytes);
        }
        bytes.push(low | 0x80);
    }
}
