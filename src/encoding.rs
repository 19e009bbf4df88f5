//! Prompts as tokens: where the templates and the tokenizer meet.

mod frame;

use frame::Frame;

use crate::extract::Wanted;
use crate::model::Tokenizer;
use crate::model::chat_template::{ChatTemplate, ChatTemplateError};
use crate::model::decoder::DecodeError;
use crate::model::tokenizer::TokenizerError;
use crate::problems::Problem;
use crate::problems::compose::is_bare;
use crate::problems::signature::Signature;
use crate::prompts::{Format, PromptError, Prompts};
use crate::rollout::Chain;
use crate::stage::Stage;

/// Ends every completion in the plain format.
pub const END_TOKEN: &str = "<|end|>";

/// Why a prompt cannot be made, or no text be sampled after it.
#[derive(Debug, thiserror::Error)]
pub enum EncodingError {
    /// The template failed.
    #[error(transparent)]
    Prompt(#[from] PromptError),
    /// The tokenizer failed.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// The chat template does not render.
    #[error(transparent)]
    Template(#[from] ChatTemplateError),
    /// Decoding failed.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The chat template cannot frame a conversation of several turns.
    #[error("chat template: {0}")]
    ChatTemplate(String),
}

/// How the code of one problem opens: with the first line of the wanted function, where the prompt shows a signature and
/// the template asks for it. The policy then writes the rest, and the code defines the name it has to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CodeOpening {
    /// What opens the last stage.
    pub tokens: Vec<u32>,
    /// The part of it that belongs to the code; empty where the policy writes all of it.
    pub header: String,
}

/// Renders prompts and encodes them.
pub struct PromptEncoder {
    tokenizer: Tokenizer,
    prompts: Prompts,
    end_token: u32,
    /// The turns of a conversation; none in the plain format.
    chat: Option<(Frame, ChatTemplate)>,
    /// What opens each stage: as the first one written, and after another.
    openings: [[Vec<u32>; Stage::COUNT]; 2],
}

impl PromptEncoder {
    /// An encoder of plain prompts. Checks that the tokenizer has every token that the templates use.
    pub fn new(tokenizer: Tokenizer, prompts: Prompts) -> Result<Self, EncodingError> {
        let end_token = tokenizer.special(END_TOKEN)?;
        Self::framed(tokenizer, prompts, end_token, None)
    }

    /// An encoder of conversations: each stage is a turn, framed by the model's own chat template.
    pub fn chat(
        tokenizer: Tokenizer,
        prompts: Prompts,
        template: &ChatTemplate,
    ) -> Result<Self, EncodingError> {
        let frame = Frame::cut(template, |text| tokenizer.is_special(text))?;
        let end_token = tokenizer.special(&frame.end)?;
        Self::framed(
            tokenizer,
            prompts,
            end_token,
            Some((frame, template.clone())),
        )
    }

    fn framed(
        tokenizer: Tokenizer,
        prompts: Prompts,
        end_token: u32,
        chat: Option<(Frame, ChatTemplate)>,
    ) -> Result<Self, EncodingError> {
        let mut openings: [[Vec<u32>; Stage::COUNT]; 2] = Default::default();
        for stage in Stage::ALL {
            let text = prompts.stage_opening(stage, "")?;
            let [first, later] = match &chat {
                None => [text.clone(), text],
                Some((frame, _)) => [
                    format!("\n\n{text}{}", frame.after),
                    format!("{}{text}{}", frame.between, frame.after),
                ],
            };
            openings[0][stage.index()] = tokenizer.encode(&first)?;
            openings[1][stage.index()] = tokenizer.encode(&later)?;
        }
        Ok(Self {
            tokenizer,
            prompts,
            end_token,
            chat,
            openings,
        })
    }

    /// Prompts as the templates say, or as the turn of a conversation.
    pub fn format(&self) -> Format {
        self.prompts.format()
    }

    /// The model's chat template, in the chat format.
    pub fn chat_template(&self) -> Option<&ChatTemplate> {
        self.chat.as_ref().map(|(_, template)| template)
    }

