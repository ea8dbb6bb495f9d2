//! Plots: one SVG per asserted quantity, all variants in it.
//!
//! Owns what is drawn: of a reading its mean over ticks and devices with the least and the
//! greatest beside it, of an account its running total. Refuses to know what is asserted.

use plotters::prelude::*;
use std::path::Path;

use super::file::Scenario;
use super::measure::{BUCKETS, Bucket, Tracker};
use super::quantity::Kind;
use super::simulate::Simulated;

const SIZE_PX: (u32, u32) = (900, 420);
const LABEL: (&str, u32) = ("sans-serif", 16);
const COLOURS: [RGBColor; 6] = [
    RGBColor(0x1b, 0x6c, 0xa8),
    RGBColor(0xc8, 0x55, 0x1b),
    RGBColor(0x2e, 0x8b, 0x57),
    RGBColor(0x8b, 0x3a, 0x8b),
    RGBColor(0x7a, 0x6a, 0x00),
    RGBColor(0x55, 0x55, 0x55),
];
const HOURS_PER_DAY: f64 = 24.0;
const MINUTES_PER_DAY: f64 = 1440.0;
const MS_PER_DAY: f64 = 86_400_000.0;

/// One line of a plot.
struct Line {
    points: Vec<(f64, f64)>,
    colour: RGBColor,
    width_px: u32,
    label: Option<String>,
}

/// Draws a plot for each asserted quantity into a folder.
///
/// # Errors
/// One sentence that names the file.
pub(super) fn draw_all(
    scenario: &Scenario,
    simulated: &Simulated,
    folder: &Path,
) -> Result<usize, String> {
    std::fs::create_dir_all(folder)
        .map_err(|error| format!("cannot make {}: {error}", folder.display()))?;
    let tracked: Vec<usize> = match simulated.variants.first() {
        Some(variant) => variant.trackers.iter().map(|tracker| tracker.quantity).collect(),
        None => vec![],
    };
    for place in &tracked {
        let path = folder.join(format!("{}.svg", scenario.quantity(*place).name));
        draw(scenario, simulated, *place, &path)
            .map_err(|error| format!("cannot draw {}: {error}", path.display()))?;
    }
    Ok(tracked.len())
}

fn draw(
    scenario: &Scenario,
    simulated: &Simulated,
    place: usize,
    path: &Path,
) -> Result<(), Box<dyn std::error::Error>> {
    let quantity = scenario.quantity(place);
    let days = days(scenario);
    let mut lines = vec![];
    for (variant, name) in scenario.variant_names.iter().enumerate() {
        if let Some(tracker) = simulated.tracker(variant, place) {
            let colour = COLOURS[variant % COLOURS.len()];
            lines.extend(lines_of(tracker, quantity.kind, days, colour, name));
        }
    }
    // Short runs are read in hours.
    let (unit, scale) = if days <= 2.0 { ("hours", HOURS_PER_DAY) } else { ("days", 1.0) };
    let (low, high) = span(&lines);
    let area = SVGBackend::new(path, SIZE_PX).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .caption(format!("{}: {}", scenario.name, quantity.name), ("sans-serif", 22))
        .margin(12)
        .x_label_area_size(36)
        .y_label_area_size(64)
        .build_cartesian_2d(0.0..days * scale, low..high)?;
    chart
        .configure_mesh()
        .x_desc(format!("{unit} since {}", scenario.start))
        .y_desc(axis(quantity.kind, &quantity.name))
        .light_line_style(TRANSPARENT)
        .label_style(LABEL)
        .axis_desc_style(LABEL)
        .draw()?;
    for line in lines {
        let faint = if line.label.is_some() { 1.0 } else { 0.3 };
        let style = line.colour.mix(faint).stroke_width(line.width_px);
        let points = line.points.into_iter().map(|(day, value)| (day * scale, value));
        let drawn = chart.draw_series(LineSeries::new(points, style))?;
        if let Some(label) = line.label {
            drawn.label(label).legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], style));
        }
    }
    chart
        .configure_series_labels()
        .label_font(LABEL)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK)
        .draw()?;
    area.present()?;
    Ok(())
}

fn axis(kind: Kind, name: &str) -> String {
    match kind {
        Kind::Account => format!("{name}, running total"),
        Kind::Reading => format!("{name}, mean and extremes"),
    }
}

fn lines_of(tracker: &Tracker, kind: Kind, days: f64, colour: RGBColor, name: &str) -> Vec<Line> {
    let line = |width_px, label, of: &mut dyn FnMut(&Bucket) -> f64| {
        let filled = tracker.curve.iter().enumerate().filter(|(_, bucket)| bucket.count > 0);
        let day = |at: usize| (at as f64 + 0.5) / BUCKETS as f64 * days;
        let points = filled.map(|(at, bucket)| (day(at), of(bucket))).collect();
        Line { points, colour, width_px, label }
    };
    let label = Some(name.to_owned());
    match kind {
        Kind::Account => {
            let mut total = 0.0;
            vec![line(2, label, &mut |bucket| {
                total += bucket.sum;
                total
            })]
        }
        Kind::Reading => vec![
            line(2, label, &mut |bucket| bucket.mean()),
            line(1, None, &mut |bucket| bucket.min),
            line(1, None, &mut |bucket| bucket.max),
        ],
    }
}

/// From the least to the greatest of all lines, with room on both sides.
fn span(lines: &[Line]) -> (f64, f64) {
    let values = lines.iter().flat_map(|line| line.points.iter().map(|(_, value)| *value));
    let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
        (low.min(value), high.max(value))
    });
    if low > high {
        return (0.0, 1.0);
    }
    let room = if high > low { 0.05 * (high - low) } else { 0.5 * high.abs().max(1.0) };
    (low - room, high + room)
}

/// How long the run is.
fn days(scenario: &Scenario) -> f64 {
    match (scenario.records.first(), scenario.records.last()) {
        (Some(first), Some(last)) => ((last.at_ms - first.at_ms) as f64 / MS_PER_DAY).max(1e-3),
        _ => scenario.minutes as f64 / MINUTES_PER_DAY,
    }
}
