//! What a scenario showed: for people, as JSON and as JUnit XML.
//!
//! Owns the three forms. Refuses to know how values came about.

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, Table};
use quick_xml::Writer;
use quick_xml::events::{BytesDecl, BytesEnd, BytesStart, BytesText, Event};
use serde_json::{Map, Value as Json, json};
use std::io;

use super::assertion::Verdict;
use super::file::Scenario;
use super::quantity::Kind;
use super::simulate::{Simulated, Speed};
use super::site::DAY_STEPS;

/// All that is known after a run.
pub(super) struct Report<'a> {
    pub(super) scenario: &'a Scenario,
    pub(super) simulated: &'a Simulated,
    pub(super) verdicts: &'a [Verdict],
}

impl Report<'_> {
    /// The run in words and two tables.
    pub(super) fn text(&self) -> String {
        let scenario = self.scenario;
        let variants = scenario.variant_names.join(", ");
        let what = if scenario.minutes == 0 {
            format!("{} recorded evaluations", scenario.records.len())
        } else {
            let days = scenario.minutes / DAY_STEPS;
            format!(
                "{} from {}, {}",
                plural(days, "day"),
                scenario.start,
                plural(scenario.devices, "device")
            )
        };
        let mut text = format!("Scenario {}: {what}, variants {variants}\n\n", scenario.name);
        let mut table = table(["", "assertion", "variant", "found"]);
        for verdict in self.verdicts {
            table.add_row([
                if verdict.holds { "PASS" } else { "FAIL" }.to_owned(),
                verdict.assertion.clone(),
                verdict.variant.clone().unwrap_or_default(),
                found(verdict),
            ]);
        }
        text += &format!("{table}\n\n");
        let header = ["account".to_owned()].into_iter().chain(scenario.variant_names.clone());
        let mut accounts = self::table(header);
        for (place, quantity) in scenario.quantities.iter().enumerate() {
            if quantity.kind == Kind::Account {
                let sums = self.simulated.variants.iter().map(|variant| variant.sums[place]);
                let cells = [quantity.name.clone()].into_iter();
                accounts.add_row(cells.chain(sums.map(number)));
            }
        }
        for column in accounts.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        text += &format!("{accounts}\n\n{}\n", speed(&self.simulated.speed));
        let failed = self.verdicts.iter().filter(|verdict| !verdict.holds).count();
        text + &match failed {
            0 => format!("all {} assertions hold\n", self.verdicts.len()),
            _ => format!("{failed} of {} assertions fail\n", self.verdicts.len()),
        }
    }

    /// The same for a program.
    pub(super) fn json(&self) -> Json {
        let scenario = self.scenario;
        let mut accounts = Map::new();
        for (name, variant) in scenario.variant_names.iter().zip(&self.simulated.variants) {
            let of_kind = scenario.quantities.iter().zip(&variant.sums);
            let of_kind = of_kind.filter(|(quantity, _)| quantity.kind == Kind::Account);
            let sums: Map<String, Json> =
                of_kind.map(|(quantity, sum)| (quantity.name.clone(), json!(sum))).collect();
            accounts.insert(name.clone(), Json::Object(sums));
        }
        let speed = &self.simulated.speed;
        json!({
            "scenario": scenario.name,
            "holds": self.verdicts.iter().all(|verdict| verdict.holds),
            "start": scenario.start,
            "days": scenario.minutes / DAY_STEPS,
            "devices": scenario.devices,
            "seed": scenario.seed,
            "assertions": self.verdicts,
            "accounts": accounts,
            "speed": {
                "device_days": speed.device_days,
                "wall_s": speed.wall.as_secs_f64(),
                "threads": speed.threads,
                "device_days_per_minute_and_core": speed.device_days_per_minute_and_core(),
            },
        })
    }

    /// The same for a CI server: one test case per assertion and variant.
    ///
    /// # Errors
    /// What the writer says.
    pub(super) fn junit(&self, out: impl io::Write) -> io::Result<()> {
        let mut xml = Writer::new_with_indent(out, b' ', 2);
        let wall_s = format!("{:.3}", self.simulated.speed.wall.as_secs_f64());
        let failures = self.verdicts.iter().filter(|verdict| !verdict.holds).count().to_string();
        let tests = self.verdicts.len().to_string();
        let counts = [("tests", tests.as_str()), ("failures", &failures), ("errors", "0")];
        let suite = |name| {
            let start = BytesStart::new(name);
            start
                .with_attributes([("name", self.scenario.name.as_str()), ("time", &wall_s)])
                .with_attributes(counts)
        };
        xml.write_event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)))?;
        xml.write_event(Event::Start(suite("testsuites")))?;
        xml.write_event(Event::Start(suite("testsuite")))?;
        for verdict in self.verdicts {
            self.test_case(&mut xml, verdict)?;
        }
        xml.write_event(Event::End(BytesEnd::new("testsuite")))?;
        xml.write_event(Event::End(BytesEnd::new("testsuites")))?;
        xml.get_mut().write_all(b"\n")
    }

    fn test_case<W: io::Write>(&self, xml: &mut Writer<W>, verdict: &Verdict) -> io::Result<()> {
        let name = match &verdict.variant {
            Some(variant) => format!("{} [{variant}]", verdict.assertion),
            None => verdict.assertion.clone(),
        };
        let case = BytesStart::new("testcase").with_attributes([
            ("name", name.as_str()),
            ("classname", &self.scenario.name),
            // The run is shared; its time is the suite's.
            ("time", "0"),
        ]);
        if verdict.holds {
            return xml.write_event(Event::Empty(case));
        }
        let found = found(verdict);
        let message = format!("found {found}");
        let failure = BytesStart::new("failure")
            .with_attributes([("message", message.as_str()), ("type", "assertion")]);
        xml.write_event(Event::Start(case))?;
        xml.write_event(Event::Start(failure))?;
        let body = format!("{}\nfound {found}", verdict.assertion);
        xml.write_event(Event::Text(BytesText::new(&body)))?;
        xml.write_event(Event::End(BytesEnd::new("failure")))?;
        xml.write_event(Event::End(BytesEnd::new("testcase")))
    }
}

/// How fast it went, in one line.
fn speed(speed: &Speed) -> String {
    let wall_s = speed.wall.as_secs_f64();
    if speed.device_days == 0.0 {
        return format!("speed: {wall_s:.2} s");
    }
    format!(
        "speed: {:.0} device-days in {wall_s:.2} s on {}: {:.0} device-days per minute and core",
        speed.device_days,
        plural(speed.threads as u64, "thread"),
        speed.device_days_per_minute_and_core()
    )
}

fn found(verdict: &Verdict) -> String {
    let side = |value: Option<f64>| value.map_or_else(|| "no value".to_owned(), number);
    format!("{} {} {}", side(verdict.left), verdict.comparison, side(verdict.right))
}

/// A number with as many digits as people read.
fn number(value: f64) -> String {
    let size = value.abs();
    let digits = match size {
        _ if value.fract() == 0.0 => 0,
        _ if size >= 1000.0 => 1,
        _ if size >= 10.0 => 2,
        _ => 4,
    };
    format!("{value:.digits$}")
}

fn plural(count: u64, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

fn table<S: ToString>(header: impl IntoIterator<Item = S>) -> Table {
    let mut table = Table::new();
    table.load_preset(NOTHING);
    table.set_header(header.into_iter().map(|cell| cell.to_string()));
    table
}
