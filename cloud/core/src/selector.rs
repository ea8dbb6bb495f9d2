//! Label selectors: which devices a group holds. Parsed once; what the labels
//! mean is not known here.

use gnomon_schemas::ids::GroupId;
use gnomon_schemas::reason::{Coded, Reason};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use std::{borrow::Cow, collections::BTreeMap, fmt, str::FromStr};

/// Labels of a device.
pub type Labels = BTreeMap<String, String>;

/// Labels of one device, at most.
pub const LABELS_MAX: usize = 64;

/// A selector or label that is not of the permitted form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SelectorError {
    /// A part that is not `key=value` or `key!=value`.
    #[error("`{0}` is not `key=value` or `key!=value`; join several by commas")]
    Term(String),
    /// A key or value with other characters.
    #[error("label `{0}`: 1 to 64 letters, digits, `-`, `_`, `.` or `/` are taken")]
    Label(String),
    /// More labels than one device may have.
    #[error("{0} labels, at most {LABELS_MAX}")]
    TooMany(usize),
}

impl Coded for SelectorError {
    fn reason(&self) -> Reason {
        Reason::InvalidId
    }
}

/// Devices whose labels meet every term; the empty selector takes all.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Selector {
    terms: Vec<Term>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Term {
    key: String,
    value: String,
    equal: bool,
}

impl Selector {
    /// Whether these labels meet every term. An absent label differs from every value.
    pub fn matches(&self, labels: &Labels) -> bool {
        self.terms.iter().all(|term| (labels.get(&term.key) == Some(&term.value)) == term.equal)
    }
}

impl FromStr for Selector {
    type Err = SelectorError;

    fn from_str(text: &str) -> Result<Selector, SelectorError> {
        if text.trim().is_empty() {
            return Ok(Selector::default());
        }
        let terms = text.split(',').map(|part| Term::parse(part.trim()));
        Ok(Selector { terms: terms.collect::<Result<_, _>>()? })
    }
}

impl Term {
    fn parse(text: &str) -> Result<Term, SelectorError> {
        let (key, value, equal) = match (text.split_once("!="), text.split_once('=')) {
            (Some((key, value)), _) => (key, value, false),
            (None, Some((key, value))) => (key, value, true),
            (None, None) => return Err(SelectorError::Term(text.chars().take(80).collect())),
        };
        check_label(key.trim())?;
        check_label(value.trim())?;
        Ok(Term { key: key.trim().to_owned(), value: value.trim().to_owned(), equal })
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, Term { key, value, equal }) in self.terms.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            let operator = if *equal { "=" } else { "!=" };
            write!(f, "{comma}{key}{operator}{value}")?;
        }
        Ok(())
    }
}

impl TryFrom<String> for Selector {
    type Error = SelectorError;
    fn try_from(text: String) -> Result<Selector, SelectorError> {
        text.parse()
    }
}

impl From<Selector> for String {
    fn from(selector: Selector) -> String {
        selector.to_string()
    }
}

impl JsonSchema for Selector {
    fn schema_name() -> Cow<'static, str> {
        "Selector".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "examples": ["site=toronto,model!=old"]})
    }
}

/// A group: devices by selector, and how its layer stands among others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// Which devices it holds.
    pub selector: Selector,
    /// Layers of a higher priority lie over those of a lower one; equal ones go by name.
    #[serde(default)]
    pub priority: i32,
}

/// The groups that hold a device with these labels, lowest layer first.
pub fn groups_of<'a>(
    labels: &Labels,
    groups: &'a BTreeMap<GroupId, Group>,
) -> Vec<(&'a GroupId, &'a Group)> {
    let mut of: Vec<_> = groups.iter().filter(|(_, g)| g.selector.matches(labels)).collect();
    of.sort_by_key(|(name, group)| (group.priority, *name));
    of
}

/// Checks keys, values and number of a device's labels.
///
/// # Errors
/// The first label that is not of the permitted form.
pub fn check_labels(labels: &Labels) -> Result<(), SelectorError> {
    if labels.len() > LABELS_MAX {
        return Err(SelectorError::TooMany(labels.len()));
    }
    labels.iter().flat_map(|(key, value)| [key, value]).try_for_each(|text| check_label(text))
}

fn check_label(text: &str) -> Result<(), SelectorError> {
    let permitted = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'/');
    if (1..=64).contains(&text.len()) && text.bytes().all(permitted) {
        Ok(())
    } else {
        Err(SelectorError::Label(text.chars().take(80).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn terms_are_joined_by_and() {
        let selector: Selector = "site=toronto, model!=old".parse().unwrap();
        assert_eq!(selector.to_string(), "site=toronto,model!=old");
        assert!(selector.matches(&labels(&[("site", "toronto")])));
        assert!(!selector.matches(&labels(&[("site", "toronto"), ("model", "old")])));
        assert!(!selector.matches(&labels(&[("model", "new")])));
        assert!("".parse::<Selector>().unwrap().matches(&Labels::new()));
    }

    #[test]
    fn other_text_is_refused() {
        for text in ["site", "=a", "a=", "a=b,,c=d", "a==b", "ä=b", "a=b c"] {
            assert!(text.parse::<Selector>().is_err(), "{text}");
        }
    }

    #[test]
    fn groups_stand_by_priority_then_name() {
        let group = |priority| Group { selector: Selector::default(), priority };
        let groups: BTreeMap<GroupId, Group> = [("b", 0), ("a", 0), ("low", -1), ("high", 7)]
            .map(|(name, priority)| (name.parse().unwrap(), group(priority)))
            .into();
        let order: Vec<&str> =
            groups_of(&Labels::new(), &groups).iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(order, ["low", "a", "b", "high"]);
    }
}
