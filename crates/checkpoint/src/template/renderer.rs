//! Templates of strangers, rendered in processes of their own.
//!
//! A template is a program. It may nest values until a thread's stack ends, compare lists for hours under one instruction, or ask for
//! all of the memory: in a process of its own each of these ends that process, and is an error here.

use super::engine::Engine;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};
use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitCode, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// The argument that makes the program a renderer.
const ARGUMENT: &str = "--render-chat-template";
/// How long one request may compute.
const LONGEST: Duration = Duration::from_secs(2);
/// How long it may take, however busy the machine is.
const LATEST: Duration = Duration::from_mins(1);
/// How often a process is begun anew for a text that another one ended at, not by its own doing.
const ATTEMPTS: usize = 3;
/// What a renderer ends with that took longer.
const TOO_LONG: u8 = 71;
/// What it ends with where its memory ran out.
const TOO_MUCH: u8 = 72;
/// The stack of the thread that renders: the longest source, nested as deeply as can be, takes half of it.
const STACK: usize = 256 << 20;
/// The longest answer that is read.
const LONGEST_ANSWER: u64 = 1 << 28;

static PROGRAM: OnceLock<(PathBuf, Duration)> = OnceLock::new();
/// Renderers that no template is in, for the next one.
static IDLE: Mutex<Vec<Process>> = Mutex::new(Vec::new());
/// How many wait at most.
const MOST_IDLE: usize = 4;
static IS_RENDERER: OnceLock<()> = OnceLock::new();
static BEGUN: OnceLock<Instant> = OnceLock::new();

/// What a renderer is told first.
#[derive(Serialize, Deserialize)]
struct Begin {
    source: String,
    tokens: Map<String, Json>,
}

#[derive(Serialize, Deserialize)]
enum Answer {
    Text(String),
    Problem(String),
}

/// What it is told then.
#[derive(Serialize, Deserialize)]
enum Request {
    Begin(Begin),
    Write(Json),
}

/// Renders templates of strangers in processes of this program from now on, which calls [`renderer`] first of all; a text may take so
/// much computing, 2 s where nothing is said.
pub fn render_apart(program: PathBuf, longest: Option<Duration>) {
    // The first one stays.
    let _ = PROGRAM.set((program, longest.unwrap_or(LONGEST)));
}

/// Whether this process renders a template.
pub fn is_renderer() -> bool {
    IS_RENDERER.get().is_some()
}

/// The exit code of a renderer whose memory ran out: what a program's allocator ends it with.
pub const OUT_OF_ROOM: i32 = TOO_MUCH as i32;

/// Where the process was started to render a template, does so until its input ends, and gives its exit code.
pub fn renderer(mut arguments: impl Iterator<Item = impl AsRef<OsStr>>) -> Option<ExitCode> {
    let first = arguments.nth(1)?;
    let longest = arguments.next();
    (first.as_ref() == ARGUMENT).then(|| {
        let _ = IS_RENDERER.set(());
        let longest = longest.and_then(|text| text.as_ref().to_str()?.parse().ok());
        let longest = longest.map_or(LONGEST, Duration::from_millis);
        let begun = Arc::new(Mutex::new(None));
        let watched = Arc::clone(&begun);
        let watching = std::thread::Builder::new().spawn(move || watch(&watched, longest));
        let rendering = std::thread::Builder::new()
            .stack_size(STACK)
            .spawn(move || serve(&begun));
        match (watching, rendering.map(std::thread::JoinHandle::join)) {
            (Ok(_), Ok(Ok(()))) => ExitCode::SUCCESS,
            _ => ExitCode::FAILURE,
        }
    })
}

/// When a request began, and what the process had computed by then.
type Begun = Mutex<Option<(Instant, Duration)>>;

/// What the process has computed so far.
fn computed() -> Duration {
    #[cfg(unix)]
    {
        let mut time = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        #[expect(
            unsafe_code,
            reason = "SAFETY: the call writes the one entry it is given"
        )]
        let known = unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
        if known == 0 {
            let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
            return Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0));
        }
    }
    BEGUN.get_or_init(Instant::now).elapsed()
}

/// Ends the process where a request takes too long.
#[expect(clippy::exit, reason = "nothing else ends what a template does")]
fn watch(begun: &Begun, longest: Duration) {
    loop {
        std::thread::sleep(Duration::from_millis(20));
        let begun = *held(begun);
        let is_over = |(begun, before): (Instant, Duration)| {
            computed().saturating_sub(before) > longest || begun.elapsed() > LATEST
        };
        if begun.is_some_and(is_over) {
            std::process::exit(i32::from(TOO_LONG));
        }
    }
}

