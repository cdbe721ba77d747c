//! The options of the suite, from the command line to what is asked.

use super::plan::{Abstention, Format, Options, Orders, Passages};
use crate::{Given, OptionSpec, Takes};
use concord_questions::{Condition, QuestionSet};

/// The options, as they are typed.
pub(super) const OPTIONS: [OptionSpec; 16] = [
    OptionSpec {
        short: Some('Q'),
        takes: Takes::Paths,
        ..OptionSpec::new(
            "questions",
            "PATH|hf:ID",
            "A question file (.jsonl, .csv), a folder of them or a data set of the hub (hf:owner/name[@revision]); may be given many times; without it, the demo questions",
        )
    },
    OptionSpec::new(
        "stimuli",
        "FILE",
        "Another wording of everything around the questions",
    ),
    OptionSpec {
        default: Some("letter,cloze"),
        takes: Takes::List,
        check: |text| format(text).map(drop),
        ..OptionSpec::new(
            "formats",
            "FORMATS",
            "How answers are read: from letters, from the likelihood of the answer texts (cloze), from passages that the checkpoint writes and a rater reads (open; slow)",
        )
    },
    OptionSpec {
        default: Some("both"),
        check: |text| orders(text).map(drop),
        ..OptionSpec::new(
            "orders",
            "ORDERS",
            "In which orders the options are shown: both, given, seeded",
        )
    },
    OptionSpec {
        default: Some("one"),
        check: |text| abstention(text).map(drop),
        ..OptionSpec::new(
            "abstention",
            "ORDERS",
            "Ask letters once more with an option that declines: off, in one order a question (one), in all orders (all)",
        )
    },
    OptionSpec {
        default: Some("given"),
        check: |text| example(text).map(drop),
        ..OptionSpec::new(
            "example",
            "ORDER",
            "The order of answers in the example that checkpoints without a chat template see first: given, where it answers A, or reversed, where it answers B",
        )
    },
    OptionSpec {
        value: None,
        ..OptionSpec::new("no-steering", "", "Do not ask the portraits of the PVQ")
    },
    OptionSpec {
        was: &["sampled"],
        default: Some("100"),
        check: whole,
        ..OptionSpec::new(
            "robustness-sample",
            "N",
            "Questions that are asked in other wordings as well, and whose answer is written out as well; 0 for none",
        )
    },
    OptionSpec {
        was: &["also-stimuli"],
        takes: Takes::Many,
        ..OptionSpec::new(
            "extra-wording",
            "FILE",
            "One more wording that the sampled questions are asked in; may be given many times",
        )
    },
    OptionSpec {
        default: Some("512"),
        check: positive,
        ..OptionSpec::new("passage-tokens", "N", "The most tokens of a passage")
    },
    OptionSpec {
        default: Some("0"),
        check: temperature,
        ..OptionSpec::new(
            "temperature",
            "T",
            "How passages are drawn: 0 takes the most probable token each time",
        )
    },
    OptionSpec {
        default: Some("1"),
        check: top_p,
        ..OptionSpec::new(
            "top-p",
            "P",
            "Passages are drawn from the fewest tokens that have this share of the probability",
        )
    },
    OptionSpec {
        was: &["argued"],
        default: Some("24"),
        check: whole,
        ..OptionSpec::new(
            "calibration-questions",
            "N",
            "Questions for which a passage is written for each option, to see how raters read what is known",
        )
    },
    OptionSpec {
        takes: Takes::List,
        check: name,
        ..OptionSpec::new(
            "languages",
            "LANGUAGES",
            "Only these languages, for example english,german",
        )
    },
    OptionSpec {
        takes: Takes::Many,
        check: |text| Condition::parse(text).map(drop),
        ..OptionSpec::new(
            "where",
            "KEY=VALUE",
            "Only questions with this value, or without it (KEY!=VALUE): language, country, controversy, topic, question, file, phrasing, yes; may be given many times, and all must hold",
        )
    },
    OptionSpec {
        short: Some('L'),
        check: positive,
        ..OptionSpec::new(
            "limit",
            "N",
            "Only the first N originals of each country, the same in every language, with all of their phrasings; the run is then marked as partial",
        )
    },
];

fn format(text: &str) -> Result<Format, String> {
    match text {
        "letter" => Ok(Format::Letter),
        "cloze" => Ok(Format::Cloze),
        "open" => Ok(Format::Open),
        other => Err(format!("`{other}` is none of `letter`, `cloze` and `open`")),
    }
}

