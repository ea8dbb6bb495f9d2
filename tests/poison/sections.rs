//! Bombs of sections and names: much of what nobody needs.

use gnomon_host::shape::SECTION_ITEMS_MAX;
use gnomon_schemas::Reason;

use super::{Fate, Guest, Poison};

const SHAPE: Fate = Fate::Refused(&[Reason::ShapeLimit]);

pub(super) fn animals() -> Vec<Poison> {
    let mut animals = beyond_the_caps();
    animals.extend(names());
    animals.extend(nested());
    animals
}

fn beyond_the_caps() -> Vec<Poison> {
    let exports: String = (0..100_000).map(|n| format!("(export \"{n}\" (func $g))")).collect();
    let data = |count: usize| format!("(memory 1) {}", "(data (i32.const 0) \"a\")".repeat(count));
    vec![
        Guest::new("custom-section-of-a-megabyte")
            .behind(&format!("(@custom \"bomb\" \"{}\")", "n".repeat(1024 * 1024)))
            .beside("a megabyte that no check looks into", SHAPE, ""),
        Guest::new("custom-sections-by-the-thousand")
            .behind(&format!("(@custom \"b\" \"{}\")", "n".repeat(20)).repeat(4_000))
            .beside("thousands of small sections that are together too much", SHAPE, ""),
        Guest::new("exports-100000").beside(
            "a hundred thousand exports, each a name to be kept",
            SHAPE,
            &format!("(func $g) {exports}"),
        ),
        Guest::new("types-100000").beside(
            "a hundred thousand types, each to be compared with the others",
            SHAPE,
            &"(type (func (param i32)))".repeat(100_000),
        ),
        Guest::new("globals-100000").beside(
            "a hundred thousand globals to set up at each start",
            SHAPE,
            &"(global i32 (i32.const 0))".repeat(100_000),
        ),
        Guest::new("data-segments-100000").beside(
            "a hundred thousand data segments on the same byte",
            SHAPE,
            &data(100_000),
        ),
        Guest::new("data-segments-allowed").beside(
            "as many data segments as the caps allow",
            Fate::Outputs,
            &data(SECTION_ITEMS_MAX),
        ),
    ]
}

fn names() -> Vec<Poison> {
    let huge = |head: &str| format!("{head}{}", "n".repeat(90_000));
    let imported: String =
        (0..40).map(|n| format!("(import \"{}{n}\" (type (eq $i-of)))", huge("a"))).collect();
    vec![
        Guest::new("name-of-a-function").beside(
            "a function's name of a hundred kilobytes, for whoever prints it",
            SHAPE,
            &format!("(func ${})", "n".repeat(100_000)),
        ),
        Guest::new("name-of-an-import")
            .front(&format!("(import \"{}\" (func))", huge("a")))
            .beside(
                "the name that its refusal tells is ninety kilobytes long",
                Fate::Refused(&[Reason::HasImports]),
                "",
            ),
        Guest::new("name-of-an-input").inputs(&format!("(field \"{}\" f64)", huge("a"))).beside(
            "the field that its refusal tells is ninety kilobytes long",
            Fate::Refused(&[Reason::InterfaceMismatch]),
            "",
        ),
        Guest::new("names-of-imported-types").behind(&imported).beside(
            "names that it may import, since they are of types, together 3.6 megabytes",
            Fate::Outputs,
            "",
        ),
    ]
}

fn nested() -> Vec<Poison> {
    let ten = |what: &str| format!("(instance (instantiate {what}))").repeat(10);
    vec![
        Guest::new("components-in-components")
            .behind(&format!("{}{}", "(component ".repeat(60), ")".repeat(60)))
            .beside("sixty components, each inside the last", SHAPE, ""),
        Guest::new("instances-that-multiply")
            .front(&format!(
                "(component $a (component $b (core module $e) {}) {}) {}",
                "(core instance (instantiate $e))".repeat(10),
                ten("$b"),
                ten("$a"),
            ))
            .beside(
                "ten of ten of ten: thirty instances that are named, a thousand that are made",
                Fate::Refused(&[Reason::CompileFailed]),
                "",
            ),
        Guest::new("instances-allowed")
            .front(&format!("(core module $e) {}", "(core instance (instantiate $e))".repeat(3)))
            .beside("takes all core instances that a component may have", Fate::Outputs, ""),
    ]
}
