//! Prompts of the user's own: JSON lines from a file or from stdin, a window at a time.

use crate::failure::{ExitStatus, Failure};
use crate::progress::was_interrupted;
use concord_questions::object_of;
use concord_readings::{Input, Message};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

/// Prompts of the first window, so that the first answers come soon; each later one has four times as many.
const FIRST: usize = 256;
/// Prompts of the largest window, and bytes of their lines.
const MOST: usize = 1 << 16;
const MOST_BYTES: usize = 64 << 20;
/// The longest line, in bytes.
const LONGEST_LINE: u64 = 16 << 20;

/// Fields that every line may have.
const COMMON: [&str; 3] = ["id", "prompt", "messages"];

/// One line: a prompt, and what is asked after it.
pub(super) struct Line<T> {
    /// Its `id`, or its number from 0.
    pub id: Value,
    /// What the checkpoint sees.
    pub input: Input,
    /// What is asked.
    pub asked: T,
    /// Fields of the user's own, which are carried through.
    pub own: Map<String, Value>,
}

impl<T> Line<T> {
    /// The id as text.
    pub fn name(&self) -> String {
        self.id
            .as_str()
            .map_or_else(|| self.id.to_string(), str::to_owned)
    }
}

/// What lines of a command are like.
#[derive(Clone, Copy)]
pub(super) struct Form {
    /// What a line asks, for messages.
    pub help: &'static str,
    /// The fields that ask it.
    pub fields: &'static [&'static str],
    /// The fields of an answer, which are not the user's.
    pub taken: &'static [&'static str],
    /// Fields that would be asked in vain, and what reads them.
    pub elsewhere: &'static [(&'static str, &'static str)],
}

/// The lines of a file or of stdin.
pub(super) struct Lines {
    path: PathBuf,
    source: BufReader<Box<dyn Read>>,
    is_stdin: bool,
    /// Bytes of a file, where that is known, and bytes read.
    size: Option<u64>,
    read: u64,
    /// What is wrong with the line after the last window.
    failed: Option<Failure>,
    form: Form,
    number: usize,
    /// Prompts so far.
    pub count: usize,
    /// Whether all lines were read.
    pub ended: bool,
    window: usize,
}

impl Lines {
    /// Opens a file, or stdin where it is `-`.
    pub fn open(path: &Path, form: Form) -> Result<Self, Failure> {
        let is_stdin = path.as_os_str() == "-";
        let mut lines = Self {
            path: path.to_owned(),
            source: BufReader::new(Box::new(std::io::empty())),
            is_stdin,
            size: None,
            read: 0,
            failed: None,
            form,
            number: 0,
            count: 0,
            ended: false,
            window: FIRST,
        };
        let source: Box<dyn Read> = if is_stdin {
            Box::new(std::io::stdin())
        } else {
            let file = std::fs::File::open(path);
            let file = file.map_err(|error| lines.bad(&format!(": cannot be read: {error}")))?;
            lines.size = file.metadata().ok().map(|found| found.len());
            Box::new(file)
        };
        lines.source = BufReader::with_capacity(1 << 18, source);
        Ok(lines)
    }

    fn bad(&self, problem: &str) -> Failure {
        let help = format!(
            "a line is {{\"id\": …, \"prompt\": text or \"messages\": [{{\"role\", \"content\"}}]{}}}",
            self.form.help
        );
        let message = format!("{}{problem}", self.path.display());
        Failure::new(ExitStatus::QuestionData, message, help)
    }

    /// The next window: what is there, so that whoever waits for an answer gets it. Nothing at the end, or where the program is told to
    /// stop while it waits.
    ///
    /// # Errors
    /// What is wrong with a line; those before it are given first.
    pub fn next<T: DeserializeOwned>(&mut self) -> Result<Vec<Line<T>>, Failure> {
        let most = self.window;
        self.window = (4 * self.window).min(MOST);
        self.take(most, true)
    }

