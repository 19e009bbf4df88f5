//! Where the code is in a completion of the last stage.

use super::Format;

/// The code in a completion: all of it in the plain format; in chat the first fenced block that defines something,
/// else the first block, else the whole text if it defines something itself. None when there is nothing.
pub fn extract_code(format: Format, completion: &str) -> Option<String> {
    let code = match format {
        Format::Plain => completion,
        Format::Chat => match fenced_blocks(completion).as_slice() {
            [] if defines(completion) => completion,
            [] => return None,
            [first, ..] if !defines(first) => fenced_blocks(completion)
                .into_iter()
                .find(|b| defines(b))
                .unwrap_or(first),
            [first, ..] => first,
        },
    };
    (!code.trim().is_empty()).then(|| code.to_owned())
}

fn defines(text: &str) -> bool {
    text.lines()
        .any(|line| line.starts_with("def ") || line.starts_with("class "))
}

/// The insides of the fenced blocks; one that is not closed reaches to the end.
fn fenced_blocks(text: &str) -> Vec<&str> {
    let mut blocks = Vec::new();
    let mut rest = text;
    while let Some((_, opened)) = rest.split_once("```") {
        // What follows the fence on its line names the language.
        let Some((_, inside)) = opened.split_once('\n') else {
            break;
        };
        let (block, after) = inside.split_once("```").unwrap_or((inside, ""));
        blocks.push(block);
        rest = after;
    }
    blocks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_is_found() {
        let def = "def f():\n    return 1\n";
        for (format, completion, code) in [
            (Format::Plain, def.to_owned(), Some(def)),
            (Format::Plain, " \n".into(), None),
            (
                Format::Chat,
                format!("Here:\n```python\n{def}```\nDone."),
                Some(def),
            ),
            (
                Format::Chat,
                format!("```\npip install x\n```\nthen\n```py\n{def}```"),
                Some(def),
            ),
            (
                Format::Chat,
                format!("```python\n{def}```\n```python\nprint(f())\n```"),
                Some(def),
            ),
            (Format::Chat, format!("```python\n{def}"), Some(def)),
            (
                Format::Chat,
                "```python\nx = 1\n```".into(),
                Some("x = 1\n"),
            ),
            (Format::Chat, def.into(), Some(def)),
            (Format::Chat, "I cannot do that.".into(), None),
            (Format::Chat, "```python\n```".into(), None),
            (Format::Chat, "```".into(), None),
            (Format::Chat, String::new(), None),
        ] {
            assert_eq!(
                extract_code(format, &completion).as_deref(),
                code,
                "{completion:?}"
            );
        }
    }
}
