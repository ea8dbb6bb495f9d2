//! Layers: what people edit, how one lies over another, and which layer each
//! value came from.
//!
//! A layer is merged as RFC 7396 says, with one deviation: what is meant for another
//! module never leaks in. A slot that names a module replaces the slot under it as a
//! whole, params and all, and another active module, or none, takes the golden vectors
//! under it away. What the values mean is not known here.

use gnomon_schemas::document::{GoldenVector, OnExpiry, Slot};
use gnomon_schemas::ids::{DeviceId, Digest, FunctionName, GroupId, SignalName};
use gnomon_schemas::limits::HTTP_JSON_BYTES_MAX;
use gnomon_schemas::profile::NarrowedBounds;
use gnomon_schemas::strict::{self, ParseError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::{collections::BTreeMap, fmt};

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// The built-in defaults, where no layer says anything.
    Default,
    /// The layer of the whole fleet.
    Fleet,
    /// The layer of a group.
    Group(GroupId),
    /// The layer of one device.
    Device(DeviceId),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::Fleet => f.write_str("fleet"),
            Origin::Group(name) => write!(f, "group:{name}"),
            Origin::Device(name) => write!(f, "device:{name}"),
        }
    }
}

/// The form of a layer: every part is optional, `null` takes away what lies below.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LayerForm {
    /// Plain settings, of the form that the profile's config schema gives.
    #[serde(default)]
    pub config: Option<Map<String, Value>>,
    /// Which modules fill which functions.
    #[serde(default)]
    pub functions: Option<BTreeMap<FunctionName, Option<PlanForm>>>,
    /// What devices report, and how much.
    #[serde(default)]
    pub reporting: Option<ReportingForm>,
    /// What happens when a document expires while it is active.
    #[serde(default)]
    pub on_expiry: Option<OnExpiry>,
    /// For how long a document may be accepted, in seconds.
    #[serde(default)]
    pub expires_in_s: Option<u64>,
}

/// What a layer says of one function.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PlanForm {
    /// The module in control; with `module` it replaces the slot below as a whole.
    #[serde(default)]
    pub active: Option<SlotForm>,
    /// Modules evaluated beside it; replaces the list below as a whole.
    #[serde(default)]
    pub candidates: Option<Vec<Slot>>,
    /// Bounds narrower than the firmware's, by output.
    #[serde(default)]
    pub bounds: Option<BTreeMap<SignalName, Option<NarrowedBounds>>>,
    /// A budget below the profile's.
    #[serde(default)]
    pub budget: Option<BudgetForm>,
    /// What the active module must return before it is put in control; replaces the list
    /// below as a whole, and is gone where a layer above names another active module.
    #[serde(default)]
    pub golden: Option<Vec<GoldenVector>>,
    /// How the active module has to prove itself once it is in control.
    #[serde(default)]
    pub probation: Option<ProbationForm>,
}

/// What a layer says of probation.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProbationForm {
    /// Its first ticks in control; 0 for no probation.
    #[serde(default)]
    pub ticks: Option<u32>,
    /// The most of them that may end without usable outputs.
    #[serde(default)]
    pub faults_max: Option<u32>,
    /// The most of them at which an output may lie outside its bounds.
    #[serde(default)]
    pub clamps_max: Option<u32>,
}

/// What a layer says of a slot.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SlotForm {
    /// The module.
    #[serde(default)]
    pub module: Option<Digest>,
    /// Its tunables, by name.
    #[serde(default)]
    pub params: Option<Map<String, Value>>,
}

/// What a layer says of a budget.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BudgetForm {
    /// Fuel of the call, instantiation apart.
    #[serde(default)]
    pub fuel: Option<u64>,
    /// Linear memory, in bytes.
    #[serde(default)]
    pub memory_bytes: Option<u64>,
}

/// What a layer says of reporting.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReportingForm {
    /// One summary per function and module after this many ticks.
    #[serde(default)]
    pub summary_ticks: Option<u32>,
    /// One evaluation in this many is reported as a record; 0 for none.
    #[serde(default)]
    pub record_every: Option<u32>,
    /// Of each summary interval, this many of the most divergent evaluations too.
    #[serde(default)]
    pub divergent_records_max: Option<u32>,
    /// The most bytes of records per day of ticks.
    #[serde(default)]
    pub record_bytes_per_day_max: Option<u64>,
}

/// A layer whose form was checked.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Layer(Map<String, Value>);

impl Layer {
    /// Parses a layer, or a patch of one: they have the same form.
    ///
    /// # Errors
    /// [`ParseError`], naming the field.
    pub fn parse(bytes: &[u8]) -> Result<Layer, ParseError> {
        strict::parse::<LayerForm>(bytes, HTTP_JSON_BYTES_MAX)?;
        strict::parse(bytes, HTTP_JSON_BYTES_MAX).map(Layer)
    }