    /// As many of the following lines as fit into one window.
    ///
    /// # Errors
    /// As [`Lines::next`].
    pub fn rest<T: DeserializeOwned>(&mut self) -> Result<Vec<Line<T>>, Failure> {
        self.take(MOST, false)
    }

    fn take<T: DeserializeOwned>(
        &mut self,
        most: usize,
        soon: bool,
    ) -> Result<Vec<Line<T>>, Failure> {
        let mut window = Vec::new();
        let mut bytes = 0;
        if let Some(failure) = self.failed.take() {
            return Err(failure);
        }
        while window.len() < most && bytes < MOST_BYTES {
            if !self.is_there(!soon || window.is_empty()) {
                break;
            }
            match self.one() {
                Ok(Some((line, length))) => {
                    bytes += length;
                    window.push(line);
                }
                Ok(None) => break,
                Err(failure) if window.is_empty() => return Err(failure),
                Err(failure) => {
                    self.failed = Some(failure);
                    break;
                }
            }
        }
        if self.count == 0 && !was_interrupted() {
            return Err(self.bad(": no prompt in it"));
        }
        Ok(window)
    }

    /// The next line with a prompt, and its bytes.
    fn one<T: DeserializeOwned>(&mut self) -> Result<Option<(Line<T>, usize)>, Failure> {
        let mut text = Vec::new();
        loop {
            text.clear();
            let mut source = self.source.by_ref().take(LONGEST_LINE);
            let read = source.read_until(b'\n', &mut text);
            let read = read.map_err(|error| self.bad(&format!(": cannot be read: {error}")))?;
            if read == 0 {
                self.ended = true;
                return Ok(None);
            }
            self.number += 1;
            self.read += read as u64;
            let at = |problem: String| self.bad(&format!(":{}: {problem}", self.number));
            if read as u64 == LONGEST_LINE && !text.ends_with(b"\n") {
                return Err(at(format!("longer than {} MiB", LONGEST_LINE >> 20)));
            }
            let line = std::str::from_utf8(&text).map_err(|error| at(error.to_string()))?;
            let line = line
                .strip_prefix('\u{feff}')
                .filter(|_| self.number == 1)
                .unwrap_or(line);
            if line.trim().is_empty() {
                continue;
            }
            let line = self.line(line, self.count).map_err(at)?;
            self.count += 1;
            return Ok(Some((line, read)));
        }
    }

    /// Whether something is there to read, the end included; where it is waited for, not before that or before the program is told to
    /// stop.
    fn is_there(&self, waits: bool) -> bool {
        if !self.is_stdin || !self.source.buffer().is_empty() {
            return true;
        }
        loop {
            if stdin_is_ready(if waits { 100 } else { 0 }) {
                return true;
            }
            if !waits || was_interrupted() {
                return false;
            }
        }
    }

    /// How many times as much as so far there may be, as far as one window goes.
    pub fn growth(&self) -> u64 {
        let most = (MOST / self.count.max(1)).max(1) as u64;
        match self.size {
            Some(size) if size > 0 => size.div_ceil(self.read.max(1)).clamp(1, most),
            // Of what comes from elsewhere nothing is known.
            _ if self.count >= FIRST => most.min(4),
            _ => 1,
        }
    }

