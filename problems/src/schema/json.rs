//! A problem as JSON, read field by field so that what is wrong is named.

use gauntlet_sandbox::{CodeTest, Comparison, Expected, Test, Value};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value as Json, json};

use super::super::asserts;
use super::super::infer;
use super::{Flaw, Input, Problem, ScriptTest, UNKNOWN, family_of};

/// Every field, in the order in which they are written.
pub(super) const FIELDS: [&str; 18] = [
    "id",
    "statement",
    "signature",
    "entry_point",
    "reference",
    "tests",
    "setup",
    "checker",
    "input_validator",
    "comparison",
    "trace",
    "incorrect",
    "family",
    "difficulty",
    "tags",
    "split",
    "source",
    "licence",
];

/// The keys of a test in its forms.
const TEST_KEYS: [&str; 7] = [
    "args", "expected", "code", "setup", "stdin", "stdout", "tags",
];

impl Problem {
    /// Reads the JSON form, without the checks that parse Python: [`Problem::check`] has those.
    ///
    /// # Errors
    /// The first field that is not as it should be.
    pub fn from_json(mut map: Map<String, Json>) -> Result<Problem, Flaw> {
        if let Some(unknown) = map.keys().find(|key| !FIELDS.contains(&key.as_str())) {
            let message = format!(
                "is no field of a problem; the fields are {}",
                FIELDS.join(", ")
            );
            return Err(Flaw::new(unknown, message));
        }
        let id: String = take(&mut map, "id")?;
        let trace: Option<Vec<String>> = take_opt(&mut map, "trace")?;
        let stages = trace.as_ref().map_or(0, Vec::len);
        let five = |_| Flaw::new("trace", format!("has {stages} stages; it must have five"));
        let mut problem = Problem {
            statement: take(&mut map, "statement")?,
            signature: take_opt(&mut map, "signature")?,
            entry_point: take_opt(&mut map, "entry_point")?,
            reference: take_opt(&mut map, "reference")?,
            setup: take_opt(&mut map, "setup")?,
            checker: take_opt(&mut map, "checker")?,
            input_validator: take_opt(&mut map, "input_validator")?,
            comparison: take_opt(&mut map, "comparison")?.unwrap_or(Comparison::Exact),
            trace: trace.map(|t| t.try_into().map_err(five)).transpose()?,
            incorrect: take_opt(&mut map, "incorrect")?.unwrap_or_default(),
            family: take_opt(&mut map, "family")?.unwrap_or_else(|| family_of(&id)),
            difficulty: take_opt(&mut map, "difficulty")?,
            tags: take_opt(&mut map, "tags")?.unwrap_or_default(),
            split: take_opt(&mut map, "split")?.unwrap_or_default(),
            source: take_opt(&mut map, "source")?.unwrap_or_else(|| UNKNOWN.to_owned()),
            licence: take_opt(&mut map, "licence")?.unwrap_or_else(|| UNKNOWN.to_owned()),
            ..Problem::new(id, "")
        };
        let tests: Vec<Json> = take_opt(&mut map, "tests")?.unwrap_or_default();
        for (index, test) in tests.into_iter().enumerate() {
            add_test(&mut problem, test).map_err(|flaw| {
                let dot = if flaw.field.is_empty() { "" } else { "." };
                Flaw::new(format!("tests[{index}]{dot}{}", flaw.field), flaw.message)
            })?;
        }
        infer::fill(&mut problem);
        Ok(problem)
    }

    /// The JSON form; fields without a value are left out.
    pub fn to_json(&self) -> Map<String, Json> {
        let mut map = Map::new();
        let mut put = |field: &str, value: Json| {
            let empty = match &value {
                Json::Null => true,
                Json::Array(items) => items.is_empty() && field == "incorrect",
                _ => false,
            };
            if !empty {
                map.insert(field.to_owned(), value);
            }
        };
        put("id", json!(self.id));
        put("statement", json!(self.statement));
        put("signature", json!(self.signature));
        put("entry_point", json!(self.entry_point));
        put("reference", json!(self.reference));
        let calls = self.tests.iter().map(|test| json!(test));
        let inputs = self.inputs.iter().map(|input| json!(input));
        let code = self.code_tests.iter().map(|test| match &test.setup {
            setup if setup.is_empty() => json!(test.code),
            setup => json!({"code": test.code, "setup": setup}),
        });
        let scripts = self.script_tests.iter().map(|test| json!(test));
        put(
            "tests",
            calls.chain(inputs).chain(code).chain(scripts).collect(),
        );
        put("setup", json!(self.setup));
        put("checker", json!(self.checker));
        put("input_validator", json!(self.input_validator));
        put("comparison", json!(self.comparison));
        put("trace", json!(self.trace));
        put("incorrect", json!(self.incorrect));
        put("family", json!(self.family));
        put("difficulty", json!(self.difficulty));
        put("tags", json!(self.tags));
        put("split", json!(self.split));
        put("source", json!(self.source));
        put("licence", json!(self.licence));
        map
    }
}

