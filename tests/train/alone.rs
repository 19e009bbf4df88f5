//! A resumed run needs nothing of the run it came from: it is resumed, copied and backed up alone.

use std::path::Path;
use std::process::Command;

use super::{Dir, assert_same_end, peaceful, text};

fn copied(from: &Path, to: &Path) {
    std::fs::create_dir_all(to.parent().unwrap()).unwrap();
    let status = Command::new("cp")
        .arg("-r")
        .args([from, to])
        .status()
        .unwrap();
    assert!(status.success());
}

#[test]
fn a_child_goes_on_after_its_parent_is_gone_also_from_a_copy_a_backup_and_a_mirror() {
    // The parent lies in a place that will not be there any more.
    let first = Dir::new();
    let parent = Path::new(&first.path("parents")).join("test/20200101_000000");
    copied(&peaceful(), &parent);
    let from = parent.join("checkpoints/stage_2");
    let mirror = format!("checkpoint.checkpoint_dir={}", first.path("copies"));
    let args = ["--resume", from.to_str().unwrap(), "--set", &mirror];
    let output = first.train(&args);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let child = first.runs().remove(0);
    assert_same_end(&peaceful(), &child, "the child");
    // Of one file system, the anchor takes up nothing.
    let file = |run: &Path, dir: &str| run.join(dir).join("generator.pt").metadata().unwrap();
    use std::os::unix::fs::MetadataExt;
    assert_eq!(
        file(&child, "anchor").ino(),
        file(&parent, "checkpoints/stage_0").ino()
    );
    std::fs::remove_dir_all(first.path("parents")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_checkpoints"));
    let backup = command
        .current_dir(&first.root)
        .args(["backup", "safe", "--outputs", "out"]);
    assert!(backup.status().unwrap().success());

    let stamp = child.file_name().unwrap();
    for place in ["out", "safe", "copies"] {
        let dir = Dir::new();
        let run = Path::new(&dir.path("copy/test")).join(stamp);
        copied(
            &Path::new(&first.path(place)).join("test").join(stamp),
            &run,
        );
        if place == "out" {
            // Not where it was written either.
            std::fs::rename(&child, child.with_extension("hidden")).unwrap();
        }
        let from = run.join("checkpoints/stage_3");
        let output = dir.train(&["--resume", from.to_str().unwrap()]);
        assert!(output.status.success(), "{place}: {}", text(&output.stderr));
        assert_same_end(&peaceful(), &dir.runs()[0], place);
        std::fs::rename(child.with_extension("hidden"), &child).unwrap_or_default();
    }

    // One checkpoint alone says what it needs.
    let lone = Path::new(&first.path("lone")).join("stage_3");
    copied(&child.join("checkpoints/stage_3"), &lone);
    std::fs::remove_dir_all(child).unwrap();
    let dir = Dir::new();
    let output = dir.train(&["--resume", lone.to_str().unwrap()]);
    let told = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("anchored to stage_0 of its run"), "{told}");
    copied(
        &peaceful().join("checkpoints/stage_0"),
        &lone.with_file_name("stage_0"),
    );
    let output = dir.train(&["--resume", lone.to_str().unwrap()]);
    let told = text(&output.stderr);
    assert!(output.status.success(), "{told}");
    assert!(told.contains("metrics.jsonl has 0 of the"), "{told}");
}
