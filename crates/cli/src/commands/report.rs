//! `concord report`: a page of a stored run.

use super::identity::about;
use super::results::{Opened, exhibits, settings_of, warn};
use crate::arguments::{ReportArguments, Statistics};
use crate::failure::{ExitStatus, Failure};
use crate::output;
use concord_findings::Exhibit;
use concord_report::{figures, page};
use concord_runs::write_bytes;
use concord_suites::Show;
use std::path::Path;
use std::process::{Command, Stdio};

/// Measures a run again and writes its page.
pub fn report(arguments: &ReportArguments) -> Result<(), Failure> {
    let opened = Opened::open(&arguments.run)?;
    let manifest = &opened.run.manifest;
    let found = opened.measure(settings_of(manifest, None, &Statistics::default()))?;
    warn(&*found);
    let run = Some(arguments.run.as_path());
    let show = Show {
        published: arguments.with_published,
        answers: true,
    };
    let shown = exhibits(&*found, &*opened.study, manifest, run, show);
    if let Some(folder) = &arguments.figures {
        write_figures(&shown, folder)?;
    }
    let mut about = about(manifest);
    if let Some(limit) = manifest.identity.limit {
        about.push(("partial", opened.study.partial(limit)));
    }
    let page = page(&opened.names.join(", "), &about, &shown);
    let out = arguments
        .out
        .clone()
        .unwrap_or_else(|| arguments.run.join("report.html"));
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
