//! From layers to the content of a document: merge, type, check against the
//! profile, give it a digest by which a new version is told from the old one.
//!
//! It signs nothing and knows no clock: version and time are arguments.

use gnomon_schemas::content;
use gnomon_schemas::document::{
    Document, DocumentSchema, FunctionPlan, InlineBytes, ModuleRef, OnExpiry, Reporting,
};
use gnomon_schemas::ids::{DeviceId, Digest, FleetId, FunctionName, Version};
use gnomon_schemas::limits::{INLINE_MODULE_BYTES_MAX, INLINE_MODULES_BYTES_MAX, TIME_STEP_MS_MAX};
use gnomon_schemas::profile::Profile;
use gnomon_schemas::reason::{Reason, Refusal};
use gnomon_schemas::strict;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, json};
use std::collections::{BTreeMap, BTreeSet};

use crate::layer::{Layer, Origin, Tree};

/// How long a document may be accepted when no layer says otherwise: 90 days.
pub const EXPIRES_IN_S_DEFAULT: u64 = 90 * 24 * 3600;
/// The shortest time that a layer may ask for: documents are signed again at half
/// their life, and that is looked at every ten minutes.
pub const EXPIRES_IN_S_MIN: u64 = 3600;
/// The longest: half of what a device lets one document move its time floor.
pub const EXPIRES_IN_S_MAX: u64 = TIME_STEP_MS_MAX / 2 / 1000;
/// The largest effective content, well above what fits a document.
const CONTENT_BYTES_MAX: usize = 4 * 1024 * 1024;

/// What the layers together say, typed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Content {
    /// Plain settings.
    #[serde(default)]
    pub config: Map<String, serde_json::Value>,
    /// Which modules fill which functions.
    #[serde(default)]
    pub functions: BTreeMap<FunctionName, FunctionPlan>,
    /// What the device reports, and how much.
    pub reporting: Reporting,
    /// What happens when the document expires while it is active.
    pub on_expiry: OnExpiry,
    /// For how long the document may be accepted, in seconds.
    pub expires_in_s: u64,
}

impl Content {
    /// The digests of all modules that its slots name.
    pub fn modules(&self) -> BTreeSet<&Digest> {
        self.functions.values().flat_map(FunctionPlan::slots).map(|slot| &slot.module).collect()
    }
}

/// The effective content of one device, and where each leaf of it came from.
#[derive(Debug, Clone, PartialEq)]
pub struct Effective {
    /// The content.
    pub content: Content,
    /// The origin of each leaf, by JSON pointer.
    pub origins: BTreeMap<String, Origin>,
}

/// Merges layers, lowest first, over the built-in defaults.
///
/// # Errors
/// [`Reason::SchemaViolation`] when together they are not a content: a slot that
/// ends up without a module, for example.
pub fn effective<'a>(
    layers: impl IntoIterator<Item = (Origin, &'a Layer)>,
) -> Result<Effective, Refusal> {
    let defaults = json!({
        "reporting": Reporting::default(),
        "on_expiry": OnExpiry::default(),
        "expires_in_s": EXPIRES_IN_S_DEFAULT,
    });
    let mut tree = Tree::new(defaults, &Origin::Default);
    for (origin, layer) in layers {
        tree.merge(&serde_json::Value::Object(layer.as_map().clone()), &origin);
    }
    let origins = tree.origins();
    let text = tree.into_value().to_string();
    let content: Content = strict::parse(text.as_bytes(), CONTENT_BYTES_MAX)?;
    check_figures(&content)?;
    Ok(Effective { content, origins })
}

fn check_figures(content: &Content) -> Result<(), Refusal> {
    let wrong = |detail: String| Err(Refusal::new(Reason::SchemaViolation, detail));
    if !(EXPIRES_IN_S_MIN..=EXPIRES_IN_S_MAX).contains(&content.expires_in_s) {
        return wrong(format!(
            "expires_in_s: {} is not within {EXPIRES_IN_S_MIN} to {EXPIRES_IN_S_MAX}",
            content.expires_in_s
        ));
    }
    if content.reporting.summary_ticks == 0 {
        return wrong("reporting.summary_ticks: at least 1".into());
    }
    Ok(())
}

