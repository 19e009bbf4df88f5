//! Groups sequences into microbatches: one forward pass each, padded to its longest member or packed into one row.

use std::collections::HashMap;

/// Indices of sequences that go through the model together.
///
/// Sequences are sorted by length, longest first, so that a microbatch holds near-equal lengths; each microbatch's padded
/// size (members times longest) stays within `token_budget`, but a microbatch always has one member. The order is a
/// function of the lengths alone, ties by index, so a batch repeats exactly.
///
/// ```
/// # use gauntlet::batch::microbatches;
/// assert_eq!(microbatches(&[3, 9, 4, 9], 18), vec![vec![1, 3], vec![2, 0]]);
/// ```
pub fn microbatches(lengths: &[usize], token_budget: usize) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..lengths.len()).collect();
    order.sort_by_key(|&i| (std::cmp::Reverse(lengths[i]), i));
    let mut batches: Vec<Vec<usize>> = Vec::new();
    for i in order {
        match batches.last_mut() {
            // The first member is the longest.
            Some(batch) if (batch.len() + 1) * lengths[batch[0]] <= token_budget => batch.push(i),
            _ => batches.push(vec![i]),
        }
    }
    batches
}

/// The same for sequences that are packed behind one another, where a prompt that several share counts once.
///
/// Each is given as its prompt and the length of what follows. Those of one prompt stay together, prompts in the order
/// in which they come first; a microbatch takes at most `token_budget` tokens but has at least one member.
///
/// ```
/// # use gauntlet::batch::packed_microbatches;
/// let (a, b) = (&[1, 2, 3][..], &[4][..]);
/// assert_eq!(packed_microbatches(&[(a, 2), (b, 5), (a, 1)], 7), vec![vec![0, 2], vec![1]]);
/// ```
pub fn packed_microbatches(sequences: &[(&[u32], usize)], token_budget: usize) -> Vec<Vec<usize>> {
    let mut groups: Vec<Vec<usize>> = Vec::new();
    let mut group_of: HashMap<&[u32], usize> = HashMap::new();
    for (i, (prompt, _)) in sequences.iter().enumerate() {
        let group = *group_of.entry(prompt).or_insert_with(|| {
            groups.push(Vec::new());
            groups.len() - 1
        });
        groups[group].push(i);
    }
    let mut batches: Vec<Vec<usize>> = Vec::new();
    let mut taken = 0;
    for group in groups {
        let mut begun = false;
        for i in group {
            let (prompt, length) = sequences[i];
            let more = if begun { length } else { prompt.len() + length };
            match batches.last_mut() {
                Some(batch) if taken + more <= token_budget => {
                    batch.push(i);
                    taken += more;
                }
                _ => {
                    batches.push(vec![i]);
                    taken = prompt.len() + length;
                }
            }
            begun = true;
        }
    }
    batches
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_over_the_budget_is_parted_and_its_prompt_counts_again() {
        let prompts = [[7u32; 10], [8; 10]];
        let sequences: Vec<(&[u32], usize)> = (0..12).map(|i| (&prompts[i % 2][..], 5)).collect();
        let batches = packed_microbatches(&sequences, 25);
        assert_eq!(
            batches,
            [[0, 2, 4], [6, 8, 10], [1, 3, 5], [7, 9, 11]].map(Vec::from)
        );
        assert_eq!(packed_microbatches(&sequences[..1], 3), vec![vec![0]]);
        assert!(packed_microbatches(&[], 3).is_empty());
    }

    #[test]
    fn every_sequence_is_in_one_microbatch_and_the_budget_holds() {
        let lengths: Vec<usize> = (0..57).map(|i| 1 + (i * 37) % 90).collect();
        let batches = microbatches(&lengths, 200);
        let mut all: Vec<usize> = batches.concat();
        all.sort_unstable();
        assert_eq!(all, (0..57).collect::<Vec<_>>());
        for batch in &batches {
            let longest = batch.iter().map(|&i| lengths[i]).max().unwrap();
            assert!(batch.len() * longest <= 200 || batch.len() == 1);
        }
    }

    #[test]
    fn a_sequence_over_the_budget_goes_alone() {
        assert_eq!(microbatches(&[500, 2], 100), vec![vec![0], vec![1]]);
        assert!(microbatches(&[], 100).is_empty());
    }
}
