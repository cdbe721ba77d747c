//! Files of servers. Servers themselves are asked in the program's tests.

use super::{ServerFile, by_text};

const GOOD: &str = "url = \"http://127.0.0.1:8000/v1/\"\nmodel = \"m\"\ntokenizer = \"words\"\n";

#[test]
fn what_is_not_said_is_as_usual() {
    let file = ServerFile::parse(GOOD).unwrap();
    assert_eq!(file.url, "http://127.0.0.1:8000/v1");
    assert_eq!((file.at_once, file.attempts, file.seconds), (16, 6, 120));
    assert!(file.exact && file.key.is_none() && file.logprobs.is_none());
}

#[test]
fn keys_are_sent_where_nobody_listens() {
    for (host, is_sent) in [
        ("http://127.0.0.1:1", true),
        ("http://localhost", true),
        ("http://[::1]:8000", true),
        ("https://example.org", true),
        ("http://example.org", false),
        ("http://127.0.0.1.example.org", false),
        ("http://localhost.example.org", false),
        ("http://10.0.0.1", false),
    ] {
        let text = GOOD.replace("http://127.0.0.1:8000", host) + "key = \"THE_KEY\"\n";
        assert_eq!(ServerFile::parse(&text).is_ok(), is_sent, "{host}");
    }
}

#[test]
fn no_message_repeats_a_secret() {
    for text in [
        GOOD.replace("127", "user:hunter2@127"),
        GOOD.to_owned() + "key = \"sk-hunter2\"\n",
        GOOD.to_owned() + "key = \"hf_hunter2\"\n",
        GOOD.to_owned() + "key = \"\"\n",
    ] {
        let problem = ServerFile::parse(&text).unwrap_err();
        assert!(!problem.contains("hunter2"), "{problem}");
    }
    let problem = ServerFile::parse(&(GOOD.to_owned() + "kye = 1\n")).unwrap_err();
    assert!(
        problem.starts_with("line 4: unknown field `kye`"),
        "{problem}"
    );
}

#[test]
fn tokens_that_a_server_may_write_alike_are_not_told_apart() {
    let texts = [
        "a",
        "い",
        "\u{FFFD}い",
        "\u{FFFD}",
        "\u{FFFD}\u{FFFD}",
        " a",
        "a",
    ];
    let known = by_text(texts.map(str::to_owned).into());
    for (text, is_one, first) in [
        ("a", false, 0),
        ("い", false, 1),
        ("\u{FFFD}い", true, 2),
        ("\u{FFFD}", true, 3),
        ("", false, 3),
        (" a", true, 5),
    ] {
        let shared = known[text];
        assert_eq!((shared.is_one, shared.first), (is_one, first), "{text:?}");
    }
}
