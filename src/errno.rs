//! Texts of system errors. Pure: the words are the C library's, by way of the standard library.

use std::io;

/// An error in lower case and without its number: `connection refused`.
pub fn describe(error: &io::Error) -> String {
    let text = error.to_string();
    match (error.raw_os_error(), text.rsplit_once(" (os error ")) {
        (Some(_), Some((words, _))) => words.to_ascii_lowercase(),
        (Some(_) | None, _) => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_has_words_and_no_number() {
        assert_eq!(describe(&io::Error::from_raw_os_error(111)), "connection refused");
        assert_eq!(describe(&io::Error::other("The app (os error) said so")), "The app (os error) said so");
    }
}
