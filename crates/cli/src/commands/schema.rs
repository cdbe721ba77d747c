//! `concord schema`: what is in files.

use crate::arguments::{OutputFormat, SchemaArguments};
use crate::failure::Failure;
use crate::output;
use concord_findings::{TABLES_SCHEMA, TableSpec};
use concord_suites::{BROUGHT, suite, suites};
use serde_json::json;
use std::fmt::Write as _;

/// Prints what a kind of file is.
pub fn schema(arguments: &SchemaArguments) -> Result<(), Failure> {
    let kind = match arguments.kind.as_str() {
        "wording" => "stimuli",
        kind => kind,
    };
    let brought = BROUGHT.iter().find(|of| of.kind == kind);
    if arguments.example {
        let example = brought.map(|of| of.example.to_owned());
        let example = example.or_else(|| concord_questions::example(kind));
        let missing = || {
            let message = format!("no example of `{kind}` is to begin with: the program writes it");
            Failure::usage(message, "leave --example out")
        };
        return output::data(&example.ok_or_else(missing)?);
    }
    if let Some(schema) = concord_questions::schema(kind).or(brought.map(|of| of.schema)) {
        return output::data(schema);
    }
    let mut tables = suites().iter().flat_map(|suite| suite.table_specs());
    if let Some(spec) = tables.find(|spec| spec.name == kind) {
        return match arguments.format {
            OutputFormat::Json => {
                output::json(&json!({ "schema_version": TABLES_SCHEMA, "table": spec }))
            }
            OutputFormat::Human => output::data(&columns(spec)),
        };
    }
    if kind == "run" {
        return output::data(concord_runs::schema());
    }
    let suite = suite(&arguments.suite)?;
    match suite.findings_schema() {
        "" => {
            let message = format!("the suite `{}` does not say what it finds", arguments.suite);
            Err(Failure::usage(
                message,
                "see `concord suites` for the others",
            ))
        }
        schema => output::data(schema),
    }
}

/// The columns of a table, one a paragraph.
fn columns(spec: &TableSpec) -> String {
    let mut out = format!(
        "{}: {} (schema version {TABLES_SCHEMA})\n\n",
        spec.name, spec.about
    );
    let widest = spec.columns.iter().map(|column| column.name.len());
    let widest = widest.max().unwrap_or(0);
    for column in spec.columns {
        let (name, kind) = (&column.name, column.kind.name());
        let _ = writeln!(out, "{name:widest$}  {kind:7}  {}", column.about);
    }
    out.push_str(
        "\nAny cell may be missing. A name that ends in `_N` stands for columns numbered from 1.\n",
    );
    out
}