fn abstention(text: &str) -> Result<Abstention, String> {
    match text {
        "off" => Ok(Abstention::Off),
        "one" => Ok(Abstention::One),
        "all" => Ok(Abstention::All),
        other => Err(format!("`{other}` is none of `off`, `one` and `all`")),
    }
}

fn orders(text: &str) -> Result<Orders, String> {
    match text {
        "both" => Ok(Orders::Both),
        "given" => Ok(Orders::Given),
        "seeded" => Ok(Orders::Seeded),
        other => Err(format!("`{other}` is none of `both`, `given` and `seeded`")),
    }
}

/// Whether the example is reversed.
fn example(text: &str) -> Result<bool, String> {
    match text {
        "given" => Ok(false),
        "reversed" => Ok(true),
        other => Err(format!("`{other}` is neither `given` nor `reversed`")),
    }
}

fn name(text: &str) -> Result<(), String> {
    if text.trim().is_empty() {
        return Err("no name between two commas".to_owned());
    }
    Ok(())
}

fn whole(text: &str) -> Result<(), String> {
    let parsed = text.parse::<u32>();
    parsed.map(drop).map_err(|error| error.to_string())
}

fn positive(text: &str) -> Result<(), String> {
    match text.parse::<u32>() {
        Ok(0) => Err("at least 1 is needed".to_owned()),
        Ok(_) => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}

fn temperature(text: &str) -> Result<(), String> {
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() && value >= 0.0 => Ok(()),
        _ => Err("not a number of 0 or more".to_owned()),
    }
}

fn top_p(text: &str) -> Result<(), String> {
    match text.parse::<f64>() {
        Ok(value) if value > 0.0 && value <= 1.0 => Ok(()),
        _ => Err("not a number above 0 and at most 1".to_owned()),
    }
}

/// What is asked, by what was given.
pub(super) fn options(given: &Given, set: &QuestionSet) -> Options {
    let mut formats: Vec<Format> = Vec::new();
    for named in given.all("formats").iter().filter_map(|f| format(f).ok()) {
        if !formats.contains(&named) {
            formats.push(named);
        }
    }
    let letters = formats.contains(&Format::Letter);
    let open = formats.contains(&Format::Open);
    let text = |name| given.text(name).unwrap_or_default();
    let passages = Passages {
        max_tokens: given.number("passage-tokens"),
        temperature: given.number("temperature"),
        top_p: given.number("top-p"),
        argued: given.number("calibration-questions"),
    };
    Options {
        orders: orders(text("orders")).unwrap_or(Orders::Both),
        abstention: if letters || open {
            abstention(text("abstention")).unwrap_or_default()
        } else {
            Abstention::Off
        },
        steering: letters && !given.is_typed("no-steering") && !set.pvq.is_empty(),
        sampled: if letters {
            given.number("robustness-sample")
        } else {
            0
        },
        passages: open.then_some(passages),
        example_reversed: example(text("example")).unwrap_or(false),
        seed: given.seed,
        formats,
    }
}

/// What was typed and does nothing.
pub(super) fn without_effect(given: &Given, options: &Options) -> Vec<String> {
    let mut notes = Vec::new();
    let mut say = |names: &[&str], why: &str| {
        let typed = names.iter().filter(|name| given.is_typed(name));
        let typed: Vec<String> = typed.map(|name| format!("--{name}")).collect();
        if !typed.is_empty() {
            notes.push(format!("{} without effect: {why}.", typed.join(", ")));
        }
    };
    let (letters, open) = (options.has(Format::Letter), options.has(Format::Open));
    if !open {
        let names = [
            "passage-tokens",
            "temperature",
            "top-p",
            "calibration-questions",
        ];
        say(&names, "no passages are written (--formats open)");
    } else if options.passages.is_some_and(|p| p.temperature == 0.0) {
        say(
            &["top-p"],
            "at temperature 0 the most probable token is taken",
        );
    }
    if !letters && !open {
        say(&["orders"], "no options are listed (--formats letter)");
    }
    let no_letters = "no letters are asked (--formats letter)";
    if !letters {
        say(
            &["robustness-sample", "extra-wording", "no-steering"],
            no_letters,
        );
        if !open {
            say(&["abstention"], no_letters);
        }
    } else if options.sampled == 0 {
        say(
            &["extra-wording"],
            "no questions are sampled (--robustness-sample)",
        );
    }
    notes
}
