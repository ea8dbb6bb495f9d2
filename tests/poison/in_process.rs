//! Each animal in one host, through the doors that every module takes: what becomes of it,
//! and that a good module beside it costs and puts out to the bit what it did before.

use gnomon_agent_core::Guard;
use gnomon_host::{Admitted, Evaluation, Host, HostOptions};
use gnomon_schemas::document::FunctionPlan;
use gnomon_schemas::profile::Profile;
use gnomon_schemas::results::Source;
use gnomon_schemas::value::Values;
use gnomon_schemas::{Coded, FunctionName, Reason};
use serde_json::json;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::{Fate, Poison, inputs, zoo};
/// The water heater.
const PROFILE: &[u8] = include_bytes!("../../schemas/examples/profile.json");

/// Calls of each animal; a state that turns on the tenth call has turned.
const CALLS: usize = 25;
/// With one animal, if its calls take long.
const PATIENCE: Duration = Duration::from_secs(2);

/// A host, a good module in it, and what that did when it was alone.
struct Zoo {
    host: Host,
    profile: Profile,
    function: FunctionName,
    good: Admitted,
    alone: Vec<String>,
}

impl Zoo {
    fn new() -> Zoo {
        let host = Host::new(&HostOptions::default()).unwrap();
        let profile = Profile::parse(PROFILE).unwrap().0;
        let function: FunctionName = "setpoint".parse().unwrap();
        let good = admit_good(&host, &profile, &function);
        let mut zoo = Zoo { host, profile, function, good, alone: vec![] };
        zoo.alone = zoo.good_day();
        zoo
    }

    /// Outputs and fuel of the good module over a day.
    fn good_day(&self) -> Vec<String> {
        let params = json!({"off_peak_start_hour": 23.0, "off_peak_end_hour": 7.0,
                            "high_c": 60.0, "low_c": 45.0});
        let params = self.good.params(&serde_json::from_value(params).unwrap()).unwrap();
        let call = |hour: u32| self.good.evaluate(&inputs(f64::from(hour)), &params, None);
        (0..24).map(|hour| told(&call(hour))).collect()
    }

    fn admit(&self, animal: &Poison) -> Result<Admitted, Reason> {
        let budget = self.profile.functions[&self.function].budget;
        let admitted = self.host.admit(&animal.bytes, &self.profile, &self.function, budget);
        let fits = |admitted: Admitted| admitted.params(&Values::new()).map(|_| admitted);
        admitted.and_then(fits).map_err(|error| error.reason())
    }

    /// What became of each call, after the guard had its say; of what takes long, one
    /// with each kind of inputs is enough.
    fn call(&self, animal: &Poison, admitted: &Admitted) -> Vec<Result<(), Reason>> {
        let plan = FunctionPlan::default();
        let mut guard = Guard::new(&self.profile, &self.function, &plan).unwrap();
        let params = admitted.params(&Values::new()).unwrap();
        let (mut state, mut last, mut calls) = (None, 50.0, vec![]);
        let start = Instant::now();
        while calls.len() < CALLS && (calls.len() < 2 || start.elapsed() < PATIENCE) {
            let inputs = inputs(if calls.len() % 2 == 0 { 1.0 } else { 13.0 });
            let evaluation = admitted.evaluate(&inputs, &params, state.as_ref());
            let again = admitted.evaluate(&inputs, &params, state.as_ref());
            assert_eq!(told(&evaluation), told(&again), "{}: it remembers", animal.name);
            last = actuated(&mut guard, last, &evaluation, &inputs);
            let outputs = evaluation.outcome.map_err(|refusal| refusal.reason);
            calls.push(outputs.map(|outputs| state = outputs.state));
        }
        calls
    }

    /// What becomes of it, in words; as an error if it is another fate than it should be.
    fn fate(&self, animal: &Poison) -> Result<String, String> {
        let wrong = |was: String| Err(format!("{}: {was}, not {:?}", animal.name, animal.fate));
        let admitted = match (self.admit(animal), animal.fate) {
            (Err(reason), Fate::Refused(expected)) if expected.contains(&reason) => {
                return Ok(format!("refused: {reason}"));
            }
            (Err(reason), _) => return wrong(format!("refused by {reason}")),
            (Ok(_), Fate::Refused(_)) => return wrong("admitted".into()),
            (Ok(admitted), _) => admitted,
        };
        let start = Instant::now();
        let calls = self.call(animal, &admitted);
        let each = start.elapsed() / u32::try_from(2 * calls.len()).unwrap();
        let faults: Vec<Reason> = calls.iter().filter_map(|call| call.err()).collect();
        let (permitted, is_met) = match animal.fate {
            Fate::Faults(reasons) => (reasons, faults.len() == calls.len()),
            Fate::Turns(reasons) => (reasons, !faults.is_empty() && faults.len() < calls.len()),
            _ => (&[][..], faults.is_empty()),
        };
        if !is_met || faults.iter().any(|reason| !permitted.contains(reason)) {
            return wrong(format!("{calls:?}"));
        }
        let kinds: BTreeSet<&str> = faults.iter().map(|reason| reason.code()).collect();
        let good = calls.len() - faults.len();
        Ok(format!("{good} outputs, {} faults {kinds:?}, each {each:.1?}", faults.len()))
    }
}

/// Actuates by what was proposed, if anything was, and sees that no harm comes of it.
fn actuated(guard: &mut Guard, last: f64, evaluation: &Evaluation, inputs: &Values) -> f64 {
    let proposal = evaluation.outcome.as_ref().ok().map(|outputs| &outputs.outputs);
    let clamped = guard.actuate(proposal, inputs);
    let setpoint = clamped.values()["setpoint_c"].as_f64().unwrap();
    // NaN is inside nothing.
    let is_safe = (35.0..=70.0).contains(&setpoint) && (setpoint - last).abs() <= 40.0;
    assert!(is_safe, "{last} to {setpoint}");
    let proposed = proposal.and_then(|outputs| outputs["setpoint_c"].as_f64());
    let is_fresh = proposed.is_some_and(f64::is_finite);
    assert_eq!(clamped.source() == Source::Active, is_fresh, "{proposed:?}");
    setpoint
}

fn admit_good(host: &Host, profile: &Profile, function: &FunctionName) -> Admitted {
    let budget = profile.functions[function].budget;
    host.admit(gnomon_examples::WATER_HEATER_TOU, profile, function, budget).unwrap()
}

/// All of an evaluation that must be the same whenever it is repeated, to the bit.
fn told(evaluation: &Evaluation) -> String {
    format!("{:?} {:?} {}", evaluation.outcome, evaluation.fuel, evaluation.memory_bytes)
}

#[test]
fn poison_meets_its_fate_in_one_host_and_a_good_module_beside_it_notices_nothing() {
    let mut house = Zoo::new();
    let mut offences = vec![];
    for animal in zoo() {
        let start = Instant::now();
        let fate = house.fate(animal).unwrap_or_else(|offence| {
            offences.push(offence.clone());
            offence
        });
        let (took, bytes) = (start.elapsed(), animal.bytes.len());
        println!("{:34} {bytes:8} bytes {took:8.1?}  {fate}  ({})", animal.name, animal.why);
        assert_eq!(house.good_day(), house.alone, "after {}", animal.name);
    }
    assert!(offences.is_empty(), "{}", offences.join("\n"));
    house.host.forget_compiled();
    house.good = admit_good(&house.host, &house.profile, &house.function);
    assert_eq!(house.good_day(), house.alone, "compiled anew");
}
