//! Trains the byte-level BPE tokenizer that ships with the embedded default model:
//! `cargo run --release --example train_tokenizer -- configs/tokenizer.json`.
//!
//! The corpus is what the tiny models read and write: statements, signatures, traces and tests of composed training
//! problems and of the written training problems. Nothing of the validation or report splits is in it.

use std::path::Path;

use anyhow::{Context, Result, anyhow};
use gauntlet::problems::compose::{Composer, Pool};
use gauntlet::problems::{Problem, Split, load_dir};
use gauntlet::prompts::SPECIAL_TOKENS;
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split as SplitAt, SplitPattern};
use tokenizers::{AddedToken, PreTokenizerWrapper, SplitDelimiterBehavior, TokenizerBuilder};

/// Vocabulary: large enough for a piece a word of our corpus, small enough that the embedding of a tiny model stays
/// a minor part of it.
const VOCAB_SIZE: usize = 2560;
/// Composed problems in the corpus.
const COMPOSED: u64 = 20_000;
/// A line break goes with the indent behind it, a word with the space or underscore before it, digits stand alone.
const PIECES: &str = r" ?_?\p{L}+| ?\p{N}|\n+ *| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";

fn main() -> Result<()> {
    let out = std::env::args()
        .nth(1)
        .context("usage: train_tokenizer OUT.json")?;
    let mut corpus: Vec<String> = Vec::new();
    let mut add = |problem: &Problem, tests: &[String]| {
        corpus.push(problem.statement.clone());
        corpus.extend(problem.signature.clone());
        corpus.extend(problem.trace.iter().flatten().cloned());
        corpus.extend(tests.iter().cloned());
    };
    let composer = Composer::new(0);
    for index in 0..COMPOSED {
        let draft = composer.draft(Pool::Train, index);
        let tests: Vec<String> = draft
            .inputs
            .iter()
            .take(3)
            .map(|args| literal_line(args))
            .collect();
        add(&draft.problem, &tests);
    }
    for problem in load_dir(Path::new("problems"))?
        .iter()
        .filter(|p| p.split == Split::Train)
    {
        let tests: Vec<String> = problem
            .tests
            .iter()
            .map(|test| literal_line(&test.args))
            .collect();
        // As often as a composed wording recurs.
        for _ in 0..24 {
            add(problem, &tests);
        }
    }
    let any = |e: tokenizers::Error| anyhow!(e.to_string());
    let split = SplitAt::new(
        SplitPattern::Regex(PIECES.into()),
        SplitDelimiterBehavior::Isolated,
        false,
    )
    .map_err(any)?;
    let bytes = ByteLevel::new(false, false, false);
    // No normalizer: what a model reads and writes is program text, byte for byte.
    let mut tokenizer = TokenizerBuilder::<_, tokenizers::NormalizerWrapper, _, _, _>::new()
        .with_model(BPE::default())
        .with_pre_tokenizer(Some(PreTokenizerWrapper::Sequence(Sequence::new(vec![
            split.into(),
            bytes.into(),
        ]))))
        .with_post_processor(Some(bytes))
        .with_decoder(Some(bytes))
        .build()
        .map_err(any)?;
    let mut trainer = BpeTrainer::builder()
        .vocab_size(VOCAB_SIZE)
        .min_frequency(4)
        .show_progress(false)
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .special_tokens(
            SPECIAL_TOKENS
                .iter()
                .map(|t| AddedToken::from(*t, true))
                .collect(),
        )
        .build();
    tokenizer
        .train(&mut trainer, corpus.iter())
        .map_err(any)?
        .save(&out, true)
        .map_err(any)?;
    println!(
        "{out}: {} tokens from {} texts",
        tokenizer.get_vocab_size(true),
        corpus.len()
    );
    Ok(())
}

fn literal_line(args: &[gauntlet_sandbox::Value]) -> String {
    gauntlet_sandbox::Value::Tuple(args.to_vec()).to_literal()
}
