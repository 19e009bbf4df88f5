//! A disk that is really full: the run says so, goes on as long as it can, and ends with the command to go on.

use std::process::{Command, Output};

use super::{Dir, text};

/// Runs a shell script in a mount namespace of its own; none where that is not permitted.
fn apart(script: &str) -> Option<Output> {
    let unshare = |script: &str| {
        Command::new("unshare")
            .args(["-m", "sh", "-c", script])
            .output()
    };
    let permitted =
        unshare("mount -t tmpfs tmpfs /mnt").is_ok_and(|output| output.status.success());
    if !permitted {
        println!("skipped: this needs the right to mount a file system");
        return None;
    }
    Some(unshare(script).expect("it started a moment ago"))
}

#[test]
fn a_full_disk_is_told_and_the_command_to_go_on_works_once_there_is_room() {
    let dir = Dir::new();
    let out = dir.path("out");
    let train = format!(
        "{} --config {} --stages 1 --set warmup.generator_steps=120 --set evaluation.closing=false",
        env!("CARGO_BIN_EXE_train"),
        dir.path("test.yaml"),
    );
    // Room for one checkpoint of those that the run makes.
    let script = format!(
        "mkdir {out} && mount -t tmpfs -o size=3m tmpfs {out} || exit 99
         {train} 2> {out}.log; echo \"first: $?\"
         cat {out}.log >&2
         mount -o remount,size=300m {out} || exit 98
         sh -c \"$(sed -n 's/^go on with: //p' {out}.log)\"; echo \"second: $?\"
         ls -a {out}/test/*/checkpoints"
    );
    let Some(output) = apart(&script) else {
        return;
    };
    let (said, told) = (text(&output.stdout), text(&output.stderr));
    assert!(said.contains("first: 1\n"), "{said}\n{told}");
    assert!(told.contains("bytes are free; free some space"), "{told}");
    assert!(
        told.contains("could not be saved: ") && told.contains("go on with: "),
        "{told}"
    );
    assert!(
        said.contains("second: 0\n") && said.contains("final"),
        "{said}\n{told}"
    );
    assert!(!said.contains(".tmp-"), "{said}");
}
