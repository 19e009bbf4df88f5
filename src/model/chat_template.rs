//! Chat templates as they are published with models: jinja that turns messages into the text a model was tuned on.

use minijinja::{Environment, Error, ErrorKind, context};
use serde::Serialize;

/// Why a template does not work.
#[derive(Debug, thiserror::Error)]
#[error("chat template: {0}")]
pub struct ChatTemplateError(String);

/// One message of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Message<'a> {
    /// `system`, `user` or `assistant`.
    pub role: &'a str,
    /// Its text.
    pub content: &'a str,
}

impl<'a> Message<'a> {
    /// A message of the user.
    pub fn user(content: &'a str) -> Self {
        Self {
            role: "user",
            content,
        }
    }

    /// A message of the model.
    pub fn assistant(content: &'a str) -> Self {
        Self {
            role: "assistant",
            content,
        }
    }
}

/// A parsed template with the special tokens it may name.
#[derive(Clone, Debug)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    source: String,
    bos_token: String,
    eos_token: String,
}

impl ChatTemplate {
    /// Parses `source`. The dialect is that of transformers: block lines leave no blank lines, Python's string and
    /// mapping methods work, `raise_exception` refuses a conversation.
    pub fn new(source: &str, bos_token: &str, eos_token: &str) -> Result<Self, ChatTemplateError> {
        let mut environment = Environment::new();
        environment.set_trim_blocks(true);
        environment.set_lstrip_blocks(true);
        environment
            .set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function(
            "raise_exception",
            |message: String| -> Result<String, Error> {
                Err(Error::new(ErrorKind::InvalidOperation, message))
            },
        );
        environment
            .add_template_owned("chat", source.to_owned())
            .map_err(|error| ChatTemplateError(error.to_string()))?;
        Ok(Self {
            environment,
            source: source.to_owned(),
            bos_token: bos_token.to_owned(),
            eos_token: eos_token.to_owned(),
        })
    }

    /// The template's text.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The token that begins a text, where the template asks for it.
    pub fn bos_token(&self) -> &str {
        &self.bos_token
    }

    /// The token that ends a completion, where the template asks for it.
    pub fn eos_token(&self) -> &str {
        &self.eos_token
    }

    /// The text of a conversation; with `generate`, up to where the model's next message begins.
    pub fn render(
        &self,
        messages: &[Message],
        generate: bool,
    ) -> Result<String, ChatTemplateError> {
        self.environment
            .get_template("chat")
            .and_then(|template| {
                template.render(context! {
                    messages,
                    add_generation_prompt => generate,
                    bos_token => self.bos_token,
                    eos_token => self.eos_token,
                    enable_thinking => false,
                })
            })
            .map_err(|error| ChatTemplateError(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHATML: &str = "{% for message in messages %}\n    {%- if message.role == 'user' and not message.content.strip() %}\n        {{- raise_exception('an empty message') }}\n    {%- endif %}\n    {{- '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}\n{%- endfor %}\n{%- if add_generation_prompt %}\n    {{- '<|im_start|>assistant\\n' }}\n{%- endif %}\n";

    #[test]
    fn a_conversation_is_rendered_as_python_does_it() {
        let template = ChatTemplate::new(CHATML, "", "<|im_end|>").unwrap();
        let messages = [Message::user("Hi"), Message::assistant("Hello")];
        assert_eq!(
            template.render(&messages, false).unwrap(),
            "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHello<|im_end|>\n"
        );
        assert!(
            template
                .render(&messages[..1], true)
                .unwrap()
                .ends_with("<|im_start|>assistant\n")
        );
    }

    #[test]
    fn a_template_can_refuse_and_a_broken_one_is_named() {
        let template = ChatTemplate::new(CHATML, "", "").unwrap();
        let error = template.render(&[Message::user(" ")], true).unwrap_err();
        assert!(error.to_string().contains("an empty message"), "{error}");
        let error = ChatTemplate::new("{% for %}", "", "").unwrap_err();
        assert!(error.to_string().starts_with("chat template"), "{error}");
    }
}
