//! Incident to scenario: what a device recorded becomes a scenario that runs it again.
//!
//! Owns the text of that scenario. Refuses to judge: whether outputs and fuel are the recorded
//! ones, bit for bit, is what the scenario's assertions say.

use anyhow::{Context as _, Result, anyhow, bail};
use gnomon_schemas::Digest;
use gnomon_schemas::ids::FunctionName;
use gnomon_schemas::results::Record;
use gnomon_schemas::value::Values;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::{file, replay};

/// Largest file of records, bytes.
const RECORDS_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// What `fleet-sim incident` is told.
#[derive(Debug, Clone, clap::Args)]
pub struct IncidentOptions {
    /// Records of one device: what `GET /v1/devices/{device}/records` returned.
    #[arg(long, value_name = "FILE")]
    pub records: PathBuf,
    /// The component that made them.
    #[arg(long, value_name = "FILE")]
    pub module: PathBuf,
    /// Where the scenario goes.
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// The profile: a file, or the name of a built-in one.
    #[arg(long, default_value = "water-heater")]
    pub profile: String,
    /// Which function's records; needed only if there are several.
    #[arg(long)]
    pub function: Option<FunctionName>,
    /// Another component to run on the same inputs, beside it.
    #[arg(long, value_name = "FILE")]
    pub beside: Option<PathBuf>,
    /// Params of that component as JSON; the recorded ones unless given.
    #[arg(long, value_name = "JSON", requires = "beside", value_parser = params_of)]
    pub beside_params: Option<BesideParams>,
}

/// Params that a person gave.
#[derive(Debug, Clone, Serialize)]
#[serde(transparent)]
pub struct BesideParams(Values);

fn params_of(text: &str) -> Result<BesideParams, String> {
    let params = serde_json::from_str(text);
    params.map(BesideParams).map_err(|error| format!("not a JSON object: {error}"))
}

/// The scenario in the order in which people read it.
#[derive(Serialize)]
struct Written {
    name: String,
    profile: String,
    assertions: Vec<String>,
    plant: WrittenPlant,
    variants: BTreeMap<&'static str, WrittenVariant>,
}

#[derive(Serialize)]
struct WrittenPlant {
    #[serde(rename = "type")]
    kind: &'static str,
    records: PathBuf,
    function: FunctionName,
    module: Digest,
}

#[derive(Serialize)]
struct WrittenVariant {
    functions: BTreeMap<FunctionName, WrittenFilling>,
}

#[derive(Serialize)]
struct WrittenFilling {
    module: PathBuf,
    #[serde(skip_serializing_if = "Option::is_none")]
    params: Option<BesideParams>,
}

/// The command: writes the scenario.
///
/// # Errors
/// Records that cannot be read or have no evaluation of this module in control.
pub fn run(options: &IncidentOptions) -> Result<()> {
    let text = file::read(&options.records, RECORDS_BYTES_MAX).map_err(|error| anyhow!(error))?;
    let records = replay::parse(&text).map_err(|message| anyhow!(message));
    let records = records.with_context(|| options.records.display().to_string())?;
    let function = function(&records, options.function.as_ref())?;
    let records = replay::in_order(records, &function);
    let module = std::fs::read(&options.module)
        .with_context(|| format!("cannot read {}", options.module.display()))?;
    let (digest, made) = made_by(&records, &module, &options.module)?;
    let mut variants = BTreeMap::from([("recorded", variant(&function, &options.module, None)?)]);
    if let Some(beside) = &options.beside {
        let params = options.beside_params.clone();
        variants.insert("beside", variant(&function, beside, params)?);
    }
    let assertions = ["fuel_mismatches", "fault_mismatches", "output_mismatches"];
    let written = Written {
        name: format!("incident-{}", digest.short()),
        profile: profile(&options.profile)?,
        assertions: assertions.map(|name| format!("{name}.recorded == 0")).to_vec(),
        plant: WrittenPlant {
            kind: "replay",
            records: absolute(&options.records)?,
            function: function.clone(),
            module: digest.clone(),
        },
        variants,
    };
    let head = format!(
        "# {made} recorded evaluations of {function} by module {}.\n\
         # Variants get the recorded params unless they have params of their own.\n",
        digest.hex()
    );
    let text = head + &toml::to_string_pretty(&written)?;
    std::fs::write(&options.out, text)
        .with_context(|| format!("cannot write {}", options.out.display()))?;
    println!(
        "{} of {} recorded evaluations by this module; run: fleet-sim scenario {}",
        made,
        records.len(),
        options.out.display()
    );
    Ok(())
}

/// The function that was asked for, or the only one.
fn function(records: &[Record], asked: Option<&FunctionName>) -> Result<FunctionName> {
    let found: BTreeSet<&FunctionName> = records.iter().map(|record| &record.function).collect();
    let names: Vec<&str> = found.iter().map(|name| name.as_str()).collect();
    match (asked, found.iter().next()) {
        (_, None) => bail!("there are no records"),
        (Some(asked), _) if found.contains(asked) => Ok(asked.clone()),
        (Some(asked), _) => bail!("no records of {asked}, only of {}", names.join(", ")),
        (None, Some(only)) if found.len() == 1 => Ok((*only).clone()),
        (None, _) => bail!("records of {}; choose one with --function", names.join(", ")),
    }
}

/// The digest of the module, and how many records it made in control.
fn made_by(records: &[Record], module: &[u8], path: &Path) -> Result<(Digest, usize)> {
    let digest = Digest::of(module);
    let made = records.iter().filter(|record| record.module == digest).count();
    if made == 0 {
        let others: BTreeSet<&str> = records.iter().map(|record| record.module.hex()).collect();
        bail!(
            "{} is module {}, which made none of the {} records in control; they are of {}",
            path.display(),
            digest.hex(),
            records.len(),
            others.into_iter().collect::<Vec<_>>().join(", ")
        );
    }
    Ok((digest, made))
}

fn variant(
    function: &FunctionName,
    module: &Path,
    params: Option<BesideParams>,
) -> Result<WrittenVariant> {
    let filling = WrittenFilling { module: absolute(module)?, params };
    Ok(WrittenVariant { functions: BTreeMap::from([(function.clone(), filling)]) })
}

/// A profile file by its full path; a name stays a name.
fn profile(named: &str) -> Result<String> {
    if !Path::new(named).is_file() {
        return Ok(named.to_owned());
    }
    Ok(absolute(Path::new(named))?.display().to_string())
}

/// The scenario may stand in another folder than people were in.
fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).with_context(|| path.display().to_string())
}
