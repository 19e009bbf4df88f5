//! What stands around a model's own texts: nothing in the plain format, the turns of a conversation in chat.

use crate::model::chat_template::{ChatTemplate, Message};

use super::EncodingError;

/// The pieces of a conversation, cut out of a rendered chat template.
///
/// ```text
/// before  PROMPT  after  COMPLETION  end  between  INSTRUCTION  after  COMPLETION  ..
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    /// Up to the text of the first user message.
    pub before: String,
    /// From the end of a user's text to where the model writes.
    pub after: String,
    /// The token that the model closes its message with.
    pub end: String,
    /// From behind that token to the text of the next user message.
    pub between: String,
}

impl Frame {
    /// Cuts the template at marks put in the messages' places. `is_token` says what the tokenizer knows as one special
    /// token.
    pub fn cut(
        template: &ChatTemplate,
        is_token: impl Fn(&str) -> bool,
    ) -> Result<Self, EncodingError> {
        const FIRST: &str = "@first user@";
        const REPLY: &str = "@assistant@";
        const SECOND: &str = "@second user@";
        let messages = [
            Message::user(FIRST),
            Message::assistant(REPLY),
            Message::user(SECOND),
        ];
        let text = template.render(&messages, true)?;
        let pieces = text.split_once(FIRST).and_then(|(before, rest)| {
            let (_, rest) = rest.split_once(REPLY)?;
            let (closing, after) = rest.split_once(SECOND)?;
            Some((before, closing, after))
        });
        let Some((before, closing, after)) = pieces else {
            return Err(EncodingError::ChatTemplate(
                "it changes the messages' texts, or leaves some out".into(),
            ));
        };
        // The end token is the special token that closes the reply: the shortest start of what follows that is one.
        let end = closing
            .char_indices()
            .map(|(at, c)| &closing[..at + c.len_utf8()])
            .find(|start| is_token(start))
            .ok_or_else(|| {
                EncodingError::ChatTemplate(format!(
                    "no special token closes the model's message; it is followed by {closing:?}"
                ))
            })?;
        Ok(Self {
            before: before.to_owned(),
            after: after.to_owned(),
            end: end.to_owned(),
            between: closing[end.len()..].to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHATML: &str = "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>' + '\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

    #[test]
    fn pieces_make_the_conversation_again() {
        let template = ChatTemplate::new(CHATML, "", "<|im_end|>").unwrap();
        let frame = Frame::cut(&template, |t| t == "<|im_end|>").unwrap();
        let Frame {
            before,
            after,
            end,
            between,
        } = &frame;
        let messages = [
            Message::user("A"),
            Message::assistant("B"),
            Message::user("C"),
        ];
        assert_eq!(
            format!("{before}A{after}B{end}{between}C{after}"),
            template.render(&messages, true).unwrap()
        );
        assert_eq!(end, "<|im_end|>");
    }

    #[test]
    fn a_template_without_an_end_token_is_refused() {
        let template = ChatTemplate::new(CHATML, "", "").unwrap();
        let error = Frame::cut(&template, |_| false).unwrap_err().to_string();
        assert!(error.contains("no special token closes"), "{error}");
        let shouting = ChatTemplate::new("{{ messages[0].content | upper }}", "", "").unwrap();
        let error = Frame::cut(&shouting, |_| true).unwrap_err().to_string();
        assert!(error.contains("changes the messages' texts"), "{error}");
    }
}
