//! The language of what people read. Events, metrics and the words of the event contract are the
//! same in every language.

use clap::ValueEnum;
use unicode_width::UnicodeWidthStr;

/// The widest line of text made for a terminal, in columns.
pub const COLUMNS: usize = 100;

/// A language.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Lang {
    /// English
    #[default]
    En,
    /// Simplified Chinese
    Zh,
}

/// The option that chooses it.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Choice {
    /// Language of the text for people; JSON is the same in all
    #[arg(long, value_enum, default_value_t, env = "XDPWATCH_LANG", help_heading = "Output")]
    pub lang: Lang,
}

/// The same said in every language.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Said {
    /// In English.
    pub en: &'static str,
    /// In Simplified Chinese.
    pub zh: &'static str,
}

/// The same, said in English and in Chinese.
#[must_use]
pub const fn said(en: &'static str, zh: &'static str) -> Said {
    Said { en, zh }
}

impl Said {
    /// In this language.
    #[must_use]
    pub const fn to(self, lang: Lang) -> &'static str {
        match lang {
            Lang::En => self.en,
            Lang::Zh => self.zh,
        }
    }
}

/// The text filled up with spaces to a number of columns; a Chinese character takes two.
#[must_use]
pub fn pad(text: &str, columns: usize) -> String {
    let missing = columns.saturating_sub(text.width());
    format!("{text}{}", " ".repeat(missing))
}

/// The text in lines of at most [`COLUMNS`], those after the first begun with `indent`.
#[must_use]
pub fn wrap(text: &str, indent: &str) -> String {
    let options = textwrap::Options::new(COLUMNS)
        .subsequent_indent(indent)
        .break_words(false)
        .word_splitter(textwrap::WordSplitter::NoHyphenation);
    textwrap::fill(text, options)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_of_both_languages_are_as_wide() {
        assert_eq!(pad("holder", 9), "holder   ");
        assert_eq!(pad("占用方", 9), "占用方   ");
        assert_eq!(pad("much too long", 4), "much too long");
    }

    #[test]
    fn chinese_breaks_between_characters_and_within_the_columns() {
        let text = wrap(&"占用方仍处于 TIME_WAIT，".repeat(12), "  ");
        assert!(text.lines().count() > 2, "{text}");
        for line in text.lines() {
            assert!(line.width() <= COLUMNS, "{line}");
            assert!(!line.trim_start().starts_with('，'), "{line}");
        }
    }
}
