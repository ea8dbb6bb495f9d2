//! Scenario files: TOML, read and checked as a whole before anything runs.
//!
//! Owns the form of the file, and finding what it names: profile, modules, tables. Every
//! message says where in the file it is about. Refuses to run anything.

use gnomon_host::Host;
use gnomon_schemas::SignalName;
use gnomon_schemas::ids::FunctionName;
use gnomon_schemas::profile::{Budget, NarrowedBounds, Profile};
use gnomon_schemas::results::Record;
use gnomon_schemas::value::Values;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::controller::{Filling, Program};
use super::expression::{Assertion, Names, unknown};
use super::fault::{Fault, FaultFile};
use super::quantity::{self, Quantity};
use super::replay;
use super::site::{DAY_STEPS, PlantFile};
use crate::world::{Tables, World};

/// Largest scenario file, bytes.
const FILE_BYTES_MAX: u64 = 1024 * 1024;
/// Largest file of records, bytes.
const RECORDS_BYTES_MAX: u64 = 256 * 1024 * 1024;
const DEVICES_MAX: u64 = 100_000;
const DAYS_MAX: u64 = 36_500;
/// A whole apartment house behind one tank.
const LITRES_PER_DAY_MAX: f64 = 10_000.0;
const VARIANTS_MAX: usize = 16;
const BUILT_IN: &str = "built-in";
const PROFILES: &[(&str, &[u8])] = &[
    ("water-heater", include_bytes!("../../../schemas/examples/profile.json")),
    ("home-battery", include_bytes!("../../profiles/home-battery.json")),
];

/// What a scenario file says.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct ScenarioFile {
    name: String,
    /// First day, as in 2016-01-18.
    #[serde(default = "default_start")]
    start: String,
    days: Option<u64>,
    #[serde(default = "default_devices")]
    devices: u64,
    #[serde(default)]
    seed: u64,
    profile: String,
    assertions: Vec<String>,
    plant: PlantFile,
    #[serde(default)]
    world: WorldFile,
    variants: BTreeMap<String, VariantFile>,
    #[serde(default)]
    faults: Vec<FaultFile>,
}

fn default_start() -> String {
    "2016-01-01".to_owned()
}

fn default_devices() -> u64 {
    1
}

/// Tables of the world: files, or what is built in.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct WorldFile {
    prices: Option<PathBuf>,
    draws: Option<PathBuf>,
    draws_l_per_day: Option<f64>,
    outdoor: Option<PathBuf>,
}

/// What is in control in one variant; a function that is not named stays on its defaults.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct VariantFile {
    #[serde(default)]
    functions: BTreeMap<FunctionName, FillingFile>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct FillingFile {
    /// Path of a component, or the name of an example.
    module: String,
    params: Option<Values>,
    #[serde(default)]
    bounds: BTreeMap<SignalName, NarrowedBounds>,
    budget: Option<Budget>,
}

/// A scenario that is ready to run.
pub struct Scenario {
    pub(super) name: String,
    pub(super) start: String,
    pub(super) start_hour: u64,
    pub(super) minutes: u64,
    pub(super) devices: u64,
    pub(super) seed: u64,
    pub(super) profile: Profile,
    pub(super) plant: PlantFile,
    pub(super) world: Arc<World>,
    pub(super) variants: Vec<Variant>,
    /// Names of the variants, in the same order.
    pub(super) variant_names: Vec<String>,
    pub(super) faults: Vec<Fault>,
    pub(super) quantities: Vec<Quantity>,
    pub(super) assertions: Vec<Assertion>,
    /// What a replay goes through.
    pub(super) records: Vec<Record>,
}

/// One variant that is ready to run.
pub(super) struct Variant {
    /// What fills each function of the profile, if anything does.
    fillings: Vec<(FunctionName, Option<Filling>)>,
    pub(super) programs: Vec<Program>,
    /// In a replay: the params are the recorded ones.
    pub(super) recorded_params: bool,
}

impl Variant {
    /// Its functions in another host: threads that share one wait for each other at every call.
    ///
    /// # Errors
    /// One sentence that says what does not fit.
    pub(super) fn admit(&self, host: &Host, profile: &Profile) -> Result<Vec<Program>, String> {
        let admit = |(function, filling): &(FunctionName, Option<Filling>)| {
            Program::new(host, profile, function, filling.as_ref())
                .map_err(|message| format!("functions.{function}: {message}"))
        };
        self.fillings.iter().map(admit).collect()
    }
}

