//! `sandbox bench` says what it promises to.

use std::process::Command;

#[test]
fn the_figures_have_the_names_that_are_promised() {
    let output = Command::new(env!("CARGO_BIN_EXE_sandbox"))
        .args(["bench", "--json", "--rounds", "1"])
        .output()
        .expect("the binary runs");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    let report: serde_json::Value =
        serde_json::from_slice(&output.stdout).expect("one JSON object");
    for path in [
        "/cpu_ms_per_execution/sum/best",
        "/cpu_ms_per_execution/class/median",
        "/cpu_ms_per_execution/dijkstra/best",
        "/executions_per_second/threads_1/best",
        "/executions_per_second/threads_2/best",
        "/first_execution_ms/best",
        "/heavy_cpu_s/epoch/best",
        "/heavy_cpu_s/fuel/best",
    ] {
        let figure = report.pointer(path).and_then(serde_json::Value::as_f64);
        assert!(
            figure.is_some_and(|figure| figure > 0.0),
            "{path}: {figure:?} in {report}"
        );
    }
    assert!(report["memory_mb_per_slot"].is_f64(), "{report}");
}
