//! A bar on stderr, and the wish to stop.

use crate::output;
use concord_checkpoint::hub::Transfer;
use concord_scorer::{GenerationProgress, Progress};
use concord_session::{Meter, Size};
use indicatif::{HumanDuration, ProgressBar, ProgressState, ProgressStyle};
use std::fmt::Write;
use std::io::IsTerminal;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long nothing may move until that is said.
const STILL: Duration = Duration::from_mins(1);

/// How often a line says how far work is, where no bar is drawn.
const EVERY: Duration = Duration::from_secs(30);

/// Rows of the whole run, and of its rounds that are done: a bar shows one round, and what it is of.
static WHOLE: (AtomicU64, AtomicU64) = (AtomicU64::new(0), AtomicU64::new(0));

/// Says how many rows a run has in all, as far as that is known when it begins.
pub(crate) fn expect_rows(rows: u64) {
    WHOLE.0.store(rows, Ordering::SeqCst);
    WHOLE.1.store(0, Ordering::SeqCst);
}

/// How far the whole run is, with some rows of a round done and the time that the rest takes at a rate; empty where the round is all of it.
fn of_the_run(rows: u64, of_round: u64, per_second: f64) -> String {
    let (all, before) = (
        WHOLE.0.load(Ordering::SeqCst),
        WHOLE.1.load(Ordering::SeqCst),
    );
    // Later rounds depend on what was read, and are not known beforehand.
    if all <= of_round || before + rows > all {
        return String::new();
    }
    let done = before + rows;
    let left = if per_second > 0.0 {
        let seconds = Duration::from_secs_f64((all - done) as f64 / per_second);
        format!(", {} left", HumanDuration(seconds))
    } else {
        String::new()
    };
    format!("run {} %{left}", 100 * done / all)
}

/// Says where work stands when nothing has moved for long: once for each time that it stands still. Where no bar is drawn it says how far
/// work is as well.
struct Watch {
    moved: Arc<Mutex<(u64, Instant)>>,
    stop: Option<(Sender<()>, JoinHandle<()>)>,
}

impl Watch {
    /// Watches work that is called so; `parts` is what follows the number of those that are done. Of work that is done elsewhere this
    /// process's threads tell nothing.
    fn new(
        name: &str,
        parts: String,
        [still, every]: [Duration; 2],
        is_here: bool,
        say: impl Fn(&str) + Send + 'static,
    ) -> Self {
        let moved = Arc::new(Mutex::new((0, Instant::now())));
        let (watched, name) = (Arc::clone(&moved), name.to_owned());
        let (stop, stopped) = channel();
        let watching = std::thread::Builder::new()
            .name("watch".into())
            .spawn(move || {
                let (mut said, mut told, begun) = (None, Instant::now(), Instant::now());
                let often = (still / 4).min(every);
                while stopped.recv_timeout(often) == Err(RecvTimeoutError::Timeout) {
                    let (done, since) = *watched.lock().unwrap_or_else(PoisonError::into_inner);
                    if told.elapsed() >= every && since > told {
                        told = Instant::now();
                        let rate = done as f64 / begun.elapsed().as_secs_f64();
                        say(&format!("{name}: {done}{parts}, {rate:.0}/s"));
                    }
                    if since.elapsed() >= still && said != Some(done) {
                        said = Some(done);
                        let who = if is_here {
                            format!("threads: {}", threads())
                        } else {
                            "the server has not answered".to_owned()
                        };
                        say(&format!(
                            "{name}: nothing has moved for {} s, at {done}{parts}; {who}",
                            since.elapsed().as_secs(),
                        ));
                    }
                }
            });
        Self {
            moved,
            stop: watching.ok().map(|watching| (stop, watching)),
        }
    }