/// Answers each line of stdin with a line.
fn serve(begun: &Begun) {
    let (input, mut output) = (std::io::stdin().lock(), std::io::stdout().lock());
    let mut engine: Option<Engine> = None;
    for line in input.lines() {
        let Ok(line) = line else { return };
        *held(begun) = Some((Instant::now(), computed()));
        let request = serde_json::from_str(&line).map_err(|error| error.to_string());
        let answer = request.and_then(|request| match (request, &engine) {
            (Request::Write(messages), Some(engine)) => engine.write(&messages),
            (Request::Write(_), None) => Err("no template was given".to_owned()),
            (Request::Begin(told), _) => {
                engine = None;
                Engine::new(&told.source, &told.tokens).map(|made| {
                    engine = Some(made);
                    String::new()
                })
            }
        });
        let answer = answer.map_or_else(Answer::Problem, Answer::Text);
        let written = serde_json::to_vec(&answer).is_ok_and(|mut text| {
            text.push(b'\n');
            output
                .write_all(&text)
                .and_then(|()| output.flush())
                .is_ok()
        });
        *held(begun) = None;
        if !written {
            return;
        }
    }
}

/// What a template is rendered with.
pub(super) enum Renderer {
    /// In this process.
    Here(Box<Engine>),
    /// In processes of their own.
    Apart(Apart),
}

/// Renderers of one template.
pub(super) struct Apart {
    program: PathBuf,
    longest: Duration,
    begin: String,
    /// Those that are waiting.
    waiting: Mutex<Vec<Process>>,
    /// Why one of them ended: it is not tried again.
    ended: Mutex<Option<String>>,
}

impl Renderer {
    /// Prepares to render a template; apart where it is a stranger's and the program can.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn new(source: &str, tokens: &Map<String, Json>, is_own: bool) -> Result<Self, String> {
        let program = PROGRAM.get().filter(|_| !is_own);
        let Some((program, longest)) = program else {
            return Engine::new(source, tokens).map(|engine| Self::Here(Box::new(engine)));
        };
        let begin = Begin {
            source: source.to_owned(),
            tokens: tokens.clone(),
        };
        let apart = Apart {
            program: program.clone(),
            longest: *longest,
            begin: serde_json::to_string(&Request::Begin(begin))
                .map_err(|error| error.to_string())?,
            waiting: Mutex::new(Vec::new()),
            ended: Mutex::new(None),
        };
        // It is parsed now, so that what is wrong with it shows now.
        let process = apart.process()?;
        held(&apart.waiting).push(process);
        Ok(Self::Apart(apart))
    }

    /// Whether the template ended a process: it is not tried again.
    pub fn has_ended(&self) -> bool {
        match self {
            Self::Here(_) => false,
            Self::Apart(apart) => held(&apart.ended).is_some(),
        }
    }

    /// Renders messages.
    ///
    /// # Errors
    /// The engine's message, what the template raised, or how it ended its process.
    pub fn write(&self, messages: &Json) -> Result<String, String> {
        match self {
            Self::Here(engine) => engine.write(messages),
            Self::Apart(apart) => apart.write(messages),
        }
    }
}

impl Apart {
    fn write(&self, messages: &Json) -> Result<String, String> {
        if let Some(problem) = &*held(&self.ended) {
            return Err(problem.clone());
        }
        let request = serde_json::to_string(&Request::Write(messages.clone()));
        let request = request.map_err(|error| error.to_string())?;
        let mut problem = String::new();
        for attempt in 0..ATTEMPTS {
            // One that waits may have been ended by others as well.
            let waiting = held(&self.waiting).pop().filter(|_| attempt == 0);
            let mut process = match waiting {
                Some(process) => process,
                None => self.process()?,
            };
            match process.ask(&request) {
                Ok(answer) => {
                    held(&self.waiting).push(process);
                    return answer;
                }
                Err(Ended::ByTemplate(problem)) => {
                    *held(&self.ended) = Some(problem.clone());
                    return Err(problem);
                }
                Err(Ended::Otherwise(how)) => problem = how,
            }
        }
        Err(problem)
    }

