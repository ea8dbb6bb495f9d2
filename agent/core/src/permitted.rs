//! The numbers that one output may take: pure arithmetic that allocates nothing.
//!
//! Bounds and steps are cut to numbers that the output's type has, so that no rounding
//! leads out of them. It knows no mode, no interlock and no proposal of another type:
//! those are the guard's.

use gnomon_schemas::profile::Bounds;
use gnomon_schemas::results::ClampCounts;
use gnomon_schemas::value::ValueType;

use crate::canary::{self, Canary};

/// The numbers that one output may take, and how far they may move in one tick.
#[derive(Debug, Clone)]
pub struct Permitted {
    value_type: ValueType,
    /// The document's bounds, in numbers of the type.
    bounds: Bounds,
    /// The firmware's own, likewise.
    firmware: Bounds,
}

impl Permitted {
    /// Under the document's bounds and the firmware's; none if the type has no number
    /// inside one of them.
    pub(crate) fn new(
        value_type: &ValueType,
        bounds: Bounds,
        firmware: Bounds,
    ) -> Option<Permitted> {
        Some(Permitted {
            bounds: in_type(bounds, value_type)?,
            firmware: in_type(firmware, value_type)?,
            value_type: value_type.clone(),
        })
    }

    /// The nearest permitted number to one of the output's type, and what stood in the
    /// way; none is near to what is not finite. `last` is where the actuator stands.
    #[inline]
    pub fn nearest(&self, proposed: f64, last: Option<f64>) -> (Option<f64>, ClampCounts) {
        let mut counts = ClampCounts::default();
        if !proposed.is_finite() && !canary::is_out(Canary::NotFiniteActuated) {
            counts.not_finite = 1;
            return (None, counts);
        }
        let mut ranged = proposed.clamp(self.bounds.min, self.bounds.max);
        if canary::is_out(Canary::BoundForgotten) {
            ranged = proposed.max(self.bounds.min);
        }
        let stepped = self.within_step(ranged, last, self.bounds.max_step);
        #[expect(clippy::float_cmp, reason = "a clamp returns the very number when it is inside")]
        {
            counts.range = u64::from(ranged != proposed);
            counts.step = u64::from(stepped != ranged);
        }
        (Some(stepped), counts)
    }

    /// A number inside the firmware's bounds, approached at the pace of its step.
    pub(crate) fn towards(&self, number: f64, last: Option<f64>) -> f64 {
        self.within_step(number, last, self.firmware.max_step)
    }

    /// The number, or the nearest to it that one step from the last value reaches.
    /// The last value lies inside the firmware's bounds, and so does all between.
    #[inline]
    fn within_step(&self, number: f64, last: Option<f64>, max_step: Option<f64>) -> f64 {
        let (Some(step), Some(last)) = (max_step, last) else { return number };
        let ty = &self.value_type;
        if number > last + step {
            below(last + step, ty).max(last)
        } else if number < last - step {
            above(last - step, ty).min(last)
        } else {
            number
        }
    }
}

/// The bounds cut to numbers that the type has; none if it has none inside them.
fn in_type(bounds: Bounds, ty: &ValueType) -> Option<Bounds> {
    let (least, greatest) = extremes(ty);
    let (min, max) = (above(bounds.min.max(least), ty), below(bounds.max.min(greatest), ty));
    (min <= max).then_some(Bounds { min, max, ..bounds })
}

/// The least and the greatest number of the type that a double can be.
fn extremes(ty: &ValueType) -> (f64, f64) {
    match ty {
        ValueType::U8 => (0.0, u8::MAX.into()),
        ValueType::U16 => (0.0, u16::MAX.into()),
        ValueType::U32 => (0.0, u32::MAX.into()),
        ValueType::U64 => (0.0, 18_446_744_073_709_549_568.0),
        ValueType::S8 => (i8::MIN.into(), i8::MAX.into()),
        ValueType::S16 => (i16::MIN.into(), i16::MAX.into()),
        ValueType::S32 => (i32::MIN.into(), i32::MAX.into()),
        ValueType::S64 => (-9_223_372_036_854_775_808.0, 9_223_372_036_854_774_784.0),
        ValueType::F32 => (f32::MIN.into(), f32::MAX.into()),
        _ => (f64::MIN, f64::MAX),
    }
}

/// The greatest number of the type at or below this one.
fn below(number: f64, ty: &ValueType) -> f64 {
    match ty {
        ValueType::F64 => number,
        ValueType::F32 => single(number, |nearest| nearest > number, f32::next_down),
        _ => whole(number, |nearest| nearest > number, -1.0),
    }
}

/// The least number of the type at or above this one.
fn above(number: f64, ty: &ValueType) -> f64 {
    match ty {
        ValueType::F64 => number,
        ValueType::F32 => single(number, |nearest| nearest < number, f32::next_up),
        _ => whole(number, |nearest| nearest < number, 1.0),
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the nearest f32 is what is looked for")]
fn single(number: f64, is_beyond: impl Fn(f64) -> bool, back: fn(f32) -> f32) -> f64 {
    let nearest = number as f32;
    let kept = if is_beyond(f64::from(nearest)) { back(nearest) } else { nearest };
    f64::from(kept)
}

/// `f64::floor` and `f64::ceil` are not in `core`. From 2^53 on all numbers are whole.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "below 2^53 the cut number is exact"
)]
fn whole(number: f64, is_beyond: impl Fn(f64) -> bool, back: f64) -> f64 {
    if number.abs() >= 9_007_199_254_740_992.0 {
        return number;
    }
    let cut = number as i64 as f64;
    if is_beyond(cut) { cut + back } else { cut }
}
