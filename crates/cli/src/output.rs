//! The two channels: data on stdout, everything else on stderr.

use crate::Failure;
use crate::arguments::Colour;
use concord_report::is_hidden;
use concord_session::Events;
use serde::Serialize;
use std::borrow::Cow;
use std::io::{IsTerminal, Write};
use std::sync::{Arc, OnceLock};

/// A file that grows beyond what the process may write is an error like a full disk, not the end of the process.
pub(crate) fn let_writes_fail() {
    #[cfg(unix)]
    {
        #[expect(
            unsafe_code,
            reason = "SAFETY: to ignore a signal runs no code of ours"
        )]
        unsafe {
            libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
        }
    }
}

/// Writes data.
pub(crate) fn data(text: &str) -> Result<(), Failure> {
    raw(&visible(text))
}

/// Writes a file that is no text for a terminal, such as a page.
pub(crate) fn raw(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    if !text.ends_with('\n') {
        out.write_all(b"\n")?;
    }
    Ok(out.flush()?)
}

/// Writes data as JSON over several lines.
pub(crate) fn json(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value).map_err(std::io::Error::from)?;
    raw(&visible_json(&text))
}

/// Writes data as JSON, one line each.
pub(crate) struct JsonLines(std::io::BufWriter<std::io::Stdout>);

impl JsonLines {
    pub fn new() -> Self {
        Self(std::io::BufWriter::new(std::io::stdout()))
    }

    /// Writes a line, which may wait for others.
    pub fn write(&mut self, value: &impl Serialize) -> Result<(), Failure> {
        let line = serde_json::to_string(value).map_err(std::io::Error::from)?;
        self.0.write_all(visible_json(&line).as_bytes())?;
        Ok(self.0.write_all(b"\n")?)
    }

    /// Hands on what waits.
    pub fn flush(&mut self) -> Result<(), Failure> {
        Ok(self.0.flush()?)
    }
}

/// Text of strangers' files with what a terminal would not show written out. Line ends stay.
pub(crate) fn visible(text: &str) -> Cow<'_, str> {
    written_out(text, |c| c.escape_default().to_string())
}

/// JSON with what a terminal would not show written as JSON writes it; such characters stand in texts alone.
fn visible_json(json: &str) -> Cow<'_, str> {
    // All of them are below U+10000.
    written_out(json, |c| format!("\\u{:04x}", u32::from(c)))
}

/// Text with each character that a terminal would not show, but for line ends, as `escape` writes it.
fn written_out(text: &str, escape: impl Fn(char) -> String) -> Cow<'_, str> {
    let hides = |c: char| is_hidden(c) && c != '\n';
    if !text.contains(hides) {
        return text.into();
    }
    let shown = text
        .chars()
        .map(|c| if hides(c) { escape(c) } else { c.to_string() });
    shown.collect::<String>().into()
}

/// Writes what happens in a session as messages.
pub(crate) fn events() -> Events {
    Arc::new(|event| message(&event.to_string()))
}

/// Writes a message, unless only results are wanted.
pub(crate) fn message(text: &str) {
    if !is_quiet() {
        wrong(text);
    }
}

/// Writes what went wrong. Where stderr is gone there is nobody to tell.
pub(crate) fn wrong(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{}", visible(text));
}

/// What the user wants to see: set once, before anything is written.
static SPEECH: OnceLock<(bool, Colour)> = OnceLock::new();

/// Says what the user wants to see.
pub(crate) fn speak(quiet: bool, colour: Colour) {
    let _ = SPEECH.set((quiet, colour));
}

/// Whether only results are wanted.
pub(crate) fn is_quiet() -> bool {
    SPEECH.get().is_some_and(|(quiet, _)| *quiet)
}

/// Whether results on stdout are coloured.
pub(crate) fn is_coloured() -> bool {
    let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    match SPEECH.get().map(|(_, colour)| *colour) {
        Some(Colour::Always) => true,
        Some(Colour::Never) => false,
        Some(Colour::Auto) | None => {
            let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
            std::io::stdout().is_terminal() && !set("NO_COLOR") && !dumb
        }
    }
}

/// Writes text that has colours of ours in it and whose strangers' parts were made visible before.
pub(crate) fn coloured(text: &str) -> Result<(), Failure> {
    if is_coloured() { raw(text) } else { data(text) }
}
