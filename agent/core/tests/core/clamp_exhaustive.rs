//! Every single-precision number there is, through the arithmetic that the guard goes
//! by: 2^32 proposals to an `f32` output, and as many to an `f64` output.
//!
//! The guard itself takes maps of values, too slow for so many: that it goes by the same
//! arithmetic is shown on the patterns that are special and on a sample of the others.

use gnomon_agent_core::{Guard, Permitted};
use gnomon_schemas::profile::Bounds;
use gnomon_schemas::results::Source;
use gnomon_schemas::value::Value;
use serde_json::json;
use std::ops::RangeInclusive;

use super::clamp::{guard, out, profile, values};

const DEFAULT: f64 = 50.0;
/// No single-precision number is 35.1 or 69.9: the type's own bounds lie within.
const BOUNDS: Bounds = Bounds { min: 35.1, max: 69.9, max_step: Some(MAX_STEP) };
const MAX_STEP: f64 = 7.3;

fn guard_of(value_type: &str) -> Guard {
    let output = json!({"type": value_type, "default": DEFAULT, "bounds": BOUNDS});
    guard(&profile(&output, &json!([])), None)
}

/// How many proposals were permitted as they are, brought back, and held.
#[derive(Debug, Default)]
struct Seen {
    passed: u64,
    brought_back: u64,
    held: u64,
}

/// Walks an actuator through these patterns by the guard's own arithmetic.
fn walk(permitted: &Permitted, single: bool, patterns: RangeInclusive<u32>) -> Seen {
    let (mut last, mut seen) = (DEFAULT, Seen::default());
    for bits in patterns {
        let proposed = f64::from(f32::from_bits(bits));
        let (nearest, counts) = permitted.nearest(proposed, Some(last));
        // What has no nearest number is held.
        let number = nearest.unwrap_or(last);
        // NaN and the infinities are not inside anything.
        let is_safe = (BOUNDS.min..=BOUNDS.max).contains(&number)
            && number <= last + MAX_STEP
            && number >= last - MAX_STEP
            && (!single || f64::from(number as f32) == number);
        let changed = counts.range + counts.step;
        let is_told = if !proposed.is_finite() {
            seen.held += 1;
            nearest.is_none() && counts.not_finite == 1 && changed == 0
        } else if number == proposed {
            seen.passed += 1;
            counts.not_finite == 0 && changed == 0
        } else {
            seen.brought_back += 1;
            counts.not_finite == 0 && changed > 0
        };
        assert!(is_safe && is_told, "{bits:08x}: {last} to {number}, {counts:?}");
        last = number;
    }
    seen
}

#[test]
fn every_single_precision_number_proposed_ends_inside_the_bounds() {
    for (value_type, single) in [("f32", true), ("f64", false)] {
        let guard = guard_of(value_type);
        let permitted = guard.permitted(&out()).unwrap();
        let (lower, upper) = std::thread::scope(|scope| {
            let upper = scope.spawn(|| walk(permitted, single, 1 << 31..=u32::MAX));
            (walk(permitted, single, 0..=u32::MAX >> 1), upper.join().unwrap())
        });
        println!("{value_type}: {lower:?} and {upper:?}");
        assert_eq!(lower.held + upper.held, 1 << 24, "as many patterns are NaN or infinite");
        for half in [lower, upper] {
            assert_eq!(half.passed + half.brought_back + half.held, 1 << 31);
        }
    }
}

/// Where arithmetic has its edges, with their neighbours.
fn special_patterns() -> Vec<u32> {
    let edges = [
        0.0_f32,
        f32::MIN_POSITIVE,
        f32::MAX,
        f32::INFINITY,
        f32::from_bits(1),
        f32::from_bits(0x7fc0_0000),
        f32::from_bits(0x7f80_0001),
        35.1,
        69.9,
        50.0,
        50.0 + 7.3,
        50.0 - 7.3,
    ];
    edges
        .iter()
        .flat_map(|edge| [edge.to_bits(), (-edge).to_bits()])
        .flat_map(|bits| [bits.wrapping_sub(1), bits, bits.wrapping_add(1)])
        .chain([u32::MAX, 0x8000_0000])
        .collect()
}

#[test]
fn the_guard_goes_by_the_arithmetic_that_all_numbers_went_through() {
    for value_type in ["f32", "f64"] {
        let mut guard = guard_of(value_type);
        let permitted = guard.permitted(&out()).unwrap().clone();
        let inputs = values("t", 0.0);
        let (mut last, mut passed) = (DEFAULT, 0);
        let sample = (0..=u32::MAX).step_by(4099);
        for bits in special_patterns().into_iter().chain(sample) {
            let proposed = f64::from(f32::from_bits(bits));
            let (nearest, counts) = permitted.nearest(proposed, Some(last));
            let clamped = guard.actuate(Some(&values("out", proposed)), &inputs);
            assert_eq!(clamped.source() == Source::Active, nearest.is_some(), "{bits:08x}");
            let told = clamped.changed().get(&out()).copied().unwrap_or_default();
            assert_eq!(told, counts, "{bits:08x}");
            let Value::Float(number) = clamped.values()["out"] else { panic!("{clamped:?}") };
            if clamped.source() != Source::Default {
                let expected = nearest.unwrap_or(last);
                assert_eq!(number.to_bits(), expected.to_bits(), "{bits:08x}");
            }
            passed += u32::from(number == proposed);
            last = number;
        }
        assert!(passed > 500, "{passed} were permitted: the sample met the inside, too");
    }
}
