//! Shape caps: what a module may look like before anything compiles it.
//!
//! Compilers take time and memory out of proportion to some inputs (a 156 KB
//! module of 1,000 locals and 10,000 blocks took seconds and half a gigabyte),
//! so dimensions are capped first, by a parser that builds nothing from them.

use gnomon_schemas::Reason;
use gnomon_schemas::limits::MODULE_BYTES_MAX;
use wasmparser::{
    ComponentImportSectionReader, ComponentTypeRef, CompositeInnerType, ElementItems,
    ElementSectionReader, Encoding, FunctionBody, MemorySectionReader, Operator, Parser, Payload,
    TableSectionReader, TypeBounds, TypeSectionReader, Validator, WasmFeatures,
};

use crate::admit::AdmitError;
use crate::engine::{MEMORY_BYTES_MAX, TABLE_ELEMENTS_MAX, features};

/// Core modules and components inside one component.
pub const NESTED_MAX: usize = 16;
/// How deep they nest.
pub const NESTING_DEPTH_MAX: usize = 3;
/// Instances that all components together name; nested they multiply, so they are few.
pub const INSTANCES_MAX: usize = 32;
/// Linear memories of all core modules together.
pub const MEMORIES_MAX: usize = 1;
/// Tables of all core modules together.
pub const TABLES_MAX: usize = 2;
/// Functions in all core modules together.
pub const FUNCTIONS_MAX: usize = 5_000;
/// Locals of one function, params apart.
pub const LOCALS_MAX: u32 = 1_000;
/// Operators of one function.
pub const OPERATORS_MAX: usize = 50_000;
/// Blocks of one function times the values that each may carry (locals, and the
/// params and results of the module's widest type): what register allocation grows with.
pub const BLOCKS_TIMES_LOCALS_MAX: usize = 1_000_000;
/// Calls of one function times the params and results of the module's widest type: each
/// call spells them all out, so that a few kilobytes compile to gigabytes.
pub const CALLS_TIMES_WIDTH_MAX: usize = 100_000;
/// How deep blocks nest in one function.
pub const BLOCK_DEPTH_MAX: usize = 200;
/// Items of one kind (types, imports, exports, globals, segments, aliases), in
/// all sections together: a component may repeat a section.
pub const SECTION_ITEMS_MAX: usize = 2_000;
/// Bytes of all custom sections together.
pub const CUSTOM_BYTES_MAX: usize = 64 * 1024;

const PAGE_BYTES: u64 = 64 * 1024;

fn too_many(what: &'static str, found: usize, max: usize) -> Result<(), AdmitError> {
    if found > max { Err(AdmitError::Shape { what, found, max }) } else { Ok(()) }
}