    /// The layer as JSON.
    pub fn as_map(&self) -> &Map<String, Value> {
        &self.0
    }

    /// The JSON text, keys sorted.
    pub fn to_json(&self) -> String {
        Value::Object(self.0.clone()).to_string()
    }

    /// This layer edited by a patch: a `null` in the patch takes a value out.
    #[must_use]
    pub fn patched(&self, patch: &Layer) -> Layer {
        let mut tree = Tree::new(Value::Object(self.0.clone()), &Origin::Fleet);
        tree.merge(&Value::Object(patch.0.clone()), &Origin::Fleet);
        match tree.into_value() {
            Value::Object(map) => Layer(map),
            _ => Layer::default(),
        }
    }
}

/// A JSON value of which every part knows the layer that it came from.
#[derive(Debug, Clone, PartialEq)]
pub struct Tree(Node);

#[derive(Debug, Clone, PartialEq)]
enum Node {
    /// A scalar or an array: arrays are replaced as a whole.
    Leaf(Value, Origin),
    /// An object, and who made or last changed it: that counts while it is empty.
    Object(BTreeMap<String, Node>, Origin),
}

impl Tree {
    /// A value that came from one layer as it stands.
    pub fn new(value: Value, origin: &Origin) -> Tree {
        Tree(Node::new(value, origin))
    }

    /// Lays a patch over it (RFC 7396, and the deviation for slots).
    pub fn merge(&mut self, patch: &Value, origin: &Origin) {
        self.0.merge(patch, origin, &mut Vec::new());
    }

    /// The value.
    pub fn into_value(self) -> Value {
        self.0.into_value()
    }

    /// The origin of each leaf, by JSON pointer (RFC 6901). Leaves are scalars,
    /// arrays and empty objects.
    pub fn origins(&self) -> BTreeMap<String, Origin> {
        let mut origins = BTreeMap::new();
        self.0.note_origins(&mut String::new(), &mut origins);
        origins
    }
}

impl Node {
    fn new(value: Value, origin: &Origin) -> Node {
        match value {
            Value::Object(fields) => {
                let fields = fields.into_iter().map(|(key, value)| (key, Node::new(value, origin)));
                Node::Object(fields.collect(), origin.clone())
            }
            leaf => Node::Leaf(leaf, origin.clone()),
        }
    }

    fn merge(&mut self, patch: &Value, origin: &Origin, path: &mut Vec<String>) {
        let Value::Object(patch) = patch else {
            *self = Node::new(patch.clone(), origin);
            return;
        };
        if !matches!(self, Node::Object(..)) || replaces_slot(path, patch) {
            *self = Node::Object(BTreeMap::new(), origin.clone());
        }
        let Node::Object(fields, changed_by) = self else { return };
        if is_for_another_module(path, fields, patch) && fields.remove("golden").is_some() {
            *changed_by = origin.clone();
        }
        for (key, value) in patch {
            if value.is_null() {
                if fields.remove(key).is_some() {
                    *changed_by = origin.clone();
                }
                continue;
            }
            path.push(key.clone());
            fields
                .entry(key.clone())
                .or_insert_with(|| Node::Leaf(Value::Null, origin.clone()))
                .merge(value, origin, path);
            path.pop();
        }
    }

    fn into_value(self) -> Value {
        match self {
            Node::Leaf(value, _) => value,
            Node::Object(fields, _) => Value::Object(
                fields.into_iter().map(|(key, node)| (key, node.into_value())).collect(),
            ),
        }
    }

    fn note_origins(&self, pointer: &mut String, origins: &mut BTreeMap<String, Origin>) {
        match self {
            Node::Object(fields, _) if !fields.is_empty() => {
                let length = pointer.len();
                for (key, node) in fields {
                    pointer.push('/');
                    pointer.push_str(&key.replace('~', "~0").replace('/', "~1"));
                    node.note_origins(pointer, origins);
                    pointer.truncate(length);
                }
            }
            Node::Leaf(_, origin) | Node::Object(_, origin) => {
                origins.insert(pointer.clone(), origin.clone());
            }
        }
    }
}

/// The deviation from RFC 7396: at `functions.F.active`, an object that gives a
/// `module` starts from nothing.
fn replaces_slot(path: &[String], patch: &Map<String, Value>) -> bool {
    matches!(path, [functions, _, active] if functions == "functions" && active == "active")
        && patch.get("module").is_some_and(|module| !module.is_null())
}

