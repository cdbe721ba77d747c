//! Text of strangers, made harmless to look at.

use std::borrow::Cow;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Whether a terminal would do something else than show it: move, change colour, or turn the direction of what follows.
pub fn is_hidden(c: char) -> bool {
    let turns = matches!(c, '\u{061C}' | '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}');
    c.is_control() || turns
}

/// The same text with an escape for each character that is hidden; line ends stay.
pub(crate) fn visible(text: &str) -> Cow<'_, str> {
    if !text.chars().any(|c| is_hidden(c) && c != '\n') {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if is_hidden(c) && c != '\n' {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

/// How many columns of a terminal a text takes: characters of East Asian scripts take two.
pub(crate) fn width_of(text: &str) -> usize {
    text.width()
}

/// A text in so many columns at most: its middle is left out, since names that belong together differ at their ends.
pub(crate) fn shortened(text: &str, most: usize) -> String {
    if width_of(text) <= most {
        return text.to_owned();
    }
    let room = most.saturating_sub(1);
    let (head, tail) = (room - room / 2, room / 2);
    let begins = taken(text.chars(), head);
    let ends: String = taken(text.chars().rev(), tail).chars().rev().collect();
    format!("{}…{}", begins.trim_end(), ends.trim_start())
}

/// As many characters as fit into so many columns.
fn taken(characters: impl Iterator<Item = char>, most: usize) -> String {
    let mut left = most;
    let fits = characters.map_while(|c| {
        left = left.checked_sub(c.width().unwrap_or(0))?;
        Some(c)
    });
    fits.collect()
}

/// Names in so many columns at most, each still different from the others: where leaving out the middle makes two of them alike,
/// they are numbered.
pub(crate) fn told_apart(names: &[String], most: usize) -> Vec<String> {
    let mut out: Vec<String> = Vec::with_capacity(names.len());
    for (number, name) in names.iter().enumerate() {
        let name = visible(name).replace('\n', " ");
        let mut short = shortened(&name, most);
        if out.contains(&short) {
            let mark = format!("#{}", number + 1);
            let room = most.saturating_sub(width_of(&mark) + 1);
            short = format!("{} {mark}", shortened(&name, room));
        }
        out.push(short);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_hidden_is_spelt_out() {
        assert_eq!(visible("a\nb"), "a\nb");
        assert_eq!(visible("a\u{1b}[31m\u{202e}"), "a\\u{1b}[31m\\u{202e}");
    }

    #[test]
    fn names_lose_their_middle_and_stay_different() {
        assert_eq!(shortened("abcdefghij", 10), "abcdefghij");
        assert_eq!(shortened("abcdefghijk", 9), "abcd…hijk");
        assert_eq!(shortened("合議制の合議制", 8), "合議…制");
        let names = ["x".repeat(40), "x".repeat(41), "y".to_owned()];
        let short = told_apart(&names, 12);
        assert!(short.iter().all(|name| width_of(name) <= 12));
        assert_eq!(short[1], "xxxx…xxxx #2");
        assert_eq!(short[2], "y");
    }
}