/// Why a scenario cannot run: where, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {place}{message}")]
pub struct ScenarioError {
    /// The file.
    pub path: String,
    /// Where in it, with a colon; empty if the message has the place.
    pub place: String,
    /// What is wrong.
    pub message: String,
}

impl Scenario {
    /// Reads a scenario and all that it names; relative paths are from the file's folder.
    ///
    /// # Errors
    /// [`ScenarioError`] for the first thing that is wrong.
    pub fn load(path: &Path, host: &Host) -> Result<Scenario, ScenarioError> {
        let text = read(path, FILE_BYTES_MAX).map_err(|message| ScenarioError {
            path: path.display().to_string(),
            place: String::new(),
            message,
        })?;
        Scenario::parse(&text, path, host)
    }

    /// The same from a text that stands, or would stand, in this file.
    ///
    /// # Errors
    /// [`ScenarioError`] for the first thing that is wrong.
    pub fn parse(text: &str, path: &Path, host: &Host) -> Result<Scenario, ScenarioError> {
        let refused = |place: &str, message: String| ScenarioError {
            path: path.display().to_string(),
            place: if place.is_empty() { String::new() } else { format!("{place}: ") },
            message,
        };
        let file: ScenarioFile =
            toml::from_str(text).map_err(|error| refused("", error.to_string()))?;
        let folder = path.parent().unwrap_or(Path::new(""));
        file.check().map_err(|message| refused("", message))?;
        let profile = file.profile(folder).map_err(|message| refused("profile", message))?;
        let records = file.records(folder).map_err(|message| refused("plant.records", message))?;
        let world = file.world(folder).map_err(|message| refused("world", message))?;
        let start_hour =
            world.start_hour(&file.start).map_err(|error| refused("start", error.to_string()))?;
        let variant_names: Vec<String> = file.variants.keys().cloned().collect();
        let mut variants = vec![];
        for (name, variant) in &file.variants {
            let place = format!("variants.{name}");
            let made = variant.load(folder, host, &profile, &records);
            variants.push(made.map_err(|message| refused(&place, message))?);
        }
        let mut faults = vec![];
        for (number, fault) in (1..).zip(&file.faults) {
            let fault = Fault::of(fault, &profile, file.devices, &variant_names);
            faults.push(fault.map_err(|message| refused(&format!("fault {number}"), message))?);
        }
        let quantities = quantity::all(file.plant.quantities(), &profile);
        let names = Names { quantities: &quantities, variants: &variant_names };
        let mut assertions = vec![];
        for (number, text) in (1..).zip(&file.assertions) {
            let assertion = Assertion::parse(text, names);
            let place = format!("assertion {number}");
            assertions.push(assertion.map_err(|error| refused(&place, error.to_string()))?);
        }
        Ok(Scenario {
            minutes: file.days.unwrap_or(0) * DAY_STEPS,
            name: file.name,
            start: file.start,
            start_hour,
            devices: file.devices,
            seed: file.seed,
            profile,
            plant: file.plant,
            world: Arc::new(world),
            variants,
            variant_names,
            faults,
            quantities,
            assertions,
            records,
        })
    }
}

impl ScenarioFile {
    fn check(&self) -> Result<(), String> {
        let is_replay = matches!(self.plant, PlantFile::Replay(_));
        if self.days.is_none() && !is_replay {
            return Err("days is missing: how long does it run?".into());
        }
        if is_replay && (self.days.is_some() || self.devices != 1 || !self.faults.is_empty()) {
            return Err("a replay has no days, devices or faults but those of its records".into());
        }
        for (name, figure, max) in
            [("devices", self.devices, DEVICES_MAX), ("days", self.days.unwrap_or(1), DAYS_MAX)]
        {
            if !(1..=max).contains(&figure) {
                return Err(format!("{name} is {figure}; give a number from 1 to {max}"));
            }
        }
        if self.assertions.is_empty() {
            return Err("assertions is empty; say at least one thing that must hold".into());
        }
        if self.variants.is_empty() || self.variants.len() > VARIANTS_MAX {
            return Err(format!("give 1 to {VARIANTS_MAX} variants, as in [variants.v1]"));
        }
        let fits = |c: char| c.is_ascii_alphanumeric() || c == '_';
        match self.variants.keys().find(|name| name.is_empty() || !name.chars().all(fits)) {
            Some(name) => Err(format!("variant {name:?}: use letters, digits and underscores")),
            None => Ok(()),
        }
    }

