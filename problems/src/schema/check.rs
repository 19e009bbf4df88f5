//! Everything about a problem that can be told without executing it.

use gauntlet_sandbox::{Comparison, Expected};

use super::super::infer;
use super::super::signature::{Signature, find_entry, find_function};
use super::{CHECKER, Flaw, Problem, VALIDATOR};

impl Problem {
    /// Everything about a problem that can be told without executing it.
    ///
    /// # Errors
    /// The first field that is not as it should be.
    pub fn check(&self) -> Result<(), Flaw> {
        self.check_draft()?;
        if !self.can_be_judged() {
            return Err(Flaw::new(
                "tests",
                "has none, and there is no reference; a problem needs some way to judge a solution: tests, a reference, \
                 or a checker with inputs",
            ));
        }
        self.check_tests()
    }

    /// Whether anything says which solutions are right.
    fn can_be_judged(&self) -> bool {
        let stated = |test: &super::ScriptTest| test.stdout.is_some();
        !self.tests.is_empty()
            || !self.code_tests.is_empty()
            || self.script_tests.iter().any(stated)
            || self.reference.is_some()
            || self.checker.is_some() && !(self.inputs.is_empty() && self.script_tests.is_empty())
    }

    /// The fields that only a problem of the shipped set must have, and this one has not.
    pub fn missing_fields(&self) -> Vec<&'static str> {
        let fields = [
            ("signature", self.signature.is_none()),
            ("entry_point", self.entry_point.is_none()),
            ("reference", self.reference.is_none()),
            ("tests", self.tests.is_empty()),
            ("input_validator", self.input_validator.is_none()),
            ("trace", self.trace.is_none()),
            ("difficulty", self.difficulty.is_none()),
            ("source", self.source == super::UNKNOWN),
            ("licence", self.licence == super::UNKNOWN),
        ];
        let missing = fields.into_iter().filter(|(_, missing)| *missing);
        missing.map(|(field, _)| field).collect()
    }

    /// [`Problem::check`] without the tests, which a [`Draft`](super::Draft) does not have yet.
    pub(crate) fn check_draft(&self) -> Result<(), Flaw> {
        let texts = [
            ("id", &self.id),
            ("statement", &self.statement),
            ("family", &self.family),
            ("source", &self.source),
            ("licence", &self.licence),
        ];
        for (field, text) in texts {
            if text.trim().is_empty() {
                return Err(Flaw::new(field, "is empty"));
            }
        }
        if self.id.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(Flaw::new(
                "id",
                format!("{:?} holds a space; write family/name", self.id),
            ));
        }
        if let Some(difficulty) = self.difficulty
            && !(1..=5).contains(&difficulty)
        {
            return Err(Flaw::new(
                "difficulty",
                format!("is {difficulty}; it goes from 1 to 5"),
            ));
        }
        if let Comparison::Float(tolerance) = self.comparison
            && !(tolerance > 0.0 && tolerance.is_finite())
        {
            let message = format!("a tolerance of {tolerance}; it must be above 0, such as 1e-6");
            return Err(Flaw::new("comparison", message));
        }
        for (index, stage) in self.trace.iter().flatten().enumerate() {
            if stage.trim().is_empty() {
                return Err(Flaw::new(
                    format!("trace[{index}]"),
                    "is empty; all five stages are written",
                ));
            }
        }
        self.check_code()
    }

    fn check_code(&self) -> Result<(), Flaw> {
        let signature = self.parsed_signature()?;
        if let (Some(signature), Some(entry_point)) = (&signature, &self.entry_point)
            && signature.name != self.function()
        {
            let message = format!(
                "is {entry_point:?}, but the signature defines `{}`",
                signature.name
            );
            return Err(Flaw::new("entry_point", message));
        }
        let trace = self.trace.as_ref().map(|trace| &trace[4]);
        let solutions = [("reference", self.reference.as_ref()), ("trace[4]", trace)];
        for (field, code) in solutions {
            let Some(code) = code else { continue };
            let Some(entry_point) = &self.entry_point else {
                infer::parses(code).map_err(|message| Flaw::new(field, message))?;
                continue;
            };
            let found = find_entry(code, entry_point).map_err(|m| Flaw::new(field, m))?;
            takes(field, &found, signature.as_ref())?;
        }
        if let Some(validator) = &self.input_validator {
            let field = "input_validator";
            let found = find_function(validator, VALIDATOR).map_err(|m| Flaw::new(field, m))?;
            takes(field, &found, signature.as_ref())?;
        }
        if let Some(checker) = &self.checker {
            let found = find_function(checker, CHECKER).map_err(|m| Flaw::new("checker", m))?;
            if !found.takes(3) {
                let message = format!(
                    "defines `{found}`; it must take three arguments: `def {CHECKER}(input, expected, got)`"
                );
                return Err(Flaw::new("checker", message));
            }
        }
        if let Some(setup) = &self.setup {
            infer::parses(setup).map_err(|message| Flaw::new("setup", message))?;
        }
        Ok(())
    }

    fn check_tests(&self) -> Result<(), Flaw> {
        for (index, test) in self.code_tests.iter().enumerate() {
            let field = format!("tests[{}]", self.tests.len() + self.inputs.len() + index);
            infer::parses(&test.setup).map_err(|m| Flaw::new(format!("{field}.setup"), m))?;
            infer::parses(&test.code).map_err(|m| Flaw::new(format!("{field}.code"), m))?;
        }
        let calls = self.tests.len() + self.inputs.len() + self.code_tests.len();
        if self.is_script() && calls > 0 {
            let message = "is missing, and the tests do not say which function they call; name it";
            return Err(Flaw::new("entry_point", message));
        }
        if !self.is_script() && !self.script_tests.is_empty() {
            let message = "stands beside tests with `stdin`; a script has no entry point";
            return Err(Flaw::new("entry_point", message));
        }
        let signature = self.parsed_signature()?;
        let inputs = self.inputs.iter().map(|input| &input.args);
        let args = self.tests.iter().map(|test| &test.args).chain(inputs);
        for (index, args) in args.enumerate() {
            if let Some(signature) = &signature
                && !signature.takes(args.len())
            {
                let message = format!(
                    "has {} arguments, which `{signature}` does not take",
                    args.len()
                );
                return Err(Flaw::new(format!("tests[{index}].args"), message));
            }
        }
        for (index, test) in self.tests.iter().enumerate() {
            if let Expected::Raises(kind) = &test.expected
                && !is_identifier(kind)
            {
                let message =
                    format!("{kind:?} is no exception; name its type, such as ValueError");
                return Err(Flaw::new(format!("tests[{index}].expected"), message));
            }
        }
        for (index, test) in self.code_tests.iter().enumerate() {
            let field = format!("tests[{}]", self.tests.len() + self.inputs.len() + index);
            if !infer::calls(&test.code, &[self.function(), "candidate", "check"]) {
                let message = format!("calls neither `{}` nor `candidate`", self.function());
                return Err(Flaw::new(format!("{field}.code"), message));
            }
        }
        Ok(())
    }
}

/// Refuses code whose function does not take the arguments of the signature.
fn takes(field: &str, found: &Signature, signature: Option<&Signature>) -> Result<(), Flaw> {
    match signature {
        Some(signature) if !found.takes(signature.params.len()) => {
            let message =
                format!("defines `{found}`, which does not take the arguments of `{signature}`");
            Err(Flaw::new(field, message))
        }
        _ => Ok(()),
    }
}

pub(crate) fn is_identifier(text: &str) -> bool {
    text.chars().all(|c| c == '_' || c.is_alphanumeric())
        && !text.starts_with(|c: char| c.is_numeric())
        && !text.is_empty()
}
