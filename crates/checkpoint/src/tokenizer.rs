//! Text to tokens and back.

use crate::CheckpointError;
use crate::guard::{bounded, bounded_for, guarded};
use crate::pieces::Pieces;
use crate::side_files::{Additions, Own, SideFiles};
use crate::tokenizer_class::rebuild;
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};
use tokenizers::models::bpe::{BPE, BpeTrainerBuilder};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{
    AddedToken, ModelWrapper, NormalizerWrapper, Tokenizer, TokenizerBuilder, TokenizerImpl,
};

/// The checkpoint's tokenizer with its own rule for the beginning of a text.
pub struct Vocabulary {
    path: PathBuf,
    tokenizer: Tokenizer,
    byte_level: bool,
    /// Whether a piece like `<0x0A>` is a byte.
    byte_fallback: bool,
    /// The tokens that the tokenizer itself puts before a text.
    before: Vec<u32>,
    vocab_size: usize,
    /// What was tokenised before, where texts may be cut.
    pieces: Option<Pieces>,
}

impl Vocabulary {
    /// Reads `tokenizer.json` and adds what the files beside it say. `vocab_size` is the number of embeddings. Returns the settings
    /// with special tokens as texts, and the digest of all that decides the tokens.
    ///
    /// # Errors
    /// [`CheckpointError::Tokenizer`].
    pub(crate) fn parse(
        path: &Path,
        bytes: &[u8],
        beside: &SideFiles,
        vocab_size: usize,
    ) -> Result<(Self, Map<String, Value>, String), CheckpointError> {
        let bad = |problem: String| CheckpointError::Tokenizer {
            path: path.to_owned(),
            problem,
        };
        let mut tokenizer = bounded_for(bytes.len(), || Tokenizer::from_bytes(bytes))
            .map_err(bad)?
            .map_err(|error| bad(error.to_string()))?;
        let mut digest = blake3::hash(bytes).to_hex().to_string();
        let added = tokenizer.get_added_tokens_decoder();
        let mut own = Own {
            added: added
                .iter()
                .map(|(id, token)| (*id, token.into()))
                .collect(),
            are_there: true,
            defaults: &[],
            padding: tokenizer
                .get_padding()
                .map(|padding| padding.pad_token.clone()),
        };
        let none = Map::new();
        let settings = beside.config.as_ref().unwrap_or(&none);
        let built = match &beside.model {
            Some(of) => rebuild(&tokenizer, of, settings).map_err(bad)?,
            None => None,
        };
        let is_built = built.is_some();
        if let Some(built) = built {
            tokenizer = built.tokenizer;
            (own.are_there, own.defaults) = (false, built.defaults);
            let both = format!("{digest}\n{}", built.name);
            digest = blake3::hash(both.as_bytes()).to_hex().to_string();
        }
        let additions = beside.additions(&own).map_err(bad)?;
        // Merges are left out at random while a model is trained, never when it is asked.
        if let ModelWrapper::BPE(model) = tokenizer.get_model()
            && model.dropout.is_some()
        {
            let mut model = model.clone();
            model.dropout = None;
            tokenizer.with_model(model);
        }
        tokenizer.set_encode_special_tokens(additions.splits_special);
        let is_said = is_built || !beside.are_absent();
        if is_said {
            let tokens = additions.tokens.iter().cloned();
            let tokens: Vec<AddedToken> = tokens.map(Into::into).collect();
            bounded_for(bytes.len(), || tokenizer.add_tokens(tokens))
                .map_err(bad)?
                .map_err(|error| bad(error.to_string()))?;
            if !additions.tokens.is_empty() || additions.splits_special {
                let all = (&additions.tokens, additions.splits_special, digest);
                digest = blake3::hash(json!(all).to_string().as_bytes())
                    .to_hex()
                    .to_string();
            }
        }
        // A tokenizer saved with padding or truncation would cut or fill prompts.
        tokenizer.with_padding(None);
        tokenizer
            .with_truncation(None)
            .map_err(|error| bad(error.to_string()))?;
        // Added tokens beyond the embedding are an error only where a prompt uses one: some checkpoints have them.
        let largest = tokenizer.get_vocab(false).into_values().max().unwrap_or(0);
        if largest as usize >= vocab_size {
            return Err(CheckpointError::TokenOutside {
                path: path.to_owned(),
                token: largest,
                vocabulary: vocab_size,
            });
        }
        // A decoder may be a sequence of which byte-level is one step.
        let decoder = tokenizer
            .get_decoder()
            .and_then(|decoder| serde_json::to_string(decoder).ok());
        let has_step = |step: &str| {
            let decoder = decoder.as_ref();
            decoder.is_some_and(|decoder| decoder.contains(step))
        };
        let mut vocabulary = Self {
            path: path.to_owned(),
            pieces: Pieces::of(&tokenizer),
            tokenizer,
            byte_level: has_step("\"ByteLevel\""),
            byte_fallback: has_step("\"ByteFallback\""),
            before: Vec::new(),
            vocab_size,
        };
        if is_said {
            vocabulary.has_named(&additions)?;
        }
        let (with, without) = (
            vocabulary.encode("a", true)?,
            vocabulary.encode("a", false)?,
        );
        let place = with
            .windows(without.len().max(1))
            .position(|window| window == without);
        if let Some(place) = place {
            vocabulary.before = with[..place].to_vec();
        }
        Ok((vocabulary, additions.settings, digest))
    }

