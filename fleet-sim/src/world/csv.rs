//! Comma-separated tables with a fixed header, no quotes.
//!
//! Owns errors with file and line. Refuses to know what the columns mean. The files have four
//! plain columns at most, so this is shorter than using a CSV library for it.

use std::path::Path;

use super::WorldError;

/// Largest file that is read, bytes. The largest of ours has 0.2 MB.
const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// One data line with its place in the file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row<'a> {
    path: &'a Path,
    line: usize,
    text: &'a str,
}

/// Reads a whole file.
pub(super) fn read(path: &Path) -> Result<String, WorldError> {
    let unreadable = |reason: String| WorldError::Unreadable { path: path.to_owned(), reason };
    let bytes = std::fs::metadata(path).map_err(|e| unreadable(e.to_string()))?.len();
    if bytes > FILE_BYTES_MAX {
        return Err(unreadable(format!("{bytes} bytes, more than {FILE_BYTES_MAX}")));
    }
    std::fs::read_to_string(path).map_err(|e| unreadable(e.to_string()))
}

/// Checks the header and returns the data lines. Empty lines at the end are ignored.
pub(super) fn rows<'a>(
    path: &'a Path,
    text: &'a str,
    header: &'static str,
) -> Result<Vec<Row<'a>>, WorldError> {
    let mut lines = text.trim_end().lines();
    let found = lines.next().unwrap_or_default().trim_start_matches('\u{feff}');
    if found.trim_end() != header {
        return Err(WorldError::Header {
            path: path.to_owned(),
            expected: header,
            found: found.to_owned(),
        });
    }
    let row = |(index, text)| Row { path, line: index + 2, text };
    Ok(lines.enumerate().map(row).collect())
}

impl<'a> Row<'a> {
    /// The fields of the line, exactly `N`.
    pub(super) fn fields<const N: usize>(&self) -> Result<[&'a str; N], WorldError> {
        let mut fields = [""; N];
        let mut found = 0;
        for field in self.text.split(',') {
            if let Some(slot) = fields.get_mut(found) {
                *slot = field.trim();
            }
            found += 1;
        }
        if found == N {
            return Ok(fields);
        }
        Err(WorldError::Fields { path: self.path.to_owned(), line: self.line, expected: N, found })
    }

    /// A finite number within `min..=max`.
    pub(super) fn number(
        &self,
        column: &'static str,
        field: &str,
        min: f64,
        max: f64,
    ) -> Result<f64, WorldError> {
        let (path, line) = (self.path.to_owned(), self.line);
        let Ok(value) = field.parse::<f64>() else {
            let value = field.to_owned();
            return Err(WorldError::NotANumber { path, line, column, value });
        };
        if !value.is_finite() {
            return Err(WorldError::NotFinite { path, line, column });
        }
        if value < min || value > max {
            return Err(WorldError::OutOfRange { path, line, column, value, min, max });
        }
        Ok(value)
    }

    /// The error for a time that does not follow the one before it.
    pub(super) fn out_of_sequence(&self, expected: String, found: String) -> WorldError {
        WorldError::Sequence { path: self.path.to_owned(), line: self.line, expected, found }
    }
}
