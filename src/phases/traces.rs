//! Texts to imitate: reference traces and right chains, as token sequences.

use crate::encoding::{EncodingError, PromptEncoder};
use crate::problems::Problem;
use crate::prompts::Format;
use crate::source::ProblemSource;
use crate::stage::Stage;
use crate::update::Example;

/// The text that the generator imitates for one problem: the prompt, then each of `stages` with its opening. A problem
/// without a trace gives nothing to imitate.
pub fn trace_example(
    encoder: &PromptEncoder,
    problem: &Problem,
    stages: &[Stage],
) -> Result<Option<Example>, EncodingError> {
    let Some(trace) = &problem.trace else {
        return Ok(None);
    };
    let signature = PromptEncoder::shown_signature(problem);
    chain_example(encoder, (&problem.statement, signature), trace, stages).map(Some)
}

/// As [`trace_example`], for a problem's statement and the signature that its prompt shows, and the text of each stage.
pub fn chain_example(
    encoder: &PromptEncoder,
    (statement, signature): (&str, Option<&str>),
    texts: &[String; Stage::COUNT],
    stages: &[Stage],
) -> Result<Example, EncodingError> {
    let mut tokens = encoder.problem(statement, signature)?;
    let from = tokens.len();
    for &stage in stages {
        let text = &texts[stage.index()];
        let opening = encoder.code_opening(signature)?;
        match text.strip_prefix(&opening.header) {
            Some(rest) if stage == Stage::Code && encoder.format() == Format::Plain => {
                tokens.extend(opening.tokens);
                tokens.extend(encoder.encode_completion(rest)?);
            }
            // Code that opens otherwise, with an import, is imitated whole.
            _ => {
                tokens.extend(encoder.stage_opening(stage, tokens.len() == from));
                tokens.extend(encoder.encode_completion(text)?);
            }
        }
    }
    Ok(Example { tokens, from })
}

/// What a generator imitates at one step, which is its own for each player.
pub fn generator_batch(
    source: &ProblemSource,
    encoder: &PromptEncoder,
    stages: &[Stage],
    step: u64,
    batch_size: usize,
) -> Result<Vec<Example>, EncodingError> {
    let first = step * batch_size as u64;
    (first..first + batch_size as u64)
        .filter_map(|index| trace_example(encoder, &source.example(index), stages).transpose())
        .collect()
}

#[cfg(test)]
mod tests {
    use crate::model::Tokenizer;
    use crate::model::tokenizer::EMBEDDED;
    use crate::problems::compose::{Composer, Pool};
    use crate::prompts::Prompts;

    use super::*;

    #[test]
    fn a_header_in_the_opening_changes_no_token_of_the_text() {
        let tokenizer = Tokenizer::from_json(EMBEDDED).unwrap();
        let encoder = PromptEncoder::new(tokenizer, Prompts::plain()).unwrap();
        let composer = Composer::new(0);
        let mut headers = 0;
        for index in 0..60 {
            let problem = composer.draft(Pool::Train, index).problem;
            let header = encoder.problem_code_opening(&problem).unwrap().header;
            let trace = problem.trace.as_ref().unwrap();
            headers += usize::from(trace[4].starts_with(&header) && !header.is_empty());
            let mut plain = encoder.problem_prompt(&problem).unwrap();
            for stage in Stage::ALL {
                plain.extend(encoder.stage_opening(stage, false));
                let text = &trace[stage.index()];
                plain.extend(encoder.encode_completion(text).unwrap());
            }
            let example = trace_example(&encoder, &problem, &Stage::ALL)
                .unwrap()
                .unwrap();
            assert_eq!(example.tokens, plain, "{}", problem.id);
        }
        assert!(headers > 30, "{headers} of 60 problems show a signature");
    }
}
