//! Finds the Python program in what a model writes.
//!
//! A completion is prose, thinking, drafts, tests, sample output, and somewhere the program. [`extract`] cuts it into
//! *pieces* (the insides of fences, runs of bare code, code that is a string of a tool call) and parses each. The
//! piece that is taken is the last one that really defines the [entry point](Wanted::EntryPoint): one outside of the
//! thinking before one inside, a body before a bare signature, fenced code before code that stands in prose. What that
//! piece needs of other pieces (imports, helpers, constants) is put before it.
//!
//! A fenced block goes out as it was written, mistakes included: code is found here, never mended.
//!
//! ```
//! use gauntlet_extract::{Wanted, extract};
//!
//! let answer = "A draft:\n```python\ndef inc(x):\n    return x\n```\nBetter:\n```python\ndef inc(x):\n    return x + 1\n```\n";
//! let code = extract(answer, Wanted::EntryPoint("inc"));
//! assert_eq!(code.as_deref(), Some("def inc(x):\n    return x + 1\n"));
//! ```

mod assemble;
mod bare;
mod choose;
mod fences;
mod lexer;
mod python;
mod scopes;
mod text;
mod wrapped;

use python::Python;

/// What the program is wanted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted<'a> {
    /// A function, a class, or a method (`Solution().add`, `Solution.add`) is called by this name. A plain name may also
    /// be that of a method of `class Solution`.
    EntryPoint(&'a str),
    /// A function is called whose name nobody gave.
    Function,
    /// The program runs as a script.
    Script,
}

impl<'a> Wanted<'a> {
    /// The wish that belongs to a program's entry point; a script has none.
    pub fn from_entry_point(entry_point: Option<&'a str>) -> Wanted<'a> {
        entry_point.map_or(Wanted::Script, Wanted::EntryPoint)
    }
}

/// The program in `completion`. None where there is no code at all; code that does not define what is wanted is still
/// code.
pub fn extract(completion: &str, wanted: Wanted) -> Option<String> {
    let python = Python::new();
    let pieces = text::pieces(&python, completion);
    choose::choose(&python, &pieces, wanted)
}

/// The name by which a program that was asked for without one is called: its first function at the top level, else
/// the first public method of its `class Solution`.
pub fn entry_point(code: &str) -> Option<String> {
    let module = Python::new().module(code);
    let function = module.statements.iter().find(|s| s.is_function);
    let method = || {
        let solution = module
            .statements
            .iter()
            .find(|s| s.class.as_deref() == Some(python::SOLUTION))?;
        let public = solution
            .methods
            .iter()
            .find(|method| !method.name.starts_with('_'))?;
        Some(public.name.clone())
    };
    function
        .and_then(|function| function.binds.first().cloned())
        .or_else(method)
}

/// A part of a completion that may be code.
#[derive(Clone, Debug)]
struct Piece {
    code: String,
    origin: Origin,
    /// Whether it stands in the model's thinking.
    thought: bool,
    /// An interpreter's session, of which only what is needed is code.
    session: bool,
}

/// Where a piece was found, the least telling first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Origin {
    /// Between backticks on one line of prose.
    Inline,
    /// A fence whose tag names another language.
    Foreign,
    /// A string of a JSON value, as a tool call has.
    Wrapped,
    /// Lines between prose.
    Bare,
    /// A fence.
    Fenced,
}
