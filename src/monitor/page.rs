//! The page that a person reads. It fetches itself again, and holds nothing that runs.

use std::fmt::Write;

use super::status::Status;
use crate::checkpoint::report::Listing;

/// Seconds after which a browser fetches the page again.
const REFRESH: u32 = 5;

/// The newest values that are shown: the name a person knows one by, and its tag.
const FIGURES: [(&str, &str); 6] = [
    ("Reward of the generator", "generator/reward_mean"),
    ("Reward of the discriminator", "discriminator/reward_mean"),
    (
        "Validation pass@1 of all problems, after the phase before",
        "evaluation/pass_at_1",
    ),
    (
        "Validation pass@1 of some problems, within a stage",
        "validation/pass_at_1",
    ),
    ("Kill rate of the step's attacks", "discriminator/kill_rate"),
    ("Kill rate on the frozen bank", "evaluation/bank_kill_rate"),
];

const STYLE: &str = "body{font:16px/1.5 sans-serif;max-width:72rem;margin:2rem auto;padding:0 1rem;color:#222}\
    progress{width:100%}td{padding-right:2rem}pre{overflow:auto;background:#f4f4f4;padding:.5rem}img{max-width:100%}";

/// The page as HTML.
pub(super) fn page(status: &Status, listing: Option<&Listing>, stopping: bool) -> String {
    let run = escaped(&status.run);
    let mut body = format!("<h1>{run}</h1>\n");
    // Writing to a string cannot fail.
    let _ = match status.directory.as_ref() {
        Some(directory) => writeln!(body, "<p>{}</p>", escaped(&directory.display().to_string())),
        None => writeln!(body, "<p>The run is being prepared.</p>"),
    };
    if stopping && !status.ended {
        body += "<p><strong>Stopping: the run saves itself after the present step.</strong></p>\n";
    }
    for (label, done, of) in [
        (status.phase.as_str(), status.phase_step, status.phase_steps),
        ("The whole run", status.step, status.steps_planned),
    ] {
        if of > 0 {
            let label = escaped(label);
            let _ = writeln!(
                body,
                "<p>{label}: step {done} of {of}<br><progress value=\"{done}\" max=\"{of}\"></progress></p>"
            );
        } else if status.directory.is_some() && label != "The whole run" {
            let _ = writeln!(body, "<p>{}</p>", escaped(label));
        }
    }
    let figures = FIGURES.iter().filter_map(|(name, tag)| {
        let value = status.metrics.get(*tag)?;
        Some(format!("<tr><td>{name}</td><td>{value:.3}</td></tr>\n"))
    });
    let figures: String = figures.collect();
    if !figures.is_empty() {
        let _ = writeln!(body, "<table>\n{figures}</table>");
    }
    if status.directory.is_some() {
        body +=
            "<p><img src=\"/progress.svg\" alt=\"reward, pass@1 and kill rate over steps\"></p>\n";
    }
    if let Some(listing) = listing {
        let text = escaped(&listing.to_string());
        let _ = writeln!(body, "<h2>Checkpoints</h2>\n<pre>{text}</pre>");
    }
    if !status.notes.is_empty() {
        let notes: Vec<String> = status.notes.iter().map(|note| escaped(note)).collect();
        let _ = writeln!(body, "<h2>Notes</h2>\n<pre>{}</pre>", notes.join("\n"));
    }
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"refresh\" content=\"{REFRESH}\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n\
         <title>{run}: {}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n{body}\
         <p><a href=\"/status\">/status</a> <a href=\"/metrics\">/metrics</a> \
         <a href=\"/checkpoints\">/checkpoints</a></p>\n</body>\n</html>\n",
        escaped(&status.phase)
    )
}

fn escaped(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    text.replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_notes_are_text() {
        let status = Status {
            run: "<script>alert(1)</script>".into(),
            directory: Some("out/\"a\"&b".into()),
            phase: "stage 1: <b>".into(),
            phase_steps: 3,
            notes: ["</pre><img src=x>".into()].into(),
            metrics: [("generator/reward_mean".into(), 0.25)].into(),
            ..Status::default()
        };
        let page = page(&status, None, true);
        for tag in ["<script", "<b>", "</pre><img", "src=x>"] {
            assert!(!page.contains(tag), "{tag} in {page}");
        }
        for part in [
            "&lt;script&gt;",
            "out/&quot;a&quot;&amp;b",
            "0.250",
            "Stopping",
        ] {
            assert!(page.contains(part), "{part} not in {page}");
        }
    }
}
