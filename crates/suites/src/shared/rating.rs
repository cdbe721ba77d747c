//! Prompts for raters.

use crate::Rating;
use concord_readings::Prompt;

/// Prompts by the text that they are about, in their order; those about one text stand beside each other.
pub(crate) fn by_text(prompts: Vec<Prompt>, text_of: impl Fn(&str) -> String) -> Vec<Rating> {
    let mut ratings: Vec<Rating> = Vec::new();
    for prompt in prompts {
        let text = text_of(&prompt.id);
        match ratings.last_mut().filter(|last| last.text == text) {
            Some(last) => last.prompts.push(prompt),
            None => ratings.push(Rating {
                text,
                prompts: vec![prompt],
            }),
        }
    }
    ratings
}
