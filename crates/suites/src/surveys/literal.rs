//! Python's literals, as some published files have them in their cells: texts, numbers, lists and dictionaries.

/// A literal.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Literal {
    /// A text.
    Text(String),
    /// A number.
    Number(f64),
    /// A list or a tuple.
    List(Vec<Self>),
    /// A dictionary, in its order.
    Map(Vec<(Self, Self)>),
    /// A name such as `None`.
    Name(String),
}

/// How deep lists may be in lists: a file that goes deeper is no file of answers.
const DEEPEST: usize = 16;

impl Literal {
    /// Reads one. `defaultdict(…, {…})` is the dictionary in it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let inner = text
            .strip_prefix("defaultdict(")
            .and_then(|rest| rest.get(rest.find('{')?..rest.rfind(')')?));
        let mut reader = Reader {
            rest: inner.unwrap_or(text).trim(),
        };
        let found = reader.value(DEEPEST)?;
        reader.blank();
        if reader.rest.is_empty() {
            Ok(found)
        } else {
            Err(reader.unexpected())
        }
    }

    /// The texts of a list.
    pub fn texts(self) -> Result<Vec<String>, String> {
        let Self::List(all) = self else {
            return Err("is no list".to_owned());
        };
        let texts = all.into_iter().map(|one| match one {
            Self::Text(text) => Ok(text),
            Self::Number(number) => Ok(number.to_string()),
            _ => Err("has something that is no text".to_owned()),
        });
        texts.collect()
    }
}

struct Reader<'a> {
    rest: &'a str,
}

impl Reader<'_> {
    fn blank(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn unexpected(&self) -> String {
        match self.rest.chars().next() {
            Some(_) => {
                let near: String = self.rest.chars().take(12).collect();
                format!("is not understood at `{near}`")
            }
            None => "is cut off".to_owned(),
        }
    }

    fn takes(&mut self, letter: char) -> bool {
        self.blank();
        let rest = self.rest.strip_prefix(letter);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn value(&mut self, depth: usize) -> Result<Literal, String> {
        if depth == 0 {
            return Err("has lists too deep in lists".to_owned());
        }
        self.blank();
        let Some(first) = self.rest.chars().next() else {
            return Err(self.unexpected());
        };
        match first {
            '\'' | '"' => self.text(first).map(Literal::Text),
            '[' => self.list(depth, ']'),
            '(' => self.list(depth, ')'),
            '{' => self.map(depth),
            _ => self.word(),
        }
    }

    fn list(&mut self, depth: usize, end: char) -> Result<Literal, String> {
        self.rest = &self.rest[1..];
        let mut all = Vec::new();
        loop {
            if self.takes(end) {
                return Ok(Literal::List(all));
            }
            all.push(self.value(depth - 1)?);
            if !self.takes(',') && !self.rest.starts_with(end) {
                return Err(self.unexpected());
            }
        }
    }

    fn map(&mut self, depth: usize) -> Result<Literal, String> {
        self.rest = &self.rest[1..];
        let mut all = Vec::new();
        loop {
            if self.takes('}') {
                return Ok(Literal::Map(all));
            }
            let key = self.value(depth - 1)?;
            if !self.takes(':') {
                return Err(self.unexpected());
            }
            all.push((key, self.value(depth - 1)?));
            if !self.takes(',') && !self.rest.starts_with('}') {
                return Err(self.unexpected());
            }
        }
    }

    fn text(&mut self, quote: char) -> Result<String, String> {
        let mut out = String::new();
        let mut letters = self.rest.char_indices().skip(1);
        while let Some((at, letter)) = letters.next() {
            if letter == quote {
                self.rest = &self.rest[at + 1..];
                return Ok(out);
            }
            if letter != '\\' {
                out.push(letter);
                continue;
            }
            let Some((_, escaped)) = letters.next() else {
                break;
            };
            match escaped {
                'n' => out.push('\n'),
                't' => out.push('\t'),
                'r' => out.push('\r'),
                'x' | 'u' | 'U' => {
                    let count = match escaped {
                        'x' => 2,
                        'u' => 4,
                        _ => 8,
                    };
                    let digits: String = letters
                        .by_ref()
                        .take(count)
                        .map(|(_, digit)| digit)
                        .collect();
                    let code = u32::from_str_radix(&digits, 16).ok();
                    let letter = code.and_then(char::from_u32);
                    out.push(letter.ok_or("has an escape that is no letter")?);
                }
                other => out.push(other),
            }
        }
        Err("has a text without an end".to_owned())
    }

    fn word(&mut self) -> Result<Literal, String> {
        let is_of_word = |letter: char| letter.is_ascii_alphanumeric() || "+-._".contains(letter);
        let end = self
            .rest
            .find(|letter| !is_of_word(letter))
            .unwrap_or(self.rest.len());
        let word = &self.rest[..end];
        if word.is_empty() {
            return Err(self.unexpected());
        }
        let found = word.parse::<f64>().ok().filter(|number| number.is_finite());
        let found = found.map_or_else(|| Literal::Name(word.to_owned()), Literal::Number);
        self.rest = &self.rest[end..];
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::Literal;

    #[test]
    fn cells_are_read_as_python_would() {
        let texts = |text: &str| Literal::parse(text).unwrap().texts().unwrap();
        assert_eq!(
            texts(r#"['Very', "Don't know", 'a\'b', 'caf\xe9 \u4e2d', 3,]"#),
            ["Very", "Don't know", "a'b", "café 中", "3"]
        );
        let cell = "defaultdict(<class 'list'>, {'Here (now)': [0.25, 7.5e-1], 'There': []})";
        let Literal::Map(all) = Literal::parse(cell).unwrap() else {
            panic!()
        };
        assert_eq!(all[0].0, Literal::Text("Here (now)".to_owned()));
        assert_eq!(
            all[0].1,
            Literal::List(vec![Literal::Number(0.25), Literal::Number(0.75)])
        );
        for wrong in [
            "",
            "[1, 2",
            "['a' 'b']",
            "{'a'}",
            "'open",
            "[1]]",
            "defaultdict(){",
            "['\\x']",
            &"[".repeat(100),
        ] {
            assert!(Literal::parse(wrong).is_err(), "{wrong}");
        }
    }
}
