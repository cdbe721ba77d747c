//! `concord report`: a page of a stored run.

use super::results::{Opened, Results, settings_of};
use crate::arguments::ReportArguments;
use crate::failure::{ExitStatus, Failure};
use crate::output;
use concord_questions::Chosen;
use concord_runs::write_bytes;

/// Measures a run again and writes its page.
pub fn report(arguments: &ReportArguments) -> Result<(), Failure> {
    let opened = Opened::open(&arguments.run)?;
    let names: Vec<&str> = opened.names.iter().map(String::as_str).collect();
    let answers = names
        .iter()
        .map(|name| opened.answers(name, &Chosen::all()));
    let answers = answers.collect::<Result<Vec<_>, _>>()?;
    let manifest = &opened.run.manifest;
    let settings = settings_of(manifest, None, None);
    let results = Results::of_answers(&opened.run.questions, &names, &answers, settings)?;
    let report = results.report(manifest, Some(&arguments.run), arguments.with_published);
    let page = report.html(manifest);
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