    fn moved(&self, done: u64) {
        let mut moved = self.moved.lock().unwrap_or_else(PoisonError::into_inner);
        if moved.0 != done {
            *moved = (done, Instant::now());
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some((stop, watching)) = self.stop.take() {
            drop(stop);
            let _ = watching.join();
        }
    }
}

/// The process's threads by what the system says that each does: R runs, S waits, D waits for a device. Empty where it says nothing.
fn threads() -> String {
    let tasks = std::fs::read_dir("/proc/self/task")
        .into_iter()
        .flatten()
        .flatten();
    let states = tasks.filter_map(|task| {
        let stat = std::fs::read_to_string(task.path().join("stat")).ok()?;
        let (name, rest) = stat.split_once('(')?.1.rsplit_once(')')?;
        let wait = std::fs::read_to_string(task.path().join("wchan")).unwrap_or_default();
        let state = rest.trim_start().chars().next()?;
        let wait = if wait.is_empty() || wait == "0" {
            String::new()
        } else {
            format!(" in {wait}")
        };
        Some(format!("{name} {state}{wait}"))
    });
    states.collect::<Vec<_>>().join(", ")
}

/// How often a line is written: never where a bar is drawn, or where only results are wanted.
fn every() -> Duration {
    if std::io::stderr().is_terminal() || output::is_quiet() {
        Duration::MAX
    } else {
        EVERY
    }
}

/// A bar; one that draws nothing where only results are wanted.
fn bar_of(length: u64) -> ProgressBar {
    if output::is_quiet() {
        ProgressBar::hidden()
    } else {
        ProgressBar::new(length)
    }
}

/// Columns below which bars are left away: what would not fit wraps, and is not drawn over.
const NARROW: u16 = 80;

/// Whether a terminal has no room for a bar beside what it says.
fn is_narrow() -> bool {
    terminal_size::terminal_size_of(std::io::stderr()).is_some_and(|(width, _)| width.0 < NARROW)
}

/// A progress bar with rate and time left; draws nothing where stderr is not a terminal.
pub(crate) struct Bar {
    drawn: ProgressBar,
    watch: Watch,
    name: String,
    /// How often passes were made shorter, as far as it was said.
    shortened: AtomicU32,
}

impl Bar {
    pub fn new(name: &str, rows: u64, is_here: bool) -> Self {
        let bar = bar_of(rows);
        let style = if is_narrow() {
            "{prefix} {pos}/{len} {rate} {eta} left"
        } else {
            "{prefix} {wide_bar} {pos}/{len} rows {rate} {eta} left  {msg}"
        };
        if let Ok(style) = ProgressStyle::with_template(style) {
            bar.set_style(
                style.with_key("rate", |state: &ProgressState, out: &mut dyn Write| {
                    // A bar that cannot be drawn is no reason to stop.
                    let _ = write!(out, "{:.0}/s", state.per_sec());
                }),
            );
        }
        bar.set_prefix(name.to_owned());
        let drawn = bar.clone();
        let say = move |text: &str| drawn.suspend(|| output::message(text));
        Self {
            drawn: bar,
            watch: Watch::new(
                name,
                format!(" of {rows} rows"),
                [STILL, every()],
                is_here,
                say,
            ),
            name: name.to_owned(),
            shortened: AtomicU32::new(0),
        }
    }

    pub fn show(&self, progress: Progress) {
        self.drawn.set_position(progress.rows_done);
        let rows = self.drawn.length().unwrap_or(0);
        let whole = of_the_run(progress.rows_done, rows, self.drawn.per_sec());
        self.drawn.set_message(whole);
        self.watch.moved(progress.rows_done);
        if progress.shortened > self.shortened.swap(progress.shortened, Ordering::SeqCst) {
            self.drawn.suspend(|| {
                output::message(&format!(
                    "{}: out of device memory: rows per pass halved; results may differ in the last bits",
                    self.name
                ));
            });
        }
    }

    pub fn finish(&self) {
        WHOLE
            .1
            .fetch_add(self.drawn.length().unwrap_or(0), Ordering::SeqCst);
        self.drawn.finish_and_clear();
    }
}

/// A bar of texts that are written, with tokens a second and time left; draws nothing where stderr is not a terminal.
pub(crate) struct TextBar {
    bar: ProgressBar,
    watch: Watch,
    begun: Instant,
}

impl TextBar {
    pub fn new(name: &str, texts: u64) -> Self {
        let bar = bar_of(texts);
        let style = if is_narrow() {
            "{prefix} {pos}/{len} texts {eta} left"
        } else {
            "{prefix} {wide_bar} {pos}/{len} texts {msg} {eta} left"
        };
        if let Ok(style) = ProgressStyle::with_template(style) {
            bar.set_style(style);
        }
        bar.set_prefix(name.to_owned());
        let drawn = bar.clone();
        let say = move |text: &str| drawn.suspend(|| output::message(text));
        Self {
            bar,
            watch: Watch::new(
                name,
                format!(" tokens of {texts} texts"),
                [STILL, every()],
                true,
                say,
            ),
            begun: Instant::now(),
        }
    }