    /// A prompt that the model answers at once.
    fn asked(&self, text: &str) -> Result<Vec<u32>, EncodingError> {
        Ok(match &self.chat {
            None => self.tokenizer.encode(text)?,
            Some((frame, _)) => self
                .tokenizer
                .encode(&format!("{}{text}{}", frame.before, frame.after))?,
        })
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// The templates.
    pub fn prompts(&self) -> &Prompts {
        &self.prompts
    }

    /// Token that ends every completion.
    pub fn end_token(&self) -> u32 {
        self.end_token
    }

    /// Text of sampled tokens, without special tokens.
    pub fn decode(&self, tokens: &[u32]) -> String {
        self.tokenizer.decode(tokens)
    }

    /// Tokens of `text` as a completion: the text, then the end token.
    pub fn encode_completion(&self, text: &str) -> Result<Vec<u32>, EncodingError> {
        let mut tokens = self.tokenizer.encode(text)?;
        tokens.push(self.end_token);
        Ok(tokens)
    }

    /// The problem, up to where the first stage opens.
    pub fn problem(
        &self,
        statement: &str,
        signature: Option<&str>,
    ) -> Result<Vec<u32>, EncodingError> {
        let text = self.prompts.generator_prefix(statement, signature)?;
        let before = self.chat.as_ref().map_or("", |(frame, _)| &frame.before);
        Ok(self.tokenizer.encode(&format!("{before}{text}"))?)
    }

    /// The signature that prompts show: none for a problem that is stated the way people type requests, whose function
    /// has its canonical name.
    pub fn shown_signature(problem: &Problem) -> Option<&str> {
        problem.signature.as_deref().filter(|_| !is_bare(problem))
    }

    /// The prompt of a problem, up to where the first stage opens.
    pub fn problem_prompt(&self, problem: &Problem) -> Result<Vec<u32>, EncodingError> {
        self.problem(&problem.statement, Self::shown_signature(problem))
    }

    /// How the code of a problem opens.
    pub fn problem_code_opening(&self, problem: &Problem) -> Result<CodeOpening, EncodingError> {
        self.code_opening(Self::shown_signature(problem))
    }

    /// The prompt after which the discriminator attacks a chain of `problem`, or writes tests for the problem alone.
    pub fn attack_prompt(
        &self,
        problem: &Problem,
        chain: Option<&Chain>,
    ) -> Result<Vec<u32>, EncodingError> {
        self.attack(&problem.statement, Self::shown_signature(problem), chain)
    }

    /// The verdict prompt for a chain of `problem`.
    pub fn verdict_prompt(
        &self,
        problem: &Problem,
        chain: &Chain,
    ) -> Result<Vec<u32>, EncodingError> {
        self.verdict(&problem.statement, Self::shown_signature(problem), chain)
    }

    /// How the code of a problem with this signature opens.
    pub fn code_opening(&self, signature: Option<&str>) -> Result<CodeOpening, EncodingError> {
        let header = signature
            .and_then(|signature| Signature::parse(signature).ok())
            .map(|signature| signature.header())
            .unwrap_or_default();
        let opening = self.prompts.stage_opening(Stage::Code, &header)?;
        let shown = !header.is_empty() && opening.ends_with(&header);
        Ok(CodeOpening {
            tokens: self.tokenizer.encode(&opening)?,
            header: if shown { header } else { String::new() },
        })
    }

    /// What opens a stage: the `first` one that is written after the problem, or one that follows another. For the code in
    /// the plain format, see [`PromptEncoder::code_opening`].
    pub fn stage_opening(&self, stage: Stage, first: bool) -> &[u32] {
        &self.openings[usize::from(!first)][stage.index()]
    }

    /// The prompt after which the discriminator writes attacks; without a chain the attack is blind.
    pub fn attack(
        &self,
        statement: &str,
        signature: Option<&str>,
        chain: Option<&Chain>,
    ) -> Result<Vec<u32>, EncodingError> {
        let written = chain.map(written).unwrap_or_default();
        self.asked(&self.prompts.attack_prompt(statement, signature, &written)?)
    }

    /// The prompt whose last token's state the verdict head reads: the problem and the stages written in `chain`.
    pub fn verdict(
        &self,
        statement: &str,
        signature: Option<&str>,
        chain: &Chain,
    ) -> Result<Vec<u32>, EncodingError> {
        let text = self
            .prompts
            .verdict_prompt(statement, signature, &written(chain))?;
        self.asked(&text)
    }

    /// The code of a chain that reached the last stage and was not cut short, chosen by what it is wanted for.
    pub fn code(&self, chain: &Chain, wanted: Wanted) -> Option<String> {
        let completion = chain
            .get(Stage::Code)
            .filter(|completion| !completion.truncated())?;
        self.prompts.code(&completion.text, wanted)
    }
}

fn written(chain: &Chain) -> Vec<(Stage, &str)> {
    Stage::ALL
        .into_iter()
        .filter_map(|stage| Some((stage, chain.get(stage)?.text.as_str())))
        .collect()
}