/// For whom a document is made, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The fleet.
    pub fleet: FleetId,
    /// The device.
    pub device: DeviceId,
    /// The digest of the device's profile.
    pub profile: Digest,
    /// The trust root's epoch.
    pub epoch: u64,
}

/// A module as the cloud holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredModule {
    /// What a document says of it; never inline here.
    pub listed: ModuleRef,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// The document of one device. Small modules go inline, in the order of their
/// digests, as long as they fit together and `inline` says so; the rest must
/// come on their own topics. Approvals are attached by whoever signs it.
///
/// # Errors
/// [`Reason::UnknownModule`] for a slot whose module is not among `modules`, and
/// all of [`content::check`].
pub fn document(
    content: &Content,
    identity: &Identity,
    (version, issued_at_ms): (Version, u64),
    modules: &BTreeMap<Digest, StoredModule>,
    (profile, inline): (&Profile, bool),
) -> Result<Document, Refusal> {
    let mut listed = BTreeMap::new();
    let mut inline_bytes = 0;
    for digest in content.modules() {
        let stored = modules.get(digest).ok_or_else(|| unknown_module(content, digest))?;
        let mut reference = stored.listed.clone();
        let size = stored.bytes.len();
        if inline
            && size <= INLINE_MODULE_BYTES_MAX
            && inline_bytes + size <= INLINE_MODULES_BYTES_MAX
        {
            inline_bytes += size;
            reference.inline = Some(InlineBytes(stored.bytes.clone()));
        }
        listed.insert(digest.clone(), reference);
    }
    let document = Document {
        schema: DocumentSchema::V1,
        fleet: identity.fleet.clone(),
        device: identity.device.clone(),
        profile: identity.profile.clone(),
        epoch: identity.epoch,
        version,
        issued_at_ms,
        expires_at_ms: issued_at_ms.saturating_add(content.expires_in_s.saturating_mul(1000)),
        on_expiry: content.on_expiry,
        config: content.config.clone(),
        functions: content.functions.clone(),
        modules: listed,
        reporting: content.reporting,
        approvals: vec![],
    };
    content::check(&document, profile)?;
    Ok(document)
}

fn unknown_module(content: &Content, digest: &Digest) -> Refusal {
    let uses = |plan: &FunctionPlan| plan.slots().any(|slot| slot.module == *digest);
    let function = content.functions.iter().find(|(_, plan)| uses(plan)).map(|(name, _)| name);
    let place = function.map_or(String::new(), |name| format!("functions.{name}: "));
    let detail = format!("{place}no module {digest} was uploaded");
    Refusal::new(Reason::UnknownModule, detail)
}

