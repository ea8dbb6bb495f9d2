//! Shape caps: what a module may look like before anything compiles it.
//!
//! Compilers take time and memory out of proportion to some inputs (a 156 KB
//! module of 1,000 locals and 10,000 blocks took seconds and half a gigabyte),
//! so dimensions are capped first, by a parser that allocates nothing.

use gnomon_schemas::limits::MODULE_BYTES_MAX;
use wasmparser::{Encoding, FunctionBody, Operator, Parser, Payload, Validator, WasmFeatures};

use crate::admit::AdmitError;
use crate::engine::features;

/// Core modules and components inside one component.
pub const NESTED_MAX: usize = 16;
/// How deep they nest.
pub const NESTING_DEPTH_MAX: usize = 3;
/// Functions in all core modules together.
pub const FUNCTIONS_MAX: usize = 5_000;
/// Locals of one function, params apart.
pub const LOCALS_MAX: u32 = 1_000;
/// Operators of one function.
pub const OPERATORS_MAX: usize = 50_000;
/// Blocks of one function times its locals: what register allocation grows with.
pub const BLOCKS_TIMES_LOCALS_MAX: usize = 1_000_000;
/// How deep blocks nest in one function.
pub const BLOCK_DEPTH_MAX: usize = 200;
/// Types, imports, exports, globals, tables, memories or segments in one section.
pub const SECTION_ITEMS_MAX: u32 = 2_000;
/// Bytes of all custom sections together.
pub const CUSTOM_BYTES_MAX: usize = 64 * 1024;

fn too_many(what: &'static str, found: usize, max: usize) -> Result<(), AdmitError> {
    if found > max { Err(AdmitError::Shape { what, found, max }) } else { Ok(()) }
}

/// Checks encoding, shape, validity and features, in this order.
///
/// # Errors
/// [`AdmitError::Shape`], [`AdmitError::NotAComponent`] or [`AdmitError::Feature`].
pub fn check(bytes: &[u8]) -> Result<(), AdmitError> {
    too_many("bytes", bytes.len(), MODULE_BYTES_MAX)?;
    let mut counts = Counts::default();
    for payload in Parser::new(0).parse_all(bytes) {
        counts.take(payload.map_err(invalid)?)?;
    }
    validate(bytes)
}

fn invalid(error: wasmparser::BinaryReaderError) -> AdmitError {
    AdmitError::NotAComponent(error.to_string())
}

fn validate(bytes: &[u8]) -> Result<(), AdmitError> {
    let Err(refused) = Validator::new_with_features(features()).validate_all(bytes) else {
        return Ok(());
    };
    match Validator::new_with_features(WasmFeatures::all()).validate_all(bytes) {
        Ok(_) => Err(AdmitError::Feature(refused.message().to_owned())),
        Err(_) => Err(invalid(refused)),
    }
}

#[derive(Default)]
struct Counts {
    depth: usize,
    nested: usize,
    functions: usize,
    custom_bytes: usize,
    seen_header: bool,
}

impl Counts {
    fn take(&mut self, payload: Payload<'_>) -> Result<(), AdmitError> {
        match payload {
            Payload::Version { encoding, .. } if !self.seen_header => {
                self.seen_header = true;
                if encoding != Encoding::Component {
                    return Err(AdmitError::NotAComponent("it is a core module".into()));
                }
            }
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => {
                self.nested += 1;
                self.depth += 1;
                too_many("nested modules", self.nested, NESTED_MAX)?;
                too_many("nesting depth", self.depth, NESTING_DEPTH_MAX)?;
            }
            Payload::End(_) => self.depth = self.depth.saturating_sub(1),
            Payload::FunctionSection(section) => {
                self.functions += section.count() as usize;
                too_many("functions", self.functions, FUNCTIONS_MAX)?;
            }
            Payload::CodeSectionEntry(body) => check_function(&body)?,
            Payload::CustomSection(section) => {
                self.custom_bytes += section.data().len() + section.name().len();
                too_many("custom section bytes", self.custom_bytes, CUSTOM_BYTES_MAX)?;
            }
            other => check_section(&other)?,
        }
        Ok(())
    }
}

fn check_section(payload: &Payload<'_>) -> Result<(), AdmitError> {
    let (what, count) = match payload {
        Payload::TypeSection(s) => ("types", s.count()),
        Payload::ImportSection(s) => ("imports", s.count()),
        Payload::TableSection(s) => ("tables", s.count()),
        Payload::MemorySection(s) => ("memories", s.count()),
        Payload::GlobalSection(s) => ("globals", s.count()),
        Payload::ExportSection(s) => ("exports", s.count()),
        Payload::ElementSection(s) => ("element segments", s.count()),
        Payload::DataSection(s) => ("data segments", s.count()),
        Payload::ComponentTypeSection(s) => ("component types", s.count()),
        Payload::ComponentImportSection(s) => ("component imports", s.count()),
        Payload::ComponentExportSection(s) => ("component exports", s.count()),
        Payload::ComponentAliasSection(s) => ("aliases", s.count()),
        Payload::ComponentCanonicalSection(s) => ("canonical functions", s.count()),
        Payload::InstanceSection(s) => ("core instances", s.count()),
        Payload::ComponentInstanceSection(s) => ("component instances", s.count()),
        Payload::CoreTypeSection(s) => ("core types", s.count()),
        _ => return Ok(()),
    };
    too_many(what, count as usize, SECTION_ITEMS_MAX as usize)
}

fn check_function(body: &FunctionBody<'_>) -> Result<(), AdmitError> {
    let mut locals = 0_u32;
    for group in body.get_locals_reader().map_err(invalid)? {
        locals = locals.saturating_add(group.map_err(invalid)?.0);
    }
    too_many("locals of a function", locals as usize, LOCALS_MAX as usize)?;
    let (mut operators, mut blocks, mut depth) = (0, 0, 0_usize);
    for operator in body.get_operators_reader().map_err(invalid)? {
        operators += 1;
        match operator.map_err(invalid)? {
            Operator::Block { .. } | Operator::Loop { .. } | Operator::If { .. } => {
                blocks += 1;
                depth += 1;
                too_many("block depth of a function", depth, BLOCK_DEPTH_MAX)?;
            }
            Operator::End => depth = depth.saturating_sub(1),
            Operator::BrTable { targets } => blocks += targets.len() as usize,
            _ => {}
        }
        too_many("operators of a function", operators, OPERATORS_MAX)?;
        let product = blocks * (locals as usize + 1);
        too_many("blocks times locals of a function", product, BLOCKS_TIMES_LOCALS_MAX)?;
    }
    Ok(())
}