/// Checks encoding, shape, validity and features, then imports, in this order.
///
/// # Errors
/// [`AdmitError::Shape`], [`AdmitError::Start`] for declared memory,
/// [`AdmitError::NotAComponent`], [`AdmitError::Feature`] or [`AdmitError::HasImports`].
pub fn check(bytes: &[u8]) -> Result<(), AdmitError> {
    too_many("bytes", bytes.len(), MODULE_BYTES_MAX)?;
    let mut counts = Counts { bytes: bytes.len(), ..Counts::default() };
    for payload in Parser::new(0).parse_all(bytes) {
        counts.take(payload.map_err(invalid)?)?;
    }
    validate(bytes)?;
    too_many("memories", counts.total("memories"), MEMORIES_MAX)?;
    too_many("tables", counts.total("tables"), TABLES_MAX)?;
    counts.import.map_or(Ok(()), |name| Err(AdmitError::HasImports(name)))
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
    bytes: usize,
    depth: usize,
    nested: usize,
    instances: usize,
    functions: usize,
    custom_bytes: usize,
    elements: usize,
    /// Items so far, by kind.
    items: Vec<(&'static str, usize)>,
    /// Params and results of the widest type of the core module at hand.
    widest: usize,
    /// The first import that brings more than a name for a type.
    import: Option<String>,
    seen_header: bool,
}

impl Counts {
    fn take(&mut self, payload: Payload<'_>) -> Result<(), AdmitError> {
        self.take_items(&payload)?;
        match payload {
            Payload::Version { encoding, .. } if !self.seen_header => {
                self.seen_header = true;
                if encoding != Encoding::Component {
                    return Err(AdmitError::NotAComponent("it is a core module".into()));
                }
            }
            Payload::ModuleSection { unchecked_range: range, .. }
            | Payload::ComponentSection { unchecked_range: range, .. } => {
                // The parser and validator let a cut at the end of a nested header pass.
                if range.end > self.bytes {
                    return Err(AdmitError::NotAComponent("it ends in the middle".into()));
                }
                self.nested += 1;
                self.depth += 1;
                self.widest = 0;
                too_many("nested modules", self.nested, NESTED_MAX)?;
                too_many("nesting depth", self.depth, NESTING_DEPTH_MAX)?;
            }
            Payload::End(_) => self.depth = self.depth.saturating_sub(1),
            Payload::InstanceSection(section) => self.add_instances(section.count())?,
            Payload::ComponentInstanceSection(section) => self.add_instances(section.count())?,
            Payload::ComponentImportSection(section) if self.depth == 0 => {
                self.take_imports(section)?;
            }
            Payload::TypeSection(section) => self.widest = widest_type(section)?,
            Payload::MemorySection(section) => check_memories(section)?,
            Payload::TableSection(section) => check_tables(section)?,
            Payload::ElementSection(section) => self.take_elements(section)?,
            Payload::FunctionSection(section) => {
                self.functions += section.count() as usize;
                too_many("functions", self.functions, FUNCTIONS_MAX)?;
            }
            Payload::CodeSectionEntry(body) => check_function(&body, self.widest)?,
            Payload::CustomSection(section) => {
                self.custom_bytes += section.data().len() + section.name().len();
                too_many("custom section bytes", self.custom_bytes, CUSTOM_BYTES_MAX)?;
            }
            _ => {}
        }
        Ok(())
    }

    fn take_items(&mut self, payload: &Payload<'_>) -> Result<(), AdmitError> {
        let (what, count) = match payload {
            Payload::TypeSection(s) => ("types", s.count()),
            Payload::ImportSection(s) => ("imports", s.count()),
            Payload::TableSection(s) => ("tables", s.count()),
            Payload::MemorySection(s) => ("memories", s.count()),
            Payload::GlobalSection(s) => ("globals", s.count()),
            Payload::ExportSection(s) => ("exports", s.count()),
            Payload::ElementSection(s) => ("element segments", s.count()),
            Payload::DataSection(s) => ("data segments", s.count()),
            Payload::CoreTypeSection(s) => ("core types", s.count()),
            Payload::ComponentTypeSection(s) => ("component types", s.count()),
            Payload::ComponentImportSection(s) => ("component imports", s.count()),
            Payload::ComponentExportSection(s) => ("component exports", s.count()),
            Payload::ComponentAliasSection(s) => ("aliases", s.count()),
            Payload::ComponentCanonicalSection(s) => ("canonical functions", s.count()),
            _ => return Ok(()),
        };
        let total = self.total(what) + count as usize;
        self.items.retain(|(known, _)| *known != what);
        self.items.push((what, total));
        too_many(what, total, SECTION_ITEMS_MAX)
    }

    fn total(&self, what: &str) -> usize {
        self.items.iter().find(|(known, _)| *known == what).map_or(0, |(_, total)| *total)
    }

    fn add_instances(&mut self, count: u32) -> Result<(), AdmitError> {
        self.instances += count as usize;
        too_many("instances", self.instances, INSTANCES_MAX)
    }

    /// Types that a WIT world declares show up as imports that equal a known type:
    /// they bring no capability. Anything else, a resource type too, does.
    fn take_imports(
        &mut self,
        section: ComponentImportSectionReader<'_>,
    ) -> Result<(), AdmitError> {
        for import in section {
            let import = import.map_err(invalid)?;
            if !matches!(import.ty, ComponentTypeRef::Type(TypeBounds::Eq(_))) {
                self.import.get_or_insert_with(|| import.name.name.to_owned());
            }
        }
        Ok(())
    }

    fn take_elements(&mut self, section: ElementSectionReader<'_>) -> Result<(), AdmitError> {
        for segment in section {
            self.elements += match segment.map_err(invalid)?.items {
                ElementItems::Functions(items) => items.count() as usize,
                ElementItems::Expressions(_, items) => items.count() as usize,
            };
            too_many("elements of segments", self.elements, TABLE_ELEMENTS_MAX)?;
        }
        Ok(())
    }
}

fn widest_type(section: TypeSectionReader<'_>) -> Result<usize, AdmitError> {
    let mut widest = 0;
    for group in section {
        for ty in group.map_err(invalid)?.types() {
            if let CompositeInnerType::Func(function) = &ty.composite_type.inner {
                widest = widest.max(function.params().len() + function.results().len());
            }
        }
    }
    Ok(widest)
}

/// What is beyond every budget needs no compiler to be refused.
fn check_memories(section: MemorySectionReader<'_>) -> Result<(), AdmitError> {
    for memory in section {
        let bytes = memory.map_err(invalid)?.initial.saturating_mul(PAGE_BYTES);
        if bytes > MEMORY_BYTES_MAX as u64 {
            let what = format!("declares {bytes} bytes of memory, at most {MEMORY_BYTES_MAX}");
            return Err(AdmitError::Start(what, Reason::MemoryOverBudget));
        }
    }
    Ok(())
}

fn check_tables(section: TableSectionReader<'_>) -> Result<(), AdmitError> {
    for table in section {
        let elements = table.map_err(invalid)?.ty.initial;
        if elements > TABLE_ELEMENTS_MAX as u64 {
            let what = format!("declares {elements} table elements, at most {TABLE_ELEMENTS_MAX}");
            return Err(AdmitError::Start(what, Reason::MemoryOverBudget));
        }
    }
    Ok(())
}

fn check_function(body: &FunctionBody<'_>, widest: usize) -> Result<(), AdmitError> {
    let mut locals = 0_u32;
    for group in body.get_locals_reader().map_err(invalid)? {
        locals = locals.saturating_add(group.map_err(invalid)?.0);
    }
    too_many("locals of a function", locals as usize, LOCALS_MAX as usize)?;
    let carried = locals as usize + widest + 1;
    let (mut operators, mut blocks, mut calls, mut depth) = (0, 0, 0, 0_usize);
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
            Operator::Call { .. } | Operator::CallIndirect { .. } => calls += 1,
            _ => {}
        }
        too_many("operators of a function", operators, OPERATORS_MAX)?;
        let product = blocks * carried;
        too_many("blocks times locals of a function", product, BLOCKS_TIMES_LOCALS_MAX)?;
        let product = calls * widest;
        too_many("calls times width of a function", product, CALLS_TIMES_WIDTH_MAX)?;
    }
    Ok(())
}
