//! Why an instance died, as the runtime and the host agree to say it.

use wasmtime::{Module, ModuleExport, Trap};

use crate::fault::Fault;
use crate::outcome::{Outcome, TimeLimit};

/// Begins the names of exports that stand for what the sandbox does not provide. All exports of this and the next
/// beginning are one global; a function that ends the instance sets it to its place among them, from 1.
pub(crate) const DENIED: &str = "denied:";

/// Begins the names of exports that stand for an end of the interpreter's own making.
pub(crate) const FATAL: &str = "fatal:";

/// The global that says where C's stack ends. The stack lies at the beginning of the memory and grows towards it, so a
/// negative end is beyond it.
pub(crate) const STACK_POINTER: &str = "stack_pointer";

/// What the runtime can note about an instance's end.
pub(crate) struct Causes {
    /// The global that holds the number of the cause, 0 while there is none.
    pub(crate) noted: ModuleExport,
    pub(crate) stack_pointer: ModuleExport,
    /// The exports' names, by number.
    names: Vec<String>,
}

/// What an instance's globals say once it has died.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LastWords {
    /// The number of the cause.
    pub(crate) noted: i32,
    /// Where C's stack ends.
    pub(crate) stack_pointer: i32,
    /// Whether memory was refused.
    pub(crate) refused: bool,
}

impl Causes {
    pub(crate) fn of(module: &Module) -> Result<Causes, Fault> {
        let names: Vec<String> = module
            .exports()
            .map(|export| export.name().to_owned())
            .filter(|name| name.starts_with(DENIED) || name.starts_with(FATAL))
            .collect();
        let export = |name: &str| module.get_export_index(name);
        let noted = names.first().and_then(|name| export(name));
        match (noted, export(STACK_POINTER)) {
            (Some(noted), Some(stack_pointer)) => Ok(Causes {
                noted,
                stack_pointer,
                names,
            }),
            _ => Err(Fault::Instance {
                why: "the runtime exports no causes".into(),
            }),
        }
    }

    /// What the way an instance died says about the code it ran.
    pub(crate) fn outcome(&self, trap: Trap, last: LastWords) -> Outcome {
        outcome(&self.names, trap, last)
    }
}

fn outcome(names: &[String], trap: Trap, last: LastWords) -> Outcome {
    let timeout = |limit| Outcome::Timeout { limit };
    let at = usize::try_from(last.noted).ok();
    let noted = at.and_then(|at| names.get(at.checked_sub(1)?));
    let denied = noted.and_then(|name| name.strip_prefix(DENIED));
    let fatal = noted.and_then(|name| name.strip_prefix(FATAL));
    match trap {
        Trap::OutOfFuel => timeout(TimeLimit::Fuel),
        Trap::Interrupt => timeout(TimeLimit::Wall),
        Trap::StackOverflow => Outcome::StackOverflow,
        // C's own stack lies in the memory.
        Trap::MemoryOutOfBounds if last.stack_pointer < 0 => Outcome::StackOverflow,
        _ => match (denied, fatal) {
            (Some(what), _) => Outcome::Forbidden { what: what.into() },
            // CPython gives up where it cannot even raise MemoryError.
            _ if last.refused => Outcome::OutOfMemory,
            (_, Some(what)) => Outcome::Crashed { what: what.into() },
            _ => Outcome::Crashed {
                what: trap.to_string(),
            },
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_cause_that_explains_an_end_is_named() {
        let names = ["denied:files".to_owned(), "fatal:abort".to_owned()];
        let of = |trap, noted, stack_pointer, refused| {
            let last = LastWords {
                noted,
                stack_pointer,
                refused,
            };
            outcome(&names, trap, last)
        };
        let (files, abort) = (
            Outcome::Forbidden {
                what: "files".into(),
            },
            Outcome::Crashed {
                what: "abort".into(),
            },
        );
        let dead = Trap::UnreachableCodeReached;
        assert_eq!(of(dead, 1, 100, false), files);
        assert_eq!(of(dead, 1, 100, true), files);
        assert_eq!(of(dead, 2, 100, false), abort);
        assert_eq!(of(dead, 2, 100, true), Outcome::OutOfMemory);
        assert_eq!(
            of(Trap::StackOverflow, 2, 100, true),
            Outcome::StackOverflow
        );
        let beyond = Trap::MemoryOutOfBounds;
        assert_eq!(of(beyond, 0, -100, true), Outcome::StackOverflow);
        // A guest that has written over the number says nothing about other causes.
        for noted in [0, 3, -1, i32::MIN] {
            let crashed = Outcome::Crashed {
                what: "wasm trap: out of bounds memory access".into(),
            };
            assert_eq!(of(beyond, noted, 100, false), crashed);
        }
        let fuel = Outcome::Timeout {
            limit: TimeLimit::Fuel,
        };
        assert_eq!(of(Trap::OutOfFuel, 1, -100, true), fuel);
    }
}
