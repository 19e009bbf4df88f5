//! Problems that are alike: near-duplicates within a set, and overlap with another.
//!
//! Texts are compared by their runs of words (shingles). Near-duplicates are found with MinHash and banding (Broder 1997),
//! and every pair found is compared exactly.

use std::collections::{HashMap, HashSet};

use super::draws::Draws;
use super::schema::{Problem, Split};

/// Statements with this share of common shingles are near-duplicates.
pub const NEAR: f64 = 0.8;

const HASHES: usize = 32;
const BAND: usize = 4;

/// Words in lower case, without punctuation.
fn words(text: &str) -> Vec<String> {
    let letters = |c: char| !(c == '_' || c.is_alphanumeric());
    let words = text.split(letters).filter(|word| !word.is_empty());
    words.map(str::to_lowercase).collect()
}

fn hash(words: &[String]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in words.iter().flat_map(|word| word.bytes().chain([0xff])) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    hash
}

/// The runs of `count` words; a shorter text is one run.
fn shingles(text: &str, count: usize) -> HashSet<u64> {
    let words = words(text);
    match words.len() {
        0 => HashSet::new(),
        length if length < count => HashSet::from([hash(&words)]),
        _ => words.windows(count).map(hash).collect(),
    }
}

fn jaccard(a: &HashSet<u64>, b: &HashSet<u64>) -> f64 {
    let common = a.intersection(b).count();
    let all = a.len() + b.len() - common;
    if all == 0 {
        1.0
    } else {
        common as f64 / all as f64
    }
}

/// Groups of near-duplicates: for each problem the place of the first of its group.
///
/// Two problems are near-duplicates when their statements share [`NEAR`] of their runs of three words, or their
/// references are the same but for names of the entry point and spaces.
pub fn groups(problems: &[Problem]) -> Vec<usize> {
    let sets: Vec<HashSet<u64>> = super::read::parallel(problems.len(), |index| {
        shingles(&problems[index].statement, 3)
    });
    let mut parent: Vec<usize> = (0..problems.len()).collect();
    let mut buckets: HashMap<(usize, u64), Vec<usize>> = HashMap::new();
    for (index, set) in sets.iter().enumerate() {
        if set.is_empty() {
            continue;
        }
        let lowest: Vec<u64> = (0..HASHES)
            .map(|which| {
                let mixed = set.iter().map(|hash| mix(*hash, which as u64));
                mixed.min().unwrap_or(0)
            })
            .collect();
        for (band, rows) in lowest.chunks(BAND).enumerate() {
            let key = rows.iter().fold(0, |key, row| mix(key ^ row, 1));
            let bucket = buckets.entry((band, key)).or_default();
            for &other in bucket.iter().take(50) {
                if root(&mut parent, other) != root(&mut parent, index)
                    && jaccard(&sets[other], set) >= NEAR
                {
                    join(&mut parent, other, index);
                }
            }
            bucket.push(index);
        }
    }
    let mut codes: HashMap<String, usize> = HashMap::new();
    for (index, problem) in problems.iter().enumerate() {
        if let Some(code) = plain_code(problem) {
            match codes.get(&code) {
                Some(&first) => join(&mut parent, first, index),
                None => drop(codes.insert(code, index)),
            }
        }
    }
    (0..problems.len())
        .map(|index| root(&mut parent, index))
        .collect()
}

/// The reference with one name for its entry point and without what spaces say.
fn plain_code(problem: &Problem) -> Option<String> {
    let code = problem.reference.as_deref()?;
    let tokens = words(code);
    let name = problem.function().to_lowercase();
    let plain = tokens.into_iter().map(|word| match word == name {
        true => "f".to_owned(),
        false => word,
    });
    // Punctuation is what tells `a + b` from `a - b`.
    let marks: String = code.chars().filter(char::is_ascii_punctuation).collect();
    Some(plain.collect::<Vec<_>>().join(" ") + &marks)
}

