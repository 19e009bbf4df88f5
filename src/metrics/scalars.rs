//! The numbers of a line of `metrics.jsonl` under the names that charts know them by.

use serde_json::Value as Json;

/// Every number of a line, each with its tag: the way to it, as in `generator/reward_mean`,
/// `evaluation/validation/pass_at_1` or `run/alpha`. What is no finite number is left out, as are lists.
///
/// ```
/// # use gauntlet::metrics::scalars;
/// let line = serde_json::json!({
///     "step": 12, "stage": 5, "generator": {"reward": 0.75, "kl": null}, "alpha": 0.5,
///     "evaluation": {"pass_at_1": 0.25, "pools": {"validation": {"pass_at_1": 0.25}}},
/// });
/// let tags: Vec<String> = scalars(&line).into_iter().map(|(tag, _)| tag).collect();
/// assert_eq!(
///     tags,
///     ["generator/reward_mean", "run/alpha", "evaluation/pass_at_1", "evaluation/validation/pass_at_1"]
/// );
/// ```
pub fn scalars(line: &Json) -> Vec<(String, f64)> {
    let mut found = Vec::new();
    for (name, value) in line.as_object().into_iter().flatten() {
        match value {
            Json::Object(_) => collect(name, value, &mut found),
            // Where the line stands, not what it says.
            _ if ["step", "stage"].contains(&name.as_str()) => {}
            _ => found.extend(value.as_f64().map(|value| (format!("run/{name}"), value))),
        }
    }
    found
}

fn collect(tag: &str, value: &Json, found: &mut Vec<(String, f64)>) {
    for (name, value) in value.as_object().into_iter().flatten() {
        let name = match name.as_str() {
            // Pools and players are known by their names alone.
            "pools" | "players" => {
                collect(tag, value, found);
                continue;
            }
            "reward" => "reward_mean",
            other => other,
        };
        let tag = format!("{tag}/{name}");
        match value {
            Json::Object(_) => collect(&tag, value, found),
            _ => found.extend(value.as_f64().map(|value| (tag, value))),
        }
    }
}