    /// Refuses a token that has a name and is not one token, so that what writes it would be read as a text.
    fn has_named(&self, additions: &Additions) -> Result<(), CheckpointError> {
        if additions.splits_special {
            return Ok(());
        }
        for (name, text) in additions.named.iter().filter(|(_, text)| !text.is_empty()) {
            let id = self.tokenizer.token_to_id(text);
            let encoding = bounded(|| self.tokenizer.encode_fast(text.as_str(), false));
            let found = encoding.ok().and_then(Result::ok);
            if id.is_none() || found.map(|found| found.get_ids().to_vec()) != id.map(|id| vec![id])
            {
                return Err(CheckpointError::Tokenizer {
                    path: self.path.clone(),
                    problem: format!(
                        "`{name}` is `{text}`, which does not become the one token of that name"
                    ),
                });
            }
        }
        Ok(())
    }

    /// A byte-level BPE trained on texts, with these special tokens; for benches.
    ///
    /// # Errors
    /// [`CheckpointError::Tokenizer`].
    pub(crate) fn train(
        path: &Path,
        texts: Vec<String>,
        size: usize,
        special: &[&str],
        vocab_size: usize,
    ) -> Result<Self, CheckpointError> {
        let bad = |problem: String| CheckpointError::Tokenizer {
            path: path.to_owned(),
            problem,
        };
        let mut trainer = BpeTrainerBuilder::new()
            .show_progress(false)
            .vocab_size(size)
            .special_tokens(
                special
                    .iter()
                    .map(|text| AddedToken::from(*text, true))
                    .collect(),
            )
            .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
            .build();
        let mut tokenizer: TokenizerImpl<BPE, NormalizerWrapper, ByteLevel, ByteLevel, ByteLevel> =
            TokenizerBuilder::new()
                .with_model(BPE::default())
                .with_normalizer(None)
                .with_pre_tokenizer(Some(ByteLevel::new(false, true, true)))
                .with_post_processor(None)
                .with_decoder(Some(ByteLevel::default()))
                .build()
                .map_err(|error| bad(error.to_string()))?;
        tokenizer
            .train(&mut trainer, texts.into_iter())
            .map_err(|error| bad(error.to_string()))?;
        let text = tokenizer
            .to_string(false)
            .map_err(|error| bad(error.to_string()))?;
        let beside = SideFiles::default();
        let (vocabulary, ..) = Self::parse(path, text.as_bytes(), &beside, vocab_size)?;
        Ok(vocabulary)
    }

    /// How many tokens the embedding knows.
    pub fn size(&self) -> usize {
        self.vocab_size
    }