/// The digest of all that makes a document differ but its version and times:
/// equal digests need no new version.
pub fn content_digest(
    content: &Content,
    identity: &Identity,
    modules: &BTreeMap<Digest, StoredModule>,
) -> Digest {
    let listed: BTreeMap<&Digest, Option<&ModuleRef>> = content
        .modules()
        .into_iter()
        .map(|digest| (digest, modules.get(digest).map(|stored| &stored.listed)))
        .collect();
    let what = json!({
        "fleet": identity.fleet,
        "device": identity.device,
        "profile": identity.profile,
        "epoch": identity.epoch,
        "content": content,
        "modules": listed,
    });
    Digest::of(what.to_string().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use gnomon_schemas::document::Probation;
    use gnomon_schemas::module::ModuleEvidence;

    const PROFILE: &str = r#"{
        "schema": "gnomon.profile.v1", "name": "lamp", "version": "1",
        "signals": {"lux": {"type": "f64"}},
        "outputs": {"level": {"type": "f64", "bounds": {"min": 0, "max": 1}, "default": 0}},
        "functions": {"dim": {"outputs": ["level"], "period_ms": 10, "deadline_ms": 5,
                              "budget": {"fuel": 10, "memory_bytes": 65536}}},
        "config_schema": {"type": "object", "properties": {"room": {"type": "string"}}}
    }"#;

    fn identity() -> Identity {
        Identity {
            fleet: "acme".parse().unwrap(),
            device: "lamp-1".parse().unwrap(),
            profile: Digest::of(PROFILE.as_bytes()),
            epoch: 1,
        }
    }

    fn module(size: usize) -> (Digest, StoredModule) {
        let bytes = vec![7; size];
        let listed = ModuleRef {
            name: "dimmer".parse().unwrap(),
            version: "1".into(),
            release_counter: 1,
            size_bytes: size as u64,
            evidence: ModuleEvidence::Key {
                publisher: "local".parse().unwrap(),
                signature: "AA==".into(),
            },
            inline: None,
        };
        (Digest::of(&bytes), StoredModule { listed, bytes })
    }

    fn composed(
        layer: &str,
        modules: &BTreeMap<Digest, StoredModule>,
    ) -> Result<Document, Refusal> {
        let layer = Layer::parse(layer.as_bytes())?;
        let (profile, _) = Profile::parse(PROFILE.as_bytes())?;
        let content = effective([(Origin::Fleet, &layer)])?.content;
        document(&content, &identity(), (Version::FIRST, 1_000), modules, (&profile, true))
    }

    fn refused(layer: &str) -> (Reason, String) {
        let refusal = composed(layer, &BTreeMap::new()).unwrap_err();
        (refusal.reason, refusal.detail)
    }

    fn with_active(digest: &Digest) -> String {
        format!(r#"{{"functions":{{"dim":{{"active":{{"module":"{digest}"}}}}}}}}"#)
    }

    #[test]
    fn nothing_said_is_a_document_of_defaults() {
        let document = composed("{}", &BTreeMap::new()).unwrap();
        assert_eq!(document.expires_at_ms, 1_000 + EXPIRES_IN_S_DEFAULT * 1000);
        assert_eq!(document.reporting, Reporting::default());
        assert!(document.functions.is_empty() && document.modules.is_empty());
    }

    #[test]
    fn small_modules_go_inline_and_large_ones_do_not() {
        for (size, inline) in
            [(INLINE_MODULE_BYTES_MAX, true), (INLINE_MODULE_BYTES_MAX + 1, false)]
        {
            let (digest, stored) = module(size);
            let modules = BTreeMap::from([(digest.clone(), stored)]);
            let document = composed(&with_active(&digest), &modules).unwrap();
            assert_eq!(document.modules[&digest].inline.is_some(), inline);
        }
    }

    #[test]
    fn what_does_not_fit_is_refused_with_its_place() {
        let (digest, _) = module(3);
        let (reason, detail) = refused(&with_active(&digest));
        assert_eq!(reason, Reason::UnknownModule);
        assert!(detail.starts_with("functions.dim: "), "{detail}");
        assert_eq!(refused(r#"{"config":{"room":7}}"#).0, Reason::ConfigInvalid);
        assert_eq!(refused(r#"{"functions":{"other":{}}}"#).0, Reason::UnknownFunction);
        assert_eq!(refused(r#"{"expires_in_s":1}"#).0, Reason::SchemaViolation);
        assert_eq!(refused(r#"{"reporting":{"summary_ticks":0}}"#).0, Reason::SchemaViolation);
        let slot_without_module = r#"{"functions":{"dim":{"active":{"params":{}}}}}"#;
        let (reason, detail) = refused(slot_without_module);
        assert_eq!(reason, Reason::SchemaViolation);
        assert!(detail.contains("functions.dim.active"), "{detail}");
    }

    #[test]
    fn golden_vectors_and_probation_come_through_from_the_layers_that_say_them() {
        let (digest, stored) = module(3);
        let modules = BTreeMap::from([(digest.clone(), stored)]);
        let fleet = format!(
            r#"{{"functions":{{"dim":{{"active":{{"module":"{digest}"}},
                "golden":[{{"inputs":{{"lux":5}},"outputs":{{"level":0.5}},"tolerance":0.1}}],
                "probation":{{"ticks":60,"faults_max":1}}}}}}}}"#
        );
        let device = r#"{"functions":{"dim":{"probation":{"faults_max":0,"clamps_max":3}}}}"#;
        let [fleet, device] = [fleet.as_str(), device].map(|text| Layer::parse(text.as_bytes()));
        let (fleet, device) = (fleet.unwrap(), device.unwrap());
        let of_device = Origin::Device("lamp-1".parse().unwrap());
        let layers = [(Origin::Fleet, &fleet), (of_device.clone(), &device)];
        let effective = effective(layers).unwrap();
        let at = |pointer: &str| &effective.origins[&format!("/functions/dim/{pointer}")];
        assert_eq!(at("golden"), &Origin::Fleet);
        assert_eq!(at("probation/ticks"), &Origin::Fleet);
        assert_eq!(at("probation/faults_max"), &of_device);
        let (profile, _) = Profile::parse(PROFILE.as_bytes()).unwrap();
        let made = (Version::FIRST, 1_000);
        let document =
            document(&effective.content, &identity(), made, &modules, (&profile, true)).unwrap();
        let plan = &document.functions[&"dim".parse().unwrap()];
        let rules = Probation { ticks: 60, faults_max: 0, clamps_max: Some(3) };
        assert_eq!(plan.probation, Some(rules));
        let [vector] = &plan.golden[..] else { panic!("{:?}", plan.golden) };
        assert_eq!((vector.tolerance, vector.inputs["lux"].as_f64()), (0.1, Some(5.0)));
        assert_eq!(vector.outputs["level"].as_f64(), Some(0.5));
        // As it goes over the wire, and back.
        let json = serde_json::to_string(&document).unwrap();
        assert_eq!(serde_json::from_str::<Document>(&json).unwrap(), document);
    }

    #[test]
    fn what_a_layer_leaves_out_of_probation_is_the_usual() {
        let (digest, stored) = module(3);
        let modules = BTreeMap::from([(digest.clone(), stored)]);
        let probation = |text: &str| {
            let layer =
                format!(r#"{{"functions":{{"dim":{{"active":{{"module":"{digest}"}}{text}}}}}}}"#);
            let document = composed(&layer, &modules).unwrap();
            document.functions[&"dim".parse().unwrap()].probation
        };
        let usual = Probation::default();
        assert_eq!(probation(""), None);
        assert_eq!(probation(r#","probation":{}"#), Some(usual));
        let longer = Probation { ticks: 500, ..usual };
        assert_eq!(probation(r#","probation":{"ticks":500}"#), Some(longer));
        let none = Probation { ticks: 0, ..usual };
        assert_eq!(probation(r#","probation":{"ticks":0,"clamps_max":null}"#), Some(none));
    }

    #[test]
    fn golden_vectors_that_no_device_could_meet_are_refused_before_they_are_signed() {
        let (digest, stored) = module(3);
        let modules = BTreeMap::from([(digest.clone(), stored)]);
        let refused = |golden: &str| {
            let layer = format!(
                r#"{{"functions":{{"dim":{{"active":{{"module":"{digest}"}},"golden":{golden}}}}}}}"#
            );
            composed(&layer, &modules).unwrap_err()
        };
        let strange = refused(r#"[{"inputs":{"lux":1},"outputs":{"lever":1}}]"#);
        assert_eq!(strange.reason, Reason::GoldenInvalid);
        assert!(strange.detail.contains("golden[0].outputs.lever"), "{strange}");
        let empty = refused(r#"[{"inputs":{"lux":1},"outputs":{}}]"#);
        assert_eq!(empty.reason, Reason::GoldenInvalid);
        let negative = refused(r#"[{"inputs":{},"outputs":{"level":1},"tolerance":-1}]"#);
        assert_eq!(negative.reason, Reason::GoldenInvalid);
        let layer = r#"{"functions":{"dim":{"golden":[{"inputs":{},"outputs":{"level":1}}]}}}"#;
        let nobody = composed(layer, &modules).unwrap_err();
        assert_eq!(nobody.reason, Reason::GoldenInvalid, "no module to run them on");
    }

    #[test]
    fn equal_content_has_an_equal_digest_and_other_content_has_not() {
        let digest = |text: &str| {
            let layer = Layer::parse(text.as_bytes()).unwrap();
            let content = effective([(Origin::Fleet, &layer)]).unwrap().content;
            content_digest(&content, &identity(), &BTreeMap::new())
        };
        assert_eq!(digest(r#"{"config":{"a":1,"b":2}}"#), digest(r#"{"config":{"b":2,"a":1}}"#));
        assert_ne!(digest(r#"{"config":{"a":1}}"#), digest(r#"{"config":{"a":2}}"#));
    }
}
