//! Recorded evaluations run again: what a device sent, held against what a module does.
//!
//! Owns the comparison, bit for bit in outputs and fuel. Refuses to know plants: the inputs
//! are those that were recorded, whatever another module would have made of the world.

use gnomon_host::Params;
use gnomon_schemas::ids::FunctionName;
use gnomon_schemas::results::{Record, SlotRole};
use gnomon_schemas::value::Values;
use gnomon_schemas::{Digest, Reason};
use serde::Deserialize;
use std::path::PathBuf;

use super::controller::Program;
use super::measure::{BUCKETS, Tracker};
use super::quantity::{Kind, OfAgent, Row};

/// In the order in which [`run`] writes them.
pub(super) const QUANTITIES: &[Row] = &[
    ("records", Kind::Account, "recorded evaluations"),
    ("output_mismatches", Kind::Account, "evaluations whose outputs are not the recorded bits"),
    ("fuel_mismatches", Kind::Account, "evaluations that took other fuel than was recorded"),
    ("fault_mismatches", Kind::Account, "evaluations with another reason than was recorded"),
    ("module_mismatches", Kind::Account, "records that another module made"),
    (
        "unrepeatable_faults",
        Kind::Account,
        "recorded faults of the clock or the agent, not held against",
    ),
];

/// Faults that came of wall time or of the agent's processes, not of module and inputs.
const UNREPEATABLE: [Reason; 3] = [Reason::DeadlineMissed, Reason::RunnerDied, Reason::Unavailable];

/// The `[plant]` of a scenario.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ReplayFile {
    /// Records as the cloud's API returns them.
    pub(super) records: PathBuf,
    /// Whose records they are.
    pub(super) function: FunctionName,
    /// Only those that this module made.
    pub(super) module: Option<Digest>,
}

/// A page of the cloud's API, or what people make of several pages.
#[derive(Deserialize)]
#[serde(untagged)]
enum Export {
    Page { items: Vec<Record> },
    List(Vec<Record>),
    Pages(Vec<PageOfRecords>),
}

#[derive(Deserialize)]
struct PageOfRecords {
    items: Vec<Record>,
}

/// Reads records: a page of the API, a list of records or of pages, or one of these per line.
///
/// # Errors
/// One sentence that says where the text is not that.
pub(super) fn parse(text: &str) -> Result<Vec<Record>, String> {
    let mut records = vec![];
    let values = serde_json::Deserializer::from_str(text).into_iter::<serde_json::Value>();
    for value in values {
        let value = value.map_err(|error| format!("not JSON: {error}"))?;
        // A line with one record: what an untagged list would not take.
        if value.get("inputs").is_some() {
            let record = serde_json::from_value(value).map_err(|error| error.to_string())?;
            records.push(record);
            continue;
        }
        match serde_json::from_value(value) {
            Ok(Export::Page { items }) => records.extend(items),
            Ok(Export::List(list)) => records.extend(list),
            Ok(Export::Pages(pages)) => records.extend(pages.into_iter().flat_map(|p| p.items)),
            Err(_) => {
                return Err("no records in it; give what GET /v1/devices/{device}/records \
                            returned: one page, a list of them, or one per line"
                    .into());
            }
        }
    }
    Ok(records)
}

/// The records of a function that was in control, in the order of its ticks.
pub(super) fn in_order(mut records: Vec<Record>, function: &FunctionName) -> Vec<Record> {
    records.retain(|record| record.function == *function && record.role == SlotRole::Active);
    records.sort_by_key(|record| (record.at_ms, record.tick));
    records.dedup_by_key(|record| (record.at_ms, record.tick));
    records
}

/// Runs the records through one variant's module; without params of its own it gets the
/// recorded ones.
///
/// # Errors
/// That recorded params do not fit the module.
pub(super) fn run(
    program: &Program,
    recorded_params: bool,
    records: &[Record],
    trackers: &mut [Tracker],
    sums: &mut [f64],
) -> Result<(), String> {
    let Some((admitted, own_params)) = program.module() else {
        return Err("a replay needs a module in each variant".into());
    };
    let fit = |params: &Values| admitted.params(params).map_err(|error| error.to_string());
    let mut params: Params = fit(own_params)?;
    let mut guard = program.guard().clone();
    let mut own_state: Option<Values> = None;
    let mut quantities = vec![f64::NAN; sums.len()];
    let (from_ms, to_ms) = match (records.first(), records.last()) {
        (Some(first), Some(last)) => (first.at_ms, last.at_ms),
        _ => return Ok(()),
    };
    for record in records {
        let is_same = record.module == *admitted.digest();
        if recorded_params && params.values() != &record.params {
            params = fit(&record.params)?;
        }
        let state = if is_same { record.state.as_ref() } else { own_state.as_ref() };
        let evaluation = admitted.evaluate(&record.inputs, &params, state);
        let proposal = evaluation.outcome.as_ref().ok();
        let clamped = guard.actuate(proposal.map(|answer| &answer.outputs), &record.inputs);
        let fault = evaluation.outcome.as_ref().err().map(|refusal| refusal.reason);
        let unrepeatable = record.fault.is_some_and(|reason| UNREPEATABLE.contains(&reason));
        let same_outputs = match (proposal, &record.outputs) {
            (Some(answer), Some(recorded)) => same_bits(&answer.outputs, recorded),
            (None, None) => true,
            _ => false,
        };
        let flag = |is_so: bool| f64::from(u8::from(is_so));
        let fuel_differs = is_same && !unrepeatable && evaluation.fuel != record.fuel;
        quantities.fill(0.0);
        quantities[..QUANTITIES.len()].copy_from_slice(&[
            1.0,
            flag(!same_outputs && !unrepeatable),
            flag(fuel_differs),
            flag(fault != record.fault && !unrepeatable),
            flag(!is_same),
            flag(unrepeatable),
        ]);
        let of_agent = &mut quantities[QUANTITIES.len()..];
        of_agent[OfAgent::TICKS] = 1.0;
        of_agent[OfAgent::EVALUATIONS] = flag(proposal.is_some());
        of_agent[OfAgent::FAULTS] = flag(proposal.is_none());
        of_agent[OfAgent::FUEL] = evaluation.fuel.map_or(f64::NAN, |fuel| fuel as f64);
        program.note(proposal.map(|answer| &answer.outputs), &clamped, of_agent);
        let (into_ms, span_ms) = (record.at_ms - from_ms, u128::from(to_ms - from_ms) + 1);
        let bucket = u128::from(into_ms) * BUCKETS as u128 / span_ms;
        for tracker in trackers.iter_mut() {
            tracker.add(quantities[tracker.quantity], bucket as usize);
        }
        for (sum, amount) in sums.iter_mut().zip(&quantities) {
            *sum += amount;
        }
        if let Ok(answer) = evaluation.outcome {
            own_state = answer.state.or(own_state);
        }
    }
    Ok(())
}

/// Whether two records of outputs are the same as they travel, where each float has a text
/// of its own.
fn same_bits(ours: &Values, recorded: &Values) -> bool {
    match (serde_json::to_string(ours), serde_json::to_string(recorded)) {
        (Ok(ours), Ok(recorded)) => ours == recorded,
        _ => false,
    }
}
