//! Exhibits as one page of HTML: figures and tables, and every answer to be looked up, with nothing to be loaded from anywhere.
//!
//! What a page says stands in it as HTML and SVG, so that it can be read on paper and without scripts. The script sorts, filters and
//! shows single questions, from data that the page carries.

mod book;
mod sections;
mod topics;

use crate::cast::{Cast, Member};
use crate::chart::{Scale, shapes};
use crate::visible::visible;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use concord_findings::{AnswerBook, Exhibit, Mark, Summary, Topics};
use minijinja::value::Serde;
use minijinja::{Environment, Error, Output, State, Value, context, escape_formatter};
use serde::Serialize;
use sha2::{Digest, Sha256};

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");
const TEMPLATE: &str = include_str!("page.html");

/// The page of a run. `about` is what is said of it: label and text; a value under `command` is shown as what to type.
///
/// # Panics
/// Where the template that is built in is broken, which tests rule out.
pub fn page(title: &str, about: &[(&str, String)], exhibits: &[Exhibit]) -> String {
    let cast = Cast::of(exhibits);
    let summary = exhibits.iter().find_map(|exhibit| match exhibit {
        Exhibit::Summary(summary) => Some(summary),
        _ => None,
    });
    let packed = book::pack(topics_of(exhibits), book_of(exhibits), &cast);
    let sections = sections::sections(exhibits, &cast);
    let context = context! {
        title,
        style => STYLE,
        script => SCRIPT,
        digest => STANDARD.encode(Sha256::digest(SCRIPT.as_bytes())),
        shapes => shapes(sections::grids(&sections)),
        scope => summary.map(|summary| &summary.scope),
        partial => summary.and_then(|summary| summary.partial.as_ref()),
        halves => Scale::halves().grid().name,
        summary => summary.map(|summary| Value::from(Serde(Shown::of(summary, &cast)))),
        sections => Value::from(Serde(sections)),
        about => Value::from(Serde(about)),
        packed => packed.map(|packed| context! { words => packed.words, columns => packed.columns }),
    };
    #[expect(clippy::expect_used, reason = "the template is part of the program")]
    environment()
        .and_then(|environment| environment.get_template("page.html")?.render(context))
        .expect("the template of the page is sound")
}

fn environment() -> Result<Environment<'static>, Error> {
    let mut environment = Environment::new();
    environment.set_formatter(format_visibly);
    environment.add_template("page.html", TEMPLATE)?;
    Ok(environment)
}

/// Escapes as the name of the template asks for, and spells out what would be hidden.
fn format_visibly(out: &mut Output, state: &mut State, value: &Value) -> Result<(), Error> {
    match value.as_str().filter(|_| !value.is_safe()) {
        Some(text) => escape_formatter(out, state, &Value::from(visible(text).into_owned())),
        None => escape_formatter(out, state, value),
    }
}

/// The topics of a list of exhibits.
fn topics_of(exhibits: &[Exhibit]) -> Option<&Topics> {
    exhibits.iter().find_map(|exhibit| match exhibit {
        Exhibit::Topics(topics) => Some(topics),
        _ => None,
    })
}

/// The answers of a list of exhibits.
fn book_of(exhibits: &[Exhibit]) -> Option<&AnswerBook> {
    exhibits.iter().find_map(|exhibit| match exhibit {
        Exhibit::Answers(book) => Some(&**book),
        _ => None,
    })
}

/// What a mark is called in the style sheet.
fn mark_name(mark: Mark) -> &'static str {
    match mark {
        Mark::Good => "good",
        Mark::Doubtful => "doubtful",
        Mark::Bad => "bad",
    }
}

/// Text with a mark before it.
#[derive(Serialize)]
struct Marked<'a> {
    mark: &'static str,
    text: &'a str,
}

/// A summary as the template takes it.
#[derive(Serialize)]
struct Shown<'a> {
    sentences: &'a [String],
    warnings: Vec<Marked<'a>>,
    members: Vec<&'a Member>,
}

impl<'a> Shown<'a> {
    fn of(summary: &'a Summary, cast: &'a Cast) -> Self {
        let warnings = summary.warnings.iter().map(|(mark, text)| Marked {
            mark: mark_name(*mark),
            text,
        });
        Self {
            sentences: &summary.sentences,
            warnings: warnings.collect(),
            members: cast.all(summary.checkpoints.iter().map(|(name, _)| name)),
        }
    }
}