    /// The token that begins every text by the tokenizer's own rule, if it has one.
    pub fn bos(&self) -> Option<u32> {
        self.before.first().copied()
    }

    /// Tokenises a text, part by part where it may be cut.
    fn encode(&self, text: &str, special: bool) -> Result<Vec<u32>, CheckpointError> {
        match self.pieces.as_ref().filter(|_| !special) {
            Some(pieces) => pieces.tokens(text, |part| self.whole(part, false)),
            None => self.whole(text, special),
        }
    }

    /// Whether texts are tokenised part by part.
    #[cfg(test)]
    pub(crate) fn is_cut(&self) -> bool {
        self.pieces.is_some()
    }

    /// Tokenises a text as a whole.
    pub(crate) fn whole(&self, text: &str, special: bool) -> Result<Vec<u32>, CheckpointError> {
        let bad = |problem| CheckpointError::Tokenise {
            path: self.path.clone(),
            problem,
        };
        // A tokenizer that replaces a character by many, again and again, fills any memory.
        let encoding = bounded_for(8 * text.len(), || self.tokenizer.encode_fast(text, special))
            .map_err(bad)?
            .map_err(|error| bad(error.to_string()))?;
        let tokens = encoding.get_ids().to_vec();
        match tokens
            .iter()
            .find(|&&token| token as usize >= self.vocab_size)
        {
            Some(&token) => {
                let (path, vocabulary) = (self.path.clone(), self.vocab_size);
                Err(CheckpointError::TokenOutside {
                    path,
                    token,
                    vocabulary,
                })
            }
            None => Ok(tokens),
        }
    }

    /// Tokenises a text with the tokens that the tokenizer itself puts before one; those that the text itself begins with are not
    /// doubled, and an end-of-text token that would be added is left out, since more is to come.
    ///
    /// # Errors
    /// [`CheckpointError::Tokenise`], [`CheckpointError::TokenOutside`].
    pub fn text(&self, text: &str) -> Result<Vec<u32>, CheckpointError> {
        let tokens = self.encode(text, false)?;
        if tokens.starts_with(&self.before) {
            return Ok(tokens);
        }
        Ok([&self.before[..], &tokens].concat())
    }

    /// Tokenises a rendered conversation: its template writes all special tokens, and nothing is added.
    ///
    /// # Errors
    /// As [`Vocabulary::text`].
    pub fn rendered(&self, text: &str) -> Result<Vec<u32>, CheckpointError> {
        self.encode(text, false)
    }

    /// Whether the tokenizer itself puts a space before a text, as SentencePiece vocabularies do.
    pub fn begins_with_space(&self) -> bool {
        let tokens = self.encode("a", false).unwrap_or_default();
        tokens
            .first()
            .is_some_and(|token| self.token_text(*token).starts_with(' '))
    }

    /// Tokenises a text on its own, without special tokens.
    ///
    /// # Errors
    /// As [`Vocabulary::text`].
    pub fn continuation(&self, text: &str) -> Result<Vec<u32>, CheckpointError> {
        self.encode(text, false)
    }