    pub fn show(&self, progress: GenerationProgress) {
        // Every token is a step.
        self.watch.moved(progress.tokens);
        let rate = progress.tokens as f64 / self.begun.elapsed().as_secs_f64().max(1e-9);
        self.bar.set_message(format!("{rate:.0} tokens/s"));
        self.bar.set_position(progress.texts_done);
    }

    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

/// A bar of bytes with rate and time left; draws nothing where stderr is not a terminal, or where
/// `HF_HUB_DISABLE_PROGRESS_BARS` is set.
pub(crate) struct BytesBar {
    bar: ProgressBar,
    begun: Option<u64>,
}

impl BytesBar {
    pub fn new(name: &str, total: u64) -> Self {
        let off = std::env::var_os("HF_HUB_DISABLE_PROGRESS_BARS");
        let bar = if off.is_some_and(|value| value == "1") {
            ProgressBar::hidden()
        } else {
            bar_of(total)
        };
        let style = if is_narrow() {
            "{prefix} {bytes}/{total_bytes} {eta} left"
        } else {
            "{prefix} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta} left"
        };
        if let Ok(style) = ProgressStyle::with_template(style) {
            bar.set_style(style);
        }
        bar.set_prefix(name.to_owned());
        Self { bar, begun: None }
    }

    pub fn show(&mut self, transfer: Transfer<'_>) {
        // What was there before is no progress of this attempt, and would spoil the rate.
        if self.begun.is_none() {
            self.begun = Some(transfer.done);
            self.bar.set_position(transfer.done);
            self.bar.reset_eta();
        }
        self.bar.set_position(transfer.done);
    }

    pub fn finish(self) {
        self.bar.finish_and_clear();
    }
}

static STOP: AtomicBool = AtomicBool::new(false);

/// Makes Ctrl-C, SIGTERM and SIGHUP end the run after the pass in hand; a second one ends the program at once. Signals that the
/// program was started to ignore, as by `nohup`, stay ignored.
pub(crate) fn stop_on_interrupt() {
    static INSTALLED: OnceLock<bool> = OnceLock::new();
    INSTALLED.get_or_init(|| {
        let ignored = ignored_signals();
        let installed = ctrlc::set_handler(|| {
            if STOP.swap(true, Ordering::SeqCst) {
                #[expect(clippy::exit, reason = "asked for twice")]
                std::process::exit(130);
            }
        });
        go_on_ignoring(&ignored);
        stop_on_warning();
        installed.is_ok()
    });
}

/// Stops as well where a batch system warns: of the time that is left, or that it is used up.
#[cfg(unix)]
fn stop_on_warning() {
    extern "C" fn stop(_: libc::c_int) {
        STOP.store(true, Ordering::SeqCst);
    }
    for signal in [libc::SIGXCPU, libc::SIGUSR1] {
        #[expect(
            unsafe_code,
            reason = "SAFETY: the handler stores to an atomic, which a signal's handler may do"
        )]
        unsafe {
            libc::signal(signal, stop as *const () as libc::sighandler_t);
        }
    }
}

#[cfg(not(unix))]
fn stop_on_warning() {}

/// Those of the signals that stop a run which this process ignores.
#[cfg(unix)]
fn ignored_signals() -> Vec<libc::c_int> {
    let is_ignored = |signal: &libc::c_int| {
        #[expect(
            unsafe_code,
            reason = "SAFETY: an action that is all zeros is one, and the call only writes to it"
        )]
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            libc::sigaction(*signal, std::ptr::null(), &raw mut action) == 0
                && action.sa_sigaction == libc::SIG_IGN
        }
    };
    let signals = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP];
    signals.into_iter().filter(is_ignored).collect()
}

#[cfg(unix)]
fn go_on_ignoring(signals: &[libc::c_int]) {
    for signal in signals {
        #[expect(
            unsafe_code,
            reason = "SAFETY: to ignore a signal runs no code of ours"
        )]
        unsafe {
            libc::signal(*signal, libc::SIG_IGN);
        }
    }
}

#[cfg(not(unix))]
fn ignored_signals() {}