fn mix(value: u64, which: u64) -> u64 {
    let mixed =
        (value ^ which.wrapping_mul(0x9e37_79b9_7f4a_7c15)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

fn root(parent: &mut [usize], mut index: usize) -> usize {
    while parent[index] != index {
        parent[index] = parent[parent[index]];
        index = parent[index];
    }
    index
}

/// Joins two groups under the earlier first.
fn join(parent: &mut [usize], a: usize, b: usize) {
    let (a, b) = (root(parent, a), root(parent, b));
    parent[a.max(b)] = a.min(b);
}

/// Gives every problem a split, near-duplicates the same one.
///
/// A group's split depends on the seed and on its first id in order of ids, so that the order of a file says nothing.
pub fn split(problems: &mut [Problem], validation: f64, report: f64, seed: u64) {
    let groups = groups(problems);
    let mut names: HashMap<usize, String> = HashMap::new();
    for (problem, group) in problems.iter().zip(&groups) {
        let name = names.entry(*group).or_insert_with(|| problem.id.clone());
        if problem.id < *name {
            name.clone_from(&problem.id);
        }
    }
    for (problem, group) in problems.iter_mut().zip(&groups) {
        let drawn = Draws::new(seed, &names[group]).bits() as f64 / u64::MAX as f64;
        problem.split = match drawn {
            drawn if drawn < report => Split::Report,
            drawn if drawn < report + validation => Split::Validation,
            _ => Split::Train,
        };
    }
}

/// What a problem has in common with one of another set.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Overlap {
    /// The problem.
    pub problem: String,
    /// The one it overlaps with most.
    pub with: String,
    /// The share of its statement's runs of eight words that the other has.
    pub statement: f64,
    /// The share of its reference's runs of twelve words and marks that the other's has.
    pub code: f64,
}

/// The problems that share a run of words with a problem of `against`, with the share of the closest one.
pub fn contamination(problems: &[Problem], against: &[Problem]) -> Vec<Overlap> {
    let statement = |problem: &Problem| shingles(&problem.statement, 8);
    let code = |problem: &Problem| {
        let code = problem.reference.as_deref().unwrap_or_default();
        let mut spaced = String::new();
        for c in code.chars() {
            match c.is_ascii_punctuation() && c != '_' {
                // A mark becomes a word of its own.
                true => spaced += &format!(" m{} ", c as u32),
                false => spaced.push(c),
            }
        }
        let set = shingles(&spaced, 12);
        // A line or two is common property.
        if set.len() < 8 { HashSet::new() } else { set }
    };
    let index = |of: &dyn Fn(&Problem) -> HashSet<u64>| {
        let mut index: HashMap<u64, Vec<usize>> = HashMap::new();
        for (place, problem) in against.iter().enumerate() {
            for hash in of(problem) {
                index.entry(hash).or_default().push(place);
            }
        }
        index
    };
    let (statements, codes) = (index(&statement), index(&code));
    let shares = |set: HashSet<u64>, index: &HashMap<u64, Vec<usize>>| {
        let mut counts: HashMap<usize, usize> = HashMap::new();
        for place in set.iter().filter_map(|hash| index.get(hash)).flatten() {
            *counts.entry(*place).or_default() += 1;
        }
        let all = set.len().max(1) as f64;
        let shares = counts.into_iter();
        shares
            .map(|(place, count)| (place, count as f64 / all))
            .collect::<HashMap<usize, f64>>()
    };
    let found = super::read::parallel(problems.len(), |index| {
        let problem = &problems[index];
        let by_words = shares(statement(problem), &statements);
        let by_code = shares(code(problem), &codes);
        let share = |of: &HashMap<usize, f64>, place| of.get(&place).copied().unwrap_or(0.0);
        let places: HashSet<usize> = by_words.keys().chain(by_code.keys()).copied().collect();
        let closest = places.into_iter().max_by(|a, b| {
            let total = |place| share(&by_words, place).max(share(&by_code, place));
            total(*a).total_cmp(&total(*b)).then(b.cmp(a))
        })?;
        Some(Overlap {
            problem: problem.id.clone(),
            with: against[closest].id.clone(),
            statement: share(&by_words, closest),
            code: share(&by_code, closest),
        })
    });
    found.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: &str = "Write a function that returns the sum of all even numbers in a list of integers, or zero where there is none";

    fn problem(id: &str, statement: &str, reference: Option<&str>) -> Problem {
        Problem {
            reference: reference.map(str::to_owned),
            entry_point: Some(id.to_owned()),
            ..Problem::new(id, statement)
        }
    }

    #[test]
    fn near_duplicates_are_grouped_by_words_and_by_code() {
        let near = LONG.replace("zero where", "Zero, where") + "!";
        let problems = [
            problem("a", LONG, None),
            problem(
                "b",
                "Reverse a string without using slices, keeping its case",
                None,
            ),
            problem("c", &near, None),
            problem("d", "one", Some("def d(x):\n    return x + 1\n")),
            problem("e", "other words", Some("def e(x):\n  return x + 1")),
            problem("g", "third words", Some("def g(x):\n  return x - 1")),
        ];
        assert_eq!(groups(&problems), [0, 1, 0, 3, 3, 5]);
    }

    #[test]
    fn a_split_keeps_groups_together_and_depends_on_the_seed_only() {
        let mut problems: Vec<Problem> = (0..400)
            .map(|i| {
                problem(
                    &format!("p{i}"),
                    &format!("{LONG} number {}", i / 2 * 7919),
                    None,
                )
            })
            .collect();
        split(&mut problems, 0.2, 0.2, 1);
        let first: HashMap<String, Split> =
            problems.iter().map(|p| (p.id.clone(), p.split)).collect();
        let groups = groups(&problems);
        for (problem, group) in problems.iter().zip(groups) {
            assert_eq!(problem.split, problems[group].split, "{}", problem.id);
        }
        problems.reverse();
        split(&mut problems, 0.2, 0.2, 1);
        assert!(problems.iter().all(|p| first[&p.id] == p.split));
    }

    #[test]
    fn overlap_names_the_closest_and_how_much() {
        let copied = format!("In this task: {LONG}.");
        let set = [
            problem("a", &copied, None),
            problem(
                "b",
                "Reverse a string without using slices, keeping its case as it was",
                None,
            ),
        ];
        let found = contamination(
            &set,
            &[problem("x", "other", None), problem("y", LONG, None)],
        );
        assert_eq!(
            (found.len(), &*found[0].problem, &*found[0].with),
            (1, "a", "y")
        );
        assert!(found[0].statement > 0.7, "{found:?}");
    }
}
