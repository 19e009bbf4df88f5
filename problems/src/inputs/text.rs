//! Strings like the ones seen: other letters in the same places, words moved, halves joined.

use super::super::draws::Draws;

/// No string that is drawn grows past this, unless gold tests hold longer ones.
const MOST_CHARS: usize = 60;

/// The marks that words, fields and lines stand between.
const SEPARATORS: [char; 10] = [' ', ',', '\n', ';', '-', ':', '/', '.', '|', '='];

/// A string made of the characters of those seen.
pub(super) fn fresh(seen: &[&str], draws: &mut Draws) -> String {
    match (draws.pick(seen), draws.pick(seen)) {
        (Some(one), Some(_)) if draws.one_in(3) => remask(one, 2, draws),
        (Some(one), Some(other)) if draws.one_in(3) => splice(one, other, draws),
        _ => {
            let alphabet = alphabet(seen);
            let longest = seen
                .iter()
                .map(|text| text.chars().count())
                .max()
                .unwrap_or(5);
            let length = draws.below((longest + 3).min(MOST_CHARS));
            (0..length)
                .map(|_| alphabet[draws.below(alphabet.len())])
                .collect()
        }
    }
}

/// The string with a few small changes.
pub(super) fn perturb(text: &str, seen: &[&str], draws: &mut Draws) -> String {
    let alphabet = alphabet(seen);
    let most = seen
        .iter()
        .map(|text| text.chars().count())
        .max()
        .unwrap_or(0)
        .max(MOST_CHARS);
    let mut chars: Vec<char> = text.chars().collect();
    for _ in 0..1 + draws.below(3) {
        let at = draws.below(chars.len());
        match draws.below(16) {
            0 | 1 if !chars.is_empty() => drop(chars.remove(at)),
            2 | 3 if !chars.is_empty() => chars[at] = alphabet[draws.below(alphabet.len())],
            4 | 5 if !chars.is_empty() => chars[at] = alike(chars[at], draws),
            6 if !chars.is_empty() => chars.insert(at, chars[at]),
            7 if chars.len() > 1 => {
                let other = draws.below(chars.len());
                chars.swap(at, other);
            }
            8 if !chars.is_empty() => chars[at] = other_case(chars[at]),
            9 => chars.reverse(),
            10 => chars.truncate(at + 1),
            11 | 12 => {
                chars = words(&chars.iter().collect::<String>(), seen, draws)
                    .chars()
                    .collect()
            }
            13 => {
                chars = remask(&chars.iter().collect::<String>(), 3, draws)
                    .chars()
                    .collect()
            }
            14 => {
                let other = draws.pick(seen).copied().unwrap_or_default();
                chars = splice(&chars.iter().collect::<String>(), other, draws)
                    .chars()
                    .collect();
            }
            _ => chars.insert(
                draws.below(chars.len() + 1),
                alphabet[draws.below(alphabet.len())],
            ),
        }
    }
    chars.truncate(most);
    chars.into_iter().collect()
}

/// Nothing, one character, one character again and again, spaces around, much.
pub(super) fn edge(text: &str, draws: &mut Draws) -> String {
    let one: String = text
        .chars()
        .skip(draws.below(text.chars().count()))
        .take(1)
        .collect();
    match draws.below(7) {
        0 => String::new(),
        1 => one,
        2 => one.repeat(2 + draws.below(4)),
        3 => format!(" {text} "),
        4 => text.to_uppercase(),
        5 => text
            .chars()
            .rev()
            .chain(text.chars())
            .take(MOST_CHARS)
            .collect(),
        _ => text.chars().cycle().take(MOST_CHARS / 2).collect(),
    }
}

/// The beginning of one string and the end of another.
pub(super) fn splice(a: &str, b: &str, draws: &mut Draws) -> String {
    let head = draws.below(a.chars().count() + 1);
    let tail = draws.below(b.chars().count() + 1);
    a.chars().take(head).chain(b.chars().skip(tail)).collect()
}

/// Other letters and digits in the same places; about one in `times` is changed.
fn remask(text: &str, times: usize, draws: &mut Draws) -> String {
    text.chars()
        .map(|c| {
            if draws.one_in(times) {
                alike(c, draws)
            } else {
                c
            }
        })
        .collect()
}

/// A character of the same class.
fn alike(c: char, draws: &mut Draws) -> char {
    let first = match c {
        '0'..='9' => return char::from(b'0' + draws.below(10) as u8),
        'a'..='z' => b'a',
        'A'..='Z' => b'A',
        _ => return c,
    };
    char::from(first + draws.below(26) as u8)
}

fn other_case(c: char) -> char {
    if c.is_ascii_lowercase() {
        c.to_ascii_uppercase()
    } else {
        c.to_ascii_lowercase()
    }
}

/// Moves, repeats, drops or exchanges a word, where a word is what stands between the string's
/// commonest separators.
fn words(text: &str, seen: &[&str], draws: &mut Draws) -> String {
    let count = |mark: &char| text.matches(*mark).count();
    let Some(mark) = SEPARATORS
        .into_iter()
        .filter(|mark| count(mark) > 0)
        .max_by_key(count)
    else {
        return remask(text, 2, draws);
    };
    let mut words: Vec<&str> = text.split(mark).collect();
    let (at, other) = (draws.below(words.len()), draws.below(words.len()));
    match draws.below(5) {
        0 => words.swap(at, other),
        1 => words.insert(at, words[other]),
        2 => drop(words.remove(at)),
        3 => words[at] = words[other],
        _ => {
            let other: Vec<&str> = draws
                .pick(seen)
                .map_or(Vec::new(), |text| text.split(mark).collect());
            if let Some(word) = draws.pick(&other) {
                words[at] = word;
            }
        }
    }
    words.join(&mark.to_string())
}

/// The characters seen, each as often as it was.
fn alphabet(seen: &[&str]) -> Vec<char> {
    let seen: Vec<char> = seen.iter().flat_map(|text| text.chars()).collect();
    if seen.is_empty() {
        "abcAB 12".chars().collect()
    } else {
        seen
    }
}
