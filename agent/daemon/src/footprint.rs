//! What the agent's runner weighs: resident memory with the engine up, and after
//! a module was admitted and called.

use gnomon_host::{Host, HostOptions};
use gnomon_schemas::Refusal;
use gnomon_schemas::ids::FunctionName;
use gnomon_schemas::profile::Profile;
use gnomon_schemas::value::Values;
use serde::Serialize;
use std::path::Path;

/// Evaluations after which memory is read.
const CALLS: u32 = 1_000;

/// Resident memory in bytes, from `/proc/self/statm`.
#[derive(Debug, Clone, Serialize)]
pub struct Footprint {
    /// Before anything.
    pub process_bytes: u64,
    /// With the engine and its instance pool.
    pub engine_bytes: u64,
    /// With one module admitted and called a thousand times.
    pub module_bytes: Option<u64>,
}

/// Measures this process.
///
/// # Errors
/// When the engine cannot start, or the module is not admitted for the function.
pub fn measure(
    module: Option<(&[u8], &Profile, &FunctionName, &Values, &Values)>,
) -> Result<Footprint, Refusal> {
    let process_bytes = resident_bytes();
    let host = Host::new(&HostOptions { instances: 4 })
        .map_err(|error| Refusal::new(gnomon_schemas::Reason::Unavailable, error.to_string()))?;
    let engine_bytes = resident_bytes();
    let module_bytes = match module {
        None => None,
        Some((bytes, profile, function, inputs, params)) => {
            let role = gnomon_schemas::content::function(profile, function)?;
            let admitted = host.admit(bytes, profile, function, role.budget)?;
            let params = admitted.params(params)?;
            for _ in 0..CALLS {
                admitted.evaluate(inputs, &params, None).outcome?;
            }
            Some(resident_bytes())
        }
    };
    Ok(Footprint { process_bytes, engine_bytes, module_bytes })
}

/// Resident memory of this process; 0 where there is no `/proc`.
pub fn resident_bytes() -> u64 {
    let pages = std::fs::read_to_string(Path::new("/proc/self/statm"))
        .ok()
        .and_then(|text| text.split_whitespace().nth(1)?.parse::<u64>().ok());
    pages.unwrap_or(0) * rustix::param::page_size() as u64
}
