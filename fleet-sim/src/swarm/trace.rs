//! What happened, one line per transition: kept as a running digest, and printed if
//! somebody wants to read it. The same seed makes the same bytes.

use std::io::Write;

/// Where lines go.
#[derive(Default)]
pub struct Trace {
    digest: u64,
    lines: u64,
    out: Option<Box<dyn Write + Send>>,
}

impl Trace {
    /// One that only counts and digests.
    pub fn silent() -> Trace {
        Trace { digest: 0xcbf2_9ce4_8422_2325, lines: 0, out: None }
    }

    /// One that also writes.
    pub fn to(out: Box<dyn Write + Send>) -> Trace {
        Trace { out: Some(out), ..Trace::silent() }
    }

    /// One more line.
    pub fn line(&mut self, at_ms: u64, who: &str, what: &str) {
        let (s, ms) = (at_ms / 1000, at_ms % 1000);
        let (hours, minutes, seconds) = (s / 3600, s / 60 % 60, s % 60);
        let line = format!("{hours:03}:{minutes:02}:{seconds:02}.{ms:03} {who}: {what}\n");
        // FNV-1a: a fingerprint, not a signature.
        for byte in line.bytes() {
            self.digest = (self.digest ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        self.lines += 1;
        if let Some(out) = &mut self.out {
            // A reader that has gone away does not stop the simulation.
            let _ = out.write_all(line.as_bytes());
        }
    }

    /// The fingerprint of all lines, and how many there are.
    pub fn fingerprint(&self) -> (u64, u64) {
        (self.digest, self.lines)
    }
}