    fn line<T: DeserializeOwned>(&self, text: &str, number: usize) -> Result<Line<T>, String> {
        let mut object = object_of(text).map_err(|error| error.to_string())?;
        let id = object.shift_remove("id").unwrap_or_else(|| number.into());
        if id.as_f64().is_some_and(|number| number.abs() >= 9e18) && id.is_f64() {
            return Err("`id` is a number of more than 64 bits; write it as a text".to_owned());
        }
        let text = object.shift_remove("prompt");
        let messages = object.shift_remove("messages");
        let prefill = match object.shift_remove("prefill") {
            None => None,
            Some(Value::String(prefill)) => Some(prefill),
            Some(_) => return Err("`prefill` must be a string".to_owned()),
        };
        if prefill.is_some() && messages.is_none() {
            return Err(
                "`prefill` begins the turn after `messages`, which are not given".to_owned(),
            );
        }
        let input = match (text, messages) {
            (Some(Value::String(text)), None) => Input::Text(text),
            (Some(_), None) => return Err("`prompt` must be a string".to_owned()),
            (None, Some(messages)) => {
                let messages: Vec<Message> =
                    serde_json::from_value(messages).map_err(|error| error.to_string())?;
                if messages.is_empty() {
                    return Err("`messages` is empty".to_owned());
                }
                match prefill {
                    Some(prefill) => Input::Prefilled { messages, prefill },
                    None => Input::Conversation(messages),
                }
            }
            (Some(_), Some(_)) => return Err("both `prompt` and `messages` are given".to_owned()),
            (None, None) => {
                let near = object.keys().find_map(|name| {
                    let meant = COMMON.iter().find(|known| is_near(name, known))?;
                    Some(format!("unknown field `{name}`; did you mean `{meant}`?"))
                });
                let neither = || "neither `prompt` nor `messages` is given".to_owned();
                return Err(near.unwrap_or_else(neither));
            }
        };
        let mut asked = Map::new();
        for field in self.form.fields {
            if let Some(value) = object.shift_remove(*field) {
                asked.insert((*field).to_owned(), value);
            }
        }
        let asks = !asked.is_empty();
        for name in object.keys() {
            let elsewhere = self.form.elsewhere.iter();
            if let Some((_, reads)) = elsewhere.clone().find(|(other, _)| other == name) {
                return Err(format!("`{name}` is not read from a line; {reads}"));
            }
            // What asks nothing may have meant to; beside what is asked, a field is the user's own.
            if let Some(meant) = COMMON
                .iter()
                .chain(self.form.fields)
                .find(|known| !asks && is_near(name, known))
            {
                return Err(format!("unknown field `{name}`; did you mean `{meant}`?"));
            }
            if self.form.taken.contains(&name.as_str()) {
                return Err(format!(
                    "`{name}` is a field of the answer; call yours otherwise"
                ));
            }
        }
        let asked =
            serde_json::from_value(Value::Object(asked)).map_err(|error| error.to_string())?;
        Ok(Line {
            id,
            input,
            asked,
            own: object,
        })
    }
}

/// Whether stdin has something to read or has ended, at once or within so many milliseconds.
fn stdin_is_ready(milliseconds: i32) -> bool {
    #[cfg(unix)]
    {
        let mut stdin = libc::pollfd {
            fd: libc::STDIN_FILENO,
            events: libc::POLLIN,
            revents: 0,
        };
        #[expect(
            unsafe_code,
            reason = "SAFETY: the call reads and writes the one entry it is given"
        )]
        let ready = unsafe { libc::poll(&raw mut stdin, 1, milliseconds) };
        // A signal in between is no data; what cannot be polled can be read.
        ready > 0
            || (ready < 0
                && std::io::Error::last_os_error().kind() != std::io::ErrorKind::Interrupted)
    }
    #[cfg(not(unix))]
    {
        let _ = milliseconds;
        true
    }
}

/// Whether one name may be the other, mistyped: one or two letters more, less or others.
fn is_near(name: &str, known: &str) -> bool {
    let (a, b): (Vec<char>, Vec<char>) = (name.chars().collect(), known.chars().collect());
    if a.len().abs_diff(b.len()) > 2 || b.len() < 4 {
        return false;
    }
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut before = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let changed = before + usize::from(!x.eq_ignore_ascii_case(y));
            before = row[j + 1];
            row[j + 1] = changed.min(before + 1).min(row[j] + 1);
        }
    }
    row[b.len()] <= 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_mistyped_is_told_from_what_is_the_user_s_own() {
        for near in ["label", "lables", "Labels", "labels2"] {
            assert!(is_near(near, "labels"), "{near}");
        }
        for own in ["answer", "source", "topic", "level", "x"] {
            assert!(!is_near(own, "labels"), "{own}");
        }
        assert!(!is_near("is", "id"));
    }
}
