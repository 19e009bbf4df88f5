//! A stage on the terminal while it is being written.

use std::io::Write;

use gauntlet::encoding::PromptEncoder;
use gauntlet::stage::Stage;

/// Shows a stage piece by piece; in the end it looks as [`crate::results::stage_text`] writes it.
pub struct LiveStage<'a> {
    encoder: &'a PromptEncoder,
    tokens: Vec<u32>,
    /// Bytes of the text that are on the terminal.
    shown: usize,
}

impl<'a> LiveStage<'a> {
    /// Shows the stage's name, and what it opens with.
    pub fn begin(stage: Stage, opening: &str, encoder: &'a PromptEncoder) -> Self {
        show(&format!("{}. {}\n{opening}", stage.number(), stage.name()));
        Self {
            encoder,
            tokens: Vec::new(),
            shown: 0,
        }
    }

    /// Shows what a token adds.
    pub fn hear(&mut self, token: u32) {
        self.tokens.push(token);
        let text = self.encoder.decode(&self.tokens);
        let ready = ready(&text);
        if let Some(piece) = ready.get(self.shown..) {
            show(piece);
            self.shown = ready.len();
        }
    }

    /// Ends the stage, with what had been held back.
    pub fn end(self) {
        let text = self.encoder.decode(&self.tokens);
        let rest = text.trim_end().get(self.shown..).unwrap_or_default();
        show(&format!("{rest}\n\n"));
    }
}

/// What no later token changes: without the bytes of a character that is not complete, and without blanks that may turn
/// out to be the last.
fn ready(text: &str) -> &str {
    text.trim_end_matches('\u{FFFD}').trim_end()
}

/// What cannot be shown is told by whoever prints the results at the end.
fn show(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

#[cfg(test)]
mod tests {
    use super::ready;

    #[test]
    fn unfinished_characters_and_last_blanks_wait() {
        assert_eq!(ready("def f():\n    "), "def f():");
        assert_eq!(ready("caf\u{FFFD}"), "caf");
        assert_eq!(ready("a \u{FFFD}\u{FFFD}"), "a");
        assert_eq!(ready(""), "");
    }
}