    /// A new process that knows the template.
    fn process(&self) -> Result<Process, String> {
        let idle = held(&IDLE).pop();
        if let Some(mut process) = idle
            && let Ok(begun) = process.ask(&self.begin)
        {
            // What is wrong with this template is nothing to the process.
            return match begun {
                Ok(_) => Ok(process),
                Err(problem) => {
                    held(&IDLE).push(process);
                    Err(problem)
                }
            };
        }
        let mut command = Command::new(&self.program);
        command
            .arg(ARGUMENT)
            .arg(self.longest.as_millis().to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        #[cfg(unix)]
        {
            // What a terminal sends to the program is not for it.
            use std::os::unix::process::CommandExt;
            command.process_group(0);
        }
        let failed = |error: std::io::Error| {
            format!("the process that renders it cannot be started: {error}")
        };
        let mut child = command.spawn().map_err(failed)?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err("the process that renders it has no pipes".to_owned());
        };
        let mut process = Process {
            child,
            input: Some(input),
            output: BufReader::new(output),
            longest: self.longest,
        };
        let begun = process.ask(&self.begin);
        begun.map_err(|ended| match ended {
            Ended::ByTemplate(problem) | Ended::Otherwise(problem) => problem,
        })??;
        Ok(process)
    }
}

impl Drop for Apart {
    fn drop(&mut self) {
        let mut idle = held(&IDLE);
        let room = MOST_IDLE.saturating_sub(idle.len());
        idle.extend(held(&self.waiting).drain(..).take(room));
    }
}

/// A process that renders.
struct Process {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    longest: Duration,
}

impl Process {
    /// Asks and waits; the outer error is that the process ended.
    fn ask(&mut self, line: &str) -> Result<Result<String, String>, Ended> {
        let sent = self.input.as_mut().is_some_and(|input| {
            let sent = input
                .write_all(line.as_bytes())
                .and_then(|()| input.write_all(b"\n"));
            sent.and_then(|()| input.flush()).is_ok()
        });
        let mut text = Vec::new();
        let mut output = self.output.by_ref().take(LONGEST_ANSWER);
        // What was not told everything may wait for the rest, and would never answer.
        let read = sent && output.read_until(b'\n', &mut text).is_ok();
        if !sent {
            let _ = self.child.kill();
        }
        if read && text.ends_with(b"\n") {
            return match serde_json::from_slice(&text) {
                Ok(Answer::Text(text)) => Ok(Ok(text)),
                Ok(Answer::Problem(problem)) => Ok(Err(problem)),
                Err(error) => Err(Ended::Otherwise(error.to_string())),
            };
        }
        self.input = None;
        let status = self.child.wait().ok();
        Err(match status.and_then(|status| status.code()) {
            Some(code) if code == i32::from(TOO_LONG) => Ended::ByTemplate(format!(
                "it takes longer than {} s",
                self.longest.as_secs_f64()
            )),
            Some(OUT_OF_ROOM) => {
                Ended::ByTemplate("it asks for more than 256 MiB of memory".to_owned())
            }
            None if status.is_some_and(is_overflow) => {
                Ended::ByTemplate("it is nested too deeply".to_owned())
            }
            _ => {
                let how = status.map_or_else(String::new, |status| format!(" ({status})"));
                Ended::Otherwise(format!("the process that renders it was ended{how}"))
            }
        })
    }
}

/// How a process ended.
enum Ended {
    /// The template ends every process that renders it.
    ByTemplate(String),
    /// Something else ended this one.
    Otherwise(String),
}

/// Whether a process ended as one does whose stack is used up.
fn is_overflow(status: ExitStatus) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::process::ExitStatusExt;
        let signals = [libc::SIGSEGV, libc::SIGABRT, libc::SIGBUS, libc::SIGILL];
        status
            .signal()
            .is_some_and(|signal| signals.contains(&signal))
    }
    #[cfg(not(unix))]
    {
        status.code().is_none()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.input = None;
        // It ends with its input; what hangs does not.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_cannot_be_told_is_not_waited_for() {
        // It hears nothing, and says nothing.
        let mut command = Command::new("sh");
        command
            .args(["-c", "exec 0<&-; echo closed; exec sleep 20"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut process = Process {
            input: child.stdin.take(),
            output: BufReader::new(child.stdout.take().unwrap()),
            child,
            longest: LONGEST,
        };
        process.output.read_line(&mut String::new()).unwrap();
        let begun = Instant::now();
        let asked = process.ask("\"anything\"");
        assert!(matches!(asked, Err(Ended::Otherwise(_))));
        assert!(begun.elapsed() < Duration::from_secs(10));
    }
}
