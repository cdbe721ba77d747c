//! Exhibits as one page of HTML: figures and tables, with nothing to be loaded from anywhere.

use crate::svg::{escaped, forest, matrix, radar, strip};
use crate::terminal;
use concord_findings::Exhibit;
use std::fmt::Write as _;

const STYLE: &str = include_str!("page.css");

/// The page of a run. `about` is what is said of it: label and text.
pub fn page(title: &str, about: &[(&str, String)], exhibits: &[Exhibit]) -> String {
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width, initial-scale=1\"><title>Concord: {0}</title><style>{STYLE}</style></head><body>\n\
         <h1>{0}</h1>\n",
        escaped(title)
    );
    let rows = about
        .iter()
        .map(|(key, value)| format!("<tr><th>{key}</th><td>{}</td></tr>", escaped(value)));
    let _ = writeln!(out, "<table>{}</table>", rows.collect::<String>());
    let mut beside = false;
    for exhibit in exhibits {
        // Radars are small: those that follow each other stand beside each other.
        let is_radar = matches!(exhibit, Exhibit::Radar(_));
        if is_radar != beside {
            out.push_str(if is_radar {
                "<div class=\"side\">"
            } else {
                "</div>\n"
            });
            beside = is_radar;
        }
        match exhibit {
            Exhibit::Heading(text) => {
                let _ = writeln!(out, "<h2>{}</h2>", escaped(text));
            }
            Exhibit::Lead(text) => {
                let _ = writeln!(out, "<p>{}</p>", escaped(text.trim_end()));
            }
            Exhibit::Forest(figure) => out.push_str(&forest(figure)),
            Exhibit::Matrix(figure) => out.push_str(&matrix(figure)),
            Exhibit::Strip(figure) => out.push_str(&strip(figure)),
            Exhibit::Radar(figure) => out.push_str(&radar(figure)),
            Exhibit::Note(_)
            | Exhibit::Table(_)
            | Exhibit::Summary(_)
            | Exhibit::Levels(_)
            | Exhibit::Checks(_)
            | Exhibit::Topics(_)
            | Exhibit::Answers(_) => {}
        }
    }
    if beside {
        out.push_str("</div>\n");
    }
    let _ = write!(
        out,
        "<h2>All tables</h2>\n<pre>{}</pre>\n</body></html>\n",
        escaped(&terminal(exhibits))
    );
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use concord_findings::Radar;

    #[test]
    fn a_page_is_closed_and_escapes_what_it_shows() {
        let radar = Exhibit::Radar(Radar {
            title: "<r>".to_owned(),
            spokes: vec!["a".into(), "b".into(), "c".into()],
            series: vec![("x".into(), vec![0.1, 0.2, 0.3])],
        });
        let exhibits = [
            Exhibit::Lead("a & b".to_owned()),
            radar.clone(),
            radar,
            Exhibit::Note("<script>\n".to_owned()),
        ];
        let page = page("t<", &[("program", "\"x\"".to_owned())], &exhibits);
        assert_eq!(page.matches("<div class=\"side\">").count(), 1);
        assert_eq!(page.matches("</div>").count(), 1);
        assert!(!page.contains("<script>") && page.contains("a &amp; b"));
        assert!(page.ends_with("</body></html>\n"));
    }
}
