//! Groups sequences into microbatches: one forward pass each, padded to its longest member.

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

#[cfg(test)]
mod tests {
    use super::*;

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
