//! What a path answers.

use std::collections::VecDeque;

/// An answer of the metadata service.
#[derive(Clone, Debug)]
pub enum Answer {
    /// 200 and a text.
    Body(String),
    /// That status and no more.
    Status(u16),
    /// Nothing, ever: the connection stays open.
    Hang,
    /// One after the other; the last one stays.
    Sequence(VecDeque<Answer>),
}

impl Answer {
    /// 200 and a text.
    #[must_use]
    pub fn body(text: impl Into<String>) -> Self {
        Self::Body(text.into())
    }

    /// One after the other; the last one stays.
    #[must_use]
    pub fn sequence(answers: impl IntoIterator<Item = Self>) -> Self {
        Self::Sequence(answers.into_iter().collect())
    }

    /// The answer to this request.
    pub(super) fn next(&mut self) -> Self {
        match self {
            Self::Sequence(answers) => {
                let last = answers.len() == 1;
                let first = if last {
                    answers.front().cloned()
                } else {
                    answers.pop_front()
                };
                first.unwrap_or(Self::Status(404))
            }
            other => other.clone(),
        }
    }
}