    fn profile(&self, folder: &Path) -> Result<Profile, String> {
        let built_in = PROFILES.iter().find(|(name, _)| *name == self.profile);
        let bytes = match built_in {
            Some((_, bytes)) => bytes.to_vec(),
            None => read(&folder.join(&self.profile), FILE_BYTES_MAX)
                .map_err(|message| {
                    let known = PROFILES.iter().map(|(name, _)| *name);
                    format!("{message}; {}", unknown("built-in profile", &self.profile, known))
                })?
                .into_bytes(),
        };
        Profile::parse(&bytes).map(|(profile, _)| profile).map_err(|error| error.to_string())
    }

    fn world(&self, folder: &Path) -> Result<World, String> {
        let path = |named: &Option<PathBuf>| {
            named.as_ref().filter(|path| path.as_os_str() != BUILT_IN).map(|path| folder.join(path))
        };
        let litres = self.world.draws_l_per_day;
        if litres.is_some_and(|litres| !(0.0..=LITRES_PER_DAY_MAX).contains(&litres)) {
            return Err(format!("draws_l_per_day must lie within 0 to {LITRES_PER_DAY_MAX}"));
        }
        let tables = Tables {
            prices: path(&self.world.prices),
            draws: path(&self.world.draws),
            draws_l_per_day: litres,
            outdoor: path(&self.world.outdoor),
        };
        World::of(&tables).map_err(|error| error.to_string())
    }

    fn records(&self, folder: &Path) -> Result<Vec<Record>, String> {
        let PlantFile::Replay(replay) = &self.plant else { return Ok(vec![]) };
        let text = read(&folder.join(&replay.records), RECORDS_BYTES_MAX)?;
        let mut records = replay::in_order(replay::parse(&text)?, &replay.function);
        records.retain(|record| replay.module.as_ref().is_none_or(|of| record.module == *of));
        if records.is_empty() {
            return Err(format!("no record of `{}` in control by this module", replay.function));
        }
        Ok(records)
    }
}

impl VariantFile {
    fn load(
        &self,
        folder: &Path,
        host: &Host,
        profile: &Profile,
        records: &[Record],
    ) -> Result<Variant, String> {
        let known = profile.functions.keys().map(FunctionName::as_str);
        for function in self.functions.keys() {
            if !profile.functions.contains_key(function) {
                return Err(unknown("function in the profile", function.as_str(), known));
            }
        }
        let mut recorded_params = false;
        let mut fillings = vec![];
        for function in profile.functions.keys() {
            let file = self.functions.get(function);
            let within = |message| format!("functions.{function}: {message}");
            if let Some(record) = records.first()
                && record.function != *function
            {
                continue;
            }
            let filling = file.map(|file| {
                let recorded = records.last().filter(|_| file.params.is_none());
                recorded_params |= recorded.is_some();
                let params = recorded.map(|record| &record.params).or(file.params.as_ref());
                Ok::<_, String>(Filling {
                    module: module(&file.module, folder)?,
                    params: params.cloned().unwrap_or_default(),
                    bounds: file.bounds.clone(),
                    budget: file.budget,
                })
            });
            fillings.push((function.clone(), filling.transpose().map_err(within)?));
        }
        let mut variant = Variant { fillings, programs: vec![], recorded_params };
        variant.programs = variant.admit(host, profile)?;
        Ok(variant)
    }
}

/// A component by the name of an example, or from a file.
fn module(named: &str, folder: &Path) -> Result<Vec<u8>, String> {
    let mut examples = gnomon_examples::ALL.iter().chain(gnomon_examples::BATTERY);
    if let Some(example) = examples.clone().find(|example| example.name == named) {
        return Ok(example.component.to_vec());
    }
    let path = folder.join(named);
    std::fs::read(&path).map_err(|error| {
        let known: Vec<&str> = examples.by_ref().map(|example| example.name).collect();
        format!(
            "cannot read module {}: {error}; examples that are built in: {}",
            path.display(),
            known.join(", ")
        )
    })
}

/// Reads a text of limited size.
pub(super) fn read(path: &Path, bytes_max: u64) -> Result<String, String> {
    let unreadable = |error: std::io::Error| format!("cannot read {}: {error}", path.display());
    let bytes = std::fs::metadata(path).map_err(unreadable)?.len();
    if bytes > bytes_max {
        return Err(format!("{} has {bytes} bytes, more than {bytes_max}", path.display()));
    }
    std::fs::read_to_string(path).map_err(unreadable)
}