/// The other half of it: at `functions.F`, a patch with another active module, or none.
fn is_for_another_module(
    path: &[String],
    below: &BTreeMap<String, Node>,
    patch: &Map<String, Value>,
) -> bool {
    if !matches!(path, [functions, _] if functions == "functions") {
        return false;
    }
    let module_below = match below.get("active") {
        Some(Node::Object(slot, _)) => slot.get("module"),
        _ => None,
    };
    match patch.get("active") {
        None => false,
        Some(Value::Object(slot)) => slot.get("module").is_some_and(
            |module| !matches!(module_below, Some(Node::Leaf(known, _)) if known == module),
        ),
        Some(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn merged(target: Value, patch: &Value) -> Value {
        let mut tree = Tree::new(target, &Origin::Fleet);
        tree.merge(patch, &Origin::Fleet);
        tree.into_value()
    }

    #[test]
    fn the_table_of_rfc_7396_appendix_a_holds() {
        let table = json!([
            [{"a":"b"}, {"a":"c"}, {"a":"c"}],
            [{"a":"b"}, {"b":"c"}, {"a":"b","b":"c"}],
            [{"a":"b"}, {"a":null}, {}],
            [{"a":"b","b":"c"}, {"a":null}, {"b":"c"}],
            [{"a":["b"]}, {"a":"c"}, {"a":"c"}],
            [{"a":"c"}, {"a":["b"]}, {"a":["b"]}],
            [{"a":{"b":"c"}}, {"a":{"b":"d","c":null}}, {"a":{"b":"d"}}],
            [{"a":[{"b":"c"}]}, {"a":[1]}, {"a":[1]}],
            [["a","b"], ["c","d"], ["c","d"]],
            [{"a":"b"}, ["c"], ["c"]],
            [{"a":"foo"}, null, null],
            [{"a":"foo"}, "bar", "bar"],
            [{"e":null}, {"a":1}, {"e":null,"a":1}],
            [[1,2], {"a":"b","c":null}, {"a":"b"}],
            [{}, {"a":{"bb":{"ccc":null}}}, {"a":{"bb":{}}}],
        ]);
        for row in table.as_array().unwrap() {
            assert_eq!(merged(row[0].clone(), &row[1]), row[2], "{row}");
        }
    }

    #[test]
    fn a_slot_with_a_module_replaces_the_slot_below() {
        let below = json!({"functions": {"f": {
            "active": {"module": "old", "params": {"a": 1, "b": 2}},
            "bounds": {"x": {"min": 1, "max": 2}}
        }}});
        let other = json!({"functions": {"f": {"active": {"module": "new", "params": {"c": 3}}}}});
        assert_eq!(
            merged(below.clone(), &other),
            json!({"functions": {"f": {
                "active": {"module": "new", "params": {"c": 3}},
                "bounds": {"x": {"min": 1, "max": 2}}
            }}})
        );
        let tuned = json!({"functions": {"f": {"active": {"params": {"a": 9}}}}});
        assert_eq!(
            merged(below, &tuned)["functions"]["f"]["active"],
            json!({"module": "old", "params": {"a": 9, "b": 2}})
        );
        // Only there: the same words elsewhere are plain data.
        let config = json!({"config": {"f": {"active": {"module": "m", "x": 1}}}});
        assert_eq!(
            merged(config, &json!({"config": {"f": {"active": {"module": "n"}}}})),
            json!({"config": {"f": {"active": {"module": "n", "x": 1}}}})
        );
    }

    #[test]
    fn golden_vectors_go_with_the_module_that_they_were_made_for() {
        let vector = json!([{"inputs": {"x": 1}, "outputs": {"y": 2}}]);
        let below = json!({"functions": {"f": {
            "active": {"module": "old", "params": {"a": 1}},
            "golden": vector, "probation": {"ticks": 5}
        }}});
        let golden = |patch: Value| {
            let patch = json!({"functions": {"f": patch}});
            let function = merged(below.clone(), &patch)["functions"]["f"].clone();
            assert_eq!(function["probation"], json!({"ticks": 5}), "that is for any module");
            function.get("golden").cloned()
        };
        assert_eq!(golden(json!({"active": {"module": "new"}})), None);
        assert_eq!(golden(json!({"active": null})), None);
        let own = json!([{"inputs": {}, "outputs": {"y": 3}}]);
        let with_own = json!({"active": {"module": "new"}, "golden": own});
        assert_eq!(golden(with_own), Some(own));
        // The very module, or only its params: they hold, or are missed and say so.
        let same = json!({"active": {"module": "old", "params": {"a": 2}}});
        assert_eq!(golden(same), Some(vector.clone()));
        assert_eq!(golden(json!({"active": {"params": {"a": 2}}})), Some(vector.clone()));
        assert_eq!(golden(json!({"candidates": [{"module": "new"}]})), Some(vector.clone()));
        assert_eq!(golden(json!({"golden": null})), None);
        // Only there: the same words elsewhere are plain data.
        let config = json!({"config": {"f": {"active": {"module": "m"}, "golden": 1}}});
        let patch = json!({"config": {"f": {"active": {"module": "n"}}}});
        assert_eq!(merged(config, &patch)["config"]["f"]["golden"], json!(1));
    }

    #[test]
    fn a_layer_may_say_a_part_of_probation_and_golden_vectors_as_a_whole() {
        for text in [
            r#"{"functions":{"f":{"probation":{"ticks":60}}}}"#,
            r#"{"functions":{"f":{"probation":{"clamps_max":null}}}}"#,
            r#"{"functions":{"f":{"golden":null,"probation":null}}}"#,
            r#"{"functions":{"f":{"golden":[]}}}"#,
            r#"{"functions":{"f":{"golden":[{"inputs":{"x":1},"outputs":{"y":2.5}}]}}}"#,
        ] {
            assert_eq!(Layer::parse(text.as_bytes()).map(|layer| layer.to_json()), Ok(text.into()));
        }
        for text in [
            r#"{"functions":{"f":{"probation":{"seconds":60}}}}"#,
            r#"{"functions":{"f":{"probation":{"ticks":-1}}}}"#,
            r#"{"functions":{"f":{"probation":60}}}"#,
            r#"{"functions":{"f":{"golden":{"inputs":{},"outputs":{}}}}}"#,
            r#"{"functions":{"f":{"golden":[{"inputs":{"x":1}}]}}}"#,
            r#"{"functions":{"f":{"golden":[{"inputs":{},"outputs":{},"within":1}]}}}"#,
        ] {
            assert!(Layer::parse(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn origins_name_the_layer_of_each_leaf() {
        let mut tree = Tree::new(json!({}), &Origin::Default);
        tree.merge(&json!({"config": {"a": 1, "b/c": [1], "gone": 1}}), &Origin::Fleet);
        let device = Origin::Device("d".parse().unwrap());
        tree.merge(&json!({"config": {"a": 2, "gone": null, "e": {}}}), &device);
        let origins: Vec<(String, String)> =
            tree.origins().into_iter().map(|(at, origin)| (at, origin.to_string())).collect();
        assert_eq!(
            origins,
            [("/config/a", "device:d"), ("/config/b~1c", "fleet"), ("/config/e", "device:d")]
                .map(|(at, origin)| (at.to_owned(), origin.to_owned()))
        );
    }

    #[test]
    fn a_patch_takes_values_out_and_replacing_puts_nulls_in() {
        let layer = Layer::parse(br#"{"config":{"a":1,"b":2}}"#).unwrap();
        let patch = Layer::parse(br#"{"config":{"a":null}}"#).unwrap();
        assert_eq!(layer.patched(&patch).to_json(), r#"{"config":{"b":2}}"#);
        assert_eq!(patch.to_json(), r#"{"config":{"a":null}}"#);
    }

    #[test]
    fn a_layer_of_another_form_is_refused() {
        for text in [
            r#"{"confg":{}}"#,
            r#"{"config":[]}"#,
            r#"{"functions":{"F":{}}}"#,
            r#"{"functions":{"f":{"active":{"module":"v1"}}}}"#,
            r#"{"functions":{"f":{"candidates":[{}]}}}"#,
            r#"{"on_expiry":"stop"}"#,
            r#"{"config":{"a":1,"a":2}}"#,
            "[]",
        ] {
            assert!(Layer::parse(text.as_bytes()).is_err(), "{text}");
        }
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            "[a-c~/]{0,3}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                prop::collection::btree_map(
                    "[a-c~/]{0,2}|functions|active|module|golden",
                    inner,
                    0..4
                )
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    fn leaves(value: &Value, pointer: String, into: &mut Vec<String>) {
        match value {
            Value::Object(fields) if !fields.is_empty() => {
                for (key, value) in fields {
                    let key = key.replace('~', "~0").replace('/', "~1");
                    leaves(value, format!("{pointer}/{key}"), into);
                }
            }
            _ => into.push(pointer),
        }
    }

    proptest! {
        #[test]
        fn merging_the_same_patch_again_changes_nothing(target in any_json(), patch in any_json()) {
            let once = merged(target, &patch);
            prop_assert_eq!(merged(once.clone(), &patch), once);
        }

        #[test]
        fn every_leaf_has_one_origin(layers in prop::collection::vec(any_json(), 1..4)) {
            let mut tree = Tree::new(json!({}), &Origin::Default);
            for (index, layer) in layers.iter().enumerate() {
                let name = format!("g{index}").parse().unwrap();
                tree.merge(layer, &Origin::Group(name));
            }
            let origins: Vec<String> = tree.origins().into_keys().collect();
            let mut expected = vec![];
            leaves(&tree.into_value(), String::new(), &mut expected);
            expected.sort();
            prop_assert_eq!(origins, expected);
        }
    }
}