#[cfg(not(unix))]
fn go_on_ignoring((): &()) {}

/// Whether the program was told to stop.
pub(crate) fn was_interrupted() -> bool {
    STOP.load(Ordering::SeqCst)
}

/// A round's progress on the terminal.
#[derive(Default)]
pub(crate) struct Terminal(Mutex<Option<Drawn>>);

/// What is drawn of a round.
enum Drawn {
    Rows(Bar),
    Texts(TextBar),
    Asked(Bar),
}

impl Terminal {
    fn drawn(&self) -> MutexGuard<'_, Option<Drawn>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Meter for Terminal {
    fn begin(&self, name: &str, size: Size) {
        *self.drawn() = Some(match size {
            Size::Rows(rows) => Drawn::Rows(Bar::new(name, rows, true)),
            Size::Texts(texts) => Drawn::Texts(TextBar::new(name, texts)),
            Size::Asked(asked) => Drawn::Asked(Bar::new(name, asked, false)),
        });
    }

    fn rows(&self, progress: Progress) {
        if let Some(Drawn::Rows(bar)) = &*self.drawn() {
            bar.show(progress);
        }
    }

    fn texts(&self, progress: GenerationProgress) {
        if let Some(Drawn::Texts(bar)) = &*self.drawn() {
            bar.show(progress);
        }
    }

    fn asked(&self, done: u64) {
        if let Some(Drawn::Asked(bar)) = &*self.drawn() {
            let rows = bar.drawn.length().unwrap_or(done);
            bar.show(Progress {
                rows_done: done,
                rows,
                shortened: 0,
            });
        }
    }

    fn end(&self) {
        match self.drawn().take() {
            Some(Drawn::Rows(bar) | Drawn::Asked(bar)) => bar.finish(),
            Some(Drawn::Texts(bar)) => bar.finish(),
            None => {}
        }
    }

    fn stops(&self) -> bool {
        was_interrupted()
    }
}

/// Whether the program was told to stop while there is something left to stop.
pub(crate) fn stop_wanted(progress: Progress) -> bool {
    STOP.load(Ordering::SeqCst) && progress.rows_done < progress.rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_still_says_where() {
        let (said, heard) = channel();
        let say = move |text: &str| {
            let _ = said.send(text.to_owned());
        };
        let often = [Duration::from_millis(80), Duration::MAX];
        let watch = Watch::new("m", " of 9".to_owned(), often, true, say);
        watch.moved(4);
        let text = heard.recv_timeout(Duration::from_secs(20)).unwrap();
        assert!(
            text.starts_with("m: nothing has moved for ") && text.contains("at 4 of 9"),
            "{text}"
        );
        assert!(
            cfg!(not(target_os = "linux")) || text.contains("watch"),
            "{text}"
        );
        // Once for each standstill.
        assert!(heard.recv_timeout(Duration::from_millis(300)).is_err());
        watch.moved(5);
        assert!(
            heard
                .recv_timeout(Duration::from_secs(20))
                .unwrap()
                .contains("at 5 of 9")
        );
    }

    #[test]
    fn where_no_bar_is_drawn_lines_say_how_far_it_is() {
        let (said, heard) = channel();
        let say = move |text: &str| {
            let _ = said.send(text.to_owned());
        };
        let often = [Duration::from_mins(10), Duration::from_millis(40)];
        let watch = Watch::new("m", " of 9 rows".to_owned(), often, true, say);
        // Nothing has moved: nothing is said.
        assert!(heard.recv_timeout(Duration::from_millis(150)).is_err());
        watch.moved(4);
        let text = heard.recv_timeout(Duration::from_secs(20)).unwrap();
        assert!(
            text.starts_with("m: 4 of 9 rows, ") && text.ends_with("/s"),
            "{text}"
        );
    }

    #[test]
    fn a_round_knows_how_far_the_run_is() {
        expect_rows(400);
        assert_eq!(of_the_run(50, 100, 0.0), "run 12 %");
        WHOLE.1.fetch_add(100, Ordering::SeqCst);
        assert_eq!(of_the_run(100, 100, 20.0), "run 50 %, 10 seconds left");
        // A round that was not known, or that is all there is.
        assert_eq!(of_the_run(350, 900, 1.0), "");
        expect_rows(0);
        assert_eq!(of_the_run(5, 10, 1.0), "");
    }
}
