//! Makes the files that are generated from the types: JSON Schemas and the
//! table of reasons. A test holds them to what is committed.

use schemars::{Schema, generate::SchemaSettings};

use crate::{
    ack, approval, audit, device, document, envelope, module, profile, reason, reported, results,
    trust,
};

fn schema_of<T: schemars::JsonSchema>() -> Schema {
    SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<T>()
}

/// Every wire type: the file's stem and its JSON Schema (2020-12).
pub fn json_schemas() -> Vec<(&'static str, Schema)> {
    vec![
        ("ack", schema_of::<ack::Ack>()),
        ("approval", schema_of::<approval::Approval>()),
        ("audit-checkpoint", schema_of::<audit::AuditCheckpoint>()),
        ("desired", schema_of::<document::Document>()),
        ("device-answer", schema_of::<device::TickAnswer>()),
        ("device-request", schema_of::<device::TickRequest>()),
        ("envelope", schema_of::<envelope::Envelope>()),
        ("manifest", schema_of::<module::Manifest>()),
        ("profile", schema_of::<profile::Profile>()),
        ("reason", schema_of::<reason::Reason>()),
        ("reported", schema_of::<reported::Reported>()),
        ("results", schema_of::<results::Results>()),
        ("status", schema_of::<reported::Status>()),
        ("trust-root", schema_of::<trust::TrustRoot>()),
    ]
}

/// The table of reasons in Markdown.
pub fn reasons_markdown() -> String {
    let mut text = String::from(
        "# Reasons\n\nGenerated from `src/reason.rs`. Codes are stable: on the wire, over HTTP \
         (`reason` of a problem) and at the command line.\n\n| code | meaning |\n|---|---|\n",
    );
    for reason in reason::Reason::ALL {
        text.push_str(&format!("| `{}` | {} |\n", reason.code(), reason.meaning()));
    }
    text
}
