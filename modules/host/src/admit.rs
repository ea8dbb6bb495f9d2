//! Admission: from module bytes to [`Admitted`], off the control path.
//!
//! Steps: shape and features, compile, interface, fit to the profile, a trial
//! instantiation under the budget. The only constructor of `Admitted` is here.
//! Whose bytes they are was decided before.

use gnomon_schemas::ids::{FunctionName, SignalName};
use gnomon_schemas::profile::{Budget, Profile};
use gnomon_schemas::value::{Value, ValueType, Values};
use gnomon_schemas::{Coded, Digest, Reason};
use std::sync::Arc;
use wasmtime::Engine;
use wasmtime::component::{Component, ComponentExportIndex, InstancePre};

use crate::arguments::{Arguments, InputCheck};
use crate::engine::Host;
use crate::evaluate::CallState;
use crate::interface::{EVALUATE, Interface, MIGRATE};
use crate::shape;

/// Why a module was not admitted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the message of each variant is its documentation")]
pub enum AdmitError {
    #[error("not a valid WebAssembly component: {0}")]
    NotAComponent(String),
    #[error("uses a WebAssembly feature that is off: {0}")]
    Feature(String),
    #[error("{found} {what}, at most {max} are taken")]
    Shape { what: &'static str, found: usize, max: usize },
    #[error("imports `{0}`: a function gets its inputs and nothing else")]
    HasImports(String),
    #[error("the engine could not compile it: {0}")]
    Compile(String),
    #[error("exports no function `{EVALUATE}`")]
    MissingExport,
    #[error("{0}")]
    Interface(String),
    #[error(
        "{place} is {found}: only scalars, strings, enums, options, lists and records are values"
    )]
    Type { place: String, found: &'static str },
    #[error("the profile has no function `{0}`")]
    UnknownFunction(FunctionName),
    #[error("params: {0}")]
    Params(String),
    #[error("does not start within its budget: {0}")]
    Start(String, Reason),
    #[error("no instance is free in the host's pool: {0}")]
    Busy(String),
}

impl Coded for AdmitError {
    fn reason(&self) -> Reason {
        match self {
            AdmitError::NotAComponent(_) => Reason::NotAComponent,
            AdmitError::Feature(_) => Reason::FeatureRefused,
            AdmitError::Shape { .. } => Reason::ShapeLimit,
            AdmitError::HasImports(_) => Reason::HasImports,
            AdmitError::Compile(_) => Reason::CompileFailed,
            AdmitError::MissingExport => Reason::MissingExport,
            AdmitError::Interface(_) => Reason::InterfaceMismatch,
            AdmitError::Type { .. } => Reason::TypeRefused,
            AdmitError::UnknownFunction(_) => Reason::UnknownFunction,
            AdmitError::Params(_) => Reason::ParamsInvalid,
            AdmitError::Start(_, reason) => *reason,
            AdmitError::Busy(_) => Reason::Unavailable,
        }
    }
}

/// Params that fit a module, in the engine's form too.
#[derive(Debug, Clone)]
pub struct Params {
    values: Values,
    /// The module whose params record they fit.
    pub(crate) module: Digest,
    pub(crate) arguments: Arguments,
}

impl Params {
    /// The values, as they were accepted.
    pub fn values(&self) -> &Values {
        &self.values
    }
}

/// A module that may be called: it has no imports, its types fit the profile's
/// function, and it starts within its budget. Cheap to clone.
#[derive(Clone)]
pub struct Admitted(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) engine: Engine,
    pub(crate) instance: InstancePre<CallState>,
    pub(crate) evaluate: ComponentExportIndex,
    pub(crate) migrate: Option<ComponentExportIndex>,
    pub(crate) digest: Digest,
    pub(crate) interface: Interface,
    /// One for each input, in the order of the module's record.
    pub(crate) checks: Vec<InputCheck>,
    pub(crate) budget: Budget,
    pub(crate) deadline_ms: u64,
}

impl std::fmt::Debug for Admitted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Admitted({})", self.0.digest.short())
    }
}

impl Host {
    /// Admits a module for a function of a profile. Takes milliseconds of
    /// compilation, so never on the thread that ticks.
    ///
    /// # Errors
    /// The first step that fails.
    pub fn admit(
        &self,
        bytes: &[u8],
        profile: &Profile,
        function: &FunctionName,
        budget: Budget,
    ) -> Result<Admitted, AdmitError> {
        let Some(role) = profile.functions.get(function) else {
            return Err(AdmitError::UnknownFunction(function.clone()));
        };
        shape::check(bytes)?;
        let (digest, component) = self.compiled(bytes).map_err(AdmitError::Compile)?;
        let interface = Interface::of(&component, self.engine())?;
        interface.check(profile, function)?;
        let (instance, evaluate) = self.link(&component)?;
        let checks = interface.input_fields().iter().map(|field| {
            let name = field.snake.parse::<SignalName>().ok()?;
            let (signal, ty) = (profile.signals.get(&name)?, interface.inputs.get(&name)?.clone());
            Some(InputCheck { ty, range: signal.range, items_max: signal.items_max })
        });
        let checks = checks
            .collect::<Option<Vec<_>>>()
            .ok_or_else(|| AdmitError::Interface("an input is no signal".into()))?;
        let admitted = Admitted(Arc::new(Inner {
            engine: self.engine().clone(),
            instance,
            evaluate,
            migrate: component.get_export_index(None, MIGRATE),
            digest,
            checks,
            interface,
            budget,
            deadline_ms: role.deadline_ms,
        }));
        admitted.try_start()?;
        Ok(admitted)
    }

    fn link(
        &self,
        component: &Component,
    ) -> Result<(InstancePre<CallState>, ComponentExportIndex), AdmitError> {
        let evaluate =
            component.get_export_index(None, EVALUATE).ok_or(AdmitError::MissingExport)?;
        let instance = self
            .linker()
            .instantiate_pre(component)
            .map_err(|error| AdmitError::HasImports(format!("{error:#}")))?;
        Ok((instance, evaluate))
    }
}

impl Admitted {
    /// The module's digest.
    pub fn digest(&self) -> &Digest {
        &self.0.digest
    }

    /// The module's own types.
    pub fn interface(&self) -> &Interface {
        &self.0.interface
    }

    /// The budget that its calls run under.
    pub fn budget(&self) -> Budget {
        self.0.budget
    }

    /// Params as this module takes them.
    ///
    /// # Errors
    /// [`AdmitError::Params`], naming the field.
    pub fn params(&self, values: &Values) -> Result<Params, AdmitError> {
        let fields = self.interface().params.iter();
        let ty =
            ValueType::Record(fields.map(|(name, ty)| (name.to_string(), ty.clone())).collect());
        let accepted = ty.accept(&Value::Record(values.clone())).map_err(AdmitError::Params)?;
        if !accepted.is_finite() {
            return Err(AdmitError::Params("a number is not finite".into()));
        }
        let arguments = Arguments::of(&self.0.interface.arguments, &accepted)
            .ok_or_else(|| AdmitError::Params("do not fit the params record".into()))?;
        match accepted {
            Value::Record(values) => {
                Ok(Params { values, module: self.digest().clone(), arguments })
            }
            _ => Err(AdmitError::Params("are not a record".into())),
        }
    }

    /// [`Admitted::params`], for those who need only the values.
    ///
    /// # Errors
    /// [`AdmitError::Params`], naming the field.
    pub fn check_params(&self, values: &Values) -> Result<Values, AdmitError> {
        self.params(values).map(|params| params.values)
    }
}