    /// A token as text; bytes that are no UTF-8 become replacement characters, an unknown id is empty.
    pub fn token_text(&self, token: u32) -> String {
        let Some(piece) = self.tokenizer.id_to_token(token) else {
            return String::new();
        };
        match self.level_bytes(&piece) {
            Some(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            None => piece.replace('▁', " "),
        }
    }

    /// What a token adds to a text, in bytes, which may be a part of a character; none where it is a mark, such as the end of a turn, or
    /// unknown.
    pub fn token_bytes(&self, token: u32) -> Option<Vec<u8>> {
        let piece = self.tokenizer.id_to_token(token)?;
        if self.is_special(token) {
            return None;
        }
        if self.byte_fallback
            && let Some(byte) = fallback_byte(&piece)
        {
            return Some(vec![byte]);
        }
        let bytes = self.level_bytes(&piece);
        Some(bytes.unwrap_or_else(|| piece.replace('▁', " ").into_bytes()))
    }

    /// The bytes of a piece of a byte-level vocabulary.
    fn level_bytes(&self, piece: &str) -> Option<Vec<u8>> {
        let bytes = || piece.chars().map(byte_of).collect();
        self.byte_level.then(bytes).flatten()
    }

    /// Tokens as text, special ones left out. Bytes that are no UTF-8 become replacement characters.
    ///
    /// # Errors
    /// [`CheckpointError::Tokenise`].
    pub fn decode(&self, tokens: &[u32]) -> Result<String, CheckpointError> {
        let bad = |problem| CheckpointError::Tokenise {
            path: self.path.clone(),
            problem,
        };
        guarded(|| self.tokenizer.decode(tokens, true))
            .map_err(bad)?
            .map_err(|error| bad(error.to_string()))
    }

    /// A text that is these tokens again, special ones as they are written; none where there is no such text.
    pub fn text_of(&self, tokens: &[u32]) -> Option<String> {
        let mut bytes = Vec::new();
        for token in tokens {
            match self.token_bytes(*token) {
                Some(of_token) => bytes.extend(of_token),
                None => bytes.extend(self.tokenizer.id_to_token(*token)?.into_bytes()),
            }
        }
        let text = String::from_utf8(bytes).ok()?;
        // A tokenizer that puts a space before a text does so again.
        let shorter = text.strip_prefix(' ');
        let is_it = |text: &&str| self.encode(text, false).is_ok_and(|found| found == tokens);
        let found = [Some(text.as_str()), shorter]
            .into_iter()
            .flatten()
            .find(is_it);
        found.map(str::to_owned)
    }

    /// The id of the token that is written like this.
    pub(crate) fn token(&self, text: &str) -> Option<u32> {
        self.tokenizer.token_to_id(text)
    }

    /// Whether a token is no text but a mark, such as the end of a turn.
    pub(crate) fn is_special(&self, token: u32) -> bool {
        let added = self.tokenizer.get_added_vocabulary();
        let tokens = added.get_added_tokens_decoder();
        tokens.get(&token).is_some_and(|added| added.special)
    }

    /// The text of every token of the embedding, by id.
    pub fn texts(&self) -> Vec<String> {
        (0..self.vocab_size)
            .map(|token| {
                u32::try_from(token).map_or_else(|_| String::new(), |id| self.token_text(id))
            })
            .collect()
    }
}

/// The byte that byte-level BPE writes as this character: printable bytes as themselves, the rest from U+0100 on.
///
/// # Source
/// `bytes_to_unicode` of the GPT-2 encoder (Radford et al. 2019).
fn byte_of(character: char) -> Option<u8> {
    let printable = |code: u32| matches!(code, 0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF);
    let code = u32::from(character);
    if code < 0x100 {
        return if printable(code) {
            u8::try_from(code).ok()
        } else {
            None
        };
    }
    (0u8..=255)
        .filter(|byte| !printable(u32::from(*byte)))
        .nth(usize::try_from(code - 0x100).ok()?)
}

/// The byte that SentencePiece writes as this piece: `<0x0A>` is a line break.
fn fallback_byte(piece: &str) -> Option<u8> {
    let digits = piece.strip_prefix("<0x")?.strip_suffix('>')?;
    let is_byte = digits.len() == 2 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    is_byte.then(|| u8::from_str_radix(digits, 16).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_survive_the_byte_level_alphabet() {
        assert_eq!(byte_of('A'), Some(b'A'));
        assert_eq!(byte_of('Ġ'), Some(b' '));
        assert_eq!(byte_of('Ċ'), Some(b'\n'));
        assert_eq!(byte_of('Ń'), Some(0xAD));
        assert_eq!(byte_of(' '), None);
        assert_eq!(byte_of('字'), None);
    }

    #[test]
    fn a_byte_is_written_in_two_digits() {
        assert_eq!(fallback_byte("<0x0A>"), Some(10));
        assert_eq!(fallback_byte("<0xfF>"), Some(255));
        for other in ["<0x0>", "<0x00A>", "<0x+1>", "<0x0A", "0A", ""] {
            assert_eq!(fallback_byte(other), None);
        }
    }
}
