//! Right chains of the generators' own, kept to be imitated as reference traces are.
//!
//! One line of `own_chains.jsonl` is one [`OwnChain`]; reading the file back gives the same list, in the same order.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::stage::Stage;

/// A chain that passed every test it met, with what a prompt shows of its problem.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OwnChain {
    /// The problem's id.
    pub problem: String,
    /// The task in words.
    pub statement: String,
    /// The header of the wanted function, where the prompt showed one.
    pub signature: Option<String>,
    /// The text of each stage; empty where none was written.
    pub chain: [String; Stage::COUNT],
    /// The round of self-training it was sampled in, from 0.
    pub round: u64,
}

/// A line that is no chain.
#[derive(Debug, Error)]
#[error("own chains, line {line}")]
pub struct OwnChainsError {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub source: serde_json::Error,
}

/// The chains as JSONL.
pub fn to_jsonl(chains: &[OwnChain]) -> String {
    let line = |chain| serde_json::to_string(chain).expect("a chain is plain data") + "\n";
    chains.iter().map(line).collect()
}

/// The chains of a JSONL text.
pub fn read_jsonl(text: &str) -> Result<Vec<OwnChain>, OwnChainsError> {
    let lines = text.lines().enumerate();
    lines
        .map(|(index, line)| {
            serde_json::from_str(line).map_err(|source| OwnChainsError {
                line: index + 1,
                source,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chains_survive_their_file_and_a_bad_line_is_named() {
        let chain = |problem: &str, signature: Option<&str>| OwnChain {
            problem: problem.into(),
            statement: "Say \"é\"\nand stop.".into(),
            signature: signature.map(str::to_owned),
            chain: Stage::ALL.map(|stage| stage.name().to_owned()),
            round: 1,
        };
        let chains = vec![chain("a/b", None), chain("a/c", Some("def f(x)"))];
        let text = to_jsonl(&chains);
        assert_eq!(read_jsonl(&text).unwrap(), chains);
        let error = read_jsonl(&(text + "{\"problem\": 1}\n")).unwrap_err();
        assert_eq!(error.line, 3);
        assert!(
            error.source.to_string().contains("string"),
            "{}",
            error.source
        );
    }
}
