//! A template's source, as the engine here takes it: what Jinja reads otherwise is written otherwise.

use super::LONGEST_SOURCE;

/// What a token of an expression is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Text,
    Name,
    Number,
    Other(char),
}

/// A token of an expression: what it is, where it stands, and how many brackets are open before it.
#[derive(Clone, Copy, Debug)]
struct Token {
    kind: Kind,
    start: usize,
    end: usize,
    depth: usize,
}

/// Text that takes the place of a part of the source.
type Edit = (usize, usize, &'static str);

/// Rewrites a source.
///
/// - Jinja writes one kind of line end.
/// - `{% generation %}` marks what the assistant says for training, and prints nothing: a scope of its own.
/// - The line end after `{% raw %}` stays.
/// - `'…' % x` fills a text in; the engine knows `%` of numbers alone.
/// - A loop over a text knows its length.
/// - A sign without effect is left out.
///
/// # Errors
/// Where it is too long, or would be understood otherwise than by Jinja.
pub(super) fn rewritten(source: &str) -> Result<String, String> {
    if source.len() > LONGEST_SOURCE {
        return Err(format!("it is longer than {} KiB", LONGEST_SOURCE >> 10));
    }
    let source = source.replace("\r\n", "\n").replace('\r', "\n");
    let mut edits: Vec<Edit> = Vec::new();
    let mut at = 0;
    while let Some(found) = source[at..].find('{') {
        let start = at + found;
        at = match source.as_bytes().get(start + 1) {
            Some(b'#') => end_of(&source, start + 2, "#}"),
            Some(b'{') => {
                let (tokens, end) = tokens(&source, start + 2, "}}");
                expression(&source, &tokens, &mut edits)?;
                end
            }
            Some(b'%') => {
                let (tokens, end) = tokens(&source, start + 2, "%}");
                match block(&source, &tokens, &mut edits)? {
                    Some(raw) => past_raw(&source, raw, end, &mut edits),
                    None => end,
                }
            }
            _ => start + 1,
        };
    }
    // Where several begin at one place, they stay in their order.
    edits.sort_by_key(|(start, ..)| *start);
    let (mut out, mut taken) = (String::with_capacity(source.len()), 0);
    for (start, end, text) in edits {
        out.push_str(&source[taken..start]);
        out.push_str(text);
        taken = end;
    }
    out.push_str(&source[taken..]);
    Ok(out)
}

fn end_of(source: &str, from: usize, end: &str) -> usize {
    source[from..]
        .find(end)
        .map_or(source.len(), |found| from + found + end.len())
}

/// Past a raw part, whose opening tag ends at `end`.
fn past_raw(source: &str, raw: Token, end: usize, edits: &mut Vec<Edit>) -> usize {
    if let Some(closing) = source[raw.end..end].strip_suffix("%}")
        && closing.trim().is_empty()
    {
        edits.push((end - 2, end - 2, "+"));
    }
    let mut at = end;
    while let Some(found) = source[at..].find("{%") {
        let inner = at + found + 2;
        let word = source[inner..].trim_start_matches(['-', '+']).trim_start();
        if word.starts_with("endraw") {
            return end_of(source, inner, "%}");
        }
        at = inner;
    }
    source.len()
}

/// The tokens up to the end of a tag, and where it ends.
fn tokens(source: &str, from: usize, close: &str) -> (Vec<Token>, usize) {
    let mut tokens = Vec::new();
    let mut depth = 0usize;
    let bytes = source.as_bytes();
    let mut at = from;
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_' || *byte >= 0x80;
    while let Some(&byte) = bytes.get(at) {
        // Braces of the expression's own come first.
        if source.is_char_boundary(at)
            && source[at..].starts_with(close)
            && (close == "%}" || depth == 0)
        {
            return (tokens, at + close.len());
        }
        let start = at;
        let kind = match byte {
            b' ' | b'\t' | b'\n' | 0x0B | 0x0C => {
                at += 1;
                continue;
            }
            b'\'' | b'"' => {
                at += 1;
                while let Some(&inner) = bytes.get(at) {
                    at += if inner == b'\\' { 2 } else { 1 };
                    if inner == byte {
                        break;
                    }
                }
                at = at.min(bytes.len());
                while !source.is_char_boundary(at) {
                    at += 1;
                }
                Kind::Text
            }
            b'0'..=b'9' => {
                at += bytes[at..].iter().take_while(|byte| is_part(byte)).count();
                Kind::Number
            }
            byte if is_part(&byte) => {
                at += bytes[at..].iter().take_while(|byte| is_part(byte)).count();
                Kind::Name
            }
            other => {
                at += 1;
                Kind::Other(char::from(other))
            }
        };
        if matches!(kind, Kind::Other(')' | ']' | '}')) {
            depth = depth.saturating_sub(1);
        }
        tokens.push(Token {
            kind,
            start,
            end: at,
            depth,
        });
        if matches!(kind, Kind::Other('(' | '[' | '{')) {
            depth += 1;
        }
    }
    (tokens, source.len())
}

/// A block's tag. Returns the word of a raw one.
fn block(source: &str, all: &[Token], edits: &mut Vec<Edit>) -> Result<Option<Token>, String> {
    let marks = all
        .iter()
        .take_while(|token| matches!(token.kind, Kind::Other('-' | '+')))
        .count();
    let tokens = &all[marks..];
    let text = |token: &Token| &source[token.start..token.end];
    let Some((word, rest)) = tokens.split_first() else {
        return Ok(None);
    };
    match text(word) {
        "raw" => return Ok(Some(*word)),
        "generation" => edits.push((word.start, word.end, "with")),
        "endgeneration" => edits.push((word.start, word.end, "endwith")),
        "for" => {
            let named = |token: &Token, name: &str| {
                token.depth == 0 && token.kind == Kind::Name && text(token) == name
            };
            if let Some(place) = rest.iter().position(|token| named(token, "in")) {
                let over = &rest[place + 1..];
                let ends = |token: &Token| named(token, "if") || named(token, "recursive");
                let count = over.iter().position(ends).unwrap_or(over.len());
                // A mark at the end is the tag's.
                let count = match over[..count].last() {
                    Some(last)
                        if count == over.len() && matches!(last.kind, Kind::Other('-' | '+')) =>
                    {
                        count - 1
                    }
                    _ => count,
                };
                if let (Some(first), Some(last)) = (over.first(), over[..count].last()) {
                    edits.push((first.start, first.start, "("));
                    expression(source, over, edits)?;
                    edits.push((last.end, last.end, ")|_each"));
                    return Ok(None);
                }
            }
        }
        "macro" => only_own_defaults(source, rest)?,
        _ => {}
    }
    expression(source, rest, edits)?;
    Ok(None)
}

/// Refuses a macro whose defaults name other arguments: the engine would print nothing for them.
fn only_own_defaults(source: &str, tokens: &[Token]) -> Result<(), String> {
    let mut arguments: Vec<&str> = Vec::new();
    let mut is_default = false;
    for (index, token) in tokens
        .iter()
        .enumerate()
        .filter(|(_, token)| token.depth > 0)
    {
        let text = &source[token.start..token.end];
        match token.kind {
            Kind::Other('=') if token.depth == 1 => is_default = true,
            Kind::Other(',') if token.depth == 1 => is_default = false,
            Kind::Name if is_default && arguments.contains(&text) => {
                let is_attribute = index > 0 && tokens[index - 1].kind == Kind::Other('.');
                if !is_attribute {
                    return Err(format!(
                        "a macro's default names its argument `{text}`, which is not read here"
                    ));
                }
            }
            Kind::Name if !is_default && token.depth == 1 => arguments.push(text),
            _ => {}
        }
    }
    Ok(())
}

/// What is rewritten in an expression.
fn expression(source: &str, tokens: &[Token], edits: &mut Vec<Edit>) -> Result<(), String> {
    // The last colon with nothing but one part of a slice after it, by depth.
    let mut colon: Vec<Option<usize>> = Vec::new();
    for (index, token) in tokens.iter().enumerate() {
        let before = index.checked_sub(1).map(|index| tokens[index].kind);
        let next = tokens.get(index + 1).map(|next| next.kind);
        colon.resize(token.depth + 1, None);
        match token.kind {
            Kind::Other(':') => {
                let last = colon[token.depth].replace(index);
                let runs_to = last.is_some_and(|last| last + 1 < index);
                if runs_to && next == Some(Kind::Other('-')) {
                    return Err(
                        "a slice that runs backwards to a place is not read here".to_owned()
                    );
                }
            }
            Kind::Other(',') => colon[token.depth] = None,
            Kind::Other('%') if before == Some(Kind::Text) => {
                if let Some(end) = operand(&tokens[index + 1..]) {
                    edits.push((token.start, token.end, "|_filled("));
                    edits.push((end, end, ")"));
                }
            }
            // A tag's own marks stand at its ends.
            Kind::Other('+') if next.is_some() => {
                let is_sign = match before {
                    None => source[..token.start].ends_with(char::is_whitespace),
                    Some(Kind::Other(other)) => !")]}".contains(other),
                    Some(_) => false,
                };
                if is_sign {
                    edits.push((token.start, token.end, " "));
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// The end of an operand: a value with what is called, taken or filtered of it.
fn operand(tokens: &[Token]) -> Option<usize> {
    let mut index = 0;
    if matches!(tokens.first()?.kind, Kind::Other('-')) {
        index += 1;
    }
    // The place of the bracket that closes the one at `index`.
    let closing = |index: usize| {
        let depth = tokens[index].depth;
        let after = tokens.iter().enumerate().skip(index + 1);
        let mut closing = after.filter(|(_, token)| {
            token.depth == depth && matches!(token.kind, Kind::Other(')' | ']' | '}'))
        });
        closing.next().map(|(place, _)| place)
    };
    index = match tokens.get(index)?.kind {
        Kind::Other('(' | '[' | '{') => closing(index)?,
        Kind::Other(_) => return None,
        _ => index,
    };
    let mut end = tokens[index].end;
    while let Some(next) = tokens.get(index + 1) {
        index = match next.kind {
            Kind::Other('(' | '[') => closing(index + 1)?,
            Kind::Other('.' | '|') => {
                tokens
                    .get(index + 2)
                    .filter(|token| token.kind == Kind::Name)?;
                index + 2
            }
            _ => break,
        };
        end = tokens[index].end;
    }
    Some(end)
}

#[cfg(test)]
mod tests {
    use super::rewritten;

    #[test]
    fn what_jinja_reads_otherwise_is_written_otherwise() {
        for (before, after) in [
            ("a\r\nb\rc", "a\nb\nc"),
            (
                "{% generation %}x{%- endgeneration -%}",
                "{% with %}x{%- endwith -%}",
            ),
            (
                "{% raw %}\n{{ '%s' % x }}{% endraw %}{{ '%s' % x }}",
                "{% raw +%}\n{{ '%s' % x }}{% endraw %}{{ '%s' |_filled( x) }}",
            ),
            (
                "{%- raw -%} {{ {%- endraw -%}",
                "{%- raw -%} {{ {%- endraw -%}",
            ),
            ("{# '%s' % x #}", "{# '%s' % x #}"),
            ("{% for c in m.t if c %}", "{% for c in (m.t)|_each if c %}"),
            (
                "{%- for a, b in x[1:] -%}",
                "{%- for a, b in (x[1:])|_each -%}",
            ),
            (
                "{% for x in f(a if b else c) recursive %}",
                "{% for x in (f(a if b else c))|_each recursive %}",
            ),
            (
                "{{ '%s-%s' % (a, '%d' % b.c[1]|f(2)) ~ 'x' }}",
                "{{ '%s-%s' |_filled( (a, '%d' |_filled( b.c[1]|f(2)))) ~ 'x' }}",
            ),
            ("{{ 7 % 3 }}{{ a % b }}", "{{ 7 % 3 }}{{ a % b }}"),
            (
                "{{ {'a': {'b': '}}'}} }}{{ 1 + +2 }}",
                "{{ {'a': {'b': '}}'}} }}{{ 1 +  2 }}",
            ),
            (
                "{{ 'é' }}{% set x = 'a\\'b' %}",
                "{{ 'é' }}{% set x = 'a\\'b' %}",
            ),
        ] {
            assert_eq!(rewritten(before).unwrap(), after);
        }
        assert!(
            rewritten("{% macro f(a, b=a) %}{% endmacro %}")
                .unwrap_err()
                .contains("`a`")
        );
        assert!(
            rewritten("{{ x[2:0:-1] }}")
                .unwrap_err()
                .contains("backwards")
        );
        rewritten("{{ x[::-1] ~ x[-1::-1] ~ f({'a': b, 'c': -d}) }}").unwrap();
        rewritten("{% macro f(a, b=x.a, c='a', d=[1]) %}{% endmacro %}").unwrap();
        assert!(rewritten(&"x".repeat(300 << 10)).is_err());
        for cut in [
            "{",
            "{{",
            "{%",
            "{#",
            "{% raw",
            "{% raw %}{%",
            "{{ '",
            "{{ 'a\\",
            "{% for x in",
            "{{ 'a' %",
            "{{ 'a' % (",
            "{{ 'a' % x.",
        ] {
            rewritten(cut).unwrap();
        }
    }
}
