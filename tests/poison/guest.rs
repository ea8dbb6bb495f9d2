//! Components from text: a guest of the water heater's profile whose every part can be
//! replaced by a poisonous one. It defaults everything and judges nothing.

use gnomon_schemas::value::{Value, Values};

use super::{Fate, Poison};

/// What the device measures at this hour, with the forecast that lists need.
pub(crate) fn inputs(hour: f64) -> Values {
    let forecast: Vec<f64> = (0..24).map(|hour| 0.05 + f64::from(hour % 5) * 0.02).collect();
    Values::from([
        ("hour".to_owned(), Value::Float(hour)),
        ("tank_temp_c".to_owned(), Value::Float(50.0)),
        ("tank_low_temp_c".to_owned(), Value::Float(20.0)),
        ("price_forecast".to_owned(), forecast.into()),
    ])
}

/// The parts of a component; unless said otherwise it maps `hour` to `setpoint_c`.
pub(crate) struct Guest {
    name: &'static str,
    inputs: String,
    outputs: String,
    state: Option<String>,
    signature: String,
    export: &'static str,
    front: String,
    behind: String,
}

impl Guest {
    pub(crate) fn new(name: &'static str) -> Guest {
        Guest {
            name,
            inputs: r#"(field "hour" f64)"#.into(),
            outputs: r#"(field "setpoint-c" f64)"#.into(),
            state: None,
            signature: r#"(param "in" $i) (result $o)"#.into(),
            export: "evaluate",
            front: String::new(),
            behind: String::new(),
        }
    }

    /// The fields of its inputs.
    pub(crate) fn inputs(mut self, fields: &str) -> Guest {
        self.inputs = fields.into();
        self
    }

    /// The fields of its outputs.
    pub(crate) fn outputs(mut self, fields: &str) -> Guest {
        self.outputs = fields.into();
        self
    }

    /// The fields of its state, which it then takes and returns.
    pub(crate) fn state(mut self, fields: &str) -> Guest {
        self.state = Some(fields.into());
        self.signature = r#"(param "in" $i) (param "s" (option $s)) (result (tuple $o $s))"#.into();
        self
    }

    /// Params and results of what it exports.
    pub(crate) fn signature(mut self, signature: &str) -> Guest {
        self.signature = signature.into();
        self
    }

    /// The name of what it exports.
    pub(crate) fn export(mut self, name: &'static str) -> Guest {
        self.export = name;
        self
    }

    /// Definitions before all others.
    pub(crate) fn front(mut self, text: &str) -> Guest {
        self.front = text.into();
        self
    }

    /// Definitions after all others.
    pub(crate) fn behind(mut self, text: &str) -> Guest {
        self.behind = text.into();
        self
    }

    /// With these fields of its core module, of which `f` is the function. Memory,
    /// `realloc` and `post-return` are handed over if the module exports them.
    pub(crate) fn core(self, why: &'static str, fate: Fate, fields: &str) -> Poison {
        self.linked(why, fate, "", fields)
    }

    /// The same, with what its core module imports from its own component.
    pub(crate) fn linked(self, why: &'static str, fate: Fate, with: &str, fields: &str) -> Poison {
        let canon: String = [
            ("(export \"memory\")", "(memory (core memory $c \"memory\"))"),
            ("(export \"realloc\")", "(realloc (core func $c \"realloc\"))"),
            ("(export \"post-return\")", "(post-return (core func $c \"post-return\"))"),
        ]
        .iter()
        .filter(|(export, _)| fields.contains(export))
        .map(|(_, option)| *option)
        .collect();
        let named = |name: &str, short: &str, fields: &str| {
            format!(
                "(type ${short}-of (record {fields}))
                 (import \"{name}\" (type ${short} (eq ${short}-of)))"
            )
        };
        let state = self.state.as_ref().map(|fields| named("state", "s", fields));
        let text = format!(
            "(component {front} {inputs} {outputs} {state}
             (core module $m {fields})
             (core instance $c (instantiate $m {with}))
             (type $evaluate (func {signature}))
             (func $f (type $evaluate) (canon lift (core func $c \"f\") {canon}))
             (export \"{export}\" (func $f)) {manifest} {behind})",
            front = self.front,
            inputs = named("inputs", "i", &self.inputs),
            outputs = named("outputs", "o", &self.outputs),
            state = state.unwrap_or_default(),
            signature = self.signature,
            export = self.export,
            manifest = manifest(self.name),
            behind = self.behind,
        );
        assembled(self.name, why, fate, &text)
    }

    /// With this body of its one function; the hour is `(local.get 0)`.
    pub(crate) fn body(self, why: &'static str, fate: Fate, body: &str) -> Poison {
        self.core(why, fate, &function(body))
    }

    /// A good function, beside these fields of its core module.
    pub(crate) fn beside(self, why: &'static str, fate: Fate, fields: &str) -> Poison {
        self.core(why, fate, &format!("{fields} {}", function("(f64.const 55)")))
    }
}

/// The function from the hour to the setpoint.
pub(crate) fn function(body: &str) -> String {
    format!("(func (export \"f\") (param f64) (result f64) {body})")
}

/// The manifest that a document lists.
pub(crate) fn manifest(name: &str) -> String {
    format!(
        r#"(@custom "gnomon.manifest" "{{\"name\":\"{name}\",\"version\":\"1.0.0\",\"release_counter\":1,\"function\":\"setpoint\"}}")"#
    )
}

pub(crate) fn assembled(name: &'static str, why: &'static str, fate: Fate, text: &str) -> Poison {
    let bytes = wat::parse_str(text).unwrap_or_else(|error| panic!("{name}: {error}"));
    Poison { name, why, bytes, fate }
}

/// An allocator that never frees, for guests that get lists.
pub(crate) const REALLOC: &str = r#"
    (global $next (mut i32) (i32.const 1024))
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) (local $at i32)
      (local.set $at (i32.and
        (i32.add (global.get $next) (i32.sub (local.get 2) (i32.const 1)))
        (i32.sub (i32.const 0) (local.get 2))))
      (global.set $next (i32.add (local.get $at) (local.get 3)))
      (local.get $at))"#;
