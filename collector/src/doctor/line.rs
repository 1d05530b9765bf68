//! One line of what the doctor says: the topic, how bad it is, what is so, and the cure.

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// As it should be.
    Ok,
    /// Capturing works, but loses, slows or misleads.
    Warning,
    /// Capturing is refused or can't work.
    Blocking,
}

impl Level {
    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Blocking => "blocking",
        }
    }
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// What it is about; one word, stable.
    pub topic: &'static str,
    /// How bad it is.
    pub level: Level,
    /// What is so.
    pub what: String,
    /// What to do about it; present where something should be done.
    pub cure: Option<String>,
}

impl Line {
    /// A line that asks for nothing.
    pub fn ok(topic: &'static str, what: impl Into<String>) -> Self {
        Self { topic, level: Level::Ok, what: what.into(), cure: None }
    }

    /// A line that asks for a change.
    pub fn warning(topic: &'static str, what: impl Into<String>, cure: impl Into<String>) -> Self {
        Self { topic, level: Level::Warning, what: what.into(), cure: Some(cure.into()) }
    }

    /// A line without whose cure nothing goes.
    pub fn blocking(topic: &'static str, what: impl Into<String>, cure: impl Into<String>) -> Self {
        Self { topic, level: Level::Blocking, what: what.into(), cure: Some(cure.into()) }
    }
}
