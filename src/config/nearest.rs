//! Which word was meant: for suggestions when a key does not exist.

/// The candidate nearest to what was written, if one is near, with its distance.
pub(super) fn nearest<'a>(
    given: &str,
    candidates: impl Iterator<Item = &'a str>,
) -> Option<(usize, &'a str)> {
    let near = |candidate: &str| {
        given
            .chars()
            .count()
            .max(candidate.len())
            .div_ceil(3)
            .max(1)
    };
    candidates
        .map(|candidate| (edit_distance(given, candidate), candidate))
        .min()
        .filter(|&(distance, candidate)| distance <= near(candidate))
}

/// How many letters must be put in, taken out or changed to make one word the other (Levenshtein).
fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let change = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = change.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_levenshteins() {
        for (a, b, distance) in [
            ("", "", 0),
            ("", "ab", 2),
            ("kitten", "sitting", 3),
            ("tau", "tau", 0),
            ("ab", "ba", 2),
        ] {
            assert_eq!(edit_distance(a, b), distance, "{a} {b}");
            assert_eq!(edit_distance(b, a), distance, "{b} {a}");
        }
    }

    #[test]
    fn far_words_are_not_suggested() {
        let words = || ["game", "stages"].into_iter();
        assert_eq!(nearest("stage", words()), Some((1, "stages")));
        assert_eq!(nearest("optimizer", words()), None);
        assert_eq!(nearest("", words()), None);
    }
}
