//! What is asked, in short: a digest of each prompt, and one of all.

use crate::ScorerError;
use crate::labels::LabelTable;
use crate::plan::{Branch, Number, branch, written};
use crate::spelling::Alphabet;
use crate::strings::strings_plans;
use crate::tokenised::{tokenise, tokens_of};

use concord_checkpoint::Snapshot;
use concord_readings::{End, Prompt, PromptDigest, Read, Sampling};
use rayon::prelude::*;

/// How numbers are computed: raised where the same program computes other bits than before on the same machine.
pub const NUMERICS: u32 = 2;

/// A hash of values that cannot run into each other: texts and lists stand after their lengths.
struct Hash(blake3::Hasher);

impl Hash {
    fn number(&mut self, number: usize) {
        self.0.update(&(number as u64).to_le_bytes());
    }

    fn text(&mut self, text: &str) {
        self.number(text.len());
        self.0.update(text.as_bytes());
    }

    fn texts(&mut self, texts: &[String]) {
        self.number(texts.len());
        for text in texts {
            self.text(text);
        }
    }

    fn tokens(&mut self, tokens: &[u32]) {
        self.number(tokens.len());
        let bytes: Vec<u8> = tokens
            .iter()
            .flat_map(|token| token.to_le_bytes())
            .collect();
        self.0.update(&bytes);
    }

    fn read(&mut self, read: &Read) {
        match read {
            Read::NextToken { labels, openings } => {
                self.number(0);
                self.texts(labels);
                self.texts(openings);
            }
            Read::Continuation { text } => {
                self.number(1);
                self.text(text);
            }
            Read::Strings(strings) => {
                self.number(2);
                self.texts(&strings.texts);
                self.texts(&strings.leads);
                self.number(strings.end as usize);
            }
            Read::Generation(sampling) => {
                self.number(3);
                self.sampling(sampling);
            }
        }
    }

    fn sampling(&mut self, sampling: &Sampling) {
        self.number(sampling.max_tokens);
        for setting in [sampling.temperature, sampling.top_p] {
            self.0.update(&setting.to_bits().to_le_bytes());
        }
        self.0.update(&sampling.seed.to_le_bytes());
        self.texts(&sampling.stop);
    }

    fn end(&self) -> PromptDigest {
        let mut digest = [0; 16];
        digest.copy_from_slice(&self.0.finalize().as_bytes()[..16]);
        PromptDigest(digest)
    }
}

/// A hash of a prompt's tokens and of what is asked for after them, as texts.
fn of_prompt(prompt: &Prompt, tokens: &[u32]) -> Hash {
    let mut hash = Hash(blake3::Hasher::new());
    hash.text("prompt");
    hash.number(NUMERICS as usize);
    hash.tokens(tokens);
    hash.number(prompt.reads.len());
    for read in &prompt.reads {
        hash.read(read);
        // What is drawn follows from the prompt's name as well.
        if matches!(read, Read::Generation(sampling) if sampling.temperature > 0.0) {
            hash.text(&prompt.id);
        }
    }
    hash
}

/// The digest of a prompt that is read after, with the tokens in which everything is read.
pub(crate) fn of_read(
    prompt: &Prompt,
    tokens: &[u32],
    branches: &[Branch],
    ends: &Ends,
) -> PromptDigest {
    let mut hash = of_prompt(prompt, tokens);
    for branch in branches {
        hash.tokens(branch.base.as_deref().unwrap_or_default());
        hash.tokens(&branch.appended);
        hash.number(branch.reads.len());
        for ahead in &branch.reads {
            hash.number(ahead.rows);
            hash.number(ahead.slot as usize);
            match ahead.number {
                Number::Token(token) => hash.tokens(&[token]),
                Number::Ended(end) => drop(hash.0.update(ends.of(end))),
            }
        }
    }
    hash.end()
}

/// Digests of the tokens that decide whether a text ends.
#[derive(Default)]
pub(crate) struct Ends([[u8; 32]; 2]);

