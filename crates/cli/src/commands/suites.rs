//! `concord suites`: what can be asked.

use crate::arguments::OutputFormat;
use crate::failure::Failure;
use crate::output;
use concord_report::fitted;
use concord_suites::suites as all;
use std::fmt::Write as _;

/// Lists suites.
pub fn suites(format: OutputFormat) -> Result<(), Failure> {
    let about = all().iter().map(|suite| suite.about());
    if format == OutputFormat::Json {
        return output::json(&about.collect::<Vec<_>>());
    }
    let mut out = String::new();
    for (number, suite) in about.enumerate() {
        if number > 0 {
            out.push('\n');
        }
        let _ = write!(
            out,
            "{}: {}\n  asks: {}\n  needs: {}\n  cannot tell: {}\n",
            suite.name, suite.summary, suite.rounds, suite.needs, suite.limits
        );
    }
    out.push_str("\n`concord run --suite NAME` runs one.\n");
    output::data(&fitted(&out))
}
