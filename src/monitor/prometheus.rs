//! The figures of a run in Prometheus' text format, version 0.0.4.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::status::Status;

/// The type of the text.
pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// One gauge a quantity. A tag of three parts is a quantity with a label: `generator/reward_breakdown/gold` is
/// `gauntlet_generator_reward_breakdown{part="gold"}`, `evaluation/validation/pass_at_1` is
/// `gauntlet_evaluation_pool_pass_at_1{pool="validation"}`.
pub(super) fn exposition(status: &Status, saving: bool) -> String {
    let run = ("run", status.run.as_str());
    let mut families: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut add = |name: &str, labels: &[(&str, &str)], value: f64| {
        let name = format!("gauntlet_{}", name.replace(|c: char| !is_plain(c), "_"));
        let labels: Vec<String> = labels
            .iter()
            .map(|(name, value)| format!("{name}=\"{}\"", escaped(value)))
            .collect();
        let sample = format!("{name}{{{}}} {value}", labels.join(","));
        families.entry(name).or_default().push(sample);
    };
    for (name, value) in [
        ("step", status.step as f64),
        ("steps_planned", status.steps_planned as f64),
        ("stage", f64::from(status.stage)),
        ("phase_step", status.phase_step as f64),
        ("phase_steps", status.phase_steps as f64),
        ("saving", f64::from(u8::from(saving))),
    ] {
        add(name, &[run], value);
    }
    if let Some(ended) = status.step_ended {
        add("step_ended_timestamp_seconds", &[run], ended);
    }
    for (tag, value) in &status.metrics {
        let parts: Vec<&str> = tag.splitn(3, '/').collect();
        match parts[..] {
            [of @ ("evaluation" | "validation"), pool, name] => {
                add(&format!("{of}_pool_{name}"), &[run, ("pool", pool)], *value);
            }
            [of, name, part] => add(&format!("{of}_{name}"), &[run, ("part", part)], *value),
            _ => add(tag, &[run], *value),
        }
    }
    let mut text = String::new();
    for (name, samples) in families {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "# TYPE {name} gauge");
        for sample in samples {
            let _ = writeln!(text, "{sample}");
        }
    }
    text
}

fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

fn escaped(label: &str) -> String {
    let label = label.replace('\\', "\\\\").replace('"', "\\\"");
    label.replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_figure_is_a_sample_of_a_declared_family() {
        let metrics = [
            ("evaluation/pass_at_1", 0.5),
            ("evaluation/unseen_wordings/pass_at_1", 0.25),
            ("evaluation/validation/pass_at_1", 0.75),
            ("generator/reward_breakdown/gold", 0.125),
            ("run/alpha-x", 1e-9),
        ];
        let status = Status {
            run: "a \"b\"\\".into(),
            step: 12,
            metrics: metrics.map(|(tag, value)| (tag.into(), value)).into(),
            ..Status::default()
        };
        let text = exposition(&status, true);
        for line in [
            "# TYPE gauntlet_step gauge\ngauntlet_step{run=\"a \\\"b\\\"\\\\\"} 12\n",
            "gauntlet_saving{run=\"a \\\"b\\\"\\\\\"} 1\n",
            "gauntlet_evaluation_pass_at_1{run=\"a \\\"b\\\"\\\\\"} 0.5\n",
            "gauntlet_evaluation_pool_pass_at_1{run=\"a \\\"b\\\"\\\\\",pool=\"validation\"} 0.75\n",
            "gauntlet_generator_reward_breakdown{run=\"a \\\"b\\\"\\\\\",part=\"gold\"} 0.125\n",
            "gauntlet_run_alpha_x{run=\"a \\\"b\\\"\\\\\"} 0.000000001\n",
        ] {
            assert!(text.contains(line), "{line} in\n{text}");
        }
        let pools = text
            .matches("# TYPE gauntlet_evaluation_pool_pass_at_1")
            .count();
        assert_eq!(pools, 1, "{text}");
    }
}
