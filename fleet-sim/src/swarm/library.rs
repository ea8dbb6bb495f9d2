//! The modules of the simulated fleet: good ones and those that a careless author could
//! have published, each admitted once by the production host.

use gnomon_host::{Admitted, Host, HostOptions, Params};
use gnomon_schemas::ids::{Digest, FunctionName};
use gnomon_schemas::profile::{Budget, Profile};
use gnomon_schemas::reason::{Reason, Refusal};
use gnomon_schemas::value::Values;
use std::cell::RefCell;
use std::collections::BTreeMap;

use super::guests::{self, guest};
use crate::functions::{price_params, tou_params};

/// The profile of every simulated device: the running example's.
pub const PROFILE: &[u8] = include_bytes!("../../../schemas/examples/profile.json");

/// One module that may be published.
pub struct Module {
    /// Its name, in its manifest too.
    pub name: &'static str,
    /// The component.
    pub bytes: Vec<u8>,
    /// Params that fit it.
    pub params: serde_json::Value,
}

/// Which module under which fuel and memory.
type Asked = (Digest, u64, u64);

/// Host, modules and what was admitted of them. One for each thread: nothing in it
/// depends on what ran before.
pub struct Library {
    host: Host,
    /// The parsed profile, and its digest.
    pub profile: Profile,
    /// See [`Library::profile`].
    pub profile_digest: Digest,
    /// Every module that the publisher signs.
    pub modules: Vec<Module>,
    /// So many of them, from the first, come into use by chance; the others are odd.
    pub common: usize,
    /// Those that no host takes.
    pub unfit: Vec<Module>,
    /// One that no publisher signs.
    pub foreign: Vec<u8>,
    admitted: RefCell<BTreeMap<Asked, Result<Admitted, Refusal>>>,
}

impl Library {
    /// Starts the host.
    ///
    /// # Errors
    /// When the engine cannot start, or an own module is no component.
    pub fn new() -> anyhow::Result<Library> {
        let host = Host::new(&HostOptions::default())?;
        let (profile, profile_digest) = Profile::parse(PROFILE)?;
        let (mut modules, unfit) = (modules()?, guests::unfit()?);
        let common = modules.len();
        modules.extend(guests::odd()?);
        let foreign = guest("foreign", "(f64.const 51)")?;
        let admitted = RefCell::default();
        Ok(Library { host, profile, profile_digest, modules, common, unfit, foreign, admitted })
    }

    /// The engine config digest.
    pub fn engine(&self) -> &Digest {
        self.host.engine_digest()
    }

    /// The bytes of a module that may be published.
    pub fn bytes(&self, digest: &Digest) -> Option<&[u8]> {
        let bytes = self.modules.iter().map(|module| module.bytes.as_slice());
        bytes.chain([self.foreign.as_slice()]).find(|bytes| Digest::of(bytes) == *digest)
    }

    /// Admits these bytes for a function, under a budget.
    ///
    /// # Errors
    /// The host's.
    pub fn admit(
        &self,
        bytes: &[u8],
        function: &FunctionName,
        budget: Budget,
    ) -> Result<Admitted, Refusal> {
        let key = (Digest::of(bytes), budget.fuel, budget.memory_bytes);
        let make = || Ok(self.host.admit(bytes, &self.profile, function, budget)?);
        self.admitted.borrow_mut().entry(key).or_insert_with(make).clone()
    }

    /// Admits these bytes, with params.
    ///
    /// # Errors
    /// The host's.
    pub fn admit_with(
        &self,
        bytes: &[u8],
        function: &FunctionName,
        budget: Budget,
        params: &Values,
    ) -> Result<(Admitted, Params), Refusal> {
        let module = self.admit(bytes, function, budget)?;
        let params = module.params(params)?;
        Ok((module, params))
    }
}

fn modules() -> anyhow::Result<Vec<Module>> {
    let mut all = vec![
        example("water-heater-tou", gnomon_examples::WATER_HEATER_TOU, tou_params()),
        example("water-heater-price", gnomon_examples::WATER_HEATER_PRICE, price_params()),
        example(
            "water-heater-hot",
            gnomon_examples::WATER_HEATER_HOT,
            serde_json::json!({"asked_c": 95.0}),
        ),
        example(
            "smoothed-setpoint",
            gnomon_examples::SMOOTHED_SETPOINT,
            serde_json::json!({"target_c": 58.0, "weight": 0.25}),
        ),
        example(
            "smoothed-setpoint-2",
            gnomon_examples::SMOOTHED_SETPOINT_2,
            serde_json::json!({"target_c": 58.0, "readings": 6}),
        ),
    ];
    // What careless authors publish.
    for (name, body) in [
        ("ends-in-a-trap", "unreachable"),
        ("never-ends", "(loop (br 0)) unreachable"),
        ("divides-by-zero", "(drop (i32.div_s (i32.const 1) (i32.const 0))) (f64.const 50)"),
        ("reaches-outside", "(drop (i32.load (i32.const -8))) (f64.const 50)"),
        ("is-no-number", "(f64.const nan)"),
        ("is-infinite", "(f64.const inf)"),
        ("is-absurd", "(f64.const -1e300)"),
        ("recurses", "(call 0 (local.get 0))"),
        ("converts-badly", "(f64.convert_i32_s (i32.trunc_f64_s (f64.const nan)))"),
        (
            "fails-in-the-afternoon",
            "(if (f64.gt (local.get 0) (f64.const 12)) (then unreachable)) (f64.const 57)",
        ),
        ("jumps", "(f64.add (f64.const 35) (f64.mul (local.get 0) (f64.const 7)))"),
        ("is-mild", "(f64.const 52)"),
    ] {
        let params = serde_json::json!({});
        all.push(Module { name, bytes: guest(name, body)?, params });
    }
    Ok(all)
}

fn example(name: &'static str, bytes: &[u8], params: serde_json::Value) -> Module {
    Module { name, bytes: bytes.to_vec(), params }
}

/// A refusal for a thing that is not there.
pub fn missing(what: &str) -> Refusal {
    Refusal::new(Reason::ModuleMissing, what)
}
