//! The two channels: data on stdout, everything else on stderr.

use crate::Failure;
use serde::Serialize;
use std::io::Write;

/// Writes data.
pub(crate) fn data(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    if !text.ends_with('\n') {
        out.write_all(b"\n")?;
    }
    Ok(out.flush()?)
}

/// Writes data as JSON over several lines.
pub(crate) fn json(value: &impl Serialize) -> Result<(), Failure> {
    data(&serde_json::to_string_pretty(value).map_err(std::io::Error::from)?)
}

/// Writes data as JSON, one line each.
pub(crate) struct JsonLines(std::io::BufWriter<std::io::StdoutLock<'static>>);

impl JsonLines {
    pub fn new() -> Self {
        Self(std::io::BufWriter::new(std::io::stdout().lock()))
    }

    pub fn write(&mut self, value: &impl Serialize) -> Result<(), Failure> {
        serde_json::to_writer(&mut self.0, value).map_err(std::io::Error::from)?;
        Ok(self.0.write_all(b"\n")?)
    }

    pub fn finish(mut self) -> Result<(), Failure> {
        Ok(self.0.flush()?)
    }
}

/// Writes a message. Where stderr is gone there is nobody to tell.
pub(crate) fn message(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}
