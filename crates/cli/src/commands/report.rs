//! `concord report`: a page of a stored run.

use super::compare::compared;
use super::identity::about;
use super::results::{Opened, exhibits, settings_of, warn};
use crate::arguments::{ReportArguments, Statistics};
use crate::failure::{ExitStatus, Failure};
use crate::output;
use concord_findings::Exhibit;
use concord_report::{figures, page};
use concord_runs::write_bytes;
use concord_suites::{Comparing, Show};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Measures runs again and writes their page.
pub fn report(arguments: &ReportArguments) -> Result<(), Failure> {
    let show = Show {
        published: arguments.with_published,
        answers: true,
    };
    let made = match &arguments.runs[..] {
        [run] => of_run(run, show)?,
        runs => of_runs(runs, arguments, show)?,
    };
    if let Some(folder) = &arguments.figures {
        write_figures(&made.shown, folder)?;
    }
    let page = page(&made.title, &made.about, &made.shown);
    let out = arguments.out.clone().unwrap_or(made.out);
    if out.as_os_str() == "-" {
        return output::raw(&page);
    }
    write_bytes(&out, page.as_bytes()).map_err(|error| {
        Failure::new(
            ExitStatus::Device,
            error.to_string(),
            "name another file with --out",
        )
    })?;
    output::data(&format!("{}\n", out.display()))?;
    if arguments.open {
        open(&out);
    }
    Ok(())
}

/// What a page is made of.
struct Made {
    title: String,
    about: Vec<(&'static str, String)>,
    shown: Vec<Exhibit>,
    out: PathBuf,
}

/// The page of one run.
fn of_run(run: &Path, show: Show) -> Result<Made, Failure> {
    let opened = Opened::open(run)?;
    let manifest = &opened.run.manifest;
    let found = opened.measure(settings_of(manifest, None, &Statistics::default()))?;
    warn(&*found);
    let shown = exhibits(&*found, &*opened.study, manifest, Some(run), show);
    let mut about = about(manifest);
    if let Some(limit) = manifest.identity.limit {
        about.push(("partial", opened.study.partial(limit)));
    }
    Ok(Made {
        title: opened.names.join(", "),
        about,
        shown,
        out: run.join("report.html"),
    })
}

/// The page of several runs, compared.
fn of_runs(runs: &[PathBuf], arguments: &ReportArguments, show: Show) -> Result<Made, Failure> {
    if arguments.out.is_none() {
        let message = "a page of several runs has no place of its own";
        return Err(Failure::usage(message, "name a file with --out"));
    }
    let comparing = Comparing {
        intersect: arguments.intersect,
        conditions: &[],
    };
    let all = compared(runs, &comparing, None, &Statistics::default())?;
    let shown = all.exhibits(show);
    let runs = &all.runs;
    let mut about_all = Vec::new();
    for opened in runs {
        about_all.push(("run", opened.folder().display().to_string()));
        about_all.extend(about(&opened.run.manifest));
    }
    let names: Vec<&str> = runs
        .iter()
        .flat_map(|run| &run.names)
        .map(String::as_str)
        .collect();
    Ok(Made {
        title: names.join(", "),
        about: about_all,
        shown,
        out: PathBuf::new(),
    })
}

/// Writes every figure to a folder.
fn write_figures(shown: &[Exhibit], folder: &Path) -> Result<(), Failure> {
    std::fs::create_dir_all(folder).map_err(|error| {
        let message = format!("{}: {error}", folder.display());
        Failure::usage(message, "name another folder with --figures")
    })?;
    let all = figures(shown);
    for (name, svg) in &all {
        write_bytes(&folder.join(name), svg.as_bytes())?;
    }
    output::message(&format!(
        "{} figures written to {}",
        all.len(),
        folder.display()
    ));
    Ok(())
}

/// Opens a page in the user's browser. Where there is none its path was printed.
fn open(page: &Path) {
    let page = page.canonicalize().unwrap_or_else(|_| page.to_owned());
    let (program, before): (&str, &[&str]) = if cfg!(target_os = "macos") {
        ("open", &[])
    } else if cfg!(windows) {
        ("cmd", &["/C", "start", ""])
    } else {
        ("xdg-open", &[])
    };
    let mut command = Command::new(program);
    command.args(before).arg(&page);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    if command.spawn().is_err() {
        output::message("no browser was found; open the page by its path");
    }
}
