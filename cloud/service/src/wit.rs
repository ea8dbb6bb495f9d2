//! The WIT world of a function, made from its profile: what an author starts with.

use gnomon_schemas::content;
use gnomon_schemas::ids::FunctionName;
use gnomon_schemas::profile::Profile;
use gnomon_schemas::reason::Refusal;
use gnomon_schemas::value::ValueType;
use std::collections::BTreeMap;

/// Types that need a name in WIT, by the field that has them.
type Named = BTreeMap<String, String>;

/// The world of a function: all of the profile's signals, the function's outputs.
///
/// # Errors
/// When the profile has no such function.
pub fn world(profile: &Profile, name: &FunctionName) -> Result<String, Refusal> {
    let function = content::function(profile, name)?;
    let mut named = Named::new();
    let signals: String = profile
        .signals
        .iter()
        .map(|(name, signal)| {
            let about = about(signal.description.as_deref(), signal.unit.as_deref());
            let ty = type_text(&signal.value_type, &name.kebab(), &mut named);
            format!("{about}    {}: {ty},\n", escaped(&name.kebab()))
        })
        .collect();
    let outputs: String = profile
        .outputs
        .iter()
        .filter(|(name, _)| function.outputs.contains(*name))
        .map(|(name, output)| {
            let about = about(output.description.as_deref(), output.unit.as_deref());
            let ty = type_text(&output.value_type, &name.kebab(), &mut named);
            format!("{about}    {}: {ty},\n", escaped(&name.kebab()))
        })
        .collect();
    let types: String = named.values().map(String::as_str).collect();
    Ok(format!(
        "package gnomon:{package};\n\n\
         /// Function `{name}` of profile `{package}` {version}.\n\
         world {world} {{\n{types}\
         \x20 /// Keep those that the function reads; take the others out.\n\
         \x20 record inputs {{\n{signals}  }}\n\n\
         \x20 /// The function's own tunables. Without any, take this and `p` out.\n\
         \x20 record params {{\n    example: f64,\n  }}\n\n\
         \x20 record outputs {{\n{outputs}  }}\n\n\
         \x20 export evaluate: func(in: inputs, p: params) -> outputs;\n}}\n",
        package = profile.name,
        version = profile.version,
        world = escaped(&name.kebab()),
    ))
}

fn about(description: Option<&str>, unit: Option<&str>) -> String {
    let unit = unit.map(|unit| format!("Unit: {unit}."));
    let parts: Vec<String> =
        description.map(|text| text.replace(['\n', '\r'], " ")).into_iter().chain(unit).collect();
    if parts.is_empty() { String::new() } else { format!("    /// {}\n", parts.join(" ")) }
}

fn type_text(of: &ValueType, name: &str, named: &mut Named) -> String {
    match of {
        ValueType::List(inner) => format!("list<{}>", type_text(inner, name, named)),
        ValueType::Option(inner) => format!("option<{}>", type_text(inner, name, named)),
        ValueType::Enum(cases) => {
            let cases: Vec<String> =
                cases.iter().map(|case| escaped(&case.replace('_', "-"))).collect();
            let name = format!("{name}-case");
            let text = format!("  enum {name} {{ {} }}\n\n", cases.join(", "));
            named.insert(name.clone(), text);
            name
        }
        ValueType::Record(fields) => {
            let fields: Vec<String> = fields
                .iter()
                .map(|(field, of)| {
                    let field = field.replace('_', "-");
                    let ty = type_text(of, &format!("{name}-{field}"), named);
                    format!("{}: {ty}", escaped(&field))
                })
                .collect();
            let name = format!("{name}-fields");
            // WIT does not mind the order of definitions.
            let text = format!("  record {name} {{ {} }}\n\n", fields.join(", "));
            named.insert(name.clone(), text);
            name
        }
        scalar => scalar.to_string(),
    }
}

/// WIT's keywords are escaped by a percent sign; other names may be too, so only
/// those that could be keywords are.
fn escaped(name: &str) -> String {
    const KEYWORDS: &[&str] = &[
        "as",
        "async",
        "bool",
        "borrow",
        "char",
        "constructor",
        "enum",
        "export",
        "f32",
        "f64",
        "flags",
        "from",
        "func",
        "future",
        "import",
        "include",
        "interface",
        "list",
        "map",
        "option",
        "own",
        "package",
        "record",
        "resource",
        "result",
        "s16",
        "s32",
        "s64",
        "s8",
        "static",
        "stream",
        "string",
        "tuple",
        "type",
        "u16",
        "u32",
        "u64",
        "u8",
        "use",
        "variant",
        "with",
        "world",
    ];
    if KEYWORDS.contains(&name) { format!("%{name}") } else { name.to_owned() }
}
