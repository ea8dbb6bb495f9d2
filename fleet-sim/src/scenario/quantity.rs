//! What a scenario can be asked about: names, kinds and meanings of quantities.
//!
//! Owns the list that every message about a wrong name prints. Refuses to know how a
//! quantity comes about and what is asserted of it.

use gnomon_schemas::profile::Profile;
use gnomon_schemas::value::ValueType;

/// How a quantity is summed up when no aggregate is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An amount per tick: its name alone means the sum over all ticks and devices.
    Account,
    /// A state at a tick: it needs an aggregate, as in `max(tank_temp_c)`.
    Reading,
}

/// One quantity of a scenario. A tick at which it has no value has NaN.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quantity {
    /// Its name, as assertions write it.
    pub name: String,
    /// How it is summed up.
    pub kind: Kind,
    /// One line for people.
    pub meaning: String,
}

/// Shorthand for the tables of sites.
pub(super) type Row = (&'static str, Kind, &'static str);

/// What every scenario has, whatever its plant: the places in [`OfAgent`] follow this order.
const OF_AGENT: &[Row] = &[
    ("ticks", Kind::Account, "times that the function was due and the agent up"),
    ("evaluations", Kind::Account, "calls that returned outputs"),
    ("faults", Kind::Account, "calls that did not: traps, bad inputs, spent fuel"),
    ("clamped_ticks", Kind::Account, "ticks at which an output was not what was proposed"),
    ("held_ticks", Kind::Account, "ticks at which the last outputs were held"),
    ("default_ticks", Kind::Account, "ticks at which the profile's defaults held"),
    ("fuel", Kind::Reading, "fuel of a call"),
];

/// Places of the agent's quantities, counted from the first of them.
pub(super) struct OfAgent;

impl OfAgent {
    pub(super) const TICKS: usize = 0;
    pub(super) const EVALUATIONS: usize = 1;
    pub(super) const FAULTS: usize = 2;
    pub(super) const CLAMPED_TICKS: usize = 3;
    pub(super) const HELD_TICKS: usize = 4;
    pub(super) const DEFAULT_TICKS: usize = 5;
    pub(super) const FUEL: usize = 6;
    /// After these, two for each output: what was proposed, what the actuator got.
    pub(super) const OUTPUTS: usize = 7;
}

/// All quantities of a site under a profile: the site's, the agent's, two for each output.
pub(super) fn all(of_site: &[Row], profile: &Profile) -> Vec<Quantity> {
    let fixed = of_site.iter().chain(OF_AGENT).map(|(name, kind, meaning)| Quantity {
        name: (*name).to_owned(),
        kind: *kind,
        meaning: (*meaning).to_owned(),
    });
    let outputs = profile.outputs.iter().flat_map(|(name, output)| {
        let note = match output.value_type {
            ValueType::Bool => ", 0 or 1",
            ValueType::Enum(_) => ", the number of the case",
            _ => "",
        };
        let reading = |name: String, meaning: String| Quantity {
            name,
            kind: Kind::Reading,
            meaning: meaning + note,
        };
        [
            reading(format!("proposed_{name}"), "what the function proposed".into()),
            reading(name.to_string(), "what the actuator got".into()),
        ]
    });
    fixed.chain(outputs).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_places_of_the_agents_quantities_are_their_rows() {
        let place = |name: &str| OF_AGENT.iter().position(|row| row.0 == name).unwrap();
        assert_eq!(place("ticks"), OfAgent::TICKS);
        assert_eq!(place("evaluations"), OfAgent::EVALUATIONS);
        assert_eq!(place("faults"), OfAgent::FAULTS);
        assert_eq!(place("clamped_ticks"), OfAgent::CLAMPED_TICKS);
        assert_eq!(place("held_ticks"), OfAgent::HELD_TICKS);
        assert_eq!(place("default_ticks"), OfAgent::DEFAULT_TICKS);
        assert_eq!(place("fuel"), OfAgent::FUEL);
        assert_eq!(OF_AGENT.len(), OfAgent::OUTPUTS);
    }
}
