//! Elements of SVG and HTML, written so that nothing in them is taken for markup.

use crate::visible::visible;
use std::fmt::{Display, Write as _};

/// What has been written so far. Every attribute and every text is escaped here and nowhere else.
#[derive(Default)]
pub(crate) struct Markup(String);

/// Attributes: names, which are ours, and values.
pub(crate) type Attributes<'a> = &'a [(&'static str, &'a dyn Display)];

impl Markup {
    /// An element that holds nothing.
    pub(crate) fn element(&mut self, name: &'static str, attributes: Attributes) -> &mut Self {
        self.begin(name, attributes);
        self.0.push_str("/>");
        self
    }

    /// The opening of an element.
    pub(crate) fn open(&mut self, name: &'static str, attributes: Attributes) -> &mut Self {
        self.begin(name, attributes);
        self.0.push('>');
        self
    }

    /// Text inside the element that is open.
    pub(crate) fn text(&mut self, text: &str) -> &mut Self {
        escape_into(&mut self.0, &visible(text));
        self
    }

    /// The end of an element.
    pub(crate) fn close(&mut self, name: &'static str) -> &mut Self {
        let _ = write!(self.0, "</{name}>");
        self
    }

    /// An element around a text.
    pub(crate) fn around(
        &mut self,
        name: &'static str,
        attributes: Attributes,
        text: &str,
    ) -> &mut Self {
        self.open(name, attributes).text(text).close(name)
    }

    /// What was written by another of these.
    pub(crate) fn append(&mut self, other: &str) -> &mut Self {
        self.0.push_str(other);
        self
    }

    /// All of it.
    pub(crate) fn finish(self) -> String {
        self.0
    }

    fn begin(&mut self, name: &'static str, attributes: Attributes) {
        let _ = write!(self.0, "<{name}");
        for (key, value) in attributes {
            let _ = write!(self.0, " {key}=\"");
            escape_into(&mut self.0, &visible(&value.to_string()));
            self.0.push('"');
        }
    }
}

fn escape_into(out: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            c => out.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_and_texts_are_escaped() {
        let mut out = Markup::default();
        out.around(
            "text",
            &[("aria-label", &"\"><b>"), ("x", &1.5)],
            "a<b&\u{202e}",
        );
        assert_eq!(
            out.finish(),
            "<text aria-label=\"&quot;&gt;&lt;b&gt;\" x=\"1.5\">a&lt;b&amp;\\u{202e}</text>"
        );
    }
}
