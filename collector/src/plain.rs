//! Text of others on its way to a person's terminal: what a file's name or a server's answer holds must
//! not move the cursor, change colours, or pass for a line of ours.

use std::borrow::Cow;

/// The text with its control characters escaped, those of C1 (ECMA-48) too: ESC as `\u{1b}`. Line breaks
/// and tabs stay.
#[must_use]
pub fn plain(text: &str) -> Cow<'_, str> {
    let is_wrong = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
    if !text.contains(is_wrong) {
        return Cow::Borrowed(text);
    }
    let escaped = |text: String, c: char| match is_wrong(c) {
        true => text + &c.escape_default().to_string(),
        false => text + c.encode_utf8(&mut [0; 4]),
    };
    Cow::Owned(text.chars().fold(String::new(), escaped))
}

/// The same of what stands within a line: line breaks and tabs are escaped too.
#[cfg(feature = "webhook")]
#[must_use]
pub fn plain_word(text: &str) -> Cow<'_, str> {
    match plain(text) {
        text if text.contains(['\n', '\t']) => {
            Cow::Owned(text.replace('\n', "\\n").replace('\t', "\\t"))
        }
        text => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_moves_a_terminal_is_escaped_and_the_rest_stays() {
        assert!(matches!(plain("a\n\tb 占用"), Cow::Borrowed("a\n\tb 占用")));
        assert_eq!(plain("\u{1b}[31mred\u{9b}0m\u{7f}\r"), "\\u{1b}[31mred\\u{9b}0m\\u{7f}\\r");
        #[cfg(feature = "webhook")]
        assert_eq!(plain_word("a\nFIRING\u{7}"), "a\\nFIRING\\u{7}");
    }
}
