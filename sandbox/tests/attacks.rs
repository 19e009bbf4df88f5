//! Hostile programs, in tables by what they are after: each gets its typed outcome within bounds of time and memory, harms
//! neither the process nor its next execution.
//!
//! Memory, threads and descriptors can be counted only where nothing else runs, so each table is worked through in a
//! process of its own: the tests start this binary again.

mod endless;
mod escape;
mod memory;
mod nesting;
mod output;
mod sabotage;
mod values;

use std::time::{Duration, Instant};

use gauntlet_sandbox::{Execution, Limits, Mode, Outcome, Sandbox, TimeLimit};

use crate::soak::Held;
use crate::{call_within, describe, program};

/// What a program tries, what may come of it (alternatives by `|`, as [`describe`] has them; a `*` stands for any rest), and
/// its code, whose `f()` is called.
type Attack = (&'static str, &'static str, &'static str);

/// The tables, and the fuel for each: what takes memory needs time for it.
const KINDS: [(&str, u64, &[Attack]); 6] = [
    ("endless", 1_500_000_000, endless::ATTACKS),
    ("escape", 1_500_000_000, escape::ATTACKS),
    ("memory", 6_000_000_000, memory::ATTACKS),
    ("output", 1_500_000_000, output::ATTACKS),
    ("sabotage", 1_500_000_000, sabotage::ATTACKS),
    ("values", 1_500_000_000, values::ATTACKS),
];

/// Which table the process that a test starts works through.
const KIND: &str = "GAUNTLET_ATTACKS";

/// What the host may take beyond the guest's own memory: a worker's stack, pages of machine code, copies of what came out.
const HOST_MEGABYTES: usize = 128;

fn work_through(kind: &str) {
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "attacks::one_table", "--nocapture"])
        .env(KIND, kind)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}\n{errors}");
    assert!(text.contains("1 passed"), "{text}");
}

#[test]
fn endless_code_is_stopped() {
    work_through("endless");
}

#[test]
fn the_outside_world_is_not_there() {
    work_through("escape");
}

#[test]
fn memory_and_stack_are_bounded() {
    work_through("memory");
}

#[test]
fn output_is_bounded() {
    work_through("output");
}

#[test]
fn sabotage_reaches_no_further_than_the_candidate() {
    work_through("sabotage");
}

#[test]
fn values_that_play_tricks_are_opaque_or_contained() {
    work_through("values");
}

#[test]
#[ignore = "run by the tests above, a table at a time; by itself it works through all of them"]
fn one_table() {
    let wanted = std::env::var(KIND);
    // One worker, so that the next execution takes the place of the last.
    let sandbox = Sandbox::open_with(1).expect("the sandbox runtime");
    let canary = "def f(): print('clean'); return [sum(range(1000)), {'a': (1.5, None)}]";
    let clean = execute(&sandbox, canary, &Limits::default());
    assert_eq!(clean.stdout, "clean\n");
    let mut wrong = Vec::new();
    let held = Held::now();
    let tables = KINDS.iter().filter(|(kind, ..)| match &wanted {
        Ok(wanted) => wanted == kind,
        Err(_) => true,
    });
    let attacks =
        tables.flat_map(|(_, fuel, attacks)| attacks.iter().map(move |attack| (fuel, attack)));
    for (&fuel, (name, expected, code)) in attacks {
        let limits = Limits {
            fuel: Some(fuel),
            wall: Duration::from_secs(30),
            ..Limits::default()
        };
        let before = Held::now();
        forget_peak();
        let started = Instant::now();
        let found = describe(&execute(&sandbox, code, &limits));
        println!("{name}: {found}, {:.1?}", started.elapsed());
        let fits = |expected: &str| match expected.strip_suffix('*') {
            Some(beginning) => found.starts_with(beginning),
            None => found == expected,
        };
        if !expected.split('|').any(fits) {
            wrong.push(format!("{name}: expected {expected}, found {found}"));
        }
        // Loading and calling have the limit each.
        assert!(started.elapsed() < limits.wall * 3, "{name}");
        let most = before.megabytes + (limits.memory_bytes >> 20) + HOST_MEGABYTES;
        let peak = peak_megabytes();
        assert!(peak <= most, "{name}: {peak} MB, more than {most}");
        let next = execute(&sandbox, canary, &Limits::default());
        assert_eq!(next, clean, "the next execution differs after {name}");
    }
    let after = Held::now();
    assert_eq!(after.threads, held.threads);
    assert_eq!(after.descriptors, held.descriptors);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn execute(sandbox: &Sandbox, code: &str, limits: &Limits) -> Execution {
    let mut executions = sandbox
        .execute(&program(code), &[vec![]], limits, Mode::Pure)
        .expect("no fault of the host");
    assert_eq!(executions.len(), 1);
    executions.remove(0)
}

/// Makes the process's memory of now its peak.
fn forget_peak() {
    if cfg!(target_os = "linux") {
        std::fs::write("/proc/self/clear_refs", "5").expect("a peak that can be reset");
    }
}

/// The most memory that the process held since its peak was forgotten.
fn peak_megabytes() -> usize {
    Held::field("VmHWM:") >> 10
}

#[test]
fn there_are_sixty_attacks_and_no_two_have_a_name() {
    let mut names: Vec<&str> = KINDS
        .iter()
        .flat_map(|(.., attacks)| attacks.iter().map(|(name, ..)| *name))
        .collect();
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count);
    assert!(count >= 60, "{count}");
}

#[test]
fn the_wall_clock_stops_what_fuel_does_not() {
    let limits = Limits {
        fuel: None,
        wall: Duration::from_millis(300),
        ..Limits::default()
    };
    let started = Instant::now();
    let execution = call_within("def f():\n while True: pass", "", &limits);
    assert_eq!(
        execution.result,
        Err(Outcome::Timeout {
            limit: TimeLimit::Wall
        })
    );
    assert!(started.elapsed() < Duration::from_secs(5));
}
