//! LeetCode-style: a class `Solution` with a method, imports and helper classes in the prompt, `check(candidate)`.

use serde_json::{Map, Value as Json};

use super::super::asserts::add_check;
use super::super::schema::{Flaw, Problem, take, take_opt};
use super::{Context, code, difficulty, generic::unfenced, text};

pub(super) fn problem(context: &Context<'_>, mut row: Map<String, Json>) -> Result<Problem, Flaw> {
    let id = match text(&mut row, "task_id")? {
        Some(id) => format!("leetcode/{id}"),
        None => context.id(),
    };
    let starter: String = code(take(&mut row, "starter_code")?);
    let entry: String = take(&mut row, "entry_point")?;
    let test: String = code(take(&mut row, "test")?);
    let words: Option<String> = take_opt(&mut row, "problem_description")?;
    let query: Option<String> = take_opt(&mut row, "query")?;
    let statement = words
        .or(query)
        .ok_or_else(|| Flaw::new("problem_description", "is missing"))?;
    let prompt: String = code(take_opt(&mut row, "prompt")?.unwrap_or_default());
    let completion: Option<String> = take_opt(&mut row, "completion")?;
    let mut problem = Problem {
        difficulty: difficulty(&mut row)?,
        split: context.split(),
        family: "leetcode".into(),
        source: "LeetCode".into(),
        setup: (!prompt.trim().is_empty()).then_some(prompt),
        tags: take_opt(&mut row, "tags")?.unwrap_or_default(),
        ..Problem::new(id, statement)
    };
    add_check(&mut problem, &test, "");
    problem.reference = completion
        .filter(|text| !text.trim().is_empty())
        .map(|text| code(unfenced(text)));
    problem.entry_point = Some(entry_point(&entry, &starter)?);
    Ok(problem)
}

/// `Solution().twoSum`, `Solution.twoSum` or a bare name.
fn entry_point(entry: &str, starter: &str) -> Result<String, Flaw> {
    let plain = entry.trim().replace("()", "");
    let named = |text: &str| text.split('.').all(super::super::schema::is_identifier);
    if !named(&plain) {
        let message = format!("is {entry:?}; it must be a name such as Solution().twoSum");
        return Err(Flaw::new("entry_point", message));
    }
    Ok(
        match plain.contains('.') || !starter.contains("class Solution") {
            true => plain,
            false => format!("Solution.{plain}"),
        },
    )
}
