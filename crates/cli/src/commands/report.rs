//! `concord report`: a page of a stored run.

use super::identity::about;
use super::results::{Opened, exhibits, settings_of, warn};
use crate::arguments::{ReportArguments, Statistics};
use crate::failure::{ExitStatus, Failure};
use crate::output;
use concord_report::page;
use concord_runs::write_bytes;

/// Measures a run again and writes its page.
pub fn report(arguments: &ReportArguments) -> Result<(), Failure> {
    let opened = Opened::open(&arguments.run)?;
    let manifest = &opened.run.manifest;
    let found = opened.measure(settings_of(manifest, None, &Statistics::default()))?;
    warn(&*found);
    let run = Some(arguments.run.as_path());
    let shown = exhibits(
        &*found,
        &*opened.study,
        manifest,
        run,
        arguments.with_published,
    );
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
    output::data(&format!("{}\n", out.display()))
}
