//! What a command shows: a value for programs, text or a table for people.

use comfy_table::{Table, presets};
use serde_json::Value;

/// Of one text, at most so many characters are shown.
const TEXT_CHARS_MAX: usize = 2000;

/// The outcome of a command.
pub(super) struct Shown {
    json: Value,
    human: String,
}

impl Shown {
    pub(super) fn new(json: Value, human: impl Into<String>) -> Shown {
        Shown { json, human: human.into() }
    }

    pub(super) fn text(&self, json: bool) -> String {
        let text = if json { pretty(&self.json) } else { self.human.clone() };
        if text.is_empty() || text.ends_with('\n') { text } else { format!("{text}\n") }
    }
}

fn pretty(json: &Value) -> String {
    serde_json::to_string_pretty(json).unwrap_or_else(|_| json.to_string())
}

/// A table of one row per item; columns are dotted paths into the items.
pub(super) fn table(items: &Value, columns: &[(&str, &str)]) -> String {
    let items = items.as_array().map_or(&[][..], Vec::as_slice);
    if items.is_empty() {
        return "none".to_owned();
    }
    let rows = items.iter().map(|item| columns.iter().map(|(_, path)| cell(item, path)).collect());
    grid(columns.iter().map(|(title, _)| (*title).to_owned()).collect(), rows.collect())
}

/// A table of the rows given.
pub(super) fn grid(titles: Vec<String>, rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(titles).add_rows(rows);
    plain(table)
}

/// Pairs, one per line.
pub(super) fn pairs(item: &Value, lines: &[(&str, &str)]) -> String {
    let rows = lines.iter().map(|(title, path)| vec![(*title).to_owned(), cell(item, path)]);
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).add_rows(rows.collect::<Vec<_>>());
    plain(table)
}

/// Columns start at the left edge and stand two spaces apart.
fn plain(mut table: Table) -> String {
    table.column_iter_mut().for_each(|column| {
        column.set_padding((0, 2));
    });
    table.trim_fmt()
}

/// The value at a dotted path, in a few words. Digests are cut to what is unique
/// enough for people, and still names a module.
pub(super) fn cell(item: &Value, path: &str) -> String {
    let pointer = format!("/{}", path.replace('.', "/"));
    item.pointer(&pointer).map_or_else(|| "-".to_owned(), words)
}

/// Text of others, fit for a terminal: what would move the cursor or end a line stands
/// there as its code, so that nobody can draw what is not there.
pub(super) fn printable(text: &str) -> String {
    let moves = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}')
            || matches!(c, '\u{2060}'..='\u{2069}')
    };
    let shown = text.chars().take(TEXT_CHARS_MAX);
    shown.map(|c| if moves(c) { c.escape_default().to_string() } else { c.to_string() }).collect()
}

fn words(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => match text.strip_prefix("sha256:") {
            Some(hex) => hex.chars().take(12).collect(),
            None => printable(text),
        },
        Value::Number(number) if number.is_f64() => {
            number.as_f64().map_or_else(String::new, |n| format!("{n:.4}"))
        }
        Value::Array(items) if items.is_empty() => "none".to_owned(),
        Value::Object(fields) if fields.is_empty() => "none".to_owned(),
        Value::Array(items) => items.iter().map(words).collect::<Vec<_>>().join(", "),
        Value::Object(fields) => {
            let pairs = fields.iter().map(|(key, value)| format!("{key}={}", words(value)));
            pairs.collect::<Vec<_>>().join(", ")
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_others_draws_nothing_that_is_not_there() {
        let hostile = "tou@1.0\n  within  all\u{1b}[2A\r\u{202e}";
        let shown = printable(hostile);
        assert!(!shown.contains(['\n', '\r', '\u{1b}', '\u{202e}']), "{shown:?}");
        assert!(shown.starts_with("tou@1.0\\n  within"), "{shown:?}");
        assert_eq!(printable("water-heater @1.0, 45 °C"), "water-heater @1.0, 45 °C");
        let table = table(&serde_json::json!([{ "name": hostile }]), &[("NAME", "name")]);
        assert!(!table.contains('\u{1b}'), "{table:?}");
    }
}
