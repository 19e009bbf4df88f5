//! Names that stay inside their directory on any file system.

use super::CheckpointError;

/// The link to the newest checkpoint of a run.
pub const LATEST: &str = "latest";

/// The link to the checkpoint with the best validation score of a run.
pub const BEST: &str = "best";

/// Periodic sampler checkpoints end with this, beside the full ones of the same steps.
pub(super) const SAMPLER: &str = "_sampler";

/// Directories being written start with this.
pub(super) const TEMPORARY: &str = ".tmp-";

/// Directories being deleted start with this.
pub(super) const TRASH: &str = ".trash-";

/// What is wrong with a name, if anything. Good names are 1 to 100 letters, digits, `.`, `_`, `-`
/// and `+`, and do not start with a dot or a dash.
fn fault(name: &str) -> Option<&'static str> {
    if name.is_empty() {
        return Some("it is empty");
    }
    if name.len() > 100 {
        return Some("it is longer than 100 bytes");
    }
    if name.starts_with(['.', '-']) {
        return Some("it starts with a dot or a dash");
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '+');
    if !name.chars().all(plain) {
        return Some("it has characters other than letters, digits and . _ - +");
    }
    None
}

/// Checks a name of a file, a player or a run.
pub(super) fn check(what: &'static str, name: &str) -> Result<(), CheckpointError> {
    match fault(name) {
        None => Ok(()),
        Some(reason) => Err(CheckpointError::Name {
            what,
            name: name.into(),
            reason,
        }),
    }
}

/// Checks the name of a run.
pub fn check_run(name: &str) -> Result<(), CheckpointError> {
    check("a run", name)
}

/// Checks the name of a checkpoint that is to be written.
pub(super) fn check_new(name: &str) -> Result<(), CheckpointError> {
    check("a checkpoint", name)?;
    if [LATEST, BEST].contains(&name) {
        let reason = "it is the name of a link";
        return Err(CheckpointError::Name {
            what: "a checkpoint",
            name: name.into(),
            reason,
        });
    }
    Ok(())
}

/// Whether a name is that of something half written or half deleted.
pub(super) fn is_leftover(name: &str) -> bool {
    name.starts_with(TEMPORARY) || name.starts_with(TRASH)
}

/// The checkpoint that a temporary directory, `.tmp-<name>-<process>-<count>`, is to become.
pub(super) fn of_temporary(name: &str) -> Option<&str> {
    name.strip_prefix(TEMPORARY)?.rsplitn(3, '-').nth(2)
}

/// The name of a checkpoint that tells how many players there are: `stage_2_g2_d1`.
pub fn with_players(name: &str, generators: usize, discriminators: usize) -> String {
    format!("{name}_g{generators}_d{discriminators}")
}

/// A name that a run gave, without what it tells of the players; a person's own names stay as they are.
fn without_players(name: &str) -> &str {
    let number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let counts = |rest: &str| {
        rest.split_once("_d")
            .is_some_and(|(generators, discriminators)| {
                number(generators) && number(discriminators)
            })
    };
    match name.rsplit_once("_g") {
        Some((base, rest)) if counts(rest) && is_given(base) => base,
        _ => name,
    }
}

/// Whether a checkpoint of this name is found as `wanted`, which need not tell of the players.
pub fn is_called(name: &str, wanted: &str) -> bool {
    name == wanted || without_players(name) == wanted
}

/// Whether a name is one of those that a run gives by itself.
pub(super) fn is_ours(name: &str) -> bool {
    is_given(without_players(name))
}

fn is_given(name: &str) -> bool {
    let numbered = |prefix: &str| {
        name.strip_prefix(prefix).is_some_and(|rest| {
            let digits = rest.strip_suffix(SAMPLER).unwrap_or(rest);
            !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())
        })
    };
    ["final", "warm_up"].contains(&name)
        || name.starts_with("emergency")
        || numbered("stage_")
        || numbered("step_")
}

/// The kind of periodic checkpoint that a name tells: `step_<digits>`, whose suffix is empty or
/// that of a sampler; what it tells of the players comes behind.
pub(super) fn periodic_suffix(name: &str) -> Option<&str> {
    let rest = without_players(name).strip_prefix("step_")?;
    let (digits, suffix) = rest.split_at(
        rest.find(|c: char| !c.is_ascii_digit())
            .unwrap_or(rest.len()),
    );
    (!digits.is_empty() && ["", SAMPLER].contains(&suffix)).then_some(suffix)
}

/// Whether a path with `/` is made of good names alone.
pub(super) fn is_plain_path(path: &str) -> bool {
    path.split('/').all(|part| fault(part).is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_names_are_refused() {
        for name in ["stage_3", "step_000120", "my-run.v2+x", "a"] {
            check_new(name).unwrap();
        }
        let long = "x".repeat(101);
        for name in [
            "", ".", "..", "../x", "a/b", "a\\b", ".hidden", "-rf", "a b", "é", "a\n", &long,
            "best",
        ] {
            assert!(check_new(name).is_err(), "{name:?}");
        }
        assert!(is_plain_path("prompts/stage_1.j2"));
        assert_eq!(of_temporary(".tmp-a-name-17-0"), Some("a-name"));
        assert_eq!(of_temporary(".trash-a-17-0"), None);
    }

    #[test]
    fn a_name_that_tells_of_players_is_found_without_them() {
        let stage = with_players("stage_2", 2, 1);
        assert_eq!(stage, "stage_2_g2_d1");
        assert!(is_called(&stage, "stage_2") && is_called(&stage, &stage) && is_ours(&stage));
        assert!(!is_called(&stage, "stage_2_g1_d1") && !is_called("stage_2", &stage));
        assert_eq!(periodic_suffix("step_000120_g2_d1"), Some(""));
        assert_eq!(periodic_suffix("step_000120_sampler_g2_d1"), Some(SAMPLER));
        // A person's own.
        for own in ["mine_g2_d1", "stage_2_g2", "stage_2_g2_dx"] {
            assert!(
                !is_ours(own) && !is_called(own, "mine") && !is_called(own, "stage_2"),
                "{own}"
            );
        }
    }
}
