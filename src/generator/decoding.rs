//! What sampling may do besides drawing from the whole distribution.

use std::sync::Arc;

use crate::encoding::PromptEncoder;
use crate::model::decoder::Stop;
use crate::model::sampling::Filters;
use crate::rollout::Completion;

/// Filters, and strings that end a stage. Nothing of either by default.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Decoding {
    /// What is taken out of the distribution.
    pub filters: Filters,
    /// A stage ends before the first of these strings; they do not become part of it.
    pub stop: Vec<String>,
}

impl Decoding {
    pub(super) fn may_stop(&self) -> bool {
        !self.stop.is_empty()
    }

    /// Says whether a stage's tokens so far hold a stop string.
    pub(super) fn stop(&self, encoder: &Arc<PromptEncoder>) -> Option<Stop> {
        if !self.may_stop() {
            return None;
        }
        let (stops, encoder) = (self.stop.clone(), Arc::clone(encoder));
        // A token is a byte at least, so that a string that ends with the last token begins within as many.
        let longest = stops.iter().map(String::len).max().unwrap_or(0);
        Some(Arc::new(move |tokens: &[u32]| {
            let tail = &tokens[tokens.len().saturating_sub(longest + 1)..];
            let text = encoder.decode(tail);
            stops.iter().any(|stop| text.contains(stop.as_str()))
        }))
    }

    /// Ends a completion before the first stop string in it, as if the model had ended it there.
    pub(super) fn cut(&self, encoder: &PromptEncoder, completion: &mut Completion) {
        let found = self
            .stop
            .iter()
            .filter_map(|stop| completion.text.find(stop));
        let Some(end) = found.min() else {
            return;
        };
        completion.text.truncate(end);
        // The tokens whose text lies before the cut.
        let fits = |count: usize| {
            let text = encoder.decode(&completion.tokens[..count]);
            text.len() <= end && completion.text.starts_with(&text)
        };
        let kept = (0..completion.tokens.len()).rev().find(|&n| fits(n));
        let kept = kept.unwrap_or(0);
        completion.tokens.truncate(kept);
        completion.logprobs.truncate(kept);
        completion.tokens.push(encoder.end_token());
        completion.logprobs.push(0.0);
    }
}