impl Ends {
    pub fn new(alphabet: &Alphabet) -> Self {
        Self([End::Digit, End::Letter].map(|end| {
            let mut hash = Hash(blake3::Hasher::new());
            hash.number(end as usize);
            hash.tokens(alphabet.deciding(end));
            *hash.0.finalize().as_bytes()
        }))
    }

    fn of(&self, end: End) -> &[u8] {
        match end {
            End::Any => &[],
            End::Digit => &self.0[0],
            End::Letter => &self.0[1],
        }
    }
}

/// The digest of each prompt, whether it is read or written after.
///
/// # Errors
/// [`ScorerError`] naming the prompt, or what no token spells.
pub fn prompt_digests(
    snapshot: &Snapshot,
    table: &LabelTable,
    prompts: &[Prompt],
) -> Result<Vec<PromptDigest>, ScorerError> {
    let is_written = |prompt: &Prompt| matches!(prompt.reads[..], [Read::Generation(_)]);
    let strings = strings_plans(&snapshot.vocabulary, table, prompts);
    let written = written(snapshot, table, prompts, strings, true)?;
    let ends = Ends::new(&written.alphabet);
    let end_tokens = snapshot.end_tokens();
    let digests = prompts.par_iter().map(|prompt| {
        if is_written(prompt) {
            let (_, tokens) = tokens_of(snapshot, prompt)?;
            let mut hash = of_prompt(prompt, &tokens);
            // What ends a text is written nowhere in its prompt.
            hash.tokens(&end_tokens);
            return Ok(hash.end());
        }
        let tokenised = tokenise(snapshot, prompt, &written.strings)?;
        let (_, branches) = branch(prompt, &tokenised, &written);
        Ok(of_read(prompt, &tokenised.prompt, &branches, &ends))
    });
    digests.collect()
}

