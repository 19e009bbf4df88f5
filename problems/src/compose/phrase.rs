//! Fills the templates of operations and bends their verbs.

use super::names::Names;
use super::op::Kind;
use super::plan::Step;

/// The nouns for what a sequence holds, and for the sequence.
#[derive(Debug, Clone, Copy)]
pub(super) struct Nouns {
    pub one: &'static str,
    pub many: &'static str,
    pub container: &'static str,
}

const fn nouns(one: &'static str, many: &'static str, container: &'static str) -> Nouns {
    Nouns {
        one,
        many,
        container,
    }
}

const NUMBERS: &[Nouns] = &[
    nouns("number", "numbers", "list"),
    nouns("value", "values", "list"),
    nouns("integer", "integers", "list"),
];
const WORDS: &[Nouns] = &[
    nouns("word", "words", "list"),
    nouns("string", "strings", "list"),
];
const CHARACTERS: &[Nouns] = &[
    nouns("character", "characters", "string"),
    nouns("character", "characters", "text"),
];

impl Nouns {
    /// The nouns that fit a kind; the first are those of traces.
    pub(super) fn of(kind: Kind) -> &'static [Nouns] {
        match kind {
            Kind::Words => WORDS,
            Kind::Text | Kind::TwoTexts => CHARACTERS,
            _ => NUMBERS,
        }
    }
}

/// Fills in the parameters of a step, and what it gives for empty input.
pub(super) fn with_params(template: &str, step: &Step) -> String {
    let param = |index: usize| step.params.get(index).map_or("", String::as_str);
    template
        .replace("{k}", param(0))
        .replace("{j}", param(1))
        .replace("{e}", step.empty)
}

/// [`with_params`], and the nouns.
pub(super) fn with_nouns(template: &str, step: &Step, nouns: Nouns) -> String {
    with_params(template, step)
        .replace("{n}", nouns.many)
        .replace("{one}", nouns.one)
        .replace("{c}", nouns.container)
}

/// Fills in the name of the second parameter.
pub(super) fn with_second(template: &str, names: &Names) -> String {
    template.replace("{u}", names.params.get(1).unwrap_or(&""))
}

/// Whether a phrase names its result instead of saying what to do.
pub(super) fn is_noun(phrase: &str) -> bool {
    ["the ", "whether ", "how ", "a ", "all "]
        .iter()
        .any(|start| phrase.starts_with(start))
}

/// The phrase in the imperative: marks of further verbs go.
pub(super) fn imperative(phrase: &str) -> String {
    phrase.replace('~', "")
}

/// The phrase in the third person: its first word and every marked word is a verb.
pub(super) fn third_person(phrase: &str) -> String {
    let bent: Vec<String> = phrase
        .split(' ')
        .enumerate()
        .map(|(index, word)| match word.strip_prefix('~') {
            Some(verb) => bend(verb),
            None if index == 0 => bend(word),
            None => word.to_owned(),
        })
        .collect();
    bent.join(" ")
}

/// `keep` becomes `keeps`; punctuation behind the verb stays behind it.
fn bend(word: &str) -> String {
    let end = word
        .find(|c: char| !c.is_alphabetic())
        .unwrap_or(word.len());
    let (verb, rest) = word.split_at(end);
    let consonant_y = verb.ends_with('y')
        && !verb.ends_with("ay")
        && !verb.ends_with("ey")
        && !verb.ends_with("oy");
    if consonant_y {
        format!("{}ies{rest}", &verb[..verb.len() - 1])
    } else if verb.ends_with('s')
        || verb.ends_with('x')
        || verb.ends_with("ch")
        || verb.ends_with("sh")
    {
        format!("{verb}es{rest}")
    } else {
        format!("{verb}s{rest}")
    }
}

/// The text with its first letter a capital.
pub(super) fn capitalized(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or(String::new(), |first| {
        first.to_uppercase().chain(letters).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verbs_bend() {
        assert_eq!(third_person("multiply each by 2"), "multiplies each by 2");
        assert_eq!(
            third_person("put them and ~join them"),
            "puts them and joins them"
        );
        assert_eq!(
            third_person("drop duplicates, keeping"),
            "drops duplicates, keeping"
        );
        assert_eq!(third_person("discard, ~return"), "discards, returns");
        assert_eq!(third_person("search"), "searches");
        assert_eq!(
            imperative("put them and ~join them"),
            "put them and join them"
        );
    }

    #[test]
    fn nouns_are_told_from_verbs() {
        assert!(is_noun("the sum") && is_noun("whether any") && is_noun("how many"));
        assert!(!is_noun("add them") && !is_noun("take the sum"));
    }
}