impl Serialize for Problem {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_json().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Problem {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Problem, D::Error> {
        let map = Map::deserialize(deserializer)?;
        let read = |map| {
            let problem = Problem::from_json(map)?;
            problem.check()?;
            Ok::<Problem, Flaw>(problem)
        };
        read(map).map_err(serde::de::Error::custom)
    }
}

/// Takes a field that must be there.
pub(crate) fn take<T: DeserializeOwned>(
    map: &mut Map<String, Json>,
    field: &str,
) -> Result<T, Flaw> {
    let json = map
        .remove(field)
        .ok_or_else(|| Flaw::new(field, "is missing"))?;
    serde_json::from_value(json).map_err(|error| Flaw::new(field, error.to_string()))
}

/// Takes a field that may be missing or null.
pub(crate) fn take_opt<T: DeserializeOwned>(
    map: &mut Map<String, Json>,
    field: &str,
) -> Result<Option<T>, Flaw> {
    match map.remove(field) {
        None | Some(Json::Null) => Ok(None),
        Some(json) => serde_json::from_value(json)
            .map(Some)
            .map_err(|error| Flaw::new(field, error.to_string())),
    }
}

/// Adds one test, told by its keys to be of one of the forms.
fn add_test(problem: &mut Problem, test: Json) -> Result<(), Flaw> {
    let mut map = match test {
        Json::String(code) => {
            asserts::add(problem, &code, "");
            return Ok(());
        }
        Json::Object(map) => map,
        other => {
            let message = format!("{other} is no test: {FORMS}");
            return Err(Flaw::new("", message));
        }
    };
    if let Some(unknown) = map.keys().find(|key| !TEST_KEYS.contains(&key.as_str())) {
        let message = "is no field of a test; the fields are args, expected, tags; or code, setup; or stdin, stdout, tags";
        return Err(Flaw::new(unknown, message));
    }
    let has = |key: &str| map.contains_key(key);
    match (has("args"), has("code"), has("stdin")) {
        (true, false, false) => {
            // Null is a value that can be expected; only its absence means that none is known.
            let expected = map.remove("expected");
            let args: Vec<Value> = take(&mut map, "args")?;
            let tags = take_opt(&mut map, "tags")?.unwrap_or_default();
            match expected {
                Some(expected) => {
                    let stated = serde_json::from_value(expected).map_err(wrong("expected"))?;
                    if let Expected::Assertion(_) = stated {
                        let message = "a test expects a value or {\"$raises\": ..}";
                        return Err(Flaw::new("expected", message));
                    }
                    problem.tests.push(Test {
                        args,
                        expected: stated,
                        tags,
                    });
                }
                None => problem.inputs.push(Input { args, tags }),
            }
        }
        (false, true, false) => {
            let code: String = take(&mut map, "code")?;
            let setup: String = take_opt(&mut map, "setup")?.unwrap_or_default();
            problem.code_tests.push(CodeTest { code, setup });
        }
        (false, false, true) => {
            let test = ScriptTest {
                stdin: take(&mut map, "stdin")?,
                stdout: take_opt(&mut map, "stdout")?,
                tags: take_opt(&mut map, "tags")?.unwrap_or_default(),
            };
            problem.script_tests.push(test);
        }
        _ => return Err(Flaw::new("", format!("is no test: {FORMS}"))),
    }
    match map.keys().next() {
        Some(key) => Err(Flaw::new(
            key,
            format!("does not go with the test's other fields: {FORMS}"),
        )),
        None => Ok(()),
    }
}

const FORMS: &str = "a test is {\"args\": [..], \"expected\": ..}, code such as \"assert f(1) == 2\", {\"code\": .., \"setup\": ..} or \
                     {\"stdin\": .., \"stdout\": ..}";

fn wrong(field: &'static str) -> impl Fn(serde_json::Error) -> Flaw {
    move |error| Flaw::new(field, error.to_string())
}
