//! The sentences that a task is put into.
//!
//! `{f}` is the function's name, `{call}` the name with its parameters, `{given}` the input in words. The
//! task comes as `{vi}` (keep the even numbers), `{v3}` (keeps the even numbers) or `{np}` (the sum of the
//! even numbers in nums). A frame that begins with a task begins with a capital.

/// How a frame puts the task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mood {
    /// `{vi}`
    Imperative,
    /// `{v3}`
    Third,
    /// `{np}`
    Noun,
}

/// Frames that name the function.
pub(super) const NAMED: &[&str] = &[
    "Implement {call}: {vi}.",
    "Implement `{f}`. {vi}.",
    "Complete {call}. {vi}.",
    "Define {f} to {vi}.",
    "In {f}, {vi}.",
    "{f} should {vi}.",
    "{f} takes {given}. {vi}.",
    "Given {given}, {vi}. Name the function {f}.",
    "Your task is to write {f}: {vi}.",
    "Write {call} to {vi}.",
    "Write a function `{f}` that {v3}.",
    "Write {call} that {v3}.",
    "Create a function called {f} that {v3}.",
    "Write a function {f} which takes {given} and {v3}.",
    "Define a function named {f}. It {v3}.",
    "{f} takes {given} and {v3}.",
    "Implement a function {f} that {v3}.",
    "Write a function `{f}` that, given {given}, {v3}.",
    "{call} should return {np}.",
    "Write a function `{f}` that returns {np}.",
    "Implement {call} to return {np}.",
    "Given {given}, return {np}. Name the function {f}.",
    "{call} returns {np}.",
    "Create {f}, a function that returns {np}.",
];

/// Frames that leave the name to the signature.
pub(super) const NAMELESS: &[&str] = &[
    "{vi}.",
    "Given {given}, {vi}.",
    "You are given {given}. {vi}.",
    "Write a function that takes {given} and {v3}.",
    "Write a function that {v3}.",
    "Complete the function so that it {v3}.",
    "Return {np}.",
    "Given {given}, return {np}.",
];

/// Frames that only the pool of unseen wordings has.
pub(super) const HELD: &[&str] = &[
    "Implement a function called {f} to {vi}.",
    "Complete `{f}`: {vi}.",
    "Write {f}. Given {given}, {vi}.",
    "Create {call}, which {v3}.",
    "Define {f}, a function that {v3}.",
    "Your task is to implement a function named {f} that, given {given}, {v3}.",
    "Complete the function {f} so that it {v3}.",
    "Implement {f}, which takes {given} and {v3}.",
];

/// Frames of a request that gives neither a name nor a signature; `{vi}` and `{v3}` name the input.
pub(super) const BARE: &[&str] = &[
    "Implement a function that {v3}",
    "Implement a function to {vi}",
    "Write a function that {v3}",
    "Write a function to {vi}",
    "Create a function that {v3}",
    "Write a Python function to {vi}",
    "Define a function that {v3}",
    "{vi}",
    "Write code to {vi}",
];

/// Bare frames of a request for something that has a name of its own.
pub(super) const CALLED: &[&str] = &[
    "Implement {f}",
    "Implement `{f}`",
    "Write {f}",
    "Write a function {f}",
    "Implement the function {f}",
    "Implement {call}",
    "Write a function called {f}",
];

/// Bare frames of a pipeline; the input is in `{given}` or in `{np}`.
pub(super) const BARE_PIPELINE: &[&str] = &[
    "Given {given}, {vi}",
    "Write a function that takes {given} and {v3}",
    "Implement a function that takes {given} and {v3}",
    "Write a function that returns {np}",
    "Implement a function that returns {np}",
    "Return {np}",
];

/// How a frame puts the task; `None` for one that only names it.
pub(super) fn mood(frame: &str) -> Option<Mood> {
    [
        ("{vi}", Mood::Imperative),
        ("{v3}", Mood::Third),
        ("{np}", Mood::Noun),
    ]
    .into_iter()
    .find_map(|(slot, mood)| frame.contains(slot).then_some(mood))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_held_frame_is_a_training_frame() {
        let train: Vec<&str> = [NAMED, NAMELESS, BARE, CALLED, BARE_PIPELINE].concat();
        for frame in HELD {
            assert!(!train.contains(frame), "{frame}");
            assert!(
                mood(frame).is_some_and(|mood| mood != Mood::Noun),
                "{frame}"
            );
        }
    }
}