/// One digest of prompts in their order, with their names.
pub fn digest_of_all<'a>(
    prompts: impl IntoIterator<Item = (&'a str, PromptDigest)>,
) -> PromptDigest {
    let mut hash = Hash(blake3::Hasher::new());
    hash.text("prompts");
    for (id, digest) in prompts {
        hash.text(id);
        hash.0.update(&digest.0);
    }
    hash.end()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Plan;
    use concord_checkpoint::demo_pair;
    use concord_readings::{Input, Strings};
    use std::collections::BTreeSet;

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    fn strings(of: &[&str], leads: &[&str], end: End) -> Read {
        Read::Strings(Strings {
            texts: texts(of),
            leads: texts(leads),
            end,
        })
    }

    fn labels(labels: &[&str], openings: &[&str]) -> Read {
        Read::NextToken {
            labels: texts(labels),
            openings: texts(openings),
        }
    }

    fn continuation(text: &str) -> Read {
        let text = text.to_owned();
        Read::Continuation { text }
    }

    fn prompt(id: &str, text: &str, reads: Vec<Read>) -> Prompt {
        Prompt {
            id: id.to_owned(),
            input: Input::Text(text.to_owned()),
            reads,
        }
    }

    /// Prompts of which each is to have a digest of its own.
    fn different() -> Vec<Prompt> {
        let sampling = Sampling::greedy(4);
        let written = |change: &dyn Fn(&mut Sampling)| {
            let mut sampling = sampling.clone();
            change(&mut sampling);
            vec![Read::Generation(sampling)]
        };
        let reads = vec![
            vec![labels(&["A", "B"], &[])],
            vec![labels(&["B", "A"], &[])],
            vec![labels(&["A", "B"], &["("])],
            vec![labels(&["A"], &[])],
            vec![continuation(" yes")],
            vec![continuation(" no")],
            vec![continuation(" yes"), continuation(" no")],
            vec![labels(&["A"], &[]), continuation(" yes")],
            vec![strings(&["1", "2"], &[""], End::Digit)],
            vec![strings(&["1", "2"], &[""], End::Letter)],
            vec![strings(&["1", "2"], &[""], End::Any)],
            vec![strings(&["2", "1"], &[""], End::Digit)],
            vec![strings(&["1", "2"], &["", " "], End::Digit)],
            written(&|_| ()),
            written(&|sampling| sampling.max_tokens = 5),
            written(&|sampling| sampling.temperature = 1.0),
            written(&|sampling| sampling.top_p = 0.5),
            written(&|sampling| sampling.seed = 1),
            written(&|sampling| sampling.stop = texts(&["."])),
        ];
        let of_text = |text: &'static str| {
            let reads = reads.clone().into_iter().enumerate();
            reads.map(move |(number, reads)| prompt(&format!("{text}{number}"), text, reads))
        };
        of_text("Is the sun hot?")
            .chain(of_text("Is the sun hot"))
            .collect()
    }

    #[test]
    fn a_prompt_has_its_digest_in_any_company_and_any_change_gives_another() {
        let [base, _] = demo_pair().unwrap();
        let table = LabelTable::new(&base.vocabulary);
        let of = |prompts: &[Prompt]| prompt_digests(&base, &table, prompts).unwrap();
        let prompts = different();
        let together = of(&prompts);
        let distinct: BTreeSet<&PromptDigest> = together.iter().collect();
        assert_eq!(distinct.len(), prompts.len());
        for (prompt, digest) in prompts.iter().zip(&together) {
            assert_eq!(of(std::slice::from_ref(prompt)), [*digest], "{prompt:?}");
        }
        let reversed: Vec<Prompt> = prompts.iter().rev().cloned().collect();
        assert!(of(&reversed).iter().eq(together.iter().rev()));
        // A name is none of it, where no draw follows from it.
        let renamed = |temperature: f64| {
            let mut sampling = Sampling::greedy(4);
            sampling.temperature = temperature;
            let named = |id| prompt(id, "a", vec![Read::Generation(sampling.clone())]);
            let both = of(&[named("x"), named("y")]);
            both[0] == both[1]
        };
        assert!(renamed(0.0) && !renamed(1.0));
        let named = |id| prompt(id, "a", vec![labels(&["A"], &[])]);
        let both = of(&[named("x"), named("y")]);
        assert_eq!(both[0], both[1]);
    }

    #[test]
    fn a_plan_has_the_digests_of_its_prompts() {
        let [base, _] = demo_pair().unwrap();
        let table = LabelTable::new(&base.vocabulary);
        let is_read = |prompt: &Prompt| !matches!(prompt.reads[0], Read::Generation(_));
        let prompts: Vec<Prompt> = different().into_iter().filter(is_read).collect();
        let expected = prompt_digests(&base, &table, &prompts).unwrap();
        let plan = Plan::new(&base, &table, &prompts).unwrap();
        let found: Vec<PromptDigest> = plan.digests().map(|(_, digest)| digest).collect();
        assert_eq!(found, expected);
        let whole = digest_of_all(plan.digests());
        let fewer = Plan::new(&base, &table, &prompts[1..]).unwrap();
        assert_ne!(digest_of_all(fewer.digests()), whole);
        let ids = prompts.iter().map(|prompt| prompt.id.as_str());
        let swapped: Vec<(&str, PromptDigest)> = ids.rev().zip(expected).collect();
        assert_ne!(digest_of_all(swapped), whole);
    }

    #[test]
    fn the_text_of_a_digest_stays_the_same_as_long_as_numerics_do() {
        let [base, _] = demo_pair().unwrap();
        let table = LabelTable::new(&base.vocabulary);
        let one = prompt("x", "Is the sun hot?", vec![labels(&["A", "B"], &["("])]);
        let digest = prompt_digests(&base, &table, &[one]).unwrap()[0];
        assert_eq!(digest.to_string(), "66d8416024fc64de740f78a0ce00d586");
    }
}
